//! `alcedo store`: work on the store's files while no server does it.

use super::{is_running, say};
use crate::cli::store::StoreVerb;
use crate::exit::{Exit, Failure, Outcome};
use ::store::{Options, Store, StoreError};
use std::path::Path;

/// Opens the store of a data folder for writing and does one thing to its files.
pub fn run(verb: &StoreVerb, data_dir: &Path) -> Outcome {
    if is_running(data_dir) {
        let text = format!("a server runs on {}", data_dir.display());
        return Err(Failure::invalid(text, "stop it first; it joins files by itself"));
    }
    let dir = data_dir.join("store");
    if !dir.is_dir() {
        let text = format!("there is no store in {}", data_dir.display());
        return Err(Failure::invalid(text, "is --data-dir right?"));
    }
    let failed = |e: StoreError| Failure::new(Exit::Integrity, e, "`alcedo verify` says more");
    // Nothing is retired here: that is for the server, which records it.
    let options = Options { retention_age_ns: None, ..Options::default() };
    let (store, _) = Store::open(&dir, options).map_err(failed)?;
    let (what, count) = match verb {
        StoreVerb::Join => ("files joined", store.join_all().map_err(failed)?),
        StoreVerb::Reindex => ("indexes made", store.reindex().map_err(failed)?),
    };
    let stats = store.stats();
    say(&format!("{count} {what}; {} files, {} rows", stats.files, stats.file_rows));
    say(&format!("{} bytes of data, {} of indexes", stats.file_bytes, stats.index_bytes));
    Ok(Exit::Ok)
}
