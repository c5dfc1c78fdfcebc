//! The index beside each file (`.idx`): which blocks of rows have which words and pieces.
//!
//! ```text
//! "ALCIDX01"
//! per row group:  word buckets   [n u16][rest u16 * n][code u8 * n][extra ...][crc32c u32]   by hash
//!                 their places   [u32 * (buckets + 1)][crc32c u32]
//!                 piece chunks   [zstd: u64 mask * 1024][crc32c u32] * 64, empty ones left out
//! footer JSON  [len u32][crc32c u32]  "ALCIDX01"
//! ```
//! A block is 512 rows; a row group has at most 64, so a set of them is one `u64`. A word's hash gives
//! its bucket (upper bits) and the 16 bits kept there. `code`: 0..=63 one block, 64 all of them,
//! 65..=70 that many blocks less 63 as bytes in `extra`, 71 a mask of 8 bytes there.
//!
//! Everything can be rebuilt from the data file; a reader that finds the index missing or damaged
//! searches every block instead and says so in the log.

use crate::error::StoreError;
use crate::unpack::unpacked;
use crate::words::{Needs, PIECE_BUCKETS, Sink, runs_of_any, walk};
use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::hash::BuildHasher;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows per block: what a rare word costs to check.
pub(crate) const BLOCK_ROWS: usize = 512;
/// Written into the footer; a reader ignores indexes of other versions.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"ALCIDX01";
/// Runs that are remembered: 256 KiB, which stays in a core's second cache.
const RECENT_RUNS: usize = 8 << 10;
/// Longer runs are not kept until their blocks are known.
const RUN_BYTES_KEPT: usize = 256;
/// Bytes of runs that are kept. Each has a [`Run`] and a place in the table as well, so that short runs
/// cost some five times as much in memory while an index is made.
const RUNS_BYTES_MAX: usize = 16 << 20;
/// Words per bucket, about.
const BUCKET_WORDS: usize = 128;
/// Masks per chunk of pieces.
const CHUNK_MASKS: usize = 1_024;
const CHUNKS: usize = PIECE_BUCKETS / CHUNK_MASKS;
const CODE_ALL: u8 = 64;
const CODE_MASK: u8 = 71;
/// Count of a bucket that may hold any word.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Longest footer that is read: bounds what a damaged length can make us allocate.
const FOOTER_BYTES_MAX: u32 = 64 << 20;
/// Level for piece chunks: small and read rarely.
const PIECES_ZSTD_LEVEL: i32 = 3;

/// The block of a row, as a set.
pub(crate) fn block_of(row: usize) -> u64 {
    1 << ((row / BLOCK_ROWS) & 63)
}

/// Collects one row group: which blocks have which runs. A run is taken apart once, when all of its
/// blocks are known.
pub(crate) struct GroupIndex {
    /// Places in `runs` by the runs' hashes.
    known: HashTable<usize>,
    runs: Vec<Run>,
    /// Bytes of all runs.
    bytes: Vec<u8>,
    /// Words whose runs were taken apart; one word may be there several times.
    words: Vec<(u64, u64)>,
    pieces: Box<[u64]>,
    /// Runs just seen, by the low bits of their hashes: most repeat, and need not be looked up. The
    /// hash is keyed, since a run that is taken for another one would be missing from the index.
    recent: Box<[Recent]>,
    hasher: DefaultHashBuilder,
    /// Blocks that what is added is in.
    blocks: u64,
    buffer: Vec<u8>,
    rows: usize,
}

/// A run and the blocks that have it.
struct Run {
    hash: u64,
    blocks: u64,
    at: usize,
    len: u32,
}

/// A run just seen, and blocks that have it.
#[derive(Clone, Copy)]
struct Recent {
    hash: u64,
    blocks: u64,
    /// Those of the blocks that `runs` knows of.
    told: u64,
    /// Its place in `runs`; [`NOT_KEPT`] if it is not there.
    at: usize,
}

/// Place of a run that is taken apart at once.
const NOT_KEPT: usize = usize::MAX;
const NOTHING: Recent = Recent { hash: 0, blocks: 0, told: 0, at: NOT_KEPT };

/// Takes a run apart for its blocks.
struct Apart<'i> {
    words: &'i mut Vec<(u64, u64)>,
    pieces: &'i mut [u64],
    blocks: u64,
}

impl Sink for Apart<'_> {
    fn word(&mut self, hash: u64) {
        self.words.push((hash, self.blocks));
    }
    fn piece(&mut self, bucket: u16) {
        self.pieces[bucket as usize] |= self.blocks;
    }
}

impl GroupIndex {
    pub(crate) fn new() -> Self {
        Self {
            known: HashTable::new(),
            runs: Vec::new(),
            bytes: Vec::new(),
            words: Vec::new(),
            pieces: vec![0; PIECE_BUCKETS].into(),
            recent: vec![NOTHING; RECENT_RUNS].into(),
            hasher: DefaultHashBuilder::default(),
            blocks: 1,
            buffer: Vec::new(),
            rows: 0,
        }
    }

    /// What comes is in this row.
    pub(crate) fn row(&mut self, row: usize) {
        self.blocks = block_of(row);
        self.rows = self.rows.max(row + 1);
    }

    /// What comes is in all of these blocks.
    pub(crate) fn in_blocks(&mut self, blocks: u64) {
        self.blocks = blocks;
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, text: &[u8]) {
        let mut buffer = std::mem::take(&mut self.buffer);
        runs_of_any(text, &mut buffer, |run, _, _| self.run(run));
        self.buffer = buffer;
    }

    fn run(&mut self, run: &[u8]) {
        let hash = self.hasher.hash_one(run);
        let slot = (hash as usize) & (RECENT_RUNS - 1);
        let recent = &mut self.recent[slot];
        if recent.hash == hash && recent.at != NOT_KEPT {
            // The run itself is told when another one takes its place.
            recent.blocks |= self.blocks;
            return;
        }
        if recent.hash == hash && recent.blocks & self.blocks == self.blocks {
            return;
        }
        self.tell(slot);
        if run.len() > RUN_BYTES_KEPT {
            // It hardly comes again.
            let (words, pieces) = (&mut self.words, &mut self.pieces);
            walk(run, &mut Apart { words, pieces, blocks: self.blocks });
            self.recent[slot] = Recent { hash, blocks: self.blocks, ..NOTHING };
            return;
        }
        let at = self.place(run, hash);
        let told = self.runs[at].blocks;
        self.recent[slot] = Recent { hash, blocks: told | self.blocks, told, at };
        if self.bytes.len() > RUNS_BYTES_MAX {
            self.settle();
        }
    }

    /// Tells `runs` the blocks of a run just seen.
    fn tell(&mut self, slot: usize) {
        let Recent { blocks, told, at, .. } = self.recent[slot];
        if blocks != told && at != NOT_KEPT {
            self.runs[at].blocks |= blocks;
        }
    }

    /// The place of a run in `runs`; a new one is added.
    fn place(&mut self, run: &[u8], hash: u64) -> usize {
        let (runs, bytes) = (&self.runs, &self.bytes);
        let is = |at: &usize| {
            let other = &runs[*at];
            other.hash == hash && &bytes[other.at..other.at + other.len as usize] == run
        };
        if let Some(at) = self.known.find(hash, is) {
            return *at;
        }
        let place = self.runs.len();
        self.known.insert_unique(hash, place, |at| runs[*at].hash);
        let (at, len) = (self.bytes.len(), run.len() as u32);
        self.bytes.extend_from_slice(run);
        self.runs.push(Run { hash, blocks: self.blocks, at, len });
        place
    }

    /// Takes all runs apart.
    fn settle(&mut self) {
        (0..RECENT_RUNS).for_each(|slot| self.tell(slot));
        let (words, pieces) = (&mut self.words, &mut self.pieces);
        words.reserve(self.runs.len());
        for run in &self.runs {
            let bytes = &self.bytes[run.at..run.at + run.len as usize];
            walk(bytes, &mut Apart { words, pieces, blocks: run.blocks });
        }
        self.known.clear();
        self.runs.clear();
        self.bytes.clear();
        self.recent.fill(NOTHING);
    }

    /// All words, each once, by their hashes.
    fn finish(&mut self) -> Vec<(u64, u64)> {
        self.settle();
        let mut words = std::mem::take(&mut self.words);
        words.sort_unstable_by_key(|(hash, _)| *hash);
        words.dedup_by(|later, first| {
            let same = later.0 == first.0;
            first.1 |= if same { later.1 } else { 0 };
            same
        });
        words
    }

    /// Adds a cell's text; an address written as IPv6 also under its IPv4 form, which is what
    /// networks are compared with.
    pub(crate) fn cell(&mut self, text: &[u8]) {
        self.text(text);
        let colons = text.len() <= 64 && text.contains(&b':') && !text.contains(&b'.');
        if colons && let Some(std::net::IpAddr::V4(ip)) = filter::test::ip_of(text) {
            self.text(ip.to_string().as_bytes());
        }
    }
}

/// Where everything is in an index file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Footer {
    version: u32,
    groups: Vec<GroupPlaces>,
}

#[derive(Serialize, Deserialize)]
struct GroupPlaces {
    rows: u64,
    /// Upper bits of a hash that choose the bucket.
    bits: u32,
    /// Start of the buckets and of the list of their places.
    words_at: u64,
    places_at: u64,
    /// Start of the piece chunks and their lengths with checksum, 0 for an empty one.
    pieces_at: u64,
    pieces: Vec<u32>,
}

/// What the manifest says about an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the whole file, hexadecimal.
    pub sha256: String,
}

/// Where the index of a data file is.
pub(crate) fn index_path(data: &Path) -> PathBuf {
    data.with_extension("idx")
}

/// Writes an index file, one group after the other.
pub(crate) struct SidecarWriter {
    path: PathBuf,
    out: std::io::BufWriter<File>,
    hash: Sha256,
    at: u64,
    groups: Vec<GroupPlaces>,
}

impl SidecarWriter {
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(StoreError::io("creating", path))?;
        let out = std::io::BufWriter::with_capacity(1 << 18, file);
        let mut writer =
            Self { path: path.into(), out, hash: Sha256::new(), at: 0, groups: Vec::new() };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.out.write_all(bytes).map_err(StoreError::io("writing", &self.path))?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn put_checked(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.put(bytes)?;
        self.put(&crc32c::crc32c(bytes).to_le_bytes())
    }

    /// Adds the next group.
    pub(crate) fn group(&mut self, mut index: GroupIndex) -> Result<(), StoreError> {
        let blocks = index.rows.div_ceil(BLOCK_ROWS).max(1);
        let all = u64::MAX >> (64 - blocks.min(64));
        let words = index.finish();
        let bits = (words.len() / BUCKET_WORDS).max(2).next_power_of_two().trailing_zeros();
        let words_at = self.at;
        let mut places: Vec<u8> = Vec::new();
        let mut rest = &words[..];
        for bucket in 0..1u64 << bits {
            places.extend_from_slice(&((self.at - words_at) as u32).to_le_bytes());
            let end = rest.partition_point(|(hash, _)| hash >> (64 - bits) <= bucket);
            let (here, later) = rest.split_at(end);
            rest = later;
            self.put_checked(&bucket_bytes(here, bits, all))?;
        }
        places.extend_from_slice(&((self.at - words_at) as u32).to_le_bytes());
        let places_at = self.at;
        self.put_checked(&places)?;
        let pieces_at = self.at;
        let mut pieces = Vec::with_capacity(CHUNKS);
        for chunk in index.pieces.chunks(CHUNK_MASKS) {
            if chunk.iter().all(|mask| *mask == 0) {
                pieces.push(0);
                continue;
            }
            let bytes: Vec<u8> = chunk.iter().flat_map(|mask| mask.to_le_bytes()).collect();
            let packed = zstd::bulk::compress(&bytes, PIECES_ZSTD_LEVEL)
                .map_err(StoreError::io("compressing", &self.path))?;
            pieces.push(packed.len() as u32 + 4);
            self.put_checked(&packed)?;
        }
        let rows = index.rows as u64;
        self.groups.push(GroupPlaces { rows, bits, words_at, places_at, pieces_at, pieces });
        Ok(())
    }

    /// Writes the footer and waits until all is on disk.
    pub(crate) fn finish(mut self) -> Result<IndexEntry, StoreError> {
        let footer = Footer { version: VERSION, groups: std::mem::take(&mut self.groups) };
        let footer = serde_json::to_vec(&footer).expect("plain data always serialises");
        self.put(&footer)?;
        self.put(&(footer.len() as u32).to_le_bytes())?;
        self.put(&crc32c::crc32c(&footer).to_le_bytes())?;
        self.put(MAGIC)?;
        let io = StoreError::io("writing", &self.path);
        let file = self.out.into_inner().map_err(|e| io(e.into_error()))?;
        file.sync_all().map_err(StoreError::io("syncing", &self.path))?;
        Ok(IndexEntry { size_bytes: self.at, sha256: crate::write::hex(&self.hash.finalize()) })
    }
}

fn bucket_bytes(words: &[(u64, u64)], bits: u32, all: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + words.len() * 4);
    let mut extra = Vec::new();
    // Hashes can be aimed at one bucket: one that overflows is never asked.
    let Some(count) = u16::try_from(words.len()).ok().filter(|n| *n < COUNT_UNKNOWN) else {
        return COUNT_UNKNOWN.to_le_bytes().to_vec();
    };
    out.extend_from_slice(&count.to_le_bytes());
    for (hash, _) in words {
        out.extend_from_slice(&rest_of(*hash, bits).to_le_bytes());
    }
    for (_, mask) in words {
        let count = mask.count_ones() as u8;
        out.push(match count {
            _ if *mask == all => CODE_ALL,
            1 => mask.trailing_zeros() as u8,
            2..=7 => {
                extra.extend((0..64u8).filter(|block| mask >> block & 1 == 1));
                count + 63
            }
            _ => {
                extra.extend_from_slice(&mask.to_le_bytes());
                CODE_MASK
            }
        });
    }
    out.extend_from_slice(&extra);
    out
}

/// The 16 bits of a hash that are kept in its bucket.
fn rest_of(hash: u64, bits: u32) -> u16 {
    (hash << bits >> 48) as u16
}

/// An index opened for looking up.
pub(crate) struct Sidecar {
    file: File,
    footer: Arc<Footer>,
}

impl Sidecar {
    /// Opens an index; the error says in words what is wrong with it.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        let mut tail = [0; 16];
        let tail_at = size.checked_sub(24).ok_or("it is too short")?;
        file.read_exact_at(&mut tail, size - 16).map_err(|e| e.to_string())?;
        let (len, rest) = tail.split_at(4);
        let (crc, magic) = rest.split_at(4);
        let len = u32::from_le_bytes(len.try_into().map_err(|_| "it is too short")?);
        if magic != MAGIC || len > FOOTER_BYTES_MAX || u64::from(len) > tail_at {
            return Err("its end is damaged".into());
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, size - 16 - u64::from(len)).map_err(|e| e.to_string())?;
        if crc != crc32c::crc32c(&bytes).to_le_bytes() {
            return Err("its footer is damaged".into());
        }
        let footer: Footer = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        match footer.version {
            VERSION => Ok(Self { file, footer: Arc::new(footer) }),
            other => Err(format!("it has version {other}, this program reads {VERSION}")),
        }
    }

    /// Opens an index whose footer was read before.
    pub(crate) fn reopen(path: &Path, footer: Arc<Footer>) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        Ok(Self { file, footer })
    }

    pub(crate) fn footer(&self) -> Arc<Footer> {
        self.footer.clone()
    }

    /// Rows of each group, as a check against the data file.
    pub(crate) fn group_rows(&self) -> impl Iterator<Item = u64> {
        self.footer.groups.iter().map(|g| g.rows)
    }

    fn checked(&self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at).map_err(|e| e.to_string())?;
        let body = len.checked_sub(4).ok_or("a part is too short")?;
        let crc = bytes.split_off(body);
        match crc == crc32c::crc32c(&bytes).to_le_bytes() {
            true => Ok(bytes),
            false => Err(format!("the part at byte {at} is damaged")),
        }
    }

    /// Blocks of a group that have all that is needed.
    pub(crate) fn blocks(&self, group: usize, needs: &Needs) -> Result<u64, String> {
        let places = self.footer.groups.get(group).ok_or("a group is missing")?;
        let blocks = (places.rows as usize).div_ceil(BLOCK_ROWS).clamp(1, 64);
        let mut mask = u64::MAX >> (64 - blocks);
        for hash in &needs.words {
            if mask == 0 {
                return Ok(0);
            }
            mask &= self.word(places, *hash)?;
        }
        let mut chunk: Option<(usize, Vec<u8>)> = None;
        for bucket in &needs.pieces {
            if mask == 0 {
                return Ok(0);
            }
            let number = *bucket as usize / CHUNK_MASKS;
            if chunk.as_ref().is_none_or(|(n, _)| *n != number) {
                chunk = Some((number, self.chunk(places, number)?));
            }
            let bytes = chunk.as_ref().map_or(&[][..], |(_, bytes)| bytes);
            let at = *bucket as usize % CHUNK_MASKS * 8;
            let found = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
            mask &= found.map_or(0, u64::from_le_bytes);
        }
        Ok(mask)
    }

    fn chunk(&self, places: &GroupPlaces, number: usize) -> Result<Vec<u8>, String> {
        let len = *places.pieces.get(number).ok_or("a chunk is missing")?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let before: u64 = places.pieces[..number].iter().map(|n| u64::from(*n)).sum();
        let packed = self.checked(places.pieces_at + before, len as usize)?;
        unpacked(&packed, CHUNK_MASKS * 8)
    }

    fn word(&self, places: &GroupPlaces, hash: u64) -> Result<u64, String> {
        let bucket = hash >> (64 - places.bits);
        let mut ends = [0; 8];
        let at = places.places_at + bucket * 4;
        self.file.read_exact_at(&mut ends, at).map_err(|e| e.to_string())?;
        let number = |from: usize| {
            u64::from(u32::from_le_bytes([
                ends[from],
                ends[from + 1],
                ends[from + 2],
                ends[from + 3],
            ]))
        };
        let (start, end) = (number(0), number(4));
        if start >= end || places.words_at + end > places.places_at {
            return Err("the places of its words are damaged".into());
        }
        let bytes = self.checked(places.words_at + start, (end - start) as usize)?;
        find(&bytes, rest_of(hash, places.bits)).ok_or_else(|| "a list of words is damaged".into())
    }

    /// Reads everything and compares all checksums.
    pub(crate) fn verify(&self) -> Result<(), String> {
        for places in &self.footer.groups {
            let count = (1usize << places.bits) + 1;
            let list = self.checked(places.places_at, count * 4 + 4)?;
            let mut starts =
                list.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let mut start = starts.next().unwrap_or(0);
            for end in starts {
                let len = end.checked_sub(start).ok_or("the places of its words are damaged")?;
                self.checked(places.words_at + u64::from(start), len as usize)?;
                start = end;
            }
            for number in 0..places.pieces.len() {
                self.chunk(places, number)?;
            }
        }
        Ok(())
    }
}

/// The blocks of the words with these 16 bits; several words may share them.
fn find(bucket: &[u8], rest: u16) -> Option<u64> {
    let count = u16::from_le_bytes([*bucket.first()?, *bucket.get(1)?]);
    if count == COUNT_UNKNOWN {
        return Some(u64::MAX);
    }
    let count = usize::from(count);
    let rests = bucket.get(2..2 + count * 2)?;
    let codes = bucket.get(2 + count * 2..2 + count * 3)?;
    let mut extra = bucket.get(2 + count * 3..)?;
    let mut mask = 0;
    for (at, code) in codes.iter().enumerate() {
        let here = u16::from_le_bytes([rests[at * 2], rests[at * 2 + 1]]);
        let used = match *code {
            0..=CODE_ALL => 0,
            CODE_MASK => 8,
            n => usize::from(n - 63),
        };
        let (own, later) = extra.split_at_checked(used)?;
        extra = later;
        if here == rest {
            mask |= match *code {
                CODE_ALL => u64::MAX,
                block @ 0..CODE_ALL => 1 << block,
                CODE_MASK => u64::from_le_bytes(own.try_into().ok()?),
                _ => own.iter().fold(0, |mask, block| mask | 1 << (block & 63)),
            };
        }
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::needs_of;
    use filter::{Test, TextOp};

    fn blocks(sidecar: &Sidecar, group: usize, text: &str, op: TextOp) -> u64 {
        let needs = needs_of(&Test::text(op, text, false)).unwrap();
        needs.iter().fold(0, |mask, n| mask | sidecar.blocks(group, n).unwrap())
    }

    fn sample(path: &Path) -> IndexEntry {
        let mut writer = SidecarWriter::create(path).unwrap();
        for group in 0..2 {
            let mut index = GroupIndex::new();
            for row in 0..5_000usize {
                index.row(row);
                index.text(format!("user{row} common from 10.{group}.{}.7", row / 20).as_bytes());
                index.text(format!("every{}", row % 1_300 / 512).as_bytes());
            }
            index.row(4_999);
            index.cell(b"::ffff:c633:6407");
            writer.group(index).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn words_and_pieces_are_found_in_their_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.idx");
        let entry = sample(&path);
        assert_eq!(entry.size_bytes, std::fs::metadata(&path).unwrap().len());
        let s = Sidecar::open(&path).unwrap();
        s.verify().unwrap();
        assert_eq!(s.group_rows().collect::<Vec<_>>(), [5_000, 5_000]);
        assert_eq!(blocks(&s, 0, "user1025", TextOp::Equals), 1 << 2);
        assert_eq!(blocks(&s, 0, "USER1025", TextOp::Equals), 1 << 2);
        assert_eq!(blocks(&s, 0, "common", TextOp::Equals), 0x3ff);
        assert_eq!(blocks(&s, 0, "absent", TextOp::Equals), 0);
        assert_eq!(blocks(&s, 0, "10.0.200.7", TextOp::Contains) & 1 << 7, 1 << 7);
        assert_eq!(blocks(&s, 1, "10.0.200.7", TextOp::Equals), 0);
        assert_eq!(blocks(&s, 1, "198.51.100.7", TextOp::Equals), 1 << 9);
        for block in 0..10u64 {
            let row = block * 512 + 3;
            let found = blocks(&s, 1, &format!("every{}", row % 1_300 / 512), TextOp::Equals);
            assert!(found >> block & 1 == 1);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_or_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.idx");
        sample(&path);
        let whole = std::fs::read(&path).unwrap();
        for at in (8..whole.len()).step_by(997) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            let found = Sidecar::open(&path).and_then(|s| s.verify());
            assert!(found.is_err(), "byte {at}");
        }
        for cut in [0, 8, 20, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Sidecar::open(&path).is_err());
        }
    }
}
