//! When a step acts: conditions on rules, on items and on field names.

use super::draft::{Body, Draft};
use super::params::Params;
use super::step::Known;
use crate::sigma::condition::Expr;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use crate::sigma::rule::LogSource;
use crate::sigma::yaml::{Node, Yaml};
use event::Level;
use filter::Part;
use regex::Regex;
use std::collections::BTreeMap;

/// Conditions of one kind and how they combine.
#[derive(Debug)]
pub struct Conditions<C> {
    /// With their names; numbered if the document gave a list.
    pub list: Vec<(String, C)>,
    /// How.
    pub linking: Linking,
    /// Whether the result is turned round.
    pub negated: bool,
}

/// How conditions combine.
#[derive(Debug)]
pub enum Linking {
    /// All hold.
    All,
    /// One holds.
    Any,
    /// An expression over their names, each of which exists.
    Expression(Expr),
}

impl<C> Conditions<C> {
    /// Whether they hold, with `holds` saying it of each. No condition always holds.
    pub fn hold(&self, holds: impl Fn(&C) -> bool) -> bool {
        if self.list.is_empty() {
            return true;
        }
        let result = match &self.linking {
            Linking::All => self.list.iter().all(|(_, c)| holds(c)),
            Linking::Any => self.list.iter().any(|(_, c)| holds(c)),
            Linking::Expression(expr) => self.expression(expr, &holds),
        };
        result != self.negated
    }

    fn expression(&self, expr: &Expr, holds: &impl Fn(&C) -> bool) -> bool {
        match expr {
            Expr::Name(name) => self.list.iter().any(|(n, c)| n == name && holds(c)),
            Expr::And(parts) => parts.iter().all(|p| self.expression(p, holds)),
            Expr::Or(parts) => parts.iter().any(|p| self.expression(p, holds)),
            Expr::Not(part) => !self.expression(part, holds),
            Expr::Of(..) => false,
        }
    }
}

/// A condition that can be read from its parameters.
pub trait Readable: Sized {
    /// Reads the condition of that `type`; `Ok(None)` if there is none.
    ///
    /// # Errors
    /// A parameter is wrong.
    fn read(kind: &str, params: &mut Params<'_>) -> Result<Option<Self>, Refusal>;
    /// The types there are.
    const KINDS: &'static [&'static str];
}

/// On a whole rule.
#[derive(Debug)]
pub enum RuleCondition {
    /// Its logsource (one of them, for a correlation) names at least these components.
    LogSource(LogSource),
    /// It has an item with that field and value.
    ContainsItem {
        /// The field.
        field: String,
        /// The value.
        value: Box<Val>,
    },
    /// It has an item with that field.
    ContainsField(String),
    /// The step of that id was applied.
    StepApplied(String),
    /// What `set_state` set compares so.
    State(State),
    /// It is about single events.
    IsDetection,
    /// It is a correlation.
    IsCorrelation,
    /// An attribute of the document compares so.
    Attribute {
        /// Which.
        name: String,
        /// With what.
        value: String,
        /// How.
        op: AttributeOp,
    },
    /// It has the tag.
    Tag(String),
}

/// How an attribute is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as named")]
pub enum AttributeOp {
    Eq,
    Ne,
    Gte,
    Gt,
    Lte,
    Lt,
    In,
    NotIn,
}

const ATTRIBUTE_OPS: &[(&str, AttributeOp)] = &[
    ("eq", AttributeOp::Eq),
    ("ne", AttributeOp::Ne),
    ("gte", AttributeOp::Gte),
    ("gt", AttributeOp::Gt),
    ("lte", AttributeOp::Lte),
    ("lt", AttributeOp::Lt),
    ("in", AttributeOp::In),
    ("not_in", AttributeOp::NotIn),
];

fn read_op(params: &mut Params<'_>) -> Result<AttributeOp, Refusal> {
    let at = params.at;
    let op = params.optional_text("op")?.unwrap_or_else(|| "eq".into());
    let known = ATTRIBUTE_OPS.iter().find(|(name, _)| *name == op).map(|(_, op)| *op);
    known.ok_or_else(|| {
        let hint = "use eq, ne, gte, gt, lte, lt, in or not_in";
        Refusal::invalid("unknown `op`", hint).at(at)
    })
}

/// On what `set_state` has set. A key that was never set satisfies nothing.
#[derive(Debug)]
pub struct State {
    key: String,
    value: String,
    op: AttributeOp,
}

impl State {
    fn read(params: &mut Params<'_>) -> Result<Self, Refusal> {
        let op = read_op(params)?;
        Ok(Self { key: params.text("key")?, value: params.text("val")?, op })
    }

    fn holds(&self, state: &BTreeMap<String, String>) -> bool {
        state.get(&self.key).is_some_and(|text| compares(text, &self.value, self.op))
    }
}

impl Readable for RuleCondition {
    const KINDS: &'static [&'static str] = &[
        "logsource",
        "contains_detection_item",
        "contains_field",
        "processing_item_applied",
        "processing_state",
        "is_sigma_rule",
        "is_sigma_correlation_rule",
        "rule_attribute",
        "tag",
    ];

    fn read(kind: &str, params: &mut Params<'_>) -> Result<Option<Self>, Refusal> {
        Ok(Some(match kind {
            "logsource" => Self::LogSource(logsource(params)?),
            "contains_detection_item" => Self::ContainsItem {
                field: params.text("field")?,
                value: Box::new(value(params.required("value")?)?),
            },
            "contains_field" => Self::ContainsField(params.text("field")?),
            "processing_item_applied" => Self::StepApplied(params.text("processing_item_id")?),
            "processing_state" => Self::State(State::read(params)?),
            "is_sigma_rule" => Self::IsDetection,
            "is_sigma_correlation_rule" => Self::IsCorrelation,
            "rule_attribute" => {
                let op = read_op(params)?;
                Self::Attribute {
                    name: params.text("attribute")?,
                    value: params.text("value")?,
                    op,
                }
            }
            "tag" => Self::Tag(params.text("tag")?),
            _ => return Ok(None),
        }))
    }
}

impl RuleCondition {
    /// Whether it holds for the rule.
    pub fn holds(&self, draft: &Draft<'_>) -> bool {
        match self {
            Self::LogSource(wanted) => draft.logsources.iter().any(|l| wanted.covers(l)),
            Self::ContainsItem { field, value } => draft.any_item(|item| {
                item.field.as_deref() == Some(field)
                    && item.values.iter().any(|(v, _)| same(v, value))
            }),
            Self::ContainsField(field) => {
                draft.any_item(|item| item.field.as_deref() == Some(field))
            }
            Self::StepApplied(id) => draft.applied.contains(id.as_str()),
            Self::State(state) => state.holds(&draft.state),
            Self::IsDetection => matches!(draft.body, Body::Detection(_) | Body::Filter(_)),
            Self::IsCorrelation => matches!(draft.body, Body::Correlation(_)),
            Self::Attribute { name, value, op } => attribute(draft.node.get(name), value, *op),
            Self::Tag(tag) => match draft.node.get("tags").map(|n| &n.value) {
                Some(Yaml::List(tags)) => {
                    tags.iter().any(|t| t.text().is_some_and(|t| t.eq_ignore_ascii_case(tag)))
                }
                _ => false,
            },
        }
    }
}

fn attribute(node: Option<&Node>, wanted: &str, op: AttributeOp) -> bool {
    let Some(node) = node else { return false };
    if let Yaml::List(items) = &node.value {
        let member = items.iter().any(|i| i.text().as_deref() == Some(wanted));
        return match op {
            AttributeOp::In => member,
            AttributeOp::NotIn => !member,
            AttributeOp::Ne => true,
            _ => false,
        };
    }
    node.text().is_some_and(|text| compares(&text, wanted, op))
}

/// Levels and numbers by their order, other texts as texts: dates as rules write them sort so.
fn compares(text: &str, wanted: &str, op: AttributeOp) -> bool {
    let order = match (Level::from_name(text), Level::from_name(wanted)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => match (text.parse::<f64>(), wanted.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.partial_cmp(&b),
            _ => Some(text.cmp(wanted)),
        },
    };
    order.is_some_and(|order| match op {
        AttributeOp::Eq | AttributeOp::In => order.is_eq(),
        AttributeOp::Ne | AttributeOp::NotIn => order.is_ne(),
        AttributeOp::Gte => order.is_ge(),
        AttributeOp::Gt => order.is_gt(),
        AttributeOp::Lte => order.is_le(),
        AttributeOp::Lt => order.is_lt(),
    })
}

/// On one item.
#[derive(Debug)]
pub enum ItemCondition {
    /// On its values.
    Values {
        /// What each must be.
        test: ValueTest,
        /// All values instead of one.
        all: bool,
    },
    /// The step of that id changed it.
    StepApplied(String),
    /// What `set_state` set compares so.
    State(State),
}

/// On one value.
#[derive(Debug)]
pub enum ValueTest {
    /// Its text starts with what the expression says; or does not.
    Text(Regex, bool),
    /// It is this value.
    Equals(Box<Val>),
    /// It has a wildcard.
    Wildcard,
    /// It is null.
    Null,
}

impl Readable for ItemCondition {
    const KINDS: &'static [&'static str] = &[
        "match_string",
        "match_value",
        "contains_wildcard",
        "is_null",
        "processing_item_applied",
        "processing_state",
    ];

    fn read(kind: &str, params: &mut Params<'_>) -> Result<Option<Self>, Refusal> {
        let test = match kind {
            "match_string" => {
                let pattern = params.required("pattern")?;
                ValueTest::Text(anchored(pattern)?, params.flag("negate")?)
            }
            "match_value" => ValueTest::Equals(Box::new(value(params.required("value")?)?)),
            "contains_wildcard" => ValueTest::Wildcard,
            "is_null" => ValueTest::Null,
            "processing_item_applied" => {
                return Ok(Some(Self::StepApplied(params.text("processing_item_id")?)));
            }
            "processing_state" => {
                return Ok(Some(Self::State(State::read(params)?)));
            }
            _ => return Ok(None),
        };
        let at = params.at;
        let all = match params.optional_text("cond")?.as_deref() {
            None | Some("any") => false,
            Some("all") => true,
            Some(_) => {
                return Err(Refusal::invalid("`cond` is any or all", "correct it").at(at));
            }
        };
        Ok(Some(Self::Values { test, all }))
    }
}

impl ItemCondition {
    /// Whether it holds for the item.
    pub fn holds(&self, item: &Item, known: &Known) -> bool {
        match self {
            Self::Values { test, all: false } => item.values.iter().any(|(v, _)| test.holds(v)),
            Self::Values { test, all: true } => item.values.iter().all(|(v, _)| test.holds(v)),
            Self::StepApplied(id) => item.steps.iter().any(|s| **s == **id),
            Self::State(state) => state.holds(&known.state),
        }
    }
}

impl ValueTest {
    fn holds(&self, value: &Val) -> bool {
        match self {
            Self::Text(regex, negated) => {
                shown(value).is_some_and(|text| regex.is_match(&text)) != *negated
            }
            Self::Equals(wanted) => same(value, wanted),
            Self::Wildcard => match value {
                Val::Text { parts, .. } => parts.iter().any(|p| !matches!(p, Part::Text(_))),
                _ => false,
            },
            Self::Null => *value == Val::Null,
        }
    }
}

/// On a field name.
#[derive(Debug)]
pub enum FieldCondition {
    /// It is one of these.
    Include(Names),
    /// It is none of these; a keyword has no name and is none of them.
    Exclude(Names),
    /// The step of that id changed the item.
    StepApplied(String),
    /// What `set_state` set compares so.
    State(State),
}

/// Field names.
#[derive(Debug)]
pub enum Names {
    /// As written.
    Plain(Vec<String>),
    /// As expressions for their start.
    Patterns(Vec<Regex>),
}

impl Names {
    fn has(&self, field: Option<&str>) -> bool {
        field.is_some_and(|field| match self {
            Names::Plain(names) => names.iter().any(|n| n == field),
            Names::Patterns(patterns) => patterns.iter().any(|p| p.is_match(field)),
        })
    }
}

impl Readable for FieldCondition {
    const KINDS: &'static [&'static str] =
        &["include_fields", "exclude_fields", "processing_item_applied", "processing_state"];

    fn read(kind: &str, params: &mut Params<'_>) -> Result<Option<Self>, Refusal> {
        Ok(Some(match kind {
            "include_fields" => Self::Include(names(params)?),
            "exclude_fields" => Self::Exclude(names(params)?),
            "processing_item_applied" => Self::StepApplied(params.text("processing_item_id")?),
            "processing_state" => Self::State(State::read(params)?),
            _ => return Ok(None),
        }))
    }
}

impl FieldCondition {
    /// Whether it holds for a field name, of an item if it stands in one.
    pub fn holds(&self, field: Option<&str>, item: Option<&Item>, known: &Known) -> bool {
        match self {
            Self::Include(names) => names.has(field),
            Self::Exclude(names) => !names.has(field),
            Self::StepApplied(id) => item.is_some_and(|i| i.steps.iter().any(|s| **s == **id)),
            Self::State(state) => state.holds(&known.state),
        }
    }
}

fn names(params: &mut Params<'_>) -> Result<Names, Refusal> {
    let at = params.at;
    let node = params.required("fields")?;
    let mode = match params.optional_text("mode")? {
        Some(mode) => Some(mode),
        None => params.optional_text("type")?,
    };
    match mode.as_deref() {
        None | Some("plain") => Ok(Names::Plain(super::params::texts(node)?)),
        Some("re") => {
            let nodes = match &node.value {
                Yaml::List(items) => items.as_slice(),
                _ => std::slice::from_ref(node),
            };
            Ok(Names::Patterns(nodes.iter().map(anchored).collect::<Result<_, _>>()?))
        }
        Some(_) => Err(Refusal::invalid("`mode` is plain or re", "correct it").at(at)),
    }
}

/// The reference implementation matches from the start of the text.
fn anchored(node: &Node) -> Result<Regex, Refusal> {
    let source = super::params::text(node)?;
    regex(&format!("\\A(?:{source})")).map_err(|r| r.at(node.at))
}

/// An expression of a pipeline.
///
/// # Errors
/// Not an expression, or not a linear-time one.
pub fn regex(source: &str) -> Result<Regex, Refusal> {
    regex::RegexBuilder::new(source).size_limit(1 << 20).build().map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().to_owned();
        let hint = "only what a linear-time engine knows: no look-around, no back-references";
        Refusal::not_covered(format!("regular expression: {reason}"), hint)
    })
}

/// Components of a logsource.
///
/// # Errors
/// One of them is no text.
pub fn logsource(params: &mut Params<'_>) -> Result<LogSource, Refusal> {
    let mut part = |name: &str| -> Result<Option<Box<str>>, Refusal> {
        Ok(params.optional_text(name)?.map(String::into_boxed_str))
    };
    let (category, product, service) = (part("category")?, part("product")?, part("service")?);
    Ok(LogSource { product, category, service, definition: None })
}

/// A value as a rule would write it.
///
/// # Errors
/// A list or a map.
pub fn value(node: &Node) -> Result<Val, Refusal> {
    crate::sigma::item::scalar(node)
}

/// Equal in kind and content.
fn same(a: &Val, b: &Val) -> bool {
    match (a, b) {
        (Val::Text { parts: a, .. }, Val::Text { parts: b, .. }) => a == b,
        (Val::Number(a, _), Val::Number(b, _)) => a == b,
        (Val::AnyOf(list), wanted) => list.iter().any(|v| same(v, wanted)),
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Null, Val::Null) => true,
        _ => false,
    }
}

/// Text as the reference implementation shows it: wildcards as characters, nothing escaped.
pub fn shown(value: &Val) -> Option<String> {
    let Val::Text { parts, .. } = value else { return None };
    let text = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Any => "*".into(),
        Part::One => "?".into(),
    };
    Some(parts.iter().map(text).collect())
}
