//! A regular expression that waits to be compiled until a value is tried, where waiting hides no error.
//!
//! Compiling one costs as much as reading several rules, and most stand behind literals that no event of
//! this place ever holds.

use regex::bytes::{Match, Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;
use std::fmt;
use std::sync::OnceLock;

/// Bytes that a state of the engine takes, with the transitions to the next ones, at most.
const STATE_BYTES: usize = 64;
/// States around every expression: what is passed over before a match, its bounds, its end.
const STATES_AROUND: usize = 16;

/// A linear-time regular expression on bytes.
#[derive(Clone)]
pub struct Expression(Box<Inner>);

#[derive(Clone)]
struct Inner {
    source: Box<str>,
    /// Empty while nothing was tried.
    compiled: OnceLock<Option<Regex>>,
}

impl Expression {
    /// An expression that takes so many bytes at most. One that surely takes half of them or less is
    /// compiled when it is first tried.
    ///
    /// # Errors
    /// No expression, or over the limit.
    pub fn new(source: &str, size_limit: usize) -> Result<Self, regex::Error> {
        let parsed = ParserBuilder::new().utf8(false).build().parse(source);
        if parsed.is_ok_and(|hir| bytes_max(&hir) <= size_limit / 2) {
            return Ok(Self(Box::new(Inner { source: source.into(), compiled: OnceLock::new() })));
        }
        RegexBuilder::new(source).size_limit(size_limit).build().map(Self::from)
    }

    /// Its source.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Whether it matches somewhere in the text.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.compiled().is_some_and(|regex| regex.is_match(text))
    }

    /// The leftmost match.
    pub fn find<'t>(&self, text: &'t [u8]) -> Option<Match<'t>> {
        self.compiled()?.find(text)
    }

    fn compiled(&self) -> Option<&Regex> {
        self.0.compiled.get_or_init(|| Regex::new(&self.0.source).ok()).as_ref()
    }
}

impl From<Regex> for Expression {
    fn from(regex: Regex) -> Self {
        let source = regex.as_str().into();
        Self(Box::new(Inner { source, compiled: OnceLock::from(Some(regex)) }))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.as_str()).finish()
    }
}

/// Most bytes that an automaton for the expression takes, in either direction of reading.
fn bytes_max(hir: &Hir) -> usize {
    states_max(hir).saturating_add(STATES_AROUND).saturating_mul(STATE_BYTES)
}

/// Most states. Whatever has parts takes two of its own: one to choose where it begins, one where it ends.
fn states_max(hir: &Hir) -> usize {
    let of_all = |parts: &[Hir]| parts.iter().map(states_max).fold(2, usize::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Bytes(class)) => 1 + class.ranges().len(),
        // Each range of characters is some sequences of ranges of bytes.
        HirKind::Class(Class::Unicode(class)) => {
            let sequences = class.iter().flat_map(|r| Utf8Sequences::new(r.start(), r.end()));
            sequences.map(|sequence| sequence.len()).fold(2, usize::saturating_add)
        }
        HirKind::Capture(capture) => states_max(&capture.sub).saturating_add(2),
        HirKind::Repetition(repetition) => {
            let copies = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1) as usize;
            states_max(&repetition.sub).saturating_add(2).saturating_mul(copies).saturating_add(2)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => of_all(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{Part, REGEX_SIZE_BYTES_MAX, text_test};
    use crate::test::Test;
    use proptest::prelude::*;

    /// Whether the expression compiles within what it was said to take at most.
    fn is_within(source: &str) -> bool {
        let hir = ParserBuilder::new().utf8(false).build().parse(source).unwrap();
        let built = RegexBuilder::new(source).size_limit(bytes_max(&hir)).build();
        built.is_ok()
    }

    /// Scenario: every letter that has another case, which are the widest classes that text makes, and the
    /// classes, repetitions and anchors of expressions.
    /// Guarantees: none takes more than was foreseen, so none is refused that was let in to wait.
    #[test]
    fn no_expression_takes_more_than_was_foreseen() {
        let letters: Vec<char> = (0..=0x1_ffff)
            .filter_map(char::from_u32)
            .filter(|c| !c.to_lowercase().eq(c.to_uppercase()))
            .collect();
        assert!(letters.len() > 2_000);
        for some in letters.chunks(64) {
            let some: String = some.iter().collect();
            assert!(is_within(&format!("(?si)^{some}")) && is_within(&format!("(?i)[{some}]+")));
        }
        for source in [
            "",
            "a",
            ".",
            "(?s).",
            "(?-u:.)*",
            r"\w",
            r"\W",
            r"\d{3}",
            r"\S+",
            r"\p{L}",
            "(?i)k",
            "a|b|cd|",
            "(a(b)?)*",
            r"\b\w+\b",
            "^$",
            "(?m)^a$",
            "(ab){3,7}",
            "(ab){3,}",
            "(a*)*",
            "[^a]",
            "(?-u)[^a]",
            "(?:)",
            "x{0,5}?",
            "é?",
            r"(?-u:\xff)",
            "[a-z0-9_]{2,40}",
            "a{0}",
            "(a|b|c|d|e){0,9}",
            r"[\s\S]*z",
            r"(?i)ſ",
            "[[:alpha:]]",
            "(((a)))",
        ] {
            assert!(is_within(source), "{source}");
        }
    }

    proptest! {
        #[test]
        fn no_made_up_expression_does(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "bc", "K", "é", ".", r"\w", r"\d", r"\s", "[^x]", "(?-u:.)", "(a|b)", "(?:cd|)", "*", "+?", "?", "{2}",
                    "{0,3}", "{2,}", "^", "$", r"\b", "|", "(?i)", "(", ")",
                ]),
                1..12,
            ),
        ) {
            let source = parts.concat();
            if ParserBuilder::new().utf8(false).build().parse(&source).is_ok() {
                prop_assert!(is_within(&source), "{}", source);
            }
        }
    }

    #[test]
    fn what_may_be_over_the_limit_is_compiled_at_once() {
        let is_compiled = |e: &Expression| e.0.compiled.get().is_some();
        let of = |source: &str| Expression::new(source, 1 << 16);
        let small = of("(?i)a+b").unwrap();
        assert!(!is_compiled(&small) && small.is_match(b"xAAB") && is_compiled(&small.clone()));
        assert_eq!(small.find("éab".as_bytes()).map(|m| m.range()), Some(2..4));
        assert!(is_compiled(&of(r"\w").unwrap()));
        assert!(matches!(of(r"\w{50}"), Err(regex::Error::CompiledTooBig(_))));
        assert!(matches!(of("(a"), Err(regex::Error::Syntax(_))));
        let ones = |count: usize| text_test(&vec![Part::One; count], false);
        let Ok(Test::Regex { regex, .. }) = ones(100) else { panic!() };
        assert!(
            !is_compiled(&regex) && regex.is_match(&[b'x'; 100]) && !regex.is_match(&[b'x'; 99])
        );
        assert!(ones(REGEX_SIZE_BYTES_MAX / 8).is_err());
    }
}
