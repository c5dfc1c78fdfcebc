//! Stored files opened for reading: row groups, their columns on demand, whole rows.

use crate::checks::{self, CheckedFile, FooterSum};
use crate::error::StoreError;
use crate::far::Far;
use crate::far_file::{FarFile, tail_path, write_tail};
use crate::fine::{self, MICRO_NS};
use crate::layout::{self, Type, envelope};
use crate::manifest::FileEntry;
use crate::pages::{OneGroup, Parts};
use crate::policy::Looked;
use crate::recent;
use crate::residual::{self, Cell};
use crate::rows::{FullRow, Head};
use crate::sidecar::{Footer, Sidecar, index_path};
use crate::template;
use crate::write::typed_text;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int32Array, RecordBatch, RecordBatchOptions,
    StringArray, StringBuilder,
};
use arrow::datatypes::{
    Field, Float64Type, Int32Type, Int64Type, Schema, TimestampNanosecondType, UInt16Type,
    UInt32Type, UInt64Type,
};
use event::{Envelope, EventId, Kind, Marks, Protocol};
use filter::is_part;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// All columns of a far row group are fetched with the first one that is wanted, if they have no more
/// bytes than that: about as many as come in the time of a request.
const ALONG_BYTES: u64 = 1 << 20;
/// The same where the index has chosen rows, of which whole ones will most likely be wanted.
const ALONG_BYTES_CHOSEN: u64 = 4 << 20;

/// One file on the disk, shared by all who may still open it: one that is no longer wanted is unlinked
/// when the last of them lets go.
pub(crate) struct OnDisk {
    path: PathBuf,
    doomed: AtomicBool,
}

impl OnDisk {
    fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, doomed: AtomicBool::new(false) })
    }

    fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        if *self.doomed.get_mut()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "retired file not removed");
        }
    }
}

/// A listed file. Searches hold it while they run, whatever becomes of it meanwhile: a file that moves
/// gets another handle, which shares with this one what stays on the disk.
pub(crate) struct FileHandle {
    pub(crate) entry: FileEntry,
    pub(crate) path: PathBuf,
    /// The data; none if they are not read from here.
    data: Option<Arc<OnDisk>>,
    index: Option<Arc<OnDisk>>,
    tail: Option<Arc<OnDisk>>,
    damaged: AtomicBool,
    open: Mutex<Option<Arc<StoredFile>>>,
    /// Where it is read from, if that is not the local disk.
    far: Option<Arc<FarFile>>,
    recalled: Mutex<Weak<StoredFile>>,
    /// What is known of its deleted rows.
    pub(crate) looked: Mutex<Looked>,
}

impl FileHandle {
    /// A file that is listed in both tiers is read from the disk, if it is there.
    pub(crate) fn new(root: &Path, entry: FileEntry, far: Option<&Arc<Far>>) -> Self {
        let path = root.join(&entry.path);
        let far = FarFile::of(&entry, &path, far);
        let is_here = entry.far.as_ref().is_none_or(|far| far.is_local) && path.is_file();
        Self {
            data: is_here.then(|| OnDisk::new(path.clone())),
            index: entry.index.as_ref().map(|_| OnDisk::new(index_path(&path))),
            tail: entry.far.as_ref().map(|_| OnDisk::new(tail_path(&path))),
            far: far.filter(|_| !is_here).map(Arc::new),
            entry,
            path,
            damaged: AtomicBool::new(false),
            open: Mutex::new(None),
            recalled: Mutex::new(Weak::new()),
            looked: Mutex::default(),
        }
    }

    /// The same with another entry: `old` and this one are the same files on the disk.
    pub(crate) fn after(mut self, old: &Self) -> Self {
        let pieces = [
            (&mut self.data, &old.data),
            (&mut self.index, &old.index),
            (&mut self.tail, &old.tail),
        ];
        for (new, old) in pieces {
            if new.is_some() && old.is_some() {
                new.clone_from(old);
            }
        }
        *self.looked.get_mut() = old.looked.lock().clone();
        self
    }

    /// Whether reading it needs the far tier.
    pub(crate) fn is_far(&self) -> bool {
        self.far.is_some()
    }

    /// The far file; none for one that is here.
    pub(crate) fn far(&self) -> Option<&Arc<FarFile>> {
        self.far.as_ref()
    }

    /// It cannot be read whole: it is joined and rewritten no more.
    pub(crate) fn leave_alone(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Unlink when nobody reads it any more.
    pub(crate) fn doom(&self) {
        [&self.data, &self.index, &self.tail].into_iter().flatten().for_each(|piece| piece.doom());
    }

    /// The same, but its index and its end stay: it goes on in the far tier.
    pub(crate) fn doom_data(&self) {
        self.data.iter().for_each(|data| data.doom());
    }

    /// The file with its footer, read once.
    pub(crate) fn open(&self) -> Result<Arc<StoredFile>, StoreError> {
        let mut open = self.open.lock();
        if let Some(file) = &*open {
            return Ok(file.clone());
        }
        let source = match &self.far {
            Some(far) => Source::Far(far.clone()),
            None => {
                Source::Here(self.data.clone().unwrap_or_else(|| OnDisk::new(self.path.clone())))
            }
        };
        let file = Arc::new(self.stored(source)?);
        *open = Some(file.clone());
        Ok(file)
    }

    fn stored(&self, source: Source) -> Result<StoredFile, StoreError> {
        let mut file = StoredFile::of(&self.path, source, self.entry.footer.as_ref())?;
        file.indexed.clone_from(&self.index);
        Ok(file)
    }

    /// The file for reading it from one end to the other: a far one is copied here first, and the
    /// copy goes with the last who has it.
    pub(crate) fn open_whole(&self) -> Result<Arc<StoredFile>, StoreError> {
        let Some(far) = &self.far else { return self.open() };
        let mut recalled = self.recalled.lock();
        if let Some(file) = recalled.upgrade() {
            return Ok(file);
        }
        let copy = Recalled(self.path.with_extension("recalled.tmp"));
        far.recall(&copy.0)?;
        let file = Arc::new(self.stored(Source::Recalled(Arc::new(copy)))?);
        *recalled = Arc::downgrade(&file);
        Ok(file)
    }
}

/// A copy of a far file for one reading.
pub(crate) struct Recalled(PathBuf);

impl Drop for Recalled {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "recalled file not removed");
        }
    }
}

/// Where the bytes of a stored file are.
#[derive(Clone)]
pub(crate) enum Source {
    Here(Arc<OnDisk>),
    Far(Arc<FarFile>),
    Recalled(Arc<Recalled>),
}

impl Source {
    fn open(&self, place: Option<checks::Place>) -> Result<CheckedFile, StoreError> {
        let path = match self {
            Source::Here(data) => &data.path,
            Source::Recalled(copy) => &copy.0,
            Source::Far(far) => return Ok(CheckedFile::far(far.reader()?, place)),
        };
        CheckedFile::open(path, place).map_err(StoreError::io("opening", path))
    }

    /// The file, if its end is the one that was written. That of a far file is fetched again if it is
    /// another one here.
    fn open_whole_end(
        &self,
        footer: Option<&FooterSum>,
        path: &Path,
    ) -> Result<CheckedFile, StoreError> {
        let file = self.open(None)?;
        let Some(footer) = footer else { return Ok(file) };
        if file.has_footer(footer).map_err(|e| unread(path, e))? {
            return Ok(file);
        }
        if let Source::Far(far) = self {
            far.mend_end()?;
            let file = self.open(None)?;
            if file.has_footer(footer).map_err(|e| unread(path, e))? {
                return Ok(file);
            }
        }
        Err(StoreError::file(path, "its footer is not the one that was written"))
    }
}

/// What a reader says of a file that it could not read: the file is damaged, or the far tier did not
/// give it.
fn unread(path: &Path, error: ParquetError) -> StoreError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<StoreError>() {
            Ok(error) => *error,
            Err(inner) => StoreError::file(path, inner),
        },
        error => StoreError::file(path, error),
    }
}

/// A file and its footer.
pub(crate) struct StoredFile {
    path: PathBuf,
    /// No other opened file has this one.
    number: u64,
    source: Source,
    checks: Option<checks::Place>,
    meta: ArrowReaderMetadata,
    index: HashMap<Box<str>, usize>,
    kinds: HashMap<Box<str>, Kind>,
    /// Names that occur in the residual; none when there were too many to list.
    residual: Option<HashSet<Box<str>>>,
    /// Number of envelope columns in this version of the format.
    envelope: usize,
    /// The index beside it, if there should be one.
    indexed: Option<Arc<OnDisk>>,
    footer: OnceLock<Option<Arc<Footer>>>,
}

impl StoredFile {
    /// `footer` is what the manifest says of the file's end, where it says something.
    pub(crate) fn open(path: &Path, footer: Option<&FooterSum>) -> Result<Self, StoreError> {
        Self::of(path, Source::Here(OnDisk::new(path.into())), footer)
    }

    /// `path` is where it would be on the local disk.
    pub(crate) fn of(
        path: &Path,
        source: Source,
        footer: Option<&FooterSum>,
    ) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::file(path, reason);
        let file = source.open_whole_end(footer, path)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let meta = ArrowReaderMetadata::load(&file, options).map_err(|e| unread(path, e))?;
        let own = meta.metadata().file_metadata().key_value_metadata();
        let value = |key: &str| {
            own.into_iter().flatten().find(|kv| kv.key == key).and_then(|kv| kv.value.as_deref())
        };
        let checks = value(checks::META_CHECKS).and_then(|text| file.place_of(text));
        let format = value(layout::META_FORMAT).unwrap_or("1");
        let envelope = format.parse().ok().and_then(envelope::count).ok_or_else(|| {
            wrong(format!("format {format} is newer than {}: update", layout::FORMAT))
        })?;
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
        if index.len() <= envelope || !index.contains_key(envelope::RESIDUAL) {
            return Err(wrong("envelope columns are missing".into()));
        }
        Ok(Self {
            path: path.into(),
            number: recent::next_file(),
            source,
            checks,
            index,
            kinds: kinds
                .into_iter()
                .filter_map(|(name, letter)| Some((name, residual::kind(letter)?)))
                .collect(),
            residual: residual.map(|names| names.into_iter().map(String::into_boxed_str).collect()),
            meta,
            envelope,
            indexed: None,
            footer: OnceLock::new(),
        })
    }

    /// The index beside the file. None (said once in the log) if there is none that can be read:
    /// then every block may hold anything.
    pub(crate) fn sidecar(&self) -> Option<Sidecar> {
        let path = self.indexed.as_ref()?.path.clone();
        let mut opened = None;
        let footer = self.footer.get_or_init(|| match Sidecar::open(&path) {
            Ok(sidecar) if sidecar.group_rows().eq(self.all_group_rows()) => {
                let footer = sidecar.footer();
                opened = Some(sidecar);
                Some(footer)
            }
            Ok(_) => {
                tracing::error!(path = %path.display(), "index is not of its file: searches are slow");
                None
            }
            Err(reason) => {
                tracing::error!(path = %path.display(), reason, "index not read: searches are slow");
                None
            }
        });
        let footer = footer.clone()?;
        opened.or_else(|| Sidecar::reopen(&path, footer).ok())
    }

    fn all_group_rows(&self) -> impl Iterator<Item = u64> {
        (0..self.groups()).map(|group| self.group_rows(group) as u64)
    }

    /// Whether no row of a group has a value in a column.
    pub(crate) fn group_is_null(&self, group: usize, index: usize) -> bool {
        let statistics = self.meta.metadata().row_group(group).column(index).statistics();
        statistics.and_then(Statistics::null_count_opt) == Some(self.group_rows(group) as u64)
    }

    /// The same for the rows in `ranges` (ascending; none = all), as far as the page indexes tell.
    pub(crate) fn rows_are_null(
        &self,
        group: usize,
        index: usize,
        ranges: Option<&[Range<usize>]>,
    ) -> bool {
        if self.group_is_null(group, index) {
            return true;
        }
        let meta = self.meta.metadata();
        let nulls = meta.column_index().and_then(|groups| groups.get(group)?.get(index));
        let nulls = nulls.filter(|nulls| !matches!(nulls, ColumnIndexMetaData::NONE));
        let pages = meta.offset_index().and_then(|groups| groups.get(group)?.get(index));
        let (Some(ranges), Some(nulls), Some(pages)) = (ranges, nulls, pages) else {
            return false;
        };
        let pages = pages.page_locations();
        if nulls.num_pages() != pages.len() as u64 {
            return false;
        }
        let first_row = |page: &PageLocation| page.first_row_index.unsigned_abs() as usize;
        // Rows before this one are in pages that were looked at.
        let mut seen = 0;
        ranges.iter().filter(|range| !range.is_empty()).all(|range| {
            if range.end <= seen {
                return true;
            }
            let from = pages.partition_point(|page| first_row(page) <= range.start);
            let end = pages.partition_point(|page| first_row(page) < range.end);
            seen = pages.get(end).map_or(usize::MAX, first_row);
            from > 0 && (from - 1..end).all(|page| nulls.is_null_page(page))
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

    /// Rows of the file.
    pub(crate) fn rows(&self) -> u64 {
        self.meta.metadata().file_metadata().num_rows().unsigned_abs()
    }

    /// Bytes of a row before compression, about.
    pub(crate) fn row_bytes(&self) -> u64 {
        let groups = self.meta.metadata().row_groups().iter();
        let bytes: u64 = groups.map(|group| group.total_byte_size().unsigned_abs()).sum();
        bytes / self.rows().max(1)
    }

    /// Type of a field column, with how it is written.
    pub(crate) fn column_type(&self, index: usize) -> Option<Type> {
        let plain = self.meta.metadata().row_groups().iter().any(|group| {
            let chunk = group.column(index);
            let null = chunk.statistics().and_then(Statistics::null_count_opt)
                == Some(group.num_rows().unsigned_abs());
            !null && chunk.dictionary_page_offset().is_none()
        });
        match Type::of(self.schema().field(index).data_type())? {
            Type::Long if plain => Some(Type::PlainLong),
            ty => Some(ty),
        }
    }

    /// Rows that have a value in a column, about.
    pub(crate) fn present(&self, index: usize) -> u64 {
        let groups = self.meta.metadata().row_groups().iter();
        let nulls = groups.map(|group| {
            group.column(index).statistics().and_then(Statistics::null_count_opt).unwrap_or(0)
        });
        self.rows().saturating_sub(nulls.sum())
    }

    /// An error about this file.
    pub(crate) fn unreadable(&self, reason: &dyn std::fmt::Display) -> StoreError {
        StoreError::file(&self.path, reason)
    }

    /// Compressed bytes of some columns of a group.
    pub(crate) fn group_bytes(&self, group: usize) -> u64 {
        self.meta.metadata().row_group(group).compressed_size() as u64
    }

    /// Bounds of `@timestamp` in a group, ns, from its statistics: less than a microsecond wider than
    /// what is there.
    pub(crate) fn group_times(&self, group: usize) -> (i64, i64) {
        let unknown = (i64::MIN, i64::MAX);
        let Some(column) = self.column_index(envelope::TIMESTAMP) else { return unknown };
        let Some(Statistics::Int64(statistics)) =
            self.meta.metadata().row_group(group).column(column).statistics()
        else {
            return unknown;
        };
        let (Some(low), Some(high)) = (statistics.min_opt(), statistics.max_opt()) else {
            return unknown;
        };
        match self.rest_index(column) {
            None => (*low, *high),
            Some(_) => {
                let (low, high) = (low.saturating_mul(MICRO_NS), high.saturating_mul(MICRO_NS));
                (low, high.saturating_add(MICRO_NS - 1))
            }
        }
    }

    /// Position of the column that has what the microseconds of another one leave.
    fn rest_index(&self, index: usize) -> Option<usize> {
        // Where a sender has such a name, it is no column.
        let rest = fine::rest_of(self.schema().field(index).name())?;
        self.column_index(rest).filter(|i| !self.is_field(*i))
    }

    /// Columns `wanted`, and those without which their times are not whole; ascending.
    fn with_rests(&self, wanted: &[usize]) -> Vec<usize> {
        let rests = wanted.iter().filter_map(|i| self.rest_index(*i));
        let mut out: Vec<usize> = wanted.iter().copied().chain(rests).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Columns `wanted` of a batch that has `stored`, which are those with their rests: times in
    /// nanoseconds. Both ascending.
    fn whole_times(
        &self,
        batch: RecordBatch,
        wanted: &[usize],
        stored: &[usize],
    ) -> Result<RecordBatch, StoreError> {
        let fields = self.schema().fields();
        if !wanted.iter().any(|i| fine::is_stored_so(fields[*i].data_type())) {
            return Ok(batch);
        }
        let array = |index: usize| Some(batch.column(stored.binary_search(&index).ok()?));
        let (mut whole_fields, mut arrays) = (Vec::new(), Vec::new());
        for index in wanted.iter().copied() {
            let field = &fields[index];
            let rest = self.rest_index(index).and_then(array);
            let whole = array(index).and_then(|time| fine::joined(time, rest));
            let whole =
                whole.ok_or_else(|| self.unreadable(&format!("column {}", field.name())))?;
            whole_fields.push(match field.data_type() == whole.data_type() {
                true => field.clone(),
                false => Arc::new(Field::clone(field).with_data_type(whole.data_type().clone())),
            });
            arrays.push(whole);
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(whole_fields)), arrays, &rows)
            .map_err(|e| self.unreadable(&e))
    }

    fn all_columns(&self) -> Vec<usize> {
        (0..self.index.len()).collect()
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
        index >= self.envelope && index + 1 < self.index.len()
    }

    /// Positions of all field columns.
    pub(crate) fn field_indices(&self) -> std::ops::Range<usize> {
        self.envelope..self.index.len() - 1
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

    /// Whether some row may have a field below one of `names`.
    pub(crate) fn has_below(&self, names: &[Box<str>]) -> bool {
        self.columns_below(names).next().is_some() || self.residual_may_hold_below(names)
    }

    /// Positions of the columns of fields below one of `names`.
    pub(crate) fn columns_below(&self, names: &[Box<str>]) -> impl Iterator<Item = usize> {
        self.field_indices().filter(|i| is_part(self.schema().field(*i).name(), names))
    }

    /// Whether the residual of some row may hold a field below one of `names`.
    pub(crate) fn residual_may_hold_below(&self, names: &[Box<str>]) -> bool {
        self.residual.as_ref().is_none_or(|listed| listed.iter().any(|n| is_part(n, names)))
    }

    /// Names listed as occurring in the residual.
    pub(crate) fn residual_names(&self) -> impl Iterator<Item = &str> {
        self.residual.iter().flatten().map(|n| &**n)
    }

    /// Whether a group can hold `text` (these very bytes) in a field column, by statistics.
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
        true
    }

    fn builder(&self) -> Result<ParquetRecordBatchReaderBuilder<CheckedFile>, StoreError> {
        // Opened for each read: thousands of listed files must not hold a descriptor each.
        let file = self.source.open(self.checks)?;
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.meta.clone()))
    }

    /// The bytes of the file's end, from its checksums on, for a far file to be read by.
    pub(crate) fn write_tail(&self, path: &Path) -> Result<(), StoreError> {
        let file = self.source.open(None)?;
        let at = self.checks.map_or(0, |place| place.at);
        let len = file.len().saturating_sub(at);
        let bytes = file.get_bytes(at, len as usize).map_err(|e| self.unreadable(&e))?;
        write_tail(path, &bytes)
    }

    /// Where the wanted columns of the wanted rows of a group are in the file.
    fn places(
        &self,
        group: usize,
        columns: &mut dyn Iterator<Item = usize>,
        ranges: Option<&[Range<usize>]>,
    ) -> Vec<Range<u64>> {
        let meta = self.meta.metadata();
        let pages = meta.offset_index().and_then(|groups| groups.get(group));
        let mut out = Vec::new();
        for column in columns.filter(|i| !self.rows_are_null(group, *i, ranges)) {
            let (start, len) = meta.row_group(group).column(column).byte_range();
            let pages = pages.and_then(|columns| columns.get(column)).map(|c| c.page_locations());
            let Some(pages) = pages.filter(|pages| !pages.is_empty()) else {
                out.push(start..start + len);
                continue;
            };
            let mut push = |at: u64, len: u64| {
                let place = recent::Place { file: self.number, at };
                if !recent::has(place) {
                    out.push(at..at + len);
                }
            };
            // The dictionary stands before the first page.
            let first = pages[0].offset.unsigned_abs();
            if first > start {
                push(start, first - start);
            }
            let Some(ranges) = ranges else {
                out.push(first..start + len);
                continue;
            };
            for (at, page) in pages.iter().enumerate() {
                let first = page.first_row_index as usize;
                let end =
                    pages.get(at + 1).map_or(usize::MAX, |next| next.first_row_index as usize);
                if ranges.iter().any(|r| r.start < end && first < r.end) {
                    let len = u64::from(page.compressed_page_size.unsigned_abs());
                    push(page.offset.unsigned_abs(), len);
                }
            }
        }
        out
    }

    /// Fetches together what a read of a far file needs. Where all columns of the wanted rows are
    /// few bytes, all are fetched: the next reads of the same rows then ask for nothing.
    fn prefetch(
        &self,
        file: &CheckedFile,
        group: usize,
        indices: Option<&[usize]>,
        ranges: Option<&[Range<usize>]>,
    ) -> Result<(), StoreError> {
        let Some(reader) = file.far_reader() else { return Ok(()) };
        let all = 0..self.index.len();
        let mut places = self.places(group, &mut all.clone(), ranges);
        let bytes: u64 = places.iter().map(|range| range.end - range.start).sum();
        let along = if ranges.is_some() { ALONG_BYTES_CHOSEN } else { ALONG_BYTES };
        if let Some(indices) = indices.filter(|_| bytes > along) {
            places = self.places(group, &mut indices.iter().copied(), ranges);
        }
        reader.prefetch(&places, self.checks.map_or(1, |place| place.block as u64))
    }

    /// Columns `indices` (none = all), by position, of the rows in `ranges` (ascending; none = all) of
    /// one group. Times are in nanoseconds.
    pub(crate) fn read(
        &self,
        group: usize,
        indices: Option<&[usize]>,
        ranges: Option<&[Range<usize>]>,
    ) -> Result<RecordBatch, StoreError> {
        let mut wanted = indices.map_or_else(|| self.all_columns(), <[usize]>::to_vec);
        wanted.sort_unstable();
        let stored = self.with_rests(&wanted);
        let batch = self.read_stored(group, indices.map(|_| &stored[..]), ranges)?;
        self.whole_times(batch, &wanted, &stored)
    }

    /// The same as the file has it; `indices` are ascending.
    fn read_stored(
        &self,
        group: usize,
        indices: Option<&[usize]>,
        ranges: Option<&[Range<usize>]>,
    ) -> Result<RecordBatch, StoreError> {
        let wrong = |e: &dyn std::fmt::Display| StoreError::file(&self.path, e);
        let total = self.group_rows(group);
        let file = self.source.open(self.checks)?;
        self.prefetch(&file, group, indices, ranges)?;
        let parts = match file.far_reader() {
            // What was fetched is at hand; what lies between is not.
            Some(_) => Parts::none(file),
            None => {
                let mut all = 0..self.index.len();
                let places = match indices {
                    Some(indices) => self.places(group, &mut indices.iter().copied(), ranges),
                    None => self.places(group, &mut all, ranges),
                };
                Parts::read(file, places)
            }
        };
        let parquet = self.meta.parquet_schema();
        let (mut schema, mut mask) = (self.schema().clone(), ProjectionMask::all());
        if let Some(indices) = indices {
            mask = ProjectionMask::roots(parquet, indices.iter().copied());
            schema = Arc::new(schema.project(indices).map_err(|e| wrong(&e))?);
        }
        let levels = parquet_to_arrow_field_levels(parquet, mask, Some(self.schema().fields()))
            .map_err(|e| wrong(&e))?;
        let selection = ranges
            .map(|ranges| RowSelection::from_consecutive_ranges(ranges.iter().cloned(), total));
        let rows = ranges.map_or(total, |r| r.iter().map(ExactSizeIterator::len).sum()).max(1);
        let groups = OneGroup {
            parts: Arc::new(parts),
            meta: self.meta.metadata(),
            group,
            file: self.number,
            chosen: ranges.is_some(),
        };
        let reader =
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &groups, rows, selection)
                .map_err(|e| wrong(&e))?;
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
        // Columns that have nothing in these rows need not be read at all.
        let ranges: Option<Vec<Range<usize>>> =
            rows.map(|rows| rows.iter().map(|r| *r as usize..*r as usize + 1).collect());
        let used =
            |i: &usize| !self.is_field(*i) || !self.rows_are_null(group, *i, ranges.as_deref());
        let columns: Vec<usize> = (0..self.index.len()).filter(used).collect();
        let batch = self.read(group, Some(&columns), ranges.as_deref())?;
        RowDecoder::new(self, &batch)?.rows()
    }

    /// A reader of a whole file in small batches, for joining files.
    pub(crate) fn stream(&self, rows: usize) -> Result<ParquetRecordBatchReader, StoreError> {
        let builder = self.builder()?.with_batch_size(rows);
        builder.build().map_err(|e| StoreError::file(&self.path, e))
    }

    /// The rows of a batch that has all columns, from [`StoredFile::stream`].
    pub(crate) fn decode(&self, batch: &RecordBatch) -> Result<Vec<FullRow>, StoreError> {
        let all = self.all_columns();
        RowDecoder::new(self, &self.whole_times(batch.clone(), &all, &all)?)?.rows()
    }
}

/// A column as text: a number per row into its distinct values.
pub(crate) struct TextColumn {
    /// None: every row is its own value.
    keys: Option<Int32Array>,
    values: StringArray,
}

impl TextColumn {
    pub(crate) fn new(array: &ArrayRef) -> Option<Self> {
        match Type::of(array.data_type())? {
            Type::Text => {
                let array = match array.as_dictionary_opt::<Int32Type>() {
                    Some(array) => array.clone(),
                    None => {
                        let cast = arrow::compute::cast(array, &layout::text_type()).ok()?;
                        cast.as_dictionary_opt::<Int32Type>()?.clone()
                    }
                };
                let values = array.values().as_string_opt::<i32>()?.clone();
                Some(Self { keys: Some(array.keys().clone()), values })
            }
            Type::Plain => Some(Self { keys: None, values: array.as_string_opt()?.clone() }),
            Type::Long | Type::PlainLong => {
                let numbers = array.as_primitive_opt::<Int64Type>()?;
                Some(Self::numbered(array, |row| numbers.value(row)))
            }
            Type::Double => {
                let numbers = array.as_primitive_opt::<Float64Type>()?;
                Some(Self::numbered(array, |row| numbers.value(row).to_bits() as i64))
            }
            Type::Time => {
                let times = array.as_primitive_opt::<TimestampNanosecondType>()?;
                Some(Self::numbered(array, |row| times.value(row)))
            }
            Type::Boolean => {
                let flags = array.as_boolean_opt()?;
                Some(Self::numbered(array, |row| i64::from(flags.value(row))))
            }
        }
    }

    /// A column without any value.
    pub(crate) fn empty(rows: usize) -> Self {
        Self { keys: Some(Int32Array::new_null(rows)), values: StringArray::new_null(0) }
    }

    fn numbered(array: &ArrayRef, bits: impl Fn(usize) -> i64) -> Self {
        let mut numbers: HashMap<i64, i32> = HashMap::new();
        let mut values = StringBuilder::new();
        let mut last: Option<(i64, i32)> = None;
        let keys = (0..array.len()).map(|row| {
            if array.is_null(row) {
                return None;
            }
            let bits = bits(row);
            if let Some((_, key)) = last.filter(|(b, _)| *b == bits) {
                return Some(key);
            }
            let next = numbers.len() as i32;
            let key = *numbers.entry(bits).or_insert_with(|| {
                values.append_value(typed_text(array, row));
                next
            });
            last = Some((bits, key));
            Some(key)
        });
        let keys = keys.collect::<Int32Array>();
        Self { keys: Some(keys), values: values.finish() }
    }

    /// Number of distinct values, at most.
    pub(crate) fn distinct(&self) -> usize {
        self.values.len()
    }

    /// Number of a row's value; none where the field has no value in this column.
    pub(crate) fn key(&self, row: usize) -> Option<usize> {
        match &self.keys {
            Some(keys) => keys.is_valid(row).then(|| keys.value(row) as usize),
            None => self.values.is_valid(row).then_some(row),
        }
    }

    pub(crate) fn value(&self, key: usize) -> &str {
        self.values.value(key)
    }

    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        self.key(row).map(|key| self.value(key))
    }
}

struct RowDecoder<'a> {
    path: &'a Path,
    batch: &'a RecordBatch,
    texts: Vec<TextColumn>,
    fields: Vec<(Arc<str>, Kind, TextColumn)>,
    raw: &'a BinaryArray,
    templates: Option<TextColumn>,
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
            let Some(array) = batch.column_by_name(name) else { continue };
            let values = TextColumn::new(array).ok_or_else(|| wrong(name))?;
            fields.push((name.into(), file.kind(index), values));
        }
        Ok(Self {
            path: &file.path,
            batch,
            texts: texts.into_iter().map(text).collect::<Result<_, _>>()?,
            fields,
            templates: batch.column_by_name(TEMPLATE).and_then(TextColumn::new),
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
                        name: name.clone(),
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
            let raw = self.raw(row, head.event_ns, &cells).ok_or_else(|| wrong(ORIGINAL))?;
            out.push(FullRow { head, raw, cells });
        }
        Ok(out)
    }

    /// The raw bytes: as they are, or from the row's template.
    fn raw(&self, row: usize, event_ns: i64, cells: &[Cell]) -> Option<Box<[u8]>> {
        if self.raw.is_valid(row) {
            return Some(self.raw.value(row).into());
        }
        let parts = template::parse(self.templates.as_ref()?.get(row)?);
        let find = |name: &str| {
            let cell = cells.iter().find(|c| &*c.name == name)?;
            std::str::from_utf8(&cell.bytes).ok()
        };
        let mut out = Vec::new();
        template::build(&parts, event_ns, &find, &mut out).then(|| out.into())
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
            let path = dir.path().join(&entry.path);
            let file = StoredFile::open(&path, entry.footer.as_ref()).unwrap();
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
