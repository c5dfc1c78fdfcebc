//! Kernel packet log lines of iptables, nftables and UFW.
//!
//! ```text
//! [12345.678] [UFW BLOCK] IN=eth0 OUT= MAC=.. SRC=192.0.2.7 DST=.. PROTO=TCP SPT=1 DPT=22 SYN URGP=0
//!  uptime      prefix     fields: KEY=VALUE and flags
//! ```
//!
//! Source: Linux `nf_log_syslog.c`.

/// One logged packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The rule's prefix text (`[UFW BLOCK]`, `DROP: `), trimmed, kernel time removed.
    pub prefix: &'a [u8],
    /// The fields from the first `IN=` on, without the packet that an ICMP error quotes in brackets.
    pub fields: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `KEY=VALUE` pairs in order; a word without `=` (`DF`, `SYN`) has `None`.
    pub fn words(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.fields.split(|c| *c == b' ').filter(|w| !w.is_empty()).map(
            |word| match memchr::memchr(b'=', word) {
                Some(i) => (&word[..i], Some(&word[i + 1..])),
                None => (word, None),
            },
        )
    }

    /// First value of `key`; an empty one counts as absent.
    pub fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.words().find(|(k, _)| *k == key).and_then(|(_, v)| v).filter(|v| !v.is_empty())
    }
}

/// Reads the message of a kernel line. `None` when it is no packet log.
pub fn parse(message: &[u8]) -> Option<Packet<'_>> {
    let at = field_start(message, b"IN=")?;
    field_start(&message[at..], b"OUT=")?;
    let prefix = without_uptime(message[..at].trim_ascii());
    // What an ICMP error answers stands behind in brackets: another packet, with addresses of its own.
    let fields = &message[at..];
    let end = memchr::memmem::find(fields, b" [").unwrap_or(fields.len());
    Some(Packet { prefix, fields: fields[..end].trim_ascii_end() })
}

/// Where `name` stands as a word of its own.
fn field_start(text: &[u8], name: &[u8]) -> Option<usize> {
    // A prefix may end in the letters of the name; sixteen of them are beyond chance.
    memchr::memmem::find_iter(text, name)
        .take(16)
        .find(|i| *i == 0 || !text[i - 1].is_ascii_alphanumeric())
}

/// Drops `[12345.678901] ` in front of the rule's own text.
fn without_uptime(prefix: &[u8]) -> &[u8] {
    let Some(inner) = prefix.strip_prefix(b"[") else { return prefix };
    match inner.iter().position(|c| *c == b']') {
        Some(end)
            if inner[..end].iter().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b' ')) =>
        {
            inner[end + 1..].trim_ascii()
        }
        _ => prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_other_kernel_lines() {
        let line = b"[ 1234.567890] [UFW BLOCK] IN=eth0 OUT= MAC=00:11 SRC=192.0.2.7 DST=198.51.100.1 LEN=60 DF PROTO=TCP SPT=40000 DPT=22 SYN URGP=0";
        let packet = parse(line).unwrap();
        assert_eq!(packet.prefix, b"[UFW BLOCK]");
        assert_eq!(packet.get(b"SRC"), Some(&b"192.0.2.7"[..]));
        assert_eq!(packet.get(b"OUT"), None);
        let flags: Vec<_> = packet.words().filter(|(_, v)| v.is_none()).map(|(k, _)| k).collect();
        assert_eq!(flags, [&b"DF"[..], b"SYN"]);
        let glued = parse(b"DROPIN=x IN= OUT=eth1 SRC=::1").unwrap();
        assert_eq!((glued.prefix, glued.get(b"OUT")), (&b"DROPIN=x"[..], Some(&b"eth1"[..])));
        assert_eq!(parse(b"usb 1-1: new device"), None);
        let error = parse(b"IN=e0 OUT= SRC=192.0.2.7 DST=192.0.2.1 PROTO=ICMP TYPE=3 CODE=3 [SRC=192.0.2.1 DST=192.0.2.7 PROTO=UDP SPT=53 DPT=9 ]").unwrap();
        assert_eq!((error.get(b"CODE"), error.get(b"SPT")), (Some(&b"3"[..]), None));
    }
}
