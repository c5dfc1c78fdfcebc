//! One line of a selection, `field|modifier|modifier: values`, on its way to a plan.
//!
//! ```text
//! YAML value(s) -> Item { values } --modifier 1--> --modifier 2--> ... --finish--> filter::Plan
//! ```
//! Modifiers are applied from left to right; each changes the values or sets how they combine.

use crate::sigma::modifiers::{MODIFIERS, windash};
use crate::sigma::problem::Refusal;
use crate::sigma::string;
use crate::sigma::yaml::{Node, Yaml};
use filter::{CompareOp, Number, Operand, Part, Plan, Target, Test, TextOp};
use filter::{TimePart, pattern};
use std::borrow::Cow;

/// The state that modifiers work on.
#[derive(Clone, Debug)]
pub struct Item {
    /// Field name; `None` for keywords.
    pub field: Option<Box<str>>,
    /// The values so far.
    pub values: Vec<Val>,
    /// Whether the document gave a list.
    pub is_list: bool,
    /// All values must hold instead of one.
    pub all: bool,
    /// Text is compared exactly.
    pub cased: bool,
    /// None of the values may hold.
    pub negated: bool,
    /// Numbers are compared with this instead of for equality.
    pub compare: Option<CompareOp>,
    /// The field is a time of which this part is compared.
    pub time_part: Option<TimePart>,
    /// Keywords only: the author said where the text must stand.
    pub anchored: bool,
    /// Modifiers applied so far.
    pub applied: Vec<&'static str>,
}

/// One value on its way.
#[derive(Clone, Debug, PartialEq)]
pub enum Val {
    /// A Sigma string.
    Text {
        /// As written.
        raw: String,
        /// Text and wildcards.
        parts: Vec<Part>,
    },
    /// A Sigma string with many option dashes, each of which may be any dash.
    DashClasses {
        /// Text and wildcards.
        parts: Vec<Part>,
    },
    /// A number, with its text.
    Number(Number, String),
    /// true or false.
    Bool(bool),
    /// Null.
    Null,
    /// A regular expression with its flags.
    Regex {
        /// Source, without flags.
        source: String,
        /// `i`, `m` and `s` as set.
        flags: String,
    },
    /// A network.
    Cidr(ipnet::IpNet),
    /// The value of another field.
    FieldRef {
        /// Its name.
        name: String,
        /// Which part of the value.
        op: TextOp,
    },
    /// Presence.
    Exists(bool),
    /// Encoded text that waits for a base64 modifier.
    Bytes(Vec<u8>),
    /// Alternatives that one value turned into.
    AnyOf(Vec<Val>),
}

impl Val {
    /// A value from plain text without wildcards.
    pub fn plain(text: impl Into<String>) -> Self {
        let raw: String = text.into();
        Val::Text { parts: vec![Part::Text(raw.clone())], raw }
    }

    /// Numbers and booleans become their text; everything else stays.
    pub fn into_text(self) -> Self {
        match self {
            Val::Number(_, text) => Val::plain(text),
            Val::Bool(b) => Val::plain(b.to_string()),
            other => other,
        }
    }
}

/// Splits a selection's key into field and modifiers, and lowers its value.
///
/// # Errors
/// Unknown or misplaced modifiers, values they cannot take, and what cannot be honoured exactly.
pub fn lower(key: &str, value: &Node) -> Result<Plan, Refusal> {
    let mut names = key.split('|');
    let field = names.next().filter(|f| !f.is_empty()).map(Box::from);
    let mut item = Item::new(field, value)?;
    for name in names {
        let modifier = MODIFIERS.iter().find(|m| m.name() == name).ok_or_else(|| {
            let hint = "see docs/sigma.md for the modifiers that exist";
            Refusal::not_covered(format!("unknown modifier `{name}`"), hint)
        })?;
        modifier.apply(&mut item)?;
        item.applied.push(modifier.name());
    }
    item.finish()
}

impl Item {
    /// An item without modifiers.
    pub fn new(field: Option<Box<str>>, value: &Node) -> Result<Self, Refusal> {
        let (nodes, is_list): (&[Node], _) = match &value.value {
            Yaml::List(items) => (items, true),
            _ => (std::slice::from_ref(value), false),
        };
        if nodes.is_empty() {
            return Err(Refusal::invalid("an empty list matches nothing", "give values"));
        }
        let values = nodes.iter().map(scalar).collect::<Result<_, _>>()?;
        Ok(Self {
            field,
            values,
            is_list,
            all: false,
            cased: false,
            negated: false,
            compare: None,
            time_part: None,
            anchored: false,
            applied: Vec::new(),
        })
    }

    /// Replaces every value, alternatives included.
    pub fn map(&mut self, mut f: impl FnMut(Val) -> Result<Val, Refusal>) -> Result<(), Refusal> {
        fn each(
            value: Val,
            f: &mut impl FnMut(Val) -> Result<Val, Refusal>,
        ) -> Result<Val, Refusal> {
            match value {
                Val::AnyOf(list) => {
                    list.into_iter().map(|v| each(v, f)).collect::<Result<_, _>>().map(Val::AnyOf)
                }
                other => f(other),
            }
        }
        let values = std::mem::take(&mut self.values);
        self.values = values.into_iter().map(|v| each(v, &mut f)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Refuses when the modifier `name` does not come first.
    pub fn must_be_first(&self, name: &str) -> Result<(), Refusal> {
        match self.applied.last() {
            None => Ok(()),
            Some(before) => Err(Refusal::invalid(
                format!("`{name}` cannot follow `{before}`"),
                format!("write `{name}` directly after the field"),
            )),
        }
    }

    fn finish(self) -> Result<Plan, Refusal> {
        let plans = self
            .values
            .iter()
            .map(|value| self.value_plan(value))
            .collect::<Result<Vec<_>, _>>()?;
        let plan = if self.all { Plan::and(plans) } else { Plan::or(plans) };
        Ok(if self.negated { plan.not() } else { plan })
    }

    fn value_plan(&self, value: &Val) -> Result<Plan, Refusal> {
        let target = || match &self.field {
            Some(name) => Target::Field(name.clone()),
            None => Target::Keyword,
        };
        let leaf = |test| Ok(Plan::leaf(target(), test));
        if let Some(test) = self.comparison(value)? {
            return leaf(test);
        }
        match value {
            Val::Text { parts, .. } => leaf(self.text(parts)?),
            Val::DashClasses { parts } => leaf(dash_classes(&self.placed(parts), self.cased)?),
            // Another spelling of the same fraction is the same number; integers compare as text.
            Val::Number(Number::Float(f), _) if self.field.is_some() => leaf(Test::Compare {
                op: CompareOp::Eq,
                operand: Operand::Number(Number::Float(*f)),
            }),
            Val::Number(_, text) => leaf(self.text(&[Part::Text(text.clone())])?),
            Val::Bool(b) => leaf(self.text(&[Part::Text(b.to_string())])?),
            Val::Null if self.field.is_some() => leaf(Test::Null),
            Val::Null => Err(Refusal::invalid("null is not a keyword", "remove it")),
            Val::Regex { source, flags } => leaf(regex(source, flags)?),
            Val::Cidr(net) => leaf(Test::Cidr(*net)),
            Val::FieldRef { name, op } => {
                leaf(Test::Field { op: *op, other: name.as_str().into(), cased: self.cased })
            }
            Val::Exists(true) => leaf(Test::Exists),
            Val::Exists(false) => Ok(Plan::leaf(target(), Test::Exists).not()),
            Val::Bytes(_) => Err(Refusal::invalid(
                "UTF-16 text never occurs in a field's text",
                "follow it with base64 or base64offset",
            )),
            Val::AnyOf(list) => {
                let plans = list.iter().map(|v| self.value_plan(v)).collect::<Result<Vec<_>, _>>();
                Ok(Plan::or(plans?))
            }
        }
    }

    fn text(&self, parts: &[Part]) -> Result<Test, Refusal> {
        pattern::text_test(&self.placed(parts), self.cased)
            .map_err(|e| Refusal::not_covered(e.to_string(), "shorten the value"))
    }

    /// Keywords stand anywhere unless the author anchored them.
    fn placed<'a>(&self, parts: &'a [Part]) -> Cow<'a, [Part]> {
        if self.field.is_some() || self.anchored {
            return parts.into();
        }
        let edge = std::iter::once(Part::Any);
        edge.clone().chain(parts.iter().cloned()).chain(edge).collect()
    }

    fn comparison(&self, value: &Val) -> Result<Option<Test>, Refusal> {
        if self.compare.is_none() && self.time_part.is_none() {
            return Ok(None);
        }
        let number = match value {
            Val::Number(number, _) => Some(*number),
            Val::Text { raw, .. } => Number::parse(raw.as_bytes()),
            _ => None,
        };
        let Some(number) = number else {
            let last = self.applied.last().copied().unwrap_or_default();
            return Err(Refusal::invalid(format!("`{last}` needs a number"), "give a number"));
        };
        let operand = match (self.time_part, number) {
            (None, number) => Operand::Number(number),
            (Some(part), Number::Int(n)) => {
                let n = i64::try_from(n)
                    .map_err(|_| Refusal::invalid("number out of range", "check the value"))?;
                Operand::Part(part, n)
            }
            (Some(_), Number::Float(_)) => {
                return Err(Refusal::invalid("a part of a date is a whole number", "drop the dot"));
            }
        };
        Ok(Some(Test::Compare { op: self.compare.unwrap_or(CompareOp::Eq), operand }))
    }
}

fn scalar(node: &Node) -> Result<Val, Refusal> {
    Ok(match &node.value {
        Yaml::Null => Val::Null,
        Yaml::Bool(b) => Val::Bool(*b),
        Yaml::Int(n) => Val::Number(Number::Int(*n), n.to_string()),
        Yaml::Float(f) => Val::Number(Number::Float(*f), f.to_string()),
        Yaml::Text(raw) => Val::Text { raw: raw.clone(), parts: string::parse(raw) },
        Yaml::List(_) | Yaml::Map(_) => {
            let reason = format!("{} cannot be the value of a field", node.kind());
            return Err(Refusal::invalid(reason, "give text or a number").at(node.at));
        }
    })
}

/// An expression over the whole value in which option dashes are classes.
fn dash_classes(parts: &[Part], cased: bool) -> Result<Test, Refusal> {
    let mut source = String::from("\\A");
    for part in parts {
        match part {
            Part::Text(text) => source.push_str(&windash::class_source(text)),
            Part::Any => source.push_str("(?-u:.)*"),
            Part::One => source.push_str("(?:.|(?-u:[\\x80-\\xff]))"),
        }
    }
    source.push_str("\\z");
    regex(&source, if cased { "s" } else { "si" })
}

/// Size limit of one expression that an author wrote: SigmaHQ's largest, with Unicode classes under
/// bounded repetition, needs between 1 and 8 MiB.
const REGEX_BYTES_MAX: usize = 8 << 20;

fn regex(source: &str, flags: &str) -> Result<Test, Refusal> {
    let whole = if flags.is_empty() { source.to_owned() } else { format!("(?{flags}){source}") };
    regex::bytes::RegexBuilder::new(&whole)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map(|regex| Test::Regex { shown: whole.as_str().into(), regex })
        .map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim().to_owned();
            let hint = match error {
                regex::Error::CompiledTooBig(_) => "use shorter repetitions",
                _ => "only what a linear-time engine knows: no look-around, no back-references",
            };
            Refusal::not_covered(format!("regular expression: {reason}"), hint)
        })
}
