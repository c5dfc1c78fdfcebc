//! How hosts write things down: the record formats that the demo uses.

use event::time::{SECOND_NS, civil_from_days, rfc3339};
use serde_json::json;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A syslog line as rsyslog forwards it (RFC 3164 form).
pub fn syslog(now_ns: i64, priority: u8, host: &str, tag: &str, text: &str) -> String {
    let seconds = now_ns.div_euclid(SECOND_NS);
    let (_, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let s = seconds.rem_euclid(86_400);
    let month = MONTHS[(month - 1).rem_euclid(12) as usize];
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    format!("<{priority}>{month} {day:>2} {h:02}:{m:02}:{s:02} {host} {tag}: {text}")
}

/// An access line of nginx in the combined format.
pub fn nginx(now_ns: i64, client: &str, request: &str, status: u16, agent: &str) -> String {
    let seconds = now_ns.div_euclid(SECOND_NS);
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let s = seconds.rem_euclid(86_400);
    let month = MONTHS[(month - 1).rem_euclid(12) as usize];
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    let time = format!("{day:02}/{month}/{year}:{h:02}:{m:02}:{s:02} +0000");
    format!("{client} - - [{time}] \"{request}\" {status} 5321 \"-\" \"{agent}\"")
}

/// Windows Security 4624.
pub fn windows_logon(now_ns: i64, host: &str, user: &str, from: &str, logon_type: u8) -> String {
    json!({
        "EventTime": rfc3339(now_ns), "Hostname": host, "EventID": 4624, "Channel": "Security",
        "SourceName": "Microsoft-Windows-Security-Auditing", "TargetUserName": user,
        "TargetDomainName": "CORP", "LogonType": logon_type, "IpAddress": from, "IpPort": "50211",
        "LogonProcessName": "User32", "AuthenticationPackageName": "Negotiate",
        "WorkstationName": host,
    })
    .to_string()
}

/// Windows Security 1102.
pub fn windows_log_cleared(now_ns: i64, host: &str, user: &str) -> String {
    json!({
        "EventTime": rfc3339(now_ns), "Hostname": host, "EventID": 1102, "Channel": "Security",
        "SourceName": "Microsoft-Windows-Eventlog", "SubjectUserName": user,
        "SubjectDomainName": "CORP",
    })
    .to_string()
}

/// Sysmon 1.
pub fn sysmon_process(
    now_ns: i64,
    host: &str,
    user: &str,
    image: &str,
    command_line: &str,
    parent: &str,
) -> String {
    json!({
        "EventTime": rfc3339(now_ns), "Hostname": host, "EventID": 1,
        "Channel": "Microsoft-Windows-Sysmon/Operational", "SourceName": "Microsoft-Windows-Sysmon",
        "Image": image, "CommandLine": command_line, "ParentImage": parent,
        "User": format!("CORP\\{user}"), "ProcessId": 4712, "IntegrityLevel": "Medium",
    })
    .to_string()
}

/// Sysmon 3.
pub fn sysmon_connection(
    now_ns: i64,
    host: &str,
    user: &str,
    image: &str,
    to: &str,
    port: u16,
) -> String {
    json!({
        "EventTime": rfc3339(now_ns), "Hostname": host, "EventID": 3,
        "Channel": "Microsoft-Windows-Sysmon/Operational", "SourceName": "Microsoft-Windows-Sysmon",
        "Image": image, "User": format!("CORP\\{user}"), "Protocol": "tcp", "Initiated": "true",
        "SourceIp": "10.20.1.17", "SourcePort": 50331, "DestinationIp": to,
        "DestinationPort": port,
    })
    .to_string()
}

/// One CloudTrail record.
pub fn cloudtrail(now_ns: i64, user: &str, name: &str, source: &str, from: &str) -> String {
    json!({
        "eventVersion": "1.08", "eventTime": rfc3339(now_ns / SECOND_NS * SECOND_NS),
        "eventSource": source, "eventName": name, "awsRegion": "eu-central-1",
        "sourceIPAddress": from, "userAgent": "aws-cli/2.15",
        "userIdentity": {"type": "IAMUser", "userName": user, "accountId": "123456789012"},
        "eventType": "AwsApiCall", "recipientAccountId": "123456789012",
    })
    .to_string()
}

/// An iptables line as the kernel logs it.
pub fn iptables(now_ns: i64, host: &str, from: &str, to: &str, port: u16) -> String {
    let text = format!(
        "[81234.5] DROP IN=eth0 OUT= MAC=00:16:3e:11:22:33 SRC={from} DST={to} LEN=44 TTL=54 \
         PROTO=TCP SPT=40112 DPT={port} WINDOW=1024 SYN URGP=0"
    );
    syslog(now_ns, 4, host, "kernel", &text)
}
