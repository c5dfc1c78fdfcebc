//! A request in protobuf, read where it lies: the wire format, and the messages of
//! `opentelemetry/proto/logs/v1/logs.proto` by their fields' numbers.

use super::NESTING_MAX;
use super::record::{Fold, Id, LogRecord, Stop, Text, Written};
use crate::ParseError;

const FORMAT: &str = "OTLP protobuf";

/// Reads an `ExportLogsServiceRequest`.
pub(super) fn request(body: &[u8], fold: &mut Fold<'_>) -> Written {
    let mut has_logs = false;
    Part { bytes: body, at: 0 }.each(|number, value| match (number, value) {
        (1, Value::Bytes(part)) => {
            has_logs = true;
            resource_logs(part, fold)
        }
        _ => Ok(()),
    })?;
    // Something else is not to be answered as taken; an empty request is one.
    if has_logs || body.is_empty() {
        return Ok(());
    }
    let expected = "a request of logs, whose field is 1 (resource_logs),";
    Err(ParseError::Expected { format: FORMAT, at: 0, expected }.into())
}

fn resource_logs(logs: Part<'_>, fold: &mut Fold<'_>) -> Written {
    let [resource, schema] = logs.parts([1, 3])?;
    fold.resource(|text| {
        if let Some(resource) = resource {
            attributes(text, resource, 1)?;
            text.count("droppedAttributesCount", resource.last_varint(2)?)?;
        }
        text.member("schemaUrl", schema.map_or(b"", |s| s.bytes))
    })?;
    logs.each(|number, value| match (number, value) {
        (2, Value::Bytes(part)) => scope_logs(part, fold),
        _ => Ok(()),
    })
}

fn scope_logs(logs: Part<'_>, fold: &mut Fold<'_>) -> Written {
    let [scope, schema] = logs.parts([1, 3])?;
    fold.scope(|text| {
        if let Some(scope) = scope {
            let [name, version] = scope.parts([1, 2])?;
            text.member("name", name.map_or(b"", |n| n.bytes))?;
            text.member("version", version.map_or(b"", |v| v.bytes))?;
            attributes(text, scope, 3)?;
            text.count("droppedAttributesCount", scope.last_varint(4)?)?;
        }
        text.member("schemaUrl", schema.map_or(b"", |s| s.bytes))
    })?;
    logs.each(|number, value| match (number, value) {
        (2, Value::Bytes(part)) => fold.record(part.bytes.len(), |text| log_record(part, text)),
        _ => Ok(()),
    })
}

fn log_record(record: Part<'_>, text: &mut Text<'_>) -> Written {
    let mut head = LogRecord::default();
    let mut body = None;
    record.each(|number, value| {
        match (number, value) {
            (1, Value::Fixed64(ns)) => head.time_ns = ns,
            (2, Value::Varint(n)) => head.severity_number = i64::from(n as i32),
            (3, Value::Bytes(part)) => head.severity_text = part.bytes.into(),
            (5, Value::Bytes(part)) => body = Some(part),
            (7, Value::Varint(n)) => head.dropped_attributes = u64::from(n as u32),
            (8, Value::Fixed32(flags)) => head.flags = flags.into(),
            (9, Value::Bytes(part)) => head.trace_id = Id::Bytes(part.bytes),
            (10, Value::Bytes(part)) => head.span_id = Id::Bytes(part.bytes),
            (11, Value::Fixed64(ns)) => head.observed_time_ns = ns,
            (12, Value::Bytes(part)) => head.event_name = part.bytes.into(),
            _ => {}
        }
        Ok(())
    })?;
    let write_body = |text: &mut Text<'_>| match body {
        Some(body) => {
            text.key(b"body")?;
            any_value(text, body, 0)
        }
        None => Ok(()),
    };
    head.write(text, write_body, |text| attributes(text, record, 6))
}

/// The attributes that stand in a message under this number.
fn attributes(text: &mut Text<'_>, of: Part<'_>, number: u32) -> Written {
    let mut is_begun = false;
    of.each(|n, value| match value {
        Value::Bytes(pair) if n == number => {
            if !is_begun {
                text.key(b"attributes")?;
                text.put(b"{")?;
                is_begun = true;
            }
            key_value(text, pair, 0)
        }
        _ => Ok(()),
    })?;
    if is_begun { text.put(b"}") } else { Ok(()) }
}

fn key_value(text: &mut Text<'_>, pair: Part<'_>, depth: usize) -> Written {
    let [key, value] = pair.parts([1, 2])?;
    text.key(key.map_or(b"", |k| k.bytes))?;
    match value {
        Some(value) => any_value(text, value, depth),
        None => text.put(b"null"),
    }
}

fn any_value(text: &mut Text<'_>, value: Part<'_>, depth: usize) -> Written {
    let mut last = None;
    value.each(|number, value| {
        if (1..=7).contains(&number) {
            last = Some((number, value));
        }
        Ok(())
    })?;
    match last {
        Some((1, Value::Bytes(part))) => text.string(part.bytes),
        Some((2, Value::Varint(n))) => text.put(if n == 0 { b"false" } else { b"true" }),
        Some((3, Value::Varint(n))) => text.number(n as i64),
        Some((4, Value::Fixed64(bits))) => text.double(f64::from_bits(bits)),
        Some((7, Value::Bytes(part))) => text.base64(part.bytes),
        Some((5 | 6, Value::Bytes(part))) if depth >= NESTING_MAX => text.base64(part.bytes),
        Some((5, Value::Bytes(list))) => {
            text.put(b"[")?;
            list.each(|number, value| match (number, value) {
                (1, Value::Bytes(element)) => {
                    text.separate()?;
                    any_value(text, element, depth + 1)
                }
                _ => Ok(()),
            })?;
            text.put(b"]")
        }
        Some((6, Value::Bytes(map))) => {
            text.put(b"{")?;
            map.each(|number, value| match (number, value) {
                (1, Value::Bytes(pair)) => key_value(text, pair, depth + 1),
                _ => Ok(()),
            })?;
            text.put(b"}")
        }
        _ => text.put(b"null"),
    }
}

/// The value of a field as the wire has it.
#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(Part<'a>),
    Fixed32(u32),
}

/// A message, or text, that lies in the request.
#[derive(Clone, Copy)]
struct Part<'a> {
    bytes: &'a [u8],
    /// Where it begins, for errors.
    at: usize,
}

impl<'a> Part<'a> {
    /// All fields in their order. A known field of another type is an unknown one.
    fn each(self, mut take: impl FnMut(u32, Value<'a>) -> Written) -> Written {
        let mut reader = Reader { part: self, next: 0 };
        while reader.next < self.bytes.len() {
            let (number, value) = reader.field()?;
            take(number, value)?;
        }
        Ok(())
    }

    /// The last text or message under each number.
    fn parts<const N: usize>(self, numbers: [u32; N]) -> Result<[Option<Part<'a>>; N], Stop> {
        let mut found = [None; N];
        self.each(|number, value| {
            if let (Some(place), Value::Bytes(part)) =
                (numbers.iter().position(|n| *n == number), value)
            {
                found[place] = Some(part);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The last number under this one, 0 if there is none.
    fn last_varint(self, wanted: u32) -> Result<u64, Stop> {
        let mut found = 0;
        self.each(|number, value| {
            if let (true, Value::Varint(n)) = (number == wanted, value) {
                found = u64::from(n as u32);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

struct Reader<'a> {
    part: Part<'a>,
    next: usize,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), ParseError> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).unwrap_or(0);
        if number == 0 {
            return Err(self.expected("a field's number"));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let at = self.part.at + self.next;
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                Value::Bytes(Part { bytes: self.take(len)?, at })
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups, which proto3 does not have, among them.
            _ => return Err(self.expected("a type of proto3")),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, ParseError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.expected("a number of ten bytes at most"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let rest = &self.part.bytes[self.next..];
        let taken = rest.get(..len).ok_or_else(|| self.expected("more bytes"))?;
        self.next += len;
        Ok(taken)
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        ParseError::Expected { format: FORMAT, at: self.part.at + self.next, expected }
    }
}
