//! Bytes that changed on disk: torn tails are told from damage, and both are told.

use crate::{batch, read_all, small};
use journal::{Journal, JournalError, OsClock, Recovery};
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use testkit::SimFs;

type Files = Vec<(String, Vec<u8>)>;

fn open(fs: &SimFs) -> (Journal, Recovery) {
    Journal::open("/sim", small(), Arc::new(fs.clone()), Arc::new(OsClock)).unwrap()
}

fn snapshot(fs: &SimFs) -> Files {
    let names = fs.names().into_iter().filter(|name| !name.ends_with(".spare"));
    names.map(|name| (name.clone(), fs.bytes_of(&name).unwrap())).collect()
}

fn restore(files: &Files) -> SimFs {
    let fs = SimFs::new(1);
    files.iter().for_each(|(name, bytes)| fs.put(name, bytes.clone()));
    fs
}

const SEGMENT: &str = "00000000000000000000.wal";

fn segment_of(files: &Files) -> &Vec<u8> {
    &files.iter().find(|(name, _)| name == SEGMENT).unwrap().1
}

/// The folder with its segment changed.
fn damaged(files: &Files, damage: impl FnOnce(&mut Vec<u8>)) -> SimFs {
    let fs = restore(files);
    let mut bytes = segment_of(files).clone();
    damage(&mut bytes);
    fs.put(SEGMENT, bytes);
    fs
}

const RECORDS: u64 = 6;

/// How many bytes are passed over between two damages: `ALCEDO_DAMAGE_STEP`, or the default given.
fn step_or(default: usize) -> usize {
    let step = std::env::var("ALCEDO_DAMAGE_STEP").ok().and_then(|n| n.parse().ok());
    step.unwrap_or(default)
}

/// The folder after a crash, and after a clean close, with six blocks of one record in one
/// segment; and the end of the last block.
fn folders() -> &'static (Files, Files, u64) {
    static FOLDERS: OnceLock<(Files, Files, u64)> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let fs = SimFs::new(1);
        let (journal, _) = open(&fs);
        for i in 0..RECORDS {
            journal.appender().append_wait(batch(&[&[b'a' + i as u8; 40]])).unwrap();
        }
        let mut crashed = snapshot(&fs);
        journal.close().unwrap();
        let mut clean = snapshot(&fs);
        // What the senders' table covers is not read at a start; here all of it shall be.
        clean.retain(|(name, _)| name != "senders.snap");
        // As if the crash came before the first manifest that knows of these records.
        let empty = SimFs::new(1);
        let (journal, _) = open(&empty);
        let manifests = snapshot(&empty);
        drop(journal);
        crashed.retain(|(name, _)| !name.starts_with("MANIFEST"));
        crashed.extend(manifests.into_iter().filter(|(name, _)| name.starts_with("MANIFEST")));
        let bytes = segment_of(&clean);
        // All blocks are of one size: header and payload, padded to 8.
        let payload = u32::from_le_bytes(bytes[4100..4104].try_into().unwrap());
        let end = 4096 + RECORDS * u64::from((64 + payload).next_multiple_of(8));
        (crashed, clean, end)
    })
}

/// Opens the damaged folder: what is read must be what was written, and what is not read must be
/// accounted for. Returns (readable records, torn bytes, whether a hole was told).
fn judge(fs: &SimFs) -> (Vec<u64>, u64, bool) {
    let (journal, recovery) = open(fs);
    let (records, errors) = read_all(&journal, 0);
    for (offset, bytes) in &records {
        assert_eq!(*bytes, vec![b'a' + *offset as u8; 40]);
    }
    assert!(errors.iter().all(|e| matches!(e, JournalError::Corrupt { .. })), "{errors:?}");
    assert_eq!(errors.is_empty(), recovery.holes.iter().all(|h| h.from_offset == h.to_offset));
    // It goes on, above everything that was there.
    let next = journal.appender().append_wait(batch(&[b"on"])).unwrap().first;
    assert_eq!(Some(next), recovery.last_offset.map_or(Some(0), |l| Some(l + 1)));
    journal.close().unwrap();
    let (_, again) = open(fs);
    assert_eq!((again.torn_bytes, again.last_offset), (0, Some(next)));
    (records.into_iter().map(|r| r.0).collect(), recovery.torn_bytes, !recovery.holes.is_empty())
}

#[test]
fn a_tail_cut_at_any_byte_loses_only_what_it_cut() {
    let (crashed, clean, end) = folders();
    let block = (end - 4096) / RECORDS;
    let bytes = segment_of(clean);
    for cut in ((end - 2 * block)..=*end).step_by(step_or(5)) {
        // A block whose cut-off part was zeros anyway is whole.
        let whole = |o: &u64| {
            let stored = &bytes[(4096 + o * block) as usize..(4096 + (o + 1) * block) as usize];
            let needed = stored.iter().rposition(|b| *b != 0).unwrap() as u64 + 1;
            cut >= 4096 + o * block + needed
        };
        let kept: Vec<u64> = (0..RECORDS).filter(whole).collect();
        let fs = damaged(crashed, |bytes| bytes.truncate(cut as usize));
        let (records, _, hole) = judge(&fs);
        // Two blocks before the end nothing says that the last ones had been acknowledged.
        assert_eq!((records, hole), (kept.clone(), false), "cut at {cut}");
        let fs = damaged(clean, |bytes| bytes.truncate(cut as usize));
        let (records, torn, hole) = judge(&fs);
        // A clean close knows what had been there.
        let short = kept.len() as u64 != RECORDS;
        assert_eq!((records, torn, hole), (kept, 0, short), "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_of_the_blocks_is_noticed() {
    let (crashed, clean, end) = folders();
    let block = (end - 4096) / RECORDS;
    // One bit per byte over all bytes; which bit moves along.
    for at in (4096..*end).step_by(step_or(7)) {
        for (files, closed) in [(crashed, false), (clean, true)] {
            let fs = damaged(files, |bytes| bytes[at as usize] ^= 1 << (at % 8));
            let hit = (at - 4096) / block;
            let (records, torn, hole) = judge(&fs);
            let kept: Vec<u64> = (0..RECORDS).filter(|o| *o != hit).collect();
            assert_eq!(records, kept, "byte {at}");
            // Only the very last block may pass for torn, and only after a crash.
            let last = hit == RECORDS - 1;
            assert_eq!((hole, torn > 0), (closed || !last, !closed && last), "byte {at}");
        }
    }
}

/// Scenario (R3): the last 64 KiB of what was written, cut at a byte or with a bit turned, as a
/// check offline sees it. By default every 211th byte; `ALCEDO_DAMAGE_STEP=1` takes every byte, and
/// with it every bit.
/// Guarantees: each one is found, as damage when the journal had been closed, else as damage or as
/// a torn tail.
#[test]
fn damage_anywhere_in_the_last_64_kib_is_found() {
    let step = step_or(211);
    let fs = SimFs::new(1);
    let (journal, _) = open(&fs);
    for n in 0..30u8 {
        let record: Vec<u8> = (0..2200u32).map(|i| (i * u32::from(n) + 1) as u8 | 1).collect();
        journal.appender().append_wait(batch(&[&record])).unwrap();
    }
    journal.close().unwrap();
    let closed = snapshot(&fs);
    let crashed: Files =
        closed.iter().filter(|(name, _)| !name.starts_with("MANIFEST")).cloned().collect();
    let whole = segment_of(&closed);
    let end = whole.iter().rposition(|b| *b != 0).unwrap() + 1;
    let from = (end - (64 << 10)).max(4096);
    let found = |files: &Files, fs: &SimFs, damage: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = segment_of(files).clone();
        damage(&mut bytes);
        fs.put(SEGMENT, bytes);
        let report = journal::inspect::fsck_on(fs, "/sim".as_ref(), &mut |_| ()).unwrap();
        let torn = report.segments.iter().any(|s| s.torn_bytes > 0);
        (!report.holes.is_empty(), torn)
    };
    let mut cases = 0u64;
    for (files, was_closed) in [(&closed, true), (&crashed, false)] {
        let fs = restore(files);
        assert_eq!(found(files, &fs, &|_| ()), (false, false));
        for at in (from..end).step_by(step) {
            for bit in 0..8 {
                if step > 1 && bit != at % 8 {
                    continue;
                }
                let (hole, torn) = found(files, &fs, &|bytes| bytes[at] ^= 1 << bit);
                assert!(hole || (torn && !was_closed), "bit {bit} of byte {at}");
                cases += 1;
            }
            // A cut takes the rest; without a manifest only what it leaves can tell.
            let (hole, _) = found(files, &fs, &|bytes| bytes[at..].fill(0));
            assert!(hole || !was_closed, "cut at {at}");
            cases += 1;
        }
    }
    println!("{cases} damages, all found");
}

#[test]
fn a_flipped_header_bit_costs_nothing() {
    let (_, clean, _) = folders();
    for at in [0, 9, 30, 33, 47, 2047, 2048, 2100, 4095] {
        let fs = damaged(clean, |bytes| bytes[at] ^= 16);
        let (journal, recovery) = open(&fs);
        assert_eq!(recovery.damaged_headers.len(), 1);
        assert_eq!(read_all(&journal, 0).0.len() as u64, RECORDS);
    }
}

#[test]
fn a_lost_segment_is_told() {
    let (_, clean, _) = folders();
    let fs = restore(clean);
    fs.remove(SEGMENT);
    let (journal, recovery) = open(&fs);
    assert_eq!((recovery.holes[0].from_offset, recovery.holes[0].to_offset), (0, RECORDS));
    assert_eq!(journal.appender().append_wait(batch(&[b"on"])).unwrap().first, RECORDS);
}

#[test]
fn a_block_inside_event_bytes_is_only_bytes() {
    let (crashed, _, end) = folders();
    // The best an attacker can have: a genuine block of another journal, at every alignment.
    let block = (end - 4096) / RECORDS;
    let genuine = &segment_of(crashed)[(end - block) as usize..*end as usize];
    let fs = SimFs::new(1);
    let (journal, _) = open(&fs);
    journal.appender().append_wait(batch(&[b"before"])).unwrap();
    let held = snapshot(&fs);
    let mut forged = Vec::new();
    for shift in 0..8 {
        forged.extend_from_slice(&vec![0; shift]);
        forged.extend_from_slice(genuine);
    }
    journal.appender().append_wait(batch(&[&forged])).unwrap();
    let whole = snapshot(&fs);
    drop(journal);
    // Torn: the block's header page is lost, the event's bytes arrived.
    let fs = damaged(&held, |bytes| {
        let start = bytes.iter().rposition(|b| *b != 0).unwrap() + 200;
        bytes[start..].copy_from_slice(&segment_of(&whole)[start..]);
    });
    let (journal, recovery) = open(&fs);
    assert!(recovery.holes.is_empty(), "{recovery:?}");
    assert!(recovery.torn_bytes > 0);
    assert_eq!(read_all(&journal, 0).0, vec![(0, b"before".to_vec())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_files_never_panic(
        wal in prop::collection::vec(any::<u8>(), 0..9000),
        side in prop::collection::vec(any::<u8>(), 0..200),
        at in 0usize..260_000,
        keep in any::<bool>(),
    ) {
        let (_, clean, _) = folders();
        let fs = if keep { restore(clean) } else { SimFs::new(1) };
        let mut bytes = if keep { segment_of(clean).clone() } else { Vec::new() };
        let at = at.min(bytes.len());
        bytes.resize(bytes.len().max(at + wal.len()), 0);
        bytes[at..at + wal.len()].copy_from_slice(&wal);
        fs.put(SEGMENT, bytes);
        fs.put("senders.snap", side.clone());
        fs.put("roots.log", side.clone());
        if !keep {
            fs.put("MANIFEST.a", side);
        }
        let _ = journal::inspect::fsck_on(&fs, "/sim".as_ref(), &mut |_| ()).unwrap();
        let (journal, _) = open(&fs);
        let durable = journal.appender().append_wait(batch(&[b"on"])).unwrap();
        prop_assert!(journal.wait_durable(durable.last, Duration::ZERO));
        let (records, _) = read_all(&journal, 0);
        prop_assert_eq!(records.last().unwrap(), &(durable.last, b"on".to_vec()));
    }
}
