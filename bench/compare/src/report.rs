//! Output: figures as JSON lines on standard output, progress on standard error.

use serde_json::{Value, json};

/// One figure.
pub(crate) fn figure(name: &str, value: f64, unit: &str, more: &[(&str, Value)]) {
    let mut line = json!({"bench": "detect", "name": name, "value": rounded(value), "unit": unit});
    for (key, value) in more {
        line[*key] = value.clone();
    }
    say(&line.to_string());
}

/// Four significant digits: more would claim a precision that no run has.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// Prints a line of data.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Tells the person at the terminal what is going on.
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}
