//! A batch made ready in the caller's thread, so that the writer only copies bytes.

use crate::codec::{Cut, put_text, put_varint, put_zigzag};
use crate::error::AppendError;
use event::{Envelope, RawBatch, RawRecord};
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
pub(crate) struct Piece {
    pub(crate) body: Vec<u8>,
    /// Parts in `body`; each takes one offset.
    pub(crate) parts: u32,
    pub(crate) envelopes: Vec<Arc<Envelope>>,
    /// Times in `body` are relative to it.
    pub(crate) base_wall_ns: i64,
    /// Which record of the batch the first part belongs to.
    pub(crate) first_record: u64,
}

impl Piece {
    fn at(first_record: u64, base_wall_ns: i64) -> Self {
        Self { body: Vec::new(), parts: 0, envelopes: Vec::new(), base_wall_ns, first_record }
    }

    /// Removes the parts of all records of the batch before `record`.
    pub(crate) fn drop_records_before(&mut self, record: u64) {
        let mut cut = Cut::new(&self.body);
        while self.first_record < record && self.parts > 0 {
            let Some(bits) = skip_part(&mut cut) else { break };
            self.parts -= 1;
            self.first_record += u64::from(bits & CONTINUED == 0);
        }
        let gone = cut.at();
        self.body.drain(..gone);
    }

    /// How many records of the batch end in this piece.
    pub(crate) fn records_ended(&self) -> u64 {
        let mut cut = Cut::new(&self.body);
        let mut ended = 0;
        while let Some(bits) = skip_part(&mut cut) {
            ended += u64::from(bits & CONTINUED == 0);
        }
        ended
    }
}

fn skip_part(cut: &mut Cut<'_>) -> Option<u8> {
    let bits = cut.u8()?;
    cut.varint()?;
    cut.zigzag()?;
    cut.text()?;
    Some(bits)
}

/// Encodes a batch into pieces of about `piece_bytes_max`; longer records are split into parts.
pub(crate) fn encode(batch: &RawBatch, piece_bytes_max: usize) -> Result<Vec<Piece>, AppendError> {
    check(batch)?;
    let mut pieces = Vec::with_capacity(1);
    // Local index + 1 of each of the batch's envelopes in the current piece.
    let mut local = vec![0u32; batch.envelopes.len()];
    let mut envelope_bytes = 0;
    let first_wall_ns = batch.records.first().map_or(0, |r| r.wall_ns);
    let mut piece = Piece::at(0, first_wall_ns);
    piece.body.reserve(batch.bytes.len().min(piece_bytes_max) + batch.records.len().min(4096) * 16);
    for (number, record) in batch.records.iter().enumerate() {
        let bytes = batch.record_bytes(record);
        let parts = bytes.len().div_ceil(piece_bytes_max).max(1);
        for part in 0..parts {
            let chunk =
                &bytes[part * piece_bytes_max..bytes.len().min((part + 1) * piece_bytes_max)];
            let full = piece.body.len() + chunk.len() > piece_bytes_max
                || envelope_bytes > PIECE_ENVELOPE_BYTES_MAX;
            if piece.parts > 0 && full {
                let next = Piece::at(number as u64, record.wall_ns);
                pieces.push(std::mem::replace(&mut piece, next));
                local.fill(0);
                envelope_bytes = 0;
            }
            let slot = &mut local[record.envelope as usize];
            if *slot == 0 {
                let envelope = &batch.envelopes[record.envelope as usize];
                piece.envelopes.push(envelope.clone());
                envelope_bytes += encoded_envelope_bytes_max(envelope);
                *slot = piece.envelopes.len() as u32;
            }
            let mut bits = record.kind as u8;
            bits |= if part + 1 < parts { CONTINUED } else { 0 };
            bits |= if part > 0 { CONTINUATION } else { 0 };
            piece.body.push(bits);
            put_varint(&mut piece.body, u64::from(*slot - 1));
            put_zigzag(&mut piece.body, record.wall_ns.wrapping_sub(piece.base_wall_ns));
            put_text(&mut piece.body, chunk);
            piece.parts += 1;
        }
    }
    if piece.parts > 0 {
        pieces.push(piece);
    }
    Ok(pieces)
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
    cut.is_empty().then_some(Envelope { source, identity, peer, protocol, connection, path, pack })
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
        let mut pieces = encode(&batch, 1_000).unwrap();
        assert!(pieces.iter().all(|p| p.body.len() < 1_000 + 600));
        assert_eq!(pieces.iter().map(Piece::records_ended).sum::<u64>(), 101);
        assert_eq!(pieces.iter().map(|p| u64::from(p.parts)).sum::<u64>(), 103);
        for piece in &mut pieces {
            piece.drop_records_before(99);
        }
        assert_eq!(pieces.iter().map(Piece::records_ended).sum::<u64>(), 2);
    }

    #[test]
    fn batches_that_point_outside_are_refused() {
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push(0, b"abc");
        let good = batch.clone();
        assert!(encode(&good, 100).is_ok());
        batch.records[0].len = 4;
        assert!(encode(&batch, 100).is_err());
        batch = good.clone();
        batch.records[0].envelope = 1;
        assert!(encode(&batch, 100).is_err());
        batch = good.clone();
        batch.producer = Some(event::Producer { id: 1, epoch: 1, base_seq: u64::MAX });
        assert!(encode(&batch, 100).is_err());
        batch = good;
        batch.envelopes = vec![Arc::new(Envelope::of(
            &"x".repeat(ENVELOPE_TEXT_BYTES_MAX + 1),
            event::Protocol::Http,
        ))];
        assert!(encode(&batch, 100).is_err());
    }
}
