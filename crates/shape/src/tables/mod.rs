//! Enrichment: immutable tables, swapped whole. Looking up never fails; loading says what is wrong.

mod facts;
mod geo;
mod indicators;

use crate::native::Ids;
use crate::program::Index;
use crate::value;
use event::{DictionaryBuilder, FieldId, FieldType, Kind, RowWriter};
use facts::Facts;
use geo::Geo;
use hashbrown::HashMap;
use indicators::Indicators;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest table file: GeoIP2 Enterprise has 450 MB; a larger file is a mistake.
const TABLE_BYTES_MAX: u64 = 1 << 30;
/// Most addresses whose answers a worker keeps.
const MEMO_MAX: usize = 8_192;

/// Which files the tables come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableConfig {
    /// MaxMind databases (City, Country, ASN, ISP or Enterprise).
    pub mmdb: Vec<PathBuf>,
    /// Asset lists: CSV whose first line names the columns; `ip` and `host` are the keys.
    pub assets: Vec<PathBuf>,
    /// Lists of people: CSV whose first line names the columns; `user`, `id` and `email` are the keys.
    pub identities: Vec<PathBuf>,
    /// Indicator lists: one address, network, domain, URL or hash a line; `#` starts a comment.
    pub indicators: Vec<PathBuf>,
    /// Lists of the same form of what is known to be harmless: what they cover is no indicator.
    pub warnings: Vec<PathBuf>,
}

/// A table that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}; the previous table stays in use", path.display(), line.map(|l| format!(":{l}")).unwrap_or_default())]
pub struct TableError {
    /// File.
    pub path: PathBuf,
    /// Line, where there are lines.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// The tables of one generation.
pub struct Tables {
    geo: Geo,
    assets: Facts,
    identities: Facts,
    indicators: Indicators,
    warnings: Indicators,
    /// Tells the tables of two generations apart in a worker's memo.
    serial: u64,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            geo: Geo::default(),
            assets: Facts::assets(),
            identities: Facts::identities(),
            indicators: Indicators::default(),
            warnings: Indicators::default(),
            serial: 0,
        }
    }
}

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

impl Tables {
    /// Reads and checks every file. Errors: all files that cannot be used; the caller then keeps
    /// the tables it has.
    pub fn load(config: &TableConfig) -> Result<Self, Vec<TableError>> {
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut tables = Self { serial, ..Self::default() };
        let mut errors = Vec::new();
        for path in &config.mmdb {
            errors.extend(read(path).and_then(|bytes| tables.geo.add(path, bytes)).err());
        }
        for path in &config.assets {
            errors.extend(read(path).and_then(|bytes| tables.assets.add(path, &bytes)).err());
        }
        for path in &config.identities {
            errors.extend(read(path).and_then(|bytes| tables.identities.add(path, &bytes)).err());
        }
        for path in &config.indicators {
            errors.extend(read(path).and_then(|bytes| tables.indicators.add(path, &bytes)).err());
        }
        for path in &config.warnings {
            errors.extend(read(path).and_then(|bytes| tables.warnings.add(path, &bytes)).err());
        }
        if errors.is_empty() { Ok(tables) } else { Err(errors) }
    }

    /// Number of indicators.
    pub fn indicator_count(&self) -> usize {
        self.indicators.len()
    }

    /// Bytes that indicators and warnings take.
    pub fn indicator_bytes(&self) -> usize {
        self.indicators.size_bytes() + self.warnings.size_bytes()
    }

    /// Number of keys by which people are found.
    pub fn identity_count(&self) -> usize {
        self.identities.len()
    }

    /// Number of asset keys.
    pub fn asset_count(&self) -> usize {
        self.assets.len()
    }

    fn is_empty(&self) -> bool {
        let facts = self.assets.len() + self.identities.len();
        self.geo.is_empty() && facts == 0 && self.indicators.is_empty()
    }

    /// Adds what the tables know of the row's addresses, names and hashes.
    pub(crate) fn enrich(
        &self,
        row: &mut RowWriter<'_>,
        index: &Index,
        ids: &Ids,
        memo: &mut Memo,
    ) {
        if self.is_empty() {
            return;
        }
        memo.prepare(self.serial);
        for (field, side) in [(ids.source_ip, "source"), (ids.destination_ip, "destination")] {
            let Some(at) = index.get(field) else { continue };
            let Some(address) = value::parse_ip(row.cell(at).1.bytes) else { continue };
            let answer = memo.answers.entry(address).or_insert_with(|| self.geo.answer(address));
            for (name, kind, text) in answer.iter() {
                memo.name.clear();
                memo.name.push_str(side);
                memo.name.push_str(name);
                let field = row.field(&memo.name);
                row.push(field, *kind, text.as_bytes());
            }
            let hit = self.indicators.of_address(address);
            let hit = hit.filter(|_| self.warnings.of_address(address).is_none());
            hit.inspect(|hit| mark(row, ids, field, hit));
        }
        for facts in [&self.assets, &self.identities] {
            facts.enrich(row, index, ids, &mut memo.name);
        }
        if !self.indicators.is_empty() {
            self.match_names(row, index, ids);
        }
    }

    fn match_names(&self, row: &mut RowWriter<'_>, index: &Index, ids: &Ids) {
        let domains = [ids.dns_name, ids.url_domain, ids.destination_domain, ids.source_domain];
        for field in domains {
            let Some(at) = index.get(field) else { continue };
            let name = row.cell(at).1.bytes;
            let hit = self.indicators.of_domain(name);
            let hit = hit.filter(|_| self.warnings.of_domain(name).is_none());
            hit.inspect(|hit| mark(row, ids, field, hit));
        }
        if let Some(at) = index.get(ids.url) {
            let url = row.cell(at).1.bytes;
            let hit = self.indicators.of_url(url);
            let hit = hit.filter(|_| self.warnings.of_url(url).is_none());
            hit.inspect(|hit| mark(row, ids, ids.url, hit));
        }
        let hashes = [
            ids.hash_md5,
            ids.hash_sha1,
            ids.hash_sha256,
            ids.file_md5,
            ids.file_sha1,
            ids.file_sha256,
        ];
        for field in hashes {
            let Some(at) = index.get(field) else { continue };
            let hash = row.cell(at).1.bytes;
            let hit = self.indicators.of_hash(hash);
            let hit = hit.filter(|_| self.warnings.of_hash(hash).is_none());
            hit.inspect(|hit| mark(row, ids, field, hit));
        }
    }
}

/// What an indicator list said.
pub(crate) struct Hit<'t> {
    pub(crate) indicator: String,
    pub(crate) kind: &'static str,
    pub(crate) list: &'t str,
}

fn mark(row: &mut RowWriter<'_>, ids: &Ids, field: FieldId, hit: &Hit<'_>) {
    let name = row.name(field).to_owned();
    let cells = [
        (ids.indicator, hit.indicator.as_str()),
        (ids.indicator_type, hit.kind),
        (ids.indicator_provider, hit.list),
        (ids.matched_field, &name),
        (ids.tags, TAG_INDICATOR),
    ];
    for (field, text) in cells {
        row.push(field, Kind::Str, text.as_bytes());
    }
}

/// Tag of an event in which an indicator was found.
pub const TAG_INDICATOR: &str = "indicator_match";

/// Name (behind the side), kind and text of each thing known of an address.
pub(crate) type Answer = Vec<(&'static str, Kind, String)>;

/// Answers a worker already has.
#[derive(Default)]
pub(crate) struct Memo {
    serial: u64,
    answers: HashMap<IpAddr, Answer>,
    name: String,
}

impl Memo {
    fn prepare(&mut self, serial: u64) {
        if self.serial != serial || self.answers.len() >= MEMO_MAX {
            self.serial = serial;
            self.answers.clear();
        }
    }
}

/// The names that tables write besides ECS.
pub(crate) fn register(names: &mut DictionaryBuilder) {
    names.field_of("alcedo.asset.criticality", FieldType::Keyword);
}

fn read(path: &Path) -> Result<Vec<u8>, TableError> {
    let wrong = |message: String| TableError { path: path.into(), line: None, message };
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > TABLE_BYTES_MAX {
        return Err(wrong(format!("{size} bytes; at most {TABLE_BYTES_MAX} are read")));
    }
    std::fs::read(path).map_err(|e| wrong(e.to_string()))
}
