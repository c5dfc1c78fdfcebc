//! Every kind in every frame against a direct reading of the definitions: any order of arrival,
//! repeats of deliveries, and streams in which state is let go while one source lags.

use super::oracle::{W, by_time, cases, check, count, episodes, ids};
use super::regular::regular_visits;
use super::*;
use proptest::prelude::*;

/// Longest pause within a session, seconds.
const GAP: i64 = 4;
/// Lateness of streamed runs, seconds.
const LATE: i64 = 30;

pub(super) fn frames() -> impl Strategy<Value = Frame> {
    let session = Frame::Session { gap_ns: GAP * S };
    prop_oneof![Just(Frame::Sliding), Just(Frame::Tumbling), Just(session)]
}

/// Events of three rules in order of time, and the same in another order with some delivered twice.
fn shuffled() -> impl Strategy<Value = (Vec<Ev>, Vec<Ev>)> {
    let one = (0u32..3, 0i64..45, 0u32..4, 1u32..3);
    let list = prop::collection::vec(one, 1..24).prop_map(|list| {
        let of = |(i, (rule, t, value, weight)): (usize, (u32, i64, u32, u32))| Ev {
            value,
            weight,
            ..ev(rule, i as u64, 50_000 + t)
        };
        list.into_iter().enumerate().map(of).collect::<Vec<_>>()
    });
    (list, prop::collection::vec(any::<prop::sample::Index>(), 0..6)).prop_flat_map(
        |(list, again)| {
            let mut twice = list.clone();
            twice.extend(again.iter().map(|i| i.get(&list).clone()));
            (Just(by_time(&list)), Just(twice).prop_shuffle())
        },
    )
}

/// The window that ends at the time of event `end` of a list in order of time.
pub(super) fn window(list: &[Ev], end: usize, frame: Frame) -> Vec<Ev> {
    let t = list[end].t_s;
    let mut from = end;
    while from > 0 {
        let (before, pause) = (list[from - 1].t_s, list[from].t_s - list[from - 1].t_s);
        let within = match frame {
            Frame::Sliding => before >= t - W,
            Frame::Tumbling => before.div_euclid(W) == t.div_euclid(W),
            Frame::Session { .. } => before >= t - W && pause <= GAP,
        };
        if !within {
            break;
        }
        from -= 1;
    }
    list[from..].iter().filter(|e| e.t_s <= t).cloned().collect()
}

/// Whether the window of event `end` ends there for good.
fn is_last(list: &[Ev], end: usize, frame: Frame) -> bool {
    let Some(next) = list.get(end + 1) else { return true };
    match frame {
        Frame::Sliding => true,
        Frame::Tumbling => next.t_s.div_euclid(W) != list[end].t_s.div_euclid(W),
        Frame::Session { .. } => next.t_s - list[end].t_s > GAP,
    }
}

/// Episodes of windows for which `holds`; `whole`: of whole windows only.
pub(super) fn expected(
    list: &[Ev],
    frame: Frame,
    whole: bool,
    holds: impl Fn(&[Ev]) -> bool,
) -> BTreeSet<BTreeSet<u64>> {
    let ends = (0..list.len()).filter(|end| !whole || is_last(list, *end, frame));
    let windows = ends.map(|end| window(list, end, frame)).filter(|w| holds(w));
    episodes(windows.map(|w| (ids(&w), ids(&w))).collect())
}

fn numbers(window: &[Ev]) -> Vec<f64> {
    let each = |e: &Ev| std::iter::repeat_n(f64::from(e.value), e.weight as usize);
    let mut all: Vec<f64> = window.iter().flat_map(each).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn rank(window: &[Ev], p: f64) -> f64 {
    let all = numbers(window);
    let place = p / 100.0 * (all.len() - 1) as f64;
    let (low, high) = (all[place.floor() as usize], all[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn mean(window: &[Ev]) -> f64 {
    let all = numbers(window);
    all.iter().sum::<f64>() / all.len() as f64
}

fn distinct(window: &[Ev]) -> usize {
    window.iter().map(|e| e.value).collect::<BTreeSet<_>>().len()
}

fn slots(window: &[Ev]) -> BTreeSet<u32> {
    window.iter().map(|e| e.rule).collect()
}

/// A kind with its condition, and the same by definition.
pub(super) type Question = (Spec, bool, fn(&[Ev]) -> bool);

pub(super) fn questions(frame: Frame) -> Vec<Question> {
    let of = |kind, parts: &[(BoundOp, f64)]| Spec {
        frame,
        condition: Condition(parts.to_vec()),
        ..spec("q", kind, &[0, 1, 2], W)
    };
    let framed = frame != Frame::Sliding;
    let beat = SpecKind::RegularInterval(Regular { jitter: 40.0, share: 60.0, burst_ns: S });
    let mut all: Vec<Question> = vec![
        (of(SpecKind::EventCount, &[(BoundOp::Gte, 4.0)]), false, |w| count(w) >= 4),
        (of(SpecKind::EventCount, &[(BoundOp::Gt, 2.0), (BoundOp::Lte, 4.0)]), framed, |w| {
            (3..=4).contains(&count(w))
        }),
        (of(SpecKind::EventCount, &[(BoundOp::Eq, 2.0)]), framed, |w| count(w) == 2),
        (of(SpecKind::EventCount, &[(BoundOp::Neq, 3.0)]), framed, |w| count(w) != 3),
        (of(SpecKind::ValueCount, &[(BoundOp::Gte, 3.0)]), false, |w| distinct(w) >= 3),
        (of(SpecKind::ValueCount, &[(BoundOp::Eq, 2.0)]), framed, |w| distinct(w) == 2),
        (of(SpecKind::ValueSum, &[(BoundOp::Gt, 5.0)]), false, |w| {
            numbers(w).iter().sum::<f64>() > 5.0
        }),
        (of(SpecKind::ValueAvg, &[(BoundOp::Gte, 2.0)]), framed, |w| mean(w) >= 2.0),
        (of(SpecKind::ValueMedian, &[(BoundOp::Lt, 1.5)]), framed, |w| rank(w, 50.0) < 1.5),
        (of(SpecKind::ValuePercentile(90.0), &[(BoundOp::Gt, 2.5)]), framed, |w| {
            rank(w, 90.0) > 2.5
        }),
        (of(beat, &[(BoundOp::Gte, 3.0)]), framed, |w| regular_visits(w, 40, 60, 1) >= 3),
        (of(SpecKind::Temporal, &[]), false, |w| slots(w).len() == 3),
        (of(SpecKind::Temporal, &[(BoundOp::Gte, 2.0)]), false, |w| slots(w).len() >= 2),
    ];
    let written = |expression| Spec { expression: Some(expression), ..of(SpecKind::Temporal, &[]) };
    let (a, b, c) = (SlotExpr::Slot(0), SlotExpr::Slot(1), SlotExpr::Slot(2));
    let without = SlotExpr::And(vec![a.clone(), SlotExpr::Not(Box::new(b.clone()))]);
    all.push((written(without), framed, |w| slots(w).contains(&0) && !slots(w).contains(&1)));
    let either = SlotExpr::And(vec![a, SlotExpr::Or(vec![b, c])]);
    all.push((written(either), false, |w| slots(w).contains(&0) && slots(w).len() > 1));
    if framed {
        all.push((of(SpecKind::EventCount, &[(BoundOp::Lt, 3.0)]), true, |w| count(w) < 3));
        all.push((of(SpecKind::ValueCount, &[(BoundOp::Lte, 1.0)]), true, |w| distinct(w) <= 1));
    }
    all
}

fn unfollowed(list: &[Ev]) -> BTreeSet<BTreeSet<u64>> {
    let follows = |a: &Ev| list.iter().any(|b| b.rule > 0 && (a.t_s..=a.t_s + W).contains(&b.t_s));
    list.iter().filter(|e| e.rule == 0 && !follows(e)).map(|e| BTreeSet::from([e.id])).collect()
}

/// A stream of one second steps: source 0 is on time within the lateness, source 1 is 200 s behind.
fn streamed(specs: &[Spec], arriving: &[(i64, Ev)]) -> (Vec<Firing>, Vec<RuleStats>) {
    let set = SpecSet::new(specs.to_vec()).unwrap();
    let settings = Settings { lateness_ns: LATE * S, ..Settings::default() };
    let mut engine = Engine::new(set.clone(), settings);
    let (mut out, mut lags) = (Vec::new(), Lags::default());
    let mut now = arriving[0].0;
    for (at, e) in arriving {
        while now < *at {
            now += 1;
            engine.tick_with(now * S, &lags.at(now * S), &mut out);
        }
        let late = (*at - e.t_s) * S;
        if late > LATE * S {
            lags.add(e.source, late, now * S);
        }
        engine.process(hits(&set, e, now * S), now * S, &mut out);
    }
    engine.finish(&mut out);
    (out, engine.stats())
}

fn stream() -> impl Strategy<Value = Vec<(i64, Ev)>> {
    let one = (0i64..6, 0i64..LATE, 0u32..3, 0u32..4, any::<bool>());
    prop::collection::vec(one, 2..120).prop_map(|list| {
        let mut t = 50_000;
        let mut arriving: Vec<(i64, Ev)> = Vec::new();
        for (i, (gap, jitter, rule, value, lags)) in list.into_iter().enumerate() {
            t += gap;
            let source = u64::from(lags || i == 0);
            let t_s = if source == 1 { t - 200 } else { t };
            let jitter = if i == 0 { 0 } else { jitter };
            arriving.push((t + jitter, Ev { value, source, ..ev(rule, i as u64, t_s) }));
        }
        arriving.sort_by_key(|a| a.0);
        arriving
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn every_kind_in_every_frame_is_its_definition((list, order) in shuffled(), frame in frames()) {
        for (spec, whole, holds) in questions(frame) {
            let expected = expected(&list, frame, whole, holds);
            check(vec![spec], 1_000, expected, [&list, &order])?;
        }
    }

    /// Scenario: the same events, many of the same second, received in another order, so that their
    /// identities are in another order, too.
    /// Guarantees: the final sets name the same events.
    #[test]
    fn identities_decide_nothing((list, order) in shuffled(), frame in frames()) {
        let mut place: BTreeMap<u64, u64> = BTreeMap::new();
        let mut received = order;
        received.retain(|e| {
            let (next, is_new) = (place.len() as u64, !place.contains_key(&e.id));
            place.entry(e.id).or_insert(next);
            is_new
        });
        let back: BTreeMap<u64, u64> = place.iter().map(|(old, new)| (*new, *old)).collect();
        received.iter_mut().for_each(|e| e.id = place[&e.id]);
        let mut asked: Vec<Spec> = questions(frame).into_iter().map(|q| q.0).collect();
        let quiet = Condition(vec![(BoundOp::Lt, 2.0)]);
        asked.push(Spec { condition: quiet, ..spec("q", SpecKind::EventCount, &[0, 1, 2], W) });
        asked.push(spec("o", SpecKind::TemporalOrdered, &[0, 1], W));
        for spec in asked {
            let sets = |events: &[Ev]| {
                let firings = run(vec![spec.clone()], Settings::default(), events);
                super::oracle::final_ids(&firings, 1_000)
            };
            let found = sets(&received).into_iter();
            let found: BTreeSet<BTreeSet<u64>> =
                found.map(|set| set.into_iter().map(|id| back[&id]).collect()).collect();
            prop_assert_eq!(found, sets(&list), "{:?}", spec);
        }
    }

    #[test]
    fn absence_is_its_definition((list, order) in shuffled()) {
        let s = spec("a", SpecKind::Absence, &[0, 1, 2], W);
        check(vec![s], 1_000, unfollowed(&list), [&list, &order])?;
    }

    #[test]
    fn a_lagging_source_is_waited_for(arriving in stream(), frame in frames()) {
        let list = by_time(&arriving.iter().map(|a| a.1.clone()).collect::<Vec<_>>());
        let mut asked = questions(frame);
        asked.iter_mut().enumerate().for_each(|(i, q)| {
            (q.0.id, q.0.rule) = (format!("q{i}").as_str().into(), 1_000 + i as u32);
        });
        let absence = Spec { rule: 2_000, ..spec("absence", SpecKind::Absence, &[0, 1, 2], W) };
        let specs: Vec<Spec> = asked.iter().map(|q| q.0.clone()).chain([absence]).collect();
        let (out, stats) = streamed(&specs, &arriving);
        prop_assert_eq!(stats.iter().map(|s| s.counters.late).sum::<u64>(), 0);
        for (spec, whole, holds) in asked {
            let found = super::oracle::final_ids(&out, spec.rule);
            prop_assert_eq!(found, expected(&list, frame, whole, holds), "{:?}", spec);
        }
        prop_assert_eq!(super::oracle::final_ids(&out, 2_000), unfollowed(&list));
    }
}
