//! In the background: old files of the store move to the far tier.

use super::App;
use super::background::Background;
use crate::exit::Failure;
use ledger::Actor;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use watch::{FarNews, FarWatch};

/// Files become old by the hour.
const REST: Duration = Duration::from_secs(30);
/// After a failure: the far tier is away, or refuses, and will not mind being asked again.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Starts the thread; none without a far tier.
pub fn start(app: &Arc<App>) -> Result<Option<Background>, Failure> {
    if app.config.tier.is_none() {
        return Ok(None);
    }
    let app = app.clone();
    let thread = Background::start("far tier", move |running| {
        let mut told = Told::default();
        while running.goes_on() {
            let moved = app.store.move_old(io::intake::wall_ns(), &|| running.goes_on());
            if !running.goes_on() {
                // An upload that was stopped with us is no problem.
                break;
            }
            told.tell(&app, moved.as_ref().err());
            match moved {
                Ok(round) if round.has_more => {}
                Ok(_) => running.rest(REST),
                Err(_) => running.rest(REST_AFTER_FAILURE),
            }
        }
    });
    thread.map(Some)
}

/// What was told, and what had failed by then.
#[derive(Default)]
struct Told {
    watch: FarWatch,
    failures: u64,
}

impl Told {
    /// Tells operators by the overview, and rules by events of the source `alcedo`.
    fn tell(&mut self, app: &App, error: Option<&StoreError>) {
        let now_ns = io::intake::wall_ns();
        let Some(stats) = app.store.tier_stats(now_ns) else { return };
        let failed =
            stats.failures.saturating_sub(std::mem::replace(&mut self.failures, stats.failures));
        app.set_problem("tier", error.map(|e| format!("old files do not move: {e}")));
        let unread = error.is_none() && failed > 0;
        let detail = match error {
            Some(error) => error.to_string(),
            // Those of searches, exports and backups.
            None => format!("{failed} calls to the far tier failed"),
        };
        for news in self.watch.assess(now_ns, error.is_some() || unread, stats.behind_s) {
            let detail = match news {
                FarNews::Failed => detail.clone(),
                FarNews::Recovered => "it answers again".into(),
                FarNews::Behind | FarNews::CaughtUp => format!(
                    "{} files of {} bytes wait, the oldest for {} s",
                    stats.pending_files, stats.pending_bytes, stats.behind_s
                ),
            };
            tracing::warn!(action = news.action(), "{detail}");
            let actor = Actor { who: "alcedo".into(), at_ns: now_ns, client: "store".into() };
            app.note(&actor, news.action(), "tier", &detail);
        }
    }
}
