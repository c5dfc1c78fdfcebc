//! A segment file: two copies of its header, blocks, and a footer once it is sealed.

use crate::clock::Clock;
use crate::codec::Cut;
use crate::fs::File;
use std::io;

/// Bytes before the first block: two header copies of half that size, in different sectors, so one
/// bad sector does not cost the salt (and with it the whole segment).
pub(crate) const HEADER_LEN: u64 = 4096;
const COPY_LEN: usize = 2048;
const MAGIC: &[u8; 8] = b"ALCDSEG1";
const FOOTER_MAGIC: &[u8; 8] = b"ALCDFTR1";
/// Version of everything inside a segment file.
pub(crate) const VERSION: u16 = 1;
/// Flag: the file held another segment before; bytes after the last block are not zero.
const RECYCLED: u16 = 1;
/// One index entry per this many bytes: a search inside a segment reads at most this much in vain.
pub(crate) const INDEX_STEP_BYTES: u64 = 64 * 1024;
const INDEX_ENTRY_LEN: u64 = 32;
const FOOTER_FIXED_LEN: u64 = 128;
/// The largest block (a quarter of the segment and its envelopes) has to fit; tests use it.
pub(crate) const SEGMENT_SIZE_MIN: u64 = 256 * 1024;
/// Positions stay within 30 bits and one segment can be read into memory by tools.
pub(crate) const SEGMENT_SIZE_MAX: u64 = 1 << 30;
/// Build id written to each header.
const WRITER: &str = concat!("alcedo ", env!("CARGO_PKG_VERSION"));

/// What a segment's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    pub(crate) id: u128,
    /// Goes into every checksum: blocks of another life of this file never validate.
    pub(crate) salt: u64,
    /// Stands in every block header and is secret: event bytes cannot hold a valid block.
    pub(crate) seg_tag: u64,
    pub(crate) first_offset: u64,
    pub(crate) created_wall_ns: i64,
    pub(crate) size: u64,
    pub(crate) footer_pos: u64,
    pub(crate) recycled: bool,
}

/// Where the footer of a segment of `size` bytes stands.
pub(crate) fn footer_pos(size: u64) -> u64 {
    let room = (size / INDEX_STEP_BYTES + 2) * INDEX_ENTRY_LEN + FOOTER_FIXED_LEN;
    (size - room) & !4095
}

impl SegmentHead {
    /// A head with fresh random id, salt and tag.
    pub(crate) fn fresh(
        chance: &dyn Clock,
        first: u64,
        wall_ns: i64,
        size: u64,
        recycled: bool,
    ) -> io::Result<Self> {
        let mut random = [0u8; 32];
        chance.random(&mut random)?;
        let mut cut = Cut::new(&random);
        let missing = || io::Error::other("no random bytes");
        Ok(Self {
            id: cut.u128().ok_or_else(missing)?,
            salt: cut.u64().ok_or_else(missing)?,
            seg_tag: cut.u64().ok_or_else(missing)?,
            first_offset: first,
            created_wall_ns: wall_ns,
            size,
            footer_pos: footer_pos(size),
            recycled,
        })
    }

    /// Both copies, ready to be written at 0.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER_LEN as usize);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&(u16::from(self.recycled) * RECYCLED).to_le_bytes());
        copy.extend_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        copy.extend_from_slice(&self.id.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.seg_tag.to_le_bytes());
        copy.extend_from_slice(&self.first_offset.to_le_bytes());
        copy.extend_from_slice(&self.created_wall_ns.to_le_bytes());
        copy.extend_from_slice(&self.size.to_le_bytes());
        copy.extend_from_slice(&self.footer_pos.to_le_bytes());
        copy.extend_from_slice(WRITER.as_bytes());
        copy.resize(COPY_LEN - 4, 0);
        let crc = crc32c::crc32c(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        copy.extend_from_within(..);
        copy
    }

    fn decode_copy(copy: &[u8]) -> Option<Self> {
        let (body, crc) = copy.split_at_checked(COPY_LEN - 4)?;
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return None;
        }
        let mut cut = Cut::new(body);
        if cut.take(8)? != MAGIC || cut.u16()? != VERSION {
            return None;
        }
        let flags = cut.u16()?;
        let header_len = cut.u32()?;
        let head = Self {
            id: cut.u128()?,
            salt: cut.u64()?,
            seg_tag: cut.u64()?,
            first_offset: cut.u64()?,
            created_wall_ns: cut.i64()?,
            size: cut.u64()?,
            footer_pos: cut.u64()?,
            recycled: flags & RECYCLED != 0,
        };
        let sane = u64::from(header_len) == HEADER_LEN
            && (SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&head.size)
            && head.footer_pos == footer_pos(head.size);
        sane.then_some(head)
    }

    /// Reads the header; the flag says that one of the two copies is damaged.
    pub(crate) fn read(file: &dyn File) -> io::Result<Option<(Self, bool)>> {
        let mut bytes = vec![0; HEADER_LEN as usize];
        let len = file.read_at(&mut bytes, 0)?;
        bytes.truncate(len);
        let first = bytes.get(..COPY_LEN).and_then(Self::decode_copy);
        let second = bytes.get(COPY_LEN..).and_then(Self::decode_copy);
        let damaged = first != second;
        Ok(first.or(second).map(|head| (head, damaged)))
    }

    /// What the first block of the segment chains to.
    pub(crate) fn chain_start(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.salt.to_le_bytes()), &self.id.to_le_bytes())
    }

    /// Bytes there are for blocks.
    pub(crate) fn data_len(size: u64) -> u64 {
        footer_pos(size) - HEADER_LEN
    }
}

/// One step of the sparse index: the block at `pos` starts with `first_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) pos: u64,
    pub(crate) first_offset: u64,
    pub(crate) wall_ns: i64,
    pub(crate) stream_ns: i64,
}

/// What is known of a segment that gets no more blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) first_offset: u64,
    pub(crate) next_offset: u64,
    pub(crate) records: u64,
    pub(crate) blocks: u64,
    /// End of the last block.
    pub(crate) end_pos: u64,
    pub(crate) wall_min_ns: i64,
    pub(crate) wall_max_ns: i64,
    pub(crate) last_stream_ns: i64,
    pub(crate) root: Option<[u8; 32]>,
    pub(crate) index: Vec<IndexEntry>,
}

impl Footer {
    /// The footer's bytes, to be written at the head's `footer_pos`.
    pub(crate) fn encode(&self, salt: u64) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(FOOTER_MAGIC);
        out.extend_from_slice(&(self.index.len() as u32).to_le_bytes());
        out.extend_from_slice(&u32::from(self.root.is_some()).to_le_bytes());
        for number in [self.first_offset, self.next_offset, self.records, self.blocks, self.end_pos]
        {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [self.wall_min_ns, self.wall_max_ns, self.last_stream_ns] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        out.extend_from_slice(&self.root.unwrap_or_default());
        for entry in &self.index {
            out.extend_from_slice(&entry.pos.to_le_bytes());
            out.extend_from_slice(&entry.first_offset.to_le_bytes());
            out.extend_from_slice(&entry.wall_ns.to_le_bytes());
            out.extend_from_slice(&entry.stream_ns.to_le_bytes());
        }
        let crc = salted_crc(salt, &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(salt: u64, bytes: &[u8]) -> Option<Self> {
        let mut cut = Cut::new(bytes);
        if cut.take(8)? != FOOTER_MAGIC {
            return None;
        }
        let (entries, rooted) = (cut.u32()?, cut.u32()?);
        let mut footer = Self {
            first_offset: cut.u64()?,
            next_offset: cut.u64()?,
            records: cut.u64()?,
            blocks: cut.u64()?,
            end_pos: cut.u64()?,
            wall_min_ns: cut.i64()?,
            wall_max_ns: cut.i64()?,
            last_stream_ns: cut.i64()?,
            root: cut.bytes::<32>().filter(|_| rooted == 1),
            index: Vec::new(),
        };
        if u64::from(entries) * INDEX_ENTRY_LEN > bytes.len() as u64 {
            return None;
        }
        // The root is 32 bytes whether set or not; `bytes` above has moved past them.
        for _ in 0..entries {
            let (pos, first_offset) = (cut.u64()?, cut.u64()?);
            let (wall_ns, stream_ns) = (cut.i64()?, cut.i64()?);
            footer.index.push(IndexEntry { pos, first_offset, wall_ns, stream_ns });
        }
        let body = &bytes[..cut.at()];
        (cut.u32()? == salted_crc(salt, body)).then_some(footer)
    }

    /// The footer, when the segment has a valid one.
    pub(crate) fn read(file: &dyn File, head: &SegmentHead) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; (head.size - head.footer_pos) as usize];
        let len = file.read_at(&mut bytes, head.footer_pos)?;
        Ok(Self::decode(head.salt, &bytes[..len]))
    }
}

fn salted_crc(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// File name of the segment that starts with `first_offset`.
pub(crate) fn segment_name(first_offset: u64) -> String {
    format!("{first_offset:020}.wal")
}

/// The first offset in a segment's file name, if it is one.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|d| d.len() == 20)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_survives_one_bad_copy_and_footer_round_trips() {
        let head = SegmentHead::fresh(&crate::OsClock, 77, -5, 1 << 20, true).unwrap();
        let mut bytes = head.encode();
        assert_eq!(bytes.len() as u64, HEADER_LEN);
        assert_eq!(SegmentHead::decode_copy(&bytes[..2048]), Some(head.clone()));
        bytes[40] ^= 1;
        assert_eq!(SegmentHead::decode_copy(&bytes[..2048]), None);
        assert_eq!(SegmentHead::decode_copy(&bytes[2048..]), Some(head.clone()));
        let entry = IndexEntry { pos: 4096, first_offset: 77, wall_ns: 1, stream_ns: 2 };
        for root in [None, Some([7; 32])] {
            let footer =
                Footer { next_offset: 99, root, index: vec![entry; 3], ..Footer::default() };
            let bytes = footer.encode(head.salt);
            assert_eq!(Footer::decode(head.salt, &bytes), Some(footer));
            assert_eq!(Footer::decode(head.salt ^ 1, &bytes), None);
            for i in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[i / 8] ^= 1 << (i % 8);
                assert_eq!(Footer::decode(head.salt, &flipped), None);
            }
        }
    }

    #[test]
    fn a_full_index_fits_before_the_end_of_the_file() {
        for size in [SEGMENT_SIZE_MIN, 300_000, 1 << 20, 64 << 20, SEGMENT_SIZE_MAX] {
            let steps = size / INDEX_STEP_BYTES + 1;
            assert!(footer_pos(size) + FOOTER_FIXED_LEN + steps * INDEX_ENTRY_LEN <= size);
            assert!(footer_pos(size) > HEADER_LEN);
        }
    }

    #[test]
    fn only_own_names_are_segments() {
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(u64::MAX));
        for wrong in ["1.wal", "99999999999999999999.wal", "+0000000000000000001.wal", "x"] {
            assert_eq!(parse_segment_name(wrong), None, "{wrong}");
        }
    }
}
