//! `roots.log`: one line of fixed length per sealed segment, appended, never rewritten.

use crate::codec::Cut;
use crate::fs::{Access, File, Fs};
use std::io;
use std::path::Path;
use std::sync::Arc;

pub(crate) const NAME: &str = "roots.log";
const MAGIC: u32 = u32::from_le_bytes(*b"ALSR");
const ENTRY_LEN: usize = 96;
/// 64 MiB segments for 100 TB are 1.5 M entries; a longer file is not ours.
const ENTRIES_MAX: u64 = 4 << 20;

/// A sealed segment and the root over its records. Outlives the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRoot {
    /// Random id of the segment.
    pub segment_id: u128,
    /// First offset in the segment.
    pub first_offset: u64,
    /// First offset after it.
    pub next_offset: u64,
    /// Records in it (parts of split records counted one by one).
    pub records: u64,
    /// The root the sealer returned; zeros when there was no sealer.
    pub root: [u8; 32],
    /// Wall clock at sealing, ns since 1970-01-01 UTC.
    pub sealed_wall_ns: i64,
}

impl SealedRoot {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_LEN);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        out.extend_from_slice(&self.segment_id.to_le_bytes());
        for number in [self.first_offset, self.next_offset, self.records] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.root);
        out.extend_from_slice(&self.sealed_wall_ns.to_le_bytes());
        out.resize(ENTRY_LEN - 4, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(ENTRY_LEN - 4)?;
        let mut cut = Cut::new(body);
        if crc32c::crc32c(body).to_le_bytes() != crc || cut.u32()? != MAGIC || cut.u32()? != 1 {
            return None;
        }
        Some(Self {
            segment_id: cut.u128()?,
            first_offset: cut.u64()?,
            next_offset: cut.u64()?,
            records: cut.u64()?,
            root: cut.bytes()?,
            sealed_wall_ns: cut.i64()?,
        })
    }
}

/// The log, open for appending.
pub(crate) struct SealedLog {
    file: Arc<dyn File>,
    end: u64,
}

impl SealedLog {
    /// Opens the log and returns its entries; an unfinished last entry is written over.
    /// Damaged entries in the middle are left out and counted.
    pub(crate) fn open(fs: &dyn Fs, dir: &Path) -> io::Result<(Self, Vec<SealedRoot>, u32)> {
        let path = dir.join(NAME);
        let file = match fs.open(&path, Access::ReadWrite) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs.open(&path, Access::CreateNew)?,
            other => other?,
        };
        let (entries, end, damaged) = read_entries(&*file)?;
        Ok((Self { file, end }, entries, damaged))
    }

    pub(crate) fn append(&mut self, root: &SealedRoot) -> io::Result<()> {
        self.file.write_at(&root.encode(), self.end)?;
        self.file.sync_data()?;
        self.end += ENTRY_LEN as u64;
        Ok(())
    }
}

/// The entries of the log in `dir`, oldest first; empty when there is none.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<SealedRoot>> {
    match fs.open(&dir.join(NAME), Access::Read) {
        Ok(file) => Ok(read_entries(&*file)?.0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn read_entries(file: &dyn File) -> io::Result<(Vec<SealedRoot>, u64, u32)> {
    let (mut entries, mut end, mut damaged) = (Vec::new(), 0, 0);
    let count = (file.len()? / ENTRY_LEN as u64).min(ENTRIES_MAX);
    let mut bytes = [0; ENTRY_LEN];
    let mut bad_since_good = 0;
    for number in 0..count {
        let got = file.read_at(&mut bytes, number * ENTRY_LEN as u64)?;
        match SealedRoot::decode(&bytes[..got]) {
            Some(entry) => {
                entries.push(entry);
                end = (number + 1) * ENTRY_LEN as u64;
                damaged += std::mem::take(&mut bad_since_good);
            }
            None => bad_since_good += 1,
        }
    }
    Ok((entries, end, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::OsFs;

    #[test]
    fn entries_survive_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = |n: u64| SealedRoot {
            segment_id: n.into(),
            first_offset: n,
            next_offset: n + 1,
            records: 1,
            root: [n as u8; 32],
            sealed_wall_ns: -1,
        };
        let (mut log, ..) = SealedLog::open(&OsFs, dir.path()).unwrap();
        log.append(&root(1)).unwrap();
        log.append(&root(2)).unwrap();
        let path = dir.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..150]).unwrap();
        let (mut log, found, damaged) = SealedLog::open(&OsFs, dir.path()).unwrap();
        assert_eq!((found, damaged), (vec![root(1)], 0));
        log.append(&root(3)).unwrap();
        assert_eq!(read(&OsFs, dir.path()).unwrap(), vec![root(1), root(3)]);
    }
}
