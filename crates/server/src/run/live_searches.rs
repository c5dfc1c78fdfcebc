//! Saved searches that raise alerts: each is a rule while it says so.
//!
//! ```text
//! ledger: who saved what --written--> DATA/searches/NAME.yml --read like all rules--> generation
//! ```
//! The ledger owns them; the files are made anew at each start and after each change, so that such a
//! rule is archived, recorded in the journal and replayed as every other one is.

use super::generations::write_synced;
use crate::exit::Failure;
use ledger::{Ledger, SavedRow};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folder below the data folder.
const FOLDER: &str = "searches";

/// The folder of the rules that searches are.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

/// Id of the rule that the search of this name is.
pub fn rule_id(name: &str) -> String {
    format!("search.{name}")
}

/// Makes the files what the ledger says.
pub fn write(data_dir: &Path, ledger: &Ledger) -> Result<(), Failure> {
    let rows = ledger.searches().map_err(|e| Failure::invalid(e, "`alcedo verify` shows more"))?;
    let mut wanted: BTreeMap<PathBuf, String> = BTreeMap::new();
    let folder = folder(data_dir);
    for row in &rows {
        let Some(text) = rule_text(row) else { continue };
        // A name may begin with a dot, which hides files.
        wanted.insert(folder.join(format!("search-{}.yml", row.search.name)), text);
    }
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.is_file() && !wanted.contains_key(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    for (path, text) in wanted {
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        write_synced(&path, text.as_bytes())?;
    }
    Ok(())
}

/// The rule that a search is, if it raises alerts as events come.
fn rule_text(row: &SavedRow) -> Option<String> {
    let search = &row.search;
    let alert = search.alert.as_ref().filter(|alert| alert.every_ns.is_none())?;
    // What JSON calls a string is one in YAML.
    let text = |text: &str| serde_json::Value::from(text).to_string();
    Some(format!(
        "# a saved search; what is changed here is lost\n\
         title: {}\nid: {}\nlevel: {}\nauthor: {}\ndescription: {}\nsearch: {}\n",
        text(&search.name),
        text(&rule_id(&search.name)),
        alert.level.name(),
        text(&row.who),
        text(&search.note),
        text(&search.query),
    ))
}
