//! Redaction on a running server: what nobody may see is nowhere behind shaping.

use super::harness::{Server, alcedo, json_lines, run};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const RULES: &str = "rules:\n  - {name: people, fields: [user.name, source.ip], as: pseudonym}\n  - {name: secrets, secrets: [passwords, cards], as: mask}\n";

const FAILED: &str = "title: Failed login\nid: 77777777-7777-4777-8777-777777777777\nlogsource: {product: linux, service: sshd}\ndetection:\n  sel: {event.outcome: failure}\n  condition: sel\nlevel: medium\n---\ntitle: Failed logins of one\nid: 77777777-7777-4777-8777-777777777778\ncorrelation:\n  type: event_count\n  rules: [77777777-7777-4777-8777-777777777777]\n  group-by: [user.name]\n  timespan: 1h\n  condition: {gte: 3}\nlevel: high\n";

const LINES: &str = "<38>1 - web-01 sshd 7 - - Failed password for alicia from 203.0.113.9 port 22 ssh2\n\
    <38>1 - web-01 sshd 7 - - Failed password for ALICIA from 203.0.113.9 port 22 ssh2\n\
    <38>1 - web-01 sshd 7 - - Failed password for alicia from 203.0.113.10 port 22 ssh2\n\
    order by somebody, password=hunter2 and card 4111 1111 1111 1111\n";

const SECRETS: [&str; 5] = ["alicia", "203.0.113.9", "203.0.113.10", "hunter2", "4111 1111"];

struct Home {
    server: Server,
    rules: PathBuf,
    _dir: tempfile::TempDir,
}

impl Home {
    fn start(rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redact.yaml");
        fs::write(&path, rules).unwrap();
        fs::write(dir.path().join("failed.yml"), FAILED).unwrap();
        let settings = format!(
            "redact: '{}'\nrules: ['{}']\nnotify: [{{to: file, path: '{}'}}]\n",
            path.display(),
            dir.path().join("failed.yml").display(),
            dir.path().join("alerts.ndjson").display()
        );
        Self { server: Server::start(&settings), rules: path, _dir: dir }
    }

    fn send(&self, text: &str) {
        let kind = [("Content-Type", "text/plain")];
        let token = &self.server.admin_token;
        let (status, said) =
            self.server.send("POST", "/api/v1/ingest", token, &kind, text.as_bytes());
        assert_eq!(status, 200, "{said}");
    }

    fn pseudonym(&self, value: &str) -> String {
        let config = self.server.config.to_str().unwrap();
        let out = run(&["redact", value, "-c", config, "-o", "ndjson"]);
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        json_lines(&out)[0]["pseudonym"].as_str().unwrap().to_owned()
    }

    fn alerts(&self) -> Vec<Value> {
        let (status, all) =
            self.server.ask("GET", "/api/v1/alerts?limit=100", &self.server.admin_token, "");
        assert_eq!(status, 200, "{all}");
        all["alerts"].as_array().or(all["rows"].as_array()).cloned().unwrap_or_default()
    }
}

/// Scenario: names, addresses, a password and a card are sent to a server that redacts; it is
/// stopped and started again; what it stored is exported from its folder.
/// Guarantees: no search finds a secret, live, stored or after the restart; no alert and no
/// notification tells one; the pseudonym that `alcedo redact` prints finds what the value would
/// have; a correlation over the name counts all its spellings as one; the rule finds the same over
/// stored events; every record is accounted for and counted as redacted. The journal holds what was
/// received until it is retired.
#[test]
fn secrets_are_nowhere_behind_shaping() {
    let mut home = Home::start(RULES);
    home.send(LINES);
    home.server.eventually("the lines", |s| (s.search("sshd").len() == 3).then_some(()));
    home.server.eventually("the correlation", |_| {
        home.alerts().iter().any(|a| a.to_string().contains("Failed logins of one")).then_some(())
    });
    let name = home.pseudonym("Alicia");
    let check = |home: &Home| {
        for secret in SECRETS {
            assert!(home.server.search(&format!("\"{secret}\"")).is_empty(), "{secret}");
            assert!(!Value::from(home.server.search("*")).to_string().contains(secret), "{secret}");
            assert!(!Value::from(home.alerts()).to_string().contains(secret), "{secret}");
        }
        assert_eq!(home.server.search(&format!("user.name:{name}")).len(), 3);
        let ip = home.pseudonym("203.0.113.9");
        assert_eq!(home.server.search(&format!("source.ip:\"{ip}\"")).len(), 2);
        assert_eq!(home.server.search("alcedo.redacted_by:secrets password REDACTED").len(), 1);
    };
    check(&home);
    home.server.eventually("the counts", |s| {
        (s.metric("alcedo_events_redacted_total") == Some(4.0)).then_some(())
    });
    let total = |name: &str| home.server.metric(&format!("alcedo_events_{name}_total")).unwrap();
    assert_eq!(
        total("received") + total("expanded"),
        total("stored")
            + total("joined")
            + total("dropped")
            + total("deduplicated")
            + total("quarantined")
    );
    home.server.stop();
    let told = fs::read_to_string(home.rules.with_file_name("alerts.ndjson")).unwrap();
    assert!(told.contains("Failed login") && SECRETS.iter().all(|s| !told.contains(s)), "{told}");
    let data = home.server.data_dir.to_str().unwrap().to_owned();
    let to = home.rules.with_file_name("export");
    let out = run(&[
        "export",
        "*",
        "--to",
        to.to_str().unwrap(),
        "--format",
        "ndjson",
        "--data-dir",
        &data,
    ]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let stored = fs::read_to_string(to.join("part-00000.ndjson")).unwrap();
    assert!(stored.contains(&name) && SECRETS.iter().all(|s| !stored.contains(s)), "{stored}");
    let dump = run(&["journal", "dump", "--data-dir", &data]);
    assert!(
        String::from_utf8_lossy(&dump.stdout).contains("alicia"),
        "the journal has what was sent"
    );
    home.server.start_again();
    check(&home);
    let rule = home.rules.with_file_name("failed.yml");
    let hunt = alcedo()
        .args([
            "hunt",
            "--since",
            "1d",
            "--offline",
            "--rules",
            rule.to_str().unwrap(),
            "--data-dir",
            &data,
            "-o",
            "ndjson",
        ])
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&hunt.stdout).into_owned();
    let rows = json_lines(&hunt);
    assert_eq!(rows.len(), 1, "{found}{}", String::from_utf8_lossy(&hunt.stderr));
    let (events, who) = (&rows[0]["events"], &rows[0]["user.name"]);
    assert_eq!((events, who.as_str()), (&json!(3), Some(&*name)), "as it was found live");
    assert!(SECRETS.iter().all(|s| !found.contains(s)), "{found}");
}

/// Scenario: a server without rules gets events; rules are written while it runs, then broken, then
/// history is shaped anew.
/// Guarantees: new events follow the new rules without a restart; a broken file is told with file
/// and line, and the rules before stay in force; `reparse` takes the secrets out of what was stored
/// before.
#[test]
fn rules_are_read_while_running_and_reach_history() {
    let home = Home::start("rules: []\n");
    home.send(LINES);
    home.server.eventually("the lines", |s| (s.search("alicia").len() == 3).then_some(()));
    fs::write(&home.rules, RULES).unwrap();
    let name = home.pseudonym("alicia");
    home.server.eventually("the rules", |s| {
        home.send(LINES);
        (!s.search(&format!("user.name:{name}")).is_empty()).then_some(())
    });
    let token = &home.server.admin_token;
    fs::write(&home.rules, "rules:\n  - {name: people, fields: [user.nmae], as: mask}\n").unwrap();
    let (status, said) = home.server.ask("POST", "/api/v1/rules/reload", token, "{}");
    assert_eq!(status, 400, "{said}");
    assert!(said.to_string().contains("redact.yaml:2"), "{said}");
    let config = home.server.config.to_str().unwrap();
    let out = run(&["check", "-c", config]);
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("user.name"));
    let clear = home.server.search("alicia").len();
    home.send(LINES);
    home.server.eventually("more lines", |s| {
        (s.search(&format!("user.name:{name}")).len() >= 3).then_some(())
    });
    assert_eq!(home.server.search("alicia").len(), clear, "the rules before are in force");
    fs::write(&home.rules, RULES).unwrap();
    assert_eq!(home.server.ask("POST", "/api/v1/rules/reload", token, "{}").0, 200);
    let body = json!({"filter": "*", "reason": "privacy"}).to_string();
    home.server.eventually("nothing clear is left", |s| {
        s.ask("POST", "/api/v1/reparse", token, &body);
        s.eventually("the end", |s| {
            let (_, run) = s.ask("GET", "/api/v1/reparse", token, "");
            (!run["reparse"]["ended_at"].is_null()).then_some(())
        });
        let left: usize = SECRETS.iter().map(|v| s.search(&format!("\"{v}\"")).len()).sum();
        (left == 0).then_some(())
    });
}

/// Scenario: a running server's rules come to name a key in another folder; then that key is changed, and
/// nothing else.
/// Guarantees: each time the server gives the pseudonyms of the key, as the verb does.
#[test]
fn a_key_that_is_named_later_is_watched() {
    let home = Home::start(RULES);
    let keys = home.rules.with_file_name("keys");
    fs::create_dir(&keys).unwrap();
    let mut names = vec![home.pseudonym("alicia")];
    for key in ["0123456789abcdef", "fedcba9876543210"] {
        fs::write(keys.join("redact.key"), key).unwrap();
        if names.len() == 1 {
            fs::write(&home.rules, format!("key: keys/redact.key\n{RULES}")).unwrap();
        }
        let name = home.pseudonym("alicia");
        assert!(!names.contains(&name), "{names:?}");
        home.server.eventually("the key", |s| {
            home.send(LINES);
            (!s.search(&format!("user.name:{name}")).is_empty()).then_some(())
        });
        names.push(name);
    }
}

/// Scenario: the verb is run where the server's key is not, or is no key; the rules name one of their own.
/// Guarantees: it tells no wrong pseudonym but what to do; `check` and `parse` go on and say so; a key of one's
/// own is enough.
#[test]
fn without_the_key_no_pseudonym_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("redact.yaml"), RULES).unwrap();
    fs::write(path("alcedo.yaml"), "data_dir: data\nredact: redact.yaml\n").unwrap();
    fs::write(path("lines.log"), LINES).unwrap();
    fs::create_dir(path("data")).unwrap();
    for problem in ["cannot be read", "is damaged"] {
        let out = run(&["redact", "alicia", "-c", &path("alcedo.yaml")]);
        // Lines are broken where the terminal ends.
        let said = String::from_utf8_lossy(&out.stderr).replace('\u{2502}', " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!((out.status.code(), out.stdout.len()), (Some(3), 0), "{said}");
        assert!(said.contains(problem) && said.contains("as its user"), "{said}");
        for verb in [&["check"][..], &["parse", &path("lines.log")]] {
            let out = run(&[verb, &["-c", &path("alcedo.yaml")]].concat());
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(0), "{said}");
            assert!(said.contains("not the server's"), "{said}");
        }
        fs::write(path("data/secret"), "short").unwrap();
    }
    fs::write(path("redact.yaml"), format!("key: own.key\n{RULES}")).unwrap();
    fs::write(path("own.key"), "0123456789abcdef").unwrap();
    let out = run(&["redact", "alicia", "-c", &path("alcedo.yaml")]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Guarantees: `parse --explain` shows the step, what it wrote, and no secret; a value is never
/// printed by the verb that shows how it was found.
#[test]
fn explain_shows_the_step_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("redact.yaml"), RULES).unwrap();
    fs::write(path("alcedo.yaml"), "data_dir: data\nredact: redact.yaml\n").unwrap();
    fs::write(path("lines.log"), LINES).unwrap();
    for form in ["ndjson", "table"] {
        let out = run(&[
            "parse",
            "--explain",
            &path("lines.log"),
            "-c",
            &path("alcedo.yaml"),
            "-o",
            form,
        ]);
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(SECRETS.iter().all(|s| !text.contains(s)), "{text}");
        assert!(text.contains("redaction") && text.contains("alcedo.redacted_by"), "{text}");
    }
    let out = run(&["redact", "alicia"]);
    assert_eq!(out.status.code(), Some(3), "without rules there is no key to tell");
}
