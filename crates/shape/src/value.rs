//! Normalising: what an ECS field holds for a value as sent.

use event::time::SECOND_NS;
use event::{FieldId, FieldType, Kind, RowWriter};
use parse::timestamp::Stamp;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

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
    /// A point in time, in RFC 3339 where its text says which.
    Date,
    /// A length of time in the unit of so many ns, written as a number with a fraction or without.
    Duration { unit_ns: i64 },
    /// A length of time by the clock: `1:02:03`, `1h:02m:03s`, `2 days 1:02:03.5`.
    Clock,
    /// The last part of a path.
    Basename,
    /// What stands behind the last dot of a path's last part, in lower case.
    Extension,
    /// `+` for blanks, as W3C logs write user agents.
    Spaced,
    /// A name as packets hold it, each label behind its length: `(3)www(7)example(3)com(0)`.
    Labels,
}

impl Class {
    /// The field that takes a part of the value besides.
    pub(crate) fn also(self) -> Option<FieldId> {
        match self {
            Class::User { domain } => Some(domain),
            _ => None,
        }
    }
}

/// Whether the value stands for "no value" in products' logs.
pub(crate) fn is_absent(kind: Kind, bytes: &[u8]) -> bool {
    kind == Kind::Null
        || match bytes.len() {
            0 => true,
            1 => bytes == b"-",
            3 => bytes == b"N/A" || bytes == b"n/a",
            4 => bytes == b"null",
            6 => bytes == b"(null)" || bytes == b"<null>",
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
/// What is stored as it is, or as a piece of itself, is not copied.
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
        Form::New(kind) => row.push(to, kind, buffer),
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
        Form::New(kind) => row.push(to, kind, buffer),
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
    /// The text that now stands in the buffer.
    New(Kind),
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
    match class {
        Class::Keyword => Form::Whole,
        Class::NatIp if is_unspecified(bytes) => Form::Unfit,
        Class::NatPort if bytes == b"0" => Form::Unfit,
        Class::Ip | Class::NatIp => ip_form(bytes, buffer),
        Class::Mac => {
            if hardware_address(bytes, buffer) {
                Form::New(Kind::Str)
            } else {
                Form::Whole
            }
        }
        Class::Long | Class::NatPort => match long(bytes) {
            Some(Number::AsWritten) => Form::Part(0..bytes.len(), Some(Kind::Int)),
            Some(Number::Hex(n)) => whole_number(n, buffer),
            None => Form::Unfit,
        },
        Class::Double => {
            let text = std::str::from_utf8(bytes).ok();
            let fits = text.is_some_and(|t| t.parse::<f64>().is_ok_and(f64::is_finite));
            let kind = if is_whole_number { Kind::Int } else { Kind::Float };
            if fits { Form::Part(0..bytes.len(), Some(kind)) } else { Form::Unfit }
        }
        Class::Boolean => {
            let known = match bytes {
                b"true" | b"True" | b"TRUE" | b"1" | b"yes" | b"Yes" => &b"true"[..],
                b"false" | b"False" | b"FALSE" | b"0" | b"no" | b"No" => b"false",
                _ => return Form::Unfit,
            };
            rewritten(buffer, Kind::Bool, known.iter().copied())
        }
        Class::Date => date_form(bytes, buffer),
        Class::Duration { unit_ns } => match nanoseconds(bytes, unit_ns) {
            Some(ns) => whole_number(ns, buffer),
            None => Form::Unfit,
        },
        Class::Clock => match clock_nanoseconds(bytes) {
            Some(ns) => whole_number(ns, buffer),
            None => Form::Unfit,
        },
        _ => text_form(bytes, class, buffer),
    }
}

/// As [`form`], for what stays text whatever it says.
fn text_form(bytes: &[u8], class: Class, buffer: &mut Vec<u8>) -> Form {
    let last_part = || bytes.iter().rposition(|c| matches!(c, b'/' | b'\\')).map_or(0, |at| at + 1);
    match class {
        Class::Transport if is_icmp6(bytes) => rewritten(buffer, Kind::Str, ICMP6.iter().copied()),
        Class::Lower | Class::Transport if bytes.iter().any(u8::is_ascii_uppercase) => {
            rewritten(buffer, Kind::Str, bytes.iter().map(u8::to_ascii_lowercase))
        }
        Class::User { domain } => match memchr::memchr(b'\\', bytes) {
            Some(at) if at > 0 && at + 1 < bytes.len() => {
                // Some products write the backslash twice.
                let is_doubled = bytes[at + 1] == b'\\' && at + 2 < bytes.len();
                Form::User { domain, at, from: at + 1 + usize::from(is_doubled), len: bytes.len() }
            }
            _ => Form::Whole,
        },
        Class::Spaced if memchr::memchr(b'+', bytes).is_some() => {
            let spaced = bytes.iter().map(|c| if *c == b'+' { b' ' } else { *c });
            rewritten(buffer, Kind::Str, spaced)
        }
        Class::Labels if labels(bytes, buffer).is_some() => Form::New(Kind::Str),
        Class::Basename => {
            let from = last_part();
            if from < bytes.len() { Form::Part(from..bytes.len(), None) } else { Form::Unfit }
        }
        Class::Extension => {
            let name = &bytes[last_part()..];
            match memchr::memrchr(b'.', name) {
                Some(dot) if dot > 0 && dot + 1 < name.len() => {
                    let lower = name[dot + 1..].iter().map(u8::to_ascii_lowercase);
                    rewritten(buffer, Kind::Str, lower)
                }
                _ => Form::Unfit,
            }
        }
        _ => Form::Whole,
    }
}

/// Text that is put together anew.
fn rewritten(buffer: &mut Vec<u8>, kind: Kind, text: impl Iterator<Item = u8>) -> Form {
    buffer.clear();
    buffer.extend(text);
    Form::New(kind)
}

fn whole_number(n: i64, buffer: &mut Vec<u8>) -> Form {
    buffer.clear();
    // A Vec takes whatever is written.
    let _ = write!(buffer, "{n}");
    Form::New(Kind::Int)
}

fn ip_form(bytes: &[u8], buffer: &mut Vec<u8>) -> Form {
    match address(bytes) {
        Some(Address::Part(part)) => Form::Part(part, None),
        Some(Address::Short(short)) => rewritten(buffer, Kind::Str, short.bytes().iter().copied()),
        None => Form::Unfit,
    }
}

/// The usual text of an address.
pub(crate) enum Address {
    /// A piece of the value.
    Part(std::ops::Range<usize>),
    /// One that was written otherwise.
    Short(ShortForm),
}

/// The address that a value is, if it is one.
pub(crate) fn address(bytes: &[u8]) -> Option<Address> {
    if dotted(bytes).is_some() {
        return Some(Address::Part(0..bytes.len()));
    }
    let part = unwrapped(bytes);
    let address = parse_ip(&bytes[part.clone()])?;
    let short = address.is_ipv6().then(|| ShortForm::of(address));
    Some(match short.filter(|short| short.bytes() != &bytes[part.clone()]) {
        Some(short) => Address::Short(short),
        None => Address::Part(part),
    })
}

/// Times that do not say their year or zone stay as they are: only what surrounds them tells it.
fn date_form(bytes: &[u8], buffer: &mut Vec<u8>) -> Form {
    match parse::timestamp::parse(bytes) {
        Ok(Stamp::Utc(ns)) => {
            rewritten(buffer, Kind::Str, event::time::rfc3339(ns).into_bytes().into_iter())
        }
        _ => Form::Whole,
    }
}

/// Digits of a fraction that can matter in ns.
const FRACTION_DIGITS_MAX: usize = 18;

/// `1.5` of a unit in ns, cut off below a ns. `None` for anything but a number that is not negative
/// and fits.
fn nanoseconds(bytes: &[u8], unit_ns: i64) -> Option<i64> {
    let (whole, fraction) = match memchr::memchr(b'.', bytes) {
        Some(dot) => (&bytes[..dot], &bytes[dot + 1..]),
        None => (bytes, &[][..]),
    };
    let digits = |text: &[u8]| {
        text.iter().try_fold(0i64, |n, c| {
            let digit = c.is_ascii_digit().then(|| i64::from(c - b'0'))?;
            n.checked_mul(10)?.checked_add(digit)
        })
    };
    if whole.is_empty() && fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let scale = 10i128.pow(fraction.len() as u32);
    let part = i128::from(digits(fraction)?) * i128::from(unit_ns) / scale;
    digits(whole)?.checked_mul(unit_ns)?.checked_add(i64::try_from(part).ok()?)
}

/// A length of time by the clock in ns: numbers that end in their unit's first letter (days, hours,
/// minutes, seconds), or with colons between them, seconds last.
fn clock_nanoseconds(bytes: &[u8]) -> Option<i64> {
    const MINUTE: i64 = 60;
    let unit_of = |letter: u8| match letter.to_ascii_lowercase() {
        b'd' => Some(24 * 60 * MINUTE),
        b'h' => Some(60 * MINUTE),
        b'm' => Some(MINUTE),
        b's' => Some(1),
        _ => None,
    };
    let (mut named, mut plain, mut rest) = (0i64, [None; 3], bytes.trim_ascii());
    while !rest.is_empty() {
        let len = rest.iter().take_while(|c| c.is_ascii_digit() || **c == b'.').count();
        let number = &rest[..len];
        rest = rest[len..].trim_ascii_start();
        let word = rest.iter().take_while(|c| c.is_ascii_alphabetic()).count();
        if word > 0 {
            let unit = unit_of(rest[0])?.checked_mul(SECOND_NS)?;
            named = named.checked_add(nanoseconds(number, unit)?)?;
        } else {
            if plain[0].is_some() {
                return None;
            }
            plain.rotate_left(1);
            plain[2] = Some(number);
        }
        rest = rest[word..].trim_ascii_start();
        rest = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start();
    }
    let units = [60 * MINUTE, MINUTE, 1].into_iter().zip(plain);
    units.filter_map(|(unit, n)| Some((unit, n?))).try_fold(named, |sum, (unit, number)| {
        sum.checked_add(nanoseconds(number, unit.checked_mul(SECOND_NS)?)?)
    })
}

/// The part of `bytes` that is the address itself, if it is one.
pub(crate) fn ip_part(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let part = unwrapped(bytes);
    parse_ip(&bytes[part.clone()]).map(|_| part)
}

/// What is left without brackets, a zone and the prefix of IPv4 in IPv6.
fn unwrapped(bytes: &[u8]) -> std::ops::Range<usize> {
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
    part
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

/// Writes `(3)www(7)example(3)com(0)` as `www.example.com`; the root is a dot. `None` for anything else.
fn labels(bytes: &[u8], name: &mut Vec<u8>) -> Option<()> {
    name.clear();
    let mut rest = bytes;
    loop {
        let end = memchr::memchr(b')', rest.strip_prefix(b"(")?)?;
        let len: usize = std::str::from_utf8(&rest[1..=end]).ok()?.parse().ok()?;
        let label = rest[end + 2..].get(..len)?;
        rest = &rest[end + 2 + len..];
        if len == 0 {
            name.pop();
            if name.is_empty() {
                name.push(b'.');
            }
            return rest.is_empty().then_some(());
        }
        name.extend_from_slice(label);
        name.push(b'.');
    }
}

fn is_icmp6(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"icmpv6") || protocol.eq_ignore_ascii_case(b"icmp6")
}

/// The usual text of an IPv6 address: one search finds it in every source.
pub(crate) struct ShortForm {
    text: [u8; ADDRESS_BYTES_MAX],
    left: usize,
}

/// An IPv6 address of eight groups, or with an IPv4 address at its end.
pub(crate) const ADDRESS_BYTES_MAX: usize = 45;

impl ShortForm {
    fn of(address: IpAddr) -> Self {
        let mut text = [0; ADDRESS_BYTES_MAX];
        let mut rest = &mut text[..];
        // Every address fits.
        let _ = write!(rest, "{address}");
        let left = rest.len();
        Self { text, left }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text[..ADDRESS_BYTES_MAX - self.left]
    }
}

/// An IPv4 address in its one text form: four numbers up to 255 without leading zeros. Half of what is
/// asked for an address is one, and this costs a fifth of the library's reading.
fn dotted(bytes: &[u8]) -> Option<Ipv4Addr> {
    if !(7..=15).contains(&bytes.len()) {
        return None;
    }
    let (mut octets, mut at) = ([0; 4], 0);
    for (number, octet) in octets.iter_mut().enumerate() {
        if number > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let from = at;
        let mut value = 0u32;
        while let Some(digit) = bytes.get(at).map(|c| c.wrapping_sub(b'0')).filter(|d| *d <= 9) {
            if at - from == 3 {
                return None;
            }
            value = value * 10 + u32::from(digit);
            at += 1;
        }
        if at == from || (at - from > 1 && bytes[from] == b'0') {
            return None;
        }
        *octet = u8::try_from(value).ok()?;
    }
    (at == bytes.len()).then(|| Ipv4Addr::from(octets))
}

/// An address in its usual text form.
pub(crate) fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Some(address) = dotted(bytes) {
        return Some(address.into());
    }
    if bytes.len() > ADDRESS_BYTES_MAX || bytes.len() < 2 {
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
        let name = |text: &str| {
            let mut out = Vec::new();
            labels(text.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
        };
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
        let short = |t: &str| match address(t.as_bytes()) {
            Some(Address::Short(short)) => Some(String::from_utf8(short.bytes().to_vec()).unwrap()),
            _ => None,
        };
        for long in ["2001:0db8:0:0:0:0:0:0001", "2001:DB8::1", "2001:db8:0::0:1"] {
            assert_eq!(short(long).as_deref(), Some("2001:db8::1"), "{long}");
        }
        assert!(short("2001:db8::1").is_none() && short("192.0.2.1").is_none());
        for wrong in ["", "host", "1.2.3", "1.2.3.4.5", "LOCAL", "10.0.0.1:80"] {
            assert_eq!(part(wrong), None, "{wrong}");
        }
    }

    /// Guarantees: what is read apart for speed is what the library reads, and nothing else.
    #[test]
    fn dotted_addresses_are_those_that_the_library_reads() {
        let numbers =
            ["", "0", "00", "01", "9", "10", "99", "199", "255", "256", "1000", "a", "-1"];
        let mut read = 0;
        for a in numbers {
            for b in numbers {
                for c in numbers {
                    for text in [
                        format!("{a}.{b}.{c}.7"),
                        format!("7.{a}.{b}.{c}"),
                        format!("{a}.{b}.{c}"),
                        format!("{a}.{b}.{c}.7."),
                        format!("{a}.{b}.{c}.7.8"),
                        format!("{a}:{b}.{c}.7"),
                    ] {
                        let expected = text.parse::<Ipv4Addr>().ok();
                        assert_eq!(dotted(text.as_bytes()), expected, "{text}");
                        read += usize::from(expected.is_some());
                    }
                }
            }
        }
        assert!(read > 300, "{read}");
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
    fn lengths_of_time_are_nanoseconds() {
        let of = |text: &str, class| {
            let mut out = Vec::new();
            match form(text.as_bytes(), false, class, &mut out) {
                Form::New(Kind::Int) => Some(String::from_utf8(out).unwrap()),
                _ => None,
            }
        };
        let seconds = Class::Duration { unit_ns: SECOND_NS };
        for (text, ns) in [
            ("1.5", "1500000000"),
            ("33", "33000000000"),
            (".000000001", "1"),
            ("0.12345678901234567890123", "123456789"),
            ("0", "0"),
        ] {
            assert_eq!(of(text, seconds).as_deref(), Some(ns), "{text}");
        }
        let milliseconds = Class::Duration { unit_ns: SECOND_NS / 1_000 };
        assert_eq!(of("1502.123", milliseconds).as_deref(), Some("1502123000"));
        for wrong in ["", ".", "-1", "1.2.3", "1s", "99999999999", "99999999999999999999"] {
            assert_eq!(of(wrong, seconds), None, "{wrong}");
        }
        for (text, ns) in [
            ("0:02:11", "131000000000"),
            ("02:11", "131000000000"),
            ("1h:02m:03s", "3723000000000"),
            ("1d 2h:3m:4s", "93784000000000"),
            ("2 days 1:00:00.5", "176400500000000"),
        ] {
            assert_eq!(of(text, Class::Clock).as_deref(), Some(ns), "{text}");
        }
        for wrong in ["1:2:3:4", "1x", "h", ":", "1h -2m", "999999999999h"] {
            assert_eq!(of(wrong, Class::Clock), None, "{wrong}");
        }
    }

    #[test]
    fn dates_have_one_form() {
        let of = |text: &str| {
            let mut out = Vec::new();
            match form(text.as_bytes(), false, Class::Date, &mut out) {
                Form::New(Kind::Str) => String::from_utf8(out).unwrap(),
                _ => text.to_owned(),
            }
        };
        for text in ["2025-11-12T09:00:00.5+0100", "2025-11-12 08:00:00.500 UTC", "1762934400.5"] {
            assert_eq!(of(text), "2025-11-12T08:00:00.500Z");
        }
        for open in ["Nov 12 08:00:00", "2025-11-12 08:00:00", "later"] {
            assert_eq!(of(open), open);
        }
    }

    #[test]
    fn extensions_stand_behind_the_last_dot() {
        let of = |text: &str| {
            let mut out = Vec::new();
            let form = form(text.as_bytes(), false, Class::Extension, &mut out);
            matches!(form, Form::New(_)).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(of(r"C:\Temp\a.b.PS1").as_deref(), Some("ps1"));
        assert_eq!(of("/srv/x.tar.gz").as_deref(), Some("gz"));
        for none in ["/etc.d/passwd", ".profile", "a.", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn numbers_and_absence() {
        assert!(matches!(long(b"0x1f4"), Some(Number::Hex(500))));
        assert!(matches!(long(b"-5"), Some(Number::AsWritten)));
        assert!(long(b"").is_none() && long(b"12a").is_none() && long(b"-").is_none());
        assert!(long(b"99999999999999999999").is_none());
        for absent in ["", "-", "N/A", "(null)", "<null>", "null"] {
            assert!(is_absent(Kind::Str, absent.as_bytes()), "{absent}");
        }
        assert!(!is_absent(Kind::Str, b"--"));
    }
}
