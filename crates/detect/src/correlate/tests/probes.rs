//! Probes that other engines fail, each by name, and the decisions where Sigma says nothing.

use super::*;

fn fires(specs: Vec<Spec>, events: &[Ev]) -> Vec<u64> {
    let all = run(specs, Settings::default(), events);
    all.iter().filter(|f| f.kind == FiringKind::New).map(|f| f.fired_by.offset).collect()
}

fn with(kind: SpecKind, rules: &[u32], parts: &[(BoundOp, f64)]) -> Spec {
    Spec { condition: Condition(parts.to_vec()), ..spec("p", kind, rules, 60) }
}

fn valued(values: &[u32]) -> Vec<Ev> {
    let each = values.iter().enumerate();
    each.map(|(i, v)| Ev { value: *v, ..ev(0, i as u64, i as i64) }).collect()
}

#[test]
fn a_late_event_outside_the_window_does_not_fire() {
    assert!(
        fires(vec![counting("c", 0, 3, 60)], &[ev(0, 1, 100), ev(0, 2, 101), ev(0, 3, 10)])
            .is_empty()
    );
}

#[test]
fn a_late_event_inside_the_window_does_fire() {
    assert_eq!(
        fires(vec![counting("c", 0, 3, 60)], &[ev(0, 1, 100), ev(0, 2, 101), ev(0, 3, 50)]),
        [3]
    );
}

#[test]
fn a_percentile_respects_its_threshold() {
    let above = |bound| with(SpecKind::ValuePercentile(95.0), &[0], &[(BoundOp::Gt, bound)]);
    let values: Vec<u32> = (1..=50).collect();
    // Rank 0.95 * 49 = 46.55 counted from 0: 47 + 0.55.
    assert!(fires(vec![above(47.56)], &valued(&values)).is_empty());
    assert!(!fires(vec![above(47.54)], &valued(&values)).is_empty());
}

#[test]
fn fewer_than_two_does_not_fire_on_the_first_arrival() {
    let set = SpecSet::new(vec![with(SpecKind::EventCount, &[0], &[(BoundOp::Lt, 2.0)])]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    engine.process(hits(&set, &ev(0, 1, 1_000), 1_000 * S), 0, &mut out);
    for t in 1_000..1_360 {
        engine.tick(t * S, &mut out);
        assert!(out.is_empty(), "fired at {t}, before the window was over");
    }
    engine.tick(1_360 * S, &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn temporal_without_a_condition_needs_every_rule() {
    let both = || vec![spec("t", SpecKind::Temporal, &[0, 1], 60)];
    assert!(fires(both(), &[ev(0, 1, 0), ev(0, 2, 1), ev(0, 3, 2)]).is_empty());
    assert_eq!(fires(both(), &[ev(0, 1, 0), ev(1, 2, 1)]), [2]);
}

#[test]
fn further_events_update_one_alert_instead_of_firing_again() {
    let events: Vec<Ev> = (0..40).map(|i| ev(0, i, i as i64)).collect();
    let all = run(vec![counting("c", 0, 3, 60)], Settings::default(), &events);
    assert_eq!(all.iter().filter(|f| f.kind == FiringKind::New).count(), 1);
    assert_eq!(all.last().unwrap().events, 40);
}

#[test]
fn a_range_takes_two_bounds() {
    let range =
        || vec![with(SpecKind::EventCount, &[0], &[(BoundOp::Gt, 2.0), (BoundOp::Lte, 4.0)])];
    let many = |n: u64| (0..n).map(|i| ev(0, i, 0)).collect::<Vec<_>>();
    // All in one second: windows of 1 to n events end there; two ends are within the range of 5.
    assert!(fires(range(), &many(2)).is_empty());
    assert_eq!(fires(range(), &many(3)).len(), 1);
}

#[test]
fn keys_and_counted_values_ignore_case() {
    let mut other = ev(0, 2, 1);
    other.user = "U".into();
    assert_eq!(fires(vec![counting("c", 0, 2, 60)], &[ev(0, 1, 0), other]), [2]);
    let mut hasher = KeyHasher::new([1; 16]);
    assert_eq!(hasher.print([&b"Host"[..]]), hasher.print([&b"hOST"[..]]));
}

#[test]
fn steps_in_order_count_by_event_time_not_by_arrival() {
    let ordered = || vec![spec("o", SpecKind::TemporalOrdered, &[0, 1], 60)];
    assert_eq!(fires(ordered(), &[ev(1, 1, 5), ev(0, 2, 0)]), [2]);
    assert!(fires(ordered(), &[ev(0, 1, 5), ev(1, 2, 0)]).is_empty());
}

#[test]
fn what_is_not_followed_fires_after_its_window_and_what_is_does_not() {
    let absence = || vec![spec("a", SpecKind::Absence, &[0, 1], 300)];
    assert!(fires(absence(), &[ev(0, 1, 0), ev(1, 2, 300)]).is_empty(), "the edge counts");
    assert_eq!(fires(absence(), &[ev(0, 1, 0), ev(1, 2, 301)]), [1]);
    assert!(fires(absence(), &[ev(0, 1, 0), ev(1, 2, 0)]).is_empty(), "the same second counts");
    assert_eq!(fires(absence(), &[ev(1, 1, 0), ev(0, 2, 10)]), [2], "before is not after");
    assert!(fires(absence(), &[ev(1, 1, 20), ev(0, 2, 10)]).is_empty(), "it came first, late");
    let mut stranger = ev(1, 2, 5);
    stranger.user = "v".into();
    assert_eq!(fires(absence(), &[ev(0, 1, 0), stranger]), [1], "another key follows nobody");
}

#[test]
fn absence_waits_for_a_source_that_lags() {
    let set = SpecSet::new(vec![spec("a", SpecKind::Absence, &[0, 1], 60)]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let (mut out, mut lags) = (Vec::new(), Lags::default());
    // Source 9 brings the second rule's events twenty minutes late.
    let slow = |id, t| Ev { source: 9, user: "other".into(), ..ev(1, id, t) };
    engine.process(hits(&set, &slow(1, 8_800), 10_000 * S), 0, &mut out);
    lags.add(9, 1_200 * S, 10_000 * S);
    engine.process(hits(&set, &ev(0, 2, 10_000), 10_000 * S), 0, &mut out);
    for t in 10_000..11_230 {
        lags.add(9, 1_200 * S, t * S);
        engine.tick_with(t * S, &lags.at(t * S), &mut out);
    }
    assert_eq!(engine.stats()[0].held_ns, 1_200 * S);
    let reply = Ev { source: 9, ..ev(1, 3, 10_030) };
    engine.process(hits(&set, &reply, 11_230 * S), 0, &mut out);
    for t in 11_230..14_000 {
        engine.tick_with(t * S, &lags.at(t * S), &mut out);
    }
    assert!(out.is_empty(), "it was followed; the reply was on its way");
}

#[test]
fn a_tumbling_window_ends_where_the_clock_says() {
    let tumbling = || vec![Spec { frame: Frame::Tumbling, ..counting("c", 0, 3, 60) }];
    // 59 and 60 are in different minutes, 0 and 59 in the same.
    assert!(fires(tumbling(), &[ev(0, 1, 58), ev(0, 2, 59), ev(0, 3, 60)]).is_empty());
    assert_eq!(fires(tumbling(), &[ev(0, 1, 0), ev(0, 2, 30), ev(0, 3, 59)]), [3]);
    let twice: Vec<Ev> = (0..6).map(|i| ev(0, i, i as i64 * 20)).collect();
    assert_eq!(fires(tumbling(), &twice), [2, 5], "each window is an alert of its own");
}

#[test]
fn a_session_ends_at_a_pause() {
    let session = || {
        let frame = Frame::Session { gap_ns: 10 * S };
        vec![Spec { frame, ..counting("c", 0, 3, 3_600) }]
    };
    assert_eq!(fires(session(), &[ev(0, 1, 0), ev(0, 2, 10), ev(0, 3, 20)]), [3]);
    assert!(fires(session(), &[ev(0, 1, 0), ev(0, 2, 10), ev(0, 3, 21)]).is_empty());
    // A late event bridges the pause.
    assert_eq!(fires(session(), &[ev(0, 1, 0), ev(0, 2, 20), ev(0, 3, 10)]), [3]);
}

#[test]
fn a_count_of_alerts_is_a_chain_and_lists_their_events() {
    let mut bursts = spec("bursts", SpecKind::EventCount, &[], 600);
    bursts.references = vec![Reference::correlation("many")];
    (bursts.rule, bursts.condition) = (2_000, Condition::gte(2));
    let events = [ev(0, 1, 0), ev(0, 2, 1), ev(0, 3, 200), ev(0, 4, 201)];
    let out = run(vec![counting("many", 0, 2, 60), bursts], Settings::default(), &events);
    assert_eq!(out.len(), 1, "{out:?}");
    assert_eq!((out[0].rule, out[0].fired_by.offset), (2_000, 4));
    let listed: Vec<u64> = out[0].evidence.iter().map(|c| c.id.offset).collect();
    assert_eq!(listed, [1, 2, 3, 4]);
}

#[test]
fn backfill_is_correlated_apart_and_in_any_order_of_sources() {
    let old = |id, t| Ev { backfill: true, ..ev(0, id, t) };
    // Newest first, far apart, and the present in between.
    let events = [old(1, 90_000), old(2, 10_000), ev(0, 3, 90_001), old(4, 10_001), old(5, 10_002)];
    let out = run(vec![counting("c", 0, 3, 60)], Settings::default(), &events);
    assert_eq!(out.len(), 1);
    assert!(out[0].backfill && out[0].fired_by == EventId::at(5));
    let listed: Vec<u64> = out[0].evidence.iter().map(|c| c.id.offset).collect();
    assert_eq!(listed, [2, 4, 5]);
}

/// From text: the keys that are ours, and what is wrong with wrong ones.
#[test]
fn documents_with_absence_and_frames_are_read() {
    use crate::{RuleSet, load_text};
    let base = |name: &str, what: &str| {
        format!(
            "title: {name}\nid: {name}\nname: {name}\nlogsource: {{category: test}}\n\
             detection: {{s: {{F: {what}}}, condition: s}}\n---\n"
        )
    };
    let load = |correlation: &str| {
        let (a, b) = (base("one", "x"), base("two", "y"));
        let text = format!("{a}{b}title: c\nid: c\ncorrelation: {{{correlation}}}\n");
        let (rules, problems) = load_text(&text);
        let set = SpecSet::from_rules(&RuleSet::standalone(rules));
        (set, problems.iter().map(|p| p.to_string()).collect::<Vec<_>>().join("; "))
    };
    let good = |correlation: &str| {
        let (set, problems) = load(correlation);
        assert_eq!(problems, "");
        let spec = set.unwrap().specs().next().unwrap().clone();
        (spec.kind, spec.frame)
    };
    let both = "rules: [one, two], group-by: [user.name], timespan: 5m";
    assert_eq!(good(&format!("type: absence, {both}")), (SpecKind::Absence, Frame::Sliding));
    let counted = format!("type: event_count, {both}, condition: {{gte: 3}}");
    assert_eq!(good(&format!("{counted}, window: tumbling")).1, Frame::Tumbling);
    let session = Frame::Session { gap_ns: 60 * S };
    assert_eq!(good(&format!("{counted}, window: session, gap: 1m")).1, session);
    for (wrong, says) in [
        (format!("{counted}, window: session"), "gap"),
        (format!("{counted}, gap: 1m"), "session"),
        (format!("{counted}, window: hopping"), "known are sliding, tumbling, session"),
    ] {
        let (_, problems) = load(&wrong);
        assert!(problems.contains(says), "{wrong}: {problems}");
    }
    for (wrong, says) in [
        (format!("type: absence, {both}, window: tumbling"), "window"),
        (format!("{counted}, window: session, gap: 1h"), "gap"),
        ("type: absence, rules: [one], timespan: 5m".to_owned(), "follow"),
    ] {
        let (set, problems) = load(&wrong);
        let error = set.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(says) || problems.contains(says), "{wrong}: {error} {problems}");
    }
}
