//! Walks the table of packs: samples, golden events, documentation, aliases.

use super::Bench;
use event::DictionaryBuilder;
use shape::{PackSet, packs, to_json};
use std::fs;

fn folder(name: &str) -> std::path::PathBuf {
    testkit::workspace_root().join("packs").join(name)
}

/// Every pack's samples give exactly the golden events. `UPDATE=1` rewrites them.
#[test]
fn samples_give_their_expected_events() {
    let update = std::env::var_os("UPDATE").is_some();
    let (mut wrong, mut strays) = (Vec::new(), Vec::new());
    let mut bench = Bench::new();
    for pack in packs::ALL {
        let dir = folder(pack.name);
        let samples: Vec<_> = fs::read_dir(dir.join("samples"))
            .unwrap_or_else(|_| panic!("{}: no samples", pack.name))
            .map(|e| e.unwrap().path())
            .collect();
        assert!(!samples.is_empty(), "{}: no samples", pack.name);
        for sample in samples {
            let golden =
                dir.join("expected").join(sample.with_extension("json").file_name().unwrap());
            let got = golden_of(bench.start(), &fs::read(&sample).unwrap(), pack.name, &mut strays);
            if update {
                fs::create_dir_all(golden.parent().unwrap()).unwrap();
                fs::write(&golden, &got).unwrap();
            } else if fs::read_to_string(&golden).unwrap_or_default() != got {
                wrong.push(golden.display().to_string());
            }
        }
    }
    assert!(strays.is_empty(), "samples that are taken for another product's: {strays:?}");
    assert!(wrong.is_empty(), "differs, run with UPDATE=1 and read the diff: {wrong:?}");
}

/// One record a line; every event as one line of JSON. The pack must recognise its own samples.
fn golden_of(bench: &mut Bench, sample: &[u8], pack: &str, strays: &mut Vec<String>) -> String {
    bench.clear();
    let mut out = String::new();
    for line in sample.split(|c| *c == b'\n').filter(|l| !l.is_empty()) {
        bench.envelope = std::sync::Arc::new(event::Envelope::of_sample(line));
        let shaped = bench.shape(line);
        for at in shaped.first_row..shaped.first_row + shaped.rows {
            let name = bench.text(at, "alcedo.pack");
            if name.as_deref() != Some(pack) {
                println!("{pack} is taken for {name:?}: {}", String::from_utf8_lossy(line));
                strays.push(pack.to_owned());
            }
            let from = out.len();
            to_json(&bench.batch.row(at), &mut out);
            let value: serde_json::Value = serde_json::from_str(&out[from..]).unwrap();
            assert!(value.get("event.original").is_some() && value.get("@timestamp").is_some());
            out.push('\n');
        }
    }
    out
}

#[test]
fn every_builtin_pattern_is_sound() {
    PackSet::builtin_tried().unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_new_pack_passes_its_test_and_a_wrong_sample_is_told_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let folder = shape::testing::create(dir.path(), "acme-gate").unwrap();
    let packs = std::sync::Arc::new(PackSet::load(dir.path()).unwrap());
    assert_eq!(shape::testing::run(&packs, &folder), Ok(1));
    let golden = folder.join("expected/first.json");
    let text = fs::read_to_string(&golden).unwrap();
    assert!(text.contains("10.0.0.1") && text.contains("acme-gate"));
    fs::write(&golden, text.replace("alice", "bob")).unwrap();
    let wrong = shape::testing::run(&packs, &folder).unwrap_err();
    assert_eq!((wrong.len(), wrong[0].line), (1, 1));
    assert!(wrong[0].message.contains("alice") && wrong[0].file.ends_with("first.json"));
    assert!(shape::testing::create(dir.path(), "acme-gate").is_err());
    assert!(shape::testing::create(dir.path(), "../x").is_err());
}

#[test]
fn folders_and_table_agree() {
    for entry in fs::read_dir(folder("")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(packs::ALL.iter().any(|p| p.name == name), "{name} is not in packs::ALL");
        }
    }
    let set = PackSet::builtin().unwrap();
    for (info, files) in set.list().iter().zip(packs::ALL) {
        assert_eq!(info.name, files.name);
        assert!(info.format.iter().all(|f| f.starts_with("https://")), "{}", info.name);
        assert!(info.title.len() > 5);
    }
}

#[test]
fn aliases_resolve_to_what_packs_write() {
    let set = PackSet::builtin().unwrap();
    let mut names = DictionaryBuilder::new();
    set.register(&mut names);
    let aws = [Some("aws"), None, Some("cloudtrail")];
    set.register_rule_field(&mut names, aws, "requestParameters.enable");
    let security = [Some("windows"), None, Some("security")];
    set.register_rule_field(&mut names, security, "RareEventDataField");
    let dict = names.build();
    let answers = |name: &str| -> Vec<String> {
        dict.answers(name).into_iter().map(|id| dict.name(id).to_owned()).collect()
    };
    let image = answers("Image");
    let place = |n: &str| image.iter().position(|i| i == n);
    assert!(place("winlog.event_data.Image") < place("winlog.event_data.NewProcessName"));
    assert!(place("winlog.event_data.NewProcessName") < place("process.executable"));
    assert!(answers("EventID").contains(&"winlog.event_id".into()));
    assert!(answers("eventName").contains(&"aws.cloudtrail.eventName".into()));
    assert!(answers("sc-status").contains(&"http.response.status_code".into()));
    assert!(
        answers("requestParameters.enable")
            .contains(&"aws.cloudtrail.requestParameters.enable".into())
    );
    assert!(answers("RareEventDataField").contains(&"winlog.event_data.RareEventDataField".into()));
    assert!(dict.alias_names().count() > 80);
}

fn user_pack(text: &str) -> Result<PackSet, shape::PackError> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/pack.yaml"), text).unwrap();
    PackSet::load(dir.path())
}

const OWN: &str = "pack: mine
title: A pack of a user
format: [https://example.com/format]
parser: text
prefix: mine
recognise: { starts: ['MINE '] }
fields: { .n: long }
steps:
  - regex: { message: 'MINE (?P<source.ip>[0-9a-f.:]+) n=(?P<mine.n>\\d+) (?P<mine.rest>.*)' }
  - when: { field: mine.n, in: [7] }
    set: { event.action: seven }
    tag: [lucky]
  - kv: { mine.rest: mine.kv }
  - map: { user.name: .kv.user }
logsource: [mine//]
";

#[test]
fn a_users_pack_works_beside_ours() {
    let set = user_pack(OWN).unwrap();
    assert_eq!(set.list().len(), packs::ALL.len() + 1);
    let mut names = DictionaryBuilder::new();
    set.register(&mut names);
    let dict = names.build();
    let mut bench = Bench::new();
    bench.shaper =
        shape::Shaper::new(set.into(), dict.clone(), Default::default(), Default::default());
    bench.dict = dict;
    bench.clear();
    bench.shape(b"MINE ::ffff:10.0.0.9 n=7 user=CORP\\bob b=2 c=3");
    assert_eq!(bench.text(0, "source.ip").as_deref(), Some("10.0.0.9"));
    assert_eq!(bench.text(0, "event.action").as_deref(), Some("seven"));
    assert_eq!(bench.text(0, "user.name").as_deref(), Some("bob"));
    assert_eq!(bench.text(0, "user.domain").as_deref(), Some("CORP"));
    assert_eq!(bench.all(0, "tags"), ["lucky"]);
    assert_eq!(bench.all(0, "alcedo.logsource"), ["mine//"]);
}

#[test]
fn wrong_packs_say_where_and_what_to_do() {
    for (from, to, line, part) in [
        ("event.action: seven", "event.acton: seven", 11, "`event.acton` is no ECS field"),
        ("event.action: seven", "source.port: seven", 11, "does not fit"),
        ("parser: text", "parser: txt", 4, "no parser `txt`"),
        ("[mine//]", "[mine]", 15, "is no logsource"),
        ("(?P<source.ip>", "(?<=x)(?P<source.ip>", 9, "bad regular expression"),
        ("prefix: mine", "prefx: mine", 5, "prefx"),
        ("n: long", "n: lnog", 7, "no field type"),
        ("recognise: {", "recognise: {unless: [mime], ", 6, "no pack `mime`"),
        ("recognise: {", "recognise: {contains: [''], ", 6, "an empty piece"),
    ] {
        let error = user_pack(&OWN.replace(from, to)).err().expect(part);
        assert!(error.message.contains(part), "{error}");
        assert_eq!(error.line, line, "{error}");
        assert!(!error.hint.is_empty());
    }
}

/// Scenario: two packs of a user, one of which has a program, where nothing compiles programs.
/// Guarantees: that one is left out with file, line and the build it needs; the other one is there; a
/// built-in pack of the same name stays.
#[test]
fn a_pack_with_a_program_needs_a_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let plain = OWN.split("steps:").next().unwrap().replace("pack: mine", "pack: plain");
    for (name, text) in [
        ("plain", plain.clone()),
        (
            "sshd",
            plain.replace("pack: plain", "pack: linux-auth") + "steps:\n  - vrl: |\n      .a = 1\n",
        ),
    ] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("pack.yaml"), text).unwrap();
    }
    let set = PackSet::load(dir.path()).unwrap_or_else(|e| panic!("{e}"));
    let [error] = set.left_out() else { panic!("{:?}", set.left_out()) };
    assert!(error.file.ends_with("sshd/pack.yaml"), "{error}");
    let text = fs::read_to_string(&error.file).unwrap();
    assert_eq!(text.lines().nth(error.line - 1), Some("      .a = 1"));
    assert!(error.to_string().contains("cargo build --release --features vrl"), "{error}");
    let names: Vec<String> = set.list().into_iter().map(|p| p.name).collect();
    assert!(names.contains(&"plain".into()) && names.contains(&"linux-auth".into()));
}

/// Forms that no such record can show: the program alone writes one, what the other carries is another pack's.
const SHOWN_OTHERWISE: &[&str] = &["alcedo: form `own`", "shipper: form `windows-xml`"];

/// A form that none of the records that it describes is taken by is dead: others in front of it take them all.
#[test]
fn every_form_takes_what_it_describes() {
    let bench = Bench::new();
    let mut dead = Vec::new();
    for pack in packs::ALL {
        let spec: serde_json::Value = serde_saphyr::from_str(pack.spec).unwrap();
        // What only a door of its own brings, that door tells.
        let told = |form: &&serde_json::Value| form["configured"] != true;
        for form in spec["shapes"].as_array().into_iter().flatten().filter(told) {
            let wanted = format!("form `{}`", form["name"].as_str().unwrap());
            let takes = |record: &String| {
                let found = bench.shaper.detect(bench.head(), record.as_bytes(), &bench.dict);
                found.pack == pack.name && found.why.ends_with(&wanted)
            };
            if !described(form).iter().any(takes) {
                dead.push(format!("{}: {wanted}", pack.name));
            }
        }
    }
    assert_eq!(dead, SHOWN_OTHERWISE);
}

/// Records with no more names than a form wants: one for each of `any`.
fn described(form: &serde_json::Value) -> Vec<String> {
    let texts = |value: &serde_json::Value| -> Vec<String> {
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        list.iter().filter_map(|t| Some(t.as_str()?.trim_end_matches('*').to_owned())).collect()
    };
    let mut record = serde_json::Map::new();
    for name in texts(&form["all"]) {
        record.insert(name, "x".into());
    }
    for (name, values) in form["is"].as_object().into_iter().flatten() {
        record.insert(name.clone(), texts(values).swap_remove(0).into());
    }
    let mut any = texts(&form["any"]);
    any.extend(any.is_empty().then(|| texts(&form["all"])[0].clone()));
    let one = |name: String| {
        let mut record = record.clone();
        record.entry(name).or_insert("x".into());
        serde_json::to_string(&record).unwrap()
    };
    any.into_iter().map(one).collect()
}

/// Two values where ECS has one are counted twice.
#[test]
fn fields_of_one_value_have_one_in_all_expected_events() {
    let mut wrong = Vec::new();
    for pack in packs::ALL {
        for golden in fs::read_dir(folder(pack.name).join("expected")).unwrap() {
            let path = golden.unwrap().path();
            for (at, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
                let event: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(line).unwrap();
                let lists = event.iter().filter(|(_, value)| value.is_array());
                let names = lists.map(|(name, _)| name).filter(|n| event::field::is_one_valued(n));
                wrong.extend(names.map(|name| format!("{}:{}: {name}", path.display(), at + 1)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(event::field::is_one_valued("url.domain") && !event::field::is_one_valued("tags"));
}

/// What a client sends may hold any product's line: it stays what the server wrote about it.
#[test]
fn what_a_client_sends_makes_no_other_products_event() {
    let mut bench = Bench::new();
    let mut stolen = std::collections::BTreeMap::<_, (usize, String)>::new();
    let mut tried = 0;
    for pack in packs::ALL {
        let pieces = serde_saphyr::from_str(pack.spec).map(|spec| marks(&spec)).unwrap();
        let samples = shape::testing::lines(&folder(pack.name)).unwrap();
        for text in samples.iter().map(|s| String::from_utf8_lossy(s).into_owned()).chain(pieces) {
            for (own, line) in carriers(&text) {
                bench.clear();
                bench.shape(line.as_bytes());
                let got = bench.text(0, "alcedo.pack").unwrap();
                tried += 1;
                if got != own {
                    stolen.entry((own, got)).or_insert((0, line)).0 += 1;
                }
            }
        }
    }
    assert!(tried > 10_000);
    assert!(stolen.is_empty(), "{} kinds of {tried}: {stolen:#?}", stolen.len());
}

/// The pieces of each description that may stand anywhere, as one text.
fn marks(spec: &serde_json::Value) -> Vec<String> {
    let recognise = &spec["recognise"];
    let any = recognise["any"].as_array().into_iter().flatten();
    let texts = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|t| t.as_str().unwrap().to_owned()).collect()
    };
    let joined = any.chain([recognise]).map(|d| texts(&d["contains"]).join("x "));
    joined.filter(|text| !text.is_empty()).collect()
}

/// Lines of servers around what a client chose, with the pack whose they are.
fn carriers(text: &str) -> Vec<(&'static str, String)> {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    let word = text.replace(' ', "+");
    let access = |url: &str, agent: &str| {
        format!(
            "192.0.2.9 - - [23/Nov/2026:10:00:00 +0000] \"GET {url} HTTP/1.1\" 404 153 \"-\" \"{agent}\""
        )
    };
    let head = "<38>Nov 23 10:00:00 gate";
    vec![
        ("web-access", access("/", &quoted)),
        ("web-access", access("/", text)),
        ("web-access", access(&format!("/?q={word}"), "curl/8.5.0")),
        ("web-access", format!("{head} nginx: {}", access("/", &quoted))),
        ("linux-auth", format!("{head} sshd[811]: Invalid user {text} from 192.0.2.9 port 4022")),
        (
            "mail-servers",
            format!(
                "{head} postfix/cleanup[812]: 4F2A1B3C5D: warning: header Subject: {text} from \
                 mx.example.org[192.0.2.9]; from=<a@example.org> to=<b@example.org> proto=ESMTP helo=<mx>"
            ),
        ),
        (
            "mail-servers",
            format!(
                "{head} dovecot: imap-login: Aborted login: user=<{text}>, method=PLAIN, rip=192.0.2.9"
            ),
        ),
        ("linux-auth", format!("{head} sudo: kim : PWD=/ ; USER=root ; COMMAND=/bin/echo {text}")),
        (
            "nginx-error",
            format!(
                "2026/11/23 10:00:00 [error] 31#31: *7 open() \"/srv/{word}\" failed (2: No such file or \
                 directory), client: 192.0.2.9, server: _, request: \"GET /{word} HTTP/1.1\""
            ),
        ),
        (
            "apache-error",
            format!(
                "[Mon Nov 23 10:00:00.123456 2026] [core:error] [pid 31] [client 192.0.2.9:4022] AH00126: \
                 Invalid URI in request GET {word} HTTP/1.1"
            ),
        ),
        (
            "haproxy",
            format!(
                "{head} haproxy[813]: 192.0.2.9:40123 [23/Nov/2026:10:00:00.123] web~ app/app1 0/0/1/2/3 200 \
                 153 - - ---- 1/1/0/0/0 0/0 \"GET /?q={word} HTTP/1.1\""
            ),
        ),
        (
            "squid",
            format!(
                "1795428000.123     87 192.0.2.9 TCP_MISS/200 1532 GET http://example.org/?q={word} - \
                 HIER_DIRECT/198.51.100.7 text/html"
            ),
        ),
    ]
}
