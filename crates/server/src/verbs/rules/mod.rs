//! `alcedo rules ...`: detection as code.

mod cost;
mod explain;
mod groups;
mod import;
mod listing;
mod new;
mod test;

use super::ask::ask;
use super::check::{config_of, reading};
use super::{check, output, say};
use crate::cli::{Global, Output, RuleFiles, Rules};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::Parts;
use detect::attack::{self, Generation};
use serde_json::json;

/// Runs the verb.
pub fn run(verb: &Rules, global: &Global) -> Outcome {
    match verb {
        Rules::List(args) => listing::list(args, global),
        Rules::Check { files } => check::rules(&files.paths, &files.pipelines, global),
        Rules::Test { files, junit } => test::run(files, junit.as_deref(), global),
        Rules::New { title, logsource } => new::run(title, logsource),
        Rules::Fields { files } => listing::fields(files, global),
        Rules::Coverage { files, live } => listing::coverage(files, *live, global),
        Rules::Cost(args) => cost::run(args, global),
        Rules::Navigator { files, attack } => navigator(files, *attack, global),
        Rules::Import(args) => import::run(args, global),
        Rules::Explain(args) => explain::run(args, global),
        Rules::Reload => reload(global),
    }
}

/// Rules of files; problems are told on standard error.
fn parts_of(files: &RuleFiles, global: &Global) -> Result<Parts, Failure> {
    let config = config_of(global)?;
    let reading = reading(global, &files.pipelines)?;
    let parts = Parts::of_files(&files.paths, config.packs.as_ref(), &reading)?;
    for complaint in parts.complaints() {
        super::complain(&complaint);
    }
    Ok(parts)
}

fn navigator(files: &RuleFiles, version: u8, global: &Global) -> Outcome {
    let parts = parts_of(files, global)?;
    let generation = if version == 18 { Generation::V18 } else { Generation::V19 };
    let layer = attack::navigator(parts.rules.iter().map(|r| &**r), generation, "Alcedo rules");
    say(&match output(global) {
        Output::Ndjson => layer.to_string(),
        _ => serde_json::to_string_pretty(&layer).unwrap_or_default(),
    });
    Ok(Exit::Ok)
}

/// How many rules are in force as they were, in words; nothing if all are as they are written.
pub fn kept(count: u64) -> String {
    match count {
        0 => String::new(),
        _ => format!(", {count} in force as before an edit that failed"),
    }
}

fn reload(global: &Global) -> Outcome {
    let done = ask(global, async |client| client.post("/api/v1/rules/reload", json!({})).await)?;
    say(&match output(global) {
        Output::Table => format!(
            "generation {}: {} live, {} not covered, {} failed{}, {} ms",
            done["generation"],
            done["live"],
            done["not_covered"],
            done["failed"],
            kept(done["kept"].as_u64().unwrap_or_default()),
            done["elapsed_ms"]
        ),
        _ => done.to_string(),
    });
    Ok(Exit::Ok)
}
