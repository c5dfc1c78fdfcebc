//! What Alcedo does itself, as events of the source `alcedo`: rules watch them as they watch others.
//!
//! An event is a copy: the audit record of the ledger is the fact, and its loss here loses nothing.
//! Refused requests are events only; they are not audited one by one, so that a guesser cannot fill
//! the ledger, and there are at most [`SELDOM_PER_S_MAX`] of them a second.
//!
//! While the journal takes nothing, because the disk is full, what others cannot bring about at will waits.

use event::{Envelope, Protocol, RawBatch, time};
use journal::Journal;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;

/// Refusals and crashes told per second; what a rule counts is far below it.
const SELDOM_PER_S_MAX: u32 = 20;
/// Events that wait until the journal takes some again, at most.
const WAITING_MAX: usize = 1_000;
/// Name of the source.
pub const SOURCE: &str = "alcedo";

/// Writes events about this server into its own stream.
#[derive(Default)]
pub struct OwnEvents {
    /// The second, and how much was told in it of what is told seldom.
    told: Mutex<(i64, u32)>,
    /// What the journal did not take yet, oldest first.
    waiting: Mutex<VecDeque<Vec<u8>>>,
}

/// One thing that was done or tried.
pub struct OwnEvent<'a> {
    /// By whom: `user:kim`, `token:0123456789abcdef`, `alcedo`, `anonymous`.
    pub who: &'a str,
    /// What, dotted: `login.ok`, `token.create`.
    pub action: &'a str,
    /// To what.
    pub target: &'a str,
    /// Anything more.
    pub detail: &'a str,
    /// Address or program it came from.
    pub client: &'a str,
}

impl OwnEvents {
    /// Tells an event, behind those that wait. Never waits itself.
    pub fn tell(&self, journal: &Journal, event: &OwnEvent<'_>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() == WAITING_MAX {
            tracing::warn!(
                action = event.action,
                "an own event was dropped: too many wait for space"
            );
            return;
        }
        waiting.push_back(record_of(event));
        append_waiting(&mut waiting, journal);
    }

    /// Tells what waits, as far as the journal takes it.
    pub fn tell_waiting(&self, journal: &Journal) {
        append_waiting(&mut self.waiting.lock(), journal);
    }

    /// Tells that a request was refused, unless much was told in this second.
    pub fn refused(&self, journal: &Journal, action: &str, client: &str) {
        let who = "anonymous";
        self.seldom(journal, &OwnEvent { who, action, target: "", detail: "", client });
    }

    /// Tells what others can bring about as often as they like: not more than
    /// [`SELDOM_PER_S_MAX`] of it in a second.
    pub fn seldom(&self, journal: &Journal, event: &OwnEvent<'_>) {
        let second = io::intake::wall_ns() / time::SECOND_NS;
        {
            let mut state = self.told.lock();
            if state.0 != second {
                *state = (second, 0);
            }
            state.1 += 1;
            if state.1 > SELDOM_PER_S_MAX {
                return;
            }
        }
        // Waiting would let whoever guesses tokens take the place of what matters.
        if append(&record_of(event), journal).is_err() {
            tracing::warn!(action = event.action, "an own event was dropped");
        }
    }
}

/// An event as it is written: with the time at which it happens, however late it is told.
fn record_of(event: &OwnEvent<'_>) -> Vec<u8> {
    let now_ns = io::intake::wall_ns();
    let failed = [".refused", ".crashed", ".failed", ".behind"]
        .iter()
        .any(|end| event.action.ends_with(end));
    let outcome = if failed { "failure" } else { "success" };
    json!({
        "@timestamp": time::rfc3339(now_ns),
        "alcedo.record": "audit",
        "event.action": event.action,
        "event.outcome": outcome,
        "user.name": event.who,
        "source.address": event.client,
        "alcedo.target": event.target,
        "alcedo.detail": event.detail,
    })
    .to_string()
    .into_bytes()
}

fn append_waiting(waiting: &mut VecDeque<Vec<u8>>, journal: &Journal) {
    while let Some(record) = waiting.front() {
        if let Err(error) = append(record, journal) {
            tracing::debug!(%error, waiting = waiting.len(), "own events wait for the journal");
            return;
        }
        waiting.pop_front();
    }
}

fn append(record: &[u8], journal: &Journal) -> Result<(), journal::AppendError> {
    let own = Envelope::of(SOURCE, Protocol::Internal);
    let mut batch = RawBatch::of(Arc::new(Envelope { identity: SOURCE.into(), ..own }));
    batch.push(io::intake::wall_ns(), record);
    journal.appender().append(batch, |_| {}).map_err(|rejected| rejected.why)
}
