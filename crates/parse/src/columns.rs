//! Text in columns that a header line names: W3C extended logs (IIS, CloudFront, HTTP.SYS) and
//! Amazon VPC flow logs.
//!
//! ```text
//! #Fields: date time s-ip cs-method cs-uri-stem cs(User-Agent) sc-status
//! 2024-03-05 14:07:09 10.0.0.5 GET /a.aspx Mozilla/5.0+(X11) 200
//! version account-id interface-id srcaddr dstaddr ...
//! 2 123456789010 eni-1235b8ca 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 ...
//! ```
//!
//! Whoever reads the stream hands the header in. For lines without one [`Layout::guess`] knows the
//! products' default columns, told by their number and by what stands in them.
//! Sources: <https://www.w3.org/TR/WD-logfile.html>, <https://learn.microsoft.com/windows/win32/http/w3c-logging>,
//! <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html>,
//! <https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>.

use std::borrow::Cow;

mod iis_columns;

/// Most columns of one line; CloudFront has 33, VPC flow logs 40.
const COLUMNS_MAX: usize = 128;

/// Who writes such lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `#Fields:` headers.
    W3c,
    /// VPC flow logs.
    VpcFlow,
}

/// The columns of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout<'h> {
    names: &'h [u8],
    separator: u8,
}

/// Whether a line belongs to a header.
pub fn is_header_line(line: &[u8]) -> bool {
    const W3C: &[&[u8]] =
        &[b"#Fields:", b"#Software:", b"#Version:", b"#Date:", b"#Start-Date:", b"#Remark:"];
    line.first() == Some(&b'#') && W3C.iter().any(|k| line.starts_with(k)) || is_vpc_header(line)
}

fn is_vpc_header(line: &[u8]) -> bool {
    let is_words = |l: &[u8]| l.iter().all(|c| c.is_ascii_lowercase() || b" -\r".contains(c));
    line.len() < 2_048
        && line.first().is_some_and(u8::is_ascii_lowercase)
        && is_words(line)
        && memchr::memmem::find(line, b"srcaddr").is_some()
        && memchr::memmem::find(line, b"dstaddr").is_some()
}

impl<'h> Layout<'h> {
    /// Reads header lines, joined by line ends.
    pub fn of_header(text: &'h [u8], family: Family) -> Option<Self> {
        let mut found = None;
        for line in text.split(|c| *c == b'\n') {
            let names = match family {
                Family::W3c => line.strip_prefix(b"#Fields:"),
                Family::VpcFlow => Some(line).filter(|l| is_vpc_header(l)),
            };
            if let Some(names) = names {
                found = Some(names.trim_ascii());
            }
        }
        let names = found?;
        let separator = if memchr::memchr(b'\t', names).is_some() { b'\t' } else { b' ' };
        Some(Self { names, separator })
    }

    /// The default columns of a product for a line without header.
    pub fn guess(line: &[u8], family: Family) -> Option<Layout<'static>> {
        let layouts = match family {
            Family::W3c => W3C,
            Family::VpcFlow => VPC_FLOW,
        };
        let may_fit = match family {
            Family::W3c => starts_with_date(line),
            // The version, one digit.
            Family::VpcFlow => {
                line.first().is_some_and(u8::is_ascii_digit)
                    && matches!(line.get(1), Some(b' ' | b'\t'))
            }
        };
        if !may_fit {
            return None;
        }
        let separator = if memchr::memchr(b'\t', line).is_some() { b'\t' } else { b' ' };
        let known = layouts.iter().map(|names| Layout { names: names.as_bytes(), separator });
        let found = known.into_iter().find(|layout| {
            let names = layout.names.split(|c| *c == b' ');
            let mut columns = line.split(|c| *c == separator);
            let fits = names.clone().all(|n| columns.next().is_some_and(|v| may_be(n, v)));
            fits && columns.next().is_none()
        });
        match family {
            Family::W3c => found.or_else(|| iis_columns::chosen(line)),
            Family::VpcFlow => found,
        }
    }

    /// Whether a line can stand below this header: it has as many values, and what can stand in a
    /// column stands in it. Other lines of the same stream are not what the header speaks of.
    pub fn fits(&self, line: &[u8]) -> bool {
        let of_line = self.line_separator(line);
        let between = |c: &u8| *c == b' ' || *c == b'\t';
        let mut names = self.names.split(between).filter(|n| !n.is_empty());
        let mut rest = Some(line.trim_ascii_end());
        while let Some(text) = rest {
            let (value, next) = next_value(text, of_line);
            rest = next;
            let Some(name) = names.next() else { return false };
            let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
            let value = inner.unwrap_or(value);
            // Bits that a log leaves out are empty where tabs part them.
            let is_key = matches!(name, b"date" | b"time" | b"version");
            if (is_key || !value.is_empty()) && !may_be(name, value) {
                return false;
            }
        }
        names.next().is_none()
    }

    /// CloudFront separates names by blanks and values by tabs.
    fn line_separator(&self, line: &[u8]) -> u8 {
        match self.separator {
            b' ' if memchr::memchr(b'\t', line).is_some() => b'\t',
            separator => separator,
        }
    }

    /// Gives the columns of a line that are present (`-` is absent): name, value. A name such as
    /// `cs(User-Agent)` is given as `cs-user-agent`, as rules write it.
    pub fn values(&self, line: &[u8], mut put: impl FnMut(&[u8], &[u8])) {
        let of_line = self.line_separator(line);
        let between = |c: &u8| *c == b' ' || *c == b'\t';
        let mut names = self.names.split(between).filter(|n| !n.is_empty()).take(COLUMNS_MAX);
        let mut rest = Some(line);
        while let Some(text) = rest {
            let (value, next) = next_value(text, of_line);
            rest = next;
            let Some(name) = names.next() else { return };
            if !matches!(value, b"" | b"-" | b"\"-\"") {
                let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
                put(&plain_name(name), inner.unwrap_or(value));
            }
        }
    }
}

/// A value, quoted or not, and what is behind it.
fn next_value(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let quoted = text.strip_prefix(b"\"").and_then(|inner| {
        let end = memchr::memchr(b'"', inner)? + 2;
        let ends = text.get(end).is_none_or(|c| *c == separator);
        ends.then_some(end)
    });
    let end = quoted.or_else(|| memchr::memchr(separator, text)).unwrap_or(text.len());
    (&text[..end], text.get(end + 1..))
}

fn plain_name(name: &[u8]) -> Cow<'_, [u8]> {
    let Some(open) = memchr::memchr(b'(', name).filter(|_| name.ends_with(b")")) else {
        return Cow::Borrowed(name);
    };
    let inner = name[open + 1..name.len() - 1].to_ascii_lowercase();
    Cow::Owned([&name[..open], b"-", &inner].concat())
}

/// Whether a date stands in front, and something behind it.
fn starts_with_date(line: &[u8]) -> bool {
    line.len() > DATE.len() && has_date(line)
}

/// A date as a picture: `d` is a digit.
const DATE: &[u8] = b"dddd-dd-dd";

fn has_date(text: &[u8]) -> bool {
    text.len() >= DATE.len()
        && text.iter().zip(DATE).all(|(c, s)| match s {
            b'd' => c.is_ascii_digit(),
            s => c == s,
        })
}

/// Whether a value can stand in a column.
fn may_be(name: &[u8], value: &[u8]) -> bool {
    let is_number = |v: &[u8]| !v.is_empty() && v.iter().all(u8::is_ascii_digit);
    let is_ip = |v: &[u8]| {
        v.len() >= 2
            && v.iter().all(|c| c.is_ascii_hexdigit() || b".:%".contains(c))
            && v.iter().any(|c| b".:".contains(c))
    };
    if value.is_empty() {
        return false;
    }
    if value == b"-" {
        return !matches!(name, b"date" | b"time" | b"version" | b"interface-id" | b"x-session");
    }
    match name {
        b"date" => has_date(value),
        b"time" => value.len() >= 8 && value[2] == b':',
        b"s-ip" | b"c-ip" | b"srcaddr" | b"dstaddr" => is_ip(value),
        // `M-SEARCH`, and what FTP's log calls its events: `ControlChannelOpened`.
        b"cs-method" => {
            value[0].is_ascii_uppercase()
                && value.iter().all(|c| c.is_ascii_alphabetic() || b"_-".contains(c))
        }
        b"x-session" => value.len() == 36 && value.iter().filter(|c| **c == b'-').count() == 4,
        b"sc-status" => value.len() <= 3 && is_number(value),
        b"c-port" | b"s-port" | b"sc-win32-status" | b"sc-substatus" | b"time-taken" => {
            is_number(value) || name == b"time-taken"
        }
        b"version" => value.len() == 1 && is_number(value),
        b"account-id" => value == b"unknown" || value.len() == 12 && is_number(value),
        b"interface-id" => value.starts_with(b"eni-"),
        b"srcport" | b"dstport" | b"protocol" | b"packets" | b"bytes" | b"start" | b"end" => {
            is_number(value)
        }
        b"action" => matches!(value, b"ACCEPT" | b"REJECT"),
        b"log-status" => matches!(value, b"OK" | b"NODATA" | b"SKIPDATA"),
        _ => true,
    }
}

/// Default columns: IIS 10 and 8.5, IIS 7, IIS 6, IIS with everything chosen, IIS' FTP server, HTTP.SYS
/// errors, CloudFront.
const W3C: &[&str] = &[
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken",
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) sc-status sc-substatus sc-win32-status time-taken",
    "date time s-sitename s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) sc-status sc-substatus sc-win32-status",
    "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) sc-status sc-substatus sc-win32-status",
    "date time s-sitename s-computername s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs-version cs(User-Agent) cs(Cookie) cs(Referer) cs-host sc-status sc-substatus sc-win32-status sc-bytes cs-bytes time-taken",
    "date time c-ip cs-username s-ip s-port cs-method cs-uri-stem sc-status sc-win32-status sc-substatus x-session x-fullpath",
    "date time c-ip c-port s-ip s-port cs-version cs-method cs-uri streamid sc-status s-siteid s-reason s-queuename",
    "date time c-ip c-port s-ip s-port cs-version cs-method cs-uri sc-status s-siteid s-reason s-queuename",
    "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start sc-range-end",
];

/// The default format, and versions 3 to 5 with all their fields in the documentation's order.
const VPC_FLOW: &[&str] = &[
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status",
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr",
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id",
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(layout: Layout<'_>, line: &str) -> Vec<String> {
        let mut out = Vec::new();
        layout.values(line.as_bytes(), |n, v| {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            out.push(format!("{}={}", text(n), text(v)));
        });
        out
    }

    #[test]
    fn columns_by_header() {
        let head = b"#Software: Microsoft Internet Information Services 10.0\r\n#Fields: date time cs(User-Agent) sc-status\r\n";
        let layout = Layout::of_header(head, Family::W3c).unwrap();
        let want = ["date=2024-03-05", "time=14:07:09", "cs-user-agent=curl/8", "sc-status=200"];
        assert_eq!(shown(layout, "2024-03-05 14:07:09 curl/8 200 extra"), want);
        let tabs = "2024-03-05\t-\t\"a b\"\t-";
        assert_eq!(shown(layout, tabs), ["date=2024-03-05", "cs-user-agent=a b"]);
        assert!(Layout::of_header(b"#Software: x", Family::W3c).is_none());
        let flow = b"version interface-id srcaddr dstaddr tcp-flags";
        assert!(is_header_line(flow));
        let layout = Layout::of_header(flow, Family::VpcFlow).unwrap();
        assert_eq!(
            shown(layout, "5 eni-1 - 10.0.0.2 18"),
            ["version=5", "interface-id=eni-1", "dstaddr=10.0.0.2", "tcp-flags=18"]
        );
    }

    #[test]
    fn ftp_and_connections_that_died_have_no_status() {
        let ftp = "2024-03-05 14:07:09 203.0.113.7 CORP\\anna 10.0.0.5 21 ControlChannelClosed - - 0 0 5c1f0d7e-2b44-4b4c-9d2e-0a1b2c3d4e5f -";
        let layout = Layout::guess(ftp.as_bytes(), Family::W3c).unwrap();
        let seen = shown(layout, ftp);
        assert!(seen.contains(&"cs-username=CORP\\anna".into()), "{seen:?}");
        let idle =
            "2024-03-05 14:07:09 203.0.113.7 4711 10.0.0.5 80 - - - - - - Timer_ConnectionIdle -";
        let layout = Layout::guess(idle.as_bytes(), Family::W3c).unwrap();
        assert!(shown(layout, idle).contains(&"s-reason=Timer_ConnectionIdle".into()));
        assert!(layout.fits(idle.as_bytes()));
    }

    #[test]
    fn columns_without_header() {
        let iis = "2024-03-05 14:07:09 10.0.0.5 GET /a.aspx id=1 443 - 203.0.113.7 Mozilla/5.0+(X11) - 200 0 0 15";
        let layout = Layout::guess(iis.as_bytes(), Family::W3c).unwrap();
        let seen = shown(layout, iis);
        assert!(
            seen.contains(&"c-ip=203.0.113.7".into()) && seen.contains(&"sc-status=200".into())
        );
        let flow = "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK";
        let layout = Layout::guess(flow.as_bytes(), Family::VpcFlow).unwrap();
        assert!(shown(layout, flow).contains(&"action=ACCEPT".into()));
        let empty =
            "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA";
        assert!(Layout::guess(empty.as_bytes(), Family::VpcFlow).is_some());
        for other in ["", "2024-03-05", "2024-03-05 14:07:09 hello world", "2 x eni-1"] {
            assert!(Layout::guess(other.as_bytes(), Family::W3c).is_none(), "{other}");
            assert!(Layout::guess(other.as_bytes(), Family::VpcFlow).is_none(), "{other}");
        }
    }
}
