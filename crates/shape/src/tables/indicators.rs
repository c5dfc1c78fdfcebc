//! Known-bad addresses, networks, domains and hashes.

use super::{Hit, TableError};
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::Path;

/// Longest line of a list that can be an indicator (a domain name has at most 253 characters).
const LINE_LEN_MAX: usize = 1_024;
/// Most labels of a name that are looked at.
const LABELS_MAX: usize = 32;

/// All lists together; a hit names the first list that holds it.
#[derive(Default)]
pub(super) struct Indicators {
    lists: Vec<String>,
    addresses: HashMap<IpAddr, u32>,
    networks: HashMap<IpNet, u32>,
    /// Prefix lengths that occur, IPv4 and IPv6 apart, longest first.
    lengths: [Vec<u8>; 2],
    domains: HashMap<Box<str>, u32>,
    hashes: HashMap<Box<[u8]>, u32>,
}

impl Indicators {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len() + self.networks.len() + self.domains.len() + self.hashes.len()
    }

    pub(super) fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TableError> {
        let list = self.lists.len() as u32;
        let wrong = |line: usize, message: String| TableError {
            path: path.into(),
            line: Some(line + 1),
            message,
        };
        let mut lengths: [HashSet<u8>; 2] = [HashSet::new(), HashSet::new()];
        for (number, line) in bytes.split(|c| *c == b'\n').enumerate() {
            let text = std::str::from_utf8(line).map_err(|_| wrong(number, "not UTF-8".into()))?;
            let text = text.split_once('#').map_or(text, |(before, _)| before);
            let word = text.split([',', ';', '\t', ' ']).find(|w| !w.trim().is_empty());
            let Some(word) = word.map(|w| w.trim().trim_matches('"')) else { continue };
            if word.len() > LINE_LEN_MAX {
                return Err(wrong(number, "longer than any indicator".into()));
            }
            if let Ok(address) = word.parse::<IpAddr>() {
                self.addresses.entry(address).or_insert(list);
            } else if let Ok(network) = word.parse::<IpNet>() {
                let network = network.trunc();
                lengths[usize::from(network.addr().is_ipv6())].insert(network.prefix_len());
                self.networks.entry(network).or_insert(list);
            } else if is_hash(word.as_bytes()) {
                self.hashes.entry(word.to_ascii_lowercase().into_bytes().into()).or_insert(list);
            } else if is_domain(word) {
                let name = word.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
                self.domains.entry(name.into()).or_insert(list);
            } else {
                let shown: String = word.chars().take(60).collect();
                return Err(wrong(
                    number,
                    format!("`{shown}` is no address, network, domain or hash"),
                ));
            }
        }
        for (own, new) in self.lengths.iter_mut().zip(lengths) {
            own.extend(new);
            own.sort_unstable_by(|a, b| b.cmp(a));
            own.dedup();
        }
        self.lists.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        Ok(())
    }

    pub(super) fn of_address(&self, address: IpAddr) -> Option<Hit<'_>> {
        let kind = if address.is_ipv6() { "ipv6-addr" } else { "ipv4-addr" };
        if let Some(list) = self.addresses.get(&address) {
            return Some(self.hit(address.to_string(), kind, *list));
        }
        self.lengths[usize::from(address.is_ipv6())].iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            let list = self.networks.get(&network)?;
            Some(self.hit(network.to_string(), kind, *list))
        })
    }

    /// A listed name, or one below it.
    pub(super) fn of_domain(&self, name: &[u8]) -> Option<Hit<'_>> {
        if self.domains.is_empty() || name.len() > LINE_LEN_MAX {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?.trim_matches('.').to_ascii_lowercase();
        let mut rest = name.as_str();
        for _ in 0..LABELS_MAX {
            if let Some(list) = self.domains.get(rest) {
                return Some(self.hit(rest.to_owned(), "domain-name", *list));
            }
            rest = rest.split_once('.')?.1;
        }
        None
    }

    pub(super) fn of_hash(&self, hash: &[u8]) -> Option<Hit<'_>> {
        let list = self.hashes.get(hash.to_ascii_lowercase().as_slice())?;
        Some(self.hit(String::from_utf8_lossy(hash).to_ascii_lowercase(), "file", *list))
    }

    fn hit(&self, indicator: String, kind: &'static str, list: u32) -> Hit<'_> {
        Hit { indicator, kind, list: &self.lists[list as usize] }
    }
}

fn is_hash(word: &[u8]) -> bool {
    matches!(word.len(), 32 | 40 | 64 | 128) && word.iter().all(u8::is_ascii_hexdigit)
}

fn is_domain(word: &str) -> bool {
    word.contains('.')
        && word.len() <= 255
        && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '*'))
}
