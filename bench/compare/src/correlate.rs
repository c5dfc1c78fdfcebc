//! What correlation costs. One thread, a tick per 1,000 hits; making the hits is not counted.

use crate::Options;
use crate::cpu::{resident_mib, timed};
use crate::report::{figure, rounded};
use detect::BoundOp;
use detect::correlate::{
    Condition, Engine, Firing, Frame, Hit, HitValue, KeyHasher, Reference, Regular, SHARDS,
    Settings, Spec, SpecKind, SpecSet,
};
use event::{EventId, time::SECOND_NS};
use std::sync::Arc;

const BATCH: u64 = 1_000;

/// A measurement: name, what is asked, how many hits of how many groups and values.
struct Case {
    name: &'static str,
    kind: SpecKind,
    condition: (BoundOp, f64),
    frame: Frame,
    slots: u64,
    hits: u64,
    groups: u64,
    values: u64,
    /// Every so many hits one comes 30 s late; 0: none.
    late_every: u64,
    bytes: usize,
}

const BASE: Case = Case {
    name: "",
    kind: SpecKind::EventCount,
    condition: (BoundOp::Gte, 1e9),
    frame: Frame::Sliding,
    slots: 1,
    hits: 1_000_000,
    groups: 1,
    values: 1,
    late_every: 0,
    bytes: 64 << 20,
};

fn cases() -> Vec<Case> {
    let flood = Case {
        name: "flood: 4,000,000 groups in 64 MiB",
        condition: (BoundOp::Gte, 5.0),
        hits: 4_000_000,
        groups: u64::MAX,
        ..BASE
    };
    counting().into_iter().chain(relating()).chain(values()).chain([flood]).collect()
}

/// How many events, or different values of them.
fn counting() -> Vec<Case> {
    let never = (BoundOp::Gte, 60_000.0);
    let session = Frame::Session { gap_ns: 60 * SECOND_NS };
    let distinct = SpecKind::ValueCount;
    vec![
        // First, while nothing has been freed that memory could come from.
        Case {
            name: "10,000,000 groups",
            condition: (BoundOp::Gte, 10.0),
            hits: 10_000_000,
            groups: u64::MAX,
            bytes: 2 << 30,
            ..BASE
        },
        Case { name: "event_count, 1 group", ..BASE },
        Case { name: "event_count, 1 group, firing", condition: (BoundOp::Gte, 5.0), ..BASE },
        Case { name: "event_count, 1,000 groups", groups: 1_000, ..BASE },
        Case {
            name: "event_count, 1,000 groups, 1 % late",
            groups: 1_000,
            late_every: 100,
            ..BASE
        },
        Case { name: "event_count, 200,000 groups", groups: 200_000, bytes: 256 << 20, ..BASE },
        Case { name: "event_count, session", groups: 1_000, frame: session, ..BASE },
        Case { name: "event_count, tumbling", groups: 1_000, frame: Frame::Tumbling, ..BASE },
        Case {
            name: "value_count, 1 group of 5,000 values",
            kind: distinct,
            condition: never,
            values: 5_000,
            ..BASE
        },
        Case {
            name: "value_count, 1 group of 5,000 values, firing",
            kind: distinct,
            condition: (BoundOp::Gte, 4_000.0),
            values: 5_000,
            ..BASE
        },
        Case {
            name: "value_count, 1,000 groups",
            kind: distinct,
            condition: never,
            groups: 1_000,
            values: 50,
            ..BASE
        },
    ]
}

/// How events stand to each other in time.
fn relating() -> Vec<Case> {
    let regular =
        |burst_ns| SpecKind::RegularInterval(Regular { jitter: 20.0, share: 80.0, burst_ns });
    let visits = (BoundOp::Gte, 12.0);
    vec![
        Case {
            name: "temporal, 3 rules, 1,000 groups",
            kind: SpecKind::Temporal,
            condition: (BoundOp::Gte, 3.0),
            slots: 3,
            groups: 1_000,
            ..BASE
        },
        Case {
            name: "temporal_ordered, 3 rules, 10,000 groups",
            kind: SpecKind::TemporalOrdered,
            condition: (BoundOp::Gte, 3.0),
            slots: 3,
            groups: 10_000,
            ..BASE
        },
        Case {
            name: "absence, 2 rules, 1,000 groups",
            kind: SpecKind::Absence,
            slots: 2,
            groups: 1_000,
            ..BASE
        },
        Case {
            name: "regular_interval, 1 group of one visit",
            kind: regular(SECOND_NS),
            condition: visits,
            ..BASE
        },
        Case {
            name: "regular_interval, 1 group, all regular",
            kind: regular(0),
            condition: visits,
            ..BASE
        },
        Case {
            name: "regular_interval, 1,000 groups at random",
            kind: regular(0),
            condition: visits,
            groups: 1_000,
            ..BASE
        },
    ]
}

/// What their values come to.
fn values() -> Vec<Case> {
    vec![
        Case { name: "value_avg, 1 group", kind: SpecKind::ValueAvg, values: 5_000, ..BASE },
        Case {
            name: "value_percentile 95, 1 group of 5,000 values",
            kind: SpecKind::ValuePercentile(95.0),
            values: 5_000,
            ..BASE
        },
    ]
}

fn spec(case: &Case) -> Spec {
    let group_by: Vec<Arc<str>> = vec!["user.name".into()];
    let ordered = matches!(case.kind, SpecKind::TemporalOrdered | SpecKind::Absence);
    Spec {
        id: "bench".into(),
        rule: 1,
        hash: 1,
        kind: case.kind,
        references: (0..case.slots).map(|n| Reference::rule(n as u32, &group_by)).collect(),
        group_by,
        timespan_ns: 600 * SECOND_NS,
        frame: case.frame,
        condition: Condition(if ordered { Vec::new() } else { vec![case.condition] }),
        expression: None,
        expression_text: None,
        value_fields: if case.kind.reads_value() { vec!["v".into()] } else { Vec::new() },
        generate: false,
    }
}

fn hit(case: &Case, hasher: &mut KeyHasher, i: u64) -> Hit {
    // A multiplicative step visits keys and values in no order.
    let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let group = if case.groups == u64::MAX { i } else { mixed % case.groups };
    let late = case.late_every > 0 && i.is_multiple_of(case.late_every);
    let now = 1_000_000 * SECOND_NS + i as i64 * 50_000;
    let number = mixed % case.values;
    let value = match case.kind {
        SpecKind::ValueCount => HitValue::Print(hasher.print([&number.to_le_bytes()[..]])),
        SpecKind::ValueAvg | SpecKind::ValuePercentile(_) => HitValue::Number(number as f64),
        _ => HitValue::None,
    };
    Hit {
        spec: 0,
        slot: (mixed >> 8) as u8 % case.slots as u8,
        id: EventId::at(i),
        event_ns: if late { now - 30 * SECOND_NS } else { now },
        stream_ns: now,
        source: 1,
        backfill: false,
        weight: 1,
        key: hasher.key([format!("user-{group}").as_bytes()]),
        value,
        outer: None,
    }
}

/// Runs the cases one after another.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let wanted = options.only.as_deref().unwrap_or_default();
    for case in cases().iter().filter(|case| case.name.contains(wanted)) {
        one(case)?;
    }
    Ok(())
}

fn one(case: &Case) -> Result<(), String> {
    let set = SpecSet::new(vec![spec(case)]).map_err(|e| format!("{}: {e}", case.name))?;
    let settings = Settings { bytes_per_rule: case.bytes, ..Settings::default() };
    let mut engine = Engine::new(set, settings);
    let mut hasher = KeyHasher::new([1; 16]);
    let (mut out, mut firings, mut spent_s) = (Vec::<Firing>::new(), 0, 0.0);
    let before_mib = resident_mib();
    let mut hits = Vec::with_capacity(BATCH as usize);
    for batch in 0..case.hits / BATCH {
        hits.clear();
        hits.extend((batch * BATCH..(batch + 1) * BATCH).map(|i| hit(case, &mut hasher, i)));
        let now = hits[hits.len() - 1].stream_ns;
        let (cpu_s, ()) = timed(|| {
            engine.process(&hits, now, &mut out);
            // Twenty batches are a second of stream time.
            if batch % 20 == 0 {
                engine.tick(now, &mut out);
            }
        });
        spent_s += cpu_s;
        firings += out.len();
        out.clear();
    }
    let grown_mib = (resident_mib() - before_mib).max(0.0);
    let stats = engine.stats().remove(0);
    let (snapshot_s, snapshot) =
        timed(|| (0..SHARDS).map(|shard| engine.snapshot(shard).len()).sum::<usize>());
    let counted = stats.counters;
    let more = [
        ("hits", case.hits.into()),
        ("firings", firings.into()),
        ("groups", stats.groups.into()),
        ("state_mib", rounded(stats.bytes as f64 / (1 << 20) as f64).into()),
        ("sketch_mib", rounded(stats.sketch_bytes as f64 / (1 << 20) as f64).into()),
        ("resident_mib", rounded(grown_mib).into()),
        ("sketched", counted.sketched.into()),
        ("evicted", counted.evicted_keys.into()),
        ("folded", (counted.folded + counted.dropped).into()),
        ("late", counted.late.into()),
        ("snapshot_mib", rounded(snapshot as f64 / (1 << 20) as f64).into()),
        ("snapshot_ms", rounded(snapshot_s * 1e3).into()),
    ];
    figure(case.name, case.hits as f64 / spent_s, "hits/s", &more);
    Ok(())
}
