//! Stored files opened for reading: row groups, their columns on demand, whole rows.

use crate::error::StoreError;
use crate::layout::{self, envelope};
use crate::manifest::FileEntry;
use crate::residual::{self, Cell};
use crate::rows::{FullRow, Head};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, RecordBatch, StringArray,
};
use arrow::datatypes::{
    DataType, Int32Type, Schema, TimestampNanosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use event::{Envelope, EventId, Kind, Marks, Protocol};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::statistics::Statistics;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A listed file. Searches hold it while they run: a file that is no longer listed is unlinked when
/// the last holder lets go.
pub(crate) struct FileHandle {
    pub(crate) entry: FileEntry,
    pub(crate) path: PathBuf,
    doomed: AtomicBool,
    open: Mutex<Option<Arc<StoredFile>>>,
}

impl FileHandle {
    pub(crate) fn new(root: &Path, entry: FileEntry) -> Self {
        let path = root.join(&entry.path);
        Self { entry, path, doomed: AtomicBool::new(false), open: Mutex::new(None) }
    }

    /// Unlink when nobody reads it any more.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// The file with its footer, read once.
    pub(crate) fn open(&self) -> Result<Arc<StoredFile>, StoreError> {
        let mut open = self.open.lock();
        if let Some(file) = &*open {
            return Ok(file.clone());
        }
        let file = Arc::new(StoredFile::open(&self.path)?);
        *open = Some(file.clone());
        Ok(file)
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        if *self.doomed.get_mut()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "retired file not removed");
        }
    }
}

/// A file and its footer.
pub(crate) struct StoredFile {
    path: PathBuf,
    meta: ArrowReaderMetadata,
    index: HashMap<Box<str>, usize>,
    kinds: HashMap<Box<str>, Kind>,
    /// Names that occur in the residual; none when there were too many to list.
    residual: Option<HashSet<Box<str>>>,
}

impl StoredFile {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::file(path, reason);
        let file = File::open(path).map_err(StoreError::io("opening", path))?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let meta = ArrowReaderMetadata::load(&file, options).map_err(|e| wrong(e.to_string()))?;
        let own = meta.metadata().file_metadata().key_value_metadata();
        let value = |key: &str| {
            own.into_iter().flatten().find(|kv| kv.key == key).and_then(|kv| kv.value.as_deref())
        };
        let kinds: HashMap<Box<str>, char> = value(layout::META_KINDS)
            .and_then(|text| {
                serde_json::from_str::<std::collections::BTreeMap<String, char>>(text).ok()
            })
            .ok_or_else(|| wrong("column kinds are missing".into()))?
            .into_iter()
            .map(|(name, letter)| (name.into_boxed_str(), letter))
            .collect();
        let residual: Option<Vec<String>> = value(layout::META_RESIDUAL)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| wrong("residual names are missing".into()))?;
        let index: HashMap<Box<str>, usize> = meta
            .schema()
            .fields()
            .iter()
            .enumerate()
            .map(|(i, field)| (field.name().as_str().into(), i))
            .collect();
        if index.len() <= envelope::COUNT || !index.contains_key(envelope::RESIDUAL) {
            return Err(wrong("envelope columns are missing".into()));
        }
        Ok(Self {
            path: path.into(),
            index,
            kinds: kinds
                .into_iter()
                .filter_map(|(name, letter)| Some((name, residual::kind(letter)?)))
                .collect(),
            residual: residual.map(|names| names.into_iter().map(String::into_boxed_str).collect()),
            meta,
        })
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        self.meta.schema()
    }

    /// Number of row groups.
    pub(crate) fn groups(&self) -> usize {
        self.meta.metadata().num_row_groups()
    }

    pub(crate) fn group_rows(&self, group: usize) -> usize {
        self.meta.metadata().row_group(group).num_rows() as usize
    }

    /// Compressed bytes of some columns of a group.
    pub(crate) fn group_bytes(&self, group: usize) -> u64 {
        self.meta.metadata().row_group(group).compressed_size() as u64
    }

    /// Least and greatest `@timestamp` of a group, from its statistics.
    pub(crate) fn group_times(&self, group: usize) -> (i64, i64) {
        let Some(column) = self.column_index(envelope::TIMESTAMP) else {
            return (i64::MIN, i64::MAX);
        };
        match self.meta.metadata().row_group(group).column(column).statistics() {
            Some(Statistics::Int64(s)) => {
                (s.min_opt().copied().unwrap_or(i64::MIN), s.max_opt().copied().unwrap_or(i64::MAX))
            }
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// Position of a column.
    pub(crate) fn column_index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Position of a field's own column: not of an envelope column or the residual.
    pub(crate) fn field_index(&self, name: &str) -> Option<usize> {
        self.column_index(name).filter(|i| self.is_field(*i))
    }

    fn is_field(&self, index: usize) -> bool {
        index >= envelope::COUNT && index + 1 < self.index.len()
    }

    /// Positions of all field columns.
    pub(crate) fn field_indices(&self) -> std::ops::Range<usize> {
        envelope::COUNT..self.index.len() - 1
    }

    /// Kind of the values of a field column.
    pub(crate) fn kind(&self, index: usize) -> Kind {
        let name = self.schema().field(index).name().as_str();
        self.kinds.get(name).copied().unwrap_or(Kind::Str)
    }

    /// Whether the residual of some row may hold `name`.
    pub(crate) fn residual_may_hold(&self, name: &str) -> bool {
        self.residual.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Names listed as occurring in the residual.
    pub(crate) fn residual_names(&self) -> impl Iterator<Item = &str> {
        self.residual.iter().flatten().map(|n| &**n)
    }

    /// Whether a group can hold `text` (these very bytes) in a field column, by statistics and
    /// bloom filter.
    pub(crate) fn group_may_hold(&self, group: usize, index: usize, text: &str) -> bool {
        let chunk = self.meta.metadata().row_group(group).column(index);
        if let Some(Statistics::ByteArray(s)) = chunk.statistics() {
            // Truncated bounds are still bounds: the least is cut down, the greatest rounded up.
            let below = s.min_opt().is_some_and(|min| text.as_bytes() < min.data());
            let above = s.max_opt().is_some_and(|max| text.as_bytes() > max.data());
            if below || above {
                return false;
            }
        }
        if chunk.bloom_filter_offset().is_none() {
            return true;
        }
        let Ok(builder) = self.builder() else { return true };
        match builder.get_row_group_column_bloom_filter(group, index) {
            Ok(Some(bloom)) => bloom.check(&text),
            _ => true,
        }
    }

    fn builder(&self) -> Result<ParquetRecordBatchReaderBuilder<File>, StoreError> {
        // Opened for each read: thousands of listed files must not hold a descriptor each.
        let file = File::open(&self.path).map_err(StoreError::io("opening", &self.path))?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.meta.clone()))
    }

    /// Columns `indices` of the rows `rows` (ascending; none = all) of one group.
    pub(crate) fn read(
        &self,
        group: usize,
        indices: Option<&[usize]>,
        rows: Option<&[u32]>,
    ) -> Result<RecordBatch, StoreError> {
        let wrong = |e: &dyn std::fmt::Display| StoreError::file(&self.path, e);
        let total = self.group_rows(group);
        let mut builder =
            self.builder()?.with_row_groups(vec![group]).with_batch_size(total.max(1));
        let mut schema = self.schema().clone();
        if let Some(indices) = indices {
            let mask = ProjectionMask::roots(builder.parquet_schema(), indices.iter().copied());
            builder = builder.with_projection(mask);
            let mut sorted = indices.to_vec();
            sorted.sort_unstable();
            schema = Arc::new(schema.project(&sorted).map_err(|e| wrong(&e))?);
        }
        if let Some(rows) = rows {
            let ranges = rows.iter().map(|r| *r as usize..*r as usize + 1);
            let selection = RowSelection::from_consecutive_ranges(ranges, total);
            builder = builder.with_row_selection(selection);
        }
        let reader = builder.build().map_err(|e| wrong(&e))?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(&e))?;
        match <[RecordBatch; 1]>::try_from(batches) {
            Ok([one]) => Ok(one),
            Err(many) => arrow::compute::concat_batches(&schema, &many).map_err(|e| wrong(&e)),
        }
    }

    /// Whole rows of one group, in the order of `rows` (ascending).
    pub(crate) fn full_rows(
        &self,
        group: usize,
        rows: Option<&[u32]>,
    ) -> Result<Vec<FullRow>, StoreError> {
        let batch = self.read(group, None, rows)?;
        RowDecoder::new(self, &batch)?.rows()
    }
}

/// A text column: dictionary keys and values.
pub(crate) struct TextColumn {
    pub(crate) array: DictionaryArray<Int32Type>,
}

impl TextColumn {
    pub(crate) fn new(array: &ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::Dictionary(..) => {
                Some(Self { array: array.as_dictionary_opt::<Int32Type>()?.clone() })
            }
            _ => {
                let cast = arrow::compute::cast(array, &layout::text_type()).ok()?;
                Some(Self { array: cast.as_dictionary_opt::<Int32Type>()?.clone() })
            }
        }
    }

    fn values(&self) -> &StringArray {
        self.array.values().as_string::<i32>()
    }

    /// Number of distinct values, at most.
    pub(crate) fn distinct(&self) -> usize {
        self.array.values().len()
    }

    /// Number of a row's value; none where the field has no value in this column.
    pub(crate) fn key(&self, row: usize) -> Option<usize> {
        self.array.is_valid(row).then(|| self.array.keys().value(row) as usize)
    }

    pub(crate) fn value(&self, key: usize) -> &str {
        self.values().value(key)
    }

    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        self.key(row).map(|key| self.value(key))
    }
}

struct RowDecoder<'a> {
    path: &'a Path,
    batch: &'a RecordBatch,
    texts: Vec<TextColumn>,
    fields: Vec<(&'a str, Kind, TextColumn)>,
    raw: &'a BinaryArray,
    residual: &'a StringArray,
}

impl<'a> RowDecoder<'a> {
    fn new(file: &'a StoredFile, batch: &'a RecordBatch) -> Result<Self, StoreError> {
        let wrong =
            |what: &str| StoreError::file(&file.path, format!("column {what} is not readable"));
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| wrong(name));
        let text = |name: &str| TextColumn::new(column(name)?).ok_or_else(|| wrong(name));
        use envelope::*;
        let texts = [SOURCE, IDENTITY, PEER, PROTOCOL, PATH, PACK];
        let mut fields = Vec::new();
        for index in file.field_indices() {
            let name = file.schema().field(index).name().as_str();
            let values = TextColumn::new(batch.column(index)).ok_or_else(|| wrong(name))?;
            fields.push((name, file.kind(index), values));
        }
        Ok(Self {
            path: &file.path,
            batch,
            texts: texts.into_iter().map(text).collect::<Result<_, _>>()?,
            fields,
            raw: column(ORIGINAL)?.as_binary_opt::<i32>().ok_or_else(|| wrong(ORIGINAL))?,
            residual: column(RESIDUAL)?.as_string_opt::<i32>().ok_or_else(|| wrong(RESIDUAL))?,
        })
    }

    fn rows(&self) -> Result<Vec<FullRow>, StoreError> {
        use envelope::*;
        let wrong =
            |what: &str| StoreError::file(self.path, format!("column {what} is not readable"));
        let column = |name: &str| self.batch.column_by_name(name).ok_or_else(|| wrong(name));
        macro_rules! numbers {
            ($name:expr, $kind:ty) => {
                column($name)?.as_primitive_opt::<$kind>().ok_or_else(|| wrong($name))?.values()
            };
        }
        let (partition, offset) = (numbers!(PARTITION, UInt32Type), numbers!(OFFSET, UInt64Type));
        let (sub, weight) = (numbers!(SUB, UInt32Type), numbers!(WEIGHT, UInt32Type));
        let (marks, connection) = (numbers!(MARKS, UInt16Type), numbers!(CONNECTION, UInt64Type));
        let event_ns = numbers!(TIMESTAMP, TimestampNanosecondType);
        let received_ns = numbers!(INGESTED, TimestampNanosecondType);
        let stream_ns = numbers!(STREAM, TimestampNanosecondType);
        let mut last: Option<Arc<Envelope>> = None;
        let mut out = Vec::with_capacity(self.batch.num_rows());
        for row in 0..self.batch.num_rows() {
            let envelope = self.envelope(row, connection[row], &mut last);
            let head = Head {
                id: EventId { partition: partition[row], offset: offset[row], sub: sub[row] },
                event_ns: event_ns[row],
                received_ns: received_ns[row],
                stream_ns: stream_ns[row],
                weight: weight[row],
                marks: Marks(marks[row]),
                envelope,
            };
            let mut cells: Vec<Cell> = Vec::new();
            for (name, kind, column) in &self.fields {
                if let Some(text) = column.get(row) {
                    cells.push(Cell {
                        name: (*name).into(),
                        kind: *kind,
                        bytes: text.as_bytes().into(),
                    });
                }
            }
            if self.residual.is_valid(row) {
                cells.extend(
                    residual::parse(self.residual.value(row)).ok_or_else(|| wrong(RESIDUAL))?,
                );
            }
            out.push(FullRow { head, raw: self.raw.value(row).into(), cells });
        }
        Ok(out)
    }

    fn envelope(
        &self,
        row: usize,
        connection: u64,
        last: &mut Option<Arc<Envelope>>,
    ) -> Arc<Envelope> {
        let text = |index: usize| self.texts[index].get(row).unwrap_or_default();
        let protocol = Protocol::ALL
            .iter()
            .find(|(_, name)| *name == text(3))
            .map_or(Protocol::Internal, |(p, _)| *p);
        if let Some(known) = last
            && &*known.source == text(0)
            && &*known.identity == text(1)
            && &*known.peer == text(2)
            && known.protocol == protocol
            && &*known.path == text(4)
            && &*known.pack == text(5)
            && known.connection == connection
        {
            return known.clone();
        }
        let envelope = Arc::new(Envelope {
            source: text(0).into(),
            identity: text(1).into(),
            peer: text(2).into(),
            protocol,
            connection,
            path: text(4).into(),
            pack: text(5).into(),
            header: None,
        });
        *last = Some(envelope.clone());
        envelope
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::RowRef;
    use crate::write::write_file;
    use event::{Dictionary, EventBatch, Protocol, RowHead};
    use proptest::prelude::*;

    type CellSpec = (usize, u8, Vec<u8>);
    const NAMES: [&str; 7] =
        ["user.name", "source.ip", "x", "alcedo.offset", "alcedo.residual", "", "event.original"];
    const KINDS: [Kind; 5] = [Kind::Null, Kind::Bool, Kind::Int, Kind::Float, Kind::Str];

    fn batch(rows: &[(i64, Vec<u8>, Vec<CellSpec>)]) -> EventBatch {
        let mut batch = EventBatch::new(Dictionary::ecs());
        for (at, (event_ns, raw, cells)) in rows.iter().enumerate() {
            let envelope = Arc::new(Envelope {
                identity: "token:a".into(),
                peer: "192.0.2.7".into(),
                connection: at as u64 % 2,
                path: "/var/log/x".into(),
                pack: "p".into(),
                ..Envelope::of("s", Protocol::Relp)
            });
            let id = EventId { partition: 0, offset: at as u64 / 2, sub: at as u32 % 2 };
            let head = RowHead { id, received_ns: 7 + at as i64, stream_ns: 9, envelope };
            let mut row = batch.begin(head, raw);
            row.set_event_ns(*event_ns);
            row.set_weight(at as u32 + 1);
            row.mark(Marks(at as u16 * 3));
            for (name, kind, bytes) in cells {
                let field = row.field(NAMES[name % NAMES.len()]);
                row.push(field, KINDS[*kind as usize % KINDS.len()], bytes);
            }
            row.finish();
        }
        batch
    }

    type ByName<'a> = Vec<(&'a str, Vec<(Kind, &'a [u8])>)>;
    type Shown<'a> = (Head, &'a [u8], ByName<'a>);

    /// A row with its cells by name: order counts within a name.
    fn shown(row: &FullRow) -> Shown<'_> {
        let mut cells: ByName<'_> = Vec::new();
        for cell in &row.cells {
            let value = (cell.kind, &*cell.bytes);
            match cells.iter_mut().find(|(name, _)| *name == &*cell.name) {
                Some((_, values)) => values.push(value),
                None => cells.push((&cell.name, vec![value])),
            }
        }
        cells.sort_by_key(|(name, _)| *name);
        (row.head.clone(), &row.raw, cells)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]
        #[test]
        fn every_cell_of_every_row_comes_back(
            rows in prop::collection::vec(
                (
                    any::<i64>(),
                    prop::collection::vec(any::<u8>(), 0..12),
                    prop::collection::vec(
                        (0usize..7, 0u8..5, prop_oneof![
                            prop::collection::vec(any::<u8>(), 0..4),
                            "[a-c1\"\\\\]{0,3}".prop_map(String::into_bytes),
                        ]),
                        0..10,
                    ),
                ),
                1..20,
            )
        ) {
            let dir = tempfile::tempdir().unwrap();
            let batch = batch(&rows);
            let mut refs: Vec<RowRef<'_>> = batch.rows().map(RowRef::Hot).collect();
            let entry = write_file(dir.path(), &mut refs, None, 1, &Dictionary::ecs()).unwrap();
            let file = StoredFile::open(&dir.path().join(&entry.path)).unwrap();
            let mut back = Vec::new();
            for group in 0..file.groups() {
                back.extend(file.full_rows(group, None).unwrap());
            }
            prop_assert!(back.is_sorted_by_key(|r| (r.head.event_ns, r.head.id)));
            back.sort_by_key(|r| r.head.id);
            let before: Vec<FullRow> = batch.rows().map(|r| FullRow::of(&r)).collect();
            prop_assert_eq!(back.len(), before.len());
            for (a, b) in before.iter().zip(&back) {
                prop_assert_eq!(shown(a), shown(b));
            }
        }
    }
}
