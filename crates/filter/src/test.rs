//! The primitive tests on one value.

use crate::expression::Expression;
use event::text::{eq_folded, fold, fold_into};
use event::{Kind, Value, time};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;

/// What must hold for a value (any one of a field's values).
#[derive(Clone, Debug)]
pub enum Test {
    /// The field is present, whatever its value, null included.
    Exists,
    /// The field is absent or null.
    Null,
    /// Text comparison.
    Text {
        /// Which part of the value is compared.
        op: TextOp,
        /// The text, as written; compared folded unless `cased`.
        pattern: Box<str>,
        /// The folded text.
        folded: Box<[u8]>,
        /// Offset in `folded` of the byte that is rarest in logs: what is looked for first.
        rarest: usize,
        /// Exact case.
        cased: bool,
    },
    /// A linear-time regular expression, unanchored.
    Regex {
        /// How the author wrote it (a glob or a regex), for explanations.
        shown: Box<str>,
        /// What is tried.
        regex: Expression,
        /// It counts characters (`?` of a glob): in a value that is not UTF-8, bytes that belong to
        /// no character are read as [`Value::text`] shows them.
        by_character: bool,
    },
    /// The value is an IP address of the network (IPv4-mapped IPv6 counts as IPv4).
    Cidr(ipnet::IpNet),
    /// Order on numbers or times.
    Compare {
        /// Which order.
        op: CompareOp,
        /// What to compare with.
        operand: Operand,
    },
    /// The value stands in a text relation to the value of another field of the same event.
    Field {
        /// Which part of the value is compared.
        op: TextOp,
        /// Name of the other field.
        other: Box<str>,
        /// Exact case.
        cased: bool,
    },
}

/// Which part of the value a text comparison is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextOp {
    /// The whole.
    Equals,
    /// Its start.
    Prefix,
    /// Its end.
    Suffix,
    /// Any part.
    Contains,
}

/// Order relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Equal as numbers (`1` equals `1.0`); text equality is [`TextOp::Equals`].
    Eq,
}

/// Right side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A number.
    Number(Number),
    /// A point in time, ns since 1970-01-01 UTC.
    Time(i64),
    /// A part of a date, taken from its digits as written, without zone conversion.
    Part(TimePart, i64),
}

/// A part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimePart {
    /// 0..=59.
    Minute,
    /// 0..=23.
    Hour,
    /// Day of the month, 1..=31.
    Day,
    /// ISO 8601 week, 1..=53.
    Week,
    /// 1..=12.
    Month,
    /// Four digits.
    Year,
}

/// A number compared exactly where both sides are integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Any 64-bit integer, signed or not.
    Int(i128),
    /// Anything else.
    Float(f64),
}

impl Number {
    /// Reads decimal text; `None` if it is not a finite number.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > 400 {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.trim();
        if let Ok(int) = text.parse::<i128>() {
            return Some(Number::Int(int));
        }
        if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) {
            return None;
        }
        text.parse::<f64>().ok().filter(|f| f.is_finite()).map(Number::Float)
    }

    /// As a fraction: large integers lose their last digits.
    pub fn float(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }
}

impl CompareOp {
    fn holds(self, order: Ordering) -> bool {
        match self {
            CompareOp::Lt => order.is_lt(),
            CompareOp::Le => order.is_le(),
            CompareOp::Gt => order.is_gt(),
            CompareOp::Ge => order.is_ge(),
            CompareOp::Eq => order.is_eq(),
        }
    }

    /// The sign.
    pub fn sign(self) -> &'static str {
        match self {
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
            CompareOp::Eq => "=",
        }
    }
}

impl TextOp {
    /// Sigma's word for it.
    pub fn word(self) -> &'static str {
        match self {
            TextOp::Equals => "equals",
            TextOp::Prefix => "startswith",
            TextOp::Suffix => "endswith",
            TextOp::Contains => "contains",
        }
    }
}

impl Test {
    /// A text comparison.
    pub fn text(op: TextOp, pattern: &str, cased: bool) -> Self {
        let folded: Box<[u8]> = fold(pattern).into_bytes().into();
        let rarest = rarest(&folded);
        Test::Text { op, pattern: pattern.into(), folded, rarest, cased }
    }

    /// Name of the other field a field-to-field test reads.
    pub fn other_field(&self) -> Option<&str> {
        match self {
            Test::Field { other, .. } => Some(other),
            _ => None,
        }
    }

    /// The verdict when the field is absent.
    pub fn on_absent(&self) -> bool {
        matches!(self, Test::Null)
    }

    /// The verdict for a field that has no value of its own, only fields below it: it is present,
    /// and it has no text that could be compared.
    pub fn on_object(&self) -> bool {
        match self {
            Test::Exists => true,
            // Any text at all: `*` of Sigma.
            Test::Text { op, folded, .. } => *op != TextOp::Equals && folded.is_empty(),
            _ => false,
        }
    }

    /// Whether fields below the one that is tested decide, where it has no value itself.
    pub fn asks_below(&self) -> bool {
        self.on_absent() != self.on_object()
    }

    /// Whether the test holds for this one value. [`Test::Field`] needs the other value: see
    /// [`text_relation`].
    pub fn holds(&self, value: Value<'_>) -> bool {
        match self {
            Test::Exists => true,
            Test::Null => value.kind == Kind::Null,
            _ if value.kind == Kind::Null => false,
            Test::Text { op, pattern, cased: true, .. } => {
                find_exact(*op, value.bytes, pattern.as_bytes()).is_some()
            }
            Test::Text { op, folded, rarest, .. } => {
                find_folded(*op, value.bytes, (folded, *rarest)).is_some()
            }
            Test::Regex { regex, by_character: false, .. } => regex.is_match(value.bytes),
            Test::Regex { regex, .. } => regex.is_match(value.text().as_bytes()),
            Test::Cidr(net) => ip_of(value.bytes).is_some_and(|ip| net.contains(&ip)),
            Test::Compare { op, operand } => compare(*op, operand, value.bytes),
            Test::Field { .. } => false,
        }
    }

    /// Byte span within the value of what matched, where that is meaningful. Only call it for a
    /// value for which the test holds.
    pub fn span(&self, value: Value<'_>) -> Option<(u32, u32)> {
        let span = match self {
            Test::Text { op, pattern, cased: true, .. } => {
                find_exact(*op, value.bytes, pattern.as_bytes())?
            }
            Test::Text { op, folded, rarest, .. } => {
                find_folded(*op, value.bytes, (folded, *rarest))?
            }
            Test::Regex { by_character: true, .. } if std::str::from_utf8(value.bytes).is_err() => {
                (0, value.bytes.len())
            }
            Test::Regex { regex, .. } => regex.find(value.bytes).map(|m| (m.start(), m.end()))?,
            Test::Cidr(_) | Test::Compare { .. } => (0, value.bytes.len()),
            Test::Exists | Test::Null | Test::Field { .. } => return None,
        };
        Some((span.0 as u32, span.1 as u32))
    }

    /// The test as text, for explanations: `endswith \powershell.exe`.
    pub fn shown(&self) -> String {
        match self {
            Test::Exists => "exists".into(),
            Test::Null => "is null or absent".into(),
            Test::Text { op, pattern, cased, .. } => {
                format!("{}{} {pattern}", op.word(), if *cased { " (cased)" } else { "" })
            }
            Test::Regex { shown, .. } => format!("matches {shown}"),
            Test::Cidr(net) => format!("in {net}"),
            Test::Compare { op, operand } => match operand {
                Operand::Number(Number::Int(n)) => format!("{} {n}", op.sign()),
                Operand::Number(Number::Float(n)) => format!("{} {n}", op.sign()),
                Operand::Time(ns) => format!("{} {}", op.sign(), time::rfc3339(*ns)),
                Operand::Part(part, n) => format!("{part:?} {} {n}", op.sign()),
            },
            Test::Field { op, other, .. } => format!("{} field {other}", op.word()),
        }
    }
}

impl PartialEq for Test {
    /// Equal by what they test: regexes by their source.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Test::Exists, Test::Exists) | (Test::Null, Test::Null) => true,
            (
                Test::Text { op: a, pattern: p, cased: c, .. },
                Test::Text { op: b, pattern: q, cased: d, .. },
            ) => a == b && p == q && c == d,
            (
                Test::Regex { regex: a, by_character: m, .. },
                Test::Regex { regex: b, by_character: n, .. },
            ) => a.as_str() == b.as_str() && m == n,
            (Test::Cidr(a), Test::Cidr(b)) => a == b,
            (Test::Compare { op: a, operand: x }, Test::Compare { op: b, operand: y }) => {
                a == b && x == y
            }
            (
                Test::Field { op: a, other: o, cased: c },
                Test::Field { op: b, other: p, cased: d },
            ) => a == b && o == p && c == d,
            _ => false,
        }
    }
}

/// Whether `a` stands in the relation `op` to `b`.
pub fn text_relation(op: TextOp, a: &[u8], b: &[u8], cased: bool) -> bool {
    if cased {
        return find_exact(op, a, b).is_some();
    }
    if op == TextOp::Equals {
        return eq_folded(a, b);
    }
    let mut folded = Vec::with_capacity(b.len());
    fold_into(b, &mut folded);
    find_folded(op, a, (&folded, rarest(&folded))).is_some()
}

/// An IP address as logs write it: IPv4-mapped IPv6 becomes IPv4, a zone (`%eth0`) and brackets go.
pub fn ip_of(text: &[u8]) -> Option<IpAddr> {
    if text.len() > 64 {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let text = text.split_once('%').map_or(text, |(ip, _)| ip);
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn find_exact(op: TextOp, value: &[u8], pattern: &[u8]) -> Option<(usize, usize)> {
    match op {
        TextOp::Equals => (value == pattern).then_some((0, value.len())),
        TextOp::Prefix => value.starts_with(pattern).then_some((0, pattern.len())),
        TextOp::Suffix => {
            value.ends_with(pattern).then(|| (value.len() - pattern.len(), value.len()))
        }
        TextOp::Contains => memchr::memmem::find(value, pattern).map(|at| (at, at + pattern.len())),
    }
}

/// Finds a folded pattern. No allocation for ASCII values; others are folded into a copy, whose
/// spans are those of the value as long as folding kept the byte length (else the whole value).
fn find_folded(
    op: TextOp,
    value: &[u8],
    (folded, rarest): (&[u8], usize),
) -> Option<(usize, usize)> {
    if value.is_ascii() {
        return match op {
            TextOp::Equals => value.eq_ignore_ascii_case(folded).then_some((0, value.len())),
            TextOp::Prefix => {
                let head = value.get(..folded.len())?;
                head.eq_ignore_ascii_case(folded).then_some((0, folded.len()))
            }
            TextOp::Suffix => {
                let from = value.len().checked_sub(folded.len())?;
                value[from..].eq_ignore_ascii_case(folded).then_some((from, value.len()))
            }
            TextOp::Contains => {
                find_ascii_folded(value, folded, rarest).map(|at| (at, at + folded.len()))
            }
        };
    }
    let mut copy = Vec::with_capacity(value.len());
    fold_into(value, &mut copy);
    let span = find_exact(op, &copy, folded)?;
    Some(if copy.len() == value.len() { span } else { (0, value.len()) })
}

/// Where the rarest byte of a text stands in it; 0 in an empty one.
fn rarest(folded: &[u8]) -> usize {
    (0..folded.len()).min_by_key(|at| commonness(folded[*at])).unwrap_or(0)
}

/// Looks for the pattern's rarest byte, the one `at` this offset, so that few places have to be compared.
fn find_ascii_folded(value: &[u8], folded: &[u8], at: usize) -> Option<usize> {
    let Some(byte) = folded.get(at) else { return Some(0) };
    let last_start = value.len().checked_sub(folded.len())?;
    let places = &value[at..=at + last_start];
    memchr::memchr2_iter(*byte, byte.to_ascii_uppercase(), places)
        .find(|start| value[*start..start + folded.len()].eq_ignore_ascii_case(folded))
}

/// How common a byte is in log values, roughly: paths and English words, hex digits, the rest.
fn commonness(byte: u8) -> u8 {
    match byte {
        b'e' | b's' | b'i' | b'o' | b't' | b'n' | b'r' | b'a' | b'c' | b'\\' => 5,
        b'd' | b'l' | b'm' | b'w' | b'p' | b'u' | b'.' | b' ' | b'0' => 4,
        b'f' | b'b' | b'h' | b'g' | b'y' | b'x' | b'-' | b'/' | b':' | b'1'..=b'9' => 3,
        b'v' | b'k' | b'"' | b'_' => 2,
        b'a'..=b'z' => 1,
        _ => 0,
    }
}

fn compare(op: CompareOp, operand: &Operand, value: &[u8]) -> bool {
    let order = match operand {
        Operand::Number(number) => order_of(value, *number),
        Operand::Time(ns) => time_of(value).map(|v| v.cmp(ns)),
        Operand::Part(part, number) => date_part(*part, value).map(|v| v.cmp(number)),
    };
    order.is_some_and(|o| op.holds(o))
}

/// Order of a value's decimal text and a number, exact for integers and decimals of any length;
/// `None` if the text is not a finite number.
fn order_of(value: &[u8], number: Number) -> Option<Ordering> {
    let parsed = Number::parse(value)?;
    if let (Number::Int(a), Number::Int(b)) = (parsed, number) {
        return Some(a.cmp(&b));
    }
    // Rounding to the nearest keeps order: only where both round to the same are digits compared.
    match parsed.float().partial_cmp(&number.float())? {
        Ordering::Equal => {
            let text = match number {
                Number::Int(n) => n.to_string(),
                Number::Float(f) => f.to_string(),
            };
            Some(Decimal::of(value)?.cmp(&Decimal::of(text.as_bytes())?))
        }
        order => Some(order),
    }
}

/// A decimal as written, for exact comparison.
struct Decimal {
    negative: bool,
    /// Significant digits, without zeros at either end; empty for zero.
    digits: Vec<u8>,
    /// The value is 0.digits * 10^exponent.
    exponent: i64,
}

impl Decimal {
    /// Reads text that [`Number::parse`] has accepted; its length is bounded there.
    fn of(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let (negative, text) = match text.first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let at = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
        let (mantissa, scale) = text.split_at(at);
        let scale: i64 = match scale.get(1..) {
            None => 0,
            // Beyond any number that is not zero or infinite as a fraction.
            Some(scale) => std::str::from_utf8(scale).ok()?.parse().unwrap_or(i64::from(i32::MAX)),
        };
        let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
        let all: Vec<u8> = mantissa.iter().copied().filter(|b| *b != b'.').collect();
        let zeros = all.iter().take_while(|b| **b == b'0').count();
        let end = all.iter().rposition(|b| *b != b'0').map_or(zeros, |last| last + 1);
        let digits = all.get(zeros..end).unwrap_or_default().to_vec();
        let exponent = (point as i64 - zeros as i64).saturating_add(scale);
        Some(match digits.is_empty() {
            true => Self { negative: false, digits, exponent: 0 },
            false => Self { negative, digits, exponent },
        })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |d: &Self| match (d.digits.is_empty(), d.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let size = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        match sign(self).cmp(&sign(other)) {
            Ordering::Equal if sign(self) < 0 => size.reverse(),
            Ordering::Equal if sign(self) > 0 => size,
            order => order,
        }
    }
}

/// A time as text (RFC 3339) or as a number of s, ms, us or ns told apart by magnitude.
pub fn time_of(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    if let Some(ns) = time::parse_rfc3339(text) {
        return Some(ns);
    }
    let Number::Int(n) = Number::parse(value)? else { return None };
    let scale = match n.unsigned_abs() {
        0..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    i64::try_from(n.checked_mul(scale)?).ok()
}

/// `2026-01-02`
const DATE_BYTES: usize = 10;
/// `2026-01-02T03`
const HOURS_BYTES: usize = 13;
/// `2026-01-02T03:04`
const MINUTES_BYTES: usize = 16;
/// `2026-01-02T03:04:05`
const SECONDS_BYTES: usize = 19;

fn date_part(part: TimePart, value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    // The digits as written: cut the zone off, so that no conversion takes place.
    let local: Cow<'_, str> = match text.as_bytes().get(MINUTES_BYTES) {
        Some(b':') => text.get(..SECONDS_BYTES).map_or(text.into(), Cow::from),
        // ISO 8601 lets the seconds out.
        _ => match text.get(..MINUTES_BYTES) {
            Some(minutes) if text.as_bytes()[HOURS_BYTES] == b':' => format!("{minutes}:00").into(),
            _ => text.into(),
        },
    };
    // A date alone is no midnight.
    if matches!(part, TimePart::Minute | TimePart::Hour) && local.len() <= DATE_BYTES {
        return None;
    }
    let seconds = time::parse_rfc3339(&local)?.div_euclid(time::SECOND_NS);
    let days = seconds.div_euclid(86_400);
    let (year, month, day) = time::civil_from_days(days);
    Some(match part {
        TimePart::Minute => seconds.rem_euclid(3600) / 60,
        TimePart::Hour => seconds.rem_euclid(86_400) / 3600,
        TimePart::Day => day,
        TimePart::Month => month,
        TimePart::Year => year,
        TimePart::Week => iso_week(days),
    })
}

/// ISO 8601 week number: weeks start on Monday, week 1 holds the year's first Thursday.
fn iso_week(days: i64) -> i64 {
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let (year, _, _) = time::civil_from_days(thursday);
    (thursday - time::days_from_civil(year, 1, 1)) / 7 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn str_value(text: &str) -> Value<'_> {
        Value { kind: Kind::Str, bytes: text.as_bytes() }
    }

    #[test]
    fn text_is_compared_without_case_and_spans_are_found() {
        let t = Test::text(TextOp::Suffix, "\\PowerShell.EXE", false);
        let v = "C:\\x\\powershell.exe";
        assert!(t.holds(str_value(v)));
        assert_eq!(t.span(str_value(v)), Some((4, 19)));
        assert!(!Test::text(TextOp::Contains, "bC", true).holds(str_value("xbcx")));
        assert!(Test::text(TextOp::Contains, "ÄÖ", false).holds(str_value("xäöx")));
        assert!(Test::text(TextOp::Equals, "k", false).holds(str_value("\u{212a}")));
        assert!(Test::text(TextOp::Contains, "", false).holds(str_value("")));
        assert!(!Test::text(TextOp::Prefix, "abc", false).holds(str_value("ab")));
    }

    #[test]
    fn numbers_are_exact_and_read_from_text() {
        let gt = |n| Test::Compare { op: CompareOp::Gt, operand: Operand::Number(Number::Int(n)) };
        assert!(gt(9_007_199_254_740_992).holds(str_value("9007199254740993")));
        assert!(!gt(9_007_199_254_740_993).holds(str_value("9007199254740993")));
        assert!(gt(4).holds(str_value("4.5")));
        assert!(!gt(4).holds(str_value("abc")));
        assert!(!gt(4).holds(str_value("inf")));
        assert!(gt(i128::from(u64::MAX)).holds(str_value("18446744073709551616")));
    }

    #[test]
    fn decimals_are_exact_where_fractions_of_the_machine_are_not() {
        let order = |value: &str, number| order_of(value.as_bytes(), number);
        for (value, number, expected) in [
            ("9007199254740992.5", Number::Int(9_007_199_254_740_992), Ordering::Greater),
            ("9007199254740993", Number::Float(9_007_199_254_740_992.0), Ordering::Greater),
            ("0.30000000000000001", Number::Float(0.3), Ordering::Greater),
            ("0.3", Number::Float(0.3), Ordering::Equal),
            ("3e-1", Number::Float(0.3), Ordering::Equal),
            ("-0.30000000000000001", Number::Float(-0.3), Ordering::Less),
            ("1.0", Number::Int(1), Ordering::Equal),
            ("+001.00e0", Number::Int(1), Ordering::Equal),
            ("-0.0", Number::Int(0), Ordering::Equal),
            (".5", Number::Float(0.5), Ordering::Equal),
            ("1e-400", Number::Int(0), Ordering::Greater),
            ("0e999999999999", Number::Int(0), Ordering::Equal),
            ("99999999999999999999999999999999999999999", Number::Float(1e41), Ordering::Less),
        ] {
            assert_eq!(order(value, number), Some(expected), "{value} {number:?}");
        }
        assert_eq!(order("1e400", Number::Int(0)), None);
        assert_eq!(order("1.2.3", Number::Int(0)), None);
    }

    #[test]
    fn addresses_match_networks_in_every_form() {
        let net = Test::Cidr("10.0.0.0/8".parse().unwrap());
        for ip in ["10.1.2.3", "::ffff:10.1.2.3", " 10.1.2.3", "[::ffff:10.1.2.3]"] {
            assert!(net.holds(str_value(ip)), "{ip}");
        }
        assert!(!net.holds(str_value("11.1.2.3")));
        assert!(!net.holds(str_value("10.1.2")));
    }

    #[test]
    fn date_parts_use_the_digits_as_written() {
        let part = |p, n| Test::Compare { op: CompareOp::Eq, operand: Operand::Part(p, n) };
        let v = str_value("2026-01-01T23:45:00+09:00");
        assert!(part(TimePart::Hour, 23).holds(v));
        assert!(part(TimePart::Minute, 45).holds(v));
        assert!(part(TimePart::Week, 1).holds(v));
        assert!(part(TimePart::Week, 53).holds(str_value("2027-01-03")));
        assert!(part(TimePart::Year, 2026).holds(v));
        let date = str_value("2026-01-01");
        assert!(part(TimePart::Day, 1).holds(date));
        assert!(!part(TimePart::Hour, 0).holds(date) && !part(TimePart::Minute, 0).holds(date));
    }
}
