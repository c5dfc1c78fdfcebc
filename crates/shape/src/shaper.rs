//! The steps of one record, in order: expand, transport, product, parse, map, time, enrich.

use crate::envelope;
pub use crate::envelope::EXPANDED_MAX;
use crate::native::{Body, ID_NAMES, Ids, Parser};
use crate::origin;
use crate::packs::PackSet;
use crate::product::{Products, Why};
use crate::program::{Findings, WRAPPED_DEPTH_MAX, Work, push_named};
use crate::redact::Redactor;
use crate::tables::{Memo, Tables};
use crate::zone::Zone;
use crate::{carried, joins, redact, text, transport};
use event::{
    Dictionary, DictionaryBuilder, EventBatch, EventId, FieldId, FieldType, Kind, Marks, Protocol,
    RowHead, RowWriter,
};
use hashbrown::HashMap;
use parse::timestamp::{Plausibility, Stamp};
use std::ops::Range;
use std::sync::Arc;

/// Tag of an event whose parser or step failed.
pub const TAG_PARSE_FAILED: &str = "parse_failed";
/// Tag of an event of several records of which some never came.
pub const TAG_JOIN_INCOMPLETE: &str = "join_incomplete";
/// Tag of an event whose own time was not believed.
pub const TAG_TIME_SUSPECT: &str = "time_suspect";

/// What is set per installation and source; one value per generation.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Pack by source name; [`event::Envelope::pack`] wins over it.
    pub packs: HashMap<String, String>,
    /// Pack by source name as a [`crate::Sniffer`] decided: asked first, other packs after it.
    pub remembered: HashMap<String, String>,
    /// Zone by source name, for senders that write none. Default UTC.
    pub zones: HashMap<String, Zone>,
    /// Drop filters: name and predicate, for [`crate::Drops`].
    pub drops: Vec<(String, filter::Plan)>,
    /// Dedupe windows in ns of stream time by source name, for [`crate::Dedupe`].
    pub dedupe_ns: HashMap<String, i64>,
    /// How lines become events by source name, for [`crate::Joins`].
    pub multiline: HashMap<String, crate::Multiline>,
    /// What nobody behind shaping may see.
    pub redaction: Option<Arc<crate::Redaction>>,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shaped {
    /// Index of its first row in the batch.
    pub first_row: usize,
    /// Number of rows, at least 1.
    pub rows: usize,
    /// How many of them are marked [`Marks::PARSE_FAILED`].
    pub failed: usize,
}

/// Which pack takes a record, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// Pack.
    pub pack: String,
    /// The reason, for people.
    pub why: String,
    /// Whether a syslog header was taken off first.
    pub has_syslog_header: bool,
    /// Number of events the record expands to.
    pub events: usize,
}

/// One step of shaping and what it wrote; see [`Shaper::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `syslog header`, `parser cef`, `step 3 grok`, `tables`.
    pub name: String,
    /// The cells it wrote, in order.
    pub fields: Vec<StageField>,
}

/// One cell that a step wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageField {
    /// Name.
    pub name: String,
    /// Value, made safe to show.
    pub value: String,
    /// Bytes of the event that it is, if it is a piece of it.
    pub bytes: Option<Range<usize>>,
}

/// How one event came to its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The bytes that the ranges count in.
    pub raw: Vec<u8>,
    /// The steps, in order; those that wrote nothing are left out.
    pub stages: Vec<Stage>,
}

/// The product that took a body.
struct Taken {
    at: usize,
    form: Option<usize>,
    why: Why,
}

/// A worker's buffers. Keep one per thread; it holds nothing that changes results.
#[derive(Default)]
pub struct Scratch {
    work: Work,
    memo: Memo,
    redact: redact::Scratch,
    pieces: Vec<(usize, usize)>,
}

/// Turns records into events. Immutable, shared by all workers of a generation.
pub struct Shaper {
    products: Arc<Products>,
    ids: Ids,
    tables: Arc<Tables>,
    redactor: Option<Arc<Redactor>>,
    settings: Arc<Settings>,
}

impl Shaper {
    /// Compiles `packs` against the names of a generation; `dict` must come from a builder that
    /// went through [`PackSet::register`].
    pub fn new(
        packs: Arc<PackSet>,
        dict: Arc<Dictionary>,
        tables: Arc<Tables>,
        settings: Arc<Settings>,
    ) -> Self {
        let products = Arc::new(Products::new(&packs.packs, &dict));
        let redaction = settings.redaction.clone();
        let redactor = redaction.map(|rules| Arc::new(Redactor::new(rules, &dict)));
        Self { products, ids: Ids::of(&dict), tables, redactor, settings }
    }

    /// The same packs, names, tables and rules of redaction with other settings: compiles nothing.
    pub fn with_settings(&self, settings: Arc<Settings>) -> Self {
        let (products, tables) = (self.products.clone(), self.tables.clone());
        let redactor = self.redactor.clone();
        Self { products, ids: self.ids.clone(), tables, redactor, settings }
    }

    /// Appends a record that is not shaped, because of a limit (`is_over_limit`) or because that crashed,
    /// as an event that has its bytes and says why. Secrets that rules of redaction find in text go.
    pub fn keep_raw(
        &self,
        head: RowHead,
        raw: &[u8],
        (why, is_over_limit): (&str, bool),
        batch: &mut EventBatch,
    ) {
        let mut row = batch.begin(head, raw);
        row.push(self.ids.error, Kind::Str, why.as_bytes());
        row.push(self.ids.tags, Kind::Str, TAG_PARSE_FAILED.as_bytes());
        row.mark(Marks::PARSE_FAILED);
        if is_over_limit {
            row.mark(Marks::QUARANTINED);
        }
        if let Some(redactor) = &self.redactor {
            redactor.apply(&mut row, &mut Work::default(), &mut redact::Scratch::default());
        }
        row.finish();
    }

    /// As [`Shaper::shape`] for records that were joined; `is_short`: some never came.
    pub fn shape_joined(
        &self,
        head: RowHead,
        (raw, is_short): (&[u8], bool),
        batch: &mut EventBatch,
        scratch: &mut Scratch,
    ) -> Shaped {
        scratch.work.is_short = is_short;
        let shaped = self.shape(head, raw, batch, scratch);
        scratch.work.is_short = false;
        shaped
    }

    /// Appends the event or events of one record to `batch`, whose dictionary must be the shaper's.
    ///
    /// Never fails: what cannot be parsed is an event with its raw bytes, `error.message`, the tag
    /// `parse_failed` and [`Marks::PARSE_FAILED`]. Events expanded from a JSON array or a
    /// `{"Records":[...]}` envelope get the head's `sub` and those after it and, from the second on,
    /// [`Marks::EXPANDED`]; their raw bytes are the element's.
    pub fn shape(
        &self,
        head: RowHead,
        raw: &[u8],
        batch: &mut EventBatch,
        scratch: &mut Scratch,
    ) -> Shaped {
        let first_row = batch.len();
        let mut pieces = std::mem::take(&mut scratch.pieces);
        pieces.clear();
        let rest = envelope::expand(raw, bom_len(raw), &mut pieces);
        let mut failed = 0;
        if pieces.is_empty() {
            failed += usize::from(self.shape_one(head, (raw, None), false, batch, scratch));
        } else {
            let envelope = head.envelope.clone();
            let rest = rest.map(|(from, why)| (from, raw.len(), Some(why)));
            let all = pieces.iter().map(|(from, to)| (*from, *to, None)).chain(rest);
            for (sub, (from, to, problem)) in all.enumerate() {
                let id = EventId { sub: head.id.sub.saturating_add(sub as u32), ..head.id };
                let head = RowHead { id, envelope: envelope.clone(), ..head };
                let piece = (&raw[from..to], problem);
                let row = self.shape_one(head, piece, sub > 0, batch, scratch);
                failed += usize::from(row);
            }
        }
        scratch.pieces = pieces;
        Shaped { first_row, rows: batch.len() - first_row, failed }
    }

    /// As [`Shaper::shape`], but the record stays one event however many it holds: for tools that show
    /// one event per record. An envelope of one event is that event. Returns whether a parser failed.
    pub fn shape_whole(
        &self,
        head: RowHead,
        raw: &[u8],
        batch: &mut EventBatch,
        scratch: &mut Scratch,
    ) -> bool {
        let mut pieces = std::mem::take(&mut scratch.pieces);
        pieces.clear();
        let rest = envelope::expand(raw, bom_len(raw), &mut pieces);
        let raw = match (pieces.as_slice(), rest) {
            ([(from, to)], None) => &raw[*from..*to],
            _ => raw,
        };
        scratch.pieces = pieces;
        self.shape_one(head, (raw, None), false, batch, scratch)
    }

    /// One stored event anew: of an element that was taken out of a record, or of records that were
    /// joined (`is_short`: some never came). It stays one event whatever it holds.
    pub fn shape_again(
        &self,
        head: RowHead,
        (raw, is_short): (&[u8], bool),
        batch: &mut EventBatch,
        scratch: &mut Scratch,
    ) -> bool {
        scratch.work.is_short = is_short;
        let failed = self.shape_one(head, (raw, None), false, batch, scratch);
        scratch.work.is_short = false;
        failed
    }

    /// Whether text of this pack means what a header line says that is not part of the event: shaped
    /// again without it, it would say something else.
    pub fn needs_header(&self, pack: &str) -> bool {
        let parser = self.products.configured(pack).map(|at| self.products.text_parser(at));
        matches!(parser, Some(Parser::W3c | Parser::VpcFlow | Parser::Zeek))
    }

    /// Tells which pack takes a record and why; for `parse --explain`.
    pub fn detect(&self, head: RowHead, raw: &[u8], dict: &Arc<Dictionary>) -> Detected {
        let mut pieces = Vec::new();
        envelope::expand(raw, bom_len(raw), &mut pieces);
        let piece = pieces.first().map_or(raw, |(from, to)| &raw[*from..*to]);
        let mut batch = EventBatch::new(dict.clone());
        let mut row = batch.begin(head, piece);
        let mut work = Work::default();
        work.index.start(dict);
        let mut found = Findings::default();
        let (body, _) = self.strip(without_bom(piece), &mut row, &mut work);
        let configured = self.configured(&row);
        let mut taken = self.parse(&body, configured, &mut row, &mut work, &mut found);
        let mut depth = 0;
        while let Some(inside) = self.unwrap(&taken, &mut row, &mut work, &mut found, depth) {
            taken = inside;
            depth += 1;
        }
        Detected {
            pack: self.products.all[taken.at].name.clone(),
            why: taken.why.text(&self.products),
            has_syslog_header: body.has_header,
            events: pieces.len().max(1),
        }
    }

    /// Tells which step took which bytes of a record, event by event (a record may expand).
    pub fn explain(&self, head: RowHead, raw: &[u8], dict: &Arc<Dictionary>) -> Vec<Explanation> {
        let mut scratch = Scratch::default();
        let mut pieces = Vec::new();
        envelope::expand(raw, bom_len(raw), &mut pieces);
        if pieces.is_empty() {
            pieces.push((0, raw.len()));
        }
        let explain = |(from, to): &(usize, usize)| {
            let mut batch = EventBatch::new(dict.clone());
            scratch.work.trace = Some(Vec::new());
            let piece = &raw[*from..*to];
            self.shape_one(head.clone(), (piece, None), false, &mut batch, &mut scratch);
            let row = batch.row(0);
            let cells: Vec<_> = row.cells().collect();
            let stages = scratch.work.trace.take().unwrap_or_default().into_iter().map(|trace| {
                let fields = trace.cells.filter(|at| *at < cells.len()).map(|at| StageField {
                    name: batch.name(cells[at].0).to_owned(),
                    value: event::text::render(cells[at].1.bytes),
                    bytes: row.raw_range(at),
                });
                Stage { name: trace.stage, fields: fields.collect() }
            });
            // As it was left: ranges count in it, and what was taken out is not shown.
            Explanation { raw: row.raw().to_vec(), stages: stages.collect() }
        };
        pieces.iter().map(explain).collect()
    }

    /// One event, of its bytes and why they are not parsed, if so. Out: whether it failed.
    fn shape_one(
        &self,
        head: RowHead,
        (raw, problem): (&[u8], Option<&'static str>),
        is_later: bool,
        batch: &mut EventBatch,
        scratch: &mut Scratch,
    ) -> bool {
        let mut row = batch.begin(head, raw);
        let raw = row.raw();
        let work = &mut scratch.work;
        work.index.start(row.dict());
        let mut found = Findings::default();
        if is_later {
            row.mark(Marks::EXPANDED);
        }
        let mut header_stamp = None;
        if let Some(problem) = problem {
            found.failed = Some(problem.into());
            row.mark(Marks::QUARANTINED);
        } else {
            let mut wide = std::mem::take(&mut work.wide);
            let text = match text::from_utf16(raw, &mut wide) {
                true => wide.as_slice(),
                false => without_bom(raw),
            };
            let mut body;
            (body, header_stamp) = self.strip(text, &mut row, work);
            let headed = row.cell_count();
            work.note(|| "syslog header".into(), 0, headed);
            let mut decoded = std::mem::take(&mut work.decoded);
            if text::decode(body.text, body.has_header, &mut decoded) {
                (body.text, body.is_no_line) = (&decoded, false);
            }
            let mut assembled = std::mem::take(&mut work.assembled);
            if carried::assemble(body.text, &mut assembled)
                || joins::assemble(body.text, body.program, &mut assembled)
            {
                (body.text, body.is_no_line) = (&assembled, false);
            }
            found.is_syslog = body.has_header;
            let configured = self.configured(&row);
            let mut taken = self.parse(&body, configured, &mut row, work, &mut found);
            let mut depth = 0;
            while let Some(inside) = self.unwrap(&taken, &mut row, work, &mut found, depth) {
                taken = inside;
                depth += 1;
            }
            let program = &self.products.all[taken.at];
            if !program.data_prefix.is_empty() {
                for (_, key, value) in parse::syslog::StructuredData(body.data) {
                    push_named(&mut row, &program.data_prefix, key, &value, &mut work.name);
                }
            }
            let parsed = row.cell_count();
            work.note(|| format!("parser {}", program.parser.name()), headed, parsed);
            program.run(&mut row, work, &mut found, false);
            for carrier in found.last.into_iter().flatten() {
                self.run_carrier(carrier, &mut row, work, &mut found);
            }
            (work.wide, work.decoded, work.assembled) = (wide, decoded, assembled);
        }
        self.set_time(&mut row, found.stamp.or(found.carrier).or(header_stamp));
        origin::write(&mut row, &self.ids);
        work.index.update(&row);
        let before = row.cell_count();
        self.tables.enrich(&mut row, &work.index, &self.ids, &mut scratch.memo);
        work.note(|| "tables".into(), before, row.cell_count());
        if work.is_short {
            row.push(self.ids.tags, Kind::Str, TAG_JOIN_INCOMPLETE.as_bytes());
        }
        let failed = found.failed.is_some();
        if let Some(message) = found.failed {
            row.push(self.ids.error, Kind::Str, message.as_bytes());
            row.push(self.ids.tags, Kind::Str, TAG_PARSE_FAILED.as_bytes());
            row.mark(Marks::PARSE_FAILED);
        }
        if let Some(redactor) = &self.redactor {
            let before = row.cell_count();
            redactor.apply(&mut row, work, &mut scratch.redact);
            work.note(|| "redaction".into(), before, row.cell_count());
        }
        row.finish();
        failed
    }

    /// Takes a syslog header off, if there is one.
    fn strip<'t>(
        &self,
        text: &'t [u8],
        row: &mut RowWriter<'_>,
        work: &mut Work,
    ) -> (Body<'t>, Option<Stamp>) {
        // Lines in columns that a header names start with a time that is no syslog header's.
        if row.envelope().header.is_some() {
            return (transport::bare(text), None);
        }
        let is_line = self.products.is_headless(text, &mut work.hits);
        if is_line == Some(true) {
            return (transport::bare(text), None);
        }
        let (mut body, stamp) = transport::strip(text, &self.ids, row, &mut work.name);
        body.is_no_line = is_line.is_some() && body.text.len() == text.len();
        (body, stamp)
    }

    /// Finds the product, writes the body's fields under its names.
    fn parse(
        &self,
        body: &Body<'_>,
        configured: Option<usize>,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) -> Taken {
        let text = body.text.trim_ascii_start();
        let json_at = match text.strip_prefix(b"@cee:") {
            Some(rest) => rest.trim_ascii_start(),
            None => text,
        };
        let tree = match (json_at.first(), is_event_xml(text)) {
            (Some(b'{'), _) => Some((Parser::Json, json_at, configured)),
            (_, true) => Some((Parser::WindowsXml, text, None)),
            _ => None,
        };
        if let Some((parser, text, only)) = tree {
            let from = row.cell_count();
            parser.run(&Body { text, ..*body }, "", &self.ids, row, work, found);
            work.index.update(row);
            // What came over OTLP is a carrier, if it is not in a form of the source's pack.
            let is_carried = row.envelope().protocol == Protocol::Otlp;
            let fits = |at: &usize| self.products.has_form(*at, row, &work.index);
            let only = only.filter(|at| !is_carried || fits(at));
            let (mut at, form, mut why) = self.product_of(only, row, work);
            if parser == Parser::WindowsXml {
                at = form.map_or(self.products.windows(), |_| at);
                why = Why::Xml;
            } else if why == Why::Json
                && let Some(known) =
                    self.products.of_json_header(body, &mut work.buffer, &mut work.hits)
            {
                (at, why) = known;
                self.move_below(&self.products.all[at].prefix, from, row, work);
            }
            let Some(form) = form else { return Taken { at, form, why } };
            let inside = self.inside((at, form), from, row);
            self.rename((at, form), (from..row.cell_count(), parser), row, work);
            return match inside {
                Some(cells) => self.take_inside(at, cells, row, work, found),
                None => Taken { at, form: Some(form), why },
            };
        }
        let header = row.envelope().header.as_deref().and_then(Parser::of_header);
        let announced = header.and_then(|parser| self.products.with_parser(parser));
        let (at, why) = match (configured, announced) {
            (Some(at), _) => (at, Why::Configured),
            (None, Some(at)) => (at, Why::Columns),
            (None, None) => {
                let remembered = self.remembered(row);
                self.products.of_text(body, remembered, &mut work.buffer, &mut work.hits)
            }
        };
        if !body.text.is_empty() && work.index.get(self.ids.message).is_none() {
            row.push(self.ids.message, Kind::Str, body.text);
        }
        let parser = self.products.text_parser(at);
        parser.run(body, &self.products.all[at].prefix, &self.ids, row, work, found);
        Taken { at, form: None, why }
    }

    /// The product of a flattened record and its form. Of a carrier of objects, what carrier and object
    /// show together comes first.
    fn product_of(
        &self,
        only: Option<usize>,
        row: &RowWriter<'_>,
        work: &mut Work,
    ) -> (usize, Option<usize>, Why) {
        if only.is_some_and(|at| self.products.carries_objects(at)) {
            let found = self.products.of_json(row, &work.index, None, &mut work.forms);
            if !self.products.is_generic(found.0) {
                return found;
            }
        }
        self.products.of_json(row, &work.index, only, &mut work.forms)
    }

    /// Gives cells the names of their form.
    fn rename(
        &self,
        (at, form): (usize, usize),
        (cells, parser): (Range<usize>, Parser),
        row: &mut RowWriter<'_>,
        work: &mut Work,
    ) {
        let elements = match parser {
            Parser::Json => work.flattener.elements(),
            _ => &[],
        };
        let names = (&mut work.name, &mut work.renames);
        self.products.all[at].forms[form].rename(row, cells, elements, names);
        work.index.restart(row);
    }

    /// The cells of the object that a form says is carried, before they are renamed: they stand together.
    fn inside(
        &self,
        (at, form): (usize, usize),
        from: usize,
        row: &RowWriter<'_>,
    ) -> Option<Range<usize>> {
        let prefix = &*self.products.all[at].forms[form].inside;
        let is_inside = |at: &usize| {
            let name = row.name(row.field_at(*at));
            name.strip_prefix(event::batch::CLAIMED_PREFIX).unwrap_or(name).starts_with(prefix)
        };
        let all = from..row.cell_count();
        let start = all.clone().find(is_inside).filter(|_| !prefix.is_empty())?;
        let end = (start..all.end).find(|at| !is_inside(at)).unwrap_or(all.end);
        Some(start..end)
    }

    /// Recognises the object in these cells as if it had come alone, and adds what its carrier says.
    fn take_inside(
        &self,
        carrier: usize,
        cells: Range<usize>,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) -> Taken {
        let own = self.configured_inside(row);
        let (at, form, why) = self.products.of_json(row, &work.index, own, &mut work.forms);
        if let Some(form) = form {
            self.rename((at, form), (cells, Parser::Json), row, work);
        }
        self.add_carrier(carrier, row, work, found);
        Taken { at, form, why }
    }

    /// Adds what the carrier of a record says besides, now or when the record has said all.
    fn add_carrier(
        &self,
        carrier: usize,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) {
        match self.products.all[carrier].is_last {
            true => found.add_last(carrier),
            false => self.run_carrier(carrier, row, work, found),
        }
    }

    fn run_carrier(
        &self,
        carrier: usize,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) {
        let carrier = &self.products.all[carrier];
        let mut outer = Findings::default();
        carrier.run(row, work, &mut outer, true);
        match carrier.time_first {
            true => found.stamp = outer.stamp.or(found.stamp.take()),
            false => found.carrier = found.carrier.take().or(outer.stamp),
        }
    }

    /// Takes out the record that the event only carries (a container's line, a journal entry's
    /// message, Windows XML in a string) and parses it. Out: its product, when it has one; then what the
    /// carrier says is added.
    fn unwrap(
        &self,
        taken: &Taken,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
        depth: usize,
    ) -> Option<Taken> {
        let wrapper = &self.products.all[taken.at];
        let (field, program) = wrapper.forms.get(taken.form?)?.inner?;
        let place = work.index.get(field).filter(|_| depth < WRAPPED_DEPTH_MAX)?;
        if row.cell(place).1.kind == Kind::Int {
            text_of_bytes(field, row, work);
        }
        let mut text = std::mem::take(&mut work.inner);
        text.clear();
        if let Some(at) = program.and_then(|p| work.index.get(p)) {
            text.extend_from_slice(row.cell(at).1.bytes);
        }
        let program_len = text.len();
        text.extend_from_slice(row.cell(place).1.bytes);
        let (program, line) = text.split_at(program_len);
        // A tag as rsyslog's templates write it, `sshd[77]:`, has the message's first blank behind it.
        let name = program.iter().take_while(|c| !matches!(c, b'[' | b':')).count();
        let program = &program[..name];
        let line = line.trim_ascii_end();
        let line = line.strip_prefix(b" ").filter(|_| name > 0).unwrap_or(line);
        let (mut body, header) = match program.is_empty() {
            true => self.strip(without_bom(line), row, work),
            false => (Body { program, has_header: true, ..transport::bare(line) }, None),
        };
        if body.program.is_empty() {
            body.program = program;
        }
        let mut decoded = Vec::new();
        if text::decode(body.text, body.has_header, &mut decoded) {
            (body.text, body.is_no_line) = (&decoded, false);
        }
        let mut inner = Findings::default();
        let own = self.configured_inside(row);
        let inside = self.parse(&body, own, row, work, &mut inner);
        let is_headed = body.has_header;
        work.inner = text;
        work.index.update(row);
        // Of a text of which nothing is known, the carrier says what there is to say. What names mean that
        // any program may use comes behind it and takes nothing from it.
        if self.products.is_generic(inside.at) {
            if self.products.has_names(inside.at) {
                found.add_last(inside.at);
            }
            return None;
        }
        found.failed = inner.failed.or(found.failed.take());
        // A header's time is the event's if it says its zone; else the carrier, which does, is nearer.
        found.stamp = inner.stamp.or(header.filter(|stamp| matches!(stamp, Stamp::Utc(_))));
        found.is_syslog |= is_headed;
        self.add_carrier(taken.at, row, work, found);
        Some(inside)
    }

    fn configured(&self, row: &RowWriter<'_>) -> Option<usize> {
        let envelope = row.envelope();
        if !envelope.pack.is_empty() {
            return self.products.configured(&envelope.pack);
        }
        if self.settings.packs.is_empty() {
            return None;
        }
        self.products.configured(self.settings.packs.get(&*envelope.source)?)
    }

    /// The pack that the source is configured to, for a record inside the one that a door knows itself.
    fn configured_inside(&self, row: &RowWriter<'_>) -> Option<usize> {
        let envelope = row.envelope();
        let is_known = !envelope.pack.is_empty() || envelope.protocol == Protocol::Otlp;
        if !is_known || self.settings.packs.is_empty() {
            return None;
        }
        let own = self.settings.packs.get(&*envelope.source)?;
        self.products.configured(own).filter(|_| **own != *envelope.pack)
    }

    /// Puts the names of the cells from `from` on below `prefix`: JSON that names no form of its
    /// product.
    fn move_below(&self, prefix: &str, from: usize, row: &mut RowWriter<'_>, work: &mut Work) {
        for at in from..row.cell_count() {
            work.name.clear();
            work.name.push_str(prefix);
            work.name.push('.');
            work.name.push_str(row.name(row.cell(at).0));
            let to = row.field(&work.name);
            row.rename(at, to);
        }
        work.index.restart(row);
    }

    /// The pack that the source was seen to send; see [`crate::Sniffer`].
    fn remembered(&self, row: &RowWriter<'_>) -> Option<usize> {
        if self.settings.remembered.is_empty() {
            return None;
        }
        self.products.configured(self.settings.remembered.get(&*row.envelope().source)?)
    }

    fn set_time(&self, row: &mut RowWriter<'_>, stamp: Option<Stamp>) {
        let Some(stamp) = stamp else { return };
        let zones = &self.settings.zones;
        let zone = match zones.is_empty() {
            true => None,
            false => zones.get(&*row.envelope().source),
        };
        // The clock may have been set back since the event was made; stream time never goes back.
        let received_ns = row.received_ns().max(row.stream_ns());
        let resolved = zone.unwrap_or(&Zone::Fixed(0)).resolve(stamp, received_ns);
        match resolved.plausibility {
            Plausibility::Plausible => row.set_event_ns(resolved.ns),
            _ => {
                row.mark(Marks::TIME_SUSPECT);
                row.push(self.ids.tags, Kind::Str, TAG_TIME_SUSPECT.as_bytes());
            }
        }
    }
}

/// A list of bytes, as the journal exports a text that holds control characters, becomes that text.
fn text_of_bytes(field: FieldId, row: &mut RowWriter<'_>, work: &mut Work) {
    let number = |at: usize| std::str::from_utf8(row.cell(at).1.bytes).ok()?.parse().ok();
    let places: Vec<usize> = work.index.places(field).unwrap_or_default().collect();
    let places: Vec<usize> = places.into_iter().filter(|at| row.field_at(*at) == field).collect();
    let bytes: Option<Vec<u8>> = places.iter().map(|at| number(*at)).collect();
    let (Some(bytes), Some((first, others))) = (bytes, places.split_first()) else { return };
    if others.is_empty() {
        return;
    }
    let mut decoded = Vec::new();
    let is_decoded = text::decode(&bytes, false, &mut decoded);
    row.replace(*first, Kind::Str, if is_decoded { &decoded } else { &bytes });
    others.iter().rev().for_each(|at| row.remove(*at));
    work.index.restart(row);
}

/// Names that the shaper itself writes, with their types.
pub(crate) fn register(names: &mut DictionaryBuilder) {
    for name in ["alcedo.logsource", "alcedo.pack"] {
        names.field(name);
    }
    for name in ID_NAMES {
        let kind = match *name {
            "linux.auth.invalid_user" => FieldType::Boolean,
            _ => FieldType::Keyword,
        };
        names.field_of(name, kind);
    }
}

fn without_bom(raw: &[u8]) -> &[u8] {
    &raw[bom_len(raw)..]
}

fn bom_len(raw: &[u8]) -> usize {
    if raw.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

/// Longest XML declaration that is passed over: version, encoding and standalone take 60 bytes.
const DECLARATION_BYTES_MAX: usize = 128;

/// Whether the text is a Windows event in XML, with a declaration in front or without.
fn is_event_xml(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"<?xml") else { return text.starts_with(b"<Event") };
    let declared = &rest[..rest.len().min(DECLARATION_BYTES_MAX)];
    let Some(end) = memchr::memmem::find(declared, b"?>") else { return false };
    // Other products' documents are declared too: `<EventLog>` is none of Windows'.
    let behind = rest[end + 2..].trim_ascii_start().strip_prefix(b"<Event");
    behind.is_some_and(|b| matches!(b.first(), Some(b' ' | b'>')))
}
