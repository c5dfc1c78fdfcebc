//! Generations: what is in force, what was, and how a change becomes a record at an offset.
//!
//! A change is written to the archive first (texts of rules that are new and how they were read, see
//! [`super::texts`]), then recorded in the journal; the pipeline switches when it reaches that record, live and in every
//! replay. Packs and tables are those of the running installation.

use super::kept::Kept;
use super::pauses::Pauses;
use super::texts::Texts;
use crate::config::Config;
use crate::exit::Failure;
use crate::generation::{Ground, Parts, Reader};
use arc_swap::ArcSwap;
use detect::{Changed, Pausing, RefusedRule, Rule, RuleProblem};
use event::{Envelope, RawBatch, RecordKind};
use journal::Journal;
use parking_lot::Mutex;
use pipeline::{Generation, Generations};
use serde::{Deserialize, Serialize};
use shape::Decision;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a reload waits for the pipeline to reach the record of the change.
const REACH_WAIT: Duration = Duration::from_secs(10);

/// How often it looks.
const REACH_LOOK: Duration = Duration::from_micros(250);

/// Compiled generations kept at a time, some tens of MB each with thousands of rules. Live work needs
/// one, a reload two, a replay one after the other; an older one is compiled again from its text.
const MADE_MAX: usize = 4;

/// Compiled generations, the one used last at the end.
#[derive(Default)]
struct Made(VecDeque<Arc<Generation>>);

impl Made {
    fn get(&mut self, hash: &str) -> Option<Arc<Generation>> {
        let at = self.0.iter().position(|known| known.hash == hash)?;
        let used = self.0.remove(at)?;
        self.0.push_back(used.clone());
        Some(used)
    }

    fn put(&mut self, generation: Arc<Generation>) {
        self.0.retain(|known| known.hash != generation.hash);
        self.0.push_back(generation);
        while self.0.len() > MADE_MAX {
            self.0.pop_front();
        }
    }
}

/// One switch: from which offset on, which generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Switch {
    pub(super) offset: u64,
    pub(super) number: u64,
    pub(super) hash: String,
}

/// What control records of this kind say.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Control {
    /// A generation of the archive is in force.
    Announced { number: u64, hash: String },
    /// What a source sends.
    Remember { remember: Decision },
    /// A rule is paused, or no longer.
    Pause { pause: Pausing },
}

/// Decisions that are kept; when there are more, those that later ones replaced go first.
const DECISIONS_MAX: usize = 8_192;

/// All generations of a data folder.
pub struct Archive {
    dir: PathBuf,
    config: ArcSwap<Config>,
    secret: [u8; 16],
    current: ArcSwap<Generation>,
    problems: ArcSwap<Vec<RuleProblem>>,
    /// Ids of rules that are in force as they were before an edit that failed.
    kept: ArcSwap<HashSet<Arc<str>>>,
    made: Mutex<Made>,
    /// Reads rules again; held during a reload, so that reloads come one after the other.
    reader: Mutex<Reader>,
    texts: Mutex<Texts>,
    /// In the order of their offsets.
    switches: Mutex<Vec<Switch>>,
    /// Those of them that are not in the archive's file yet.
    unlisted: Mutex<Vec<Switch>>,
    /// What sources were seen to send, by the offset of the record that says so.
    decisions: Mutex<Vec<(u64, Decision)>>,
    pauses: Pauses,
}

/// The generations of one reading of the journal.
pub struct Course {
    archive: Arc<Archive>,
    /// What the feeder was given last. A switch is listed only after its record is durable, and the
    /// feeder may be there first.
    in_force: Mutex<Option<Arc<Generation>>>,
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
    /// Of those that are not, how many are in force as they were before the edit.
    pub kept: usize,
    /// Time until everything was read and compiled, ms.
    pub compiled_ms: f64,
    /// Time until the pipeline had switched, ms.
    pub elapsed_ms: f64,
}

impl Archive {
    /// Opens the archive and compiles the generation of the configuration as it is now.
    pub fn open(config: Config, secret: [u8; 16]) -> Result<Self, Failure> {
        let dir = config.data_dir.join("generations");
        std::fs::create_dir_all(&dir)?;
        let texts = Texts::open(&dir)?;
        let mut switches = switches_of_before(&dir);
        switches.extend_from_slice(texts.switches());
        switches.sort_by_key(|switch| switch.offset);
        let decisions = std::fs::read(dir.join("remembered.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let number = switches.last().map_or(0, |s| s.number) + 1;
        let mut reader = Reader::default();
        // What was in force when the server stopped, for rules that were broken since.
        let before = switches.last().and_then(|switch| texts.read(&switch.hash));
        let parts = reader.read_keeping(&config, &Changed::Anything, &|problem| {
            let texts = before.iter().flat_map(|kept| &kept.rules);
            detect::resembling(problem, texts)
        })?;
        tell_left_out(&parts);
        let (problems, kept_ids) = (parts.problems.clone(), parts.kept.iter().cloned().collect());
        let kept = Kept::of(&parts);
        let generation = Arc::new(parts.compile(number, secret)?);
        generation.rules.warm();
        let archive = Self {
            dir: dir.clone(),
            config: ArcSwap::from_pointee(config),
            secret,
            current: ArcSwap::new(generation.clone()),
            problems: ArcSwap::from_pointee(problems),
            kept: ArcSwap::from_pointee(kept_ids),
            made: Mutex::default(),
            reader: Mutex::new(reader),
            texts: Mutex::new(texts),
            switches: Mutex::new(switches),
            unlisted: Mutex::default(),
            decisions: Mutex::new(decisions),
            pauses: Pauses::open(dir.join("paused.json")),
        };
        archive.keep(&generation, &kept)?;
        Ok(archive)
    }

    /// Forgets switches of records that the journal, which ends before `end`, does not have: in a restored
    /// backup the archive is of a moment later. Others will stand at their offsets.
    pub fn forget_from(&self, end: u64) -> Result<(), Failure> {
        self.switches.lock().retain(|switch| switch.offset < end);
        self.texts.lock().forget_from(end)
    }

    /// The generation that new work should use.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Rules that are not in force, with reasons.
    pub fn problems(&self) -> Arc<Vec<RuleProblem>> {
        self.problems.load_full()
    }

    /// Ids of rules in force whose files hold an edit that failed: they are as they were before it.
    pub fn kept(&self) -> Arc<HashSet<Arc<str>>> {
        self.kept.load_full()
    }

    /// Records the current generation in the journal, if the last record names another one.
    pub fn announce(&self, journal: &Journal) -> Result<(), Failure> {
        self.record(journal, &self.current())?;
        self.list();
        Ok(())
    }

    /// The record of a generation in the journal, and its offset; none if the last record names the
    /// same. It is not listed in the archive yet.
    fn record(&self, journal: &Journal, next: &Generation) -> Result<Option<u64>, Failure> {
        if self.switches.lock().last().is_some_and(|s| s.hash == next.hash) {
            return Ok(None);
        }
        let (number, hash) = (next.number, next.hash.clone());
        let announced = Control::Announced { number, hash: hash.clone() };
        let bytes = serde_json::to_vec(&announced).unwrap_or_default();
        let mut batch = RawBatch::of(Arc::new(Envelope::internal()));
        batch.push_as(RecordKind::Generation, 0, io::intake::wall_ns(), &bytes);
        let durable = journal
            .appender()
            .append_wait(batch)
            .map_err(|e| Failure::invalid(e, "the journal does not take records"))?;
        self.note(Switch { offset: durable.last, number, hash });
        Ok(Some(durable.last))
    }

    /// Takes note of a switch whose record stands in the journal, unless it is known.
    fn note(&self, switch: Switch) {
        let mut switches = self.switches.lock();
        let at = switches.partition_point(|known| known.offset < switch.offset);
        if switches.get(at).is_none_or(|known| known.offset != switch.offset) {
            switches.insert(at, switch.clone());
            self.unlisted.lock().push(switch);
        }
    }

    /// Lists in the archive's file what is not listed yet. What cannot be written is listed with what
    /// comes next, or when its record is met after a start.
    fn list(&self) {
        let mut texts = self.texts.lock();
        let switches = self.unlisted.lock().clone();
        match texts.switch(&switches) {
            Ok(()) => {
                self.unlisted.lock().retain(|s| switches.iter().all(|l| l.offset != s.offset));
            }
            Err(error) => {
                tracing::error!(%error, "a switch of generations is listed later; it is in force");
            }
        }
    }

    /// Reads rules, packs and tables again and puts them in force. On error all stays as it was.
    /// `changed` tells which files of rules to look at, `reached` whether the pipeline is beyond an
    /// offset.
    pub fn reload(
        &self,
        journal: &Journal,
        changed: &Changed,
        reached: &dyn Fn(u64) -> bool,
    ) -> Result<Reloaded, Failure> {
        let start = Instant::now();
        let mut reader = self.reader.lock();
        let before = self.current();
        let parts = reader.read_keeping(&self.config.load(), changed, &|problem| {
            let is_it = |rule: &&Arc<Rule>| {
                let is_there = rule.source.file == problem.file;
                let by_place = problem.unread.is_some() && rule.source.line == problem.document;
                let by_title = *rule.title == *problem.title || by_place;
                rule.answers_to(&problem.rule)
                    || rule.answers_to(&problem.name)
                    || is_there && by_title
            };
            let all = before.rules.rules().iter();
            let of_file = all.clone().filter(|rule| rule.source.file == problem.file);
            let text = |rule: &Arc<Rule>| rule.source.text.clone();
            let of_file: Vec<Arc<str>> = of_file.map(text).collect();
            let near = detect::resembling(problem, of_file.iter());
            all.filter(is_it).map(text).chain(near).collect()
        })?;
        tell_left_out(&parts);
        let problems = parts.problems.clone();
        let (failed, not_covered) = RefusedRule::counts(&parts.refused());
        let kept_ids: HashSet<Arc<str>> = parts.kept.iter().cloned().collect();
        let kept = Kept::of(&parts);
        let number = before.number + 1;
        let generation = Arc::new(parts.compile_after(Some(&before), number, self.secret)?);
        generation.rules.warm();
        let live = generation.rules.rules().len();
        let compiled_ms = start.elapsed().as_secs_f64() * 1e3;
        self.keep(&generation, &kept)?;
        let offset = self.record(journal, &generation)?;
        self.current.store(generation);
        self.problems.store(Arc::new(problems));
        let kept = kept_ids.len();
        self.kept.store(Arc::new(kept_ids));
        let elapsed_ms = self.put_in_force(offset, start, reached);
        Ok(Reloaded {
            generation: number,
            live,
            not_covered,
            failed,
            kept,
            compiled_ms,
            elapsed_ms,
        })
    }

    /// Waits until the pipeline has switched, and says when that was, ms after `start`. It reads the
    /// journal, so it need not wait for the list of switches, which is written meanwhile.
    fn put_in_force(
        &self,
        offset: Option<u64>,
        start: Instant,
        reached: &dyn Fn(u64) -> bool,
    ) -> f64 {
        std::thread::scope(|scope| {
            scope.spawn(|| self.list());
            while offset.is_some_and(|at| !reached(at)) && start.elapsed() < REACH_WAIT {
                std::thread::sleep(REACH_LOOK);
            }
            (start.elapsed().as_secs_f64() * 1e5).round() / 1e2
        })
    }

    /// A switch was read from the journal. A crash or a full disk may have kept it out of the list.
    fn met(&self, switch: Switch) {
        self.note(switch);
        // Whoever reloads lists it; the feeder must not wait for that.
        if !self.unlisted.lock().is_empty() && self.reader.try_lock().is_some() {
            self.list();
        }
    }

    /// Archives what a generation was read from, so that a replay can bring it back.
    fn keep(&self, generation: &Arc<Generation>, kept: &Kept) -> Result<(), Failure> {
        self.made.lock().put(generation.clone());
        self.texts.lock().keep(&generation.hash, kept)
    }

    fn by_hash(&self, number: u64, hash: &str) -> Option<Arc<Generation>> {
        let legal = hash.len() <= 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        let current = self.current();
        if current.hash == hash {
            return Some(current);
        }
        if let Some(made) = self.made.lock().get(hash) {
            return Some(made);
        }
        let listed = self.texts.lock().read(hash);
        let kept = listed.or_else(|| {
            let bytes = std::fs::read(self.dir.join(format!("{hash}.json"))).ok();
            bytes.filter(|_| legal).and_then(|bytes| Kept::read(&bytes))
        })?;
        let parts = kept.parts(self.ground()?);
        let mut generation = parts.compile(number, self.secret).ok()?;
        if !hash.starts_with(&**generation.rules.hash()) {
            tracing::error!(hash, "an archived generation has come back with other rules");
        }
        // It stands for the archived one whatever packs are installed now.
        generation.hash = hash.to_owned();
        let generation = Arc::new(generation);
        self.made.lock().put(generation.clone());
        Some(generation)
    }

    fn ground(&self) -> Option<Ground> {
        Ground::of_config(&self.config.load()).ok()
    }
}

impl Archive {
    /// The control record for a decision; none if it is what is remembered anyway.
    pub fn record_of(&self, decision: &Decision) -> Option<Vec<u8>> {
        let decisions = self.decisions.lock();
        let last = decisions.iter().rev().find(|(_, d)| d.source == decision.source);
        let now = last.and_then(|(_, d)| d.pack.as_ref());
        if now == decision.pack.as_ref() {
            return None;
        }
        serde_json::to_vec(&Control::Remember { remember: decision.clone() }).ok()
    }

    /// Takes note of a decision that stands in the journal.
    fn decided(&self, offset: u64, decision: Decision) {
        let mut decisions = self.decisions.lock();
        if decisions.iter().any(|(at, _)| *at == offset) {
            return;
        }
        decisions.push((offset, decision));
        decisions.sort_by_key(|(at, _)| *at);
        if decisions.len() > DECISIONS_MAX {
            let replaced = |at: usize, all: &[(u64, Decision)]| {
                all[at + 1..].iter().any(|(_, d)| d.source == all[at].1.source)
            };
            let oldest = (0..decisions.len()).find(|at| replaced(*at, &decisions)).unwrap_or(0);
            decisions.remove(oldest);
        }
        let text = serde_json::to_vec(&*decisions).unwrap_or_default();
        if let Err(error) = write_synced(&self.dir.join("remembered.json"), &text) {
            tracing::error!(%error, "what a source sends is remembered until the next start only");
        }
    }

    /// What pauses and resumes rules.
    pub fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// The generation with what was decided before `offset`: rules paused, packs of sources.
    fn deciding(&self, generation: Arc<Generation>, offset: u64) -> Arc<Generation> {
        let paused = self.pauses.before(offset);
        let generation = match *paused == *generation.rules.paused() {
            true => generation,
            false => Arc::new(generation.with_paused(paused)),
        };
        self.remembering(generation, offset)
    }

    /// The generation with what was remembered of sources before `offset`.
    fn remembering(&self, generation: Arc<Generation>, offset: u64) -> Arc<Generation> {
        let mut settings = (*generation.settings).clone();
        settings.remembered.clear();
        for (_, decision) in self.decisions.lock().iter().filter(|(at, _)| *at < offset) {
            match &decision.pack {
                Some(pack) => settings.remembered.insert(decision.source.clone(), pack.clone()),
                None => settings.remembered.remove(&decision.source),
            };
        }
        match settings.remembered == generation.settings.remembered {
            true => generation,
            false => Arc::new(generation.with_settings(Arc::new(settings))),
        }
    }

    /// The generation in force at `offset` (before a change recorded at `offset` itself).
    pub fn at(&self, offset: u64) -> Arc<Generation> {
        self.deciding(self.announced_before(offset), offset)
    }

    fn announced_before(&self, offset: u64) -> Arc<Generation> {
        let switch = self.switches.lock().iter().rev().find(|s| s.offset < offset).cloned();
        switch.and_then(|s| self.by_hash(s.number, &s.hash)).unwrap_or_else(|| self.current())
    }
}

impl Course {
    /// A reading that has not begun.
    pub fn of(archive: &Arc<Archive>) -> Self {
        Self { archive: archive.clone(), in_force: Mutex::default() }
    }
}

impl Generations for Course {
    fn at(&self, offset: u64) -> Arc<Generation> {
        let generation = self.archive.at(offset);
        *self.in_force.lock() = Some(generation.clone());
        generation
    }

    fn load(&self, offset: u64, record: &[u8]) -> Option<Arc<Generation>> {
        let in_force = || {
            let before = self.in_force.lock().clone();
            before.unwrap_or_else(|| self.archive.announced_before(offset))
        };
        let base = match serde_json::from_slice(record).ok()? {
            Control::Remember { remember } => {
                self.archive.decided(offset, remember);
                in_force()
            }
            Control::Pause { pause } => {
                self.archive.pauses.decided(offset, pause);
                in_force()
            }
            Control::Announced { number, hash } => {
                let found = self.archive.by_hash(number, &hash);
                if found.is_none() {
                    tracing::error!(offset, hash, "a generation is not in the archive");
                }
                let found = found?;
                self.archive.met(Switch { offset, number, hash });
                found
            }
        };
        let generation = self.archive.deciding(base, offset + 1);
        *self.in_force.lock() = Some(generation.clone());
        Some(generation)
    }
}

/// The switches of a data folder from before they stood in the archive.
fn switches_of_before(dir: &Path) -> Vec<Switch> {
    let bytes = std::fs::read(dir.join("switches.json")).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
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

/// Packs that this build cannot run go into the log; all others are in force.
fn tell_left_out(parts: &Parts) {
    for pack in parts.ground.packs.left_out() {
        tracing::warn!(%pack, "a pack is left out");
    }
    for rule in &parts.kept {
        tracing::warn!(%rule, "an edit of the rule failed; the version before it stays in force");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Scenario: more generations than are kept, one of them asked for again and again.
    /// Guarantees: their number is bounded; the one in use stays, the longest unused goes.
    #[test]
    fn compiled_generations_are_bounded() {
        let ground = Ground::of_packs(None).unwrap();
        let mut made = Made::default();
        for n in 0..20 {
            let parts = Kept::default().parts(ground.clone());
            let mut generation = parts.compile(n, [0; 16]).unwrap();
            generation.hash = n.to_string();
            made.put(Arc::new(generation));
            assert!(made.get("0").is_some() && made.0.len() <= MADE_MAX);
        }
        assert!(made.get("1").is_none() && made.get("19").is_some());
    }

    /// A data folder with a rule, whose title a test edits, and a journal.
    struct Home {
        dir: tempfile::TempDir,
        journal: Journal,
    }

    impl Home {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (fs, clock) = (Arc::new(journal::OsFs), Arc::new(journal::OsClock));
            let options = journal::Options { tick: false, ..Default::default() };
            let (journal, _) = Journal::open(dir.path().join("data"), options, fs, clock).unwrap();
            let home = Self { dir, journal };
            home.edit("first");
            home
        }

        fn edit(&self, value: &str) {
            let rule = format!(
                "title: a\nid: 00000000-0000-4000-8000-000000000001\nlogsource: {{product: linux}}\ndetection:\n  s: {{f: {value}}}\n  condition: s\n"
            );
            std::fs::write(self.dir.path().join("rule.yml"), rule).unwrap();
        }

        fn open(&self) -> Arc<Archive> {
            let rules = vec![self.dir.path().join("rule.yml")];
            let data_dir = self.dir.path().to_path_buf();
            let config = Config { rules, data_dir, ..Config::default() };
            Arc::new(Archive::open(config, [0; 16]).unwrap())
        }

        fn reload(&self, archive: &Archive) -> Reloaded {
            archive.reload(&self.journal, &Changed::Anything, &|_| true).unwrap()
        }
    }

    fn offsets(archive: &Archive) -> Vec<u64> {
        archive.switches.lock().iter().map(|s| s.offset).collect()
    }

    /// Scenario: a rule is edited while the journal takes nothing, and read again when it does.
    /// Guarantees: what is in force, and its problems, stay as they were; then the edit is recorded.
    #[test]
    fn a_reload_that_is_not_recorded_changes_nothing() {
        let home = Home::new();
        let archive = home.open();
        archive.announce(&home.journal).unwrap();
        let before = archive.current();
        home.edit("'second'");
        let (fs, clock) = (Arc::new(journal::OsFs), Arc::new(journal::OsClock));
        let closed =
            Journal::open_stepped(home.dir.path().join("x"), Default::default(), fs, clock);
        let (closed, ..) = closed.unwrap();
        assert!(archive.reload(&closed, &Changed::Anything, &|_| true).is_err());
        assert_eq!(archive.current().hash, before.hash);
        let done = home.reload(&archive);
        assert_ne!(archive.current().hash, before.hash);
        assert_eq!((done.generation, offsets(&archive).len()), (2, 2));
    }

    /// Scenario: the list of switches cannot be written after the record is in the journal; the next
    /// edit can. Then a crash between a record and the list, and the record is met in a replay.
    /// Guarantees: the reload holds; every switch is listed in order in the end, once.
    #[test]
    fn a_switch_that_was_not_listed_is_listed_later() {
        let home = Home::new();
        let archive = home.open();
        archive.announce(&home.journal).unwrap();
        home.edit("second");
        let refused = std::fs::File::open(home.dir.path().join("rule.yml")).unwrap();
        // What was read is archived before the record: only the list is refused.
        let parts = Parts::of_config(&archive.config.load()).unwrap();
        let kept = Kept::of(&parts);
        let second = parts.compile(2, [0; 16]).unwrap().hash;
        archive.texts.lock().keep(&second, &kept).unwrap();
        let file = archive.texts.lock().swap_file(refused);
        home.reload(&archive);
        assert_eq!(archive.current().hash, second);
        assert_eq!(archive.unlisted.lock().len(), 1);
        archive.texts.lock().swap_file(file);
        home.edit("third");
        home.reload(&archive);
        let all = offsets(&archive);
        assert_eq!(all.len(), 3);
        assert_eq!(offsets(&home.open()), all);

        let text = std::fs::read_to_string(home.dir.path().join("generations/archive.ndjson"));
        let text = text.unwrap();
        let lost = text.lines().filter(|line| !line.contains(&format!("\"offset\":{},", all[1])));
        let lost: String = lost.map(|line| format!("{line}\n")).collect();
        std::fs::write(home.dir.path().join("generations/archive.ndjson"), lost).unwrap();
        let archive = home.open();
        assert_eq!(offsets(&archive), [all[0], all[2]]);
        let record = format!(r#"{{"number":2,"hash":"{second}"}}"#);
        for _ in 0..2 {
            let loaded = Course::of(&archive).load(all[1], record.as_bytes()).unwrap();
            assert_eq!(loaded.hash, second);
        }
        assert_eq!(offsets(&archive), all);
        assert_eq!(offsets(&home.open()), all);
        assert_eq!(archive.at(all[1] + 1).hash, second);
    }

    /// Scenario: the archive of a data folder tells of a switch whose record the journal does not have, as
    /// in a restored backup.
    /// Guarantees: it is forgotten for good, also by later starts when the journal is longer; the
    /// generation is still in the archive, and its record is made anew.
    #[test]
    fn switches_of_records_that_are_not_there_are_forgotten() {
        let home = Home::new();
        let archive = home.open();
        archive.announce(&home.journal).unwrap();
        home.edit("second");
        home.reload(&archive);
        let (all, second) = (offsets(&archive), archive.current().hash.clone());
        let archive = home.open();
        archive.forget_from(all[1] + 1).unwrap();
        assert_eq!(offsets(&archive), all, "all records are there");
        archive.forget_from(all[1]).unwrap();
        assert_eq!(offsets(&archive), [all[0]]);
        let archive = home.open();
        assert_eq!(offsets(&archive), [all[0]]);
        archive.announce(&home.journal).unwrap();
        let now = offsets(&archive);
        assert!(now.len() == 2 && now[1] > all[1], "{now:?} after {all:?}");
        home.edit("third");
        let archive = home.open();
        assert_eq!(offsets(&archive), now);
        assert_eq!(archive.at(now[1] + 1).hash, second);
        assert_ne!(archive.at(now[1]).hash, second);
    }
}
