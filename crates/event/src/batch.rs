//! After parsing: a batch of rows in one arena, written by one worker, then frozen.
//!
//! ```text
//! bytes  |raw row 0|values that are not part of it|raw row 1|...      one arena
//! cells  [field, kind, start, len] [..] [..]                          16 bytes each, row after row
//! rows   [EventId, times, weight, marks, envelope, raw span, cells a..b]
//! hot    rows x hot fields: index of the row's first such cell        O(1) look-up for rule fields
//! ```
//! A value that is a piece of the raw record is not copied: its cell points into the raw bytes.
//! Arrays are several cells of the same field, in order. Nested objects are dotted names.

use crate::{Dictionary, Envelope, EventId, FieldId, Protocol, time};
use hashbrown::HashMap;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most rows in one batch.
pub const ROWS_MAX: usize = 4_096;
/// Most cells in one row: a larger event keeps its raw bytes whole and is tagged.
pub const CELLS_PER_ROW_MAX: usize = 2_048;
/// Cells that a full row may have beyond [`CELLS_PER_ROW_MAX`], for remarks on the row: they must not be missing
/// because its sender filled it. Room for every rule of redaction and some fields.
pub const REMARK_CELLS_MAX: usize = 256;
/// Most field names of its own a batch may have; further ones share one overflow name.
pub const LOCAL_NAMES_MAX: usize = 65_536;
/// Name that holds the values of fields beyond [`LOCAL_NAMES_MAX`].
pub const OVERFLOW_NAME: &str = "alcedo.overflow";

/// Names below it are Alcedo's: which rules an event is offered to, which pack read it, what tables
/// know of it.
pub const OWN_PREFIX: &str = "alcedo.";
/// Names below it hold what events themselves say under a name that is not theirs to give.
pub const CLAIMED_PREFIX: &str = "alcedo.claimed.";

/// Fields that say what redaction took out of an event: names of fields, names of rules.
pub const REDACTION_FIELDS: [&str; 2] = ["alcedo.redacted", "alcedo.redacted_by"];

/// Whether an event from outside may not write `name`.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(OWN_PREFIX) && !name.starts_with(CLAIMED_PREFIX) && name != OVERFLOW_NAME
}

/// What a value was in the source. The bytes are always its text as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// JSON null (the field is present, its value is nothing).
    Null,
    /// `true` or `false`.
    Bool,
    /// Integer, decimal digits with optional sign.
    Int,
    /// Number with a fraction or exponent.
    Float,
    /// Text, or bytes that are not UTF-8.
    Str,
}

/// One value: its kind and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// What it was in the source.
    pub kind: Kind,
    /// Its text; empty for null.
    pub bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The text if it is UTF-8, else with replacement characters.
    pub fn text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes)
    }
}

/// Marks on a row. Marked rows are still matched and correlated; store and forward skip
/// deduplicated and dropped ones unless a live rule matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Marks(pub u16);

impl Marks {
    /// A repeat within the source's window; counted on the first one.
    pub const DEDUPED: Marks = Marks(1);
    /// A drop filter applied.
    pub const DROPPED: Marks = Marks(1 << 1);
    /// A parser or mapping step failed; the raw bytes are whole.
    pub const PARSE_FAILED: Marks = Marks(1 << 2);
    /// The event's own time was not plausible and was replaced by the time of receipt.
    pub const TIME_SUSPECT: Marks = Marks(1 << 3);
    /// At least one live rule matched.
    pub const MATCHED: Marks = Marks(1 << 4);
    /// Old events read in bulk: alerts are queued, nobody is paged.
    pub const BACKFILL: Marks = Marks(1 << 5);
    /// Kept raw, not parsed: over a limit, or it crashed a parser twice.
    pub const QUARANTINED: Marks = Marks(1 << 6);
    /// One of several events split from one record (not its first).
    pub const EXPANDED: Marks = Marks(1 << 7);
    /// Detection crashed on the row: it is stored, and has no matches, or not all.
    pub const MATCH_FAILED: Marks = Marks(1 << 8);
    /// A rule of redaction took something out of the row.
    pub const REDACTED: Marks = Marks(1 << 9);

    /// Whether all of `other` are set.
    pub fn has(self, other: Marks) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets `other`.
    pub fn set(&mut self, other: Marks) {
        self.0 |= other.0;
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    field: FieldId,
    kind: Kind,
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    id: EventId,
    event_ns: i64,
    received_ns: i64,
    stream_ns: i64,
    weight: u32,
    marks: Marks,
    envelope: u32,
    raw_start: u32,
    raw_len: u32,
    cells_start: u32,
    cells_end: u32,
}

/// A piece of the record that is to read otherwise; see [`RowWriter::rewrite`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Which bytes of the record.
    pub range: Range<usize>,
    /// What stands there from now on.
    pub text: Box<[u8]>,
    /// So many bytes at both ends of `text` are quotes: not part of a value that is this piece.
    pub quotes: usize,
}

/// What is known of a row before it is parsed.
#[derive(Clone, Debug)]
pub struct RowHead {
    /// Identity.
    pub id: EventId,
    /// Wall clock at receipt, ns since 1970-01-01 UTC.
    pub received_ns: i64,
    /// The journal's stream time at receipt, ns.
    pub stream_ns: i64,
    /// Who sent it.
    pub envelope: Arc<Envelope>,
}

/// Rows, their values and the bytes behind both.
pub struct EventBatch {
    dict: Arc<Dictionary>,
    bytes: Vec<u8>,
    cells: Vec<Cell>,
    rows: Vec<Row>,
    hot: Vec<u32>,
    /// Whether `hot` holds the rows' dense slots.
    has_slots: bool,
    envelopes: Vec<Arc<Envelope>>,
    local_names: Vec<Arc<str>>,
    local_ids: HashMap<Arc<str>, FieldId>,
    serial: u64,
}

/// What records of a stream become: so that the next batch is given its memory at once. Growing step by
/// step copies everything twice, and memory that is new to the process has to be wiped first, which costs
/// more than shaping what is put there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    /// Bytes that are made of a KiB of records, beside the records themselves.
    pub made_per_kib: usize,
    /// Cells per row.
    pub cells_per_row: usize,
}

const KIB: usize = 1 << 10;
/// Most memory that is set aside for one batch beforehand, bytes of arena and of cells each.
const ROOM_BYTES_MAX: usize = 16 << 20;

impl Room {
    /// 1 in so many of what is not needed any more is forgotten with each batch.
    const FORGOTTEN_PART: usize = 8;

    /// What the rows of a batch needed, or not much less than what those before it did: batches differ,
    /// and growing in the middle of one costs more than some room that is given back.
    #[must_use]
    pub fn after(self, batch: &EventBatch) -> Self {
        let kept = |known: usize, used: usize, of: usize| match of {
            0 => known,
            _ => used.div_ceil(of).max(known - known.div_ceil(Self::FORGOTTEN_PART)),
        };
        let raw: usize = batch.rows.iter().map(|row| row.raw_len as usize).sum();
        let made = batch.bytes.len().saturating_sub(raw).saturating_mul(KIB);
        Self {
            made_per_kib: kept(self.made_per_kib, made, raw),
            cells_per_row: kept(self.cells_per_row, batch.cells.len(), batch.rows.len()),
        }
    }
}

/// The serial of the next batch.
static BATCHES: AtomicU64 = AtomicU64::new(1);

const NO_CELL: u32 = u32::MAX;
/// Index of a row that is still written: it has no dense slots yet.
const UNFINISHED: usize = usize::MAX;

impl EventBatch {
    /// An empty batch whose known names are those of `dict`.
    pub fn new(dict: Arc<Dictionary>) -> Self {
        Self {
            dict,
            bytes: Vec::new(),
            cells: Vec::new(),
            rows: Vec::new(),
            hot: Vec::new(),
            has_slots: true,
            envelopes: Vec::new(),
            local_names: Vec::new(),
            local_ids: HashMap::new(),
            serial: BATCHES.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// As [`EventBatch::new`], with room for so many rows, of records of `size_bytes` in all, as they came
    /// before, and an eighth more of what is not known.
    pub fn with_room(dict: Arc<Dictionary>, rows: usize, size_bytes: usize, room: Room) -> Self {
        let more = |needed: usize| needed.saturating_add(needed / 8);
        let made = more(size_bytes.saturating_mul(room.made_per_kib) / KIB);
        let cells = more(rows.saturating_mul(room.cells_per_row));
        let mut batch = Self::new(dict);
        batch.bytes.reserve_exact(size_bytes.saturating_add(made).min(ROOM_BYTES_MAX));
        batch.cells.reserve_exact(cells.min(ROOM_BYTES_MAX / size_of::<Cell>()));
        if room != Room::default() {
            batch.rows.reserve_exact(rows.min(ROWS_MAX));
            batch.hot.reserve_exact(rows.min(ROWS_MAX) * batch.dict.hot_count() as usize);
        }
        batch
    }

    /// The names of this batch's generation.
    pub fn dict(&self) -> &Arc<Dictionary> {
        &self.dict
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory held, roughly: for budgets.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.cells.len() * 16 + self.rows.len() * 96 + self.hot.len() * 4
    }

    /// Row `index`, `0..len`.
    pub fn row(&self, index: usize) -> EventView<'_> {
        EventView { batch: self, row: &self.rows[index], index }
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = EventView<'_>> {
        self.rows.iter().enumerate().map(|(index, row)| EventView { batch: self, row, index })
    }

    /// The id of a name in this batch: known to the generation, or carried by the batch.
    pub fn id(&self, name: &str) -> Option<FieldId> {
        self.dict.id(name).or_else(|| self.local_ids.get(name).copied())
    }

    /// Name of a field of this batch.
    pub fn name(&self, id: FieldId) -> &str {
        match id.is_local() {
            true => &self.local_names[(id.0 & !FieldId::LOCAL) as usize],
            false => self.dict.name(id),
        }
    }

    /// The fields of this batch that answer to `name`; see [`Dictionary::answers`].
    pub fn answers(&self, name: &str) -> Vec<FieldId> {
        let mut out = self.dict.answers(name);
        if let Some(local) = self.local_ids.get(name) {
            out.insert(0, *local);
        }
        out
    }

    /// Starts a row holding `raw`. Finish it with [`RowWriter::finish`]; a writer that is dropped
    /// unfinished leaves the batch as it was.
    pub fn begin<'a>(&'a mut self, head: RowHead, raw: &'a [u8]) -> RowWriter<'a> {
        let envelope = match self.envelopes.last() {
            Some(last) if Arc::ptr_eq(last, &head.envelope) => self.envelopes.len() - 1,
            _ => {
                self.envelopes.push(head.envelope);
                self.envelopes.len() - 1
            }
        };
        let (bytes_before, cells_before) = (self.bytes.len(), self.cells.len());
        self.bytes.extend_from_slice(raw);
        let row = Row {
            id: head.id,
            event_ns: head.received_ns,
            received_ns: head.received_ns,
            stream_ns: head.stream_ns,
            weight: 1,
            marks: Marks::default(),
            envelope: envelope as u32,
            raw_start: bytes_before as u32,
            raw_len: raw.len() as u32,
            cells_start: cells_before as u32,
            cells_end: cells_before as u32,
        };
        RowWriter {
            batch: self,
            raw,
            row,
            bytes_before,
            cells_before,
            is_cut: false,
            finished: false,
        }
    }

    /// Sets marks of a row (sequencer only: after this the batch is frozen).
    pub fn mark(&mut self, index: usize, marks: Marks) {
        self.rows[index].marks.set(marks);
    }

    /// Replaces how many occurrences a row stands for.
    pub fn set_weight(&mut self, index: usize, weight: u32) {
        self.rows[index].weight = weight;
    }

    /// To be called once all rules have read the batch, before it is kept: gives back the dense
    /// slots (a third of a batch's memory with thousands of rules) and spare room. Fields are found
    /// by walking the row's cells from now on. No row may be begun after it.
    pub fn settle(&mut self) {
        self.hot = Vec::new();
        self.has_slots = false;
        if self.bytes.capacity() > self.bytes.len() + self.bytes.len() / 4 {
            self.bytes.shrink_to_fit();
        }
        if self.cells.capacity() > self.cells.len() + self.cells.len() / 4 {
            self.cells.shrink_to_fit();
        }
    }

    fn hot_cell(&self, index: usize, slot: u16) -> Option<u32> {
        let width = self.dict.hot_count() as usize;
        let cell = *self.hot.get(index * width + slot as usize)?;
        (cell != NO_CELL).then_some(cell)
    }
}

/// Values that many rows have alike, in order, ready to be written together: see
/// [`RowWriter::push_all`].
#[derive(Clone, Debug, Default)]
pub struct Constants {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

impl Constants {
    /// Adds a value. Nothing is added under an intrinsic id, which no cell can have.
    pub fn push(&mut self, field: FieldId, kind: Kind, bytes: &[u8]) {
        if !field.is_intrinsic() {
            let (start, len) = (self.bytes.len() as u32, bytes.len() as u32);
            self.bytes.extend_from_slice(bytes);
            self.cells.push(Cell { field, kind, start, len });
        }
    }

    /// Adds the values of `more`.
    pub fn append(&mut self, more: &Constants) {
        more.iter().for_each(|(field, kind, bytes)| self.push(field, kind, bytes));
    }

    /// The values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (FieldId, Kind, &[u8])> {
        let bytes =
            |cell: &Cell| &self.bytes[cell.start as usize..(cell.start + cell.len) as usize];
        self.cells.iter().map(move |cell| (cell.field, cell.kind, bytes(cell)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// Writes one row: parsers and mapping push values here.
pub struct RowWriter<'a> {
    batch: &'a mut EventBatch,
    raw: &'a [u8],
    row: Row,
    bytes_before: usize,
    cells_before: usize,
    /// A value found no place.
    is_cut: bool,
    finished: bool,
}

impl<'a> RowWriter<'a> {
    /// Whether the row takes another value. One that asks and is told no has a value without a place: see
    /// [`RowWriter::is_cut`].
    #[inline]
    pub fn has_room(&mut self) -> bool {
        let has_room = self.cell_count() < CELLS_PER_ROW_MAX;
        self.is_cut |= !has_room;
        has_room
    }

    /// Whether a value found no place because the row was full, also if it has become shorter since: then
    /// the record holds what no field does.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The record's bytes. Values that are pieces of this slice are stored without a copy.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Who sent the record.
    pub fn envelope(&self) -> &Arc<Envelope> {
        &self.batch.envelopes[self.row.envelope as usize]
    }

    /// The names of the batch's generation.
    pub fn dict(&self) -> &Arc<Dictionary> {
        &self.batch.dict
    }

    /// A number, never 0, that no other batch of this process has: who remembers [local](FieldId::LOCAL)
    /// ids from row to row tells by it whether they still mean the same.
    #[inline]
    pub fn batch_serial(&self) -> u64 {
        self.batch.serial
    }

    /// The id of `name`, made for this batch if the generation does not know it. Writing an
    /// intrinsic name, or one below [`OWN_PREFIX`], is redirected to `alcedo.claimed.NAME`: an
    /// event cannot forge what Alcedo says of it. Alcedo's own records may.
    pub fn field(&mut self, name: &str) -> FieldId {
        if is_reserved(name) && self.envelope().protocol != Protocol::Internal {
            return self.local(&format!("{CLAIMED_PREFIX}{name}"));
        }
        self.own_field(name)
    }

    /// As [`RowWriter::field`] for a name that Alcedo gives, not the event: names below
    /// [`OWN_PREFIX`] are written as they are.
    pub fn own_field(&mut self, name: &str) -> FieldId {
        if let Some(id) = self.batch.dict.id(name) {
            if !id.is_intrinsic() {
                return id;
            }
            return id.claimed();
        }
        self.local(name)
    }

    fn local(&mut self, name: &str) -> FieldId {
        if let Some(id) = self.batch.local_ids.get(name) {
            return *id;
        }
        if self.batch.local_names.len() >= LOCAL_NAMES_MAX && name != OVERFLOW_NAME {
            return self.local(OVERFLOW_NAME);
        }
        let id = FieldId(self.batch.local_names.len() as u32 | FieldId::LOCAL);
        let name: Arc<str> = name.into();
        self.batch.local_names.push(name.clone());
        self.batch.local_ids.insert(name, id);
        id
    }

    /// Name of a field of this batch.
    pub fn name(&self, id: FieldId) -> &str {
        self.batch.name(id)
    }

    /// Appends a value. Returns false, storing nothing, when the row is full.
    #[inline]
    pub fn push(&mut self, field: FieldId, kind: Kind, bytes: &[u8]) -> bool {
        if !self.has_room() || field.is_intrinsic() {
            return false;
        }
        let (start, len) = self.place(bytes);
        self.batch.cells.push(Cell { field, kind, start, len });
        true
    }

    /// Appends values that many rows have alike, as [`RowWriter::push`] would one by one.
    pub fn push_all(&mut self, values: &Constants) {
        if self.cell_count() + values.cells.len() > CELLS_PER_ROW_MAX {
            for (field, kind, bytes) in values.iter() {
                self.push(field, kind, bytes);
            }
            return;
        }
        let base = self.batch.bytes.len() as u32;
        self.batch.bytes.extend_from_slice(&values.bytes);
        let moved = values.cells.iter().map(|cell| Cell { start: base + cell.start, ..*cell });
        self.batch.cells.extend(moved);
    }

    /// Appends a value that `make` appends to the arena, so that it is written once. Out: what `make` gave,
    /// and whether the value was stored: not when the row is full. Nothing is when `make` fails.
    #[inline]
    pub fn push_made<T, E>(
        &mut self,
        field: FieldId,
        kind: Kind,
        make: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<(T, bool), E> {
        let start = self.batch.bytes.len();
        let made = make(&mut self.batch.bytes);
        if made.is_err() || !self.has_room() || field.is_intrinsic() {
            self.batch.bytes.truncate(start);
            return made.map(|made| (made, false));
        }
        let len = (self.batch.bytes.len() - start) as u32;
        self.batch.cells.push(Cell { field, kind, start: start as u32, len });
        made.map(|made| (made, true))
    }

    /// Appends what is said of the row, in a full one, too: see [`REMARK_CELLS_MAX`]. Returns false, storing
    /// nothing, when that room is full.
    pub fn push_remark(&mut self, field: FieldId, text: &str) -> bool {
        if self.cell_count() >= CELLS_PER_ROW_MAX + REMARK_CELLS_MAX || field.is_intrinsic() {
            return false;
        }
        let (start, len) = self.place(text.as_bytes());
        self.batch.cells.push(Cell { field, kind: Kind::Str, start, len });
        true
    }

    /// Appends a text value under a name.
    pub fn push_str(&mut self, name: &str, text: &str) -> bool {
        let id = self.field(name);
        self.push(id, Kind::Str, text.as_bytes())
    }

    /// Appends an integer under a name.
    pub fn push_int(&mut self, name: &str, number: i64) -> bool {
        let id = self.field(name);
        self.push(id, Kind::Int, number.to_string().as_bytes())
    }

    /// Lets `to` hold the same value as cell `index` (see [`RowWriter::cells`]), without a copy.
    pub fn copy_cell(&mut self, index: usize, to: FieldId) -> bool {
        if !self.has_room() || to.is_intrinsic() {
            return false;
        }
        let cell = self.batch.cells[self.cells_before + index];
        self.batch.cells.push(Cell { field: to, ..cell });
        true
    }

    /// Lets `to` hold a piece of the text of cell `index`, without a copy. `part` is cut to the
    /// text.
    pub fn copy_part(&mut self, index: usize, part: Range<usize>, kind: Kind, to: FieldId) -> bool {
        if !self.has_room() || to.is_intrinsic() {
            return false;
        }
        let cell = self.batch.cells[self.cells_before + index];
        let end = part.end.min(cell.len as usize);
        let from = part.start.min(end);
        let (start, len) = (cell.start + from as u32, (end - from) as u32);
        self.batch.cells.push(Cell { field: to, kind, start, len });
        true
    }

    /// Replaces the value of cell `index`.
    pub fn replace(&mut self, index: usize, kind: Kind, bytes: &[u8]) {
        let (start, len) = self.place(bytes);
        let cell = &mut self.batch.cells[self.cells_before + index];
        (cell.kind, cell.start, cell.len) = (kind, start, len);
    }

    /// Gives cell `index` another name.
    pub fn rename(&mut self, index: usize, to: FieldId) {
        if !to.is_intrinsic() {
            self.batch.cells[self.cells_before + index].field = to;
        }
    }

    /// Removes cell `index`; those behind it move up.
    pub fn remove(&mut self, index: usize) {
        self.batch.cells.remove(self.cells_before + index);
    }

    /// Removes all cells from `index` on (a parser that gave up takes back what it wrote).
    pub fn truncate(&mut self, index: usize) {
        self.batch.cells.truncate(self.cells_before + index);
    }

    /// Number of cells so far.
    #[inline]
    pub fn cell_count(&self) -> usize {
        self.batch.cells.len() - self.cells_before
    }

    /// The cells so far: field and value, in order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (FieldId, Value<'_>)> {
        let batch = &*self.batch;
        batch.cells[self.cells_before..].iter().map(move |c| (c.field, value_of(batch, c)))
    }

    /// Field and value of cell `index`.
    #[inline]
    pub fn cell(&self, index: usize) -> (FieldId, Value<'_>) {
        let cell = &self.batch.cells[self.cells_before + index];
        (cell.field, value_of(self.batch, cell))
    }

    /// Field of cell `index`.
    #[inline]
    pub fn field_at(&self, index: usize) -> FieldId {
        self.batch.cells[self.cells_before + index].field
    }

    /// The fields of the cells from `from` on, in order.
    #[inline]
    pub fn fields(&self, from: usize) -> impl ExactSizeIterator<Item = FieldId> {
        self.batch.cells[self.cells_before + from..].iter().map(|cell| cell.field)
    }

    /// The fields of all cells in order, and whether each cell's value is null.
    #[inline]
    pub fn fields_and_nulls(&self) -> impl ExactSizeIterator<Item = (FieldId, bool)> {
        let cells = self.batch.cells[self.cells_before..].iter();
        cells.map(|cell| (cell.field, cell.kind == Kind::Null))
    }

    /// Index of the first cell of `field`.
    pub fn find(&self, field: FieldId) -> Option<usize> {
        self.batch.cells[self.cells_before..].iter().position(|c| c.field == field)
    }

    /// First value of `field`.
    pub fn get(&self, field: FieldId) -> Option<Value<'_>> {
        self.find(field).map(|index| self.cell(index).1)
    }

    /// Where the value of cell `index` stands in the raw record, if it is a piece of it.
    pub fn raw_range(&self, index: usize) -> Option<Range<usize>> {
        let cell = &self.batch.cells[self.cells_before + index];
        let from = cell.start.checked_sub(self.row.raw_start)? as usize;
        let to = from + cell.len as usize;
        (to <= self.row.raw_len as usize).then_some(from..to)
    }

    /// Puts another record in place of the row's: `record` with `edits`, which are in order and do
    /// not overlap. Values that are pieces of the record follow: they read as what stands at their
    /// place now. No piece of the old record may be written afterwards as one of the row's; bytes
    /// of it that are written are copies.
    pub fn rewrite(&mut self, record: &[u8], edits: &[Edit]) {
        let old_end = (self.row.raw_start + self.row.raw_len) as usize;
        let start = self.row.raw_start as usize;
        let mut text =
            Vec::with_capacity(record.len() + edits.iter().map(|e| e.text.len()).sum::<usize>());
        // Where each edit begins in the new record.
        let mut places = Vec::with_capacity(edits.len());
        let mut from = 0;
        for edit in edits {
            text.extend_from_slice(&record[from..edit.range.start]);
            places.push(text.len());
            text.extend_from_slice(&edit.text);
            from = edit.range.end;
        }
        text.extend_from_slice(&record[from..]);
        let (new_len, old_len) = (text.len(), self.row.raw_len as usize);
        for cell in &mut self.batch.cells[self.cells_before..] {
            let (a, b) = (cell.start as usize, (cell.start + cell.len) as usize);
            if a >= old_end {
                cell.start = (a - old_len + new_len) as u32;
                continue;
            }
            let moved = follow(a - start..b - start, edits, &places, text.len());
            if moved.is_edited {
                cell.kind = Kind::Str;
            }
            cell.start = (start + moved.range.start) as u32;
            cell.len = moved.range.len() as u32;
        }
        self.batch.bytes.splice(start..old_end, text);
        self.row.raw_len = new_len as u32;
        self.raw = &[];
    }

    /// The record's bytes as they are now: other than [`RowWriter::raw`] after
    /// [`RowWriter::rewrite`].
    pub fn record(&self) -> &[u8] {
        let start = self.row.raw_start as usize;
        &self.batch.bytes[start..start + self.row.raw_len as usize]
    }

    /// The row as it is so far, read as finished rows are: for conditions inside mapping.
    pub fn view(&mut self) -> EventView<'_> {
        self.row.cells_end = self.batch.cells.len() as u32;
        EventView { batch: &*self.batch, row: &self.row, index: UNFINISHED }
    }

    /// Sets when the event happened, ns since 1970-01-01 UTC. Until then it is the time of receipt.
    pub fn set_event_ns(&mut self, ns: i64) {
        self.row.event_ns = ns;
    }

    /// When the event happened as known so far.
    pub fn event_ns(&self) -> i64 {
        self.row.event_ns
    }

    /// When the record was received.
    pub fn received_ns(&self) -> i64 {
        self.row.received_ns
    }
    /// Stream time of the record, ns.
    pub fn stream_ns(&self) -> i64 {
        self.row.stream_ns
    }

    /// Sets how many occurrences the row stands for ("message repeated 5 times" = 5).
    pub fn set_weight(&mut self, weight: u32) {
        self.row.weight = weight;
    }

    /// Sets marks.
    pub fn mark(&mut self, marks: Marks) {
        self.row.marks.set(marks);
    }

    /// Marks so far.
    pub fn marks(&self) -> Marks {
        self.row.marks
    }

    /// Keeps the row. Returns its index in the batch.
    pub fn finish(mut self) -> usize {
        self.finished = true;
        self.row.cells_end = self.batch.cells.len() as u32;
        let batch = &mut *self.batch;
        let width = batch.dict.hot_count() as usize;
        let base = batch.hot.len();
        batch.hot.resize(base + width, NO_CELL);
        let cells = if width == 0 { &[] } else { &batch.cells[self.cells_before..] };
        for (at, cell) in cells.iter().enumerate() {
            if let Some(slot) = batch.dict.hot_slot(cell.field) {
                let place = &mut batch.hot[base + slot as usize];
                if *place == NO_CELL {
                    *place = (self.cells_before + at) as u32;
                }
            }
        }
        batch.rows.push(self.row);
        batch.rows.len() - 1
    }

    /// Where `bytes` stand in the arena: inside the raw record if they are a piece of it, else
    /// appended. The address comparison only ever finds a piece of the very slice `raw` borrows.
    #[inline]
    fn place(&mut self, bytes: &[u8]) -> (u32, u32) {
        let (base, at) = (self.raw.as_ptr() as usize, bytes.as_ptr() as usize);
        if at >= base && at + bytes.len() <= base + self.raw.len() {
            return (self.row.raw_start + (at - base) as u32, bytes.len() as u32);
        }
        let start = self.batch.bytes.len() as u32;
        self.batch.bytes.extend_from_slice(bytes);
        (start, bytes.len() as u32)
    }
}

impl Drop for RowWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.batch.bytes.truncate(self.bytes_before);
            self.batch.cells.truncate(self.cells_before);
        }
    }
}

/// Where a piece of a record is after edits.
struct Moved {
    range: Range<usize>,
    /// It is an edited piece, or part of one: what it was before is gone.
    is_edited: bool,
}

/// Where the bytes `range` of a record are after `edits`, which begin at `places` of the new
/// record.
fn follow(range: Range<usize>, edits: &[Edit], places: &[usize], new_len: usize) -> Moved {
    // A position behind an edit moves by what all edits before it changed.
    let behind = |at: usize, count: usize| match count.checked_sub(1) {
        None => at,
        Some(last) => places[last] + edits[last].text.len() + (at - edits[last].range.end),
    };
    let before_end = edits.partition_point(|edit| edit.range.start < range.end);
    let before_start = edits.partition_point(|edit| edit.range.end <= range.start);
    let (first, last) = (edits.get(before_start), before_end.checked_sub(1).map(|at| &edits[at]));
    let is_hit = before_start < before_end && !range.is_empty();
    let starts_inside = is_hit && first.is_some_and(|edit| edit.range.start <= range.start);
    let ends_inside = is_hit && last.is_some_and(|edit| edit.range.end >= range.end);
    let mut start = match starts_inside {
        true => places[before_start],
        false => behind(range.start, before_start),
    };
    // Nothing stays nothing, wherever it stands.
    if range.is_empty() {
        let start =
            first.filter(|e| e.range.start < range.start).map_or(start, |_| places[before_start]);
        return Moved { range: start..start, is_edited: false };
    }
    let mut end = match ends_inside {
        true => places[before_end - 1] + edits[before_end - 1].text.len(),
        false => behind(range.end, before_end),
    };
    let is_edited = starts_inside && ends_inside && before_end - before_start == 1;
    if is_edited {
        let quotes = edits[before_start].quotes;
        (start, end) = (start + quotes, end - quotes);
    }
    end = end.min(new_len);
    Moved { range: start.min(end)..end, is_edited }
}

#[inline]
fn value_of<'a>(batch: &'a EventBatch, cell: &Cell) -> Value<'a> {
    let bytes = &batch.bytes[cell.start as usize..(cell.start + cell.len) as usize];
    Value { kind: cell.kind, bytes }
}

/// One row, read only.
#[derive(Clone, Copy)]
pub struct EventView<'a> {
    batch: &'a EventBatch,
    row: &'a Row,
    index: usize,
}

impl<'a> EventView<'a> {
    /// Identity.
    pub fn id(&self) -> EventId {
        self.row.id
    }
    /// Index of the row in its batch.
    pub fn index(&self) -> usize {
        self.index
    }
    /// The batch.
    pub fn batch(&self) -> &'a EventBatch {
        self.batch
    }
    /// When it happened, ns since 1970-01-01 UTC.
    pub fn event_ns(&self) -> i64 {
        self.row.event_ns
    }
    /// When we received it, ns since 1970-01-01 UTC.
    pub fn received_ns(&self) -> i64 {
        self.row.received_ns
    }
    /// The journal's stream time at receipt, ns.
    pub fn stream_ns(&self) -> i64 {
        self.row.stream_ns
    }
    /// How many occurrences the row stands for.
    pub fn weight(&self) -> u32 {
        self.row.weight
    }
    /// Marks.
    pub fn marks(&self) -> Marks {
        self.row.marks
    }
    /// Who sent it.
    pub fn envelope(&self) -> &'a Arc<Envelope> {
        &self.batch.envelopes[self.row.envelope as usize]
    }
    /// The record's bytes as received.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        let start = self.row.raw_start as usize;
        &self.batch.bytes[start..start + self.row.raw_len as usize]
    }

    /// All bytes that the row's values are pieces of, in one: the record, and behind it what was made of
    /// it. A text that is not in it is in no value.
    pub fn own_bytes(&self) -> &'a [u8] {
        let next = self.batch.rows.get(self.index.saturating_add(1));
        let end = next.map_or(self.batch.bytes.len(), |row| row.raw_start as usize);
        &self.batch.bytes[self.row.raw_start as usize..end]
    }

    /// Whether the store and forwarders keep the row (see [`Marks`]).
    pub fn is_kept(&self) -> bool {
        let marks = self.row.marks;
        marks.has(Marks::MATCHED) || !(marks.has(Marks::DEDUPED) || marks.has(Marks::DROPPED))
    }

    /// All cells: field and value, in order. Intrinsic fields are not among them.
    #[inline]
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (FieldId, Value<'a>)> {
        let batch = self.batch;
        self.own_cells().iter().map(move |c| (c.field, value_of(batch, c)))
    }

    /// The values of `field` among the cells at `places`: for who knows where its first and its last stand.
    #[inline]
    pub fn cells_of(
        &self,
        field: FieldId,
        places: Range<usize>,
    ) -> impl Iterator<Item = Value<'a>> {
        let batch = self.batch;
        let cells = self.own_cells()[places].iter().filter(move |c| c.field == field);
        cells.map(move |c| value_of(batch, c))
    }

    /// Where the value of cell `index` stands in the raw record, if it is a piece of it.
    pub fn raw_range(&self, index: usize) -> Option<Range<usize>> {
        let cell = self.own_cells().get(index)?;
        let from = cell.start.checked_sub(self.row.raw_start)? as usize;
        let to = from + cell.len as usize;
        (to <= self.row.raw_len as usize).then_some(from..to)
    }

    /// Number of cells.
    pub fn cell_count(&self) -> usize {
        self.own_cells().len()
    }

    /// Field and value of cell `index`, `0..cell_count`.
    pub fn cell(&self, index: usize) -> (FieldId, Value<'a>) {
        let cell = &self.own_cells()[index];
        (cell.field, value_of(self.batch, cell))
    }

    /// First value of a cell field, or of an intrinsic field that is stored as bytes. For the
    /// computed ones (`@timestamp`, `event.ingested`, `event.id`, `event.count`) use
    /// [`EventView::intrinsic_text`].
    #[inline]
    pub fn get(&self, field: FieldId) -> Option<Value<'a>> {
        if field.is_intrinsic() {
            return self.stored_intrinsic(field);
        }
        if let Some(slot) = self.hot_slot(field) {
            let cell = self.batch.hot_cell(self.index, slot)?;
            return Some(value_of(self.batch, &self.batch.cells[cell as usize]));
        }
        let cell = self.own_cells().iter().find(|c| c.field == field)?;
        Some(value_of(self.batch, cell))
    }

    /// All values of a field, in order (arrays are several values).
    pub fn all(&self, field: FieldId) -> impl Iterator<Item = Value<'a>> {
        let batch = self.batch;
        let own = self.own_cells();
        let from = match (field.is_intrinsic(), self.hot_slot(field)) {
            (true, _) => own.len(),
            (false, Some(slot)) => batch
                .hot_cell(self.index, slot)
                .map_or(own.len(), |cell| (cell - self.row.cells_start) as usize),
            (false, None) => 0,
        };
        let cells = own[from..].iter().filter(move |c| c.field == field);
        self.stored_intrinsic(field).into_iter().chain(cells.map(move |c| value_of(batch, c)))
    }

    /// Text of an intrinsic field, computed where it has to be. `None` for other fields, and for
    /// empty envelope parts.
    pub fn intrinsic_text(&self, field: FieldId) -> Option<Cow<'a, str>> {
        Some(match field {
            FieldId::TIMESTAMP => time::rfc3339(self.row.event_ns).into(),
            FieldId::INGESTED => time::rfc3339(self.row.received_ns).into(),
            FieldId::ID => self.row.id.to_string().into(),
            FieldId::COUNT => self.row.weight.to_string().into(),
            other => return self.stored_intrinsic(other).map(|v| v.text()),
        })
    }

    /// First value under a name, answered as rules and search would; text form.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.batch.answers(name).into_iter().find_map(|id| match id.is_intrinsic() {
            true => self.intrinsic_text(id),
            false => self.get(id).map(|v| v.text()),
        })
    }

    #[inline]
    fn hot_slot(&self, field: FieldId) -> Option<u16> {
        let slot = self.batch.dict.hot_slot(field)?;
        (self.batch.has_slots && self.index != UNFINISHED).then_some(slot)
    }

    #[inline]
    fn own_cells(&self) -> &'a [Cell] {
        &self.batch.cells[self.row.cells_start as usize..self.row.cells_end as usize]
    }

    fn stored_intrinsic(&self, field: FieldId) -> Option<Value<'a>> {
        let envelope = self.envelope();
        let bytes = match field {
            FieldId::ORIGINAL => self.raw(),
            FieldId::SOURCE => envelope.source.as_bytes(),
            FieldId::IDENTITY => envelope.identity.as_bytes(),
            FieldId::PEER if !envelope.peer.is_empty() => envelope.peer.as_bytes(),
            _ => return None,
        };
        Some(Value { kind: Kind::Str, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DictionaryBuilder, Protocol};

    fn head(offset: u64) -> RowHead {
        RowHead {
            id: EventId::at(offset),
            received_ns: 5,
            stream_ns: 6,
            envelope: Arc::new(Envelope::of("web", Protocol::Http)),
        }
    }

    #[test]
    fn pieces_of_the_record_are_not_copied_and_read_back() {
        let mut b = DictionaryBuilder::new();
        let hot = b.field("user.name");
        b.hot(hot);
        let mut batch = EventBatch::new(b.build());
        let raw = b"user=root from=10.0.0.1";
        let mut row = batch.begin(head(1), raw);
        let user = row.field("user.name");
        assert!(row.push(user, Kind::Str, &raw[5..9]));
        assert!(row.push(user, Kind::Str, b"second"));
        row.push_str("x.unknown", "v");
        row.finish();
        assert_eq!(batch.bytes.len(), raw.len() + "second".len() + 1);
        let view = batch.row(0);
        assert_eq!(view.get(user).map(|v| v.bytes), Some(&b"root"[..]));
        assert_eq!(
            view.all(user).map(|v| v.text().into_owned()).collect::<Vec<_>>(),
            ["root", "second"]
        );
        assert_eq!(view.text("x.unknown").as_deref(), Some("v"));
        assert_eq!(view.text("event.id").as_deref(), Some("0-1-0"));
        assert_eq!(view.text("alcedo.source").as_deref(), Some("web"));
        assert_eq!(view.get(FieldId::ORIGINAL).map(|v| v.bytes), Some(&raw[..]));
        assert_eq!(view.all(FieldId::ORIGINAL).count(), 1);
        let text = b"user=root from=10.0.0.1secondv";
        assert_eq!(view.own_bytes(), text);
        batch.begin(head(2), b"next").finish();
        assert_eq!((batch.row(0).own_bytes(), batch.row(1).own_bytes()), (&text[..], &b"next"[..]));
    }

    #[test]
    fn an_unfinished_row_leaves_no_trace_and_intrinsics_cannot_be_forged() {
        let mut batch = EventBatch::new(Dictionary::ecs());
        drop(batch.begin(head(1), b"gone"));
        let mut row = batch.begin(head(2), b"kept");
        row.push_str("event.original", "forged");
        row.push_str("alcedo.logsource", "nobody//");
        row.push_str("alcedo.source", "gate");
        let own = row.own_field("alcedo.logsource");
        row.push(own, Kind::Str, b"linux//sshd");
        row.finish();
        assert_eq!(batch.len(), 1);
        let view = batch.row(0);
        assert_eq!(view.raw(), b"kept");
        assert_eq!(view.text("event.original").as_deref(), Some("kept"));
        assert_eq!(view.text("alcedo.claimed.event.original").as_deref(), Some("forged"));
        assert_eq!(view.text("alcedo.claimed.alcedo.logsource").as_deref(), Some("nobody//"));
        assert_eq!(view.text("alcedo.claimed.alcedo.source").as_deref(), Some("gate"));
        assert_eq!(view.text("alcedo.logsource").as_deref(), Some("linux//sshd"));
    }

    #[test]
    fn an_unfinished_row_is_read_as_a_finished_one() {
        let mut b = DictionaryBuilder::new();
        let hot = b.field("user.name");
        b.hot(hot);
        let mut batch = EventBatch::new(b.build());
        let raw = b"user=root";
        let mut row = batch.begin(head(1), raw);
        row.push(hot, Kind::Str, &raw[5..]);
        row.push(hot, Kind::Str, b"other");
        assert_eq!((row.raw_range(0), row.raw_range(1)), (Some(5..9), None));
        let view = row.view();
        assert_eq!(view.get(hot).map(|v| v.bytes), Some(&b"root"[..]));
        assert_eq!(view.all(hot).count(), 2);
        assert_eq!(view.text("user.name").as_deref(), Some("root"));
        row.finish();
        assert_eq!(batch.row(0).all(hot).count(), 2);
        batch.settle();
        assert_eq!(batch.row(0).get(hot).map(|v| v.bytes), Some(&b"root"[..]));
        assert_eq!(batch.row(0).all(hot).count(), 2);
    }

    /// Scenario: a record with pieces before, at, around, inside and behind what is edited, and a
    /// value that is no piece of it.
    /// Guarantees: each reads as what stands at its place now; the others read as before.
    #[test]
    fn pieces_of_a_rewritten_record_follow() {
        let mut batch = EventBatch::new(Dictionary::ecs());
        let raw = b"a=1 user=root uid=17 end";
        let mut row = batch.begin(head(1), raw);
        for (name, range) in [
            ("before", 2..3),
            ("whole", 9..13),
            ("around", 4..20),
            ("inside", 10..12),
            ("behind", 21..24),
            ("number", 18..20),
            ("left", 4..11),
            ("empty", 4..4),
        ] {
            let field = row.field(name);
            row.push(field, Kind::Int, &raw[range]);
        }
        row.push_str("copy", "root");
        let edit = |range, text: &str, quotes| Edit { range, text: text.as_bytes().into(), quotes };
        row.rewrite(raw, &[edit(9..13, "somebody", 0), edit(18..20, "\"x\"", 1)]);
        assert_eq!(row.record(), b"a=1 user=somebody uid=\"x\" end");
        // A copy of the old record is not taken for a piece of the new one.
        let late = row.field("late");
        row.push(late, Kind::Str, &raw[2..3]);
        row.finish();
        let row = batch.row(0);
        let text = |name: &str| row.text(name).unwrap().into_owned();
        assert_eq!(row.raw(), b"a=1 user=somebody uid=\"x\" end");
        let names = ["before", "whole", "around", "inside", "behind", "number", "left", "empty"];
        let found: Vec<String> = names.into_iter().map(text).collect();
        let wanted = [
            "1",
            "somebody",
            "user=somebody uid=\"x\"",
            "somebody",
            "end",
            "x",
            "user=somebody",
            "",
        ];
        assert_eq!(found, wanted);
        assert_eq!((text("copy"), text("late")), ("root".to_owned(), "1".to_owned()));
        let kind = |name| row.get(batch.id(name).unwrap()).unwrap().kind;
        assert_eq!((kind("whole"), kind("behind")), (Kind::Str, Kind::Int));
    }

    #[test]
    fn rows_and_names_stay_within_their_limits() {
        let mut batch = EventBatch::new(Dictionary::ecs());
        let mut row = batch.begin(head(1), b"");
        for i in 0..CELLS_PER_ROW_MAX {
            assert!(row.push_int("n", i as i64));
        }
        assert!(!row.push_int("n", 0));
        let remark = row.field("remark");
        for _ in 0..REMARK_CELLS_MAX {
            assert!(row.push_remark(remark, "r"));
        }
        assert!(!row.push_remark(remark, "r"));
        row.finish();
        assert_eq!(batch.row(0).cells().count(), CELLS_PER_ROW_MAX + REMARK_CELLS_MAX);
    }

    #[test]
    fn marked_rows_are_skipped_unless_a_rule_matched() {
        let mut batch = EventBatch::new(Dictionary::ecs());
        batch.begin(head(1), b"x").finish();
        assert!(batch.row(0).is_kept());
        batch.mark(0, Marks::DROPPED);
        assert!(!batch.row(0).is_kept());
        batch.mark(0, Marks::MATCHED);
        assert!(batch.row(0).is_kept());
    }
}
