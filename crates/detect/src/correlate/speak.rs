//! What a key says: new episodes and joins at once, growth with ticks.

use super::evidence::{Cause, Changes, Episode};
use super::firing::{Contribution, Firing, FiringKind};
use super::gaps::Gaps;
use super::hit::{Hit, values};
use super::keys::Counters;
use super::lift::{Arrival, Upward};
use super::rise::{End, Work};
use super::settings::UPDATE_PAUSE_MAX_NS;
use super::spec::{Node, SpecKind, Target};
use super::window::{Entry, KeyState};
use event::EventId;

/// Entries for the parents: each qualifying window for temporal kinds, each new episode for the
/// kinds that count. `wants` tells whether a parent that asks needs those of a key.
pub(super) fn upward(
    node: &Node,
    state: &mut KeyState,
    changes: &Changes,
    cause: Cause,
    wants: &dyn Fn(usize, u128) -> bool,
    work: &mut Work,
) -> Vec<Upward> {
    let mut out = Vec::new();
    // A key may begin to matter to a parent before a window that has it qualifies.
    let is_asked = node.rises.iter().any(|rise| rise.is_asked);
    if is_asked || !node.parents.is_empty() && !changes.ends.is_empty() {
        let ends = state.note_ends(changes);
        for (place, (_, slot)) in node.parents.iter().enumerate() {
            if node.rises[place].key.is_some() {
                let entry = |t: i64, id, start| Entry::chained(*slot, (t, id), start);
                let wants = |hash| wants(place, hash);
                out.extend(state.rise(node, place, &ends, &wants, &entry, work));
                continue;
            }
            if changes.ends.is_empty() {
                continue;
            }
            let arrivals = same_group(node, state, place, (changes, &ends), cause, work);
            if !arrivals.is_empty() {
                out.push(Upward { place, key: None, arrivals });
            }
        }
    }
    state.settle_lifted();
    out
}

/// Entries for a parent of the same group-by, with what they are to the correlations above it.
fn same_group(
    node: &Node,
    state: &KeyState,
    place: usize,
    (changes, ends): (&Changes, &[End]),
    cause: Cause,
    work: &mut Work,
) -> Vec<Arrival> {
    let slot = node.parents[place].1;
    let hands_on = !node.rises[place].outer.is_empty() && !ends.is_empty();
    let alone = |entry| Arrival { entry, stands: Vec::new(), is_more: false, from: None };
    if node.parents_walk[place] {
        let entry = |t, id, start| Entry::chained(slot, (t, id), start);
        if !hands_on {
            return changes
                .ends
                .iter()
                .map(|(t, id, start)| alone(entry(*t, *id, *start)))
                .collect();
        }
        let mut arrival = |end: &End| Arrival {
            stands: state.handed_on(node, place, end, work),
            is_more: !end.is_fresh,
            ..alone(entry(end.t, end.id, end.start))
        };
        return ends.iter().map(&mut arrival).collect();
    }
    let Some(new) = state.episodes.iter().find(|e| !e.announced) else { return Vec::new() };
    let entry = Entry::chained(slot, (cause.t, new.fired_by), new.first);
    let last = changes.ends.last().filter(|_| hands_on);
    let last = last.and_then(|(t, id, _)| ends.iter().find(|end| (end.t, end.id) == (*t, *id)));
    let whole = last.map(|end| End { is_fresh: true, ..*end });
    let stands = whole.map(|end| state.handed_on(node, place, &end, work)).unwrap_or_default();
    vec![Arrival { stands, ..alone(entry) }]
}

/// Says joins and new episodes at once.
pub(super) fn announce(
    node: &Node,
    hash: u128,
    state: &mut KeyState,
    changes: &mut Changes,
    counters: &mut Counters,
    out: &mut Vec<Firing>,
) {
    for (mut gone, into) in changes.merged.drain(..) {
        counters.merged += u64::from(gone.announced);
        if gone.announced && node.speaks {
            out.push(firing(node, hash, &state.text, &mut gone, FiringKind::MergedInto(into)));
        }
    }
    let KeyState { episodes, text, .. } = state;
    for episode in episodes.iter_mut().filter(|e| !e.announced) {
        episode.announced = true;
        episode.dirty = false;
        counters.episodes += 1;
        counters.estimated += u64::from(episode.estimated > 0);
        if node.speaks {
            out.push(firing(node, hash, text, episode, FiringKind::New));
        }
    }
    if node.spec.kind == SpecKind::Absence && !node.has_children() {
        // Each is complete when it begins, and nothing can touch it any more.
        episodes.clear();
    }
}

/// Says updates that are due at `now` (all of them at the end of time).
pub(super) fn flush(
    node: &Node,
    hash: u128,
    state: &mut KeyState,
    now: i64,
    counters: &mut Counters,
    out: &mut Vec<Firing>,
) {
    let due = |e: &Episode| e.dirty && e.next_update <= now;
    if state.episodes.iter().any(|e| e.unmeasured && due(e)) {
        state.measure_again(node);
    }
    let KeyState { episodes, text, .. } = state;
    for episode in episodes.iter_mut().filter(|e| due(e)) {
        episode.dirty = false;
        episode.next_update = now.saturating_add(episode.pause);
        episode.pause = (episode.pause * 2).min(UPDATE_PAUSE_MAX_NS);
        counters.updates += 1;
        if node.speaks {
            out.push(firing(node, hash, text, episode, FiringKind::Update));
        }
    }
}

fn firing(node: &Node, key: u128, text: &[u8], episode: &mut Episode, kind: FiringKind) -> Firing {
    let (fresh, new_events) = episode.tell();
    let cause = match kind {
        FiringKind::New => episode.fired_by,
        _ => episode.cause,
    };
    Firing {
        kind,
        rule: node.spec.rule,
        rule_id: node.spec.id.clone(),
        rule_type: node.spec.kind.name(),
        key,
        group: node.spec.group_by.iter().cloned().zip(values(text)).collect(),
        fired_by: episode.fired_by,
        cause,
        trigger: EventId::default(),
        event_ns: episode.cause_ns,
        stream_ns: episode.stream_ns,
        first_ns: episode.first,
        last_ns: episode.last,
        timespan_ns: node.spec.timespan_ns,
        measured: episode.measured,
        every_ns: every_ns(node, episode),
        estimated: episode.estimated,
        condition: node.condition.clone(),
        is_expression: node.spec.expression.is_some(),
        evidence: episode.evidence.iter().map(|e| e.0).collect(),
        fresh,
        new_events,
        events: episode.events,
        weight: episode.weight,
        backfill: false,
    }
}

/// Of events at regular intervals, how long those are, by what the episode lists.
fn every_ns(node: &Node, episode: &Episode) -> Option<i64> {
    let SpecKind::RegularInterval(regular) = node.spec.kind else { return None };
    let mut gaps = Gaps::of(regular);
    episode.evidence.iter().for_each(|(c, _)| gaps.add(c.event_ns));
    gaps.rhythm().map(|rhythm| rhythm.median_ns as i64)
}

/// A value was seen for the first time.
pub(super) fn first_seen(node: &Node, hit: &Hit) -> Firing {
    let rule = match node.spec.references[usize::from(hit.slot)].target {
        Target::Rule(rule) => rule,
        Target::Correlation(_) => node.spec.rule,
    };
    let evidence =
        vec![Contribution { event_ns: hit.event_ns, id: hit.id, rule, weight: hit.weight }];
    Firing {
        kind: FiringKind::New,
        rule: node.spec.rule,
        rule_id: node.spec.id.clone(),
        rule_type: node.spec.kind.name(),
        key: hit.key.hash,
        group: node.spec.group_by.iter().cloned().zip(hit.key.values()).collect(),
        fired_by: hit.id,
        cause: hit.id,
        trigger: hit.id,
        event_ns: hit.event_ns,
        stream_ns: hit.stream_ns,
        first_ns: hit.event_ns,
        last_ns: hit.event_ns,
        timespan_ns: 0,
        measured: 1.0,
        every_ns: None,
        estimated: 0,
        condition: node.condition.clone(),
        is_expression: node.spec.expression.is_some(),
        fresh: evidence.clone(),
        evidence,
        new_events: 1,
        events: 1,
        weight: u64::from(hit.weight),
        backfill: hit.backfill,
    }
}
