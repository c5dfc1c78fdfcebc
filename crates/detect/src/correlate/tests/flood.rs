//! Floods of invented keys, and what must not be lost in them.

use super::*;

/// A budget of so many bytes per shard once it is exceeded; 72 for a packed key.
fn small(bytes: usize) -> Settings {
    Settings { bytes_per_rule: bytes * SHARDS, ..Settings::default() }
}

/// So many keys of one event each within ten minutes, an attack of `needed` events spread evenly among them.
fn flooded(
    specs: Vec<Spec>,
    junk_keys: u64,
    needed: u64,
    attack: impl Fn(u64) -> Ev,
) -> (Vec<Firing>, RuleStats) {
    let set = SpecSet::new(specs).unwrap();
    let mut engine = Engine::new(set.clone(), small(junk_keys as usize / 250));
    let mut out = Vec::new();
    let mut hasher = KeyHasher::new([3; 16]);
    let template = hits(&set, &ev(0, 0, 0), 0).remove(0);
    for i in 0..junk_keys {
        let now = 1_000_000 * S + (i * 500 * S as u64 / junk_keys) as i64;
        if i % (junk_keys / needed) == junk_keys / needed / 2 {
            let e = Ev { id: i * 2 + 1, t_s: now / S, ..attack(i / (junk_keys / needed)) };
            engine.process(hits(&set, &e, now), now, &mut out);
        }
        let key = hasher.key([format!("junk{i}").as_bytes()]);
        let junk =
            Hit { id: EventId::at(i * 2), event_ns: now, stream_ns: now, key, ..template.clone() };
        engine.process([junk], now, &mut out);
        if i % (junk_keys / 500) == 0 {
            engine.tick(now, &mut out);
        }
    }
    (out, engine.stats().remove(0))
}

#[test]
fn a_slow_attack_fires_in_a_flood_of_a_million_keys() {
    let (out, stats) = flooded(vec![counting("c", 0, 5, 600)], 1_000_000, 5, |_| ev(0, 0, 0));
    let attack: Vec<&Firing> = out.iter().filter(|f| f.group[0].1 == "u").collect();
    assert_eq!(attack.len(), 1, "the slow attack was forgotten");
    let f = attack[0];
    assert!(f.measured >= 5.0 && f.estimated >= 4, "{} of {}", f.estimated, f.measured);
    assert!(f.evidence.len() < 5, "evidence is what is still known");
    let false_alarms = out.len() - 1;
    assert!(false_alarms < 10, "{false_alarms} of a million keys fired falsely");
    let c = stats.counters;
    assert!(c.sketched > 900_000 && c.estimated as usize == out.len(), "{stats:?}");
    assert!(stats.tight && stats.bytes < 8_192 * SHARDS as u64, "{stats:?}");
}

#[test]
fn four_of_five_do_not_fire_in_a_flood() {
    let (out, _) = flooded(vec![counting("c", 0, 5, 600)], 100_000, 4, |_| ev(0, 0, 0));
    assert!(!out.iter().any(|f| f.group[0].1 == "u"));
}

#[test]
fn distinct_values_add_up_in_a_flood() {
    let spread =
        Spec { condition: Condition::gte(5), ..spec("v", SpecKind::ValueCount, &[0], 600) };
    let (out, stats) =
        flooded(vec![spread], 100_000, 5, |n| Ev { value: n as u32 + 1, ..ev(0, 0, 0) });
    assert!(out.iter().any(|f| f.group[0].1 == "u"), "the spray was forgotten");
    assert!(out.len() < 10 && stats.counters.sketched > 80_000, "{} {stats:?}", out.len());
}

#[test]
fn a_flood_of_two_event_keys_evicts_its_own_kind_before_a_slow_attack() {
    let set = SpecSet::new(vec![counting("c", 0, 5, 3_600)]).unwrap();
    let mut engine = Engine::new(set.clone(), small(4_096));
    let (mut out, mut id) = (Vec::new(), 0);
    for round in 0..5i64 {
        id += 1;
        engine.process(hits(&set, &ev(0, id, round), round * S), 0, &mut out);
        for _ in 0..5_000 {
            id += 2;
            let flood = |id| Ev { user: format!("x{}", id / 2), ..ev(0, id, round) };
            for e in [flood(id), flood(id + 1)] {
                engine.process(hits(&set, &e, round * S), 0, &mut out);
            }
        }
        engine.tick(round * S, &mut out);
    }
    assert!(out.iter().any(|f| f.group[0].1 == "u"), "the slow attack was forgotten");
    let stats = engine.stats().remove(0);
    assert!(stats.counters.evicted_keys > 5_000, "{stats:?}");
    assert!(stats.bytes < 16_384 * SHARDS as u64, "{stats:?}");
}

#[test]
fn within_its_budget_a_rule_is_exact_and_says_so() {
    let set = SpecSet::new(vec![counting("c", 0, 2, 600)]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for id in 0..20_000u64 {
        let e = Ev { user: format!("x{}", id % 15_000), ..ev(0, id, 1_000) };
        engine.process(hits(&set, &e, 1_000 * S), 0, &mut out);
    }
    engine.tick(1_001 * S, &mut out);
    assert_eq!(out.len(), 5_000);
    let stats = engine.stats().remove(0);
    let c = stats.counters;
    assert_eq!((stats.groups, stats.packed, c.episodes), (15_000, 10_000, 5_000));
    assert_eq!((c.sketched, c.evicted_keys, c.estimated, c.folded, c.dropped), (0, 0, 0, 0, 0));
    assert!(!stats.tight && stats.sketch_bytes == 0);
}
