//! SigmaHQ's own samples through the real input path: packs, routing, all rules loaded.

use crate::corpus;
use crate::live::Live;
use detect::{RegressionCase, load_paths, read_regression};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

/// All of SigmaHQ behind the packs, loaded once for all tests.
pub(crate) static SIGMAHQ: LazyLock<Option<Mutex<Live>>> = LazyLock::new(|| {
    let folder = corpus::sigmahq()?;
    let rules = load_paths(&corpus::rule_folders(folder.path())).0;
    Some(Mutex::new(Live::new(rules)))
});

/// Samples of which more events satisfy the rule's text than `match_count` says, which is a lower
/// bound to SigmaHQ's own runner: how many do, counted by hand, and why.
const COUNTED_BY_HAND: &[(&str, usize, &str)] = &[
    (
        "0b9ad457-2554-44c1-82c2-d56a99c42377",
        3,
        "the rule has `contains` `\\AnyDesk\\user.conf`: user.conf.new twice, user.conf~RF2d9c20d.TMP once",
    ),
    (
        "8fbf3271-1ef6-4e94-8210-03c2317947f6",
        3,
        "procdump.exe, procdump64.exe and procdump64a.exe; their Zone.Identifier streams do not count",
    ),
    (
        "45e112d0-7759-4c2a-aa36-9f8fb79d3393",
        3,
        "three values below `ZoneMap\\Domains\\` are set to `DWORD (0x00000002)`",
    ),
    (
        "c7dcacd0-cc59-4004-b0a4-1d6cdebe6f3e",
        2,
        "AutoShareServer and AutoShareWks are both set to `DWORD (0x00000000)`",
    ),
];

/// Matches of one sample: rule id -> count.
type Fired = BTreeMap<String, usize>;

/// Scenario: every sample of `regression_data` in four shapes, `.evtx` among them, all rules loaded, routing on.
/// Guarantees: its rule fires exactly `match_count` times, whatever the shape; every shape of one
/// sample fires the same rules; which others fire is the committed list.
#[test]
fn every_sample_fires_its_rule_in_every_shape() {
    let (Some(live), Some(samples)) = (&*SIGMAHQ, testkit::corpus("sigma/regression_data")) else {
        return;
    };
    let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
    let evtx = evtx_twins();
    let (mut wrong, mut others) = (Vec::new(), String::new());
    let mut cases = 0;
    for case in read_regression(&samples) {
        let stem = case.folder.strip_prefix(&samples).unwrap().to_owned();
        let mut shapes: Vec<(&str, Vec<String>)> = Vec::new();
        if case.events.is_empty() {
            shapes.push(("raw", case.raw.iter().map(ToString::to_string).collect()));
        } else {
            shapes.push(("nested", case.events.iter().map(Json::to_string).collect()));
            shapes.push(("flat", case.events.iter().map(|e| flat(e).to_string()).collect()));
            shapes.push(("winlogbeat", case.events.iter().map(|e| ecs(e).to_string()).collect()));
            if let Some(root) = &evtx {
                shapes.push(("evtx", from_evtx(&root.path().join("regression_data").join(&stem))));
            }
        }
        if shapes[0].1.is_empty() {
            continue;
        }
        cases += 1;
        let fired: Vec<Fired> = shapes.iter().map(|(_, r)| fire(&mut live, r)).collect();
        for ((shape, records), fired_here) in shapes.iter().zip(&fired) {
            wrong.extend(check(&case, shape, records.len(), fired_here));
            if *fired_here != fired[0] {
                wrong.push(format!(
                    "{}: {shape} fires {fired_here:?}, not {:?}",
                    case.rule, fired[0]
                ));
            }
        }
        for (rule, count) in fired[0].iter().filter(|(rule, _)| **rule != *case.rule) {
            others.push_str(&format!("{}\t{rule}\t{count}\n", case.rule));
        }
    }
    println!("{cases} rules with samples");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 136, "{cases}");
    golden("sigmahq_others.tsv", "# sample of rule, rule that fires too, how often\n", &others);
}

fn check(case: &RegressionCase, shape: &str, records: usize, fired: &Fired) -> Option<String> {
    let count = fired.get(&*case.rule).copied().unwrap_or(0);
    let by_hand = COUNTED_BY_HAND.iter().find(|(id, ..)| *id == &*case.rule);
    let right = match by_hand.map(|(_, n, _)| *n).or(case.matches.map(|n| n as usize)) {
        Some(wanted) => count == wanted,
        None => count >= 1,
    };
    let why = by_hand.map_or("", |(.., why)| why);
    let what = || format!("{} {:?} as {shape}", case.rule, case.folder.file_name());
    let said = || format!("{}: {count} of {records} events, not {:?} {why}", what(), case.matches);
    (!right).then(said)
}

fn fire(live: &mut Live, records: &[String]) -> Fired {
    let batch = live.shape(records.iter().map(String::as_bytes));
    let mut out = Fired::new();
    for found in live.matches(&batch) {
        *out.entry(live.set.rule(found.rule).id.to_string()).or_default() += 1;
    }
    out
}

/// Compares with a committed list; `UPDATE=1` rewrites it.
pub(crate) fn golden(name: &str, header: &str, text: &str) {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let text = format!("{header}{text}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    for line in text.lines().filter(|l| !old.contains(l)) {
        println!("+ {line}");
    }
    for line in old.lines().filter(|l| !text.contains(l)) {
        println!("- {line}");
    }
    assert!(old == text, "{name} differs; read the lines above, then UPDATE=1");
}

/// One flat object, as NXLog and exports of Get-WinEvent have it.
fn flat(event: &Json) -> Json {
    let system = &event["Event"]["System"];
    let mut out = Map::new();
    out.insert("EventID".into(), text_of(&system["EventID"]));
    out.insert("Channel".into(), system["Channel"].clone());
    out.insert("Computer".into(), system["Computer"].clone());
    out.insert("Provider_Name".into(), system["Provider"]["#attributes"]["Name"].clone());
    for (name, key) in [("Level", "Level"), ("Keywords", "Keywords"), ("Task", "Task")] {
        out.insert(name.into(), system[key].clone());
    }
    for part in ["EventData", "UserData"] {
        add(&mut out, &event["Event"][part]);
    }
    Json::Object(out)
}

/// The winlogbeat shape.
fn ecs(event: &Json) -> Json {
    let system = &event["Event"]["System"];
    let (mut data, mut user_data) = (Map::new(), Map::new());
    add(&mut data, &event["Event"]["EventData"]);
    add(&mut user_data, &event["Event"]["UserData"]);
    json!({
        "@timestamp": system["TimeCreated"]["#attributes"]["SystemTime"],
        "event": {"code": text_of(&system["EventID"]).to_string()},
        "winlog": {
            "channel": system["Channel"],
            "event_id": text_of(&system["EventID"]).to_string(),
            "computer_name": system["Computer"],
            "provider_name": system["Provider"]["#attributes"]["Name"],
            "event_data": data,
            "user_data": user_data,
        },
    })
}

fn text_of(value: &Json) -> Json {
    value.get("#text").unwrap_or(value).clone()
}

fn add(out: &mut Map<String, Json>, data: &Json) {
    for (key, value) in data.as_object().into_iter().flatten() {
        match value {
            _ if key == "#attributes" => {}
            Json::Object(inner) if !inner.contains_key("#text") => add(out, value),
            Json::Object(inner) => {
                out.insert(key.clone(), inner["#text"].clone());
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
}

fn evtx_twins() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    testkit::unpack("sigma/regression_evtx.tar.zst", folder.path()).then_some(folder)
}

fn from_evtx(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "evtx")) {
        let settings = evtx::ParserSettings::default().indent(false);
        let mut parser = evtx::EvtxParser::from_path(file).unwrap().with_configuration(settings);
        out.extend(parser.records_json().map(|record| record.unwrap().data));
    }
    out
}
