//! Alcedo: records to events, events against all rules.

use detect::correlate::{Extractor, Hit, KeyHasher, SpecSet};
use detect::{RuleSet, Scratch, load_paths};
use event::{
    Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Match, Protocol, Room, RowHead,
};
use shape::{PackSet, Shaper};
use std::path::PathBuf;
use std::sync::Arc;

/// A prime, so that checked rows lie at all places of a batch.
const ROW_STEP: usize = 389;

/// A generation: names, packs, rules.
pub(crate) struct Ours {
    dict: Arc<Dictionary>,
    shaper: Shaper,
    pub(crate) rules: RuleSet,
    pub(crate) specs: Arc<SpecSet>,
    extractor: Extractor,
}

/// One worker's buffers.
#[derive(Default)]
pub(crate) struct Worker {
    shape: shape::Scratch,
    pub(crate) matching: Scratch,
    batch: Option<EventBatch>,
    room: Room,
    pub(crate) matches: Vec<Match>,
    checked: usize,
}

impl Ours {
    /// Loads and compiles as the server does, behind packs that are loaded already.
    pub(crate) fn load(packs: &Arc<PackSet>, folders: &[PathBuf]) -> Result<Self, String> {
        let (rules, _) = load_paths(folders);
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
        let shaper = Shaper::new(packs.clone(), dict.clone(), Arc::default(), Arc::default());
        let rules = RuleSet::build(rules, &dict);
        let specs = SpecSet::from_rules(&rules).map_err(|e| e.to_string())?;
        let extractor = Extractor::new(&specs, &dict, KeyHasher::new([1; 16]));
        Ok(Self { dict, shaper, rules, specs, extractor })
    }

    /// What correlations read of the worker's matches.
    pub(crate) fn hits(&self, worker: &Worker) -> Vec<Hit> {
        let mut out = Vec::new();
        if let Some(batch) = &worker.batch {
            self.extractor.extract(batch, &worker.matches, &mut out);
        }
        out
    }

    /// Shapes a chunk into a batch that the worker then holds.
    pub(crate) fn shape<'w>(&self, events: &[&[u8]], worker: &'w mut Worker) -> &'w EventBatch {
        let envelope = Arc::new(Envelope::of("bench", Protocol::File));
        let size_bytes = events.iter().map(|raw| raw.len()).sum();
        // Its memory is the next one's.
        worker.batch = None;
        let mut batch =
            EventBatch::with_room(self.dict.clone(), events.len(), size_bytes, worker.room);
        for (at, raw) in events.iter().enumerate() {
            let head = RowHead {
                id: EventId::at(at as u64),
                received_ns: 1_795_478_400_000_000_000,
                stream_ns: 0,
                envelope: envelope.clone(),
            };
            self.shaper.shape(head, raw, &mut batch, &mut worker.shape);
        }
        worker.room = worker.room.after(&batch);
        worker.batch.insert(batch)
    }

    /// Matches the worker's batch; the matches are left in the worker.
    pub(crate) fn matches(&self, worker: &mut Worker) {
        worker.matches.clear();
        if let Some(batch) = &worker.batch {
            self.rules.match_batch(batch, &mut worker.matching, &mut worker.matches);
        }
    }

    /// Asks the single-event evaluator about one row of the worker's batch, another one each time:
    /// 1, or an error that names the difference.
    pub(crate) fn check_one_row(&self, worker: &mut Worker) -> Result<u32, String> {
        let Some(batch) = worker.batch.as_ref().filter(|b| !b.is_empty()) else { return Ok(0) };
        worker.checked += 1;
        let at = worker.checked * ROW_STEP % batch.len();
        let row = batch.row(at);
        let of_row = worker.matches.iter().filter(|m| m.row as usize == at);
        let fast: Vec<u32> = of_row.map(|m| m.rule).collect();
        let exact = self.rules.match_exactly(&row);
        if fast == exact {
            return Ok(1);
        }
        let names = |rules: &[u32]| -> Vec<_> {
            rules.iter().map(|r| self.rules.rule(*r).id.to_string()).collect()
        };
        let raw = String::from_utf8_lossy(row.raw());
        Err(format!("fast {:?}, exact {:?}: {raw}", names(&fast), names(&exact)))
    }
}
