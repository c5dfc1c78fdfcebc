//! `alcedo packs`: what is built in or added, whether its samples still hold, and a start for a new one.

use super::check::config_of;
use super::{complain, output, say};
use crate::cli::{Global, Output, Packs};
use crate::exit::{Exit, Failure, Outcome};
use crate::generation::scripts;
use serde_json::json;
use shape::{PackError, PackSet, testing};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs the verb.
pub fn run(verb: &Packs, global: &Global) -> Outcome {
    match verb {
        Packs::List { packs } => list(packs.as_ref(), global),
        Packs::Test { folders, accept } => test(folders, *accept, global),
        Packs::New { name, packs } => new(name, packs.as_ref(), global),
    }
}

fn invalid(error: PackError) -> Failure {
    Failure::invalid(error, "docs/packs.md tells what a pack may say")
}

fn load(dir: Option<&PathBuf>) -> Result<PackSet, Failure> {
    match dir {
        Some(dir) => PackSet::load_with(dir, scripts()),
        None => PackSet::builtin(),
    }
    .map_err(invalid)
}

fn list(packs: Option<&PathBuf>, global: &Global) -> Outcome {
    let configured = config_of(global)?.packs;
    let set = load(packs.or(configured.as_ref()))?;
    set.left_out().iter().for_each(|pack| complain(&pack.to_string()));
    for pack in set.list() {
        match output(global) {
            Output::Table => say(&format!("{:<24} {}", pack.name, pack.title)),
            _ => say(&json!({
                "pack": pack.name,
                "title": pack.title,
                "format": pack.format,
                "logsources": pack.logsources,
                "sigma_names": pack.sigma_names,
            })
            .to_string()),
        }
    }
    Ok(Exit::Ok)
}

/// Packs that are meant: a folder with a `pack.yaml`, or those below a folder.
fn packs_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if folder.join("pack.yaml").is_file() {
        return Ok(vec![folder.to_path_buf()]);
    }
    let entries = std::fs::read_dir(folder)
        .map_err(|e| Failure::invalid(format!("{}: {e}", folder.display()), "name a folder"))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    found.retain(|path| path.join("pack.yaml").is_file());
    found.sort();
    match found.is_empty() {
        true => {
            let message = format!("{} has no packs", folder.display());
            Err(Failure::invalid(message, "a pack is a folder with pack.yaml"))
        }
        false => Ok(found),
    }
}

fn test(folders: &[PathBuf], accept: bool, global: &Global) -> Outcome {
    let (mut passed, mut failed) = (0, 0);
    // Packs stand beside each other, the built-in ones behind them, as they will when they are used.
    let mut sets: HashMap<PathBuf, Arc<PackSet>> = HashMap::new();
    for folder in folders {
        for pack in packs_in(&folder.canonicalize().unwrap_or_else(|_| folder.clone()))? {
            let beside = pack.parent().unwrap_or(&pack).to_path_buf();
            let set = match sets.entry(beside) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let set = load(Some(new.key()))?;
                    new.insert(Arc::new(set))
                }
            };
            if accept {
                accepted(set, &pack)?;
            }
            match testing::run(set, &pack) {
                Ok(events) => passed += events,
                Err(wrong) => {
                    failed += wrong.len();
                    wrong.iter().for_each(|error| complain(&error.to_string()));
                }
            }
        }
    }
    match output(global) {
        Output::Table => say(&format!("{passed} events as expected, {failed} problems")),
        _ => say(&json!({"passed": passed, "failed": failed}).to_string()),
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::Findings })
}

/// Writes what the samples give as what they have to give.
fn accepted(set: &Arc<PackSet>, pack: &Path) -> Result<(), Failure> {
    let expected = pack.join("expected");
    std::fs::create_dir_all(&expected)?;
    for entry in std::fs::read_dir(pack.join("samples"))? {
        let sample = entry?.path();
        if sample.extension().is_none_or(|e| e != "log") {
            continue;
        }
        let events = testing::events(set, &std::fs::read(&sample)?);
        let name = sample.with_extension("json");
        std::fs::write(expected.join(name.file_name().unwrap_or_default()), events)?;
    }
    Ok(())
}

fn new(name: &str, packs: Option<&PathBuf>, global: &Global) -> Outcome {
    let configured = config_of(global)?.packs;
    let dir = packs.or(configured.as_ref()).ok_or_else(|| {
        let hint = "say --packs DIR, or set `packs: DIR` in the configuration";
        Failure::invalid("no folder of packs is named", hint)
    })?;
    std::fs::create_dir_all(dir)?;
    let folder = testing::create(dir, name).map_err(invalid)?;
    match output(global) {
        Output::Table => say(&folder.display().to_string()),
        _ => say(&json!({"folder": folder.display().to_string()}).to_string()),
    }
    complain("describe the product in pack.yaml, put real lines into samples/, then:");
    complain(&format!("  alcedo packs test --accept {}", folder.display()));
    Ok(Exit::Ok)
}
