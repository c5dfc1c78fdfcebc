//! Rules and event streams: unpacked or generated once, below `target/compare`.

use crate::report::tell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The SigmaHQ folders that hold rules for production.
const RULE_FOLDERS: [&str; 3] = ["rules", "rules-emerging-threats", "rules-threat-hunting"];
/// Most bytes of one stream: enough to leave every cache, small enough for any machine.
const STREAM_BYTES_MAX: usize = 200 << 20;

/// Events, one JSON object per line.
pub(crate) struct Stream {
    /// For the figures.
    pub(crate) name: String,
    text: Vec<u8>,
    lines: Vec<(usize, usize)>,
}

impl Stream {
    fn new(name: &str, text: Vec<u8>, scale: f64) -> Self {
        let mut lines = Vec::new();
        let mut from = 0;
        for line in text.split_inclusive(|b| *b == b'\n') {
            let trimmed = line.trim_ascii_end();
            if !trimmed.is_empty() {
                lines.push((from, from + trimmed.len()));
            }
            from += line.len();
        }
        lines.truncate((lines.len() as f64 * scale) as usize);
        Self { name: name.into(), text, lines }
    }

    /// Number of events.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Mean bytes of an event.
    pub(crate) fn mean_bytes(&self) -> usize {
        self.lines.iter().map(|(a, b)| b - a).sum::<usize>() / self.lines.len().max(1)
    }

    /// The events of `range`.
    pub(crate) fn events(&self, range: std::ops::Range<usize>) -> Vec<&[u8]> {
        self.lines[range].iter().map(|(from, to)| &self.text[*from..*to]).collect()
    }
}

/// The workspace's folder.
pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shared(path: &str) -> PathBuf {
    project().join("../shared").join(path)
}

/// A folder that holds what `fill` put there, now or in an earlier run.
fn kept(name: &str, fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let folder = project().join("target/compare").join(name);
    if !folder.join(".complete").exists() {
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        fill(&folder)?;
        fs::write(folder.join(".complete"), "").map_err(|e| e.to_string())?;
    }
    Ok(folder)
}

/// An empty folder of that name.
pub(crate) fn scratch_folder(name: &str) -> Result<PathBuf, String> {
    let folder = project().join("target/compare").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{command:?}: {other:?}")),
    }
}

/// Folders with all SigmaHQ rules, or `None` where there is no corpus.
pub(crate) fn rules() -> Result<Option<Vec<PathBuf>>, String> {
    let archive = shared("data/sigma/rules.tar.zst");
    if !archive.exists() {
        return Ok(None);
    }
    let folder = kept("sigma", |folder| {
        let script = "zstd -dc \"$0\" | tar x -C \"$1\"";
        run(Command::new("sh").arg("-c").arg(script).arg(archive).arg(folder))
    })?;
    Ok(Some(RULE_FOLDERS.map(|f| folder.join(f)).into()))
}

/// Every stream: generated ones, then real ones.
pub(crate) fn streams(scale: f64, only: Option<&str>) -> Result<Vec<Stream>, String> {
    let wanted = |name: &str| only.is_none_or(|o| name.contains(o));
    let mut out = Vec::new();
    let generator = shared("bench/gen_events.py");
    if generator.exists() {
        let folder = kept("events", |folder| {
            tell("generating events");
            let sigma = shared("data/sigma");
            let mut command = Command::new("python3");
            run(command.arg(&generator).arg("--sigma").arg(sigma).arg("--out").arg(folder))
        })?;
        for name in ["mixed", "proc", "nested"].into_iter().filter(|n| wanted(n)) {
            let path = folder.join(format!("{name}.ndjson"));
            let text = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            out.push(Stream::new(name, text, scale));
        }
    }
    let real = shared("data/windows/otrf");
    if real.exists() && wanted("otrf") {
        out.push(Stream::new("otrf", real_events(&real)?, scale));
    }
    Ok(out)
}

/// All recordings of a folder, a slice of each so that none fills the stream.
fn real_events(folder: &Path) -> Result<Vec<u8>, String> {
    let listing = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<PathBuf> = listing.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "zst"));
    paths.sort();
    let share = STREAM_BYTES_MAX / paths.len().max(1);
    let mut out = Vec::new();
    for path in paths {
        let unpacked = Command::new("zstd").arg("-dc").arg(&path).output();
        let mut text = unpacked.map_err(|e| format!("zstd -dc {}: {e}", path.display()))?.stdout;
        if text.len() > share {
            let cut = text[..share].iter().rposition(|b| *b == b'\n').unwrap_or(share);
            text.truncate(cut);
        }
        out.extend_from_slice(&text);
        out.push(b'\n');
    }
    Ok(out)
}
