//! Log files for verbs that need no server: told by content, unpacked under limits, cut to records.

pub mod archive;
mod chunks;
mod exports;
pub mod lookups;
mod open;
pub mod stamp;
mod tables;

pub use chunks::{Chunk, Trouble, chunks, of_bytes};
pub use open::{CountedBytes, FILE_BYTES_MAX, read};

use std::path::{Path, PathBuf};

/// Deepest folder that is searched; bounds loops of links.
const FOLDER_DEPTH_MAX: usize = 32;
/// Most files of one run: file numbers have to fit their place in an offset.
pub const FILES_MAX: usize = 1 << 20;

/// The files that arguments mean: folders stand for every file below them, in the order of names,
/// without hidden ones. What cannot be listed is told to `complain` and passed over.
pub fn expand(arguments: &[PathBuf], complain: &mut dyn FnMut(String)) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for path in arguments {
        collect(path, 0, &mut out, complain);
    }
    if out.len() > FILES_MAX {
        complain(format!("only the first {FILES_MAX} files are read"));
        out.truncate(FILES_MAX);
    }
    out
}

fn collect(path: &Path, depth: usize, out: &mut Vec<PathBuf>, complain: &mut dyn FnMut(String)) {
    if !path.is_dir() {
        out.push(path.to_path_buf());
        return;
    }
    let listing = std::fs::read_dir(path).and_then(|l| l.collect::<Result<Vec<_>, _>>());
    let mut entries = match listing {
        Ok(entries) if depth < FOLDER_DEPTH_MAX => entries,
        Ok(_) => return complain(format!("{}: folders nested too deeply", path.display())),
        Err(error) => return complain(format!("{} cannot be listed: {error}", path.display())),
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if !entry.file_name().to_string_lossy().starts_with('.') && out.len() <= FILES_MAX {
            collect(&entry.path(), depth + 1, out, complain);
        }
    }
}
