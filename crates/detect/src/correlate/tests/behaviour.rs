use super::*;

fn kinds(firings: &[Firing]) -> Vec<FiringKind> {
    firings.iter().map(|f| f.kind).collect()
}

fn seen_ids(f: &Firing) -> Vec<u64> {
    f.evidence.iter().map(|c| c.id.offset).collect()
}

#[test]
fn the_edge_of_the_window_counts_and_one_beyond_does_not() {
    let at = |last| [ev(0, 1, 0), ev(0, 2, 5), ev(0, 3, last)];
    let inside = run(vec![counting("c", 0, 3, 60)], Settings::default(), &at(60));
    assert_eq!(kinds(&inside), [FiringKind::New]);
    assert_eq!((inside[0].fired_by, inside[0].measured), (EventId::at(3), 3.0));
    assert_eq!(seen_ids(&inside[0]), [1, 2, 3]);
    assert_eq!(inside[0].group, [("user".into(), "u".to_owned())]);
    assert!(run(vec![counting("c", 0, 3, 60)], Settings::default(), &at(61)).is_empty());
}

#[test]
fn arrival_order_alone_never_fires() {
    // 100, 101, then a late 10: never three within 60 seconds.
    let events = [ev(0, 1, 100), ev(0, 2, 101), ev(0, 3, 10)];
    assert!(run(vec![counting("c", 0, 3, 60)], Settings::default(), &events).is_empty());
}

#[test]
fn an_event_that_is_too_late_is_counted_and_left_out() {
    let set = SpecSet::new(vec![counting("c", 0, 2, 60)]).unwrap();
    let settings = Settings { hold_max_ns: 0, ..Settings::default() };
    let mut engine = Engine::new(set.clone(), settings);
    let mut out = Vec::new();
    for (id, t) in [(1, 10_000), (2, 10_000 - 301), (3, 10_000 - 300)] {
        engine.process(hits(&set, &ev(0, id, t), 20_000 * S), 0, &mut out);
    }
    assert_eq!(engine.stats()[0].counters.late, 1);
    // An event dated ahead of stream time does not make the present late.
    let mut ahead = ev(0, 4, 30_000);
    ahead.user = "other".into();
    let mut now = ev(0, 5, 20_000);
    now.user = "other".into();
    for e in [ahead, now] {
        engine.process(hits(&set, &e, 20_000 * S), 0, &mut out);
    }
    assert_eq!(engine.stats()[0].counters.late, 1);
}

#[test]
fn an_episode_is_one_alert_that_grows_and_then_a_new_one_may_begin() {
    let set = SpecSet::new(vec![counting("c", 0, 3, 60)]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for (id, t) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 62)] {
        let now = t * S;
        engine.process(hits(&set, &ev(0, id, t), now), now, &mut out);
    }
    assert_eq!(kinds(&out), [FiringKind::New]);
    engine.tick(63 * S, &mut out);
    assert_eq!(kinds(&out), [FiringKind::New, FiringKind::Update]);
    assert_eq!(seen_ids(&out[1]), [1, 2, 3, 4, 5]);
    assert_eq!((out[1].fired_by, out[1].cause), (EventId::at(3), EventId::at(5)));
    engine.tick(64 * S, &mut out);
    assert_eq!(out.len(), 2, "nothing new, nothing said");
    for (id, t) in [(6, 200), (7, 201), (8, 202)] {
        engine.process(hits(&set, &ev(0, id, t), t * S), t * S, &mut out);
    }
    assert_eq!((out[2].kind, out[2].fired_by), (FiringKind::New, EventId::at(8)));
    assert_eq!(seen_ids(&out[2]), [6, 7, 8]);
}

#[test]
fn a_late_event_joins_two_episodes_under_the_older_id() {
    let events = [ev(0, 1, 0), ev(0, 2, 1), ev(0, 3, 20), ev(0, 4, 21), ev(0, 5, 11), ev(0, 6, 10)];
    let firings = run(vec![counting("c", 0, 2, 10)], Settings::default(), &events);
    let merged: Vec<_> = firings
        .iter()
        .filter_map(|f| match f.kind {
            FiringKind::MergedInto(into) => Some((f.fired_by, into)),
            _ => None,
        })
        .collect();
    assert_eq!(merged, [(EventId::at(4), EventId::at(2))]);
    let sets = final_sets(&firings);
    assert_eq!(sets.len(), 1);
    assert_eq!(sets.first().unwrap().2.len(), 6);
    let last = firings.last().unwrap();
    assert_eq!((last.events, last.weight), (6, 6));
}

#[test]
fn repeats_weigh_what_they_stand_for() {
    let mut repeated = ev(0, 2, 1);
    repeated.weight = 4;
    let firings = run(vec![counting("c", 0, 5, 60)], Settings::default(), &[ev(0, 1, 0), repeated]);
    assert_eq!((firings[0].events, firings[0].weight, firings[0].measured), (2, 5, 5.0));
}

#[test]
fn temporal_waits_for_all_rules_and_an_expression_for_what_it_says() {
    let both = spec("t", SpecKind::Temporal, &[0, 1], 60);
    assert!(run(vec![both.clone()], Settings::default(), &[ev(0, 1, 0), ev(0, 2, 1)]).is_empty());
    let firings = run(vec![both], Settings::default(), &[ev(1, 1, 0), ev(0, 2, 1)]);
    assert_eq!((firings.len(), firings[0].fired_by), (1, EventId::at(2)));

    let mut without = spec("t", SpecKind::Temporal, &[0, 1], 60);
    without.expression =
        Some(SlotExpr::And(vec![SlotExpr::Slot(0), SlotExpr::Not(Box::new(SlotExpr::Slot(1)))]));
    without.expression_text = Some("a and not b".into());
    let firings =
        run(vec![without], Settings::default(), &[ev(0, 1, 0), ev(1, 2, 100), ev(0, 3, 101)]);
    assert_eq!(firings.iter().map(|f| f.fired_by.offset).collect::<Vec<_>>(), [1]);
    assert!(firings[0].reason().starts_with("a and not b within 60 s"), "{}", firings[0].reason());
}

#[test]
fn order_is_that_of_event_time_and_a_second_is_one_instant() {
    let ordered = || vec![spec("o", SpecKind::TemporalOrdered, &[0, 1], 60)];
    let fires = |events: &[Ev]| run(ordered(), Settings::default(), events).len();
    assert_eq!(fires(&[ev(0, 1, 0), ev(1, 2, 5)]), 1);
    assert_eq!(fires(&[ev(1, 1, 0), ev(0, 2, 5)]), 0);
    assert_eq!(fires(&[ev(1, 1, 5), ev(0, 2, 0)]), 1, "arrived the other way round");
    assert_eq!(fires(&[ev(1, 1, 5), ev(0, 2, 5)]), 1, "same second");
    assert_eq!(fires(&[ev(0, 1, 0), ev(1, 2, 61)]), 0);
}

#[test]
fn absence_and_ranges_wait_until_the_window_is_closed() {
    let heartbeat = Spec {
        condition: Condition(vec![(BoundOp::Lt, 1.0)]),
        ..spec("a", SpecKind::EventCount, &[0], 60)
    };
    let set = SpecSet::new(vec![heartbeat]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for (id, t) in [(1, 1_000), (2, 1_030), (3, 1_060)] {
        engine.process(hits(&set, &ev(0, id, t), t * S), t * S, &mut out);
        engine.tick(t * S, &mut out);
    }
    for t in 1_061..1_060 + 360 {
        engine.tick(t * S, &mut out);
        assert!(out.is_empty(), "at {t}");
    }
    engine.tick((1_060 + 360) * S, &mut out);
    assert_eq!(out.iter().map(|f| f.fired_by.offset).collect::<Vec<_>>(), [3]);

    let exactly = |n: f64| Spec {
        condition: Condition(vec![(BoundOp::Eq, n)]),
        ..spec("e", SpecKind::EventCount, &[0], 60)
    };
    let three = [ev(0, 1, 0), ev(0, 2, 0), ev(0, 3, 0)];
    assert_eq!(run(vec![exactly(3.0)], Settings::default(), &three).len(), 1);
}

#[test]
fn numbers_are_summed_averaged_and_ranked() {
    let with = |kind, bound: f64| Spec {
        condition: Condition(vec![(BoundOp::Gt, bound)]),
        ..spec("n", kind, &[0], 60)
    };
    let events: Vec<Ev> = [10, 20, 90]
        .iter()
        .enumerate()
        .map(|(i, v)| Ev { value: *v, ..ev(0, i as u64, i as i64) })
        .collect();
    let measured = |kind, bound| {
        run(vec![with(kind, bound)], Settings::default(), &events).last().map(|f| f.measured)
    };
    assert_eq!(measured(SpecKind::ValueSum, 119.0), Some(120.0));
    assert_eq!(measured(SpecKind::ValueSum, 120.0), None);
    assert_eq!(measured(SpecKind::ValueAvg, 39.0), Some(40.0));
    assert_eq!(measured(SpecKind::ValueMedian, 19.0), Some(20.0));
    assert_eq!(measured(SpecKind::ValueMedian, 20.0), None);
    assert_eq!(measured(SpecKind::ValuePercentile(75.0), 54.0), Some(55.0));
}

#[test]
fn first_seen_learns_in_silence_then_tells_each_new_value_once() {
    let kind = SpecKind::FirstSeen { learn_for_ns: 100 * S, expire_days: 30 };
    let set = SpecSet::new(vec![spec("f", kind, &[0], 1)]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for (id, t, value) in [(1, 0, 7), (2, 99, 8), (3, 100, 7), (4, 101, 9), (5, 102, 9)] {
        let e = Ev { value, ..ev(0, id, t) };
        engine.process(hits(&set, &e, t * S), t * S, &mut out);
    }
    assert_eq!(out.iter().map(|f| f.fired_by.offset).collect::<Vec<_>>(), [4]);
    let days = 86_400 * 31;
    let again = Ev { value: 7, ..ev(0, 6, 100 + days) };
    engine.process(hits(&set, &again, (100 + days) * S), 0, &mut out);
    assert_eq!(out.len(), 2, "forgotten after its days");
}

#[test]
fn a_chained_count_speaks_only_when_asked_to() {
    let events: Vec<Ev> = (0..6).map(|i| ev(0, i, i as i64)).chain([ev(1, 9, 9)]).collect();
    let firings = run(brute_force(5, 60), Settings::default(), &events);
    assert_eq!(firings.len(), 1);
    assert_eq!(firings[0].rule, 2_000);
    assert_eq!(seen_ids(&firings[0]), [0, 1, 2, 3, 4, 5, 9]);
    let mut loud = brute_force(5, 60);
    loud[1].generate = true;
    let rules: BTreeSet<u32> =
        run(loud, Settings::default(), &events).iter().map(|f| f.rule).collect();
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), [1_000, 2_000]);
}

#[test]
fn all_steps_of_a_chain_lie_within_the_parents_window() {
    // Five failures end at 4; a success at 61 leaves the first outside 60 seconds.
    let with = |t| (0..5).map(|i| ev(0, i, i as i64)).chain([ev(1, 9, t)]).collect::<Vec<_>>();
    assert_eq!(run(brute_force(5, 60), Settings::default(), &with(60)).len(), 1);
    assert_eq!(run(brute_force(5, 60), Settings::default(), &with(61)).len(), 0);
}

#[test]
fn an_overfull_key_is_folded_visibly_and_still_fires() {
    let mut chained = brute_force(1, 1_000_000);
    chained[0].condition = Condition::gte(50_000);
    let set = SpecSet::new(chained).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for i in 0..60_000u64 {
        engine.process(hits(&set, &ev(0, i, i as i64), i as i64 * S), 0, &mut out);
    }
    engine.process(hits(&set, &ev(1, 60_000, 60_000), 60_000 * S), 0, &mut out);
    assert_eq!(out.len(), 1);
    assert!(out[0].evidence.len() <= EVIDENCE_MAX);
    assert!(out[0].evidence.iter().any(|c| c.rule == 1), "the success is among the evidence");
    assert!(engine.stats()[0].counters.folded > 0);
}

#[test]
fn broken_sets_say_what_to_do() {
    let say = |specs: Vec<Spec>| SpecSet::new(specs).unwrap_err().to_string();
    assert!(say(vec![spec("c", SpecKind::EventCount, &[0], 60)]).contains("threshold is missing"));
    let mut missing = brute_force(5, 60);
    missing.remove(0);
    assert!(say(missing).contains("not a loaded rule"));
    let mut circle = spec("a", SpecKind::Temporal, &[1], 60);
    circle.references.push(Reference::correlation("a"));
    assert!(say(vec![circle]).contains("circle"));
    assert!(say(vec![counting("c", 0, 2, 0)]).contains("timespan"));
}

/// Scenario: a burst of ten arrives in many orders, each within the lateness.
/// Guarantees: what the alert says in the end is what the fullest window held, in every order.
#[test]
fn what_a_window_measures_does_not_depend_on_the_order_of_arrival() {
    for step in [1, 3, 7, 9] {
        let events: Vec<Ev> =
            (0..10).map(|n| n * step % 10).map(|t| ev(0, t as u64, 1_000 + t)).collect();
        for rotation in 0..events.len() {
            let mut events = events.clone();
            events.rotate_left(rotation);
            let said = run(vec![counting("c", 0, 3, 60)], Settings::default(), &events);
            let last = said.iter().rfind(|f| !matches!(f.kind, FiringKind::MergedInto(_)));
            let last = last.expect("it fires");
            let told: u64 = said.iter().map(|f| f.new_events).sum();
            assert_eq!((last.measured, last.events, told), (10.0, 10, 10), "{events:?}");
        }
    }
}

#[test]
fn an_event_that_matches_two_rules_counts_once() {
    let both = [ev(0, 1, 100), ev(1, 1, 100), ev(1, 2, 101), ev(0, 2, 101)];
    let said = run(vec![spec("c", SpecKind::Temporal, &[0, 1], 60)], Settings::default(), &both);
    let last = said.last().expect("it fires");
    assert_eq!((last.measured, last.events, last.weight), (2.0, 2, 2));
    assert_eq!(said.iter().map(|f| f.new_events).sum::<u64>(), 2);
    assert_eq!(last.evidence.len(), 4, "each match is listed with its rule");
}

/// Scenario: two bursts, both told, and a late event between them.
/// Guarantees: the younger one hands over what it has told; nothing is told twice.
#[test]
fn what_an_episode_has_told_is_handed_over_when_it_is_joined() {
    let set = SpecSet::new(vec![counting("c", 0, 3, 10)]).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    let mut out = Vec::new();
    for (id, t) in [(1, 0), (2, 1), (3, 2), (4, 18), (5, 19), (6, 20), (7, 10)] {
        let now = t.max(20) * S;
        engine.process(hits(&set, &ev(0, id, t), now), now, &mut out);
    }
    engine.finish(&mut out);
    let fresh = |f: &Firing| f.fresh.iter().map(|c| c.id.offset).collect::<Vec<_>>();
    let said: Vec<_> = out.iter().map(|f| (f.kind, fresh(f), f.new_events)).collect();
    assert_eq!(
        said,
        [
            (FiringKind::New, vec![1, 2, 3], 3),
            (FiringKind::New, vec![4, 5, 6], 3),
            (FiringKind::MergedInto(EventId::at(3)), vec![4, 5, 6], 3),
            (FiringKind::Update, vec![7], 1),
        ]
    );
    assert_eq!((out[3].events, out[3].evidence.len()), (7, 7));
}
