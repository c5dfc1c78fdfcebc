//! `wide` and the other UTF-16 encodings, to be followed by base64.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use crate::sigma::string;

/// How text becomes bytes.
pub(super) struct Utf16 {
    name: &'static str,
    big_endian: bool,
    mark: bool,
}

pub(super) const WIDE: Utf16 = Utf16 { name: "wide", big_endian: false, mark: false };
pub(super) const UTF16LE: Utf16 = Utf16 { name: "utf16le", big_endian: false, mark: false };
pub(super) const UTF16BE: Utf16 = Utf16 { name: "utf16be", big_endian: true, mark: false };
/// Little endian behind a byte order mark, as pySigma writes it.
pub(super) const UTF16: Utf16 = Utf16 { name: "utf16", big_endian: false, mark: true };

impl Modifier for Utf16 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.map(|value| {
            let kind = value.kind();
            let text = match &value.into_text() {
                Val::Text { parts, .. } => string::plain(parts),
                _ => None,
            };
            let text = text.ok_or_else(|| {
                let reason = format!("`{}` needs text without wildcards, not {kind}", self.name);
                Refusal::invalid(reason, "escape * and ? with a backslash")
            })?;
            let mark = self.mark.then_some(0xfeff_u16);
            let units = mark.into_iter().chain(text.encode_utf16());
            let bytes = units.flat_map(|unit| match self.big_endian {
                true => unit.to_be_bytes(),
                false => unit.to_le_bytes(),
            });
            Ok(Val::Bytes(bytes.collect()))
        })
    }
}
