//! YAML with positions: the untyped tree that rules are read from.
//!
//! Files hold several documents. They are cut apart before parsing, so that a document that is not
//! YAML hides none of the others.

mod plain;

use crate::sigma::problem::{Position, Refusal, Word};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// Largest document in bytes: SigmaHQ's largest rule has 150 KB.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Most nodes of one document after aliases are expanded; bounds "billion laughs" texts. SigmaHQ's
/// largest rule has 5,000.
pub const NODES_MAX: usize = 100_000;
/// Deepest nesting of maps and lists.
pub const DEPTH_MAX: usize = 32;
/// Most documents in one file.
pub const DOCUMENTS_MAX: usize = 4_096;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Yaml,
    /// Where it starts in the file.
    pub at: Position,
    /// Where its key starts, for values of maps; else as `at`.
    pub key_at: Position,
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// Another number, with the text as written.
    Float(f64, String),
    /// Text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order written.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of `key` if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Yaml::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a scalar; `None` for null, lists and maps.
    pub fn text(&self) -> Option<String> {
        match &self.value {
            Yaml::Text(text) => Some(text.clone()),
            Yaml::Int(n) => Some(n.to_string()),
            Yaml::Float(_, text) => Some(text.clone()),
            Yaml::Bool(b) => Some(b.to_string()),
            _ => None,
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Yaml::Null => "null",
            Yaml::Bool(_) => "a boolean",
            Yaml::Int(_) | Yaml::Float(..) => "a number",
            Yaml::Text(_) => "text",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a map",
        }
    }

    /// As JSON (for test events). Keys and values keep their text.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::Value as J;
        match &self.value {
            Yaml::Null => J::Null,
            Yaml::Bool(b) => J::Bool(*b),
            Yaml::Int(n) => i64::try_from(*n)
                .map(J::from)
                .or_else(|_| u64::try_from(*n).map(J::from))
                .unwrap_or_else(|_| J::String(n.to_string())),
            Yaml::Float(n, _) => J::from(*n),
            Yaml::Text(text) => J::String(text.clone()),
            Yaml::List(items) => J::Array(items.iter().map(Node::json).collect()),
            Yaml::Map(entries) => {
                J::Object(entries.iter().map(|(k, v)| (k.clone(), v.json())).collect())
            }
        }
    }
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// Its text, without the `---` line.
    pub text: &'a str,
    /// Line of the file on which the text starts, from 1.
    pub first_line: u32,
}

impl Document<'_> {
    /// Where a word stands, of a value that starts at `from` and has it as written: on that line, or on
    /// one of those below if the value has several.
    pub fn find(&self, word: &Word, from: Position) -> Option<Position> {
        let first = from.line.checked_sub(self.first_line)? as usize;
        let mut earlier = word.earlier;
        for (number, line) in self.text.lines().enumerate().skip(first) {
            let column = if number == first { from.column.saturating_sub(1) as usize } else { 0 };
            let start = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
            for (at, _) in line[start..].match_indices(&*word.text) {
                let (before, found) = line.split_at(start + at);
                if !is_whole_word(before, &word.text, &found[word.text.len()..]) {
                    continue;
                }
                if earlier == 0 {
                    return Some(position(number + 1, before.chars().count() + 1, self.first_line));
                }
                earlier -= 1;
            }
        }
        None
    }
}

/// Whether a word is not a part of a longer one, as conditions have them. Signs are whole.
fn is_whole_word(before: &str, word: &str, behind: &str) -> bool {
    let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '*' | '.');
    !word.starts_with(is_of_word)
        || !before.ends_with(is_of_word) && !behind.starts_with(is_of_word)
}

/// Cuts a file into its documents at lines that start with `---`.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = Vec::new();
    let (mut start, mut first_line, mut line, mut at) = (0, 1, 1, 0);
    // Most files have one document, and no line is looked at.
    let is_cut =
        text.starts_with("---") || memchr::memmem::find(text.as_bytes(), b"\n---").is_some();
    let cut = if is_cut { text } else { "" };
    for piece in cut.split_inclusive('\n') {
        let rest = piece
            .strip_prefix("---")
            .filter(|r| r.is_empty() || r.starts_with([' ', '\t', '\r', '\n']));
        if let Some(rest) = rest
            && out.len() < DOCUMENTS_MAX
        {
            out.push(Document { text: &text[start..at], first_line });
            let inline = !rest.trim().is_empty() && !rest.trim_start().starts_with('#');
            (start, first_line) = match inline {
                true => (at + 3, line),
                false => (at + piece.len(), line + 1),
            };
        }
        at += piece.len();
        line += 1;
    }
    out.push(Document { text: &text[start..], first_line });
    out.retain(|d| {
        d.text.lines().any(|l| {
            let l = l.trim();
            !l.is_empty() && !l.starts_with('#') && l != "..."
        })
    });
    out
}

/// Parses one document.
///
/// # Errors
/// Text that is not YAML, or over one of the limits of this module.
pub fn parse(document: &Document<'_>) -> Result<Node, Refusal> {
    let start = Position { line: document.first_line, column: 1 };
    if document.text.len() > DOCUMENT_BYTES_MAX {
        let reason = format!("the document has more than {DOCUMENT_BYTES_MAX} bytes");
        return Err(Refusal::invalid(reason, "split the rule").at(start));
    }
    let node = match plain::read(document) {
        Some(node) => node,
        None => located(document)?,
    };
    if memchr::memchr2(b'&', b'!', document.text.as_bytes()).is_none() {
        return Ok(node);
    }
    match swallowed(&node, &Lines::of(document)) {
        None => Ok(node),
        Some(at) => {
            let reason = "`&` and `!` begin names of YAML, which are no part of the value";
            Err(Refusal::invalid(reason, QUOTE).at(at))
        }
    }
}

/// The tree of any document, or what is wrong with it.
fn located(document: &Document<'_>) -> Result<Node, Refusal> {
    let budget = serde_saphyr::budget! {
        max_nodes: NODES_MAX,
        max_depth: DEPTH_MAX,
        max_documents: 1,
        max_total_scalar_bytes: 2 * DOCUMENT_BYTES_MAX,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let located = serde_saphyr::from_str_with_options::<Located>(document.text, options);
    let located = located.map_err(|error| {
        let start = Position { line: document.first_line, column: 1 };
        let at = error.location().map_or(start, |l| place(&l, document.first_line));
        let (reason, hint) = in_words(&error);
        Refusal::invalid(format!("not valid YAML: {reason}"), hint).at(at)
    })?;
    Ok(located.node(document))
}

/// The lines of a document, to be asked where a value came from.
struct Lines<'a> {
    lines: Vec<Line<'a>>,
    first: u32,
}

#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    /// Whether it has a `!`, and its columns can be found.
    is_suspect: bool,
    is_ascii: bool,
}

/// Longest line in which columns are counted letter by letter, in bytes: each value of it is counted for.
const COUNTED_LINE_BYTES_MAX: usize = 4 << 10;

impl<'a> Lines<'a> {
    fn of(document: &Document<'a>) -> Self {
        let lines = document.text.lines().map(|text| {
            let is_ascii = text.is_ascii();
            let is_short = is_ascii || text.len() <= COUNTED_LINE_BYTES_MAX;
            Line { text, is_suspect: is_short && text.contains('!'), is_ascii }
        });
        Self { lines: lines.collect(), first: document.first_line }
    }

    fn at(&self, line: u32) -> Option<Line<'a>> {
        self.lines.get(line.checked_sub(self.first)? as usize).copied()
    }
}

/// The first value of which YAML took something away, because its author began it with a sign that names
/// something: `F: &x` is null, `F: !x y` is `y`.
fn swallowed(node: &Node, lines: &Lines<'_>) -> Option<Position> {
    match &node.value {
        Yaml::List(items) => items.iter().find_map(|n| swallowed(n, lines)),
        Yaml::Map(entries) => entries.iter().find_map(|(_, n)| swallowed(n, lines)),
        Yaml::Null => begins_with_a_name(node, lines).or_else(|| follows_a_type(node, lines, true)),
        Yaml::Text(text) if text.is_empty() => {
            begins_with_a_name(node, lines).or_else(|| follows_a_type(node, lines, true))
        }
        _ => follows_a_type(node, lines, false),
    }
}

/// Whether a type of one's own, such as `!x`, stands before a value. Those of YAML itself (`!!str`) say
/// what the value is, and it is that.
fn follows_a_type(node: &Node, lines: &Lines<'_>, is_empty: bool) -> Option<Position> {
    let line = lines.at(node.at.line).filter(|line| line.is_suspect)?;
    let column = node.at.column.saturating_sub(1) as usize;
    let start = match line.is_ascii {
        true => column.min(line.text.len()),
        false => line.text.char_indices().nth(column).map_or(line.text.len(), |(at, _)| at),
    };
    let (before, value) = line.text.split_at(start);
    let last = before.split_whitespace().next_back().filter(|_| is_empty || before.ends_with(' '));
    let is_own = |word: &str| word.starts_with('!') && !word.starts_with("!!");
    (is_own(value) || last.is_some_and(is_own)).then_some(node.at)
}

fn begins_with_a_name(node: &Node, lines: &Lines<'_>) -> Option<Position> {
    let line = lines.at(node.key_at.line)?.text;
    let value = line.split_once(": ").or_else(|| line.split_once("- ")).map_or(line, |p| p.1);
    value.trim_start().starts_with(['&', '!']).then_some(node.at)
}

/// What the parser found, as an author of rules would say it, and what to do.
fn in_words(error: &serde_saphyr::Error) -> (String, &'static str) {
    use serde_saphyr::Error as E;
    let fixed = |reason: &str, hint| (reason.to_owned(), hint);
    match error {
        E::WithSnippet { error, .. } => in_words(error),
        E::DuplicateMappingKey { key: Some(key), .. } => (
            format!("the key `{key}` stands twice in one map"),
            "remove one, or write a list of values",
        ),
        E::DuplicateMappingKey { .. } => {
            fixed("a key stands twice in one map", "remove one, or write a list of values")
        }
        E::NonFiniteFloat { value, .. } => {
            (format!("`{value}` is no finite number"), "put it in quotes if it is text")
        }
        E::Eof { .. } => fixed("the text ends in the middle", "close what is open"),
        E::UnknownAnchor { .. } => {
            fixed("`*` begins a reference to an anchor that is not there", QUOTE)
        }
        E::NullIntoString { .. } => fixed("a key is empty", "write the name of the field"),
        E::Budget { .. }
        | E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => {
            fixed("the document is too large or too deep", "write it out, with fewer levels")
        }
        E::RecursiveReferencesRequireWeakTypes { .. } => {
            fixed("a reference leads back to itself", "write it out")
        }
        other => {
            let text = other.to_string();
            let known = PHRASES.iter().find(|(phrase, ..)| text.contains(phrase));
            let (reason, hint) = known.map_or(
                ("a sign stands where it means nothing", "check quotes, colons and indentation"),
                |(_, reason, hint)| (reason, hint),
            );
            fixed(reason, hint)
        }
    }
}

const QUOTE: &str = "put the value in single quotes";
const INDENT: &str = "indent with spaces, keys of one map in one column";

/// Phrases of the parser, what they mean for a rule, and what to do.
const PHRASES: &[(&str, &str, &str)] = &[
    (" tab", "a tab stands where spaces indent", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a `: ` where no key may stand: the second of its line, or its line indented too far",
        "put the value in single quotes, or mend the indentation",
    ),
    ("placement of ':'", "a `:` within a list `[`", "close the list with `]`, or quote the value"),
    ("unclosed quote", "a quote is not closed", "close it; a quote inside is written twice: ''"),
    (
        "expected '-'",
        "a key stands beside the entries of a list",
        "write a list or a map, not both",
    ),
    ("mapping keys are not allowed", "a key stands where none may stand", INDENT),
    ("sequence entries are not allowed", "a list begins in the middle of a line", INDENT),
    ("simple key expected ':'", "a line without `:` among the keys of a map", INDENT),
    ("simple key", "a line without `:` among the keys of a map", INDENT),
    ("expected <block end>", "a line that fits neither the map nor the list before it", INDENT),
    ("indentation", "a line is not indented as the lines around it", INDENT),
    ("expected ',' or ']'", "a list `[` is not closed", "close it with `]`"),
    ("expected ',' or '}'", "a map `{` is not closed", "close it with `}`"),
    ("mismatched bracket", "a bracket is closed by one of another kind", "close what is open"),
    ("unclosed bracket", "a bracket is not closed", "close it"),
    ("trailing content", "text follows a closing quote", "double the quote inside the text: ''"),
    ("escape", "a backslash in double quotes", "use single quotes: backslashes stay as they are"),
    ("end of stream", "a quote or bracket is not closed", "close it"),
    ("unexpected eof", "a quote or bracket is not closed", "close it"),
    ("alias", "a value begins with `*`, which refers to an anchor", QUOTE),
    ("anchor", "a value begins with `&`, which names an anchor", QUOTE),
    ("directive", "a value begins with `%`", QUOTE),
    ("tag", "a value begins with `!`, which names a type", QUOTE),
    ("character", "a value begins with a sign that YAML keeps for itself", QUOTE),
];

fn place(location: &serde_saphyr::Location, first_line: u32) -> Position {
    position(location.line() as usize, location.column() as usize, first_line)
}

/// A place of a document, both counted from 1, within the file.
fn position(line: usize, column: usize, first_line: u32) -> Position {
    let line = u32::try_from(line).unwrap_or(u32::MAX).max(1);
    let column = u32::try_from(column).unwrap_or(u32::MAX).max(1);
    Position { line: line.saturating_add(first_line - 1), column }
}

struct Located(Spanned<Raw>);

enum Raw {
    Scalar(Yaml),
    List(Vec<Located>),
    Map(Vec<(Spanned<String>, Located)>),
}

impl Located {
    /// Nesting is bounded by [`DEPTH_MAX`].
    fn node(self, document: &Document<'_>) -> Node {
        let at = place(&self.0.referenced, document.first_line);
        let value = match self.0.value {
            Raw::Scalar(Yaml::Float(n, _)) => {
                Yaml::Float(n, as_written(n, &self.0.defined, document.text))
            }
            Raw::Scalar(Yaml::Int(n)) => match written(&self.0.defined, document.text) {
                Some(text) if is_disputed(text) => Yaml::Text(text.to_owned()),
                _ => Yaml::Int(n),
            },
            Raw::Scalar(value) => value,
            Raw::List(items) => Yaml::List(items.into_iter().map(|i| i.node(document)).collect()),
            Raw::Map(entries) => {
                let entry = |(key, value): (Spanned<String>, Located)| {
                    let key_at = place(&key.referenced, document.first_line);
                    (key.value, Node { key_at, ..value.node(document) })
                };
                Yaml::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { value, at, key_at: at }
    }
}

/// The text of a fraction as its author wrote it: `6.10` is a version more often than a number.
fn as_written(number: f64, location: &serde_saphyr::Location, text: &str) -> String {
    match written(location, text) {
        Some(raw) if raw.parse::<f64>().is_ok_and(|n| n == number) => raw.to_owned(),
        _ => number.to_string(),
    }
}

/// What the author wrote at a place, where that is known.
fn written<'a>(location: &serde_saphyr::Location, text: &'a str) -> Option<&'a str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(len)?).map(str::trim)
}

/// Whether a number without quotes is one in some versions of YAML only, or in none: `0o17`, `0b11`, `0X1F`.
fn is_disputed(written: &str) -> bool {
    let digits = written.trim_start_matches(['+', '-']);
    matches!(digits.as_bytes(), [b'0', letter, ..] if letter.is_ascii_alphabetic() && *letter != b'x')
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Located)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Null))
    }
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Bool(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Int(value.into())))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Int(value.into())))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Int(value)))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(match i128::try_from(value) {
            Ok(n) => Yaml::Int(n),
            Err(_) => Yaml::Text(value.to_string()),
        }))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Float(value, String::new())))
    }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Yaml::Text(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry::<Spanned<String>, Located>()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type_and_place() {
        let text = "a: 0755\nb: [yes, true, 1_000, 4624, 1.50, ~]\nc:\n  d: '7'\n";
        let docs = documents(text);
        let node = parse(&docs[0]).unwrap();
        assert_eq!(node.get("a").unwrap().value, Yaml::Text("0755".into()));
        let Yaml::List(items) = &node.get("b").unwrap().value else { panic!() };
        let values: Vec<_> = items.iter().map(|i| i.value.clone()).collect();
        let text = |t: &str| Yaml::Text(t.into());
        let fraction = Yaml::Float(1.5, "1.50".into());
        let expected = [text("yes"), Yaml::Bool(true), text("1_000"), Yaml::Int(4624), fraction];
        assert_eq!(values[..5], expected);
        assert_eq!(values[5], Yaml::Null);
        assert_eq!(items[0].at, Position { line: 2, column: 5 });
        let d = node.get("c").unwrap().get("d").unwrap();
        assert_eq!((&d.value, d.at), (&text("7"), Position { line: 4, column: 6 }));
    }

    #[test]
    fn integers_of_which_versions_of_yaml_disagree_are_text() {
        for (written, expected) in [
            ("0o17", None),
            ("-0o17", None),
            ("0b11", None),
            ("0X1F", None),
            ("0x1F", Some(31)),
            ("-0x10", Some(-16)),
            ("0", Some(0)),
            ("+5", Some(5)),
        ] {
            let text = format!("a: &n {written}\nb: [*n, {{c: {written}}}]\n");
            let node = parse(&documents(&text)[0]).unwrap();
            let expected = expected.map_or_else(|| Yaml::Text(written.into()), Yaml::Int);
            assert_eq!(node.get("a").unwrap().value, expected, "{written}");
            let Yaml::List(items) = &node.get("b").unwrap().value else { panic!() };
            assert_eq!(items[0].value, expected, "{written}");
            assert_eq!(items[1].get("c").unwrap().value, expected, "{written}");
        }
    }

    #[test]
    fn a_value_of_which_yaml_makes_nothing_is_refused() {
        for (text, fine) in [
            ("a:\n  b: &x\n", false),
            ("a:\n  b: !x\n", false),
            ("a: ~\nb: ''\nc:\n", true),
            ("a: &x\n  b: c\nd: *x\n", true),
            ("a: &x 5\nb: '&x'\n", true),
        ] {
            let parsed = parse(&documents(text)[0]);
            assert_eq!(parsed.is_ok(), fine, "{text}{parsed:?}");
        }
    }

    #[test]
    fn a_broken_document_does_not_hide_its_neighbours() {
        let docs = documents("# head\n---\na: 1\n---\nb: [\n--- # x\nc: 3\n--- {d: 4}\n");
        assert_eq!(docs.len(), 4);
        assert!(parse(&docs[0]).is_ok() && parse(&docs[2]).is_ok());
        assert_eq!(parse(&docs[3]).unwrap().get("d").unwrap().value, Yaml::Int(4));
        assert_eq!(docs[2].first_line, 7);
        let refusal = parse(&docs[1]).unwrap_err();
        assert!(refusal.at.unwrap().line >= 5, "{refusal:?}");
    }

    #[test]
    fn expanding_texts_and_deep_nesting_are_refused() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 9].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse(&documents(&laughs)[0]).is_err());
        let deep = format!("a: {}1{}", "[".repeat(2000), "]".repeat(2000));
        assert!(parse(&documents(&deep)[0]).is_err());
    }
}
