//! Builds a [`Generation`] from what the operator has written: packs, rules, tables, settings.

use crate::config::Config;
use crate::exit::Failure;
use detect::correlate::{Extractor, KeyHasher, SpecSet};
use detect::{Rule, RuleProblem, RuleSet};
use event::DictionaryBuilder;
use pipeline::Generation;
use sha2::{Digest, Sha256};
use shape::{PackSet, Shaper, TableConfig, Tables};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a generation is made of, read and checked.
#[derive(Clone)]
pub struct Parts {
    /// Product packs.
    pub packs: Arc<PackSet>,
    /// Rules that are honoured.
    pub rules: Vec<Rule>,
    /// Rules that are not, with the reason.
    pub problems: Vec<RuleProblem>,
    /// Enrichment tables.
    pub tables: Arc<Tables>,
    /// Settings per source.
    pub settings: Arc<shape::Settings>,
    /// Hash over packs, tables and settings as they were read, hex: with the rules' own hash it
    /// names the generation.
    pub fingerprint: String,
}

impl Parts {
    /// Built-in packs, the given rules, no tables: for verbs that work on files.
    pub fn of_files(rules: &[PathBuf], packs: Option<&PathBuf>) -> Result<Self, Failure> {
        let (rules, problems) = detect::load_paths(rules);
        let packs = load_packs(packs)?;
        let (tables, settings) = (Arc::default(), Arc::default());
        Ok(Self { packs, rules, problems, tables, settings, fingerprint: String::new() })
    }

    /// Everything a configuration names. Rules that cannot be honoured are listed, not fatal.
    pub fn of_config(config: &Config) -> Result<Self, Failure> {
        let (mut rules, problems) = detect::load_paths(&config.rules);
        for rule in &mut rules {
            rule.shadow |= config.shadow.iter().any(|s| is_meant(s, rule));
        }
        Ok(Self {
            packs: load_packs(config.packs.as_ref())?,
            rules,
            problems,
            tables: Arc::new(load_tables(config)?),
            settings: Arc::new(settings_of(config)?),
            fingerprint: fingerprint_of(config),
        })
    }

    /// Compiles the parts. `secret` keys the groups of correlations; it is fixed per data folder.
    pub fn compile(self, number: u64, secret: [u8; 16]) -> Result<Generation, Failure> {
        let mut names = DictionaryBuilder::new();
        self.packs.register(&mut names);
        for rule in &self.rules {
            // A correlation's fields stand in whatever its rules match.
            let logsource = rule.plan().map_or([None; 3], |_| rule.logsource.parts());
            for field in detect::fields_of(rule) {
                self.packs.register_rule_field(&mut names, logsource, field);
            }
        }
        RuleSet::register(&self.rules, &mut names);
        let dict = names.build();
        let shaper = Shaper::new(self.packs, dict.clone(), self.tables, self.settings.clone());
        let rules = Arc::new(RuleSet::build(self.rules, &dict));
        let wrong =
            |e: &dyn std::fmt::Display| Failure::invalid(e, "`alcedo rules check` shows it");
        let specs = SpecSet::from_rules(&rules).map_err(|e| wrong(&e))?;
        let extractor = Extractor::new(&specs, &dict, KeyHasher::new(secret));
        Ok(Generation {
            number,
            hash: format!("{}{}", rules.hash(), self.fingerprint),
            dict,
            shaper: Arc::new(shaper),
            rules,
            specs,
            extractor: Arc::new(extractor),
            settings: self.settings,
        })
    }
}

/// Whether an entry of `shadow` means a rule: its id, its name, or a path that it lies below.
fn is_meant(entry: &Path, rule: &Rule) -> bool {
    entry.file_name().and_then(|n| n.to_str()).is_some_and(|n| rule.answers_to(n))
        || rule.source.file.starts_with(entry)
}

/// Equal files and settings give equal fingerprints. A file that cannot be read counts as empty
/// here: it was reported when it was loaded.
fn fingerprint_of(config: &Config) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{:?}{:?}{:?}", config.sources, config.drop, config.shadow));
    let tables = config.enrich.mmdb.iter().chain(&config.enrich.assets);
    let mut files: Vec<PathBuf> = tables.chain(&config.enrich.indicators).cloned().collect();
    let folders = config.packs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    for folder in folders.flatten() {
        files.extend(["pack.yaml", "routes.tsv"].map(|name| folder.path().join(name)));
    }
    files.sort();
    for path in files {
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(std::fs::read(&path).unwrap_or_default());
    }
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn load_packs(dir: Option<&PathBuf>) -> Result<Arc<PackSet>, Failure> {
    let packs = match dir {
        Some(dir) => PackSet::load(dir),
        None => PackSet::builtin(),
    };
    packs.map(Arc::new).map_err(|e| Failure::invalid(e, "correct the pack or take it out"))
}

fn load_tables(config: &Config) -> Result<Tables, Failure> {
    let tables = TableConfig {
        mmdb: config.enrich.mmdb.clone(),
        assets: config.enrich.assets.iter().cloned().collect(),
        indicators: config.enrich.indicators.clone(),
    };
    Tables::load(&tables).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::invalid(lines.join("\n"), "correct the files named under `enrich`")
    })
}

fn settings_of(config: &Config) -> Result<shape::Settings, Failure> {
    let mut settings = shape::Settings::default();
    let sources = &config.sources;
    settings.packs = collect(sources.iter().filter_map(|s| Some((&s.name, s.pack.clone()?))));
    let zones = sources.iter().filter(|s| s.zone_offset_s != 0);
    settings.zones_s = collect(zones.map(|s| (&s.name, s.zone_offset_s)));
    let dedupe = sources.iter().filter(|s| s.dedupe_ns > 0);
    settings.dedupe_ns = collect(dedupe.map(|s| (&s.name, s.dedupe_ns)));
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
