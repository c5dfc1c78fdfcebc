//! A data file in the far tier: its end is here, the rest comes in pieces.

use crate::cells::{CELL_BYTES, Cells};
use crate::error::StoreError;
use crate::far::Far;
use crate::manifest::FileEntry;
use parking_lot::Mutex;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a far file is.
pub(crate) struct FarFile {
    /// None: the configuration names no far tier any more.
    far: Option<Arc<Far>>,
    object: Arc<str>,
    size: u64,
    sha256: String,
    tail: PathBuf,
    /// Where its end begins as the manifest knows it: what is fetched if the end got lost here.
    footer_at: u64,
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
            footer_at: entry.footer.map_or(0, |footer| footer.at),
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
        let len = match fs::metadata(&self.tail) {
            Ok(meta) => meta.len(),
            Err(_) => self.fetch_tail()?,
        };
        let tail_at = self.size.checked_sub(len);
        let tail_at = tail_at.ok_or_else(|| StoreError::file(&self.tail, "it is too long"))?;
        Ok(Arc::new(FarReader { file: self.clone(), tail_at, cells: Mutex::new(Cells::new()) }))
    }

    /// The end got lost on the local disk; what the manifest says of it is compared by who reads it.
    fn fetch_tail(&self) -> Result<u64, StoreError> {
        let range = self.footer_at..self.size;
        let cells = self.client()?.cells(&self.object, self.size, std::slice::from_ref(&range));
        let cells = cells.map_err(|e| e.of(&self.object))?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        copy_out(&cells, range.start, &mut bytes).ok_or_else(|| self.error("its end is short"))?;
        write_tail(&self.tail, &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Writes the whole file to `to`, compared with what the manifest says.
    pub(crate) fn recall(&self, to: &Path) -> Result<(), StoreError> {
        let mut file = fs::File::create(to).map_err(StoreError::io("creating", to))?;
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
    tail_at: u64,
    /// What this read has fetched: it must not depend on the cache being large enough.
    cells: Mutex<Cells>,
}

impl FarReader {
    pub(crate) fn tail(&self) -> &Path {
        &self.file.tail
    }

    /// Bytes from here on are in the tail.
    pub(crate) fn tail_at(&self) -> u64 {
        self.tail_at
    }

    pub(crate) fn size(&self) -> u64 {
        self.file.size
    }

    /// Fetches all that `ranges` need, together. Ranges are widened to whole blocks of checksums.
    pub(crate) fn prefetch(&self, ranges: &[Range<u64>], block: u64) -> Result<(), StoreError> {
        let wide = ranges.iter().map(|range| {
            range.start / block * block..range.end.next_multiple_of(block).min(self.tail_at)
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

    /// Forgets bytes that were wrong, with the blocks they are in.
    pub(crate) fn forget(&self, range: Range<u64>, block: u64) {
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
    let tmp = path.with_extension("tail.tmp");
    fs::write(&tmp, bytes).map_err(StoreError::io("writing", &tmp))?;
    crate::manifest::sync_file(&tmp)?;
    fs::rename(&tmp, path).map_err(StoreError::io("renaming", &tmp))?;
    path.parent().map_or(Ok(()), crate::manifest::sync_folder)
}
