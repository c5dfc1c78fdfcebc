//! What is odd in a rule that is in force: other tools refuse its metadata, or a value may mean something
//! else than its author thinks. Nothing here decides what a rule does.

use crate::sigma::logsource_names;
use crate::sigma::problem::{Position, did_you_mean};
use crate::sigma::rule::Rule;
use crate::sigma::yaml::{self, Document, Node, Yaml};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// File; empty for rules built from text alone.
    pub file: Arc<PathBuf>,
    /// Where.
    pub at: Position,
    /// What is odd.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, Position { line, column }) = (self.file.display(), self.at);
        write!(f, "{file}:{line}:{column}: {} ({})", self.reason, self.hint)
    }
}

/// Most remarks on one rule: the rest is more of the same.
pub const REMARKS_MAX: usize = 16;
/// Longest title that the reference implementation takes, characters.
const TITLE_CHARS_MAX: usize = 256;
const STATES: [&str; 5] = ["stable", "test", "experimental", "deprecated", "unsupported"];
const RELATIONS: [&str; 6] = ["correlation", "derived", "merged", "obsolete", "renamed", "similar"];

/// What is odd in a rule, in the order of its lines.
pub fn remarks(rule: &Rule) -> Vec<Remark> {
    let document = Document { text: &rule.source.text, first_line: rule.source.line };
    // It was read before, so this does not fail.
    let Ok(node) = yaml::parse(&document) else { return Vec::new() };
    let mut found = Found { file: &rule.source.file, remarks: Vec::new() };
    metadata(&node, &mut found);
    logsource(rule, &node, &mut found);
    for section in ["detection", "filter"].iter().filter_map(|key| node.get(key)) {
        quoting(section, &document, &mut found);
    }
    found.remarks.sort_by_key(|remark| remark.at);
    found.remarks.truncate(REMARKS_MAX);
    found.remarks
}

struct Found<'a> {
    file: &'a Arc<PathBuf>,
    remarks: Vec<Remark>,
}

impl Found<'_> {
    fn push(&mut self, at: Position, reason: impl Into<String>, hint: impl Into<String>) {
        let (file, reason, hint) = (self.file.clone(), reason.into(), hint.into());
        self.remarks.push(Remark { file, at, reason, hint });
    }
}

/// The keys that the specification gives a form and that decide nothing here.
fn metadata(node: &Node, found: &mut Found<'_>) {
    if let Some(id) = written(node, "id")
        && !id.text().is_some_and(|text| is_uuid(&text))
    {
        let hint = "other tools refuse the rule; `alcedo rules new` makes one";
        found.push(id.at, "`id` is no UUID", hint);
    }
    if let Some(status) = written(node, "status") {
        let text = status.text().unwrap_or_default();
        if !STATES.contains(&text.to_ascii_lowercase().as_str()) {
            found.push(status.at, format!("unknown status `{text}`"), did_you_mean(&text, STATES));
        }
    }
    for key in ["date", "modified"] {
        if let Some(date) = written(node, key)
            && !date.text().is_some_and(|text| is_date(&text))
        {
            let text = date.text().unwrap_or_default();
            found.push(date.at, format!("`{key}` is no date: `{text}`"), "write YYYY-MM-DD");
        }
    }
    if let Some(title) = written(node, "title")
        && title.text().is_some_and(|text| text.chars().count() > TITLE_CHARS_MAX)
    {
        let reason = format!("the title is longer than {TITLE_CHARS_MAX} characters");
        found.push(title.at, reason, "say the rest in `description`");
    }
    for key in ["name", "author", "description", "license", "taxonomy"] {
        if let Some(value) = written(node, key)
            && !matches!(value.value, Yaml::Text(_))
        {
            let reason = format!("`{key}` is {}", value.kind());
            found.push(value.at, reason, "other tools refuse the rule; write text, in quotes");
        }
    }
    for key in ["tags", "references", "falsepositives", "fields", "scope"] {
        if let Some(value) = written(node, key)
            && !matches!(value.value, Yaml::List(_))
        {
            let reason = format!("`{key}` is {}", value.kind());
            found.push(value.at, reason, "other tools refuse the rule; write a list");
        }
    }
    tags(node, found);
    related(node, found);
}

/// Names that are nearly those of a logsource: no event would ever be of it.
fn logsource(rule: &Rule, node: &Node, found: &mut Found<'_>) {
    for (key, reason, hint) in logsource_names::odd(&rule.logsource) {
        if let Some(name) = node.get("logsource").and_then(|l| written(l, key)) {
            found.push(name.at, reason, hint);
        }
    }
}

fn tags(node: &Node, found: &mut Found<'_>) {
    let Some(Node { value: Yaml::List(tags), .. }) = node.get("tags") else { return };
    for tag in tags {
        let text = tag.text().unwrap_or_default();
        if !text.split_once('.').is_some_and(|(space, name)| !space.is_empty() && !name.is_empty())
        {
            let reason = format!("the tag `{text}` has no namespace");
            found.push(tag.at, reason, "write one as in `attack.t1059`");
        }
    }
}

fn related(node: &Node, found: &mut Found<'_>) {
    let Some(related) = written(node, "related") else { return };
    let Yaml::List(items) = &related.value else {
        let hint = "write a list of {id, type}";
        return found.push(related.at, format!("`related` is {}", related.kind()), hint);
    };
    for item in items {
        let text = |key: &str| item.get(key).and_then(Node::text);
        if !text("id").is_some_and(|id| is_uuid(&id)) {
            found.push(item.at, "a related rule has no UUID as its `id`", "write that of the rule");
        }
        let kind = text("type").unwrap_or_default();
        if !RELATIONS.contains(&kind.to_ascii_lowercase().as_str()) {
            let reason = format!("unknown relation `{kind}`");
            found.push(item.at, reason, did_you_mean(&kind, RELATIONS));
        }
    }
}

/// Text in double quotes that comes out with a backslash before a wildcard: YAML has taken one of the two
/// that were written, and what is left makes the wildcard a plain character.
fn quoting(node: &Node, document: &Document<'_>, found: &mut Found<'_>) {
    match &node.value {
        Yaml::Text(text) if found.remarks.len() < REMARKS_MAX => {
            if let Some(wildcard) = escaped_wildcard(text)
                && is_double_quoted(document, node.at)
            {
                let reason =
                    format!("`\\{wildcard}` in double quotes is the character `{wildcard}` itself");
                let hint = format!(
                    "YAML reads `\\\\` as one backslash; for a wildcard behind a backslash write \
                     `\\\\{wildcard}` in single quotes"
                );
                found.push(node.at, reason, hint);
            }
        }
        Yaml::List(items) => items.iter().for_each(|item| quoting(item, document, found)),
        Yaml::Map(entries) => {
            let plain = entries.iter().filter(|(key, _)| !key.split('|').any(|part| part == "re"));
            plain.for_each(|(_, value)| quoting(value, document, found));
        }
        _ => {}
    }
}

/// The first wildcard that an odd number of backslashes stands before.
fn escaped_wildcard(text: &str) -> Option<char> {
    let mut escaped = false;
    for c in text.chars() {
        match c {
            '\\' => escaped = !escaped,
            '*' | '?' if escaped => return Some(c),
            _ => escaped = false,
        }
    }
    None
}

fn is_double_quoted(document: &Document<'_>, at: Position) -> bool {
    let line = document.text.lines().nth(at.line.saturating_sub(document.first_line) as usize);
    let before = at.column.saturating_sub(1) as usize;
    line.and_then(|line| line.chars().nth(before)) == Some('"')
}

/// The value of a key that is there and not null.
fn written<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.get(key).filter(|value| value.value != Yaml::Null)
}

/// 32 hexadecimal digits, with or without the usual dashes.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    digits && matches!(parts.as_slice(), [8, 4, 4, 4, 12] | [32])
}

/// A day that is, as `2026-01-02` or, as older rules have it, `2026/1/2`.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['-', '/']).collect();
    let &[year, month, day] = parts.as_slice() else { return false };
    let padded = |part: &str| if part.len() == 1 && !text.contains('-') { 2 } else { part.len() };
    let digits = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let shaped = year.len() == 4 && padded(month) == 2 && padded(day) == 2 && digits;
    let mixed = text.contains('-') && text.contains('/');
    shaped
        && !mixed
        && event::time::parse_rfc3339(&format!("{year}-{month:0>2}-{day:0>2}T00:00:00Z")).is_some()
}
