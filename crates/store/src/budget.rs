//! Memory of searches: each has a limit of its own, and all that run at once have one together.

use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryLimit, MemoryPool, MemoryReservation,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all searches may take together, and what they have taken, bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    one_bytes_max: usize,
    used: AtomicUsize,
}

impl Budget {
    /// So much for all, of which one may have `one_bytes_max`.
    pub(crate) fn of(bytes_max: usize, one_bytes_max: usize) -> Self {
        Self { bytes_max, one_bytes_max, used: AtomicUsize::new(0) }
    }

    fn try_take(&self, bytes: usize) -> bool {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max)
        });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(usize::MAX, usize::MAX)
    }
}

/// What the engine asks for memory on behalf of one search.
#[derive(Debug)]
pub(crate) struct SearchPool {
    own: GreedyMemoryPool,
    bytes_max: usize,
    together: Arc<Budget>,
}

impl SearchPool {
    /// At most `bytes_max` for this search, and no more than `together` allows one and has left.
    pub(crate) fn of(bytes_max: usize, together: Arc<Budget>) -> Self {
        let bytes_max = bytes_max.min(together.one_bytes_max);
        Self { own: GreedyMemoryPool::new(bytes_max), bytes_max, together }
    }
}

impl fmt::Display for SearchPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "search({} of {} bytes)", self.own.reserved(), self.bytes_max)
    }
}

impl MemoryPool for SearchPool {
    fn name(&self) -> &str {
        "search"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.together.used.fetch_add(additional, Ordering::Relaxed);
        self.own.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.together.give_back(shrink);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> Result<(), DataFusionError> {
        if !self.together.try_take(additional) {
            let text =
                format!("the searches that run at once have {} bytes", self.together.bytes_max);
            return Err(DataFusionError::ResourcesExhausted(text));
        }
        let grown = self.own.try_grow(reservation, additional);
        if grown.is_err() {
            self.together.give_back(additional);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::MemoryConsumer;

    /// Guarantees: what one search has taken the other cannot; it can when the first has ended; what was refused
    /// by a search's own limit is not counted.
    #[test]
    fn two_searches_share_and_give_back() {
        let together = Arc::new(Budget::of(100, 85));
        let pool = |own| -> Arc<dyn MemoryPool> { Arc::new(SearchPool::of(own, together.clone())) };
        let (first, second) = (pool(200), pool(80));
        let one = MemoryConsumer::new("first").register(&first);
        let two = MemoryConsumer::new("second").register(&second);
        assert!(one.try_grow(90).is_err(), "the limit of one");
        one.try_grow(60).unwrap();
        assert!(two.try_grow(50).is_err(), "what both may have");
        two.try_grow(40).unwrap();
        drop(one);
        two.try_grow(40).unwrap();
        drop(two);
        assert_eq!(together.used.load(Ordering::Relaxed), 0);
    }
}
