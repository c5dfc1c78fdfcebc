//! Retention, deletions and holds.

use crate::crash::copying;
use crate::samples::*;
use crate::upkeep::walk;
use event::EventId;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::{AuditRecord, Hold, Options, RetentionRule, Store, StoreError};

const LATER: i64 = START_NS + 2 * HOUR_NS;

fn options() -> Options {
    Options { retention_age_ns: None, ..Options::default() }
}

/// Two files of ten rows that no join touches, one hot batch.
fn store(dir: &std::path::Path, options: Options) -> Store {
    let (store, _) = Store::open(dir, options).unwrap();
    store.append(logins(0..10));
    store.flush().unwrap();
    store.append(logins(10..20));
    store.flush().unwrap();
    store.append(logins(20..25));
    store
}

/// When an event was received.
fn received(offset: u64) -> i64 {
    START_NS + offset as i64
}

fn hold(store: &Store, filter: &str) -> Hold {
    let hold = Hold {
        filter: filter.into(),
        actor: "counsel".into(),
        reason: "case 7".into(),
        ..Hold::default()
    };
    store.set_hold(hold).unwrap().0
}

#[test]
fn a_deletion_hides_at_once_and_rewrites_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), options());
    let audit = store.delete("user.name:u1", i64::MAX, "dpo", "erasure 12").unwrap();
    // Five of them, one in memory only: a deletion writes what is in memory first.
    assert_eq!((&*audit.action, audit.rows), ("delete.hide", 5));
    let left: Vec<u64> = (0..25).rev().filter(|n| n % 5 != 1).collect();
    assert_eq!(ids(&store, &request("*")), left);
    assert_eq!(store.event(EventId::at(1)).unwrap(), None);
    assert_eq!(store.event(EventId::at(21)).unwrap(), None);
    drop(store);
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    assert_eq!(ids(&store, &request("*")).len(), 20, "hidden after a restart too");
    let mut rewrites = 0;
    for _ in 0..4 {
        let done = store.maintain(START_NS).unwrap();
        rewrites += done.audit.iter().filter(|a| a.action == "delete.rewrite").count();
    }
    assert_eq!((rewrites, store.tombstones().len()), (3, 0));
    assert_eq!(store.stats().file_rows, 20);
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn a_hold_blocks_every_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let age = Options { retention_age_ns: Some(HOUR_NS), ..Options::default() };
    let store = store(dir.path(), age);
    let held = hold(&store, "user.name:u3 and source.ip:10.0.0.3");
    let refused = store.delete("user.name:u3", i64::MAX, "x", "y").unwrap_err();
    assert!(matches!(refused, StoreError::Held { hold, .. } if hold == held.id));
    // Row 3 is held: its file stays whole.
    let rules = Options { retention_age_ns: Some(HOUR_NS), ..Options::default() }.rules();
    let plan = store.retention_plan(&rules, LATER).unwrap();
    assert_eq!((plan[0].files, plan[0].rows, plan[0].held_files), (2, 15, 1));
    let done = store.maintain(LATER).unwrap();
    // The three files are of one hour that is over, so they were joined first, and row 3 holds all.
    assert_eq!((done.compacted_files, done.retired_files), (3, 0));
    assert!(ids(&store, &request("user.name:u3")).contains(&3));
    drop(store);
    let (store, _) = Store::open(dir.path(), options()).unwrap();
    assert_eq!(store.holds().len(), 1);
    let audit = store.release_hold(held.id, "counsel", "closed").unwrap().unwrap();
    assert_eq!(audit.action, "hold.release");
    assert!(store.release_hold(held.id, "counsel", "closed").unwrap().is_none());
    assert!(store.delete("user.name:u3", i64::MAX, "x", "y").is_ok());
}

/// Scenario: what a deletion and a rule with a filter would remove is asked for while a hold keeps some
/// of it, and again without the hold.
/// Guarantees: nothing is refused, and rows, bytes, the oldest receipt and what is held are told.
#[test]
fn plans_tell_what_holds_keep() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), options());
    let rule = RetentionRule {
        name: "u3".into(),
        age_ns: Some(HOUR_NS),
        filter: Some("user.name:u3".into()),
        ..RetentionRule::default()
    };
    let rules = [rule];
    let planned = || store.retention_plan(&rules, LATER).unwrap().remove(0);
    let deletion = || store.deletion_plan("user.name:u3", i64::MAX).unwrap();
    // Rows 3, 8, 13 and 18 are in files.
    let (free, all) = (planned(), deletion());
    assert_eq!((free.rows, free.held_rows, all.rows, all.held_rows), (4, 0, 4, 0));
    assert!(all.holds.is_empty() && all.bytes > 0 && free.bytes == all.bytes);
    assert_eq!((free.oldest_ns, all.oldest_ns), (Some(received(3)), Some(received(3))));

    let held = hold(&store, "user.name:u3 and source.ip:10.0.0.3");
    let (less, all) = (planned(), deletion());
    assert_eq!((less.rows, less.held_rows, all.rows, all.held_rows), (3, 1, 4, 1));
    assert!(less.bytes > 0 && less.bytes < free.bytes, "{} of {}", less.bytes, free.bytes);
    assert_eq!(less.oldest_ns, Some(received(8)));
    assert_eq!(all.holds, [held]);
    assert_eq!(ids(&store, &request("user.name:u3")).len(), 5, "nothing was changed");
}

/// Upkeep until nothing is left to do. Out: what it told.
fn kept_up(store: &Store, now_ns: i64) -> Vec<AuditRecord> {
    (0..8).flat_map(|_| store.maintain(now_ns).unwrap().audit).collect()
}

fn rows_told(audit: &[AuditRecord], action: &str, reason: &str) -> u64 {
    let told = audit.iter().filter(|a| a.action == action && a.reason == reason);
    told.map(|a| a.rows).sum()
}

/// Scenario: two deletions while there is a hold that matches nothing.
/// Guarantees: both are carried out and end, each of their rows is told once, and the hold stays.
#[test]
fn deletions_are_carried_out_while_there_is_a_hold() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), options());
    hold(&store, "user.name:nobody");
    store.delete("user.name:u1", i64::MAX, "dpo", "first").unwrap();
    store.delete("user.name:(u1 or u2)", i64::MAX, "dpo", "second").unwrap();
    let audit = kept_up(&store, START_NS);
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (15, 0));
    assert_eq!(rows_told(&audit, "delete.rewrite", "first"), 5);
    assert_eq!(rows_told(&audit, "delete.rewrite", "second"), 5);
    assert_eq!(store.holds().len(), 1);
    assert_eq!(store.verify().unwrap().problems, []);
}

/// Scenario: a row is deleted and then held, before its file is rewritten; files are joined, the hold
/// is released. The process ends after every step of it.
/// Guarantees: the row is never seen again; it is in its file as long as it is held, and no longer;
/// nobody looks for it meanwhile, and other deletions go on; each erased row is told once.
#[test]
fn a_deleted_row_that_is_held_stays_hidden_and_goes_with_the_hold() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copies) = (dir.path().join("live"), dir.path().join("copies"));
    let (steps, copy) = copying(&live, &copies);
    let looks = Arc::new(AtomicU64::new(0));
    let counted = looks.clone();
    let hook = move |step: &str| {
        counted.fetch_add(u64::from(step == "looking for deleted rows"), Ordering::SeqCst);
        copy(step);
    };
    let with = Options { step_hook: Some(Arc::new(hook)), ..options() };
    let store = store(&live, with);
    let at = || steps.lock().unwrap().len();
    store.delete("user.name:u1", START_NS + 1_000, "dpo", "erasure").unwrap();
    let deleted = at();
    let held = hold(&store, "source.bytes:10");
    let hold_set = at();
    let mut audit = kept_up(&store, START_NS);
    assert_eq!(rows_told(&audit, "delete.rewrite", "erasure"), 4, "row 1 is held");
    store.delete("user.name:u2", START_NS + 1_000, "dpo", "other").unwrap();
    audit.extend(kept_up(&store, LATER));
    assert_eq!(rows_told(&audit, "delete.rewrite", "other"), 5);
    let looked = looks.load(Ordering::SeqCst);
    kept_up(&store, LATER);
    assert_eq!(looks.load(Ordering::SeqCst), looked, "what was found is remembered");
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (16, 1));
    assert_eq!(ids(&store, &request("*")).len(), 15);
    let before_release = at();
    store.release_hold(held.id, "counsel", "closed").unwrap();
    let released = at();
    audit.extend(kept_up(&store, LATER));
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (15, 0));
    assert_eq!(rows_told(&audit, "delete.rewrite", "erasure"), 5);
    for (number, step) in steps.lock().unwrap().iter().enumerate().skip(deleted) {
        let what = format!("crash at step {number}, {step}");
        let (store, _) = Store::open(&copies.join(number.to_string()), options()).unwrap();
        assert_eq!(ids(&store, &request("user.name:u1")), [0; 0], "{what}");
        kept_up(&store, LATER);
        assert_eq!(ids(&store, &request("user.name:u1")), [0; 0], "{what}");
        if (hold_set..before_release).contains(&number) {
            let others = ids(&store, &request("*")).len() as u64;
            assert_eq!(store.stats().file_rows, others + 1, "{what}: the held row is there");
        }
        if number >= released {
            assert_eq!(store.holds(), [], "{what}");
        }
        for hold in store.holds() {
            store.release_hold(hold.id, "counsel", "closed").unwrap();
        }
        kept_up(&store, LATER);
        let left = ids(&store, &request("*")).len() as u64;
        assert_eq!((store.stats().file_rows, store.tombstones().len()), (left, 0), "{what}");
        assert_eq!(store.verify().unwrap().problems, [], "{what}");
    }
}

/// Scenario: retention drops a file; then a rewrite of another fails: its folder is none.
/// Guarantees: what was dropped is told once, at once, beside what failed.
#[test]
fn what_was_done_is_told_though_the_rest_fails() {
    let dir = tempfile::tempdir().unwrap();
    let rule = RetentionRule { name: "old".into(), age_ns: Some(HOUR_NS), ..Default::default() };
    let with = Options { retention_rules: vec![rule], ..options() };
    let (store, _) = Store::open(dir.path(), with).unwrap();
    // Received in two hours, 5,000 s apart.
    for start in [0, 5_000_000_000_000] {
        let mut batch = event::EventBatch::new(dictionary());
        for n in start..start + 10 {
            let user = format!("u{}", n % 5);
            let cells = [("user.name", event::Kind::Str, user.as_bytes())];
            push(&mut batch, n, START_NS, b"login", &cells);
        }
        store.append(Arc::new(batch));
        store.flush().unwrap();
    }
    store.delete("user.name:u1", i64::MAX, "dpo", "erasure").unwrap();
    let young = walk(dir.path()).into_iter().find(|p| p.contains("/0-5000000000000-")).unwrap();
    let (hour, aside) = (Path::new(&young).parent().unwrap(), dir.path().join("aside"));
    std::fs::rename(hour, &aside).unwrap();
    std::fs::write(hour, b"no folder").unwrap();
    let now = START_NS + HOUR_NS + 1_000;
    let (done, failed) = store.tidy(now);
    assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
    let told: Vec<(&str, u64)> = done.audit.iter().map(|a| (&*a.action, a.rows)).collect();
    assert_eq!((told, done.retired_files), (vec![("retention.drop", 10)], 1));
    std::fs::remove_file(hour).unwrap();
    std::fs::rename(&aside, hour).unwrap();
    let (done, failed) = store.tidy(now + 1);
    failed.unwrap();
    let told: Vec<(&str, u64)> = done.audit.iter().map(|a| (&*a.action, a.rows)).collect();
    assert_eq!(told, [("delete.rewrite", 2)]);
}

/// Scenario: a rule takes rows by a filter, pass after pass, and a hold keeps some of them.
/// Guarantees: each pass takes what has become old; what is held is hidden by one deletion, not by one
/// for each pass, and goes when the hold is released.
#[test]
fn a_rule_with_a_filter_goes_on_while_there_is_a_hold() {
    let dir = tempfile::tempdir().unwrap();
    let rule = RetentionRule {
        name: "noisy".into(),
        age_ns: Some(HOUR_NS),
        filter: Some("alcedo.source:web".into()),
        bytes: None,
    };
    let store = store(dir.path(), Options { retention_rules: vec![rule], ..options() });
    store.flush().unwrap();
    let held = hold(&store, "user.name:u0 and alcedo.source:web");
    // Rows are a nanosecond apart: by then those up to 9 are old, and after the next pass all.
    let first = START_NS + HOUR_NS + 10;
    let second = first + store::policy::RETIRE_EVERY_NS;
    let mut audit = kept_up(&store, first);
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (21, 1));
    audit.extend(kept_up(&store, second));
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (15, 1));
    assert_eq!(ids(&store, &request("*")).len(), 12);
    store.release_hold(held.id, "counsel", "closed").unwrap();
    audit.extend(kept_up(&store, second + 1));
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (12, 0));
    let reason = "older than 0 days";
    assert_eq!(rows_told(&audit, "delete.hide", reason), 10);
    assert_eq!(rows_told(&audit, "delete.rewrite", reason), 13);
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn rules_with_a_filter_take_rows_and_the_plan_says_so_first() {
    let dir = tempfile::tempdir().unwrap();
    let rule = RetentionRule {
        name: "noisy".into(),
        age_ns: Some(HOUR_NS),
        filter: Some("alcedo.source:web".into()),
        bytes: None,
    };
    let with = Options { retention_rules: vec![rule.clone()], ..options() };
    let store = store(dir.path(), with);
    store.flush().unwrap();
    let plan = store.retention_plan(std::slice::from_ref(&rule), LATER).unwrap();
    assert_eq!((plan[0].rows, plan[0].oldest_ns), (13, Some(START_NS)));
    assert_eq!(ids(&store, &request("*")).len(), 25, "a plan changes nothing");
    for _ in 0..6 {
        store.maintain(LATER).unwrap();
    }
    assert_eq!(
        ids(&store, &request("*")),
        (0..25).rev().filter(|n| n % 2 == 1).collect::<Vec<_>>()
    );
    assert_eq!((store.stats().file_rows, store.tombstones().len()), (12, 0));
    assert_eq!(store.verify().unwrap().problems, []);
}

#[test]
fn filters_that_change_their_meaning_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), options());
    for filter in ["@timestamp>now-1h", "user.name:("] {
        let refused = store.delete(filter, i64::MAX, "x", "y").unwrap_err();
        assert!(matches!(refused, StoreError::Filter { .. }), "{filter}");
    }
}

#[test]
fn short_retention_is_warned_about_and_the_disk_is_forecast() {
    let day = 24 * HOUR_NS;
    let rule = |days: i64| RetentionRule {
        name: "r".into(),
        age_ns: Some(days * day),
        ..RetentionRule::default()
    };
    let far = |days: i64| store::TierOptions {
        hot_age_ns: days * 24 * HOUR_NS,
        ..store::TierOptions::new("file:///far")
    };
    let warned = |rules: &[RetentionRule], far: Option<&store::TierOptions>| -> usize {
        let told = store::policy::warnings(rules, far);
        assert!(told.iter().all(|text| text.contains("PCI DSS 10.5.1")), "{told:?}");
        told.len()
    };
    assert_eq!(warned(&[rule(400)], None), 0);
    assert_eq!(warned(&[rule(90)], None), 1);
    assert_eq!(warned(&[rule(400)], Some(&far(90))), 0);
    assert_eq!(warned(&[rule(400)], Some(&far(30))), 1, "less than three months at hand");
    assert_eq!(warned(&[], Some(&store::TierOptions { hot_bytes: Some(1), ..far(90) })), 1);
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), options());
    let forecast = store.forecast(&[], 1 << 30, START_NS + day);
    assert!(forecast.bytes_per_day > 0 && forecast.days_left.is_some());
    let forecast = store.forecast(&[rule(2)], 1 << 30, START_NS + day);
    assert_eq!(forecast.days_left, None, "what comes leaves again before the disk is full");
}
