//! Which sender's sequence numbers are stored already, so that repeats can be dropped.

use crate::block::Block;
use crate::codec::Cut;
use crate::fs::{Access, Fs};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// The most senders remembered; past it, those silent for longest are forgotten.
const PRODUCERS_MAX: usize = 1 << 20;
const MAGIC: &[u8; 8] = b"ALCDPRD1";
const NAME: &str = "producers.snap";
const ENTRY_LEN: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    epoch: u64,
    seq: u64,
    /// Offset of the record with that number: how long the sender has been silent.
    offset: u64,
}

/// The table; it holds durable records only. The map's hasher is keyed: ids come from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    table: HashMap<u128, Last>,
    /// Records below this offset are included.
    pub(crate) covers: u64,
}

impl Producers {
    pub(crate) fn last(&self, id: u128) -> Option<(u64, u64)> {
        self.table.get(&id).map(|l| (l.epoch, l.seq))
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn set(&mut self, id: u128, epoch: u64, seq: u64, offset: u64) {
        let last = self.table.entry(id).or_insert(Last { epoch, seq, offset });
        if last.epoch != epoch || last.seq <= seq {
            *last = Last { epoch, seq, offset };
        }
        if self.table.len() > PRODUCERS_MAX {
            self.forget_oldest();
        }
    }

    /// Drops an eighth, so that the sort is paid once per many inserts.
    fn forget_oldest(&mut self) {
        let mut offsets: Vec<u64> = self.table.values().map(|l| l.offset).collect();
        let eighth = offsets.len() / 8;
        let (_, &mut cut, _) = offsets.select_nth_unstable(eighth);
        self.table.retain(|_, last| last.offset > cut);
    }

    /// Takes in a block read at recovery.
    pub(crate) fn learn(&mut self, block: &Block) {
        for record in block.records() {
            if let Some(p) = record.producer
                && !record.continued
                && record.offset >= self.covers
            {
                self.set(p.id, p.epoch, p.base_seq, record.offset);
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.table.len() * ENTRY_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.covers.to_le_bytes());
        out.extend_from_slice(&(self.table.len() as u64).to_le_bytes());
        for (id, last) in &self.table {
            out.extend_from_slice(&id.to_le_bytes());
            for number in [last.epoch, last.seq, last.offset] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return None;
        }
        let mut cut = Cut::new(body);
        if cut.take(8)? != MAGIC {
            return None;
        }
        let (covers, count) = (cut.u64()?, cut.u64()?);
        let mut table = HashMap::new();
        for _ in 0..count {
            let id = cut.u128()?;
            table.insert(id, Last { epoch: cut.u64()?, seq: cut.u64()?, offset: cut.u64()? });
        }
        Some(Self { table, covers })
    }

    /// Reads the snapshot; `None` when there is none or it is damaged (then all blocks are read).
    pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Option<Self>> {
        let file = match fs.open(&dir.join(NAME), Access::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let max = (64 + 2 * PRODUCERS_MAX * ENTRY_LEN) as u64;
        let len = file.len()?;
        if len > max {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        let got = file.read_at(&mut bytes, 0)?;
        Ok(Self::decode(&bytes[..got]))
    }

    /// Replaces the snapshot: temporary file, sync, rename, sync of the folder.
    pub(crate) fn write(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let tmp = dir.join("producers.tmp");
        match fs.unlink(&tmp) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = fs.open(&tmp, Access::CreateNew)?;
        file.write_at(&self.encode(), 0)?;
        file.sync_data()?;
        fs.rename(&tmp, &dir.join(NAME))?;
        fs.sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::OsFs;

    #[test]
    fn snapshot_round_trips_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Producers::read(&OsFs, dir.path()).unwrap().is_none());
        let mut producers = Producers { covers: 9, ..Producers::default() };
        for id in 0..50u128 {
            producers.set(id << 70, 3, id as u64, 4);
        }
        producers.set(0, 3, 7, 5);
        producers.set(0, 3, 2, 6);
        assert_eq!(producers.last(0), Some((3, 7)));
        producers.set(0, 4, 1, 7);
        assert_eq!(producers.last(0), Some((4, 1)));
        producers.write(&OsFs, dir.path()).unwrap();
        producers.write(&OsFs, dir.path()).unwrap();
        let read = Producers::read(&OsFs, dir.path()).unwrap().unwrap();
        assert_eq!((read.covers, &read.table), (9, &producers.table));
        let mut bytes = producers.encode();
        bytes[60] ^= 1;
        assert!(Producers::decode(&bytes).is_none());
        assert!(Producers::decode(&[]).is_none());
    }

    #[test]
    fn the_longest_silent_are_forgotten_first() {
        let mut producers = Producers::default();
        for id in 0..800 {
            producers.set(id, 1, 1, id as u64);
        }
        producers.forget_oldest();
        assert_eq!(producers.len(), 699);
        assert!(producers.last(100).is_none() && producers.last(101).is_some());
    }
}
