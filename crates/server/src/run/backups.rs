//! What of a data folder goes into a backup beside the store, and how a running server makes one.

use super::App;
use super::background::Background;
use crate::api::problem::Problem;
use crate::exit::Failure;
use axum::http::StatusCode;
use serde_json::json;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use store::backup::{BackupReport, Companion, Pruned};

/// Folders of the journal's streams. The ledger first: what it tells of is then in the data.
const STREAMS: [&str; 2] = ["ledger", "data"];
/// Files of a stream beside its segments; older than the segments they are as after a crash.
const STREAM_FILES: [&str; 4] = ["MANIFEST.a", "MANIFEST.b", "senders.snap", "roots.log"];

/// Everything that a new data folder needs to go on, in the order in which it has to be copied: what
/// comes first refers only to what comes later. The archive of generations comes last: records of the
/// data name what is in it. What it says of records that are not in the copy, a start forgets. Left out
/// are what is made anew (the ledger's index) and the token for verbs on this host.
pub fn companions(data_dir: &Path) -> Result<Vec<Companion>, StoreError> {
    let mut out = Vec::new();
    let mut add = |name: String, grows| {
        let path = data_dir.join(&name);
        if path.is_file() {
            out.push(Companion { name, path, grows });
        }
    };
    add("secret".into(), false);
    add("config.digests.json".into(), true);
    add("detect/snapshot".into(), true);
    for path in files(&data_dir.join("generations"), "json")? {
        // The lists grow, each generation's text stays.
        let name = name_of(&path);
        let grows = matches!(&*name, "switches.json" | "remembered.json" | "paused.json");
        add(format!("generations/{name}"), grows);
    }
    for stream in STREAMS {
        for name in STREAM_FILES {
            add(format!("{stream}/{name}"), true);
        }
        let mut segments = files(&data_dir.join(stream), "wal")?;
        segments.sort();
        for (age, path) in segments.iter().rev().enumerate() {
            add(format!("{stream}/{}", name_of(path)), age == 0);
        }
    }
    add(format!("generations/{}", super::texts::FILE), true);
    Ok(out)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn files(dir: &Path, ending: &str) -> Result<Vec<PathBuf>, StoreError> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |source| StoreError::Io { action: "listing", path: dir.to_path_buf(), source };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension() == Some(OsStr::new(ending)) {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

impl App {
    /// Adds a backup to the configured folder or bucket. One at a time.
    pub fn back_up(&self) -> Result<BackupReport, Problem> {
        let target = self.config.backup.as_ref().ok_or_else(|| {
            let detail = "no place for backups is configured: set `backup: {to: ...}` to a folder or \
                          s3://BUCKET/PREFIX";
            Problem::new(StatusCode::CONFLICT, detail)
        })?;
        let _alone = self.backing_up.try_lock().ok_or_else(|| {
            Problem::new(StatusCode::CONFLICT, "a backup is being made; wait for it")
        })?;
        let mut companions = || companions(&self.config.data_dir);
        let begun = self.store.begin_backup(target, &mut companions);
        // No segment may go while they are copied; what takes hours was copied before.
        let streams = [&self.journal, &self.ledger_stream];
        streams.iter().for_each(|stream| stream.set_hold(Some(0)));
        let now_ns = io::intake::wall_ns();
        let made = begun.and_then(|run| run.finish(now_ns, &mut companions));
        streams.iter().for_each(|stream| stream.set_hold(None));
        let made = made.map_err(failed)?;
        let path = self.config.data_dir.join(LAST);
        let text = json!({"at_ns": now_ns, "name": made.name}).to_string();
        if let Err(error) = super::generations::write_synced(&path, text.as_bytes()) {
            tracing::warn!(?error, "when the last backup was made is not known after a restart");
        }
        Ok(made)
    }

    /// Lets old backups go, while none is made.
    pub fn prune_backups(&self, keep: usize, dry_run: bool) -> Result<Pruned, Problem> {
        let target = self.config.backup.as_ref().ok_or_else(|| {
            Problem::new(StatusCode::CONFLICT, "no place for backups is configured")
        })?;
        let _alone = self.backing_up.try_lock().ok_or_else(|| {
            Problem::new(StatusCode::CONFLICT, "a backup is being made; wait for it")
        })?;
        store::backup::prune(target, keep, dry_run).map_err(failed)
    }
}

fn failed(error: StoreError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// In the data folder: when the last backup was made.
const LAST: &str = "backup.json";
/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// After one that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(600);

fn last_ns(data_dir: &Path) -> i64 {
    let text = std::fs::read(data_dir.join(LAST)).unwrap_or_default();
    let last: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    last["at_ns"].as_i64().unwrap_or(0)
}

/// Starts the thread that makes backups by itself; none without `backup: {every: ...}`.
pub fn start(app: &Arc<App>) -> Result<Option<Background>, Failure> {
    let Some(every_ns) = app.config.backups.every_ns else { return Ok(None) };
    let app = app.clone();
    let thread = Background::start_behind("backups", move |running| {
        while running.goes_on() {
            let due_ns = last_ns(&app.config.data_dir).saturating_add(every_ns);
            if io::intake::wall_ns() < due_ns {
                running.rest(LOOK_EVERY);
                continue;
            }
            let made = app.back_up().and_then(|made| {
                let detail = format!("{} files, {} bytes", made.files, made.bytes);
                app.audit("alcedo", "backup.create", &made.name, &detail);
                let keep = app.config.backups.keep;
                keep.map(|keep| app.prune_backups(keep, false)).transpose()
            });
            if !running.goes_on() {
                // One that was cut with us is no problem.
                break;
            }
            match made {
                Ok(pruned) => {
                    app.set_problem("backup", None);
                    let removed = pruned.map(|pruned| pruned.removed).unwrap_or_default();
                    if !removed.is_empty() {
                        app.audit("alcedo", "backup.prune", &removed.join(" "), "");
                    }
                }
                Err(problem) => {
                    let told = format!("the backup that was due failed: {}", problem.detail);
                    app.set_problem("backup", Some(told));
                    let place = app.config.backup.as_ref().map(ToString::to_string);
                    let place = place.unwrap_or_default();
                    app.audit("alcedo", "backup.failed", &place, &problem.detail);
                    running.rest(REST_AFTER_FAILURE);
                }
            }
        }
    });
    thread.map(Some)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Scenario: a data folder with one of everything.
    /// Guarantees: what refers to something is copied before it: marks of the journal before its records,
    /// the newest of them first, the ledger before the data, and these before the generations they name.
    #[test]
    fn what_refers_is_copied_before_what_it_refers_to() {
        let dir = tempfile::tempdir().unwrap();
        let order = [
            "secret",
            "detect/snapshot",
            "generations/remembered.json",
            "ledger/MANIFEST.a",
            "ledger/0.wal",
            "data/MANIFEST.a",
            "data/1.wal",
            "data/0.wal",
            "generations/archive.ndjson",
        ];
        for name in order {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let found = companions(dir.path()).unwrap();
        assert_eq!(found.iter().map(|c| &*c.name).collect::<Vec<_>>(), order);
        let fixed = found.iter().filter(|c| !c.grows).map(|c| &*c.name);
        assert_eq!(fixed.collect::<Vec<_>>(), ["secret", "data/0.wal"]);
    }
}
