//! `vrl` steps: what a user's program sees of an event, and what becomes of what it leaves.
//!
//! The language is not known here. A build that has one hands a [`ScriptCompiler`] to
//! [`crate::PackSet::load_with`]; a build without one leaves packs out that need it.
//!
//! ```text
//! cells + event.original --given--> program --left--> compared by name
//!    same value(s)   : the cells stay as they are, pieces of the record among them
//!    other value(s)  : the old cells go, new ones are written behind the others
//!    nothing         : the old cells go
//! ```
//!
//! A program that fails or stops changes nothing. Names below `alcedo.` are neither shown nor taken:
//! which rules an event is offered to is not for a program to say.

use crate::program::{Findings, Work, class_of, class_of_type};
use crate::value::{self, Class};
use event::{Dictionary, FieldId, FieldType, Kind, RowWriter};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest name that a program may give: longer ones come from damaged data, not from a person.
const NAME_BYTES_MAX: usize = 256;
/// Name under which a program finds the whole record.
const ORIGINAL: &str = "event.original";
/// Name by which a program sets when the event happened.
const TIMESTAMP: &str = "@timestamp";

/// Compiles the programs of `vrl` steps.
pub trait ScriptCompiler: Send + Sync {
    /// Compiles `source`, whose first line is line `first_line` (from 1) of its file.
    /// Errors: everything that can be known before an event is there.
    fn compile(&self, source: &str, first_line: usize) -> Result<Arc<dyn Script>, ScriptError>;
}

/// What is wrong with a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message} ({hint})")]
pub struct ScriptError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong; may go on over several lines that show the place.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// A compiled program. A pure function: the same event gives the same fields, always.
pub trait Script: Send + Sync {
    /// Names that the program says it assigns, for the generation's dictionary. Others are made as
    /// they come.
    fn targets(&self) -> &[String];

    /// Runs over one event. Out: every field that the event has afterwards, the values of one name
    /// in their order. Never panics.
    fn run(&self, event: &ScriptEvent<'_>) -> Result<Vec<ScriptField<'static>>, ScriptStop>;
}

/// A name and one of its values.
pub type ScriptField<'a> = (Cow<'a, str>, ScriptValue<'a>);

/// What a program is given.
#[derive(Debug)]
pub struct ScriptEvent<'a> {
    /// The fields in the order in which they were found; a name stands once for each of its values.
    pub fields: Vec<ScriptField<'a>>,
}

/// A value as programs see it.
#[derive(Clone, Debug, PartialEq)]
pub enum ScriptValue<'a> {
    /// JSON's null.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A finite number with a fraction.
    Float(f64),
    /// Everything else: text, or bytes that are none.
    Text(Cow<'a, [u8]>),
}

/// Why a program did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptStop {
    /// It said itself that the event is none of its business: like a pattern that does not match.
    Declined,
    /// It failed; why.
    Failed(String),
}

/// Runs `script` over the row and writes what it changed.
pub(crate) fn run(
    script: &dyn Script,
    row: &mut RowWriter<'_>,
    work: &mut Work,
    found: &mut Findings,
) {
    let given = ScriptEvent { fields: given(row) };
    let changes = match script.run(&given) {
        Ok(left) => Changes::between(&given.fields, left),
        Err(ScriptStop::Declined) => return,
        Err(ScriptStop::Failed(message)) => {
            found.failed.get_or_insert_with(|| format!("vrl: {message}"));
            return;
        }
    };
    drop(given);
    found.matched = true;
    changes.apply(row, work, found);
}

/// What the program sees of the row.
fn given<'r>(row: &'r RowWriter<'_>) -> Vec<ScriptField<'r>> {
    let shown = row.cells().map(|(field, value)| (row.name(field), value));
    let shown = shown.filter(|(name, _)| !name.starts_with(event::batch::OWN_PREFIX));
    let mut fields: Vec<ScriptField<'r>> =
        shown.map(|(name, v)| (Cow::Borrowed(name), ScriptValue::of(v.kind, v.bytes))).collect();
    fields.push((Cow::Borrowed(ORIGINAL), ScriptValue::Text(row.raw().into())));
    fields
}

impl<'a> ScriptValue<'a> {
    /// A cell's value. A number that 64 bits do not hold is its text, so that no digit is lost.
    fn of(kind: Kind, bytes: &'a [u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let number = match kind {
            Kind::Null => Some(ScriptValue::Null),
            Kind::Bool => text.parse().ok().map(ScriptValue::Bool),
            Kind::Int => text.parse().ok().map(ScriptValue::Int),
            Kind::Float => {
                text.parse().ok().filter(|f: &f64| f.is_finite()).map(ScriptValue::Float)
            }
            Kind::Str => None,
        };
        number.unwrap_or(ScriptValue::Text(bytes.into()))
    }

    /// Kind and text of the cell that holds it.
    fn cell(&self) -> (Kind, Cow<'_, [u8]>) {
        match self {
            ScriptValue::Null => (Kind::Null, Cow::Borrowed(b"")),
            ScriptValue::Bool(b) => (Kind::Bool, b.to_string().into_bytes().into()),
            ScriptValue::Int(n) => (Kind::Int, n.to_string().into_bytes().into()),
            ScriptValue::Float(f) => (Kind::Float, f.to_string().into_bytes().into()),
            ScriptValue::Text(text) => (Kind::Str, Cow::Borrowed(text)),
        }
    }
}

/// What a program did to an event.
struct Changes {
    /// Names whose cells go.
    gone: Vec<String>,
    /// Names with the values they have now.
    new: Vec<(String, Vec<ScriptValue<'static>>)>,
}

impl Changes {
    fn between(given: &[ScriptField<'_>], left: Vec<ScriptField<'static>>) -> Self {
        let mut before: BTreeMap<&str, Vec<&ScriptValue<'_>>> = BTreeMap::new();
        for (name, value) in given {
            before.entry(name).or_default().push(value);
        }
        let mut after: BTreeMap<Cow<'static, str>, Vec<ScriptValue<'static>>> = BTreeMap::new();
        for (name, value) in left {
            after.entry(name).or_default().push(value);
        }
        let mut changes = Self { gone: Vec::new(), new: Vec::new() };
        let gone = before.keys().filter(|name| !after.contains_key(**name));
        changes.gone.extend(gone.map(|name| (*name).to_owned()));
        for (name, mut values) in after {
            let old = before.get(&*name);
            if old.is_some_and(|old| old.iter().copied().eq(values.iter())) {
                continue;
            }
            if old.is_some() {
                changes.gone.push(name.clone().into_owned());
            }
            // What was null stays null; a program that assigns null takes the value away.
            values.retain(|v| *v != ScriptValue::Null);
            if !values.is_empty() && !name.is_empty() && name.len() <= NAME_BYTES_MAX {
                changes.new.push((name.into_owned(), values));
            }
        }
        changes
    }

    fn apply(&self, row: &mut RowWriter<'_>, work: &mut Work, found: &mut Findings) {
        for name in &self.gone {
            if name == ORIGINAL {
                continue;
            }
            let field = row.own_field(name);
            for at in (0..row.cell_count()).rev() {
                if row.cell(at).0 == field {
                    row.remove(at);
                    work.forget(at);
                }
            }
        }
        for (name, values) in &self.new {
            if name == TIMESTAMP
                && let (_, text) = values[0].cell()
                && let Ok(stamp) = parse::timestamp::parse(&text)
            {
                found.stamp = Some(stamp);
                continue;
            }
            // A name that is not the event's to give becomes `alcedo.claimed.NAME`.
            let field = row.field(name);
            let class = class_for(name, field, row.dict());
            for value in values {
                write(value, field, class, row, &mut work.buffer);
            }
        }
        work.index.restart(row);
    }
}

/// ECS fields take what fits their type; a product's own names keep the value as it is.
fn class_for(name: &str, field: FieldId, dict: &Dictionary) -> Option<Class> {
    crate::packs::is_ecs(name).then(|| class_of(name, field, dict))
}

fn write(
    value: &ScriptValue<'_>,
    field: FieldId,
    class: Option<Class>,
    row: &mut RowWriter<'_>,
    buffer: &mut Vec<u8>,
) {
    let (kind, text) = value.cell();
    let fits = match (class, kind) {
        (None, _) | (Some(Class::Long), Kind::Int) => true,
        (Some(class), Kind::Int | Kind::Float) => class == class_of_type(FieldType::Double),
        (Some(class), Kind::Bool) => class == class_of_type(FieldType::Boolean),
        (Some(_), _) => false,
    };
    match class {
        Some(class) if !fits => {
            if !value::is_absent(kind, &text) {
                value::write(row, &text, field, class, buffer);
            }
        }
        _ => {
            row.push(field, kind, &text);
        }
    }
}

/// Line (from 1) of `file` on which `source`, the program of a block `vrl: |`, begins; for a program
/// that is written in another way, the line of the first `vrl:`.
pub(crate) fn first_line(file: &str, source: &str) -> usize {
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    let program: Vec<&str> = source.trim_end().lines().map(str::trim).collect();
    let blocks = lines.windows(program.len().max(1));
    let block = blocks.zip(1..).find(|(block, _)| *block == program.as_slice());
    let key = || lines.iter().position(|l| l.trim_start_matches("- ").starts_with("vrl:"));
    block.map(|(_, line)| line).or_else(|| key().map(|at| at + 1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_its_file() {
        let file = "pack: x\nsteps:\n  - vrl: |\n      .a = 1\n\n      .b = 2\n  - vrl: .c = 3\n";
        assert_eq!(first_line(file, ".a = 1\n\n.b = 2\n"), 4);
        assert_eq!(first_line(file, ".c = 3"), 3, "no block: the first key");
        assert_eq!(first_line("", ""), 1);
    }

    #[test]
    fn numbers_that_do_not_fit_are_text() {
        let text = |t: &'static str| ScriptValue::Text(t.as_bytes().into());
        assert_eq!(ScriptValue::of(Kind::Int, b"7"), ScriptValue::Int(7));
        assert_eq!(
            ScriptValue::of(Kind::Int, b"18446744073709551615"),
            text("18446744073709551615")
        );
        assert_eq!(ScriptValue::of(Kind::Float, b"1e999"), text("1e999"));
        assert_eq!(ScriptValue::of(Kind::Str, b"7"), text("7"));
    }

    #[test]
    fn what_stays_the_same_is_no_change() {
        let field = |name: &'static str, n| (Cow::Borrowed(name), ScriptValue::Int(n));
        let given = [field("a", 1), field("b", 2), field("b", 3), field("c", 4)];
        let left = vec![field("a", 1), field("b", 3), field("b", 2), field("d", 5)];
        let changes = Changes::between(&given, left);
        assert_eq!(changes.gone, ["c", "b"]);
        let new: Vec<_> = changes.new.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(new, ["b", "d"]);
    }
}
