//! How regularly events follow each other: the pauses of a window in order of their length.
//!
//! ```text
//! events   |    |    ||   |    |        |        times, in order
//! gaps       60   58  1 59   61    120           those no longer than `burst` are none
//! regular    x    x     x    x                   within `jitter` percent of their median
//! ```
//! A gap belongs to two neighbours, so an event that comes or goes changes three at most, wherever it
//! stands: a short search for each (`ranks`); in the midst of a window the times behind it move, too.

use super::ranks::Ranks;
use std::collections::VecDeque;

/// What counts as regular.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regular {
    /// How far a gap may be from the median of all, percent of the median.
    pub jitter: f64,
    /// How many of the gaps must be as near as that, percent.
    pub share: f64,
    /// Events that follow each other no later than this are one visit, ns.
    pub burst_ns: i64,
}

/// What the gaps of a window say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rhythm {
    /// Bursts of events: one more than there are gaps.
    pub(super) visits: u64,
    /// Median of the gaps, ns.
    pub(super) median_ns: f64,
    /// How many of the gaps are near it, percent.
    pub(super) share: f64,
}

/// Two times that follow each other; none where there is no event before or after.
type Neighbours = (Option<i64>, Option<i64>);

/// The gaps between the events of a window.
#[derive(Debug)]
pub(super) struct Gaps {
    regular: Regular,
    times: VecDeque<i64>,
    gaps: Ranks,
}

impl Gaps {
    pub(super) fn of(regular: Regular) -> Self {
        Self { regular, times: VecDeque::new(), gaps: Ranks::default() }
    }

    pub(super) fn add(&mut self, t: i64) {
        let at = match self.times.back().is_none_or(|last| *last <= t) {
            true => self.times.len(),
            false => self.times.partition_point(|x| *x <= t),
        };
        let (before, after) = self.neighbours(at, at);
        self.replace(&[(before, after)], &[(before, Some(t)), (Some(t), after)]);
        self.times.insert(at, t);
    }

    /// Takes away what was added.
    pub(super) fn remove(&mut self, t: i64) {
        let at = self.times.partition_point(|x| *x < t);
        if self.times.get(at) != Some(&t) {
            return;
        }
        let (before, after) = self.neighbours(at, at + 1);
        self.times.remove(at);
        self.replace(&[(before, Some(t)), (Some(t), after)], &[(before, after)]);
    }

    /// `None` where no two events are apart.
    pub(super) fn rhythm(&self) -> Option<Rhythm> {
        let median_ns = self.gaps.percentile(50.0)?;
        let slack = median_ns * self.regular.jitter / 100.0;
        let near = self.gaps.within(median_ns - slack, median_ns + slack);
        let all = self.gaps.weight();
        let share = near as f64 * 100.0 / all as f64;
        Some(Rhythm { visits: all + 1, median_ns, share })
    }

    /// The number of visits, if they are regular.
    pub(super) fn regular_visits(&self) -> Option<f64> {
        let rhythm = self.rhythm()?;
        (rhythm.share >= self.regular.share).then_some(rhythm.visits as f64)
    }

    /// The times before place `left` and from place `right` on.
    fn neighbours(&self, left: usize, right: usize) -> Neighbours {
        let before = left.checked_sub(1).and_then(|at| self.times.get(at)).copied();
        (before, self.times.get(right).copied())
    }

    /// Some are neighbours no more, others are now.
    fn replace(&mut self, old: &[Neighbours], new: &[Neighbours]) {
        for gap in old.iter().filter_map(|pair| self.regular.gap(*pair)) {
            self.gaps.remove(gap, 1);
        }
        for gap in new.iter().filter_map(|pair| self.regular.gap(*pair)) {
            self.gaps.add(gap, 1);
        }
    }
}

impl Regular {
    /// The gap between two neighbours, if there are two and they are no burst.
    fn gap(&self, (from, to): Neighbours) -> Option<f64> {
        let gap = to?.saturating_sub(from?);
        (gap > self.burst_ns).then_some(gap as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: Regular = Regular { jitter: 20.0, share: 75.0, burst_ns: 2 };

    /// By the definition, in whole numbers: (visits, twice the median, regular gaps).
    fn naive(times: &[i64], r: Regular) -> Option<(u64, i64, u64)> {
        let mut times = times.to_vec();
        times.sort_unstable();
        let mut gaps: Vec<i64> =
            times.windows(2).map(|w| w[1] - w[0]).filter(|g| *g > r.burst_ns).collect();
        gaps.sort_unstable();
        let last = gaps.len().checked_sub(1)?;
        let twice = gaps[last / 2] + gaps[last.div_ceil(2)];
        let near = |g: &&i64| (2 * **g - twice).abs() * 100 <= twice * r.jitter as i64;
        let near = gaps.iter().filter(near).count();
        Some((gaps.len() as u64 + 1, twice, near as u64))
    }

    proptest! {
        /// Scenario: events come and go at any place, some at the same time.
        /// Guarantees: the rhythm is that of the sorted times, by the definition.
        #[test]
        fn a_rhythm_is_that_of_the_sorted_times(
            steps in prop::collection::vec((0i64..60, any::<bool>()), 1..80),
        ) {
            let (mut gaps, mut model) = (Gaps::of(ANY), Vec::new());
            for (t, add) in steps {
                if add || model.is_empty() {
                    gaps.add(t);
                    model.push(t);
                } else {
                    let t = model.swap_remove(t as usize % model.len());
                    gaps.remove(t);
                }
                let got = gaps.rhythm();
                let want = naive(&model, ANY);
                prop_assert_eq!(got.is_some(), want.is_some());
                let (Some(got), Some((visits, twice, near))) = (got, want) else { continue };
                prop_assert_eq!((got.visits, got.median_ns), (visits, twice as f64 / 2.0));
                prop_assert_eq!(got.share, near as f64 * 100.0 / (visits - 1) as f64);
            }
        }
    }

    #[test]
    fn the_ends_of_the_jitter_are_within() {
        let mut gaps = Gaps::of(Regular { jitter: 10.0, share: 100.0, burst_ns: 0 });
        [0, 60, 126, 180, 240].iter().for_each(|t| gaps.add(t * 1_000_000_000));
        assert_eq!(gaps.regular_visits(), Some(5.0));
        gaps.add(240_000_000_000 + 66_000_000_001);
        assert_eq!(gaps.regular_visits(), None);
    }
}
