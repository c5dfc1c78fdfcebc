//! The file `generations/archive.ndjson`: what every generation was read from, each text once.
//!
//! ```text
//! {"text": "title: ..."}                                  a rule or filter, known by the hash of its text
//! {"generation": {"hash": ..., "rules": [hashes], ...}}   a generation: hashes of texts, and how they were read
//! {"switch": {"offset": ..., "number": ..., "hash": ...}} from which offset of the journal on it is in force
//! ```
//! The latter two begin with a `sum`, a hash of what stands behind it in the line; a text is told by its own.
//! Lines are only ever added, with one sync for all that belong together, but switches of records that
//! the journal does not have are overwritten with blanks at a start. A generation's list is told
//! by what differs from that of the generation before, so an edited rule costs its own text. An end
//! that was cut off by a crash is taken away at the next start: nothing refers to it yet.

use super::generations::Switch;
use super::kept::{Kept, Reading};
use crate::exit::Failure;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Name of the file in the folder of generations.
pub const FILE: &str = "archive.ndjson";

/// Most generations whose lists are told one by the other before one tells its whole list again:
/// reading one back reads so many lines.
const CHAIN_MAX: u32 = 64;

/// Hash of a text.
type Key = u128;

/// The archive's file, open, with an index of its lines in memory.
#[derive(Debug)]
pub struct Texts {
    file: File,
    /// Bytes that are whole lines; what lies behind them does not count.
    end: u64,
    texts: HashMap<Key, Place>,
    generations: HashMap<String, (Place, u32)>,
    switches: Vec<Switch>,
    /// Where their lines are.
    switch_places: Vec<Place>,
    /// Generations that are known to be readable.
    whole: HashSet<String>,
    /// The generation written last: what the next one is told by.
    newest: Option<Newest>,
}

/// A generation that was just written. It holds its texts, so that those which are the very same in
/// the next one are told by where they are in memory, without hashing megabytes.
#[derive(Debug)]
struct Newest {
    hash: String,
    rules: Vec<Key>,
    texts: HashMap<usize, (Arc<str>, Key)>,
}

/// Where a line begins, and its length without the line feed.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Text(Cow<'a, str>),
    Generation(Box<Listed>),
    Switch(Switch),
}

/// A generation as it is written. Its rules are `first` and `last` so many of those of the generation
/// `after`, and `rules` between them.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(default)]
    first: usize,
    #[serde(default)]
    last: usize,
    rules: Vec<Hex>,
    filters: Vec<Hex>,
    #[serde(flatten)]
    reading: Reading,
}

/// A key as text.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hex(Key);

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        format!("{:032x}", hex.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Key::from_str_radix(&text, 16).map(Self)
    }
}

impl Texts {
    /// Opens or creates the file in `dir`.
    ///
    /// # Errors
    /// What the file system says. Lines that cannot be read are passed over and told in the log.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        let is_new = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if is_new {
            File::open(dir)?.sync_all()?;
        }
        let mut texts = Self {
            file: file.try_clone()?,
            end: 0,
            texts: HashMap::new(),
            generations: HashMap::new(),
            switches: Vec::new(),
            switch_places: Vec::new(),
            whole: HashSet::new(),
            newest: None,
        };
        texts.index(&mut BufReader::with_capacity(1 << 18, file))?;
        if texts.file.metadata()?.len() > texts.end {
            tracing::warn!(path = %path.display(), "the archive's end was cut off; it is taken away");
            texts.file.set_len(texts.end)?;
        }
        Ok(texts)
    }

    fn index(&mut self, lines: &mut impl BufRead) -> Result<(), Failure> {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 && line.last() == Some(&b'\n') {
            let place = Place { at: self.end, bytes: line.len() - 1 };
            self.end += line.len() as u64;
            match line_of(&line[..place.bytes]) {
                Some(read) => self.note(&read, place),
                None if line.trim_ascii().is_empty() => {}
                None => {
                    tracing::error!(at = place.at, "a line of the archive of rules is damaged");
                }
            }
            line.clear();
        }
        Ok(())
    }

    fn note(&mut self, line: &Line<'_>, place: Place) {
        match line {
            Line::Text(text) => drop(self.texts.insert(xxh3_128(text.as_bytes()), place)),
            Line::Generation(listed) => {
                let before = listed.after.as_ref().and_then(|hash| self.generations.get(hash));
                let depth = before.map_or(0, |(_, depth)| depth + 1);
                self.generations.insert(listed.hash.clone(), (place, depth));
            }
            Line::Switch(switch) => {
                self.switches.push(switch.clone());
                self.switch_places.push(place);
            }
        }
    }

    /// All switches, in the order of their records in the journal.
    pub(super) fn switches(&self) -> &[Switch] {
        &self.switches
    }

    /// Adds what a generation was read from, unless it is there already, and whole; on disk when this
    /// returns.
    ///
    /// # Errors
    /// What the file system says; the archive is as it was then.
    pub fn keep(&mut self, hash: &str, kept: &Kept) -> Result<(), Failure> {
        if self.whole.contains(hash) {
            return Ok(());
        }
        if self.generations.contains_key(hash) {
            if self.read(hash).is_some() {
                self.whole.insert(hash.to_owned());
                return Ok(());
            }
            self.forget_damage(hash, kept);
        }
        let mut lines = Lines::new(self.end);
        let rules: Vec<Key> = kept.rules.iter().map(|text| self.key(text, &mut lines)).collect();
        let filters: Vec<Key> =
            kept.filters.iter().map(|text| self.key(text, &mut lines)).collect();
        let listed = self.listed(hash, &rules, &filters, kept.reading.clone());
        lines.add(Line::Generation(Box::new(listed)));
        self.append(lines)?;
        let texts = kept.rules.iter().zip(&rules);
        let texts = texts.map(|(text, key)| (address(text), (text.clone(), *key))).collect();
        self.newest = Some(Newest { hash: hash.to_owned(), rules, texts });
        self.whole.insert(hash.to_owned());
        Ok(())
    }

    /// A generation that cannot be read back is to be written again with all its texts that cannot,
    /// and not told by another one, which may be told by it.
    fn forget_damage(&mut self, hash: &str, kept: &Kept) {
        tracing::error!(hash, "a generation of the archive is damaged; it is written again");
        self.newest = None;
        for text in kept.rules.iter().chain(&kept.filters) {
            let key = xxh3_128(text.as_bytes());
            if self.text(key).is_none() {
                self.texts.remove(&key);
            }
        }
    }

    /// The key of a text, which is added to `lines` unless it is known.
    fn key(&self, text: &Arc<str>, lines: &mut Lines) -> Key {
        let same = self.newest.as_ref().and_then(|newest| newest.texts.get(&address(text)));
        if let Some((_, key)) = same.filter(|(known, _)| Arc::ptr_eq(known, text)) {
            return *key;
        }
        let key = xxh3_128(text.as_bytes());
        if !self.texts.contains_key(&key) && lines.new.insert(key) {
            lines.add(Line::Text(Cow::Owned(text.to_string())));
        }
        key
    }

    /// Adds switches; on disk when this returns.
    ///
    /// # Errors
    /// What the file system says; the archive is as it was then.
    pub(super) fn switch(&mut self, switches: &[Switch]) -> Result<(), Failure> {
        if switches.is_empty() {
            return Ok(());
        }
        let mut lines = Lines::new(self.end);
        switches.iter().for_each(|switch| lines.add(Line::Switch(switch.clone())));
        self.append(lines)
    }

    /// Takes away all switches from `offset` on.
    ///
    /// # Errors
    /// What the file system says; it can be tried again then.
    pub(super) fn forget_from(&mut self, offset: u64) -> Result<(), Failure> {
        let (mut kept, mut places) = (Vec::new(), Vec::new());
        for (switch, place) in self.switches.iter().zip(&self.switch_places) {
            if switch.offset >= offset {
                tracing::warn!(at = switch.offset, "a switch of generations has no record");
                self.file.write_all_at(&vec![b' '; place.bytes], place.at)?;
            } else {
                kept.push(switch.clone());
                places.push(*place);
            }
        }
        if kept.len() < self.switches.len() {
            self.file.sync_data()?;
            (self.switches, self.switch_places) = (kept, places);
        }
        Ok(())
    }

    fn listed(&self, hash: &str, rules: &[Key], filters: &[Key], reading: Reading) -> Listed {
        let hash = hash.to_owned();
        let filters = filters.iter().copied().map(Hex).collect();
        let newest = self.newest.as_ref().filter(|newest| {
            self.generations.get(&newest.hash).is_some_and(|(_, depth)| depth + 1 < CHAIN_MAX)
        });
        let Some(Newest { hash: after, rules: before, .. }) = newest else {
            let rules = rules.iter().copied().map(Hex).collect();
            return Listed { hash, after: None, first: 0, last: 0, rules, filters, reading };
        };
        let first = before.iter().zip(rules).take_while(|(a, b)| a == b).count();
        let ends = before[first..].iter().rev().zip(rules[first..].iter().rev());
        let last = ends.take_while(|(a, b)| a == b).count();
        let rules = rules[first..rules.len() - last].iter().copied().map(Hex).collect();
        Listed { hash, after: Some(after.clone()), first, last, rules, filters, reading }
    }

    fn append(&mut self, lines: Lines) -> Result<(), Failure> {
        let written =
            self.file.write_all_at(&lines.bytes, self.end).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // So that no piece of it is taken for a line later.
            let _ = self.file.set_len(self.end);
            return Err(error.into());
        }
        self.end += lines.bytes.len() as u64;
        for (line, place) in lines.lines {
            self.note(&line, place);
        }
        Ok(())
    }

    /// What a generation was read from. `None` if it is not here, or not whole.
    pub fn read(&self, hash: &str) -> Option<Kept> {
        let listed = self.generation(hash)?;
        let texts = |keys: &[Key]| -> Option<Vec<Arc<str>>> {
            keys.iter().map(|key| self.text(*key)).collect()
        };
        let filters: Vec<Key> = listed.filters.iter().map(|hex| hex.0).collect();
        let (rules, filters) = (texts(&self.rules_of(&listed, CHAIN_MAX)?)?, texts(&filters)?);
        Some(Kept { rules, filters, reading: listed.reading })
    }

    /// The keys of a generation's rules: its list, told by those of at most `chain` before it.
    fn rules_of(&self, listed: &Listed, chain: u32) -> Option<Vec<Key>> {
        let own: Vec<Key> = listed.rules.iter().map(|hex| hex.0).collect();
        let Some(after) = &listed.after else { return Some(own) };
        let before = self.rules_of(&self.generation(after)?, chain.checked_sub(1)?)?;
        let last = before.len().checked_sub(listed.last)?;
        let parts = [before.get(..listed.first)?, &own, before.get(last..)?];
        Some(parts.concat())
    }

    fn generation(&self, hash: &str) -> Option<Listed> {
        match line_of(&self.line(self.generations.get(hash)?.0)?)? {
            Line::Generation(listed) => Some(*listed).filter(|listed| listed.hash == hash),
            _ => None,
        }
    }

    fn text(&self, key: Key) -> Option<Arc<str>> {
        match line_of(&self.line(*self.texts.get(&key)?)?)? {
            Line::Text(text) if xxh3_128(text.as_bytes()) == key => Some(text.as_ref().into()),
            _ => None,
        }
    }

    /// Puts another file in the place of this one, and gives this one.
    #[cfg(test)]
    pub(super) fn swap_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    fn line(&self, place: Place) -> Option<Vec<u8>> {
        let mut bytes = vec![0; place.bytes];
        self.file.read_exact_at(&mut bytes, place.at).ok().map(|()| bytes)
    }
}

/// What stands before a line's own sum. A text needs none: whoever refers to it does so by its hash.
const SUM: &[u8] = br#"{"sum":""#;

/// Reads a line; `None` if it is damaged. Lines of older builds have no sum.
fn line_of(bytes: &[u8]) -> Option<Line<'static>> {
    if let Some(at) = memmem::find(&bytes[..bytes.len().min(32)], SUM) {
        let (sum, rest) = bytes[at + SUM.len()..].split_at_checked(32)?;
        let sum = Key::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
        (sum == xxh3_128(rest)).then_some(())?;
    }
    serde_json::from_slice(bytes).ok()
}

/// A line as it is written.
fn bytes_of(line: &Line<'_>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    let is_text = matches!(line, Line::Text(_));
    if let Some(at) = memmem::find(&bytes, b":{").filter(|_| !is_text) {
        // All behind it counts, so it has to stand first.
        let rest = [b"\",", &bytes[at + 2..]].concat();
        let sum = String::from(Hex(xxh3_128(&rest)));
        bytes.truncate(at + 1);
        bytes.extend([SUM, sum.as_bytes(), &rest].concat());
    }
    bytes
}

/// Where a text is in memory: a name for it as long as it is held.
fn address(text: &Arc<str>) -> usize {
    Arc::as_ptr(text).cast::<u8>() as usize
}

/// Lines that are to be added at once.
struct Lines {
    bytes: Vec<u8>,
    at: u64,
    lines: Vec<(Line<'static>, Place)>,
    new: HashSet<Key>,
}

impl Lines {
    fn new(at: u64) -> Self {
        Self { bytes: Vec::new(), at, lines: Vec::new(), new: HashSet::new() }
    }

    fn add(&mut self, line: Line<'static>) {
        let from = self.bytes.len();
        self.bytes.extend(bytes_of(&line));
        let place = Place { at: self.at + from as u64, bytes: self.bytes.len() - from };
        self.bytes.push(b'\n');
        self.lines.push((line, place));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn kept(values: &[&str]) -> Kept {
        let rules = values.iter().map(|v| Arc::from(format!("title: {v}\n"))).collect();
        Kept { rules, ..Kept::default() }
    }

    fn rules(texts: &Texts, hash: &str) -> Vec<Arc<str>> {
        texts.read(hash).unwrap().rules
    }

    fn bytes(dir: &Path) -> u64 {
        std::fs::metadata(dir.join(FILE)).unwrap().len()
    }

    /// Scenario: two hundred generations, each with one of two hundred rules edited; read back at
    /// once and by another start.
    /// Guarantees: every one comes back with its own texts in its own order; an edit costs its text
    /// and a line, not all texts again.
    #[test]
    fn a_generation_costs_what_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut texts = Texts::open(dir.path()).unwrap();
        let mut names: Vec<String> = (0..200).map(|n| format!("{n} {}", "x".repeat(400))).collect();
        let mut all = Vec::new();
        for n in 0..200 {
            names[n * 7 % 200] = format!("edited {n}");
            let generation = kept(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let before = bytes(dir.path());
            texts.keep(&format!("{n:x}"), &generation).unwrap();
            let cost = bytes(dir.path()) - before;
            assert!(n % CHAIN_MAX as usize == 0 || cost < 1_000, "generation {n}: {cost} bytes");
            all.push(generation);
        }
        for texts in [texts, Texts::open(dir.path()).unwrap()] {
            for (n, generation) in all.iter().enumerate() {
                assert_eq!(rules(&texts, &format!("{n:x}")), generation.rules, "{n}");
            }
            assert!(texts.read("ffff").is_none());
        }
    }

    /// Scenario: rules are added at both ends, all go, the same come again.
    /// Guarantees: each list comes back as it was.
    #[test]
    fn lists_come_back_whatever_changed() {
        let dir = tempfile::tempdir().unwrap();
        let lists: [&[&str]; 7] =
            [&["a"], &["a", "a"], &["z", "a", "b"], &[], &["b"], &["b", "b", "b"], &["a", "b"]];
        let mut texts = Texts::open(dir.path()).unwrap();
        for (n, list) in lists.iter().enumerate() {
            texts.keep(&n.to_string(), &kept(list)).unwrap();
        }
        for (n, list) in lists.iter().enumerate() {
            assert_eq!(rules(&texts, &n.to_string()), kept(list).rules, "{n}");
        }
    }

    /// Scenario: the file ends within a line, at every byte of the last generation.
    /// Guarantees: what was whole is there, the piece is gone, and what is added next can be read.
    #[test]
    fn an_end_that_was_cut_off_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut texts = Texts::open(dir.path()).unwrap();
        texts.keep("1", &kept(&["a"])).unwrap();
        texts.switch(&[Switch { offset: 3, number: 1, hash: "1".into() }]).unwrap();
        let whole = bytes(dir.path());
        texts.keep("2", &kept(&["a", "b"])).unwrap();
        let all = std::fs::read(dir.path().join(FILE)).unwrap();
        for cut in whole as usize..all.len() {
            std::fs::write(dir.path().join(FILE), &all[..cut]).unwrap();
            let mut texts = Texts::open(dir.path()).unwrap();
            assert_eq!(texts.switches().len(), 1);
            assert_eq!(rules(&texts, "1"), kept(&["a"]).rules);
            assert!(texts.read("2").is_none(), "{cut}");
            texts.keep("3", &kept(&["c", "a"])).unwrap();
            let again = Texts::open(dir.path()).unwrap();
            assert_eq!(rules(&again, "3"), kept(&["c", "a"]).rules, "{cut}");
        }
    }

    /// Scenario: in a file of three generations, each told by the one before, with a switch, a byte is
    /// damaged, every seventh in turn, also while the file is open.
    /// Guarantees: what is damaged does not come back as something else; what is kept again is whole,
    /// at once and after a start, and what it was told by does not matter.
    #[test]
    fn what_is_damaged_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let lists: [&[&str]; 3] = [&["a"], &["a", "b"], &["a", "b", "c"]];
        let mut texts = Texts::open(dir.path()).unwrap();
        for (n, list) in lists.iter().enumerate() {
            texts.keep(&n.to_string(), &kept(list)).unwrap();
        }
        texts.switch(&[Switch { offset: 3, number: 1, hash: "1".into() }]).unwrap();
        let path = dir.path().join(FILE);
        let all = std::fs::read(&path).unwrap();
        let check = |mut texts: Texts, what: &str| {
            assert!(texts.switches().iter().all(|s| s.offset == 3 && s.hash == "1"), "{what}");
            for (n, list) in lists.iter().enumerate().rev() {
                let (name, kept) = (n.to_string(), kept(list));
                assert!(texts.read(&name).is_none_or(|read| read.rules == kept.rules), "{what}");
                texts.keep(&name, &kept).unwrap();
                assert_eq!(rules(&texts, &name), kept.rules, "{what}");
            }
            let again = Texts::open(dir.path()).unwrap();
            for (n, list) in lists.iter().enumerate() {
                assert_eq!(rules(&again, &n.to_string()), kept(list).rules, "{what}");
            }
        };
        for at in (0..all.len()).step_by(7) {
            // What an open file has read of it are the lines, not where they end.
            for open_before in [false, all[at] != b'\n'] {
                let mut bytes = all.clone();
                std::fs::write(&path, &bytes).unwrap();
                let before = open_before.then(|| Texts::open(dir.path()).unwrap());
                bytes[at] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
                let texts = before.unwrap_or_else(|| Texts::open(dir.path()).unwrap());
                check(texts, &format!("byte {at}, open before: {open_before}"));
            }
        }
    }

    /// Scenario: a file of a build that wrote no sums.
    /// Guarantees: its lines are read.
    #[test]
    fn lines_without_sums_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut texts = Texts::open(dir.path()).unwrap();
        texts.keep("1", &kept(&["a", "b"])).unwrap();
        texts.switch(&[Switch { offset: 3, number: 1, hash: "1".into() }]).unwrap();
        let path = dir.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let without = |line: &str| match line.split_once(r#""sum":""#) {
            Some((before, rest)) => format!("{before}{}\n", &rest[34..]),
            None => format!("{line}\n"),
        };
        let old: String = text.lines().map(without).collect();
        assert!(old.len() + 2 * 41 == text.len() && !old.contains("sum"), "{old}");
        std::fs::write(&path, old).unwrap();
        let texts = Texts::open(dir.path()).unwrap();
        assert_eq!((rules(&texts, "1"), texts.switches().len()), (kept(&["a", "b"]).rules, 1));
    }
}
