//! Syslog over TCP and TLS (RFC 6587, RFC 5425). The protocol has no answer; a journal that says
//! "not now" stops the reading, which closes the TCP window.

use super::listener::{self, Caps};
use super::stream::{self, Held, ReadBuffer};
use crate::framing::{self, Frame, Framer};
use crate::intake::{Context, wall_ns};
use crate::running::Running;
use crate::stats::SourceStats;
use event::{Certainty, Envelope, Gap, GapCause, Protocol, RawBatch, RecordKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
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

/// Binds and starts serving.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(context: Context, config: Config) -> std::io::Result<Running> {
    let (kind, protocol) = match config.tls {
        None => ("syslog_tcp", Protocol::SyslogTcp),
        Some(_) => ("syslog_tls", Protocol::SyslogTls),
    };
    let (inner, address, caps) = (context.clone(), config.listen, config.caps);
    let config = Arc::new(config);
    let connection = move |stream, peer, place, stop| {
        let (context, config) = (inner.clone(), Arc::clone(&config));
        async move {
            let tls = config.tls.as_ref();
            let met = stream::meet(&context, tls, protocol, stream, peer, &place, &stop).await;
            if let Some((stream, envelope)) = met {
                serve(context, &config, stream, envelope, stop).await;
            }
        }
    };
    let running = listener::start(kind, address, caps, &context, connection).await?;
    running.tasks.spawn(context.tell_open(protocol, running.stop.clone()));
    Ok(running)
}

/// How long a connection is read on after a stop while something comes: what the two kernels hold, some
/// megabytes, is read in a fraction of it. A sender without end is not waited for.
const DRAIN_WAIT: Duration = Duration::from_secs(2);
/// Nothing for so long: what was on the way has come.
const DRAIN_QUIET: Duration = Duration::from_millis(50);

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its sender closed it: all has been read.
    Sender,
    /// It said nothing for too long.
    Idle,
    /// It broke.
    Broken,
    /// We close it: its sender may have more on the way.
    Ours,
    /// The journal takes nothing any more.
    Refused,
}

/// Reads until the end, idleness or `stop`, and then what is still on the way.
async fn serve(
    context: Context,
    config: &Config,
    mut stream: impl AsyncRead + Unpin,
    envelope: Envelope,
    stop: CancellationToken,
) {
    let mut connection = Connection::new(context, config.framing, envelope);
    let mut end = connection.read(&mut stream, config.idle, &stop, End::Idle).await;
    if stop.is_cancelled() && end == End::Ours {
        let late = CancellationToken::new();
        let timer = late.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DRAIN_WAIT).await;
            timer.cancel();
        });
        end = connection.read(&mut stream, DRAIN_QUIET, &late, End::Ours).await;
    }
    if end == End::Idle {
        SourceStats::add(&connection.context.stats.connections_idle, 1);
    }
    connection.finish(end, &stop).await;
}

/// What is known of a connection between reads.
struct Connection {
    context: Context,
    envelope: Arc<Envelope>,
    framer: Framer,
    buffer: ReadBuffer,
    held: Held,
    /// When the last bytes came; 0 = none have.
    heard_ns: i64,
}

impl Connection {
    fn new(context: Context, framing: framing::Limits, envelope: Envelope) -> Self {
        let (framer, buffer) = (Framer::new(framing), ReadBuffer::new());
        let envelope = Arc::new(envelope);
        Self { context, envelope, framer, buffer, held: Held::default(), heard_ns: 0 }
    }

    /// Every read is framed and handed over at once. Nothing for as long as `quiet` is `when_quiet`.
    async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        quiet: Duration,
        stop: &CancellationToken,
        when_quiet: End,
    ) -> End {
        loop {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Ours,
                read = tokio::time::timeout(quiet, stream.read(&mut self.buffer.bytes)) => read,
            };
            let n = match read {
                Err(_) => return when_quiet,
                Ok(Ok(0)) => return End::Sender,
                Ok(Err(_)) => return End::Broken,
                Ok(Ok(n)) => n,
            };
            let (mut batch, now) = (RawBatch::of(Arc::clone(&self.envelope)), wall_ns());
            let context = &self.context;
            self.framer.feed(&self.buffer.bytes[..n], |f| keep(context, &mut batch, now, f));
            self.heard_ns = now;
            self.buffer.fit(n);
            if !hand_over(context, batch, stop).await {
                return End::Refused;
            }
            if !self.held.fits(context, self.framer.held_bytes()) {
                return End::Ours;
            }
        }
    }

    /// Hands over what is left, with what the end means for it.
    async fn finish(mut self, end: End, stop: &CancellationToken) {
        let (mut batch, now) = (RawBatch::of(Arc::clone(&self.envelope)), wall_ns());
        let context = &self.context;
        let is_cut = !matches!(end, End::Sender | End::Idle);
        self.framer.finish(|frame| {
            let frame = match frame {
                Frame::Message(start) if is_cut => Frame::CutOff(start),
                frame => frame,
            };
            keep(context, &mut batch, now, frame);
        });
        if self.heard_ns != 0 {
            if matches!(end, End::Ours | End::Refused) {
                let gap = Gap {
                    protocol: Some(self.envelope.protocol),
                    connection: self.envelope.connection,
                    from_ns: self.heard_ns,
                    ..Gap::at(GapCause::Unread, Certainty::Possible, &context.name, now)
                };
                gap.push_to(&mut batch, 0);
            }
            // Without this the next start would fear for what this connection had under way.
            batch.push_as(RecordKind::ConnectionEnd, 0, now, b"");
        }
        hand_over(context, batch, stop).await;
    }
}

/// Puts a frame into the batch; loss becomes a gap record beside its neighbours.
fn keep(context: &Context, batch: &mut RawBatch, now: i64, frame: Frame<'_>) {
    match frame {
        Frame::Message(message) => batch.push(now, message),
        Frame::CutOff(start) => {
            batch.push(now, start);
            stream::push_gap(context, batch, now, GapCause::CutOff, 0);
        }
        Frame::Oversize { bytes } => stream::push_oversize(context, batch, now, bytes),
    }
}

/// Whether reading may go on. What the journal did not take is told to it as soon as it takes something.
async fn hand_over(context: &Context, batch: RawBatch, stop: &CancellationToken) -> bool {
    if batch.is_empty() {
        return true;
    }
    let envelope = batch.envelopes.first().cloned();
    let lost = batch.records.iter().filter(|record| record.kind == RecordKind::Data);
    let (lost, bytes) = lost.fold((0, 0), |(count, sum), r| (count + 1, sum + u64::from(r.len)));
    if context.submit(batch, stop, |_| ()).await.is_ok() {
        return true;
    }
    if let Some(envelope) = envelope.filter(|_| lost > 0) {
        let gap = Gap {
            protocol: Some(envelope.protocol),
            connection: envelope.connection,
            count: lost,
            bytes,
            ..Gap::at(GapCause::Refused, Certainty::Known, &context.name, wall_ns())
        };
        let mut telling = RawBatch::of(envelope);
        gap.push_to(&mut telling, 0);
        let _ = context.submit(telling, stop, |_| ()).await;
    }
    false
}
