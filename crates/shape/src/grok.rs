//! Grok: named pieces of patterns, expanded to one linear-time regular expression.
//!
//! ```text
//! %{IP:source.ip}:%{INT:source.port:int} %{GREEDYDATA:rest}
//!   -> (?P<g0>..):(?P<g1>..) (?P<g2>..)      fields [source.ip, source.port (int), rest]
//! ```
//! `(?<field>..)` and `(?P<field>..)` name a field too, with any name that a field may have. The names
//! that can be used are those of `grok.patterns` and the pack's own.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Deepest nesting of names inside names; ours have five.
const DEPTH_MAX: usize = 16;
/// Longest expression one pattern may expand to.
const EXPANDED_BYTES_MAX: usize = 64 * 1024;

/// What one pattern expands to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// A regular expression whose group `gN` is field N.
    pub(crate) regex: String,
    /// Field of each group, and its type if one was named.
    pub(crate) fields: Vec<(String, Option<String>)>,
}

/// The table of names.
fn library() -> &'static BTreeMap<&'static str, &'static str> {
    static TABLE: OnceLock<BTreeMap<&str, &str>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = include_str!("grok.patterns").lines();
        lines.filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(' ')).collect()
    })
}

/// Expands `pattern`; `own` are the pack's patterns, which win over the library's.
pub(crate) fn expand(pattern: &str, own: &BTreeMap<String, String>) -> Result<Expanded, String> {
    let mut out = Expanded::default();
    append(pattern, own, &mut out, 0)?;
    Ok(out)
}

fn append(
    pattern: &str,
    own: &BTreeMap<String, String>,
    out: &mut Expanded,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("names are nested more than {DEPTH_MAX} deep"));
    }
    let mut rest = pattern;
    while let Some((at, len, name)) = next_mark(rest) {
        out.regex.push_str(&rest[..at]);
        if out.regex.len() > EXPANDED_BYTES_MAX {
            return Err(format!("expands to more than {EXPANDED_BYTES_MAX} bytes"));
        }
        match name {
            Mark::Group(field) => open(field, None, out),
            Mark::Use(inside) => {
                let mut parts = inside.splitn(3, ':');
                let name = parts.next().unwrap_or_default();
                let text =
                    own.get(name).map(String::as_str).or_else(|| library().get(name).copied());
                let text = text.ok_or_else(|| format!("no grok pattern `{name}`"))?;
                match parts.next() {
                    Some(field) => open(field, parts.next(), out),
                    None => out.regex.push_str("(?:"),
                }
                append(text, own, out, depth + 1)?;
                out.regex.push(')');
            }
        }
        rest = &rest[at + len..];
    }
    out.regex.push_str(rest);
    Ok(())
}

fn open(field: &str, kind: Option<&str>, out: &mut Expanded) {
    out.regex.push_str(&format!("(?P<g{}>", out.fields.len()));
    out.fields.push((field_name(field), kind.map(str::to_owned)));
}

/// `[a][b]`, as some write nested names, is `a.b`.
fn field_name(written: &str) -> String {
    match written.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
        Some(inner) => inner.replace("][", "."),
        None => written.to_owned(),
    }
}

enum Mark<'a> {
    Use(&'a str),
    Group(&'a str),
}

/// The next `%{..}` or named group: where, how long, what. Escaped characters are passed over.
fn next_mark(text: &str) -> Option<(usize, usize, Mark<'_>)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        if bytes[at] == b'\\' {
            at += 1;
            // The escaped character may be longer than a byte.
            at += text[at..].chars().next().map_or(0, char::len_utf8);
            continue;
        }
        if let Some(inner) = rest.strip_prefix("%{")
            && let Some(end) = inner.find('}')
        {
            return Some((at, end + 3, Mark::Use(&inner[..end])));
        }
        for opening in ["(?P<", "(?<"] {
            if let Some(inner) = rest.strip_prefix(opening)
                && !inner.starts_with(['=', '!'])
                && let Some(end) = inner.find('>')
            {
                return Some((at, opening.len() + end + 1, Mark::Group(&inner[..end])));
            }
        }
        at += rest.chars().next().map_or(1, char::len_utf8);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(pattern: &str, text: &str) -> Option<Vec<String>> {
        let expanded = expand(pattern, &BTreeMap::new()).unwrap();
        let regex = regex::Regex::new(&expanded.regex).unwrap();
        let found = regex.captures(text)?;
        let get = |(n, (field, _)): (usize, &(String, _))| {
            found.name(&format!("g{n}")).map(|m| format!("{field}={}", m.as_str()))
        };
        Some(expanded.fields.iter().enumerate().filter_map(get).collect())
    }

    #[test]
    fn every_name_of_the_library_compiles() {
        for name in library().keys() {
            let expanded = expand(&format!("%{{{name}}}"), &BTreeMap::new());
            let expanded = expanded.unwrap_or_else(|e| panic!("{name}: {e}"));
            regex::bytes::Regex::new(&expanded.regex).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        assert!(library().len() > 70);
    }

    #[test]
    fn names_give_fields_and_match_what_they_say() {
        let got = captures("%{IP:a.ip}:%{INT:a.port:int} (?<rest>.*)", "10.0.0.1:80 x y");
        assert_eq!(got.unwrap(), ["a.ip=10.0.0.1", "a.port=80", "rest=x y"]);
        for (name, text) in [
            ("IP", "2001:db8::1"),
            ("IP", "::ffff:10.0.0.1"),
            ("IP", "fe80:1:2:3:4:5:6:7"),
            ("MAC", "00:50:56:aa:bb:cc"),
            ("MAC", "e4c7.2266.f741"),
            ("TIMESTAMP_ISO8601", "2024-03-05T14:07:09.123+01:00"),
            ("HTTPDATE", "05/Mar/2024:14:07:09 +0000"),
            ("SYSLOGTIMESTAMP", "Mar  5 14:07:09"),
            ("QS", "\"said \\\"no\\\"\""),
            ("URI", "https://user@example.com:8443/a/b?c=d"),
            ("WINPATH", "C:\\Windows\\System32"),
            ("EMAILADDRESS", "a.b+c@example.com"),
            ("UUID", "550e8400-e29b-41d4-a716-446655440000"),
            ("LOGLEVEL", "WARNING"),
        ] {
            let got = captures(&format!("^%{{{name}:x}}$"), text);
            assert_eq!(got, Some(vec![format!("x={text}")]), "{name}");
        }
        assert_eq!(captures("^%{IPV4:x}$", "256.1.1.1"), None);
    }

    #[test]
    fn wrong_patterns_are_told() {
        assert!(expand("%{NOSUCH}", &BTreeMap::new()).unwrap_err().contains("NOSUCH"));
        let own = BTreeMap::from([("LOOP".to_owned(), "%{LOOP}".to_owned())]);
        assert!(expand("%{LOOP}", &own).unwrap_err().contains("nested"));
        let plain = expand(r"\(?<no>%{INT:[a][b]}", &BTreeMap::new()).unwrap();
        assert_eq!(plain.fields, [("a.b".to_owned(), None)]);
    }
}
