//! What events say they are, in the words of Sigma's logsources, and that rules of every logsource meet
//! events.

use super::Bench;
use detect::coverage::{Feed, State, coverage};
use shape::packs;
use std::collections::{BTreeMap, BTreeSet};

/// Logsources of SigmaHQ's rules that no pack's events have, and why.
const NOT_FED: &[(&str, &str)] = &[
    ("django/application/-", WITHOUT_MARK),
    ("nodejs/application/-", WITHOUT_MARK),
    ("python/application/-", WITHOUT_MARK),
    ("paloalto/file_event/globalprotect", "the appliance reports no creation of files"),
    ("qualys/-/-", "a list of a scanner's findings by host, which it sends as no log"),
];
/// The text of an application, of which nothing says what it is written in: events of no known product
/// are offered to all rules.
const WITHOUT_MARK: &str = "any text; events of no known product are offered to its rules";

/// The values of `alcedo.logsource` of an event.
fn logsources(bench: &mut Bench, raw: &str) -> Vec<String> {
    bench.clear();
    let shaped = bench.shape(raw.as_bytes());
    bench.all(shaped.first_row, "alcedo.logsource")
}

/// Everything that some sample's event is known to be: what may be anything says nothing.
fn of_samples() -> BTreeSet<String> {
    let mut bench = Bench::new();
    let mut out = BTreeSet::new();
    for pack in packs::ALL {
        let samples = testkit::workspace_root().join("packs").join(pack.name).join("samples");
        for sample in std::fs::read_dir(samples).unwrap() {
            bench.start();
            let text = std::fs::read(sample.unwrap().path()).unwrap();
            for line in text.split(|c| *c == b'\n').filter(|l| !l.is_empty()) {
                bench.envelope = std::sync::Arc::new(event::Envelope::of_sample(line));
                bench.shape(line);
            }
            for row in 0..bench.batch.len() {
                out.extend(bench.all(row, "alcedo.logsource"));
            }
            out.retain(|logsource| !logsource.contains('*'));
        }
    }
    out
}

#[test]
fn what_programs_of_linux_say_by_syslog_is_its_syslog_too() {
    let mut bench = Bench::new();
    let of = |program: &str, text: &str| format!("Nov 23 22:16:00 web-1 {program}[7]: {text}");
    for (program, text, own) in [
        ("systemd", "Stopping firewalld - dynamic firewall daemon...", "linux//auth"),
        ("named", "client 10.0.0.5#53: zone transfer 'example.com/AXFR/IN' denied", "linux//named"),
        ("sshd", "Failed password for root from 192.0.2.7 port 4711 ssh2", "linux//sshd"),
        ("sudo", "kim : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls", "linux//sudo"),
        ("CRON", "(root) CMD (/usr/bin/true)", "linux//cron"),
        ("vsftpd", "[kim] FAIL LOGIN: Client \"192.0.2.9\"", "linux//vsftpd"),
        ("clamd", "/srv/a.exe: Win.Test.EICAR_HDB-1 FOUND", "linux//clamav"),
        ("guacd", "Creating new client for protocol \"ssh\"", "linux//guacamole"),
    ] {
        let journal = serde_json::json!({
            "__REALTIME_TIMESTAMP": "1763936160000000", "_HOSTNAME": "web-1",
            "SYSLOG_IDENTIFIER": program, "MESSAGE": text, "_PID": "7",
        });
        for raw in [of(program, text), journal.to_string()] {
            let all = logsources(&mut bench, &raw);
            let times = |wanted: &str| all.iter().filter(|l| *l == wanted).count();
            assert_eq!((times("linux//syslog"), times(own)), (1, 1), "{raw}: {all:?}");
        }
    }
    // The same formats in files of their own are not.
    let vsftpd = "Mon Nov 23 10:11:12 2026 [pid 8] [kim] OK LOGIN: Client \"192.0.2.9\"";
    let audit =
        "type=USER_LOGIN msg=audit(1763936160.123:9): pid=1 uid=0 auid=0 ses=1 msg='op=login'";
    for raw in [vsftpd, audit] {
        let all = logsources(&mut bench, raw);
        assert!(!all.is_empty() && !all.iter().any(|l| l == "linux//syslog"), "{raw}: {all:?}");
    }
    // Nor is what other systems say by syslog.
    let asa = "<166>Nov 23 2026 10:02:41 fw : %ASA-6-302014: Teardown TCP connection 1 for a:192.0.2.1/1 to b:192.0.2.2/2 duration 0:00:01 bytes 1";
    assert!(!logsources(&mut bench, asa).iter().any(|l| l == "linux//syslog"));
}

#[test]
fn channels_are_known_by_their_own_name_and_by_splunks() {
    let mut bench = Bench::new();
    for channel in ["Security", "WinEventLog:Security"] {
        let raw = format!(r#"{{"Channel":"{channel}","EventID":4624,"Computer":"h"}}"#);
        assert_eq!(logsources(&mut bench, &raw), ["windows//security"], "{channel}");
    }
}

#[test]
fn rules_of_every_logsource_meet_a_sample_or_it_is_said_why_not() {
    let folder = tempfile::tempdir().unwrap();
    if !testkit::unpack("sigma/rules.tar.zst", folder.path()) {
        return;
    }
    let (rules, _) = detect::load_paths(&[folder.path().to_path_buf()]);
    let feed = Feed {
        name: "samples".into(),
        logsources: of_samples().into_iter().collect(),
        answers: Box::new(|_| Vec::new()),
    };
    let mut without: BTreeMap<String, usize> = BTreeMap::new();
    for (rule, found) in rules.iter().zip(coverage(&rules, &[feed])) {
        if found.state == State::NotFed && rule.correlation().is_none() {
            *without.entry(rule.logsource.shown()).or_default() += 1;
        }
    }
    let said: Vec<&str> = NOT_FED.iter().map(|(logsource, _)| *logsource).collect();
    let unsaid: Vec<_> = without.iter().filter(|(l, _)| !said.contains(&l.as_str())).collect();
    assert!(unsaid.is_empty(), "rules that no sample feeds: {unsaid:#?}");
    let fed: Vec<_> = said.iter().filter(|l| !without.contains_key(**l)).collect();
    assert!(fed.is_empty(), "fed although it is said that they are not: {fed:?}");
}
