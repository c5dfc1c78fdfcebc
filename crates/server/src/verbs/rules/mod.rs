//! `alcedo rules ...`: detection as code.

mod explain;
mod import;
mod listing;
mod new;
mod test;

use super::ask::ask;
use super::{check, output, say};
use crate::cli::{Global, Output, Rules};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::Parts;
use detect::attack::{self, Generation};
use serde_json::json;
use std::path::PathBuf;

/// Runs the verb.
pub fn run(verb: &Rules, global: &Global) -> Outcome {
    match verb {
        Rules::List(args) => listing::list(args, global),
        Rules::Check { paths } => check::rules(paths, global),
        Rules::Test { paths, junit } => test::run(paths, junit.as_deref(), global),
        Rules::New { title, logsource } => new::run(title, logsource),
        Rules::Fields { paths } => listing::fields(paths, global),
        Rules::Coverage { paths, live } => listing::coverage(paths, *live, global),
        Rules::Navigator { paths, attack } => navigator(paths, *attack, global),
        Rules::Import(args) => import::run(args, global),
        Rules::Explain { rule, event, rules } => explain::run(rule, event, rules, global),
        Rules::Reload => reload(global),
    }
}

/// Rules of files; problems are told on standard error.
fn parts_of(paths: &[PathBuf]) -> Result<Parts, Failure> {
    let parts = Parts::of_files(paths, None)?;
    for problem in &parts.problems {
        super::complain(&problem.to_string());
    }
    Ok(parts)
}

fn navigator(paths: &[PathBuf], version: u8, global: &Global) -> Outcome {
    let parts = parts_of(paths)?;
    let generation = if version == 18 { Generation::V18 } else { Generation::V19 };
    let layer = attack::navigator(parts.rules.iter(), generation, "Alcedo rules");
    say(&match output(global) {
        Output::Ndjson => layer.to_string(),
        _ => serde_json::to_string_pretty(&layer).unwrap_or_default(),
    });
    Ok(Exit::Ok)
}

fn reload(global: &Global) -> Outcome {
    let done = ask(global, async |client| client.post("/api/v1/rules/reload", json!({})).await)?;
    say(&match output(global) {
        Output::Table => format!(
            "generation {}: {} live, {} not covered, {} failed, {} ms",
            done["generation"],
            done["live"],
            done["not_covered"],
            done["failed"],
            done["elapsed_ms"]
        ),
        _ => done.to_string(),
    });
    Ok(Exit::Ok)
}
