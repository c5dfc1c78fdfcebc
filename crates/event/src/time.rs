//! Time as numbers: nanoseconds since 1970-01-01 UTC, and their RFC 3339 text.

/// Nanoseconds in a second.
pub const SECOND_NS: i64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLI_NS: i64 = 1_000_000;

/// Formats `ns` as `2026-11-24T02:14:00.123456789Z`, with as few fraction digits (0, 3, 6 or 9) as
/// keep the value exact.
pub fn rfc3339(ns: i64) -> String {
    let seconds = ns.div_euclid(SECOND_NS);
    let fraction = ns.rem_euclid(SECOND_NS);
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let in_day = seconds.rem_euclid(86_400);
    let (h, m, s) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    let head = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
    match fraction {
        0 => format!("{head}Z"),
        f if f % 1_000_000 == 0 => format!("{head}.{:03}Z", f / 1_000_000),
        f if f % 1_000 == 0 => format!("{head}.{:06}Z", f / 1_000),
        f => format!("{head}.{f:09}Z"),
    }
}

/// Reads an RFC 3339 or ISO 8601 date-time (`T` or space, optional fraction after `.` or `,`,
/// `Z`, `+02:00`, `+0200` or no zone = UTC; a date alone is its midnight). `None` if it is not one.
/// For times in records; see [`parse_written`] for those that people write.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = b.get(from..to)?;
        part.iter().try_fold(0i64, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
    };
    if b.len() < 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let midnight = days_from_civil(year, month, day).checked_mul(86_400)?;
    if b.len() == 10 {
        return midnight.checked_mul(SECOND_NS);
    }
    if b.len() < 19 || !matches!(b[10], b'T' | b't' | b' ') || b[13] != b':' || b[16] != b':' {
        return None;
    }
    let (h, m, s) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if h > 23 || m > 59 || s > 60 {
        return None;
    }
    let mut at = 19;
    let mut fraction = 0i64;
    if matches!(b.get(at), Some(b'.' | b',')) {
        at += 1;
        let from = at;
        let mut scale = SECOND_NS;
        while let Some(c) = b.get(at).filter(|c| c.is_ascii_digit()) {
            scale /= 10;
            fraction += i64::from(c - b'0') * scale;
            at += 1;
        }
        if at == from {
            return None;
        }
    }
    let offset = zone_offset_seconds(&b[at..])?;
    let seconds = midnight + h * 3600 + m * 60 + s - offset;
    seconds.checked_mul(SECOND_NS)?.checked_add(fraction)
}

/// Reads a time as people write it into searches and settings: what [`parse_rfc3339`] reads, and the
/// same without seconds (`2026-11-24T02:14Z`).
pub fn parse_written(text: &str) -> Option<i64> {
    const MINUTE_BYTES: usize = "2026-11-24T02:14".len();
    let no_seconds = || {
        let (minute, zone) = text.split_at_checked(MINUTE_BYTES)?;
        (!zone.starts_with(':')).then(|| parse_rfc3339(&format!("{minute}:00{zone}")))?
    };
    parse_rfc3339(text).or_else(no_seconds)
}

/// Seconds east of UTC for `Z`, nothing, `+hh:mm`, `+hhmm` or `+hh`.
fn zone_offset_seconds(zone: &[u8]) -> Option<i64> {
    let digit = |c: u8| c.is_ascii_digit().then(|| i64::from(c - b'0'));
    match zone {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let digits: Vec<i64> =
                rest.iter().filter(|c| **c != b':').map(|c| digit(*c)).collect::<Option<_>>()?;
            let (h, m) = match digits[..] {
                [a, b] => (a * 10 + b, 0),
                [a, b, c, d] => (a * 10 + b, c * 10 + d),
                _ => return None,
            };
            if h > 15 || m > 59 {
                return None;
            }
            Some((h * 3600 + m * 60) * if *sign == b'-' { -1 } else { 1 })
        }
        _ => None,
    }
}

/// So many eras of 400 years are added before dividing: numbers without a sign are divided in half the
/// steps. Every time that fits 64 bits of ns lies within.
const ERAS: i64 = 10_000;

/// Days since 1970-01-01 of a proleptic Gregorian date (Hinnant's algorithm).
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let shifted = (y + ERAS * 400) as u64;
    let (era, yoe) = ((shifted / 400) as i64 - ERAS, (shifted % 400) as i64);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// The (year, month, day) of a day number since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// Number of days in a month (1..=12) of the Gregorian calendar.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_leave_seconds_out() {
        let whole = parse_rfc3339("2026-11-24T02:14:00Z");
        for text in ["2026-11-24T02:14Z", "2026-11-24 02:14", "2026-11-24T04:14+02:00"] {
            assert_eq!(parse_written(text), whole, "{text}");
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        for wrong in
            ["2026-11-24T02:1", "2026-11-24T02:14:", "2026-11-24T02:14:0", "2026-11-24T24:00Z", "é"]
        {
            assert_eq!(parse_written(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn text_and_numbers_agree() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-24T02:14:00.5+02:00", 1_795_479_240_500_000_000),
            ("2000-02-29", 951_782_400_000_000_000),
            ("1969-12-31 23:59:59,999Z", -1_000_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(ns), "{text}");
        }
        assert_eq!(rfc3339(-1_000_000), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(1_795_479_240_500_000_000), "2026-11-24T00:14:00.500Z");
        assert_eq!(rfc3339(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for wrong in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-01-01T25:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+99:00",
            "2026-01-01T00:00:00 CET",
            "9999999-01-01",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        for day in days_from_civil(1900, 1, 1)..days_from_civil(2300, 1, 1) {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }
}
