//! Finding any of thousands of literals anywhere in a text.
//!
//! ```text
//! literal  "\appdata\local\temp\"  -> one window of it, rare and shared by few:  "a\lo" at 6
//! text     ....... every 4 bytes --hash--> a bit set? --> literals with that window --compare--> found
//! ```
//! An automaton reads a byte after the other, each step waiting for the one before; here steps do not
//! depend on each other, nearly all end at a bit that is not set, and the table is made in no time:
//! it is made anew for each kind of event whenever witnesses change.
//!
//! Each literal stands under one window only, so what a text costs is bounded by how many literals
//! share a window, whatever the text.

use hashbrown::{HashMap, HashSet};
use std::sync::LazyLock;

/// Bytes of a window; shorter literals have tables of their own, by their length.
pub(crate) const WIDTH: usize = 4;
/// Bytes that a text must have behind its end, so that a window can be read at each of its bytes.
pub(crate) const PADDING: usize = WIDTH - 1;
/// Up to so many literals the bits fit into 512 bytes; 1 bit in 64 is set then.
const FEW_MAX: usize = 64;
const FEW_BITS: u32 = 12;
/// 8 KiB: stays in the first cache beside the text.
const MANY_BITS: u32 = 16;
/// How much more a window costs for each other literal under it, in units of [`commonness`].
const SHARED: u32 = 40;

/// Literals of one length of window. Numbers are the caller's.
struct Table {
    /// What is left of a window: all of it, or its first 1 to 3 bytes.
    mask: u32,
    /// Hashes are its upper bits.
    shift: u32,
    bits: Box<[u64]>,
    /// Window -> its literals, `from..to` of `entries`.
    places: HashMap<u32, (u32, u32)>,
    entries: Box<[Entry]>,
}

struct Entry {
    literal: Box<[u8]>,
    /// Where in the literal the window stands.
    offset: u32,
    number: u32,
}

/// Literals that are found wherever they stand.
#[derive(Default)]
pub(crate) struct Grams {
    tables: Vec<Table>,
}

impl Grams {
    /// Takes in literals, none of them empty, each with a number that is told when it is found.
    pub(crate) fn new(literals: Vec<(Box<[u8]>, u32)>) -> Self {
        let mut by_width: [Vec<(Box<[u8]>, u32)>; WIDTH] = Default::default();
        for (literal, number) in literals {
            if let Some(longest) = literal.len().checked_sub(1) {
                by_width[longest.min(WIDTH - 1)].push((literal, number));
            }
        }
        let tables = by_width.into_iter().enumerate().filter(|(_, list)| !list.is_empty());
        Self { tables: tables.map(|(width, list)| Table::new(width + 1, list)).collect() }
    }

    /// Whether there are no literals.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Calls `found` with the number of a literal each time it stands in the text: all of `padded` but
    /// its last [`PADDING`] bytes.
    pub(crate) fn scan(&self, padded: &[u8], mut found: impl FnMut(u32)) {
        for table in &self.tables {
            table.scan(padded, &mut found);
        }
    }
}

impl Table {
    fn new(width: usize, literals: Vec<(Box<[u8]>, u32)>) -> Self {
        let mask = u32::MAX >> (8 * (WIDTH - width));
        let bit_count = if literals.len() <= FEW_MAX { FEW_BITS } else { MANY_BITS };
        let mut by_window: HashMap<u32, Vec<Entry>> = HashMap::with_capacity(literals.len());
        for (literal, number) in literals {
            let (window, offset) = choose(&literal, width, mask, &by_window);
            by_window.entry(window).or_default().push(Entry { literal, offset, number });
        }
        let mut table = Self {
            mask,
            shift: u32::BITS - bit_count,
            bits: vec![0; 1 << (bit_count - 6)].into_boxed_slice(),
            places: HashMap::with_capacity(by_window.len()),
            entries: Box::default(),
        };
        let mut entries = Vec::new();
        for (window, list) in by_window {
            let hash = table.hash(window);
            table.bits[hash >> 6] |= 1 << (hash & 63);
            let from = entries.len() as u32;
            entries.extend(list);
            table.places.insert(window, (from, entries.len() as u32));
        }
        table.entries = entries.into_boxed_slice();
        table
    }

    #[inline]
    fn hash(&self, window: u32) -> usize {
        (window.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    fn scan(&self, padded: &[u8], found: &mut impl FnMut(u32)) {
        // The length is known to the compiler in each: no check of bounds for each byte.
        match (
            <&[u64; 1 << (FEW_BITS - 6)]>::try_from(&*self.bits),
            <&[u64; 1 << (MANY_BITS - 6)]>::try_from(&*self.bits),
        ) {
            (Ok(few), _) => self.scan_with::<FEW_BITS, _>(few, padded, found),
            (_, Ok(many)) => self.scan_with::<MANY_BITS, _>(many, padded, found),
            _ => {}
        }
    }

    #[inline]
    fn scan_with<const BITS: u32, const WORDS: usize>(
        &self,
        bits: &[u64; WORDS],
        padded: &[u8],
        found: &mut impl FnMut(u32),
    ) {
        for (at, window) in padded.windows(WIDTH).enumerate() {
            let window =
                u32::from_le_bytes([window[0], window[1], window[2], window[3]]) & self.mask;
            let hash = (window.wrapping_mul(0x9e37_79b1) >> (u32::BITS - BITS)) as usize;
            if bits[(hash >> 6) % WORDS] >> (hash & 63) & 1 == 1 {
                self.compare(window, at, &padded[..padded.len() - PADDING], found);
            }
        }
    }

    #[cold]
    fn compare(&self, window: u32, at: usize, text: &[u8], found: &mut impl FnMut(u32)) {
        let Some((from, to)) = self.places.get(&window) else { return };
        for entry in &self.entries[*from as usize..*to as usize] {
            let start = at.checked_sub(entry.offset as usize);
            if start.is_some_and(|from| text[from..].starts_with(&entry.literal)) {
                found(entry.number);
            }
        }
    }
}

/// The window that a literal shall stand under, and where in it.
fn choose(literal: &[u8], width: usize, mask: u32, taken: &HashMap<u32, Vec<Entry>>) -> (u32, u32) {
    let windows = literal.windows(width).enumerate().map(|(offset, bytes)| {
        let window = number(bytes) & mask;
        let others = taken.get(&window).map_or(0, Vec::len) as u32;
        (others * SHARED + commonness(bytes), window, offset as u32)
    });
    windows.min().map_or((0, 0), |(_, window, offset)| (window, offset))
}

/// At most [`WIDTH`] bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    let mut padded = [0; WIDTH];
    padded[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(padded)
}

/// The windows of [`COMMON`].
static COMMON_WINDOWS: LazyLock<HashSet<u32>> =
    LazyLock::new(|| COMMON.iter().flat_map(|text| text.windows(WIDTH)).map(number).collect());

/// Pieces that stand in most paths, command lines and JSON records.
const COMMON: &[&[u8]] = &[
    b"c:\\windows\\system32\\",
    b"\\windows\\syswow64\\",
    b"c:\\program files (x86)\\",
    b"c:\\programdata\\",
    b"c:\\users\\",
    b"\\appdata\\local\\temp\\",
    b"\\appdata\\roaming\\",
    b"\\device\\harddiskvolume",
    b".exe\" -",
    b".dll",
    b"microsoft corporation",
    b"microsoft-windows-",
    b"powershell.exe",
    b"\\windowspowershell\\v1.0\\",
    b"cmd.exe /c ",
    b"svchost.exe",
    b"operational",
    b"\\registry\\machine\\software\\",
    b"hklm\\software\\microsoft\\windows\\currentversion\\",
    b"hklm\\system\\currentcontrolset\\services\\",
    b"https://www.",
    b".com/",
    b"/usr/bin/",
    b"/etc/",
    b"/var/log/",
    b"security",
    b"process",
    b"object",
    b"version",
    b"name\":\"",
    b"event",
    b"command",
    b"image",
    b"token",
    b"access",
    b"account",
    b"domain",
    b"message",
    b"source",
    b"target",
    b"string",
    b"file",
    b"user",
    b"null",
    b"true",
    b"false",
    b"0000",
    b"2020",
    b"2023",
    b"2024",
    b"2025",
    b"2026",
];

/// How often a piece stands in logs, roughly: 0 to some hundred.
pub(crate) fn commonness(bytes: &[u8]) -> u32 {
    let letters = bytes.iter().map(|b| match b {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 6,
        b'l' | b'c' | b'd' | b'm' | b'p' | b'u' | b'\\' | b'0' => 5,
        b' ' | b'.' | b'/' | b'-' | b'h' | b'g' | b'f' | b'w' | b'1' | b'2' => 4,
        b'y' | b'v' | b'b' | b'3'..=b'9' | b'_' | b':' | b'"' | b',' => 3,
        _ => 1,
    });
    let is_common = bytes.len() == WIDTH && COMMON_WINDOWS.contains(&number(bytes));
    letters.sum::<u32>() + if is_common { 4 * SHARED } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(literals: &[Vec<u8>], text: &[u8]) -> Vec<u32> {
        let numbered = literals.iter().zip(0..).map(|(l, n)| (l.as_slice().into(), n)).collect();
        let padded = [text, &[0; PADDING]].concat();
        let mut out = Vec::new();
        Grams::new(numbered).scan(&padded, |number| out.push(number));
        out.sort_unstable();
        out
    }

    fn expected(literals: &[Vec<u8>], text: &[u8]) -> Vec<u32> {
        let mut out = Vec::new();
        for (literal, number) in literals.iter().zip(0..) {
            let all = text.windows(literal.len()).filter(|w| w == literal);
            out.extend(all.map(|_| number));
        }
        out
    }

    proptest! {
        /// Few letters, so that literals overlap, contain each other and share windows; NUL among them,
        /// for the padding is made of it.
        #[test]
        fn every_place_of_every_literal_is_found(
            literals in prop::collection::vec(prop::collection::vec(0u8..3, 1..9), 0..100),
            text in prop::collection::vec(0u8..3, 0..60),
        ) {
            prop_assert_eq!(found(&literals, &text), expected(&literals, &text));
        }
    }

    #[test]
    fn literals_with_common_pieces_are_spread_over_windows() {
        let names: Vec<_> =
            (0..500).map(|n| format!("\\windows\\system32\\tool{n:03}.exe")).collect();
        let literals = names.iter().zip(0..).map(|(l, n)| (l.as_bytes().into(), n)).collect();
        let grams = Grams::new(literals);
        let longest = grams.tables[0].places.values().map(|(from, to)| to - from).max();
        assert!(longest.is_some_and(|n| n <= 12), "{longest:?}");
    }
}
