//! Hot rows, files and joined files give the verdicts and the values of the streaming evaluator.

use crate::samples::*;
use crate::tier::{move_all, options};
use event::EventBatch;
use filter::Plan;
use filter::search::Query;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use store::{Options, SearchRequest, Store, TierOptions};

/// A folder beside the store's own.
fn with_far_tier(dir: &Path) -> Options {
    options(TierOptions::new(format!("file://{}", dir.join("far").display())))
}

fn expected(batches: &[Arc<EventBatch>], plan: &Plan) -> Vec<u64> {
    let mut out: Vec<(i64, u64)> = Vec::new();
    for batch in batches {
        let binding = plan.bind(&**batch);
        let rows = batch.rows().filter(|r| r.is_kept() && plan.matches(&binding, r));
        out.extend(rows.map(|r| (r.event_ns(), r.id().offset)));
    }
    out.sort_unstable();
    out.into_iter().rev().map(|(_, offset)| offset).collect()
}

/// All events as JSON values, by offset.
fn everything(store: &Store, upto: u64) -> BTreeMap<u64, serde_json::Value> {
    let event = |n| store.event(event::EventId::at(n)).unwrap();
    (0..upto).filter_map(|n| Some((n, serde_json::from_str(&event(n)?).unwrap()))).collect()
}

/// Cases of the property tests: `ALCEDO_PARITY_CASES`, else so many.
fn cases(default: u32) -> u32 {
    std::env::var("ALCEDO_PARITY_CASES").map_or(default, |text| text.parse().unwrap())
}

fn check(seed: u64) {
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let sizes = [1 + random.below(40), 1 + random.below(40), 1 + random.below(10)];
    let mut batches = Vec::new();
    let mut next = 0;
    for size in sizes {
        batches.push(random_batch(&mut random, next..next + size));
        next += size;
    }
    let plans: Vec<Plan> = (0..12).map(|_| random_plan(&mut random, 3)).collect();
    let agree = |at: &str| {
        for plan in &plans {
            let query = Query { filter: plan.clone(), pipes: Vec::new() };
            let mut request = SearchRequest::new(query, dictionary());
            request.limit = 1_000;
            let found = ids(&store, &request);
            assert_eq!(found, expected(&batches, plan), "{at}, seed {seed}: {plan:?}");
        }
    };
    batches.iter().for_each(|b| drop(store.append(b.clone())));
    agree("hot");
    let before = everything(&store, next);
    store.flush().unwrap();
    agree("one file");
    assert_eq!(everything(&store, next), before);

    // The same in one file per batch, with the last still hot; then joined.
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&dir.path().join("live"), with_far_tier(dir.path())).unwrap();
    let agree = |at: &str| {
        for plan in &plans {
            let query = Query { filter: plan.clone(), pipes: Vec::new() };
            let request = SearchRequest { limit: 1_000, ..SearchRequest::new(query, dictionary()) };
            let found = ids(&store, &request);
            assert_eq!(found, expected(&batches, plan), "{at}, seed {seed}: {plan:?}");
        }
    };
    for batch in &batches[..2] {
        store.append(batch.clone());
        store.flush().unwrap();
    }
    store.append(batches[2].clone());
    agree("files and hot");
    store.flush().unwrap();
    store.maintain(START_NS + 3 * HOUR_NS).unwrap();
    agree("joined");
    // It takes a while: every fourth time is often enough.
    if seed.is_multiple_of(4) {
        assert!(move_all(&store) > 0);
        agree("far");
    }
    assert_eq!(everything(&store, next), before);
    let report = store.verify().unwrap();
    assert_eq!(report.problems, [], "seed {seed}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(24), failure_persistence: None, ..Default::default() })]
    #[test]
    fn live_hot_and_stored_agree(seed in any::<u64>()) {
        check(seed);
    }
}

/// Seeds that once told two readers of the same events apart.
#[test]
fn what_once_disagreed_agrees() {
    [6_517_886_205_480_542_810].into_iter().for_each(check);
}

/// Scenario: events whose fields get typed columns, with values that do not fit now and then, lists,
/// addresses of both kinds, mixed case; searches as people write them.
/// Guarantees: the live evaluator, rows in memory, files, joined and far files give the same events.
#[test]
fn written_searches_agree_over_typed_columns() {
    for seed in 0..u64::from(cases(6)) {
        let mut random = Random(seed * 77 + 5);
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
        let batches: Vec<_> =
            (0..3).map(|n| typed_batch(&mut random, n * 400..(n + 1) * 400)).collect();
        let texts: Vec<String> = (0..30).map(|_| random_search(&mut random, 2)).collect();
        let mut hits = 0;
        let mut agree = |at: &str| {
            for text in &texts {
                let request = request(text);
                let wanted = expected(&batches, &request.query.filter);
                assert_eq!(ids(&store, &request), wanted, "{at}, seed {seed}: {text}");
                hits += usize::from(!wanted.is_empty() && wanted.len() < 1_200);
            }
        };
        batches.iter().for_each(|b| drop(store.append(b.clone())));
        agree("hot");
        store.flush().unwrap();
        agree("one file");
        assert!(hits > texts.len() / 2, "seed {seed}: searches that tell nothing apart: {texts:?}");
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&dir.path().join("live"), with_far_tier(dir.path())).unwrap();
        let agree = |at: &str| {
            for text in &texts {
                let request = request(text);
                let wanted = expected(&batches, &request.query.filter);
                assert_eq!(ids(&store, &request), wanted, "{at}, seed {seed}: {text}");
            }
        };
        for batch in &batches {
            store.append(batch.clone());
            store.flush().unwrap();
        }
        agree("three files");
        assert_eq!(store.maintain(START_NS + 3 * HOUR_NS).unwrap().compacted_files, 3);
        agree("joined");
        assert_eq!(move_all(&store), 1);
        agree("far");
    }
}

/// Several blocks and row groups: the index leaves out most of them and must never be wrong.
#[test]
fn the_index_leaves_nothing_out() {
    for seed in 0..3 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
        let batches: Vec<_> =
            (0..4).map(|n| random_batch(&mut random, n * 700..(n + 1) * 700)).collect();
        batches.iter().for_each(|b| drop(store.append(b.clone())));
        store.flush().unwrap();
        for _ in 0..40 {
            let plan = random_plan(&mut random, 2);
            let query = Query { filter: plan.clone(), pipes: Vec::new() };
            let request = SearchRequest { limit: 9_000, ..SearchRequest::new(query, dictionary()) };
            assert_eq!(ids(&store, &request), expected(&batches, &plan), "seed {seed}: {plan:?}");
        }
    }
}

#[test]
fn an_older_generations_batch_answers_with_todays_names() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), Options::default()).unwrap();
    let mut old = EventBatch::new(event::Dictionary::ecs());
    push(&mut old, 1, START_NS, b"x", &[("process.executable", event::Kind::Str, b"cmd.exe")]);
    store.append(Arc::new(old));
    for _ in 0..2 {
        assert_eq!(ids(&store, &request("Image:cmd.exe")), [1]);
        store.flush().unwrap();
    }
}
