//! A crash at any step: the folder as it is then opens, with everything once.

use crate::samples::*;
use std::path::Path;
use std::sync::{Arc, Mutex};
use store::{Options, StepHook, Store};

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

/// A hook that copies the folder `live` at every step into a folder of its number below `copies`, and
/// the names of the steps so far.
pub(crate) fn copying(live: &Path, copies: &Path) -> (Arc<Mutex<Vec<String>>>, StepHook) {
    let steps: Arc<Mutex<Vec<String>>> = Arc::default();
    let (from, to, list) = (live.to_owned(), copies.to_owned(), steps.clone());
    let hook = move |name: &str| {
        let mut list = list.lock().unwrap();
        copy(&from, &to.join(list.len().to_string()));
        list.push(name.to_owned());
    };
    (steps, Arc::new(hook))
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
    let (steps, hook) = copying(&live, &copies);
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

/// Scenario: a small file system with any number of pages left, so that a flush fails anywhere, in
/// the manifest's record, too; then there is space again.
/// Guarantees: no row is lost or there twice, and the same store goes on without being opened anew.
#[test]
fn a_full_file_system_stops_a_flush_anywhere_and_it_goes_on() {
    let mount = tempfile::tempdir().unwrap();
    let run = |command: &str, args: &[&str]| {
        let done = std::process::Command::new(command).args(args).arg(mount.path()).status();
        done.is_ok_and(|status| status.success())
    };
    if !run("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs"]) {
        println!("skipped: mounting is not allowed here");
        return;
    }
    let told = std::panic::catch_unwind(|| fill_flush_free(mount.path()));
    run("umount", &["-l"]);
    let failed = told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // A flush of so few rows writes four pages: the data, the index, the manifest.
    assert!(failed >= 3, "only {failed} flushes failed");
}

/// Out: how many flushes failed.
fn fill_flush_free(dir: &Path) -> usize {
    let (store, _) = Store::open(&dir.join("store"), Options::default()).unwrap();
    let (mut upto, mut failed) = (0, 0);
    for pages in 0..12 {
        store.append(logins(upto..upto + 3));
        upto += 3;
        let mut ballast = std::fs::File::create(dir.join("ballast")).unwrap();
        let page = [0x5a; 4096];
        while std::io::Write::write_all(&mut ballast, &page).is_ok() {}
        let size = ballast.metadata().unwrap().len() & !4095;
        ballast.set_len(size.saturating_sub(pages * 4096)).unwrap();
        let is_stopped = store.flush().is_err();
        failed += usize::from(is_stopped);
        // An open file keeps its pages.
        drop(ballast);
        std::fs::remove_file(dir.join("ballast")).unwrap();
        if is_stopped {
            store.flush().unwrap_or_else(|error| panic!("with {pages} pages before: {error}"));
        }
        let mut there = ids(&store, &request("*"));
        there.sort_unstable();
        assert_eq!(there, (0..upto).collect::<Vec<_>>(), "with {pages} pages");
        store.maintain(START_NS + 3 * HOUR_NS).unwrap();
    }
    assert_eq!(store.verify().unwrap().problems, []);
    failed
}
