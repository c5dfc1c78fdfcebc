//! Witnesses chosen by observed traffic.
//!
//! ```text
//! worker: every n-th row -> Sample --inbox--> retrain(): which leaves hit how often?
//!                                                 -> a route with rarer witnesses, swapped in
//! ```
//! A witness that is always among the rule's necessary sets can be any of them, so a swap never
//! changes a verdict: only how many candidates are verified in vain.

use super::cells::CellIndex;
use super::compiled::Compiled;
use super::leaves::Place;
use super::route::{Buffers, Route};
use crate::ruleset::RuleSet;
use event::{EventBatch, EventView, RowHead};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Rounds of sampling: every how many rows one is taken, and how many make a sample. The first
/// round corrects the worst guesses at once, later ones follow the traffic.
const ROUNDS: [(u64, usize); 3] = [(1, 64), (16, 256), (512, 512)];
/// Samples that wait to be learned from; more are dropped.
const INBOX_MAX: usize = 64;
/// How many new routes are made before workers are told.
const ROUTES_PER_EPOCH: usize = 8;
/// Longest record whose raw bytes are sampled (for keywords).
const RAW_BYTES_MAX: usize = 16 << 10;
/// Longer values are not sampled, nor more of a row than the second, and a sample is complete when it has
/// the third: what a sender puts into a field must not stay in memory for the sake of statistics.
const VALUE_BYTES_MAX: usize = 16 << 10;
const ROW_BYTES_MAX: usize = 64 << 10;
const SAMPLE_BYTES_MAX: usize = 1 << 20;
/// Rows that what is usual in logs counts for beside those observed.
const PRIOR_ROWS: f64 = 64.0;
/// Share of rows that one unit of usual cost stands for.
const PRIOR_SHARE: f64 = 1e-4;

/// Rows of one route, thinned out.
pub(crate) struct Sample {
    pub(crate) route: Arc<Route>,
    pub(crate) rows: EventBatch,
}

/// Takes a sample now and then.
#[derive(Default)]
pub(crate) struct Sampler {
    seen: u64,
    next: u64,
    round: usize,
    rows: Option<EventBatch>,
}

impl Sampler {
    /// Sees one more row of the route; gives the sample when it is complete.
    #[inline]
    pub(crate) fn see(
        &mut self,
        row: &EventView<'_>,
        route: &Arc<Route>,
        reads: &[bool],
    ) -> Option<Sample> {
        self.seen += 1;
        if self.seen < self.next {
            return None;
        }
        self.take(row, route, reads)
    }

    fn take(&mut self, row: &EventView<'_>, route: &Arc<Route>, reads: &[bool]) -> Option<Sample> {
        let (every, enough) = ROUNDS[self.round.min(ROUNDS.len() - 1)];
        self.next = self.seen + every;
        let rows = self.rows.get_or_insert_with(|| EventBatch::new(row.batch().dict().clone()));
        let head = RowHead {
            id: row.id(),
            received_ns: row.received_ns(),
            stream_ns: row.stream_ns(),
            envelope: row.envelope().clone(),
        };
        let is_read = route.keywords.is_some() && row.raw().len() <= RAW_BYTES_MAX;
        let raw = if is_read { row.raw() } else { b"" };
        let mut copy = rows.begin(head, raw);
        let mut row_bytes = raw.len();
        for (field, value) in row.cells() {
            let is_read = reads.get(field.0 as usize).is_some_and(|r| *r);
            let is_short = value.bytes.len() <= VALUE_BYTES_MAX
                && row_bytes + value.bytes.len() <= ROW_BYTES_MAX;
            if is_read && is_short {
                row_bytes += value.bytes.len();
                copy.push(field, value.kind, value.bytes);
            }
        }
        copy.finish();
        if rows.len() < enough && rows.size_bytes() < SAMPLE_BYTES_MAX {
            return None;
        }
        self.round += 1;
        self.rows.take().map(|rows| Sample { route: route.clone(), rows })
    }
}

/// How often leaves hit in the sampled rows of one route.
pub(crate) struct Observed {
    pub(crate) rows: u32,
    hits: Vec<u32>,
    /// Leaves whose values were not sampled.
    unseen: Vec<bool>,
}

impl Observed {
    /// Expected share of rows that the leaf hits, in thousandths. `usual` is its
    /// [`super::witness::expected_cost`].
    pub(crate) fn cost(&self, leaf: u32, usual: f64) -> f64 {
        let hits = f64::from(self.hits[leaf as usize]);
        let rows = f64::from(self.rows);
        let prior = usual * PRIOR_SHARE;
        if self.unseen[leaf as usize] {
            return 1_000.0 * prior * PRIOR_ROWS;
        }
        1_000.0 * (hits + prior * PRIOR_ROWS) / (rows + PRIOR_ROWS)
    }
}

impl Compiled {
    /// Leaves a sample for [`Compiled::retrain`].
    pub(crate) fn post(&self, sample: Sample) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.len() < INBOX_MAX {
            inbox.push(sample);
            self.has_samples.store(true, Ordering::Release);
        }
    }

    /// Makes the route of all rules, for [`super::route::Routes`] to fall back on.
    pub(crate) fn warm(&self) {
        if self.routes.is_warm() {
            return;
        }
        let all = self.router.allowed(b"");
        self.routes.set_wide(Arc::new(self.build_route(all, None)));
    }

    /// Makes one route that is wanted, or learns from the samples of one that were left: whether there
    /// was anything to do.
    pub(crate) fn retrain_one(&self) -> bool {
        if let Some((allowed, more)) = self.routes.next_wanted() {
            self.routes.replace(Arc::new(self.build_route(allowed, None)));
            // Workers look up all their routes anew: not for each one.
            if more.is_multiple_of(ROUTES_PER_EPOCH) {
                self.epoch.fetch_add(1, Ordering::Release);
            }
            return true;
        }
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = inbox.first() else {
            self.has_samples.store(false, Ordering::Release);
            return false;
        };
        let allowed = first.route.allowed.clone();
        let (samples, others): (Vec<_>, Vec<_>) =
            inbox.drain(..).partition(|sample| sample.route.allowed == allowed);
        *inbox = others;
        drop(inbox);
        let observed = self.observe(&allowed, &samples);
        self.routes.replace(Arc::new(self.build_route(allowed, Some(&observed))));
        self.epoch.fetch_add(1, Ordering::Release);
        true
    }

    /// Counts how often each leaf of the allowed rules hits.
    fn observe(&self, allowed: &[u64], samples: &[Sample]) -> Observed {
        let route = self.build_observing_route(allowed);
        let has_keywords = samples.iter().any(|s| s.route.keywords.is_some());
        let unseen = |place: Place| place == Place::Keyword && !has_keywords;
        let mut observed = Observed {
            rows: 0,
            hits: vec![0; self.leaves.len()],
            unseen: self.leaves.all.iter().map(|l| unseen(l.place)).collect(),
        };
        let mut last_row = vec![u32::MAX; self.leaves.len()];
        let mut cells = CellIndex::default();
        let mut buffers = Buffers::for_leaves(route.leaf_of.len());
        for row in samples.iter().flat_map(|s| s.rows.rows()) {
            cells.read(&row, self.fields);
            let now = observed.rows;
            route.scan(&row, &cells, &mut buffers, true, |entry| {
                let leaf = route.leaf_of[entry as usize] as usize;
                observed.hits[leaf] +=
                    u32::from(std::mem::replace(&mut last_row[leaf], now) != now);
            });
            observed.rows += 1;
        }
        observed
    }
}

impl RuleSet {
    /// Whether workers have left samples to learn from.
    pub fn wants_training(&self) -> bool {
        self.parts.iter().any(|part| {
            part.compiled.has_samples.load(Ordering::Acquire) || part.compiled.routes.has_wanted()
        })
    }

    /// Prepares for live traffic: from now on the first event of a kind does not wait until the rules for
    /// its kind are indexed, which takes some 10 ms with thousands of rules. [`RuleSet::retrain`] does
    /// that in the background.
    pub fn warm(&self) {
        self.parts.iter().for_each(|part| part.compiled.warm());
    }

    /// Chooses witnesses anew from what workers have sampled, and swaps them in: running workers
    /// take them at their next batch. Takes some ms per kind of event, so it belongs to a thread in
    /// the background. Never changes a verdict. The number of routes that were replaced.
    pub fn retrain(&self) -> usize {
        std::iter::from_fn(|| self.retrain_one().then_some(())).count()
    }

    /// One step of [`RuleSet::retrain`], so that whoever drives it can rest between steps: whether
    /// there was a route to replace.
    pub fn retrain_one(&self) -> bool {
        self.parts.iter().any(|part| part.compiled.retrain_one())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruletest::push_event;
    use crate::{Scratch, load_text};
    use serde_json::json;

    /// Scenario: events whose fields, read by a rule, hold megabytes, or are just too long to be many.
    /// Guarantees: what waits to be learned from is bounded by bytes, and rules go on being learned.
    #[test]
    fn what_is_sampled_is_bounded_by_bytes() {
        let rule = "title: t\nid: r\nlogsource: {product: test}\n\
                    detection: {s: {F|contains: needle}, condition: s}\n";
        let set = RuleSet::standalone(load_text(rule).0);
        let mut scratch = Scratch::new();
        let long = [1 << 21, VALUE_BYTES_MAX].map(|len| "x".repeat(len));
        for number in 0..ROUNDS[0].1 * 4 {
            let mut batch = EventBatch::new(set.dict().clone());
            push_event(&mut batch, &json!({"F": long[number % 2]}), b"");
            set.match_batch(&batch, &mut scratch, &mut Vec::new());
        }
        let inbox = set.parts[0].compiled.inbox.lock().unwrap();
        assert!(!inbox.is_empty());
        for sample in inbox.iter() {
            let size_bytes = sample.rows.size_bytes();
            assert!(size_bytes < SAMPLE_BYTES_MAX + 2 * ROW_BYTES_MAX, "{size_bytes}");
        }
        drop(inbox);
        assert!(set.retrain() > 0);
    }
}
