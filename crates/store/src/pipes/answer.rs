//! Rows of a table as JSON, within the limits of the request.

use super::build::{Column, Shows};
use crate::residual::quoted;
use crate::search::{Row, SearchRequest, SearchSummary};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use event::time;
use std::ops::ControlFlow;

/// Hands out rows of a table within the limits of the request; without a limit of rows there is none
/// of bytes either.
pub(super) struct Sender<'a> {
    limit: Option<usize>,
    bytes_max: usize,
    sent_bytes: usize,
    out: &'a mut dyn FnMut(Row) -> ControlFlow<()>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        request: &SearchRequest,
        limit: Option<usize>,
        out: &'a mut dyn FnMut(Row) -> ControlFlow<()>,
    ) -> Self {
        Self { limit, bytes_max: request.memory_bytes_max, sent_bytes: 0, out }
    }

    pub(super) fn send(
        &mut self,
        rows: impl Iterator<Item = String>,
        summary: &mut SearchSummary,
    ) -> ControlFlow<()> {
        for json in rows {
            if let Some(limit) = self.limit {
                let full = summary.returned as usize >= limit;
                if full || self.sent_bytes > self.bytes_max {
                    summary.partial = Some(if full { "limit" } else { "memory" }.into());
                    return ControlFlow::Break(());
                }
            }
            self.sent_bytes += json.len();
            summary.returned += 1;
            (self.out)(Row { id: None, event_ns: None, json })?;
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn table_json(batch: &RecordBatch, row: usize, columns: &[Column]) -> String {
    let mut json = String::from("{");
    for (at, column) in columns.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let value = shown(batch.column(at), row, column.shows);
        json.push_str(&format!("{comma}{}:{value}", quoted(&column.name)));
    }
    json.push('}');
    json
}

pub(super) fn shown(array: &ArrayRef, row: usize, shows: Shows) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        let number = numbers.value(row);
        return match shows {
            Shows::Time => quoted(&time::rfc3339(number)),
            _ => number.to_string(),
        };
    }
    if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        return number(numbers.value(row));
    }
    if let Some(list) = array.as_list_opt::<i32>() {
        let values = list.value(row);
        let Some(texts) = values.as_string_opt::<i32>() else { return "null".into() };
        let mut texts: Vec<&str> = texts.iter().flatten().collect();
        texts.sort_unstable();
        let texts: Vec<String> = texts.into_iter().map(quoted).collect();
        return format!("[{}]", texts.join(","));
    }
    let text = match ScalarValue::try_from_array(array, row) {
        Ok(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => text,
        Ok(other) => other.to_string(),
        Err(_) => return "null".into(),
    };
    match (shows, text.parse::<f64>()) {
        (Shows::Either, Ok(value)) => number(value),
        _ => quoted(&text),
    }
}

/// A float as JSON: whole numbers without a fraction; what JSON cannot say is null.
pub(super) fn number(value: f64) -> String {
    match value {
        v if !v.is_finite() => "null".into(),
        v if v.fract() == 0.0 && v.abs() < 9e15 => format!("{}", v as i64),
        v => v.to_string(),
    }
}
