//! Once a second, in the background: files, cursors, retirement, destinations that take nothing. Deleting
//! what is old or to go has a thread of its own: it may have to read what is in the far tier, and rows in
//! memory cannot wait.

use super::background::Background;
use super::late::Late;
use super::refill::{Ground, Refilling};
use super::retiring::Retiring;
use super::{App, CURSOR_STORE};
use crate::exit::Failure;
use journal::RecordView;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trust::{Hash, SealedRecord, record_leaf};

/// With memory scarce, hot rows are written to files from so many bytes on: fewer would make more
/// files than they free memory.
pub(super) const EARLY_BYTES: usize = 8 << 20;

/// Starts the thread.
pub fn start(app: Arc<App>, ground: Ground) -> Result<Background, Failure> {
    Background::start_behind("upkeep", move |running| {
        let (mut refilling, mut late) = (Refilling::new(ground), Late::default());
        while running.goes_on() {
            let is_behind = once(&app);
            refilling.look(&app);
            late.look(&app);
            if !is_behind {
                running.rest(Duration::from_secs(1));
            }
        }
        refilling.stop();
    })
}

/// Starts the thread that lets go of what is too old, and of what was deleted.
pub fn start_tidying(app: Arc<App>) -> Result<Background, Failure> {
    Background::start_behind("tidying", move |running| {
        let mut retiring = Retiring::new();
        while running.goes_on() {
            let (done, failed) = app.store.tidy(io::intake::wall_ns());
            // What was done is on record even if the rest failed.
            app.audit_store("upkeep", &done.audit);
            let problem = failed
                .err()
                .map(|error| format!("the store cannot let go of old or deleted rows: {error}"));
            app.set_problem("retention", problem);
            retiring.look(&app);
            running.rest(Duration::from_secs(1));
        }
    })
}

/// Out: whether the store is behind and there is more to do at once.
fn once(app: &App) -> bool {
    let began_ns = io::intake::wall_ns();
    let tight = app.memory_tight.load(Ordering::Relaxed);
    let early = tight && app.store.hot_bytes() >= EARLY_BYTES;
    let flushed = if early { app.store.flush().map(|_| ()) } else { Ok(()) };
    let mut is_behind = false;
    match flushed.and_then(|()| app.store.keep_up(began_ns)) {
        Ok(done) => {
            is_behind = done.is_behind;
            app.set_problem("store", None);
        }
        Err(error) => app.set_problem("store", Some(format!("the store cannot write: {error}"))),
    }
    if let Some(stored) = app.store.stored_through(0) {
        let next = stored.offset + 1;
        if app.journal.cursor(CURSOR_STORE) != Some(next) {
            // The oldest event that is in no file is older than that while some are left.
            if app.relay.behind().is_none() {
                app.stored(app.store.stats().hot_rows > 0, began_ns);
            }
            if let Err(error) = app.journal.set_cursor(CURSOR_STORE, next) {
                tracing::error!(%error, "the store's cursor was not kept");
            }
        }
    }
    // Nothing is retired before both have passed it once.
    let both = [super::CURSOR_DETECT, CURSOR_STORE].iter().all(|c| app.journal.cursor(c).is_some());
    if both && let Err(error) = app.journal.retire() {
        tracing::error!(%error, "old segments were not retired");
    }
    is_behind
}

/// The Merkle leaf of a record.
pub fn leaf_of(record: &RecordView<'_>) -> Hash {
    record_leaf(&SealedRecord {
        offset: record.offset,
        source: &record.envelope.source,
        identity: &record.envelope.identity,
        wall_ns: record.wall_ns,
        protocol: record.envelope.protocol as u8,
        raw: record.bytes,
    })
}
