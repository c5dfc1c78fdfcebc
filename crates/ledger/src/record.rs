//! The records of the ledger stream: JSON, one tagged object each. Fields are only ever added.

use alert::{Folded, RuleMeta, State};
use event::{Alert, Disposition, Level, RecordKind};
use serde::{Deserialize, Serialize};
use std::fmt;
use trust::TokenRecord;

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
}

impl LedgerRecord {
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
            Self::AlertFired { .. } | Self::AlertFolded { .. } => None,
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
            | Self::Delivery { actor, .. } => Some(actor),
        }
    }

    /// Its line in the audit list: action, target, detail. Alerts and deliveries have none.
    pub fn audit(&self) -> Option<(&str, &str, String)> {
        Some(match self {
            Self::AlertFired { .. } | Self::AlertFolded { .. } | Self::Delivery { .. } => {
                return None;
            }
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
