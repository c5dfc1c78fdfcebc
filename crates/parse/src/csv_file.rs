//! CSV exports with a header line (RFC 4180), as audit portals write them: rows become JSON objects.
//!
//! ```text
//! "CreationDate","Operations","AuditData"              {"Operation":"Set-Mailbox","Workload":...,
//! "6/1/2023","Set-Mailbox","{""Operation"":...}"  -->   "CreationDate":"6/1/2023","Operations":...}
//! ```
//! A column that holds the record itself as a JSON object (Microsoft 365 puts it into `AuditData`)
//! is taken out: its members become the row's, and columns stay under their own names where the
//! object has none of that name. That is done where exactly one column of the row holds an object.
//!
//! Not here: CSV as a log format without a header, whose columns only its product knows.

use crate::json;
use std::fmt::Write as _;

/// Most columns of a table. Exports of audit portals have some tens.
const COLUMNS_MAX: usize = 1_024;
/// Rows that must have as many cells as the header before text is taken for a table.
const ROWS_LOOKED_AT: usize = 8;
/// Longest name of a column: longer text is no header.
const NAME_BYTES_MAX: usize = 128;

/// Whether a body is a table: its first line is a header of at least two different names, and its
/// first rows have as many cells.
pub fn looks_like(body: &[u8], is_whole: bool) -> bool {
    let mut at = bom_len(body);
    let mut header = Vec::new();
    if !row(body, &mut at, &mut header) || header.len() < 2 || !header.iter().all(|c| is_name(c)) {
        return false;
    }
    let mut names: Vec<_> = header.iter().collect();
    names.sort();
    names.dedup();
    if names.len() != header.len() {
        return false;
    }
    let mut cells = Vec::new();
    let mut seen = 0;
    while seen < ROWS_LOOKED_AT && row(body, &mut at, &mut cells) {
        // The last row of a beginning may be cut.
        if at >= body.len() && !is_whole {
            break;
        }
        // A blank line is no row.
        if cells.len() == 1 && cells[0].is_empty() {
            continue;
        }
        if cells.len() != header.len() {
            return false;
        }
        seen += 1;
    }
    seen > 0
}

/// A name as exports have them: words, no values.
fn is_name(cell: &[u8]) -> bool {
    let legal = |c: &u8| c.is_ascii_alphanumeric() || b" _.-:()/#@".contains(c) || *c >= 0x80;
    let starts = cell.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_' || *c == b'@');
    starts && cell.len() <= NAME_BYTES_MAX && cell.iter().all(legal)
}

/// The rows below the header as JSON objects, in order. A row with fewer or more cells than the
/// header keeps what it has; cells without a column are named `column_N`.
pub fn rows(body: &[u8]) -> Rows<'_> {
    let mut at = bom_len(body);
    let mut header = Vec::new();
    row(body, &mut at, &mut header);
    let names = header.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
    Rows { body, at, names, cells: Vec::new() }
}

/// Iterator of [`rows`].
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    body: &'a [u8],
    at: usize,
    names: Vec<String>,
    cells: Vec<Vec<u8>>,
}

impl Iterator for Rows<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if !row(self.body, &mut self.at, &mut self.cells) {
                return None;
            }
            // A blank line is no row.
            if self.cells.len() > 1 || self.cells.iter().any(|c| !c.is_empty()) {
                return Some(self.object());
            }
        }
    }
}

impl Rows<'_> {
    fn object(&self) -> String {
        let mut objects = self.cells.iter().enumerate().filter(|(_, c)| is_object(c));
        let own = match (objects.next(), objects.next()) {
            (Some((at, cell)), None) => Some((at, cell.trim_ascii())),
            _ => None,
        };
        let mut out = String::from("{");
        let mut taken = Vec::new();
        if let Some((_, object)) = own {
            let inner = &object[1..object.len() - 1];
            out.push_str(String::from_utf8_lossy(inner).trim());
            taken = keys(object);
        }
        for (at, cell) in self.cells.iter().enumerate() {
            let name = match self.names.get(at) {
                Some(name) => name.clone(),
                None => format!("column_{}", at + 1),
            };
            if own.is_some_and(|(own, _)| own == at) || taken.contains(&name) {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            quoted(&name, &mut out);
            out.push(':');
            quoted(&String::from_utf8_lossy(cell), &mut out);
        }
        out.push('}');
        out
    }
}

fn is_object(cell: &[u8]) -> bool {
    let cell = cell.trim_ascii();
    cell.first() == Some(&b'{') && json::value_end(cell, 0) == Ok(cell.len())
}

/// The names of an object's members.
fn keys(object: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = json::skip_space(object, 1);
    while object.get(at) == Some(&b'"') && out.len() < COLUMNS_MAX {
        let Ok(end) = json::value_end(object, at) else { break };
        out.push(String::from_utf8_lossy(&object[at + 1..end - 1]).into_owned());
        at = json::skip_space(object, end);
        if object.get(at) != Some(&b':') {
            break;
        }
        let Ok(end) = json::value_end(object, json::skip_space(object, at + 1)) else { break };
        at = json::skip_space(object, end);
        if object.get(at) != Some(&b',') {
            break;
        }
        at = json::skip_space(object, at + 1);
    }
    out
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads one row into `cells`; false at the end of the body. A quote that is not closed takes the
/// rest, as every reader of CSV does.
fn row(body: &[u8], at: &mut usize, cells: &mut Vec<Vec<u8>>) -> bool {
    cells.clear();
    if *at >= body.len() {
        return false;
    }
    loop {
        let mut cell = Vec::new();
        if body.get(*at) == Some(&b'"') {
            *at += 1;
            while let Some(c) = body.get(*at) {
                *at += 1;
                if *c != b'"' {
                    cell.push(*c);
                } else if body.get(*at) == Some(&b'"') {
                    cell.push(b'"');
                    *at += 1;
                } else {
                    break;
                }
            }
        }
        let rest = &body[*at..];
        let end = memchr::memchr2(b',', b'\n', rest).unwrap_or(rest.len());
        cell.extend_from_slice(&rest[..end]);
        *at += end;
        let ends = body.get(*at) != Some(&b',') || cells.len() + 1 >= COLUMNS_MAX;
        if ends && cell.last() == Some(&b'\r') {
            cell.pop();
        }
        cells.push(cell);
        *at += 1;
        if ends {
            return true;
        }
    }
}

fn bom_len(body: &[u8]) -> usize {
    if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_in_a_column_becomes_the_row() {
        let body = b"\xef\xbb\xbf\"When\",\"Op\",\"AuditData\"\r\n\
            \"6/1/2023, 1 PM\",\"x\ny\",\"{\"\"Op\"\":\"\"Set-Mailbox\"\",\"\"n\"\":{\"\"a\"\":1}}\"\r\n\
            a,b,\r\n\r\n";
        assert!(looks_like(body, true));
        let got: Vec<String> = rows(body).collect();
        assert_eq!(
            got,
            [
                "{\"Op\":\"Set-Mailbox\",\"n\":{\"a\":1},\"When\":\"6/1/2023, 1 PM\"}",
                "{\"When\":\"a\",\"Op\":\"b\",\"AuditData\":\"\"}"
            ]
        );
    }

    #[test]
    fn logs_are_no_tables() {
        for text in [
            "Nov 23 22:14:15 web-1 sshd[1]: a, b\nNov 23 22:14:15 web-1 sshd[1]: a, b\n",
            "a,b,c\nd,e\n",
            "one\ntwo\n",
            "name,name\n1,2\n",
            "INFO, starting\n2024, x\n{, y, z\n",
            "",
            "a,b\n",
        ] {
            assert!(!looks_like(text.as_bytes(), true), "{text}");
        }
        assert!(looks_like(b"time,host\n1,2\n3", false) && looks_like(b"time,host\n1,2", true));
    }

    #[test]
    fn rows_of_any_shape_are_objects() {
        for text in ["a,b\n\"", "a,b\n\"x\"y,z,{}\n", "a,b\n{},{}\n", "a,b\n\u{1},\\\n", "a\n{\n"] {
            for row in rows(text.as_bytes()) {
                assert!(serde_json::from_str::<serde_json::Value>(&row).is_ok(), "{row}");
            }
        }
    }
}
