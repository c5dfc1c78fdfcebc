//! What is wrong with a rule, where, and what to do about it.

use event::Level;
use hashbrown::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a document gives no live rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The text is not a valid rule: its author has to change it.
    Invalid,
    /// The rule is valid (or was once) but cannot be honoured exactly, so it is not run at all.
    NotCovered,
}

/// One problem of one document. Other documents of the same file are unaffected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// File; empty for rules built from text alone.
    pub file: Arc<PathBuf>,
    /// Line within the file, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// First line of its document: what is wrong with one document is wrong with one rule.
    pub document: u32,
    /// The rule's id, or its title, or empty.
    pub rule: Box<str>,
    /// The rule's name, if it has one.
    pub name: Box<str>,
    /// The rule's title, or empty.
    pub title: Box<str>,
    /// The rule's level, if that could be read.
    pub level: Option<Level>,
    /// Text of the document if it is no YAML: what it says of itself is a guess then.
    pub unread: Option<Arc<str>>,
    /// Broken, or not covered.
    pub kind: ProblemKind,
    /// Surely a slip of its author, of whatever kind: a check of rules fails on it.
    pub mistake: bool,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, column) = (self.file.display(), self.line, self.column);
        write!(f, "{file}:{line}:{column}: {}", self.reason)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// A document that is not in force as it is written, with all that is wrong with it.
#[derive(Clone, Debug)]
pub struct RefusedRule<'p> {
    /// Its problems, at least one, in the order in which they stand.
    pub problems: Vec<&'p RuleProblem>,
}

impl<'p> RefusedRule<'p> {
    /// The documents that problems are about, in the order of their first ones.
    pub fn of(problems: impl IntoIterator<Item = &'p RuleProblem>) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        let mut places: HashMap<(&PathBuf, u32, &str), usize> = HashMap::new();
        for problem in problems {
            let place = (&*problem.file, problem.document, &*problem.rule);
            let at = *places.entry(place).or_insert(out.len());
            match out.get_mut(at) {
                Some(known) => known.problems.push(problem),
                None => out.push(Self { problems: vec![problem] }),
            }
        }
        out
    }

    /// Its first problem, which names the rule as the others do.
    pub fn first(&self) -> &'p RuleProblem {
        self.problems[0]
    }

    /// Whether its author surely made a slip; else it is valid, and cannot be honoured exactly.
    pub fn is_failed(&self) -> bool {
        self.problems.iter().any(|p| p.mistake)
    }

    /// What it is called wherever rules are listed: `failed` or `not_covered`.
    pub fn state(&self) -> &'static str {
        if self.is_failed() { "failed" } else { "not_covered" }
    }

    /// What is wrong, in one line.
    pub fn reason(&self) -> String {
        let reasons: Vec<&str> = self.problems.iter().map(|p| p.reason.as_str()).collect();
        reasons.join("; ")
    }

    /// How many documents failed and how many are not covered.
    pub fn counts(refused: &[Self]) -> (usize, usize) {
        let failed = refused.iter().filter(|r| r.is_failed()).count();
        (failed, refused.len() - failed)
    }
}

/// A place within a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// A problem that does not yet know its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where, if known better than by the value that was being read.
    pub at: Option<Position>,
    /// Broken, or not covered.
    pub kind: ProblemKind,
    /// Surely a slip of its author, see [`RuleProblem::mistake`].
    pub mistake: bool,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub hint: String,
    /// It is about the document as a whole, so it is told once, at the first place.
    pub once: bool,
    /// The word of the value at [`Refusal::at`] that it is about.
    pub word: Option<Word>,
}

/// A word, or a sign, of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As written.
    pub text: Box<str>,
    /// How many of the same stand before it in the text.
    pub earlier: usize,
}

impl Refusal {
    /// The text is wrong.
    pub fn invalid(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        let (reason, hint) = (reason.into(), hint.into());
        let (at, word) = (None, None);
        Self { at, kind: ProblemKind::Invalid, mistake: true, reason, hint, once: false, word }
    }

    /// The rule cannot be honoured exactly.
    pub fn not_covered(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { mistake: false, ..Self::misspelt(reason, hint) }
    }

    /// The rule names something that does not exist. Another version or engine may know it, so it is
    /// not covered here; nearly always it is a slip.
    pub fn misspelt(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: ProblemKind::NotCovered, ..Self::invalid(reason, hint) }
    }

    /// Adds the place, unless an inner one is already known.
    pub fn at(mut self, position: Position) -> Self {
        self.at = self.at.or(Some(position));
        self
    }

    /// Adds the word that it is about, behind `earlier` of the same.
    pub fn on_word(mut self, word: &str, earlier: usize) -> Self {
        self.word = Some(Word { text: word.into(), earlier });
        self
    }
}

/// "did you mean" where one of the known words is near, else what there is.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match event::text::nearest(word, known.clone()) {
        Some(best) => format!("did you mean `{best}`?"),
        None => format!("known are {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// The problems of one document so far. Reading goes on after each, so that an author sees all of
/// them at once.
#[derive(Debug, Default)]
pub struct Refusals(Vec<Refusal>);

/// Most problems listed of one document: the rest is more of the same.
pub const PROBLEMS_MAX: usize = 64;

impl Refusals {
    /// Takes note of a problem; further ones than [`PROBLEMS_MAX`] are left out.
    pub fn push(&mut self, refusal: Refusal) {
        let is_told = |told: &Refusal| told.once && told.hint == refusal.hint;
        if refusal.once && self.0.iter().any(is_told) {
            return;
        }
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(refusal);
        }
    }

    /// The value, or a note of why there is none.
    pub fn ok<T>(&mut self, result: Result<T, Refusal>) -> Option<T> {
        result.map_err(|refusal| self.push(refusal)).ok()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order found.
    pub fn into_vec(self) -> Vec<Refusal> {
        self.0
    }
}
