//! Which leaves may hold for a value: one structure per field, one pass per value.
//!
//! No false negatives: a leaf that holds for the value is always among the hits. A hit may still be
//! wrong (case, alias order); candidates are verified.

use super::literal;
use daachorse::DoubleArrayAhoCorasick;
use event::text::fold_into;
use event::{Kind, Value};
use filter::{Test, TextOp};
use hashbrown::HashMap;

/// Leaves on one field (or on keywords), ready to be looked up by value.
#[derive(Default)]
pub(crate) struct ValueIndex {
    /// Folded whole value -> leaves.
    equals: HashMap<Box<[u8]>, Vec<u32>>,
    /// Literals anywhere in the folded value; its values are indices into `needles`.
    automaton: Option<DoubleArrayAhoCorasick<u32>>,
    needles: Vec<Vec<Needle>>,
    /// Networks, each with its leaf.
    networks: Vec<(ipnet::IpNet, u32)>,
    /// Leaves that any value, even null, may satisfy.
    present: Vec<u32>,
    /// Expressions behind literals: all of them for values outside ASCII.
    expressions: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Needle {
    op: TextOp,
    leaf: u32,
}

/// Collects leaves for a [`ValueIndex`].
#[derive(Default)]
pub(crate) struct IndexBuilder {
    index: ValueIndex,
    literals: HashMap<Vec<u8>, u32>,
}

impl IndexBuilder {
    /// Adds a leaf. Every kind of test has a place.
    pub(crate) fn add(&mut self, leaf: u32, test: &Test) {
        match test {
            Test::Text { folded, .. } if folded.is_empty() => self.index.present.push(leaf),
            Test::Text { op: TextOp::Equals, folded, .. } => {
                self.index.equals.entry_ref(&**folded).or_default().push(leaf);
            }
            Test::Text { op, folded, .. } => self.needle(folded.to_vec(), *op, leaf),
            Test::Regex { regex, .. } => match literal::required(regex.as_str()) {
                Some(set) => {
                    for text in set {
                        self.needle(text, TextOp::Contains, leaf);
                    }
                    self.index.expressions.push(leaf);
                }
                None => self.index.present.push(leaf),
            },
            Test::Cidr(net) => self.index.networks.push((*net, leaf)),
            Test::Exists | Test::Null | Test::Compare { .. } | Test::Field { .. } => {
                self.index.present.push(leaf);
            }
        }
    }

    fn needle(&mut self, text: Vec<u8>, op: TextOp, leaf: u32) {
        let next = self.index.needles.len() as u32;
        let slot = *self.literals.entry(text).or_insert(next);
        if slot == next {
            self.index.needles.push(Vec::new());
        }
        self.index.needles[slot as usize].push(Needle { op, leaf });
    }

    /// Builds the automaton.
    pub(crate) fn build(mut self) -> ValueIndex {
        if !self.literals.is_empty() {
            let mut pairs: Vec<_> = self.literals.into_iter().collect();
            pairs.sort();
            match DoubleArrayAhoCorasick::with_values(pairs) {
                Ok(automaton) => self.index.automaton = Some(automaton),
                // More literals than the automaton can number: slower, never wrong.
                Err(_) => {
                    let leaves = self.index.needles.iter().flatten().map(|n| n.leaf);
                    self.index.present.extend(leaves);
                }
            }
        }
        self.index
    }
}

impl ValueIndex {
    /// Appends the leaves that may hold for `value`; some may come twice. `folded` is a buffer.
    pub(crate) fn scan(&self, value: Value<'_>, folded: &mut Vec<u8>, hits: &mut Vec<u32>) {
        hits.extend_from_slice(&self.present);
        if value.kind == Kind::Null {
            return;
        }
        folded.clear();
        fold_into(value.bytes, folded);
        if let Some(leaves) = self.equals.get(folded.as_slice()) {
            hits.extend_from_slice(leaves);
        }
        if let Some(automaton) = &self.automaton {
            for found in automaton.find_overlapping_iter(folded.as_slice()) {
                for needle in &self.needles[found.value() as usize] {
                    let fits = match needle.op {
                        TextOp::Prefix => found.start() == 0,
                        TextOp::Suffix => found.end() == folded.len(),
                        TextOp::Contains | TextOp::Equals => true,
                    };
                    if fits {
                        hits.push(needle.leaf);
                    }
                }
            }
        }
        if !self.expressions.is_empty() && !value.bytes.is_ascii() {
            hits.extend_from_slice(&self.expressions);
        }
        if !self.networks.is_empty()
            && let Some(ip) = filter::test::ip_of(value.bytes)
        {
            let inside = self.networks.iter().filter(|(net, _)| net.contains(&ip));
            hits.extend(inside.map(|(_, leaf)| *leaf));
        }
    }
}
