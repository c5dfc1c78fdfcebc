//! The manifest: pointers, cursors and counters in two slots; the newer valid one counts.

use crate::codec::Cut;
use crate::fs::{Access, File, Fs};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Length of a slot. 256 cursors with names of 64 bytes take 19 KiB, so 4 KiB would not do; a slot
/// is written in place and never grows, so writing it cannot fail for want of space.
pub(crate) const SLOT_LEN: usize = 32 * 1024;
/// The most cursors; each consumer has one.
pub const CURSORS_MAX: usize = 256;
/// The longest name of a cursor, bytes.
pub const CURSOR_NAME_BYTES_MAX: usize = 64;
const MAGIC: &[u8; 8] = b"ALCDMAN1";
const VERSION: u16 = 1;
const NAMES: [&str; 2] = ["MANIFEST.a", "MANIFEST.b"];

/// The contents of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) generation: u64,
    pub(crate) journal_id: u128,
    /// The journal was closed after this was written, and nothing came after.
    pub(crate) clean: bool,
    /// Segments that start below are retired; what is left of them is removed at start.
    pub(crate) retired_below: u64,
    /// All offsets below were synced when this was written.
    pub(crate) durable_next: u64,
    pub(crate) last_stream_ns: i64,
    pub(crate) opens: u64,
    pub(crate) crashes: u64,
    pub(crate) torn_bytes: u64,
    pub(crate) cursors: BTreeMap<String, u64>,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u16::from(self.clean).to_le_bytes());
        out.extend_from_slice(&(self.cursors.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.journal_id.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.retired_below.to_le_bytes());
        out.extend_from_slice(&self.durable_next.to_le_bytes());
        out.extend_from_slice(&self.last_stream_ns.to_le_bytes());
        for counter in [self.opens, self.crashes, self.torn_bytes] {
            out.extend_from_slice(&counter.to_le_bytes());
        }
        for (name, next_offset) in &self.cursors {
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&next_offset.to_le_bytes());
        }
        out.resize(SLOT_LEN - 4, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(SLOT_LEN - 4)?;
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return None;
        }
        let mut cut = Cut::new(body);
        if cut.take(8)? != MAGIC || cut.u16()? != VERSION {
            return None;
        }
        let clean = cut.u16()? == 1;
        let count = cut.u32()?;
        let mut manifest = Self {
            clean,
            journal_id: cut.u128()?,
            generation: cut.u64()?,
            retired_below: cut.u64()?,
            durable_next: cut.u64()?,
            last_stream_ns: cut.i64()?,
            opens: cut.u64()?,
            crashes: cut.u64()?,
            torn_bytes: cut.u64()?,
            cursors: BTreeMap::new(),
        };
        for _ in 0..count {
            let len = usize::from(cut.u8()?);
            let name = std::str::from_utf8(cut.take(len)?).ok()?.to_owned();
            manifest.cursors.insert(name, cut.u64()?);
        }
        Some(manifest)
    }
}

/// Reads both slots: the newest valid one, and how many files were there but not valid.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<(Option<Manifest>, u32)> {
    let (mut best, mut damaged) = (None::<Manifest>, 0);
    for name in NAMES {
        let file = match fs.open(&dir.join(name), Access::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let mut bytes = vec![0; SLOT_LEN];
        let len = file.read_at(&mut bytes, 0)?;
        match Manifest::decode(&bytes[..len]) {
            Some(found) => {
                if best.as_ref().is_none_or(|b| b.generation < found.generation) {
                    best = Some(found);
                }
            }
            None => damaged += 1,
        }
    }
    Ok((best, damaged))
}

/// The two slots, open for writing.
pub(crate) struct Slots {
    files: [Arc<dyn File>; 2],
    pub(crate) current: Manifest,
}

impl Slots {
    /// Opens the slots, making them if need be; the caller syncs the folder.
    pub(crate) fn open(fs: &dyn Fs, dir: &Path, current: Manifest) -> io::Result<Self> {
        let open = |name: &str| -> io::Result<Arc<dyn File>> {
            let path: PathBuf = dir.join(name);
            match fs.open(&path, Access::ReadWrite) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    let file = fs.open(&path, Access::CreateNew)?;
                    file.allocate(SLOT_LEN as u64)?;
                    Ok(file)
                }
                other => other,
            }
        };
        Ok(Self { files: [open(NAMES[0])?, open(NAMES[1])?], current })
    }

    /// Makes `next` durable over the older slot. On error the older contents still count.
    pub(crate) fn write(&mut self, mut next: Manifest) -> io::Result<()> {
        // Odd generations live in a, even ones in b: the slot written is never the newest one.
        next.generation = self.current.generation + 1;
        let file = &self.files[usize::from(next.generation.is_multiple_of(2))];
        file.write_at(&next.encode(), 0)?;
        file.sync_data()?;
        self.current = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::OsFs;

    #[test]
    fn the_newer_slot_counts_and_a_torn_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut slots = Slots::open(&OsFs, dir.path(), Manifest::default()).unwrap();
        let mut next = Manifest { journal_id: 7, ..Manifest::default() };
        for i in 0..CURSORS_MAX {
            next.cursors.insert(format!("{i:0>CURSOR_NAME_BYTES_MAX$}"), u64::MAX - i as u64);
        }
        slots.write(next.clone()).unwrap();
        next.durable_next = 5;
        slots.write(next.clone()).unwrap();
        next.generation = 2;
        assert_eq!(read(&OsFs, dir.path()).unwrap(), (Some(next.clone()), 0));
        for at in [0, 8, 100, 20_000, SLOT_LEN as u64 - 1] {
            let before = std::fs::read(dir.path().join("MANIFEST.b")).unwrap();
            let mut broken = before.clone();
            broken[at as usize] ^= 4;
            std::fs::write(dir.path().join("MANIFEST.b"), &broken).unwrap();
            let (found, damaged) = read(&OsFs, dir.path()).unwrap();
            assert_eq!((found.unwrap().durable_next, damaged), (0, 1));
            std::fs::write(dir.path().join("MANIFEST.b"), &before).unwrap();
        }
    }
}
