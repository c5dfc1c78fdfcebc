//! Pages of columns that searches have just used, unpacked.
//!
//! A row's value in a column is a number into the column's dictionary, or stands in a page of some
//! hundred values: the one row that a needle wants costs the unpacking of all of them in each of its
//! columns. A search reads the same pages several times (to judge rows, then to hand them out, some at a
//! time), and so does the next one, which mostly asks for a little less of the same.

use hashbrown::HashMap;
use parking_lot::Mutex;
use parquet::column::page::Page;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of all kept pages: what some fifty rows in as many places of mixed logs need.
const BYTES_MAX: usize = 32 << 20;
/// Larger ones would push out everything else.
const PAGE_BYTES_MAX: usize = BYTES_MAX / 16;
/// Smaller ones are unpacked in no time, and an entry costs memory of its own.
const PAGE_BYTES_MIN: usize = 2 << 10;

/// Where a page begins in an opened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// From [`next_file`].
    pub(crate) file: u64,
    pub(crate) at: u64,
}

/// A number that no other opened file has.
pub(crate) fn next_file() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// All that are kept in this process.
static RECENT: LazyLock<Mutex<Recent>> = LazyLock::new(|| Mutex::new(Recent::default()));

/// Whether a page is kept.
pub(crate) fn has(place: Place) -> bool {
    RECENT.lock().pages.contains_key(&place)
}

/// A page that is kept.
pub(crate) fn get(place: Place) -> Option<Page> {
    RECENT.lock().get(place)
}

/// Keeps a page, if it is worth it.
pub(crate) fn keep(place: Place, page: &Page) {
    if (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page.buffer().len()) {
        RECENT.lock().keep(place, page.clone());
    }
}

#[derive(Default)]
struct Recent {
    /// With the time of the last use, in uses.
    pages: HashMap<Place, (Page, u64)>,
    uses: u64,
    bytes: usize,
}

impl Recent {
    fn get(&mut self, place: Place) -> Option<Page> {
        self.uses += 1;
        let (page, used) = self.pages.get_mut(&place)?;
        *used = self.uses;
        Some(page.clone())
    }

    fn keep(&mut self, place: Place, page: Page) {
        self.uses += 1;
        self.bytes += page.buffer().len();
        if let Some((old, _)) = self.pages.insert(place, (page, self.uses)) {
            self.bytes -= old.buffer().len();
        }
        if self.bytes > BYTES_MAX {
            self.let_go();
        }
    }

    /// Lets go of the half that was not used for longest.
    fn let_go(&mut self) {
        let mut uses: Vec<u64> = self.pages.values().map(|(_, used)| *used).collect();
        let half = uses.len() / 2;
        let (_, middle, _) = uses.select_nth_unstable(half);
        let middle = *middle;
        self.pages.retain(|_, (_, used)| *used > middle);
        self.bytes = self.pages.values().map(|(page, _)| page.buffer().len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::Encoding;

    fn page(bytes: usize) -> Page {
        let buf = vec![0; bytes].into();
        Page::DictionaryPage { buf, num_values: 1, encoding: Encoding::PLAIN, is_sorted: false }
    }

    #[test]
    fn the_bytes_are_bounded_and_what_is_used_stays() {
        let mut recent = Recent::default();
        let place = |at| Place { file: 0, at };
        for at in 0..100_000 {
            recent.keep(place(at), page(10_000));
            assert!(recent.get(place(0)).is_some(), "used all the time, lost at {at}");
            assert!(recent.bytes <= BYTES_MAX);
        }
        assert!(recent.get(place(99_999)).is_some() && recent.get(place(1)).is_none());
        let bytes: usize = recent.pages.values().map(|(page, _)| page.buffer().len()).sum();
        assert_eq!(recent.bytes, bytes);
        recent.keep(place(0), page(20_000));
        assert_eq!(recent.bytes, bytes + 10_000);
    }

    #[test]
    fn only_what_is_worth_it_is_kept() {
        for (bytes, kept) in
            [(PAGE_BYTES_MIN - 1, false), (PAGE_BYTES_MIN, true), (PAGE_BYTES_MAX + 1, false)]
        {
            let place = Place { file: next_file(), at: 2 };
            keep(place, &page(bytes));
            assert_eq!((has(place), get(place).is_some()), (kept, kept), "{bytes}");
        }
    }
}
