//! `alcedo backup` and `alcedo restore`.

use super::ask::{ask, pretty};
use super::check::config_of;
use super::{complain, is_running, output, say};
use crate::cli::store::{Backup, BackupOf};
use crate::cli::{Global, Output};
use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};
use serde_json::{Value, json};
use std::path::Path;
use store::backup::Place;
use store::{Store, StoreError, TierOptions};

/// `alcedo backup ...`
pub fn run(verb: &Backup, global: &Global) -> Outcome {
    let config = config_of(global)?;
    match verb {
        Backup::Create { to } => create(to.as_deref(), &config, global),
        Backup::Verify(of) => {
            let from = place(of.from.as_deref(), &config)?;
            let report = store::backup::verify(&from, of.name.as_deref()).map_err(failed)?;
            for problem in &report.problems {
                complain(problem);
            }
            told("verified", &json!(report), global);
            Ok(if report.problems.is_empty() { Exit::Ok } else { Exit::Integrity })
        }
        Backup::Prune { keep, from, dry_run } => prune(*keep, from.as_deref(), *dry_run, global),
        Backup::List { from } => {
            let from = place(from.as_deref(), &config)?;
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
    let hint = match error {
        StoreError::Far { .. } | StoreError::Tier { .. } => {
            "`backup: {to: ..., endpoint: ..., credentials: ...}` of the configuration says how to get \
             there: -c FILE"
        }
        StoreError::NoBackup { name: Some(_), .. } => "`alcedo backup list` has their names",
        StoreError::NoBackup { name: None, .. } => {
            "is this the place that `backup create` was given, and is it mounted? -c FILE or --from PLACE \
             says which"
        }
        _ => "is it a place of backups?",
    };
    let exit = match error {
        StoreError::NoBackup { .. } => Exit::Invalid,
        _ => Exit::Integrity,
    };
    Failure::new(exit, error, hint)
}

/// The place that is named, reached as the configuration says, or that of the configuration.
fn place(given: Option<&str>, config: &Config) -> Result<Place, Failure> {
    let Some(given) = given else {
        return config.backup.clone().ok_or_else(|| {
            let hint = "name it, or set `backup: {to: ...}` in the configuration";
            Failure::invalid("no place of backups is named", hint)
        });
    };
    let settings = match &config.backup {
        Some(Place::Bucket(settings)) => settings.clone(),
        _ => TierOptions::new(""),
    };
    Ok(Place::of(TierOptions { to: given.into(), ..settings }, Path::new("")))
}

fn create(to: Option<&str>, config: &Config, global: &Global) -> Outcome {
    if global.server.is_some() || is_running(&config.data_dir) {
        if to.is_some() {
            let hint = "a running server backs up to `backup: {to: ...}` of its configuration only; \
                        leave --to out";
            return Err(Failure::invalid("--to is for folders that no server runs on", hint));
        }
        let made = ask(global, async |c| c.post("/api/v1/backups", json!({})).await)?;
        told("backed up", &made, global);
        return Ok(Exit::Ok);
    }
    let target = place(to, config)?;
    let dir = config.data_dir.join("store");
    let (store, _) = Store::open_read_only_with(&dir, config.tier.clone())
        .map_err(|e| Failure::new(Exit::Integrity, e, "is --data-dir right?"))?;
    let mut companions = || crate::run::backups::companions(&config.data_dir);
    let made = store.backup(&target, io::intake::wall_ns(), &mut companions).map_err(failed)?;
    told("backed up", &json!(made), global);
    Ok(Exit::Ok)
}

fn prune(keep: u32, from: Option<&str>, dry_run: bool, global: &Global) -> Outcome {
    let config = config_of(global)?;
    let asks = from.is_none() && (global.server.is_some() || is_running(&config.data_dir));
    let pruned = match asks {
        true => {
            let body = json!({"keep": keep, "dry_run": dry_run});
            ask(global, async |c| c.post("/api/v1/backups/prune", body).await)?
        }
        false => {
            let place = place(from, &config)?;
            json!(store::backup::prune(&place, keep as usize, dry_run).map_err(failed)?)
        }
    };
    match output(global) {
        Output::Table => {
            let count = |name: &str| pruned[name].as_array().map_or(0, Vec::len);
            let verb = if dry_run { "would go" } else { "went" };
            say(&format!(
                "{} backups {verb}, {} stay; {} objects of {} bytes that only they needed",
                count("removed"),
                count("kept"),
                pruned["objects"],
                pruned["bytes"]
            ));
        }
        form => say(&pretty(&pruned, form)),
    }
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
    let from = place(of.from.as_deref(), &config)?;
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
