//! Patterns that take a text apart: grok and regular expressions, dissect, columns; and where the
//! pieces go.

use crate::dissect::Dissect;
use crate::gate::{self, FirstBytes};
use crate::grok;
use crate::program::{Findings, Work, field_id};
use crate::spec::{CsvSpec, Spec, ecs};
use crate::specialise::Foreseen;
use crate::value::{self, Class};
use event::{Dictionary, FieldId, Kind, RowWriter};
use regex_automata::meta;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Largest automaton of one pattern. Ours need 20 to 200 KB.
const PATTERN_BYTES_MAX: usize = 4 << 20;
/// Memory of one pattern's lazy automaton in one thread; there are hundreds of patterns.
const CACHE_BYTES_MAX: usize = 512 << 10;
/// Name under which a pattern captures the event's time.
const TIME_NAME: &str = "@timestamp";

/// Where a piece goes and what it becomes on the way.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    field: FieldId,
    class: Class,
    /// ECS fields hold only what fits them; the product's own keep everything.
    is_ecs: bool,
    is_time: bool,
}

impl Target {
    pub(crate) fn new(name: &str, kind: Option<&str>, dict: &Dictionary) -> Self {
        let field = field_id(dict, name);
        let class = match kind {
            Some("int" | "long" | "integer") => Class::Long,
            Some("float" | "double") => Class::Double,
            Some("lower") => Class::Lower,
            _ => crate::program::class_of(name, field, dict),
        };
        let is_ecs = ecs().id(name).is_some();
        Self { field, class, is_ecs, is_time: name == TIME_NAME }
    }

    /// Notes what it may write.
    pub(crate) fn foresee(&self, row: &mut Foreseen) {
        if !self.is_time {
            row.may_write(self.field);
            self.class.also().into_iter().for_each(|field| row.may_write(field));
        }
    }

    /// Writes `bytes`, a piece of the record or of a value that the row already holds.
    pub(crate) fn put(
        &self,
        bytes: &[u8],
        row: &mut RowWriter<'_>,
        buffer: &mut Vec<u8>,
        found: &mut Findings,
    ) {
        if self.is_time {
            if let Ok(stamp) = parse::timestamp::parse(bytes) {
                found.stamp = Some(stamp);
            }
            return;
        }
        if bytes.is_empty() || (self.is_ecs && value::is_absent(Kind::Str, bytes)) {
            return;
        }
        if !value::write(row, bytes, self.field, self.class, buffer) && !self.is_ecs {
            row.push(self.field, Kind::Str, bytes);
        }
    }
}

/// A grok pattern or regular expression, compiled when it is first needed: a generation has hundreds
/// and most never meet a line.
pub(crate) struct Pattern {
    expanded: grok::Expanded,
    targets: Vec<Target>,
    /// What a text may start with: most texts of a long list's patterns are told from it alone.
    first: OnceLock<FirstBytes>,
    compiled: OnceLock<Option<Compiled>>,
}

struct Compiled {
    regex: meta::Regex,
    /// Capture group of each target.
    groups: Vec<usize>,
}

impl Pattern {
    /// `None` for a pattern that does not expand; [`Pattern::check`] told the author.
    pub(crate) fn new(
        pattern: &str,
        own: &BTreeMap<String, String>,
        full: &dyn Fn(&str) -> String,
        dict: &Dictionary,
    ) -> Option<Self> {
        let expanded = grok::expand(pattern, own).ok()?;
        let target = |(name, kind): &(String, Option<String>)| {
            Target::new(&full(name), kind.as_deref(), dict)
        };
        let targets = expanded.fields.iter().map(target).collect();
        Some(Self { expanded, targets, first: OnceLock::new(), compiled: OnceLock::new() })
    }

    /// What is wrong with a pattern, if anything is.
    pub(crate) fn check(pattern: &str, own: &BTreeMap<String, String>) -> Result<(), String> {
        let expanded = grok::expand(pattern, own)?;
        compile(&expanded).map(|_| ()).map_err(|e| format!("bad regular expression: {e}"))
    }

    /// The names of its fields.
    pub(crate) fn names(pattern: &str, own: &BTreeMap<String, String>) -> Vec<String> {
        let expanded = grok::expand(pattern, own).unwrap_or_default();
        expanded.fields.into_iter().map(|f| f.0).filter(|n| n != TIME_NAME).collect()
    }

    /// What its text may start with, and words of which its text holds one.
    pub(crate) fn gate(&self) -> (FirstBytes, Vec<Vec<u8>>) {
        let regex = &self.expanded.regex;
        (FirstBytes::of_regex(regex, syntax()), gate::needed_words(regex, &syntax()))
    }

    fn compiled(&self) -> Option<&Compiled> {
        self.compiled.get_or_init(|| compile(&self.expanded).ok()).as_ref()
    }

    /// Whether `text` matches.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        self.compiled().is_some_and(|c| c.regex.is_match(text))
    }

    /// Notes what a match may write.
    pub(crate) fn foresee(&self, row: &mut Foreseen) {
        self.targets.iter().for_each(|target| target.foresee(row));
    }

    /// Writes the fields of a match. Out: whether there was one.
    pub(crate) fn run(
        &self,
        text: &[u8],
        row: &mut RowWriter<'_>,
        slots: &mut Vec<Option<NonMaxUsize>>,
        buffer: &mut Vec<u8>,
        found: &mut Findings,
    ) -> bool {
        let first = self.first.get_or_init(|| FirstBytes::of_regex(&self.expanded.regex, syntax()));
        if !first.may_start(text) {
            return false;
        }
        let Some(compiled) = self.compiled() else { return false };
        slots.clear();
        slots.resize(compiled.regex.group_info().slot_len(), None);
        let input = regex_automata::Input::new(text);
        if compiled.regex.search_slots(&input, slots).is_none() {
            return false;
        }
        for (group, target) in compiled.groups.iter().zip(&self.targets) {
            let place = (slots.get(group * 2), slots.get(group * 2 + 1));
            if let (Some(Some(from)), Some(Some(to))) = place {
                target.put(&text[from.get()..to.get()], row, buffer, found);
            }
        }
        true
    }
}

/// Bytes, not characters: logs hold every encoding.
fn syntax() -> syntax::Config {
    syntax::Config::new().utf8(false).dot_matches_new_line(true).unicode(false)
}

fn compile(expanded: &grok::Expanded) -> Result<Compiled, String> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(PATTERN_BYTES_MAX))
        .hybrid_cache_capacity(CACHE_BYTES_MAX)
        .utf8_empty(false);
    let built = meta::Builder::new().configure(config).syntax(syntax()).build(&expanded.regex);
    let regex = built.map_err(|error| match error.syntax_error() {
        Some(syntax) => syntax.to_string().lines().last().unwrap_or_default().to_owned(),
        None => error.to_string(),
    })?;
    let names: Vec<Option<&str>> =
        regex.group_info().pattern_names(regex_automata::PatternID::ZERO).collect();
    let place = |n: usize| names.iter().position(|x| *x == Some(&format!("g{n}"))).unwrap_or(0);
    let groups = (0..expanded.fields.len()).map(place).collect();
    Ok(Compiled { regex, groups })
}

/// A compiled dissect pattern with its targets.
pub(crate) struct Cutter {
    dissect: Dissect,
    targets: Vec<Target>,
}

impl Cutter {
    pub(crate) fn new(
        pattern: &str,
        full: &dyn Fn(&str) -> String,
        dict: &Dictionary,
    ) -> Option<Self> {
        let dissect = Dissect::parse(pattern).ok()?;
        let targets = dissect.fields.iter().map(|f| Target::new(&full(f), None, dict)).collect();
        Some(Self { dissect, targets })
    }

    /// Notes what it may write.
    pub(crate) fn foresee(&self, row: &mut Foreseen) {
        self.targets.iter().for_each(|target| target.foresee(row));
    }

    pub(crate) fn run(
        &self,
        text: &[u8],
        row: &mut RowWriter<'_>,
        work: &mut Work,
        found: &mut Findings,
    ) -> bool {
        let mut cuts = std::mem::take(&mut work.cuts);
        let fits = self.dissect.cut(text, &mut cuts).is_some();
        if fits {
            for (field, range) in cuts.iter().cloned() {
                self.targets[field].put(&text[range], row, &mut work.buffer, found);
            }
        }
        work.cuts = cuts;
        fits
    }
}

/// Columns by position.
pub(crate) struct Columns {
    separator: u8,
    names: Vec<Option<Target>>,
    layouts: Vec<(usize, Vec<Option<Target>>)>,
}

impl Columns {
    pub(crate) fn new(spec: &Spec, csv: &CsvSpec, dict: &Dictionary) -> Self {
        let targets = |names: &Vec<String>| -> Vec<Option<Target>> {
            let target =
                |n: &String| (!n.is_empty()).then(|| Target::new(&spec.full(n), None, dict));
            names.iter().map(target).collect()
        };
        let layout = |(n, names): (&String, &Vec<String>)| Some((n.parse().ok()?, targets(names)));
        Self {
            separator: csv.separator.bytes().next().unwrap_or(b','),
            names: targets(&csv.columns),
            layouts: csv.layouts.iter().filter_map(layout).collect(),
        }
    }

    /// Notes what it may write.
    pub(crate) fn foresee(&self, row: &mut Foreseen) {
        let all = self.names.iter().chain(self.layouts.iter().flat_map(|(_, names)| names));
        all.flatten().for_each(|target| target.foresee(row));
    }

    /// Out: whether there was more than one column.
    pub(crate) fn run(
        &self,
        text: &[u8],
        row: &mut RowWriter<'_>,
        buffer: &mut Vec<u8>,
        found: &mut Findings,
    ) -> bool {
        let mut names = &self.names;
        if !self.layouts.is_empty() {
            let count = parse::csv::values(text, self.separator).count();
            if let Some((_, layout)) = self.layouts.iter().find(|l| l.0 == count) {
                names = layout;
            }
        }
        let mut count = 0;
        for (value, target) in parse::csv::values(text, self.separator).zip(names) {
            count += 1;
            if let Some(target) = target {
                target.put(value.trim_ascii(), row, buffer, found);
            }
        }
        count > 1
    }
}
