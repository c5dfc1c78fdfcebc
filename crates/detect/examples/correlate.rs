//! How many hits per second the correlation engine takes: `cargo run --release -p detect --example
//! correlate`. One thread, hits prepared beforehand, a tick per 1,000 hits.
#![allow(clippy::unwrap_used, reason = "an example")]

use detect::correlate::{
    Condition, Engine, Hit, HitValue, KeyHasher, Reference, Settings, Spec, SpecKind, SpecSet,
};
use event::{EventId, time::SECOND_NS};
use std::sync::Arc;
use std::time::Instant;

const HITS: u64 = 1_000_000;

fn spec(kind: SpecKind, threshold: u32) -> Spec {
    let group_by: Vec<Arc<str>> = vec!["user.name".into()];
    Spec {
        id: "bench".into(),
        rule: 1,
        hash: 1,
        kind,
        references: vec![Reference::rule(0, &group_by)],
        group_by,
        timespan_ns: 600 * SECOND_NS,
        condition: Condition::gte(threshold),
        expression: None,
        value_fields: if kind.reads_value() { vec!["v".into()] } else { Vec::new() },
        generate: false,
    }
}

fn hits(keys: u64, kind: SpecKind, late_every: u64) -> Vec<Hit> {
    let mut hasher = KeyHasher::new([1; 16]);
    (0..HITS)
        .map(|i| {
            // A multiplicative step visits keys and values in no order.
            let key = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let late = if late_every > 0 && i % late_every == 0 { 30 * SECOND_NS } else { 0 };
            let now = 1_000_000 * SECOND_NS + i as i64 * 1_000_000;
            let value = match kind.reads_value() {
                true => HitValue::Print(hasher.print([&(key % 5_000).to_le_bytes()[..]])),
                false => HitValue::None,
            };
            Hit {
                spec: 0,
                slot: 0,
                id: EventId::at(i),
                event_ns: now - late,
                stream_ns: now,
                weight: 1,
                key: hasher.key([format!("user{}", key % keys).as_bytes()]),
                value,
            }
        })
        .collect()
}

fn main() {
    println!(
        "{:<12} {:>8} {:>10} {:>6} {:>12} {:>9} {:>9}",
        "kind", "keys", "threshold", "late", "hits/s", "firings", "degraded"
    );
    for kind in [SpecKind::EventCount, SpecKind::ValueCount] {
        for keys in [1, 1_000, 200_000] {
            for (threshold, late) in [(5, 0), (1_000_000_000, 0), (5, 100), (10_000, 100)] {
                if kind.reads_value() && threshold > 65_536 {
                    continue;
                }
                one(kind, keys, threshold, late);
            }
        }
    }
}

fn one(kind: SpecKind, keys: u64, threshold: u32, late: u64) {
    let prepared = hits(keys, kind, late);
    let mut engine =
        Engine::new(SpecSet::new(vec![spec(kind, threshold)]).unwrap(), Settings::default());
    let mut out = Vec::new();
    let mut firings = 0;
    let start = Instant::now();
    for batch in prepared.chunks(1_000) {
        let now = batch[batch.len() - 1].stream_ns;
        engine.process(batch, now, &mut out);
        engine.tick(now, &mut out);
        firings += out.len();
        out.clear();
    }
    let rate = HITS as f64 / start.elapsed().as_secs_f64();
    let c = engine.counters()[0].1;
    let degraded = c.folded + c.dropped + c.evicted_keys;
    println!(
        "{:<12} {keys:>8} {threshold:>10} {:>6} {rate:>12.0} {firings:>9} {degraded:>9}",
        kind.name(),
        if late > 0 { "1 %" } else { "none" },
    );
}
