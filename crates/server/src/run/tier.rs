//! In the background: old files of the store move to the far tier.

use super::App;
use super::background::Background;
use crate::exit::Failure;
use ledger::Actor;
use std::sync::Arc;
use std::time::Duration;
use store::{StoreError, TierStats};
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
    let thread = Background::start_behind("far tier", move |running| {
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

/// What was told, and what had failed and been answered by then.
#[derive(Default)]
struct Told {
    watch: FarWatch,
    failures: u64,
    answers: u64,
}

impl Told {
    /// Tells operators by the overview, and rules by events of the source `alcedo`.
    fn tell(&mut self, app: &App, error: Option<&StoreError>) {
        let now_ns = io::intake::wall_ns();
        let Some(stats) = app.store.tier_stats(now_ns) else { return };
        app.set_problem("tier", error.map(|e| format!("old files do not move: {e}")));
        for (news, detail) in self.news(now_ns, &stats, error.map(ToString::to_string)) {
            tracing::warn!(action = news.action(), "{detail}");
            let actor = Actor { who: "alcedo".into(), at_ns: now_ns, client: "store".into() };
            app.note(&actor, news.action(), "tier", &detail);
        }
    }

    /// What is new since the last round, which ended with `error`.
    fn news(
        &mut self,
        now_ns: i64,
        stats: &TierStats,
        error: Option<String>,
    ) -> Vec<(FarNews, String)> {
        let since = |known: &mut u64, now| now - std::mem::replace(known, now).min(now);
        let failed = since(&mut self.failures, stats.failures);
        let answered = since(&mut self.answers, stats.answers);
        let has_failed = match (error.is_some() || failed > 0, answered > 0) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            // Nobody asked the far tier anything.
            (false, false) => None,
        };
        // Without an error they are those of searches, exports and backups.
        let detail = error.unwrap_or_else(|| format!("{failed} calls to the far tier failed"));
        let news = self.watch.assess(now_ns, has_failed, stats.behind_s).into_iter();
        let told = news.map(|news| match news {
            FarNews::Failed => (news, detail.clone()),
            FarNews::Recovered => (news, "it answers again".into()),
            FarNews::Behind | FarNews::CaughtUp => {
                let text = format!(
                    "{} files of {} bytes wait, the oldest for {} s",
                    stats.pending_files, stats.pending_bytes, stats.behind_s
                );
                (news, text)
            }
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the far tier is away, a search asks it every five minutes, and no file is due between;
    /// it answers; then nobody asks.
    /// Guarantees: it is told as failed once, and as answering once, when it does.
    #[test]
    fn what_nobody_asked_does_not_answer_again() {
        let mut told = Told::default();
        let mut stats = TierStats::default();
        let second = event::time::SECOND_NS;
        let mut all = Vec::new();
        for round in 0..200 {
            match round {
                0..100 if round % 10 == 0 => stats.failures += 3,
                100 => stats.answers += 1,
                _ => {}
            }
            let news = told.news(round * 30 * second, &stats, None);
            all.extend(news.into_iter().map(|(news, detail)| (round, news, detail)));
        }
        let failed = (0, FarNews::Failed, "3 calls to the far tier failed".to_owned());
        assert_eq!(all, [failed, (100, FarNews::Recovered, "it answers again".to_owned())]);
        let news = told.news(i64::MAX, &stats, Some("no".into()));
        assert_eq!(news, [(FarNews::Failed, "no".to_owned())]);
    }
}
