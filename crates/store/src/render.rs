//! Rows as JSON text: flat objects with dotted names; arrays where a field has several values.

use crate::kernel::OwnValue;
use crate::layout::envelope;
use crate::residual::quoted;
use crate::rows::FullRow;
use event::{Kind, time};
use hashbrown::HashMap;
use std::borrow::Cow;

/// A whole event: intrinsic fields first, then its cells in order.
pub(crate) fn event_json(row: &FullRow) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut values: HashMap<&str, Vec<(Kind, &[u8])>> = HashMap::new();
    for cell in &row.cells {
        values
            .entry(&cell.name)
            .or_insert_with(|| {
                names.push(&cell.name);
                Vec::new()
            })
            .push((cell.kind, &cell.bytes));
    }
    let mut out = String::with_capacity(256 + row.raw.len() * 2);
    for name in event::field::INTRINSIC_NAMES {
        if let Some(text) = intrinsic(row, name) {
            let kind = if name == envelope::WEIGHT { Kind::Int } else { Kind::Str };
            member(&mut out, name, &[(kind, text.as_bytes())]);
        }
    }
    for name in names {
        member(&mut out, name, &values[name]);
    }
    out.push('}');
    out
}

/// Some columns of an event, under the names asked for. `columns` is (name, names that answer).
pub(crate) fn columns_json(row: &FullRow, columns: &[(String, Vec<Box<str>>)]) -> String {
    let mut out = String::new();
    for (name, answers) in columns {
        let values = values(row, answers);
        let values: Vec<(Kind, &[u8])> = values.iter().map(|(k, b)| (*k, &**b)).collect();
        match values.is_empty() {
            true => member(&mut out, name, &[(Kind::Null, b"")]),
            false => member(&mut out, name, &values),
        }
    }
    out.push_str(if out.is_empty() { "{}" } else { "}" });
    out
}

/// The values of the first present field among `names`.
pub(crate) fn values(row: &FullRow, names: &[Box<str>]) -> Vec<OwnValue> {
    for name in names {
        if let Some(text) = intrinsic(row, name) {
            return vec![(Kind::Str, text.as_bytes().into())];
        }
        let values: Vec<OwnValue> = row
            .cells
            .iter()
            .filter(|c| *c.name == **name)
            .map(|c| (c.kind, c.bytes.clone()))
            .collect();
        if !values.is_empty() {
            return values;
        }
    }
    Vec::new()
}

fn intrinsic<'a>(row: &'a FullRow, name: &str) -> Option<Cow<'a, str>> {
    let head = &row.head;
    Some(match name {
        envelope::TIMESTAMP => time::rfc3339(head.event_ns).into(),
        envelope::INGESTED => time::rfc3339(head.received_ns).into(),
        "event.id" => head.id.to_string().into(),
        envelope::WEIGHT => head.weight.to_string().into(),
        envelope::ORIGINAL => String::from_utf8_lossy(&row.raw),
        envelope::SOURCE => (&*head.envelope.source).into(),
        envelope::IDENTITY => (&*head.envelope.identity).into(),
        envelope::PEER if !head.envelope.peer.is_empty() => (&*head.envelope.peer).into(),
        _ => return None,
    })
}

fn member(out: &mut String, name: &str, values: &[(Kind, &[u8])]) {
    out.push(if out.is_empty() { '{' } else { ',' });
    out.push_str(&quoted(name));
    out.push(':');
    match values {
        [(kind, bytes)] => value(out, *kind, bytes),
        _ => array(out, values.iter().copied()),
    }
}

/// Several values as a JSON array.
pub(crate) fn array<'a>(out: &mut String, values: impl Iterator<Item = (Kind, &'a [u8])>) {
    out.push('[');
    for (at, (kind, bytes)) in values.enumerate() {
        if at > 0 {
            out.push(',');
        }
        value(out, kind, bytes);
    }
    out.push(']');
}

fn value(out: &mut String, kind: Kind, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match kind {
        Kind::Null => out.push_str("null"),
        Kind::Bool if matches!(&*text, "true" | "false") => out.push_str(&text),
        Kind::Int | Kind::Float if is_json_number(&text) => out.push_str(&text),
        _ => out.push_str(&quoted(&text)),
    }
}

/// Whether the text is a number as JSON writes it, so that its digits can stand as they are.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= 400
        && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
        && !text.ends_with(char::is_whitespace)
}
