//! The operating system's files, with a moment to interfere and an eye on readers.

use journal::{Access, File, Fs, OsFs, Space};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What happens during the next sync, once.
pub type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk during whose next sync of a file something else happens, before it is synced, and that knows
/// how far readers have looked.
#[derive(Clone, Default)]
pub struct HookedFs {
    /// What happens, during the next sync of the segment that is being written: the manifest and files that
    /// are made ready are synced whenever they please.
    pub hook: Hook,
    /// End of the furthest read of a segment that is open for reading only.
    pub read_to: Arc<AtomicU64>,
}

struct HookedFile(Arc<dyn File>, Option<Hook>, Option<Arc<AtomicU64>>);

impl File for HookedFile {
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<()> {
        self.0.write_at(bytes, pos)
    }
    fn read_at(&self, out: &mut [u8], pos: u64) -> io::Result<usize> {
        if let Some(read_to) = &self.2 {
            read_to.fetch_max(pos + out.len() as u64, Relaxed);
        }
        self.0.read_at(out, pos)
    }
    fn sync_data(&self) -> io::Result<()> {
        let hook = self.1.as_ref().and_then(|hook| hook.lock().take());
        if let Some(happens) = hook {
            happens();
        }
        self.0.sync_data()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Fs for HookedFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsFs.create_dir(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let is = |extension| path.extension().is_some_and(|own| own == extension);
        let is_read = access == Access::Read && is("wal");
        // A segment begins as a spare file that was made before.
        let is_written = access == Access::ReadWrite && (is("wal") || is("spare"));
        let (hook, read_to) = (self.hook.clone(), self.read_to.clone());
        let file = OsFs.open(path, access)?;
        Ok(Arc::new(HookedFile(file, is_written.then_some(hook), is_read.then_some(read_to))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        OsFs.unlink(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFs.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsFs.list(dir)
    }
    fn space(&self, dir: &Path) -> io::Result<Space> {
        OsFs.space(dir)
    }
    fn lock(&self, path: &Path, create: bool) -> io::Result<Box<dyn Send + Sync>> {
        OsFs.lock(path, create)
    }
}
