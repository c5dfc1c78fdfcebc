//! The ceiling of memory, and the parts of it that are given to those who hold much.
//!
//! What rules, packs and tables took at the start is not there to be given: thousands of rules under a small
//! ceiling leave less for rows and searches. The other bounds of memory are where their bytes are: connections,
//! live views. What is left is for the state of rules and files that are being written.

use super::overload::memory_ceiling;
use crate::config::{Config, HOT_BYTES_LEAST};
use io::door::DOOR_BYTES_DEFAULT;

/// Most memory of rows that are in no file yet unless told otherwise: an eighth of the gigabyte that a loaded
/// server may have. With twice as much it had 1.1, and was no faster.
pub const HOT_BYTES_DEFAULT: usize = 128 << 20;
/// The same as a part of what is left, where that is less. While a file is written, its rows are in memory
/// three times: as they came, as columns, and packed.
const HOT_ONE_IN: u64 = 8;
/// The least part of the ceiling that counts as left by what was loaded: with less, nothing would work.
const LEFT_ONE_IN: u64 = 2;
/// Part of what is left for bytes between sockets and disk, where that is less than usual, and the least: some
/// bodies of 1 MiB, which are taken in any case.
const DOOR_ONE_IN: u64 = 8;
const DOOR_BYTES_LEAST: usize = 8 << 20;
/// Part of what is left that all searches together may take for sorting, grouping and distinct values.
const SEARCHES_ONE_IN: u64 = 4;
/// Part of that for one search, which may take as much again for the rows of its answer.
const SEARCH_ONE_IN: usize = 2;
/// Less than this for one search would refuse what every analyst asks.
const SEARCH_BYTES_LEAST: usize = 16 << 20;

/// How much memory who may hold, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// What the whole server may use.
    pub all: u64,
    /// Between sockets and disk, of all sources.
    pub door: usize,
    /// Rows that are in no file yet.
    pub hot_rows: usize,
    /// All searches that run at once.
    pub searches: usize,
    /// One of them.
    pub search: usize,
}

impl Shares {
    /// As the configuration says, or as the machine or control group allows; `held_bytes` are taken for good.
    pub fn of(config: &Config, held_bytes: u64) -> Self {
        let all = config.memory_bytes_max.unwrap_or_else(memory_ceiling);
        Self::under(all, held_bytes, config.hot_bytes_max)
    }

    fn under(all: u64, held_bytes: u64, hot_rows: Option<usize>) -> Self {
        let left = all.saturating_sub(held_bytes).max(all / LEFT_ONE_IN);
        let part = |one_in: u64| usize::try_from(left / one_in).unwrap_or(usize::MAX);
        let searches = part(SEARCHES_ONE_IN).max(SEARCH_BYTES_LEAST);
        let search = (searches / SEARCH_ONE_IN).min(store::search::MEMORY_BYTES_DEFAULT);
        let hot = part(HOT_ONE_IN).clamp(HOT_BYTES_LEAST, HOT_BYTES_DEFAULT);
        Self {
            all,
            door: part(DOOR_ONE_IN).clamp(DOOR_BYTES_LEAST, DOOR_BYTES_DEFAULT),
            hot_rows: hot_rows.unwrap_or(hot),
            searches,
            search: search.max(SEARCH_BYTES_LEAST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a server on a machine of its own, one in a control group of 512 MiB with few rules and with many,
    /// one with a ceiling that is far too low.
    /// Guarantees: the first has the usual sizes; of the second, rows and searches together have less than
    /// half, and less where rules take much; the last can still search and write; what is configured stands.
    #[test]
    fn shares_follow_the_ceiling() {
        let large = Shares::under(20 << 30, 100 << 20, None);
        assert_eq!((large.hot_rows, large.search), (128 << 20, 256 << 20));
        assert_eq!(large.door, DOOR_BYTES_DEFAULT);
        let group = (512 << 20) / 100 * 85;
        let small = Shares::under(group, 60 << 20, None);
        assert!(small.hot_rows + small.searches < 256 << 20, "{small:?}");
        assert!(small.search <= small.searches && small.hot_rows >= 32 << 20, "{small:?}");
        let ruled = Shares::under(group, 180 << 20, None);
        assert!(ruled.hot_rows + ruled.searches + ruled.door < 128 << 20, "{ruled:?}");
        // What is loaded may be more than there is.
        assert_eq!(Shares::under(group, group * 2, None), Shares::under(group, group / 2, None));
        let least = Shares::under(1 << 20, 0, None);
        assert_eq!((least.hot_rows, least.search), (HOT_BYTES_LEAST, SEARCH_BYTES_LEAST));
        assert_eq!(Shares::under(20 << 30, 0, Some(7 << 20)).hot_rows, 7 << 20);
    }
}
