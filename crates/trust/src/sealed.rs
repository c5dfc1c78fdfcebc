//! `sealed.log`: one line per sealed range of records, each bound to the line before it.
//!
//! ```text
//! 1 00000000000000000000.seg 0 4095 4096 <root> <hash of the line before> <crc32c>\n
//! | segment                  |  |    |                                     of the line up to here
//! version                first last count
//! ```
//! Append-only text: it can be read with `less` and checked with a few lines of any language.
//! A last line without its newline is what a crash leaves and is cut; anything else that does not
//! read back is damage and is reported with its line number.

use crate::hash::Hash;
use crate::merkle::{MerkleTree, leaf_hash};

/// Longest line, newline included: bounds what a reader looks at.
pub const LINE_MAX_BYTES: usize = 512;
/// Longest segment name.
pub const SEGMENT_MAX_BYTES: usize = 128;
const VERSION: &str = "1";

/// One sealed range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRange {
    /// Name of the segment or file the records are in: letters, digits, `.`, `_`, `-`.
    pub segment: String,
    /// Offset of the first record.
    pub first: u64,
    /// Offset of the last record.
    pub last: u64,
    /// Number of records.
    pub count: u64,
    /// Root over them, see [`crate::range_root`].
    pub root: Hash,
    /// Hash of the line before; [`SealedLog::GENESIS`] for the first.
    pub previous: Hash,
}

/// What is wrong with a sealed log, or with a range somebody wants to append.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// A line that does not read back.
    #[error(
        "line {line} is damaged: {what}; restore sealed.log from a copy, do not repair by hand"
    )]
    Damaged {
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A line that does not continue the one before it.
    #[error("line {line} does not follow from the line before: one was changed, removed or added")]
    BrokenChain {
        /// Line number from 1.
        line: usize,
    },
    /// A range that cannot come next.
    #[error("range {first}..={last} with {count} records cannot follow offset {after:?}")]
    BadRange {
        /// First offset.
        first: u64,
        /// Last offset.
        last: u64,
        /// Number of records.
        count: u64,
        /// Last offset sealed before.
        after: Option<u64>,
    },
    /// A name that cannot stand in a line.
    #[error("`{segment}` cannot be a segment name here; use letters, digits, `.`, `_`, `-`")]
    BadName {
        /// The name.
        segment: String,
    },
}

/// A sealed log in memory: its ranges and the tree over their lines.
#[derive(Clone, Debug, Default)]
pub struct SealedLog {
    ranges: Vec<SealedRange>,
    tree: MerkleTree,
    head: Option<Hash>,
    size_bytes: u64,
}

impl SealedLog {
    /// What the first line names as the hash of its predecessor.
    pub const GENESIS: Hash = Hash([0; 32]);

    /// Reads a log and checks every line, the chain and the order of the ranges. A torn last line is
    /// left out: `size_bytes` then is less than `bytes.len()` and the file has to be cut to it.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        let mut log = Self::default();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line = log.ranges.len() + 1;
            let damaged = |what| SealedError::Damaged { line, what };
            if end >= LINE_MAX_BYTES {
                return Err(damaged("it is too long"));
            }
            let text = std::str::from_utf8(&rest[..end]).map_err(|_| damaged("not UTF-8"))?;
            let range = parse_line(text).map_err(damaged)?;
            if range.previous != log.head() {
                return Err(SealedError::BrokenChain { line });
            }
            log.accept(range, text)?;
            rest = &rest[end + 1..];
        }
        if rest.len() >= LINE_MAX_BYTES {
            let line = log.ranges.len() + 1;
            return Err(SealedError::Damaged { line, what: "it is too long" });
        }
        Ok(log)
    }

    /// Adds a range and returns its line, newline included, to be appended to the file and synced.
    pub fn append(
        &mut self,
        segment: &str,
        first: u64,
        last: u64,
        count: u64,
        root: Hash,
    ) -> Result<String, SealedError> {
        if !is_name(segment) {
            let segment = segment.chars().take(SEGMENT_MAX_BYTES).collect();
            return Err(SealedError::BadName { segment });
        }
        let previous = self.head();
        let range = SealedRange { segment: segment.to_owned(), first, last, count, root, previous };
        let body = format!("{VERSION} {segment} {first} {last} {count} {root} {previous}");
        let line = format!("{body} {:08x}", crc32c::crc32c(body.as_bytes()));
        self.accept(range, &line)?;
        Ok(line + "\n")
    }

    /// The ranges in order.
    pub fn ranges(&self) -> &[SealedRange] {
        &self.ranges
    }

    /// Bytes of the file that the log accounts for.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Last offset that is sealed.
    pub fn sealed_until(&self) -> Option<u64> {
        self.ranges.last().map(|r| r.last)
    }

    /// Hash of the last line, which the next one will name.
    pub fn head(&self) -> Hash {
        self.head.unwrap_or(Self::GENESIS)
    }

    /// The tree whose leaves are the lines (without newline): for proofs between two sizes of it.
    pub fn tree(&self) -> &MerkleTree {
        &self.tree
    }

    /// The range that holds `offset`, if it is sealed.
    pub fn range_of(&self, offset: u64) -> Option<&SealedRange> {
        let at = self.ranges.partition_point(|r| r.last < offset);
        self.ranges.get(at).filter(|r| r.first <= offset)
    }

    /// Recomputes roots with `recompute` (root and count of a range read from its records; `None`
    /// when they are gone) and returns the ranges that do not agree.
    pub fn disagreements(
        &self,
        mut recompute: impl FnMut(&SealedRange) -> Option<(Hash, u64)>,
    ) -> Vec<&SealedRange> {
        let agrees = |r: &SealedRange, got: Option<(Hash, u64)>| got == Some((r.root, r.count));
        self.ranges.iter().filter(|r| !agrees(r, recompute(r))).collect()
    }

    fn accept(&mut self, range: SealedRange, line: &str) -> Result<(), SealedError> {
        let SealedRange { first, last, count, .. } = range;
        let after = self.sealed_until();
        let span = last.checked_sub(first).and_then(|n| n.checked_add(1));
        // Offsets increase; they need not be dense, so a range may hold fewer records than offsets.
        let fits = span.is_some_and(|span| count >= 1 && count <= span);
        if !fits || after.is_some_and(|after| first <= after) {
            return Err(SealedError::BadRange { first, last, count, after });
        }
        self.head = Some(Hash::of(line.as_bytes()));
        self.tree.push(leaf_hash(&[line.as_bytes()]));
        self.size_bytes += line.len() as u64 + 1;
        self.ranges.push(range);
        Ok(())
    }
}

fn parse_line(line: &str) -> Result<SealedRange, &'static str> {
    let (body, check) = line.rsplit_once(' ').ok_or("fields are missing")?;
    if format!("{:08x}", crc32c::crc32c(body.as_bytes())) != check {
        return Err("its checksum is wrong");
    }
    let fields: Vec<&str> = body.split(' ').collect();
    let [version, segment, first, last, count, root, previous] = fields[..] else {
        return Err("it has not the right number of fields");
    };
    if version != VERSION {
        return Err("its version is unknown");
    }
    let number = |text: &str| -> Option<u64> {
        let n: u64 = text.parse().ok()?;
        // One spelling only, so that the hash of a line is a function of its content.
        (n.to_string() == text).then_some(n)
    };
    let hash = |text: &str| Hash::from_hex(text).filter(|h| h.to_string() == text);
    Ok(SealedRange {
        segment: is_name(segment).then(|| segment.to_owned()).ok_or("its segment name is wrong")?,
        first: number(first).ok_or("its first offset is wrong")?,
        last: number(last).ok_or("its last offset is wrong")?,
        count: number(count).ok_or("its count is wrong")?,
        root: hash(root).ok_or("its root is wrong")?,
        previous: hash(previous).ok_or("its previous hash is wrong")?,
    })
}

fn is_name(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    !text.is_empty() && text.len() <= SEGMENT_MAX_BYTES && text.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (SealedLog, String) {
        let mut log = SealedLog::default();
        let mut file = String::new();
        for n in 0..4u64 {
            file += &log.append("0.seg", n * 10, n * 10 + 9, 10, Hash::of(&[n as u8])).unwrap();
        }
        (log, file)
    }

    #[test]
    fn what_is_appended_reads_back() {
        let (log, file) = log();
        let read = SealedLog::parse(file.as_bytes()).unwrap();
        assert_eq!(read.ranges(), log.ranges());
        assert_eq!((read.head(), read.tree().root()), (log.head(), log.tree().root()));
        assert_eq!((read.size_bytes(), read.sealed_until()), (file.len() as u64, Some(39)));
        assert_eq!(read.range_of(25).unwrap().first, 20);
        assert_eq!(read.range_of(40), None);
        assert_eq!(SealedLog::parse(b"").unwrap().head(), SealedLog::GENESIS);
    }

    #[test]
    fn a_torn_tail_is_cut_and_a_log_can_go_on_after_it() {
        let (_, file) = log();
        let lines: Vec<&str> = file.split_inclusive('\n').collect();
        let torn = SealedLog::parse(&file.as_bytes()[..file.len() - 5]).unwrap();
        assert_eq!(torn.ranges().len(), 3);
        assert_eq!(torn.size_bytes(), lines[..3].concat().len() as u64);
        let mut torn = torn;
        assert!(torn.append("0.seg", 30, 39, 10, Hash::of(&[3])).unwrap() == lines[3]);
    }

    #[test]
    fn changed_removed_swapped_and_forged_lines_are_found() {
        let (_, file) = log();
        let lines: Vec<&str> = file.split_inclusive('\n').collect();
        let removed = [lines[0], lines[2], lines[3]].concat();
        assert_eq!(
            SealedLog::parse(removed.as_bytes()).unwrap_err(),
            SealedError::BrokenChain { line: 2 }
        );
        let swapped = [lines[0], lines[2], lines[1]].concat();
        assert!(SealedLog::parse(swapped.as_bytes()).is_err());
        // Somebody who knows the format writes a good line with another root.
        let mut forger = SealedLog::parse(lines[0].as_bytes()).unwrap();
        let forged = forger.append("0.seg", 10, 19, 10, Hash::of(b"other")).unwrap();
        let file2 = [lines[0], &forged, lines[2], lines[3]].concat();
        assert_eq!(
            SealedLog::parse(file2.as_bytes()).unwrap_err(),
            SealedError::BrokenChain { line: 3 }
        );
        for at in 0..file.len() {
            let mut bytes = file.clone().into_bytes();
            bytes[at] ^= 1;
            let got = SealedLog::parse(&bytes).map(|l| l.ranges().len());
            assert!(got.is_err() || got == Ok(3), "byte {at} was changed unnoticed");
        }
    }

    #[test]
    fn ranges_only_go_forward_and_names_are_plain() {
        let (mut log, _) = log();
        let root = Hash::default();
        for (first, last, count) in [(39, 50, 1), (50, 49, 1), (50, 59, 11), (50, 59, 0)] {
            assert!(log.append("s", first, last, count, root).is_err());
        }
        assert!(log.append("s", 50, 59, 3, root).is_ok());
        for name in ["", "a b", "../x\n", "\u{e9}"] {
            assert!(matches!(log.append(name, 90, 90, 1, root), Err(SealedError::BadName { .. })));
        }
    }

    #[test]
    fn recomputed_roots_are_compared() {
        let (log, _) = log();
        let bad = log.disagreements(|r| match r.first {
            0 => Some((Hash::of(&[0]), 10)),
            10 => Some((Hash::of(&[1]), 9)),
            20 => None,
            _ => Some((Hash::of(b"x"), 10)),
        });
        assert_eq!(bad.iter().map(|r| r.first).collect::<Vec<_>>(), [10, 20, 30]);
    }
}
