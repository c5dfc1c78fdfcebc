//! Which batches of which channel are durable and were not asked for yet.
//!
//! An id is given when its batch is durable, so all there is to remember is that nobody has asked. What
//! is forgotten reads `false`, and the sender repeats it: never the other way round.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest name of a channel: a GUID has 36.
pub const CHANNEL_BYTES_MAX: usize = 128;
/// A channel that nobody has used for this long is forgotten.
pub const CHANNEL_IDLE: Duration = Duration::from_secs(600);
/// Most channels of one principal; one more, and the one unused for longest goes.
pub const CHANNELS_MAX: usize = 256;
/// Most ids of one principal that are not asked for; one more, and its oldest goes. A sender that asks
/// every ten seconds may send 1,600 batches a second.
pub const IDS_MAX: usize = 16_384;
/// Most principals; one more, and the one unused for longest goes. A fleet in which each host has a
/// token of its own stays below.
pub const PRINCIPALS_MAX: usize = 8_192;
/// Most ids of all principals that are not asked for; one more, and the channel unused for longest goes,
/// whoever has it. An id takes 100 bytes in two trees: 105 MB.
pub const ALL_IDS_MAX: usize = 1 << 20;
/// Most channels of all principals, sixteen for each; one more, and the one unused for longest goes. With
/// the longest name a channel takes 600 bytes: 80 MB.
pub const ALL_CHANNELS_MAX: usize = 1 << 17;

/// The acknowledgements of all principals.
///
/// Each use of a channel has a number of its own, so that the trees by number have at their front what
/// has been unused for longest. Every step costs the logarithm of what is there.
#[derive(Default)]
pub struct Acks {
    /// Those that have a channel.
    principals: HashMap<Arc<str>, Principal>,
    /// Every principal by its last use.
    principals_by_use: BTreeMap<u64, Arc<str>>,
    /// Every channel by its last use.
    channels_by_use: BTreeMap<u64, Use>,
    /// Ids that are there.
    held: usize,
    /// The number of the last use.
    used: u64,
}

/// Who used which channel when.
struct Use {
    principal: Arc<str>,
    channel: Arc<str>,
    at: Instant,
}

#[derive(Default)]
struct Principal {
    used: u64,
    channels: HashMap<Arc<str>, Channel>,
    /// Every channel by its last use.
    channels_by_use: BTreeMap<u64, Arc<str>>,
    /// The channel of every id, by the use that gave it.
    given: BTreeMap<u64, Arc<str>>,
}

#[derive(Default)]
struct Channel {
    next: u64,
    /// Ids that are not asked for, with the uses that gave them.
    durable: BTreeMap<u64, u64>,
    used: u64,
}

impl Acks {
    /// The id of a batch that is durable.
    pub fn note(&mut self, principal: &str, channel: &str, now: Instant) -> u64 {
        self.forget_idle(now);
        self.make_room(principal, channel);
        let owner = self.touch(principal, channel, now);
        let id = owner.give(channel);
        let is_one_too_many = owner.given.len() > IDS_MAX;
        if is_one_too_many {
            owner.forget_oldest_id();
        }
        self.held += usize::from(!is_one_too_many);
        while self.held > ALL_IDS_MAX && self.forget_stalest() {}
        id
    }

    /// Whether the batches of these ids are durable, in their order. Each is told once.
    pub fn take(&mut self, principal: &str, channel: &str, ids: &[u64], now: Instant) -> Vec<bool> {
        self.forget_idle(now);
        let owner = self.principals.get(principal);
        if !owner.is_some_and(|owner| owner.channels.contains_key(channel)) {
            return vec![false; ids.len()];
        }
        let owner = self.touch(principal, channel, now);
        let told: Vec<bool> = ids.iter().map(|id| owner.tell(channel, *id)).collect();
        self.held -= told.iter().filter(|is_durable| **is_durable).count();
        told
    }

    /// Lets go what would be one too many with this channel.
    fn make_room(&mut self, principal: &str, channel: &str) {
        let Some(owner) = self.principals.get(principal) else {
            if self.principals.len() >= PRINCIPALS_MAX {
                self.forget_stalest_principal();
            }
            return self.make_room_for_channel();
        };
        if owner.channels.contains_key(channel) {
            return;
        }
        if owner.channels.len() >= CHANNELS_MAX
            && let Some((used, _)) = owner.channels_by_use.first_key_value()
        {
            return self.forget(*used);
        }
        self.make_room_for_channel();
    }

    fn make_room_for_channel(&mut self) {
        if self.channels_by_use.len() >= ALL_CHANNELS_MAX {
            self.forget_stalest();
        }
    }

    /// Notes that a channel is used, and begins it if it is new. Who uses it.
    fn touch(&mut self, principal: &str, channel: &str, now: Instant) -> &mut Principal {
        self.used += 1;
        let used = self.used;
        let known = self.principals.get_key_value(principal).map(|(name, _)| name.clone());
        let principal = known.unwrap_or_else(|| principal.into());
        let owner = self.principals.entry(principal.clone()).or_default();
        self.principals_by_use.remove(&owner.used);
        owner.used = used;
        self.principals_by_use.insert(used, principal.clone());
        let (channel, before) = owner.touch(channel, used);
        self.channels_by_use.remove(&before);
        self.channels_by_use.insert(used, Use { principal, channel, at: now });
        owner
    }

    fn forget_idle(&mut self, now: Instant) {
        let is_idle = |last: &Use| now.saturating_duration_since(last.at) >= CHANNEL_IDLE;
        while self.channels_by_use.first_key_value().is_some_and(|(_, last)| is_idle(last)) {
            self.forget_stalest();
        }
    }

    /// Whether there was a channel to forget.
    fn forget_stalest(&mut self) -> bool {
        let stalest = self.channels_by_use.first_key_value().map(|(used, _)| *used);
        stalest.map(|used| self.forget(used)).is_some()
    }

    /// Forgets the channel whose last use this was, and a principal that has no other one.
    fn forget(&mut self, used: u64) {
        let Some(Use { principal, channel, .. }) = self.channels_by_use.remove(&used) else {
            return;
        };
        let Some(owner) = self.principals.get_mut(&principal) else { return };
        self.held -= owner.forget(&channel);
        if owner.channels.is_empty() {
            self.principals_by_use.remove(&owner.used);
            self.principals.remove(&principal);
        }
    }

    fn forget_stalest_principal(&mut self) {
        let stalest = self.principals_by_use.first_key_value();
        let owner = stalest.and_then(|(_, name)| self.principals.get(name));
        let uses = owner.map(|owner| owner.channels_by_use.keys().copied().collect::<Vec<_>>());
        uses.into_iter().flatten().for_each(|used| self.forget(used));
    }
}

impl Principal {
    /// Notes the use of a channel. Its name, and the use before; 0 if it is new.
    fn touch(&mut self, channel: &str, used: u64) -> (Arc<str>, u64) {
        let known = self.channels.get_key_value(channel).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| channel.into());
        let entry = self.channels.entry(name.clone()).or_default();
        let before = std::mem::replace(&mut entry.used, used);
        self.channels_by_use.remove(&before);
        self.channels_by_use.insert(used, name.clone());
        (name, before)
    }

    /// The next id of the channel that was used last.
    fn give(&mut self, channel: &str) -> u64 {
        let used = self.used;
        let name = self.channels_by_use.get(&used).cloned().unwrap_or_else(|| channel.into());
        let entry = self.channels.entry(name.clone()).or_default();
        let id = entry.next;
        entry.next += 1;
        entry.durable.insert(id, used);
        self.given.insert(used, name);
        id
    }

    /// Whether this id is there; then it no longer is.
    fn tell(&mut self, channel: &str, id: u64) -> bool {
        let found = self.channels.get_mut(channel).and_then(|channel| channel.durable.remove(&id));
        found.is_some_and(|used| self.given.remove(&used).is_some())
    }

    /// A channel gives its ids in order: the one that was given first of all is the first of its channel.
    fn forget_oldest_id(&mut self) {
        let oldest = self.given.pop_first();
        let channel = oldest.and_then(|(_, channel)| self.channels.get_mut(&channel));
        channel.and_then(|channel| channel.durable.pop_first());
    }

    /// Forgets a channel. The number of its ids.
    fn forget(&mut self, channel: &str) -> usize {
        let Some(gone) = self.channels.remove(channel) else { return 0 };
        self.channels_by_use.remove(&gone.used);
        gone.durable.values().for_each(|used| drop(self.given.remove(used)));
        gone.durable.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Acks {
        fn take_one(&mut self, principal: &str, channel: &str, id: u64, now: Instant) -> bool {
            self.take(principal, channel, &[id], now)[0]
        }

        /// What is told twice is told alike, and nothing is left of what is gone.
        fn assert_sums(&self) {
            let (mut held, mut channels) = (0, 0);
            for owner in self.principals.values() {
                let open = owner.channels.values().map(|channel| channel.durable.len());
                assert_eq!(open.sum::<usize>(), owner.given.len());
                assert_eq!(owner.channels.len(), owner.channels_by_use.len());
                (held, channels) = (held + owner.given.len(), channels + owner.channels.len());
            }
            assert_eq!((held, channels), (self.held, self.channels_by_use.len()));
            assert_eq!(self.principals.len(), self.principals_by_use.len());
        }
    }

    #[test]
    fn an_id_is_true_once_for_whoever_was_given_it() {
        let (mut acks, now) = (Acks::default(), Instant::now());
        let ids = [("p", "a"), ("p", "a"), ("p", "b"), ("q", "a")]
            .map(|(principal, channel)| acks.note(principal, channel, now));
        assert_eq!(ids, [0, 1, 0, 0]);
        assert!(!acks.take_one("q", "b", 0, now) && !acks.take_one("q", "a", 1, now));
        assert!(!acks.take_one("p", "a", 2, now) && !acks.take_one("nobody", "a", 0, now));
        assert!(acks.take_one("p", "a", 1, now) && !acks.take_one("p", "a", 1, now));
        assert!(acks.take_one("p", "a", 0, now) && acks.take_one("p", "b", 0, now));
        assert!(acks.take_one("q", "a", 0, now));
        acks.note("p", "c", now);
        assert_eq!(acks.take("p", "c", &[1, 0, 0], now), [false, true, false]);
        assert_eq!(acks.note("p", "a", now), 2, "ids go on after all were told");
    }

    #[test]
    fn idle_channels_are_forgotten_and_used_ones_are_not() {
        let (mut acks, began) = (Acks::default(), Instant::now());
        acks.note("p", "idle", began);
        acks.note("p", "used", began);
        acks.take_one("p", "used", 9, began + CHANNEL_IDLE / 2);
        let later = began + CHANNEL_IDLE;
        assert!(!acks.take_one("p", "idle", 0, later) && acks.take_one("p", "used", 0, later));
        assert_eq!((acks.held, acks.principals["p"].given.len()), (0, 0));
        acks.forget_idle(later + CHANNEL_IDLE);
        assert!(acks.principals.is_empty() && acks.principals_by_use.is_empty());
    }

    #[test]
    fn nobody_makes_the_table_grow() {
        let (mut acks, now) = (Acks::default(), Instant::now());
        let at = |n: usize| now + Duration::from_millis(n as u64);
        acks.note("honest", "c", now);
        for n in 0..CHANNELS_MAX + 7 {
            acks.note("many", &format!("c{n}"), at(n));
        }
        let many = &acks.principals["many"];
        assert_eq!((many.channels.len(), many.given.len()), (CHANNELS_MAX, CHANNELS_MAX));
        assert!(!acks.take_one("many", "c6", 0, now) && acks.take_one("many", "c7", 0, now));
        for n in 0..3 * IDS_MAX {
            acks.note("never asks", "c", at(n));
        }
        let never = &acks.principals["never asks"];
        assert_eq!((never.channels["c"].durable.len(), never.given.len()), (IDS_MAX, IDS_MAX));
        assert!(acks.take_one("never asks", "c", 3 * IDS_MAX as u64 - 1, now));
        assert!(!acks.take_one("never asks", "c", 2 * IDS_MAX as u64 - 1, now));
        for n in 0..3 * IDS_MAX as u64 {
            let id = acks.note("asks", "c", now);
            assert!(id == n && acks.take_one("asks", "c", id, now));
        }
        assert!(acks.principals["asks"].given.is_empty());
        assert!(acks.take_one("honest", "c", 0, now), "others did not take its place");
        for n in 0..2 * PRINCIPALS_MAX {
            acks.note(&format!("p{n}"), "c", at(n));
        }
        assert_eq!(acks.principals.len(), PRINCIPALS_MAX);
        assert!(!acks.take_one(&format!("p{}", PRINCIPALS_MAX - 1), "c", 0, now));
        assert!(acks.take_one(&format!("p{PRINCIPALS_MAX}"), "c", 0, now));
        acks.assert_sums();
    }

    #[test]
    fn a_fleet_that_asks_in_turn_is_told_everything() {
        let (mut acks, now) = (Acks::default(), Instant::now());
        let hosts: Vec<String> = (0..8_192).map(|n| format!("host{n}")).collect();
        for round in 0..3 {
            let ids: Vec<u64> = hosts.iter().map(|host| acks.note(host, "c", now)).collect();
            assert!(ids.iter().all(|id| *id == round), "nobody begins anew");
            assert!(hosts.iter().zip(ids).all(|(host, id)| acks.take_one(host, "c", id, now)));
        }
        acks.assert_sums();
    }

    #[test]
    fn the_sum_of_ids_is_bounded_and_the_stalest_channel_pays() {
        let (mut acks, now) = (Acks::default(), Instant::now());
        acks.note("stale", "c", now);
        acks.note("in use", "c", now);
        for n in 0..ALL_IDS_MAX / IDS_MAX {
            let name = format!("p{n}");
            for _ in 0..IDS_MAX {
                acks.note(&name, "c", now);
            }
            acks.take_one("in use", "c", 9, now);
        }
        assert!(acks.held <= ALL_IDS_MAX && acks.held > ALL_IDS_MAX - 2 * IDS_MAX);
        assert!(!acks.take_one("stale", "c", 0, now) && !acks.take_one("p0", "c", 0, now));
        assert!(acks.take_one("in use", "c", 0, now) && acks.take_one("p1", "c", 0, now));
        acks.assert_sums();
    }

    #[test]
    fn the_sum_of_channels_is_bounded() {
        let (mut acks, now) = (Acks::default(), Instant::now());
        for n in 0..=ALL_CHANNELS_MAX / CHANNELS_MAX {
            let name = format!("p{n}");
            for channel in 0..CHANNELS_MAX {
                acks.note(&name, &channel.to_string(), now);
            }
        }
        assert_eq!(acks.channels_by_use.len(), ALL_CHANNELS_MAX);
        assert!(!acks.principals.contains_key("p0") && acks.take_one("p1", "0", 0, now));
        acks.assert_sums();
    }

    #[test]
    fn whatever_is_done_the_trees_agree() {
        let (mut acks, began, mut state) = (Acks::default(), Instant::now(), 7u64);
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for step in 0..20_000 {
            let now = began + Duration::from_secs(step * next(3));
            let (principal, channel) = (format!("p{}", next(5)), format!("c{}", next(300)));
            match next(3) {
                0 => drop(acks.take(&principal, &channel, &[next(3), next(3)], now)),
                1 if next(50) == 0 => acks.forget_stalest_principal(),
                _ => assert!(acks.note(&principal, &channel, now) <= step),
            }
            if step % 500 == 0 {
                acks.assert_sums();
            }
        }
        acks.assert_sums();
    }
}
