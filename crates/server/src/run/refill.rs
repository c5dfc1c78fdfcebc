//! A store that could not take rows: they stay in the journal, and it is given them from there as soon
//! as it can. How the turn changes is [`pipeline::relay`]'s; here it meets the store and the journal.

use super::generations::Course;
use super::{App, CURSOR_DETECT, CURSOR_REFILL};
use event::{Certainty, Envelope, EventBatch, Gap, GapCause, RawBatch};
use ledger::Actor;
use pipeline::{Core, CoreSettings, Generations, InHand, Pipeline, Refill, Shelf, Stretch};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a reading of the journal for the store needs to know.
pub struct Ground {
    /// As the sequencer's.
    pub settings: CoreSettings,
    /// Records that end the process.
    pub in_hand: Arc<InHand>,
    /// Workers of the pipeline that detects.
    pub workers: usize,
}

/// The snapshot of detection, from which marks of repeats and header lines go on.
fn snapshot_path(app: &App) -> PathBuf {
    app.config.data_dir.join("detect/snapshot")
}

/// The same file as it was when the first row was left.
fn left_path(app: &App) -> PathBuf {
    app.config.data_dir.join("detect/left")
}

/// The first row has been left: the journal is kept from where it will be read for the store, and so
/// is the snapshot from before it. Called on the sequencer's thread, which makes the snapshots.
pub fn begun(app: &App) {
    let _marking = app.marking_left.lock();
    let appended = app.store.appended_through(0).map_or(0, |id| id.offset + 1);
    let from = appended.min(app.journal.cursor(CURSOR_DETECT).unwrap_or(0));
    if let Err(error) = app.journal.set_cursor(CURSOR_REFILL, from) {
        tracing::error!(%error, "the place from which the store has to be fed was not kept");
    }
    let _ = std::fs::remove_file(left_path(app));
    if let Err(error) = std::fs::hard_link(snapshot_path(app), left_path(app)) {
        tracing::debug!(%error, "no snapshot from before what was left");
    }
    tell(app, "store.left", "events stay in the journal until the store takes them");
}

/// Nothing is left of an earlier run: what the store lacks is replayed at the start.
pub fn forget(app: &App) {
    app.journal.drop_cursor(CURSOR_REFILL);
    let _ = std::fs::remove_file(left_path(app));
}

fn tell(app: &App, action: &str, what: &str) {
    tracing::warn!(action, "{what}");
    let at_ns = io::intake::wall_ns();
    let actor = Actor { who: "alcedo".into(), at_ns, client: "store".into() };
    app.note(&actor, action, "store", what);
}

/// The reading for the store, while there is one.
pub struct Refilling {
    ground: Ground,
    running: Option<Pipeline>,
    /// The running one has given all that was left.
    is_over: Arc<AtomicBool>,
    is_closing: Arc<AtomicBool>,
}

impl Refilling {
    /// None runs yet.
    pub fn new(ground: Ground) -> Self {
        Self { ground, running: None, is_over: Arc::default(), is_closing: Arc::default() }
    }

    /// Once a second: begins when the store takes rows again, and ends when it has them all.
    pub fn look(&mut self, app: &Arc<App>) {
        let over = self.is_over.load(Ordering::SeqCst);
        if let Some(ended) = self.running.take_if(|one| over || one.has_failed()) {
            ended.stop();
            let _marking = app.marking_left.lock();
            if app.relay.behind().is_none() {
                forget(app);
            }
        }
        let waits = self.running.is_none() && app.relay.behind().is_some();
        if waits && app.has_store_room(2) {
            self.is_over.store(false, Ordering::SeqCst);
            match self.start(app) {
                Ok(pipeline) => self.running = Some(pipeline),
                Err(error) => tracing::error!(%error, "no threads to feed the store with"),
            }
        }
    }

    fn start(&self, app: &Arc<App>) -> std::io::Result<Pipeline> {
        let first = app.relay.behind().map(|stretch| stretch.first.offset);
        let from = first.or(app.journal.cursor(CURSOR_REFILL)).unwrap_or(0);
        let generations = Arc::new(Course::of(&app.archive));
        let snapshot = std::fs::read(left_path(app)).or_else(|_| std::fs::read(snapshot_path(app)));
        let (at_start, settings) = (generations.at(from), self.ground.settings.clone());
        let core = Core::for_store(snapshot.ok().as_deref(), at_start, settings);
        let settings = pipeline::Settings {
            workers: 1,
            from: from.min(core.read_from()),
            in_hand: self.ground.in_hand.clone(),
            first_slot: self.ground.workers,
            keep_snapshot: None,
        };
        let (is_over, is_closing) = (self.is_over.clone(), self.is_closing.clone());
        let shelf = StoreShelf { app: app.clone(), is_over, is_closing };
        let outlets = Box::new(Refill::new(app.relay.clone(), shelf));
        tracing::info!(from = settings.from, "the store takes events again, from the journal");
        Pipeline::start(&app.journal, generations, core, outlets, settings)
    }

    /// Ends it; what is still left stays in the journal.
    pub fn stop(mut self) {
        self.is_closing.store(true, Ordering::SeqCst);
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

struct StoreShelf {
    app: Arc<App>,
    is_over: Arc<AtomicBool>,
    is_closing: Arc<AtomicBool>,
}

impl Shelf for StoreShelf {
    fn has_room(&self) -> bool {
        self.app.has_store_room(1)
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    fn take(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]> {
        let held = self.app.store.append(batch.clone());
        self.app.appended(io::intake::wall_ns());
        held
    }

    fn caught_up(&mut self, stretch: Stretch) {
        let Stretch { left, taken, .. } = stretch;
        tell(&self.app, "store.caught_up", &format!("{taken} of {left} events from the journal"));
        if taken < left {
            self.miss(stretch);
        }
        self.is_over.store(true, Ordering::SeqCst);
    }
}

impl StoreShelf {
    /// The balance has counted these as stored: now it is known that they are not.
    fn miss(&self, stretch: Stretch) {
        let now_ns = io::intake::wall_ns();
        let mut gap = Gap::at(GapCause::ConsumerSkip, Certainty::Known, "store", now_ns)
            .over(stretch.first.offset, stretch.last.offset);
        gap.count = stretch.left - stretch.taken;
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        gap.push_to(&mut batch, 0);
        if let Err(rejected) = self.app.journal.appender().append(batch, |_| ()) {
            tracing::error!(error = %rejected.why, count = gap.count, "events are not in the store");
        }
    }
}
