//! Known-bad addresses, networks, domains, URLs and hashes; and lists of what is known to be harmless,
//! which win over them.
//!
//! All entries stand back to back in one arena, `[list u16][length u16][bytes]`, and a table holds
//! their offsets: a million entries take some 35 bytes more than their text at most.

use super::{Hit, TableError};
use hashbrown::{DefaultHashBuilder, HashTable};
use ipnet::IpNet;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::path::Path;

/// Longest line of a list that can be an indicator (a URL; a domain name has at most 253 characters).
const LINE_LEN_MAX: usize = 2_048;
/// Most labels of a name that are looked at.
const LABELS_MAX: usize = 32;
/// Most lists: their number is kept with each entry in two bytes.
const LISTS_MAX: usize = 1 << 16;

/// What an entry is; part of its key, so that a name is never taken for a hash of the same letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Address = b'a',
    Network = b'n',
    Domain = b'd',
    Url = b'u',
    Hash = b'h',
}

/// All lists together; a hit names the first list that holds it.
#[derive(Default)]
pub(super) struct Indicators {
    lists: Vec<String>,
    entries: Entries,
    /// Prefix lengths that occur, IPv4 and IPv6 apart, longest first.
    lengths: [Vec<u8>; 2],
}

impl Indicators {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.entries.table.len()
    }

    /// Bytes that the entries take.
    pub(super) fn size_bytes(&self) -> usize {
        self.entries.arena.capacity() + self.entries.table.allocation_size()
    }

    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TableError> {
        let wrong = |line: Option<usize>, message: String| TableError {
            path: path.into(),
            line: line.map(|line| line + 1),
            message,
        };
        let list = u16::try_from(self.lists.len())
            .map_err(|_| wrong(None, format!("more than {LISTS_MAX} lists")))?;
        for (number, line) in bytes.split(|c| *c == b'\n').enumerate() {
            let text =
                std::str::from_utf8(line).map_err(|_| wrong(Some(number), "not UTF-8".into()))?;
            let text = text.split_once('#').map_or(text, |(before, _)| before);
            let word = text.split([',', ';', '\t', ' ']).find(|w| !w.trim().is_empty());
            let Some(word) = word.map(|w| w.trim().trim_matches('"')) else { continue };
            if word.len() > LINE_LEN_MAX {
                return Err(wrong(Some(number), "longer than any indicator".into()));
            }
            self.entry(word, list).map_err(|message| wrong(Some(number), message))?;
        }
        self.entries.shrink();
        for lengths in &mut self.lengths {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
        }
        self.lists.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        Ok(())
    }

    fn entry(&mut self, word: &str, list: u16) -> Result<(), String> {
        let mut key = [0; LINE_LEN_MAX];
        let added = if let Ok(address) = word.parse::<IpAddr>() {
            let len = octets(address, &mut key);
            self.entries.add(Kind::Address, &key[..len], list)
        } else if let Ok(network) = word.parse::<IpNet>() {
            let len = network_key(network.trunc(), &mut key);
            let lengths = &mut self.lengths[usize::from(network.addr().is_ipv6())];
            if !lengths.contains(&network.prefix_len()) {
                lengths.push(network.prefix_len());
            }
            self.entries.add(Kind::Network, &key[..len], list)
        } else if let Some(len) = hash_key(word.as_bytes(), &mut key) {
            self.entries.add(Kind::Hash, &key[..len], list)
        } else if let Some(len) = url_key(word.as_bytes(), &mut key) {
            self.entries.add(Kind::Url, &key[..len], list)
        } else if is_domain(word) {
            let name = word.trim_start_matches("*.").trim_matches('.').to_lowercase();
            self.entries.add(Kind::Domain, name.as_bytes(), list)
        } else {
            let shown: String = word.chars().take(60).collect();
            return Err(format!("`{shown}` is no address, network, domain, URL or hash"));
        };
        added.ok_or_else(|| "the lists are larger than 4 GiB together".to_owned())
    }

    pub(super) fn of_address(&self, address: IpAddr) -> Option<Hit<'_>> {
        if self.is_empty() {
            return None;
        }
        let kind = if address.is_ipv6() { "ipv6-addr" } else { "ipv4-addr" };
        let mut key = [0; 17];
        let len = octets(address, &mut key);
        if let Some(list) = self.entries.get(Kind::Address, &key[..len]) {
            return Some(self.hit(address.to_string(), kind, list));
        }
        self.lengths[usize::from(address.is_ipv6())].iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            let len = network_key(network, &mut key);
            let list = self.entries.get(Kind::Network, &key[..len])?;
            Some(self.hit(network.to_string(), kind, list))
        })
    }

    /// A listed name, or one below it.
    pub(super) fn of_domain(&self, name: &[u8]) -> Option<Hit<'_>> {
        let mut lower = [0; 256];
        if self.is_empty() || name.len() > lower.len() {
            return None;
        }
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let mut rest = lower.strip_suffix(b".").unwrap_or(lower);
        for _ in 0..LABELS_MAX {
            if let Some(list) = self.entries.get(Kind::Domain, rest) {
                let name = String::from_utf8_lossy(rest).into_owned();
                return Some(self.hit(name, "domain-name", list));
            }
            rest = &rest[memchr::memchr(b'.', rest)? + 1..];
        }
        None
    }

    /// A listed URL, whatever the case of its host and what stands behind `#`.
    pub(super) fn of_url(&self, url: &[u8]) -> Option<Hit<'_>> {
        let mut key = [0; LINE_LEN_MAX];
        let len = if self.is_empty() { None } else { url_key(url, &mut key) }?;
        let list = self.entries.get(Kind::Url, &key[..len])?;
        Some(self.hit(String::from_utf8_lossy(&key[..len]).into_owned(), "url", list))
    }

    pub(super) fn of_hash(&self, hash: &[u8]) -> Option<Hit<'_>> {
        let mut key = [0; 64];
        let len = hash_key(hash, &mut key)?;
        let list = self.entries.get(Kind::Hash, &key[..len])?;
        Some(self.hit(String::from_utf8_lossy(hash).to_ascii_lowercase(), "file", list))
    }

    fn hit(&self, indicator: String, kind: &'static str, list: u16) -> Hit<'_> {
        Hit { indicator, kind, list: &self.lists[usize::from(list)] }
    }
}

/// Keys with the number of their list.
#[derive(Default)]
struct Entries {
    arena: Vec<u8>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// Bytes in front of a key: list, length, kind.
const HEAD_BYTES: usize = 5;

impl Entries {
    /// Adds a key; the first list that holds it stays. `None`: there is no room.
    fn add(&mut self, kind: Kind, key: &[u8], list: u16) -> Option<()> {
        if self.get(kind, key).is_some() {
            return Some(());
        }
        let offset = u32::try_from(self.arena.len()).ok()?;
        let len = u16::try_from(key.len()).ok()?;
        self.arena.extend_from_slice(&list.to_le_bytes());
        self.arena.extend_from_slice(&len.to_le_bytes());
        self.arena.push(kind as u8);
        self.arena.extend_from_slice(key);
        let (arena, hasher) = (&self.arena, &self.hasher);
        let hash = hasher.hash_one((kind as u8, key));
        self.table.insert_unique(hash, offset, |at| {
            let (_, kind, key) = read(arena, *at);
            hasher.hash_one((kind, key))
        });
        Some(())
    }

    fn get(&self, kind: Kind, key: &[u8]) -> Option<u16> {
        let hash = self.hasher.hash_one((kind as u8, key));
        let found = self.table.find(hash, |at| {
            let (_, own, bytes) = read(&self.arena, *at);
            own == kind as u8 && bytes == key
        });
        found.map(|at| read(&self.arena, *at).0)
    }

    fn shrink(&mut self) {
        self.arena.shrink_to_fit();
    }
}

/// The entry at an offset: list, kind, key.
fn read(arena: &[u8], at: u32) -> (u16, u8, &[u8]) {
    let entry = &arena[at as usize..];
    let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
    let end = HEAD_BYTES + usize::from(number(2));
    (number(0), entry[4], &entry[HEAD_BYTES..end])
}

fn octets(address: IpAddr, key: &mut [u8]) -> usize {
    match address {
        IpAddr::V4(ip) => {
            key[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            key[..16].copy_from_slice(&ip.octets());
            16
        }
    }
}

fn network_key(network: IpNet, key: &mut [u8]) -> usize {
    let len = octets(network.addr(), key);
    key[len] = network.prefix_len();
    len + 1
}

/// The bytes that a hash's digits stand for.
fn hash_key(word: &[u8], key: &mut [u8]) -> Option<usize> {
    if !matches!(word.len(), 32 | 40 | 64 | 128) {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(word.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(word.len() / 2)
}

/// A URL with scheme and host in lower case, without fragment and last slash.
fn url_key(word: &[u8], key: &mut [u8]) -> Option<usize> {
    let scheme = memchr::memmem::find(word, b"://").filter(|at| (2..16).contains(at))?;
    let fragment = memchr::memchr(b'#', word).unwrap_or(word.len());
    let word = &word[..fragment];
    let word = word.strip_suffix(b"/").unwrap_or(word);
    let key = key.get_mut(..word.len())?;
    key.copy_from_slice(word);
    let host = word.get(scheme + 3..)?;
    let path = host.iter().position(|c| matches!(c, b'/' | b'?')).unwrap_or(host.len());
    key[..scheme + 3 + path].make_ascii_lowercase();
    Some(word.len())
}

fn is_domain(word: &str) -> bool {
    word.contains('.')
        && word.len() <= 255
        && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: lists of a hundred thousand entries of each kind.
    /// Guarantees: an entry takes less than 100 bytes with all that finds it, text of usual length
    /// included.
    #[test]
    fn entries_are_small() {
        let count = 100_000u32;
        let lists: [&dyn Fn(u32) -> String; 4] = [
            &|n| format!("{}\n", std::net::Ipv4Addr::from(n * 40_009)),
            &|n| format!("host-{n}.sub.evil-{}.example\n", n % 977),
            &|n| format!("{n:064x}\n"),
            &|n| format!("http://evil-{n}.example/path/of/malware/{n}.bin\n"),
        ];
        for list in lists {
            let mut all = Indicators::default();
            let text: String = (0..count).map(list).collect();
            all.add(Path::new("list.txt"), text.as_bytes()).unwrap();
            assert_eq!(all.len(), count as usize);
            let each = all.size_bytes() / count as usize;
            assert!(each <= 100, "{each} bytes for {}", list(7).trim());
        }
    }
}
