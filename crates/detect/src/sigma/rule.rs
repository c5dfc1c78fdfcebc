//! The rule model: what a Sigma document says once it has been read and lowered.

use crate::sigma::correlation::Correlation;
use event::Level;
use filter::Plan;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a rule was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    /// File, as given to the loader; empty for rules built from text alone.
    pub file: Arc<PathBuf>,
    /// Line of the document's first key within the file, from 1.
    pub line: u32,
    /// The whole text of the document, for showing it to people.
    pub text: Arc<str>,
    /// Texts of the filter documents that were applied to it.
    pub filters: Vec<Arc<str>>,
}

/// One rule, ready to be put into a [`crate::ruleset::RuleSet`].
#[derive(Clone, Debug)]
pub struct Rule {
    /// Identity. Rules without an `id` take their `name`, or `sha:` and their content hash.
    pub id: Arc<str>,
    /// Short name that correlations may refer to.
    pub name: Option<Arc<str>>,
    /// One line of what it finds.
    pub title: Arc<str>,
    /// `stable`, `test`, `experimental`, `deprecated`, `unsupported`, or empty.
    pub status: Box<str>,
    /// Longer text; may be empty.
    pub description: Box<str>,
    /// Who wrote it; may be empty. Shown wherever one of its alerts is shown.
    pub author: Arc<str>,
    /// SPDX expression or licence name; may be empty.
    pub license: Box<str>,
    /// Links.
    pub references: Vec<Box<str>>,
    /// ATT&CK and other tags.
    pub tags: Vec<Box<str>>,
    /// Severity; `medium` where the document gives none.
    pub level: Level,
    /// Events the rule is about, after pipelines.
    pub logsource: LogSource,
    /// Events the rule is about as written: what filters go by.
    pub logsource_written: LogSource,
    /// Date of writing as written, `YYYY-MM-DD`; may be empty.
    pub date: Box<str>,
    /// Date of last change as written; may be empty.
    pub modified: Box<str>,
    /// Hex of a 128-bit hash over the document's text (and that of filters applied to it).
    pub hash: Arc<str>,
    /// `alcedo_suppression`: further alerts with the same entity within this many ns only count up
    /// the first one. `None`: the alerting default.
    pub suppression_ns: Option<i64>,
    /// Whether a hit is an alert by itself. False for rules that only feed a correlation.
    pub generate: bool,
    /// The rule is watched but not acted upon: its matches are counted and it never alerts.
    pub shadow: bool,
    /// What the rule does.
    pub kind: RuleKind,
    /// Tests written beside the rule (`alcedo_tests`).
    pub tests: Vec<RuleTest>,
    /// Where it came from.
    pub source: RuleSource,
}

impl Rule {
    /// The plan of a detection rule; `None` for correlations and filters.
    pub fn plan(&self) -> Option<&Plan> {
        match &self.kind {
            RuleKind::Detection { plan } => Some(plan),
            _ => None,
        }
    }

    /// The correlation, if it is one.
    pub fn correlation(&self) -> Option<&Correlation> {
        match &self.kind {
            RuleKind::Correlation(correlation) => Some(correlation),
            _ => None,
        }
    }

    /// `detection`, a correlation type's name, or `filter`.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            RuleKind::Detection { .. } => "detection",
            RuleKind::Correlation(correlation) => correlation.kind.name(),
            RuleKind::Filter(_) => "filter",
        }
    }

    /// Whether `reference` (an id or a name) means this rule.
    pub fn answers_to(&self, reference: &str) -> bool {
        *self.id == *reference || self.name.as_deref() == Some(reference)
    }
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// Holds or does not hold for one event.
    Detection {
        /// The condition, lowered.
        plan: Plan,
    },
    /// Relates the hits of other rules.
    Correlation(Correlation),
    /// Narrows other rules. The loader applies filters and drops them; it never returns one.
    Filter(FilterDoc),
}

/// A `filter:` document.
#[derive(Clone, Debug)]
pub struct FilterDoc {
    /// Ids or names of the rules it narrows; empty = all rules its logsource fits.
    pub rules: Vec<Box<str>>,
    /// What must hold in addition to the rule's own condition.
    pub plan: Plan,
}

/// The events a rule is about. Absent components fit everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogSource {
    /// `windows`, `linux`, `aws`, ...
    pub product: Option<Box<str>>,
    /// `process_creation`, `webserver`, ...
    pub category: Option<Box<str>>,
    /// `security`, `sshd`, `cloudtrail`, ...
    pub service: Option<Box<str>>,
    /// What has to be logged for the rule to see anything, in the author's words. It decides
    /// nothing.
    pub definition: Option<Box<str>>,
}

impl LogSource {
    /// The components in the order product, category, service.
    pub fn parts(&self) -> [Option<&str>; 3] {
        [self.product.as_deref(), self.category.as_deref(), self.service.as_deref()]
    }

    /// Whether this logsource (of a filter) covers `rule`: every component it names is named equal
    /// there, without regard to case.
    pub fn covers(&self, rule: &LogSource) -> bool {
        self.parts().iter().zip(rule.parts()).all(|(own, other)| match (own, other) {
            (None, _) => true,
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            (Some(_), None) => false,
        })
    }

    /// `product/category/service`, with `-` for what is not named.
    pub fn shown(&self) -> String {
        self.parts().map(|p| p.unwrap_or("-")).join("/")
    }
}

/// One test of a rule, from its `alcedo_tests` attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleTest {
    /// What the test shows.
    pub name: Box<str>,
    /// What is put in, in order.
    pub steps: Vec<TestStep>,
    /// Whether the rule must match.
    pub expected: bool,
    /// How many matches (of a correlation: episodes) there must be, where the test says so.
    pub count: Option<u32>,
}

impl RuleTest {
    /// The test's only input, for tests that are about one event.
    pub fn single(&self) -> Option<&TestInput> {
        match self.steps.as_slice() {
            [step] if step.repeat == 1 => Some(&step.input),
            _ => None,
        }
    }
}

/// One or several equal records of a [`RuleTest`].
#[derive(Clone, Debug, PartialEq)]
pub struct TestStep {
    /// What is put in. `{n}` in its texts becomes the number of the repetition, from 0.
    pub input: TestInput,
    /// When the first is received, ns after the beginning of the test.
    pub at_ns: i64,
    /// How many.
    pub repeat: u32,
    /// Time between them, ns.
    pub every_ns: i64,
}

/// Input of a [`RuleTest`].
#[derive(Clone, Debug, PartialEq)]
pub enum TestInput {
    /// An event as a JSON object (`event:`), to be flattened into fields.
    Event(serde_json::Value),
    /// A record as a sender would send it (`raw:`), to be parsed and shaped.
    Raw(Box<str>),
}
