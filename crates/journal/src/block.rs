//! A block: what one write adds to a segment. Header, runs of records, table of envelopes.

use crate::codec::{Cut, pad8, put_text, put_varint};
use crate::piece::{CONTINUATION, CONTINUED, KIND_MASK, Piece, Pool, put_envelope, read_envelope};
use crate::segment::SegmentHead;
use event::{Envelope, Producer, RecordKind};
use std::collections::HashMap;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

/// Length of a block's header, bytes.
pub(crate) const BLOCK_HEAD_LEN: usize = 64;
/// A longer payload is never written, so a damaged length cannot make a reader allocate more.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 4 << 20;
const MAGIC: u32 = u32::from_le_bytes(*b"ALBK");
const HEAD_VERSION: u8 = 1;
/// Envelopes kept by a reader between blocks; then it starts anew.
const ENVELOPE_CACHE_MAX: usize = 4096;

/// A block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) payload_len: u32,
    pub(crate) seg_tag: u64,
    pub(crate) first_offset: u64,
    /// All offsets below were synced when the block was written: proof against a false torn tail.
    pub(crate) durable_next: u64,
    pub(crate) parts: u32,
    /// Checksum of the block before: no block can be left out or exchanged.
    pub(crate) prev_crc: u32,
    pub(crate) wall_ns: i64,
    pub(crate) stream_ns: i64,
    pub(crate) crc: u32,
}

impl BlockHead {
    fn put(&self, out: &mut [u8]) {
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&self.payload_len.to_le_bytes());
        out[8..16].copy_from_slice(&self.seg_tag.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_next.to_le_bytes());
        out[32..36].copy_from_slice(&self.parts.to_le_bytes());
        out[36..40].copy_from_slice(&self.prev_crc.to_le_bytes());
        out[40..48].copy_from_slice(&self.wall_ns.to_le_bytes());
        out[48..56].copy_from_slice(&self.stream_ns.to_le_bytes());
        out[56..60].copy_from_slice(&[0, HEAD_VERSION, 0, 0]);
        out[60..64].copy_from_slice(&self.crc.to_le_bytes());
    }

    /// Reads a header that belongs to the segment with `seg_tag`; nothing is verified yet.
    pub(crate) fn read(bytes: &[u8], seg_tag: u64) -> Option<Self> {
        let mut cut = Cut::new(bytes);
        if cut.u32()? != MAGIC {
            return None;
        }
        let head = Self {
            payload_len: cut.u32()?,
            seg_tag: cut.u64()?,
            first_offset: cut.u64()?,
            durable_next: cut.u64()?,
            parts: cut.u32()?,
            prev_crc: cut.u32()?,
            wall_ns: cut.i64()?,
            stream_ns: cut.i64()?,
            crc: {
                let version = cut.take(4)?[1];
                if version != HEAD_VERSION {
                    return None;
                }
                cut.u32()?
            },
        };
        let ours = head.seg_tag == seg_tag && u64::from(head.payload_len) <= PAYLOAD_BYTES_MAX;
        ours.then_some(head)
    }

    /// Length in the file, padding included.
    pub(crate) fn stored_len(&self) -> u64 {
        pad8(BLOCK_HEAD_LEN as u64 + u64::from(self.payload_len))
    }

    /// First offset after the block.
    pub(crate) fn next_offset(&self) -> u64 {
        self.first_offset.saturating_add(u64::from(self.parts))
    }
}

/// Checksum over the salt, the first 60 bytes of the header, the payload and its padding.
pub(crate) fn block_crc(salt: u64, stored: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &stored[..60]), &stored[BLOCK_HEAD_LEN..])
}

/// Gives a stored block a header for another segment, in place; returns it.
pub(crate) fn rehead(
    stored: &mut [u8],
    head: &BlockHead,
    segment: &SegmentHead,
    prev_crc: u32,
) -> BlockHead {
    // It says nothing any more about what was synced when: the copy is synced as a whole.
    let durable_next = head.first_offset;
    let mut head = BlockHead { seg_tag: segment.seg_tag, prev_crc, durable_next, ..*head };
    head.put(stored);
    head.crc = block_crc(segment.salt, stored);
    stored[60..64].copy_from_slice(&head.crc.to_le_bytes());
    head
}

/// A block that waits in memory for its place in a segment.
pub(crate) struct PlannedBlock {
    /// Which slices of the group it is made of.
    pub(crate) slices: Range<usize>,
    /// Where its header stands among the group's own bytes.
    head_at: usize,
    pub(crate) head: BlockHead,
    pub(crate) wall_min_ns: i64,
    pub(crate) wall_max_ns: i64,
}

/// A stretch of a block: own bytes (headers, tables, small pieces), or a piece that stays where its
/// appender's thread put it, so that no byte of it is copied before the kernel does.
#[derive(Clone)]
pub(crate) enum Slice {
    Own(Range<usize>),
    Piece(usize),
}

/// A body below this is copied among the group's own bytes: one more slice costs about as much.
const COPY_BYTES_MAX: usize = 2048;

/// The blocks of one group; the headers are filled in when it is known which segment they go to
/// (after a failed sync the same group goes to another one).
#[derive(Default)]
pub(crate) struct GroupBuffer {
    own: Vec<u8>,
    pieces: Vec<Piece>,
    slices: Vec<Slice>,
    pub(crate) blocks: Vec<PlannedBlock>,
    open: Option<Open>,
    envelopes: HashMap<Arc<Envelope>, u32>,
    /// The few envelopes seen last in this block, compared by address before anything is hashed.
    recent: Vec<(Arc<Envelope>, u32)>,
    table: Vec<u8>,
}

/// The block being filled.
struct Open {
    block: PlannedBlock,
    /// Start of own bytes that are not a slice yet.
    own_from: usize,
    /// Payload so far, the table of envelopes not counted.
    payload_len: usize,
}

/// What a run of records shares.
pub(crate) struct RunHead {
    pub(crate) producer: Option<Producer>,
    pub(crate) wall_ns: i64,
    pub(crate) stream_ns: i64,
}

impl GroupBuffer {
    /// Empties the buffer; the pieces' memory goes to `pool`.
    pub(crate) fn clear(&mut self, pool: &Pool) {
        self.own.clear();
        // One huge batch must not keep its memory for ever.
        self.own.shrink_to(8 << 20);
        self.pieces.drain(..).for_each(|piece| pool.give(piece.body));
        self.slices.clear();
        self.blocks.clear();
        self.open = None;
        self.envelopes.clear();
        self.recent.clear();
        self.table.clear();
    }

    /// Adds a piece's parts, the first of which gets `offset`.
    pub(crate) fn add(&mut self, piece: Piece, run: &RunHead, offset: u64, block_max: usize) {
        let room = |open: &Open| open.payload_len + self.table.len() + piece.body.len();
        if self.open.as_ref().is_some_and(|open| room(open) > block_max) {
            self.finish_block();
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.start_block(run, offset, piece.wall_min_ns),
        };
        let from = self.own.len();
        put_varint(&mut self.own, u64::from(piece.parts));
        match &run.producer {
            None => self.own.push(0),
            Some(p) => {
                self.own.push(1);
                self.own.extend_from_slice(&p.id.to_le_bytes());
                self.own.extend_from_slice(&p.epoch.to_le_bytes());
                self.own.extend_from_slice(&p.base_seq.to_le_bytes());
            }
        }
        self.own.extend_from_slice(&piece.base_wall_ns.to_le_bytes());
        self.own.extend_from_slice(&run.stream_ns.to_le_bytes());
        put_varint(&mut self.own, piece.envelopes.len() as u64);
        for envelope in &piece.envelopes {
            let index = self.intern(envelope);
            put_varint(&mut self.own, u64::from(index));
        }
        put_varint(&mut self.own, piece.body.len() as u64);
        let head_len = self.own.len() - from;
        self.put_body(open, piece, head_len);
    }

    fn put_body(&mut self, mut open: Open, piece: Piece, head_len: usize) {
        open.payload_len += head_len + piece.body.len();
        let block = &mut open.block;
        block.head.parts += piece.parts;
        block.wall_min_ns = block.wall_min_ns.min(piece.wall_min_ns);
        block.wall_max_ns = block.wall_max_ns.max(piece.wall_max_ns);
        if piece.body.len() < COPY_BYTES_MAX {
            self.own.extend_from_slice(&piece.body);
        } else {
            self.slices.push(Slice::Own(open.own_from..self.own.len()));
            self.slices.push(Slice::Piece(self.pieces.len()));
            open.own_from = self.own.len();
        }
        self.pieces.push(piece);
        self.open = Some(open);
    }

    fn intern(&mut self, envelope: &Arc<Envelope>) -> u32 {
        if let Some((_, index)) = self.recent.iter().find(|(e, _)| Arc::ptr_eq(e, envelope)) {
            return *index;
        }
        let next = self.envelopes.len() as u32;
        let index = *self.envelopes.entry(envelope.clone()).or_insert(next);
        if index == next {
            let mut one = Vec::with_capacity(96);
            put_envelope(&mut one, envelope);
            put_text(&mut self.table, &one);
        }
        if self.recent.len() == 8 {
            self.recent.remove(0);
        }
        self.recent.push((envelope.clone(), index));
        index
    }

    fn start_block(&mut self, run: &RunHead, offset: u64, wall_ns: i64) -> Open {
        let head_at = self.own.len();
        self.own.resize(head_at + BLOCK_HEAD_LEN + 4, 0);
        let head = BlockHead {
            payload_len: 0,
            seg_tag: 0,
            first_offset: offset,
            durable_next: 0,
            parts: 0,
            prev_crc: 0,
            wall_ns: run.wall_ns,
            stream_ns: run.stream_ns,
            crc: 0,
        };
        let slices = self.slices.len()..0;
        let (wall_min_ns, wall_max_ns) = (wall_ns, wall_ns);
        let block = PlannedBlock { slices, head_at, head, wall_min_ns, wall_max_ns };
        Open { block, own_from: head_at, payload_len: 4 }
    }

    /// Closes the block being filled; to be called once more when the group is complete.
    pub(crate) fn finish_block(&mut self) {
        let Some(Open { mut block, own_from, payload_len }) = self.open.take() else { return };
        let runs_len = (payload_len - 4) as u32;
        let at = block.head_at + BLOCK_HEAD_LEN;
        self.own[at..at + 4].copy_from_slice(&runs_len.to_le_bytes());
        let from = self.own.len();
        put_varint(&mut self.own, self.envelopes.len() as u64);
        self.own.extend_from_slice(&self.table);
        block.head.payload_len = (payload_len + self.own.len() - from) as u32;
        let padding =
            block.head.stored_len() as usize - BLOCK_HEAD_LEN - block.head.payload_len as usize;
        self.own.resize(self.own.len() + padding, 0);
        self.slices.push(Slice::Own(own_from..self.own.len()));
        block.slices.end = self.slices.len();
        self.blocks.push(block);
        self.envelopes.clear();
        self.recent.clear();
        self.table.clear();
    }

    /// Fills in the header of block `number` for `segment`; returns its checksum.
    pub(crate) fn seal_head(
        &mut self,
        number: usize,
        segment: &SegmentHead,
        prev_crc: u32,
        durable_next: u64,
    ) -> u32 {
        let block = &mut self.blocks[number];
        block.head.seg_tag = segment.seg_tag;
        block.head.prev_crc = prev_crc;
        block.head.durable_next = durable_next;
        let head_at = block.head_at;
        block.head.put(&mut self.own[head_at..head_at + BLOCK_HEAD_LEN]);
        let mut crc = crc32c::crc32c(&segment.salt.to_le_bytes());
        for (nth, slice) in self.slices[block.slices.clone()].iter().enumerate() {
            let bytes = slice_bytes(&self.own, &self.pieces, slice);
            crc = match nth {
                // The header stands at the front of the first slice.
                0 => crc32c::crc32c_append(
                    crc32c::crc32c_append(crc, &bytes[..60]),
                    &bytes[BLOCK_HEAD_LEN..],
                ),
                _ => crc32c::crc32c_append(crc, bytes),
            };
        }
        let block = &mut self.blocks[number];
        block.head.crc = crc;
        self.own[head_at + 60..head_at + 64].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// The bytes of the blocks `numbers`, in order, for one write.
    pub(crate) fn io_slices(&self, numbers: Range<usize>) -> Vec<IoSlice<'_>> {
        let blocks = &self.blocks[numbers];
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Vec::new() };
        let slices = &self.slices[first.slices.start..last.slices.end];
        slices.iter().map(|s| IoSlice::new(slice_bytes(&self.own, &self.pieces, s))).collect()
    }

    /// Bytes of all blocks in the file.
    pub(crate) fn stored_len(&self) -> u64 {
        self.blocks.iter().map(|b| b.head.stored_len()).sum()
    }

    /// Every piece of the group, with the envelopes that the table needs to know.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

fn slice_bytes<'a>(own: &'a [u8], pieces: &'a [Piece], slice: &Slice) -> &'a [u8] {
    match slice {
        Slice::Own(range) => &own[range.clone()],
        Slice::Piece(number) => &pieces[*number].body,
    }
}

/// Remembers envelopes between blocks, so equal ones share one allocation.
#[derive(Default)]
pub(crate) struct EnvelopeCache(HashMap<Box<[u8]>, Arc<Envelope>>);

impl EnvelopeCache {
    fn get(&mut self, bytes: &[u8]) -> Option<Arc<Envelope>> {
        if let Some(known) = self.0.get(bytes) {
            return Some(known.clone());
        }
        if self.0.len() >= ENVELOPE_CACHE_MAX {
            self.0.clear();
        }
        let envelope = Arc::new(read_envelope(bytes)?);
        self.0.insert(bytes.into(), envelope.clone());
        Some(envelope)
    }
}

struct RecordEntry {
    start: u32,
    len: u32,
    envelope: u32,
    bits: u8,
    kind: RecordKind,
    wall_ns: i64,
    stream_ns: i64,
    /// Index + 1 into `producers`; 0 = none.
    producer: u32,
    seq: u64,
}

struct Contents {
    head: BlockHead,
    payload: Vec<u8>,
    envelopes: Vec<Arc<Envelope>>,
    envelope_spans: Vec<(u32, u32)>,
    producers: Vec<(u128, u64)>,
    records: Vec<RecordEntry>,
}

/// A verified block. Cloning shares the bytes.
#[derive(Clone)]
pub struct Block {
    contents: Arc<Contents>,
    from: usize,
    to: usize,
}

/// One record (or one part of a split record) of a block.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its offset.
    pub offset: u64,
    /// What it is.
    pub kind: RecordKind,
    /// Who sent it.
    pub envelope: &'a Arc<Envelope>,
    /// The envelope exactly as stored; what proofs hash.
    pub envelope_bytes: &'a [u8],
    /// Wall clock at receipt, ns since 1970-01-01 UTC.
    pub wall_ns: i64,
    /// Stream time when it was written, ns; never decreases from record to record.
    pub stream_ns: i64,
    /// More parts of this record follow at the next offsets.
    pub continued: bool,
    /// This is a later part of the record before it.
    pub continuation: bool,
    /// The numbering sender; `base_seq` is this record's own number.
    pub producer: Option<Producer>,
    /// The bytes as received.
    pub bytes: &'a [u8],
}

impl Block {
    /// Decodes a verified payload. `None` when it does not follow the format.
    pub(crate) fn decode(
        head: BlockHead,
        payload: &[u8],
        cache: &mut EnvelopeCache,
    ) -> Option<Self> {
        let mut cut = Cut::new(payload);
        let runs_len = cut.u32()? as usize;
        let runs = cut.take(runs_len)?;
        let mut contents = Contents {
            head,
            payload: payload.to_vec(),
            envelopes: Vec::new(),
            envelope_spans: Vec::new(),
            producers: Vec::new(),
            // A part takes at least four bytes, so a false count cannot make us allocate.
            records: Vec::with_capacity((head.parts as usize).min(payload.len() / 4)),
        };
        for _ in 0..cut.varint()? {
            let bytes = cut.text()?;
            contents.envelope_spans.push(((cut.at() - bytes.len()) as u32, bytes.len() as u32));
            contents.envelopes.push(cache.get(bytes)?);
        }
        let mut run = Cut::new(runs);
        while !run.is_empty() {
            decode_run(&mut run, &mut contents)?;
        }
        let whole = cut.is_empty() && contents.records.len() == head.parts as usize;
        let to = contents.records.len();
        (whole && to > 0).then(|| Self { contents: Arc::new(contents), from: 0, to })
    }

    /// The same block, seen from `offset` on and ending before `end`.
    pub(crate) fn between(mut self, offset: u64, end: u64) -> Self {
        let first = self.contents.head.first_offset;
        let len = self.contents.records.len() as u64;
        self.from = offset.saturating_sub(first).min(len) as usize;
        self.to = (end.saturating_sub(first).min(len) as usize).max(self.from);
        self
    }

    /// Offset of the first record.
    pub fn first_offset(&self) -> u64 {
        self.contents.head.first_offset + self.from as u64
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> u64 {
        self.contents.head.first_offset + self.to as u64
    }

    /// Number of records (parts counted one by one).
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there is no record; a reader never returns such a block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Record number `index` (0..len) of the block.
    pub fn record(&self, index: usize) -> Option<RecordView<'_>> {
        let number = self.from.checked_add(index).filter(|n| *n < self.to)?;
        let contents = &*self.contents;
        let entry = &contents.records[number];
        let (start, len) = contents.envelope_spans[entry.envelope as usize];
        let span = |start: u32, len: u32| &contents.payload[start as usize..][..len as usize];
        let producer = (entry.producer as usize).checked_sub(1).map(|i| contents.producers[i]);
        Some(RecordView {
            offset: contents.head.first_offset + number as u64,
            kind: entry.kind,
            envelope: &contents.envelopes[entry.envelope as usize],
            envelope_bytes: span(start, len),
            wall_ns: entry.wall_ns,
            stream_ns: entry.stream_ns,
            continued: entry.bits & CONTINUED != 0,
            continuation: entry.bits & CONTINUATION != 0,
            producer: producer.map(|(id, epoch)| Producer { id, epoch, base_seq: entry.seq }),
            bytes: span(entry.start, entry.len),
        })
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        (0..self.len()).filter_map(|i| self.record(i))
    }

    /// Bytes of the payload, as a measure of memory held.
    pub fn payload_bytes(&self) -> usize {
        self.contents.payload.len()
    }
}

fn decode_run(run: &mut Cut<'_>, contents: &mut Contents) -> Option<()> {
    let parts = run.varint()?;
    let (mut producer, mut seq) = (0, 0);
    match run.u8()? {
        0 => {}
        1 => {
            contents.producers.push((run.u128()?, run.u64()?));
            producer = contents.producers.len() as u32;
            seq = run.u64()?;
        }
        _ => return None,
    }
    let (base_wall_ns, stream_ns) = (run.i64()?, run.i64()?);
    let count = run.varint()?;
    let mut map = Vec::new();
    for _ in 0..count {
        let index = run.varint()?;
        map.push(u32::try_from(index).ok().filter(|i| (*i as usize) < contents.envelopes.len())?);
    }
    let body = run.text()?;
    // Positions are kept relative to the payload: 4 bytes of length stand before the runs.
    let body_at = 4 + run.at() - body.len();
    let mut cut = Cut::new(body);
    for _ in 0..parts {
        let bits = cut.u8()?;
        let kind = RecordKind::from_u8(bits & KIND_MASK)?;
        if bits & !(KIND_MASK | CONTINUED | CONTINUATION) != 0 {
            return None;
        }
        let envelope = *map.get(usize::try_from(cut.varint()?).ok()?)?;
        let wall_ns = base_wall_ns.wrapping_add(cut.zigzag()?);
        let bytes = cut.text()?;
        contents.records.push(RecordEntry {
            start: (body_at + cut.at() - bytes.len()) as u32,
            len: bytes.len() as u32,
            envelope,
            bits,
            kind,
            wall_ns,
            stream_ns,
            producer,
            seq,
        });
        if producer != 0 && bits & CONTINUED == 0 {
            seq = seq.checked_add(1)?;
        }
    }
    cut.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::encode;
    use event::RawBatch;
    use proptest::prelude::*;

    fn one_block(batch: &RawBatch) -> (SegmentHead, Vec<u8>) {
        let mut group = GroupBuffer::default();
        let run = RunHead { producer: batch.producer, wall_ns: 3, stream_ns: 4 };
        for piece in encode(batch, 1 << 20, &Pool::default()).unwrap() {
            group.add(piece, &run, 10, 1 << 20);
        }
        group.finish_block();
        let segment = SegmentHead::fresh(&crate::OsClock, 0, 0, 1 << 20, false).unwrap();
        group.seal_head(0, &segment, 1, 2);
        let stored: Vec<u8> = group.io_slices(0..1).iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(stored.len() as u64, group.stored_len());
        (segment, stored)
    }

    #[test]
    fn any_flipped_bit_changes_the_checksum() {
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push(5, b"hello");
        let (segment, stored) = one_block(&batch);
        let valid = |bytes: &[u8]| {
            BlockHead::read(bytes, segment.seg_tag)
                .is_some_and(|h| block_crc(segment.salt, bytes) == h.crc)
        };
        assert!(valid(&stored));
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The reserved header bytes are covered too.
            assert!(!valid(&flipped), "bit {bit}");
        }
        assert_ne!(block_crc(segment.salt ^ 1, &stored), block_crc(segment.salt, &stored));
    }

    proptest! {
        #[test]
        fn garbage_payloads_never_panic(bytes in any::<Vec<u8>>(), parts in 0u32..100) {
            let (_, stored) = one_block(&{
                let mut b = RawBatch::of(Arc::new(Envelope::internal()));
                b.push(5, b"x");
                b
            });
            let tag = u64::from_le_bytes(stored[8..16].try_into().unwrap());
            let head = BlockHead { parts, ..BlockHead::read(&stored, tag).unwrap() };
            let _ = Block::decode(head, &bytes, &mut EnvelopeCache::default());
        }

        #[test]
        fn damaged_payloads_never_panic(at in 0usize..200, value in any::<u8>()) {
            let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
            batch.producer = Some(Producer { id: 1, epoch: 2, base_seq: 3 });
            batch.push(5, b"first");
            batch.push(6, b"second");
            let (segment, mut stored) = one_block(&batch);
            let head = BlockHead::read(&stored, segment.seg_tag).unwrap();
            let at = 64 + at % head.payload_len as usize;
            stored[at] = value;
            let payload = &stored[64..64 + head.payload_len as usize];
            if let Some(block) = Block::decode(head, payload, &mut EnvelopeCache::default()) {
                prop_assert_eq!(block.records().count(), 2);
            }
        }
    }
}
