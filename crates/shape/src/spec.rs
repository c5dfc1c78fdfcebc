//! pack.yaml as its author writes it, and the checks that need no generation.

use crate::packs::PackError;
use event::{Dictionary, DictionaryBuilder, FieldType};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// A scalar in a pack: products disagree on whether an id is a number or text, so both are text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scalar {
    Int(i64),
    Bool(bool),
    Text(String),
}

impl Scalar {
    pub(crate) fn text(&self) -> String {
        match self {
            Scalar::Int(n) => n.to_string(),
            Scalar::Bool(b) => b.to_string(),
            Scalar::Text(t) => t.clone(),
        }
    }
}

/// One value or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(Scalar),
    Many(Vec<Scalar>),
}

impl OneOrMany {
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one.text()],
            OneOrMany::Many(many) => many.iter().map(Scalar::text).collect(),
        }
    }
}

/// A whole pack.yaml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    pub(crate) pack: String,
    pub(crate) title: String,
    /// Where the format is specified.
    pub(crate) format: Vec<String>,
    /// `event.module` and `event.dataset`; empty = not set.
    #[serde(default)]
    pub(crate) module: String,
    #[serde(default)]
    pub(crate) dataset: String,
    /// Name of a native parser, or `json`, `text`.
    pub(crate) parser: String,
    /// Prefix of the product's own fields; a source name with a leading dot stands below it.
    #[serde(default)]
    pub(crate) prefix: String,
    #[serde(default)]
    pub(crate) recognise: Recognise,
    /// `observer.vendor` and `observer.product` of every event; empty = not set.
    #[serde(default)]
    pub(crate) vendor: String,
    #[serde(default)]
    pub(crate) product: String,
    /// Prefix under which the parameters of syslog structured data stand too, whatever their
    /// element is called; empty = only under `log.syslog.structured_data`.
    #[serde(default)]
    pub(crate) structured_data: String,
    /// The pack's own grok patterns, by name.
    #[serde(default)]
    pub(crate) patterns: BTreeMap<String, String>,
    /// JSON shapes of this product.
    #[serde(default)]
    pub(crate) shapes: Vec<JsonForm>,
    /// The product's own names that get ids of their own (faster, and known to completion).
    #[serde(default)]
    pub(crate) known: Vec<String>,
    /// Types of the product's own fields, where they are not keywords.
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, String>,
    /// Fields that may hold the event's time, best first: `name`, `name utc`,
    /// `date + time + zone`, `date mdy` (`3/5/24`).
    #[serde(default)]
    pub(crate) time: Vec<String>,
    /// Of a carrier: its time is that of the record inside it, whatever that says itself.
    #[serde(default)]
    pub(crate) time_first: bool,
    /// Of a carrier: its steps come behind those of the record inside it, which says more of itself.
    #[serde(default)]
    pub(crate) last: bool,
    #[serde(default)]
    pub(crate) steps: Vec<StepSpec>,
    #[serde(default)]
    pub(crate) logsource: Vec<String>,
    /// Whether routes.tsv stands beside pack.yaml and decides logsources and categories.
    #[serde(default)]
    pub(crate) routes: bool,
    /// Sigma name -> fields that answer to it, in order.
    #[serde(default)]
    pub(crate) sigma: BTreeMap<String, OneOrMany>,
    /// Prefixes below which any other name of a rule is looked for.
    #[serde(default)]
    pub(crate) sigma_prefixes: Vec<String>,
    /// Longest silence of such a source that is normal, for `watch` (text such as `1h`).
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "checked to be present in pack listings by the room that watches"
    )]
    pub(crate) silence: Option<String>,
}

/// How text that is no JSON shows that it is this product's. Any one kind suffices; what stands
/// under `any` is asked first, then programs, then the rest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recognise {
    /// Descriptions of which one has to fit in all its parts.
    pub(crate) any: Vec<Marks>,
    /// Syslog programs (any case).
    pub(crate) program: Vec<String>,
    /// Starts of the message.
    pub(crate) starts: Vec<String>,
    /// Pieces that all stand in the message.
    pub(crate) contains: Vec<String>,
    /// The native parser itself is asked.
    pub(crate) probe: bool,
    /// Packs whose messages look like this one's, too: what a source is known for is not believed of a
    /// message that one of them describes.
    pub(crate) unless: Vec<String>,
}

impl Recognise {
    /// The pieces that are looked for in messages.
    fn pieces(&self) -> impl Iterator<Item = &String> {
        let described = self.any.iter().flat_map(|marks| [&marks.starts, &marks.contains]);
        described.chain([&self.starts, &self.contains]).flatten()
    }
}

/// One description of a product's messages: everything that is given has to hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Marks {
    /// One of these is the syslog program (any case; `*` at the end for any ending).
    pub(crate) program: Vec<String>,
    /// One of these is the syslog message id or the start of a Cisco-like mnemonic.
    pub(crate) msgid: Vec<String>,
    /// The message starts with one of these.
    pub(crate) starts: Vec<String>,
    /// All of these stand in the message.
    pub(crate) contains: Vec<String>,
    /// One of these stands in the syslog structured data.
    pub(crate) data: Vec<String>,
    /// Grok pattern that the message has to match.
    pub(crate) matches: String,
    /// Grok pattern of a whole record that has no syslog header although it starts with a time, as
    /// a header does: such a record is not taken apart.
    pub(crate) line: String,
}

/// One JSON form: recognised by names, then moved under the product's names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JsonForm {
    pub(crate) name: String,
    /// Names that must all be present.
    pub(crate) all: Vec<String>,
    /// Names one of which must be present (ignored when empty).
    pub(crate) any: Vec<String>,
    /// Names that must be absent.
    pub(crate) none: Vec<String>,
    /// Names with the values one of which they must have, in any case; `text*` is a prefix.
    pub(crate) is: BTreeMap<String, OneOrMany>,
    /// Field (by its new name) whose text is a record of its own: another product's line or JSON,
    /// wrapped by this one. It is recognised and parsed as if it had come alone.
    pub(crate) inner: String,
    /// Field that holds the program which wrote `inner`, as a syslog header would name it.
    pub(crate) inner_program: String,
    /// Prefix of the names of an object that is a record of its own, wrapped by this one. It is recognised
    /// and named as if it had come alone.
    pub(crate) inside: String,
    /// It is only asked of records that are configured to the pack: nothing in them would tell.
    pub(crate) configured: bool,
    /// Exact renames.
    pub(crate) names: BTreeMap<String, String>,
    /// Prefix renames, first that fits; `a.*.` drops one level.
    pub(crate) moves: Vec<(String, String)>,
    /// Lists of elements that have a name and a text each, by their new name: every element becomes a
    /// field beside the list. For XML that was turned to JSON; attributes are then known by any mark.
    pub(crate) pairs: Vec<String>,
    /// Where everything else goes; empty = stays.
    pub(crate) rest: String,
    /// Names and prefixes (with a dot at the end) that stay although `rest` is given.
    pub(crate) keep: Vec<String>,
}

/// A condition: text of the filter language, or one test of one field.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Condition {
    Filter(String),
    Field(WhenSpec),
}

/// Prefix of the fields, or everything about the pairs.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum KvSpec {
    Prefix(String),
    Full(KvForm),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KvForm {
    /// Prefix of the fields.
    pub(crate) to: String,
    /// Character between pairs (default blank).
    #[serde(default = "blank")]
    pub(crate) pair: String,
    /// Character between key and value (default `=`).
    #[serde(default = "equals")]
    pub(crate) value: String,
    /// Values may hold blanks: each goes on to the next `key=`, as in CEF.
    #[serde(default)]
    pub(crate) wordy: bool,
}

fn blank() -> String {
    " ".into()
}

fn equals() -> String {
    "=".into()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CsvSpec {
    /// Names by position; an empty one is passed over.
    pub(crate) columns: Vec<String>,
    /// Other names for lines of exactly so many columns, where versions of a product differ.
    #[serde(default)]
    pub(crate) layouts: BTreeMap<String, Vec<String>>,
    /// Prefix of the names that start with a dot; default the pack's.
    #[serde(default = "comma")]
    pub(crate) separator: String,
}

fn comma() -> String {
    ",".into()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupSpec {
    /// Field or fields (first present) that are looked up.
    pub(crate) from: OneOrMany,
    /// Value (any case) -> value or values.
    pub(crate) table: BTreeMap<String, OneOrMany>,
    /// What an unlisted value gives; nothing if empty.
    #[serde(default)]
    pub(crate) default: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitSpec {
    /// What stands between the parts.
    pub(crate) on: String,
    /// Field that gets every part.
    pub(crate) to: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinSpec {
    /// What stands between the values.
    pub(crate) with: String,
    /// Field that gets the text.
    pub(crate) to: String,
}

/// Patterns chosen by the value of a field: for products with hundreds of message ids.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectSpec {
    /// Field that chooses.
    pub(crate) on: String,
    /// Field that the patterns read.
    pub(crate) from: String,
    /// Value or values (with blanks between) -> grok pattern or patterns, first that matches.
    pub(crate) cases: BTreeMap<String, OneOrMany>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhenSpec {
    pub(crate) field: String,
    #[serde(default, rename = "in")]
    pub(crate) is_in: Option<OneOrMany>,
    #[serde(default)]
    pub(crate) starts: Option<String>,
    #[serde(default)]
    pub(crate) exists: Option<bool>,
    #[serde(default)]
    pub(crate) not: bool,
    /// Whether it holds where the field is absent, too.
    #[serde(default)]
    pub(crate) absent: bool,
    /// What has to hold besides, asked where this one holds.
    #[serde(default)]
    pub(crate) and: Option<Box<WhenSpec>>,
}

/// One step: an optional condition and one or more operations, done in the order of these fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StepSpec {
    pub(crate) when: Option<Condition>,
    /// Whether an event fails (tag `parse_failed`) in which no pattern of this step matches.
    pub(crate) must: bool,
    /// Renames without normalising.
    pub(crate) rename: BTreeMap<String, String>,
    /// Copies without normalising.
    pub(crate) copy: BTreeMap<String, String>,
    /// key=value text: source -> prefix of the fields it gives, or a form.
    pub(crate) kv: BTreeMap<String, KvSpec>,
    /// JSON, XML, CEF or LEEF text: source -> prefix.
    pub(crate) json: BTreeMap<String, String>,
    pub(crate) xml: BTreeMap<String, String>,
    /// Path in the record's JSON -> field that gets the text of what stands there, for rules that
    /// search a list or an object as text.
    pub(crate) json_text: BTreeMap<String, String>,
    /// `<Data Name="..">` elements of a Windows event: source -> prefix.
    pub(crate) windows_data: BTreeMap<String, String>,
    pub(crate) cef: BTreeMap<String, String>,
    pub(crate) leef: BTreeMap<String, String>,
    /// Values by position.
    pub(crate) csv: BTreeMap<String, CsvSpec>,
    /// Fixed pieces: source -> patterns, first that fits.
    pub(crate) dissect: BTreeMap<String, OneOrMany>,
    /// Named groups become fields: source -> patterns, first that matches.
    pub(crate) regex: BTreeMap<String, OneOrMany>,
    /// The same in grok's spelling.
    pub(crate) grok: BTreeMap<String, OneOrMany>,
    pub(crate) select: Option<SelectSpec>,
    /// Values of a list by position: source -> names, an empty one is passed over.
    pub(crate) items: BTreeMap<String, Vec<String>>,
    /// All values of a list as one text.
    pub(crate) join: BTreeMap<String, JoinSpec>,
    /// Text of several parts -> several values.
    pub(crate) split: BTreeMap<String, SplitSpec>,
    /// An address, name, or either with a port -> ECS object (`source`): address, ip or domain, port.
    pub(crate) address: BTreeMap<String, String>,
    /// A URL -> ECS url object: original, scheme, domain, port, path, query.
    pub(crate) url: BTreeMap<String, String>,
    /// A user's program over the whole event; empty = none.
    pub(crate) vrl: String,
    /// Target -> first present of the sources, normalised by the target's type. A source may be
    /// `basename NAME` or another of `ops::SOURCE_WORDS`.
    pub(crate) map: BTreeMap<String, OneOrMany>,
    /// `DOMAIN\user`: source -> ECS user object.
    pub(crate) split_user: BTreeMap<String, String>,
    /// `MD5=..,SHA256=..` lists: source -> ECS hash object.
    pub(crate) hashes: BTreeMap<String, String>,
    /// Replaces a value by its form of another type: `long`, `double`, `boolean`, `ip`, `keyword`.
    pub(crate) convert: BTreeMap<String, String>,
    /// Fields whose values become lower case.
    pub(crate) lower: Vec<String>,
    /// Field -> `lower` or `upper`.
    pub(crate) case: BTreeMap<String, String>,
    /// Target -> its value by another field's value.
    pub(crate) lookup: BTreeMap<String, LookupSpec>,
    /// Fields that hold the event's time; as the pack's `time`.
    pub(crate) date: Vec<String>,
    /// Constants.
    pub(crate) set: BTreeMap<String, OneOrMany>,
    /// Constants for fields that are absent.
    pub(crate) default: BTreeMap<String, OneOrMany>,
    pub(crate) logsource: Vec<String>,
    pub(crate) tag: Vec<String>,
}

/// Whether the patterns of a pack are tried when it is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patterns {
    /// A user's pack: told at once what is wrong.
    Tried,
    /// A built-in pack: a test tried its patterns, and hundreds of them would delay every start.
    Trusted,
}

impl Spec {
    /// Reads and checks one pack.yaml. `file` is its name for messages.
    pub(crate) fn parse(file: &str, text: &str, patterns: Patterns) -> Result<Spec, PackError> {
        let spec: Spec = serde_saphyr::from_str(text).map_err(|error| PackError {
            file: file.into(),
            line: error.location().map_or(0, |l| l.line() as usize),
            message: error.to_string().lines().next().unwrap_or_default().to_owned(),
            hint: "compare with a built-in pack; keys are listed in docs of crate shape".into(),
        })?;
        spec.check(file, text, patterns)?;
        Ok(spec)
    }

    /// The product's own names that the pack mentions, without the prefix.
    pub(crate) fn own_names(&self) -> Vec<String> {
        let times = self.time.iter().flat_map(|t| crate::ops::time_names(t));
        let steps = self.steps.iter().flat_map(|s| crate::ops::names(s, self));
        let sigma = self.sigma.values().flat_map(OneOrMany::texts);
        let dotted = times.chain(steps).chain(sigma);
        let dotted = dotted.filter_map(|n| n.strip_prefix('.').map(str::to_owned));
        self.known.iter().cloned().chain(dotted).collect()
    }

    /// A source name in full: a leading dot stands for the pack's prefix.
    pub(crate) fn full(&self, name: &str) -> String {
        match name.strip_prefix('.') {
            Some(rest) => format!("{}.{rest}", self.prefix),
            None => name.to_owned(),
        }
    }

    fn check(&self, file: &str, text: &str, patterns: Patterns) -> Result<(), PackError> {
        let wrong = |needle: &str, message: String, hint: &str| PackError {
            file: file.into(),
            line: line_of(text, needle),
            message,
            hint: hint.into(),
        };
        if self.format.is_empty() {
            let hint = "name the document that specifies the format";
            return Err(wrong("format", "`format` is empty".into(), hint));
        }
        if crate::native::Parser::by_name(&self.parser).is_none() {
            let names: Vec<_> = crate::native::ALL.iter().map(|p| p.0).collect();
            let hint = format!("parsers: {}", names.join(", "));
            return Err(wrong(&self.parser, format!("no parser `{}`", self.parser), &hint));
        }
        let ecs = ecs();
        for step in &self.steps {
            for name in step.targets().iter().filter(|n| !n.starts_with('.')) {
                let own = !self.prefix.is_empty() && name.starts_with(&self.prefix);
                if ecs.id(name).is_none() && !own && !self.fields.contains_key(name) {
                    let hint = "use an ECS name, a name under the pack's prefix, or declare it \
                                in `fields`";
                    return Err(wrong(name, format!("`{name}` is no ECS field"), hint));
                }
            }
            for (name, value) in step.constants() {
                let kind = ecs.id(name).map_or(FieldType::Keyword, |id| ecs.kind(id));
                if !crate::value::fits(kind, value.as_bytes()) {
                    let message = format!("`{name}` is {kind:?}, `{value}` does not fit");
                    return Err(wrong(name, message, "change the value"));
                }
            }
            if let Some((place, message, hint)) = crate::ops::check(step, self, patterns) {
                return Err(wrong(&place, message, hint));
            }
        }
        if self.recognise.pieces().any(String::is_empty) {
            let message = "an empty piece stands in every message".to_owned();
            return Err(wrong("recognise", message, "take it out of `starts` or `contains`"));
        }
        for marks in &self.recognise.any {
            let given = [&marks.matches, &marks.line].into_iter();
            for pattern in given.filter(|p| patterns == Patterns::Tried && !p.is_empty()) {
                if let Err(message) = crate::extract::Pattern::check(pattern, &self.patterns) {
                    return Err(wrong(pattern, message, crate::ops::LINEAR_HINT));
                }
            }
        }
        for kind in self.fields.values() {
            if field_type(kind).is_none() {
                let hint = "keyword, text, ip, long, double, boolean or date";
                return Err(wrong(kind, format!("no field type `{kind}`"), hint));
            }
        }
        let steps = self.steps.iter().flat_map(|s| &s.logsource);
        for source in self.logsource.iter().chain(steps) {
            if source.split('/').count() != 3 {
                let hint = "write product/category/service, empty = none, * = unknown";
                let mut error = wrong("", format!("`{source}` is no logsource"), hint);
                let from = text.find("logsource:").unwrap_or(0);
                error.line = line_at(text, from);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl StepSpec {
    /// Names that the step writes and that have to be known fields.
    fn targets(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        out.extend(self.map.keys().cloned());
        out.extend(self.set.keys().chain(self.default.keys()).cloned());
        out.extend(self.lookup.keys().cloned());
        out.extend(self.split.values().map(|s| s.to.clone()));
        out.extend(self.address.values().map(|to| format!("{to}.address")));
        out
    }

    fn constants(&self) -> impl Iterator<Item = (&String, String)> {
        let sets = self.set.iter().chain(&self.default);
        let lookups = self.lookup.iter().flat_map(|(name, l)| {
            l.table.values().flat_map(move |v| v.texts().into_iter().map(move |t| (name, t)))
        });
        sets.flat_map(|(name, value)| value.texts().into_iter().map(move |t| (name, t)))
            .chain(lookups)
    }
}

/// The dictionary of ECS alone, for checks.
pub(crate) fn ecs() -> &'static Dictionary {
    static ECS: OnceLock<Arc<Dictionary>> = OnceLock::new();
    ECS.get_or_init(|| DictionaryBuilder::new().build())
}

/// Line (from 1) of the first place where `needle` stands, 0 if nowhere.
pub(crate) fn line_of(text: &str, needle: &str) -> usize {
    text.find(needle).map_or(0, |at| line_at(text, at))
}

fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub(crate) fn field_type(name: &str) -> Option<FieldType> {
    Some(match name {
        "keyword" => FieldType::Keyword,
        "text" => FieldType::Text,
        "ip" => FieldType::Ip,
        "long" => FieldType::Long,
        "double" => FieldType::Double,
        "boolean" => FieldType::Boolean,
        "date" => FieldType::Date,
        _ => return None,
    })
}
