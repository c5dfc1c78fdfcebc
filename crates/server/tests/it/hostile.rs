//! Whoever means harm, or is broken: connections that wait, dribble, never end and never read. The server
//! sends them away, and everybody else goes on.

use super::browser::http;
use super::harness::{PATIENCE, Server, alcedo, run};
use serde_json::json;
use socket_from::connect_from;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// First bytes of HTTP/2, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// A request without an end has this long: ten seconds, and what the look and a busy machine add.
const SENT_AWAY_WITHIN: Duration = Duration::from_secs(30);

/// Connections from other addresses of this host.
mod socket_from {
    use super::{SocketAddr, TcpStream};

    /// A connection that comes from `127.0.0.N`.
    pub(super) fn connect_from(n: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, n], 0)))?;
            socket.connect(to).await?.into_std()
        })?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

/// Whether the other side closes the connection in time; what it says before is read and dropped.
fn is_closed_within(mut stream: &TcpStream, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    let mut piece = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) if Instant::now() < until => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            _ => return false,
        }
    }
}

/// The status of a request that is sent byte for byte, and may be refused before its end.
fn status_of(to: SocketAddr, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(bytes);
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

fn is_well(server: &Server) {
    let began = Instant::now();
    server.ingest("{\"message\":\"well\"}\n");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Scenario: connections over HTTP that say nothing, the beginning of HTTP/2's first bytes, all of them
/// and then nothing, a byte of a head now and then; and one that begins a TLS handshake and stops.
/// Guarantees: all are closed after some ten seconds, and counted.
#[test]
fn who_asks_for_nothing_is_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = run(&["certs", "init", "--out", &at("tls"), "--host", "localhost"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tls = format!("tls: {{cert: '{}', key: '{}'}}\n", at("tls/cert.pem"), at("tls/key.pem"));
    let (plain, encrypted) = (Server::start(""), Server::start(&tls));
    let opened = |bytes: &[u8], to: SocketAddr| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut slow = opened(b"GET / HTTP/1.1\r\nx: ", plain.http);
    let waiting = [
        opened(b"", plain.http),
        opened(b"PRI * HT", plain.http),
        opened(PREFACE, plain.http),
        opened(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", encrypted.http),
        slow.try_clone().unwrap(),
    ];
    let dribble = std::thread::spawn(move || {
        while slow.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let until = Instant::now() + SENT_AWAY_WITHIN;
    for (which, stream) in waiting.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        assert!(is_closed_within(stream, left), "connection {which} is kept");
    }
    dribble.join().unwrap();
    is_well(&plain);
    let idle = plain.metric("alcedo_http_connections_idle_total").unwrap();
    assert!(idle >= 3.0, "{idle}");
}

/// Scenario: one address opens more connections than a server with little memory has places.
/// Guarantees: it gets half of them, and another address is served at once.
#[test]
fn one_address_leaves_places_to_others() {
    let server = Server::start("limits: {memory: 432MiB}\n");
    // An eighth of the memory in pieces of 64 KiB.
    let places = 432 / 8 * 16;
    let taken: Vec<TcpStream> =
        (0..places / 2 + 8).filter_map(|_| connect_from(2, server.http).ok()).collect();
    let is_shut = |stream: &TcpStream| is_closed_within(stream, Duration::from_millis(500));
    assert!(taken.iter().rev().take(4).all(is_shut), "more than half of the places");
    assert!(!is_closed_within(&taken[0], Duration::from_millis(50)));
    is_well(&server);
}

/// Guarantees: what comes before anybody knows who sends it is short: heads of 64 KiB, sign-ins of 16.
#[test]
fn long_heads_and_sign_ins_are_refused() {
    let server = Server::start("");
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    assert_eq!(status_of(server.http, head.as_bytes()), 431);
    let many = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "x: y\r\n".repeat(5_000));
    assert_eq!(status_of(server.http, many.as_bytes()), 431);
    let wish = json!({"token": "x".repeat(1 << 20)}).to_string();
    let kind = [("Content-Type", "application/json")];
    let (status, _) = http(server.http, "POST", "/api/v1/session", &kind, wish.as_bytes());
    assert_eq!(status, 413);
    is_well(&server);
}

/// Scenario: a body stops after ten bytes, another comes a byte at a time.
/// Guarantees: after 20 s the sender is told 408; what came is not taken.
#[test]
fn a_body_that_does_not_come_is_given_up() {
    let server = Server::start("");
    let head = format!(
        "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 100000\r\n\r\nbegun-body",
        server.admin_token
    );
    let mut slow = TcpStream::connect(server.http).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    let (mut answer, began) = ([0; 12], Instant::now());
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut writes = slow.try_clone().unwrap();
    let dribble = std::thread::spawn(move || {
        while writes.write_all(b"x").is_ok() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    assert_eq!(status_of(server.http, head.as_bytes()), 408);
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[9..], b"408");
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    drop(slow);
    dribble.join().unwrap();
    assert!(server.search("begun-body*").is_empty());
}

fn h2_frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Scenario: over HTTP/2, requests that are taken back as soon as they are made, by the hundred thousand;
/// and the head of a request without an end.
/// Guarantees: both connections are ended, and others are served meanwhile.
#[test]
fn floods_within_http2_end_their_connection() {
    let server = Server::start("");
    // :method GET, :scheme http, :path /healthz, :authority x
    let head = b"\x82\x86\x04\x08/healthz\x41\x01x";
    let end_of_head_and_stream = 0x5;
    let mut resets = TcpStream::connect(server.http).unwrap();
    resets.set_write_timeout(Some(PATIENCE)).unwrap();
    resets.write_all(PREFACE).unwrap();
    let mut is_ended = false;
    for batch in 0..1_000u32 {
        let ids = (0..100).map(|n| 1 + 2 * (batch * 100 + n));
        let frames: Vec<u8> = ids
            .flat_map(|id| {
                let made = h2_frame(1, end_of_head_and_stream, id, head);
                [made, h2_frame(3, 0, id, &8u32.to_be_bytes())].concat()
            })
            .collect();
        if resets.write_all(&frames).is_err() {
            is_ended = true;
            break;
        }
    }
    assert!(is_ended || is_closed_within(&resets, PATIENCE), "100,000 resets");
    is_well(&server);
    let mut endless = TcpStream::connect(server.http).unwrap();
    endless.set_write_timeout(Some(PATIENCE)).unwrap();
    endless.write_all(PREFACE).unwrap();
    endless.write_all(&h2_frame(1, 0, 1, head)).unwrap();
    // A field of 8 KiB in each, never indexed, never the last one.
    let field = [&b"\x10\x01x\x7f\x81\x3f"[..], &[b'y'; 8192]].concat();
    let piece = h2_frame(9, 0, 1, &field);
    let is_ended = (0..10_000).any(|_| endless.write_all(&piece).is_err());
    assert!(is_ended || is_closed_within(&endless, PATIENCE), "80 MB of one head");
    is_well(&server);
}

/// Scenario: JSON nested a hundred thousand deep, and a body in chunks of one byte.
/// Guarantees: each is one event, with its bytes.
#[test]
fn deep_and_crumbled_bodies_are_stored() {
    let server = Server::start("");
    let deep = format!("{}1{}", "{\"deepkey\":".repeat(100_000), "}".repeat(100_000));
    server.ingest(&deep);
    server.ingest(&format!("{{\"message\":\"square\",\"list\":{}\n", "[".repeat(200_000)));
    let record = b"{\"message\":\"crumbled\"}\n";
    let mut body = format!(
        "POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
        server.admin_token
    )
    .into_bytes();
    for byte in record.iter().cycle().take(record.len() * 2_000) {
        body.extend_from_slice(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
    }
    body.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(status_of(server.http, &body), 200);
    server.eventually("the crumbs", |s| (s.search("crumbled").len() == 2_000).then_some(()));
    server.eventually("the nested", |s| (s.search("deepkey*").len() == 1).then_some(()));
    server.eventually("the square", |s| (s.search("square").len() == 1).then_some(()));
    is_well(&server);
}

/// The binary, with few file descriptors.
fn with_few_files() -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 300; exec \"$0\" \"$@\"").arg(alcedo().get_program());
    command.env_remove("ALCEDO_TOKEN").env_remove("ALCEDO_CONFIG").env_remove("ALCEDO_DATA_DIR");
    command
}

/// Scenario: a process that may have 300 files open, and senders from many addresses who open as many
/// connections as they can to syslog.
/// Guarantees: what is left is enough for HTTP, for the journal and for searches.
#[test]
fn connections_leave_file_descriptors() {
    let server = Server::start_as("", None, with_few_files);
    let syslog = server.syslog_at("tcp");
    let flood: Vec<TcpStream> =
        (0..600).filter_map(|n| connect_from(3 + (n % 50) as u8, syslog).ok()).collect();
    assert!(flood.len() >= 100, "{}", flood.len());
    is_well(&server);
    server.eventually("the event", |s| (s.search("well").len() == 1).then_some(()));
    drop(flood);
}
