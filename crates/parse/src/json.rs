//! JSON text -> dotted cells, in one pass over the bytes.
//!
//! ```text
//! {"a":{"b":1},"c":["x","y"],"d":[{"e":2},{"e":3}]}
//!    -> a.b=1 (Int)  c="x"  c="y"  d.e=2  d.e=3          cells in document order
//! ```
//!
//! Invariants: one pass, linear; an explicit stack, so nesting cannot overflow ours; a string
//! without escapes and every number is a piece of the input (stored without a copy when the input
//! is the row's raw record); numbers keep their digits as sent.
//! More tolerant than RFC 8259 in two places, because events matter more than grammar: strings may
//! hold bytes that are not UTF-8 and raw control characters. Everything else is refused with the
//! offset. Not here: a value tree, the meaning of any field.

use crate::ParseError;
use crate::json_names::{Names, Place};
use event::{FieldId, Kind, RowWriter, batch};
use memchr::memchr2;
use std::ops::Range;
use wide::u8x16;

const FORMAT: &str = "JSON";
/// Deepest nesting that is taken apart. Real events stay below 20; deeper ones keep the subtree as
/// its own text in one cell.
pub const DEPTH_MAX: usize = 64;
/// Longest dotted name. Longer ones would make every listing and the batch's name table grow with
/// hostile input; the longest in ECS has 62 bytes, in CloudTrail samples 150.
pub const PATH_LEN_MAX: usize = 512;

/// How far [`flatten`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of nesting that are taken apart, `1..=DEPTH_MAX`.
    pub depth: usize,
    /// Longest dotted name in bytes.
    pub path_len: usize,
    /// Keep the cells written before an error (a line cut in transit still has its first fields).
    /// Otherwise an error leaves the row's cells as they were.
    pub keep_partial: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: DEPTH_MAX, path_len: PATH_LEN_MAX, keep_partial: false }
    }
}

/// What [`flatten`] met besides plain values. The caller turns these into tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonShape {
    /// Cells written.
    pub cells: usize,
    /// Subtrees kept as text because they were nested deeper than the limit.
    pub too_deep: usize,
    /// Values kept as text under their parent because their name was over the limit.
    pub long_names: usize,
    /// Values not stored because the row had no room for more cells.
    pub not_stored: usize,
}

/// Flattens one JSON object; see [`Flattener::flatten`]. Allocates its buffers anew: a worker keeps
/// a [`Flattener`] instead.
pub fn flatten(
    text: &[u8],
    prefix: &str,
    row: &mut RowWriter<'_>,
    limits: &Limits,
) -> Result<JsonShape, ParseError> {
    Flattener::new().flatten(text, prefix, row, limits)
}

/// The reusable buffers of [`flatten`]. One per worker.
#[derive(Default)]
pub struct Flattener {
    path: String,
    unescaped: Vec<u8>,
    frames: Vec<Frame>,
    names: Names,
    elements: Vec<Range<usize>>,
}

/// An object or array that is open.
#[derive(Clone, Copy)]
struct Frame {
    is_object: bool,
    /// Length of the path of this value.
    path_len: usize,
    /// Whether a member or an element has been taken.
    is_begun: bool,
    /// What is kept of its name.
    place: Place,
    /// The key of the object around it that this value has, see [`Pass::before`].
    outer_before: Option<Place>,
    /// Number of the row's cells when it was opened.
    cells_from: usize,
}

impl Flattener {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Flattens one JSON value into cells of `row`.
    ///
    /// In: `text`, the value with optional white space around it. Names start with `prefix` and a
    /// dot, or have no prefix when it is empty; then the value has to be an object.
    /// Out: one cell per scalar in document order; arrays repeat their field, empty arrays and
    /// objects give none. Kinds as in JSON; strings unescaped, lone surrogates become U+FFFD.
    /// Errors: `Expected { at }` for invalid JSON and for anything behind the value; the row's
    /// cells are then as before unless [`Limits::keep_partial`] is set.
    /// Cost: one pass; no allocation per field. Source: RFC 8259.
    pub fn flatten(
        &mut self,
        text: &[u8],
        prefix: &str,
        row: &mut RowWriter<'_>,
        limits: &Limits,
    ) -> Result<JsonShape, ParseError> {
        self.path.clear();
        self.path.push_str(prefix);
        self.frames.clear();
        self.elements.clear();
        self.names.prepare(row.dict());
        let before = row.cell_count();
        let here = self.names.root(prefix);
        let shape = JsonShape::default();
        let mut pass = Pass {
            buffers: self,
            text,
            row,
            limits,
            shape,
            named: Named::ByPath,
            here,
            before: None,
            unwritten: None,
        };
        let done = pass.run(prefix.is_empty());
        let mut shape = pass.shape;
        if done.is_err() && !limits.keep_partial {
            row.truncate(before);
            self.elements.clear();
        }
        shape.cells = row.cell_count() - before;
        done.map(|()| shape)
    }

    /// The cells of each object that is an element of an array, in the value flattened last: what the
    /// cells alone do not tell. Objects without cells are left out, inner ones come before outer ones.
    pub fn elements(&self) -> &[Range<usize>] {
        &self.elements
    }
}

struct Pass<'p, 'r, 't> {
    buffers: &'p mut Flattener,
    text: &'t [u8],
    row: &'p mut RowWriter<'r>,
    limits: &'p Limits,
    shape: JsonShape,
    named: Named,
    /// What is kept of the name of the value being read.
    here: Place,
    /// Place of the key before, if it is of the same object.
    before: Option<Place>,
    /// The kept name whose path the buffer is to hold, if it does not yet: most paths are never asked for.
    /// Until it does, no name is taken in, so that none loses its place.
    unwritten: Option<Place>,
}

/// How the name of the value being read is known.
#[derive(Clone, Copy)]
enum Named {
    /// By the path.
    ByPath,
    /// By the path, which is that of [`Pass::here`].
    Here,
    /// It is this field; the path is not up to date.
    Field(FieldId),
}

impl Pass<'_, '_, '_> {
    fn run(&mut self, needs_object: bool) -> Result<(), ParseError> {
        let start = skip_space(self.text, 0);
        if needs_object && self.text.get(start) != Some(&b'{') {
            return Err(expected(start, "an object"));
        }
        let mut at = self.value(start)?;
        while let Some(is_object) = self.buffers.frames.last().map(|frame| frame.is_object) {
            at = skip_space(self.text, at);
            at = if is_object { self.members(at)? } else { self.element(at)? };
        }
        match skip_space(self.text, at) {
            end if end == self.text.len() => Ok(()),
            rest => Err(expected(rest, "the end of the text")),
        }
    }

    /// Inside an object, behind `{` or a member: takes members, until the object ends or another value opens.
    fn members(&mut self, mut at: usize) -> Result<usize, ParseError> {
        let depth = self.buffers.frames.len();
        let mut frame = self.buffers.frames[depth - 1];
        loop {
            at = self.member(at, &frame)?;
            if self.buffers.frames.len() != depth {
                return Ok(at);
            }
            frame.is_begun = true;
            at = skip_space(self.text, at);
        }
    }

    /// Takes `}` or the next `,"key":value`.
    #[inline]
    fn member(&mut self, mut at: usize, frame: &Frame) -> Result<usize, ParseError> {
        let text = self.text;
        let is_first = !frame.is_begun;
        match text.get(at) {
            Some(b'}') => return Ok(self.close(at + 1)),
            Some(b',') if !is_first => at = skip_space(text, at + 1),
            _ if is_first => self.begin(),
            _ => return Err(expected(at, "',' or '}'")),
        }
        let names = &self.buffers.names;
        if let Some((place, len)) = names.expected(frame.place, self.before, &text[at..])
            && names.path(place).is_some_and(|path| path.len() <= self.limits.path_len)
        {
            at = skip_space(text, at + len);
            self.known(place, matches!(text.get(at), Some(b'{' | b'[')));
            return self.value(at);
        }
        self.other_member(at, frame)
    }

    /// Takes `"key":value` whose key is not the one that came here last time.
    fn other_member(&mut self, mut at: usize, frame: &Frame) -> Result<usize, ParseError> {
        let text = self.text;
        if text.get(at) != Some(&b'"') {
            return Err(expected(at, "a key in quotes"));
        }
        let (key_end, escaped) = string_end(text, at + 1)?;
        let key = &text[at + 1..key_end];
        let names = &self.buffers.names;
        let place = if escaped { None } else { names.find(frame.place, key) };
        at = skip_space(text, key_end + 1);
        if text.get(at) != Some(&b':') {
            return Err(expected(at, "':'"));
        }
        at = skip_space(text, at + 1);
        let fits = |path: &str| path.len() <= self.limits.path_len;
        if let Some(place) = place.filter(|place| names.path(*place).is_some_and(fits)) {
            self.buffers.names.follow(frame.place, self.before, place);
            self.known(place, matches!(text.get(at), Some(b'{' | b'[')));
            return self.value(at);
        }
        self.unknown(key, escaped, frame);
        if self.buffers.path.len() > self.limits.path_len {
            return self.long_name(at, frame.path_len);
        }
        self.value(at)
    }

    /// The value being read has a name that is kept. `is_open`: it has parts, whose names begin with its.
    #[inline]
    fn known(&mut self, place: Place, is_open: bool) {
        (self.here, self.before) = (place, Some(place));
        let field = || self.buffers.names.field(place, self.row.batch_serial());
        match if is_open { None } else { field() } {
            Some(field) => self.named = Named::Field(field),
            None => (self.named, self.unwritten) = (Named::Here, Some(place)),
        }
    }

    /// Brings the path up to date.
    fn write_path(&mut self) {
        if let Some(place) = self.unwritten.take() {
            let Flattener { path, names, .. } = &mut *self.buffers;
            path.clear();
            path.push_str(names.path(place).unwrap_or_default());
        }
    }

    /// The value being read has a name that is not kept: makes its path, and keeps it if it is the key as
    /// written.
    fn unknown(&mut self, key: &[u8], escaped: bool, frame: &Frame) {
        self.write_path();
        self.set_path(key, escaped, frame.path_len);
        let Flattener { path, names, .. } = &mut *self.buffers;
        let is_as_written = !escaped && path.as_bytes().ends_with(key);
        (self.named, self.here) = (Named::ByPath, Place::NONE);
        if is_as_written && names.path(frame.place).is_some() && path.len() <= self.limits.path_len
        {
            self.here = names.learn(frame.place, path, path.len() - key.len());
            names.follow(frame.place, self.before, self.here);
            (self.named, self.before) = (Named::Here, Some(self.here));
        }
    }

    /// Notes that the open object or array has a first member or element.
    fn begin(&mut self) {
        if let Some(frame) = self.buffers.frames.last_mut() {
            frame.is_begun = true;
        }
    }

    /// Inside an array, behind `[` or an element: takes `]` or the next `,value`.
    fn element(&mut self, at: usize) -> Result<usize, ParseError> {
        let frame = self.buffers.frames.len() - 1;
        let first = !std::mem::replace(&mut self.buffers.frames[frame].is_begun, true);
        let Frame { path_len, place, .. } = self.buffers.frames[frame];
        match self.buffers.names.path(place) {
            Some(_) => self.unwritten = Some(place),
            None => {
                self.write_path();
                self.buffers.path.truncate(path_len);
            }
        }
        self.here = place;
        let field = self.buffers.names.field(place, self.row.batch_serial());
        self.named = field.map_or(Named::Here, Named::Field);
        match self.text.get(at) {
            Some(b']') => Ok(self.close(at + 1)),
            Some(b',') if !first => self.value(skip_space(self.text, at + 1)),
            _ if first => self.value(at),
            _ => Err(expected(at, "',' or ']'")),
        }
    }

    /// Reads the value at `at`: pushes a scalar, or opens an object or array.
    fn value(&mut self, at: usize) -> Result<usize, ParseError> {
        let text = self.text;
        match text.get(at) {
            Some(b'"') => {
                let from = at + 1;
                let stop = quote_or_backslash(text, from).ok_or(unclosed(text))?;
                if text[stop] == b'"' {
                    self.push(Kind::Str, &text[from..stop]);
                    return Ok(stop + 1);
                }
                self.push_unescaped(from, stop)
            }
            Some(open @ (b'{' | b'[')) => self.open(at, *open == b'{'),
            Some(b't') => self.literal(at, b"true", Kind::Bool),
            Some(b'f') => self.literal(at, b"false", Kind::Bool),
            Some(b'n') => self.literal(at, b"null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => {
                let (end, kind) = number_end(text, at)?;
                self.push(kind, &text[at..end]);
                Ok(end)
            }
            _ => Err(expected(at, "a value")),
        }
    }

    fn literal(&mut self, at: usize, word: &[u8], kind: Kind) -> Result<usize, ParseError> {
        let end = at + word.len();
        if self.text.get(at..end) != Some(word) {
            return Err(expected(at, "a value"));
        }
        let bytes = if kind == Kind::Null { &[][..] } else { &self.text[at..end] };
        self.push(kind, bytes);
        Ok(end)
    }

    fn open(&mut self, at: usize, is_object: bool) -> Result<usize, ParseError> {
        if self.buffers.frames.len() >= self.limits.depth.clamp(1, DEPTH_MAX) {
            self.shape.too_deep += 1;
            return self.as_text(at);
        }
        let Flattener { path, names, .. } = &*self.buffers;
        let unwritten = self.unwritten.and_then(|place| names.path(place));
        let path_len = unwritten.map_or(path.len(), str::len);
        self.buffers.frames.push(Frame {
            is_object,
            path_len,
            is_begun: false,
            place: self.here,
            outer_before: self.before.take(),
            cells_from: self.row.cell_count(),
        });
        Ok(at + 1)
    }

    fn close(&mut self, at: usize) -> usize {
        if let Some(frame) = self.buffers.frames.pop() {
            self.before = frame.outer_before;
            let cells = frame.cells_from..self.row.cell_count();
            let is_element = self.buffers.frames.last().is_some_and(|outer| !outer.is_object);
            if frame.is_object && is_element && !cells.is_empty() {
                self.buffers.elements.push(cells);
            }
        }
        at
    }

    /// Keeps a value's own text in one cell under the current path.
    fn as_text(&mut self, at: usize) -> Result<usize, ParseError> {
        let end = value_end(self.text, at)?;
        self.named = Named::ByPath;
        self.push(Kind::Str, &self.text[at..end]);
        Ok(end)
    }

    /// A name over the limit: the value's text goes under the parent's name.
    fn long_name(&mut self, at: usize, parent_len: usize) -> Result<usize, ParseError> {
        self.shape.long_names += 1;
        self.buffers.path.truncate(parent_len);
        if parent_len == 0 {
            self.buffers.path.push_str(batch::OVERFLOW_NAME);
        }
        self.as_text(at)
    }

    /// Writes a value under the current name.
    #[inline]
    fn push(&mut self, kind: Kind, bytes: &[u8]) {
        match self.named {
            Named::Field(field) => {
                self.shape.not_stored += usize::from(!self.row.push(field, kind, bytes));
            }
            _ => self.push_named(kind, bytes),
        }
    }

    /// The same where the name's field has to be found first.
    #[inline(never)]
    fn push_named(&mut self, kind: Kind, bytes: &[u8]) {
        if !self.row.has_room() {
            // The name is not even looked up: a full row must not add names to the batch.
            self.shape.not_stored += 1;
            return;
        }
        let field = self.field();
        if !self.row.push(field, kind, bytes) {
            self.shape.not_stored += 1;
        }
    }

    /// Writes the string that starts at `from` and has its first backslash at `stop`. Out: where the text
    /// goes on behind it.
    fn push_unescaped(&mut self, from: usize, stop: usize) -> Result<usize, ParseError> {
        let text = self.text;
        if !self.row.has_room() {
            self.shape.not_stored += 1;
            self.buffers.unescaped.clear();
            return Ok(unescape_to_quote(text, from, stop, &mut self.buffers.unescaped)? + 1);
        }
        let field = self.field();
        let make = |out: &mut Vec<u8>| unescape_to_quote(text, from, stop, out);
        let (end, is_stored) = self.row.push_made(field, Kind::Str, make)?;
        self.shape.not_stored += usize::from(!is_stored);
        Ok(end + 1)
    }

    /// The field that the current name is.
    fn field(&mut self) -> FieldId {
        if let Named::Field(field) = self.named {
            return field;
        }
        self.write_path();
        let Flattener { path, names, .. } = &mut *self.buffers;
        let field = self.row.field(path);
        // What a reserved name leads to depends on who sent the row.
        if matches!(self.named, Named::Here) && !batch::is_reserved(path) {
            names.set_field(self.here, field, self.row.batch_serial());
        }
        field
    }

    /// Makes the path that of the member `key` of the object whose path has `parent_len` bytes.
    fn set_path(&mut self, key: &[u8], escaped: bool, parent_len: usize) {
        let Flattener { path, unescaped, .. } = &mut *self.buffers;
        path.truncate(parent_len);
        if parent_len > 0 {
            path.push('.');
        }
        let mut name = key;
        if escaped && unescape(key, 0, unescaped).is_ok() {
            name = unescaped;
        }
        match std::str::from_utf8(name) {
            Ok(name) => path.push_str(name),
            Err(_) => path.push_str(&String::from_utf8_lossy(name)),
        }
    }
}

fn expected(at: usize, expected: &'static str) -> ParseError {
    ParseError::Expected { format: FORMAT, at, expected }
}

/// First index at or behind `at` that is no JSON white space.
#[inline]
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Index of the closing quote of a string whose content starts at `at`, and whether a backslash
/// stands before it.
#[inline]
fn string_end(text: &[u8], at: usize) -> Result<(usize, bool), ParseError> {
    match quote_or_backslash(text, at) {
        Some(i) if text[i] == b'"' => Ok((i, false)),
        Some(i) => escaped_string_end(text, i).map(|end| (end, true)),
        None => Err(unclosed(text)),
    }
}

fn unclosed(text: &[u8]) -> ParseError {
    expected(text.len(), "'\"' that closes a string")
}

/// The rest of [`string_end`] from the first backslash on.
fn escaped_string_end(text: &[u8], mut at: usize) -> Result<usize, ParseError> {
    loop {
        // `at` is a backslash: it and the byte behind it are one.
        match quote_or_backslash(text, at + 2) {
            Some(i) if text[i] == b'"' => return Ok(i),
            Some(i) => at = i,
            None => return Err(unclosed(text)),
        }
    }
}

/// Bytes that are looked at together.
const BLOCK_BYTES: usize = 16;

/// How many bytes of a block stand before its first `"` or `\`.
#[inline]
fn plain_bytes(block: &[u8; BLOCK_BYTES]) -> usize {
    let block = u8x16::new(*block);
    let hits = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\'));
    (hits.to_bitmask() | 1 << BLOCK_BYTES).trailing_zeros() as usize
}

/// The block at `at`, if the text has all of it.
#[inline]
fn block_at(text: &[u8], at: usize) -> Option<&[u8; BLOCK_BYTES]> {
    text.get(at..)?.first_chunk()
}

/// Next `"` or `\` at or behind `at`. The first bytes are looked at here, because most strings are short and
/// a call of memchr costs as much as all of them.
#[inline]
fn quote_or_backslash(text: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..2 {
        let Some(block) = block_at(text, at) else { break };
        let plain = plain_bytes(block);
        at += plain;
        if plain < BLOCK_BYTES {
            return Some(at);
        }
    }
    memchr2(b'"', b'\\', text.get(at..)?).map(|i| at + i)
}

/// What the byte behind a backslash stands for; 0: something else.
const ESCAPES: [u8; 256] = {
    let mut out = [0; 256];
    out[b'"' as usize] = b'"';
    out[b'\\' as usize] = b'\\';
    out[b'/' as usize] = b'/';
    out[b'n' as usize] = b'\n';
    out[b't' as usize] = b'\t';
    out[b'r' as usize] = b'\r';
    out[b'b' as usize] = 8;
    out[b'f' as usize] = 12;
    out
};

/// Appends a string that starts at `from` and has its first backslash at `at` to `out`, escapes
/// resolved, in one pass: Windows messages have an escape every dozen bytes, and searching and
/// copying them separately took twice as long. Out: the index of the closing quote.
///
/// A piece of text is put together in a buffer whose size is known, so that a block is stored whole and
/// what is behind its first escape is written over by what comes next.
fn unescape_to_quote(
    text: &[u8],
    from: usize,
    mut at: usize,
    out: &mut Vec<u8>,
) -> Result<usize, ParseError> {
    out.extend_from_slice(&text[from..at]);
    let (mut piece, mut len) = ([0u8; PIECE_BYTES], 0);
    loop {
        if len == PIECE_BYTES {
            out.extend_from_slice(&piece);
            len = 0;
        }
        // Here is a quote or a backslash, or the last bytes of the text.
        match text.get(at) {
            Some(b'"') => {
                out.extend_from_slice(&piece[..len]);
                return Ok(at);
            }
            Some(b'\\') => match text.get(at + 1).map(|c| ESCAPES[usize::from(*c)]) {
                Some(plain @ 1..) => {
                    piece[len] = plain;
                    (len, at) = (len + 1, at + 2);
                    // Ends of lines and what indents the next come in runs.
                    if text.get(at) == Some(&b'\\') {
                        continue;
                    }
                }
                _ => {
                    out.extend_from_slice(&piece[..len]);
                    len = 0;
                    at += long_escape(text, at, out)?;
                }
            },
            Some(other) => {
                piece[len] = *other;
                (len, at) = (len + 1, at + 1);
            }
            None => return Err(unclosed(text)),
        }
        while let Some(block) = block_at(text, at) {
            if len > PIECE_BYTES - BLOCK_BYTES {
                out.extend_from_slice(&piece[..len]);
                len = 0;
            }
            piece[len..len + BLOCK_BYTES].copy_from_slice(block);
            let plain = plain_bytes(block);
            (len, at) = (len + plain, at + plain);
            if plain < BLOCK_BYTES {
                break;
            }
        }
    }
}

/// Bytes of text without its escapes that are put together before they are appended.
const PIECE_BYTES: usize = 512;

/// Appends what the escape at `at` stands for; the bytes it takes.
#[inline]
fn escape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, ParseError> {
    match text.get(at + 1).map(|c| ESCAPES[usize::from(*c)]) {
        Some(plain @ 1..) => {
            out.push(plain);
            Ok(2)
        }
        _ => long_escape(text, at, out),
    }
}

/// [`escape`] for those that are not one byte for one.
#[cold]
fn long_escape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, ParseError> {
    match text.get(at + 1) {
        Some(b'u') => {
            let (c, used) = unicode_escape(&text[at..])
                .ok_or_else(|| expected(at, "four hex digits behind \\u"))?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            Ok(used)
        }
        Some(_) => Err(expected(at, "an escape that JSON has")),
        None => Err(unclosed(text)),
    }
}

/// End of the number at `at` and what kind it is.
fn number_end(text: &[u8], at: usize) -> Result<(usize, Kind), ParseError> {
    let digits = |from: usize| text[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut end = at + usize::from(text[at] == b'-');
    let whole = digits(end);
    if whole == 0 {
        return Err(expected(end, "a digit"));
    }
    if whole > 1 && text[end] == b'0' {
        return Err(expected(end + 1, "no digit behind a leading zero"));
    }
    end += whole;
    let mut kind = Kind::Int;
    if text.get(end) == Some(&b'.') {
        kind = Kind::Float;
        let part = digits(end + 1);
        if part == 0 {
            return Err(expected(end + 1, "a digit"));
        }
        end += 1 + part;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        kind = Kind::Float;
        end += 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let power = text.get(end..).map_or(0, |_| digits(end));
        if power == 0 {
            return Err(expected(end, "a digit"));
        }
        end += power;
    }
    Ok((end, kind))
}

/// Replaces the escapes of a string's content (without its quotes). `base` is its offset, for errors
/// only. Clears `out` first. Escapes that JSON does not have (`\x`) are errors; lone surrogates
/// become U+FFFD.
pub fn unescape(body: &[u8], base: usize, out: &mut Vec<u8>) -> Result<(), ParseError> {
    out.clear();
    let mut at = 0;
    while let Some(i) = memchr::memchr(b'\\', &body[at..]).map(|i| at + i) {
        out.extend_from_slice(&body[at..i]);
        at = i + escape(body, i, out).map_err(|e| e.shifted(base))?;
    }
    out.extend_from_slice(&body[at..]);
    Ok(())
}

/// The character of `\uXXXX` or of a surrogate pair at the start of `text`, and the bytes it took.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let high = hex4(text.get(2..6)?)?;
    if let 0xd800..0xdc00 = high
        && text.get(6..8) == Some(b"\\u")
        && let Some(low @ 0xdc00..0xe000) = text.get(8..12).and_then(hex4)
    {
        let c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return Some((char::from_u32(c)?, 12));
    }
    Some((char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6))
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, c| Some(n << 4 | (*c as char).to_digit(16)?))
}

/// Index just behind the JSON value that starts at `at`.
///
/// Strings are honoured and brackets have to match; what stands between them is not checked. A
/// scalar ends before the next white space, comma or closing bracket.
/// Errors: no value at `at`, a closing bracket of the wrong kind, or the text ends first.
pub fn value_end(text: &[u8], at: usize) -> Result<usize, ParseError> {
    match text.get(at) {
        None | Some(b',' | b':' | b']' | b'}') => return Err(expected(at, "a value")),
        Some(b'"') => return string_end(text, at + 1).map(|(end, _)| end + 1),
        Some(b'{' | b'[') => {}
        Some(_) => {
            let is_end = |c: &u8| matches!(c, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            return Ok(text[at..].iter().position(is_end).map_or(text.len(), |n| at + n));
        }
    }
    let mut open = BracketStack::default();
    let mut at = at;
    while let Some(i) = next_structural(text, at) {
        at = i + 1;
        match text[i] {
            b'"' => at = string_end(text, at)?.0 + 1,
            c @ (b'{' | b'[') => open.push(c == b'{'),
            c => match open.pop() {
                Some(is_object) if is_object == (c == b'}') => {
                    if open.is_empty() {
                        return Ok(at);
                    }
                }
                Some(true) => return Err(expected(i, "'}'")),
                _ => return Err(expected(i, "']'")),
            },
        }
    }
    Err(expected(text.len(), "a closing bracket"))
}

/// Where the value of member `name` starts in the object at `at`, told without reading values. Names
/// with escapes are passed over. `None`: no such member, or no valid object up to it.
pub fn member(text: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let mut at = skip_space(text, at + 1);
    loop {
        let (key, value) = named(text, at).ok()?;
        if text[key] == *name {
            return Some(value);
        }
        at = skip_space(text, value_end(text, value).ok()?);
        if text.get(at) != Some(&b',') {
            return None;
        }
        at = skip_space(text, at + 1);
    }
}

/// The members of the object at `at`, in order, without looking into their values. Ends behind the first
/// error.
pub fn members(text: &[u8], at: usize) -> Members<'_> {
    Members { text, at: skip_space(text, at + 1), is_first: true, is_over: false }
}

/// One member of an object, by its places in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name between its quotes, with escapes as they were written.
    pub key: Range<usize>,
    /// The value.
    pub value: Range<usize>,
}

/// Iterator of [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a [u8],
    at: usize,
    is_first: bool,
    is_over: bool,
}

impl Iterator for Members<'_> {
    type Item = Result<Member, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let found = self.take().transpose();
        self.is_over = !matches!(found, Some(Ok(_)));
        found
    }
}

impl Members<'_> {
    fn take(&mut self) -> Result<Option<Member>, ParseError> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        match self.text.get(self.at) {
            Some(b'}') => return Ok(None),
            Some(b',') if !is_first => self.at = skip_space(self.text, self.at + 1),
            _ if is_first => {}
            _ => return Err(expected(self.at, "',' or '}'")),
        }
        let (key, from) = named(self.text, self.at)?;
        let to = value_end(self.text, from)?;
        self.at = skip_space(self.text, to);
        Ok(Some(Member { key, value: from..to }))
    }
}

/// The member whose name starts at `at`: the name between its quotes, and where its value starts.
fn named(text: &[u8], at: usize) -> Result<(Range<usize>, usize), ParseError> {
    if text.get(at) != Some(&b'"') {
        return Err(expected(at, "a key in quotes"));
    }
    let (end, _) = string_end(text, at + 1)?;
    let colon = skip_space(text, end + 1);
    if text.get(colon) != Some(&b':') {
        return Err(expected(colon, "':'"));
    }
    Ok((at + 1..end, skip_space(text, colon + 1)))
}

fn next_structural(text: &[u8], at: usize) -> Option<usize> {
    let is_structural = |c: &u8| matches!(c, b'"' | b'{' | b'[' | b'}' | b']');
    text.get(at..)?.iter().position(is_structural).map(|n| at + n)
}

/// Open brackets, one bit each: a megabyte of `[` costs 128 KiB. The first 64, which are nearly always
/// all, cost no memory of their own.
#[derive(Default)]
struct BracketStack {
    first: u64,
    more: Vec<u64>,
    len: usize,
}

impl BracketStack {
    fn push(&mut self, is_object: bool) {
        let (word, bit) = (self.len / 64, self.len % 64);
        if word > self.more.len() {
            self.more.push(0);
        }
        let bits = match word {
            0 => &mut self.first,
            _ => &mut self.more[word - 1],
        };
        *bits = *bits & !(1 << bit) | u64::from(is_object) << bit;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<bool> {
        self.len = self.len.checked_sub(1)?;
        let bits = match self.len / 64 {
            0 => self.first,
            word => self.more[word - 1],
        };
        Some(bits >> (self.len % 64) & 1 == 1)
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Dictionary, Envelope, EventBatch, EventId, RowHead};
    use std::sync::Arc;

    fn run(
        text: &[u8],
        prefix: &str,
        limits: Limits,
    ) -> (Vec<String>, Result<JsonShape, ParseError>) {
        let mut batch = EventBatch::new(Dictionary::ecs());
        let head = RowHead {
            id: EventId::default(),
            received_ns: 0,
            stream_ns: 0,
            envelope: Arc::new(Envelope::internal()),
        };
        let mut row = batch.begin(head, text);
        let raw = row.raw();
        let shape = flatten(raw, prefix, &mut row, &limits);
        let show =
            |(f, v): (_, event::Value<'_>)| format!("{}:{:?}={}", row.name(f), v.kind, v.text());
        (row.cells().map(show).collect(), shape)
    }

    /// Guarantees: whatever its length and wherever its escapes stand, a string comes out as by one byte at a
    /// time, up to the end of the text.
    #[test]
    fn escapes_at_every_place_of_blocks_and_pieces() {
        for len in (0..64).chain(PIECE_BYTES - 40..PIECE_BYTES + 40).chain([2 * PIECE_BYTES]) {
            for every in [1, 2, 3, 7, 15, 16, 17, 40, 500] {
                let (mut text, mut want) = (br#"{"a":"\n"#.to_vec(), b"\n".to_vec());
                for n in 0..len {
                    let is_escape = n % every == every - 1;
                    text.extend_from_slice(if is_escape { br"\t" } else { b"x" });
                    want.push(if is_escape { b'\t' } else { b'x' });
                }
                let (cut, mut out) = (text.len(), Vec::new());
                assert!(unescape_to_quote(&text, 6, 6, &mut out).is_err(), "{len} {every}");
                for end in [&b"\""[..], b"\"}", b"\", \"and\": \"sixteen bytes more\"}"] {
                    text.truncate(cut);
                    text.extend_from_slice(end);
                    out.clear();
                    assert_eq!(unescape_to_quote(&text, 6, 6, &mut out).unwrap(), cut);
                    assert_eq!(out, want, "{len} {every}");
                }
            }
        }
    }

    #[test]
    fn cells_in_document_order_with_kinds_and_digits_as_sent() {
        let text = br#" {"a":{"b":-9214364837600034816,"c":1.50},"d":["x",2,[true,null]],"e":[{"f":1e3},{"f":""}],"g":{},"h":[]} "#;
        let (cells, shape) = run(text, "", Limits::default());
        let want = [
            "a.b:Int=-9214364837600034816",
            "a.c:Float=1.50",
            "d:Str=x",
            "d:Int=2",
            "d:Bool=true",
            "d:Null=",
            "e.f:Float=1e3",
            "e.f:Str=",
        ];
        assert_eq!(cells, want);
        assert_eq!(shape, Ok(JsonShape { cells: 8, ..JsonShape::default() }));
        let (cells, _) = run(br#"{"a":1}"#, "winlog", Limits::default());
        assert_eq!(cells, ["winlog.a:Int=1"]);
        let (cells, _) = run(b"[1,2]", "list", Limits::default());
        assert_eq!(cells, ["list:Int=1", "list:Int=2"]);
    }

    #[test]
    fn names_met_before_give_the_same_cells() {
        let texts = [
            r#"{"user":{"name":"a","id":1},"user.name":"b","name":"c","":0,"host":{"":1}}"#,
            r#"{"name":"c","user":{"id":1,"name":["a","b",{"name":2}]},"host":{"name":"h"}}"#,
            r#"{"user":{"user":{"name":"x"}},"event":{"original":"claimed"},"name":{"name":3}}"#,
            r#"{"us\u0065r":{"name":"e"},"user":"twice","user":"again","@timestamp":"t"}"#,
        ];
        let mut kept = Flattener::new();
        for (round, text) in texts.iter().cycle().take(12).enumerate() {
            // Another generation knows other names under the same ids.
            let mut names = event::DictionaryBuilder::new();
            names.field(["name", "host.name.x"][round / 6]);
            names.field("user");
            let dict = names.build();
            for _ in 0..2 {
                let cells = |flattener: &mut Flattener| {
                    let mut batch = EventBatch::new(dict.clone());
                    let envelope = Arc::new(Envelope::internal());
                    let id = EventId::default();
                    let head = RowHead { id, received_ns: 0, stream_ns: 0, envelope };
                    let mut row = batch.begin(head, text.as_bytes());
                    let raw = row.raw();
                    let shape = flattener.flatten(raw, "", &mut row, &Limits::default());
                    let cells =
                        row.cells().map(|(f, v)| (row.name(f).to_owned(), v.text().into_owned()));
                    (cells.collect::<Vec<_>>(), shape)
                };
                assert_eq!(cells(&mut kept), cells(&mut Flattener::new()), "{text}");
            }
        }
    }

    #[test]
    fn strings_and_their_escapes() {
        let text = br#"{"k\u0041":"a\"b\\c\/\n\u00e4\ud83d\ude00\ud800x","long":"0123456789012345678901234567890123456789\t."}"#;
        let (cells, _) = run(text, "", Limits::default());
        assert_eq!(cells[0], "kA:Str=a\"b\\c/\n\u{e4}\u{1f600}\u{fffd}x");
        assert_eq!(cells[1], "long:Str=0123456789012345678901234567890123456789\t.");
        let (cells, _) = run(b"{\"a\":\"\xff\n\"}", "", Limits::default());
        assert_eq!(cells, ["a:Str=\u{fffd}\n"]);
    }

    #[test]
    fn what_is_no_json_says_where() {
        for (text, at) in [
            ("", 0),
            ("[1]", 0),
            ("{\"a\":1} x", 8),
            ("{\"a\":1", 6),
            ("{\"a\":01}", 6),
            ("{\"a\":1,}", 7),
            ("{,}", 1),
            ("{\"a\" 1}", 5),
            ("{\"a\":tru}", 5),
            ("{\"a\":[1 2]}", 8),
            ("{\"a\":[,]}", 6),
            ("{\"a\":[1,]}", 8),
            ("{\"a\":\"\\x\"}", 6),
            ("{\"a\":\"\\u12\"}", 6),
            ("{\"a\":-}", 6),
            ("{\"a\":1.}", 7),
            ("{\"a\":\"x", 7),
            ("{\"a\":1]", 6),
        ] {
            let (cells, shape) = run(text.as_bytes(), "", Limits::default());
            assert_eq!(shape.map_err(|e| e.at()), Err(at), "{text}");
            assert_eq!(cells, [""; 0], "{text}");
        }
        let partial = Limits { keep_partial: true, ..Limits::default() };
        let (cells, shape) = run(b"{\"a\":1,\"b\":\"cut of", "", partial);
        assert_eq!((cells, shape.is_err()), (vec!["a:Int=1".to_owned()], true));
    }

    #[test]
    fn repeated_keys_are_kept() {
        let count = |text: &str| run(text.as_bytes(), "", Limits::default()).0.len();
        assert_eq!(count(r#"{"a":1,"a":2,"\u0061":3}"#), 3);
        let wide: Vec<String> = (0..300).map(|i| format!("\"k{}\":1", i % 290)).collect();
        assert_eq!(count(&format!("{{{}}}", wide.join(","))), 300);
    }

    proptest::proptest! {
        /// Few names, some of them known to the generation, some the beginning of others, some in two
        /// objects: whatever order came before, a record gives what it gives alone.
        #[test]
        fn names_met_before_change_nothing(
            records in proptest::collection::vec(
                proptest::collection::vec((0usize..6, 0usize..5), 0..8), 1..8),
        ) {
            const KEYS: [&str; 6] = ["user", "user.name", "name", "message", "m\\u0065ssage", "x"];
            const VALUES: [&str; 5] = [
                "1",
                r#"{"name":"a","id":"b"}"#,
                r#"[{"name":1},{"id":2}]"#,
                r#"{"x":{"name":3}}"#,
                r#"[4,[5],{"name":[6]},7]"#,
            ];
            let mut kept = Flattener::new();
            let (dict, head) = (Dictionary::ecs(), RowHead {
                id: EventId::default(),
                received_ns: 0,
                stream_ns: 0,
                envelope: Arc::new(Envelope::internal()),
            });
            for record in records {
                let members: Vec<_> =
                    record.iter().map(|(k, v)| format!("\"{}\":{}", KEYS[*k], VALUES[*v])).collect();
                let text = format!("{{{}}}", members.join(","));
                let shown = |flattener: &mut Flattener| -> Vec<String> {
                    let mut batch = EventBatch::new(dict.clone());
                    // Twice: the second row meets names that are the batch's own already.
                    for prefix in ["", "x", ""] {
                        let mut row = batch.begin(head.clone(), text.as_bytes());
                        let raw = row.raw();
                        flattener.flatten(raw, prefix, &mut row, &Limits::default()).unwrap();
                        row.finish();
                    }
                    let cells = batch.rows().flat_map(|row| row.cells().collect::<Vec<_>>());
                    cells.map(|(f, v)| format!("{}={}", batch.name(f), v.text())).collect()
                };
                proptest::prop_assert_eq!(shown(&mut kept), shown(&mut Flattener::new()));
            }
        }
    }

    #[test]
    fn limits_lose_nothing_without_saying_so() {
        let deep = format!("{}{{\"x\":[1]}}{}", "{\"a\":".repeat(64), "}".repeat(64));
        let (cells, shape) = run(deep.as_bytes(), "", Limits::default());
        assert_eq!(shape.unwrap().too_deep, 1);
        assert!(cells[0].ends_with(":Str={\"x\":[1]}"));
        let long = format!("{{\"a\":{{\"{}\":[1]}}}}", "k".repeat(600));
        let (cells, shape) = run(long.as_bytes(), "", Limits::default());
        assert_eq!((cells, shape.unwrap().long_names), (vec!["a:Str=[1]".to_owned()], 1));
        let many: Vec<String> = (0..3_000).map(|i| format!("\"k{i}\":{i}")).collect();
        let many = format!("{{{}}}", many.join(","));
        let (cells, shape) = run(many.as_bytes(), "", Limits::default());
        assert_eq!((cells.len(), shape.unwrap().not_stored), (2_048, 952));
    }

    #[test]
    fn the_end_of_a_value() {
        for (text, end) in [("{\"a\":\"}\"}x", 9), ("[[],{}] ", 7), ("12,", 2), ("\"a\\\"b\" ", 6)]
        {
            assert_eq!(value_end(text.as_bytes(), 0), Ok(end), "{text}");
        }
        for (text, at) in [("{]", 1), ("[}", 1), ("{", 1), ("", 0), ("\"a", 2)] {
            assert_eq!(value_end(text.as_bytes(), 0).map_err(|e| e.at()), Err(at), "{text}");
        }
        let bomb = "[".repeat(1 << 20);
        assert!(value_end(bomb.as_bytes(), 0).is_err());
    }
}
