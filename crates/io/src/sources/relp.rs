//! Syslog over RELP, with or without TLS: the one syslog transport whose sender is told. A message is
//! answered after the journal has it on disk, in the order of the messages; a sender repeats what
//! has no answer. A journal that says "not now" stops the reading, and the answers wait.
//!
//! ```text
//! read -- frames --> batch ---> journal --+
//!            \---> its answers -----------+--> in order, after fdatasync --> write
//! ```

use super::listener::{self, Caps};
use super::stream::{self, Duplex, HANDSHAKE_WAIT, Held, InOrder, ReadBuffer};
use crate::framing::{FRAME_BYTES_MAX_DEFAULT, trim};
use crate::intake::{Budget, Context, wall_ns};
use crate::relp_framing::{Frame, Framer, SERVERCLOSE, answer};
use crate::running::Running;
use crate::stats::SourceStats;
use event::{Envelope, Protocol, RawBatch};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Settings of a listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// TLS settings; plain TCP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Longest message that is kept whole; of a longer one the beginning is kept, with a gap.
    pub message_bytes_max: usize,
    /// Connection caps.
    pub caps: Caps,
    /// A connection that sends nothing for this long is closed.
    pub idle: Duration,
}

impl Config {
    /// Plain TCP on `listen` with defaults: those of syslog over TCP.
    pub fn plain(listen: SocketAddr) -> Self {
        let idle = Duration::from_secs(3600);
        let message_bytes_max = FRAME_BYTES_MAX_DEFAULT;
        Self { listen, tls: None, message_bytes_max, caps: Caps::default(), idle }
    }
}

/// Newest version of the protocol that is spoken here.
const VERSION_MAX: u32 = 1;

/// Bytes of answers that one connection may have waiting: more than a thousand, above the window of any
/// sender we know. One that does not take its answers is not read any further.
const ANSWERS_BYTES_MAX: usize = 32 << 10;

/// Bytes of answers behind which a round is handed over, one answer more at most. A read holds thousands
/// of the shortest frames, and their answers are longer: without this a connection would hold half a
/// megabyte of them, whatever room it is given.
const ROUND_ANSWERS_BYTES: usize = 8 << 10;

/// Commands that are not spoken here before the session ends. A sender that reads our offers has none.
const UNKNOWN_COMMANDS_MAX: u32 = 16;

/// Most answers that are looked at together before they are written.
const ANSWERS_AT_ONCE: usize = 256;

/// How long a connection that we end is read for what is still coming.
const LINGER: Duration = Duration::from_millis(500);

/// Binds and starts serving.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(context: Context, config: Config) -> std::io::Result<Running> {
    let (inner, address, caps) = (context.clone(), config.listen, config.caps);
    let config = Arc::new(config);
    let connection = move |stream, peer, place, stop| {
        let (context, config) = (inner.clone(), Arc::clone(&config));
        async move {
            let tls = config.tls.as_ref();
            let relp = Protocol::Relp;
            let met = stream::meet(&context, tls, relp, stream, peer, &place, &stop).await;
            if let Some((stream, envelope)) = met {
                serve(&context, &config, stream, envelope, stop).await;
            }
        }
    };
    listener::start("relp", address, caps, &context, connection).await
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Closed by the sender.
    Left,
    /// We are stopping.
    Stopped,
    /// Silent for too long.
    Idle,
    /// Not RELP, or not in its order.
    Malformed,
    /// All connections together hold too much of incomplete messages.
    Squeezed,
    /// A batch was not taken, failed, or its answers cannot be written.
    Failed,
}

async fn serve(
    context: &Context,
    config: &Config,
    stream: Box<dyn Duplex>,
    envelope: Envelope,
    stop: CancellationToken,
) {
    let (mut reader, writer) = tokio::io::split(stream);
    let (done, answers) = mpsc::unbounded_channel();
    let closed = CancellationToken::new();
    let stats = Arc::clone(&context.stats);
    let writing = write_answers(writer, answers, stats, closed.clone(), stop.clone());
    let writing = tokio::spawn(writing);
    let room = Budget::new(ANSWERS_BYTES_MAX);
    let mut rounds = Rounds { done, room, next: 0, stop, closed };
    let ended = read(context, config, &mut reader, envelope, &mut rounds).await;
    let stats = &context.stats;
    match ended {
        Ended::Malformed => SourceStats::add(&stats.decode_errors, 1),
        Ended::Idle => SourceStats::add(&stats.connections_idle, 1),
        // Counted where they happen.
        Ended::Squeezed | Ended::Failed | Ended::Left | Ended::Stopped => {}
    }
    if matches!(ended, Ended::Stopped | Ended::Idle | Ended::Squeezed) {
        rounds.farewell();
    }
    drop(rounds);
    // What answers a batch lives in its callback: this ends when the fate of all is known.
    if writing.await.is_ok() && ended != Ended::Failed {
        let _ = timeout(LINGER, linger(&mut reader)).await;
    }
}

/// A socket that is closed with unread bytes is reset, and a reset may overtake the last answers.
/// What is read here has no answer: its sender sends it again.
async fn linger(reader: &mut (impl AsyncRead + Unpin)) {
    let mut unheard = [0; 4 << 10];
    while reader.read(&mut unheard).await.is_ok_and(|n| n > 0) {}
}

/// Reads until the end, silence or a stop; every read is framed and handed over at once, with the
/// answers that are due when it is durable.
async fn read(
    context: &Context,
    config: &Config,
    reader: &mut (impl AsyncRead + Unpin),
    envelope: Envelope,
    rounds: &mut Rounds,
) -> Ended {
    let mut incoming = Incoming::new(context, config, envelope);
    let (mut buffer, mut held) = (ReadBuffer::new(), Held::default());
    let open_by = Instant::now() + HANDSHAKE_WAIT;
    loop {
        let is_open = incoming.session.is_open;
        let by = if is_open { Instant::now() + config.idle } else { open_by };
        let read = tokio::select! {
            biased;
            () = rounds.stop.cancelled() => return Ended::Stopped,
            () = rounds.closed.cancelled() => return Ended::Failed,
            read = timeout_at(by, reader.read(&mut buffer.bytes)) => read,
        };
        let n = match read {
            Err(_) => return Ended::Idle,
            Ok(Ok(0) | Err(_)) => return Ended::Left,
            Ok(Ok(n)) => n,
        };
        if let Some(ended) = incoming.take(&buffer.bytes[..n], rounds).await {
            return ended;
        }
        buffer.fit(n);
        if !held.fits(context, incoming.framer.held_bytes()) {
            return Ended::Squeezed;
        }
    }
}

/// What comes over one connection, between reads.
struct Incoming<'c> {
    context: &'c Context,
    envelope: Arc<Envelope>,
    framer: Framer,
    session: Session,
}

impl<'c> Incoming<'c> {
    fn new(context: &'c Context, config: &Config, envelope: Envelope) -> Self {
        let (framer, session) = (Framer::new(config.message_bytes_max), Session::default());
        Self { context, envelope: Arc::new(envelope), framer, session }
    }

    /// Frames what one read brought and hands it over, in rounds of few answers each: the next round
    /// waits for its room before it is made. Out: why the connection ends, if it does.
    async fn take(&mut self, bytes: &[u8], rounds: &mut Rounds) -> Option<Ended> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let batch = RawBatch::of(Arc::clone(&self.envelope));
            let mut round = Round { batch, answers: Vec::new(), now: wall_ns() };
            let fed = self.framer.feed_while(rest, |frame| {
                self.session.take(self.context, frame, &mut round);
                self.session.ended.is_none() && round.answers.len() < ROUND_ANSWERS_BYTES
            });
            if !rounds.hand_over(self.context, round).await {
                return Some(Ended::Failed);
            }
            if self.session.ended.is_some() {
                return self.session.ended;
            }
            rest = match fed {
                Ok(rest) => rest,
                Err(malformed) => {
                    let (source, peer) = (&self.context.name, &self.envelope.peer);
                    tracing::debug!(%source, %peer, %malformed, "closed");
                    return Some(Ended::Malformed);
                }
            };
        }
        None
    }
}

/// What one read, or a part of it, brought: records, and what their sender is told once they are durable.
struct Round {
    batch: RawBatch,
    answers: Vec<u8>,
    now: i64,
}

/// Where a connection stands in the protocol.
#[derive(Default)]
struct Session {
    is_open: bool,
    ended: Option<Ended>,
    unknown_commands: u32,
}

impl Session {
    fn take(&mut self, context: &Context, frame: Frame<'_>, round: &mut Round) {
        let txnr = frame.txnr;
        match frame.command {
            b"open" | b"syslog" | b"close" if txnr == 0 => self.ended = Some(Ended::Malformed),
            _ if txnr == 0 => {}
            b"open" if !self.is_open => {
                self.is_open = true;
                answer(&mut round.answers, txnr, &offers(frame.data));
            }
            _ if !self.is_open => {
                answer(&mut round.answers, txnr, "500 a session begins with open");
                self.ended = Some(Ended::Malformed);
            }
            b"syslog" => {
                round.keep(context, frame);
                answer(&mut round.answers, txnr, "200 OK");
            }
            b"close" => {
                answer(&mut round.answers, txnr, "200 OK");
                round.answers.extend_from_slice(SERVERCLOSE);
                self.ended = Some(Ended::Left);
            }
            _ => {
                answer(&mut round.answers, txnr, "500 this command is not spoken here");
                self.unknown_commands += 1;
                if self.unknown_commands > UNKNOWN_COMMANDS_MAX {
                    self.ended = Some(Ended::Malformed);
                }
            }
        }
    }
}

impl Round {
    /// One message is one record. What is over the limit becomes a gap record beside its beginning.
    fn keep(&mut self, context: &Context, frame: Frame<'_>) {
        let message = trim(frame.data);
        if !message.is_empty() {
            self.batch.push(self.now, message);
        }
        if frame.left_out > 0 {
            stream::push_oversize(context, &mut self.batch, self.now, frame.left_out);
        }
    }
}

/// The answer to a sender's offers: the version that both speak, and what it may send.
fn offers(theirs: &[u8]) -> String {
    let mut lines = theirs.split(|b| *b == b'\n');
    let version = lines.find_map(|line| line.strip_prefix(b"relp_version="));
    let version = version.and_then(|v| std::str::from_utf8(v.trim_ascii()).ok()?.parse().ok());
    let version = version.unwrap_or(0).min(VERSION_MAX);
    let ours = env!("CARGO_PKG_VERSION");
    format!("200 OK\nrelp_version={version}\nrelp_software=alcedo,{ours}\ncommands=syslog")
}

/// What the sender is told of a round, and the room that it takes.
struct Answers {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

/// A round's number, and its answers; `None` when its batch has failed.
type Done = (u64, Option<Answers>);

/// Hands rounds over, numbered, so that they are answered in their order.
struct Rounds {
    done: mpsc::UnboundedSender<Done>,
    room: Budget,
    next: u64,
    stop: CancellationToken,
    /// No more answers are written.
    closed: CancellationToken,
}

impl Rounds {
    /// Whether reading may go on.
    async fn hand_over(&mut self, context: &Context, round: Round) -> bool {
        let Round { batch, mut answers, .. } = round;
        // Room is taken for what they are, not for what they might have become.
        answers.shrink_to_fit();
        if batch.is_empty() && answers.is_empty() {
            return true;
        }
        let room = tokio::select! {
            biased;
            room = self.room.take(answers.len()) => room,
            () = self.closed.cancelled() => return false,
            // A sender that takes no answers must not hold up a stop; what it sent has no answer.
            () = self.stop.cancelled() => return false,
        };
        let answers = Answers { bytes: answers, _room: Some(room) };
        let (number, done) = (self.number(), self.done.clone());
        if batch.is_empty() {
            return done.send((number, Some(answers))).is_ok();
        }
        let answer = move |outcome: Result<_, _>| {
            let _ = done.send((number, outcome.is_ok().then_some(answers)));
        };
        context.submit(batch, &self.stop, answer).await.is_ok()
    }

    /// Tells the sender, behind all answers, that it should come again later.
    fn farewell(&mut self) {
        let number = self.number();
        let answers = Answers { bytes: SERVERCLOSE.to_vec(), _room: None };
        let _ = self.done.send((number, Some(answers)));
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

/// Writes answers in the order of their rounds. A failed batch ends the connection before anything
/// behind it is answered: the sender sends it all again.
async fn write_answers(
    mut writer: impl AsyncWrite + Unpin,
    mut done: mpsc::UnboundedReceiver<Done>,
    stats: Arc<SourceStats>,
    closed: CancellationToken,
    stop: CancellationToken,
) {
    let _close = closed.drop_guard();
    let (mut order, mut some) = (InOrder::default(), Vec::new());
    while done.recv_many(&mut some, ANSWERS_AT_ONCE).await > 0 {
        for (number, answers) in some.drain(..) {
            order.put(number, answers);
        }
        let (mut bytes, mut rooms, mut failed) = (Vec::new(), Vec::new(), false);
        while let Some(answers) = order.next() {
            let Some(answers) = answers else {
                failed = true;
                break;
            };
            bytes.extend_from_slice(&answers.bytes);
            rooms.push(answers);
        }
        if !bytes.is_empty()
            && let Err(error) = stream::write_until(&mut writer, &bytes, &stop).await
        {
            if error.kind() == std::io::ErrorKind::TimedOut {
                SourceStats::add(&stats.connections_idle, 1);
            }
            return;
        }
        if failed {
            return;
        }
    }
    let _ = timeout(LINGER, writer.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An intake that nothing reaches: messages without text are answered without it.
    struct Nothing;

    impl crate::Intake for Nothing {
        fn submit(&self, _: RawBatch, _: crate::intake::Done) -> Result<(), crate::Refused> {
            unreachable!("there is no record")
        }
    }

    /// One full read of the shortest messages, whose sender takes no answers: what waits for it is
    /// what it was given room for, in rounds that are small.
    #[tokio::test]
    async fn answers_that_wait_are_few_however_many_frames_a_read_holds() {
        let context = Context::new("edge", Arc::new(Nothing));
        let config = Config::plain("127.0.0.1:0".parse().unwrap());
        let mut incoming = Incoming::new(&context, &config, context.envelope(Protocol::Relp));
        incoming.session.is_open = true;
        let (done, mut answers) = mpsc::unbounded_channel();
        let (stop, closed) = (CancellationToken::new(), CancellationToken::new());
        let room = Budget::new(ANSWERS_BYTES_MAX);
        let mut rounds = Rounds { done, room, next: 0, stop, closed };
        let frames = "2 syslog 0\n".repeat((64 << 10) / 11);
        let taken = incoming.take(frames.as_bytes(), &mut rounds);
        assert!(timeout(Duration::from_millis(200), taken).await.is_err(), "nothing waits");
        let mut waiting = Vec::new();
        while let Ok((_, round)) = answers.try_recv() {
            waiting.push(round.unwrap());
        }
        let bytes: Vec<usize> = waiting.iter().map(|round| round.bytes.len()).collect();
        let one = b"2 rsp 6 200 OK\n".len();
        assert!(bytes.iter().all(|n| *n < ROUND_ANSWERS_BYTES + one), "{bytes:?}");
        let all: usize = bytes.iter().sum();
        assert!((ANSWERS_BYTES_MAX / 2..=ANSWERS_BYTES_MAX).contains(&all), "{bytes:?}");
    }

    #[test]
    fn the_version_that_both_speak_is_offered() {
        let version = |theirs: &str| {
            let ours = offers(theirs.as_bytes());
            assert!(ours.starts_with("200 OK\nrelp_version=") && ours.ends_with("commands=syslog"));
            ours.as_bytes()["200 OK\nrelp_version=".len()] - b'0'
        };
        let usual = "relp_version=0\nrelp_software=x,1,http://x\ncommands=syslog";
        assert_eq!([version(usual), version("commands=a\nrelp_version=1")], [0, 1]);
        assert_eq!([version("relp_version=7"), version("relp_version=99999999999")], [1, 0]);
        assert_eq!([version(""), version("relp_version=\u{fe}")], [0, 0]);
    }
}
