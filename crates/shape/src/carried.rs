//! Lines that come each in an object of Splunk's event collector and are one event together.
//!
//! ```text
//! {"host":"a","event":"type=SYSCALL msg=audit(1.5:7) .."}   {"host":"a","event":"type=SYSCALL msg=audit(1.5:7) ..
//! {"host":"a","event":"type=CWD msg=audit(1.5:7) .."}   ->                      type=CWD msg=audit(1.5:7) .."}
//! ```
//! What is stored is the objects as they came, one a line. Not here: which lines belong together ([`crate::joins`]).

use memchr::memmem;
use parse::json;
use std::ops::Range;
use std::sync::LazyLock;

/// Between two objects. Made once: it is looked for in every record that begins as an object.
static BETWEEN: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("}\n{"));

/// The line in an object, and where its sender says that it is from.
pub(crate) struct Carried<'a> {
    /// The place of the line in the object, between its quotes.
    pub(crate) place: Range<usize>,
    /// Host and source as JSON; empty where they are not said.
    pub(crate) from: [&'a [u8]; 2],
}

impl<'a> Carried<'a> {
    /// `None`: it is no whole object, or its `event` is no text.
    pub(crate) fn of(object: &'a [u8]) -> Option<Self> {
        let (mut place, mut from) = (None, [&b""[..]; 2]);
        for member in json::members(object, 0) {
            let member = member.ok()?;
            let value = &object[member.value.clone()];
            match &object[member.key] {
                b"event" if value.len() >= 2 && value.starts_with(b"\"") => {
                    place = Some(member.value.start + 1..member.value.end - 1);
                }
                b"host" => from[0] = value,
                b"source" => from[1] = value,
                _ => {}
            }
        }
        place.map(|place| Self { place, from })
    }
}

/// Makes of objects, one a line, the first one with the lines of all. Out: whether they were such.
pub(crate) fn assemble(text: &[u8], out: &mut Vec<u8>) -> bool {
    // Nearly no object has a line's end, and to look for one byte costs a third of looking for three.
    let line_end = || memchr::memchr(b'\n', text);
    if !text.starts_with(b"{") || line_end().is_none() || BETWEEN.find(text).is_none() {
        return false;
    }
    out.clear();
    gather(text, out).is_some()
}

fn gather(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let first = &text[..json::value_end(text, 0).ok()?];
    let place = Carried::of(first)?.place;
    out.extend_from_slice(&first[..place.end]);
    let mut at = first.len();
    while at < text.len() {
        let rest = text[at..].strip_prefix(b"\n")?;
        let object = &rest[..json::value_end(rest, 0).ok()?];
        out.extend_from_slice(b"\\n");
        out.extend_from_slice(&object[Carried::of(object)?.place]);
        at += 1 + object.len();
    }
    out.extend_from_slice(&first[place.end..]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_objects_become_those_of_the_first() {
        let assembled = |text: &str| {
            let mut out = Vec::new();
            assemble(text.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
        };
        let two = "{\"host\":\"a\",\"event\":\"one \\\"1\\\"\",\"time\":1}\n{\"event\":\"two\",\"time\":2}";
        let one = r#"{"host":"a","event":"one \"1\"\ntwo","time":1}"#;
        assert_eq!(assembled(two).as_deref(), Some(one));
        for other in [
            "{\"event\":\"one\"}",
            "{\"event\":\"one\"}\n{\"event\":2}",
            "{\"event\":\"one\"}\n{\"event\":\"cut",
            "{\"event\":\"one\"}\n{\"event\":\"two\"} x",
            "{\"list\":[{}\n{}]}",
            "x{}\n{}",
        ] {
            assert_eq!(assembled(other), None, "{other}");
        }
    }
}
