//! A data file in the far tier: its end is here, the rest comes in pieces.

use crate::cells::{CELL_BYTES, Cells};
use crate::checks::FooterSum;
use crate::error::StoreError;
use crate::far::Far;
use crate::manifest::FileEntry;
use parking_lot::Mutex;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a far file is.
pub(crate) struct FarFile {
    /// None: the configuration names no far tier any more.
    far: Option<Arc<Far>>,
    object: Arc<str>,
    size: u64,
    sha256: String,
    tail: PathBuf,
    /// Its end as the manifest knows it: what is fetched if the end got lost here.
    footer: Option<FooterSum>,
    /// The end where it cannot be written here.
    held: Mutex<Option<Arc<End>>>,
}

/// A file's end, at hand.
enum End {
    File(fs::File),
    Bytes(Vec<u8>),
}

impl End {
    fn len(&self) -> std::io::Result<u64> {
        match self {
            End::File(file) => Ok(file.metadata()?.len()),
            End::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read(&self, out: &mut [u8], at: u64) -> std::io::Result<()> {
        match self {
            End::File(file) => file.read_exact_at(out, at),
            End::Bytes(bytes) => {
                let part = bytes.get(at as usize..).and_then(|rest| rest.get(..out.len()));
                out.copy_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

impl FarFile {
    /// None for a file that is not in the far tier.
    pub(crate) fn of(entry: &FileEntry, path: &Path, far: Option<&Arc<Far>>) -> Option<Self> {
        let copy = entry.far.as_ref()?;
        Some(Self {
            far: far.cloned(),
            object: copy.object.as_str().into(),
            size: entry.size_bytes,
            sha256: entry.sha256.clone(),
            tail: tail_path(path),
            footer: entry.footer,
            held: Mutex::new(None),
        })
    }

    fn error(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Far { object: self.object.to_string(), reason: reason.into() }
    }

    fn client(&self) -> Result<&Arc<Far>, StoreError> {
        self.far.as_ref().ok_or_else(|| {
            self.error("the configuration names no far tier: `tier: {to: ...}` says where it is")
        })
    }

    /// A reader with nothing fetched yet.
    pub(crate) fn reader(self: &Arc<Self>) -> Result<Arc<FarReader>, StoreError> {
        let end = self.end()?;
        let len = end.len().map_err(StoreError::io("reading", &self.tail))?;
        let (end, len) = match (self.size - self.footer_at()..=self.size).contains(&len) {
            true => (end, len),
            false => (self.fetch_end()?, self.size - self.footer_at()),
        };
        let base = self.size - len;
        let (end_at, cells) = (AtomicU64::new(base), Mutex::new(Cells::new()));
        Ok(Arc::new(FarReader { file: self.clone(), end, base, end_at, cells }))
    }

    fn footer_at(&self) -> u64 {
        self.footer.map_or(0, |footer| footer.at.min(self.size))
    }

    fn end(&self) -> Result<Arc<End>, StoreError> {
        if let Some(held) = &*self.held.lock() {
            return Ok(held.clone());
        }
        match fs::File::open(&self.tail) {
            Ok(file) => Ok(Arc::new(End::File(file))),
            Err(_) => self.fetch_end(),
        }
    }

    /// Whether the end is here and another than the manifest says.
    pub(crate) fn has_damaged_end(&self) -> bool {
        let (Some(footer), Ok(bytes)) = (self.footer, fs::read(&self.tail)) else { return false };
        let from = bytes.len().checked_sub((self.size - self.footer_at()) as usize);
        from.is_none_or(|from| crc32c::crc32c(&bytes[from..]) != footer.crc32c)
    }

    /// Takes the end from the far tier: it got lost or damaged here.
    pub(crate) fn mend_end(&self) -> Result<(), StoreError> {
        self.fetch_end().map(drop)
    }

    fn fetch_end(&self) -> Result<Arc<End>, StoreError> {
        let (far, range) = (self.client()?, self.footer_at()..self.size);
        // What is wrong may be so on the way only.
        for _ in 0..2 {
            let cells = far.cells(&self.object, self.size, std::slice::from_ref(&range));
            let cells = cells.map_err(|e| e.of(&self.object))?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            copy_out(&cells, range.start, &mut bytes)
                .ok_or_else(|| self.error("its end is short"))?;
            if self.footer.is_none_or(|footer| crc32c::crc32c(&bytes) == footer.crc32c) {
                return Ok(self.keep_end(far, bytes));
            }
            far.forget(&self.object, &range);
        }
        Err(self.error("its end is not the one that was written"))
    }

    /// Writes the end here; where nothing is to be written, or can, it is in memory.
    fn keep_end(&self, far: &Far, bytes: Vec<u8>) -> Arc<End> {
        let written = match far.looks_only.load(Ordering::Relaxed) {
            true => false,
            false => write_tail(&self.tail, &bytes)
                .inspect_err(|error| tracing::warn!(%error, "a far file's end is in memory only"))
                .is_ok(),
        };
        let end = Arc::new(End::Bytes(bytes));
        *self.held.lock() = (!written).then(|| end.clone());
        end
    }

    /// Writes the whole file to `to`, compared with what the manifest says.
    pub(crate) fn recall(&self, to: &Path) -> Result<(), StoreError> {
        // Never through a link, nor into what somebody else has open; a crash may have left a piece.
        match fs::remove_file(to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("removing", to)(error));
            }
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(to).map_err(StoreError::io("creating", to))?;
        let mut written = Ok(());
        let found = self.client()?.whole(&self.object, self.size, &mut |bytes| {
            written = file.write_all(bytes);
            match &written {
                Ok(()) => Ok(()),
                Err(_) => Err(std::io::Error::other("the local disk")),
            }
        });
        written.map_err(StoreError::io("writing", to))?;
        file.sync_all().map_err(StoreError::io("syncing", to))?;
        match found.map_err(|e| e.of(&self.object))? == self.sha256 {
            true => Ok(()),
            false => Err(self.error("its SHA-256 is not the listed one")),
        }
    }

    /// Size of the object; none if it is not there.
    pub(crate) fn size_there(&self) -> Result<Option<u64>, StoreError> {
        self.client()?.size(&self.object).map_err(|e| e.of(&self.object))
    }
}

/// A far file while some of its rows are read.
pub(crate) struct FarReader {
    file: Arc<FarFile>,
    end: Arc<End>,
    /// Where the end begins that is at hand.
    base: u64,
    /// From where on it is believed.
    end_at: AtomicU64,
    /// What this read has fetched: it must not depend on the cache being large enough.
    cells: Mutex<Cells>,
}

impl FarReader {
    /// Bytes from here on are at hand.
    pub(crate) fn end_at(&self) -> u64 {
        self.end_at.load(Ordering::Relaxed)
    }

    /// Fills `out` with bytes of the end, from `start` on.
    pub(crate) fn read_end(&self, out: &mut [u8], start: u64) -> std::io::Result<()> {
        match out.is_empty() {
            true => Ok(()),
            false => self.end.read(out, start.saturating_sub(self.base)),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.file.size
    }

    /// Fetches all that `ranges` need, together. Ranges are widened to whole blocks of checksums.
    pub(crate) fn prefetch(&self, ranges: &[Range<u64>], block: u64) -> Result<(), StoreError> {
        let wide = ranges.iter().map(|range| {
            range.start / block * block..range.end.next_multiple_of(block).min(self.end_at())
        });
        let wide: Vec<_> = wide.collect();
        let cells = self.file.client()?.cells(&self.file.object, self.file.size, &wide);
        self.cells.lock().extend(cells.map_err(|e| e.of(&self.file.object))?);
        Ok(())
    }

    /// Fills `out` with the bytes from `start` on.
    pub(crate) fn read(&self, out: &mut [u8], start: u64) -> Result<(), StoreError> {
        if out.is_empty() || copy_out(&self.cells.lock(), start, out).is_some() {
            return Ok(());
        }
        let range = start..start + out.len() as u64;
        self.prefetch(std::slice::from_ref(&range), 1)?;
        let copied = copy_out(&self.cells.lock(), start, out);
        copied.ok_or_else(|| self.file.error("it is shorter than listed"))
    }

    /// Forgets bytes that were wrong, with the blocks they are in, and does not believe the checksums
    /// of blocks that are here any more.
    pub(crate) fn forget(&self, range: Range<u64>, block: u64) {
        self.end_at.fetch_max(self.file.footer_at(), Ordering::Relaxed);
        let wide = range.start / block * block..range.end.next_multiple_of(block);
        let numbers = wide.start / CELL_BYTES..=wide.end / CELL_BYTES;
        self.cells.lock().retain(|number, _| !numbers.contains(number));
        if let Some(far) = &self.file.far {
            far.forget(&self.file.object, &wide);
        }
    }
}

/// Nothing if not all of them are there.
fn copy_out(cells: &Cells, start: u64, out: &mut [u8]) -> Option<()> {
    let mut done = 0;
    while done < out.len() {
        let at = start + done as u64;
        let cell = cells.get(&(at / CELL_BYTES))?;
        let from = cell.get((at % CELL_BYTES) as usize..).filter(|rest| !rest.is_empty())?;
        let len = from.len().min(out.len() - done);
        out[done..done + len].copy_from_slice(&from[..len]);
        done += len;
    }
    Some(())
}

/// Where the end of a far file is.
pub(crate) fn tail_path(data: &Path) -> PathBuf {
    data.with_extension("tail")
}

/// Makes a file's end durable under its name.
pub(crate) fn write_tail(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // Two searches may mend one end at a time.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let tmp = path.with_extension(format!("tail.{number}.tmp"));
    let written = fs::write(&tmp, bytes).map_err(StoreError::io("writing", &tmp));
    let placed = written
        .and_then(|()| crate::manifest::sync_file(&tmp))
        .and_then(|()| fs::rename(&tmp, path).map_err(StoreError::io("renaming", &tmp)));
    if placed.is_err() {
        let _ = fs::remove_file(&tmp);
    }
    placed?;
    path.parent().map_or(Ok(()), crate::manifest::sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: several threads write one end again and again, of different length.
    /// Guarantees: whoever reads it finds one of them whole; no piece stays.
    #[test]
    fn an_end_that_two_write_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tail");
        write_tail(&path, &[9; 70_000]).unwrap();
        std::thread::scope(|scope| {
            for n in 1..5_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..30 {
                        write_tail(path, &vec![n; 50_000 * usize::from(n)]).unwrap();
                        let found = fs::read(path).unwrap();
                        let whole = found.iter().all(|byte| *byte == found[0]);
                        assert!(whole && found.len() == 50_000 * usize::from(found[0]));
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
