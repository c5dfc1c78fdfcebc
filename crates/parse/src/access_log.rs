//! Access logs of web servers: common and combined format (Apache, nginx and those that copy them).

use crate::{ParseError, timestamp, timestamp::Stamp};

/// One request. `-` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// Virtual host (and port) in front of the client.
    pub vhost: Option<&'a [u8]>,
    /// Address or name of the client.
    pub client: &'a [u8],
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
/// In: `[vhost ]client identity user [time] "request" status size[ "referrer" "agent"[ rest]]`. A
/// request line that is no HTTP (scanners send TLS bytes) stays whole in `request`.
/// Errors: `Expected` where the line stops being one; a line needs everything up to the status.
/// Source: Apache mod_log_config, nginx ngx_http_log_module.
pub fn parse(line: &[u8]) -> Result<Access<'_>, ParseError> {
    let line = line.trim_ascii_end();
    let open = time_bracket(line).ok_or(missing(0, "'[' in front of a time"))?;
    let (vhost, client, identity, user) = front(&line[..open])?;
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
    let mut strings = [None; 2];
    for slot in &mut strings {
        if line.get(at) != Some(&b'"') {
            break;
        }
        let Some(end) = quoted_end(line, at) else { break };
        *slot = present(&line[at + 1..end]);
        at = end + 1 + blanks(&line[end + 1..]);
    }
    Ok(Access {
        vhost,
        client,
        identity,
        user,
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

type Front<'a> = (Option<&'a [u8]>, &'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

/// `[vhost ]client identity user `: the user may hold blanks.
fn front(text: &[u8]) -> Result<Front<'_>, ParseError> {
    let text = text.trim_ascii_end();
    let mut words = text.split(|c| *c == b' ').filter(|w| !w.is_empty());
    let first = words.next().ok_or(missing(0, "the client"))?;
    let second = words.next().ok_or(missing(text.len(), "the client's identity"))?;
    let third = words.next().ok_or(missing(text.len(), "the client's user"))?;
    let offset = |word: &[u8]| word.as_ptr() as usize - text.as_ptr() as usize;
    // `client, proxy, proxy`: what came in X-Forwarded-For, written in the client's place.
    if let Some(client) = first.strip_suffix(b",") {
        let mut last = second;
        let mut identity = third;
        while last.ends_with(b",") {
            last = identity;
            identity = words.next().ok_or(missing(text.len(), "the client's identity"))?;
        }
        let after = &text[offset(identity) + identity.len()..];
        return Ok((None, client, present(identity), present(after.trim_ascii())));
    }
    // With a virtual host in front the second word is the client; else it is an identity, and
    // nobody has had one of those for decades.
    let has_vhost = words.next().is_some() && second != b"-" && looks_like_client(second);
    if has_vhost {
        let after = &text[offset(third) + third.len()..];
        return Ok((Some(first), second, present(third), present(after.trim_ascii())));
    }
    Ok((None, first, present(second), present(&text[offset(third)..])))
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
    let is_method = (1..=32).contains(&method.len())
        && method.iter().all(|c| c.is_ascii_uppercase() || matches!(c, b'-' | b'_'));
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
