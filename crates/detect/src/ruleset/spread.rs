//! Many files are read on all cores; what they say stands in their order, whoever read them.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Fewest files for each thread: one takes about 0.1 ms to be read and parsed, and a thread as long to
/// be started, with memory of its own to be found.
const FILES_PER_THREAD_MIN: usize = 64;
/// Files that a thread takes at once: few enough that all threads end together.
const FILES_AT_ONCE: usize = 16;
/// Stack of a thread, that of a process' first one: documents and conditions are read by recursion, and
/// what the limits of their depth allow has to fit without optimisation, too.
const STACK_BYTES: usize = 8 << 20;

/// How many threads, the caller's included, so many files are worth on this machine.
pub(super) fn threads_for(files: usize) -> usize {
    match files / FILES_PER_THREAD_MIN {
        0 | 1 => 1,
        most => thread::available_parallelism().map_or(1, NonZero::get).min(most),
    }
}

/// What `work` makes of each item, in the order of the items. The caller's thread is one of those that
/// work; threads that the system does not give leave more to the others.
pub(super) fn in_order<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(own) = items.chunks(FILES_AT_ONCE).nth(at) else { return done };
            done.push((at, own.iter().map(&work).collect()));
        }
    };
    let mut done = thread::scope(|scope| {
        let other = |_| {
            let thread = thread::Builder::new().name("rule-files".into()).stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, take).ok()
        };
        let others: Vec<_> = (1..threads).filter_map(other).collect();
        let mut done = take();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_items() {
        for (items, threads) in [(0, 3), (1, 8), (FILES_AT_ONCE + 1, 2), (1_000, 7)] {
            let items: Vec<usize> = (0..items).collect();
            let squares: Vec<usize> = items.iter().map(|n| n * n).collect();
            assert_eq!(in_order(&items, threads, |n| n * n), squares);
        }
    }

    #[test]
    fn few_files_are_read_by_the_caller_alone() {
        assert_eq!(threads_for(2 * FILES_PER_THREAD_MIN - 1), 1);
        assert!(threads_for(2 * FILES_PER_THREAD_MIN) <= 2);
        let caller = thread::current().id();
        let by = in_order(&[0; 100], 1, |_| thread::current().id());
        assert!(by.iter().all(|id| *id == caller));
    }

    #[test]
    fn a_panic_of_a_thread_reaches_the_caller() {
        let items: Vec<usize> = (0..1_000).collect();
        let fails = || in_order(&items, 4, |n| assert!(*n != 777));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(fails)).is_err());
    }
}
