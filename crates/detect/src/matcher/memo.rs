//! A bounded memory of values and the leaves they hit: log values repeat.

use event::{Kind, Value};
use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

/// Places; a value's place is given by its hash, and a newcomer takes it over. 2^15 places hold the
/// working set of one worker and stay within a few MB.
const PLACES: usize = 1 << 15;
/// Longer values are rarely seen twice and are looked up each time.
const VALUE_BYTES_MAX: usize = 512;
/// Values with more hits than this are not kept, so that memory stays bounded.
const HITS_MAX: usize = 512;

/// Remembers hits per (index, value).
pub(crate) struct Memo {
    places: Vec<Place>,
    hasher: DefaultHashBuilder,
}

#[derive(Default, Clone)]
struct Place {
    /// Number of the index plus one; 0 = free.
    index: u32,
    value: Vec<u8>,
    hits: Vec<u32>,
}

impl Default for Memo {
    fn default() -> Self {
        Self { places: vec![Place::default(); PLACES], hasher: DefaultHashBuilder::default() }
    }
}

impl Memo {
    pub(crate) fn clear(&mut self) {
        for place in &mut self.places {
            place.index = 0;
        }
    }

    /// The hits of a value: remembered, or worked out by `scan` into the buffer it is given.
    pub(crate) fn hits<'a>(
        &'a mut self,
        index: u32,
        value: Value<'_>,
        spare: &'a mut Vec<u32>,
        scan: impl FnOnce(&mut Vec<u32>),
    ) -> &'a [u32] {
        if value.kind == Kind::Null || value.bytes.len() > VALUE_BYTES_MAX {
            spare.clear();
            scan(spare);
            return spare;
        }
        let hash = self.hasher.hash_one((index, value.bytes));
        let place = &mut self.places[hash as usize % PLACES];
        if place.index == index + 1 && place.value == value.bytes {
            return &place.hits;
        }
        place.hits.clear();
        scan(&mut place.hits);
        if place.hits.len() > HITS_MAX {
            place.index = 0;
            spare.clear();
            spare.append(&mut place.hits);
            place.hits.shrink_to(HITS_MAX);
            return spare;
        }
        place.index = index + 1;
        place.value.clear();
        place.value.extend_from_slice(value.bytes);
        &place.hits
    }
}
