//! Folders of rules and packs that change while the server runs.

use notify::{RecursiveMode, Watcher as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// Editors write files in several steps: a change counts once it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(200);

/// Watches folders.
pub struct Watcher {
    changes: mpsc::Receiver<()>,
    /// Something changed and was not told yet.
    seen: bool,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watcher {
    /// Starts watching; folders that cannot be watched are read again on request only.
    pub fn new(paths: &[PathBuf]) -> Self {
        let (tell, changes) = mpsc::channel(1);
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let touched = event.is_ok_and(|e| !e.kind.is_access());
            if touched {
                // One waiting change stands for all of them.
                let _ = tell.try_send(());
            }
        });
        let watcher = made.ok().map(|mut watcher| {
            for path in paths {
                if let Err(error) = watcher.watch(path, RecursiveMode::Recursive) {
                    tracing::warn!(path = %path.display(), %error, "a folder is not watched for changes");
                }
            }
            watcher
        });
        Self { changes, seen: false, _watcher: watcher }
    }

    /// Returns after something changed and has been quiet for a moment. May be dropped and called
    /// again at any time: a change that was seen stays seen.
    pub async fn changed(&mut self) {
        if !self.seen && self.changes.recv().await.is_none() {
            // Nothing is watched: never.
            std::future::pending::<()>().await;
        }
        self.seen = true;
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.changes.recv()).await {}
        self.seen = false;
    }
}
