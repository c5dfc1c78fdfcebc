//! Cutting: a file's bytes become records, in chunks of a size that suits a worker.
//!
//! Lines, JSON values and events in XML are read as a stream, so the size of such a file does not matter. Arrays,
//! event log files, UTF-16 and tables are read as a whole.

use super::open::{self, CountedBytes, Opened, ends_early, everything, from_utf16};
use super::{exports, tables};
use crate::exit::Failure;
use parse::records::{Content, looks_like, split_event_xml, split_json, split_lines};
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Most records of a chunk: some milliseconds of a worker's time.
const CHUNK_RECORDS_MAX: usize = 256;
/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 20;
/// Longest record that is waited for; a longer one is cut.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// Records of a file.
pub struct Chunk {
    /// The bytes.
    pub bytes: Arc<Vec<u8>>,
    /// Number of each record, from 1, and where it is.
    pub records: Vec<(u64, Range<usize>)>,
}

/// Why reading a file ended.
#[derive(Debug)]
pub enum Trouble {
    /// The file: told, and the next one is read.
    File(String),
    /// The verb itself cannot go on.
    Verb(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Verb(failure)
    }
}

type Each<'a> = dyn FnMut(Chunk) -> Result<(), Failure> + 'a;

/// Gives every record of a file to `each`, in order; those that an export wraps in one document are
/// records of their own. Text records are lines and their number is the
/// line's; blank lines are passed over. Rows of a table are numbered below its header.
///
/// # Errors
/// What is wrong with the file (records before that were given), or what `each` fails with.
pub fn chunks(path: &Path, count: &CountedBytes, each: &mut Each<'_>) -> Result<(), Trouble> {
    let Opened { content, head, is_whole, reader } =
        open::open(path, count).map_err(Trouble::File)?;
    if let Some(kind) = open::archive_kind(&head) {
        return Err(Trouble::File(format!("is {kind}, which is not undone here; unpack it first")));
    }
    match content {
        Content::Empty if is_whole => Ok(()),
        Content::Json => streamed(reader, values, each),
        Content::EventXml => streamed(reader, elements, each),
        Content::Lines | Content::Empty if !tables::looks_like(&head, is_whole) => {
            streamed(reader, lines, each)
        }
        _ => {
            let (bytes, problem) = everything(reader).map_err(Trouble::File)?;
            of_bytes(bytes, each)?;
            problem.map_or(Ok(()), |p| Err(Trouble::File(p)))
        }
    }
}

/// As [`chunks`], for bytes that are there already.
///
/// # Errors
/// See [`chunks`].
pub fn of_bytes(bytes: Vec<u8>, each: &mut Each<'_>) -> Result<(), Trouble> {
    let bytes = match looks_like(&bytes) {
        Content::Utf16 => from_utf16(&bytes),
        _ => bytes,
    };
    let mut cutter = Cutter::new(each);
    match looks_like(&bytes) {
        Content::Evtx => evtx(bytes, &mut cutter),
        Content::JsonArray | Content::Json if is_json(&bytes) => {
            let ranges: Vec<Range<usize>> = split_json(&bytes).map(|r| piece(&r)).collect();
            cutter.numbered(Arc::new(bytes), ranges.into_iter())
        }
        Content::Lines if tables::looks_like(&bytes, true) => {
            cutter.owned(tables::rows(&bytes).unwrap_or_default().into_iter())
        }
        Content::EventXml => {
            let (_, ranges) = elements(&bytes, true);
            cutter.numbered(Arc::new(bytes), ranges.into_iter())
        }
        Content::Empty => Ok(()),
        _ => {
            let (used, ranges) = lines(&bytes, true);
            debug_assert_eq!(used, bytes.len());
            cutter.numbered(Arc::new(bytes), ranges.into_iter())
        }
    }
}

/// Whether a `[` really starts an array: many text formats start lines with one, too.
fn is_json(bytes: &[u8]) -> bool {
    split_json(bytes).next().is_some_and(|first| first.is_ok())
}

fn piece(
    record: &Result<parse::records::Record<'_>, parse::records::SplitError<'_>>,
) -> Range<usize> {
    let record = match record {
        Ok(record) => record,
        Err(broken) => &broken.piece,
    };
    record.at..record.at + record.bytes.len()
}

/// Cuts bytes to whole records: how much of them was used, and where each record is. Forced: all is
/// used, for nothing more comes.
type Cut = fn(&[u8], bool) -> (usize, Vec<Range<usize>>);

/// Records of a stream.
fn streamed(mut reader: Box<dyn Read>, cut: Cut, each: &mut Each<'_>) -> Result<(), Trouble> {
    let mut cutter = Cutter::new(each);
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        // A value that did not end in what was read is read again: twice as much each time.
        let wanted = BLOCK_BYTES.max(bytes.len()) as u64;
        let before = bytes.len();
        let read = (&mut reader).take(wanted).read_to_end(&mut bytes);
        let ended = read.is_err() || bytes.len() - before < wanted as usize;
        let forced = ended || bytes.len() > RECORD_BYTES_MAX;
        let (used, ranges) = cut(&bytes, forced);
        let rest = bytes[used..].to_vec();
        cutter.numbered(Arc::new(std::mem::replace(&mut bytes, rest)), ranges.into_iter())?;
        match read {
            Err(error) => return Err(Trouble::File(ends_early(&error))),
            Ok(_) if ended => return Ok(()),
            Ok(_) => {}
        }
    }
}

/// Whole lines, without their ends.
fn lines(bytes: &[u8], forced: bool) -> (usize, Vec<Range<usize>>) {
    let used = match forced {
        true => bytes.len(),
        false => memchr_last_line(bytes),
    };
    let bom = if bytes.starts_with(b"\xef\xbb\xbf") { 3.min(used) } else { 0 };
    let records = split_lines(&bytes[bom..used], true);
    (used, records.map(|r| bom + r.at..bom + r.at + r.bytes.len()).collect())
}

fn memchr_last_line(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|c| *c == b'\n').map_or(0, |i| i + 1)
}

/// Whole `<Event>` elements, and whole lines of text beside them.
fn elements(bytes: &[u8], forced: bool) -> (usize, Vec<Range<usize>>) {
    let mut ranges: Vec<_> = split_event_xml(bytes).map(|r| r.at..r.at + r.bytes.len()).collect();
    if forced {
        return (bytes.len(), ranges);
    }
    // Of what stands behind the last whole one, the rest may still come.
    let lines_end = memchr_last_line(bytes);
    let is_whole = |r: &Range<usize>| {
        let is_event =
            bytes[r.clone()].starts_with(b"<Event") && bytes[..r.end].ends_with(b"</Event>");
        is_event || r.end < lines_end
    };
    while ranges.last().is_some_and(|last| !is_whole(last)) {
        ranges.pop();
    }
    (ranges.last().map_or(0, |last| last.end), ranges)
}

/// Whole JSON values.
fn values(bytes: &[u8], forced: bool) -> (usize, Vec<Range<usize>>) {
    let end = if forced { bytes.len() } else { memchr_last_line(bytes) };
    let mut ranges = Vec::new();
    for record in split_json(&bytes[..end]) {
        if let Err(broken) = &record
            && !forced
            && broken.reason.at() >= end
        {
            // Not ended yet: the rest may still come.
            return (broken.piece.at, ranges);
        }
        ranges.push(piece(&record));
    }
    (end, ranges)
}

/// Numbers records and hands them on in chunks.
struct Cutter<'a, 'b> {
    each: &'a mut Each<'b>,
    next: u64,
}

impl<'a, 'b> Cutter<'a, 'b> {
    fn new(each: &'a mut Each<'b>) -> Self {
        Self { each, next: 1 }
    }

    /// Pieces of bytes. Blank ones count but are not handed on.
    fn numbered(
        &mut self,
        bytes: Arc<Vec<u8>>,
        ranges: impl Iterator<Item = Range<usize>>,
    ) -> Result<(), Trouble> {
        let mut records = Vec::new();
        for range in ranges {
            if let Some(inner) = exports::records(&bytes[range.clone()]) {
                if !records.is_empty() {
                    let records = std::mem::take(&mut records);
                    (self.each)(Chunk { bytes: bytes.clone(), records })?;
                }
                self.inner(inner)?;
                continue;
            }
            let number = self.next;
            self.next += 1;
            if bytes[range.clone()].trim_ascii().is_empty() {
                continue;
            }
            records.push((number, range));
            if records.len() == CHUNK_RECORDS_MAX {
                let records = std::mem::take(&mut records);
                (self.each)(Chunk { bytes: bytes.clone(), records })?;
            }
        }
        if !records.is_empty() {
            (self.each)(Chunk { bytes, records })?;
        }
        Ok(())
    }

    /// Records that were wrapped in one; each has a number of its own, the first that of the one.
    fn inner(&mut self, inner: Vec<Vec<u8>>) -> Result<(), Trouble> {
        // One that wraps none counts as the record that it is: those behind it keep their numbers.
        let after = self.next + inner.len().max(1) as u64;
        for chunk in inner.chunks(CHUNK_RECORDS_MAX) {
            let (mut bytes, mut records) = (Vec::new(), Vec::new());
            for record in chunk {
                let from = bytes.len();
                bytes.extend_from_slice(record);
                records.push((self.next, from..bytes.len()));
                self.next += 1;
            }
            (self.each)(Chunk { bytes: Arc::new(bytes), records })?;
        }
        self.next = after;
        Ok(())
    }

    /// Records that are made, not found.
    fn owned(&mut self, made: impl Iterator<Item = Vec<u8>>) -> Result<(), Trouble> {
        let mut bytes = Vec::new();
        let mut ranges = Vec::new();
        for record in made {
            let from = bytes.len();
            bytes.extend_from_slice(&record);
            ranges.push(from..bytes.len());
            if ranges.len() == CHUNK_RECORDS_MAX {
                let full = Arc::new(std::mem::take(&mut bytes));
                self.numbered(full, std::mem::take(&mut ranges).into_iter())?;
            }
        }
        self.numbered(Arc::new(bytes), ranges.into_iter())
    }
}

/// Records of an event log file; one that cannot be read is told and keeps its number.
fn evtx(mut bytes: Vec<u8>, cutter: &mut Cutter<'_, '_>) -> Result<(), Trouble> {
    let is_cut = fill_up(&mut bytes);
    let settings = evtx::ParserSettings::default().indent(false);
    let parser = evtx::EvtxParser::from_buffer(bytes)
        .map_err(|e| Trouble::File(format!("is no whole EVTX log: {e}")))?;
    let mut broken = 0;
    let mut first = String::new();
    let mut parser = parser.with_configuration(settings);
    let records = parser.records_json().map(|record| match record {
        Ok(record) => record.data.into_bytes(),
        Err(error) => {
            broken += 1;
            if first.is_empty() {
                first = error.to_string();
            }
            Vec::new()
        }
    });
    cutter.owned(records)?;
    match broken {
        0 if is_cut => Err(Trouble::File("ends early; what came before is used".to_owned())),
        0 => Ok(()),
        n => Err(Trouble::File(format!("{n} EVTX records cannot be read, the first: {first}"))),
    }
}

/// Bytes of an EVTX log before its first chunk.
const EVTX_HEADER_BYTES: usize = 4_096;
/// Bytes of each of its chunks.
const EVTX_CHUNK_BYTES: usize = 65_536;

/// Fills the last chunk of an EVTX log up with zeros, since a chunk that is not whole is passed over with
/// all of its records. Whether something is missing, of what the header counts, too.
fn fill_up(bytes: &mut Vec<u8>) -> bool {
    let counted = match bytes.get(42..44) {
        Some(count) => usize::from(u16::from_le_bytes([count[0], count[1]])),
        None => 0,
    };
    let is_headed = bytes.len() >= EVTX_HEADER_BYTES;
    let there = bytes.len().saturating_sub(EVTX_HEADER_BYTES);
    let whole = there.next_multiple_of(EVTX_CHUNK_BYTES);
    bytes.resize(EVTX_HEADER_BYTES + whole, 0);
    !is_headed || there != whole || there < counted * EVTX_CHUNK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn numbered(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut out = Vec::new();
        let done = chunks(file.path(), &CountedBytes::default(), &mut |chunk| {
            for (number, range) in chunk.records {
                let text = String::from_utf8_lossy(&chunk.bytes[range]).into_owned();
                out.push((number, text));
            }
            Ok(())
        });
        assert!(done.is_ok(), "{done:?}");
        out
    }

    #[test]
    fn content_tells_how_a_file_is_cut() {
        assert_eq!(numbered(b"a\n\nb"), [(1, "a".into()), (3, "b".into())]);
        assert_eq!(numbered(b"{\"a\":1}\n\n{\"b\":2}\n").len(), 2);
        assert_eq!(numbered(b"[{\"a\":1},{\"b\":2}]").len(), 2);
        assert_eq!(numbered(b"{\n \"a\": 1\n}\n{\n \"b\": 2\n}").len(), 2);
        assert_eq!(numbered(b"[Thu Mar 1] error\n[Thu Mar 2] error\n").len(), 2);
        assert_eq!(
            numbered(b"<Events><Event>\n<a/></Event><Event x=''/></Event></Events>").len(),
            2
        );
        assert_eq!(numbered(b"Record 1\n{\n \"a\": 1\n}\nRecord 2\n{}\n").len(), 2);
        let packed = zstd::encode_all(&b"x\ny\n"[..], 1).unwrap();
        assert_eq!(numbered(&packed).len(), 2);
        let utf16: Vec<u8> = "\u{feff}a\nb".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(numbered(&utf16), [(1, "a".into()), (2, "b".into())]);
        assert_eq!(numbered(b""), []);
        assert_eq!(numbered(b"\n \r\n"), []);
        let table = numbered(b"time,user\n1,root\n2,eve\n");
        assert_eq!(table[1], (2, "{\"time\":\"2\",\"user\":\"eve\"}".into()));
    }

    #[test]
    fn records_over_block_borders_stay_whole() {
        let long = "x".repeat(700_000);
        let value = format!("{{\n  \"a\": \"{long}\",\n\"b\": [\n{{}}\n]\n}}\n");
        let got = numbered(value.repeat(5).as_bytes());
        assert_eq!(got.len(), 5);
        assert!(got.iter().all(|(_, text)| *text == value.trim_end()));
        let event = format!("<Event>\n<a>{long}</a></Event>");
        let got = numbered(format!("<Events>\n{}</Events>", event.repeat(5)).as_bytes());
        assert_eq!(got.len(), 5);
        assert!(got.iter().all(|(_, text)| *text == event));
        // A block that ends in white space within an event, in its tag, within a line beside it, or its frame.
        for (text, records) in [
            ("<Event>@\n</Event>\n", ["<Event>@\n</Event>"].as_slice()),
            (
                "<Event>a</Event><!--@--><Event >b</Event>",
                &["<Event>a</Event>", "<!--@-->", "<Event >b</Event>"],
            ),
            (
                "<Event>a</Event>\n@ b c\n<Event>b</Event>",
                &["<Event>a</Event>", "@ b c", "<Event>b</Event>"],
            ),
            (
                "<Event>a</Event>@<?xml version='1'?><Events\n><Event>b</Event>",
                &["<Event>a</Event>", "@<?xml version='1'?><Events", ">", "<Event>b</Event>"],
            ),
        ] {
            let at = text.find('@').unwrap();
            for short in 0..20 {
                let fill = "x".repeat(BLOCK_BYTES - at - short);
                let got = numbered(text.replace('@', &fill).as_bytes());
                let whole: Vec<String> = records.iter().map(|r| r.replace('@', &fill)).collect();
                assert!(got.iter().map(|g| &g.1).eq(&whole), "{text} {short}");
            }
        }
        let line = format!("{long} end");
        let got = numbered(format!("{line}\n\n").repeat(4).as_bytes());
        assert_eq!(got.iter().map(|g| g.0).collect::<Vec<_>>(), [1, 3, 5, 7]);
        assert!(got.iter().all(|(_, text)| *text == line));
    }

    #[test]
    fn an_archive_is_told_and_not_read_as_text() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for bytes in [&b"PK\x03\x04rest"[..], b"\xfd7zXZ\0", b"BZh91AY&SY", &tar] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            let done = chunks(file.path(), &CountedBytes::default(), &mut |_| unreachable!());
            assert!(matches!(done, Err(Trouble::File(what)) if what.contains("unpack it first")));
        }
    }

    #[test]
    fn a_cut_packing_gives_what_came_before() {
        let lines = "some line\n".repeat(200_000);
        let packed = zstd::encode_all(lines.as_bytes(), 1).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&packed[..packed.len() - 5]).unwrap();
        let mut seen = 0;
        let done = chunks(file.path(), &CountedBytes::default(), &mut |chunk| {
            seen += chunk.records.len();
            Ok(())
        });
        assert!(matches!(done, Err(Trouble::File(_))) && seen > 0, "{seen}");
    }

    /// Scenario: an EVTX log whose end is missing, within its only chunk.
    /// Guarantees: the records before the cut are there, and it is told.
    #[test]
    fn of_an_evtx_log_that_is_cut_off_the_records_before_are_there() {
        let dir = tempfile::tempdir().unwrap();
        if !testkit::unpack("sigma/regression_evtx.tar.zst", dir.path()) {
            return;
        }
        let folder = "regression_data/rules/windows/file/file_event/file_event_win_hktl_netexec_file_indicators";
        let file = "efc21479-9e83-41da-8cf1-122e06ba8db3.evtx";
        let whole = std::fs::read(dir.path().join(folder).join(file)).unwrap();
        for length in [whole.len(), whole.len() - 1, 12_000] {
            let mut records = 0;
            let done = of_bytes(whole[..length].to_vec(), &mut |chunk| {
                records += chunk.records.len();
                Ok(())
            });
            assert_eq!((records, done.is_ok()), (7, length == whole.len()), "{length}");
        }
    }
}
