use crate::recorder::{Recorder, until};
use event::{Certainty, GapCause, Protocol, RecordKind};
use io::sources::{relp, syslog_tcp, syslog_udp};
use io::tls::{self, Authority, ClientFiles, Purpose, ServerFiles};
use io::{Budget, Context, Drained};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn context() -> (Arc<Recorder>, Context) {
    let recorder = Arc::new(Recorder::default());
    (Arc::clone(&recorder), Context::new("edge", recorder))
}

#[tokio::test]
async fn datagrams_become_records_with_their_peer() {
    let (recorder, context) = context();
    let running = syslog_udp::start(context, syslog_udp::Config::on(local())).await.unwrap();
    let sender = UdpSocket::bind(local()).await.unwrap();
    sender.send_to(b"<34>1 one\n\0", running.address).await.unwrap();
    sender.send_to(b"<34>two", running.address).await.unwrap();
    until("both records", || recorder.texts() == ["<34>1 one", "<34>two"]).await;
    assert_eq!(&*recorder.kept()[0].0.peer, "127.0.0.1");
    assert_eq!(running.stop().await, Drained::Clean);
}

/// Guarantees: a listener whose senders cannot be told anything says so once, as its source and protocol and
/// as no connection, before anybody sends; one whose senders are answered does not.
#[tokio::test]
async fn a_listener_without_answers_tells_that_it_is_open() {
    let (recorder, context) = context();
    let udp = syslog_udp::start(context.clone(), syslog_udp::Config::on(local())).await.unwrap();
    let plain = syslog_tcp::Config::plain(local());
    let tcp = syslog_tcp::start(context.clone(), plain).await.unwrap();
    let relp = relp::start(context, relp::Config::plain(local())).await.unwrap();
    for _ in 0..3 {
        drop(TcpStream::connect(tcp.address).await.unwrap());
    }
    until("both", || recorder.open().len() == 2).await;
    for running in [udp, tcp, relp] {
        assert_eq!(running.stop().await, Drained::Clean);
    }
    let mut open = recorder.open();
    open.sort_by_key(|envelope| envelope.protocol);
    let told: Vec<_> = open.iter().map(|e| (e.protocol, e.connection, &*e.peer)).collect();
    assert_eq!(told, [(Protocol::SyslogUdp, 0, ""), (Protocol::SyslogTcp, 0, "")]);
}

#[tokio::test]
async fn kernel_drops_are_counted_and_journaled() {
    let (recorder, context) = context();
    let context = Context { budget: Budget::new(1), ..context };
    let stats = Arc::clone(&context.stats);
    recorder.hold(true);
    let config =
        syslog_udp::Config { receive_buffer_bytes: 4096, ..syslog_udp::Config::on(local()) };
    let running = syslog_udp::start(context, config).await.unwrap();
    let sender = UdpSocket::bind(local()).await.unwrap();
    // The first batch takes the whole budget; nobody reads what follows.
    for n in 0..2000u32 {
        sender
            .send_to(format!("<34>{n} {}", "x".repeat(500)).as_bytes(), running.address)
            .await
            .unwrap();
        if n == 0 {
            until("the first batch", || recorder.held_bytes() > 0).await;
        }
    }
    recorder.hold(false);
    until("the drops", || stats.snapshot().kernel_drops > 0).await;
    until("everything", || {
        let drops = stats.snapshot().kernel_drops;
        recorder.texts().len() as u64 + drops == 2000
    })
    .await;
    until("the gap", || recorder.kept().iter().any(|r| r.1 == RecordKind::Gap)).await;
    let gaps: u64 = recorder
        .kept()
        .iter()
        .filter(|r| r.1 == RecordKind::Gap)
        .map(|r| event::Gap::read(&r.2).unwrap().count)
        .sum();
    assert_eq!(gaps, stats.snapshot().kernel_drops);
    running.stop().await;
}

/// Scenario: datagrams come faster than they are taken while the source stops.
/// Guarantee: the stop ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_datagrams_does_not_hold_a_stop() {
    let (_recorder, context) = context();
    let running = syslog_udp::start(context, syslog_udp::Config::on(local())).await.unwrap();
    let (address, is_over) = (running.address, Arc::new(AtomicBool::new(false)));
    let floods = [(); 2].map(|()| {
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let sender = std::net::UdpSocket::bind(local()).unwrap();
            while !is_over.load(Relaxed) {
                let _ = sender.send_to(b"<34>flood", address);
            }
        })
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = std::time::Instant::now();
    let stopped = running.stop().await;
    is_over.store(true, Relaxed);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    assert_eq!(stopped, Drained::Clean);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn both_framings_over_one_connection_and_the_end_is_drained() {
    let (recorder, context) = context();
    let stats = Arc::clone(&context.stats);
    let mut config = syslog_tcp::Config::plain(local());
    config.framing.frame_bytes_max = 32;
    let running = syslog_tcp::start(context, config).await.unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let long = format!("<1>{}\n", "y".repeat(60));
    stream.write_all(format!("7 <1>a\nb!{long}<2>last").as_bytes()).await.unwrap();
    drop(stream);
    until("the last line", || recorder.texts() == ["<1>a\nb!", "<2>last"]).await;
    assert_eq!(stats.snapshot().oversize_records, 1);
    assert_eq!(recorder.kept().iter().filter(|r| r.1 == RecordKind::Gap).count(), 1);
    assert_eq!(running.stop().await, Drained::Clean);
}

/// Causes of the gaps that were written, with how sure they are.
fn gaps(recorder: &Recorder) -> Vec<(GapCause, Certainty)> {
    let gaps = recorder.kept().into_iter().filter(|r| r.1 == RecordKind::Gap);
    gaps.map(|r| event::Gap::read(&r.2).unwrap()).map(|g| (g.cause, g.certainty)).collect()
}

/// Scenario: senders have megabytes on the way when the source stops: one has closed, one has not and is in
/// the midst of a line, one goes on for ever.
/// Guarantees: all that was on the way is read; what was cut is marked; who had not closed may have lost
/// something, and the stream says so; the endless one holds the stop for seconds, not for ever.
#[tokio::test]
async fn a_stop_reads_what_is_on_the_way_and_tells_what_may_be_lost() {
    let lines = "<1>on the way\n".repeat(100_000);
    for (rest, is_closed, expected) in [
        ("", true, vec![]),
        ("", false, vec![(GapCause::Unread, Certainty::Possible)]),
        (
            "<1>half",
            false,
            vec![(GapCause::CutOff, Certainty::Known), (GapCause::Unread, Certainty::Possible)],
        ),
    ] {
        let (recorder, context) = context();
        let running = syslog_tcp::start(context, syslog_tcp::Config::plain(local())).await.unwrap();
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(lines.as_bytes()).await.unwrap();
        stream.write_all(rest.as_bytes()).await.unwrap();
        let open = (!is_closed).then_some(stream);
        assert_eq!(running.stop().await, Drained::Clean);
        let texts = recorder.texts();
        assert_eq!(texts.len(), 100_000 + usize::from(!rest.is_empty()), "{rest:?} {is_closed}");
        assert_eq!(texts.last().unwrap(), if rest.is_empty() { "<1>on the way" } else { rest });
        assert_eq!(gaps(&recorder), expected);
        drop(open);
    }
    let (recorder, context) = context();
    let running = syslog_tcp::start(context, syslog_tcp::Config::plain(local())).await.unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let endless = tokio::spawn(async move { while stream.write_all(b"<1>on\n").await.is_ok() {} });
    until("the first lines", || !recorder.texts().is_empty()).await;
    let begun = std::time::Instant::now();
    assert_eq!(running.stop().await, Drained::Clean);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(gaps(&recorder).contains(&(GapCause::Unread, Certainty::Possible)));
    endless.await.unwrap();
}

#[tokio::test]
async fn a_slow_journal_stops_the_reading() {
    let (recorder, context) = context();
    let context = Context { budget: Budget::new(100_000), ..context };
    let (stats, budget) = (Arc::clone(&context.stats), context.budget.clone());
    recorder.hold(true);
    let config = syslog_tcp::Config::plain(local());
    let running = syslog_tcp::start(context, config).await.unwrap();
    let address = running.address;
    let line = format!("<1>{}\n", "z".repeat(996));
    let sender = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..40_000 {
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    });
    until("a full budget", || budget.in_flight_bytes() > 40_000).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sender.is_finished(), "40 MB went nowhere");
    assert!(recorder.held_bytes() <= 100_000);
    recorder.hold(false);
    sender.await.unwrap();
    until("all lines", || stats.snapshot().durable_records == 40_000).await;
    assert_eq!(running.stop().await, Drained::Clean);
}

#[tokio::test]
async fn caps_and_idle_connections_are_closed() {
    let (_recorder, context) = context();
    let stats = Arc::clone(&context.stats);
    let mut config = syslog_tcp::Config::plain(local());
    config.caps.per_peer = 1;
    config.idle = Duration::from_millis(200);
    let running = syslog_tcp::start(context, config).await.unwrap();
    let mut first = TcpStream::connect(running.address).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
    until("the count", || stats.snapshot().connections_idle == 1).await;
    assert_eq!(stats.snapshot().connections_refused, 1);
    running.stop().await;
    assert_eq!(stats.snapshot().connections, 0);
}

#[tokio::test]
async fn half_messages_share_one_allowance_and_whole_ones_get_through() {
    let (recorder, context) = context();
    let holding = Budget::new(256 << 10);
    let context = Context { holding: holding.clone(), ..context };
    let stats = Arc::clone(&context.stats);
    let running = syslog_tcp::start(context, syslog_tcp::Config::plain(local())).await.unwrap();
    let mut slow = Vec::new();
    for n in 1..=6usize {
        // Of a connection that is closed meanwhile, the rest cannot be written.
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let _ = stream.write_all(&[b'x'; 100_000]).await;
        slow.push(stream);
        // 100,000 bytes less the free part are charged as 128 KiB: two fit.
        let refused = n.saturating_sub(2) as u64;
        until("its charge", || {
            holding.in_flight_bytes() == n.min(2) * (128 << 10)
                && stats.snapshot().connections_holding == refused
        })
        .await;
    }
    let told = |cause| gaps(&recorder).iter().filter(|gap| gap.0 == cause).count();
    until("their gaps", || told(GapCause::CutOff) == 4 && told(GapCause::Unread) == 4).await;
    let mut quick = TcpStream::connect(running.address).await.unwrap();
    quick.write_all(b"<34>1 whole\n").await.unwrap();
    until("the whole one", || recorder.texts().contains(&"<34>1 whole".to_owned())).await;
    // What a finished message held is free again.
    for stream in &mut slow {
        let _ = stream.write_all(b"\n").await;
    }
    until("both long ones", || recorder.texts().iter().filter(|t| t.len() == 100_000).count() == 2)
        .await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&[b'y'; 100_000]).await.unwrap();
    stream.write_all(b"\n").await.unwrap();
    until("another", || recorder.texts().iter().any(|t| t.starts_with('y'))).await;
    assert_eq!(stats.snapshot().connections_holding, 4);
    running.stop().await;
}

#[tokio::test]
async fn who_goes_on_connecting_does_not_hold_a_stop() {
    let (_recorder, context) = context();
    let running = syslog_tcp::start(context, syslog_tcp::Config::plain(local())).await.unwrap();
    let address = running.address;
    let connecting = tokio::spawn(async move {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = std::time::Instant::now();
    assert_eq!(running.stop().await, Drained::Clean);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    connecting.await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_the_identity() {
    let dir = tempfile::tempdir().unwrap();
    let now = io::intake::wall_ns();
    let ca = Authority::new("test", now).unwrap();
    let server = ca.issue(&["localhost".into()], Purpose::Server, now).unwrap();
    let client = ca.issue(&["host-7.example".into()], Purpose::Client, now).unwrap();
    let file = |name: &str, pem: &str| {
        let path = dir.path().join(name);
        tls::write_private(&path, pem).unwrap();
        path
    };
    let ca_file = file("ca.pem", &ca.cert_pem);
    let files = ServerFiles {
        cert: file("s.pem", &server.cert_pem),
        key: file("s.key", &server.key_pem),
        client_ca: Some(ca_file.clone()),
    };
    let own =
        ClientFiles { cert: file("c.pem", &client.cert_pem), key: file("c.key", &client.key_pem) };
    let (recorder, context) = context();
    let stats = Arc::clone(&context.stats);
    let tls_config = Some(tls::server_config(&files).unwrap());
    let config = syslog_tcp::Config { tls: tls_config, ..syslog_tcp::Config::plain(local()) };
    let running = syslog_tcp::start(context, config).await.unwrap();

    let connector =
        tokio_rustls::TlsConnector::from(tls::client_config(Some(&ca_file), Some(&own)).unwrap());
    let tcp = TcpStream::connect(running.address).await.unwrap();
    let name = tls::server_name("localhost").unwrap();
    let mut stream = connector.connect(name.clone(), tcp).await.unwrap();
    stream.write_all(b"6 <1>tls").await.unwrap();
    stream.shutdown().await.unwrap();
    until("the record", || recorder.texts() == ["<1>tls"]).await;
    assert_eq!(&*recorder.kept()[0].0.identity, "cert:host-7.example");

    let stranger =
        tokio_rustls::TlsConnector::from(tls::client_config(Some(&ca_file), None).unwrap());
    let tcp = TcpStream::connect(running.address).await.unwrap();
    if let Ok(mut stream) = stranger.connect(name, tcp).await {
        let _ = stream.write_all(b"6 <1>bad").await;
        let _ = stream.read(&mut [0]).await;
    }
    until("the refusal", || stats.snapshot().auth_failures == 1).await;
    assert_eq!(recorder.texts().len(), 1);
    // Who never ends its handshake does not hold a stop, and is not taken for somebody without a right.
    let silent = TcpStream::connect(running.address).await.unwrap();
    until("its place", || stats.snapshot().connections >= 1).await;
    let begun = std::time::Instant::now();
    assert_eq!(running.stop().await, Drained::Clean);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(stats.snapshot().auth_failures, 1);
    drop(silent);
}

#[tokio::test]
async fn the_logger_of_the_system_is_understood() {
    let (recorder, context) = context();
    let config = syslog_tcp::Config::plain(local());
    let tcp = syslog_tcp::start(context.clone(), config).await.unwrap();
    let udp = syslog_udp::start(context, syslog_udp::Config::on(local())).await.unwrap();
    let (t, u) = (tcp.address.port().to_string(), udp.address.port().to_string());
    let calls: [&[&str]; 3] = [
        &["-n", "127.0.0.1", "-P", &u, "-d", "over-udp"],
        &["-n", "127.0.0.1", "-P", &t, "-T", "--rfc3164", "over-tcp"],
        &["-n", "127.0.0.1", "-P", &t, "-T", "--octet-count", "over-counted"],
    ];
    for (index, call) in calls.iter().enumerate() {
        let Ok(status) = tokio::process::Command::new("logger").args(*call).status().await else {
            println!("skipped: no logger");
            return;
        };
        assert!(status.success());
        let word = call.last().unwrap();
        until(word, || recorder.texts().len() == index + 1).await;
        let text = recorder.texts().pop().unwrap();
        assert!(text.starts_with('<') && text.ends_with(word), "{text:?}");
    }
    tcp.stop().await;
    udp.stop().await;
}

#[tokio::test]
async fn the_journal_is_an_intake() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal::Journal::open(
        dir.path(),
        journal::Options::default(),
        Arc::new(journal::OsFs),
        Arc::new(journal::OsClock),
    )
    .unwrap();
    let context = Context::new("edge", Arc::new(journal.appender()));
    let stats = Arc::clone(&context.stats);
    let config = syslog_tcp::Config::plain(local());
    let running = syslog_tcp::start(context, config).await.unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"<1>a\n<1>b\n").await.unwrap();
    until("durable", || stats.snapshot().durable_records == 2).await;
    assert!(journal.durable().is_some());
    assert_eq!(running.stop().await, Drained::Clean);
}
