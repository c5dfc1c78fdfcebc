//! The single-event evaluator: one plan, one row, a verdict.

use crate::plan::{Below, Binding, LeafFields, Node, Plan, Target};
use crate::test::{Test, text_relation};
use event::{EventView, FieldId, Kind, Value};

impl Plan {
    /// Whether the plan holds for the row. `binding` must come from this plan and the row's
    /// dictionary or batch.
    pub fn matches(&self, binding: &Binding, row: &EventView<'_>) -> bool {
        self.node(&self.root, binding, row)
    }

    /// Whether leaf `index` alone holds.
    pub fn leaf_matches<'a>(&self, index: u32, binding: &Binding, row: &impl Values<'a>) -> bool {
        let leaf = &self.leaves[index as usize];
        match leaf.target {
            Target::Keyword => keyword_value(&leaf.test, &row.view()).is_some(),
            Target::Field(_) => field_leaf(&leaf.test, &binding.leaves[index as usize], row),
        }
    }

    fn node(&self, node: &Node, binding: &Binding, row: &EventView<'_>) -> bool {
        node.holds(&|index| self.leaf_matches(index, binding, row))
    }
}

/// A row whose values can be found by field. A caller that tests many leaves of one row may bring
/// an index over its cells.
pub trait Values<'a> {
    /// The row.
    fn view(&self) -> EventView<'a>;

    /// As [`EventView::all`].
    fn values(&self, field: FieldId) -> impl Iterator<Item = Value<'a>>;

    /// Whether the row has a part of one of these objects.
    fn has_below(&self, below: &Below) -> bool {
        has_part(&self.view(), below)
    }
}

impl<'a> Values<'a> for EventView<'a> {
    fn view(&self) -> EventView<'a> {
        *self
    }

    fn values(&self, field: FieldId) -> impl Iterator<Item = Value<'a>> {
        self.all(field)
    }
}

impl Node {
    /// Evaluates the tree with the verdicts of its leaves.
    pub fn holds(&self, verdict: &impl Fn(u32) -> bool) -> bool {
        match self {
            Node::Const(value) => *value,
            Node::Leaf(index) => verdict(*index),
            Node::And(parts) => parts.iter().all(|p| p.holds(verdict)),
            Node::Or(parts) => parts.iter().any(|p| p.holds(verdict)),
            Node::Not(part) => !part.holds(verdict),
            Node::AtLeast(n, parts) => {
                let mut missing = *n;
                parts.iter().any(|p| {
                    missing -= u32::from(missing > 0 && p.holds(verdict));
                    missing == 0
                }) || missing == 0
            }
            Node::Named(_, part) => part.holds(verdict),
        }
    }
}

fn field_leaf<'a>(test: &Test, fields: &LeafFields, row: &impl Values<'a>) -> bool {
    if let Test::Field { op, cased, .. } = test {
        return any_value(row, &fields.target, |a| {
            any_value(row, &fields.other, |b| {
                let null = a.kind == Kind::Null || b.kind == Kind::Null;
                !null && text_relation(*op, a.bytes, b.bytes, *cased)
            })
            .unwrap_or(false)
        })
        .unwrap_or(false);
    }
    any_value(row, &fields.target, |value| test.holds(value)).unwrap_or_else(|| {
        let is_object = !fields.below.names.is_empty() && row.has_below(&fields.below);
        if is_object { test.on_object() } else { test.on_absent() }
    })
}

/// Whether a row has a part of one of these objects. Most of its fields are known to be none by their number.
fn has_part(row: &EventView<'_>, below: &Below) -> bool {
    row.cells().any(|(field, _)| match field.0 < below.known_below {
        true => below.known.binary_search(&field).is_ok(),
        false => is_part(row.batch().name(field), &below.names),
    })
}

/// The first field of a row that lies below one of `names`.
pub(crate) fn first_below(row: &EventView<'_>, names: &[Box<str>]) -> Option<FieldId> {
    row.cells().map(|(field, _)| field).find(|id| is_part(row.batch().name(*id), names))
}

/// Whether a field is part of one of these objects: `a.b` is of `a`.
pub fn is_part(field: &str, objects: &[Box<str>]) -> bool {
    let of = |object: &str| {
        field.as_bytes().get(object.len()) == Some(&b'.') && field.starts_with(object)
    };
    objects.iter().any(|object| of(object))
}

/// Whether any value of the first present field among `fields` holds; `None` if none is present.
pub(crate) fn any_value<'a>(
    row: &impl Values<'a>,
    fields: &[FieldId],
    mut holds: impl FnMut(Value<'_>) -> bool,
) -> Option<bool> {
    for field in fields {
        if field.is_intrinsic() {
            if let Some(text) = row.view().intrinsic_text(*field) {
                return Some(holds(Value { kind: Kind::Str, bytes: text.as_bytes() }));
            }
            // Large raw bytes are not copied: see `EventView::get`.
            continue;
        }
        let mut values = row.values(*field);
        if let Some(first) = values.next() {
            return Some(holds(first) || values.any(&mut holds));
        }
    }
    None
}

/// The value in which a keyword test holds: the raw record first, then each cell.
pub(crate) fn keyword_value<'a>(
    test: &Test,
    row: &EventView<'a>,
) -> Option<(Option<FieldId>, Value<'a>)> {
    let raw = Value { kind: Kind::Str, bytes: row.raw() };
    if test.holds(raw) {
        return Some((None, raw));
    }
    row.cells().find(|(_, value)| test.holds(*value)).map(|(field, value)| (Some(field), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::TextOp;
    use event::{Dictionary, Envelope, EventBatch, EventId, Protocol, RowHead};
    use std::sync::Arc;

    fn batch(cells: &[(&str, Kind, &str)], raw: &str) -> EventBatch {
        let mut batch = EventBatch::new(Dictionary::ecs());
        let envelope = Arc::new(Envelope::of("t", Protocol::File));
        let head = RowHead { id: EventId::at(1), received_ns: 0, stream_ns: 0, envelope };
        let mut row = batch.begin(head, raw.as_bytes());
        for (name, kind, text) in cells {
            let id = row.field(name);
            row.push(id, *kind, text.as_bytes());
        }
        row.finish();
        batch
    }

    fn field(name: &str, test: Test) -> Plan {
        Plan::leaf(Target::Field(name.into()), test)
    }

    fn verdict(plan: &Plan, batch: &EventBatch) -> bool {
        plan.matches(&plan.bind(batch), &batch.row(0))
    }

    #[test]
    fn absent_null_and_several_values() {
        let b =
            batch(&[("a", Kind::Str, "x"), ("a", Kind::Str, "y"), ("n", Kind::Null, "")], "raw");
        let eq = |f: &str, v: &str| field(f, Test::text(TextOp::Equals, v, false));
        assert!(verdict(&eq("a", "Y"), &b));
        assert!(!verdict(&eq("z", "Y"), &b));
        assert!(verdict(&eq("z", "Y").not(), &b));
        assert!(!verdict(&eq("n", ""), &b));
        assert!(verdict(&field("n", Test::Null), &b) && verdict(&field("z", Test::Null), &b));
        assert!(verdict(&field("n", Test::Exists), &b) && !verdict(&field("z", Test::Exists), &b));
    }

    /// Scenario: an object, known by the fields below it alone, in a batch that never saw its name.
    /// Guarantees: it is present and not null; it has no text; a longer name is not below it.
    #[test]
    fn an_object_is_present_and_has_no_text() {
        let b = batch(&[("a.b", Kind::Int, "1"), ("ab", Kind::Str, "x")], "raw");
        let text = |op, v: &str| Test::text(op, v, false);
        for (test, expected) in [
            (Test::Exists, true),
            (Test::Null, false),
            (text(TextOp::Contains, ""), true),
            (text(TextOp::Equals, ""), false),
            (text(TextOp::Equals, "1"), false),
        ] {
            assert_eq!(verdict(&field("a", test.clone()), &b), expected, "{test:?}");
            let plan = field("a", test);
            let told = plan.explain(&plan.bind(&b), &b.row(0));
            assert_eq!(told.matched, expected);
            assert_eq!(told.answered_by.as_deref(), Some("a.b"));
        }
        assert!(verdict(&field("a.b.c", Test::Null), &b));
        assert!(!verdict(&field("b", Test::Exists), &b));
    }

    #[test]
    fn keywords_look_everywhere_and_several_may_hold_in_different_places() {
        let b = batch(&[("a", Kind::Str, "foo"), ("b", Kind::Int, "4711")], "raw bytes bar");
        let kw = |v: &str| Plan::leaf(Target::Keyword, Test::text(TextOp::Contains, v, false));
        assert!(verdict(&Plan::and([kw("foo"), kw("BAR"), kw("471")]), &b));
        assert!(!verdict(&kw("baz"), &b));
    }

    #[test]
    fn groups_and_fields_compare() {
        let b = batch(&[("a", Kind::Str, "Foo"), ("b", Kind::Str, "foobar")], "");
        let rel = |op| {
            let test = Test::Field { op, other: "a".into(), cased: false };
            field("b", test)
        };
        assert!(verdict(&rel(TextOp::Prefix), &b) && !verdict(&rel(TextOp::Equals), &b));
        let two = |n| {
            let parts =
                [field("a", Test::Exists), field("b", Test::Exists), field("c", Test::Exists)];
            let mut plan = Plan::and(parts);
            if let Node::And(parts) = plan.root {
                plan.root = Node::AtLeast(n, parts);
            }
            plan
        };
        assert!(verdict(&two(2), &b) && !verdict(&two(3), &b) && verdict(&two(0), &b));
    }
}
