//! A column of text in the making: each distinct value once, and the blocks of rows that have it.

use crate::sidecar::block_of;
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Key of a row without a value; none is stored under it.
const NONE: i32 = -1;

/// Values so far.
#[derive(Default)]
pub(crate) struct Texts {
    keys: Vec<i32>,
    nulls: usize,
    values: Vec<u8>,
    /// Where each value ends.
    ends: Vec<i32>,
    /// Blocks that have each value.
    blocks: Vec<u64>,
    /// Keys by the values' hashes.
    known: HashTable<i32>,
    hasher: DefaultHashBuilder,
    /// Key of the last value: rows that stand together are alike.
    last: i32,
}

fn value<'v>(values: &'v [u8], ends: &[i32], key: i32) -> &'v [u8] {
    let key = key as usize;
    let start = if key == 0 { 0 } else { ends[key - 1] as usize };
    &values[start..ends[key] as usize]
}

impl Texts {
    pub(crate) fn nulls(&mut self, count: usize) {
        self.keys.resize(self.keys.len() + count, NONE);
        self.nulls += count;
    }

    /// Adds the next row's value.
    pub(crate) fn push(&mut self, text: &str) -> Result<(), ArrowError> {
        let block = block_of(self.keys.len());
        let key = match self.is_last(text) {
            true => self.last,
            false => self.key(text)?,
        };
        self.blocks[key as usize] |= block;
        self.last = key;
        self.keys.push(key);
        Ok(())
    }

    fn is_last(&self, text: &str) -> bool {
        !self.ends.is_empty() && value(&self.values, &self.ends, self.last) == text.as_bytes()
    }

    fn key(&mut self, text: &str) -> Result<i32, ArrowError> {
        let hash = self.hasher.hash_one(text);
        let (values, ends) = (&self.values, &self.ends);
        let is = |key: &i32| value(values, ends, *key) == text.as_bytes();
        if let Some(key) = self.known.find(hash, is) {
            return Ok(*key);
        }
        let end = i32::try_from(self.values.len() + text.len());
        let end = end.map_err(|_| ArrowError::OffsetOverflowError(usize::MAX))?;
        let key = self.ends.len() as i32;
        self.values.extend_from_slice(text.as_bytes());
        self.ends.push(end);
        self.blocks.push(0);
        let (values, ends, hasher) = (&self.values, &self.ends, &self.hasher);
        let again = |key: &i32| {
            // Whatever was text is text.
            hasher.hash_one(std::str::from_utf8(value(values, ends, *key)).unwrap_or_default())
        };
        self.known.insert_unique(hash, key, again);
        Ok(key)
    }

    /// Every value with the blocks that have it.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let value =
            |(key, blocks): (usize, &u64)| (value(&self.values, &self.ends, key as i32), *blocks);
        self.blocks.iter().enumerate().map(value)
    }

    /// The column; nothing is left.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let this = std::mem::take(self);
        let nulls = (this.nulls > 0)
            .then(|| NullBuffer::from_iter(this.keys.iter().map(|key| *key != NONE)));
        let mut keys = this.keys;
        if this.nulls > 0 {
            keys.iter_mut().for_each(|key| *key = (*key).max(0));
        }
        let mut offsets = Vec::with_capacity(this.ends.len() + 1);
        offsets.push(0);
        offsets.extend(this.ends);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let values = StringArray::try_new(offsets, Buffer::from_vec(this.values), None)?;
        let keys = Int32Array::try_new(ScalarBuffer::from(keys), nulls)?;
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::new(values))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, StringDictionaryBuilder};
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_the_library_builds(
            rows in prop::collection::vec(prop::option::of("[ab\u{e9}]{0,2}"), 0..2_000),
        ) {
            let mut texts = Texts::default();
            let mut expected = StringDictionaryBuilder::<Int32Type>::new();
            for row in &rows {
                match row {
                    Some(text) => {
                        texts.push(text).unwrap();
                        expected.append_value(text);
                    }
                    None => {
                        texts.nulls(1);
                        expected.append_null();
                    }
                }
            }
            for (value, blocks) in texts.blocks() {
                let has = |block: usize| {
                    let rows = rows.iter().skip(block * 512).take(512).flatten();
                    rows.into_iter().any(|row| row.as_bytes() == value)
                };
                for block in 0..4 {
                    prop_assert_eq!(blocks >> block & 1 == 1, has(block));
                }
            }
            let (found, expected) = (texts.finish().unwrap(), expected.finish());
            let expected: &dyn Array = &expected;
            prop_assert_eq!(&*found, expected);
        }
    }
}
