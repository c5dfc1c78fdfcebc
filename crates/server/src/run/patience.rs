//! How long the other side of an HTTP connection may take: for its next request, for the body of one, and
//! for taking an answer. Whoever takes longer holds a place that others wait for.
//!
//! ```text
//! connected --FIRST_WAIT--> request --BODY_WAIT, BODY_RATE--> answer --READER_WAIT--> quiet --QUIET_WAIT--> closed
//! ```
//!
//! What the server itself takes for an answer is nobody's fault, and is not counted here.

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A new connection brings its first request within this time.
pub const FIRST_WAIT: Duration = Duration::from_secs(10);
/// A connection whose requests are all answered is kept for this long.
const QUIET_WAIT: Duration = Duration::from_secs(60);
/// A reader takes [`READER_BYTES`] of what he is sent within this time.
const READER_WAIT: Duration = Duration::from_secs(60);
/// See [`READER_WAIT`]; less would let pings keep a connection.
const READER_BYTES: u64 = 4 << 10;
/// A body is there after this time, and that of its bytes at [`BODY_RATE`].
const BODY_WAIT: Duration = Duration::from_secs(20);
/// The slowest honest line, bytes per second.
const BODY_RATE: u64 = 1 << 10;
/// How often a connection is looked at: a limit is kept with this precision.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a connection is waiting for.
#[derive(Clone)]
pub struct Pulse {
    beat: Arc<Mutex<Beat>>,
    sent_bytes: Arc<AtomicU64>,
}

struct Beat {
    /// Requests so far; also the next one's number.
    requests: u64,
    /// Requests without a whole answer.
    owed: usize,
    /// Since when nothing is owed.
    quiet_since: Instant,
    /// Answers that wait for their reader, since when.
    untaken: HashMap<u64, Instant>,
    /// When the reader had last taken [`READER_BYTES`], and what he had taken then.
    took: (Instant, u64),
}

impl Pulse {
    /// Of a connection that begins now.
    pub fn begin() -> Self {
        let now = Instant::now();
        let beat = Beat {
            requests: 0,
            owed: 0,
            quiet_since: now,
            untaken: HashMap::new(),
            took: (now, 0),
        };
        Self { beat: Arc::new(Mutex::new(beat)), sent_bytes: Arc::default() }
    }

    /// A request came; it is owed an answer until the result is dropped.
    pub fn request(&self) -> Owed {
        let mut beat = self.beat.lock();
        beat.requests += 1;
        beat.owed += 1;
        Owed { pulse: self.clone(), number: beat.requests }
    }

    /// Returns when the other side has taken longer than it may.
    pub async fn stalls(&self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let now = look.tick().await;
            if self.is_stalled(now) {
                return;
            }
        }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        let mut beat = self.beat.lock();
        let sent_bytes = self.sent_bytes.load(Relaxed);
        if sent_bytes - beat.took.1 >= READER_BYTES {
            beat.took = (now, sent_bytes);
        }
        let took = beat.took.0;
        let is_over = |since: Instant, wait| now.duration_since(since.max(took)) >= wait;
        match (beat.requests, beat.owed) {
            (0, _) => now.duration_since(beat.quiet_since) >= FIRST_WAIT,
            (_, 0) => is_over(beat.quiet_since, QUIET_WAIT),
            // An answer that nobody takes stalls a connection when no other one goes on beside it.
            (_, owed) => {
                let mut untaken = beat.untaken.values();
                untaken.len() == owed && untaken.all(|since| is_over(*since, READER_WAIT))
            }
        }
    }
}

/// A connection's bytes, counted as they leave.
pub struct Counted<S> {
    stream: S,
    pulse: Pulse,
}

impl<S> Counted<S> {
    /// The stream of the connection with this pulse.
    pub fn new(stream: S, pulse: &Pulse) -> Self {
        Self { stream, pulse: pulse.clone() }
    }

    fn count(&self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.pulse.sent_bytes.fetch_add(bytes as u64, Relaxed);
        }
        written
    }
}

impl<S: Read + Unpin> Read for Counted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: Write + Unpin> Write for Counted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.count(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        this.count(written)
    }
}

/// An answer that a connection owes.
pub struct Owed {
    pulse: Pulse,
    number: u64,
}

impl Owed {
    /// The reader has asked for more, or has to take what he was given.
    fn asked(&self, has_to_take: bool) {
        let mut beat = self.pulse.beat.lock();
        match has_to_take {
            true => beat.untaken.insert(self.number, Instant::now()),
            false => beat.untaken.remove(&self.number),
        };
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        let mut beat = self.pulse.beat.lock();
        beat.untaken.remove(&self.number);
        beat.owed -= 1;
        beat.quiet_since = Instant::now();
    }
}

/// The body of an answer. A connection asks for the next piece when the one before has left.
pub struct Answer {
    body: axum::body::Body,
    owed: Owed,
}

impl Answer {
    /// The answer to a request.
    pub fn new(body: axum::body::Body, owed: Owed) -> Self {
        Self { body, owed }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.owed.asked(false);
        let piece = ready!(Pin::new(&mut this.body).poll_frame(cx));
        this.owed.asked(true);
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which has to arrive at an honest rate.
pub struct Upload {
    body: Incoming,
    began: Instant,
    received_bytes: u64,
    late: Pin<Box<Sleep>>,
}

/// A body came too slowly.
#[derive(Debug, thiserror::Error)]
#[error(
    "the body came too slowly; after the first {} s it has to come at {BODY_RATE} bytes per second",
    BODY_WAIT.as_secs()
)]
pub struct TooSlow;

impl Upload {
    /// The body of a request that begins now.
    pub fn new(body: Incoming) -> Self {
        let (began, late) = (Instant::now(), Box::pin(tokio::time::sleep(BODY_WAIT)));
        Self { body, began, received_bytes: 0, late }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(piece) = Pin::new(&mut this.body).poll_frame(cx) {
            let data = piece.as_ref().and_then(|p| p.as_ref().ok()?.data_ref());
            this.received_bytes += data.map_or(0, |bytes| bytes.len() as u64);
            return Poll::Ready(piece.map(|piece| piece.map_err(Into::into)));
        }
        loop {
            let allowed = BODY_WAIT + Duration::from_secs(this.received_bytes / BODY_RATE);
            let due = this.began + allowed;
            if Instant::now() >= due {
                return Poll::Ready(Some(Err(TooSlow.into())));
            }
            if this.late.deadline() != due {
                this.late.as_mut().reset(due);
            }
            ready!(this.late.as_mut().poll(cx));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: who never asks goes first, who asked is kept longer, who is being answered is kept
    /// whatever the answer takes; a reader who takes nothing is not, unless another answer goes on.
    #[test]
    fn a_connection_goes_when_the_other_side_takes_too_long() {
        let pulse = Pulse::begin();
        let stalled = |s: u64| pulse.is_stalled(Instant::now() + Duration::from_secs(s));
        assert!(!stalled(9) && stalled(10));
        let (one, two) = (pulse.request(), pulse.request());
        assert!(!stalled(3600));
        one.asked(true);
        assert!(!stalled(3600), "the second is being made");
        two.asked(true);
        assert!(!stalled(59) && stalled(60));
        one.asked(false);
        assert!(!stalled(3600), "it was taken");
        drop((one, two));
        assert!(!stalled(59) && stalled(60));
        // What is left of an answer goes out slowly: that is no silence; pings are.
        pulse.sent_bytes.fetch_add(17, Relaxed);
        assert!(stalled(60));
        pulse.sent_bytes.fetch_add(READER_BYTES, Relaxed);
        assert!(!stalled(60));
    }
}
