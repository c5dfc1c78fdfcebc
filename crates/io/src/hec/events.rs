//! The events of a body, each as a record of its own that says all that was said of it.

use super::Code;
use parse::json;
use parse::records::{JsonRecords, split_json};
use serde::de::IgnoredAny;

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

/// The events of a body of objects, with white space or commas between them or nothing. Ends behind the
/// first one that is none.
pub struct Events<'a> {
    objects: JsonRecords<'a>,
    number: usize,
    held: Said<'a>,
    is_over: bool,
}

/// One value per name of [`SAID`], as JSON.
type Said<'a> = [Option<&'a [u8]>; SAID.len()];

impl<'a> Events<'a> {
    /// The events of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { objects: split_json(body), number: 0, held: Said::default(), is_over: false }
    }

    fn event(&mut self, object: &'a [u8]) -> Result<Event<'a>, Code> {
        // Pieces of it may come into other records, where they must not spoil what others have sent.
        if !is_json(object) {
            return Err(Code::InvalidFormat);
        }
        let (mut said, mut event, mut escaped) = (Said::default(), None, Vec::new());
        for member in json::members(object, 0) {
            let member = member.map_err(|_| Code::InvalidFormat)?;
            let (mut key, value) = (&object[member.key], &object[member.value]);
            if key.contains(&b'\\') {
                json::unescape(key, 0, &mut escaped).map_err(|_| Code::InvalidFormat)?;
                key = &escaped;
            }
            check_said(key, value)?;
            match SAID.iter().position(|name| name.as_bytes() == key) {
                Some(at) => said[at] = Some(value),
                // Which of two is meant, readers decide differently.
                None if key == b"event" && event.is_some() => return Err(Code::InvalidFormat),
                None if key == b"event" => event = Some(value),
                None => {}
            }
        }
        check_event(event)?;
        Ok(Event { object, held: self.hold(&said) })
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
    type Item = Result<Event<'a>, Refused>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let found = match self.objects.next()? {
            Ok(record) if record.bytes.starts_with(b"{") => self.event(record.bytes),
            Ok(_) | Err(_) => Err(Code::InvalidFormat),
        };
        let number = self.number;
        self.number += 1;
        self.is_over = found.is_err();
        Some(found.map_err(|code| Refused { code, number }))
    }
}

/// An event and what objects before it said that holds for it, too.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    object: &'a [u8],
    held: Said<'a>,
}

impl Event<'_> {
    /// Writes the event's record to `out`: its object as it was sent, with what holds from before put in
    /// front of its members.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(b'{');
        for (name, value) in SAID.iter().zip(&self.held) {
            if let Some(value) = value {
                for piece in [b"\"", name.as_bytes(), b"\":", *value, b","] {
                    out.extend_from_slice(piece);
                }
            }
        }
        out.extend_from_slice(&self.object[1..]);
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

fn check_event(event: Option<&[u8]>) -> Result<(), Code> {
    match event {
        None | Some(b"null") => Err(Code::EventRequired),
        Some([b'"', text @ .., b'"']) if text.trim_ascii().is_empty() => Err(Code::EventBlank),
        Some(_) => Ok(()),
    }
}

/// Whether a value is a finite number or a text that is one. Rust's reader knows more than JSON's:
/// `inf` and `nan` are no times.
fn is_time(value: &[u8]) -> bool {
    let text = match value {
        [b'"', text @ .., b'"'] => text,
        number => number,
    };
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    number.is_some_and(f64::is_finite)
}

/// Whether `text` is one value as RFC 8259 has it. [`json::value_end`] only looks at brackets and quotes.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// What a request says of all its lines.
pub struct RawLine {
    head: Vec<u8>,
}

impl RawLine {
    /// `said`: names of [`SAID`] with their texts. `None` if nothing is said: then a line is a record as
    /// it is.
    pub fn new<'s>(said: impl IntoIterator<Item = (&'s str, &'s str)>) -> Option<Self> {
        let mut head = vec![b'{'];
        for (name, text) in said {
            head.extend_from_slice(format!("\"{name}\":\"").as_bytes());
            push_text(text.as_bytes(), &mut head);
            head.extend_from_slice(b"\",");
        }
        let is_empty = head.len() == 1;
        head.extend_from_slice(b"\"event\":\"");
        (!is_empty).then_some(Self { head })
    }

    /// Writes the record of `line` to `out`: what a sender of objects would have sent.
    pub fn write(&self, line: &[u8], out: &mut Vec<u8>) {
        out.clear();
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

    /// The records of a body, and what is wrong behind them.
    fn records(body: &[u8]) -> (Vec<String>, Option<(u8, usize)>) {
        let (mut all, mut out, mut wrong) = (Vec::new(), Vec::new(), None);
        for event in Events::new(body) {
            match event {
                Ok(event) => {
                    event.write(&mut out);
                    all.push(String::from_utf8(out.clone()).unwrap());
                }
                Err(refused) => wrong = Some((refused.code as u8, refused.number)),
            }
        }
        (all, wrong)
    }

    #[test]
    fn what_an_object_says_holds_for_those_behind_it() {
        let body = br#"{"time":1.5,"host":"a","index":"i","fields":{"k":1},"event":"x"} {"event":{"n":[1,{}]}}
            {"source":"s","host":"b","event":3},{"host":null,"event":"y"} {"event":"z"}"#;
        let (got, wrong) = records(body);
        assert_eq!(wrong, None);
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
    fn the_first_event_that_is_none_ends_the_body_with_its_number() {
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
            (r#"[7]"#, Some(6)),
            (r#"{"\u0065vent":"x"}"#, None),
        ] {
            let body = format!("{{\"event\":\"a\"}}{second}{{\"event\":\"z\"}}");
            let (got, wrong) = records(body.as_bytes());
            assert_eq!(wrong.map(|(code, _)| code), code, "{second}");
            assert!(wrong.is_none_or(|(_, number)| number == 1), "{second}");
            assert_eq!(
                got.len(),
                if code.is_some() { 1 } else { 2 + usize::from(!second.is_empty()) }
            );
        }
        assert_eq!(records(b" \r\n"), (vec![], None));
    }

    #[test]
    fn a_line_comes_back_from_its_record() {
        let lines: [&[u8]; 3] = [b"plain", b"a \"b\" \\c\t\x01 \x7f", "\u{e4}\u{1f600}".as_bytes()];
        let said = RawLine::new([("host", "h\"1"), ("sourcetype", "x")]).unwrap();
        let mut out = Vec::new();
        for line in lines {
            said.write(line, &mut out);
            let record: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(record["event"].as_str().unwrap().as_bytes(), line);
            assert_eq!((&record["host"], &record["sourcetype"]), (&"h\"1".into(), &"x".into()));
        }
        said.write(b"\xff\xfe", &mut out);
        assert!(out.ends_with(b"\"event\":\"\xff\xfe\"}"));
        assert!(RawLine::new([]).is_none());
    }

    #[test]
    fn what_comes_of_any_bytes_is_one_object() {
        let seed = br#"{"time":1.5,"host":"a\"b","fields":{"k":[1]},"event":"x"},{"event":{"n":null}} {"index":"i","event":[2]}"#;
        let (mut out, mut written) = (Vec::new(), 0);
        for body in testkit::mistaken(seed, b"{}[]\",:\\n0e-. ", 20_000) {
            for event in Events::new(&body).flatten() {
                event.write(&mut out);
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
