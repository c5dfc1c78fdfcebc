//! The one seam to the disk. [`OsFs`] is a thin pass-through; tests put a faulty disk behind it.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Existing file, reads only.
    Read,
    /// Existing file, reads and writes.
    ReadWrite,
    /// New file (error when there is one of that name), reads and writes, mode 0600.
    CreateNew,
}

/// An open file. All methods may be called from several threads.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `pos` (bytes from the file's start).
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<()>;
    /// Writes all of `slices`, back to back, at `pos`.
    fn write_slices_at(&self, slices: &mut [IoSlice<'_>], pos: u64) -> io::Result<()> {
        let mut at = pos;
        for slice in slices {
            self.write_at(slice, at)?;
            at += slice.len() as u64;
        }
        Ok(())
    }
    /// Reads up to `out.len()` bytes at `pos`; fewer only at the end of the file.
    fn read_at(&self, out: &mut [u8], pos: u64) -> io::Result<usize>;
    /// fdatasync: when it returns `Ok`, all writes before it survive power loss.
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves disk space for the first `len` bytes and makes the file at least that long.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The calls the journal makes on a file system. Paths are inside the journal's own folder.
pub trait Fs: Send + Sync {
    /// Creates the folder and its parents, mode 0700 for new ones.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file; never follows a symbolic link in the last component.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;
    /// Renames within the folder, replacing a file of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in the folder survive power loss.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names of the entries of the folder, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Room on the folder's file system.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// Takes the folder's exclusive lock; it lasts as long as the returned value. `WouldBlock` when
    /// another process holds it. Without `create` nothing is changed, and a missing file is
    /// `NotFound`.
    fn lock(&self, path: &Path, create: bool) -> io::Result<Box<dyn Send + Sync>>;
}

/// What the kernel takes in one call (`IOV_MAX`).
const IO_SLICES_MAX: usize = 1024;

/// Room on a file system, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// What an unprivileged process may still allocate.
    pub available: u64,
    /// Its size.
    pub total: u64,
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

struct OsFile(std::fs::File);

impl File for OsFile {
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, pos)
    }

    fn write_slices_at(&self, slices: &mut [IoSlice<'_>], pos: u64) -> io::Result<()> {
        let (mut rest, mut at) = (slices, pos);
        while !rest.is_empty() {
            let some = rest.len().min(IO_SLICES_MAX);
            match rustix::io::pwritev(&self.0, &rest[..some], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(done) => {
                    at += done as u64;
                    IoSlice::advance_slices(&mut rest, done);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, out: &mut [u8], pos: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < out.len() {
            match self.0.read_at(&mut out[done..], pos + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Not every file system can reserve; the zeros written next do it there.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                if self.0.metadata()?.len() < len { self.0.set_len(len) } else { Ok(()) }
            }
            Err(e) => Err(e.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl Fs for OsFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(dir)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600).custom_flags(no_follow());
        match access {
            Access::Read => {}
            Access::ReadWrite => {
                options.write(true);
            }
            Access::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let space = rustix::fs::statvfs(dir)?;
        Ok(Space {
            available: space.f_bavail.saturating_mul(space.f_frsize),
            // What the file system keeps for others was never ours.
            total: space
                .f_blocks
                .saturating_sub(space.f_bfree.saturating_sub(space.f_bavail))
                .saturating_mul(space.f_frsize),
        })
    }

    fn lock(&self, path: &Path, create: bool) -> io::Result<Box<dyn Send + Sync>> {
        let mut options = OpenOptions::new();
        options.read(true);
        if create {
            options.write(true).create(true).truncate(false).mode(0o600);
        }
        let file = options.custom_flags(no_follow()).open(path)?;
        file.try_lock().map_err(|e| match e {
            std::fs::TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            std::fs::TryLockError::Error(e) => e,
        })?;
        Ok(Box::new(file))
    }
}

/// `O_NOFOLLOW | O_CLOEXEC`: a planted symbolic link must not redirect the journal.
fn no_follow() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC).bits() as i32
}

/// Replaces a small file whole: temporary file, sync, rename, sync of the folder.
pub(crate) fn replace(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let tmp = dir.join(format!("{name}.tmp"));
    match fs.unlink(&tmp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = fs.open(&tmp, Access::CreateNew)?;
    let written = file.write_at(bytes, 0).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Give back what a full disk let us take.
        let _ = fs.unlink(&tmp);
        return Err(error);
    }
    fs.rename(&tmp, &dir.join(name))?;
    fs.sync_dir(dir)
}

/// Whether an error says that there is no room (disk or quota).
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_private_links_are_refused_and_the_lock_is_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = OsFs.open(&path, Access::CreateNew).unwrap();
        file.write_at(b"hello", 3).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut out = [9; 16];
        assert_eq!(file.read_at(&mut out, 0).unwrap(), 8);
        assert_eq!(&out[..8], b"\0\0\0hello");
        assert!(OsFs.open(&path, Access::CreateNew).is_err());
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(OsFs.open(&dir.path().join("link"), Access::Read).is_err());
        let held = OsFs.lock(&dir.path().join("LOCK"), true).unwrap();
        let second = OsFs.lock(&dir.path().join("LOCK"), true).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(OsFs.lock(&dir.path().join("LOCK"), true).is_ok());
        let space = OsFs.space(dir.path()).unwrap();
        assert!(space.available > 0 && space.available <= space.total);
        let (a, b) = ([1u8; 3], [2u8; 2]);
        let mut many: Vec<_> =
            (0..3000).map(|i| IoSlice::new(if i == 1 { &b } else { &a })).collect();
        file.write_slices_at(&mut many, 5).unwrap();
        assert_eq!(file.len().unwrap(), 5 + 3000 * 3 - 1);
        file.read_at(&mut out, 7).unwrap();
        assert_eq!(out[..4], [1, 2, 2, 1]);
    }
}
