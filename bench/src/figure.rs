//! Output: figures as JSON lines on standard output, progress on standard error.

use serde_json::{Value, json};

/// Where a bench puts its figures, and how much of the full work it was asked to do.
pub(crate) struct Report {
    bench: &'static str,
    scale: f64,
}

impl Report {
    /// For one run of a bench; `scale` is the part of the full work, 0..=1.
    pub(crate) fn of(bench: &'static str, scale: f64) -> Self {
        Self { bench, scale }
    }

    /// `full` scaled down as asked for, at least 1.
    pub(crate) fn scaled(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(1)
    }

    /// One figure of Alcedo.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str) {
        say(&line(self.bench, name, value, unit, None).to_string());
    }

    /// One figure beside that of another program, taken on the same machine.
    pub(crate) fn versus(&mut self, name: &str, value: f64, unit: &str, peer: &str, theirs: f64) {
        say(&line(self.bench, name, value, unit, Some((peer, theirs))).to_string());
    }
}

fn line(bench: &str, name: &str, value: f64, unit: &str, peer: Option<(&str, f64)>) -> Value {
    let mut line = json!({"bench": bench, "name": name, "value": rounded(value), "unit": unit});
    if let Some((peer, value)) = peer {
        line["peer"] = peer.into();
        line["peer_value"] = rounded(value).into();
    }
    line
}

/// Four significant digits: more would claim a precision that no run has.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    if digits <= 0 {
        return value.round();
    }
    let scale = 10f64.powi(digits.min(12));
    (value * scale).round() / scale
}

/// Prints a line of data.
#[expect(clippy::print_stdout, reason = "figures go to standard output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Tells the person at the terminal what is going on.
#[expect(clippy::print_stderr, reason = "standard output has figures only")]
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_peers_stand_beside_them() {
        assert_eq!(rounded(0.123_456), 0.1235);
        assert_eq!(rounded(123_456.7), 123_457.0);
        assert_eq!(rounded(f64::NAN), 0.0);
        let one = line("intake", "rate", 1.5, "events/s", Some(("rsyslog", 2.0)));
        assert_eq!(one["peer_value"], 2.0);
        assert!(line("intake", "rate", 1.5, "events/s", None).get("peer").is_none());
    }

    #[test]
    fn scaled_work_never_vanishes() {
        assert_eq!(Report::of("x", 0.01).scaled(2_000), 20);
        assert_eq!(Report::of("x", 0.001).scaled(10), 1);
    }
}
