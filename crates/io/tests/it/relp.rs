use crate::recorder::{Recorder, until};
use event::{Gap, GapCause, Protocol, RecordKind};
use io::relp_framing::Framer;
use io::sources::relp::{self, Config};
use io::{Budget, Context, Drained, Running};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use testkit::HookedFs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Number, command, data.
type Heard = (u32, String, String);

/// A sender in a few lines.
struct Client {
    stream: TcpStream,
    framer: Framer,
    heard: VecDeque<Heard>,
}

impl Client {
    async fn connect(running: &Running) -> Self {
        let stream = TcpStream::connect(running.address).await.unwrap();
        Self { stream, framer: Framer::new(1 << 10), heard: VecDeque::new() }
    }

    /// A client whose session is open.
    async fn open(running: &Running) -> Self {
        let mut client = Self::connect(running).await;
        client.send("1 open 32 relp_version=1\ncommands=syslog,x\n").await;
        let (txnr, command, data) = client.next().await.unwrap();
        assert_eq!((txnr, command.as_str()), (1, "rsp"));
        assert!(data.starts_with("200 OK\nrelp_version=1\n"), "{data}");
        assert!(data.ends_with("\ncommands=syslog"), "{data}");
        client
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes next; `None` at the end.
    async fn next(&mut self) -> Option<Heard> {
        while self.heard.is_empty() {
            let mut bytes = [0; 4096];
            let n = self.stream.read(&mut bytes).await.ok().filter(|n| *n > 0)?;
            let keep = |frame: io::relp_framing::Frame<'_>| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                self.heard.push_back((frame.txnr, text(frame.command), text(frame.data)));
            };
            self.framer.feed(&bytes[..n], keep).unwrap();
        }
        self.heard.pop_front()
    }

    /// The next answer as number and code.
    async fn answer(&mut self) -> Option<(u32, String)> {
        let (txnr, command, data) = self.next().await?;
        assert_eq!(command, "rsp");
        Some((txnr, data[..3].to_owned()))
    }

    async fn is_silent_for(&mut self, ms: u64) -> bool {
        tokio::time::timeout(Duration::from_millis(ms), self.next()).await.is_err()
    }
}

fn ok(txnr: u32) -> Option<(u32, String)> {
    Some((txnr, "200".to_owned()))
}

fn closing() -> Option<Heard> {
    Some((0, "serverclose".to_owned(), String::new()))
}

fn config() -> Config {
    Config::plain("127.0.0.1:0".parse().unwrap())
}

fn context() -> (Arc<Recorder>, Context) {
    let recorder = Arc::new(Recorder::default());
    (Arc::clone(&recorder), Context::new("edge", recorder))
}

#[tokio::test]
async fn answers_come_after_durability_in_order_and_never_for_what_failed() {
    let (recorder, context) = context();
    let running = relp::start(context.clone(), config()).await.unwrap();
    recorder.hold(true);
    // What brings no record needs no disk.
    let mut client = Client::open(&running).await;
    client.send("2 syslog 5 <34>a3 syslog 5 <34>b\n4 compress 0\n").await;
    until("the end of it", || context.stats.snapshot().decode_errors == 1).await;
    assert_eq!(client.answer().await, None, "no line feed behind the first");

    let mut client = Client::open(&running).await;
    client.send("2 syslog 5 <34>a\n3 syslog 5 <34>b\n4 compress 0\n").await;
    until("the batch", || recorder.held_bytes() == 10).await;
    assert!(client.is_silent_for(100).await, "answered before it was durable");
    // Reading goes on meanwhile.
    client.send("5 syslog 5 <34>c\n0 hint 2 xx\n6 syslog 0\n").await;
    until("the next batch", || recorder.held_bytes() == 15).await;
    assert!(client.is_silent_for(100).await, "answered before it was durable");
    recorder.hold(false);
    assert_eq!([client.answer().await, client.answer().await], [ok(2), ok(3)]);
    assert_eq!(client.answer().await, Some((4, "500".to_owned())));
    assert_eq!([client.answer().await, client.answer().await], [ok(5), ok(6)]);
    assert_eq!(recorder.texts(), ["<34>a", "<34>b", "<34>c"]);
    let envelope = Arc::clone(&recorder.kept()[0].0);
    assert_eq!((&*envelope.source, &*envelope.peer), ("edge", "127.0.0.1"));
    assert_eq!((&*envelope.identity, envelope.protocol), ("unauthenticated", Protocol::Relp));

    recorder.fail(true);
    client.send("7 syslog 5 <34>d\n").await;
    assert_eq!(client.next().await, None);
    assert_eq!(context.stats.snapshot().refused_records, 1);
    assert_eq!(running.stop().await, Drained::Clean);
}

/// A disk whose sync takes its time, below a real journal.
#[tokio::test]
async fn the_answer_waits_for_the_sync() {
    let dir = tempfile::tempdir().unwrap();
    let fs = HookedFs::default();
    let options = journal::Options { tick: false, ..journal::Options::default() };
    let (journal, _) = journal::Journal::open(
        dir.path(),
        options,
        Arc::new(fs.clone()),
        Arc::new(journal::OsClock),
    )
    .unwrap();
    let context = Context::new("edge", Arc::new(journal.appender()));
    let running = relp::start(context, config()).await.unwrap();
    let mut client = Client::open(&running).await;
    client.send("2 syslog 5 <34>a\n").await;
    assert_eq!(client.answer().await, ok(2));
    for txnr in 3..6 {
        let (go_on, wait) = std::sync::mpsc::channel();
        let (tell, mut syncing) = tokio::sync::mpsc::unbounded_channel();
        *fs.hook.lock() = Some(Box::new(move || {
            let _ = tell.send(());
            let _ = wait.recv();
        }));
        client.send(&format!("{txnr} syslog 5 <34>b\n")).await;
        syncing.recv().await.unwrap();
        assert!(client.is_silent_for(150).await, "answered before the sync");
        go_on.send(()).unwrap();
        assert_eq!(client.answer().await, ok(txnr));
    }
    assert_eq!(running.stop().await, Drained::Clean);
}

#[tokio::test]
async fn a_message_over_the_limit_is_cut_with_a_gap_and_the_session_goes_on() {
    let (recorder, context) = context();
    let running =
        relp::start(context.clone(), Config { message_bytes_max: 16, ..config() }).await.unwrap();
    let mut client = Client::open(&running).await;
    let long = format!("<1>{}", "y".repeat(60_000));
    client.send(&format!("2 syslog {} {long}\n3 syslog 6 <2>x\n\0\n", long.len())).await;
    assert_eq!([client.answer().await, client.answer().await], [ok(2), ok(3)]);
    assert_eq!(recorder.texts(), ["<1>yyyyyyyyyyyyy", "<2>x"]);
    let gaps: Vec<Gap> = recorder
        .kept()
        .iter()
        .filter(|(_, kind, _)| *kind == RecordKind::Gap)
        .map(|(_, _, bytes)| Gap::read(bytes).unwrap())
        .collect();
    let left_out = long.len() as u64 - 16;
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].cause, gaps[0].bytes), (GapCause::Oversize, left_out));
    assert_eq!(gaps[0].protocol, Some(Protocol::Relp));
    let stats = context.stats.snapshot();
    assert_eq!((stats.oversize_records, stats.oversize_bytes), (1, left_out));
    running.stop().await;
}

#[tokio::test]
async fn both_ends_close_in_order() {
    let (recorder, context) = context();
    let running = relp::start(context, config()).await.unwrap();
    let mut leaving = Client::open(&running).await;
    leaving.send("2 syslog 5 <34>a\n3 close 0\n4 syslog 5 <34>x\n").await;
    assert_eq!([leaving.answer().await, leaving.answer().await], [ok(2), ok(3)]);
    assert_eq!((leaving.next().await, leaving.next().await), (closing(), None));

    // Half closed: what was sent is answered all the same; half a frame is not kept.
    let mut leaving = Client::open(&running).await;
    leaving.send("2 syslog 5 <34>b\n3 syslog 50 <34>half").await;
    leaving.stream.shutdown().await.unwrap();
    assert_eq!((leaving.answer().await, leaving.next().await), (ok(2), None));

    let mut staying = Client::open(&running).await;
    recorder.hold(true);
    staying.send("2 syslog 5 <34>c\n3 syslog 50 <34>half").await;
    until("the batch", || recorder.held_bytes() == 5).await;
    let stopping = tokio::spawn(running.stop());
    assert!(staying.is_silent_for(100).await, "told before it was durable");
    recorder.hold(false);
    assert_eq!(staying.answer().await, ok(2));
    assert_eq!((staying.next().await, staying.next().await), (closing(), None));
    drop(staying);
    assert_eq!(stopping.await.unwrap(), Drained::Clean);
    assert_eq!(recorder.texts(), ["<34>a", "<34>b", "<34>c"]);
}

#[tokio::test]
async fn who_does_not_speak_relp_is_closed_and_counted() {
    let (recorder, context) = context();
    let config = Config { idle: Duration::from_millis(200), ..config() };
    let running = relp::start(context.clone(), config).await.unwrap();
    let mut silent = Client::connect(&running).await;
    let mut wrong = 0;
    for first in ["<34>1 2026-11-24T02:14:00Z h a - - - x\n", "\x16\x03\x01", "0 open 0\n"] {
        let mut client = Client::connect(&running).await;
        client.send(first).await;
        assert_eq!(client.next().await, None, "{first:?}");
        wrong += 1;
        until("the count", || context.stats.snapshot().decode_errors == wrong).await;
    }
    let mut early = Client::connect(&running).await;
    early.send("1 syslog 5 <34>a\n").await;
    assert_eq!(early.answer().await, Some((1, "500".to_owned())));
    assert_eq!(early.next().await, None);
    let mut twice = Client::open(&running).await;
    twice.send("2 open 0\n").await;
    assert_eq!(twice.answer().await, Some((2, "500".to_owned())));
    // Silent for longer than this listener likes it.
    assert_eq!((twice.next().await, twice.next().await), (closing(), None));
    until("its count", || context.stats.snapshot().connections_idle == 1).await;
    // Who has not opened a session has ten seconds in all, whatever dribbles in.
    silent.send("1 op").await;
    assert_eq!((silent.next().await, silent.next().await), (closing(), None));
    let stats = context.stats.snapshot();
    assert_eq!((stats.connections_idle, stats.decode_errors), (2, wrong + 1));
    assert!(recorder.kept().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn who_goes_on_with_unknown_commands_is_closed() {
    let (recorder, context) = context();
    let running = relp::start(context.clone(), config()).await.unwrap();
    let mut client = Client::open(&running).await;
    client.send(&format!("{}2 syslog 5 <34>a\n", "1 a 0\n".repeat(10_000))).await;
    let mut refusals = 0;
    while let Some((_, code)) = client.answer().await {
        assert_eq!(code, "500");
        refusals += 1;
    }
    assert_eq!(refusals, 17);
    assert_eq!(context.stats.snapshot().decode_errors, 1);
    assert!(recorder.kept().is_empty());
    assert_eq!(running.stop().await, Drained::Clean);
}

#[tokio::test]
async fn half_messages_share_one_allowance() {
    let (recorder, context) = context();
    let context = Context { holding: Budget::new(192 << 10), ..context };
    let running = relp::start(context.clone(), config()).await.unwrap();
    let mut first = Client::open(&running).await;
    first.send(&format!("2 syslog 200000 {}", "x".repeat(100_000))).await;
    until("its charge", || context.holding.in_flight_bytes() == 128 << 10).await;
    let mut second = Client::open(&running).await;
    second.send("2 syslog 5 <34>a\n").await;
    second.send(&format!("3 syslog 200000 {}", "x".repeat(100_000))).await;
    // It may come again: nothing of what is lost was answered.
    assert_eq!((second.answer().await, second.next().await), (ok(2), closing()));
    assert_eq!(context.stats.snapshot().connections_holding, 1);
    first.send(&format!("{}\n", "y".repeat(100_000))).await;
    assert_eq!(first.answer().await, ok(2));
    assert_eq!(recorder.texts()[1].len(), 200_000);
    running.stop().await;
}

#[tokio::test]
async fn a_slow_journal_stops_the_reading() {
    let (recorder, context) = context();
    let context = Context { budget: Budget::new(100_000), ..context };
    recorder.hold(true);
    let running = relp::start(context.clone(), config()).await.unwrap();
    let client = Client::open(&running).await;
    let (mut answers, mut stream) = client.stream.into_split();
    let sender = tokio::spawn(async move {
        let filler = "z".repeat(992);
        for txnr in 2..40_002 {
            let frame = format!("{txnr} syslog 996 <34>{filler}\n");
            stream.write_all(frame.as_bytes()).await.unwrap();
        }
        stream
    });
    until("a full budget", || context.budget.in_flight_bytes() > 40_000).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sender.is_finished(), "40 MB went nowhere");
    assert!(recorder.held_bytes() <= 100_000);
    recorder.hold(false);
    let last = b"40001 rsp 6 200 OK\n";
    let mut heard = Vec::new();
    while !heard.ends_with(last) {
        assert!(answers.read_buf(&mut heard).await.unwrap() > 0);
    }
    assert_eq!(context.stats.snapshot().durable_records, 40_000);
    drop(sender.await.unwrap());
    assert_eq!(running.stop().await, Drained::Clean);
}

/// Answers that nobody takes hold a few kilobytes, not as much as there are messages.
#[tokio::test]
async fn who_takes_no_answers_is_not_read() {
    const MESSAGES: u64 = 2_000_000;
    let (_recorder, context) = context();
    let running = relp::start(context.clone(), config()).await.unwrap();
    let client = Client::open(&running).await;
    let (mut answers, mut stream) = client.stream.into_split();
    let sender = tokio::spawn(async move {
        let many = "2 syslog 0\n".repeat(1000);
        for _ in 0..MESSAGES / 1000 {
            stream.write_all(many.as_bytes()).await.unwrap();
        }
        stream
    });
    // The kernel takes some megabytes of answers; then nothing moves any more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!sender.is_finished(), "{MESSAGES} messages were read, and no answer was taken");
    let (mut left, mut scrap) = (MESSAGES as usize * b"2 rsp 6 200 OK\n".len(), vec![0; 64 << 10]);
    while left > 0 {
        let n = answers.read(&mut scrap).await.unwrap();
        assert!(n > 0, "closed with {left} bytes of answers left");
        left -= n;
    }
    drop(sender.await.unwrap());
    assert_eq!(running.stop().await, Drained::Clean);
}

/// The writer sits behind a full connection; the stop does not wait as long as it would.
#[tokio::test]
async fn who_takes_no_answers_does_not_hold_a_stop() {
    let (_recorder, context) = context();
    let running = relp::start(context.clone(), config()).await.unwrap();
    let client = Client::open(&running).await;
    let (answers, mut stream) = client.stream.into_split();
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let sender = tokio::spawn(async move {
        let many = "2 syslog 0\n".repeat(1000);
        while stream.write_all(many.as_bytes()).await.is_ok() {
            count.fetch_add(1, Relaxed);
        }
    });
    let mut before = u64::MAX;
    while sent.load(Relaxed) != before {
        before = sent.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let begun = std::time::Instant::now();
    assert_eq!(running.stop().await, Drained::Clean);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(answers);
    sender.await.unwrap();
}
