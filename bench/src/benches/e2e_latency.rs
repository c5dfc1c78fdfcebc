//! How long from an event being sent to its alert being at the webhook.
//!
//! ```text
//! 4 HTTP connections, batches of 10..50 --+
//!                                         +--> alcedo run, thousands of rules --> receiver here
//! 1 TCP syslog connection ----------------+                                       stamps arrivals
//! ```
//!
//! The load is open-loop: what is due is sent, however slow earlier answers were. Every hundredth
//! event is marked with a user name of its own, so that no two of them are one alert.

use crate::error::BenchError;
use crate::figure::{Report, tell};
use crate::http::Client;
use crate::latency::Latencies;
use crate::pace::Pace;
use crate::receiver;
use crate::samples::{self, Door, MARKER_RULE_ID, MARKER_RULES, Mark};
use crate::server::{self, Server, Setup};
use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Events per second over both doors together.
const RATE_PER_S: f64 = 5_000.0;
/// How long the load lasts, s.
const LOAD_S: u64 = 20;
/// One event of so many is marked.
const MARK_EVERY: u64 = 100;
/// HTTP connections: enough that one slow answer does not hold up the schedule.
const HTTP_SENDERS: u64 = 4;
/// How long alerts may still arrive once the load is over.
const LATE_WAIT: Duration = Duration::from_secs(30);
/// Events of one write of the TCP sender: a relay forwards together what came in meanwhile.
const TCP_TICK_EVENTS: u64 = 5;
/// Events taken from each Windows stream.
const EVENTS_PER_FILE: usize = 100;

type Times = Arc<Mutex<HashMap<Mark, Instant>>>;

/// Runs the bench.
pub(crate) fn run(report: &mut Report) -> Result<(), BenchError> {
    let arrived = Times::default();
    let webhook = receive(arrived.clone())?;
    let rules_dir = server::fresh_folder()?;
    let mut rules = server::many_rules(rules_dir.path())?;
    let own = rules_dir.path().join("marked.yml");
    std::fs::write(&own, MARKER_RULES).map_err(BenchError::io("own rule"))?;
    rules.push(own);
    let server = Server::start(&Setup { rules, webhook: Some(webhook) })?;
    report.figure("rules", server::overview(&mut server.client())?.rules_live as f64, "rules");

    let mix: Arc<[String]> = samples::windows_mix(EVENTS_PER_FILE)?.into();
    let per_door = report.scaled((RATE_PER_S * LOAD_S as f64) as u64) / 2;
    let sent = load(&server, &mix, per_door)?;
    wait_for(&arrived, &sent.times);
    for door in [Door::Http, Door::Tcp] {
        print(report, door, &sent, &arrived);
    }
    tell_worst_of_seconds(&sent, &arrived);
    report.figure("late_to_send_p99", sent.late.percentile_ms(0.99), "ms");
    report.figure("refused", sent.refused as f64, "answers");
    server.stop()
}

/// What the senders did.
#[derive(Default)]
struct Sent {
    times: HashMap<Mark, Instant>,
    /// Events of each door, and when the last of them was sent.
    doors: HashMap<Door, (u64, Option<Instant>)>,
    /// When the load began, and when one sender had sent its last.
    start: Option<Instant>,
    end: Option<Instant>,
    /// How long after it was due each batch was sent.
    late: Latencies,
    refused: u64,
}

impl Sent {
    fn add(&mut self, door: Door, one: Self, count: u64) {
        self.times.extend(one.times);
        self.late.extend(&one.late);
        self.refused += one.refused;
        let entry = self.doors.entry(door).or_default();
        entry.0 += count;
        entry.1 = entry.1.max(one.end);
    }
}

fn receive(arrived: Times) -> Result<String, BenchError> {
    let address = receiver::start(Arc::new(move |body, at| {
        let text = String::from_utf8_lossy(body);
        if let Some(mark) = Mark::find(body).filter(|_| text.contains(MARKER_RULE_ID)) {
            let mut times = arrived.lock().unwrap_or_else(PoisonError::into_inner);
            times.entry(mark).or_insert(at);
        }
    }))?;
    Ok(format!("http://{address}/alerts"))
}

fn load(server: &Server, mix: &Arc<[String]>, per_door: u64) -> Result<Sent, BenchError> {
    tell(&format!("{per_door} events over each of HTTP and TCP, {RATE_PER_S} events/s in all"));
    let start = Instant::now() + Duration::from_millis(100);
    let per_http = per_door / HTTP_SENDERS;
    let (per_s_tcp, per_s_http) = (RATE_PER_S / 2.0, RATE_PER_S / 2.0 / HTTP_SENDERS as f64);
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for sender in 0..HTTP_SENDERS {
            let (client, mix) = (server.client(), mix.clone());
            let pace = Pace::new(start, per_s_http);
            let first = sender * per_http;
            running.push((
                Door::Http,
                per_http,
                scope.spawn(move || send_http(client, &mix, pace, first, per_http)),
            ));
        }
        let pace = Pace::new(start, per_s_tcp);
        let tcp = scope.spawn(move || send_tcp(server, pace, per_door));
        running.push((Door::Tcp, per_door, tcp));
        let mut all = Sent { start: Some(start), ..Sent::default() };
        for (door, count, thread) in running {
            let one = thread.join().map_err(|_| BenchError::server("lost a sender"))??;
            all.add(door, one, count);
        }
        Ok(all)
    })
}

fn send_http(
    mut client: Client,
    mix: &[String],
    pace: Pace,
    first: u64,
    count: u64,
) -> Result<Sent, BenchError> {
    let mut sent = Sent::default();
    let (mut at, mut body) = (0, Vec::new());
    while at < count {
        // 10..=50, different from batch to batch.
        let size = (10 + (first + at) * 7 % 41).min(count - at);
        let late = pace.wait(at + size);
        body.clear();
        let mut marks = Vec::new();
        for number in first + at..first + at + size {
            if number % MARK_EVERY == 0 {
                let mark = Mark { door: Door::Http, number };
                marks.push(mark);
                body.extend_from_slice(samples::marked_windows(samples::now_ns(), mark).as_bytes());
            } else {
                body.extend_from_slice(mix[(number % mix.len() as u64) as usize].as_bytes());
            }
            body.push(b'\n');
        }
        let now = Instant::now();
        sent.times.extend(marks.into_iter().map(|mark| (mark, now)));
        sent.late.push(late);
        let headers = "Content-Type: application/x-ndjson\r\n";
        sent.refused += server::ingest(&mut client, headers, &body)?.refused;
        at += size;
    }
    sent.end = Some(Instant::now());
    Ok(sent)
}

fn send_tcp(server: &Server, pace: Pace, count: u64) -> Result<Sent, BenchError> {
    let what = "syslog over TCP";
    let mut stream = TcpStream::connect(server.syslog_tcp).map_err(BenchError::io(what))?;
    stream.set_nodelay(true).map_err(BenchError::io(what))?;
    let mut sent = Sent::default();
    let (mut at, mut out) = (0, Vec::new());
    while at < count {
        let size = TCP_TICK_EVENTS.min(count - at);
        let late = pace.wait(at + size);
        out.clear();
        let clock_ns = samples::now_ns();
        let mut marks = Vec::new();
        for number in at..at + size {
            if number % MARK_EVERY == 0 {
                let mark = Mark { door: Door::Tcp, number };
                marks.push(mark);
                samples::push_marked_syslog(&mut out, clock_ns, mark);
            } else {
                samples::push_syslog(&mut out, clock_ns, number);
            }
        }
        let now = Instant::now();
        stream.write_all(&out).map_err(BenchError::io(what))?;
        sent.times.extend(marks.into_iter().map(|mark| (mark, now)));
        sent.late.push(late);
        at += size;
    }
    sent.end = Some(Instant::now());
    Ok(sent)
}

fn wait_for(arrived: &Times, sent: &HashMap<Mark, Instant>) {
    let begun = Instant::now();
    while begun.elapsed() < LATE_WAIT {
        if arrived.lock().unwrap_or_else(PoisonError::into_inner).len() >= sent.len() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The slowest alert of each second of the load: one long stall looks like a slow system in a
/// percentile, and is something else.
fn tell_worst_of_seconds(sent: &Sent, arrived: &Times) {
    let Some(start) = sent.start else { return };
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    let mut worst = vec![0; LOAD_S as usize + 1];
    for (mark, at) in &sent.times {
        let second = at.saturating_duration_since(start).as_secs() as usize;
        if let (Some(arrival), Some(worst)) = (arrived.get(mark), worst.get_mut(second)) {
            *worst = arrival.saturating_duration_since(*at).as_millis().max(*worst);
        }
    }
    let worst: Vec<String> = worst.iter().map(u128::to_string).collect();
    tell(&format!("slowest alert of each second, ms: {}", worst.join(" ")));
}

fn print(report: &mut Report, door: Door, sent: &Sent, arrived: &Times) {
    let name = if door == Door::Http { "http" } else { "tcp" };
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    let mut times = Latencies::default();
    let mut missing = 0u64;
    for (mark, at) in sent.times.iter().filter(|(mark, _)| mark.door == door) {
        match arrived.get(mark) {
            Some(arrival) => times.push(arrival.saturating_duration_since(*at)),
            None => missing += 1,
        }
    }
    for (part, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        report.figure(&format!("{name}_{part}"), times.percentile_ms(share), "ms");
    }
    report.figure(&format!("{name}_alerts"), times.len() as f64, "alerts");
    report.figure(&format!("{name}_alerts_missing"), missing as f64, "alerts");
    if let (Some(start), Some((count, Some(end)))) = (sent.start, sent.doors.get(&door)) {
        let took_s = end.saturating_duration_since(start).as_secs_f64();
        report.figure(&format!("{name}_rate"), *count as f64 / took_s, "events/s");
    }
}
