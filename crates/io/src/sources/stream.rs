//! What sources over streams share: the handshake and whom a connection is from, what is read into,
//! room for incomplete messages, gaps, and answers in order.

use super::listener::Place;
use crate::intake::{Context, HELD_BYTES_FREE};
use crate::stats::SourceStats;
use event::{Certainty, Envelope, Gap, GapCause, Protocol, RawBatch};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// A TLS handshake takes a few round trips; whoever needs longer holds a place for nothing.
pub(super) const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// After a stop, so long for a peer that does not do its part, be it the rest of a handshake or taking
/// answers: well below what a source has for its end, so that one peer does not cost the others theirs.
const STOPPED_WAIT: Duration = Duration::from_secs(2);

/// Comes [`STOPPED_WAIT`] after `stop`; never without one.
async fn long_after(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOPPED_WAIT).await;
}

/// A connection's bytes in both directions, with or without TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The connection behind its handshake, if it has one, and the envelope of what comes over it: the
/// identity is that of the client's certificate. `None`, counted, without a handshake in time; not counted
/// if it is a stop that leaves no time.
pub(super) async fn meet(
    context: &Context,
    tls: Option<&Arc<rustls::ServerConfig>>,
    protocol: Protocol,
    stream: TcpStream,
    peer: IpAddr,
    place: &Place,
    stop: &CancellationToken,
) -> Option<(Box<dyn Duplex>, Envelope)> {
    let mut envelope = context.envelope(protocol);
    envelope.peer = peer.to_string().into();
    envelope.connection = place.number;
    let Some(tls) = tls else { return Some((Box::new(stream), envelope)) };
    let Some(stream) = secure(Arc::clone(tls), stream, stop).await else {
        if !stop.is_cancelled() {
            SourceStats::add(&context.stats.auth_failures, 1);
        }
        return None;
    };
    let chain = stream.get_ref().1.peer_certificates();
    if let Some(identity) = chain.and_then(crate::tls::identity) {
        envelope.identity = identity.into();
    }
    Some((Box::new(stream), envelope))
}

/// The connection after its TLS handshake; `None` when there was none in time.
pub(super) async fn secure(
    tls: Arc<rustls::ServerConfig>,
    stream: TcpStream,
    stop: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let handshake = tokio_rustls::TlsAcceptor::from(tls).accept(stream);
    let handshake = tokio::time::timeout(HANDSHAKE_WAIT, handshake);
    tokio::select! {
        biased;
        met = handshake => met.ok()?.ok(),
        () = long_after(stop) => None,
    }
}

/// Bytes per read, at first and at most: a sender that fills them is given more, so that thousands of
/// quiet connections hold little. More than the most gives nothing, since a read returns what the
/// kernel has.
const READ_BYTES: (usize, usize) = (4 << 10, 64 << 10);

/// So many reads in a row that fill less than an eighth give a buffer back.
const SMALL_READS: u32 = 64;

/// The buffer of a connection: as large as what its sender sends at once.
pub(super) struct ReadBuffer {
    pub(super) bytes: Vec<u8>,
    small_reads: u32,
}

impl ReadBuffer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; READ_BYTES.0], small_reads: 0 }
    }

    /// The next read should have as much room as this one, which gave `n` bytes, makes likely.
    pub(super) fn fit(&mut self, n: usize) {
        let size = self.bytes.len();
        self.small_reads = if n < size / 8 { self.small_reads + 1 } else { 0 };
        if n == size && size < READ_BYTES.1 {
            self.bytes = vec![0; size * 4];
        } else if self.small_reads == SMALL_READS && size > READ_BYTES.0 {
            *self = Self::new();
        }
    }
}

/// Room for an incomplete message is taken in steps of this size.
const HELD_STEP_BYTES: usize = 64 << 10;

/// What a connection is charged for an incomplete message.
#[derive(Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    /// Charges what the connection holds; false, counted, when all connections together hold too
    /// much. Whoever needs more then is closed rather than made to wait: its rest may never come.
    pub(super) fn fits(&mut self, context: &Context, held_bytes: usize) -> bool {
        let wanted = held_bytes.saturating_sub(HELD_BYTES_FREE).next_multiple_of(HELD_STEP_BYTES);
        let taken = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if wanted == 0 {
            self.0 = None;
        } else if wanted > taken {
            let Some(more) = context.holding.try_take(wanted - taken) else {
                SourceStats::add(&context.stats.connections_holding, 1);
                return false;
            };
            match &mut self.0 {
                Some(room) => room.merge(more),
                None => self.0 = Some(more),
            }
        }
        true
    }
}

/// Puts the record of a message that is not whole beside its neighbours. `bytes` are those that are
/// missing, 0 when nobody knows.
pub(super) fn push_gap(
    context: &Context,
    batch: &mut RawBatch,
    now: i64,
    cause: GapCause,
    bytes: u64,
) {
    let first = batch.envelopes.first();
    let gap = Gap {
        protocol: first.map(|e| e.protocol),
        connection: first.map_or(0, |e| e.connection),
        count: 1,
        bytes,
        ..Gap::at(cause, Certainty::Known, &context.name, now)
    };
    gap.push_to(batch, 0);
}

/// The same for bytes over the limit, which are counted.
pub(super) fn push_oversize(context: &Context, batch: &mut RawBatch, now: i64, bytes: u64) {
    SourceStats::add(&context.stats.oversize_records, 1);
    SourceStats::add(&context.stats.oversize_bytes, bytes);
    push_gap(context, batch, now, GapCause::Oversize, bytes);
}

/// Puts what is numbered from 0 on and comes in any order back into its order.
pub(super) struct InOrder<T> {
    early: BTreeMap<u64, T>,
    next: u64,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self { early: BTreeMap::new(), next: 0 }
    }
}

impl<T> InOrder<T> {
    pub(super) fn put(&mut self, number: u64, what: T) {
        self.early.insert(number, what);
    }

    /// The next one, if it has come.
    pub(super) fn next(&mut self) -> Option<T> {
        let next = self.early.remove(&self.next)?;
        self.next += 1;
        Some(next)
    }
}

/// Longest time a peer may take to accept a few bytes.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// [`write`], and no longer than [`STOPPED_WAIT`] after `stop`.
///
/// # Errors
/// As [`write`]; [`io::ErrorKind::Interrupted`] when the stop does not leave the peer more time.
pub(super) async fn write_until(
    writer: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    stop: &CancellationToken,
) -> io::Result<()> {
    tokio::select! {
        biased;
        written = write(writer, bytes) => written,
        () = long_after(stop) => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Writes and flushes.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when the peer does not take them.
pub(super) async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    let written = tokio::time::timeout(WRITE_WAIT, write).await;
    written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_early_waits_for_what_is_before_it() {
        let mut order = InOrder::default();
        order.put(1, 'b');
        assert_eq!(order.next(), None);
        order.put(0, 'a');
        order.put(3, 'd');
        assert_eq!([order.next(), order.next(), order.next()], [Some('a'), Some('b'), None]);
        order.put(2, 'c');
        assert_eq!([order.next(), order.next(), order.next()], [Some('c'), Some('d'), None]);
    }
}
