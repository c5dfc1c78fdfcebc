//! The plug is pulled at any moment, again and again.

use super::harness::{Server, run};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Kills of the default run; `ALCEDO_KILLS` sets another number.
const KILLS_DEFAULT: u64 = 100;
/// Clients that send all the time.
const CLIENTS: usize = 4;

/// Scenario: clients post batches and note what was acknowledged, while the binary is killed with
/// SIGKILL 100 times, also during recovery.
/// Guarantees: every acknowledged record is in the journal and in the store, whole; what carries an
/// idempotency key is there once; the structure is sound.
#[test]
fn kill9_loses_nothing_that_was_acknowledged() {
    let kills = std::env::var("ALCEDO_KILLS").ok().and_then(|n| n.parse().ok());
    let kills: u64 = kills.unwrap_or(KILLS_DEFAULT);
    let mut server = Server::start("");
    let acked: Mutex<Vec<String>> = Mutex::default();
    let address: Mutex<SocketAddr> = Mutex::new(server.http);
    let (stop, serial) = (AtomicBool::new(false), AtomicU64::new(0));
    let token = server.admin_token.clone();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| client(&address, &token, &stop, &serial, &acked));
        }
        for kill in 0..kills {
            // From right after the start up to a few group commits later.
            std::thread::sleep(Duration::from_millis(kill * 7 % 60));
            server.kill();
            server.start_again();
            *address.lock().unwrap() = server.http;
        }
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::SeqCst);
    });
    let acked = acked.into_inner().unwrap();
    assert!(acked.len() as u64 > kills, "only {} records were acknowledged", acked.len());
    let stored = server.eventually("detection catches up", |s| {
        (s.get("/api/v1/overview")["lag"]["detect_ms"] == 0).then(|| s.search("kill9-*"))
    });
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for row in &stored {
        *seen.entry(row["message"].as_str().unwrap()).or_default() += 1;
    }
    let missing = acked.iter().filter(|id| !seen.contains_key(id.as_str())).count();
    let twice = acked.iter().filter(|id| seen.get(id.as_str()).is_some_and(|n| *n > 1)).count();
    assert_eq!(
        (missing, twice),
        (0, 0),
        "of {} acknowledged, {} stored",
        acked.len(),
        stored.len()
    );
    server.stop();
    let dir = server.data_dir.to_str().unwrap().to_owned();
    let out = run(&["journal", "dump", "--data-dir", &dir]);
    let dumped = String::from_utf8_lossy(&out.stdout);
    assert!(acked.iter().all(|id| dumped.contains(id.as_str())));
    let out = run(&["verify", "--data-dir", &dir]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
    println!("{kills} kills, {} acknowledged, 0 lost, 0 twice", acked.len());
}

/// Posts batches under idempotency keys; repeats a batch until it is acknowledged or the end.
fn client(
    address: &Mutex<SocketAddr>,
    token: &str,
    stop: &AtomicBool,
    serial: &AtomicU64,
    acked: &Mutex<Vec<String>>,
) {
    while !stop.load(Ordering::SeqCst) {
        let number = serial.fetch_add(1, Ordering::SeqCst);
        // Fixed width: no id is a part of another.
        let ids: Vec<String> = (0..5).map(|i| format!("kill9-{number:08}-{i}")).collect();
        let body: String = ids.iter().map(|id| format!("{{\"message\":\"{id}\"}}\n")).collect();
        while !stop.load(Ordering::SeqCst) {
            let to = *address.lock().unwrap();
            if post(to, token, number, &body) == Some(200) {
                acked.lock().unwrap().extend(ids);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn post(address: SocketAddr, token: &str, key: u64, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head = format!(
        "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Idempotency-Key: {key}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}
