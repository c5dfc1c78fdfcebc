//! Bytes that changed on disk: torn tails are told from damage, and both are told.

use crate::{batch, open, read_all};
use journal::JournalError;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

type Files = Vec<(String, Vec<u8>)>;

fn snapshot(dir: &Path) -> Files {
    fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| !e.file_name().to_string_lossy().ends_with(".spare"))
        .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
        .collect()
}

fn restore(files: &Files) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("00000000000000000000.wal")
}

const RECORDS: u64 = 6;

/// The folder after a crash, and after a clean close, with six blocks of one record in one
/// segment; and the end of the last block.
fn folders() -> &'static (Files, Files, u64) {
    static FOLDERS: OnceLock<(Files, Files, u64)> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path());
        for i in 0..RECORDS {
            journal.appender().append_wait(batch(&[&[b'a' + i as u8; 40]])).unwrap();
        }
        let mut crashed = snapshot(dir.path());
        // As if the crash came before the first manifest that knows of these records.
        journal.close().unwrap();
        let clean = snapshot(dir.path());
        let empty = tempfile::tempdir().unwrap();
        let (journal, _) = open(empty.path());
        let manifests = snapshot(empty.path());
        drop(journal);
        crashed.retain(|(name, _)| !name.starts_with("MANIFEST"));
        crashed.extend(manifests.into_iter().filter(|(name, _)| name.starts_with("MANIFEST")));
        let bytes = &clean.iter().find(|(n, _)| n.ends_with(".wal")).unwrap().1;
        // All blocks are of one size: header and payload, padded to 8.
        let payload = u32::from_le_bytes(bytes[4100..4104].try_into().unwrap());
        let end = 4096 + RECORDS * u64::from((64 + payload).next_multiple_of(8));
        (crashed, clean, end)
    })
}

/// Opens the damaged folder: what is read must be what was written, and what is not read must be
/// accounted for. Returns (readable records, torn bytes, whether a hole was told).
fn judge(dir: &Path) -> (Vec<u64>, u64, bool) {
    let (journal, recovery) = open(dir);
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
    let (_, again) = open(dir);
    assert_eq!((again.torn_bytes, again.last_offset), (0, Some(next)));
    (records.into_iter().map(|r| r.0).collect(), recovery.torn_bytes, !recovery.holes.is_empty())
}

#[test]
fn a_tail_cut_at_any_byte_loses_only_what_it_cut() {
    let (crashed, clean, end) = folders();
    let block = (end - 4096) / RECORDS;
    let bytes = &clean.iter().find(|(n, _)| n.ends_with(".wal")).unwrap().1;
    for cut in (end - 2 * block)..=*end {
        // A block whose cut-off part was zeros anyway is whole.
        let whole = |o: &u64| {
            let stored = &bytes[(4096 + o * block) as usize..(4096 + (o + 1) * block) as usize];
            let needed = stored.iter().rposition(|b| *b != 0).unwrap() as u64 + 1;
            cut >= 4096 + o * block + needed
        };
        let kept: Vec<u64> = (0..RECORDS).filter(whole).collect();
        let dir = restore(crashed);
        fs::File::options().write(true).open(segment(dir.path())).unwrap().set_len(cut).unwrap();
        let (records, _, hole) = judge(dir.path());
        // Two blocks before the end nothing says that the last ones had been acknowledged.
        assert_eq!((records, hole), (kept.clone(), false), "cut at {cut}");
        let dir = restore(clean);
        fs::File::options().write(true).open(segment(dir.path())).unwrap().set_len(cut).unwrap();
        let (records, torn, hole) = judge(dir.path());
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
    for at in 4096..*end {
        for (files, closed) in [(crashed, false), (clean, true)] {
            if closed && at % 3 != 0 {
                continue;
            }
            let dir = restore(files);
            let mut bytes = fs::read(segment(dir.path())).unwrap();
            bytes[at as usize] ^= 1 << (at % 8);
            fs::write(segment(dir.path()), bytes).unwrap();
            let hit = (at - 4096) / block;
            let (records, torn, hole) = judge(dir.path());
            let kept: Vec<u64> = (0..RECORDS).filter(|o| *o != hit).collect();
            assert_eq!(records, kept, "byte {at}");
            // Only the very last block may pass for torn, and only after a crash.
            let last = hit == RECORDS - 1;
            assert_eq!((hole, torn > 0), (closed || !last, !closed && last), "byte {at}");
        }
    }
}

#[test]
fn a_flipped_header_bit_costs_nothing() {
    let (_, clean, _) = folders();
    for at in [0, 9, 30, 33, 47, 2047, 2048, 2100, 4095] {
        let dir = restore(clean);
        let mut bytes = fs::read(segment(dir.path())).unwrap();
        bytes[at] ^= 16;
        fs::write(segment(dir.path()), bytes).unwrap();
        let (journal, recovery) = open(dir.path());
        assert_eq!(recovery.damaged_headers.len(), 1);
        assert_eq!(read_all(&journal, 0).0.len() as u64, RECORDS);
    }
}

#[test]
fn a_lost_segment_is_told() {
    let (_, clean, _) = folders();
    let dir = restore(clean);
    fs::remove_file(segment(dir.path())).unwrap();
    let (journal, recovery) = open(dir.path());
    assert_eq!((recovery.holes[0].from_offset, recovery.holes[0].to_offset), (0, RECORDS));
    assert_eq!(journal.appender().append_wait(batch(&[b"on"])).unwrap().first, RECORDS);
}

#[test]
fn a_block_inside_event_bytes_is_only_bytes() {
    let (crashed, _, end) = folders();
    let files = crashed.iter().find(|(n, _)| n.ends_with(".wal")).unwrap();
    // The best an attacker can have: a genuine block of another journal, at every alignment.
    let block = (end - 4096) / RECORDS;
    let genuine = &files.1[(end - block) as usize..*end as usize];
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.appender().append_wait(batch(&[b"before"])).unwrap();
    let held = snapshot(dir.path());
    let mut forged = Vec::new();
    for shift in 0..8 {
        forged.extend_from_slice(&vec![0; shift]);
        forged.extend_from_slice(genuine);
    }
    journal.appender().append_wait(batch(&[&forged])).unwrap();
    let whole = snapshot(dir.path());
    drop(journal);
    // Torn: the block's header page is lost, the event's bytes arrived.
    let mut torn = held;
    let of = |files: &Files| files.iter().position(|(n, _)| n.ends_with(".wal")).unwrap();
    let source = whole[of(&whole)].1.clone();
    let at = of(&torn);
    let start = torn[at].1.iter().rposition(|b| *b != 0).unwrap() + 200;
    torn[at].1[start..].copy_from_slice(&source[start..]);
    let dir = restore(&torn);
    let (journal, recovery) = open(dir.path());
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
        let dir = if keep { restore(clean) } else { tempfile::tempdir().unwrap() };
        let path = segment(dir.path());
        let mut bytes = if keep { fs::read(&path).unwrap() } else { Vec::new() };
        let at = at.min(bytes.len());
        bytes.truncate((at + wal.len()).max(bytes.len()));
        bytes.resize(bytes.len().max(at + wal.len()), 0);
        bytes[at..at + wal.len()].copy_from_slice(&wal);
        fs::write(&path, bytes).unwrap();
        fs::write(dir.path().join("producers.snap"), &side).unwrap();
        fs::write(dir.path().join("sealed.log"), &side).unwrap();
        if !keep {
            fs::write(dir.path().join("MANIFEST.a"), &side).unwrap();
        }
        let _ = journal::inspect::fsck(dir.path()).unwrap();
        let (journal, _) = open(dir.path());
        let durable = journal.appender().append_wait(batch(&[b"on"])).unwrap();
        let (records, _) = read_all(&journal, 0);
        prop_assert_eq!(records.last().unwrap(), &(durable.last, b"on".to_vec()));
    }
}
