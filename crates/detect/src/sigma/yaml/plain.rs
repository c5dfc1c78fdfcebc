//! The short way through a document that has nothing but maps, lists, text and decimal numbers, as nearly
//! every rule: its tree is built from the parser's events, which takes half as long as by serde.
//!
//! Whatever else there is makes it give up: anchors, types, merges, other spellings of numbers, keys that
//! are no names or stand twice, and everything that is wrong. So what those mean, and in which words they
//! are refused, is said in one place, the other reading.

use super::{DEPTH_MAX, Document, NODES_MAX, Node, Yaml, position};
use crate::sigma::problem::Position;
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput};
use std::borrow::Cow;

/// Deepest nesting, far from where the limits of the other reading begin to count.
const PLAIN_DEPTH_MAX: usize = DEPTH_MAX / 2;
/// Most nodes, as far from them.
const PLAIN_NODES_MAX: usize = NODES_MAX / 4;
/// Most entries of one map: each is compared with those before it.
const PLAIN_ENTRIES_MAX: usize = 128;
/// Most digits of a whole number, which any 64 bits hold.
const PLAIN_DIGITS_MAX: usize = 18;

/// The document's tree, or `None` if it is not that plain.
pub(super) fn read(document: &Document<'_>) -> Option<Node> {
    let mut options = Options::default();
    options.emit_comments = false;
    let parser = Parser::new_from_str_with_options(document.text, options);
    let mut events =
        Events { parser, first_line: document.first_line, nodes_left: PLAIN_NODES_MAX };
    let (Event::StreamStart, _) = events.next()? else { return None };
    let (Event::DocumentStart(_, None), _) = events.next()? else { return None };
    let root = events.next()?;
    let root = events.node(root, 0)?;
    let (Event::DocumentEnd, _) = events.next()? else { return None };
    let (Event::StreamEnd, _) = events.next()? else { return None };
    Some(root)
}

/// The events that are still to come.
struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
    first_line: u32,
    nodes_left: usize,
}

impl<'t> Events<'t> {
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        self.parser.next()?.ok()
    }

    /// The node that an event begins. Anchors have numbers from 1.
    fn node(&mut self, (event, span): (Event<'t>, Span), depth: usize) -> Option<Node> {
        let at = self.place(&span)?;
        let value = match event {
            Event::Scalar(text, style, 0, None) => scalar(text, style)?,
            Event::SequenceStart(_, 0, None) if depth < PLAIN_DEPTH_MAX => {
                Yaml::List(self.items(depth + 1)?)
            }
            Event::MappingStart(_, 0, None) if depth < PLAIN_DEPTH_MAX => {
                Yaml::Map(self.entries(depth + 1)?)
            }
            _ => return None,
        };
        Some(Node { value, at, key_at: at })
    }

    fn items(&mut self, depth: usize) -> Option<Vec<Node>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(items),
                first => items.push(self.node(first, depth)?),
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Option<Vec<(String, Node)>> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            let (key, span) = match self.next()? {
                (Event::MappingEnd, _) => return Some(entries),
                (Event::Scalar(key, _, 0, None), span) if is_name(&key) => (key, span),
                _ => return None,
            };
            let stands_twice = entries.iter().any(|(earlier, _)| *earlier == key);
            if stands_twice || entries.len() == PLAIN_ENTRIES_MAX {
                return None;
            }
            let key_at = self.place(&span)?;
            let value = self.next()?;
            let value = self.node(value, depth)?;
            entries.push((key.into_owned(), Node { key_at, ..value }));
        }
    }

    /// Where a node is, which is counted.
    fn place(&mut self, span: &Span) -> Option<Position> {
        self.nodes_left = self.nodes_left.checked_sub(1)?;
        Some(position(span.start.line(), span.start.col() + 1, self.first_line))
    }
}

/// Whether a key is a name and nothing that YAML gives a meaning, in quotes or not.
fn is_name(key: &str) -> bool {
    !matches!(key, "<<" | "~" | "null" | "Null" | "NULL")
        && key.bytes().next().is_some_and(|first| !may_begin_a_number(first))
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Option<Yaml> {
    if style != ScalarStyle::Plain {
        return Some(Yaml::Text(text.into_owned()));
    }
    Some(match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Yaml::Null,
        "true" | "True" | "TRUE" => Yaml::Bool(true),
        "false" | "False" | "FALSE" => Yaml::Bool(false),
        t if t.trim() != t => return None,
        t if !t.bytes().next().is_some_and(may_begin_a_number) || is_no_number(t) => {
            Yaml::Text(text.into_owned())
        }
        t if is_whole_number(t) => Yaml::Int(t.parse().ok()?),
        _ => return None,
    })
}

fn may_begin_a_number(first: u8) -> bool {
    first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')
}

/// Whether text that may begin a number has what none has, however it is spelt: another sign than those of
/// numbers, a dash within that begins no exponent, or a letter (but that of an exponent) where no base,
/// infinity or the like can be told.
fn is_no_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_of_numbers =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_' | b':');
    !bytes.iter().all(is_of_numbers)
        || is_decimal_so_far(bytes)
            && bytes.iter().any(|b| b.is_ascii_alphabetic() && !matches!(b, b'e' | b'E'))
        || bytes.windows(2).any(|two| two[1] == b'-' && !matches!(two[0], b'e' | b'E'))
}

/// Whether text begins with a decimal digit, and with no base such as `0x`.
fn is_decimal_so_far(bytes: &[u8]) -> bool {
    match bytes {
        [b'0', second, ..] => !second.is_ascii_alphabetic(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    }
}

/// Whether text is a decimal number as it would be written again.
fn is_whole_number(text: &str) -> bool {
    let is_short = text.len() <= PLAIN_DIGITS_MAX && (text.len() == 1 || !text.starts_with('0'));
    is_short && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::{documents, located};
    use super::*;
    use proptest::prelude::*;
    use std::path::{Path, PathBuf};

    /// Whether the short way was taken; panics if the other one leads elsewhere.
    fn is_plain(text: &str) -> bool {
        let mut are_plain = true;
        for document in documents(text) {
            match read(&document) {
                Some(node) => assert_eq!(Ok(node), located(&document), "{text}"),
                None => are_plain = false,
            }
        }
        are_plain
    }

    fn files_below(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path, out);
            } else if path.extension().is_some_and(|e| e == "yml") {
                out.push(path);
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_other_reading() {
        for plain in [
            "a: b\nc: [d, 'e', \"f\\n\", 4624, 0, null, ~, true, yes, {}, []]\n",
            "title: 'x'\ndate: 2024-01-31\nid: 0e2f0a5c-11aa-4f7e-8e00-000000000000\ntext: |\n  one\n   two\n",
            "a: >-\n  one\n  two\n\n  three\nb:\n  - c: d\n    e: f\n  - - g\n",
            "ä: 'ö'\nkey with spaces: value: no\n",
            "a: 10.0.0.0/8\nb: 1 of them\nc: 12\\d\nd: C:\\x\ne: \"\"\n'f': +x y\n? g\n: h\n",
            "- a\n- b\n",
            "just text\n",
        ] {
            // One of them is no YAML at all.
            assert!(is_plain(plain) || located(&documents(plain)[0]).is_err(), "{plain}");
        }
        for other in [
            "a: &x b\n",
            "a: *x\n",
            "a: !x b\n",
            "a: !!str 5\n",
            "<<: {a: b}\n",
            "a: 1\na: 2\n",
            "1: a\n",
            "~: a\n",
            "a: 1.5\n",
            "a: 0x1F\n",
            "a: 007\n",
            "a: -5\n",
            "a: 1e5\n",
            "a: .inf\n",
            "a: 1_000\n",
            "a: 12:30\n",
            "a: [\n",
            "%YAML 1.2\n---\na: b\n",
            "[a]: b\n",
            "a: b\n...\nc: d\n",
            "a: 9223372036854775808\n",
        ] {
            let only = Document { text: other, first_line: 1 };
            assert_eq!(read(&only), None, "{other}");
        }
    }

    #[test]
    fn limits_are_those_of_the_other_reading() {
        let deep = format!("a: {}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        let wide = format!("a: [{}]", "1,".repeat(NODES_MAX));
        let many: String = (0..=PLAIN_ENTRIES_MAX).map(|n| format!("k{n}: v\n")).collect();
        for text in [deep, wide, many] {
            assert_eq!(read(&Document { text: &text, first_line: 1 }), None);
        }
    }

    /// Our own rules, and those of SigmaHQ where they are at hand.
    #[test]
    fn nearly_every_rule_is_plain_and_all_are_read_alike() {
        let unpacked = tempfile::tempdir().unwrap();
        testkit::unpack("sigma/rules.tar.zst", unpacked.path());
        let mut files = Vec::new();
        files_below(&testkit::workspace_root().join("rules"), &mut files);
        files_below(unpacked.path(), &mut files);
        assert!(files.len() > 10, "{}", files.len());
        let plain = files.iter().filter(|f| is_plain(&std::fs::read_to_string(f).unwrap())).count();
        assert!(plain * 2 > files.len(), "{plain} of {}", files.len());
    }

    proptest! {
        /// Any tree that the short way gives is the one of the other reading.
        #[test]
        fn both_readings_agree(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "a: ", "b", "- ", "\n", "\n  ", "\n    ", "'", "\"", "[", "]", "{", "}", ", ", ": ", "? ", "#", " # c",
                    "&x ", "*x", "!t ", "|\n", ">-\n", "~", "null", "true", "0", "1", "12", ".", "-", "+", "e", "_", "0x",
                    "inf", "<<", "%", "\\", "\\n", "\t", " ", "é", "\u{a0}", "\u{85}", "...\n", "c:\n", "1:2", "\r\n",
                ]),
                0..14,
            ),
        ) {
            is_plain(&pieces.concat());
        }

        #[test]
        fn scalars_are_read_alike(text in "[-+.0-9eExXoObB_:a-finmhd ]{0,8}") {
            is_plain(&format!("a: {text}\nb: [{text}]\n{text}: c\n"));
        }
    }
}
