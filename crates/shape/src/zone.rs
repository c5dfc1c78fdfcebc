//! The clock of a sender that writes times without a zone.

use event::time::SECOND_NS;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use parse::timestamp::{Resolved, Stamp};

/// A fixed distance from UTC, or a place whose clocks are changed twice a year.
///
/// Places come from the table that the binary brings along (IANA, tzdb), not from the machine's: the
/// same journal has to give the same times everywhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// `Europe/Berlin`.
    Place(TimeZone),
}

impl Default for Zone {
    fn default() -> Self {
        Zone::Fixed(0)
    }
}

impl Zone {
    /// Reads `+02:00`, `UTC` or a place of the IANA database such as `Europe/Berlin`.
    pub fn parse(text: &str) -> Option<Self> {
        if matches!(text, "UTC" | "utc" | "Z") {
            return Some(Zone::Fixed(0));
        }
        if text.starts_with(['+', '-']) {
            let probe = event::time::parse_rfc3339(&format!("1970-01-01T00:00:00{text}"))?;
            return Some(Zone::Fixed((-probe / SECOND_NS) as i32));
        }
        TimeZoneDatabase::bundled().get(text).ok().map(Zone::Place)
    }

    /// Fills in what a stamp lacks; see [`Stamp::resolve`]. `received_ns` is UTC.
    pub(crate) fn resolve(&self, stamp: Stamp, received_ns: i64) -> Resolved {
        let place = match self {
            Zone::Fixed(seconds) => return stamp.resolve(received_ns, *seconds),
            Zone::Place(place) => place,
        };
        // The year and the day depend on the zone by a few hours only: today's clock tells them, then
        // that day's clock tells the time.
        let now = offset_at(place, received_ns);
        let guess = stamp.resolve(received_ns, now);
        let civil_ns = guess.ns.saturating_add(i64::from(now) * SECOND_NS);
        match offset_of(place, civil_ns, received_ns) {
            Some(then) if then != now => stamp.resolve(received_ns, then),
            _ => guess,
        }
    }
}

/// Seconds east of UTC at a moment.
fn offset_at(place: &TimeZone, ns: i64) -> i32 {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(ns));
    moment.map_or(0, |moment| place.to_offset(moment).seconds())
}

/// Seconds east of UTC when the clocks there show `civil_ns`.
///
/// An hour that comes twice, in autumn, is the later one unless that is still to come; an hour that
/// does not exist, in spring, is read by the clock that had not been changed.
fn offset_of(place: &TimeZone, civil_ns: i64, received_ns: i64) -> Option<i32> {
    let moment = jiff::Timestamp::from_nanosecond(i128::from(civil_ns)).ok()?;
    let shown: DateTime = Offset::UTC.to_datetime(moment);
    let seconds = match place.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
        AmbiguousOffset::Gap { before, .. } => before.seconds(),
        AmbiguousOffset::Fold { before, after } => {
            let later_ns = civil_ns.saturating_sub(i64::from(after.seconds()) * SECOND_NS);
            let is_to_come = later_ns > received_ns.saturating_add(AHEAD_NS);
            if is_to_come { before.seconds() } else { after.seconds() }
        }
    };
    Some(seconds)
}

/// How far a sender's clock may be ahead of ours before an hour counts as still to come.
const AHEAD_NS: i64 = 60 * SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;
    use event::time::{parse_rfc3339, rfc3339};

    fn read(zone: &str, text: &str, received: &str) -> String {
        let zone = Zone::parse(zone).unwrap();
        let (stamp, _) = parse::timestamp::leading(text.as_bytes()).unwrap();
        rfc3339(zone.resolve(stamp, parse_rfc3339(received).unwrap()).ns)
    }

    #[test]
    fn a_place_knows_when_its_clocks_were_changed() {
        let berlin = |text, received| read("Europe/Berlin", text, received);
        let summer = "2024-07-05T12:07:10Z";
        assert_eq!(berlin("2024-07-05 14:07:09", summer), "2024-07-05T12:07:09Z");
        assert_eq!(berlin("2024-01-05 14:07:09", summer), "2024-01-05T13:07:09Z");
        assert_eq!(berlin("Jul  5 14:07:09", summer), "2024-07-05T12:07:09Z");
        assert_eq!(berlin("Jan  5 14:07:09", summer), "2024-01-05T13:07:09Z");
        assert_eq!(berlin("2024-07-05T14:07:09Z", summer), "2024-07-05T14:07:09Z");
        let york = read("America/New_York", "2024-07-05 08:07:09", summer);
        assert_eq!(york, "2024-07-05T12:07:09Z");
    }

    #[test]
    fn the_hours_at_which_clocks_are_changed() {
        let berlin = |text, received| read("Europe/Berlin", text, received);
        // 02:30 comes twice on 27 October 2024.
        assert_eq!(
            berlin("2024-10-27 02:30:00", "2024-10-27T00:30:01Z"),
            "2024-10-27T00:30:00Z",
            "the second one is still to come"
        );
        assert_eq!(berlin("2024-10-27 02:30:00", "2024-10-27T01:30:01Z"), "2024-10-27T01:30:00Z");
        // It does not exist on 31 March.
        assert_eq!(berlin("2024-03-31 02:30:00", "2024-03-31T01:30:01Z"), "2024-03-31T01:30:00Z");
    }

    #[test]
    fn zones_are_read() {
        assert_eq!(Zone::parse("+02:00"), Some(Zone::Fixed(7200)));
        assert_eq!(Zone::parse("UTC"), Some(Zone::Fixed(0)));
        assert!(matches!(Zone::parse("Asia/Tokyo"), Some(Zone::Place(_))));
        for wrong in ["", "Berlin", "+2", "Europe/Nowhere", "02:00"] {
            assert_eq!(Zone::parse(wrong), None, "{wrong}");
        }
    }
}
