//! The syslog header in front of a message: what it says goes to `log.syslog.*`, host and process.

use crate::native::{Body, Ids};
use crate::program::push_named;
use event::{FieldId, Kind, RowWriter};
use parse::columns::{Family, Layout};
use parse::syslog::{self, Header};
use parse::timestamp::Stamp;

/// Where the parameters of RFC 5424 structured data go.
const STRUCTURED_DATA: &str = "log.syslog.structured_data";

/// Takes the header off. Out: the body, and the header's time.
pub(crate) fn strip<'a>(
    raw: &'a [u8],
    ids: &Ids,
    row: &mut RowWriter<'_>,
    name: &mut String,
) -> (Body<'a>, Option<Stamp>) {
    let bare = bare(raw);
    if let Some((time, stream, text)) = container_line(raw) {
        push_named(row, CONTAINER, b"stream", stream, name);
        let stamp = parse::timestamp::parse(time).ok();
        // Programs made for a syslog daemon write its messages to their output.
        let body = match relayed(text) {
            Some(header) => headed(&header, ids, row, name),
            None => Body { text, ..bare },
        };
        return (body, stamp);
    }
    if !may_be_syslog(raw) || is_in_columns(raw) {
        return (tagged(raw, ids, row).unwrap_or(bare), None);
    }
    let Ok(mut header) = syslog::header(raw) else { return (bare, None) };
    // A relay that keeps the message whole puts its own header in front: the inner one is of whom
    // the event is about.
    for _ in 0..RELAYS_MAX {
        match relayed(header.message) {
            Some(inner) => header = inner,
            None => break,
        }
    }
    // A time alone in front of a line is no syslog header, unless Cisco's mnemonic follows.
    let is_named = header.host.is_some() || header.app.is_some() || header.msgid.is_some();
    if header.pri.is_none() && !is_named {
        return (bare, None);
    }
    // Nor is a time in front of a thread's number a sender's name: databases write so.
    let first = header.host.or(header.app).unwrap_or_default();
    let word = first.split(|c| *c == b' ').next().unwrap_or_default();
    let is_number = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    if header.pri.is_none() && (is_number || is_socket(first)) {
        return (bare, None);
    }
    (headed(&header, ids, row, name), header.stamp)
}

/// Writes the header's fields. Out: what stands below it.
fn headed<'a>(
    header: &Header<'a>,
    ids: &Ids,
    row: &mut RowWriter<'_>,
    name: &mut String,
) -> Body<'a> {
    let program = header.app.map_or(&b""[..], base_name);
    write(header, program, ids, row, name);
    let msgid = header.msgid.unwrap_or_default();
    let data = header.structured_data.0;
    let text = header.message;
    Body { text, program, has_header: true, msgid, data, ..bare(text) }
}

/// Longest name of a program in front of `[pid]:`.
const TAG_BYTES_MAX: usize = 48;

/// `sshd[4711]: message`, a line whose sender or whose collector kept no more of the header: a program's name, its
/// number, colon and blank, at the very start.
fn tagged<'a>(raw: &'a [u8], ids: &Ids, row: &mut RowWriter<'_>) -> Option<Body<'a>> {
    let first = raw.first().filter(|c| c.is_ascii_alphabetic() || **c == b'/');
    first?;
    let open = raw.iter().take(TAG_BYTES_MAX).position(|c| *c == b'[')?;
    let is_name = |c: &u8| c.is_ascii_alphanumeric() || b"_-./".contains(c);
    if !raw[1..open].iter().all(is_name) {
        return None;
    }
    let digits = raw[open + 1..].iter().take(10).take_while(|c| c.is_ascii_digit()).count();
    let (pid, rest) = raw[open + 1..].split_at(digits);
    let text = rest.strip_prefix(b"]: ").filter(|_| digits > 0)?;
    let program = base_name(&raw[..open]);
    row.push(ids.log_app, Kind::Str, program);
    row.push(ids.log_procid, Kind::Str, pid);
    row.push(ids.process_name, Kind::Str, program);
    row.push(ids.process_pid, Kind::Int, pid);
    Some(Body { text, program, has_header: true, ..bare(text) })
}

/// `203.0.113.5:4444` or `kim/203.0.113.5:4444` behind a time is whom a server speaks of, not who sends.
fn is_socket(word: &[u8]) -> bool {
    // Most names end otherwise than in a port.
    let port = word.iter().rev().take(5).take_while(|c| c.is_ascii_digit()).count();
    if port == 0 || !word[..word.len() - port].ends_with(b":") {
        return false;
    }
    let word = &word[memchr::memrchr(b'/', word).map_or(0, |at| at + 1)..];
    if !word.first().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<std::net::SocketAddrV4>().is_ok())
}

/// Most headers of relays in front of a message.
const RELAYS_MAX: usize = 3;

/// A whole syslog message within a message: priority, and a host or a program.
fn relayed(message: &[u8]) -> Option<Header<'_>> {
    if !message.starts_with(b"<") || !message.get(1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let header = syslog::header(message).ok()?;
    let is_whole = header.pri.is_some()
        && header.stamp.is_some()
        && (header.host.is_some() || header.app.is_some());
    is_whole.then_some(header)
}

/// A record without header.
pub(crate) fn bare(raw: &[u8]) -> Body<'_> {
    Body { text: raw, program: b"", has_header: false, msgid: b"", data: b"", is_no_line: false }
}

/// A first look that spares other formats the attempt.
fn may_be_syslog(raw: &[u8]) -> bool {
    match raw.first() {
        Some(b'<') => raw.get(1).is_some_and(u8::is_ascii_digit),
        Some(b'*' | b'.' | b':') => true,
        // TAI64N labels of daemontools.
        Some(b'@') => parse::timestamp::leading(raw).is_some(),
        // `Mar  5 ...`: the header's reader decides.
        Some(c) if c.is_ascii_alphabetic() && raw.get(3) == Some(&b' ') => true,
        Some(c) if c.is_ascii_digit() && is_dotted(raw) => false,
        // A tab behind the time is a column's.
        Some(c) if c.is_ascii_alphanumeric() => match parse::timestamp::leading(raw) {
            Some((_, len)) => raw.get(len) != Some(&b'\t'),
            None => raw.starts_with(b"1 "),
        },
        _ => false,
    }
}

/// Where the Kubernetes runtimes' own words about a line go.
const CONTAINER: &str = "container.log";

/// `2016-10-06T00:17:09.669794202Z stdout F message`: how containerd and CRI-O keep what a container
/// wrote. Out: time, stream, message.
fn container_line(raw: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if raw.get(10) != Some(&b'T') {
        return None;
    }
    let mut words = raw.splitn(4, |c| *c == b' ');
    let (time, stream, tag, text) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let fits = matches!(stream, b"stdout" | b"stderr") && matches!(tag, b"F" | b"P");
    fits.then_some((time, stream, text))
}

/// Whether a line that starts with date and time is one of a W3C log without its header.
fn is_in_columns(raw: &[u8]) -> bool {
    let is_dated = raw.get(4) == Some(&b'-') && matches!(raw.get(10), Some(b' ' | b'\t'));
    is_dated && Layout::guess(raw, Family::W3c).is_some()
}

/// Whether the text starts with a number and a dot, as an address does and no date.
fn is_dotted(raw: &[u8]) -> bool {
    let digits = raw.iter().take(4).take_while(|c| c.is_ascii_digit()).count();
    digits < 4 && raw.get(digits) == Some(&b'.')
}

fn base_name(path: &[u8]) -> &[u8] {
    let name = &path[path.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1)..];
    if name.is_empty() { path } else { name }
}

fn write(
    header: &Header<'_>,
    program: &[u8],
    ids: &Ids,
    row: &mut RowWriter<'_>,
    name: &mut String,
) {
    if let Some(pri) = header.pri {
        let codes = [(ids.log_pri, pri), (ids.log_facility, pri / 8), (ids.log_severity, pri % 8)];
        for (field, code) in codes {
            row.push(field, Kind::Int, DIGITS[usize::from(code)].as_bytes());
        }
        let names = [
            (ids.log_facility_name, header.facility_name()),
            (ids.log_severity_name, header.severity_name()),
        ];
        for (field, word) in names {
            if let Some(word) = word {
                row.push(field, Kind::Str, word.as_bytes());
            }
        }
    }
    if let Some(host) = header.host {
        row.push(ids.log_host, Kind::Str, host);
        row.push(ids.host_hostname, Kind::Str, host);
        push_lower(row, ids.host_name, host);
    }
    let texts = [
        (ids.log_app, header.app),
        (ids.log_msgid, header.msgid),
        (ids.log_procid, header.procid),
        (ids.log_level, header.level),
    ];
    for (field, value) in texts {
        if let Some(value) = value {
            row.push(field, Kind::Str, value);
        }
    }
    if !program.is_empty() {
        row.push(ids.process_name, Kind::Str, program);
    }
    if let Some(pid) = header.procid.filter(|p| p.len() <= 10 && p.iter().all(u8::is_ascii_digit)) {
        row.push(ids.process_pid, Kind::Int, pid);
    }
    if let Some(version) = header.version {
        match DIGITS.get(usize::from(version)) {
            Some(digits) => row.push(ids.log_version, Kind::Str, digits.as_bytes()),
            None => row.push(ids.log_version, Kind::Str, version.to_string().as_bytes()),
        };
    }
    for (element, key, value) in header.structured_data.iter() {
        let prefix = format!("{STRUCTURED_DATA}.{}", String::from_utf8_lossy(element));
        push_named(row, &prefix, key, &value, name);
    }
    if let Some(problem) = header.problem {
        row.push(ids.error, Kind::Str, problem.to_string().as_bytes());
    }
}

/// Writes a host's name in lower case.
fn push_lower(row: &mut RowWriter<'_>, field: FieldId, name: &[u8]) {
    // Names in DNS are no longer; of others the copy is made elsewhere.
    let mut lower = [0; 255];
    match lower.get_mut(..name.len()) {
        _ if !name.iter().any(u8::is_ascii_uppercase) => row.push(field, Kind::Str, name),
        Some(lower) => {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            row.push(field, Kind::Str, lower)
        }
        None => row.push(field, Kind::Str, &name.to_ascii_lowercase()),
    };
}

/// `0` to `191` as text: priorities are written for every message.
static DIGITS: [&str; 192] = digits();

const fn digits() -> [&'static str; 192] {
    const TEXT: &str = include_str!("digits.txt");
    let mut out = [""; 192];
    let mut at = 0;
    let mut n = 0;
    while n < 192 {
        let len = if n < 10 {
            1
        } else if n < 100 {
            2
        } else {
            3
        };
        let (_, rest) = TEXT.split_at(at);
        let (word, _) = rest.split_at(len);
        out[n] = word;
        at += len + 1;
        n += 1;
    }
    out
}
