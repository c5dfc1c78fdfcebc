//! Kills at random moments: the catalog opens, nothing acknowledged is missing, nothing is twice.
//!
//! A child process, this test's own binary, appends, flushes, joins, retires, deletes, holds and moves files
//! to a far tier all at once until it is killed. What it acknowledged stands in plain files that it wrote before: they take the
//! journal's place, which survives a kill.

use crate::samples::*;
use crate::upkeep::walk;
use event::{Envelope, EventBatch, EventId, Kind, Protocol, RowHead};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use store::{Hold, Options, Store, StoreError, TierOptions};

/// Variable that makes the test the child: its folder.
const CHILD: &str = "ALCEDO_STORE_CHILD";
/// One event in ten seconds, so that hours pass and files are joined and retired.
const STEP_NS: i64 = HOUR_NS / 360;
const AGE_NS: i64 = 6 * HOUR_NS;
const HOT_AGE_NS: i64 = 2 * HOUR_NS;

fn received_ns(offset: u64) -> i64 {
    START_NS + offset as i64 * STEP_NS
}

/// Every fifth event is of user u3, which is deleted now and then.
fn events(offsets: std::ops::Range<u64>) -> Arc<EventBatch> {
    let mut batch = EventBatch::new(dictionary());
    for n in offsets {
        let (id, at) = (EventId::at(n), received_ns(n));
        let envelope = Arc::new(Envelope::of("web", Protocol::Http));
        let head = RowHead { id, received_ns: at, stream_ns: at, envelope };
        let raw = format!("event {n} of u{}", n % 5);
        let mut row = batch.begin(head, raw.as_bytes());
        row.set_event_ns(at);
        let field = row.field("user.name");
        row.push(field, Kind::Str, format!("u{}", n % 5).as_bytes());
        row.finish();
    }
    Arc::new(batch)
}

fn options(dir: &Path) -> Options {
    let tier = TierOptions::new(format!("file://{}", dir.join("far").display()));
    let tier = TierOptions { hot_age_ns: HOT_AGE_NS, ..tier };
    Options { retention_age_ns: Some(AGE_NS), tier: Some(tier), ..Options::default() }
}

/// Numbers that only grow, one after another in a file; a torn last one does not count.
struct Numbers(File);

impl Numbers {
    fn of(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        Self(OpenOptions::new().create(true).append(true).open(path).unwrap())
    }

    fn say(&mut self, number: i64) {
        self.0.write_all(&number.to_le_bytes()).unwrap();
    }

    fn greatest(dir: &Path, name: &str) -> Option<i64> {
        let bytes = std::fs::read(dir.join(name)).unwrap_or_default();
        let numbers = bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        numbers.max()
    }
}

fn acknowledged(dir: &Path) -> u64 {
    Numbers::greatest(dir, "acknowledged").unwrap_or(0) as u64
}

/// Opens the store and gives it again what it has not in files, as the journal's reader does.
fn opened(dir: &Path) -> Store {
    let (store, report) = Store::open(&dir.join("store"), options(dir)).unwrap();
    assert_eq!(report.missing, [""; 0]);
    let from = store.stored_through(0).map_or(0, |id| id.offset + 1);
    // In pieces, some of which overlap with what is stored.
    let upto = acknowledged(dir);
    let mut start = from.saturating_sub(3);
    while start < upto {
        let end = (start + 50).min(upto);
        store.append(events(start..end));
        start = end;
    }
    store
}

/// The child's life; it ends by being killed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    let store = opened(dir);
    let seed = acknowledged(dir);
    let parent = std::os::unix::process::parent_id();
    println!("\nopened");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(seed);
            let mut acknowledged = Numbers::of(dir, "acknowledged");
            let mut next = seed;
            loop {
                let end = next + 1 + random.below(30);
                acknowledged.say(end as i64);
                store.append(events(next..end));
                next = end;
                std::thread::sleep(Duration::from_micros(random.below(6_000)));
                // Whoever would have killed us was killed.
                if std::os::unix::process::parent_id() != parent {
                    std::process::exit(1);
                }
            }
        });
        scope.spawn(|| upkeep(dir, &store, &mut Random(!seed)));
        scope.spawn(|| {
            loop {
                store.move_old(newest_ns(&store), &|| true).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
}

fn newest_ns(store: &Store) -> i64 {
    received_ns(store.appended_through(0).map_or(0, |id| id.offset))
}

fn upkeep(dir: &Path, store: &Store, random: &mut Random) {
    let [mut now, mut wanted, mut deleted] =
        ["now", "wanted", "deleted"].map(|name| Numbers::of(dir, name));
    loop {
        let newest = newest_ns(store);
        match random.below(8) {
            0..3 => drop(store.flush().unwrap()),
            3 if store.tombstones().len() < 3 => {
                wanted.say(newest);
                // A hold may keep some of them.
                match store.delete("user.name:u3", newest, "custodian", "test") {
                    Err(StoreError::Held { .. }) => {}
                    done => {
                        done.unwrap();
                        deleted.say(newest);
                    }
                }
            }
            4 => match store.holds().pop() {
                Some(hold) => drop(store.release_hold(hold.id, "custodian", "test").unwrap()),
                None => {
                    let filter = ["*7*", "user.name:nobody"][random.below(2) as usize];
                    let hold = Hold { filter: filter.into(), ..Hold::default() };
                    store.set_hold(hold).unwrap();
                }
            },
            _ => {
                now.say(newest);
                store.maintain(newest).unwrap();
            }
        }
    }
}

/// Everything that must be there is there once; what is gone was retired or deleted.
fn check(dir: &Path, round: u32) {
    let store = opened(dir);
    let upto = acknowledged(dir);
    let horizon = Numbers::greatest(dir, "now").unwrap_or(START_NS) - AGE_NS;
    let wanted = Numbers::greatest(dir, "wanted").unwrap_or(i64::MIN);
    let deleted = Numbers::greatest(dir, "deleted").unwrap_or(i64::MIN);
    let found = ids(&store, &request("*"));
    let distinct: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(distinct.len(), found.len(), "round {round}: an event is there twice");
    assert!(distinct.last().is_none_or(|last| *last < upto), "round {round}");
    for n in 0..upto {
        let at = received_ns(n);
        let of_u3 = n % 5 == 3;
        match distinct.contains(&n) {
            true => assert!(!(of_u3 && at < deleted), "round {round}: {n} was deleted"),
            false => {
                let may_be_gone = at < horizon || of_u3 && at < wanted;
                assert!(may_be_gone, "round {round}: {n} of {upto} is missing");
            }
        }
    }
    assert_eq!(store.verify().unwrap().problems, [], "round {round}");
    let newest = newest_ns(&store);
    // Without holds nothing deleted is left in the files, and nothing else goes.
    store.holds().iter().for_each(|h| drop(store.release_hold(h.id, "x", "y").unwrap()));
    store.flush().unwrap();
    let before = store.stats().file_rows;
    let mut erased = 0;
    for _ in 0..1_000 {
        let (done, failed) = store.tidy(START_NS);
        failed.unwrap();
        erased += done.audit.iter().map(|a| a.rows).sum::<u64>();
        if store.tombstones().is_empty() {
            break;
        }
    }
    assert_eq!(store.tombstones(), [], "round {round}");
    assert_eq!(store.stats().file_rows + erased, before, "round {round}");
    assert_eq!(ids(&store, &request("*")).len() as u64, store.stats().file_rows, "round {round}");
    assert_eq!(store.stats().file_rows, found.len() as u64, "round {round}");
    while store.move_old(newest, &|| true).unwrap().has_more {}
    store.move_old(newest, &|| true).unwrap();
    // Searches are over, so every object belongs to a listed file.
    std::fs::create_dir_all(dir.join("far")).unwrap();
    let objects = walk(&dir.join("far")).iter().filter(|path| path.contains(".parquet")).count();
    let stats = store.tier_stats(newest).unwrap();
    assert_eq!((objects as u64, stats.doomed_objects), (stats.far_files, 0), "round {round}");
    // Else what is to be written first grows from life to life until none is long enough for it.
    store.flush().unwrap();
}

/// Scenario: the process is killed at random, again and again, in the same folder.
/// Guarantees: see [`check`], after every kill.
#[test]
fn kills_at_random_lose_nothing_and_repeat_nothing() {
    let rounds = std::env::var("ALCEDO_STORE_KILLS").map_or(8, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(7);
    let (mut joined, mut retired, mut moved) = (0, 0, 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill9::child", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line == "opened"), "round {round}: the child failed");
        std::thread::sleep(Duration::from_millis(random.below(250)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "round {round}: the child ended by itself: {status}");
        check(dir.path(), round);
        let log = std::fs::read_dir(dir.path().join("store/manifest")).unwrap();
        let text: Vec<u8> = log.flat_map(|e| std::fs::read(e.unwrap().path()).unwrap()).collect();
        joined += occurrences(&text, b"\"remove\":[\"");
        retired += occurrences(&text, b"\"retire\":true");
        moved += occurrences(&text, b"\"is_local\":false");
    }
    println!(
        "{rounds} kills, {} events, {joined}, {retired} and {moved} records of joins, retirements and \
         moves seen",
        acknowledged(dir.path())
    );
    assert!(acknowledged(dir.path()) > u64::from(rounds), "the child did something");
    assert!(rounds < 100 || joined > 0 && retired > 0 && moved > 0, "something was never done");
}

fn occurrences(text: &[u8], needle: &[u8]) -> usize {
    text.windows(needle.len()).filter(|window| *window == needle).count()
}
