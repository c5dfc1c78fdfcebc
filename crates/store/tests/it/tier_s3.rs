//! The far tier on S3, and everything that can be wrong with the way to it.

use crate::s3_server::{Fault, S3, write_credentials};
use crate::samples::*;
use crate::tier::{LATER_NS, move_all, options, two_files};
use crate::upkeep::walk;
use event::{EventBatch, Kind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Store, StoreError};

fn local_files(dir: &Path) -> usize {
    walk(dir).iter().filter(|path| path.ends_with(".parquet")).count()
}

/// What does not compress, and is found in every block by its pieces.
pub(crate) const ANYTHING: (u8, u64) = (b'!', 90);
/// What looks like the numbers of logs.
const DIGITS: (u8, u64) = (b'0', 10);

/// Events with an id of their own and `noise` random characters.
pub(crate) fn noisy(
    offsets: std::ops::Range<u64>,
    noise: usize,
    (first, count): (u8, u64),
) -> Arc<EventBatch> {
    let mut random = Random(7);
    let mut batch = EventBatch::new(dictionary());
    for n in offsets {
        let letters: String =
            (0..noise).map(|_| char::from(first + random.below(count) as u8)).collect();
        let (user, raw) = (format!("u{}", n % 50), format!("event {n} {letters}"));
        let raw = if n == 4_711 { format!("{raw} quetzalcoatl") } else { raw };
        let trace = trace(n);
        let cells: [(&str, Kind, &[u8]); 3] = [
            ("user.name", Kind::Str, user.as_bytes()),
            ("trace.id", Kind::Str, trace.as_bytes()),
            ("message", Kind::Str, raw.as_bytes()),
        ];
        push(&mut batch, n, START_NS + n as i64 * 1_000_000, raw.as_bytes(), &cells);
    }
    Arc::new(batch)
}

/// What one event alone has.
pub(crate) fn trace(n: u64) -> String {
    format!("{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[test]
fn s3_files_move_answer_and_go() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(s3.options(&dir.path().join("credentials")));
    options.retention_age_ns = Some(20 * HOUR_NS);
    let live = dir.path().join("live");
    let store = two_files(&live, options.clone());
    let expected = json(&store, "*");
    assert_eq!(move_all(&store), 2);
    assert_eq!((local_files(&live), s3.objects(".parquet").len()), (0, 2));
    assert_eq!(json(&store, "*"), expected);
    assert_eq!(store.verify().unwrap().problems, []);
    drop(store);
    let (store, _) = Store::open(&live, options).unwrap();
    assert_eq!(json(&store, "*"), expected);
    assert_eq!(store.maintain(LATER_NS).unwrap().retired_files, 2);
    assert_eq!(s3.objects(".parquet").len(), 2);
    assert_eq!(store.move_old(LATER_NS, &|| true).unwrap().deleted, 2);
    assert_eq!(s3.objects(".parquet"), [""; 0]);
    assert_eq!(s3.objects("").len(), 1, "the mark stays");
}

/// Scenario: sixteen far files, a word that one row of one of them has.
/// Guarantees: one request finds it and gives the whole event; again it needs none; a word that
/// nobody has needs none.
#[test]
fn s3_a_cold_needle_takes_one_request() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = options(s3.options(&dir.path().join("credentials")));
    let (store, _) = Store::open(&dir.path().join("live"), options.clone()).unwrap();
    for n in 0..16 {
        store.append(noisy(n * 2_000..(n + 1) * 2_000, 200, DIGITS));
        store.flush().unwrap();
    }
    let plan = store.tier_plan(LATER_NS);
    println!("{} of {} bytes stay here", plan.kept_bytes, plan.bytes);
    move_all(&store);
    drop(store);
    let (store, _) = Store::open(&dir.path().join("live"), options).unwrap();
    s3.methods();
    let gets = |query: &str, rows: usize| {
        let before = store.tier_stats(LATER_NS).unwrap();
        assert_eq!(json(&store, query).len(), rows, "{query}");
        let after = store.tier_stats(LATER_NS).unwrap();
        let asked = s3.methods().iter().filter(|m| *m == "GET").count();
        println!("{query}: {asked} requests, {} bytes", after.got_bytes - before.got_bytes);
        assert_eq!(asked as u64, after.gets - before.gets, "what is counted is what is asked");
        asked
    };
    let needle = format!("trace.id:{}", trace(17_503));
    assert_eq!(gets(&needle, 1), 1);
    assert_eq!(gets(&needle, 1), 0, "read-through: it is in memory");
    assert_eq!(gets("trace.id:0123456789abcdef", 0), 0);
    assert_eq!(gets("quetzalcoatl", 1), 1, "a word anywhere in the event");
    // One request each for what is not narrowed at all, and two passes at most.
    let all = gets("user.name:u1", 640);
    assert!(all <= 32, "{all} requests for sixteen files");
}

#[test]
fn s3_large_files_go_in_parts_and_no_faster_than_they_may() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(s3.options(&dir.path().join("credentials")));
    options.tier.as_mut().unwrap().upload_bytes_per_s = Some(8 << 20);
    let live = dir.path().join("live");
    let (store, _) = Store::open(&live, options).unwrap();
    store.append(noisy(0..3_000, 8_000, ANYTHING));
    store.flush().unwrap();
    let size = store.stats().file_bytes;
    assert!(size > 17 << 20, "three parts: {size}");
    s3.fault(Fault::UploadsCut);
    assert!(matches!(store.move_old(LATER_NS, &|| true), Err(StoreError::Far { .. })));
    assert_eq!((local_files(&live), s3.objects(".parquet").len()), (1, 0));
    s3.fault(Fault::None);
    let began = Instant::now();
    assert_eq!(move_all(&store), 1);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?} for {size} bytes", began.elapsed());
    assert_eq!(json(&store, &format!("trace.id:{}", trace(1_234))).len(), 1);
    assert_eq!(store.verify().unwrap().problems, []);
    assert!(s3.methods().iter().filter(|m| *m == "POST").count() >= 2, "begun and completed");
}

#[test]
fn s3_that_fails_costs_no_row_and_the_work_goes_on() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = options(s3.options(&dir.path().join("credentials")));
    let live = dir.path().join("live");
    let store = two_files(&live, options.clone());
    let expected = json(&store, "*");
    for fault in
        [Fault::Away, Fault::Errors(u32::MAX), Fault::UploadsCut, Fault::WrongBytes(u32::MAX)]
    {
        s3.fault(fault);
        let failed = store.move_old(LATER_NS, &|| true);
        assert!(matches!(failed, Err(StoreError::Far { .. })), "{fault:?}: {failed:?}");
        let error = failed.unwrap_err().to_string();
        assert!(!error.contains("of-the-test"), "credentials are never told: {error}");
        assert_eq!((local_files(&live), json(&store, "*").len()), (2, 25), "{fault:?}");
    }
    // Only what is passed over on the way.
    s3.fault(Fault::Errors(2));
    assert_eq!(move_all(&store), 2);
    assert_eq!((s3.objects(".parquet").len(), json(&store, "*")), (2, expected.clone()));
    drop(store);
    for fault in [Fault::Away, Fault::Errors(u32::MAX)] {
        s3.fault(fault);
        let (store, _) = Store::open(&live, options.clone()).unwrap();
        let began = Instant::now();
        let (found, summary) = rows(&store, &request("*"));
        let told = summary.partial.unwrap_or_default();
        assert!(found.is_empty() && told.contains("25 rows of 2026-11-24"), "{fault:?}: {told}");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let began = Instant::now();
        assert!(rows(&store, &request("*")).1.partial.is_some());
        assert!(began.elapsed() < Duration::from_secs(1), "not asked again at once");
        assert!(store.maintain(LATER_NS).is_ok(), "upkeep goes on");
        assert!(store.tier_stats(LATER_NS).unwrap().failures > 0);
    }
    s3.fault(Fault::None);
    let (store, _) = Store::open(&live, options).unwrap();
    assert_eq!(json(&store, "*"), expected);
}

/// Scenario: the other side takes requests and never answers.
/// Guarantees: a search ends in time and says what is missing; ending the program does not wait.
#[test]
fn s3_that_is_silent_holds_nobody_up() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(s3.options(&dir.path().join("credentials")));
    let live = dir.path().join("live");
    let store = two_files(&live, options.clone());
    move_all(&store);
    drop(store);
    options.tier.as_mut().unwrap().request_timeout = Duration::from_secs(1);
    let (store, _) = Store::open(&live, options.clone()).unwrap();
    s3.fault(Fault::Silent);
    let began = Instant::now();
    let (found, summary) = rows(&store, &request("*"));
    assert!(found.is_empty() && summary.partial.unwrap().contains("25 rows"));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(store);
    options.tier.as_mut().unwrap().request_timeout = Duration::from_secs(600);
    let (store, _) = Store::open(&live, options).unwrap();
    store.append(logins(25..30));
    store.flush().unwrap();
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| store.move_old(LATER_NS, &|| true));
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        store.flush().unwrap();
        store.maintain(START_NS).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "upkeep does not wait for a move");
        store.leave_far_tier();
        assert!(moving.join().unwrap().is_err());
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    });
    s3.fault(Fault::None);
}

#[test]
fn s3_wrong_bytes_are_noticed_and_asked_for_again() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = options(s3.options(&dir.path().join("credentials")));
    let live = dir.path().join("live");
    let (store, _) = Store::open(&live, options.clone()).unwrap();
    store.append(noisy(0..2_000, 100, ANYTHING));
    store.flush().unwrap();
    let expected = json(&store, "user.name:u7");
    move_all(&store);
    s3.fault(Fault::WrongBytes(1));
    assert_eq!(json(&store, "user.name:u7"), expected, "the second time they are right");
    drop(store);
    s3.fault(Fault::WrongBytes(u32::MAX));
    let (store, _) = Store::open(&live, options.clone()).unwrap();
    let (found, summary) = rows(&store, &request("user.name:u7"));
    let told = summary.partial.unwrap_or_default();
    assert!(found.is_empty() && told.contains("damaged"), "{told}");
    drop(store);
    s3.fault(Fault::None);
    let (store, _) = Store::open(&live, options).unwrap();
    assert_eq!(json(&store, "user.name:u7"), expected);
}

#[test]
fn s3_an_object_that_vanished_is_told_and_nothing_else_suffers() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = options(s3.options(&dir.path().join("credentials")));
    let store = two_files(&dir.path().join("live"), options);
    move_all(&store);
    let objects = s3.objects(".parquet");
    let answer = s3.ask("DELETE", &objects[0]);
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let (found, summary) = rows(&store, &request("*"));
    let told = summary.partial.unwrap_or_default();
    assert!(told.contains("15 rows") && told.contains("far tier"), "{told}");
    assert_eq!(found.len(), 10);
    assert_eq!(store.verify_with(false).unwrap().problems.len(), 1);
    assert_eq!(store.verify().unwrap().problems.len(), 1);
    store.append(logins(25..30));
    store.flush().unwrap();
    assert_eq!(move_all(&store), 1);
}

#[test]
fn s3_credentials_that_others_can_read_are_refused() {
    let Some(s3) = S3::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let tier = s3.options(&path);
    tier.check().unwrap();
    assert!(!format!("{tier:?}").contains("secret-of"));
    write_credentials(&path, 0o644);
    let error = tier.check().unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    std::fs::write(&path, "AWS_NO_SUCH_THING=secret-of-the-test").unwrap();
    write_mode(&path);
    let error = tier.check().unwrap_err().to_string();
    assert!(error.contains("AWS_NO_SUCH_THING") && !error.contains("secret-of"), "{error}");
    let plain = store::TierOptions { allow_http: false, ..s3.options(&path) };
    let refused = options(plain);
    let failed = two_files(&dir.path().join("live"), refused).move_old(LATER_NS, &|| true);
    assert!(failed.is_err(), "plain HTTP only where it was asked for");
}

fn write_mode(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
