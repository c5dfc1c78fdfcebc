//! XML that a converter turned to JSON: attributes by any mark, and lists of named elements.
//!
//! ```text
//! {"Data": [{"@Name": "Image", "#text": "x"}, ...]}   flattened:  Data.@Name=Image  Data.#text=x  ...
//!                                                     unpaired:   Image=x           ...
//! ```

use event::{FieldId, RowWriter};
use std::borrow::Cow;
use std::ops::Range;

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

/// Gives every named element of `lists`, among the row's cells from `from` on, a field of its own beside
/// the list. The name belongs to the texts of the same element, wherever it stands in it: converters that
/// sort keys put it last, and elements without text are common. Where no list has its elements told
/// apart (one element that stands for a list, a list for the names and one for the texts) the first
/// name belongs to the first text and so on, if there are as many. What has no other half stays.
pub(crate) fn unpair(
    row: &mut RowWriter<'_>,
    from: usize,
    elements: &[Range<usize>],
    lists: &[String],
) {
    let mut done: Vec<usize> = Vec::new();
    for list in lists {
        let beside = list.rsplit_once('.').map_or("", |(parent, _)| parent);
        let mut halves = Halves::of(list, row, from);
        // Inner ones come first: an outer one has what is left.
        for element in elements.iter().filter(|e| e.start >= from) {
            halves.read(element.clone());
            if let ([named, ..], [_, ..]) = (&halves.names[..], &halves.texts[..])
                && let Some(field) = field(row, *named, beside)
            {
                halves.texts.iter().for_each(|said| row.rename(*said, field));
                done.push(*named);
            }
        }
        halves.read(from..row.cell_count());
        if halves.names.len() == halves.texts.len() {
            for (named, said) in halves.names.iter().zip(&halves.texts) {
                if let Some(field) = field(row, *named, beside) {
                    row.rename(*said, field);
                    done.push(*named);
                }
            }
        }
    }
    done.sort_unstable();
    for at in done.into_iter().rev() {
        row.remove(at);
    }
}

/// Cells of one element that are names or texts.
struct Halves {
    /// Of every cell: what it is, until it was read.
    parts: Vec<Option<Part>>,
    from: usize,
    names: Vec<usize>,
    texts: Vec<usize>,
}

impl Halves {
    fn of(list: &str, row: &RowWriter<'_>, from: usize) -> Self {
        let cells = from..row.cell_count();
        let parts = cells.map(|at| part(list, row.name(row.cell(at).0))).collect();
        Self { parts, from, names: Vec::new(), texts: Vec::new() }
    }

    /// Takes those among the cells that were not read before.
    fn read(&mut self, cells: Range<usize>) {
        self.names.clear();
        self.texts.clear();
        for at in cells {
            match self.parts.get_mut(at - self.from).and_then(Option::take) {
                Some(Part::Name) => self.names.push(at),
                Some(Part::Text) => self.texts.push(at),
                None => {}
            }
        }
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
    use event::{Dictionary, Envelope, EventBatch, EventId, Protocol, RowHead};
    use std::sync::Arc;

    fn unpaired(json: &str) -> Vec<String> {
        let mut batch = EventBatch::new(Dictionary::ecs());
        let head = RowHead {
            id: EventId::at(1),
            received_ns: 0,
            stream_ns: 0,
            envelope: Arc::new(Envelope::of("test", Protocol::File)),
        };
        let mut row = batch.begin(head, b"");
        let mut flattener = parse::json::Flattener::new();
        let limits = parse::json::Limits::default();
        flattener.flatten(json.as_bytes(), "", &mut row, &limits).unwrap();
        unpair(&mut row, 0, flattener.elements(), &["d.Data".into()]);
        row.finish();
        let view = batch.row(0);
        view.cells().map(|(field, v)| format!("{}={}", batch.name(field), v.text())).collect()
    }

    #[test]
    fn a_name_and_its_text_become_a_field_in_either_order() {
        for json in [
            r##"{"d":{"Data":[{"Name":"A","#text":"1"},{"Name":"B","_":"2"}]}}"##,
            r##"{"d":{"Data":[{"Value":"1","Name":"A"},{"Value":"2","Name":"B"}]}}"##,
            r##"{"d":{"Data":[{"#attributes":{"Name":"A"},"#text":1},{"_":"2","Name":"B"}]}}"##,
            r##"{"d":{"Data":{"Name":["A","B"],"#text":["1","2"]}}}"##,
        ] {
            assert_eq!(unpaired(json), ["d.A=1", "d.B=2"], "{json}");
        }
        assert_eq!(unpaired(r##"{"d":{"Data":{"#text":"1","Name":"A"}}}"##), ["d.A=1"]);
    }

    /// An element without a text is common; its neighbours keep their own.
    #[test]
    fn a_name_never_takes_the_text_of_another_element() {
        let json =
            r##"{"d":{"Data":[{"#text":"1","Name":"A"},{"Name":"B"},{"#text":"3","Name":"C"}]}}"##;
        assert_eq!(unpaired(json), ["d.A=1", "d.Data.Name=B", "d.C=3"]);
        let json = r##"{"d":{"Data":[{"Name":"A"},{"Name":"B","#text":"2"},{"#text":"3"}]}}"##;
        assert_eq!(unpaired(json), ["d.Data.Name=A", "d.B=2", "d.Data.#text=3"]);
        let json = r##"{"d":{"Data":["loose",{"Name":"A","#text":"1"},"more"]}}"##;
        assert_eq!(unpaired(json), ["d.Data=loose", "d.A=1", "d.Data=more"]);
        let json = r##"{"d":{"Data":[{"Name":"","#text":"1"},{"Name":"B","#text":["2","3"]}]}}"##;
        assert_eq!(unpaired(json), ["d.Data.Name=", "d.Data.#text=1", "d.B=2", "d.B=3"]);
    }

    #[test]
    fn what_has_no_other_half_stays() {
        assert_eq!(unpaired(r#"{"d":{"Data":["1","2"]}}"#), ["d.Data=1", "d.Data=2"]);
        let json = r##"{"d":{"Data":{"Name":["A","B"],"#text":"2"},"x":3}}"##;
        assert_eq!(unpaired(json), ["d.Data.Name=A", "d.Data.Name=B", "d.Data.#text=2", "d.x=3"]);
    }

    #[test]
    fn attributes_are_known_by_any_mark() {
        for name in ["E.S.#attributes.N", "E.S.@N", "E.S.-N", "E.S.$.N"] {
            assert_eq!(with_attributes(name), "E.S.#attributes.N");
        }
        assert_eq!(with_attributes("E.S.N"), "E.S.N");
    }
}
