//! Frames between an agent and a server over TCP or TLS. Pure.
//!
//! ```text
//! u32 length (big endian, of what follows) | u8 type | body
//! agent  -> Hello | Resume | Batch* | Ping   server -> HelloOk | HelloErr | Credit | Resumed | Ack* | Ping
//! ```
//!
//! Before the first batch of a producer on a connection the agent says where it goes on (`Resume`), and
//! the server says what it has (`Resumed`). Two agents that share one state, or one that came back
//! from an older image, differ there: the agent then goes on under a new producer, with a gap record.
//! A connection that resumes a producer takes it over: batches of others are not taken any more.
//!
//! Numbers are big endian; texts and bytes carry a u32 length. Decoding is total: any bytes give a
//! frame, "not yet", or an error, within memory proportional to what arrived.

use event::RecordKind;

/// Version of the protocol.
pub const VERSION: u16 = 2;
/// Longest frame: room for one record at the tail's limit and a full batch beside it.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Most records in a batch.
pub const RECORDS_MAX: usize = 16_384;
/// Longest text (ids, tokens, paths).
const TEXT_BYTES_MAX: usize = 4096;

/// Records of one producer, numbered from `base_seq` without holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Producer: hash of agent and file identity.
    pub producer: u128,
    /// Random number of this run through the file.
    pub epoch: u64,
    /// Number of the first record.
    pub base_seq: u64,
    /// File the records are from.
    pub path: String,
    /// All bytes, back to back.
    pub bytes: Vec<u8>,
    /// Kind (data or gap), time of reading (ns since 1970) and length of each record.
    pub records: Vec<(RecordKind, i64, u32)>,
}

impl Batch {
    /// Appends one record.
    pub fn push(&mut self, kind: RecordKind, wall_ns: i64, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.records.push((kind, wall_ns, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
    }

    /// Number of the last record. An empty batch has none; it then gives the number before.
    pub fn last_seq(&self) -> u64 {
        (self.base_seq + self.records.len() as u64).saturating_sub(1)
    }

    /// The records' kinds, times and bytes.
    pub fn each(&self) -> impl Iterator<Item = (RecordKind, i64, &[u8])> {
        let mut at = 0usize;
        self.records.iter().map(move |(kind, ns, len)| {
            let end = at + *len as usize;
            let bytes = self.bytes.get(at..end).unwrap_or_default();
            at = end;
            (*kind, *ns, bytes)
        })
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// First frame of an agent.
    Hello {
        /// Its [`VERSION`].
        version: u16,
        /// Its id.
        agent: String,
        /// Its secret.
        token: String,
    },
    /// The agent may send.
    HelloOk,
    /// The agent may not; the connection ends.
    HelloErr {
        /// Why, for its operator.
        reason: String,
    },
    /// Records.
    Batch(Batch),
    /// Everything of this producer and epoch up to and including `up_to_seq` is durable.
    Ack {
        /// Producer.
        producer: u128,
        /// Epoch.
        epoch: u64,
        /// Last durable number.
        up_to_seq: u64,
    },
    /// Bytes the agent may have sent without an ack.
    Credit {
        /// Window.
        window_bytes: u32,
    },
    /// I am alive; answered by nothing.
    Ping,
    /// The agent is about to send for this producer.
    Resume {
        /// Producer.
        producer: u128,
        /// Epoch.
        epoch: u64,
        /// The first number without an ack.
        next_seq: u64,
    },
    /// What the server has of the producer and epoch.
    Resumed {
        /// Producer.
        producer: u128,
        /// Epoch.
        epoch: u64,
        /// The last durable record, if there is one.
        last: Option<Last>,
    },
}

/// The last durable record of a producer and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its number.
    pub seq: u64,
    /// CRC-32C of its bytes; 0 = not known.
    pub crc: u32,
}

/// Not a frame; the connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length is over the limit.
    #[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// Unknown type of frame.
    #[error("unknown frame type {0}")]
    Type(u8),
    /// A body that is cut short, has rest bytes, or breaks a limit.
    #[error("malformed frame of type {0}")]
    Body(u8),
}

/// Appends the frame's bytes to `out`.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) {
    framed(out, |out| put(frame, out));
}

/// Appends the bytes of `Frame::Batch(batch)` to `out` without owning the batch.
pub fn encode_batch(batch: &Batch, out: &mut Vec<u8>) {
    framed(out, |out| put_batch(batch, out));
}

fn framed(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn text(out: &mut Vec<u8>, t: &[u8]) {
    out.extend_from_slice(&u32::try_from(t.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(t);
}

fn put_batch(batch: &Batch, out: &mut Vec<u8>) {
    out.push(4);
    out.extend_from_slice(&batch.producer.to_be_bytes());
    out.extend_from_slice(&batch.epoch.to_be_bytes());
    out.extend_from_slice(&batch.base_seq.to_be_bytes());
    text(out, batch.path.as_bytes());
    let count = u32::try_from(batch.records.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for (kind, wall_ns, len) in &batch.records {
        out.push(*kind as u8);
        out.extend_from_slice(&wall_ns.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
    }
    out.extend_from_slice(&batch.bytes);
}

fn put(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Hello { version, agent, token } => {
            out.push(1);
            out.extend_from_slice(&version.to_be_bytes());
            text(out, agent.as_bytes());
            text(out, token.as_bytes());
        }
        Frame::HelloOk => out.push(2),
        Frame::HelloErr { reason } => {
            out.push(3);
            text(out, reason.as_bytes());
        }
        Frame::Batch(batch) => put_batch(batch, out),
        Frame::Ack { producer, epoch, up_to_seq } => {
            out.push(5);
            out.extend_from_slice(&producer.to_be_bytes());
            out.extend_from_slice(&epoch.to_be_bytes());
            out.extend_from_slice(&up_to_seq.to_be_bytes());
        }
        Frame::Credit { window_bytes } => {
            out.push(6);
            out.extend_from_slice(&window_bytes.to_be_bytes());
        }
        Frame::Ping => out.push(7),
        Frame::Resume { producer, epoch, next_seq } => {
            out.push(8);
            out.extend_from_slice(&producer.to_be_bytes());
            out.extend_from_slice(&epoch.to_be_bytes());
            out.extend_from_slice(&next_seq.to_be_bytes());
        }
        Frame::Resumed { producer, epoch, last } => {
            out.push(9);
            out.extend_from_slice(&producer.to_be_bytes());
            out.extend_from_slice(&epoch.to_be_bytes());
            out.push(u8::from(last.is_some()));
            if let Some(last) = last {
                out.extend_from_slice(&last.seq.to_be_bytes());
                out.extend_from_slice(&last.crc.to_be_bytes());
            }
        }
    }
}

/// The first frame in `data` and the bytes it takes, or `None` when it is not complete.
///
/// # Errors
/// [`DecodeError`]; nothing after it can be read.
pub fn decode(data: &[u8]) -> Result<Option<(Frame, usize)>, DecodeError> {
    let Some((head, rest)) = data.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*head) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLong(len));
    }
    let Some(frame) = rest.get(..len) else { return Ok(None) };
    let (kind, body) = frame.split_first().ok_or(DecodeError::Body(0))?;
    if !(1..=9).contains(kind) {
        return Err(DecodeError::Type(*kind));
    }
    let frame = decode_body(*kind, body).ok_or(DecodeError::Body(*kind))?;
    Ok(Some((frame, 4 + len)))
}

fn decode_body(kind: u8, mut b: &[u8]) -> Option<Frame> {
    let frame = match kind {
        1 => Frame::Hello {
            version: u16::from_be_bytes(take(&mut b)?),
            agent: take_text(&mut b)?,
            token: take_text(&mut b)?,
        },
        2 => Frame::HelloOk,
        3 => Frame::HelloErr { reason: take_text(&mut b)? },
        4 => Frame::Batch(take_batch(&mut b)?),
        5 => Frame::Ack {
            producer: u128::from_be_bytes(take(&mut b)?),
            epoch: u64::from_be_bytes(take(&mut b)?),
            up_to_seq: u64::from_be_bytes(take(&mut b)?),
        },
        6 => Frame::Credit { window_bytes: u32::from_be_bytes(take(&mut b)?) },
        8 => Frame::Resume {
            producer: u128::from_be_bytes(take(&mut b)?),
            epoch: u64::from_be_bytes(take(&mut b)?),
            next_seq: u64::from_be_bytes(take(&mut b)?),
        },
        9 => Frame::Resumed {
            producer: u128::from_be_bytes(take(&mut b)?),
            epoch: u64::from_be_bytes(take(&mut b)?),
            last: match take(&mut b)? {
                [0] => None,
                [1] => Some(Last {
                    seq: u64::from_be_bytes(take(&mut b)?),
                    crc: u32::from_be_bytes(take(&mut b)?),
                }),
                _ => return None,
            },
        },
        _ => Frame::Ping,
    };
    b.is_empty().then_some(frame)
}

fn take_batch(b: &mut &[u8]) -> Option<Batch> {
    let producer = u128::from_be_bytes(take(b)?);
    let epoch = u64::from_be_bytes(take(b)?);
    let base_seq = u64::from_be_bytes(take(b)?);
    let path = take_text(b)?;
    let count = u32::from_be_bytes(take(b)?) as usize;
    // Each record has a header of 13 bytes, so a forged count cannot reserve memory.
    if count > RECORDS_MAX || b.len() < count * 13 || base_seq.checked_add(count as u64).is_none() {
        return None;
    }
    let mut records = Vec::with_capacity(count);
    let mut total = 0u64;
    for _ in 0..count {
        let [kind] = take::<1>(b)?;
        let kind = RecordKind::from_u8(kind)?;
        // Agents report events and gaps; every other kind steers the server itself.
        if !matches!(kind, RecordKind::Data | RecordKind::Gap) {
            return None;
        }
        let wall_ns = i64::from_be_bytes(take(b)?);
        let len = u32::from_be_bytes(take(b)?);
        total += u64::from(len);
        records.push((kind, wall_ns, len));
    }
    let bytes = std::mem::take(b).to_vec();
    (bytes.len() as u64 == total).then_some(())?;
    Some(Batch { producer, epoch, base_seq, path, bytes, records })
}

fn take<const N: usize>(b: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = b.split_first_chunk::<N>()?;
    *b = rest;
    Some(*head)
}

fn take_text(b: &mut &[u8]) -> Option<String> {
    let len = u32::from_be_bytes(take(b)?) as usize;
    if len > TEXT_BYTES_MAX || len > b.len() {
        return None;
    }
    let (text, rest) = b.split_at(len);
    *b = rest;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let batch = (
            any::<u128>(),
            any::<u64>(),
            0..u64::MAX / 2,
            "[a-z/]{0,20}",
            prop::collection::vec(
                (any::<bool>(), any::<i64>(), prop::collection::vec(any::<u8>(), 0..20)),
                0..8,
            ),
        );
        prop_oneof![
            (any::<u16>(), "\\PC{0,20}", "\\PC{0,20}")
                .prop_map(|(version, agent, token)| Frame::Hello { version, agent, token }),
            Just(Frame::HelloOk),
            "\\PC{0,20}".prop_map(|reason| Frame::HelloErr { reason }),
            batch.prop_map(|(producer, epoch, base_seq, path, records)| {
                let mut b = Batch { producer, epoch, base_seq, path, ..Batch::default() };
                for (gap, ns, bytes) in records {
                    b.push(if gap { RecordKind::Gap } else { RecordKind::Data }, ns, &bytes);
                }
                Frame::Batch(b)
            }),
            any::<(u128, u64, u64)>().prop_map(|(producer, epoch, up_to_seq)| Frame::Ack {
                producer,
                epoch,
                up_to_seq
            }),
            any::<u32>().prop_map(|window_bytes| Frame::Credit { window_bytes }),
            Just(Frame::Ping),
            any::<(u128, u64, u64)>().prop_map(|(producer, epoch, next_seq)| Frame::Resume {
                producer,
                epoch,
                next_seq
            }),
            any::<(u128, u64, Option<(u64, u32)>)>().prop_map(|(producer, epoch, last)| {
                let last = last.map(|(seq, crc)| Last { seq, crc });
                Frame::Resumed { producer, epoch, last }
            }),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_back_and_prefixes_wait(frame in frames()) {
            let mut bytes = Vec::new();
            encode(&frame, &mut bytes);
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..cut]), Ok(None));
            }
            let len = bytes.len();
            bytes.push(9);
            prop_assert_eq!(decode(&bytes), Ok(Some((frame, len))));
        }

        #[test]
        fn any_bytes_are_answered(kind in 0u8..11, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut data = u32::try_from(body.len() + 1).unwrap().to_be_bytes().to_vec();
            data.push(kind);
            data.extend(body);
            let _ = decode(&data);
        }
    }

    #[test]
    fn control_records_and_long_frames_are_refused() {
        let mut batch = Batch::default();
        batch.push(RecordKind::Tick, 0, b"");
        let mut bytes = Vec::new();
        encode(&Frame::Batch(batch), &mut bytes);
        assert_eq!(decode(&bytes), Err(DecodeError::Body(4)));
        assert!(matches!(decode(&[0xff; 8]), Err(DecodeError::TooLong(_))));
    }
}
