//! Leaves shared by rules: equal tests on the same fields are one leaf of the set.

use super::literal;
use super::witness;
use crate::sigma::Rule;
use event::FieldId;
use filter::{Binding, Leaf, Target, Test, TextOp};
use hashbrown::HashMap;
use std::sync::Arc;

/// Where a leaf's values are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the first present field of a group.
    Group(u32),
    /// In the raw bytes and every cell.
    Keyword,
    /// Nowhere: the leaf is only ever evaluated.
    Nowhere,
}

/// What is known of a leaf when the set is compiled.
pub(crate) struct LeafInfo {
    /// A rule that has it.
    pub(crate) rule: u32,
    /// Its number in that rule's plan.
    pub(crate) local: u32,
    /// Number of rules that share it.
    pub(crate) uses: u32,
    pub(crate) place: Place,
    /// A hit in an index proves that it holds.
    pub(crate) is_certain: bool,
    /// How often it is expected to hold, see [`witness::expected_cost`]; `None` if it may hold
    /// without any value or cannot be looked up.
    pub(crate) expected: Option<f64>,
    /// The literals an expression stands behind, if it has some.
    pub(crate) literals: Option<Box<[Vec<u8>]>>,
}

/// All distinct leaves of a rule set.
#[derive(Default)]
pub(crate) struct Leaves {
    /// For every rule: its plan's leaf -> leaf of the set.
    pub(crate) of_rule: Vec<Box<[u32]>>,
    /// For every leaf of the set.
    pub(crate) all: Vec<LeafInfo>,
    /// Lists of fields that answer for the same name: the first present one gives the values.
    pub(crate) groups: Vec<Box<[FieldId]>>,
}

impl Leaves {
    /// Numbers the leaves of all rules.
    pub(crate) fn collect(rules: &[Arc<Rule>], bindings: &[Option<Binding>]) -> Self {
        let mut out = Self::default();
        let mut known: HashMap<Key<'_>, u32> = HashMap::new();
        let mut groups: HashMap<Box<[FieldId]>, u32> = HashMap::new();
        for (index, (rule, binding)) in rules.iter().zip(bindings).enumerate() {
            let (Some(plan), Some(binding)) = (rule.plan(), binding) else {
                out.of_rule.push(Box::default());
                continue;
            };
            let ids = plan.leaves.iter().enumerate().map(|(local, leaf)| {
                let fields = binding.fields(local as u32);
                let next = out.all.len() as u32;
                let id = *known.entry(Key::of(leaf, fields)).or_insert(next);
                if id == next {
                    let place = place(leaf, fields, &mut groups, &mut out.groups);
                    out.all.push(info(leaf, place, index as u32, local as u32));
                }
                out.all[id as usize].uses += 1;
                id
            });
            let ids = ids.collect();
            out.of_rule.push(ids);
        }
        for (leaf, info) in out.all.iter_mut().enumerate() {
            let plan = rules[info.rule as usize].plan();
            debug_assert!(plan.is_some(), "leaf {leaf} has no home");
            if let (Some(plan), true) = (plan, info.place != Place::Nowhere) {
                let definition = &plan.leaves[info.local as usize];
                info.expected =
                    witness::expected_cost(definition, info.literals.as_deref(), info.uses);
            }
        }
        out
    }

    /// Number of distinct leaves.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

fn info(leaf: &Leaf, place: Place, rule: u32, local: u32) -> LeafInfo {
    let literals = match &leaf.test {
        Test::Regex { regex, .. } => literal::required(regex.as_str()),
        _ => None,
    };
    // Raw bytes and cells are searched as one text: only where a piece may stand anywhere.
    let place = match (&leaf.target, &leaf.test) {
        (Target::Keyword, Test::Text { op: TextOp::Contains, folded, .. })
            if !folded.is_empty() =>
        {
            place
        }
        (Target::Keyword, Test::Regex { .. }) if literals.is_some() => place,
        (Target::Keyword, _) => Place::Nowhere,
        _ => place,
    };
    let is_certain = match &leaf.test {
        Test::Text { cased: false, folded, .. } => !folded.is_empty(),
        Test::Cidr(_) => true,
        _ => false,
    };
    let literals = literals.map(Vec::into_boxed_slice);
    LeafInfo { rule, local, uses: 0, place, is_certain, expected: None, literals }
}

/// Whether every way for the leaf to hold shows in the cells that are looked up, and where.
fn place(
    leaf: &Leaf,
    fields: &[FieldId],
    groups: &mut HashMap<Box<[FieldId]>, u32>,
    list: &mut Vec<Box<[FieldId]>>,
) -> Place {
    match &leaf.target {
        Target::Keyword => Place::Keyword,
        Target::Field(_) if fields.is_empty() => Place::Nowhere,
        // It holds for an object, too, whose values are those of other fields.
        Target::Field(_) if leaf.test.on_object() => Place::Nowhere,
        Target::Field(_) if fields.iter().any(|f| f.is_intrinsic() || f.is_local()) => {
            Place::Nowhere
        }
        Target::Field(_) => {
            let next = list.len() as u32;
            let group = *groups.entry_ref(fields).or_insert(next);
            if group == next {
                list.push(fields.into());
            }
            Place::Group(group)
        }
    }
}

/// Equal for leaves that always have the same verdict.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Text {
        target: Where<'a>,
        op: TextOp,
        text: &'a [u8],
        cased: bool,
    },
    Other {
        target: Where<'a>,
        test: String,
    },
    /// Fields below the name decide, too.
    Below {
        target: Where<'a>,
        name: &'a str,
        test: String,
    },
}

#[derive(PartialEq, Eq, Hash)]
enum Where<'a> {
    Keyword,
    Unknown(&'a str),
    Fields(&'a [FieldId]),
}

impl<'a> Key<'a> {
    fn of(leaf: &'a Leaf, fields: &'a [FieldId]) -> Self {
        let target = match &leaf.target {
            Target::Keyword => Where::Keyword,
            Target::Field(name) if fields.is_empty() => Where::Unknown(name),
            Target::Field(_) => Where::Fields(fields),
        };
        if let (Target::Field(name), true) = (&leaf.target, leaf.test.asks_below()) {
            return Key::Below { target, name, test: format!("{:?}", leaf.test) };
        }
        match &leaf.test {
            Test::Text { op, pattern, cased: true, .. } => {
                Key::Text { target, op: *op, text: pattern.as_bytes(), cased: true }
            }
            Test::Text { op, folded, .. } => {
                Key::Text { target, op: *op, text: folded, cased: false }
            }
            Test::Regex { regex, by_character, .. } => {
                Key::Other { target, test: format!("regex {by_character} {}", regex.as_str()) }
            }
            other => Key::Other { target, test: format!("{other:?}") },
        }
    }
}
