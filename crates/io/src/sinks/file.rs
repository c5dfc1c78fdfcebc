//! One JSON document per line, appended to a file and on disk before it counts as delivered.
//!
//! A document delivered twice (a crash between the write and the note of it) stands twice in the
//! file. When the file was renamed away (log rotation) the next delivery makes a new one.

use super::{DeliverError, Delivering, Sink};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Appends to a file.
#[derive(Clone, Debug)]
pub struct FileSink {
    inner: Arc<parking_lot::Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
}

impl FileSink {
    /// Opens `path` for appending, creating it (readable by its owner only) if need be. A last
    /// line that a crash cut short is ended, so that the next document starts on its own line.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let inner = Inner { path: path.into(), file: open(path)? };
        Ok(Self { inner: Arc::new(parking_lot::Mutex::new(inner)) })
    }

    /// Appends the documents, one line each, and returns when all are on disk (one fdatasync).
    /// Line breaks inside a document become spaces, which changes nothing in JSON. All or
    /// nothing: after a failed write the file is cut back to where it was. Blocks.
    ///
    /// # Errors
    /// When writing or syncing failed.
    pub fn append(&self, documents: &[&[u8]]) -> io::Result<()> {
        let mut lines = Vec::with_capacity(documents.iter().map(|d| d.len() + 1).sum());
        for document in documents {
            let flat = |b: &u8| if matches!(b, b'\n' | b'\r') { b' ' } else { *b };
            lines.extend(document.iter().map(flat));
            lines.push(b'\n');
        }
        self.inner.lock().write(&lines)
    }
}

impl Inner {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let own = self.file.metadata()?;
        let named = std::fs::metadata(&self.path);
        if !named.is_ok_and(|m| (m.dev(), m.ino()) == (own.dev(), own.ino())) {
            self.file = open(&self.path)?;
        }
        let before = self.file.metadata()?.len();
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            let _ = self.file.set_len(before);
        }
        written
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        // The name itself must survive a power cut.
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

impl Sink for FileSink {
    fn deliver<'a>(&'a self, payload: &'a [u8], _key: &'a str) -> Delivering<'a> {
        let (sink, payload) = (self.clone(), payload.to_vec());
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(move || sink.append(&[&payload])).await;
            let written = written.unwrap_or_else(|e| Err(io::Error::other(e)));
            written.map_err(|e| DeliverError {
                // A full disk or a missing mount: operators repair it, the payload is fine.
                retryable: true,
                retry_after: None,
                what: format!("cannot write the file: {e}"),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn documents_are_lines_also_after_a_torn_one_and_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.ndjson");
        std::fs::write(&path, "{\"torn\":").unwrap();
        let sink = FileSink::open(&path).unwrap();
        sink.deliver(b"{\n \"a\": 1\r\n}", "k1").await.unwrap();
        sink.append(&[b"{\"b\":2}", b"{\"c\":3}"]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"torn\":\n{  \"a\": 1  }\n{\"b\":2}\n{\"c\":3}\n");
        std::fs::rename(&path, dir.path().join("alerts.ndjson.1")).unwrap();
        sink.append(&[b"{\"d\":4}"]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"d\":4}\n");
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_as_passing() {
        if !Path::new("/dev/full").exists() {
            println!("skipped: no /dev/full");
            return;
        }
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let inner = Inner { path: "/dev/full".into(), file };
        let sink = FileSink { inner: Arc::new(parking_lot::Mutex::new(inner)) };
        let error = sink.deliver(b"{}", "k").await.unwrap_err();
        assert!(error.retryable, "{error}");
    }
}
