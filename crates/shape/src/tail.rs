//! What a pattern ends in, when that is a field that takes all that follows.
//!
//! ```text
//! ^\\?(?P<g0>HKLM|HKU)\\(?P<g1>.*)      head: ^\\?(?P<g0>HKLM|HKU)\\       tail: g1, up to the end
//! (?m)^User = (?P<g0>[^\r\n]+)          head: (?m)^User =                  tail: g0, up to \r or \n
//! ```
//! Only the head is searched for; the tail is found by its first stop byte, which is many times faster than
//! an automaton that goes over each of its bytes. Heads match where whole patterns do: a greedy tail that may
//! be empty takes part in no choice of the head. A tail that would be empty and must not be, or that ends
//! before the text does and must not, is left to the whole pattern, whose head might match otherwise.

use memchr::{memchr, memchr2, memchr3};
use regex_automata::util::syntax;
use regex_syntax::hir::{Class, ClassBytes, Hir, HirKind, Look};

/// The last field of a pattern, which takes all bytes up to the first stop byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    stops: Vec<u8>,
    /// Whether it holds a byte at least.
    needs_one: bool,
    /// Whether the pattern ends where the text does.
    to_end: bool,
}

impl Tail {
    /// The pattern without its tail, the tail, and the name of the tail's group. `None` for a pattern that
    /// ends otherwise.
    pub(crate) fn split(regex: &str, syntax: &syntax::Config) -> Option<(Hir, Self, String)> {
        let hir = syntax::parse_with(regex, syntax).ok()?;
        let HirKind::Concat(mut parts) = hir.into_kind() else { return None };
        let to_end = parts.pop_if(|part| matches!(part.kind(), HirKind::Look(Look::End))).is_some();
        let HirKind::Capture(capture) = parts.pop()?.into_kind() else { return None };
        let HirKind::Repetition(all) = capture.sub.into_kind() else { return None };
        let HirKind::Class(Class::Bytes(takes)) = all.sub.kind() else { return None };
        if parts.is_empty() || all.min > 1 || all.max.is_some() || !all.greedy {
            return None;
        }
        let tail = Self { stops: stops_of(takes), needs_one: all.min == 1, to_end };
        Some((Hir::concat(parts), tail, capture.name?.into()))
    }

    /// How many bytes of what stands behind the head it takes; `None`: ask the whole pattern.
    pub(crate) fn len_in(&self, rest: &[u8]) -> Option<usize> {
        let stop = match self.stops[..] {
            [] => None,
            [a] => memchr(a, rest),
            [a, b] => memchr2(a, b, rest),
            [a, b, c] => memchr3(a, b, c, rest),
            _ => rest.iter().position(|byte| self.stops.contains(byte)),
        };
        let len = stop.unwrap_or(rest.len());
        let fits = (len > 0 || !self.needs_one) && (len == rest.len() || !self.to_end);
        fits.then_some(len)
    }
}

/// The bytes that a class has not.
fn stops_of(takes: &ClassBytes) -> Vec<u8> {
    let mut stops = takes.clone();
    stops.negate();
    stops.iter().flat_map(|range| range.start()..=range.end()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(regex: &str) -> Option<(String, Tail)> {
        let syntax = syntax::Config::new().utf8(false).dot_matches_new_line(true).unicode(false);
        Tail::split(regex, &syntax).map(|(head, tail, _)| (head.to_string(), tail))
    }

    /// Guarantees: only a last greedy field of one class, behind something, is a tail.
    #[test]
    fn what_is_a_tail() {
        let tail =
            |stops: &[u8], needs_one, to_end| Tail { stops: stops.to_vec(), needs_one, to_end };
        let of = |regex| split(regex).map(|(_, tail)| tail);
        assert_eq!(of("a(?P<g0>.*)"), Some(tail(b"", false, false)));
        assert_eq!(of("a(?P<g0>(?:.*))$"), Some(tail(b"", false, true)));
        assert_eq!(of(r"a(?P<g0>[^\r\n]+)"), Some(tail(b"\n\r", true, false)));
        assert_eq!(of(r"(?:a|b) (?P<g0>\S+)$"), Some(tail(b"\t\n\x0b\x0c\r ", true, true)));
        assert_eq!(split(r"a(?P<g0>b+) (?P<g1>.*)").map(|s| s.0), Some("(?:a(?P<g0>b+) )".into()));
        for none in [
            "(?P<g0>.*)",
            "a(?P<g0>.*?)",
            "a(?P<g0>.*)b",
            "a(?P<g0>.{2,})",
            "a(?P<g0>.*)?",
            "a.*",
            "a(?P<g0>b|.*)",
            "a|b(?P<g0>.*)",
            r"a(?P<g0>.*)\b",
            "(?m)a(?P<g0>.*)$",
        ] {
            assert_eq!(split(none), None, "{none}");
        }
    }

    /// Guarantees: a tail that the whole pattern may see otherwise is left to it.
    #[test]
    fn what_a_tail_takes() {
        let len =
            |regex, rest: &str| split(regex).and_then(|(_, tail)| tail.len_in(rest.as_bytes()));
        assert_eq!(len("a(?P<g0>.*)", "x\ny"), Some(3));
        assert_eq!(len("a(?P<g0>.+)", ""), None);
        assert_eq!(len("a(?P<g0>[^;]*)", "x;y"), Some(1));
        assert_eq!(len("a(?P<g0>[^;]*)$", "x;y"), None);
        assert_eq!(len("a(?P<g0>[^;,]*)$", "xy"), Some(2));
        assert_eq!(len("a(?P<g0>[^;,.]+)", "xy."), Some(2));
        assert_eq!(len(r"a(?P<g0>\S*)", "xy z"), Some(2));
    }
}
