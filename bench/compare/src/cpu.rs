//! What work cost: CPU time of this thread, memory of this process.

use rustix::time::{ClockId, clock_gettime};

/// CPU time this thread has used, in seconds. Other processes on the machine do not count.
pub(crate) fn thread_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU time of `work` in seconds, and what it gave.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let before = thread_s();
    let out = work();
    (thread_s() - before, out)
}

/// Resident memory of this process in MiB; 0 where the kernel does not tell.
pub(crate) fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|t| t.parse::<f64>().ok());
    pages.unwrap_or(0.0) * rustix::param::page_size() as f64 / (1 << 20) as f64
}
