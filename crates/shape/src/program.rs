//! A pack compiled for one generation: names are ids, conditions are byte comparisons.

use crate::native::Parser;
use crate::packs::Pack;
use crate::routes::CompiledRoutes;
use crate::spec::{JsonForm, Spec, StepSpec};
use crate::value::{self, Class};
use event::{Dictionary, FieldId, FieldType, Kind, RowWriter};
use hashbrown::{HashMap, HashSet};
use memchr::memmem::Finder;
use parse::timestamp::Stamp;
use parse::{Flattener, Limits, kv};
use regex::bytes::Regex;

/// Where each field of the row being shaped stands. Dense over the generation's ids, valid for the
/// row whose stamp it carries, so that nothing has to be cleared between rows.
#[derive(Default)]
pub(crate) struct Index {
    slots: Vec<(u32, u32)>,
    stamp: u32,
    seen: usize,
}

impl Index {
    /// Starts a row.
    pub(crate) fn start(&mut self, dict: &Dictionary) {
        if self.slots.len() != dict.len() || self.stamp == u32::MAX {
            self.slots.clear();
            self.slots.resize(dict.len(), (0, 0));
            self.stamp = 0;
        }
        self.stamp += 1;
        self.seen = 0;
    }

    /// Takes in the cells written since the last call.
    pub(crate) fn update(&mut self, row: &RowWriter<'_>) {
        for at in self.seen..row.cell_count() {
            let field = row.cell(at).0;
            if let Some(slot) = self.slots.get_mut(field.0 as usize)
                && slot.0 != self.stamp
            {
                *slot = (self.stamp, at as u32);
            }
        }
        self.seen = row.cell_count();
    }

    /// Forgets everything of this row, because cells were renamed.
    pub(crate) fn restart(&mut self, row: &RowWriter<'_>) {
        self.stamp = self.stamp.wrapping_add(1);
        self.seen = 0;
        self.update(row);
    }

    pub(crate) fn get(&self, field: FieldId) -> Option<usize> {
        let slot = self.slots.get(field.0 as usize)?;
        (slot.0 == self.stamp && slot.0 != 0).then_some(slot.1 as usize)
    }
}

/// Buffers that steps need; one per worker.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) index: Index,
    pub(crate) flattener: Flattener,
    pub(crate) buffer: Vec<u8>,
    pub(crate) text: Vec<u8>,
    pub(crate) name: String,
}

/// What steps found out besides cells.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) stamp: Option<Stamp>,
    pub(crate) failed: Option<String>,
}

pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) parser: Parser,
    pub(crate) prefix: String,
    pub(crate) module: Box<[(FieldId, Box<[u8]>)]>,
    pub(crate) programs: Vec<String>,
    pub(crate) starts: Vec<Vec<u8>>,
    pub(crate) contains: Vec<Finder<'static>>,
    pub(crate) probe: bool,
    pub(crate) forms: Vec<Form>,
    times: Vec<(FieldId, bool)>,
    steps: Vec<Step>,
    logsources: Vec<Box<[u8]>>,
    logsource: FieldId,
    routes: Option<CompiledRoutes>,
}

/// A compiled [`JsonForm`].
pub(crate) struct Form {
    pub(crate) name: String,
    all: Vec<FieldId>,
    any: Vec<FieldId>,
    /// By id: where a known name goes. [`STAYS`] and [`BY_NAME`] are the exceptions.
    moved: Vec<u32>,
    by_name: ByName,
}

/// The slow way: for names the generation does not know.
struct ByName {
    names: HashMap<String, String>,
    moves: Vec<(String, String)>,
    rest: String,
    keep: HashSet<String>,
}

const STAYS: u32 = u32::MAX;
const BY_NAME: u32 = u32::MAX - 1;

impl Form {
    fn compile(spec: &Spec, form: &JsonForm, dict: &Dictionary) -> Self {
        let id = |name: &String| field_id(dict, &spec.full(name));
        let by_name = ByName {
            names: form.names.iter().map(|(a, b)| (a.clone(), spec.full(b))).collect(),
            moves: form.moves.clone(),
            rest: form.rest.clone(),
            keep: form.keep.iter().cloned().collect(),
        };
        let mut to = String::new();
        let moved = (0..dict.len() as u32).map(|n| {
            if FieldId(n).is_intrinsic() || dict.name(FieldId(n)).starts_with("alcedo.") {
                return STAYS;
            }
            if !by_name.target(dict.name(FieldId(n)), &mut to) {
                return STAYS;
            }
            dict.id(&to).filter(|t| !t.is_intrinsic()).map_or(BY_NAME, |t| t.0)
        });
        Self {
            name: form.name.clone(),
            all: form.all.iter().map(id).collect(),
            any: form.any.iter().map(id).collect(),
            moved: moved.collect(),
            by_name,
        }
    }

    pub(crate) fn fits(&self, index: &Index) -> bool {
        let has = |f: &FieldId| index.get(*f).is_some();
        self.all.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has))
    }

    /// Renames the row's cells from `from` on.
    pub(crate) fn rename(&self, row: &mut RowWriter<'_>, from: usize, name: &mut String) {
        for at in from..row.cell_count() {
            let field = row.cell(at).0;
            match self.moved.get(field.0 as usize) {
                Some(&STAYS) => {}
                Some(&to) if to != BY_NAME => row.rename(at, FieldId(to)),
                _ => {
                    if self.by_name.target(row.name(field), name) {
                        let to = row.field(name);
                        row.rename(at, to);
                    }
                }
            }
        }
    }
}

impl ByName {
    /// The new name of `name`, written to `to`; false when it stays.
    fn target(&self, name: &str, to: &mut String) -> bool {
        to.clear();
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
        if self.rest.is_empty() || name.starts_with(&self.rest) || name.starts_with("alcedo.") {
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

struct Step {
    when: Option<When>,
    ops: Vec<Op>,
}

struct When {
    field: FieldId,
    test: WhenTest,
    not: bool,
}

enum WhenTest {
    In(Box<[Box<[u8]>]>),
    Starts(Box<[u8]>),
    Exists,
}

impl When {
    fn holds(&self, row: &RowWriter<'_>, index: &Index) -> bool {
        let value = index.get(self.field).map(|at| row.cell(at).1.bytes);
        let holds = match (&self.test, value) {
            (WhenTest::Exists, value) => value.is_some(),
            (_, None) => false,
            (WhenTest::In(list), Some(v)) => list.iter().any(|x| x.eq_ignore_ascii_case(v)),
            (WhenTest::Starts(prefix), Some(v)) => v.starts_with(prefix),
        };
        holds != self.not
    }
}

enum Op {
    Map(Box<[Mapping]>),
    Rename(FieldId, FieldId),
    Copy(FieldId, FieldId),
    Convert(FieldId, Class),
    Hashes(FieldId, HashFields),
    Regex(FieldId, Regex, Vec<(usize, FieldId, Class)>),
    Kv(FieldId, String),
    Json(FieldId, String),
    Date(FieldId),
    Set(FieldId, Kind, Box<[u8]>),
}

struct Mapping {
    target: FieldId,
    from: Box<[(FieldId, Class)]>,
}

/// The members of one ECS hash object.
struct HashFields {
    known: Vec<(&'static [u8], FieldId)>,
}

/// Names of hash algorithms as products write them, and ECS' name.
const HASH_NAMES: &[(&str, &str)] = &[
    ("MD5", "md5"),
    ("SHA1", "sha1"),
    ("SHA256", "sha256"),
    ("SHA384", "sha384"),
    ("SHA512", "sha512"),
];

impl Program {
    pub(crate) fn compile(pack: &Pack, dict: &Dictionary) -> Self {
        let spec = &pack.spec;
        let id = |name: &str| field_id(dict, &spec.full(name));
        let mut module: Vec<(FieldId, Box<[u8]>)> = Vec::new();
        for (name, value) in [("event.module", &spec.module), ("event.dataset", &spec.dataset)] {
            if !value.is_empty() {
                module.push((id(name), value.as_bytes().into()));
            }
        }
        let times = spec.time.iter().map(|t| match t.strip_suffix(" utc") {
            Some(name) => (id(name), true),
            None => (id(t), false),
        });
        let finder = |t: &String| Finder::new(t.as_bytes()).into_owned();
        Self {
            name: spec.pack.clone(),
            parser: Parser::by_name(&spec.parser).unwrap_or(Parser::Text),
            prefix: spec.prefix.clone(),
            module: module.into(),
            programs: spec.recognise.program.iter().map(|p| p.to_ascii_lowercase()).collect(),
            starts: spec.recognise.starts.iter().map(|s| s.clone().into_bytes()).collect(),
            contains: spec.recognise.contains.iter().map(finder).collect(),
            probe: spec.recognise.probe,
            forms: spec.shapes.iter().map(|f| Form::compile(spec, f, dict)).collect(),
            times: times.collect(),
            steps: spec.steps.iter().map(|s| step(s, &id, dict)).collect(),
            logsources: spec.logsource.iter().map(|l| l.as_bytes().into()).collect(),
            logsource: id("alcedo.logsource"),
            routes: pack.routes.compile(&|name| field_id(dict, name)),
        }
    }

    /// Everything behind the parser: maps, sets, routes, finds the time.
    pub(crate) fn run(&self, row: &mut RowWriter<'_>, work: &mut Work, found: &mut Findings) {
        for (field, value) in &self.module {
            row.push(*field, Kind::Str, value);
        }
        work.index.update(row);
        for step in &self.steps {
            if step.when.as_ref().is_none_or(|w| w.holds(row, &work.index)) {
                for op in &step.ops {
                    op.run(row, work, found);
                    work.index.update(row);
                }
            }
        }
        if let Some(routes) = &self.routes {
            let index = &work.index;
            routes.apply(row, &|_, field| index.get(field), &mut work.name);
        }
        for logsource in &self.logsources {
            row.push(self.logsource, Kind::Str, logsource);
        }
        if found.stamp.is_none() {
            found.stamp = self.times.iter().find_map(|(field, utc)| {
                let value = row.cell(work.index.get(*field)?).1;
                let stamp = parse::timestamp::parse(value.bytes).ok()?;
                Some(if *utc { stamp.with_zone(0) } else { stamp })
            });
        }
    }
}

fn step(spec: &StepSpec, id: &dyn Fn(&str) -> FieldId, dict: &Dictionary) -> Step {
    let when = spec.when.as_ref().map(|w| When {
        field: id(&w.field),
        test: match (&w.is_in, &w.starts) {
            (Some(list), _) => {
                WhenTest::In(list.texts().into_iter().map(|t| t.into_bytes().into()).collect())
            }
            (None, Some(prefix)) => WhenTest::Starts(prefix.as_bytes().into()),
            (None, None) => WhenTest::Exists,
        },
        not: w.not != (w.exists == Some(false)),
    });
    let mut ops = Vec::new();
    let pairs = |map: &std::collections::BTreeMap<String, String>| -> Vec<(FieldId, FieldId)> {
        map.iter().map(|(a, b)| (id(a), id(b))).collect()
    };
    ops.extend(pairs(&spec.rename).into_iter().map(|(a, b)| Op::Rename(a, b)));
    ops.extend(pairs(&spec.copy).into_iter().map(|(a, b)| Op::Copy(a, b)));
    ops.extend(spec.kv.iter().map(|(from, prefix)| Op::Kv(id(from), prefix.clone())));
    ops.extend(spec.json.iter().map(|(from, prefix)| Op::Json(id(from), prefix.clone())));
    for (from, pattern) in &spec.regex {
        if let Ok(regex) = Regex::new(pattern) {
            let groups = regex.capture_names().enumerate();
            let groups = groups.filter_map(|(i, name)| Some((i, name?)));
            let groups = groups.map(|(i, name)| (i, id(name), class_of(name, id(name), dict)));
            let groups = groups.collect();
            ops.push(Op::Regex(id(from), regex, groups));
        }
    }
    if !spec.map.is_empty() {
        let mapping = |(target, from): (&String, &crate::spec::OneOrMany)| {
            let field = id(target);
            let class = class_of(target, field, dict);
            let from = from.texts().into_iter().map(|name| match name.strip_prefix("basename ") {
                Some(name) => (id(name), Class::Basename),
                None => (id(&name), class),
            });
            Mapping { target: field, from: from.collect() }
        };
        ops.push(Op::Map(spec.map.iter().map(mapping).collect()));
    }
    for (from, to) in &spec.split_user {
        let class = Class::User { domain: id(&format!("{to}.domain")) };
        let target = id(&format!("{to}.name"));
        let from = [(id(from), class)].into();
        ops.push(Op::Map([Mapping { target, from }].into()));
    }
    for (from, to) in &spec.hashes {
        let known =
            HASH_NAMES.iter().map(|(name, ecs)| (name.as_bytes(), id(&format!("{to}.{ecs}"))));
        ops.push(Op::Hashes(id(from), HashFields { known: known.collect() }));
    }
    for (field, kind) in &spec.convert {
        let kind = crate::spec::field_type(kind).unwrap_or(FieldType::Keyword);
        ops.push(Op::Convert(id(field), class_of_type(kind)));
    }
    ops.extend(spec.lower.iter().map(|f| Op::Convert(id(f), Class::Lower)));
    ops.extend(spec.date.iter().map(|f| Op::Date(id(f))));
    for (field, values) in &spec.set {
        let kind = match dict.kind(id(field)) {
            FieldType::Long => Kind::Int,
            FieldType::Boolean => Kind::Bool,
            _ => Kind::Str,
        };
        let values = values.texts().into_iter();
        ops.extend(values.map(|v| Op::Set(id(field), kind, v.into_bytes().into())));
    }
    let text = |name: &str, value: &String| Op::Set(id(name), Kind::Str, value.as_bytes().into());
    ops.extend(spec.logsource.iter().map(|v| text("alcedo.logsource", v)));
    ops.extend(spec.tag.iter().map(|v| text("tags", v)));
    Step { when, ops }
}

impl StepSpec {
    /// Every field name the step reads or writes.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut out: Vec<String> = self.when.iter().map(|w| w.field.clone()).collect();
        for (from, to) in self.rename.iter().chain(&self.copy) {
            out.extend([from.clone(), to.clone()]);
        }
        for (target, from) in &self.map {
            out.push(target.clone());
            let plain = |t: String| t.strip_prefix("basename ").map_or(t.clone(), str::to_owned);
            out.extend(from.texts().into_iter().map(plain));
        }
        for (from, to) in &self.hashes {
            out.push(from.clone());
            out.extend(HASH_NAMES.iter().map(|(_, ecs)| format!("{to}.{ecs}")));
        }
        for (from, to) in &self.split_user {
            out.extend([from.clone(), format!("{to}.name")]);
        }
        for (from, pattern) in &self.regex {
            out.push(from.clone());
            let regex = Regex::new(pattern);
            let groups = regex.iter().flat_map(|r| r.capture_names().flatten());
            out.extend(groups.map(str::to_owned));
        }
        let keyed = self.convert.keys().chain(self.kv.keys()).chain(self.json.keys());
        out.extend(keyed.chain(self.set.keys()).chain(&self.lower).chain(&self.date).cloned());
        let users: Vec<String> =
            out.iter().filter_map(|n| Some(format!("{}domain", n.strip_suffix("name")?))).collect();
        out.extend(users.into_iter().filter(|n| n.ends_with("user.domain")));
        out
    }
}

/// The id of a name that packs registered; the claimed form of an intrinsic name. Names that a
/// dictionary of another pack set lacks become an intrinsic id, which no cell can have.
fn field_id(dict: &Dictionary, name: &str) -> FieldId {
    match dict.id(name) {
        Some(id) if id.is_intrinsic() => id.claimed(),
        Some(id) => id,
        None => FieldId::TIMESTAMP,
    }
}

fn class_of_type(kind: FieldType) -> Class {
    match kind {
        FieldType::Ip => Class::Ip,
        FieldType::Long => Class::Long,
        FieldType::Double => Class::Double,
        FieldType::Boolean => Class::Boolean,
        FieldType::Keyword | FieldType::Text | FieldType::Date => Class::Keyword,
    }
}

fn class_of(name: &str, id: FieldId, dict: &Dictionary) -> Class {
    if name.contains(".hash.") || name == "host.name" {
        return Class::Lower;
    }
    if let Some(user) = name.strip_suffix("user.name") {
        return Class::User { domain: field_id(dict, &format!("{user}user.domain")) };
    }
    class_of_type(dict.kind(id))
}

/// Most bytes of one value that a `kv`, `json` or `regex` step looks at.
const STEP_BYTES_MAX: usize = 1 << 20;

impl Op {
    fn run(&self, row: &mut RowWriter<'_>, work: &mut Work, found: &mut Findings) {
        match self {
            Op::Map(mappings) => {
                for mapping in mappings {
                    mapping.run(row, work);
                }
            }
            Op::Rename(from, to) => {
                if let Some(at) = work.index.get(*from) {
                    for at in at..row.cell_count() {
                        if row.cell(at).0 == *from {
                            row.rename(at, *to);
                        }
                    }
                    work.index.restart(row);
                }
            }
            Op::Copy(from, to) => {
                if let Some(at) = work.index.get(*from) {
                    row.copy_cell(at, *to);
                }
            }
            Op::Convert(field, class) => {
                if let Some(at) = work.index.get(*field) {
                    convert(row, at, *class, &mut work.buffer);
                }
            }
            Op::Hashes(from, fields) => {
                if let Some(at) = work.index.get(*from) {
                    fields.run(row, at, &mut work.buffer);
                }
            }
            Op::Set(field, kind, value) => {
                row.push(*field, *kind, value);
            }
            Op::Date(field) => {
                if let Some(at) = work.index.get(*field)
                    && let Ok(stamp) = parse::timestamp::parse(row.cell(at).1.bytes)
                {
                    found.stamp = Some(stamp);
                }
            }
            Op::Regex(..) | Op::Kv(..) | Op::Json(..) => self.run_text(row, work, found),
        }
    }

    /// Steps that take a value apart. The value is copied first: the row it stands in is written to.
    fn run_text(&self, row: &mut RowWriter<'_>, work: &mut Work, found: &mut Findings) {
        let (Op::Regex(from, ..) | Op::Kv(from, _) | Op::Json(from, _)) = self else { return };
        let Some(at) = work.index.get(*from) else { return };
        let mut text = std::mem::take(&mut work.text);
        text.clear();
        let bytes = row.cell(at).1.bytes;
        text.extend_from_slice(&bytes[..bytes.len().min(STEP_BYTES_MAX)]);
        match self {
            Op::Regex(_, regex, groups) => {
                if let Some(captures) = regex.captures(&text) {
                    for (group, field, class) in groups {
                        let Some(piece) = captures.get(*group) else { continue };
                        // The piece is a part of the cell's text: stored without another copy.
                        row.copy_part(at, piece.range(), Kind::Str, *field);
                        convert(row, row.cell_count() - 1, *class, &mut work.buffer);
                    }
                }
            }
            Op::Kv(_, prefix) => {
                for (key, value) in kv::pairs(&text, &kv::KvOptions::default()) {
                    push_named(row, prefix, key, &value, &mut work.name);
                }
            }
            Op::Json(_, prefix) => {
                let done = work.flattener.flatten(&text, prefix, row, &Limits::default());
                if let Err(error) = done {
                    found.failed.get_or_insert_with(|| error.to_string());
                }
            }
            _ => {}
        }
        work.text = text;
    }
}

impl Mapping {
    fn run(&self, row: &mut RowWriter<'_>, work: &mut Work) {
        if work.index.get(self.target).is_some() {
            return;
        }
        for (from, class) in &self.from {
            if let Some(at) = work.index.get(*from)
                && value::store(row, at, self.target, *class, &mut work.buffer)
            {
                return;
            }
        }
    }
}

impl HashFields {
    fn run(&self, row: &mut RowWriter<'_>, at: usize, buffer: &mut Vec<u8>) {
        let bytes = row.cell(at).1.bytes;
        let mut parts: [(usize, usize, usize); 8] = [(0, 0, usize::MAX); 8];
        let mut from = 0;
        for (n, part) in bytes.split(|c| *c == b',').take(parts.len()).enumerate() {
            if let Some(eq) = memchr::memchr(b'=', part)
                && let Some(k) =
                    self.known.iter().position(|k| k.0.eq_ignore_ascii_case(&part[..eq]))
            {
                parts[n] = (from + eq + 1, from + part.len(), k);
            }
            from += part.len() + 1;
        }
        for (from, to, known) in parts {
            if let Some((_, field)) = self.known.get(known)
                && row.copy_part(at, from..to, Kind::Str, *field)
            {
                convert(row, row.cell_count() - 1, Class::Lower, buffer);
            }
        }
    }
}

/// Replaces cell `at` by its normalised form; a value that does not fit stays as it is.
fn convert(row: &mut RowWriter<'_>, at: usize, class: Class, buffer: &mut Vec<u8>) {
    let (field, value) = row.cell(at);
    if class == Class::Lower {
        if value.bytes.iter().any(u8::is_ascii_uppercase) {
            buffer.clear();
            buffer.extend(value.bytes.iter().map(u8::to_ascii_lowercase));
            row.replace(at, Kind::Str, buffer);
        }
        return;
    }
    let before = row.cell_count();
    if class != Class::Keyword && value::store(row, at, field, class, buffer) {
        let (_, new) = row.cell(row.cell_count() - 1);
        buffer.clear();
        buffer.extend_from_slice(new.bytes);
        let kind = new.kind;
        row.truncate(before);
        row.replace(at, kind, buffer);
    }
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
    row.push(field, Kind::Str, value);
}
