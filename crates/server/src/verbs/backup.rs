//! `alcedo backup` and `alcedo restore`.

use super::ask::{ask, pretty};
use super::check::config_of;
use super::{complain, is_running, output, say};
use crate::cli::store::{Backup, BackupOf};
use crate::cli::{Global, Output};
use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use store::{Store, StoreError};

/// `alcedo backup ...`
pub fn run(verb: &Backup, global: &Global) -> Outcome {
    let config = config_of(global)?;
    match verb {
        Backup::Create { to } => create(to.as_deref(), &config, global),
        Backup::Verify(of) => {
            let from = folder(of.from.as_ref(), &config)?;
            let report = store::backup::verify(&from, of.name.as_deref()).map_err(failed)?;
            for problem in &report.problems {
                complain(problem);
            }
            told("verified", &json!(report), global);
            Ok(if report.problems.is_empty() { Exit::Ok } else { Exit::Integrity })
        }
        Backup::List { from } => {
            let from = folder(from.as_ref(), &config)?;
            for name in store::backup::list(&from).map_err(failed)? {
                let at = name.parse().map(event::time::rfc3339).unwrap_or_default();
                match output(global) {
                    Output::Table => say(&format!("{name}  {at}")),
                    _ => say(&json!({"name": name, "at": at}).to_string()),
                }
            }
            Ok(Exit::Ok)
        }
    }
}

fn failed(error: StoreError) -> Failure {
    Failure::new(Exit::Integrity, error, "is it a folder of backups?")
}

fn folder(given: Option<&PathBuf>, config: &Config) -> Result<PathBuf, Failure> {
    let found = given.or(config.backup.as_ref()).cloned();
    found.ok_or_else(|| {
        let hint = "name it, or set `backup: {to: DIR}` in the configuration";
        Failure::invalid("no folder of backups is named", hint)
    })
}

fn create(to: Option<&Path>, config: &Config, global: &Global) -> Outcome {
    if global.server.is_some() || is_running(&config.data_dir) {
        if to.is_some() {
            let hint = "a running server backs up to `backup: {to: DIR}` of its configuration only; \
                        leave --to out";
            return Err(Failure::invalid("--to is for folders that no server runs on", hint));
        }
        let made = ask(global, async |c| c.post("/api/v1/backups", json!({})).await)?;
        told("backed up", &made, global);
        return Ok(Exit::Ok);
    }
    let target = folder(to.map(Path::to_path_buf).as_ref(), config)?;
    let dir = config.data_dir.join("store");
    let (store, _) = Store::open_read_only_with(&dir, config.tier.clone())
        .map_err(|e| Failure::new(Exit::Integrity, e, "is --data-dir right?"))?;
    let mut companions = || crate::run::backups::companions(&config.data_dir);
    let made = store.backup(&target, io::intake::wall_ns(), &mut companions).map_err(failed)?;
    told("backed up", &json!(made), global);
    Ok(Exit::Ok)
}

fn told(what: &str, report: &Value, global: &Global) {
    match output(global) {
        Output::Table => say(&format!(
            "{what}: {}, {} files with {} events, {} others, {} bytes, {} of them copied now",
            report["name"].as_str().unwrap_or_default(),
            report["files"],
            report["rows"],
            report["companions"],
            report["bytes"],
            report["copied_bytes"]
        )),
        form => say(&pretty(report, form)),
    }
}

/// `alcedo restore`
pub fn restore(of: &BackupOf, global: &Global) -> Outcome {
    let config = config_of(global)?;
    let from = folder(of.from.as_ref(), &config)?;
    let dir = &config.data_dir;
    let occupied = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        let message = format!("{} is not empty", dir.display());
        return Err(Failure::invalid(message, "restore into a new folder: --data-dir DIR"));
    }
    let (name, store) = (of.name.as_deref(), dir.join("store"));
    let report = store::backup::restore(&from, name, &store, dir).map_err(failed)?;
    let secret = dir.join("secret");
    if secret.is_file() {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
    }
    told("restored", &json!(report), global);
    Ok(Exit::Ok)
}
