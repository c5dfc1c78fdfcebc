//! One event as one flat JSON object: what `alcedo parse`, search results, the API and webhooks show.

use event::{EventView, FieldId, Kind, Value};
use std::fmt::Write as _;

/// Longest run of digits that a JSON reader using doubles still reads exactly: 2^53 has 16.
const EXACT_DIGITS_MAX: usize = 15;

/// Appends the event as one JSON object without a line end.
///
/// `@timestamp` first, then `event.id`, `event.ingested`, the source, `event.count` where it is not
/// 1, the fields in the order of their first cell (repeated ones as arrays, `tags` always), and
/// `event.original` last (bytes that are not UTF-8 become U+FFFD). Numbers are JSON numbers where
/// their kind says so and they are exact as doubles, else strings.
pub fn to_json(view: &EventView<'_>, out: &mut String) {
    out.push('{');
    for field in [FieldId::TIMESTAMP, FieldId::ID, FieldId::INGESTED, FieldId::SOURCE] {
        intrinsic(view, field, out);
    }
    if view.weight() != 1 {
        let _ = write!(out, ",\"event.count\":{}", view.weight());
    }
    let mut done: Vec<FieldId> = Vec::with_capacity(64);
    let mut values: Vec<(FieldId, Value<'_>)> = view.cells().collect();
    values.sort_by_key(|(field, _)| *field);
    for (field, _) in view.cells() {
        if done.contains(&field) {
            continue;
        }
        done.push(field);
        let from = values.partition_point(|(f, _)| *f < field);
        let own = values[from..].iter().take_while(|(f, _)| *f == field);
        let count = own.clone().count();
        let name = view.batch().name(field);
        key(name, out);
        if count == 1 && name != "tags" {
            value(values[from].1, out);
            continue;
        }
        out.push('[');
        for (n, (_, v)) in own.enumerate() {
            if n > 0 {
                out.push(',');
            }
            value(*v, out);
        }
        out.push(']');
    }
    intrinsic(view, FieldId::ORIGINAL, out);
    out.push('}');
}

fn intrinsic(view: &EventView<'_>, field: FieldId, out: &mut String) {
    if let Some(text) = view.intrinsic_text(field) {
        key(view.batch().name(field), out);
        string(&text, out);
    }
}

fn key(name: &str, out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
    string(name, out);
    out.push(':');
}

fn value(value: Value<'_>, out: &mut String) {
    let text = value.text();
    match value.kind {
        Kind::Null => out.push_str("null"),
        Kind::Bool if text == "true" || text == "false" => out.push_str(&text),
        Kind::Int if is_exact_int(&text) => out.push_str(&text),
        Kind::Float if is_exact_float(&text) => out.push_str(&text),
        _ => string(&text, out),
    }
}

fn is_exact_int(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|c| c.is_ascii_digit());
    let leading = digits.len() > 1 && digits.starts_with('0');
    plain && !leading && (1..=EXACT_DIGITS_MAX).contains(&digits.len())
}

/// Whether the text is a JSON number with a fraction that a double holds as written.
fn is_exact_float(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let Some((whole, fraction)) = digits.split_once('.') else { return is_exact_int(text) };
    !fraction.is_empty()
        && fraction.bytes().all(|c| c.is_ascii_digit())
        && is_exact_int(whole)
        && whole.len() + fraction.len() <= EXACT_DIGITS_MAX
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    let mut from = 0;
    for (at, c) in text.bytes().enumerate() {
        if c >= 0x20 && c != b'"' && c != b'\\' {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match c {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            c => {
                let _ = write!(out, "\\u{c:04x}");
            }
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}
