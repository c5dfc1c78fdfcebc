//! The attack that the demo plays: what happens, when, and how the hosts of a small company log it.
//!
//! ```text
//! 02:14  a stolen password is tried until it works      web-01   sshd
//! 02:14  the same account logs on to a workstation      ws-17    Windows Security
//! 02:15  a hidden PowerShell runs out of a document      ws-17    Sysmon
//! 02:16  it connects to an address nobody ever used      ws-17    Sysmon
//! 02:17  the traces are wiped on both hosts              both     Windows Security, sudo
//! ```
//! Minutes become seconds. All addresses are documentation ranges.

use super::lines;

/// Where a line goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The syslog listener, as a Linux host would send it.
    Syslog,
    /// `POST /api/v1/ingest`, as a collector of Windows events would.
    Http,
}

/// One line of the story.
#[derive(Clone, Debug)]
pub struct Scene {
    /// When, in ms from the start of the attack.
    pub at_ms: u64,
    /// Where it goes in.
    pub door: Door,
    /// The record, made for the moment it is sent.
    pub line: fn(now_ns: i64) -> String,
}

/// The account that was stolen.
pub const VICTIM: &str = "deploy";
/// Where the attacker sits.
pub const ATTACKER: &str = "203.0.113.66";
/// Where the malware calls home to.
pub const C2: &str = "198.51.100.23";

/// The attack, in order.
pub const SCENES: &[Scene] = &[
    Scene { at_ms: 0, door: Door::Syslog, line: failed },
    Scene { at_ms: 500, door: Door::Syslog, line: failed },
    Scene { at_ms: 900, door: Door::Syslog, line: failed },
    Scene { at_ms: 1_300, door: Door::Syslog, line: failed },
    Scene { at_ms: 1_700, door: Door::Syslog, line: failed },
    Scene { at_ms: 2_100, door: Door::Syslog, line: failed },
    Scene { at_ms: 2_500, door: Door::Syslog, line: failed },
    Scene { at_ms: 3_500, door: Door::Syslog, line: accepted },
    Scene { at_ms: 6_000, door: Door::Http, line: windows_logon },
    Scene { at_ms: 9_000, door: Door::Http, line: hidden_powershell },
    Scene { at_ms: 12_000, door: Door::Http, line: calls_home },
    Scene { at_ms: 15_000, door: Door::Http, line: clears_security_log },
    Scene { at_ms: 16_500, door: Door::Syslog, line: wipes_auth_log },
];

fn failed(now_ns: i64) -> String {
    let text = format!("Failed password for {VICTIM} from {ATTACKER} port 50122 ssh2");
    lines::syslog(now_ns, 38, "web-01", "sshd[2214]", &text)
}

fn accepted(now_ns: i64) -> String {
    let text = format!("Accepted password for {VICTIM} from {ATTACKER} port 50122 ssh2");
    lines::syslog(now_ns, 38, "web-01", "sshd[2214]", &text)
}

fn windows_logon(now_ns: i64) -> String {
    lines::windows_logon(now_ns, "ws-17.corp.example", VICTIM, ATTACKER, 10)
}

fn hidden_powershell(now_ns: i64) -> String {
    lines::sysmon_process(
        now_ns,
        "ws-17.corp.example",
        VICTIM,
        r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        "powershell.exe -NoP -W Hidden -enc SQBFAFgAKABOAGUAdwAtAE8AYgBqAGUAYwB0ACkA",
        r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE",
    )
}

fn calls_home(now_ns: i64) -> String {
    let image = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe";
    lines::sysmon_connection(now_ns, "ws-17.corp.example", VICTIM, image, C2, 443)
}

fn clears_security_log(now_ns: i64) -> String {
    lines::windows_log_cleared(now_ns, "ws-17.corp.example", VICTIM)
}

fn wipes_auth_log(now_ns: i64) -> String {
    let text = format!(
        "{VICTIM} : TTY=pts/1 ; PWD=/home/{VICTIM} ; USER=root ; COMMAND=/usr/bin/truncate -s 0 /var/log/auth.log"
    );
    lines::syslog(now_ns, 85, "web-01", "sudo", &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_in_order_and_takes_half_a_minute_at_most() {
        assert!(SCENES.windows(2).all(|w| w[0].at_ms <= w[1].at_ms));
        assert!(SCENES.last().is_some_and(|s| s.at_ms < 20_000));
    }

    #[test]
    fn every_json_scene_is_json() {
        for scene in SCENES.iter().filter(|s| s.door == Door::Http) {
            let line = (scene.line)(1_795_479_240_000_000_000);
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
        }
    }
}
