//! Which fields a row must have for a plan to hold: told before a value is read, for who asks many plans of
//! one row and knows its fields.

use crate::plan::{Binding, Leaf, Node, Plan, Target};
use crate::test::Test;
use event::FieldId;

/// What the presence of fields says of a plan. It only ever lets too many rows through.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    needs: Box<[Need]>,
    /// None of these fields.
    refuses: Box<[FieldId]>,
}

/// One of these fields.
#[derive(Clone, Debug)]
struct Need {
    fields: Box<[FieldId]>,
    /// Or one that only a batch knows: it may be part of an object that is asked for.
    or_others: bool,
}

impl Plan {
    /// What the presence of fields says of this plan, bound so.
    pub fn presence(&self, binding: &Binding) -> Presence {
        let parts = match &self.root {
            Node::And(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        let is_cell = |fields: &[FieldId]| fields.iter().all(|field| !field.is_intrinsic());
        let need = |leaf: u32| {
            let (test, fields) = (&self.leaves[leaf as usize].test, &binding.leaves[leaf as usize]);
            let may_be_object = !matches!(test, Test::Field { .. })
                && test.on_object()
                && !fields.below.names.is_empty();
            let is_told = matches!(self.leaves[leaf as usize].target, Target::Field(_))
                && !test.on_absent()
                && is_cell(&fields.target)
                && (!may_be_object || fields.below.known().is_empty());
            is_told.then(|| Need { fields: fields.target.clone(), or_others: may_be_object })
        };
        let leaf = |part: &Node| match part {
            Node::Leaf(leaf) => Some(*leaf),
            _ => None,
        };
        // `not field:*`: who has the field, whatever its value, is out.
        let refused = |part: &Node| {
            let Node::Not(inner) = part else { return None };
            let leaf = leaf(inner)? as usize;
            let (Leaf { test, target }, fields) = (&self.leaves[leaf], &binding.leaves[leaf]);
            let is_told = matches!((test, target), (Test::Exists, Target::Field(_)));
            (is_told && is_cell(&fields.target)).then(|| fields.target.iter().copied())
        };
        Presence {
            needs: parts.iter().filter_map(leaf).filter_map(need).collect(),
            refuses: parts.iter().filter_map(refused).flatten().collect(),
        }
    }
}

impl Presence {
    /// Whether the plan may hold for a row. `has` tells whether the row has a field of the generation;
    /// `has_others`: it has some that only its batch knows.
    pub fn may_hold(&self, has: impl Fn(FieldId) -> bool, has_others: bool) -> bool {
        !self.is_refused(&has) && self.has_needed(has, has_others)
    }

    /// Whether a row that has these fields, and may have more, cannot hold because of one of them.
    pub fn is_refused(&self, has: impl Fn(FieldId) -> bool) -> bool {
        self.refuses.iter().any(|field| has(*field))
    }

    /// Whether a row that may have these fields, and no more, has all that is needed.
    pub fn has_needed(&self, has: impl Fn(FieldId) -> bool, has_others: bool) -> bool {
        let is_met = |need: &Need| {
            need.fields.iter().any(|field| has(*field)) || need.or_others && has_others
        };
        self.needs.iter().all(is_met)
    }
}

#[cfg(test)]
mod tests {
    use event::{
        Dictionary, DictionaryBuilder, Envelope, EventBatch, EventId, Kind, Protocol, RowHead,
    };
    use std::sync::Arc;

    fn row(dict: &Arc<Dictionary>, names: &[&str]) -> EventBatch {
        let mut batch = EventBatch::new(dict.clone());
        let envelope = Arc::new(Envelope::of("t", Protocol::File));
        let head = RowHead { id: EventId::at(1), received_ns: 0, stream_ns: 0, envelope };
        let mut row = batch.begin(head, b"");
        for name in names {
            let id = row.field(name);
            row.push(id, Kind::Str, b"x");
        }
        row.finish();
        batch
    }

    /// Guarantees: a row that is kept out never fits; a plan that asks for a field is
    /// asked in vain only where a batch's own name might be part of it.
    #[test]
    fn no_row_that_fits_is_kept_out() {
        let mut names = DictionaryBuilder::new();
        for name in ["a", "b", "o.known", "c"] {
            names.field(name);
        }
        names.alias("alias", "a");
        let dict = names.build();
        let fields = ["a", "b", "c", "o.known", "p.local", "q"];
        let texts = [
            "a:x",
            "a:*",
            "not a:*",
            "a:* and not b:*",
            "a:x and b:y",
            "alias:* and not c:*",
            "o:* and a:*",
            "p:* and a:*",
            "not o:*",
            "not p:* and a:*",
            "a:null and b:*",
            "a:* or b:*",
            "not (a:* and b:*)",
            "@timestamp:* and a:*",
            "nowhere:* and a:*",
            "x",
        ];
        let mut out = 0;
        for text in texts {
            let plan = crate::search::parse_filter(text, 0).unwrap();
            let binding = plan.bind(&*dict);
            let presence = plan.presence(&binding);
            for set in 0..1 << fields.len() {
                let chosen = (0..fields.len()).filter(|bit| set >> bit & 1 == 1);
                let chosen: Vec<_> = chosen.map(|bit| fields[bit]).collect();
                let batch = row(&dict, &chosen);
                let row = batch.row(0);
                let has = |field| row.cells().any(|cell| cell.0 == field);
                let has_others = row.cells().any(|cell| cell.0.is_local());
                let may = presence.may_hold(has, has_others);
                assert!(may || !plan.matches(&binding, &row), "{text} {chosen:?}");
                out += usize::from(!may);
                if text == "a:*" && !has_others {
                    assert_eq!(may, plan.matches(&binding, &row), "{text} {chosen:?}");
                }
            }
        }
        assert!(out > 100, "{out}");
    }
}
