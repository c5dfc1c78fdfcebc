//! XML that a converter turned to JSON: attributes by any mark, and lists of named elements.
//!
//! ```text
//! {"Data": [{"@Name": "Image", "#text": "x"}, ...]}   flattened:  Data.@Name=Image  Data.#text=x  ...
//!                                                     unpaired:   Image=x           ...
//! ```

use event::{FieldId, RowWriter};
use std::borrow::Cow;

/// How converters mark an attribute, beside `#attributes.`.
const ATTRIBUTE_MARKS: [&str; 3] = [".@", ".-", ".$."];
/// What the name of an element is called, below the list.
const NAMES: [&str; 3] = [".#attributes.Name", ".Name", ".name"];
/// What its text is called, below the list; it may be the list itself.
const TEXTS: [&str; 7] = ["", ".#text", "._", ".$t", ".Value", ".value", ".text"];
/// A longer name is none.
const NAME_BYTES_MAX: usize = 256;

/// The name with its attributes marked as `#attributes.`.
pub(crate) fn with_attributes(name: &str) -> Cow<'_, str> {
    if !ATTRIBUTE_MARKS.iter().any(|mark| name.contains(mark)) {
        return Cow::Borrowed(name);
    }
    let mut out = name.to_owned();
    for mark in ATTRIBUTE_MARKS {
        out = out.replace(mark, ".#attributes.");
    }
    Cow::Owned(out)
}

/// What a cell of a list is.
enum Part {
    Name,
    Text,
}

fn part(list: &str, name: &str) -> Option<Part> {
    let rest = name.strip_prefix(list)?;
    if NAMES.contains(&rest) {
        return Some(Part::Name);
    }
    TEXTS.contains(&rest).then_some(Part::Text)
}

/// Gives every named element of `list`, among the row's cells from `from` on, a field of its own beside
/// the list. Cells stand as in the record, so a name belongs to the text before or after it; what has no
/// other half stays as it is.
pub(crate) fn unpair(row: &mut RowWriter<'_>, from: usize, list: &str) {
    let beside = list.rsplit_once('.').map_or("", |(parent, _)| parent);
    let (mut name, mut text) = (None::<usize>, None::<usize>);
    let mut done: Vec<usize> = Vec::new();
    for at in from..row.cell_count() {
        match part(list, row.name(row.cell(at).0)) {
            Some(Part::Name) => name = Some(at),
            Some(Part::Text) => text = Some(at),
            None => continue,
        }
        if let (Some(named), Some(said)) = (name, text)
            && let Some(field) = field(row, named, beside)
        {
            row.rename(said, field);
            done.push(named);
            (name, text) = (None, None);
        }
    }
    for at in done.into_iter().rev() {
        row.remove(at);
    }
}

/// The field that the element whose name is in cell `at` becomes.
fn field(row: &mut RowWriter<'_>, at: usize, beside: &str) -> Option<FieldId> {
    let name = row.cell(at).1.text().into_owned();
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    fits.then(|| row.field(&format!("{beside}.{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Dictionary, Envelope, EventBatch, EventId, Kind, Protocol, RowHead};
    use std::sync::Arc;

    fn unpaired(cells: &[(&str, &str)]) -> Vec<String> {
        let mut batch = EventBatch::new(Dictionary::ecs());
        let head = RowHead {
            id: EventId::at(1),
            received_ns: 0,
            stream_ns: 0,
            envelope: Arc::new(Envelope::of("test", Protocol::File)),
        };
        let mut row = batch.begin(head, b"");
        for (name, text) in cells {
            let field = row.field(name);
            row.push(field, Kind::Str, text.as_bytes());
        }
        unpair(&mut row, 0, "d.Data");
        row.finish();
        let view = batch.row(0);
        view.cells().map(|(field, v)| format!("{}={}", batch.name(field), v.text())).collect()
    }

    #[test]
    fn a_name_and_its_text_become_a_field_in_either_order() {
        let cells = [
            ("d.Data.#attributes.Name", "A"),
            ("d.Data", "1"),
            ("d.Data.Name", "B"),
            ("d.Data._", "2"),
        ];
        assert_eq!(unpaired(&cells), ["d.A=1", "d.B=2"]);
        let cells = [
            ("d.Data.Value", "1"),
            ("d.Data.Name", "A"),
            ("d.Data.Value", "2"),
            ("d.Data.Name", "B"),
        ];
        assert_eq!(unpaired(&cells), ["d.A=1", "d.B=2"]);
    }

    #[test]
    fn what_has_no_other_half_stays() {
        assert_eq!(unpaired(&[("d.Data", "1"), ("d.Data", "2")]), ["d.Data=1", "d.Data=2"]);
        let cells = [("d.Data.Name", "A"), ("d.Data.Name", "B"), ("d.Data", "2"), ("d.x", "3")];
        assert_eq!(unpaired(&cells), ["d.Data.Name=A", "d.B=2", "d.x=3"]);
        assert_eq!(unpaired(&[("d.Data.Name", ""), ("d.Data", "1")]), ["d.Data.Name=", "d.Data=1"]);
    }

    #[test]
    fn attributes_are_known_by_any_mark() {
        for name in ["E.S.#attributes.N", "E.S.@N", "E.S.-N", "E.S.$.N"] {
            assert_eq!(with_attributes(name), "E.S.#attributes.N");
        }
        assert_eq!(with_attributes("E.S.N"), "E.S.N");
    }
}
