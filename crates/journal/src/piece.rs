//! A batch made ready in the caller's thread, so that the writer only copies bytes.

use crate::codec::{Cut, put_text, put_varint, put_zigzag};
use crate::error::AppendError;
use event::{Envelope, RawBatch, RawRecord, RecordKind};
use parking_lot::Mutex;
use std::sync::Arc;

/// The longest record a batch may hold; beyond it, sources must cut (the expanded limit).
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// The longest text in an envelope: a path name's limit; names of sources are far shorter.
pub const ENVELOPE_TEXT_BYTES_MAX: usize = 4096;
/// The most bytes of envelopes that go with one piece (before the last), so a block stays near its
/// size even in the smallest segments.
const PIECE_ENVELOPE_BYTES_MAX: usize = 32 * 1024;

/// Set in a record's first byte: more parts of the same record follow.
pub(crate) const CONTINUED: u8 = 0x10;
/// Set in a record's first byte: this is a later part of the record before it.
pub(crate) const CONTINUATION: u8 = 0x20;
pub(crate) const KIND_MASK: u8 = 0x0f;

/// Records that go into one block together: encoded, with envelopes by local index.
#[derive(Default)]
pub(crate) struct Piece {
    pub(crate) body: Vec<u8>,
    /// Parts in `body`; each takes one offset.
    pub(crate) parts: u32,
    pub(crate) envelopes: Vec<Arc<Envelope>>,
    /// Times in `body` are relative to it.
    pub(crate) base_wall_ns: i64,
    pub(crate) wall_min_ns: i64,
    pub(crate) wall_max_ns: i64,
    /// Which record of the batch the first part belongs to.
    pub(crate) first_record: u64,
    /// How many records of the batch end in this piece.
    pub(crate) ended: u64,
    /// CRC of the last record that ends here; computed for numbering senders only.
    pub(crate) tail_crc: u32,
    /// Envelopes (by local index) whose connections end here.
    pub(crate) ends: Vec<u32>,
}

impl Piece {
    fn at(first_record: u64, wall_ns: i64, pool: &Pool) -> Self {
        Self {
            body: pool.take(),
            base_wall_ns: wall_ns,
            wall_min_ns: wall_ns,
            wall_max_ns: wall_ns,
            first_record,
            ..Self::default()
        }
    }

    /// Removes the parts of all records of the batch before `record`.
    pub(crate) fn drop_records_before(&mut self, record: u64) {
        let mut cut = Cut::new(&self.body);
        while self.first_record < record && self.parts > 0 {
            let Some((bits, _)) = next_part(&mut cut) else { break };
            self.parts -= 1;
            let ended = u64::from(bits & CONTINUED == 0);
            self.first_record += ended;
            self.ended -= ended;
        }
        let gone = cut.at();
        self.body.drain(..gone);
    }
}

/// CRC of record number `record` of a batch, if its last part is in `pieces`.
pub(crate) fn record_crc(pieces: &[Piece], record: u64) -> Option<u32> {
    let mut crc = 0;
    for piece in pieces {
        if piece.first_record + piece.ended < record {
            continue;
        }
        let (mut cut, mut number) = (Cut::new(&piece.body), piece.first_record);
        while let Some((bits, bytes)) = next_part(&mut cut) {
            if number == record {
                crc = crc32c::crc32c_append(crc, bytes);
                if bits & CONTINUED == 0 {
                    return Some(crc);
                }
            }
            number += u64::from(bits & CONTINUED == 0);
        }
    }
    None
}

fn next_part<'a>(cut: &mut Cut<'a>) -> Option<(u8, &'a [u8])> {
    let bits = cut.u8()?;
    cut.varint()?;
    cut.zigzag()?;
    Some((bits, cut.text()?))
}

/// Buffers of pieces on their way round: a fresh megabyte costs more in page faults than the
/// copying into it.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Vec<u8>>>);

/// Most buffers kept, and the largest one: 32 MiB at most lie idle.
const POOLED: (usize, usize) = (16, 2 << 20);

impl Pool {
    fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(crate) fn give(&self, mut body: Vec<u8>) {
        if body.capacity() == 0 || body.capacity() > POOLED.1 {
            return;
        }
        body.clear();
        let mut pool = self.0.lock();
        if pool.len() < POOLED.0 {
            pool.push(body);
        }
    }
}

/// Encodes a batch into pieces of about `piece_bytes_max`; longer records are split into parts.
pub(crate) fn encode(
    batch: &RawBatch,
    piece_bytes_max: usize,
    pool: &Pool,
) -> Result<Vec<Piece>, AppendError> {
    check(batch)?;
    let mut encoder = Encoder {
        batch,
        piece_bytes_max,
        pool,
        pieces: Vec::with_capacity(1),
        local: vec![0; batch.envelopes.len()],
        envelope_bytes: 0,
        piece: Piece::at(0, batch.records.first().map_or(0, |r| r.wall_ns), pool),
    };
    let expected = batch.bytes.len().min(piece_bytes_max) + batch.records.len().min(4096) * 16;
    encoder.piece.body.reserve(expected);
    for (number, record) in batch.records.iter().enumerate() {
        encoder.record(number as u64, record);
    }
    Ok(encoder.finish())
}

struct Encoder<'a> {
    batch: &'a RawBatch,
    piece_bytes_max: usize,
    pool: &'a Pool,
    pieces: Vec<Piece>,
    /// Local index + 1 of each of the batch's envelopes in the current piece.
    local: Vec<u32>,
    envelope_bytes: usize,
    piece: Piece,
}

impl Encoder<'_> {
    fn record(&mut self, number: u64, record: &RawRecord) {
        let bytes = self.batch.record_bytes(record);
        let mut rest = bytes;
        let mut bits = record.kind as u8;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(self.piece_bytes_max));
            let full = self.piece.body.len() + chunk.len() > self.piece_bytes_max
                || self.envelope_bytes > PIECE_ENVELOPE_BYTES_MAX;
            if full && self.piece.parts > 0 {
                self.close(Piece::at(number, record.wall_ns, self.pool));
            }
            let continued = if after.is_empty() { 0 } else { CONTINUED };
            self.part(record, bits | continued, chunk);
            if after.is_empty() {
                break;
            }
            bits |= CONTINUATION;
            rest = after;
        }
        self.piece.ended += 1;
    }

    fn part(&mut self, record: &RawRecord, bits: u8, chunk: &[u8]) {
        let local = self.local(record.envelope);
        let piece = &mut self.piece;
        piece.body.push(bits);
        put_varint(&mut piece.body, u64::from(local));
        put_zigzag(&mut piece.body, record.wall_ns.wrapping_sub(piece.base_wall_ns));
        put_text(&mut piece.body, chunk);
        piece.wall_min_ns = piece.wall_min_ns.min(record.wall_ns);
        piece.wall_max_ns = piece.wall_max_ns.max(record.wall_ns);
        piece.parts += 1;
        if record.kind == RecordKind::ConnectionEnd {
            piece.ends.push(local);
        }
    }

    fn local(&mut self, envelope: u32) -> u32 {
        let slot = &mut self.local[envelope as usize];
        if *slot == 0 {
            let envelope = &self.batch.envelopes[envelope as usize];
            self.piece.envelopes.push(envelope.clone());
            self.envelope_bytes += encoded_envelope_bytes_max(envelope);
            *slot = self.piece.envelopes.len() as u32;
        }
        *slot - 1
    }

    fn close(&mut self, next: Piece) {
        let mut piece = std::mem::replace(&mut self.piece, next);
        if self.batch.producer.is_some() && piece.ended > 0 {
            let last = (piece.first_record + piece.ended - 1) as usize;
            piece.tail_crc = crc32c::crc32c(self.batch.record_bytes(&self.batch.records[last]));
        }
        self.pieces.push(piece);
        self.local.fill(0);
        self.envelope_bytes = 0;
    }

    fn finish(mut self) -> Vec<Piece> {
        if self.piece.parts > 0 {
            self.close(Piece::default());
        }
        self.pieces
    }
}

fn check(batch: &RawBatch) -> Result<(), AppendError> {
    let invalid = |why| Err(AppendError::Invalid { why });
    let in_arena = |r: &RawRecord| {
        u64::from(r.start) + u64::from(r.len) <= batch.bytes.len() as u64
            && r.start.checked_add(r.len).is_some()
    };
    for record in &batch.records {
        if record.envelope as usize >= batch.envelopes.len() {
            return invalid("a record names an envelope that is not in the batch");
        }
        if !in_arena(record) {
            return invalid("a record lies outside of the batch's bytes");
        }
        if record.len as usize > RECORD_BYTES_MAX {
            return invalid("a record is longer than 64 MiB");
        }
    }
    for e in &batch.envelopes {
        let texts = [&e.source, &e.identity, &e.peer, &e.path, &e.pack];
        if texts.iter().any(|t| t.len() > ENVELOPE_TEXT_BYTES_MAX) {
            return invalid("a text in an envelope is longer than 4,096 bytes");
        }
    }
    if let Some(producer) = &batch.producer
        && producer.base_seq.checked_add(batch.records.len() as u64).is_none()
    {
        return invalid("the producer's sequence numbers overflow");
    }
    Ok(())
}

fn encoded_envelope_bytes_max(e: &Envelope) -> usize {
    24 + e.source.len() + e.identity.len() + e.peer.len() + e.path.len() + e.pack.len()
}

/// Appends an envelope's stored form.
pub(crate) fn put_envelope(out: &mut Vec<u8>, e: &Envelope) {
    out.push(e.protocol as u8);
    put_varint(out, e.connection);
    for text in [&e.source, &e.identity, &e.peer, &e.path, &e.pack] {
        put_text(out, text.as_bytes());
    }
}

/// Reads an envelope's stored form, all of `bytes`.
pub(crate) fn read_envelope(bytes: &[u8]) -> Option<Envelope> {
    let mut cut = Cut::new(bytes);
    let protocol = event::Protocol::from_u8(cut.u8()?)?;
    let connection = cut.varint()?;
    let mut text = || std::str::from_utf8(cut.text()?).ok().map(Arc::<str>::from);
    let (source, identity, peer) = (text()?, text()?, text()?);
    let (path, pack) = (text()?, text()?);
    cut.is_empty().then_some(Envelope {
        source,
        identity,
        peer,
        protocol,
        connection,
        path,
        pack,
        header: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_size_and_a_prefix_can_be_dropped() {
        let mut batch = RawBatch::of(Arc::new(Envelope::of("a", event::Protocol::Http)));
        for i in 0..100 {
            batch.push(1_000 + i, &[i as u8; 50]);
        }
        batch.push(5, &[1; 2_500]);
        let mut pieces = encode(&batch, 1_000, &Pool::default()).unwrap();
        assert!(pieces.iter().all(|p| p.body.len() < 1_000 + 600));
        assert_eq!(pieces.iter().map(|p| p.ended).sum::<u64>(), 101);
        assert_eq!(pieces.iter().map(|p| u64::from(p.parts)).sum::<u64>(), 103);
        assert_eq!(record_crc(&pieces, 7), Some(crc32c::crc32c(&[7; 50])));
        assert_eq!(record_crc(&pieces, 100), Some(crc32c::crc32c(&[1; 2_500])));
        assert_eq!(record_crc(&pieces, 101), None);
        for piece in &mut pieces {
            piece.drop_records_before(99);
        }
        assert_eq!(pieces.iter().map(|p| p.ended).sum::<u64>(), 2);
    }

    #[test]
    fn batches_that_point_outside_are_refused() {
        let pool = Pool::default();
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push(0, b"abc");
        let good = batch.clone();
        assert!(encode(&good, 100, &pool).is_ok());
        batch.records[0].len = 4;
        assert!(encode(&batch, 100, &pool).is_err());
        batch = good.clone();
        batch.records[0].envelope = 1;
        assert!(encode(&batch, 100, &pool).is_err());
        batch = good.clone();
        batch.producer = Some(event::Producer { id: 1, epoch: 1, base_seq: u64::MAX });
        assert!(encode(&batch, 100, &pool).is_err());
        batch = good;
        batch.envelopes = vec![Arc::new(Envelope::of(
            &"x".repeat(ENVELOPE_TEXT_BYTES_MAX + 1),
            event::Protocol::Http,
        ))];
        assert!(encode(&batch, 100, &pool).is_err());
    }
}
