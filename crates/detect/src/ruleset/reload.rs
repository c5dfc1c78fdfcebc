//! Rule files that are read again and again: only those that have changed are parsed.

use super::load::{Documents, files_below, resolve};
use crate::sigma::{Rule, RuleProblem, SigmaSettings};
use hashbrown::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A file whose last change is younger than this when it is read may change again without a trace:
/// file systems tell time in steps of some ms, some of whole seconds. It is read anew next time.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// Remembers what files said, by what the file system says of them.
#[derive(Debug, Default)]
pub struct Loader {
    files: HashMap<PathBuf, Known>,
    /// Settings under which they were read.
    settings: Option<u128>,
    parsed: usize,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    documents: Documents,
}

/// Changes whenever a file's content does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let is = fs::metadata(path).ok()?;
        Some(Self {
            inode: (is.dev(), is.ino()),
            bytes: is.len(),
            modified: (is.mtime(), is.mtime_nsec()),
            changed: (is.ctime(), is.ctime_nsec()),
        })
    }

    /// Whether a later change would show.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest = self.modified.0.max(self.changed.0);
        now.as_secs() as i64 > latest.saturating_add(SETTLED_AFTER.as_secs() as i64)
    }
}

impl Loader {
    /// As [`super::load_paths_with`]; rules that are the same as last time are the very same ones.
    /// `now` is the clock of the file system, which tells what may still be in the making.
    pub fn load(
        &mut self,
        paths: &[PathBuf],
        settings: &SigmaSettings,
        now: SystemTime,
    ) -> (Vec<Arc<Rule>>, Vec<RuleProblem>) {
        let fingerprint = settings.fingerprint();
        if std::mem::replace(&mut self.settings, fingerprint) != fingerprint {
            self.files.clear();
        }
        self.parsed = 0;
        let mut all = Documents::default();
        let mut before = std::mem::take(&mut self.files);
        for path in files_below(paths, &mut all.problems) {
            // Before it is read: a change in between shows next time.
            let stamp = Stamp::of(&path);
            let known = before.remove(&path).filter(|k| stamp.as_ref() == Some(&k.stamp));
            let documents = match known {
                Some(known) => known.documents,
                None => {
                    self.parsed += 1;
                    Documents::of_file(&Arc::new(path.clone()), settings)
                }
            };
            all.append(documents.clone());
            if let Some(stamp) = stamp.filter(|s| s.is_settled(now)) {
                self.files.insert(path, Known { stamp, documents });
            }
        }
        resolve(all, settings)
    }

    /// How many files were parsed the last time.
    pub fn parsed(&self) -> usize {
        self.parsed
    }
}
