//! Order, limits, time ranges, histograms, values, neighbours, pruning.

use crate::samples::*;
use event::EventId;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::search::LIMIT_MAX;
use store::{Options, Store};

/// Offsets 0..40: two files and a hot batch.
fn store(dir: &std::path::Path) -> Store {
    let (store, _) = Store::open(dir, Options::default()).unwrap();
    store.append(logins(0..15));
    store.flush().unwrap();
    store.append(logins(15..30));
    store.flush().unwrap();
    store.append(logins(30..40));
    store
}

#[test]
fn newest_come_first_within_limit_and_range() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut r = request("user.name:U1");
    assert_eq!(ids(&store, &r), [36, 31, 26, 21, 16, 11, 6, 1]);
    r.limit = 3;
    assert_eq!(ids(&store, &r), [36, 31, 26]);
    r.since_ns = Some(START_NS + 11_000_000_000);
    r.until_ns = Some(START_NS + 26_000_000_000);
    assert_eq!(ids(&store, &r), [21, 16, 11]);
    r.oldest_first = true;
    assert_eq!(ids(&store, &r), [11, 16, 21]);
    assert_eq!(ids(&store, &request("user.name:u1 | head 2")), [36, 31]);
    assert_eq!(
        json(&store, "user.name:u1 | head 1 | fields user.name, source.bytes, nothing"),
        [r#"{"user.name":"u1","source.bytes":360,"nothing":null}"#]
    );
}

#[test]
fn files_beyond_the_limit_are_not_opened_and_the_summary_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut r = request("*");
    r.limit = 5;
    let (_, summary) = rows(&store, &r);
    assert_eq!((summary.scanned_files, summary.matched_exact), (0, false));
    r.limit = 1_000;
    let (_, summary) = rows(&store, &r);
    assert_eq!((summary.matched, summary.matched_exact, summary.scanned_files), (40, true, 2));
    let (_, summary) = rows(&store, &request("source.ip:10.9.9.9"));
    assert_eq!((summary.matched, summary.scanned_rows), (0, 10), "statistics prune both files");
}

/// Guarantees: who asks for everything is told when it is not everything; who asks for so many rows has
/// an answer that is whole.
#[test]
fn an_answer_that_the_limit_of_all_answers_cuts_is_partial() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let more = LIMIT_MAX as u64 + 100;
    for from in (0..more).step_by(10_000) {
        store.append(logins(from..(from + 10_000).min(more)));
    }
    let asked = |limit| {
        let mut r = request("*");
        r.limit = limit;
        let summary = store.search(&r, &mut |_| ControlFlow::Continue(())).unwrap();
        (summary.returned, summary.partial)
    };
    let all = LIMIT_MAX as u64;
    assert_eq!(asked(usize::MAX), (all, Some("limit".to_owned())));
    assert_eq!(asked(LIMIT_MAX), (all, None));
    let mut few = request("* | head 7");
    few.limit = usize::MAX;
    assert_eq!(rows(&store, &few).1.partial, None);
}

#[test]
fn buckets_and_values_count_every_match_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut r = request("*");
    r.since_ns = Some(START_NS);
    r.until_ns = Some(START_NS + 40_000_000_000);
    let h = store.histogram(&r, 4).unwrap();
    assert_eq!((h.from_ns, h.span_ns, &h.counts[..]), (START_NS, 10_000_000_000, &[10; 4][..]));
    let v = store.field_values(&r, "src_ip", 2).unwrap();
    assert_eq!(v.values, [("10.0.0.0".into(), 6), ("10.0.0.1".into(), 6)]);
    assert_eq!(v.present, 40);
}

#[test]
fn neighbours_come_in_time_order_around_the_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut found = Vec::new();
    let summary = store
        .around(&request("*"), EventId::at(29), 2_000_000_000, &mut |row| {
            found.push(row.id.unwrap().offset);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(found, [27, 28, 29, 30, 31]);
    assert_eq!(summary.unwrap().returned, 5);
    let none = store.around(&request("*"), EventId::at(99), 1, &mut |_| ControlFlow::Continue(()));
    assert!(none.unwrap().is_none());
}

#[test]
fn stopping_early_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut r = request("*");
    r.timeout = Some(Duration::ZERO);
    assert_eq!(rows(&store, &r).1.partial.as_deref(), Some("timeout"));
    r.timeout = None;
    r.memory_bytes_max = 1;
    assert_eq!(rows(&store, &r).1.partial.as_deref(), Some("memory"));
    r.cancelled.store(true, Ordering::Relaxed);
    assert_eq!(rows(&store, &r).1.partial.as_deref(), Some("cancelled"));
}

#[test]
fn an_event_shows_everything_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for id in [1, 31] {
        let text = store.event(EventId::at(id)).unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["event.id"], format!("0-{id}-0"));
        assert_eq!(event["event.original"], format!("login {id} of u1 from 10.0.0.{}", id % 7));
        assert_eq!(event["source.bytes"], id * 10);
        assert_eq!(event["alcedo.source"], "ssh");
        assert_eq!(event["log.source.address"], "192.0.2.1");
        assert!(event["@timestamp"].as_str().unwrap().starts_with("2026-11-24T02:00:"));
    }
}

#[test]
fn events_come_together_as_they_come_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    // In files and in memory, out of order, one twice, some that are not there.
    let ids: Vec<EventId> = [31, 99, 1, 17, 1, 39, 12].into_iter().map(EventId::at).collect();
    let alone: Vec<Option<String>> = ids.iter().map(|id| store.event(*id).unwrap()).collect();
    assert_eq!(store.events(&ids), alone);
    assert_eq!(alone.iter().flatten().count(), 6);
    assert!(store.events(&[]).is_empty());
    store.delete("user.name:u1", i64::MAX, "dpo", "erasure").unwrap();
    let alone: Vec<Option<String>> = ids.iter().map(|id| store.event(*id).unwrap()).collect();
    assert!(alone.iter().flatten().count() < 6);
    assert_eq!(store.events(&ids), alone, "what is hidden is hidden here, too");
}

#[test]
fn several_row_groups_are_narrowed_by_time_and_read_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    for start in (0..36_000).step_by(4_000) {
        store.append(logins(start..start + 4_000));
    }
    store.flush().unwrap();
    let mut r = request("source.bytes:359990 or source.bytes:10");
    assert_eq!(ids(&store, &r), [35_999, 1]);
    r.since_ns = Some(START_NS + 35_000_000_000_000);
    let (found, summary) = rows(&store, &r);
    // Rows of one source stand together, so groups overlap in time; the row is still found alone.
    assert_eq!((found.len(), summary.matched), (1, 1));
    assert_eq!(json(&store, "* | stats count()"), [r#"{"count":36000}"#]);
}

#[test]
fn one_search_too_many_is_refused_and_places_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { searches_max: 1, ..Options::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    store.append(logins(0..5));
    let mut inner = Ok(());
    store
        .search(&request("*"), &mut |_| {
            let second = store.search(&request("*"), &mut |_| ControlFlow::Continue(()));
            inner = second.map(|_| ());
            ControlFlow::Break(())
        })
        .unwrap();
    assert!(matches!(inner, Err(store::SearchError::Busy { running: 1 })));
    assert_eq!(ids(&store, &request("*")).len(), 5);
}

/// Scenario: rows that a search has looked at go to a file while the search goes on with older ones.
/// Guarantees: it does not hold their memory for longer than it needs them: replays and tables no longer
/// than they look at them, answers of events until they are handed out.
#[test]
fn a_search_lets_go_of_rows_that_have_gone_to_files() {
    let asked = |query: &str, done: &dyn Fn(&Store, &str) -> bool| {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (mut first, mut held) = (0, Vec::new());
        let each = &mut |text: &str| {
            if first == 0 {
                store.flush().unwrap();
                first = store.read_on_bytes();
            }
            if done(&store, text) {
                held.push(store.read_on_bytes());
            }
        };
        match query {
            "replay" => {
                let each = &mut |told| {
                    if let store::Replayed::Events(batch) = told {
                        batch.rows().for_each(|row| each(&row.id().offset.to_string()));
                    }
                    ControlFlow::Continue(())
                };
                store.replay(&request("*"), each).map(|_| ()).unwrap();
            }
            query => {
                let each = &mut |row: store::Row| {
                    each(&row.id.map_or_else(|| row.json.clone(), |id| id.offset.to_string()));
                    ControlFlow::Continue(())
                };
                store.search(&request(query), each).map(|_| ()).unwrap();
            }
        }
        assert_eq!(store.read_on_bytes(), 0, "{query}: nothing is held when it is over");
        (first, held)
    };
    let of_oldest = |_: &Store, offset: &str| offset.parse::<u64>().is_ok_and(|n| n < 15);
    for query in ["replay", "*"] {
        let (first, held) = asked(query, &of_oldest);
        assert!(first > 0, "{query}: its rows are held while they are handed out");
        assert!(held.len() == 15 && held.iter().all(|bytes| *bytes == 0), "{query}: {held:?}");
    }
    let (first, held) = asked("* | stats count() as n", &|_, row| row.contains("40"));
    assert_eq!((first, held), (0, vec![0]), "a table needs no row any more");
}

/// Scenario: all searches together may have less than this one alone.
/// Guarantees: it is refused for its memory, not for its own limit; one that needs none is answered.
#[test]
fn searches_share_a_limit_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { searches_bytes_max: 200, ..Options::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    store.append(logins(0..1_000));
    let ask = |query: &str| {
        store.search(&request(query), &mut |_| ControlFlow::Continue(())).map(|s| s.returned)
    };
    assert!(matches!(ask("* | stats dc(source.bytes) as n"), Err(store::SearchError::Memory)));
    assert!(matches!(ask("* | sort user.name"), Err(store::SearchError::Memory)));
    assert_eq!(ask("user.name:u1").unwrap(), 200);
}

/// Many pages: kinds of events with columns of their own, several events of one time, wide texts.
fn pages(dir: &std::path::Path, count: u64) -> Store {
    let (store, _) = Store::open(dir, Options::default()).unwrap();
    let mut batch = event::EventBatch::new(dictionary());
    for n in 0..count {
        let (kind, wide) = (["a", "b", "c"][n as usize % 3], format!("{n} {}", "wide ".repeat(40)));
        let (user, own) = (format!("user{}", n * 7 % 3_001), format!("only.{kind}"));
        let cells: [(&str, event::Kind, &[u8]); 4] = [
            ("event.module", event::Kind::Str, kind.as_bytes()),
            ("message", event::Kind::Str, wide.as_bytes()),
            ("user.name", event::Kind::Str, user.as_bytes()),
            (&own, event::Kind::Str, user.as_bytes()),
        ];
        push(&mut batch, n, START_NS + (n as i64 / 10) * 1_000_000_000, wide.as_bytes(), &cells);
    }
    store.append(std::sync::Arc::new(batch));
    store.flush().unwrap();
    store
}

#[test]
fn rows_from_the_middle_of_pages_are_whole_however_often_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = pages(dir.path(), 40_000);
    let all = rows(&store, &request("*")).0;
    assert_eq!(all.len(), 40_000);
    let whole: std::collections::HashMap<u64, &str> =
        all.iter().map(|row| (row.id.unwrap().offset, &*row.json)).collect();
    for round in 0..2 {
        for text in
            ["user.name:user77", "only.b:user1500", "message:\"39999 wide\"", "only.c:user3000"]
        {
            let found = rows(&store, &request(text)).0;
            assert!(!found.is_empty() && found.len() < 40, "{text}: {}", found.len());
            for row in found {
                assert_eq!(row.json, whole[&row.id.unwrap().offset], "{text}, round {round}");
            }
        }
    }
}

#[test]
fn the_best_rows_are_those_of_the_whole_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = pages(dir.path(), 40_000);
    store.append(logins(40_000..40_100));
    for oldest_first in [false, true] {
        let mut r = request("not event.module:b");
        r.oldest_first = oldest_first;
        let all = ids(&store, &r);
        for limit in [1, 7, 13, 200, 5_003, 20_001] {
            r.limit = limit;
            assert!(ids(&store, &r) == all[..limit], "limit {limit}, oldest first {oldest_first}");
        }
    }
}

/// Scenario: searches of ranges of offsets that cut files and the hot batch anywhere, before and after the
/// files are joined; a table, a joined search, SQL.
/// Guarantees: exactly the events of the range are found, and a file that has none is not opened.
#[test]
fn a_range_of_offsets_is_what_came_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let within = |text: &str, range: std::ops::Range<u64>| store::SearchRequest {
        offsets: Some(range),
        ..request(text)
    };
    for joined in [false, true] {
        if joined {
            store.flush().unwrap();
            store.maintain(START_NS + 3 * HOUR_NS).unwrap();
        }
        for range in [0..40, 0..1, 3..15, 14..16, 15..30, 20..35, 39..40, 40..50, 7..7] {
            let wanted: Vec<u64> = range.clone().filter(|n| *n < 40).rev().collect();
            assert_eq!(ids(&store, &within("*", range.clone())), wanted, "{range:?}");
            let wanted: Vec<u64> = wanted.into_iter().filter(|n| n % 5 == 1).collect();
            assert_eq!(ids(&store, &within("user.name:u1", range.clone())), wanted, "{range:?}");
        }
        let table = within("* | stats count() as n | where n > 0", 14..17);
        assert_eq!(rows(&store, &table).0[0].json, "{\"n\":3}");
        let both = "user.name:u1 | stats count() as a by user.name \
                    | join user.name [* | stats count() as b by user.name]";
        let found = rows(&store, &within(both, 10..25)).0;
        assert_eq!(found[0].json, "{\"user.name\":\"u1\",\"a\":3,\"b\":3}");
    }
    let (_, summary) = rows(&store, &within("*", 40..50));
    assert_eq!(summary.scanned_files, 0);
}
