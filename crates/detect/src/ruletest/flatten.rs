//! The plainest shaper: events that are events already, without packs.

use crate::sigma::TestInput;
use event::{EventBatch, Kind, RowHead, RowWriter};
use serde_json::Value as Json;

/// Deepest nesting of an event that is flattened.
pub const DEPTH_MAX: usize = 64;

/// A shaper without parsers: events are flattened into dotted names, raw text is only raw bytes.
pub fn flatten(head: RowHead, input: &TestInput, batch: &mut EventBatch) {
    match input {
        TestInput::Event(event) => push_row(batch, head, event, b""),
        TestInput::Raw(raw) => {
            batch.begin(head, raw.as_bytes()).finish();
        }
    }
}

/// Appends a JSON event as a row: nested objects become dotted names, arrays several values.
pub fn push_event(batch: &mut EventBatch, event: &Json, raw: &[u8]) {
    let head = super::head(batch.len() as u64, 0);
    push_row(batch, head, event, raw);
}

fn push_row(batch: &mut EventBatch, head: RowHead, event: &Json, raw: &[u8]) {
    let mut row = batch.begin(head, raw);
    let mut name = String::new();
    push_value(&mut row, &mut name, event, 0);
    row.finish();
}

fn push_value(row: &mut RowWriter<'_>, name: &mut String, value: &Json, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let (kind, text) = match value {
        Json::Object(map) => {
            let length = name.len();
            for (key, value) in map {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(key);
                push_value(row, name, value, depth + 1);
                name.truncate(length);
            }
            return;
        }
        Json::Array(items) => {
            for item in items {
                push_value(row, name, item, depth + 1);
            }
            return;
        }
        Json::Null => (Kind::Null, String::new()),
        Json::Bool(b) => (Kind::Bool, b.to_string()),
        Json::Number(n) if n.is_f64() => (Kind::Float, n.to_string()),
        Json::Number(n) => (Kind::Int, n.to_string()),
        Json::String(text) => (Kind::Str, text.clone()),
    };
    let field = row.own_field(name);
    row.push(field, kind, text.as_bytes());
}
