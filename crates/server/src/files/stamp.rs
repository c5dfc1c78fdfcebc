//! Which version of a file it is, told without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// A file that changed so shortly before it was read may change again without a trace: file systems count time
/// in steps.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// Device, inode, length and time of the last change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    place: (u64, u64),
    len_bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file of which this is known.
    pub fn of(is: &Metadata) -> Self {
        let changed = (is.ctime(), is.ctime_nsec());
        Self { place: (is.dev(), is.ino()), len_bytes: is.len(), changed }
    }

    /// Whether the same stamp will mean the same bytes.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.changed.0 < now.saturating_sub(SETTLED_AFTER).as_secs() as i64
    }
}
