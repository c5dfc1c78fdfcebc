//! One line of a selection, `field|modifier|modifier: values`, on its way to a plan.
//!
//! ```text
//! YAML value(s) -> Item { values } --modifier 1--> --modifier 2--> ... --pipelines--> Item
//! Item --lower--> filter::Plan
//! ```
//! Modifiers are applied from left to right; each changes the values or sets how they combine.
//! Pipelines see the item afterwards, as those of the reference implementation do.

use crate::sigma::lowering::{self, Lowering};
use crate::sigma::modifiers::{MODIFIERS, time_part};
use crate::sigma::problem::{Position, Refusal};
use crate::sigma::string::{self, Piece};
use crate::sigma::yaml::{Node, Yaml};
use filter::{CompareOp, Number, Operand, Part, Plan, Target, Test, TextOp, TimePart};
use std::borrow::Cow;
use std::sync::Arc;

/// Most values of one line, alternatives counted each: as many as a plan has leaves.
pub const VALUES_MAX: usize = filter::plan::LEAVES_MAX;

/// The state that modifiers work on.
#[derive(Clone, Debug)]
pub struct Item {
    /// Field name; `None` for keywords.
    pub field: Option<Box<str>>,
    /// The values so far, each with its place.
    pub values: Vec<(Val, Position)>,
    /// Whether the document gave a list.
    pub is_list: bool,
    /// All values must hold instead of one.
    pub all: bool,
    /// Text is compared exactly.
    pub cased: bool,
    /// The values are base64 text, which is compared exactly unless a setting says otherwise.
    pub encoded: bool,
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
    /// Where it stands.
    pub at: Position,
    /// Pipeline steps that changed it.
    pub steps: Vec<Arc<str>>,
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
    /// A Sigma string with placeholders that wait for their values.
    Template {
        /// Text, wildcards and placeholders.
        pieces: Vec<Piece>,
    },
    /// A regular expression with placeholders that wait for their values.
    RegexTemplate {
        /// Text and placeholders.
        pieces: Vec<Piece>,
        /// Flags of the expression.
        flags: String,
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
    /// A Sigma string, in which `*` and `?` are wildcards.
    pub fn sigma(text: &str) -> Self {
        Val::Text { parts: string::parse(text), raw: text.to_owned() }
    }

    /// What pieces make: of an expression if there are `flags`, else of a Sigma string.
    pub fn of_pieces(pieces: Vec<Piece>, flags: Option<String>) -> Self {
        let part = |piece: &Piece| match piece {
            Piece::Part(part) => Some(part.clone()),
            Piece::Placeholder(_) => None,
        };
        let parts: Option<Vec<Part>> = pieces.iter().map(part).collect();
        match (parts, flags) {
            (Some(parts), None) => Val::Text { raw: string::written(&parts), parts },
            (None, None) => Val::Template { pieces },
            (Some(parts), Some(flags)) => Val::Regex { source: string::texts(&parts), flags },
            (None, Some(flags)) => Val::RegexTemplate { pieces, flags },
        }
    }

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

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Val::Text { .. } | Val::DashClasses { .. } => "text",
            Val::Template { .. } => "text with placeholders",
            Val::RegexTemplate { .. } => "an expression with placeholders",
            Val::Number(..) => "a number",
            Val::Bool(_) => "a boolean",
            Val::Null => "null",
            Val::Regex { .. } => "a regular expression",
            Val::Cidr(_) => "a network",
            Val::FieldRef { .. } => "a field",
            Val::Exists(_) => "presence",
            Val::Bytes(_) => "UTF-16 bytes (encode them with base64 first)",
            Val::AnyOf(_) => "alternatives",
        }
    }

    fn count(&self) -> usize {
        match self {
            Val::AnyOf(list) => list.iter().map(Val::count).sum(),
            _ => 1,
        }
    }
}

/// Splits a selection's key into field and modifiers and applies them to its value.
///
/// # Errors
/// Unknown or misplaced modifiers, and values they cannot take.
pub fn read(key: &str, value: &Node) -> Result<Item, Refusal> {
    let mut names = key.split('|');
    let field: Option<Box<str>> = names.next().filter(|f| !f.is_empty()).map(Box::from);
    if field.as_deref().is_some_and(|name| name.trim() != name) {
        let reason = "white space at an end of the field's name";
        return Err(Refusal::misspelt(reason, "take it out: names are compared exactly"));
    }
    let mut item = Item::new(field, value)?;
    let mut before = key.find('|').unwrap_or_default();
    for name in names {
        let modifier = MODIFIERS.iter().find(|m| m.name() == name).ok_or_else(|| {
            let letters = key[..before].chars().count() as u32;
            let column = value.key_at.column.saturating_add(letters + 1);
            unknown_modifier(name).at(Position { column, ..value.key_at })
        })?;
        before += 1 + name.len();
        if item.applied.contains(&"exists") {
            let reason = format!("`{name}` cannot follow `exists`");
            return Err(Refusal::invalid(reason, "`exists` stands alone"));
        }
        modifier.apply(&mut item)?;
        item.applied.push(modifier.name());
    }
    Ok(item)
}

fn unknown_modifier(name: &str) -> Refusal {
    let known = MODIFIERS.iter().map(|m| m.name());
    let hint = match event::text::nearest(name, known) {
        Some(best) => format!("did you mean `{best}`?"),
        None => "see docs/sigma.md for the modifiers that exist".to_owned(),
    };
    Refusal::misspelt(format!("unknown modifier `{name}`"), hint)
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
        if nodes.len() > VALUES_MAX {
            let reason = format!("more than {VALUES_MAX} values");
            return Err(Refusal::not_covered(reason, "split the rule"));
        }
        let values = nodes.iter().map(|n| Ok((scalar(n)?, n.at))).collect::<Result<_, _>>()?;
        Ok(Self {
            field,
            values,
            is_list,
            all: false,
            cased: false,
            encoded: false,
            negated: false,
            compare: None,
            time_part: None,
            anchored: false,
            applied: Vec::new(),
            at: value.at,
            steps: Vec::new(),
        })
    }

    /// `field|modifiers`, as in the document.
    pub fn key(&self) -> String {
        let field = self.field.as_deref().unwrap_or_default();
        std::iter::once(field).chain(self.applied.iter().copied()).collect::<Vec<_>>().join("|")
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
        let mut count = 0;
        for (value, at) in values {
            let value = each(value, &mut f).map_err(|r| r.at(at))?;
            count += value.count();
            if count > VALUES_MAX {
                let reason = format!("more than {VALUES_MAX} values after modifiers");
                return Err(Refusal::not_covered(reason, "split the rule").at(at));
            }
            self.values.push((value, at));
        }
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

    /// Lowers it. Values that make no sense under the modifiers, and what cannot be honoured exactly,
    /// are noted in `refused`, each of them; then there is no plan.
    pub fn lower(&self, lowering: &mut Lowering<'_>, refused: &mut Vec<Refusal>) -> Option<Plan> {
        let mut plans = Vec::with_capacity(self.values.len());
        for (value, at) in &self.values {
            match self.value_plan(value, lowering) {
                Ok(plan) => plans.push(plan),
                Err(refusal) => refused.push(refusal.at(*at)),
            }
        }
        if !refused.is_empty() {
            return None;
        }
        let plan = if self.all { Plan::and(plans) } else { Plan::or(plans) };
        if !self.negated {
            return Some(plan);
        }
        match &self.field {
            Some(field) if lowering.settings.neq_needs_field => {
                let there = Plan::leaf(Target::Field(field.clone()), Test::Exists);
                Some(Plan::and([there, plan.not()]))
            }
            _ => Some(plan.not()),
        }
    }

    fn value_plan(&self, value: &Val, lowering: &mut Lowering<'_>) -> Result<Plan, Refusal> {
        let target = || match &self.field {
            Some(name) => Target::Field(name.clone()),
            None => Target::Keyword,
        };
        let leaf = |test| Ok(Plan::leaf(target(), test));
        if let Some(test) = self.comparison(value)? {
            return leaf(test);
        }
        let cased = self.cased || (self.encoded && !lowering.settings.base64_ignores_case);
        let mut text = |parts: &[Part]| lowering.text(&self.placed(parts)?, cased);
        match value {
            Val::Text { parts, .. } => leaf(text(parts)?),
            // Another spelling of the same fraction is the same number; integers compare as text.
            Val::Number(Number::Float(f), _) if self.field.is_some() => leaf(Test::Compare {
                op: CompareOp::Eq,
                operand: Operand::Number(Number::Float(*f)),
            }),
            Val::Number(_, number) => leaf(text(&[Part::Text(number.clone())])?),
            Val::Bool(b) => leaf(text(&[Part::Text(b.to_string())])?),
            Val::Null if self.field.is_none() => {
                Err(Refusal::invalid("null is not a keyword", "remove it"))
            }
            Val::Null if lowering.settings.null_includes_empty => {
                let empty = Plan::leaf(target(), Test::text(TextOp::Equals, "", true));
                Ok(Plan::or([Plan::leaf(target(), Test::Null), empty]))
            }
            Val::Null => leaf(Test::Null),
            Val::DashClasses { parts } => {
                leaf(lowering::dash_classes(&self.placed(parts)?, cased, lowering)?)
            }
            Val::Regex { source, flags } => leaf(lowering.pcre(source, flags)?),
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
            Val::Template { pieces } => {
                let values = lowering.resolved(pieces)?;
                let plans = values.iter().map(|parts| {
                    Ok(Plan::leaf(target(), lowering.text(&self.placed(parts)?, cased)?))
                });
                Ok(Plan::or(plans.collect::<Result<Vec<_>, Refusal>>()?))
            }
            Val::RegexTemplate { pieces, flags } => {
                let sources = lowering.expressions(pieces)?;
                let plans = sources
                    .iter()
                    .map(|source| Ok(Plan::leaf(target(), lowering.pcre(source, flags)?)));
                Ok(Plan::or(plans.collect::<Result<Vec<_>, Refusal>>()?))
            }
            Val::AnyOf(list) => {
                let plans = list.iter().map(|v| self.value_plan(v, lowering));
                Ok(Plan::or(plans.collect::<Result<Vec<_>, _>>()?))
            }
        }
    }

    /// Keywords stand anywhere unless the author anchored them.
    fn placed<'a>(&self, parts: &'a [Part]) -> Result<Cow<'a, [Part]>, Refusal> {
        if self.field.is_some() {
            return Ok(parts.into());
        }
        if parts.iter().all(|p| *p == Part::Any || *p == Part::Text(String::new())) {
            let reason = "a keyword without text is found in every event";
            return Err(Refusal::invalid(reason, "give the text to look for"));
        }
        if self.anchored {
            return Ok(parts.into());
        }
        let edge = std::iter::once(Part::Any);
        Ok(edge.clone().chain(parts.iter().cloned()).chain(edge).collect())
    }

    fn comparison(&self, value: &Val) -> Result<Option<Test>, Refusal> {
        if self.compare.is_none() && self.time_part.is_none() {
            return Ok(None);
        }
        let number = match value {
            Val::Number(number, _) => Some(*number),
            Val::Text { parts, .. } => {
                string::plain(parts).and_then(|text| Number::parse(text.as_bytes()))
            }
            _ => None,
        };
        let Some(number) = number else {
            let last = self.applied.last().copied().unwrap_or_default();
            let reason = format!("`{last}` needs a number, not {}", value.kind());
            return Err(Refusal::invalid(reason, "give a number"));
        };
        let operand = match (self.time_part, number) {
            (None, number) => Operand::Number(number),
            (Some(part), Number::Int(n)) => {
                let n = i64::try_from(n)
                    .map_err(|_| Refusal::invalid("number out of range", "check the value"))?;
                time_part::check(part, self.compare, n)?;
                Operand::Part(part, n)
            }
            (Some(_), Number::Float(_)) => {
                return Err(Refusal::invalid("a part of a date is a whole number", "drop the dot"));
            }
        };
        Ok(Some(Test::Compare { op: self.compare.unwrap_or(CompareOp::Eq), operand }))
    }
}

/// A value as written.
///
/// # Errors
/// A list, a map, or a number that is none.
pub fn scalar(node: &Node) -> Result<Val, Refusal> {
    Ok(match &node.value {
        Yaml::Null => Val::Null,
        Yaml::Bool(b) => Val::Bool(*b),
        Yaml::Int(n) => Val::Number(Number::Int(*n), n.to_string()),
        // YAML has no integers beyond 64 bits; their digits are exact all the same.
        Yaml::Float(_, text) if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') => {
            match text.parse::<i128>() {
                Ok(n) => Val::Number(Number::Int(n), n.to_string()),
                Err(_) => Val::plain(text.as_str()),
            }
        }
        Yaml::Float(f, text) if f.is_finite() => Val::Number(Number::Float(*f), text.clone()),
        Yaml::Float(..) => {
            let reason = "infinity and not-a-number equal no value";
            return Err(Refusal::invalid(reason, "quote it if it is text").at(node.at));
        }
        Yaml::Text(raw) => Val::sigma(raw),
        Yaml::List(_) | Yaml::Map(_) => {
            let reason = format!("{} cannot be the value of a field", node.kind());
            return Err(Refusal::invalid(reason, "give text or a number").at(node.at));
        }
    })
}
