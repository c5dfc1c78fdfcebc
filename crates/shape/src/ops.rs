//! The operations of steps: checked, compiled, run.

use crate::extract::{Columns, Cutter, Pattern, Target};
use crate::program::{Findings, Work, class_of, class_of_type, push_named};
use crate::script::{self, Script};
use crate::spec::{CsvSpec, KvSpec, OneOrMany, Patterns, Spec, StepSpec};
use crate::specialise::Foreseen;
use crate::value::{self, Class};
use crate::{dissect, when};
use event::time::SECOND_NS;
use event::{Constants, Dictionary, FieldId, FieldType, Kind, RowWriter};
use hashbrown::HashMap;
use memchr::memmem::Finder;
use parse::{Limits, cef, kv, leef};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const LINEAR_HINT: &str = "linear-time syntax only: no look-around, no back-references";
/// Most bytes of one value that a step takes apart.
const STEP_BYTES_MAX: usize = 1 << 20;

/// Names of hash algorithms as products write them, and ECS' name.
const HASH_NAMES: &[(&str, &str)] = &[
    ("MD5", "md5"),
    ("SHA1", "sha1"),
    ("SHA256", "sha256"),
    ("SHA384", "sha384"),
    ("SHA512", "sha512"),
];

/// One operation, compiled.
pub(crate) enum Op {
    Map(Box<[Mapping]>),
    Rename(FieldId, FieldId),
    Copy(FieldId, FieldId),
    Convert(FieldId, Class),
    Upper(FieldId),
    Hashes(FieldId, HashFields),
    Patterns(FieldId, Vec<Pattern>),
    Cut(FieldId, Vec<Cutter>),
    Select(Select),
    Csv(FieldId, Columns),
    Kv(FieldId, KvForm),
    Json(FieldId, String),
    Xml(FieldId, String),
    WindowsData(FieldId, String),
    JsonText(Vec<String>, FieldId),
    Cef(FieldId, String),
    Leef(FieldId, String),
    Items(FieldId, Vec<Option<FieldId>>),
    Join(FieldId, Box<[u8]>, FieldId),
    Split(FieldId, Box<Finder<'static>>, Target),
    Address(FieldId, AddressFields),
    Url(FieldId, UrlFields),
    Script(Arc<dyn Script>),
    Lookup(Box<Lookup>),
    Date(TimeSource),
    /// The values, and which of their fields hold one.
    Set(Constants, Vec<FieldId>),
    Default(FieldId, Kind, Box<[Box<[u8]>]>),
}

/// Fields whose texts together are a time.
pub(crate) struct TimeSource {
    fields: Vec<FieldId>,
    is_utc: bool,
    /// Month, day and the last two digits of the year, in this order.
    is_mdy: bool,
}

#[derive(Clone)]
pub(crate) struct Mapping {
    target: FieldId,
    from: Box<[Source]>,
}

/// Where a mapping's value stands, and what becomes of it.
#[derive(Clone, Copy)]
struct Source {
    field: FieldId,
    class: Class,
    place: Place,
}

/// Which value of a list.
#[derive(Clone, Copy)]
enum Place {
    First,
    Last,
    /// The first of several, none where it is the only one.
    FirstOfSeveral,
}

impl Place {
    /// Where that value of `field` stands.
    fn find(self, field: FieldId, work: &Work) -> Option<usize> {
        let places = work.index.places(field)?;
        match self {
            Place::First => Some(places.start),
            Place::Last => Some(places.end - 1),
            Place::FirstOfSeveral => (places.len() > 1).then_some(places.start),
        }
    }
}

/// The members of one ECS hash object.
pub(crate) struct HashFields {
    known: Vec<(&'static [u8], FieldId)>,
}

pub(crate) struct KvForm {
    prefix: String,
    options: kv::KvOptions,
    is_wordy: bool,
}

pub(crate) struct Select {
    on: FieldId,
    from: FieldId,
    patterns: Vec<Vec<Pattern>>,
    cases: HashMap<Vec<u8>, usize>,
}

pub(crate) struct Lookup {
    from: Vec<FieldId>,
    to: FieldId,
    /// Whether the field holds one value: what was told first stays.
    is_single: bool,
    kind: Kind,
    table: HashMap<Vec<u8>, Vec<String>>,
    default: String,
}

/// The ECS object of one peer.
pub(crate) struct AddressFields {
    address: FieldId,
    ip: FieldId,
    domain: FieldId,
    port: FieldId,
}

pub(crate) struct UrlFields {
    pub(crate) original: FieldId,
    pub(crate) scheme: FieldId,
    pub(crate) domain: FieldId,
    pub(crate) port: FieldId,
    pub(crate) path: FieldId,
    pub(crate) query: FieldId,
}

/// What is wrong with a step: a text that stands near it, the message, the hint.
pub(crate) fn check(
    step: &StepSpec,
    spec: &Spec,
    patterns: Patterns,
) -> Option<(String, String, &'static str)> {
    if let Some(crate::spec::Condition::Filter(text)) = &step.when
        && let Err(message) = when::plan(spec, text)
    {
        return Some((text.clone(), message, "write a filter as in a search"));
    }
    let cases = step.select.iter().flat_map(|s| s.cases.values());
    let given = step.regex.values().chain(step.grok.values()).chain(cases);
    for pattern in given.filter(|_| patterns == Patterns::Tried) {
        for pattern in pattern.texts() {
            if let Err(message) = Pattern::check(&pattern, &spec.patterns) {
                let place = pattern.lines().next().unwrap_or_default().to_owned();
                return Some((place, message, LINEAR_HINT));
            }
        }
    }
    for pattern in step.dissect.values().flat_map(OneOrMany::texts) {
        if let Err(message) = dissect::Dissect::parse(&pattern) {
            return Some((pattern, message, "write pieces such as `%{a} from %{b}`"));
        }
    }
    let separators = step.csv.values().map(|c| &c.separator);
    let pairs = step.kv.values().filter_map(|k| match k {
        KvSpec::Full(form) => Some([&form.pair, &form.value]),
        KvSpec::Prefix(_) => None,
    });
    for text in separators.chain(pairs.flatten()) {
        if text.len() != 1 {
            let message = format!("`{text}` is no separator");
            return Some((text.clone(), message, "one ASCII character"));
        }
    }
    for (field, case) in &step.case {
        if !matches!(case.as_str(), "lower" | "upper") {
            let message = format!("`{case}` is no case");
            return Some((field.clone(), message, "lower or upper"));
        }
    }
    for (field, kind) in &step.convert {
        if crate::spec::field_type(kind).is_none() {
            let message = format!("no field type `{kind}`");
            return Some((field.clone(), message, "long, double, boolean, ip or keyword"));
        }
    }
    None
}

/// Every field name that a step reads or writes.
pub(crate) fn names(step: &StepSpec, spec: &Spec) -> Vec<String> {
    let mut out: Vec<String> = step.when.iter().flat_map(|w| when::names(spec, w)).collect();
    for (from, to) in step.rename.iter().chain(&step.copy) {
        out.extend([from.clone(), to.clone()]);
    }
    for (target, from) in &step.map {
        out.push(target.clone());
        let plain = |t: String| mapped(&t).0.to_owned();
        out.extend(from.texts().into_iter().map(plain));
    }
    for (from, to) in &step.hashes {
        out.push(from.clone());
        out.extend(HASH_NAMES.iter().map(|(_, ecs)| format!("{to}.{ecs}")));
    }
    for (from, to) in &step.split_user {
        out.extend([from.clone(), format!("{to}.name")]);
    }
    for (from, to) in &step.address {
        out.push(from.clone());
        out.extend(["address", "ip", "domain", "port"].map(|n| format!("{to}.{n}")));
    }
    for (from, to) in &step.url {
        out.push(from.clone());
        let parts = ["original", "scheme", "domain", "port", "path", "query"];
        out.extend(parts.map(|n| format!("{to}.{n}")));
    }
    for (from, patterns) in step.regex.iter().chain(&step.grok) {
        out.push(from.clone());
        out.extend(patterns.texts().iter().flat_map(|p| Pattern::names(p, &spec.patterns)));
    }
    for (from, patterns) in &step.dissect {
        out.push(from.clone());
        let parsed = patterns.texts().into_iter().filter_map(|p| dissect::Dissect::parse(&p).ok());
        out.extend(parsed.flat_map(|d| d.fields));
    }
    if let Some(select) = &step.select {
        out.extend([select.on.clone(), select.from.clone()]);
        let patterns = select.cases.values().flat_map(OneOrMany::texts);
        out.extend(patterns.flat_map(|p| Pattern::names(&p, &spec.patterns)));
    }
    for (from, csv) in &step.csv {
        out.push(from.clone());
        let all = csv.columns.iter().chain(csv.layouts.values().flatten());
        out.extend(all.filter(|n| !n.is_empty()).cloned());
    }
    for (from, items) in &step.items {
        out.push(from.clone());
        out.extend(items.iter().filter(|n| !n.is_empty()).cloned());
    }
    for (from, join) in &step.join {
        out.extend([from.clone(), join.to.clone()]);
    }
    for (from, split) in &step.split {
        out.extend([from.clone(), split.to.clone()]);
    }
    for (to, lookup) in &step.lookup {
        out.push(to.clone());
        out.extend(lookup.from.texts());
    }
    out.extend(step.date.iter().flat_map(|d| time_names(d)));
    let keyed = [
        &step.convert,
        &step.json,
        &step.xml,
        &step.windows_data,
        &step.cef,
        &step.leef,
        &step.case,
    ];
    out.extend(keyed.into_iter().flat_map(BTreeMap::keys).cloned());
    out.extend(step.kv.keys().chain(step.set.keys()).chain(step.default.keys()).cloned());
    out.extend(step.lower.iter().chain(step.json_text.values()).cloned());
    let users: Vec<String> =
        out.iter().filter_map(|n| Some(format!("{}domain", n.strip_suffix("name")?))).collect();
    out.extend(users.into_iter().filter(|n| n.ends_with("user.domain")));
    out
}

/// The names in `date + time utc`.
pub(crate) fn time_names(written: &str) -> Vec<String> {
    let names = written.strip_suffix(" utc").or_else(|| written.strip_suffix(" mdy"));
    let names = names.unwrap_or(written);
    names.split(" + ").map(|n| n.trim().to_owned()).collect()
}

impl TimeSource {
    pub(crate) fn new(written: &str, id: &dyn Fn(&str) -> FieldId) -> Self {
        let fields = time_names(written).iter().map(|n| id(n)).collect();
        Self { fields, is_utc: written.ends_with(" utc"), is_mdy: written.ends_with(" mdy") }
    }

    /// The time, if its first field is present and all of them together are one.
    pub(crate) fn read(
        &self,
        row: &RowWriter<'_>,
        work: &mut Work,
    ) -> Option<parse::timestamp::Stamp> {
        let first = row.cell(work.index.get(*self.fields.first()?)?).1.bytes;
        let read = |text: &[u8]| {
            let short = self.is_mdy.then(|| parse::timestamp::month_day_short_year(text)).flatten();
            short.or_else(|| parse::timestamp::parse(text).ok())
        };
        let stamp = match self.fields.len() {
            1 => read(first)?,
            _ => {
                work.text.clear();
                work.text.extend_from_slice(first);
                for field in &self.fields[1..] {
                    let Some(at) = work.index.get(*field) else { continue };
                    work.text.push(b' ');
                    work.text.extend_from_slice(row.cell(at).1.bytes);
                }
                read(&work.text)?
            }
        };
        Some(if self.is_utc { stamp.with_zone(0) } else { stamp })
    }
}

/// Compiles the operations of a step, in their order. `script`: its program, compiled.
pub(crate) fn compile(
    step: &StepSpec,
    script: Option<&Arc<dyn Script>>,
    spec: &Spec,
    dict: &Dictionary,
) -> Vec<Op> {
    let id = |name: &str| crate::program::field_id(dict, &spec.full(name));
    let full = |name: &str| spec.full(name);
    let mut ops = Vec::new();
    ops.extend(step.rename.iter().map(|(a, b)| Op::Rename(id(a), id(b))));
    ops.extend(step.copy.iter().map(|(a, b)| Op::Copy(id(a), id(b))));
    ops.extend(step.kv.iter().map(|(from, kv)| Op::Kv(id(from), KvForm::new(kv))));
    ops.extend(step.json.iter().map(|(from, to)| Op::Json(id(from), to.clone())));
    ops.extend(step.xml.iter().map(|(from, to)| Op::Xml(id(from), to.clone())));
    ops.extend(
        step.json_text
            .iter()
            .map(|(path, to)| Op::JsonText(path.split('.').map(str::to_owned).collect(), id(to))),
    );
    let windows = step.windows_data.iter();
    ops.extend(windows.map(|(from, to)| Op::WindowsData(id(from), to.clone())));
    ops.extend(step.cef.iter().map(|(from, to)| Op::Cef(id(from), to.clone())));
    ops.extend(step.leef.iter().map(|(from, to)| Op::Leef(id(from), to.clone())));
    let columns = |csv: &CsvSpec| Columns::new(spec, csv, dict);
    ops.extend(step.csv.iter().map(|(from, csv)| Op::Csv(id(from), columns(csv))));
    for (from, patterns) in &step.dissect {
        let cutters = patterns.texts().into_iter().filter_map(|p| Cutter::new(&p, &full, dict));
        ops.push(Op::Cut(id(from), cutters.collect()));
    }
    let compiled = |patterns: &OneOrMany| -> Vec<Pattern> {
        let all = patterns.texts().into_iter();
        all.filter_map(|p| Pattern::new(&p, &spec.patterns, &full, dict)).collect()
    };
    for (from, patterns) in step.regex.iter().chain(&step.grok) {
        ops.push(Op::Patterns(id(from), compiled(patterns)));
    }
    if let Some(select) = &step.select {
        let mut cases = HashMap::new();
        let mut patterns = Vec::new();
        for (keys, list) in &select.cases {
            for key in keys.split_whitespace() {
                cases.insert(key.to_ascii_lowercase().into_bytes(), patterns.len());
            }
            patterns.push(compiled(list));
        }
        let (on, from) = (id(&select.on), id(&select.from));
        ops.push(Op::Select(Select { on, from, patterns, cases }));
    }
    for (from, items) in &step.items {
        let names = items.iter().map(|n| (!n.is_empty()).then(|| id(n)));
        ops.push(Op::Items(id(from), names.collect()));
    }
    for (from, join) in &step.join {
        ops.push(Op::Join(id(from), join.with.as_bytes().into(), id(&join.to)));
    }
    for (from, split) in &step.split {
        let finder = Box::new(Finder::new(split.on.as_bytes()).into_owned());
        ops.push(Op::Split(id(from), finder, Target::new(&full(&split.to), None, dict)));
    }
    for (from, to) in &step.address {
        let [address, ip, domain, port] =
            ["address", "ip", "domain", "port"].map(|n| id(&format!("{to}.{n}")));
        ops.push(Op::Address(id(from), AddressFields { address, ip, domain, port }));
    }
    for (from, to) in &step.url {
        let [original, scheme, domain, port, path, query] =
            ["original", "scheme", "domain", "port", "path", "query"]
                .map(|n| id(&format!("{to}.{n}")));
        let fields = UrlFields { original, scheme, domain, port, path, query };
        ops.push(Op::Url(id(from), fields));
    }
    ops.extend(script.cloned().map(Op::Script));
    compile_values(step, dict, &id, &mut ops);
    ops
}

/// What a word in front of a source of `map` makes of the value.
const SOURCE_WORDS: &[(&str, Class)] = &[
    ("basename ", Class::Basename),
    ("extension ", Class::Extension),
    ("spaced ", Class::Spaced),
    ("labels ", Class::Labels),
    ("seconds ", Class::Duration { unit_ns: SECOND_NS }),
    ("milliseconds ", Class::Duration { unit_ns: SECOND_NS / 1_000 }),
    ("microseconds ", Class::Duration { unit_ns: SECOND_NS / 1_000_000 }),
    ("clock ", Class::Clock),
];

/// What a word in front of a source of `map` takes of a list.
const PLACE_WORDS: &[(&str, Place)] =
    &[("last ", Place::Last), ("first of several ", Place::FirstOfSeveral)];

/// A source of `map`: its name, which value of it, and what a word in front of it makes of the value.
fn mapped(source: &str) -> (&str, Place, Option<Class>) {
    let placed = PLACE_WORDS.iter().find_map(|(word, p)| Some((source.strip_prefix(word)?, *p)));
    let (source, place) = placed.unwrap_or((source, Place::First));
    let found =
        SOURCE_WORDS.iter().find_map(|(word, class)| Some((source.strip_prefix(word)?, *class)));
    found.map_or((source, place, None), |(name, class)| (name, place, Some(class)))
}

/// The operations on values that stand already in fields.
fn compile_values(
    step: &StepSpec,
    dict: &Dictionary,
    id: &dyn Fn(&str) -> FieldId,
    ops: &mut Vec<Op>,
) {
    if !step.map.is_empty() {
        let mapping = |(target, from): (&String, &OneOrMany)| {
            let field = id(target);
            let class = class_of(target, field, dict);
            let from = from.texts().into_iter().map(|written| {
                let (name, place, own) = mapped(&written);
                Source { field: id(name), class: own.unwrap_or(class), place }
            });
            Mapping { target: field, from: from.collect() }
        };
        ops.push(Op::Map(step.map.iter().map(mapping).collect()));
    }
    for (from, to) in &step.split_user {
        let class = Class::User { domain: id(&format!("{to}.domain")) };
        let target = id(&format!("{to}.name"));
        let from = [Source { field: id(from), class, place: Place::First }].into();
        ops.push(Op::Map([Mapping { target, from }].into()));
    }
    for (from, to) in &step.hashes {
        let known =
            HASH_NAMES.iter().map(|(name, ecs)| (name.as_bytes(), id(&format!("{to}.{ecs}"))));
        ops.push(Op::Hashes(id(from), HashFields { known: known.collect() }));
    }
    for (field, kind) in &step.convert {
        let kind = crate::spec::field_type(kind).unwrap_or(FieldType::Keyword);
        ops.push(Op::Convert(id(field), class_of_type(kind)));
    }
    ops.extend(step.lower.iter().map(|f| Op::Convert(id(f), Class::Lower)));
    ops.extend(step.case.iter().map(|(field, case)| match case.as_str() {
        "upper" => Op::Upper(id(field)),
        _ => Op::Convert(id(field), Class::Lower),
    }));
    let kind_of = |field: FieldId| match dict.kind(field) {
        FieldType::Long => Kind::Int,
        FieldType::Boolean => Kind::Bool,
        _ => Kind::Str,
    };
    for (to, lookup) in &step.lookup {
        let table = lookup.table.iter().map(|(k, v)| (k.to_ascii_lowercase().into(), v.texts()));
        ops.push(Op::Lookup(Box::new(Lookup {
            from: lookup.from.texts().iter().map(|f| id(f)).collect(),
            to: id(to),
            is_single: event::field::is_one_valued(to),
            kind: kind_of(id(to)),
            table: table.collect(),
            default: lookup.default.clone(),
        })));
    }
    ops.extend(step.date.iter().map(|f| Op::Date(TimeSource::new(f, id))));
    for (name, values) in &step.set {
        let field = id(name);
        for value in values.texts() {
            set(ops, field, kind_of(field), &value);
        }
        if let Some(Op::Set(_, single)) = ops.last_mut()
            && event::field::is_one_valued(name)
        {
            single.push(field);
        }
    }
    for (field, values) in &step.default {
        let field = id(field);
        let values = values.texts().into_iter().map(|v| v.into_bytes().into()).collect();
        ops.push(Op::Default(field, kind_of(field), values));
    }
    step.logsource.iter().for_each(|v| set(ops, id("alcedo.logsource"), Kind::Str, v));
    step.tag.iter().for_each(|v| set(ops, id("tags"), Kind::Str, v));
}

/// Adds a constant: to those that are written just before it, if there are any.
fn set(ops: &mut Vec<Op>, field: FieldId, kind: Kind, value: &str) {
    if !matches!(ops.last(), Some(Op::Set(..))) {
        ops.push(Op::Set(Constants::default(), Vec::new()));
    }
    if let Some(Op::Set(values, _)) = ops.last_mut()
        && !values.iter().any(|(f, _, bytes)| f == field && bytes == value.as_bytes())
    {
        values.push(field, kind, value.as_bytes());
    }
}

impl Op {
    /// What the operation is called in a pack.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Op::Map(_) => "map",
            Op::Rename(..) => "rename",
            Op::Copy(..) => "copy",
            Op::Convert(..) => "convert",
            Op::Upper(_) => "case",
            Op::Hashes(..) => "hashes",
            Op::Patterns(..) => "grok",
            Op::Cut(..) => "dissect",
            Op::Select(_) => "select",
            Op::Csv(..) => "csv",
            Op::Kv(..) => "kv",
            Op::Json(..) => "json",
            Op::Xml(..) => "xml",
            Op::WindowsData(..) => "windows_data",
            Op::JsonText(..) => "json_text",
            Op::Cef(..) => "cef",
            Op::Leef(..) => "leef",
            Op::Items(..) => "items",
            Op::Join(..) => "join",
            Op::Split(..) => "split",
            Op::Address(..) => "address",
            Op::Url(..) => "url",
            Op::Script(_) => "vrl",
            Op::Lookup(_) => "lookup",
            Op::Date(_) => "date",
            Op::Set(..) => "set",
            Op::Default(..) => "default",
        }
    }

    pub(crate) fn run(&self, row: &mut RowWriter<'_>, work: &mut Work, found: &mut Findings) {
        match self {
            Op::Items(from, names) => items(*from, names, row, work),
            Op::Join(from, with, to) => join(*from, with, *to, row, work),
            Op::Split(from, finder, target) => split_all(*from, finder, target, row, work, found),
            Op::Map(mappings) => {
                mappings.iter().for_each(|mapping| mapping.run(row, work));
            }
            Op::Rename(from, to) => rename(*from, *to, row, work),
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
            Op::Upper(field) => {
                if let Some(at) = work.index.get(*field) {
                    upper(row, at, &mut work.buffer);
                }
            }
            Op::Hashes(from, fields) => {
                if let Some(at) = work.index.get(*from) {
                    fields.run(row, at, &mut work.buffer);
                }
            }
            Op::JsonText(path, to) => {
                let raw = row.raw();
                if let Some(text) = json_text(raw, path) {
                    row.push(*to, Kind::Str, text);
                }
            }
            Op::Script(program) => script::run(&**program, row, work, found),
            Op::Lookup(lookup) => lookup.run(row, work),
            Op::Date(source) => {
                if let Some(stamp) = source.read(row, work) {
                    found.stamp = Some(stamp);
                }
            }
            Op::Set(values, single) => add_all(values, single, row, work),
            Op::Default(field, kind, values) => {
                if work.index.get(*field).is_none() {
                    for value in values {
                        row.push(*field, *kind, value);
                    }
                }
            }
            Op::Patterns(from, _)
            | Op::Cut(from, _)
            | Op::Select(Select { from, .. })
            | Op::Csv(from, _)
            | Op::Kv(from, _)
            | Op::Json(from, _)
            | Op::Xml(from, _)
            | Op::WindowsData(from, _)
            | Op::Cef(from, _)
            | Op::Leef(from, _)
            | Op::Address(from, _)
            | Op::Url(from, _) => {
                if let Some(at) = work.index.get(*from) {
                    self.take_cell_apart(at, row, work, found);
                }
            }
        }
    }

    /// Whether it may do anything to a row of which so much is foreseen, or to what is found out of it.
    pub(crate) fn may_act(&self, row: &Foreseen) -> bool {
        match self {
            Op::Map(mappings) => mappings.iter().any(|mapping| mapping.may_act(row)),
            Op::JsonText(..) | Op::Script(_) | Op::Set(..) => true,
            Op::Lookup(lookup) => {
                let is_told = lookup.is_single && row.has(lookup.to);
                !is_told && lookup.from.iter().any(|from| row.may_have(*from))
            }
            Op::Date(source) => source.fields.first().is_some_and(|f| row.may_have(*f)),
            Op::Default(field, ..) => !row.has(*field),
            Op::Rename(from, _)
            | Op::Copy(from, _)
            | Op::Convert(from, _)
            | Op::Upper(from)
            | Op::Hashes(from, _)
            | Op::Patterns(from, _)
            | Op::Cut(from, _)
            | Op::Select(Select { from, .. })
            | Op::Csv(from, _)
            | Op::Kv(from, _)
            | Op::Json(from, _)
            | Op::Xml(from, _)
            | Op::WindowsData(from, _)
            | Op::Cef(from, _)
            | Op::Leef(from, _)
            | Op::Items(from, _)
            | Op::Join(from, ..)
            | Op::Split(from, ..)
            | Op::Address(from, _)
            | Op::Url(from, _) => row.may_have(*from),
        }
    }

    /// Notes what it may do to a row, which is more than it will.
    pub(crate) fn foresee(&self, row: &mut Foreseen) {
        match self {
            Op::Map(mappings) => {
                let acting: Vec<_> = mappings.iter().filter(|m| m.may_act(row)).collect();
                acting.iter().for_each(|mapping| mapping.foresee(row));
            }
            Op::Rename(from, to) => row.may_rename(*from, *to),
            Op::Convert(field, _) | Op::Upper(field) => row.may_change(*field),
            Op::Copy(_, to) | Op::Join(_, _, to) | Op::JsonText(_, to) => row.may_write(*to),
            Op::Default(field, ..) => row.may_write(*field),
            Op::Lookup(lookup) => row.may_write(lookup.to),
            Op::Set(values, _) => values.iter().for_each(|(field, ..)| row.may_write(field)),
            Op::Hashes(_, fields) => fields.known.iter().for_each(|(_, f)| row.may_write(*f)),
            Op::Items(_, names) => names.iter().flatten().for_each(|f| row.may_write(*f)),
            Op::Patterns(_, patterns) => patterns.iter().for_each(|p| p.foresee(row)),
            Op::Select(select) => select.patterns.iter().flatten().for_each(|p| p.foresee(row)),
            Op::Cut(_, cutters) => cutters.iter().for_each(|c| c.foresee(row)),
            Op::Csv(_, columns) => columns.foresee(row),
            Op::Split(_, _, target) => target.foresee(row),
            Op::Address(_, fields) => {
                let AddressFields { address, ip, domain, port } = fields;
                [address, ip, domain, port].into_iter().for_each(|f| row.may_write(*f));
            }
            Op::Url(_, fields) => {
                let UrlFields { original, scheme, domain, port, path, query } = fields;
                let all = [original, scheme, domain, port, path, query];
                all.into_iter().for_each(|f| row.may_write(*f));
            }
            Op::Date(_) => {}
            Op::Kv(..)
            | Op::Json(..)
            | Op::Xml(..)
            | Op::WindowsData(..)
            | Op::Cef(..)
            | Op::Leef(..) => row.may_write_any(),
            Op::Script(_) => row.may_be_any(),
        }
    }

    /// What is left of the mappings of a `map` that may act; `None` of other operations, and if it is all.
    pub(crate) fn left(&self, row: &Foreseen) -> Option<Box<[Mapping]>> {
        let Op::Map(mappings) = self else { return None };
        let left: Box<[_]> = mappings.iter().filter_map(|mapping| mapping.left(row)).collect();
        let sources = |mappings: &[Mapping]| mappings.iter().map(|m| m.from.len()).sum::<usize>();
        (sources(&left) < sources(mappings)).then_some(left)
    }

    fn take_cell_apart(
        &self,
        at: usize,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) {
        // A piece of the record outlives the borrow of the row; anything else is copied.
        match row.raw_range(at) {
            Some(range) => {
                let text = &row.raw()[range];
                self.take_apart(text, row, work, found);
            }
            None => {
                let mut text = std::mem::take(&mut work.text);
                text.clear();
                text.extend_from_slice(row.cell(at).1.bytes);
                self.take_apart(&text, row, work, found);
                work.text = text;
            }
        }
    }

    fn take_apart(
        &self,
        text: &[u8],
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) {
        let text = &text[..text.len().min(STEP_BYTES_MAX)];
        let mut first = |patterns: &[Pattern], row: &mut RowWriter<'_>, work: &mut Work| {
            patterns.iter().any(|p| p.run(text, row, &mut work.slots, &mut work.buffer, found))
        };
        let matched = match self {
            Op::Patterns(_, patterns) => first(patterns, row, work),
            Op::Select(select) => match select.patterns(row, work) {
                Some(patterns) => first(patterns, row, work),
                None => false,
            },
            Op::Cut(_, cutters) => cutters.iter().any(|c| c.run(text, row, work, found)),
            Op::Csv(_, columns) => columns.run(text, row, &mut work.buffer, found),
            Op::Kv(_, form) => form.run(text, row, &mut work.name),
            Op::Json(_, prefix) => {
                let limits = Limits { keep_partial: true, ..Limits::default() };
                match work.flattener.flatten(text, prefix, row, &limits) {
                    Ok(_) => true,
                    Err(error) => {
                        found.failed.get_or_insert_with(|| error.to_string());
                        false
                    }
                }
            }
            Op::Xml(_, prefix) => match work.xml.element(text, prefix, row) {
                Ok(cells) => cells > 0,
                Err(error) => {
                    found.failed.get_or_insert_with(|| error.to_string());
                    false
                }
            },
            // The element `EventData`, or the rendered message where a sender has no more.
            Op::WindowsData(_, prefix) => {
                match text.trim_ascii_start().starts_with(b"<") {
                    true => parse::windows::named_data(text, |name, value| {
                        push_named(row, prefix, name, value, &mut work.name);
                    }),
                    false => parse::windows_text::data(text, |name, value| {
                        push_named(row, prefix, name.as_bytes(), value, &mut work.name);
                    }),
                }
                true
            }
            Op::Cef(_, prefix) => match cef::parse(text) {
                Ok(cef) => {
                    crate::native::write_cef(&cef, prefix, row, &mut work.name);
                    true
                }
                Err(_) => false,
            },
            Op::Leef(_, prefix) => match leef::parse(text) {
                Ok(leef) => {
                    crate::native::write_leef(&leef, prefix, row, &mut work.name);
                    true
                }
                Err(_) => false,
            },
            Op::Address(_, fields) => fields.run(text, row),
            Op::Url(from, fields) => {
                fields.run(text, *from, &|field| work.index.get(field).is_some(), row)
            }
            _ => false,
        };
        found.matched |= matched;
    }
}

/// The text of the list or object at a path in the first JSON object of a record.
fn json_text<'r>(raw: &'r [u8], path: &[String]) -> Option<&'r [u8]> {
    let mut at = memchr::memchr(b'{', raw)?;
    for (depth, name) in path.iter().enumerate() {
        at = parse::json::member(raw, at, name.as_bytes())?;
        let is_last = depth + 1 == path.len();
        if raw.get(at) != Some(&b'{') && !(is_last && raw.get(at) == Some(&b'[')) {
            return None;
        }
    }
    let end = parse::json::value_end(raw, at).ok()?;
    Some(&raw[at..end])
}

fn rename(from: FieldId, to: FieldId, row: &mut RowWriter<'_>, work: &mut Work) {
    if let Some(at) = work.index.get(from) {
        for at in at..row.cell_count() {
            if row.cell(at).0 == from {
                row.rename(at, to);
            }
        }
        work.index.restart(row);
    }
}

/// Most parts of one text.
const SPLIT_PARTS_MAX: usize = 256;

fn split(
    text: &[u8],
    finder: &Finder<'_>,
    target: &Target,
    row: &mut RowWriter<'_>,
    buffer: &mut Vec<u8>,
    found: &mut Findings,
) {
    let mut from = 0;
    for _ in 0..SPLIT_PARTS_MAX {
        let end = finder.find(&text[from..]).map_or(text.len(), |at| from + at);
        target.put(text[from..end].trim_ascii(), row, buffer, found);
        if end == text.len() {
            return;
        }
        from = end + finder.needle().len().max(1);
    }
}

impl KvForm {
    fn new(spec: &KvSpec) -> Self {
        match spec {
            KvSpec::Prefix(prefix) => {
                let options = kv::KvOptions::default();
                Self { prefix: prefix.clone(), options, is_wordy: false }
            }
            KvSpec::Full(form) => {
                let byte = |text: &str, default| text.bytes().next().unwrap_or(default);
                let options = kv::KvOptions {
                    pair_separator: byte(&form.pair, b' '),
                    value_separator: byte(&form.value, b'='),
                };
                Self { prefix: form.to.clone(), options, is_wordy: form.wordy }
            }
        }
    }

    fn run(&self, text: &[u8], row: &mut RowWriter<'_>, name: &mut String) -> bool {
        let before = row.cell_count();
        match self.is_wordy {
            true => {
                for (key, value) in cef::pairs(text) {
                    push_named(row, &self.prefix, key, &value, name);
                }
            }
            false => {
                for (key, value) in kv::pairs(text, &self.options) {
                    push_named(row, &self.prefix, key, &value, name);
                }
            }
        }
        row.cell_count() > before
    }
}

impl Select {
    fn patterns(&self, row: &RowWriter<'_>, work: &mut Work) -> Option<&[Pattern]> {
        let at = work.index.get(self.on)?;
        work.buffer.clear();
        work.buffer.extend(row.cell(at).1.bytes.iter().map(u8::to_ascii_lowercase));
        let case = self.cases.get(work.buffer.as_slice())?;
        Some(&self.patterns[*case])
    }
}

impl Lookup {
    fn run(&self, row: &mut RowWriter<'_>, work: &mut Work) {
        if self.is_single && work.index.get(self.to).is_some() {
            return;
        }
        let Some(at) = self.from.iter().find_map(|f| work.index.get(*f)) else { return };
        work.buffer.clear();
        work.buffer.extend(row.cell(at).1.bytes.iter().map(u8::to_ascii_lowercase));
        match self.table.get(work.buffer.as_slice()) {
            Some(values) => {
                for value in values {
                    add(self.to, self.kind, value.as_bytes(), row, work);
                }
            }
            None if !self.default.is_empty() => {
                add(self.to, self.kind, self.default.as_bytes(), row, work);
            }
            None => {}
        }
    }
}

/// Adds values, each unless its field has it; a field of `single` takes none beside the first.
fn add_all(values: &Constants, single: &[FieldId], row: &mut RowWriter<'_>, work: &Work) {
    if values.iter().all(|(field, ..)| work.index.get(field).is_none()) {
        return row.push_all(values);
    }
    for (field, kind, bytes) in values.iter() {
        if work.index.get(field).is_none() || !single.contains(&field) {
            add(field, kind, bytes, row, work);
        }
    }
}

/// Adds a value unless the field has it: two steps, or a carrier and what it carries, may find out the same.
fn add(field: FieldId, kind: Kind, value: &[u8], row: &mut RowWriter<'_>, work: &Work) {
    if !cells_of(field, row, work).any(|at| row.cell(at).1.bytes == value) {
        row.push(field, kind, value);
    }
}

/// The cells of a field that stood in the row before this operation, in order.
fn cells_of<'r>(
    field: FieldId,
    row: &'r RowWriter<'_>,
    work: &Work,
) -> impl Iterator<Item = usize> + use<'r> {
    let places = work.index.places(field).unwrap_or_default();
    places.filter(move |at| row.cell(*at).0 == field)
}

impl AddressFields {
    /// `10.0.0.1`, `10.0.0.1:80`, `10.0.0.1/80`, `[2001:db8::1]:80`, `name`, `name:80`.
    fn run(&self, text: &[u8], row: &mut RowWriter<'_>) -> bool {
        let text = text.trim_ascii();
        if value::is_absent(Kind::Str, text) {
            return false;
        }
        let (host, port) = match value::ip_part(text) {
            Some(_) => (text, None),
            None => match text.iter().rposition(|c| matches!(c, b':' | b'/' | b'#')) {
                Some(at) if is_port(&text[at + 1..]) => (&text[..at], Some(&text[at + 1..])),
                _ => (text, None),
            },
        };
        if host.is_empty() || row.find(self.address).is_some() {
            return false;
        }
        let inner = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]"));
        let host = inner.unwrap_or(host);
        crate::native::put_address(row, host, self.address, self.ip, self.domain);
        if let Some(port) = port {
            row.push(self.port, Kind::Int, port);
        }
        true
    }
}

fn is_port(text: &[u8]) -> bool {
    (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

impl UrlFields {
    /// Takes `text` apart, which stands in field `from`; of what the event `has` already nothing is added.
    /// Out: whether there was anything.
    pub(crate) fn run(
        &self,
        text: &[u8],
        from: FieldId,
        has: &dyn Fn(FieldId) -> bool,
        row: &mut RowWriter<'_>,
    ) -> bool {
        let mut put = |field: FieldId, kind: Kind, value: &[u8]| {
            if !has(field) {
                row.push(field, kind, value);
            }
        };
        let text = text.trim_ascii();
        if value::is_absent(Kind::Str, text) {
            return false;
        }
        if from != self.original {
            put(self.original, Kind::Str, text);
        }
        let mut rest = text;
        let scheme = memchr::memmem::find(text, b"://").filter(|at| {
            *at > 0 && text[..*at].iter().all(|c| c.is_ascii_alphanumeric() || b"+.-".contains(c))
        });
        if let Some(at) = scheme {
            put(self.scheme, Kind::Str, &text[..at]);
            rest = &text[at + 3..];
        }
        // Without scheme a leading slash is a path, `name:443` a tunnel's target, else unknown.
        if scheme.is_some() || rest.first() != Some(&b'/') {
            let end = rest.iter().position(|c| matches!(c, b'/' | b'?' | b'#'));
            let end = end.unwrap_or(rest.len());
            let host = &rest[..end];
            let host = &host[host.iter().rposition(|c| *c == b'@').map_or(0, |at| at + 1)..];
            let colon = host.iter().rposition(|c| *c == b':').filter(|at| is_port(&host[at + 1..]));
            let name = colon.map_or(host, |at| &host[..at]);
            // Nor is `../../etc/passwd` a name.
            let is_name = name.contains(&b'.') && name.first() != Some(&b'.');
            if scheme.is_none() && colon.is_none() && !is_name {
                return true;
            }
            if !name.is_empty() {
                put(self.domain, Kind::Str, name);
            }
            if let Some(at) = colon {
                put(self.port, Kind::Int, &host[at + 1..]);
            }
            rest = &rest[end..];
        }
        let rest = &rest[..memchr::memchr(b'#', rest).unwrap_or(rest.len())];
        let cut = memchr::memchr(b'?', rest).unwrap_or(rest.len());
        if cut > 0 {
            put(self.path, Kind::Str, &rest[..cut]);
        }
        if cut + 1 < rest.len() {
            put(self.query, Kind::Str, &rest[cut + 1..]);
        }
        true
    }
}

impl Mapping {
    fn may_act(&self, row: &Foreseen) -> bool {
        !row.has(self.target) && self.from.iter().any(|source| row.may_have(source.field))
    }

    fn foresee(&self, row: &mut Foreseen) {
        row.may_write(self.target);
        for source in &self.from {
            source.class.also().into_iter().for_each(|field| row.may_write(field));
        }
    }

    /// The same without sources that the row does not have, if it may act.
    fn left(&self, row: &Foreseen) -> Option<Self> {
        let from = self.from.iter().filter(|source| row.may_have(source.field));
        self.may_act(row).then(|| Self { target: self.target, from: from.copied().collect() })
    }

    pub(crate) fn run(&self, row: &mut RowWriter<'_>, work: &mut Work) {
        if work.index.get(self.target).is_some() {
            return;
        }
        for Source { field, class, place } in &self.from {
            if let Some(at) = place.find(*field, work)
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
        let ends = memchr::memchr_iter(b',', bytes).chain([bytes.len()]);
        for (n, end) in ends.take(parts.len()).enumerate() {
            let part = &bytes[from..end];
            if let Some(eq) = memchr::memchr(b'=', part)
                && let Some(k) =
                    self.known.iter().position(|k| k.0.eq_ignore_ascii_case(&part[..eq]))
            {
                parts[n] = (from + eq + 1, from + part.len(), k);
            }
            from = end + 1;
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

/// Gives the values of a list names by their position.
fn items(from: FieldId, names: &[Option<FieldId>], row: &mut RowWriter<'_>, work: &mut Work) {
    let places = work.index.places(from).unwrap_or_default();
    let mut names = names.iter();
    for at in places {
        if row.cell(at).0 != from {
            continue;
        }
        match names.next() {
            Some(Some(name)) => {
                row.copy_cell(at, *name);
            }
            Some(None) => {}
            None => return,
        }
    }
}

/// Writes the values of a list, `with` between them, as one text.
fn join(from: FieldId, with: &[u8], to: FieldId, row: &mut RowWriter<'_>, work: &mut Work) {
    let mut buffer = std::mem::take(&mut work.buffer);
    buffer.clear();
    let mut count = 0;
    for at in cells_of(from, row, work) {
        if count > 0 {
            buffer.extend_from_slice(with);
        }
        buffer.extend_from_slice(row.cell(at).1.bytes);
        count += 1;
    }
    if count > 0 {
        row.push(to, Kind::Str, &buffer);
    }
    work.buffer = buffer;
}

/// Splits every value of a field: a list has a cell for each.
fn split_all(
    from: FieldId,
    finder: &Finder<'_>,
    target: &Target,
    row: &mut RowWriter<'_>,
    work: &mut Work,
    found: &mut Findings,
) {
    for at in work.index.places(from).unwrap_or_default() {
        if row.cell(at).0 == from {
            work.text.clear();
            work.text.extend_from_slice(row.cell(at).1.bytes);
            split(&work.text, finder, target, row, &mut work.buffer, found);
            found.matched = true;
        }
    }
}

/// Puts cell `at` into upper case.
fn upper(row: &mut RowWriter<'_>, at: usize, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend(row.cell(at).1.bytes.iter().map(u8::to_ascii_uppercase));
    row.replace(at, Kind::Str, buffer);
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
