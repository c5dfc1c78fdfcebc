//! Regular intervals against the definition: what has a beat, what has none, any order of arrival.

use super::frames::{expected, window};
use super::oracle::{W, by_time, cases, check, episodes, ids};
use super::*;
use crate::{RuleSet, load_text};
use proptest::prelude::*;

/// By the definition, in whole seconds: the visits of a window if enough of its gaps are near their
/// median.
pub(super) fn regular_visits(window: &[Ev], jitter: i64, share: usize, burst: i64) -> usize {
    let times: Vec<i64> = window.iter().map(|e| e.t_s).collect();
    let mut gaps: Vec<i64> = times.windows(2).map(|w| w[1] - w[0]).filter(|g| *g > burst).collect();
    gaps.sort_unstable();
    let Some(last) = gaps.len().checked_sub(1) else { return 0 };
    let twice = gaps[last / 2] + gaps[last.div_ceil(2)];
    let near = gaps.iter().filter(|g| (2 * **g - twice).abs() * 100 <= twice * jitter).count();
    if near * 100 >= share * gaps.len() { gaps.len() + 1 } else { 0 }
}

fn regular(jitter: f64, share: f64, burst_s: i64, at_least: u32, window_s: i64) -> Spec {
    let kind = SpecKind::RegularInterval(Regular { jitter, share, burst_ns: burst_s * S });
    Spec { condition: Condition::gte(at_least), ..spec("beat", kind, &[0], window_s) }
}

/// A fixed sequence of numbers from 0 to 1.
fn chance(seed: u64) -> impl FnMut() -> f64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Events whose distances `gap` gives, seconds, for `span_s` seconds.
fn walk(span_s: i64, mut gap: impl FnMut() -> f64) -> Vec<Ev> {
    let (mut t, mut list) = (0.0, Vec::new());
    while t < span_s as f64 {
        list.push(ev(0, list.len() as u64, 50_000 + t as i64));
        t += gap();
    }
    list
}

fn firings(spec: &Spec, list: &[Ev]) -> Vec<Firing> {
    let out = run(vec![spec.clone()], Settings::default(), list);
    out.into_iter().filter(|f| f.kind == FiringKind::New).collect()
}

/// As the rule of the pack: at least so many visits, a fifth of jitter, bursts are one visit.
fn beacon() -> Spec {
    regular(20.0, 80.0, 5, 20, 3_600)
}

/// Scenario: an implant that calls once a minute, a tenth earlier or later; one that sleeps up to a
/// third less; one that misses a call in twelve; one that opens two connections each time; one beside
/// which a person opens the same address a few times.
/// Guarantees: each is found, and the interval is told.
#[test]
fn a_beat_with_jitter_is_found() {
    for seed in 1..40 {
        let mut x = chance(seed);
        let tenth = walk(7_200, || 54.0 + 12.0 * x());
        let found = firings(&beacon(), &tenth);
        assert_eq!(found.len(), 1, "seed {seed}");
        let every = found[0].every_ns.unwrap();
        assert!((57 * S..=63 * S).contains(&every), "seed {seed}: {every}");
        assert!(found[0].reason().contains("one every "), "{}", found[0].reason());
        let mut x = chance(seed);
        let third = walk(7_200, || 60.0 - 20.0 * x());
        let mut x = chance(seed);
        let mut calls = 0;
        let missing = walk(7_200, || {
            calls += 1;
            (57.0 + 6.0 * x()) * if calls % 12 == 0 { 2.0 } else { 1.0 }
        });
        let mut first = false;
        let two = walk(7_200, || {
            first = !first;
            if first { 1.0 } else { 59.0 }
        });
        let mut beside = walk(7_200, || 60.0);
        beside.extend((0..6).map(|i| ev(0, 1_000 + i, 50_000 + 700 + 1_100 * i as i64)));
        for list in [third, missing, two, by_time(&beside)] {
            assert_eq!(firings(&beacon(), &list).len(), 1, "seed {seed}");
        }
    }
}

/// Scenario: a person with the same mean rate, visits at random; pages with many connections at once;
/// a transfer with several connections a second; too few visits.
/// Guarantees: none is found.
#[test]
fn what_has_no_beat_is_not_found() {
    for seed in 1..40 {
        let mut x = chance(seed);
        let person = walk(7_200, || -60.0 * (1.0 - x()).ln());
        let mut x = chance(seed);
        let pages = walk(7_200, || if x() < 0.9 { 3.0 * x() } else { 600.0 * x() });
        let mut x = chance(seed);
        let bulk = walk(600, || 0.4 * x());
        let few = walk(60 * 18, || 60.0);
        for (name, list) in [("person", person), ("pages", pages), ("bulk", bulk), ("few", few)] {
            let found = firings(&beacon(), &list);
            assert!(found.is_empty(), "{name}, seed {seed}: {}", found[0].reason());
        }
    }
}

/// Scenario: beats of several lengths with noise between, in the order of time, and shuffled with some
/// delivered twice.
/// Guarantees: the episodes are those of the definition, whatever the order; both outcomes occur.
#[test]
fn any_order_of_arrival_gives_the_same_beats() {
    let (mut with, mut without) = (0, 0);
    for seed in 1..=u64::from(cases()) * 8 {
        let mut x = chance(seed);
        let (beat, noise) = (1.0 + 2.0 * x(), x());
        let mut list = walk(60, || beat + x() - 0.5);
        let mut y = chance(seed + 1_000);
        list.extend(
            (0..(noise * 14.0) as u64).map(|i| ev(0, 100 + i, 50_000 + (y() * 60.0) as i64)),
        );
        let list = by_time(&list);
        let mut order = list.clone();
        order.extend(list.iter().take(5).cloned());
        for at in (1..order.len()).rev() {
            order.swap(at, (y() * (at + 1) as f64) as usize);
        }
        for (burst, framed) in [(0, false), (1, false), (0, true)] {
            let frame = if framed { Frame::Tumbling } else { Frame::Sliding };
            let spec = Spec { frame, ..regular(30.0, 80.0, burst, 4, W) };
            let want = expected(&list, frame, framed, |w| regular_visits(w, 30, 80, burst) >= 4);
            if want.is_empty() {
                without += 1;
            } else {
                with += 1;
            }
            check(vec![spec], 1_000, want, [&list, &order]).unwrap();
        }
    }
    assert!(with > 20 && without > 20, "{with} with a beat, {without} without");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Scenario: two rules feed one rhythm, lines say "repeated", some events match both rules.
    /// Guarantees: an event is one visit, whoever matched it and however often it says it occurred.
    #[test]
    fn an_event_is_one_visit(
        list in prop::collection::vec((0i64..40, 0u32..3, 1u32..4), 3..24).prop_shuffle(),
    ) {
        let mut events = Vec::new();
        for (i, (t, rule, weight)) in list.iter().enumerate() {
            let of = |rule| Ev { weight: *weight, ..ev(rule, i as u64, 50_000 + t) };
            match rule {
                2 => events.extend([of(0), of(1)]),
                rule => events.push(of(*rule)),
            }
        }
        let mut once = by_time(&events);
        once.dedup_by_key(|e| e.id);
        let ends = (0..once.len()).map(|end| window(&once, end, Frame::Sliding));
        let windows = ends.filter(|w| regular_visits(w, 40, 60, 0) >= 4);
        let want = episodes(windows.map(|w| (ids(&w), ids(&w))).collect());
        let kind = SpecKind::RegularInterval(Regular { jitter: 40.0, share: 60.0, burst_ns: 0 });
        let s = Spec { condition: Condition::gte(4), ..spec("beat", kind, &[0, 1], W) };
        check(vec![s], 1_000, want, [&by_time(&events), &events])?;
    }
}

/// Scenario: a window of more events than a key holds.
/// Guarantees: its old end goes and is counted; nothing is folded, which would halve the beat.
#[test]
fn a_window_that_is_too_full_keeps_its_new_end() {
    let spec = regular(20.0, 80.0, 0, 20, 400_000);
    let set = SpecSet::new(vec![spec]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for i in 0..70_000u64 {
        let e = ev(0, i, i as i64 * 2);
        engine.process(hits(&set, &e, e.t_s * S), e.t_s * S, &mut out);
    }
    engine.finish(&mut out);
    let counters = &engine.stats()[0].counters;
    assert!(counters.folded == 0 && counters.dropped > 5_000, "{counters:?}");
    assert_eq!(out[0].every_ns, Some(2 * S));
}

/// Scenario: explanations of groups with a beat, with too few visits, with no beat, with one event.
/// Guarantees: the one that fired comes first, the others say what they lack in numbers.
#[test]
fn a_group_without_a_beat_is_told_what_it_lacks() {
    let (rules, problems) = load_text(
        "title: Call\nname: call\ndetection: {s: {F: x}, condition: s}\n---\ntitle: Beat\nname: beat\n\
         correlation: {type: regular_interval, rules: [call], group-by: [user], timespan: 1h,\n\
         condition: {gte: 10, jitter: 20}}\n",
    );
    assert!(problems.is_empty(), "{problems:?}");
    let rules = RuleSet::standalone(rules);
    let specs = SpecSet::telling(&rules, 1).unwrap();
    let times = [
        ("beat", (0..20).map(|i| i * 60).collect::<Vec<i64>>()),
        ("few", (0..6).map(|i| i * 60).collect()),
        ("none", (0..20).map(|i| i * i * 7).collect()),
        ("one", vec![0]),
    ];
    let mut all = Vec::new();
    for (user, times) in times {
        for t in times {
            let e = Ev { user: user.into(), ..ev(0, all.len() as u64, t) };
            all.extend(hits(&specs, &e, t * S));
        }
    }
    let reports = explain::report(&rules, &specs, 1, all);
    let told: Vec<(&str, bool, &str)> = reports
        .iter()
        .map(|r| (r.group[0].1.as_str(), r.firings.is_empty(), r.lacks.as_str()))
        .collect();
    let asked = "`gte 10 visits, 80 % of the gaps within 20 % of their median` is asked for; the \
                 window of 3600 s that comes closest has";
    assert_eq!(told[0], ("beat", false, ""));
    assert!(told[1].0 == "none" && told[1].2.starts_with(asked), "{told:?}");
    let few = format!("{asked} 6 visits, 100 % of the gaps near their median of 60 s");
    assert_eq!(told[2], ("few", true, few.as_str()));
    assert_eq!(told[3], ("one", true, "no two events are apart"));
}

/// Scenario: a correlation over episodes asks for their rhythm; percentages that are none.
/// Guarantees: refused with the reason.
#[test]
fn what_has_no_times_of_its_own_is_refused() {
    let above = Spec {
        references: vec![Reference::correlation("c")],
        rule: 2_000,
        ..regular(20.0, 80.0, 0, 5, 60)
    };
    let error = SpecSet::new(vec![counting("c", 0, 2, 10), above]).unwrap_err();
    assert!(error.to_string().contains("times of events"), "{error}");
    for (jitter, share, burst_s) in [(101.0, 80.0, 0), (20.0, f64::NAN, 0), (20.0, 80.0, -1)] {
        let error = SpecSet::new(vec![regular(jitter, share, burst_s, 5, 60)]).unwrap_err();
        assert!(error.to_string().contains("percentages"), "{error}");
    }
}
