//! A bounded memory of values and the leaves they hit: log values repeat.

use event::Value;
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

/// Sets of [`WAYS`] places; a value's set is given by its hash. 2^13 sets hold the working set of
/// one worker with thousands of rules and take 4 MB; few rules read few fields.
const SETS_MAX: usize = 1 << 13;
const SETS_MIN: usize = 1 << 8;
/// Leaves for which one more set is worth its memory.
const LEAVES_PER_SET: usize = 4;
/// Places a value may take in its set.
const WAYS: usize = 4;
/// Longer values are rarely seen twice and are looked up each time.
const VALUE_BYTES_MAX: usize = 512;
/// Values with more hits than this are not kept, so that memory stays bounded.
const HITS_MAX: usize = 512;
/// Values and hits up to so many lie in the entry itself: what memory costs here is the number of lines of
/// cache that are touched. Of the values of Windows events nine in ten fit.
const INLINE_VALUE_BYTES: usize = 72;
const INLINE_HITS: usize = 8;
/// Look-ups after which a slot's share of known values is judged anew.
const JUDGED_EVERY: u32 = 1_024;
/// A slot with a smaller share of known values (1 in so many) is not worth remembering: its values
/// would only push out others. It is tried again in one period of [`RETRIED_EVERY`].
const KNOWN_MIN: u32 = 10;
const RETRIED_EVERY: u32 = 16;
/// Slots are judged apart up to so many; they are numbered anew with every route, so that old ones share
/// with new ones, which costs some look-ups at most.
const JUDGED_SLOTS: usize = 1 << 14;

/// Remembers hits per (slot, value). What it holds never changes a verdict.
pub(crate) struct Memo {
    /// Per place, beside each other so that a set costs one line of cache: a part of the hash, by which
    /// most other values are told apart; 0 = free.
    tags: Vec<u32>,
    places: Vec<Entry>,
    /// Per set: the place that is looked at first when one has to go (CLOCK).
    hands: Vec<u8>,
    hasher: DefaultHashBuilder,
    worth: Vec<Worth>,
}

/// Two lines of cache beside each other.
#[derive(Clone)]
#[repr(align(128))]
struct Entry {
    slot: u32,
    was_used: bool,
    value_len: u8,
    hits_len: u8,
    value: [u8; INLINE_VALUE_BYTES],
    hits: [u32; INLINE_HITS],
    /// Both of them, if one does not fit.
    long: Option<Box<(Vec<u8>, Vec<u32>)>>,
}

const _: () = assert!(size_of::<Entry>() == 128);

impl Default for Entry {
    fn default() -> Self {
        Self {
            slot: 0,
            was_used: false,
            value_len: 0,
            hits_len: 0,
            value: [0; INLINE_VALUE_BYTES],
            hits: [0; INLINE_HITS],
            long: None,
        }
    }
}

impl Entry {
    fn value(&self) -> &[u8] {
        match &self.long {
            None => &self.value[..usize::from(self.value_len)],
            Some(long) => &long.0,
        }
    }

    fn hits(&self) -> &[u32] {
        match &self.long {
            None => &self.hits[..usize::from(self.hits_len)],
            Some(long) => &long.1,
        }
    }

    fn set(&mut self, slot: u32, value: &[u8], hits: &[u32]) {
        (self.slot, self.was_used) = (slot, false);
        if value.len() <= INLINE_VALUE_BYTES && hits.len() <= INLINE_HITS {
            self.long = None;
            (self.value_len, self.hits_len) = (value.len() as u8, hits.len() as u8);
            self.value[..value.len()].copy_from_slice(value);
            self.hits[..hits.len()].copy_from_slice(hits);
        } else {
            self.long = Some(Box::new((value.to_vec(), hits.to_vec())));
        }
    }
}

/// How well remembering works for one slot.
#[derive(Default, Clone, Copy)]
struct Worth {
    asked: u32,
    known: u32,
    periods_off: u32,
}

impl Memo {
    /// Room that so many leaves can make use of.
    pub(crate) fn for_leaves(leaves: usize) -> Self {
        let sets = (leaves / LEAVES_PER_SET).next_power_of_two().clamp(SETS_MIN, SETS_MAX);
        Self {
            tags: vec![0; sets * WAYS],
            places: vec![Entry::default(); sets * WAYS],
            hands: vec![0; sets],
            hasher: DefaultHashBuilder::default(),
            worth: Vec::new(),
        }
    }

    /// The hits of a value in an index, whose number is `slot`: remembered, or worked out by `scan`
    /// into the buffer it is given.
    #[inline]
    pub(crate) fn hits<'a>(
        &'a mut self,
        slot: u32,
        value: Value<'_>,
        spare: &'a mut Vec<u32>,
        scan: impl FnOnce(&mut Vec<u32>),
    ) -> &'a [u32] {
        if value.bytes.len() > VALUE_BYTES_MAX || !self.is_worth(slot) {
            spare.clear();
            scan(spare);
            return spare;
        }
        let hash = self.hasher.hash_one(value.bytes) ^ u64::from(slot).wrapping_mul(0x9e37_79b9);
        let (set, tag) = (hash as usize & (self.hands.len() - 1), (hash >> 32) as u32 | 1);
        let from = set * WAYS;
        let is_known = |at: &usize| {
            let entry = &self.places[*at];
            self.tags[*at] == tag && entry.slot == slot && entry.value() == value.bytes
        };
        if let Some(at) = (from..from + WAYS).find(is_known) {
            self.worth[slot as usize % JUDGED_SLOTS].known += 1;
            let entry = &mut self.places[at];
            entry.was_used = true;
            return entry.hits();
        }
        spare.clear();
        scan(spare);
        if spare.len() <= HITS_MAX {
            let place = from + self.free_place(set);
            self.tags[place] = tag;
            self.places[place].set(slot, value.bytes, spare);
        }
        spare
    }

    /// The next place of a set that was not used since the hand last passed it.
    fn free_place(&mut self, set: usize) -> usize {
        let hand = &mut self.hands[set];
        for _ in 0..WAYS {
            let at = usize::from(*hand);
            *hand = ((at + 1) % WAYS) as u8;
            if !std::mem::take(&mut self.places[set * WAYS + at].was_used) {
                return at;
            }
        }
        usize::from(*hand)
    }

    /// Whether values of the slot are remembered now.
    fn is_worth(&mut self, slot: u32) -> bool {
        let at = slot as usize % JUDGED_SLOTS;
        if self.worth.len() <= at {
            self.worth.resize(at + 1, Worth::default());
        }
        let worth = &mut self.worth[at];
        worth.asked += 1;
        if worth.asked > JUDGED_EVERY {
            worth.periods_off = match worth.periods_off {
                0 if worth.known * KNOWN_MIN < JUDGED_EVERY => RETRIED_EVERY,
                0 => 0,
                n => n - 1,
            };
            (worth.asked, worth.known) = (1, 0);
        }
        worth.periods_off == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Kind;

    const LEAVES: usize = SETS_MIN * LEAVES_PER_SET;

    #[test]
    fn what_is_remembered_is_what_was_worked_out_whatever_is_pushed_out() {
        let mut memo = Memo::for_leaves(LEAVES);
        let mut spare = Vec::new();
        let mut scans = 0;
        // More values than places, in three slots, each twice in a row.
        for n in 0..(SETS_MIN * WAYS * 2) as u32 {
            for _ in 0..2 {
                let width = (n as usize % 5) * INLINE_VALUE_BYTES / 3;
                let (slot, text) = (n % 3, format!("{:width$}", n / 3));
                let value = Value { kind: Kind::Str, bytes: text.as_bytes() };
                let hits = memo.hits(slot, value, &mut spare, |hits| {
                    scans += 1;
                    hits.extend(std::iter::repeat_n(n, n as usize % (INLINE_HITS + 3)));
                    hits.push(slot);
                });
                assert_eq!(hits.len(), n as usize % (INLINE_HITS + 3) + 1);
                assert!(hits.ends_with(&[slot]) && hits.iter().rev().skip(1).all(|h| *h == n));
            }
        }
        assert!(scans < SETS_MIN * WAYS * 3, "{scans}");
    }

    #[test]
    fn a_slot_whose_values_never_repeat_is_not_remembered_for_a_while() {
        let mut memo = Memo::for_leaves(LEAVES);
        let mut spare = Vec::new();
        let mut ask = |text: &str, scans: &mut u32| {
            let value = Value { kind: Kind::Str, bytes: text.as_bytes() };
            memo.hits(0, value, &mut spare, |_| *scans += 1);
        };
        let mut scans = 0;
        for n in 0..2 * JUDGED_EVERY {
            ask(&n.to_string(), &mut scans);
        }
        let before = scans;
        ask("same", &mut scans);
        ask("same", &mut scans);
        assert_eq!(scans, before + 2);
        for n in 0..(RETRIED_EVERY + 2) * JUDGED_EVERY {
            ask(&(n % 7).to_string(), &mut scans);
        }
        let before = scans;
        ask("3", &mut scans);
        assert_eq!(scans, before);
    }
}
