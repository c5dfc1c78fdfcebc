//! Whether a text may hold any of a few literals, whatever the case of its letters.
//!
//! ```text
//! literal  "sekurlsa::"  -> its rarest piece of three bytes, in every case:  "a::" "A::"
//! text     as it was sent --16 or 32 bytes at a time--> none of the pieces: none of the literals
//! ```
//! Most texts hold none. This finds so without folding them, for a fraction of what a search costs.

use aho_corasick::packed;
use filter::grams::commonness;

/// Bytes of a piece: more have too many cases, fewer stand everywhere.
const WIDTH: usize = 3;
/// Most pieces that are looked for at once with wide registers.
const PIECES_MAX: usize = 64;
/// KELVIN SIGN: the one character beyond ASCII that folds to a letter of it, `k`.
const ALSO_K: &[u8; WIDTH] = b"\xe2\x84\xaa";
/// What each further case of a piece costs, in units of [`commonness`]: pieces should be few.
const CASE: u32 = 4;

/// Pieces of some literals, in each case of their letters.
pub(crate) struct Fragments {
    searcher: packed::Searcher,
}

impl Fragments {
    /// Of literals that are folded; `None` if they are too many, too short, not ASCII, or there are none.
    pub(crate) fn of<'l>(literals: impl Iterator<Item = &'l [u8]>) -> Option<Self> {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for literal in literals {
            if !literal.is_ascii() {
                return None;
            }
            let rarest = literal.windows(WIDTH).min_by_key(|piece| {
                let cases = 1 << piece.iter().filter(|b| b.is_ascii_alphabetic()).count();
                match pieces.iter().any(|p| p == piece) {
                    true => commonness(piece),
                    false => commonness(piece) + CASE * cases,
                }
            })?;
            for piece in cases(rarest) {
                if !pieces.contains(&piece) {
                    pieces.push(piece);
                }
            }
            if pieces.len() > PIECES_MAX {
                return None;
            }
        }
        if pieces.is_empty() {
            return None;
        }
        pieces.push(ALSO_K.to_vec());
        Some(Self { searcher: packed::Searcher::new(pieces)? })
    }

    /// False: no literal stands in the text, however its letters are written.
    pub(crate) fn are_in(&self, text: &[u8]) -> bool {
        self.searcher.find(text).is_some()
    }
}

/// A piece with its letters in every case.
fn cases(piece: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![Vec::new()];
    for byte in piece {
        let upper = byte.to_ascii_uppercase();
        let other = (upper != *byte).then_some(upper);
        out = [Some(*byte), other]
            .into_iter()
            .flatten()
            .flat_map(|b| out.iter().map(move |head| [head.as_slice(), &[b]].concat()))
            .collect();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_with_a_literal_in_any_case_is_never_ruled_out(
            literals in prop::collection::vec("[a-c:\\\\]{3,8}", 1..12),
            which: prop::sample::Index,
            upper: u8,
            (before, after) in ("[ -~]{0,80}", "[ -~]{0,80}"),
        ) {
            let Some(fragments) = Fragments::of(literals.iter().map(String::as_bytes)) else {
                return Ok(());
            };
            let case = |(at, c): (usize, char)| match upper >> at & 1 {
                1 => c.to_ascii_uppercase(),
                _ => c,
            };
            let written: String = which.get(&literals).chars().enumerate().map(case).collect();
            let text = format!("{before}{written}{after}");
            prop_assert!(fragments.are_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn no_other_character_folds_to_one_of_ascii() {
        let folds = |c: &char| event::text::fold_char(*c).is_ascii();
        let all: String = ('\u{80}'..=char::MAX).filter(folds).collect();
        assert_eq!(all.as_bytes(), ALSO_K);
    }

    #[test]
    fn most_texts_are_ruled_out_and_odd_literals_have_no_fragments() {
        let of = |literals: &[&str]| Fragments::of(literals.iter().map(|l| l.as_bytes()));
        let some = of(&["sekurlsa::", "lsadump::", "mimidrv.sys"]).unwrap();
        assert!(some.are_in(b"privilege::debug SEKURLSA::logonpasswords"));
        assert!(!some.are_in(br#"{"Image":"C:\\Windows\\System32\\svchost.exe","User":"SYSTEM"}"#));
        assert!(some.are_in("se\u{212a}urlsa".as_bytes()) && !some.are_in("sekürlsa".as_bytes()));
        assert!(of(&["ab"]).is_none() && of(&[]).is_none() && of(&["große"]).is_none());
        let many: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
        assert!(of(&many.iter().map(String::as_str).collect::<Vec<_>>()).is_none());
    }
}
