//! Crashes, reloads, threads: the same firings.

use super::*;

fn specs() -> Vec<Spec> {
    let mut out = brute_force(3, 20);
    let distinct =
        Spec { condition: Condition::gte(3), ..spec("v", SpecKind::ValueCount, &[0], 30) };
    out.push(Spec { rule: 3_000, ..distinct });
    let quiet = Condition(vec![(BoundOp::Lt, 1.0)]);
    let quiet = Spec { condition: quiet, ..spec("q", SpecKind::EventCount, &[1], 15) };
    out.push(Spec { rule: 4_000, ..quiet });
    out.push(Spec { rule: 6_000, ..spec("n", SpecKind::Absence, &[0, 1], 9) });
    let median = Spec {
        frame: Frame::Session { gap_ns: 6 * S },
        condition: Condition(vec![(BoundOp::Gt, 2.0)]),
        ..spec("m", SpecKind::ValueMedian, &[0, 1], 30)
    };
    out.push(Spec { rule: 7_000, ..median });
    let tumbling = Condition(vec![(BoundOp::Gte, 2.0), (BoundOp::Lt, 4.0)]);
    let tumbling = Spec {
        frame: Frame::Tumbling,
        condition: tumbling,
        ..spec("w", SpecKind::EventCount, &[0], 20)
    };
    out.push(Spec { rule: 8_000, ..tumbling });
    let kind = SpecKind::RegularInterval(Regular { jitter: 50.0, share: 50.0, burst_ns: S });
    let beat = Spec { condition: Condition::gte(3), ..spec("b", kind, &[0, 1], 30) };
    out.push(Spec { rule: 9_000, ..beat });
    let kind = SpecKind::FirstSeen { learn_for_ns: 10 * S, expire_days: 1 };
    out.push(Spec { rule: 5_000, ..spec("f", kind, &[1], 1) });
    out
}

/// Events of many keys with ticks in between, from a fixed recipe.
fn story(count: u64) -> Vec<Ev> {
    let mut x = 88_172_645_463_325_252u64;
    let mut next = move |below: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    };
    (0..count)
        .map(|i| Ev {
            rule: u32::from(next(4) == 0),
            id: i,
            t_s: 1_000 + (i / 8) as i64 - next(12) as i64,
            host: "h".into(),
            user: format!("user{}", next(40)),
            value: next(5) as u32,
            weight: 1 + next(3) as u32 / 2,
            source: next(3),
            backfill: next(50) == 0,
        })
        .collect()
}

enum Step {
    Event(Ev),
    Tick(i64),
}

fn steps() -> Vec<Step> {
    let mut out = Vec::new();
    for e in story(2_000) {
        if e.id % 8 == 0 {
            out.push(Step::Tick(1_000 + (e.id / 8) as i64));
        }
        out.push(Step::Event(e));
    }
    out.extend((1_251..1_700).map(Step::Tick));
    out.push(Step::Tick(4 * 86_400));
    out
}

fn settings() -> Settings {
    // A budget that the story exceeds: what is let go is part of the state too.
    Settings { lateness_ns: 15 * S, bytes_per_rule: 24 << 10, ..Settings::default() }
}

fn step(engine: &mut Engine, step: &Step, out: &mut Vec<Firing>) {
    let set = engine.specs().clone();
    match step {
        Step::Event(e) => {
            let now = (1_000 + (e.id / 8) as i64) * S;
            engine.process(hits(&set, e, now), now, out);
        }
        Step::Tick(t) => engine.tick(*t * S, out),
    }
}

fn reference() -> (Vec<Firing>, Vec<RuleStats>) {
    let mut engine = Engine::new(SpecSet::new(specs()).unwrap(), settings());
    let mut out = Vec::new();
    for s in steps() {
        step(&mut engine, &s, &mut out);
    }
    assert_eq!(engine.keys(), 0, "everything was forgotten in the end");
    (out, engine.stats())
}

#[test]
fn a_crash_anywhere_gives_the_same_firings() {
    let (expected, stats) = reference();
    let lost: u64 = stats.iter().map(|s| s.counters.sketched + s.counters.evicted_keys).sum();
    assert!(lost > 0 && stats.iter().any(|s| s.counters.backfill > 0), "{stats:?}");
    let rules: BTreeSet<u32> = expected.iter().map(|f| f.rule).collect();
    assert_eq!(
        rules.into_iter().collect::<Vec<_>>(),
        [2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000]
    );
    let all = steps();
    let mut x = std::env::var("ALCEDO_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1u64);
    let count = super::oracle::cases() as usize / 5;
    for _ in 0..count.max(1) {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let cut = (x >> 33) as usize % all.len();
        let mut engine = Engine::new(SpecSet::new(specs()).unwrap(), settings());
        let mut out = Vec::new();
        for s in &all[..cut] {
            step(&mut engine, s, &mut out);
        }
        let saved: Vec<Vec<u8>> = (0..SHARDS).map(|s| engine.snapshot(s)).collect();
        let mut engine = Engine::new(SpecSet::new(specs()).unwrap(), settings());
        for (shard, bytes) in saved.iter().enumerate() {
            assert!(engine.restore(shard, bytes).unwrap().is_empty());
            assert_eq!(&engine.snapshot(shard), bytes, "same state, same bytes");
        }
        for s in &all[cut..] {
            step(&mut engine, s, &mut out);
        }
        assert!(out == expected, "cut at {cut}");
    }
}

#[test]
fn snapshots_of_something_else_are_refused() {
    let mut engine = Engine::new(SpecSet::new(specs()).unwrap(), settings());
    let mut out = Vec::new();
    steps()[..900].iter().for_each(|s| step(&mut engine, s, &mut out));
    let good = engine.snapshot(3);
    assert!(matches!(engine.restore(4, &good), Err(SnapshotError::Other { shard: 3 })));
    assert!(engine.restore(3, &good[..good.len() / 2]).is_err());
    assert!(engine.restore(3, &[]).is_err());
    assert!(engine.restore(3, &[9]).is_err());
    let mut wrong = good.clone();
    wrong[0] = 9;
    assert_eq!(engine.restore(3, &wrong), Err(SnapshotError::Version { found: 9 }));
    assert_eq!(engine.snapshot(3), good, "a refused snapshot changes nothing");
}

#[test]
fn a_reload_keeps_windows_of_unchanged_rules_only() {
    let set = SpecSet::new(vec![counting("a", 0, 3, 60), counting("b", 0, 3, 60)]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for (id, t) in [(1, 0), (2, 1)] {
        engine.process(hits(&set, &ev(0, id, t), t * S), 0, &mut out);
    }
    let saved: Vec<Vec<u8>> = (0..SHARDS).map(|s| engine.snapshot(s)).collect();
    // Other places, other rule numbers; `b` has changed.
    let changed = Spec { hash: 2, ..counting("b", 7, 3, 60) };
    let next = SpecSet::new(vec![
        counting("new", 7, 9, 60),
        changed,
        Spec { rule: 1_500, ..counting("a", 7, 3, 60) },
    ])
    .unwrap();
    let reload = |mut engine: Engine| {
        let lost = engine.reload(next.clone());
        (engine, lost)
    };
    let restored = || {
        let mut engine = Engine::new(next.clone(), Settings::default());
        let lost = saved.iter().enumerate().map(|(s, b)| engine.restore(s, b).unwrap()).max();
        (engine, lost.unwrap())
    };
    for (mut engine, lost) in [reload(engine), restored()] {
        assert_eq!(lost, ["b".into()] as [Arc<str>; 1]);
        let mut out = Vec::new();
        engine.process(hits(&next, &ev(7, 3, 2), 2 * S), 0, &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].rule, &*out[0].rule_id), (1_500, "a"));
        assert!(out[0].evidence.iter().all(|c| c.rule == 7), "numbers of the new rule set");
        assert_eq!(out[0].evidence.len(), 3);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (expected, _) = reference();
    let all = steps();
    for threads in [2, 5] {
        let mut engine = Engine::new(SpecSet::new(specs()).unwrap(), settings());
        let set = engine.specs().clone();
        let mut out = Vec::new();
        // Batches of events between ticks.
        for batch in all.chunk_by(|a, b| matches!((a, b), (Step::Event(_), Step::Event(_)))) {
            let mut batch_hits = Vec::new();
            let mut tick = None;
            for s in batch {
                match s {
                    Step::Event(e) => {
                        let now = (1_000 + (e.id / 8) as i64) * S;
                        batch_hits.extend(hits(&set, e, now));
                    }
                    Step::Tick(t) => tick = Some(*t * S),
                }
            }
            let first = tick.unwrap_or_else(|| batch_hits[0].stream_ns);
            if tick.is_some() {
                engine.weigh(&[]);
            }
            let parts = engine.split(threads, first);
            let mut found: Vec<Firing> = std::thread::scope(|scope| {
                let batch_hits = &batch_hits;
                let running: Vec<_> = parts
                    .into_iter()
                    .map(|mut part| {
                        scope.spawn(move || {
                            let mut out = Vec::new();
                            match tick {
                                Some(now) => part.tick(now, &mut out),
                                None => part.process(batch_hits, &mut out),
                            }
                            out
                        })
                    })
                    .collect();
                running.into_iter().flat_map(|t| t.join().unwrap()).collect()
            });
            sort_firings(&mut found);
            out.extend(found);
        }
        assert!(out == expected, "{threads} threads");
    }
}
