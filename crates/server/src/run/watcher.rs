//! Rules, packs and tables that change while the server runs.

use detect::Changed;
use notify::{RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Editors write files in several steps: a change counts once it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(50);

/// Changes that never rest count nevertheless after so long.
const RESTLESS: Duration = Duration::from_secs(2);

/// More files than this are not named one by one.
const NAMED_MAX: usize = 1_024;

/// Most links on the way to a file.
const LINKS_MAX: usize = 40;

/// Watches folders.
pub struct Watcher {
    seen: Arc<Seen>,
    ways: Arc<Ways>,
    /// Folders that are watched, without those of rules and packs.
    folders: BTreeSet<PathBuf>,
    watcher: Option<notify::RecommendedWatcher>,
}

/// What changed and was not told yet.
#[derive(Default)]
struct Seen {
    changed: Mutex<Option<Changed>>,
    bell: Notify,
}

impl Watcher {
    /// Starts watching `paths`, with all below them, and single `files`, also behind links; what cannot
    /// be watched is read again on request only.
    pub fn new(paths: &[PathBuf], files: &[PathBuf]) -> Self {
        let (seen, named) = (Arc::new(Seen::default()), Named::of(paths));
        let ways = Arc::new(Ways::of(files));
        let (told, on_the_way) = (seen.clone(), ways.clone());
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|e| e.kind.is_access()) {
                return;
            }
            let event = event.ok();
            let files = on_the_way.files_of(event.as_ref());
            match named.of_event(event) {
                // Another file beside one that is watched.
                Changed::Files(below) if below.is_empty() && files.is_empty() => {}
                Changed::Files(below) => told.add(Changed::Files([below, files].concat())),
                Changed::Anything => told.add(Changed::Anything),
            }
        });
        let watcher = made.ok();
        let mut watcher = Self { seen, ways, folders: BTreeSet::new(), watcher };
        watcher.follow();
        // A folder is watched in one way only: that of rules wins, it comes last.
        for path in paths {
            watcher.watch(path, RecursiveMode::Recursive);
        }
        watcher
    }

    /// Watches these single files from now on, instead of those before.
    pub fn watch_files(&mut self, files: &[PathBuf]) {
        if self.ways.name(files) {
            self.follow();
        }
    }

    /// Watches the folders that lie on the ways to the files as links are now. Tables are replaced by
    /// renaming, which a watch of the file itself would not outlive.
    fn follow(&mut self) {
        for folder in self.ways.look() {
            if self.folders.insert(folder.clone()) {
                self.watch(&folder, RecursiveMode::NonRecursive);
            }
        }
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) {
        if let Some(Err(error)) = self.watcher.as_mut().map(|watcher| watcher.watch(path, mode)) {
            tracing::warn!(path = %path.display(), %error, "a folder is not watched for changes");
        }
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
        // Before it is told: what changes from here on behind a new link is seen.
        self.follow();
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

/// The ways to single files: each link that is followed to one, and what is found at the end.
struct Ways {
    files: Mutex<Vec<PathBuf>>,
    /// Absolute paths, without links before the last part, beside the file they lead to.
    steps: Mutex<Vec<(PathBuf, PathBuf)>>,
}

impl Ways {
    fn of(files: &[PathBuf]) -> Self {
        Self { files: Mutex::new(files.to_vec()), steps: Mutex::default() }
    }

    /// Names other files. Out: whether they are others.
    fn name(&self, files: &[PathBuf]) -> bool {
        let mut named = self.files.lock();
        let differs = *named != files;
        if differs {
            *named = files.to_vec();
        }
        differs
    }

    /// Finds the ways as they are now, and gives the folders in which their steps are.
    fn look(&self) -> BTreeSet<PathBuf> {
        let files = self.files.lock().clone();
        let steps: Vec<_> =
            files.iter().flat_map(|f| way_to(f).into_iter().map(|s| (s, f.clone()))).collect();
        let folders = steps.iter().filter_map(|(step, _)| step.parent());
        let folders = folders.map(Path::to_path_buf).collect();
        *self.steps.lock() = steps;
        folders
    }

    /// The files that mean something else when this has changed.
    fn files_of(&self, event: Option<&notify::Event>) -> Vec<PathBuf> {
        let steps = self.steps.lock();
        let changed = event.into_iter().flat_map(|event| &event.paths);
        let files = changed.flat_map(|p| steps.iter().filter(move |(step, _)| step == p));
        files.map(|(_, file)| file.clone()).collect()
    }
}

/// The links on the way to a file, in their order, and what is at its end, there or not.
fn way_to(file: &Path) -> Vec<PathBuf> {
    let mut steps = Vec::new();
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let mut rest: Vec<PathBuf> = parts(&absolute);
    let mut at = PathBuf::new();
    while let Some(part) = rest.pop() {
        match part.components().next() {
            Some(Component::ParentDir) => drop(at.pop()),
            _ => at.push(part),
        }
        if let Ok(target) = std::fs::read_link(&at)
            && steps.len() < LINKS_MAX
        {
            steps.push(at.clone());
            at.pop();
            rest.extend(parts(&target));
        }
    }
    steps.push(at);
    steps
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect()
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

    /// Scenario: tables behind links: a link to a file elsewhere, whose target is replaced; one below a
    /// link to a folder that is swapped, as secrets are mounted, twice; files beside them change.
    /// Guarantees: each time the table is named as configured, also behind a link that is new; the
    /// others never.
    #[tokio::test]
    async fn a_table_behind_links_is_seen_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, at("new")).unwrap();
            std::fs::rename(at("new"), at(name)).unwrap();
        };
        for folder in ["etc", "lib", "etc/..1", "etc/..2", "etc/..3"] {
            std::fs::create_dir(at(folder)).unwrap();
            std::fs::write(at(folder).join("people.csv"), folder).unwrap();
        }
        link("../lib/geo.mmdb", "etc/geo.mmdb");
        link("..1", "etc/..data");
        std::fs::remove_file(at("etc/people.csv")).unwrap();
        link("..data/people.csv", "etc/people.csv");
        let (geo, people) = (at("etc/geo.mmdb"), at("etc/people.csv"));
        let mut watcher = Watcher::new(&[], &[geo.clone(), people.clone()]);
        for text in ["1", "2"] {
            std::fs::write(at("lib/new"), text).unwrap();
            std::fs::rename(at("lib/new"), at("lib/geo.mmdb")).unwrap();
            assert_eq!(next(&mut watcher).await, Some(Changed::Files(vec![geo.clone()])));
        }
        for folder in ["..2", "..3"] {
            link(folder, "etc/..data");
            assert_eq!(next(&mut watcher).await, Some(Changed::Files(vec![people.clone()])));
            std::fs::write(at("etc").join(folder).join("people.csv"), "x").unwrap();
            assert_eq!(next(&mut watcher).await, Some(Changed::Files(vec![people.clone()])));
        }
        std::fs::write(at("lib/other"), "x").unwrap();
        std::fs::write(at("etc/other"), "x").unwrap();
        let idle = tokio::time::timeout(Duration::from_millis(300), watcher.changed()).await;
        assert!(idle.is_err(), "{idle:?}");
    }

    /// Scenario: other files are to be watched than at the start, in a folder that was not watched; then both the
    /// new one and the one before change.
    /// Guarantees: the new one is told, the one before is not.
    #[tokio::test]
    async fn other_files_can_be_watched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let (one, other) = (dir.path().join("one.key"), dir.path().join("keys/other.key"));
        let mut watcher = Watcher::new(&[], std::slice::from_ref(&one));
        watcher.watch_files(std::slice::from_ref(&other));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&other, "2").unwrap();
        assert_eq!(next(&mut watcher).await, Some(Changed::Files(vec![other])));
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
