//! Flushing by age, joining, retention, verification.

use crate::samples::*;
use event::EventId;
use store::{Options, Store};

#[test]
fn hot_rows_are_flushed_when_old_or_many() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(logins(0..3));
    assert_eq!(store.maintain(START_NS).unwrap().flushed_through, None);
    assert_eq!(store.maintain(START_NS + 59_000_000_000).unwrap().flushed_through, None);
    assert_eq!(store.maintain(START_NS + 60_000_000_000).unwrap().flushed_through, Some(2));
    let dir = tempfile::tempdir().unwrap();
    let options = Options { hot_bytes_max: 1, ..Options::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    store.append(logins(0..3));
    assert_eq!(store.maintain(START_NS).unwrap().flushed_through, Some(2));
    assert_eq!(store.flush().unwrap(), None);
}

#[test]
fn small_files_are_joined_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    for n in 0..8 {
        store.append(logins(n * 5..n * 5 + 5));
        store.flush().unwrap();
    }
    let before = json(&store, "*");
    assert_eq!(store.maintain(START_NS).unwrap().compacted_files, 8);
    assert_eq!((store.stats().files, store.stats().file_rows), (1, 40));
    assert_eq!(json(&store, "*"), before);
    assert_eq!(store.verify().unwrap().problems, []);
    drop(store);
    let (store, report) = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!((report.files, report.orphans_removed), (1, 0));
    assert_eq!(json(&store, "*"), before);
}

#[test]
fn retention_takes_the_oldest_and_a_running_search_keeps_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retention_age_ns: Some(HOUR_NS), ..Options::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    store.append(logins(0..5));
    store.flush().unwrap();
    store.append(logins(5..10));
    store.flush().unwrap();
    let mut seen = 0;
    store
        .search(&request("*"), &mut |_| {
            if seen == 0 {
                let done = store.maintain(START_NS + 2 * HOUR_NS).unwrap();
                assert_eq!(
                    (done.retired_files, done.retired_rows),
                    (1, 10),
                    "joined, then retired"
                );
            }
            seen += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 10);
    assert_eq!(store.stats().files, 0);
    assert_eq!(json(&store, "*"), [""; 0]);
    let left = walk(dir.path());
    assert!(left.iter().all(|path| !path.ends_with(".parquet")), "{left:?}");
    // What was stored once is not taken again.
    store.append(logins(0..10));
    assert_eq!(store.stats().hot_rows, 0);
    assert_eq!(store.stored_through(0), Some(EventId::at(9)));
    store.append(logins(10..12));
    store.flush().unwrap();
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn retention_by_size_and_none_at_all() {
    for (bytes, left) in [(Some(1), 0), (None, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options { retention_age_ns: None, retention_bytes: bytes, ..Options::default() };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        for n in 0..2 {
            store.append(logins(n * 5..n * 5 + 5));
            store.flush().unwrap();
        }
        store.maintain(START_NS).unwrap();
        assert_eq!(store.stats().files, left);
    }
}

#[test]
fn verification_finds_changed_missing_and_unlisted_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    for n in 0..2 {
        store.append(logins(n * 5..n * 5 + 5));
        store.flush().unwrap();
    }
    let files: Vec<String> =
        walk(dir.path()).into_iter().filter(|p| p.ends_with(".parquet")).collect();
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&files[0], &bytes).unwrap();
    let problems = store.verify().unwrap().problems;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].what.contains("SHA-256"));
    std::fs::remove_file(&files[0]).unwrap();
    assert!(store.verify().unwrap().problems[0].what.contains("cannot be opened"));
    drop(store);
    let (store, report) = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(report.missing.len(), 1);
    let (_, summary) = rows(&store, &request("*"));
    assert_eq!(summary.partial.as_deref(), Some("1 files are missing"));
}

pub(crate) fn walk(path: &std::path::Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                out.push(path.to_string_lossy().into_owned());
            }
        }
    }
    out.sort();
    out
}
