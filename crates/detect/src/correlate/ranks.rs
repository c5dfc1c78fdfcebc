//! Order statistics of a changing multiset of weighted numbers.
//!
//! ```text
//! [1.0 1.0 2.5 | 3.0 7.0 | 9.0 ...]   sorted blocks of at most 512, each with its weight
//! ```
//! Adding, removing and asking for a rank cost a search over block ends and a move within one block:
//! about 200 ns at 65,536 numbers, where sorting the window anew would cost milliseconds.

/// A block is cut in two beyond this: a move of 512 entries is 8 KiB.
const BLOCK_MAX: usize = 512;

/// Numbers with weights, ordered. Equal numbers share one item.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    blocks: Vec<Block>,
    weight: u64,
}

#[derive(Debug, Default)]
struct Block {
    items: Vec<(f64, u64)>,
    weight: u64,
}

impl Ranks {
    /// Adds `weight` occurrences of `number`.
    pub(super) fn add(&mut self, number: f64, weight: u32) {
        let weight = u64::from(weight);
        self.weight += weight;
        let at = self.block_of(number);
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        }
        let block = &mut self.blocks[at];
        block.weight += weight;
        match block.items.binary_search_by(|item| item.0.total_cmp(&number)) {
            Ok(found) => block.items[found].1 += weight,
            Err(place) => block.items.insert(place, (number, weight)),
        }
        if block.items.len() > BLOCK_MAX {
            let items = block.items.split_off(BLOCK_MAX / 2);
            let moved = items.iter().map(|i| i.1).sum();
            block.weight -= moved;
            self.blocks.insert(at + 1, Block { items, weight: moved });
        }
    }

    /// Takes away what was added.
    pub(super) fn remove(&mut self, number: f64, weight: u32) {
        let at = self.block_of(number);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let Ok(found) = block.items.binary_search_by(|item| item.0.total_cmp(&number)) else {
            return;
        };
        let weight = u64::from(weight).min(block.items[found].1);
        block.items[found].1 -= weight;
        block.weight -= weight;
        self.weight -= weight;
        if block.items[found].1 == 0 {
            block.items.remove(found);
        }
        if block.items.is_empty() {
            self.blocks.remove(at);
        }
    }

    /// The percentile `p` (0..=100), linearly interpolated between the two nearest ranks: rank
    /// `p / 100 * (n - 1)`, counted from 0. `None` when there is nothing.
    pub(super) fn percentile(&self, p: f64) -> Option<f64> {
        let place = p / 100.0 * self.weight.checked_sub(1)? as f64;
        let low = self.at(place.floor() as u64)?;
        let high = self.at(place.ceil() as u64)?;
        Some(low + (high - low) * place.fract())
    }

    /// How much there is.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// How much lies between two numbers, ends included.
    pub(super) fn within(&self, low: f64, high: f64) -> u64 {
        let mut found = 0;
        for block in &self.blocks[self.block_of(low)..] {
            let (Some(first), Some(last)) = (block.items.first(), block.items.last()) else {
                continue;
            };
            if first.0 > high {
                break;
            }
            found += match low <= first.0 && last.0 <= high {
                true => block.weight,
                false => {
                    let from = block.items.partition_point(|item| item.0 < low);
                    let inside = block.items[from..].iter().take_while(|item| item.0 <= high);
                    inside.map(|item| item.1).sum()
                }
            };
        }
        found
    }

    fn at(&self, mut rank: u64) -> Option<f64> {
        for block in &self.blocks {
            if rank >= block.weight {
                rank -= block.weight;
                continue;
            }
            for (number, weight) in &block.items {
                if rank < *weight {
                    return Some(*number);
                }
                rank -= weight;
            }
        }
        None
    }

    /// The first block whose last number is not below `number`, else the last one.
    fn block_of(&self, number: f64) -> usize {
        let below = |b: &Block| b.items.last().is_some_and(|i| i.0.total_cmp(&number).is_lt());
        self.blocks.partition_point(below).min(self.blocks.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(numbers: &[(f64, u32)], p: f64) -> Option<f64> {
        let mut all: Vec<f64> =
            numbers.iter().flat_map(|(v, w)| std::iter::repeat_n(*v, *w as usize)).collect();
        all.sort_by(f64::total_cmp);
        let place = p / 100.0 * (all.len().checked_sub(1)?) as f64;
        let (low, high) = (all[place.floor() as usize], all[place.ceil() as usize]);
        Some(low + (high - low) * place.fract())
    }

    proptest! {
        #[test]
        fn ranks_are_those_of_a_sorted_list(
            steps in prop::collection::vec((-50i32..50, 1u32..4, any::<bool>()), 1..400),
            p in 0.0..100.0f64, (low, span) in (-60i32..60, 0i32..60),
        ) {
            let (mut ranks, mut model) = (Ranks::default(), Vec::new());
            for (number, weight, add) in steps {
                if add || model.is_empty() {
                    ranks.add(f64::from(number), weight);
                    model.push((f64::from(number), weight));
                } else {
                    let at = number.unsigned_abs() as usize % model.len();
                    let (number, weight) = model.swap_remove(at);
                    ranks.remove(number, weight);
                }
                prop_assert_eq!(ranks.percentile(p), naive(&model, p));
                let (low, high) = (f64::from(low), f64::from(low + span));
                let inside = model.iter().filter(|(v, _)| (low..=high).contains(v));
                let inside: u64 = inside.map(|(_, w)| u64::from(*w)).sum();
                prop_assert_eq!(ranks.within(low, high), inside);
            }
        }
    }

    #[test]
    fn thousands_of_numbers_stay_in_order() {
        let mut ranks = Ranks::default();
        for i in 0..10_000u32 {
            ranks.add(f64::from(i.wrapping_mul(7_919) % 10_000), 1);
        }
        assert_eq!(ranks.percentile(50.0), Some(4_999.5));
        assert_eq!((ranks.percentile(0.0), ranks.percentile(100.0)), (Some(0.0), Some(9_999.0)));
        assert_eq!((ranks.within(1_000.0, 4_999.0), ranks.within(9_998.5, 1e9)), (4_000, 1));
        for i in 0..5_000u32 {
            ranks.remove(f64::from(i), 1);
        }
        assert_eq!(ranks.percentile(0.0), Some(5_000.0));
        assert!(ranks.blocks.len() < 60);
    }
}
