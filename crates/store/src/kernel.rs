//! A plan over one row group of a stored file: the same verdicts as the streaming evaluator.
//!
//! ```text
//! node --eval(rows in question)--> rows that hold
//!        leaf: column keys -> one test per distinct value -> bits; then the residual; then "absent"
//! ```
//! `and` hands on only rows that still hold, `or` only rows that do not hold yet, so a column is
//! read only if a row needs it and a value is tested at most once.

use crate::error::StoreError;
use crate::layout::envelope;
use crate::read::{StoredFile, TextColumn};
use crate::residual::{self, Cell};
use crate::sidecar::{BLOCK_ROWS, Sidecar};
use crate::template;
use crate::words::{self, Needs, needs_of};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{TimestampNanosecondType, UInt32Type, UInt64Type};
use event::{Dictionary, EventId, EventView, FieldId, Kind, Value, field::INTRINSIC_NAMES, time};
use filter::{Node, Plan, Target, Test, TextOp, is_part, plan::Names};
use hashbrown::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The names that answer to `name` in a generation, first present one wins. A name that the
/// generation does not know answers for itself.
pub(crate) fn answers(dict: &Dictionary, name: &str) -> Vec<Box<str>> {
    let mut out: Vec<Box<str>> = vec![name.into()];
    for id in dict.answers(name) {
        if dict.name(id) != name {
            out.push(dict.name(id).into());
        }
    }
    out
}

/// Names of a hot batch as the searching generation answers them, whatever generation the batch is of.
pub(crate) struct BatchNames<'a> {
    pub(crate) dict: &'a Dictionary,
    pub(crate) batch: &'a event::EventBatch,
}

impl Names for BatchNames<'_> {
    fn answers(&self, name: &str) -> Vec<FieldId> {
        answers(self.dict, name).iter().filter_map(|n| self.batch.id(n)).collect()
    }

    fn names(&self, name: &str) -> Vec<Box<str>> {
        answers(self.dict, name)
    }

    fn parts_of(&self, objects: &[Box<str>]) -> (Vec<FieldId>, u32) {
        self.batch.dict().parts_of(objects)
    }
}

/// A plan with the names of one generation.
pub(crate) struct Resolved {
    pub(crate) plan: Plan,
    leaves: Vec<LeafNames>,
}

struct LeafNames {
    target: Vec<Box<str>>,
    other: Vec<Box<str>>,
    /// What the index must show for a block; none if the index cannot tell.
    needs: Option<Vec<Needs>>,
}

impl Resolved {
    pub(crate) fn new(plan: Plan, dict: &Dictionary) -> Self {
        let leaves = plan.leaves.iter().map(|leaf| LeafNames {
            target: match &leaf.target {
                Target::Field(name) => answers(dict, name),
                Target::Keyword => Vec::new(),
            },
            other: leaf.test.other_field().map_or_else(Vec::new, |n| answers(dict, n)),
            needs: needs_of(&leaf.test),
        });
        let mut leaves: Vec<LeafNames> = leaves.collect();
        for leaf in &mut leaves {
            // The index knows the texts of cells, raw bytes and the envelope, not computed ones.
            let computed = |name: &str| {
                let stored =
                    [envelope::SOURCE, envelope::IDENTITY, envelope::PEER, envelope::ORIGINAL];
                INTRINSIC_NAMES.contains(&name) && !stored.contains(&name)
            };
            if leaf.target.iter().any(|name| computed(name)) {
                leaf.needs = None;
            }
        }
        Self { leaves, plan }
    }

    /// Whether the index can narrow the search at all.
    pub(crate) fn asks_index(&self) -> bool {
        self.leaves.iter().any(|leaf| leaf.needs.is_some())
    }

    /// The blocks of a group that may hold, by the index.
    pub(crate) fn blocks(&self, sidecar: &Sidecar, group: usize) -> Result<u64, String> {
        self.node_blocks(&self.plan.root, sidecar, group)
    }

    fn node_blocks(&self, node: &Node, sidecar: &Sidecar, group: usize) -> Result<u64, String> {
        Ok(match node {
            Node::Const(true) | Node::Not(_) => u64::MAX,
            Node::Const(false) => 0,
            Node::Leaf(index) => match &self.leaves[*index as usize].needs {
                None => u64::MAX,
                Some(alternatives) => {
                    let mut mask = 0;
                    for needs in alternatives {
                        mask |= sidecar.blocks(group, needs)?;
                    }
                    mask
                }
            },
            Node::And(parts) => {
                let mut mask = u64::MAX;
                for part in parts {
                    if mask == 0 {
                        break;
                    }
                    mask &= self.node_blocks(part, sidecar, group)?;
                }
                mask
            }
            Node::AtLeast(0, _) => u64::MAX,
            Node::Or(parts) | Node::AtLeast(_, parts) => {
                let mut mask = 0;
                for part in parts {
                    mask |= self.node_blocks(part, sidecar, group)?;
                }
                mask
            }
            Node::Named(_, part) => self.node_blocks(part, sidecar, group)?,
        })
    }

    /// Whether some row of the group may hold, judged by necessary conditions alone.
    pub(crate) fn may_hold(&self, file: &StoredFile, group: usize) -> bool {
        self.node_may_hold(&self.plan.root, file, group)
    }

    fn node_may_hold(&self, node: &Node, file: &StoredFile, group: usize) -> bool {
        match node {
            Node::Const(value) => *value,
            Node::Leaf(index) => self.leaf_may_hold(*index as usize, file, group),
            Node::And(parts) => parts.iter().all(|p| self.node_may_hold(p, file, group)),
            Node::Or(parts) => parts.iter().any(|p| self.node_may_hold(p, file, group)),
            Node::AtLeast(n, parts) => {
                let may = parts.iter().filter(|p| self.node_may_hold(p, file, group)).count();
                may >= *n as usize
            }
            Node::Named(_, part) => self.node_may_hold(part, file, group),
            Node::Not(_) => true,
        }
    }

    fn leaf_may_hold(&self, index: usize, file: &StoredFile, group: usize) -> bool {
        let leaf = &self.plan.leaves[index];
        if leaf.target == Target::Keyword || leaf.test.on_absent() {
            return true;
        }
        let names = &self.leaves[index].target;
        if leaf.test.on_object() && file.has_below(names) {
            return true;
        }
        names.iter().any(|name| {
            if INTRINSIC_NAMES.contains(&&**name) || file.residual_may_hold(name) {
                return true;
            }
            let Some(column) = file.field_index(name) else { return false };
            match exact_text(&leaf.test) {
                Some(text) => file.group_may_hold(group, column, text),
                None => true,
            }
        })
    }
}

/// The only bytes that can satisfy the test, if there is just one such text: folded comparison of
/// text without letters is exact.
fn exact_text(test: &Test) -> Option<&str> {
    match test {
        Test::Text { op: TextOp::Equals, pattern, cased, .. } => {
            let caseless = pattern.bytes().all(|b| b.is_ascii() && !b.is_ascii_alphabetic());
            (*cased || caseless).then_some(pattern)
        }
        _ => None,
    }
}

/// A set of rows of one group.
#[derive(Clone, PartialEq)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(crate) fn none(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)] }
    }

    pub(crate) fn all(rows: usize) -> Self {
        let mut out = Self { words: vec![u64::MAX; rows.div_ceil(64)] };
        if let (Some(last), rest @ 1..) = (out.words.last_mut(), rows % 64) {
            *last = (1 << rest) - 1;
        }
        out
    }

    pub(crate) fn set(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        let words = self.words.iter().zip(&other.words).map(|(a, b)| a & b);
        Self { words: words.collect() }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let rows: Vec<usize> = self.iter().filter(|row| !keep(*row)).collect();
        rows.into_iter().for_each(|row| self.words[row / 64] &= !(1 << (row % 64)));
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        let words = self.words.iter().zip(&other.words).map(|(a, b)| a & !b);
        Self { words: words.collect() }
    }

    fn add(&mut self, other: &Self) {
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a |= b;
        }
    }

    /// All of them, ascending.
    pub(crate) fn rows(&self) -> Vec<u32> {
        let count = self.words.iter().map(|word| word.count_ones() as usize).sum();
        let mut rows = Vec::with_capacity(count);
        for (word, from) in self.words.iter().zip((0u32..).step_by(64)) {
            if *word == u64::MAX {
                rows.extend(from..from + 64);
                continue;
            }
            let mut rest = *word;
            while rest != 0 {
                rows.push(from + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        rows
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    at * 64 + bit as usize
                })
            })
        })
    }
}

type Residuals = Arc<Vec<Vec<Cell>>>;

/// One row group, or some blocks of it, with the columns read so far. Rows are numbered from 0 over
/// the chosen blocks: [`Group::number`] gives a row's number in the group.
pub(crate) struct Group {
    pub(crate) file: Arc<StoredFile>,
    pub(crate) group: usize,
    pub(crate) rows: usize,
    /// The chosen rows of the group; none: all.
    ranges: Option<Vec<Range<usize>>>,
    arrays: HashMap<usize, ArrayRef>,
    texts: HashMap<usize, Arc<TextColumn>>,
    residual: Option<Residuals>,
}

impl Group {
    pub(crate) fn new(file: Arc<StoredFile>, group: usize) -> Self {
        let rows = file.group_rows(group);
        Self {
            file,
            group,
            rows,
            ranges: None,
            arrays: HashMap::new(),
            texts: HashMap::new(),
            residual: None,
        }
    }

    /// Only the blocks of `mask`.
    pub(crate) fn of_blocks(file: Arc<StoredFile>, group: usize, mask: u64) -> Self {
        let mut this = Self::new(file, group);
        let total = this.rows;
        let blocks = total.div_ceil(BLOCK_ROWS);
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for block in (0..blocks).filter(|b| *b < 64 && mask >> b & 1 == 1) {
            let (start, end) = (block * BLOCK_ROWS, total.min((block + 1) * BLOCK_ROWS));
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        let rows = ranges.iter().map(ExactSizeIterator::len).sum();
        if rows != total {
            this.rows = rows;
            this.ranges = Some(ranges);
        }
        this
    }

    /// The numbers of ascending rows in the whole group.
    pub(crate) fn numbers(&self, rows: &[u32]) -> Vec<u32> {
        let Some(ranges) = &self.ranges else { return rows.to_vec() };
        let (mut ranges, mut range, mut before) = (ranges.iter(), 0..0, 0);
        let number = |row: &u32| {
            while *row as usize >= before + range.len() {
                before += range.len();
                let Some(next) = ranges.next() else { break };
                range = next.clone();
            }
            (range.start + *row as usize - before) as u32
        };
        rows.iter().map(number).collect()
    }

    fn read(&self, indices: &[usize]) -> Result<RecordBatch, StoreError> {
        self.file.read(self.group, Some(indices), self.ranges.as_deref())
    }

    /// Whether none of the chosen rows has a value in a column.
    fn is_null(&self, index: usize) -> bool {
        self.file.rows_are_null(self.group, index, self.ranges.as_deref())
    }

    /// Reads text columns at once that would be read one by one.
    fn prefetch(&mut self, indices: impl Iterator<Item = usize>) -> Result<(), StoreError> {
        let wanted: Vec<usize> =
            indices.filter(|i| !self.texts.contains_key(i) && !self.is_null(*i)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let batch = self.read(&wanted)?;
        for (array, index) in batch.columns().iter().zip(wanted) {
            let column = TextColumn::new(array).ok_or_else(|| self.unreadable("text"))?;
            self.texts.insert(index, Arc::new(column));
        }
        Ok(())
    }

    fn array(&mut self, index: usize) -> Result<ArrayRef, StoreError> {
        if let Some(array) = self.arrays.get(&index) {
            return Ok(array.clone());
        }
        let batch = self.read(&[index])?;
        let array = batch.column(0).clone();
        self.arrays.insert(index, array.clone());
        Ok(array)
    }

    fn envelope_array(&mut self, name: &str) -> Result<ArrayRef, StoreError> {
        let index = self.file.column_index(name).ok_or_else(|| self.unreadable(name))?;
        self.array(index)
    }

    fn unreadable(&self, name: &str) -> StoreError {
        StoreError::File {
            path: name.into(),
            reason: "column is missing or of another type".into(),
        }
    }

    pub(crate) fn text(&mut self, index: usize) -> Result<Arc<TextColumn>, StoreError> {
        if let Some(column) = self.texts.get(&index) {
            return Ok(column.clone());
        }
        let column = match self.is_null(index) {
            true => TextColumn::empty(self.rows),
            false => {
                let batch = self.read(&[index])?;
                TextColumn::new(batch.column(0)).ok_or_else(|| self.unreadable("text"))?
            }
        };
        let column = Arc::new(column);
        self.texts.insert(index, column.clone());
        Ok(column)
    }

    /// The residual cells of every row.
    pub(crate) fn residual(&mut self) -> Result<Residuals, StoreError> {
        if let Some(cells) = &self.residual {
            return Ok(cells.clone());
        }
        let index = self.file.column_index(envelope::RESIDUAL);
        if index.is_some_and(|i| self.is_null(i)) {
            let out: Residuals = Arc::new((0..self.rows).map(|_| Vec::new()).collect());
            self.residual = Some(out.clone());
            return Ok(out);
        }
        let array = self.envelope_array(envelope::RESIDUAL)?;
        let texts = array.as_string_opt::<i32>().ok_or_else(|| self.unreadable("residual"))?;
        let mut out = Vec::with_capacity(texts.len());
        for row in 0..texts.len() {
            out.push(match texts.is_valid(row) {
                true => {
                    residual::parse(texts.value(row)).ok_or_else(|| self.unreadable("residual"))?
                }
                false => Vec::new(),
            });
        }
        let out = Arc::new(out);
        self.residual = Some(out.clone());
        Ok(out)
    }

    /// `@timestamp` of every row, ns.
    pub(crate) fn times(&mut self) -> Result<Vec<i64>, StoreError> {
        self.time_column(envelope::TIMESTAMP)
    }

    /// When each row was received, ns.
    pub(crate) fn received(&mut self) -> Result<Vec<i64>, StoreError> {
        self.time_column(envelope::INGESTED)
    }

    fn time_column(&mut self, name: &str) -> Result<Vec<i64>, StoreError> {
        let array = self.envelope_array(name)?;
        let times = array.as_primitive_opt::<TimestampNanosecondType>();
        Ok(times.ok_or_else(|| self.unreadable(name))?.values().to_vec())
    }

    /// Identity of every row.
    pub(crate) fn ids(&mut self) -> Result<Vec<EventId>, StoreError> {
        let rows: Vec<u32> = (0..self.rows as u32).collect();
        self.ids_of(&rows)
    }

    /// Identity of some rows.
    pub(crate) fn ids_of(&mut self, rows: &[u32]) -> Result<Vec<EventId>, StoreError> {
        let partition = self.envelope_array(envelope::PARTITION)?;
        let offset = self.envelope_array(envelope::OFFSET)?;
        let sub = self.envelope_array(envelope::SUB)?;
        let wrong = || self.unreadable("event id");
        let partition = partition.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?.values();
        let offset = offset.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.values();
        let sub = sub.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?.values();
        let id = |row: &u32| {
            let row = *row as usize;
            EventId { partition: partition[row], offset: offset[row], sub: sub[row] }
        };
        Ok(rows.iter().map(id).collect())
    }

    /// Rows within `[since, until)`.
    pub(crate) fn in_time(
        &mut self,
        since: Option<i64>,
        until: Option<i64>,
    ) -> Result<Bits, StoreError> {
        let (low, high) = self.file.group_times(self.group);
        if since.is_none_or(|s| s <= low) && until.is_none_or(|u| high < u) {
            return Ok(Bits::all(self.rows));
        }
        let mut out = Bits::none(self.rows);
        for (row, at) in self.times()?.into_iter().enumerate() {
            if since.is_none_or(|s| at >= s) && until.is_none_or(|u| at < u) {
                out.set(row);
            }
        }
        Ok(out)
    }

    /// The rows of `mask` for which the plan holds.
    pub(crate) fn matching(
        &mut self,
        resolved: &Resolved,
        mask: &Bits,
    ) -> Result<Bits, StoreError> {
        self.node(&resolved.plan.root, resolved, mask)
    }

    fn node(&mut self, node: &Node, resolved: &Resolved, mask: &Bits) -> Result<Bits, StoreError> {
        if mask.is_empty() {
            return Ok(mask.clone());
        }
        Ok(match node {
            Node::Const(true) => mask.clone(),
            Node::Const(false) => Bits::none(self.rows),
            Node::Leaf(index) => self.leaf(*index as usize, resolved, mask)?,
            Node::And(parts) => {
                let mut held = mask.clone();
                for part in cheap_first(parts, &resolved.plan) {
                    held = self.node(part, resolved, &held)?;
                }
                held
            }
            Node::Or(parts) => {
                let mut held = Bits::none(self.rows);
                for part in cheap_first(parts, &resolved.plan) {
                    let more = self.node(part, resolved, &mask.minus(&held))?;
                    held.add(&more);
                }
                held
            }
            Node::Not(part) => mask.minus(&self.node(part, resolved, mask)?),
            Node::Named(_, part) => self.node(part, resolved, mask)?,
            Node::AtLeast(n, parts) => self.at_least(*n, parts, resolved, mask)?,
        })
    }

    fn at_least(
        &mut self,
        n: u32,
        parts: &[Node],
        resolved: &Resolved,
        mask: &Bits,
    ) -> Result<Bits, StoreError> {
        let mut counts = vec![0u32; self.rows];
        for part in parts {
            for row in self.node(part, resolved, mask)?.iter() {
                counts[row] += 1;
            }
        }
        let mut out = Bits::none(self.rows);
        mask.iter().filter(|row| counts[*row] >= n).for_each(|row| out.set(row));
        Ok(out)
    }

    fn leaf(&mut self, index: usize, resolved: &Resolved, mask: &Bits) -> Result<Bits, StoreError> {
        let leaf = &resolved.plan.leaves[index];
        let names = &resolved.leaves[index];
        match (&leaf.target, &leaf.test) {
            (Target::Keyword, test) => self.keyword(test, mask),
            (Target::Field(_), Test::Field { op, cased, .. }) => {
                self.relation(*op, *cased, names, mask)
            }
            (Target::Field(_), test) => self.field(test, &names.target, mask),
        }
    }

    fn field(&mut self, test: &Test, names: &[Box<str>], mask: &Bits) -> Result<Bits, StoreError> {
        let mut open = mask.clone();
        let mut held = Bits::none(self.rows);
        for name in names {
            if open.is_empty() {
                break;
            }
            let mut decided = Bits::none(self.rows);
            if INTRINSIC_NAMES.contains(&&**name) {
                self.intrinsic(name, &open, &mut |row, text| {
                    decided.set(row);
                    if test.holds(Value { kind: Kind::Str, bytes: text.as_bytes() }) {
                        held.set(row);
                    }
                })?;
            } else {
                if let Some(column) = self.file.field_index(name) {
                    let kind = self.file.kind(column);
                    let column = self.text(column)?;
                    test_column(test, kind, &column, &open, &mut decided, &mut held);
                }
                if self.file.residual_may_hold(name) {
                    let cells = self.residual()?;
                    for row in open.minus(&decided).iter() {
                        for cell in cells[row].iter().filter(|c| *c.name == **name) {
                            decided.set(row);
                            if test.holds(value_of(cell)) {
                                held.set(row);
                            }
                        }
                    }
                }
            }
            open = open.minus(&decided);
        }
        if test.asks_below() && !open.is_empty() {
            let objects = self.objects(names, &open)?;
            if test.on_object() {
                held.add(&objects);
            }
            open = open.minus(&objects);
        }
        if test.on_absent() {
            held.add(&open);
        }
        Ok(held)
    }

    /// The rows of `mask` that have a field below one of `names`: there they are objects.
    fn objects(&mut self, names: &[Box<str>], mask: &Bits) -> Result<Bits, StoreError> {
        let mut found = Bits::none(self.rows);
        let file = self.file.clone();
        let columns: Vec<usize> = file.columns_below(names).collect();
        self.prefetch(columns.iter().copied())?;
        for index in columns {
            let column = self.text(index)?;
            mask.iter().filter(|row| column.key(*row).is_some()).for_each(|row| found.set(row));
        }
        if file.residual_may_hold_below(names) {
            let cells = self.residual()?;
            let has_part = |row: &usize| cells[*row].iter().any(|c| is_part(&c.name, names));
            mask.minus(&found).iter().filter(has_part).for_each(|row| found.set(row));
        }
        Ok(found)
    }

    /// Raw bytes or any cell's text. Cells first: each distinct value is tested once.
    fn keyword(&mut self, test: &Test, mask: &Bits) -> Result<Bits, StoreError> {
        let mut held = Bits::none(self.rows);
        let mut open = mask.clone();
        self.prefetch(self.file.clone().field_indices())?;
        for column in self.file.field_indices() {
            if open.is_empty() {
                return Ok(held);
            }
            let kind = self.file.kind(column);
            let column = self.text(column)?;
            let mut decided = Bits::none(self.rows);
            test_column(test, kind, &column, &open, &mut decided, &mut held);
            open = open.minus(&held);
        }
        let cells = self.residual()?;
        for row in open.iter() {
            if cells[row].iter().any(|cell| test.holds(value_of(cell))) {
                held.set(row);
            }
        }
        open = open.minus(&held);
        self.raw_where(Some(test), &open, &mut |row, bytes| {
            if test.holds(Value { kind: Kind::Str, bytes }) {
                held.set(row);
            }
        })?;
        Ok(held)
    }

    /// Calls `each` with the raw bytes of the rows of `mask`, rebuilt from templates where they have
    /// one. With a test whose match cannot span a reference's edge, rows are left out of which no
    /// cell holds (the caller knows) and whose template does not hold either.
    fn raw_where(
        &mut self,
        test: Option<&Test>,
        mask: &Bits,
        each: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), StoreError> {
        if mask.is_empty() {
            return Ok(());
        }
        let raw = self.envelope_array(envelope::ORIGINAL)?;
        let raw = raw.as_binary_opt::<i32>().ok_or_else(|| self.unreadable("event.original"))?;
        let templates = match self.file.column_index(envelope::TEMPLATE) {
            Some(index) if raw.null_count() > 0 => Some(self.text(index)?),
            _ => None,
        };
        let inner = test.filter(|test| within_runs(test));
        let mut parsed: HashMap<usize, Option<Rebuild<'_>>> = HashMap::new();
        let mut bytes = Vec::new();
        for row in mask.iter() {
            if raw.is_valid(row) {
                each(row, raw.value(row));
                continue;
            }
            let lost = || StoreError::file(Path::new("event.original"), "a row has no template");
            let templates = templates.as_ref().ok_or_else(lost)?;
            let key = templates.key(row).ok_or_else(lost)?;
            if !parsed.contains_key(&key) {
                let parts = template::parse(templates.value(key));
                let idle = inner.is_some_and(|test| cannot_hold(test, &parts));
                let rebuild = if idle { None } else { Some(self.rebuild(parts)?) };
                parsed.insert(key, rebuild);
            }
            let Some(Some(rebuild)) = parsed.get(&key) else { continue };
            bytes.clear();
            let event_ns = rebuild.times.get(row).copied().unwrap_or_default();
            for (part, column) in &rebuild.parts {
                let text = column.as_ref().and_then(|c| c.get(row));
                let text = match (text, part.name()) {
                    (Some(text), _) => text,
                    (None, None) => "",
                    (None, Some(name)) => {
                        let cells = &rebuild.cells[row];
                        let cell = cells.iter().find(|c| &*c.name == name).ok_or_else(lost)?;
                        std::str::from_utf8(&cell.bytes).map_err(|_| lost())?
                    }
                };
                part.append(text, event_ns, &mut bytes);
            }
            each(row, &bytes);
        }
        Ok(())
    }

    fn rebuild<'t>(&mut self, parts: Vec<template::Part<'t>>) -> Result<Rebuild<'t>, StoreError> {
        let mut columns = Vec::with_capacity(parts.len());
        for part in &parts {
            let index = part.name().and_then(|name| self.file.field_index(name));
            columns.push(index.map(|index| self.text(index)).transpose()?);
        }
        let times =
            if parts.iter().any(template::Part::is_time) { self.times()? } else { Vec::new() };
        let cells = self.residual()?;
        Ok(Rebuild { parts: parts.into_iter().zip(columns).collect(), times, cells })
    }

    fn relation(
        &mut self,
        op: TextOp,
        cased: bool,
        names: &LeafNames,
        mask: &Bits,
    ) -> Result<Bits, StoreError> {
        let target = self.values(&names.target, mask)?;
        let other = self.values(&names.other, mask)?;
        let mut held = Bits::none(self.rows);
        for (row, (a, b)) in mask.iter().zip(target.iter().zip(&other)) {
            let relates = |a: &OwnValue| {
                b.iter().any(|b| {
                    let null = a.0 == Kind::Null || b.0 == Kind::Null;
                    !null && filter::test::text_relation(op, &a.1, &b.1, cased)
                })
            };
            if a.iter().any(relates) {
                held.set(row);
            }
        }
        Ok(held)
    }

    /// The values of the first present field among `names`, for each row of `mask` in order.
    pub(crate) fn values(
        &mut self,
        names: &[Box<str>],
        mask: &Bits,
    ) -> Result<Vec<Vec<OwnValue>>, StoreError> {
        let mut by_row: HashMap<usize, Vec<OwnValue>> = HashMap::new();
        let mut open = mask.clone();
        for name in names {
            let mut decided = Bits::none(self.rows);
            if INTRINSIC_NAMES.contains(&&**name) {
                self.intrinsic(name, &open, &mut |row, text| {
                    decided.set(row);
                    by_row.insert(row, vec![(Kind::Str, text.as_bytes().into())]);
                })?;
            } else {
                if let Some(index) = self.file.field_index(name) {
                    let kind = self.file.kind(index);
                    let column = self.text(index)?;
                    for row in open.iter() {
                        if let Some(text) = column.get(row) {
                            decided.set(row);
                            by_row.insert(row, vec![(kind, text.as_bytes().into())]);
                        }
                    }
                }
                if self.file.residual_may_hold(name) {
                    let cells = self.residual()?;
                    for row in open.minus(&decided).iter() {
                        for cell in cells[row].iter().filter(|c| *c.name == **name) {
                            decided.set(row);
                            by_row.entry(row).or_default().push((cell.kind, cell.bytes.clone()));
                        }
                    }
                }
            }
            open = open.minus(&decided);
            if open.is_empty() {
                break;
            }
        }
        Ok(mask.iter().map(|row| by_row.remove(&row).unwrap_or_default()).collect())
    }

    /// Text of an intrinsic field for each row of `mask` that has it: what
    /// [`event::EventView::intrinsic_text`] gives.
    fn intrinsic(
        &mut self,
        name: &str,
        mask: &Bits,
        each: &mut dyn FnMut(usize, &str),
    ) -> Result<(), StoreError> {
        use envelope::*;
        match name {
            TIMESTAMP | INGESTED => {
                let times = self.time_column(name)?;
                mask.iter().for_each(|row| each(row, &time::rfc3339(times[row])));
            }
            "event.id" => {
                let ids = self.ids()?;
                mask.iter().for_each(|row| each(row, &ids[row].to_string()));
            }
            WEIGHT => {
                let array = self.envelope_array(name)?;
                let weights =
                    array.as_primitive_opt::<UInt32Type>().ok_or_else(|| self.unreadable(name))?;
                mask.iter().for_each(|row| each(row, &weights.value(row).to_string()));
            }
            ORIGINAL => {
                self.raw_where(None, mask, &mut |row, bytes| {
                    each(row, &String::from_utf8_lossy(bytes));
                })?;
            }
            SOURCE | IDENTITY | PEER => {
                let index = self.file.column_index(name).ok_or_else(|| self.unreadable(name))?;
                let column = self.text(index)?;
                for row in mask.iter() {
                    let text = column.get(row).unwrap_or_default();
                    if name != PEER || !text.is_empty() {
                        each(row, text);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A template with the columns that it refers to.
struct Rebuild<'t> {
    parts: Vec<(template::Part<'t>, Option<Arc<TextColumn>>)>,
    times: Vec<i64>,
    cells: Residuals,
}

/// Whether every match of a test lies within one run of word bytes: then it cannot begin in a
/// template's own text and end in a cell, because references stand between other bytes.
fn within_runs(test: &Test) -> bool {
    match test {
        Test::Text { op: TextOp::Contains, folded, .. } => {
            !folded.is_empty() && folded.iter().all(|b| words::in_run(*b))
        }
        _ => false,
    }
}

/// Whether a test from [`within_runs`] holds nowhere in a template's own parts, given that it holds
/// in no cell.
fn cannot_hold(test: &Test, parts: &[template::Part<'_>]) -> bool {
    let Test::Text { folded, .. } = test else { return false };
    // Times are digits with at most three letters in a row.
    let in_time =
        folded.len() <= 30 && (folded.len() <= 3 || folded.iter().any(u8::is_ascii_digit));
    !parts.iter().any(|part| match part {
        template::Part::Literal(text) => {
            test.holds(Value { kind: Kind::Str, bytes: text.as_bytes() })
        }
        template::Part::Plain(_) | template::Part::Json(_) => false,
        template::Part::Time(_) | template::Part::Bsd => in_time,
    })
}

/// A value that outlives its column.
pub(crate) type OwnValue = (Kind, Box<[u8]>);

/// The values of the first present field among `names` of a hot row.
pub(crate) fn hot_values(row: &EventView<'_>, names: &[Box<str>]) -> Vec<OwnValue> {
    for id in names.iter().filter_map(|name| row.batch().id(name)) {
        if id.is_intrinsic() {
            if let Some(text) = row.intrinsic_text(id) {
                return vec![(Kind::Str, text.as_bytes().into())];
            }
            continue;
        }
        let values: Vec<OwnValue> = row.all(id).map(|v| (v.kind, v.bytes.into())).collect();
        if !values.is_empty() {
            return values;
        }
    }
    Vec::new()
}

fn value_of(cell: &Cell) -> Value<'_> {
    Value { kind: cell.kind, bytes: &cell.bytes }
}

/// Tests each distinct value at most once.
fn test_column(
    test: &Test,
    kind: Kind,
    column: &TextColumn,
    open: &Bits,
    decided: &mut Bits,
    held: &mut Bits,
) {
    const UNKNOWN: u8 = 2;
    let mut verdicts = vec![UNKNOWN; column.distinct()];
    for row in open.iter() {
        let Some(key) = column.key(row) else { continue };
        decided.set(row);
        if verdicts[key] == UNKNOWN {
            let bytes = column.value(key).as_bytes();
            verdicts[key] = u8::from(test.holds(Value { kind, bytes }));
        }
        if verdicts[key] == 1 {
            held.set(row);
        }
    }
}

/// Parts that read single fields before parts that read everything.
fn cheap_first<'a>(parts: &'a [Node], plan: &Plan) -> Vec<&'a Node> {
    fn reads_all(node: &Node, plan: &Plan) -> bool {
        match node {
            Node::Const(_) => false,
            Node::Leaf(index) => plan.leaves[*index as usize].target == Target::Keyword,
            Node::And(parts) | Node::Or(parts) | Node::AtLeast(_, parts) => {
                parts.iter().any(|p| reads_all(p, plan))
            }
            Node::Not(part) | Node::Named(_, part) => reads_all(part, plan),
        }
    }
    let mut out: Vec<&Node> = parts.iter().collect();
    out.sort_by_key(|part| reads_all(part, plan));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_know_their_rows() {
        for rows in [0, 1, 63, 64, 65, 130] {
            let all = Bits::all(rows);
            assert_eq!(all.iter().collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
            let mut odd = Bits::none(rows);
            (1..rows).step_by(2).for_each(|r| odd.set(r));
            assert_eq!(all.minus(&odd).iter().count(), rows.div_ceil(2));
        }
    }

    #[test]
    fn only_text_that_folds_to_itself_prunes() {
        let eq = |p: &str, cased| Test::text(TextOp::Equals, p, cased);
        assert_eq!(exact_text(&eq("10.0.0.1", false)), Some("10.0.0.1"));
        assert_eq!(exact_text(&eq("abc", false)), None);
        assert_eq!(exact_text(&eq("aBc", true)), Some("aBc"));
        assert_eq!(exact_text(&eq("\u{e9}1", false)), None);
    }
}
