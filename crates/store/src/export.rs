//! Search results as files, without a limit on their number, with a manifest that proves them.

use crate::coded;
use crate::error::{SearchError, StoreError};
use crate::kernel::answers;
use crate::manifest::{sync_file, sync_folder};
use crate::pipes;
use crate::render::{columns_json, event_json, values};
use crate::rows::{FullRow, RowRef};
use crate::scan::Scan;
use crate::search::{Portion, Row, SearchRequest, Shape, shape};
use crate::store::Store;
use crate::verify::hash_file;
use crate::write::write_plain_file;
use event::Kind;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Rows per file of an export.
const FILE_ROWS: u64 = 1_000_000;
/// Rows of a Parquet file of an export: they are in memory while it is written.
const PARQUET_ROWS: usize = 65_536;
/// Rows read at a time.
const READ_ROWS: usize = 2_048;
/// Columns of a CSV export whose query names none.
const CSV_COLUMNS: [&str; 10] = [
    "@timestamp",
    "event.id",
    "alcedo.source",
    "host.name",
    "user.name",
    "source.ip",
    "destination.ip",
    "event.action",
    "message",
    "event.original",
];

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180, with a header. Columns are those of `| fields`, or a common choice.
    Csv,
    /// The store's own layout, whole events only, every record's bytes as they are.
    Parquet,
}

/// One file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportFile {
    /// Path below the export's folder.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What was exported; written as `manifest.json` beside the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportManifest {
    /// The query as given by the caller.
    pub query: String,
    /// Time range of `@timestamp`, ns.
    pub since_ns: Option<i64>,
    /// End of it, exclusive.
    pub until_ns: Option<i64>,
    /// Format of the files.
    pub format: ExportFormat,
    /// Rows in all files.
    pub rows: u64,
    /// Why rows are missing (`timeout`, `cancelled`, files that could not be read), if they are.
    pub partial: Option<String>,
    /// The files.
    pub files: Vec<ExportFile>,
}

impl Store {
    /// Writes all results of a search into the folder `dir`, which must be empty or not exist, and a
    /// manifest last. Events come file by file, not sorted over all of them; the request's limit is
    /// not used, its timeout and cancellation are. `told` hears now and then how many rows there are.
    pub fn export(
        &self,
        request: &SearchRequest,
        query: &str,
        format: ExportFormat,
        dir: &Path,
        told: &mut dyn FnMut(u64),
    ) -> Result<ExportManifest, SearchError> {
        if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(StoreError::file(dir, "it is not empty: export into a new folder").into());
        }
        let _admitted = self.admit()?;
        fs::create_dir_all(dir).map_err(StoreError::io("creating", dir))?;
        let mut sink = Sink::new(dir, format, request);
        let (snapshot, missing) = self.snapshot();
        let mut partial = (missing > 0).then(|| format!("{missing} files are missing"));
        match shape(request) {
            Shape::Events { filter, limit: _, fields } => {
                sink.columns = fields.or(sink.columns);
                partial =
                    whole_events(&mut sink, request.scan(snapshot, filter).once_through(), told)?
                        .or(partial);
            }
            Shape::Pipes { filter, pipes } => {
                if format == ExportFormat::Parquet {
                    let text = "tables are exported as NDJSON or CSV; Parquet is for whole events";
                    return Err(SearchError::Pipes(text.into()));
                }
                let scan = request.scan(snapshot, filter);
                let started = std::time::Instant::now();
                let mut failed = None;
                let mut each = |row: Row| match sink.table_row(&row) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                };
                let summary = pipes::run(scan, request, &pipes, None, started, &mut each)?;
                if let Some(error) = failed {
                    return Err(error.into());
                }
                partial = summary.partial.or(partial);
            }
        }
        let files = sink.finish()?;
        let manifest = ExportManifest {
            query: query.into(),
            since_ns: request.since_ns,
            until_ns: request.until_ns,
            format,
            rows: files.iter().map(|f| f.rows).sum(),
            partial,
            files,
        };
        let path = dir.join("manifest.json");
        let text = serde_json::to_vec_pretty(&manifest).expect("plain data always serialises");
        fs::write(&path, text).map_err(StoreError::io("writing", &path))?;
        sync_file(&path)?;
        sync_folder(dir)?;
        Ok(manifest)
    }
}

/// Writes all events of a pass, unit by unit. Out: why it is not all of them, if so.
fn whole_events(
    sink: &mut Sink<'_>,
    mut scan: Scan,
    told: &mut dyn FnMut(u64),
) -> Result<Option<String>, SearchError> {
    let mut portion = Portion::default();
    while let Some(selected) = scan.next(None)? {
        let mut rest = &selected.rows[..];
        while !rest.is_empty() {
            let (rows, later) = rest.split_at(portion.rows(READ_ROWS).min(rest.len()));
            rest = later;
            match scan.snapshot.full_rows(selected.unit, rows) {
                Ok(rows) => {
                    portion.had(rows.len(), rows.iter().map(FullRow::size_bytes).sum());
                    sink.events(rows)?;
                }
                Err(error) => {
                    scan.pass_over(selected.unit, &error);
                    break;
                }
            }
            told(sink.rows);
        }
    }
    Ok(scan.counters.partial())
}

/// The files being written.
struct Sink<'a> {
    dir: &'a Path,
    format: ExportFormat,
    request: &'a SearchRequest,
    columns: Option<Vec<String>>,
    open: Option<(PathBuf, BufWriter<File>, u64)>,
    waiting: Vec<FullRow>,
    files: Vec<ExportFile>,
    /// Rows taken so far.
    rows: u64,
}

impl<'a> Sink<'a> {
    fn new(dir: &'a Path, format: ExportFormat, request: &'a SearchRequest) -> Self {
        let default = || CSV_COLUMNS.iter().map(|c| (*c).to_owned()).collect();
        let columns = (format == ExportFormat::Csv).then(default);
        let (waiting, files) = (Vec::new(), Vec::new());
        Self { dir, format, request, columns, open: None, waiting, files, rows: 0 }
    }

    fn events(&mut self, rows: Vec<FullRow>) -> Result<(), StoreError> {
        self.rows += rows.len() as u64;
        if self.format == ExportFormat::Parquet {
            self.waiting.extend(rows);
            return match self.waiting.len() >= PARQUET_ROWS {
                true => self.parquet(),
                false => Ok(()),
            };
        }
        let dict = &self.request.dictionary;
        let named = self.columns.iter().flatten().map(|n| (n.clone(), answers(dict, n)));
        let named: Vec<(String, Vec<Box<str>>)> = named.collect();
        for row in &rows {
            let line = match (self.format, self.columns.is_some()) {
                (ExportFormat::Csv, _) => csv_event(row, &named),
                (_, true) => columns_json(row, &named),
                (_, false) => event_json(row),
            };
            let header = csv_line(named.iter().map(|(name, _)| &**name));
            self.line(&line, &header)?;
        }
        Ok(())
    }

    fn table_row(&mut self, row: &Row) -> Result<(), StoreError> {
        self.rows += 1;
        if self.format != ExportFormat::Csv {
            return self.line(&row.json, "");
        }
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&row.json).unwrap_or_default();
        let cells = object.values().map(|value| match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let cells: Vec<String> = cells.collect();
        let header = csv_line(object.keys().map(|k| &**k));
        self.line(&csv_line(cells.iter().map(|c| &**c)), &header)
    }

    fn line(&mut self, line: &str, header: &str) -> Result<(), StoreError> {
        if self.open.as_ref().is_some_and(|(.., rows)| *rows >= FILE_ROWS) {
            self.close()?;
        }
        if self.open.is_none() {
            let end = if self.format == ExportFormat::Csv { "csv" } else { "ndjson" };
            let path = self.dir.join(format!("part-{:05}.{end}", self.files.len()));
            let file = File::create(&path).map_err(StoreError::io("creating", &path))?;
            let mut out = BufWriter::new(file);
            if self.format == ExportFormat::Csv {
                out.write_all(header.as_bytes()).map_err(StoreError::io("writing", &path))?;
                out.write_all(b"\r\n").map_err(StoreError::io("writing", &path))?;
            }
            self.open = Some((path, out, 0));
        }
        if let Some((path, out, rows)) = &mut self.open {
            let end: &[u8] = if self.format == ExportFormat::Csv { b"\r\n" } else { b"\n" };
            out.write_all(line.as_bytes()).map_err(StoreError::io("writing", path))?;
            out.write_all(end).map_err(StoreError::io("writing", path))?;
            *rows += 1;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some((path, out, rows)) = self.open.take() else { return Ok(()) };
        let file =
            out.into_inner().map_err(|e| StoreError::io("writing", &path)(e.into_error()))?;
        file.sync_all().map_err(StoreError::io("syncing", &path))?;
        self.listed(&path, rows)
    }

    fn listed(&mut self, path: &Path, rows: u64) -> Result<(), StoreError> {
        let (bytes, sha256) = hash_file(path).map_err(StoreError::io("reading", path))?;
        let below = path.strip_prefix(self.dir).unwrap_or(path);
        let path = below.to_string_lossy().replace('\\', "/");
        self.files.push(ExportFile { path, rows, bytes, sha256 });
        Ok(())
    }

    fn parquet(&mut self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Ok(());
        }
        let mut refs: Vec<RowRef<'_>> = rows.iter().map(RowRef::Full).collect();
        let number = self.files.len() as u64;
        let entry = write_plain_file(self.dir, &mut refs, number, &self.request.dictionary)?;
        let path = self.dir.join(&entry.path);
        // Other programs have no use for the index.
        let index = crate::sidecar::index_path(&path);
        fs::remove_file(&index).map_err(StoreError::io("removing", &index))?;
        self.listed(&path, entry.rows)
    }

    fn finish(mut self) -> Result<Vec<ExportFile>, StoreError> {
        self.parquet()?;
        self.close()?;
        Ok(self.files)
    }
}

fn csv_event(row: &FullRow, columns: &[(String, Vec<Box<str>>)]) -> String {
    let cells = columns.iter().map(|(_, answers)| match &values(row, answers)[..] {
        [] | [(Kind::Null, _)] => String::new(),
        [(_, bytes)] => String::from_utf8_lossy(bytes).into_owned(),
        many => {
            let coded = coded::Coded::of_values(vec![many.to_vec()]);
            coded.text(coded.codes[0]).unwrap_or_default().to_owned()
        }
    });
    let cells: Vec<String> = cells.collect();
    csv_line(cells.iter().map(|c| &**c))
}

/// RFC 4180: quoted where it has to be. A cell that a spreadsheet would take for a formula gets an
/// apostrophe in front: whoever writes a log line must not run code where it is opened.
fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(',');
        }
        let guard = if is_formula(cell) { "'" } else { "" };
        match cell.contains(['"', ',', '\n', '\r']) {
            true => {
                out.push('"');
                out.push_str(guard);
                out.push_str(&cell.replace('"', "\"\""));
                out.push('"');
            }
            false => {
                out.push_str(guard);
                out.push_str(cell);
            }
        }
    }
    out
}

/// Whether a spreadsheet would evaluate the text; a number with a sign is one all the same.
fn is_formula(cell: &str) -> bool {
    match cell.as_bytes().first() {
        Some(b'=' | b'@' | b'\t' | b'\r') => true,
        Some(b'+' | b'-') => cell.parse::<f64>().is_err(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(
            csv_line(["a", "b,c", "d\"e", "f\ng", ""].into_iter()),
            "a,\"b,c\",\"d\"\"e\",\"f\ng\","
        );
        assert_eq!(
            csv_line(["=1+1", "-5", "-x", "@a,b", "a=b"].into_iter()),
            "'=1+1,-5,'-x,\"'@a,b\",a=b"
        );
    }
}
