//! Reference tables that `lookup` of a search may name: CSV files with a header, read when a search asks
//! for them and again when they have changed.

use super::stamp::Stamp;
use super::tables;
use crate::config::Config;
use crate::exit::Failure;
use filter::search::{Pipe, Query};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{LookupTable, SearchError};

/// Largest file.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most columns; a table with more is most likely no table.
const COLUMNS_MAX: usize = 256;
/// Most cells, those counted that short rows lack: a cell takes 24 bytes of memory and its text, and stays there.
const CELLS_MAX: usize = 4 << 20;

/// Tables by name, as a request takes them.
type Tables = BTreeMap<String, Arc<LookupTable>>;

/// The tables of a configuration.
#[derive(Default)]
pub struct Lookups {
    files: BTreeMap<String, PathBuf>,
    known: Mutex<BTreeMap<String, (Stamp, Arc<LookupTable>)>>,
}

impl Lookups {
    /// Those that a configuration names; nothing is read yet.
    pub fn of(config: &Config) -> Self {
        Self { files: config.lookups.clone(), known: Mutex::default() }
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// A file that is no such table.
    pub fn check(&self) -> Result<(), Failure> {
        for (name, path) in &self.files {
            self.table(name, path).map_err(|problem| {
                Failure::invalid(problem, "correct the file, or take it out of `lookups`")
            })?;
        }
        Ok(())
    }

    /// The tables that the pipes of a search name, those of joined searches included.
    ///
    /// # Errors
    /// There is no such table, or its file cannot be read now.
    pub fn of_query(&self, query: &Query) -> Result<Arc<Tables>, SearchError> {
        let mut names = BTreeSet::new();
        named(&query.pipes, &mut names);
        let mut out = Tables::new();
        for name in names {
            let path = self.files.get(name).ok_or_else(|| {
                let there: Vec<&str> = self.files.keys().map(String::as_str).collect();
                SearchError::Pipes(match there.is_empty() {
                    true => format!("no table `{name}`; `lookups` of the configuration names none"),
                    false => format!("no table `{name}`; there are: {}", there.join(", ")),
                })
            })?;
            out.insert(name.to_owned(), self.table(name, path).map_err(SearchError::Pipes)?);
        }
        Ok(Arc::new(out))
    }

    /// A table as its file is now.
    fn table(&self, name: &str, path: &Path) -> Result<Arc<LookupTable>, String> {
        let failed = |what: String| format!("table `{name}`: {}: {what}", path.display());
        let is = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
        let stamp = Stamp::of(&is);
        if let Some((_, table)) = self.known.lock().get(name).filter(|(s, _)| *s == stamp) {
            return Ok(table.clone());
        }
        if is.len() > FILE_BYTES_MAX {
            return Err(failed(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)));
        }
        let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        let table = Arc::new(parsed(&bytes).map_err(failed)?);
        if stamp.is_settled() {
            self.known.lock().insert(name.to_owned(), (stamp, table.clone()));
        }
        Ok(table)
    }
}

fn named<'q>(pipes: &'q [Pipe], names: &mut BTreeSet<&'q str>) {
    for pipe in pipes {
        match pipe {
            Pipe::Lookup { table, .. } => drop(names.insert(table)),
            Pipe::Join { other, .. } => named(&other.pipes, names),
            _ => {}
        }
    }
}

/// A table of a file's bytes; rows may be short.
fn parsed(bytes: &[u8]) -> Result<LookupTable, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is no UTF-8: {e}"))?;
    let header = text.lines().next().unwrap_or_default();
    let is_in = |c: &&u8| header.as_bytes().contains(*c);
    // What programs of other countries write in a comma's place, if there is no comma.
    let separator = *b",;\t".iter().find(is_in).unwrap_or(&b',');
    let too_many = || format!("it has more than {} million cells", CELLS_MAX >> 20);
    if memchr::memchr2_iter(separator, b'\n', bytes).count() > CELLS_MAX {
        return Err(too_many());
    }
    let mut rows = tables::cells(text.as_bytes(), separator).into_iter().map(|row| {
        let text = |cell| String::from_utf8(cell).unwrap_or_default();
        row.into_iter().map(text).collect::<Vec<String>>()
    });
    let columns: Vec<String> = rows.next().unwrap_or_default();
    let distinct: BTreeSet<&String> = columns.iter().collect();
    if distinct.len() < columns.len() || columns.iter().any(String::is_empty) {
        return Err("its first line must name each column, all of them differently".into());
    }
    if !(2..=COLUMNS_MAX).contains(&columns.len()) {
        return Err(format!("it must have 2 to {COLUMNS_MAX} columns"));
    }
    if rows.len().saturating_mul(columns.len()) > CELLS_MAX {
        return Err(too_many());
    }
    let mut out = Vec::with_capacity(rows.len());
    for (at, row) in rows.enumerate() {
        if row.len() > columns.len() {
            let (cells, wanted) = (row.len(), columns.len());
            return Err(format!("row {} has {cells} cells, the header {wanted}", at + 2));
        }
        out.push(row);
    }
    Ok(LookupTable { columns, rows: out })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn tables_as_people_export_them() {
        let table = parsed(
            b"\xef\xbb\xbfhost,owner\r\nweb-1,\"M\xc3\xbcller, J\xc3\xb6rg\"\r\n\r\nweb-2\r\n",
        )
        .unwrap();
        assert_eq!(table.columns, ["host", "owner"]);
        assert_eq!(table.rows, [vec!["web-1", "M\u{fc}ller, J\u{f6}rg"], vec!["web-2"]]);
        assert_eq!(parsed(b"ip;site\n10.0.0.1;K\n").unwrap().rows, [["10.0.0.1", "K"]]);
        for (wrong, what) in [
            (&b"a,b\n1,2,3\n"[..], "row 2 has 3 cells"),
            (b"a,a\n1,2\n", "differently"),
            (b"a,\n1,2\n", "differently"),
            (b"a\n1\n", "2 to"),
            (b"", "2 to"),
            (b"a,b\n\xff,1\n", "UTF-8"),
        ] {
            assert!(parsed(wrong).unwrap_err().contains(what), "{wrong:?}");
        }
    }

    /// Scenario: many rows of one cell below a header of many columns; a file of separators alone.
    /// Guarantees: what rows lack takes no memory, and is counted: a table of too many cells is refused.
    #[test]
    fn short_rows_take_no_more_than_they_hold() {
        let table = |columns: usize, rows: usize| {
            let names: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
            parsed((names.join(",") + "\n" + &"a\n".repeat(rows)).as_bytes())
        };
        let small = table(200, 1_000).unwrap();
        assert!(small.rows.iter().all(|row| row.len() == 1 && row.capacity() < 200));
        assert!(table(256, 150_000).unwrap_err().contains("million cells"));
        let separators = format!("a,b\n{}", ",".repeat(CELLS_MAX));
        assert!(parsed(separators.as_bytes()).unwrap_err().contains("million cells"));
    }

    #[test]
    fn a_changed_file_is_read_again_and_names_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts.csv");
        std::fs::write(&path, "host,owner\nweb-1,eve\n").unwrap();
        let files = [("hosts".to_owned(), path.clone())].into();
        let lookups = Lookups { files, known: Mutex::default() };
        let query = |text| filter::search::parse(text, 0).unwrap();
        let asked = query("* | stats count() by h | lookup hosts h");
        let owner = || lookups.of_query(&asked).unwrap()["hosts"].rows[0][1].clone();
        assert_eq!(owner(), "eve");
        std::fs::write(&path, "host,owner\nweb-1,mallory\n").unwrap();
        assert_eq!(owner(), "mallory");
        let other =
            query("* | stats count() by h | join h [* | stats dc(x) by h | lookup people h]");
        let told = lookups.of_query(&other).unwrap_err().to_string();
        assert!(told.contains("no table `people`; there are: hosts"), "{told}");
        std::fs::write(&path, "host,owner\nweb-1,a,b\n").unwrap();
        assert!(lookups.of_query(&asked).unwrap_err().to_string().contains("row 2"));
        assert!(lookups.check().is_err());
    }
}
