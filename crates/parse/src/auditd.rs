//! Linux audit records: `type=SYSCALL msg=audit(1604996384.965:93777): arch=c000003e ...`.
//!
//! ```text
//! node=h type=USER_AUTH msg=audit(1604996384.965:93777): pid=1 auid=4294967295 msg='op=PAM acct="root"'
//!                                 stamp          serial  pairs ------------------  nested pairs
//! ```
//!
//! Values with blanks, quotes or control bytes are written as hex by the kernel; they come back as
//! the bytes they stand for. Joining the records of one event is not done here.
//! Source: Linux audit documentation (auparse), `audit_log_untrustedstring`.

use crate::ParseError;
use event::time::SECOND_NS;
use std::borrow::Cow;

const FORMAT: &str = "audit record";
/// Stands between the kernel's fields and those that auditd adds when it resolves names.
const ENRICHED: u8 = 0x1d;

/// One audit record. Records of one event share [`Record::event_ns`] and [`Record::serial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Host, when the dispatcher adds it.
    pub node: Option<&'a [u8]>,
    /// `SYSCALL`, `EXECVE`, `USER_AUTH`..., or its number.
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
    /// The fields in order: key and value, quotes removed, hex decoded; those nested in `msg='...'`
    /// follow as if they stood outside.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs { text: self.body, at: 0, in_nested: false, is_execve: self.kind == b"EXECVE" }
    }
}

/// Reads one audit record, as auditd writes it, as its dispatcher sends it (`node=`), or as the
/// kernel prints it (`audit: type=1400 audit(...): ...`).
/// Errors: `Expected` where the head stops being one.
pub fn parse(line: &[u8]) -> Result<Record<'_>, ParseError> {
    let missing = |at, expected| ParseError::Expected { format: FORMAT, at, expected };
    let mut at = if line.starts_with(b"audit: ") { 7 } else { 0 };
    let mut node = None;
    if let Some(rest) = line[at..].strip_prefix(b"node=") {
        let len = word_len(rest);
        node = Some(&rest[..len]);
        at += 5 + len + 1;
    }
    let rest = line.get(at..).and_then(|l| l.strip_prefix(b"type=")).ok_or(missing(at, "type="))?;
    let kind = &rest[..word_len(rest)];
    at += 5 + kind.len();
    let head = line[at..].trim_ascii_start();
    let head = head.strip_prefix(b"msg=").unwrap_or(head);
    let inner = head.strip_prefix(b"audit(").ok_or(missing(at, "msg=audit("))?;
    at = inner.as_ptr() as usize - line.as_ptr() as usize;
    let close = inner.iter().take(48).position(|c| *c == b')').ok_or(missing(at, "')'"))?;
    let (stamp, serial) = match memchr::memchr(b':', &inner[..close]) {
        Some(colon) => (&inner[..colon], &inner[colon + 1..close]),
        None => return Err(missing(at, "SECONDS:SERIAL")),
    };
    let event_ns = seconds(stamp).ok_or(missing(at, "seconds since 1970"))?;
    let body = &inner[close + 1..];
    let body = body.strip_prefix(b":").unwrap_or(body).trim_ascii();
    Ok(Record { node, kind, stamp, event_ns, serial, body })
}

fn word_len(text: &[u8]) -> usize {
    text.iter().position(|c| *c == b' ').unwrap_or(text.len())
}

/// `1604996384.965` in ns.
fn seconds(text: &[u8]) -> Option<i64> {
    let dot = memchr::memchr(b'.', text).unwrap_or(text.len());
    let (whole, part) = (&text[..dot], text.get(dot + 1..).unwrap_or(&[]));
    let is_number = |t: &[u8]| t.iter().all(u8::is_ascii_digit);
    if whole.is_empty()
        || whole.len() > 10
        || part.len() > 9
        || !is_number(whole)
        || !is_number(part)
    {
        return None;
    }
    let value = |t: &[u8]| t.iter().fold(0i64, |n, c| n * 10 + i64::from(c - b'0'));
    let scale = 10i64.pow(9 - part.len() as u32);
    value(whole).checked_mul(SECOND_NS)?.checked_add(value(part) * scale)
}

/// Iterator of [`Record::pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    text: &'a [u8],
    at: usize,
    in_nested: bool,
    is_execve: bool,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.text.get(self.at..)?;
            let skip =
                rest.iter().take_while(|c| matches!(**c, b' ' | b'\'' | b',' | ENRICHED)).count();
            let rest = &rest[skip..];
            self.at += skip;
            let key_len = rest.iter().position(|c| matches!(*c, b'=' | b' ' | ENRICHED))?;
            self.at += key_len + 1;
            if rest[key_len] != b'=' || key_len == 0 {
                continue;
            }
            let (key, value) = (&rest[..key_len], &rest[key_len + 1..]);
            match value.first() {
                Some(b'\'') if key == b"msg" => {
                    self.in_nested = true;
                    self.at += 1;
                }
                Some(quote @ (b'"' | b'\'')) => {
                    let len = memchr::memchr(*quote, &value[1..]).unwrap_or(value.len() - 1);
                    self.at += len + 2;
                    return Some((key, Cow::Borrowed(&value[1..=len])));
                }
                _ => return Some((key, self.bare(key, value))),
            }
        }
    }
}

impl<'a> Pairs<'a> {
    fn bare(&mut self, key: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
        let len = value.iter().position(|c| matches!(*c, b' ' | ENRICHED)).unwrap_or(value.len());
        self.at += len;
        let mut value = &value[..len];
        if self.in_nested && value.last() == Some(&b'\'') {
            self.in_nested = false;
            value = &value[..len - 1];
        }
        let is_argument = self.is_execve
            && key.strip_prefix(b"a").is_some_and(|n| n.first().is_some_and(u8::is_ascii_digit));
        match is_argument || ENCODED.contains(&key) {
            true => decode(value),
            false => Cow::Borrowed(value),
        }
    }
}

/// Keys whose unquoted values are hex. Arguments (`a0`, `a1[0]`) are so in EXECVE records only; in
/// SYSCALL records they are numbers.
const ENCODED: &[&[u8]] = &[
    b"proctitle",
    b"name",
    b"comm",
    b"exe",
    b"cwd",
    b"path",
    b"dir",
    b"cmd",
    b"acct",
    b"data",
    b"file",
    b"root",
    b"new_group",
    b"old-disk",
    b"new-disk",
    b"device",
    b"vm",
    b"saddr_fam",
    b"key",
];

/// The bytes that a hex value stands for; NUL between arguments becomes a blank. A value that is not
/// an even number of hex digits in capitals is returned as it is.
pub fn decode(value: &[u8]) -> Cow<'_, [u8]> {
    let is_hex = |c: &u8| matches!(c, b'0'..=b'9' | b'A'..=b'F');
    if value.is_empty() || !value.len().is_multiple_of(2) || !value.iter().all(is_hex) {
        return Cow::Borrowed(value);
    }
    let nibble = |c: u8| if c <= b'9' { c - b'0' } else { c - b'A' + 10 };
    let mut out: Vec<u8> =
        value.chunks_exact(2).map(|p| nibble(p[0]) << 4 | nibble(p[1])).collect();
    while out.last() == Some(&0) {
        out.pop();
    }
    for byte in &mut out {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    Cow::Owned(out)
}

/// Whether a value is audit's way of saying "not set" (`4294967295`, `-1`, `unset`, `?`, `(none)`,
/// `(null)`).
pub fn is_unset(value: &[u8]) -> bool {
    matches!(value, b"4294967295" | b"-1" | b"unset" | b"?" | b"(none)" | b"(null)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<String> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let record = parse(line.as_bytes()).unwrap();
        record.pairs().map(|(k, v)| format!("{}={}", text(k), text(&v))).collect()
    }

    #[test]
    fn head_and_fields() {
        let line = "node=web1 type=SYSCALL msg=audit(1604996384.965:93777): arch=c000003e a0=55 auid=4294967295 comm=\"my prog\" exe=2F746D702F612062 key=(null)\u{1d}ARCH=x86_64 AUID=\"unset\"";
        let record = parse(line.as_bytes()).unwrap();
        assert_eq!(record.node, Some(&b"web1"[..]));
        assert_eq!((record.kind, record.serial), (&b"SYSCALL"[..], &b"93777"[..]));
        assert_eq!(record.event_ns, 1_604_996_384_965_000_000);
        let want = [
            "arch=c000003e",
            "a0=55",
            "auid=4294967295",
            "comm=my prog",
            "exe=/tmp/a b",
            "key=(null)",
            "ARCH=x86_64",
            "AUID=unset",
        ];
        assert_eq!(shown(line), want);
        assert!(is_unset(b"4294967295"));
    }

    #[test]
    fn nested_messages_and_arguments() {
        let auth = "type=USER_AUTH msg=audit(1.5:2): pid=1 uid=0 msg='op=PAM:authentication acct=\"root\" exe=\"/usr/sbin/sshd\" hostname=? addr=192.0.2.7 terminal=ssh res=failed' x=1";
        assert_eq!(
            shown(auth),
            [
                "pid=1",
                "uid=0",
                "op=PAM:authentication",
                "acct=root",
                "exe=/usr/sbin/sshd",
                "hostname=?",
                "addr=192.0.2.7",
                "terminal=ssh",
                "res=failed",
                "x=1"
            ]
        );
        let execve = "type=EXECVE msg=audit(1.5:2): argc=3 a0=\"sh\" a1=\"-c\" a2=6361742061";
        assert_eq!(shown(execve), ["argc=3", "a0=sh", "a1=-c", "a2=cat a"]);
        let title = "type=PROCTITLE msg=audit(1.5:2): proctitle=6361740061";
        assert_eq!(shown(title), ["proctitle=cat a"]);
        let kernel = "audit: type=1400 audit(1.5:2): apparmor=\"DENIED\" operation=\"open\"";
        assert_eq!(shown(kernel), ["apparmor=DENIED", "operation=open"]);
    }

    #[test]
    fn other_lines_are_refused() {
        for wrong in
            ["", "type=X", "type=X msg=audit(1", "type=X msg=audit(a:1): ", "node=x", "node=x type"]
        {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
