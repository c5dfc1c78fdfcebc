//! Windows events as text: the rendered message taken apart, and the three wrappings in which it travels.
//!
//! ```text
//! Subject:                        section
//!     Account Name:   alice       -> SubjectUserName=alice     label and section give the data's name
//! Image: C:\a.exe                 -> Image=C:\a.exe            Sysmon's labels are the names
//! ```
//! Snare (RFC 3164 text or alone), tab separated: `MSWinEventLog 1 Security 12 Mon Mar 05 ... 4624
//! provider user type audit computer task data message counter`; tabs and line ends of the message
//! are blanks there, so two blanks part pieces. Splunk: `Key=value` lines, `Message=` last. WinCollect:
//! `AgentDevice=WindowsLog AgentLogFile=Security ... Message=`, tab separated, blanks as with Snare.
//!
//! Not here: which fields of ECS these are. Only English labels are known; in other languages the
//! message stays text.
//! Sources: Windows security audit events (Microsoft Learn, appendix L), Snare agent log format,
//! Splunk's Windows event log input.

use std::borrow::Cow;

/// Most labels of one message.
const LABELS_MAX: usize = 256;
/// Longest label; the longest real one has 41 bytes.
const LABEL_LEN_MAX: usize = 48;

/// What stands around the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// Channel.
    pub channel: &'a [u8],
    /// Event id.
    pub event_id: &'a [u8],
    /// Provider.
    pub provider: &'a [u8],
    /// Computer.
    pub computer: &'a [u8],
    /// Record number.
    pub record_id: &'a [u8],
    /// Time as written, in the sender's zone.
    pub time: &'a [u8],
    /// `Success Audit`, `Information`...
    pub kind: &'a [u8],
    /// Account the event was logged under.
    pub user: &'a [u8],
    /// The message.
    pub message: &'a [u8],
}

/// Reads a Snare record; `None` when it is none.
pub fn snare(text: &[u8]) -> Option<Head<'_>> {
    let start = memchr::memmem::find(text, b"MSWinEventLog")?;
    let mut columns = text[start..].split(|c| *c == b'\t').map(<[u8]>::trim_ascii);
    columns.next()?;
    // Criticality; some versions put the computer in front.
    let mut channel = columns.next()?;
    if channel.iter().all(u8::is_ascii_digit) {
        channel = columns.next()?;
    }
    let record_id = columns.next()?;
    let time = columns.next()?;
    let event_id = columns.next().filter(|id| is_number(id))?;
    let [provider, user, _sid, kind, computer, _task] = take(&mut columns)?;
    // Data, message, counter; the data column is often empty, the message is the longest.
    let message = columns.max_by_key(|c| c.len()).unwrap_or_default();
    Some(Head { channel, event_id, provider, computer, record_id, time, kind, user, message })
}

fn take<'a, const N: usize>(columns: &mut impl Iterator<Item = &'a [u8]>) -> Option<[&'a [u8]; N]> {
    let mut out: [&[u8]; N] = [b""; N];
    for slot in &mut out {
        *slot = columns.next()?;
    }
    Some(out)
}

/// Reads the head of a record in any of these forms; `None` when it is none.
pub fn head(text: &[u8]) -> Option<Head<'_>> {
    snare(text).or_else(|| splunk(text)).or_else(|| wincollect(text))
}

/// Reads Splunk's form; `None` when it is none.
pub fn splunk(text: &[u8]) -> Option<Head<'_>> {
    let mut head = Head::default();
    let first = text.split(|c| *c == b'\n').next().unwrap_or_default().trim_ascii();
    if first.first().is_some_and(u8::is_ascii_digit) {
        head.time = first;
    }
    let slots = [
        (&b"LogName="[..], &mut head.channel),
        (b"EventCode=", &mut head.event_id),
        (b"SourceName=", &mut head.provider),
        (b"ComputerName=", &mut head.computer),
        (b"RecordNumber=", &mut head.record_id),
        (b"Keywords=", &mut head.kind),
    ];
    head.message = keyed(text, b'\n', slots);
    (!head.channel.is_empty() && is_number(head.event_id)).then_some(head)
}

/// Reads WinCollect's form; `None` when it is none.
pub fn wincollect(text: &[u8]) -> Option<Head<'_>> {
    let start = memchr::memmem::find(text, b"AgentDevice=")?;
    let mut head = Head::default();
    let slots = [
        (&b"AgentLogFile="[..], &mut head.channel),
        (b"EventIDCode=", &mut head.event_id),
        (b"Source=", &mut head.provider),
        (b"Computer=", &mut head.computer),
        (b"RecordNumber=", &mut head.record_id),
        (b"TimeGenerated=", &mut head.time),
        (b"Keywords=", &mut head.kind),
        (b"User=", &mut head.user),
    ];
    head.message = keyed(&text[start..], b'\t', slots);
    (!head.channel.is_empty() && is_number(head.event_id)).then_some(head)
}

/// Puts the values of `Key=value` pieces, parted by `end`, into their slots. Out: what stands behind
/// `Message=`, to the end.
fn keyed<'a, const N: usize>(
    text: &'a [u8],
    end: u8,
    mut slots: [(&[u8], &mut &'a [u8]); N],
) -> &'a [u8] {
    let mut at = 0;
    while at < text.len() {
        let stop = memchr::memchr(end, &text[at..]).map_or(text.len(), |n| at + n);
        let piece = text[at..stop].trim_ascii();
        if let Some(first) = piece.strip_prefix(b"Message=") {
            let from = first.as_ptr() as usize - text.as_ptr() as usize;
            return &text[from..];
        }
        for (key, slot) in &mut slots {
            if let Some(value) = piece.strip_prefix(*key) {
                **slot = value;
            }
        }
        at = stop + 1;
    }
    b""
}

fn is_number(text: &[u8]) -> bool {
    (1..=6).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

/// Gives the data of a rendered message: name as in the event's XML, value.
pub fn data(message: &[u8], mut put: impl FnMut(&str, &[u8])) {
    let mut section: &[u8] = b"";
    let mut open: Option<(&[u8], Cow<'_, [u8]>)> = None;
    let mut labels = 0;
    let mut after_ip = false;
    let mut close = |open: &mut Option<(&[u8], Cow<'_, [u8]>)>, section: &[u8]| {
        if let Some((label, value)) = open.take().filter(|(_, v)| !v.is_empty()) {
            // Log-ons say `Source Network Address` and `Source Port`, connections `Source Address`.
            let is_port = after_ip && label == b"Source Port";
            after_ip = label == b"Source Network Address";
            match is_port {
                true => put("IpPort", &value),
                false => put(&name_of(section, label), &value),
            }
        }
    };
    for piece in pieces(message) {
        if labels == LABELS_MAX {
            break;
        }
        if let Some(label) = piece.strip_suffix(b":").filter(|l| is_label(l)) {
            close(&mut open, section);
            labels += 1;
            match SECTIONS.iter().any(|s| s.as_bytes().eq_ignore_ascii_case(label)) {
                true => section = label,
                false => open = Some((label, Cow::Borrowed(b""))),
            }
        } else if let Some((label, value)) = inline(piece) {
            close(&mut open, section);
            labels += 1;
            open = Some((label, Cow::Borrowed(value)));
        } else if let Some((_, value)) = &mut open {
            match value.is_empty() {
                true => *value = Cow::Borrowed(piece),
                false => {
                    let value = value.to_mut();
                    value.push(b' ');
                    value.extend_from_slice(piece);
                }
            }
        }
    }
    close(&mut open, section);
}

/// Pieces between tabs, line ends or two and more blanks.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let blank = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
        at += text.get(at..)?.iter().take_while(|c| blank(c)).count();
        let rest = text.get(at..).filter(|r| !r.is_empty())?;
        let end = (0..rest.len()).find(|n| match rest[*n] {
            b'\t' | b'\r' | b'\n' => true,
            b' ' => rest.get(n + 1).is_none_or(blank),
            _ => false,
        });
        let piece = &rest[..end.unwrap_or(rest.len())];
        at += piece.len();
        Some(piece)
    })
}

fn is_label(text: &[u8]) -> bool {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b" -_()/".contains(c);
    (1..=LABEL_LEN_MAX).contains(&text.len())
        && text.first().is_some_and(u8::is_ascii_uppercase)
        && text.iter().all(plain)
}

/// `Image: C:\a.exe`, `RuleName: -`.
fn inline(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memmem::find(piece, b": ")?;
    let (label, value) = (&piece[..at], &piece[at + 2..]);
    (is_label(label) && label.iter().filter(|c| **c == b' ').count() < 4).then_some((label, value))
}

/// Headings of Security messages.
const SECTIONS: &[&str] = &[
    "Subject",
    "New Logon",
    "Logon Information",
    "Account For Which Logon Failed",
    "Account Whose Credentials Were Used",
    "Failure Information",
    "Process Information",
    "Network Information",
    "Detailed Authentication Information",
    "Target Account",
    "New Account",
    "Target Server",
    "Target Subject",
    "Account Information",
    "Service Information",
    "Additional Information",
    "Certificate Information",
    "Object",
    "Access Request Information",
    "Share Information",
    "Member",
    "Group",
    "New Group",
    "Deleted Group",
    "Changed Attributes",
    "Attributes",
    "Application Information",
    "Filter Information",
    "Task Information",
    "Audit Policy Change",
    "Creator Subject",
    "Target",
    "Change Information",
    "Directory Service",
    "Operation",
    "Source",
    "Account That Was Locked Out",
    "Process",
    "Change Details",
    "Profile Changed",
    "Rule",
    "Account Locked Out",
    "User",
    "Server",
];

/// Section (or empty for any), label, the data's name.
const NAMES: &[(&str, &str, &str)] = &[
    ("Subject", "Security ID", "SubjectUserSid"),
    ("Subject", "Account Name", "SubjectUserName"),
    ("Subject", "Account Domain", "SubjectDomainName"),
    ("Subject", "Logon ID", "SubjectLogonId"),
    ("Creator Subject", "Security ID", "SubjectUserSid"),
    ("Creator Subject", "Account Name", "SubjectUserName"),
    ("Creator Subject", "Account Domain", "SubjectDomainName"),
    ("Creator Subject", "Logon ID", "SubjectLogonId"),
    ("New Logon", "Logon ID", "TargetLogonId"),
    ("New Logon", "Linked Logon ID", "TargetLinkedLogonId"),
    ("New Logon", "Network Account Name", "TargetOutboundUserName"),
    ("New Logon", "Network Account Domain", "TargetOutboundDomainName"),
    ("Target Subject", "Logon ID", "TargetLogonId"),
    ("Member", "Security ID", "MemberSid"),
    ("Member", "Account Name", "MemberName"),
    ("Group", "Group Name", "TargetUserName"),
    ("Group", "Group Domain", "TargetDomainName"),
    ("New Group", "Group Name", "TargetUserName"),
    ("Deleted Group", "Group Name", "TargetUserName"),
    ("Service Information", "Service ID", "ServiceSid"),
    ("Service Information", "Service File Name", "ServiceFileName"),
    ("Service Information", "Service Start Type", "ServiceStartType"),
    ("Service Information", "Service Account", "ServiceAccount"),
    ("Target Server", "Target Server Name", "TargetServerName"),
    ("Target Server", "Additional Information", "TargetInfo"),
    ("Account Information", "User ID", "TargetSid"),
    ("Account Information", "Security ID", "TargetSid"),
    ("Process Information", "Caller Process ID", "ProcessId"),
    ("Process Information", "Caller Process Name", "ProcessName"),
    ("Process Information", "Creator Process ID", "ProcessId"),
    ("Process Information", "Creator Process Name", "ParentProcessName"),
    ("Process Information", "Process Command Line", "CommandLine"),
    ("Application Information", "Application Name", "Application"),
    ("Application Information", "Process ID", "ProcessID"),
    ("Network Information", "Network Address", "IpAddress"),
    ("Network Information", "Port", "IpPort"),
    ("Network Information", "Source Address", "SourceAddress"),
    ("Network Information", "Source Port", "SourcePort"),
    ("Network Information", "Destination Address", "DestAddress"),
    ("Network Information", "Destination Port", "DestPort"),
    ("Filter Information", "Filter Run-Time ID", "FilterRTID"),
    ("Filter Information", "Layer Run-Time ID", "LayerRTID"),
    // The service manager's own message has no sections.
    ("", "Service File Name", "ImagePath"),
    ("", "Service Start Type", "StartType"),
    ("", "Service Account", "AccountName"),
    ("", "New Process ID", "NewProcessId"),
    ("", "Process ID", "ProcessId"),
    ("", "Handle ID", "HandleId"),
    ("", "Logon GUID", "LogonGuid"),
    ("", "Source Network Address", "IpAddress"),
    ("", "Client Address", "IpAddress"),
    ("", "Client Port", "IpPort"),
    ("", "Workstation Name", "WorkstationName"),
    ("", "Source Workstation", "Workstation"),
    ("", "Logon Account", "TargetUserName"),
    ("", "Logon Process", "LogonProcessName"),
    ("", "Authentication Package", "AuthenticationPackageName"),
    ("", "Transited Services", "TransmittedServices"),
    ("", "Package Name (NTLM only)", "LmPackageName"),
    ("", "Result Code", "Status"),
    ("", "Failure Code", "Status"),
    ("", "Error Code", "Status"),
    ("", "Pre-Authentication Type", "PreAuthType"),
    ("", "Supplied Realm Name", "TargetDomainName"),
    ("", "Accesses", "AccessList"),
    ("", "Access Reasons", "AccessReason"),
    ("", "Share Path", "ShareLocalPath"),
    ("", "Privileges", "PrivilegeList"),
    ("", "Restricted Admin Mode", "RestrictedAdminMode"),
    ("", "SAM Account Name", "SamAccountName"),
    ("", "Caller Computer Name", "TargetDomainName"),
];

/// The data's name for a label under a section; a label that is not listed without its blanks.
fn name_of(section: &[u8], label: &[u8]) -> String {
    let is = |text: &str, bytes: &[u8]| text.as_bytes().eq_ignore_ascii_case(bytes);
    let listed = NAMES.iter().find(|(s, l, _)| (s.is_empty() || is(s, section)) && is(l, label));
    if let Some((_, _, name)) = listed {
        return (*name).to_owned();
    }
    // Whoever is named outside the subject is the target.
    let target = match label {
        b"Security ID" => {
            Some(if is("New Logon", section) { "TargetUserSid" } else { "TargetSid" })
        }
        b"Account Name" => Some("TargetUserName"),
        b"Account Domain" => Some("TargetDomainName"),
        _ => None,
    };
    target.map_or_else(
        || label.iter().filter(|c| c.is_ascii_alphanumeric()).map(|c| char::from(*c)).collect(),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: &str) -> Vec<String> {
        let mut out = Vec::new();
        data(message.as_bytes(), |n, v| out.push(format!("{n}={}", String::from_utf8_lossy(v))));
        out
    }

    const LOGON: &str = "An account was successfully logged on.\r\n\r\nSubject:\r\n\tSecurity ID:\t\tS-1-5-18\r\n\tAccount Name:\t\tSRV2$\r\n\tAccount Domain:\t\tCORP\r\n\tLogon ID:\t\t0x3E7\r\n\r\nLogon Type:\t\t\t3\r\n\r\nNew Logon:\r\n\tSecurity ID:\t\tS-1-5-21-1-2-3-1104\r\n\tAccount Name:\t\talice\r\n\tAccount Domain:\t\tCORP\r\n\tLogon ID:\t\t0xAB12\r\n\r\nNetwork Information:\r\n\tWorkstation Name:\t\r\n\tSource Network Address:\t10.1.2.3\r\n\tSource Port:\t\t50123\r\n";

    #[test]
    fn messages_give_the_data_of_the_xml() {
        let want = [
            "SubjectUserSid=S-1-5-18",
            "SubjectUserName=SRV2$",
            "SubjectDomainName=CORP",
            "SubjectLogonId=0x3E7",
            "LogonType=3",
            "TargetUserSid=S-1-5-21-1-2-3-1104",
            "TargetUserName=alice",
            "TargetDomainName=CORP",
            "TargetLogonId=0xAB12",
            "IpAddress=10.1.2.3",
        ];
        assert_eq!(shown(LOGON)[..10], want);
        assert_eq!(shown(LOGON)[10], "IpPort=50123");
        let flat: String = LOGON.replace(['\r', '\n', '\t'], "  ");
        assert_eq!(shown(&flat), shown(LOGON));
        let sysmon = "Process Create:\r\nRuleName: -\r\nUtcTime: 2026-11-23 09:00:00.000\r\nImage: C:\\Windows\\a.exe\r\nCommandLine: a.exe /x: y\r\n";
        assert_eq!(
            shown(sysmon),
            [
                "RuleName=-",
                "UtcTime=2026-11-23 09:00:00.000",
                "Image=C:\\Windows\\a.exe",
                "CommandLine=a.exe /x: y"
            ]
        );
        let privileges = "Subject:\n\tAccount Name:\tbob\n\nPrivileges:\t\tSeSecurityPrivilege\n\t\t\tSeBackupPrivilege";
        assert_eq!(shown(privileges)[1], "PrivilegeList=SeSecurityPrivilege SeBackupPrivilege");
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn wrappings() {
        let text = "SRV2 MSWinEventLog\t1\tSecurity\t77\tMon Nov 23 09:00:00 2026\t4624\tMicrosoft-Windows-Security-Auditing\tCORP\\alice\tN/A\tSuccess Audit\tSRV2\tLogon\t\tAn account was successfully logged on.    Subject:   Account Name:  SRV2$\t5";
        let head = snare(text.as_bytes()).unwrap();
        assert_eq!((head.channel, head.event_id), (&b"Security"[..], &b"4624"[..]));
        assert_eq!((head.computer, head.record_id), (&b"SRV2"[..], &b"77"[..]));
        assert!(head.message.starts_with(b"An account"));
        let text = "11/23/2026 09:00:00 AM\nLogName=Security\nEventCode=4624\nComputerName=SRV2\nMessage=An account.\n\nSubject:\n\tAccount Name:\tx\n";
        let head = splunk(text.as_bytes()).unwrap();
        assert_eq!((head.time, head.computer), (&b"11/23/2026 09:00:00 AM"[..], &b"SRV2"[..]));
        assert!(head.message.ends_with(b"x\n"));
        let text = "AgentDevice=WindowsLog\tAgentLogFile=Security\tSource=Microsoft-Windows-Security-Auditing\tComputer=SRV2\tUser=\tEventID=4625\tEventIDCode=4625\tTimeGenerated=1795428672\tKeywords=Audit Failure\tMessage=An account.  Subject:\tx";
        let head = wincollect(text.as_bytes()).unwrap();
        assert_eq!((head.channel, head.event_id), (&b"Security"[..], &b"4625"[..]));
        assert_eq!((head.computer, head.time), (&b"SRV2"[..], &b"1795428672"[..]));
        assert_eq!((head.user, head.message), (&b""[..], &b"An account.  Subject:\tx"[..]));
        for other in [
            "",
            "AgentDevice=",
            "AgentDevice=x\tAgentLogFile=Security",
            "MSWinEventLog",
            "MSWinEventLog\t1\t2",
            "LogName=x",
            "EventCode=1",
        ] {
            assert!(super::head(other.as_bytes()).is_none());
        }
    }
}
