//! `base64` and `base64offset`: the value as it looks inside encoded text. Base64 text differs by
//! case, so the comparison becomes exact.

use super::Modifier;
use crate::sigma::item::{Item, Val};
use crate::sigma::problem::Refusal;
use crate::sigma::string;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) struct Base64 {
    name: &'static str,
    all_offsets: bool,
}

pub(super) const BASE64: Base64 = Base64 { name: "base64", all_offsets: false };
pub(super) const BASE64OFFSET: Base64 = Base64 { name: "base64offset", all_offsets: true };

impl Modifier for Base64 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&self, item: &mut Item) -> Result<(), Refusal> {
        item.encoded = true;
        item.map(|value| {
            let kind = value.kind();
            let bytes = bytes_of(value).ok_or_else(|| {
                let reason = format!("`{}` needs text without wildcards, not {kind}", self.name);
                Refusal::invalid(reason, "escape * and ? with a backslash")
            })?;
            if !self.all_offsets {
                return Ok(Val::plain(STANDARD.encode(bytes)));
            }
            let shapes: Vec<String> = (0..3).map(|offset| encoded_at(&bytes, offset)).collect();
            if shapes.iter().any(String::is_empty) {
                let hint = "give at least three characters";
                return Err(Refusal::invalid("too short to be told apart in base64", hint));
            }
            Ok(Val::AnyOf(shapes.into_iter().map(Val::plain).collect()))
        })
    }
}

fn bytes_of(value: Val) -> Option<Vec<u8>> {
    match value.into_text() {
        Val::Text { parts, .. } => string::plain(&parts).map(String::into_bytes),
        Val::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The characters that encode `bytes` for certain when `offset` (0..3) bytes stand before them:
/// characters that mix in bits of unknown neighbours are cut off at both ends.
fn encoded_at(bytes: &[u8], offset: usize) -> String {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(bytes);
    let text = STANDARD.encode(&padded);
    let from = [0, 2, 3][offset];
    let unstable_end = [0, 3, 2][padded.len() % 3];
    text.get(from..text.len() - unstable_end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_does_not_depend_on_neighbours() {
        for text in ["IEX (New", "foobar", "ab", "http://"] {
            for offset in 0..3 {
                let core = encoded_at(text.as_bytes(), offset);
                assert!(!core.is_empty());
                for (before, after) in [(b'A', "Z"), (b'\xff', "\u{ff}z"), (0, "")] {
                    let mut whole = vec![before; offset + 3];
                    whole.extend_from_slice(text.as_bytes());
                    whole.extend_from_slice(after.as_bytes());
                    assert!(STANDARD.encode(&whole).contains(&core), "{text} {offset}");
                }
            }
        }
    }
}
