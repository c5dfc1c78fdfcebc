//! Chains whose correlations group by different things, against a direct reading of the definition.

use super::oracle::{Window, by_time, cases, count, episodes, ids};
use super::*;
use proptest::prelude::*;

const W: i64 = 10;
const USERS: [&str; 3] = ["anna", "bob", "eve"];
const HOSTS: [&str; 2] = ["h1", "h2"];

fn names(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|name| (*name).into()).collect()
}

/// "At least `n` of rule 0 by `inner`", then rule 1 by `outer`.
fn specs(n: u32, inner: &[&str], outer: &[&str]) -> Vec<Spec> {
    let mut specs = brute_force(n, W);
    for (spec, keys) in specs.iter_mut().zip([inner, outer]) {
        spec.group_by = names(keys);
        for reference in &mut spec.references {
            if matches!(reference.target, Target::Rule(_)) {
                reference.fields = names(keys);
            }
        }
    }
    specs
}

fn key(e: &Ev, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| if *name == "host" { &e.host } else { &e.user }.clone()).collect()
}

/// The definition: of each step of an outer key, the inner windows that end before it, that lie within
/// its window with enough events, one of the outer key among them.
fn windows(
    events: &[Ev],
    n: u32,
    inner: &[&str],
    outer: &[&str],
) -> BTreeMap<Vec<String>, Vec<Window>> {
    let mut out: BTreeMap<Vec<String>, Vec<Window>> = BTreeMap::new();
    let failures: Vec<Ev> = events.iter().filter(|e| e.rule == 0).cloned().collect();
    let run = |end: &Ev, from: i64| -> Vec<Ev> {
        let same = |e: &&Ev| {
            key(e, inner) == key(end, inner) && e.t_s >= from && (e.t_s, e.id) <= (end.t_s, end.id)
        };
        failures.iter().filter(same).cloned().collect()
    };
    let whole = failures.iter().map(|f| run(f, f.t_s - W)).filter(|w| count(w) >= n);
    let contributing: BTreeSet<u64> = whole.flat_map(|w| ids(&w)).collect();
    for step in events.iter().filter(|e| e.rule == 1) {
        let (edge, own) = (step.t_s - W, key(step, outer));
        let mut last: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        for end in failures.iter().filter(|f| f.t_s >= edge && f.t_s <= step.t_s) {
            let run = run(end, edge.max(end.t_s - W));
            if count(&run) >= n && run.iter().any(|e| key(e, outer) == own) {
                let latest = last.entry(key(end, inner)).or_insert(end.t_s);
                *latest = end.t_s.max(*latest);
            }
        }
        let behind = |f: &&Ev| {
            let until = last.get(&key(f, inner));
            contributing.contains(&f.id) && f.t_s >= edge && until.is_some_and(|u| f.t_s <= *u)
        };
        let mut evidence: BTreeSet<u64> = failures.iter().filter(behind).map(|f| f.id).collect();
        if !last.is_empty() {
            evidence.insert(step.id);
            out.entry(own).or_default().push((evidence.clone(), evidence));
        }
    }
    out
}

fn events() -> impl Strategy<Value = Vec<Ev>> {
    let one = (0u32..2, 0usize..3, 0usize..2, 0i64..45, 1u32..3);
    prop::collection::vec(one, 1..30).prop_map(|list| {
        let of = |(i, (rule, user, host, t, weight)): (usize, (u32, usize, usize, i64, u32))| Ev {
            weight,
            user: USERS[user].into(),
            host: HOSTS[host].into(),
            ..ev(rule, i as u64, 50_000 + t)
        };
        list.into_iter().enumerate().map(of).collect()
    })
}

fn shuffled() -> impl Strategy<Value = (Vec<Ev>, Vec<Ev>)> {
    events().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle()))
}

/// Episodes of the outer correlation: the events of each, once for each key.
fn found(firings: &[Firing]) -> Vec<BTreeSet<u64>> {
    let sets = final_sets(firings).into_iter().filter(|(rule, ..)| *rule == 2_000);
    let mut out: Vec<BTreeSet<u64>> =
        sets.map(|(.., set)| set.into_iter().map(|(id, _)| id.offset).collect()).collect();
    out.sort();
    out
}

const GROUPS: [(&[&str], &[&str]); 5] = [
    (&["host"], &["user"]),
    (&["user", "host"], &["user"]),
    (&["user"], &["user", "host"]),
    (&[], &["user"]),
    (&["host"], &[]),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Guarantees: the outer correlation uses its own group-by over the events of the inner one, in
    /// every order of arrival.
    #[test]
    fn the_outer_group_by_counts((list, order) in shuffled(), n in 2u32..5) {
        for (inner, outer) in GROUPS {
            let expected = windows(&list, n, inner, outer).into_values();
            let mut expected: Vec<BTreeSet<u64>> = expected.flat_map(episodes).collect();
            expected.sort();
            for arrival in [&by_time(&list), &order] {
                let firings = run(specs(n, inner, outer), Settings::default(), arrival);
                prop_assert_eq!(found(&firings), expected.clone(), "{:?} {:?}", inner, outer);
            }
        }
    }

    /// Guarantees: a restart from a snapshot and any number of threads say the same.
    #[test]
    fn restarts_and_threads_change_nothing(list in events(), cut in 0usize..30, parts in 1usize..9) {
        for (inner, outer) in GROUPS {
            let set = SpecSet::new(specs(3, inner, outer)).unwrap();
            let mut straight = Engine::new(set.clone(), Settings::default());
            let mut other = Engine::new(set.clone(), Settings::default());
            let (mut expected, mut said) = (Vec::new(), Vec::new());
            for (at, e) in list.iter().enumerate() {
                let now = 100_000 * S + at as i64;
                let hits = hits(&set, e, now);
                straight.process(&hits, now, &mut expected);
                if at == cut {
                    let mut fresh = Engine::new(set.clone(), Settings::default());
                    for shard in 0..SHARDS {
                        prop_assert_eq!(fresh.restore(shard, &other.snapshot(shard)), Ok(vec![]));
                    }
                    other = fresh;
                }
                let from = said.len();
                for part in &mut other.split(parts, now) {
                    part.process(&hits, &mut said);
                }
                sort_firings(&mut said[from..]);
            }
            straight.finish(&mut expected);
            other.finish(&mut said);
            prop_assert_eq!(expected, said);
        }
    }
}

/// Two bursts on different hosts in which the same user takes part, then a quiet one without her.
#[test]
fn counting_kinds_count_episodes_that_have_the_key() {
    let mut all = specs(3, &["host"], &["user"]);
    let mut bursts = counting("bursts", 0, 2, 100);
    bursts.references = vec![Reference::correlation("many")];
    bursts.rule = 3_000;
    all.push(bursts);
    let mut list = Vec::new();
    for (host, start, users) in [
        ("h1", 0, ["anna", "bob", "bob"]),
        ("h2", 40, ["bob", "eve", "anna"]),
        ("h3", 80, ["eve"; 3]),
    ] {
        for (user, at) in users.into_iter().zip(0i64..) {
            let id = list.len() as u64;
            let (user, host) = (user.to_owned(), host.to_owned());
            list.push(Ev { user, host, ..ev(0, id, 50_000 + start + at) });
        }
    }
    let firings = run(all, Settings::default(), &list);
    let new = firings.iter().filter(|f| f.rule == 3_000 && f.kind == FiringKind::New);
    let mut users: Vec<String> = new.map(|f| f.group[0].1.clone()).collect();
    users.sort();
    assert_eq!(users, ["anna", "bob", "eve"]);
    let told = firings.iter().filter(|f| f.rule == 3_000 && f.group[0].1 == "anna");
    let events: BTreeSet<u64> = told.flat_map(|f| f.evidence.iter().map(|c| c.id.offset)).collect();
    assert_eq!(events, (0..6).collect(), "both bursts stand behind it, whoever took part");
}

/// Scenario: three correlations, each grouped by something else; the middle one keeps the inner key.
/// Guarantees: keys are handed on through all of them.
#[test]
fn keys_are_handed_on_through_a_correlation_of_the_same_group() {
    let mut all = specs(3, &["host"], &["host"]);
    let mut last = spec("last", SpecKind::TemporalOrdered, &[2], 30);
    last.references.insert(0, Reference::correlation("then"));
    last.rule = 3_000;
    all.push(last);
    let one = |rule, id, at: i64, user: &str| Ev { user: user.into(), ..ev(rule, id, 50_000 + at) };
    let list = [
        one(0, 0, 0, "anna"),
        one(0, 1, 1, "bob"),
        one(0, 2, 2, "bob"),
        one(1, 3, 3, "eve"),
        one(2, 4, 5, "anna"),
        one(2, 5, 6, "mallory"),
    ];
    let firings = run(all, Settings::default(), &list);
    let of_last: Vec<&Firing> = firings.iter().filter(|f| f.rule == 3_000).collect();
    let users: BTreeSet<&str> = of_last.iter().map(|f| &*f.group[0].1).collect();
    assert_eq!(users, ["anna"].into());
    let events: Vec<u64> = of_last[0].evidence.iter().map(|c| c.id.offset).collect();
    assert_eq!(events, [0, 1, 2, 3, 4]);
}

/// Scenario: a spray over more names than one window may stand for.
/// Guarantees: who does something else, too, is found whoever else was in the spray; where each name
/// would count by itself, each event costs a bounded number of windows, and the newest names are there.
#[test]
fn a_spray_of_names_has_a_limit() {
    let many = super::rise::KEYS_PER_WINDOW_MAX as u64;
    let one = |rule, id: u64, user: u64| Ev { user: format!("u{user}"), ..ev(rule, id, 50_000) };
    let mut list: Vec<Ev> = (0..2 * many).map(|id| one(0, id, id)).collect();
    list.push(one(1, 2 * many, 2 * many - 1));
    list.push(one(1, 2 * many + 1, 0));
    let mut all = specs(2 * many as u32, &["host"], &["user"]);
    let mut bursts = counting("bursts", 0, 1, 100);
    bursts.references = vec![Reference::correlation("many")];
    bursts.rule = 3_000;
    all.push(bursts);
    // The spray arrives at once: its window qualifies when it is complete, and not before.
    let firings = run(all, Settings::default(), &list);
    let users = |rule| -> BTreeSet<&str> {
        firings.iter().filter(|f| f.rule == rule).map(|f| &*f.group[0].1).collect()
    };
    let newest = format!("u{}", 2 * many - 1);
    assert_eq!(users(2_000), ["u0", &*newest].into());
    assert_eq!(users(3_000).len() as u64, many);
    assert!(users(3_000).contains(&*newest) && !users(3_000).contains("u0"));
}

/// Scenario: two users do something on a host in the same second, then it is quiet there; both do the second
/// step.
/// Guarantees: the quiet is an occurrence for both, whoever was received last.
#[test]
fn events_of_one_time_are_missed_for_each_of_their_keys() {
    let mut all = specs(1, &["host"], &["user"]);
    all[0].condition = Condition(vec![(BoundOp::Lt, 1.0)]);
    let one = |rule, id, at: i64, user: &str| Ev { user: user.into(), ..ev(rule, id, 50_000 + at) };
    for [first, last] in [["anna", "bob"], ["bob", "anna"]] {
        let quiet = [one(0, 0, 0, first), one(0, 1, 0, last)];
        let steps = [one(1, 2, 3, "anna"), one(1, 3, 4, "bob")];
        let firings = run(all.clone(), Settings::default(), &[quiet, steps].concat());
        let outer = firings.iter().filter(|f| f.rule == 2_000);
        let users: BTreeSet<String> = outer.map(|f| f.group[0].1.to_string()).collect();
        assert_eq!(users, ["anna".to_owned(), "bob".to_owned()].into(), "{first}, {last}");
    }
}

/// What each correlation did and holds, by its id.
fn stats(specs: Vec<Spec>, events: &[Ev]) -> BTreeMap<Arc<str>, RuleStats> {
    let set = SpecSet::new(specs).unwrap();
    let mut engine = Engine::new(set.clone(), Settings::default());
    for (at, e) in events.iter().enumerate() {
        let now = 50_300 * S + at as i64;
        engine.process(hits(&set, e, now), now, &mut Vec::new());
    }
    engine.stats().into_iter().map(|stats| (stats.id.clone(), stats)).collect()
}

/// Two thousand events of one host within four minutes, each of another user, in no order.
fn spray() -> Vec<Ev> {
    let of = |i: u64| Ev {
        user: format!("u{i}"),
        ..ev(0, i, 50_000 + (i * 7_919 % 2_000) as i64 * 240 / 2_000)
    };
    (0..2_000).map(of).collect()
}

/// Scenario: a spray whose events come in no order; nobody does the second step.
/// Guarantees: no event costs anything above, and nothing is left out.
#[test]
fn users_who_do_nothing_else_cost_nothing_above() {
    let mut specs = specs(3, &["host"], &["user"]);
    specs[0].timespan_ns = 300 * S;
    specs[1].timespan_ns = 600 * S;
    let stats = stats(specs, &spray());
    assert_eq!(stats["many"].counters.hits, 2_000);
    assert_eq!(stats["then"].groups, 0, "{:?}", stats["then"]);
    assert!(stats["many"].counters.degradations().next().is_none(), "{:?}", stats["many"]);
}

/// Scenario: a user shows up on more hosts than may be asked, then does the second step.
/// Guarantees: what would cost too much is left out and counted, and the user is found.
#[test]
fn what_costs_too_much_is_cut_and_said() {
    let hosts = super::rise::ASKED_MAX as u64 + 76;
    let on = |id: u64| Ev { host: format!("h{id}"), ..ev(0, id, 50_000) };
    let list: Vec<Ev> = (0..hosts).map(on).chain([ev(1, hosts, 50_001)]).collect();
    let specs = specs(1, &["host"], &["user"]);
    assert!(stats(specs.clone(), &list)["many"].counters.cut >= 76);
    assert_eq!(found(&run(specs, Settings::default(), &list)).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Guarantees: what is found at last does not depend on the order of arrival, whichever step comes
    /// first, in any order of steps, and where all of them are correlations.
    #[test]
    fn no_order_of_arrival_finds_less((list, order) in shuffled(), n in 1u32..4, form in 0usize..3) {
        for (inner, outer) in GROUPS {
            let mut all = specs(n, inner, outer);
            match form {
                0 => all[1].references.reverse(),
                1 => all[1].kind = SpecKind::Temporal,
                _ => {
                    let mut steps = all[0].clone();
                    (steps.id, steps.rule) = ("steps".into(), 3_000);
                    steps.condition = Condition::gte(1);
                    steps.references[0].target = Target::Rule(1);
                    all[1].references[1] = Reference::correlation("steps");
                    all.push(steps);
                }
            }
            let expected = found(&run(all.clone(), Settings::default(), &by_time(&list)));
            let shuffled = found(&run(all, Settings::default(), &order));
            prop_assert_eq!(shuffled, expected, "{:?} {:?} {}", inner, outer, form);
        }
    }
}
