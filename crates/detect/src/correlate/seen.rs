//! `first_seen`: which values each key has shown, exactly, with the day of the last sight.
//!
//! "First" is journal order. A value counts as seen again every time it comes; one not seen for the
//! rule's number of days is forgotten.

use super::settings::EVICTION_SAMPLE;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// Fingerprints of (key, value) pairs of one rule in one shard.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    /// (fingerprint, day of last sight).
    items: Vec<(u128, i32)>,
    hand: usize,
    day: i32,
    #[serde(skip)]
    places: HashMap<u128, u32>,
}

/// What came of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// Not seen before, or not for too long.
    pub(super) new: bool,
    /// A remembered value had to go to make room.
    pub(super) evicted: bool,
}

impl Seen {
    /// Remembers a value.
    pub(super) fn look(
        &mut self,
        print: u128,
        now_ns: i64,
        expire_days: u16,
        most: usize,
    ) -> Sight {
        let today = now_ns.div_euclid(DAY_NS) as i32;
        self.turn(today, expire_days);
        if let Some(at) = self.places.get(&print) {
            self.items[*at as usize].1 = self.day;
            return Sight { new: false, evicted: false };
        }
        let evicted = self.items.len() >= most.max(1);
        if evicted {
            self.evict();
        }
        self.places.insert(print, self.items.len() as u32);
        self.items.push((print, self.day));
        Sight { new: true, evicted }
    }

    /// Forgets values of expired days, once per day.
    pub(super) fn turn(&mut self, today: i32, expire_days: u16) {
        if today <= self.day {
            return;
        }
        self.day = today;
        let oldest = today - i32::from(expire_days.max(1));
        let before = self.items.len();
        self.items.retain(|(_, day)| *day >= oldest);
        if self.items.len() != before {
            self.rebuild();
        }
    }

    pub(super) fn day_of(now_ns: i64) -> i32 {
        now_ns.div_euclid(DAY_NS) as i32
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn rebuild(&mut self) {
        let of = |(at, item): (usize, &(u128, i32))| (item.0, at as u32);
        self.places = self.items.iter().enumerate().map(of).collect();
    }

    /// Removes the longest unseen of a few: a forgotten value alerts once too often, which is noise;
    /// refusing new ones would be blindness.
    fn evict(&mut self) {
        let len = self.items.len();
        let sample = (0..EVICTION_SAMPLE.min(len)).map(|i| (self.hand + i) % len);
        let Some(at) = sample.min_by_key(|i| self.items[*i].1) else { return };
        self.hand = (self.hand + EVICTION_SAMPLE) % len;
        let (print, _) = self.items.swap_remove(at);
        self.places.remove(&print);
        if let Some((moved, _)) = self.items.get(at) {
            self.places.insert(*moved, at as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_set_is_what_a_map_of_last_days_says(
            looks in prop::collection::vec((0u128..40, 0i64..3), 1..300), days in 1u16..5,
        ) {
            let mut seen = Seen::default();
            let mut model: BTreeMap<u128, i64> = BTreeMap::new();
            let mut day = 20_000i64;
            for (i, (value, step)) in looks.into_iter().enumerate() {
                day += step;
                let new = model.insert(value, day).is_none_or(|last| last < day - i64::from(days));
                let sight = seen.look(value, day * DAY_NS + i as i64, days, 1_000);
                prop_assert_eq!(sight, Sight { new, evicted: false });
                if i % 7 == 0 {
                    let bytes = postcard::to_stdvec(&seen).unwrap();
                    seen = postcard::from_bytes(&bytes).unwrap();
                    seen.rebuild();
                }
            }
        }
    }

    #[test]
    fn it_stays_within_its_bound_and_forgets_the_longest_unseen_first() {
        let mut seen = Seen::default();
        for value in 0..8 {
            seen.look(value, value as i64 * DAY_NS, 400, 8);
        }
        assert!(seen.look(100, 9 * DAY_NS, 400, 8).evicted);
        assert_eq!(seen.len(), 8);
        assert!(!seen.look(7, 9 * DAY_NS, 400, 8).new);
        assert!(seen.look(0, 9 * DAY_NS, 400, 8).new);
    }
}
