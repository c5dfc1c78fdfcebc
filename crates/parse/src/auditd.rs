//! Linux audit records: `type=SYSCALL msg=audit(1604996384.965:93777): arch=c000003e ...`.
//!
//! ```text
//! node=h type=USER_AUTH msg=audit(1604996384.965:93777): pid=1 auid=4294967295 msg='op=PAM acct="root"'
//!                                 stamp          serial  pairs ------------------  nested pairs
//! ```
//!
//! Interpreted by `ausearch -i` the stamp is a local time, and names stand bare in the place of numbers and
//! hex: `type=EXECVE msg=audit(11/23/2026 10:22:33.123:456) : argc=2 a0=cat a1=my file`.
//!
//! Values with blanks, quotes or control bytes are written as hex by the kernel; they come back as
//! the bytes they stand for. Records of one event share stamp and serial; who joins them is not here,
//! but what they are to each other is: [`Record::role`].
//! Source: Linux audit documentation (auparse), `audit_log_untrustedstring`.

use crate::ParseError;
use crate::timestamp::{self, Stamp};
use event::time::SECOND_NS;
use std::borrow::Cow;
use std::sync::LazyLock;

const FORMAT: &str = "audit record";
/// Stands between the kernel's fields and those that auditd adds when it resolves names.
const ENRICHED: u8 = 0x1d;

/// One audit record. Records of one event share [`Record::time`] and [`Record::serial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Host, when the dispatcher adds it.
    pub node: Option<&'a [u8]>,
    /// `SYSCALL`, `EXECVE`, `USER_AUTH`..., or its number.
    pub kind: &'a [u8],
    /// Seconds and fraction as written, or a date and time where the record is interpreted.
    pub stamp: &'a [u8],
    /// What that means.
    pub time: Stamp,
    /// Number of the event within its host's run.
    pub serial: &'a [u8],
    /// The fields; see [`Record::pairs`].
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The fields in order: key and value, quotes removed, hex decoded; those nested in `msg='...'`
    /// follow as if they stood outside.
    pub fn pairs(&self) -> Pairs<'a> {
        let name = self.name();
        let ends = self.is_interpreted().then_some(match name {
            b"EXECVE" => is_argument as fn(&[u8]) -> bool,
            b"PROCTITLE" => |_: &[u8]| false,
            _ => is_key,
        });
        let keys = KEYS.iter().find(|(kind, _)| *kind == name).map(|(_, keys)| *keys);
        let is_execve = name == b"EXECVE";
        Pairs { text: self.body, at: 0, in_nested: false, is_execve, ends, keys, seen: Vec::new() }
    }

    /// Whether names stand in the place of numbers, as `ausearch -i` shows records.
    pub fn is_interpreted(&self) -> bool {
        self.stamp.contains(&b' ')
    }

    /// The kind by its name, also where the kernel or an older tool wrote a number (`1300`,
    /// `UNKNOWN[1327]`).
    pub fn name(&self) -> &'a [u8] {
        let number = self.kind.strip_prefix(b"UNKNOWN[").and_then(|k| k.strip_suffix(b"]"));
        let number = std::str::from_utf8(number.unwrap_or(self.kind)).ok();
        let number = number.and_then(|n| n.parse::<u16>().ok());
        let known = number.and_then(|n| KINDS.iter().find(|k| k.0 == n));
        known.map_or(self.kind, |k| k.1.as_bytes())
    }

    /// What the record is to others of the same stamp and serial.
    pub fn role(&self) -> Role {
        let name = self.name();
        KINDS.iter().find(|k| k.1.as_bytes() == name).map_or(Role::Whole, |k| k.2)
    }
}

/// What a record is to others of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An event of its own: user space writes those.
    Whole,
    /// The system call that the others belong to.
    Call,
    /// One of several.
    Part,
    /// The last of several.
    Last,
}

/// Kinds by number and name that come with others. What is not listed stands alone.
/// Source: `linux/audit.h`; auparse ends an event at PROCTITLE or EOE.
const KINDS: &[(u16, &str, Role)] = &[
    (1006, "LOGIN", Role::Part),
    (1300, "SYSCALL", Role::Call),
    (1302, "PATH", Role::Part),
    (1303, "IPC", Role::Part),
    (1304, "SOCKETCALL", Role::Part),
    (1305, "CONFIG_CHANGE", Role::Part),
    (1306, "SOCKADDR", Role::Part),
    (1307, "CWD", Role::Part),
    (1309, "EXECVE", Role::Part),
    (1311, "IPC_SET_PERM", Role::Part),
    (1312, "MQ_OPEN", Role::Part),
    (1313, "MQ_SENDRECV", Role::Part),
    (1314, "MQ_NOTIFY", Role::Part),
    (1315, "MQ_GETSETATTR", Role::Part),
    (1317, "FD_PAIR", Role::Part),
    (1318, "OBJ_PID", Role::Part),
    (1320, "EOE", Role::Last),
    (1321, "BPRM_FCAPS", Role::Part),
    (1322, "CAPSET", Role::Part),
    (1323, "MMAP", Role::Part),
    (1324, "NETFILTER_PKT", Role::Part),
    (1325, "NETFILTER_CFG", Role::Part),
    (1326, "SECCOMP", Role::Whole),
    (1327, "PROCTITLE", Role::Last),
    (1330, "KERN_MODULE", Role::Part),
    (1331, "FANOTIFY", Role::Part),
    (1332, "TIME_INJOFFSET", Role::Part),
    (1333, "TIME_ADJNTPVAL", Role::Part),
    (1334, "BPF", Role::Part),
    (1336, "URINGOP", Role::Call),
    (1337, "OPENAT2", Role::Part),
    (1400, "AVC", Role::Part),
    (1401, "SELINUX_ERR", Role::Part),
    (1403, "MAC_POLICY_LOAD", Role::Part),
    (1404, "MAC_STATUS", Role::Part),
    (1405, "MAC_CONFIG_CHANGE", Role::Part),
    (1700, "ANOM_PROMISCUOUS", Role::Part),
    (1701, "ANOM_ABEND", Role::Whole),
    (1702, "ANOM_LINK", Role::Part),
    (1703, "ANOM_CREAT", Role::Part),
];

/// The record within a line that may have a syslog header in front, and where it begins.
pub fn find(line: &[u8]) -> Option<(usize, Record<'_>)> {
    // The stamp stands behind a header, a node's name and the kind: within some hundred bytes.
    let head = &line[..line.len().min(HEAD_BYTES_MAX)];
    let stamp = memchr::memmem::find(head, b"audit(")?;
    let kind = memchr::memmem::rfind(&head[..stamp], b"type=")?;
    let node = memchr::memmem::rfind(&head[..kind], b"node=");
    let at = node.filter(|at| word_len(&head[*at..]) + at + 1 == kind).unwrap_or(kind);
    parse(&line[at..]).ok().map(|record| (at, record))
}

/// A record as journald forwards it, kind and fields alone: `SERVICE_START pid=1 uid=0 msg='unit=x'`.
/// Its stamp and serial are lost.
pub fn forwarded(line: &[u8]) -> Option<Record<'_>> {
    let kind = &line[..word_len(line)];
    let is_kind = kind.first().is_some_and(u8::is_ascii_uppercase)
        && kind.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || b"_[]".contains(c));
    let body = line.get(kind.len() + 1..)?.trim_ascii();
    let key = &body[..memchr::memchr(b'=', body)?];
    let is_key = !key.is_empty() && key.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_');
    (is_kind && is_key).then_some(Record {
        node: None,
        kind,
        stamp: b"",
        time: Stamp::Utc(0),
        serial: b"",
        body,
    })
}

/// Names of system calls by number, `0 read`, one a line: of x86-64, and of the machines that share
/// the generic numbers. Source: `asm/unistd_64.h`, `asm-generic/unistd.h`.
static CALLS: LazyLock<[Vec<&'static str>; 2]> = LazyLock::new(|| {
    let read = |text: &'static str| {
        let mut names = vec![""; 512];
        for (number, name) in text.lines().filter_map(|line| line.split_once(' ')) {
            let place = number.parse::<usize>().ok().and_then(|n| names.get_mut(n));
            place.into_iter().for_each(|place| *place = name);
        }
        names
    };
    [read(include_str!("syscalls_x86_64.txt")), read(include_str!("syscalls_generic.txt"))]
});

/// The name of a system call, `arch=c000003e syscall=59`: what auditd writes itself only where it is
/// told to resolve names.
pub fn call_name(arch: &[u8], number: &[u8]) -> Option<&'static str> {
    let calls = match arch {
        b"c000003e" => &CALLS[0],
        // aarch64, riscv64, loongarch64.
        b"c00000b7" | b"c00000f3" | b"c0000102" => &CALLS[1],
        _ => return None,
    };
    let number = std::str::from_utf8(number).ok()?.parse::<usize>().ok()?;
    calls.get(number).copied().filter(|name| !name.is_empty())
}

/// See [`find`].
const HEAD_BYTES_MAX: usize = 512;

/// The records of a text of several lines, each of which may have a syslog header of its own; the
/// first line has to be without.
pub fn records(text: &[u8]) -> impl Iterator<Item = Record<'_>> {
    text.split(|c| *c == b'\n').filter_map(|line| find(line).map(|found| found.1))
}

/// The address and port in a `saddr` value (`sockaddr` in hex, little or big end as the kernel has
/// it), or the path of a local socket.
pub fn socket(saddr: &[u8]) -> Option<Socket> {
    let nibble = |c: &u8| char::from(*c).to_digit(16).map(|n| n as u8);
    let byte = |pair: &[u8]| Some(nibble(&pair[0])? << 4 | nibble(&pair[1])?);
    // 128 bytes are the largest address there is.
    let bytes: Vec<u8> = saddr.chunks_exact(2).take(128).map(byte).collect::<Option<Vec<u8>>>()?;
    let port = |b: &[u8]| u16::from_be_bytes([b[2], b[3]]);
    match (bytes.first()?, bytes.get(1)?) {
        (2, 0) | (0, 2) if bytes.len() >= 8 => {
            let ip: [u8; 4] = bytes[4..8].try_into().ok()?;
            Some(Socket::Net(ip.into(), port(&bytes)))
        }
        (10, 0) | (0, 10) if bytes.len() >= 24 => {
            let ip: [u8; 16] = bytes[8..24].try_into().ok()?;
            Some(Socket::Net(ip.into(), port(&bytes)))
        }
        (1, 0) | (0, 1) => {
            let path = bytes.get(2..)?;
            let end = path.iter().position(|c| *c == 0).unwrap_or(path.len());
            Some(Socket::Local(path[..end].to_vec()))
        }
        _ => None,
    }
}

/// See [`socket`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Address and port.
    Net(std::net::IpAddr, u16),
    /// Path of a local socket; empty for one without a name.
    Local(Vec<u8>),
}

/// Reads one audit record, as auditd writes it, as its dispatcher sends it (`node=`), or as the
/// kernel prints it (`audit: type=1400 audit(...): ...`).
/// Errors: `Expected` where the head stops being one.
pub fn parse(line: &[u8]) -> Result<Record<'_>, ParseError> {
    let missing = |at, expected| ParseError::Expected { format: FORMAT, at, expected };
    let mut at = if line.starts_with(b"audit: ") { 7 } else { 0 };
    let mut node = None;
    if let Some(rest) = line[at..].strip_prefix(b"node=") {
        let len = word_len(rest);
        node = Some(&rest[..len]);
        at += 5 + len + 1;
    }
    let rest = line.get(at..).and_then(|l| l.strip_prefix(b"type=")).ok_or(missing(at, "type="))?;
    let kind = &rest[..word_len(rest)];
    at += 5 + kind.len();
    let head = line[at..].trim_ascii_start();
    let head = head.strip_prefix(b"msg=").unwrap_or(head);
    let inner = head.strip_prefix(b"audit(").ok_or(missing(at, "msg=audit("))?;
    at = inner.as_ptr() as usize - line.as_ptr() as usize;
    let close = inner.iter().take(48).position(|c| *c == b')').ok_or(missing(at, "')'"))?;
    let (stamp, serial) = match memchr::memrchr(b':', &inner[..close]) {
        Some(colon) => (&inner[..colon], &inner[colon + 1..close]),
        None => return Err(missing(at, "SECONDS:SERIAL")),
    };
    let interpreted =
        || timestamp::parse(stamp).ok().or_else(|| timestamp::month_day_short_year(stamp));
    let time =
        seconds(stamp).map(Stamp::Utc).or_else(|| interpreted().filter(|_| stamp.contains(&b' ')));
    let time = time.ok_or(missing(at, "seconds since 1970, or date and time"))?;
    let body = inner[close + 1..].trim_ascii_start();
    let body = body.strip_prefix(b":").unwrap_or(body).trim_ascii();
    Ok(Record { node, kind, stamp, time, serial, body })
}

fn word_len(text: &[u8]) -> usize {
    text.iter().position(|c| *c == b' ').unwrap_or(text.len())
}

/// `1604996384.965` in ns.
fn seconds(text: &[u8]) -> Option<i64> {
    let dot = memchr::memchr(b'.', text).unwrap_or(text.len());
    let (whole, part) = (&text[..dot], text.get(dot + 1..).unwrap_or(&[]));
    let is_number = |t: &[u8]| t.iter().all(u8::is_ascii_digit);
    if whole.is_empty()
        || whole.len() > 10
        || part.len() > 9
        || !is_number(whole)
        || !is_number(part)
    {
        return None;
    }
    let value = |t: &[u8]| t.iter().fold(0i64, |n, c| n * 10 + i64::from(c - b'0'));
    let scale = 10i64.pow(9 - part.len() as u32);
    value(whole).checked_mul(SECOND_NS)?.checked_add(value(part) * scale)
}

/// Iterator of [`Record::pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    text: &'a [u8],
    at: usize,
    in_nested: bool,
    is_execve: bool,
    /// Which words in front of `=` begin the next pair, where values stand bare with their blanks.
    ends: Option<fn(&[u8]) -> bool>,
    /// All keys of the record's kind, where they are known.
    keys: Option<&'static [&'static str]>,
    /// The first keys, where values stand bare.
    seen: Vec<&'a [u8]>,
}

/// Keys that are looked at again: more than any record has.
const SEEN_MAX: usize = 64;
/// How far a key is looked for again behind a bare text: names and paths are no longer.
const AGAIN_BYTES_MAX: usize = 4 << 10;

/// The keys of kinds of records which the kernel writes with the names of programs and files: those may hold what
/// looks like a key.
const KEYS: &[(&[u8], &[&str])] = &[
    (
        b"SYSCALL",
        &[
            "arch", "syscall", "per", "success", "exit", "a0", "a1", "a2", "a3", "items", "ppid",
            "pid", "auid", "uid", "gid", "euid", "suid", "fsuid", "egid", "sgid", "fsgid", "tty",
            "ses", "comm", "exe", "subj", "key",
        ],
    ),
    (
        b"PATH",
        &[
            "item",
            "name",
            "inode",
            "dev",
            "mode",
            "ouid",
            "ogid",
            "rdev",
            "obj",
            "objtype",
            "nametype",
            "cap_fp",
            "cap_fi",
            "cap_fe",
            "cap_fver",
            "cap_frootid",
            "cap_pp",
        ],
    ),
    (b"CWD", &["cwd"]),
    (b"OBJ_PID", &["opid", "oauid", "ouid", "oses", "obj", "ocomm"]),
    (
        b"ANOM_ABEND",
        &["auid", "uid", "gid", "ses", "subj", "pid", "comm", "exe", "sig", "res", "reason"],
    ),
];

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], Cow<'a, [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.text.get(self.at..)?;
            let skip =
                rest.iter().take_while(|c| matches!(**c, b' ' | b'\'' | b',' | ENRICHED)).count();
            let rest = &rest[skip..];
            self.at += skip;
            let key_len = rest.iter().position(|c| matches!(*c, b'=' | b' ' | ENRICHED))?;
            self.at += key_len + 1;
            if rest[key_len] != b'=' || key_len == 0 {
                continue;
            }
            let (key, value) = (&rest[..key_len], &rest[key_len + 1..]);
            if self.ends.is_some() && self.seen.len() < SEEN_MAX {
                self.seen.push(key);
            }
            match value.first() {
                Some(b'\'') if key == b"msg" => {
                    self.in_nested = true;
                    self.at += 1;
                }
                Some(quote @ (b'"' | b'\'')) => {
                    let len = memchr::memchr(*quote, &value[1..]).unwrap_or(value.len() - 1);
                    self.at += len + 2;
                    return Some((key, Cow::Borrowed(&value[1..=len])));
                }
                // `saddr={ saddr_fam=inet laddr=192.0.2.1 lport=443 }`
                Some(b'{') if self.ends.is_some() => self.at += 1,
                _ => return Some((key, self.bare(key, value))),
            }
        }
    }
}

impl<'a> Pairs<'a> {
    /// Whether a word behind the bare value of `key` begins the next pair: keys stand once in a record, so one that
    /// comes again is text, and so is one in the name of a program or file if it comes again behind it.
    fn begins(&self, key: &[u8], word: &[u8], rest: &[u8]) -> bool {
        if self.is_execve {
            return true;
        }
        if self.seen.contains(&word) {
            return false;
        }
        if !ENCODED.contains(&key) {
            return true;
        }
        let is_known = |keys: &[&str]| keys.iter().any(|known| known.as_bytes() == word);
        let rest = &rest[..rest.len().min(AGAIN_BYTES_MAX)];
        let comes_again = || {
            memchr::memmem::find_iter(rest, word)
                .any(|at| rest[at - 1] == b' ' && rest.get(at + word.len()) == Some(&b'='))
        };
        self.keys.is_none_or(is_known) && !comes_again()
    }

    fn bare(&mut self, key: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
        let len = match self.ends {
            Some(ends) => bare_len(value, |word, rest| ends(word) && self.begins(key, word, rest)),
            None => value.iter().position(|c| matches!(*c, b' ' | ENRICHED)).unwrap_or(value.len()),
        };
        self.at += len;
        let mut value = &value[..len];
        // The quote of `msg='...'` ends it, also where what auditd adds follows without its mark,
        // which some transports drop: `res=success'UID="root"`.
        if self.in_nested
            && let Some(quote) = memchr::memchr(b'\'', value)
        {
            self.in_nested = false;
            self.at -= len - quote;
            value = &value[..quote];
        }
        if self.ends.is_some() {
            return Cow::Borrowed(value.strip_suffix(b" }").unwrap_or(value));
        }
        let is_argument = self.is_execve
            && key.strip_prefix(b"a").is_some_and(|n| n.first().is_some_and(u8::is_ascii_digit));
        match is_argument || ENCODED.contains(&key) {
            true => decode(value),
            false => Cow::Borrowed(value),
        }
    }
}

/// How far a value with blanks goes: to the next word with `=` behind it that begins a pair. `begins` is asked
/// about such a word and what follows it.
fn bare_len(value: &[u8], begins: impl Fn(&[u8], &[u8]) -> bool) -> usize {
    let mut from = 0;
    for at in memchr::memchr2_iter(b' ', b'=', value) {
        match value[at] {
            b' ' => from = at + 1,
            // Of a word with several `=` the first counts.
            _ if from > 0 && from < at && begins(&value[from..at], &value[at..]) => {
                return from - 1;
            }
            _ => from = 0,
        }
    }
    value.len()
}

/// `uid`, `a1[0]`, `cap_fp`, `old-auid`.
fn is_key(word: &[u8]) -> bool {
    word[0].is_ascii_alphabetic()
        && word.iter().all(|c| c.is_ascii_alphanumeric() || b"_-[]".contains(c))
}

/// `a0`, `a12`, `a1[3]`, `a1_len`: what begins a pair in a record of arguments.
fn is_argument(word: &[u8]) -> bool {
    is_key(word) && word[0] == b'a' && word.get(1).is_some_and(u8::is_ascii_digit)
}

/// Keys whose unquoted values are hex. Arguments (`a0`, `a1[0]`) are so in EXECVE records only; in
/// SYSCALL records they are numbers.
const ENCODED: &[&[u8]] = &[
    b"proctitle",
    b"name",
    b"comm",
    b"exe",
    b"cwd",
    b"path",
    b"dir",
    b"cmd",
    b"acct",
    b"data",
    b"file",
    b"root",
    b"new_group",
    b"old-disk",
    b"new-disk",
    b"device",
    b"vm",
    b"saddr_fam",
    b"key",
];

/// The bytes that a hex value stands for; NUL between arguments becomes a blank. A value that is not
/// an even number of hex digits in capitals is returned as it is.
pub fn decode(value: &[u8]) -> Cow<'_, [u8]> {
    let is_hex = |c: &u8| matches!(c, b'0'..=b'9' | b'A'..=b'F');
    if value.is_empty() || !value.len().is_multiple_of(2) || !value.iter().all(is_hex) {
        return Cow::Borrowed(value);
    }
    let nibble = |c: u8| if c <= b'9' { c - b'0' } else { c - b'A' + 10 };
    let mut out: Vec<u8> =
        value.chunks_exact(2).map(|p| nibble(p[0]) << 4 | nibble(p[1])).collect();
    while out.last() == Some(&0) {
        out.pop();
    }
    for byte in &mut out {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    Cow::Owned(out)
}

/// Whether a value is audit's way of saying "not set" (`4294967295`, `-1`, `unset`, `?`, `(none)`,
/// `(null)`).
pub fn is_unset(value: &[u8]) -> bool {
    matches!(value, b"4294967295" | b"-1" | b"unset" | b"?" | b"(none)" | b"(null)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreted_records_have_bare_values() {
        let head = "msg=audit(11/23/2026 10:22:33.123:456) : ";
        let of = |kind: &str, rest: &str| shown(&format!("type={kind} {head}{rest}"));
        for (kind, rest, wanted) in [
            (
                "SYSCALL",
                "exit=EACCES(Permission denied) comm=my tool key=(null)",
                "exit=EACCES(Permission denied)|comm=my tool|key=(null)",
            ),
            ("EXECVE", "argc=2 a0=grep x a1=x=1 uid=2", "argc=2|a0=grep x|a1=x=1 uid=2"),
            ("PROCTITLE", "proctitle=dd if=/a of=/b", "proctitle=dd if=/a of=/b"),
            (
                "SOCKADDR",
                "saddr={ saddr_fam=inet laddr=192.0.2.1 lport=443 }",
                "saddr_fam=inet|laddr=192.0.2.1|lport=443",
            ),
            (
                "USER_LOGIN",
                "pid=1 msg='op=login acct=kim res=failed'",
                "pid=1|op=login|acct=kim|res=failed",
            ),
            ("PATH", "name=ABCD dev= ", "name=ABCD|dev="),
            // Who names a program or an account chooses words, not pairs.
            (
                "SYSCALL",
                "auid=kim uid=kim comm=x auid=root exe=/tmp/a uid=root key=(null)",
                "auid=kim|uid=kim|comm=x auid=root|exe=/tmp/a uid=root|key=(null)",
            ),
            (
                "SYSCALL",
                "auid=kim comm=x exe=/a addr=1 exe=/tmp/b key=x",
                "auid=kim|comm=x exe=/a addr=1|exe=/tmp/b|key=x",
            ),
            ("CWD", "cwd=/tmp/a auid=root", "cwd=/tmp/a auid=root"),
            (
                "USER_LOGIN",
                "uid=root msg='op=login acct=x addr=192.0.2.1 exe=/sshd addr=203.0.113.9 res=failed'",
                "uid=root|op=login|acct=x addr=192.0.2.1|exe=/sshd|addr=203.0.113.9|res=failed",
            ),
        ] {
            assert_eq!(of(kind, rest).join("|"), wanted, "{kind}");
        }
        let line = format!("type=CWD {head}cwd=/");
        let record = parse(line.as_bytes()).unwrap();
        assert_eq!(record.serial, b"456");
        let time = "2026-11-23T10:22:33.123".as_bytes();
        assert_eq!(record.time, timestamp::parse(time).unwrap());
        assert!(record.is_interpreted());
        assert!(parse(b"type=CWD msg=audit(11:23:456): a=1").is_err());
    }

    fn shown(line: &str) -> Vec<String> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let record = parse(line.as_bytes()).unwrap();
        record.pairs().map(|(k, v)| format!("{}={}", text(k), text(&v))).collect()
    }

    #[test]
    fn head_and_fields() {
        let line = "node=web1 type=SYSCALL msg=audit(1604996384.965:93777): arch=c000003e a0=55 auid=4294967295 comm=\"my prog\" exe=2F746D702F612062 key=(null)\u{1d}ARCH=x86_64 AUID=\"unset\"";
        let record = parse(line.as_bytes()).unwrap();
        assert_eq!(record.node, Some(&b"web1"[..]));
        assert_eq!((record.kind, record.serial), (&b"SYSCALL"[..], &b"93777"[..]));
        assert_eq!(record.time, Stamp::Utc(1_604_996_384_965_000_000));
        let want = [
            "arch=c000003e",
            "a0=55",
            "auid=4294967295",
            "comm=my prog",
            "exe=/tmp/a b",
            "key=(null)",
            "ARCH=x86_64",
            "AUID=unset",
        ];
        assert_eq!(shown(line), want);
        assert!(is_unset(b"4294967295"));
    }

    #[test]
    fn nested_messages_and_arguments() {
        let auth = "type=USER_AUTH msg=audit(1.5:2): pid=1 uid=0 msg='op=PAM:authentication acct=\"root\" exe=\"/usr/sbin/sshd\" hostname=? addr=192.0.2.7 terminal=ssh res=failed' x=1";
        assert_eq!(
            shown(auth),
            [
                "pid=1",
                "uid=0",
                "op=PAM:authentication",
                "acct=root",
                "exe=/usr/sbin/sshd",
                "hostname=?",
                "addr=192.0.2.7",
                "terminal=ssh",
                "res=failed",
                "x=1"
            ]
        );
        let execve = "type=EXECVE msg=audit(1.5:2): argc=3 a0=\"sh\" a1=\"-c\" a2=6361742061";
        assert_eq!(shown(execve), ["argc=3", "a0=sh", "a1=-c", "a2=cat a"]);
        let title = "type=PROCTITLE msg=audit(1.5:2): proctitle=6361740061";
        assert_eq!(shown(title), ["proctitle=cat a"]);
        let kernel = "audit: type=1400 audit(1.5:2): apparmor=\"DENIED\" operation=\"open\"";
        assert_eq!(shown(kernel), ["apparmor=DENIED", "operation=open"]);
    }

    #[test]
    fn kinds_say_what_they_are_to_each_other() {
        let of = |line: &str| {
            let (at, record) = find(line.as_bytes()).unwrap();
            (at, String::from_utf8_lossy(record.name()).into_owned(), record.role())
        };
        assert_eq!(of("type=SYSCALL msg=audit(1.5:2): a=1"), (0, "SYSCALL".into(), Role::Call));
        let sent = "<13>Mar  5 14:00:00 h audispd: node=h type=UNKNOWN[1327] msg=audit(1.5:2): proctitle=61";
        assert_eq!(of(sent), (31, "PROCTITLE".into(), Role::Last));
        let kernel = "<5>[ 7.1] audit: type=1309 audit(1.5:2): argc=1 a0=\"x\"";
        assert_eq!(of(kernel), (17, "EXECVE".into(), Role::Part));
        assert_eq!(of("type=USER_AUTH msg=audit(1.5:2): x").2, Role::Whole);
        assert!(find(b"msg=audit(1.5:2) type=X").is_none());
        let both =
            b"type=CWD msg=audit(1.5:2): cwd=\"/\"\n<13>h x: type=PATH msg=audit(1.5:2): item=0\n";
        assert_eq!(records(both).map(|r| r.kind).collect::<Vec<_>>(), [&b"CWD"[..], b"PATH"]);
    }

    #[test]
    fn calls_have_names() {
        assert_eq!(call_name(b"c000003e", b"59"), Some("execve"));
        assert_eq!(call_name(b"c000003e", b"319"), Some("memfd_create"));
        assert_eq!(call_name(b"c00000b7", b"221"), Some("execve"));
        for (arch, number) in [("c000003e", "9999"), ("c000003e", "-1"), ("40000003", "11")] {
            assert_eq!(call_name(arch.as_bytes(), number.as_bytes()), None);
        }
    }

    #[test]
    fn socket_addresses() {
        let net = |ip: &str, port| Some(Socket::Net(ip.parse().unwrap(), port));
        assert_eq!(socket(b"02000035CB0071050000000000000000"), net("203.0.113.5", 53));
        let six = b"0A0001BB0000000020010DB800000000000000000000000100000000";
        assert_eq!(socket(six), net("2001:db8::1", 443));
        let local = Some(Socket::Local(b"/run/x".to_vec()));
        assert_eq!(socket(b"01002F72756E2F7800"), local);
        for wrong in [&b""[..], b"0", b"02", b"0200", b"zz00", b"1000000000000000"] {
            assert_eq!(socket(wrong), None);
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for wrong in
            ["", "type=X", "type=X msg=audit(1", "type=X msg=audit(a:1): ", "node=x", "node=x type"]
        {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
