//! A disk that fails: what was acknowledged stays, and nothing is acknowledged that does not.

use crate::{batch, read_all, small};
use journal::{AppendError, Journal, JournalError, OsClock, Recovery, State};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use testkit::{Fault, SimFs};

fn try_open(fs: &SimFs) -> Result<(Journal, Recovery), JournalError> {
    Journal::open("/sim", small(), Arc::new(fs.clone()), Arc::new(OsClock))
}

fn record(seed: u64, i: u64) -> Vec<u8> {
    vec![(seed + i) as u8; 300 + (seed * 7919 + i * 104_729) as usize % 30_000]
}

/// Appends `count` records; returns those acknowledged.
fn load(journal: &Journal, seed: u64, count: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut acked = BTreeMap::new();
    for i in 0..count {
        let bytes = record(seed, i);
        if let Ok(durable) = journal.appender().append_wait(batch(&[&bytes])) {
            assert!(acked.insert(durable.last, bytes).is_none(), "an offset was given twice");
        }
    }
    acked
}

fn assert_holds(journal: &Journal, acked: &BTreeMap<u64, Vec<u8>>, what: &str) {
    let (records, errors) = read_all(journal, 0);
    assert!(errors.is_empty(), "{what}: {errors:?}");
    let found: BTreeMap<u64, Vec<u8>> = records.into_iter().collect();
    for (offset, bytes) in acked {
        assert!(found.get(offset) == Some(bytes), "{what}: record {offset} is gone");
    }
}

#[test]
fn power_loss_takes_nothing_acknowledged() {
    for seed in 1..60u64 {
        let fs = SimFs::new(1);
        let (journal, _) = try_open(&fs).unwrap();
        let mut acked = load(&journal, seed, 5 + seed % 30);
        // Some more are on their way when the power goes.
        let appender = journal.appender();
        for i in 0..20 {
            let _ = appender.append(batch(&[&record(seed, 100 + i)]), |_| ());
        }
        fs.crash();
        drop(journal);
        let mut fs = fs.after_power_loss(seed);
        for round in 0..2 {
            let (journal, recovery) = try_open(&fs).unwrap();
            assert!(recovery.holes.is_empty(), "seed {seed}: {recovery:?}");
            assert!(!recovery.clean);
            assert_holds(&journal, &acked, &format!("seed {seed} round {round}"));
            acked.extend(load(&journal, seed + 1, 8));
            fs.crash();
            drop(journal);
            fs = fs.after_power_loss(seed * 31 + round);
        }
    }
}

#[test]
fn one_failed_sync_moves_to_a_new_file_and_two_stop_the_intake() {
    for k in 1..40 {
        let fs = SimFs::new(1);
        let (journal, _) = try_open(&fs).unwrap();
        fs.arm(Fault::Sync, k, k + 1);
        let acked = load(&journal, k, 25);
        assert_holds(&journal, &acked, &format!("sync {k} failed"));
        assert_eq!(journal.stats().state, State::Ok);
        assert_eq!(acked.len(), 25, "one failed sync costs no record");
        fs.crash();
        drop(journal);
        let fs = fs.after_power_loss(k);
        assert_holds(&try_open(&fs).unwrap().0, &acked, &format!("sync {k} failed, power lost"));
    }
    let fs = SimFs::new(1);
    let (journal, _) = try_open(&fs).unwrap();
    let acked = load(&journal, 1, 3);
    fs.arm(Fault::Sync, 1, u64::MAX);
    assert_eq!(journal.appender().append_wait(batch(&[b"x"])), Err(AppendError::Faulted));
    assert_eq!(journal.stats().state, State::Faulted);
    assert_eq!(journal.appender().append_wait(batch(&[b"x"])), Err(AppendError::Faulted));
    assert_holds(&journal, &acked, "faulted");
    drop(journal);
    fs.arm(Fault::Sync, u64::MAX, u64::MAX);
    let (journal, recovery) = try_open(&fs).unwrap();
    assert!(!recovery.clean);
    assert_holds(&journal, &acked, "after the fault");
}

/// Scenario: a file is left early because a sync of it failed, and sealed with three records in it.
/// Guarantees: whoever has not read them is behind by what they take, not by a whole file.
#[test]
fn a_file_that_is_left_early_counts_by_what_is_in_it() {
    let fs = SimFs::new(1);
    let (shared, clock) = (Arc::new(fs.clone()), Arc::new(OsClock));
    let (journal, mut steps, _) = Journal::open_stepped("/sim", small(), shared, clock).unwrap();
    let add = |steps: &mut journal::Steps| {
        journal.appender().append(batch(&[&[b'x'; 100]]), |_| ()).unwrap();
        steps.write();
        steps.keep();
    };
    (0..3).for_each(|_| add(&mut steps));
    let before = journal.behind(0);
    fs.arm(Fault::Sync, 1, 2);
    (0..4).for_each(|_| add(&mut steps));
    assert_eq!((fs.fired(), journal.stats().segments), (1, 2));
    let after = journal.behind(0);
    assert!(before.bytes >= 300 && after.records >= before.records + 4, "{before:?} {after:?}");
    assert!(after.bytes < 4 * before.bytes, "{before:?} {after:?}");
    drop(steps.close(journal));
}

#[test]
fn failing_writes_and_full_disks_at_every_call_lose_nothing() {
    for fault in [Fault::Write, Fault::Full] {
        for k in 1..60 {
            let fs = SimFs::new(1);
            let (journal, _) = try_open(&fs).unwrap();
            fs.arm(fault, k, k + 3);
            let mut acked = load(&journal, k, 12);
            fs.arm(fault, u64::MAX, u64::MAX);
            if fault == Fault::Full {
                // It takes records again by itself.
                while journal.stats().state != State::Ok {
                    std::thread::sleep(Duration::from_millis(5));
                }
                let more = load(&journal, k + 1, 3);
                assert_eq!(more.len(), 3);
                acked.extend(more);
            }
            assert_holds(&journal, &acked, &format!("{fault:?} {k}"));
            fs.crash();
            drop(journal);
            let fs = fs.after_power_loss(k);
            let (journal, _) = try_open(&fs).unwrap();
            assert_holds(&journal, &acked, &format!("{fault:?} {k}, power lost"));
        }
    }
}

#[test]
fn the_reserve_is_kept_and_space_resumes() {
    let fs = SimFs::new(1);
    let (journal, _) = try_open(&fs).unwrap();
    fs.set_available(1000);
    let mut acked = load(&journal, 3, 60);
    assert!(acked.len() < 60);
    assert_eq!(journal.appender().append_wait(batch(&[b"x"])), Err(AppendError::DiskFull));
    assert_holds(&journal, &acked, "full");
    fs.set_available(1 << 40);
    while journal.stats().state != State::Ok {
        std::thread::sleep(Duration::from_millis(5));
    }
    acked.extend(load(&journal, 4, 20));
    assert_holds(&journal, &acked, "resumed");
}

/// Records by their offset.
type Acked = BTreeMap<u64, Vec<u8>>;

/// One life of a journal under a fault: opened, written to, kept, closed, and opened again. Returns
/// what was acknowledged, and what is still open.
fn short_life(fs: &SimFs) -> (Acked, Option<(Journal, journal::Steps)>) {
    let acked: Arc<Mutex<Acked>> = Arc::default();
    let mut open = None;
    for run in 0..2u64 {
        let (shared, clock) = (Arc::new(fs.clone()), Arc::new(OsClock));
        let opened = Journal::open_stepped("/sim", small(), shared, clock);
        let Ok((journal, mut steps, _)) = opened else { continue };
        for i in 0..14 {
            let bytes = record(run, i * 5);
            let (acked, kept) = (acked.clone(), bytes.clone());
            let _ = journal.appender().append(batch(&[&bytes]), move |result| {
                if let Ok(durable) = result {
                    acked.lock().insert(durable.last, kept);
                }
            });
            steps.write();
            if i % 5 == 4 {
                steps.keep();
                let _ = journal.set_cursor("c", run * 14 + i);
                let _ = read_all(&journal, 0);
            }
        }
        match run {
            0 => drop(steps.close(journal)),
            _ => open = Some((journal, steps)),
        }
    }
    let acked = acked.lock().clone();
    (acked, open)
}

/// Scenario (R4): the first, the second, ... call of a life fails, one call per life, until a life
/// meets no fault any more: syncs, writes, short writes, full disks (also after a part), reads,
/// names (opening, listing, removing, lengths, space, the lock); at
/// every place, opening and recovery included. Then the power goes.
/// Guarantees: everything acknowledged is there; the journal opens.
#[test]
fn every_call_of_a_life_fails_once() {
    let faults = [
        Fault::Sync,
        Fault::Write,
        Fault::Short,
        Fault::Full,
        Fault::ShortFull,
        Fault::Read,
        Fault::Name,
    ];
    for fault in faults {
        let mut struck = 0;
        for k in 1.. {
            let fs = SimFs::new(k);
            fs.arm(fault, k, k + 1);
            let (acked, open) = short_life(&fs);
            let fired = fs.fired() > 0;
            fs.disarm();
            fs.crash();
            drop(open);
            let fs = fs.after_power_loss(k);
            let (journal, _) = try_open(&fs).unwrap_or_else(|e| panic!("{fault:?} {k}: {e}"));
            assert_holds(&journal, &acked, &format!("{fault:?} at call {k}"));
            if !fired {
                assert!(acked.len() >= 28, "without a fault all is taken, not {}", acked.len());
                break;
            }
            struck += 1;
        }
        println!("{fault:?}: {struck} calls failed, one by one");
        assert!(struck > 10, "{fault:?} met only {struck} calls");
    }
}
