//! Access logs of web servers: common and combined format (Apache, nginx and those that copy them).

use crate::{ParseError, timestamp, timestamp::Stamp};

/// One request. `-` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// Virtual host (and port) in front of the client.
    pub vhost: Option<&'a [u8]>,
    /// Address or name of the client.
    pub client: &'a [u8],
    /// Its port, where one is written.
    pub client_port: Option<&'a [u8]>,
    /// The first address that `X-Forwarded-For` named, where the client stands beside it.
    pub forwarded: Option<&'a [u8]>,
    /// Identity by RFC 1413.
    pub identity: Option<&'a [u8]>,
    /// Authenticated user.
    pub user: Option<&'a [u8]>,
    /// Time as written, without its brackets.
    pub time: &'a [u8],
    /// Time as understood.
    pub stamp: Option<Stamp>,
    /// The whole request line as written between its quotes.
    pub request: &'a [u8],
    /// HTTP method.
    pub method: Option<&'a [u8]>,
    /// Request target (path and query).
    pub target: Option<&'a [u8]>,
    /// Protocol and version (`HTTP/1.1`).
    pub protocol: Option<&'a [u8]>,
    /// Response status as written, three digits.
    pub status: Option<&'a [u8]>,
    /// Bytes of the response as written.
    pub size_bytes: Option<&'a [u8]>,
    /// Referrer.
    pub referrer: Option<&'a [u8]>,
    /// User agent.
    pub user_agent: Option<&'a [u8]>,
    /// Whatever follows (configured extra fields), trimmed.
    pub rest: &'a [u8],
}

const FORMAT: &str = "access log";

fn missing(at: usize, expected: &'static str) -> ParseError {
    ParseError::Expected { format: FORMAT, at, expected }
}

/// Reads one line of an access log.
///
/// In: `[vhost ][forwarded ]client identity user [time] "request" status size[ number][ "referrer"
/// "agent"[ rest]]`. A request line that is no HTTP (scanners send TLS bytes) stays whole in `request`; an
/// agent whose quote a cut took away goes to the end.
/// Errors: `Expected` where the line stops being one; a line needs everything up to the status.
/// Source: Apache mod_log_config, nginx ngx_http_log_module.
pub fn parse(line: &[u8]) -> Result<Access<'_>, ParseError> {
    let line = line.trim_ascii_end();
    let open = time_bracket(line).ok_or(missing(0, "'[' in front of a time"))?;
    let front = front(&line[..open])?;
    let (client, client_port) = port_split(front.client);
    let close = open + memchr::memchr(b']', &line[open..]).ok_or(missing(open, "']'"))?;
    let time = &line[open + 1..close];
    let quote = close + 1 + blanks(&line[close + 1..]);
    if line.get(quote) != Some(&b'"') {
        return Err(missing(quote, "'\"' in front of a request"));
    }
    let end = quoted_end(line, quote).ok_or(missing(line.len(), "'\"' behind a request"))?;
    let request = &line[quote + 1..end];
    let (method, target, protocol) = request_parts(request);
    let mut at = end + 1 + blanks(&line[end + 1..]);
    let status = word(&line[at..]);
    if status != b"-" && !(status.len() == 3 && status.iter().all(u8::is_ascii_digit)) {
        return Err(missing(at, "a status of three digits"));
    }
    at += status.len() + blanks(&line[at + status.len()..]);
    let size = word(&line[at..]);
    let is_size = !size.is_empty() && (size == b"-" || size.iter().all(u8::is_ascii_digit));
    if is_size {
        at += size.len() + blanks(&line[at + size.len()..]);
    }
    at += second_number(&line[at..]);
    let mut strings = [None; 2];
    for (i, slot) in strings.iter_mut().enumerate() {
        if line.get(at) != Some(&b'"') {
            break;
        }
        let Some(end) = quoted_end(line, at) else {
            if i == 1 {
                *slot = present(&line[at + 1..]);
                at = line.len();
            }
            break;
        };
        *slot = present(&line[at + 1..end]);
        at = end + 1 + blanks(&line[end + 1..]);
    }
    Ok(Access {
        vhost: front.vhost,
        client,
        client_port,
        forwarded: front.forwarded.or_else(|| forwarded_behind(&line[at..])),
        identity: front.identity,
        user: front.user,
        time,
        stamp: timestamp::parse(time).ok(),
        request,
        method,
        target,
        protocol,
        status: present(status),
        size_bytes: present(size).filter(|_| is_size),
        referrer: strings[0],
        user_agent: strings[1],
        rest: &line[at..],
    })
}

/// The `[` of `[05/Mar/2024:...`: a user name may hold brackets, a time starts with a digit.
fn time_bracket(line: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'[', line)
        .take(8)
        .find(|i| line.get(i + 1).is_some_and(u8::is_ascii_digit) && line[..*i].ends_with(b" "))
}

/// What stands in front of the time.
struct Front<'a> {
    vhost: Option<&'a [u8]>,
    forwarded: Option<&'a [u8]>,
    client: &'a [u8],
    identity: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
}

/// `[vhost ][forwarded ]client identity user `: the user may hold blanks.
fn front(text: &[u8]) -> Result<Front<'_>, ParseError> {
    let (first, rest) = item(text).ok_or(missing(0, "the client"))?;
    let (second, behind) = item(rest).ok_or(missing(text.len(), "the client's identity"))?;
    // `client, proxy, proxy`: what came in X-Forwarded-For, written in the client's place.
    let is_host = if is_list(first) {
        false
    } else if is_list(second) {
        true
    } else {
        // With a virtual host in front the second word is the client; else it is an identity, and
        // nobody has had one of those for decades.
        let (third, after) = item(behind).ok_or(missing(text.len(), "the client's user"))?;
        second != b"-" && item(after).is_some() && (third == b"-" || looks_like_client(second))
    };
    let (vhost, head, rest) =
        if is_host { (Some(first), second, behind) } else { (None, first, rest) };
    let (next, after) = item(rest).ok_or(missing(text.len(), "the client's identity"))?;
    // Behind such a list the client that the server itself saw may stand.
    let (forwarded, client, identity, user) = match list_first(head) {
        Some(address) if looks_like_client(next) => {
            let (identity, user) =
                item(after).ok_or(missing(text.len(), "the client's identity"))?;
            (Some(address), next, identity, user)
        }
        Some(address) => (None, address, next, after),
        None => (None, head, next, after),
    };
    let user = user.trim_ascii();
    if user.is_empty() && vhost.is_none() && !is_list(head) {
        return Err(missing(text.len(), "the client's user"));
    }
    let vhost = vhost.and_then(present);
    Ok(Front { vhost, forwarded, client, identity: present(identity), user: present(user) })
}

/// The next word, list of words with commas, or quoted text, and what is behind it.
fn item(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii();
    if text.starts_with(b"\"") {
        let end = quoted_end(text, 0)? + 1;
        return Some((&text[..end], &text[end..]));
    }
    let mut end = word(text).len();
    while end > 0 && text[end - 1] == b',' && end < text.len() {
        end += blanks(&text[end..]);
        end += word(&text[end..]).len();
    }
    (end > 0).then(|| text.split_at(end))
}

fn is_list(item: &[u8]) -> bool {
    item.starts_with(b"\"") || memchr::memchr(b',', item).is_some()
}

/// The first of `a, b, c` or `"a, b, c"`; nothing of what is no list.
fn list_first(item: &[u8]) -> Option<&[u8]> {
    if !is_list(item) {
        return None;
    }
    let inner = item.strip_prefix(b"\"").and_then(|i| i.strip_suffix(b"\"")).unwrap_or(item);
    inner.split(|c| *c == b',').next().map(<[u8]>::trim_ascii)
}

/// `X-Forwarded-For="a, b"` or the third quoted text of nginx' own format: the first address.
fn forwarded_behind(rest: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"x-forwarded-for=";
    let named = rest.get(..NAME.len()).is_some_and(|n| n.eq_ignore_ascii_case(NAME));
    let quoted = if named { &rest[NAME.len()..] } else { rest };
    if quoted.first() != Some(&b'"') {
        return None;
    }
    let list = &quoted[1..quoted_end(quoted, 0)?];
    let is_address =
        |a: &[u8]| std::str::from_utf8(a).is_ok_and(|a| a.parse::<std::net::IpAddr>().is_ok());
    let mut all = list.split(|c| *c == b',').map(<[u8]>::trim_ascii);
    all.clone().all(|a| is_address(a) || a == b"unknown").then(|| all.find(|a| is_address(a)))?
}

/// `name:port` in its parts; an address of version 6 has colons of its own.
fn port_split(client: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = memchr::memrchr(b':', client) else { return (client, None) };
    let (host, port) = (&client[..at], &client[at + 1..]);
    let is_port = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    let is_bracketed = host.starts_with(b"[") && host.ends_with(b"]");
    if !is_port || host.is_empty() || !is_bracketed && memchr::memchr(b':', host).is_some() {
        return (client, None);
    }
    (if is_bracketed { &host[1..at - 1] } else { host }, Some(port))
}

/// Length of a number between the size and the referrer: bytes with their headers, or a time.
fn second_number(text: &[u8]) -> usize {
    let number = word(text);
    let is_number = !number.is_empty() && number.iter().all(|c| c.is_ascii_digit() || *c == b'.');
    let end = number.len() + blanks(&text[number.len()..]);
    if is_number && text.get(end) == Some(&b'"') { end } else { 0 }
}

fn looks_like_client(word: &[u8]) -> bool {
    let separators = word.iter().filter(|c| matches!(c, b'.' | b':')).count();
    separators >= 1
        && word.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b':' | b'-'))
}

fn present(text: &[u8]) -> Option<&[u8]> {
    Some(text).filter(|t| !t.is_empty() && *t != b"-")
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|c| **c == b' ').count()
}

fn word(text: &[u8]) -> &[u8] {
    &text[..text.iter().position(|c| *c == b' ').unwrap_or(text.len())]
}

/// Index of the quote that closes the one at `open`; a backslash protects the byte behind it.
fn quoted_end(line: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        let i = at + memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[i] == b'"' {
            return Some(i);
        }
        at = i + 2;
    }
}

type RequestParts<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, Option<&'a [u8]>);

/// `GET /path HTTP/1.1`, or nothing when it does not look like that. A target with blanks is whole.
fn request_parts(request: &[u8]) -> RequestParts<'_> {
    let method = word(request);
    // What ends as a request is one, whatever a scanner asks to be done.
    let is_request = memchr::memmem::rfind(request, b" HTTP/").is_some();
    let is_method = (1..=32).contains(&method.len())
        && method[0].is_ascii_alphabetic()
        && method.iter().all(|c| {
            c.is_ascii_uppercase()
                || matches!(c, b'-' | b'_')
                || is_request && c.is_ascii_lowercase()
        });
    if !is_method || method.len() == request.len() {
        return (None, None, None);
    }
    let rest = request[method.len()..].trim_ascii();
    match memchr::memrchr(b' ', rest) {
        Some(i) if rest[i + 1..].starts_with(b"HTTP/") => {
            (Some(method), present(rest[..i].trim_ascii()), Some(&rest[i + 1..]))
        }
        _ => (Some(method), present(rest), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Option<&[u8]>) -> &str {
        std::str::from_utf8(bytes.unwrap_or(b"-")).unwrap()
    }

    #[test]
    fn common_combined_and_virtual_host() {
        let line = br#"www.example:443 192.0.2.7 - bob smith [05/Mar/2024:14:07:09 +0000] "GET /a b?q=\"x\" HTTP/1.1" 200 - "https://r.example/" "curl \"8\"" 0.004"#;
        let got = parse(line).unwrap();
        assert_eq!(text(got.vhost), "www.example:443");
        assert_eq!(text(Some(got.client)), "192.0.2.7");
        assert_eq!((text(got.identity), text(got.user)), ("-", "bob smith"));
        assert_eq!(got.stamp, Some(Stamp::Utc(1_709_647_629_000_000_000)));
        assert_eq!(text(got.method), "GET");
        assert_eq!(text(got.target), r#"/a b?q=\"x\""#);
        assert_eq!(text(got.protocol), "HTTP/1.1");
        assert_eq!((text(got.status), got.size_bytes), ("200", None));
        assert_eq!(text(got.referrer), "https://r.example/");
        assert_eq!(text(got.user_agent), r#"curl \"8\""#);
        assert_eq!(text(Some(got.rest)), "0.004");

        let common =
            parse(br#"::1 - frank [10/Oct/2000:13:55:36 -0700] "GET /x HTTP/1.0" 200 2326"#);
        let common = common.unwrap();
        assert_eq!(
            (common.vhost, text(common.user), text(common.size_bytes)),
            (None, "frank", "2326")
        );
        assert_eq!(common.user_agent, None);
    }

    #[test]
    fn a_list_of_forwarders_stands_for_its_first() {
        let rest = br#"[05/Mar/2024:14:07:09 +0000] "GET / HTTP/1.1" 200 5"#;
        for (front, client, user) in [
            ("192.0.2.7, 198.51.100.1 - bob ", "192.0.2.7", "bob"),
            ("192.0.2.7, 198.51.100.1, 198.51.100.2 - - ", "192.0.2.7", "-"),
        ] {
            let line = [front.as_bytes(), rest].concat();
            let got = parse(&line).unwrap();
            assert_eq!((text(Some(got.client)), text(got.user)), (client, user));
            assert_eq!((got.vhost, got.identity), (None, None));
        }
    }

    #[test]
    fn a_host_may_stand_before_lists_and_names() {
        let rest = br#"[05/Mar/2024:14:07:09 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8" "198.51.100.9, 10.0.0.1""#;
        for (front, host, client, forwarded) in [
            ("www.example 192.0.2.7, 10.0.0.1 - - ", "www.example", "192.0.2.7", "198.51.100.9"),
            (
                "www.example:80 \"192.0.2.7, 10.0.0.1\" 10.0.0.2 - - ",
                "www.example:80",
                "10.0.0.2",
                "192.0.2.7",
            ),
            ("www.example intranet - - ", "www.example", "intranet", "198.51.100.9"),
            ("www.example unix: - - ", "www.example", "unix:", "198.51.100.9"),
        ] {
            let line = [front.as_bytes(), rest].concat();
            let got = parse(&line).unwrap();
            assert_eq!((text(got.vhost), text(Some(got.client))), (host, client), "{front}");
            assert_eq!((text(got.forwarded), got.user), (forwarded, None), "{front}");
        }
    }

    #[test]
    fn ports_further_numbers_and_cut_agents() {
        let rest =
            br#"[05/Mar/2024:14:07:09 +0000] "fetch /a HTTP/1.1" 200 5 314 "-" "curl/8 (cut"#;
        for (client, host, port) in [
            ("192.0.2.7:4711", "192.0.2.7", "4711"),
            ("[2001:db8::7]:4711", "2001:db8::7", "4711"),
            ("2001:db8::7", "2001:db8::7", "-"),
        ] {
            let line = [client.as_bytes(), b" - - ", rest].concat();
            let got = parse(&line).unwrap();
            assert_eq!((text(Some(got.client)), text(got.client_port)), (host, port));
            assert_eq!((text(got.method), text(got.target)), ("fetch", "/a"));
            assert_eq!((text(got.size_bytes), text(got.user_agent)), ("5", "curl/8 (cut"));
        }
        let nothing = parse(br#"192.0.2.7 - - [05/Mar/2024:14:07:09 +0000] "- - HTTP/1.0" 400 5"#);
        assert_eq!(nothing.unwrap().method, None);
    }

    #[test]
    fn broken_requests_are_kept_and_other_lines_refused() {
        let tls = br#"192.0.2.7 - - [05/Mar/2024:14:07:09 +0000] "\x16\x03\x01" 400 150 "-" "-""#;
        let got = parse(tls).unwrap();
        assert_eq!((got.method, got.request), (None, &br"\x16\x03\x01"[..]));
        let empty = br#"192.0.2.7 - - [05/Mar/2024:14:07:09 +0000] "-" 408 -"#;
        assert_eq!(text(parse(empty).unwrap().status), "408");
        for wrong in ["", "hello", "a - - [1] \"GET / HTTP/1.0\" abc", "a - - [1] GET", "- [1"] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
