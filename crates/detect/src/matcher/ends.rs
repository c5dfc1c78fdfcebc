//! Literals that a value must begin or end with.
//!
//! `endswith '\powershell.exe'` is what rules ask most. A value is asked once for each number of bytes
//! that literals are told apart by, 8 at most, however many literals there are.

use hashbrown::HashMap;

/// Literals are told apart by so many of their outermost bytes.
const KEY_BYTES: usize = 8;

/// Which end of the value.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Side {
    #[default]
    Start,
    End,
}

/// A literal and its number.
type Numbered = (Box<[u8]>, u32);

/// Literals at one end of values. Numbers are the caller's.
#[derive(Default)]
pub(crate) struct Ends {
    side: Side,
    /// Bit `n`: there are literals that are told apart by `n` bytes.
    widths: u16,
    /// Outermost bytes and how many they are -> literals.
    by_key: HashMap<(u64, usize), Vec<Numbered>>,
}

impl Ends {
    /// Takes in literals, none of them empty, each with a number that is told when it is found.
    pub(crate) fn new(side: Side, literals: Vec<Numbered>) -> Self {
        let mut out = Self { side, ..Self::default() };
        for (literal, number) in literals {
            let width = literal.len().min(KEY_BYTES);
            out.widths |= 1 << width;
            out.by_key.entry(side.key(&literal, width)).or_default().push((literal, number));
        }
        out
    }

    /// Whether there are no literals.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Calls `found` with the number of every literal at this end of `text`.
    pub(crate) fn scan(&self, text: &[u8], mut found: impl FnMut(u32)) {
        let longest = text.len().min(KEY_BYTES);
        for width in (1..=longest).filter(|width| self.widths >> width & 1 == 1) {
            let Some(list) = self.by_key.get(&self.side.key(text, width)) else { continue };
            for (literal, number) in list {
                let holds = match self.side {
                    Side::Start => text.starts_with(literal),
                    Side::End => text.ends_with(literal),
                };
                if holds {
                    found(*number);
                }
            }
        }
    }
}

impl Side {
    /// The outermost `width` bytes of a text that has as many.
    fn key(self, text: &[u8], width: usize) -> (u64, usize) {
        let piece = match self {
            Self::Start => &text[..width],
            Self::End => &text[text.len() - width..],
        };
        let mut bytes = [0; KEY_BYTES];
        bytes[..width].copy_from_slice(piece);
        (u64::from_le_bytes(bytes), width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_literal_at_the_end_is_found_once(
            literals in prop::collection::vec(prop::collection::vec(0u8..3, 1..12), 0..60),
            text in prop::collection::vec(0u8..3, 0..14),
        ) {
            for side in [Side::Start, Side::End] {
                let numbered = literals.iter().zip(0..).map(|(l, n)| (l.as_slice().into(), n));
                let mut found = Vec::new();
                Ends::new(side, numbered.collect()).scan(&text, |number| found.push(number));
                found.sort_unstable();
                let holds = |literal: &[u8]| match side {
                    Side::Start => text.starts_with(literal),
                    Side::End => text.ends_with(literal),
                };
                let all = literals.iter().zip(0u32..).filter(|(l, _)| holds(l));
                prop_assert_eq!(found, all.map(|(_, n)| n).collect::<Vec<_>>());
            }
        }
    }
}
