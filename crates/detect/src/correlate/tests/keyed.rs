//! Groups by their keys: strangers never meet, whatever the kind; aliases and tuples from the rule's
//! document; and what a key has shown first.

use super::frames::{expected, frames, questions};
use super::oracle::{W, by_time, cases, episodes, final_ids};
use super::*;
use crate::{RuleSet, Scratch, load_text};
use proptest::prelude::*;

const USERS: [&str; 3] = ["anna", "bob", "eve"];

/// Events of three users and three rules, in an order of arrival that is not that of time.
fn mixed() -> impl Strategy<Value = Vec<Ev>> {
    let one = (0u32..3, 0usize..3, 0i64..45, 0u32..4);
    prop::collection::vec(one, 1..40).prop_map(|list| {
        let of = |(i, (rule, user, t, value)): (usize, (u32, usize, i64, u32))| Ev {
            value,
            user: USERS[user].into(),
            ..ev(rule, i as u64, 50_000 + t)
        };
        list.into_iter().enumerate().map(of).collect()
    })
}

/// One sighting: who, which value, seconds since the one before, whether it is delivered twice.
type Sighting = (usize, u32, i64, bool);

/// A record of one of two products, which call their account and host differently.
type Record = (bool, usize, usize, usize, usize, i64);

/// What counts of a record: its time, its offset, its tuple.
type Counted = (i64, u64, String);

const DOCUMENT: &str = "title: a\nid: 11111111-1111-4111-8111-111111111111\nname: first\nlogsource: {category: x}\ndetection: {s: {kind: one}, condition: s}\n---\ntitle: b\nid: 22222222-2222-4222-8222-222222222222\nname: second\nlogsource: {category: x}\ndetection: {s: {kind: two}, condition: s}\n---\ntitle: c\nid: 33333333-3333-4333-8333-333333333333\ncorrelation:\n  type: value_count\n  rules: [first, second]\n  group-by: [who, host]\n  aliases: {who: {first: account, second: login}}\n  timespan: 10s\n  condition: {field: [v, w], gte: 3}\n";

/// The document's answer: sets of events, by key.
fn found(records: &[Record]) -> BTreeSet<BTreeSet<u64>> {
    let (rules, problems) = load_text(DOCUMENT);
    assert_eq!(problems, []);
    let set = RuleSet::standalone(rules);
    let specs = SpecSet::from_rules(&set).unwrap();
    let extractor = Extractor::new(&specs, set.dict(), KeyHasher::new([7; 16]));
    let envelope = Arc::new(event::Envelope::of("test", event::Protocol::File));
    let mut batch = event::EventBatch::new(set.dict().clone());
    for (offset, record) in records.iter().enumerate() {
        let (id, now) = (EventId::at(offset as u64), 60_000 * S);
        let head =
            event::RowHead { id, received_ns: now, stream_ns: now, envelope: envelope.clone() };
        let mut row = batch.begin(head, b"");
        let [who, host, v, w] = cells(record);
        row.push_str("kind", if record.0 { "one" } else { "two" });
        // The other product's name holds somebody else.
        for (name, value) in
            [("account", &who), ("login", &who), ("host", &host), ("v", &v), ("w", &w)]
        {
            let is_other = matches!((record.0, name), (true, "login") | (false, "account"));
            match value {
                _ if is_other => row.push_str(name, "nobody"),
                Some(value) => row.push_str(name, value),
                None => continue,
            };
        }
        row.set_event_ns(record.5 * S);
        row.finish();
    }
    let (mut matches, mut hits) = (Vec::new(), Vec::new());
    set.match_batch(&batch, &mut Scratch::new(), &mut matches);
    extractor.extract(&batch, &matches, &mut hits);
    let firings = in_event_time(&specs, hits);
    firings.iter().map(|f| f.evidence.iter().map(|c| c.id.offset).collect()).collect()
}

/// Account, host and the tuple of a record as it writes them; case differs, some are missing.
fn cells(record: &Record) -> [Option<String>; 4] {
    let (_, who, host, v, w, _) = *record;
    let of = |names: [&str; 4], at: usize| Some(names[at].to_owned()).filter(|n| !n.is_empty());
    [
        of(["anna", "Anna", "bob", ""], who),
        of(["h1", "H1", "h2", ""], host),
        of(["1", "2", "x", ""], v),
        of(["1", "X", "x", ""], w),
    ]
}

/// The same by definition.
fn defined(records: &[Record]) -> BTreeSet<BTreeSet<u64>> {
    let mut groups: BTreeMap<(String, String), Vec<Counted>> = BTreeMap::new();
    for (offset, record) in records.iter().enumerate() {
        let [Some(who), Some(host), Some(v), Some(w)] =
            cells(record).map(|c| c.map(|c| c.to_lowercase()))
        else {
            continue;
        };
        let group = groups.entry((who, host)).or_default();
        group.push((record.5, offset as u64, format!("{v}\u{0}{w}")));
    }
    let mut out = BTreeSet::new();
    for mut group in groups.into_values() {
        group.sort();
        let windows = group.iter().map(|end| {
            let within = group.iter().filter(|e| e.0 >= end.0 - W && (e.0, e.1) <= (end.0, end.1));
            within.collect::<Vec<_>>()
        });
        let many = |w: &Vec<&Counted>| w.iter().map(|e| &e.2).collect::<BTreeSet<_>>().len() > 2;
        let sets = windows.filter(many).map(|w| w.iter().map(|e| e.1).collect::<BTreeSet<_>>());
        out.extend(episodes(sets.map(|s| (s.clone(), s)).collect()));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn strangers_never_meet(list in mixed(), frame in frames()) {
        for (spec, whole, holds) in questions(frame) {
            let mut wanted = BTreeSet::new();
            for user in USERS {
                let own: Vec<Ev> = list.iter().filter(|e| e.user == user).cloned().collect();
                wanted.extend(expected(&by_time(&own), frame, whole, holds));
            }
            let firings = run(vec![spec.clone()], Settings::default(), &list);
            prop_assert_eq!(final_ids(&firings, 1_000), wanted, "{:?}", spec);
        }
    }

    #[test]
    fn first_seen_is_its_definition(
        sightings in prop::collection::vec((0usize..3, 0u32..6, 0i64..40_000, any::<bool>()), 1..80),
        snapshot in 0usize..80,
    ) {
        let (learn_s, days) = (90_000, 2);
        let kind = SpecKind::FirstSeen { learn_for_ns: learn_s * S, expire_days: days as u16 };
        let set = SpecSet::new(vec![spec("f", kind, &[0], 1)]).unwrap();
        let mut engine = Engine::new(set.clone(), Settings::default());
        let (mut out, mut wanted, mut last) = (Vec::new(), Vec::new(), BTreeMap::new());
        let start = 100 * 86_400;
        let mut now = start;
        for (i, (user, value, gap, twice)) in sightings.iter().enumerate() {
            let (user, value, gap, twice): Sighting = (*user, *value, *gap, *twice);
            now += if i == 0 { 0 } else { gap };
            let e = Ev { value, user: USERS[user].into(), ..ev(0, i as u64, now) };
            let day = now.div_euclid(86_400);
            let seen = last.insert((user, value), day);
            let is_new = seen.is_none_or(|seen| seen < day - days);
            if is_new && now - start >= learn_s {
                wanted.push(i as u64);
            }
            for _ in 0..=usize::from(twice) {
                engine.process(hits(&set, &e, now * S), now * S, &mut out);
            }
            if i == snapshot {
                let saved: Vec<Vec<u8>> = (0..SHARDS).map(|shard| engine.snapshot(shard)).collect();
                engine = Engine::new(set.clone(), Settings::default());
                for (shard, bytes) in saved.iter().enumerate() {
                    prop_assert!(engine.restore(shard, bytes).unwrap().is_empty());
                }
            }
        }
        prop_assert_eq!(out.iter().map(|f| f.fired_by.offset).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn aliases_and_tuples_are_what_the_document_says(
        records in prop::collection::vec(
            (any::<bool>(), 0usize..4, 0usize..4, 0usize..4, 0usize..4, 50_000i64..50_040), 1..60),
    ) {
        prop_assert_eq!(found(&records), defined(&records));
    }
}
