//! Header lines remembered: a plain state machine that whoever reads records in order drives.
//!
//! ```text
//! "#fields ts uid ..."  -> remembered for this stream (source, identity, connection, file)
//! "1521911721.25 C8T.." -> an envelope that carries the header: the worker needs no memory
//! ```
//!
//! Zeek, IIS and VPC flow logs say once, at the top of each file, what their columns are.
//! Not here: what a header means.

use event::Envelope;
use hashbrown::HashMap;
use parse::{columns, zeek};
use std::collections::VecDeque;
use std::sync::Arc;

/// Most bytes of one header: Zeek's widest log has under 2 KB.
const HEADER_BYTES_MAX: usize = 1 << 15;
/// Most streams remembered at once, the oldest is forgotten first: 128 MB at the very worst.
const STREAMS_MAX: usize = 4_096;

#[derive(Default)]
struct Stream {
    text: Vec<u8>,
    /// Whether the last record was a header line, so that the next one belongs to the same header.
    is_open: bool,
    envelope: Option<Arc<Envelope>>,
}

/// The headers in force, by stream.
#[derive(Default)]
pub struct Headers {
    streams: HashMap<Arc<Envelope>, Stream>,
    order: VecDeque<Arc<Envelope>>,
}

impl Headers {
    /// Takes the next record in. Out: the envelope to shape it with when a header is in force for its
    /// stream; `None` = its own.
    pub fn take(&mut self, envelope: &Arc<Envelope>, raw: &[u8]) -> Option<Arc<Envelope>> {
        let first = raw.first()?;
        let may_be_header = *first == b'#' || first.is_ascii_lowercase();
        if may_be_header && (zeek::is_header_line(raw) || columns::is_header_line(raw)) {
            self.header_line(envelope, raw);
            return None;
        }
        if self.streams.is_empty() {
            return None;
        }
        let stream = self.streams.get_mut(envelope)?;
        stream.is_open = false;
        if stream.text.is_empty() {
            return None;
        }
        let with = stream.envelope.get_or_insert_with(|| {
            let header = Some(stream.text.as_slice().into());
            Arc::new(Envelope { header, ..(**envelope).clone() })
        });
        Some(with.clone())
    }

    fn header_line(&mut self, envelope: &Arc<Envelope>, line: &[u8]) {
        if !self.streams.contains_key(envelope) {
            if self.streams.len() >= STREAMS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.streams.remove(&oldest);
            }
            self.order.push_back(envelope.clone());
        }
        let stream = self.streams.entry(envelope.clone()).or_default();
        if !stream.is_open {
            *stream = Stream::default();
        }
        stream.is_open = true;
        stream.envelope = None;
        if !line.starts_with(b"#close") && stream.text.len() + line.len() < HEADER_BYTES_MAX {
            stream.text.extend_from_slice(line);
            stream.text.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Protocol;

    #[test]
    fn a_header_holds_for_its_stream_until_the_next() {
        let mut headers = Headers::default();
        let a = Arc::new(Envelope::of("a", Protocol::File));
        let b = Arc::new(Envelope::of("b", Protocol::File));
        let text = |e: Option<Arc<Envelope>>| e.and_then(|e| e.header.clone()).map(|h| h.to_vec());
        assert_eq!(text(headers.take(&a, b"first")), None);
        assert_eq!(text(headers.take(&a, b"#Software: x")), None);
        assert_eq!(text(headers.take(&a, b"#Fields: date")), None);
        let want = Some(b"#Software: x\n#Fields: date\n".to_vec());
        assert_eq!(text(headers.take(&a, b"2024")), want);
        assert_eq!(text(headers.take(&b, b"2024")), None);
        assert_eq!(text(headers.take(&a, b"")), None);
        headers.take(&a, b"#Fields: time");
        assert_eq!(text(headers.take(&a, b"2025")), Some(b"#Fields: time\n".to_vec()));
        headers.take(&a, b"#close\t2024");
        assert_eq!(text(headers.take(&a, b"2025")), None);
        for n in 0..STREAMS_MAX + 5 {
            headers.take(&Arc::new(Envelope::of(&n.to_string(), Protocol::File)), b"#Fields: a");
        }
        assert_eq!(headers.streams.len(), STREAMS_MAX);
    }
}
