//! Rules that carry their own tests, and SigmaHQ's regression samples.
//!
//! ```text
//! test steps --shaper (the caller's)--> batch --matcher, routing on--> matches --engine--> episodes
//!                                                                         \--> verdict, and why not
//! ```
//! How a test's input becomes rows (packs, or [`flatten`]) is the caller's: it passes a *shaper*.
//! Everything after that is the live path: the batch matcher with logsource routing, and the
//! correlation engine in event time.

mod flatten;
pub mod junit;
pub mod regression;

pub use flatten::{DEPTH_MAX, flatten, push_event};
pub use regression::{RegressionCase, read_named, read_regression};

use crate::Scratch;
use crate::correlate::{Extractor, KeyHasher, SpecError, SpecSet, in_event_time};
use crate::matcher::LOGSOURCE_FIELD;
use crate::ruleset::RuleSet;
use crate::sigma::{Rule, RuleTest, TestInput, TestStep};
use event::{Envelope, EventBatch, EventId, Outcome, Protocol, RowHead};
use serde_json::Value as Json;
use std::sync::Arc;

/// When tests are received: 2027-01-01T00:00:00Z. Times in records without a year are taken as the
/// latest ones before it.
pub const RECEIVED_NS: i64 = 1_798_761_600_000_000_000;
/// Rows shaped before they are matched.
const BATCH_ROWS: usize = 1_024;

/// Turns one input into rows of a batch. The head has the id and the times to use.
pub type Shaper<'a> = dyn FnMut(RowHead, &TestInput, &mut EventBatch) + 'a;

/// Result of one test.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Name of the test.
    pub name: Box<str>,
    /// Whether the rule did what the test expects.
    pub passed: bool,
    /// Whether it should have matched.
    pub expected: bool,
    /// How often it matched (a correlation: how many episodes).
    pub found: u64,
    /// What went wrong, in words; empty when it passed.
    pub why: String,
    /// What was evaluated, for a failed test about one event.
    pub outcome: Option<Outcome>,
}

/// A rule set made ready for its tests.
pub struct Bench<'a> {
    set: &'a RuleSet,
    scratch: Scratch,
}

/// What the rule under test correlates with; of a detection rule nothing.
struct Correlator {
    specs: Arc<SpecSet>,
    extractor: Extractor,
}

impl<'a> Bench<'a> {
    /// For a set.
    pub fn new(set: &'a RuleSet) -> Self {
        Self { set, scratch: Scratch::new() }
    }

    /// Runs the tests of rule number `rule`.
    ///
    /// # Errors
    /// The rule is a correlation that cannot be run.
    pub fn run(
        &mut self,
        rule: u32,
        shaper: &mut Shaper<'_>,
    ) -> Result<Vec<TestResult>, SpecError> {
        let set = self.set;
        let tests = &set.rule(rule).tests;
        if tests.is_empty() {
            return Ok(Vec::new());
        }
        let specs = SpecSet::of_rule(set, rule)?;
        let extractor = Extractor::new(&specs, set.dict(), KeyHasher::new([0; 16]));
        let correlator = Correlator { specs, extractor };
        Ok(tests.iter().map(|test| self.one(rule, test, &correlator, shaper)).collect())
    }

    fn one(
        &mut self,
        rule: u32,
        test: &RuleTest,
        correlator: &Correlator,
        shaper: &mut Shaper<'_>,
    ) -> TestResult {
        let mut first = None;
        let mut found = 0;
        let mut hits = Vec::new();
        let mut matches = Vec::new();
        let mut flush = |batch: &mut EventBatch, bench: &mut Self| {
            let full = std::mem::replace(batch, EventBatch::new(bench.set.dict().clone()));
            matches.clear();
            bench.set.match_batch(&full, &mut bench.scratch, &mut matches);
            found += matches.iter().filter(|m| m.rule == rule).count() as u64;
            correlator.extractor.extract(&full, &matches, &mut hits);
            first.get_or_insert(full);
        };
        let mut batch = EventBatch::new(self.set.dict().clone());
        let mut number = 0;
        for step in &test.steps {
            for n in 0..step.repeat {
                let at = step.at_ns + step.every_ns * i64::from(n);
                let input = numbered(step, n);
                let mut head = head(number, RECEIVED_NS + at);
                if let TestInput::Raw(raw) = &input {
                    head.envelope = Arc::new(Envelope::of_sample(raw.as_bytes()));
                }
                shaper(head, &input, &mut batch);
                number += 1;
                if batch.len() >= BATCH_ROWS {
                    flush(&mut batch, self);
                }
            }
        }
        if !batch.is_empty() {
            flush(&mut batch, self);
        }
        if self.set.rule(rule).correlation().is_some() {
            let firings = in_event_time(&correlator.specs, hits);
            found = firings.iter().filter(|f| f.rule == rule).count() as u64;
        }
        self.verdict(rule, test, found, first.as_ref())
    }

    fn verdict(
        &self,
        rule: u32,
        test: &RuleTest,
        found: u64,
        first: Option<&EventBatch>,
    ) -> TestResult {
        let passed = match test.count {
            _ if first.is_none() => false,
            Some(count) => found == u64::from(count),
            None => (found > 0) == test.expected,
        };
        let mut result = TestResult {
            name: test.name.clone(),
            passed,
            expected: test.expected,
            found,
            why: String::new(),
            outcome: None,
        };
        let Some(batch) = first.filter(|_| !passed) else {
            if !passed {
                result.why = "the input gives no event".into();
            }
            return result;
        };
        let rule_of = self.set.rule(rule);
        let wanted = match (test.count, test.expected) {
            (Some(n), _) => format!("{n} matches"),
            (None, true) => "a match".into(),
            (None, false) => "no match".into(),
        };
        result.why = format!("expected {wanted}, found {found}");
        if test.single().is_some() && rule_of.plan().is_some() {
            let outcome = self.set.explain(rule, batch, 0);
            if outcome.matched && found == 0 {
                result.why = misrouted(rule_of, batch);
            }
            result.outcome = Some(outcome);
        }
        result
    }
}

/// The condition holds, but the event is not of the rule's logsource.
fn misrouted(rule: &Rule, batch: &EventBatch) -> String {
    let row = batch.row(0);
    let of_row: Vec<String> = batch
        .id(LOGSOURCE_FIELD)
        .map(|id| row.all(id).map(|v| v.text().into_owned()).collect())
        .unwrap_or_default();
    elsewhere(&of_row, &rule.logsource.shown())
}

/// Why a rule whose condition holds says nothing: the event's logsources and the rule's.
pub fn elsewhere(of_event: &[String], of_rule: &str) -> String {
    match of_event.is_empty() {
        true => format!(
            "the condition holds, but of the event no logsource is known, and the rule is of {of_rule}"
        ),
        false => format!(
            "the condition holds, but the event is of {}, not of {of_rule}",
            of_event.join(", ")
        ),
    }
}

/// The place and times of record `number` of a test, received at `received_ns`.
pub(crate) fn head(number: u64, received_ns: i64) -> RowHead {
    let envelope = Arc::new(Envelope::of("test", Protocol::File));
    RowHead { id: EventId::at(number), received_ns, stream_ns: received_ns, envelope }
}

/// The step's input with `{n}` replaced.
fn numbered(step: &TestStep, n: u32) -> TestInput {
    fn in_json(value: &Json, n: &str) -> Json {
        match value {
            Json::String(text) => Json::String(text.replace("{n}", n)),
            Json::Array(items) => items.iter().map(|v| in_json(v, n)).collect(),
            Json::Object(map) => {
                Json::Object(map.iter().map(|(k, v)| (k.clone(), in_json(v, n))).collect())
            }
            other => other.clone(),
        }
    }
    if step.repeat == 1 {
        return step.input.clone();
    }
    let n = n.to_string();
    match &step.input {
        TestInput::Event(event) => TestInput::Event(in_json(event, &n)),
        TestInput::Raw(raw) => TestInput::Raw(raw.replace("{n}", &n).into()),
    }
}
