//! The whole way: real Windows events in, parsed, matched by thousands of rules, stored.

use crate::error::BenchError;
use crate::figure::{Report, tell};
use crate::server::{self, Server, Setup};
use crate::{corpus, http};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Events at least; the streams are repeated until there are as many.
const EVENTS_MIN: u64 = 300_000;
/// Bytes of a body before compression.
const BODY_BYTES: usize = 1 << 20;
/// Connections that post at once.
const CONNECTIONS: usize = 4;
/// zstd level of the bodies: the default of common shippers.
const ZSTD_LEVEL: i32 = 3;

/// One body to post.
struct Body {
    zstd: Vec<u8>,
    events: u64,
    plain_bytes: u64,
}

/// Runs the bench.
pub(crate) fn run(report: &mut Report) -> Result<(), BenchError> {
    let files = corpus::windows_files()?;
    if files.is_empty() {
        tell("skipped: no Windows event streams on this machine (windows/otrf)");
        return Ok(());
    }
    let bodies = bodies(&files, report.scaled(EVENTS_MIN))?;
    let events: u64 = bodies.iter().map(|body| body.events).sum();
    let bytes: u64 = bodies.iter().map(|body| body.plain_bytes).sum();
    let rules_dir = server::fresh_folder()?;
    let rules = server::many_rules(rules_dir.path())?;
    let server = Server::start(&Setup { rules, webhook: None })?;
    let before = server::overview(&mut server.client())?;
    tell(&format!("{events} events, {} MiB, {} rules", bytes >> 20, before.rules_live));

    let (begun, cpu_before) = (Instant::now(), server.cpu_s()?);
    let refused = post_all(&server, &bodies)?;
    let acked_s = begun.elapsed().as_secs_f64();
    let through_s = (server.drained(&before, events)? - begun).as_secs_f64();
    let cpu_s = server.cpu_s()? - cpu_before;

    report.figure("rules", before.rules_live as f64, "rules");
    report.figure("events", events as f64, "events");
    report.figure("acked_rate", events as f64 / acked_s, "events/s");
    report.figure("through_rate", events as f64 / through_s, "events/s");
    report.figure("through_bytes", bytes as f64 / 1e6 / through_s, "MB/s");
    report.figure("cpu", cpu_s / events as f64 * 1e6, "s/million");
    report.figure("rss_max", server.rss_max_mib()?, "MiB");
    report.figure("refused", refused as f64, "answers");
    server.stop()
}

/// Bodies of whole lines, from the first stream on and round again until there are enough events.
fn bodies(files: &[PathBuf], events_min: u64) -> Result<Vec<Body>, BenchError> {
    let mut out = Vec::new();
    let (mut plain, mut lines, mut total) = (Vec::with_capacity(BODY_BYTES), 0u64, 0u64);
    for file in files.iter().cycle() {
        let mut failed = None;
        corpus::lines(file, &mut |line| {
            if plain.len() + line.len() >= BODY_BYTES && lines > 0 {
                match packed(&mut plain, &mut lines) {
                    Ok(body) => out.push(body),
                    Err(error) => failed = Some(error),
                }
            }
            plain.extend_from_slice(line);
            plain.push(b'\n');
            lines += 1;
            total += 1;
            failed.is_none() && total < events_min
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if total >= events_min {
            break;
        }
        if total == 0 {
            return Err(BenchError::Missing {
                what: "an event in the Windows streams".into(),
                hint: "the first of them is empty".into(),
            });
        }
    }
    out.push(packed(&mut plain, &mut lines)?);
    Ok(out)
}

fn packed(plain: &mut Vec<u8>, lines: &mut u64) -> Result<Body, BenchError> {
    let zstd = zstd::bulk::compress(plain, ZSTD_LEVEL).map_err(BenchError::io("zstd"))?;
    let body = Body { zstd, events: *lines, plain_bytes: plain.len() as u64 };
    plain.clear();
    *lines = 0;
    Ok(body)
}

/// Posts all bodies; gives how often the server asked to come again.
fn post_all(server: &Server, bodies: &[Body]) -> Result<u64, BenchError> {
    let (next, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
    let post = |mut client: http::Client| -> Result<(), BenchError> {
        let headers = "Content-Type: application/x-ndjson\r\nContent-Encoding: zstd\r\n";
        while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
            let posted = server::ingest(&mut client, headers, &body.zstd)?;
            refused.fetch_add(posted.refused, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (client, post) = (server.client(), &post);
                scope.spawn(move || post(client))
            })
            .collect();
        senders.into_iter().try_for_each(|sender| {
            sender.join().map_err(|_| BenchError::server("lost a sender"))?
        })
    })?;
    Ok(refused.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_whole_lines_and_the_streams_are_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.ndjson.zst");
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(400 << 10));
        std::fs::write(&file, zstd::encode_all(line.repeat(3).as_bytes(), 1).unwrap()).unwrap();
        let bodies = bodies(&[file], 5).unwrap();
        let counts: Vec<u64> = bodies.iter().map(|body| body.events).collect();
        assert_eq!(counts, [2, 2, 1]);
        let plain = zstd::decode_all(bodies[0].zstd.as_slice()).unwrap();
        assert_eq!(plain, line.repeat(2).as_bytes());
    }

    #[test]
    fn an_empty_stream_is_an_error_and_no_endless_loop() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.ndjson.zst");
        std::fs::write(&file, zstd::encode_all(&b"\n"[..], 1).unwrap()).unwrap();
        assert!(bodies(&[file], 5).is_err());
    }
}
