//! The door to the journal, and the byte budget in front of it.
//!
//! A source builds a [`RawBatch`] and calls [`Context::submit`], which waits for room in the
//! source's [`Budget`], offers the batch to the [`Intake`] until it is taken, and calls back once
//! the batch is durable (or has failed). While it waits the source does not read.

use crate::door::{DOOR_BYTES_DEFAULT, Door, Lane, Overload, Pass, Shut};
use crate::stats::SourceStats;
use event::{Durable, Envelope, RawBatch};
use std::sync::Arc;
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

    /// The last durable record of a numbering sender: epoch, number, CRC-32C of its bytes.
    fn last_of(&self, producer: u128) -> Option<(u64, u64, u32)> {
        let _ = producer;
        None
    }
}

/// A taken batch did not become durable; the sender must not be told yes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch was not made durable: {reason}")]
pub struct IntakeError {
    /// What the journal said.
    pub reason: String,
    /// Whether sending it again can help.
    pub fate: Fate,
}

/// What becomes of a batch that was taken and did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The sender has to send it again.
    Again,
    /// Its numbers leave some out: the sender has to start with `expected_seq`.
    OutOfOrder {
        /// The number that has to come next.
        expected_seq: u64,
    },
    /// It has other bytes under a number that is stored: its sender is a copy of the one that is
    /// known, or came back from an older state. Sending it again cannot help.
    Fork {
        /// The number.
        seq: u64,
    },
    /// It breaks a rule of the journal, such as another body under one idempotency key.
    Never,
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
    #[error("more comes in than the server's disk takes; send it again shortly")]
    Overloaded,
    /// The memory limit is nearly reached; passes by itself unless the limit is too small.
    #[error(
        "the server is at its memory limit; send it again shortly (its operator: `problems` in the \
         overview tells whether `limits: {{memory: ...}}` is too small)"
    )]
    MemoryShort,
    /// Less space is free than has to stay free; passes when there is space.
    #[error(
        "the server's disk is full; send it again later (its operator: free space, it goes on by itself)"
    )]
    DiskFull,
    /// Writing failed twice in a row; passes with a restart.
    #[error(
        "the server cannot write to its disk; send it again later (its operator: the log tells what \
         failed, a restart tries anew)"
    )]
    Faulted,
    /// The server is shutting down.
    #[error("the server is shutting down; send it again to the next one")]
    Closed,
    /// The batch itself cannot be taken (too large, malformed); does not pass.
    #[error("the batch breaks a limit of the server: it has too many records or too long ones")]
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
        let failed = |error: AppendError| {
            let fate = match &error {
                AppendError::OutOfOrder { expected_seq } => {
                    Fate::OutOfOrder { expected_seq: *expected_seq }
                }
                AppendError::Fork { seq } => Fate::Fork { seq: *seq },
                AppendError::Invalid { .. } => Fate::Never,
                _ => Fate::Again,
            };
            IntakeError { reason: error.to_string(), fate }
        };
        let answer = move |outcome: Result<Durable, AppendError>| done(outcome.map_err(failed));
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

    fn last_of(&self, producer: u128) -> Option<(u64, u64, u32)> {
        self.producer(producer).map(|last| (last.epoch, last.seq, last.tail_crc))
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
            Self::Overloaded | Self::MemoryShort => Answer { http: 503, grpc: 14, ..own },
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
        if let Some(cause) = self.lane.door().refusal() {
            return refuse(cause);
        }
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

    /// Tells the journal that a listener is open whose senders cannot be told anything. From then on a crash
    /// is a possible gap of it, also when nothing was stored of what its senders had on the way. One small
    /// record per listener and start, however many connect.
    pub(crate) async fn tell_open(self, protocol: event::Protocol, stop: CancellationToken) {
        let mut batch = RawBatch::of(Arc::new(self.envelope(protocol)));
        let said = br#"{"event":"listener.opened"}"#;
        batch.push_as(event::RecordKind::Lifecycle, 0, wall_ns(), said);
        // Refused only by a stop: then there is no crash to fear.
        let _ = self.submit(batch, &stop, |_| ()).await;
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
        let pass = tokio::select! {
            pass = self.pass(&batch, bytes, records) => pass,
            // What was read is handed over: the journal decides.
            () = stop.cancelled() => self.lane.enter(bytes),
        };
        let room = (room, pass);
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

    /// Waits for a place at the door. What tells of losses waits for nobody.
    async fn pass(&self, batch: &RawBatch, bytes: usize, records: u64) -> Pass {
        if records == 0 {
            return self.lane.enter(bytes);
        }
        let protocol = batch.envelopes.first().map(|envelope| envelope.protocol);
        let datagrams = protocol == Some(event::Protocol::SyslogUdp);
        self.lane.take(bytes, if datagrams { Shut::Datagrams } else { Shut::Streams }).await
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

/// The journal's wall clock, ns since 1970-01-01 UTC. The only clock in the intake.
pub fn wall_ns() -> i64 {
    journal::Clock::wall_ns(&journal::OsClock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_that_clients_repeat_after() {
        use RefusedCause::*;
        for cause in [OverShare, Overloaded, MemoryShort, DiskFull, Faulted, Closed] {
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
