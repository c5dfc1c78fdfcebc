//! Which leaves have to hold, and which must not, for a plan to hold: one way after another.

use super::Choice;
use filter::{Node, Plan};

/// Ways to make the plan hold, the simplest first, at most `max`.
pub(super) fn choices(plan: &Plan, max: usize) -> Vec<Choice> {
    let mut ways = ways(&plan.root, true, max);
    ways.iter_mut().for_each(|way| {
        way.sort_unstable();
        way.dedup();
    });
    ways.retain(|way| way.windows(2).all(|pair| pair[0].0 != pair[1].0));
    ways
}

fn ways(node: &Node, wanted: bool, max: usize) -> Vec<Choice> {
    match node {
        Node::Const(value) => match *value == wanted {
            true => vec![Vec::new()],
            false => Vec::new(),
        },
        Node::Leaf(index) => vec![vec![(*index, wanted)]],
        Node::Not(part) => ways(part, !wanted, max),
        Node::Named(_, part) => ways(part, wanted, max),
        Node::And(parts) if wanted => all(parts, wanted, max),
        Node::Or(parts) if !wanted => all(parts, wanted, max),
        Node::And(parts) | Node::Or(parts) => {
            // Parts take turns, so that one with many ways does not hide the others.
            let each: Vec<Vec<Choice>> =
                parts.iter().take(max).map(|p| ways(p, wanted, max.div_ceil(4))).collect();
            let longest = each.iter().map(Vec::len).max().unwrap_or(0);
            let turns = (0..longest).flat_map(|i| each.iter().filter_map(move |w| w.get(i)));
            turns.take(max).cloned().collect()
        }
        Node::AtLeast(n, parts) if wanted => {
            let n = *n as usize;
            let starts = 0..=parts.len().saturating_sub(n);
            starts
                .flat_map(|s| all(&parts[s..(s + n).min(parts.len())], true, max))
                .take(max)
                .collect()
        }
        Node::AtLeast(n, parts) => {
            let keep = parts.len().saturating_sub((*n as usize).saturating_sub(1));
            all(&parts[..keep], false, max)
        }
    }
}

/// Every part as wanted: first ways of all, then one part after another in its further ways.
fn all(parts: &[Node], wanted: bool, max: usize) -> Vec<Choice> {
    let each: Vec<Vec<Choice>> = parts.iter().map(|p| ways(p, wanted, max)).collect();
    if each.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let joined = |picks: &dyn Fn(usize) -> usize| -> Choice {
        each.iter().enumerate().flat_map(|(i, w)| w[picks(i).min(w.len() - 1)].clone()).collect()
    };
    let mut out = vec![joined(&|_| 0)];
    let longest = each.iter().map(Vec::len).max().unwrap_or(0);
    for way in 1..longest {
        if out.len() >= max {
            break;
        }
        // All parts move on together, then each alone.
        out.push(joined(&|_| way));
        for (part, ways) in each.iter().enumerate() {
            if way < ways.len() && out.len() < max {
                out.push(joined(&|i| if i == part { way } else { 0 }));
            }
        }
    }
    out
}
