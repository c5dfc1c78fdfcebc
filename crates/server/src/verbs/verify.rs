//! `alcedo verify`: is what is stored what was stored? Offline.

use super::journal::failed;
use super::say;
use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};
use crate::run::upkeep::leaf_of;
use ledger::Front;
use std::path::Path;
use trust::Frontier;

/// Checks both streams of the journal with their sealed roots, and the store's files; of those in the
/// far tier the sizes only, unless `far_bytes` are to be read.
pub fn run(config: &Config, far_bytes: bool) -> Outcome {
    let data_dir = &config.data_dir;
    let mut sound = true;
    for stream in super::journal::STREAMS {
        sound &= stream_is_sound(&data_dir.join(stream), stream)?;
    }
    sound &= ledger_begins_in_order(&data_dir.join("ledger"))?;
    let failed = |e: store::StoreError| Failure::new(Exit::Integrity, e, "is --data-dir right?");
    let dir = data_dir.join("store");
    let opened = store::Store::open_read_only_with(&dir, config.tier.clone());
    let (store, opened) = opened.map_err(failed)?;
    let report = store.verify_with(far_bytes).map_err(failed)?;
    for missing in &opened.missing {
        sound = false;
        say(&format!("store: {missing} is missing"));
    }
    for problem in &report.problems {
        say(&format!("store: {} {}", problem.path, problem.what));
    }
    sound &= report.problems.is_empty();
    say(&format!("store: {} files, {} rows checked", report.files, report.rows));
    if report.far_files > 0 {
        let files = report.far_files;
        say(&format!("store: {files} files of the far tier by size only; `--far` reads them"));
    }
    say(if sound { "verified: everything is as it was stored" } else { "FAILED: see above" });
    Ok(if sound { Exit::Ok } else { Exit::Integrity })
}

/// Whether what is gone of the ledger's front is what its records say went, and what lived on is there.
fn ledger_begins_in_order(dir: &Path) -> Result<bool, Failure> {
    let first_offset = journal::inspect::first_offset(dir).map_err(failed)?;
    match ledger::check_retired(dir, first_offset).map_err(failed)? {
        Front::Whole => Ok(true),
        Front::InOrder { next, alerts, .. } => {
            say(&format!(
                "ledger: what stood before offset {next} went in order, {alerts} of its alerts live on"
            ));
            Ok(true)
        }
        Front::Wrong { why } => {
            say(&format!("ledger: {why}"));
            Ok(false)
        }
    }
}

/// Structure, checksums, and every sealed root recomputed over the records that are still there.
fn stream_is_sound(dir: &Path, name: &str) -> Result<bool, Failure> {
    let report = journal::inspect::fsck(dir, &mut |_| ()).map_err(failed)?;
    let mut sound = report.is_sound();
    let mut checked = 0;
    let roots = journal::inspect::sealed_roots(dir).map_err(failed)?;
    for sealed in &roots {
        if sealed.root == [0; 32] || sealed.next_offset <= sealed.first_offset {
            continue;
        }
        let mut leaves = Frontier::default();
        let last = sealed.next_offset - 1;
        journal::inspect::dump(dir, sealed.first_offset, sealed.next_offset, |record| {
            leaves.push(leaf_of(record));
        })
        .map_err(failed)?;
        // A segment past its time is gone; its root stays as the proof that it was there.
        if leaves.size() == 0 {
            continue;
        }
        checked += 1;
        if leaves.root().0 != sealed.root {
            sound = false;
            say(&format!(
                "{name}: records {}..={last} are not what was sealed",
                sealed.first_offset
            ));
        }
    }
    let word = if sound { "sound" } else { "DAMAGED" };
    say(&format!("{name}: {word}, {checked} sealed segments recomputed"));
    Ok(sound)
}
