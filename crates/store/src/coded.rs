//! Values of a field over selected rows as numbers into distinct texts: what grouping works on.

use crate::error::StoreError;
use crate::kernel::{Bits, Group, OwnValue};
use crate::layout::typed;
use crate::read::TextColumn;
use crate::render::array;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::DataType;
use event::{Kind, field::INTRINSIC_NAMES};
use filter::Number;
use hashbrown::HashMap;
use std::sync::Arc;

/// The row has no value, or null.
pub(crate) const NONE: u32 = u32::MAX;
/// Most bytes of one value that reach the engine: longer ones are cut for grouping and sorting only.
pub(crate) const VALUE_BYTES_MAX: usize = 32 << 10;

/// A number per row. Columns come first, each with its own stretch of numbers, then texts that stand
/// in no column.
pub(crate) struct Coded {
    pub(crate) codes: Vec<u32>,
    columns: Vec<(u32, Arc<TextColumn>)>,
    extra_at: u32,
    extra: Vec<Extra>,
}

struct Extra {
    text: Box<str>,
    number: Option<f64>,
}

impl Coded {
    /// Of selected rows of a group: columns as they are, the residual value by value.
    pub(crate) fn of_group(
        group: &mut Group,
        names: &[Box<str>],
        rows: &[u32],
    ) -> Result<Self, StoreError> {
        if names.iter().any(|name| INTRINSIC_NAMES.contains(&&**name)) {
            let mut mask = Bits::none(group.rows);
            rows.iter().for_each(|row| mask.set(*row as usize));
            return Ok(Self::of_values(group.values(names, &mask)?));
        }
        let mut columns = Vec::new();
        let mut next = 0u32;
        let mut codes = vec![NONE; rows.len()];
        let mut waiting: Vec<(u32, Vec<OwnValue>)> = Vec::new();
        let mut open: Vec<u32> = (0..rows.len() as u32).collect();
        for name in names {
            if open.is_empty() {
                break;
            }
            if let Some(index) = group.file.field_index(name) {
                let column = group.text(index)?;
                for at in &open {
                    if let Some(key) = column.key(rows[*at as usize] as usize) {
                        codes[*at as usize] = next + key as u32;
                    }
                }
                let base = next;
                next += column.distinct() as u32;
                columns.push((base, column));
                open.retain(|at| codes[*at as usize] == NONE);
            }
            if !open.is_empty() && group.file.residual_may_hold(name) {
                let cells = group.residual()?;
                open.retain(|at| {
                    let cells = &cells[rows[*at as usize] as usize];
                    let own = cells.iter().filter(|c| *c.name == **name);
                    let values: Vec<OwnValue> = own.map(|c| (c.kind, c.bytes.clone())).collect();
                    let absent = values.is_empty();
                    if !absent {
                        waiting.push((*at, values));
                    }
                    absent
                });
            }
        }
        let mut coded = Self { codes, columns, extra_at: next, extra: Vec::new() };
        let mut numbers = HashMap::new();
        for (at, values) in waiting {
            coded.codes[at as usize] = coded.intern(&values, &mut numbers);
        }
        Ok(coded)
    }

    /// Of values one by one.
    pub(crate) fn of_values(values: Vec<Vec<OwnValue>>) -> Self {
        let mut coded =
            Self { codes: Vec::new(), columns: Vec::new(), extra_at: 0, extra: Vec::new() };
        let mut numbers = HashMap::new();
        let codes = values.iter().map(|values| coded.intern(values, &mut numbers)).collect();
        coded.codes = codes;
        coded
    }

    /// Of numbers that repeat; only the codes are of use.
    pub(crate) fn of_numbers(values: &[i64]) -> Self {
        let mut numbers: HashMap<i64, u32> = HashMap::new();
        let mut last = None;
        let codes = values.iter().map(|value| match last {
            Some((known, code)) if known == *value => code,
            _ => {
                let next = numbers.len() as u32;
                let code = *numbers.entry(*value).or_insert(next);
                last = Some((*value, code));
                code
            }
        });
        let codes = codes.collect();
        Self { codes, columns: Vec::new(), extra_at: numbers.len() as u32, extra: Vec::new() }
    }

    fn intern(&mut self, values: &[OwnValue], numbers: &mut HashMap<(Box<str>, bool), u32>) -> u32 {
        let (text, number): (Box<str>, Option<f64>) = match values {
            [] | [(Kind::Null, _)] => return NONE,
            [(_, bytes)] => {
                let text = String::from_utf8_lossy(bytes);
                (cut(&text).into(), number_of(bytes))
            }
            many => {
                let mut text = String::new();
                array(&mut text, many.iter().map(|(kind, bytes)| (*kind, &**bytes)));
                (cut(&text).into(), None)
            }
        };
        let next = self.extra_at + self.extra.len() as u32;
        let (many, extra) = (values.len() > 1, &mut self.extra);
        *numbers.entry((text.clone(), many)).or_insert_with(|| {
            extra.push(Extra { text, number });
            next
        })
    }

    /// Whether each row has at most one value, all of them in columns.
    pub(crate) fn is_plain(&self) -> bool {
        self.extra.is_empty()
    }

    /// Numbers are below this.
    pub(crate) fn size(&self) -> u32 {
        self.extra_at + self.extra.len() as u32
    }

    /// The text of a number.
    pub(crate) fn text(&self, code: u32) -> Option<&str> {
        if code == NONE {
            return None;
        }
        if let Some(at) = code.checked_sub(self.extra_at) {
            return self.extra.get(at as usize).map(|e| &*e.text);
        }
        let (base, column) = self.columns.iter().rev().find(|(base, _)| *base <= code)?;
        Some(cut(column.value((code - base) as usize)))
    }

    fn number(&self, code: u32) -> Option<f64> {
        match code.checked_sub(self.extra_at).filter(|_| code != NONE) {
            Some(at) => self.extra.get(at as usize)?.number,
            None => number_of(self.text(code)?.as_bytes()),
        }
    }

    /// Texts of some rows.
    pub(crate) fn texts(&self, rows: &[u32]) -> ArrayRef {
        let texts = rows.iter().map(|row| self.text(self.codes[*row as usize]));
        Arc::new(texts.collect::<StringArray>())
    }

    /// Numbers of some rows; nothing where the value is none.
    pub(crate) fn numbers(&self, rows: &[u32]) -> ArrayRef {
        let numbers = rows.iter().map(|row| self.number(self.codes[*row as usize]));
        Arc::new(numbers.collect::<Float64Array>())
    }
}

impl Coded {
    /// All rows as values of a type; nothing where the text is not of it.
    pub(crate) fn typed(&self, ty: &DataType) -> ArrayRef {
        let texts = || self.codes.iter().map(|code| self.text(*code));
        match ty {
            DataType::Int64 => {
                Arc::new(texts().map(|t| t.and_then(typed::long)).collect::<Int64Array>())
            }
            DataType::Float64 => {
                let numbers = texts().map(|t| t.and_then(|t| number_of(t.as_bytes())));
                Arc::new(numbers.collect::<Float64Array>())
            }
            DataType::Boolean => {
                Arc::new(texts().map(|t| t.and_then(typed::boolean)).collect::<BooleanArray>())
            }
            DataType::Timestamp(..) => {
                let times = texts().map(|t| t.and_then(event::time::parse_rfc3339));
                let times = times.collect::<TimestampNanosecondArray>();
                Arc::new(times.with_timezone("UTC"))
            }
            _ => Arc::new(texts().collect::<StringArray>()),
        }
    }
}

/// The number that a text is.
pub(crate) fn number_of(bytes: &[u8]) -> Option<f64> {
    match Number::parse(bytes)? {
        Number::Int(n) => Some(n as f64),
        Number::Float(n) => Some(n),
    }
}

/// A value as the engine sees it.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(VALUE_BYTES_MAX)]
}

/// Rows that are alike in all columns: the first of each kind, and how many there are.
pub(crate) fn alike(columns: &[(&[u32], u32)], rows: usize) -> (Vec<u32>, Vec<i64>) {
    let one_each = || ((0..rows as u32).collect(), vec![1; rows]);
    if columns.is_empty() && rows > 0 {
        return (vec![0], vec![rows as i64]);
    }
    let mut size = 1u64;
    for (_, n) in columns {
        // One more for rows without a value.
        match size.checked_mul(u64::from(*n) + 1) {
            Some(product) => size = product,
            None => return one_each(),
        }
    }
    let mut keys = vec![0u64; rows];
    for (codes, n) in columns {
        for (key, code) in keys.iter_mut().zip(codes.iter()) {
            *key = *key * (u64::from(*n) + 1) + u64::from((*code).min(*n));
        }
    }
    let (mut first, mut counts): (Vec<u32>, Vec<i64>) = (Vec::new(), Vec::new());
    let mut count = |seen: &mut u32, row: usize| {
        if *seen == NONE {
            *seen = first.len() as u32;
            first.push(row as u32);
            counts.push(0);
        }
        counts[*seen as usize] += 1;
    };
    if size <= (rows as u64 * 4).max(1 << 12) {
        let mut seen = vec![NONE; size as usize];
        keys.iter().enumerate().for_each(|(row, key)| count(&mut seen[*key as usize], row));
    } else {
        let mut seen: HashMap<u64, u32> = HashMap::with_capacity(rows / 4);
        for (row, key) in keys.iter().enumerate() {
            count(seen.entry(*key).or_insert(NONE), row);
        }
    }
    (first, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_alike_are_counted_together() {
        let a = [0, 1, 0, NONE, 0];
        let b = [5, 5, 5, 5, 6];
        let (first, counts) = alike(&[(&a, 2), (&b, 7)], 5);
        assert_eq!((first, counts), (vec![0, 1, 3, 4], vec![2, 1, 1, 1]));
        assert_eq!(alike(&[], 3), (vec![0], vec![3]));
        assert_eq!(alike(&[(&a, u32::MAX), (&b, u32::MAX), (&b, u32::MAX)], 5).0.len(), 5);
    }

    #[test]
    fn several_values_are_one_text_and_no_number() {
        let value = |kind, text: &str| (kind, text.as_bytes().into());
        let coded = Coded::of_values(vec![
            vec![value(Kind::Str, "1")],
            vec![value(Kind::Str, "1"), value(Kind::Int, "2")],
            vec![value(Kind::Null, "")],
            vec![value(Kind::Int, "1")],
        ]);
        assert_eq!(coded.codes, [0, 1, NONE, 0]);
        assert_eq!((coded.text(1), coded.number(1)), (Some("[\"1\",2]"), None));
        assert_eq!((coded.number(0), coded.is_plain()), (Some(1.0), false));
    }
}
