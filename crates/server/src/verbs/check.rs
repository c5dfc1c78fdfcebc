//! `alcedo check` and `alcedo rules check`: everything that can be wrong, before it runs.

use super::{complain, say};
use crate::api::rules::of_problem;
use crate::cli::{Global, Output, Pipelines};
use crate::config::{self, Config, Detection};
use crate::exit::{Exit, Failure, Outcome};
use crate::files::lookups::Lookups;
use crate::generation::Parts;
use detect::{RefusedRule, Remark};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The configuration of the global options, or the default one.
pub fn config_of(global: &Global) -> Result<Config, Failure> {
    let mut config = match &global.config {
        Some(path) => config::load(path).map_err(|problems| Failure::problems(&problems))?,
        None => Config::default(),
    };
    if let Some(dir) = &global.data_dir {
        config.data_dir.clone_from(dir);
    }
    Ok(config)
}

/// How rules are read: as the configuration says, with further pipelines.
pub fn reading(global: &Global, more: &Pipelines) -> Result<Detection, Failure> {
    let mut detection = config_of(global)?.detection;
    detection.pipelines.extend_from_slice(&more.pipeline);
    Ok(detection)
}

/// `alcedo check`
pub fn all(global: &Global, paths: &[PathBuf]) -> Outcome {
    let mut config = config_of(global)?;
    config.rules.extend_from_slice(paths);
    readable(&config)?;
    Lookups::of(&config).check()?;
    let parts = Parts::of_config(&config)?;
    if !global.quiet {
        warn_of_retention(&config);
        super::note_other_key(&config);
    }
    report(&parts, global)
}

/// Whether this version can read the data folder; nothing is changed by looking.
pub fn readable(config: &Config) -> Result<(), Failure> {
    let hint = "`alcedo --version` says which one this is";
    store::check_format(&config.data_dir.join("store"))
        .map_err(|error| Failure::new(Exit::Integrity, error, hint))
}

/// Tells where less is kept than auditors ask for. It is no mistake: they may not ask here.
pub fn warn_of_retention(config: &Config) {
    let rules = crate::run::store_options(config).rules();
    for warning in store::policy::warnings(&rules, config.tier.as_ref()) {
        complain(&format!("warning: {warning}"));
    }
}

/// `alcedo rules check`
pub fn rules(paths: &[PathBuf], pipelines: &Pipelines, global: &Global) -> Outcome {
    report(&Parts::of_files(paths, None, &reading(global, pipelines)?)?, global)
}

/// The parts for programs: every problem with its place.
fn for_programs(parts: &Parts, (failed, not_covered): (usize, usize)) -> Value {
    let problems = parts.broken_pipelines.iter().chain(&parts.problems);
    json!({
        "live": parts.rules.len(), "not_covered": not_covered, "failed": failed,
        "problems": problems.map(of_problem).collect::<Vec<Value>>(),
        "remarks": remarks(parts).iter().map(ToString::to_string).collect::<Vec<String>>(),
        "packs_left_out": parts.ground.packs.left_out().iter().map(ToString::to_string)
            .collect::<Vec<String>>(),
    })
}

/// What is odd in rules that are in force; nothing fails for it.
fn remarks(parts: &Parts) -> Vec<Remark> {
    parts.rules.iter().flat_map(|rule| detect::remarks(rule)).collect()
}

fn report(parts: &Parts, global: &Global) -> Outcome {
    // What is surely a slip fails here, though a server would go on with the other rules.
    let (failed, not_covered) = RefusedRule::counts(&parts.refused());
    let for_programs = match global.output {
        Some(Output::Json | Output::Ndjson) => Some(for_programs(parts, (failed, not_covered))),
        _ => None,
    };
    for complaint in parts.complaints() {
        complain(&complaint);
    }
    if !global.quiet {
        remarks(parts).iter().for_each(|remark| complain(&format!("remark: {remark}")));
    }
    let unread = parts.broken_pipelines.len();
    if unread == 0 {
        parts.clone().compile(0, [0; 16])?;
    }
    match for_programs {
        Some(report) => say(&report.to_string()),
        None if !global.quiet => {
            let live = parts.rules.len();
            say(&format!("{live} rules live, {not_covered} not covered, {failed} failed"));
        }
        None => {}
    }
    let left_out = parts.ground.packs.left_out().len();
    Ok(if failed + unread + left_out == 0 { Exit::Ok } else { Exit::Invalid })
}
