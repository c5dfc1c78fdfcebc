//! Percentiles of what was measured: all samples are kept, nothing is bucketed.

use std::time::Duration;

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    samples_ms: Vec<f64>,
}

impl Latencies {
    /// Adds a sample.
    pub(crate) fn push(&mut self, took: Duration) {
        self.samples_ms.push(took.as_secs_f64() * 1_000.0);
    }

    /// Adds all samples of another series.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.samples_ms.extend_from_slice(&other.samples_ms);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.samples_ms.len()
    }

    /// The smallest sample that at least `share` (0..=1) of all samples do not exceed, ms; 0 when
    /// there are none.
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.samples_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut all = Latencies::default();
        assert_eq!(all.percentile_ms(0.99), 0.0);
        for ms in (1..=100).rev() {
            all.push(Duration::from_millis(ms));
        }
        assert_eq!(all.percentile_ms(0.5), 50.0);
        assert_eq!(all.percentile_ms(0.99), 99.0);
        assert_eq!(all.percentile_ms(1.0), 100.0);
        assert_eq!(all.percentile_ms(0.0), 1.0);
    }
}
