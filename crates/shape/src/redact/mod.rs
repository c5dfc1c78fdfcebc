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
//! Reading order: [`spec`] (the file of rules), `rules` (what it becomes), [`pseudonym`], `secrets` (what is
//! one), `classes` (what a field is to another one's value), `occurrences` (where a value stands in a text),
//! `words` (which values are left in sentences), `effort` (what looking may cost), this file (the step),
//! `plot` (what is found out about a row), `places` (where its values stand), `edits` (of its record).

mod classes;
mod edits;
mod effort;
mod occurrences;
mod places;
mod plot;
pub mod pseudonym;
mod rules;
mod secrets;
pub mod spec;
mod words;

use crate::program::Work;
use crate::{text, value};
use classes::{Class, class_of};
use edits::{Record, settle};
use effort::{Effort, TooMuch};
use event::{Dictionary, DictionaryBuilder, FieldId, Kind, Marks, Protocol, RowWriter};
use filter::Binding;
use hashbrown::HashMap;
use places::Hidden;
use plot::{Found, Plot};
use pseudonym::{MASK, MASK_ADDRESS};
use rules::Rule;
pub use rules::{Form, Redaction};
use secrets::Secret;
pub use spec::RedactionError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Field that names the fields out of which something was taken.
pub const FIELDS: &str = event::batch::REDACTION_FIELDS[0];
/// Field that names the rules that took something.
pub const RULES: &str = event::batch::REDACTION_FIELDS[1];

/// Values of fewer bytes are replaced where their field stands, not wherever the record has them.
const TELLING_BYTES_MIN: usize = 3;
/// Most values of one event that are looked for. With more, its record is masked, and so is every field that could
/// hold one of the others: nobody may make looking take long.
const VALUES_MAX: usize = 256;
/// Fewer bytes are no text: no secrets are looked for in them.
const TEXT_BYTES_MIN: usize = 8;
/// Most pseudonyms that a worker keeps.
const MEMO_MAX: usize = 8_192;
/// Longer values are not kept: names and addresses are short, and memory is not without end.
const MEMO_VALUE_BYTES_MAX: usize = 256;

/// A worker's buffers.
#[derive(Default)]
pub(crate) struct Scratch {
    memo: HashMap<Box<[u8]>, Box<str>>,
    /// The number of the rules whose pseudonyms they are.
    memo_of: u64,
    wide: Vec<u8>,
    decoded: Vec<u8>,
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
    /// The rules that take values because of the names of their fields, a bit each.
    by_names: u64,
    /// The rules to which a name says that a secret follows, a bit each.
    by_secret_names: u64,
    message: FieldId,
    arguments: FieldId,
    fields: FieldId,
    rules: FieldId,
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
        let those = |are: fn(&Rule) -> bool| {
            let rules = redaction.rules.iter().enumerate();
            rules.filter(|(_, rule)| are(rule)).fold(0, |bits, (at, _)| bits | 1 << at)
        };
        Self {
            by_names: those(Rule::goes_by_names),
            by_secret_names: those(Rule::knows_secret_names),
            bindings: redaction.rules.iter().map(bind).collect(),
            chosen: bits(&|rule, name| rule.chooses(name)),
            secret_names: bits(&|rule, name| rule.names_secret(name)),
            classes: names().map(|name| class_of(name, ecs.id(name).is_some())).collect(),
            message: id("message"),
            arguments: id("process.args"),
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
        let raw = row.raw();
        let mut wide = std::mem::take(&mut scratch.wide);
        let is_wide = text::from_utf16(raw, &mut wide);
        let record = Record::of(if is_wide { wide.as_slice() } else { raw });
        let plot = self.plot(row, &record, active, scratch);
        // Places count in the cells as they are now: those that are pieces of the record change with it.
        let texts = plot.texts_of_cells(row);
        if plot.is_withheld {
            keep_cells(row, &plot);
            row.rewrite(record.bytes, &[record.whole(MASK)]);
        } else if !plot.edits.is_empty()
            || is_wide && !(plot.changes.is_empty() && plot.taken.is_empty())
        {
            row.rewrite(record.bytes, &plot.edits);
        }
        scratch.wide = wide;
        self.write(row, work, plot, &texts);
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

    /// What is to become of the row. A record that cannot be looked through is withheld.
    fn plot(
        &self,
        row: &RowWriter<'_>,
        record: &Record<'_>,
        active: u64,
        scratch: &mut Scratch,
    ) -> Plot {
        let mut plot = Plot::default();
        if row.is_cut() && active & self.by_names != 0 {
            // There may be values in the record that found no cell: nobody knows them.
            plot.is_blind = true;
        } else if self.look(row, record, active, scratch, &mut plot).is_ok() {
            return plot;
        }
        let mut plot = plot.withhold();
        // Cells that are too much are masked one by one.
        let _ = self.look(row, record, active, scratch, &mut plot);
        plot
    }

    fn look(
        &self,
        row: &RowWriter<'_>,
        record: &Record<'_>,
        active: u64,
        scratch: &mut Scratch,
        plot: &mut Plot,
    ) -> Result<(), TooMuch> {
        let mut effort = Effort::of(record.bytes.len());
        self.values(row, active, (scratch, &mut effort), plot);
        if plot.is_blind && !plot.is_withheld {
            return Err(TooMuch);
        }
        self.secrets(row, record, active, (scratch, &mut effort), plot)?;
        if plot.is_blind {
            self.blank(row, active, scratch, plot);
        } else if !plot.found.is_empty() {
            self.places(row, record, &mut effort, plot)?;
        }
        settle(&mut plot.edits, record.bytes.len())
    }

    /// The values of chosen fields, and of those whose name says that they hold a secret.
    fn values(
        &self,
        row: &RowWriter<'_>,
        active: u64,
        (scratch, effort): (&mut Scratch, &mut Effort),
        plot: &mut Plot,
    ) {
        let mut argument = None;
        for at in 0..row.cell_count() {
            let (field, value) = row.cell(at);
            let (chosen, named) = self.rules_of(row, field);
            let mut rules = (chosen | named) & active;
            if field == self.arguments && self.by_secret_names & active != 0 {
                rules |= self.rules_of_argument(argument, value.bytes) & active;
                argument = Some(value.bytes);
            }
            if rules == 0 || value.kind == Kind::Null || value.bytes.is_empty() {
                continue;
            }
            let rule = rules.trailing_zeros() as usize;
            let is_done = self.is_done(value.bytes.trim_ascii());
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
            // A secret is no name by which other fields could call the same thing.
            let in_place = chosen & active == 0;
            let place = self.find(value.bytes, (rule, in_place), (scratch, effort), plot);
            plot.take(at, place);
        }
    }

    /// Which of the values this is; it is added if it is new.
    fn find(
        &self,
        value: &[u8],
        (rule, in_place): (usize, bool),
        (scratch, effort): (&mut Scratch, &mut Effort),
        plot: &mut Plot,
    ) -> usize {
        let rule = &self.redaction.rules[rule];
        let everywhere = rule.everywhere && !in_place;
        let mut place = |value: &[u8], text: Option<Box<str>>, scratch: &mut Scratch| {
            let in_place = in_place || value.len() < TELLING_BYTES_MIN;
            plot.place_of(value, in_place, effort).unwrap_or_else(|| {
                let text = text.unwrap_or_else(|| self.text(value, rule.form, scratch));
                plot.add(Found { value: value.into(), text, everywhere, in_place })
            })
        };
        // Who is meant is the same with blanks around the name.
        let word = value.trim_ascii();
        if word.is_empty() || word.len() == value.len() {
            return place(value, None, scratch);
        }
        place(word, None, scratch);
        let text = self.text(word, rule.form, scratch);
        place(value, Some(text), scratch)
    }

    fn text(&self, value: &[u8], form: Form, scratch: &mut Scratch) -> Box<str> {
        if form != Form::Pseudonym {
            let is_address = value::parse_ip(value).is_some();
            return if is_address { MASK_ADDRESS } else { MASK }.into();
        }
        if value.len() > MEMO_VALUE_BYTES_MAX {
            return self.redaction.key.pseudonym(value).into();
        }
        if scratch.memo_of != self.redaction.number || scratch.memo.len() >= MEMO_MAX {
            scratch.memo.clear();
            scratch.memo_of = self.redaction.number;
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

    /// The rules to which an argument of a command is a secret because of the one before it: `--password`, `hunter2`.
    fn rules_of_argument(&self, before: Option<&[u8]>, value: &[u8]) -> u64 {
        let Some(option) = before.filter(|b| b.starts_with(b"-") && !value.starts_with(b"-"))
        else {
            return 0;
        };
        let rules = self.redaction.rules.iter().enumerate();
        let names = |rule: &Rule| std::str::from_utf8(option).is_ok_and(|o| rule.names_secret(o));
        rules.filter(|(_, rule)| names(rule)).fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// Secrets in the record, and in texts that are no pieces of it.
    fn secrets(
        &self,
        row: &RowWriter<'_>,
        record: &Record<'_>,
        active: u64,
        (scratch, effort): (&mut Scratch, &mut Effort),
        plot: &mut Plot,
    ) -> Result<(), TooMuch> {
        let rules = self.redaction.rules.iter().enumerate();
        let (mut secrets, mut hidden) = (Vec::new(), BTreeMap::new());
        for (at, rule) in rules.filter(|(at, _)| active & (1 << at) != 0) {
            let Some(finder) = &rule.finder else { continue };
            if !plot.is_withheld {
                let looked = finder.all(record.bytes, effort, &mut secrets);
                plot.rules |= u64::from(looked.is_err() || !secrets.is_empty()) << at;
                looked?;
                effort.places(secrets.len())?;
            }
            for Secret { range, .. } in secrets.drain(..) {
                let value = &record.bytes[range.clone()];
                if !self.is_done(value) {
                    let text = self.text(value, rule.form, scratch);
                    plot.edits.push(record.edit(range, &text));
                }
            }
            self.coded(row, at, (scratch, effort), plot);
            self.secrets_of_cells(row, at, (scratch, effort), plot, &mut hidden)?;
        }
        match plot.is_withheld || hidden.is_empty() {
            true => Ok(()),
            false => self.in_record_too(row, record, hidden, effort, plot),
        }
    }

    /// Secrets in texts that are no pieces of the record; the record may have them in a spelling in which nothing
    /// tells that they are some: they are added to `hidden`. Fields that tell what happened come first, and others
    /// that are the same text follow them: what one sender may ask for is spent on what rules look at.
    ///
    /// # Errors
    /// A text cannot be looked through, and what it holds may stand in the record.
    fn secrets_of_cells<'r>(
        &self,
        row: &'r RowWriter<'_>,
        rule: usize,
        (scratch, effort): (&mut Scratch, &mut Effort),
        plot: &mut Plot,
        hidden: &mut BTreeMap<Hidden<'r>, Box<str>>,
    ) -> Result<(), TooMuch> {
        let Rule { finder: Some(finder), form, .. } = &self.redaction.rules[rule] else {
            return Ok(());
        };
        let is_other = |at: &usize| {
            let is_text = row.cell(*at).1.bytes.len() >= TEXT_BYTES_MIN;
            is_text && plot.span(row, *at).is_none() && !plot.is_taken(*at)
        };
        let is_guarded = |at: &usize| self.class(row, row.cell(*at).0) == Class::Guarded;
        let others: Vec<usize> = (0..row.cell_count()).filter(is_other).collect();
        let (guarded, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_guarded);
        let (mut known, mut secrets) = (HashMap::new(), Vec::new());
        for cell in guarded.into_iter().chain(rest) {
            let (field, value) = row.cell(cell);
            let bytes = value.bytes;
            let like = *known.entry((bytes.as_ptr(), bytes.len())).or_insert(cell);
            if like != cell {
                if plot.is_changed(like) {
                    plot.note(field, 1 << rule);
                    plot.change_like(cell, like);
                }
                continue;
            }
            let looked = finder.all(bytes, effort, &mut secrets);
            secrets.retain(|secret| !self.is_done(&bytes[secret.range.clone()]));
            if looked.is_err() || !secrets.is_empty() {
                plot.note(field, 1 << rule);
            }
            if let Err(stopped) = looked {
                if !plot.is_withheld {
                    return Err(TooMuch);
                }
                // What lies before was looked through, and is what rules look at.
                plot.put(cell, bytes.len(), &(stopped.at..bytes.len()), MASK);
            }
            for secret in secrets.drain(..) {
                let text = self.text(&bytes[secret.range.clone()], *form, scratch);
                plot.put(cell, bytes.len(), &secret.range, &text);
                if !plot.is_withheld {
                    hidden.entry(Hidden::of(bytes, &secret)).or_insert(text);
                }
            }
        }
        Ok(())
    }

    /// Values that are base64 of text with a secret, as a whole. Fields that tell what happened keep
    /// theirs: a coded command line is what rules look at.
    fn coded(
        &self,
        row: &RowWriter<'_>,
        rule: usize,
        (scratch, effort): (&mut Scratch, &mut Effort),
        plot: &mut Plot,
    ) {
        let Rule { finder: Some(finder), form, .. } = &self.redaction.rules[rule] else { return };
        let mut decoded = std::mem::take(&mut scratch.decoded);
        for at in 0..row.cell_count() {
            let (field, value) = row.cell(at);
            if !finder.holds_coded(value.bytes, effort, &mut decoded)
                || self.class(row, field) == Class::Guarded
                || self.is_done(value.bytes)
                || plot.is_taken(at)
            {
                continue;
            }
            plot.note(field, 1 << rule);
            if *form == Form::Remove {
                plot.removed.push(at);
            }
            let place = self.find(value.bytes, (rule, true), (scratch, effort), plot);
            plot.take(at, place);
        }
        scratch.decoded = decoded;
    }

    /// Writes what takes the place of values, and the mark.
    fn write(
        &self,
        row: &mut RowWriter<'_>,
        work: &mut Work,
        mut plot: Plot,
        texts: &[(usize, Vec<u8>)],
    ) {
        for (at, place) in &plot.taken {
            let text = plot.found[*place].text.as_bytes();
            if row.cell(*at).1.bytes != text {
                row.replace(*at, Kind::Str, text);
            }
        }
        for (at, text) in texts {
            row.replace(*at, Kind::Str, text);
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
        for (at, rule) in self.redaction.rules.iter().enumerate() {
            if plot.rules & (1 << at) != 0 {
                row.push_remark(self.rules, &rule.name);
            }
        }
        for field in &plot.fields {
            let name = row.name(*field).to_owned();
            if !row.push_remark(self.fields, &name) {
                break;
            }
        }
    }
}

/// Cells that are pieces of a record which goes as a whole have what they hold for themselves.
fn keep_cells(row: &mut RowWriter<'_>, plot: &Plot) {
    for at in 0..row.cell_count() {
        let value = row.cell(at).1;
        let is_piece = row.raw_range(at).is_some() && !value.bytes.is_empty();
        if is_piece && !plot.is_taken(at) && !plot.is_changed(at) {
            let (kind, copy) = (value.kind, value.bytes.to_vec());
            row.replace(at, kind, &copy);
        }
    }
}

/// Names that redaction writes.
pub(crate) fn register(names: &mut DictionaryBuilder) {
    names.field(FIELDS);
    names.field(RULES);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::path::Path;

    /// Scenario: a worker goes on with its memory when rules with another key come, which lie in memory where
    /// those before did.
    /// Guarantees: it gives the pseudonyms of the new key.
    #[test]
    fn a_worker_forgets_the_pseudonyms_of_another_key() {
        let load = |key: u8| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("redact.yaml");
            std::fs::write(&path, "rules: []\n").unwrap();
            Redaction::load(Path::new(&path), &[key; 16], &Dictionary::ecs()).unwrap()
        };
        let (mut scratch, mut places) = (Scratch::default(), hashbrown::HashSet::new());
        let mut is_reused = false;
        for key in 1..=50 {
            let redactor = Redactor::new(Arc::new(load(key)), &Dictionary::ecs());
            is_reused |= !places.insert(Arc::as_ptr(&redactor.redaction) as usize);
            let text = redactor.text(b"alicia", Form::Pseudonym, &mut scratch);
            assert_eq!(*text, redactor.redaction.pseudonym("alicia"), "key {key}");
        }
        assert!(is_reused, "no place was used twice: this has tried nothing");
    }
}
