//! The shapes in which Windows events travel, told apart by field names, and the XML form.
//!
//! ```text
//! <Event><System><EventID>1</EventID>..</System><EventData><Data Name="Image">x</Data></EventData>
//!    -> Event.System.EventID=1   Event.EventData.Image=x       the names that evtx_dump's JSON gives
//! ```
//!
//! Not here: what the fields mean and which ECS fields they are.
//! Source: the Windows event schema (winmeta.xml, "Event Schema" in the Windows SDK).

use crate::ParseError;
use event::{Kind, RowWriter};
use std::borrow::Cow;
use std::ops::Range;

const FORMAT: &str = "Windows event XML";
/// Deepest nesting of elements; events have at most eight.
pub const XML_DEPTH_MAX: usize = 32;
/// Longest dotted name made from element names.
const PATH_LEN_MAX: usize = 512;

/// How an event log record was turned into names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowsShape {
    /// `Event.System.*`, `Event.EventData.*`, `Event.UserData.*` (evtx_dump, and our XML reader).
    EvtxDump,
    /// `winlog.event_id`, `winlog.event_data.*` (winlogbeat 7 and later, Elastic Agent).
    Winlogbeat,
    /// `event_id`, `log_name`, `event_data.*` at the top (winlogbeat 6).
    Winlogbeat6,
    /// `EventID`, `Channel`, `SourceName`, `EventReceivedTime` beside the data's own names (NXLog).
    Nxlog,
    /// `EventID` and the data's own names, nothing of a shipper (Sysmon exports, Sigma samples).
    Flat,
}

/// Tells the shape from the names of an event's fields, in any order. `None`: not a Windows event.
pub fn shape_of<'n>(names: impl Iterator<Item = &'n str>) -> Option<WindowsShape> {
    let (mut event_id, mut flat_companion, mut nxlog) = (false, false, false);
    let (mut beat_id, mut beat_companion) = (false, false);
    for name in names {
        match name.as_bytes().first() {
            Some(b'E') if name.starts_with("Event.System.") => return Some(WindowsShape::EvtxDump),
            Some(b'w') if name.starts_with("winlog.") => return Some(WindowsShape::Winlogbeat),
            _ => {}
        }
        match name {
            "EventID" | "EventId" => event_id = true,
            "EventReceivedTime" | "SourceModuleName" | "SourceModuleType" => nxlog = true,
            "Channel" | "Hostname" | "Computer" | "ComputerName" | "SourceName"
            | "ProviderGuid" | "Provider_Name" | "ProviderName" | "Provider" | "Image"
            | "UtcTime" | "LogName" | "Keywords" | "SubjectUserSid" | "TargetUserName"
            | "ScriptBlockText" => {
                flat_companion = true;
            }
            "event_id" => beat_id = true,
            "log_name" | "source_name" | "provider_guid" => beat_companion = true,
            _ => beat_companion |= name.starts_with("event_data."),
        }
    }
    match (event_id, beat_id) {
        (true, _) if nxlog => Some(WindowsShape::Nxlog),
        (true, _) if flat_companion => Some(WindowsShape::Flat),
        (_, true) if beat_companion => Some(WindowsShape::Winlogbeat6),
        _ => None,
    }
}

/// Reads one `<Event xmlns=...>` element into the names of [`WindowsShape::EvtxDump`].
///
/// Out: number of cells. `<Data Name="X">` becomes `Event.EventData.X` (also when empty), data without
/// a name `Event.EventData.Data`; attributes become `...#attributes.NAME`, the text of an element
/// that has some `...#text`. Entities and CDATA are resolved; no others are defined, none are
/// fetched. Text in front of `<Event` (a declaration) is passed over.
/// Errors: `Expected` for XML that is not well-formed, `TooLong` for nesting beyond
/// [`XML_DEPTH_MAX`]; the row's cells are then as before.
pub fn xml(text: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
    XmlReader::default().event(text, row)
}

/// Reads the first element of any XML text into names below `prefix`: `prefix.Root.Child`, attributes
/// as `prefix.Root.Child.attribute`. What stands behind the element is passed over.
///
/// Out: number of cells. Errors: as [`xml`]; the cells up to the error stay.
pub fn any_xml(text: &[u8], prefix: &str, row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
    XmlReader::default().element(text, prefix, row)
}

/// The reusable buffers of [`xml`] and [`any_xml`]. One per worker.
#[derive(Default)]
pub struct XmlReader {
    path: String,
    open: Vec<Element>,
    /// Text of the innermost element once it is more than one plain piece.
    value: Vec<u8>,
}

impl XmlReader {
    /// As [`xml`].
    pub fn event(&mut self, text: &[u8], row: &mut RowWriter<'_>) -> Result<usize, ParseError> {
        let at = memchr::memmem::find(text, b"<Event").ok_or(expected(0, "<Event>"))?;
        let before = row.cell_count();
        let done = self.pass(text, at, "", row, true);
        if done.is_err() {
            row.truncate(before);
        }
        done
    }

    /// As [`any_xml`].
    pub fn element(
        &mut self,
        text: &[u8],
        prefix: &str,
        row: &mut RowWriter<'_>,
    ) -> Result<usize, ParseError> {
        let mut from = 0;
        let start = loop {
            let at = text.get(from..).and_then(|rest| memchr::memchr(b'<', rest));
            let at = from + at.ok_or(expected(text.len(), "an element"))?;
            if text.get(at + 1).is_some_and(|c| is_name_byte(*c)) {
                break at;
            }
            from = at + 1;
        };
        self.pass(text, start, prefix, row, false)
    }

    /// Reads the element at `at`. Out: number of cells.
    fn pass(
        &mut self,
        text: &[u8],
        at: usize,
        prefix: &str,
        row: &mut RowWriter<'_>,
        is_event: bool,
    ) -> Result<usize, ParseError> {
        self.path.clear();
        self.path.push_str(prefix);
        self.open.clear();
        self.value.clear();
        let before = row.cell_count();
        Pass { text, at, row: &mut *row, buffers: self, is_event }.run()?;
        Ok(row.cell_count() - before)
    }
}

/// Gives the `<Data Name="X">value</Data>` elements of event data that came without its event
/// (Azure stores it so), whatever stands around them. Entities are resolved, markup in values is not.
pub fn named_data(text: &[u8], mut put: impl FnMut(&[u8], &[u8])) {
    let mut at = 0;
    let mut plain = Vec::new();
    while let Some(start) = text.get(at..).and_then(|rest| find(rest, b"<Data")) {
        at += start + 5;
        let Some(end) = text.get(at..).and_then(|rest| memchr::memchr(b'>', rest)) else { return };
        let tag = &text[at..at + end];
        at += end + 1;
        let Some(name) = attribute_of(tag, b"Name=") else { continue };
        if tag.ends_with(b"/") {
            continue;
        }
        let Some(end) = find(&text[at..], b"</Data>") else { return };
        plain.clear();
        resolve_entities(&text[at..at + end], &mut plain);
        put(name, &plain);
        at += end;
    }
}

/// The value in quotes behind `name` in a tag.
fn attribute_of<'t>(tag: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let from = find(tag, name)? + name.len();
    let (quote, rest) = tag.get(from..)?.split_first()?;
    let end = memchr::memchr(*quote, rest).filter(|_| matches!(quote, b'"' | b'\''))?;
    Some(&rest[..end])
}

fn expected(at: usize, expected: &'static str) -> ParseError {
    ParseError::Expected { format: FORMAT, at, expected }
}

/// The path of event data without names.
const PLAIN_DATA: &str = "Event.EventData.Data";

struct Element {
    /// Where its tag's name stands in the text.
    tag: Range<usize>,
    /// Length of the path of the element around it.
    parent_len: usize,
    has_attributes: bool,
    has_children: bool,
    /// `<Data Name="X">`: its value is kept even if empty.
    is_named_data: bool,
    /// Where its text stands while that is one plain piece; see [`XmlReader::value`].
    text: Range<usize>,
}

struct Pass<'t, 'p, 'r> {
    text: &'t [u8],
    at: usize,
    row: &'p mut RowWriter<'r>,
    buffers: &'p mut XmlReader,
    /// A Windows event: its names, and nothing may follow it.
    is_event: bool,
}

impl Pass<'_, '_, '_> {
    fn run(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = &self.text[self.at..];
            let next =
                memchr::memchr(b'<', rest).ok_or(expected(self.text.len(), "a closing tag"))?;
            self.add_text(self.at, self.at + next, true);
            self.at += next;
            let rest = &rest[next..];
            if rest.starts_with(b"<![CDATA[") {
                let end = find(rest, b"]]>").ok_or(expected(self.at, "CDATA with an end"))?;
                self.add_text(self.at + 9, self.at + end, false);
                self.at += end + 3;
            } else if rest.starts_with(b"<!--") {
                let end = find(rest, b"-->").ok_or(expected(self.at, "a comment with an end"))?;
                self.at += end + 3;
            } else if self.is_text(rest) {
                self.add_text(self.at, self.at + 1, false);
                self.at += 1;
            } else if rest.starts_with(b"</") {
                self.close_tag()?;
            } else {
                // "<!" and "<?" end up here and are refused: a document type could define entities.
                self.open_tag()?;
            }
            if self.buffers.open.is_empty() {
                return self.only_blanks_follow();
            }
        }
    }

    /// Whether the `<` in front of `rest` is one that a shipper forgot to escape: nothing of XML can
    /// follow it so, or it stands in event data, which have no elements below them.
    fn is_text(&self, rest: &[u8]) -> bool {
        let Some(element) = self.buffers.open.last() else { return false };
        if element.is_named_data {
            let tag = &self.text[element.tag.clone()];
            return !rest[1..].strip_prefix(b"/").is_some_and(|end| end.starts_with(tag));
        }
        !rest.get(1).is_some_and(|c| is_name_byte(*c) || matches!(c, b'/' | b'!' | b'?'))
    }

    fn only_blanks_follow(&self) -> Result<(), ParseError> {
        if !self.is_event {
            return Ok(());
        }
        match self.text[self.at..].iter().position(|c| !c.is_ascii_whitespace() && *c != 0) {
            Some(i) => Err(expected(self.at + i, "the end of the event")),
            None => Ok(()),
        }
    }

    /// Adds `text[from..to]` to the innermost element's text.
    fn add_text(&mut self, from: usize, to: usize, has_entities: bool) {
        let XmlReader { open, value, .. } = &mut *self.buffers;
        let Some(element) = open.last_mut() else { return };
        let piece = &self.text[from..to];
        if piece.is_empty() || (element.has_children && piece.trim_ascii().is_empty()) {
            return;
        }
        let is_plain = !has_entities || memchr::memchr(b'&', piece).is_none();
        if is_plain && element.text.is_empty() && value.is_empty() {
            element.text = from..to;
            return;
        }
        if !element.text.is_empty() {
            value.extend_from_slice(&self.text[std::mem::take(&mut element.text)]);
        }
        match is_plain {
            true => value.extend_from_slice(piece),
            false => resolve_entities(piece, value),
        }
    }

    /// `<Tag name="value" ...>` or `<Tag ... />`.
    fn open_tag(&mut self) -> Result<(), ParseError> {
        let from = self.at + 1;
        let tag_len = self.text[from..].iter().take_while(|c| is_name_byte(**c)).count();
        if tag_len == 0 {
            return Err(expected(from, "the name of an element"));
        }
        if self.buffers.open.len() >= XML_DEPTH_MAX {
            let (format, what, limit) = (FORMAT, "nesting", XML_DEPTH_MAX);
            return Err(ParseError::TooLong { format, at: self.at, what, limit });
        }
        if let Some(parent) = self.buffers.open.last_mut() {
            parent.has_children = true;
        }
        self.flush_text();
        let tag = &self.text[from..from + tag_len];
        let parent_len = self.buffers.path.len();
        self.buffers.open.push(Element {
            tag: from..from + tag_len,
            parent_len,
            has_attributes: false,
            has_children: false,
            is_named_data: false,
            text: 0..0,
        });
        self.append(tag);
        self.at = from + tag_len;
        self.attributes()
    }

    /// Everything up to `>` or `/>`.
    fn attributes(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.iter().take_while(|c| c.is_ascii_whitespace()).count();
            let rest = &self.text[self.at..];
            if rest.starts_with(b">") {
                self.at += 1;
                return Ok(());
            }
            if rest.starts_with(b"/>") {
                self.at += 2;
                self.finish_element();
                return Ok(());
            }
            let name_len = rest.iter().take_while(|c| is_name_byte(**c)).count();
            let name = &rest[..name_len];
            let quote = match rest.get(name_len..name_len + 2) {
                Some([b'=', q @ (b'"' | b'\'')]) if name_len > 0 => *q,
                _ => return Err(expected(self.at, "an attribute with a value in quotes")),
            };
            let from = self.at + name_len + 2;
            let len = memchr::memchr(quote, &self.text[from..])
                .ok_or(expected(self.text.len(), "a quote that ends an attribute"))?;
            self.at = from + len + 1;
            self.attribute(name, &self.text[from..from + len]);
        }
    }

    fn attribute(&mut self, name: &[u8], value: &[u8]) {
        let Some(element) = self.buffers.open.last_mut() else { return };
        if name == b"xmlns" || name.starts_with(b"xmlns:") {
            return;
        }
        if self.is_event && &self.text[element.tag.clone()] == b"Data" && name == b"Name" {
            // The data's own name takes the place of the tag's.
            element.is_named_data = true;
            let parent_len = element.parent_len;
            self.buffers.path.truncate(parent_len);
            self.append(&plain(value));
            return;
        }
        element.has_attributes = true;
        let len = self.buffers.path.len();
        if self.is_event {
            self.append(b"#attributes");
        }
        self.append(name);
        self.push(&plain(value));
        self.buffers.path.truncate(len);
    }

    fn close_tag(&mut self) -> Result<(), ParseError> {
        let rest = &self.text[self.at + 2..];
        let tag = self.buffers.open.last().map_or(&b""[..], |e| &self.text[e.tag.clone()]);
        let behind =
            rest.strip_prefix(tag).ok_or(expected(self.at, "the innermost closing tag"))?;
        let blanks = behind.iter().take_while(|c| c.is_ascii_whitespace()).count();
        if behind.get(blanks) != Some(&b'>') {
            return Err(expected(self.at, "the innermost closing tag"));
        }
        self.at += 2 + tag.len() + blanks + 1;
        self.finish_element();
        Ok(())
    }

    fn finish_element(&mut self) {
        self.flush_text();
        if let Some(element) = self.buffers.open.pop() {
            self.buffers.path.truncate(element.parent_len);
        }
    }

    /// Writes the innermost element's text, if it has any or is event data.
    fn flush_text(&mut self) {
        let Some(element) = self.buffers.open.last_mut() else { return };
        let value = std::mem::take(&mut self.buffers.value);
        let text = &self.text[std::mem::take(&mut element.text)];
        let (has_attributes, has_children) = (element.has_attributes, element.has_children);
        // The meaning of data without names is their position.
        let is_plain_data = self.is_event && self.buffers.path == PLAIN_DATA;
        let keep_empty = (element.is_named_data || is_plain_data) && !has_children;
        let text = if value.is_empty() { text } else { &value };
        // Blanks between child elements are layout, not text.
        let is_layout = has_children && text.trim_ascii().is_empty();
        if keep_empty || !(text.is_empty() || is_layout) {
            let len = self.buffers.path.len();
            if self.is_event && (has_attributes || has_children) {
                self.append(b"#text");
            }
            self.push(text);
            self.buffers.path.truncate(len);
        }
        self.buffers.value = value;
        self.buffers.value.clear();
    }

    fn append(&mut self, name: &[u8]) {
        if self.buffers.path.len() + name.len() >= PATH_LEN_MAX {
            return;
        }
        if !self.buffers.path.is_empty() {
            self.buffers.path.push('.');
        }
        self.buffers.path.push_str(&String::from_utf8_lossy(name));
    }

    fn push(&mut self, value: &[u8]) {
        if !self.row.has_room() {
            return;
        }
        let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let is_system = self.is_event && self.buffers.path.starts_with("Event.System.");
        let kind = if is_number && is_system { Kind::Int } else { Kind::Str };
        let field = self.row.field(&self.buffers.path);
        self.row.push(field, kind, value);
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

fn is_name_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b':') || c >= 0x80
}

/// The text of an attribute, its entities resolved.
fn plain(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'&', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::new();
    resolve_entities(value, &mut out);
    Cow::Owned(out)
}

/// Appends `text` with the five entities of XML and character references resolved; others stay.
fn resolve_entities(text: &[u8], out: &mut Vec<u8>) {
    // The longest reference is "&#x10FFFF;".
    const REFERENCE_LEN_MAX: usize = 10;
    let mut at = 0;
    while let Some(i) = memchr::memchr(b'&', &text[at..]).map(|i| at + i) {
        out.extend_from_slice(&text[at..i]);
        let body = &text[i + 1..];
        let end = body.iter().take(REFERENCE_LEN_MAX).position(|c| *c == b';');
        match end.and_then(|end| entity(&body[..end]).map(|c| (c, end))) {
            Some((c, end)) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                at = i + 1 + end + 1;
            }
            None => {
                out.push(b'&');
                at = i + 1;
            }
        }
    }
    out.extend_from_slice(&text[at..]);
}

fn entity(name: &[u8]) -> Option<char> {
    Some(match name {
        b"lt" => '<',
        b"gt" => '>',
        b"amp" => '&',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', hex @ ..] => {
            char::from_u32(u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?)?
        }
        [b'#', digits @ ..] => char::from_u32(std::str::from_utf8(digits).ok()?.parse().ok()?)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Dictionary, Envelope, EventBatch, EventId, RowHead};
    use std::sync::Arc;

    fn cells(text: &str) -> Result<Vec<String>, ParseError> {
        let mut batch = EventBatch::new(Dictionary::ecs());
        let head = RowHead {
            id: EventId::default(),
            received_ns: 0,
            stream_ns: 0,
            envelope: Arc::new(Envelope::internal()),
        };
        let mut row = batch.begin(head, text.as_bytes());
        let raw = row.raw();
        let count = xml(raw, &mut row)?;
        let shown: Vec<String> =
            row.cells().map(|(f, v)| format!("{}={}", row.name(f), v.text())).collect();
        assert_eq!(shown.len(), count);
        Ok(shown)
    }

    #[test]
    fn an_event_gives_the_names_of_the_dump() {
        let text = r#"<?xml version="1.0"?><Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'>
  <System><Provider Name='Microsoft-Windows-Sysmon' Guid='{5770385f}'/><EventID Qualifiers='0'>1</EventID>
  <Level>4</Level><Correlation/><TimeCreated SystemTime='2024-03-05T14:07:09.123Z'/></System>
  <EventData><Data Name='CommandLine'>cmd /c "a &amp; b" &lt;x&gt; &#65;&bogus;</Data><Data Name='Empty'></Data><Data Name='None'/>
  <Data></Data><Data>one</Data><Data/><Data><![CDATA[<two>]]></Data></EventData></Event>
"#;
        let want = [
            "Event.System.Provider.#attributes.Name=Microsoft-Windows-Sysmon",
            "Event.System.Provider.#attributes.Guid={5770385f}",
            "Event.System.EventID.#attributes.Qualifiers=0",
            "Event.System.EventID.#text=1",
            "Event.System.Level=4",
            "Event.System.TimeCreated.#attributes.SystemTime=2024-03-05T14:07:09.123Z",
            "Event.EventData.CommandLine=cmd /c \"a & b\" <x> A&bogus;",
            "Event.EventData.Empty=",
            "Event.EventData.None=",
            "Event.EventData.Data=",
            "Event.EventData.Data=one",
            "Event.EventData.Data=",
            "Event.EventData.Data=<two>",
        ];
        assert_eq!(cells(text).unwrap(), want);
    }

    /// Guarantees: whatever a reader read before, also what it gave up on, a text gives what it gives alone.
    #[test]
    fn a_reader_remembers_nothing() {
        let texts = [
            "<Event><System><EventID a='1'>4&amp;5</EventID></System></Event>",
            "<Event><EventData><Data Name='X'>open",
            "<Event><EventData><Data Name='X'>a&lt;b</Data><Data>c</Data></EventData></Event>",
            "<Event>x</Event",
            "<Event><System><Channel>Security</Channel></System></Event>",
        ];
        let mut kept = XmlReader::default();
        for text in texts.iter().chain(texts.iter().rev()) {
            let shown = |reader: &mut XmlReader| {
                let mut batch = EventBatch::new(Dictionary::ecs());
                let envelope = Arc::new(Envelope::internal());
                let id = EventId::default();
                let head = RowHead { id, received_ns: 0, stream_ns: 0, envelope };
                let mut row = batch.begin(head, text.as_bytes());
                let (event, element) = (
                    reader.event(text.as_bytes(), &mut row),
                    reader.element(text.as_bytes(), "x", &mut row),
                );
                let name = |f| row.name(f).to_owned();
                let cells: Vec<_> =
                    row.cells().map(|(f, v)| (name(f), v.text().into_owned())).collect();
                (event, element, cells)
            };
            assert_eq!(shown(&mut kept), shown(&mut XmlReader::default()), "{text}");
        }
    }

    #[test]
    fn what_a_shipper_did_not_escape_is_text() {
        let text = r#"<Event><System><Computer>a < b</Computer></System><EventData><Data Name='CommandLine'>type <in.txt & echo </b> x<y</Data><Data Name='Next'>1</Data></EventData></Event>"#;
        let got = cells(text).unwrap();
        for want in [
            "Event.System.Computer=a < b",
            "Event.EventData.CommandLine=type <in.txt & echo </b> x<y",
            "Event.EventData.Next=1",
        ] {
            assert!(got.iter().any(|cell| cell == want), "{want}: {got:?}");
        }
    }

    #[test]
    fn data_without_its_event() {
        let text = br#"<EventData xmlns="x"><Data Name="A">1 &amp; 2</Data><Data Name='B'/><Data>3</Data><Data Name="C">"#;
        let mut seen = Vec::new();
        named_data(text, |n, v| seen.push((n.to_vec(), v.to_vec())));
        assert_eq!(seen, [(b"A".to_vec(), b"1 & 2".to_vec())]);
        named_data(b"<Data Name=", |_, _| unreachable!());
    }

    #[test]
    fn xml_that_is_not_an_event_is_refused() {
        for wrong in [
            "<Event",
            "<Event>",
            "<Event></System>",
            "<Event><!DOCTYPE x></Event>",
            "<Event><a b=c></a></Event>",
            "<Event></Event>x",
            "nothing",
            &"<Event>".repeat(100),
        ] {
            assert!(cells(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shapes_by_names() {
        for (names, want) in [
            (&["Event.System.EventID", "x"][..], Some(WindowsShape::EvtxDump)),
            (&["host", "winlog.event_id"], Some(WindowsShape::Winlogbeat)),
            (&["event_id", "event_data.Image"], Some(WindowsShape::Winlogbeat6)),
            (&["EventID", "Channel", "EventReceivedTime"], Some(WindowsShape::Nxlog)),
            (&["EventID", "Channel", "Image"], Some(WindowsShape::Flat)),
            (&["EventID", "other"], None),
            (&["eventName"], None),
        ] {
            assert_eq!(shape_of(names.iter().copied()), want, "{names:?}");
        }
    }
}
