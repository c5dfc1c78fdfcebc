//! The door to the journal, and the byte budget in front of it.
//!
//! A source builds a [`RawBatch`] and calls [`Context::submit`], which waits for room in the
//! source's [`Budget`], offers the batch to the [`Intake`] until it is taken, and calls back once
//! the batch is durable (or has failed). While it waits the source does not read.

use crate::stats::SourceStats;
use event::{Durable, Envelope, RawBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// What is called when the fate of a batch is known. May run on the journal's writer thread: it
/// must not block.
pub type Done = Box<dyn FnOnce(Result<Durable, IntakeError>) + Send>;

/// Whatever makes batches durable: the journal, or a recorder in tests.
pub trait Intake: Send + Sync + 'static {
    /// Takes over `batch` and calls `done` exactly once when it is durable or has failed; or gives
    /// the batch back at once, without calling `done`. Never blocks.
    fn submit(&self, batch: RawBatch, done: Done) -> Result<(), Refused>;
}

/// A taken batch did not become durable; the sender must not be told yes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch was not made durable: {reason}; the sender has to send it again")]
pub struct IntakeError {
    /// What the journal said.
    pub reason: String,
}

/// A batch that was not taken, with the reason.
#[derive(Debug)]
pub struct Refused {
    /// The batch, untouched.
    pub batch: Box<RawBatch>,
    /// Why.
    pub cause: RefusedCause,
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedCause {
    /// The source has more under way than its share; passes by itself.
    #[error("this source has more under way than its share; slow down")]
    OverShare,
    /// Too much is waiting already; passes by itself.
    #[error("the journal has too much waiting; try again shortly")]
    Overloaded,
    /// The disk budget is spent; passes when space is freed.
    #[error("the journal's disk budget is spent; free space or raise the budget")]
    DiskFull,
    /// Writing failed; passes when the journal has recovered.
    #[error("the journal cannot write; see its fault state")]
    Faulted,
    /// The journal is shutting down; does not pass.
    #[error("the journal is closed")]
    Closed,
    /// The batch itself cannot be taken (too large, malformed); does not pass.
    #[error("the batch breaks a limit of the journal")]
    Invalid,
}

impl RefusedCause {
    /// Whether offering the same batch again can succeed.
    pub fn passes(self) -> bool {
        !matches!(self, Self::Closed | Self::Invalid)
    }
}

impl Intake for journal::Appender {
    fn submit(&self, batch: RawBatch, done: Done) -> Result<(), Refused> {
        use journal::AppendError;
        let answer = |outcome: Result<Durable, AppendError>| {
            done(outcome.map_err(|e| IntakeError { reason: e.to_string() }));
        };
        self.append(batch, answer).map_err(|rejected| {
            let cause = match rejected.why {
                AppendError::Overloaded { .. } => RefusedCause::Overloaded,
                AppendError::DiskFull => RefusedCause::DiskFull,
                AppendError::Faulted => RefusedCause::Faulted,
                AppendError::Closed => RefusedCause::Closed,
                AppendError::Invalid { .. }
                | AppendError::OutOfOrder { .. }
                | AppendError::Fork { .. } => RefusedCause::Invalid,
            };
            Refused { batch: rejected.batch, cause }
        })
    }
}

/// Bytes a source may have between its sockets and durability, unless configured otherwise: at
/// 100 MB/s it covers a third of a second of journal stall.
pub const IN_FLIGHT_BYTES_DEFAULT: usize = 32 << 20;

/// Bytes all connections of a source may hold of frames that are not complete yet, beyond
/// [`HELD_BYTES_FREE`] each: 64 of the longest default frames at once.
pub const HELD_BYTES_DEFAULT: usize = 64 << 20;

/// Bytes of an incomplete frame every connection may hold without being charged, so that ordinary
/// messages get through whatever others do: 64 MiB at the default cap of 4,096 connections.
pub const HELD_BYTES_FREE: usize = 16 << 10;

/// Smallest amount one record is charged, for what it costs besides its bytes.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// A source's allowance of bytes that are read but not durable yet.
#[derive(Clone, Debug)]
pub struct Budget {
    room: Arc<Semaphore>,
    size_bytes: usize,
}

impl Budget {
    /// A budget of `size_bytes` (at least one).
    pub fn new(size_bytes: usize) -> Self {
        let size_bytes = size_bytes.clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(size_bytes)), size_bytes }
    }

    /// Bytes taken and not given back yet.
    pub fn in_flight_bytes(&self) -> usize {
        self.size_bytes.saturating_sub(self.room.available_permits())
    }

    /// Waits for room; dropping the result gives it back. More than the whole budget counts as the
    /// whole budget, so one huge batch still passes, alone.
    pub async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let permits = u32::try_from(bytes.clamp(1, self.size_bytes)).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.room).acquire_many_owned(permits).await;
        taken.expect("the semaphore is never closed")
    }

    /// Room right now, or `None`; dropping the result gives it back.
    pub fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes).ok()?;
        Arc::clone(&self.room).try_acquire_many_owned(permits).ok()
    }

    /// Waits until nothing is in flight.
    pub async fn drained(&self) {
        drop(self.take(self.size_bytes).await);
    }
}

/// Bytes of all sources together between sockets and durability. Below the journal's own limit of
/// 64 MiB, so that the door decides who waits, not chance.
pub const DOOR_BYTES_DEFAULT: usize = 48 << 20;

/// The door all sources share. A source may hold no more than what is still free (dynamic thresholds,
/// Choudhury and Hahne 1998): alone it gets half of the door, of two floods each gets a third, and
/// there is always room for the one that has been quiet.
#[derive(Clone, Debug)]
pub struct Door {
    used: Arc<AtomicUsize>,
    size_bytes: usize,
    freed: Arc<tokio::sync::Notify>,
}

/// A source's place in a [`Door`].
#[derive(Clone, Debug)]
pub struct Lane {
    door: Door,
    used: Arc<AtomicUsize>,
}

/// Bytes that a source holds; dropping it gives them back.
#[derive(Debug)]
pub struct Pass {
    lane: Lane,
    bytes: usize,
}

impl Door {
    /// A door for `size_bytes` (at least one).
    pub fn new(size_bytes: usize) -> Self {
        let (used, freed) = (Arc::default(), Arc::default());
        Self { used, size_bytes: size_bytes.max(1), freed }
    }

    /// Bytes under way now, of all sources.
    pub fn used_bytes(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// What may be under way.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// A new source's place.
    pub fn lane(&self) -> Lane {
        Lane { door: self.clone(), used: Arc::default() }
    }
}

impl Lane {
    /// Bytes of this source under way.
    pub fn used_bytes(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// The door.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Room right now, or whose fault it is that there is none. A source that holds nothing gets
    /// through with a batch of any size while the door is not full.
    pub fn try_take(&self, bytes: usize) -> Result<Pass, Overload> {
        let free = self.door.size_bytes.saturating_sub(self.door.used.load(SeqCst));
        let own = self.used.load(SeqCst);
        if free == 0 {
            return Err(Overload::Everybody);
        }
        if own > 0 && own.saturating_add(bytes) > free {
            return Err(Overload::OwnShare);
        }
        self.used.fetch_add(bytes, SeqCst);
        self.door.used.fetch_add(bytes, SeqCst);
        Ok(Pass { lane: self.clone(), bytes })
    }

    /// Waits for room.
    pub async fn take(&self, bytes: usize) -> Pass {
        loop {
            let freed = self.door.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Ok(pass) = self.try_take(bytes) {
                return pass;
            }
            freed.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.lane.used.fetch_sub(self.bytes, SeqCst);
        self.lane.door.used.fetch_sub(self.bytes, SeqCst);
        self.lane.door.freed.notify_waiters();
    }
}

/// Whose fault an overload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// This source is above its share; others get through.
    OwnShare,
    /// All sources together are too much.
    Everybody,
}

/// What a sender is told that cannot be served now, for each protocol that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status. 429 and 503 are those that every client repeats after.
    pub http: u16,
    /// `Retry-After`, and gRPC's `RetryInfo`, s.
    pub retry_after_s: u32,
    /// gRPC status: 8 `RESOURCE_EXHAUSTED` (with `RetryInfo`) or 14 `UNAVAILABLE`.
    pub grpc: u8,
    /// Splunk HEC code: 9, server is busy.
    pub hec: u8,
    /// Elasticsearch item status and error type.
    pub bulk: (u16, &'static str),
}

impl RefusedCause {
    /// What the sender is told; `None` when sending again cannot help.
    pub fn answer(self) -> Option<Answer> {
        let bulk = (429, "es_rejected_execution_exception");
        let own = Answer { http: 429, retry_after_s: 1, grpc: 8, hec: 9, bulk };
        Some(match self {
            Self::OverShare => own,
            Self::Overloaded => Answer { http: 503, grpc: 14, ..own },
            // Space and faults take people; asking every second only adds load.
            Self::DiskFull | Self::Faulted => {
                Answer { http: 503, grpc: 14, retry_after_s: 10, ..own }
            }
            Self::Closed => Answer { http: 503, grpc: 14, retry_after_s: 5, ..own },
            Self::Invalid => return None,
        })
    }
}

/// What every source is given: its name, the door, its counters and its budget.
#[derive(Clone)]
pub struct Context {
    /// Name of the configured source.
    pub name: Arc<str>,
    /// Pack the source is configured to, or empty for automatic detection.
    pub pack: Arc<str>,
    /// The door to the journal.
    pub intake: Arc<dyn Intake>,
    /// The source's counters.
    pub stats: Arc<SourceStats>,
    /// The source's byte budget.
    pub budget: Budget,
    /// What its connections may hold of incomplete frames.
    pub holding: Budget,
    /// Its place at the door that all sources share.
    pub lane: Lane,
}

/// First and longest pause between two offers of a refused batch.
const OFFER_PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));

impl Context {
    /// A context with fresh counters and the default budget.
    pub fn new(name: &str, intake: Arc<dyn Intake>) -> Self {
        Self {
            name: name.into(),
            pack: "".into(),
            intake,
            stats: Arc::default(),
            budget: Budget::new(IN_FLIGHT_BYTES_DEFAULT),
            holding: Budget::new(HELD_BYTES_DEFAULT),
            lane: Door::new(DOOR_BYTES_DEFAULT).lane(),
        }
    }

    /// The same source at the door that it shares with others.
    #[must_use]
    pub fn at(self, door: &Door) -> Self {
        Self { lane: door.lane(), ..self }
    }

    /// Hands `batch` to the journal if there is room now: for protocols whose senders are told, and
    /// keep what was refused. `done` gets the outcome; it runs on the journal's thread.
    ///
    /// # Errors
    /// The cause, see [`RefusedCause::answer`]; then `done` is not called and the records are
    /// counted as refused.
    pub fn offer(
        &self,
        batch: RawBatch,
        done: impl FnOnce(Result<Durable, IntakeError>) + Send + 'static,
    ) -> Result<(), RefusedCause> {
        let records = self.count(&batch);
        let bytes = cost(&batch);
        let refuse = |cause| {
            SourceStats::add(&self.stats.refused_records, records);
            Err(cause)
        };
        let pass = match self.lane.try_take(bytes) {
            Ok(pass) => pass,
            Err(Overload::OwnShare) => return refuse(RefusedCause::OverShare),
            Err(Overload::Everybody) => return refuse(RefusedCause::Overloaded),
        };
        let Some(room) = self.budget.try_take(bytes.min(self.budget.size_bytes)) else {
            return refuse(RefusedCause::OverShare);
        };
        let counted = Counted { stats: Arc::clone(&self.stats), records, done };
        let callback: Done = Box::new(move |outcome| {
            drop((pass, room));
            counted.finish(outcome);
        });
        self.intake.submit(batch, callback).or_else(|refused| refuse(refused.cause))
    }

    /// Counts what came in; returns the number of its events.
    fn count(&self, batch: &RawBatch) -> u64 {
        let events = batch.records.iter().filter(|r| r.kind == event::RecordKind::Data).count();
        SourceStats::add(&self.stats.received_records, events as u64);
        SourceStats::add(&self.stats.received_bytes, batch.bytes.len() as u64);
        events as u64
    }

    /// The envelope of records that came over `protocol` to this source.
    pub fn envelope(&self, protocol: event::Protocol) -> Envelope {
        Envelope { pack: Arc::clone(&self.pack), ..Envelope::of(&self.name, protocol) }
    }

    /// Hands `batch` to the journal, waiting as long as the budget or the journal says "not now".
    /// `done` gets the outcome; it runs on the journal's thread.
    ///
    /// # Errors
    /// The cause when the batch can never be taken, or when `stop` fired while the journal kept
    /// refusing. Then `done` is not called and the records are counted as refused.
    pub async fn submit(
        &self,
        batch: RawBatch,
        stop: &CancellationToken,
        done: impl FnOnce(Result<Durable, IntakeError>) + Send + 'static,
    ) -> Result<(), RefusedCause> {
        let records = self.count(&batch);
        let bytes = cost(&batch);
        // The own allowance first: whoever waits for it must not hold a place at the door.
        let room = self.budget.take(bytes).await;
        let room = (room, self.lane.take(bytes).await);
        let done = Counted { stats: Arc::clone(&self.stats), records, done };
        let done = Arc::new(parking_lot::Mutex::new(Some((done, room))));
        let mut batch = batch;
        let mut pause = OFFER_PAUSE.0;
        loop {
            let call = Arc::clone(&done);
            let callback: Done = Box::new(move |outcome| {
                // The refused offers' boxes are dropped uncalled, so this runs once.
                let taken = call.lock().take();
                if let Some((counted, room)) = taken {
                    drop(room);
                    counted.finish(outcome);
                }
            });
            let refused = match self.intake.submit(batch, callback) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if !refused.cause.passes() || stop.is_cancelled() {
                SourceStats::add(&self.stats.refused_records, records);
                return Err(refused.cause);
            }
            SourceStats::add(&self.stats.waits, 1);
            batch = *refused.batch;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            pause = (pause * 2).min(OFFER_PAUSE.1);
        }
    }
}

/// What a batch is charged.
fn cost(batch: &RawBatch) -> usize {
    batch.bytes.len() + batch.records.len() * RECORD_OVERHEAD_BYTES
}

/// A callback that counts the outcome before it passes it on.
struct Counted<F> {
    stats: Arc<SourceStats>,
    records: u64,
    done: F,
}

impl<F: FnOnce(Result<Durable, IntakeError>)> Counted<F> {
    fn finish(self, outcome: Result<Durable, IntakeError>) {
        match &outcome {
            Ok(_) => SourceStats::add(&self.stats.durable_records, self.records),
            Err(_) => SourceStats::add(&self.stats.refused_records, self.records),
        }
        (self.done)(outcome);
    }
}

/// The wall clock, ns since 1970-01-01 UTC: the stamp of receipt. The only clock in the intake.
pub fn wall_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_room_and_is_told_that_it_is_its_own() {
        let door = Door::new(1000);
        let (flood, quiet, second) = (door.lane(), door.lane(), door.lane());
        let mut held = Vec::new();
        let refused = loop {
            match flood.try_take(10) {
                Ok(pass) => held.push(pass),
                Err(why) => break why,
            }
        };
        assert_eq!((refused, flood.used_bytes()), (Overload::OwnShare, 500));
        assert!(quiet.try_take(300).is_ok());
        let pass = second.try_take(200).unwrap();
        assert!(second.try_take(200).is_err() && quiet.try_take(300).is_ok());
        drop((pass, held));
        assert_eq!((door.used_bytes(), flood.used_bytes()), (0, 0));
        // One huge batch still passes, alone; then the door is everybody's trouble.
        let _huge = flood.try_take(5000).unwrap();
        assert_eq!(quiet.try_take(1).err(), Some(Overload::Everybody));
    }

    #[test]
    fn answers_are_those_that_clients_repeat_after() {
        use RefusedCause::*;
        for cause in [OverShare, Overloaded, DiskFull, Faulted, Closed] {
            let answer = cause.answer().unwrap();
            assert!(matches!(answer.http, 429 | 503) && answer.retry_after_s > 0);
            assert!(matches!(answer.grpc, 8 | 14) && answer.bulk.0 == 429);
        }
        assert_eq!(
            (OverShare.answer().unwrap().http, Overloaded.answer().unwrap().http),
            (429, 503)
        );
        assert_eq!(Invalid.answer(), None);
    }
}
