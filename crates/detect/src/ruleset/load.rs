//! Files and folders become rules; filters are applied; doubles and dangling references are found.

use super::spread;
use crate::correlate::from_rules;
use crate::sigma::document::file_problem;
use crate::sigma::pipeline::{self, Body, Draft, Pipeline};
use crate::sigma::{
    Correlation, FilterReading, LogSource, ParsedFile, Position, Refusal, Rule, RuleKind,
    RuleProblem, SigmaSettings, parse_file, yaml,
};
use filter::{Node, Plan};
use hashbrown::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Largest rule file in bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most files one load reads.
pub const FILES_MAX: usize = 200_000;
/// Deepest folder that is searched; bounds loops of links.
pub const FOLDER_DEPTH_MAX: usize = 32;

/// Reads rules from files and, recursively, from folders (`.yml`, `.yaml`).
///
/// Documents that are not Sigma are passed over. Every other document gives a rule or a problem.
/// Filters are applied to their targets and do not appear among the rules.
pub fn load_paths(paths: &[PathBuf]) -> (Vec<Rule>, Vec<RuleProblem>) {
    load_paths_with(paths, &SigmaSettings::default())
}

/// As [`load_paths`], read under these settings.
pub fn load_paths_with(
    paths: &[PathBuf],
    settings: &SigmaSettings,
) -> (Vec<Rule>, Vec<RuleProblem>) {
    let mut all = Documents::default();
    let files = files_below(paths, &mut all.problems);
    all.append_files(&files, settings, spread::threads_for(files.len()));
    own(resolve(all, settings))
}

/// The text of every rule file that [`load_paths`] reads, for sending it elsewhere; what cannot be
/// read is left out, [`load_paths`] tells of it.
pub fn texts_of(paths: &[PathBuf]) -> Vec<String> {
    let files = files_below(paths, &mut Vec::new());
    files.iter().filter_map(|file| read(file).ok()).collect()
}

/// Reads rules from text, as one file.
pub fn load_text(text: &str) -> (Vec<Rule>, Vec<RuleProblem>) {
    load_text_with(text, &SigmaSettings::default())
}

/// As [`load_text`], read under these settings.
pub fn load_text_with(text: &str, settings: &SigmaSettings) -> (Vec<Rule>, Vec<RuleProblem>) {
    own(resolve(parse_file(&Arc::new(PathBuf::new()), text, settings).into(), settings))
}

/// Reads rules from the texts of single documents ([`crate::sigma::RuleSource::text`]): they come out
/// as they were read from their files, hashes included.
pub fn load_documents<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    settings: &SigmaSettings,
) -> (Vec<Rule>, Vec<RuleProblem>) {
    let texts: Vec<&str> = texts.into_iter().collect();
    let none = Arc::new(PathBuf::new());
    let documents = spread::in_order(&texts, spread::threads_for(texts.len()), |text| {
        Documents::from(parse_file(&none, text, settings))
    });
    let mut all = Documents::default();
    documents.into_iter().for_each(|more| all.append(more));
    own(resolve(all, settings))
}

fn own((rules, problems): (Vec<Arc<Rule>>, Vec<RuleProblem>)) -> (Vec<Rule>, Vec<RuleProblem>) {
    (rules.into_iter().map(Arc::unwrap_or_clone).collect(), problems)
}

/// What documents say, before they are put in relation to each other. Rules are shared, so that
/// those that nothing changes are never copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Documents {
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) problems: Vec<RuleProblem>,
    /// See [`ParsedFile::refused`].
    pub(super) refused: Vec<Box<str>>,
    /// See [`ParsedFile::related`].
    pub(super) related: Vec<Box<str>>,
}

impl From<ParsedFile> for Documents {
    fn from(parsed: ParsedFile) -> Self {
        let ParsedFile { rules, problems, refused, related } = parsed;
        let rules = rules.into_iter().map(Arc::new).collect();
        Self { rules, problems, refused, related }
    }
}

impl Documents {
    /// All documents of a file.
    fn of_file(file: &Arc<PathBuf>, settings: &SigmaSettings) -> Self {
        Self::of_text(file, read(file), settings)
    }

    /// All documents of a file that was read, or why it was not.
    pub(super) fn of_text(
        file: &Arc<PathBuf>,
        text: Result<String, String>,
        settings: &SigmaSettings,
    ) -> Self {
        match text {
            Ok(text) => parse_file(file, &text, settings).into(),
            Err(reason) => {
                let problems = vec![file_problem(file, reason, "check the file")];
                Self { problems, ..Self::default() }
            }
        }
    }

    /// Appends what files say, in their order, read by so many threads.
    fn append_files(&mut self, files: &[PathBuf], settings: &SigmaSettings, threads: usize) {
        let of_file = |file: &PathBuf| Self::of_file(&Arc::new(file.clone()), settings);
        spread::in_order(files, threads, of_file).into_iter().for_each(|more| self.append(more));
    }

    fn append(&mut self, more: Self) {
        self.rules.extend(more.rules);
        self.problems.extend(more.problems);
        self.refused.extend(more.refused);
        self.related.extend(more.related);
    }
}

/// The rule files below files and folders, in the order in which their rules are numbered.
pub(super) fn files_below(paths: &[PathBuf], problems: &mut Vec<RuleProblem>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, path.is_dir(), 0, &mut files, problems);
    }
    files
}

pub(super) fn read(path: &Path) -> Result<String, String> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::InvalidData => "is not text in UTF-8".to_owned(),
        _ => format!("cannot be read: {e}"),
    };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    // One byte more: a read that fills the buffer would ask for more.
    let mut text = String::with_capacity(size as usize + 1);
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Files in the order of their names, so that rule numbers do not depend on the file system.
fn collect(
    path: &Path,
    is_folder: bool,
    depth: usize,
    out: &mut Vec<PathBuf>,
    problems: &mut Vec<RuleProblem>,
) {
    if !is_folder {
        out.push(path.to_path_buf());
        return;
    }
    let listing = fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries = match listing {
        Ok(entries) if depth < FOLDER_DEPTH_MAX => entries,
        Ok(_) => return,
        Err(error) => {
            let file = Arc::new(path.to_path_buf());
            let reason = format!("cannot be listed: {error}");
            problems.push(file_problem(&file, reason, "check the folder"));
            return;
        }
    };
    entries.sort_by_cached_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_rule = path.extension().is_some_and(|e| e == "yml" || e == "yaml");
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // The listing knows the type of all but links: thousands of files are not asked one by one.
        let is_folder = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => kind.is_dir(),
            _ => path.is_dir(),
        };
        if !hidden && out.len() < FILES_MAX && (is_rule || is_folder) {
            collect(&path, is_folder, depth + 1, out, problems);
        }
    }
}

/// Puts documents in relation to each other: doubles, filters, references, pipelines.
pub(super) fn resolve(
    all: Documents,
    settings: &SigmaSettings,
) -> (Vec<Arc<Rule>>, Vec<RuleProblem>) {
    let Documents { mut rules, mut problems, refused, related } = all;
    let silent = silenced(&rules, related);
    let mut there: HashSet<Arc<str>> = refused.into_iter().map(Arc::from).collect();
    there.extend(rules.iter().flat_map(|r| std::iter::once(r.id.clone()).chain(r.name.clone())));
    drop_doubles(&mut rules, &mut problems);
    apply_filters(&mut rules, settings.filters, &there, &mut problems);
    check_references(&mut rules, &there, &mut problems);
    apply_pipelines(&mut rules, &settings.pipelines, &there, &mut problems);
    drop_refused(&mut rules, &there, &mut problems);
    silence(&mut rules, &silent);
    (rules, problems)
}

/// A problem of a rule that was read; it stands where `keys` lead in its document, at the entry
/// that says `word`.
fn about(rule: &Rule, (keys, word): (&[&str], &str), refusal: Refusal) -> RuleProblem {
    let Position { line, column } = place_of(rule, keys, word);
    // A hash says nothing to people.
    let name = if rule.id.starts_with("sha:") { &rule.title } else { &rule.id };
    RuleProblem {
        line,
        column,
        document: rule.source.line,
        rule: name.as_ref().into(),
        name: rule.name.as_deref().unwrap_or_default().into(),
        title: (*rule.title).into(),
        level: Some(rule.level),
        kind: refusal.kind,
        mistake: refusal.mistake,
        ..file_problem(&rule.source.file, refusal.reason, &refusal.hint)
    }
}

/// Rules keep no places; the few that something is wrong with are read once more.
fn place_of(rule: &Rule, keys: &[&str], word: &str) -> Position {
    let document = yaml::Document { text: &rule.source.text, first_line: rule.source.line };
    let mut at = Position { line: rule.source.line, column: 1 };
    let Ok(mut node) = yaml::parse(&document) else { return at };
    for key in keys {
        let Some(next) = node.get(key).cloned() else { return at };
        at = next.key_at;
        node = next;
    }
    let says = |n: &yaml::Node| n.text().is_some_and(|text| text == word);
    match &node.value {
        yaml::Yaml::List(items) => items.iter().find(|n| says(n)).map_or(at, |n| n.at),
        _ if says(&node) => node.at,
        _ => at,
    }
}

/// What to do about a rule that is named and not there.
fn reference_hint(missing: &str, there: &HashSet<Arc<str>>) -> String {
    match event::text::nearest(missing, there.iter().map(|name| &**name)) {
        Some(best) => format!("did you mean `{best}`?"),
        None => "load that rule too, or correct the reference".to_owned(),
    }
}

fn drop_doubles(rules: &mut Vec<Arc<Rule>>, problems: &mut Vec<RuleProblem>) {
    let mut seen: HashMap<Arc<str>, Arc<Rule>> = HashMap::with_capacity(rules.len());
    rules.retain(|rule| {
        for key in [Some(&rule.id), rule.name.as_ref()].into_iter().flatten() {
            if let Some(first) = seen.get(key) {
                let (file, line) = (first.source.file.display(), first.source.line);
                let reason =
                    format!("`{key}` is already the id or name of the rule at {file}:{line}");
                let refusal = Refusal::invalid(reason, "give one of them another");
                let which = if *key == rule.id && rule.id != first.id { "name" } else { "id" };
                problems.push(about(rule, (&[which], key), refusal));
                return false;
            }
        }
        for key in [Some(&rule.id), rule.name.as_ref()].into_iter().flatten() {
            seen.insert(key.clone(), rule.clone());
        }
        true
    });
}

/// Narrows every rule that a filter names (or all) and its logsource covers.
fn apply_filters(
    rules: &mut Vec<Arc<Rule>>,
    reading: FilterReading,
    there: &HashSet<Arc<str>>,
    problems: &mut Vec<RuleProblem>,
) {
    let is_filter = |rule: &Rule| matches!(rule.kind, RuleKind::Filter(_));
    let mut filters: Vec<Arc<Rule>> = rules.extract_if(.., |r| is_filter(r)).collect();
    // Several filters of one rule give the same rule in whatever order they were read.
    filters.sort_by(|a, b| a.hash.cmp(&b.hash));
    for filter in filters {
        let RuleKind::Filter(document) = &filter.kind else { continue };
        let lost = document.rules.iter().filter(|r| !rules.iter().any(|rule| rule.answers_to(r)));
        for reference in lost {
            let reason = format!("the filter names the rule `{reference}`, which is not loaded");
            let refusal = match there.contains(&**reference) {
                true => Refusal::not_covered(reason, "that rule is listed with its own reason"),
                false => Refusal::misspelt(reason, reference_hint(reference, there)),
            };
            problems.push(about(&filter, (&["filter", "rules"], reference), refusal));
        }
        let applied = rules.iter_mut().filter_map(|rule| narrow(rule, &filter, reading)).count();
        if applied == 0 {
            let reason = "the filter applies to no loaded rule".to_owned();
            let refusal = Refusal::not_covered(reason, "check its rules and its logsource");
            problems.push(about(&filter, (&["filter"], ""), refusal));
        }
    }
}

/// `Some` if the filter is about the rule.
fn narrow(rule: &mut Arc<Rule>, filter: &Rule, reading: FilterReading) -> Option<()> {
    let RuleKind::Filter(document) = &filter.kind else { return None };
    let named = document.rules.is_empty() || document.rules.iter().any(|r| rule.answers_to(r));
    let covered = filter.logsource.covers(&rule.logsource_written);
    if !named || !covered || rule.plan().is_none() {
        return None;
    }
    let rule = Arc::make_mut(rule);
    let RuleKind::Detection { plan } = &mut rule.kind else { return None };
    let name = format!("filter {}", filter.title).into_boxed_str();
    let root = Node::Named(name, Box::new(document.plan.root.clone()));
    let condition = Plan { leaves: document.plan.leaves.clone(), root };
    let condition = match reading {
        FilterReading::Required => condition,
        FilterReading::Excluded => condition.not(),
    };
    *plan = Plan::and([std::mem::replace(plan, Plan::everything()), condition]);
    let both = format!("{}{}", rule.hash, filter.hash);
    rule.hash = format!("{:032x}", xxh3_128(both.as_bytes())).into();
    rule.source.filters.push(filter.source.text.clone());
    Some(())
}

/// Pipelines on correlations: now the logsources of the rules they relate are known.
fn apply_pipelines(
    rules: &mut Vec<Arc<Rule>>,
    pipelines: &[Pipeline],
    there: &HashSet<Arc<str>>,
    problems: &mut Vec<RuleProblem>,
) {
    if pipelines.is_empty() {
        return;
    }
    let by_reference = from_rules::references(rules);
    let mut failed = HashSet::new();
    for index in 0..rules.len() {
        let rule = &rules[index];
        let Some(correlation) = rule.correlation() else { continue };
        let logsources = logsources_of(rules, &by_reference, correlation);
        let text = &*rule.source.text;
        let document = yaml::Document { text, first_line: rule.source.line };
        let changed = yaml::parse(&document).and_then(|node| {
            let body = Body::Correlation(correlation.clone());
            let mut draft = Draft::new(&node, logsources, body);
            pipeline::apply(pipelines, &mut draft).map(|()| draft.body)
        });
        match changed {
            Ok(Body::Correlation(changed)) => {
                Arc::make_mut(&mut rules[index]).kind = RuleKind::Correlation(changed);
            }
            Ok(_) => {}
            Err(refusal) => {
                let rule = &rules[index];
                problems.push(about(rule, (&["correlation"], ""), refusal));
                failed.insert(rule.id.clone());
            }
        }
    }
    if !failed.is_empty() {
        rules.retain(|rule| !failed.contains(&rule.id));
        check_references(rules, there, problems);
    }
}

/// Logsources of all detection rules that a correlation leads to. References form no circle here.
fn logsources_of(
    rules: &[Arc<Rule>],
    by_reference: &HashMap<Arc<str>, u32>,
    correlation: &Correlation,
) -> Vec<LogSource> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    let mut open: Vec<u32> =
        correlation.rules.iter().filter_map(|r| by_reference.get(&**r).copied()).collect();
    while let Some(index) = open.pop() {
        if !seen.insert(index) {
            continue;
        }
        let rule = &rules[index as usize];
        match rule.correlation() {
            None => out.push(rule.logsource_written.clone()),
            Some(inner) => {
                open.extend(inner.rules.iter().filter_map(|r| by_reference.get(&**r).copied()));
            }
        }
    }
    out
}

/// Correlations over rules that are not live are not covered, and so on up the chain. `there` names
/// all rules that were read, those included with which something was wrong.
fn check_references(
    rules: &mut Vec<Arc<Rule>>,
    there: &HashSet<Arc<str>>,
    problems: &mut Vec<RuleProblem>,
) {
    if rules.iter().all(|r| r.correlation().is_none()) {
        return;
    }
    loop {
        let mut known: HashSet<Arc<str>> = HashSet::new();
        for rule in rules.iter() {
            known.insert(rule.id.clone());
            known.extend(rule.name.clone());
        }
        let mut dropped = false;
        rules.retain(|rule| {
            let Some(correlation) = rule.correlation() else { return true };
            let missing = correlation.rules.iter().find(|r| !known.contains(&***r));
            let Some(missing) = missing else { return true };
            let reason = format!("refers to the rule `{missing}`, which is not loaded");
            let refusal = match there.contains(&**missing) {
                true => Refusal::not_covered(reason, "that rule is listed with its own reason"),
                false => Refusal::misspelt(reason, reference_hint(missing, there)),
            };
            problems.push(about(rule, (&["correlation", "rules"], missing), refusal));
            dropped = true;
            false
        });
        if !dropped {
            break;
        }
    }
    drop_cycles(rules, problems);
}

/// Correlations that the engine cannot run as written are not covered, and so on up the chain.
fn drop_refused(
    rules: &mut Vec<Arc<Rule>>,
    there: &HashSet<Arc<str>>,
    problems: &mut Vec<RuleProblem>,
) {
    if rules.iter().all(|r| r.correlation().is_none()) {
        return;
    }
    let mut reasons: HashMap<usize, String> =
        from_rules::refused(rules).into_iter().map(|(i, e)| (i, e.to_string())).collect();
    if reasons.is_empty() {
        return;
    }
    let mut number = 0..;
    rules.retain(|rule| {
        let Some(reason) = number.next().and_then(|n| reasons.remove(&n)) else { return true };
        let hint = "see docs/correlation.md for what correlations can do";
        problems.push(about(rule, (&["correlation"], ""), Refusal::not_covered(reason, hint)));
        false
    });
    check_references(rules, there, problems);
}

/// Correlations that lead back to themselves: those left when all others are taken away in order.
fn drop_cycles(rules: &mut Vec<Arc<Rule>>, problems: &mut Vec<RuleProblem>) {
    let mut settled: HashSet<Arc<str>> = HashSet::new();
    loop {
        let before = settled.len();
        for rule in rules.iter() {
            let ready =
                rule.correlation().is_none_or(|c| c.rules.iter().all(|r| settled.contains(&**r)));
            if ready {
                settled.insert(rule.id.clone());
                settled.extend(rule.name.clone());
            }
        }
        if settled.len() == before {
            break;
        }
    }
    rules.retain(|rule| {
        let fine = settled.contains(&rule.id);
        if !fine {
            let refusal = Refusal::invalid("the correlation depends on itself", "break the circle");
            problems.push(about(rule, (&["correlation", "rules"], ""), refusal));
        }
        fine
    });
}

/// Rules that a correlation relates do not alert by themselves, unless it says `generate: true`. That
/// is so whether or not the correlation can run: where it cannot, a rule for each successful login
/// would page people.
fn silenced(rules: &[Arc<Rule>], related: Vec<Box<str>>) -> HashSet<Box<str>> {
    let correlations = rules.iter().filter_map(|r| r.correlation()).filter(|c| !c.generate);
    related.into_iter().chain(correlations.flat_map(|c| c.rules.iter().cloned())).collect()
}

fn silence(rules: &mut [Arc<Rule>], silent: &HashSet<Box<str>>) {
    for rule in rules {
        let named = silent.contains(&*rule.id)
            || rule.name.as_ref().is_some_and(|name| silent.contains(&**name));
        if named && rule.generate {
            Arc::make_mut(rule).generate = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruletest::push_event;
    use crate::{RuleSet, Scratch};
    use event::EventBatch;
    use serde_json::json;

    const FILES: usize = 150;

    /// One of each kind of file there is, over and over.
    fn text(file: usize) -> Vec<u8> {
        let rule = |values: &str| {
            let (id, ten) = (format!("00000000-0000-4000-8000-{file:012}"), file / 10);
            format!(
                "title: rule {file}\nid: {id}\nname: n{file}\nlogsource: {{product: p{ten}}}\n\
                 detection:\n  one:\n    F|contains: {values}\n    G: {file}\n  two: {{H|re: 'a{file}+'}}\n  condition: one or two\n"
            )
        };
        let correlation = |of: usize| {
            format!(
                "title: c{file}\nid: c{file}\ncorrelation: {{type: event_count, rules: [n{of}], group-by: [F], \
                 timespan: 5m, condition: {{gte: 3}}}}\n"
            )
        };
        let filter = format!(
            "title: f{file}\nlogsource: {{product: p0}}\nfilter: {{rules: any, s: {{F: '{file}'}}, condition: not s}}\n"
        );
        let text = match file % 10 {
            0 => format!("{}---\n{}", rule("[x*y, 'z']"), rule("again")),
            1 => rule("[").replace("title", "\ttitle"),
            2 => correlation(file - 2),
            3 => correlation(FILES + 1),
            4 if file < 20 => filter,
            5 => rule("v").replace("contains", "contain").replace("re:", "rx:"),
            6 => return b"title: \xff\n".to_vec(),
            7 => "- no rule\n".to_owned(),
            8 => rule("'*'").replace("name: n", "name: n0 # "),
            _ => rule("needle"),
        };
        text.into_bytes()
    }

    /// Scenario: files with rules, filters, correlations, doubles and everything that is wrong are read by
    /// one thread, and by several.
    /// Guarantees: the same rules under the same numbers, the same problems in the same order, and the same
    /// compiled set with the same verdicts, whoever read which file.
    #[test]
    fn any_number_of_threads_reads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        (0..FILES).for_each(|file| {
            std::fs::write(dir.path().join(format!("{file:03}.yml")), text(file)).unwrap();
        });
        let settings = SigmaSettings::default();
        let read_by = |threads: usize| {
            let mut all = Documents::default();
            let files = files_below(&[dir.path().to_path_buf()], &mut all.problems);
            all.append_files(&files, &settings, threads);
            let (rules, problems) = own(resolve(all, &settings));
            let read = format!("{rules:?} {problems:?}");
            assert!(rules.len() > FILES / 3 && problems.len() > FILES / 3, "{}", problems.len());
            let set = RuleSet::standalone(rules);
            let mut batch = EventBatch::new(set.dict().clone());
            for n in 0..FILES {
                let value = ["needle", "xay", "z", "none"][n % 4];
                push_event(&mut batch, &json!({"F": value, "G": n, "H": format!("a{n}")}), b"");
            }
            let mut matches = Vec::new();
            set.match_batch(&batch, &mut Scratch::new(), &mut matches);
            assert!(matches.len() > FILES / 3, "{}", matches.len());
            (read, set.hash().clone(), set.matcher_stats(), matches)
        };
        let alone = read_by(1);
        for threads in [2, 3, 16] {
            assert_eq!(read_by(threads), alone, "{threads} threads");
        }
    }
}
