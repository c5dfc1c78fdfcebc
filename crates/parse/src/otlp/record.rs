//! A log record's JSON text: the names and their order, for both readers; and what limits keep out.

use super::{Limits, Rejected};
use crate::ParseError;
use base64::Engine;
use event::{RawBatch, RawRecord, RecordKind};
use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;

/// Why a text is not written to its end.
pub(super) enum Stop {
    /// It has no room.
    Full,
    /// What it is made from is no OTLP.
    Broken(ParseError),
}

impl From<ParseError> for Stop {
    fn from(error: ParseError) -> Self {
        Self::Broken(error)
    }
}

pub(super) type Written = Result<(), Stop>;

/// What a log record has beside its body and its attributes.
#[derive(Default)]
pub(super) struct LogRecord<'a> {
    pub(super) time_ns: u64,
    pub(super) observed_time_ns: u64,
    pub(super) severity_number: i64,
    pub(super) severity_text: Cow<'a, [u8]>,
    pub(super) event_name: Cow<'a, [u8]>,
    pub(super) dropped_attributes: u64,
    pub(super) flags: u64,
    pub(super) trace_id: Id<'a>,
    pub(super) span_id: Id<'a>,
}

/// The id of a trace or a span.
pub(super) enum Id<'a> {
    Bytes(&'a [u8]),
    Hex(Cow<'a, [u8]>),
}

impl Default for Id<'_> {
    fn default() -> Self {
        Self::Bytes(b"")
    }
}

impl LogRecord<'_> {
    /// The members of a record, without its brackets.
    pub(super) fn write(
        &self,
        text: &mut Text<'_>,
        body: impl FnOnce(&mut Text<'_>) -> Written,
        attributes: impl FnOnce(&mut Text<'_>) -> Written,
    ) -> Written {
        for (name, ns) in
            [("timeUnixNano", self.time_ns), ("observedTimeUnixNano", self.observed_time_ns)]
        {
            if ns != 0 {
                text.key(name.as_bytes())?;
                text.put(b"\"")?;
                text.number(ns)?;
                text.put(b"\"")?;
            }
        }
        text.key(b"severityNumber")?;
        text.number(self.severity_number)?;
        text.member("severityText", &self.severity_text)?;
        text.member("eventName", &self.event_name)?;
        body(text)?;
        attributes(text)?;
        text.count("droppedAttributesCount", self.dropped_attributes)?;
        text.count("flags", self.flags)?;
        text.id("traceId", &self.trace_id)?;
        text.id("spanId", &self.span_id)
    }
}

/// A JSON text that grows up to a limit.
pub(super) struct Text<'o> {
    out: &'o mut Vec<u8>,
    end_max: usize,
}

impl Text<'_> {
    /// Bytes that are JSON already.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Written {
        if self.end_max.saturating_sub(self.out.len()) < bytes.len() {
            return Err(Stop::Full);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// The comma before a member or an element, unless it is the first.
    pub(super) fn separate(&mut self) -> Written {
        match self.out.last() {
            None | Some(b'{' | b'[') => Ok(()),
            Some(_) => self.put(b","),
        }
    }

    pub(super) fn key(&mut self, name: &[u8]) -> Written {
        self.separate()?;
        self.string(name)?;
        self.put(b":")
    }

    /// A member that is left out when it is empty.
    pub(super) fn member(&mut self, name: &str, value: &[u8]) -> Written {
        if value.is_empty() {
            return Ok(());
        }
        self.key(name.as_bytes())?;
        self.string(value)
    }

    /// A member that is left out when it is 0.
    pub(super) fn count(&mut self, name: &str, value: u64) -> Written {
        if value == 0 {
            return Ok(());
        }
        self.key(name.as_bytes())?;
        self.number(value)
    }

    fn id(&mut self, name: &str, id: &Id<'_>) -> Written {
        match id {
            Id::Bytes([]) => Ok(()),
            Id::Bytes(bytes) => {
                self.key(name.as_bytes())?;
                self.put(b"\"")?;
                for byte in *bytes {
                    self.put(&[hex(byte >> 4), hex(byte & 15)])?;
                }
                self.put(b"\"")
            }
            Id::Hex(digits) => self.member(name, &digits.to_ascii_lowercase()),
        }
    }

    /// Text in quotes. Bytes that are no UTF-8 stay.
    pub(super) fn string(&mut self, text: &[u8]) -> Written {
        self.put(b"\"")?;
        let mut rest = text;
        let is_special = |c: &u8| *c < b' ' || matches!(c, b'"' | b'\\');
        while let Some(at) = rest.iter().position(is_special) {
            self.put(&rest[..at])?;
            match rest[at] {
                b'\n' => self.put(b"\\n")?,
                b'\t' => self.put(b"\\t")?,
                b'\r' => self.put(b"\\r")?,
                c @ (b'"' | b'\\') => self.put(&[b'\\', c])?,
                c => self.put(&[b'\\', b'u', b'0', b'0', hex(c >> 4), hex(c & 15)])?,
            }
            rest = &rest[at + 1..];
        }
        self.put(rest)?;
        self.put(b"\"")
    }

    pub(super) fn number(&mut self, number: impl Display) -> Written {
        // It is short: over the limit, it is noticed behind it.
        let _ = write!(self.out, "{number}");
        if self.out.len() > self.end_max { Err(Stop::Full) } else { Ok(()) }
    }

    /// A number with a point or an exponent, in the fewest digits that mean it.
    pub(super) fn double(&mut self, number: f64) -> Written {
        match number {
            n if n.is_nan() => self.put(b"\"NaN\""),
            f64::INFINITY => self.put(b"\"Infinity\""),
            f64::NEG_INFINITY => self.put(b"\"-Infinity\""),
            n => self.number(format_args!("{n:?}")),
        }
    }

    pub(super) fn base64(&mut self, bytes: &[u8]) -> Written {
        /// Divisible by three: pieces need no padding.
        const PIECE_BYTES: usize = 768;
        let mut coded = [0; PIECE_BYTES / 3 * 4];
        self.put(b"\"")?;
        for piece in bytes.chunks(PIECE_BYTES) {
            let engine = base64::engine::general_purpose::STANDARD;
            let len = engine.encode_slice(piece, &mut coded).unwrap_or_default();
            self.put(&coded[..len])?;
        }
        self.put(b"\"")
    }
}

fn hex(digit: u8) -> u8 {
    b"0123456789abcdef"[usize::from(digit & 15)]
}

/// Records as they are made, under the resource and the scope that are in force.
pub(super) struct Fold<'b> {
    batch: &'b mut RawBatch,
    limits: Limits,
    now_ns: i64,
    /// The member that every record ends with; `None` if it is longer than a record may be.
    resource: Option<Vec<u8>>,
    scope: Option<Vec<u8>>,
    pub(super) rejected: Rejected,
}

impl<'b> Fold<'b> {
    pub(super) fn new(batch: &'b mut RawBatch, limits: Limits, now_ns: i64) -> Self {
        let (resource, scope) = (Some(Vec::new()), Some(Vec::new()));
        Self { batch, limits, now_ns, resource, scope, rejected: Rejected::default() }
    }

    /// The resource of what follows; the scope is none.
    pub(super) fn resource(&mut self, members: impl FnOnce(&mut Text<'_>) -> Written) -> Written {
        self.resource = carried("resource", self.limits.record_bytes_max, members)?;
        self.scope = Some(Vec::new());
        Ok(())
    }

    /// The scope of what follows.
    pub(super) fn scope(&mut self, members: impl FnOnce(&mut Text<'_>) -> Written) -> Written {
        self.scope = carried("scope", self.limits.record_bytes_max, members)?;
        Ok(())
    }

    /// A log record of so many bytes. One that has no room is counted instead; of one that cannot be read
    /// nothing stays.
    pub(super) fn record(
        &mut self,
        sent_bytes: usize,
        members: impl FnOnce(&mut Text<'_>) -> Written,
    ) -> Written {
        let start = self.batch.bytes.len();
        let done = self.append(start, members);
        if done.is_err() {
            self.batch.bytes.truncate(start);
        }
        if matches!(done, Err(Stop::Full)) {
            self.rejected.records += 1;
            self.rejected.bytes += sent_bytes as u64;
            return Ok(());
        }
        done
    }

    fn append(&mut self, start: usize, members: impl FnOnce(&mut Text<'_>) -> Written) -> Written {
        let (Some(resource), Some(scope)) = (&self.resource, &self.scope) else {
            return Err(Stop::Full);
        };
        if self.batch.records.len() >= self.limits.records_max {
            return Err(Stop::Full);
        }
        let end_max = self.limits.batch_bytes_max.min(start + self.limits.record_bytes_max);
        let carried_bytes = resource.len() + scope.len() + 1;
        let end_max = end_max.checked_sub(carried_bytes).ok_or(Stop::Full)?;
        let mut text = Text { out: &mut self.batch.bytes, end_max };
        text.put(b"{")?;
        members(&mut text)?;
        self.batch.bytes.extend_from_slice(resource);
        self.batch.bytes.extend_from_slice(scope);
        self.batch.bytes.push(b'}');
        let end = u32::try_from(self.batch.bytes.len()).map_err(|_| Stop::Full)?;
        self.batch.records.push(RawRecord {
            start: start as u32,
            len: end - start as u32,
            envelope: 0,
            kind: RecordKind::Data,
            wall_ns: self.now_ns,
        });
        Ok(())
    }
}

/// `,"name":{...}`, nothing if the object is empty, `None` if it is too long.
fn carried(
    name: &str,
    bytes_max: usize,
    members: impl FnOnce(&mut Text<'_>) -> Written,
) -> Result<Option<Vec<u8>>, Stop> {
    let mut out = format!(",\"{name}\":{{").into_bytes();
    let start = out.len();
    match members(&mut Text { out: &mut out, end_max: bytes_max }) {
        Ok(()) if out.len() == start => Ok(Some(Vec::new())),
        Ok(()) => {
            out.push(b'}');
            Ok(Some(out))
        }
        Err(Stop::Full) => Ok(None),
        Err(broken) => Err(broken),
    }
}
