//! Appends, flushes, joins and searches at the same time: never missing, never twice.

use crate::samples::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::{Options, Store};

#[test]
fn searches_see_every_appended_row_exactly_once() {
    const BATCHES: u64 = 60;
    const SIZE: u64 = 7;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let appended = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..BATCHES {
                store.append(logins(n * SIZE..(n + 1) * SIZE));
                appended.store((n + 1) * SIZE, Ordering::SeqCst);
                std::thread::yield_now();
            }
        });
        let upkeep = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                store.flush().unwrap();
                store.maintain(START_NS + 3 * HOUR_NS).unwrap();
            }
        });
        let searcher = |text: &'static str| {
            let (store, appended) = (&store, &appended);
            move || {
                let mut rounds = 0;
                loop {
                    let before = appended.load(Ordering::SeqCst);
                    let mut found = ids(store, &request(text));
                    found.sort_unstable();
                    assert!(found.len() as u64 >= before, "{} of {before}", found.len());
                    assert!(found.iter().copied().eq(0..found.len() as u64), "{found:?}");
                    rounds += 1;
                    if before == BATCHES * SIZE && rounds > 3 {
                        break;
                    }
                }
            }
        };
        let searches = [scope.spawn(searcher("*")), scope.spawn(searcher("login"))];
        let results: Vec<_> = searches.into_iter().map(|s| s.join()).collect();
        done.store(true, Ordering::SeqCst);
        upkeep.join().unwrap();
        results.into_iter().for_each(|r| r.unwrap());
    });
    assert_eq!(store.verify().unwrap().problems, []);
}
