//! Which sources lag: their events come later than the lateness allows, again and again.
//!
//! A source is one sender's stream, so that one laptop that was offline holds nobody else up. Fed
//! with every batch, read with every tick; time is stream time, so a replay sees the same lags.

use event::{Envelope, EventBatch, Marks};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// A source that has shown no lag for so long has caught up: twice the pause of a sender that
/// delivers every five minutes.
const FORGET_NS: i64 = 600 * event::time::SECOND_NS;
/// Most lagging sources told apart; beyond it the least lagging one makes room.
const SOURCES_MAX: usize = 1_024;

/// One number per sender's stream: configured source, verified identity and address.
pub fn source_hash(envelope: &Envelope) -> u64 {
    let parts = [&envelope.source, &envelope.identity, &envelope.peer];
    parts.iter().fold(0, |hash, part| xxh3_64(part.as_bytes()) ^ u64::rotate_left(hash, 21))
}

/// The lag of every source that lags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lags {
    /// By source: largest lag of the present and of the last period, ns, and when it was last seen.
    sources: BTreeMap<u64, Lag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lag {
    ns: i64,
    seen_ns: i64,
}

impl Lags {
    /// Takes in a batch: rows that came more than `lateness_ns` after they happened. Backfill is not
    /// waited for.
    pub fn observe(&mut self, batch: &EventBatch, lateness_ns: i64) {
        for row in batch.rows() {
            let lag_ns = row.stream_ns().saturating_sub(row.event_ns());
            if lag_ns > lateness_ns && !row.marks().has(Marks::BACKFILL) {
                self.add(source_hash(row.envelope()), lag_ns, row.stream_ns());
            }
        }
    }

    /// One late event of a source.
    pub fn add(&mut self, source: u64, lag_ns: i64, now_ns: i64) {
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            let least = self.sources.iter().min_by_key(|(_, lag)| lag.ns).map(|(s, _)| *s);
            least.map(|s| self.sources.remove(&s));
        }
        let lag = self.sources.entry(source).or_insert(Lag { ns: lag_ns, seen_ns: now_ns });
        *lag = Lag { ns: lag.ns.max(lag_ns), seen_ns: now_ns };
    }

    /// The sources that lag at `now_ns` of stream time, ascending; forgets those that caught up.
    pub fn at(&mut self, now_ns: i64) -> Vec<(u64, i64)> {
        self.sources.retain(|_, lag| now_ns.saturating_sub(lag.seen_ns) <= FORGET_NS);
        self.sources.iter().map(|(source, lag)| (*source, lag.ns)).collect()
    }
}
