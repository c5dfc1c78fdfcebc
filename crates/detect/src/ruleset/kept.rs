//! Edits that break a rule: the version before stays in force until the file is mended or gone.
//!
//! ```text
//! documents --resolve--> rules, problems
//!     \-- a refused one that was in force with another text: that text in its place --resolve--> ...
//! ```

use super::load::{Documents, resolve};
use crate::sigma::{RefusedRule, Rule, RuleProblem, SigmaSettings, parse_file};
use hashbrown::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Finds the text of the document that was in force where a rule is refused now.
pub type LastGood<'l> = dyn Fn(&RuleProblem) -> Option<Arc<str>> + 'l;

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
        let Some(rule) = last_good(problem).and_then(|text| earlier(problem, &text, settings))
        else {
            continue;
        };
        let is_as_it_was = all.rules.iter().any(|now| now.hash == rule.hash);
        if is_as_it_was || rules.iter().any(|now| now.id == rule.id) {
            continue;
        }
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
    is_meant(&rule, problem).then_some(rule)
}
