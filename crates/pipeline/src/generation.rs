//! What decides how records are read and matched: names, packs, tables and rules, as one value that
//! changes at an offset of the journal and nowhere else.

use detect::correlate::{Extractor, SpecSet};
use detect::{Pausing, RuleSet};
use event::Dictionary;
use shape::Shaper;
use std::sync::Arc;

/// One generation of names, packs, tables and rules.
#[derive(Clone)]
pub struct Generation {
    /// Counts up with every change.
    pub number: u64,
    /// Content hash of everything in it, hex.
    pub hash: String,
    /// Field names.
    pub dict: Arc<Dictionary>,
    /// Records to events.
    pub shaper: Arc<Shaper>,
    /// Rules and their matcher.
    pub rules: Arc<RuleSet>,
    /// The correlations among the rules.
    pub specs: Arc<SpecSet>,
    /// What correlations need of a matching event.
    pub extractor: Arc<Extractor>,
    /// Settings per source: dedupe windows and drop filters are driven by the sequencer.
    pub settings: Arc<shape::Settings>,
}

impl Generation {
    /// The same names, packs, tables and rules with other settings.
    pub fn with_settings(&self, settings: Arc<shape::Settings>) -> Self {
        let shaper = Arc::new(self.shaper.with_settings(settings.clone()));
        Self { shaper, settings, ..self.clone() }
    }

    /// The same with some rules out of force.
    pub fn with_paused(&self, paused: Vec<Pausing>) -> Self {
        Self { rules: Arc::new(self.rules.with_paused(paused)), ..self.clone() }
    }
}

/// Where generations come from. They are kept as long as records may refer to them.
pub trait Generations: Send + Sync {
    /// The generation in force at `offset` (before a change recorded at `offset` itself).
    fn at(&self, offset: u64) -> Arc<Generation>;

    /// The generation that the control record at `offset` switches to. `None` when the record does
    /// not name one that can be read: the old one stays in force, and it is an operator's problem.
    fn load(&self, offset: u64, record: &[u8]) -> Option<Arc<Generation>>;
}
