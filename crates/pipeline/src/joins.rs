//! Parts that wait for others, over a restart: which records were held where, as far back as a
//! replay can begin.
//!
//! ```text
//! offset   4 5 6 7 8 9        a start at 8 reads 5 and 7 again, and nothing else below 8: what waited
//!            a   b   A        then waits again, and what was closed by then stays closed
//! ```
//! Only offsets are kept: the bytes are in the journal, which is not cut above the oldest of them.

use serde::{Deserialize, Serialize};
use shape::JoinChange;
use std::collections::{BTreeMap, VecDeque};

/// Most changes that are kept by offset. In a flood of parts older ones are given up: an event that
/// the store is then given anew from there may lack its first parts, which are in the journal.
const CHANGES_MAX: usize = 1 << 20;

/// Changes, each with the offset of the record after the one that made it.
pub(crate) type JoinChanges = Vec<(u64, JoinChange)>;

/// What was held at one place, and every change after it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct JoinLog {
    /// Held records, with the first of their event.
    base: BTreeMap<u64, u64>,
    changes: VecDeque<(u64, JoinChange)>,
}

impl JoinLog {
    /// Adds what a job changed.
    pub(crate) fn add(&mut self, changes: JoinChanges) {
        self.changes.extend(changes);
        while self.changes.len() > CHANGES_MAX {
            self.fold_first();
        }
    }

    /// Nobody will begin below `offset` any more.
    pub(crate) fn forget(&mut self, offset: u64) {
        while self.changes.front().is_some_and(|(at, _)| *at <= offset) {
            self.fold_first();
        }
    }

    fn fold_first(&mut self) {
        if let Some((_, change)) = self.changes.pop_front() {
            apply(&mut self.base, change);
        }
    }

    /// The records before `offset` that were held when it came.
    pub(crate) fn at(&self, offset: u64) -> Vec<u64> {
        let mut held = self.base.clone();
        for (_, change) in self.changes.iter().take_while(|(at, _)| *at <= offset) {
            apply(&mut held, *change);
        }
        held.into_keys().filter(|at| *at < offset).collect()
    }

    /// The oldest record that a start has to read if it begins at `offset`, or where the log does; if
    /// any is held there.
    pub(crate) fn oldest(&self, offset: u64) -> Option<u64> {
        self.base.keys().next().copied().into_iter().chain(self.at(offset)).min()
    }
}

fn apply(held: &mut BTreeMap<u64, u64>, change: JoinChange) {
    match change {
        JoinChange::Held { first, offset } => _ = held.insert(offset, first),
        JoinChange::Closed { first } => {
            // Its parts stand behind its first one, and events are short.
            let own: Vec<u64> =
                held.range(first..).filter(|(_, f)| **f == first).map(|(at, _)| *at).collect();
            own.iter().for_each(|at| _ = held.remove(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_is_known_for_every_place_that_is_not_forgotten() {
        let mut log = JoinLog::default();
        let held = |first, offset| (offset + 1, JoinChange::Held { first, offset });
        let changes =
            vec![held(4, 4), held(5, 5), held(4, 6), (8, JoinChange::Closed { first: 4 })];
        log.add(changes);
        let all: Vec<Vec<u64>> = (4..9).map(|at| log.at(at)).collect();
        assert_eq!(all, [vec![], vec![4], vec![4, 5], vec![4, 5, 6], vec![5]]);
        log.forget(6);
        assert_eq!((log.at(6), log.at(8), log.oldest(8)), (vec![4, 5], vec![5], Some(4)));
        log.forget(8);
        assert_eq!((log.at(8), log.oldest(8)), (vec![5], Some(5)));
    }
}
