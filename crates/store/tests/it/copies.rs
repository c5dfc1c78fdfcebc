//! Looking without touching, backups, exports.

use crate::samples::*;
use crate::upkeep::walk;
use std::path::Path;
use store::backup::{self, Companion, Place};
use store::{ExportFormat, Options, Store, StoreError};

fn store(dir: &Path) -> Store {
    let (store, _) = Store::open(dir, Options::default()).unwrap();
    store.append(logins(0..10));
    store.flush().unwrap();
    store.append(logins(10..15));
    store
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    walk(dir).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_look_changes_nothing_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let live = store(dir.path());
    let hour = walk(dir.path()).into_iter().find(|p| p.ends_with(".parquet")).unwrap();
    let being_written = Path::new(&hour).with_extension("parquet.tmp");
    std::fs::write(&being_written, b"unfinished").unwrap();
    let log = dir.path().join("manifest/000000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.extend_from_slice(&[9, 0, 0, 0, 1]);
    std::fs::write(&log, bytes).unwrap();
    let before = contents(dir.path());
    let (look, report) = Store::open_read_only(dir.path()).unwrap();
    assert_eq!((report.rows, report.manifest_bytes_cut), (10, 5));
    assert_eq!(look.verify().unwrap().problems, []);
    assert_eq!(ids(&look, &request("user.name:u1")), [6, 1]);
    look.append(logins(10..12));
    assert!(matches!(look.flush(), Err(StoreError::ReadOnly { .. })));
    assert!(look.delete("*", 0, "x", "y").is_err() && look.maintain(i64::MAX).is_err());
    drop(look);
    assert_eq!(contents(dir.path()), before);
    drop(live);
}

pub(crate) fn nothing() -> Result<Vec<Companion>, StoreError> {
    Ok(Vec::new())
}

#[test]
fn companions_go_along_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (live, folder) = (dir.path().join("live"), dir.path().join("backup"));
    let target = Place::from(folder);
    let store = store(&live);
    let (fixed, grows) = (dir.path().join("key"), dir.path().join("log"));
    std::fs::write(&fixed, b"secret").unwrap();
    let mut long = vec![0; 3 * 4_096 + 100];
    long[..5_000].fill(7);
    std::fs::write(&grows, &long).unwrap();
    let companion =
        |name: &str, path: &Path, grows| Companion { name: name.into(), path: path.into(), grows };
    let mut both = || Ok(vec![companion("a/key", &fixed, false), companion("log", &grows, true)]);
    let first = store.backup(&target, 1, &mut both).unwrap();
    assert_eq!(first.companions, 2);
    let again = store.backup(&target, 2, &mut both).unwrap();
    assert_eq!(again.copied_bytes, long.len() as u64, "only what grows is copied again");
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
    let new = dir.path().join("new");
    backup::restore(&target, None, &new.join("store"), &new).unwrap();
    assert_eq!(std::fs::read(new.join("a/key")).unwrap(), b"secret");
    assert_eq!(std::fs::read(new.join("log")).unwrap(), long);
    let mut outside = || Ok(vec![companion("../out", &fixed, false)]);
    store.backup(&target, 3, &mut outside).unwrap();
    let third = dir.path().join("third");
    assert!(backup::restore(&target, None, &third.join("store"), &third).is_err());
    assert!(!dir.path().join("out").exists());
    let error = backup::verify(&target, Some("../4")).unwrap_err().to_string();
    assert!(error.ends_with("has no backup `../4`"), "{error}");
    let error = backup::restore(&target, Some("4"), &third.join("s"), &third).unwrap_err();
    assert!(matches!(error, StoreError::NoBackup { name: Some(_), .. }), "{error}");
    let nowhere = Place::from(dir.path().join("nowhere"));
    let error = backup::verify(&nowhere, None).unwrap_err();
    assert!(matches!(error, StoreError::NoBackup { name: None, .. }), "{error}");
}

#[test]
fn backups_are_incremental_checked_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (live, folder) = (dir.path().join("live"), dir.path().join("backup"));
    let target = Place::from(folder.clone());
    let store = store(&live);
    let first = store.backup(&target, 1, &mut nothing).unwrap();
    assert_eq!((first.files, first.rows, first.copied_bytes), (2, 15, first.bytes));
    store.append(logins(15..20));
    let second = store.backup(&target, 2, &mut nothing).unwrap();
    assert!(second.rows == 20 && second.copied_bytes < second.bytes);
    assert_eq!(store.backup(&target, 3, &mut nothing).unwrap().copied_bytes, 0);
    assert_eq!(backup::list(&target).unwrap(), ["1", "2", "3"]);
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
    let everything = json(&store, "*");
    drop(store);

    let new = dir.path().join("new");
    assert_eq!(backup::restore(&target, None, &new, &new).unwrap().rows, 20);
    let (restored, report) = Store::open(&new, Options::default()).unwrap();
    assert_eq!((report.rows, report.orphans_removed), (20, 0));
    assert_eq!(json(&restored, "*"), everything);
    assert_eq!(restored.verify().unwrap().problems, []);
    restored.append(logins(0..22));
    assert_eq!(
        ids(&restored, &request("*")).len(),
        22,
        "the journal goes on where the backup ends"
    );
    assert!(backup::restore(&target, None, &new, &new).is_err(), "never over something");

    let old = dir.path().join("old");
    assert_eq!(backup::restore(&target, Some("1"), &old, &old).unwrap().rows, 15);
    let object = walk(&folder.join("objects")).remove(0);
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    assert_eq!(backup::verify(&target, None).unwrap().problems.len(), 1);
    assert!(
        backup::restore(&target, None, &dir.path().join("third"), &dir.path().join("third"))
            .is_err()
    );
}

/// Scenario: while a backup has begun, rows come, files are joined, and a companion goes and another
/// comes.
/// Guarantees: the backup has what is there at its end, and only that.
#[test]
fn a_backup_that_takes_long_has_what_is_there_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let target = Place::from(dir.path().join("backup"));
    let store = store(&dir.path().join("live"));
    let old = dir.path().join("1.wal");
    let fresh = dir.path().join("2.wal");
    std::fs::write(&old, b"old").unwrap();
    let of = |path: &Path| Companion { name: "w".into(), path: path.into(), grows: false };
    let run = store.begin_backup(&target, &mut || Ok(vec![of(&old), of(&fresh)])).unwrap();
    assert_eq!(backup::list(&target).unwrap(), [""; 0], "it is not named yet");
    std::fs::remove_file(&old).unwrap();
    std::fs::write(&fresh, b"fresh").unwrap();
    store.append(logins(15..20));
    store.flush().unwrap();
    assert!(store.join_all().unwrap() > 1);
    let made = run.finish(5, &mut || Ok(vec![of(&fresh)])).unwrap();
    assert_eq!((made.files, made.rows, made.companions), (1, 20, 1));
    assert!(made.copied_bytes > made.bytes, "what was copied before the join counts");
    let new = dir.path().join("new");
    backup::restore(&target, None, &new.join("store"), &new).unwrap();
    assert_eq!(std::fs::read(new.join("w")).unwrap(), b"fresh");
    let (restored, _) = Store::open(&new.join("store"), Options::default()).unwrap();
    assert_eq!(json(&restored, "*"), json(&store, "*"));
    assert!(!dir.path().join("backup/objects/backup.tmp").exists());
}

/// Scenario: while companions are copied, between two readings of them, one goes, another becomes
/// something else, and a third is gone before it is read at all.
/// Guarantees: the backup goes on, has the others, and nothing of these under a name of before.
#[test]
fn a_companion_that_goes_while_it_is_copied_fails_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backup");
    let target = Place::from(folder.clone());
    let path = |name: &str| dir.path().join(name);
    let names = ["gone", "renamed", "reused", "stays"];
    names[1..].iter().for_each(|name| std::fs::write(path(name), name).unwrap());
    let (renamed, reused) = (path("renamed"), path("reused"));
    let read = std::sync::atomic::AtomicUsize::new(0);
    let hook = move |step: &str| {
        if step == "companion summed up" {
            match read.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => std::fs::rename(&renamed, renamed.with_extension("spare")).unwrap(),
                1 => std::fs::write(&reused, b"other bytes").unwrap(),
                _ => {}
            }
        }
    };
    let options = Options { step_hook: Some(std::sync::Arc::new(hook)), ..Options::default() };
    let (store, _) = Store::open(&path("live"), options).unwrap();
    store.append(logins(0..10));
    let of = |name: &str| Companion { name: name.into(), path: path(name), grows: false };
    let run = store.begin_backup(&target, &mut || Ok(names.map(of).into())).unwrap();
    let made = run.finish(5, &mut || Ok(names[2..].iter().map(|name| of(name)).collect())).unwrap();
    assert_eq!((made.rows, made.companions), (10, 2));
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
    assert!(walk(&folder).iter().all(|path| !path.ends_with(".tmp")), "{:?}", walk(&folder));
    let new = path("new");
    backup::restore(&target, None, &new.join("store"), &new).unwrap();
    assert_eq!(std::fs::read(new.join("reused")).unwrap(), b"other bytes");
    assert_eq!(std::fs::read(new.join("stays")).unwrap(), b"stays");
    // What is wanted at the end has to be there at the end.
    let missing = store.backup(&target, 6, &mut || Ok(names.map(of).into()));
    assert!(missing.is_err());
}

#[test]
fn exports_have_everything_and_a_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("live"));
    let lines = |path: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let mut r = request("user.name:(u1 or u2)");
    r.limit = 1;
    let to = dir.path().join("ndjson");
    let done =
        store.export(&r, "user.name:(u1 or u2)", ExportFormat::Ndjson, &to, &mut |_| ()).unwrap();
    assert_eq!((done.rows, done.files.len(), done.partial.clone()), (6, 1, None));
    let mut written = lines(&to.join("part-00000.ndjson"));
    let mut expected = json(&store, "user.name:(u1 or u2)");
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
    let text = std::fs::read_to_string(to.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["files"][0]["sha256"], done.files[0].sha256);
    assert!(
        store.export(&r, "", ExportFormat::Ndjson, &to, &mut |_| ()).is_err(),
        "never over something"
    );

    let to = dir.path().join("csv");
    let r = request("user.name:u1 | fields user.name, source.bytes");
    store.export(&r, "", ExportFormat::Csv, &to, &mut |_| ()).unwrap();
    let mut written = lines(&to.join("part-00000.csv"));
    assert_eq!(written.remove(0), "user.name,source.bytes");
    written.sort();
    assert_eq!(written, ["u1,10", "u1,110", "u1,60"]);

    let to = dir.path().join("parquet");
    let done = store.export(&request("*"), "*", ExportFormat::Parquet, &to, &mut |_| ()).unwrap();
    assert_eq!(done.rows, 15);
    assert!(done.files[0].path.ends_with(".parquet"));
}

/// Backups 1 to 4 of a store that grows, and 5 of another installation, in one folder.
fn several(dir: &Path) -> Place {
    let target = Place::from(dir.join("backup"));
    let secrets = ["mine", "others"].map(|text| {
        let path = dir.join(text);
        std::fs::write(&path, text).unwrap();
        path
    });
    let with = |secret: &Path| {
        let secret = secret.to_owned();
        move || Ok(vec![Companion { name: "secret".into(), path: secret.clone(), grows: false }])
    };
    let mine = store(&dir.join("live"));
    for name in 1..=4 {
        mine.append(logins(15 + (name as u64 - 1) * 5..15 + name as u64 * 5));
        // Joined files are new ones: what earlier backups have is needed by these alone.
        mine.flush().unwrap();
        mine.maintain(START_NS + name * 2 * HOUR_NS).unwrap();
        mine.backup(&target, name, &mut with(&secrets[0])).unwrap();
    }
    let (other, _) = Store::open(&dir.join("other"), Options::default()).unwrap();
    other.append(logins(0..10));
    other.backup(&target, 5, &mut with(&secrets[1])).unwrap();
    target
}

/// Scenario: old backups are to go, of two installations in one folder, where a crash left a copy.
/// Guarantees: the newest of each stay and are whole; nothing is left that none of them needs; a dry
/// run tells the same and changes nothing.
#[test]
fn pruning_keeps_the_newest_of_each_installation_whole() {
    let dir = tempfile::tempdir().unwrap();
    let target = several(dir.path());
    let folder = dir.path().join("backup");
    let cut = folder.join("objects/ab").join(format!("{}.tmp", "ab".repeat(32)));
    std::fs::create_dir_all(cut.parent().unwrap()).unwrap();
    std::fs::write(&cut, b"cut").unwrap();
    std::fs::write(folder.join("objects/ab/notes of others"), b"stay").unwrap();
    let before = contents(&folder);
    let plan = backup::prune(&target, 2, true).unwrap();
    let unlocked = |list: Vec<(String, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
        list.into_iter().filter(|(name, _)| !name.ends_with("LOCK")).collect()
    };
    assert_eq!(unlocked(contents(&folder)), unlocked(before));
    let pruned = backup::prune(&target, 2, false).unwrap();
    assert_eq!(pruned, plan);
    assert_eq!(
        (&pruned.kept[..], &pruned.removed[..]),
        (&["3", "4", "5"].map(String::from)[..], &["1", "2"].map(String::from)[..])
    );
    assert!(pruned.objects > 1 && pruned.bytes > 0 && !cut.exists(), "{pruned:?}");
    assert!(folder.join("objects/ab/notes of others").exists());
    assert_eq!(backup::list(&target).unwrap(), ["3", "4", "5"]);
    for name in ["3", "4", "5"] {
        assert_eq!(backup::verify(&target, Some(name)).unwrap().problems, [""; 0], "{name}");
    }
    let again = backup::prune(&target, 2, false).unwrap();
    assert_eq!((again.removed.len(), again.objects), (0, 0), "nothing was left over");
    let least = backup::prune(&target, 0, false).unwrap();
    assert_eq!(least.kept, ["4", "5"], "one stays, whatever is asked");
    let new = dir.path().join("new");
    assert_eq!(backup::restore(&target, Some("4"), &new.join("store"), &new).unwrap().rows, 35);
}

/// Scenario: a backup in the place cannot be read; one is being made.
/// Guarantee: nothing is removed.
#[test]
fn pruning_waits_for_backups_and_stops_at_what_it_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let target = several(dir.path());
    let folder = dir.path().join("backup");
    let live = store(&dir.path().join("third"));
    let run = live.begin_backup(&target, &mut nothing).unwrap();
    let error = backup::prune(&target, 1, false).unwrap_err().to_string();
    assert!(error.contains("being made"), "{error}");
    run.finish(6, &mut nothing).unwrap();
    let damaged = folder.join("backups/2.json");
    let text = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &text[..text.len() / 2]).unwrap();
    let before = contents(&folder);
    assert!(backup::prune(&target, 1, false).is_err());
    assert_eq!(contents(&folder), before);
    std::fs::write(&damaged, &text).unwrap();
    assert_eq!(backup::prune(&target, 1, false).unwrap().kept, ["4", "5", "6"]);
    assert!(backup::prune(&Place::from(dir.path().join("none")), 1, false).is_err());
}
