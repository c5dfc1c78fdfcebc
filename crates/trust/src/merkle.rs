//! Merkle trees exactly as RFC 6962 section 2.1 has them: roots, inclusion and consistency proofs.
//!
//! ```text
//! leaf = SHA-256(0x00 || data)      node = SHA-256(0x01 || left || right)
//! root of n leaves: the left part has the largest power of two below n, the right part the rest
//! ```

use crate::hash::Hash;
use sha2::{Digest, Sha256};

/// Most hashes a proof may have: a tree of 2^64 leaves is 64 high. Longer proofs are refused unread.
pub const PROOF_MAX: usize = 64;

/// Hash of a leaf holding the concatenation of `parts`.
pub fn leaf_hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    for part in parts {
        hash.update(part);
    }
    Hash(hash.finalize().into())
}

/// Hash of a node over its two halves.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash::of(&bytes)
}

/// Root over a list of leaf hashes; of an empty list the hash of nothing.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// The right edge of a growing tree: enough to append and to know the root, at most 64 hashes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    /// Roots of the perfect subtrees, largest first; their sizes are the set bits of `size`.
    peaks: Vec<Hash>,
    size: u64,
}

impl Frontier {
    /// Appends a leaf. Amortised one node hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of what was appended so far.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Hash::of(b"") };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// A tree with all its leaf hashes in memory (32 bytes each): makes proofs.
#[derive(Clone, Debug, Default)]
pub struct MerkleTree {
    leaves: Vec<Hash>,
}

impl MerkleTree {
    /// A tree over these leaf hashes.
    pub fn new(leaves: Vec<Hash>) -> Self {
        Self { leaves }
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Root over all leaves.
    pub fn root(&self) -> Hash {
        root(&self.leaves)
    }

    /// Root over the first `size` leaves; `None` when there are fewer.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        Some(root(self.leaves.get(..usize::try_from(size).ok()?)?))
    }

    /// Proof that leaf `index` is in the tree (RFC 6962 2.1.1), lowest sibling first; `None` when
    /// there is no such leaf.
    pub fn inclusion_proof(&self, index: u64) -> Option<Vec<Hash>> {
        let mut at = usize::try_from(index).ok().filter(|at| *at < self.leaves.len())?;
        let (mut part, mut proof) = (&self.leaves[..], Vec::new());
        while part.len() > 1 {
            let (left, right) = part.split_at(split(part.len()));
            if at < left.len() {
                proof.push(root(right));
                part = left;
            } else {
                at -= left.len();
                proof.push(root(left));
                part = right;
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// Proof that the tree over the first `size` leaves is the beginning of this one (RFC 6962
    /// 2.1.2); `None` when there are fewer leaves. Empty for `size` 0 and for the whole tree.
    pub fn consistency_proof(&self, size: u64) -> Option<Vec<Hash>> {
        let mut old = usize::try_from(size).ok().filter(|old| *old <= self.leaves.len())?;
        if old == 0 {
            return Some(Vec::new());
        }
        let (mut part, mut proof, mut whole) = (&self.leaves[..], Vec::new(), true);
        while old < part.len() {
            let (left, right) = part.split_at(split(part.len()));
            if old <= left.len() {
                proof.push(root(right));
                part = left;
            } else {
                old -= left.len();
                proof.push(root(left));
                part = right;
                whole = false;
            }
        }
        // The verifier knows the old root itself; any other subtree has to be told.
        if !whole {
            proof.push(root(part));
        }
        proof.reverse();
        Some(proof)
    }
}

/// Largest power of two below `n`; `n` is at least 2.
fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// Whether `proof` shows that `leaf` (a leaf hash) is number `index` of the tree with `size` leaves
/// and this `root` (algorithm of RFC 9162 2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size || proof.len() > PROOF_MAX {
        return false;
    }
    let (mut at, mut last, mut node) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            node = node_hash(sibling, &node);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            node = node_hash(&node, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && node == *root
}

/// Whether `proof` shows that the tree of `old_size` leaves with `old_root` is the beginning of the
/// tree of `new_size` leaves with `new_root` (algorithm of RFC 9162 2.1.4.2).
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> bool {
    if old_size > new_size || proof.len() > PROOF_MAX {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == Hash::of(b"");
    }
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    let down = at.trailing_ones();
    (at, last) = (at >> down, last >> down);
    let mut siblings = proof.iter();
    // An old tree that is a perfect subtree starts from the root the verifier already has.
    let start = if old_size.is_power_of_two() { Some(old_root) } else { siblings.next() };
    let Some(start) = start else { return false };
    let (mut old, mut new) = (*start, *start);
    for sibling in siblings {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (old, new) = (node_hash(sibling, &old), node_hash(sibling, &new));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node_hash(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == *old_root && new == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight leaves and roots that Certificate Transparency implementations test with.
    const LEAVES: [&[u8]; 8] = [
        b"",
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn tree(size: usize) -> MerkleTree {
        MerkleTree::new(LEAVES[..size].iter().map(|l| leaf_hash(&[l])).collect())
    }

    #[test]
    fn roots_are_the_published_ones() {
        for (size, expected) in ROOTS.iter().enumerate() {
            assert_eq!(tree(size).root().to_string(), *expected, "{size} leaves");
        }
    }

    #[test]
    fn a_proof_of_the_published_tree_is_the_published_one() {
        let whole = tree(8);
        let text = |proof: Vec<Hash>| proof.iter().map(Hash::to_string).collect::<Vec<_>>();
        assert_eq!(
            text(whole.inclusion_proof(0).unwrap()),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            text(whole.consistency_proof(1).unwrap()),
            text(whole.inclusion_proof(0).unwrap())
        );
    }

    #[test]
    fn leaves_and_sizes_that_do_not_exist_have_no_proof() {
        let tree = tree(5);
        assert!(tree.inclusion_proof(5).is_none() && tree.consistency_proof(6).is_none());
        assert!(!verify_inclusion(Hash::default(), 0, 0, &[], &tree.root()));
        let long = vec![Hash::default(); PROOF_MAX + 1];
        assert!(!verify_inclusion(Hash::default(), 0, u64::MAX, &long, &tree.root()));
        assert!(!verify_consistency(1, u64::MAX, &tree.root(), &tree.root(), &long));
        assert!(!verify_consistency(3, 5, &tree.root(), &tree.root(), &[]));
    }
}
