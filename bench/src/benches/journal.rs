//! Acks of durable batches over HTTP, beside NATS JetStream and the limit that the disk itself sets.

use crate::error::BenchError;
use crate::figure::{Report, tell};
use crate::latency::Latencies;
use crate::nats::Nats;
use crate::process;
use crate::samples;
use crate::server::{self, Server, Setup};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of an event: a usual syslog line, and a usual structured one.
const EVENT_BYTES: [usize; 2] = [300, 1_024];
/// Concurrent connections: a lone sender, a few relays, many hosts.
const CONNECTIONS: [usize; 3] = [1, 8, 64];
/// These send half of what the server can go on with, too: what an ack costs where nothing is short.
const HALF_LOAD_CONNECTIONS: usize = 8;
/// Events of a batch.
const BATCH_EVENTS: u64 = 100;
/// How long each case is sent for, ms.
const CASE_MS: u64 = 5_000;
/// Size of a write of the disk's own bench: a full commit group.
const DISK_WRITE_BYTES: usize = 1 << 20;
/// Writes of the disk's own bench.
const DISK_WRITES: u64 = 512;
/// The file of the disk's own bench is gone round, so that its size is no matter.
const DISK_FILE_WRITES: u64 = 64;

/// Runs the bench.
pub(crate) fn run(report: &mut Report) -> Result<(), BenchError> {
    let dir = server::fresh_folder()?;
    let disk = disk(&dir.path().join("disk"), report.scaled(DISK_WRITES))?;
    let total_s = disk.total.as_secs_f64();
    report.figure("disk_rate", disk.bytes as f64 / 1e6 / total_s, "MB/s");
    report.figure("disk_sync_p50", disk.latencies.percentile_ms(0.5), "ms");
    report.figure("disk_sync_p99", disk.latencies.percentile_ms(0.99), "ms");
    let (server, nats) = (Server::start(&Setup::default())?, Nats::start());
    for event_bytes in EVENT_BYTES {
        let body = body(event_bytes);
        for connections in CONNECTIONS {
            tell(&format!("{event_bytes} bytes, {connections} connections"));
            let case = ours(&server, &body, connections, case_time(report), None)?;
            let peer =
                nats.as_ref().map(|nats| theirs(nats, &body, connections, case_time(report)));
            // What it can go on with: until all of it was stored as well.
            let rate = case.events() as f64 / case.stored.as_secs_f64();
            figures(report, &format!("{event_bytes}b_x{connections}"), &case, peer.transpose()?);
            if connections == HALF_LOAD_CONNECTIONS {
                let each =
                    Duration::from_secs_f64((connections * 2) as f64 * BATCH_EVENTS as f64 / rate);
                let half = ours(&server, &body, connections, case_time(report), Some(each))?;
                figures(report, &format!("{event_bytes}b_half_load"), &half, None);
            }
        }
    }
    server.stop()
}

fn case_time(report: &Report) -> Duration {
    Duration::from_millis(report.scaled(CASE_MS))
}

fn ours(
    server: &Server,
    body: &[u8],
    connections: usize,
    case_time: Duration,
    each: Option<Duration>,
) -> Result<Case, BenchError> {
    let headers = "Content-Type: application/x-ndjson\r\n";
    let before = server::overview(&mut server.client())?;
    let (cpu_before, begun) = (server.cpu_s()?, Instant::now());
    let mut case = send(connections, case_time, each, || {
        let mut client = server.client();
        Ok(move || server::ingest(&mut client, headers, body).map(|answer| answer.refused))
    })?;
    case.bytes = case.events() * (body.len() as u64 / BATCH_EVENTS);
    server.drained(&before, case.events())?;
    case.stored = begun.elapsed();
    case.cpu_s = server.cpu_s()? - cpu_before;
    // The next case starts from rest: sources that went too fast would be slowed for some seconds.
    server::at_rest(&mut server.client())?;
    Ok(case)
}

fn theirs(
    nats: &Nats,
    body: &[u8],
    connections: usize,
    case_time: Duration,
) -> Result<Case, BenchError> {
    let cpu_before = process::cpu_s(nats.pid())?;
    let mut case = send(connections, case_time, None, || {
        let mut client = nats.client()?;
        Ok(move || client.publish(body).map(|()| 0))
    })?;
    case.bytes = case.events() * (body.len() as u64 / BATCH_EVENTS);
    case.cpu_s = process::cpu_s(nats.pid())? - cpu_before;
    Ok(case)
}

/// `cpu` of Alcedo is with shaping and storing what came; that of the peer is for the journal alone.
fn figures(report: &mut Report, name: &str, ours: &Case, theirs: Option<Case>) {
    let mut put = |part: &str, unit: &str, of: &dyn Fn(&Case) -> f64| {
        let name = format!("{name}_{part}");
        match &theirs {
            Some(theirs) => report.versus(&name, of(ours), unit, "nats", of(theirs)),
            None => report.figure(&name, of(ours), unit),
        }
    };
    put("rate", "events/s", &|case| case.events() as f64 / case.total.as_secs_f64());
    put("bytes", "MB/s", &|case| case.bytes as f64 / 1e6 / case.total.as_secs_f64());
    put("ack_p50", "ms", &|case| case.latencies.percentile_ms(0.5));
    put("ack_p99", "ms", &|case| case.latencies.percentile_ms(0.99));
    put("cpu", "s/million", &|case| case.cpu_s / case.events().max(1) as f64 * 1e6);
    put("refused", "answers", &|case| case.refused as f64);
}

/// What was written and how long each piece took to be durable.
#[derive(Default)]
struct Case {
    latencies: Latencies,
    bytes: u64,
    refused: u64,
    total: Duration,
    /// Until all was detected and stored, too.
    stored: Duration,
    cpu_s: f64,
}

impl Case {
    /// Events of its batches.
    fn events(&self) -> u64 {
        self.latencies.len() as u64 * BATCH_EVENTS
    }
}

/// Writes whole commit groups to a file whose blocks exist already, and syncs each: what the best
/// journal could do on this disk.
fn disk(path: &Path, writes: u64) -> Result<Case, BenchError> {
    let failed = || BenchError::io("disk bench");
    let group = vec![b'x'; DISK_WRITE_BYTES];
    let mut file = preallocated(path).map_err(failed())?;
    let mut latencies = Latencies::default();
    let begun = Instant::now();
    for number in 0..writes {
        let at = number % DISK_FILE_WRITES * DISK_WRITE_BYTES as u64;
        let start = Instant::now();
        file.seek(SeekFrom::Start(at)).map_err(failed())?;
        file.write_all(&group).map_err(failed())?;
        file.sync_data().map_err(failed())?;
        latencies.push(start.elapsed());
    }
    let bytes = writes * DISK_WRITE_BYTES as u64;
    Ok(Case { latencies, bytes, total: begun.elapsed(), ..Case::default() })
}

fn preallocated(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let zeros = vec![0; DISK_WRITE_BYTES];
    for _ in 0..DISK_FILE_WRITES {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn body(event_bytes: usize) -> Vec<u8> {
    let now_ns = samples::now_ns();
    let mut body = Vec::new();
    for number in 0..BATCH_EVENTS {
        samples::push_sized_json(&mut body, now_ns, number, event_bytes);
    }
    body
}

/// Every connection posts, waits for its ack, and posts again, or with `each` when so much has gone by since
/// the last was due: an ack then counts from when its batch was. Connections are due one after the other, as
/// senders who do not know of each other are: all in one moment would be a burst of their number with a
/// pause behind it, and no half load. `connect` gives what posts one batch and says how often that was refused.
fn send<P: FnMut() -> Result<u64, BenchError>>(
    connections: usize,
    case_time: Duration,
    each: Option<Duration>,
    connect: impl Fn() -> Result<P, BenchError> + Sync,
) -> Result<Case, BenchError> {
    let begun = Instant::now();
    let one = &|number: u32| -> Result<(Latencies, u64), BenchError> {
        // A host of its own would not wait for the server's cores.
        precedence::go_first();
        let mut post = connect()?;
        let (mut latencies, mut refused) = (Latencies::default(), 0);
        let mut due = begun + each.unwrap_or_default() * number / connections as u32;
        while begun.elapsed() < case_time {
            let mut start = Instant::now();
            if let Some(each) = each {
                std::thread::sleep(due.saturating_duration_since(start));
                start = due;
                due += each;
            }
            refused += post()?;
            latencies.push(start.elapsed());
        }
        Ok((latencies, refused))
    };
    let mut case = Case::default();
    std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..connections as u32).map(|number| scope.spawn(move || one(number))).collect();
        senders.into_iter().try_for_each(|sender| -> Result<(), BenchError> {
            let (latencies, refused) =
                sender.join().map_err(|_| BenchError::server("lost a sender"))??;
            case.latencies.extend(&latencies);
            case.refused += refused;
            Ok(())
        })
    })?;
    case.total = begun.elapsed();
    Ok(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_written_round_and_round() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let case = disk(&path, 3).unwrap();
        assert_eq!(case.latencies.len(), 3);
        let size = std::fs::metadata(&path).unwrap().len();
        assert_eq!(size, DISK_FILE_WRITES * DISK_WRITE_BYTES as u64);
        assert_eq!(body(300).len() as u64, 300 * BATCH_EVENTS);
    }
}
