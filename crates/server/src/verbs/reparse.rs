//! `alcedo reparse`: stored events shaped anew with the packs of now.

use super::ask::ask;
use super::{complain, output, say};
use crate::cli::store::Reparse;
use crate::cli::{Global, Output};
use crate::exit::{Exit, Failure, Outcome};
use serde_json::{Value, json};
use std::time::Duration;

/// Pause between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Begins a run and watches it to its end. Interrupted, it goes on in the server.
pub fn run(args: &Reparse, global: &Global) -> Outcome {
    let body = json!({
        "filter": args.filter,
        "since": args.since,
        "until": args.until,
        "reason": args.reason.as_deref().unwrap_or_default(),
        "dry_run": args.dry_run,
    });
    let done = ask(global, async |client| {
        client.post("/api/v1/reparse", body).await?;
        let mut shown = 0;
        loop {
            let run = client.get("/api/v1/reparse").await?["reparse"].clone();
            if !run["ended_at"].is_null() {
                return Ok(run);
            }
            let files_done = run["files_done"].as_u64().unwrap_or(0);
            if files_done > shown && !global.quiet {
                shown = files_done;
                complain(&format!("{files_done} of {} files, {}", run["files"], counts(&run)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })?;
    match output(global) {
        Output::Table => {
            let would = if args.dry_run { "would change: " } else { "" };
            say(&format!("{would}{}", counts(&done)));
        }
        _ => say(&done.to_string()),
    }
    match done["error"].as_str() {
        Some(error) => Err(Failure::new(Exit::Partial, error, "ask again: it goes on from here")),
        None => Ok(Exit::Ok),
    }
}

fn counts(run: &Value) -> String {
    format!(
        "{} events match, {} changed, {} of them could not be parsed before; left as they are: {} \
         that would get worse, {} on hold; {} files could not be read",
        run["matched"],
        run["changed"],
        run["mended"],
        run["worse"],
        run["held"],
        run["passed_over"]
    )
}
