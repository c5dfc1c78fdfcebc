//! Builds a [`Generation`] from what the operator has written: packs, rules, tables, settings.
//!
//! ```text
//! Config --Reader--> Parts { ground, rules, sigma, problems } --compile--> Generation
//!          \-- remembers files that have not changed        \-- keeps what has not changed
//! ```

mod ground;

pub use ground::{Ground, GroundReader, load_redaction, scripts, server_key};

use crate::config::{Config, Detection};
use crate::exit::Failure;
use detect::correlate::{Extractor, KeyHasher, SpecSet};
use detect::sigma::pipeline as processing;
use detect::{
    Changed, LastGood, Loaded, Loader, RefusedRule, Rule, RuleProblem, RuleSet, SigmaSettings,
};
use event::{Dictionary, DictionaryBuilder};
use pipeline::Generation;
use shape::Shaper;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What a generation is made of, read and checked.
#[derive(Clone)]
pub struct Parts {
    /// Packs, tables, settings per source.
    pub ground: Ground,
    /// How rules were read.
    pub sigma: Arc<SigmaSettings>,
    /// Rules that are honoured.
    pub rules: Vec<Arc<Rule>>,
    /// Rules that are not, with the reason.
    pub problems: Vec<RuleProblem>,
    /// Ids of rules that are in force as they were before an edit which is among the problems.
    pub kept: Vec<Arc<str>>,
    /// What is wrong with processing pipelines. Rules read without a pipeline that they need would
    /// be quietly wrong, so nothing is compiled then.
    pub broken_pipelines: Vec<RuleProblem>,
}

/// Reads the parts again and again, and only what has changed.
#[derive(Default)]
pub struct Reader {
    loader: Loader,
    ground: GroundReader,
}

impl Reader {
    /// Everything a configuration names. Rules that cannot be honoured are listed, not fatal. Where
    /// it is known which files have changed, rule files are not asked about one by one.
    pub fn read(&mut self, config: &Config, changed: &Changed) -> Result<Parts, Failure> {
        self.read_keeping(config, changed, &|_| Vec::new())
    }

    /// As [`Reader::read`]; a rule that an edit broke stays as `last_good` knows it.
    pub fn read_keeping(
        &mut self,
        config: &Config,
        changed: &Changed,
        last_good: &LastGood<'_>,
    ) -> Result<Parts, Failure> {
        let (sigma, broken_pipelines) = sigma_of(&config.detection);
        let now = SystemTime::now();
        let Loaded { mut rules, problems, kept } =
            self.loader.load_keeping(&config.rules, &sigma, now, changed, last_good);
        for rule in rules.iter_mut().filter(|r| !r.shadow) {
            if config.shadow.iter().any(|s| is_meant(s, rule)) {
                Arc::make_mut(rule).shadow = true;
            }
        }
        let ground = self.ground.read(config)?;
        Ok(Parts { ground, sigma: Arc::new(sigma), rules, problems, kept, broken_pipelines })
    }
}

impl Parts {
    /// Packs, the given rules read as `detection` says, no tables: for verbs that work on files.
    pub fn of_files(
        rules: &[PathBuf],
        packs: Option<&PathBuf>,
        detection: &Detection,
    ) -> Result<Self, Failure> {
        let (sigma, broken_pipelines) = sigma_of(detection);
        let (rules, problems) = detect::load_paths_with(rules, &sigma);
        let rules = rules.into_iter().map(Arc::new).collect();
        let ground = Ground::of_packs(packs)?;
        let kept = Vec::new();
        Ok(Self { ground, sigma: Arc::new(sigma), rules, problems, kept, broken_pipelines })
    }

    /// Everything a configuration names.
    pub fn of_config(config: &Config) -> Result<Self, Failure> {
        Reader::default().read(config, &Changed::Anything)
    }

    /// Everything that is wrong or has no effect, for people: packs and pipelines first.
    pub fn complaints(&self) -> Vec<String> {
        let note = |p: &processing::Pipeline, n: &String| format!("{}: {n}", p.file.display());
        let notes =
            self.sigma.pipelines.iter().flat_map(|p| p.notes.iter().map(move |n| note(p, n)));
        let problems = self.broken_pipelines.iter().chain(&self.problems);
        let packs = self.ground.packs.left_out().iter().map(ToString::to_string);
        packs.chain(notes).chain(problems.map(ToString::to_string)).collect()
    }

    /// The documents that are not in force as they are written.
    pub fn refused(&self) -> Vec<RefusedRule<'_>> {
        RefusedRule::of(&self.problems)
    }

    /// Compiles the parts. `secret` keys the groups of correlations; it is fixed per data folder.
    pub fn compile(self, number: u64, secret: [u8; 16]) -> Result<Generation, Failure> {
        self.compile_after(None, number, secret)
    }

    /// As [`Parts::compile`], taking over from the generation before whatever is the same there, with
    /// all that it has learned: a rule that was added or edited costs its own compilation.
    pub fn compile_after(
        self,
        before: Option<&Generation>,
        number: u64,
        secret: [u8; 16],
    ) -> Result<Generation, Failure> {
        if !self.broken_pipelines.is_empty() {
            let lines: Vec<String> =
                self.broken_pipelines.iter().map(ToString::to_string).collect();
            let hint = "correct the pipeline, or take it out of `pipelines`";
            return Err(Failure::invalid(lines.join("\n"), hint));
        }
        let ground = &self.ground;
        let before = before.filter(|b| {
            b.hash.strip_prefix(&**b.rules.hash()) == Some(ground.fingerprint.as_str())
        });
        let kept = before.and_then(|b| Some((b, self.names_after(b)?)));
        let (dict, rules) = match kept {
            Some((before, dict)) => (dict.clone(), before.rules.update(self.rules, &dict)),
            None => {
                let dict = self.names();
                (dict.clone(), RuleSet::build_shared(self.rules, &dict))
            }
        };
        let shaper = match before.filter(|b| Arc::ptr_eq(&b.dict, &dict)) {
            Some(before) => before.shaper.clone(),
            None => Arc::new(Shaper::new(
                ground.packs.clone(),
                dict.clone(),
                ground.tables.clone(),
                ground.settings.clone(),
            )),
        };
        let rules = Arc::new(rules);
        let wrong =
            |e: &dyn std::fmt::Display| Failure::invalid(e, "`alcedo rules check` shows it");
        let specs = SpecSet::from_rules(&rules).map_err(|e| wrong(&e))?;
        let extractor = Extractor::new(&specs, &dict, KeyHasher::new(secret));
        Ok(Generation {
            number,
            hash: format!("{}{}", rules.hash(), ground.fingerprint),
            dict,
            shaper,
            rules,
            specs,
            extractor: Arc::new(extractor),
            settings: ground.settings.clone(),
        })
    }

    /// All names there are, of packs and rules.
    fn names(&self) -> Arc<Dictionary> {
        let mut names = DictionaryBuilder::extending(&self.ground.names);
        self.register(&self.rules, &mut names);
        names.build()
    }

    /// The names of the generation before, and behind them those of rules that are new. `None` when
    /// an old name would mean something else if everything were built anew: then it has to be.
    fn names_after(&self, before: &Generation) -> Option<Arc<Dictionary>> {
        let old = before.rules.rules();
        if !is_in_order(old, &self.rules) {
            return None;
        }
        let gained = read_first(&self.rules, old);
        let lost = read_first(old, &self.rules);
        let dict = match gained.is_empty() {
            true => before.dict.clone(),
            false => self.extended(&before.dict, old)?,
        };
        let touched = gained.into_iter().chain(lost).collect();
        self.means_the_same(&touched, &dict).then_some(dict)
    }

    /// `before` with the names of rules behind it that `old` has not.
    fn extended(&self, before: &Arc<Dictionary>, old: &[Arc<Rule>]) -> Option<Arc<Dictionary>> {
        let new: Vec<Arc<Rule>> = absent(&self.rules, old).map(|(_, rule)| rule.clone()).collect();
        let mut names = DictionaryBuilder::extending(before);
        self.register(&new, &mut names);
        let names = names.build();
        match (before.extends(&names), names.extends(before)) {
            (true, _) => Some(before.clone()),
            (false, true) => Some(names),
            (false, false) => None,
        }
    }

    /// Whether these fields have in `dict` the answers that they have when all is built anew: what
    /// answers to a name, and in which order, depends on the logsources of all rules that read it.
    fn means_the_same(&self, fields: &HashSet<&str>, dict: &Dictionary) -> bool {
        if fields.is_empty() {
            return true;
        }
        let mut names = DictionaryBuilder::extending(&self.ground.names);
        let mut read = HashSet::new();
        for rule in &self.rules {
            for field in detect::fields_of(rule) {
                if fields.contains(field) {
                    self.register_field(rule, field, &mut names);
                    names.field(field);
                    read.insert(field);
                }
            }
        }
        let names = names.build();
        let answers = |dict: &Dictionary, name: &str| -> Vec<String> {
            dict.answers(name).into_iter().map(|id| dict.name(id).to_owned()).collect()
        };
        read.into_iter().all(|name| answers(&names, name) == answers(dict, name))
    }

    fn register(&self, rules: &[Arc<Rule>], names: &mut DictionaryBuilder) {
        for rule in rules {
            for field in detect::fields_of(rule) {
                self.register_field(rule, field, names);
            }
        }
        RuleSet::register(rules, names);
    }

    fn register_field(&self, rule: &Rule, field: &str, names: &mut DictionaryBuilder) {
        self.ground.packs.register_rule_field(names, logsource_of(rule), field);
    }
}

/// Where a rule's fields stand; a correlation's in whatever its rules match.
fn logsource_of(rule: &Rule) -> [Option<&str>; 3] {
    rule.plan().map_or([None; 3], |_| rule.logsource.parts())
}

/// Whether the rules that both lists have stand in the same order in both.
fn is_in_order(old: &[Arc<Rule>], new: &[Arc<Rule>]) -> bool {
    let places: HashMap<&str, usize> = old.iter().enumerate().map(|(i, r)| (&*r.id, i)).collect();
    new.iter().filter_map(|rule| places.get(&*rule.id)).is_sorted()
}

/// Fields that rules of `rules` read which are not, or not the same, in `others`, unless that makes
/// no difference to what the field means: the other version of the rule reads it, too, or a rule
/// before it does, which is in both; in the same logsource.
fn read_first<'a>(rules: &'a [Arc<Rule>], others: &[Arc<Rule>]) -> HashSet<&'a str> {
    let versions: HashMap<&str, &Arc<Rule>> = others.iter().map(|r| (&*r.id, r)).collect();
    let is_same = |rule: &Arc<Rule>| versions.get(&*rule.id).is_some_and(|r| is_equal(rule, r));
    let mut out = HashSet::new();
    for (place, rule) in absent(rules, others) {
        let mut fields: HashSet<&str> = detect::fields_of(rule).into_iter().collect();
        let version = versions.get(&*rule.id).copied();
        for reader in version.into_iter().chain(rules[..place].iter().filter(|r| is_same(r))) {
            if fields.is_empty() {
                break;
            }
            if logsource_of(reader) == logsource_of(rule) {
                for field in detect::fields_of(reader) {
                    fields.remove(field);
                }
            }
        }
        out.extend(fields);
    }
    out
}

/// The rules of `rules` that are not, or not the same, in `others`, with their places.
fn absent<'a>(
    rules: &'a [Arc<Rule>],
    others: &[Arc<Rule>],
) -> impl Iterator<Item = (usize, &'a Arc<Rule>)> {
    let others: HashMap<Arc<str>, Arc<Rule>> =
        others.iter().map(|r| (r.id.clone(), r.clone())).collect();
    rules
        .iter()
        .enumerate()
        .filter(move |(_, rule)| !others.get(&rule.id).is_some_and(|other| is_equal(rule, other)))
}

fn is_equal(a: &Arc<Rule>, b: &Arc<Rule>) -> bool {
    Arc::ptr_eq(a, b) || (a.hash == b.hash && a.logsource == b.logsource)
}

/// The settings with their pipelines, and what is wrong with those.
fn sigma_of(detection: &Detection) -> (SigmaSettings, Vec<RuleProblem>) {
    let (pipelines, broken) = processing::load(&detection.pipelines);
    (SigmaSettings { pipelines, ..detection.sigma.clone() }, broken)
}

/// Whether an entry of `shadow` means a rule: its id, its name, or a path that it lies below.
fn is_meant(entry: &Path, rule: &Rule) -> bool {
    entry.file_name().and_then(|n| n.to_str()).is_some_and(|n| rule.answers_to(n))
        || rule.source.file.starts_with(entry)
}

#[cfg(test)]
mod tests;
