//! The one seam to the disk. [`OsFs`] is a thin pass-through; tests put a faulty disk behind it.

use std::fs::OpenOptions;
use std::io;
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
    /// Bytes an unprivileged process may still allocate on the folder's file system.
    fn available_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Takes the folder's exclusive lock; it lasts as long as the returned value.
    /// `WouldBlock` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

struct OsFile(std::fs::File);

impl File for OsFile {
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, pos)
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

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(dir)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).custom_flags(no_follow()).open(path)?;
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
        let held = OsFs.lock(&dir.path().join("LOCK")).unwrap();
        let second = OsFs.lock(&dir.path().join("LOCK")).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(OsFs.lock(&dir.path().join("LOCK")).is_ok());
        assert!(OsFs.available_bytes(dir.path()).unwrap() > 0);
    }
}
