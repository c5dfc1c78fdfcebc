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
}

/// `ip,host,criticality,host.os.name`
const ASSETS: Sort = Sort { keys: &["ip", "host"], ecs: "host.", prefix: "alcedo.asset." };
/// `user,id,email,department,user.full_name`. Not `alcedo.identity.`: that is who sent the record.
const IDENTITIES: Sort =
    Sort { keys: &["user", "id", "email"], ecs: "user.", prefix: "alcedo.person." };

/// Our own hosts.
#[derive(Default)]
pub(super) struct Assets(List);

/// Our own people.
#[derive(Default)]
pub(super) struct Identities(List);

impl Assets {
    pub(super) fn len(&self) -> usize {
        self.0.by_key.len()
    }

    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TableError> {
        self.0.add(&ASSETS, path, bytes)
    }

    /// Adds the facts of the row's host, found by name or by address.
    pub(super) fn enrich(&self, row: &mut RowWriter<'_>, index: &Index, ids: &Ids) {
        if self.len() == 0 {
            return;
        }
        let keys = [ids.host_name, ids.host_ip, ids.destination_ip, ids.source_ip];
        let place = keys.iter().find_map(|field| {
            let bytes = row.cell(index.get(*field)?).1.bytes;
            let part = value::ip_part(bytes).unwrap_or(0..bytes.len());
            self.0.find(&bytes[part])
        });
        self.0.write(place, row);
    }
}

impl Identities {
    pub(super) fn len(&self) -> usize {
        self.0.by_key.len()
    }

    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TableError> {
        self.0.add(&IDENTITIES, path, bytes)
    }

    /// Adds the facts of the acting user: found as `domain\name`, by the name alone (which may be an
    /// address of mail), or by the id.
    pub(super) fn enrich(&self, row: &mut RowWriter<'_>, index: &Index, ids: &Ids) {
        if self.len() == 0 {
            return;
        }
        let text = |field: FieldId| Some(row.cell(index.get(field)?).1.bytes);
        let with_domain = || Some([text(ids.user_domain)?, b"\\", text(ids.user_name)?].concat());
        let place = with_domain().and_then(|key| self.0.find(&key));
        let place = place.or_else(|| self.0.find(text(ids.user_name)?));
        let place = place.or_else(|| self.0.find(text(ids.user_id)?));
        self.0.write(place, row);
    }
}

#[derive(Default)]
struct List {
    lines: Vec<Line>,
    /// Lower-case key -> place in `lines`.
    by_key: HashMap<String, usize>,
}

impl List {
    fn add(&mut self, sort: &Sort, path: &Path, bytes: &[u8]) -> Result<(), TableError> {
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
        let is_key = |column: &String| sort.keys.contains(&column.as_str());
        if columns.len() > COLUMNS_MAX || !columns.iter().any(is_key) {
            let keys = sort.keys.join("`, `");
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
                    self.by_key.insert(cell.to_lowercase(), place);
                } else if column.starts_with(sort.ecs) {
                    facts.push((column.clone(), cell));
                } else {
                    facts.push((format!("{}{column}", sort.prefix), cell));
                }
            }
            self.lines.push(facts);
        }
        Ok(())
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.by_key.get(&std::str::from_utf8(key).ok()?.to_lowercase()).copied()
    }

    fn write(&self, place: Option<usize>, row: &mut RowWriter<'_>) {
        for (name, text) in place.iter().flat_map(|place| &self.lines[*place]) {
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
