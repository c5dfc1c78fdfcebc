//! The records of the ledger stream: JSON, one tagged object each. Fields are only ever added.

use alert::{Folded, Revision, RuleMeta, State};
use event::{Alert, Disposition, Evidence, Level, RecordKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use trust::{Hash, TokenRecord};

/// Who did something, and when: part of every record that a person or a token causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Verified identity (`user:kim`, `token:0123456789abcdef`, `alcedo`).
    pub who: String,
    /// Wall time, ns since 1970-01-01 UTC.
    pub at_ns: i64,
    /// Address or program it came from; empty when unknown.
    #[serde(default)]
    pub client: String,
}

/// Something done that changes nothing in the ledger itself, for the audit list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// What was done, dotted (`login.ok`, `config.reload`, `search.export`).
    pub action: String,
    /// To what.
    #[serde(default)]
    pub target: String,
    /// Anything more, for people.
    #[serde(default)]
    pub detail: String,
}

/// What became of a message about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// The receiver said yes.
    Delivered,
    /// It failed and will be tried again.
    Retrying,
    /// It failed for good.
    Failed,
}

/// A search with a name, for everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSearch {
    /// Its name.
    pub name: String,
    /// Filter and pipes.
    pub query: String,
    /// From when on, as a search takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// What it raises, if it is a rule, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<SearchAlert>,
}

/// What a saved search raises: for each event that it finds as events come, or for each row of its
/// result when it is run on a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchAlert {
    /// Severity of its alerts.
    pub level: Level,
    /// It is run so often over what has come since the last run, ns; else it is a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ns: Option<i64>,
}

/// A run of a saved search on its schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRun {
    /// First offset of the events that it was run over.
    pub from: u64,
    /// The offset behind them: where the next run begins.
    pub until: u64,
    /// Rows that were found.
    pub rows: u64,
    /// Rows that became alerts.
    pub alerts: u64,
    /// Why the result is not whole, or that there is none; empty when it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

impl fmt::Display for SearchRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until, rows, alerts, problem } = self;
        write!(f, "offsets {from} to {until}: {rows} rows, {alerts} alerts")?;
        if !problem.is_empty() {
            write!(f, "; {problem}")?;
        }
        Ok(())
    }
}

/// What joining two alerts did to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merging {
    /// The one that ends was closed; else it stays as people left it.
    pub closed: bool,
    /// The one that carries on was closed, and is open again.
    pub reopened: bool,
}

/// A row of the index that outlives the records it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum CarriedRow {
    /// An alert.
    Alert(Box<CarriedAlert>),
    /// Evidence that was folded into it.
    Evidence {
        /// Alert id.
        alert: String,
        /// Offset of the record it came with.
        offset: u64,
        /// The events.
        list: Vec<Evidence>,
    },
    /// Something that happened to it.
    History {
        /// Alert id.
        alert: String,
        /// Offset the record had.
        offset: u64,
        /// The record.
        record: Box<LedgerRecord>,
    },
    /// A token.
    Token {
        /// As it stood.
        token: TokenRecord,
    },
    /// A saved search.
    Search {
        /// The search.
        search: SavedSearch,
        /// Who saved it last.
        who: String,
        /// When.
        at_ns: i64,
        /// Its last run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<SearchRun>,
    },
}

/// An alert as it stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CarriedAlert {
    /// As it fired.
    pub alert: Alert,
    /// Its rule's licence, references and advice.
    pub rule: RuleMeta,
    /// Where it stood.
    pub state: State,
    /// As what it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<Disposition>,
    /// To whom it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Occurrences.
    pub count: u64,
    /// Event time last seen, ns.
    pub last_event_ns: i64,
    /// Stream time last seen, ns.
    pub last_stream_ns: i64,
    /// Events it rests on.
    pub evidence_total: u64,
    /// Offset its record had.
    pub offset: u64,
    /// What it says instead of what it said when it fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// A segment that went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredSegment {
    /// Its first offset.
    pub first: u64,
    /// The offset after it.
    pub next: u64,
    /// The root over its records, as it was sealed; zeros when it had none.
    pub root: Hash,
}

/// What of the stream went in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredRange {
    /// Its first offset.
    pub first: u64,
    /// The first offset that was kept.
    pub next: u64,
    /// How many records it had, by type.
    pub records: BTreeMap<String, u64>,
    /// Stream time of its newest record, ns.
    pub newest_ns: i64,
    /// Its segments, oldest first.
    pub segments: Vec<RetiredSegment>,
    /// Head of the chain over all that went before it; zeros when nothing did.
    pub head_before: Hash,
    /// Head of the chain with its segments, see [`RetiredRange::head_of`].
    pub head: Hash,
}

impl RetiredRange {
    /// The chain goes on by one hash per segment: of the head before, both offsets, and the root.
    pub(crate) fn head_of(before: Hash, segments: &[RetiredSegment]) -> Hash {
        segments.iter().fold(before, |head, segment| {
            let offsets = [segment.first.to_le_bytes(), segment.next.to_le_bytes()].concat();
            Hash::of(&[&head.0[..], &offsets, &segment.root.0].concat())
        })
    }

    /// Whether segments, range and heads say the same.
    pub(crate) fn agrees(&self) -> bool {
        let ends = self.segments.first().map(|s| s.first) == Some(self.first)
            && self.segments.last().map(|s| s.next) == Some(self.next);
        let is_whole = self.segments.windows(2).all(|pair| pair[0].next == pair[1].first);
        ends && is_whole && self.head == Self::head_of(self.head_before, &self.segments)
    }
}

/// What was copied out of a range before it went: [`LedgerRecord::Carried`] records in front of the one
/// that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedOver {
    /// Offset of the first of them.
    pub from: u64,
    /// How many there are.
    pub rows: u64,
    /// How many of them are alerts.
    pub alerts: u64,
    /// Merkle root over their bytes, in order.
    pub root: Hash,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LedgerRecord {
    /// An alert went out.
    AlertFired {
        /// The alert.
        alert: Box<Alert>,
        /// Its rule's licence, references and advice.
        rule: RuleMeta,
    },
    /// More of it happened.
    AlertFolded {
        /// Totals and new evidence.
        folded: Folded,
    },
    /// Somebody moved an alert to another state.
    Triage {
        /// Alert id.
        alert: String,
        /// Where it stood.
        from: State,
        /// Where it stands now.
        to: State,
        /// As what it was closed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disposition: Option<Disposition>,
        /// Why.
        why: String,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A late event made one episode of two: one alert ends, the other carries on. What that does to
    /// their states is decided where the record is applied, from what people did until then.
    Merged {
        /// Id of the alert that ends.
        alert: String,
        /// Id of the alert that carries on.
        into: String,
        /// What it did; in histories only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Merging>,
        /// When and by which part.
        #[serde(flatten)]
        actor: Actor,
    },
    /// Somebody wrote a note.
    Note {
        /// Alert id.
        alert: String,
        /// The note.
        text: String,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// Somebody gave an alert to somebody, or to nobody.
    Assign {
        /// Alert id.
        alert: String,
        /// To whom.
        assignee: Option<String>,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// Something else was done.
    Audit {
        /// What.
        audit: Audit,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A token was made. The record has its secret's hash only.
    TokenCreated {
        /// The token.
        token: TokenRecord,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A token was revoked.
    TokenRevoked {
        /// Its id.
        id: String,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A search got a name, or another content under it.
    SearchSaved {
        /// The search.
        search: SavedSearch,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A saved search was removed.
    SearchRemoved {
        /// Its name.
        name: String,
        /// By whom.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A saved search was run on its schedule, or is to be from here on. Stands with the alerts of the run.
    SearchRan {
        /// Its name.
        name: String,
        /// Over what, and what came of it.
        run: SearchRun,
        /// When and by which part.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A message about an alert was sent, or was not. One when it is done with; one before that, and one
    /// per run of the server, when it fails for long.
    Delivery {
        /// Alert id.
        alert: String,
        /// Name of the sink.
        sink: String,
        /// What became of it.
        status: DeliveryStatus,
        /// Tries so far.
        #[serde(default)]
        attempts: u32,
        /// What failed last, for people; empty when nothing did.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        /// When and by which part.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A row that lives on when the records go that it was made of. Means nothing without the
    /// [`LedgerRecord::Retired`] behind it.
    Carried {
        /// The row.
        row: Box<CarriedRow>,
    },
    /// The oldest part of the stream goes, but for what was carried over.
    Retired {
        /// What goes.
        range: Box<RetiredRange>,
        /// What lives on.
        carried: CarriedOver,
        /// When and by which part.
        #[serde(flatten)]
        actor: Actor,
    },
}

impl LedgerRecord {
    /// Its type, as in its JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AlertFired { .. } => "alert_fired",
            Self::AlertFolded { .. } => "alert_folded",
            Self::Triage { .. } => "triage",
            Self::Merged { .. } => "merged",
            Self::Note { .. } => "note",
            Self::Assign { .. } => "assign",
            Self::Audit { .. } => "audit",
            Self::TokenCreated { .. } => "token_created",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::SearchSaved { .. } => "search_saved",
            Self::SearchRemoved { .. } => "search_removed",
            Self::SearchRan { .. } => "search_ran",
            Self::Delivery { .. } => "delivery",
            Self::Carried { .. } => "carried",
            Self::Retired { .. } => "retired",
        }
    }

    /// The kind it has in the journal: what only people read is `Audit`.
    pub fn kind(&self) -> RecordKind {
        match self {
            Self::Audit { .. } => RecordKind::Audit,
            _ => RecordKind::Ledger,
        }
    }

    /// Who caused it, where somebody did.
    pub fn actor(&self) -> Option<&Actor> {
        match self {
            Self::AlertFired { .. } | Self::AlertFolded { .. } | Self::Carried { .. } => None,
            Self::Triage { actor, .. }
            | Self::Merged { actor, .. }
            | Self::Note { actor, .. }
            | Self::Assign { actor, .. }
            | Self::Audit { actor, .. }
            | Self::TokenCreated { actor, .. }
            | Self::TokenRevoked { actor, .. }
            | Self::SearchSaved { actor, .. }
            | Self::SearchRemoved { actor, .. }
            | Self::SearchRan { actor, .. }
            | Self::Delivery { actor, .. }
            | Self::Retired { actor, .. } => Some(actor),
        }
    }

    /// Its line in the audit list: action, target, detail. Alerts and deliveries have none.
    pub fn audit(&self) -> Option<(&str, &str, String)> {
        Some(match self {
            Self::AlertFired { .. }
            | Self::AlertFolded { .. }
            | Self::Delivery { .. }
            | Self::Carried { .. } => return None,
            Self::Triage { alert, from, to, disposition, why, .. } => {
                let what = disposition.map_or(String::new(), |d| format!(" as {}", word(d)));
                ("alert.triage", alert, format!("{} -> {}{what}: {why}", from.name(), to.name()))
            }
            Self::Merged { alert, into, .. } => ("alert.merge", alert, format!("into {into}")),
            Self::Note { alert, .. } => ("alert.note", alert, String::new()),
            Self::Assign { alert, assignee, .. } => {
                ("alert.assign", alert, assignee.clone().unwrap_or_default())
            }
            Self::Audit { audit, .. } => (&audit.action, &audit.target, audit.detail.clone()),
            Self::TokenCreated { token, .. } => {
                let roles: Vec<&str> = token.scope.roles.iter().map(|r| r.name()).collect();
                ("token.create", &token.id, format!("{} ({})", token.name, roles.join(", ")))
            }
            Self::TokenRevoked { id, .. } => ("token.revoke", id, String::new()),
            Self::SearchSaved { search, .. } => ("search.save", &search.name, search.query.clone()),
            Self::SearchRemoved { name, .. } => ("search.remove", name, String::new()),
            Self::SearchRan { name, run, .. } => ("search.run", name, run.to_string()),
            Self::Retired { range, carried, .. } => {
                let records: u64 = range.records.values().sum();
                let newest = event::time::rfc3339(range.newest_ns);
                let detail = format!(
                    "{records} records up to {newest}, offsets {} to {}; {} alerts live on",
                    range.first,
                    range.next.saturating_sub(1),
                    carried.alerts
                );
                ("ledger.retire", "ledger", detail)
            }
        })
    }
}

/// A disposition's name in the API.
pub(crate) fn word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::TruePositive => "true_positive",
        Disposition::BenignTruePositive => "benign_true_positive",
        Disposition::FalsePositive => "false_positive",
    }
}

/// The disposition of that name.
pub(crate) fn disposition(name: &str) -> Option<Disposition> {
    use Disposition::*;
    [TruePositive, BenignTruePositive, FalsePositive].into_iter().find(|d| word(*d) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_one_written_earlier_still_does() {
        let record = LedgerRecord::Triage {
            alert: "a1".into(),
            from: State::New,
            to: State::Closed,
            disposition: Some(Disposition::FalsePositive),
            why: "backup job".into(),
            actor: Actor { who: "user:kim".into(), at_ns: 7, client: "10.0.0.1".into() },
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<LedgerRecord>(&text).unwrap(), record);
        let stored = r#"{"type":"triage","alert":"a1","from":"new","to":"closed",
            "disposition":"false_positive","why":"backup job","who":"user:kim","at_ns":7,
            "client":"10.0.0.1","added_later":true}"#;
        assert_eq!(serde_json::from_str::<LedgerRecord>(stored).unwrap(), record);
        assert_eq!(record.audit().unwrap().2, "new -> closed as false_positive: backup job");
        for d in ["true_positive", "benign_true_positive", "false_positive"] {
            assert_eq!(word(disposition(d).unwrap()), d);
        }
    }
}
