//! Header lines over a restart: what was in force where, as far back as a replay can begin.
//!
//! The feeder reads ahead of the sequencer, and the store may need records from before a snapshot.
//! So each job tells what it changed, the core keeps the changes by offset, and whatever the next
//! start begins with is rebuilt exactly.

use serde::{Deserialize, Serialize};
use shape::{HeaderState, Headers};
use std::collections::VecDeque;

/// Changes that are kept by offset, bytes. In a flood of header lines older ones are given up: what
/// the store then reads anew from there may meet a later header.
const CHANGES_BYTES_MAX: usize = 16 << 20;

/// Changes, each with the offset of the record after the one that made it.
pub(crate) type HeaderChanges = Vec<(u64, HeaderState)>;

/// What was remembered at one place, and every change after it.
#[derive(Default)]
pub(crate) struct HeaderLog {
    base: Headers,
    changes: VecDeque<(u64, HeaderState)>,
    bytes: usize,
}

/// A [`HeaderLog`] in a snapshot.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedHeaders {
    base: Vec<HeaderState>,
    changes: Vec<(u64, HeaderState)>,
}

impl HeaderLog {
    /// Adds what a job changed.
    pub(crate) fn add(&mut self, changes: HeaderChanges) {
        for (next_offset, change) in changes {
            self.bytes += change.size_bytes();
            self.changes.push_back((next_offset, change));
        }
        while self.bytes > CHANGES_BYTES_MAX && self.fold_first() {}
    }

    /// Nobody will begin below `offset` any more.
    pub(crate) fn forget(&mut self, offset: u64) {
        while self.changes.front().is_some_and(|(at, _)| *at <= offset) && self.fold_first() {}
    }

    fn fold_first(&mut self) -> bool {
        let Some((_, change)) = self.changes.pop_front() else { return false };
        self.bytes -= change.size_bytes();
        self.base.apply(&change);
        true
    }

    /// What was in force for the record at `offset`.
    pub(crate) fn at(&self, offset: u64) -> Headers {
        let mut headers = Headers::default();
        let changes = self.changes.iter().take_while(|(at, _)| *at <= offset);
        let changes = changes.map(|(_, change)| change);
        self.base.state().iter().chain(changes).for_each(|state| headers.apply(state));
        headers
    }

    pub(crate) fn save(&self) -> SavedHeaders {
        SavedHeaders { base: self.base.state(), changes: self.changes.iter().cloned().collect() }
    }

    pub(crate) fn restore(saved: SavedHeaders) -> Self {
        let mut log = Self::default();
        saved.base.iter().for_each(|state| log.base.apply(state));
        log.bytes = saved.changes.iter().map(|(_, change)| change.size_bytes()).sum();
        log.changes = saved.changes.into();
        log
    }
}
