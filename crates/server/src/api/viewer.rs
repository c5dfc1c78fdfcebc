//! A live view: server-sent events for a reader who may be slow. Nothing waits for him: what he does not
//! take in time is left out, and he is told how much.

use axum::response::sse::{Event, KeepAlive, KeepAliveStream, Sse};
use futures::stream::{Stream, StreamExt};
use io::Budget;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Events that wait for a reader.
const WAITING_MAX: usize = 1_024;
/// Their bytes: a second of a full live view.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// A reader who takes nothing for this long is gone.
pub const READER_WAIT_MAX: Duration = Duration::from_secs(60);

type Waiting = (Event, OwnedSemaphorePermit);

/// The end into which events are put.
pub struct Viewer {
    tell: mpsc::Sender<Waiting>,
    room: Budget,
    took: Instant,
    /// What waited for him when it was last looked at, bytes.
    waited: usize,
    /// There was no room for something; there is again when half of it is free.
    is_full: bool,
}

/// Both ends of a live view.
pub fn viewer() -> (Viewer, impl Stream<Item = Result<Event, Infallible>>) {
    let (tell, told) = mpsc::channel::<Waiting>(WAITING_MAX);
    let room = Budget::new(WAITING_BYTES_MAX);
    let viewer = Viewer { tell, room, took: Instant::now(), waited: 0, is_full: false };
    // Its room is given back when the connection has taken it.
    (viewer, ReceiverStream::new(told).map(|(event, _room)| Ok(event)))
}

impl Viewer {
    /// Whether there is room for more: making what is not taken would cost others.
    pub fn has_room(&mut self) -> bool {
        let waits = self.room.in_flight_bytes();
        if waits < self.waited || waits == 0 {
            self.took = Instant::now();
        }
        self.waited = waits;
        self.is_full &= waits > WAITING_BYTES_MAX / 2 || self.tell.capacity() < WAITING_MAX / 2;
        !self.is_full
    }

    /// Hands over an event of this kind; whether the reader had room for it. Breaks when he is gone, or
    /// has taken nothing for a minute.
    pub fn put(&mut self, kind: &str, data: &str) -> ControlFlow<(), bool> {
        let bytes = data.len().max(1);
        let room = if self.has_room() { self.room.try_take(bytes) } else { None };
        let is_sent = room.is_some_and(|room| {
            self.tell.try_send((Event::default().event(kind).data(data), room)).is_ok()
        });
        self.is_full = !is_sent;
        self.waited += if is_sent { bytes } else { 0 };
        if self.tell.is_closed() || self.took.elapsed() >= READER_WAIT_MAX {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(is_sent)
    }
}

/// Server-sent events with a heartbeat.
pub fn sse<S>(stream: S) -> Sse<KeepAliveStream<S>>
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    Sse::new(stream).keep_alive(KeepAlive::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a reader who takes nothing holds 4 MiB and not more, gets on when he has taken half of it,
    /// and is let go of after a minute; one that is gone is told of at once.
    #[tokio::test]
    async fn a_reader_who_takes_nothing_misses_and_holds_little() {
        let (mut viewer, told) = viewer();
        let mut told = Box::pin(told);
        let row = "x".repeat(1 << 20);
        let taken: Vec<bool> =
            (0..6).map(|_| viewer.put("row", &row).continue_value().unwrap()).collect();
        assert_eq!(taken, [true, true, true, true, false, false]);
        assert!(told.next().await.is_some());
        assert_eq!(viewer.put("row", &row), ControlFlow::Continue(false));
        assert!(!viewer.has_room());
        assert!(told.next().await.is_some());
        assert!(viewer.has_room());
        assert_eq!(viewer.put("row", &row), ControlFlow::Continue(true));
        assert_eq!(viewer.put("row", &row.repeat(2)), ControlFlow::Continue(false));
        // As long as he takes anything he is there.
        viewer.took -= READER_WAIT_MAX;
        assert!(told.next().await.is_some());
        assert_eq!(viewer.put("row", &row.repeat(3)), ControlFlow::Continue(false));
        viewer.took -= READER_WAIT_MAX;
        assert_eq!(viewer.put("row", &row), ControlFlow::Break(()));
        drop(told);
        assert_eq!(viewer.put("row", "short"), ControlFlow::Break(()));
    }
}
