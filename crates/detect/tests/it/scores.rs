//! Scored corpora: what SigmaHQ's and our own rules find in attacks that other people recorded.
//!
//! Long; runs with `ALCEDO_SCORES=1` (`cargo xtask slow scores`) and writes `docs/detection-scores.md`.

use crate::corpus;
use crate::live::Live;
use detect::attack::{Generation, techniques};
use detect::load_paths;
use event::Level;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

/// Records shaped at a time.
const CHUNK: usize = 256;

#[test]
fn scores_of_recorded_attacks() {
    if std::env::var_os("ALCEDO_SCORES").is_none() {
        println!("skipped: long (cargo xtask slow scores)");
        return;
    }
    let (Some(sigmahq), Some(otrf)) = (corpus::sigmahq(), testkit::corpus("windows/otrf")) else {
        return;
    };
    let own = testkit::workspace_root().join("rules");
    let mut folders = corpus::rule_folders(sigmahq.path());
    folders.push(own.clone());
    let mut all = Live::new(load_paths(&folders).0);
    let mut ours = Live::new(load_paths(&[own]).0);
    let mut out = String::from(HEAD);
    recorded(&mut out, &otrf, &mut all, &mut ours);
    if let Some(folder) = testkit::corpus("windows/evtx-to-mitre") {
        by_technique(&mut out, &folder, &mut all, &mut ours);
    }
    if let Some(folder) = testkit::corpus("cloud/panther") {
        answers(&mut out, &folder, &mut all, &mut ours);
    }
    if let Some(archive) = testkit::corpus("sigma/hayabusa-rules.tar.zst") {
        hayabusa(&mut out, &archive);
    }
    synthesised(&mut out, all.set.rules().len() - ours.set.rules().len());
    let path = testkit::workspace_root().join("docs/detection-scores.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &out).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), out, "run with UPDATE=1");
}

const HEAD: &str = "# Detection scores

What the rules of SigmaHQ (all three main folders) together with our own (`rules/`) find in attacks
that other people recorded. Written by `UPDATE=1 cargo xtask slow scores`; the corpora are those of
`../shared/data`, each with its origin and licence there.

No rule was written or changed for a sample of these corpora. A rule *names the technique* when one
of its ATT&CK tags is the technique that the corpus gives for the recording, or a sub-technique of
it, in either generation of numbers.
";

/// Distinct rules that match any of the records, by level.
fn rules_of(live: &mut Live, records: &[Vec<u8>]) -> (usize, BTreeSet<u32>) {
    let (mut events, mut out) = (0, BTreeSet::new());
    for chunk in records.chunks(CHUNK) {
        let batch = live.shape(chunk.iter().map(Vec::as_slice));
        events += batch.len();
        out.extend(live.matches(&batch).iter().map(|m| m.rule));
    }
    (events, out)
}

fn names_technique(live: &Live, rules: &BTreeSet<u32>, wanted: &[String]) -> bool {
    let fits = |have: &String| {
        wanted.iter().any(|w| {
            have == w || have.starts_with(&format!("{w}.")) || w.starts_with(&format!("{have}."))
        })
    };
    rules.iter().any(|r| techniques(live.set.rule(*r), Generation::V18).iter().any(fits))
}

fn at_least(live: &Live, rules: &BTreeSet<u32>, level: Level) -> usize {
    rules.iter().filter(|r| live.set.rule(**r).level >= level).count()
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    zstd::stream::read::Decoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    let lines = bytes.split(|c| *c == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l).to_vec());
    lines.filter(|l| !l.is_empty()).collect()
}

fn index(folder: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(folder.join("index.ndjson")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn wanted(value: &Json) -> Vec<String> {
    match value {
        Json::Array(list) => list.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        Json::String(one) => vec![one.clone()],
        _ => Vec::new(),
    }
}

fn recorded(out: &mut String, folder: &Path, all: &mut Live, ours: &mut Live) {
    let (mut rows, mut found, mut named, mut high, mut own, mut events) = (0, 0, 0, 0, 0, 0);
    let mut table = String::new();
    for entry in index(folder) {
        let file = entry["file"].as_str().unwrap_or_default();
        let name = file.rsplit('/').next().unwrap_or_default();
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        let records = lines(&path);
        let (count, rules) = rules_of(all, &records);
        let (_, own_rules) = rules_of(ours, &records);
        let technique = wanted(&entry["attack"]);
        let names = names_technique(all, &rules, &technique);
        let strong = at_least(all, &rules, Level::High);
        rows += 1;
        events += count;
        found += usize::from(!rules.is_empty());
        named += usize::from(names);
        high += usize::from(strong > 0);
        own += usize::from(at_least(ours, &own_rules, Level::Low) > 0);
        let _ = writeln!(
            table,
            "| {} | {} | {count} | {} | {strong} | {} | {} |",
            entry["title"].as_str().unwrap_or(name),
            technique.join(" "),
            rules.len(),
            if names { "yes" } else { "no" },
            at_least(ours, &own_rules, Level::Low),
        );
    }
    let _ = write!(
        out,
        "\n## Windows attack recordings (`windows/otrf`)\n\n\
         {rows} recordings, {events} events. In {found} at least one rule matches, in {high} one of level \
         high or above, in {named} one that names the technique; our own rules alone find something \
         (low or above) in {own}.\n\n\
         | recording | technique | events | rules | high | names it | own rules |\n\
         |---|---|---|---|---|---|---|\n{table}"
    );
}

fn by_technique(out: &mut String, folder: &Path, all: &mut Live, ours: &mut Live) {
    let mut files: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut by_tactic: BTreeMap<String, [usize; 5]> = BTreeMap::new();
    for entry in index(folder) {
        let file = entry["file"].as_str().unwrap_or_default().to_owned();
        let records = files.entry(file.clone()).or_insert_with(|| lines(&folder.join(&file)));
        let from = entry["first_line"].as_u64().unwrap_or(1) as usize - 1;
        let to = (from + entry["lines"].as_u64().unwrap_or(0) as usize).min(records.len());
        let sample = &records[from.min(to)..to];
        let (_, rules) = rules_of(all, sample);
        let (_, own) = rules_of(ours, sample);
        let technique = wanted(&entry["attack"]);
        let tactic = entry["tactic_dir"].as_str().unwrap_or("-").to_owned();
        let row = by_tactic.entry(tactic).or_default();
        row[0] += 1;
        row[1] += usize::from(!rules.is_empty());
        row[2] += usize::from(at_least(all, &rules, Level::High) > 0);
        row[3] += usize::from(names_technique(all, &rules, &technique));
        row[4] += usize::from(at_least(ours, &own, Level::Low) > 0);
    }
    let sum = |i: usize| by_tactic.values().map(|r| r[i]).sum::<usize>();
    let _ = write!(
        out,
        "\n## Windows event samples by technique (`windows/evtx-to-mitre`)\n\n\
         {} samples: {} with a match, {} with one of level high or above, {} with one that names the \
         technique, {} with one of our own (low or above).\n\n\
         | tactic | samples | any | high | names it | own rules |\n|---|---|---|---|---|---|\n",
        sum(0),
        sum(1),
        sum(2),
        sum(3),
        sum(4)
    );
    for (tactic, [samples, any, high, named, own]) in &by_tactic {
        let _ = writeln!(out, "| {tactic} | {samples} | {any} | {high} | {named} | {own} |");
    }
}

/// Tests of other people's rules with the answer: alert or not. Ours are other rules, so this says
/// how much of what they look for is found, and how often we speak where they would not.
fn answers(out: &mut String, folder: &Path, all: &mut Live, ours: &mut Live) {
    let mut by_product: BTreeMap<String, [usize; 6]> = BTreeMap::new();
    for record in lines(&folder.join("rule-tests.ndjson.zst")) {
        let test: Json = serde_json::from_slice(&record).unwrap();
        let log = test["log"].to_string().into_bytes();
        let product = test["log_types"][0].as_str().unwrap_or("-");
        let product = product.split('.').take(2).collect::<Vec<_>>().join(".");
        let (_, rules) = rules_of(all, std::slice::from_ref(&log));
        let (_, own) = rules_of(ours, &[log]);
        let row = by_product.entry(product).or_default();
        let must = test["alerts"].as_bool() == Some(true);
        let at = if must { 0 } else { 3 };
        row[at] += 1;
        row[at + 1] += usize::from(at_least(all, &rules, Level::Low) > 0);
        row[at + 2] += usize::from(at_least(ours, &own, Level::Low) > 0);
    }
    let sum = |i: usize| by_product.values().map(|r| r[i]).sum::<usize>();
    let _ = write!(
        out,
        "\n## Cloud and SaaS audit events, alert or not (`cloud/panther`)\n\n\
         {} events that must alert: {} do (low or above), {} by our own rules. {} that must not: {} do, \
         {} by our own rules. The answers are those of other rules than these: many are about \
         settings of resources and products for which SigmaHQ has no rule.\n\n\
         | product | must alert | do | own | must not | do | own |\n|---|---|---|---|---|---|---|\n",
        sum(0),
        sum(1),
        sum(2),
        sum(3),
        sum(4),
        sum(5)
    );
    for (product, [must, do_all, do_own, not, not_all, not_own]) in &by_product {
        if do_all + not_all == 0 {
            continue;
        }
        let _ = writeln!(
            out,
            "| {product} | {must} | {do_all} | {do_own} | {not} | {not_all} | {not_own} |"
        );
    }
    let silent = by_product.values().filter(|r| r[1] + r[4] == 0).count();
    let _ = writeln!(out, "\n{silent} further products: no rule says anything.");
}

/// Hayabusa's rules carry the event they are about.
fn hayabusa(out: &mut String, archive: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let script = "zstd -dc \"$0\" | tar x -C \"$1\"";
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(script).arg(archive).arg(folder.path());
    assert!(command.status().unwrap().success());
    let (rules, problems) = load_paths(&[folder.path().to_path_buf()]);
    let texts: Vec<(String, String)> =
        rules.iter().map(|r| (r.id.to_string(), r.source.text.to_string())).collect();
    let mut live = Live::new(rules);
    let (mut with, mut fired, mut silent) = (0, 0, Vec::new());
    for (id, text) in texts {
        let Some(sample) = sample_of(&text) else { continue };
        with += 1;
        let wanted = live.set.find(&id).unwrap();
        let batch = live.shape([sample.as_bytes()]);
        if live.matches(&batch).iter().any(|m| m.rule == wanted) {
            fired += 1;
        } else {
            silent.push(live.set.rule(wanted).title.to_string());
        }
    }
    silent.sort();
    let _ = write!(
        out,
        "\n## Hayabusa's rules with their samples\n\n{} rules load, {} do not. {with} carry the XML of an \
         event; {fired} fire on it. Silent: {}.\n",
        live.set.rules().len(),
        problems.len(),
        if silent.is_empty() { "none".into() } else { silent.join(", ") }
    );
}

/// What `tests/it/synthetic.rs` shows of every rule of SigmaHQ; its committed list is what is left.
fn synthesised(out: &mut String, rules: usize) {
    let unproven = include_str!("../data/synthetic_unproven.tsv");
    let unproven = unproven.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).count();
    let _ = write!(
        out,
        "\n## An event made for every rule\n\nOf {rules} rules of SigmaHQ {} fire on an event solved from \
         their condition and keep still when one value of it is spoilt, with all rules loaded and routing \
         on (`cargo test -p detect synthetic`). {unproven} are not shown to.\n",
        rules - unproven
    );
}

/// The first event below `sample-evtx: |`.
fn sample_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("sample-evtx: |")?;
    let body: Vec<&str> =
        rest.lines().skip(1).take_while(|l| l.is_empty() || l.starts_with(' ')).collect();
    let body = body.join("\n");
    let from = body.find("<Event")?;
    let to = body[from..].find("</Event>")? + from + "</Event>".len();
    Some(body[from..to].to_owned())
}
