//! Checksums inside a data file: a flipped bit is noticed by whoever reads the bytes it is in.
//!
//! ```text
//! row groups ... | crc32c u32 of each 8 KiB of what is before | page indexes, footer
//!                ^ at: in the footer's metadata               ^ one crc32c, in the manifest
//! ```
//! Parquet has checksums of pages, which our library neither writes nor reads as we build it. These
//! stand where other readers do not look. A damaged checksum looks like a damaged block: either way
//! the block is not believed, and all others are read as before.

use crate::far_file::FarReader;
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes that share a checksum: a page read alone costs at most two of them more.
pub(crate) const BLOCK_BYTES: usize = 8 << 10;
/// Key of the file's own metadata: where its checksums are.
pub(crate) const META_CHECKS: &str = "alcedo.checks";
const SUM_BYTES: usize = 4;

/// Where the checksums of a file are; the value of [`META_CHECKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// They begin here, and cover all bytes before.
    pub(crate) at: u64,
    /// Bytes that each of them covers.
    pub(crate) block: usize,
}

/// What a file's end must be; listed in the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterSum {
    /// The page indexes and the footer begin here.
    pub at: u64,
    /// CRC-32C of all bytes from there on.
    pub crc32c: u32,
}

/// Checksums of bytes that come in pieces.
#[derive(Default)]
pub(crate) struct BlockSums {
    done: Vec<u8>,
    open: u32,
    filled: usize,
}

impl BlockSums {
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.open = crc32c::crc32c_append(self.open, now);
            self.filled += now.len();
            if self.filled == BLOCK_BYTES {
                self.close();
            }
            bytes = later;
        }
    }

    fn close(&mut self) {
        self.done.extend_from_slice(&self.open.to_le_bytes());
        (self.open, self.filled) = (0, 0);
    }

    /// All of them, little-endian.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.close();
        }
        self.done
    }
}

/// Where the bytes of a data file are.
#[derive(Clone)]
enum Source {
    Local(Arc<File>),
    Far(Arc<FarReader>),
}

/// A data file whose bytes are compared with their checksums as they are read.
#[derive(Clone)]
pub(crate) struct CheckedFile {
    source: Source,
    size: u64,
    place: Option<Place>,
}

impl CheckedFile {
    /// Files of before there were checksums have no `place`.
    pub(crate) fn open(path: &Path, place: Option<Place>) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { source: Source::Local(Arc::new(file)), size, place })
    }

    /// A far file whose end is here.
    pub(crate) fn far(reader: Arc<FarReader>, place: Option<Place>) -> Self {
        Self { size: reader.size(), source: Source::Far(reader), place }
    }

    /// The reader of a far file.
    pub(crate) fn far_reader(&self) -> Option<&FarReader> {
        match &self.source {
            Source::Local(_) => None,
            Source::Far(reader) => Some(reader),
        }
    }

    /// Whether the file's end is the listed one.
    pub(crate) fn has_footer(&self, sum: &FooterSum) -> Result<bool, ParquetError> {
        let Some(len) = self.size.checked_sub(sum.at) else { return Ok(false) };
        Ok(crc32c::crc32c(&self.plain(sum.at, len as usize)?) == sum.crc32c)
    }

    /// A place in a footer may be damaged where no manifest lists it: it is used only if it can be.
    pub(crate) fn place_of(&self, text: &str) -> Option<Place> {
        let place: Place = serde_json::from_str(text).ok()?;
        (place.at <= self.size && (512..=1 << 20).contains(&place.block)).then_some(place)
    }

    fn plain(&self, start: u64, length: usize) -> Result<Vec<u8>, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF("it is shorter than its footer says".into()));
        }
        let mut bytes = vec![0; length];
        match &self.source {
            Source::Local(file) => file.read_exact_at(&mut bytes, start)?,
            Source::Far(reader) => {
                let here = reader.end_at().saturating_sub(start).min(length as u64) as usize;
                let (far, near) = bytes.split_at_mut(here);
                reader.read(far, start).map_err(|e| ParquetError::External(Box::new(e)))?;
                reader.read_end(near, start + here as u64)?;
            }
        }
        Ok(bytes)
    }

    /// Bytes of a far file that are wrong are asked for once more, with their checksums: they may be so
    /// on the way only, or their checksums be so here.
    fn checked(&self, start: u64, length: usize, place: Place) -> Result<Bytes, ParquetError> {
        match (self.compared(start, length, place), &self.source) {
            (Err(ParquetError::General(_)), Source::Far(reader)) => {
                reader.forget(start..start + length as u64, place.block as u64);
                self.compared(start, length, place)
            }
            (result, _) => result,
        }
    }

    fn compared(&self, start: u64, length: usize, place: Place) -> Result<Bytes, ParquetError> {
        let block = place.block as u64;
        let from = start / block * block;
        let to = (start + length as u64).next_multiple_of(block).min(place.at);
        let bytes = self.plain(from, (to - from) as usize)?;
        let count = bytes.len().div_ceil(place.block);
        let sums = self.plain(place.at + from / block * SUM_BYTES as u64, count * SUM_BYTES)?;
        let blocks = bytes.chunks(place.block).zip(sums.chunks_exact(SUM_BYTES));
        for (number, (block, sum)) in blocks.enumerate() {
            if crc32c::crc32c(block).to_le_bytes() != sum {
                let at = from + (number * place.block) as u64;
                let end = at + block.len() as u64;
                let text = format!("bytes {at} to {end} are not those that were written");
                return Err(ParquetError::General(text));
            }
        }
        let offset = (start - from) as usize;
        Ok(Bytes::from(bytes).slice(offset..offset + length))
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for CheckedFile {
    type T = BufReader<CheckedRead>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(BLOCK_BYTES, CheckedRead { file: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let inside =
            |place: &Place| start.checked_add(length as u64).is_some_and(|end| end <= place.at);
        match self.place.filter(inside) {
            Some(place) => self.checked(start, length, place),
            None => Ok(self.plain(start, length)?.into()),
        }
    }
}

/// A file read on from some place.
pub(crate) struct CheckedRead {
    file: CheckedFile,
    at: u64,
}

impl Read for CheckedRead {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        // Not across the end of what the checksums cover: that would be read unchecked.
        let end = self.file.place.map(|p| p.at).filter(|end| self.at < *end);
        let left = end.unwrap_or(self.file.size).saturating_sub(self.at);
        let len = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = self.file.get_bytes(self.at, len).map_err(std::io::Error::other)?;
        out[..len].copy_from_slice(&bytes);
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `len` bytes, its checksums, and a few more bytes.
    fn written(path: &Path, len: usize) -> Place {
        let bytes: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
        let mut sums = BlockSums::default();
        // In uneven pieces: they must not matter.
        bytes.chunks(1_000).for_each(|piece| sums.update(piece));
        let whole = [bytes, sums.finish(), b"footer".to_vec()].concat();
        std::fs::write(path, whole).unwrap();
        Place { at: len as u64, block: BLOCK_BYTES }
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_other_blocks_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let len = 3 * BLOCK_BYTES + 100;
        let place = written(&path, len);
        let whole = std::fs::read(&path).unwrap();
        let file = CheckedFile::open(&path, Some(place)).unwrap();
        assert_eq!(file.get_bytes(8_000, 400).unwrap(), &whole[8_000..8_400]);
        let mut read = Vec::new();
        file.get_read(5).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, &whole[5..]);
        for at in (0..len).step_by(1_021).chain([len, len + 13]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let file = CheckedFile::open(&path, Some(place)).unwrap();
            let hit = if at < len { at / BLOCK_BYTES } else { (at - len) / SUM_BYTES };
            for block in 0..4 {
                let (start, end) = (block * BLOCK_BYTES, ((block + 1) * BLOCK_BYTES).min(len));
                let found = file.get_bytes(start as u64, end - start);
                assert_eq!(found.is_err(), block == hit, "byte {at}, block {block}");
            }
        }
    }

    #[test]
    fn lengths_beyond_the_file_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let place = written(&path, 100);
        let file = CheckedFile::open(&path, Some(place)).unwrap();
        assert!(file.get_bytes(0, 1 << 40).is_err());
        assert!(file.get_bytes(u64::MAX, 2).is_err());
        assert_eq!(file.place_of(r#"{"at":1000000,"block":8192}"#), None);
        assert_eq!(file.place_of(r#"{"at":100,"block":8192}"#), Some(place));
    }
}
