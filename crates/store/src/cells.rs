//! Pieces of far objects in memory: the ones used last, up to so many bytes.

use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Bytes of a cell: eight blocks that share a checksum each, and about a page of a wide column.
pub(crate) const CELL_BYTES: u64 = 64 << 10;

/// Cells of one object, by their number.
pub(crate) type Cells = HashMap<u64, Bytes>;

type Key = (Arc<str>, u64);

/// The cells of all objects that were used last.
pub(crate) struct CellCache {
    room: usize,
    used: usize,
    tick: u64,
    cells: HashMap<Key, (u64, Bytes)>,
    /// By when they were used.
    order: BTreeMap<u64, Key>,
}

impl CellCache {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, used: 0, tick: 0, cells: HashMap::new(), order: BTreeMap::new() }
    }

    /// Those of `wanted` that are here.
    pub(crate) fn take(&mut self, object: &Arc<str>, wanted: &BTreeSet<u64>) -> Cells {
        let mut out = Cells::new();
        for number in wanted {
            let key = (object.clone(), *number);
            let Some((tick, bytes)) = self.cells.get_mut(&key) else { continue };
            out.insert(*number, bytes.clone());
            self.order.remove(tick);
            self.tick += 1;
            *tick = self.tick;
            self.order.insert(self.tick, key);
        }
        out
    }

    pub(crate) fn keep(&mut self, object: &Arc<str>, cells: &Cells) {
        for (number, bytes) in cells {
            let key = (object.clone(), *number);
            if bytes.len() > self.room || self.cells.contains_key(&key) {
                continue;
            }
            self.tick += 1;
            self.used += bytes.len();
            self.cells.insert(key.clone(), (self.tick, bytes.clone()));
            self.order.insert(self.tick, key);
        }
        while self.used > self.room {
            let Some((_, key)) = self.order.pop_first() else { break };
            self.used -= self.cells.remove(&key).map_or(0, |(_, bytes)| bytes.len());
        }
    }

    pub(crate) fn forget(&mut self, object: &Arc<str>, numbers: RangeInclusive<u64>) {
        for number in numbers {
            if let Some((tick, bytes)) = self.cells.remove(&(object.clone(), number)) {
                self.order.remove(&tick);
                self.used -= bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let object: Arc<str> = "a".into();
        let cell = |byte: u8| Bytes::from(vec![byte; 10]);
        let mut cache = CellCache::new(30);
        for number in 0..3 {
            cache.keep(&object, &Cells::from_iter([(number, cell(number as u8))]));
        }
        assert_eq!(cache.take(&object, &BTreeSet::from([0, 7])).len(), 1);
        cache.keep(&object, &Cells::from_iter([(3, cell(3))]));
        let left = cache.take(&object, &(0..9).collect());
        let mut numbers: Vec<u64> = left.keys().copied().collect();
        numbers.sort_unstable();
        assert_eq!((numbers, cache.used), (vec![0, 2, 3], 30));
        cache.forget(&object, 0..=2);
        assert_eq!((cache.used, cache.order.len(), cache.cells.len()), (10, 1, 1));
        cache.keep(&object, &Cells::from_iter([(4, Bytes::from(vec![0; 31]))]));
        assert_eq!(cache.used, 10, "larger than all room");
    }
}
