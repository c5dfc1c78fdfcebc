//! What detection says: a rule matched a row, and what an analyst is told about it.

use crate::EventId;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Severity in Sigma's words, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth recording.
    Informational,
    /// Rarely worth a look alone.
    Low,
    /// Review.
    Medium,
    /// Act soon.
    High,
    /// Act now.
    Critical,
}

impl Level {
    /// All levels, lowest first, with their Sigma names.
    pub const ALL: &[(Level, &'static str)] = &[
        (Level::Informational, "informational"),
        (Level::Low, "low"),
        (Level::Medium, "medium"),
        (Level::High, "high"),
        (Level::Critical, "critical"),
    ];

    /// Sigma's name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The level of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(l, _)| *l)
    }
}

/// One rule matched one row. Made by workers, consumed by correlation and alerting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Index of the rule in its rule set.
    pub rule: u32,
    /// Index of the row in its batch.
    pub row: u32,
}

/// An event that an alert rests on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Evidence {
    /// Which event.
    pub id: EventId,
    /// Its time, ns since 1970-01-01 UTC.
    pub event_ns: i64,
    /// Id of the rule it matched.
    pub rule: Arc<str>,
    /// How many occurrences it stands for.
    pub weight: u32,
    /// Ids of other rules of the same correlation that it matched.
    #[serde(default)]
    pub also: Vec<Arc<str>>,
}

impl Evidence {
    /// One event of a plain rule or of the rule a correlation names.
    pub fn new(id: EventId, event_ns: i64, rule: Arc<str>, weight: u32) -> Self {
        Self { id, event_ns, rule, weight, also: Vec::new() }
    }

    /// Adds `more` to `list`, each event once: an event that matched several rules names them all.
    pub fn join(list: &mut Vec<Evidence>, more: impl IntoIterator<Item = Evidence>) {
        let mut places: HashMap<EventId, usize> =
            list.iter().enumerate().map(|(at, one)| (one.id, at)).collect();
        for one in more {
            match places.entry(one.id) {
                Entry::Vacant(place) => {
                    place.insert(list.len());
                    list.push(one);
                }
                Entry::Occupied(place) => {
                    let known = &mut list[*place.get()];
                    for rule in std::iter::once(one.rule).chain(one.also) {
                        if known.rule != rule && !known.also.contains(&rule) {
                            known.also.push(rule);
                        }
                    }
                }
            }
        }
    }
}

/// Text forms leave `also` out where it is empty, as nearly always; a form without names cannot.
impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let told = !self.also.is_empty() || !serializer.is_human_readable();
        let mut out = serializer.serialize_struct("Evidence", if told { 5 } else { 4 })?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("event_ns", &self.event_ns)?;
        out.serialize_field("rule", &self.rule)?;
        out.serialize_field("weight", &self.weight)?;
        if told {
            out.serialize_field("also", &self.also)?;
        }
        out.end()
    }
}

/// Result of one leaf or group of a condition, as recorded on a match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `and`, `or`, `not`, `at_least`, or `leaf`.
    pub op: Arc<str>,
    /// Selection name or other label from the rule, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Whether it held.
    pub matched: bool,
    /// Field as the rule writes it; leaves only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Arc<str>>,
    /// Field of the event that answered; leaves only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<Arc<str>>,
    /// Test and pattern as text, for example `endswith \powershell.exe`; leaves only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Arc<str>>,
    /// Value found (first 4,096 bytes); leaves only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// Byte span of what matched, within the value; leaves only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(u32, u32)>,
    /// Why a leaf did not hold: `field_absent`, `field_is_object` (`answered_by` is a part of it),
    /// `value_mismatch`, `case_mismatch`, `existence`, `no_keyword_match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Parts of a group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Outcome>,
}

/// Why an alert fired, stored with it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// The condition tree with what was found; of the last contributing event for correlations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Outcome>,
    /// Correlation type, window, threshold and what was counted; empty for plain rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub correlation: BTreeMap<String, String>,
}

/// What an analyst closed an alert as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// It was what the rule says, and harmful.
    TruePositive,
    /// It was what the rule says, and expected.
    BenignTruePositive,
    /// It was not what the rule says.
    FalsePositive,
}

/// An alert: deterministic in everything but who looks at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Hex of H(tenant, rule id, key, event whose arrival first made the condition true).
    pub id: String,
    /// Rule id (or `alcedo.` name for built-in monitors).
    pub rule_id: String,
    /// Rule title.
    pub title: String,
    /// `detection`, a correlation type, or `monitor`.
    pub rule_type: String,
    /// Rule author, shown wherever the alert is shown.
    pub author: String,
    /// Severity.
    pub level: Level,
    /// ATT&CK and other tags of the rule.
    pub tags: Vec<String>,
    /// Content hash of the rule that fired.
    pub rule_hash: String,
    /// Generation of rules that fired it.
    pub generation: u64,
    /// One sentence with the values that matter.
    pub reason: String,
    /// Group-by fields and values, or the rule's main entity.
    pub entity: BTreeMap<String, String>,
    /// Event time of the event that fired it, ns.
    pub event_ns: i64,
    /// Stream time at which it fired, ns.
    pub stream_ns: i64,
    /// The event whose arrival made the condition true.
    pub fired_by: EventId,
    /// All contributing events, oldest first.
    pub evidence: Vec<Evidence>,
    /// Occurrences folded into this alert by suppression, itself included.
    pub count: u64,
    /// Why.
    pub explanation: Explanation,
    /// Set where backfilled events fired it: queued, nobody is paged.
    pub backfill: bool,
}
