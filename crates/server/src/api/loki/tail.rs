//! `GET /loki/api/v1/tail`: lines as they arrive, over a WebSocket.

use super::{Asked, Pairs, Refusal, Streams, selected};
use crate::api::viewer::READER_WAIT_MAX;
use crate::run::App;
use crate::run::bus::{Seen, sampling_notice};
use axum::extract::Query as Params;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::response::Response;
use filter::Plan;
use filter::logql::LogQuery;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use trust::Principal;

/// Lines that are sent per message at most; more are counted as dropped.
const LINES_MAX: usize = 1_000;
/// Pause between two messages.
const SEND_EVERY: Duration = Duration::from_millis(250);

/// Begins to follow.
pub async fn tail(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Params(pairs): Pairs,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let log = selected(&app, Some(Asked { pairs, cancelled: Arc::default() }.query()?))?;
    Ok(upgrade.on_upgrade(move |socket| follow(app, principal, log, socket)))
}

async fn follow(app: Arc<App>, principal: Principal, log: LogQuery, mut socket: WebSocket) {
    let mut batches = app.bus.tail();
    let mut waiting = Waiting::default();
    let mut due = tokio::time::interval(SEND_EVERY);
    loop {
        tokio::select! {
            seen = batches.recv() => match seen {
                Seen::Batch(batch) => waiting.take(&batch, &log.filter, log.all_fields),
                Seen::Missed(batches) => waiting.dropped += batches,
            },
            _ = due.tick() => {
                if !app.is_good(&principal.identity, io::intake::wall_ns()) {
                    return;
                }
                waiting.look(app.bus.is_sampled());
                if let Some(message) = waiting.message() {
                    let sent = socket.send(Message::Text(message.to_string().into()));
                    match tokio::time::timeout(READER_WAIT_MAX, sent).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) | Err(_) => return,
                    }
                }
            }
            heard = socket.recv() => match heard {
                // Pings are answered by the library; what else a client says is not for us.
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

#[derive(Default)]
struct Waiting {
    streams: Streams,
    lines: usize,
    dropped: u64,
    /// What was said last about batches that are left out.
    is_sampled: bool,
}

impl Waiting {
    /// Says when batches begin to be left out, and when that is over.
    fn look(&mut self, is_sampled: bool) {
        if is_sampled != self.is_sampled {
            self.is_sampled = is_sampled;
            self.say(sampling_notice(is_sampled));
        }
    }

    /// A line of our own among the others: the protocol has no other place for it.
    fn say(&mut self, text: &str) {
        let now_ns = io::intake::wall_ns();
        let fields = [("alcedo.source", "alcedo"), ("event.original", text), ("message", text)];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        self.streams.add(&fields.collect(), now_ns, false);
        self.lines += 1;
    }

    fn take(&mut self, batch: &event::EventBatch, plan: &Plan, all: bool) {
        let binding = plan.bind(batch);
        for row in batch.rows().filter(|row| plan.matches(&binding, row)) {
            if self.lines >= LINES_MAX {
                self.dropped += 1;
                continue;
            }
            let mut text = String::new();
            shape::to_json(&row, &mut text);
            if let Ok(fields) = serde_json::from_str(&text) {
                self.streams.add(&fields, row.event_ns(), all);
                self.lines += 1;
            }
        }
    }

    fn message(&mut self) -> Option<Value> {
        if self.lines == 0 && self.dropped == 0 {
            return None;
        }
        let next = Self { is_sampled: self.is_sampled, ..Self::default() };
        let now = std::mem::replace(self, next);
        let at = io::intake::wall_ns().to_string();
        let dropped: Vec<Value> = match now.dropped {
            0 => Vec::new(),
            count => vec![json!({"labels": {"dropped": count.to_string()}, "timestamp": at})],
        };
        Some(json!({"streams": now.streams.json(), "dropped_entries": dropped}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: overload begins and ends while somebody follows who sees no line of others.
    /// Guarantees: each change is one line of our own, and what stays as it is is not said again.
    #[test]
    fn a_tail_says_once_that_it_is_sampled_and_once_that_it_is_whole_again() {
        let mut waiting = Waiting::default();
        let mut said = |is_sampled: bool| {
            waiting.look(is_sampled);
            let message = waiting.message()?;
            assert_eq!(message["dropped_entries"], json!([]));
            let streams = message["streams"].as_array().unwrap().clone();
            assert_eq!(
                (streams.len(), &streams[0]["stream"]["alcedo_source"]),
                (1, &json!("alcedo"))
            );
            Some(streams[0]["values"][0][1].as_str().unwrap().to_owned())
        };
        assert_eq!(said(false), None);
        assert_eq!(said(true).as_deref(), Some(sampling_notice(true)));
        assert_eq!(said(true), None);
        assert_eq!(said(false).as_deref(), Some(sampling_notice(false)));
        assert_eq!(said(false), None);
    }
}
