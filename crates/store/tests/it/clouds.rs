//! The far tier and backups on servers of Azure's and of Google's protocol.

use crate::azure_server::Azure;
use crate::copies::nothing;
use crate::google_server::Google;
use crate::samples::*;
use crate::tier::{LATER_NS, move_all, options, two_files};
use crate::tier_s3::{ANYTHING, noisy, trace};
use crate::upkeep::walk;
use std::path::Path;
use store::backup::{self, Place};
use store::{Options, Store, TierOptions};

#[test]
fn azure_files_move_answer_and_go() {
    let Some(azure) = Azure::start() else { return };
    files_move_answer_and_go(
        |credentials| azure.options(credentials, "alcedo/one"),
        "az://nowhere/x",
    );
}

#[test]
fn google_files_move_answer_and_go() {
    let Some(google) = Google::start() else { return };
    files_move_answer_and_go(
        |credentials| google.options(credentials, "alcedo/one"),
        "gs://nowhere/x",
    );
}

#[test]
fn azure_backups_are_made_pruned_and_restored() {
    let Some(azure) = Azure::start() else { return };
    backups_are_made_pruned_and_restored(|credentials| azure.options(credentials, "backup"));
}

#[test]
fn google_backups_are_made_pruned_and_restored() {
    let Some(google) = Google::start() else { return };
    backups_are_made_pruned_and_restored(|credentials| google.options(credentials, "backup"));
}

#[test]
fn azure_large_files_go_in_parts() {
    let Some(azure) = Azure::start() else { return };
    large_files_go_in_parts(|credentials| azure.options(credentials, "alcedo/one"));
}

#[test]
fn google_large_files_go_in_parts() {
    let Some(google) = Google::start() else { return };
    large_files_go_in_parts(|credentials| google.options(credentials, "alcedo/one"));
}

/// Scenario: a file of more than two parts moves.
/// Guarantees: it is whole there, and a row of it is found.
fn large_files_go_in_parts(tier: impl Fn(&Path) -> TierOptions) {
    let dir = tempfile::tempdir().unwrap();
    let options = options(tier(&dir.path().join("credentials")));
    let (store, _) = Store::open(&dir.path().join("live"), options).unwrap();
    store.append(noisy(0..3_000, 8_000, ANYTHING));
    store.flush().unwrap();
    assert!(store.stats().file_bytes > 17 << 20);
    assert_eq!(move_all(&store), 1);
    assert_eq!(json(&store, &format!("trace.id:{}", trace(1_234))).len(), 1);
    assert_eq!(store.verify().unwrap().problems, []);
}

/// Scenario: two files move to a container, are asked for there, by a store that was opened anew too,
/// and go when their time is over; a container that is not there.
/// Guarantees: answers are what they were; nothing is left; a missing container is told as one.
fn files_move_answer_and_go(tier: impl Fn(&Path) -> TierOptions, nowhere: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(tier(&dir.path().join("credentials")));
    options.retention_age_ns = Some(20 * HOUR_NS);
    let live = dir.path().join("live");
    let store = two_files(&live, options.clone());
    let expected = json(&store, "*");
    assert_eq!(move_all(&store), 2);
    assert_eq!(walk(&live).iter().filter(|path| path.ends_with(".parquet")).count(), 0);
    assert_eq!(json(&store, "*"), expected);
    assert_eq!(store.verify().unwrap().problems, []);
    drop(store);
    let (store, _) = Store::open(&live, options.clone()).unwrap();
    assert_eq!(json(&store, "*"), expected);
    assert_eq!(store.maintain(LATER_NS).unwrap().retired_files, 2);
    assert_eq!(store.move_old(LATER_NS, &|| true).unwrap().deleted, 2);
    drop(store);
    options.tier = Some(TierOptions { to: nowhere.into(), ..options.tier.unwrap() });
    let store = two_files(&dir.path().join("other"), options);
    let said = store.move_old(LATER_NS, &|| true).unwrap_err().to_string();
    assert!(said.contains("no such bucket"), "{said}");
}

/// Scenario: backups of a growing store in a container; old ones go while one is being made, and after.
/// Guarantees: each is whole, what is there is not sent again, making keeps pruning away, what is
/// restored is what was stored.
fn backups_are_made_pruned_and_restored(tier: impl Fn(&Path) -> TierOptions) {
    let dir = tempfile::tempdir().unwrap();
    let target = Place::Bucket(tier(&dir.path().join("credentials")));
    let (store, _) = Store::open(&dir.path().join("live"), Options::default()).unwrap();
    for at in 1..=3u64 {
        store.append(logins(at * 100..at * 100 + 20));
        let made = store.backup(&target, at as i64, &mut nothing).unwrap();
        assert_eq!(made.rows, at * 20);
        assert!((made.copied_bytes < made.bytes) == (at > 1), "{made:?}");
    }
    let run = store.begin_backup(&target, &mut nothing).unwrap();
    let refused = backup::prune(&target, 1, false).unwrap_err().to_string();
    assert!(refused.contains("a backup is being made"), "{refused}");
    run.finish(4, &mut nothing).unwrap();
    assert_eq!(backup::prune(&target, 1, false).unwrap().removed, ["1", "2", "3"]);
    assert_eq!(backup::list(&target).unwrap(), ["4"]);
    assert_eq!(backup::verify(&target, None).unwrap().problems, [""; 0]);
    let new = dir.path().join("new");
    backup::restore(&target, None, &new.join("store"), &new).unwrap();
    let (restored, _) = Store::open(&new.join("store"), Options::default()).unwrap();
    assert_eq!(json(&restored, "*"), json(&store, "*"));
}
