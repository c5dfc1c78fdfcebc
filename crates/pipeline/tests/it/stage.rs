//! A journal with a story in it, and pipelines that read it.

use detect::correlate::{Extractor, KeyHasher, SpecSet};
use detect::{RuleSet, load_text};
use event::{DictionaryBuilder, Envelope, EventBatch, Marks, Protocol, RawBatch, RecordKind};
use journal::{Clock, Journal, Options, OsFs};
use pipeline::{AlertChange, Core, CoreSettings, Generation, Generations, Outlets, Progress};
use shape::{PackSet, Shaper, Tables};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use watch::{Balance, Registry};

pub(crate) const S: i64 = event::time::SECOND_NS;
/// 2026-11-24T00:00:00Z.
pub(crate) const START_NS: i64 = 1_795_478_400 * S;

/// A clock that stands until it is told to go on: what passed, and how far the wall clock is off.
#[derive(Default)]
pub(crate) struct Hand(AtomicI64, AtomicI64);

impl Clock for Hand {
    fn wall_ns(&self) -> i64 {
        START_NS + self.0.load(Ordering::SeqCst) + self.1.load(Ordering::SeqCst)
    }
    fn mono_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst) as u64
    }
}

/// A journal under a hand-driven clock, in a folder of its own.
pub(crate) struct Stage {
    pub(crate) journal: Journal,
    clock: Arc<Hand>,
    pub(crate) generation: Arc<Generation>,
    _dir: tempfile::TempDir,
}

/// One generation for all.
pub(crate) struct Only(pub(crate) Arc<Generation>);

impl Generations for Only {
    fn at(&self, _: u64) -> Arc<Generation> {
        self.0.clone()
    }
    fn load(&self, _: u64, _: &[u8]) -> Option<Arc<Generation>> {
        None
    }
}

/// What a run said: every change with the offset below which everything was done before it.
pub(crate) type Said = Vec<(u64, String)>;

/// What came out of one run.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) said: Said,
    /// The same, as they are.
    pub(crate) changes: Vec<AlertChange>,
    pub(crate) backfill: Vec<(String, bool)>,
    /// Alerts as they fired: rule, level, reason.
    pub(crate) fired: Vec<(String, event::Level, String)>,
    /// Per row: offset and whether it is not a repeat.
    pub(crate) rows: Vec<(u64, bool)>,
    /// Per row: offset and the event as JSON.
    pub(crate) events: Vec<(u64, String)>,
    pub(crate) snapshots: Vec<(u64, Vec<u8>)>,
    /// Closed windows of dedupe: offset of the first record, and how many came.
    pub(crate) repeats: Vec<(u64, u64)>,
    /// What sources were decided to send, with the offset below which everything was done.
    pub(crate) decisions: Vec<(u64, shape::Decision)>,
    done: Progress,
}

/// Listens, and stands for a store that forgets some rows.
#[derive(Clone)]
struct Ear {
    heard: Arc<Mutex<Heard>>,
    loses: fn(&[u8]) -> bool,
}

impl Outlets for Ear {
    fn events(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]> {
        let rows = batch.rows().map(|r| (r.id().offset, !r.marks().has(Marks::DEDUPED)));
        let events = batch.rows().map(|row| {
            let mut text = String::new();
            shape::to_json(&row, &mut text);
            (row.id().offset, text)
        });
        let mut heard = self.heard.lock().unwrap();
        heard.rows.extend(rows);
        heard.events.extend(events);
        let held = batch.rows().filter(|r| r.is_kept() && !(self.loses)(r.raw()));
        held.map(|r| r.index() as u32).collect()
    }
    fn remember(&mut self, decision: shape::Decision) {
        let mut heard = self.heard.lock().unwrap();
        let at = heard.done.next_offset;
        heard.decisions.push((at, decision));
    }
    fn stored(&self) -> u64 {
        // Whatever comes: a restart may begin anywhere.
        0
    }
    fn alert(&mut self, change: AlertChange) {
        let mut heard = self.heard.lock().unwrap();
        let at = heard.done.next_offset;
        if let AlertChange::Fired(alert, _) = &change {
            heard.backfill.push((alert.rule_id.clone(), alert.backfill));
            heard.fired.push((alert.rule_id.clone(), alert.level, alert.reason.clone()));
        }
        heard.said.push((at, format!("{change:?}")));
        heard.changes.push(change);
    }
    fn progress(&mut self, progress: Progress) {
        self.heard.lock().unwrap().done = progress;
    }
    fn repeats(&mut self, closed: &[shape::DedupeSummary]) {
        let closed = closed.iter().map(|one| (one.first.offset, one.count));
        self.heard.lock().unwrap().repeats.extend(closed);
    }
    fn health(&mut self, _: &Registry, _: &Balance, _: i64) {}
}

impl Stage {
    pub(crate) fn new(rules: &str, dedupe: &[(&str, i64)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand::default());
        let options =
            Options { segment_size_bytes: 1 << 20, disk_reserve_bytes: 0, ..Options::default() };
        let (journal, _) =
            Journal::open(dir.path(), options, Arc::new(OsFs), clock.clone()).unwrap();
        Self { journal, clock, generation: generation(rules, dedupe), _dir: dir }
    }

    pub(crate) fn now_ns(&self) -> i64 {
        self.clock.wall_ns()
    }

    /// What the time really is.
    pub(crate) fn true_ns(&self) -> i64 {
        START_NS + self.clock.0.load(Ordering::SeqCst)
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump(&self, ns: i64) {
        self.clock.1.fetch_add(ns, Ordering::SeqCst);
    }

    /// A second passes.
    pub(crate) fn tick(&self) {
        self.clock.0.fetch_add(S, Ordering::SeqCst);
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Tick, 0, self.now_ns(), b"{}");
        self.journal.appender().append_wait(batch).unwrap();
    }

    /// Records of one source, durable when it returns; the last offset.
    pub(crate) fn send(&self, source: &str, records: &[String]) -> u64 {
        let mut batch = RawBatch::of(Arc::new(Envelope::of(source, Protocol::Http)));
        records.iter().for_each(|r| batch.push(self.now_ns(), r.as_bytes()));
        self.journal.appender().append_wait(batch).unwrap().last
    }

    pub(crate) fn settings(&self) -> CoreSettings {
        CoreSettings {
            suppress_ns: 20 * S,
            watch: watch::Settings::default(),
            seed: 7,
            correlation: detect::correlate::Settings::default(),
        }
    }

    /// Reads the journal to its end with so many workers, from the start or from a snapshot, the
    /// store needing everything from `stored` on.
    pub(crate) fn run(&self, workers: usize, snapshot: Option<&[u8]>, stored: u64) -> Heard {
        self.run_losing(workers, snapshot, stored, |_| false)
    }

    /// The same, with a store that says of some records that it does not hold them.
    pub(crate) fn run_losing(
        &self,
        workers: usize,
        snapshot: Option<&[u8]>,
        stored: u64,
        loses: fn(&[u8]) -> bool,
    ) -> Heard {
        let core = match snapshot {
            None => Core::new(self.generation.clone(), self.settings()),
            Some(bytes) => Core::restore(bytes, self.generation.clone(), self.settings()).unwrap(),
        };
        let ear = Ear { heard: Arc::default(), loses };
        let kept = ear.heard.clone();
        let from = core.read_from().min(stored);
        ear.heard.lock().unwrap().done = core.progress();
        let settings = pipeline::Settings {
            workers,
            from,
            in_hand: Arc::new(pipeline::InHand::none()),
            first_slot: 0,
            keep_snapshot: Some(Box::new(move |offset, bytes| {
                kept.lock().unwrap().snapshots.push((offset, bytes));
            })),
        };
        let generations = Arc::new(Only(self.generation.clone()));
        let end = self.journal.durable().unwrap() + 1;
        let running = pipeline::Pipeline::start(
            &self.journal,
            generations,
            core,
            Box::new(ear.clone()),
            settings,
        )
        .unwrap();
        let patience = std::time::Instant::now();
        while ear.heard.lock().unwrap().done.next_offset < end {
            assert!(patience.elapsed() < Duration::from_secs(60), "the pipeline stands still");
            std::thread::sleep(Duration::from_millis(5));
        }
        running.stop();
        std::mem::take(&mut *ear.heard.lock().unwrap())
    }
}

fn generation(text: &str, dedupe: &[(&str, i64)]) -> Arc<Generation> {
    let (rules, problems) = load_text(text);
    assert_eq!(problems, []);
    let packs = Arc::new(PackSet::builtin().unwrap());
    let mut names = DictionaryBuilder::new();
    packs.register(&mut names);
    RuleSet::register(&rules, &mut names);
    let dict = names.build();
    let settings = shape::Settings {
        dedupe_ns: dedupe.iter().map(|(s, ns)| ((*s).to_owned(), *ns)).collect(),
        ..shape::Settings::default()
    };
    let settings = Arc::new(settings);
    let shaper = Shaper::new(packs, dict.clone(), Arc::new(Tables::default()), settings.clone());
    let rules = Arc::new(RuleSet::build(rules, &dict));
    let specs = SpecSet::from_rules(&rules).unwrap();
    let extractor = Extractor::new(&specs, &dict, KeyHasher::new([9; 16]));
    Arc::new(Generation {
        number: 1,
        hash: "test".into(),
        dict,
        shaper: Arc::new(shaper),
        rules,
        specs,
        extractor: Arc::new(extractor),
        settings,
    })
}
