//! The pages of one row group that a look at some rows needs.
//!
//! ```text
//! places of pages --near ones together--> few reads, compared with their checksums
//!                                              \--> pages --unpacked by one unpacker a thread--> columns
//! ```
//! The library reads every page by itself and makes an unpacker for each column. Rows have some ninety
//! columns and a needle wants one row of a group: both cost more than the unpacking.

use crate::checks::CheckedFile;
use crate::recent;
use crate::unpack;
use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use std::ops::Range;
use std::sync::Arc;

/// What lies between two places is read with them up to here: a read costs about as much as so many
/// bytes.
const GAP_BYTES: u64 = 16 << 10;
/// Most bytes of one read.
const READ_BYTES_MAX: u64 = 4 << 20;
/// Longest page after unpacking; pages have lengths of 31 bits.
const PAGE_BYTES_MAX: u64 = i32::MAX as u64;

/// A file of which some parts are in memory.
pub(crate) struct Parts {
    file: CheckedFile,
    /// Where parts begin, and their bytes; ascending.
    parts: Vec<(u64, Bytes)>,
}

impl Parts {
    /// Reads these places, those that are near each other at once. What cannot be read so is left to
    /// whoever wants it: damage between two pages is none of theirs.
    pub(crate) fn read(file: CheckedFile, mut places: Vec<Range<u64>>) -> Self {
        places.sort_unstable_by_key(|place| place.start);
        let mut reads: Vec<Range<u64>> = Vec::new();
        for place in places.into_iter().filter(|place| !place.is_empty()) {
            match reads.last_mut() {
                Some(last)
                    if place.start <= last.end + GAP_BYTES
                        && place.end.max(last.end) - last.start <= READ_BYTES_MAX =>
                {
                    last.end = last.end.max(place.end);
                }
                _ => reads.push(place),
            }
        }
        let parts = reads.into_iter().filter_map(|read| {
            let bytes = file.get_bytes(read.start, (read.end - read.start) as usize).ok()?;
            Some((read.start, bytes))
        });
        Self { parts: parts.collect(), file }
    }

    /// A file of which nothing is in memory.
    pub(crate) fn none(file: CheckedFile) -> Self {
        Self { file, parts: Vec::new() }
    }
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Parts {
    type T = <CheckedFile as ChunkReader>::T;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let after = self.parts.partition_point(|(at, _)| *at <= start);
        if let Some((at, bytes)) = after.checked_sub(1).and_then(|last| self.parts.get(last)) {
            let from = (start - at) as usize;
            if from.checked_add(length).is_some_and(|end| end <= bytes.len()) {
                return Ok(bytes.slice(from..from + length));
            }
        }
        self.file.get_bytes(start, length)
    }
}

/// One row group of a file.
pub(crate) struct OneGroup<'a> {
    pub(crate) parts: Arc<Parts>,
    pub(crate) meta: &'a ParquetMetaData,
    pub(crate) group: usize,
    /// Number of the opened file.
    pub(crate) file: u64,
    /// Only some rows are wanted: a whole group's pages would push out all others that are kept.
    pub(crate) chosen: bool,
}

impl RowGroups for OneGroup<'_> {
    fn num_rows(&self) -> usize {
        self.meta.row_group(self.group).num_rows() as usize
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let chunk = self.meta.row_group(self.group).column(column);
        let pages = self.meta.offset_index().and_then(|index| index.get(self.group)?.get(column));
        let pages = pages.map(|pages| pages.page_locations().clone()).filter(|p| !p.is_empty());
        let starts = pages.iter().flatten().map(|page| page.offset.unsigned_abs());
        let starts: Vec<u64> = starts.collect();
        let start = chunk.byte_range().0;
        let dictionary = starts.first().is_some_and(|first| *first != start).then_some(start);
        let of =
            |chunk| SerializedPageReader::new(self.parts.clone(), chunk, self.num_rows(), pages);
        let reader: Box<dyn PageReader> = match chunk.compression() {
            Compression::ZSTD(_) => {
                // The library hands out pages as they are where it takes them for unpacked.
                let plain = chunk.clone().into_builder();
                let plain = plain.set_compression(Compression::UNCOMPRESSED).build()?;
                let starts = dictionary.into_iter().chain(starts).collect::<Vec<_>>().into_iter();
                let (file, chosen) = (self.file, self.chosen);
                Box::new(Unpacking { packed: of(&plain)?, file, starts, chosen })
            }
            _ => Box::new(of(chunk)?),
        };
        Ok(Box::new(OneChunk(Some(reader))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.meta.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.meta
    }
}

struct OneChunk(Option<Box<dyn PageReader>>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OneChunk {}

/// Unpacks the pages of a reader that hands them out packed.
struct Unpacking {
    packed: SerializedPageReader<Parts>,
    file: u64,
    /// Where the pages to come begin, if that is known.
    starts: std::vec::IntoIter<u64>,
    chosen: bool,
}

impl Iterator for Unpacking {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Unpacking {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let place = self.starts.next().map(|at| recent::Place { file: self.file, at });
        if let Some(known) = place.and_then(recent::get) {
            self.packed.skip_next_page()?;
            return Ok(Some(known));
        }
        let Some(mut page) = self.packed.get_next_page()? else { return Ok(None) };
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
                *buf = unpacked(buf, 0)?;
            }
            Page::DataPageV2 {
                buf,
                is_compressed: true,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let plain = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                *buf = unpacked(buf, plain)?;
            }
            Page::DataPageV2 { .. } => {}
        }
        if let Some(place) = place.filter(|_| self.chosen || page.is_dictionary_page()) {
            recent::keep(place, &page);
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        let _ = self.starts.next();
        self.packed.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.packed.at_record_boundary()
    }
}

/// A page of which the first `plain` bytes are not packed.
fn unpacked(page: &Bytes, plain: usize) -> Result<Bytes> {
    let wrong = |text: &str| ParquetError::General(format!("a page is damaged: {text}"));
    let (levels, packed) =
        page.split_at_checked(plain).ok_or_else(|| wrong("it is shorter than its levels"))?;
    if packed.is_empty() {
        return Ok(page.clone());
    }
    let size = unpack::told_size(packed).ok_or_else(|| wrong("it does not say its length"))?;
    let size = usize::try_from(size.min(PAGE_BYTES_MAX)).unwrap_or(usize::MAX);
    let bytes = unpack::unpacked(packed, size).map_err(|e| wrong(&e))?;
    Ok(match levels.is_empty() {
        true => bytes.into(),
        false => [levels, &bytes].concat().into(),
    })
}
