//! Witnesses: leaves of a rule of which at least one holds whenever the rule does.

use filter::{Leaf, Node, Plan, Target, Test, TextOp};

/// A necessary set and what it is expected to cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Witness {
    /// Leaves of the plan, by index.
    pub(crate) leaves: Vec<u32>,
    /// Expected share of events that hit one of them, in arbitrary units.
    pub(crate) cost: f64,
}

/// The cheapest witness of a plan, or `None` if the plan may hold where no leaf does. An empty set
/// means that the plan never holds.
pub(crate) fn of(plan: &Plan, cost: &impl Fn(u32) -> Option<f64>) -> Option<Witness> {
    node(&plan.root, cost)
}

/// The cheapest necessary set that shares no part of the rule with `first`, if there is one.
pub(crate) fn second(
    plan: &Plan,
    first: &Witness,
    cost: &impl Fn(u32) -> Option<f64>,
) -> Option<Witness> {
    let mut parts = Vec::new();
    all_of(&plan.root, &mut parts);
    let others = parts.into_iter().filter_map(|part| node(part, cost));
    let others = others.filter(|w| w.leaves.iter().all(|leaf| !first.leaves.contains(leaf)));
    others.min_by(|a, b| a.cost.total_cmp(&b.cost))
}

/// The parts that all have to hold.
fn all_of<'p>(tree: &'p Node, out: &mut Vec<&'p Node>) {
    match tree {
        Node::And(parts) => parts.iter().for_each(|part| all_of(part, out)),
        Node::Named(_, part) => all_of(part, out),
        other => out.push(other),
    }
}

fn node(tree: &Node, cost: &impl Fn(u32) -> Option<f64>) -> Option<Witness> {
    match tree {
        Node::Const(true) | Node::Not(_) => None,
        Node::Const(false) => Some(Witness { leaves: Vec::new(), cost: 0.0 }),
        Node::Leaf(leaf) => cost(*leaf).map(|cost| Witness { leaves: vec![*leaf], cost }),
        Node::And(parts) => {
            let known = parts.iter().filter_map(|p| node(p, cost));
            known.min_by(|a, b| a.cost.total_cmp(&b.cost))
        }
        Node::Or(parts) => union(parts.iter().map(|p| node(p, cost))),
        Node::AtLeast(0, _) => None,
        // If n of m hold, then one of any m - n + 1 does: take the cheapest.
        Node::AtLeast(n, parts) => {
            let Some(enough) = (parts.len() + 1).checked_sub(*n as usize) else {
                return Some(Witness { leaves: Vec::new(), cost: 0.0 });
            };
            let mut known: Vec<_> = parts.iter().filter_map(|p| node(p, cost)).collect();
            known.sort_by(|a, b| a.cost.total_cmp(&b.cost));
            if known.len() < enough {
                return None;
            }
            union(known.into_iter().take(enough).map(Some))
        }
        Node::Named(_, part) => node(part, cost),
    }
}

fn union(parts: impl Iterator<Item = Option<Witness>>) -> Option<Witness> {
    let mut out = Witness { leaves: Vec::new(), cost: 0.0 };
    for part in parts {
        let part = part?;
        out.leaves.extend(part.leaves);
        out.cost += part.cost;
    }
    Some(out)
}

/// Fields that most events of a product carry with one of few values.
const COMMON_FIELDS: &[&str] = &[
    "EventID",
    "Channel",
    "Provider_Name",
    "event.code",
    "event.action",
    "eventSource",
    "type",
    "action",
    "IntegrityLevel",
    "Initiated",
    "User",
    "LogonType",
    "sc-status",
    "cs-method",
];

/// Cost of a leaf that holds for nearly every value of its field.
const ANY_VALUE: f64 = 400.0;

/// Texts that so many values hold that looking for them tells little.
const COMMON_TEXTS: &[&[u8]] = &[
    b".exe",
    b".dll",
    b"\\windows\\",
    b"c:\\windows\\",
    b"c:\\windows\\system32\\",
    b"\\windows\\system32\\",
    b"\\system32\\",
    b"\\system32",
    b"\\appdata\\",
    b"\\users\\",
    b"c:\\users\\",
    b"c:\\program files",
    b"\\svchost.exe",
    b"microsoft corporation",
];

/// Whether nearly every value holds the folded text, where it holds any like it.
pub(crate) fn is_common(folded: &[u8]) -> bool {
    COMMON_TEXTS.contains(&folded)
}

/// How often a leaf is expected to hold, in arbitrary units; `None` if it may hold without any
/// value. `literals` are those that an expression stands behind; `uses` is the number of rules that
/// share the leaf: what many rules ask for is common.
pub(crate) fn expected_cost(leaf: &Leaf, literals: Option<&[Vec<u8>]>, uses: u32) -> Option<f64> {
    let length = |text: &[u8]| text.len() as f64;
    let base = match &leaf.test {
        Test::Null => return None,
        Test::Text { folded, .. } if folded.is_empty() => ANY_VALUE,
        Test::Text { folded, .. } if is_common(folded) => ANY_VALUE / 2.0,
        Test::Text { op: TextOp::Equals, folded, .. } => 1.0 + 100.0 / length(folded).powi(2),
        Test::Text { op: TextOp::Contains, folded, .. } => 2.0 + 600.0 / length(folded).powi(2),
        Test::Text { folded, .. } => 2.0 + 300.0 / length(folded).powi(2),
        // An expression without a literal is tried on every value, which costs more than a hit.
        Test::Regex { .. } => match literals {
            Some(set) => set.iter().map(|l| 2.0 + 600.0 / length(l).powi(2)).sum(),
            None => 2.0 * ANY_VALUE,
        },
        Test::Cidr(_) => 30.0,
        Test::Compare { .. } | Test::Exists | Test::Field { .. } => ANY_VALUE,
    };
    let common = match &leaf.target {
        Target::Field(name) if COMMON_FIELDS.contains(&&**name) => 60.0,
        Target::Field(_) => 0.0,
        Target::Keyword => 10.0,
    };
    Some((base + common) * (1.0 + f64::from(uses) / 8.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(index: u32) -> Node {
        Node::Leaf(index)
    }

    fn witness(root: Node) -> Option<Vec<u32>> {
        let plan = Plan { leaves: Vec::new(), root };
        // Leaf 9 may hold without a value; the others cost their number.
        let cost = |l: u32| (l != 9).then_some(f64::from(l));
        of(&plan, &cost).map(|w| w.leaves)
    }

    #[test]
    fn the_cheapest_necessary_set_is_chosen() {
        use Node::{And, AtLeast, Not, Or};
        assert_eq!(witness(And(vec![leaf(3), leaf(1), leaf(9)])), Some(vec![1]));
        assert_eq!(witness(Or(vec![leaf(3), leaf(1)])), Some(vec![3, 1]));
        assert_eq!(witness(Or(vec![leaf(3), leaf(9)])), None);
        assert_eq!(witness(Not(Box::new(leaf(1)))), None);
        assert_eq!(witness(And(vec![Not(Box::new(leaf(1))), leaf(5)])), Some(vec![5]));
        let three = || vec![leaf(3), leaf(1), leaf(2)];
        assert_eq!(witness(AtLeast(2, three())), Some(vec![1, 2]));
        assert_eq!(witness(AtLeast(3, three())), Some(vec![1]));
        assert_eq!(witness(AtLeast(4, three())), Some(vec![]));
        assert_eq!(witness(AtLeast(2, vec![leaf(9), leaf(9), leaf(1)])), None);
        assert_eq!(witness(Node::Const(false)), Some(vec![]));
    }

    #[test]
    fn a_second_set_comes_from_another_part() {
        use Node::{And, Named, Or};
        let second = |root: Node| {
            let plan = Plan { leaves: Vec::new(), root };
            let cost = |l: u32| (l != 9).then_some(f64::from(l));
            let first = of(&plan, &cost)?;
            super::second(&plan, &first, &cost).map(|w| w.leaves)
        };
        let named = |part| Named("s".into(), Box::new(part));
        let selection = named(And(vec![leaf(4), leaf(2)]));
        assert_eq!(second(And(vec![selection.clone(), leaf(9)])), Some(vec![4]));
        assert_eq!(second(And(vec![selection, Or(vec![leaf(1), leaf(2)])])), Some(vec![4]));
        assert_eq!(second(And(vec![leaf(1), leaf(9)])), None);
        assert_eq!(second(Or(vec![leaf(1), leaf(2)])), None);
    }
}
