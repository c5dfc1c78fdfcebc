//! Verbs that need no server, and how they end.

use super::harness::{json_lines, run, run_with_input};
use std::fs;

/// Scenario: a file with empty, broken and ordinary lines.
/// Guarantees: exactly one object per line, in order, each with its bytes; exit 0.
#[test]
fn parse_prints_one_object_per_line_whatever_it_holds() {
    let input = b"<38>Mar 30 16:01:36 web-01 sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2\n\n{\"Records\":[{\"a\":1},{\"b\":2}]}\n{broken\n\xff\xfe\x00x\n";
    let out = run_with_input(&["parse", "-"], input);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let rows = json_lines(&out);
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0]["source.ip"], "203.0.113.9");
    assert_eq!(rows[0]["user.name"], "root");
    assert_eq!(rows[0]["event.outcome"], "failure");
    assert_eq!(rows[1]["event.original"], "");
    assert_eq!(rows[2]["event.original"], "{\"Records\":[{\"a\":1},{\"b\":2}]}");
    for row in &rows {
        assert!(row["@timestamp"].is_string() && row["event.original"].is_string(), "{row}");
    }
}

/// Scenario: framings `whole` and `json-message`.
/// Guarantees: a file is one record; the `message` string, newlines included, is the record.
#[test]
fn parse_framings_cut_as_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.log");
    fs::write(&whole, "first line\nsecond line\n").unwrap();
    let out = run(&["parse", "--framing", "whole", whole.to_str().unwrap()]);
    let rows = json_lines(&out);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["event.original"], "first line\nsecond line\n");
    let out = run_with_input(
        &["parse", "--framing", "json-message", "-"],
        b"{\"message\":\"a\\nb\",\"other\":1}\n{\"other\":2}\n",
    );
    let rows = json_lines(&out);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["event.original"], "a\nb");
}

const RULES: &str = "title: Whoami\nid: 11111111-1111-4111-8111-111111111111\nlogsource:\n  product: windows\n  category: process_creation\ndetection:\n  sel:\n    CommandLine|contains: whoami\n  condition: sel\nlevel: low\n---\ntitle: Failed\nid: 22222222-2222-4222-8222-222222222222\nname: failed\nlogsource:\n  product: linux\n  service: sshd\ndetection:\n  sel:\n    event.outcome: failure\n  condition: sel\nlevel: low\n---\ntitle: Many failed\nid: 33333333-3333-4333-8333-333333333333\ncorrelation:\n  type: event_count\n  rules: [failed]\n  group-by: [source.ip]\n  timespan: 5m\n  condition: {gte: 3}\nlevel: high\n";

/// Scenario: a rule and a correlation over NDJSON, pretty-printed JSON and a syslog file.
/// Guarantees: one line per (rule, event) with file and record number; base rules stay silent.
#[test]
fn hunt_finds_events_and_correlations_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("rules.yml"), RULES).unwrap();
    fs::write(path("broken.yml"), "title: x\ndetection: [").unwrap();
    fs::write(
        path("win.json"),
        "{\n \"EventID\": 1, \"Channel\": \"Microsoft-Windows-Sysmon/Operational\",\n \"CommandLine\": \"cmd /c WHOAMI /all\"\n}\n{\"EventID\": 1, \"Channel\": \"Microsoft-Windows-Sysmon/Operational\", \"CommandLine\": \"dir\"}\n",
    )
    .unwrap();
    let failed: String = (0..4)
        .map(|i| format!("Mar 30 16:01:3{i} web-01 sshd[7]: Failed password for root from 203.0.113.9 port 22 ssh2\n"))
        .collect();
    fs::write(path("auth.log"), failed).unwrap();
    let out = run(&[
        "hunt",
        "--rules",
        &path("rules.yml"),
        "--rules",
        &path("broken.yml"),
        &path("win.json"),
        &path("auth.log"),
        &path("missing.log"),
        "-o",
        "ndjson",
    ]);
    assert_eq!(out.status.code(), Some(6));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("broken.yml") && said.contains("missing.log"), "{said}");
    let rows = json_lines(&out);
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert_eq!(rows[0]["rule.id"], "11111111-1111-4111-8111-111111111111");
    assert_eq!(
        (rows[0]["line"].as_u64(), rows[0]["rule.type"].as_str()),
        (Some(1), Some("detection"))
    );
    assert_eq!(rows[0]["file"], path("win.json"));
    assert_eq!(rows[1]["rule.type"], "event_count");
    assert_eq!(rows[1]["source.ip"], "203.0.113.9");
    assert_eq!(rows[1]["contributing"].as_array().unwrap().len(), 4);
}

/// Scenario: lines of NDJSON that are cut or broken among whole ones, in two files, and a file without.
/// Guarantees: the hunt says of each file how many there are, where the first is and what is wrong with
/// it; their text is matched all the same; it ends with 0 and says nothing of whole files.
#[test]
fn a_hunt_says_which_lines_it_could_not_parse() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let rule = "title: Xyzzy\nid: 55555555-5555-4555-8555-555555555555\nlogsource: {product: any}\ndetection:\n  words: [xyzzy]\n  condition: words\n";
    fs::write(path("r.yml"), rule.replace("product: any", "category: any")).unwrap();
    let whole = "{\"event\":{\"code\":\"1\"},\"message\":\"a\"}\n";
    let cut = "{\"message\":\"xyzzy\",\"b\":\n";
    fs::write(path("a.ndjson"), format!("{whole}{whole}{cut}{whole}{{\"c\":tru}}\n{whole}"))
        .unwrap();
    fs::write(path("b.ndjson"), format!("{whole}{{]\n")).unwrap();
    fs::write(path("c.ndjson"), whole.repeat(3)).unwrap();
    let files = ["a.ndjson", "b.ndjson", "c.ndjson"].map(path);
    let rules = path("r.yml");
    let mut args = vec!["hunt", "--rules", &rules];
    args.extend(files.iter().map(String::as_str));
    args.extend(["-o", "ndjson"]);
    let out = run(&args);
    assert_eq!(out.status.code(), Some(0));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains(&format!("{}:3: 2 of its records cannot be parsed", files[0])), "{said}");
    assert!(said.contains(&format!("{}:2: 1 of its records cannot be parsed", files[1])), "{said}");
    let unparsed = said.lines().filter(|line| line.contains("cannot be parsed"));
    assert!(!unparsed.clone().any(|line| line.contains("c.ndjson")), "{said}");
    let rows = json_lines(&out);
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!((&rows[0]["file"], &rows[0]["line"]), (&files[0].clone().into(), &3.into()));
}

/// Scenario: a configuration with several mistakes.
/// Guarantees: all are named at once with their lines; exit 3; usage errors exit 2.
#[test]
fn check_names_every_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("alcedo.yaml");
    fs::write(
        &config,
        "lisen: {}\nretention: {age: sometimes}\nsources:\n  a: {type: carrier-pigeon}\n",
    )
    .unwrap();
    let out = run(&["check", "-c", config.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8_lossy(&out.stderr);
    for part in [
        "alcedo.yaml:1:",
        "alcedo.yaml:2:",
        "alcedo.yaml:4:",
        "lisen",
        "sometimes",
        "carrier-pigeon",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    assert_eq!(run(&["no-such-verb"]).status.code(), Some(2));
}

/// Scenario: our own rules.
/// Guarantees: they load and the tests beside them pass through the real shaping.
#[test]
fn our_own_rules_pass_their_tests() {
    let rules = testkit::workspace_root().join("rules");
    let out = run(&["rules", "check", rules.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let out = run(&["rules", "test", rules.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{said}");
}

/// Scenario: rules with a slip each, and one with a placeholder that has no values here.
/// Guarantees: a slip fails the check at the place of the word, with what was meant; what is merely not
/// covered is listed and fails nothing.
#[test]
fn a_check_of_rules_fails_on_slips_and_only_lists_what_is_not_covered() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yml");
    let check = |lines: &str| {
        let text = format!("title: t\nid: r\nlogsource: {{product: test}}\n{lines}");
        fs::write(&file, text).unwrap();
        let out = run(&["rules", "check", file.to_str().unwrap()]);
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let selection = |line: &str| format!("detection:\n  s:\n    {line}\n  condition: s\n");
    let (code, said) = check(&selection("F|expand: '%Servers%'"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("%Servers%"), "{said}");
    let counted = "correlation:\n  type: event_count\n  rules: [lost]\n  timespan: 5m\n  condition: {gte: 2}\n";
    for (lines, place, meant) in [
        (selection("F|startwith: x"), "r.yml:6:7:", "did you mean `startswith`?"),
        (selection("F|re: 'a(b'"), "r.yml:6:11:", "close it"),
        (
            counted.replace("event_count", "event_cuont"),
            "r.yml:5:9:",
            "did you mean `event_count`?",
        ),
        (counted.to_owned(), "r.yml:6:11:", "load that rule too"),
    ] {
        let (code, said) = check(&lines);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(place) && said.contains(meant), "{said}");
    }
}

/// Scenario: a rule file with a mistake beside its tests, a report for a build server.
/// Guarantees: the report says failed, not that there was nothing to test.
#[test]
fn tests_that_cannot_be_read_are_no_green_report() {
    let dir = tempfile::tempdir().unwrap();
    let (rule, junit) = (dir.path().join("r.yml"), dir.path().join("report.xml"));
    let text = "title: t\nid: r\nlogsource: {product: test}\n\
                detection: {s: {F: x}, condition: s}\nalcedo_tests: [{evnt: {F: x}, match: true}]\n";
    std::fs::write(&rule, text).unwrap();
    let out = run(&["rules", "test", rule.to_str().unwrap(), "--junit", junit.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    let report = std::fs::read_to_string(&junit).unwrap();
    assert!(
        report.contains("tests=\"1\" failures=\"1\"") && report.contains("r.yml:5"),
        "{report}"
    );
}

/// Scenario: the brute force in a real auth.log, with the shipped rules.
/// Guarantees: the correlation fires exactly once, with all failures and the success.
#[test]
fn the_real_brute_force_is_found_exactly_once() {
    let Some(packed) = testkit::corpus("auth/ssh-bruteforce-auth.log.zst") else { return };
    let rules = testkit::workspace_root().join("rules/linux/ssh_guessed_password.yml");
    let out = run(&[
        "hunt",
        "--rules",
        rules.to_str().unwrap(),
        packed.to_str().unwrap(),
        "-o",
        "ndjson",
    ]);
    let rows = json_lines(&out);
    let fired: Vec<_> = rows.iter().filter(|r| r["rule.type"] == "temporal_ordered").collect();
    assert_eq!(fired.len(), 1, "{fired:#?}");
    assert_eq!(fired[0]["user.name"], "elastic_user_0");
    assert_eq!(fired[0]["source.ip"], "24.151.103.17");
    assert!(fired[0]["@timestamp"].as_str().unwrap().ends_with("03-30T16:01:36Z"), "{}", fired[0]);
    assert_eq!(fired[0]["contributing"].as_array().unwrap().len(), 148);
}

/// Scenario: configurations that keep less than auditors ask for, and one that keeps enough.
/// Guarantees: `check` says so without failing; nothing is said of the others, nor with --quiet.
#[test]
fn check_warns_where_less_is_kept_than_auditors_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let told = |settings: &str, quiet: bool| {
        let path = dir.path().join("alcedo.yaml");
        std::fs::write(&path, settings).unwrap();
        let mut args = vec!["check", "-c", path.to_str().unwrap()];
        args.extend(quiet.then_some("--quiet"));
        let out = run(&args);
        assert_eq!(out.status.code(), Some(0), "{settings}");
        String::from_utf8(out.stderr).unwrap().matches("warning: ").count()
    };
    assert_eq!(told("retention: {age: 400d}\n", false), 0);
    assert_eq!(told("retention: {age: 200d}\n", false), 1);
    assert_eq!(told("retention: {age: 200d}\n", true), 0);
    assert_eq!(told("tier: {to: 'file:///tmp/alcedo-far-of-a-test', hot: 30d}\n", false), 1);
}

/// Scenario: a rule with a misspelt modifier, one with three slips, one that asks for look-around, and one
/// that is good.
/// Guarantees: `rules check` and `rules list` call them the same and count rules, not problems; rows keep
/// title and level; for programs every problem has its place; the exit code is the same in every form.
#[test]
fn check_and_list_agree_on_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yml");
    let rule = |title: &str, items: &str| {
        format!(
            "title: {title}\nlevel: high\nlogsource: {{product: test}}\ndetection: {{s: {{{items}}}, condition: s}}\n"
        )
    };
    let all = [
        rule("misspelt", "F|contians: 1"),
        rule("three", "A|contains: null, B|cidr: x, C|exists: 3"),
        rule("look", "F|re: '(?=a)b'"),
        rule("good", "F: x"),
    ];
    fs::write(&file, all.join("---\n")).unwrap();
    let path = file.to_str().unwrap();
    let out = run(&["rules", "check", path]);
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("1 rules live, 1 not covered, 2 failed"), "{said}");
    let out = run(&["rules", "check", path, "-o", "json"]);
    assert_eq!(out.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["live"], &report["failed"]), (&1.into(), &2.into()), "{report}");
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 5, "{report}");
    let first = &problems[0];
    assert_eq!((&first["line"], &first["column"]), (&4.into(), &19.into()), "{first}");
    assert_eq!(
        (&*first["file"].to_string(), &*first["title"].to_string()),
        (&*format!("{path:?}"), "\"misspelt\"")
    );
    assert!(first["reason"].as_str().unwrap().contains("contians") && first["hint"].is_string());
    let rows = json_lines(&run(&["rules", "list", path, "-o", "ndjson"]));
    let states: Vec<[&str; 3]> = rows
        .iter()
        .map(|r| ["title", "state", "level"].map(|name| r[name].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(
        states,
        [
            ["good", "live", "high"],
            ["misspelt", "failed", "high"],
            ["three", "failed", "high"],
            ["look", "not_covered", "high"],
        ]
    );
    assert_eq!(rows[2]["problems"].as_array().unwrap().len(), 3);
    let failed = json_lines(&run(&["rules", "list", path, "--state", "failed", "-o", "ndjson"]));
    assert_eq!(failed.len(), 2);
    let out = run(&["rules", "test", path, "-o", "json"]);
    assert_eq!(out.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let passed = |t: &serde_json::Value| t["passed"] == true;
    assert!(
        !report["tests"].as_array().unwrap().iter().any(passed) && report["failed"] != 0,
        "{report}"
    );
}

/// Scenario: rules that name regression samples: a folder that is not there, a sample that is not there,
/// JSON that is cut off, one that must not match and does, samples that are there and above the folder
/// that is tested.
/// Guarantees: what is missing is a test that failed, in the report for build servers too; samples that a
/// rule names are run wherever they lie.
#[test]
fn samples_that_a_rule_names_and_that_are_missing_fail() {
    let dir = tempfile::tempdir().unwrap();
    let id = |n: u32| format!("22222222-0000-4000-8000-{n:012}");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for n in 1..=5 {
        let rule = format!(
            "title: r{n}\nid: {}\nregression_tests_path: regression_data/r{n}/info.yml\n\
             logsource: {{product: test}}\ndetection: {{s: {{F: x}}, condition: s}}\n",
            id(n)
        );
        write(&format!("rules/r{n}.yml"), &rule);
    }
    let info = |n: u32, sample: &str, count: u32| {
        let text = format!(
            "rule_metadata: [{{id: {}, title: r}}]\nregression_tests_info: [{{name: t, match_count: {count}, path: regression_data/r{n}/{sample}}}]\n",
            id(n)
        );
        write(&format!("regression_data/r{n}/info.yml"), &text);
    };
    info(2, "lost.evtx", 1);
    info(3, "cut.json", 1);
    write("regression_data/r3/cut.json", "{\"F\": \"x\"}\n{\"F\": ");
    info(4, "good.json", 1);
    write("regression_data/r4/good.json", "{\"F\": \"x\"}\n");
    info(5, "benign.json", 0);
    write("regression_data/r5/benign.json", "{\"F\": \"x\"}\n");
    let (rules, junit) = (dir.path().join("rules"), dir.path().join("j.xml"));
    let out = run(&["rules", "test", rules.to_str().unwrap(), "--junit", junit.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("2 passed, 4 failed"), "{said}");
    for words in
        ["r1 > its samples are there", "lost.evtx is not there", "cut.json", "expected no match"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let report = fs::read_to_string(&junit).unwrap();
    assert!(report.contains("tests=\"6\" failures=\"4\""), "{report}");
    let root = dir.path().to_str().unwrap();
    let again = run(&["rules", "test", root]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(said.contains("2 passed, 4 failed"), "each folder once: {said}");
}

/// Scenario: a hunt over records without a time, some with one.
/// Guarantees: standard error says how many and where the first is: correlations take them as of one moment.
#[test]
fn a_hunt_says_which_records_have_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("r.yml"), RULES).unwrap();
    fs::write(
        path("e.ndjson"),
        "{\"@timestamp\": \"2025-01-01T00:00:00Z\", \"a\": 1}\n{\"a\": 2}\n{\"a\": 3}\n",
    )
    .unwrap();
    let out = run(&["hunt", "--rules", &path("r.yml"), &path("e.ndjson")]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("e.ndjson:2: 2 of its records have no time"), "{said}");
    fs::write(path("t.ndjson"), "{\"@timestamp\": \"2025-01-01T00:00:00Z\", \"a\": 1}\n").unwrap();
    let out = run(&["hunt", "--rules", &path("r.yml"), &path("t.ndjson")]);
    assert!(!String::from_utf8_lossy(&out.stderr).contains("no time"));
}

/// Scenario: a file whose last document, a correlation, is broken is explained.
/// Guarantees: no other document is explained in its place; what is wrong is told.
#[test]
fn a_broken_document_is_not_explained_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("r.yml"), RULES.replace("  timespan: 5m\n", "")).unwrap();
    fs::write(path("e.ndjson"), "{\"CommandLine\": \"whoami\"}\n").unwrap();
    let out = run(&["rules", "explain", &path("r.yml"), &path("e.ndjson")]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(3) && said.contains("there is no `timespan`"), "{said}");
    assert!(out.stdout.is_empty());
}
