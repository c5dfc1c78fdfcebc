//! The engine against a direct reading of the definitions, under every order of arrival.

use super::*;
use proptest::prelude::*;

pub(super) const W: i64 = 10;

/// Cases per property; `ALCEDO_CASES` asks for more.
pub(super) fn cases() -> u32 {
    std::env::var("ALCEDO_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(16)
}

/// One contributing set per qualifying window end: (own entries, evidence).
pub(super) type Window = (BTreeSet<u64>, BTreeSet<u64>);

fn in_window(events: &[Ev], end: &Ev) -> Vec<Ev> {
    events.iter().filter(|e| e.t_s >= end.t_s - W && e.t_s <= end.t_s).cloned().collect()
}

pub(super) fn ids(events: &[Ev]) -> BTreeSet<u64> {
    events.iter().map(|e| e.id).collect()
}

/// Windows of a kind that takes everything in the window once `holds`.
fn plain(events: &[Ev], holds: impl Fn(&[Ev]) -> bool) -> Vec<Window> {
    let windows = events.iter().map(|end| in_window(events, end));
    windows.filter(|w| holds(w)).map(|w| (ids(&w), ids(&w))).collect()
}

/// Joins windows that share entries.
pub(super) fn episodes(mut windows: Vec<Window>) -> BTreeSet<BTreeSet<u64>> {
    let mut at = 0;
    while at < windows.len() {
        let other = (at + 1..windows.len()).find(|o| !windows[at].0.is_disjoint(&windows[*o].0));
        match other {
            Some(other) => {
                let (own, evidence) = windows.remove(other);
                windows[at].0.extend(own);
                windows[at].1.extend(evidence);
                at = 0;
            }
            None => at += 1,
        }
    }
    windows.into_iter().map(|w| w.1).collect()
}

pub(super) fn count(events: &[Ev]) -> u32 {
    events.iter().map(|e| e.weight).sum()
}

/// Chains rule 0, 1, 2 by brute force.
fn ordered(events: &[Ev], steps: u32) -> Vec<Window> {
    let mut out = Vec::new();
    for end in events.iter().filter(|e| e.rule == steps - 1) {
        let close: Vec<&Ev> =
            events.iter().filter(|e| e.t_s >= end.t_s - W && e.t_s <= end.t_s).collect();
        let mut on_chain = BTreeSet::new();
        let mut chains: Vec<Vec<&Ev>> = vec![vec![end]];
        for step in (0..steps - 1).rev() {
            chains = chains
                .into_iter()
                .flat_map(|chain| {
                    let next = chain[chain.len() - 1].t_s;
                    close
                        .iter()
                        .filter(move |e| e.rule == step && e.t_s <= next)
                        .map(move |e| chain.iter().copied().chain([*e]).collect::<Vec<_>>())
                        .collect::<Vec<_>>()
                })
                .collect();
        }
        for chain in chains {
            on_chain.extend(chain.iter().map(|e| e.id));
        }
        if !on_chain.is_empty() {
            out.push((on_chain.clone(), on_chain));
        }
    }
    out
}

/// "n of rule 0, then rule 1" by brute force.
fn chained(events: &[Ev], n: u32) -> Vec<Window> {
    let failures: Vec<Ev> = events.iter().filter(|e| e.rule == 0).cloned().collect();
    let counted = plain(&failures, |w| count(w) >= n);
    let contributing: BTreeSet<u64> = counted.iter().flat_map(|w| w.1.clone()).collect();
    let mut out = Vec::new();
    for end in events.iter().filter(|e| e.rule == 1) {
        let edge = end.t_s - W;
        // Ends of runs of n that lie between the edge and the success.
        let ends: Vec<&Ev> = failures
            .iter()
            .filter(|f| {
                let run: Vec<Ev> = failures
                    .iter()
                    .filter(|e| e.t_s >= edge.max(f.t_s - W) && (e.t_s, e.id) <= (f.t_s, f.id))
                    .cloned()
                    .collect();
                f.t_s <= end.t_s && f.t_s >= edge && count(&run) >= n
            })
            .collect();
        let Some(last) = ends.iter().map(|e| e.t_s).max() else { continue };
        let mut evidence: BTreeSet<u64> = failures
            .iter()
            .filter(|f| contributing.contains(&f.id) && f.t_s >= edge && f.t_s <= last)
            .map(|f| f.id)
            .collect();
        evidence.insert(end.id);
        out.push((evidence.clone(), evidence));
    }
    out
}

fn events(rules: u32) -> impl Strategy<Value = Vec<Ev>> {
    let one = (0..rules, 0i64..45, 0u32..4, 1u32..3);
    prop::collection::vec(one, 1..24).prop_map(|list| {
        let each = list.into_iter().enumerate();
        each.map(|(i, (rule, t, value, weight))| Ev {
            value,
            weight,
            ..ev(rule, i as u64, 50_000 + t)
        })
        .collect()
    })
}

/// The same events in another order of arrival, identities unchanged.
fn shuffled(rules: u32) -> impl Strategy<Value = (Vec<Ev>, Vec<Ev>)> {
    events(rules).prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle()))
}

pub(super) fn check(
    specs: Vec<Spec>,
    rule: u32,
    expected: BTreeSet<BTreeSet<u64>>,
    orders: [&[Ev]; 2],
) -> Result<(), TestCaseError> {
    for order in orders {
        let firings = run(specs.clone(), Settings::default(), order);
        let found: BTreeSet<BTreeSet<u64>> = final_ids(&firings, rule);
        prop_assert_eq!(&found, &expected);
        for f in firings.iter().filter(|f| f.rule == rule) {
            prop_assert_eq!(f.events as usize, f.evidence.len());
        }
    }
    Ok(())
}

pub(super) fn final_ids(firings: &[Firing], rule: u32) -> BTreeSet<BTreeSet<u64>> {
    // Under a permuted arrival ids do not tell which came first; only the sets are compared.
    let mut open: BTreeMap<EventId, BTreeSet<u64>> = BTreeMap::new();
    for f in firings.iter().filter(|f| f.rule == rule) {
        match f.kind {
            FiringKind::MergedInto(_) => {
                open.remove(&f.fired_by).expect("began before");
            }
            _ => {
                open.insert(f.fired_by, f.evidence.iter().map(|c| c.id.offset).collect());
            }
        }
    }
    open.into_values().collect()
}

pub(super) fn by_time(events: &[Ev]) -> Vec<Ev> {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|e| (e.t_s, e.id));
    sorted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn event_count_is_its_definition((list, order) in shuffled(1), n in 2u32..6) {
        let expected = episodes(plain(&list, |w| count(w) >= n));
        check(vec![counting("c", 0, n, W)], 1_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn value_count_is_its_definition((list, order) in shuffled(1), n in 2u32..4) {
        let distinct = |w: &[Ev]| w.iter().map(|e| e.value).collect::<BTreeSet<_>>().len();
        let expected = episodes(plain(&list, |w| distinct(w) >= n as usize));
        let s = Spec {
            condition: Condition::gte(n), ..spec("v", SpecKind::ValueCount, &[0], W)
        };
        check(vec![s], 1_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn value_sum_is_its_definition((list, order) in shuffled(1), n in 1u32..9) {
        let sum = |w: &[Ev]| w.iter().map(|e| e.value * e.weight).sum::<u32>();
        let expected = episodes(plain(&list, |w| sum(w) >= n));
        let s = Spec { condition: Condition::gte(n), ..spec("s", SpecKind::ValueSum, &[0], W) };
        check(vec![s], 1_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn ranges_are_decided_on_the_whole_window((list, order) in shuffled(1), n in 1u32..5) {
        let expected = episodes(plain(&list, |w| (n..=n + 1).contains(&count(w))));
        let condition = Condition(vec![(BoundOp::Gte, f64::from(n)), (BoundOp::Lt, f64::from(n + 2))]);
        let s = Spec { condition, ..spec("r", SpecKind::EventCount, &[0], W) };
        check(vec![s], 1_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn absence_is_decided_where_events_leave((list, order) in shuffled(1), n in 1u32..4) {
        let windows = list.iter().filter_map(|start| {
            let after: Vec<Ev> = list.iter()
                .filter(|e| e.t_s > start.t_s && e.t_s <= start.t_s + W).cloned().collect();
            let same = list.iter().filter(|e| e.t_s == start.t_s).map(|e| e.id);
            let own: BTreeSet<u64> = ids(&after).into_iter().chain(same).collect();
            (count(&after) < n).then(|| (own.clone(), own))
        });
        let expected = episodes(windows.collect());
        let condition = Condition(vec![(BoundOp::Lt, f64::from(n))]);
        let s = Spec { condition, ..spec("a", SpecKind::EventCount, &[0], W) };
        check(vec![s], 1_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn temporal_is_its_definition((list, order) in shuffled(3)) {
        let all = |w: &[Ev]| (0..3).all(|r| w.iter().any(|e| e.rule == r));
        let expected = episodes(plain(&list, all));
        let s = spec("t", SpecKind::Temporal, &[0, 1, 2], W);
        check(vec![s], 1_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn temporal_ordered_is_its_definition((list, order) in shuffled(3)) {
        let expected = episodes(ordered(&list, 3));
        let s = spec("o", SpecKind::TemporalOrdered, &[0, 1, 2], W);
        check(vec![s], 1_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn a_count_then_a_step_is_its_definition((list, order) in shuffled(2), n in 2u32..5) {
        let expected = episodes(chained(&list, n));
        check(brute_force(n, W), 2_000, expected, [&by_time(&list), &order])?;
    }

    #[test]
    fn nothing_changes_when_old_state_is_let_go(
        gaps in prop::collection::vec((0i64..8, 0i64..30, 0u32..2), 1..120), n in 2u32..5,
    ) {
        // Long runs with jitter below the lateness: pruning and episodes that end are at work.
        let mut t = 50_000;
        let mut arriving: Vec<(i64, Ev)> = gaps.iter().enumerate().map(|(i, (gap, jitter, rule))| {
            t += gap;
            (t + jitter, ev(*rule, i as u64, t))
        }).collect();
        let list: Vec<Ev> = arriving.iter().map(|a| a.1.clone()).collect();
        arriving.sort_by_key(|a| a.0);
        let set = SpecSet::new(brute_force(n, W)).unwrap();
        let settings = Settings { lateness_ns: 30 * S, ..Settings::default() };
        let mut engine = Engine::new(set.clone(), settings);
        let mut out = Vec::new();
        for (at, e) in &arriving {
            engine.tick(*at * S, &mut out);
            engine.process(hits(&set, e, *at * S), *at * S, &mut out);
        }
        engine.finish(&mut out);
        prop_assert_eq!(engine.stats().iter().map(|c| c.counters.late).sum::<u64>(), 0);
        prop_assert_eq!(final_ids(&out, 2_000), episodes(chained(&list, n)));
    }
}
