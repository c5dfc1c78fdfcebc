//! Points in time as logs write them, and what is missing from them.
//!
//! ```text
//! bytes --parse/leading--> Stamp { Utc | Local (no zone) | Yearless } --resolve(received, zone)--> ns
//! ```
//!
//! A log line often leaves out its zone and even its year. [`Stamp`] keeps what was written;
//! [`Stamp::resolve`] fills the rest from the time of receipt, which the caller knows.
//! Not here: a clock, a zone database (zones are fixed offsets; the source's setting is an argument).

use crate::ParseError;
use event::time::{SECOND_NS, civil_from_days, days_from_civil, days_in_month};

const FORMAT: &str = "timestamp";
/// Nanoseconds in a day.
pub const DAY_NS: i64 = 86_400 * SECOND_NS;
/// How far ahead of its receipt an event may claim to be before its time is not believed: the
/// clock difference that ordinary hosts have; more is a wrong zone or a wrong clock.
pub const AHEAD_MAX_NS: i64 = 300 * SECOND_NS;
/// Times before 1990-01-01 come from clocks that were never set; no log is older.
pub const OLDEST_NS: i64 = 631_152_000 * SECOND_NS;
/// No stamp in any format here is longer; bounds the work on hostile text.
const STAMP_LEN_MAX: usize = 64;

/// A point in time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Complete: ns since 1970-01-01 UTC.
    Utc(i64),
    /// Date and time of an unknown zone, counted as if that zone were UTC, in ns.
    Local(i64),
    /// Date without a year (RFC 3164), with time of day.
    Yearless {
        /// 1..=12.
        month: u8,
        /// 1..=31.
        day: u8,
        /// ns since midnight.
        in_day_ns: i64,
        /// Seconds east of UTC if the zone was written.
        zone: Option<i32>,
    },
    /// Time of day without a date.
    TimeOnly {
        /// ns since midnight.
        in_day_ns: i64,
        /// Seconds east of UTC if the zone was written.
        zone: Option<i32>,
    },
}

/// Whether a resolved time can be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plausibility {
    /// Nothing speaks against it.
    Plausible,
    /// More than [`AHEAD_MAX_NS`] after its receipt.
    Ahead,
    /// Before [`OLDEST_NS`].
    Ancient,
}

/// A time with everything filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// ns since 1970-01-01 UTC.
    pub ns: i64,
    /// Whether to believe it.
    pub plausibility: Plausibility,
}

impl Stamp {
    /// Fills in what is missing.
    ///
    /// In: `received_ns` (UTC), `zone_offset_s` = seconds east of UTC of a sender that writes no
    /// zone. A missing year becomes the one that puts the stamp closest to its receipt, but not
    /// more than a day after it. Out: ns since 1970-01-01 UTC and whether that is plausible.
    pub fn resolve(self, received_ns: i64, zone_offset_s: i32) -> Resolved {
        let shift = |zone: i32| i64::from(zone) * SECOND_NS;
        let ns = match self {
            Stamp::Utc(ns) => ns,
            Stamp::Local(ns) => ns.saturating_sub(shift(zone_offset_s)),
            Stamp::Yearless { month, day, in_day_ns, zone } => {
                let zone = shift(zone.unwrap_or(zone_offset_s));
                nearest_year(received_ns, i64::from(month), i64::from(day), in_day_ns - zone)
            }
            Stamp::TimeOnly { in_day_ns, zone } => {
                let offset = in_day_ns - shift(zone.unwrap_or(zone_offset_s));
                nearest_day(received_ns, offset)
            }
        };
        let plausibility = if ns > received_ns.saturating_add(AHEAD_MAX_NS) {
            Plausibility::Ahead
        } else if ns < OLDEST_NS {
            Plausibility::Ancient
        } else {
            Plausibility::Plausible
        };
        Resolved { ns, plausibility }
    }

    /// The same civil time in a zone that was named elsewhere. Nothing changes if it has one.
    pub fn with_zone(self, seconds_east: i32) -> Self {
        match self {
            Stamp::Local(ns) => Stamp::Utc(ns.saturating_sub(i64::from(seconds_east) * SECOND_NS)),
            Stamp::Yearless { month, day, in_day_ns, zone: None } => {
                Stamp::Yearless { month, day, in_day_ns, zone: Some(seconds_east) }
            }
            Stamp::TimeOnly { in_day_ns, zone: None } => {
                Stamp::TimeOnly { in_day_ns, zone: Some(seconds_east) }
            }
            known => known,
        }
    }
}

/// The year around `received_ns` that puts month/day + `offset_ns` closest to it, at most a day
/// ahead. 29 February takes the last leap year, up to eight years back (1900 and 2100 are none).
fn nearest_year(received_ns: i64, month: i64, day: i64, offset_ns: i64) -> i64 {
    let (year, this_month, _) = civil_from_days(received_ns.div_euclid(DAY_NS));
    let candidate = |year: i64| {
        let midnight = (day <= days_in_month(year, month))
            .then(|| days_from_civil(year, month, day).checked_mul(DAY_NS))??;
        let ns = midnight.checked_add(offset_ns)?;
        (ns <= received_ns.saturating_add(DAY_NS)).then_some(ns)
    };
    // No date of the next year is within a day of anything before December.
    let first = i64::from(this_month < 12 && offset_ns >= -DAY_NS);
    (first..=9).find_map(|back| candidate(year + 1 - back)).unwrap_or(received_ns)
}

/// The day around `received_ns` that puts midnight + `offset_ns` closest to it, at most
/// [`AHEAD_MAX_NS`] ahead: an event is older than its receipt.
fn nearest_day(received_ns: i64, offset_ns: i64) -> i64 {
    let midnight = received_ns.div_euclid(DAY_NS).saturating_mul(DAY_NS);
    let today = midnight.saturating_add(offset_ns);
    let limit = received_ns.saturating_add(AHEAD_MAX_NS);
    let candidates = [today.saturating_add(DAY_NS), today, today.saturating_sub(DAY_NS)];
    candidates.into_iter().find(|ns| *ns <= limit).unwrap_or(today.saturating_sub(2 * DAY_NS))
}

/// Reads text that is a point in time from its first to its last byte (spaces around it are fine).
///
/// Takes RFC 3339 / ISO 8601 (`T`, space or underscore, fraction after `.` or `,`, `Z`, offset, named
/// zone, offset followed by `Z`), RFC 3164 (`Mar  5 14:07:09.123 2024 CET`), year first (`2023 Jan 11
/// 19:00:56 CET`), Apache (`05/Mar/2024:14:07:09 +0000`), `Tue Mar  5 14:07:09 UTC 2024`,
/// month/day/year (`3/5/2024 2:07:09 PM`; day first where the first number is above 12), epoch in
/// s, ms, us or ns (by magnitude, fraction allowed), Windows file times, TAI64N labels, day of the
/// year (`2024-065T14:07:09`), `240305 14:07:09`, time of day alone, and `/Date(1709647629123)/`. Month names are
/// English, French, German or Spanish.
/// Errors: `Expected { at }` where the text stops being a time.
pub fn parse(text: &[u8]) -> Result<Stamp, ParseError> {
    let lead = text.iter().take_while(|c| c.is_ascii_whitespace()).count();
    let body = text[lead..].trim_ascii_end();
    if body.is_empty() {
        return Err(ParseError::Empty { format: FORMAT });
    }
    if body.len() > STAMP_LEN_MAX {
        let limit = STAMP_LEN_MAX;
        return Err(ParseError::TooLong { format: FORMAT, at: lead + limit, what: "text", limit });
    }
    let body =
        strip_pair(body, b'[', b']').or_else(|| strip_pair(body, b'"', b'"')).unwrap_or(body);
    // Nothing but a date has these signs there: neither a number nor a time alone.
    let is_date = body.get(2) == Some(&b'/') || body.get(4) == Some(&b'-');
    if is_date
        && let Some((stamp, len)) = leading(body)
        && len == body.len()
    {
        return Ok(stamp);
    }
    let number = || compact_digits(body).or_else(|| epoch(body)).or_else(|| six_digits(body));
    if let Some(stamp) = number().or_else(|| windows_date(body)).or_else(|| time_only(body)) {
        return Ok(stamp);
    }
    let expected = "a date and time";
    match leading(body) {
        Some((stamp, len)) if len == body.len() => Ok(stamp),
        Some((_, len)) => Err(ParseError::Expected {
            format: FORMAT,
            at: lead + len,
            expected: "the end of the time",
        }),
        None => Err(ParseError::Expected { format: FORMAT, at: lead, expected }),
    }
}

/// `240305  9:14:07`: MySQL up to 5.6 and MariaDB. Years from 70 on are those of the last century.
fn six_digits(text: &[u8]) -> Option<Stamp> {
    let mut scan = Scan::new(text);
    let date = scan.number(6, 6)?;
    scan.spaces()?;
    let in_day_ns = scan.time_of_day()?;
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let century = if year < 70 { 2_000 } else { 1_900 };
    scan.rest().is_empty().then(|| civil(century + year, month, day, in_day_ns))?.map(Stamp::Local)
}

fn strip_pair(text: &[u8], open: u8, close: u8) -> Option<&[u8]> {
    text.strip_prefix(&[open])?.strip_suffix(&[close])
}

/// Reads a time at the start of `text`. Out: the stamp and how many bytes it takes, zone and year
/// behind it included. Epoch numbers are not looked for: a leading number is too often something else.
pub fn leading(text: &[u8]) -> Option<(Stamp, usize)> {
    let text = &text[..text.len().min(STAMP_LEN_MAX)];
    match *text.first()? {
        // How long the first number is tells which forms it may be.
        b'0'..=b'9' => match text.iter().take(9).take_while(|c| c.is_ascii_digit()).count() {
            1 | 2 => apache(text)
                .or_else(|| numeric_date(text))
                .or_else(|| month_day(text))
                .or_else(|| day_first(text)),
            4 => iso(text).or_else(|| year_first(text)),
            8 => iso(text),
            _ => None,
        },
        b'A'..=b'Z' | b'a'..=b'z' | 0xc3 => rfc3164(text).or_else(|| weekday_first(text)),
        b'@' => tai64n(text),
        _ => None,
    }
}

/// Names of the months: English, French, German, Spanish; without accents too, as some write them.
const MONTHS: [&[&str]; 12] = [
    &["january", "janvier", "januar", "enero", "jän"],
    &["february", "février", "fevrier", "februar", "febrero"],
    &["march", "mars", "märz", "maerz", "marzo"],
    &["april", "avril", "abril"],
    &["may", "mai", "mayo"],
    &["june", "juin", "juni", "junio"],
    &["july", "juillet", "juli", "julio"],
    &["august", "août", "aout", "agosto", "ago"],
    &["september", "septembre", "septiembre"],
    &["october", "octobre", "oktober", "octubre"],
    &["november", "novembre", "noviembre"],
    &["december", "décembre", "decembre", "dezember", "diciembre"],
];

/// How their names begin: nearly every word is told from a month by it.
const MONTH_INITIALS: &[u8] = b"adefjmnos";

/// What nearly every line has: three letters of an English month, any case.
fn english_month(word: &[u8]) -> Option<i64> {
    let &[a, b, c] = word else { return None };
    // The bit makes letters small; what is no letter was ruled out before.
    match &[a | 0x20, b | 0x20, c | 0x20] {
        b"jan" => Some(1),
        b"feb" => Some(2),
        b"mar" => Some(3),
        b"apr" => Some(4),
        b"may" => Some(5),
        b"jun" => Some(6),
        b"jul" => Some(7),
        b"aug" => Some(8),
        b"sep" => Some(9),
        b"oct" => Some(10),
        b"nov" => Some(11),
        b"dec" => Some(12),
        _ => None,
    }
}

/// A cursor over the bytes of a stamp; every method moves on only when it succeeds.
#[derive(Clone)]
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn eat_any(&mut self, bytes: &[u8]) -> Option<u8> {
        let byte = self.peek().filter(|b| bytes.contains(b))?;
        self.at += 1;
        Some(byte)
    }

    fn spaces(&mut self) -> Option<()> {
        let n = self.rest().iter().take_while(|c| **c == b' ').count();
        self.at += n;
        (n > 0).then_some(())
    }

    /// A number of `min..=max` digits that is not followed by another digit.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let (mut n, mut value) = (0, 0i64);
        while let Some(digit) = self.text.get(self.at + n).map(|c| c.wrapping_sub(b'0')) {
            if digit > 9 {
                break;
            }
            if n == max {
                return None;
            }
            value = value * 10 + i64::from(digit);
            n += 1;
        }
        if n < min {
            return None;
        }
        self.at += n;
        Some(value)
    }

    /// Month name, short or in full, any case.
    fn month(&mut self) -> Option<i64> {
        let is_letter = |c: &u8| c.is_ascii_alphabetic() || *c >= 0x80;
        // Nearly all are English and short.
        if let Some(word) = self.rest().get(..3)
            && !self.rest().get(3).is_some_and(is_letter)
            && let Some(month) = english_month(word)
        {
            self.at += word.len();
            return Some(month);
        }
        let initial = self.peek()?.to_ascii_lowercase();
        if !MONTH_INITIALS.contains(&initial) {
            return None;
        }
        let len = self.rest().iter().take(16).take_while(|c| is_letter(c)).count();
        let word = &self.rest()[..len];
        if len < 3 {
            return None;
        }
        let known = |names: &[&str]| {
            names.iter().any(|n| {
                let name = n.as_bytes();
                // Short forms: three letters, or four ("Sept", "juil", "août"). Most words are no months: the
                // first letter tells.
                name[0] == initial
                    && len <= name.len()
                    && (len == name.len() || len == 3 || len == 4)
                    && name[..len].eq_ignore_ascii_case(word)
            })
        };
        let index = MONTHS.iter().position(|names| known(names))?;
        self.at += len;
        // French abbreviations end with a dot: "janv. 19".
        if len > 3 && self.rest().starts_with(b". ") {
            self.at += 1;
        }
        Some(index as i64 + 1)
    }

    fn word(&self) -> &'a [u8] {
        let n = self.rest().iter().take_while(|c| c.is_ascii_alphabetic()).count();
        &self.rest()[..n]
    }

    /// `hh:mm:ss` with optional fraction after `.` or `,`, optional ` AM`/` PM`: ns since midnight.
    fn time_of_day(&mut self) -> Option<i64> {
        let read = match clock(self.rest()) {
            Some(read) => {
                self.at += CLOCK_LEN;
                read
            }
            None => {
                let h = self.number(1, 2)?;
                self.eat(b':')?;
                let m = self.number(2, 2)?;
                self.eat(b':')?;
                (h, m, self.number(2, 2)?)
            }
        };
        self.time_behind(read)
    }

    /// What stands behind `hh:mm:ss`, which says so, and both together in ns since midnight.
    fn time_behind(&mut self, (h, m, s): (i64, i64, i64)) -> Option<i64> {
        if h > 23 || m > 59 || s > 60 {
            return None;
        }
        let fraction = self.fraction();
        let h = self.half_of_day(h);
        Some((h * 3600 + m * 60 + s) * SECOND_NS + fraction)
    }

    /// A fraction of a second, in ns; digits beyond the ninth are passed over.
    fn fraction(&mut self) -> i64 {
        let digits = match self.peek() {
            Some(b'.' | b',') => self.rest()[1..].iter().take_while(|c| c.is_ascii_digit()).count(),
            _ => 0,
        };
        if digits == 0 {
            return 0;
        }
        let text = &self.rest()[1..=digits];
        self.at += 1 + digits;
        let shown = text.iter().take(9).fold(0i64, |v, c| v * 10 + i64::from(c - b'0'));
        shown * 10i64.pow(9 - digits.min(9) as u32)
    }

    fn half_of_day(&mut self, h: i64) -> i64 {
        let mut ahead = self.clone();
        let _ = ahead.spaces();
        if !matches!(ahead.peek(), Some(b'A' | b'a' | b'P' | b'p')) {
            return h;
        }
        let word = ahead.word();
        let pm = word.eq_ignore_ascii_case(b"PM");
        if !(pm || word.eq_ignore_ascii_case(b"AM")) || h == 0 || h > 12 {
            return h;
        }
        self.at = ahead.at + 2;
        h % 12 + if pm { 12 } else { 0 }
    }

    /// A zone with or without a space before it: seconds east of UTC.
    fn zone(&mut self) -> Option<i32> {
        let mut ahead = self.clone();
        let spaced = ahead.spaces().is_some();
        let seconds = match ahead.peek()? {
            b'+' | b'-' => {
                // Check Point's exporter writes the minus twice: `--5:00`.
                ahead.at += usize::from(!spaced && ahead.rest().starts_with(b"--"));
                ahead.offset()?
            }
            // "ZZ" comes from templates that add a Z to a time that has one.
            b'Z' | b'z' if matches!(ahead.word(), b"Z" | b"z" | b"ZZ") => {
                ahead.at += ahead.word().len();
                0
            }
            c if c.is_ascii_alphabetic() && (spaced || self.at > 0) => {
                let word = ahead.word();
                let seconds = named_zone(word)?;
                ahead.at += word.len();
                // "GMT+0200", "UTC-05:00"
                match ahead.peek() {
                    Some(b'+' | b'-') if seconds == 0 => ahead.offset().unwrap_or(0),
                    _ => seconds,
                }
            }
            _ => return None,
        };
        self.at = ahead.at;
        Some(seconds)
    }

    /// `+hh:mm`, `+hhmm` or `+hh`; an extra `Z` behind it is passed over.
    fn offset(&mut self) -> Option<i32> {
        let mut ahead = self.clone();
        let sign = if ahead.eat_any(b"+-")? == b'-' { -1 } else { 1 };
        let digits = ahead.rest().iter().take(5).take_while(|c| c.is_ascii_digit()).count();
        let (h, m) = match digits {
            4 => {
                let both = ahead.number(4, 4)?;
                (both / 100, both % 100)
            }
            1 | 2 => {
                let h = ahead.number(1, 2)?;
                let colon = ahead.clone();
                let m = ahead.eat(b':').and_then(|()| ahead.number(2, 2));
                if m.is_none() {
                    ahead = colon;
                }
                (h, m.unwrap_or(0))
            }
            _ => return None,
        };
        if h > 23 || m > 59 {
            return None;
        }
        if ahead.peek() == Some(b'Z') {
            ahead.at += 1;
        }
        self.at = ahead.at;
        Some(sign * (h * 3600 + m * 60) as i32)
    }
}

/// Bytes of [`clock`]'s form.
const CLOCK_LEN: usize = "hh:mm:ss".len();

/// `hh:mm:ss` as nearly every time of day is written: its three numbers.
fn clock(text: &[u8]) -> Option<(i64, i64, i64)> {
    let &[h1, h2, b':', m1, m2, b':', s1, s2] = text.first_chunk::<CLOCK_LEN>()? else {
        return None;
    };
    let digits = [h1, h2, m1, m2, s1, s2].map(|c| c.wrapping_sub(b'0'));
    if digits.iter().any(|d| *d > 9) || text.get(CLOCK_LEN).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let [h1, h2, m1, m2, s1, s2] = digits.map(i64::from);
    Some((h1 * 10 + h2, m1 * 10 + m2, s1 * 10 + s2))
}

/// Civil date and time as ns, counted as if in UTC. `None` for dates that do not exist.
fn civil(year: i64, month: i64, day: i64, in_day_ns: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    days_from_civil(year, month, day).checked_mul(DAY_NS)?.checked_add(in_day_ns)
}

fn zoned(civil_ns: i64, zone: Option<i32>) -> Stamp {
    match zone {
        Some(_) => Stamp::Local(civil_ns).with_zone(zone.unwrap_or(0)),
        None => Stamp::Local(civil_ns),
    }
}

/// `2024-03-05T14:07:09.123+01:00` and its relatives (`/` between the parts of the date, a blank or
/// `_` before the time, `20240305T140709Z`).
fn iso(text: &[u8]) -> Option<(Stamp, usize)> {
    let mut s = Scan::new(text);
    if let Some(compact) = s.number(8, 8) {
        return compact_iso(s, compact);
    }
    if let Some((year, month, day)) = plain_date(text)
        && let Some(b'T' | b' ') = text.get(PLAIN_DATE_LEN)
        && let Some(read) = clock(&text[PLAIN_DATE_LEN + 1..])
    {
        s.at = PLAIN_DATE_LEN + 1 + CLOCK_LEN;
        let in_day = s.time_behind(read)?;
        let ns = civil(year, month, day, in_day)?;
        let zone = s.zone();
        return Some((zoned(ns, zone), s.at));
    }
    let year = s.number(4, 4)?;
    let separator = s.eat_any(b"-/:")?;
    if let Some(day_of_year) = s.number(3, 3) {
        return ordinal_iso(s, year, day_of_year);
    }
    let month = s.number(1, 2)?;
    s.eat(separator)?;
    let day = s.number(1, 2)?;
    let date_end = s.at;
    let before_time: &[u8] = if separator == b':' { b"-" } else { b"Tt _:" };
    let time = s.eat_any(before_time).and_then(|_| {
        let _ = s.spaces();
        s.time_of_day()
    });
    if time.is_none() && separator == b':' {
        return None;
    }
    let Some(in_day) = time else {
        return Some((Stamp::Local(civil(year, month, day, 0)?), date_end));
    };
    let ns = civil(year, month, day, in_day)?;
    let zone = s.zone();
    Some((zoned(ns, zone), s.at))
}

/// Bytes of [`plain_date`]'s form.
const PLAIN_DATE_LEN: usize = "yyyy-mm-dd".len();

/// `yyyy-mm-dd` as nearly every date is written: its three numbers.
fn plain_date(text: &[u8]) -> Option<(i64, i64, i64)> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.first_chunk::<PLAIN_DATE_LEN>()?
    else {
        return None;
    };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2].map(|c| c.wrapping_sub(b'0'));
    if digits.iter().any(|d| *d > 9) {
        return None;
    }
    let [y1, y2, y3, y4, m1, m2, d1, d2] = digits.map(i64::from);
    Some((y1 * 1000 + y2 * 100 + y3 * 10 + y4, m1 * 10 + m2, d1 * 10 + d2))
}

/// `2024-065T14:07:09Z`, behind the day.
fn ordinal_iso(mut s: Scan<'_>, year: i64, day_of_year: i64) -> Option<(Stamp, usize)> {
    s.eat_any(b"Tt :")?;
    let days = if days_in_month(year, 2) == 29 { 366 } else { 365 };
    if !(1..=days).contains(&day_of_year) {
        return None;
    }
    let start = civil(year, 1, 1, 0)?;
    let ns = start.checked_add((day_of_year - 1) * DAY_NS)?.checked_add(s.time_of_day()?)?;
    let zone = s.zone();
    Some((zoned(ns, zone), s.at))
}

/// `20240305140709`, alone.
fn compact_digits(text: &[u8]) -> Option<Stamp> {
    if text.len() != 14 || !matches!(text, [b'1', b'9', ..] | [b'2', b'0', ..]) {
        return None;
    }
    let mut s = Scan::new(text);
    let all = s.number(14, 14)?;
    let (date, time) = (all / 1_000_000, all % 1_000_000);
    let (h, m, sec) = (time / 10_000, time / 100 % 100, time % 100);
    if h > 23 || m > 59 || sec > 60 {
        return None;
    }
    let in_day = (h * 3600 + m * 60 + sec) * SECOND_NS;
    civil(date / 10_000, date / 100 % 100, date % 100, in_day).map(Stamp::Local)
}

/// `11:26:43,377` or `14:07:09 CET`, alone.
fn time_only(text: &[u8]) -> Option<Stamp> {
    let mut s = Scan::new(text);
    let in_day_ns = s.time_of_day()?;
    let zone = s.zone();
    s.rest().is_empty().then_some(Stamp::TimeOnly { in_day_ns, zone })
}

/// `@400000005fb3a1c22ef02e94`: seconds since 1970 TAI, plus 2^62, and nanoseconds.
/// Source: D. J. Bernstein, libtai (tai64nlocal takes off ten seconds; so does this).
fn tai64n(text: &[u8]) -> Option<(Stamp, usize)> {
    /// What daemontools' writer adds to Unix time.
    const LABEL_OFFSET_S: i64 = 10;
    let digits = text.get(1..25)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let hex = std::str::from_utf8(digits).ok()?;
    let label = u64::from_str_radix(&hex[..16], 16).ok()?;
    let fraction = i64::from_str_radix(&hex[16..], 16).ok().filter(|ns| *ns < SECOND_NS)?;
    let seconds = i64::try_from(label.checked_sub(1 << 62)?).ok()? - LABEL_OFFSET_S;
    Some((Stamp::Utc(seconds.checked_mul(SECOND_NS)?.checked_add(fraction)?), 25))
}

fn compact_iso(mut s: Scan<'_>, date: i64) -> Option<(Stamp, usize)> {
    s.eat_any(b"Tt -_")?;
    let clock = s.clone();
    if let Some(in_day) = s.time_of_day() {
        let ns = civil(date / 10_000, date / 100 % 100, date % 100, in_day)?;
        let zone = s.zone();
        return Some((zoned(ns, zone), s.at));
    }
    s = clock;
    let time = s.number(6, 6)?;
    let (h, m, sec) = (time / 10_000, time / 100 % 100, time % 100);
    if h > 23 || m > 59 || sec > 60 {
        return None;
    }
    let in_day = (h * 3600 + m * 60 + sec) * SECOND_NS + s.fraction();
    let ns = civil(date / 10_000, date / 100 % 100, date % 100, in_day)?;
    let zone = s.zone();
    Some((zoned(ns, zone), s.at))
}

/// `Mar  5 14:07:09`, `Mar 05 2024 14:07:09`, `Mar  5 2024, 14:07:09`, and what may follow: fraction,
/// year, zone, in either order.
fn rfc3164(text: &[u8]) -> Option<(Stamp, usize)> {
    if let Some(stamp) = plain_rfc3164(text) {
        return Some((stamp, PLAIN_LEN));
    }
    let mut s = Scan::new(text);
    let month = s.month()?;
    s.spaces()?;
    let day = s.number(1, 2)?;
    if day < 1 || day > days_in_month(2000, month) {
        return None;
    }
    let _ = s.eat(b',');
    s.spaces()?;
    let mut year = None;
    let before = s.clone();
    match s.number(4, 4) {
        Some(y) if plausible_year(y) => {
            year = Some(y);
            let _ = s.eat(b',');
            s.spaces()?;
        }
        _ => s = before,
    }
    let in_day_ns = s.time_of_day()?;
    let mut zone = s.zone();
    if year.is_none() {
        year = trailing_year(&mut s);
    }
    if zone.is_none() {
        zone = s.zone();
    }
    let stamp = match year {
        Some(year) => zoned(civil(year, month, day, in_day_ns)?, zone),
        None => Stamp::Yearless { month: month as u8, day: day as u8, in_day_ns, zone },
    };
    Some((stamp, s.at))
}

/// Bytes of [`plain_rfc3164`]'s form.
const PLAIN_LEN: usize = "Mmm dd hh:mm:ss".len();

/// `Mmm dd hh:mm:ss` and then nothing that could be part of the time: what nearly every header has.
fn plain_rfc3164(text: &[u8]) -> Option<Stamp> {
    let &[a, b, c, b' ', tens, ones, b' ', ..] = text else { return None };
    // What may follow: the end, a colon, or a word in small letters that is no zone and no half of a day.
    match text.get(PLAIN_LEN..) {
        Some([] | [b':', ..]) => {}
        Some([b' ', b'a' | b'p', b'm' | b'M', ..]) => return None,
        Some([b' ', b'a'..=b'y', ..]) => {}
        _ => return None,
    }
    let month = english_month(&[a, b, c])?;
    let tens = if tens == b' ' { 0 } else { tens.wrapping_sub(b'0') };
    let ones = ones.wrapping_sub(b'0');
    if tens > 3 || ones > 9 {
        return None;
    }
    let day = tens * 10 + ones;
    let (h, m, s) = clock(&text[7..])?;
    let is_real = h <= 23 && m <= 59 && s <= 60;
    if !is_real || day < 1 || i64::from(day) > days_in_month(2000, month) {
        return None;
    }
    let in_day_ns = (h * 3600 + m * 60 + s) * SECOND_NS;
    Some(Stamp::Yearless { month: month as u8, day, in_day_ns, zone: None })
}

/// A year behind the time of day: ` 2024` and then a blank, a colon or the end.
fn trailing_year(s: &mut Scan<'_>) -> Option<i64> {
    let mut ahead = s.clone();
    ahead.spaces()?;
    let year = ahead.number(4, 4).filter(|y| plausible_year(*y))?;
    // "2001:db8::1" behind the time is a host.
    if !matches!(ahead.rest(), [] | [b' ' | b']', ..] | [b':'] | [b':', b' ', ..]) {
        return None;
    }
    s.at = ahead.at;
    Some(year)
}

/// Four digits that stand where a year may stand are one only in the age of logging.
fn plausible_year(year: i64) -> bool {
    (1970..=2199).contains(&year)
}

/// `2023 Jan 11 19:00:56 CET`, `2024-Mar-05 14:07:09`.
fn year_first(text: &[u8]) -> Option<(Stamp, usize)> {
    let mut s = Scan::new(text);
    let year = s.number(4, 4)?;
    s.eat_any(b" -/")?;
    let month = s.month()?;
    s.eat_any(b" -/")?;
    let _ = s.spaces();
    let day = s.number(1, 2)?;
    s.eat_any(b" T:")?;
    let ns = civil(year, month, day, s.time_of_day()?)?;
    let zone = s.zone();
    Some((zoned(ns, zone), s.at))
}

/// `05/Mar/2024:14:07:09 +0000`, `05-Mar-2024 14:07:09.123`.
fn apache(text: &[u8]) -> Option<(Stamp, usize)> {
    let mut s = Scan::new(text);
    let day = s.number(1, 2)?;
    let separator = s.eat_any(b"/-")?;
    let month = s.month()?;
    s.eat(separator)?;
    let year = s.number(4, 4)?;
    s.eat_any(b": ")?;
    let ns = civil(year, month, day, s.time_of_day()?)?;
    let zone = s.zone();
    Some((zoned(ns, zone), s.at))
}

/// `5 Mar 2024 14:07:09 UTC`, `05 Mar 14:07:09`.
fn day_first(text: &[u8]) -> Option<(Stamp, usize)> {
    let mut s = Scan::new(text);
    let day = s.number(1, 2)?;
    s.spaces()?;
    let month = s.month()?;
    if day < 1 || day > days_in_month(2000, month) {
        return None;
    }
    let _ = s.eat(b',');
    s.spaces()?;
    let mut with_year = s.clone();
    let year = with_year.number(4, 4).filter(|y| plausible_year(*y));
    if year.is_some() {
        let _ = with_year.eat(b',');
        with_year.spaces()?;
        s = with_year;
    }
    let in_day_ns = s.time_of_day()?;
    let zone = s.zone();
    let stamp = match year {
        Some(year) => zoned(civil(year, month, day, in_day_ns)?, zone),
        None => Stamp::Yearless { month: month as u8, day: day as u8, in_day_ns, zone },
    };
    Some((stamp, s.at))
}

/// `3/5/2024 14:07:09`, `03/05/2024, 2:07:09 PM`, `21.12.2012 10:00:00`. Dots mean day first;
/// elsewhere the month is first unless the first number cannot be one.
fn numeric_date(text: &[u8]) -> Option<(Stamp, usize)> {
    let mut s = Scan::new(text);
    let first = s.number(1, 2)?;
    let separator = s.eat_any(b"/.-")?;
    let second = s.number(1, 2)?;
    s.eat(separator)?;
    let year = s.number(4, 4).filter(|y| plausible_year(*y))?;
    let (month, day) = match separator {
        b'.' => (second, first),
        _ if first > 12 => (second, first),
        _ => (first, second),
    };
    let date_end = s.at;
    let _ = s.eat(b',');
    let before_time: &[u8] = if separator == b'/' { b" T:-" } else { b" T:" };
    let time = s.eat_any(before_time).and_then(|_| {
        let _ = s.spaces();
        s.time_of_day()
    });
    let Some(in_day) = time else {
        return Some((Stamp::Local(civil(year, month, day, 0)?), date_end));
    };
    let ns = civil(year, month, day, in_day)?;
    let zone = s.zone();
    Some((zoned(ns, zone), s.at))
}

/// `3/5/24 14:07:09`: month, day and the last two digits of the year, from 1970 to 2069. Only for logs that
/// are known to write so: elsewhere the same digits mean another day.
pub fn month_day_short_year(text: &[u8]) -> Option<Stamp> {
    let mut s = Scan::new(text.trim_ascii());
    let month = s.number(1, 2)?;
    s.eat(b'/')?;
    let day = s.number(1, 2)?;
    s.eat(b'/')?;
    let year = s.number(2, 2)?;
    s.spaces()?;
    let in_day_ns = s.time_of_day()?;
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    let is_all = s.rest().is_empty();
    civil(year, month, day, in_day_ns).filter(|_| is_all).map(Stamp::Local)
}

/// `03/05-14:07:09.123456`: month and day without a year (Snort).
fn month_day(text: &[u8]) -> Option<(Stamp, usize)> {
    let mut s = Scan::new(text);
    let month = s.number(2, 2).filter(|m| (1..=12).contains(m))?;
    s.eat(b'/')?;
    let day = s.number(2, 2).filter(|d| (1..=days_in_month(2000, month)).contains(d))?;
    s.eat(b'-')?;
    let in_day_ns = s.time_of_day()?;
    let stamp = Stamp::Yearless { month: month as u8, day: day as u8, in_day_ns, zone: None };
    Some((stamp, s.at))
}

/// `Tue Mar  5 14:07:09 UTC 2024`, `Tue, 05 Mar 2024 14:07:09 GMT`, `Tuesday ...`.
fn weekday_first(text: &[u8]) -> Option<(Stamp, usize)> {
    const DAYS: [&[u8]; 7] =
        [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];
    let mut s = Scan::new(text);
    let word = s.word();
    let known = word.len() >= 3
        && DAYS.iter().any(|d| word.len() <= d.len() && d[..word.len()].eq_ignore_ascii_case(word));
    if !known {
        return None;
    }
    s.at += word.len();
    let _ = s.eat(b',');
    s.spaces()?;
    let (stamp, len) = match s.peek()? {
        b'0'..=b'9' => day_first(s.rest()).or_else(|| iso(s.rest())),
        _ => rfc3164(s.rest()),
    }?;
    Some((stamp, s.at + len))
}

/// Digits of a hundred million.
const EPOCH_DIGITS_MIN: usize = 9;

/// Seconds, milli-, micro- or nanoseconds since 1970 by magnitude; a fraction only behind the first
/// two. Smaller than a hundred million (1973) is not taken for a time.
fn epoch(text: &[u8]) -> Option<Stamp> {
    if !text.get(..EPOCH_DIGITS_MIN)?.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (whole, fraction) = match text.iter().position(|c| *c == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    if whole.len() > 19 || text.last() == Some(&b'.') {
        return None;
    }
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let number =
        whole.iter().try_fold(0i64, |v, c| v.checked_mul(10)?.checked_add(i64::from(c - b'0')))?;
    if whole.len() == 18 && fraction.is_empty() {
        // Nanoseconds of 18 digits end in 2001; Windows counts 100 ns from 1601.
        const FILETIME_EPOCH: i64 = 116_444_736_000_000_000;
        return number.checked_sub(FILETIME_EPOCH)?.checked_mul(100).map(Stamp::Utc);
    }
    let unit_ns = match number {
        100_000_000..100_000_000_000 => SECOND_NS,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        100_000_000_000_000_000.. => 1,
        _ => return None,
    };
    let mut part_ns = 0;
    let mut scale = unit_ns;
    for digit in fraction {
        scale /= 10;
        part_ns += i64::from(digit - b'0') * scale;
    }
    Some(Stamp::Utc(number.checked_mul(unit_ns)?.checked_add(part_ns)?))
}

/// `/Date(1709647629123)/` and `/Date(1709647629123+0100)/`, milliseconds in UTC.
fn windows_date(text: &[u8]) -> Option<Stamp> {
    let inner = text.strip_prefix(b"/Date(")?.strip_suffix(b")/")?;
    let (sign, digits) = match inner.strip_prefix(b"-") {
        Some(rest) => (-1, rest),
        None => (1, inner),
    };
    let n = digits.iter().take_while(|c| c.is_ascii_digit()).count();
    if n == 0 || n > 15 || !matches!(digits.get(n), None | Some(b'+' | b'-')) {
        return None;
    }
    let ms = digits[..n].iter().fold(0i64, |v, c| v * 10 + i64::from(c - b'0'));
    (sign * ms).checked_mul(1_000_000).map(Stamp::Utc)
}

/// Seconds east of UTC of the zone abbreviations that logs carry. Where one abbreviation is used on
/// two continents (CST, IST) the more common log source wins: US Central, India.
pub fn named_zone(word: &[u8]) -> Option<i32> {
    const ZONES: &[(&str, i32)] = &[
        ("UTC", 0),
        ("GMT", 0),
        ("Z", 0),
        ("UT", 0),
        ("WET", 0),
        ("WEST", 3600),
        ("BST", 3600),
        ("CET", 3600),
        ("MET", 3600),
        ("CEST", 7200),
        ("MEST", 7200),
        ("MESZ", 7200),
        ("MEZ", 3600),
        ("EET", 7200),
        ("EEST", 10_800),
        ("SAST", 7200),
        ("MSK", 10_800),
        ("TRT", 10_800),
        ("IST", 19_800),
        ("PKT", 18_000),
        ("SGT", 28_800),
        ("HKT", 28_800),
        ("AWST", 28_800),
        ("JST", 32_400),
        ("KST", 32_400),
        ("ACST", 34_200),
        ("ACDT", 37_800),
        ("AEST", 36_000),
        ("AEDT", 39_600),
        ("NZST", 43_200),
        ("NZDT", 46_800),
        ("BRT", -10_800),
        ("ART", -10_800),
        ("NST", -12_600),
        ("NDT", -9_000),
        ("AST", -14_400),
        ("ADT", -10_800),
        ("EST", -18_000),
        ("ET", -18_000),
        ("CT", -21_600),
        ("MT", -25_200),
        ("PT", -28_800),
        ("EDT", -14_400),
        ("CST", -21_600),
        ("CDT", -18_000),
        ("MST", -25_200),
        ("MDT", -21_600),
        ("PST", -28_800),
        ("PDT", -25_200),
        ("AKST", -32_400),
        ("AKDT", -28_800),
        ("HST", -36_000),
    ];
    // Nearly always it is the name of a host that stands here.
    if word.len() > 4 || !word.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    ZONES.iter().find(|(name, _)| name.as_bytes() == word).map(|(_, seconds)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_month_begins_with_a_letter_that_months_begin_with() {
        let initials = MONTHS.iter().flat_map(|names| names.iter()).map(|name| name.as_bytes()[0]);
        assert!(initials.into_iter().all(|initial| MONTH_INITIALS.contains(&initial)));
    }

    #[test]
    fn short_years_are_read_only_where_they_are_said_to_be() {
        let of = |text: &str| month_day_short_year(text.as_bytes());
        assert_eq!(of("11/23/26 7:55:20").ok_or(()), parse(b"2026-11-23T07:55:20").map_err(|_| ()));
        assert_eq!(of("3/5/98 17:00:00").ok_or(()), parse(b"1998-03-05T17:00:00").map_err(|_| ()));
        for text in [
            "23/11/26 7:55:20",
            "11/23/2026 7:55:20",
            "11/23/26",
            "2/30/26 1:00:00",
            "1/2/26 1:00:00 x",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(parse(b"11/23/26 7:55:20").is_err());
    }
    use event::time::{parse_rfc3339, rfc3339};

    fn ns(text: &str) -> i64 {
        parse_rfc3339(text).unwrap()
    }

    #[test]
    fn every_spelling_gives_its_time() {
        let noon = ns("2024-03-05T14:07:09Z");
        let milli = ns("2024-03-05T14:07:09.123Z");
        for (text, want) in [
            ("2024-03-05T14:07:09Z", Stamp::Utc(noon)),
            ("2024-03-05T15:07:09+01:00", Stamp::Utc(noon)),
            ("2024-03-05 15:07:09,123 +0100", Stamp::Utc(milli)),
            ("2024-03-05T14:07:09.123+00:00Z", Stamp::Utc(milli)),
            ("2024-03-05 15:07:09 CET", Stamp::Utc(noon)),
            ("2024-03-05 14:07:09", Stamp::Local(noon)),
            ("2024/03/05 14:07:09", Stamp::Local(noon)),
            ("2024:03:05-14:07:09", Stamp::Local(noon)),
            ("20240305T140709Z", Stamp::Utc(noon)),
            ("Mar  5 2024 14:07:09", Stamp::Local(noon)),
            ("Mar 05 2024 14:07:09 UTC", Stamp::Utc(noon)),
            ("Mar  5 14:07:09 2024", Stamp::Local(noon)),
            ("Mar  5 14:07:09.123 UTC 2024", Stamp::Utc(milli)),
            ("Mar  5 2024, 14:07:09", Stamp::Local(noon)),
            ("2024 Mar 05 15:07:09 CET", Stamp::Utc(noon)),
            ("05/Mar/2024:14:07:09 +0000", Stamp::Utc(noon)),
            ("[05/Mar/2024:09:07:09 -0500]", Stamp::Utc(noon)),
            ("Tue Mar  5 14:07:09 UTC 2024", Stamp::Utc(noon)),
            ("Tue, 05 Mar 2024 14:07:09 GMT", Stamp::Utc(noon)),
            ("3/5/2024 2:07:09 PM", Stamp::Local(noon)),
            ("05.03.2024 14:07:09", Stamp::Local(noon)),
            ("03/05/2024-14:07:09.123", Stamp::Local(milli)),
            ("21/12/2012 00:00:00", Stamp::Local(ns("2012-12-21"))),
            ("1709647629", Stamp::Utc(noon)),
            ("1709647629123", Stamp::Utc(milli)),
            ("1709647629.123", Stamp::Utc(milli)),
            ("1709647629123000", Stamp::Utc(milli)),
            ("1709647629123000000", Stamp::Utc(milli)),
            ("/Date(1709647629123)/", Stamp::Utc(milli)),
            ("20240305140709", Stamp::Local(noon)),
            ("20240305 14:07:09", Stamp::Local(noon)),
            ("240305 14:07:09", Stamp::Local(noon)),
            ("991231  7:00:00", Stamp::Local(ns("1999-12-31T07:00:00Z"))),
            ("2024-065T14:07:09Z", Stamp::Utc(noon)),
            ("133541212291230000", Stamp::Utc(milli)),
            ("@4000000065e727170754d4c0", Stamp::Utc(milli)),
            ("mars 5 2024 14:07:09", Stamp::Local(noon)),
            ("5 mars 2024 14:07:09", Stamp::Local(noon)),
            ("Mär 5 2024 14:07:09", Stamp::Local(noon)),
            ("03/05/2024:14:07:09 GMT", Stamp::Utc(noon)),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_says_where_it_stops() {
        for (text, at) in [
            ("2024-03-05T14:07:09Z or so", 20),
            ("2024-02-30T14:07:09Z", 0),
            ("  soon", 2),
            ("Mar 32 14:07:09", 0),
            ("12345", 0),
        ] {
            assert_eq!(parse(text.as_bytes()).map_err(|e| e.at()), Err(at), "{text}");
        }
        assert!(parse(b"19:60:00").is_err() && parse(b"2023-366T00:00:00").is_err());
        assert!(matches!(parse(b"  "), Err(ParseError::Empty { .. })));
        assert!(matches!(parse(&[b'1'; 100]), Err(ParseError::TooLong { .. })));
    }

    #[test]
    fn a_missing_year_comes_from_the_receipt() {
        let resolve = |text: &str, received: &str| {
            let stamp = parse(text.as_bytes()).unwrap();
            rfc3339(stamp.resolve(ns(received), 0).ns)
        };
        assert_eq!(resolve("Mar  5 14:07:09", "2024-03-05T14:07:10Z"), "2024-03-05T14:07:09Z");
        assert_eq!(resolve("Dec 31 23:59:59", "2025-01-01T00:00:01Z"), "2024-12-31T23:59:59Z");
        assert_eq!(resolve("Jan  1 00:30:00", "2024-12-31T23:59:00Z"), "2025-01-01T00:30:00Z");
        assert_eq!(resolve("Jan  3 00:30:00", "2024-12-31T23:59:00Z"), "2024-01-03T00:30:00Z");
        assert_eq!(resolve("Feb 29 12:00:00", "2027-01-01T00:00:00Z"), "2024-02-29T12:00:00Z");
        assert_eq!(resolve("Mar  5 14:07:09 CET", "2024-03-05T14:00:00Z"), "2024-03-05T13:07:09Z");
        assert_eq!(resolve("août 19 11:08:37", "2024-08-20T00:00:00Z"), "2024-08-19T11:08:37Z");
        assert_eq!(resolve("14:07:09", "2024-03-05T14:07:10Z"), "2024-03-05T14:07:09Z");
        assert_eq!(resolve("23:59:59,5", "2024-03-05T00:00:01Z"), "2024-03-04T23:59:59.500Z");
        assert_eq!(resolve("00:00:01", "2024-03-05T23:59:59Z"), "2024-03-06T00:00:01Z");
    }

    #[test]
    fn a_missing_zone_comes_from_the_setting_and_wrong_clocks_are_told() {
        let received = ns("2024-03-05T14:07:10Z");
        let local = parse(b"2024-03-05 15:07:09").unwrap();
        assert_eq!(rfc3339(local.resolve(received, 3600).ns), "2024-03-05T14:07:09Z");
        assert_eq!(local.resolve(received, 0).plausibility, Plausibility::Ahead);
        assert_eq!(local.resolve(received, 3600).plausibility, Plausibility::Plausible);
        let unset = parse(b"1970-01-01T00:00:00Z").unwrap();
        assert_eq!(unset.resolve(received, 0).plausibility, Plausibility::Ancient);
    }
}
