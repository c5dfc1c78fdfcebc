//! A store that takes no rows for a while: they are left in the journal and given to it later.

use super::stage::{Only, S, Said, Stage};
use event::{EventBatch, Level};
use pipeline::{AlertChange, Core, InHand, Outlets, Pipeline, Progress, Refill, Relay, Shelf};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use watch::{Balance, Registry};

const RULES: &str = "
title: Failed
id: 00000000-0000-4000-8000-000000000001
logsource: {category: test}
detection: {s: {what: failed}, condition: s}
";

/// Rows as the store has them: place, whether it is kept, what it says.
type Rows = Vec<(u64, u32, String)>;

#[derive(Default)]
struct World {
    relay: Arc<Relay>,
    rows: Mutex<Rows>,
    said: Mutex<Said>,
    imbalances: Mutex<Vec<String>>,
    snapshots: Mutex<Vec<(u64, Vec<u8>)>>,
    done: Mutex<Progress>,
    is_closing: AtomicBool,
}

impl World {
    fn put(&self, batch: &EventBatch) -> Arc<[u32]> {
        let mut rows = self.rows.lock().unwrap();
        let through = rows.last().map(|(offset, sub, _)| (*offset, *sub));
        let new = batch.rows().filter(|row| {
            let id = row.id();
            row.is_kept() && through.is_none_or(|through| (id.offset, id.sub) > through)
        });
        let mut held = Vec::new();
        for row in new {
            let mut text = String::new();
            shape::to_json(&row, &mut text);
            rows.push((row.id().offset, row.id().sub, text));
            held.push(row.index() as u32);
        }
        held.into()
    }
}

/// The sequencer's outlets, with a store that takes no rows of a range of offsets.
struct Live(Arc<World>, Range<u64>);

impl Outlets for Live {
    fn events(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]> {
        let takes = batch.rows().all(|row| !self.1.contains(&row.id().offset));
        self.0.relay.live(batch, takes, || self.0.put(batch))
    }
    fn alert(&mut self, change: AlertChange) {
        if let AlertChange::Fired(alert, _) = &change
            && alert.level == Level::Critical
        {
            self.0.imbalances.lock().unwrap().push(alert.reason.clone());
        }
        let at = self.0.done.lock().unwrap().next_offset;
        self.0.said.lock().unwrap().push((at, format!("{change:?}")));
    }
    fn progress(&mut self, progress: Progress) {
        *self.0.done.lock().unwrap() = progress;
    }
    fn health(&mut self, _: &Registry, _: &Balance, _: i64) {}
    fn stored(&self) -> u64 {
        0
    }
}

struct Takes(Arc<World>, Arc<Mutex<Vec<(u64, u64)>>>);

impl Shelf for Takes {
    fn has_room(&self) -> bool {
        true
    }
    fn is_closing(&self) -> bool {
        self.0.is_closing.load(Ordering::SeqCst)
    }
    fn take(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]> {
        self.0.put(batch)
    }
    fn caught_up(&mut self, stretch: pipeline::Stretch) {
        self.1.lock().unwrap().push((stretch.left, stretch.taken));
    }
}

/// A source whose repeats are marked, columns under a header line, a record in parts, several events
/// in one record.
fn seconds(stage: &Stage, range: Range<u64>) {
    for n in range {
        let record =
            format!(r#"{{"what":"{}","n":{}}}"#, ["failed", "fine"][n as usize % 2], n / 4);
        stage.send("web", &[record.clone(), format!("no JSON {n}")]);
        stage.send("vpn", &[record.clone(), record]);
        if n % 20 == 3 {
            let order = ["c-ip cs-method", "cs-method c-ip"][n as usize / 20 % 2];
            stage.send("w3c", &[format!("#Fields: date time {order}")]);
            stage.send("web", &[r#"{"Records":[{"a":1},{"a":2},{"a":3}]}"#.to_owned()]);
            stage.send("web", &[format!(r#"{{"long":"{}"}}"#, "x".repeat(2 << 20))]);
        }
        stage.send("w3c", &[format!("2026-11-24 00:00:00 10.0.0.{} GET", n % 200)]);
        stage.tick();
    }
}

fn start_live(stage: &Stage, world: &Arc<World>, refuses: Range<u64>) -> Pipeline {
    let keeps = world.clone();
    let keep = move |offset, bytes| keeps.snapshots.lock().unwrap().push((offset, bytes));
    let core = Core::new(stage.generation.clone(), stage.settings());
    let settings = pipeline::Settings {
        workers: 2,
        from: 0,
        in_hand: Arc::new(InHand::none()),
        first_slot: 0,
        keep_snapshot: Some(Box::new(keep)),
    };
    start(stage, core, Box::new(Live(world.clone(), refuses)), settings)
}

/// Reads what was left, as after a snapshot from before it.
fn start_refill(stage: &Stage, world: &Arc<World>, shelf: Takes) -> Pipeline {
    let first = world.relay.behind().unwrap().first.offset;
    let snapshots = world.snapshots.lock().unwrap();
    let before = snapshots.iter().rev().find(|(offset, _)| *offset <= first);
    let generation = stage.generation.clone();
    let core = Core::for_store(before.map(|(_, bytes)| &bytes[..]), generation, stage.settings());
    let settings = pipeline::Settings {
        workers: 1,
        from: core.read_from(),
        in_hand: Arc::new(InHand::none()),
        first_slot: 2,
        keep_snapshot: None,
    };
    let outlets = Refill::new(world.relay.clone(), shelf);
    start(stage, core, Box::new(outlets), settings)
}

fn start(
    stage: &Stage,
    core: Core,
    outlets: Box<dyn Outlets>,
    settings: pipeline::Settings,
) -> Pipeline {
    let generations = Arc::new(Only(stage.generation.clone()));
    Pipeline::start(&stage.journal, generations, core, outlets, settings).unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Scenario: the store takes no rows from some place on; events and minutes go on; it takes rows
/// again, and while they are read from the journal more events come.
/// Guarantees: detection says what it says with a store that takes everything, and nothing of an
/// imbalance; afterwards the store has every row once, in order, word for word; so many as were left.
#[test]
fn what_was_left_is_given_once_and_in_order() {
    for refused in [1, 150, 333] {
        let stage = Stage::new(RULES, &[("vpn", 3 * S)]);
        let world = Arc::new(World::default());
        let live = start_live(&stage, &world, refused..refused + 1);
        seconds(&stage, 0..100);
        let end = || stage.journal.durable().unwrap() + 1;
        let has_passed = || world.done.lock().unwrap().next_offset >= end();
        until("detection", has_passed);
        let stored = world.rows.lock().unwrap().last().map_or(0, |row| row.0);
        assert!(stored < refused && world.relay.behind().is_some(), "{stored}");
        let counts = Arc::default();
        let refill = start_refill(&stage, &world, Takes(world.clone(), Arc::clone(&counts)));
        seconds(&stage, 100..130);
        until("the store's turn", || world.relay.behind().is_none());
        refill.stop();
        seconds(&stage, 130..135);
        (0..180).for_each(|_| stage.tick());
        until("the rest", has_passed);
        live.stop();
        let counts: Vec<(u64, u64)> = counts.lock().unwrap().clone();
        assert!(counts.len() == 1 && counts[0].0 == counts[0].1 && counts[0].0 > 200, "{counts:?}");
        let other = Arc::new(World::default());
        let reference = start_live(&stage, &other, 0..0);
        until("the reference", || other.done.lock().unwrap().next_offset >= end());
        reference.stop();
        let (got, expected) = (world.rows.lock().unwrap(), other.rows.lock().unwrap());
        let differs = got.iter().zip(expected.iter()).find(|(a, b)| a != b);
        assert!(*got == *expected, "{} and {}: {differs:?}", got.len(), expected.len());
        assert_eq!(*world.said.lock().unwrap(), *other.said.lock().unwrap());
        assert_eq!(*world.imbalances.lock().unwrap(), Vec::<String>::new());
    }
}

/// Scenario: the reading is told to end while rows are left and the store has no room for them.
/// Guarantees: it ends, and the rows are still left.
#[test]
fn a_reading_ends_when_it_is_told_to() {
    struct Full(Arc<World>);
    impl Shelf for Full {
        fn has_room(&self) -> bool {
            false
        }
        fn is_closing(&self) -> bool {
            self.0.is_closing.load(Ordering::SeqCst)
        }
        fn take(&mut self, _: &Arc<EventBatch>) -> Arc<[u32]> {
            unreachable!("there is no room")
        }
        fn caught_up(&mut self, _: pipeline::Stretch) {}
    }
    let stage = Stage::new(RULES, &[]);
    let world = Arc::new(World::default());
    let live = start_live(&stage, &world, 0..u64::MAX);
    seconds(&stage, 0..10);
    until("detection", || world.relay.behind().is_some_and(|stretch| stretch.left > 30));
    let core = Core::for_store(None, stage.generation.clone(), stage.settings());
    let settings = pipeline::Settings {
        workers: 1,
        from: 0,
        in_hand: Arc::new(InHand::none()),
        first_slot: 2,
        keep_snapshot: None,
    };
    let outlets = Refill::new(world.relay.clone(), Full(world.clone()));
    let refill = start(&stage, core, Box::new(outlets), settings);
    std::thread::sleep(Duration::from_millis(100));
    world.is_closing.store(true, Ordering::SeqCst);
    refill.stop();
    live.stop();
    assert!(world.relay.behind().is_some_and(|stretch| stretch.taken == 0));
}
