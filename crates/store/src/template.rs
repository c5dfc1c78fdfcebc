//! Raw records without what their cells say already: a template and references to the row's cells.
//!
//! ```text
//! {"source.ip":"10.0.0.1","@timestamp":"2026-11-24T02:00:00.123Z"}
//! {"source.ip":"<p source.ip>","@timestamp":"<3>"}       few templates serve millions of rows
//! ```
//! A reference stands between the bytes 1 and 2: `p` name = the cell's text, `j` name = the text as
//! inside a JSON string, a digit = the event's time in RFC 3339 with that many fraction digits, `b` =
//! the event's time as BSD syslog writes it. Writing a template is done only after rebuilding from it
//! gave the very bytes; a row for which it does not keeps its raw bytes.
//!
//! A reference is bounded by bytes that belong to no run (see `words`) or by the record's ends, so
//! that the words and pieces of a raw record are those of its template and of its cells.

use crate::stamp::Stamp;
use crate::words::in_run;
use event::Kind;
use std::ops::Range;

const OPEN: u8 = 1;
const CLOSE: u8 = 2;
/// Longest record that is looked at: a longer one repeats no template.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// Cells that are looked at.
const CELLS_MAX: usize = 256;
/// Scalars of a JSON record that are looked up.
const SCALARS_MAX: usize = 512;

/// A cell that may be referred to: the only value of its name.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
}

/// Makes the template of `raw`, or `None` when there is none that gives it back.
pub(crate) fn of(raw: &[u8], cells: &[Source<'_>], event_ns: i64, out: &mut String) -> bool {
    out.clear();
    let Ok(raw) = std::str::from_utf8(raw) else { return false };
    let small = !raw.is_empty() && raw.len() <= RECORD_BYTES_MAX && cells.len() <= CELLS_MAX;
    if !small || raw.bytes().any(|b| b == OPEN || b == CLOSE) {
        return false;
    }
    let mut marks = match raw.starts_with('{') {
        true => json_marks(raw, cells, event_ns),
        false => text_marks(raw, cells, event_ns),
    };
    marks.retain(|m| m.start < m.end && bounded(raw.as_bytes(), m));
    marks.sort_unstable_by_key(|m| m.start);
    let mut at = 0;
    for mark in &marks {
        if mark.start < at {
            continue;
        }
        out.push_str(&raw[at..mark.start]);
        out.push(char::from(OPEN));
        out.push(mark.mode);
        out.push_str(mark.cell.map_or("", |i| cells[i].name));
        out.push(char::from(CLOSE));
        at = mark.end;
    }
    out.push_str(&raw[at..]);
    // The promise is checked, not believed.
    let mut back = Vec::with_capacity(raw.len());
    let find = |name: &str| cells.iter().find(|c| c.name == name).map(|c| c.text);
    build(&parse(out), event_ns, &find, &mut back) && back == raw.as_bytes()
}

/// A place in the record that a reference takes.
struct Mark {
    start: usize,
    end: usize,
    mode: char,
    cell: Option<usize>,
}

fn bounded(raw: &[u8], mark: &Mark) -> bool {
    let before = mark.start.checked_sub(1).is_none_or(|i| !in_run(raw[i]));
    before && raw.get(mark.end).is_none_or(|b| !in_run(*b))
}

/// Every scalar of a JSON text that is a cell's text.
fn json_marks(raw: &str, cells: &[Source<'_>], event_ns: i64) -> Vec<Mark> {
    let bytes = raw.as_bytes();
    let mut marks = Vec::with_capacity(cells.len() + 1);
    let (mut at, mut next, mut tried) = (0, 0, 0);
    while at < bytes.len() && tried < SCALARS_MAX {
        let (start, end, quoted) = match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at + 1);
                (at + 1, end, true)
            }
            b'0'..=b'9' | b'-' | b't' | b'f' => {
                let len = bytes[at..].iter().position(|b| matches!(b, b',' | b'}' | b']' | b' '));
                (at, at + len.unwrap_or(bytes.len() - at), false)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        at = end + usize::from(quoted);
        let key = quoted && bytes.get(at) == Some(&b':');
        let Some(slice) = raw.get(start..end).filter(|s| !s.is_empty() && !key) else { continue };
        tried += 1;
        let escaped = quoted && slice.contains('\\');
        let is = |c: &Source<'_>| match (quoted, escaped) {
            (true, true) => c.kind == Kind::Str && escaped_is(c.text, slice),
            (true, false) => c.kind == Kind::Str && c.text == slice,
            (false, _) => c.kind != Kind::Str && c.text == slice,
        };
        // Cells mostly come in the order of the text.
        let order = (next..cells.len()).chain(0..next);
        if let Some(found) = order.into_iter().find(|i| is(&cells[*i])) {
            next = found + 1;
            // Most texts are the same escaped or not; one way of saying it makes fewer templates.
            let mode = if quoted && slice.bytes().all(|b| b >= 0x20) { 'j' } else { 'p' };
            marks.push(Mark { start, end, mode, cell: Some(found) });
        } else if let Some(mode) = quoted.then(|| time_mode(slice, event_ns)).flatten() {
            marks.push(Mark { start, end, mode, cell: None });
        }
    }
    marks
}

/// The place of the quote that ends a JSON string.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += 1 + usize::from(bytes[at] == b'\\');
    }
    at.min(bytes.len())
}

/// Cells found in any other text, longest first, each once.
fn text_marks(raw: &str, cells: &[Source<'_>], event_ns: i64) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::with_capacity(cells.len() + 1);
    let mut free = |mark: Mark| {
        let overlaps = marks.iter().any(|m| m.start < mark.end && mark.start < m.end);
        if !overlaps && bounded(raw.as_bytes(), &mark) {
            marks.push(mark);
            return true;
        }
        false
    };
    let bsd = Stamp::bsd(event_ns);
    if let Some(start) = find(raw, &bsd) {
        free(Mark { start, end: start + bsd.len(), mode: 'b', cell: None });
    }
    for digits in [0, 3, 6, 9] {
        let text = Stamp::rfc(event_ns, digits);
        if let Some(start) = find(raw, &text) {
            let mode = char::from(b'0' + digits as u8);
            free(Mark { start, end: start + text.len(), mode, cell: None });
            break;
        }
    }
    let mut order: Vec<usize> = (0..cells.len()).filter(|i| !cells[*i].text.is_empty()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(cells[*i].text.len()));
    for index in order {
        let text = cells[index].text;
        let found = memchr::memmem::find_iter(raw.as_bytes(), text.as_bytes()).take(8);
        for start in found {
            let end = start + text.len();
            if free(Mark { start, end, mode: 'p', cell: Some(index) }) {
                break;
            }
        }
    }
    marks
}

fn find(text: &str, part: &str) -> Option<usize> {
    memchr::memmem::find(text.as_bytes(), part.as_bytes())
}

/// How the text writes the event's time, if it does.
fn time_mode(text: &str, event_ns: i64) -> Option<char> {
    let digits = match text.len() {
        20 => 0,
        len @ 22..=30 => len - 21,
        _ => return None,
    };
    (text.ends_with('Z') && &*Stamp::rfc(event_ns, digits) == text)
        .then(|| char::from(b'0' + digits as u8))
}

/// Whether `text` inside a JSON string is `slice`. Not for control characters: their escapes end in
/// letters, which would join the word that follows.
fn escaped_is(text: &str, slice: &str) -> bool {
    if text.bytes().any(|b| b < 0x20) {
        return false;
    }
    let mut out = Vec::with_capacity(slice.len());
    escape(text, &mut out);
    out == slice.as_bytes()
}

fn escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// A template as a recipe for rows of one shape: cells by their place instead of their name.
pub(crate) struct Recipe {
    /// Number of the template.
    pub(crate) number: u32,
    steps: Vec<Step>,
}

enum Step {
    /// Bytes of the template.
    Literal(Range<usize>),
    /// A cell's text.
    Plain(usize),
    /// A cell's text as inside a JSON string.
    Json(usize),
    /// The event's time with so many digits.
    Time(usize),
    /// The event's time as BSD syslog writes it.
    Bsd,
}

impl Recipe {
    /// The recipe of a template that served a row; `place` finds the only cell of a name. None if the
    /// template suits that row's values only: a reference has to be bounded by the template's own
    /// bytes, whatever the cells hold.
    pub(crate) fn of(
        number: u32,
        template: &str,
        place: &dyn Fn(&str) -> Option<usize>,
    ) -> Option<Self> {
        let bytes = template.as_bytes();
        let (mut steps, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let open = memchr::memchr(OPEN, &bytes[at..]).map_or(bytes.len(), |n| at + n);
            if open > at {
                steps.push(Step::Literal(at..open));
            }
            if open == bytes.len() {
                break;
            }
            let close = open + memchr::memchr(CLOSE, &bytes[open..])?;
            let outside =
                |at: Option<&u8>| at.is_none_or(|b| !in_run(*b) && *b != OPEN && *b != CLOSE);
            let before = open.checked_sub(1).and_then(|i| bytes.get(i));
            if !outside(before) || !outside(bytes.get(close + 1)) {
                return None;
            }
            let name = template.get(open + 2..close)?;
            steps.push(match bytes[open + 1] {
                b'p' => Step::Plain(place(name)?),
                b'j' => Step::Json(place(name)?),
                b'b' => Step::Bsd,
                digit => Step::Time(usize::from(digit.checked_sub(b'0')?)),
            });
            at = close + 1;
        }
        Some(Self { number, steps })
    }

    /// Whether `template`, the one it was made of, gives `raw` back for a row with these texts; no
    /// text is one that cannot be referred to.
    pub(crate) fn gives<'c>(
        &self,
        template: &str,
        raw: &[u8],
        event_ns: i64,
        text: &dyn Fn(usize) -> Option<&'c str>,
    ) -> bool {
        let mut rest = raw;
        for step in &self.steps {
            let left = match step {
                Step::Literal(range) => rest.strip_prefix(&template.as_bytes()[range.clone()]),
                Step::Plain(cell) => text(*cell).and_then(|t| rest.strip_prefix(t.as_bytes())),
                Step::Json(cell) => text(*cell).and_then(|t| strip_escaped(rest, t)),
                Step::Time(digits) => rest.strip_prefix(Stamp::rfc(event_ns, *digits).as_bytes()),
                Step::Bsd => rest.strip_prefix(Stamp::bsd(event_ns).as_bytes()),
            };
            match left {
                Some(left) => rest = left,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

/// `raw` without `text` as inside a JSON string at its start; see [`escaped_is`].
fn strip_escaped<'r>(raw: &'r [u8], text: &str) -> Option<&'r [u8]> {
    if let Some(rest) = raw.strip_prefix(text.as_bytes())
        && text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\')
    {
        return Some(rest);
    }
    let mut rest = raw;
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            rest = rest.strip_prefix(b"\\")?;
        }
        rest = rest.strip_prefix(&[byte]).filter(|_| byte >= 0x20)?;
    }
    Some(rest)
}

/// A template taken apart.
#[derive(Debug, PartialEq)]
pub(crate) enum Part<'t> {
    /// These bytes.
    Literal(&'t str),
    /// A cell's text.
    Plain(&'t str),
    /// A cell's text as inside a JSON string.
    Json(&'t str),
    /// The event's time with so many digits.
    Time(usize),
    /// The event's time as BSD syslog writes it.
    Bsd,
}

impl Part<'_> {
    /// Name of the cell it refers to.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Part::Plain(name) | Part::Json(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it gives words that no cell has.
    pub(crate) fn is_time(&self) -> bool {
        matches!(self, Part::Time(_) | Part::Bsd)
    }

    /// Appends what it gives; `text` is that of its cell.
    pub(crate) fn append(&self, text: &str, event_ns: i64, out: &mut Vec<u8>) {
        match self {
            Part::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
            Part::Plain(_) => out.extend_from_slice(text.as_bytes()),
            Part::Json(_) => escape(text, out),
            Part::Time(digits) => out.extend_from_slice(Stamp::rfc(event_ns, *digits).as_bytes()),
            Part::Bsd => out.extend_from_slice(Stamp::bsd(event_ns).as_bytes()),
        }
    }
}

/// The parts of a template in order.
pub(crate) fn parse(template: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once(char::from(OPEN)) {
        let Some((reference, later)) = after.split_once(char::from(CLOSE)) else { break };
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let mut chars = reference.chars();
        match chars.next() {
            Some('p') => parts.push(Part::Plain(chars.as_str())),
            Some('j') => parts.push(Part::Json(chars.as_str())),
            Some('b') => parts.push(Part::Bsd),
            Some(digit) => parts.push(Part::Time(digit.to_digit(10).unwrap_or(0) as usize)),
            None => {}
        }
        rest = later;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    parts
}

/// Appends the record; false if a cell is not there.
pub(crate) fn build<'c>(
    parts: &[Part<'_>],
    event_ns: i64,
    find: &impl Fn(&str) -> Option<&'c str>,
    out: &mut Vec<u8>,
) -> bool {
    for part in parts {
        let text = match part.name() {
            Some(name) => match find(name) {
                Some(text) => text,
                None => return false,
            },
            None => "",
        };
        part.append(text, event_ns, out);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: i64 = 1_795_485_600_123_000_000;

    fn source<'a>(name: &'a str, kind: Kind, text: &'a str) -> Source<'a> {
        Source { name, kind, text }
    }

    #[test]
    fn json_and_syslog_become_the_same_template_for_all_their_rows() {
        let mut templates = Vec::new();
        for n in [7, 4_711] {
            let path = format!("C:\\x\\{n}.exe");
            let number = n.to_string();
            let cells = [
                source("source.ip", Kind::Str, "10.0.0.1"),
                source("n", Kind::Int, &number),
                source("path", Kind::Str, &path),
            ];
            let raw = format!(
                r#"{{"@timestamp":"2026-11-24T02:00:00.123Z","source.ip":"10.0.0.1","n":{n},"p":"C:\\x\\{n}.exe","ok":true}}"#
            );
            let mut out = String::new();
            assert!(of(raw.as_bytes(), &cells, AT, &mut out));
            templates.push(out);
        }
        assert_eq!(templates[0], templates[1]);
        assert_eq!(
            templates[0],
            "{\"@timestamp\":\"\u{1}3\u{2}\",\"source.ip\":\"\u{1}jsource.ip\u{2}\",\"n\":\u{1}pn\u{2},\"p\":\"\u{1}jpath\u{2}\",\"ok\":true}"
        );
        let cells = [
            source("process.pid", Kind::Int, "812"),
            source("message", Kind::Str, "port 812 is up"),
        ];
        let raw = "<38>Nov 24 02:00:00 web sshd[812]: port 812 is up";
        let mut out = String::new();
        assert!(of(raw.as_bytes(), &cells, AT, &mut out));
        assert_eq!(out, "<38>\u{1}b\u{2} web sshd[\u{1}pprocess.pid\u{2}]: \u{1}pmessage\u{2}");
    }

    #[test]
    fn what_cannot_be_rebuilt_has_no_template() {
        let mut out = String::new();
        assert!(!of(b"\xff", &[], AT, &mut out));
        assert!(!of(b"a\x01b", &[], AT, &mut out));
        assert!(of(b"plain", &[source("x", Kind::Str, "lai")], AT, &mut out));
        assert_eq!(out, "plain", "a reference inside a word would hide it from the index");
    }

    proptest! {
        #[test]
        fn any_record_comes_back(
            raw in "[ {\"a:1.,}\\\\\u{1}]{0,40}",
            texts in prop::collection::vec("[ {\"a:1.,}\\\\\n]{0,4}", 0..5),
            others in prop::collection::vec("[ {\"a:1.,}\\\\\n]{0,4}", 0..5),
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let cells: Vec<Source<'_>> = texts.iter().zip(names).enumerate()
                .map(|(i, (t, n))| source(n, if i % 2 == 0 { Kind::Str } else { Kind::Int }, t)).collect();
            for raw in [raw.clone(), format!("{{{raw}")] {
                let mut out = String::new();
                if of(raw.as_bytes(), &cells, AT, &mut out) {
                    let mut back = Vec::new();
                    let find = |name: &str| cells.iter().find(|c| c.name == name).map(|c| c.text);
                    prop_assert!(build(&parse(&out), AT, &find, &mut back));
                    prop_assert_eq!(&back, raw.as_bytes());
                    let place = |name: &str| cells.iter().position(|c| c.name == name);
                    if let Some(recipe) = Recipe::of(0, &out, &place) {
                        let text = |i: usize| Some(cells[i].text);
                        prop_assert!(recipe.gives(&out, raw.as_bytes(), AT, &text));
                        let longer = format!("{raw} ");
                        prop_assert!(!recipe.gives(&out, longer.as_bytes(), AT, &text));
                        // Of other values it gives what the template gives, or says no.
                        let text = |i: usize| others.get(i).map(|t| t.as_str());
                        let find = |name: &str| place(name).and_then(text);
                        back.clear();
                        build(&parse(&out), AT, &find, &mut back);
                        let control = others.iter().any(|t| t.bytes().any(|b| b < 0x20));
                        if !control && others.len() >= cells.len() {
                            prop_assert!(recipe.gives(&out, &back, AT, &text));
                        }
                    }
                }
            }
        }
    }
}
