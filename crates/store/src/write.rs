//! Rows become one Parquet file and its index: written beside their places, fsynced, then renamed.

use crate::checks::{self, BLOCK_BYTES, BlockSums, FooterSum};
use crate::error::StoreError;
use crate::fine::{self, MICRO_NS};
use crate::layout::{self, FieldColumn, GROUP_ROWS, Type, Usage, envelope, typed};
use crate::manifest::{FileEntry, sync_folder};
use crate::residual;
use crate::rows::{Head, RowRef};
use crate::sidecar::{GroupIndex, SidecarWriter, block_of, index_path};
use crate::stamp::{Stamp, of_long};
use crate::template;
use crate::texts::Texts;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, DictionaryArray, Float64Builder,
    Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{
    Float64Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::error::ArrowError;
use event::{Dictionary, EventId, Kind, time};
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most rows of a page: what a single row costs to read.
const PAGE_ROWS: usize = 4_096;
/// Bytes of a page before packing, about: a row of a search's answer costs unpacking one of each of its
/// columns. Of 1 MiB, 512 and 256 KiB, ingest takes 25.1, 25.4 and 28.9 s of CPU a GB, files 0.119, 0.123 and
/// 0.125 of the NDJSON, a needle 52, 3 and 3 ms (measured on 1.3 million events; the first on 2.6 million).
const PAGE_BYTES: usize = 512 << 10;
/// Values between two looks at a page's size.
const PAGE_LOOK_VALUES: usize = 256;
/// Rows that are looked at to choose columns.
pub(crate) const SAMPLE_ROWS: usize = 1_024;
/// Rows of one group that a template must serve; for fewer the raw bytes are smaller.
const TEMPLATE_ROWS_MIN: usize = 4;
/// Compression of files that are likely to be rewritten soon, and of others.
pub(crate) const ZSTD_HOT: i32 = 1;
pub(crate) const ZSTD_SETTLED: i32 = 3;
/// Of texts that hardly repeat, in settled files: they are half of a file, and this takes a twelfth off
/// them for two seconds of CPU per GB of logs; off other columns it takes nothing.
const ZSTD_SETTLED_TEXT: i32 = 6;

/// Writes `rows` (at least one, of one partition) below `root`; `after` is where coverage starts.
/// On return the file is durable under its name but nobody knows of it yet.
pub(crate) fn write_file(
    root: &Path,
    rows: &mut [RowRef<'_>],
    after: Option<EventId>,
    generation: u64,
    dict: &Dictionary,
) -> Result<FileEntry, StoreError> {
    write_as(Raw::Templates, root, rows, after, generation, dict)
}

/// The same for programs that know nothing of templates.
pub(crate) fn write_plain_file(
    root: &Path,
    rows: &mut [RowRef<'_>],
    generation: u64,
    dict: &Dictionary,
) -> Result<FileEntry, StoreError> {
    write_as(Raw::Bytes, root, rows, None, generation, dict)
}

/// How records' bytes are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Raw {
    /// As templates where that gives them back.
    Templates,
    /// As they are.
    Bytes,
}

fn write_as(
    raw: Raw,
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
    let entry = FileEntry {
        path: file_path(received_max_ns, first, last, generation),
        first,
        last,
        after,
        rows: rows.len() as u64,
        event_min_ns,
        event_max_ns,
        received_min_ns,
        received_max_ns,
        ..FileEntry::default()
    };
    sort(rows);
    let columns = layout::choose(&usage(rows), rows.len().min(SAMPLE_ROWS) as u64, dict);
    let mut writer = FileWriter::create(root, entry, columns, ZSTD_HOT)?;
    writer.raw = raw;
    for chunk in rows.chunks(GROUP_ROWS) {
        writer.group(chunk)?;
    }
    writer.finish()
}

/// Name of a file below the store's folder.
pub(crate) fn file_path(
    received_ns: i64,
    first: EventId,
    last: EventId,
    generation: u64,
) -> String {
    let folder = hour_folder(received_ns);
    format!("{folder}/{}-{}-{}-{generation}.parquet", first.partition, first.offset, last.offset)
}

/// `events/date=2026-11-24/hour=02`: the layout that other engines read as partitions.
pub(crate) fn hour_folder(received_ns: i64) -> String {
    let text = time::rfc3339(received_ns);
    let (date, rest) = text.split_once('T').unwrap_or((&text, "00"));
    format!("events/date={date}/hour={}", rest.get(..2).unwrap_or("00"))
}

/// What stands together in a file: pack, source, module and kind of event, then the host.
pub(crate) fn lead(row: &RowRef<'_>, lead: &mut Vec<u8>, host: &mut Vec<u8>) {
    lead.clear();
    host.clear();
    row.envelope_texts(&mut |pack, source| {
        lead.extend_from_slice(pack.as_bytes());
        lead.push(0);
        lead.extend_from_slice(source.as_bytes());
        lead.push(0);
    });
    lead.extend_from_slice(row.first("event.module").unwrap_or_default());
    lead.push(0);
    let kind = row.first("event.code").or_else(|| row.first("event.action"));
    lead.extend_from_slice(kind.unwrap_or_default());
    host.extend_from_slice(row.first("host.name").unwrap_or_default());
}

/// Puts rows in the order of a file.
pub(crate) fn sort(rows: &mut [RowRef<'_>]) {
    let (mut leads, mut hosts) = (Ranks::default(), Ranks::default());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let seen: Vec<(u32, u32)> = rows
        .iter()
        .map(|row| {
            lead(row, &mut a, &mut b);
            (leads.number(&a), hosts.number(&b))
        })
        .collect();
    let (leads, hosts) = (leads.ranks(), hosts.ranks());
    let mut keyed: Vec<_> = rows
        .iter()
        .zip(seen)
        .map(|(row, (l, h))| {
            ((leads[l as usize], hosts[h as usize], row.event_ns(), row.id()), *row)
        })
        .collect();
    keyed.sort_unstable_by_key(|(key, _)| *key);
    rows.iter_mut().zip(keyed).for_each(|(row, (_, sorted))| *row = sorted);
}

/// Texts as numbers, later as ranks in their order.
#[derive(Default)]
struct Ranks {
    numbers: HashMap<Box<[u8]>, u32>,
}

impl Ranks {
    fn number(&mut self, text: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(text.into(), number);
        number
    }

    fn ranks(&self) -> Vec<u32> {
        let mut sorted: Vec<(&[u8], u32)> = self.numbers.iter().map(|(t, n)| (&**t, *n)).collect();
        sorted.sort_unstable();
        let mut out = vec![0; sorted.len()];
        for (rank, (_, number)) in sorted.into_iter().enumerate() {
            out[number as usize] = rank as u32;
        }
        out
    }
}

/// Looks at a sample of the rows.
pub(crate) fn usage(rows: &[RowRef<'_>]) -> HashMap<Box<str>, Usage> {
    let mut out: HashMap<Box<str>, (Usage, usize)> = HashMap::new();
    let hasher = DefaultHashBuilder::default();
    let step = rows.len().div_ceil(SAMPLE_ROWS).max(1);
    for (at, row) in rows.iter().step_by(step).enumerate() {
        row.cells(&mut |name, kind, bytes| {
            if !out.contains_key(name) {
                out.insert(name.into(), (Usage::default(), usize::MAX));
            }
            let Some((usage, last)) = out.get_mut(name) else { return };
            if *last != at {
                (usage.rows, *last) = (usage.rows + 1, at);
            }
            usage.kinds[kind as usize] += 1;
            if let (Ok(text), false) = (std::str::from_utf8(bytes), kind == Kind::Null) {
                usage.distinct.insert(hasher.hash_one(text));
                if text.len() <= 40 {
                    usage.fits[0] += u64::from(typed::long(text).is_some());
                    let number =
                        text.as_bytes().first().is_some_and(|b| b"-0123456789".contains(b));
                    usage.fits[1] += u64::from(number && typed::double(text).is_some());
                    usage.fits[2] += u64::from(typed::boolean(text).is_some());
                    usage.fits[3] += u64::from(number && typed::at_us(text).is_some());
                }
            }
        });
    }
    out.into_iter().map(|(name, (usage, _))| (name, usage)).collect()
}

/// What a writer says of a file that it could not write: mostly that the system refused, as on a full disk.
fn unwritten(path: &Path, error: ParquetError) -> StoreError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => StoreError::io("writing", path)(*source),
            Err(inner) => StoreError::file(path, inner),
        },
        error => StoreError::file(path, error),
    }
}

/// A file and its index in the making.
pub(crate) struct FileWriter {
    root: PathBuf,
    entry: FileEntry,
    tmp: PathBuf,
    columns: Vec<FieldColumn>,
    schema: Arc<Schema>,
    level: i32,
    raw: Raw,
    parquet: Option<SerializedFileWriter<Hashing>>,
    sidecar: SidecarWriter,
    residual_names: HashSet<Box<str>>,
    rows: u64,
}

impl FileWriter {
    /// Begins the file that `entry` describes; size and hashes are filled in at the end.
    pub(crate) fn create(
        root: &Path,
        entry: FileEntry,
        columns: Vec<FieldColumn>,
        level: i32,
    ) -> Result<Self, StoreError> {
        let target = root.join(&entry.path);
        let folder = target.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(StoreError::io("creating", folder))?;
        let tmp = target.with_extension("parquet.tmp");
        let sidecar = SidecarWriter::create(&target.with_extension("idx.tmp"))?;
        let schema = layout::schema(&columns);
        Ok(Self {
            root: root.into(),
            entry,
            tmp,
            columns,
            schema,
            level,
            raw: Raw::Templates,
            parquet: None,
            sidecar,
            residual_names: HashSet::new(),
            rows: 0,
        })
    }

    /// Writes the next rows, at most a group, in the order of the file.
    pub(crate) fn group(&mut self, rows: &[RowRef<'_>]) -> Result<(), StoreError> {
        let heads: Vec<Head> = rows.iter().map(RowRef::head).collect();
        let mut index = GroupIndex::new();
        let mut builder = GroupBuilder::new(&self.columns, &mut self.residual_names, &mut index);
        builder.raw = self.raw;
        let arrow = |e: ArrowError| StoreError::file(&self.tmp, e);
        for (row, head) in rows.iter().zip(&heads) {
            builder.row(row, head).map_err(arrow)?;
        }
        let arrays = builder.finish(rows, &heads).map_err(arrow)?;
        let wrong = |e: ParquetError| unwritten(&self.tmp, e);
        let mut parquet = match self.parquet.take() {
            Some(parquet) => parquet,
            None => {
                let file =
                    File::create(&self.tmp).map_err(StoreError::io("creating", &self.tmp))?;
                let properties = properties(&self.columns, &heads, self.level);
                let out = Hashing::new(file);
                let writer = ArrowWriter::try_new(out, self.schema.clone(), Some(properties));
                writer.and_then(ArrowWriter::into_serialized_writer).map_err(wrong)?.0
            }
        };
        write_columns(&mut parquet, &self.schema, arrays).map_err(wrong)?;
        self.parquet = Some(parquet);
        self.rows += rows.len() as u64;
        self.sidecar.group(index)
    }

    /// Makes both files durable under their names.
    pub(crate) fn finish(mut self) -> Result<FileEntry, StoreError> {
        let tmp = &self.tmp;
        let wrong = |e: ParquetError| unwritten(tmp, e);
        let mut parquet = self.parquet.ok_or_else(|| StoreError::file(tmp, "no rows"))?;
        let io = || StoreError::io("writing", tmp);
        parquet.flush().map_err(io())?;
        let (at, sums) = parquet.inner_mut().take_sums();
        parquet.write_all(&sums).map_err(io())?;
        parquet.flush().map_err(io())?;
        parquet.inner_mut().begin_footer();
        let place = checks::Place { at, block: BLOCK_BYTES };
        let place = serde_json::to_string(&place).expect("plain data always serialises");
        parquet.append_key_value_metadata(KeyValue::new(checks::META_CHECKS.to_owned(), place));
        for (key, value) in metadata(&self.columns, self.residual_names) {
            parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let out = parquet.into_inner().map_err(wrong)?;
        out.inner.sync_all().map_err(StoreError::io("syncing", tmp))?;
        self.entry.rows = self.rows;
        self.entry.size_bytes = out.size;
        self.entry.footer = Some(out.footer);
        self.entry.sha256 = hex(&out.hash.finalize());
        self.entry.index = Some(self.sidecar.finish()?);
        let target = self.root.join(&self.entry.path);
        let index = index_path(&target);
        let index_tmp = target.with_extension("idx.tmp");
        fs::rename(&index_tmp, &index).map_err(StoreError::io("renaming", &index_tmp))?;
        fs::rename(tmp, &target).map_err(StoreError::io("renaming", tmp))?;
        // The hour folder may be new, and its parent too.
        for parent in target.ancestors().skip(1).take_while(|p| p.starts_with(&self.root)) {
            sync_folder(parent)?;
        }
        Ok(self.entry)
    }
}

/// Writes a row group, a column after the other: each has tables of its values while it is written,
/// which for all columns at once is more than the rows themselves.
fn write_columns(
    file: &mut SerializedFileWriter<Hashing>,
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
) -> parquet::errors::Result<()> {
    let properties = file.properties().clone();
    let mut group = file.next_row_group()?;
    for (field, array) in schema.fields().iter().zip(arrays) {
        let alone = Arc::new(Schema::new(vec![field.clone()]));
        for mut column in column_writers(alone, &properties)? {
            for leaf in compute_leaves(field, &array)? {
                column.write(&leaf)?;
            }
            column.close()?.append_to_row_group(&mut group)?;
        }
    }
    group.close()?;
    Ok(())
}

/// The writer of a schema's only column. Writers are made for the schema of a whole file, so this one
/// is of a file that is never written.
fn column_writers(
    schema: SchemaRef,
    properties: &WriterPropertiesPtr,
) -> parquet::errors::Result<Vec<ArrowColumnWriter>> {
    let parquet = ArrowSchemaConverter::new().convert(&schema)?;
    let nowhere = std::io::sink();
    let file = SerializedFileWriter::new(nowhere, parquet.root_schema_ptr(), properties.clone())?;
    ArrowRowGroupWriterFactory::new(&file, schema).create_column_writers(0)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

struct Hashing {
    inner: File,
    hash: Sha256,
    size: u64,
    /// Of the row groups, until they are all there.
    sums: BlockSums,
    footer: FooterSum,
}

impl Hashing {
    fn new(inner: File) -> Self {
        let (sums, footer) = (BlockSums::default(), FooterSum { at: u64::MAX, crc32c: 0 });
        Self { inner, hash: Sha256::new(), size: 0, sums, footer }
    }

    /// Where the row groups end, and their checksums.
    fn take_sums(&mut self) -> (u64, Vec<u8>) {
        (self.size, std::mem::take(&mut self.sums).finish())
    }

    fn begin_footer(&mut self) {
        self.footer = FooterSum { at: self.size, crc32c: 0 };
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        match self.size >= self.footer.at {
            true => self.footer.crc32c = crc32c::crc32c_append(self.footer.crc32c, &bytes[..n]),
            false => self.sums.update(&bytes[..n]),
        }
        self.size += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn properties(columns: &[FieldColumn], heads: &[Head], level: i32) -> WriterProperties {
    let zstd = |level| Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default());
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut builder = WriterProperties::builder()
        .set_compression(zstd(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(PAGE_LOOK_VALUES)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_statistics_enabled(path(envelope::ORIGINAL), EnabledStatistics::None)
        .set_column_dictionary_enabled(path(envelope::RESIDUAL), false)
        .set_column_statistics_enabled(path(envelope::RESIDUAL), EnabledStatistics::Chunk);
    let mut delta = vec![envelope::OFFSET, envelope::TIMESTAMP, envelope::TIMESTAMP_NS];
    for (name, rest, of) in [
        (envelope::INGESTED, envelope::INGESTED_NS, (|h| h.received_ns) as fn(&Head) -> i64),
        (envelope::STREAM, envelope::STREAM_NS, |h| h.stream_ns),
    ] {
        // Times of receipt repeat where a batch came as one; what they leave is nothing but in rows of
        // before.
        let distinct: HashSet<i64> = heads.iter().map(of).collect();
        if distinct.len() > heads.len() / 8 {
            delta.push(name);
        }
        delta.push(rest);
    }
    let numbers = columns.iter().filter(|c| matches!(c.ty, Type::PlainLong | Type::Time));
    delta.extend(numbers.map(|c| &*c.name));
    for name in delta {
        builder = builder
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    let text_level = if level == ZSTD_HOT { ZSTD_HOT } else { ZSTD_SETTLED_TEXT };
    let plain = columns.iter().filter(|c| c.ty == Type::Plain).map(|c| &*c.name);
    // A dictionary of what hardly repeats, raw records among them, is work for nothing.
    for name in plain.chain([envelope::ORIGINAL]) {
        builder = builder
            .set_column_dictionary_enabled(path(name), false)
            .set_column_compression(path(name), zstd(text_level));
    }
    builder.build()
}

fn metadata(columns: &[FieldColumn], names: HashSet<Box<str>>) -> [(&'static str, String); 3] {
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
        (layout::META_FORMAT, layout::FORMAT.to_string()),
        (layout::META_KINDS, serde_json::Value::Object(kinds).to_string()),
        (layout::META_RESIDUAL, listed.to_string()),
    ]
}

enum Values {
    Text(Texts),
    Plain(StringBuilder),
    Long(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Values {
    fn new(ty: Type) -> Self {
        match ty {
            Type::Text => Values::Text(Texts::default()),
            Type::Plain => Values::Plain(StringBuilder::new()),
            Type::Long | Type::PlainLong => Values::Long(Int64Builder::new()),
            Type::Double => Values::Double(Float64Builder::new()),
            Type::Boolean => Values::Boolean(BooleanBuilder::new()),
            Type::Time => Values::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        }
    }

    fn nulls(&mut self, count: usize) {
        match self {
            Values::Text(b) => b.nulls(count),
            Values::Plain(b) => (0..count).for_each(|_| b.append_null()),
            Values::Long(b) => b.append_nulls(count),
            Values::Double(b) => b.append_nulls(count),
            Values::Boolean(b) => b.append_nulls(count),
            Values::Time(b) => b.append_nulls(count),
        }
    }

    /// Takes the text as a value of row `at`, of which `filled` have been given; false if it does not
    /// fit.
    fn offer(&mut self, text: &str, at: usize, filled: usize) -> Result<bool, ArrowError> {
        let nulls = at - filled;
        macro_rules! typed {
            ($builder:ident, $value:expr) => {{
                let Some(value) = $value else { return Ok(false) };
                $builder.append_nulls(nulls);
                $builder.append_value(value);
            }};
        }
        match self {
            Values::Text(b) => {
                b.nulls(nulls);
                b.push(text)?;
            }
            Values::Plain(b) => {
                (0..nulls).for_each(|_| b.append_null());
                b.append_value(text);
            }
            Values::Long(b) => typed!(b, typed::long(text)),
            Values::Double(b) => typed!(b, typed::double(text)),
            Values::Boolean(b) => typed!(b, typed::boolean(text)),
            Values::Time(b) => typed!(b, typed::at_us(text)),
        }
        Ok(true)
    }

    /// The column; every value of it is in the index then.
    fn finish(&mut self, index: &mut GroupIndex) -> Result<ArrayRef, ArrowError> {
        let array: ArrayRef = match self {
            Values::Text(texts) => return finish_texts(texts, index),
            Values::Plain(b) => Arc::new(b.finish()),
            Values::Long(b) => Arc::new(b.finish()),
            Values::Double(b) => Arc::new(b.finish()),
            Values::Boolean(b) => Arc::new(b.finish()),
            Values::Time(b) => Arc::new(b.finish().with_timezone("UTC")),
        };
        index_column(&array, index);
        Ok(array)
    }
}

fn finish_texts(texts: &mut Texts, index: &mut GroupIndex) -> Result<ArrayRef, ArrowError> {
    for (text, blocks) in texts.blocks() {
        index.in_blocks(blocks);
        index.cell(text);
    }
    texts.finish()
}

/// A field column in the making; `row` and `count` are about the current row's cells of this field.
struct ColumnBuilder {
    kind: Kind,
    values: Values,
    filled: usize,
    row: usize,
    count: u32,
}

/// Names whose column is remembered by address; others are looked up by name.
const KNOWN_NAMES: usize = 1_024;

/// Where a name is, and its column.
type KnownName = (*const u8, usize, Option<usize>);

/// The place of a name at this address among the remembered ones.
fn known_place(name: &str) -> usize {
    let address = name.as_ptr() as usize as u64;
    (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as usize % KNOWN_NAMES
}

/// One row group in the making.
struct GroupBuilder<'w, 'r> {
    by_name: HashMap<&'w str, usize>,
    /// Column by the address of the name: names of a batch or a file keep theirs.
    known: Box<[KnownName]>,
    columns: Vec<ColumnBuilder>,
    rest: StringBuilder,
    residual_names: &'w mut HashSet<Box<str>>,
    index: &'w mut GroupIndex,
    cells: Vec<Cell<'r>>,
    json: String,
    raw: Raw,
    templates: Templates,
    /// Template of each row.
    of_row: Vec<Option<u32>>,
    rows: usize,
}

impl<'w, 'r> GroupBuilder<'w, 'r> {
    fn new(
        columns: &'w [FieldColumn],
        residual_names: &'w mut HashSet<Box<str>>,
        index: &'w mut GroupIndex,
    ) -> Self {
        let builder = |c: &FieldColumn| ColumnBuilder {
            kind: c.kind,
            values: Values::new(c.ty),
            filled: 0,
            row: usize::MAX,
            count: 0,
        };
        Self {
            by_name: columns.iter().enumerate().map(|(i, c)| (&*c.name, i)).collect(),
            known: vec![(std::ptr::null(), 0, None); KNOWN_NAMES].into(),
            columns: columns.iter().map(builder).collect(),
            rest: StringBuilder::new(),
            residual_names,
            index,
            cells: Vec::new(),
            json: String::new(),
            raw: Raw::Templates,
            templates: Templates::default(),
            of_row: Vec::new(),
            rows: 0,
        }
    }

    fn row(&mut self, row: &RowRef<'r>, head: &Head) -> Result<(), ArrowError> {
        let at = self.rows;
        self.rows += 1;
        self.index.row(at);
        let mut cells = std::mem::take(&mut self.cells);
        cells.clear();
        row.cells(&mut |name, kind, bytes| {
            let known = &mut self.known[known_place(name)];
            if (known.0, known.1) != (name.as_ptr(), name.len()) {
                *known = (name.as_ptr(), name.len(), self.by_name.get(name).copied());
            }
            let column = known.2;
            if let Some(builder) = column.map(|c| &mut self.columns[c]) {
                builder.count = if builder.row == at { builder.count + 1 } else { 1 };
                builder.row = at;
            }
            cells.push(Cell { column, name, kind, bytes, text: std::str::from_utf8(bytes).ok() });
        });
        let columns = &self.columns;
        let once = |column: usize| columns[column].count == 1;
        self.of_row.push(match self.raw {
            Raw::Templates => self.templates.of(row.raw(), head.event_ns, &cells, &once),
            Raw::Bytes => None,
        });
        self.json.clear();
        for Cell { column, name, kind, bytes, text } in &cells {
            if let (Some(column), Some(text)) = (column, text) {
                let builder = &mut self.columns[*column];
                let single = builder.count == 1 && builder.kind == *kind;
                if single && builder.values.offer(text, at, builder.filled)? {
                    builder.filled = at + 1;
                    continue;
                }
            }
            let names = &mut self.residual_names;
            if names.len() <= layout::RESIDUAL_NAMES_MAX && !names.contains(*name) {
                names.insert((*name).into());
            }
            self.index.cell(bytes);
            residual::push(&mut self.json, name, *kind, bytes);
        }
        match self.json.is_empty() {
            true => self.rest.append_null(),
            false => {
                residual::finish(&mut self.json);
                self.rest.append_value(&self.json);
            }
        }
        self.cells = cells;
        Ok(())
    }

    fn finish(mut self, rows: &[RowRef<'_>], heads: &[Head]) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut arrays = envelope_arrays(heads, self.index)?;
        let (raw, templates) = self.raw(rows, heads)?;
        arrays.extend([raw, templates]);
        for mut builder in std::mem::take(&mut self.columns) {
            builder.values.nulls(self.rows - builder.filled);
            arrays.push(builder.values.finish(self.index)?);
        }
        arrays.push(Arc::new(self.rest.finish()));
        Ok(arrays)
    }

    /// The columns of raw bytes and of templates; exactly one of them has a value.
    fn raw(
        &mut self,
        rows: &[RowRef<'_>],
        heads: &[Head],
    ) -> Result<(ArrayRef, ArrayRef), ArrowError> {
        let list: Vec<(&str, usize)> =
            self.templates.list.iter().map(|t| (&*t.text, t.rows)).collect();
        let parts: Vec<Vec<template::Part<'_>>> = list
            .iter()
            .map(
                |(text, count)| {
                    if *count < TEMPLATE_ROWS_MIN { Vec::new() } else { template::parse(text) }
                },
            )
            .collect();
        let mut blocks = vec![0; list.len()];
        let (mut raw, mut keys) = (BinaryBuilder::new(), Int32Builder::new());
        let (mut kept, mut kept_count) = (StringBuilder::new(), 0);
        // Templates by their place in the column's dictionary.
        let mut places: Vec<Option<i32>> = vec![None; list.len()];
        let mut rendered = Vec::new();
        for (at, (row, head)) in rows.iter().zip(heads).enumerate() {
            let served = self.of_row[at].filter(|n| list[*n as usize].1 >= TEMPLATE_ROWS_MIN);
            let Some(number) = served.map(|n| n as usize) else {
                raw.append_value(row.raw());
                keys.append_null();
                self.index.row(at);
                self.index.text(row.raw());
                continue;
            };
            raw.append_null();
            keys.append_value(*places[number].get_or_insert_with(|| {
                kept.append_value(list[number].0);
                kept_count += 1;
                kept_count - 1
            }));
            blocks[number] |= block_of(at);
            for part in parts[number].iter().filter(|part| part.is_time()) {
                rendered.clear();
                part.append("", head.event_ns, &mut rendered);
                self.index.row(at);
                self.index.text(&rendered);
            }
        }
        for (parts, blocks) in parts.iter().zip(blocks).filter(|(_, blocks)| *blocks != 0) {
            self.index.in_blocks(blocks);
            for part in parts {
                if let template::Part::Literal(text) = part {
                    self.index.text(text.as_bytes());
                }
            }
        }
        let templates = DictionaryArray::try_new(keys.finish(), Arc::new(kept.finish()))?;
        Ok((Arc::new(raw.finish()), Arc::new(templates)))
    }
}

/// A cell of the row in hand: its column if it has one, and its text if it is one.
struct Cell<'r> {
    column: Option<usize>,
    name: &'r str,
    kind: Kind,
    bytes: &'r [u8],
    text: Option<&'r str>,
}

/// Recipes that are tried for a row: a shape has as many templates as its records have forms.
const RECIPES_MAX: usize = 8;
/// Rows of a shape that may be looked at in vain before only one of [`VAIN_STEP`] is.
const VAIN_ROWS_MAX: u32 = 64;
const VAIN_STEP: u32 = 16;

/// The templates of a group's rows.
#[derive(Default)]
struct Templates {
    list: Vec<Template>,
    by_text: HashMap<Box<str>, u32>,
    /// By the names and kinds of a row's cells.
    shapes: HashMap<u64, Shape>,
    hasher: DefaultHashBuilder,
    text: String,
}

struct Template {
    text: Box<str>,
    /// Rows it serves.
    rows: usize,
}

/// What is known about rows whose cells have the same names and kinds.
#[derive(Default)]
struct Shape {
    recipes: Vec<template::Recipe>,
    /// Rows that no recipe served, less those one did.
    vain: u32,
}

impl Templates {
    /// The row's template, if it has one: one that served a row of its shape before, or one made of
    /// the row itself. `once` says of a column whether it has one value in this row.
    fn of(
        &mut self,
        raw: &[u8],
        event_ns: i64,
        cells: &[Cell<'_>],
        once: &dyn Fn(usize) -> bool,
    ) -> Option<u32> {
        let mut hasher = self.hasher.build_hasher();
        // Names are the sender's words: what is hashed says where each ends.
        for cell in cells {
            hasher.write_u8(cell.kind as u8);
            hasher.write_usize(cell.column.unwrap_or(usize::MAX));
            if cell.column.is_none() {
                hasher.write_usize(cell.name.len());
                hasher.write(cell.name.as_bytes());
            }
        }
        let shape = self.shapes.entry(hasher.finish()).or_default();
        let list = &mut self.list;
        let served = shape.recipes.iter().position(|recipe| {
            let text = &list[recipe.number as usize].text;
            recipe.gives(text, raw, event_ns, &|at| cells[at].text)
        });
        if let Some(at) = served {
            // The one used last is tried first.
            shape.recipes[..=at].rotate_right(1);
            shape.vain = shape.vain.saturating_sub(1);
            let number = shape.recipes[0].number;
            list[number as usize].rows += 1;
            return Some(number);
        }
        shape.vain += 1;
        if shape.vain > VAIN_ROWS_MAX && !shape.vain.is_multiple_of(VAIN_STEP) {
            return None;
        }
        let (sources, places) = sources(cells, once);
        if !template::of(raw, &sources, event_ns, &mut self.text) {
            return None;
        }
        let number = match self.by_text.get(self.text.as_str()) {
            Some(number) => *number,
            None => {
                let number = list.len() as u32;
                list.push(Template { text: self.text.as_str().into(), rows: 0 });
                self.by_text.insert(self.text.as_str().into(), number);
                number
            }
        };
        list[number as usize].rows += 1;
        let place = |name: &str| sources.iter().position(|s| s.name == name).map(|i| places[i]);
        if let Some(recipe) = template::Recipe::of(number, &self.text, &place) {
            shape.recipes.insert(0, recipe);
            shape.recipes.truncate(RECIPES_MAX);
        }
        Some(number)
    }
}

/// Cells that a template may refer to, and their places: the only ones of their names.
fn sources<'r>(
    cells: &[Cell<'r>],
    once: &dyn Fn(usize) -> bool,
) -> (Vec<template::Source<'r>>, Vec<usize>) {
    let (mut sources, mut places) = (Vec::with_capacity(cells.len()), Vec::new());
    for (place, cell) in cells.iter().enumerate() {
        let once = match cell.column {
            Some(column) => once(column),
            None => cells.iter().filter(|other| other.name == cell.name).count() == 1,
        };
        if let (true, Some(text)) = (once && cell.kind != Kind::Null, cell.text) {
            sources.push(template::Source { name: cell.name, kind: cell.kind, text });
            places.push(place);
        }
    }
    (sources, places)
}

/// Adds every value of a column that is no [`Texts`] to the index of its blocks.
fn index_column(array: &ArrayRef, index: &mut GroupIndex) {
    if array.null_count() == array.len() {
        return;
    }
    let rows = (0..array.len()).filter(|row| array.is_valid(*row));
    if let Some(texts) = array.as_string_opt::<i32>() {
        for row in rows {
            index.row(row);
            index.cell(texts.value(row).as_bytes());
        }
    } else if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        index_numbers(rows.map(|row| (row, numbers.value(row))), of_long, index);
    } else if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
        let ns = |row| times.value(row).wrapping_mul(MICRO_NS);
        index_numbers(rows.map(|row| (row, ns(row))), Stamp::exact, index);
    } else {
        for row in rows {
            index.row(row);
            index.text(typed_text(array, row).as_bytes());
        }
    }
}

/// Adds numbers as text, those that repeat one after the other in a block once.
fn index_numbers(
    rows: impl Iterator<Item = (usize, i64)>,
    text: impl Fn(i64) -> Stamp,
    index: &mut GroupIndex,
) {
    let mut last = None;
    for (row, number) in rows {
        let here = Some((block_of(row), number));
        if last != here {
            index.row(row);
            index.text(text(number).as_bytes());
            last = here;
        }
    }
}

/// The text of a typed value: what was given when it was written.
pub(crate) fn typed_text(array: &dyn Array, row: usize) -> String {
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        return numbers.value(row).to_string();
    }
    if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        return numbers.value(row).to_string();
    }
    if let Some(times) = array.as_primitive_opt::<TimestampNanosecondType>() {
        return time::rfc3339(times.value(row));
    }
    match array.as_boolean_opt() {
        Some(flags) => flags.value(row).to_string(),
        None => String::new(),
    }
}

fn envelope_arrays(heads: &[Head], index: &mut GroupIndex) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut texts: [Texts; 6] = Default::default();
    for head in heads {
        let e = &head.envelope;
        let values = [&*e.source, &*e.identity, &*e.peer, e.protocol.name(), &*e.path, &*e.pack];
        for (texts, value) in texts.iter_mut().zip(values) {
            texts.push(value)?;
        }
    }
    let times = |of: fn(&Head) -> i64| fine::split(heads.iter().map(of));
    let (timestamp, timestamp_ns) = times(|h| h.event_ns);
    let (ingested, ingested_ns) = times(|h| h.received_ns);
    let (stream, stream_ns) = times(|h| h.stream_ns);
    let [source, identity, peer, mut protocol, mut path, mut pack] = texts;
    // These are looked for like fields.
    let [source, identity, peer] =
        [source, identity, peer].map(|mut texts| finish_texts(&mut texts, index));
    Ok(vec![
        Arc::new(UInt32Array::from_iter_values(heads.iter().map(|h| h.id.partition))),
        Arc::new(UInt64Array::from_iter_values(heads.iter().map(|h| h.id.offset))),
        Arc::new(UInt32Array::from_iter_values(heads.iter().map(|h| h.id.sub))),
        timestamp,
        ingested,
        stream,
        timestamp_ns,
        ingested_ns,
        stream_ns,
        Arc::new(UInt32Array::from_iter_values(heads.iter().map(|h| h.weight))),
        Arc::new(UInt16Array::from_iter_values(heads.iter().map(|h| h.marks.0))),
        source?,
        identity?,
        peer?,
        protocol.finish()?,
        Arc::new(UInt64Array::from_iter_values(heads.iter().map(|h| h.envelope.connection))),
        path.finish()?,
        pack.finish()?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a full disk is no damaged file: its message says what helps.
    #[test]
    fn a_full_disk_is_told_as_such() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let told = unwritten(Path::new("a.parquet.tmp"), ParquetError::from(full));
        assert!(matches!(told, StoreError::Io { .. }), "{told}");
        assert!(told.to_string().contains("check free space"), "{told}");
        let wrong = unwritten(Path::new("a.parquet.tmp"), ParquetError::General("x".into()));
        assert!(matches!(wrong, StoreError::File { .. }), "{wrong}");
    }
}
