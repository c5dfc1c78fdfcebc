//! Every proof that is made checks; nothing else does.

use proptest::prelude::*;
use trust::merkle::{leaf_hash, node_hash, root, verify_consistency, verify_inclusion};
use trust::{Frontier, Hash, MerkleTree, SealedLog};

fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&[&(i as u32).to_be_bytes()])).collect()
}

/// The definition of RFC 6962 2.1, word for word and slow.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [one] => *one,
        more => {
            let mut k = 1;
            while k * 2 < more.len() {
                k *= 2;
            }
            node_hash(&defined(&more[..k]), &defined(&more[k..]))
        }
    }
}

#[test]
fn roots_of_small_trees_are_those_of_the_definition() {
    let all = leaves(130);
    let mut frontier = Frontier::default();
    for n in 0..all.len() {
        assert_eq!(root(&all[..n]), defined(&all[..n]));
        assert_eq!(frontier.root(), defined(&all[..n]));
        frontier.push(all[n]);
    }
}

#[test]
fn all_proofs_of_small_trees_check() {
    for n in 1..34 {
        let tree = MerkleTree::new(leaves(n));
        for (index, leaf) in leaves(n).into_iter().enumerate() {
            let proof = tree.inclusion_proof(index as u64).unwrap();
            for (at, size) in [(index, n), (index + 1, n), (index, n + 1)] {
                let ok = verify_inclusion(leaf, at as u64, size as u64, &proof, &tree.root());
                if (at, size) == (index, n) {
                    assert!(ok);
                } else if at < size && at != index {
                    assert!(!ok, "leaf {index} of {n} passed as {at} of {size}");
                }
            }
        }
        for old in 0..=n as u64 {
            let proof = tree.consistency_proof(old).unwrap();
            let old_root = tree.root_at(old).unwrap();
            assert!(verify_consistency(old, n as u64, &old_root, &tree.root(), &proof));
        }
    }
}

proptest! {
    #[test]
    fn a_changed_proof_leaf_or_root_does_not_check(
        n in 2usize..300, pick in any::<prop::sample::Index>(), byte in 0usize..32, bit in 0u8..8,
        place in any::<prop::sample::Index>(),
    ) {
        let tree = MerkleTree::new(leaves(n));
        let index = pick.index(n);
        let good = tree.inclusion_proof(index as u64).unwrap();
        let (index, size) = (index as u64, n as u64);
        let leaf = leaves(n)[index as usize];
        prop_assert!(verify_inclusion(leaf, index, size, &good, &tree.root()));
        let flip = |h: &Hash| { let mut h = *h; h.0[byte] ^= 1 << bit; h };
        prop_assert!(!verify_inclusion(flip(&leaf), index, size, &good, &tree.root()));
        prop_assert!(!verify_inclusion(leaf, index, size, &good, &flip(&tree.root())));
        let mut bad = good.clone();
        let at = place.index(bad.len());
        bad[at] = flip(&bad[at]);
        prop_assert!(!verify_inclusion(leaf, index, size, &bad, &tree.root()));
        prop_assert!(!verify_inclusion(leaf, index, size, &good[1..], &tree.root()));
    }

    #[test]
    fn a_rewritten_past_is_not_consistent(
        old in 1usize..200, more in 1usize..100, changed in any::<prop::sample::Index>(),
    ) {
        let old_root = root(&leaves(old));
        let mut rewritten = leaves(old + more);
        rewritten[changed.index(old)] = leaf_hash(&[b"other"]);
        let tree = MerkleTree::new(rewritten);
        let proof = tree.consistency_proof(old as u64).unwrap();
        let (from, to) = (old as u64, (old + more) as u64);
        prop_assert!(!verify_consistency(from, to, &old_root, &tree.root(), &proof));
        let honest = MerkleTree::new(leaves(old + more));
        let proof = honest.consistency_proof(from).unwrap();
        prop_assert!(verify_consistency(from, to, &old_root, &honest.root(), &proof));
        prop_assert!(!verify_consistency(from, to, &honest.root(), &honest.root(), &proof));
    }

    #[test]
    fn arbitrary_bytes_never_break_the_log_reader(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(log) = SealedLog::parse(&bytes) {
            prop_assert!(log.size_bytes() <= bytes.len() as u64);
        }
    }
}
