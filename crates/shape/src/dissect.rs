//! Dissect: a text cut at fixed pieces, without searching.
//!
//! ```text
//! %{user} from %{source.ip}:%{source.port} %{?skipped} %{rest}
//! ```
//! `%{}` and `%{?name}` are passed over; `%{name->}` is followed by any run of the piece's first
//! character, as padding.

use std::ops::Range;

/// Most cuts in one pattern.
const CUTS_MAX: usize = 128;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dissect {
    /// What stands before the first field.
    head: Vec<u8>,
    cuts: Vec<Cut>,
    /// Names of the fields, by the index in `Cut::field`.
    pub(crate) fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    /// `None`: passed over.
    field: Option<usize>,
    /// The piece behind the value; empty = to the end.
    until: Vec<u8>,
    padded: bool,
}

impl Dissect {
    /// Reads a pattern. Errors say what is wrong with it.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let (head, mut rest) = pattern.split_once("%{").ok_or("has no `%{field}`")?;
        let mut out = Self { head: head.as_bytes().to_vec(), cuts: Vec::new(), fields: Vec::new() };
        loop {
            let (inside, behind) = rest.split_once('}').ok_or("a `%{` is not closed by `}`")?;
            let (name, padded) = match inside.strip_suffix("->") {
                Some(name) => (name, true),
                None => (inside, false),
            };
            if name.starts_with(['+', '&', '*']) {
                return Err(format!("`{inside}`: appending and indirect names are not possible"));
            }
            let field = (!name.is_empty() && !name.starts_with('?')).then(|| {
                out.fields.push(name.to_owned());
                out.fields.len() - 1
            });
            if out.cuts.len() == CUTS_MAX {
                return Err(format!("more than {CUTS_MAX} fields"));
            }
            let (until, next) = match behind.split_once("%{") {
                Some((until, next)) => (until, Some(next)),
                None => (behind, None),
            };
            if until.is_empty() && next.is_some() {
                return Err("two fields need something between them".into());
            }
            out.cuts.push(Cut { field, until: until.as_bytes().to_vec(), padded });
            match next {
                Some(next) => rest = next,
                None => return Ok(out),
            }
        }
    }

    /// Cuts `text`. Out: the range of each field; `None` when a piece is missing.
    pub(crate) fn cut(&self, text: &[u8], found: &mut Vec<(usize, Range<usize>)>) -> Option<()> {
        found.clear();
        if !text.starts_with(&self.head) {
            return None;
        }
        let mut at = self.head.len();
        for cut in &self.cuts {
            let rest = &text[at..];
            let len = match cut.until.is_empty() {
                true => rest.len(),
                false => memchr::memmem::find(rest, &cut.until)?,
            };
            if let Some(field) = cut.field {
                let pad = cut.until.first().filter(|_| cut.padded);
                let padding = rest[..len].iter().rev().take_while(|c| Some(*c) == pad).count();
                found.push((field, at..at + len - padding));
            }
            at += len + cut.until.len();
            while cut.padded && !cut.until.is_empty() && text[at..].starts_with(&cut.until) {
                at += cut.until.len();
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pattern: &str, text: &str) -> Option<Vec<String>> {
        let dissect = Dissect::parse(pattern).unwrap();
        let mut found = Vec::new();
        dissect.cut(text.as_bytes(), &mut found)?;
        Some(
            found.into_iter().map(|(f, r)| format!("{}={}", dissect.fields[f], &text[r])).collect(),
        )
    }

    #[test]
    fn texts_are_cut_at_the_pieces() {
        assert_eq!(
            cut("<%{pri}>%{a->} %{?b} %{c}", "<13>x   skipped the rest").unwrap(),
            ["pri=13", "a=x", "c=the rest"]
        );
        assert_eq!(cut("[%{a}] %{b};", "[1] 2;").unwrap(), ["a=1", "b=2"]);
        assert_eq!(cut("[%{a}] %{b}", "1] 2"), None);
        assert_eq!(cut("%{a}|%{b}", "1"), None);
    }

    #[test]
    fn wrong_patterns_are_told() {
        for (pattern, part) in [
            ("no fields", "has no"),
            ("%{a", "not closed"),
            ("%{a}%{b}", "between"),
            ("%{+a}", "appending"),
        ] {
            assert!(Dissect::parse(pattern).unwrap_err().contains(part), "{pattern}");
        }
    }
}
