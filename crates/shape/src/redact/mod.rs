//! Redaction: values that nobody behind shaping may see, taken out of the event and of its record.
//!
//! ```text
//! chosen fields --+--> values --> where they stand in the record  --+--> the record, rewritten;
//! secrets in text +                and in other fields of the event +    values that are pieces of it follow
//! ```
//! It is the last step of shaping: tables have seen the true values, and rules, dedupe, the store,
//! alerts and live viewers see what it leaves, all of them the same. So a search and a rule over
//! stored events find what was found live, and no alert tells what the store hides.
//!
//! Invariants: a record that was redacted and is shaped anew stays as it is; fields that rules ask
//! about what happened (see [`Class::Guarded`]) are never touched because somebody calls himself
//! like their value.
//!
//! Reading order: [`spec`] (the file of rules), [`pseudonym`], `secrets` (what is one),
//! `occurrences` (where a value stands in a text), `words` (which values are left in sentences),
//! this file (the step).

mod occurrences;
pub mod pseudonym;
mod secrets;
pub mod spec;
mod words;

use crate::program::Work;
use crate::{text, value};
use event::{Dictionary, DictionaryBuilder, Edit, FieldId, Kind, Marks, Protocol, RowWriter};
use filter::{Binding, Plan};
use hashbrown::HashMap;
use pseudonym::{Key, MASK, MASK_ADDRESS};
use secrets::Finder;
pub use spec::RedactionError;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// Field that names the fields out of which something was taken.
pub const FIELDS: &str = "alcedo.redacted";
/// Field that names the rules that took something.
pub const RULES: &str = "alcedo.redacted_by";

/// Values of fewer bytes are replaced where their field stands, not wherever the record has them.
const TELLING_BYTES_MIN: usize = 3;
/// Most values of one event that are looked for; further ones are replaced where their fields stand, and
/// a record in which that cannot be told is masked whole: nobody may make looking take long.
const VALUES_MAX: usize = 32;
/// Fewer bytes are no text: no secrets are looked for in them.
const TEXT_BYTES_MIN: usize = 8;
/// Most pseudonyms that a worker keeps.
const MEMO_MAX: usize = 8_192;

/// What is put in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The same name for the same value.
    Pseudonym,
    /// [`MASK`], [`MASK_ADDRESS`] for an address.
    Mask,
    /// The field goes; the record has what masks it.
    Remove,
}

/// One rule.
pub(crate) struct Rule {
    name: String,
    /// Names of fields, or groups of them: `user.*`.
    fields: Vec<String>,
    form: Form,
    when: Option<Plan>,
    finder: Option<Finder>,
    /// Also where a value stands in fields that tell what happened.
    everywhere: bool,
}

/// All rules with their key, before names are ids.
pub struct Redaction {
    key: Key,
    rules: Vec<Rule>,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| &rule.name)).finish()
    }
}

impl Redaction {
    /// Adds the names that rules read and write.
    pub fn register(&self, names: &mut DictionaryBuilder) {
        for rule in &self.rules {
            for field in rule.fields.iter().filter(|field| !field.ends_with('*')) {
                names.field(field);
            }
            for field in rule.when.iter().flat_map(Plan::fields) {
                names.field(field);
            }
        }
    }

    /// The pseudonym that takes a value's place: for whoever may know the value, to search for it.
    pub fn pseudonym(&self, value: &str) -> String {
        self.key.pseudonym(value.as_bytes())
    }
}

/// What a field is to the redaction of another one's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Text for people: values are replaced wherever they stand in it as words.
    Text,
    /// Says who: the same value is replaced, also behind `DOMAIN\` and before `@domain`.
    Who,
    /// Says what happened (`event.*`, `process.*`, `url.*`, tags). Senders choose their names: were
    /// the value replaced here, too, who calls himself `GET` could hide from rules.
    Guarded,
}

/// Groups of ECS fields that say who.
const WHO: &[&str] = &[
    "user.",
    "source.",
    "destination.",
    "client.",
    "server.",
    "host.",
    "related.",
    "email.",
    "group.",
    "organization.",
    "threat.indicator.",
    "alcedo.person.",
    "alcedo.asset.",
];

/// A worker's buffers.
#[derive(Default)]
pub(crate) struct Scratch {
    memo: HashMap<Box<[u8]>, Box<str>>,
    memo_of: usize,
    wide: Vec<u8>,
    spans: Vec<Range<usize>>,
}

/// The rules compiled for one generation.
pub(crate) struct Redactor {
    redaction: Arc<Redaction>,
    bindings: Vec<Option<Binding>>,
    /// By field id: the rules that choose it, a bit each.
    chosen: Vec<u64>,
    classes: Vec<Class>,
    /// By field id: the rules to which its name says that it holds a secret.
    secret_names: Vec<u64>,
    message: FieldId,
    fields: FieldId,
    rules: FieldId,
}

/// A value that is to go.
#[derive(Clone)]
struct Found {
    value: Box<[u8]>,
    /// What takes its place.
    text: Box<str>,
    everywhere: bool,
    /// It is looked for where its fields stand only.
    in_place: bool,
}

/// What becomes of a cell that is no piece of the record.
enum Change {
    Whole(Box<str>),
    Parts(Vec<u8>),
}

/// What is found out about one row.
#[derive(Default)]
struct Plot {
    found: Vec<Found>,
    /// Cells whose whole value goes: index, which of `found`.
    taken: Vec<(usize, usize)>,
    /// Cells that go as a whole.
    removed: Vec<usize>,
    edits: Vec<Edit>,
    changes: Vec<(usize, Change)>,
    fields: Vec<FieldId>,
    /// Rules that took something, a bit each.
    rules: u64,
}

impl Redactor {
    pub(crate) fn new(redaction: Arc<Redaction>, dict: &Dictionary) -> Self {
        let names = || (0..dict.len()).map(|id| dict.name(FieldId(id as u32)));
        let bits = |holds: &dyn Fn(&Rule, &str) -> bool| -> Vec<u64> {
            let of = |name| {
                let rules = redaction.rules.iter().enumerate();
                rules.filter(|(_, rule)| holds(rule, name)).fold(0, |bits, (at, _)| bits | 1 << at)
            };
            names().map(of).collect()
        };
        let id = |name| dict.id(name).unwrap_or(FieldId::TIMESTAMP);
        let bind = |rule: &Rule| rule.when.as_ref().map(|plan| plan.bind(dict));
        let ecs = Dictionary::ecs();
        Self {
            bindings: redaction.rules.iter().map(bind).collect(),
            chosen: bits(&|rule, name| rule.chooses(name)),
            secret_names: bits(&|rule, name| rule.names_secret(name)),
            classes: names().map(|name| class_of(name, ecs.id(name).is_some())).collect(),
            message: id("message"),
            fields: id(FIELDS),
            rules: id(RULES),
            redaction,
        }
    }

    /// Takes out of the row what the rules say. What it wrote last is the mark.
    pub(crate) fn apply(&self, row: &mut RowWriter<'_>, work: &mut Work, scratch: &mut Scratch) {
        // What Alcedo says of itself is on record with names: it is the audit.
        if row.envelope().protocol == Protocol::Internal {
            return;
        }
        let active = self.active(row);
        if active == 0 {
            return;
        }
        let mut plot = Plot::default();
        self.values(row, active, scratch, &mut plot);
        let raw = row.raw();
        let mut wide = std::mem::take(&mut scratch.wide);
        let is_wide = text::from_utf16(raw, &mut wide);
        let record = if is_wide { wide.as_slice() } else { raw };
        self.secrets(row, record, active, scratch, &mut plot);
        if !plot.found.is_empty() {
            self.places(row, record, scratch, &mut plot);
        }
        settle(&mut plot.edits);
        if !plot.edits.is_empty() || is_wide && !(plot.changes.is_empty() && plot.taken.is_empty())
        {
            row.rewrite(record, &plot.edits);
        }
        scratch.wide = wide;
        self.write(row, work, plot);
    }

    /// The rules whose condition holds, a bit each.
    fn active(&self, row: &mut RowWriter<'_>) -> u64 {
        let mut active = 0;
        for (at, (rule, binding)) in self.redaction.rules.iter().zip(&self.bindings).enumerate() {
            let holds = match (&rule.when, binding) {
                (Some(plan), Some(binding)) => plan.matches(binding, &row.view()),
                _ => true,
            };
            active |= u64::from(holds) << at;
        }
        active
    }

    /// The values of chosen fields, and of those whose name says that they hold a secret.
    fn values(&self, row: &RowWriter<'_>, active: u64, scratch: &mut Scratch, plot: &mut Plot) {
        for at in 0..row.cell_count() {
            let (field, value) = row.cell(at);
            let (chosen, named) = self.rules_of(row, field);
            let rules = (chosen | named) & active;
            if rules == 0 || value.kind == Kind::Null || value.bytes.is_empty() {
                continue;
            }
            let rule = rules.trailing_zeros() as usize;
            let is_done = self.is_done(value.bytes);
            if !is_done && secrets::is_attack(value.bytes) {
                continue;
            }
            plot.note(field, 1 << rule);
            if self.redaction.rules[rule].form == Form::Remove {
                plot.removed.push(at);
            }
            if is_done {
                continue;
            }
            // A secret is no name by which others fields could call the same thing.
            let in_place = chosen & active == 0;
            let place = self.find(value.bytes, rule, in_place, scratch, plot);
            plot.taken.push((at, place));
        }
    }

    /// Which of the values this is; it is added if it is new.
    fn find(
        &self,
        value: &[u8],
        rule: usize,
        in_place: bool,
        scratch: &mut Scratch,
        plot: &mut Plot,
    ) -> usize {
        let same = |f: &Found| f.in_place == in_place && occurrences::same(&f.value, value);
        if let Some(place) = plot.found.iter().position(same) {
            return place;
        }
        let rule = &self.redaction.rules[rule];
        plot.found.push(Found {
            text: self.text(value, rule.form, scratch),
            value: value.into(),
            everywhere: rule.everywhere && !in_place,
            in_place: in_place || value.len() < TELLING_BYTES_MIN || plot.found.len() >= VALUES_MAX,
        });
        plot.found.len() - 1
    }

    fn text(&self, value: &[u8], form: Form, scratch: &mut Scratch) -> Box<str> {
        if form != Form::Pseudonym {
            let is_address = value::parse_ip(value).is_some();
            return if is_address { MASK_ADDRESS } else { MASK }.into();
        }
        let generation = Arc::as_ptr(&self.redaction) as usize;
        if scratch.memo_of != generation || scratch.memo.len() >= MEMO_MAX {
            scratch.memo.clear();
            scratch.memo_of = generation;
        }
        let known = scratch.memo.entry_ref(value);
        known.or_insert_with(|| self.redaction.key.pseudonym(value).into()).clone()
    }

    fn is_done(&self, value: &[u8]) -> bool {
        value == MASK.as_bytes()
            || value == MASK_ADDRESS.as_bytes()
            || self.redaction.key.is_pseudonym(value)
    }

    /// The rules that choose a field, and those to which its name says that it holds a secret.
    fn rules_of(&self, row: &RowWriter<'_>, field: FieldId) -> (u64, u64) {
        if let Some(chosen) = self.chosen.get(field.0 as usize) {
            return (*chosen, self.secret_names[field.0 as usize]);
        }
        let (name, mut bits) = (row.name(field), (0, 0));
        for (at, rule) in self.redaction.rules.iter().enumerate() {
            bits.0 |= u64::from(rule.chooses(name)) << at;
            bits.1 |= u64::from(rule.names_secret(name)) << at;
        }
        bits
    }

    fn class(&self, row: &RowWriter<'_>, field: FieldId) -> Class {
        let known = self.classes.get(field.0 as usize).copied();
        known.unwrap_or_else(|| class_of(row.name(field), false))
    }

    /// Secrets in the record, and in texts that are no pieces of it.
    fn secrets(
        &self,
        row: &RowWriter<'_>,
        record: &[u8],
        active: u64,
        scratch: &mut Scratch,
        plot: &mut Plot,
    ) {
        let rules = self.redaction.rules.iter().enumerate();
        for (at, rule) in rules.filter(|(at, _)| active & (1 << at) != 0) {
            let Some(finder) = &rule.finder else { continue };
            let mut spans = std::mem::take(&mut scratch.spans);
            spans.clear();
            finder.all(record, &mut spans);
            for span in spans.drain(..) {
                plot.rules |= 1 << at;
                let value = &record[span.clone()];
                if !self.is_done(value) {
                    let text = self.text(value, rule.form, scratch);
                    plot.edits.push(edit(record, span, &text));
                }
            }
            for cell in 0..row.cell_count() {
                let (field, value) = row.cell(cell);
                let is_other = row.raw_range(cell).is_none() && value.bytes.len() >= TEXT_BYTES_MIN;
                if !is_other || plot.taken.iter().any(|(at, _)| *at == cell) {
                    continue;
                }
                finder.all(value.bytes, &mut spans);
                spans.retain(|span| !self.is_done(&value.bytes[span.clone()]));
                if spans.is_empty() {
                    continue;
                }
                plot.note(field, 1 << at);
                let texts: Vec<_> = spans
                    .drain(..)
                    .map(|span| {
                        let text = self.text(&value.bytes[span.clone()], rule.form, scratch);
                        (span, text)
                    })
                    .collect();
                plot.change(cell, value.bytes, &texts);
            }
            scratch.spans = spans;
        }
    }

    /// Where the values stand: in other fields, in the record.
    fn places(&self, row: &RowWriter<'_>, record: &[u8], scratch: &mut Scratch, plot: &mut Plot) {
        self.spellings(row, plot);
        let mut searches = 0;
        for place in 0..plot.found.len() {
            let found = plot.found[place].clone();
            let mut has_span = false;
            for (at, _) in plot.taken.iter().filter(|(_, of)| *of == place) {
                if let Some(span) = row.raw_range(*at) {
                    plot.edits.push(edit(record, span, &found.text));
                    has_span = true;
                }
            }
            let is_unclear =
                || words::is_common(&found.value) || self.is_ambiguous(row, plot, &found.value);
            let in_place = found.in_place || !found.everywhere && is_unclear();
            if in_place && has_span {
                continue;
            }
            // What was decoded can only be found by looking for it; beyond some values the record is withheld.
            searches += 1;
            if searches > VALUES_MAX {
                plot.edits.push(edit(record, 0..record.len(), MASK));
                break;
            }
            let guarded = match in_place {
                true => Vec::new(),
                false => self.others(row, record, &found, scratch, plot),
            };
            scratch.spans.clear();
            occurrences::all(record, &found.value, &mut scratch.spans);
            let guarded = disjoint(guarded);
            scratch.spans.retain(|span| {
                let behind = guarded.partition_point(|g| g.end <= span.start);
                guarded.get(behind).is_none_or(|g| g.start >= span.end)
            });
            if scratch.spans.is_empty() && !has_span {
                // Audit records write texts with blanks and quotes as hexadecimal digits.
                occurrences::all(record, hex(&found.value).as_bytes(), &mut scratch.spans);
            }
            let edits = scratch.spans.drain(..).map(|span| edit(record, span, &found.text));
            plot.edits.extend(edits);
        }
    }

    /// Takes a value out of the fields that were not chosen. Out: the pieces of the record that
    /// have to stay because fields that tell what happened are made of them.
    fn others(
        &self,
        row: &RowWriter<'_>,
        record: &[u8],
        found: &Found,
        scratch: &mut Scratch,
        plot: &mut Plot,
    ) -> Vec<Range<usize>> {
        let message = row.get(self.message).map_or(&b""[..], |message| message.bytes);
        let mut guarded = Vec::new();
        for at in 0..row.cell_count() {
            if plot.taken.iter().any(|(taken, _)| *taken == at) {
                continue;
            }
            let (field, cell) = row.cell(at);
            let span = row.raw_range(at);
            // The message under its product's own name, with its header or without, is text.
            let holds_message = || {
                message.len() >= TEXT_BYTES_MIN
                    && cell.bytes.len() >= message.len()
                    && memchr::memmem::find(cell.bytes, message).is_some()
            };
            let class = match found.everywhere || holds_message() {
                true => Class::Text,
                false => self.class(row, field),
            };
            let part = match class {
                Class::Who => part_of(cell.bytes, &found.value),
                _ => None,
            };
            match (class, part, span) {
                // Its place in the record is looked at with the rest of it.
                (Class::Text, _, Some(_)) => {}
                (Class::Text, _, None) => {
                    scratch.spans.clear();
                    occurrences::all(cell.bytes, &found.value, &mut scratch.spans);
                    let with_text = |span| (span, found.text.clone());
                    let parts: Vec<_> = scratch.spans.drain(..).map(with_text).collect();
                    if !parts.is_empty() {
                        plot.change(at, cell.bytes, &parts);
                    }
                }
                (_, Some(part), Some(span)) => {
                    let part = span.start + part.start..span.start + part.end;
                    plot.edits.push(edit(record, part, &found.text));
                }
                (_, Some(part), None) => {
                    plot.change(at, cell.bytes, &[(part, found.text.clone())]);
                }
                (_, None, span) => guarded.extend(span),
            }
        }
        guarded
    }

    /// An address is written in more than one way: other fields that hold the same one are taken,
    /// too.
    fn spellings(&self, row: &RowWriter<'_>, plot: &mut Plot) {
        for place in 0..plot.found.len().min(VALUES_MAX) {
            let found = &plot.found[place];
            let Some(address) = value::parse_ip(&found.value).filter(std::net::IpAddr::is_ipv6)
            else {
                continue;
            };
            let (text, everywhere, in_place) =
                (found.text.clone(), found.everywhere, found.in_place);
            for at in 0..row.cell_count() {
                let (field, cell) = row.cell(at);
                let may_be = cell.bytes.len() <= 45 && memchr::memchr(b':', cell.bytes).is_some();
                if !may_be
                    || self.class(row, field) == Class::Guarded
                    || plot.taken.iter().any(|(taken, _)| *taken == at)
                    || value::parse_ip(cell.bytes) != Some(address)
                {
                    continue;
                }
                let value = cell.bytes.into();
                plot.found.push(Found { value, text: text.clone(), everywhere, in_place });
                plot.taken.push((at, plot.found.len() - 1));
            }
        }
    }

    /// Whether a field that tells what happened has the same value: then it is not clear what the
    /// record means with it.
    fn is_ambiguous(&self, row: &RowWriter<'_>, plot: &Plot, value: &[u8]) -> bool {
        row.cells().enumerate().any(|(at, (field, cell))| {
            cell.bytes.eq_ignore_ascii_case(value)
                && self.class(row, field) == Class::Guarded
                && !plot.taken.iter().any(|(taken, _)| *taken == at)
        })
    }

    /// Writes what takes the place of values, and the mark.
    fn write(&self, row: &mut RowWriter<'_>, work: &mut Work, mut plot: Plot) {
        for (at, place) in &plot.taken {
            let text = plot.found[*place].text.as_bytes();
            if row.cell(*at).1.bytes != text {
                row.replace(*at, Kind::Str, text);
            }
        }
        for (at, change) in &plot.changes {
            match change {
                Change::Whole(text) => row.replace(*at, Kind::Str, text.as_bytes()),
                Change::Parts(text) => row.replace(*at, Kind::Str, text),
            }
        }
        plot.removed.sort_unstable();
        for at in plot.removed.iter().rev() {
            row.remove(*at);
            work.forget(*at);
        }
        if plot.rules == 0 {
            return;
        }
        row.mark(Marks::REDACTED);
        for field in &plot.fields {
            let name = row.name(*field).to_owned();
            row.push(self.fields, Kind::Str, name.as_bytes());
        }
        for (at, rule) in self.redaction.rules.iter().enumerate() {
            if plot.rules & (1 << at) != 0 {
                row.push(self.rules, Kind::Str, rule.name.as_bytes());
            }
        }
    }
}

impl Rule {
    fn chooses(&self, name: &str) -> bool {
        self.fields.iter().any(|field| match field.strip_suffix('*') {
            Some(group) => name.starts_with(group),
            None => field == name,
        })
    }

    fn names_secret(&self, name: &str) -> bool {
        let names = self.finder.as_ref().and_then(|finder| finder.names.as_ref());
        !name.starts_with(event::batch::OWN_PREFIX)
            && names.is_some_and(|names| names.is_match(name))
    }
}

impl Plot {
    fn note(&mut self, field: FieldId, rules: u64) {
        self.rules |= rules;
        if !self.fields.contains(&field) {
            self.fields.push(field);
        }
    }

    /// Puts texts in place of parts of a cell, which may have been changed before.
    fn change(&mut self, at: usize, bytes: &[u8], parts: &[(Range<usize>, Box<str>)]) {
        if let [(range, text)] = parts
            && *range == (0..bytes.len())
        {
            self.changes.push((at, Change::Whole(text.clone())));
            return;
        }
        let known = self.changes.iter_mut().find(|(other, _)| *other == at);
        if let Some((_, change)) = known {
            // Places count in the cell as it was: what is left of the values is looked for anew.
            let mut pieces: Vec<_> =
                parts.iter().map(|(range, with)| (&bytes[range.clone()], with)).collect();
            pieces.sort_unstable();
            pieces.dedup();
            match change {
                Change::Parts(text) if pieces.len() <= VALUES_MAX => {
                    for (piece, with) in pieces {
                        *text = replaced(text, piece, with.as_bytes());
                    }
                }
                change => *change = Change::Whole(MASK.into()),
            }
            return;
        }
        let (mut out, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for (range, text) in parts {
            out.extend_from_slice(&bytes[from..range.start]);
            out.extend_from_slice(text.as_bytes());
            from = range.end;
        }
        out.extend_from_slice(&bytes[from..]);
        self.changes.push((at, Change::Parts(out)));
    }
}

/// The text with another piece wherever it has this one.
fn replaced(text: &[u8], piece: &[u8], with: &[u8]) -> Vec<u8> {
    let (mut out, mut from) = (Vec::with_capacity(text.len()), 0);
    for at in memchr::memmem::find_iter(text, piece) {
        out.extend_from_slice(&text[from..at]);
        out.extend_from_slice(with);
        from = at + piece.len();
    }
    out.extend_from_slice(&text[from..]);
    out
}

fn class_of(name: &str, is_ecs: bool) -> Class {
    match name {
        "message" | "error.message" => Class::Text,
        _ if WHO.iter().any(|group| name.starts_with(group)) => Class::Who,
        _ if is_ecs || name.starts_with(event::batch::OWN_PREFIX) => Class::Guarded,
        _ => Class::Who,
    }
}

/// The part of a cell that is the value: all of it, behind `DOMAIN\`, before `@domain` or `:port`.
fn part_of(cell: &[u8], value: &[u8]) -> Option<Range<usize>> {
    if occurrences::same(cell, value) {
        return Some(0..cell.len());
    }
    if cell.len() <= value.len() {
        return None;
    }
    let fits = |range: Range<usize>| {
        let (before, after) = (&cell[..range.start], &cell[range.end..]);
        let starts = before.is_empty() || before.ends_with(b"\\") || before == b"::ffff:";
        let ends = match after {
            [] | [b'@', ..] => true,
            [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        starts && ends && occurrences::same(&cell[range.clone()], value)
    };
    let behind = memchr::memrchr(b'\\', cell).map_or(0, |at| at + 1);
    let starts = [0, behind, if cell.starts_with(b"::ffff:") { 7 } else { 0 }];
    let ranges = starts.into_iter().map(|start| start..start + value.len());
    ranges.into_iter().filter(|range| range.end <= cell.len()).find(|range| fits(range.clone()))
}

/// An edit of the record; within JSON what stood for a number gets quotes, so that it stays JSON.
fn edit(record: &[u8], range: Range<usize>, text: &str) -> Edit {
    let is_number =
        record[range.clone()].iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let is_json = || {
        let start = record.iter().find(|b| !b.is_ascii_whitespace());
        let before = record[..range.start].iter().rev().find(|b| !b.is_ascii_whitespace());
        let after = record[range.end..].iter().find(|b| !b.is_ascii_whitespace());
        matches!(start, Some(b'{' | b'['))
            && matches!(before, Some(b':' | b',' | b'['))
            && matches!(after, Some(b',' | b'}' | b']'))
    };
    match is_number && is_json() {
        true => Edit { range, text: format!("\"{text}\"").into_bytes().into(), quotes: 1 },
        false => Edit { range, text: text.as_bytes().into(), quotes: 0 },
    }
}

/// Puts edits in order; of those that overlap, the first takes the place of all.
fn settle(edits: &mut Vec<Edit>) {
    edits.sort_by_key(|edit| (edit.range.start, Reverse(edit.range.end)));
    edits.dedup_by(|next, kept| {
        let overlaps = next.range.start < kept.range.end;
        if overlaps {
            kept.range.end = kept.range.end.max(next.range.end);
        }
        overlaps
    });
}

/// The same places in order, those that touch or overlap as one.
fn disjoint(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_unstable_by_key(|place| place.start);
    places.dedup_by(|next, kept| {
        let touches = next.start <= kept.end;
        if touches {
            kept.end = kept.end.max(next.end);
        }
        touches
    });
    places
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Names that redaction writes.
pub(crate) fn register(names: &mut DictionaryBuilder) {
    names.field(FIELDS);
    names.field(RULES);
}
