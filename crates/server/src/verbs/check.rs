//! `alcedo check` and `alcedo rules check|test`: everything that can be wrong, before it runs.

use super::{complain, say};
use crate::cli::Global;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::Parts;
use detect::{ProblemKind, RuleProblem, TestInput};
use event::{Envelope, EventBatch, EventId, Protocol, RowHead};
use pipeline::Generation;
use std::path::PathBuf;
use std::sync::Arc;

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

/// `alcedo check`
pub fn all(global: &Global, paths: &[PathBuf]) -> Outcome {
    let mut config = config_of(global)?;
    config.rules.extend_from_slice(paths);
    let parts = Parts::of_config(&config)?;
    report(&parts, global.quiet)
}

/// `alcedo rules check`
pub fn rules(paths: &[PathBuf], global: &Global) -> Outcome {
    report(&Parts::of_files(paths, None)?, global.quiet)
}

fn report(parts: &Parts, quiet: bool) -> Outcome {
    let broken = |p: &&RuleProblem| p.kind == ProblemKind::Invalid;
    let failed = parts.problems.iter().filter(broken).count();
    for problem in &parts.problems {
        complain(&problem.to_string());
    }
    parts.clone().compile(0, [0; 16])?;
    if !quiet {
        say(&format!(
            "{} rules live, {} not covered, {failed} failed",
            parts.rules.len(),
            parts.problems.len() - failed
        ));
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Invalid })
}

/// `alcedo rules test`
pub fn test(paths: &[PathBuf], global: &Global) -> Outcome {
    let parts = Parts::of_files(paths, None)?;
    let generation = parts.compile(0, [0; 16])?;
    let (mut passed, mut failed) = (0, 0);
    for index in 0..generation.rules.rules().len() as u32 {
        let rule = generation.rules.rule(index);
        for test in &rule.tests {
            let held = event_of(&generation, &test.input)
                .is_some_and(|batch| generation.rules.explain(index, &batch, 0).matched);
            if held == test.expected {
                passed += 1;
            } else {
                failed += 1;
                let word = if test.expected { "no match" } else { "a match" };
                complain(&format!("{} > {}: {word}", rule.title, test.name));
            }
        }
    }
    if !global.quiet {
        say(&format!("{passed} passed, {failed} failed"));
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Findings })
}

/// The event a rule test is about, shaped as it would be live.
fn event_of(generation: &Generation, input: &TestInput) -> Option<EventBatch> {
    let bytes = match input {
        TestInput::Event(event) => event.to_string().into_bytes(),
        TestInput::Raw(raw) => raw.as_bytes().to_vec(),
    };
    let mut batch = EventBatch::new(generation.dict.clone());
    let envelope = Arc::new(Envelope::of("test", Protocol::File));
    let head = RowHead { id: EventId::at(0), received_ns: 0, stream_ns: 0, envelope };
    generation.shaper.shape(head, &bytes, &mut batch, &mut shape::Scratch::default());
    (!batch.is_empty()).then_some(batch)
}
