//! What the engine promises, tried on made-up and on real events.

mod attack;
mod behaviour;
mod durable;
mod flood;
mod frames;
mod keyed;
mod lifted;
mod oracle;
mod probes;
mod regular;
mod stretch;

use super::*;
use crate::sigma::BoundOp;
use event::EventId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const S: i64 = event::time::SECOND_NS;

/// A spec over detection rules 0.. with key names `user`, window in seconds.
fn spec(id: &str, kind: SpecKind, rules: &[u32], window_s: i64) -> Spec {
    let group_by: Vec<Arc<str>> = vec!["user".into()];
    Spec {
        id: id.into(),
        rule: 1_000,
        hash: 1,
        kind,
        references: rules.iter().map(|r| Reference::rule(*r, &group_by)).collect(),
        group_by,
        timespan_ns: window_s * S,
        frame: Frame::Sliding,
        condition: Condition::default(),
        expression: None,
        expression_text: None,
        value_fields: if kind.reads_value() { vec!["v".into()] } else { Vec::new() },
        generate: false,
    }
}

fn counting(id: &str, rule: u32, at_least: u32, window_s: i64) -> Spec {
    Spec {
        condition: Condition::gte(at_least),
        ..spec(id, SpecKind::EventCount, &[rule], window_s)
    }
}

/// "At least `n` of rule 0, then rule 1": a count and an order over it.
fn brute_force(n: u32, window_s: i64) -> Vec<Spec> {
    let mut ordered = spec("then", SpecKind::TemporalOrdered, &[1], window_s);
    ordered.references.insert(0, Reference::correlation("many"));
    ordered.rule = 2_000;
    vec![counting("many", 0, n, window_s), ordered]
}

/// One event as a test writes it.
#[derive(Clone, Debug)]
struct Ev {
    rule: u32,
    id: u64,
    t_s: i64,
    user: String,
    host: String,
    value: u32,
    weight: u32,
    source: u64,
    backfill: bool,
}

fn ev(rule: u32, id: u64, t_s: i64) -> Ev {
    let (user, host) = ("u".into(), "h".into());
    Ev { rule, id, t_s, user, host, value: 0, weight: 1, source: 0, backfill: false }
}

/// The hits of one event for every correlation that references its rule.
fn hits(set: &SpecSet, e: &Ev, stream_ns: i64) -> Vec<Hit> {
    let mut hasher = KeyHasher::new([3; 16]);
    let mut prints = hasher.clone();
    let mut key = |names: &[Arc<str>]| {
        let of = |name: &Arc<str>| if **name == *"host" { &e.host } else { &e.user };
        hasher.key(names.iter().map(|name| of(name).as_bytes()))
    };
    set.uses(e.rule)
        .iter()
        .map(|(index, slot)| {
            let node = set.node(*index);
            let kind = node.spec.kind;
            let own = key(&node.spec.group_by);
            let outer = &node.outer;
            let outer =
                (!outer.is_empty()).then(|| outer.iter().map(|names| Some(key(names))).collect());
            let value = match kind {
                k if k.is_numeric() => HitValue::Number(f64::from(e.value)),
                k if k.reads_value() => {
                    HitValue::Print(prints.print([e.value.to_string().as_bytes()]))
                }
                _ => HitValue::None,
            };
            Hit {
                spec: *index,
                slot: *slot,
                id: EventId::at(e.id),
                event_ns: e.t_s * S,
                stream_ns,
                source: e.source,
                backfill: e.backfill,
                weight: e.weight,
                key: own,
                value,
                outer,
            }
        })
        .collect()
}

/// Runs events in the given order, one second of stream time apart at most, and finishes.
fn run(specs: Vec<Spec>, settings: Settings, events: &[Ev]) -> Vec<Firing> {
    let set = SpecSet::new(specs).unwrap();
    let mut engine = Engine::new(set.clone(), settings);
    let mut out = Vec::new();
    for (i, e) in events.iter().enumerate() {
        let now = 100_000 * S + i as i64;
        engine.process(hits(&set, e, now), now, &mut out);
    }
    engine.finish(&mut out);
    out
}

type Sets = BTreeSet<(u32, u128, BTreeSet<(EventId, u32)>)>;

/// The episodes that are left when all has been said: (rule, key, evidence).
fn final_sets(firings: &[Firing]) -> Sets {
    let mut open: BTreeMap<(u32, u128, EventId), BTreeSet<(EventId, u32)>> = BTreeMap::new();
    for f in firings {
        let name = (f.rule, f.key, f.fired_by);
        let evidence = f.evidence.iter().map(|c| (c.id, c.rule));
        match f.kind {
            FiringKind::New => {
                assert!(open.insert(name, evidence.collect()).is_none(), "an id was used twice");
            }
            FiringKind::Update => open.get_mut(&name).expect("began before").extend(evidence),
            FiringKind::MergedInto(into) => {
                assert!(into < f.fired_by, "the older id stays");
                open.remove(&name).expect("began before");
            }
        }
    }
    open.into_iter().map(|((rule, key, _), set)| (rule, key, set)).collect()
}
