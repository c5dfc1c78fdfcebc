//! The conditions of all rules, each in a run of words: candidates are verified by reading on in memory
//! instead of following a tree over it.
//!
//! ```text
//! s1 and not (f1 or f2)   ->   AND 4 | LEAF s1 | NOT 3 | OR 2 | LEAF f1 | LEAF f2     (words)
//! ```
//! The number beside a kind is how many words its parts take, so that what need not be looked at is passed
//! over in one step.

use filter::Node;

/// What a word is: its upper bits. The others are a number.
const NUMBER_BITS: u32 = 29;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;
/// 0 is what never holds.
const TRUE: u32 = 1;
const LEAF: u32 = 2;
const AND: u32 = 3;
const OR: u32 = 4;
const NOT: u32 = 5;
/// The first of its words is how many parts must hold.
const AT_LEAST: u32 = 6;
/// An `or` of leaves alone: long lists of values are that, and are gone through without looking at kinds.
const OR_OF_LEAVES: u32 = 7;

/// The conditions of rules, by number.
#[derive(Default)]
pub(crate) struct Checks {
    words: Vec<u32>,
    /// Rule -> its first word.
    starts: Vec<u32>,
}

impl Checks {
    /// Adds the condition of the next rule.
    pub(crate) fn push(&mut self, root: &Node) {
        self.starts.push(self.words.len() as u32);
        self.write(root);
    }

    fn write(&mut self, node: &Node) {
        match node {
            Node::Const(value) => self.words.push(u32::from(*value) << NUMBER_BITS),
            Node::Leaf(leaf) => self.words.push(LEAF << NUMBER_BITS | leaf & NUMBER_MASK),
            Node::And(parts) => self.group(AND, None, parts),
            Node::Or(parts) if parts.iter().all(|part| matches!(part, Node::Leaf(_))) => {
                self.group(OR_OF_LEAVES, None, parts);
            }
            Node::Or(parts) => self.group(OR, None, parts),
            Node::Not(part) => self.group(NOT, None, std::slice::from_ref(part)),
            Node::AtLeast(count, parts) => self.group(AT_LEAST, Some(*count), parts),
            Node::Named(_, part) => self.write(part),
        }
    }

    fn group(&mut self, kind: u32, count: Option<u32>, parts: &[Node]) {
        let at = self.words.len();
        self.words.push(0);
        self.words.extend(count);
        parts.iter().for_each(|part| self.write(part));
        let len = (self.words.len() - at - 1) as u32;
        self.words[at] = kind << NUMBER_BITS | len & NUMBER_MASK;
    }

    /// Whether the condition of a rule holds, by the verdicts of its leaves.
    pub(crate) fn holds(&self, rule: u32, verdict: &impl Fn(u32) -> bool) -> bool {
        let from = self.starts[rule as usize] as usize;
        let (first, rest) = (self.words[from], &self.words[from + 1..]);
        holds(first, &rest[..parts_len(first)], verdict)
    }
}

/// How many words the parts of a node take.
fn parts_len(word: u32) -> usize {
    if word >> NUMBER_BITS >= AND { (word & NUMBER_MASK) as usize } else { 0 }
}

fn holds(word: u32, parts: &[u32], verdict: &impl Fn(u32) -> bool) -> bool {
    let of = |part: (u32, &[u32])| holds(part.0, part.1, verdict);
    match word >> NUMBER_BITS {
        LEAF => verdict(word & NUMBER_MASK),
        AND => Parts(parts).all(of),
        OR => Parts(parts).any(of),
        OR_OF_LEAVES => parts.iter().any(|leaf| verdict(leaf & NUMBER_MASK)),
        NOT => !Parts(parts).any(of),
        AT_LEAST => {
            let Some((count, parts)) = parts.split_first() else { return false };
            let mut missing = *count;
            missing == 0
                || Parts(parts).any(|part| {
                    missing -= u32::from(of(part));
                    missing == 0
                })
        }
        other => other == TRUE,
    }
}

/// Walks over the parts of a node: each one's first word, and the words of its own parts.
struct Parts<'c>(&'c [u32]);

impl<'c> Iterator for Parts<'c> {
    type Item = (u32, &'c [u32]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (first, rest) = self.0.split_first()?;
        let (own, others) = rest.split_at(parts_len(*first));
        self.0 = others;
        Some((*first, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            4 => (0u32..8).prop_map(Node::Leaf),
            1 => any::<bool>().prop_map(Node::Const),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            let parts = prop::collection::vec(inner.clone(), 0..5);
            prop_oneof![
                parts.clone().prop_map(Node::And),
                parts.clone().prop_map(Node::Or),
                inner.prop_map(|n| Node::Not(Box::new(n))),
                (0u32..4, parts).prop_map(|(n, parts)| Node::AtLeast(n, parts)),
            ]
        })
    }

    proptest! {
        #[test]
        fn words_say_what_the_tree_says(nodes in prop::collection::vec(node(), 1..4), leaves: u8) {
            let mut checks = Checks::default();
            nodes.iter().for_each(|n| checks.push(n));
            for (rule, node) in nodes.iter().enumerate() {
                let verdict = |leaf: u32| leaves >> leaf & 1 == 1;
                prop_assert_eq!(checks.holds(rule as u32, &verdict), node.holds(&verdict));
            }
        }
    }
}
