//! One document becomes one rule.

use crate::sigma::correlation::Timespan;
use crate::sigma::problem::{Position, ProblemKind, Refusal, RuleProblem};
use crate::sigma::rule::{FilterDoc, LogSource, Rule, RuleKind, RuleSource};
use crate::sigma::yaml::{self, Document, Node, Yaml};
use crate::sigma::{correlation_doc, detection, tests_doc};
use event::Level;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// What a file holds.
#[derive(Debug, Default)]
pub struct ParsedFile {
    /// Its rules, filters among them, in order.
    pub rules: Vec<Rule>,
    /// Its documents that give no rule.
    pub problems: Vec<RuleProblem>,
}

/// Reads all documents of a file. Documents that are not Sigma (no `detection`, `correlation` or
/// `filter`) are passed over.
pub fn parse_file(file: &Arc<PathBuf>, text: &str) -> ParsedFile {
    let mut out = ParsedFile::default();
    for document in yaml::documents(text) {
        match yaml::parse(&document) {
            Err(refusal) if looks_like_sigma(document.text) => {
                out.problems.push(problem(file, &document, None, refusal));
            }
            Err(_) => {}
            Ok(node) if is_sigma(&node) => match rule(file, &document, &node) {
                Ok(rule) => out.rules.push(rule),
                Err(refusal) => {
                    out.problems.push(problem(file, &document, Some(&node), refusal));
                }
            },
            Ok(_) => {}
        }
    }
    out
}

fn is_sigma(node: &Node) -> bool {
    let section = ["detection", "correlation", "filter"].iter().any(|k| node.get(k).is_some());
    section || (node.get("logsource").is_some() && node.get("title").is_some())
}

fn looks_like_sigma(text: &str) -> bool {
    text.lines().any(|l| l.starts_with("detection:") || l.starts_with("correlation:"))
}

fn problem(
    file: &Arc<PathBuf>,
    document: &Document<'_>,
    node: Option<&Node>,
    refusal: Refusal,
) -> RuleProblem {
    let at = refusal.at.unwrap_or(Position { line: document.first_line, column: 1 });
    let text = |key| node.and_then(|n| n.get(key)).and_then(Node::text);
    RuleProblem {
        file: file.clone(),
        line: at.line,
        column: at.column,
        rule: text("id").or_else(|| text("title")).unwrap_or_default().into(),
        kind: refusal.kind,
        reason: refusal.reason,
        hint: refusal.hint,
    }
}

fn rule(file: &Arc<PathBuf>, document: &Document<'_>, node: &Node) -> Result<Rule, Refusal> {
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    let list = |key: &str| -> Vec<Box<str>> {
        match node.get(key).map(|n| &n.value) {
            Some(Yaml::List(items)) => {
                items.iter().filter_map(Node::text).map(String::into_boxed_str).collect()
            }
            _ => Vec::new(),
        }
    };
    let hash: Arc<str> = format!("{:032x}", xxh3_128(document.text.as_bytes())).into();
    refuse_action(node)?;
    if text("title").is_empty() {
        return Err(Refusal::invalid("the rule has no title", "add `title:`"));
    }
    let name = Some(text("name")).filter(|n| !n.is_empty()).map(Arc::from);
    let id = match text("id") {
        id if !id.is_empty() => id.into(),
        _ => name.clone().unwrap_or_else(|| format!("sha:{hash}").into()),
    };
    Ok(Rule {
        id,
        name,
        title: text("title").into(),
        status: text("status").into(),
        description: text("description").into(),
        author: text("author").into(),
        license: text("license").into(),
        references: list("references"),
        tags: list("tags"),
        level: level(node)?,
        logsource: logsource(node),
        date: text("date").into(),
        modified: text("modified").into(),
        hash,
        suppression_ns: suppression(node)?,
        generate: generate(node)?,
        shadow: shadow(node)?,
        kind: kind(node)?,
        tests: tests_doc::read(node)?,
        source: RuleSource {
            file: file.clone(),
            line: document.first_line,
            text: document.text.into(),
        },
    })
}

fn level(node: &Node) -> Result<Level, Refusal> {
    let Some(value) = node.get("level") else { return Ok(Level::Medium) };
    value.text().and_then(|t| Level::from_name(&t)).ok_or_else(|| {
        let hint = "use informational, low, medium, high or critical";
        Refusal::invalid("unknown level", hint).at(value.at)
    })
}

fn logsource(node: &Node) -> LogSource {
    let part = |key: &str| {
        let text = node.get("logsource").and_then(|n| n.get(key)).and_then(Node::text);
        text.filter(|t| !t.is_empty() && t != "*" && t != "any").map(String::into_boxed_str)
    };
    LogSource { product: part("product"), category: part("category"), service: part("service") }
}

fn suppression(node: &Node) -> Result<Option<i64>, Refusal> {
    let Some(value) = node.get("alcedo_suppression") else { return Ok(None) };
    let span = value.text().and_then(|t| Timespan::parse(&t)).ok_or_else(|| {
        Refusal::invalid("`alcedo_suppression` is a length of time", "write 1h").at(value.at)
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
            Err(Refusal::invalid("unknown `alcedo_state`", hint).at(value.at))
        }
    }
}

fn kind(node: &Node) -> Result<RuleKind, Refusal> {
    if let Some(section) = node.get("correlation") {
        let correlation = correlation_doc::read(section, node.get("generate"))?;
        return Ok(RuleKind::Correlation(correlation));
    }
    if let Some(section) = node.get("filter") {
        let rules = match section.get("rules") {
            None => Vec::new(),
            Some(Node { value: Yaml::List(items), .. }) => {
                items.iter().filter_map(Node::text).map(String::into_boxed_str).collect()
            }
            Some(Node { value: Yaml::Text(text), .. }) if text != "any" => {
                vec![text.as_str().into()]
            }
            Some(_) => Vec::new(),
        };
        return Ok(RuleKind::Filter(FilterDoc { rules, plan: detection::lower(section)? }));
    }
    match node.get("detection") {
        Some(section) => Ok(RuleKind::Detection { plan: detection::lower(section)? }),
        None => Err(Refusal::invalid("there is no detection", "add `detection:`")),
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
        rule: "".into(),
        kind: ProblemKind::Invalid,
        reason,
        hint: hint.into(),
    }
}
