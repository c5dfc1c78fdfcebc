//! Events per second over the last seconds, and how late they are: fixed size, constant work.

use event::time::SECOND_NS;
use serde::{Deserialize, Serialize};

const SECONDS: usize = 64;

/// A ring of one-second buckets over stream time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Second of the newest bucket.
    newest: i64,
    /// `SECONDS` buckets, allocated with the first event; the bucket of second s is at s mod SECONDS.
    buckets: Vec<u32>,
}

impl Rate {
    /// Counts `n` events at `stream_ns`. Older than a minute: not counted.
    pub fn add(&mut self, stream_ns: i64, n: u32) {
        let second = stream_ns.div_euclid(SECOND_NS);
        if self.buckets.is_empty() {
            self.buckets = vec![0; SECONDS];
            self.newest = second;
        }
        self.advance(second);
        if second > self.newest.saturating_sub(SECONDS as i64) {
            let bucket = &mut self.buckets[second.rem_euclid(SECONDS as i64) as usize];
            *bucket = bucket.saturating_add(n);
        }
    }

    /// Events per second over the `seconds` (1..=60) whole seconds before `stream_ns`.
    pub fn per_second(&self, stream_ns: i64, seconds: u32) -> f64 {
        let now = stream_ns.div_euclid(SECOND_NS);
        let seconds = i64::from(seconds.clamp(1, 60));
        let oldest_kept = self.newest.saturating_sub(SECONDS as i64 - 1);
        let sum: u64 = (now.saturating_sub(seconds)..now)
            .filter(|s| !self.buckets.is_empty() && (oldest_kept..=self.newest).contains(s))
            .map(|s| u64::from(self.buckets[s.rem_euclid(SECONDS as i64) as usize]))
            .sum();
        sum as f64 / seconds as f64
    }

    fn advance(&mut self, second: i64) {
        let ahead = second.saturating_sub(self.newest);
        for step in 1..=ahead.clamp(0, SECONDS as i64) {
            let cleared = second.saturating_sub(ahead.min(SECONDS as i64)) + step;
            self.buckets[cleared.rem_euclid(SECONDS as i64) as usize] = 0;
        }
        self.newest = self.newest.max(second);
    }
}

/// A histogram with four buckets per power of two: quantiles within 19 %, any range of u64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// Counts one value.
    pub fn add(&mut self, value: u64) {
        let at = bucket_of(value);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add(1);
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value below or at which `share` (0..=1) of all values lie, rounded up to its bucket's
    /// edge and never above the largest value; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0u64;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return upper_edge(at).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(value: u64) -> usize {
    if value < 4 {
        return value as usize;
    }
    let power = value.ilog2() as usize;
    power * 4 + (value >> (power - 2) & 3) as usize - 4
}

fn upper_edge(at: usize) -> u64 {
    if at < 4 {
        return at as u64;
    }
    let (power, quarter) = ((at + 4) / 4, (at % 4) as u64);
    let step = 1u64 << (power - 2);
    (4 + quarter).saturating_mul(step).saturating_add(step - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_whole_seconds_before_now() {
        let mut rate = Rate::default();
        for second in 0..200 {
            rate.add(second * SECOND_NS, if second < 190 { 10 } else { 70 });
        }
        assert_eq!(rate.per_second(200 * SECOND_NS, 10), 70.0);
        assert_eq!(rate.per_second(200 * SECOND_NS, 60), 20.0);
        rate.add(195 * SECOND_NS, 100);
        assert_eq!(rate.per_second(200 * SECOND_NS, 10), 80.0, "late, but within the minute");
        rate.add(5 * SECOND_NS, 100);
        assert_eq!(rate.per_second(1_000 * SECOND_NS, 60), 0.0);
        rate.add(100_000 * SECOND_NS, 1);
        assert_eq!(rate.per_second(100_001 * SECOND_NS, 10), 0.1);
    }

    #[test]
    fn quantiles_are_close_and_edges_fit_their_buckets() {
        for value in (0..2_000).chain([u64::MAX / 3, u64::MAX]) {
            let edge = upper_edge(bucket_of(value));
            assert!(edge >= value && edge as f64 <= value as f64 * 1.25, "{value} {edge}");
            assert_eq!(bucket_of(edge), bucket_of(value));
        }
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|v| histogram.add(v));
        assert!((500..=600).contains(&histogram.quantile(0.5)));
        assert!((990..=1_000).contains(&histogram.quantile(0.99)));
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
