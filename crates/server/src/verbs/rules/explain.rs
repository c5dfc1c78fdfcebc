//! `alcedo rules explain RULE EVENT`: why it matches, or does not.

use super::super::ask::{ask, encoded, pretty};
use super::super::{output, say, tree};
use crate::cli::{Global, Output, RulesExplain};
use crate::exit::{Exit, Failure, Outcome};
use crate::files::{CountedBytes, Trouble, chunks};
use crate::generation::Parts;
use crate::verbs::check::{config_of, reading};
use detect::{LOGSOURCE_FIELD, RuleProblem, Scratch};
use event::{Envelope, EventBatch, EventId, Protocol, RowHead};
use pipeline::Generation;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Runs the verb. Ends with 1 when the rule does not match.
pub(super) fn run(args: &RulesExplain, global: &Global) -> Outcome {
    let (rule, event) = (&*args.rule, &*args.event);
    let config = config_of(global)?;
    let mut paths = if args.rules.is_empty() { config.rules } else { args.rules.clone() };
    let as_file = Path::new(rule);
    if as_file.is_file() {
        paths = vec![as_file.to_path_buf()];
    }
    let reading = reading(global, &args.pipelines)?;
    let parts = Parts::of_files(&paths, config.packs.as_ref(), &reading)?;
    let is_meant = |p: &&RuleProblem| as_file.is_file() || [&*p.rule, &*p.name].contains(&rule);
    let problem = parts.problems.iter().find(is_meant).cloned();
    let complaints = if as_file.is_file() { parts.complaints() } else { Vec::new() };
    let generation = parts.compile(0, [0; 16])?;
    let number = match as_file.is_file() {
        true => in_file(&generation),
        false => generation.rules.find(rule),
    };
    complaints.iter().for_each(|complaint| super::super::complain(complaint));
    // Another document of the file is not what was asked for.
    let number = number.filter(|number| {
        let rule = generation.rules.rule(*number);
        let is_last = rule.correlation().is_some()
            && problem.as_ref().is_none_or(|p| p.document < rule.source.line);
        !as_file.is_file() || problem.is_none() || is_last
    });
    let Some(number) = number else {
        let message = problem.map_or(format!("there is no rule {rule}"), |p| p.to_string());
        return Err(Failure::invalid(message, "--rules PATH says where rules are"));
    };
    if generation.rules.rule(number).correlation().is_some() {
        // One event says little about a correlation: the whole file is looked at.
        return super::groups::run(&generation, number, Path::new(event), global);
    }
    let records = records_of(event, global)?;
    let mut matched = true;
    for record in &records {
        matched &= explain(&generation, number, record, global);
    }
    Ok(if matched { Exit::Ok } else { Exit::Findings })
}

/// Which rule of a file is meant: the correlation, if there is one, else the first.
fn in_file(generation: &Generation) -> Option<u32> {
    let rules = generation.rules.rules();
    let correlation = rules.iter().rposition(|r| r.correlation().is_some());
    (!rules.is_empty()).then(|| correlation.unwrap_or(0) as u32)
}

/// The record of a file (`FILE`, `FILE:NUMBER`, `-`), or of an event on the server.
fn records_of(event: &str, global: &Global) -> Result<Vec<Vec<u8>>, Failure> {
    let (path, number) = match event.rsplit_once(':') {
        Some((path, n)) if !Path::new(event).exists() => match n.parse::<u64>() {
            Ok(n) => (path, Some(n)),
            Err(_) => (event, None),
        },
        _ => (event, None),
    };
    if path != "-" && !Path::new(path).exists() && event.parse::<EventId>().is_ok() {
        let path = format!("/api/v1/events/{}", encoded(event));
        let found = ask(global, async |client| client.get(&path).await)?;
        let original =
            found["event.original"].as_str().or(found["event"]["event.original"].as_str());
        return original.map(|o| vec![o.as_bytes().to_vec()]).ok_or_else(|| {
            Failure::invalid(format!("the event {event} has no record"), "is it still stored?")
        });
    }
    let mut out = Vec::new();
    let read = chunks(Path::new(path), &CountedBytes::default(), &mut |chunk| {
        for (n, range) in chunk.records {
            // Without a number the first record is meant.
            if number.map_or(out.is_empty(), |wanted| wanted == n) {
                out.push(chunk.bytes[range].to_vec());
            }
        }
        Ok(())
    });
    match read {
        Err(Trouble::Verb(failure)) => return Err(failure),
        Err(Trouble::File(problem)) if out.is_empty() => {
            return Err(Failure::new(Exit::Partial, format!("{path} {problem}"), ""));
        }
        _ => {}
    }
    match out.is_empty() {
        true => Err(Failure::invalid(
            format!("{event}: there is no such record"),
            "records count from 1",
        )),
        false => Ok(out),
    }
}

/// Prints the explanation of every event of a record. Out: whether the rule matches one.
fn explain(generation: &Generation, number: u32, record: &[u8], global: &Global) -> bool {
    let mut batch = EventBatch::new(generation.dict.clone());
    let now = io::intake::wall_ns();
    let envelope = Arc::new(Envelope::of("file", Protocol::File));
    let head = RowHead { id: EventId::at(0), received_ns: now, stream_ns: now, envelope };
    generation.shaper.shape(head, record, &mut batch, &mut shape::Scratch::default());
    let mut matches = Vec::new();
    generation.rules.match_batch(&batch, &mut Scratch::new(), &mut matches);
    let rule = generation.rules.rule(number);
    let form = output(global);
    let mut any = false;
    for row in batch.rows() {
        let outcome = generation.rules.explain(number, &batch, row.index());
        let matched = matches.iter().any(|m| m.rule == number && m.row as usize == row.index());
        any |= matched;
        let logsources: Vec<String> = batch
            .id(LOGSOURCE_FIELD)
            .map(|id| row.all(id).map(|v| v.text().into_owned()).collect())
            .unwrap_or_default();
        let reason = match (matched, outcome.matched) {
            (true, _) => "the condition holds".to_owned(),
            (false, true) => detect::ruletest::elsewhere(&logsources, &rule.logsource.shown()),
            (false, false) => "the condition does not hold".to_owned(),
        };
        let mut event = String::new();
        shape::to_json(&row, &mut event);
        let event: Value = serde_json::from_str(&event).unwrap_or_default();
        let found = json!({
            "rule": {
                "id": &*rule.id, "title": &*rule.title, "author": &*rule.author,
                "license": &*rule.license, "rev": &*rule.hash,
                "logsource": rule.logsource.shown(),
            },
            "matched": matched, "reason": reason, "condition": outcome, "logsource": logsources,
            "events": [event],
        });
        match form {
            Output::Table => {
                say(&format!("{}: {reason}", rule.title));
                for line in tree::lines(&found["condition"], 1) {
                    say(&line);
                }
            }
            _ => say(&pretty(&found, form)),
        }
    }
    any
}
