//! The case the product is judged by: failed logins, then a success.

use super::*;
use event::time::days_from_civil;
use regex::Regex;
use std::io::Read;

const FAILED: u32 = 0;
const ACCEPTED: u32 = 1;

/// Rule, user, source address, weight and second of one sshd line.
fn login(line: &str, regex: &Regex) -> Option<(u32, String, String, u32, i64)> {
    const MONTHS: [&str; 4] = ["Jan", "Feb", "Mar", "Apr"];
    let c = regex.captures(line)?;
    let month = MONTHS.iter().position(|m| *m == &c[1])? as i64 + 1;
    let number = |i: usize| c[i].parse::<i64>().ok();
    let days = days_from_civil(2017, month, c[2].trim().parse().ok()?);
    let t = days * 86_400 + number(3)? * 3_600 + number(4)? * 60 + number(5)?;
    let weight = c.get(6).map_or(Some(1), |m| m.as_str().parse().ok())?;
    let rule = if &c[7] == "Failed" { FAILED } else { ACCEPTED };
    Some((rule, c[8].to_owned(), c[9].to_owned(), weight, t))
}

fn regex() -> Regex {
    Regex::new(concat!(
        r"^(\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) \S+ sshd\[\d+\]: ",
        r"(?:message repeated (\d+) times: \[ )?(Failed|Accepted) password for ",
        r"(?:invalid user )?(\S+) from (\S+) port",
    ))
    .unwrap()
}

fn events(log: &str) -> Vec<Ev> {
    let regex = regex();
    let lines = log.lines().enumerate();
    lines
        .filter_map(|(line, text)| {
            let (rule, user, address, weight, t_s) = login(text, &regex)?;
            // User and address are one text here: the key has one part in these tests.
            let user = format!("{user} {address}");
            Some(Ev { user, weight, ..ev(rule, line as u64 + 1, t_s) })
        })
        .collect()
}

#[test]
fn the_real_log_holds_exactly_one_successful_brute_force() {
    let Some(path) = testkit::corpus("auth/ssh-bruteforce-auth.log.zst") else { return };
    let mut log = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    zstd::Decoder::new(file).unwrap().read_to_end(&mut log).unwrap();
    let events = events(&String::from_utf8_lossy(&log));
    let failures: u32 = events.iter().filter(|e| e.rule == FAILED).map(|e| e.weight).sum();
    assert!(failures > 900, "repeated messages are weighed: {failures}");

    let firings = run(brute_force(5, 600), Settings::default(), &events);
    assert_eq!(firings.len(), 1, "{:?}", firings.iter().map(|f| &f.group).collect::<Vec<_>>());
    let f = &firings[0];
    assert_eq!(f.group[0].1, "elastic_user_0 24.151.103.17");
    // Line 3,180 of the file: Mar 30 16:01:36.
    assert_eq!(f.fired_by, EventId::at(3_180));
    assert_eq!(event::time::rfc3339(f.event_ns), "2017-03-30T16:01:36Z");
    assert_eq!(event::time::rfc3339(f.first_ns), "2017-03-30T15:54:19Z");
    let (failed, accepted): (Vec<&Contribution>, Vec<_>) =
        f.evidence.iter().partition(|c| c.rule == FAILED);
    assert_eq!(failed.iter().map(|c| c.weight).sum::<u32>(), 147);
    assert_eq!((failed.len(), accepted.len()), (147, 1));
    assert_eq!((f.events, f.weight), (148, 148));
    let all: BTreeSet<u64> = events
        .iter()
        .filter(|e| e.user == "elastic_user_0 24.151.103.17")
        .filter(|e| e.rule == FAILED && e.t_s * S >= f.event_ns - 600 * S && e.id < 3_180)
        .map(|e| e.id)
        .collect();
    assert_eq!(failed.iter().map(|c| c.id.offset).collect::<BTreeSet<_>>(), all);
}

#[test]
fn a_made_up_attack_fires_once_with_all_that_led_to_it() {
    let line = |s: i64, what: &str, user: &str| {
        let time = format!("{:02}:{:02}:{:02}", 10 + s / 3_600, s / 60 % 60, s % 60);
        format!("Mar  5 {time} gate sshd[77]: {what} for {user} from 198.51.100.7 port 4242 ssh2\n")
    };
    let mut log = String::new();
    log += &line(0, "Accepted password", "ann");
    log += &line(10, "Failed password", "bob");
    log += &line(20, "message repeated 4 times: [ Failed password", "bob");
    log += &line(30, "Accepted password", "carl");
    log += &line(600, "Failed password", "Bob");
    log += &line(609, "Accepted password", "bob");
    log += &line(640, "Accepted password", "bob");
    let events = events(&log);
    assert_eq!(events.len(), 7);
    let firings = run(brute_force(5, 600), Settings::default(), &events);
    assert_eq!(firings.len(), 1);
    assert_eq!(firings[0].fired_by, EventId::at(6));
    let lines: Vec<u64> = firings[0].evidence.iter().map(|c| c.id.offset).collect();
    assert_eq!(lines, [2, 3, 5, 6]);
    assert_eq!((firings[0].events, firings[0].weight), (4, 7));
    assert_eq!(
        firings[0].reason(),
        "2 steps in order within 600 s for user bob 198.51.100.7 (7 events in all)"
    );
}

/// The rule that ships, from its text to the alert, over parsed rows.
#[test]
fn the_shipped_rule_finds_it_from_text_to_evidence() {
    use crate::{LOGSOURCE_FIELD, RuleSet, Scratch, load_paths};
    let Some(path) = testkit::corpus("auth/ssh-bruteforce-auth.log.zst") else { return };
    let file = testkit::workspace_root().join("rules/linux/ssh_guessed_password.yml");
    let (rules, problems) = load_paths(&[file]);
    assert_eq!(problems, []);
    let set = RuleSet::standalone(rules);
    let specs = SpecSet::from_rules(&set).unwrap();
    let extractor = Extractor::new(&specs, set.dict(), KeyHasher::new([5; 16]));
    let mut engine = Engine::new(specs, Settings::default());
    let mut log = Vec::new();
    zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap().read_to_end(&mut log).unwrap();
    let log = String::from_utf8_lossy(&log);
    let (regex, mut scratch, mut out) = (regex(), Scratch::new(), Vec::new());
    let lines: Vec<&str> = log.lines().collect();
    let envelope = Arc::new(event::Envelope::of("gate", event::Protocol::File));
    for (number, chunk) in lines.chunks(100).enumerate() {
        let mut batch = event::EventBatch::new(set.dict().clone());
        for (i, line) in chunk.iter().enumerate() {
            let offset = (number * 100 + i) as u64 + 1;
            let now = 2_000_000_000 * S + offset as i64 * 1_000_000;
            let head = event::RowHead {
                id: EventId::at(offset),
                received_ns: now,
                stream_ns: now,
                envelope: envelope.clone(),
            };
            let mut row = batch.begin(head, line.as_bytes());
            if let Some((rule, user, address, weight, t_s)) = login(line, &regex) {
                row.push_str(LOGSOURCE_FIELD, "linux//sshd");
                row.push_str("event.action", "ssh_login");
                row.push_str("linux.auth.method", "password");
                row.push_str("event.outcome", ["failure", "success"][rule as usize]);
                row.push_str("user.name", &user);
                row.push_str("source.ip", &address);
                row.set_event_ns(t_s * S);
                row.set_weight(weight);
            }
            row.finish();
        }
        let (mut matches, mut hits) = (Vec::new(), Vec::new());
        set.match_batch(&batch, &mut scratch, &mut matches);
        extractor.extract(&batch, &matches, &mut hits);
        engine.process(&hits, 0, &mut out);
    }
    engine.finish(&mut out);
    assert_eq!(out.len(), 1, "{:?}", out.iter().map(Firing::reason).collect::<Vec<_>>());
    let f = &out[0];
    assert_eq!(&*set.rule(f.rule).id, &*f.rule_id);
    assert_eq!(
        f.group,
        [
            ("user.name".into(), "elastic_user_0".to_owned()),
            ("source.ip".into(), "24.151.103.17".to_owned())
        ]
    );
    assert_eq!((f.fired_by, f.events, f.weight), (EventId::at(3_180), 148, 148));
    let names: BTreeSet<_> = f.evidence.iter().map(|c| set.rule(c.rule).name.clone()).collect();
    assert_eq!(names.len(), 2);
}

#[test]
fn an_event_without_its_key_takes_no_part() {
    use crate::{RuleSet, Scratch, load_text};
    let text = "title: base\nid: base\nname: base\nlogsource: {category: test}\n\
        detection: {s: {F: x}, condition: s}\n---\ntitle: many\nid: many\n\
        correlation: {type: event_count, rules: [base], group-by: [who], timespan: 1m, \
        aliases: {who: {base: user.name}}, condition: {gte: 2}}\n";
    let (rules, problems) = load_text(text);
    assert_eq!(problems, []);
    let set = RuleSet::standalone(rules);
    let specs = SpecSet::from_rules(&set).unwrap();
    assert!(!specs.speaks(set.find("base").unwrap()));
    let extractor = Extractor::new(&specs, set.dict(), KeyHasher::new([5; 16]));
    let mut batch = event::EventBatch::new(set.dict().clone());
    let envelope = Arc::new(event::Envelope::of("gate", event::Protocol::File));
    for (offset, user) in [None, Some("Ann"), None, Some("aNN")].into_iter().enumerate() {
        let head = event::RowHead {
            id: EventId::at(offset as u64),
            received_ns: S,
            stream_ns: S,
            envelope: envelope.clone(),
        };
        let mut row = batch.begin(head, b"");
        row.push_str("F", "x");
        user.map(|u| row.push_str("user.name", u));
        row.finish();
    }
    let (mut matches, mut hits, mut out) = (Vec::new(), Vec::new(), Vec::new());
    set.match_batch(&batch, &mut Scratch::new(), &mut matches);
    assert_eq!(matches.len(), 4);
    extractor.extract(&batch, &matches, &mut hits);
    Engine::new(specs, Settings::default()).process(hits, S, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].evidence.iter().map(|c| c.id.offset).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(out[0].group, [("who".into(), "aNN".to_owned())]);
}
