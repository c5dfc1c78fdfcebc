//! What a window measures, kept up to date entry by entry: O(1) for counts, distinct values and
//! sums, a short search for ranks and gaps.

use super::gaps::Gaps;
use super::ranks::Ranks;
use super::spec::{Node, SpecKind};
use super::window::Entry;
use hashbrown::HashMap;

/// Sums are kept in millionths, so that adding and taking away leave nothing behind.
const MICROS: f64 = 1e6;

/// Running total of a window.
#[derive(Debug, Default)]
pub(super) enum Total {
    #[default]
    None,
    /// Weighted number of events.
    Count(u64),
    /// How often each value (or slot) is there.
    Distinct(HashMap<u64, u32>),
    /// Millionths.
    Sum(i128),
    /// Millionths and weight.
    Mean(i128, u64),
    /// Numbers in order.
    Ranks(Ranks),
    /// Pauses between events.
    Gaps(Gaps),
}

impl Total {
    pub(super) fn of(kind: SpecKind) -> Self {
        match kind {
            SpecKind::EventCount | SpecKind::Absence => Self::Count(0),
            SpecKind::ValueCount | SpecKind::Temporal => Self::Distinct(HashMap::new()),
            SpecKind::ValueSum => Self::Sum(0),
            SpecKind::ValueAvg => Self::Mean(0, 0),
            SpecKind::ValueMedian | SpecKind::ValuePercentile(_) => Self::Ranks(Ranks::default()),
            SpecKind::RegularInterval(regular) => Self::Gaps(Gaps::of(regular)),
            SpecKind::TemporalOrdered | SpecKind::FirstSeen { .. } => Self::None,
        }
    }

    pub(super) fn add(&mut self, e: &Entry) {
        match self {
            Self::None => {}
            Self::Count(n) => *n += u64::from(e.weight),
            Self::Distinct(map) => *map.entry(e.value).or_default() += 1,
            Self::Sum(n) => *n += micros(e),
            Self::Mean(n, weight) => {
                *n += micros(e);
                *weight += u64::from(e.weight);
            }
            Self::Ranks(ranks) => ranks.add(f64::from_bits(e.value), e.weight),
            Self::Gaps(gaps) => gaps.add(e.t),
        }
    }

    pub(super) fn remove(&mut self, e: &Entry) {
        match self {
            Self::None => {}
            Self::Count(n) => *n -= u64::from(e.weight),
            Self::Distinct(map) => {
                if let Some(n) = map.get_mut(&e.value) {
                    *n -= 1;
                    if *n == 0 {
                        map.remove(&e.value);
                    }
                }
            }
            Self::Sum(n) => *n -= micros(e),
            Self::Mean(n, weight) => {
                *n -= micros(e);
                *weight -= u64::from(e.weight);
            }
            Self::Ranks(ranks) => ranks.remove(f64::from_bits(e.value), e.weight),
            Self::Gaps(gaps) => gaps.remove(e.t),
        }
    }

    /// The number that the condition is about. Of an empty window there is no mean and no rank, of
    /// an irregular one no number of visits.
    pub(super) fn measured(&self, kind: SpecKind) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Count(n) => Some(*n as f64),
            Self::Distinct(map) => Some(map.len() as f64),
            Self::Sum(n) => Some(*n as f64 / MICROS),
            Self::Mean(n, weight) => (*weight > 0).then(|| *n as f64 / MICROS / *weight as f64),
            Self::Ranks(ranks) => match kind {
                SpecKind::ValuePercentile(p) => ranks.percentile(p),
                _ => ranks.percentile(50.0),
            },
            Self::Gaps(gaps) => gaps.regular_visits(),
        }
    }

    /// What was measured, if the condition holds.
    pub(super) fn qualifies(&self, node: &Node) -> Option<f64> {
        let measured = self.measured(node.spec.kind)?;
        let occurred = |slot: u8| match self {
            Self::Distinct(map) => map.contains_key(&u64::from(slot)),
            _ => false,
        };
        node.holds(measured, &occurred).then_some(measured)
    }
}

fn micros(e: &Entry) -> i128 {
    (f64::from_bits(e.value) * MICROS).round() as i128 * i128::from(e.weight)
}
