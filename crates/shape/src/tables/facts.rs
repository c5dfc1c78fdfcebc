//! What is known of our own hosts and people: CSV lists, each line found by any of its keys.

use super::TableError;
use crate::native::Ids;
use crate::program::Index;
use crate::value;
use event::{FieldId, Kind, RowWriter};
use hashbrown::HashMap;
use std::path::Path;

/// Most columns of a list.
const COLUMNS_MAX: usize = 64;

type Line = Vec<(String, String)>;

/// What sort of list it is.
struct Sort {
    /// Columns that a line is found by; the list needs one of them.
    keys: &'static [&'static str],
    /// ECS objects into which columns may write by their full name.
    ecs: &'static str,
    /// Where all other columns go.
    prefix: &'static str,
    /// The line that a row is about.
    find: fn(&Facts, &RowWriter<'_>, &Index, &Ids, &mut String) -> Option<usize>,
}

/// `ip,host,criticality,host.os.name`
const ASSETS: Sort =
    Sort { keys: &["ip", "host"], ecs: "host.", prefix: "alcedo.asset.", find: host_of };
/// `user,id,email,department,user.full_name`. Not `alcedo.identity.`: that is who sent the record.
const IDENTITIES: Sort =
    Sort { keys: &["user", "id", "email"], ecs: "user.", prefix: "alcedo.person.", find: user_of };

/// The row's host, by name or by address.
fn host_of(
    facts: &Facts,
    row: &RowWriter<'_>,
    index: &Index,
    ids: &Ids,
    key: &mut String,
) -> Option<usize> {
    let fields = [ids.host_name, ids.host_ip, ids.destination_ip, ids.source_ip];
    fields.iter().find_map(|field| {
        let bytes = row.cell(index.get(*field)?).1.bytes;
        let part = value::ip_part(bytes).unwrap_or(0..bytes.len());
        facts.place(&[&bytes[part]], key)
    })
}

/// The acting user: as `domain\name`, by the name alone (which may be an address of mail), by the id.
fn user_of(
    facts: &Facts,
    row: &RowWriter<'_>,
    index: &Index,
    ids: &Ids,
    key: &mut String,
) -> Option<usize> {
    let text = |field: FieldId| Some(row.cell(index.get(field)?).1.bytes);
    let (domain, name, id) = (text(ids.user_domain), text(ids.user_name), text(ids.user_id));
    let place = domain.zip(name).and_then(|(d, n)| facts.place(&[d, b"\\", n], key));
    let place = place.or_else(|| facts.place(&[name?], key));
    place.or_else(|| facts.place(&[id?], key))
}

/// One sort of lists, read.
pub(super) struct Facts {
    sort: &'static Sort,
    lines: Vec<Line>,
    /// Lower-case key -> place in `lines`.
    by_key: HashMap<String, usize>,
}

impl Facts {
    /// Our own hosts.
    pub(super) fn assets() -> Self {
        Self { sort: &ASSETS, lines: Vec::new(), by_key: HashMap::new() }
    }

    /// Our own people.
    pub(super) fn identities() -> Self {
        Self { sort: &IDENTITIES, ..Self::assets() }
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Adds what is known of whom the row is about. `key` is a buffer.
    pub(super) fn enrich(
        &self,
        row: &mut RowWriter<'_>,
        index: &Index,
        ids: &Ids,
        key: &mut String,
    ) {
        if self.len() == 0 {
            return;
        }
        let place = (self.sort.find)(self, row, index, ids, key);
        for (name, text) in place.iter().flat_map(|place| &self.lines[*place]) {
            let field = row.own_field(name);
            row.push(field, Kind::Str, text.as_bytes());
        }
    }

    /// Reads one more list.
    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TableError> {
        let wrong = |line: usize, message: String| TableError {
            path: path.into(),
            line: Some(line),
            message,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "not UTF-8".into()))?;
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
        let (_, head) = lines.next().ok_or_else(|| wrong(1, "the list is empty".into()))?;
        let columns = cells(head.trim_start_matches('\u{feff}'));
        let columns = columns.ok_or_else(|| wrong(1, "an open quote".into()))?;
        let is_key = |column: &String| self.sort.keys.contains(&column.as_str());
        if columns.len() > COLUMNS_MAX || !columns.iter().any(is_key) {
            let keys = self.sort.keys.join("`, `");
            return Err(wrong(1, format!("the first line has to name a column of `{keys}`")));
        }
        for (number, line) in lines {
            let row = cells(line).ok_or_else(|| wrong(number + 1, "an open quote".into()))?;
            if row.len() != columns.len() {
                let message = "another number of columns than the first line";
                return Err(wrong(number + 1, message.into()));
            }
            let place = self.lines.len();
            let mut facts = Line::new();
            for (column, cell) in columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
                if is_key(column) {
                    self.by_key.insert(lower(&cell).collect(), place);
                } else if column.starts_with(self.sort.ecs) {
                    facts.push((column.clone(), cell));
                } else {
                    facts.push((format!("{}{column}", self.sort.prefix), cell));
                }
            }
            self.lines.push(facts);
        }
        Ok(())
    }

    /// The line whose key the parts together are, in any case.
    fn place(&self, parts: &[&[u8]], key: &mut String) -> Option<usize> {
        key.clear();
        for part in parts {
            key.extend(lower(std::str::from_utf8(part).ok()?));
        }
        self.by_key.get(key.as_str()).copied()
    }
}

fn lower(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
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
