//! A request in JSON: OTLP's names, ids in hexadecimal, 64-bit numbers as text or as numbers. Values are written
//! as they are read.

use super::NESTING_MAX;
use super::record::{Fold, Id, LogRecord, Stop, Text, Written};
use crate::ParseError;
use crate::json;
use std::borrow::Cow;

const FORMAT: &str = "OTLP JSON";

/// What a request has that is neither empty nor logs: one that is something else is not to be answered as
/// taken.
const REQUEST_EXPECTED: &str = "a request of logs, whose member is resourceLogs,";

/// Reads an `ExportLogsServiceRequest`.
pub(super) fn request(body: &[u8], fold: &mut Fold<'_>) -> Written {
    let mut cursor = Cursor { text: body, at: 0 };
    let (mut has_logs, mut other) = (false, None);
    cursor.all_members(|cursor, name| match name {
        b"resourceLogs" => {
            has_logs = true;
            cursor.unless_null(|cursor| cursor.elements(|logs| resource_logs(logs, fold)))
        }
        _ => {
            other.get_or_insert(*cursor);
            cursor.skip()
        }
    })?;
    cursor.space();
    if cursor.at < body.len() {
        return Err(cursor.expected("the end"));
    }
    match other {
        Some(other) if !has_logs => Err(other.expected(REQUEST_EXPECTED)),
        _ => Ok(()),
    }
}

fn resource_logs(logs: &mut Cursor<'_>, fold: &mut Fold<'_>) -> Written {
    let [resource, scopes, schema] = logs.places(["resource", "scopeLogs", "schemaUrl"])?;
    fold.resource(|text| {
        if let Some(mut resource) = resource {
            let [list, dropped] = resource.places(["attributes", "droppedAttributesCount"])?;
            attributes(text, list)?;
            text.count("droppedAttributesCount", unsigned(dropped)?)?;
        }
        text.member("schemaUrl", &string(schema)?)
    })?;
    let Some(mut scopes) = scopes else { return Ok(()) };
    scopes.elements(|logs| scope_logs(logs, fold))
}

fn scope_logs(logs: &mut Cursor<'_>, fold: &mut Fold<'_>) -> Written {
    let [scope, records, schema] = logs.places(["scope", "logRecords", "schemaUrl"])?;
    fold.scope(|text| {
        if let Some(mut scope) = scope {
            let names = ["name", "version", "attributes", "droppedAttributesCount"];
            let [name, version, list, dropped] = scope.places(names)?;
            text.member("name", &string(name)?)?;
            text.member("version", &string(version)?)?;
            attributes(text, list)?;
            text.count("droppedAttributesCount", unsigned(dropped)?)?;
        }
        text.member("schemaUrl", &string(schema)?)
    })?;
    let Some(mut records) = records else { return Ok(()) };
    records.elements(|record| {
        let start = *record;
        match whole_record(record, fold) {
            Err(Stop::Broken(_)) if start.text[start.at..].starts_with(b"{") => {
                *record = start;
                unread_record(record.raw()?, fold)
            }
            done => done,
        }
    })
}

fn whole_record(record: &mut Cursor<'_>, fold: &mut Fold<'_>) -> Written {
    let start = record.at;
    let places = record.places(LOG_RECORD)?;
    fold.record(record.at - start, |text| log_record(places, text))
}

/// A record with a value that is none of its kind: it is kept as it was sent, as a body. A refusal would cost
/// the request's other records, because no client sends a refused request again.
fn unread_record(raw: &[u8], fold: &mut Fold<'_>) -> Written {
    fold.record(raw.len(), |text| {
        LogRecord::default().write(
            text,
            |text| {
                text.key(b"body")?;
                text.string(raw)
            },
            |_| Ok(()),
        )
    })
}

/// The members of a log record.
const LOG_RECORD: [&str; 11] = [
    "timeUnixNano",
    "observedTimeUnixNano",
    "severityNumber",
    "severityText",
    "eventName",
    "droppedAttributesCount",
    "flags",
    "traceId",
    "spanId",
    "body",
    "attributes",
];

fn log_record(places: [Option<Cursor<'_>>; LOG_RECORD.len()], text: &mut Text<'_>) -> Written {
    let [time, observed, severity, severity_text, name, dropped, flags, trace, span, body, list] =
        places;
    let head = LogRecord {
        time_ns: nanoseconds(time)?,
        observed_time_ns: nanoseconds(observed)?,
        severity_number: severity.map_or(Ok(0), |mut at| at.severity())?,
        severity_text: string(severity_text)?,
        event_name: string(name)?,
        dropped_attributes: unsigned(dropped)?,
        flags: unsigned(flags)?,
        trace_id: Id::Hex(string(trace)?),
        span_id: Id::Hex(string(span)?),
    };
    let write_body = |text: &mut Text<'_>| match body {
        Some(mut body) => {
            text.key(b"body")?;
            any_value(&mut body, text, 0)
        }
        None => Ok(()),
    };
    head.write(text, write_body, |text| attributes(text, list))
}

fn attributes(text: &mut Text<'_>, list: Option<Cursor<'_>>) -> Written {
    let Some(mut list) = list else { return Ok(()) };
    let mut is_begun = false;
    list.elements(|pair| {
        if !is_begun {
            text.key(b"attributes")?;
            text.put(b"{")?;
            is_begun = true;
        }
        key_value(pair, text, 0)
    })?;
    if is_begun { text.put(b"}") } else { Ok(()) }
}

fn key_value(pair: &mut Cursor<'_>, text: &mut Text<'_>, depth: usize) -> Written {
    let (mut key, mut before_key, mut is_done) = (None, None, false);
    pair.members(|cursor, name| match (name, &key) {
        (b"key", None) => {
            key = Some(cursor.string()?);
            Ok(())
        }
        (b"value", Some(key)) if !is_done => {
            is_done = true;
            text.key(key)?;
            any_value(cursor, text, depth)
        }
        (b"value", None) => {
            before_key = Some(*cursor);
            cursor.skip()
        }
        _ => cursor.skip(),
    })?;
    if is_done {
        return Ok(());
    }
    text.key(&key.unwrap_or_default())?;
    match before_key {
        Some(mut value) => any_value(&mut value, text, depth),
        None => text.put(b"null"),
    }
}

fn any_value(cursor: &mut Cursor<'_>, text: &mut Text<'_>, depth: usize) -> Written {
    let mut is_done = false;
    cursor.members(|cursor, name| {
        if is_done {
            return cursor.skip();
        }
        match name {
            // Base64 in both.
            b"stringValue" | b"bytesValue" => text.string(&cursor.string()?)?,
            b"boolValue" => text.put(cursor.boolean()?)?,
            b"intValue" => text.number(cursor.integer()?)?,
            b"doubleValue" => text.double(cursor.double()?)?,
            b"arrayValue" | b"kvlistValue" if depth >= NESTING_MAX => text.string(cursor.raw()?)?,
            b"arrayValue" => values(cursor, text, b"[]", |element, text| {
                text.separate()?;
                any_value(element, text, depth + 1)
            })?,
            b"kvlistValue" => {
                values(cursor, text, b"{}", |pair, text| key_value(pair, text, depth + 1))?;
            }
            _ => return cursor.skip(),
        }
        is_done = true;
        Ok(())
    })?;
    if is_done { Ok(()) } else { text.put(b"null") }
}

/// `{"values":[...]}`, in these brackets.
fn values(
    cursor: &mut Cursor<'_>,
    text: &mut Text<'_>,
    brackets: &[u8; 2],
    mut write: impl FnMut(&mut Cursor<'_>, &mut Text<'_>) -> Written,
) -> Written {
    text.put(&brackets[..1])?;
    cursor.members(|cursor, name| match name {
        b"values" => cursor.elements(|element| write(element, text)),
        _ => cursor.skip(),
    })?;
    text.put(&brackets[1..])
}

fn string<'a>(place: Option<Cursor<'a>>) -> Result<Cow<'a, [u8]>, Stop> {
    place.map_or(Ok(Cow::Borrowed(b"")), |mut at| at.string())
}

fn unsigned(place: Option<Cursor<'_>>) -> Result<u64, Stop> {
    place.map_or(Ok(0), |mut at| at.unsigned())
}

/// A time; one of an empty text is not set.
fn nanoseconds(place: Option<Cursor<'_>>) -> Result<u64, Stop> {
    unsigned(place.filter(|at| !at.text[at.at..].starts_with(b"\"\"")))
}

/// Digits of the largest numbers of 64 bits. No more are made of an exponent.
const DIGITS_MAX: usize = 20;

/// An integer as JSON of protobuf may have it: with a point or an exponent, as long as it is whole. All its
/// digits count, so it does not go by way of a double.
fn whole(number: &str) -> Option<i128> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [before, behind].concat();
    if before.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let point = i64::try_from(before.len()).ok()?.checked_add(exponent.parse().ok()?)?;
    // Zeros at both ends say nothing, but those in front move the point.
    let digits = digits.trim_end_matches('0');
    let shown = digits.trim_start_matches('0');
    let point = point.checked_sub(i64::try_from(digits.len() - shown.len()).ok()?)?;
    if shown.is_empty() {
        return Some(0);
    }
    let point = usize::try_from(point).ok().filter(|n| *n <= DIGITS_MAX && shown.len() <= *n)?;
    let value: i128 = format!("{shown:0<point$}").parse().ok()?;
    Some(sign * value)
}

/// The number of a severity by its name, as the enumeration in `logs.proto` has it: six of four steps each,
/// the first step without a number.
fn severity_of(name: &str) -> Option<i64> {
    let name = name.strip_prefix("SEVERITY_NUMBER_")?;
    if name == "UNSPECIFIED" {
        return Some(0);
    }
    let (kind, step) = match name.as_bytes().last()? {
        step @ b'2'..=b'4' => (&name[..name.len() - 1], i64::from(step - b'1')),
        _ => (name, 0),
    };
    let kinds = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let first = kinds.iter().zip((1..).step_by(4)).find(|(k, _)| **k == kind)?.1;
    Some(first + step)
}

/// A place in the request.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads an object: `take` reads or skips the value of each member that is not null.
    fn members(&mut self, mut take: impl FnMut(&mut Self, &'a [u8]) -> Written) -> Written {
        self.all_members(|cursor, name| cursor.unless_null(|cursor| take(cursor, name)))
    }

    /// Passes over null, which means that a member is not set.
    fn unless_null(&mut self, take: impl FnOnce(&mut Self) -> Written) -> Written {
        match self.text[self.at..].starts_with(b"null") {
            true => self.skip(),
            false => take(self),
        }
    }

    /// Reads an object: `take` reads or skips the value of each member.
    fn all_members(&mut self, mut take: impl FnMut(&mut Self, &'a [u8]) -> Written) -> Written {
        self.sign(b'{', "an object")?;
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            let name = self.quoted("a name")?;
            self.sign(b':', "a colon")?;
            self.space();
            take(self, name)?;
            if self.closes(b'}') {
                return Ok(());
            }
            self.sign(b',', "a comma or the end of the object")?;
        }
    }

    /// Reads an array: `take` reads each element.
    fn elements(&mut self, mut take: impl FnMut(&mut Self) -> Written) -> Written {
        self.sign(b'[', "an array")?;
        if self.closes(b']') {
            return Ok(());
        }
        loop {
            self.space();
            take(self)?;
            if self.closes(b']') {
                return Ok(());
            }
            self.sign(b',', "a comma or the end of the array")?;
        }
    }

    /// Reads an object; where the values of these names are, the last of each.
    fn places<const N: usize>(&mut self, names: [&str; N]) -> Result<[Option<Self>; N], Stop> {
        let mut found = [None; N];
        self.members(|cursor, name| {
            if let Some(place) = names.iter().position(|n| n.as_bytes() == name) {
                found[place] = Some(*cursor);
            }
            cursor.skip()
        })?;
        Ok(found)
    }

    fn skip(&mut self) -> Written {
        self.raw().map(|_| ())
    }

    /// The value here as it stands.
    fn raw(&mut self) -> Result<&'a [u8], Stop> {
        self.space();
        let end = json::value_end(self.text, self.at).map_err(|error| ParseError::Expected {
            format: FORMAT,
            at: error.at(),
            expected: "a whole value",
        })?;
        let raw = &self.text[self.at..end];
        self.at = end;
        Ok(raw)
    }

    /// What stands between two quotes, with its escapes.
    fn quoted(&mut self, expected: &'static str) -> Result<&'a [u8], Stop> {
        self.space();
        match self.text.get(self.at) {
            Some(b'"') => self.raw().map(|raw| &raw[1..raw.len() - 1]),
            _ => Err(self.expected(expected)),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        let start = self.at;
        let body = self.quoted("text in quotes")?;
        if memchr::memchr(b'\\', body).is_none() {
            return Ok(body.into());
        }
        let mut plain = Vec::new();
        json::unescape(body, start, &mut plain)?;
        Ok(plain.into())
    }

    /// A number, or one in quotes.
    fn number(&mut self) -> Result<&'a str, Stop> {
        let start = *self;
        let raw = self.raw()?;
        let bare = raw.strip_prefix(b"\"").and_then(|r| r.strip_suffix(b"\"")).unwrap_or(raw);
        std::str::from_utf8(bare).map_err(|_| start.expected("a number"))
    }

    fn integer(&mut self) -> Result<i64, Stop> {
        let start = *self;
        let number = self.number()?;
        number
            .parse()
            .ok()
            .or_else(|| i64::try_from(whole(number)?).ok())
            .ok_or_else(|| start.expected("a number of 64 bits"))
    }

    fn unsigned(&mut self) -> Result<u64, Stop> {
        let start = *self;
        let number = self.number()?;
        number
            .parse()
            .ok()
            .or_else(|| u64::try_from(whole(number)?).ok())
            .ok_or_else(|| start.expected("a number of 64 bits, not negative"))
    }

    /// A severity by its number or its name.
    fn severity(&mut self) -> Result<i64, Stop> {
        let mut named = *self;
        match severity_of(named.number()?) {
            Some(severity) => Ok(severity),
            None => self.integer(),
        }
    }

    fn double(&mut self) -> Result<f64, Stop> {
        let start = *self;
        self.number()?.parse().map_err(|_| start.expected("a number"))
    }

    fn boolean(&mut self) -> Result<&'a [u8], Stop> {
        let start = *self;
        let raw = self.raw()?;
        match raw {
            b"true" | b"\"true\"" => Ok(b"true"),
            b"false" | b"\"false\"" => Ok(b"false"),
            _ => Err(start.expected("true or false")),
        }
    }

    fn space(&mut self) {
        self.at = json::skip_space(self.text, self.at);
    }

    /// Passes over `sign` if it is here.
    fn closes(&mut self, sign: u8) -> bool {
        self.space();
        let is_here = self.text.get(self.at) == Some(&sign);
        self.at += usize::from(is_here);
        is_here
    }

    fn sign(&mut self, sign: u8, expected: &'static str) -> Written {
        if self.closes(sign) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &'static str) -> Stop {
        Stop::Broken(ParseError::Expected { format: FORMAT, at: self.at, expected })
    }
}
