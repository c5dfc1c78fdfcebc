//! What the senders say: syslog lines and Windows events as hosts write them, and the marked events
//! whose alerts are timed.

use crate::corpus;
use crate::error::BenchError;
use event::time::{SECOND_NS, civil_from_days, rfc3339};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Begins every marked user name; no event of any corpus has it.
pub(crate) const MARKER: &str = "alcedobench-";
/// Begins the ids of the rules in [`MARKER_RULES`]; alerts of other rules do not count.
pub(crate) const MARKER_RULE_ID: &str = "5be7a1ce-0000-4000-8000-";
/// Rules that match marked events, one for each door.
pub(crate) const MARKER_RULES: &str = "\
title: Marked log-on on Windows
id: 5be7a1ce-0000-4000-8000-000000000001
status: test
level: high
logsource:
  product: windows
  service: security
detection:
  marked:
    EventID: 4624
    TargetUserName|startswith: 'alcedobench-'
  condition: marked
---
title: Marked log-in over SSH
id: 5be7a1ce-0000-4000-8000-000000000002
status: test
level: high
logsource:
  product: linux
  service: sshd
detection:
  marked:
    user.name|startswith: 'alcedobench-'
  condition: marked
";

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const USERS: [&str; 6] = ["anna", "ben", "carla", "dirk", "emil", "svc_backup"];
const PAGES: [&str; 4] = ["/", "/products?page=2", "/static/site.css", "/api/v2/cart"];
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// Where an event goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    /// `POST /api/v1/ingest`.
    Http,
    /// Syslog over TCP.
    Tcp,
}

/// One marked event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// Where it went in.
    pub(crate) door: Door,
    /// Its number, different for each event of a door.
    pub(crate) number: u64,
}

impl Mark {
    /// The user name that carries it.
    pub(crate) fn user(self) -> String {
        let door = if self.door == Door::Http { 'h' } else { 't' };
        format!("{MARKER}{door}{:08}", self.number)
    }

    /// The first mark in a text, read back.
    pub(crate) fn find(text: &[u8]) -> Option<Self> {
        let marker = MARKER.as_bytes();
        let at = text.windows(marker.len()).position(|window| window == marker)?;
        let rest = text.get(at + marker.len()..at + marker.len() + 9)?;
        let door = match rest[0] {
            b'h' => Door::Http,
            b't' => Door::Tcp,
            _ => return None,
        };
        let number = std::str::from_utf8(&rest[1..]).ok()?.parse().ok()?;
        Some(Self { door, number })
    }
}

/// The wall clock, ns since 1970.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The start of a line as a Unix syslog daemon forwards it (RFC 3164 form): `<38>Nov  3 09:02:01 `.
pub(crate) fn syslog_head(now_ns: i64, priority: u8) -> String {
    let seconds = now_ns.div_euclid(SECOND_NS);
    let (_, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let month = MONTHS[(month - 1).rem_euclid(12) as usize];
    let s = seconds.rem_euclid(86_400);
    format!("<{priority}>{month} {day:>2} {:02}:{:02}:{:02} ", s / 3_600, s / 60 % 60, s % 60)
}

/// Appends line number `number` of an ordinary mix, with its newline: web access, log-ins, cron,
/// packet filter.
pub(crate) fn push_syslog(out: &mut Vec<u8>, now_ns: i64, number: u64) {
    let pick = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let mut text = String::with_capacity(320);
    let (a, b) = (pick % 250 + 1, pick / 250 % 250 + 1);
    let written = match number % 10 {
        0..6 => {
            let time = web_time(now_ns);
            let page = PAGES[(pick % 4) as usize];
            let (head, bytes) = (syslog_head(now_ns, 190), pick % 90_000);
            write!(
                text,
                "{head}web-{:02} nginx: 192.0.2.{a} - - [{time}] \"GET {page} HTTP/1.1\" 200 \
                 {bytes} \"https://shop.example/{b}\" \"{AGENT}\"",
                b % 8
            )
        }
        6 | 7 => {
            let user = USERS[(pick % 6) as usize];
            let head = syslog_head(now_ns, 38);
            let (host, pid) = (b % 8, 1_000 + a);
            write!(
                text,
                "{head}web-{host:02} sshd[{pid}]: Accepted publickey for {user} from 10.20.{a}.{b} \
                 port {} ssh2: RSA SHA256:Zk3n0q1s8nGv2wq5tXhJm4oYf7cB9dE0aR6uLpKi{a:03}",
                40_000 + pick % 20_000
            )
        }
        8 => {
            let head = syslog_head(now_ns, 78);
            write!(
                text,
                "{head}db-{:02} CRON[{}]: (root) CMD (run-parts /etc/cron.hourly)",
                b % 4,
                a
            )
        }
        _ => {
            let head = syslog_head(now_ns, 4);
            write!(
                text,
                "{head}fw-01 kernel: [8123.{a:03}] DROP IN=eth0 OUT= MAC=00:16:3e:11:22:33 \
                 SRC=198.51.100.{a} DST=192.0.2.{b} LEN=44 TTL=54 PROTO=TCP SPT=40112 DPT=445 \
                 WINDOW=1024 SYN URGP=0"
            )
        }
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Appends a marked log-in, with its newline.
pub(crate) fn push_marked_syslog(out: &mut Vec<u8>, now_ns: i64, mark: Mark) {
    let (head, user) = (syslog_head(now_ns, 38), mark.user());
    let line = format!(
        "{head}web-01 sshd[2214]: Accepted password for {user} from 10.20.30.40 port 50122 ssh2\n"
    );
    out.extend_from_slice(line.as_bytes());
}

/// A marked Windows log-on (Security 4624), one line without its end.
pub(crate) fn marked_windows(now_ns: i64, mark: Mark) -> String {
    json!({
        "EventTime": plain_time(now_ns), "Hostname": "ws-17.corp.example", "EventID": 4624,
        "Channel": "Security", "SourceName": "Microsoft-Windows-Security-Auditing",
        "TargetUserName": mark.user(), "TargetDomainName": "CORP", "LogonType": 3,
        "IpAddress": "10.20.30.40", "IpPort": "50211", "LogonProcessName": "NtLmSsp ",
        "AuthenticationPackageName": "NTLM", "WorkstationName": "ws-17",
    })
    .to_string()
}

/// A padded line of exactly `size_bytes` with its newline, as an application would log it.
pub(crate) fn push_sized_json(out: &mut Vec<u8>, now_ns: i64, number: u64, size_bytes: usize) {
    let head = format!(
        "{{\"@timestamp\":\"{}\",\"host.name\":\"app-{:02}\",\"service.name\":\"checkout\",\
         \"log.level\":\"info\",\"message\":\"request {number} done ",
        rfc3339(now_ns),
        number % 16
    );
    out.extend_from_slice(head.as_bytes());
    let fill = size_bytes.saturating_sub(head.len() + 3);
    let words = b"item cart user total price order ship stock ";
    out.extend((number as usize..).take(fill).map(|at| words[at % words.len()]));
    out.extend_from_slice(b"\"}\n");
}

/// A line of about 300 bytes for the intake bench: the mix of [`push_syslog`], padded.
pub(crate) fn push_sized_syslog(out: &mut Vec<u8>, now_ns: i64, number: u64, size_bytes: usize) {
    let at = out.len();
    push_syslog(out, now_ns, number);
    out.pop();
    let fill = size_bytes.saturating_sub(out.len() - at + 1);
    let words = b" trace=4bf92f3577b34da6a3ce929d0e0e4736 span=00f067aa0ba902b7";
    out.extend((0..fill).map(|at| words[at % words.len()]));
    out.push(b'\n');
}

/// Up to `per_file` events of every Windows stream, dealt out file by file, with today's time in
/// them; our own few when the streams are not on this machine.
pub(crate) fn windows_mix(per_file: usize) -> Result<Vec<String>, BenchError> {
    let now = now_ns();
    let mut columns: Vec<Vec<String>> = Vec::new();
    for file in corpus::windows_files()? {
        let mut column = Vec::new();
        corpus::lines(&file, &mut |line| {
            if let Ok(Value::Object(mut event)) = serde_json::from_slice::<Value>(line) {
                renew(&mut event, now);
                column.push(Value::Object(event).to_string());
            }
            column.len() < per_file
        })?;
        columns.push(column);
    }
    if columns.is_empty() {
        return Ok(own_windows(now));
    }
    let deepest = columns.iter().map(Vec::len).max().unwrap_or(0);
    let dealt = (0..deepest).flat_map(|row| columns.iter().filter_map(move |c| c.get(row)));
    Ok(dealt.cloned().collect())
}

/// Puts the present where a collector would have put it: old times would make it a backfill.
fn renew(event: &mut serde_json::Map<String, Value>, now_ns: i64) {
    for name in ["@timestamp", "TimeCreated"] {
        if let Some(Value::String(time)) = event.get_mut(name) {
            *time = rfc3339(now_ns);
        }
    }
    for name in ["EventTime", "UtcTime", "EventReceivedTime"] {
        if let Some(Value::String(time)) = event.get_mut(name) {
            *time = plain_time(now_ns);
        }
    }
}

fn own_windows(now_ns: i64) -> Vec<String> {
    let images = [
        (r"C:\Windows\System32\svchost.exe", "svchost.exe -k netsvcs -p -s Schedule"),
        (r"C:\Program Files\Git\cmd\git.exe", "git fetch --all"),
        (r"C:\Windows\explorer.exe", "explorer.exe"),
    ];
    let event = |(index, (image, command)): (usize, &(&str, &str))| {
        json!({
            "EventTime": plain_time(now_ns), "Hostname": "ws-17.corp.example", "EventID": 1,
            "Channel": "Microsoft-Windows-Sysmon/Operational",
            "SourceName": "Microsoft-Windows-Sysmon", "Image": image, "CommandLine": command,
            "ParentImage": r"C:\Windows\System32\services.exe", "User": r"CORP\anna",
            "ProcessId": 4_712 + index, "IntegrityLevel": "Medium",
        })
        .to_string()
    };
    images.iter().enumerate().map(event).collect()
}

/// `2026-11-03 09:02:01`
fn plain_time(now_ns: i64) -> String {
    rfc3339(now_ns).replace('T', " ").chars().take(19).collect()
}

/// `03/Nov/2026:09:02:01 +0000`
fn web_time(now_ns: i64) -> String {
    let seconds = now_ns.div_euclid(SECOND_NS);
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let month = MONTHS[(month - 1).rem_euclid(12) as usize];
    let s = seconds.rem_euclid(86_400);
    let clock = format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60);
    format!("{day:02}/{month}/{year}:{clock} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-03 09:02:01 UTC.
    const THEN_NS: i64 = 1_793_696_521 * SECOND_NS;

    #[test]
    fn marks_come_back_from_what_was_sent() {
        let mark = Mark { door: Door::Tcp, number: 42 };
        let mut line = Vec::new();
        push_marked_syslog(&mut line, THEN_NS, mark);
        assert_eq!(Mark::find(&line), Some(mark));
        assert!(line.starts_with(b"<38>Nov  3 09:02:01 web-01 sshd["));
        let mark = Mark { door: Door::Http, number: 7 };
        assert_eq!(Mark::find(marked_windows(THEN_NS, mark).as_bytes()), Some(mark));
        assert_eq!(Mark::find(b"alcedobench-x00000001"), None);
        assert_eq!(Mark::find(b"alcedobench-h1"), None);
    }

    #[test]
    fn lines_are_whole_and_have_the_size_asked_for() {
        for number in 0..40 {
            let mut out = Vec::new();
            push_sized_syslog(&mut out, THEN_NS, number, 300);
            assert_eq!(out.iter().position(|b| *b == b'\n'), Some(out.len() - 1));
            assert!((300..340).contains(&out.len()), "{}", out.len());
            let mut json = Vec::new();
            push_sized_json(&mut json, THEN_NS, number, 1_024);
            assert_eq!(json.len(), 1_024);
            assert!(serde_json::from_slice::<Value>(&json).unwrap()["message"].is_string());
        }
    }

    #[test]
    fn the_mix_has_events_without_any_corpus() {
        for line in own_windows(THEN_NS) {
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["EventID"], 1);
        }
        assert!(!windows_mix(2).unwrap().is_empty());
        assert_eq!(plain_time(THEN_NS), "2026-11-03 09:02:01");
    }

    #[test]
    fn the_rules_look_for_the_marks() {
        assert_eq!(MARKER_RULES.matches(&format!("'{MARKER}'")).count(), 2);
        assert_eq!(MARKER_RULES.matches(MARKER_RULE_ID).count(), 2);
    }
}
