//! A crash at any step: the folder as it is then opens, with everything once.

use crate::samples::*;
use std::path::Path;
use std::sync::{Arc, Mutex};
use store::{Options, Store};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What the journal does after a restart: feeds everything after its cursor again.
fn restart(dir: &Path, upto: u64) -> Vec<u64> {
    let (store, _) = Store::open(dir, Options::default()).unwrap();
    store.append(logins(0..upto));
    let mut found = ids(&store, &request("*"));
    store.flush().unwrap();
    let again = ids(&store, &request("*"));
    assert_eq!(found, again);
    assert_eq!(store.verify().unwrap().problems, []);
    found.sort_unstable();
    found
}

#[test]
fn every_step_of_flush_and_join_may_be_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let copies = dir.path().join("copies");
    let steps: Arc<Mutex<Vec<String>>> = Arc::default();
    let (from, to, list) = (live.clone(), copies.clone(), steps.clone());
    let hook = Arc::new(move |name: &str| {
        let mut list = list.lock().unwrap();
        copy(&from, &to.join(list.len().to_string()));
        list.push(name.to_owned());
    });
    let options = Options { step_hook: Some(hook), ..Options::default() };
    let (store, _) = Store::open(&live, options).unwrap();
    for n in 0..3 {
        store.append(logins(n * 5..n * 5 + 5));
        store.flush().unwrap();
    }
    store.maintain(START_NS + 3 * HOUR_NS).unwrap();
    let steps = steps.lock().unwrap();
    assert!(steps.iter().any(|s| s == "compacted file renamed"), "{steps:?}");
    for (at, step) in steps.iter().enumerate() {
        let found = restart(&copies.join(at.to_string()), 15);
        assert_eq!(found, (0..15).collect::<Vec<_>>(), "crash at {step}");
    }
}

#[test]
fn the_manifest_cut_at_any_byte_gives_a_whole_store() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let (store, _) = Store::open(&live, Options::default()).unwrap();
    store.append(logins(0..3));
    store.flush().unwrap();
    let log = live.join("manifest/000000000001.log");
    let first = std::fs::metadata(&log).unwrap().len() as usize;
    store.append(logins(3..6));
    store.flush().unwrap();
    drop(store);
    let whole = std::fs::read(&log).unwrap();
    // Every seventh byte here: the manifest's own test cuts at every byte.
    for cut in (first..whole.len()).step_by(7) {
        let copied = dir.path().join(format!("cut{cut}"));
        copy(&live, &copied);
        std::fs::write(copied.join("manifest/000000000001.log"), &whole[..cut]).unwrap();
        let (store, report) = Store::open(&copied, Options::default()).unwrap();
        assert_eq!((report.files, report.orphans_removed), (1, 1), "cut at {cut}");
        drop(store);
        assert_eq!(restart(&copied, 6), (0..6).collect::<Vec<_>>());
    }
}

#[test]
fn files_of_a_damaged_last_record_are_set_aside_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    store.append(logins(0..3));
    store.flush().unwrap();
    drop(store);
    let log = dir.path().join("manifest/000000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let (_, report) = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!((report.files, report.orphans_set_aside, report.orphans_removed), (0, 1, 0));
}
