//! Log files for verbs that need no server: told by content, unpacked under limits, cut to records.

use crate::exit::Failure;
use parse::records::{Content, looks_like, split_json, split_lines};
use std::io::Read;
use std::path::Path;

/// Largest file after unpacking; a larger one has to be split.
pub const FILE_BYTES_MAX: u64 = 8 << 30;
/// Packings inside packings that are undone (`x.ndjson.gz` is one).
const LAYERS_MAX: usize = 3;

/// The bytes of a file, unpacked; `-` is standard input.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_end(&mut bytes),
        _ => std::fs::File::open(path)
            .and_then(|f| f.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes; split it"));
    }
    unpack(bytes, 0)
}

fn unpack(bytes: Vec<u8>, layer: usize) -> Result<Vec<u8>, String> {
    let reader: Box<dyn Read> = match looks_like(&bytes) {
        _ if layer == LAYERS_MAX => return Ok(bytes),
        Content::Gzip => Box::new(flate2::read::MultiGzDecoder::new(&bytes[..])),
        Content::Zstd => Box::new(
            zstd::stream::read::Decoder::new(&bytes[..]).map_err(|e| format!("zstd: {e}"))?,
        ),
        Content::Utf16 => return Ok(from_utf16(&bytes)),
        _ => return Ok(bytes),
    };
    let mut out = Vec::new();
    let read = reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut out);
    if let Err(error) = read {
        if out.is_empty() {
            return Err(format!("cannot be unpacked: {error}"));
        }
        // A file that was cut off still has what came before the cut.
        tracing::warn!(%error, "a packed file ends early; what was unpacked is used");
    }
    if out.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("unpacks to more than {FILE_BYTES_MAX} bytes; split it"));
    }
    unpack(out, layer + 1)
}

fn from_utf16(bytes: &[u8]) -> Vec<u8> {
    let big = bytes.starts_with(&[0xfe, 0xff]);
    let units = bytes[2..].chunks_exact(2).map(|pair| match big {
        true => u16::from_be_bytes([pair[0], pair[1]]),
        false => u16::from_le_bytes([pair[0], pair[1]]),
    });
    char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect::<String>().into_bytes()
}

/// Gives every record of a file's bytes to `each`, in order, with its number from 1.
/// Text records are lines and their number is the line's; empty lines are passed over.
pub fn records(
    bytes: &[u8],
    each: &mut dyn FnMut(u64, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match looks_like(bytes) {
        Content::Evtx => evtx(bytes, each),
        Content::Json => json(bytes, each),
        Content::JsonArray if is_json(bytes) => json(bytes, each),
        Content::Empty => Ok(()),
        _ => {
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            for (at, line) in split_lines(text, true).enumerate() {
                if !line.bytes.trim_ascii().is_empty() {
                    each(at as u64 + 1, line.bytes)?;
                }
            }
            Ok(())
        }
    }
}

/// Whether a `[` really starts an array: many text formats start lines with one, too.
fn is_json(bytes: &[u8]) -> bool {
    split_json(bytes).next().is_some_and(|first| first.is_ok())
}

fn json(
    bytes: &[u8],
    each: &mut dyn FnMut(u64, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (at, record) in split_json(bytes).enumerate() {
        let piece = match &record {
            Ok(record) => record.bytes,
            Err(broken) => broken.piece.bytes,
        };
        each(at as u64 + 1, piece)?;
    }
    Ok(())
}

fn evtx(
    bytes: &[u8],
    each: &mut dyn FnMut(u64, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let settings = evtx::ParserSettings::default().num_threads(1).indent(false);
    let parser = evtx::EvtxParser::from_buffer(bytes.to_vec()).map_err(|e| {
        Failure::new(crate::exit::Exit::Partial, e, "the file is no whole EVTX log")
    })?;
    for (at, record) in parser.with_configuration(settings).records_json().enumerate() {
        match record {
            Ok(record) => each(at as u64 + 1, record.data.as_bytes())?,
            Err(error) => tracing::warn!(record = at + 1, %error, "an EVTX record cannot be read"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        let bytes = unpack(bytes.to_vec(), 0).unwrap();
        records(&bytes, &mut |n, r| {
            out.push((n, String::from_utf8_lossy(r).into_owned()));
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
        out
    }

    #[test]
    fn content_tells_how_a_file_is_cut() {
        assert_eq!(numbered(b"a\n\nb"), [(1, "a".into()), (3, "b".into())]);
        assert_eq!(numbered(b"{\"a\":1}\n\n{\"b\":2}\n").len(), 2);
        assert_eq!(numbered(b"[{\"a\":1},{\"b\":2}]").len(), 2);
        assert_eq!(numbered(b"{\n \"a\": 1\n}\n{\n \"b\": 2\n}").len(), 2);
        assert_eq!(numbered(b"[Thu Mar 1] error\n[Thu Mar 2] error\n").len(), 2);
        let packed = zstd::encode_all(&b"x\ny\n"[..], 1).unwrap();
        assert_eq!(numbered(&packed).len(), 2);
        let utf16: Vec<u8> = "\u{feff}a\nb".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(numbered(&utf16), [(1, "a".into()), (2, "b".into())]);
    }
}
