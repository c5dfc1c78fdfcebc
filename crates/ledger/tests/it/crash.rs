//! The journal is the truth: whatever happens to the index, reopening gives the same answers.

use crate::*;
use event::{Envelope, RawBatch, RecordKind};
use ledger::{AlertDetail, AlertFilter, AuditFilter, AuditRow};

type Answers = (Vec<Option<AlertDetail>>, Vec<AuditRow>, u64);

fn answers(ledger: &Ledger) -> Answers {
    let page = ledger.alerts(&AlertFilter::default(), 1_000, None).unwrap();
    let details = page.rows.iter().map(|row| ledger.alert(&row.id).unwrap()).collect();
    let audit = ledger.audit(&AuditFilter::default(), 1_000, None).unwrap().rows;
    (details, audit, ledger.counts(&AlertFilter::default()).unwrap().total)
}

fn work(ledger: &Ledger) {
    for n in 0..20 {
        let alert = make_alert(n, Level::High, "WS-1");
        ledger.submit(vec![fired(&alert), folded(&alert, n + 2)], 1).unwrap();
        ledger.triage(&alert.id, &acknowledge()).unwrap();
        if n % 2 == 0 {
            ledger.triage(&alert.id, &close("expected")).unwrap();
        }
    }
}

fn put(journal: &Journal, record: &LedgerRecord) {
    let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
    batch.push_as(record.kind(), 0, 1, &serde_json::to_vec(record).unwrap());
    journal.appender().append_wait(batch).unwrap();
}

#[test]
fn a_deleted_damaged_or_foreign_index_is_made_again_with_equal_answers() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    work(&ledger);
    let before = answers(&ledger);
    assert_eq!(before.2, 20);
    ledger.rebuild().unwrap();
    assert_eq!(answers(&ledger), before, "rebuilt in place");
    drop(ledger);
    let file = dir.path().join("ledger.sqlite");
    let remove = || {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", file.display()));
        }
    };
    remove();
    assert_eq!(answers(&open(dir.path())), before, "deleted");
    remove();
    std::fs::write(&file, vec![0x5a; 8_192]).unwrap();
    assert_eq!(answers(&open(dir.path())), before, "damaged");
    remove();
    std::fs::write(&file, b"").unwrap();
    assert_eq!(answers(&open(dir.path())), before, "empty");
}

#[test]
fn what_was_durable_but_not_applied_is_applied_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let known = make_alert(1, Level::High, "WS-1");
    ledger.submit(vec![fired(&known)], 1).unwrap();
    drop(ledger);
    // The process died after the journal's yes and before the index was written.
    let journal = open_journal(dir.path());
    let lost = make_alert(2, Level::Critical, "WS-2");
    put(&journal, &fired(&lost));
    put(&journal, &folded(&known, 4));
    drop(journal);
    let ledger = open(dir.path());
    assert_eq!(ledger.alert(&known.id).unwrap().unwrap().alert.count, 4);
    assert_eq!(ledger.alert(&lost.id).unwrap().unwrap().alert, lost);
    assert_eq!(ledger.counters().applied, 2, "only what was missing");
    drop(ledger);
    assert_eq!(open(dir.path()).counters().applied, 0);
}

#[test]
fn an_index_older_than_the_stream_reads_on_and_one_newer_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    ledger.submit(vec![fired(&make_alert(1, Level::Low, "a"))], 1).unwrap();
    drop(ledger);
    let file = dir.path().join("ledger.sqlite");
    let old = std::fs::read(&file).unwrap();
    let ledger = open(dir.path());
    work(&ledger);
    let after = answers(&ledger);
    drop(ledger);
    let new = std::fs::read(&file).unwrap();
    std::fs::write(&file, &old).unwrap();
    assert_eq!(answers(&open(dir.path())), after, "an old copy of the index catches up");
    // A fresh stream under an index that has seen more: the stream wins.
    std::fs::remove_dir_all(dir.path().join("stream")).unwrap();
    std::fs::write(&file, &new).unwrap();
    assert_eq!(answers(&open(dir.path())).2, 0);
}

#[test]
fn records_that_do_not_read_back_are_counted_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_journal(dir.path());
    let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
    for bytes in [&b"\xff\xfe"[..], b"{}", b"{\"type\":\"from_the_future\"}", b""] {
        batch.push_as(RecordKind::Ledger, 0, 1, bytes);
    }
    batch.push_as(RecordKind::Data, 0, 1, b"not ours");
    journal.appender().append_wait(batch).unwrap();
    let good = make_alert(7, Level::Low, "a");
    put(&journal, &folded(&make_alert(8, Level::Low, "nobody"), 3));
    put(&journal, &fired(&good));
    drop(journal);
    let ledger = open(dir.path());
    let counters = ledger.counters();
    assert_eq!((counters.unreadable, counters.orphans, counters.applied), (4, 1, 1));
    assert_eq!(answers(&ledger).2, 1);
}

#[test]
fn a_record_larger_than_a_block_is_split_and_joined() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    let mut alert = make_alert(1, Level::Low, "a");
    alert.evidence = (0..1_000).map(evidence).collect();
    alert.reason = "x".repeat(400_000);
    ledger.submit(vec![fired(&alert)], 1).unwrap();
    drop(ledger);
    let ledger = open(dir.path());
    ledger.rebuild().unwrap();
    assert_eq!(ledger.alert(&alert.id).unwrap().unwrap().alert, alert);
}
