//! How far a consumer is behind: what there is from its cursor on.

use crate::journal::Journal;
use crate::segment::HEADER_LEN;
use std::sync::atomic::Ordering::SeqCst;

/// What a consumer has not passed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Records, parts counted one by one.
    pub records: u64,
    /// Bytes of the journal, to some percent: within a segment records are taken to be of one size.
    pub bytes: u64,
}

impl Journal {
    /// What is durable from `next_offset` on.
    pub fn behind(&self, next_offset: u64) -> Behind {
        let durable_next = self.shared.durable_next.load(SeqCst);
        let segments = self.shared.segments.read();
        let mut ends = segments.keys().skip(1).copied().chain([durable_next]);
        let mut bytes = 0u64;
        for (first, entry) in segments.iter() {
            let Some(end) = ends.next().filter(|end| *end > next_offset && end > first) else {
                continue;
            };
            let written = entry.tally.lock().end_pos;
            let used = match entry.sealed {
                // One that this run has not written was full, or nobody remembers.
                true if written == 0 => entry.head.footer_pos,
                true => written,
                false => written.max(entry.index.lock().last().map_or(0, |last| last.pos)),
            };
            let used = u128::from(used.saturating_sub(HEADER_LEN));
            let (part, whole) = (end - next_offset.max(*first), end - first);
            let share = used * u128::from(part) / u128::from(whole);
            bytes = bytes.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
        }
        Behind { records: durable_next.saturating_sub(next_offset), bytes }
    }

    /// When the record at `offset` was received, or the first one after it that can be read;
    /// `None` when there is none yet.
    pub fn received_ns(&self, offset: u64) -> Option<i64> {
        self.first_from(offset, |record| record.wall_ns)
    }
}
