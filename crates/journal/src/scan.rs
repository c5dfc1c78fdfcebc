//! Walks the blocks of a segment and judges what does not validate: torn tail, or damage.

use crate::block::{BLOCK_HEAD_LEN, Block, BlockHead, EnvelopeCache, PAYLOAD_BYTES_MAX, block_crc};
use crate::codec::pad8;
use crate::fs::File;
use crate::segment::{HEADER_LEN, INDEX_STEP_BYTES, IndexEntry, SegmentHead};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Read-ahead: a few pages of small blocks per system call, cheap enough for one live reader.
const WINDOW_BYTES: usize = 256 * 1024;

/// A window onto a file, so that small blocks do not cost a system call each.
pub(crate) struct Window {
    pub(crate) file: Arc<dyn File>,
    /// Bytes of the file that are worth reading; behind them lies space that waits for blocks. What reads on
    /// there makes the system clear pages ahead, in megabytes, while the thread that asked holds its core.
    pub(crate) end_pos: u64,
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, end_pos: u64::MAX, bytes: Vec::new(), start: 0 }
    }

    /// Forgets what was read: bytes after the durable end may have been written since.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// `len` bytes at `pos`, or fewer at the end.
    fn get(&mut self, pos: u64, len: usize) -> io::Result<&[u8]> {
        let have = self.start + self.bytes.len() as u64;
        if pos < self.start || pos + len as u64 > have {
            let left = usize::try_from(self.end_pos.saturating_sub(pos)).unwrap_or(usize::MAX);
            let want = len.max(WINDOW_BYTES).min(left);
            self.bytes.resize(want, 0);
            let got = self.file.read_at(&mut self.bytes, pos);
            self.bytes.truncate(*got.as_ref().unwrap_or(&0));
            self.start = pos;
            got?;
        }
        let from = (pos - self.start) as usize;
        let to = (from + len).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }
}

/// The verified block at `pos`, as its header and stored bytes; `None` when there is none.
pub(crate) fn block_at<'w>(
    window: &'w mut Window,
    segment: &SegmentHead,
    pos: u64,
) -> io::Result<Option<(BlockHead, &'w [u8])>> {
    if pos + BLOCK_HEAD_LEN as u64 > segment.footer_pos {
        return Ok(None);
    }
    let Some(head) = BlockHead::read(window.get(pos, BLOCK_HEAD_LEN)?, segment.seg_tag) else {
        return Ok(None);
    };
    let len = head.stored_len();
    if head.parts == 0 || pos + len > segment.footer_pos {
        return Ok(None);
    }
    let stored = window.get(pos, len as usize)?;
    let valid = stored.len() as u64 == len && block_crc(segment.salt, stored) == head.crc;
    Ok(valid.then_some((head, stored)))
}

/// Position and header of the first valid block at or after `pos` whose offsets are not below
/// `expect` and below `end_offset`. The secret tag makes every candidate one that we wrote.
pub(crate) fn next_valid(
    window: &mut Window,
    segment: &SegmentHead,
    pos: u64,
    expect: u64,
    end_offset: u64,
) -> io::Result<Option<(u64, BlockHead)>> {
    let mut at = pad8(pos);
    while at + BLOCK_HEAD_LEN as u64 <= segment.footer_pos {
        match candidate(window, segment, at)? {
            None => return Ok(None),
            Some(found) => at = found,
        }
        if let Some((head, _)) = block_at(window, segment, at)?
            && (expect..end_offset).contains(&head.first_offset)
        {
            return Ok(Some((at, head)));
        }
        at += 8;
    }
    Ok(None)
}

/// First place at or after `pos` where a block header of this segment seems to stand.
fn candidate(window: &mut Window, segment: &SegmentHead, pos: u64) -> io::Result<Option<u64>> {
    let tag = segment.seg_tag.to_le_bytes();
    let mut at = pos;
    while at + BLOCK_HEAD_LEN as u64 <= segment.footer_pos {
        let want = (segment.footer_pos - at).min(WINDOW_BYTES as u64) as usize;
        let bytes = window.get(at, want)?;
        if bytes.len() < BLOCK_HEAD_LEN {
            return Ok(None);
        }
        let last = (bytes.len() - BLOCK_HEAD_LEN) & !7;
        if let Some(step) = (0..=last).step_by(8).find(|i| bytes[i + 8..i + 16] == tag) {
            return Ok(Some(at + step as u64));
        }
        at += last as u64 + 8;
    }
    Ok(None)
}

/// Records that were written and synced and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// File name of the segment, or of the one before when a whole file is missing.
    pub segment: String,
    /// First offset that cannot be read.
    pub from_offset: u64,
    /// First readable offset after it. Equal to `from_offset` when only the chain is broken.
    pub to_offset: u64,
    /// Where in the file the damage starts, bytes.
    pub from_pos: u64,
    /// Where in the file the next good block starts, or what was written ends, bytes.
    pub to_pos: u64,
}

impl Hole {
    /// Whether any offset of `from..to` is in it.
    pub(crate) fn overlaps(&self, from: u64, to: u64) -> bool {
        self.to_offset > from && self.from_offset < to
    }
}

/// What bounds a scan.
pub(crate) struct Bounds {
    /// Offsets from here on belong to the next segment (`u64::MAX` for the last one).
    pub(crate) end_offset: u64,
    /// All offsets below were synced, as the manifest or the next segment proves.
    pub(crate) proven_next: u64,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) end_pos: u64,
    pub(crate) next_offset: u64,
    pub(crate) prev_crc: u32,
    pub(crate) blocks: u64,
    pub(crate) records: u64,
    pub(crate) wall_min_ns: i64,
    pub(crate) wall_max_ns: i64,
    pub(crate) last_stream_ns: i64,
    /// End of what an interrupted write left after `end_pos`; equal to it when there is nothing.
    pub(crate) torn_end: u64,
    pub(crate) holes: Vec<Hole>,
    pub(crate) index: Vec<IndexEntry>,
    /// Position and next offset of good blocks that no later block and no bound says were synced: the
    /// last group or two.
    unproven: VecDeque<(u64, u64)>,
}

impl Scan {
    /// Where the blocks begin that were read but may never have been synced.
    pub(crate) fn unproven_pos(&self) -> u64 {
        self.unproven.front().map_or(self.end_pos, |(pos, _)| *pos)
    }

    fn prove(&mut self, durable_next: u64) {
        while self.unproven.front().is_some_and(|(_, next)| *next <= durable_next) {
            self.unproven.pop_front();
        }
    }

    pub(crate) fn torn_bytes(&self) -> u64 {
        self.torn_end - self.end_pos
    }

    fn accept(&mut self, pos: u64, head: &BlockHead, block: Option<&Block>) {
        push_index(&mut self.index, pos, head);
        self.end_pos = pos + head.stored_len();
        self.next_offset = head.next_offset();
        self.prev_crc = head.crc;
        self.blocks += 1;
        self.last_stream_ns = self.last_stream_ns.max(head.stream_ns);
        for record in block.into_iter().flat_map(Block::records) {
            let first = self.records == 0;
            let wall = record.wall_ns;
            self.wall_min_ns = if first { wall } else { self.wall_min_ns.min(wall) };
            self.wall_max_ns = if first { wall } else { self.wall_max_ns.max(wall) };
            self.last_stream_ns = self.last_stream_ns.max(record.stream_ns);
            self.records += 1;
        }
    }
}

/// Adds the block at `pos` to a sparse index unless the last entry is near.
pub(crate) fn push_index(index: &mut Vec<IndexEntry>, pos: u64, head: &BlockHead) {
    if index.last().is_none_or(|last| pos >= last.pos + INDEX_STEP_BYTES) {
        index.push(IndexEntry {
            pos,
            first_offset: head.first_offset,
            wall_ns: head.wall_ns,
            stream_ns: head.stream_ns,
        });
    }
}

/// Walks a segment from its first block. `visit` sees every good block in order.
///
/// Where a block does not validate, later blocks are looked for. If one of them, or `bounds`,
/// proves that the place had been synced, it is damage: reported as a hole and stepped over. If
/// nothing does, it is what a crash left of a write that nobody was told had succeeded.
pub(crate) fn scan(
    file: &Arc<dyn File>,
    segment: &SegmentHead,
    name: &str,
    bounds: &Bounds,
    visit: &mut dyn FnMut(&Block),
) -> io::Result<Scan> {
    let mut window = Window::new(file.clone());
    let mut cache = EnvelopeCache::default();
    let mut scan = Scan {
        end_pos: HEADER_LEN,
        next_offset: segment.first_offset,
        prev_crc: segment.chain_start(),
        ..Scan::default()
    };
    let mut after_hole = false;
    loop {
        if scan.next_offset >= bounds.end_offset {
            scan.torn_end = scan.end_pos;
            return Ok(scan);
        }
        let pos = scan.end_pos;
        if let Some((head, stored)) = block_at(&mut window, segment, pos)?
            && head.first_offset == scan.next_offset
            && (after_hole || head.prev_crc == scan.prev_crc)
        {
            let payload = &stored[BLOCK_HEAD_LEN..][..head.payload_len as usize];
            // A checksum that fits over contents that do not: ours, but of a newer version.
            let block = Block::decode(head, payload, &mut cache);
            if let Some(block) = &block {
                visit(block);
            }
            scan.accept(pos, &head, block.as_ref());
            scan.unproven.push_back((pos, head.next_offset()));
            scan.prove(head.durable_next.max(bounds.proven_next));
            after_hole = false;
            continue;
        }
        let (expect, end) = (scan.next_offset, bounds.end_offset);
        let later = next_valid(&mut window, segment, pos, expect, end)?;
        let mut proven = bounds.proven_next.min(end);
        let mut probe = later;
        while proven <= expect
            && let Some((at, head)) = probe
        {
            proven = head.durable_next;
            probe = next_valid(&mut window, segment, at + 8, expect, end)?;
        }
        if proven <= expect {
            scan.torn_end = torn_end(&mut window, segment, pos)?;
            return Ok(scan);
        }
        let (to_pos, to_offset) = match later {
            Some((at, head)) => (at, head.first_offset),
            // Behind what was written, a segment has its prepared rest, which is no loss.
            None => (torn_end(&mut window, segment, pos)?, proven),
        };
        scan.holes.push(Hole {
            segment: name.to_owned(),
            from_offset: expect,
            to_offset,
            from_pos: pos,
            to_pos,
        });
        scan.next_offset = to_offset;
        if later.is_none() {
            scan.torn_end = scan.end_pos;
            return Ok(scan);
        }
        scan.end_pos = to_pos;
        after_hole = true;
    }
}

/// End of the leftovers after `pos`: of the last thing that looks like a header of this segment,
/// and, in a file that was zeroed, of the last byte that is not zero.
fn torn_end(window: &mut Window, segment: &SegmentHead, pos: u64) -> io::Result<u64> {
    let mut end = pos;
    let mut at = pos;
    while let Some(found) = candidate(window, segment, at)? {
        let head = BlockHead::read(window.get(found, BLOCK_HEAD_LEN)?, segment.seg_tag);
        let len = head.map_or(BLOCK_HEAD_LEN as u64, |h| h.stored_len().min(PAYLOAD_BYTES_MAX));
        end = end.max((found + len).min(segment.footer_pos));
        at = found + 8;
    }
    if segment.recycled {
        return Ok(end);
    }
    let mut at = pos;
    while at < segment.footer_pos {
        let want = (segment.footer_pos - at).min(WINDOW_BYTES as u64) as usize;
        let bytes = window.get(at, want)?;
        if bytes.is_empty() {
            break;
        }
        if let Some(last) = bytes.iter().rposition(|b| *b != 0) {
            end = end.max(at + last as u64 + 1);
        }
        at += bytes.len() as u64;
    }
    Ok(end)
}
