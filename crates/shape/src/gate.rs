//! Which of many patterns could match a text at all: told by the text's first bytes and by words that
//! a pattern cannot do without, so that nearly no pattern is run in vain.
//!
//! ```text
//! text[0] -> patterns that may start with it   \
//! text[1] -> patterns that may go on with it    > and-ed: one bit per pattern
//! ...                                          /
//! ```
//! A gate only ever lets too many through: who passes is still asked properly.

use regex_automata::nfa::thompson::{Compiler, Config, NFA, State, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_syntax::hir::{Hir, HirKind};

/// First bytes of a text that are looked at. Dates take the first ten in many products' lines.
const PLACES: usize = 16;
/// What stands at a place where the text is over already.
const END: usize = 256;
/// Shortest word worth looking for: shorter ones stand in nearly every line.
const WORD_LEN_MIN: usize = 3;
/// Most words of which a pattern needs one.
const WORDS_MAX: usize = 24;
/// Memory of one pattern's states while its first bytes are found out.
const STATES_BYTES_MAX: usize = 4 << 20;

/// The bytes that may stand at each of the first places; empty = anything may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FirstBytes(Vec<[u64; 4]>);

impl FirstBytes {
    /// Of a regular expression. One that may match further inside says nothing.
    pub(crate) fn of_regex(regex: &str, syntax: syntax::Config) -> Self {
        let config = Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(STATES_BYTES_MAX))
            .utf8(false);
        let built = Compiler::new().configure(config).syntax(syntax).build(regex);
        match built {
            Ok(nfa) if nfa.is_always_start_anchored() => Self::of_states(&nfa),
            _ => Self::default(),
        }
    }

    /// Of texts one of which stands at the start.
    pub(crate) fn of_starts<'t>(starts: impl Iterator<Item = &'t [u8]> + Clone) -> Self {
        let len = starts.clone().map(<[u8]>::len).min().unwrap_or(0).min(PLACES);
        let mut places = vec![[0; 4]; len];
        for start in starts {
            for (set, byte) in places.iter_mut().zip(start) {
                insert(set, *byte);
            }
        }
        Self(places)
    }

    /// Whether any text may start so.
    pub(crate) fn says_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a text may start so.
    pub(crate) fn may_start(&self, text: &[u8]) -> bool {
        text.len() >= self.0.len() && self.0.iter().zip(text).all(|(set, byte)| has(set, *byte))
    }

    fn of_states(nfa: &NFA) -> Self {
        let mut places = Vec::new();
        let mut now = Closure::of(nfa, [nfa.start_anchored()]);
        while places.len() < PLACES && !now.may_end {
            let mut set = [0; 4];
            for (from, to, _) in &now.edges {
                (*from..=*to).for_each(|byte| insert(&mut set, byte));
            }
            places.push(set);
            now = Closure::of(nfa, now.edges.iter().map(|edge| edge.2));
        }
        Self(places)
    }
}

fn insert(set: &mut [u64; 4], byte: u8) {
    set[usize::from(byte / 64)] |= 1 << (byte % 64);
}

fn has(set: &[u64; 4], byte: u8) -> bool {
    set[usize::from(byte / 64)] & (1 << (byte % 64)) != 0
}

/// All bytes that lead on from some states. Assertions count as holding: too many pass, none too few.
struct Closure {
    edges: Vec<(u8, u8, StateID)>,
    may_end: bool,
}

impl Closure {
    fn of(nfa: &NFA, from: impl IntoIterator<Item = StateID>) -> Self {
        let mut out = Self { edges: Vec::new(), may_end: false };
        let mut seen = vec![false; nfa.states().len()];
        let mut todo: Vec<StateID> = from.into_iter().collect();
        while let Some(id) = todo.pop() {
            if std::mem::replace(&mut seen[id.as_usize()], true) {
                continue;
            }
            match nfa.state(id) {
                State::ByteRange { trans } => out.edges.push((trans.start, trans.end, trans.next)),
                State::Sparse(sparse) => {
                    let edges = sparse.transitions.iter().map(|t| (t.start, t.end, t.next));
                    out.edges.extend(edges);
                }
                State::Dense(dense) => {
                    let next = dense.transitions.iter().enumerate();
                    let leads = next.filter(|(_, next)| **next != StateID::ZERO);
                    out.edges.extend(leads.map(|(byte, next)| (byte as u8, byte as u8, *next)));
                }
                State::Look { next, .. } | State::Capture { next, .. } => todo.push(*next),
                State::Union { alternates } => todo.extend(alternates.iter().copied()),
                State::BinaryUnion { alt1, alt2 } => todo.extend([*alt1, *alt2]),
                State::Fail => {}
                State::Match { .. } => out.may_end = true,
            }
        }
        out
    }
}

/// Words of which a match holds at least one; empty if the pattern needs none.
pub(crate) fn needed_words(regex: &str, syntax: &syntax::Config) -> Vec<Vec<u8>> {
    let hir = syntax::parse_with(regex, syntax);
    hir.ok().and_then(|hir| words_of(&hir)).unwrap_or_default()
}

fn words_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) if literal.0.len() >= WORD_LEN_MIN => {
            Some(vec![literal.0.to_vec()])
        }
        HirKind::Capture(capture) => words_of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => words_of(&repetition.sub),
        HirKind::Concat(parts) => {
            let shortest = |words: &Vec<Vec<u8>>| words.iter().map(Vec::len).min();
            parts.iter().filter_map(words_of).max_by_key(shortest)
        }
        HirKind::Alternation(parts) => {
            let all: Option<Vec<_>> = parts.iter().map(words_of).collect();
            all.map(|lists| lists.concat()).filter(|words| words.len() <= WORDS_MAX)
        }
        _ => None,
    }
}

/// A set of signs, one bit each.
pub(crate) type Bits = Vec<u64>;

/// The members of a set, in order.
pub(crate) fn members(bits: &[u64]) -> impl Iterator<Item = usize> + '_ {
    bits.iter().enumerate().flat_map(|(at, word)| {
        let mut word = *word;
        std::iter::from_fn(move || {
            let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
            word &= word - 1;
            Some(at * 64 + bit)
        })
    })
}

/// Words of a set that are narrowed together: so many lie in registers.
const GROUP: usize = 4;

/// For each place and byte the patterns that may have it there.
pub(crate) struct Gate {
    /// By group of patterns, then place, then byte (or [`END`]); 64 patterns a word.
    table: Box<[[u64; GROUP]]>,
    /// The patterns whose first bytes are not known: whatever the text, they stay.
    open: Box<[[u64; GROUP]]>,
}

impl Gate {
    /// Patterns by their first bytes; a pattern's place in the list is its bit.
    pub(crate) fn new(patterns: &[FirstBytes]) -> Self {
        let groups = patterns.len().div_ceil(64 * GROUP);
        let mut open = vec![[0; GROUP]; groups].into_boxed_slice();
        let mut table = vec![[0; GROUP]; PLACES * (END + 1) * groups].into_boxed_slice();
        for (bit, pattern) in patterns.iter().enumerate() {
            let word = bit / 64;
            open[word / GROUP][word % GROUP] |= u64::from(pattern.0.is_empty()) << (bit % 64);
            for place in 0..PLACES {
                for byte in 0..=END {
                    let fits = pattern
                        .0
                        .get(place)
                        .is_none_or(|set| byte < END && set[byte / 64] & (1 << (byte % 64)) != 0);
                    let (word, bit) = (bit / 64, bit % 64);
                    let at = (word / GROUP * PLACES + place) * (END + 1) + byte;
                    table[at][word % GROUP] |= u64::from(fits) << bit;
                }
            }
        }
        Self { table, open }
    }

    /// Leaves in `bits` only the patterns that could match `text`.
    pub(crate) fn narrow(&self, text: &[u8], bits: &mut [u64]) {
        let mut entries = [END; PLACES];
        for (entry, byte) in entries.iter_mut().zip(text) {
            *entry = usize::from(*byte);
        }
        // What stands behind the end says nothing more than the end.
        let places = (text.len() + 1).min(PLACES);
        let tables = self.open.iter().zip(self.table.chunks_exact(PLACES * (END + 1)));
        for (group, (open, table)) in bits.chunks_mut(GROUP).zip(tables) {
            let mut left = [0; GROUP];
            left[..group.len()].copy_from_slice(group);
            let stay: [u64; GROUP] = std::array::from_fn(|at| left[at] & open[at]);
            left.iter_mut().zip(open).for_each(|(left, open)| *left &= !open);
            for (place, entry) in entries[..places].iter().enumerate() {
                if left.iter().fold(0, |all, left| all | left) == 0 {
                    break;
                }
                let may = &table[place * (END + 1) + entry];
                left.iter_mut().zip(may).for_each(|(left, may)| *left &= may);
            }
            left.iter_mut().zip(stay).for_each(|(left, stay)| *left |= stay);
            group.copy_from_slice(&left[..group.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax() -> syntax::Config {
        syntax::Config::new().utf8(false).dot_matches_new_line(true).unicode(false)
    }

    fn passes(regex: &str, text: &str) -> bool {
        let first = FirstBytes::of_regex(regex, syntax());
        let gate = Gate::new(std::slice::from_ref(&first));
        let mut bits = vec![1];
        gate.narrow(text.as_bytes(), &mut bits);
        assert_eq!(first.may_start(text.as_bytes()), bits[0] == 1, "{regex} on {text}");
        bits[0] == 1
    }

    #[test]
    fn first_bytes_keep_out_what_cannot_match() {
        assert!(passes(r"^\d{4}-\d\d", "2024-05-06") && !passes(r"^\d{4}-\d\d", "2024/05/06"));
        assert!(!passes(r"^\d{4}-\d\d", "2024-"), "too short");
        assert!(
            passes(r"^(?:ab)?c", "c") && passes(r"^(?:ab)?c", "abc") && !passes("^(?:ab)?c", "b")
        );
        assert!(passes("inside", "anything"), "a pattern without an anchor says nothing");
        assert!(passes("^a*", "") && passes("^a*", "zzz"), "it may match the empty text");
        assert!(passes(r"^\bx", "x") && passes("^x$", "x"));
    }

    #[test]
    fn needed_words_are_the_longest_that_no_match_lacks() {
        let words = |regex: &str| {
            let words = needed_words(regex, &syntax());
            words.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words(r"^\d+ client .*query: "), [" client "]);
        assert_eq!(words("x(?:Query|Connect|Quit) "), ["Query", "Connect", "Quit"]);
        assert!(words("(?:abc)?").is_empty() && words("ab|abcd").is_empty());
        assert_eq!(words("(?:wxyz)+"), ["wxyz"]);
    }
}
