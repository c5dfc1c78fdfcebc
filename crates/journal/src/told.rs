//! `holes.told`: the damaged ranges that the stream tells of already, so that a start does not tell the
//! same loss once more. Written after the records are durable; without it they are told again.

use crate::codec::Cut;
use crate::fs::{Access, Fs, replace};
use crate::scan::Hole;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

const NAME: &str = "holes.told";
const MAGIC: &[u8; 8] = b"ALCDHOL1";
/// Ranges remembered; past it the same one may be told again. More are a disk beyond help.
const TOLD_MAX: usize = 4_096;
/// A longer file is not ours.
const FILE_BYTES_MAX: u64 = 8 + 16 * TOLD_MAX as u64 + 4;

/// First offset and end of each range that was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ToldHoles {
    ranges: BTreeMap<u64, u64>,
    changed: bool,
}

impl ToldHoles {
    /// Notes a range. False when it, or one that holds it, was noted before.
    pub(crate) fn tell(&mut self, hole: &Hole) -> bool {
        let known = self.ranges.range(..=hole.from_offset).next_back();
        if known.is_some_and(|(_, end)| *end >= hole.to_offset) {
            return false;
        }
        if self.ranges.len() >= TOLD_MAX {
            self.ranges.clear();
        }
        self.ranges.insert(hole.from_offset, hole.to_offset);
        self.changed = true;
        true
    }

    /// A copy to write, if there is anything new since the last one.
    pub(crate) fn take_changed(&mut self) -> Option<Self> {
        std::mem::take(&mut self.changed).then(|| self.clone())
    }

    /// Reads the list, without what lies before `first_offset`; an unreadable one is an empty one.
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, first_offset: u64) -> Self {
        let mut told = match Self::read_file(fs, dir) {
            Ok(told) => told,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                let path = dir.join(NAME);
                tracing::warn!(%error, ?path, "not readable: damage that is known is told again");
                Self::default()
            }
        };
        told.ranges.retain(|_, end| *end > first_offset);
        told
    }

    fn read_file(fs: &dyn Fs, dir: &Path) -> io::Result<Self> {
        let file = fs.open(&dir.join(NAME), Access::Read)?;
        let len = file.len()?;
        if len > FILE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; len as usize];
        let got = file.read_at(&mut bytes, 0)?;
        Self::decode(&bytes[..got]).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub(crate) fn write(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let mut out = MAGIC.to_vec();
        for (from, to) in &self.ranges {
            out.extend_from_slice(&from.to_le_bytes());
            out.extend_from_slice(&to.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        replace(fs, dir, NAME, &out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return None;
        }
        let mut cut = Cut::new(body.strip_prefix(MAGIC)?);
        let mut told = Self::default();
        while let Some(from) = cut.u64() {
            told.ranges.insert(from, cut.u64()?);
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::OsFs;

    #[test]
    fn a_range_is_told_once_and_again_when_it_grows() {
        let hole = |from_offset, to_offset| Hole {
            segment: String::new(),
            from_offset,
            to_offset,
            from_pos: 0,
            to_pos: 0,
        };
        let dir = tempfile::tempdir().unwrap();
        let mut told = ToldHoles::read(&OsFs, dir.path(), 0);
        assert!(told.tell(&hole(5, 9)) && !told.tell(&hole(5, 9)) && !told.tell(&hole(6, 8)));
        assert!(told.tell(&hole(5, 12)) && told.tell(&hole(20, 21)));
        let changed = told.take_changed().unwrap();
        assert_eq!(told.take_changed(), None);
        changed.write(&OsFs, dir.path()).unwrap();
        let mut read = ToldHoles::read(&OsFs, dir.path(), 15);
        assert!(read.tell(&hole(5, 9)) && !read.tell(&hole(20, 21)), "5..12 was retired");
        std::fs::write(dir.path().join(NAME), b"ALCDHOL1 and so on").unwrap();
        assert_eq!(ToldHoles::read(&OsFs, dir.path(), 0), ToldHoles::default());
    }
}
