//! What an alert says after more has happened: reason and measurements as they stand now.
//!
//! An alert keeps what it said when it fired, so that a replay can be compared with it. A revision
//! stands beside it and takes its place for people.

use event::Alert;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a correlation's alert stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The sentence.
    pub reason: String,
    /// What was counted, as in the explanation of an alert.
    pub correlation: BTreeMap<String, String>,
}

impl Revision {
    /// What the alert said when it fired. `None` for alerts that are not from a correlation.
    pub fn first_of(alert: &Alert) -> Option<Self> {
        let correlation = alert.explanation.correlation.clone();
        (!correlation.is_empty()).then(|| Self { reason: alert.reason.clone(), correlation })
    }

    /// Whether it says more than `other`: more in one window, or as much and more in all. An alert
    /// may hold several bursts; the strongest one speaks.
    pub fn exceeds(&self, other: &Self) -> bool {
        let (measured, occurrences) = self.strength();
        let (known, known_occurrences) = other.strength();
        measured.total_cmp(&known).then(occurrences.cmp(&known_occurrences)).is_gt()
    }

    fn strength(&self) -> (f64, u64) {
        let text = |name: &str| self.correlation.get(name).map_or("", String::as_str);
        let measured = text("measured").parse().unwrap_or(f64::NEG_INFINITY);
        (measured, text("occurrences").parse().unwrap_or(0))
    }
}
