//! Which leaves may hold for a value: one structure per group of fields, one pass per value.
//!
//! No false negatives: a leaf that holds for the value is always among the hits. A hit on a leaf
//! that is not certain (exact case, an expression) may still be wrong; candidates are verified.

use super::ends::{Ends, Side};
use super::fragments::Fragments;
use event::text::fold_into;
use event::{Kind, Value};
use filter::grams::{Grams, PADDING};
use filter::{Test, TextOp};
use hashbrown::HashMap;
use ipnet::IpNet;
use std::net::IpAddr;

/// Between values in one text: no literal and no letter has such a byte, for they are UTF-8.
pub(crate) const BORDER: u8 = 0xff;
/// Shorter text is read as fast without looking for fragments before anything else.
const PREFILTER_TEXT_BYTES_MIN: usize = 64;

/// Leaves on one group of fields (or on keywords), ready to be looked up by value. Leaves are
/// numbers that mean something to whoever added them.
#[derive(Default)]
pub(crate) struct ValueIndex {
    /// Folded whole value -> leaves.
    equals: HashMap<Box<[u8]>, Vec<u32>>,
    /// Literals that the folded value begins or ends with, and those anywhere in it; their numbers are
    /// leaves.
    prefixes: Ends,
    suffixes: Ends,
    pieces: Grams,
    /// Tells whether long text has any of the pieces, where those are few.
    prefilter: Option<Fragments>,
    networks: Networks,
    /// Leaves that any value, even null, may satisfy.
    present: Vec<u32>,
    /// Expressions behind literals: all of them for values outside ASCII.
    expressions: Vec<u32>,
}

/// Collects leaves for a [`ValueIndex`].
#[derive(Default)]
pub(crate) struct IndexBuilder {
    index: ValueIndex,
    prefixes: Vec<Numbered>,
    suffixes: Vec<Numbered>,
    pieces: Vec<Numbered>,
}

/// A literal and the leaf it stands for.
type Numbered = (Box<[u8]>, u32);

impl IndexBuilder {
    /// Adds a leaf; `literals` are those that an expression stands behind. Every kind of test has a
    /// place.
    pub(crate) fn add(&mut self, leaf: u32, test: &Test, literals: Option<&[Vec<u8>]>) {
        match test {
            Test::Text { folded, .. } if folded.is_empty() => self.index.present.push(leaf),
            Test::Text { op: TextOp::Equals, folded, .. } => {
                self.index.equals.entry_ref(&**folded).or_default().push(leaf);
            }
            Test::Text { op: TextOp::Prefix, folded, .. } => {
                self.prefixes.push((folded.clone(), leaf));
            }
            Test::Text { op: TextOp::Suffix, folded, .. } => {
                self.suffixes.push((folded.clone(), leaf));
            }
            Test::Text { op: TextOp::Contains, folded, .. } => {
                self.pieces.push((folded.clone(), leaf));
            }
            Test::Regex { .. } => match literals {
                Some(set) => {
                    self.pieces.extend(set.iter().map(|text| (text.as_slice().into(), leaf)));
                    self.index.expressions.push(leaf);
                }
                None => self.index.present.push(leaf),
            },
            Test::Cidr(net) => self.index.networks.add(*net, leaf),
            Test::Exists | Test::Null | Test::Compare { .. } | Test::Field { .. } => {
                self.index.present.push(leaf);
            }
        }
    }

    /// Done.
    pub(crate) fn build(self) -> ValueIndex {
        ValueIndex {
            prefilter: Fragments::of(self.pieces.iter().map(|(text, _)| &**text)),
            prefixes: Ends::new(Side::Start, self.prefixes),
            suffixes: Ends::new(Side::End, self.suffixes),
            pieces: Grams::new(self.pieces),
            ..self.index
        }
    }
}

impl ValueIndex {
    /// Leaves that the mere presence of a value may satisfy.
    pub(crate) fn present(&self) -> &[u32] {
        &self.present
    }

    /// Whether values can add anything to [`ValueIndex::present`].
    pub(crate) fn reads_values(&self) -> bool {
        let has_literals =
            !(self.prefixes.is_empty() && self.suffixes.is_empty() && self.pieces.is_empty());
        has_literals || !self.equals.is_empty() || !self.networks.is_empty()
    }

    /// Appends the leaves that may hold for `value` besides those of [`ValueIndex::present`]; some
    /// may come twice. `folded` is a buffer.
    pub(crate) fn scan(&self, value: Value<'_>, folded: &mut Vec<u8>, hits: &mut Vec<u32>) {
        if value.kind == Kind::Null {
            return;
        }
        let has_ends = !(self.prefixes.is_empty() && self.suffixes.is_empty());
        let is_pieces_only = self.equals.is_empty() && self.networks.is_empty() && !has_ends;
        if is_pieces_only && !self.may_hit(value.bytes) {
            return;
        }
        folded.clear();
        fold_into(value.bytes, folded);
        if let Some(leaves) = self.equals.get(folded.as_slice()) {
            hits.extend_from_slice(leaves);
        }
        self.prefixes.scan(folded, |leaf| hits.push(leaf));
        self.suffixes.scan(folded, |leaf| hits.push(leaf));
        self.scan_folded(folded, value.bytes.is_ascii(), hits);
        if !self.networks.is_empty()
            && let Some(ip) = filter::test::ip_of(value.bytes)
        {
            self.networks.scan(ip, hits);
        }
    }

    /// Appends the leaves whose literals stand anywhere in folded text, and expressions that may hold
    /// although theirs do not. `was_ascii` tells of the text before it was folded: some letters beyond
    /// ASCII fold to one of it. The text is given back as it was.
    pub(crate) fn scan_folded(&self, folded: &mut Vec<u8>, was_ascii: bool, hits: &mut Vec<u32>) {
        if !self.pieces.is_empty() {
            let length = folded.len();
            folded.extend_from_slice(&[0; PADDING]);
            self.pieces.scan(folded, was_ascii, |leaf| hits.push(leaf));
            folded.truncate(length);
        }
        // Letters beyond ASCII have other cases than the literal's.
        if !was_ascii {
            hits.extend_from_slice(&self.expressions);
        }
    }

    /// Whether a literal may stand somewhere in text, folded or not: so that the text need not be folded
    /// if none does.
    pub(crate) fn may_hit(&self, text: &[u8]) -> bool {
        match &self.prefilter {
            Some(fragments) if text.len() >= PREFILTER_TEXT_BYTES_MIN => {
                // Letters beyond ASCII have other cases than an expression's literals.
                let is_open = !self.expressions.is_empty() && !text.is_ascii();
                is_open || fragments.are_in(text)
            }
            _ => true,
        }
    }
}

/// Networks by prefix length: as many look-ups as there are different lengths, whatever the number
/// of networks.
#[derive(Default)]
struct Networks {
    lengths: Vec<(u8, bool)>,
    leaves: HashMap<IpNet, Vec<u32>>,
}

impl Networks {
    fn add(&mut self, net: IpNet, leaf: u32) {
        let net = net.trunc();
        let length = (net.prefix_len(), net.addr().is_ipv4());
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
        }
        self.leaves.entry(net).or_default().push(leaf);
    }

    fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    fn scan(&self, ip: IpAddr, hits: &mut Vec<u32>) {
        for (length, is_v4) in &self.lengths {
            if *is_v4 == ip.is_ipv4()
                && let Ok(net) = IpNet::new(ip, *length)
                && let Some(leaves) = self.leaves.get(&net.trunc())
            {
                hits.extend_from_slice(leaves);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_literals_are_found_in_long_text_wherever_they_stand() {
        let test = |text: &str| Test::text(TextOp::Contains, text, false);
        let mut builder = IndexBuilder::default();
        for (leaf, text) in ["abc", "bcd", "sekurlsa::"].into_iter().enumerate() {
            builder.add(leaf as u32, &test(text), None);
        }
        let index = builder.build();
        let hits = |text: &str| {
            let mut hits = Vec::new();
            let value = Value { kind: Kind::Str, bytes: text.as_bytes() };
            index.scan(value, &mut Vec::new(), &mut hits);
            hits
        };
        let pad = "x".repeat(PREFILTER_TEXT_BYTES_MIN);
        for text in [String::new(), pad.clone()] {
            assert_eq!(hits(&format!("{text}aBCD")), [0, 1], "{text}");
            assert_eq!(hits(&format!("SEKURLSA::{text}")), [2], "{text}");
            assert!(hits(&text).is_empty());
        }
    }

    #[test]
    fn networks_are_found_by_every_length() {
        let mut builder = IndexBuilder::default();
        for (leaf, net) in
            ["10.0.0.0/8", "10.1.0.7/16", "::/0", "0.0.0.0/0", "fe80::/10"].into_iter().enumerate()
        {
            builder.add(leaf as u32, &Test::Cidr(net.parse().unwrap()), None);
        }
        let index = builder.build();
        let hits = |text: &str| {
            let mut hits = Vec::new();
            let value = Value { kind: Kind::Str, bytes: text.as_bytes() };
            index.scan(value, &mut Vec::new(), &mut hits);
            hits.sort_unstable();
            hits
        };
        assert_eq!(hits("10.1.2.3"), [0, 1, 3]);
        assert_eq!(hits("::ffff:10.2.2.3"), [0, 3]);
        assert_eq!(hits("fe80::1%eth0"), [2, 4]);
        assert!(hits("nowhere").is_empty());
    }
}
