//! Syslog over TCP until durable: Alcedo beside rsyslog, the same sender, the same machine, one
//! after the other.
//!
//! TCP syslog has no ack, so the end is taken from the journal itself: small HTTP posts are sent
//! behind the lines, and the offset in an ack says how many records are durable before it. Then the
//! bench waits until detection and the store are through as well, since they cannot be switched off
//! and the machine has to do that work too.

use crate::error::BenchError;
use crate::figure::{Report, tell};
use crate::server::{self, Server, Setup};
use crate::{process, samples};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Lines over all connections.
const LINES: u64 = 2_000_000;
/// Bytes of a line at least, its newline included.
const LINE_BYTES: usize = 300;
/// Connections that send at once.
const CONNECTIONS: u64 = 4;
/// Different lines; sent again and again. A block is what one `write` takes.
const BLOCK_LINES: u64 = 1_000;
/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(10);
/// rsyslog's file not growing for so long means that lines are missing.
const STALLED: Duration = Duration::from_secs(30);
/// How long rsyslog may take to listen.
const RSYSLOG_START_WAIT: Duration = Duration::from_secs(20);
/// Most time Alcedo may take until all is durable.
const DURABLE_WAIT: Duration = Duration::from_secs(900);
/// Where distributions put the daemon; not every user has `/usr/sbin` in the path.
const RSYSLOGD: [&str; 3] = ["/usr/sbin/rsyslogd", "/sbin/rsyslogd", "/usr/local/sbin/rsyslogd"];

/// What one program did with all lines.
#[derive(Clone, Copy, Debug)]
struct Taken {
    per_s: f64,
    cpu_s_per_million: f64,
}

impl Taken {
    fn of(lines: u64, took: Duration, cpu_s: f64) -> Self {
        let lines = lines as f64;
        Self { per_s: lines / took.as_secs_f64(), cpu_s_per_million: cpu_s / lines * 1e6 }
    }
}

/// Runs the bench.
pub(crate) fn run(report: &mut Report) -> Result<(), BenchError> {
    let block: Arc<[u8]> = block().into();
    let step = CONNECTIONS * BLOCK_LINES;
    let lines = report.scaled(LINES).div_ceil(step) * step;
    let peers = peers(&block, lines);
    let rules_dir = server::fresh_folder()?;
    let many = server::many_rules(rules_dir.path())?;
    for (name, rules) in [("no_rules", Vec::new()), ("many_rules", many)] {
        tell(&format!("alcedo, {name}: {lines} lines"));
        let (durable, through) = alcedo(rules, &block, lines)?;
        for (stage, taken) in [("durable", durable), ("through", through)] {
            let rate = format!("{name}_{stage}_rate");
            let cpu = format!("{name}_{stage}_cpu");
            for (peer, theirs) in &peers {
                report.versus(&rate, taken.per_s, "events/s", peer, theirs.per_s);
                let theirs = theirs.cpu_s_per_million;
                report.versus(&cpu, taken.cpu_s_per_million, "s/million", peer, theirs);
            }
            if peers.is_empty() {
                report.figure(&rate, taken.per_s, "events/s");
                report.figure(&cpu, taken.cpu_s_per_million, "s/million");
            }
        }
    }
    Ok(())
}

fn block() -> Vec<u8> {
    let now_ns = samples::now_ns();
    let mut block = Vec::with_capacity(BLOCK_LINES as usize * (LINE_BYTES + 64));
    for number in 0..BLOCK_LINES {
        samples::push_sized_syslog(&mut block, now_ns, number, LINE_BYTES);
    }
    block
}

/// Sends all lines over [`CONNECTIONS`] connections, as fast as they are taken.
fn send(to: SocketAddr, block: &Arc<[u8]>, lines: u64) -> Result<(), BenchError> {
    let blocks = lines / CONNECTIONS / BLOCK_LINES;
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let block = block.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(to)?;
                (0..blocks).try_for_each(|_| stream.write_all(&block))
            })
        })
        .collect();
    for thread in threads {
        let sent = thread.join().map_err(|_| BenchError::server("lost a sender"))?;
        sent.map_err(BenchError::io(format!("syslog to {to}")))?;
    }
    Ok(())
}

/// Until all is durable, and until all is detected and stored.
fn alcedo(
    rules: Vec<PathBuf>,
    block: &Arc<[u8]>,
    lines: u64,
) -> Result<(Taken, Taken), BenchError> {
    let server = Server::start(&Setup { rules, webhook: None })?;
    let mut client = server.client();
    let mut probe = || {
        let body = b"{\"message\":\"probe\"}\n";
        server::ingest(&mut client, "Content-Type: application/x-ndjson\r\n", body)
    };
    let first = probe()?.first;
    let before = server::overview(&mut server.client())?;
    let (begun, cpu_before) = (Instant::now(), server.cpu_s()?);
    send(server.syslog_tcp, block, lines)?;
    let mut probes = 0;
    // The ticks of a few seconds are counted as lines: some ten of millions.
    while probe()?.first.saturating_sub(first + 1) < lines + probes {
        probes += 1;
        if begun.elapsed() > DURABLE_WAIT {
            return Err(BenchError::TimedOut {
                what: format!("{lines} lines to be durable"),
                waited_s: DURABLE_WAIT.as_secs(),
                seen: format!("{:?}", server::overview(&mut server.client())?),
            });
        }
        std::thread::sleep(POLL);
    }
    let durable = Taken::of(lines, begun.elapsed(), server.cpu_s()? - cpu_before);
    let end = server.drained(&before, lines + probes)?;
    let through = Taken::of(lines, end - begun, server.cpu_s()? - cpu_before);
    server.stop()?;
    Ok((durable, through))
}

/// rsyslog as it comes, and rsyslog told to sync its file, as Alcedo does. Empty when it is not
/// installed or cannot run; that is told and spoils nothing.
fn peers(block: &Arc<[u8]>, lines: u64) -> Vec<(&'static str, Taken)> {
    let Some(program) = RSYSLOGD.iter().find(|path| Path::new(path).is_file()) else {
        tell("rsyslog is absent (apt install rsyslog): figures of Alcedo only");
        return Vec::new();
    };
    let mut out = Vec::new();
    for (name, sync) in [("rsyslog", "off"), ("rsyslog-sync", "on")] {
        tell(&format!("{name}: {lines} lines"));
        match rsyslog(program, sync, block, lines) {
            Ok(taken) => out.push((name, taken)),
            Err(error) => tell(&format!("{name} is left out: {error}")),
        }
    }
    out
}

fn rsyslog(program: &str, sync: &str, block: &Arc<[u8]>, lines: u64) -> Result<Taken, BenchError> {
    let dir = server::fresh_folder()?;
    // rsyslog cannot tell which port it got, so a free one is looked up for it.
    let address = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(BenchError::io("a free port"))?;
    let (config, out) = (dir.path().join("rsyslog.conf"), dir.path().join("out.log"));
    let text = rsyslog_config(dir.path(), &out, address, sync);
    std::fs::write(&config, text).map_err(BenchError::io("rsyslog.conf"))?;
    let mut child = Command::new(program)
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(dir.path().join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(BenchError::io(program))?;
    let taken = rsyslog_takes(&child, address, &out, block, lines);
    stop(&mut child)?;
    taken
}

fn stop(child: &mut Child) -> Result<(), BenchError> {
    server::terminate(child)?;
    server::wait(child, Duration::from_secs(20)).map(|_| ())
}

fn rsyslog_takes(
    child: &Child,
    address: SocketAddr,
    out: &Path,
    block: &Arc<[u8]>,
    lines: u64,
) -> Result<Taken, BenchError> {
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        if started.elapsed() > RSYSLOG_START_WAIT {
            return Err(BenchError::TimedOut {
                what: "rsyslog to listen".into(),
                waited_s: RSYSLOG_START_WAIT.as_secs(),
                seen: "no connection".into(),
            });
        }
        std::thread::sleep(POLL);
    }
    let expected = lines / BLOCK_LINES * block.len() as u64;
    let (begun, cpu_before) = (Instant::now(), process::cpu_s(child.id())?);
    send(address, block, lines)?;
    let (mut size, mut grown) = (0, Instant::now());
    while size < expected {
        let now = std::fs::metadata(out).map_or(0, |meta| meta.len());
        if now > size {
            (size, grown) = (now, Instant::now());
        } else if grown.elapsed() > STALLED {
            return Err(BenchError::TimedOut {
                what: "rsyslog's file to be whole".into(),
                waited_s: STALLED.as_secs(),
                seen: format!("{size} of {expected} bytes"),
            });
        }
        std::thread::sleep(POLL);
    }
    Ok(Taken::of(lines, begun.elapsed(), process::cpu_s(child.id())? - cpu_before))
}

fn rsyslog_config(dir: &Path, out: &Path, address: SocketAddr, sync: &str) -> String {
    format!(
        "global(workDirectory=\"{}\" net.enableDNS=\"off\")\n\
         module(load=\"imtcp\")\n\
         template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
         ruleset(name=\"in\") {{\n\
         \x20 action(type=\"omfile\" file=\"{}\" template=\"raw\" sync=\"{sync}\")\n\
         }}\n\
         input(type=\"imtcp\" address=\"{}\" port=\"{}\" ruleset=\"in\")\n",
        dir.display(),
        out.display(),
        address.ip(),
        address.port()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_connection_sends_its_part() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            for _ in 0..CONNECTIONS {
                listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            }
            all.iter().filter(|byte| **byte == b'\n').count() as u64
        });
        let lines = CONNECTIONS * BLOCK_LINES * 2;
        send(to, &block().into(), lines).unwrap();
        assert_eq!(reader.join().unwrap(), lines);
    }

    #[test]
    fn rsyslog_takes_every_line() {
        // A machine may have no rsyslog, or confine it to its own folders; where it runs, it is
        // measured to the last line.
        for (name, taken) in peers(&block().into(), CONNECTIONS * BLOCK_LINES) {
            assert!(taken.per_s > 0.0, "{name}");
        }
    }
}
