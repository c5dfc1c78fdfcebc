//! Files out of an archive: zip, tar, and tar in gzip or zstd, told by content; or out of a folder.
//!
//! Names come from whoever made the archive: a name that would leave the place it is unpacked to is
//! refused.

use super::open::read;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Largest file that is taken out; rule files have some KB.
const ENTRY_BYTES_MAX: u64 = 64 << 20;
/// Most files of an archive.
const ENTRIES_MAX: usize = 200_000;
/// Size of a block of a tar file.
const TAR_BLOCK: usize = 512;

/// The files of an archive or folder: names below it, and contents, in the order of names.
///
/// # Errors
/// It cannot be read, or is none of the known kinds.
pub fn entries(path: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let mut out = Vec::new();
    if path.is_dir() {
        let mut problem = None;
        for file in super::expand(&[path.to_path_buf()], &mut |p| problem = Some(p)) {
            let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let name = file.strip_prefix(path).unwrap_or(&file).to_path_buf();
            out.push((name, bytes));
        }
        return problem.map_or(Ok(out), Err);
    }
    // What is packed is unpacked by reading; a zip is no such packing.
    let (bytes, problem) = read(path)?;
    if let Some(problem) = problem {
        return Err(problem);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        zip(&bytes, &mut out)?;
    } else if bytes.get(257..262) == Some(b"ustar") {
        tar(&bytes, &mut out)?;
    } else {
        return Err("is no folder, zip or tar".into());
    }
    out.sort();
    Ok(out)
}

/// A name without a root or a way up; `None` for any other.
fn safe(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let normal = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    let fine = !name.is_empty() && !name.contains(['\0', '\\']) && path.components().all(normal);
    fine.then(|| path.components().filter(|c| *c != Component::CurDir).collect())
}

/// POSIX tar (ustar, with pax and GNU long names).
fn tar(bytes: &[u8], out: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<(), String> {
    let cut = || "the tar file ends early".to_owned();
    let mut at = 0;
    let mut long_name: Option<String> = None;
    while let Some(header) = bytes.get(at..at + TAR_BLOCK) {
        if header.iter().all(|b| *b == 0) {
            break;
        }
        let text = |from: usize, to: usize| {
            let field = &header[from..to];
            let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let size = usize::from_str_radix(text(124, 136).trim(), 8)
            .map_err(|_| "the tar file is damaged".to_owned())?;
        let body = bytes.get(at + TAR_BLOCK..).and_then(|b| b.get(..size)).ok_or_else(cut)?;
        at += TAR_BLOCK + size.div_ceil(TAR_BLOCK) * TAR_BLOCK;
        match header[156] {
            b'x' => long_name = pax_path(body),
            b'L' => {
                let name = String::from_utf8_lossy(body);
                long_name = Some(name.trim_end_matches('\0').to_owned());
            }
            b'0' | 0 => {
                let prefix = text(345, 500);
                let short = match prefix.is_empty() {
                    true => text(0, 100),
                    false => format!("{prefix}/{}", text(0, 100)),
                };
                let name = long_name.take().unwrap_or(short);
                if let Some(name) = safe(&name).filter(|_| size as u64 <= ENTRY_BYTES_MAX) {
                    out.push((name, body.to_vec()));
                }
            }
            // Folders, links and global headers are no files.
            b'g' => {}
            _ => long_name = None,
        }
        if out.len() > ENTRIES_MAX {
            return Err(format!("holds more than {ENTRIES_MAX} files"));
        }
    }
    Ok(())
}

/// `path` of a pax header: lines of `LENGTH KEY=VALUE`.
fn pax_path(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().find_map(|l| l.split_once(' ')?.1.strip_prefix("path="))?;
    Some(line.to_owned())
}

/// A zip file, read by its central directory (PKWARE APPNOTE, stored and deflated entries).
fn zip(bytes: &[u8], out: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<(), String> {
    let damaged = || "the zip file is damaged".to_owned();
    let u16_at = |at: usize| -> Option<usize> {
        Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
    };
    let u32_at = |at: usize| -> Option<usize> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    // The end record has 22 bytes and a comment of at most 65,535.
    let from = bytes.len().saturating_sub(22 + 65_535);
    let end = memchr_last(&bytes[from..], b"PK\x05\x06").map(|i| from + i).ok_or_else(damaged)?;
    let count = u16_at(end + 10).ok_or_else(damaged)?;
    let mut at = u32_at(end + 16).ok_or_else(damaged)?;
    for _ in 0..count {
        if bytes.get(at..at + 4) != Some(b"PK\x01\x02") {
            return Err(damaged());
        }
        let part = |offset: usize| u32_at(at + offset).ok_or_else(damaged);
        let short = |offset: usize| u16_at(at + offset).ok_or_else(damaged);
        let (method, packed, size) = (short(10)?, part(20)?, part(24)?);
        let (name_len, extra_len, comment_len) = (short(28)?, short(30)?, short(32)?);
        let local = part(42)?;
        let name = bytes.get(at + 46..at + 46 + name_len).ok_or_else(damaged)?;
        let name = String::from_utf8_lossy(name).into_owned();
        at += 46 + name_len + extra_len + comment_len;
        let Some(path) = safe(&name).filter(|_| !name.ends_with('/')) else { continue };
        let skip = 30
            + u16_at(local + 26).ok_or_else(damaged)?
            + u16_at(local + 28).ok_or_else(damaged)?;
        let body = bytes.get(local + skip..local + skip + packed).ok_or_else(damaged)?;
        if size as u64 > ENTRY_BYTES_MAX {
            continue;
        }
        let content = match method {
            0 => body.to_vec(),
            8 => {
                let mut content = Vec::new();
                let decoder = flate2::read::DeflateDecoder::new(body);
                let read = decoder.take(ENTRY_BYTES_MAX).read_to_end(&mut content);
                read.map_err(|e| format!("{name}: {e}"))?;
                content
            }
            other => return Err(format!("{name}: packed with method {other}; pack it again")),
        };
        out.push((path, content));
    }
    Ok(())
}

fn memchr_last(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).rposition(|w| w == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_where_they_are_put() {
        for name in ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "a\0b"] {
            assert_eq!(safe(name), None, "{name:?}");
        }
        assert_eq!(safe("./rules/a.yml"), Some(PathBuf::from("rules/a.yml")));
    }

    #[test]
    fn archives_give_their_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in/rules")).unwrap();
        std::fs::write(dir.path().join("in/rules/a.yml"), "title: a\n".repeat(100)).unwrap();
        std::fs::write(dir.path().join("in/b.yml"), "title: b\n").unwrap();
        let made = |command: &str, args: &[&str]| {
            let status = std::process::Command::new(command)
                .args(args)
                .current_dir(dir.path())
                .stdout(std::process::Stdio::null())
                .status();
            status.is_ok_and(|s| s.success())
        };
        let expected = entries(&dir.path().join("in")).unwrap();
        assert_eq!(expected.len(), 2);
        for (name, command, args) in [
            ("x.tar", "tar", &["-C", "in", "-cf", "x.tar", "."][..]),
            ("x.tgz", "tar", &["-C", "in", "-czf", "x.tgz", "."]),
            ("x.zip", "python3", &["-m", "zipfile", "-c", "x.zip", "in/b.yml", "in/rules"]),
        ] {
            if !made(command, args) {
                println!("skipped: {command} is not there");
                continue;
            }
            let mut got = entries(&dir.path().join(name)).unwrap();
            got.sort();
            let mut wanted = expected.clone();
            wanted.sort();
            assert_eq!(got, wanted, "{name}");
        }
        assert!(entries(&dir.path().join("in/b.yml")).is_err());
    }
}
