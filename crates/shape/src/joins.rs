//! Records that are one event together: a plain state machine that whoever reads records in order
//! drives.
//!
//! ```text
//! type=SYSCALL msg=audit(1.5:7) ..  -> held           CISE_X 0001939187 2 1 ..  -> held
//! other records                     -> alone          CISE_X 0001939187 2 0 ..  -> one whole of 2
//! type=EXECVE  msg=audit(1.5:7) ..  -> held
//! type=PROCTITLE msg=audit(1.5:7).. -> one whole of 3 a tick, 2 s later         -> what waits too long
//! ```
//! A whole's bytes are its parts' bytes, one a line: all that shaping reads, so that a stored event
//! can be shaped anew. Parts join within one stream (source, identity, file or connection) only: no
//! sender can touch another's events. What is held is bounded in number, bytes and time; what has to
//! make room is handed on as it is, marked.
//!
//! Not here: what the parts say ([`crate::shaper`]).

use crate::carried::Carried;
use crate::headers::stream_key;
use event::{Envelope, Protocol};
use hashbrown::HashMap;
use memchr::memmem;
use parse::auditd::{self, Role};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// Most events that wait for parts; beyond it the oldest goes on as it is.
pub const OPEN_MAX: usize = 4_096;
/// Most bytes that wait, in all.
const OPEN_BYTES_MAX: usize = 32 << 20;
/// Most bytes of one event: a record's limit.
const WHOLE_BYTES_MAX: usize = 1 << 20;
/// Most parts of one event: a call with 4,096 paths is an attack on whoever reads it.
const PARTS_MAX: usize = 4_096;
/// How long an audit event or numbered parts wait for the rest, ns of stream time: their senders
/// write all within milliseconds.
pub const WAIT_NS: i64 = 2 * event::time::SECOND_NS;
/// Where a record is looked at for what it is a part of.
const HEAD_BYTES_MAX: usize = 512;
/// The same for a line in an object, behind what its sender says of it.
const CARRIED_BYTES_MAX: usize = 4_096;
/// Made once: it is looked for in every record.
static AUDIT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("audit("));

/// How lines of a source become events.
#[derive(Clone, Debug)]
pub struct Multiline {
    /// Which lines belong together.
    pub by: LinesBy,
    /// How long an event waits for its next lines, ns of stream time.
    pub wait_ns: i64,
}

/// Which lines belong together.
#[derive(Clone, Debug)]
pub enum LinesBy {
    /// A line that matches begins an event.
    Starts(regex::bytes::Regex),
    /// A line that matches belongs to the event before it.
    Continues(regex::bytes::Regex),
    /// A JSON object or list goes on until its brackets are closed.
    Json,
}

impl LinesBy {
    /// A line that matches begins an event. Out: `None` when it is no expression.
    pub fn starts(expression: &str) -> Option<Self> {
        regex::bytes::Regex::new(expression).ok().map(Self::Starts)
    }

    /// A line that matches belongs to the event before it. Out: as above.
    pub fn continues(expression: &str) -> Option<Self> {
        regex::bytes::Regex::new(expression).ok().map(Self::Continues)
    }
}

/// A record on its way through.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its offset.
    pub offset: u64,
    /// Wall clock at receipt.
    pub wall_ns: i64,
    /// Stream time.
    pub stream_ns: i64,
    /// Sender.
    pub envelope: &'a Arc<Envelope>,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What records have become together; a single one whose others never came, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Offset of the first part.
    pub first: u64,
    /// Offset of the last part.
    pub last: u64,
    /// Wall clock at receipt of the last part.
    pub wall_ns: i64,
    /// Stream time of the last part.
    pub stream_ns: i64,
    /// Sender of the last part.
    pub envelope: Arc<Envelope>,
    /// The parts' bytes, one a line.
    pub bytes: Vec<u8>,
    /// How many.
    pub parts: u64,
    /// Parts are missing, as far as can be told.
    pub is_short: bool,
}

/// What happened to a record that belongs with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its event's first part.
    pub first: u64,
    /// The part before it, which is now joined: its time of receipt.
    pub joined_wall_ns: Option<i64>,
}

/// What changed about what is held: for keeping it over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinChange {
    /// The record at `offset` waits with the one at `first`.
    Held {
        /// First part of its event.
        first: u64,
        /// The part.
        offset: u64,
    },
    /// The event that began at `first` waits no longer.
    Closed {
        /// Its first part.
        first: u64,
    },
}

/// What tells whether all parts are there.
#[derive(Debug)]
enum Kind {
    Audit {
        has_call: bool,
        /// Paths that the call announced and that have not come.
        paths_due: i64,
    },
    Numbered {
        total: u32,
        /// Index and place of each part.
        pieces: Vec<(u32, Range<usize>)>,
    },
    Lines,
    Json(Brackets),
}

#[derive(Debug)]
struct Open {
    whole: Whole,
    kind: Kind,
    /// Stream time from which it is not waited for.
    until_ns: i64,
}

/// Events that wait for parts.
#[derive(Debug, Default)]
pub struct Joins {
    open: HashMap<Vec<u8>, Open>,
    /// First parts in order, with the key; some may be closed already.
    order: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    key: Vec<u8>,
    /// A line that was taken out of an object.
    line: Vec<u8>,
    changes: Vec<JoinChange>,
}

/// What a record is a part of; its key is written aside.
enum Class {
    Audit(Role, i64, bool),
    Numbered { index: u32, total: u32 },
    Lines { begins: bool },
    Json,
}

impl Joins {
    /// Takes the next record in. Out: `None` when it stands alone; else it must not be handed on
    /// itself: `out` gets the wholes that take its place, often none.
    pub fn push(
        &mut self,
        part: &Part<'_>,
        lines: Option<&Multiline>,
        out: &mut Vec<Whole>,
    ) -> Option<Taken> {
        let class = self.classify(part, lines)?;
        let is_open = self.open.contains_key(&self.key);
        match &class {
            Class::Audit(Role::Whole, ..) => return None,
            // The end of an event that was not begun here.
            Class::Audit(Role::Last, ..) if !is_open => return None,
            Class::Json if !is_open && Brackets::default().closes(part.bytes) => return None,
            Class::Lines { begins: true } if is_open => self.close(false, out),
            _ => {}
        }
        self.make_room(part.bytes.len(), out);
        let wait_ns = lines.map_or(WAIT_NS, |l| l.wait_ns);
        let taken = self.add(part, &class, wait_ns);
        if self.open.get(&self.key).is_some_and(|open| open.is_complete(&class)) {
            self.close(false, out);
        }
        Some(taken)
    }

    /// Takes a record in that was held when the machine of an earlier run stopped.
    pub fn restore(&mut self, part: &Part<'_>, lines: Option<&Multiline>) {
        let Some(class) = self.classify(part, lines) else { return };
        let wait_ns = lines.map_or(WAIT_NS, |l| l.wait_ns);
        self.add(part, &class, wait_ns);
        self.changes.clear();
    }

    /// Hands on what has waited until `stream_ns`.
    pub fn expire(&mut self, stream_ns: i64, out: &mut Vec<Whole>) {
        if self.open.is_empty() {
            self.order.clear();
            return;
        }
        let due: Vec<_> = self.in_order(|open| open.until_ns <= stream_ns);
        for key in due {
            self.key = key;
            self.close(true, out);
        }
        let open = &self.open;
        self.order.retain(|(first, key)| open.get(key).is_some_and(|o| o.whole.first == *first));
    }

    /// Hands on everything: nothing more will come.
    pub fn finish(&mut self, out: &mut Vec<Whole>) {
        self.expire(i64::MAX, out);
    }

    /// What changed since this was last asked, in order.
    pub fn changes(&mut self) -> Vec<JoinChange> {
        std::mem::take(&mut self.changes)
    }

    fn in_order(&self, due: impl Fn(&Open) -> bool) -> Vec<Vec<u8>> {
        let known = self.order.iter().filter(|(first, key)| {
            self.open.get(key).is_some_and(|open| open.whole.first == *first && due(open))
        });
        known.map(|(_, key)| key.clone()).collect()
    }

    /// Tells what the record is a part of, and writes the key of its event.
    fn classify(&mut self, part: &Part<'_>, lines: Option<&Multiline>) -> Option<Class> {
        if part.envelope.protocol == Protocol::Internal {
            return None;
        }
        let head = &part.bytes[..part.bytes.len().min(HEAD_BYTES_MAX)];
        if let Some(lines) = lines {
            let class = match &lines.by {
                LinesBy::Starts(start) => Class::Lines { begins: start.is_match(part.bytes) },
                LinesBy::Continues(more) => Class::Lines { begins: !more.is_match(part.bytes) },
                LinesBy::Json => Class::Json,
            };
            stream_key(part.envelope, &mut self.key);
            self.key.push(b'l');
            return Some(class);
        }
        // What wraps others' lines in JSON sends them one by one, and often out of order; senders to the
        // event collector send them as they read them.
        if matches!(head.first(), None | Some(b'{')) {
            return match part.envelope.protocol {
                Protocol::Hec => self.carried_audit(part),
                _ => None,
            };
        }
        if AUDIT.find(head).is_some() {
            return self.audit(part);
        }
        numbered(head).map(|found| {
            stream_key(part.envelope, &mut self.key);
            self.key.push(b'n');
            sender(&head[..found.at], &mut self.key);
            self.key.extend_from_slice(found.id);
            Class::Numbered { index: found.index, total: found.total }
        })
    }

    fn audit(&mut self, part: &Part<'_>) -> Option<Class> {
        let (at, record) = auditd::find(part.bytes)?;
        let role = record.role();
        if role == Role::Whole {
            return None;
        }
        stream_key(part.envelope, &mut self.key);
        self.key.push(b'a');
        sender(&part.bytes[..at], &mut self.key);
        for piece in [record.node.unwrap_or_default(), record.stamp, record.serial] {
            self.key.extend_from_slice(piece);
            self.key.push(b' ');
        }
        let items = match role {
            Role::Call => record.pairs().find(|(key, _)| *key == b"items").map(|(_, n)| n),
            _ => None,
        };
        let items = items.and_then(|n| std::str::from_utf8(&n).ok()?.parse().ok()).unwrap_or(0);
        Some(Class::Audit(role, items, record.name() == b"PATH"))
    }

    /// The same for a line in an object: one sender may send for many hosts.
    fn carried_audit(&mut self, part: &Part<'_>) -> Option<Class> {
        let searched = &part.bytes[..part.bytes.len().min(CARRIED_BYTES_MAX)];
        AUDIT.find(searched)?;
        let Carried { place, from } = Carried::of(part.bytes)?;
        let mut line = std::mem::take(&mut self.line);
        let is_text = parse::json::unescape(&part.bytes[place], 0, &mut line).is_ok();
        let class = self.audit(&Part { bytes: &line, ..*part }).filter(|_| is_text);
        self.line = line;
        for value in from {
            self.key.extend_from_slice(value);
            self.key.push(b' ');
        }
        class
    }

    fn add(&mut self, part: &Part<'_>, class: &Class, wait_ns: i64) -> Taken {
        if !self.open.contains_key(&self.key) {
            let whole = Whole {
                first: part.offset,
                last: part.offset,
                wall_ns: part.wall_ns,
                stream_ns: part.stream_ns,
                envelope: part.envelope.clone(),
                bytes: Vec::new(),
                parts: 0,
                is_short: false,
            };
            let until_ns = part.stream_ns.saturating_add(wait_ns);
            self.order.push_back((part.offset, self.key.clone()));
            self.open.insert(self.key.clone(), Open { whole, kind: class.kind(), until_ns });
        }
        let Some(open) = self.open.get_mut(&self.key) else {
            return Taken { first: part.offset, joined_wall_ns: None };
        };
        let whole = &mut open.whole;
        let joined_wall_ns = (whole.parts > 0).then_some(whole.wall_ns);
        let before = whole.bytes.len();
        if before > 0 {
            whole.bytes.push(b'\n');
        }
        let from = whole.bytes.len();
        whole.bytes.extend_from_slice(part.bytes);
        (whole.last, whole.wall_ns, whole.stream_ns) = (part.offset, part.wall_ns, part.stream_ns);
        whole.envelope = part.envelope.clone();
        whole.parts += 1;
        open.kind.note(class, from..whole.bytes.len(), part.bytes);
        self.bytes += whole.bytes.len() - before;
        let first = whole.first;
        self.changes.push(JoinChange::Held { first, offset: part.offset });
        Taken { first, joined_wall_ns }
    }

    /// Hands on the event at `self.key`.
    fn close(&mut self, waited: bool, out: &mut Vec<Whole>) {
        let Some(open) = self.open.remove(&self.key) else { return };
        self.bytes -= open.whole.bytes.len();
        self.changes.push(JoinChange::Closed { first: open.whole.first });
        let is_short = open.is_short(waited);
        let mut whole = open.whole;
        whole.is_short = is_short;
        if let Kind::Numbered { mut pieces, .. } = open.kind {
            pieces.sort_by_key(|(index, _)| *index);
            let lines: Vec<&[u8]> = pieces.iter().map(|(_, at)| &whole.bytes[at.clone()]).collect();
            whole.bytes = lines.join(&b'\n');
        }
        out.push(whole);
    }

    /// Makes room for so many bytes more of the event at `self.key`: first of all events the oldest
    /// goes on, and the event itself when it would become too large.
    fn make_room(&mut self, bytes: usize, out: &mut Vec<Whole>) {
        let too_large = |open: &Open| {
            open.whole.bytes.len() + bytes > WHOLE_BYTES_MAX
                || open.whole.parts as usize >= PARTS_MAX
        };
        if self.open.get(&self.key).is_some_and(too_large) {
            self.close(true, out);
        }
        let is_new = !self.open.contains_key(&self.key);
        let own = std::mem::take(&mut self.key);
        while self.open.len() + usize::from(is_new) > OPEN_MAX
            || (self.bytes + bytes > OPEN_BYTES_MAX && !self.open.is_empty())
        {
            let Some((first, key)) = self.order.pop_front() else { break };
            if self.open.get(&key).is_some_and(|open| open.whole.first == first) {
                self.key = key;
                self.close(true, out);
            }
        }
        self.key = own;
        // Events that closed long ago stand behind one that still waits.
        if self.order.len() > 2 * (self.open.len() + OPEN_MAX) {
            let open = &self.open;
            self.order
                .retain(|(first, key)| open.get(key).is_some_and(|o| o.whole.first == *first));
        }
    }
}

impl Class {
    fn kind(&self) -> Kind {
        match self {
            Class::Audit(..) => Kind::Audit { has_call: false, paths_due: 0 },
            Class::Numbered { total, .. } => Kind::Numbered { total: *total, pieces: Vec::new() },
            Class::Lines { .. } => Kind::Lines,
            Class::Json => Kind::Json(Brackets::default()),
        }
    }
}

impl Kind {
    fn note(&mut self, class: &Class, place: Range<usize>, bytes: &[u8]) {
        match (self, class) {
            (Kind::Audit { has_call, paths_due }, Class::Audit(role, items, is_path)) => {
                *has_call |= *role == Role::Call;
                *paths_due = paths_due.saturating_add(*items).saturating_sub(i64::from(*is_path));
            }
            (Kind::Numbered { pieces, .. }, Class::Numbered { index, .. }) => {
                pieces.push((*index, place));
            }
            (Kind::Json(brackets), _) => {
                brackets.closes(bytes);
            }
            _ => {}
        }
    }
}

impl Open {
    fn is_complete(&self, last: &Class) -> bool {
        match &self.kind {
            Kind::Audit { .. } => matches!(last, Class::Audit(Role::Last, ..)),
            Kind::Numbered { total, pieces } => missing(*total, pieces) == 0,
            Kind::Lines => false,
            Kind::Json(brackets) => brackets.depth <= 0,
        }
    }

    /// Whether parts are missing. `waited`: it was closed because of a limit.
    fn is_short(&self, waited: bool) -> bool {
        match &self.kind {
            // A record of a kind that may come alone has come alone.
            Kind::Audit { has_call: false, .. } if self.whole.parts == 1 => {
                let found = auditd::find(&self.whole.bytes);
                found.is_some_and(|(_, r)| matches!(r.name(), b"EXECVE" | b"PATH" | b"CWD"))
            }
            Kind::Audit { has_call, paths_due } => !has_call || *paths_due > 0,
            Kind::Numbered { total, pieces } => missing(*total, pieces) > 0,
            // There is no telling whether a trace goes on, unless it has hit the limit of its size.
            Kind::Lines => waited && self.whole.bytes.len() > WHOLE_BYTES_MAX / 2,
            Kind::Json(brackets) => brackets.depth > 0,
        }
    }
}

fn missing(total: u32, pieces: &[(u32, Range<usize>)]) -> u32 {
    let mut seen: Vec<u32> = pieces.iter().map(|(index, _)| *index).collect();
    seen.sort_unstable();
    seen.dedup();
    total.saturating_sub(seen.len() as u32)
}

/// Open brackets of JSON text, outside of its strings.
#[derive(Clone, Copy, Debug, Default)]
struct Brackets {
    depth: i64,
    in_string: bool,
}

impl Brackets {
    /// Reads on. Out: whether nothing is open behind it.
    fn closes(&mut self, text: &[u8]) -> bool {
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match (self.in_string, byte) {
                (true, b'\\') => {
                    bytes.next();
                }
                (_, b'"') => self.in_string = !self.in_string,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => self.depth -= 1,
                _ => {}
            }
        }
        self.in_string = false;
        self.depth <= 0
    }
}

/// Who sent a line, as far as its header says: the words in front that are neither a time nor a
/// number of a process, so that lines of two machines over one relay are kept apart.
fn sender(header: &[u8], key: &mut Vec<u8>) {
    for word in header.split(|c| *c == b' ') {
        if !word.is_empty() && !word.contains(&b':') && !word.contains(&b'<') {
            key.extend_from_slice(word);
            key.push(b' ');
        }
    }
}

/// One of several numbered parts: `CISE_Failed_Attempts 0001939187 4 0 ...`.
pub(crate) struct NumberedPart<'a> {
    /// Where the category begins.
    pub(crate) at: usize,
    /// Category and number of the message.
    pub(crate) id: &'a [u8],
    /// Parts in all, at least 2.
    pub(crate) total: u32,
    /// This one's index, from 0.
    pub(crate) index: u32,
    /// Where its text begins.
    pub(crate) text_at: usize,
}

/// Categories of Cisco's identity servers, which number the parts of long messages.
const NUMBERED_NAMES: [&str; 2] = ["CISE_", "CSCOacs_"];
static NUMBERED: LazyLock<[memmem::Finder<'static>; 2]> =
    LazyLock::new(|| NUMBERED_NAMES.map(memmem::Finder::new));
/// Most parts of one message that are believed.
const NUMBERED_MAX: u32 = 256;

/// Reads the numbers of a part. Source: Cisco ISE syslog guide, "message id, total, segment".
pub(crate) fn numbered(line: &[u8]) -> Option<NumberedPart<'_>> {
    let head = &line[..line.len().min(HEAD_BYTES_MAX)];
    let at = NUMBERED.iter().find_map(|name| name.find(head))?;
    let name_len = head[at..].iter().position(|c| *c == b' ')?;
    let mut place = at + name_len;
    let mut number = |digits: Range<usize>| {
        place += head.get(place..)?.iter().position(|c| *c != b' ')?;
        let from = place;
        place += head[from..].iter().position(|c| !c.is_ascii_digit())?;
        (digits.contains(&(place - from)) && head[place] == b' ').then_some(from..place)
    };
    let (id, total, index) = (number(10..11)?, number(1..4)?, number(1..4)?);
    let value = |at: Range<usize>| std::str::from_utf8(&head[at]).ok()?.parse::<u32>().ok();
    let (total, index) = (value(total)?, value(index)?);
    let fits = (2..=NUMBERED_MAX).contains(&total) && index < total;
    fits.then_some(NumberedPart { at, id: &head[at..id.end], total, index, text_at: place + 1 })
}

/// The text of numbered parts, one a line and in order, as if it had come in one: the first line as
/// it is, of the others what stands behind their numbers. Out: whether they were such.
pub(crate) fn assemble(text: &[u8], program: &[u8], out: &mut Vec<u8>) -> bool {
    let starts = |t: &[u8]| NUMBERED_NAMES.iter().any(|name| t.starts_with(name.as_bytes()));
    let names = starts(program) || starts(text);
    let Some(end) = names.then(|| memchr::memchr(b'\n', text)).flatten() else { return false };
    out.clear();
    out.extend_from_slice(&text[..end]);
    for line in text[end + 1..].split(|c| *c == b'\n') {
        match numbered(line) {
            Some(part) => out.extend_from_slice(&line[part.text_at..]),
            None => {
                out.push(b'\n');
                out.extend_from_slice(line);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Line {
        joins: Joins,
        envelope: Arc<Envelope>,
        offset: u64,
        lines: Option<Multiline>,
    }

    impl Line {
        fn new(lines: Option<Multiline>) -> Self {
            let envelope = Arc::new(Envelope::of("s", Protocol::SyslogTcp));
            Self { joins: Joins::default(), envelope, offset: 0, lines }
        }

        /// Alone as `=`, held as nothing, else the wholes.
        fn push(&mut self, text: &str) -> Vec<String> {
            let (offset, envelope) = (self.offset, &self.envelope);
            self.offset += 1;
            let ns = offset as i64 * 100_000_000;
            let part =
                Part { offset, wall_ns: ns, stream_ns: ns, envelope, bytes: text.as_bytes() };
            let mut out = Vec::new();
            match self.joins.push(&part, self.lines.as_ref(), &mut out) {
                None => vec!["=".into()],
                Some(_) => shown(&out),
            }
        }

        fn expire(&mut self, seconds: f64) -> Vec<String> {
            let mut out = Vec::new();
            self.joins.expire((seconds * 1e9) as i64, &mut out);
            shown(&out)
        }
    }

    fn shown(wholes: &[Whole]) -> Vec<String> {
        let one = |w: &Whole| {
            let text = String::from_utf8_lossy(&w.bytes).replace('\n', "|");
            let short = if w.is_short { " short" } else { "" };
            format!("{}-{} {}{short}: {text}", w.first, w.last, w.parts)
        };
        wholes.iter().map(one).collect()
    }

    fn audit(kind: &str, serial: u32, rest: &str) -> String {
        format!("type={kind} msg=audit(1604996384.965:{serial}): {rest}")
    }

    #[test]
    fn audit_records_between_others_become_one() {
        let mut s = Line::new(None);
        let (call, cwd) = (audit("SYSCALL", 7, "items=1 pid=1"), audit("CWD", 7, "cwd=\"/\""));
        let (path, title) = (audit("PATH", 7, "item=0"), audit("PROCTITLE", 7, "proctitle=6964"));
        assert_eq!(s.push(&call), [] as [&str; 0]);
        assert_eq!(s.push("other"), ["="]);
        assert_eq!(s.push(&audit("USER_AUTH", 8, "pid=1")), ["="]);
        assert_eq!(s.push(&cwd), [] as [&str; 0]);
        assert_eq!(s.push(&audit("SYSCALL", 9, "items=0")), [] as [&str; 0]);
        assert_eq!(s.push(&path), [] as [&str; 0]);
        assert_eq!(s.push(&title), [format!("0-6 4: {call}|{cwd}|{path}|{title}")]);
        assert_eq!(s.push(&audit("EOE", 7, "")), ["="], "the end of what is done");
        assert_eq!(s.expire(2.3), [] as [&str; 0]);
        let waited = format!("4-4 1: {}", audit("SYSCALL", 9, "items=0"));
        assert_eq!(s.expire(2.4), [waited], "all that was announced is there");
        assert!(s.joins.order.is_empty() && s.joins.bytes == 0);
    }

    #[test]
    fn audit_records_in_objects_of_the_event_collector_become_one() {
        let object = |host: &str, line: &str| {
            format!("{{\"host\":\"{host}\",\"event\":{}}}", serde_json::Value::from(line))
        };
        let (call, cwd) = (audit("SYSCALL", 7, "items=0"), audit("CWD", 7, "cwd=\"/\""));
        let title = audit("PROCTITLE", 7, "proctitle=6964");
        let [a, b, c] = [&call, &cwd, &title].map(|line| object("a", line));
        let mut s = Line::new(None);
        assert_eq!(s.push(&a), ["="], "over other doors they stand alone");
        s.envelope = Arc::new(Envelope::of("s", Protocol::Hec));
        assert_eq!(s.push(&a), [] as [&str; 0]);
        assert_eq!(s.push(&object("b", &call)), [] as [&str; 0], "another host's");
        assert_eq!(s.push("{\"event\":{\"text\":\"audit(1:2)\"}}"), ["="]);
        assert_eq!(s.push(&b), [] as [&str; 0]);
        assert_eq!(s.push(&c), [format!("1-5 3: {a}|{b}|{c}")]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut s = Line::new(None);
        s.push(&audit("SYSCALL", 1, "items=2"));
        s.push(&audit("PATH", 1, "item=0"));
        s.push(&audit("EXECVE", 2, "argc=1"));
        s.push(&audit("AVC", 3, "avc: denied"));
        let out = s.expire(100.0);
        assert!(out[0].starts_with("0-1 2 short:"), "{out:?}");
        assert!(out[1].starts_with("2-2 1 short:") && out[2].starts_with("3-3 1: "), "{out:?}");
    }

    #[test]
    fn streams_and_machines_do_not_mix() {
        let mut s = Line::new(None);
        let from = |host: &str, kind, rest| {
            format!("<13>Mar  5 14:00:00 {host} audispd[7]: {}", audit(kind, 7, rest))
        };
        s.push(&from("web1", "SYSCALL", "items=0"));
        s.push(&from("web2", "SYSCALL", "items=0"));
        assert!(s.push(&from("web2", "PROCTITLE", ""))[0].starts_with("1-2 2: "));
        s.envelope = Arc::new(Envelope { connection: 9, ..(*s.envelope).clone() });
        assert_eq!(s.push(&from("web1", "PROCTITLE", "")), ["="], "another connection");
    }

    #[test]
    fn numbered_parts_come_in_any_order() {
        let mut s = Line::new(None);
        let part = |index: u32, text: &str| {
            format!("<181>Mar  5 14:00:00 ise1 CISE_Failed_Attempts 0001939187 3 {index} {text}")
        };
        assert_eq!(s.push(&part(2, "c=3")), [] as [&str; 0]);
        assert_eq!(s.push(&part(0, "2024-03-05 a=1,")), [] as [&str; 0]);
        assert_eq!(s.push(&part(0, "2024-03-05 a=1,")), [] as [&str; 0], "a repeat");
        let all = s.push(&part(1, "b=2,"));
        assert!(all[0].starts_with("0-3 4: <181>") && all[0].ends_with(" 3 2 c=3"), "{all:?}");
        assert_eq!(s.push(&part(7, "x")), ["="], "no such index");
        s.push(&part(1, "b=2,"));
        assert!(s.expire(100.0)[0].contains(" 1 short: "));
        let mut out = Vec::new();
        let text = b"CISE_X 0001939187 2 0 a=1,\n<1>h CISE_X 0001939187 2 1 b=2,";
        assert!(assemble(text, b"", &mut out));
        assert_eq!(out, b"CISE_X 0001939187 2 0 a=1,b=2,");
        assert!(!assemble(b"a\nb", b"x", &mut out));
    }

    #[test]
    fn lines_by_a_setting() {
        let re = |text| regex::bytes::Regex::new(text).unwrap();
        let by = |by| Some(Multiline { by, wait_ns: 1_000_000_000 });
        let mut s = Line::new(by(LinesBy::Continues(re(r"^\s|^Caused by"))));
        assert_eq!(s.push("E one"), [] as [&str; 0]);
        assert_eq!(s.push("  at x"), [] as [&str; 0]);
        assert_eq!(s.push("Caused by y"), [] as [&str; 0]);
        assert_eq!(s.push("E two"), ["0-2 3: E one|  at x|Caused by y"]);
        assert_eq!(s.expire(1.29), [] as [&str; 0]);
        assert_eq!(s.expire(1.3), ["3-3 1: E two"]);
        let mut s = Line::new(by(LinesBy::Starts(re(r"^\d{4}-"))));
        s.push("2024- a");
        s.push("b");
        assert_eq!(s.push("2024- c"), ["0-1 2: 2024- a|b"]);
        let mut s = Line::new(by(LinesBy::Json));
        assert_eq!(s.push(r#"{"a":1}"#), ["="]);
        assert_eq!(s.push("text"), ["="]);
        assert_eq!(s.push("{"), [] as [&str; 0]);
        assert_eq!(s.push(r#" "a": "}}\"{" "#), [] as [&str; 0]);
        assert_eq!(s.push("}"), [r#"2-4 3: {| "a": "}}\"{" |}"#]);
        s.push("{");
        assert_eq!(s.expire(100.0), ["5-5 1 short: {"]);
    }

    /// Scenario: a sender invents events without end, one of them with parts without end.
    /// Guarantees: what is held stays within its limits, and every part comes out once.
    #[test]
    fn a_flood_stays_within_its_limits() {
        let mut s = Line::new(None);
        let mut out = 0;
        let parts = |wholes: Vec<String>| -> u64 {
            let count = |w: &String| w.split(' ').nth(1)?.trim_end_matches(':').parse::<u64>().ok();
            wholes.iter().filter_map(count).sum()
        };
        for n in 0..20_000u32 {
            out += parts(s.push(&audit("SYSCALL", n, "items=1")));
            out += parts(s.push(&audit("PATH", 1, &"x".repeat(2_000))));
            assert!(s.joins.open.len() <= OPEN_MAX && s.joins.bytes <= OPEN_BYTES_MAX);
            assert!(s.joins.order.len() <= 4 * OPEN_MAX + 2);
        }
        out += parts(s.expire(1e9));
        assert_eq!((out, s.joins.bytes, s.joins.order.len()), (40_000, 0, 0));
    }

    /// Scenario: what is held is rebuilt from the changes, as after a restart, at every place.
    /// Guarantees: the rebuilt machine goes on as the first one does.
    #[test]
    fn what_is_held_can_be_rebuilt() {
        let story: Vec<String> = (0..60u32)
            .map(|n| match n % 4 {
                0 => audit("SYSCALL", n / 8, "items=1"),
                1 => audit("PATH", n / 8, "item=0"),
                2 => "other".into(),
                _ => audit("PROCTITLE", n / 8 + n % 3, "x"),
            })
            .collect();
        let whole = |joins: &mut Joins, offset: usize, envelope: &Arc<Envelope>| {
            let bytes = story[offset].as_bytes();
            let (offset, ns) = (offset as u64, offset as i64);
            let part = Part { offset, wall_ns: ns, stream_ns: ns, envelope, bytes };
            let mut out = Vec::new();
            let taken = joins.push(&part, None, &mut out);
            (taken, out)
        };
        let envelope = Arc::new(Envelope::of("s", Protocol::File));
        let (mut first, mut held) = (Joins::default(), std::collections::BTreeMap::new());
        let mut outcomes = Vec::new();
        let mut states = Vec::new();
        for offset in 0..story.len() {
            states.push(held.keys().copied().collect::<Vec<u64>>());
            outcomes.push(whole(&mut first, offset, &envelope));
            for change in first.changes() {
                match change {
                    JoinChange::Held { first, offset } => _ = held.insert(offset, first),
                    JoinChange::Closed { first } => held.retain(|_, f| *f != first),
                }
            }
        }
        assert!(states.iter().any(|s| s.len() > 3));
        for (begin, state) in states.iter().enumerate() {
            let mut joins = Joins::default();
            for offset in state {
                let bytes = story[*offset as usize].as_bytes();
                let (offset, ns, envelope) = (*offset, *offset as i64, &envelope);
                joins.restore(&Part { offset, wall_ns: ns, stream_ns: ns, envelope, bytes }, None);
            }
            for (offset, outcome) in outcomes.iter().enumerate().skip(begin) {
                assert_eq!(whole(&mut joins, offset, &envelope), *outcome, "{begin}");
            }
        }
    }
}
