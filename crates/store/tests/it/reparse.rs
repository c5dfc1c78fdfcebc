//! Stored rows shaped anew: found once at every moment, what a hold matches left alone, crashes at
//! every step.

use crate::crash::copying;
use crate::samples::*;
use crate::tier::{LATER_NS, move_all, options};
use crate::upkeep::walk;
use event::{Envelope, EventBatch, EventId, Kind, Marks, Protocol, RowHead};
use std::path::Path;
use std::sync::Arc;
use store::reparse::Reshape;
use store::{Options, Reparse, ReparseCounts, Store, StoredRow, TierOptions};

/// Rows `0..n` of which every third could not be parsed.
fn unparsed(offsets: std::ops::Range<u64>) -> Arc<EventBatch> {
    let mut batch = EventBatch::new(dictionary());
    for n in offsets {
        let raw = format!("login {n} of u{}", n % 5);
        let at_ns = START_NS + n as i64 * 1_000_000_000;
        push(&mut batch, n, at_ns, raw.as_bytes(), &[("host.name", Kind::Str, b"h")]);
        if n % 3 == 0 {
            batch.mark(n as usize - batch.row(0).id().offset as usize, Marks::PARSE_FAILED);
        }
    }
    Arc::new(batch)
}

/// Finds the user in the bytes, moves the event an hour back; fails for u4.
fn users(rows: &[StoredRow<'_>]) -> (EventBatch, Vec<bool>) {
    let mut batch = EventBatch::new(dictionary());
    for stored in rows {
        let raw = String::from_utf8_lossy(stored.raw()).into_owned();
        let user = raw.rsplit(' ').next().unwrap_or_default();
        let mut row = batch.begin(stored.head(), stored.raw());
        row.set_event_ns(stored.head().received_ns - HOUR_NS);
        let (name, new) = (row.field("user.name"), row.field("acme.new_name"));
        row.push(name, Kind::Str, user.as_bytes());
        row.push(new, Kind::Str, b"yes");
        if user == "u4" {
            row.mark(Marks::PARSE_FAILED);
        }
        row.finish();
    }
    (batch, vec![false; rows.len()])
}

pub(crate) fn reparse(store: &Store, filter: &str, dry_run: bool) -> ReparseCounts {
    let wanted = Reparse {
        filter: filter.into(),
        actor: "me".into(),
        reason: "test".into(),
        dry_run,
        ..Reparse::default()
    };
    let reshape: &mut Reshape<'_> = &mut users;
    store.reparse(&wanted, reshape, &mut |_, _| true, START_NS + HOUR_NS).unwrap()
}

fn filled(dir: &Path, options: Options) -> Store {
    let (store, _) = Store::open(dir, options).unwrap();
    for n in 0..4 {
        store.append(unparsed(n * 10..n * 10 + 10));
        if n < 3 {
            store.flush().unwrap();
        }
    }
    store
}

#[test]
fn fields_and_times_are_new_and_all_else_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Options::default());
    let (before, _) = rows(&store, &request("*"));
    let plan = reparse(&store, "host.name:h", true);
    assert_eq!((plan.files, plan.files_done, plan.matched), (4, 4, 40));
    // 8 rows are of u4: what could not be parsed before is shaped anew, what could stays.
    let worse = (0..40).filter(|n| n % 5 == 4 && n % 3 != 0).count() as u64;
    assert_eq!((plan.changed, plan.worse, plan.held), (40 - worse, worse, 0));
    let mended = (0..40).filter(|n| n % 5 != 4 && n % 3 == 0).count() as u64;
    assert_eq!(plan.mended, mended);
    assert_eq!(rows(&store, &request("*")).0.len(), before.len());
    assert_eq!(ids(&store, &request("acme.new_name:yes")), [] as [u64; 0], "a dry run");
    let done = reparse(&store, "host.name:h", false);
    assert_eq!(ReparseCounts { files: plan.files, ..done }, plan);
    let mut found = ids(&store, &request("*"));
    found.sort_unstable();
    assert_eq!(found, (0..40).collect::<Vec<_>>());
    assert_eq!(ids(&store, &request("user.name:u1")).len(), 8);
    assert_eq!(ids(&store, &request("acme.new_name:yes")).len() as u64, done.changed);
    assert_eq!(store.verify().unwrap().problems, []);
    assert_eq!(reparse(&store, "acme.new_name:yes", false).changed, 0, "asked again");
    drop(store);
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(ids(&store, &request("acme.new_name:yes")).len() as u64, done.changed);
    store.maintain(START_NS + 3 * HOUR_NS).unwrap();
    assert_eq!(ids(&store, &request("acme.new_name:yes")).len() as u64, done.changed);
}

/// Scenario: rows out of which redaction took something are shaped anew by what finds nothing to take any more.
/// Guarantees: they still say what was taken and by which rule; other rows do not begin to.
#[test]
fn marks_of_redaction_outlive_shaping() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let mut batch = EventBatch::new(dictionary());
    for n in 0..10 {
        let envelope = Arc::new(Envelope::of("web", Protocol::Http));
        let received_ns = START_NS + n as i64;
        let head = RowHead { id: EventId::at(n), received_ns, stream_ns: received_ns, envelope };
        let mut row = batch.begin(head, b"login REDACTED of u1");
        if n % 2 == 0 {
            for (name, value) in [("alcedo.redacted", "payload"), ("alcedo.redacted_by", "badges")]
            {
                let field = row.own_field(name);
                row.push(field, Kind::Str, value.as_bytes());
            }
            row.mark(Marks::REDACTED);
        }
        row.finish();
    }
    store.append(Arc::new(batch));
    store.flush().unwrap();
    for _ in 0..2 {
        reparse(&store, "*", false);
        let mut found =
            ids(&store, &request("alcedo.redacted_by:badges and alcedo.redacted:payload"));
        found.sort_unstable();
        assert_eq!(found, [0, 2, 4, 6, 8]);
        assert_eq!(ids(&store, &request("acme.new_name:yes")).len(), 10);
    }
}

/// Scenario: rows are deleted by a field, and all is shaped anew, which drops the field, before their
/// files are rewritten.
/// Guarantees: they are not shaped anew, do not come back, and are erased.
#[test]
fn deleted_rows_do_not_come_back_by_another_shape() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Options::default());
    store.delete("host.name:h and alcedo.source:web", i64::MAX, "x", "y").unwrap();
    let mut left = ids(&store, &request("*"));
    left.sort_unstable();
    assert_eq!(left, (0..40).filter(|n| n % 2 == 1).collect::<Vec<_>>());
    assert_eq!(reparse(&store, "*", false).matched, 20);
    let mut found = ids(&store, &request("*"));
    found.sort_unstable();
    assert_eq!(found, left);
    for _ in 0..6 {
        store.maintain(START_NS).unwrap();
    }
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (20, 0));
    assert_eq!(ids(&store, &request("*")).len(), 20);
}

#[test]
fn only_what_is_asked_for_and_not_held() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), Options::default());
    let held = store::Hold { filter: "alcedo.source:web".into(), ..store::Hold::default() };
    store.set_hold(held).unwrap();
    let done = reparse(&store, "\"login 7 of\"", false);
    assert_eq!((done.matched, done.held), (1, 0), "an odd offset is of ssh");
    let all = reparse(&store, "*", false);
    assert_eq!((all.matched, all.held), (40, 20));
    let changed = ids(&store, &request("acme.new_name:yes"));
    assert!(changed.iter().all(|offset| offset % 2 == 1), "{changed:?}");
}

/// Scenario: while rows are shaped anew, others come and upkeep is due.
/// Guarantees: they are written to files at once; nothing waits for the run, which ends as it should.
#[test]
fn rows_are_flushed_during_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { hot_bytes_max: 1, ..Options::default() };
    let store = std::sync::Arc::new(filled(dir.path(), options));
    let mut flushed = Vec::new();
    let wanted = Reparse { filter: "host.name:h".into(), ..Reparse::default() };
    let done = store.reparse(
        &wanted,
        &mut |rows| {
            let next = 40 + 10 * flushed.len() as u64;
            store.append(unparsed(next..next + 10));
            let (store, (tell, told)) = (store.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || tell.send(store.maintain(START_NS).unwrap()));
            let upkeep = told.recv_timeout(std::time::Duration::from_secs(10));
            flushed.push(upkeep.expect("upkeep does not wait").flushed_through);
            users(rows)
        },
        &mut |_, _| true,
        START_NS,
    );
    assert_eq!(done.unwrap().matched, 40);
    assert!(flushed.len() >= 8 && flushed.iter().all(Option::is_some), "{flushed:?}");
}

/// Scenario: the process ends at any step of a run; the run is asked for again.
/// Guarantees: every event is there once at every step, before and after, and the second run ends
/// where the first would have.
#[test]
fn every_step_may_be_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copies) = (dir.path().join("live"), dir.path().join("copies"));
    let (steps, hook) = copying(&live, &copies);
    let store = filled(&live, Options { step_hook: Some(hook), ..Options::default() });
    store.flush().unwrap();
    let before = steps.lock().unwrap().len();
    reparse(&store, "*", false);
    let whole = ids(&store, &request("acme.new_name:yes"));
    let steps = steps.lock().unwrap();
    assert!(steps[before..].iter().any(|s| s == "reshaped file renamed"), "{steps:?}");
    for at in before..steps.len() {
        let (store, _) = Store::open(&copies.join(at.to_string()), Options::default()).unwrap();
        let mut found = ids(&store, &request("*"));
        found.sort_unstable();
        assert_eq!(found, (0..40).collect::<Vec<_>>(), "crash at {}", steps[at]);
        assert_eq!(store.verify().unwrap().problems, []);
        reparse(&store, "*", false);
        assert_eq!(ids(&store, &request("acme.new_name:yes")), whole, "crash at {}", steps[at]);
    }
}

/// Scenario: searches run all along.
/// Guarantees: each sees every event once.
#[test]
fn searches_see_each_event_once_all_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(filled(dir.path(), Options::default()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (looking, stopping) = (store.clone(), stop.clone());
    let looker = std::thread::spawn(move || {
        let mut looks = 0;
        while !stopping.load(std::sync::atomic::Ordering::SeqCst) {
            let mut found = ids(&looking, &request("*"));
            found.sort_unstable();
            assert_eq!(found, (0..40).collect::<Vec<_>>());
            looks += 1;
        }
        looks
    });
    for filter in ["u1", "u2", "u3", "*"] {
        reparse(&store, filter, false);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(looker.join().unwrap() > 0);
}

/// Scenario: all files are far, and shaped anew; then they move again.
/// Guarantees: the same as for local files; the old objects go and no copy for reading stays.
#[test]
fn far_files_are_shaped_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (live, far) = (dir.path().join("live"), dir.path().join("far"));
    let tier = TierOptions::new(format!("file://{}", far.display()));
    let store = filled(&live, options(tier));
    store.flush().unwrap();
    assert_eq!(move_all(&store), 4);
    let counts = reparse(&store, "host.name:h", false);
    assert!(counts.matched == 40 && counts.changed >= 32, "{counts:?}");
    assert_eq!(store.stats().far_bytes, 0, "what is rewritten is local");
    assert_eq!(json(&store, "user.name:u1").len(), 8);
    move_all(&store);
    store.move_old(LATER_NS, &|| true).unwrap();
    let stats = store.tier_stats(LATER_NS).unwrap();
    assert_eq!((stats.far_files, stats.doomed_objects), (4, 0));
    assert_eq!(json(&store, "user.name:u1").len(), 8);
    let ended = |dir, end: &str| walk(dir).iter().filter(|path| path.ends_with(end)).count();
    assert_eq!(
        (ended(&far, ".parquet"), ended(&live, ".parquet"), ended(&live, ".tmp")),
        (4, 0, 0)
    );
    assert_eq!(store.verify().unwrap().problems, []);
}
