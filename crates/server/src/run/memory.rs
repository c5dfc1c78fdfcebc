//! The ceiling of memory, and the parts of it that are given to those who hold much.
//!
//! The other bounds of memory are where their bytes are: the door between sockets and disk, connections,
//! live views. What is left is for rules, their state and files that are being written.

use super::overload::memory_ceiling;
use crate::config::{Config, HOT_BYTES_LEAST};

/// Most memory of rows that are in no file yet unless told otherwise: an eighth of the gigabyte that a loaded
/// server may have. With twice as much it had 1.1, and was no faster.
pub const HOT_BYTES_DEFAULT: usize = 128 << 20;
/// The same as a part of the ceiling, where that is less. While a file is written, its rows are in memory
/// three times: as they came, as columns, and packed.
const HOT_ONE_IN: u64 = 8;
/// Part of the ceiling that all searches together may take for sorting, grouping and distinct values.
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
    /// Rows that are in no file yet.
    pub hot_rows: usize,
    /// All searches that run at once.
    pub searches: usize,
    /// One of them.
    pub search: usize,
}

impl Shares {
    /// As the configuration says, or as the machine or control group allows.
    pub fn of(config: &Config) -> Self {
        Self::under(config.memory_bytes_max.unwrap_or_else(memory_ceiling), config.hot_bytes_max)
    }

    fn under(all: u64, hot_rows: Option<usize>) -> Self {
        let part = |one_in: u64| usize::try_from(all / one_in).unwrap_or(usize::MAX);
        let searches = part(SEARCHES_ONE_IN).max(SEARCH_BYTES_LEAST);
        let search = (searches / SEARCH_ONE_IN).min(store::search::MEMORY_BYTES_DEFAULT);
        let hot = part(HOT_ONE_IN).clamp(HOT_BYTES_LEAST, HOT_BYTES_DEFAULT);
        Self {
            all,
            hot_rows: hot_rows.unwrap_or(hot),
            searches,
            search: search.max(SEARCH_BYTES_LEAST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a server on a machine of its own, one in a control group of 512 MiB, one with a ceiling that
    /// is far too low.
    /// Guarantees: the first has the usual sizes; of the second, rows and searches together have less than
    /// half; the third can still search and write; what is configured stands.
    #[test]
    fn shares_follow_the_ceiling() {
        let large = Shares::under(20 << 30, None);
        assert_eq!((large.hot_rows, large.search), (128 << 20, 256 << 20));
        assert_eq!(large.searches, 5 << 30);
        let small = Shares::under((512 << 20) / 100 * 85, None);
        assert!(small.hot_rows + small.searches < 256 << 20, "{small:?}");
        assert!(small.search <= small.searches && small.hot_rows >= 32 << 20, "{small:?}");
        let least = Shares::under(1 << 20, None);
        assert_eq!((least.hot_rows, least.search), (HOT_BYTES_LEAST, SEARCH_BYTES_LEAST));
        assert_eq!(Shares::under(20 << 30, Some(7 << 20)).hot_rows, 7 << 20);
    }
}
