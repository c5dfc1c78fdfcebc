//! Syslog headers: RFC 5424 to the letter, and the many things that call themselves RFC 3164.
//!
//! ```text
//! <165>1 2003-10-11T22:14:15Z host app 12 ID47 [x@1 k="v"] text     RFC 5424, validated
//! <34>Oct 11 22:14:15 host su[12]: text                             RFC 3164
//! <189>45: *Mar  5 14:07:09.123 CET: %SYS-5-CONFIG_I: text          Cisco: number, unset clock
//!   |    |   |                  |     |
//!  pri  sequence  timestamp    zone  msgid                -> Header, message = the rest
//! ```
//!
//! Invariants: every slice of a [`Header`] is a piece of the line; what breaks the standard is told
//! in [`Header::problem`] and what stands before it is kept; one pass.
//! Not here: transport framing, the meaning of the message.

use crate::{ParseError, timestamp, timestamp::Stamp};
use std::borrow::Cow;
use std::collections::HashSet;

const FORMAT: &str = "syslog";
/// Name used in the errors of the strict reader.
const STRICT: &str = "RFC 5424 syslog";
/// RFC 5424 section 6: lengths of the header's parts.
const HOST_LEN_MAX: usize = 255;
const APP_LEN_MAX: usize = 48;
const PROCID_LEN_MAX: usize = 128;
const MSGID_LEN_MAX: usize = 32;
const SD_NAME_LEN_MAX: usize = 32;
/// Longest word that is taken for a program in front of a colon. RFC 3164 says 32; container and
/// Java programs send up to 120.
const TAG_LEN_MAX: usize = 128;
/// UTF-8 byte order mark, legal at the start of an RFC 5424 message.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Which grammar the header follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 5424 (also when its version number is missing).
    Rfc5424,
    /// RFC 3164 and its relatives.
    Rfc3164,
}

/// A syslog header taken apart. Absent and `-` are both `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Header<'a> {
    /// Which grammar was met.
    pub dialect: Dialect,
    /// Facility times 8 plus severity, `0..=191`.
    pub pri: Option<u8>,
    /// RFC 5424 version.
    pub version: Option<u16>,
    /// Cisco's message counter in front of the time.
    pub sequence: Option<&'a [u8]>,
    /// The sender marked its clock as not synchronised (`*` or `.` in front of the time).
    pub clock_unset: bool,
    /// The time as written.
    pub timestamp: Option<&'a [u8]>,
    /// The time as understood.
    pub stamp: Option<Stamp>,
    /// Host name or address.
    pub host: Option<&'a [u8]>,
    /// Severity word in front of the program, as some relays write it (`notice`, `user.info`).
    pub level: Option<&'a [u8]>,
    /// Program (RFC 5424 APP-NAME, RFC 3164 tag).
    pub app: Option<&'a [u8]>,
    /// Process id, usually digits.
    pub procid: Option<&'a [u8]>,
    /// Kind of message (RFC 5424 MSGID; Cisco's `ASA-6-302015`, then also in the message).
    pub msgid: Option<&'a [u8]>,
    /// RFC 5424 structured data.
    pub structured_data: StructuredData<'a>,
    /// Everything behind the header, without byte order mark.
    pub message: &'a [u8],
    /// What is wrong with the header; everything above is then what could be read before it.
    pub problem: Option<ParseError>,
}

impl<'a> Header<'a> {
    fn empty(line: &'a [u8], dialect: Dialect) -> Self {
        Self {
            dialect,
            pri: None,
            version: None,
            sequence: None,
            clock_unset: false,
            timestamp: None,
            stamp: None,
            host: None,
            level: None,
            app: None,
            procid: None,
            msgid: None,
            structured_data: StructuredData(&[]),
            message: line,
            problem: None,
        }
    }

    /// Facility number, `0..=23`.
    pub fn facility(&self) -> Option<u8> {
        self.pri.map(|p| p / 8)
    }

    /// Severity number, `0..=7`, 0 is the worst.
    pub fn severity(&self) -> Option<u8> {
        self.pri.map(|p| p % 8)
    }

    /// Facility's keyword (`auth`, `local0`).
    pub fn facility_name(&self) -> Option<&'static str> {
        self.facility().and_then(|f| FACILITIES.get(usize::from(f)).copied())
    }

    /// Severity's keyword (`err`, `info`).
    pub fn severity_name(&self) -> Option<&'static str> {
        self.severity().and_then(|s| SEVERITIES.get(usize::from(s)).copied())
    }
}

/// Keywords of the facilities 0..=23, as in syslog.conf.
pub const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// Keywords of the severities 0..=7.
pub const SEVERITIES: [&str; 8] =
    ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];

/// The `[id name="value" ...]` elements of an RFC 5424 header, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructuredData<'a>(pub &'a [u8]);

impl<'a> StructuredData<'a> {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parameters in order: element id, name, value with its escapes resolved. An element
    /// without parameters gives one item with empty name and value.
    pub fn iter(&self) -> Params<'a> {
        Params { text: self.0, at: 0, id: &[], fresh: false }
    }
}

impl<'a> IntoIterator for StructuredData<'a> {
    type Item = (&'a [u8], &'a [u8], Cow<'a, [u8]>);
    type IntoIter = Params<'a>;

    fn into_iter(self) -> Params<'a> {
        self.iter()
    }
}

/// Iterator over structured data; see [`StructuredData::iter`].
#[derive(Clone, Debug)]
pub struct Params<'a> {
    text: &'a [u8],
    at: usize,
    id: &'a [u8],
    /// The element was opened and gave no parameter yet.
    fresh: bool,
}

impl<'a> Iterator for Params<'a> {
    type Item = (&'a [u8], &'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.text.get(self.at)? {
                b'[' => {
                    let from = self.at + 1;
                    let len = self.text[from..].iter().take_while(|c| is_sd_name(**c)).count();
                    self.id = &self.text[from..from + len];
                    self.at = from + len;
                    self.fresh = true;
                }
                b']' => {
                    self.at += 1;
                    if std::mem::take(&mut self.fresh) {
                        return Some((self.id, &[], Cow::Borrowed(&[])));
                    }
                }
                b' ' => self.at += 1,
                _ => {
                    let rest = &self.text[self.at..];
                    let name = rest.iter().take_while(|c| is_sd_name(**c)).count();
                    let value = rest.get(name..)?.strip_prefix(b"=\"")?;
                    let len = sd_value_len(value);
                    self.at += name + 2 + len + 1;
                    self.fresh = false;
                    return Some((self.id, &rest[..name], sd_unescape(&value[..len])));
                }
            }
        }
    }
}

fn is_sd_name(c: u8) -> bool {
    c.is_ascii_graphic() && !matches!(c, b'=' | b']' | b'"')
}

/// Bytes up to the quote that ends a parameter's value, or to the end of the text.
fn sd_value_len(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(i) = value.get(at..).and_then(|v| memchr::memchr2(b'"', b'\\', v)) {
        match value[at + i] {
            b'"' => return at + i,
            _ => at += i + 2,
        }
    }
    value.len()
}

fn sd_unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        if value[at] == b'\\' && matches!(value.get(at + 1), Some(b'"' | b'\\' | b']')) {
            at += 1;
        }
        out.push(value[at]);
        at += 1;
    }
    Cow::Owned(out)
}

/// Reads the header of one syslog message of whatever dialect.
///
/// In: one message without transport framing, any bytes. Out: what could be told apart; a message
/// that breaks RFC 5424 half way has [`Header::problem`] set and the rest in `message`.
/// Errors: `Empty`; `Expected` when there is neither a priority nor a time, so that nothing shows
/// that this is syslog at all. Source: RFC 5424 section 6, RFC 3164 section 4, Cisco IOS and ASA.
pub fn header(line: &[u8]) -> Result<Header<'_>, ParseError> {
    let line = trim_end(line);
    if line.is_empty() {
        return Err(ParseError::Empty { format: FORMAT });
    }
    let (pri, after) = match priority(line) {
        Some((pri, len)) => (Some(pri), len),
        None => (None, 0),
    };
    let blanks = line[after..].iter().take_while(|c| **c == b' ').count();
    let body = after + blanks;
    if let Some(version) = version_ahead(line, body, pri.is_some()) {
        let mut header = Header::empty(line, Dialect::Rfc5424);
        header.pri = pri;
        header.version = Some(version.number);
        header.message = &line[version.end..];
        strict_tail(line, version.end, &mut header, Times::Any);
        if header.problem.is_none() && (pri.is_none() || blanks > 0) {
            let missing = if pri.is_none() { "a priority in angle brackets" } else { "a version" };
            header.problem = Some(strict(after, missing));
        }
        // A wrong time behind something like "1 " means that it was no version: read it anew.
        if header.timestamp.is_some() || header.problem.is_none() || is_nil_next(line, version.end)
        {
            return Ok(header);
        }
    }
    if let Some(header) = unversioned(line, body, pri) {
        return Ok(header);
    }
    if let Some(header) = cisco(line, body, pri) {
        return Ok(header);
    }
    let header = legacy(line, body, pri);
    if pri.is_none() && header.stamp.is_none() {
        let expected = "a priority in angle brackets or a time";
        return Err(ParseError::Expected { format: FORMAT, at: 0, expected });
    }
    Ok(header)
}

/// Whether a format that names itself starts here.
fn is_announced(text: &[u8]) -> bool {
    text.starts_with(b"CEF:") || text.starts_with(b"LEEF:") || text.starts_with(b"{")
}

fn is_nil_next(line: &[u8], at: usize) -> bool {
    line.get(at..at + 3).is_some_and(|t| t == b" - ")
}

fn trim_end(line: &[u8]) -> &[u8] {
    let junk = line.iter().rev().take_while(|c| matches!(c, b'\n' | b'\r' | 0)).count();
    &line[..line.len() - junk]
}

fn strict(at: usize, expected: &'static str) -> ParseError {
    ParseError::Expected { format: STRICT, at, expected }
}

/// `<0>` to `<191>` without leading zeros: the number and the bytes it takes.
fn priority(line: &[u8]) -> Option<(u8, usize)> {
    let digits = line.strip_prefix(b"<")?.iter().take(4).take_while(|c| c.is_ascii_digit()).count();
    if digits == 0 || digits > 3 || line.get(1 + digits) != Some(&b'>') {
        return None;
    }
    let number = line[1..=digits].iter().fold(0u16, |n, c| n * 10 + u16::from(c - b'0'));
    let pri = u8::try_from(number).ok().filter(|n| *n <= 191)?;
    Some((pri, digits + 2))
}

struct Version {
    number: u16,
    end: usize,
}

/// A version number and a blank at `at`. Without a priority in front only `1 ` and a date count.
fn version_ahead(line: &[u8], at: usize, has_pri: bool) -> Option<Version> {
    let rest = &line[at..];
    let digits = rest.iter().take(4).take_while(|c| c.is_ascii_digit()).count();
    if digits == 0 || digits > 3 || rest[0] == b'0' || rest.get(digits) != Some(&b' ') {
        return None;
    }
    if !has_pri {
        let looks_like_date = rest.get(6) == Some(&b'-') && rest.get(2)?.is_ascii_digit();
        if !looks_like_date || !rest.starts_with(b"1 ") {
            return None;
        }
    }
    let number = rest[..digits].iter().fold(0, |n, c| n * 10 + u16::from(c - b'0'));
    Some(Version { number, end: at + digits })
}

/// Reads a message that has to be RFC 5424, and says where it is not.
///
/// Out: always a header; [`Header::problem`] holds the first violation, everything before it is
/// kept and the message starts at it. Source: RFC 5424 section 6.
pub fn rfc5424(line: &[u8]) -> Header<'_> {
    let mut header = Header::empty(line, Dialect::Rfc5424);
    if line.is_empty() {
        header.problem = Some(ParseError::Empty { format: STRICT });
        return header;
    }
    let leading_zero = line.starts_with(b"<0") && line.get(2) != Some(&b'>');
    let Some((pri, after)) = priority(line).filter(|_| !leading_zero) else {
        let at = usize::from(line[0] == b'<');
        header.problem = Some(strict(at, "a priority from <0> to <191>"));
        return header;
    };
    header.pri = Some(pri);
    header.message = &line[after..];
    let digits = line[after..].iter().take(4).take_while(|c| c.is_ascii_digit()).count();
    if digits == 0 || digits > 3 || line[after] == b'0' {
        header.problem = Some(strict(after, "a version from 1 to 999"));
        return header;
    }
    let number = line[after..after + digits].iter();
    header.version = Some(number.fold(0, |n, c| n * 10 + u16::from(c - b'0')));
    header.message = &line[after + digits..];
    strict_tail(line, after + digits, &mut header, Times::Rfc5424);
    header
}

/// Which times are read in an RFC 5424 header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    /// Those of the standard.
    Rfc5424,
    /// Any that [`timestamp::leading`] knows; another than the standard's is a remark.
    Any,
}

/// A time in an RFC 5424 header that the standard does not have (`+00:00Z`, seven digits of a second):
/// remarks on it and gives the index behind it.
fn other_time<'a>(line: &'a [u8], at: usize, header: &mut Header<'a>) -> Option<usize> {
    let (stamp, len) = timestamp::leading(&line[at..])?;
    if line.get(at + len) != Some(&b' ') {
        return None;
    }
    header.timestamp = Some(&line[at..at + len]);
    header.stamp = Some(stamp);
    header.problem.get_or_insert(strict(at, "a time like 2003-10-11T22:14:15.003Z"));
    Some(at + len)
}

/// Everything behind the version, which ends at `at`.
fn strict_tail<'a>(line: &'a [u8], at: usize, header: &mut Header<'a>, times: Times) {
    // A remark that did not stop the reader stands before whatever stopped it.
    let stop = strict_fields(line, at, header, times).err();
    header.problem = header.problem.or(stop);
}

fn strict_fields<'a>(
    line: &'a [u8],
    at: usize,
    header: &mut Header<'a>,
    times: Times,
) -> Result<(), ParseError> {
    let at = blank(line, at, header)?;
    let at = match strict_time(line, at, header) {
        Err(e) if times == Times::Any => other_time(line, at, header).ok_or(e)?,
        read => read?,
    };
    let at = blank(line, at, header)?;
    let (host, at) = name(line, at, HOST_LEN_MAX, "a host name", header)?;
    header.host = host;
    let at = blank(line, at, header)?;
    if times == Times::Any && is_announced(&line[at..]) {
        // Products put their message where the program belongs.
        return Err(strict(at, "an application name"));
    }
    let (app, at) = name(line, at, APP_LEN_MAX, "an application name", header)?;
    header.app = app;
    let at = blank(line, at, header)?;
    let (procid, at) = name(line, at, PROCID_LEN_MAX, "a process id", header)?;
    header.procid = procid;
    let at = blank(line, at, header)?;
    let (msgid, at) = name(line, at, MSGID_LEN_MAX, "a message id", header)?;
    header.msgid = msgid;
    let at = blank(line, at, header)?;
    let at = structured(line, at, header)?;
    header.message = &line[at..];
    if at == line.len() {
        return Ok(());
    }
    let at = blank(line, at, header)?;
    let text = &line[at..];
    header.message = text;
    if let Some(text) = text.strip_prefix(BOM) {
        header.message = text;
        if let Err(e) = std::str::from_utf8(text) {
            let at = at + BOM.len() + e.valid_up_to();
            return Err(ParseError::NotUtf8 { format: STRICT, at });
        }
    }
    Ok(())
}

fn blank<'a>(line: &'a [u8], at: usize, header: &mut Header<'a>) -> Result<usize, ParseError> {
    header.message = &line[at..];
    match line.get(at) {
        Some(b' ') => {
            header.message = &line[at + 1..];
            Ok(at + 1)
        }
        _ => Err(strict(at, "a blank")),
    }
}

/// `-` or 1..=`limit` printable ASCII characters.
fn name<'a>(
    line: &'a [u8],
    at: usize,
    limit: usize,
    what: &'static str,
    header: &mut Header<'a>,
) -> Result<(Option<&'a [u8]>, usize), ParseError> {
    header.message = &line[at..];
    let len = line[at..].iter().take_while(|c| c.is_ascii_graphic()).count();
    match len {
        0 => Err(strict(at, what)),
        1 if line[at] == b'-' => Ok((None, at + 1)),
        n if n > limit => Err(ParseError::TooLong { format: STRICT, at: at + limit, what, limit }),
        n => Ok((Some(&line[at..at + n]), at + n)),
    }
}

/// RFC 5424 section 6.2.3: `-`, or RFC 3339 with `T` and `Z` in capitals, 1 to 6 fraction digits, no
/// leap second.
fn strict_time<'a>(
    line: &'a [u8],
    at: usize,
    header: &mut Header<'a>,
) -> Result<usize, ParseError> {
    header.message = &line[at..];
    if line.get(at) == Some(&b'-') {
        return Ok(at + 1);
    }
    let text = &line[at..];
    // Y M D T h m s as a picture: 9 is a digit.
    const PICTURE: &[u8] = b"9999-99-99T99:99:99";
    let fits = |(i, want): (usize, &u8)| match (want, text.get(i)) {
        (b'9', Some(c)) => c.is_ascii_digit(),
        (want, got) => got == Some(want),
    };
    if let Some(wrong) = (0..PICTURE.len()).find(|i| !fits((*i, &PICTURE[*i]))) {
        return Err(strict(at + wrong, "a time like 2003-10-11T22:14:15.003Z"));
    }
    let mut end = PICTURE.len();
    if text.get(end) == Some(&b'.') {
        let digits = text[end + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 || digits > 6 {
            return Err(strict(at + end + 1 + digits.min(6), "1 to 6 digits of a second"));
        }
        end += 1 + digits;
    }
    let zone = text[end..].iter().take_while(|c| c.is_ascii_graphic()).count();
    let zone_text = &text[end..end + zone];
    let zone_ok = match zone_text {
        b"Z" => true,
        [b'+' | b'-', h1 @ b'0'..=b'2', h2, b':', m1 @ b'0'..=b'5', m2] => {
            h2.is_ascii_digit()
                && m2.is_ascii_digit()
                && m1.is_ascii_digit()
                && (*h1 < b'2' || *h2 <= b'3')
        }
        _ => false,
    };
    if !zone_ok {
        return Err(strict(at + end, "Z or an offset like +01:00"));
    }
    let (hour, second) = (&text[11..13], &text[17..19]);
    let stamp = std::str::from_utf8(&text[..end + zone]).ok().and_then(strict_ns);
    let stamp = stamp.filter(|_| hour <= b"23".as_slice() && second <= b"59".as_slice());
    let Some(ns) = stamp else {
        return Err(strict(at, "a date that exists"));
    };
    header.timestamp = Some(&text[..end + zone]);
    header.stamp = Some(Stamp::Utc(ns));
    Ok(at + end + zone)
}

fn strict_ns(text: &str) -> Option<i64> {
    match timestamp::parse(text.as_bytes()) {
        Ok(Stamp::Utc(ns)) => Some(ns),
        _ => None,
    }
}

/// `-` or one or more elements: the index behind them. What was read before an error is kept.
fn structured<'a>(
    line: &'a [u8],
    from: usize,
    header: &mut Header<'a>,
) -> Result<usize, ParseError> {
    header.message = &line[from..];
    match line.get(from) {
        Some(b'-') => return Ok(from + 1),
        Some(b'[') => {}
        _ => return Err(strict(from, "structured data or '-'")),
    }
    let mut at = from;
    let mut first_id: &[u8] = &[];
    let mut ids = HashSet::new();
    while line.get(at) == Some(&b'[') {
        let id_end = sd_name(line, at + 1, "an element id")?;
        let id = &line[at + 1..id_end];
        // One element is the rule: the set is only made for the second.
        let repeated = match first_id {
            [] => false,
            first => id == first || !ids.insert(id),
        };
        if first_id.is_empty() {
            first_id = id;
        }
        if repeated {
            header.problem.get_or_insert(strict(at + 1, "an element id that was not used yet"));
        }
        at = element(line, id_end, &mut header.problem)?;
        header.structured_data = StructuredData(&line[from..at]);
        header.message = &line[at..];
    }
    Ok(at)
}

/// The parameters of an element whose id ends at `at`: the index behind its `]`.
fn element(
    line: &[u8],
    mut at: usize,
    remark: &mut Option<ParseError>,
) -> Result<usize, ParseError> {
    loop {
        match line.get(at) {
            Some(b']') => return Ok(at + 1),
            Some(b' ') => at += 1,
            _ => return Err(strict(at, "']' or a parameter")),
        }
        // A blank that no parameter follows: harmless, and remarked on.
        if line.get(at) == Some(&b']') {
            remark.get_or_insert(strict(at, "a parameter name"));
            return Ok(at + 1);
        }
        at = sd_name(line, at, "a parameter name")?;
        if line.get(at..at + 2) != Some(b"=\"") {
            return Err(strict(at, "'=\"' and a value"));
        }
        at = param_value_end(line, at + 2, remark)? + 1;
    }
}

fn sd_name(line: &[u8], at: usize, what: &'static str) -> Result<usize, ParseError> {
    let len = line[at..].iter().take_while(|c| is_sd_name(**c)).count();
    match len {
        0 => Err(strict(at, what)),
        n if n > SD_NAME_LEN_MAX => Err(ParseError::TooLong {
            format: STRICT,
            at: at + SD_NAME_LEN_MAX,
            what,
            limit: SD_NAME_LEN_MAX,
        }),
        n => Ok(at + n),
    }
}

/// Index of the quote that closes a parameter value that starts at `from`.
///
/// A backslash in front of any other character is against the grammar but harmless: it stands for
/// itself, is remarked on, and the message is read on.
fn param_value_end(
    line: &[u8],
    from: usize,
    remark: &mut Option<ParseError>,
) -> Result<usize, ParseError> {
    let mut at = from;
    loop {
        match line.get(at) {
            Some(b'"') => break,
            Some(b'\\') if matches!(line.get(at + 1), Some(b'"' | b'\\' | b']')) => at += 2,
            Some(b'\\') => {
                remark
                    .get_or_insert(strict(at + 1, "one of '\"', '\\' and ']' behind a backslash"));
                at += 1;
            }
            Some(b']') => return Err(strict(at, "']' behind a backslash inside a value")),
            Some(_) => at += 1,
            None => return Err(strict(at, "'\"' that closes a value")),
        }
    }
    match std::str::from_utf8(&line[from..at]) {
        Ok(_) => Ok(at),
        Err(e) => Err(ParseError::NotUtf8 { format: STRICT, at: from + e.valid_up_to() }),
    }
}

/// RFC 5424 without its version number: ISO time, then host, program, process, message id and
/// structured data in their places.
fn unversioned(line: &[u8], body: usize, pri: Option<u8>) -> Option<Header<'_>> {
    let looks_like_date =
        line.get(body)?.is_ascii_digit() && matches!(line.get(body + 10), Some(b'T' | b' '));
    if !looks_like_date {
        return None;
    }
    let (stamp, len) = timestamp::leading(&line[body..])?;
    let mut header = Header::empty(line, Dialect::Rfc5424);
    header.pri = pri;
    header.stamp = Some(stamp);
    header.timestamp = Some(&line[body..body + len]);
    let mut at = body + len;
    let parts: [(usize, &'static str); 4] = [
        (HOST_LEN_MAX, "a host name"),
        (APP_LEN_MAX, "an application name"),
        (PROCID_LEN_MAX, "a process id"),
        (MSGID_LEN_MAX, "a message id"),
    ];
    let mut values = [None; 4];
    for (slot, (limit, what)) in values.iter_mut().zip(parts) {
        at = blank(line, at, &mut header).ok()?;
        (*slot, at) = name(line, at, limit, what, &mut header).ok()?;
    }
    // `program: [part] word: [part] text` has brackets in the same place.
    if values[1].is_some_and(|app: &[u8]| app.ends_with(b":")) {
        return None;
    }
    at = blank(line, at, &mut header).ok()?;
    if !matches!(line.get(at..), Some([b'-'] | [b'-', b' ', ..] | [b'[', ..])) {
        return None;
    }
    at = structured(line, at, &mut header).ok()?;
    [header.host, header.app, header.procid, header.msgid] = values;
    let text = line[at..].strip_prefix(b" ").unwrap_or(&line[at..]);
    header.message = text.strip_prefix(BOM).unwrap_or(text);
    header.problem = Some(strict(body, "a version from 1 to 999"));
    Some(header)
}

/// Most bytes in front of a Cisco mnemonic: host, counters, times, process.
const CISCO_PREFIX_MAX: usize = 160;
/// Most parts of that prefix.
const CISCO_PARTS_MAX: usize = 8;
/// Most names among them: a relay's and the device's.
const CISCO_NAMES_MAX: usize = 2;

/// Cisco's and its relatives' headers: parts ended by colons, then `%FACILITY-SEVERITY-MNEMONIC`.
///
/// ```text
/// 22191: host: 022546: .Mar  5 14:07:09.123 CDT: %PARSER-5-CFGLOG_LOGGEDCMD: ...
/// 1:Mar  5 14:07:09: config[65539]: %MGBL-SYS-5-CONFIG_I : ...
/// host: *spamApTask1: Mar  5 14:07:09.123: %CAPWAP-4-DISC_INTF_ERR2: ...
/// Mar  5 14:07:10 relay 48: host: .Mar  5 14:07:09.555 CET: %SEC-6-IPACCESSLOGP: ...
/// ```
/// `None` when a part is none of these: then the message is read as any other. So it is where more names or
/// a process stand in front: a mnemonic in what a program reports of a client is no header.
fn cisco(line: &[u8], body: usize, pri: Option<u8>) -> Option<Header<'_>> {
    let window = &line[body..line.len().min(body + CISCO_PREFIX_MAX)];
    let percent = memchr::memchr_iter(b'%', window).find(|at| {
        (*at == 0 || matches!(window[at - 1], b' ' | b':'))
            && cisco_mnemonic(&line[body + at..]).is_some()
    })?;
    let message = body + percent;
    let mut header = Header::empty(line, Dialect::Rfc3164);
    header.pri = pri;
    let (mut at, mut names) = (body, 0);
    for _ in 0..CISCO_PARTS_MAX {
        at += line[at..message].iter().take_while(|c| matches!(c, b' ' | b':')).count();
        if at >= message {
            header.msgid = cisco_mnemonic(&line[message..]);
            header.message = &line[message..];
            return (pri.is_some() || header.stamp.is_some()).then_some(header);
        }
        at = cisco_part(line, at, message, (&mut header, &mut names))?;
    }
    None
}

/// One part of the prefix: the index behind it.
fn cisco_part<'a>(
    line: &'a [u8],
    at: usize,
    message: usize,
    (header, names): (&mut Header<'a>, &mut usize),
) -> Option<usize> {
    let rest = &line[at..message];
    let marked = usize::from(matches!(rest[0], b'*' | b'.'));
    // Behind the relay's time the device's own may stand, which is the event's.
    if let Some((stamp, len)) = timestamp::leading(&rest[marked..])
        && (header.stamp.is_none() || rest[marked..marked + len].contains(&b':'))
        && !(header.stamp.is_some() && matches!(stamp, Stamp::TimeOnly { .. }))
    {
        header.stamp = Some(stamp);
        header.timestamp = Some(&rest[marked..marked + len]);
        header.clock_unset = marked == 1;
        return Some(cisco_zone(line, at + marked + len, message, header));
    }
    let len = rest.iter().position(|c| matches!(c, b' ' | b':')).unwrap_or(rest.len());
    let word = &rest[..len];
    let is_uptime = |c: &u8| c.is_ascii_digit() || matches!(c, b':' | b'w' | b'd' | b'h' | b'y');
    if word.iter().all(u8::is_ascii_digit) && rest.get(len) != Some(&b':') {
        // A count of days or an index: "1 2: %...".
        return Some(at + len);
    }
    if word.iter().all(u8::is_ascii_digit) {
        let clock = rest.iter().take_while(|c| is_uptime(c)).count();
        let colons = rest[..clock].trim_ascii_end().iter().filter(|c| **c == b':').count();
        if len <= 2 && colons >= 2 && rest.get(len + 1).is_some_and(u8::is_ascii_digit) {
            return Some(at + clock);
        }
        header.sequence = Some(word);
        return Some(at + len);
    }
    if let Some(open) = memchr::memchr(b'[', word).filter(|_| word.ends_with(b"]")) {
        header.app = Some(&word[..open]);
        header.procid = Some(&word[open + 1..word.len() - 1]);
        return Some(at + len);
    }
    if let Some(task) = word.strip_prefix(b"*") {
        header.app = Some(task);
        return Some(at + len);
    }
    // Firepower's program, behind its host.
    if word == b"SFIMS" {
        header.app = Some(word);
        return Some(at + len);
    }
    if is_cisco_aside(word, header) {
        return Some(at + len);
    }
    // An IPv6 address holds colons of its own.
    let wide = rest.iter().position(|c| *c == b' ').unwrap_or(rest.len());
    let address = rest[..wide].strip_suffix(b":").unwrap_or(&rest[..wide]);
    let (host, end) = match is_address(address) {
        true => (address, at + address.len()),
        false => (word, at + len),
    };
    if host.is_empty() || host.len() > HOST_LEN_MAX || !is_host_word(host) {
        return None;
    }
    *names += 1;
    if *names > CISCO_NAMES_MAX || header.procid.is_some() {
        return None;
    }
    // A relay's name in front, the device's behind: the device's counts.
    header.host = Some(host);
    Some(end)
}

/// The word between a device's time, which ends at `at`, and the colon: a zone as somebody named it on the device
/// (`mdt`), or one that is none (`DST`). Out: the index behind it.
fn cisco_zone(line: &[u8], at: usize, message: usize, header: &mut Header<'_>) -> usize {
    let word = line[at..message].trim_ascii_start();
    let letters = word.iter().take_while(|c| c.is_ascii_alphabetic()).count();
    if !(1..=5).contains(&letters) || word.get(letters) != Some(&b':') {
        return at;
    }
    if let Some(seconds) = timestamp::named_zone(&word[..letters].to_ascii_uppercase()) {
        header.stamp = header.stamp.map(|stamp| in_zone(stamp, seconds));
    }
    message - word.len() + letters
}

/// A time that says no zone, in one that stands apart from it.
fn in_zone(stamp: Stamp, seconds: i32) -> Stamp {
    match stamp {
        Stamp::Local(ns) => Stamp::Utc(ns - i64::from(seconds) * 1_000_000_000),
        Stamp::Yearless { month, day, in_day_ns, zone: None } => {
            Stamp::Yearless { month, day, in_day_ns, zone: Some(seconds) }
        }
        told => told,
    }
}

/// A word of the prefix that names nobody: how long the device is up (`2y10w`), and behind its name the card that
/// speaks for it (`RP/0/RP0/CPU0`) or the zone of the time in front of both.
fn is_cisco_aside(word: &[u8], header: &mut Header<'_>) -> bool {
    let units = word.iter().filter(|c| c.is_ascii_alphabetic()).count();
    let is_uptime = units == 2
        && word[0].is_ascii_digit()
        && word.last().is_some_and(u8::is_ascii_alphabetic)
        && word.iter().all(|c| c.is_ascii_digit() || b"ywdh".contains(c));
    if is_uptime {
        return true;
    }
    if header.host.is_none() {
        return false;
    }
    if let Some(seconds) = timestamp::named_zone(word) {
        header.stamp = header.stamp.map(|stamp| in_zone(stamp, seconds));
        return true;
    }
    word.contains(&b'/')
}

/// RFC 3164 and everything that resembles it; `at` is behind the priority and its blanks.
fn legacy(line: &[u8], at: usize, pri: Option<u8>) -> Header<'_> {
    let mut header = Header::empty(line, Dialect::Rfc3164);
    header.pri = pri;
    let mut at = at;
    if line.get(at) == Some(&b':') {
        at = skip_blanks(line, at + 1);
    }
    at = sequence_numbers(line, at, &mut header);
    if matches!(line.get(at), Some(b'*' | b'.'))
        && line.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
        && timestamp::leading(&line[at + 1..]).is_some()
    {
        header.clock_unset = true;
        at += 1;
    }
    if let Some((stamp, len)) = timestamp::leading(&line[at..]) {
        header.stamp = Some(stamp);
        header.timestamp = Some(&line[at..at + len]);
        at += len;
        if line.get(at) == Some(&b':') {
            // Cisco ends its time with a colon; no host follows.
            at = skip_blanks(line, at + 1);
        } else {
            at = skip_blanks(line, at);
            let behind = level_word(line, at, true, &mut header);
            at = legacy_host(line, behind, &mut header);
            at = second_header(line, at, &mut header);
        }
        at = level_word(line, at, false, &mut header);
    }
    legacy_tag(line, at, &mut header);
    // "Mar  5 14:07:09 host: CEF:0|...": the host, ended by a colon.
    if header.host.is_none()
        && header.procid.is_none()
        && header.timestamp.is_some()
        && (is_announced(header.message) || header.message.starts_with(b"<"))
    {
        header.host = header.app.take();
    }
    header
}

/// A whole header behind the host: a relay put its own in front. The inner one is the event's.
fn second_header<'a>(line: &'a [u8], at: usize, header: &mut Header<'a>) -> usize {
    // A whole time behind one of the same kind; else it is the program's own.
    let is_iso = |text: Option<&[u8]>| text.is_some_and(|t| t[0].is_ascii_digit());
    let is_second_iso = is_iso(line.get(at..at + 1)) && is_iso(header.timestamp);
    if !line.get(at).is_some_and(u8::is_ascii_uppercase) && !is_second_iso {
        return at;
    }
    let Some((stamp, len)) = timestamp::leading(&line[at..]) else { return at };
    let is_right = match stamp {
        Stamp::Yearless { .. } => true,
        Stamp::Utc(_) => is_second_iso,
        _ => false,
    };
    if !is_right || line.get(at + len) != Some(&b' ') {
        return at;
    }
    let mut inner = Header::empty(line, Dialect::Rfc3164);
    let behind = legacy_host(line, skip_blanks(line, at + len), &mut inner);
    if inner.host.is_none() {
        return at;
    }
    if is_second_iso {
        // Programs write a time and a level, too.
        let is_level = inner.host.is_some_and(|h| h.iter().all(u8::is_ascii_uppercase));
        legacy_tag(line, behind, &mut inner);
        if is_level || inner.app.is_none() {
            return at;
        }
    }
    header.host = inner.host;
    header.stamp = Some(stamp);
    header.timestamp = Some(&line[at..at + len]);
    behind
}

/// Longest facility and level, and their bytes: names have capitals and hyphens more often.
const LEVEL_BYTES_MAX: usize = 24;
static LEVEL: [bool; 256] =
    table(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.");

/// `notice` or `auth.info` between host and program (F5, BusyBox and syslog-ng set-ups), `user.info` in
/// front of the host. Only taken where a program follows, so that prose is left alone.
fn level_word<'a>(line: &'a [u8], at: usize, is_first: bool, header: &mut Header<'a>) -> usize {
    let rest = &line[at..];
    let ahead = &rest[..rest.len().min(LEVEL_BYTES_MAX)];
    let len = ahead.iter().position(|c| !LEVEL[usize::from(*c)]).unwrap_or(ahead.len());
    if rest.get(len) != Some(&b' ') {
        return at;
    }
    let word = &rest[..len];
    let (facility, level) = match memchr::memchr(b'.', word) {
        Some(dot) => (Some(&word[..dot]), &word[dot + 1..]),
        None => (None, word),
    };
    const LEVELS: [&[u8]; 13] = [
        b"emerg",
        b"emergency",
        b"alert",
        b"crit",
        b"critical",
        b"err",
        b"error",
        b"warning",
        b"warn",
        b"notice",
        b"info",
        b"informational",
        b"debug",
    ];
    let known = (!is_first || facility.is_some())
        && facility.is_none_or(|f| FACILITIES.iter().any(|name| name.as_bytes() == f))
        && LEVELS.contains(&level);
    let next = skip_blanks(line, at + len);
    let has_program = || {
        let mut ahead = Header::empty(line, Dialect::Rfc3164);
        legacy_tag(line, next, &mut ahead);
        ahead.app.is_some()
    };
    if !known || !(is_first || has_program()) {
        return at;
    }
    header.level = Some(level);
    next
}

fn skip_blanks(line: &[u8], at: usize) -> usize {
    at + line[at..].iter().take_while(|c| **c == b' ').count()
}

/// Cisco's counters: `45: `, `000046: `, also several of them.
fn sequence_numbers<'a>(line: &'a [u8], mut at: usize, header: &mut Header<'a>) -> usize {
    // Two is what relays add up to (their own and the device's).
    for _ in 0..2 {
        let digits = line[at..].iter().take(12).take_while(|c| c.is_ascii_digit()).count();
        if digits == 0 || line.get(at + digits..at + digits + 2) != Some(b": ") {
            break;
        }
        header.sequence = Some(&line[at..at + digits]);
        at = skip_blanks(line, at + digits + 1);
    }
    at
}

/// The word behind the time if it is a host and not already the program: the index behind it.
fn legacy_host<'a>(line: &'a [u8], at: usize, header: &mut Header<'a>) -> usize {
    let rest = &line[at..];
    let len = rest.iter().position(|c| HOST_END[usize::from(*c)]).unwrap_or(rest.len());
    let is_whole = rest.get(len).is_none_or(|c| *c == b' ');
    if len == 0 && rest.first() == Some(&b'[') {
        return bracketed_host(line, at, header);
    }
    let word = &rest[..len];
    if !is_whole || word.is_empty() || len > HOST_LEN_MAX || !is_host_word(word) {
        return at;
    }
    let (host, colon) = match word.strip_suffix(b":") {
        Some(host) if is_address(host) && !is_address(word) => (host, true),
        Some(_) if is_address(word) => (word, false),
        Some(_) => return at,
        None => (word, false),
    };
    header.host = Some(host).filter(|h| *h != b"-");
    let mut next = skip_blanks(line, at + len);
    if !colon && line.get(next..next + 2) == Some(b": ") {
        // ASA with "logging device-id": "host : %ASA-6-...".
        next = skip_blanks(line, next + 1);
    }
    next
}

/// `[192.0.2.7]`, a host by its address: the index behind it.
fn bracketed_host<'a>(line: &'a [u8], at: usize, header: &mut Header<'a>) -> usize {
    let rest = &line[at..];
    let len = rest.iter().position(|c| *c == b' ').unwrap_or(rest.len());
    let inner = rest[..len].strip_prefix(b"[").and_then(|w| w.strip_suffix(b"]"));
    let Some(inner) = inner.filter(|inner| is_address(inner)) else { return at };
    header.host = Some(inner);
    skip_blanks(line, at + len)
}

/// Whether a word that none of the bytes of [`HOST_END`] ends is a host's.
fn is_host_word(word: &[u8]) -> bool {
    !matches!(word[0], b'%' | b'{' | b'@' | b'<')
        && !word.starts_with(b"CEF:")
        && !word.starts_with(b"LEEF:")
}

/// The blank behind a host's name, and the bytes that stand in none.
static HOST_END: [bool; 256] = table(b" =|\"[({,");

/// The bytes of a program's name.
static TAG: [bool; 256] =
    table(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./()+@<>#");

const fn table(bytes: &[u8]) -> [bool; 256] {
    let mut out = [false; 256];
    let mut at = 0;
    while at < bytes.len() {
        out[bytes[at] as usize] = true;
        at += 1;
    }
    out
}

/// IPv4, or IPv6 in any form, also cut short (`2001:db8::`).
fn is_address(word: &[u8]) -> bool {
    let dots = word.iter().filter(|c| **c == b'.').count();
    let colons = word.iter().filter(|c| **c == b':').count();
    let all = |f: fn(&u8) -> bool| word.iter().all(f);
    (dots == 3 && all(|c| c.is_ascii_digit() || *c == b'.'))
        || (colons >= 2 && all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')))
}

/// Program, process id or Cisco mnemonic in front of the text; sets the message.
fn legacy_tag<'a>(line: &'a [u8], at: usize, header: &mut Header<'a>) {
    let rest = &line[at..];
    header.message = rest.strip_prefix(BOM).unwrap_or(rest);
    if rest.first() == Some(&b'%') {
        header.msgid = cisco_mnemonic(rest);
        return;
    }
    if is_announced(rest) {
        return;
    }
    let ahead = &rest[..rest.len().min(TAG_LEN_MAX + 1)];
    let len = tag_len(ahead);
    if len == 0 || len > TAG_LEN_MAX || rest[..len].iter().all(u8::is_ascii_digit) {
        return;
    }
    let (app, behind) = rest.split_at(len);
    // GDM's helpers lose the opening bracket of their own name: `gdm-password][1403]: text`.
    let behind = behind.strip_prefix(b"]").filter(|b| b.starts_with(b"[")).unwrap_or(behind);
    let text = match behind {
        [b'[', inner @ ..] => {
            let Some(end) = inner.iter().take(PROCID_LEN_MAX).position(|c| *c == b']') else {
                return;
            };
            let behind = &inner[end + 1..];
            let text = behind
                .strip_prefix(b":")
                .or_else(|| behind.first().filter(|c| **c == b' ').map(|_| behind));
            let Some(text) = text.or_else(|| behind.is_empty().then_some(behind)) else { return };
            header.procid = Some(&inner[..end]).filter(|p| !p.is_empty());
            text
        }
        [b':', text @ ..] if matches!(text.first(), None | Some(b' ' | b'\t')) => text,
        // The same without the number.
        [b']', b':', text @ ..] if text.first() == Some(&b' ') => text,
        _ => return,
    };
    header.app = Some(app);
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let (id, text) = solaris_id(text).map_or((None, text), |(id, text)| (Some(id), text));
    (header.msgid, header.message) = (id, text);
}

/// `[ID 800047 auth.info] text`, Solaris' number of a message: number and text.
fn solaris_id(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.strip_prefix(b"[ID ")?;
    let digits = rest.iter().take(10).take_while(|c| c.is_ascii_digit()).count();
    let level = rest[digits..].strip_prefix(b" ").filter(|_| digits > 0)?;
    let len =
        level.iter().take(24).take_while(|c| c.is_ascii_alphanumeric() || **c == b'.').count();
    Some((&rest[..digits], level[len..].strip_prefix(b"] ")?))
}

/// Length of a program's name, with what stands in brackets behind it: `polkitd(authority=local)`.
fn tag_len(text: &[u8]) -> usize {
    let len = text.iter().position(|c| !TAG[usize::from(*c)]).unwrap_or(text.len());
    if text.get(len) != Some(&b'=') || !text[..len].contains(&b'(') {
        return len;
    }
    let inside = text[len + 1..].iter().take_while(|c| c.is_ascii_alphanumeric()).count();
    let end = len + 1 + inside;
    if text.get(end) == Some(&b')') { end + 1 } else { len }
}

/// `%ASA-6-302015: ...` -> `ASA-6-302015`: a word with a severity between hyphens.
fn cisco_mnemonic(text: &[u8]) -> Option<&[u8]> {
    let len = text[1..]
        .iter()
        .take(96)
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
        .count();
    let word = &text[1..=len];
    let has_severity =
        word.windows(3).any(|w| w[0] == b'-' && (b'0'..=b'7').contains(&w[1]) && w[2] == b'-');
    (has_severity && matches!(text.get(1 + len), Some(b':' | b' '))).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// host, app, procid, msgid, message; `-` where absent.
    fn parts(line: &str) -> [String; 5] {
        let header = header(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
        [header.host, header.app, header.procid, header.msgid, Some(header.message)]
            .map(|p| String::from_utf8_lossy(p.unwrap_or(b"-")).into_owned())
    }

    #[test]
    fn the_relatives_of_rfc3164() {
        for (line, want) in [
            ("<34>Oct 11 22:14:15 h su[12]: text", ["h", "su", "12", "-", "text"]),
            ("Oct 11 22:14:15 h su: text", ["h", "su", "-", "-", "text"]),
            ("<34> Oct 11 22:14:15 h su: text\r\n", ["h", "su", "-", "-", "text"]),
            ("<34>Oct 11 2024 22:14:15 h su: text", ["h", "su", "-", "-", "text"]),
            ("<34>2024-03-05T14:07:09+01:00 h su: text", ["h", "su", "-", "-", "text"]),
            (
                "<14>2024-03-05T14:07:09Z h vobd: [Part] 12us: [vob.x] text",
                ["h", "vobd", "-", "-", "[Part] 12us: [vob.x] text"],
            ),
            ("<34>Oct 11 22:14:15 2001:db8:: su: text", ["2001:db8::", "su", "-", "-", "text"]),
            ("<34>Oct 11 22:14:15 [192.0.2.7] su: text", ["192.0.2.7", "su", "-", "-", "text"]),
            ("<34>Oct 11 22:14:15 su[12]: text", ["-", "su", "12", "-", "text"]),
            ("<34>su: text", ["-", "su", "-", "-", "text"]),
            (
                "Oct 11 22:14:15 h sshd[12]: [ID 800047 auth.info] text",
                ["h", "sshd", "12", "800047", "text"],
            ),
            ("Oct 11 22:14:15 h sshd[12]: [ID x] text", ["h", "sshd", "12", "-", "[ID x] text"]),
            ("Oct 11 22:14:15 h auth.info sshd[12]: text", ["h", "sshd", "12", "-", "text"]),
            (
                "2026-10-11T22:14:15Z relay 2026-10-11T22:14:14+00:00 h su[12]: text",
                ["h", "su", "12", "-", "text"],
            ),
            (
                "2026-10-11T22:14:15Z h 2026-10-11T22:14:14Z INFO main: text",
                ["h", "-", "-", "-", "2026-10-11T22:14:14Z INFO main: text"],
            ),
            ("Oct 11 22:14:15 h p(a=b)[12]: text", ["h", "p(a=b)", "12", "-", "text"]),
            ("Oct 11 22:14:15 h p(a=b: text", ["h", "-", "-", "-", "p(a=b: text"]),
            ("Oct 11 22:14:15 h gdm-x]: text", ["h", "gdm-x", "-", "-", "text"]),
            ("Oct 11 22:14:15 h gdm-x][12]: text", ["h", "gdm-x", "12", "-", "text"]),
        ] {
            assert_eq!(parts(line), want, "{line}");
        }
    }

    #[test]
    fn the_headers_of_cisco_devices() {
        for (line, want) in [
            (
                "<189>45: *Mar  5 14:07:09.123 CET: %SYS-5-CONFIG_I: x",
                ["-", "-", "-", "SYS-5-CONFIG_I", "%SYS-5-CONFIG_I: x"],
            ),
            (
                "<134>:Mar  5 14:07:09 UTC: %ASA-6-302015: x",
                ["-", "-", "-", "ASA-6-302015", "%ASA-6-302015: x"],
            ),
            (
                "<113>Mar  5 14:07:09 ftd1 SFIMS: %FTD-5-430002: x",
                ["ftd1", "SFIMS", "-", "FTD-5-430002", "%FTD-5-430002: x"],
            ),
            (
                "<166>Mar  5 2024 14:07:09 fw1 : %ASA-6-302015: x",
                ["fw1", "-", "-", "ASA-6-302015", "%ASA-6-302015: x"],
            ),
            (
                "<134>1: fw1: 6340004: *Mar  5 14:07:09: %SEC-6-IPACCESSLOGP: list x",
                ["fw1", "-", "-", "SEC-6-IPACCESSLOGP", "%SEC-6-IPACCESSLOGP: list x"],
            ),
            (
                "<134>1:Mar  5 14:07:09: config[65539]: %MGBL-SYS-5-CONFIG_I : x",
                ["-", "config", "65539", "MGBL-SYS-5-CONFIG_I", "%MGBL-SYS-5-CONFIG_I : x"],
            ),
            (
                "<134>84027: Mar  5 14:07:09.123 DST: %SYS-5-CONFIG_I: x",
                ["-", "-", "-", "SYS-5-CONFIG_I", "%SYS-5-CONFIG_I: x"],
            ),
            (
                "<134>sw1: 00:01:01: %SYSMGR-3-SHUTDOWN_START: x",
                ["sw1", "-", "-", "SYSMGR-3-SHUTDOWN_START", "%SYSMGR-3-SHUTDOWN_START: x"],
            ),
            (
                "<134>: 2024 Mar  5 14:07:09 PDT: %DAEMON-3-SYSTEM_MSG: x",
                ["-", "-", "-", "DAEMON-3-SYSTEM_MSG", "%DAEMON-3-SYSTEM_MSG: x"],
            ),
            (
                "<134>wlc1: *spamApTask1: Mar  5 14:07:09.123: %CAPWAP-4-DISC: x",
                ["wlc1", "spamApTask1", "-", "CAPWAP-4-DISC", "%CAPWAP-4-DISC: x"],
            ),
            (
                "Mar  5 14:07:10 192.0.2.1 48: rt1: .Mar  5 14:07:09.555 CET: %SEC-6-IPACCESSLOGP: x",
                ["rt1", "-", "-", "SEC-6-IPACCESSLOGP", "%SEC-6-IPACCESSLOGP: x"],
            ),
            (
                "<190>Mar  5 14:07:09 xr1 RP/0/RP0/CPU0:Mar  5 14:07:08.630 UTC: acl_mgr[31]: %ACL-6-LOGP : x",
                ["xr1", "acl_mgr", "31", "ACL-6-LOGP", "%ACL-6-LOGP : x"],
            ),
            (
                "<190>31: sw1: 32: 2y10w: %SYS-5-CONFIG_I: x",
                ["sw1", "-", "-", "SYS-5-CONFIG_I", "%SYS-5-CONFIG_I: x"],
            ),
            (
                "<189>Mar  5 14:07:09 sw2 AEST: %SYS-5-CONFIG_I: x",
                ["sw2", "-", "-", "SYS-5-CONFIG_I", "%SYS-5-CONFIG_I: x"],
            ),
            (
                "Mar  5 2024 14:07:09: %ASA-6-302015: x",
                ["-", "-", "-", "ASA-6-302015", "%ASA-6-302015: x"],
            ),
        ] {
            assert_eq!(parts(line), want, "{line}");
        }
    }

    #[test]
    fn headers_that_lack_parts_or_have_more() {
        for (line, want) in [
            (
                "<38>Oct 11 22:14:15 h sshd[12]: Invalid user %ASA-6-302015: x",
                ["h", "sshd", "12", "-", "Invalid user %ASA-6-302015: x"],
            ),
            (
                "<22>Oct 11 22:14:15 h cleanup: A1: Subject: %ASA-6-302015: x",
                ["h", "cleanup", "-", "-", "A1: Subject: %ASA-6-302015: x"],
            ),
            ("<34>Oct 11 22:14:15 h free text: more", ["h", "-", "-", "-", "free text: more"]),
            (
                "<34>Oct 11 22:14:15 h last message repeated 3 times",
                ["h", "-", "-", "-", "last message repeated 3 times"],
            ),
            ("<34>Oct 11 22:14:15 h CEF:0|a|b", ["h", "-", "-", "-", "CEF:0|a|b"]),
            ("<34>Oct 11 22:14:15 h app: \u{feff}text", ["h", "app", "-", "-", "text"]),
            (
                "<134>Mar  5 14:07:09 bigip notice mcpd[10653]: 01070638:5: x",
                ["bigip", "mcpd", "10653", "-", "01070638:5: x"],
            ),
            (
                "<134>Mar  5 14:07:09 relay Mar  5 14:07:08 ise1 CISE_Alarm WARN: x",
                ["ise1", "-", "-", "-", "CISE_Alarm WARN: x"],
            ),
            (
                "<85>1 2024-03-05T14:07:09--5:00 h app - ID [a b=\"c\" ] text",
                ["h", "app", "-", "ID", "text"],
            ),
            ("Mar  5 14:07:09 host1: CEF:0|a|b", ["host1", "-", "-", "-", "CEF:0|a|b"]),
            (
                "<134>1 2024-03-05T14:07:09Z h CEF:0|a|b|c|d|e|f|g=h",
                ["h", "-", "-", "-", "CEF:0|a|b|c|d|e|f|g=h"],
            ),
            ("<134>Mar  5 14:07:09 h notice of closing", ["h", "-", "-", "-", "notice of closing"]),
            (
                "<134>2024-03-05T14:07:09Z h app 7 ID [a b=\"c\"] text",
                ["h", "app", "7", "ID", "text"],
            ),
            ("<134>1 2024-03-05T14:07:09+00:00Z h app - - - text", ["h", "app", "-", "-", "text"]),
            ("1 2024-03-05T14:07:09Z h app - - - text", ["h", "app", "-", "-", "text"]),
        ] {
            assert_eq!(parts(line), want, "{line}");
        }
    }

    #[test]
    fn the_zones_of_network_devices() {
        let at = |hour: i64| 1_709_251_200_000_000_000 + hour * 3_600_000_000_000;
        for (line, want) in [
            ("<190>1: 2: Mar  1 2024 02:00:00 mdt: %SYS-5-CONFIG_I: x", Stamp::Utc(at(8))),
            ("<190>1: 2: Mar  1 2024 02:00:00 dst: %SYS-5-CONFIG_I: x", Stamp::Local(at(2))),
            ("<85>1 2024-03-01T02:00:00--5:00 h app - - - text", Stamp::Utc(at(7))),
        ] {
            assert_eq!(header(line.as_bytes()).unwrap().stamp, Some(want), "{line}");
        }
        let apart = header(b"<189>Mar  5 14:07:09 sw2 AEST: %SYS-5-CONFIG_I: x").unwrap();
        assert!(matches!(apart.stamp, Some(Stamp::Yearless { zone: Some(36_000), .. })));
    }

    #[test]
    fn what_is_wrong_is_told_and_the_rest_kept() {
        let cut = rfc5424(b"<34>1 2003-10-11T22:14:15Z host app 12 ID47 [x k=v] text");
        assert_eq!((cut.host, cut.msgid), (Some(&b"host"[..]), Some(&b"ID47"[..])));
        assert_eq!(cut.problem.map(|p| p.at()), Some(48));
        assert_eq!(cut.message, b"[x k=v] text");
        let unset = header(b"<189>000045: *Mar  5 14:07:09: %A-1-B: x").unwrap();
        assert!(unset.clock_unset);
        assert_eq!(
            (unset.sequence, unset.facility(), unset.severity()),
            (Some(&b"000045"[..]), Some(23), Some(5))
        );
        assert_eq!(
            (unset.facility_name(), unset.severity_name()),
            (Some("local7"), Some("notice"))
        );
        let soft = rfc5424(b"<34>1 - h a - - [x a=\"\\n\"][x] text");
        assert_eq!((soft.problem.map(|p| p.at()), soft.message), (Some(23), &b"text"[..]));
        let values: Vec<_> =
            soft.structured_data.iter().map(|(id, name, v)| (id, name, v.into_owned())).collect();
        assert_eq!(values, [(&b"x"[..], &b"a"[..], br"\n".to_vec()), (b"x", b"", b"".to_vec())]);
        assert!(matches!(header(b"\n"), Err(ParseError::Empty { .. })));
        assert!(header(b"just text").is_err());
    }
}
