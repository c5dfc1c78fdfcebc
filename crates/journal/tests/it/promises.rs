//! What the journal says about itself, and what it lets no sender do.

use crate::{batch, open_with, read_all, small};
use event::{Certainty, Envelope, Gap, GapCause, Producer, Protocol, RawBatch, RecordKind};
use journal::{AppendError, Journal, Options, OsClock, OsFs};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use testkit::{Fault, Hook, HookedFs, Rng, SimClock, SimFs};

fn telling() -> Options {
    Options { tick: true, ..small() }
}

/// Control records of one kind, as text, with the source they are about.
fn controls(journal: &Journal, kind: RecordKind) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut reader = journal.reader(0);
    loop {
        let block = match reader.next(Duration::ZERO) {
            Ok(Some(block)) => block,
            Ok(None) => return out,
            Err(_) => continue,
        };
        let of = block.records().filter(|r| r.kind == kind);
        out.extend(of.map(|r| {
            let text = String::from_utf8_lossy(r.bytes).into_owned();
            (r.envelope.source.to_string(), text)
        }));
    }
}

fn gaps(journal: &Journal) -> Vec<Gap> {
    let texts = controls(journal, RecordKind::Gap);
    texts.iter().map(|(_, text)| Gap::read(text.as_bytes()).unwrap()).collect()
}

fn say(journal: &Journal, envelope: &Envelope, kind: RecordKind) {
    let mut batch = RawBatch::of(Arc::new(envelope.clone()));
    batch.push_as(kind, 0, 5, b"x");
    journal.appender().append_wait(batch).unwrap();
}

/// Copies a folder that is open: what a kill leaves.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().ends_with(".tmp") {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// Scenario: connections of every sort are open, one ended, when the process is killed; then again.
/// Guarantees: a possible gap for each that could not be acknowledged, once, and none after a close.
#[test]
fn a_crash_is_told_with_every_connection_that_was_open() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), telling());
    let on = |n, protocol| Envelope { connection: n, ..Envelope::of("fw", protocol) };
    let udp = Envelope { peer: "10.0.0.1".into(), ..Envelope::of("udp", Protocol::SyslogUdp) };
    say(&journal, &on(1, Protocol::SyslogTcp), RecordKind::Data);
    say(&journal, &on(2, Protocol::SyslogTls), RecordKind::Data);
    say(&journal, &on(3, Protocol::SyslogTcp), RecordKind::Data);
    say(&journal, &on(4, Protocol::Http), RecordKind::Data);
    say(&journal, &udp, RecordKind::Data);
    say(&journal, &Envelope { peer: "10.0.0.2".into(), ..udp.clone() }, RecordKind::Data);
    say(&journal, &on(3, Protocol::SyslogTcp), RecordKind::ConnectionEnd);
    // What else the stream tells of a run in its midst ends no connection.
    say(&journal, &Envelope::internal(), RecordKind::Lifecycle);
    assert_eq!(gaps(&journal), []);
    let crashed = killed(dir.path());
    journal.close().unwrap();
    let (journal, recovery) = open_with(crashed.path(), telling());
    assert!(!recovery.clean);
    assert!(journal.wait_durable(recovery.last_offset.unwrap() + 4, Duration::from_secs(20)));
    let told = gaps(&journal);
    let who: Vec<_> = told.iter().map(|g| (g.source.as_str(), g.protocol, g.connection)).collect();
    let expected = [
        ("fw", Some(Protocol::SyslogTcp), 1),
        ("fw", Some(Protocol::SyslogTls), 2),
        ("udp", Some(Protocol::SyslogUdp), 0),
    ];
    assert_eq!(who, expected);
    assert!(told.iter().all(|g| {
        (g.cause, g.certainty, g.from_ns) == (GapCause::CrashUnacked, Certainty::Possible, 5)
    }));
    let events = controls(&journal, RecordKind::Lifecycle);
    assert!(events[1].1.starts_with(r#"{"event":"journal.crashed","last_offset":"#), "{events:?}");
    // The next crash does not fear for them again.
    let again = killed(crashed.path());
    let (journal, recovery) = open_with(again.path(), telling());
    assert!(journal.wait_durable(recovery.last_offset.unwrap() + 1, Duration::from_secs(20)));
    assert_eq!(gaps(&journal).len(), 3);
    // A clean end of the first folder tells of no loss.
    let (journal, recovery) = open_with(dir.path(), telling());
    assert!(recovery.clean);
    assert!(journal.wait_durable(recovery.last_offset.unwrap() + 1, Duration::from_secs(20)));
    assert_eq!(gaps(&journal), []);
}

#[test]
fn damage_is_journaled_when_it_is_met() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { scrub_every: Some(Duration::from_millis(1)), ..telling() };
    let (journal, _) = open_with(dir.path(), options.clone());
    for n in 0..40 {
        journal.appender().append_wait(batch(&[&[n; 20_000]])).unwrap();
    }
    while journal.stats().scrubbed == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Rot in a sealed segment of a running journal.
    let path = dir.path().join("00000000000000000000.wal");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x55; 64], 30_000).unwrap();
    let begun = Instant::now();
    while gaps(&journal).is_empty() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = gaps(&journal);
    assert_eq!((told.len(), told[0].cause, told[0].count), (1, GapCause::Corruption, 1));
    assert_eq!((told[0].seq_from, told[0].certainty), (told[0].seq_to, Certainty::Known));
    drop(journal);
    // And at the next start.
    let (journal, recovery) = open_with(dir.path(), Options { scrub_every: None, ..options });
    assert_eq!(recovery.holes.len(), 0, "what the senders' table covers is not read at a start");
    drop(journal);
}

fn numbered(epoch: u64, base_seq: u64, records: &[&[u8]]) -> RawBatch {
    let mut b = batch(records);
    b.producer = Some(Producer { id: 5, epoch, base_seq });
    b
}

/// Scenario: a sender that was known before this start has three batches in the queue; the first fails
/// with its group, and what it sent last before is repeated.
/// Guarantees: the later ones are refused until the first is sent again; the repeat changes nothing.
#[test]
fn a_failed_batch_is_not_overtaken_by_its_sender() {
    let fs = SimFs::new(1);
    let (arc_fs, clock) = (Arc::new(fs.clone()), Arc::new(SimClock::new(1)));
    let options = Options { group_bytes_max: 1, ..small() };
    let open =
        || Journal::open_stepped("/sim", options.clone(), arc_fs.clone(), clock.clone()).unwrap();
    let (journal, mut steps, _) = open();
    journal.appender().append(numbered(1, 9, &[b"z"]), |_| ()).unwrap();
    steps.write();
    steps.close(journal).unwrap();
    let (journal, mut steps, _) = open();
    steps.write();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let send = |base_seq, text: &'static [u8]| {
        let answers = answers.clone();
        let done = move |result| answers.lock().push((base_seq, result));
        journal.appender().append(numbered(1, base_seq, &[text]), done).unwrap();
    };
    send(10, b"a");
    send(9, b"z");
    send(11, b"b");
    send(12, b"c");
    fs.arm(Fault::Full, 1, 2);
    steps.write();
    fs.disarm();
    for _ in 0..4 {
        steps.write();
    }
    send(10, b"a");
    send(11, b"b");
    for _ in 0..3 {
        steps.write();
    }
    let answers = std::mem::take(&mut *answers.lock());
    assert_eq!(answers[0], (10, Err(AppendError::DiskFull)));
    assert!(answers[1].1.as_ref().is_ok_and(|durable| durable.repeats == 1), "{answers:?}");
    assert_eq!(answers[2], (11, Err(AppendError::OutOfOrder { expected_seq: 10 })));
    assert_eq!(answers[3], (12, Err(AppendError::OutOfOrder { expected_seq: 10 })));
    assert!(answers[4].1.is_ok() && answers[5].1.is_ok(), "{answers:?}");
    assert_eq!(journal.producer(5).map(|p| p.seq), Some(11));
}

#[test]
fn holes_forks_and_keys_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), telling());
    let append = |journal: &Journal, b: RawBatch| journal.appender().append_wait(b);
    append(&journal, numbered(1, 0, &[b"a", b"b", b"c"])).unwrap();
    let hole = append(&journal, numbered(1, 7, &[b"h"]));
    assert_eq!(hole, Err(AppendError::OutOfOrder { expected_seq: 3 }));
    // A copy of the sender has another record under the last number.
    let fork = append(&journal, numbered(1, 1, &[b"b", b"C", b"D"]));
    assert_eq!(fork, Err(AppendError::Fork { seq: 2 }));
    assert_eq!(append(&journal, numbered(1, 1, &[b"b", b"c", b"d"])).unwrap().repeats, 2);
    append(&journal, numbered(2, 0, &[b"new run"])).unwrap();
    let once = |records: &[&[u8]]| {
        let mut b = batch(records);
        b.producer = Some(Producer::once(9));
        b
    };
    let first = append(&journal, once(&[b"x", b"y"])).unwrap();
    append(&journal, batch(&[b"between"])).unwrap();
    let again = append(&journal, once(&[b"x", b"y"])).unwrap();
    assert_eq!((again.first, again.last, again.repeats), (first.first, first.last, 2));
    let others: [&[&[u8]]; 6] =
        [&[b"x", b"z"], &[b"q", b"y"], &[b"x"], &[b"z"], &[b"x", b"y", b"z"], &[b"xy"]];
    let refuses_others = |journal: &Journal| {
        for records in others {
            let other = append(journal, once(records));
            assert!(matches!(other, Err(AppendError::Invalid { .. })), "{records:?}: {other:?}");
        }
    };
    refuses_others(&journal);
    assert_eq!(gaps(&journal), []);
    journal.close().unwrap();
    // After a start a sender may know of records that we lost; then that is told.
    let (journal, _) = open_with(dir.path(), telling());
    let again = append(&journal, once(&[b"x", b"y"])).unwrap();
    assert_eq!((again.first, again.repeats), (first.first, 2));
    refuses_others(&journal);
    append(&journal, numbered(2, 4, &[b"later"])).unwrap();
    let told = gaps(&journal);
    assert_eq!((told.len(), told[0].cause), (1, GapCause::SequenceHole));
    assert_eq!((told[0].seq_from, told[0].seq_to, told[0].count), (Some(1), Some(3), 3));
    let hole = append(&journal, numbered(2, 9, &[b"too late"]));
    assert_eq!(hole, Err(AppendError::OutOfOrder { expected_seq: 5 }));
}

/// Scenario: one source keeps 16 MiB waiting, another sends a record now and then.
/// Guarantees: the quiet one is in the very next group, whatever waits.
#[test]
fn a_flood_does_not_delay_a_quiet_source() {
    let (fs, clock) = (Arc::new(SimFs::new(1)), Arc::new(SimClock::new(1)));
    let options = Options { segment_size_bytes: 32 << 20, ..small() };
    let (journal, mut steps, _) = Journal::open_stepped("/sim", options, fs, clock).unwrap();
    let landed: Arc<Mutex<Vec<&str>>> = Arc::default();
    let send = |source: &'static str, len: usize| {
        let mut b = RawBatch::of(Arc::new(Envelope::of(source, Protocol::Http)));
        b.push(1, &vec![7; len]);
        let landed = landed.clone();
        let done = move |result: Result<_, _>| {
            // What still waits at the end of the test is told so.
            if result.is_ok() {
                landed.lock().push(source);
            }
        };
        journal.appender().append(b, done).unwrap();
    };
    for _ in 0..256 {
        send("flood", 64 << 10);
    }
    for _ in 0..5 {
        landed.lock().clear();
        send("quiet", 300);
        steps.write();
        let now = landed.lock();
        assert!(now.contains(&"quiet"), "{} others went first", now.len());
        assert!(now.len() > 10, "the flood goes on too");
    }
}

/// Scenario (R9): the wall clock jumps by days in both directions, under one seed.
/// Guarantees: stream time never goes back and stays close to the time that passed; the steps are
/// in the ticks.
#[test]
fn clock_jumps_do_not_move_stream_time() {
    for seed in 0..20 {
        let clock = SimClock::new(seed);
        let (fs, dir) = (Arc::new(SimFs::new(seed)), "/sim");
        let opened = Journal::open_stepped(dir, telling(), fs, Arc::new(clock.clone()));
        let (journal, mut steps, _) = opened.unwrap();
        let mut rng = Rng::new(seed);
        let (mut passed, mut jumps) = (0i64, 0);
        for _ in 0..200 {
            let ns = 500_000_000 + rng.below(1_000_000_000);
            clock.advance(ns);
            passed += ns as i64;
            if rng.percent(20) {
                clock.jump((rng.below(6 * 86_400) as i64 - 3 * 86_400) * 1_000_000_000);
                jumps += 1;
            }
            journal.appender().append(batch(&[b"x"]), |r| assert!(r.is_ok())).unwrap();
            steps.write();
        }
        let mut times = Vec::new();
        let mut reader = journal.reader(0);
        while let Some(block) = reader.next(Duration::ZERO).unwrap() {
            times.extend(block.records().map(|r| r.stream_ns));
        }
        assert!(times.is_sorted());
        let took = times.last().unwrap() - times.first().unwrap();
        assert!((took - passed).abs() <= passed / 20 + 2_000_000_000, "{took} for {passed}");
        let ticks = controls(&journal, RecordKind::Tick);
        let steps = ticks.iter().filter(|(_, text)| !text.contains(r#""step_ns":0"#)).count();
        assert!(jumps > 10 && steps > 0 && steps <= jumps, "{steps} of {jumps}");
    }
}

/// Scenario: a disk is full for twenty minutes; then there is space again; then the stream is read.
/// Guarantees: a tick is written every second all the time, in what is left of the segment, in the spare,
/// or in small segments of the reserve, and nothing else is; records are taken again after it.
#[test]
fn time_goes_on_while_the_disk_is_full() {
    // Nothing but the reserve; not even that; and the reserve after the spare has gone.
    for (left, has_room) in [(40u64 << 20, true), (1_000, false)] {
        let clock = SimClock::new(1);
        let fs = SimFs::new(1);
        let options = Options { disk_reserve_bytes: 64 << 20, ..telling() };
        let shared = (Arc::new(fs.clone()), Arc::new(clock.clone()));
        let opened = Journal::open_stepped("/sim", options, shared.0, shared.1);
        let (journal, mut steps, _) = opened.unwrap();
        let answers: Arc<Mutex<Vec<bool>>> = Arc::default();
        let send = |steps: &mut journal::Steps, len: usize| {
            let told = answers.clone();
            let done = move |result: Result<_, _>| told.lock().push(result.is_ok());
            if journal.appender().append(batch(&[&vec![7; len]]), done).is_err() {
                return false;
            }
            steps.write();
            answers.lock().pop().unwrap()
        };
        assert!(send(&mut steps, 1_000));
        steps.keep();
        fs.set_available(left);
        while send(&mut steps, 20_000) {}
        assert_eq!(journal.stats().state, journal::State::DiskFull);
        let (before, records) =
            (controls(&journal, RecordKind::Tick).len(), read_all(&journal, 0).0);
        let others = records.len() - before;
        for _ in 0..1_200 {
            clock.advance(1_000_000_000);
            steps.write();
            steps.keep();
        }
        let ticks = controls(&journal, RecordKind::Tick).len() - before;
        let others = read_all(&journal, 0).0.len() - before - ticks - others;
        assert_eq!(others, 0, "records were taken on a full disk");
        match has_room {
            true => assert_eq!(ticks, 1_200),
            // What the last record did not fill.
            false => assert!(ticks > 0 && ticks < 1_200, "{ticks}"),
        }
        assert!(!send(&mut steps, 10));
        fs.set_available(1 << 40);
        steps.write();
        assert!(send(&mut steps, 20_000));
        assert!(read_all(&journal, 0).1.is_empty());
        steps.close(journal).unwrap();
    }
}

/// Scenario (R5): a file system of 24 MiB fills up, and is given space.
/// Guarantees: refusal within a second, reads go on, it resumes by itself within 5 s.
#[test]
fn a_full_file_system_refuses_and_resumes() {
    let mount = tempfile::tempdir().unwrap();
    let tmpfs = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(mount.path())
        .output();
    if !tmpfs.is_ok_and(|out| out.status.success()) {
        println!("skipped: mounting is not allowed here");
        return;
    }
    let told = std::panic::catch_unwind(|| fill_and_free(mount.path()));
    let _ = std::process::Command::new("umount").arg("-l").arg(mount.path()).status();
    if let Err(panic) = told {
        std::panic::resume_unwind(panic);
    }
}

fn fill_and_free(dir: &Path) {
    let options = Options {
        segment_size_bytes: 1 << 20,
        disk_reserve_bytes: 1 << 30,
        tick: true,
        ..Options::default()
    };
    let folder = dir.join("data");
    let opened = Journal::open(&folder, options, Arc::new(OsFs), Arc::new(OsClock));
    let (journal, _) = opened.unwrap();
    let mut acked = 0u64;
    let last_data = |journal: &Journal| {
        let (mut reader, mut last) = (journal.reader(0), 0);
        while let Some(block) = reader.next(Duration::ZERO).unwrap() {
            let data = block.records().filter(|r| r.kind == RecordKind::Data);
            last = data.map(|r| r.offset).last().unwrap_or(last);
        }
        last
    };
    // By somebody else, up to the last byte.
    let ballast = dir.join("ballast");
    journal.appender().append_wait(batch(&[&[1; 1000]])).unwrap();
    let mut filler = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 65_536]).is_ok() {}
    let full = Instant::now();
    loop {
        match journal.appender().append_wait(batch(&[&[1; 1000]])) {
            Ok(durable) => acked = durable.last,
            Err(why) => {
                assert_eq!(why, AppendError::DiskFull);
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let refused = full.elapsed();
    assert_eq!(last_data(&journal), acked);
    let ticks = controls(&journal, RecordKind::Tick).len();
    let waited = Instant::now();
    while controls(&journal, RecordKind::Tick).len() < ticks + 3 {
        assert!(waited.elapsed() < Duration::from_secs(20), "time stands still on a full disk");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(last_data(&journal), acked);
    std::fs::remove_file(&ballast).unwrap();
    drop(filler);
    let freed = Instant::now();
    while journal.appender().append_wait(batch(&[b"on"])).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let resumed = freed.elapsed();
    println!("disk full: refused after {refused:?}, resumed after {resumed:?}");
    assert!(refused < Duration::from_millis(1500) && resumed < Duration::from_secs(5));
    journal.close().unwrap();
}

/// Range and bytes of each loss that the journal tells of.
fn lost(journal: &Journal) -> Vec<(Option<u64>, Option<u64>, u64)> {
    let found = gaps(journal).into_iter().filter(|g| g.cause == GapCause::Corruption);
    found.map(|g| (g.seq_from, g.seq_to, g.bytes)).collect()
}

/// Scenario: a block in the middle of the stream rots; the journal is opened three times.
/// Guarantees: the loss is told by the first, with the bytes of that block, and not again; a start that
/// crashes before it has told it leaves it to the next.
#[test]
fn damage_is_told_once_and_with_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), telling());
    let mut last = 0;
    for n in 0..5u8 {
        last = journal.appender().append_wait(batch(&[&[n; 5_000]])).unwrap().last;
    }
    journal.close().unwrap();
    // The tables of senders spare a start from reading what they cover.
    std::fs::remove_file(dir.path().join("senders.snap")).unwrap();
    let path = dir.path().join("00000000000000000000.wal");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(5_000).position(|w| w == [4; 5_000]).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for start in 0..3 {
        let _ = std::fs::remove_file(dir.path().join("senders.snap"));
        let (journal, recovery) = open_with(dir.path(), telling());
        assert!(!recovery.holes.is_empty(), "start {start} reads it again");
        // Told before anything that is sent now.
        journal.appender().append_wait(batch(&[b"on"])).unwrap();
        let lost = lost(&journal);
        assert_eq!(lost.len(), 1, "start {start}: {lost:?}");
        let (from, to, bytes) = lost[0];
        assert_eq!((from, to), (Some(last), Some(last)));
        assert!((5_000..6_000).contains(&bytes), "{bytes} bytes of a segment of 256 KiB");
        journal.close().unwrap();
    }
    let list = dir.path().join("holes.told");
    std::fs::remove_file(&list).unwrap();
    std::fs::remove_file(dir.path().join("senders.snap")).unwrap();
    let (journal, _) = open_with(dir.path(), telling());
    journal.appender().append_wait(batch(&[b"on"])).unwrap();
    assert_eq!(lost(&journal).len(), 2, "without the list it is told again");
    journal.close().unwrap();
    // A list that cannot be read, or replaced, is none.
    std::fs::remove_file(&list).unwrap();
    std::fs::create_dir(&list).unwrap();
    for told in [3, 4] {
        std::fs::remove_file(dir.path().join("senders.snap")).unwrap();
        let (journal, _) = open_with(dir.path(), telling());
        journal.appender().append_wait(batch(&[b"on"])).unwrap();
        assert_eq!(lost(&journal).len(), told);
        journal.close().unwrap();
    }
}

/// Scenario: a reader follows the writer, block by block.
/// Guarantee: it asks the disk for nothing behind the last block: the system would clear pages there, ahead
/// and in megabytes.
#[test]
fn a_reader_that_follows_reads_no_space_that_waits_for_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Arc::new(HookedFs::default());
    let (journal, _) = Journal::open(dir.path(), telling(), fs.clone(), Arc::new(OsClock)).unwrap();
    let mut reader = journal.reader(0);
    for n in 1..=20u8 {
        journal.appender().append_wait(batch(&[&[n; 3_000]])).unwrap();
        let mut last = None;
        while let Some(block) = reader.next(Duration::ZERO).unwrap() {
            last = block.records().last().map(|record| record.bytes.to_vec());
        }
        assert!(last.is_some_and(|bytes| bytes == [n; 3_000]), "record {n}");
        let bytes = std::fs::read(dir.path().join("00000000000000000000.wal")).unwrap();
        let written = bytes.iter().rposition(|b| *b != 0).unwrap() as u64 + 1;
        let read = fs.read_to.load(Relaxed);
        // The last block may end with zeros of its own.
        assert!(read > 0 && read <= written + 64, "{read} of {written} bytes");
    }
    journal.close().unwrap();
}

/// Scenario: somebody reads damaged bytes while the group before is being synced, and the process is
/// killed before the next group.
/// Guarantee: the next run tells of the loss.
#[test]
fn damage_met_during_a_sync_is_told_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), telling());
    for n in 0..20u8 {
        journal.appender().append_wait(batch(&[&[n; 50_000]])).unwrap();
    }
    journal.close().unwrap();
    let path = dir.path().join("00000000000000000000.wal");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(5_000).position(|w| w == [1; 5_000]).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let hook = Hook::default();
    let fs = Arc::new(HookedFs { hook: hook.clone(), ..HookedFs::default() });
    let (journal, mut steps, recovery) =
        Journal::open_stepped(dir.path(), telling(), fs, Arc::new(OsClock)).unwrap();
    assert!(recovery.holes.is_empty(), "a start does not read what is sealed");
    let mut reader = journal.reader(0);
    let met = Arc::new(AtomicBool::new(false));
    let is_met = met.clone();
    *hook.lock() = Some(Box::new(move || {
        while let Ok(Some(_)) = reader.next(Duration::ZERO) {}
        is_met.store(true, Relaxed);
    }));
    steps.write();
    assert!(met.load(Relaxed) && journal.stats().holes == 1);

    let copy = killed(dir.path());
    let (journal, _) = open_with(copy.path(), telling());
    read_all(&journal, 0);
    journal.appender().append_wait(batch(&[b"on"])).unwrap();
    assert_eq!(lost(&journal).len(), 1);
}
