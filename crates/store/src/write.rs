//! Rows become one Parquet file: written beside its place, fsynced, then renamed.

use crate::error::StoreError;
use crate::layout::{self, FieldColumn, GROUP_ROWS, Usage, envelope};
use crate::manifest::{FileEntry, sync_folder};
use crate::residual;
use crate::rows::RowRef;
use arrow::array::{
    ArrayRef, BinaryBuilder, RecordBatch, StringBuilder, StringDictionaryBuilder,
    TimestampNanosecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{Int32Type, Schema};
use event::{Dictionary, EventId, Kind, time};
use hashbrown::{HashMap, HashSet};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Rows between two checks of a page's size: pages stay near 8k rows for the page index.
const PAGE_ROWS: usize = 8_192;

/// Writes `rows` (at least one, of one partition) below `root`; `after` is where coverage starts.
/// On return the file is durable under its name but nobody knows of it yet.
pub(crate) fn write_file(
    root: &Path,
    rows: &mut [RowRef<'_>],
    after: Option<EventId>,
    generation: u64,
    dict: &Dictionary,
) -> Result<FileEntry, StoreError> {
    let bounds = |of: fn(&RowRef<'_>) -> i64| {
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for row in rows.iter() {
            (low, high) = (low.min(of(row)), high.max(of(row)));
        }
        (low, high)
    };
    let (event_min_ns, event_max_ns) = bounds(|r| r.event_ns());
    let (received_min_ns, received_max_ns) = bounds(|r| r.received_ns());
    let first = rows.iter().map(RowRef::id).min().unwrap_or_default();
    let last = rows.iter().map(RowRef::id).max().unwrap_or_default();
    rows.sort_unstable_by_key(|row| (row.event_ns(), row.id()));

    let folder = hour_folder(received_max_ns);
    let name = format!("{}-{}-{}-{generation}.parquet", first.partition, first.offset, last.offset);
    let path = format!("{folder}/{name}");
    let full_folder = root.join(&folder);
    fs::create_dir_all(&full_folder).map_err(StoreError::io("creating", &full_folder))?;
    let tmp = full_folder.join(format!("{name}.tmp"));
    let target = full_folder.join(&name);

    let (size_bytes, sha256) = write_parquet(&tmp, rows, dict)?;
    fs::rename(&tmp, &target).map_err(StoreError::io("renaming", &tmp))?;
    // The hour folder may be new, and its parent too.
    sync_folder(&full_folder)?;
    for parent in full_folder.ancestors().skip(1).take_while(|p| p.starts_with(root)) {
        sync_folder(parent)?;
    }
    Ok(FileEntry {
        path,
        first,
        last,
        after,
        rows: rows.len() as u64,
        size_bytes,
        sha256,
        event_min_ns,
        event_max_ns,
        received_min_ns,
        received_max_ns,
    })
}

/// `events/date=2026-11-24/hour=02`: the layout that other engines read as partitions.
pub(crate) fn hour_folder(received_ns: i64) -> String {
    let text = time::rfc3339(received_ns);
    let (date, rest) = text.split_once('T').unwrap_or((&text, "00"));
    format!("events/date={date}/hour={}", rest.get(..2).unwrap_or("00"))
}

fn write_parquet(
    tmp: &Path,
    rows: &[RowRef<'_>],
    dict: &Dictionary,
) -> Result<(u64, String), StoreError> {
    let wrong = |e: parquet::errors::ParquetError| StoreError::file(tmp, e);
    let file = File::create(tmp).map_err(StoreError::io("creating", tmp))?;
    let out = Hashing { inner: file, hash: Sha256::new(), size: 0 };
    let columns = layout::choose(&usage(rows), rows.len() as u64, dict);
    let schema = layout::schema(&columns);
    let properties = properties(&columns, rows.len());
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(wrong)?;
    let mut residual_names = HashSet::new();
    for chunk in rows.chunks(GROUP_ROWS) {
        let batch = record_batch(chunk, &columns, &schema, &mut residual_names)
            .map_err(|e| StoreError::file(tmp, e))?;
        writer.write(&batch).map_err(wrong)?;
        writer.flush().map_err(wrong)?;
    }
    for (key, value) in metadata(&columns, residual_names) {
        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }
    let out = writer.into_inner().map_err(wrong)?;
    out.inner.sync_all().map_err(StoreError::io("syncing", tmp))?;
    let digest: String = out.hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok((out.size, digest))
}

struct Hashing {
    inner: File,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn properties(columns: &[FieldColumn], rows: usize) -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        // Raw records hardly repeat: a dictionary of them is work for nothing.
        .set_column_dictionary_enabled(ColumnPath::new(vec![envelope::ORIGINAL.into()]), false)
        .set_column_statistics_enabled(
            ColumnPath::new(vec![envelope::ORIGINAL.into()]),
            EnabledStatistics::None,
        );
    for column in columns.iter().filter(|c| c.bloom) {
        let path = ColumnPath::new(vec![column.name.to_string()]);
        builder = builder
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_ndv(path, rows.clamp(64, GROUP_ROWS) as u64);
    }
    builder.build()
}

fn metadata(columns: &[FieldColumn], names: HashSet<Box<str>>) -> [(&'static str, String); 2] {
    let kinds: serde_json::Map<String, serde_json::Value> = columns
        .iter()
        .filter(|c| c.kind != Kind::Str)
        .map(|c| (c.name.to_string(), residual::letter(c.kind).to_string().into()))
        .collect();
    let listed = match names.len() > layout::RESIDUAL_NAMES_MAX {
        true => serde_json::Value::Null,
        false => {
            let mut names: Vec<Box<str>> = names.into_iter().collect();
            names.sort();
            names.into_iter().map(String::from).collect()
        }
    };
    [
        (layout::META_KINDS, serde_json::Value::Object(kinds).to_string()),
        (layout::META_RESIDUAL, listed.to_string()),
    ]
}

/// How often each name occurs, and as what. Bounded by the rows themselves.
fn usage(rows: &[RowRef<'_>]) -> HashMap<Box<str>, Usage> {
    let mut borrowed: HashMap<&str, (Usage, usize)> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        row.cells(&mut |name, kind, _| {
            let (usage, last_row) = borrowed.entry(name).or_insert((Usage::default(), usize::MAX));
            usage.rows += u64::from(*last_row != at);
            *last_row = at;
            usage.kinds[kind as usize] += 1;
        });
    }
    borrowed.into_iter().map(|(name, (usage, _))| (name.into(), usage)).collect()
}

type TextBuilder = StringDictionaryBuilder<Int32Type>;

/// A field column in the making; `pending` is the current row's cell of this field.
struct ColumnBuilder {
    kind: Kind,
    text: TextBuilder,
    filled: usize,
    row: usize,
    count: u32,
}

fn record_batch(
    rows: &[RowRef<'_>],
    columns: &[FieldColumn],
    schema: &Arc<Schema>,
    residual_names: &mut HashSet<Box<str>>,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let by_name: HashMap<&str, usize> =
        columns.iter().enumerate().map(|(i, c)| (&*c.name, i)).collect();
    let mut builders: Vec<ColumnBuilder> = columns
        .iter()
        .map(|c| ColumnBuilder {
            kind: c.kind,
            text: TextBuilder::new(),
            filled: 0,
            row: usize::MAX,
            count: 0,
        })
        .collect();
    let mut rest = StringBuilder::new();
    let mut cells: Vec<(Option<usize>, &str, Kind, &[u8])> = Vec::new();
    let mut json = String::new();
    for (at, row) in rows.iter().enumerate() {
        cells.clear();
        row.cells(&mut |name, kind, bytes| {
            let column = by_name.get(name).copied();
            if let Some(builder) = column.map(|c| &mut builders[c]) {
                builder.count = if builder.row == at { builder.count + 1 } else { 1 };
                builder.row = at;
            }
            cells.push((column, name, kind, bytes));
        });
        json.clear();
        for (column, name, kind, bytes) in &cells {
            let text = std::str::from_utf8(bytes).ok();
            if let (Some(column), Some(text)) = (column, text) {
                let builder = &mut builders[*column];
                if builder.count == 1 && builder.kind == *kind {
                    builder.text.append_nulls(at - builder.filled);
                    builder.text.append(text)?;
                    builder.filled = at + 1;
                    continue;
                }
            }
            if !residual_names.contains(*name) && residual_names.len() <= layout::RESIDUAL_NAMES_MAX
            {
                residual_names.insert((*name).into());
            }
            residual::push(&mut json, name, *kind, bytes);
        }
        match json.is_empty() {
            true => rest.append_null(),
            false => {
                residual::finish(&mut json);
                rest.append_value(&json);
            }
        }
    }
    let mut arrays = envelope_arrays(rows)?;
    for mut builder in builders {
        builder.text.append_nulls(rows.len() - builder.filled);
        arrays.push(Arc::new(builder.text.finish()));
    }
    arrays.push(Arc::new(rest.finish()));
    RecordBatch::try_new(schema.clone(), arrays)
}

fn envelope_arrays(rows: &[RowRef<'_>]) -> Result<Vec<ArrayRef>, arrow::error::ArrowError> {
    let mut texts: [TextBuilder; 6] = std::array::from_fn(|_| TextBuilder::new());
    let mut raw = BinaryBuilder::new();
    let heads: Vec<_> = rows.iter().map(RowRef::head).collect();
    for (row, head) in rows.iter().zip(&heads) {
        let e = &head.envelope;
        let values = [&*e.source, &*e.identity, &*e.peer, e.protocol.name(), &*e.path, &*e.pack];
        for (builder, value) in texts.iter_mut().zip(values) {
            builder.append(value)?;
        }
        raw.append_value(row.raw());
    }
    let times = |of: fn(&crate::rows::Head) -> i64| -> ArrayRef {
        let array = TimestampNanosecondArray::from_iter_values(heads.iter().map(of));
        Arc::new(array.with_timezone("UTC"))
    };
    let [source, identity, peer, protocol, path, pack] =
        texts.map(|mut t| Arc::new(t.finish()) as ArrayRef);
    Ok(vec![
        Arc::new(UInt32Array::from_iter_values(heads.iter().map(|h| h.id.partition))),
        Arc::new(UInt64Array::from_iter_values(heads.iter().map(|h| h.id.offset))),
        Arc::new(UInt32Array::from_iter_values(heads.iter().map(|h| h.id.sub))),
        times(|h| h.event_ns),
        times(|h| h.received_ns),
        times(|h| h.stream_ns),
        Arc::new(UInt32Array::from_iter_values(heads.iter().map(|h| h.weight))),
        Arc::new(UInt16Array::from_iter_values(heads.iter().map(|h| h.marks.0))),
        source,
        identity,
        peer,
        protocol,
        Arc::new(UInt64Array::from_iter_values(heads.iter().map(|h| h.envelope.connection))),
        path,
        pack,
        Arc::new(raw.finish()),
    ])
}
