//! Queries, triage, notes, audit and tokens.

use crate::*;
use ledger::{AlertFilter, AlertOrder, AuditFilter, DeliveryStatus, IDS_MAX, LedgerError, Merging};
use proptest::prelude::*;
use trust::{AuthError, NewToken, Role, Scope, TokenKind, verify};

fn filled(dir: &Path, count: u64) -> Ledger {
    let ledger = open(dir);
    let levels = [Level::Low, Level::High];
    let alerts: Vec<LedgerRecord> = (0..count)
        .map(|n| fired(&make_alert(n, levels[n as usize % 2], &format!("WS-{}", n % 5))))
        .collect();
    assert_eq!(ledger.submit(alerts, 1).unwrap().appended, count as usize);
    ledger
}

fn all_ids(ledger: &Ledger, filter: &AlertFilter, limit: usize) -> Vec<String> {
    let (mut out, mut cursor) = (Vec::new(), None);
    loop {
        let page = ledger.alerts(filter, limit, cursor.as_deref()).unwrap();
        assert!(page.rows.len() <= limit);
        out.extend(page.rows.into_iter().map(|row| row.id));
        cursor = page.next;
        if cursor.is_none() {
            return out;
        }
    }
}

#[test]
fn filters_counts_and_pages_agree_and_pages_are_stable() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 50);
    let all = AlertFilter::default();
    let ids = all_ids(&ledger, &all, 7);
    let expected: Vec<String> = (0..50u64).rev().map(|n| format!("{n:032x}")).collect();
    assert_eq!(ids, expected, "newest first, each once");
    let first = ledger.alerts(&all, 10, None).unwrap();
    ledger.submit(vec![fired(&make_alert(99, Level::Low, "new"))], 1).unwrap();
    let second = ledger.alerts(&all, 10, first.next.as_deref()).unwrap();
    assert_eq!(second.rows[0].id, expected[10], "a new alert does not shift the next page");

    for (filter, count) in [
        (AlertFilter { min_level: Some(Level::Medium), ..all.clone() }, 25),
        (AlertFilter { text: Some("ws-3".into()), ..all.clone() }, 10),
        (AlertFilter { text: Some("%".into()), ..all.clone() }, 0),
        (AlertFilter { rule_id: Some("rule-0".into()), ..all.clone() }, 18),
        (AlertFilter { since_ns: Some(10), until_ns: Some(12), ..all.clone() }, 4),
        (AlertFilter { states: vec![State::Closed], ..all.clone() }, 0),
        (AlertFilter { backfill: Some(true), ..all.clone() }, 0),
        (AlertFilter { unassigned: true, ..all.clone() }, 51),
        (AlertFilter { ids: expected[..3].to_vec(), ..all.clone() }, 3),
    ] {
        assert_eq!(all_ids(&ledger, &filter, 3).len(), count, "{filter:?}");
        assert_eq!(ledger.counts(&filter).unwrap().total, count as u64, "{filter:?}");
    }
    let counts = ledger.counts(&all).unwrap();
    assert_eq!((counts.by_state["new"], counts.by_level["low"]), (51, 26));
    for cursor in ["", "x", "1", "9.'; DROP TABLE alerts; --"] {
        let got = ledger.alerts(&all, 1, Some(cursor));
        assert!(got.is_ok_and(|page| page.rows.len() == 1) || !cursor.contains('.'), "{cursor}");
    }
}

#[test]
fn the_most_severe_come_first_on_every_page() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 20);
    let (mut got, mut cursor) = (Vec::new(), None);
    loop {
        let order = AlertOrder::Severity;
        let page = ledger.alerts_by(&AlertFilter::default(), order, 3, cursor.as_deref()).unwrap();
        got.extend(page.rows.into_iter().map(|row| (row.level, row.stream_ns, row.id)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut expected = got.clone();
    expected.sort_by(|a, b| b.cmp(a));
    expected.dedup();
    assert_eq!((got.len(), &got), (20, &expected));
    assert_eq!((got[0].0, got[19].0), (Level::High, Level::Low));
    let other = ledger.alerts(&AlertFilter::default(), 3, None).unwrap().next.unwrap();
    let mixed = ledger.alerts_by(&AlertFilter::default(), AlertOrder::Severity, 3, Some(&other));
    assert!(matches!(mixed, Err(LedgerError::BadCursor)), "a cursor of another order");
}

#[test]
fn alerts_are_given_to_somebody_together_and_found_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 1_203);
    let high = AlertFilter { min_level: Some(Level::High), ..AlertFilter::default() };
    let kim = actor("user:kim");
    assert_eq!(ledger.bulk_assign(&high, Some("user:lee"), &kim).unwrap(), (601, 0));
    assert_eq!(ledger.bulk_assign(&high, Some("user:lee"), &kim).unwrap(), (0, 601));
    let of_lee = AlertFilter { assignee: Some("user:lee".into()), ..AlertFilter::default() };
    let of_nobody = AlertFilter { unassigned: true, ..AlertFilter::default() };
    assert_eq!(ledger.counts(&of_lee).unwrap().total, 601);
    assert_eq!(ledger.counts(&of_nobody).unwrap().total, 602);
    let some: Vec<String> = (0..4u64).map(|n| format!("{n:032x}")).collect();
    let some = AlertFilter { ids: some, ..AlertFilter::default() };
    assert_eq!(ledger.bulk_assign(&some, None, &kim).unwrap(), (2, 2));
    let history = ledger.alert(&format!("{:032x}", 1)).unwrap().unwrap().history;
    assert_eq!(history.len(), 2, "each change is a record of its own");
    let many = AlertFilter { ids: vec!["x".into(); IDS_MAX + 1], ..AlertFilter::default() };
    assert!(matches!(ledger.counts(&many), Err(LedgerError::TooLong { .. })));
}

#[test]
fn triage_follows_the_table_and_leaves_history_and_audit() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 1);
    let id = format!("{:032x}", 0);
    ledger.triage(&id, &acknowledge()).unwrap();
    assert!(matches!(ledger.triage(&id, &acknowledge()), Err(LedgerError::Triage(_))));
    assert!(matches!(ledger.triage("none", &acknowledge()), Err(LedgerError::NoAlert { .. })));
    ledger.note(&id, "looked at it", actor("user:lee")).unwrap();
    ledger.assign(&id, Some("lee".into()), actor("user:kim")).unwrap();
    ledger.triage(&id, &close("backup job")).unwrap();
    let delivery = |status, attempts, detail: &str| LedgerRecord::Delivery {
        alert: id.clone(),
        sink: "chat".into(),
        status,
        attempts,
        detail: detail.into(),
        actor: actor("alcedo"),
    };
    let failing = delivery(DeliveryStatus::Retrying, 3, "HTTP 502");
    let taken = delivery(DeliveryStatus::Delivered, 5, "HTTP 503");
    ledger.submit(vec![failing], 1).unwrap();
    assert_eq!(ledger.delivery(&id, "chat").unwrap().unwrap().status, DeliveryStatus::Retrying);
    assert_eq!(ledger.delivery(&id, "siem").unwrap(), None);
    ledger.submit(vec![taken], 1).unwrap();
    let detail = ledger.alert(&id).unwrap().unwrap();
    assert_eq!(
        (detail.state, detail.disposition),
        (State::Closed, Some(Disposition::FalsePositive))
    );
    assert_eq!(detail.assignee.as_deref(), Some("lee"));
    assert_eq!((detail.history.len(), detail.rule.license.as_str()), (6, "DRL-1.1"));
    let chat = detail.deliveries["chat"].clone();
    assert_eq!((chat.status, chat.attempts), (DeliveryStatus::Delivered, 5));
    assert_eq!(chat.last_error, "HTTP 503");
    assert_eq!(ledger.delivery(&id, "chat").unwrap(), Some(chat));
    assert_eq!(detail.offset, 0, "the first record of the stream");
    let audit = ledger.audit(&AuditFilter::default(), 10, None).unwrap();
    let lines: Vec<(&str, &str)> =
        audit.rows.iter().map(|r| (r.who.as_str(), r.action.as_str())).collect();
    assert_eq!(
        lines,
        [
            ("user:kim", "alert.triage"),
            ("user:kim", "alert.assign"),
            ("user:lee", "alert.note"),
            ("user:kim", "alert.triage"),
        ]
    );
    assert_eq!(audit.rows[0].detail, "acknowledged -> closed as false_positive: backup job");
    let page = ledger.audit(&AuditFilter::default(), 3, None).unwrap();
    let rest = ledger.audit(&AuditFilter::default(), 3, page.next.as_deref()).unwrap();
    assert_eq!((page.rows.len(), rest.rows.len(), rest.next), (3, 1, None));
    let lee = AuditFilter { who: Some("user:lee".into()), ..AuditFilter::default() };
    assert_eq!(ledger.audit(&lee, 10, None).unwrap().rows.len(), 1);
    let above = AuditFilter { action: Some("alert".into()), ..AuditFilter::default() };
    assert_eq!(ledger.audit(&above, 10, None).unwrap().rows.len(), 4);
    // Reopening takes the disposition away.
    let reopen = TriageRequest { to: State::New, disposition: None, ..close("wrong") };
    ledger.triage(&id, &reopen).unwrap();
    assert_eq!(ledger.alert(&id).unwrap().unwrap().disposition, None);
}

#[test]
fn whoever_takes_an_alert_has_it_unless_it_is_somebodys() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 3);
    let id = |n: u64| format!("{n:032x}");
    ledger.assign(&id(1), Some("user:lee".into()), actor("user:lee")).unwrap();
    let take = TriageRequest { take: true, ..acknowledge() };
    ledger.triage(&id(0), &take).unwrap();
    assert_eq!(ledger.bulk_triage(&AlertFilter::default(), &take).unwrap(), (2, 1));
    let assignee = |n| ledger.alert(&id(n)).unwrap().unwrap().assignee.unwrap();
    assert_eq!([assignee(0), assignee(1), assignee(2)], ["user:kim", "user:lee", "user:kim"]);
}

#[test]
fn bulk_triage_moves_all_that_match_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 1_203);
    let high = AlertFilter { min_level: Some(Level::High), ..AlertFilter::default() };
    assert_eq!(ledger.bulk_triage(&high, &acknowledge()).unwrap(), (601, 0));
    assert_eq!(ledger.bulk_triage(&AlertFilter::default(), &acknowledge()).unwrap(), (602, 601));
    assert!(ledger.bulk_triage(&high, &close("")).is_err(), "no reason, no change");
    assert_eq!(ledger.bulk_triage(&high, &close("tuned")).unwrap(), (601, 0));
    let counts = ledger.counts(&AlertFilter::default()).unwrap();
    assert_eq!((counts.by_state["closed"], counts.by_state["acknowledged"]), (601, 602));
}

#[test]
fn a_known_alert_is_compared_not_appended() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 3);
    let first = make_alert(0, Level::Low, "WS-0");
    let update = folded(&first, 9);
    assert_eq!(ledger.submit(vec![update.clone()], 1).unwrap().appended, 1);
    let again = ledger.submit(vec![fired(&first), update, folded(&first, 5)], 1).unwrap();
    assert_eq!((again.appended, again.known), (0, 3));
    let other = Alert { reason: "something else".into(), ..first.clone() };
    assert_eq!(ledger.submit(vec![fired(&other)], 1).unwrap().known, 1);
    let counters = ledger.counters();
    assert_eq!((counters.known, counters.disagreements), (1, 1));
    let detail = ledger.alert(&first.id).unwrap().unwrap();
    assert_eq!((detail.alert.count, detail.evidence_total), (9, 9));
    assert_eq!(detail.alert.evidence, [evidence(0), evidence(909)]);
    assert_eq!(detail.alert.reason, first.reason);
}

#[test]
fn tokens_are_looked_up_from_memory_and_revocation_acts_at_once_and_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let scope = Scope {
        roles: vec![Role::Ingest],
        sources: vec!["web".into()],
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        expires_ns: None,
    };
    let new = NewToken::generate(TokenKind::Ingest, "web", scope, "user:kim", 1).unwrap();
    let id = new.record.id.clone();
    ledger.create_token(new.record.clone(), actor("user:kim")).unwrap();
    let peer = Some("10.0.0.1".parse().unwrap());
    let check = |ledger: &Ledger| verify(&new.text, peer, 9, |id| ledger.token(id));
    assert!(check(&ledger).unwrap().may_write("web"));
    drop(ledger);
    let ledger = open(dir.path());
    assert!(check(&ledger).is_ok(), "tokens survive a restart");
    ledger.revoke_token(&id, actor("user:kim")).unwrap();
    assert_eq!(check(&ledger), Err(AuthError::Revoked { id: id.clone() }));
    assert!(ledger.revoke_token(&id, actor("user:kim")).is_err());
    drop(ledger);
    let ledger = open(dir.path());
    assert_eq!(check(&ledger), Err(AuthError::Revoked { id }));
    let audit = ledger.audit(&AuditFilter::default(), 10, None).unwrap();
    let actions: Vec<&str> = audit.rows.iter().map(|r| r.action.as_str()).collect();
    assert_eq!(actions, ["token.revoke", "token.create"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn pages_of_any_size_cover_every_alert_once(
        times in prop::collection::vec(0i64..6, 1..40), limit in 1usize..12,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        let mut alerts: Vec<Alert> = times
            .iter()
            .enumerate()
            .map(|(n, ns)| Alert { stream_ns: *ns, ..make_alert(n as u64, Level::Low, "h") })
            .collect();
        ledger.submit(alerts.iter().map(fired).collect(), 1).unwrap();
        alerts.sort_by(|a, b| (b.stream_ns, &b.id).cmp(&(a.stream_ns, &a.id)));
        let expected: Vec<String> = alerts.into_iter().map(|a| a.id).collect();
        prop_assert_eq!(all_ids(&ledger, &AlertFilter::default(), limit), expected);
    }
}

fn revision(measured: u32) -> Revision {
    let number = |name: &str| (name.to_owned(), measured.to_string());
    Revision {
        reason: format!("{measured} failures"),
        correlation: [number("measured"), number("occurrences")].into(),
    }
}

/// Scenario: an alert grows, is told again after a restart, and the index is made anew.
/// Guarantees: lists, text filters and the alert itself say how it stands; its history has every
/// revision; the alert as it fired is known when it is told again; evidence is listed once.
#[test]
fn a_revision_takes_the_place_of_what_was_said_and_leaves_it_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let mut alert = make_alert(1, Level::High, "WS-1");
    alert.reason = revision(5).reason;
    alert.explanation.correlation = revision(5).correlation;
    let grown = |count: u64, measured: u32| {
        let LedgerRecord::AlertFolded { mut folded } = folded(&alert, count) else { panic!() };
        folded.revision = Some(Box::new(revision(measured)));
        folded.evidence.push(evidence(1));
        LedgerRecord::AlertFolded { folded }
    };
    let records = vec![fired(&alert), grown(2, 20), grown(3, 50), grown(4, 9)];
    ledger.submit(records.clone(), 1).unwrap();
    let looks_right = |ledger: &Ledger| {
        let detail = ledger.alert(&alert.id).unwrap().unwrap();
        assert_eq!(detail.alert.reason, "50 failures");
        assert_eq!(detail.alert.explanation.correlation["measured"], "50");
        let ids: Vec<u64> = detail.alert.evidence.iter().map(|e| e.id.offset).collect();
        assert_eq!(ids, [1, 902, 903, 904]);
        let said = detail.history.iter().filter_map(|h| match &h.record {
            LedgerRecord::AlertFolded { folded } => Some(folded.revision.clone()?.reason),
            _ => None,
        });
        assert_eq!(said.collect::<Vec<_>>(), ["20 failures", "50 failures"]);
        let found = |text: &str| {
            let filter = AlertFilter { text: Some(text.into()), ..AlertFilter::default() };
            ledger.alerts(&filter, 10, None).unwrap().rows
        };
        assert_eq!(found("50 FAILURES")[0].reason, "50 failures");
        assert!(found("5 failures").is_empty());
    };
    looks_right(&ledger);
    let again = ledger.submit(records, 2).unwrap();
    assert_eq!((again.appended, again.known), (0, 4));
    assert_eq!(ledger.counters().disagreements, 0);
    ledger.rebuild().unwrap();
    looks_right(&ledger);
}

fn merged(alert: u64, into: u64) -> LedgerRecord {
    let (alert, into) = (format!("{alert:032x}"), format!("{into:032x}"));
    LedgerRecord::Merged { alert, into, outcome: None, actor: actor("alcedo") }
}

/// State, disposition, assignee and what merges did, as the history tells it.
type Stands = (State, Option<Disposition>, Option<String>, Vec<Merging>);

fn stands(ledger: &Ledger, n: u64) -> Stands {
    let detail = ledger.alert(&format!("{n:032x}")).unwrap().unwrap();
    let merges = detail.history.into_iter().filter_map(|h| match h.record {
        LedgerRecord::Merged { outcome, .. } => outcome,
        _ => None,
    });
    (detail.state, detail.disposition, detail.assignee, merges.collect())
}

/// Scenario: alerts that nobody touched, that people closed, took, gave to somebody or opened again are
/// each joined to an older one; the same is told again after a restart, and the index is made anew.
/// Guarantees: only what nobody decided is closed; dispositions, assignees and notes stay; a merge is one
/// record, applied once.
#[test]
fn a_merge_closes_what_nobody_decided_and_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 8);
    let id = |n: u64| format!("{n:032x}");
    let reopen = TriageRequest { to: State::New, disposition: None, ..close("not yet") };
    ledger.triage(&id(2), &close("known")).unwrap();
    ledger.triage(&id(3), &acknowledge()).unwrap();
    ledger.assign(&id(4), Some("user:lee".into()), actor("user:kim")).unwrap();
    ledger.note(&id(4), "look here", actor("user:kim")).unwrap();
    ledger.triage(&id(5), &close("known")).unwrap();
    ledger.triage(&id(5), &reopen).unwrap();
    let merges: Vec<LedgerRecord> = (1..6).map(|n| merged(n, 0)).collect();
    assert_eq!(ledger.submit(merges.clone(), 1).unwrap().appended, 5);

    let did = |closed| vec![Merging { closed, reopened: false }];
    let false_positive = Some(Disposition::FalsePositive);
    let expected: [Stands; 5] = [
        (State::Closed, None, None, did(true)),
        (State::Closed, false_positive, None, did(false)),
        (State::Acknowledged, None, None, did(false)),
        (State::Closed, None, Some("user:lee".into()), did(true)),
        (State::New, None, None, did(false)),
    ];
    let look = |ledger: &Ledger| -> Vec<Stands> { (1..6).map(|n| stands(ledger, n)).collect() };
    assert_eq!(look(&ledger), expected);
    assert_eq!(stands(&ledger, 0).0, State::New);
    assert_eq!(stands(&ledger, 0).3.len(), 5, "what carries on tells it, too");
    let notes = ledger.alert(&id(4)).unwrap().unwrap().history;
    assert!(notes.iter().any(|h| matches!(h.record, LedgerRecord::Note { .. })));

    // What a merge closed is opened again; a replay tells all merges once more.
    ledger.triage(&id(1), &reopen).unwrap();
    drop(ledger);
    let ledger = open(dir.path());
    let again = ledger.submit(merges.clone(), 2).unwrap();
    assert_eq!((again.appended, again.known), (0, 5));
    assert_eq!(stands(&ledger, 1), (State::New, None, None, did(true)));
    // Two in one submission are one, and one with another alert is another.
    ledger.submit(vec![merged(6, 0), merged(6, 0), merged(6, 7)], 2).unwrap();
    assert_eq!(stands(&ledger, 6), (State::Closed, None, None, [did(true), did(false)].concat()));
    let before: Vec<Stands> = (0..8).map(|n| stands(&ledger, n)).collect();
    ledger.rebuild().unwrap();
    assert_eq!((0..8).map(|n| stands(&ledger, n)).collect::<Vec<_>>(), before);
    let merge = AuditFilter { action: Some("alert.merge".into()), ..AuditFilter::default() };
    assert_eq!(ledger.audit(&merge, 100, None).unwrap().rows.len(), 7);
}

/// Scenario: the older alert was closed when the younger is joined to it; the younger is open, or closed
/// as well; and one of the two is not there.
/// Guarantees: what goes on has an open alert, what is over is left alone, and an alert is not closed for
/// one that is not there.
#[test]
fn what_carries_on_is_open_if_either_was() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 7);
    let id = |n: u64| format!("{n:032x}");
    for n in [0, 2, 3, 4] {
        ledger.triage(&id(n), &close("a scan")).unwrap();
    }
    ledger.triage(&id(5), &acknowledge()).unwrap();
    ledger.submit(vec![merged(1, 0), merged(3, 2), merged(5, 4), merged(6, 99)], 1).unwrap();
    let outcome = |closed, reopened| vec![Merging { closed, reopened }];
    assert_eq!(stands(&ledger, 0), (State::New, None, None, outcome(true, true)));
    assert_eq!(stands(&ledger, 1).0, State::Closed);
    for n in [2, 3] {
        let closed = (State::Closed, Some(Disposition::FalsePositive), None);
        assert_eq!(stands(&ledger, n), (closed.0, closed.1, closed.2, outcome(false, false)));
    }
    assert_eq!(stands(&ledger, 4).3, outcome(false, true));
    assert_eq!((stands(&ledger, 4).0, stands(&ledger, 5).0), (State::New, State::Acknowledged));
    assert_eq!((stands(&ledger, 6).0, ledger.counters().orphans), (State::New, 1));
}
