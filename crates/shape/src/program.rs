//! A pack compiled for one generation: names are ids, conditions are byte comparisons.

use crate::layouts::{Found, Layouts};
use crate::native::Parser;
use crate::ops::{self, Op, TimeSource};
use crate::packs::Pack;
use crate::pairs;
use crate::routes::CompiledRoutes;
use crate::spec::{JsonForm, Spec};
use crate::specialise::{Foreseen, LeftOp, LeftStep, Specialised};
use crate::value::Class;
use crate::when::{Switched, Switches, When};
use event::{Constants, Dictionary, FieldId, FieldType, Kind, RowWriter};
use hashbrown::{HashMap, HashSet};
use parse::Flattener;
use parse::timestamp::Stamp;
use parse::windows::XmlReader;
use regex_automata::util::primitives::NonMaxUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where each field of the row being shaped stands. Dense over the generation's ids, valid for the
/// row whose stamp it carries, so that nothing has to be cleared between rows.
#[derive(Default)]
pub(crate) struct Index {
    slots: Vec<Slot>,
    stamp: u32,
    seen: usize,
    /// Fields of cells whose names are the batch's alone.
    others: Vec<FieldId>,
}

/// The first and the last cell of a field: a row has fewer than 65,536. Small, because rows touch slots all
/// over a table of thousands.
#[derive(Clone, Copy, Default)]
struct Slot {
    stamp: u32,
    first: u16,
    last: u16,
}

impl Index {
    /// Starts a row.
    pub(crate) fn start(&mut self, dict: &Dictionary) {
        if self.slots.len() != dict.len() || self.stamp == u32::MAX {
            self.slots.clear();
            self.slots.resize(dict.len(), Slot::default());
            self.stamp = 0;
        }
        self.stamp += 1;
        self.seen = 0;
        self.others.clear();
    }

    /// Takes in the cells written since the last call.
    pub(crate) fn update(&mut self, row: &RowWriter<'_>) {
        let fields = row.fields(self.seen);
        let count = self.seen + fields.len();
        for (at, field) in (self.seen..).zip(fields) {
            let at = at as u16;
            match self.slots.get_mut(field.0 as usize) {
                Some(slot) if slot.stamp == self.stamp => slot.last = at,
                Some(slot) => *slot = Slot { stamp: self.stamp, first: at, last: at },
                None => self.others.push(field),
            }
        }
        self.seen = count;
    }

    /// Forgets everything of this row, because cells were renamed.
    pub(crate) fn restart(&mut self, row: &RowWriter<'_>) {
        self.stamp = self.stamp.wrapping_add(1);
        self.seen = 0;
        self.others.clear();
        self.update(row);
    }

    /// The fields that [`Index::get`] does not know: names of the row's batch alone.
    pub(crate) fn others(&self) -> &[FieldId] {
        &self.others
    }

    pub(crate) fn get(&self, field: FieldId) -> Option<usize> {
        self.slot(field).map(|slot| slot.first as usize)
    }

    /// From the first cell of a field to its last, with cells of others between them.
    pub(crate) fn places(&self, field: FieldId) -> Option<Range<usize>> {
        self.slot(field).map(|slot| slot.first as usize..slot.last as usize + 1)
    }

    #[inline]
    fn slot(&self, field: FieldId) -> Option<&Slot> {
        let slot = self.slots.get(field.0 as usize)?;
        (slot.stamp == self.stamp && slot.stamp != 0).then_some(slot)
    }
}

/// Buffers that steps need; one per worker.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) index: Index,
    pub(crate) flattener: Flattener,
    pub(crate) xml: XmlReader,
    pub(crate) buffer: Vec<u8>,
    pub(crate) text: Vec<u8>,
    /// The record and its message as UTF-8, where they came as something else.
    pub(crate) wide: Vec<u8>,
    pub(crate) decoded: Vec<u8>,
    /// Numbered parts as one text.
    pub(crate) assembled: Vec<u8>,
    /// The record is what came of several, and some never came.
    pub(crate) is_short: bool,
    /// The wrapped record being parsed.
    pub(crate) inner: Vec<u8>,
    pub(crate) name: String,
    pub(crate) renames: Renames,
    pub(crate) layouts: Layouts,
    pub(crate) slots: Vec<Option<NonMaxUsize>>,
    pub(crate) cuts: Vec<(usize, Range<usize>)>,
    pub(crate) hits: crate::recognise::Hits,
    /// The JSON forms that a record's names leave.
    pub(crate) forms: crate::gate::Bits,
    /// Where the cells begin that the running operation wrote.
    pub(crate) written_from: usize,
    /// What each operation wrote, when somebody wants to know.
    pub(crate) trace: Option<Vec<Trace>>,
}

/// One operation and the cells it wrote.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) stage: String,
    pub(crate) cells: Range<usize>,
}

impl Work {
    /// Notes that `stage` wrote the cells from `from` on.
    pub(crate) fn note(&mut self, stage: impl FnOnce() -> String, from: usize, to: usize) {
        if let Some(trace) = &mut self.trace
            && to > from
        {
            trace.push(Trace { stage: stage(), cells: from..to });
        }
    }

    /// Notes what an operation of step `number` wrote. What is set is told value by value, as it is
    /// written in a pack.
    fn note_op(&mut self, number: usize, name: &str, to: usize) {
        if self.trace.is_none() {
            return;
        }
        let from = self.written_from;
        let each = if name == "set" { 1 } else { to.saturating_sub(from).max(1) };
        for at in (from..to).step_by(each) {
            self.note(|| format!("step {} {name}", number + 1), at, at + each);
        }
    }

    /// Notes that cell `at` was taken away and those behind it moved up.
    pub(crate) fn forget(&mut self, at: usize) {
        self.written_from -= usize::from(at < self.written_from);
        for Trace { cells, .. } in self.trace.iter_mut().flatten() {
            cells.start -= usize::from(at < cells.start);
            cells.end -= usize::from(at < cells.end);
        }
    }
}

/// Most wrappers around one event: a line in a container's JSON in a log service's JSON is two.
pub(crate) const WRAPPED_DEPTH_MAX: usize = 3;

/// What steps found out besides cells.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) stamp: Option<Stamp>,
    /// What the carrier of a wrapped record says, for one that has no time of its own.
    pub(crate) carrier: Option<Stamp>,
    /// The carriers that speak last, by their places among the products, from the inmost on.
    pub(crate) last: [Option<usize>; WRAPPED_DEPTH_MAX + 1],
    pub(crate) failed: Option<String>,
    /// Whether a syslog header, or a carrier that names the program, stood in front of the event.
    pub(crate) is_syslog: bool,
    /// Whether a pattern of the running step matched.
    pub(crate) matched: bool,
}

impl Findings {
    /// Notes a carrier that speaks when the record has said all.
    pub(crate) fn add_last(&mut self, carrier: usize) {
        self.last.rotate_right(1);
        self.last[0] = Some(carrier);
    }
}

pub(crate) struct Program {
    pub(crate) name: String,
    /// Of all programs of all generations.
    number: u32,
    /// How many fields its generation knows.
    fields: usize,
    pub(crate) parser: Parser,
    pub(crate) prefix: String,
    /// Where structured data goes; see the spec.
    pub(crate) data_prefix: String,
    /// The pack's name, its module and product: what each of its events says.
    constants: Constants,
    pub(crate) forms: Vec<Form>,
    times: Vec<TimeSource>,
    /// See the spec.
    pub(crate) time_first: bool,
    /// See the spec.
    pub(crate) is_last: bool,
    steps: Vec<Step>,
    switches: Switches,
    logsources: Constants,
    /// What its events are besides when they came by syslog or from a journal.
    syslog: Option<&'static [u8]>,
    logsource: FieldId,
    routes: Option<CompiledRoutes>,
}

/// The number of the next program.
static PROGRAMS: AtomicU32 = AtomicU32::new(0);

/// What every program's syslog messages are on Linux, whichever pack takes them apart.
const LINUX_SYSLOG: &str = "linux//syslog";

/// A compiled [`JsonForm`].
pub(crate) struct Form {
    pub(crate) name: String,
    /// Of all forms of all packs.
    number: u32,
    all: Vec<FieldId>,
    any: Vec<FieldId>,
    none: Vec<FieldId>,
    is: Vec<(FieldId, Vec<Wanted>)>,
    /// The wrapped record and the program that wrote it.
    pub(crate) inner: Option<(FieldId, Option<FieldId>)>,
    /// Prefix of the names of a wrapped object; empty = none.
    pub(crate) inside: String,
    /// See the spec.
    pub(crate) is_configured_only: bool,
    /// By id: where a known name goes. [`STAYS`] and [`BY_NAME`] are the exceptions.
    moved: Vec<u32>,
    by_name: ByName,
    pairs: Vec<String>,
}

/// The number of the next form.
static FORMS: AtomicU32 = AtomicU32::new(0);

/// A value that a form wants: the whole of it, or how it starts.
struct Wanted {
    text: Box<[u8]>,
    is_prefix: bool,
}

impl Wanted {
    fn of(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(head) => Self { text: head.as_bytes().into(), is_prefix: true },
            None => Self { text: text.as_bytes().into(), is_prefix: false },
        }
    }

    fn fits(&self, value: &[u8]) -> bool {
        let part = if self.is_prefix { value.get(..self.text.len()) } else { Some(value) };
        part.is_some_and(|p| p.eq_ignore_ascii_case(&self.text))
    }
}

/// The slow way: for names the generation does not know.
struct ByName {
    names: HashMap<String, String>,
    moves: Vec<(String, String)>,
    rest: String,
    keep: HashSet<String>,
    /// Attributes may be marked in several ways.
    is_xml: bool,
}

/// What a sender to `_bulk` says of a document is no part of it, in whichever pack's form it stands.
const BULK_PREFIX: &str = "elastic.bulk.";

const STAYS: u32 = u32::MAX;
const BY_NAME: u32 = u32::MAX - 1;

impl Form {
    fn compile(spec: &Spec, form: &JsonForm, dict: &Dictionary) -> Self {
        let id = |name: &String| field_id(dict, &spec.full(name));
        // What stands in a wrapped object is named as if it had come alone.
        // Names of ours that it would have only with the prefix are none of ours without it.
        let claimed = event::batch::CLAIMED_PREFIX;
        let inside = [String::new(), claimed.to_owned()];
        let inside = inside.map(|claim| (claim + &form.inside, String::new()));
        // What the carrier's sender says, no event says of itself.
        let of_carrier = format!("{}.", spec.prefix);
        let forged = (format!("{}{of_carrier}", form.inside), format!("{claimed}{of_carrier}"));
        let laid_bare = std::iter::once(forged).chain(inside);
        let laid_bare = laid_bare.filter(|_| !form.inside.is_empty());
        let by_name = ByName {
            names: form.names.iter().map(|(a, b)| (a.clone(), spec.full(b))).collect(),
            moves: laid_bare.chain(form.moves.clone()).collect(),
            rest: form.rest.clone(),
            keep: form.keep.iter().cloned().collect(),
            is_xml: !form.pairs.is_empty(),
        };
        let wanted = |(name, values): (&String, &crate::spec::OneOrMany)| {
            (id(name), values.texts().iter().map(|t| Wanted::of(t)).collect())
        };
        Self {
            name: form.name.clone(),
            number: FORMS.fetch_add(1, Ordering::Relaxed),
            all: form.all.iter().map(id).collect(),
            any: form.any.iter().map(id).collect(),
            none: form.none.iter().map(id).collect(),
            is: form.is.iter().map(wanted).collect(),
            inner: (!form.inner.is_empty()).then(|| {
                let program = Some(&form.inner_program).filter(|p| !p.is_empty());
                (id(&form.inner), program.map(id))
            }),
            inside: form.inside.clone(),
            is_configured_only: form.configured,
            moved: moved(spec, form, &by_name, dict),
            by_name,
            pairs: form.pairs.clone(),
        }
    }

    /// Fields of which every record of this form has one; empty if it names none.
    pub(crate) fn keys(&self) -> &[FieldId] {
        match (self.all.as_slice(), self.any.as_slice()) {
            ([first, ..], _) => std::slice::from_ref(first),
            ([], any) => any,
        }
    }

    pub(crate) fn fits(&self, row: &RowWriter<'_>, index: &Index) -> bool {
        let has = |f: &FieldId| index.get(*f).is_some();
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && !self.none.iter().any(has)
            && self.is.iter().all(|(field, wanted)| {
                let value = index.get(*field).map(|at| row.cell(at).1.bytes);
                value.is_some_and(|v| wanted.iter().any(|w| w.fits(v)))
            })
    }

    /// Renames these cells of the row, of which those of each element of a list are in `elements`.
    pub(crate) fn rename(
        &self,
        row: &mut RowWriter<'_>,
        cells: Range<usize>,
        elements: &[Range<usize>],
        (name, renames): (&mut String, &mut Renames),
    ) {
        let mut has_pairs = false;
        renames.prepare(row.batch_serial());
        for at in cells.clone() {
            let field = row.field_at(at);
            match self.moved.get(field.0 as usize) {
                Some(&STAYS) => {}
                Some(&to) if to != BY_NAME => row.rename(at, FieldId(to)),
                _ => {
                    let known = renames.known.get(&(self.number, field)).copied();
                    let renamed = known.unwrap_or_else(|| self.renamed(field, row, name, renames));
                    if let Some(to) = renamed.to {
                        row.rename(at, to);
                    }
                    has_pairs |= renamed.is_pair;
                }
            }
        }
        if has_pairs {
            pairs::unpair(row, cells.start, elements, &self.pairs);
        }
    }

    /// The new name of a field, looked up and remembered.
    fn renamed(
        &self,
        field: FieldId,
        row: &mut RowWriter<'_>,
        name: &mut String,
        renames: &mut Renames,
    ) -> Renamed {
        let mut renamed = Renamed { to: None, is_pair: false };
        if self.by_name.target(row.name(field), name) {
            renamed.to = Some(row.field(name));
            renamed.is_pair = self.pairs.iter().any(|list| name.starts_with(&**list));
            // What a reserved name leads to depends on who sent the row.
            if event::batch::is_reserved(name) {
                return renamed;
            }
        }
        renames.known.insert((self.number, field), renamed);
        renamed
    }
}

/// What became of names that are looked at by name, in the rows of one batch so far.
#[derive(Default)]
pub(crate) struct Renames {
    batch: u64,
    /// By form and field.
    known: HashMap<(u32, FieldId), Renamed>,
}

impl Renames {
    fn prepare(&mut self, batch: u64) {
        if self.batch != batch {
            self.batch = batch;
            self.known.clear();
        }
    }
}

#[derive(Clone, Copy)]
struct Renamed {
    /// The new name, if it has one.
    to: Option<FieldId>,
    /// It is one of a list of pairs.
    is_pair: bool,
}

/// The new place of every name that the pack lists; all others are looked at by name.
fn moved(spec: &Spec, form: &JsonForm, by_name: &ByName, dict: &Dictionary) -> Vec<u32> {
    if by_name.names.is_empty() && by_name.moves.is_empty() && by_name.rest.is_empty() {
        return vec![STAYS; dict.len()];
    }
    let mut out = vec![BY_NAME; dict.len()];
    let mut to = String::new();
    let mut set = |name: &str| {
        let Some(from) = dict.id(name).filter(|id| !id.is_intrinsic()) else { return };
        out[from.0 as usize] = match by_name.target(name, &mut to) {
            false => STAYS,
            true => dict.id(&to).filter(|t| !t.is_intrinsic()).map_or(BY_NAME, |t| t.0),
        };
    };
    for name in event::field::INTRINSIC_NAMES {
        set(&format!("alcedo.claimed.{name}"));
    }
    form.keep.iter().for_each(|n| set(n));
    form.names.keys().for_each(|n| set(n));
    for name in form.all.iter().chain(&form.any).chain(&spec.own_names()) {
        set(&spec.full(name));
        set(name);
        for (from, _) in &form.moves {
            set(&format!("{from}{name}"));
        }
    }
    if form.rest.is_empty() {
        event::field::ecs_fields().for_each(|(name, _)| set(name));
    }
    out
}

impl ByName {
    /// The new name of `name`, written to `to`; false when it stays.
    fn target(&self, name: &str, to: &mut String) -> bool {
        to.clear();
        let marked;
        let mut name = name;
        if self.is_xml {
            marked = pairs::with_attributes(name);
            name = &marked;
        }
        if let Some(new) = self.names.get(name) {
            to.push_str(new);
            return true;
        }
        // XML turned to JSON puts an element's text under `#text` when it has attributes too.
        let name = name.strip_suffix(".#text").unwrap_or(name);
        for (from, new) in &self.moves {
            let rest = match from.strip_suffix("*.") {
                Some(head) => name.strip_prefix(head).and_then(|r| r.split_once('.')).map(|r| r.1),
                None => name.strip_prefix(from.as_str()),
            };
            if let Some(rest) = rest {
                to.push_str(new);
                to.push_str(rest);
                return true;
            }
        }
        let of_others = ["alcedo.", BULK_PREFIX].iter().any(|prefix| name.starts_with(prefix));
        if self.rest.is_empty() || name.starts_with(&self.rest) || of_others {
            return false;
        }
        let top = name.split_once('.').map_or(name.len(), |(top, _)| top.len() + 1);
        if self.keep.contains(name) || self.keep.contains(&name[..top]) {
            return false;
        }
        to.push_str(&self.rest);
        to.push_str(name);
        true
    }
}

pub(crate) struct Step {
    /// All of them have to hold.
    pub(crate) when: Vec<When>,
    pub(crate) must: bool,
    pub(crate) ops: Vec<Op>,
}

/// Fewest steps of a program that are specialised for what rows have: to look that up costs as much as some.
const SPECIALISED_STEPS_MIN: usize = 6;

impl Program {
    pub(crate) fn compile(pack: &Pack, dict: &Dictionary) -> Self {
        let spec = &pack.spec;
        let id = |name: &str| field_id(dict, &spec.full(name));
        let mut constants = Constants::default();
        for (name, value) in [
            ("alcedo.pack", &spec.pack),
            ("event.module", &spec.module),
            ("event.dataset", &spec.dataset),
            ("observer.vendor", &spec.vendor),
            ("observer.product", &spec.product),
        ] {
            if !value.is_empty() {
                constants.push(id(name), Kind::Str, value.as_bytes());
            }
        }
        let mut logsources = Constants::default();
        for logsource in &spec.logsource {
            logsources.push(id("alcedo.logsource"), Kind::Str, logsource.as_bytes());
        }
        let steps = spec.steps.iter().zip(&pack.scripts).map(|(step, script)| Step {
            when: step.when.as_ref().map(|w| When::compile(spec, w, &id, dict)).unwrap_or_default(),
            must: step.must,
            ops: ops::compile(step, script.as_ref(), spec, dict),
        });
        let mut steps: Vec<Step> = steps.collect();
        let switches =
            Switches::over(&mut steps.iter_mut().map(|s| &mut s.when).collect::<Vec<_>>());
        Self {
            name: spec.pack.clone(),
            number: PROGRAMS.fetch_add(1, Ordering::Relaxed),
            fields: dict.len(),
            parser: Parser::by_name(&spec.parser).unwrap_or(Parser::Text),
            prefix: spec.prefix.clone(),
            data_prefix: spec.structured_data.clone(),
            constants,
            forms: spec.shapes.iter().map(|f| Form::compile(spec, f, dict)).collect(),
            times: spec.time.iter().map(|t| TimeSource::new(t, &id)).collect(),
            time_first: spec.time_first,
            is_last: spec.last,
            steps,
            switches,
            logsources,
            syslog: {
                let is_linux = spec.logsource.iter().any(|l| l.starts_with("linux/"));
                let is_said = spec.logsource.iter().any(|l| l == LINUX_SYSLOG);
                (is_linux && !is_said).then_some(LINUX_SYSLOG.as_bytes())
            },
            logsource: id("alcedo.logsource"),
            routes: pack.routes.compile(&|name| field_id(dict, name)),
        }
    }

    /// Everything behind the parser: maps, sets, routes, finds the time. `is_wrapper`: the event is
    /// another product's, which this one only carried, so that this one does not say what it is.
    pub(crate) fn run(
        &self,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
        is_wrapper: bool,
    ) {
        let count = row.cell_count();
        if !is_wrapper {
            row.push_all(&self.constants);
        }
        work.index.update(row);
        let mut layouts = std::mem::take(&mut work.layouts);
        let mut switched = Switched::default();
        match self.specialised(&mut layouts, row, work, (count, is_wrapper), &mut switched) {
            Some(left) => left.steps.iter().for_each(|left| {
                self.run_left(left, row, work, found, &mut switched);
            }),
            None => self.run_all(row, work, found, &mut switched),
        }
        work.layouts = layouts;
        if let Some(routes) = &self.routes {
            let index = &work.index;
            routes.apply(row, &|_, field| index.get(field), &mut work.buffer);
        }
        if !is_wrapper {
            row.push_all(&self.logsources);
            if let Some(logsource) = self.syslog.filter(|_| found.is_syslog) {
                row.push(self.logsource, Kind::Str, logsource);
            }
        }
        if found.stamp.is_none() {
            found.stamp = self.times.iter().find_map(|t| t.read(row, work));
        }
    }

    /// What is left of the steps for a row of this layout, whose own cells are the first `count`.
    fn specialised<'l>(
        &self,
        layouts: &'l mut Layouts,
        row: &RowWriter<'_>,
        work: &Work,
        (count, is_wrapper): (usize, bool),
        switched: &mut Switched,
    ) -> Option<&'l Specialised> {
        // Who wants to know what each step did has all of them run.
        if self.steps.len() < SPECIALISED_STEPS_MIN || work.trace.is_some() {
            return None;
        }
        let said = self.switches.said(row, &work.index, switched);
        let at = match layouts.find((self.number, is_wrapper), &said, row, count) {
            Found::At(at) => at,
            Found::Due(at) => {
                let constants = self.constants.iter().map(|(field, ..)| (field, false));
                let constants = constants.filter(|_| !is_wrapper);
                let fields = layouts.layout().fields().chain(constants);
                let row = Foreseen::of(fields, self.fields, &self.switches, &said);
                layouts.keep(at, Specialised::of(&self.steps, &self.switches, row));
                at
            }
            Found::Nothing => return None,
        };
        layouts.at(at)
    }

    fn run_all(
        &self,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
        switched: &mut Switched,
    ) {
        for (number, step) in self.steps.iter().enumerate() {
            let holds = |when: &When, row: &mut _, known: &mut _| {
                when.holds(row, &work.index, &self.switches, known)
            };
            if !step.when.iter().all(|when| holds(when, row, switched)) {
                continue;
            }
            found.matched = false;
            for op in &step.ops {
                work.written_from = row.cell_count();
                op.run(row, work, found);
                work.index.update(row);
                work.note_op(number, op.name(), row.cell_count());
            }
            self.ran(number, found, switched);
        }
    }

    /// Runs what is left of a step.
    fn run_left(
        &self,
        left: &LeftStep,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
        switched: &mut Switched,
    ) {
        let step = &self.steps[left.number];
        let holds = |place: &usize, row: &mut _, known: &mut _| {
            step.when[*place].holds(row, &work.index, &self.switches, known)
        };
        if !left.asked.iter().all(|place| holds(place, row, switched)) {
            return;
        }
        found.matched = false;
        for op in &left.ops {
            work.written_from = row.cell_count();
            match op {
                LeftOp::Whole(place) => step.ops[*place].run(row, work, found),
                LeftOp::Map(mappings) => mappings.iter().for_each(|m| m.run(row, work)),
            }
            work.index.update(row);
        }
        self.ran(left.number, found, switched);
    }

    /// Notes that a step was run.
    fn ran(&self, number: usize, found: &mut Findings, switched: &mut Switched) {
        switched.may_differ();
        if self.steps[number].must && !found.matched {
            found.failed.get_or_insert_with(|| {
                format!("pack {}, step {}: no pattern matches", self.name, number + 1)
            });
        }
    }
}

/// The id of a name that packs registered; the claimed form of an intrinsic name. Names that a
/// dictionary of another pack set lacks become an intrinsic id, which no cell can have.
pub(crate) fn field_id(dict: &Dictionary, name: &str) -> FieldId {
    match dict.id(name) {
        Some(id) if id.is_intrinsic() => id.claimed(),
        Some(id) => id,
        None => FieldId::TIMESTAMP,
    }
}

pub(crate) fn class_of_type(kind: FieldType) -> Class {
    match kind {
        FieldType::Ip => Class::Ip,
        FieldType::Long => Class::Long,
        FieldType::Double => Class::Double,
        FieldType::Boolean => Class::Boolean,
        FieldType::Date => Class::Date,
        FieldType::Keyword | FieldType::Text => Class::Keyword,
    }
}

pub(crate) fn class_of(name: &str, id: FieldId, dict: &Dictionary) -> Class {
    if name.contains(".hash.") || name == "host.name" {
        return Class::Lower;
    }
    if name == "network.transport" {
        return Class::Transport;
    }
    if name.ends_with(".nat.ip") {
        return Class::NatIp;
    }
    if name.ends_with(".nat.port") {
        return Class::NatPort;
    }
    if name.ends_with(".mac") {
        return Class::Mac;
    }
    if let Some(user) = name.strip_suffix("user.name") {
        return Class::User { domain: field_id(dict, &format!("{user}user.domain")) };
    }
    class_of_type(dict.kind(id))
}

/// Longest key that becomes a field name of its own.
const KEY_LEN_MAX: usize = 128;

/// Writes `value` under `prefix.key`. Keys that are no sensible names are passed over.
pub(crate) fn push_named(
    row: &mut RowWriter<'_>,
    prefix: &str,
    key: &[u8],
    value: &[u8],
    name: &mut String,
) {
    push_kind(row, prefix, key, Kind::Str, value, name);
}

/// As [`push_named`], with the value's kind.
pub(crate) fn push_kind(
    row: &mut RowWriter<'_>,
    prefix: &str,
    key: &[u8],
    kind: Kind,
    value: &[u8],
    name: &mut String,
) {
    let Ok(key) = std::str::from_utf8(key) else { return };
    if key.is_empty() || key.len() > KEY_LEN_MAX {
        return;
    }
    name.clear();
    if !prefix.is_empty() {
        name.push_str(prefix);
        name.push('.');
    }
    name.push_str(key);
    let field = row.field(name);
    row.push(field, kind, value);
}
