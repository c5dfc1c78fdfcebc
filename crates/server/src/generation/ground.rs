//! What a generation stands on besides its rules: packs, tables and settings per source.

use crate::config::Config;
use crate::exit::Failure;
use crate::files::stamp::Stamp;
use crate::run::secrets::SECRET_BYTES;
use event::{Dictionary, DictionaryBuilder};
use sha2::{Digest, Sha256};
use shape::{PackSet, Redaction, ScriptCompiler, TableConfig, Tables};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often files are read that change meanwhile.
const LOADS_MAX: usize = 4;

/// Packs, tables and settings, read and checked.
#[derive(Clone)]
pub struct Ground {
    /// Product packs.
    pub packs: Arc<PackSet>,
    /// All names that the packs bring.
    pub names: Arc<Dictionary>,
    /// Enrichment tables.
    pub tables: Arc<Tables>,
    /// Settings per source.
    pub settings: Arc<shape::Settings>,
    /// Hash over all of it as it was read, hex: with the rules' own hash it names the generation.
    pub fingerprint: String,
}

impl Ground {
    /// Packs alone, for verbs that work on files.
    pub fn of_packs(packs: Option<&PathBuf>) -> Result<Self, Failure> {
        let (packs, names) = load_packs(packs)?;
        let (tables, settings) = (Arc::default(), Arc::default());
        Ok(Self { packs, names, tables, settings, fingerprint: String::new() })
    }

    /// What a configuration names.
    pub fn of_config(config: &Config) -> Result<Self, Failure> {
        let ((packs, names, tables, redaction), files) =
            settled(&|| hash_of_files(config), &|| {
                let (packs, names) = load_packs(config.packs.as_ref())?;
                let tables = Arc::new(load_tables(config)?);
                let redaction = load_redaction(config, &names)?;
                Ok((packs, names, tables, redaction))
            })?;
        let fingerprint = fingerprint_of(config, &packs, &files);
        let settings = Arc::new(settings_of(config)?);
        Ok(Self { packs, names, tables, settings, fingerprint }.redacting(redaction))
    }

    /// The same with what the configuration says that nobody may see, for verbs that show files.
    pub fn redacting_as(self, config: &Config) -> Result<Self, Failure> {
        let redaction = load_redaction(config, &self.names)?;
        Ok(self.redacting(redaction))
    }

    fn redacting(mut self, redaction: Option<Arc<Redaction>>) -> Self {
        if let Some(redaction) = &redaction {
            let mut names = DictionaryBuilder::extending(&self.names);
            redaction.register(&mut names);
            self.names = names.build();
        }
        Arc::make_mut(&mut self.settings).redaction = redaction;
        self
    }
}

/// What `load` gives, with the mark of the files that it was read from: again if they changed while
/// they were read. Of files that do not rest it is the mark from before: the next look finds another.
fn settled<T, M: PartialEq>(
    mark: &dyn Fn() -> M,
    load: &dyn Fn() -> Result<T, Failure>,
) -> Result<(T, M), Failure> {
    let mut before = mark();
    for _ in 1..LOADS_MAX {
        let loaded = load()?;
        let after = mark();
        if after == before {
            return Ok((loaded, before));
        }
        before = after;
    }
    Ok((load()?, before))
}

/// Remembers the ground as long as its files stay the same: a database of addresses need not be read
/// again because a rule was edited.
#[derive(Default)]
pub struct GroundReader {
    known: Option<(Stamps, Ground)>,
}

/// Files, and which version of each it is.
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

impl GroundReader {
    /// See [`Ground::of_config`].
    pub fn read(&mut self, config: &Config) -> Result<Ground, Failure> {
        let stamps = stamps_of(config);
        if let Some((_, ground)) = self.known.as_ref().filter(|(s, _)| *s == stamps) {
            return Ok(ground.clone());
        }
        let is_settled = stamps.iter().all(|(_, stamp)| stamp.is_none_or(|s| s.is_settled()));
        let ground = Ground::of_config(config)?;
        self.known = is_settled.then(|| (stamps, ground.clone()));
        Ok(ground)
    }
}

fn stamps_of(config: &Config) -> Stamps {
    let stamp = |path: PathBuf| {
        let is = std::fs::metadata(&path).ok();
        (path, is.as_ref().map(Stamp::of))
    };
    files_of(config).into_iter().map(stamp).collect()
}

/// Every file that packs and tables are read from, in order.
fn files_of(config: &Config) -> Vec<PathBuf> {
    let mut files = config.tables();
    let folders = config.packs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    for folder in folders.flatten() {
        files.extend(["pack.yaml", "routes.tsv"].map(|name| folder.path().join(name)));
    }
    files.sort();
    files
}

/// Equal files and settings give equal fingerprints.
fn fingerprint_of(config: &Config, packs: &PackSet, files: &[u8]) -> String {
    let mut hash = Sha256::new();
    // Another build may run them: the same files mean something else there.
    packs.left_out().iter().for_each(|pack| hash.update(pack.to_string()));
    hash.update(format!("{:?}{:?}{:?}", config.sources, config.drop, config.shadow));
    hash.update(format!("{:?}", config.redact));
    hash.update(files);
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Equal files give equal hashes. One that cannot be read counts as empty here: that is reported
/// where it is loaded.
fn hash_of_files(config: &Config) -> Vec<u8> {
    let mut hash = Sha256::new();
    for path in files_of(config) {
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(std::fs::read(&path).unwrap_or_default());
    }
    hash.finalize().to_vec()
}

fn load_packs(dir: Option<&PathBuf>) -> Result<(Arc<PackSet>, Arc<Dictionary>), Failure> {
    let packs = match dir {
        Some(dir) => PackSet::load_with(dir, scripts()),
        None => PackSet::builtin(),
    };
    let packs = packs.map_err(|e| Failure::invalid(e, "correct the pack or take it out"))?;
    let mut names = DictionaryBuilder::new();
    packs.register(&mut names);
    Ok((Arc::new(packs), names.build()))
}

/// What compiles the programs of packs, in a build that has it.
#[cfg(feature = "vrl")]
pub fn scripts() -> Option<&'static dyn ScriptCompiler> {
    Some(remap::compiler())
}

/// What compiles the programs of packs: this build has nothing that does.
#[cfg(not(feature = "vrl"))]
pub fn scripts() -> Option<&'static dyn ScriptCompiler> {
    None
}

fn load_tables(config: &Config) -> Result<Tables, Failure> {
    let tables = TableConfig {
        mmdb: config.enrich.mmdb.clone(),
        assets: config.enrich.assets.iter().cloned().collect(),
        identities: config.enrich.identities.iter().cloned().collect(),
        indicators: config.enrich.indicators.clone(),
        warnings: config.enrich.warnings.clone(),
    };
    Tables::load(&tables).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::invalid(lines.join("\n"), "correct the files named under `enrich`")
    })
}

/// The rules that say what nobody may see, if there are any.
pub fn load_redaction(
    config: &Config,
    names: &Dictionary,
) -> Result<Option<Arc<Redaction>>, Failure> {
    let Some(path) = &config.redact else { return Ok(None) };
    let rules = Redaction::load(path, &secret_of(&config.data_dir), names)
        .map_err(|e| Failure::invalid(e, "docs/redaction.md tells what a rule may say"))?;
    Ok(Some(Arc::new(rules)))
}

/// The installation's secret. A server has made it before it reads anything; without one, `check` and `parse`
/// show pseudonyms that will not be the server's, and say so: see [`server_key`].
fn secret_of(data_dir: &Path) -> Vec<u8> {
    std::fs::read(data_dir.join("secret")).unwrap_or_default()
}

/// Whether pseudonyms made here by the rules of redaction are those of the server.
///
/// # Errors
/// They need the key in the data folder, and it cannot be read.
pub fn server_key(config: &Config) -> Result<(), Failure> {
    let Some(rules) = &config.redact else { return Ok(()) };
    if Redaction::key_file(rules).is_some() {
        return Ok(());
    }
    let path = config.data_dir.join("secret");
    let problem = match std::fs::read(&path) {
        Ok(key) if key.len() == SECRET_BYTES => return Ok(()),
        Ok(_) => "is damaged".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(Failure::invalid(
        format!("the key of the server's pseudonyms, {}, {problem}", path.display()),
        "run this where the server runs, as its user and with its configuration, after its first start",
    ))
}

fn settings_of(config: &Config) -> Result<shape::Settings, Failure> {
    let mut settings = shape::Settings::default();
    let sources = &config.sources;
    settings.packs = collect(sources.iter().filter_map(|s| Some((&s.name, s.pack.clone()?))));
    let zones = sources.iter().filter(|s| s.zone != shape::Zone::default());
    settings.zones = collect(zones.map(|s| (&s.name, s.zone.clone())));
    let dedupe = sources.iter().filter(|s| s.dedupe_ns > 0);
    settings.dedupe_ns = collect(dedupe.map(|s| (&s.name, s.dedupe_ns)));
    let lines = sources.iter().filter_map(|s| Some((&s.name, s.multiline.clone()?)));
    settings.multiline = collect(lines);
    for drop in &config.drop {
        let plan = filter::search::parse_filter(&drop.when, 0)
            .map_err(|e| Failure::invalid(format!("drop filter {}: {e}", drop.name), ""))?;
        settings.drops.push((drop.name.clone(), plan));
    }
    Ok(settings)
}

fn collect<'a, T, M>(pairs: impl Iterator<Item = (&'a String, T)>) -> M
where
    M: FromIterator<(String, T)>,
{
    pairs.map(|(name, value)| (name.clone(), value)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Scenario: a file is edited between being loaded and being hashed; then one that never rests.
    /// Guarantees: the mark is that of what was loaded; without rest it is an older one, so that the
    /// next look sees a change.
    #[test]
    fn a_mark_belongs_to_what_was_loaded() {
        let (file, edits) = (Cell::new(1), Cell::new(0));
        let load = || {
            let read = file.get();
            if edits.get() > 0 {
                edits.set(edits.get() - 1);
                file.set(read + 1);
            }
            Ok(read)
        };
        for (all, loaded, mark) in [(0, 1, 1), (1, 2, 2), (2, 4, 4), (100, 7, 7)] {
            edits.set(all);
            assert_eq!(settled(&|| file.get(), &load).unwrap(), (loaded, mark), "{all}");
        }
        assert_eq!(file.get(), 8, "what was edited last is still to be read");
    }
}
