//! Access logs of web servers: common and combined format (Apache, nginx and those that copy them).

use crate::{ParseError, timestamp, timestamp::Stamp};

/// One request. `-` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// Virtual host (and port) in front of the client.
    pub vhost: Option<&'a [u8]>,
    /// Address or name of the client.
    pub client: &'a [u8],
    /// Identity by RFC 1413.
    pub identity: Option<&'a [u8]>,
    /// Authenticated user.
    pub user: Option<&'a [u8]>,
    /// Time as written, without its brackets.
    pub time: &'a [u8],
    /// Time as understood.
    pub stamp: Option<Stamp>,
    /// The whole request line as written between its quotes.
    pub request: &'a [u8],
    /// HTTP method.
    pub method: Option<&'a [u8]>,
    /// Request target (path and query).
    pub target: Option<&'a [u8]>,
    /// Protocol and version (`HTTP/1.1`).
    pub protocol: Option<&'a [u8]>,
    /// Response status as written, three digits.
    pub status: Option<&'a [u8]>,
    /// Bytes of the response as written.
    pub size_bytes: Option<&'a [u8]>,
    /// Referrer.
    pub referrer: Option<&'a [u8]>,
    /// User agent.
    pub user_agent: Option<&'a [u8]>,
    /// Whatever follows (configured extra fields), trimmed.
    pub rest: &'a [u8],
}

/// Reads one line of an access log.
pub fn parse(line: &[u8]) -> Result<Access<'_>, ParseError> {
    let missing = |at, expected| ParseError::Expected { format: "access log", at, expected };
    let open = memchr::memchr(b'[', line).ok_or(missing(0, "'['"))?;
    let close = memchr::memchr(b']', &line[open..]).ok_or(missing(open, "']'"))? + open;
    let time = &line[open + 1..close];
    let stamp = timestamp::parse(time).ok();
    let _ = stamp.ok_or(missing(open + 1, "a time"))?;
    Err(missing(0, "a request"))
}
