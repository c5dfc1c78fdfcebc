//! What tests of several crates share. A dev-dependency only.
//!
//! [`SimFs`] is a disk in memory that fails and loses as it is told; [`HookedFs`] a real one during whose
//! sync something else happens; [`SimClock`] a clock that jumps; [`journal_sim`] drives a journal over both under one seed and holds it to its promises.
#![forbid(unsafe_code)]

mod bytes;
mod hooked_fs;
pub mod journal_sim;
mod rng;
mod sim_clock;
mod sim_fs;

pub use bytes::{cut, mistaken};
pub use hooked_fs::{Hook, HookedFs};
pub use rng::Rng;
pub use sim_clock::SimClock;
pub use sim_fs::{Fault, SimFs};

use std::path::{Path, PathBuf};
use std::process::Command;

/// Path of a folder or file of the shared corpora, or `None` when they are not on this machine; then
/// `skipped: no corpus` is printed and the test should return.
///
/// Looked for at `$ALCEDO_CORPUS`, else at `../shared/data` beside the workspace.
pub fn corpus(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ALCEDO_CORPUS").map_or_else(
        || workspace_root().parent().unwrap_or(Path::new("/")).join("shared/data"),
        PathBuf::from,
    );
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no corpus ({relative})");
    None
}

/// Unpacks a `.tar.zst` of the shared corpora into the folder `into`. Out: whether it is there and whole.
pub fn unpack(relative: &str, into: &Path) -> bool {
    let Some(archive) = corpus(relative) else { return false };
    let script = "zstd -dc \"$0\" | tar x -C \"$1\"";
    let status = Command::new("sh").arg("-c").arg(script).arg(archive).arg(into).status();
    status.is_ok_and(|s| s.success())
}

/// The folder that holds the workspace's Cargo.toml.
pub fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
