//! In the background: old files of the store move to the far tier.

use super::App;
use super::background::Background;
use crate::exit::Failure;
use std::sync::Arc;
use std::time::Duration;

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
        while running.goes_on() {
            match app.store.move_old(io::intake::wall_ns(), &|| running.goes_on()) {
                Ok(round) => {
                    app.set_problem("tier", None);
                    if !round.has_more {
                        running.rest(REST);
                    }
                }
                // An upload that was stopped with us is no problem.
                Err(_) if !running.goes_on() => {}
                Err(error) => {
                    app.set_problem("tier", Some(format!("old files do not move: {error}")));
                    running.rest(REST_AFTER_FAILURE);
                }
            }
        }
    });
    thread.map(Some)
}
