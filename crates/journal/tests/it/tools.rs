//! Looking at folders that nobody has open: nothing changes, and what can be saved is saved.

use crate::{batch, open, open_with, read_all, small};
use journal::inspect::{Exported, dump, export, fsck, salvage};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

/// Names, contents and times of a folder's files.
fn state(dir: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries
        .map(|e| {
            let changed = e.metadata().unwrap().modified().unwrap();
            let name = e.file_name().into_string().unwrap();
            (name, (std::fs::read(e.path()).unwrap(), changed))
        })
        .collect()
}

/// A folder with several segments; records carry their number, number 7 is split into parts.
fn filled() -> (tempfile::TempDir, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for n in 0..60u32 {
        let len = if n == 7 { 150_000 } else { 20_000 };
        let mut bytes = vec![n as u8; len];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        journal.appender().append_wait(batch(&[&bytes])).unwrap();
    }
    journal.set_cursor("c", 3).unwrap();
    let next = journal.durable().unwrap() + 1;
    journal.close().unwrap();
    (dir, next)
}

fn numbers(dir: &Path, from: u64, to: u64) -> (Vec<u32>, u64) {
    let (mut found, mut missing) = (Vec::new(), 0);
    export(dir, from, to, &mut |_| (), |one| match one {
        Exported::Record(_, bytes) => {
            assert!(bytes[4..].iter().all(|b| *b == bytes[4]));
            found.push(u32::from_le_bytes(bytes[..4].try_into().unwrap()));
        }
        Exported::Missing(hole) => missing += hole.to_offset - hole.from_offset,
    })
    .unwrap();
    (found, missing)
}

#[test]
fn looking_changes_nothing_and_tells_how_far_it_is() {
    let (dir, next) = filled();
    // Damaged on purpose: a start would repair it, a look must not.
    let segment = dir.path().join("00000000000000000000.wal");
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.set_len(200_000).unwrap();
    drop(file);
    let before = state(dir.path());
    let mut told = Vec::new();
    let report = fsck(dir.path(), &mut |p| told.push(p)).unwrap();
    assert!(!report.is_sound() && report.clean && report.segments.len() > 3);
    assert_eq!(report.cursors, [("c".to_owned(), 3)]);
    assert!(told.windows(2).all(|w| w[0].done_bytes < w[1].done_bytes));
    assert_eq!(told.last().map(|p| p.done_bytes), told.last().map(|p| p.total_bytes));
    let mut dumped = 0;
    let holes = dump(dir.path(), 0, u64::MAX, |_| dumped += 1).unwrap();
    assert!(dumped > 0 && dumped < next);
    assert_eq!(holes, report.holes, "a dump passes nothing in silence");
    assert_eq!(holes.iter().map(|h| h.to_offset - h.from_offset).sum::<u64>() + dumped, next);
    let hole = &holes[0];
    assert_eq!(dump(dir.path(), 0, hole.from_offset, |_| ()).unwrap(), []);
    assert_eq!(dump(dir.path(), hole.to_offset, u64::MAX, |_| ()).unwrap(), []);
    assert_eq!(dump(dir.path(), hole.to_offset - 1, hole.to_offset, |_| ()).unwrap(), holes);
    let (found, missing) = numbers(dir.path(), 0, u64::MAX);
    assert_eq!(missing, report.holes.iter().map(|h| h.to_offset - h.from_offset).sum::<u64>());
    assert!(found.len() < 60 && found.contains(&59));
    assert_eq!(state(dir.path()), before);
    // Also where nothing may be written.
    let copy = dir.path().join("never-there");
    assert!(fsck(&copy, &mut |_| ()).is_err() && !copy.exists());
}

#[test]
fn an_export_has_whole_records() {
    let (dir, next) = filled();
    assert_eq!(numbers(dir.path(), 0, u64::MAX), ((0..60).collect(), 0));
    let (from_8, _) = numbers(dir.path(), 12, next);
    assert_eq!(from_8.first(), Some(&10), "3 parts of number 7, so offset 12 is number 10");
}

#[test]
fn what_still_validates_is_saved_under_its_offsets() {
    let (dir, next) = filled();
    let names: Vec<String> =
        state(dir.path()).into_keys().filter(|n| n.ends_with(".wal")).collect();
    let damage = |name: &str, at: usize, len: usize| {
        let path = dir.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at..at + len].fill(0xee);
        std::fs::write(&path, bytes).unwrap();
    };
    // One segment loses a record in its middle, one its header, and both manifests are gone.
    damage(&names[0], 50_000, 1);
    damage(&names[2], 0, 4096);
    for slot in ["MANIFEST.a", "MANIFEST.b"] {
        std::fs::remove_file(dir.path().join(slot)).unwrap();
    }
    let before = state(dir.path());
    let saved = tempfile::tempdir().unwrap();
    let to = saved.path().join("saved");
    let mut done = 0;
    let rescue = salvage(dir.path(), &to, &mut |p| done = p.done_bytes).unwrap();
    assert_eq!(rescue.unreadable, [names[2].clone()]);
    assert!(rescue.holes.len() == 2 && done > 0, "{rescue:?}");
    assert_eq!(state(dir.path()), before);
    assert!(salvage(dir.path(), &to, &mut |_| ()).is_err(), "never into a folder with files");
    // The copy opens as a journal; what is missing is told, the rest stands where it stood.
    let mut original = BTreeMap::new();
    dump(dir.path(), 0, u64::MAX, |view| {
        original.insert(view.offset, view.bytes.to_vec());
    })
    .unwrap();
    let (journal, recovery) = open_with(&to, small());
    assert_eq!(recovery.holes.len(), 2, "{recovery:?}");
    let (records, _) = read_all(&journal, 0);
    assert_eq!(records.into_iter().collect::<BTreeMap<_, _>>(), original);
    assert_eq!(journal.appender().append_wait(batch(&[b"on"])).unwrap().first, next);
}

/// Scenario: an event holds a genuine block of another segment of the same journal.
/// Guarantees: salvage takes it for what it is, bytes of an event.
#[test]
fn a_block_inside_event_bytes_is_not_saved_as_a_block() {
    let (dir, _) = filled();
    let stolen = std::fs::read(dir.path().join("00000000000000000000.wal")).unwrap();
    let forged = stolen[4096..60_000].to_vec();
    let other = tempfile::tempdir().unwrap();
    let (journal, _) = open(other.path());
    for shift in 0..8 {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(&forged);
        journal.appender().append_wait(batch(&[&bytes])).unwrap();
    }
    journal.close().unwrap();
    let saved = tempfile::tempdir().unwrap();
    let to = saved.path().join("saved");
    let rescue = salvage(other.path(), &to, &mut |_| ()).unwrap();
    assert_eq!((rescue.records, rescue.holes.len()), (8, 0));
}

/// Scenario: both copies of the manifest are overwritten; then a whole segment is gone, too.
/// Guarantees: the first is no sound journal, one copy alone is, and nothing of all that there was is none
/// either; a lost segment is missing in a dump and an export, in the middle and at the end.
#[test]
fn a_lost_manifest_and_lost_segments_are_told() {
    let (dir, next) = filled();
    let slot = |name: &str| dir.path().join(name);
    let kept =
        (std::fs::read(slot("MANIFEST.a")).unwrap(), std::fs::read(slot("MANIFEST.b")).unwrap());
    let write = |name: &str, bytes: &[u8], is_lost: bool| {
        let bytes = if is_lost { vec![0x5a; bytes.len()] } else { bytes.to_vec() };
        std::fs::write(slot(name), bytes).unwrap();
    };
    for (a, b) in [(true, false), (false, true), (true, true)] {
        write("MANIFEST.a", &kept.0, a);
        write("MANIFEST.b", &kept.1, b);
        let report = fsck(dir.path(), &mut |_| ()).unwrap();
        assert_eq!(report.is_manifest_lost(), a && b);
        assert_eq!(report.is_sound(), !(a && b), "{report:?}");
    }
    write("MANIFEST.a", &kept.0, false);
    write("MANIFEST.b", &kept.1, false);
    let report = fsck(dir.path(), &mut |_| ()).unwrap();
    let (middle, last) = (&report.segments[1], report.segments.last().unwrap());
    std::fs::remove_file(slot(&middle.name)).unwrap();
    std::fs::remove_file(slot(&last.name)).unwrap();
    let lost = (middle.next_offset - middle.first_offset) + (next - last.first_offset);
    let holes = dump(dir.path(), 0, u64::MAX, |_| ()).unwrap();
    assert_eq!(holes.iter().map(|h| h.to_offset - h.from_offset).sum::<u64>(), lost, "{holes:?}");
    assert_eq!(numbers(dir.path(), 0, u64::MAX).1, lost);
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_of_journal = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("MANIFEST") || name.ends_with(".wal")
    };
    names.filter(is_of_journal).for_each(|path| std::fs::remove_file(path).unwrap());
    let report = fsck(dir.path(), &mut |_| ()).unwrap();
    assert!(report.is_manifest_lost() && !report.is_sound(), "{report:?}");
}
