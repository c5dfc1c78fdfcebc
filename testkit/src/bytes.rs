//! Streams cut anywhere, and bodies with mistakes in them.

use crate::Rng;

/// Pieces of a stream, as long as `lengths` say, one after the other and then from the first again.
///
/// Panics without lengths or with a length of 0.
pub fn cut<'s>(stream: &'s [u8], lengths: &[usize]) -> Vec<&'s [u8]> {
    assert!(lengths.iter().all(|length| *length > 0) && !lengths.is_empty(), "{lengths:?}");
    let (mut rest, mut pieces) = (stream, Vec::new());
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, others) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = others;
    }
    pieces
}

/// Copies of `body`, each with one to three bytes replaced, added or removed; those that come in are of
/// `bytes`. The same each time.
pub fn mistaken(body: &[u8], bytes: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut rng = Rng::new(7);
    (0..count).map(move |_| {
        let mut copy = body.to_vec();
        for _ in 0..=rng.below(3) {
            let (at, byte) = (rng.below(copy.len() as u64) as usize, rng.pick(bytes));
            match rng.below(3) {
                0 => copy[at] = byte,
                1 => copy.insert(at, byte),
                _ => drop(copy.remove(at)),
            }
        }
        copy
    })
}
