//! Destinations that are a minute behind are told: to people among the problems, and as an event, so that the
//! others hear of it.

use super::{App, lag, outboxes};
use crate::config::NotifyTo;
use ledger::Actor;
use std::collections::BTreeSet;

/// So old is the oldest of what a destination has not passed when it is told, s. A retry or a restart of what
/// is there takes less.
const LATE_S: f64 = 60.0;

/// Names of the destinations that were told.
#[derive(Default)]
pub(super) struct Late(BTreeSet<String>);

impl Late {
    /// Looks at all of them.
    pub(super) fn look(&mut self, app: &App) {
        let (mut late, mut texts) = (BTreeSet::new(), Vec::new());
        let lags = lag::all(app);
        for notify in app.config.notify.iter().filter(|n| n.to != NotifyTo::Terminal) {
            let cursor = outboxes::cursor_of(notify);
            let Some(lag) = lags.iter().find(|lag| lag.name == cursor) else { continue };
            if lag.seconds < LATE_S {
                continue;
            }
            let status = app.outbox(&notify.name).map(|gauge| gauge.status());
            let failing = status.filter(|status| status.lag_since.is_some());
            let error = failing.and_then(|status| status.last_error);
            let text = format!(
                "the destination `{}` is {:.0} s behind: {} records ({} bytes) wait for it and are kept{}",
                notify.name,
                lag.seconds,
                lag.behind.records,
                lag.behind.bytes,
                error.map(|error| format!(": {error}")).unwrap_or_default(),
            );
            if !self.0.contains(&notify.name) {
                note(app, "destination.behind", &notify.name, &text);
            }
            late.insert(notify.name.clone());
            texts.push(text);
        }
        for name in self.0.difference(&late) {
            note(app, "destination.caught_up", name, "what waited for it was delivered");
        }
        if !(texts.is_empty() && self.0.is_empty()) {
            app.set_notice("late", (!texts.is_empty()).then(|| texts.join("; ")));
        }
        self.0 = late;
    }
}

fn note(app: &App, action: &str, name: &str, text: &str) {
    let at_ns = io::intake::wall_ns();
    let actor = Actor { who: "alcedo".into(), at_ns, client: "server".into() };
    app.note(&actor, action, name, text);
}
