//! Leaves shared by rules: equal tests on the same fields are one leaf of the set.

use crate::sigma::Rule;
use event::FieldId;
use filter::{Binding, Leaf, Target, Test};
use hashbrown::HashMap;
use std::fmt::Write as _;

/// All distinct leaves of a rule set.
#[derive(Default)]
pub(crate) struct Leaves {
    /// For every rule: its plan's leaf -> leaf of the set.
    pub(crate) of_rule: Vec<Box<[u32]>>,
    /// For every leaf of the set: a rule that has it, and its place there.
    pub(crate) home: Vec<(u32, u32)>,
    /// How many rules use it.
    pub(crate) uses: Vec<u32>,
}

impl Leaves {
    /// Numbers the leaves of all rules.
    pub(crate) fn collect(rules: &[Rule], bindings: &[Option<Binding>]) -> Self {
        let mut out = Self::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        for (index, (rule, binding)) in rules.iter().zip(bindings).enumerate() {
            let (Some(plan), Some(binding)) = (rule.plan(), binding) else {
                out.of_rule.push(Box::default());
                continue;
            };
            let ids = plan.leaves.iter().enumerate().map(|(local, leaf)| {
                let key = key(leaf, binding.fields(local as u32));
                let next = out.home.len() as u32;
                let id = *known.entry(key).or_insert(next);
                if id == next {
                    out.home.push((index as u32, local as u32));
                    out.uses.push(0);
                }
                out.uses[id as usize] += 1;
                id
            });
            let ids = ids.collect();
            out.of_rule.push(ids);
        }
        out
    }

    /// Number of distinct leaves.
    pub(crate) fn len(&self) -> usize {
        self.home.len()
    }
}

/// Equal for leaves that always have the same verdict.
fn key(leaf: &Leaf, fields: &[FieldId]) -> String {
    let mut out = String::new();
    match &leaf.target {
        Target::Keyword => out.push('*'),
        Target::Field(name) if fields.is_empty() => out.push_str(name),
        Target::Field(_) => {
            for field in fields {
                let _ = write!(out, "{},", field.0);
            }
        }
    }
    out.push('\0');
    let _ = match &leaf.test {
        Test::Text { op, pattern, cased: true, .. } => write!(out, "cased {op:?} {pattern}"),
        Test::Text { op, folded, .. } => {
            write!(out, "text {op:?} {}", String::from_utf8_lossy(folded))
        }
        Test::Regex { regex, .. } => write!(out, "regex {}", regex.as_str()),
        Test::Cidr(net) => write!(out, "cidr {net}"),
        other => write!(out, "{other:?}"),
    };
    out
}
