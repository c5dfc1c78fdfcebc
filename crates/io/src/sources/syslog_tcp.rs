//! Syslog over TCP and TLS (RFC 6587, RFC 5425). The protocol has no answer; a journal that says
//! "not now" stops the reading, which closes the TCP window.

use super::listener::{self, Caps};
use super::stream::{self, Held, ReadBuffer};
use crate::framing::{self, Frame, Framer};
use crate::intake::{Context, wall_ns};
use crate::running::Running;
use crate::stats::SourceStats;
use event::{Envelope, GapCause, Protocol, RawBatch, RecordKind};
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
            let met = stream::meet(&context, tls, protocol, stream, peer, &place).await;
            if let Some((stream, envelope)) = met {
                serve(context, &config, stream, envelope, stop).await;
            }
        }
    };
    listener::start(kind, address, caps, &context, connection).await
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
    let mut held = Held::default();
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
        if !held.fits(&context, framer.held_bytes()) {
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

/// Whether reading may go on.
async fn hand_over(context: &Context, batch: RawBatch, stop: &CancellationToken) -> bool {
    batch.is_empty() || context.submit(batch, stop, |_| ()).await.is_ok()
}
