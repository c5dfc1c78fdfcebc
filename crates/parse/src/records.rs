//! A body of bytes to records: JSON in its many packings, lines, and what else it may be.

use crate::{ParseError, json};
use memchr::{memchr, memchr2, memmem};
use thiserror::Error;

/// What a body holds, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// JSON values one after another.
    Json,
    /// One JSON array whose elements are the records.
    JsonArray,
    /// Text, one record a line.
    Lines,
    /// A Windows event log file.
    Evtx,
    /// Windows events in XML one after another, as `wevtutil` and the Event Viewer export them.
    EventXml,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// UTF-16 text with byte order mark.
    Utf16,
    /// Nothing but white space.
    Empty,
}

/// One record of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it starts in the body.
    pub at: usize,
    /// Its bytes, without separators and white space around it.
    pub bytes: &'a [u8],
}

/// A piece of a body that is no JSON value. Nothing is lost: the bytes are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a JSON record: {reason}")]
pub struct SplitError<'a> {
    /// The piece: a line of text, or what began as a value, up to the next line that starts one.
    pub piece: Record<'a>,
    /// What is wrong; its offset counts from the start of the body.
    pub reason: ParseError,
}

/// Tells what a body holds.
pub fn looks_like(body: &[u8]) -> Content {
    match body {
        [0x1f, 0x8b, ..] => return Content::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Content::Zstd,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Content::Utf16,
        _ if body.starts_with(b"ElfFile\0") => return Content::Evtx,
        _ => {}
    }
    let text = &body[bom_len(body)..];
    match text.get(json::skip_space(text, 0)) {
        None => Content::Empty,
        Some(b'{') => Content::Json,
        // Text often starts with a time or a level in brackets: only values make it an array.
        Some(b'[') if starts_array(text) => Content::JsonArray,
        Some(b'<') if starts_event_xml(text) => Content::EventXml,
        Some(b'R') if numbered_record(text, json::skip_space(text, 0)).is_some() => Content::Json,
        Some(_) => Content::Lines,
    }
}

/// `<Event ...>` or `<Events>`, after an XML declaration or without one.
fn starts_event_xml(text: &[u8]) -> bool {
    let mut at = json::skip_space(text, 0);
    if text[at..].starts_with(b"<?xml ") {
        let Some(end) = memmem::find(&text[at..], b"?>") else { return false };
        at = json::skip_space(text, at + end + 2);
    }
    let tag = text[at..].strip_prefix(b"<Event");
    tag.map(|rest| rest.strip_prefix(b"s").unwrap_or(rest)).is_some_and(ends_name)
}

/// Where the JSON value starts below a line `Record 7`, which `evtx_dump` writes above each.
fn numbered_record(text: &[u8], at: usize) -> Option<usize> {
    let rest = text[at..].strip_prefix(b"Record ")?;
    let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    let line_end = rest.get(digits).filter(|c| digits > 0 && matches!(c, b'\r' | b'\n'));
    let value = json::skip_space(text, at + b"Record ".len() + digits);
    line_end.filter(|_| text.get(value) == Some(&b'{')).map(|_| value)
}

/// Longest frame around events that is passed over: a declaration or `<Events ...>` takes some hundred bytes.
const FRAME_BYTES_MAX: usize = 4 << 10;

/// Splits XML into its `<Event>` elements. One that does not end reaches to the next, or to the end of the
/// body. What frames them (a declaration, `<Events>`) is passed over; any other text beside them is records
/// by lines, for nothing that somebody wrote may be left out.
pub fn split_event_xml(body: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut at = bom_len(body);
    // The line end at or behind `at`, looked for once per line.
    let mut line_end = 0;
    std::iter::from_fn(move || {
        at = json::skip_space(body, at);
        while let Some(len) = frame_len(&body[at..]) {
            at = json::skip_space(body, at + len);
        }
        if at == body.len() {
            return None;
        }
        let from = at;
        if starts_event(&body[from..]) {
            at = event_end(body, from);
            return Some(Record { at: from, bytes: &body[from..at] });
        }
        if line_end <= from {
            line_end = memchr(b'\n', &body[from..]).map_or(body.len(), |i| from + i);
        }
        at = next_event(&body[..line_end], from).unwrap_or(line_end);
        Some(Record { at: from, bytes: body[from..at].trim_ascii_end() })
    })
}

/// Where the element that starts at `from` ends.
fn event_end(body: &[u8], from: usize) -> usize {
    const END: &[u8] = b"</Event>";
    let end = memmem::find(&body[from..], END).map_or(body.len(), |i| from + i + END.len());
    // Elements of this name do not stand in each other.
    next_event(&body[..end], from + 1).unwrap_or(end)
}

/// Where the next element starts, from `from` on.
fn next_event(body: &[u8], from: usize) -> Option<usize> {
    let mut starts = memmem::find_iter(&body[from..], b"<Event").map(|i| from + i);
    starts.find(|at| starts_event(&body[*at..]))
}

/// `<Event>` or `<Event ...>`.
fn starts_event(text: &[u8]) -> bool {
    text.strip_prefix(b"<Event").is_some_and(ends_name)
}

/// Whether a tag's name ends where `rest` begins.
fn ends_name(rest: &[u8]) -> bool {
    rest.first().is_some_and(|c| matches!(c, b' ' | b'>' | b'\r' | b'\n' | b'\t'))
}

/// Length of a tag that may stand around events and says nothing. A tag in it, or none of its end nearby: it
/// is text.
fn frame_len(text: &[u8]) -> Option<usize> {
    let names: [&[u8]; 3] = [b"<?xml", b"<Events", b"</Events"];
    let mut rest = names.into_iter().filter_map(|name| text.strip_prefix(name));
    rest.find(|rest| ends_name(rest) || rest.starts_with(b"/>"))?;
    let near = &text[1..text.len().min(FRAME_BYTES_MAX)];
    let end = 1 + memchr2(b'<', b'>', near)?;
    (text[end] == b'>').then_some(end + 1)
}

fn starts_array(text: &[u8]) -> bool {
    let open = json::skip_space(text, 0);
    matches!(text.get(json::skip_space(text, open + 1)), Some(b'{' | b'[' | b'"' | b']'))
}

/// Not `[12:00:01] text`; what follows the bracket may not be there yet.
fn may_start_array(text: &[u8]) -> bool {
    starts_array(text) || json::skip_space(text, 1) == text.len()
}

/// Splits a body of JSON values: NDJSON, pretty-printed or concatenated ones, and the elements of
/// arrays at the top. Byte order mark, blank lines and CRLF are passed over.
///
/// A piece that is no value comes as an error that holds its bytes: a line of text between values is
/// one, as in a file of text; what began as a value goes up to the next line that starts with a
/// bracket. Only brackets and strings are checked here: the parser of the record says more.
pub fn split_json(body: &[u8]) -> JsonRecords<'_> {
    JsonRecords { body, at: bom_len(body), in_array: false, read_again: 0 }
}

/// Iterator of [`split_json`].
#[derive(Clone, Debug)]
pub struct JsonRecords<'a> {
    body: &'a [u8],
    at: usize,
    in_array: bool,
    /// Bytes that were looked at and then left to be looked at once more; see [`READ_AGAIN_MAX`].
    read_again: usize,
}

/// Once broken values have made us read this many bytes a second time, a value has to end on its
/// own line. Keeps a body of unclosed brackets linear: `{\n` a million times would be read half a
/// million times otherwise.
const READ_AGAIN_MAX: usize = 1 << 20;

impl<'a> Iterator for JsonRecords<'a> {
    type Item = Result<Record<'a>, SplitError<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.at = json::skip_space(self.body, self.at);
            match *self.body.get(self.at)? {
                b'[' if !self.in_array && may_start_array(&self.body[self.at..]) => {
                    self.in_array = true;
                    self.at += 1;
                }
                b']' if self.in_array => {
                    self.in_array = false;
                    self.at += 1;
                }
                // Between elements, and between objects of senders that join them with commas.
                b',' => self.at += 1,
                b'{' => return Some(self.value()),
                b'[' if self.in_array => return Some(self.value()),
                _ if self.in_array => return Some(self.scalar()),
                _ => match numbered_record(self.body, self.at) {
                    Some(value) => self.at = value,
                    None => return Some(Err(self.line_of_text())),
                },
            }
        }
    }
}

impl<'a> JsonRecords<'a> {
    fn value(&mut self) -> Result<Record<'a>, SplitError<'a>> {
        let from = self.at;
        let mut reach = self.body.len();
        if self.read_again > READ_AGAIN_MAX {
            reach = memchr(b'\n', &self.body[from..]).map_or(reach, |i| from + i);
        }
        match json::value_end(&self.body[..reach], from) {
            Ok(end) => {
                self.at = end;
                Ok(Record { at: from, bytes: &self.body[from..end] })
            }
            Err(reason) => Err(self.skip(from, reason)),
        }
    }

    /// An element that is neither object nor array. Where it is no value, the bracket was the beginning of a
    /// line of text, and no array's.
    fn scalar(&mut self) -> Result<Record<'a>, SplitError<'a>> {
        let from = self.at;
        let end = json::value_end(self.body, from).ok();
        match end.filter(|end| is_scalar(&self.body[from..*end])) {
            Some(end) => {
                self.at = end;
                Ok(Record { at: from, bytes: &self.body[from..end] })
            }
            None => {
                self.in_array = false;
                Err(self.line_of_text())
            }
        }
    }

    /// Text where an object should stand: programs write lines of both kinds into one log.
    fn line_of_text(&mut self) -> SplitError<'a> {
        let from = self.at;
        let end = memchr(b'\n', &self.body[from..]).map_or(self.body.len(), |i| from + i);
        self.at = end;
        let bytes = self.body[from..end].trim_ascii_end();
        let reason = ParseError::Expected { format: "JSON", at: from, expected: "an object" };
        SplitError { piece: Record { at: from, bytes }, reason }
    }

    /// The broken piece from `from` up to the next line that starts with a bracket.
    fn skip(&mut self, from: usize, reason: ParseError) -> SplitError<'a> {
        let mut end = self.body.len();
        for newline in memchr::memchr_iter(b'\n', &self.body[from..]).map(|i| from + i) {
            let line = &self.body[newline + 1..];
            if matches!(line.first(), Some(b'{' | b'[')) {
                end = newline + 1;
                break;
            }
        }
        self.at = end;
        self.in_array = false;
        self.read_again += reason.at().saturating_sub(end);
        let bytes = self.body[from..end].trim_ascii_end();
        SplitError { piece: Record { at: from, bytes }, reason }
    }
}

/// A string within a line, a number or one of JSON's three words.
fn is_scalar(text: &[u8]) -> bool {
    match text {
        [b'"', ..] => memchr(b'\n', text).is_none(),
        b"true" | b"false" | b"null" => true,
        _ => text.iter().all(|c| matches!(c, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')),
    }
}

fn bom_len(body: &[u8]) -> usize {
    if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

/// Splits a body at line ends (LF or CRLF; the last line may have none). With `keep_empty` empty
/// lines are records too.
pub fn split_lines(body: &[u8], keep_empty: bool) -> impl Iterator<Item = Record<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < body.len() {
            let from = at;
            let len = memchr(b'\n', &body[from..]).unwrap_or(body.len() - from);
            at = from + len + 1;
            let line = &body[from..from + len];
            let bytes = line.strip_suffix(b"\r").unwrap_or(line);
            if keep_empty || !bytes.is_empty() {
                return Some(Record { at: from, bytes });
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(body: &str) -> Vec<String> {
        let show = |piece: Result<Record<'_>, SplitError<'_>>| match piece {
            Ok(record) => String::from_utf8_lossy(record.bytes).into_owned(),
            Err(e) => format!("!{}", String::from_utf8_lossy(e.piece.bytes)),
        };
        split_json(body.as_bytes()).map(show).collect()
    }

    #[test]
    fn every_packing_gives_the_same_records() {
        for body in [
            "{\"a\":1}\n{\"a\":[2,{}]}\n",
            "\u{feff}{\"a\":1}\r\n\r\n{\"a\":[2,{}]}",
            "{\"a\":1}{\"a\":[2,{}]}",
            "[{\"a\":1},\n {\"a\":[2,{}]}]",
            "{\"a\":1},{\"a\":[2,{}]}",
            "[{\"a\":1}]\n[{\"a\":[2,{}]}]",
            "Record 1\n{\"a\":1}\nRecord 2\r\n{\"a\":[2,{}]}\n",
        ] {
            assert_eq!(pieces(body), ["{\"a\":1}", "{\"a\":[2,{}]}"], "{body}");
        }
        assert_eq!(pieces("{\n \"a\": \"}\"\n}\n{\n}\n"), ["{\n \"a\": \"}\"\n}", "{\n}"]);
        assert_eq!(pieces(" \n"), [""; 0]);
    }

    #[test]
    fn a_broken_record_loses_only_itself() {
        assert_eq!(
            pieces("{\"a\":1}\n{\"b\":\n{\"c\":1}\n"),
            ["{\"a\":1}", "!{\"b\":", "{\"c\":1}"]
        );
        assert_eq!(pieces("oops {\n{\"c\":1}\n"), ["!oops {", "{\"c\":1}"]);
        assert_eq!(pieces("{\"a\":1}]\n{\"b\":2}"), ["{\"a\":1}", "!]", "{\"b\":2}"]);
        assert_eq!(
            pieces("{\"a\":1} x\r\ny [1]\n\n z\n{\"b\":2}\nend"),
            ["{\"a\":1}", "!x", "!y [1]", "!z", "{\"b\":2}", "!end"]
        );
        assert_eq!(
            pieces("{\"a\":1}\n[12:00:01] x\n[ERROR] y\n[{\"b\":2}]"),
            ["{\"a\":1}", "![12:00:01] x", "![ERROR] y", "{\"b\":2}"]
        );
        assert_eq!(
            pieces("{\"a\":1}\n[\"main\" x\nlogin failed\n[\"b\nc\n{\"b\":2}"),
            ["{\"a\":1}", "\"main\"", "!x", "!login failed", "!\"b", "!c", "{\"b\":2}"]
        );
        assert_eq!(pieces("{\"a\":\nx\ny\n{}"), ["!{\"a\":\nx\ny", "{}"]);
        let cut = split_json(b"{\"a\":1}\n{\"a\":\"x").last().unwrap().unwrap_err();
        assert_eq!((cut.piece.at, cut.reason.at()), (8, 15));
    }

    #[test]
    fn lines_with_any_ending() {
        let lines = |text: &'static str, keep| -> Vec<&str> {
            split_lines(text.as_bytes(), keep)
                .map(|r| std::str::from_utf8(r.bytes).unwrap())
                .collect()
        };
        assert_eq!(lines("a\r\n\nb\nc", false), ["a", "b", "c"]);
        assert_eq!(lines("a\r\n\nb\n", true), ["a", "", "b"]);
        assert_eq!(lines("", true), [""; 0]);
    }

    #[test]
    fn events_in_xml_are_cut_at_their_elements() {
        let xml = "<?xml version=\"1.0\"?>\n<Events><Event xmlns='x'>\n<EventData/></Event>\n<Event>b</Event></Events>";
        assert_eq!(looks_like(xml.as_bytes()), Content::EventXml);
        let events = |xml: &str| -> Vec<String> {
            let text = |r: Record<'_>| String::from_utf8_lossy(r.bytes).into_owned();
            split_event_xml(xml.as_bytes()).map(text).collect()
        };
        let both = ["<Event xmlns='x'>\n<EventData/></Event>", "<Event>b</Event>"];
        assert_eq!(events(xml), both);
        assert_eq!(events("<Event>cut"), ["<Event>cut"]);
        assert_eq!(events("<Events/>"), [""; 0]);
        // A log that somebody put together: nothing of it is left out.
        let mixed =
            "<Event>a</Event>\r\nsshd[1]: x\n\n <EventLog>y</EventLog>\nz <Event>b</Event> end";
        let all = [
            "<Event>a</Event>",
            "sshd[1]: x",
            "<EventLog>y</EventLog>",
            "z",
            "<Event>b</Event>",
            "end",
        ];
        assert_eq!(events(mixed), all);
        // Who writes a line of such a log can hide no other.
        for line in ["<?xml hidden", "<Events x", "<EventsLog>", "<?xmlx ?>", "</Eventsx>"] {
            let text =
                format!("<Event>a</Event>\n{line}\n<Event>b</Event>\n<?xml version=\"1.0\"?>\n");
            assert_eq!(events(&text), ["<Event>a</Event>", line, "<Event>b</Event>"]);
        }
        assert_eq!(events("<Event >x\n<Event>b</Event>"), ["<Event >x\n", "<Event>b</Event>"]);
    }

    #[test]
    fn contents_are_told_apart() {
        for (body, want) in [
            (&b"\x1f\x8b\x08"[..], Content::Gzip),
            (b"\x28\xb5\x2f\xfd", Content::Zstd),
            (b"\xff\xfea\0", Content::Utf16),
            (b"ElfFile\0abc", Content::Evtx),
            (b"\xef\xbb\xbf \n{", Content::Json),
            (b"[{", Content::JsonArray),
            (b"[2024-03-05] text", Content::Lines),
            (b"<34>Oct", Content::Lines),
            (b"<Eventful>", Content::Lines),
            (b"<Event xmlns='x'>", Content::EventXml),
            (b"\xef\xbb\xbf<?xml version='1.0'?>\r\n<Events>", Content::EventXml),
            (b"Record 17\r\n{", Content::Json),
            (b"Record 17 {", Content::Lines),
            (b" \r\n", Content::Empty),
        ] {
            assert_eq!(looks_like(body), want, "{body:?}");
        }
    }
}
