//! All rules of one generation, compiled for the field ids of that generation.
//!
//! ```text
//! load_paths -> Vec<Rule> --register--> DictionaryBuilder --build--> Arc<Dictionary>
//!                   \-------------------------compile--------------------+--> RuleSet
//! ```
//! Two steps, because packs and settings add their names to the same dictionary in between.
//! A change of few rules goes through [`RuleSet::update`], which keeps what was compiled of all
//! others.

mod kept;
mod load;
mod pause;
mod reload;
mod spread;

pub use pause::{PAUSE_NS, Pausing};
pub use reload::{Changed, Loader};

pub use kept::{LastGood, Loaded, resembling};
pub use load::{
    FILE_BYTES_MAX, FILES_MAX, FOLDER_DEPTH_MAX, load_documents, load_paths, load_paths_with,
    load_text, load_text_with, texts_of,
};

use crate::correlate::from_rules::references;
use crate::matcher::{Compiled, LOGSOURCE_FIELD};
use crate::sigma::{CorrelationCondition, Rule, RuleProblem};
use event::{Dictionary, DictionaryBuilder};
use hashbrown::HashMap;
use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// The rules of a generation. Immutable; a change of rules makes a new one.
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    /// The rules as compiled: most of them at once, later ones apart (see [`RuleSet::update`]).
    pub(crate) parts: Vec<Part>,
    dict: Arc<Dictionary>,
    by_reference: HashMap<Arc<str>, u32>,
    hash: Arc<str>,
    /// Rules that are out of force for a while.
    paused: Arc<[Pausing]>,
}

/// Rules compiled together, and which of the set they are.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) compiled: Arc<Compiled>,
    /// Number in the set of each compiled rule, or [`GONE`].
    numbers: Arc<[u32]>,
    /// The same, paused rules included.
    all_numbers: Arc<[u32]>,
}

/// A compiled rule that is not in the set any more, or paused.
const GONE: u32 = u32::MAX;

/// Most rules that are new or gone before everything is compiled anew: each event is looked up in
/// the rules that were added as well, so they should stay few.
const CHANGED_MAX: usize = 256;

/// Whether two rules match the same events.
fn is_same(a: &Arc<Rule>, b: &Arc<Rule>) -> bool {
    Arc::ptr_eq(a, b) || (a.hash == b.hash && a.logsource == b.logsource && a.plan() == b.plan())
}

impl Part {
    fn new(compiled: Arc<Compiled>, numbers: Vec<u32>) -> Self {
        let numbers: Arc<[u32]> = numbers.into();
        Self { compiled, all_numbers: numbers.clone(), numbers }
    }

    /// Compiles rules of a set; `numbers` are theirs there.
    fn compile(rules: Vec<Arc<Rule>>, numbers: Vec<u32>, dict: &Dictionary) -> Self {
        let bindings = rules.iter().map(|r| r.plan().map(|p| p.bind(dict))).collect();
        Self::new(Arc::new(Compiled::new(rules, bindings, dict)), numbers)
    }

    /// Number in the set of a compiled rule, unless it has gone or is paused.
    pub(crate) fn number(&self, compiled: u32) -> Option<u32> {
        Some(self.numbers[compiled as usize]).filter(|n| *n != GONE)
    }
}

impl RuleSet {
    /// See [`load_paths`].
    pub fn load_paths(paths: &[PathBuf]) -> (Vec<Rule>, Vec<RuleProblem>) {
        load_paths(paths)
    }

    /// Adds every field that the rules read to the dictionary, and gives the ones read most a hot
    /// slot (with everything that answers for them).
    pub fn register(rules: &[impl Borrow<Rule>], dict: &mut DictionaryBuilder) {
        let mut uses: HashMap<&str, u32> = HashMap::new();
        for rule in rules {
            for field in fields_of(rule.borrow()) {
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
        Self::build_shared(rules.into_iter().map(Arc::new).collect(), dict)
    }

    /// As [`RuleSet::build`], for rules that are shared.
    pub fn build_shared(rules: Vec<Arc<Rule>>, dict: &Arc<Dictionary>) -> Self {
        let numbers = (0..rules.len() as u32).collect();
        let part = Part::compile(rules.clone(), numbers, dict);
        Self::of_parts(rules, vec![part], dict)
    }

    /// The set for another list of rules, which mostly are those of this one: only what is new or
    /// was edited is compiled, the rest is shared, with all it has learned of the traffic. Equal to
    /// [`RuleSet::build_shared`] in every verdict.
    ///
    /// `dict` must hold the fields of all rules; when it is not this set's dictionary or one that
    /// [extends](Dictionary::extends) it, or when much has changed, everything is compiled anew.
    pub fn update(&self, rules: Vec<Arc<Rule>>, dict: &Arc<Dictionary>) -> Self {
        let base = &self.parts[0].compiled;
        if !Arc::ptr_eq(dict, &self.dict) && !dict.extends(&self.dict) {
            return Self::build_shared(rules, dict);
        }
        let places = base.rules.iter().enumerate().map(|(at, rule)| (&*rule.id, at));
        let places: HashMap<&str, usize> = places.collect();
        let mut numbers = vec![GONE; base.rules.len()];
        let (mut added, mut added_numbers) = (Vec::new(), Vec::new());
        for (number, rule) in rules.iter().enumerate() {
            match places.get(&*rule.id) {
                Some(at) if is_same(&base.rules[*at], rule) => numbers[*at] = number as u32,
                _ => {
                    added.push(rule.clone());
                    added_numbers.push(number as u32);
                }
            }
        }
        let gone = numbers.iter().filter(|n| **n == GONE).count();
        if added.len().max(gone) > CHANGED_MAX {
            return Self::build_shared(rules, dict);
        }
        let mut parts = vec![Part::new(base.clone(), numbers)];
        if !added.is_empty() {
            parts.push(Part::compile(added, added_numbers, dict));
        }
        Self::of_parts(rules, parts, dict)
    }

    fn of_parts(rules: Vec<Arc<Rule>>, parts: Vec<Part>, dict: &Arc<Dictionary>) -> Self {
        let by_reference = references(&rules);
        let mut hasher = Xxh3::new();
        for rule in &rules {
            hasher.update(rule.id.as_bytes());
            hasher.update(rule.hash.as_bytes());
        }
        let hash = format!("{:032x}", hasher.digest128()).into();
        Self { rules, parts, dict: dict.clone(), by_reference, hash, paused: Arc::default() }
    }

    /// Registers, builds a dictionary of ECS and rule fields alone, and compiles: for tests, tools
    /// and wherever there are no packs.
    pub fn standalone(rules: Vec<Rule>) -> Self {
        let mut builder = DictionaryBuilder::new();
        Self::register(&rules, &mut builder);
        Self::build(rules, &builder.build())
    }

    /// All rules; their index is the number in [`event::Match`].
    pub fn rules(&self) -> &[Arc<Rule>] {
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
