//! A flipped bit: found by whoever reads it and by verification, and no neighbour suffers.

use crate::reparse::reparse;
use crate::samples::*;
use crate::upkeep::walk;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::{Hold, Options, Reindexed, RetentionRule, Store};

/// One row group of a few blocks, and a neighbour: offsets 0..600 and 600..610.
const ROWS: u64 = 600;
const NEIGHBOURS: u64 = 10;

fn stored(dir: &Path) -> BTreeMap<u64, String> {
    let (store, _) = Store::open(dir, Options::default()).unwrap();
    for range in [0..ROWS, ROWS..ROWS + NEIGHBOURS] {
        store.append(logins(range));
        store.flush().unwrap();
    }
    assert_eq!(store.verify().unwrap().problems, []);
    let rows = rows(&store, &request("*")).0;
    rows.into_iter().map(|row| (row.id.unwrap().offset, row.json)).collect()
}

fn file(dir: &Path, from: u64, end: &str) -> String {
    let is = |path: &String| path.contains(&format!("/0-{from}-")) && path.ends_with(end);
    walk(dir).into_iter().find(is).unwrap()
}

/// Flips one bit of every `step`-th byte of a file in turn and hands on the place.
fn flipped(path: &str, step: usize, check: &mut dyn FnMut(usize)) {
    let whole = std::fs::read(path).unwrap();
    for at in (0..whole.len()).step_by(step) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(path, &bytes).unwrap();
        check(at);
    }
    std::fs::write(path, whole).unwrap();
}

fn step(default: usize) -> usize {
    std::env::var("ALCEDO_DAMAGE_STEP").map_or(default, |text| text.parse().unwrap())
}

/// Scenario: a bit anywhere in a data file is flipped, then everything is asked for.
/// Guarantees: each row that is given is as it was; if rows are missing the answer says how many, and
/// why; the neighbouring file is whole; verification names the file, and that file alone.
#[test]
fn a_flipped_bit_of_a_data_file_is_found_on_read_and_by_verification() {
    let dir = tempfile::tempdir().unwrap();
    let truth = stored(dir.path());
    let path = file(dir.path(), 0, ".parquet");
    let mut noticed = 0;
    let mut tried = 0;
    flipped(&path, step(101), &mut |at| {
        let (store, _) = Store::open_read_only(dir.path()).unwrap();
        let (found, summary) = rows(&store, &request("*"));
        for row in &found {
            assert_eq!(row.json, truth[&row.id.unwrap().offset], "byte {at}");
        }
        let here = |row: &&store::Row| row.id.unwrap().offset >= ROWS;
        assert_eq!(found.iter().filter(here).count() as u64, NEIGHBOURS, "byte {at}");
        let missing = truth.len() - found.len();
        match missing {
            // What is not needed for these rows is not read: columns without a value in them.
            0 => assert_eq!(summary.partial, None, "byte {at}"),
            _ => {
                let text = format!("{missing} rows of damaged files cannot be read");
                assert_eq!(summary.partial, Some(text), "byte {at}");
                assert!(!summary.matched_exact, "byte {at}");
                noticed += 1;
            }
        }
        tried += 1;
        let problems = store.verify().unwrap().problems;
        assert_eq!(problems.len(), 1, "byte {at}: {problems:?}");
        assert!(path.ends_with(&problems[0].path), "byte {at}: {problems:?}");
    });
    assert!(noticed * 10 > tried * 8, "only {noticed} of {tried} flips were noticed by a search");
}

/// Scenario: the same with the index beside the file.
/// Guarantees: no answer changes; verification names the file.
#[test]
fn a_flipped_bit_of_an_index_costs_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    stored(dir.path());
    let asked = ["u3 10.0.0.2", "user.name:u4", "message:nothing", "ogin 59"];
    let answers = |store: &Store| asked.map(|text| ids(store, &request(text)));
    let (store, _) = Store::open_read_only(dir.path()).unwrap();
    let truth = answers(&store);
    assert!(truth[0].len() > 10 && truth[3].len() > 10, "{truth:?}");
    let path = file(dir.path(), 0, ".idx");
    flipped(&path, step(1_009), &mut |at| {
        let (store, _) = Store::open_read_only(dir.path()).unwrap();
        assert_eq!(answers(&store), truth, "byte {at}");
        let problems = store.verify().unwrap().problems;
        assert_eq!(problems.len(), 1, "byte {at}: {problems:?}");
        assert!(problems[0].what.contains("index"), "byte {at}: {problems:?}");
    });
}

/// Scenario: one of several row groups is damaged.
/// Guarantees: the other groups of the same file are read, by searches, counts, values, SQL, export.
#[test]
fn other_row_groups_of_a_damaged_file_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("store");
    let (store, _) = Store::open(&live, Options::default()).unwrap();
    for start in (0..36_000).step_by(4_000) {
        store.append(logins(start..start + 4_000));
    }
    store.flush().unwrap();
    drop(store);
    let path = file(&live, 0, ".parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    // The first group is nine tenths of the file. Every block of its first columns is hit, those of
    // the envelope among them.
    let half = bytes.len() / 2;
    bytes[..half].iter_mut().step_by(4_096).for_each(|byte| *byte ^= 0x20);
    std::fs::write(&path, &bytes).unwrap();
    let (store, _) = Store::open(&live, Options::default()).unwrap();
    let left = 36_000 - 32_768;
    let partial = Some("32768 rows of damaged files cannot be read".to_owned());
    let (found, summary) = rows(&store, &request("*"));
    assert_eq!((found.len(), &summary.partial), (left, &partial));
    let (found, summary) = rows(&store, &request("* | stats count() by alcedo.source"));
    let count = |row: &store::Row| {
        let row: serde_json::Value = serde_json::from_str(&row.json).unwrap();
        row["count"].as_u64().unwrap() as usize
    };
    assert_eq!((found.iter().map(count).sum::<usize>(), &summary.partial), (left, &partial));
    let values = store.field_values(&request("*"), "alcedo.source", 10).unwrap();
    assert_eq!((values.present as usize, &values.summary.partial), (left, &partial));
    let histogram = store.histogram(&request("*"), 10).unwrap();
    let counted: u64 = histogram.counts.iter().sum();
    assert_eq!((counted as usize, &histogram.summary.partial), (left, &partial));
    let mut seen = Vec::new();
    let text = r#"select count("alcedo.source") as count from events"#;
    let summary = store.sql(text, &request(""), &mut |row| {
        seen.push(count(&row));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((seen, summary.unwrap().partial), (vec![left], partial.clone()));
    let to = dir.path().join("export");
    let format = store::ExportFormat::Ndjson;
    let manifest = store.export(&request("*"), "*", format, &to, &mut |_| {}).unwrap();
    assert_eq!((manifest.rows as usize, manifest.partial), (left, partial));
    let what = &store.verify().unwrap().problems[0].what;
    assert!(what.contains("3232 of its 36000 rows can be read whole"), "{what}");
}

/// Scenario: only the inner search of a `join`, or that of a join within it, needs the rows of a damaged
/// file.
/// Guarantees: the answer says how many rows are missing, and gives what the whole files have; the outer
/// search alone is whole, and so is the join when the file is.
#[test]
fn damage_that_only_a_joined_search_meets_is_told() {
    let dir = tempfile::tempdir().unwrap();
    stored(dir.path());
    let path = file(dir.path(), 0, ".parquet");
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    // Of a file so small most is its end, which has to stay readable.
    bytes[..whole.len() / 8].iter_mut().step_by(16).for_each(|byte| *byte ^= 0x20);
    std::fs::write(&path, &bytes).unwrap();
    let outer = r#""login 605 of" | stats count() as n by user.name"#;
    let inner = "[source.bytes<6000 | stats count() as m by user.name]";
    let nested =
        format!(r#"["login 605 of" | stats count() as o by user.name | join user.name {inner}]"#);
    let asked = |text: &str| {
        let (store, _) = Store::open_read_only(dir.path()).unwrap();
        let (rows, summary) = rows(&store, &request(text));
        let row: serde_json::Value = serde_json::from_str(&rows[0].json).unwrap();
        (rows.len(), row["n"].clone(), row["m"].clone(), summary.partial)
    };
    let missing = Some(format!("{ROWS} rows of damaged files cannot be read"));
    let (one, none) = (serde_json::json!(1), serde_json::Value::Null);
    assert_eq!(asked(outer), (1, one.clone(), none.clone(), None));
    for inner in [inner, &nested] {
        let text = format!("{outer} | join user.name {inner}");
        assert_eq!(asked(&text), (1, one.clone(), none.clone(), missing.clone()), "{text}");
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(asked(&text), (1, one.clone(), (ROWS / 5).into(), None), "{text}");
        std::fs::write(&path, &bytes).unwrap();
    }
}

/// Scenario: one of several small files that are due to be joined is damaged; another is past its age.
/// Guarantees: the others are joined, nothing of the damaged one is lost or rewritten, retention goes
/// on.
#[test]
fn upkeep_goes_on_beside_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retention_age_ns: Some(6 * HOUR_NS), ..Options::default() };
    let (store, _) = Store::open(dir.path(), options.clone()).unwrap();
    for n in 0..6 {
        store.append(logins(n * 5..n * 5 + 5));
        store.flush().unwrap();
    }
    drop(store);
    let path = file(dir.path(), 10, ".parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let (store, _) = Store::open(dir.path(), options).unwrap();
    for _ in 0..4 {
        store.maintain(START_NS + 3 * HOUR_NS).unwrap();
    }
    assert_eq!(store.stats().files, 3, "two joined, the damaged one, three joined");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let (found, summary) = rows(&store, &request("*"));
    assert_eq!(found.len(), 25);
    assert_eq!(summary.partial.as_deref(), Some("5 rows of damaged files cannot be read"));
    assert_eq!(store.maintain(START_NS + 9 * HOUR_NS).unwrap().retired_rows, 30);
    assert_eq!(rows(&store, &request("*")).1.partial, None);
}

/// Scenario: one of three files is damaged; rows of all are deleted, then others, and a rule with a
/// filter wants some; much later the files are too old.
/// Guarantees: both deletions and the rule are carried out in the other files; the damaged one is looked
/// at once, stays as it is with its rows hidden, and the deletions end with it.
#[test]
fn a_damaged_file_holds_up_no_deletion() {
    let dir = tempfile::tempdir().unwrap();
    drop(three_files(dir.path(), Options::default()));
    let path = file(dir.path(), 10, ".parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let hook = move |step: &str| {
        counted.fetch_add(usize::from(step == "looking for deleted rows"), Ordering::SeqCst);
    };
    let rule = RetentionRule {
        name: "noisy".into(),
        age_ns: Some(HOUR_NS / 2),
        filter: Some("user.name:u3".into()),
        bytes: None,
    };
    let options = Options {
        step_hook: Some(Arc::new(hook)),
        retention_age_ns: Some(6 * HOUR_NS),
        retention_rules: vec![rule],
        ..Options::default()
    };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    store.delete("user.name:u1", i64::MAX, "x", "y").unwrap();
    store.delete("user.name:u2", i64::MAX, "x", "y").unwrap();
    let upkeep = |now_ns: i64| {
        let tidied = |_| {
            let (done, failed) = store.tidy(now_ns);
            failed.unwrap();
            done.retired_files
        };
        let done = (0..10).map(tidied);
        done.sum::<u64>()
    };
    upkeep(START_NS);
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (22, 2));
    upkeep(START_NS + HOUR_NS);
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (18, 3));
    let looked = looks.load(Ordering::SeqCst);
    upkeep(START_NS + 2 * HOUR_NS);
    assert_eq!(looks.load(Ordering::SeqCst), looked, "nothing is left to look for");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(ids(&store, &request("user.name:(u1 or u2 or u3)")), [0; 0]);
    assert_eq!(upkeep(START_NS + 9 * HOUR_NS), 3);
    assert_eq!((store.stats().files, store.tombstones().len()), (0, 0));
}

fn three_files(dir: &Path, options: Options) -> Store {
    let (store, _) = Store::open(dir, options).unwrap();
    for n in 0..3 {
        store.append(logins(n * 10..n * 10 + 10));
        store.flush().unwrap();
    }
    store
}

/// Scenario: of three files one is damaged, or missing; all is shaped anew, indexed anew, deleted.
/// Guarantees: the others are done, and it is told that one was passed over; while there is a hold, a
/// deletion does not pass over what may be held.
#[test]
fn work_on_all_files_passes_over_one_that_cannot_be_read() {
    for missing in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = three_files(dir.path(), Options::default());
        let path = file(dir.path(), 10, ".parquet");
        match std::fs::read(&path).unwrap() {
            mut bytes if !missing => {
                bytes[200] ^= 4;
                std::fs::write(&path, &bytes).unwrap();
            }
            _ => std::fs::remove_file(&path).unwrap(),
        }
        let done = reparse(&store, "*", false);
        assert_eq!((done.files_done, done.passed_over, done.matched), (3, 1, 20));
        let indexes = walk(dir.path()).into_iter().filter(|path| path.ends_with(".idx"));
        indexes.for_each(|index| std::fs::remove_file(index).unwrap());
        assert_eq!(store.reindex().unwrap(), Reindexed { made: 2, passed_over: 1 });
        let (hold, _) = store.set_hold(Hold { filter: "x".into(), ..Hold::default() }).unwrap();
        assert!(store.delete("*", i64::MAX, "x", "y").is_err());
        store.release_hold(hold.id, "x", "y").unwrap();
        assert_eq!(store.delete("*", i64::MAX, "x", "y").unwrap().rows, 20);
        for _ in 0..4 {
            store.maintain(START_NS).unwrap();
        }
        assert_eq!((store.stats().files, store.tombstones().len()), (1, 1));
    }
}
