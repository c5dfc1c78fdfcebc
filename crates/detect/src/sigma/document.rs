//! One document becomes one rule.

use crate::sigma::correlation::Timespan;
use crate::sigma::detection::Section;
use crate::sigma::lowering::Lowering;
use crate::sigma::pipeline::{self, Body, Draft};
use crate::sigma::problem::{Position, ProblemKind, Refusal, Refusals, RuleProblem, did_you_mean};
use crate::sigma::rule::{FilterDoc, LogSource, Rule, RuleKind, RuleSource};
use crate::sigma::settings::SigmaSettings;
use crate::sigma::yaml::{self, Document, Node, Yaml};
use crate::sigma::{correlation_doc, detection, tests_doc};
use event::Level;
use filter::{Plan, search};
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// What a file holds.
#[derive(Debug, Default)]
pub struct ParsedFile {
    /// Its rules, filters among them, in order.
    pub rules: Vec<Rule>,
    /// Its documents that give no rule.
    pub problems: Vec<RuleProblem>,
    /// Ids and names of rules that are there and give none, for those that refer to them.
    pub refused: Vec<Box<str>>,
    /// Ids and names that correlations which give no rule are about, as far as they could be read:
    /// those rules do not alert by themselves, whatever is wrong with the correlation.
    pub related: Vec<Box<str>>,
}

/// Reads all documents of a file. Maps that are no Sigma rule, not even one with slips in its keys, are
/// passed over.
pub fn parse_file(file: &Arc<PathBuf>, text: &str, settings: &SigmaSettings) -> ParsedFile {
    let mut out = ParsedFile::default();
    for document in yaml::documents(text) {
        match yaml::parse(&document) {
            Err(refusal) if looks_like_sigma(document.text) => {
                out.problems.push(problem(file, &document, None, refusal));
            }
            Err(_) => {}
            Ok(node) if is_sigma(&node) => {
                let mut refusals = Refusals::default();
                let rule = rule(file, &document, &node, settings, &mut refusals);
                let mut refusals = refusals.into_vec();
                refusals.sort_by_key(|refusal| refusal.at);
                let about = |refusal| problem(file, &document, Some(&node), refusal);
                out.problems.extend(refusals.into_iter().map(about));
                if rule.is_none() {
                    let names = ["id", "name"].iter().filter_map(|k| node.get(k)?.text());
                    out.refused.extend(names.map(String::into_boxed_str));
                    out.related.extend(correlation_doc::silenced(&node));
                }
                out.rules.extend(rule);
            }
            Ok(node) => out.problems.extend(misplaced(&node).map(|r| {
                let at = node.at;
                problem(file, &document, None, r.at(at))
            })),
        }
    }
    out
}

/// What makes a document a rule.
const SECTIONS: [&str; 3] = ["detection", "correlation", "filter"];

/// Whether a document is meant to be a rule, be it a broken one: one of its sections is there, or all
/// but there, or what only rules have beside a title. Other YAML lies in folders of rules, too.
fn is_sigma(node: &Node) -> bool {
    let Yaml::Map(entries) = &node.value else { return false };
    let there = |key: &&str| node.get(key).is_some();
    let titled = there(&"title") && ["id", "status", "level", "search"].iter().any(there);
    let is_slip = |key: &str| meant(node, key, &SECTIONS[..2]).is_some();
    SECTIONS.iter().any(there)
        || there(&"logsource")
        || titled
        || entries.iter().any(|(key, _)| is_slip(key))
}

/// What is wrong with a document that is no map: a file of rules that says nothing is not passed over.
fn misplaced(node: &Node) -> Option<Refusal> {
    match &node.value {
        Yaml::List(items) if !items.iter().any(is_sigma) => None,
        Yaml::List(_) => {
            let hint = "write each as a document of its own, with a line `---` between them";
            Some(Refusal::invalid("a list of rules where one rule should stand", hint))
        }
        Yaml::Null | Yaml::Map(_) => None,
        _ => {
            let hint = "a rule begins with `title:`; put other text elsewhere";
            Some(Refusal::invalid(format!("{} where a rule should stand", node.kind()), hint))
        }
    }
}

/// The value of a key in the outermost map, as its line says: for text that is no YAML, and to find a
/// document among many without reading each.
pub(crate) fn line_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    let bare = value.trim_matches(|c| matches!(c, '"' | '\''));
    (!bare.is_empty()).then_some(bare)
}

fn looks_like_sigma(text: &str) -> bool {
    let sections = ["detection:", "correlation:", "filter:", "logsource:"];
    text.lines().any(|l| sections.iter().any(|s| l.starts_with(s)))
}

fn problem(
    file: &Arc<PathBuf>,
    document: &Document<'_>,
    node: Option<&Node>,
    refusal: Refusal,
) -> RuleProblem {
    let at = refusal.at.unwrap_or(Position { line: document.first_line, column: 1 });
    let at = refusal.word.and_then(|word| document.find(&word, at)).unwrap_or(at);
    let text = |key| match node {
        Some(node) => node.get(key).and_then(Node::text),
        None => line_of(document.text, key).map(str::to_owned),
    };
    RuleProblem {
        file: file.clone(),
        line: at.line,
        column: at.column,
        document: document.first_line,
        rule: text("id").or_else(|| text("title")).unwrap_or_default().into(),
        name: text("name").unwrap_or_default().into(),
        title: text("title").unwrap_or_default().into(),
        level: node.and_then(|n| level(n).ok()),
        unread: node.is_none().then(|| document.text.into()),
        kind: refusal.kind,
        mistake: refusal.mistake,
        reason: refusal.reason,
        hint: refusal.hint,
    }
}

/// The rule, or everything that is wrong with it.
fn rule(
    file: &Arc<PathBuf>,
    document: &Document<'_>,
    node: &Node,
    settings: &SigmaSettings,
    problems: &mut Refusals,
) -> Option<Rule> {
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    let list = |key: &str| -> Vec<Box<str>> {
        match node.get(key).map(|n| &n.value) {
            Some(Yaml::List(items)) => {
                items.iter().filter_map(Node::text).map(String::into_boxed_str).collect()
            }
            // One text is a list of one: what it says must not be lost.
            Some(Yaml::Text(text)) => vec![text.as_str().into()],
            _ => Vec::new(),
        }
    };
    let hash: Arc<str> = format!("{:032x}", content_hash(document, settings)).into();
    problems.ok(refuse_action(node));
    refuse_misspelt(node, &TOP_KEYS, problems);
    refuse_both(node, problems);
    let title = problems.ok(title(node));
    let name = Some(text("name")).filter(|n| !n.is_empty()).map(Arc::from);
    let id = match text("id") {
        id if !id.is_empty() => id.into(),
        _ => name.clone().unwrap_or_else(|| format!("sha:{hash}").into()),
    };
    let level = problems.ok(level(node));
    let suppression_ns = problems.ok(suppression(node));
    let generate = problems.ok(generate(node));
    let shadow = problems.ok(shadow(node));
    let tests = problems.ok(tests_doc::read(node));
    let logsource_written = problems.ok(logsource(node));
    let logsource = logsource_written.clone().unwrap_or_default();
    let lowered = kind(node, logsource, settings, problems);
    if !problems.is_empty() {
        return None;
    }
    let (kind, logsource) = lowered?;
    Some(Rule {
        id,
        name,
        title: title?.into(),
        status: text("status").into(),
        description: text("description").into(),
        author: text("author").into(),
        license: text("license").into(),
        references: list("references"),
        tags: list("tags"),
        level: level?,
        logsource,
        logsource_written: logsource_written?,
        date: text("date").into(),
        modified: text("modified").into(),
        hash,
        suppression_ns: suppression_ns?,
        generate: generate?,
        shadow: shadow?,
        kind,
        tests: tests?,
        source: RuleSource {
            file: file.clone(),
            line: document.first_line,
            text: document.text.into(),
            filters: Vec::new(),
        },
    })
}

/// Keys that decide what a rule does. A document may have others, which mean nothing here, so a slip
/// in one of these would go unnoticed.
const TOP_KEYS: [&str; 9] = [
    "level",
    "logsource",
    "detection",
    "correlation",
    "filter",
    "generate",
    "alcedo_tests",
    "alcedo_state",
    "alcedo_suppression",
];
/// The same of a logsource.
const LOGSOURCE_KEYS: [&str; 4] = ["product", "category", "service", "definition"];
/// Most letters by which a key may differ from one it was meant to be: two make a swap.
const SLIP_LETTERS_MAX: usize = 2;

/// Notes keys that are nearly one of `keys`, which is not there itself.
fn refuse_misspelt(node: &Node, keys: &[&str], problems: &mut Refusals) {
    let Yaml::Map(entries) = &node.value else { return };
    for (key, value) in entries {
        if let Some(best) = meant(node, key, keys) {
            let hint = format!("did you mean `{best}`?");
            let reason = format!("`{key}` means nothing here");
            problems.push(Refusal::invalid(reason, hint).at(value.key_at));
        }
    }
}

/// The one of `keys` that a key of `node` was surely meant to be: it is not there itself.
fn meant<'k>(node: &Node, key: &str, keys: &[&'k str]) -> Option<&'k str> {
    if keys.contains(&key) {
        return None;
    }
    let near = keys.iter().copied().filter(|known| {
        let is_near = key.len().abs_diff(known.len()) <= SLIP_LETTERS_MAX && key.len() > 3;
        // The first letter is rarely the wrong one: `device` is not meant to be `service`.
        is_near && key.bytes().next() == known.bytes().next() && node.get(known).is_none()
    });
    event::text::nearest(key, near)
}

/// A document is one rule: a detection or a correlation or a filter.
fn refuse_both(node: &Node, problems: &mut Refusals) {
    let sections = ["correlation", "filter", "detection"];
    let mut there = sections.iter().filter_map(|key| Some((*key, node.get(key)?)));
    if let (Some((first, _)), Some((second, section))) = (there.next(), there.next()) {
        let reason = format!("`{second}` beside `{first}` in one document");
        let hint = "write two documents, with a line `---` between them";
        problems.push(Refusal::invalid(reason, hint).at(section.key_at));
    }
}

fn title(node: &Node) -> Result<String, Refusal> {
    match node.get("title").map(|title| (title.text(), title)) {
        Some((Some(text), _)) if !text.is_empty() => Ok(text),
        Some((None, title)) => {
            let reason = format!("`title` is {}", title.kind());
            Err(Refusal::invalid(reason, "write one text").at(title.at))
        }
        _ => Err(Refusal::invalid("the rule has no title", "add `title:`")),
    }
}

fn level(node: &Node) -> Result<Level, Refusal> {
    let Some(value) = node.get("level") else { return Ok(Level::Medium) };
    value.text().and_then(|t| Level::from_name(&t)).ok_or_else(|| {
        let Some(written) = value.text() else {
            let reason = format!("`level` is {}", value.kind());
            return Refusal::invalid(reason, "write one word").at(value.at);
        };
        let hint = did_you_mean(&written, Level::ALL.iter().map(|(_, name)| *name));
        Refusal::invalid(format!("unknown level `{written}`"), hint).at(value.at)
    })
}

/// Hash of what decides what the rule does: its text, and settings that are not the default.
fn content_hash(document: &Document<'_>, settings: &SigmaSettings) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(document.text.as_bytes());
    if let Some(fingerprint) = settings.fingerprint() {
        hasher.update(&fingerprint.to_le_bytes());
    }
    hasher.digest128()
}

fn logsource(node: &Node) -> Result<LogSource, Refusal> {
    let Some(section) = node.get("logsource") else { return Ok(LogSource::default()) };
    if !matches!(section.value, Yaml::Map(_)) {
        let reason = format!("`logsource` is {}", section.kind());
        let hint = "write product, category and service";
        return Err(Refusal::invalid(reason, hint).at(section.at));
    }
    let mut slips = Refusals::default();
    refuse_misspelt(section, &LOGSOURCE_KEYS, &mut slips);
    if let Some(slip) = slips.into_vec().pop() {
        return Err(slip);
    }
    let text = |key: &str| match section.get(key) {
        None | Some(Node { value: Yaml::Null, .. }) => Ok(None),
        Some(n) => n.text().map(Some).ok_or_else(|| {
            let reason = format!("`{key}` of the logsource is {}", n.kind());
            Refusal::invalid(reason, "write one text").at(n.at)
        }),
    };
    let part = |key: &str| -> Result<Option<Box<str>>, Refusal> {
        let text = text(key)?.filter(|t| !t.is_empty() && t != "*" && t != "any");
        Ok(text.map(String::into_boxed_str))
    };
    Ok(LogSource {
        product: part("product")?,
        category: part("category")?,
        service: part("service")?,
        definition: text("definition")?.map(String::into_boxed_str),
    })
}

fn suppression(node: &Node) -> Result<Option<i64>, Refusal> {
    let Some(value) = node.get("alcedo_suppression") else { return Ok(None) };
    let span = value.text().and_then(|t| Timespan::parse_or_nought(&t)).ok_or_else(|| {
        let reason = "`alcedo_suppression` is a length of time";
        Refusal::invalid(reason, "write 1h, or 0s for none").at(value.at)
    })?;
    Ok(Some(span.ns()))
}

/// `generate: false` beside a detection makes a rule that only feeds correlations. Beside a
/// correlation it is about the related rules, and the correlation itself always alerts.
fn generate(node: &Node) -> Result<bool, Refusal> {
    match node.get("generate") {
        Some(_) if node.get("correlation").is_some() => Ok(true),
        None => Ok(true),
        Some(Node { value: Yaml::Bool(b), .. }) => Ok(*b),
        Some(other) => Err(Refusal::invalid("`generate` is true or false", "fix it").at(other.at)),
    }
}

/// `alcedo_state: shadow` or `live`, the default.
fn shadow(node: &Node) -> Result<bool, Refusal> {
    let Some(value) = node.get("alcedo_state") else { return Ok(false) };
    match value.text().as_deref() {
        Some("shadow") => Ok(true),
        Some("live") => Ok(false),
        _ => {
            let hint = "write live or shadow";
            Err(Refusal::invalid("`alcedo_state` is live or shadow", hint).at(value.at))
        }
    }
}

/// What the rule does, and what it is about after the pipelines.
fn kind(
    node: &Node,
    logsource: LogSource,
    settings: &SigmaSettings,
    problems: &mut Refusals,
) -> Option<(RuleKind, LogSource)> {
    if let Some(section) = node.get("correlation") {
        // Pipelines act on correlations when the rules that they relate are known.
        let correlation = correlation_doc::read(section, node.get("generate"), problems)?;
        return Some((RuleKind::Correlation(correlation), logsource));
    }
    if let (Some(section), None) = (node.get("search"), node.get("detection")) {
        // It names fields as searches do: pipelines are about names of Sigma.
        let plan = problems.ok(searched(section))?;
        return Some((RuleKind::Detection { plan }, logsource));
    }
    let (section, rules) = match (node.get("filter"), node.get("detection")) {
        (Some(section), _) => (section, Some(problems.ok(filter_rules(section))?)),
        (None, Some(section)) => (section, None),
        (None, None) => {
            problems.push(Refusal::invalid("there is no detection", "add `detection:`"));
            return None;
        }
    };
    let which = if rules.is_some() { Section::Filter } else { Section::Detection };
    let detection = detection::read(section, which, problems)?;
    let body = match rules {
        Some(_) => Body::Filter(detection),
        None => Body::Detection(detection),
    };
    let mut draft = Draft::new(node, vec![logsource], body);
    problems.ok(pipeline::apply(&settings.pipelines, &mut draft).map_err(|r| r.at(section.at)))?;
    let mut lowering = Lowering::new(settings);
    let plan = draft.detection()?.lower(&mut lowering, problems)?;
    let logsource = draft.logsources.pop().unwrap_or_default();
    let kind = match rules {
        Some(rules) => RuleKind::Filter(FilterDoc { rules, plan }),
        None => RuleKind::Detection { plan },
    };
    Some((kind, logsource))
}

/// `search:`, a filter of the search language in place of a detection.
fn searched(section: &Node) -> Result<Plan, Refusal> {
    let text = section.text().filter(|text| !text.trim().is_empty()).ok_or_else(|| {
        let hint = "write one as for `alcedo search`, without pipes";
        Refusal::invalid("`search` holds no filter", hint).at(section.at)
    })?;
    let read = |now_ns: i64| {
        let wrong =
            |e| Refusal::invalid(format!("`search`: {e}"), "`alcedo search` takes the same");
        search::parse_filter(&text, now_ns).map_err(|e| wrong(e).at(section.at))
    };
    let plan = read(0)?;
    // A rule says the same of an event whenever it is asked.
    if plan != read(OTHER_NOW_NS)? {
        let hint = "leave the time out: a rule sees events as they come";
        return Err(
            Refusal::invalid("`search` has a time that depends on now", hint).at(section.at)
        );
    }
    Ok(plan)
}

/// Some time that is not 0.
const OTHER_NOW_NS: i64 = 1_000_000_000_000_000_000;

/// The rules a filter names; empty = all its logsource covers (`any`, `all`, or an empty list).
fn filter_rules(section: &Node) -> Result<Vec<Box<str>>, Refusal> {
    let Some(node) = section.get("rules") else {
        let hint = "list ids or names, or write `rules: any`";
        return Err(Refusal::invalid("the filter names no rules", hint).at(section.at));
    };
    let wrong = |n: &Node| {
        let reason = format!("{} where an id or a name should stand", n.kind());
        Refusal::invalid(reason, "list ids or names, or write `rules: any`").at(n.at)
    };
    match &node.value {
        Yaml::List(items) => items
            .iter()
            .map(|n| n.text().map(String::into_boxed_str).ok_or_else(|| wrong(n)))
            .collect(),
        Yaml::Text(text) if ["any", "all"].iter().any(|w| text.eq_ignore_ascii_case(w)) => {
            Ok(Vec::new())
        }
        _ => Ok(vec![node.text().ok_or_else(|| wrong(node))?.into()]),
    }
}

/// `action: global` and its kin spread one rule over several documents; long obsolete.
fn refuse_action(node: &Node) -> Result<(), Refusal> {
    match node.get("action") {
        Some(action) if node.get("correlation").is_none() => {
            let hint = "repeat the shared parts in every document";
            Err(Refusal::not_covered("`action` documents are obsolete", hint).at(action.at))
        }
        _ => Ok(()),
    }
}

/// A problem of a whole file, such as one that cannot be read.
pub(crate) fn file_problem(file: &Arc<PathBuf>, reason: String, hint: &str) -> RuleProblem {
    RuleProblem {
        file: file.clone(),
        line: 1,
        column: 1,
        document: 1,
        rule: "".into(),
        name: "".into(),
        title: "".into(),
        level: None,
        unread: None,
        kind: ProblemKind::Invalid,
        mistake: true,
        reason,
        hint: hint.into(),
    }
}
