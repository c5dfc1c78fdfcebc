//! Dedupe and drop filters.

use super::Bench;
use event::{EventId, Marks};
use shape::{Dedupe, Drops};
use std::collections::HashSet;

#[test]
fn repeats_within_the_window_are_marked_and_counted_once() {
    let mut bench = Bench::new();
    for line in ["a", "b", "a", "a", "c", "a"] {
        bench.shape(line.as_bytes());
    }
    // Stream time is the row number in seconds: the window of the first `a` covers rows 0..=3.
    let window = [("test".to_string(), 4 * event::time::SECOND_NS)].into_iter().collect();
    let mut dedupe = Dedupe::new(window, 7);
    let closed = dedupe.apply(&mut bench.batch);
    let marked: HashSet<usize> =
        bench.batch.rows().filter(|r| r.marks().has(Marks::DEDUPED)).map(|r| r.index()).collect();
    assert_eq!(marked, HashSet::from([2, 3]));
    assert_eq!(dedupe.marked(), 2);
    assert_eq!(closed, [shape::remember::DedupeSummary { first: EventId::at(0), count: 3 }]);
    assert_eq!(bench.batch.len(), 6);
}

#[test]
fn dedupe_is_off_for_other_sources_and_bounded() {
    let mut bench = Bench::new();
    for n in 0..100 {
        bench.shape(format!("line {}", n % 50).as_bytes());
    }
    let mut off = Dedupe::new([("other".to_string(), i64::MAX)].into_iter().collect(), 1);
    assert!(off.apply(&mut bench.batch).is_empty() && off.marked() == 0);
    let window = [("test".to_string(), i64::MAX)].into_iter().collect();
    let mut small = Dedupe::with_limit(window, 1, 10);
    small.apply(&mut bench.batch);
    assert_eq!((small.marked(), small.forgotten()), (0, 90));
}

#[test]
fn drop_filters_mark_and_count_by_name() {
    let mut bench = Bench::new();
    for n in 0..10 {
        bench.shape(format!("{{\"n\":{n},\"kind\":\"probe\"}}").as_bytes());
    }
    let filter = |text: &str| filter::search::parse_filter(text, 0).unwrap();
    let mut drops = Drops::new(vec![
        ("small".into(), filter("n<3")),
        ("probes".into(), filter("kind:probe and n>7")),
    ]);
    drops.apply(&mut bench.batch, true);
    assert_eq!(drops.counts().collect::<Vec<_>>(), [("small", 3), ("probes", 2)]);
    assert_eq!(bench.batch.rows().filter(|r| r.marks().has(Marks::DROPPED)).count(), 5);
    // Other filters: who stays keeps its count. Rows of an earlier run count no more.
    drops.reconfigure(vec![("probes".into(), filter("n<3")), ("new".into(), filter("n:5"))]);
    drops.apply(&mut bench.batch, false);
    assert_eq!(drops.counts().collect::<Vec<_>>(), [("probes", 2), ("new", 0)]);
    assert!(bench.batch.row(5).marks().has(Marks::DROPPED));
}
