//! Letting old backups go.
//!
//! What a backup refers to may be what others refer to as well, of this installation or of another one
//! in the same place. So all that is named is read first; a backup that cannot be read may need
//! anything, and then nothing goes. Names go before objects: a crash in between leaves objects that
//! nobody names, which the next pruning finds in a folder.
//!
//! A lock keeps backups that are being made and pruning apart, also those of other installations in the
//! same place: in a folder that of a file, in a bucket an entry in an object (see `lease`).

use crate::backup::{Backup, Place, read};
use crate::error::StoreError;
use crate::vault::{Object, Vault};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// What pruning removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Names of the backups that stay, oldest first.
    pub kept: Vec<String>,
    /// Names of those that go.
    pub removed: Vec<String>,
    /// Objects that only those needed, and in a folder those that no backup needs.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes all but the `keep` newest backups of each installation in a place, and what none of those
/// that stay needs. With `dry_run` it says what would go. At least one stays.
pub fn prune(target: &Place, keep: usize, dry_run: bool) -> Result<Pruned, StoreError> {
    let vault = Vault::open(target, &Arc::default())?;
    let refuse = |reason: String| StoreError::file(&PathBuf::from(target.to_string()), reason);
    let _alone = vault.lock_alone(dry_run)?.map_err(refuse)?;
    let mut all: BTreeMap<i64, Backup> = BTreeMap::new();
    for name in vault.names()? {
        all.insert(name, read(&vault, name)?);
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    let stays = |name: &&i64| {
        let count = left.entry(all[name].owner()).or_default();
        *count += 1;
        *count <= keep.max(1)
    };
    let kept: BTreeSet<i64> = all.keys().rev().filter(stays).copied().collect();
    let (stay, go): (Vec<_>, Vec<_>) = all.iter().partition(|(name, _)| kept.contains(name));
    let needed: BTreeSet<String> = stay.iter().flat_map(|(_, backup)| backup.hashes()).collect();
    let unneeded = go.iter().flat_map(|(_, backup)| backup.all_objects());
    let unneeded: BTreeMap<String, Object> = unneeded
        .filter(|object| !needed.contains(&object.sha256))
        .map(|object| (object.sha256.clone(), object))
        .collect();
    let names = |list: &[(&i64, &Backup)]| list.iter().map(|(name, _)| name.to_string()).collect();
    let mut pruned = Pruned { kept: names(&stay), removed: names(&go), ..Pruned::default() };
    if !dry_run && !go.is_empty() {
        let gone: Vec<i64> = go.iter().map(|(name, _)| **name).collect();
        vault.unname(&gone)?;
    }
    (pruned.objects, pruned.bytes) = vault.remove_unneeded(&needed, &unneeded, dry_run)?;
    if !dry_run {
        vault.remove_texts(go.iter().map(|(name, _)| **name))?;
    }
    Ok(pruned)
}
