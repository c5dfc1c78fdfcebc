//! Who feeds the store: the sequencer, or, where the store could not take rows, a reading of its own.
//!
//! ```text
//! sequencer --rows--> store                                   while the store takes them
//! sequencer --rows--> left in the journal                     while it does not; detection goes on
//!             journal --feeder, worker, marks--> store        when it takes rows again, from the first
//!                                                             row that was left to the last one
//! ```
//! Rows reach the store in the order of the journal: while one row is left, all after it are left,
//! too. The turn goes back to the sequencer at the moment the reading has given the last row that was
//! left, under one lock, so no row is given twice and none by nobody.

use crate::sequencer::{AlertChange, Outlets, Progress};
use event::{EventBatch, EventId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use watch::{Balance, Registry};

/// Pause between two looks whether the store has room or the sequencer has come by.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A stretch of rows that the sequencer left in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First row.
    pub first: EventId,
    /// Last row so far.
    pub last: EventId,
    /// Rows in it that are kept.
    pub left: u64,
    /// Rows of it that the store has taken since.
    pub taken: u64,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Relay {
    behind: Mutex<Option<Stretch>>,
}

impl Relay {
    /// What the store still has to be given from the journal, if anything.
    pub fn behind(&self) -> Option<Stretch> {
        *self.behind.lock()
    }

    /// The sequencer's rows, in order. They go to the store if it `takes` rows and nothing before
    /// them was left; otherwise they are left. Out: the rows that the store has or will be given.
    pub fn live(
        &self,
        batch: &EventBatch,
        takes: bool,
        give: impl FnOnce() -> Arc<[u32]>,
    ) -> Arc<[u32]> {
        let mut behind = self.behind.lock();
        if takes && behind.is_none() {
            return give();
        }
        let kept: Arc<[u32]> =
            batch.rows().filter(|row| row.is_kept()).map(|row| row.index() as u32).collect();
        let (Some(first), Some(last)) = ends(batch) else { return kept };
        let stretch = behind.get_or_insert(Stretch { first, last, left: 0, taken: 0 });
        stretch.last = last;
        stretch.left += kept.len() as u64;
        kept
    }

    /// Whether the sequencer has left everything up to `id`: only that is given from the journal.
    fn has_left(&self, id: EventId) -> bool {
        self.behind().is_some_and(|stretch| id <= stretch.last)
    }

    /// The reading has given this batch. Out: the stretch, when it was the last of it and the turn
    /// is the sequencer's again.
    fn given(&self, batch: &EventBatch, held: &[u32]) -> Option<Stretch> {
        let mut behind = self.behind.lock();
        let stretch = behind.as_mut()?;
        let of_stretch = |index: &&u32| batch.row(**index as usize).id() >= stretch.first;
        stretch.taken += held.iter().filter(of_stretch).count() as u64;
        let (_, Some(last)) = ends(batch) else { return None };
        if last >= stretch.last { behind.take() } else { None }
    }
}

fn ends(batch: &EventBatch) -> (Option<EventId>, Option<EventId>) {
    let id = |index: usize| (index < batch.len()).then(|| batch.row(index).id());
    (id(0), batch.len().checked_sub(1).and_then(id))
}

/// What a reading needs of the store.
pub trait Shelf: Send {
    /// Whether it can take rows now.
    fn has_room(&self) -> bool;
    /// Whether the reading should end.
    fn is_closing(&self) -> bool;
    /// Takes rows. Out: those that it holds now and did not hold before, by index.
    fn take(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]>;
    /// Everything that was left is taken, and the sequencer goes on.
    fn caught_up(&mut self, stretch: Stretch);
}

/// Gives the store what was left: the outlets of a pipeline whose core is
/// [`crate::Core::for_store`].
pub struct Refill<S> {
    relay: Arc<Relay>,
    shelf: S,
    is_over: bool,
}

impl<S: Shelf> Refill<S> {
    /// Fills `shelf` until the relay has changed over.
    pub fn new(relay: Arc<Relay>, shelf: S) -> Self {
        Self { relay, shelf, is_over: false }
    }

    /// Waits until the batch may be given; false when the reading is to end.
    fn may_give(&self, last: EventId) -> bool {
        while !self.relay.has_left(last) || !self.shelf.has_room() {
            if self.shelf.is_closing() {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }
}

impl<S: Shelf> Outlets for Refill<S> {
    fn events(&mut self, batch: &Arc<EventBatch>) -> Arc<[u32]> {
        let (_, Some(last)) = ends(batch) else { return Arc::default() };
        if self.is_over || !self.may_give(last) {
            self.is_over = true;
            return Arc::default();
        }
        let held = self.shelf.take(batch);
        if let Some(stretch) = self.relay.given(batch, &held) {
            self.is_over = true;
            self.shelf.caught_up(stretch);
        }
        held
    }
    fn alert(&mut self, _: AlertChange) {}
    fn progress(&mut self, _: Progress) {}
    fn health(&mut self, _: &Registry, _: &Balance, _: i64) {}
}
