//! The ledger over a real journal in a temporary folder.
#![allow(clippy::unwrap_used, reason = "tests")]

mod alerts;
mod crash;
mod full;
mod retire;

use alert::{Folded, Revision, RuleMeta, State};
use event::{Alert, Disposition, EventId, Evidence, Explanation, Level};
use journal::{Journal, OsClock, OsFs};
use ledger::{Actor, Ledger, LedgerRecord, TriageRequest, journal_options};
use std::path::Path;
use std::sync::Arc;

fn open_journal(dir: &Path) -> Arc<Journal> {
    let options = journal::Options {
        segment_size_bytes: 256 << 10,
        disk_reserve_bytes: 1 << 20,
        ..journal_options()
    };
    let (journal, _) =
        Journal::open(dir.join("stream"), options, Arc::new(OsFs), Arc::new(OsClock)).unwrap();
    Arc::new(journal)
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(dir, open_journal(dir)).unwrap()
}

fn make_alert(n: u64, level: Level, host: &str) -> Alert {
    Alert {
        id: format!("{n:032x}"),
        rule_id: format!("rule-{}", n % 3),
        title: "Encoded PowerShell".into(),
        rule_type: "detection".into(),
        author: "A. Author".into(),
        level,
        tags: vec!["attack.execution".into()],
        rule_hash: "h".into(),
        generation: 1,
        reason: format!("Encoded PowerShell: host.name {host}"),
        entity: [("host.name".to_owned(), host.to_owned())].into(),
        event_ns: n as i64,
        stream_ns: n as i64 / 2,
        fired_by: EventId::at(n),
        evidence: vec![evidence(n)],
        count: 1,
        explanation: Explanation::default(),
        backfill: false,
    }
}

fn evidence(n: u64) -> Evidence {
    Evidence::new(EventId::at(n), n as i64, "r".into(), 1)
}

fn fired(alert: &Alert) -> LedgerRecord {
    let rule = RuleMeta { license: "DRL-1.1".into(), ..RuleMeta::default() };
    LedgerRecord::AlertFired { alert: Box::new(alert.clone()), rule }
}

fn folded(alert: &Alert, count: u64) -> LedgerRecord {
    LedgerRecord::AlertFolded {
        folded: Folded {
            id: alert.id.clone(),
            count,
            last_event_ns: 900,
            last_stream_ns: 900,
            evidence: vec![evidence(900 + count)],
            evidence_total: count,
            other_entities: 0,
            closed: false,
            revision: None,
        },
    }
}

fn actor(who: &str) -> Actor {
    Actor { who: who.into(), at_ns: 5, client: "10.0.0.9".into() }
}

fn close(why: &str) -> TriageRequest {
    TriageRequest {
        to: State::Closed,
        disposition: Some(Disposition::FalsePositive),
        why: why.into(),
        actor: actor("user:kim"),
        take: false,
    }
}

fn acknowledge() -> TriageRequest {
    TriageRequest {
        to: State::Acknowledged,
        disposition: None,
        why: String::new(),
        actor: actor("user:kim"),
        take: false,
    }
}
