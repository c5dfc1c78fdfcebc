//! Syslog over TCP and TLS (RFC 6587, RFC 5425). The protocol has no answer; a journal that says
//! "not now" stops the reading, which closes the TCP window.

use super::listener::{self, Caps, Place};
use crate::framing::{self, Frame, Framer};
use crate::intake::{Context, HELD_BYTES_FREE, wall_ns};
use crate::running::Running;
use crate::stats::SourceStats;
use event::{Certainty, Envelope, Gap, GapCause, Protocol, RawBatch, RecordKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// Settings of a listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// TLS settings; plain TCP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Framing and the longest message.
    pub framing: framing::Limits,
    /// Connection caps.
    pub caps: Caps,
    /// A connection that sends nothing for this long is closed.
    pub idle: Duration,
}

impl Config {
    /// Plain TCP on `listen` with defaults: an hour of silence is normal for a quiet device.
    pub fn plain(listen: SocketAddr) -> Self {
        let idle = Duration::from_secs(3600);
        Self { listen, tls: None, framing: framing::Limits::default(), caps: Caps::default(), idle }
    }
}

/// Bytes per read, at first and at most: a sender that fills them is given more, so that thousands of
/// quiet connections hold little. More than the most gives nothing, since a read returns what the
/// kernel has.
const READ_BYTES: (usize, usize) = (4 << 10, 64 << 10);

/// So many reads in a row that fill less than an eighth give a buffer back.
const SMALL_READS: u32 = 64;

/// The buffer of a connection: as large as what its sender sends at once.
struct ReadBuffer {
    bytes: Vec<u8>,
    small_reads: u32,
}

impl ReadBuffer {
    fn new() -> Self {
        Self { bytes: vec![0; READ_BYTES.0], small_reads: 0 }
    }

    /// The next read should have as much room as this one, which gave `n` bytes, makes likely.
    fn fit(&mut self, n: usize) {
        let size = self.bytes.len();
        self.small_reads = if n < size / 8 { self.small_reads + 1 } else { 0 };
        if n == size && size < READ_BYTES.1 {
            self.bytes = vec![0; size * 4];
        } else if self.small_reads == SMALL_READS && size > READ_BYTES.0 {
            *self = Self::new();
        }
    }
}

/// A TLS handshake takes a few round trips; whoever needs longer holds a place for nothing.
pub(super) const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// Binds and starts serving.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(context: Context, config: Config) -> std::io::Result<Running> {
    let listener = TcpListener::bind(config.listen).await?;
    let kind = if config.tls.is_some() { "syslog_tls" } else { "syslog_tcp" };
    let running = Running::new(kind, listener.local_addr()?, context.budget.clone());
    let (tasks, stop) = (running.tasks.clone(), running.stop.clone());
    let stats = Arc::clone(&context.stats);
    let caps = config.caps;
    let config = Arc::new(config);
    let serve = move |stream, peer: SocketAddr, place| {
        let (context, config, stop) = (context.clone(), Arc::clone(&config), stop.clone());
        tasks.spawn(async move { connection(context, &config, stream, peer, place, stop).await });
    };
    running.tasks.spawn(listener::accept(listener, caps, stats, running.stop.clone(), serve));
    Ok(running)
}

async fn connection(
    context: Context,
    config: &Config,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    stop: CancellationToken,
) {
    let protocol = if config.tls.is_some() { Protocol::SyslogTls } else { Protocol::SyslogTcp };
    let mut envelope = context.envelope(protocol);
    envelope.peer = peer.ip().to_canonical().to_string().into();
    envelope.connection = place.number;
    let Some(tls) = &config.tls else {
        return serve(context, config, stream, envelope, stop).await;
    };
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(tls));
    match tokio::time::timeout(HANDSHAKE_WAIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            if let Some(identity) = chain.and_then(crate::tls::identity) {
                envelope.identity = identity.into();
            }
            serve(context, config, stream, envelope, stop).await;
        }
        Ok(Err(_)) | Err(_) => SourceStats::add(&context.stats.auth_failures, 1),
    }
}

/// Reads until the end, idleness or `stop`; every read is framed and handed over at once.
async fn serve(
    context: Context,
    config: &Config,
    mut stream: impl AsyncRead + Unpin,
    envelope: Envelope,
    stop: CancellationToken,
) {
    let envelope = Arc::new(envelope);
    let mut framer = Framer::new(config.framing);
    let mut buffer = ReadBuffer::new();
    let mut room = None;
    let (mut squeezed, mut heard) = (false, false);
    loop {
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            read = tokio::time::timeout(config.idle, stream.read(&mut buffer.bytes)) => read,
        };
        let n = match read {
            Err(_) => {
                SourceStats::add(&context.stats.connections_idle, 1);
                break;
            }
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(n)) => n,
        };
        let mut batch = RawBatch::of(Arc::clone(&envelope));
        let now = wall_ns();
        framer.feed(&buffer.bytes[..n], |frame| keep(&context, &mut batch, now, frame));
        heard |= !batch.is_empty();
        buffer.fit(n);
        if !hand_over(&context, batch, &stop).await {
            return;
        }
        if !charge(&context, &mut room, framer.held_bytes()) {
            SourceStats::add(&context.stats.connections_holding, 1);
            squeezed = true;
            break;
        }
    }
    let mut batch = RawBatch::of(Arc::clone(&envelope));
    let now = wall_ns();
    framer.finish(|frame| {
        let frame = match frame {
            Frame::Message(start) if squeezed => Frame::CutOff(start),
            frame => frame,
        };
        keep(&context, &mut batch, now, frame);
    });
    if heard {
        // Without this the next start would fear for what this connection had under way.
        batch.push_as(RecordKind::ConnectionEnd, 0, now, b"");
    }
    hand_over(&context, batch, &stop).await;
}

/// Room for an incomplete message is taken in steps of this size.
const HELD_STEP_BYTES: usize = 64 << 10;

/// Charges what the connection holds of an incomplete message; false when all connections
/// together hold too much. Whoever needs more then is closed rather than made to wait: its rest
/// may never come, and what had come of the message is kept and marked.
fn charge(context: &Context, room: &mut Option<OwnedSemaphorePermit>, held: usize) -> bool {
    let wanted = held.saturating_sub(HELD_BYTES_FREE).next_multiple_of(HELD_STEP_BYTES);
    let taken = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    if wanted == 0 {
        *room = None;
    } else if wanted > taken {
        let Some(more) = context.holding.try_take(wanted - taken) else { return false };
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
    }
    true
}

/// Puts a frame into the batch; loss becomes a gap record beside its neighbours.
fn keep(context: &Context, batch: &mut RawBatch, now: i64, frame: Frame<'_>) {
    let first = batch.envelopes.first();
    let batch_protocol = first.map(|e| e.protocol);
    let connection = first.map_or(0, |e| e.connection);
    let gap = |cause, bytes| Gap {
        protocol: batch_protocol,
        connection,
        count: 1,
        bytes,
        ..Gap::at(cause, Certainty::Known, &context.name, now)
    };
    match frame {
        Frame::Message(message) => batch.push(now, message),
        Frame::CutOff(start) => {
            batch.push(now, start);
            gap(GapCause::CutOff, 0).push_to(batch, 0);
        }
        Frame::Oversize { bytes } => {
            SourceStats::add(&context.stats.oversize_records, 1);
            SourceStats::add(&context.stats.oversize_bytes, bytes);
            gap(GapCause::Oversize, bytes).push_to(batch, 0);
        }
    }
}

/// Whether reading may go on.
async fn hand_over(context: &Context, batch: RawBatch, stop: &CancellationToken) -> bool {
    batch.is_empty() || context.submit(batch, stop, |_| ()).await.is_ok()
}
