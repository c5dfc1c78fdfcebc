//! Which batches of which channel are durable and were not asked for yet.
//!
//! An id is given when its batch is durable, so all there is to remember is that nobody has asked. What
//! is forgotten reads `false`, and the sender repeats it: never the other way round.

use std::collections::{BTreeSet, HashMap, VecDeque};
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
/// Most principals; one more, and the one unused for longest goes. With [`IDS_MAX`] that bounds the
/// whole to a million ids, 70 MB.
pub const PRINCIPALS_MAX: usize = 64;

/// The acknowledgements of all principals.
#[derive(Default)]
pub struct Acks {
    principals: HashMap<String, Principal>,
}

#[derive(Default)]
struct Principal {
    channels: HashMap<Arc<str>, Channel>,
    /// All ids in the order in which they were given, also some that are gone.
    given: VecDeque<(Arc<str>, u64)>,
    /// Ids that are there.
    held: usize,
}

struct Channel {
    next: u64,
    durable: BTreeSet<u64>,
    used: Instant,
}

impl Acks {
    /// The id of a batch that is durable.
    pub fn note(&mut self, principal: &str, channel: &str, now: Instant) -> u64 {
        let owner = self.owner(principal, now);
        owner.forget_idle(now);
        if !owner.channels.contains_key(channel) && owner.channels.len() >= CHANNELS_MAX {
            owner.forget_stalest();
        }
        let known = owner.channels.get_key_value(channel).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| channel.into());
        let entry = owner.channels.entry(name.clone());
        let entry = entry.or_insert(Channel { next: 0, durable: BTreeSet::new(), used: now });
        let id = entry.next;
        entry.next += 1;
        entry.used = now;
        entry.durable.insert(id);
        owner.held += 1;
        owner.given.push_back((name, id));
        owner.keep_within_limits();
        id
    }

    /// Whether the batches of these ids are durable, in their order. Each is told once.
    pub fn take(&mut self, principal: &str, channel: &str, ids: &[u64], now: Instant) -> Vec<bool> {
        let nothing = || vec![false; ids.len()];
        let Some(owner) = self.principals.get_mut(principal) else { return nothing() };
        owner.forget_idle(now);
        let Some(found) = owner.channels.get_mut(channel) else { return nothing() };
        found.used = now;
        let told: Vec<bool> = ids.iter().map(|id| found.durable.remove(id)).collect();
        owner.held -= told.iter().filter(|is_durable| **is_durable).count();
        told
    }

    fn owner(&mut self, principal: &str, now: Instant) -> &mut Principal {
        if !self.principals.contains_key(principal) && self.principals.len() >= PRINCIPALS_MAX {
            self.principals.retain(|_, owner| {
                owner.forget_idle(now);
                !owner.channels.is_empty()
            });
            if self.principals.len() >= PRINCIPALS_MAX {
                let used = |owner: &Principal| owner.channels.values().map(|c| c.used).max();
                let stalest = self.principals.iter().min_by_key(|(_, owner)| used(owner));
                let stalest = stalest.map(|(name, _)| name.clone());
                stalest.and_then(|name| self.principals.remove(&name));
            }
        }
        self.principals.entry(principal.to_owned()).or_default()
    }
}

impl Principal {
    fn forget_idle(&mut self, now: Instant) {
        let held = &mut self.held;
        self.channels.retain(|_, channel| {
            let is_idle = now.saturating_duration_since(channel.used) >= CHANNEL_IDLE;
            *held -= if is_idle { channel.durable.len() } else { 0 };
            !is_idle
        });
    }

    fn forget_stalest(&mut self) {
        let stalest = self.channels.iter().min_by_key(|(_, channel)| channel.used);
        let stalest = stalest.map(|(name, _)| name.clone());
        if let Some(gone) = stalest.and_then(|name| self.channels.remove(&name)) {
            self.held -= gone.durable.len();
        }
    }

    /// Lets the oldest ids go while there are too many, and the memory of those that are gone.
    fn keep_within_limits(&mut self) {
        while self.held > IDS_MAX || self.given.len() > 2 * IDS_MAX {
            let Some((channel, id)) = self.given.pop_front() else { return };
            let channel = self.channels.get_mut(&channel);
            let is_held = channel.is_some_and(|channel| channel.durable.remove(&id));
            self.held -= usize::from(is_held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Acks {
        fn take_one(&mut self, principal: &str, channel: &str, id: u64, now: Instant) -> bool {
            self.take(principal, channel, &[id], now)[0]
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
        assert_eq!(acks.principals["p"].held, 0);
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
        assert_eq!((many.channels.len(), many.held), (CHANNELS_MAX, CHANNELS_MAX));
        assert!(!acks.take_one("many", "c6", 0, now) && acks.take_one("many", "c7", 0, now));
        for n in 0..3 * IDS_MAX {
            acks.note("never asks", "c", at(n));
        }
        let never = &acks.principals["never asks"];
        assert_eq!((never.held, never.given.len()), (IDS_MAX, IDS_MAX));
        assert!(acks.take_one("never asks", "c", 3 * IDS_MAX as u64 - 1, now));
        assert!(!acks.take_one("never asks", "c", 2 * IDS_MAX as u64 - 1, now));
        for n in 0..3 * IDS_MAX as u64 {
            let id = acks.note("asks", "c", now);
            assert!(id == n && acks.take_one("asks", "c", id, now));
        }
        assert!(acks.principals["asks"].given.len() <= 2 * IDS_MAX);
        assert!(acks.take_one("honest", "c", 0, now), "others did not take its place");
        for n in 0..2 * PRINCIPALS_MAX {
            acks.note(&format!("p{n}"), "c", at(n));
        }
        assert_eq!(acks.principals.len(), PRINCIPALS_MAX);
    }
}
