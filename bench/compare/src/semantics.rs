//! What both engines say about the cases of `conformance/`, and about generated ones.
//!
//! ```text
//! conformance/*.ndjson + conformance/generate.py --> [ ours | theirs ] --> differences.tsv
//! ```
//! Every difference is in that list with its reason; one that is not, or is not there any more, is an
//! error. `UPDATE=1` rewrites the list and leaves the reason of what is new to be written.

use crate::Options;
use crate::corpus::project;
use crate::report::{figure, tell};
use crate::rsigma;
use detect::ruletest::push_event;
use detect::{RuleSet, Scratch, load_text};
use event::EventBatch;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Generated cases; each is the same whatever the number is.
const GENERATED: usize = 2_000;

/// Section, name, our verdict, their verdict.
type Difference = (String, String, String, String);

/// Runs the comparison.
pub(crate) fn run(_: &Options) -> Result<(), String> {
    let (mut count, mut different) = (0, Vec::new());
    let (mut decided, mut own_right, mut their_right) = (0u64, 0u64, 0u64);
    for case in cases()? {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let (rule, raw) = (text("rule"), text("raw"));
        let verdicts = [
            ours(&rule, &case["event"], &raw).to_string(),
            rsigma::verdict(&rule, &case["event"]).to_string(),
        ];
        count += 1;
        if case["decided_by"] == "spec" {
            let expected = Verdict::of(&case["expect"]).to_string();
            decided += 1;
            own_right += u64::from(verdicts[0] == expected);
            their_right += u64::from(verdicts[1] == expected);
        }
        let [own, their] = verdicts;
        if own != their {
            different.push((text("section"), text("name"), own, their));
        }
    }
    let more = [
        ("of", decided.into()),
        ("peer", rsigma::NAME.into()),
        ("peer_value", their_right.into()),
        ("cases", count.into()),
        ("differences", different.len().into()),
    ];
    figure("cases_the_specification_decides", own_right as f64, "right", &more);
    explained(&different)
}

/// What an engine says of one case.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    Holds(bool),
    Refused,
}

impl Verdict {
    fn of(expect: &Json) -> Self {
        expect.as_bool().map_or(Self::Refused, Self::Holds)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Holds(holds) => write!(f, "{holds}"),
            Self::Refused => f.write_str("refused"),
        }
    }
}

fn ours(rule: &str, event: &Json, raw: &str) -> Verdict {
    let (rules, _) = load_text(rule);
    if rules.is_empty() {
        return Verdict::Refused;
    }
    let set = RuleSet::standalone(rules);
    let mut batch = EventBatch::new(set.dict().clone());
    push_event(&mut batch, event, raw.as_bytes());
    let mut found = Vec::new();
    set.match_batch(&batch, &mut Scratch::new(), &mut found);
    Verdict::Holds(!found.is_empty())
}

fn cases() -> Result<Vec<Json>, String> {
    let folder = project().join("conformance");
    let listing = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = listing.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "ndjson"));
    files.sort();
    let mut text = String::new();
    for file in files {
        text += &fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let mut generate = Command::new("python3");
    generate.arg("-B").arg(folder.join("generate.py")).args(["--count", &GENERATED.to_string()]);
    match generate.output() {
        Ok(made) if made.status.success() => text += &String::from_utf8_lossy(&made.stdout),
        _ => tell("skipped: generated cases (python3 is missing)"),
    }
    text.lines().map(|l| serde_json::from_str(l).map_err(|e| format!("{l}: {e}"))).collect()
}

/// Compares with the committed list.
fn explained(different: &[Difference]) -> Result<(), String> {
    let path = project().join("bench/compare/differences.tsv");
    let old = fs::read_to_string(&path).unwrap_or_default();
    let listed: BTreeMap<&str, &str> =
        old.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once('\t')).collect();
    let mut text = format!("# section, case, ours, {}, why\n", rsigma::NAME);
    let mut new = Vec::new();
    for (section, name, own, their) in different {
        let difference = format!("{section}\t{name}\t{own}\t{their}");
        let why = listed.get(&*difference).copied().unwrap_or_default();
        if why.is_empty() {
            new.push(difference.clone());
        }
        text += &format!("{difference}\t{why}\n");
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let gone = listed.keys().filter(|l| !text.contains(*l)).count();
    match new.len() + gone {
        0 => Ok(()),
        _ => Err(format!("{gone} listed differences are gone; without a reason: {new:#?}")),
    }
}
