//! The events of a body, each as a record of its own that says all that was said of it.

use super::Code;
use parse::json;
use parse::records::{JsonRecords, split_json};
use serde::de::IgnoredAny;
use std::ops::Range;

/// What a sender says of an event beside it and need not repeat: it holds for the objects behind it in
/// the body, until another one says something else, or `null`: then nothing holds. `fields` are of their event alone.
pub const SAID: [&str; 5] = ["time", "host", "source", "sourcetype", "index"];

/// What is wrong with a body, from one of its events on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {number} of the body, counted from 0: {}", code.text())]
pub struct Refused {
    /// What.
    pub code: Code,
    /// The event, counted from 0.
    pub number: usize,
}

/// What stands in an event's place and is none, with its bytes as they were sent.
#[derive(Clone, Copy, Debug)]
pub struct Wrong<'a> {
    /// What is wrong with it.
    pub refused: Refused,
    /// It: never empty.
    pub bytes: &'a [u8],
}

/// The events of a body of objects, with white space or commas between them or nothing. What is none is
/// told with its bytes, and those behind it come all the same; nothing of it holds for them.
pub struct Events<'a> {
    objects: JsonRecords<'a>,
    number: usize,
    held: Said<'a>,
}

/// One value per name of [`SAID`], as JSON.
type Said<'a> = [Option<&'a [u8]>; SAID.len()];

impl<'a> Events<'a> {
    /// The events of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { objects: split_json(body), number: 0, held: Said::default() }
    }

    fn event(&mut self, object: &'a [u8]) -> Result<Event<'a>, Code> {
        // Pieces of it may come into other records, where they must not spoil what others have sent.
        if !is_json(object) {
            return Err(Code::InvalidFormat);
        }
        let (mut said, mut event, mut escaped) = (Said::default(), None, Vec::new());
        for member in json::members(object, 0) {
            let member = member.map_err(|_| Code::InvalidFormat)?;
            let (mut key, place) = (&object[member.key], member.value);
            let value = &object[place.clone()];
            if key.contains(&b'\\') {
                json::unescape(key, 0, &mut escaped).map_err(|_| Code::InvalidFormat)?;
                key = &escaped;
            }
            check_said(key, value)?;
            match SAID.iter().position(|name| name.as_bytes() == key) {
                Some(at) => said[at] = Some(value),
                // Which of two is meant, readers decide differently.
                None if key == b"event" && event.is_some() => return Err(Code::InvalidFormat),
                None if key == b"event" => event = Some(place),
                None => {}
            }
        }
        let event = check_event(object, event)?;
        let list = event.filter(|place| is_list_of_objects(&object[place.clone()]));
        Ok(Event { object, list, held: self.hold(&said) })
    }

    /// What holds for an object from before, and takes in what the object says.
    fn hold(&mut self, said: &Said<'a>) -> Said<'a> {
        let mut held = Said::default();
        for ((own, kept), held) in said.iter().zip(&mut self.held).zip(&mut held) {
            *held = kept.filter(|_| own.is_none());
            *kept = own.or(*kept).filter(|value| *value != b"null");
        }
        held
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, Wrong<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (bytes, found) = match self.objects.next()? {
            Ok(record) if record.bytes.starts_with(b"{") => {
                (record.bytes, self.event(record.bytes))
            }
            Ok(record) => (record.bytes, Err(Code::InvalidFormat)),
            Err(broken) => (broken.piece.bytes, Err(Code::InvalidFormat)),
        };
        let number = self.number;
        self.number += 1;
        Some(found.map_err(|code| Wrong { refused: Refused { code, number }, bytes }))
    }
}

/// An event and what objects before it said that holds for it, too; several where its `event` is a list of
/// objects.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    object: &'a [u8],
    /// Where the list stands.
    list: Option<Range<usize>>,
    held: Said<'a>,
}

impl<'a> Event<'a> {
    /// What becomes a record each: the event, or the elements of its list.
    pub fn records(&self) -> impl Iterator<Item = Record<'_, 'a>> {
        let whole = self.list.is_none().then_some(Record { of: self, element: None });
        let list = self.list.clone().map(|place| split_json(&self.object[place]));
        let elements = list.into_iter().flatten().filter_map(Result::ok);
        let elements = elements.map(|element| Record { of: self, element: Some(element.bytes) });
        whole.into_iter().chain(elements)
    }
}

/// A record that comes of an event.
#[derive(Clone, Copy, Debug)]
pub struct Record<'e, 'a> {
    of: &'e Event<'a>,
    /// What stands in the list's place.
    element: Option<&'a [u8]>,
}

impl Record<'_, '_> {
    /// Writes it to `out`: the event's object as it was sent, with what holds from before put in front of its
    /// members, and one element in place of a list.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(b'{');
        for (name, value) in SAID.iter().zip(&self.of.held) {
            if let Some(value) = value {
                for piece in [b"\"", name.as_bytes(), b"\":", *value, b","] {
                    out.extend_from_slice(piece);
                }
            }
        }
        let object = self.of.object;
        match (self.element, &self.of.list) {
            (Some(element), Some(list)) => {
                for piece in [&object[1..list.start], element, &object[list.end..]] {
                    out.extend_from_slice(piece);
                }
            }
            _ => out.extend_from_slice(&object[1..]),
        }
    }
}

/// Refuses what an object may not say of its event; the names that we do not know may say anything.
fn check_said(name: &[u8], value: &[u8]) -> Result<(), Code> {
    let is_known = SAID.iter().any(|known| known.as_bytes() == name);
    let wrong = match (name, value) {
        (b"fields", [b'{', ..]) | (_, b"null") => return Ok(()),
        (b"fields", _) => Code::InvalidFields,
        (b"index", [b'"', ..]) => return Ok(()),
        (b"index", _) => Code::IncorrectIndex,
        (b"time", value) if !is_time(value) => Code::InvalidFormat,
        (_, [b'{' | b'[', ..]) if is_known => Code::InvalidFormat,
        _ => return Ok(()),
    };
    Err(wrong)
}

/// Refuses an event that says nothing.
fn check_event(object: &[u8], event: Option<Range<usize>>) -> Result<Option<Range<usize>>, Code> {
    match event.clone().map(|place| &object[place]) {
        None | Some(b"null") => Err(Code::EventRequired),
        Some([b'"', text @ .., b'"']) if text.trim_ascii().is_empty() => Err(Code::EventBlank),
        Some(_) => Ok(event),
    }
}

/// Whether a value, which is JSON, is a list with nothing but objects in it, and with one at least.
fn is_list_of_objects(value: &[u8]) -> bool {
    let is_object = |record: Result<parse::records::Record<'_>, _>| {
        record.is_ok_and(|record| record.bytes.starts_with(b"{"))
    };
    let inside = value.strip_prefix(b"[").map(|inside| inside.trim_ascii_start());
    inside.is_some_and(|inside| inside.starts_with(b"{")) && split_json(value).all(is_object)
}

/// Whether a value is a finite number or a text that is one. Rust's reader knows more than JSON's:
/// `inf` and `nan` are no times.
fn is_time(value: &[u8]) -> bool {
    is_number(match value {
        [b'"', text @ .., b'"'] => text,
        number => number,
    })
}

fn is_number(text: &[u8]) -> bool {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    number.is_some_and(f64::is_finite)
}

/// Whether `text` is one value as RFC 8259 has it. [`json::value_end`] only looks at brackets and quotes.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// What a request says of all its lines.
#[derive(Default)]
pub struct RawLine {
    /// What stands in front of a line; empty if nothing is said.
    head: Vec<u8>,
    refused: Option<Refused>,
}

impl RawLine {
    /// `said`: names of [`SAID`] with their texts.
    pub fn new<'s>(said: impl IntoIterator<Item = (&'s str, &'s str)>) -> Self {
        let (mut head, mut refused) = (vec![b'{'], None);
        for (name, text) in said {
            if name == "time" && !is_number(text.as_bytes()) {
                refused = Some(Refused { code: Code::InvalidFormat, number: 0 });
                continue;
            }
            head.extend_from_slice(format!("\"{name}\":\"").as_bytes());
            push_text(text.as_bytes(), &mut head);
            head.extend_from_slice(b"\",");
        }
        if head.len() == 1 {
            return Self { refused, ..Self::default() };
        }
        head.extend_from_slice(b"\"event\":\"");
        Self { head, refused }
    }

    /// Whether nothing is said: then a line is a record as it is.
    pub fn is_bare(&self) -> bool {
        self.head.is_empty()
    }

    /// What is wrong with what is said, which is left out then.
    pub fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Writes the record of `line` to `out`: what a sender of objects would have sent.
    pub fn write(&self, line: &[u8], out: &mut Vec<u8>) {
        out.clear();
        if self.is_bare() {
            return out.extend_from_slice(line);
        }
        out.extend_from_slice(&self.head);
        push_text(line, out);
        out.extend_from_slice(b"\"}");
    }
}

/// Bytes as the content of a string. What is not UTF-8 stays as it is: our reader takes it.
fn push_text(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    let is_special = |c: &u8| matches!(c, b'"' | b'\\' | 0..=0x1f);
    while let Some(at) = rest.iter().position(is_special) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            c @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', c]),
            b'\t' => out.extend_from_slice(b"\\t"),
            c => out.extend_from_slice(format!("\\u{c:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a body, and what of it is wrong: code, number, bytes.
    fn records(body: &[u8]) -> (Vec<String>, Vec<(u8, usize, String)>) {
        let (mut all, mut out, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for event in Events::new(body) {
            match event {
                Ok(event) => {
                    for record in event.records() {
                        record.write(&mut out);
                        all.push(String::from_utf8(out.clone()).unwrap());
                    }
                }
                Err(Wrong { refused: Refused { code, number }, bytes }) => {
                    wrong.push((code as u8, number, String::from_utf8(bytes.to_vec()).unwrap()));
                }
            }
        }
        (all, wrong)
    }

    #[test]
    fn what_an_object_says_holds_for_those_behind_it() {
        let body = br#"{"time":1.5,"host":"a","index":"i","fields":{"k":1},"event":"x"} {"event":{"n":[1,{}]}}
            {"source":"s","host":"b","event":3},{"host":null,"event":"y"} {"event":"z"}"#;
        let (got, wrong) = records(body);
        assert_eq!(wrong, []);
        assert_eq!(
            got,
            [
                r#"{"time":1.5,"host":"a","index":"i","fields":{"k":1},"event":"x"}"#,
                r#"{"time":1.5,"host":"a","index":"i","event":{"n":[1,{}]}}"#,
                r#"{"time":1.5,"index":"i","source":"s","host":"b","event":3}"#,
                r#"{"time":1.5,"source":"s","index":"i","host":null,"event":"y"}"#,
                r#"{"time":1.5,"source":"s","index":"i","event":"z"}"#,
            ]
        );
        for record in got {
            serde_json::from_str::<serde_json::Value>(&record).unwrap();
        }
    }

    #[test]
    fn a_list_of_objects_is_an_event_each_with_all_that_is_said() {
        let body =
            br#"{"host":"a","event":[{"m":1}, {"m":[{}]}],"fields":{"k":1}}{"event":[ {"m":2}]}
            {"event":[]}{"event":[{"m":3},4]}{"event":[[{"m":5}]]}"#;
        let (got, wrong) = records(body);
        assert_eq!(wrong, []);
        assert_eq!(
            got,
            [
                r#"{"host":"a","event":{"m":1},"fields":{"k":1}}"#,
                r#"{"host":"a","event":{"m":[{}]},"fields":{"k":1}}"#,
                r#"{"host":"a","event":{"m":2}}"#,
                r#"{"host":"a","event":[]}"#,
                r#"{"host":"a","event":[{"m":3},4]}"#,
                r#"{"host":"a","event":[[{"m":5}]]}"#,
            ]
        );
    }

    #[test]
    fn what_is_wrong_keeps_its_bytes_and_spoils_nothing_behind_it() {
        let body = concat!(
            "{\"host\":\"a\",\"event\":\"x\"}{\"host\":\"b\",\"event\":null} {\"event\":\"y\"}\n",
            "{\"event\":\"cut\n{\"event\":\"z\"}\nplain text\n{\"event\":1}[7]",
        );
        let (got, wrong) = records(body.as_bytes());
        let event = |text: &str| format!("{{\"host\":\"a\",\"event\":{text}}}");
        assert_eq!(got, ["\"x\"", "\"y\"", "\"z\"", "1"].map(event));
        let told = |(code, number, bytes): &(u8, usize, String)| (*code, *number, bytes.clone());
        assert_eq!(
            wrong.iter().map(told).collect::<Vec<_>>(),
            [
                (12, 1, r#"{"host":"b","event":null}"#.to_owned()),
                (6, 3, r#"{"event":"cut"#.to_owned()),
                (6, 5, "plain text".to_owned()),
                (6, 7, "[7]".to_owned()),
            ]
        );
    }

    #[test]
    fn an_event_that_is_none_is_told_with_its_number() {
        for (second, code) in [
            ("", None),
            (r#"{"host":"a"}"#, Some(12)),
            (r#"{"event":null}"#, Some(12)),
            (r#"{"event":""}"#, Some(13)),
            (r#"{"event":" \n "}"#, None),
            (r#"{"event":"  "}"#, Some(13)),
            (r#"{"event":wrong}"#, Some(6)),
            (r#"{"event":1e}"#, Some(6)),
            (r#"{"event":"x""#, Some(6)),
            (r#"{"event":"x" "host":1}"#, Some(6)),
            (r#"{"event" "x"}"#, Some(6)),
            (r#"{"event":"x","host":{}}"#, Some(6)),
            (r#"{"event":"x","time":[1]}"#, Some(6)),
            (r#"{"event":"x","index":7}"#, Some(7)),
            (r#"{"event":"x","fields":"k"}"#, Some(15)),
            (r#"{"event":"x","host":true,"time":"1.5"}"#, None),
            (r#"{"event":"x","source":"C:\app"}"#, Some(6)),
            (r#"{"event":"x","sourcetype":nonsense}"#, Some(6)),
            (r#"{"event":"x","host":01}"#, Some(6)),
            (r#"{"event":"x","host":1.}"#, Some(6)),
            (r#"{"event":"x","host":-inf}"#, Some(6)),
            (r#"{"event":"x","fields":{nonsense}}"#, Some(6)),
            (r#"{"event":{nonsense}}"#, Some(6)),
            (r#"{"event":"x","event":"y"}"#, Some(6)),
            (r#"{"event":null,"\u0065vent":"y"}"#, Some(6)),
            (r#"{"event":"x","time":-inf}"#, Some(6)),
            (r#"{"event":"x","time":"-inf"}"#, Some(6)),
            (r#"{"event":"x","time":"nan"}"#, Some(6)),
            (r#"{"event":"x","time":1e999}"#, Some(6)),
            (r#"{"event":"x","time":"today"}"#, Some(6)),
            (r#"{"event":"x","time":true}"#, Some(6)),
            (r#"{"event":"x","time":null}"#, None),
            (r#"plain text"#, Some(6)),
            (r#"7"#, Some(6)),
            (r#"{"\u0065vent":"x"}"#, None),
        ] {
            let body = format!("{{\"event\":\"a\"}}\n{second}\n{{\"event\":\"z\"}}");
            let (got, wrong) = records(body.as_bytes());
            let expected = code.map(|code| (code, 1, second.to_owned()));
            assert_eq!(wrong, expected.into_iter().collect::<Vec<_>>(), "{second}");
            let is_event = code.is_none() && !second.is_empty();
            assert_eq!(got.len(), 2 + usize::from(is_event), "{second}");
        }
        assert_eq!(records(b" \r\n"), (vec![], vec![]));
    }

    #[test]
    fn a_line_comes_back_from_its_record() {
        let lines: [&[u8]; 3] = [b"plain", b"a \"b\" \\c\t\x01 \x7f", "\u{e4}\u{1f600}".as_bytes()];
        let said = RawLine::new([("host", "h\"1"), ("sourcetype", "x")]);
        let mut out = Vec::new();
        for line in lines {
            said.write(line, &mut out);
            let record: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(record["event"].as_str().unwrap().as_bytes(), line);
            assert_eq!((&record["host"], &record["sourcetype"]), (&"h\"1".into(), &"x".into()));
        }
        said.write(b"\xff\xfe", &mut out);
        assert!(out.ends_with(b"\"event\":\"\xff\xfe\"}"));
        let bare = RawLine::new([]);
        bare.write(b"{as it is", &mut out);
        assert!(bare.is_bare() && out == b"{as it is");
        for (time, is_one) in [("1.5", true), ("now", false), ("nan", false), ("\"1\"", false)] {
            let said = RawLine::new([("time", time), ("host", "h")]);
            let wrong = Refused { code: Code::InvalidFormat, number: 0 };
            assert_eq!(said.refused(), (!is_one).then_some(wrong), "{time}");
            said.write(b"x", &mut out);
            let time = if is_one { "\"time\":\"1.5\"," } else { "" };
            let record = format!("{{{time}\"host\":\"h\",\"event\":\"x\"}}");
            assert_eq!(String::from_utf8_lossy(&out), record);
        }
    }

    #[test]
    fn what_comes_of_any_bytes_is_one_object() {
        let seed = br#"{"time":1.5,"host":"a\"b","fields":{"k":[1]},"event":"x"},{"event":{"n":null}} {"index":"i","event":[{"a":2},{}]}"#;
        let (mut out, mut written) = (Vec::new(), 0);
        for body in testkit::mistaken(seed, b"{}[]\",:\\n0e-. ", 20_000) {
            let events: Vec<_> = Events::new(&body).flatten().collect();
            for record in events.iter().flat_map(Event::records) {
                record.write(&mut out);
                let shown = out.escape_ascii();
                let record = serde_json::from_slice::<serde_json::Value>(&out);
                let record = record.unwrap_or_else(|wrong| panic!("{wrong}: {shown}"));
                assert!(record.get("event").is_some(), "{shown}");
                written += 1;
            }
        }
        assert!(written > 10_000, "{written}");
    }
}
