//! Old files in a far tier: a folder here, S3 in `tier_s3`.

use crate::crash::copying;
use crate::samples::*;
use crate::upkeep::walk;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use store::{Hold, Options, Reindexed, Store, StoreError, TierOptions};

/// A day after the samples: all of them are old then.
pub(crate) const LATER_NS: i64 = START_NS + 24 * HOUR_NS;

pub(crate) fn options(tier: TierOptions) -> Options {
    let tier = TierOptions { hot_age_ns: HOUR_NS, ..tier };
    Options { tier: Some(tier), retention_age_ns: None, ..Options::default() }
}

fn to_folder(far: &Path) -> Options {
    options(TierOptions::new(format!("file://{}", far.display())))
}

/// Moves all that is to be moved. Out: how many files went.
pub(crate) fn move_all(store: &Store) -> u64 {
    let mut evicted = 0;
    loop {
        let round = store.move_old(LATER_NS, &|| true).unwrap();
        evicted += round.evicted;
        if !round.has_more {
            return evicted;
        }
    }
}

fn ended(dir: &Path, end: &str) -> Vec<String> {
    walk(dir).into_iter().filter(|path| path.ends_with(end)).collect()
}

/// Two files of 15 and 10 rows.
pub(crate) fn two_files(dir: &Path, options: Options) -> Store {
    let (store, _) = Store::open(dir, options).unwrap();
    store.append(logins(0..15));
    store.flush().unwrap();
    store.append(logins(15..25));
    store.flush().unwrap();
    store
}

struct Folders {
    _dir: tempfile::TempDir,
    live: PathBuf,
    far: PathBuf,
}

fn folders() -> Folders {
    let dir = tempfile::tempdir().unwrap();
    Folders { live: dir.path().join("live"), far: dir.path().join("far"), _dir: dir }
}

#[test]
fn moved_files_are_searched_like_local_ones() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    let queries =
        ["*", "user.name:u1", "\"login 17\"", "source.ip:10.0.0.3", "u9 or u2", "*0.0.4*"];
    let before: Vec<_> = queries.iter().map(|q| json(&store, q)).collect();
    assert!(before.iter().all(|rows| !rows.is_empty()));
    let plan = store.tier_plan(LATER_NS);
    assert_eq!((plan.files, plan.rows, plan.oldest_ns), (2, 25, Some(START_NS)));
    assert_eq!(store.tier_plan(START_NS).files, 0, "nothing is old yet");
    assert_eq!(move_all(&store), 2);
    let stats = store.tier_stats(LATER_NS).unwrap();
    assert_eq!((stats.far_files, stats.far_bytes, stats.pending_files), (2, plan.bytes, 0));
    assert_eq!((ended(&at.live, ".parquet").len(), ended(&at.live, ".tail").len()), (0, 2));
    assert_eq!(ended(&at.far, ".parquet").len(), 2);
    let same = |store: &Store| {
        for (query, expected) in queries.iter().zip(&before) {
            assert_eq!(&json(store, query), expected, "{query}");
        }
        assert_eq!(store.verify().unwrap().problems, []);
    };
    same(&store);
    let event = store.event(event::EventId::at(17)).unwrap().unwrap();
    assert!(event.contains("login 17"));
    drop(store);
    let (store, report) = Store::open(&at.live, to_folder(&at.far)).unwrap();
    assert_eq!((report.files, report.orphans_removed, report.missing.len()), (2, 0, 0));
    same(&store);
    assert_eq!(move_all(&store), 0);
    // New rows go on as ever.
    store.append(logins(25..30));
    store.flush().unwrap();
    assert_eq!(json(&store, "*").len(), 30);
}

/// `files` files of 10 rows each.
fn many_files(dir: &Path, files: u64, options: Options) -> Store {
    let (store, _) = Store::open(dir, options).unwrap();
    for n in 0..files {
        store.append(logins(n * 10..n * 10 + 10));
        store.flush().unwrap();
    }
    store
}

/// Scenario: a search has begun, an export has begun, backups are made, while all files move to the
/// far tier.
/// Guarantees: none of them misses a row or fails; in the end no local file is left.
#[test]
fn whoever_reads_a_file_that_moves_goes_on_reading_it() {
    let at = folders();
    let store = many_files(&at.live, 8, to_folder(&at.far));
    let mut seen = 0;
    let summary = store.search(&request("*"), &mut |_| {
        if seen == 0 {
            assert_eq!(move_all(&store), 8);
        }
        seen += 1;
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((seen, summary.unwrap().partial), (80, None));
    assert_eq!(ended(&at.live, ".parquet").len(), 0);

    let (live, far) = (at.live.with_file_name("live2"), at.far.with_file_name("far2"));
    let store = many_files(&live, 40, to_folder(&far));
    let (target, out) = (at.live.with_file_name("backup"), at.live.with_file_name("out"));
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| move_all(&store));
        for n in 0.. {
            let ended = moving.is_finished();
            let backup =
                store.backup(&target.join(n.to_string()).into(), 1, &mut || Ok(Vec::new()));
            assert_eq!(backup.unwrap().rows, 400);
            let (to, format) = (out.join(n.to_string()), store::ExportFormat::Ndjson);
            let done = store.export(&request("*"), "*", format, &to, &mut |_| {}).unwrap();
            assert_eq!((done.rows, done.partial), (400, None));
            if ended {
                break;
            }
        }
        assert_eq!(moving.join().unwrap(), 40);
    });
    assert_eq!(ended(&live, ".parquet").len(), 0);
    let verified = store::backup::verify(&target.join("0").into(), None).unwrap();
    assert_eq!(verified.problems, [""; 0]);
}

/// Scenario: one object cannot be deleted; then one that was sent vanishes before its local file goes,
/// and another cannot be written.
/// Guarantees: the error is told, and all other objects and files go their way in the same round; what
/// vanished is sent again.
#[test]
fn one_object_that_does_not_go_holds_up_no_other() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    assert_eq!(move_all(&store), 2);
    store.delete("*", i64::MAX, "me", "case").unwrap();
    for _ in 0..3 {
        store.maintain(LATER_NS).unwrap();
    }
    let objects = ended(&at.far, ".parquet");
    assert_eq!(objects.len(), 2);
    // A folder of its name cannot be unlinked as a file.
    std::fs::remove_file(&objects[0]).unwrap();
    std::fs::create_dir_all(Path::new(&objects[0]).join("x")).unwrap();
    store.append(logins(25..35));
    store.flush().unwrap();
    store.append(logins(35..45));
    store.flush().unwrap();
    let told = store.move_old(LATER_NS, &|| true).unwrap_err().to_string();
    assert!(told.contains(Path::new(&objects[0]).file_stem().unwrap().to_str().unwrap()), "{told}");
    assert!(!Path::new(&objects[1]).exists());
    assert_eq!((ended(&at.live, ".parquet").len(), json(&store, "*").len()), (0, 20));
    std::fs::remove_dir_all(&objects[0]).unwrap();
    store.move_old(LATER_NS, &|| true).unwrap();
    assert_eq!(store.tier_stats(LATER_NS).unwrap().doomed_objects, 0);
}

/// Scenario: more objects than one round deletes cannot be deleted, first in the order of names; a file's
/// end cannot be written here.
/// Guarantees: the others are deleted in the next round, and other files move in the same.
#[test]
fn what_cannot_be_deleted_or_written_here_holds_up_no_other() {
    let at = folders();
    let store = many_files(&at.live, 68, to_folder(&at.far));
    assert_eq!(move_all(&store), 68);
    store.delete("*", i64::MAX, "me", "case").unwrap();
    for _ in 0..70 {
        store.tidy(LATER_NS).1.unwrap();
    }
    let objects = ended(&at.far, ".parquet");
    assert_eq!((objects.len(), store.stats().files), (68, 0));
    for object in &objects[..64] {
        std::fs::remove_file(object).unwrap();
        std::fs::create_dir_all(Path::new(object).join("x")).unwrap();
    }
    for left in [4, 0] {
        assert!(store.move_old(LATER_NS, &|| true).is_err());
        let there = objects.iter().filter(|object| Path::new(object).is_file()).count();
        assert_eq!(there, left);
    }
    objects[..64].iter().for_each(|object| std::fs::remove_dir_all(object).unwrap());
    for range in [700..710, 710..720] {
        store.append(logins(range));
        store.flush().unwrap();
    }
    let tail = Path::new(&ended(&at.live, ".parquet").remove(0)).with_extension("tail");
    std::fs::create_dir_all(tail.join("x")).unwrap();
    let told = store.move_old(LATER_NS, &|| true);
    assert!(matches!(told, Err(StoreError::Io { .. })), "{told:?}");
    assert_eq!(ended(&at.live, ".parquet").len(), 1);
    std::fs::remove_dir_all(&tail).unwrap();
    assert_eq!((move_all(&store), json(&store, "*").len()), (1, 20));
    assert_eq!(store.tier_stats(LATER_NS).unwrap().doomed_objects, 0);
}

/// Scenario: of many files two cannot be written, the oldest and a later one.
/// Guarantees: a round tells it after a bounded number of files; the others all move before these are
/// tried again, and every round tells of them until they have moved.
#[test]
fn what_does_not_move_is_told_soon_and_holds_up_no_other() {
    let at = folders();
    let store = many_files(&at.live, 70, to_folder(&at.far));
    store.move_old(LATER_NS, &|| true).unwrap();
    let names = |dir: &Path| -> Vec<String> {
        let stem =
            |path: &String| Path::new(path).file_stem().unwrap().to_str().unwrap().to_owned();
        ended(dir, ".parquet").iter().map(stem).collect()
    };
    // A folder of an object's name cannot be written as a file.
    let object = ended(&at.far, ".parquet").remove(0);
    let mut blocked = Vec::new();
    for local in ended(&at.live, ".parquet") {
        let name = Path::new(&local).file_stem().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("0-10-") || name.starts_with("0-200-") {
            let sum = Sha256::digest(std::fs::read(&local).unwrap());
            let sha256: String = sum[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            let path = Path::new(&object).with_file_name(format!("{name}-{sha256}.parquet"));
            std::fs::create_dir_all(path.join("x")).unwrap();
            blocked.push(path);
        }
    }
    assert_eq!(blocked.len(), 2, "{:?}", names(&at.live));
    let mut left = vec![names(&at.live).len()];
    for _ in 0..3 {
        let told = store.move_old(LATER_NS, &|| true).unwrap_err();
        assert!(matches!(told, StoreError::Far { .. }), "{told}");
        left.push(names(&at.live).len());
    }
    assert_eq!(left, [69, 39, 7, 2]);
    blocked.iter().for_each(|path| std::fs::remove_dir_all(path).unwrap());
    store.move_old(LATER_NS, &|| true).unwrap();
    assert_eq!((names(&at.live).len(), json(&store, "*").len()), (0, 700));
}

/// Scenario: an object that was read back and listed is gone before the local file is.
/// Guarantees: the local file stays, and is sent again.
#[test]
fn an_object_that_vanishes_before_its_file_goes_is_sent_again() {
    let at = folders();
    let mut options = to_folder(&at.far);
    let far = at.far.clone();
    let vanished = std::sync::atomic::AtomicBool::new(false);
    options.step_hook = Some(std::sync::Arc::new(move |step: &str| {
        // The manifest has just listed it in both tiers.
        let both = || ended(&far, ".parquet").pop();
        if step == "listed in both" && !vanished.swap(true, std::sync::atomic::Ordering::SeqCst) {
            std::fs::remove_file(both().unwrap()).unwrap();
        }
    }));
    let store = two_files(&at.live, options);
    let round = store.move_old(LATER_NS, &|| true).unwrap();
    assert_eq!((round.uploaded, round.evicted), (1, 0));
    assert_eq!((ended(&at.live, ".parquet").len(), json(&store, "*").len()), (2, 25));
    assert_eq!(move_all(&store), 2);
    assert_eq!((ended(&at.live, ".parquet").len(), ended(&at.far, ".parquet").len()), (0, 2));
    assert_eq!((store.verify().unwrap().problems, json(&store, "*").len()), (vec![], 25));
    drop(store);
    let (store, report) = Store::open(&at.live, to_folder(&at.far)).unwrap();
    assert_eq!((report.orphans_removed, json(&store, "*").len()), (0, 25));
}

#[test]
fn a_crash_at_any_step_of_a_move_loses_nothing() {
    let at = folders();
    let copies = at.live.with_file_name("copies");
    let both = at.live.with_file_name("both");
    let (steps, hook) = copying(&both, &copies);
    let (live, far) = (both.join("live"), both.join("far"));
    let mut options = to_folder(&far);
    let store = two_files(&live, options.clone());
    let expected = json(&store, "*");
    drop(store);
    options.step_hook = Some(hook);
    let (store, _) = Store::open(&live, options).unwrap();
    move_all(&store);
    store.delete("user.name:u1", i64::MAX, "x", "y").unwrap();
    for _ in 0..5 {
        store.maintain(LATER_NS).unwrap();
        store.move_old(LATER_NS, &|| true).unwrap();
    }
    let left = json(&store, "*");
    assert_eq!(left.len(), 20);
    let steps = steps.lock().unwrap();
    for wanted in
        ["upload listed", "uploaded", "tail written", "listed as far", "evicted", "objects deleted"]
    {
        assert!(steps.iter().any(|s| s == wanted), "{wanted} in {steps:?}");
    }
    let mut deleted = false;
    for (number, step) in steps.iter().enumerate() {
        let (live, far) = (
            copies.join(number.to_string()).join("live"),
            copies.join(number.to_string()).join("far"),
        );
        let (store, report) = Store::open(&live, to_folder(&far)).unwrap();
        assert_eq!(report.missing, [""; 0], "crash at step {number}, {step}");
        let found = json(&store, "*");
        deleted |= found == left;
        assert!(found == left || !deleted && found == expected, "crash at step {number}, {step}");
        assert_eq!(store.verify().unwrap().problems, [], "crash at step {number}, {step}");
        for _ in 0..6 {
            store.maintain(LATER_NS).unwrap();
            move_all(&store);
        }
        assert_eq!(json(&store, "*"), found, "crash at step {number}, {step}");
        assert_eq!(store.verify().unwrap().problems, []);
        let (files, stats) = (store.stats().files as usize, store.tier_stats(LATER_NS).unwrap());
        assert_eq!((stats.far_files as usize, stats.doomed_objects), (files, 0));
        assert_eq!(ended(&far, ".parquet").len(), files, "no object is left over: {step}");
        assert_eq!(ended(&live, ".parquet").len(), 0, "no local file either: {step}");
        assert_eq!((ended(&live, ".idx").len(), ended(&live, ".tail").len()), (files, files));
    }
}

#[test]
fn without_the_far_tier_the_answer_says_what_is_missing() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    move_all(&store);
    store.append(logins(25..30));
    let away = at.far.with_file_name("away");
    std::fs::rename(&at.far, &away).unwrap();
    let (found, summary) = rows(&store, &request("*"));
    let told = summary.partial.unwrap();
    assert!(told.contains("25 rows of 2026-11-24T02:00:00") && told.contains("far tier"), "{told}");
    assert_eq!((found.len(), summary.matched_exact), (5, false));
    // What the index here answers needs nobody.
    let (found, summary) = rows(&store, &request("nobody-has-this"));
    assert_eq!((found.len(), summary.partial), (0, None));
    drop(store);
    let (store, _) = Store::open_read_only(&at.live).unwrap();
    let (_, summary) = rows(&store, &request("*"));
    assert!(summary.partial.unwrap().contains("far tier"), "no far tier is configured");
    drop(store);
    std::fs::rename(&away, &at.far).unwrap();
    let (store, _) = Store::open(&at.live, to_folder(&at.far)).unwrap();
    assert_eq!(rows(&store, &request("*")).1.partial, None);
}

#[test]
fn a_far_tier_that_cannot_be_written_costs_no_local_file() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    std::fs::write(&at.far, "no folder").unwrap();
    let failed = store.move_old(LATER_NS, &|| true);
    assert!(matches!(failed, Err(StoreError::Far { .. })), "{failed:?}");
    assert_eq!((json(&store, "*").len(), ended(&at.live, ".parquet").len()), (25, 2));
    assert!(store.tier_stats(LATER_NS).unwrap().pending_files == 2);
    std::fs::remove_file(&at.far).unwrap();
    std::fs::create_dir(&at.far).unwrap();
    assert_eq!(move_all(&store), 2);
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn a_damaged_local_file_stays_and_holds_no_other_up() {
    for damage in [false, true] {
        let at = folders();
        let store = two_files(&at.live, to_folder(&at.far));
        let first = ended(&at.live, ".parquet").remove(0);
        match std::fs::read(&first).unwrap() {
            mut bytes if damage => {
                bytes[100] ^= 1;
                std::fs::write(&first, bytes).unwrap();
            }
            _ => std::fs::remove_file(&first).unwrap(),
        }
        let failed = store.move_old(LATER_NS, &|| true);
        assert!(matches!(failed, Err(StoreError::File { .. })), "{failed:?}");
        let plan = store.tier_plan(LATER_NS);
        assert_eq!((plan.files, plan.unmovable), (0, 1), "the other went in the same round");
        store.move_old(LATER_NS, &|| true).unwrap();
        assert_eq!(ended(&at.far, ".parquet").len(), 1, "nothing is left of the damaged one");
        assert_eq!(Path::new(&first).exists(), damage);
    }
}

#[test]
fn objects_that_change_or_vanish_are_found() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    move_all(&store);
    let objects = ended(&at.far, ".parquet");
    let whole = std::fs::read(&objects[0]).unwrap();
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    std::fs::write(&objects[0], &bytes).unwrap();
    let problems = store.verify().unwrap().problems;
    assert!(problems.len() == 1 && problems[0].what.contains("SHA-256"), "{problems:?}");
    assert_eq!(store.verify_with(false).unwrap().problems, [], "its size is right");
    let (found, summary) = rows(&store, &request("*"));
    assert!(summary.partial.is_some() && found.len() < 25, "checksums of blocks tell");
    std::fs::remove_file(&objects[0]).unwrap();
    for report in [store.verify().unwrap(), store.verify_with(false).unwrap()] {
        assert!(
            report.problems.len() == 1 && report.problems[0].what.contains("far tier"),
            "{report:?}"
        );
    }
    // Rows that cannot be looked at may be held, and are not deleted by guess.
    let (hold, _) = store.set_hold(Hold { filter: "u2".into(), ..Hold::default() }).unwrap();
    assert!(store.delete("u1", i64::MAX, "x", "y").is_err());
    store.release_hold(hold.id, "x", "y").unwrap();
    let hidden = store.delete("user.name:u1", i64::MAX, "x", "y").unwrap();
    assert_eq!(hidden.rows, 2);
    assert!(hidden.reason.starts_with("y (1 files could not be read"), "{hidden:?}");
    std::fs::write(&objects[0], &whole).unwrap();
    assert_eq!(store.verify().unwrap().problems, []);
    assert_eq!((json(&store, "*").len(), rows(&store, &request("*")).1.partial), (20, None));
}

#[test]
fn the_end_of_a_far_file_comes_back_when_it_is_lost_here() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    let expected = json(&store, "*");
    move_all(&store);
    drop(store);
    ended(&at.live, ".tail").iter().for_each(|tail| std::fs::remove_file(tail).unwrap());
    let (store, _) = Store::open(&at.live, to_folder(&at.far)).unwrap();
    assert_eq!(json(&store, "*"), expected);
    assert_eq!(ended(&at.live, ".tail").len(), 2);
    assert_eq!(store.verify().unwrap().problems, []);
    // So does an index, made of what is far.
    ended(&at.live, ".idx").iter().for_each(|index| std::fs::remove_file(index).unwrap());
    assert_eq!(store.reindex().unwrap(), Reindexed { made: 2, passed_over: 0 });
    assert_eq!(store.verify().unwrap().problems, []);
    assert_eq!(json(&store, "*"), expected);
}

/// Scenario: the ends of far files are damaged here, in their footer or in the checksums of blocks, cut
/// or lost; in a store that works, in one that is open for looking, and while the far tier is away.
/// Guarantees: every row is found; a store that works has the end back, one for looking writes nothing;
/// what is away is told as away, not as damaged.
#[test]
fn the_end_of_a_far_file_comes_back_when_it_is_damaged_here() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    let expected = json(&store, "*");
    move_all(&store);
    drop(store);
    let tail = ended(&at.live, ".tail").remove(0);
    let whole = std::fs::read(&tail).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        Some(bytes)
    };
    let long = [&whole[..], &[0; 1 << 20]].concat();
    let footers =
        [flipped(whole.len() - 20), Some(whole[..100].to_vec()), Some(long), Some(vec![]), None];
    for (n, damage) in [flipped(0)].into_iter().chain(footers).enumerate() {
        let broken = || match &damage {
            Some(bytes) => std::fs::write(&tail, bytes).unwrap(),
            None => std::fs::remove_file(&tail).unwrap(),
        };
        broken();
        let tier = to_folder(&at.far).tier;
        let (store, _) = Store::open_read_only_with(&at.live, tier).unwrap();
        assert_eq!(json(&store, "*"), expected, "{n}");
        assert_eq!(std::fs::read(&tail).ok(), damage, "{n}: looking writes nothing");
        drop(store);
        let (store, _) = Store::open(&at.live, to_folder(&at.far)).unwrap();
        let problems = store.verify().unwrap().problems.len();
        assert_eq!(problems, usize::from(n > 0 && damage.is_some()), "{n}");
        assert_eq!(json(&store, "*"), expected, "{n}");
        assert_eq!(store.verify().unwrap().problems, [], "{n}");
        drop(store);
        let away = at.far.with_file_name("away");
        if n > 0 {
            broken();
            std::fs::rename(&at.far, &away).unwrap();
            let (store, _) = Store::open(&at.live, to_folder(&at.far)).unwrap();
            let told = rows(&store, &request("*")).1.partial.unwrap();
            assert!(told.contains("far tier") && !told.contains("damaged"), "{n}: {told}");
            std::fs::rename(&away, &at.far).unwrap();
        }
        std::fs::write(&tail, &whole).unwrap();
    }
}

#[test]
fn retention_deletes_the_object_after_the_manifest_and_holds_keep_it() {
    let at = folders();
    let mut options = to_folder(&at.far);
    options.retention_age_ns = Some(20 * HOUR_NS);
    let store = two_files(&at.live, options);
    move_all(&store);
    let hold = Hold { filter: "\"login 3\"".into(), reason: "case".into(), ..Hold::default() };
    let (hold, _) = store.set_hold(hold).unwrap();
    assert!(matches!(
        store.delete("user.name:u3", i64::MAX, "x", "y"),
        Err(StoreError::Held { .. })
    ));
    let done = store.maintain(LATER_NS).unwrap();
    assert_eq!((done.retired_files, done.retired_rows), (1, 10), "the other is held");
    assert_eq!(ended(&at.far, ".parquet").len(), 2, "the manifest goes first");
    assert_eq!(store.move_old(LATER_NS, &|| true).unwrap().deleted, 1);
    assert_eq!(ended(&at.far, ".parquet").len(), 1);
    store.release_hold(hold.id, "x", "y").unwrap();
    // A search that is running keeps the object.
    let mut seen = 0;
    store
        .search(&request("*"), &mut |_| {
            if seen == 0 {
                assert_eq!(store.maintain(LATER_NS).unwrap().retired_files, 1);
                assert_eq!(store.move_old(LATER_NS, &|| true).unwrap().deleted, 0);
            }
            seen += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 15);
    assert_eq!(store.move_old(LATER_NS, &|| true).unwrap().deleted, 1);
    assert_eq!((ended(&at.far, ".parquet").len(), ended(&at.live, ".tail").len()), (0, 0));
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn deletions_rewrite_far_files_and_joins_leave_them() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    move_all(&store);
    assert_eq!(store.join_all().unwrap(), 0);
    let expected = json(&store, "not user.name:u2");
    store.delete("user.name:u2", i64::MAX, "me", "case").unwrap();
    assert_eq!(json(&store, "*"), expected);
    for _ in 0..4 {
        store.maintain(LATER_NS).unwrap();
    }
    assert_eq!((store.tombstones().len(), store.stats().file_rows), (0, 20));
    move_all(&store);
    store.move_old(LATER_NS, &|| true).unwrap();
    let files = store.stats().files as usize;
    assert_eq!((ended(&at.far, ".parquet").len(), ended(&at.live, ".parquet").len()), (files, 0));
    assert_eq!(json(&store, "*"), expected);
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn a_prefix_belongs_to_one_store() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    move_all(&store);
    let other = two_files(&at.live.with_file_name("other"), to_folder(&at.far));
    let error = other.move_old(LATER_NS, &|| true).unwrap_err().to_string();
    assert!(error.contains("another store"), "{error}");
    assert_eq!(ended(&at.far, ".parquet").len(), 2);
    // An empty folder in its place: the disk is not mounted.
    store.append(logins(25..30));
    store.flush().unwrap();
    let mark = at.far.join("alcedo-store.json");
    std::fs::rename(&mark, at.far.with_file_name("mark")).unwrap();
    let error = store.move_old(LATER_NS, &|| true).unwrap_err().to_string();
    assert!(error.contains("mounted"), "{error}");
    std::fs::rename(at.far.with_file_name("mark"), mark).unwrap();
    assert_eq!(move_all(&store), 1);
}

#[test]
fn backups_hold_far_files_and_restore_without_the_far_tier() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    let folder = at.live.with_file_name("backup");
    let target = store::backup::Place::from(folder.clone());
    let mut nothing = || Ok(Vec::new());
    let first = store.backup(&target, 1, &mut nothing).unwrap();
    move_all(&store);
    assert_eq!(store.backup(&target, 2, &mut nothing).unwrap().copied_bytes, 0, "there already");
    std::fs::remove_dir_all(folder.join("objects")).unwrap();
    let third = store.backup(&target, 3, &mut nothing).unwrap();
    assert_eq!((third.copied_bytes, third.rows), (first.bytes, 25));
    let expected = json(&store, "*");
    let new = at.live.with_file_name("new");
    store::backup::restore(&target, None, &new, &new).unwrap();
    let (restored, report) = Store::open(&new, Options::default()).unwrap();
    assert_eq!((json(&restored, "*"), report.missing.len()), (expected, 0));
    assert_eq!(restored.verify().unwrap().problems, []);
}

#[test]
fn too_many_local_bytes_move_the_oldest_first() {
    let at = folders();
    let mut options = to_folder(&at.far);
    let store = two_files(&at.live, options.clone());
    let stats = store.stats();
    drop(store);
    let tier = options.tier.as_mut().unwrap();
    tier.hot_age_ns = 1_000 * HOUR_NS;
    tier.hot_bytes = Some(stats.file_bytes + stats.index_bytes - 1);
    let (store, _) = Store::open(&at.live, options).unwrap();
    assert_eq!(store.tier_plan(START_NS).files, 0, "their hour is not over");
    assert_eq!((store.tier_plan(LATER_NS).files, store.tier_plan(LATER_NS).rows), (1, 15));
    assert_eq!(move_all(&store), 1);
    assert!(store.stats().far_bytes > 0);
}

#[test]
fn settings_that_cannot_be_are_told() {
    for (to, said) in [
        ("file://relative", "from the root"),
        ("nothing", "write file:"),
        ("ftp://x/y", "not known"),
        ("s3://", "no bucket"),
    ] {
        let error = TierOptions::new(to).check().unwrap_err().to_string();
        assert!(error.contains(said), "{to}: {error}");
    }
    let some = || Some("x".to_owned());
    let file = || TierOptions::new("file:///x");
    for unused in [
        TierOptions { endpoint: some(), ..TierOptions::new("gs://x/y") },
        TierOptions { region: some(), ..TierOptions::new("az://x/y") },
        TierOptions { endpoint: some(), ..file() },
        TierOptions { region: some(), ..file() },
        TierOptions { allow_http: true, ..file() },
        TierOptions { virtual_hosted: true, ..file() },
        TierOptions { credentials: Some("x".into()), ..file() },
    ] {
        let error = unused.check().unwrap_err().to_string();
        assert!(error.contains("has no use for it"), "{error}");
    }
}

/// Scenario: the far tier is the store's folder, one in or above it, also by a link or by `..`.
/// Guarantees: refused, with the reason, and nothing is deleted; a folder beside it is taken.
#[test]
fn a_folder_of_the_store_is_no_far_tier() {
    let at = folders();
    drop(two_files(&at.live, Options::default()));
    let link = at.live.with_file_name("link");
    std::os::unix::fs::symlink(&at.live, &link).unwrap();
    let above = at.live.parent().unwrap().to_path_buf();
    let hidden = at.live.join("events/none/../../far");
    for far in [at.live.clone(), at.live.join("far"), link.join("far"), above, hidden] {
        let Err(refused) = Store::open(&at.live, to_folder(&far)) else { panic!("{far:?}") };
        assert!(refused.to_string().contains("name another folder"), "{refused}");
        assert_eq!(ended(&at.live, ".parquet").len(), 2);
    }
    let beside = at.live.with_file_name("live-far");
    let (store, _) = Store::open(&at.live, to_folder(&beside)).unwrap();
    assert_eq!(move_all(&store), 2);
}

#[test]
fn uploads_stop_when_told_and_go_on_later() {
    let at = folders();
    let store = two_files(&at.live, to_folder(&at.far));
    let stopped = store.move_old(LATER_NS, &|| false);
    assert!(stopped.is_err());
    assert_eq!(ended(&at.live, ".parquet").len(), 2);
    assert_eq!(move_all(&store), 2);
}
