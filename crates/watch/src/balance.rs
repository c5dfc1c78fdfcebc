//! The conservation balance: per source and minute of receipt, what came in equals what became of it.
//!
//! ```text
//! received + expanded = stored + deduplicated + dropped + joined + quarantined
//! refused and gap are counted beside it: those events never came in; redacted, too: those are stored
//! ```
//! Each counter is fed by the stage that does the thing, never derived from another: the feeder
//! counts the records it reads ([`Receipts`]), the sequencer what it marks, the store's answer says
//! which rows it holds. Only then does an equation say anything.

use crate::finding::{Finding, Tick};
use event::time::SECOND_NS;
use event::{EventBatch, EventView, Marks};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most (minute, source) pairs open at a time; the oldest minute is judged early beyond it. A day of
/// minutes for 50 sources, about 100 bytes each.
pub const OPEN_MAX: usize = 72_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Records read from the journal.
    Received,
    /// Further events split from one record.
    Expanded,
    /// Events in the store.
    Stored,
    /// Repeats that were counted on another event.
    Deduplicated,
    /// Events that a drop rule took out.
    Dropped,
    /// Parts that became one event with others.
    Joined,
    /// Kept raw because of a limit or a crash.
    Quarantined,
    /// Told no at the door. Beside the equation.
    Refused,
    /// Known to be missing. Beside the equation.
    Gap,
    /// Events out of which something was taken that nobody may see. Beside the equation.
    Redacted,
}

impl Counter {
    /// All counters with name and part in the equation: +1 came in, -1 accounted for, 0 beside it.
    pub const ALL: &[(Counter, &'static str, i8)] = &[
        (Counter::Received, "received", 1),
        (Counter::Expanded, "expanded", 1),
        (Counter::Stored, "stored", -1),
        (Counter::Deduplicated, "deduplicated", -1),
        (Counter::Dropped, "dropped", -1),
        (Counter::Joined, "joined", -1),
        (Counter::Quarantined, "quarantined", -1),
        (Counter::Refused, "refused", 0),
        (Counter::Gap, "gap", 0),
        (Counter::Redacted, "redacted", 0),
    ];
}

/// One number per counter, in the order of [`Counter::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts([u64; Counter::ALL.len()]);

impl Counts {
    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Received and expanded.
    pub fn came_in(&self) -> u64 {
        self.sum(1)
    }

    /// All that became of them.
    pub fn accounted(&self) -> u64 {
        self.sum(-1)
    }

    fn sum(&self, side: i8) -> u64 {
        Counter::ALL.iter().filter(|c| c.2 == side).map(|c| self.get(c.0)).sum()
    }

    fn add(&mut self, counter: Counter, n: u64) {
        let number = &mut self.0[counter as usize];
        *number = number.saturating_add(n);
    }
}

/// What was read from the journal of one source and minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Source.
    pub source: Arc<str>,
    /// Minute of receipt, see [`Balance::minute`].
    pub minute: i64,
    /// Records; each part of a split one counts.
    pub records: u64,
    /// Parts among them that became one event with others.
    pub joined: u64,
}

/// Receipts being written by whoever reads the journal.
#[derive(Debug, Default)]
pub struct Receipts(Vec<Receipt>);

impl Receipts {
    /// One whole record was read, in so many parts.
    pub fn read(&mut self, source: &Arc<str>, wall_ns: i64, parts: u64) {
        self.add(source, wall_ns, parts.max(1), parts.saturating_sub(1));
    }

    /// A record that was read before, at this time of receipt, became one event with a later one.
    pub fn joined(&mut self, source: &Arc<str>, wall_ns: i64) {
        self.add(source, wall_ns, 0, 1);
    }

    fn add(&mut self, source: &Arc<str>, wall_ns: i64, records: u64, joined: u64) {
        let minute = Balance::minute(wall_ns);
        // Neighbours mostly are of one source and minute, and share the source's name.
        let same = |r: &&mut Receipt| {
            r.minute == minute && (Arc::ptr_eq(&r.source, source) || r.source == *source)
        };
        match self.0.last_mut().filter(same) {
            Some(last) => {
                last.records += records;
                last.joined += joined;
            }
            None => self.0.push(Receipt { source: source.clone(), minute, records, joined }),
        }
    }

    /// Hands over what was read since the last call.
    pub fn take(&mut self) -> Vec<Receipt> {
        std::mem::take(&mut self.0)
    }
}

/// Open minutes and totals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    #[serde(with = "pairs")]
    open: BTreeMap<(i64, Arc<str>), Counts>,
    totals: BTreeMap<Arc<str>, Counts>,
    closed_until: Option<i64>,
    late: u64,
}

impl Balance {
    /// Minute of a wall time (received), minutes since 1970-01-01 UTC.
    pub fn minute(wall_ns: i64) -> i64 {
        wall_ns.div_euclid(60 * SECOND_NS)
    }

    /// Counts `n` events of `source` received in `minute`. A minute that was closed is opened again
    /// by a late count, is counted as late, and is judged at the next close.
    pub fn add(&mut self, source: &Arc<str>, minute: i64, counter: Counter, n: u64) {
        if self.closed_until.is_some_and(|closed| minute <= closed) {
            self.late = self.late.saturating_add(n);
        }
        self.open.entry((minute, source.clone())).or_default().add(counter, n);
        match self.totals.get_mut(source) {
            Some(counts) => counts.add(counter, n),
            None => self.totals.entry(source.clone()).or_default().add(counter, n),
        }
    }

    /// Counts what the feeder read. It knows records only, not what became of them.
    pub fn received(&mut self, receipts: &[Receipt]) {
        for receipt in receipts {
            let mut count = |counter, n| match n {
                0 => {}
                n => self.add(&receipt.source, receipt.minute, counter, n),
            };
            count(Counter::Received, receipt.records);
            count(Counter::Joined, receipt.joined);
        }
    }

    /// Counts what was done with the rows of a batch: expanded, redacted, deduplicated, dropped.
    pub fn sequenced(&mut self, batch: &EventBatch) {
        self.rows(batch.rows(), |row| {
            let expanded = row.marks().has(Marks::EXPANDED).then_some(Counter::Expanded);
            let end = match row.marks() {
                _ if row.is_kept() => None,
                m if m.has(Marks::DEDUPED) => Some(Counter::Deduplicated),
                _ => Some(Counter::Dropped),
            };
            let redacted = row.marks().has(Marks::REDACTED).then_some(Counter::Redacted);
            [expanded, end, redacted]
        });
    }

    /// Counts the rows of a batch that the store says it holds, by index.
    pub fn stored(&mut self, batch: &EventBatch, held: &[u32]) {
        let rows = held.iter().map(|index| *index as usize).filter(|index| *index < batch.len());
        self.rows(rows.map(|index| batch.row(index)), |row| {
            let raw = row.marks().has(Marks::QUARANTINED);
            [Some(if raw { Counter::Quarantined } else { Counter::Stored }), None, None]
        });
    }

    /// Judges every minute up to `minute`, which all consumers must have passed, and forgets it.
    pub fn close(&mut self, minute: i64, tick: Tick) -> Vec<Finding> {
        let mut out = Vec::new();
        while let Some(entry) = self.open.first_entry() {
            if entry.key().0 > minute && self.open.len() <= OPEN_MAX {
                break;
            }
            let Some(((minute, source), counts)) = self.open.pop_first() else { break };
            if counts.came_in() != counts.accounted() {
                out.push(Finding::Imbalance {
                    source: source.to_string(),
                    minute,
                    came_in: counts.came_in(),
                    accounted: counts.accounted(),
                    tick,
                });
            }
        }
        self.closed_until = Some(self.closed_until.map_or(minute, |c| c.max(minute)));
        out
    }

    /// Totals per source since the start, for metrics.
    pub fn totals(&self) -> impl Iterator<Item = (&str, &Counts)> {
        self.totals.iter().map(|(source, counts)| (&**source, counts))
    }

    /// Events counted for a minute that was closed already.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Walks rows, adding up runs of the same (source, minute, counter) before touching the map.
    fn rows<'a>(
        &mut self,
        rows: impl Iterator<Item = EventView<'a>>,
        counters: impl Fn(&EventView<'_>) -> [Option<Counter>; 3],
    ) {
        let mut run: Option<(&Arc<str>, i64, Counts)> = None;
        for row in rows {
            let (source, minute) = (&row.envelope().source, Self::minute(row.received_ns()));
            if run.as_ref().is_none_or(|r| r.0 != source || r.1 != minute) {
                self.end_run(run.replace((source, minute, Counts::default())));
            }
            if let Some((_, _, counts)) = &mut run {
                counters(&row).into_iter().flatten().for_each(|counter| counts.add(counter, 1));
            }
        }
        self.end_run(run);
    }

    fn end_run(&mut self, run: Option<(&Arc<str>, i64, Counts)>) {
        let Some((source, minute, counts)) = run else { return };
        for (counter, ..) in Counter::ALL {
            if counts.get(*counter) > 0 {
                self.add(source, minute, *counter, counts.get(*counter));
            }
        }
    }
}

/// Maps with keys that are not text, as lists of pairs, so that any format can hold them.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::EventId;

    const TICK: Tick = Tick { id: EventId::at(1), stream_ns: 0, wall_ns: 0 };

    #[test]
    fn a_minute_that_does_not_add_up_is_told_once() {
        let source: Arc<str> = "fw".into();
        let mut balance = Balance::default();
        balance.add(&source, 5, Counter::Received, 10);
        balance.add(&source, 5, Counter::Expanded, 2);
        balance.add(&source, 5, Counter::Stored, 11);
        balance.add(&source, 5, Counter::Refused, 7);
        balance.add(&source, 6, Counter::Received, 1);
        let told = balance.close(5, TICK);
        let [Finding::Imbalance { came_in: 12, accounted: 11, minute: 5, .. }] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(balance.close(5, TICK), []);
        balance.add(&source, 6, Counter::Joined, 1);
        assert_eq!(balance.close(6, TICK), []);
        balance.add(&source, 6, Counter::Stored, 1);
        assert_eq!((balance.late(), balance.close(6, TICK).len()), (1, 1));
        for (index, (counter, ..)) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
        }
    }
}
