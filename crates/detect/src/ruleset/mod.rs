//! All rules of one generation, compiled for the field ids of that generation.
//!
//! ```text
//! load_paths -> Vec<Rule> --register--> DictionaryBuilder --build--> Arc<Dictionary>
//!                   \-------------------------compile--------------------+--> RuleSet
//! ```
//! Two steps, because packs and settings add their names to the same dictionary in between.

mod load;

pub use load::{
    FILE_BYTES_MAX, FILES_MAX, FOLDER_DEPTH_MAX, load_paths, load_paths_with, load_text,
    load_text_with,
};

use crate::correlate::from_rules::references;
use crate::matcher::{LOGSOURCE_FIELD, Matcher};
use crate::sigma::{CorrelationCondition, Rule, RuleProblem};
use event::{Dictionary, DictionaryBuilder};
use filter::Binding;
use hashbrown::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// The rules of a generation. Immutable; a change of rules makes a new one.
pub struct RuleSet {
    pub(crate) rules: Vec<Rule>,
    /// One per rule; `None` for correlations.
    pub(crate) bindings: Vec<Option<Binding>>,
    pub(crate) matcher: Matcher,
    dict: Arc<Dictionary>,
    by_reference: HashMap<Arc<str>, u32>,
    hash: Arc<str>,
}

impl RuleSet {
    /// See [`load_paths`].
    pub fn load_paths(paths: &[PathBuf]) -> (Vec<Rule>, Vec<RuleProblem>) {
        load_paths(paths)
    }

    /// Adds every field that the rules read to the dictionary, and gives the ones read most a hot
    /// slot (with everything that answers for them).
    pub fn register(rules: &[Rule], dict: &mut DictionaryBuilder) {
        let mut uses: HashMap<&str, u32> = HashMap::new();
        for rule in rules {
            for field in fields_of(rule) {
                *uses.entry(field).or_default() += 1;
            }
        }
        let mut names: Vec<_> = uses.into_iter().collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let logsource = dict.field(LOGSOURCE_FIELD);
        dict.hot(logsource);
        for (name, _) in names {
            dict.field(name);
            for id in dict.answers(name) {
                dict.hot(id);
            }
        }
    }

    /// Compiles the rules for a dictionary that they were [registered](RuleSet::register) in.
    /// Rule `i` of the list is rule `i` of the set.
    pub fn build(rules: Vec<Rule>, dict: &Arc<Dictionary>) -> Self {
        let bindings: Vec<_> = rules.iter().map(|r| r.plan().map(|p| p.bind(&**dict))).collect();
        let matcher = Matcher::build(&rules, &bindings, dict);
        let by_reference = references(&rules);
        let mut hasher = Xxh3::new();
        for rule in &rules {
            hasher.update(rule.id.as_bytes());
            hasher.update(rule.hash.as_bytes());
        }
        let hash = format!("{:032x}", hasher.digest128()).into();
        Self { rules, bindings, matcher, dict: dict.clone(), by_reference, hash }
    }

    /// Registers, builds a dictionary of ECS and rule fields alone, and compiles: for tests, tools
    /// and wherever there are no packs.
    pub fn standalone(rules: Vec<Rule>) -> Self {
        let mut builder = DictionaryBuilder::new();
        Self::register(&rules, &mut builder);
        Self::build(rules, &builder.build())
    }

    /// All rules; their index is the number in [`event::Match`].
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of that number. Panics on a number of another set.
    pub fn rule(&self, index: u32) -> &Rule {
        &self.rules[index as usize]
    }

    /// Number of the rule with that id or name.
    pub fn find(&self, reference: &str) -> Option<u32> {
        self.by_reference.get(reference).copied()
    }

    /// Numbers of the rules by their ids and names.
    pub(crate) fn by_reference(&self) -> &HashMap<Arc<str>, u32> {
        &self.by_reference
    }

    /// The dictionary it was compiled for; batches must have the same one.
    pub fn dict(&self) -> &Arc<Dictionary> {
        &self.dict
    }

    /// Hex of a hash over ids and contents of all rules, in order.
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }

    /// What the matcher was built of, for listings.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }
}

/// Fields that a rule reads: of its plan, or those a correlation groups by and counts.
pub fn fields_of(rule: &Rule) -> Vec<&str> {
    if let Some(plan) = rule.plan() {
        return plan.fields();
    }
    let Some(correlation) = rule.correlation() else { return Vec::new() };
    let mut out: Vec<&str> = correlation.group_by.iter().map(|f| &**f).collect();
    let aliased = correlation.aliases.iter().flat_map(|a| a.fields.iter().map(|(_, f)| &**f));
    out.extend(aliased);
    if let CorrelationCondition::Bounds { fields, .. } = &correlation.condition {
        out.extend(fields.iter().map(|f| &**f));
    }
    // An alias is a name of the rule alone, not of a field.
    out.retain(|name| !correlation.aliases.iter().any(|a| *a.name == **name));
    out
}
