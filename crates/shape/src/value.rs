//! Normalising: what an ECS field holds for a value as sent.

use event::{FieldId, FieldType, Kind, RowWriter};
use std::net::IpAddr;

/// What has to be done to a value on its way into an ECS field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// As it is.
    Keyword,
    /// An address: `::ffff:` stripped, brackets and zone ids too, IPv6 in its one short form
    /// (RFC 5952); anything else is not stored.
    Ip,
    /// A translated address: none where nothing was translated (`0.0.0.0`, `::`).
    NatIp,
    /// A whole number, decimal or `0x` hexadecimal.
    Long,
    /// A translated port: none where nothing was translated (`0`).
    NatPort,
    /// A hardware address: pairs of upper-case digits with hyphens (RFC 7042), however it is written.
    Mac,
    /// A number.
    Double,
    /// `true` or `false`.
    Boolean,
    /// Lower case (hashes, host names).
    Lower,
    /// A transport protocol by its one name: lower case, `ipv6-icmp` however it is abbreviated.
    Transport,
    /// `DOMAIN\user`: the part behind the backslash, the part before it goes to the sibling.
    User { domain: FieldId },
    /// The last part of a path.
    Basename,
    /// `+` for blanks, as W3C logs write user agents.
    Spaced,
    /// A name as packets hold it, each label behind its length: `(3)www(7)example(3)com(0)`.
    Labels,
}

/// Whether the value stands for "no value" in products' logs.
pub(crate) fn is_absent(kind: Kind, bytes: &[u8]) -> bool {
    kind == Kind::Null
        || match bytes.len() {
            0 => true,
            1 => bytes == b"-",
            3 => bytes == b"N/A" || bytes == b"n/a",
            4 => bytes == b"null",
            6 => bytes == b"(null)",
            _ => false,
        }
}

/// Whether a constant fits a declared type.
pub(crate) fn fits(kind: FieldType, bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes);
    match kind {
        FieldType::Keyword | FieldType::Text | FieldType::Date => true,
        FieldType::Ip => text.is_ok_and(|t| t.parse::<IpAddr>().is_ok()),
        FieldType::Long => text.is_ok_and(|t| t.parse::<i64>().is_ok()),
        FieldType::Double => text.is_ok_and(|t| t.parse::<f64>().is_ok()),
        FieldType::Boolean => matches!(bytes, b"true" | b"false"),
    }
}

/// Writes the normalised form of cell `index` to `to`. Out: whether anything was stored.
/// Nothing is copied unless letters change case or a number changes its base.
pub(crate) fn store(
    row: &mut RowWriter<'_>,
    index: usize,
    to: FieldId,
    class: Class,
    buffer: &mut Vec<u8>,
) -> bool {
    let value = row.cell(index).1;
    if is_absent(value.kind, value.bytes) {
        return false;
    }
    if class == Class::Keyword {
        return row.copy_cell(index, to);
    }
    let is_whole = value.kind == Kind::Int;
    match form(value.bytes, is_whole, class, buffer) {
        Form::Part(part, kind) => row.copy_part(index, part, kind.unwrap_or(Kind::Str), to),
        Form::Whole => row.copy_cell(index, to),
        Form::New(kind, text) => {
            let stored = row.push(to, kind, &text);
            *buffer = text;
            stored
        }
        Form::User { domain, at, from, len } => {
            row.copy_part(index, 0..at, Kind::Str, domain)
                & row.copy_part(index, from..len, Kind::Str, to)
        }
        Form::Unfit => false,
    }
}

/// As [`store`], for a value that stands in no cell.
pub(crate) fn write(
    row: &mut RowWriter<'_>,
    bytes: &[u8],
    to: FieldId,
    class: Class,
    buffer: &mut Vec<u8>,
) -> bool {
    if class == Class::Keyword {
        return row.push(to, Kind::Str, bytes);
    }
    match form(bytes, false, class, buffer) {
        Form::Part(part, kind) => row.push(to, kind.unwrap_or(Kind::Str), &bytes[part]),
        Form::Whole => row.push(to, Kind::Str, bytes),
        Form::New(kind, text) => {
            let stored = row.push(to, kind, &text);
            *buffer = text;
            stored
        }
        Form::User { domain, at, from, len } => {
            row.push(domain, Kind::Str, &bytes[..at]) & row.push(to, Kind::Str, &bytes[from..len])
        }
        Form::Unfit => false,
    }
}

/// What a value becomes.
enum Form {
    /// A piece of it, with another kind.
    Part(std::ops::Range<usize>, Option<Kind>),
    /// It stays as it is.
    Whole,
    /// Other text (in the buffer that was handed in, to be handed back).
    New(Kind, Vec<u8>),
    User {
        domain: FieldId,
        at: usize,
        from: usize,
        len: usize,
    },
    /// It does not fit.
    Unfit,
}

fn form(bytes: &[u8], is_whole_number: bool, class: Class, buffer: &mut Vec<u8>) -> Form {
    let len = bytes.len();
    match class {
        Class::Keyword => Form::Whole,
        Class::NatIp if is_unspecified(bytes) => Form::Unfit,
        Class::NatPort if bytes == b"0" => Form::Unfit,
        Class::Ip | Class::NatIp => match ip_part(bytes) {
            Some(part) => match short_form(&bytes[part.clone()]) {
                Some(text) => Form::New(Kind::Str, text.into_bytes()),
                None => Form::Part(part, None),
            },
            None => Form::Unfit,
        },
        Class::Long | Class::NatPort => match long(bytes) {
            Some(Number::AsWritten) => Form::Part(0..len, Some(Kind::Int)),
            Some(Number::Hex(n)) => Form::New(Kind::Int, n.to_string().into_bytes()),
            None => Form::Unfit,
        },
        Class::Mac => {
            let mut text = std::mem::take(buffer);
            if hardware_address(bytes, &mut text) {
                return Form::New(Kind::Str, text);
            }
            *buffer = text;
            Form::Whole
        }
        Class::Double => {
            let text = std::str::from_utf8(bytes).ok();
            let fits = text.is_some_and(|t| t.parse::<f64>().is_ok_and(f64::is_finite));
            let kind = if is_whole_number { Kind::Int } else { Kind::Float };
            if fits { Form::Part(0..len, Some(kind)) } else { Form::Unfit }
        }
        Class::Boolean => match bytes {
            b"true" | b"True" | b"TRUE" | b"1" | b"yes" | b"Yes" => {
                Form::New(Kind::Bool, b"true".to_vec())
            }
            b"false" | b"False" | b"FALSE" | b"0" | b"no" | b"No" => {
                Form::New(Kind::Bool, b"false".to_vec())
            }
            _ => Form::Unfit,
        },
        Class::Transport if is_icmp6(bytes) => Form::New(Kind::Str, ICMP6.to_vec()),
        Class::Lower | Class::Transport => {
            if !bytes.iter().any(u8::is_ascii_uppercase) {
                return Form::Whole;
            }
            let mut text = std::mem::take(buffer);
            text.clear();
            text.extend(bytes.iter().map(u8::to_ascii_lowercase));
            Form::New(Kind::Str, text)
        }
        Class::User { domain } => match memchr::memchr(b'\\', bytes) {
            Some(at) if at > 0 && at + 1 < len => {
                // Some products write the backslash twice.
                let is_doubled = bytes[at + 1] == b'\\' && at + 2 < len;
                Form::User { domain, at, from: at + 1 + usize::from(is_doubled), len }
            }
            _ => Form::Whole,
        },
        Class::Spaced => {
            if memchr::memchr(b'+', bytes).is_none() {
                return Form::Whole;
            }
            let mut text = std::mem::take(buffer);
            text.clear();
            text.extend(bytes.iter().map(|c| if *c == b'+' { b' ' } else { *c }));
            Form::New(Kind::Str, text)
        }
        Class::Labels => match labels(bytes) {
            Some(name) => Form::New(Kind::Str, name),
            None => Form::Whole,
        },
        Class::Basename => {
            let from = bytes.iter().rposition(|c| matches!(c, b'/' | b'\\')).map_or(0, |at| at + 1);
            if from < len { Form::Part(from..len, None) } else { Form::Unfit }
        }
    }
}

/// The part of `bytes` that is the address itself, if it is one.
pub(crate) fn ip_part(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut part = 0..bytes.len();
    if bytes.first() == Some(&b'[') && bytes.last() == Some(&b']') {
        part = 1..bytes.len() - 1;
    }
    let inner = &bytes[part.clone()];
    if let Some(at) = memchr::memchr(b'%', inner) {
        part.end = part.start + at;
    }
    let inner = &bytes[part.clone()];
    if inner.len() > 7 && inner[..7].eq_ignore_ascii_case(b"::ffff:") && inner.contains(&b'.') {
        part.start += 7;
    }
    parse_ip(&bytes[part.clone()]).map(|_| part)
}

/// The addresses that stand for "none" where products name what an address was translated to.
fn is_unspecified(bytes: &[u8]) -> bool {
    matches!(bytes, b"0.0.0.0" | b"::" | b"0:0:0:0:0:0:0:0")
}

/// Writes `aa:bb:cc:dd:ee:ff`, `aabb.ccdd.eeff` or `aabbccddeeff` (or eight pairs of digits) as
/// `AA-BB-CC-DD-EE-FF`. Out: whether it is a hardware address.
fn hardware_address(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    // Eight pairs and what stands between them.
    const LEN_MAX: usize = 23;
    out.clear();
    if bytes.len() > LEN_MAX {
        return false;
    }
    let mut digits = 0;
    for c in bytes {
        match c {
            b':' | b'-' | b'.' if digits > 0 && digits % 2 == 0 => {}
            _ if c.is_ascii_hexdigit() => {
                if digits > 0 && digits % 2 == 0 {
                    out.push(b'-');
                }
                out.push(c.to_ascii_uppercase());
                digits += 1;
            }
            _ => return false,
        }
    }
    matches!(digits, 12 | 16) && bytes.last().is_some_and(u8::is_ascii_hexdigit)
}

/// IANA's name of the protocol that products call ICMPv6, ICMP6 or IPv6-ICMP.
const ICMP6: &[u8] = b"ipv6-icmp";

/// `(3)www(7)example(3)com(0)` as `www.example.com`; the root is a dot. `None` for anything else.
fn labels(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut name, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    loop {
        let end = memchr::memchr(b')', rest.strip_prefix(b"(")?)?;
        let len: usize = std::str::from_utf8(&rest[1..=end]).ok()?.parse().ok()?;
        let label = rest[end + 2..].get(..len)?;
        rest = &rest[end + 2 + len..];
        if len == 0 {
            name.pop();
            return rest.is_empty().then(|| if name.is_empty() { b".".to_vec() } else { name });
        }
        name.extend_from_slice(label);
        name.push(b'.');
    }
}

fn is_icmp6(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"icmpv6") || protocol.eq_ignore_ascii_case(b"icmp6")
}

/// The usual text of an IPv6 address that is written otherwise: one search finds it in every source.
pub(crate) fn short_form(address: &[u8]) -> Option<String> {
    memchr::memchr(b':', address)?;
    let text = parse_ip(address)?.to_string();
    (text.as_bytes() != address).then_some(text)
}

/// An address in its usual text form.
pub(crate) fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    if bytes.len() > 45 || bytes.len() < 2 {
        return None;
    }
    if !bytes[0].is_ascii_hexdigit() && bytes[0] != b':' {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

enum Number {
    AsWritten,
    Hex(i64),
}

fn long(bytes: &[u8]) -> Option<Number> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    if let Some(hex) = bytes.strip_prefix(b"0x").or_else(|| bytes.strip_prefix(b"0X")) {
        let n = i64::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
        return Some(Number::Hex(n));
    }
    if digits.is_empty()
        || digits.len() > 18 && std::str::from_utf8(bytes).ok()?.parse::<i64>().is_err()
    {
        return None;
    }
    digits.iter().all(u8::is_ascii_digit).then_some(Number::AsWritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packets_are_names() {
        let name = |text: &str| labels(text.as_bytes()).map(|n| String::from_utf8(n).unwrap());
        assert_eq!(name("(3)www(7)example(3)com(0)").as_deref(), Some("www.example.com"));
        assert_eq!(name("(0)").as_deref(), Some("."));
        for other in [
            "",
            "www",
            "(3)www",
            "(4)www(0)",
            "(3)www(0)x",
            "(",
            "()",
            "(x)",
            "(18446744073709551615)a",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn addresses_lose_their_wrapping() {
        let part = |t: &str| ip_part(t.as_bytes()).map(|r| t[r].to_owned());
        assert_eq!(part("::ffff:55.99.99.7").as_deref(), Some("55.99.99.7"));
        assert_eq!(part("[2001:db8::1]").as_deref(), Some("2001:db8::1"));
        assert_eq!(part("fe80::1%eth0").as_deref(), Some("fe80::1"));
        assert_eq!(part("::1").as_deref(), Some("::1"));
        let short = |t: &str| short_form(t.as_bytes());
        for long in ["2001:0db8:0:0:0:0:0:0001", "2001:DB8::1", "2001:db8:0::0:1"] {
            assert_eq!(short(long).as_deref(), Some("2001:db8::1"), "{long}");
        }
        assert!(short("2001:db8::1").is_none() && short("192.0.2.1").is_none());
        for wrong in ["", "host", "1.2.3", "1.2.3.4.5", "LOCAL", "10.0.0.1:80"] {
            assert_eq!(part(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hardware_addresses_have_one_form() {
        let form = |text: &str| {
            let mut out = Vec::new();
            hardware_address(text.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
        };
        for text in ["00:1a:2B:3c:4d:5e", "00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e", "001a2b3c4d5e"] {
            assert_eq!(form(text).as_deref(), Some("00-1A-2B-3C-4D-5E"), "{text}");
        }
        assert_eq!(form("02:00:00:ff:fe:00:00:01").as_deref(), Some("02-00-00-FF-FE-00-00-01"));
        for other in [
            "",
            "0:1a:2b:3c:4d:5e",
            "00:1a:2b:3c:4d",
            "00:1a:2b:3c:4d:5e:",
            "laptop",
            "2001:db8::1",
        ] {
            assert_eq!(form(other), None, "{other}");
        }
    }

    #[test]
    fn nothing_translated_is_no_address() {
        let fits = |text: &str, class| {
            !matches!(form(text.as_bytes(), false, class, &mut Vec::new()), Form::Unfit)
        };
        for none in ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"] {
            assert!(!fits(none, Class::NatIp) && fits(none, Class::Ip), "{none}");
        }
        assert!(fits("192.0.2.1", Class::NatIp) && !fits("host", Class::NatIp));
        assert!(!fits("0", Class::NatPort) && fits("80", Class::NatPort) && fits("0", Class::Long));
    }

    #[test]
    fn numbers_and_absence() {
        assert!(matches!(long(b"0x1f4"), Some(Number::Hex(500))));
        assert!(matches!(long(b"-5"), Some(Number::AsWritten)));
        assert!(long(b"").is_none() && long(b"12a").is_none() && long(b"-").is_none());
        assert!(long(b"99999999999999999999").is_none());
        for absent in ["", "-", "N/A", "(null)", "null"] {
            assert!(is_absent(Kind::Str, absent.as_bytes()), "{absent}");
        }
        assert!(!is_absent(Kind::Str, b"--"));
    }
}
