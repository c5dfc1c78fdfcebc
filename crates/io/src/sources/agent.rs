//! The server's end of the agent protocol: authenticates, hands batches to the journal, and acks
//! only what is durable, in order.

use super::listener::{self, Caps, Place};
use super::syslog_tcp::HANDSHAKE_WAIT;
use crate::agent_protocol::{Batch, DecodeError, FRAME_BYTES_MAX, Frame, VERSION, decode, encode};
use crate::intake::{Budget, Context, HELD_BYTES_FREE, IntakeError};
use crate::running::Running;
use crate::stats::SourceStats;
use event::{Durable, Envelope, Producer, Protocol, RawBatch};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Decides who may send as what.
pub trait Authenticator: Send + Sync + 'static {
    /// What the holder of `token` may do. Must not block; called once per connection.
    ///
    /// # Errors
    /// [`Denied`]; the reason is told to the agent.
    fn agent(&self, token: &str, peer: IpAddr) -> Result<AgentGrant, Denied>;
}

/// What an agent is allowed: its records are stamped with this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentGrant {
    /// Source name.
    pub source: Arc<str>,
    /// Identity.
    pub identity: Arc<str>,
}

/// The agent may not send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// Why, without secrets.
    pub reason: String,
}

/// Settings of the listener.
#[derive(Clone)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// TLS settings. Without, only a loopback address is accepted: tokens would be readable.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Decides who may send.
    pub authenticator: Arc<dyn Authenticator>,
    /// Connection caps.
    pub caps: Caps,
    /// Bytes an agent may have sent without an ack.
    pub window_bytes: u32,
    /// An agent silent for this long is gone (it pings every 10 s).
    pub idle: Duration,
}

impl Config {
    /// Defaults on `listen`.
    pub fn new(
        listen: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        authenticator: Arc<dyn Authenticator>,
    ) -> Self {
        let (caps, idle) = (Caps::default(), Duration::from_secs(60));
        Self { listen, tls, authenticator, caps, window_bytes: 4 << 20, idle }
    }
}

/// Binds and starts serving.
///
/// # Errors
/// When the address cannot be bound, or is not loopback while TLS is off.
pub async fn start(context: Context, config: Config) -> std::io::Result<Running> {
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        let text = "agents need TLS on any address but loopback; set certificate and key";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
    }
    let listener = TcpListener::bind(config.listen).await?;
    let running = Running::new("agent", listener.local_addr()?, context.budget.clone());
    let (tasks, stop) = (running.tasks.clone(), running.stop.clone());
    let (stats, caps) = (Arc::clone(&context.stats), config.caps);
    let serve = move |stream, peer: SocketAddr, place| {
        let (context, config, stop) = (context.clone(), config.clone(), stop.clone());
        tasks.spawn(connection(context, config, stream, peer.ip().to_canonical(), place, stop));
    };
    running.tasks.spawn(listener::accept(listener, caps, stats, running.stop.clone(), serve));
    Ok(running)
}

async fn connection(
    context: Context,
    config: Config,
    stream: TcpStream,
    peer: IpAddr,
    place: Place,
    stop: CancellationToken,
) {
    let stats = Arc::clone(&context.stats);
    let served = match config.tls.clone() {
        None => serve(context, config, stream, peer, &place, stop).await,
        Some(tls) => {
            let handshake = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(HANDSHAKE_WAIT, handshake).await {
                Ok(Ok(stream)) => serve(context, config, stream, peer, &place, stop).await,
                Ok(Err(_)) | Err(_) => Err(Ended::Auth),
            }
        }
    };
    match served {
        Err(Ended::Auth) => SourceStats::add(&stats.auth_failures, 1),
        Err(Ended::Malformed) => SourceStats::add(&stats.decode_errors, 1),
        Err(Ended::Idle) => SourceStats::add(&stats.connections_idle, 1),
        Ok(()) | Err(Ended::Gone) => {}
    }
}

/// Why a connection ended before its time.
#[derive(Debug)]
enum Ended {
    Auth,
    Malformed,
    Idle,
    Gone,
}

async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(
    context: Context,
    config: Config,
    stream: S,
    peer: IpAddr,
    place: &Place,
    stop: CancellationToken,
) -> Result<(), Ended> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut frames = FrameReader::guarded(reader, context.holding.clone());
    let hello = tokio::time::timeout(HANDSHAKE_WAIT, frames.next()).await;
    let Ok(Ok(Some(Frame::Hello { version, token, .. }))) = hello else { return Err(Ended::Auth) };
    let grant = if version == VERSION {
        config.authenticator.agent(&token, peer)
    } else {
        Err(Denied { reason: format!("protocol {version} is not spoken here, {VERSION} is") })
    };
    let grant = match grant {
        Ok(grant) => grant,
        Err(denied) => {
            let _ = send(&mut writer, &[Frame::HelloErr { reason: denied.reason }]).await;
            return Err(Ended::Auth);
        }
    };
    let credit = Frame::Credit { window_bytes: config.window_bytes };
    send(&mut writer, &[Frame::HelloOk, credit]).await.map_err(|_| Ended::Gone)?;
    frames.trust();
    let mut envelope = context.envelope(Protocol::Agent);
    (envelope.source, envelope.identity) = (grant.source, grant.identity);
    envelope.peer = peer.to_string().into();
    envelope.connection = place.number;

    let (outcomes, answers) = mpsc::unbounded_channel();
    let closed = CancellationToken::new();
    // Bounded by the budget: one answer per batch in flight.
    let acks = tokio::spawn(write_acks(writer, answers, closed.clone()));
    let read = read_batches(&context, config.idle, &mut frames, envelope, outcomes, &stop, &closed);
    let ended = read.await;
    // The senders of `outcomes` live in the callbacks: this ends when all batches are answered.
    let _ = acks.await;
    ended
}

type Outcome = (u64, Mark, Result<Durable, IntakeError>);
type Mark = (u128, u64, u64);

async fn read_batches<R: AsyncRead + Unpin>(
    context: &Context,
    idle: Duration,
    frames: &mut FrameReader<R>,
    envelope: Envelope,
    outcomes: mpsc::UnboundedSender<Outcome>,
    stop: &CancellationToken,
    closed: &CancellationToken,
) -> Result<(), Ended> {
    let mut envelope = Arc::new(envelope);
    for number in 0u64.. {
        let batch = loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = closed.cancelled() => return Err(Ended::Gone),
                next = tokio::time::timeout(idle, frames.next()) => next,
            };
            match next.map_err(|_| Ended::Idle)?? {
                None => return Ok(()),
                Some(Frame::Ping) => {}
                Some(Frame::Batch(batch)) if !batch.records.is_empty() => break batch,
                Some(_) => return Err(Ended::Malformed),
            }
        };
        if *envelope.path != *batch.path {
            envelope =
                Arc::new(Envelope { path: batch.path.as_str().into(), ..(*envelope).clone() });
        }
        let mark = (batch.producer, batch.epoch, batch.last_seq());
        let outcomes = outcomes.clone();
        let done = move |outcome| {
            let _ = outcomes.send((number, mark, outcome));
        };
        let taken = context.submit(raw(batch, &envelope), stop, done).await;
        taken.map_err(|_| Ended::Gone)?;
    }
    Ok(())
}

/// The producer the journal is told: bound to the verified identity, so that an agent cannot use
/// another's numbers and have that one's records dropped as repeats.
pub fn bound_producer(identity: &str, wire: u128) -> u128 {
    let hash = Sha256::new().chain_update(identity).chain_update([0]);
    let hash = hash.chain_update(wire.to_be_bytes()).finalize();
    hash[..16].iter().fold(0, |id, byte| (id << 8) | u128::from(*byte))
}

/// The agent's batch as the journal takes it; the bytes are moved, not copied.
fn raw(batch: Batch, envelope: &Arc<Envelope>) -> RawBatch {
    let mut start = 0u32;
    let records = batch.records.iter().map(|&(kind, wall_ns, len)| {
        let record = event::RawRecord { start, len, envelope: 0, kind, wall_ns };
        start += len;
        record
    });
    let id = bound_producer(&envelope.identity, batch.producer);
    let producer = Producer { id, epoch: batch.epoch, base_seq: batch.base_seq };
    RawBatch {
        records: records.collect(),
        bytes: batch.bytes,
        envelopes: vec![Arc::clone(envelope)],
        producer: Some(producer),
    }
}

/// Acks the contiguous prefix of what was submitted. A failed batch ends the connection before
/// anything after it is acked: acks are cumulative, so the agent sends it all again.
async fn write_acks(
    mut writer: impl AsyncWrite + Unpin,
    mut answers: mpsc::UnboundedReceiver<Outcome>,
    closed: CancellationToken,
) {
    let _close = closed.drop_guard();
    let mut early = BTreeMap::new();
    let mut next = 0u64;
    while let Some((number, mark, outcome)) = answers.recv().await {
        early.insert(number, (mark, outcome));
        let mut acks: Vec<Frame> = Vec::new();
        while let Some((mark, outcome)) = early.remove(&next) {
            if outcome.is_err() {
                let _ = send(&mut writer, &acks).await;
                return;
            }
            next += 1;
            let (producer, epoch, up_to_seq) = mark;
            acks.push(Frame::Ack { producer, epoch, up_to_seq });
        }
        if !acks.is_empty() && send(&mut writer, &acks).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// Longest time a peer may take to accept a few bytes.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// Writes and flushes frames.
pub(crate) async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    frames: &[Frame],
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for frame in frames {
        encode(frame, &mut bytes);
    }
    let write = async {
        writer.write_all(&bytes).await?;
        writer.flush().await
    };
    tokio::time::timeout(WRITE_WAIT, write).await.map_err(std::io::Error::other)?
}

/// Longest first frame, before the peer has shown who it is: a version and two short texts.
const HELLO_BYTES_MAX: usize = 16 << 10;

/// Reads frames off a stream; `next` may be dropped and called again without loss.
pub(crate) struct FrameReader<R> {
    reader: R,
    held: bytes::BytesMut,
    frame_bytes_max: usize,
    /// Where room for long frames is taken from, and what is taken.
    holding: Option<Budget>,
    room: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that takes frames of any length the protocol allows.
    pub(crate) fn new(reader: R) -> Self {
        let held = bytes::BytesMut::with_capacity(HELD_BYTES_FREE);
        Self { reader, held, frame_bytes_max: FRAME_BYTES_MAX, holding: None, room: None }
    }

    /// A reader that takes only short frames until [`FrameReader::trust`] is called, and room for
    /// longer ones from `holding` before it reads them.
    fn guarded(reader: R, holding: Budget) -> Self {
        let frame_bytes_max = HELLO_BYTES_MAX;
        Self { frame_bytes_max, holding: Some(holding), ..Self::new(reader) }
    }

    /// The peer may send frames of any length from now on.
    fn trust(&mut self) {
        self.frame_bytes_max = FRAME_BYTES_MAX;
    }

    async fn next(&mut self) -> Result<Option<Frame>, Ended> {
        self.frame().await.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Ended::Malformed,
            _ => Ended::Gone,
        })
    }

    /// The next frame, `None` at the end of the stream.
    pub(crate) async fn frame(&mut self) -> std::io::Result<Option<Frame>> {
        let malformed = |e| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
        loop {
            if let Some((frame, used)) = decode(&self.held).map_err(malformed)? {
                bytes::Buf::advance(&mut self.held, used);
                if self.room.take().is_some() && self.held.is_empty() {
                    // The long frame's memory goes back with its room.
                    self.held = bytes::BytesMut::with_capacity(HELD_BYTES_FREE);
                }
                return Ok(Some(frame));
            }
            let length =
                self.held.first_chunk::<4>().map_or(0, |l| u32::from_be_bytes(*l) as usize);
            if length > self.frame_bytes_max {
                return Err(malformed(DecodeError::TooLong(length)));
            }
            if length > HELD_BYTES_FREE && self.room.is_none() {
                // All of it before the first byte: frames half read cannot wait for each other.
                if let Some(holding) = &self.holding {
                    self.room = Some(holding.take(length).await);
                }
            }
            self.held.reserve(16 << 10);
            if self.reader.read_buf(&mut self.held).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_of_two_identities_never_meet() {
        let a = bound_producer("token:a", 7);
        assert_eq!(a, bound_producer("token:a", 7));
        assert_ne!(a, bound_producer("token:b", 7));
        assert_ne!(a, bound_producer("token:a", 8));
        // The first 16 bytes of SHA-256("token:a" 0 00..07), computed elsewhere.
        assert_eq!(format!("{a:032x}"), "7353305dc6b31982151dc7ee7a5e3fd3");
    }
}
