//! Words and pieces of text: what the sidecar index knows about a block of rows, and what a test
//! needs a block to have.
//!
//! ```text
//! "C:\Win\cmd.exe from 10.0.0.1"  --runs, walk-->  words  c  win  cmd.exe  from  10.0.0.1     (whole runs)
//!                                             pieces win cmd md. d.e .ex exe fro rom 10. ... (3 bytes)
//!                                                    10.0. 0.0.0 .0.0. 0.0.1     (5 bytes, dotted digits)
//! ```
//! A run is a longest sequence of letters, digits, `.`, `-`, `_` and bytes above 127, after folding.
//! Words answer whole values and the inner words of phrases; pieces answer any substring. Dotted
//! digits get longer pieces, because three digits of an address are in every block.
//!
//! Soundness: both sides go through [`runs`] and [`walk`]. If a text contains a needle, it has every word of the
//! needle that is bounded inside the needle, and every piece of it. Tested against `contains`.

use event::text::fold_into;
use filter::{Test, TextOp};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Shortest word that is indexed: shorter ones are in every block.
pub(crate) const WORD_BYTES_MIN: usize = 3;
/// Number of the pieces' buckets: half for three bytes, half for dotted digits.
pub(crate) const PIECE_BUCKETS: usize = 1 << 16;
/// Most words and most pieces one test asks for: more do not prune better.
const NEEDS_MAX: usize = 24;

/// Takes what [`walk`] finds.
pub(crate) trait Sink {
    /// The whole run: its hash.
    fn word(&mut self, hash: u64);
    /// A piece of it.
    fn piece(&mut self, bucket: u16);
}

const CLASS: [u8; 256] = classes();

/// Folded byte of a run, or 0 for a byte that ends one.
const fn classes() -> [u8; 256] {
    let mut out = [0; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        out[b] = match c {
            b'A'..=b'Z' => c + 32,
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | 128.. => c,
            _ => 0,
        };
        b += 1;
    }
    out
}

/// Whether a byte belongs to a run.
pub(crate) fn in_run(byte: u8) -> bool {
    CLASS[byte as usize] != 0
}

fn three(window: u64) -> u16 {
    (((window & 0xff_ffff) as u32).wrapping_mul(0x9E37_79B1) >> 17) as u16
}

fn five(window: u64) -> u16 {
    let hash = (window & 0xff_ffff_ffff).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    0x8000 | (hash >> 49) as u16
}

/// Calls `each` with the runs of `text`, which must be folded unless it is ASCII, and whether they are
/// bounded by the text's start and end. Shorter ones than a word are left out.
pub(crate) fn runs(text: &[u8], mut each: impl FnMut(&[u8], bool, bool)) {
    let mut at = 0;
    while let Some(skipped) = text[at..].iter().position(|b| in_run(*b)) {
        let start = at + skipped;
        let len = text[start..].iter().position(|b| !in_run(*b)).unwrap_or(text.len() - start);
        at = start + len;
        if len >= WORD_BYTES_MIN {
            each(&text[start..at], start == 0, at == text.len());
        }
    }
}

/// Takes a run apart.
pub(crate) fn walk(run: &[u8], sink: &mut impl Sink) {
    const SEED: u64 = 0xcbf2_9ce4_8422_2325;
    let (mut hash, mut window) = (SEED, 0u64);
    let (mut digits, mut since_dot) = (0usize, usize::MAX);
    for (at, byte) in run.iter().enumerate() {
        let c = CLASS[*byte as usize];
        hash = (hash ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3);
        window = window << 8 | u64::from(c);
        if at >= 2 {
            sink.piece(three(window));
        }
        if c == b'.' {
            (digits, since_dot) = (digits + 1, 0);
        } else if c.is_ascii_digit() {
            (digits, since_dot) = (digits + 1, since_dot.saturating_add(1));
        } else {
            (digits, since_dot) = (0, usize::MAX);
        }
        if digits >= 5 && since_dot < 5 {
            sink.piece(five(window));
        }
    }
    sink.word(finish(hash));
}

fn finish(hash: u64) -> u64 {
    (hash ^ hash >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// [`runs`] of any bytes; `buffer` is for those that must be folded first.
pub(crate) fn runs_of_any(text: &[u8], buffer: &mut Vec<u8>, each: impl FnMut(&[u8], bool, bool)) {
    if text.is_ascii() {
        return runs(text, each);
    }
    buffer.clear();
    fold_into(text, buffer);
    runs(buffer, each);
}

/// What a block must have, or no row of it can hold: all of the words and all of the pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Needs {
    pub(crate) words: Vec<u64>,
    pub(crate) pieces: Vec<u16>,
}

impl Needs {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.pieces.is_empty()
    }

    /// Needs of a folded text that stands in a value; `open` says whether more may come before and
    /// after it. A record is read as text with U+FFFD in place of what is no UTF-8, and indexed as it
    /// is: what is looked for is what stands around that sign.
    fn text(&mut self, folded: &[u8], open_start: bool, open_end: bool) {
        let text = std::str::from_utf8(folded).unwrap_or_default();
        if !text.contains(char::REPLACEMENT_CHARACTER) {
            return self.plain(folded, open_start, open_end);
        }
        let mut parts = text.split(char::REPLACEMENT_CHARACTER).peekable();
        let mut open_before = open_start;
        while let Some(part) = parts.next() {
            let open_after = open_end || parts.peek().is_some();
            self.plain(part.as_bytes(), open_before, open_after);
            open_before = true;
        }
    }

    /// The same of a text without that sign.
    fn plain(&mut self, folded: &[u8], open_start: bool, open_end: bool) {
        /// And whether the run stands there as a whole word, whose pieces tell nothing more.
        struct Find<'a>(&'a mut Needs, bool);
        impl Sink for Find<'_> {
            fn word(&mut self, hash: u64) {
                let words = &mut self.0.words;
                if self.1 && !words.contains(&hash) {
                    words.push(hash);
                }
            }
            fn piece(&mut self, bucket: u16) {
                let pieces = &mut self.0.pieces;
                if !self.1 && pieces.len() < NEEDS_MAX * 4 && !pieces.contains(&bucket) {
                    pieces.push(bucket);
                }
            }
        }
        runs(folded, |run, at_start, at_end| {
            let whole = !(at_start && open_start || at_end && open_end);
            let is_word = whole && self.words.len() < NEEDS_MAX;
            walk(run, &mut Find(self, is_word));
        });
    }

    fn finish(mut self) -> Self {
        // Dotted digits first: they are the rarer ones.
        self.pieces.sort_unstable_by(|a, b| b.cmp(a));
        self.pieces.truncate(NEEDS_MAX);
        self
    }
}

/// What a test needs: one of the alternatives. `None` when it may hold anywhere.
pub(crate) fn needs_of(test: &Test) -> Option<Vec<Needs>> {
    let mut needs = Needs::default();
    match test {
        Test::Text { op, folded, .. } => {
            let (start, end) = match op {
                TextOp::Equals => (false, false),
                TextOp::Prefix => (false, true),
                TextOp::Suffix => (true, false),
                TextOp::Contains => (true, true),
            };
            needs.text(folded, start, end);
        }
        Test::Cidr(ipnet::IpNet::V4(net)) => {
            let octets = usize::from(net.prefix_len() / 8).min(4);
            let mut text = String::new();
            for octet in net.network().octets().iter().take(octets) {
                text.push_str(&octet.to_string());
                text.push('.');
            }
            let whole = octets == 4;
            let text = if whole { text.trim_end_matches('.') } else { &text };
            needs.text(text.as_bytes(), true, true);
        }
        Test::Regex { regex, .. } => return regex_needs(regex.as_str()),
        Test::Cidr(_) | Test::Exists | Test::Null | Test::Compare { .. } | Test::Field { .. } => {}
    }
    let needs = needs.finish();
    (!needs.is_empty()).then(|| vec![needs])
}

/// Most alternatives of one expression that are looked for one by one.
const ALTERNATIVES_MAX: usize = 64;

fn regex_needs(source: &str) -> Option<Vec<Needs>> {
    let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(source).ok()?;
    let mut alternatives = Vec::new();
    split(&hir, &mut alternatives);
    if alternatives.len() > ALTERNATIVES_MAX {
        return None;
    }
    let mut out = Vec::new();
    for part in alternatives {
        let mut literals = Literals::default();
        literals.walk(part);
        literals.cut();
        let mut needs = Needs::default();
        literals.done.iter().for_each(|text| needs.text(text, true, true));
        let needs = needs.finish();
        if needs.is_empty() {
            return None;
        }
        out.push(needs);
    }
    Some(out)
}

fn split<'h>(hir: &'h Hir, out: &mut Vec<&'h Hir>) {
    match hir.kind() {
        HirKind::Capture(capture) => split(&capture.sub, out),
        HirKind::Alternation(parts) => parts.iter().for_each(|part| split(part, out)),
        _ => out.push(hir),
    }
}

/// Folded texts that every match of an expression contains.
#[derive(Default)]
struct Literals {
    open: Vec<u8>,
    done: Vec<Vec<u8>>,
}

impl Literals {
    fn cut(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    fn walk(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            // Parts of characters fold differently from whole ones.
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => fold_into(text.as_bytes(), &mut self.open),
                Err(_) => self.cut(),
            },
            HirKind::Class(class) => match one_letter(class) {
                Some(c) => self.open.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => self.cut(),
            },
            HirKind::Capture(capture) => self.walk(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.walk(part)),
            HirKind::Repetition(repetition) => {
                self.cut();
                if repetition.min > 0 {
                    self.walk(&repetition.sub);
                    self.cut();
                }
            }
            HirKind::Alternation(_) => self.cut(),
        }
    }
}

/// The folded letter if a class is one letter in all its cases.
fn one_letter(class: &Class) -> Option<char> {
    const CASES_MAX: usize = 4;
    let mut letters: Vec<char> = Vec::new();
    match class {
        Class::Unicode(class) => {
            for range in class.ranges() {
                letters.extend((range.start()..=range.end()).take(CASES_MAX + 1));
                if letters.len() > CASES_MAX {
                    return None;
                }
            }
        }
        Class::Bytes(class) => {
            for range in class.ranges() {
                if !range.end().is_ascii() || range.end() - range.start() > CASES_MAX as u8 {
                    return None;
                }
                letters.extend((range.start()..=range.end()).map(char::from));
                if letters.len() > CASES_MAX {
                    return None;
                }
            }
        }
    }
    let first = event::text::fold_char(*letters.first()?);
    letters.iter().all(|c| event::text::fold_char(*c) == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Kind, Value};
    use hashbrown::HashSet;
    use proptest::prelude::*;

    #[derive(Default)]
    struct All {
        words: HashSet<u64>,
        pieces: HashSet<u16>,
    }
    impl Sink for All {
        fn word(&mut self, hash: u64) {
            self.words.insert(hash);
        }
        fn piece(&mut self, bucket: u16) {
            self.pieces.insert(bucket);
        }
    }

    fn may_hold(needs: &Option<Vec<Needs>>, value: &[u8]) -> bool {
        let mut all = All::default();
        runs_of_any(value, &mut Vec::new(), |run, _, _| walk(run, &mut all));
        needs.as_ref().is_none_or(|list| {
            list.iter().any(|n| {
                n.words.iter().all(|w| all.words.contains(w))
                    && n.pieces.iter().all(|p| all.pieces.contains(p))
            })
        })
    }

    fn regex(source: &str) -> Test {
        let regex = regex::bytes::Regex::new(source).unwrap();
        Test::Regex { shown: source.into(), regex: regex.into(), by_character: false }
    }

    proptest! {
        #[test]
        fn what_holds_is_never_pruned(
            before in "[ aB1.\\-\u{e9}:]{0,6}",
            needle in "[ aBk1.\\-\u{212a}\u{e9}:]{1,9}",
            after in "[ aB1.\\-\u{e9}:]{0,6}",
        ) {
            for (op, text) in [
                (TextOp::Equals, needle.clone()),
                (TextOp::Prefix, format!("{needle}{after}")),
                (TextOp::Suffix, format!("{before}{needle}")),
                (TextOp::Contains, format!("{before}{needle}{after}")),
            ] {
                for cased in [false, true] {
                    let test = Test::text(op, &needle, cased);
                    let value = if cased { text.clone() } else { text.to_uppercase() };
                    if test.holds(Value { kind: Kind::Str, bytes: value.as_bytes() }) {
                        prop_assert!(may_hold(&needs_of(&test), value.as_bytes()), "{test:?} {value}");
                    }
                }
            }
        }
    }

    #[test]
    fn expressions_need_their_literals_and_nothing_else() {
        let cases = [
            (
                r"(?i)powershell.*-e(nc|ncodedcommand) [A-Za-z0-9+/=]{20,}",
                "PowerShell -enc QUJDREVGR0hJSktMTU5PUFFSU1RV",
                true,
            ),
            (r"(?i)kernel32\.dll", "\u{212a}ERNEL32.dll", true),
            (r"abc(def)+ghi?", "abcdefgh", true),
            (r"foo\d+bar|quux", "a quux", true),
            (r"^abc$", "abc", true),
            (r"(?i)powershell", "nothing like it", false),
            (r"x?", "nothing", true),
        ];
        for (source, value, may) in cases {
            let test = regex(source);
            assert_eq!(may_hold(&needs_of(&test), value.as_bytes()), may, "{source}");
        }
        assert_eq!(needs_of(&regex("a|b+")), None);
    }

    #[test]
    fn whole_words_ask_for_no_pieces() {
        let needs = |op, text| needs_of(&Test::text(op, text, false)).unwrap().remove(0);
        let hash = needs(TextOp::Equals, "B5C1FB2EFC6D6B46");
        assert_eq!((hash.words.len(), hash.pieces.len()), (1, 0));
        let inside = needs(TextOp::Contains, "one mimikatz two");
        assert_eq!((inside.words.len(), inside.pieces.len()), (1, 2), "the outer ones may go on");
        let many: Vec<String> = (0..NEEDS_MAX + 1).map(|n| format!("word{n}")).collect();
        let many = needs(TextOp::Equals, &many.join(" "));
        assert_eq!(many.words.len(), NEEDS_MAX);
        assert!(!many.pieces.is_empty(), "words beyond the limit are asked for by their pieces");
    }

    #[test]
    fn addresses_are_told_apart_inside_text() {
        let net = Test::Cidr("198.51.100.0/24".parse().unwrap());
        let one = Test::text(TextOp::Contains, "203.0.113.77", false);
        let text = b"Failed password for root from 198.51.100.9 port 22";
        assert!(may_hold(&needs_of(&net), text) && !may_hold(&needs_of(&one), text));
        assert!(may_hold(&needs_of(&one), b"x=1203.0.113.770"));
    }
}
