//! The recording evaluator: the same verdict as [`crate::evaluate`], with what was found where.

use crate::evaluate::{first_below, keyword_value};
use crate::plan::{Binding, Leaf, Node, Plan, Target};
use crate::test::{Test, TextOp};
use event::{EventView, Kind, Outcome, Value};

/// Longest value kept in an explanation, in bytes.
pub const ACTUAL_BYTES_MAX: usize = 4_096;
/// Most parts of one group kept in an explanation: those that hold come first.
pub const CHILDREN_MAX: usize = 64;

impl Plan {
    /// Evaluates and records every leaf: field, pattern, value found, span, reason of failure.
    pub fn explain(&self, binding: &Binding, row: &EventView<'_>) -> Outcome {
        self.explain_node(&self.root, binding, row)
    }

    fn explain_node(&self, node: &Node, binding: &Binding, row: &EventView<'_>) -> Outcome {
        let parts = |parts: &[Node]| -> Vec<Outcome> {
            parts.iter().map(|p| self.explain_node(p, binding, row)).collect()
        };
        let group = |op: &str, matched: bool, mut children: Vec<Outcome>| {
            if children.len() > CHILDREN_MAX {
                children.sort_by_key(|c| !c.matched);
                children.truncate(CHILDREN_MAX);
            }
            Outcome { matched, children, ..outcome(op) }
        };
        match node {
            Node::Const(value) => Outcome { matched: *value, ..outcome("const") },
            Node::Leaf(index) => {
                let leaf = &self.leaves[*index as usize];
                let matched = self.leaf_matches(*index, binding, row);
                explain_leaf(leaf, binding.fields(*index), matched, row)
            }
            Node::And(list) => {
                let children = parts(list);
                group("and", children.iter().all(|c| c.matched), children)
            }
            Node::Or(list) => {
                let children = parts(list);
                group("or", children.iter().any(|c| c.matched), children)
            }
            Node::AtLeast(n, list) => {
                let children = parts(list);
                let held = children.iter().filter(|c| c.matched).count();
                group("at_least", held >= *n as usize, children)
            }
            Node::Not(part) => {
                let child = self.explain_node(part, binding, row);
                group("not", !child.matched, vec![child])
            }
            Node::Named(name, part) => {
                let child = self.explain_node(part, binding, row);
                Outcome {
                    name: Some((**name).into()),
                    ..group("selection", child.matched, vec![child])
                }
            }
        }
    }
}

fn outcome(op: &str) -> Outcome {
    Outcome {
        op: op.into(),
        name: None,
        matched: false,
        field: None,
        answered_by: None,
        pattern: None,
        actual: None,
        span: None,
        reason: None,
        children: Vec::new(),
    }
}

fn explain_leaf(
    leaf: &Leaf,
    fields: &[event::FieldId],
    matched: bool,
    row: &EventView<'_>,
) -> Outcome {
    let mut out = Outcome {
        matched,
        pattern: Some(leaf.test.shown().into()),
        field: match &leaf.target {
            Target::Field(name) => Some((**name).into()),
            Target::Keyword => Some("keyword".into()),
        },
        ..outcome("leaf")
    };
    if leaf.target == Target::Keyword {
        match keyword_value(&leaf.test, row) {
            Some((field, value)) => {
                let by = field.map_or("event.original", |id| row.batch().name(id));
                out.answered_by = Some(by.into());
                record(&mut out, &leaf.test, value);
            }
            None => out.reason = Some("no_keyword_match".into()),
        }
        return out;
    }
    let mut first = None;
    let mut holding = None;
    for field in fields {
        if let Some(text) = row.intrinsic_text(*field) {
            out.answered_by = Some(row.batch().name(*field).into());
            record(&mut out, &leaf.test, Value { kind: Kind::Str, bytes: text.as_bytes() });
            break;
        }
        for value in row.all(*field) {
            first = first.or(Some((*field, value)));
            if holding.is_none() && leaf.test.holds(value) {
                holding = Some((*field, value));
            }
        }
        if first.is_some() {
            break;
        }
    }
    if let Some((field, value)) = holding.or(first) {
        out.answered_by = Some(row.batch().name(field).into());
        record(&mut out, &leaf.test, value);
    } else if let (Target::Field(name), None) = (&leaf.target, &out.answered_by) {
        let others = fields.iter().map(|id| row.batch().name(*id));
        let names: Vec<Box<str>> = std::iter::once(&**name).chain(others).map(Box::from).collect();
        out.answered_by = first_below(row, &names).map(|id| row.batch().name(id).into());
    }
    if !matched {
        let is_object = out.actual.is_none() && out.answered_by.is_some();
        out.reason = Some(match is_object {
            true => "field_is_object".into(),
            false => reason_of_failure(&leaf.test, out.actual.as_deref()).into(),
        });
        out.span = None;
    }
    out
}

fn record(out: &mut Outcome, test: &Test, value: Value<'_>) {
    let shown = &value.bytes[..value.bytes.len().min(ACTUAL_BYTES_MAX)];
    out.actual = Some(String::from_utf8_lossy(shown).into_owned());
    out.span = test.holds(value).then(|| test.span(value)).flatten();
}

fn reason_of_failure(test: &Test, actual: Option<&str>) -> &'static str {
    let Some(actual) = actual else { return "field_absent" };
    match test {
        Test::Exists | Test::Null => "existence",
        Test::Text { op, pattern, cased: true, .. } => {
            let loose = Test::text(*op, pattern, false);
            let value = Value { kind: Kind::Str, bytes: actual.as_bytes() };
            if loose.holds(value) { "case_mismatch" } else { "value_mismatch" }
        }
        Test::Text { op: TextOp::Equals, .. } => "value_mismatch",
        _ => "value_mismatch",
    }
}
