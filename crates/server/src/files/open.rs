//! Opening: packings are undone while reading, whatever the file is called.

use parse::records::{Content, looks_like};
use std::cell::Cell;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::rc::Rc;

/// Largest file after unpacking that is read as a whole; a larger one has to be split.
pub const FILE_BYTES_MAX: u64 = 8 << 30;
/// Packings inside packings that are undone (`x.ndjson.gz` is one).
const LAYERS_MAX: usize = 3;
/// How much of a file tells what it is.
const HEAD_BYTES: usize = 64 << 10;

/// Bytes read from disk so far, for a progress bar.
pub type CountedBytes = Rc<Cell<u64>>;

/// A file opened and unpacked.
pub(super) struct Opened {
    /// What it holds, told by its beginning.
    pub(super) content: Content,
    /// Its beginning.
    pub(super) head: Vec<u8>,
    /// Whether the beginning is everything.
    pub(super) is_whole: bool,
    /// The bytes, the beginning included.
    pub(super) reader: Box<dyn Read>,
}

struct Counted<R> {
    inner: R,
    count: CountedBytes,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// Opens a file; `-` is standard input.
pub(super) fn open(path: &Path, count: &CountedBytes) -> Result<Opened, String> {
    let count = count.clone();
    let mut reader: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(Counted { inner: std::io::stdin(), count }),
        _ if path.is_dir() => return Err("is a folder".into()),
        _ => {
            let inner = File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
            Box::new(Counted { inner, count })
        }
    };
    let mut layer = 0;
    loop {
        let mut head = Vec::new();
        let read = (&mut reader).take(HEAD_BYTES as u64).read_to_end(&mut head);
        if let Err(error) = read
            && head.is_empty()
        {
            let verb = if layer == 0 { "read" } else { "unpacked" };
            return Err(format!("cannot be {verb}: {error}"));
        }
        let whole = Cursor::new(head.clone()).chain(reader);
        layer += 1;
        reader = match looks_like(&head) {
            Content::Gzip if layer <= LAYERS_MAX => {
                Box::new(flate2::read::MultiGzDecoder::new(whole))
            }
            Content::Zstd if layer <= LAYERS_MAX => {
                let decoder = zstd::stream::read::Decoder::new(whole);
                Box::new(decoder.map_err(|e| format!("cannot be unpacked: {e}"))?)
            }
            content => {
                let is_whole = head.len() < HEAD_BYTES;
                return Ok(Opened { content, head, is_whole, reader: Box::new(whole) });
            }
        };
    }
}

/// Packings and archives that are not undone: reading them as text would find nothing, in silence.
pub(super) fn archive_kind(head: &[u8]) -> Option<&'static str> {
    let kinds: [(usize, &[u8], &'static str); 6] = [
        (0, b"\xfd7zXZ\0", "packed with xz"),
        (4, b"1AY&SY", "packed with bzip2"),
        (0, b"PK\x03\x04", "a zip archive"),
        (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (0, b"Rar!\x1a\x07", "a RAR archive"),
        (257, b"ustar", "a tar archive"),
    ];
    let is = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|h| h.starts_with(magic));
    kinds.iter().find(|(at, magic, _)| is(*at, magic)).map(|(.., kind)| *kind)
}

/// Everything that is left of a reader. A packed file that was cut off still has what came before
/// the cut; the error then goes with it.
pub(super) fn everything(mut reader: Box<dyn Read>) -> Result<(Vec<u8>, Option<String>), String> {
    let mut bytes = Vec::new();
    let read = (&mut reader).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes; split it"));
    }
    match read {
        Ok(_) => Ok((bytes, None)),
        Err(error) if bytes.is_empty() => Err(format!("cannot be read: {error}")),
        Err(error) => Ok((bytes, Some(ends_early(&error)))),
    }
}

pub(super) fn ends_early(error: &std::io::Error) -> String {
    format!("ends early ({error}); what came before is used")
}

/// The bytes of a file, unpacked and as UTF-8 where it was UTF-16; `-` is standard input. The
/// second part says that the file ends early.
pub fn read(path: &Path) -> Result<(Vec<u8>, Option<String>), String> {
    let opened = open(path, &CountedBytes::default())?;
    let (bytes, problem) = everything(opened.reader)?;
    Ok(match opened.content {
        Content::Utf16 => (from_utf16(&bytes), problem),
        _ => (bytes, problem),
    })
}

pub(super) fn from_utf16(bytes: &[u8]) -> Vec<u8> {
    let big = bytes.starts_with(&[0xfe, 0xff]);
    let units = bytes.get(2..).unwrap_or_default().chunks_exact(2).map(|pair| match big {
        true => u16::from_be_bytes([pair[0], pair[1]]),
        false => u16::from_le_bytes([pair[0], pair[1]]),
    });
    char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect::<String>().into_bytes()
}
