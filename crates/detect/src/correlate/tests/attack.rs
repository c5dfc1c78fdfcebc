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
            Some(Ev { rule, id: line as u64 + 1, t_s, user, value: 0, weight })
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
