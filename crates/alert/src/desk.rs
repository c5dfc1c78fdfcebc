//! Grouping and suppression: one open episode per (rule, entity).
//!
//! ```text
//! firings of one (rule, entity)   |x.....x..x...........x....|X.......
//! goes out at once                |x                         |X  (a new episode: its window is over)
//! folded, told in summaries       |      x  x           x    |
//! ```
//! The window runs from the first firing and is not prolonged by later ones: an attacker who keeps
//! going is reported once per window, not once. A firing of a higher level starts a new episode at
//! once. Counts are exact always; evidence is kept up to [`EVIDENCE_MAX`] events an alert.

use crate::id::{alert_id, keyed};
use crate::revision::Revision;
use event::{Alert, EventId, Evidence, Level};
use serde::{Deserialize, Serialize};
use sha2::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Most events an alert names as evidence; further ones are counted. A thousand is what a person
/// can page through and a webhook receiver can take (about 100 KiB of JSON).
pub const EVIDENCE_MAX: usize = 1_000;
/// Most episodes open at a time: about 200 bytes each, so 20 MB. Beyond it, entities that are new
/// share one episode per rule and are counted as degraded: a flood of invented entities then costs
/// counting, neither memory nor the episodes that are already open.
pub const EPISODES_MAX: usize = 100_000;
/// Most events waiting to be told as evidence between two [`Desk::tick`]s, all episodes together
/// (about 20 MB); beyond it they are counted only.
pub const PENDING_EVIDENCE_MAX: usize = 200_000;
/// A suppression window no rule can exceed: 7 days. Longer ones would hide a second intrusion.
pub const SUPPRESS_MAX_NS: i64 = 7 * 86_400 * event::time::SECOND_NS;

/// Bounds of a desk; tests make them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`EPISODES_MAX`].
    pub episodes: usize,
    /// See [`EVIDENCE_MAX`].
    pub evidence: usize,
    /// See [`PENDING_EVIDENCE_MAX`].
    pub pending_evidence: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            episodes: EPISODES_MAX,
            evidence: EVIDENCE_MAX,
            pending_evidence: PENDING_EVIDENCE_MAX,
        }
    }
}

/// A rule's condition became true. Borrowed: most firings of a noisy rule are folded, and a folded
/// one costs no allocation beyond its evidence.
#[derive(Clone, Copy, Debug)]
pub struct Firing<'a> {
    /// Rule id.
    pub rule_id: &'a str,
    /// Entity as bytes, see [`crate::entity_key`].
    pub key: &'a [u8],
    /// Severity of this firing.
    pub level: Level,
    /// Event time of `fired_by`, ns.
    pub event_ns: i64,
    /// Stream time now, ns.
    pub stream_ns: i64,
    /// The event whose arrival made the condition true.
    pub fired_by: EventId,
    /// Occurrences it stands for (the event's weight for a plain rule, 1 for a correlation).
    pub times: u64,
    /// Events it rests on, oldest first.
    pub evidence: &'a [Evidence],
    /// How many events that is, those included that are not listed.
    pub events: u64,
    /// How its alert stands with it; `None` for plain rules, whose reason is of one event.
    pub revision: Option<&'a Revision>,
    /// The rule's suppression window, ns from the first firing; 0 or less means every firing goes
    /// out. Capped at [`SUPPRESS_MAX_NS`].
    pub suppress_ns: i64,
    /// It comes from events read in bulk. Kept apart from live firings, so that a queued alert never
    /// swallows one that should page.
    pub backfill: bool,
}

/// What became of a firing.
#[derive(Clone, Debug, PartialEq)]
pub enum Offered {
    /// Goes out now.
    Fired(Box<Alert>),
    /// Counted on the open episode of the alert with this id.
    Folded(String),
}

/// News about an alert that went out before. Numbers are totals, so applying one twice is harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Folded {
    /// The alert.
    pub id: String,
    /// Occurrences so far, the first included.
    pub count: u64,
    /// Latest event time seen, ns.
    pub last_event_ns: i64,
    /// Stream time of the last firing, ns.
    pub last_stream_ns: i64,
    /// Evidence that is new since the last update, in order of arrival.
    pub evidence: Vec<Evidence>,
    /// Events the alert rests on, those beyond the cap included.
    pub evidence_total: u64,
    /// Occurrences that belong to other entities, folded here because too many episodes were open.
    pub other_entities: u64,
    /// Whether the episode is over: no further update will come.
    pub closed: bool,
    /// What the alert says now, where that is more than it said before.
    #[serde(default)]
    pub revision: Option<Box<Revision>>,
}

/// What the desk has done since it was made. `offered == fired + folded` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeskCounters {
    /// Occurrences offered.
    pub offered: u64,
    /// Occurrences that went out with an alert.
    pub fired: u64,
    /// Occurrences folded into an open episode.
    pub folded: u64,
    /// Alerts that went out.
    pub alerts: u64,
    /// Alerts that went out because their level broke a suppression.
    pub escalated: u64,
    /// Occurrences of entities that had to share an episode: the desk was full.
    pub degraded: u64,
    /// Evidence that was counted but not kept.
    pub evidence_dropped: u64,
}

type Key = [u8; 16];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Episode {
    alert_id: String,
    entity: Key,
    level: Level,
    close_ns: i64,
    count: u64,
    last_event_ns: i64,
    last_stream_ns: i64,
    evidence_kept: u32,
    evidence_total: u64,
    other_entities: u64,
    pending: Vec<Evidence>,
    dirty: bool,
    /// The most that was said of it, and whether that is still to be told.
    said: Option<Box<Revision>>,
    revised: bool,
}

impl Episode {
    fn news(&mut self, closed: bool) -> Folded {
        self.dirty = false;
        let revised = std::mem::take(&mut self.revised);
        Folded {
            id: self.alert_id.clone(),
            count: self.count,
            last_event_ns: self.last_event_ns,
            last_stream_ns: self.last_stream_ns,
            evidence: std::mem::take(&mut self.pending),
            evidence_total: self.evidence_total,
            other_entities: self.other_entities,
            closed,
            revision: self.said.clone().filter(|_| revised),
        }
    }
}

/// Everything a desk remembers, for snapshots.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct DeskState {
    episodes: Vec<(Key, Episode)>,
    outbox: Vec<Folded>,
    counters: DeskCounters,
}

/// The open episodes. A pure state machine: the same offers and ticks give the same answers.
#[derive(Debug, Default)]
pub struct Desk {
    limits: Limits,
    episodes: BTreeMap<Key, Episode>,
    by_close: BTreeSet<(i64, Key)>,
    dirty: BTreeSet<Key>,
    outbox: Vec<Folded>,
    pending_evidence: usize,
    counters: DeskCounters,
}

impl Desk {
    /// A desk with nothing open.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// A firing arrives. `build` makes the alert from its id and is called only when it goes out, so
    /// that wording and explanation are paid for alerts, not for firings. The desk sets the alert's
    /// `id`, `count` and `backfill`, and cuts its evidence to the cap.
    pub fn offer(&mut self, firing: &Firing<'_>, build: impl FnOnce(String) -> Alert) -> Offered {
        self.counters.offered += firing.times;
        self.close_until(firing.stream_ns);
        let entity = episode_key(firing, false);
        let open = self.episodes.contains_key(&entity);
        let full = !open && self.episodes.len() >= self.limits.episodes;
        let key = if full { episode_key(firing, true) } else { entity };
        if full {
            self.counters.degraded += firing.times;
        }
        match self.episodes.get(&key).map(|episode| episode.level) {
            Some(level) if firing.level <= level => {
                return Offered::Folded(self.fold(key, entity, firing));
            }
            Some(_) => {
                self.counters.escalated += 1;
                self.close(key);
            }
            None => {}
        }
        Offered::Fired(Box::new(self.fire(key, entity, firing, build)))
    }

    /// The alert `id` has more evidence: `firing.evidence`, with `firing.times` 0. Returns whether its
    /// episode is open and takes it.
    pub fn grow(&mut self, id: &str, firing: &Firing<'_>) -> bool {
        self.close_until(firing.stream_ns);
        let entity = episode_key(firing, false);
        let shared = episode_key(firing, true);
        let takes = |key: &Key| self.episodes.get(key).is_some_and(|e| e.alert_id == id);
        let Some(key) = [entity, shared].into_iter().find(takes) else { return false };
        self.fold(key, entity, firing);
        true
    }

    /// Time passes: returns what was folded since the last call, one update an alert, and closes
    /// episodes whose window is over. Call it with every tick of the journal.
    pub fn tick(&mut self, stream_ns: i64) -> Vec<Folded> {
        self.close_until(stream_ns);
        let mut out = std::mem::take(&mut self.outbox);
        for key in std::mem::take(&mut self.dirty) {
            if let Some(episode) = self.episodes.get_mut(&key) {
                out.push(episode.news(false));
            }
        }
        self.pending_evidence = 0;
        out
    }

    /// Number of open episodes.
    pub fn open(&self) -> usize {
        self.episodes.len()
    }

    /// Totals since the desk was made, snapshots included.
    pub fn counters(&self) -> DeskCounters {
        self.counters
    }

    /// What has to be kept to go on later from here.
    pub fn snapshot(&self) -> DeskState {
        DeskState {
            episodes: self.episodes.iter().map(|(key, e)| (*key, e.clone())).collect(),
            outbox: self.outbox.clone(),
            counters: self.counters,
        }
    }

    /// A desk that goes on from a snapshot.
    pub fn restore(state: DeskState, limits: Limits) -> Self {
        let episodes: BTreeMap<Key, Episode> = state.episodes.into_iter().collect();
        let pending = |list: &[Evidence]| list.len();
        Self {
            limits,
            by_close: episodes.iter().map(|(key, e)| (e.close_ns, *key)).collect(),
            dirty: episodes.iter().filter(|(_, e)| e.dirty).map(|(key, _)| *key).collect(),
            pending_evidence: episodes.values().map(|e| pending(&e.pending)).sum::<usize>()
                + state.outbox.iter().map(|f| pending(&f.evidence)).sum::<usize>(),
            outbox: state.outbox,
            counters: state.counters,
            episodes,
        }
    }

    fn fire(
        &mut self,
        key: Key,
        entity: Key,
        firing: &Firing<'_>,
        build: impl FnOnce(String) -> Alert,
    ) -> Alert {
        let id = alert_id(firing.rule_id, firing.key, firing.fired_by);
        self.counters.fired += firing.times;
        self.counters.alerts += 1;
        let kept = firing.evidence.len().min(self.limits.evidence);
        self.counters.evidence_dropped += (firing.evidence.len() - kept) as u64;
        if firing.suppress_ns > 0 {
            let window_ns = firing.suppress_ns.min(SUPPRESS_MAX_NS);
            let close_ns = firing.stream_ns.saturating_add(window_ns);
            let episode = Episode {
                alert_id: id.clone(),
                entity,
                level: firing.level,
                close_ns,
                count: firing.times,
                last_event_ns: firing.event_ns,
                last_stream_ns: firing.stream_ns,
                evidence_kept: kept as u32,
                evidence_total: firing.events,
                other_entities: 0,
                pending: Vec::new(),
                // More evidence than the alert can carry is news to tell.
                dirty: (kept as u64) < firing.events,
                said: firing.revision.cloned().map(Box::new),
                revised: false,
            };
            if episode.dirty {
                self.dirty.insert(key);
            }
            self.by_close.insert((close_ns, key));
            self.episodes.insert(key, episode);
        }
        let mut alert = build(id.clone());
        alert.id = id;
        alert.count = firing.times;
        alert.backfill = firing.backfill;
        alert.evidence.truncate(self.limits.evidence);
        alert
    }

    fn fold(&mut self, key: Key, entity: Key, firing: &Firing<'_>) -> String {
        self.counters.folded += firing.times;
        let Some(episode) = self.episodes.get_mut(&key) else { return String::new() };
        episode.count += firing.times;
        if episode.entity != entity {
            episode.other_entities += firing.times;
        }
        episode.last_event_ns = episode.last_event_ns.max(firing.event_ns);
        episode.last_stream_ns = episode.last_stream_ns.max(firing.stream_ns);
        episode.evidence_total += firing.events;
        if let Some(revision) = firing.revision.filter(|_| episode.entity == entity)
            && episode.said.as_ref().is_none_or(|said| revision.exceeds(said))
        {
            episode.said = Some(Box::new(revision.clone()));
            episode.revised = true;
        }
        let room = (self.limits.evidence - episode.evidence_kept as usize)
            .min(self.limits.pending_evidence.saturating_sub(self.pending_evidence));
        let kept = firing.evidence.len().min(room);
        episode.pending.extend_from_slice(&firing.evidence[..kept]);
        episode.evidence_kept += kept as u32;
        self.pending_evidence += kept;
        self.counters.evidence_dropped += (firing.evidence.len() - kept) as u64;
        if !episode.dirty {
            episode.dirty = true;
            self.dirty.insert(key);
        }
        episode.alert_id.clone()
    }

    fn close_until(&mut self, stream_ns: i64) {
        while let Some((close_ns, key)) = self.by_close.first().copied() {
            if close_ns > stream_ns {
                break;
            }
            self.close(key);
        }
    }

    /// Ends an episode. What it has not told yet waits for the next tick.
    fn close(&mut self, key: Key) {
        let Some(mut episode) = self.episodes.remove(&key) else { return };
        self.by_close.remove(&(episode.close_ns, key));
        self.dirty.remove(&key);
        if episode.dirty {
            self.outbox.push(episode.news(true));
        }
    }
}

/// Where the firing's episode is kept: by (rule, entity), or by rule alone once the desk is full.
fn episode_key(firing: &Firing<'_>, shared: bool) -> Key {
    let mut hash = keyed(firing.rule_id, if shared { b"" } else { firing.key });
    hash.update([u8::from(firing.backfill), u8::from(shared)]);
    let mut key = Key::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    fn firing<'a>(key: &'a str, offset: u64, stream_ns: i64) -> Firing<'a> {
        Firing {
            rule_id: "r",
            key: key.as_bytes(),
            level: Level::Medium,
            event_ns: stream_ns,
            stream_ns,
            fired_by: EventId::at(offset),
            times: 1,
            evidence: &[],
            events: 0,
            revision: None,
            suppress_ns: 100,
            backfill: false,
        }
    }

    fn offer(desk: &mut Desk, firing: &Firing<'_>) -> Offered {
        desk.offer(firing, |id| Alert { id, ..alert() })
    }

    fn fired(offered: Offered) -> Alert {
        match offered {
            Offered::Fired(alert) => *alert,
            Offered::Folded(id) => panic!("folded into {id}"),
        }
    }

    #[test]
    fn the_first_goes_out_the_rest_is_told_in_one_update_and_the_next_window_starts_anew() {
        let mut desk = Desk::new(Limits::default());
        let first = fired(offer(&mut desk, &firing("a", 1, 0)));
        for offset in 2..12 {
            let got = offer(&mut desk, &firing("a", offset, offset as i64));
            assert_eq!(got, Offered::Folded(first.id.clone()));
        }
        let told = desk.tick(50);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].count, told[0].last_stream_ns, told[0].closed), (11, 11, false));
        assert!(desk.tick(60).is_empty(), "nothing new, nothing told");
        offer(&mut desk, &firing("a", 12, 99));
        let second = fired(offer(&mut desk, &firing("a", 13, 100)));
        assert_ne!(second.id, first.id);
        let told = desk.tick(101);
        assert_eq!((told.len(), told[0].count, told[0].closed), (1, 12, true));
        assert_eq!(desk.tick(10_000), []);
        assert_eq!(desk.open(), 0);
    }

    #[test]
    fn other_entities_and_backfill_have_episodes_of_their_own() {
        let mut desk = Desk::new(Limits::default());
        fired(offer(&mut desk, &firing("a", 1, 0)));
        fired(offer(&mut desk, &firing("b", 2, 0)));
        let old = fired(offer(&mut desk, &Firing { backfill: true, ..firing("a", 3, 0) }));
        assert!(old.backfill);
        assert_eq!(desk.open(), 3);
    }

    #[test]
    fn a_higher_level_breaks_suppression_and_a_lower_one_does_not() {
        let mut desk = Desk::new(Limits::default());
        fired(offer(&mut desk, &firing("a", 1, 0)));
        offer(&mut desk, &Firing { level: Level::Low, ..firing("a", 2, 1) });
        let up = Firing { level: Level::Critical, ..firing("a", 3, 2) };
        let high = fired(offer(&mut desk, &up));
        let folded = offer(&mut desk, &firing("a", 4, 3));
        assert_eq!(folded, Offered::Folded(high.id));
        assert_eq!(desk.counters().escalated, 1);
        let told = desk.tick(4);
        assert_eq!(told.iter().map(|f| f.count).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn without_a_window_every_firing_goes_out_and_nothing_is_remembered() {
        let mut desk = Desk::new(Limits::default());
        for offset in 0..3 {
            fired(offer(&mut desk, &Firing { suppress_ns: 0, ..firing("a", offset, 0) }));
        }
        assert_eq!((desk.open(), desk.counters().alerts), (0, 3));
    }

    #[test]
    fn a_full_desk_shares_one_episode_per_rule_and_keeps_the_others() {
        let mut desk = Desk::new(Limits { episodes: 2, ..Limits::default() });
        fired(offer(&mut desk, &firing("a", 1, 0)));
        fired(offer(&mut desk, &firing("b", 2, 0)));
        let shared = fired(offer(&mut desk, &firing("c", 3, 0)));
        for (offset, key) in [(4, "d"), (5, "e"), (6, "c")] {
            assert_eq!(
                offer(&mut desk, &firing(key, offset, 1)),
                Offered::Folded(shared.id.clone())
            );
        }
        assert!(
            matches!(offer(&mut desk, &firing("a", 7, 1)), Offered::Folded(id) if id != shared.id)
        );
        assert_eq!((desk.open(), desk.counters().degraded), (3, 4));
        let told = desk.tick(2);
        let shared = told.iter().find(|f| f.id == shared.id).unwrap();
        assert_eq!((shared.count, shared.other_entities), (4, 2));
    }

    fn revision(measured: u32, occurrences: u32) -> Revision {
        let number = |name: &str, n: u32| (name.to_owned(), n.to_string());
        Revision {
            reason: format!("{measured} of {occurrences}"),
            correlation: [number("measured", measured), number("occurrences", occurrences)].into(),
        }
    }

    #[test]
    fn the_strongest_burst_speaks_and_an_alert_grows_only_by_its_own_name() {
        let mut desk = Desk::new(Limits::default());
        let said = revision(5, 5);
        let first = fired(offer(&mut desk, &Firing { revision: Some(&said), ..firing("a", 1, 0) }));
        let told = |desk: &mut Desk| {
            let news = desk.tick(1).pop()?;
            Some((news.revision?.reason, news.evidence_total))
        };
        for (now, expected) in [
            (revision(9, 9), Some("9 of 9")),
            (revision(6, 6), None),
            (revision(9, 12), Some("9 of 12")),
        ] {
            let more = Firing { revision: Some(&now), times: 0, events: 2, ..firing("a", 1, 1) };
            assert!(desk.grow(&first.id, &more));
            assert!(!desk.grow("another", &more));
            assert_eq!(told(&mut desk).map(|t| t.0).as_deref(), expected);
        }
        desk.grow(&first.id, &Firing { times: 0, events: 1_000, ..firing("a", 1, 1) });
        assert_eq!(desk.tick(2)[0].evidence_total, 1_006, "unlisted events count, too");
    }

    #[test]
    fn evidence_is_capped_and_its_true_number_told() {
        let mut desk = Desk::new(Limits { evidence: 3, ..Limits::default() });
        let evidence: Vec<Evidence> =
            (0..2).map(|n| Evidence::new(EventId::at(n), 0, "r".into(), 1)).collect();
        for offset in 0..3 {
            offer(&mut desk, &Firing { evidence: &evidence, events: 2, ..firing("a", offset, 0) });
        }
        let told = desk.tick(1);
        assert_eq!((told[0].evidence.len(), told[0].evidence_total), (1, 6));
        assert_eq!(desk.counters().evidence_dropped, 3);
    }
}
