//! Generations: what is in force, what was, and how a change becomes a record at an offset.
//!
//! A change is written to `generations/HASH.json` first (the text of every rule), then recorded in
//! the journal; the pipeline switches when it reaches that record, live and in every replay. Packs
//! and tables are those of the running installation.

use crate::config::Config;
use crate::exit::Failure;
use crate::generation::Parts;
use arc_swap::ArcSwap;
use detect::{Rule, RuleProblem};
use event::{Envelope, RawBatch, RecordKind};
use journal::Journal;
use parking_lot::Mutex;
use pipeline::{Generation, Generations};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a reload waits for the pipeline to reach the record of the change.
const REACH_WAIT: Duration = Duration::from_secs(10);

/// Compiled generations kept at a time, some tens of MB each with thousands of rules. Live work needs
/// one, a reload two, a replay one after the other; an older one is compiled again from its text.
const MADE_MAX: usize = 4;

/// Compiled generations by hash, the one used last at the end.
#[derive(Default)]
struct Made(VecDeque<(String, Arc<Generation>)>);

impl Made {
    fn get(&mut self, hash: &str) -> Option<Arc<Generation>> {
        let at = self.0.iter().position(|(known, _)| known == hash)?;
        let used = self.0.remove(at)?;
        self.0.push_back(used.clone());
        Some(used.1)
    }

    fn put(&mut self, hash: &str, generation: &Arc<Generation>) {
        if self.get(hash).is_none() {
            self.0.push_back((hash.to_owned(), generation.clone()));
        }
        while self.0.len() > MADE_MAX {
            self.0.pop_front();
        }
    }
}

/// One switch: from which offset on, which generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Switch {
    offset: u64,
    number: u64,
    hash: String,
}

/// What the control record and the archive say.
#[derive(Serialize, Deserialize)]
struct Announced {
    number: u64,
    hash: String,
}

/// All generations of a data folder.
pub struct Archive {
    dir: PathBuf,
    config: ArcSwap<Config>,
    secret: [u8; 16],
    current: ArcSwap<Generation>,
    problems: ArcSwap<Vec<RuleProblem>>,
    made: Mutex<Made>,
    switches: Mutex<Vec<Switch>>,
}

/// What a reload brought.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reloaded {
    /// Number of the generation now in force.
    pub generation: u64,
    /// Rules in force.
    pub live: usize,
    /// Rules that cannot be honoured.
    pub not_covered: usize,
    /// Rules that are not valid.
    pub failed: usize,
    /// Time until the pipeline had switched, ms.
    pub elapsed_ms: u64,
}

impl Archive {
    /// Opens the archive and compiles the generation of the configuration as it is now.
    pub fn open(config: Config, secret: [u8; 16]) -> Result<Self, Failure> {
        let dir = config.data_dir.join("generations");
        std::fs::create_dir_all(&dir)?;
        let switches: Vec<Switch> = std::fs::read(dir.join("switches.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let number = switches.last().map_or(0, |s| s.number) + 1;
        let parts = Parts::of_config(&config)?;
        let problems = parts.problems.clone();
        let generation = Arc::new(parts.compile(number, secret)?);
        let archive = Self {
            dir,
            config: ArcSwap::from_pointee(config),
            secret,
            current: ArcSwap::new(generation.clone()),
            problems: ArcSwap::from_pointee(problems),
            made: Mutex::default(),
            switches: Mutex::new(switches),
        };
        archive.keep(&generation)?;
        Ok(archive)
    }

    /// The generation that new work should use.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Rules that are not in force, with reasons.
    pub fn problems(&self) -> Arc<Vec<RuleProblem>> {
        self.problems.load_full()
    }

    /// Whether what is in force already is what the last record says.
    fn is_announced(&self) -> bool {
        let current = self.current();
        self.switches.lock().last().is_some_and(|s| s.hash == current.hash)
    }

    /// Records the current generation in the journal, if the last record names another one.
    pub fn announce(&self, journal: &Journal) -> Result<Option<u64>, Failure> {
        if self.is_announced() {
            return Ok(None);
        }
        let current = self.current();
        let announced = Announced { number: current.number, hash: current.hash.clone() };
        let bytes = serde_json::to_vec(&announced).unwrap_or_default();
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Generation, 0, io::intake::wall_ns(), &bytes);
        let durable = journal
            .appender()
            .append_wait(batch)
            .map_err(|e| Failure::invalid(e, "the journal does not take records"))?;
        let switch =
            Switch { offset: durable.last, number: current.number, hash: current.hash.clone() };
        let mut switches = self.switches.lock();
        switches.push(switch);
        write_synced(
            &self.dir.join("switches.json"),
            &serde_json::to_vec(&*switches).unwrap_or_default(),
        )?;
        Ok(Some(durable.last))
    }

    /// Reads rules, packs and tables again and puts them in force. On error all stays as it was.
    pub fn reload(
        &self,
        journal: &Journal,
        reached: &dyn Fn(u64) -> bool,
    ) -> Result<Reloaded, Failure> {
        let start = Instant::now();
        let parts = Parts::of_config(&self.config.load())?;
        let problems = parts.problems.clone();
        let failed = problems.iter().filter(|p| p.kind == detect::ProblemKind::Invalid).count();
        let number = self.current().number + 1;
        let generation = Arc::new(parts.compile(number, self.secret)?);
        let live = generation.rules.rules().len();
        self.keep(&generation)?;
        self.current.store(generation);
        self.problems.store(Arc::new(problems.clone()));
        if let Some(offset) = self.announce(journal)? {
            while !reached(offset) && start.elapsed() < REACH_WAIT {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(Reloaded {
            generation: number,
            live,
            not_covered: problems.len() - failed,
            failed,
            elapsed_ms: start.elapsed().as_millis() as u64,
        })
    }

    /// Archives the text of a generation's rules, so that a replay can bring it back.
    fn keep(&self, generation: &Arc<Generation>) -> Result<(), Failure> {
        self.made.lock().put(&generation.hash, generation);
        let path = self.dir.join(format!("{}.json", generation.hash));
        if path.exists() {
            return Ok(());
        }
        let texts: Vec<String> =
            generation.rules.rules().iter().map(|rule| text_of(rule)).collect();
        write_synced(&path, &serde_json::to_vec(&texts).unwrap_or_default())
    }

    fn by_hash(&self, number: u64, hash: &str) -> Option<Arc<Generation>> {
        let legal = hash.len() <= 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(made) = self.made.lock().get(hash) {
            return Some(made);
        }
        let bytes = std::fs::read(self.dir.join(format!("{hash}.json"))).ok().filter(|_| legal)?;
        let texts: Vec<String> = serde_json::from_slice(&bytes).ok()?;
        let (rules, _) = detect::load_text(&texts.join("\n---\n"));
        let parts = Parts { rules, ..Parts::of_config(&self.config.load()).ok()? };
        let generation = Arc::new(parts.compile(number, self.secret).ok()?);
        // Under the name that its records give it: tables may have changed since.
        self.made.lock().put(hash, &generation);
        Some(generation)
    }
}

/// The rule's text, with its state where that stands in the configuration alone.
fn text_of(rule: &Rule) -> String {
    let text = &*rule.source.text;
    match rule.shadow && !text.contains("alcedo_state:") {
        true => format!("{}\nalcedo_state: shadow\n", text.trim_end()),
        false => text.to_owned(),
    }
}

impl Generations for Archive {
    fn at(&self, offset: u64) -> Arc<Generation> {
        let switch = self.switches.lock().iter().rev().find(|s| s.offset < offset).cloned();
        switch.and_then(|s| self.by_hash(s.number, &s.hash)).unwrap_or_else(|| self.current())
    }

    fn load(&self, offset: u64, record: &[u8]) -> Option<Arc<Generation>> {
        let announced: Announced = serde_json::from_slice(record).ok()?;
        let generation = self.by_hash(announced.number, &announced.hash);
        if generation.is_none() {
            tracing::error!(offset, hash = announced.hash, "a generation is not in the archive");
        }
        generation
    }
}

/// Replaces a file so that after a crash it is the old or the new one, whole.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let tmp = path.with_extension("tmp");
    let mut file = std::fs::File::create(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&tmp, path)?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Scenario: more generations than are kept, one of them asked for again and again.
    /// Guarantees: their number is bounded; the one in use stays, the longest unused goes.
    #[test]
    fn compiled_generations_are_bounded() {
        let parts = Parts::of_files(&[], None).unwrap();
        let generation = Arc::new(parts.compile(1, [0; 16]).unwrap());
        let mut made = Made::default();
        for n in 0..20 {
            made.put(&n.to_string(), &generation);
            assert!(made.get("0").is_some() && made.0.len() <= MADE_MAX);
        }
        assert!(made.get("1").is_none() && made.get("19").is_some());
    }
}
