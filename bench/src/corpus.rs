//! The shared corpora: SigmaHQ's rules and real Windows event streams, used where they are, never
//! copied into the repository.

use crate::error::BenchError;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Folders of the SigmaHQ archive whose rules are meant to run; `unsupported` is not.
const SIGMA_FOLDERS: [&str; 6] = [
    "rules",
    "rules-emerging-threats",
    "rules-threat-hunting",
    "rules-compliance",
    "rules-dfir",
    "rules-placeholder",
];

/// A file or folder of the corpora: below `$ALCEDO_CORPUS`, else beside the workspace.
pub(crate) fn path(relative: &str) -> Option<PathBuf> {
    let workspace = workspace();
    let root = std::env::var_os("ALCEDO_CORPUS").map_or_else(
        || workspace.parent().unwrap_or(Path::new("/")).join("shared/data"),
        PathBuf::from,
    );
    Some(root.join(relative)).filter(|path| path.exists())
}

/// Our own rules.
pub(crate) fn own_rules() -> PathBuf {
    workspace().join("rules")
}

fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Unpacks SigmaHQ's rules into `dir`; `None` when the archive is not on this machine.
pub(crate) fn sigma_rules(dir: &Path) -> Result<Option<Vec<PathBuf>>, BenchError> {
    let Some(archive) = path("sigma/rules.tar.zst") else { return Ok(None) };
    let out = dir.join("sigma");
    std::fs::create_dir_all(&out).map_err(BenchError::io("folder of rules"))?;
    let mut reader = open(&archive)?;
    let mut tar = Command::new("tar")
        .args(["-x", "-f", "-", "-C"])
        .arg(&out)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(BenchError::io("tar"))?;
    if let Some(mut to) = tar.stdin.take() {
        std::io::copy(&mut reader, &mut to).map_err(BenchError::io("tar"))?;
    }
    let status = tar.wait().map_err(BenchError::io("tar"))?;
    let folders = SIGMA_FOLDERS.map(|name| out.join(name));
    let folders: Vec<PathBuf> = folders.into_iter().filter(|path| path.is_dir()).collect();
    if !status.success() || folders.is_empty() {
        return Err(BenchError::Missing {
            what: format!("a sound archive of rules at {}", archive.display()),
            hint: "tar could not unpack it".into(),
        });
    }
    Ok(Some(folders))
}

/// The Windows event streams, in a fixed order; empty when they are not on this machine.
pub(crate) fn windows_files() -> Result<Vec<PathBuf>, BenchError> {
    let Some(folder) = path("windows/otrf") else { return Ok(Vec::new()) };
    let entries = std::fs::read_dir(&folder).map_err(BenchError::io("windows/otrf"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".ndjson.zst"));
    files.retain(|path| !path.to_string_lossy().contains("/index."));
    files.sort();
    Ok(files)
}

/// Calls `each` with every line of a compressed file that has something on it, until it says false.
pub(crate) fn lines(file: &Path, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), BenchError> {
    let mut reader = open(file)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        if read.map_err(BenchError::io(file.display().to_string()))? == 0 {
            return Ok(());
        }
        let text = line.trim_ascii();
        if !text.is_empty() && !each(text) {
            return Ok(());
        }
    }
}

fn open(path: &Path) -> Result<BufReader<impl Read + use<>>, BenchError> {
    let what = path.display().to_string();
    let file = File::open(path).map_err(BenchError::io(&what))?;
    let decoder = zstd::stream::read::Decoder::new(file).map_err(BenchError::io(&what))?;
    Ok(BufReader::with_capacity(1 << 20, decoder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_trimmed_and_blank_ones_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.ndjson.zst");
        let packed = zstd::encode_all(&b"{\"a\":1}\r\n\r\n{\"a\":2}\n{\"a\":3}"[..], 1).unwrap();
        std::fs::write(&file, packed).unwrap();
        let mut seen = Vec::new();
        lines(&file, &mut |line| {
            seen.push(line.to_vec());
            seen.len() < 2
        })
        .unwrap();
        assert_eq!(seen, [&b"{\"a\":1}"[..], b"{\"a\":2}"]);
        assert!(lines(Path::new("/nowhere"), &mut |_| true).is_err());
    }

    #[test]
    fn the_archive_of_rules_unpacks() {
        let dir = tempfile::tempdir().unwrap();
        match sigma_rules(dir.path()).unwrap() {
            Some(folders) => assert!(folders[0].join("windows").is_dir()),
            None => println!("skipped: no corpus (sigma)"),
        }
        assert!(own_rules().join("windows").is_dir());
    }
}
