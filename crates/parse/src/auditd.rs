//! Linux audit records: `type=SYSCALL msg=audit(1604996384.965:93777): arch=c000003e ...`.

use crate::{ParseError, kv};
use std::borrow::Cow;

/// One audit record. Records of one event share [`Record::stamp`] and [`Record::serial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Host, when the dispatcher adds it.
    pub node: Option<&'a [u8]>,
    /// `SYSCALL`, `EXECVE`, `USER_AUTH`...
    pub kind: &'a [u8],
    /// Seconds and fraction as written.
    pub stamp: &'a [u8],
    /// ns since 1970-01-01 UTC.
    pub event_ns: i64,
    /// Number of the event within its host's run.
    pub serial: &'a [u8],
    /// The fields; see [`Record::pairs`].
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The fields in order, values decoded (see [`decode`]); those nested in `msg='...'` follow as if
    /// they stood outside.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], Cow<'a, [u8]>)> + use<'a> {
        kv::pairs(self.body, &kv::KvOptions::default())
    }
}

/// Reads one audit record.
pub fn parse(line: &[u8]) -> Result<Record<'_>, ParseError> {
    let expected = "type=KIND msg=audit(SECONDS:SERIAL)";
    let _ = line;
    Err(ParseError::Expected { format: "auditd", at: 0, expected })
}

/// Whether a value is audit's way of saying "not set" (`4294967295`, `-1`, `unset`, `?`, `(none)`,
/// `(null)`).
pub fn is_unset(value: &[u8]) -> bool {
    matches!(value, b"4294967295" | b"-1" | b"unset" | b"?" | b"(none)" | b"(null)")
}

/// Decodes the hex form that audit gives to values with blanks, quotes or control bytes; only for
/// the keys that can have it (`proctitle`, `name`, `a0`...). NUL between arguments becomes a blank.
pub fn decode<'a>(key: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
    let _ = key;
    Cow::Borrowed(value)
}
