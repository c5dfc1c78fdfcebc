//! A real HTTP receiver that misbehaves as it is told.
use crate::recorder::until;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use io::sinks::webhook::Webhook;
use io::{Feed, Letter, Outbox, OutboxHandle, Outcome, Report};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the receiver does with one request.
#[derive(Clone, Copy)]
enum Does {
    Answer(u16),
    /// 429 with Retry-After: 1.
    Later,
    /// Never answers.
    Hang,
    /// Takes it, and then fails to say so.
    TakeAndFail,
    /// Sends the client elsewhere.
    Redirect,
}

#[derive(Default)]
struct Receiver {
    script: Mutex<VecDeque<Does>>,
    requests: AtomicU64,
    /// Keys and bodies in order of arrival, repeats included.
    taken: Mutex<Vec<(String, String)>>,
    headers: Mutex<HeaderMap>,
}

impl Receiver {
    async fn listen(script: &[Does]) -> (Arc<Self>, String) {
        let receiver = Arc::new(Self::default());
        receiver.script.lock().extend(script);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?s=s3cret", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(serve).with_state(Arc::clone(&receiver));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (receiver, url)
    }

    /// The keys in order, repeats dropped as a receiver with a memory does.
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (key, _) in self.taken.lock().iter() {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }
}

async fn serve(State(r): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Response {
    r.requests.fetch_add(1, SeqCst);
    let next = r.script.lock().pop_front().unwrap_or(Does::Answer(200));
    let key = headers.get("idempotency-key").unwrap().to_str().unwrap().to_owned();
    let taken = (key, String::from_utf8(body.to_vec()).unwrap());
    *r.headers.lock() = headers;
    match next {
        Does::Answer(code) => {
            if code == 200 {
                r.taken.lock().push(taken);
            }
            (StatusCode::from_u16(code).unwrap(), "because\nso").into_response()
        }
        Does::Later => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response(),
        Does::Hang => std::future::pending().await,
        Does::TakeAndFail => {
            r.taken.lock().push(taken);
            StatusCode::BAD_GATEWAY.into_response()
        }
        Does::Redirect => (StatusCode::FOUND, [("location", "/other")]).into_response(),
    }
}

/// A durable list in memory: what outlives a restart is the cursor.
struct List {
    letters: Arc<Mutex<Vec<Letter>>>,
    cursor: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<Report>>>,
    /// How much was told when the outbox said that nothing more is asked for a while.
    settled: Arc<Mutex<Vec<usize>>>,
    at: u64,
}

impl Feed for List {
    fn next(&mut self, wait: Duration) -> Option<Letter> {
        let letter = self.letters.lock().iter().find(|l| l.offset >= self.at).cloned();
        match &letter {
            Some(letter) => self.at = letter.offset + 1,
            None => std::thread::sleep(wait),
        }
        letter
    }
    fn report(&mut self, report: Report) {
        if report.outcome != Outcome::Failing {
            self.cursor.store(report.offset + 1, SeqCst);
        }
        self.told.lock().push(report);
    }
    fn settle(&mut self) {
        self.settled.lock().push(self.told.lock().len());
    }
}

struct Sender {
    letters: Arc<Mutex<Vec<Letter>>>,
    cursor: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<Report>>>,
    settled: Arc<Mutex<Vec<usize>>>,
    stop: CancellationToken,
}

impl Sender {
    fn new(count: u64) -> Self {
        let letter = |offset| Letter {
            offset,
            key: format!("k{offset}"),
            payload: format!("{{\"n\":{offset}}}").into_bytes(),
            tried: 0,
        };
        let letters = Arc::new(Mutex::new((0..count).map(letter).collect()));
        let (cursor, told, settled) = (Arc::default(), Arc::default(), Arc::default());
        Self { letters, cursor, told, settled, stop: CancellationToken::new() }
    }
    fn start(&mut self, url: &str) -> OutboxHandle {
        self.start_within(url, Duration::from_secs(1))
    }
    /// The same with another longest time for an answer.
    fn start_within(&mut self, url: &str, timeout: Duration) -> OutboxHandle {
        self.stop = CancellationToken::new();
        let at = self.cursor.load(SeqCst);
        let (letters, cursor) = (Arc::clone(&self.letters), Arc::clone(&self.cursor));
        let (told, settled) = (Arc::clone(&self.told), Arc::clone(&self.settled));
        let feed = List { letters, cursor, told, settled, at };
        let sink = Webhook::new(url, timeout).unwrap();
        Outbox::spawn("test", Arc::new(sink), Box::new(feed), self.stop.clone())
    }
    fn at(&self) -> u64 {
        self.cursor.load(SeqCst)
    }
}

#[tokio::test]
async fn failures_that_pass_are_tried_again_in_order() {
    let script = [Does::Answer(500), Does::Later, Does::Hang, Does::Answer(408), Does::TakeAndFail];
    let (receiver, url) = Receiver::listen(&script).await;
    let mut sender = Sender::new(4);
    let outbox = sender.start(&url);
    until("all letters", || sender.at() == 4).await;
    assert_eq!(receiver.keys(), ["k0", "k1", "k2", "k3"]);
    let status = outbox.status();
    assert_eq!((status.delivered, status.dead, status.attempts), (4, 0, 9));
    assert_eq!(status.lag_since, None);
    assert!(status.last_error.unwrap().contains("502"));
    assert_eq!(status.under_way, None);
    let told = sender.told.lock().clone();
    let told = told.iter().map(|r| (&*r.key, r.outcome, r.attempts, r.last_error.is_some()));
    let done = |key, attempts| (key, Outcome::Delivered, attempts, attempts > 1);
    assert!(told.eq([done("k0", 6), done("k1", 1), done("k2", 1), done("k3", 1)]));
    let headers = receiver.headers.lock().clone();
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("alcedo/"));
    sender.stop.cancel();
    outbox.ended().await;
}

#[tokio::test]
async fn refused_letters_are_given_up_after_three_tries_and_redirects_are_not_followed() {
    let script = [Does::Answer(400), Does::Redirect, Does::Answer(500), Does::Answer(404)];
    let (receiver, url) = Receiver::listen(&script).await;
    let mut sender = Sender::new(3);
    sender.letters.lock().remove(1);
    let outbox = sender.start(&url);
    until("all letters", || sender.at() == 3).await;
    assert_eq!(receiver.keys(), ["k2"]);
    assert_eq!(receiver.requests.load(SeqCst), 5);
    let status = outbox.status();
    assert_eq!((status.delivered, status.dead), (1, 1));
    assert_eq!(status.last_error.as_deref(), Some("HTTP 404 Not Found: because so"));
    let told = sender.told.lock()[0].clone();
    assert_eq!((told.outcome, told.attempts), (Outcome::Refused, 4));
    assert_eq!(told.last_error, status.last_error);
    sender.stop.cancel();
    outbox.ended().await;
}

#[tokio::test]
async fn a_restart_delivers_the_rest_once_per_key() {
    let (receiver, url) = Receiver::listen(&[]).await;
    let mut sender = Sender::new(40);
    for _ in 0..4 {
        // The letter under way at the stop has been taken, but the outbox was not told.
        receiver.script.lock().extend([Does::Answer(200); 8]);
        receiver.script.lock().extend([Does::TakeAndFail, Does::Hang]);
        let outbox = sender.start(&url);
        until("the hang", || receiver.script.lock().is_empty()).await;
        sender.stop.cancel();
        outbox.ended().await;
    }
    let outbox = sender.start(&url);
    until("all letters", || sender.at() == 40).await;
    let want: Vec<_> = (0..40).map(|n| format!("k{n}")).collect();
    assert_eq!(receiver.keys(), want);
    for (key, body) in receiver.taken.lock().iter() {
        assert_eq!(*body, format!("{{\"n\":{}}}", &key[1..]), "one key, one body");
    }
    assert!(receiver.taken.lock().len() > 40, "the script made no repeats");
    sender.stop.cancel();
    outbox.ended().await;
}

#[tokio::test]
async fn what_was_delivered_does_not_wait_for_what_fails() {
    let (receiver, url) = Receiver::listen(&[Does::Answer(200), Does::Answer(503)]).await;
    receiver.script.lock().extend([Does::Answer(503); 50]);
    let mut sender = Sender::new(2);
    let outbox = sender.start(&url);
    until("the second try", || outbox.status().attempts >= 3).await;
    // The first was reported before the feed was told to keep what it has, long before the second is
    // reported as failing.
    assert_eq!(*sender.settled.lock(), [1]);
    assert_eq!(sender.told.lock().len(), 1);
    sender.stop.cancel();
    outbox.ended().await;
    assert_eq!(sender.settled.lock().last(), Some(&2));
}

/// Scenario: the second of two letters is neither taken nor refused for a minute.
/// Guarantees: the first is made durable meanwhile, and the second is still on its one way.
#[tokio::test]
async fn what_was_delivered_does_not_wait_for_what_hangs() {
    let (receiver, url) = Receiver::listen(&[Does::Answer(200), Does::Hang]).await;
    let mut sender = Sender::new(2);
    let outbox = sender.start_within(&url, Duration::from_secs(60));
    until("what was delivered is kept", || !sender.settled.lock().is_empty()).await;
    assert_eq!((receiver.requests.load(SeqCst), outbox.status().attempts), (2, 2));
    assert_eq!((sender.settled.lock().clone(), sender.told.lock().len()), (vec![1], 1));
    sender.stop.cancel();
}

#[tokio::test]
async fn nobody_listening_is_an_outage_and_tells_no_secret() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/s3cret", listener.local_addr().unwrap());
    drop(listener);
    let mut sender = Sender::new(1);
    let outbox = sender.start(&url);
    until("tries", || outbox.status().attempts >= 2).await;
    let status = outbox.status();
    assert!(status.lag_since.is_some());
    let error = status.last_error.unwrap();
    assert!(error.contains("refused") && !error.contains("s3cret"), "{error}");
    assert_eq!(sender.at(), 0);
    let (key, attempts) = status.under_way.unwrap();
    assert!(key == "k0" && attempts >= 2);
    // What is told at the end is where the next run goes on counting.
    sender.stop.cancel();
    outbox.ended().await;
    let told = sender.told.lock().clone();
    assert_eq!((told.len(), told[0].outcome), (1, Outcome::Failing));
    assert!(told[0].attempts >= attempts && told[0].last_error.is_some());
    sender.letters.lock()[0].tried = told[0].attempts;
    let outbox = sender.start(&url);
    until("a try", || outbox.status().attempts >= 1).await;
    assert!(outbox.status().under_way.unwrap().1 > told[0].attempts);
    sender.stop.cancel();
    outbox.ended().await;
}
