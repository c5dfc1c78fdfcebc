//! Rules as they are loaded, before names are ids.

use super::pseudonym::Key;
use super::secrets::Finder;
use event::DictionaryBuilder;
use event::batch::{OVERFLOW_NAME, OWN_PREFIX};
use filter::Plan;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is put in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The same name for the same value.
    Pseudonym,
    /// `REDACTED`, for an address one of a network that nobody has.
    Mask,
    /// The field goes; the record has what masks it.
    Remove,
}

/// One rule.
pub(crate) struct Rule {
    pub(super) name: String,
    /// Names of fields, or groups of them: `user.*`.
    pub(super) fields: Vec<String>,
    pub(super) form: Form,
    pub(super) when: Option<Plan>,
    pub(super) finder: Option<Finder>,
    /// Also where a value stands in fields that tell what happened.
    pub(super) everywhere: bool,
}

/// All rules with their key, before names are ids.
pub struct Redaction {
    pub(super) key: Key,
    pub(super) rules: Vec<Rule>,
    /// No two that were loaded have the same: what a worker remembers belongs to one.
    pub(super) number: u64,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| &rule.name)).finish()
    }
}

impl Redaction {
    pub(super) fn new(key: Key, rules: Vec<Rule>) -> Self {
        // None is 0: that is what a worker has which has remembered nothing.
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self { key, rules, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Adds the names that rules read and write.
    pub fn register(&self, names: &mut DictionaryBuilder) {
        for rule in &self.rules {
            for field in rule.fields.iter().filter(|field| !field.ends_with('*')) {
                names.field(field);
            }
            for field in rule.when.iter().flat_map(Plan::fields) {
                names.field(field);
            }
        }
    }

    /// The pseudonym that takes a value's place: for whoever may know the value, to search for it.
    pub fn pseudonym(&self, value: &str) -> String {
        self.key.pseudonym(value.as_bytes())
    }
}

impl Rule {
    pub(super) fn chooses(&self, name: &str) -> bool {
        // Who sends names without end leaves no room for those of a group.
        self.fields.iter().any(|field| match field.strip_suffix('*') {
            Some(group) => name.starts_with(group) || name == OVERFLOW_NAME,
            None => field == name,
        })
    }

    pub(super) fn names_secret(&self, name: &str) -> bool {
        let names = self.finder.as_ref().and_then(|finder| finder.names.as_ref());
        !name.starts_with(OWN_PREFIX) && names.is_some_and(|names| names.is_match(name))
    }

    /// Whether it takes values because of the names of their fields.
    pub(super) fn goes_by_names(&self) -> bool {
        !self.fields.is_empty() || self.knows_secret_names()
    }

    /// Whether there are names that say to it that a secret follows.
    pub(super) fn knows_secret_names(&self) -> bool {
        self.finder.as_ref().is_some_and(|finder| finder.names.is_some())
    }
}
