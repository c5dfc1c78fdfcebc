//! Whether what is gone from the front of a ledger stream went in order. Offline.

use crate::carry::{self, Ending, Tally};
use crate::record::{CarriedOver, RetiredSegment};
use journal::inspect::Exported;
use journal::{JournalError, SealedRoot};
use std::path::Path;
use trust::Hash;

/// What the stream says about its missing front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// Nothing is missing.
    Whole,
    /// What is missing is what the newest retirement names, and all that lived on is there.
    InOrder {
        /// The first offset that was kept.
        next: u64,
        /// Records that went with the newest retirement.
        records: u64,
        /// Alerts that it carried over.
        alerts: u64,
    },
    /// Something is missing that no record names, or what should be there in its place is not.
    Wrong {
        /// What, for people.
        why: String,
    },
}

/// Looks whether exactly what retirements name is missing in the stream at `dir`, which begins with
/// `first_offset`; no process may have it open.
///
/// # Errors
/// When the stream cannot be read.
pub fn check_retired(dir: &Path, first_offset: u64) -> Result<Front, JournalError> {
    if first_offset == 0 {
        return Ok(Front::Whole);
    }
    let endings = endings(dir, first_offset)?;
    let wrong = |why: String| Ok(Front::Wrong { why });
    let Some(ending) = endings.iter().find(|ending| ending.range.next == first_offset) else {
        return wrong(format!(
            "records 0 to {} are gone, and no record says that they went in order",
            first_offset - 1
        ));
    };
    // What older ones carried over was carried on, as far as it lives.
    for ending in endings.iter().filter(|ending| ending.range.next >= first_offset) {
        let carried = carried(dir, ending)?;
        if carried != ending.carried {
            return wrong(format!(
                "of {} rows that lived on from below offset {}, {} are there as they were written",
                ending.carried.rows, ending.range.next, carried.rows
            ));
        }
    }
    let roots = journal::inspect::sealed_roots(dir)?;
    if let Some(why) = chain_fault(&endings, &roots) {
        return wrong(why);
    }
    let records = ending.range.records.values().sum();
    Ok(Front::InOrder { next: first_offset, records, alerts: ending.carried.alerts })
}

/// The records of retirements in the stream, oldest first.
fn endings(dir: &Path, from: u64) -> Result<Vec<Ending>, JournalError> {
    let mut found = Vec::new();
    each_text(dir, from, u64::MAX, |offset, text| found.extend(Ending::of(offset, text)))?;
    Ok(found)
}

/// What is there of the rows that a retirement carried over.
fn carried(dir: &Path, ending: &Ending) -> Result<CarriedOver, JournalError> {
    let mut tally = Tally::default();
    each_text(dir, ending.carried.from, ending.offset, |_, text| {
        if let Some(row) = carry::row_of(text) {
            tally.add(&row, text.as_bytes());
        }
    })?;
    Ok(tally.over(ending.carried.from))
}

/// What does not fit: within a retirement, between two that follow each other, or with the log of roots,
/// which outlives the segments.
fn chain_fault(endings: &[Ending], roots: &[SealedRoot]) -> Option<String> {
    let mut before: Option<&Ending> = None;
    for ending in endings {
        let range = &ending.range;
        let follows = match before {
            Some(before) => {
                before.range.next == range.first && before.range.head == range.head_before
            }
            None => (range.first == 0) == (range.head_before == Hash::default()),
        };
        if !range.agrees() || !follows {
            return Some(format!(
                "the record at offset {} does not continue the chain of what went before",
                ending.offset
            ));
        }
        let named = |root: &&SealedRoot| (range.first..range.next).contains(&root.first_offset);
        for root in roots.iter().filter(named) {
            let (first, next) = (root.first_offset, root.next_offset);
            let segment = RetiredSegment { first, next, root: Hash(root.root) };
            if !range.segments.contains(&segment) {
                return Some(format!(
                    "records {first} to {} were sealed otherwise than the record at offset {} says",
                    next.saturating_sub(1),
                    ending.offset
                ));
            }
        }
        before = Some(ending);
    }
    None
}

fn each_text(
    dir: &Path,
    from: u64,
    to: u64,
    mut each: impl FnMut(u64, &str),
) -> Result<(), JournalError> {
    journal::inspect::export(dir, from, to, &mut |_| (), |one| {
        if let Exported::Record(view, bytes) = one
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            each(view.offset, text);
        }
    })
}
