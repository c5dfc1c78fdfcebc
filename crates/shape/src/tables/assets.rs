//! What is known of our own hosts: CSV lists keyed by address or host name.

use super::TableError;
use crate::native::Ids;
use crate::program::Index;
use crate::value;
use event::{Kind, RowWriter};
use hashbrown::HashMap;
use std::path::Path;

/// Most columns of an asset list.
const COLUMNS_MAX: usize = 64;

type Facts = Vec<(String, String)>;

#[derive(Default)]
pub(super) struct Assets {
    facts: Vec<Facts>,
    /// Lower-case address or host name -> place in `facts`.
    by_key: HashMap<String, usize>,
}

impl Assets {
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TableError> {
        let wrong = |line: usize, message: &str| TableError {
            path: path.into(),
            line: Some(line),
            message: message.to_owned(),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "not UTF-8"))?;
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
        let (_, head) = lines.next().ok_or_else(|| wrong(1, "the list is empty"))?;
        let columns =
            cells(head.trim_start_matches('\u{feff}')).ok_or_else(|| wrong(1, "an open quote"))?;
        if columns.len() > COLUMNS_MAX || !columns.iter().any(|c| c == "ip" || c == "host") {
            return Err(wrong(1, "the first line has to name a column `ip` or `host`"));
        }
        for (number, line) in lines {
            let row = cells(line).ok_or_else(|| wrong(number + 1, "an open quote"))?;
            if row.len() != columns.len() {
                return Err(wrong(number + 1, "another number of columns than the first line"));
            }
            let place = self.facts.len();
            let mut facts = Facts::new();
            for (column, cell) in columns.iter().zip(row) {
                match column.as_str() {
                    _ if cell.is_empty() => {}
                    "ip" | "host" => {
                        self.by_key.insert(cell.to_ascii_lowercase(), place);
                    }
                    name if name.starts_with("host.") => facts.push((name.to_owned(), cell)),
                    name => facts.push((format!("alcedo.asset.{name}"), cell)),
                }
            }
            self.facts.push(facts);
        }
        Ok(())
    }

    /// Adds the facts of the row's host, found by name or by address.
    pub(super) fn enrich(&self, row: &mut RowWriter<'_>, index: &Index, ids: &Ids) {
        if self.is_empty() {
            return;
        }
        let keys = [ids.host_name, ids.host_ip, ids.destination_ip, ids.source_ip];
        let place = keys.iter().find_map(|field| {
            let bytes = row.cell(index.get(*field)?).1.bytes;
            let part = value::ip_part(bytes).unwrap_or(0..bytes.len());
            let key = std::str::from_utf8(&bytes[part]).ok()?.to_ascii_lowercase();
            self.by_key.get(&key).copied()
        });
        for (name, text) in place.iter().flat_map(|p| &self.facts[*p]) {
            let field = row.own_field(name);
            row.push(field, Kind::Str, text.as_bytes());
        }
    }
}

/// The cells of one CSV line (RFC 4180 without line ends inside quotes); `None` for an open quote.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let cell = out.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            c => cell.push(c),
        }
    }
    (!quoted).then(|| out.into_iter().map(|c| c.trim().to_owned()).collect())
}
