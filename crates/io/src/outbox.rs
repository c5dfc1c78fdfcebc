//! From a durable list of letters to one sink: in order, again until taken, never forgotten.
//!
//! ```text
//! Feed.next --Letter--> Sink.deliver --ok--------------------------> Feed.report (record, cursor)
//! (blocking thread)        |  ^                                          ^
//!                          |  +--pause-- may succeed later: for ever     |
//!                          |  +--after ten seconds of it: "failing" -----+
//!                          +-- will fail again: 3 tries, dead letter ----+
//! ```
//!
//! The feed is told what became of a letter only after the sink said yes (or it was given up for
//! good), so a crash repeats what the feed has not made durable, under the same keys. While a delivery
//! takes long the feed makes durable what it has. One outbox per sink: a dead receiver holds up nobody
//! else.

use crate::backoff::Backoff;
use crate::intake::wall_ns;
use crate::sinks::{DeliverError, Sink};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// One payload on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its place in the feed; grows.
    pub offset: u64,
    /// Its name: the same whenever the same letter is offered again.
    pub key: String,
    /// What is delivered.
    pub payload: Vec<u8>,
    /// Tries of earlier runs.
    pub tried: u32,
}

/// What became of a letter so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink took it.
    Delivered,
    /// It was given up: the receiver refuses it for good.
    Refused,
    /// It fails and is tried on. Told once in a while at most, and when the outbox stops.
    Failing,
}

/// What a feed is told of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The letter's place in the feed.
    pub offset: u64,
    /// Its name.
    pub key: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Tries, those of earlier runs included.
    pub attempts: u32,
    /// What failed last; `None` when nothing did.
    pub last_error: Option<String>,
    /// When, ns since 1970-01-01 UTC.
    pub at_ns: i64,
}

/// Where letters come from. All calls may block; they run off the async threads.
pub trait Feed: Send {
    /// The next letter in order, waiting up to `wait` for one.
    fn next(&mut self, wait: Duration) -> Option<Letter>;
    /// What became of a letter. Unless it is still failing it, and all before it, are done with.
    fn report(&mut self, report: Report);
    /// Nothing more is asked for a while, or ever: what was reported is made durable.
    fn settle(&mut self) {}
}

/// First and longest pause between two tries: a receiver that is back is noticed in a minute.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// Tries of a letter the receiver calls wrong: once more in case a proxy answered, and once more.
const TRIES_MAX: u32 = 3;
/// How long one look at the feed waits; also how long a stop takes to be noticed there.
const FEED_WAIT: Duration = Duration::from_millis(250);
/// Longest delivery, whatever the sink's own limits are: a hung sink must not hang the outbox.
const DELIVER_WAIT: Duration = Duration::from_secs(300);
/// After so long what was reported is made durable while a delivery goes on: it does not wait for a
/// receiver that hangs.
const SLOW_AFTER: Duration = Duration::from_millis(500);
/// A letter that has failed for so long is reported as failing: a blip is no news.
const FAILING_AFTER: Duration = Duration::from_secs(10);
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
    /// How often the feed said that there is nothing before it had waited for it. Each time the outbox
    /// sleeps out the rest, and a letter that comes meanwhile is late: 0 unless a feed cannot be read.
    pub early_ends: u64,
    /// Since when (ns since 1970) the current letter fails; `None` while all goes well.
    pub lag_since: Option<i64>,
    /// The last failure, also after it passed.
    pub last_error: Option<String>,
    /// The letter that is being delivered, and its tries so far.
    pub under_way: Option<(String, u32)>,
}

/// Reads how an outbox is doing; outlives it.
#[derive(Clone, Debug)]
pub struct Gauge {
    name: String,
    status: Arc<parking_lot::Mutex<OutboxStatus>>,
}

impl Gauge {
    /// The outbox's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is doing.
    pub fn status(&self) -> OutboxStatus {
        self.status.lock().clone()
    }
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
    gauge: Gauge,
    task: tokio::task::JoinHandle<()>,
}

impl OutboxHandle {
    /// Reads how it is doing.
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// How it is doing.
    pub fn status(&self) -> OutboxStatus {
        self.gauge.status()
    }

    /// Waits until the outbox has ended, after its token was cancelled.
    pub async fn ended(self) {
        let _ = self.task.await;
    }
}

/// A letter that is being delivered.
struct UnderWay {
    letter: Letter,
    attempts: u32,
    refusals: u32,
    backoff: Backoff,
    /// When its first try of this run failed.
    failing_since: Option<Instant>,
    last_error: Option<String>,
    /// It has failed, and the feed was told that nothing more is asked for a while.
    settled: bool,
    /// It was reported as failing.
    told: bool,
}

impl UnderWay {
    fn new(letter: Letter) -> Self {
        let backoff = Backoff::new(PAUSE.0, PAUSE.1);
        let attempts = letter.tried;
        Self {
            letter,
            attempts,
            refusals: 0,
            backoff,
            failing_since: None,
            last_error: None,
            settled: false,
            told: false,
        }
    }

    fn report(&self, outcome: Outcome) -> Report {
        Report {
            offset: self.letter.offset,
            key: self.letter.key.clone(),
            outcome,
            attempts: self.attempts,
            last_error: self.last_error.clone(),
            at_ns: wall_ns(),
        }
    }
}

/// How far a letter got.
enum Fate {
    /// Taken, or given up for good.
    Done(Report),
    /// It fails, and is tried on: those before it are not to wait for it. Reported after a while.
    Failing(Option<Report>),
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
        OutboxHandle { gauge: Gauge { name: name.into(), status }, task }
    }

    async fn run(self, mut feed: Box<dyn Feed>) {
        let mut report = None;
        let mut under_way: Option<UnderWay> = None;
        loop {
            let stopping = self.stop.is_cancelled();
            let asked = Instant::now();
            let wants = under_way.is_none();
            let look = tokio::task::spawn_blocking(move || {
                report.into_iter().for_each(|report| feed.report(report));
                if stopping || !wants {
                    feed.settle();
                    return (feed, None);
                }
                let letter = feed.next(FEED_WAIT);
                (feed, letter)
            });
            let letter;
            (feed, letter) = match look.await {
                Ok(look) => look,
                Err(error) => return self.note_lost_feed(&error),
            };
            report = None;
            if stopping {
                return;
            }
            let Some(mut one) = under_way.take().or_else(|| letter.map(UnderWay::new)) else {
                // A feed that answers "nothing" at once must not become a busy loop.
                let rest = FEED_WAIT.saturating_sub(asked.elapsed());
                self.status.lock().early_ends += u64::from(!rest.is_zero());
                self.sleep(rest).await;
                continue;
            };
            let (fate, kept) = settle_if_slow(self.see_through(&mut one), feed).await;
            feed = match kept {
                Ok(feed) => feed,
                Err(error) => return self.note_lost_feed(&error),
            };
            match fate {
                Fate::Done(done) => report = Some(done),
                Fate::Failing(failing) => {
                    report = failing;
                    under_way = Some(one);
                }
                // The loop settles the feed; what failed is kept for the next run.
                Fate::Stopped if one.last_error.is_some() => {
                    report = Some(one.report(Outcome::Failing));
                }
                Fate::Stopped => {}
            }
        }
    }

    /// Offers the letter until it is taken, given up, has failed for a while, or the outbox is stopped.
    async fn see_through(&self, one: &mut UnderWay) -> Fate {
        loop {
            one.attempts += 1;
            {
                let mut status = self.status.lock();
                status.attempts += 1;
                status.under_way = Some((one.letter.key.clone(), one.attempts));
            }
            let Some(outcome) = self.offer(&one.letter.payload, &one.letter.key).await else {
                return Fate::Stopped;
            };
            let Err(error) = outcome else {
                let mut status = self.status.lock();
                status.delivered += 1;
                status.lag_since = None;
                status.under_way = None;
                return Fate::Done(one.report(Outcome::Delivered));
            };
            one.last_error = Some(error.what.clone());
            one.refusals += u32::from(!error.retryable);
            if one.refusals >= TRIES_MAX {
                return Fate::Done(self.give_up(one, &error));
            }
            self.note_failure(&error);
            let since = *one.failing_since.get_or_insert_with(Instant::now);
            let pause = one.backoff.next_pause().max(error.retry_after.unwrap_or_default());
            self.sleep(pause).await;
            if self.stop.is_cancelled() {
                return Fate::Stopped;
            }
            if !one.told && since.elapsed() >= FAILING_AFTER {
                (one.settled, one.told) = (true, true);
                return Fate::Failing(Some(one.report(Outcome::Failing)));
            }
            if !one.settled {
                one.settled = true;
                return Fate::Failing(None);
            }
        }
    }

    fn give_up(&self, one: &UnderWay, error: &DeliverError) -> Report {
        let (outbox, Letter { key, offset, .. }) = (&self.name, &one.letter);
        tracing::error!(outbox, key, offset, %error, "not delivered: refused for good");
        let mut status = self.status.lock();
        status.dead += 1;
        status.lag_since = None;
        status.under_way = None;
        status.last_error = Some(error.what.clone());
        one.report(Outcome::Refused)
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

    fn note_lost_feed(&self, error: &JoinError) {
        tracing::error!(outbox = self.name, %error, "the feed failed; restart needed");
        self.status.lock().last_error = Some(format!("the feed failed: {error}"));
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

/// Waits for a delivery; while a slow one goes on, the feed settles. Out: how far it got, and the feed.
async fn settle_if_slow(
    delivery: impl Future<Output = Fate>,
    mut feed: Box<dyn Feed>,
) -> (Fate, Result<Box<dyn Feed>, JoinError>) {
    let mut delivery = pin!(delivery);
    if let Ok(fate) = tokio::time::timeout(SLOW_AFTER, &mut delivery).await {
        return (fate, Ok(feed));
    }
    let settling = tokio::task::spawn_blocking(move || {
        feed.settle();
        feed
    });
    tokio::join!(delivery, settling)
}
