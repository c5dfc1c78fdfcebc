//! Times as text, without memory of their own: every row has several.

use event::time::{SECOND_NS, civil_from_days};

/// Most bytes of a time: RFC 3339 with nine fraction digits.
const BYTES_MAX: usize = 32;

/// A time as text.
pub(crate) struct Stamp {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl std::ops::Deref for Stamp {
    type Target = str;
    fn deref(&self) -> &str {
        // Nothing but ASCII is ever put.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Stamp {
    fn put(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    /// `width` digits of a number that has no more.
    fn digits(&mut self, mut number: u64, width: usize) {
        for place in (self.len..self.len + width).rev() {
            self.bytes[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.len += width;
    }

    fn clock(&mut self, in_day: i64) {
        self.digits((in_day / 3_600).unsigned_abs(), 2);
        self.put(b":");
        self.digits((in_day / 60 % 60).unsigned_abs(), 2);
        self.put(b":");
        self.digits((in_day % 60).unsigned_abs(), 2);
    }

    /// RFC 3339 with so many fraction digits (at most 9), the rest cut off.
    pub(crate) fn rfc(ns: i64, digits: usize) -> Self {
        let mut out = Self { bytes: [0; BYTES_MAX], len: 0 };
        let seconds = ns.div_euclid(SECOND_NS);
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        out.digits(year.unsigned_abs(), 4);
        out.put(b"-");
        out.digits(month.unsigned_abs(), 2);
        out.put(b"-");
        out.digits(day.unsigned_abs(), 2);
        out.put(b"T");
        out.clock(seconds.rem_euclid(86_400));
        if digits > 0 {
            out.put(b".");
            out.digits(ns.rem_euclid(SECOND_NS).unsigned_abs(), 9);
            out.len -= 9 - digits.min(9);
        }
        out.put(b"Z");
        out
    }

    /// As [`event::time::rfc3339`] writes it.
    pub(crate) fn exact(ns: i64) -> Self {
        Self::rfc(
            ns,
            match ns.rem_euclid(SECOND_NS) {
                0 => 0,
                f if f % 1_000_000 == 0 => 3,
                f if f % 1_000 == 0 => 6,
                _ => 9,
            },
        )
    }

    /// As BSD syslog writes it: `Nov  4 02:00:00`.
    pub(crate) fn bsd(ns: i64) -> Self {
        const MONTHS: [&[u8; 3]; 12] = [
            b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
            b"Dec",
        ];
        let mut out = Self { bytes: [0; BYTES_MAX], len: 0 };
        let seconds = ns.div_euclid(SECOND_NS);
        let (_, month, day) = civil_from_days(seconds.div_euclid(86_400));
        out.put(MONTHS[(month - 1).clamp(0, 11).unsigned_abs() as usize]);
        out.put(b" ");
        match day {
            ..10 => out.put(b" "),
            _ => out.digits((day / 10).unsigned_abs(), 1),
        }
        out.digits((day % 10).unsigned_abs(), 1);
        out.put(b" ");
        out.clock(seconds.rem_euclid(86_400));
        out
    }
}

/// A number as text.
pub(crate) fn of_long(number: i64) -> Stamp {
    let mut out = Stamp { bytes: [0; BYTES_MAX], len: 0 };
    if number < 0 {
        out.put(b"-");
    }
    let value = number.unsigned_abs();
    out.digits(value, value.checked_ilog10().unwrap_or(0) as usize + 1);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_and_numbers_are_written_as_elsewhere(ns: i64, unit in 0u32..10) {
            let ns = ns / 10i64.pow(unit) * 10i64.pow(unit);
            prop_assert_eq!(&*Stamp::exact(ns), event::time::rfc3339(ns));
            prop_assert_eq!(&*of_long(ns), ns.to_string());
        }
    }

    #[test]
    fn the_ends_and_both_kinds_of_days() {
        for ns in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(
                (&*Stamp::exact(ns), &*of_long(ns)),
                (&*event::time::rfc3339(ns), &*ns.to_string())
            );
        }
        let at = event::time::parse_rfc3339("2026-11-04T02:03:04.5Z").unwrap();
        assert_eq!(&*Stamp::bsd(at), "Nov  4 02:03:04");
        assert_eq!(&*Stamp::bsd(at + 20 * 86_400 * SECOND_NS), "Nov 24 02:03:04");
        assert_eq!(&*Stamp::rfc(at, 2), "2026-11-04T02:03:04.50Z");
    }
}
