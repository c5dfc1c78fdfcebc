//! Tables whose columns are parted by something else than a comma, as the programs that export them
//! do in some languages; they are written anew with commas and read like all others.

use super::exports;
use parse::csv_file;
use serde_json::{Map, Value};

/// What may part columns besides the comma.
const SEPARATORS: &[u8] = b"\t;|";

/// Whether a file's beginning is a table of any kind.
pub(super) fn looks_like(head: &[u8], is_whole: bool) -> bool {
    with_commas(head, is_whole).is_some() || csv_file::looks_like(head, is_whole)
}

/// The rows of a table as records: JSON objects, or the text of a Windows event where they hold one
/// with its rendered message. `None` if it is no table.
pub(super) fn rows(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let anew = with_commas(bytes, true);
    let bytes = anew.as_deref().unwrap_or(bytes);
    if anew.is_none() && !csv_file::looks_like(bytes, true) {
        return None;
    }
    Some(csv_file::rows(bytes).map(record).collect())
}

fn record(row: String) -> Vec<u8> {
    let is_told = row.contains("\"Message\":") || row.contains("\"column_6\":");
    let cells = is_told.then(|| serde_json::from_str::<Map<String, Value>>(&row).ok()).flatten();
    let text = cells.and_then(|cells| {
        exports::rendered(&|name| cells.get(name).and_then(Value::as_str).map(str::to_owned))
    });
    text.unwrap_or(row).into_bytes()
}

/// The table with commas, names in all columns and without the lines that some programs put above
/// its header; `None` if it is no table, or one that is so already.
fn with_commas(bytes: &[u8], is_whole: bool) -> Option<Vec<u8>> {
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (told, body) = preamble(body);
    let first = body.split(|c| *c == b'\n').next()?.trim_ascii_end();
    let candidates =
        told.into_iter().chain(SEPARATORS.iter().copied().filter(|s| first.contains(s)));
    for separator in candidates {
        let anew = parted_by_commas(body, separator);
        if csv_file::looks_like(&anew, is_whole) {
            return Some(anew);
        }
    }
    // The Event Viewer leaves its last column, the message, without a name.
    if first.ends_with(b",") || body.len() < bytes.len() && told.is_none() {
        let anew = parted_by_commas(body, b',');
        return csv_file::looks_like(&anew, is_whole).then_some(anew);
    }
    None
}

/// The separator that a line `sep=;` tells, and what is below that or a line `#TYPE ...`.
fn preamble(body: &[u8]) -> (Option<u8>, &[u8]) {
    let end = body.iter().position(|c| *c == b'\n').map_or(body.len(), |at| at + 1);
    let (line, rest) = (body[..end].trim_ascii(), &body[end..]);
    match line.strip_prefix(b"sep=") {
        Some([separator]) => (Some(*separator), rest),
        _ if line.starts_with(b"#TYPE ") => (None, rest),
        _ => (None, body),
    }
}

/// Every cell in quotes, between commas. A header cell without a name gets that of its place; a
/// header that is one short of its rows, as the Event Viewer's text has it, one more.
fn parted_by_commas(body: &[u8], separator: u8) -> Vec<u8> {
    let mut rows = cells(body, separator);
    let longest = rows.get(1).map_or(0, Vec::len);
    if let Some(header) = rows.first_mut() {
        if header.len() + 1 == longest {
            header.push(Vec::new());
        }
        for (at, name) in header.iter_mut().enumerate().filter(|(_, name)| name.is_empty()) {
            *name = format!("column_{}", at + 1).into_bytes();
        }
    }
    let mut out = Vec::with_capacity(body.len() + body.len() / 8);
    for row in rows {
        for (at, cell) in row.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.push(b'"');
            for byte in cell {
                if byte == b'"' {
                    out.push(b'"');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
        out.push(b'\n');
    }
    out
}

/// Rows of cells; a cell in quotes may hold separators, line ends, and quotes as two.
pub(super) fn cells(body: &[u8], separator: u8) -> Vec<Vec<Vec<u8>>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), Vec::new());
    let (mut at, mut quoted) = (0, false);
    while let Some(&byte) = body.get(at) {
        at += 1;
        match byte {
            b'"' if quoted && body.get(at) == Some(&b'"') => {
                cell.push(b'"');
                at += 1;
            }
            b'"' if quoted => quoted = false,
            b'"' if cell.is_empty() => quoted = true,
            b'\n' if !quoted => {
                if cell.last() == Some(&b'\r') {
                    cell.pop();
                }
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            _ if byte == separator && !quoted => row.push(std::mem::take(&mut cell)),
            _ => cell.push(byte),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows.retain(|row: &Vec<Vec<u8>>| row.iter().any(|cell| !cell.is_empty()));
    rows
}
