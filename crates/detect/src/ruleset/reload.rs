//! Rule files that are read again and again: only those that have changed are parsed.

use super::kept::{LastGood, Loaded, resolve_keeping};
use super::load::{Documents, FILES_MAX, FOLDER_DEPTH_MAX, files_below, read};
use super::spread;
use crate::sigma::{Rule, RuleProblem, SigmaSettings};
use hashbrown::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::xxh3_128;

/// A file whose last change is younger than this when it is read may change again without a trace:
/// file systems tell time in steps of some ms, some of whole seconds. It is read anew next time.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// Which files may say something else than last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Changed {
    /// Any: all of them are looked at.
    #[default]
    Anything,
    /// These at most, named as below the paths that are loaded. Folders count as any.
    Files(Vec<PathBuf>),
}

/// Remembers what files said, by what the file system says of them.
#[derive(Debug, Default)]
pub struct Loader {
    roots: Vec<Root>,
    /// Folders that could not be listed.
    unlisted: Vec<RuleProblem>,
    /// Settings under which they were read; none before the first time.
    settings: Option<Option<u128>>,
    parsed: usize,
    looked_at: usize,
}

/// A file or folder that rules are loaded from.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    is_folder: bool,
    /// In the order of their paths, which is that of [`files_below`].
    files: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    path: PathBuf,
    /// None if the file may have changed since without a trace.
    stamp: Option<Stamp>,
    /// Hash of its text, if it could be read: parsing takes twenty times as long as reading, and of
    /// thousands of files that were unpacked just before a start each may have changed since.
    text: Option<u128>,
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
    ///
    /// Of named files only those are looked at, unless a folder, a link or another setting is among
    /// what changed: then all are.
    pub fn load(
        &mut self,
        paths: &[PathBuf],
        settings: &SigmaSettings,
        now: SystemTime,
        changed: &Changed,
    ) -> (Vec<Arc<Rule>>, Vec<RuleProblem>) {
        let Loaded { rules, problems, .. } =
            self.load_keeping(paths, settings, now, changed, &|_| Vec::new());
        (rules, problems)
    }

    /// As [`Loader::load`]; where an edit broke a rule, the version that `last_good` finds stays.
    pub fn load_keeping(
        &mut self,
        paths: &[PathBuf],
        settings: &SigmaSettings,
        now: SystemTime,
        changed: &Changed,
        last_good: &LastGood<'_>,
    ) -> Loaded {
        (self.parsed, self.looked_at) = (0, 0);
        let fingerprint = Some(settings.fingerprint());
        let is_known = self.settings == fingerprint && self.roots.iter().map(|r| &r.path).eq(paths);
        let by_name = match changed {
            Changed::Files(files) if is_known => self.look_at(files, settings, now),
            _ => None,
        };
        if by_name.is_none() {
            if std::mem::replace(&mut self.settings, fingerprint) != fingerprint {
                self.roots.clear();
            }
            self.look_at_all(paths, settings, now);
        }
        let mut all = Documents { problems: self.unlisted.clone(), ..Documents::default() };
        for known in self.roots.iter().flat_map(|r| &r.files) {
            all.rules.extend(known.documents.rules.iter().cloned());
            all.problems.extend(known.documents.problems.iter().cloned());
            all.refused.extend(known.documents.refused.iter().cloned());
            all.related.extend(known.documents.related.iter().cloned());
        }
        resolve_keeping(all, settings, last_good)
    }

    fn look_at_all(&mut self, paths: &[PathBuf], settings: &SigmaSettings, now: SystemTime) {
        let known = std::mem::take(&mut self.roots).into_iter().flat_map(|r| r.files);
        let known: HashMap<PathBuf, Known> = known.map(|k| (k.path.clone(), k)).collect();
        self.unlisted.clear();
        for path in paths {
            let files = files_below(std::slice::from_ref(path), &mut self.unlisted);
            let read = spread::in_order(&files, spread::threads_for(files.len()), |file| {
                read_anew(file.clone(), known.get(file), settings, now)
            });
            self.parsed += read.iter().filter(|r| r.is_parsed).count();
            let files = read.into_iter().map(|r| r.known).collect();
            self.roots.push(Root { path: path.clone(), is_folder: path.is_dir(), files });
        }
    }

    /// Looks at the named files alone. `None` when that is not enough to know what changed.
    fn look_at(
        &mut self,
        files: &[PathBuf],
        settings: &SigmaSettings,
        now: SystemTime,
    ) -> Option<()> {
        for file in files {
            for root in 0..self.roots.len() {
                if file.starts_with(&self.roots[root].path) {
                    self.look_at_one(root, file, settings, now)?;
                }
            }
        }
        Some(())
    }

    fn look_at_one(
        &mut self,
        root: usize,
        file: &Path,
        settings: &SigmaSettings,
        now: SystemTime,
    ) -> Option<()> {
        self.looked_at += 1;
        let below = file.strip_prefix(&self.roots[root].path).ok()?;
        let is = fs::symlink_metadata(file).ok();
        let files = &self.roots[root].files;
        let place = files.binary_search_by(|k| k.path.as_path().cmp(file));
        match is {
            // It has gone; a folder that has gone takes all below it along.
            None => match place {
                Ok(at) => drop(self.roots[root].files.remove(at)),
                Err(_) if files.iter().any(|k| k.path.starts_with(file)) => return None,
                Err(_) => {}
            },
            Some(is) if !is.is_file() => return None,
            Some(_) if place.is_err() && !self.roots[root].is_folder => return None,
            Some(_) if place.is_err() && !is_rule_below(below) => {}
            Some(_) if place.is_err() && self.is_full(below) => return None,
            Some(_) => {
                let before = place.ok().map(|at| self.roots[root].files[at].clone());
                let read = read_anew(file.to_path_buf(), before.as_ref(), settings, now);
                self.parsed += usize::from(read.is_parsed);
                let known = read.known;
                let files = &mut self.roots[root].files;
                match place {
                    Ok(at) => files[at] = known,
                    Err(at) => files.insert(at, known),
                }
            }
        }
        Some(())
    }

    /// Whether a further file may lie beyond what is loaded.
    fn is_full(&self, below: &Path) -> bool {
        let files: usize = self.roots.iter().map(|r| r.files.len()).sum();
        files >= FILES_MAX || below.components().count() >= FOLDER_DEPTH_MAX
    }

    /// How many files were parsed the last time.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// How many files the file system was asked about by name the last time; none if it was asked
    /// about all there are.
    pub fn looked_at(&self) -> usize {
        self.looked_at
    }
}

/// What a file says now.
struct Read {
    known: Known,
    /// Whether it had to be parsed for that.
    is_parsed: bool,
}

/// What a file says, from memory if it has not changed.
fn read_anew(
    path: PathBuf,
    before: Option<&Known>,
    settings: &SigmaSettings,
    now: SystemTime,
) -> Read {
    // Before it is read: a change in between shows next time.
    let stamp = Stamp::of(&path);
    if let Some(known) = before.filter(|k| k.stamp.is_some() && k.stamp == stamp) {
        return Read { known: known.clone(), is_parsed: false };
    }
    let said = read(&path);
    let text = said.as_ref().ok().map(|text| xxh3_128(text.as_bytes()));
    let (documents, is_parsed) = match before.filter(|k| k.text.is_some() && k.text == text) {
        Some(known) => (known.documents.clone(), false),
        None => (Documents::of_text(&Arc::new(path.clone()), said, settings), true),
    };
    let known = Known { path, stamp: stamp.filter(|s| s.is_settled(now)), text, documents };
    Read { known, is_parsed }
}

/// Whether a path below a folder of rules is one that [`files_below`] gives.
fn is_rule_below(below: &Path) -> bool {
    let is_hidden =
        |part: std::path::Component<'_>| part.as_os_str().to_string_lossy().starts_with('.');
    below.extension().is_some_and(|e| e == "yml" || e == "yaml")
        && !below.components().any(is_hidden)
}
