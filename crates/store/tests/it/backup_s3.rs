//! Backups in a bucket, and everything that can be wrong with the way to it.

use crate::copies::nothing;
use crate::s3_server::{Fault, S3};
use crate::samples::*;
use crate::tier::{LATER_NS, move_all, options, two_files};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use store::backup::{self, Companion, Place};
use store::{Options, Store, TierOptions};

/// The object that says who works in a bucket.
const LOCK: &str = "alcedo-backups.lock";

fn bucket(s3: &S3, dir: &Path, prefix: &str) -> TierOptions {
    let tier = s3.options(&dir.join("credentials"));
    TierOptions { to: format!("s3://logs/{prefix}"), ..tier }
}

/// Scenario: a store with a far tier and companions backs up to a bucket in which others keep things.
/// Guarantees: what is there is not sent again, and what got lost there is; a new folder is made of
/// it without the far tier; nothing is listed, nothing deleted, and nothing of others asked for.
#[test]
fn s3_backups_are_incremental_and_restored_and_touch_nothing_of_others() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup/one"));
    s3.ask("PUT", "backup/one/backups/7.json");
    s3.ask("PUT", "backup/one/objects/of-others");
    let far = options(bucket(&s3, dir.path(), "far"));
    let store = two_files(&dir.path().join("live"), far);
    let (fixed, grows) = (dir.path().join("key"), dir.path().join("log"));
    std::fs::write(&fixed, b"secret").unwrap();
    let mut long = vec![0; 3 << 20];
    long[..5_000].fill(7);
    std::fs::write(&grows, &long).unwrap();
    let companion =
        |name: &str, path: &Path, grows| Companion { name: name.into(), path: path.into(), grows };
    let packed = dir.path().join("live/backup.zst.tmp");
    let mut both = || {
        assert!(!packed.exists(), "a packed copy goes once it was sent");
        Ok(vec![companion("a/key", &fixed, false), companion("log", &grows, true)])
    };
    assert_eq!(backup::list(&target).unwrap(), [""; 0], "objects that nobody names are no backup");
    s3.requests();
    let first = store.backup(&target, 11, &mut both).unwrap();
    assert_eq!((first.rows, first.companions, first.copied_bytes), (25, 2, first.bytes));
    move_all(&store);
    s3.requests();
    let second = store.backup(&target, 12, &mut both).unwrap();
    assert_eq!(second.copied_bytes, long.len() as u64, "what grows was looked at");
    let asked = s3.requests();
    let sent: Vec<_> = asked.iter().filter(|r| r.starts_with("PUT")).collect();
    let (lock, sent): (Vec<_>, Vec<_>) = sent.into_iter().partition(|r| r.contains(LOCK));
    assert_eq!((sent.len(), lock.len()), (2, 3), "the backup and the list: {sent:?}");
    for request in &asked {
        let known = request.contains("/backup/one/") && !request.contains("of-others");
        assert!(known && !request.starts_with("DELETE") && !request.contains("?list"), "{request}");
    }
    assert_eq!(backup::list(&target).unwrap(), ["11", "12"]);
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
    let size = s3.ask("HEAD", &s3.objects(".zst")[0]).to_lowercase();
    assert!(s3.objects(".zst").len() == 2, "companions are packed: {size}");

    // What vanished is sent again; the data comes from the far tier.
    let objects = s3.objects("");
    let data: Vec<_> = objects.iter().filter(|o| o.starts_with("backup/one/objects/")).collect();
    let data = data.into_iter().filter(|o| !o.ends_with(".zst") && !o.ends_with("of-others"));
    data.for_each(|object| drop(s3.ask("DELETE", object)));
    assert_eq!(backup::verify(&target, Some("12")).unwrap().problems.len(), 4);
    let failed = backup::restore(&target, None, &dir.path().join("none"), &dir.path().join("none"));
    assert!(failed.is_err());
    let third = store.backup(&target, 13, &mut both).unwrap();
    assert_eq!(third.copied_bytes, third.bytes - 6);
    let expected = json(&store, "*");
    drop(store);
    let new = dir.path().join("new");
    backup::restore(&target, None, &new.join("store"), &new).unwrap();
    assert_eq!(std::fs::read(new.join("a/key")).unwrap(), b"secret");
    assert_eq!(std::fs::read(new.join("log")).unwrap(), long);
    let (restored, report) = Store::open(&new.join("store"), Options::default()).unwrap();
    assert_eq!((report.rows, report.missing.len(), report.orphans_removed), (25, 0, 0));
    assert_eq!(json(&restored, "*"), expected);
    assert_eq!(restored.verify().unwrap().problems, []);
    assert!(s3.objects("").contains(&"backup/one/objects/of-others".to_owned()));
}

/// Scenario: the bucket's name is mistyped.
/// Guarantees: listing, backing up and moving say so; none of it passes for an empty place.
#[test]
fn s3_a_bucket_that_is_not_there_is_no_empty_one() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mistyped = TierOptions { to: "s3://lgos/x".into(), ..bucket(&s3, dir.path(), "x") };
    let target = Place::Bucket(mistyped.clone());
    let said = backup::list(&target).unwrap_err().to_string();
    assert!(said.contains("no such bucket"), "{said}");
    let store = two_files(&dir.path().join("live"), options(mistyped));
    let said = store.backup(&target, 1, &mut nothing).unwrap_err().to_string();
    assert!(said.contains("no such bucket"), "{said}");
    let said = store.move_old(LATER_NS, &|| true).unwrap_err().to_string();
    assert!(said.contains("no such bucket"), "{said}");
    assert_eq!(backup::list(&Place::Bucket(bucket(&s3, dir.path(), "x"))).unwrap(), [""; 0]);
}

/// Scenario: two stores take turns in one bucket; then a store's last backup is damaged there, the next
/// is gone, and in the end none can be read.
/// Guarantees: each knows what it has there and asks for none of it again; what cannot be read fails no
/// later backup, and stops nobody from knowing what those before it have.
#[test]
fn s3_stores_take_turns_and_a_backup_that_cannot_be_read_fails_no_other() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup"));
    let open = |name: &str| Store::open(&dir.path().join(name), Options::default()).unwrap().0;
    let (one, other) = (open("one"), open("other"));
    one.append(logins(0..15));
    other.append(logins(100..120));
    let taken = |store: &Store, at: i64| {
        s3.requests();
        let made = store.backup(&target, at, &mut nothing).unwrap();
        let objects = |r: &&String| r.starts_with("GET") && r.contains("/objects/");
        (made.copied_bytes, s3.requests().iter().filter(objects).count())
    };
    assert!(taken(&one, 1).0 > 0 && taken(&other, 2).0 > 0);
    for at in [3, 5] {
        assert_eq!((taken(&one, at), taken(&other, at + 1)), ((0, 0), (0, 0)));
    }
    s3.ask("PUT", "backup/backups/6.json");
    assert_eq!(taken(&one, 7), (0, 0));
    s3.ask("DELETE", "backup/backups/7.json");
    assert_eq!(taken(&one, 8), (0, 0));
    assert_eq!(taken(&other, 9), (0, 0));
    assert_eq!(backup::verify(&target, Some("9")).unwrap().problems, [""; 0]);
    // Where none can be read, all is looked at again, and not sent again.
    (1..10).for_each(|at| drop(s3.ask("PUT", &format!("backup/backups/{at}.json"))));
    let (copied, looked) = taken(&one, 10);
    assert!(copied == 0 && looked > 0, "{copied} bytes, {looked} requests");
    s3.fault(Fault::Away);
    assert!(one.backup(&target, 11, &mut nothing).is_err());
}

/// Scenario: the way to the bucket ends at the first request, at the second, and so on, as a crash
/// would end it.
/// Guarantees: at each of them every backup that is named is whole, and the next one gets further.
#[test]
fn s3_a_backup_that_ends_anywhere_is_not_named() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let (store, _) = Store::open(&live, Options::default()).unwrap();
    store.append(logins(0..15));
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup"));
    let mut named = 0;
    for requests in 0..40 {
        let at = i64::from(requests) + 1;
        s3.fault(Fault::AwayAfter(requests));
        let made = store.backup(&target, at, &mut nothing);
        s3.fault(Fault::None);
        let names = backup::list(&target).unwrap();
        assert!(made.is_err() || names.contains(&at.to_string()), "told as made, and not named");
        assert!(!live.join("backup.tmp").exists());
        if names.len() > named {
            named = names.len();
            let checked = backup::verify(&target, None).unwrap();
            assert_eq!((checked.rows, checked.problems), (15, vec![]), "after {requests} requests");
        }
        if made.is_ok() {
            assert!(requests > 8, "objects are read back: {requests} requests");
            return;
        }
    }
    panic!("it never ends");
}

#[test]
fn s3_what_arrives_wrong_is_noticed_at_once_and_later() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&dir.path().join("live"), Options::default()).unwrap();
    store.append(logins(0..15));
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup"));
    for fault in [Fault::UploadsCut, Fault::WrongBytes(u32::MAX), Fault::Errors(u32::MAX)] {
        s3.fault(fault);
        let error = store.backup(&target, 1, &mut nothing).unwrap_err().to_string();
        assert!(!error.contains("of-the-test"), "{fault:?}: {error}");
        s3.fault(Fault::None);
        assert_eq!(backup::list(&target).unwrap(), [""; 0], "{fault:?}");
    }
    // Left by somebody, or half by us, under the very name.
    let object = s3.objects("").into_iter().find(|o| o.contains("/objects/"));
    let left = object.unwrap_or_else(|| "backup/objects/none".into());
    s3.ask("PUT", &left);
    store.backup(&target, 2, &mut nothing).unwrap();
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
    s3.fault(Fault::WrongBytes(u32::MAX));
    let failed = backup::verify(&target, None);
    assert!(failed.is_err() || !failed.unwrap().problems.is_empty());
    s3.fault(Fault::None);
    // The list of somebody else.
    let other = Place::Bucket(bucket(&s3, dir.path(), "other"));
    s3.ask("PUT", "other/alcedo-backups.json");
    let error = store.backup(&other, 3, &mut nothing).unwrap_err().to_string();
    assert!(error.contains("another prefix"), "{error}");
}

/// Scenario: old backups in a bucket are to go, where others keep things; then a second installation
/// shares the place.
/// Guarantees: what stays is whole, what only the others needed is gone, nothing of others is listed or
/// touched; of each installation the newest stays.
#[test]
fn s3_backups_are_pruned_and_nothing_of_others() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup/one"));
    s3.ask("PUT", "backup/one/objects/of-others");
    let log = dir.path().join("log");
    let with = |text: &'static str| {
        let secret = dir.path().join(text);
        std::fs::write(&secret, text).unwrap();
        let log = log.clone();
        let companion = |name: &str, path: &Path| Companion {
            name: name.into(),
            path: path.into(),
            grows: false,
        };
        move || Ok(vec![companion("secret", &secret), companion("log", &log)])
    };
    let store = two_files(&dir.path().join("live"), Options::default());
    for name in 11..=13 {
        std::fs::write(&log, format!("log {name}")).unwrap();
        store.backup(&target, name, &mut with("mine")).unwrap();
    }
    let objects = s3.objects("").len();
    s3.requests();
    let plan = backup::prune(&target, 1, true).unwrap();
    assert!(s3.requests().iter().all(|r| r.starts_with("GET") || r.starts_with("HEAD")));
    let pruned = backup::prune(&target, 1, false).unwrap();
    assert_eq!((&pruned, pruned.objects), (&plan, 2), "the two older logs");
    for request in s3.requests() {
        assert!(!request.contains("of-others") && !request.contains("?list"), "{request}");
    }
    assert_eq!(s3.objects("").len(), objects - 4, "logs and texts of two backups");
    assert_eq!(backup::list(&target).unwrap(), ["13"]);
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
    store.backup(&target, 14, &mut with("others")).unwrap();
    assert_eq!(backup::prune(&target, 1, false).unwrap().removed, [""; 0]);
    std::fs::write(&log, "log 15").unwrap();
    store.backup(&target, 15, &mut with("others")).unwrap();
    assert_eq!(backup::prune(&target, 1, false).unwrap().removed, ["14"]);
    assert_eq!(backup::list(&target).unwrap(), ["13", "15"]);
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
}

/// Scenario: old backups are to go while one is being made, and one is to be made while old ones go;
/// whoever prunes or makes one is cut off.
/// Guarantees: who comes second is refused, told why and until when, and has changed nothing; backups
/// are made beside each other; what a crash left ends by itself; somebody else's object is left alone.
#[test]
fn s3_making_and_pruning_keep_apart() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup"));
    let open = |name: &str| Store::open(&dir.path().join(name), Options::default()).unwrap().0;
    let (one, other) = (open("one"), open("other"));
    one.append(logins(0..15));
    other.append(logins(100..120));
    (1..=3).for_each(|at| drop(one.backup(&target, at, &mut nothing).unwrap()));
    let run = one.begin_backup(&target, &mut nothing).unwrap();
    other.backup(&target, 4, &mut nothing).unwrap();
    let objects = s3.objects("");
    let refused = backup::prune(&target, 1, false).unwrap_err().to_string();
    assert!(
        refused.contains("a backup is being made") && refused.contains("or after 2"),
        "{refused}"
    );
    assert_eq!(s3.objects(""), objects);
    assert_eq!(backup::prune(&target, 1, true).unwrap().removed, ["1", "2", "3"]);
    run.finish(5, &mut nothing).unwrap();
    assert_eq!(backup::prune(&target, 1, false).unwrap().removed, ["1", "2", "3", "4"]);

    let now_s =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let left = |alone: bool, minutes: i64| {
        let until = (now_s as i64 + minutes * 60) * 1_000_000_000;
        let holder = format!(r#"{{"id":"left","alone":{alone},"until_ns":{until}}}"#);
        let text = format!(r#"{{"format":1,"holders":[{holder}]}}"#);
        s3.put(&format!("backup/{LOCK}"), &text);
    };
    left(true, 30);
    let refused = one.backup(&target, 6, &mut nothing).unwrap_err().to_string();
    assert!(refused.contains("old backups are being pruned"), "{refused}");
    let refused = backup::prune(&target, 1, false).unwrap_err().to_string();
    assert!(refused.contains("old backups are being pruned"), "{refused}");
    // Clocks differ: its end is believed some minutes later.
    left(true, -2);
    assert!(one.backup(&target, 6, &mut nothing).is_err());
    left(true, -6);
    one.backup(&target, 6, &mut nothing).unwrap();
    left(false, 30);
    one.backup(&target, 7, &mut nothing).unwrap();
    assert!(backup::prune(&target, 1, false).is_err());
    left(false, -6);
    assert_eq!(backup::prune(&target, 1, false).unwrap().removed, ["5", "6"]);
    // A backup that took so long that it counts as cut off is not named.
    let run = one.begin_backup(&target, &mut nothing).unwrap();
    left(true, 30);
    let late = run.finish(8, &mut nothing).map(drop).unwrap_err().to_string();
    assert!(late.contains("took too long"), "{late}");
    s3.put(&format!("backup/{LOCK}"), "of somebody else");
    let theirs = backup::prune(&target, 1, false).unwrap_err().to_string();
    assert!(theirs.contains("choose another prefix"), "{theirs}");
    assert_eq!(backup::list(&target).unwrap(), ["7"]);
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
}

/// Scenario: the entry that somebody prunes is written, and the answer to that is lost.
/// Guarantee: the try after it is not refused by the own entry.
#[test]
fn s3_nobody_is_in_their_own_way() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup"));
    let (store, _) = Store::open(&dir.path().join("one"), Options::default()).unwrap();
    store.append(logins(0..15));
    (1..=2).for_each(|at| drop(store.backup(&target, at, &mut nothing).unwrap()));
    s3.fault(Fault::AnswerLost(LOCK));
    assert_eq!(backup::prune(&target, 1, false).unwrap().removed, ["1"]);
    assert_eq!(s3.current_fault(), Fault::None, "an answer was lost");
    s3.fault(Fault::AnswerLost(LOCK));
    store.backup(&target, 3, &mut nothing).unwrap();
    assert_eq!(backup::list(&target).unwrap(), ["2", "3"]);
}

/// Scenario: two installations make backups in one bucket while two others prune there all the time.
/// Guarantee: whatever is named in the end is whole.
#[test]
fn s3_backups_stay_whole_while_others_prune() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = Place::Bucket(bucket(&s3, dir.path(), "backup"));
    let (made, pruned, making) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(2));
    std::thread::scope(|scope| {
        for n in 0..2u64 {
            let (target, made, pruned, making) = (&target, &made, &pruned, &making);
            let root = dir.path().join(n.to_string());
            scope.spawn(move || {
                let (store, _) = Store::open(&root, Options::default()).unwrap();
                for round in 0..12u64 {
                    store.append(logins(n * 1_000 + round * 10..n * 1_000 + round * 10 + 10));
                    let at = (round * 2 + n + 1) as i64;
                    made.fetch_add(store.backup(target, at, &mut nothing).is_ok().into(), Relaxed);
                    // Who makes one after the other lets nobody prune.
                    std::thread::sleep(Duration::from_millis(20 * (n + 1)));
                }
                making.fetch_sub(1, Relaxed);
            });
            scope.spawn(move || {
                while making.load(Relaxed) > 0 {
                    pruned.fetch_add(backup::prune(target, 1, false).is_ok().into(), Relaxed);
                }
            });
        }
    });
    let (made, pruned) = (made.into_inner(), pruned.into_inner());
    assert!(made > 1 && pruned > 0, "{made} made, pruned {pruned} times");
    let names = backup::list(&target).unwrap();
    for name in &names {
        assert_eq!(backup::verify(&target, Some(name)).unwrap().problems, [""; 0], "{name}");
    }
    assert!(!names.is_empty());
}
