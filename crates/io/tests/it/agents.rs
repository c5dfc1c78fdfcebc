use crate::recorder::{Recorder, until};
use event::RecordKind;
use io::agent_protocol::{Batch, Frame, Last, VERSION, decode, encode};
use io::sources::agent::{self, AgentGrant, Authenticator, Config, Denied};
use io::{Context, Drained};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct OneToken;

impl Authenticator for OneToken {
    fn agent(&self, token: &str, _: IpAddr) -> Result<AgentGrant, Denied> {
        if token == "secret" {
            Ok(AgentGrant { source: "hosts".into(), identity: "token:web".into() })
        } else {
            Err(Denied { reason: "unknown token".into() })
        }
    }
}

pub(crate) struct Client(TcpStream, Vec<u8>);

impl Client {
    pub(crate) async fn hello(address: std::net::SocketAddr, token: &str) -> Self {
        let mut client = Self(TcpStream::connect(address).await.unwrap(), Vec::new());
        let hello = Frame::Hello { version: VERSION, agent: "a1".into(), token: token.into() };
        client.send(&hello).await;
        client
    }
    pub(crate) async fn send(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        self.0.write_all(&bytes).await.unwrap();
    }
    /// Lets itself be asked in, and goes on with a producer; what the server has of it.
    pub(crate) async fn resume(&mut self, producer: u128) -> Option<Last> {
        let (epoch, next_seq) = (6, 0);
        self.send(&Frame::Resume { producer, epoch, next_seq }).await;
        loop {
            match self.next().await.unwrap() {
                Frame::Resumed { last, .. } => return last,
                Frame::HelloOk | Frame::Credit { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, used)) = decode(&self.1).unwrap() {
                self.1.drain(..used);
                return Some(frame);
            }
            if self.0.read_buf(&mut self.1).await.ok()? == 0 {
                return None;
            }
        }
    }
}

pub(crate) fn batch(base_seq: u64, lines: &[&str]) -> Frame {
    batch_of(5, base_seq, lines)
}

pub(crate) fn batch_of(producer: u128, base_seq: u64, lines: &[&str]) -> Frame {
    let mut batch = Batch { producer, epoch: 6, base_seq, path: "/l".into(), ..Batch::default() };
    for line in lines {
        batch.push(RecordKind::Data, 1, line.as_bytes());
    }
    Frame::Batch(batch)
}

async fn start(recorder: &Arc<Recorder>) -> (Context, io::Running) {
    let context = Context::new("agents", Arc::clone(recorder) as Arc<dyn io::Intake>);
    let config = Config::new("127.0.0.1:0".parse().unwrap(), None, Arc::new(OneToken));
    (context.clone(), agent::start(context, config).await.unwrap())
}

#[tokio::test]
async fn acks_come_after_durability_and_failures_are_never_acked() {
    let recorder = Arc::new(Recorder::default());
    let (_, running) = start(&recorder).await;
    let mut client = Client::hello(running.address, "secret").await;
    assert_eq!(client.next().await, Some(Frame::HelloOk));
    assert!(matches!(client.next().await, Some(Frame::Credit { .. })));
    assert_eq!(client.resume(5).await, None);
    recorder.hold(true);
    client.send(&batch(0, &["a", "b"])).await;
    until("the batch", || recorder.held_bytes() == 2).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), client.next()).await;
    assert!(early.is_err(), "acked before it was durable");
    recorder.hold(false);
    let ack = Frame::Ack { producer: 5, epoch: 6, up_to_seq: 1 };
    assert_eq!(client.next().await, Some(ack));
    let envelope = Arc::clone(&recorder.kept()[0].0);
    assert_eq!(
        (&*envelope.source, &*envelope.identity, &*envelope.path),
        ("hosts", "token:web", "/l")
    );
    recorder.fail(true);
    client.send(&batch(2, &["c"])).await;
    assert_eq!(client.next().await, None);
    assert_eq!(running.stop().await, Drained::Clean);
}

#[tokio::test]
async fn wrong_tokens_and_control_records_are_refused() {
    let recorder = Arc::new(Recorder::default());
    let (context, running) = start(&recorder).await;
    let mut client = Client::hello(running.address, "guess").await;
    assert_eq!(client.next().await, Some(Frame::HelloErr { reason: "unknown token".into() }));
    until("the count", || context.stats.snapshot().auth_failures == 1).await;
    let mut client = Client::hello(running.address, "secret").await;
    let mut forged = Batch::default();
    forged.push(RecordKind::Generation, 1, b"{}");
    client.send(&Frame::Batch(forged)).await;
    until("the refusal", || context.stats.snapshot().decode_errors == 1).await;
    assert!(recorder.kept().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn tokens_are_not_sent_in_the_clear() {
    let context = Context::new("agents", Arc::new(Recorder::default()));
    let config = Config::new("0.0.0.0:0".parse().unwrap(), None, Arc::new(OneToken));
    assert!(agent::start(context, config).await.is_err());
}

#[tokio::test]
async fn long_frames_wait_for_a_login_and_for_room() {
    let recorder = Arc::new(Recorder::default());
    let context = Context::new("agents", Arc::clone(&recorder) as Arc<dyn io::Intake>);
    let holding = io::Budget::new(300 << 10);
    let context = Context { holding: holding.clone(), ..context };
    let config = Config::new("127.0.0.1:0".parse().unwrap(), None, Arc::new(OneToken));
    let running = agent::start(context.clone(), config).await.unwrap();

    let mut stranger = TcpStream::connect(running.address).await.unwrap();
    stranger.write_all(&(1u32 << 20).to_be_bytes()).await.unwrap();
    until("the refusal", || context.stats.snapshot().auth_failures == 1).await;
    assert_eq!(stranger.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(holding.in_flight_bytes(), 0);

    // Two agents with a long frame each: the second one's is read when the first one's is done.
    let long = "x".repeat(200 << 10);
    let mut bytes = Vec::new();
    encode(&batch(0, &[&long]), &mut bytes);
    let (first_half, second_half) = bytes.split_at(100 << 10);
    let mut first = Client::hello(running.address, "secret").await;
    first.resume(5).await;
    first.0.write_all(first_half).await.unwrap();
    until("room for the first", || holding.in_flight_bytes() > 200 << 10).await;
    let mut second = Client::hello(running.address, "secret").await;
    second.resume(7).await;
    let whole = batch_of(7, 1, &[&long]);
    let sending = tokio::spawn(async move {
        second.send(&whole).await;
        while !matches!(second.next().await, Some(Frame::Ack { .. })) {}
    });
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), async {
        until("a record", || !recorder.kept().is_empty()).await;
    });
    assert!(early.await.is_err(), "read without room");
    first.0.write_all(second_half).await.unwrap();
    until("both records", || recorder.kept().len() == 2).await;
    sending.await.unwrap();
    until("the room is free", || holding.in_flight_bytes() == 0).await;
    drop(first);
    running.stop().await;
}

/// Scenario: a connection sends for a producer that it did not resume; two connections resume one.
/// Guarantees: the first is refused; of the two the later one goes on, the other is closed.
#[tokio::test]
async fn a_producer_goes_on_over_one_connection_only() {
    let recorder = Arc::new(Recorder::default());
    let (context, running) = start(&recorder).await;
    let mut client = Client::hello(running.address, "secret").await;
    client.send(&batch(0, &["a"])).await;
    until("the refusal", || context.stats.snapshot().decode_errors == 1).await;
    let mut one = Client::hello(running.address, "secret").await;
    one.resume(5).await;
    one.send(&batch(0, &["a"])).await;
    assert!(matches!(one.next().await, Some(Frame::Ack { .. })));
    let mut other = Client::hello(running.address, "secret").await;
    other.resume(5).await;
    one.send(&batch(1, &["b"])).await;
    assert_eq!(one.next().await, None);
    other.send(&batch(1, &["c"])).await;
    assert!(matches!(other.next().await, Some(Frame::Ack { .. })));
    assert_eq!(context.stats.snapshot().displaced, 1);
    assert_eq!(recorder.texts(), ["a", "c"]);
    running.stop().await;
}

/// Scenario: an agent asks what is stored of ever more files, and reads no answer.
/// Guarantees: it is closed when it has asked for more than any agent follows.
#[tokio::test]
async fn questions_without_end_are_not_answered() {
    let recorder = Arc::new(Recorder::default());
    let (context, running) = start(&recorder).await;
    let mut client = Client::hello(running.address, "secret").await;
    let (mut questions, wanted) = (Vec::new(), 5 * io::tail::FILES_MAX as u128);
    for producer in 0..wanted {
        encode(&Frame::Resume { producer, epoch: 6, next_seq: 0 }, &mut questions);
    }
    // It may be closed before all is written.
    let _ = client.0.write_all(&questions).await;
    until("the end", || context.stats.snapshot().decode_errors == 1).await;
    running.stop().await;
}
