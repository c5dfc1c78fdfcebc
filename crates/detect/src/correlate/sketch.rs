//! What is known of keys that had to be let go: a count-min sketch over slices of event time.
//!
//! ```text
//! slices  | 0..150 s | 150..300 s | ...      a ring that covers window + lateness
//! slice   4 rows of 2,048 counters; a key's count is at most the least of its four
//! ```
//! A count never comes out too low while counters are not worn out, so a key whose remembered events
//! and sketched ones together cannot reach the threshold needs nothing more, and one that can is
//! told about. Made only when a rule has outgrown its budget.

use serde::{Deserialize, Serialize};

const ROWS: usize = 4;
/// Counters per row: 4,000 keys of a slice and shard (1,000,000 of a rule) collide in all four rows
/// with a probability below one in a million for counts of 3 or more.
const WIDTH: usize = 2_048;
/// From this many additions per slice on, others add one to the least of a key's counters on average.
const NOISE: u64 = 2 * WIDTH as u64;
/// Words of the filter of (key, value) pairs: 4 KiB, wrong for one new pair in 5,000 at 1,000 pairs.
const PAIR_WORDS: usize = 512;
/// Slices per window, so that a sketched event is counted at most a quarter of a window too long.
const SLICES_PER_WINDOW: i64 = 4;
/// Most slices: bounds what one rule costs per shard to 16 KiB each.
const SLICES_MAX: i64 = 10;

/// Counts of let-go events of one correlation in one shard.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sketch {
    slice_ns: i64,
    slices: Vec<Slice>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Slice {
    number: i64,
    added: u64,
    counters: Vec<u16>,
    /// (key, value) pairs of the slice as a Bloom filter; empty where values do not matter.
    pairs: Vec<u64>,
}

impl Sketch {
    /// For windows of `window_ns` over which events may come `reach_ns` late.
    pub(super) fn new(window_ns: i64, reach_ns: i64) -> Self {
        let whole = window_ns.saturating_add(reach_ns);
        let slice_ns = (window_ns / SLICES_PER_WINDOW).max(whole / (SLICES_MAX - 2)).max(1);
        let count = whole / slice_ns + 2;
        let empty = Slice { number: i64::MIN, added: 0, counters: Vec::new(), pairs: Vec::new() };
        Self { slice_ns, slices: vec![empty; count as usize] }
    }

    /// Remembers `weight` occurrences of a key at event time `t`. Older slices than the ring holds
    /// are past every window.
    pub(super) fn add(&mut self, hash: u128, t: i64, weight: u32) {
        let Some(slice) = self.slice(t) else { return };
        slice.added += u64::from(weight);
        let places = places(hash);
        let least = places.iter().map(|p| slice.counters[*p]).min().unwrap_or_default();
        let count = (u32::from(least).saturating_add(weight)).min(u32::from(u16::MAX)) as u16;
        for place in places {
            slice.counters[place] = slice.counters[place].max(count);
        }
    }

    /// As [`Sketch::add`] with weight 1, unless the same value of the key is in the slice already.
    pub(super) fn add_value(&mut self, hash: u128, t: i64, value: u64) {
        let Some(slice) = self.slice(t) else { return };
        let pair = hash ^ (u128::from(value) | u128::from(value.rotate_left(23)) << 64);
        slice.pairs.resize(PAIR_WORDS, 0);
        let mut known = true;
        for probe in 0..ROWS {
            let bit = (pair >> (probe * 22)) as usize % (PAIR_WORDS * 64);
            known &= slice.pairs[bit / 64] >> (bit % 64) & 1 == 1;
            slice.pairs[bit / 64] |= 1 << (bit % 64);
        }
        if !known {
            self.add(hash, t, 1);
        }
    }

    /// The most occurrences of a key that may have been let go between two event times, less what
    /// others must have added to its counters once the sketch is crowded.
    pub(super) fn count(&self, hash: u128, from: i64, to: i64) -> u64 {
        let (first, last) = (from.div_euclid(self.slice_ns), to.div_euclid(self.slice_ns));
        let places = places(hash);
        let of = |slice: &Slice| {
            let least = places.iter().map(|p| slice.counters[*p]).min().unwrap_or_default();
            u64::from(least).saturating_sub(slice.added / NOISE)
        };
        let within = |s: &&Slice| (first..=last).contains(&s.number) && s.added > 0;
        self.slices.iter().filter(within).map(of).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slices.iter().map(|s| s.counters.len() * 2 + s.pairs.len() * 8 + 64).sum()
    }

    fn slice(&mut self, t: i64) -> Option<&mut Slice> {
        let number = t.div_euclid(self.slice_ns);
        let place = number.rem_euclid(self.slices.len() as i64) as usize;
        let slice = &mut self.slices[place];
        if slice.number > number {
            return None;
        }
        if slice.number < number {
            let counters = vec![0; ROWS * WIDTH];
            *slice = Slice { number, added: 0, counters, pairs: Vec::new() };
        }
        Some(slice)
    }
}

/// Counter of each row: the key's hash is keyed, so nobody outside can aim at one.
fn places(hash: u128) -> [usize; ROWS] {
    std::array::from_fn(|row| row * WIDTH + (hash >> (row * 22)) as usize % WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u128 {
        crate::correlate::KeyHasher::new([3; 16]).key([&n.to_le_bytes()[..]]).hash
    }

    #[test]
    fn a_count_is_never_too_low_and_seldom_too_high() {
        let mut sketch = Sketch::new(600, 300);
        for key in 0..4_000 {
            sketch.add(hash(key), 1_000 + (key % 600) as i64, 1);
        }
        for t in [1_000, 1_200, 1_400] {
            sketch.add(hash(77), t, 2);
        }
        assert!(sketch.count(hash(77), 1_000, 1_600) >= 7);
        let high = (10_000..20_000).filter(|k| sketch.count(hash(*k), 1_000, 1_600) >= 3).count();
        assert!(high < 10, "{high} of 10,000 keys that were never there");
    }

    #[test]
    fn old_slices_are_forgotten_and_values_count_once() {
        let mut sketch = Sketch::new(600, 300);
        sketch.add(hash(1), 0, 5);
        assert_eq!(sketch.count(hash(1), 0, 100), 5);
        assert_eq!(sketch.count(hash(1), 600, 1_200), 0);
        for value in [1, 2, 2, 1, 3] {
            sketch.add_value(hash(2), 20_000, value);
        }
        assert_eq!(sketch.count(hash(2), 19_500, 20_000), 3);
        sketch.add(hash(1), 18_750, 5);
        assert_eq!(sketch.count(hash(1), 18_000, 20_000), 0, "its slice has been taken over");
    }
}
