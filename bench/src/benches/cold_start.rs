//! From the start of `alcedo demo` to its first alert, as somebody who tries it sees it.

use crate::error::BenchError;
use crate::figure::{Report, tell};
use crate::{process, server};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long the demo plays, s: the story takes 17 s, its memory is looked at until the end.
const PLAY_S: u64 = 40;
/// How long it may take to end after that.
const END_WAIT: Duration = Duration::from_secs(60);
/// How often memory is looked at; the peak itself is kept by the kernel.
const POLL: Duration = Duration::from_millis(100);
/// Words of which an alert line has one, in capitals; banners have none.
const LEVELS: [&str; 4] = ["CRITICAL", "HIGH", "MEDIUM", "LOW"];

/// Runs the bench.
pub(crate) fn run(report: &mut Report) -> Result<(), BenchError> {
    let binary = server::binary()?;
    let begun = Instant::now();
    let mut child = Command::new(&binary)
        .args(["demo", "--stop-after", &PLAY_S.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(BenchError::io(binary.display().to_string()))?;
    let lines = lines_of(&mut child);
    let seen = watch(&mut child, &lines, begun);
    // Whatever was seen: no process is left behind.
    let ended = server::wait(&mut child, END_WAIT)?;
    let (first_ms, rss_mib) = seen?;
    let Some(first_ms) = first_ms else {
        return Err(BenchError::server(format!("showed no alert in {PLAY_S} s of the demo")));
    };
    if ended != Some(0) {
        return Err(BenchError::server(format!("did not end the demo cleanly ({ended:?})")));
    }
    report.figure("first_alert", first_ms, "ms");
    report.figure("rss_max", rss_mib, "MiB");
    Ok(())
}

/// The lines of standard output, each with the moment it was read.
fn lines_of(child: &mut Child) -> Receiver<(Instant, String)> {
    let (tell, told) = channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if tell.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
    }
    told
}

/// Follows the demo to its end: the time of the first alert, ms, and the peak memory, MiB.
fn watch(
    child: &mut Child,
    lines: &Receiver<(Instant, String)>,
    begun: Instant,
) -> Result<(Option<f64>, f64), BenchError> {
    let (mut first_ms, mut rss_mib) = (None, 0f64);
    while begun.elapsed() < Duration::from_secs(PLAY_S) + END_WAIT {
        // A process that is just ending has no memory left to tell of.
        rss_mib = rss_mib.max(process::rss_max_mib(child.id()).unwrap_or(0.0));
        match lines.recv_timeout(POLL) {
            Ok((at, line)) if first_ms.is_none() && is_alert(&line) => {
                first_ms = Some((at - begun).as_secs_f64() * 1_000.0);
                tell(&format!("first alert: {line}"));
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok((first_ms, rss_mib))
}

/// Whether a line of the demo shows an alert: the terminal's form, or JSON.
fn is_alert(line: &str) -> bool {
    line.contains("\"kibana.alert.uuid\"")
        || line.split_whitespace().any(|word| LEVELS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_told_from_banners() {
        assert!(is_alert("18:04:41 \u{25b2} CRITICAL  Password guessed  deploy@web-01"));
        assert!(is_alert("{\"kibana.alert.uuid\":\"01\"}"));
        assert!(!is_alert("open http://127.0.0.1:8080/#setup=HIGHER"));
        assert!(!is_alert("12 rules live"));
    }
}
