//! Events per second of the matcher alone, on one core:
//! `cargo run --release --example match -p detect -- RULES EVENTS.ndjson [MORE_RULES...]`
#![allow(clippy::unwrap_used, reason = "an example")]

use detect::ruletest::push_event;
use detect::{LOGSOURCE_FIELD, RuleSet, Scratch, load_paths};
use event::EventBatch;
use serde_json::Value as Json;
use std::path::PathBuf;
use std::time::Instant;

const ROWS_PER_BATCH: usize = 1_024;
const PASSES: usize = 3;

fn main() {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    assert!(paths.len() >= 2, "usage: match RULES EVENTS.ndjson [MORE_RULES...]");
    let events = paths.remove(1);
    let start = Instant::now();
    let (rules, problems) = load_paths(&paths);
    println!("{} rules, {} listed, read in {:?}", rules.len(), problems.len(), start.elapsed());
    let start = Instant::now();
    let set = RuleSet::standalone(rules);
    println!("compiled in {:?}: {:?}", start.elapsed(), set.matcher().stats());

    let text = std::fs::read_to_string(events).unwrap();
    let routed = batches(&set, &text, true);
    let unrouted = batches(&set, &text, false);
    for (name, list) in [("with logsource routing", routed), ("every rule", unrouted)] {
        let rows: usize = list.iter().map(EventBatch::len).sum();
        let mut scratch = Scratch::new();
        for _ in 0..PASSES {
            let mut found = Vec::new();
            let start = Instant::now();
            for batch in &list {
                set.match_batch(batch, &mut scratch, &mut found);
            }
            let took = start.elapsed();
            println!(
                "{name}: {rows} events, {} matches, {:.0} events/s",
                found.len(),
                rows as f64 / took.as_secs_f64()
            );
        }
    }
}

fn batches(set: &RuleSet, text: &str, routed: bool) -> Vec<EventBatch> {
    let mut out = Vec::new();
    let mut batch = EventBatch::new(set.dict().clone());
    for line in text.lines() {
        let mut event: Json = serde_json::from_str(line).unwrap();
        if routed {
            let part = |key: &str| event[key].as_str().unwrap_or("").to_owned();
            let cell = format!("{}/{}/{}", part("product"), part("category"), part("service"));
            event[LOGSOURCE_FIELD] = cell.into();
        }
        push_event(&mut batch, &event, line.as_bytes());
        if batch.len() == ROWS_PER_BATCH {
            out.push(std::mem::replace(&mut batch, EventBatch::new(set.dict().clone())));
        }
    }
    out.push(batch);
    out
}
