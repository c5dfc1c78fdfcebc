//! Header lines remembered: a plain state machine that whoever reads records in order drives.
//!
//! ```text
//! "#fields ts uid ..."  -> remembered for this stream (source, identity, and file or connection)
//! "1521911721.25 C8T.." -> an envelope that carries the header: the worker needs no memory
//! ```
//!
//! Zeek, IIS and VPC flow logs say once, at the top of each file, what their columns are.
//! Not here: what a header means.

use event::Envelope;
use hashbrown::{Equivalent, HashMap};
use parse::columns::{self, Family, Layout};
use parse::zeek;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Most bytes of one header: Zeek's widest log has under 2 KB.
const HEADER_BYTES_MAX: usize = 1 << 15;
/// Most streams remembered at once, the oldest is forgotten first: 128 MB at the very worst.
const STREAMS_MAX: usize = 4_096;

/// What records of one stream have in common. A file is the same stream whatever connection its
/// lines come over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    source: Arc<str>,
    identity: Arc<str>,
    peer: Arc<str>,
    connection: u64,
    path: Arc<str>,
}

#[derive(PartialEq, Eq, Hash)]
struct KeyRef<'a>(&'a str, &'a str, &'a str, u64, &'a str);

impl Key {
    fn of(envelope: &Envelope) -> Self {
        let is_file = !envelope.path.is_empty();
        Self {
            source: envelope.source.clone(),
            identity: envelope.identity.clone(),
            peer: if is_file { "".into() } else { envelope.peer.clone() },
            connection: if is_file { 0 } else { envelope.connection },
            path: envelope.path.clone(),
        }
    }

    fn parts(&self) -> KeyRef<'_> {
        KeyRef(&self.source, &self.identity, &self.peer, self.connection, &self.path)
    }
}

impl<'a> KeyRef<'a> {
    fn of(envelope: &'a Envelope) -> Self {
        let (source, identity) = (&*envelope.source, &*envelope.identity);
        match &*envelope.path {
            "" => KeyRef(source, identity, &envelope.peer, envelope.connection, ""),
            path => KeyRef(source, identity, "", 0, path),
        }
    }
}

/// Writes what records of one stream have in common, for keys of other memories.
pub(crate) fn stream_key(envelope: &Envelope, out: &mut Vec<u8>) {
    let KeyRef(source, identity, peer, connection, path) = KeyRef::of(envelope);
    out.clear();
    for text in [source, identity, peer, path] {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&connection.to_le_bytes());
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.parts()
    }
}

/// What is remembered of one stream: for keeping it over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderState {
    key: Key,
    text: Vec<u8>,
    is_open: bool,
}

impl HeaderState {
    /// About as many bytes as it takes.
    pub fn size_bytes(&self) -> usize {
        std::mem::size_of::<Self>() + self.text.len()
    }
}

#[derive(Default)]
struct Stream {
    text: Vec<u8>,
    /// Whether the last record was a header line, so that the next one belongs to the same header.
    is_open: bool,
    /// Whether it is in `touched`.
    is_touched: bool,
    /// An envelope of the stream, and the same with the header.
    with: Option<(Arc<Envelope>, Arc<Envelope>)>,
}

/// The headers in force, by stream.
#[derive(Default)]
pub struct Headers {
    streams: HashMap<Key, Stream>,
    order: VecDeque<Key>,
    touched: Vec<Key>,
    /// What the last record that was no header line came with, and went with.
    last: Option<(Arc<Envelope>, Option<Arc<Envelope>>)>,
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
        let with = match self.last.as_ref().filter(|(e, _)| Arc::ptr_eq(e, envelope)) {
            Some((_, with)) => with.clone(),
            None => {
                let with = self.with_header(envelope);
                self.last = Some((envelope.clone(), with.clone()));
                with
            }
        };
        // A header that somebody sends must not make other lines of the stream unreadable.
        with.filter(|with| with.header.as_deref().is_some_and(|header| fits(header, raw)))
    }

    fn with_header(&mut self, envelope: &Arc<Envelope>) -> Option<Arc<Envelope>> {
        let stream = self.streams.get_mut(&KeyRef::of(envelope))?;
        if stream.is_open {
            stream.is_open = false;
            touch(&mut self.touched, stream, envelope);
        }
        if stream.text.is_empty() {
            return None;
        }
        if let Some((_, with)) = stream.with.as_ref().filter(|(base, _)| base == envelope) {
            return Some(with.clone());
        }
        let header = Some(stream.text.as_slice().into());
        let with = Arc::new(Envelope { header, ..(**envelope).clone() });
        stream.with = Some((envelope.clone(), with.clone()));
        Some(with)
    }

    fn header_line(&mut self, envelope: &Arc<Envelope>, line: &[u8]) {
        self.last = None;
        self.make_room(&KeyRef::of(envelope), || Key::of(envelope));
        let Some(stream) = self.streams.get_mut(&KeyRef::of(envelope)) else { return };
        if !stream.is_open {
            *stream = Stream { is_touched: stream.is_touched, ..Stream::default() };
        }
        stream.is_open = true;
        stream.with = None;
        if !line.starts_with(b"#close") && stream.text.len() + line.len() < HEADER_BYTES_MAX {
            stream.text.extend_from_slice(line);
            stream.text.push(b'\n');
        }
        touch(&mut self.touched, stream, envelope);
    }

    /// Makes sure that the stream is there.
    fn make_room(&mut self, key: &KeyRef<'_>, owned: impl FnOnce() -> Key) {
        if self.streams.contains_key(key) {
            return;
        }
        if self.streams.len() >= STREAMS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.streams.remove(&oldest);
        }
        let owned = owned();
        self.order.push_back(owned.clone());
        self.streams.insert(owned, Stream::default());
    }

    /// What is remembered now of the streams that changed since this was last asked.
    pub fn changes(&mut self) -> Vec<HeaderState> {
        let mut out = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            // One that was forgotten meanwhile is forgotten where the changes go, too.
            let Some(stream) = self.streams.get_mut(&key) else { continue };
            stream.is_touched = false;
            out.push(HeaderState { key, text: stream.text.clone(), is_open: stream.is_open });
        }
        out
    }

    /// Takes over what was remembered elsewhere.
    pub fn apply(&mut self, state: &HeaderState) {
        self.last = None;
        self.make_room(&state.key.parts(), || state.key.clone());
        if let Some(stream) = self.streams.get_mut(&state.key) {
            stream.text.clone_from(&state.text);
            (stream.is_open, stream.with) = (state.is_open, None);
        }
    }

    /// Everything that is remembered, oldest stream first.
    pub fn state(&self) -> Vec<HeaderState> {
        let one = |key: &Key| {
            let stream = self.streams.get(key)?;
            let (text, is_open) = (stream.text.clone(), stream.is_open);
            Some(HeaderState { key: key.clone(), text, is_open })
        };
        self.order.iter().filter_map(one).collect()
    }
}

fn fits(header: &[u8], line: &[u8]) -> bool {
    if let Some(header) = zeek::header(header) {
        return header.fits(line);
    }
    let layout = Layout::of_header(header, Family::W3c);
    let layout = layout.or_else(|| Layout::of_header(header, Family::VpcFlow));
    layout.is_some_and(|layout| layout.fits(line))
}

fn touch(touched: &mut Vec<Key>, stream: &mut Stream, envelope: &Envelope) {
    if !std::mem::replace(&mut stream.is_touched, true) {
        touched.push(Key::of(envelope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Protocol;

    fn text(e: Option<Arc<Envelope>>) -> Option<Vec<u8>> {
        e.and_then(|e| e.header.clone()).map(|h| h.to_vec())
    }

    #[test]
    fn a_header_holds_for_its_stream_until_the_next() {
        let mut headers = Headers::default();
        let a = Arc::new(Envelope::of("a", Protocol::File));
        let b = Arc::new(Envelope::of("b", Protocol::File));
        assert_eq!(text(headers.take(&a, b"first")), None);
        assert_eq!(text(headers.take(&a, b"#Software: x")), None);
        assert_eq!(text(headers.take(&a, b"#Fields: date")), None);
        let want = Some(b"#Software: x\n#Fields: date\n".to_vec());
        assert_eq!(text(headers.take(&a, b"2024-03-05")), want);
        assert_eq!(text(headers.take(&a, b"<13>Mar  5 h sshd: x")), None, "no such column");
        assert_eq!(text(headers.take(&b, b"2024")), None);
        assert_eq!(text(headers.take(&a, b"")), None);
        headers.take(&a, b"#Fields: time");
        assert_eq!(text(headers.take(&a, b"14:07:09")), Some(b"#Fields: time\n".to_vec()));
        headers.take(&a, b"#close\t2024");
        assert_eq!(text(headers.take(&a, b"2025")), None);
        for n in 0..STREAMS_MAX + 5 {
            headers.take(&Arc::new(Envelope::of(&n.to_string(), Protocol::File)), b"#Fields: a");
        }
        assert_eq!(headers.streams.len(), STREAMS_MAX);
    }

    #[test]
    fn a_file_is_one_stream_over_all_connections() {
        let mut headers = Headers::default();
        let over = |connection, path: &str| {
            let own = Envelope::of("a", Protocol::Agent);
            Arc::new(Envelope { connection, path: path.into(), ..own })
        };
        headers.take(&over(1, "/x"), b"#Fields: a");
        let found = headers.take(&over(2, "/x"), b"1").unwrap();
        assert_eq!((found.connection, &*found.path), (2, "/x"), "the record's own envelope");
        assert_eq!(text(headers.take(&over(2, "/y"), b"1")), None);
        headers.take(&over(3, ""), b"#Fields: b");
        assert_eq!(text(headers.take(&over(4, ""), b"1")), None);
    }

    #[test]
    fn changes_rebuild_the_same_memory() {
        let (mut headers, mut copy) = (Headers::default(), Headers::default());
        let of = |n: usize| Arc::new(Envelope::of(&format!("s{}", n % 7), Protocol::File));
        let lines: [&[u8]; 5] = [b"#Fields: a", b"1", b"#Fields: b", b"#Date: x", b"2"];
        for n in 0..200 {
            headers.take(&of(n * n), lines[n % 5]);
            if n % 3 == 0 {
                headers.changes().iter().for_each(|c| copy.apply(c));
                assert_eq!(copy.state(), headers.state(), "after {n}");
            }
        }
        let mut restored = Headers::default();
        headers.state().iter().for_each(|s| restored.apply(s));
        for n in 0..7 {
            assert_eq!(text(restored.take(&of(n), b"9")), text(headers.take(&of(n), b"9")));
        }
        assert!(headers.changes().len() <= 7 && headers.changes().is_empty());
    }
}
