//! Kernel packet log lines of iptables, nftables and UFW.

/// One logged packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The rule's prefix text (`[UFW BLOCK]`, `DROP: `), trimmed, kernel time removed.
    pub prefix: &'a [u8],
    /// The fields from the first `IN=` on.
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
    let at = memchr::memmem::find(message, b"IN=")?;
    memchr::memmem::find(&message[at..], b"OUT=")?;
    Some(Packet { prefix: message[..at].trim_ascii(), fields: &message[at..] })
}
