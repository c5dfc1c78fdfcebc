//! Who goes first when there are more threads that can run than cores.

/// How far a thread that works in the background stands back, in steps of niceness (`nice(2)`, 0 to 19). With
/// 10 it has a tenth of a core that others want, and all of one that nobody wants.
const STEPS_BACK: i32 = 10;

/// Lets other threads go first from now on: for threads whose work nobody waits for. An event passes through
/// eight threads before its alert is out, and at each a thread that keeps its core costs some ms.
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
}
