//! What the engine says: an episode began, grew, or was joined to an older one.

use event::EventId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What happened to an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FiringKind {
    /// The condition became true; `evidence` holds everything that contributes so far.
    New,
    /// More contributed since; replaces what was sent before. Sent with ticks, at growing intervals
    /// (see [`super::settings::UPDATE_PAUSE_MIN_NS`]), and when the episode ends.
    Update,
    /// A late event joined this episode to an older one, which carries on; the evidence of both is
    /// the older one's from now on. `fresh` is what this one has told, and the older one has not.
    MergedInto(EventId),
}

/// One event that an episode rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Contribution {
    /// When it happened, ns.
    pub event_ns: i64,
    /// Which event.
    pub id: EventId,
    /// Index in the rule set of the detection rule it matched.
    pub rule: u32,
    /// How many occurrences it stands for.
    pub weight: u32,
}

/// One message about one episode of one (rule, key).
///
/// The pair (rule, `fired_by`, key) names the episode for good: it is never recomputed.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// Beginning, growth or join.
    pub kind: FiringKind,
    /// Index of the correlation rule in the rule set.
    pub rule: u32,
    /// Id of the correlation rule.
    pub rule_id: Arc<str>,
    /// Correlation type, for example `event_count`.
    pub rule_type: &'static str,
    /// Hash of the key: the same for the same values in any case.
    pub key: u128,
    /// Group-by names and values as one of the events sent them.
    pub group: Vec<(Arc<str>, String)>,
    /// The event whose arrival first made the condition true.
    pub fired_by: EventId,
    /// The event that caused this message; equals `fired_by` when it begins.
    pub cause: EventId,
    /// The event that was being worked in when this was said: orders messages as the journal orders
    /// events, however rows were cut into batches. The zero id for ticks.
    pub trigger: EventId,
    /// Event time of `cause`, ns.
    pub event_ns: i64,
    /// Stream time at which the episode began, ns.
    pub stream_ns: i64,
    /// Earliest and latest event time of the evidence, ns.
    pub first_ns: i64,
    /// See `first_ns`.
    pub last_ns: i64,
    /// Length of the rule's window, ns.
    pub timespan_ns: i64,
    /// What the window measured when this was sent: events, distinct values, rules, sum...
    pub measured: f64,
    /// Of events at regular intervals: the median of the gaps of the listed ones, ns.
    pub every_ns: Option<i64>,
    /// How many of `measured` come from a sketch of events that had to be let go in a flood of keys:
    /// `measured` is then an upper bound. Zero: exact.
    pub estimated: u64,
    /// The condition as text, for example `gte 5`.
    pub condition: String,
    /// Whether that is an expression over rules, which says more than their number.
    pub is_expression: bool,
    /// Contributing events so far, oldest first; at most [`super::EVIDENCE_MAX`].
    pub evidence: Vec<Contribution>,
    /// Those of `evidence` that no message about this episode has told before.
    pub fresh: Vec<Contribution>,
    /// How many events that is, those included that are not listed.
    pub new_events: u64,
    /// Contributing events of the whole episode, listed or not.
    pub events: u64,
    /// The same, weighted.
    pub weight: u64,
    /// It comes from the pass over events that were too old for the live windows.
    pub backfill: bool,
}

impl Firing {
    /// The events it rests on, oldest first, each once: one may have matched several of the rules.
    pub fn evidence_ids(&self) -> Vec<EventId> {
        let mut ids: Vec<EventId> = self.evidence.iter().map(|c| c.id).collect();
        ids.dedup();
        ids
    }

    /// One sentence for people. Values are made safe to show.
    pub fn reason(&self) -> String {
        let group: Vec<_> = self
            .group
            .iter()
            .map(|(name, value)| format!("{name} {}", event::text::render(value.as_bytes())))
            .collect();
        let seconds = self.timespan_ns / event::time::SECOND_NS;
        let what = match self.rule_type {
            "event_count" => format!("{} events within {seconds} s", self.measured),
            "value_count" => format!("{} different values within {seconds} s", self.measured),
            "temporal" if self.is_expression => format!("{} within {seconds} s", self.condition),
            "temporal" => format!("{} rules matched within {seconds} s", self.measured),
            "temporal_ordered" => format!("{} steps in order within {seconds} s", self.measured),
            "first_seen" => "a value not seen before".to_owned(),
            "regular_interval" => {
                let every = self.every_ns.unwrap_or_default() / event::time::SECOND_NS;
                format!("{} visits within {seconds} s, one every {every} s", self.measured)
            }
            "absence" => format!("not followed by what should follow within {seconds} s"),
            other => format!("{other} is {} within {seconds} s", self.measured),
        };
        match group.is_empty() {
            true => format!("{what} ({} events in all)", self.weight),
            false => format!("{what} for {} ({} events in all)", group.join(", "), self.weight),
        }
    }
}

/// Order in which firings are consumed: by the event that was being worked in, then cause, rule, key
/// and kind. Total, so it does not depend on how shards were spread over threads.
pub fn sort_firings(firings: &mut [Firing]) {
    firings.sort_by_key(|a| (a.trigger, a.cause, a.rule, a.key, a.kind, a.fired_by, a.backfill));
}
