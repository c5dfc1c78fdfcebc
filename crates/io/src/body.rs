//! Bodies of HTTP ingest: from what arrived to records, under limits. Pure.
//!
//! ```text
//! Content-Encoding + bytes --decode--> plain bytes --records--> one slice per record
//! ```
//!
//! A record is never judged here: malformed JSON is a record too, and stays one.

use std::borrow::Cow;
use std::io::Read;

/// Limits on one body. The defaults stop decompression bombs early and pass any honest batch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body as sent.
    pub compressed_bytes_max: usize,
    /// Largest body after decompression.
    pub expanded_bytes_max: usize,
    /// Largest expansion factor, looked at once more than [`RATIO_GRACE_BYTES`] came out. Honest
    /// logs compress 10 to 40 fold.
    pub ratio_max: usize,
    /// Largest zstd window as a power of two: 8 MiB, the largest RFC 9659 allows over HTTP.
    pub zstd_window_log_max: u32,
}

/// Expanded bytes up to which the ratio does not matter: tiny repetitive bodies are harmless.
pub const RATIO_GRACE_BYTES: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed_bytes_max: 64 << 20,
            expanded_bytes_max: 64 << 20,
            ratio_max: 200,
            zstd_window_log_max: 23,
        }
    }
}

/// Why a body was not taken. The message is meant for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body as sent is over the limit (HTTP 413).
    #[error("the body has {bytes} bytes, the limit is {limit}; send smaller batches")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The body expands over the limit (HTTP 413).
    #[error("the body expands to more than {limit} bytes; send smaller batches")]
    ExpandsTooFar {
        /// The limit.
        limit: usize,
    },
    /// The body expands suspiciously (HTTP 413).
    #[error("the body expands more than {limit} fold, which no honest batch does")]
    RatioTooHigh {
        /// The limit.
        limit: usize,
    },
    /// Not an encoding we take (HTTP 415).
    #[error("content encoding '{encoding}' is not supported; use gzip, zstd or none, just one")]
    UnknownEncoding {
        /// What the header said, cut to 64 characters.
        encoding: String,
    },
    /// The compressed data is broken or asks for too large a window (HTTP 400).
    #[error("the {encoding} data is broken or needs a window over the limit: {reason}")]
    Broken {
        /// gzip or zstd.
        encoding: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

impl BodyError {
    /// The HTTP status that says this.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } | Self::ExpandsTooFar { .. } | Self::RatioTooHigh { .. } => 413,
            Self::UnknownEncoding { .. } => 415,
            Self::Broken { .. } => 400,
        }
    }
}

/// Undoes the content encoding named by the header (`None` or empty = none). At most one encoding;
/// gzip may have several members, zstd several frames.
///
/// # Errors
/// See [`BodyError`].
pub fn decode<'a>(
    encoding: Option<&str>,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Cow<'a, [u8]>, BodyError> {
    if body.len() > limits.compressed_bytes_max {
        return Err(BodyError::TooLarge { bytes: body.len(), limit: limits.compressed_bytes_max });
    }
    let name = encoding.unwrap_or("").trim().to_ascii_lowercase();
    match name.as_str() {
        "" | "identity" => {
            if body.len() > limits.expanded_bytes_max {
                return Err(BodyError::ExpandsTooFar { limit: limits.expanded_bytes_max });
            }
            Ok(Cow::Borrowed(body))
        }
        "gzip" | "x-gzip" => {
            let reader = flate2::bufread::MultiGzDecoder::new(body);
            expand(reader, "gzip", body.len(), limits).map(Cow::Owned)
        }
        "zstd" => {
            let broken =
                |e: std::io::Error| BodyError::Broken { encoding: "zstd", reason: e.to_string() };
            let mut reader = zstd::stream::read::Decoder::with_buffer(body).map_err(broken)?;
            reader.window_log_max(limits.zstd_window_log_max).map_err(broken)?;
            expand(reader, "zstd", body.len(), limits).map(Cow::Owned)
        }
        _ => Err(BodyError::UnknownEncoding { encoding: name.chars().take(64).collect() }),
    }
}

/// Reads all of `reader`, looking at the limits after every piece.
fn expand(
    mut reader: impl Read,
    encoding: &'static str,
    compressed_bytes: usize,
    limits: &Limits,
) -> Result<Vec<u8>, BodyError> {
    /// Piece after which limits are looked at; also how far a bomb can overshoot them.
    const PIECE_BYTES: usize = 64 << 10;
    // Logs shrink to a tenth and less. Room that is not written to costs no memory.
    let room = compressed_bytes.saturating_mul(16).min(limits.expanded_bytes_max);
    let mut out = Vec::with_capacity(room);
    loop {
        let had = out.len();
        let read = reader.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut out);
        read.map_err(|e| BodyError::Broken { encoding, reason: e.to_string() })?;
        if out.len() == had {
            return Ok(out);
        }
        if out.len() > limits.expanded_bytes_max {
            return Err(BodyError::ExpandsTooFar { limit: limits.expanded_bytes_max });
        }
        let allowed = compressed_bytes.saturating_mul(limits.ratio_max);
        if out.len() > RATIO_GRACE_BYTES && out.len() > allowed {
            return Err(BodyError::RatioTooHigh { limit: limits.ratio_max });
        }
    }
}

/// How a body is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// JSON in any of its groupings: one object per line, an array, or objects back to back.
    Json,
    /// One record per line.
    Lines,
}

/// How bodies of this content type are divided. Without a telling type the first byte decides:
/// `{` or `[` is JSON.
pub fn shape(content_type: Option<&str>, body: &[u8]) -> Shape {
    let essence = content_type.unwrap_or("").split(';').next().unwrap_or("");
    let essence = essence.trim().to_ascii_lowercase();
    match essence.as_str() {
        e if e.contains("json") => Shape::Json,
        "text/plain" | "text/csv" | "application/logplex-1" => Shape::Lines,
        _ => match body.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Shape::Json,
            _ => Shape::Lines,
        },
    }
}

/// The records of a decoded body, each a slice of it, without separators; never empty. A piece
/// that is no JSON value is a record with exactly those bytes.
pub fn records<'a>(
    content_type: Option<&str>,
    body: &'a [u8],
) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
    match shape(content_type, body) {
        Shape::Json => {
            let pieces = parse::records::split_json(body).map(|piece| match piece {
                Ok(record) => record.bytes,
                Err(broken) => broken.piece.bytes,
            });
            Box::new(pieces.filter(|bytes| !bytes.is_empty()))
        }
        Shape::Lines => {
            let lines = parse::records::split_lines(body, false).map(|record| record.bytes);
            Box::new(lines.filter(|bytes| !bytes.is_empty()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        w.write_all(data).unwrap();
        w.finish().unwrap()
    }

    #[test]
    fn encodings_come_back_and_members_are_joined() {
        let limits = Limits::default();
        let two = [gzip(b"one\n"), gzip(b"two\n")].concat();
        assert_eq!(&*decode(Some("gzip"), &two, &limits).unwrap(), b"one\ntwo\n");
        let z = zstd::encode_all(&b"three"[..], 3).unwrap();
        assert_eq!(&*decode(Some(" ZSTD "), &z, &limits).unwrap(), b"three");
        assert_eq!(&*decode(None, b"plain", &limits).unwrap(), b"plain");
    }

    #[test]
    fn bombs_and_chains_are_refused_with_the_limit() {
        let limits = Limits::default();
        let zeros = vec![0u8; 8 << 20];
        let ratio = Err(BodyError::RatioTooHigh { limit: 200 });
        assert_eq!(decode(Some("gzip"), &gzip(&zeros), &limits), ratio);
        let z = zstd::encode_all(&zeros[..], 19).unwrap();
        assert_eq!(decode(Some("zstd"), &z, &limits), ratio);
        let small = Limits { expanded_bytes_max: 1000, ..limits };
        let far = Err(BodyError::ExpandsTooFar { limit: 1000 });
        assert_eq!(decode(Some("gzip"), &gzip(&zeros), &small), far);
        let tiny = Limits { compressed_bytes_max: 3, ..limits };
        let large = Err(BodyError::TooLarge { bytes: 4, limit: 3 });
        assert_eq!(decode(None, b"four", &tiny), large);
        assert_eq!(decode(Some("gzip, gzip"), b"x", &limits).unwrap_err().status(), 415);
        let cut = &gzip(b"hello")[..12];
        assert_eq!(decode(Some("gzip"), cut, &limits).unwrap_err().status(), 400);
    }

    #[test]
    fn a_wide_zstd_window_is_refused() {
        let mut w = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        w.window_log(25).unwrap();
        w.write_all(&vec![7u8; 1 << 20]).unwrap();
        let wide = w.finish().unwrap();
        let got = decode(Some("zstd"), &wide, &Limits::default());
        assert_eq!(got.unwrap_err().status(), 400);
    }

    #[test]
    fn records_of_every_grouping() {
        let split = |t: &str, b: &'static str| -> Vec<&'static str> {
            let all = records(Some(t), b.as_bytes());
            all.map(|r| std::str::from_utf8(r).unwrap()).collect()
        };
        assert_eq!(
            split("application/x-ndjson", "{\"a\":1}\n\n{\"b\":2}\n"),
            ["{\"a\":1}", "{\"b\":2}"]
        );
        assert_eq!(split("application/json", "[{\"a\":1},{\"b\":2}]"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(split("application/json", "{\"a\":1}{\"b\":2}"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(split("text/plain", "one\r\ntwo\n\n"), ["one", "two"]);
        assert_eq!(split("", "{\"a\":1}"), ["{\"a\":1}"]);
        let broken = split("application/json", "{\"a\":\n{\"b\":2}\n");
        assert!(broken.concat().contains("{\"a\":"), "{broken:?}");
    }
}
