//! How far every consumer is behind, in seconds and bytes: a dead webhook or a slow store shows here,
//! and nowhere else.

use super::{App, CURSOR_STORE};
use journal::{Behind, Journal};
use parking_lot::Mutex;
use std::collections::HashMap;

/// One consumer of a stream.
#[derive(Clone, Debug)]
pub struct Lag {
    /// `detect`, `store`, `notify:NAME`.
    pub name: String,
    /// Age of the oldest record that it has not passed; 0 when it has passed all.
    pub seconds: f64,
    /// What it has not passed.
    pub behind: Behind,
}

/// When the first record behind each cursor was received: read once per place.
#[derive(Default)]
pub struct Ages(Mutex<HashMap<String, (u64, i64)>>);

impl Ages {
    /// Age of what begins at a consumer's cursor, s.
    fn seconds(&self, stream: &Journal, name: &str, next_offset: u64, now_ns: i64) -> f64 {
        let known = self.0.lock().get(name).filter(|(at, _)| *at == next_offset).map(|(_, ns)| *ns);
        let received_ns = known.or_else(|| stream.received_ns(next_offset));
        let Some(received_ns) = received_ns else { return 0.0 };
        self.0.lock().insert(name.to_owned(), (next_offset, received_ns));
        (now_ns - received_ns).max(0) as f64 / 1e9
    }
}

/// All consumers of both streams. The streams' own ticks and audit records are among what they have
/// to pass, so a second or two is nothing.
pub fn all(app: &App) -> Vec<Lag> {
    let now_ns = io::intake::wall_ns();
    let detect = Lag {
        name: "detect".into(),
        seconds: app.detect_lag_ms(now_ns) as f64 / 1e3,
        behind: app.journal.behind(app.passed()),
    };
    let stored = app.journal.cursor(CURSOR_STORE).unwrap_or(0);
    let store = Lag {
        name: "store".into(),
        seconds: app.store_lag_ms(now_ns) as f64 / 1e3,
        behind: app.journal.behind(stored),
    };
    let of_ledger = app.ledger_stream.cursors().into_iter().map(|(name, next_offset)| {
        let behind = app.ledger_stream.behind(next_offset);
        let seconds = match behind.records {
            0 => 0.0,
            _ => app.ages.seconds(&app.ledger_stream, &name, next_offset, now_ns),
        };
        Lag { name, seconds, behind }
    });
    [detect, store].into_iter().chain(of_ledger).collect()
}
