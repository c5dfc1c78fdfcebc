//! `alcedo store`: work on the store's files while no server does it.

use super::{complain, is_running, say};
use crate::cli::store::StoreVerb;
use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};
use ::store::{Options, Store, StoreError};

/// Opens the store of a data folder and does one thing to its files.
pub fn run(verb: &StoreVerb, config: &Config) -> Outcome {
    let data_dir = &config.data_dir;
    let dir = data_dir.join("store");
    if !dir.is_dir() {
        let text = format!("there is no store in {}", data_dir.display());
        return Err(Failure::invalid(text, "is --data-dir right?"));
    }
    let failed = |e: StoreError| Failure::new(Exit::Integrity, e, "`alcedo verify` says more");
    if matches!(verb, StoreVerb::Tier { dry_run: true }) {
        let opened = Store::open_read_only_with(&dir, config.tier.clone());
        return planned(&opened.map_err(failed)?.0, config);
    }
    if is_running(data_dir) {
        let text = format!("a server runs on {}", data_dir.display());
        return Err(Failure::invalid(text, "stop it first; it does all this by itself"));
    }
    // Nothing is retired here: that is for the server, which records it.
    let tier = config.tier.clone();
    let options = Options { retention_age_ns: None, tier, ..Options::default() };
    let (store, _) = Store::open(&dir, options).map_err(failed)?;
    let (what, count) = match verb {
        StoreVerb::Join => ("files joined", store.join_all().map_err(failed)?),
        StoreVerb::Reindex => {
            let done = store.reindex().map_err(failed)?;
            if done.passed_over > 0 {
                let what = "files cannot be read and were passed over: `alcedo verify` tells more";
                say(&format!("{} {what}", done.passed_over));
            }
            ("indexes made", done.made)
        }
        StoreVerb::Tier { .. } => ("files moved", moved(&store, config)?),
    };
    let stats = store.stats();
    say(&format!("{count} {what}; {} files, {} rows", stats.files, stats.file_rows));
    say(&format!("{} bytes of data, {} of indexes", stats.file_bytes, stats.index_bytes));
    if stats.far_bytes > 0 {
        say(&format!("{} bytes of data are in the far tier", stats.far_bytes));
    }
    Ok(Exit::Ok)
}

fn far_tier(config: &Config) -> Result<(), Failure> {
    match config.tier {
        Some(_) => Ok(()),
        None => {
            let hint = "`tier: {to: ...}` in the file given with -c; docs/keeping.md has all of it";
            Err(Failure::invalid("the configuration has no far tier", hint))
        }
    }
}

fn planned(store: &Store, config: &Config) -> Outcome {
    far_tier(config)?;
    let plan = store.tier_plan(io::intake::wall_ns());
    let oldest = plan.oldest_ns.map_or("-".into(), event::time::rfc3339);
    say(&format!("{} files of {} rows would move, received since {oldest}", plan.files, plan.rows));
    say(&format!(
        "{} bytes would go, {} of them stay as index and end",
        plan.bytes, plan.kept_bytes
    ));
    if plan.deletes > 0 {
        say(&format!("{} objects would be deleted", plan.deletes));
    }
    if plan.unmovable > 0 {
        let files = plan.unmovable;
        complain(&format!("{files} old files cannot move: damaged, or without checksums"));
    }
    Ok(Exit::Ok)
}

/// Moves until nothing is left to move. Out: how many files moved.
fn moved(store: &Store, config: &Config) -> Result<u64, Failure> {
    far_tier(config)?;
    let failed = |e: StoreError| Failure::new(Exit::Unreachable, e, "nothing is lost; try again");
    let mut moved = 0;
    loop {
        let round = store.move_old(io::intake::wall_ns(), &|| true).map_err(failed)?;
        moved += round.evicted;
        if !round.has_more {
            return Ok(moved);
        }
    }
}
