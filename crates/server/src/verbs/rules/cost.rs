//! `alcedo rules cost`: what each rule costs on the running server.

use super::super::ask::{ask, rows};
use super::super::{complain, output};
use crate::cli::{Global, RulesCost};
use crate::exit::{Exit, Outcome};
use serde_json::Value;

/// Runs the verb.
pub(super) fn run(args: &RulesCost, global: &Global) -> Outcome {
    let found = ask(global, async |client| client.get("/api/v1/rules/cost").await)?;
    let all = found["rules"].as_array().cloned().unwrap_or_default();
    let over = |row: &Value| row["over_budget"] == true || row["paused"] == true;
    let count = all.iter().filter(|r| over(r)).count();
    let kept = all.into_iter().filter(|row| !args.over_budget || over(row));
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let kept: Vec<Value> = kept.take(most).collect();
    let columns =
        ["work_per_event", "candidates", "matched", "over_budget", "paused", "title", "witness"];
    rows(&kept.into(), &columns, output(global));
    if count > 0 && !global.quiet {
        let most = &found["work_per_event_max"];
        complain(&format!("{count} rules need more work per event than they may ({most} units)"));
    }
    Ok(Exit::Ok)
}
