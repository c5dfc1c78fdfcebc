//! Keys that have shown one event only: most of them, always. 64 bytes each, in order of arrival.
//!
//! ```text
//! [128][128][128]...   chunks; the front is the longest untouched, the first to expire or to go
//! ```
//! A key with one entry and no episode is packed; the next event of the key unpacks it into a whole
//! [`super::window::KeyState`]. Nothing but the text of the key is lost on the way, and the event
//! that unpacks brings it again.

use super::window::Entry;
use event::EventId;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Entries of one chunk: 8 KiB, the most that a small rule wastes per shard.
const CHUNK: usize = 128;
/// Taken-out places are tolerated up to this number before the order is closed up.
const HOLES_MIN: usize = 4 * CHUNK;
/// Bytes of one key with its share of the index.
pub(super) const PACKED_BYTES: usize = 72;

/// The only entry of a key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Packed {
    hash: [u64; 2],
    t: i64,
    value: u64,
    pub(super) stream_ns: i64,
    id: EventId,
    weight: u32,
    slot: u8,
    live: bool,
}

impl Packed {
    pub(super) fn new(hash: u128, entry: &Entry, stream_ns: i64) -> Self {
        Self {
            hash: split(hash),
            t: entry.t,
            value: entry.value,
            stream_ns,
            id: entry.id,
            weight: entry.weight,
            slot: entry.slot,
            live: true,
        }
    }

    pub(super) fn key(&self) -> u128 {
        u128::from(self.hash[1]) << 64 | u128::from(self.hash[0])
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            t: self.t,
            id: self.id,
            start: self.t,
            value: self.value,
            weight: self.weight,
            rows: 1,
            label: 0,
            slot: self.slot,
        }
    }
}

fn split(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

/// All packed keys of one correlation in one shard.
#[derive(Debug, Default)]
pub(super) struct PackedKeys {
    chunks: VecDeque<Vec<Packed>>,
    /// Number of the first place of the first chunk; places count up and wrap around.
    base: u32,
    /// Places of the first chunk that are done with.
    skip: usize,
    len: usize,
    holes: usize,
    places: HashTable<u32>,
}

impl PackedKeys {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.len * PACKED_BYTES
    }

    /// Adds a key that is not there, as the latest.
    pub(super) fn push(&mut self, item: Packed) {
        if self.chunks.back().is_none_or(|c| c.len() == CHUNK) {
            self.chunks.push_back(Vec::with_capacity(CHUNK));
        }
        let place = (self.chunks.len() - 1) * CHUNK;
        let Some(chunk) = self.chunks.back_mut() else { return };
        let number = self.base.wrapping_add((place + chunk.len()) as u32);
        chunk.push(item);
        self.len += 1;
        let (chunks, base) = (&self.chunks, self.base);
        let hash = |n: &u32| at(chunks, base, *n).hash[0];
        self.places.insert_unique(item.hash[0], number, hash);
    }

    /// Takes a key out.
    pub(super) fn take(&mut self, hash: u128) -> Option<Packed> {
        let key = split(hash);
        let (chunks, base) = (&self.chunks, self.base);
        let same = |n: &u32| at(chunks, base, *n).hash == key;
        let found = self.places.find_entry(key[0], same).ok()?;
        let (number, _) = found.remove();
        let index = number.wrapping_sub(self.base) as usize;
        let item = &mut self.chunks[index / CHUNK][index % CHUNK];
        item.live = false;
        let item = *item;
        self.len -= 1;
        self.holes += 1;
        if self.holes > HOLES_MIN && self.holes > self.len {
            self.close_up();
        }
        Some(item)
    }

    /// The longest untouched key.
    pub(super) fn front(&mut self) -> Option<Packed> {
        loop {
            let chunk = self.chunks.front()?;
            match chunk.get(self.skip) {
                Some(item) if item.live => return Some(*item),
                Some(_) => {
                    self.skip += 1;
                    self.holes -= 1;
                }
                None if chunk.len() < CHUNK => return None,
                None => {
                    self.chunks.pop_front();
                    self.base = self.base.wrapping_add(CHUNK as u32);
                    self.skip = 0;
                }
            }
        }
    }

    /// Takes the longest untouched key out.
    pub(super) fn pop(&mut self) -> Option<Packed> {
        let hash = self.front()?.key();
        self.take(hash)
    }

    /// All keys in order.
    pub(super) fn items(&self) -> impl Iterator<Item = &Packed> {
        self.chunks.iter().flatten().filter(|item| item.live)
    }

    fn close_up(&mut self) {
        let mut next = Self::default();
        self.items().for_each(|item| next.push(*item));
        *self = next;
    }
}

fn at(chunks: &VecDeque<Vec<Packed>>, base: u32, number: u32) -> &Packed {
    let index = number.wrapping_sub(base) as usize;
    &chunks[index / CHUNK][index % CHUNK]
}

impl Serialize for PackedKeys {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut list = serializer.serialize_seq(Some(self.len))?;
        for item in self.items() {
            list.serialize_element(item)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for PackedKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = Self::default();
        for item in Vec::<Packed>::deserialize(deserializer)? {
            keys.push(Packed { live: true, ..item });
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn item(hash: u128) -> Packed {
        let entry = Entry {
            t: hash as i64,
            id: EventId::at(7),
            start: hash as i64,
            value: 1,
            weight: 1,
            rows: 1,
            label: 0,
            slot: 0,
        };
        Packed::new(hash, &entry, 5)
    }

    proptest! {
        #[test]
        fn it_is_a_queue_with_a_door_in_the_middle(
            steps in prop::collection::vec((0u8..5, 0u128..900), 1..3_000),
        ) {
            let (mut keys, mut model) = (PackedKeys::default(), VecDeque::<u128>::new());
            for (what, hash) in steps {
                match what {
                    0 => prop_assert_eq!(keys.pop().map(|p| p.key()), model.pop_front()),
                    1 => {
                        let at = model.iter().position(|k| *k == hash);
                        let expected = at.and_then(|i| model.remove(i));
                        prop_assert_eq!(keys.take(hash).map(|p| p.key()), expected);
                    }
                    _ if model.contains(&hash) => {}
                    _ => {
                        keys.push(item(hash));
                        model.push_back(hash);
                    }
                }
                prop_assert_eq!(keys.len(), model.len());
            }
            let bytes = postcard::to_stdvec(&keys).unwrap();
            let again: PackedKeys = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
            let order: Vec<u128> = again.items().map(Packed::key).collect();
            prop_assert_eq!(order, Vec::from(model));
        }
    }

    #[test]
    fn a_packed_key_is_64_bytes() {
        assert_eq!(size_of::<Packed>(), 64);
    }
}
