//! Late events in correlations over correlations: many windows decided at once say what each says by
//! itself, and cost what a window holds.

use super::super::stretch::{BY_ONE, LOOKED};
use super::*;
use proptest::prelude::*;

const W: i64 = 12;

/// "At least so many of rule 0, and of rule 1, and of rule 2", in windows of other lengths.
fn counts(needed: [u32; 3], host: bool) -> Vec<Spec> {
    let mut out: Vec<Spec> = (0..3u32)
        .zip(needed)
        .map(|(rule, n)| counting(&format!("c{rule}"), rule, n, W - 4 * i64::from(rule)))
        .collect();
    if host {
        let group_by: Vec<Arc<str>> = vec!["host".into()];
        for (rule, child) in (0..).zip(&mut out[..2]) {
            child.references = vec![Reference::rule(rule, &group_by)];
            child.group_by.clone_from(&group_by);
        }
    }
    out
}

fn above(ids: &[&str], needed: u32) -> Spec {
    let mut parent = spec("all", SpecKind::Temporal, &[], W);
    parent.references = ids.iter().map(|id| Reference::correlation(id)).collect();
    parent.condition = Condition::gte(needed);
    parent.rule = 3_000;
    parent
}

/// What is left when all has been said, with how many events that is and what was measured.
fn said(firings: &[Firing]) -> (Sets, BTreeSet<(u32, EventId, u64, u64)>) {
    let mut last = BTreeMap::new();
    for f in firings {
        match f.kind {
            FiringKind::MergedInto(_) => drop(last.remove(&(f.rule, f.key, f.fired_by))),
            _ => drop(last.insert((f.rule, f.key, f.fired_by), (f.events, f.measured as u64))),
        }
    }
    let told = last.into_iter().map(|((rule, _, id), (events, n))| (rule, id, events, n)).collect();
    (final_sets(firings), told)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * super::oracle::cases(), ..ProptestConfig::default() })]

    /// Scenario: events of three rules on three users and hosts, in any order of arrival; a correlation
    /// over two or three counts of them, of the same group-by or of another one, one with a rule of its
    /// own.
    /// Guarantees: deciding windows in one pass and one by one say the same: episodes, their evidence,
    /// numbers of events, and what is measured.
    #[test]
    fn many_windows_at_once_say_what_one_by_one_says(
        list in prop::collection::vec((0u32..3, 0i64..60, 0u32..2, 0u32..3), 1..60),
        order in any::<prop::sample::Index>(),
        (needed, host, of, own) in ([1u32..3, 1u32..3, 1u32..3], any::<bool>(), 2u32..4, any::<bool>()),
    ) {
        let mut events: Vec<Ev> = list.iter().enumerate().map(|(i, (rule, t, user, host))| Ev {
            user: format!("u{user}"), host: format!("h{host}"), ..ev(*rule, i as u64, 50_000 + t)
        }).collect();
        // Half of them in order, the rest late.
        let half = order.index(events.len());
        events[..half].sort_by_key(|e| (e.t_s, e.id));
        let mut parent = above(&["c0", "c1", "c2"], of);
        if own {
            parent.references[2] = Reference::rule(2, &parent.group_by);
        }
        let mut specs = counts(needed, host);
        specs.push(parent);
        let settings = Settings { lateness_ns: 3_600 * S, ..Settings::default() };
        let one_by_one = BY_ONE.with(|by_one| {
            by_one.set(true);
            let out = run(specs.clone(), settings.clone(), &events);
            by_one.set(false);
            out
        });
        let at_once = run(specs, settings, &events);
        prop_assert_eq!(said(&at_once), said(&one_by_one));
    }
}

/// Scenario: five thousand late events of one key, in the midst of two counts that a `temporal` is over;
/// then twenty more, decided one window after the other.
/// Guarantees: each costs a few looks at each entry of the window, where one window after the other looks
/// at each entry once per window.
#[test]
fn late_events_of_one_key_cost_what_a_window_holds() {
    let (span, all) = (120, 1_800);
    let children = ["c0", "c1"].iter().zip(0..).map(|(id, rule)| counting(id, rule, 3, 30));
    let mut parent = above(&["c0", "c1"], 2);
    parent.timespan_ns = span * S;
    let set = SpecSet::new(children.chain([parent]).collect()).unwrap();
    let settings = Settings { lateness_ns: 3_600 * S, ..Settings::default() };
    let mut engine = Engine::new(set.clone(), settings);
    let (mut out, now) = (Vec::new(), 100_000 * S);
    let mut send = |ids: std::ops::Range<u64>, t: &dyn Fn(i64) -> i64| {
        LOOKED.with(|sum| sum.set(0));
        for id in ids.clone() {
            let late = ev((id % 2) as u32, id, 50_000 + t(id as i64));
            engine.process(hits(&set, &late, now + id as i64), now + id as i64, &mut out);
        }
        LOOKED.with(std::cell::Cell::get) / (ids.end - ids.start)
    };
    send(0..1_800, &|id| id * all / 1_800);
    let late = |id| (id * 7) % (all - span);
    let each = send(2_000..7_000, &late);
    BY_ONE.with(|by_one| by_one.set(true));
    let before = send(7_000..7_020, &late);
    BY_ONE.with(|by_one| by_one.set(false));
    assert_eq!(engine.stats().iter().map(|s| s.counters.late).sum::<u64>(), 0);
    println!("entries looked at per late event: {each}, one window after the other {before}");
    assert!(each < 1_000 && before > 20 * each, "{each} {before}");
}
