//! From a durable list of letters to one sink: in order, again until taken, never forgotten.
//!
//! ```text
//! Feed.next --Letter--> Sink.deliver --ok--------------------------> Feed.delivered (cursor)
//! (blocking thread)        |  ^                                          ^
//!                          |  +--pause-- may succeed later: for ever     |
//!                          +-- will fail again: 3 tries, dead letter ----+
//! ```
//!
//! The cursor moves only after the sink said yes (or gave up for good), so a crash repeats the
//! letter under way at most, under the same key. One outbox per sink: a dead receiver holds up
//! nobody else.

use crate::backoff::Backoff;
use crate::intake::wall_ns;
use crate::sinks::{DeliverError, Sink};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// One payload on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its place in the feed; grows.
    pub offset: u64,
    /// Its name: the same whenever the same letter is offered again.
    pub key: String,
    /// What is delivered; `None` moves the cursor past it without delivering anything.
    pub payload: Option<Vec<u8>>,
}

/// Where letters come from. Both calls may block; they run off the async threads.
pub trait Feed: Send {
    /// The next letter in order, waiting up to `wait` for one.
    fn next(&mut self, wait: Duration) -> Option<Letter>;
    /// The letter at `offset`, and all before it, are done with.
    fn delivered(&mut self, offset: u64);
}

/// First and longest pause between two tries: a receiver that is back is noticed in a minute.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// Tries of a letter the receiver calls wrong: once more in case a proxy answered, and once more.
const TRIES_MAX: u32 = 3;
/// How long one look at the feed waits; also how long a stop takes to be noticed there.
const FEED_WAIT: Duration = Duration::from_millis(250);
/// Longest delivery, whatever the sink's own limits are: a hung sink must not hang the outbox.
const DELIVER_WAIT: Duration = Duration::from_secs(300);
/// What a delivery under way gets to finish after a stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// How an outbox is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct OutboxStatus {
    /// Letters delivered since the start.
    pub delivered: u64,
    /// Letters given up since the start because the receiver refused them for good.
    pub dead: u64,
    /// Calls of the sink.
    pub attempts: u64,
    /// Since when (ns since 1970) the current letter fails; `None` while all goes well.
    pub lag_since: Option<i64>,
    /// The last failure, also after it passed.
    pub last_error: Option<String>,
}

/// Starts outboxes.
pub struct Outbox {
    name: String,
    sink: Arc<dyn Sink>,
    status: Arc<parking_lot::Mutex<OutboxStatus>>,
    stop: CancellationToken,
}

/// A started outbox. Dropping it leaves the outbox running.
#[derive(Debug)]
pub struct OutboxHandle {
    name: String,
    status: Arc<parking_lot::Mutex<OutboxStatus>>,
    task: tokio::task::JoinHandle<()>,
}

impl OutboxHandle {
    /// The outbox's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is doing.
    pub fn status(&self) -> OutboxStatus {
        self.status.lock().clone()
    }

    /// Waits until the outbox has ended, after its token was cancelled.
    pub async fn ended(self) {
        let _ = self.task.await;
    }
}

/// What became of a letter.
enum Fate {
    /// Taken, or given up for good.
    Done,
    /// The outbox was stopped first.
    Stopped,
}

impl Outbox {
    /// Starts delivering from `source` to `sink` until `stop`. Needs a tokio runtime.
    pub fn spawn(
        name: &str,
        sink: Arc<dyn Sink>,
        source: Box<dyn Feed>,
        stop: CancellationToken,
    ) -> OutboxHandle {
        let status = Arc::default();
        let outbox = Self { name: name.into(), sink, status: Arc::clone(&status), stop };
        let task = tokio::spawn(outbox.run(source));
        OutboxHandle { name: name.into(), status, task }
    }

    async fn run(self, mut feed: Box<dyn Feed>) {
        let mut done = None;
        loop {
            let stopping = self.stop.is_cancelled();
            let asked = Instant::now();
            let look = tokio::task::spawn_blocking(move || {
                if let Some(offset) = done {
                    feed.delivered(offset);
                }
                let letter = if stopping { None } else { feed.next(FEED_WAIT) };
                (feed, letter)
            });
            let letter;
            (feed, letter) = match look.await {
                Ok(look) => look,
                Err(error) => {
                    tracing::error!(outbox = self.name, %error, "the feed failed; restart needed");
                    self.status.lock().last_error = Some(format!("the feed failed: {error}"));
                    return;
                }
            };
            done = None;
            if stopping {
                return;
            }
            let Some(letter) = letter else {
                // A feed that answers "nothing" at once must not become a busy loop.
                self.sleep(FEED_WAIT.saturating_sub(asked.elapsed())).await;
                continue;
            };
            match self.see_through(&letter).await {
                Fate::Done => done = Some(letter.offset),
                Fate::Stopped => return,
            }
        }
    }

    /// Offers the letter until it is taken, given up, or the outbox is stopped.
    async fn see_through(&self, letter: &Letter) -> Fate {
        let Some(payload) = &letter.payload else { return Fate::Done };
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        let mut refusals = 0;
        loop {
            self.status.lock().attempts += 1;
            let Some(outcome) = self.offer(payload, &letter.key).await else {
                return Fate::Stopped;
            };
            let Err(error) = outcome else {
                let mut status = self.status.lock();
                status.delivered += 1;
                status.lag_since = None;
                return Fate::Done;
            };
            refusals += u32::from(!error.retryable);
            if refusals >= TRIES_MAX {
                let (outbox, key, offset) = (&self.name, &letter.key, letter.offset);
                tracing::error!(outbox, key, offset, %error, "not delivered: refused for good");
                let mut status = self.status.lock();
                status.dead += 1;
                status.lag_since = None;
                status.last_error = Some(error.what);
                return Fate::Done;
            }
            self.note_failure(&error);
            let pause = backoff.next_pause().max(error.retry_after.unwrap_or_default());
            self.sleep(pause).await;
            if self.stop.is_cancelled() {
                return Fate::Stopped;
            }
        }
    }

    /// One try; `None` when the outbox was stopped and the sink did not finish in time.
    async fn offer(&self, payload: &[u8], key: &str) -> Option<Result<(), DeliverError>> {
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_WAIT).await;
        };
        let delivery = tokio::time::timeout(DELIVER_WAIT, self.sink.deliver(payload, key));
        tokio::select! {
            biased;
            outcome = delivery => Some(outcome.unwrap_or_else(|_| Err(DeliverError {
                retryable: true,
                retry_after: None,
                what: format!("no end after {} s", DELIVER_WAIT.as_secs()),
            }))),
            () = stopped => None,
        }
    }

    fn note_failure(&self, error: &DeliverError) {
        let mut status = self.status.lock();
        if status.lag_since.is_none() {
            // Once per outage, not once per try.
            tracing::warn!(outbox = self.name, %error, "delivery fails; trying on");
            status.lag_since = Some(wall_ns());
        }
        status.last_error = Some(error.what.clone());
    }

    async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }
}
