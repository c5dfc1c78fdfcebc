//! Values from tests: one text that satisfies all tests of a field, or several values.

use filter::{CompareOp, Number, Operand, Test, TextOp, TimePart};
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value as Json;

/// Ways in which a text can be spoilt.
pub(super) const WAYS: usize = 4;
/// Deepest expression that is walked.
const DEPTH_MAX: usize = 64;

/// What the tests of one field ask for.
#[derive(Default)]
pub(super) struct Pieces {
    start: String,
    middle: Vec<String>,
    end: String,
    exact: Vec<String>,
}

impl Pieces {
    /// The value has to be this.
    pub(super) fn exact(&mut self, text: &str) {
        self.exact.push(text.to_owned());
    }

    /// Adds a test that has to hold, or with `spoilt` just not. `None`: no value is known for it.
    pub(super) fn add(&mut self, test: &Test, spoilt: Option<usize>) -> Option<()> {
        let text = |t: &str| match spoilt {
            Some(way) => wrong(t, way),
            None => t.to_owned(),
        };
        match test {
            Test::Text { op, pattern, .. } => match op {
                TextOp::Equals => self.exact.push(text(pattern)),
                TextOp::Prefix => keep_longer(&mut self.start, text(pattern)),
                TextOp::Suffix => keep_longer(&mut self.end, text(pattern)),
                TextOp::Contains => self.middle.push(text(pattern)),
            },
            Test::Regex { regex, .. } => {
                let (found, is_anywhere) = sample(regex.as_str())?;
                match is_anywhere {
                    true => self.middle.push(text(&found)),
                    false => self.exact.push(text(&found)),
                }
            }
            Test::Cidr(net) => {
                let host = net.hosts().next().unwrap_or(net.addr());
                self.exact.push(match spoilt {
                    Some(_) => outside(net),
                    None => host.to_string(),
                });
            }
            Test::Compare { op, operand } => {
                self.exact.push(number(*op, operand, spoilt.is_some())?);
            }
            Test::Exists => self.middle.push(String::new()),
            Test::Null | Test::Field { .. } => return None,
        }
        Some(())
    }

    /// One text with all pieces; where exact texts differ, an array of several values.
    pub(super) fn value(&self, failing: &[&Test]) -> Json {
        if self.exact.is_empty() {
            return self.joined(failing).into();
        }
        let mut values: Vec<String> = self.exact.clone();
        values.dedup();
        let rest = !self.start.is_empty() || !self.end.is_empty() || !self.middle.is_empty();
        let fits = |v: &String| {
            let folded = v.to_lowercase();
            folded.starts_with(&self.start.to_lowercase())
                && folded.ends_with(&self.end.to_lowercase())
                && self.middle.iter().all(|m| folded.contains(&m.to_lowercase()))
        };
        if rest && !values.iter().any(fits) {
            values.push(self.joined(failing));
        }
        match values.len() {
            1 => values.swap_remove(0).into(),
            _ => values.into(),
        }
    }

    fn joined(&self, failing: &[&Test]) -> String {
        let mut middle: Vec<&String> = self.middle.iter().filter(|m| !m.is_empty()).collect();
        middle.sort();
        middle.dedup();
        // A piece that lies within another needs no place of its own.
        let all = middle.clone();
        middle.retain(|m| {
            !all.iter().any(|o| o.len() > m.len() && o.to_lowercase().contains(&m.to_lowercase()))
        });
        let attempt = |(lead, between, tail): (&str, &str, &str)| {
            let mut out = format!("{lead}{}", self.start);
            for piece in &middle {
                if !out.is_empty() {
                    out.push_str(between);
                }
                out.push_str(piece);
            }
            if !out.is_empty() && !self.end.is_empty() && !middle.is_empty() {
                out.push_str(between);
            }
            if middle.is_empty() && overlap(&out, &self.end) {
                return self.end.clone();
            }
            out.push_str(&self.end);
            out.push_str(tail);
            match out.is_empty() {
                true => "value".to_owned(),
                false => out,
            }
        };
        // What must not hold may be about where the text begins or ends: something else stands there.
        let leads: &[&str] = if self.start.is_empty() { &["", "x"] } else { &[""] };
        let tails: &[&str] = if self.end.is_empty() { &["", "x"] } else { &[""] };
        let around = leads.iter().flat_map(|lead| tails.iter().map(move |tail| (*lead, *tail)));
        let ways: Vec<String> = around
            .flat_map(|(lead, tail)| ["", " ", "x", " x "].map(|between| (lead, between, tail)))
            .map(attempt)
            .collect();
        let fine = |text: &&String| {
            let value = event::Value { kind: event::Kind::Str, bytes: text.as_bytes() };
            failing.iter().all(|t| !t.holds(value))
        };
        ways.iter().find(fine).unwrap_or(&ways[1]).clone()
    }
}

/// Whether the end already begins with all of the start.
fn overlap(start: &str, end: &str) -> bool {
    !start.is_empty() && end.to_lowercase().starts_with(&start.to_lowercase())
}

fn keep_longer(place: &mut String, text: String) {
    if text.len() > place.len() {
        *place = text;
    }
}

/// The text with one character changed.
fn wrong(text: &str, way: usize) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = match way {
        0 => chars.len().saturating_sub(1),
        1 => 0,
        2 => chars.len() / 2,
        _ => return "\u{b7}".into(),
    };
    match chars.get_mut(at) {
        Some(c) => *c = if *c == '\u{b7}' { '~' } else { '\u{b7}' },
        None => chars.push('\u{b7}'),
    }
    chars.into_iter().collect()
}

fn outside(net: &ipnet::IpNet) -> String {
    let candidates = ["198.51.100.7", "203.0.113.9", "2001:db8::7", "10.0.0.1"];
    let free = |ip: &&&str| ip.parse().is_ok_and(|ip: std::net::IpAddr| !net.contains(&ip));
    candidates.iter().find(free).map_or_else(|| "none".into(), |ip| (*ip).to_owned())
}

fn number(op: CompareOp, operand: &Operand, spoilt: bool) -> Option<String> {
    let step = match (op, spoilt) {
        (CompareOp::Lt, false) | (CompareOp::Ge, true) => -1,
        (CompareOp::Gt, false) | (CompareOp::Le, true) | (CompareOp::Eq, true) => 1,
        _ => 0,
    };
    Some(match operand {
        Operand::Number(Number::Int(n)) => (n + step).to_string(),
        Operand::Number(Number::Float(f)) => (f + step as f64).to_string(),
        Operand::Time(ns) => event::time::rfc3339(ns + step as i64 * event::time::SECOND_NS),
        Operand::Part(part, n) => {
            let n = n + step as i64;
            let at = |year: i64, month: i64, day: i64, hour: i64, minute: i64| {
                format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z")
            };
            match part {
                TimePart::Minute => at(2026, 6, 1, 12, n),
                TimePart::Hour => at(2026, 6, 1, n, 0),
                TimePart::Day => at(2026, 6, n, 12, 0),
                TimePart::Month => at(2026, n, 1, 12, 0),
                TimePart::Year => at(n, 6, 1, 12, 0),
                TimePart::Week => {
                    // 2026 begins on a Thursday: its week 1 holds January 1st.
                    let days = event::time::days_from_civil(2026, 1, 1) + (n - 1) * 7;
                    let (year, month, day) = event::time::civil_from_days(days);
                    at(year, month, day, 12, 0)
                }
            }
        }
    })
}

/// A text that the expression matches, as short as can be, and whether it still does with other text
/// around it; `None` where it has none of text.
fn sample(source: &str) -> Option<(String, bool)> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
    let hir = parser.parse(source).ok()?;
    let mut out = Vec::new();
    walk(&hir, 0, &mut out)?;
    Some((String::from_utf8(out).ok()?, hir.properties().look_set().is_empty()))
}

fn walk(hir: &Hir, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(Class::Unicode(class)) => {
            let c = class.ranges().iter().find_map(|r| pick(r.start(), r.end()))?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        HirKind::Class(Class::Bytes(class)) => {
            let ranges = class.ranges().iter();
            let c = ranges.clone().find_map(|r| pick(r.start() as char, (r.end() & 0x7f) as char));
            out.push(
                c.map_or_else(|| class.ranges().first().map(|r| r.start()), |c| Some(c as u8))?,
            );
        }
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                walk(&repetition.sub, depth + 1, out)?;
            }
        }
        HirKind::Capture(capture) => walk(&capture.sub, depth + 1, out)?,
        HirKind::Concat(parts) => {
            for part in parts {
                walk(part, depth + 1, out)?;
            }
        }
        HirKind::Alternation(parts) => {
            let length = out.len();
            let fits = parts.iter().any(|part| {
                out.truncate(length);
                walk(part, depth + 1, out).is_some()
            });
            if !fits {
                return None;
            }
        }
    }
    Some(())
}

/// A readable character of a range.
fn pick(from: char, to: char) -> Option<char> {
    let inside = |c: &char| from <= *c && *c <= to;
    let wished = ['a', 'A', '0', ' ', '-', '.', '/', '\\', '_'];
    wished.into_iter().find(inside).or_else(|| ('!'..='~').find(inside)).or(Some(from))
}
