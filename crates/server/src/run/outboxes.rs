//! Alerts on their way out: each destination reads the ledger stream with its own durable cursor.

use super::App;
use crate::config::{Notify, NotifyTo};
use crate::exit::Failure;
use event::Alert;
use io::outbox::{Feed, Letter, Outbox, OutboxHandle};
use io::sinks::Sink;
use io::sinks::file::FileSink;
use io::sinks::webhook::Webhook;
use journal::{Journal, Reader, Rejoin};
use ledger::LedgerRecord;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest a webhook may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

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
    Ok(handles)
}

/// The alerts of the ledger stream, from a cursor on.
pub struct AlertFeed {
    app: Arc<App>,
    stream: Arc<Journal>,
    cursor: String,
    min_level: event::Level,
    reader: Reader,
    rejoin: Rejoin,
    read: VecDeque<Letter>,
}

impl AlertFeed {
    /// For one destination. A new one starts with the alerts of now, not with those of last year.
    pub fn new(app: Arc<App>, stream: Arc<Journal>, notify: &Notify) -> Self {
        let cursor = format!("notify:{}", notify.name);
        let from = match stream.cursor(&cursor) {
            Some(from) => from,
            None => {
                let from = stream.durable().map_or(0, |last| last + 1);
                // On disk before anything else: a cursor lost in a crash would start anew, behind
                // alerts that were never delivered.
                let kept = stream.set_cursor(&cursor, from).and_then(|()| stream.checkpoint());
                if let Err(error) = kept {
                    tracing::error!(%error, cursor, "a cursor cannot be kept");
                }
                from
            }
        };
        Self {
            reader: stream.reader(from),
            app,
            stream,
            cursor,
            min_level: notify.min_level,
            rejoin: Rejoin::default(),
            read: VecDeque::new(),
        }
    }

    fn letter(&self, offset: u64, bytes: &[u8]) -> Letter {
        let nothing = Letter { offset, key: String::new(), payload: None };
        let Ok(LedgerRecord::AlertFired { alert, rule }) = serde_json::from_slice(bytes) else {
            return nothing;
        };
        if alert.level < self.min_level || alert.backfill {
            return nothing;
        }
        let mut body = alert::render::native_json(&alert, &rule, alert::State::New);
        body["alcedo.link"] = self.app.link_to(&alert).into();
        Letter { offset, key: alert.id.clone(), payload: Some(body.to_string().into_bytes()) }
    }
}

impl Feed for AlertFeed {
    fn next(&mut self, wait: Duration) -> Option<Letter> {
        if let Some(letter) = self.read.pop_front() {
            return Some(letter);
        }
        let block = match self.reader.next(wait) {
            Ok(block) => block?,
            Err(error) => {
                tracing::error!(%error, "the ledger stream cannot be read");
                std::thread::sleep(wait);
                return None;
            }
        };
        for record in block.records() {
            let letter = match self.rejoin.push(&record) {
                journal::Joined::Whole => self.letter(record.offset, record.bytes),
                journal::Joined::Parts(bytes) => self.letter(record.offset, &bytes),
                journal::Joined::Pending | journal::Joined::TooLong => continue,
            };
            self.read.push_back(letter);
        }
        self.read.pop_front()
    }

    fn delivered(&mut self, offset: u64) {
        if let Err(error) = self.stream.set_cursor(&self.cursor, offset + 1) {
            tracing::error!(%error, cursor = self.cursor, "a cursor cannot be kept");
        }
    }
}

impl App {
    /// Where an alert can be looked at.
    pub fn link_to(&self, alert: &Alert) -> String {
        let scheme = if self.has_tls() { "https" } else { "http" };
        format!("{scheme}://{}/#/alerts/{}", self.config.http, alert.id)
    }
}
