//! `alcedo rules test`: the tests beside rules, and samples laid out as SigmaHQ's.

use super::super::{complain, say, tree};
use super::parts_of;
use crate::cli::{Global, Output, RuleFiles};
use crate::exit::{Exit, Failure, Outcome};
use crate::files::{CountedBytes, Trouble, chunks};
use detect::ruletest::junit::{Suite, report};
use detect::ruletest::read_named;
use detect::ruletest::{Bench, RECEIVED_NS};
use detect::{RegressionCase, Rule, RuleProblem, Scratch, TestInput, TestResult, read_regression};
use event::{Envelope, EventBatch, EventId, Protocol, RowHead};
use pipeline::Generation;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Runs all tests of the rules below `paths`. Ends with 1 when one fails, or when a rule with tests
/// could not be read.
pub(super) fn run(files: &RuleFiles, junit: Option<&Path>, global: &Global) -> Outcome {
    let parts = parts_of(files, global)?;
    let broken: Vec<Suite> = parts.problems.iter().filter(|p| p.mistake).map(unreadable).collect();
    let generation = parts.compile(0, [0; 16])?;
    let mut suites = beside_rules(&generation)?;
    let cases: Vec<RegressionCase> = files.paths.iter().flat_map(|p| read_regression(p)).collect();
    for rule in generation.rules.rules() {
        suites.extend(named(&generation, rule, &cases));
    }
    for case in &cases {
        suites.extend(sample(&generation, case));
    }
    let mut counts = [0usize; 2];
    for suite in &suites {
        for result in &suite.results {
            counts[usize::from(!result.passed)] += 1;
            if !result.passed {
                tell(suite, result);
            }
        }
    }
    let is_broken = !broken.is_empty();
    // Told already; build servers must not take tests that could not be read for tests that passed.
    suites.extend(broken);
    if let Some(path) = junit {
        std::fs::write(path, report(&suites)).map_err(|e| {
            let message = format!("{} cannot be written: {e}", path.display());
            Failure::new(Exit::Partial, message, "check the path and its permissions")
        })?;
    }
    let [passed, failed] = counts;
    match global.output {
        Some(Output::Json | Output::Ndjson) => say(&for_programs(&suites).to_string()),
        _ if !global.quiet => say(&format!("{passed} passed, {failed} failed")),
        _ => {}
    }
    Ok(if failed == 0 && !is_broken { Exit::Ok } else { Exit::Findings })
}

/// Every test for programs, rules that could not be read among them.
fn for_programs(suites: &[Suite]) -> Value {
    let results = || suites.iter().flat_map(|suite| &suite.results);
    let passed = results().filter(|result| result.passed).count();
    let failed = results().count() - passed;
    let tests = suites.iter().flat_map(|suite| {
        suite.results.iter().map(move |result| {
            json!({
                "rule": suite.title, "place": suite.place, "name": &*result.name,
                "passed": result.passed, "expected": result.expected, "found": result.found,
                "why": result.why,
            })
        })
    });
    let tests: Vec<Value> = tests.collect();
    json!({"passed": passed, "failed": failed, "tests": tests})
}

/// The samples that a rule names as its own: run if they are not among those below the paths, and a
/// test that failed if they are not there.
fn named(generation: &Generation, rule: &Rule, cases: &[RegressionCase]) -> Vec<Suite> {
    match read_named(rule) {
        None => Vec::new(),
        Some(Ok(own)) => {
            let is_among = |case: &RegressionCase| {
                cases.iter().any(|known| {
                    let folder = std::path::absolute(&known.folder).ok();
                    known.rule == case.rule && folder.as_deref() == Some(case.folder.as_path())
                })
            };
            let own = own.iter().filter(|case| !is_among(case));
            own.filter_map(|case| sample(generation, case)).collect()
        }
        Some(Err(why)) => vec![suite_of(rule, vec![failed("its samples are there", why)])],
    }
}

fn failed(name: &str, why: String) -> TestResult {
    TestResult { name: name.into(), passed: false, expected: true, found: 0, why, outcome: None }
}

/// A rule that could not be read, as a test that failed.
fn unreadable(problem: &RuleProblem) -> Suite {
    let result = failed("can be read", problem.reason.clone());
    let place = format!("{}:{}", problem.file.display(), problem.line);
    Suite { title: problem.rule.to_string(), place, results: vec![result] }
}

fn tell(suite: &Suite, result: &TestResult) {
    complain(&format!("{} {} > {}: {}", suite.place, suite.title, result.name, result.why));
    let outcome = serde_json::to_value(&result.outcome).unwrap_or_default();
    for line in tree::lines(&outcome, 2) {
        complain(&line);
    }
}

fn suite_of(rule: &Rule, results: Vec<TestResult>) -> Suite {
    let place = format!("{}:{}", rule.source.file.display(), rule.source.line);
    Suite { title: rule.title.to_string(), place, results }
}

/// The `alcedo_tests` of every rule.
fn beside_rules(generation: &Generation) -> Result<Vec<Suite>, Failure> {
    let mut bench = Bench::new(&generation.rules);
    let mut scratch = shape::Scratch::default();
    let mut out = Vec::new();
    for (number, rule) in generation.rules.rules().iter().enumerate() {
        let results = bench.run(number as u32, &mut |head, input, batch| {
            generation.shaper.shape(head, &bytes_of(input), batch, &mut scratch);
        });
        let results = results.map_err(|e| Failure::invalid(e, "`alcedo rules check` shows it"))?;
        if !results.is_empty() {
            out.push(suite_of(rule, results));
        }
    }
    Ok(out)
}

fn bytes_of(input: &TestInput) -> Vec<u8> {
    match input {
        TestInput::Event(event) => event.to_string().into_bytes(),
        TestInput::Raw(raw) => raw.as_bytes().to_vec(),
    }
}

/// A sample of `regression_data`, a test of its own. Samples of rules that are
/// not loaded are passed over.
fn sample(generation: &Generation, case: &RegressionCase) -> Option<Suite> {
    let rule = generation.rules.find(&case.rule)?;
    let unread = case.unread.iter().map(|why| failed("its samples can be read", why.clone()));
    let mut results: Vec<TestResult> = unread.collect();
    if !case.events.is_empty() {
        let records = case.events.iter().map(|e| e.to_string().into_bytes()).collect();
        results.push(judged(generation, rule, case, "json", records));
    }
    if !case.raw.is_empty() {
        let records = case.raw.iter().map(|r| r.as_bytes().to_vec()).collect();
        results.push(judged(generation, rule, case, "raw", records));
    }
    for file in &case.evtx {
        let mut records = Vec::new();
        let read = chunks(file, &CountedBytes::default(), &mut |chunk| {
            records.extend(chunk.records.into_iter().map(|(_, r)| chunk.bytes[r].to_vec()));
            Ok(())
        });
        if let Err(Trouble::File(problem)) = read {
            complain(&format!("{} {problem}", file.display()));
        }
        results.push(judged(generation, rule, case, "evtx", records));
    }
    Some(suite_of(generation.rules.rule(rule), results))
}

fn judged(
    generation: &Generation,
    rule: u32,
    case: &RegressionCase,
    form: &str,
    records: Vec<Vec<u8>>,
) -> TestResult {
    let mut batch = EventBatch::new(generation.dict.clone());
    let mut scratch = shape::Scratch::default();
    let envelope = Arc::new(Envelope::of("test", Protocol::File));
    for (number, record) in records.iter().enumerate() {
        let head = RowHead {
            id: EventId::at(number as u64),
            received_ns: RECEIVED_NS,
            stream_ns: RECEIVED_NS,
            envelope: envelope.clone(),
        };
        generation.shaper.shape(head, record, &mut batch, &mut scratch);
    }
    let mut matches = Vec::new();
    generation.rules.match_batch(&batch, &mut Scratch::new(), &mut matches);
    let found = matches.iter().filter(|m| m.rule == rule).count() as u64;
    let (passed, wanted) = match case.matches {
        Some(0) => (found == 0, "no match".to_owned()),
        // A lower bound to SigmaHQ's own runner, too.
        Some(n) => (found >= u64::from(n), format!("{n} matches")),
        None => (found > 0, "a match".to_owned()),
    };
    let why = match passed {
        true => String::new(),
        false => format!("expected {wanted} in {} events, found {found}", records.len()),
    };
    let name = format!("{} ({form})", case.name);
    let expected = case.matches != Some(0);
    TestResult { name: name.into(), passed, expected, found, why, outcome: None }
}
