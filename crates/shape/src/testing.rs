//! A pack's samples against the events they have to give, and the skeleton of a new pack: what
//! `alcedo packs test` and `alcedo packs new` do.

use crate::packs::{PackError, PackSet};
use crate::shaper::{Scratch, Settings, Shaper};
use crate::tables::Tables;
use event::{DictionaryBuilder, Envelope, EventBatch, EventId, RowHead};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// When samples count as received: 2026-11-24T00:00:00Z.
pub const RECEIVED_NS: i64 = 1_795_478_400_000_000_000;
/// Largest sample file that is read.
const SAMPLE_BYTES_MAX: u64 = 4 << 20;

/// Shapes each line of `samples` (a `.log` file's text) as one record. Out: events as lines of JSON,
/// as `expected/*.json` hold them.
pub fn events(packs: &Arc<PackSet>, samples: &[u8]) -> String {
    let mut names = DictionaryBuilder::new();
    packs.register(&mut names);
    let dict = names.build();
    let (tables, settings) = (Arc::new(Tables::default()), Arc::new(Settings::default()));
    let shaper = Shaper::new(packs.clone(), dict.clone(), tables, settings);
    let mut scratch = Scratch::default();
    let mut out = String::new();
    let lines = samples.split(|c| *c == b'\n').filter(|l| !l.is_empty());
    for (offset, line) in lines.enumerate() {
        let mut batch = EventBatch::new(dict.clone());
        let id = EventId::at(offset as u64);
        let stream_ns = offset as i64 * event::time::SECOND_NS;
        let envelope = Arc::new(Envelope::of_sample(line));
        let head = RowHead { id, received_ns: RECEIVED_NS, stream_ns, envelope };
        shaper.shape(head, line, &mut batch, &mut scratch);
        for row in batch.rows() {
            crate::to_json(&row, &mut out);
            out.push('\n');
        }
    }
    out
}

/// Runs the samples of the pack in `folder`, whose pack is one of `packs`. Out: how many events were
/// compared; or every line that differs.
pub fn run(packs: &Arc<PackSet>, folder: &Path) -> Result<usize, Vec<PackError>> {
    let left_out = |e: &&PackError| Path::new(&e.file).parent() == Some(folder);
    if let Some(error) = packs.left_out().iter().find(left_out) {
        return Err(vec![error.clone()]);
    }
    let mut wrong = Vec::new();
    let mut compared = 0;
    let samples = match sample_files(folder) {
        Ok(samples) => samples,
        Err(error) => return Err(vec![error]),
    };
    for sample in samples {
        let name = sample.with_extension("json");
        let expected = folder.join("expected").join(name.file_name().unwrap_or_default());
        let texts = read(&sample).and_then(|s| Ok((s, read(&expected)?)));
        let (text, want) = match texts {
            Ok(texts) => texts,
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        let got = events(packs, &text);
        let want = String::from_utf8_lossy(&want);
        let (mut got, mut want) = (got.lines(), want.lines());
        for line in 1.. {
            let (a, b) = (got.next(), want.next());
            if a.is_none() && b.is_none() {
                break;
            }
            compared += 1;
            if a != b {
                wrong.push(PackError {
                    file: expected.display().to_string(),
                    line,
                    message: difference(a, b),
                    hint: "correct the pack, or the expected event if the new one is right".into(),
                });
            }
        }
    }
    if wrong.is_empty() { Ok(compared) } else { Err(wrong) }
}

/// The lines of all samples of the pack in `folder`, without empty ones.
pub fn lines(folder: &Path) -> Result<Vec<Vec<u8>>, PackError> {
    let mut out = Vec::new();
    for sample in sample_files(folder)? {
        let text = read(&sample)?;
        let lines = text.split(|c| *c == b'\n').filter(|line| !line.is_empty());
        out.extend(lines.map(<[u8]>::to_vec));
    }
    Ok(out)
}

fn sample_files(folder: &Path) -> Result<Vec<PathBuf>, PackError> {
    let samples = folder.join("samples");
    let entries = std::fs::read_dir(&samples).map_err(|error| PackError {
        file: samples.display().to_string(),
        line: 0,
        message: format!("cannot be read: {error}"),
        hint: "a pack has lines of its product in samples/*.log".into(),
    })?;
    let mut files: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "log"));
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, PackError> {
    let wrong = |message: String| PackError {
        file: path.display().to_string(),
        line: 0,
        message,
        hint: "write the events that the samples have to give".into(),
    };
    let size = std::fs::metadata(path).map_err(|e| wrong(format!("cannot be read: {e}")))?.len();
    if size > SAMPLE_BYTES_MAX {
        return Err(wrong(format!("larger than {SAMPLE_BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))
}

/// Where two lines of JSON part.
fn difference(got: Option<&str>, want: Option<&str>) -> String {
    match (got, want) {
        (Some(_), None) => "the samples give an event more than is expected".into(),
        (None, _) => "the samples give no event for this line".into(),
        (Some(got), Some(want)) => {
            let at = got.bytes().zip(want.bytes()).take_while(|(a, b)| a == b).count();
            let near = |text: &str| {
                let from = text[..floor(text, at)].rfind(",\"").map_or(0, |p| p + 1);
                let to = floor(text, (from + 120).min(text.len()));
                text[from..to].to_owned()
            };
            format!("the samples give `{}`, expected is `{}`", near(got), near(want))
        }
    }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// Writes the skeleton of a pack named `name` below `dir`. Out: its folder.
/// Errors: the name is none, or the folder exists.
pub fn create(dir: &Path, name: &str) -> Result<PathBuf, PackError> {
    let folder = dir.join(name);
    let wrong = |message: String, hint: &str| PackError {
        file: folder.display().to_string(),
        line: 0,
        message,
        hint: hint.into(),
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
        return Err(wrong(format!("`{name}` is no name"), "lower-case letters, digits, hyphens"));
    }
    if folder.exists() {
        return Err(wrong("exists already".into(), "choose another name"));
    }
    let sample = "NEW user=alice src=10.0.0.1 act=login\n";
    let spec = SKELETON.replace("NAME", name);
    let files = [("pack.yaml", spec.as_str()), ("samples/first.log", sample)];
    for (file, text) in files {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|e| wrong(format!("cannot be written: {e}"), "check the folder"))?;
    }
    let packs = Arc::new(PackSet::load(dir)?);
    let expected = folder.join("expected");
    std::fs::create_dir_all(&expected)
        .and_then(|()| {
            std::fs::write(expected.join("first.json"), events(&packs, sample.as_bytes()))
        })
        .map_err(|e| wrong(format!("cannot be written: {e}"), "check the folder"))?;
    Ok(folder)
}

const SKELETON: &str = "# What sends this, and what it is for.
pack: NAME
title: A new product
format: [https://example.com/where-the-format-is-specified]
vendor: Example
product: NAME
parser: text
prefix: NAME
recognise:
  any:
    - { starts: ['NEW '] }
steps:
  - kv: { message: NAME }
    address: { .src: source }
    map: { user.name: .user, event.action: .act }
    set: { event.kind: event }
";
