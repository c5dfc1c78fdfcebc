//! Rules behind packs, as they run live: records in, matches out, logsource routing on.

use detect::ruletest::{Bench, RECEIVED_NS, TestResult};
use detect::{Rule, RuleSet, Scratch, TestInput};
use event::{
    Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Match, Protocol, RowHead,
};
use shape::{PackSet, Shaper};
use std::sync::Arc;

pub(crate) struct Live {
    pub(crate) set: RuleSet,
    pub(crate) dict: Arc<Dictionary>,
    shaper: Shaper,
    shaping: shape::Scratch,
    matching: Scratch,
}

impl Live {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        let packs = Arc::new(PackSet::builtin().unwrap());
        let mut names = DictionaryBuilder::new();
        packs.register(&mut names);
        for rule in &rules {
            let logsource = rule.plan().map_or([None; 3], |_| rule.logsource.parts());
            for field in detect::fields_of(rule) {
                packs.register_rule_field(&mut names, logsource, field);
            }
        }
        RuleSet::register(&rules, &mut names);
        let dict = names.build();
        let shaper = Shaper::new(packs, dict.clone(), Arc::default(), Arc::default());
        let set = RuleSet::build(rules, &dict);
        let (shaping, matching) = (shape::Scratch::default(), Scratch::new());
        Self { set, dict, shaper, shaping, matching }
    }

    /// The events of records, in order; each record's number is its offset.
    pub(crate) fn shape<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> EventBatch {
        let mut batch = EventBatch::new(self.dict.clone());
        let envelope = Arc::new(Envelope::of("test", Protocol::File));
        for (number, record) in records.into_iter().enumerate() {
            let head = RowHead {
                id: EventId::at(number as u64),
                received_ns: RECEIVED_NS,
                stream_ns: RECEIVED_NS,
                envelope: envelope.clone(),
            };
            self.shaper.shape(head, record, &mut batch, &mut self.shaping);
        }
        batch
    }

    pub(crate) fn matches(&mut self, batch: &EventBatch) -> Vec<Match> {
        let mut out = Vec::new();
        self.set.match_batch(batch, &mut self.matching, &mut out);
        out
    }

    /// The rule's own tests.
    pub(crate) fn tests(&mut self, rule: u32) -> Vec<TestResult> {
        let (shaper, shaping) = (&self.shaper, &mut self.shaping);
        let mut bench = Bench::new(&self.set);
        let results = bench.run(rule, &mut |head, input, batch| {
            let bytes = match input {
                TestInput::Event(event) => event.to_string().into_bytes(),
                TestInput::Raw(raw) => raw.as_bytes().to_vec(),
            };
            shaper.shape(head, &bytes, batch, shaping);
        });
        results.unwrap()
    }
}
