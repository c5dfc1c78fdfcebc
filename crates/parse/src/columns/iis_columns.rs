//! Which columns were chosen in IIS, told from a line alone.
//!
//! IIS lets every column of its W3C log be left out and never changes their order:
//!
//! ```text
//! date time [s-sitename] [s-computername] [s-ip] cs-method cs-uri-stem cs-uri-query s-port cs-username
//! c-ip [cs-version] cs(User-Agent) [cs(Cookie)] [cs(Referer)] [cs-host] sc-status sc-substatus
//! sc-win32-status [sc-bytes cs-bytes] [time-taken] [a forwarder's address] [its port]
//! ```
//!
//! Shippers drop the header lines, so the method, the client and the status, which look like nothing
//! else, say where a line's other columns begin.
//! Source: <https://learn.microsoft.com/windows/win32/http/w3c-logging>.

use std::sync::OnceLock;

use super::{Layout, may_be};

/// Most columns of such a line.
const COLUMNS_MAX: usize = 26;
/// Columns that may be left out, and those always there between them, in their order.
const PIECES: [(&str, bool); 15] = [
    ("date time", true),
    ("s-sitename", false),
    ("s-computername", false),
    ("s-ip", false),
    ("cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip", true),
    ("cs-version", false),
    ("cs(User-Agent)", true),
    ("cs(Cookie)", false),
    ("cs(Referer)", false),
    ("cs-host", false),
    ("sc-status sc-substatus sc-win32-status", true),
    ("sc-bytes cs-bytes", false),
    ("time-taken", false),
    ("x-forwarded-for", false),
    ("x-forwarded-port", false),
];
/// Choices of the columns that may be left out.
const CHOICES: usize = 1 << 11;

/// The layout of the chosen columns; `None` for lines that are none of IIS'.
pub(super) fn chosen(line: &[u8]) -> Option<Layout<'static>> {
    let mut words: [&[u8]; COLUMNS_MAX] = [b""; COLUMNS_MAX];
    let mut count = 0;
    for word in line.trim_ascii_end().split(|c| *c == b' ') {
        *words.get_mut(count)? = word;
        count += 1;
    }
    let words = &words[..count];
    let mut choice = Choice::default();
    let method = server_columns(words, &mut choice)?;
    let client = method + 5;
    let mut at = client + 1;
    let has_version = words.get(at)?.starts_with(b"HTTP/");
    choice.add("cs-version", has_version);
    at += usize::from(has_version) + 1;
    let status = (at..count.min(at + 4)).find(|i| is_status(&words[*i..]))?;
    client_columns(&words[at..status], &mut choice);
    last_columns(words.get(status + 3..)?, &mut choice)?;
    Some(Layout { names: choice.names().as_bytes(), separator: b' ' })
}

/// Site, computer and address of the server; gives the place of the method.
fn server_columns(words: &[&[u8]], choice: &mut Choice) -> Option<usize> {
    let fits = |at: &usize| {
        let [method, stem, _, port, _, client] = words.get(*at..*at + 6).unwrap_or(&[]) else {
            return false;
        };
        let is_target = stem.starts_with(b"/") || stem.starts_with(b"*") || stem.contains(&b':');
        let is_method =
            method.len() > 2 && method.iter().all(|c| c.is_ascii_uppercase() || *c == b'_');
        is_method
            && is_target
            && *port != b"-"
            && may_be(b"s-port", port)
            && *client != b"-"
            && may_be(b"c-ip", client)
    };
    let dated = may_be(b"date", words.first()?) && may_be(b"time", words.get(1)?);
    let method = (2..=5).find(fits).filter(|_| dated)?;
    let mut front = &words[2..method];
    if let Some((last, rest)) = front.split_last()
        && *last != b"-"
        && may_be(b"s-ip", last)
    {
        choice.add("s-ip", true);
        front = rest;
    }
    let is_name = |w: &&[u8]| w.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.$".contains(c));
    match front {
        names if !names.iter().all(is_name) => return None,
        [] => {}
        [site] if site.starts_with(b"W3SVC") => choice.add("s-sitename", true),
        [_] => choice.add("s-computername", true),
        [_, _] => {
            choice.add("s-sitename", true);
            choice.add("s-computername", true);
        }
        _ => return None,
    }
    Some(method)
}

/// `200 0 0`: status, its part, and what Windows says.
fn is_status(words: &[&[u8]]) -> bool {
    let [status, part, windows, ..] = words else { return false };
    let is_number = |v: &[u8]| !v.is_empty() && v.iter().all(u8::is_ascii_digit);
    status.len() == 3 && [*status, *part, *windows].into_iter().all(is_number)
}

/// Cookie, referrer and host, told by how they look where not all three are there.
fn client_columns(words: &[&[u8]], choice: &mut Choice) {
    let is_host = |w: &[u8]| w.contains(&b'.') && !w.contains(&b'/') && !w.contains(&b'=');
    let is_cookie = |w: &[u8]| w.contains(&b'=') && !w.starts_with(b"http");
    match words {
        [] => {}
        [one] if is_host(one) => choice.add("cs-host", true),
        [one] => choice.add(if is_cookie(one) { "cs(Cookie)" } else { "cs(Referer)" }, true),
        [first, host] if is_host(host) => {
            choice.add(if is_cookie(first) { "cs(Cookie)" } else { "cs(Referer)" }, true);
            choice.add("cs-host", true);
        }
        [_, _] => {
            choice.add("cs(Cookie)", true);
            choice.add("cs(Referer)", true);
        }
        _ => ["cs(Cookie)", "cs(Referer)", "cs-host"].iter().for_each(|n| choice.add(n, true)),
    }
}

/// Bytes and time, then what a field of one's own says of a forwarder.
fn last_columns(words: &[&[u8]], choice: &mut Choice) -> Option<()> {
    let is_number = |v: &[u8]| !v.is_empty() && v.iter().all(u8::is_ascii_digit);
    let numbers = words.iter().take_while(|w| is_number(w)).count();
    let (has_bytes, has_time) = match numbers {
        0 => (false, false),
        1 => (false, true),
        2 => (true, false),
        3 => (true, true),
        _ => return None,
    };
    choice.add("sc-bytes cs-bytes", has_bytes);
    choice.add("time-taken", has_time);
    match words[numbers..] {
        [] => {}
        [_] => choice.add("x-forwarded-for", true),
        [_, port] if is_number(port) => {
            choice.add("x-forwarded-for", true);
            choice.add("x-forwarded-port", true);
        }
        _ => return None,
    }
    Some(())
}

/// The optional columns of a line, a bit each.
#[derive(Clone, Copy, Default)]
struct Choice(usize);

impl Choice {
    fn add(&mut self, name: &str, is_there: bool) {
        let mut optional = PIECES.iter().filter(|(_, always)| !always);
        if let Some(bit) = optional.position(|(n, _)| *n == name) {
            self.0 |= usize::from(is_there) << bit;
        }
    }

    /// The names, written once per choice that was met.
    fn names(self) -> &'static str {
        static NAMES: [OnceLock<String>; CHOICES] = [const { OnceLock::new() }; CHOICES];
        NAMES[self.0 % CHOICES].get_or_init(|| {
            let mut bits = self.0;
            let mut names = Vec::new();
            for (name, always) in PIECES {
                if always || bits & 1 == 1 {
                    names.push(name);
                }
                bits >>= usize::from(!always);
            }
            names.join(" ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Option<&'static str> {
        chosen(line.as_bytes()).map(|l| std::str::from_utf8(l.names).unwrap())
    }

    const SERVER: &str = "cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip";
    const STATUS: &str = "sc-status sc-substatus sc-win32-status";

    #[test]
    fn columns_are_told_from_the_line() {
        for (front, between, behind, chosen) in [
            ("W3SVC2", "curl/8", "15", ["s-sitename", "cs(User-Agent)", "time-taken"]),
            (
                "WEB-7 10.0.0.5",
                "HTTP/2.0 curl/8 - www.example.com",
                "90 80 15",
                [
                    "s-computername s-ip",
                    "cs-version cs(User-Agent) cs(Referer) cs-host",
                    "sc-bytes cs-bytes time-taken",
                ],
            ),
            (
                "10.0.0.5",
                "curl/8 a=b;+c=d",
                "15 203.0.113.9,10.0.0.1 4711",
                [
                    "s-ip",
                    "cs(User-Agent) cs(Cookie)",
                    "time-taken x-forwarded-for x-forwarded-port",
                ],
            ),
        ] {
            let line = format!(
                "2024-03-05 14:07:09 {front} GET /a.aspx id=1 443 CORP\\anna 203.0.113.7 {between} 200 0 0 {behind}"
            );
            let [server, client, last] = chosen;
            let want = format!("date time {server} {SERVER} {client} {STATUS} {last}");
            assert_eq!(names(&line), Some(want.as_str()));
        }
    }

    #[test]
    fn other_lines_are_none() {
        for other in [
            "",
            "2024-03-05 14:07:09 web sshd: GET /a - 80 - 203.0.113.7 x 200 0 0",
            "2024-03-05 14:07:09 10.0.0.5 GET /a - 80 - 203.0.113.7 curl/8 no status here",
            "2024-03-05 14:07:09 10.0.0.5 GET /a - 80 - nobody curl/8 200 0 0 15",
        ] {
            assert_eq!(names(other), None, "{other}");
        }
    }
}
