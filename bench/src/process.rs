//! What the kernel says of a process: CPU time and peak memory.

use crate::error::BenchError;

/// Unit of the times in `/proc/PID/stat`: Linux shows USER_HZ = 100 on all that we run on.
const TICKS_PER_S: f64 = 100.0;

/// User and system time of all threads of a process so far, s.
pub(crate) fn cpu_s(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(BenchError::io(&path))?;
    ticks(&text)
        .map(|ticks| ticks as f64 / TICKS_PER_S)
        .ok_or_else(|| BenchError::server(format!("has no times in {path}")))
}

/// User and system time of all processes that this one has waited for, s.
pub(crate) fn children_cpu_s() -> Result<f64, BenchError> {
    let path = "/proc/self/stat";
    let text = std::fs::read_to_string(path).map_err(BenchError::io(path))?;
    // Fields 16 and 17, proc_pid_stat(5), stand right after those of the process itself.
    let (_, rest) = text.rsplit_once(')').unwrap_or_default();
    let fields = rest.split_whitespace().skip(13).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_S)
}

/// Peak resident memory of a process so far, MiB.
pub(crate) fn rss_max_mib(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(BenchError::io(&path))?;
    peak_kib(&text)
        .map(|kib| kib as f64 / 1024.0)
        .ok_or_else(|| BenchError::server(format!("has no VmHWM in {path}")))
}

/// utime + stime (fields 14 and 15, proc_pid_stat(5)). The name in parentheses may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_confuse() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4 1 2 3 4 250 50 0 0 20 0 9 0 5 6 7";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a"), None);
        assert_eq!(peak_kib("VmPeak:\t9 kB\nVmHWM:\t  2048 kB\n"), Some(2048));
    }

    #[test]
    fn this_process_has_memory() {
        let own = std::process::id();
        assert!(rss_max_mib(own).unwrap() > 0.5);
        assert!(cpu_s(own).unwrap() >= 0.0);
        assert!(cpu_s(u32::MAX).is_err());
    }
}
