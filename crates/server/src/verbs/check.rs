//! `alcedo check` and `alcedo rules check`: everything that can be wrong, before it runs.

use super::{complain, say};
use crate::cli::{Global, Pipelines};
use crate::config::{self, Config, Detection};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::Parts;
use detect::{ProblemKind, RuleProblem};
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
    let parts = Parts::of_config(&config)?;
    report(&parts, global.quiet)
}

/// `alcedo rules check`
pub fn rules(paths: &[PathBuf], pipelines: &Pipelines, global: &Global) -> Outcome {
    report(&Parts::of_files(paths, None, &reading(global, pipelines)?)?, global.quiet)
}

fn report(parts: &Parts, quiet: bool) -> Outcome {
    let broken = |p: &&RuleProblem| p.kind == ProblemKind::Invalid;
    let failed = parts.problems.iter().filter(broken).count();
    for complaint in parts.complaints() {
        complain(&complaint);
    }
    let unread = parts.broken_pipelines.len();
    if unread == 0 {
        parts.clone().compile(0, [0; 16])?;
    }
    if !quiet {
        say(&format!(
            "{} rules live, {} not covered, {failed} failed",
            parts.rules.len(),
            parts.problems.len() - failed
        ));
    }
    let left_out = parts.ground.packs.left_out().len();
    Ok(if failed + unread + left_out == 0 { Exit::Ok } else { Exit::Invalid })
}
