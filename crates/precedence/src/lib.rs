//! Who goes first when there are more threads that can run than cores, and what new memory costs whom.
//!
//! An event passes through eight threads before its alert is out. On few cores each of them may wait for
//! whoever runs, which the system lets go on for some ms; and a thread that touches new memory waits until
//! the system has cleared it. Three requests to the system make both short:
//!
//! ```text
//! go_first      threads on the way of an event: they run in short slices, and as soon as they wake
//! step_back     threads whose work nobody waits for: all others go first
//! small_pages   new memory is cleared by 4 KiB at a time, not by 2 MiB
//! ```
//!
//! All are wishes: where a system does not know one, nothing changes but the latency. This is the only room
//! with unsafe code of our own: the system calls in `calls`, for which we have no safe wrapper.

#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
mod calls;

/// How far a thread that works in the background stands back, in steps of niceness (`nice(2)`, 0 to 19). With
/// 10 it has a tenth of a core that others want, and all of one that nobody wants.
#[cfg(target_os = "linux")]
const STEPS_BACK: i32 = 10;

/// The slice of a thread on the way of an event, ns: the least that Linux takes. Its default is 3 ms.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000;

/// This thread is on the way of an event from now on: when it wakes, a thread with an ordinary slice makes room
/// at once. Its share of the cores stays the same; it has it in smaller pieces.
///
/// Linux 6.12 and later (EEVDF with slices of one's own, `sched_setattr(2)`); no privilege is needed.
pub fn go_first() {
    #[cfg(target_os = "linux")]
    if let Err(error) = calls::set_slice(SLICE_NS) {
        tracing::debug!(%error, "a thread on the way of events runs in slices like all others");
    }
}

/// Lets other threads go first from now on: for threads whose work nobody waits for.
///
/// Such work cannot fall behind for good: what waits for it has a limit (hot rows, what the journal keeps), and
/// at the limit those who go first wait for it. There is no way back: only a privileged thread may move up
/// again.
///
/// Where the system has no niceness of single threads, nothing changes.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, STEPS_BACK) {
        tracing::debug!(%error, "a thread in the background has the same precedence as all others");
    }
}

/// New memory of this process comes in pages of 4 KiB from now on; large pages that it has stay large.
///
/// The allocator asks for pages of 2 MiB. What is read for good, as the rules' tables are, gains by them: call
/// this when it is loaded. What comes and goes with batches does not: whoever touches a large page first waits
/// until all of it is found and cleared, 4 to 5 ms on a virtual machine, and an alert behind them.
pub fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = calls::disable_large_pages() {
        tracing::debug!(%error, "new memory may come in large pages");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Guarantees: the thread that asks stands back, and no other does.
    #[test]
    fn only_the_thread_that_asks_stands_back() {
        let nice = || rustix::process::getpriority_process(None).expect("the thread is there");
        let before = nice();
        let other = std::thread::spawn(move || {
            step_back();
            nice()
        });
        assert_eq!(other.join().expect("no panic"), before.max(STEPS_BACK));
        assert_eq!(nice(), before);
    }

    /// Guarantees: a thread that goes first keeps its niceness, has the short slice where the system knows
    /// slices, and no other thread gets it.
    #[test]
    fn only_the_thread_that_asks_runs_in_short_slices() {
        let nice = || rustix::process::getpriority_process(None).expect("the thread is there");
        let before = (nice(), calls::slice_ns());
        let (nice_then, then) = std::thread::spawn(move || {
            go_first();
            (nice(), calls::slice_ns())
        })
        .join()
        .expect("no panic");
        assert_eq!(nice_then, before.0);
        assert_eq!((nice(), calls::slice_ns()), before);
        match (before.1, then) {
            (Some(_), Some(slice_ns)) if slice_ns != 0 => assert_eq!(slice_ns, SLICE_NS),
            _ => println!("skipped: this system tells no slices"),
        }
    }

    /// Guarantees: after the call the system gives this process no large pages.
    #[test]
    fn pages_are_small_after_the_call() {
        small_pages();
        assert_ne!(calls::large_pages_are_disabled(), Some(false));
    }
}
