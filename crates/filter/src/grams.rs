//! Finding any of thousands of literals anywhere in a text.
//!
//! ```text
//! 5 bytes and more  two windows of 4 bytes, one at an even, one at an odd offset, rare and shared by few
//!                   text  . . . . every second place --hash--> a bit set? --> compare --> found
//! 3 and 4 bytes     one window of 3 bytes            every place, likewise
//! 1 and 2 bytes     all pairs of bytes with them     every place, no hash
//! few, long text    one window each                  16 or 32 places at a time, in registers
//! ```
//! An automaton reads a byte after the other, each step waiting for the one before; here steps do not
//! depend on each other, nearly all end at a bit that is not set, and the tables are made in no time: rules
//! make them anew for each kind of event whenever witnesses change, packs whenever there is a new generation.
//!
//! Each literal stands under one or two windows only, so what a text costs is bounded by how many
//! literals share a window, whatever the text.

use aho_corasick::packed;
use hashbrown::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};

/// Bytes of the longest window.
const WIDTH: usize = 4;
/// Places that are looked at together.
const PLACES: usize = 4;
/// Bytes that a text must have behind its end, so that windows can be read at each of its places.
pub const PADDING: usize = PLACES + WIDTH - 1;
/// Up to so many windows the bits fit into 512 bytes; 1 bit in 64 is set then.
const FEW_MAX: usize = 64;
const FEW_BITS: u32 = 12;
/// 8 KiB: stays in the first cache beside the text.
const MANY_BITS: u32 = 16;
/// How much more a window costs for each other literal under it, in units of [`commonness`].
const SHARED: u32 = 40;
/// Windows that one search in registers takes in.
const PACKED_MAX: usize = 64;
/// Searches in registers that are still faster than the tables.
const PACKED_SEARCHES_MAX: usize = 2;
/// In shorter text such a search does not pay.
const PACKED_TEXT_BYTES_MIN: usize = 64;
/// Making it takes as long as reading so many long texts otherwise; many tables serve for moments only.
const PACKED_AFTER_TEXTS: u32 = 256;
/// A hit costs such a search as much as so many bytes; and so many bytes of hits are put up with before
/// the tables are asked instead, which no text makes slow.
const PACKED_HIT_BYTES: usize = 32;
const PACKED_HITS_BYTES_MIN: usize = 512;

/// A literal and the caller's number for it.
type Numbered = (Box<[u8]>, u32);

/// Literals that are found wherever they stand.
#[derive(Default)]
pub struct Grams {
    ascii: Literals,
    /// Those with other bytes: not looked for in text that has none.
    other: Literals,
}

impl Grams {
    /// Takes in literals, none of them empty, each with a number that is told when it is found.
    pub fn new(literals: Vec<Numbered>) -> Self {
        let (ascii, other) = literals.into_iter().partition(|(literal, _)| literal.is_ascii());
        Self { ascii: Literals::new(ascii), other: Literals::new(other) }
    }

    /// Whether there are no literals.
    pub fn is_empty(&self) -> bool {
        self.ascii.is_empty() && self.other.is_empty()
    }

    /// Calls `found` with the number of a literal at least once for each time it stands in the text: all
    /// of `padded` but its last [`PADDING`] bytes. `is_ascii`: the text has no other bytes.
    pub fn scan(&self, padded: &[u8], is_ascii: bool, mut found: impl FnMut(u32)) {
        self.ascii.scan(padded, &mut found);
        if !is_ascii {
            self.other.scan(padded, &mut found);
        }
    }
}

/// Literals by their length.
#[derive(Default)]
struct Literals {
    short: Option<Table>,
    middle: Option<Table>,
    long: Option<Table>,
    /// Made when enough long texts have come.
    packed: OnceLock<Option<Packed>>,
    long_texts: AtomicU32,
}

impl Literals {
    fn new(literals: Vec<Numbered>) -> Self {
        let of = |reading: Reading| {
            let own = literals.iter().filter(|(text, _)| Reading::of(text.len()) == reading);
            let own: Vec<_> = own.cloned().collect();
            (!own.is_empty()).then(|| Table::new(reading, own))
        };
        Self {
            short: of(Reading::Short),
            middle: of(Reading::Middle),
            long: of(Reading::Long),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.short.is_none() && self.middle.is_none() && self.long.is_none()
    }

    fn scan(&self, padded: &[u8], found: &mut impl FnMut(u32)) {
        if let Some(short) = &self.short {
            short.scan(padded, found);
        }
        let (mut middle, mut long) = (&self.middle, &self.long);
        let text = &padded[..padded.len() - PADDING];
        if text.len() >= PACKED_TEXT_BYTES_MIN
            && let Some(packed) = self.packed()
            && packed.scan(text, found)
        {
            middle = &None;
            long = if packed.has_long { &None } else { long };
        }
        for table in [middle, long].into_iter().flatten() {
            table.scan(padded, found);
        }
    }

    fn packed(&self) -> Option<&Packed> {
        let Some(packed) = self.packed.get() else {
            let before = self.long_texts.fetch_add(1, Ordering::Relaxed);
            let make = || Packed::of([&self.middle, &self.long]);
            return (before >= PACKED_AFTER_TEXTS)
                .then(|| self.packed.get_or_init(make).as_ref())?;
        };
        packed.as_ref()
    }
}

/// How a table reads a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Pairs of bytes at each place.
    Short,
    /// Three bytes at each place.
    Middle,
    /// Four bytes at every second place.
    Long,
}

impl Reading {
    /// For a literal of so many bytes.
    fn of(len: usize) -> Self {
        match len {
            0..=2 => Self::Short,
            3..=4 => Self::Middle,
            _ => Self::Long,
        }
    }

    /// Bytes of a window, at most.
    fn width(self) -> usize {
        match self {
            Self::Short => 2,
            Self::Middle => 3,
            Self::Long => 4,
        }
    }
}

/// Which literals stand under a window, and where.
#[derive(Default)]
struct Windows {
    /// A window and its length in bytes -> its literals, `from..to` of `entries`.
    places: HashMap<(u32, u8), (u32, u32)>,
    entries: Box<[Entry]>,
}

#[derive(Clone)]
struct Entry {
    literal: Box<[u8]>,
    /// Where in the literal the window stands.
    offset: u32,
    number: u32,
}

/// Windows being chosen.
type Chosen = HashMap<(u32, u8), Vec<Entry>>;

impl Windows {
    fn new(chosen: Chosen) -> Self {
        let mut entries = Vec::new();
        let mut places = HashMap::with_capacity(chosen.len());
        for (window, list) in chosen {
            let from = entries.len() as u32;
            entries.extend(list);
            places.insert(window, (from, entries.len() as u32));
        }
        Self { places, entries: entries.into() }
    }

    /// Tells the literals that stand in the text with a window of `width` bytes at `at`, where the text
    /// reads `window`.
    fn compare(
        &self,
        (window, width): (u32, u8),
        at: usize,
        text: &[u8],
        found: &mut impl FnMut(u32),
    ) {
        let Some((from, to)) = self.places.get(&(window, width)) else { return };
        for entry in &self.entries[*from as usize..*to as usize] {
            let rest = at.checked_sub(entry.offset as usize).and_then(|start| text.get(start..));
            if rest.is_some_and(|rest| rest.starts_with(&entry.literal)) {
                found(entry.number);
            }
        }
    }
}

/// Literals of one [`Reading`].
struct Table {
    reading: Reading,
    /// Hash of a window -> whether there is one.
    bits: Box<[u64]>,
    windows: Windows,
}

impl Table {
    fn new(reading: Reading, literals: Vec<Numbered>) -> Self {
        let mut chosen = Chosen::with_capacity(literals.len());
        for (literal, number) in literals {
            match reading {
                Reading::Long => [0, 1].into_iter().for_each(|parity| {
                    choose((&literal, number), reading.width(), Some(parity), &mut chosen);
                }),
                _ => choose((&literal, number), reading.width(), None, &mut chosen),
            }
        }
        let is_few = reading != Reading::Short && chosen.len() <= FEW_MAX;
        let mut bits = vec![0; 1 << (if is_few { FEW_BITS } else { MANY_BITS } - 6)];
        for (window, width) in chosen.keys() {
            let pairs = match (reading, width) {
                // Whatever stands behind it.
                (Reading::Short, 1) => (0..=u8::MAX).map(|next| u32::from(next) << 8).collect(),
                _ => vec![0],
            };
            for pair in pairs {
                let hash = match (reading, is_few) {
                    (Reading::Short, _) => (window | pair) as usize,
                    (_, true) => hash::<FEW_BITS>(*window),
                    (_, false) => hash::<MANY_BITS>(*window),
                };
                bits[hash >> 6] |= 1u64 << (hash & 63);
            }
        }
        Self { reading, bits: bits.into(), windows: Windows::new(chosen) }
    }

    fn scan(&self, padded: &[u8], found: &mut impl FnMut(u32)) {
        // The length is known to the compiler in each: no check of bounds for each place.
        const FEW: usize = 1 << (FEW_BITS - 6);
        const MANY: usize = 1 << (MANY_BITS - 6);
        let text = &padded[..padded.len() - PADDING];
        let windows = &self.windows;
        let mut hit = |at: usize, window: u32| {
            if self.reading == Reading::Short {
                windows.compare((window & 0xff, 1), at, text, found);
            }
            windows.compare((window, self.reading.width() as u8), at, text, found);
        };
        let few = <&[u64; FEW]>::try_from(&*self.bits);
        let many = <&[u64; MANY]>::try_from(&*self.bits);
        match (self.reading, few, many) {
            (Reading::Short, _, Ok(bits)) => {
                sift::<1, 0xffff, MANY>(bits, padded, |window| window as usize, &mut hit);
            }
            (Reading::Middle, Ok(bits), _) => {
                sift::<1, 0xff_ffff, FEW>(bits, padded, hash::<FEW_BITS>, &mut hit);
            }
            (Reading::Middle, _, Ok(bits)) => {
                sift::<1, 0xff_ffff, MANY>(bits, padded, hash::<MANY_BITS>, &mut hit);
            }
            (Reading::Long, Ok(bits), _) => {
                sift::<2, { u32::MAX }, FEW>(bits, padded, hash::<FEW_BITS>, &mut hit);
            }
            (Reading::Long, _, Ok(bits)) => {
                sift::<2, { u32::MAX }, MANY>(bits, padded, hash::<MANY_BITS>, &mut hit);
            }
            _ => {}
        }
    }
}

#[inline]
fn hash<const BITS: u32>(window: u32) -> usize {
    (window.wrapping_mul(0x9e37_79b1) >> (u32::BITS - BITS)) as usize
}

/// Calls `hit` with each place that is looked at whose window has its bit set. Four places at a time: most
/// have none, which is one decision then.
#[inline]
fn sift<const STEP: usize, const MASK: u32, const WORDS: usize>(
    bits: &[u64; WORDS],
    padded: &[u8],
    hash: impl Fn(u32) -> usize,
    hit: &mut impl FnMut(usize, u32),
) {
    for (number, bytes) in padded.windows(PLACES + WIDTH).step_by(PLACES).enumerate() {
        let Ok(bytes) = bytes.try_into() else { return };
        let all = u64::from_le_bytes(bytes);
        let window = |place: usize| (all >> (8 * place)) as u32 & MASK;
        let bit = |place: usize| {
            let hash = hash(window(place));
            bits[(hash >> 6) % WORDS] >> (hash & 63) & 1
        };
        let any = match STEP {
            1 => bit(0) | bit(1) | bit(2) | bit(3),
            _ => bit(0) | bit(2),
        };
        if any != 0 {
            for place in (0..PLACES).step_by(STEP).filter(|place| bit(*place) != 0) {
                hit(number * PLACES + place, window(place));
            }
        }
    }
}

/// Puts a literal under its best window of up to `width` bytes; of those at even or at odd offsets, if
/// `parity` says so.
fn choose(
    (literal, number): (&[u8], u32),
    width: usize,
    parity: Option<usize>,
    chosen: &mut Chosen,
) {
    let width = width.min(literal.len());
    let windows = literal.windows(width).enumerate();
    let windows = windows.filter(|(offset, _)| parity.is_none_or(|p| offset % 2 == p));
    let costs = windows.map(|(offset, bytes)| {
        let window = (number_of(bytes), width as u8);
        let others = chosen.get(&window).map_or(0, Vec::len) as u32;
        (others * SHARED + commonness(bytes), window, offset as u32)
    });
    if let Some((_, window, offset)) = costs.min() {
        let entry = Entry { literal: literal.into(), offset, number };
        chosen.entry(window).or_default().push(entry);
    }
}

/// Few literals, looked for in registers.
struct Packed {
    /// Whether the long ones are among them.
    has_long: bool,
    windows: Windows,
    searchers: Vec<packed::Searcher>,
}

impl Packed {
    /// Of the literals of all tables, or of all but the last, if those are few.
    fn of(tables: [&Option<Table>; 2]) -> Option<Self> {
        let all = |tables: &[&Option<Table>]| -> HashMap<Box<[u8]>, Vec<u32>> {
            let mut out: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
            for entry in tables.iter().copied().flatten().flat_map(|t| &t.windows.entries) {
                let numbers = out.entry_ref(&*entry.literal).or_default();
                // A literal stands under two windows in some tables.
                if !numbers.contains(&entry.number) {
                    numbers.push(entry.number);
                }
            }
            out
        };
        let (mut literals, mut has_long) = (all(&tables), true);
        if literals.len() > PACKED_MAX * PACKED_SEARCHES_MAX {
            (literals, has_long) = (all(&tables[..1]), false);
        }
        if literals.is_empty() || literals.len() > PACKED_MAX * PACKED_SEARCHES_MAX {
            return None;
        }
        let mut chosen = Chosen::new();
        for (literal, numbers) in &literals {
            for number in numbers {
                choose((literal, *number), WIDTH, None, &mut chosen);
            }
        }
        let texts: Vec<Vec<u8>> = chosen
            .keys()
            .map(|(window, width)| window.to_le_bytes()[..usize::from(*width)].to_vec())
            .collect();
        let searchers: Option<_> =
            texts.chunks(PACKED_MAX).map(|some| packed::Searcher::new(some.iter())).collect();
        Some(Self { has_long, windows: Windows::new(chosen), searchers: searchers? })
    }

    /// False: the text has so many hits that it is better read otherwise; some have been told.
    fn scan(&self, text: &[u8], found: &mut impl FnMut(u32)) -> bool {
        let mut hits = 0;
        for searcher in &self.searchers {
            let mut at = 0;
            while let Some(hit) = searcher.find_in(text, (at..text.len()).into()) {
                at = hit.start();
                for width in [3, WIDTH] {
                    if let Some(window) = text.get(at..at + width) {
                        let window = (number_of(window), width as u8);
                        self.windows.compare(window, at, text, found);
                    }
                }
                at += 1;
                hits += 1;
                if hits * PACKED_HIT_BYTES > text.len() + PACKED_HITS_BYTES_MIN {
                    return false;
                }
            }
        }
        true
    }
}

/// At most [`WIDTH`] bytes as a number.
fn number_of(bytes: &[u8]) -> u32 {
    let mut padded = [0; WIDTH];
    padded[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(padded)
}

/// The windows of [`COMMON`].
static COMMON_WINDOWS: LazyLock<HashSet<u32>> =
    LazyLock::new(|| COMMON.iter().flat_map(|text| text.windows(WIDTH)).map(number_of).collect());

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
pub fn commonness(bytes: &[u8]) -> u32 {
    let letters = bytes.iter().map(|b| match b {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 6,
        b'l' | b'c' | b'd' | b'm' | b'p' | b'u' | b'\\' | b'0' => 5,
        b' ' | b'.' | b'/' | b'-' | b'h' | b'g' | b'f' | b'w' | b'1' | b'2' => 4,
        b'y' | b'v' | b'b' | b'3'..=b'9' | b'_' | b':' | b'"' | b',' => 3,
        _ => 1,
    });
    let is_common = bytes.len() == WIDTH && COMMON_WINDOWS.contains(&number_of(bytes));
    letters.sum::<u32>() + if is_common { 4 * SHARED } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(literals: &[Vec<u8>], text: &[u8]) -> Vec<u32> {
        let numbered = literals.iter().zip(0..).map(|(l, n)| (l.as_slice().into(), n)).collect();
        let padded = [text, &[0; PADDING]].concat();
        let grams = Grams::new(numbered);
        let scan = || {
            let mut out = Vec::new();
            grams.scan(&padded, text.is_ascii(), |number| out.push(number));
            out.sort_unstable();
            out.dedup();
            out
        };
        let first = scan();
        for literals in [&grams.ascii, &grams.other] {
            literals.long_texts.store(PACKED_AFTER_TEXTS, Ordering::Relaxed);
        }
        assert_eq!(first, scan(), "in registers");
        first
    }

    fn expected(literals: &[Vec<u8>], text: &[u8]) -> Vec<u32> {
        let stands = |literal: &Vec<u8>| text.windows(literal.len()).any(|w| w == literal);
        literals.iter().zip(0..).filter(|(l, _)| stands(l)).map(|(_, number)| number).collect()
    }

    /// Few different bytes, so that literals overlap, contain each other and share windows; NUL among them,
    /// for the padding is made of it, and one that is not ASCII.
    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![30 => 0u8..3, 1 => Just(0xe2)]
    }

    proptest! {
        #[test]
        fn every_literal_that_stands_in_the_text_is_found(
            literals in prop::collection::vec(prop::collection::vec(byte(), 1..12), 0..100),
            text in prop::collection::vec(byte(), 0..60),
        ) {
            prop_assert_eq!(found(&literals, &text), expected(&literals, &text));
        }

        /// Text in which hits are rare, at all places, and text that is nothing but hits: the search in
        /// registers goes on to the end of one and gives up in the other.
        #[test]
        fn literals_are_found_in_long_text(
            literals in prop::collection::vec(prop::collection::vec(b'a'..b'd', 1..12), 1..300),
            filling in prop::collection::vec(prop_oneof![20 => b'k'..b'z', 1 => b'a'..b'd'], 64..600),
            at in 0..600usize,
            which in 0..300usize,
            repeats in 1..60usize,
        ) {
            let literal = &literals[which % literals.len()];
            let (head, tail) = filling.split_at(at % filling.len());
            let text = [head, &literal.repeat(repeats), tail].concat();
            prop_assert_eq!(found(&literals, &text), expected(&literals, &text));
        }
    }

    #[test]
    fn literals_with_common_pieces_are_spread_over_windows() {
        let names: Vec<_> =
            (0..500).map(|n| format!("\\windows\\system32\\tool{n:03}.exe")).collect();
        let literals = names.iter().zip(0..).map(|(l, n)| (l.as_bytes().into(), n)).collect();
        let grams = Grams::new(literals);
        let windows = &grams.ascii.long.as_ref().unwrap().windows;
        let longest = windows.places.values().map(|(from, to)| to - from).max();
        assert!(longest.is_some_and(|n| n <= 24), "{longest:?}");
    }
}
