//! Rules, packs and tables that change while the server runs.

use detect::Changed;
use notify::{RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Editors write files in several steps: a change counts once it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(50);

/// Changes that never rest count nevertheless after so long.
const RESTLESS: Duration = Duration::from_secs(2);

/// More files than this are not named one by one.
const NAMED_MAX: usize = 1_024;

/// Watches folders.
pub struct Watcher {
    seen: Arc<Seen>,
    _watcher: Option<notify::RecommendedWatcher>,
}

/// What changed and was not told yet.
#[derive(Default)]
struct Seen {
    changed: Mutex<Option<Changed>>,
    bell: Notify,
}

impl Watcher {
    /// Starts watching `paths`, with all below them, and single `files`; what cannot be watched is read
    /// again on request only.
    pub fn new(paths: &[PathBuf], files: &[PathBuf]) -> Self {
        let seen = Arc::new(Seen::default());
        let (told, named) = (seen.clone(), Named::of(&[paths, files].concat()));
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|e| e.kind.is_access()) {
                return;
            }
            match named.of_event(event.ok()) {
                // Another file beside one that is watched.
                Changed::Files(files) if files.is_empty() => {}
                changed => told.add(changed),
            }
        });
        // Tables are replaced by renaming, which a watch of the file itself would not outlive.
        let folder = |file: &PathBuf| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let folders: BTreeSet<PathBuf> = files.iter().map(folder).collect();
        let deep = paths.iter().map(|path| (path.clone(), RecursiveMode::Recursive));
        let flat = folders.into_iter().map(|path| (path, RecursiveMode::NonRecursive));
        // A folder is watched in one way only: that of rules wins, it comes last.
        let all: Vec<_> = flat.chain(deep).collect();

        let watcher = made.ok().map(|mut watcher| {
            for (path, mode) in &all {
                if let Err(error) = watcher.watch(path, *mode) {
                    tracing::warn!(path = %path.display(), %error, "a folder is not watched for changes");
                }
            }
            watcher
        });
        Self { seen, _watcher: watcher }
    }

    /// Returns after something changed and has been quiet for a moment, with what it was. May be
    /// dropped and called again at any time: a change that was seen stays seen.
    pub async fn changed(&mut self) -> Changed {
        while self.seen.changed.lock().is_none() {
            // Where nothing is watched, this is for ever.
            self.seen.bell.notified().await;
        }
        let calm =
            async { while tokio::time::timeout(QUIET, self.seen.bell.notified()).await.is_ok() {} };
        let _ = tokio::time::timeout(RESTLESS, calm).await;
        self.seen.changed.lock().take().unwrap_or_default()
    }
}

impl Seen {
    fn add(&self, more: Changed) {
        let mut changed = self.changed.lock();
        *changed = Some(match (changed.take(), more) {
            (None, more) => more,
            (Some(Changed::Files(mut files)), Changed::Files(more)) => {
                files.extend(more);
                let files: BTreeSet<PathBuf> = files.into_iter().collect();
                match files.len() <= NAMED_MAX {
                    true => Changed::Files(files.into_iter().collect()),
                    false => Changed::Anything,
                }
            }
            _ => Changed::Anything,
        });
        drop(changed);
        self.bell.notify_one();
    }
}

/// Watched paths as they are configured, beside their absolute form, in which changes are told.
struct Named(Vec<(PathBuf, PathBuf)>);

impl Named {
    fn of(paths: &[PathBuf]) -> Self {
        let absolute = |p: &PathBuf| std::path::absolute(p).unwrap_or_else(|_| p.clone());
        Self(paths.iter().map(|p| (absolute(p), p.clone())).collect())
    }

    /// What an event says has changed; without one something was missed.
    fn of_event(&self, event: Option<notify::Event>) -> Changed {
        match event {
            Some(event) if !event.need_rescan() && !event.paths.is_empty() => {
                Changed::Files(event.paths.iter().flat_map(|p| self.names(p)).collect())
            }
            _ => Changed::Anything,
        }
    }

    fn names<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        self.0.iter().filter_map(|(absolute, given)| {
            let below = path.strip_prefix(absolute).ok()?;
            Some(if below.as_os_str().is_empty() { given.clone() } else { given.join(below) })
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    async fn next(watcher: &mut Watcher) -> Option<Changed> {
        tokio::time::timeout(Duration::from_secs(10), watcher.changed()).await.ok()
    }

    /// Scenario: in a watched folder a file is written, one is renamed over it, and the waiting is
    /// dropped and begun again in between.
    /// Guarantees: the files are named as they lie below the configured path, once each; nothing
    /// seen is lost.
    #[tokio::test]
    async fn changed_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new(&[dir.path().to_path_buf()], &[]);
        let (rule, new) = (dir.path().join("a.yml"), dir.path().join("new"));
        std::fs::write(&rule, "title: a").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), watcher.changed()).await.is_err());
        assert_eq!(next(&mut watcher).await, Some(Changed::Files(vec![rule.clone()])));
        std::fs::write(&new, "title: b").unwrap();
        std::fs::rename(&new, &rule).unwrap();
        assert_eq!(next(&mut watcher).await, Some(Changed::Files(vec![rule, new])));
        let idle = tokio::time::timeout(Duration::from_millis(300), watcher.changed()).await;
        assert!(idle.is_err(), "{idle:?}");
    }

    /// Scenario: a table is written, then another put in its place by renaming; files beside it change.
    /// Guarantees: the table is named each time, the others never.
    #[tokio::test]
    async fn a_table_is_seen_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (table, other) = (dir.path().join("people.csv"), dir.path().join("other"));
        let mut watcher = Watcher::new(&[], std::slice::from_ref(&table));
        for text in ["user", "user,mail", "user,mail,id"] {
            std::fs::write(&other, text).unwrap();
            std::fs::rename(&other, &table).unwrap();
            assert_eq!(next(&mut watcher).await, Some(Changed::Files(vec![table.clone()])));
        }
        std::fs::write(&other, "x").unwrap();
        let idle = tokio::time::timeout(Duration::from_millis(300), watcher.changed()).await;
        assert!(idle.is_err(), "{idle:?}");
    }

    /// Scenario: more files than are named one by one; an event was lost.
    /// Guarantees: everything is to be looked at.
    #[test]
    fn what_cannot_be_named_is_anything() {
        let seen = Seen::default();
        for n in 0..=NAMED_MAX {
            seen.add(Changed::Files(vec![PathBuf::from(n.to_string())]));
        }
        assert_eq!(*seen.changed.lock(), Some(Changed::Anything));
        assert_eq!(Named::of(&[]).of_event(None), Changed::Anything);
        let lost = notify::Event::default().set_flag(notify::event::Flag::Rescan);
        assert_eq!(Named::of(&[]).of_event(Some(lost)), Changed::Anything);
    }

    /// Scenario: a path is configured relative to the working folder.
    /// Guarantees: changes are named as the loader names files below it.
    #[test]
    fn names_are_those_of_the_configuration() {
        let named = Named::of(&[PathBuf::from("rules"), PathBuf::from("rules/own")]);
        let path = std::path::absolute("rules/own/a.yml").unwrap();
        let twice = vec![PathBuf::from("rules/own/a.yml"); 2];
        assert_eq!(named.names(&path).collect::<Vec<_>>(), twice);
    }
}
