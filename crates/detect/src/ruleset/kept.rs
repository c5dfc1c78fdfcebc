//! Edits that break a rule: the version before stays in force until the file is mended or gone.
//!
//! ```text
//! documents --resolve--> rules, problems
//!     \-- a refused one that was in force with another text: that text in its place --resolve--> ...
//! ```

use super::load::{Documents, resolve};
use crate::sigma::document::line_of;
use crate::sigma::{RefusedRule, Rule, RuleProblem, SigmaSettings, parse_file};
use hashbrown::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Finds texts of documents that were in force, one of which may be that of a rule that is refused now,
/// the likeliest first.
pub type LastGood<'l> = dyn Fn(&RuleProblem) -> Vec<Arc<str>> + 'l;

/// Most texts that are read to find the one of a refused rule, of those that do not say plainly that they
/// are it.
const READ_MAX: usize = 64;

/// Rules as they are in force.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// In force, earlier versions among them.
    pub rules: Vec<Arc<Rule>>,
    /// What is wrong with what is written.
    pub problems: Vec<RuleProblem>,
    /// Ids of rules that are in force as they were before an edit that is refused.
    pub kept: Vec<Arc<str>>,
}

/// Puts documents in relation to each other, with the last good version of those that an edit broke. A
/// rule that is refused as it was, because others have changed, is not brought back.
pub(super) fn resolve_keeping(
    mut all: Documents,
    settings: &SigmaSettings,
    last_good: &LastGood<'_>,
) -> Loaded {
    let (rules, mut problems) = resolve(all.clone(), settings);
    let mut kept: Vec<Arc<str>> = Vec::new();
    let mut brought_back = HashSet::new();
    for refused in RefusedRule::of(&problems) {
        let problem = refused.first();
        if rules.iter().any(|rule| is_meant(rule, problem)) {
            continue;
        }
        let is_there = |rule: &Rule| {
            let is_as_it_was = all.rules.iter().any(|now| now.hash == rule.hash);
            is_as_it_was || rules.iter().any(|now| now.id == rule.id)
        };
        let texts = last_good(problem);
        let mut meant = texts.iter().filter_map(|text| earlier(problem, text, settings));
        let found = match is_nameless(problem) {
            // What stands for other documents of now was not this one.
            true => meant.find(|rule| !is_there(rule)),
            false => meant.next().filter(|rule| !is_there(rule)),
        };
        let Some(rule) = found else { continue };
        all.rules.retain(|now| !is_meant(now, problem));
        let before = |now: &Arc<Rule>| {
            *now.source.file != *rule.source.file || now.source.line < rule.source.line
        };
        let own =
            all.rules.iter().rposition(|now| now.source.file == rule.source.file && before(now));
        let first = all.rules.iter().position(|now| now.source.file >= rule.source.file);
        let at = own.map_or(first.unwrap_or(all.rules.len()), |at| at + 1);
        kept.push(rule.id.clone());
        brought_back.insert((problem.file.clone(), problem.document));
        all.rules.insert(at, Arc::new(rule));
    }
    if kept.is_empty() {
        return Loaded { rules, problems, kept };
    }
    // What is wrong with the edits stays told; what depended on them is well again.
    problems.retain(|p| brought_back.contains(&(p.file.clone(), p.document)));
    all.problems.retain(|p| !brought_back.contains(&(p.file.clone(), p.document)));
    let (rules, more) = resolve(all, settings);
    problems.extend(more);
    kept.retain(|id| rules.iter().any(|rule| rule.id == *id));
    Loaded { rules, problems, kept }
}

/// Of the texts that were in force, those that may be a refused rule's, the likeliest first: those that have
/// its id or name on a line of its own, then others that mention it. Of a document that is no YAML and
/// gives neither, those that share at least half of its lines, the most first.
pub fn resembling<'t>(
    problem: &RuleProblem,
    texts: impl Iterator<Item = &'t Arc<str>>,
) -> Vec<Arc<str>> {
    if is_nameless(problem) {
        let lines: HashSet<&str> =
            lines_of(problem.unread.as_deref().unwrap_or_default()).collect();
        let shared = |text: &str| lines_of(text).filter(|line| lines.contains(line)).count();
        let all = texts.map(|text| (shared(text), text));
        let mut near: Vec<_> = all.filter(|(n, _)| n * 2 >= lines.len() && *n > 0).collect();
        near.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
        return near.into_iter().take(READ_MAX).map(|(_, text)| text.clone()).collect();
    }
    let names = [&problem.rule, &problem.name];
    let names = names.map(|name| &**name).into_iter().filter(|name| !name.is_empty());
    let names: Vec<&str> = names.collect();
    let says = |text: &str| {
        let own = ["id", "name", "title"].iter().filter_map(|key| line_of(text, key));
        own.into_iter().any(|own| names.contains(&own))
    };
    let mentioning = texts.filter(|text| names.iter().any(|name| text.contains(name)));
    let (plainly, others): (Vec<_>, Vec<_>) = mentioning.partition(|text| says(text));
    plainly.into_iter().chain(others.into_iter().take(READ_MAX)).cloned().collect()
}

fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether the document is no YAML and has no line that says which rule it is.
fn is_nameless(problem: &RuleProblem) -> bool {
    problem.unread.is_some() && problem.name.is_empty() && problem.rule == problem.title
}

/// Whether a problem is about the rule, by its id, its name, or its title in the same file.
fn is_meant(rule: &Rule, problem: &RuleProblem) -> bool {
    let is_named = !problem.rule.is_empty() && *rule.id == *problem.rule
        || !problem.name.is_empty() && rule.answers_to(&problem.name);
    let is_titled = *rule.title == *problem.title && rule.source.file == problem.file;
    is_named || is_titled && rule.source.line == problem.document
}

/// The rule of an earlier text of a refused document, if it is the same one.
fn earlier(problem: &RuleProblem, text: &str, settings: &SigmaSettings) -> Option<Rule> {
    let parsed = parse_file(&Arc::new(PathBuf::new()), text, settings);
    let mut rule = parsed.rules.into_iter().next()?;
    rule.source.file = problem.file.clone();
    rule.source.line = problem.document;
    (is_nameless(problem) || is_meant(&rule, problem)).then_some(rule)
}
