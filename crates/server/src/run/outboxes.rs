//! Alerts on their way out: each destination reads the ledger stream with its own durable cursor, and
//! what became of an alert there is a record of the ledger.

use super::App;
use crate::config::{Notify, NotifyTo};
use crate::exit::Failure;
use event::Alert;
use io::outbox::{Feed, Gauge, Letter, Outbox, OutboxHandle, Outcome, Report};
use io::sinks::Sink;
use io::sinks::file::FileSink;
use io::sinks::webhook::Webhook;
use journal::{Behind, Journal, Reader, Rejoin};
use ledger::{Actor, Delivery, DeliveryStatus, LedgerRecord};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Longest a webhook may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Deliveries made durable together while alerts come in a row: one sync for all of them, and after a
/// crash no more are looked at again.
const TOGETHER_MAX: usize = 64;
/// Longest that one waits for others. With what the outbox gives a slow delivery before it has what was
/// delivered kept it is a second.
const TOGETHER_WAIT: Duration = Duration::from_millis(500);
/// They wait no longer once nothing more has come for so long. Not at once: the sync of each would hold up
/// the next alert.
const QUIET_WAIT: Duration = Duration::from_millis(100);
/// Deliveries that wait for a ledger that cannot write. Beyond it they are not recorded: delivering
/// goes on.
const WAITING_MAX: usize = 4_096;

/// Starts one outbox per destination that is not the terminal.
pub fn start(
    app: &Arc<App>,
    ledger_stream: &Arc<Journal>,
    stop: &CancellationToken,
) -> Result<Vec<OutboxHandle>, Failure> {
    let mut handles = Vec::new();
    for notify in &app.config.notify {
        let sink: Arc<dyn Sink> = match &notify.to {
            NotifyTo::Terminal => continue,
            NotifyTo::File(path) => Arc::new(
                FileSink::open(path).map_err(|e| Failure::invalid(e, "check `notify.path`"))?,
            ),
            NotifyTo::Webhook(url) => Arc::new(
                Webhook::new(url, WEBHOOK_TIMEOUT)
                    .map_err(|e| Failure::invalid(e, "check `notify.url`"))?,
            ),
        };
        let feed = AlertFeed::new(app.clone(), ledger_stream.clone(), notify);
        handles.push(Outbox::spawn(&notify.name, sink, Box::new(feed), stop.clone()));
    }
    app.set_outboxes(handles.iter().map(OutboxHandle::gauge).collect());
    forget_terminals(app, ledger_stream);
    Ok(handles)
}

/// A terminal that is not asked for any more has nothing to come: its lines are for whoever looks.
fn forget_terminals(app: &App, stream: &Journal) {
    let is_wanted = |name: &str| app.config.notify.iter().any(|n| cursor_of(n) == name);
    for (name, _) in stream.cursors() {
        if name.starts_with(TERMINAL) && !is_wanted(&name) {
            stream.drop_cursor(&name);
        }
    }
}

/// What the cursor of a destination begins with, and that of a terminal.
const NOTIFY: &str = "notify:";
/// See [`NOTIFY`].
const TERMINAL: &str = "terminal:";

/// The name of its cursor.
pub(super) fn cursor_of(notify: &Notify) -> String {
    let kind = if notify.to == NotifyTo::Terminal { TERMINAL } else { NOTIFY };
    format!("{kind}{}", notify.name)
}

/// A destination as it stands.
pub struct Destination {
    /// Its name.
    pub name: String,
    /// What the configuration says of it; `None`: nothing any more, and it keeps the ledger all the same.
    pub notify: Option<Notify>,
    /// What it has not passed.
    pub behind: Behind,
    /// How its outbox does; `None` for one that is not configured, or a terminal.
    pub outbox: Option<Gauge>,
}

impl Destination {
    /// What people are told of one that is not configured any more.
    pub fn left_over_text(&self) -> String {
        let (name, Behind { records, bytes }) = (&self.name, self.behind);
        format!(
            "the destination `{name}` is not in the configuration any more and {records} records \
             ({bytes} bytes) of the ledger are kept for it; configure it again under `notify`, or \
             let go of it with `alcedo destinations drop {name}`"
        )
    }
}

/// All destinations: those of the configuration, then those that only have a cursor left.
pub fn destinations(app: &App) -> Vec<Destination> {
    let stream = &app.ledger_stream;
    let known = app.config.notify.iter().map(|notify| Destination {
        name: notify.name.clone(),
        behind: stream.behind(stream.cursor(&cursor_of(notify)).unwrap_or(u64::MAX)),
        notify: Some(notify.clone()),
        outbox: app.outbox(&notify.name),
    });
    known.chain(left_over(app)).collect()
}

/// Destinations that were configured once, and still have their place in the ledger.
pub fn left_over(app: &App) -> Vec<Destination> {
    let stream = &app.ledger_stream;
    let is_known = |name: &str| app.config.notify.iter().any(|n| cursor_of(n) == name);
    let left = stream.cursors().into_iter().filter(|(name, _)| !is_known(name));
    let left = left.filter_map(|(cursor, next_offset)| {
        let name = cursor.strip_prefix(NOTIFY)?.to_owned();
        let behind = stream.behind(next_offset);
        Some(Destination { name, notify: None, behind, outbox: None })
    });
    left.collect()
}

/// Forgets the place of a destination that is not configured any more. False when it has none.
pub fn forget(app: &App, name: &str) -> bool {
    app.ledger_stream.drop_cursor(&format!("{NOTIFY}{name}"))
}

/// How an alert stands with a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was taken, is being tried, or was refused for good.
    Tried(DeliveryStatus),
    /// Others go first.
    Waiting,
}

/// Where an alert stands with each destination that is to have it, or had it: as recorded, and for what
/// is under way as of now.
pub fn standings(
    app: &App,
    detail: &ledger::AlertDetail,
) -> Vec<(String, Standing, Option<Delivery>)> {
    let mut out = Vec::new();
    for (name, delivery) in &detail.deliveries {
        out.push((name.clone(), Standing::Tried(delivery.status), Some(delivery.clone())));
    }
    for notify in app.config.notify.iter().filter(|n| wants(n, &detail.alert)) {
        let Some(gauge) = app.outbox(&notify.name) else { continue };
        let now = gauge.status();
        let under_way = now.under_way.filter(|(key, _)| *key == detail.alert.id);
        let recorded = out.iter().position(|(name, ..)| *name == notify.name);
        let is_done = recorded.is_some_and(
            |at| matches!(out[at].1, Standing::Tried(s) if s != DeliveryStatus::Retrying),
        );
        let next_offset = app.ledger_stream.cursor(&cursor_of(notify)).unwrap_or(u64::MAX);
        if is_done || next_offset > detail.offset {
            continue;
        }
        let standing = match under_way {
            Some((_, attempts)) if now.lag_since.is_some() => {
                let delivery = Delivery {
                    status: DeliveryStatus::Retrying,
                    at_ns: io::intake::wall_ns(),
                    attempts,
                    last_error: now.last_error.unwrap_or_default(),
                };
                (notify.name.clone(), Standing::Tried(delivery.status), Some(delivery))
            }
            _ if recorded.is_some() => continue,
            _ => (notify.name.clone(), Standing::Waiting, None),
        };
        match recorded {
            Some(at) => out[at] = standing,
            None => out.push(standing),
        }
    }
    out
}

fn wants(notify: &Notify, alert: &Alert) -> bool {
    alert.level >= notify.min_level && !alert.backfill
}

/// The alerts of the ledger stream, from a cursor on.
pub struct AlertFeed {
    app: Arc<App>,
    stream: Arc<Journal>,
    notify: Notify,
    cursor: String,
    reader: Reader,
    rejoin: Rejoin,
    read: VecDeque<Letter>,
    /// All before it was there when the feed began: an earlier run may have delivered some of it.
    earlier_end: u64,
    /// All before it was read, and is no alert for this destination unless it is in `read`.
    passed_next: u64,
    recording: Recording,
}

/// Deliveries on their way into the ledger, and the place of the cursor after them.
#[derive(Default)]
struct Recording {
    records: Vec<LedgerRecord>,
    next_offset: u64,
    since: Option<Instant>,
}

impl AlertFeed {
    /// For one destination. A new one starts with the alerts of now, not with those of last year.
    pub fn new(app: Arc<App>, stream: Arc<Journal>, notify: &Notify) -> Self {
        let cursor = cursor_of(notify);
        let end = stream.durable().map_or(0, |last| last + 1);
        let from = match stream.cursor(&cursor) {
            Some(from) => from,
            None => {
                // On disk before anything else: a cursor lost in a crash would start anew, behind
                // alerts that were never delivered.
                let kept = stream.set_cursor(&cursor, end).and_then(|()| stream.checkpoint());
                if let Err(error) = kept {
                    tracing::error!(%error, cursor, "a cursor cannot be kept");
                }
                end
            }
        };
        Self {
            reader: stream.reader(from),
            app,
            stream,
            notify: notify.clone(),
            cursor,
            rejoin: Rejoin::default(),
            read: VecDeque::new(),
            earlier_end: end,
            passed_next: from,
            recording: Recording::default(),
        }
    }

    /// A line was printed: nothing is recorded of that.
    pub fn printed(&mut self, offset: u64) {
        self.move_cursor(offset + 1);
    }

    /// What is to be delivered of a record; `None` when there is nothing, or an earlier run did it.
    fn letter(&self, offset: u64, bytes: &[u8]) -> Option<Letter> {
        let record = serde_json::from_slice(bytes).ok()?;
        let LedgerRecord::AlertFired { alert, rule } = record else { return None };
        if !wants(&self.notify, &alert) {
            return None;
        }
        let mut tried = 0;
        if offset < self.earlier_end
            && let Ok(Some(before)) = self.app.ledger.delivery(&alert.id, &self.notify.name)
        {
            if before.status != DeliveryStatus::Retrying {
                return None;
            }
            tried = before.attempts;
        }
        let mut body = alert::render::native_json(&alert, &rule, alert::State::New);
        body["alcedo.link"] = self.app.link_to(&alert).into();
        let payload = body.to_string().into_bytes();
        Some(Letter { offset, key: alert.id.clone(), payload, tried })
    }

    /// Reads the next records, waiting up to `wait` for some. False when there are none.
    fn read_more(&mut self, wait: Duration) -> bool {
        let block = match self.reader.next(wait) {
            Ok(Some(block)) => block,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "the ledger stream cannot be read");
                std::thread::sleep(wait);
                return false;
            }
        };
        for record in block.records() {
            let letter = match self.rejoin.push(&record) {
                journal::Joined::Whole => self.letter(record.offset, record.bytes),
                journal::Joined::Parts(bytes) => self.letter(record.offset, &bytes),
                // A record's first part must not be passed before its last.
                journal::Joined::Pending => continue,
                journal::Joined::TooLong => None,
            };
            self.read.extend(letter);
            self.passed_next = record.offset + 1;
        }
        true
    }

    /// Moves the cursor past what is nothing for this destination.
    fn pass(&mut self) {
        if self.read.is_empty() && self.recording.records.is_empty() {
            self.move_cursor(self.passed_next);
        }
    }

    fn move_cursor(&self, next_offset: u64) {
        if let Err(error) = self.stream.set_cursor(&self.cursor, next_offset) {
            tracing::error!(%error, cursor = self.cursor, "a cursor cannot be kept");
        }
    }

    /// Makes deliveries durable, then moves the cursor: a crash in between finds them in the ledger.
    fn record(&mut self) {
        let Recording { records, next_offset, .. } = &self.recording;
        if records.is_empty() {
            return;
        }
        match self.app.ledger.submit(records.clone(), io::intake::wall_ns()) {
            Ok(_) => self.app.set_problem("deliveries", None),
            Err(error) => {
                let text = format!("what was delivered cannot be recorded: {error}");
                self.app.set_problem("deliveries", Some(text));
                if records.len() < WAITING_MAX {
                    self.recording.since = Some(Instant::now());
                    return;
                }
                tracing::error!(cursor = self.cursor, n = records.len(), "deliveries not recorded");
            }
        }
        // A letter that is still failing has not moved it.
        if *next_offset > 0 {
            self.move_cursor(*next_offset);
        }
        self.recording = Recording::default();
    }
}

impl Feed for AlertFeed {
    fn next(&mut self, wait: Duration) -> Option<Letter> {
        if self.recording.since.is_some_and(|since| since.elapsed() >= TOGETHER_WAIT) {
            self.record();
        }
        let until = Instant::now() + wait;
        while self.read.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let waits = !self.recording.records.is_empty();
            let pause = if waits { left.min(QUIET_WAIT) } else { left };
            // Records of other kinds come, too, this feed's own among them: they end no wait.
            if self.read_more(pause) {
                self.pass();
            } else if waits {
                self.record();
            }
            if left.is_zero() {
                break;
            }
        }
        self.read.pop_front()
    }

    fn report(&mut self, report: Report) {
        let status = match report.outcome {
            Outcome::Delivered => DeliveryStatus::Delivered,
            Outcome::Refused => DeliveryStatus::Failed,
            Outcome::Failing => DeliveryStatus::Retrying,
        };
        self.recording.records.push(LedgerRecord::Delivery {
            alert: report.key,
            sink: self.notify.name.clone(),
            status,
            attempts: report.attempts,
            detail: report.last_error.unwrap_or_default(),
            actor: Actor { who: "alcedo".into(), at_ns: report.at_ns, client: "outbox".into() },
        });
        if report.outcome != Outcome::Failing {
            self.recording.next_offset = report.offset + 1;
        }
        self.recording.since.get_or_insert_with(Instant::now);
        if self.recording.records.len() >= TOGETHER_MAX {
            self.record();
        }
    }

    fn settle(&mut self) {
        self.record();
    }
}

impl App {
    /// Where an alert can be looked at.
    pub fn link_to(&self, alert: &Alert) -> String {
        let scheme = if self.has_tls() { "https" } else { "http" };
        format!("{scheme}://{}/#/alerts/{}", self.config.http, alert.id)
    }
}
