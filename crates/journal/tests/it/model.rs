//! The journal behaves like a `Vec`.

use crate::{batch, open, open_with, read_all, small};
use event::{Envelope, Producer, Protocol, RawBatch, RecordKind};
use journal::{AppendError, Joined, JournalError, Rejoin};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Vec<u8>>),
    Reopen,
    ReadFrom(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (1_000usize..60_000, any::<u8>()).prop_map(|(n, b)| vec![b; n]),
    ];
    let step = prop_oneof![
        6 => prop::collection::vec(record, 1..20).prop_map(Step::Append),
        1 => Just(Step::Reopen),
        1 => any::<u16>().prop_map(Step::ReadFrom),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_is_a_vec_across_reopening(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut model: Vec<(u64, Vec<u8>)> = Vec::new();
        let (mut journal, recovery) = open(dir.path());
        prop_assert!(recovery.created);
        for step in steps {
            match step {
                Step::Append(records) => {
                    let views: Vec<&[u8]> = records.iter().map(|r| &r[..]).collect();
                    let durable = journal.appender().append_wait(batch(&views)).unwrap();
                    prop_assert_eq!(durable.first, model.len() as u64);
                    for record in records {
                        model.push((model.len() as u64, record));
                    }
                    prop_assert_eq!(durable.last + 1, model.len() as u64);
                }
                Step::Reopen => {
                    journal.close().unwrap();
                    let (again, recovery) = open(dir.path());
                    prop_assert!(recovery.clean && recovery.holes.is_empty());
                    prop_assert_eq!(recovery.torn_bytes, 0);
                    prop_assert_eq!(recovery.last_offset, (model.len() as u64).checked_sub(1));
                    journal = again;
                }
                Step::ReadFrom(from) => {
                    let from = usize::from(from) % (model.len() + 1);
                    let (found, errors) = read_all(&journal, from as u64);
                    prop_assert!(errors.is_empty(), "{:?}", errors);
                    prop_assert!(found == model[from..]);
                }
            }
        }
        prop_assert!(read_all(&journal, 0).0 == model);
        journal.close().unwrap();
        let report = journal::inspect::fsck(dir.path(), &mut |_| ()).unwrap();
        prop_assert!(report.is_sound() && report.clean);
        prop_assert_eq!(report.segments.iter().map(|s| s.records).sum::<u64>(), model.len() as u64);
        let mut dumped = 0;
        journal::inspect::dump(dir.path(), 2, 5, |_| dumped += 1).unwrap();
        prop_assert_eq!(dumped, model.len().clamp(2, 5) - 2);
    }
}

#[test]
fn metadata_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut batch = RawBatch::of(Arc::new(Envelope::of("a", Protocol::Relp)));
    let other = Envelope { path: "/x".into(), connection: 7, ..Envelope::of("b", Protocol::File) };
    batch.envelopes.push(Arc::new(other.clone()));
    batch.producer = Some(Producer { id: 9, epoch: 8, base_seq: 7 });
    batch.push_as(RecordKind::Gap, 1, i64::MIN, b"first");
    batch.push_as(RecordKind::Data, 0, i64::MAX, b"");
    let durable = journal.appender().append_wait(batch).unwrap();
    assert_eq!((durable.first, durable.last, durable.repeats), (0, 1, 0));
    let block = journal.reader(0).next(Duration::ZERO).unwrap().unwrap();
    let views: Vec<_> = block.records().collect();
    assert_eq!(
        (views[0].kind, views[0].wall_ns, views[0].bytes),
        (RecordKind::Gap, i64::MIN, &b"first"[..])
    );
    assert_eq!(**views[0].envelope, other);
    assert_eq!((views[1].wall_ns, &*views[1].envelope.source), (i64::MAX, "a"));
    assert_eq!(views[1].producer, Some(Producer { id: 9, epoch: 8, base_seq: 8 }));
    assert!(views[1].stream_ns > 0);
}

#[test]
fn long_records_are_split_and_joined() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let long: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
    let durable = journal.appender().append_wait(batch(&[b"a", &long, b"b"])).unwrap();
    assert!(durable.last > 20);
    let (mut rejoin, mut whole) = (Rejoin::default(), Vec::new());
    let mut reader = journal.reader(0);
    while let Some(block) = reader.next(Duration::ZERO).unwrap() {
        for view in block.records() {
            match rejoin.push(&view) {
                Joined::Whole => whole.push(view.bytes.to_vec()),
                Joined::Parts(bytes) => whole.push(bytes),
                Joined::Pending => {}
                Joined::TooLong => panic!("too long"),
            }
        }
    }
    assert!(whole == [b"a".to_vec(), long, b"b".to_vec()]);
    assert_eq!(rejoin.incomplete, 0);
}

#[test]
fn repeats_are_dropped_across_reopening_and_retirement() {
    let dir = tempfile::tempdir().unwrap();
    let send = |journal: &journal::Journal, epoch, base_seq, n: usize| {
        let mut b = batch(&vec![&[7u8; 900][..]; n]);
        b.producer = Some(Producer { id: 5, epoch, base_seq });
        journal.appender().append_wait(b).unwrap()
    };
    let (journal, _) = open(dir.path());
    assert_eq!(send(&journal, 1, 10, 100).repeats, 0);
    let again = send(&journal, 1, 50, 100);
    assert_eq!((again.repeats, again.first, again.last), (60, 100, 139));
    let all = send(&journal, 1, 10, 140);
    assert_eq!((all.repeats, all.last), (140, 139));
    assert_eq!(journal.producer(5).map(|p| (p.epoch, p.seq)), Some((1, 149)));
    journal.close().unwrap();
    let (journal, _) = open(dir.path());
    assert_eq!(send(&journal, 1, 149, 2).repeats, 1);
    assert_eq!(journal.stats().repeats, 1);
    // Push the producer's records out of the journal.
    for _ in 0..40 {
        journal.appender().append_wait(batch(&[&[1; 50_000]])).unwrap();
    }
    journal.set_cursor("c", u64::MAX).unwrap();
    while journal.retire().unwrap().segments == 0 || journal.stats().segments > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    journal.close().unwrap();
    let (journal, recovery) = open(dir.path());
    assert!(recovery.first_offset > 141, "{recovery:?}");
    assert_eq!(send(&journal, 1, 140, 12).repeats, 11);
    assert_eq!(send(&journal, 2, 10, 3).repeats, 0);
    assert_eq!(journal.producer(5).map(|p| (p.epoch, p.seq)), Some((2, 12)));
}

#[test]
fn retirement_waits_for_the_slowest_cursor_and_recycled_files_hold_no_old_records() {
    let dir = tempfile::tempdir().unwrap();
    let sealed = Arc::new(AtomicU64::new(0));
    let count = sealed.clone();
    let options = journal::Options {
        sealer: Some(Arc::new(move |blocks| {
            let mut records = 0;
            blocks.for_each(|b| records += b.len() as u64).unwrap();
            assert_eq!(records, blocks.next_offset() - blocks.first_offset());
            count.fetch_add(records, SeqCst);
            [records as u8; 32]
        })),
        ..small()
    };
    let (journal, _) = open_with(dir.path(), options.clone());
    let fill = |journal: &journal::Journal, byte: u8, n: usize| {
        for _ in 0..n {
            journal.appender().append_wait(batch(&[&[byte; 20_000]])).unwrap();
        }
    };
    fill(&journal, 1, 60);
    assert_eq!(journal.retire().unwrap().segments, 0, "no cursor, no retirement");
    journal.set_cursor("fast", 60).unwrap();
    journal.set_cursor("slow", 0).unwrap();
    assert_eq!(journal.retire().unwrap().segments, 0);
    journal.set_cursor("slow", 40).unwrap();
    while journal.stats().first_offset < 30 {
        journal.retire().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let first = journal.stats().first_offset;
    assert!(first <= 40);
    let (records, errors) = read_all(&journal, 0);
    assert!(
        matches!(errors[..], [JournalError::Retired { wanted: 0, first_offset }] if first_offset == first)
    );
    assert_eq!(records.first().unwrap().0, first);
    // Recycled files now carry new records; after a crash nothing old comes up behind them.
    fill(&journal, 2, 14);
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let (crashed, recovery) = open(copy.path());
    assert!(recovery.holes.is_empty(), "{recovery:?}");
    assert_eq!(recovery.last_offset, Some(73));
    assert!(!recovery.clean);
    let (records, errors) = read_all(&crashed, 60);
    assert!(errors.is_empty() && records.iter().all(|(_, b)| b[0] == 2) && records.len() == 14);
    assert!(journal.sealed_roots().unwrap().len() >= 3 && sealed.load(SeqCst) > 30);
    journal.close().unwrap();
    let (journal, recovery) = open_with(dir.path(), options);
    assert_eq!((journal.cursor("slow"), journal.cursor("fast")), (Some(40), Some(60)));
    assert!(recovery.sealed.iter().all(|s| s.root == [s.records as u8; 32]));
    assert!(journal.drop_cursor("slow") && !journal.drop_cursor("slow"));
    journal.set_hold(Some(first));
    assert_eq!(journal.retire().unwrap().segments, 0);
}

#[test]
fn limits_and_states_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let busy = journal::Journal::open(
        dir.path(),
        small(),
        Arc::new(journal::OsFs),
        Arc::new(journal::OsClock),
    );
    assert!(matches!(busy.err(), Some(JournalError::InUse { .. })));
    assert!(matches!(
        journal::inspect::fsck(dir.path(), &mut |_| ()).err(),
        Some(JournalError::InUse { .. })
    ));
    assert!(journal.set_cursor("", 1).is_err() && journal.set_cursor(&"x".repeat(65), 1).is_err());
    assert!(!journal.wait_durable(0, Duration::ZERO));
    let appender = journal.appender();
    let mut bad = batch(&[b"x"]);
    bad.records[0].len = 99;
    let back = appender.append(bad.clone(), |_| panic!("refused")).unwrap_err();
    assert!(matches!(back.why, AppendError::Invalid { .. }));
    assert_eq!(back.batch.records, bad.records);
    assert_eq!(journal.stats().queue_bytes, 0);
    journal.close().unwrap();
    assert_eq!(appender.append_wait(batch(&[b"x"])), Err(AppendError::Closed));
}

#[test]
fn ticks_carry_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), journal::Options { tick: true, ..small() });
    assert!(journal.wait_durable(1, Duration::from_secs(60)));
    let block = journal.reader(1).next(Duration::ZERO).unwrap().unwrap();
    let tick = block.record(0).unwrap();
    assert_eq!((tick.kind, &*tick.envelope.source), (RecordKind::Tick, "alcedo"));
    let text = std::str::from_utf8(tick.bytes).unwrap();
    assert!(text.starts_with(&format!(r#"{{"wall_ns":{},"stream_ns":"#, tick.wall_ns)), "{text}");
}
