//! Patterns that take a text apart: grok and regular expressions, dissect, columns; and where the
//! pieces go.

use crate::dissect::Dissect;
use crate::gate::{self, FirstBytes};
use crate::grok;
use crate::program::{Findings, Work, field_id};
use crate::spec::{CsvSpec, Spec, ecs};
use crate::specialise::Foreseen;
use crate::tail::Tail;
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
    /// Its head, where it ends in a field that takes all that follows.
    head: OnceLock<Option<(Compiled, Tail)>>,
    whole: OnceLock<Option<Compiled>>,
}

/// A regular expression and the fields it finds.
struct Compiled {
    regex: meta::Regex,
    /// Target of each field and its capture group.
    groups: Vec<(usize, usize)>,
}

/// Where captures lie in a text.
type Slots = Vec<Option<NonMaxUsize>>;

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
        let (first, head, whole) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Some(Self { expanded, targets, first, head, whole })
    }

    /// What is wrong with a pattern, if anything is.
    pub(crate) fn check(pattern: &str, own: &BTreeMap<String, String>) -> Result<(), String> {
        let expanded = grok::expand(pattern, own)?;
        Compiled::whole(&expanded).map(|_| ()).map_err(|e| format!("bad regular expression: {e}"))
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

    fn whole(&self) -> Option<&Compiled> {
        self.whole.get_or_init(|| Compiled::whole(&self.expanded).ok()).as_ref()
    }

    /// Whether `text` matches.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        self.whole().is_some_and(|c| c.regex.is_match(text))
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
        slots: &mut Slots,
        buffer: &mut Vec<u8>,
        found: &mut Findings,
    ) -> bool {
        let first = self.first.get_or_init(|| FirstBytes::of_regex(&self.expanded.regex, syntax()));
        if !first.may_start(text) {
            return false;
        }
        if let Some((head, tail)) = self.head.get_or_init(|| Compiled::head(&self.expanded)) {
            let Some(end) = head.search(text, slots) else { return false };
            if let Some(len) = tail.len_in(&text[end..]) {
                self.put(head, text, slots, row, buffer, found);
                if let Some(last) = self.targets.last() {
                    last.put(&text[end..end + len], row, buffer, found);
                }
                return true;
            }
        }
        let Some(whole) = self.whole() else { return false };
        let is_match = whole.search(text, slots).is_some();
        if is_match {
            self.put(whole, text, slots, row, buffer, found);
        }
        is_match
    }

    fn put(
        &self,
        compiled: &Compiled,
        text: &[u8],
        slots: &Slots,
        row: &mut RowWriter<'_>,
        buffer: &mut Vec<u8>,
        found: &mut Findings,
    ) {
        for (target, group) in &compiled.groups {
            let place = (slots.get(group * 2), slots.get(group * 2 + 1));
            if let (Some(Some(from)), Some(Some(to))) = place {
                self.targets[*target].put(&text[from.get()..to.get()], row, buffer, found);
            }
        }
    }
}

/// Bytes, not characters: logs hold every encoding.
fn syntax() -> syntax::Config {
    syntax::Config::new().utf8(false).dot_matches_new_line(true).unicode(false)
}

impl Compiled {
    fn whole(expanded: &grok::Expanded) -> Result<Self, String> {
        let built = builder().syntax(syntax()).build(&expanded.regex);
        let regex = built.map_err(|error| match error.syntax_error() {
            Some(syntax) => syntax.to_string().lines().last().unwrap_or_default().to_owned(),
            None => error.to_string(),
        })?;
        Ok(Self::of(regex, expanded.fields.len()))
    }

    /// The pattern without the field that it ends in, if that takes all that follows.
    fn head(expanded: &grok::Expanded) -> Option<(Self, Tail)> {
        let (head, tail, name) = Tail::split(&expanded.regex, &syntax())?;
        let fields = expanded.fields.len() - 1;
        let regex = builder().build_from_hir(&head).ok()?;
        // Groups are numbered as they open: what ends the pattern is the last one.
        (name == format!("g{fields}")).then(|| (Self::of(regex, fields), tail))
    }

    fn of(regex: meta::Regex, fields: usize) -> Self {
        let names: Vec<Option<&str>> =
            regex.group_info().pattern_names(regex_automata::PatternID::ZERO).collect();
        let place = |n: usize| names.iter().position(|x| *x == Some(&format!("g{n}")));
        let groups = (0..fields).filter_map(|n| Some((n, place(n)?))).collect();
        Self { regex, groups }
    }

    /// Where the match ends; its captures are in `slots`.
    fn search(&self, text: &[u8], slots: &mut Slots) -> Option<usize> {
        slots.clear();
        slots.resize(self.regex.group_info().slot_len(), None);
        self.regex.search_slots(&regex_automata::Input::new(text), slots)?;
        slots.get(1).copied().flatten().map(NonMaxUsize::get)
    }
}

fn builder() -> meta::Builder {
    let config = meta::Config::new()
        .nfa_size_limit(Some(PATTERN_BYTES_MAX))
        .hybrid_cache_capacity(CACHE_BYTES_MAX)
        .utf8_empty(false);
    let mut builder = meta::Builder::new();
    builder.configure(config);
    builder
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packs;
    use crate::spec::Patterns;
    use std::collections::BTreeSet;

    /// Patterns of the built-in packs that end in a tail.
    fn heads() -> Vec<(Compiled, Compiled, Tail)> {
        let mut out = Vec::new();
        for pack in packs::ALL {
            let spec = Spec::parse(pack.name, pack.spec, Patterns::Trusted).unwrap();
            let of_step = |s: &crate::spec::StepSpec| {
                let cases = s.select.iter().flat_map(|s| s.cases.values());
                let given = s.regex.values().chain(s.grok.values()).chain(cases);
                given.flat_map(crate::spec::OneOrMany::texts).collect::<Vec<_>>()
            };
            for pattern in spec.steps.iter().flat_map(of_step) {
                let expanded = grok::expand(&pattern, &spec.patterns).unwrap();
                if let Some((head, tail)) = Compiled::head(&expanded) {
                    out.push((Compiled::whole(&expanded).unwrap(), head, tail));
                }
            }
        }
        out
    }

    /// All values of all packs' expected events, and what stands behind their blanks.
    fn texts() -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        let mut add = |value: &serde_json::Value| {
            let text = value.as_str().unwrap_or_default();
            out.extend(text.match_indices(' ').map(|(at, _)| text[at + 1..].to_owned()));
            out.insert(text.to_owned());
        };
        for pack in packs::ALL {
            let folder = testkit::workspace_root().join("packs").join(pack.name).join("expected");
            for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let events = std::fs::read_to_string(file.path()).unwrap();
                for event in events.lines() {
                    let event: serde_json::Value = serde_json::from_str(event).unwrap();
                    event.as_object().unwrap().values().for_each(&mut add);
                }
            }
        }
        out
    }

    /// Guarantees: a pattern's head and tail find in every text what the whole pattern finds.
    #[test]
    fn heads_and_tails_find_what_whole_patterns_find() {
        let (heads, texts) = (heads(), texts());
        let (mut slots, mut all) = (Slots::new(), Slots::new());
        let mut matches = 0;
        for (whole, head, tail) in &heads {
            for text in texts.iter().map(String::as_bytes) {
                let end = head.search(text, &mut slots);
                let len = end.map(|end| tail.len_in(&text[end..]));
                if len == Some(None) {
                    continue;
                }
                let found = whole.search(text, &mut all);
                assert_eq!(found.is_some(), end.is_some(), "{:?}", String::from_utf8_lossy(text));
                let (Some(end), Some(Some(len))) = (end, len) else { continue };
                let place = |slots: &Slots, group: usize| {
                    slots[group * 2..][..2]
                        .iter()
                        .map(|s| s.map(NonMaxUsize::get))
                        .collect::<Vec<_>>()
                };
                for ((target, group), (_, of_whole)) in head.groups.iter().zip(&whole.groups) {
                    assert_eq!(place(&slots, *group), place(&all, *of_whole), "field {target}");
                }
                let last = whole.groups.last().unwrap().1;
                assert_eq!(place(&all, last), [Some(end), Some(end + len)]);
                matches += 1;
            }
        }
        assert!(
            heads.len() > 100 && matches > 1_000,
            "{} patterns, {matches} matches",
            heads.len()
        );
    }
}
