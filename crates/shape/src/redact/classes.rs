//! What fields are to the redaction of another one's value.

use super::{Redactor, TEXT_BYTES_MIN};
use event::batch::{CLAIMED_PREFIX, OVERFLOW_NAME, OWN_PREFIX};
use event::{FieldId, RowWriter};

/// What a field is to the redaction of another one's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Text for people: values are replaced wherever they stand in it as words.
    Text,
    /// Says who: the same value is replaced, also behind `DOMAIN\` and before `@domain`; anything else is
    /// text.
    Who,
    /// Says what happened (`event.*`, `process.*`, `url.*`, tags). Senders choose their names: were
    /// the value replaced here, too, who calls himself `GET` could hide from rules.
    Guarded,
    /// As `Who` for the value itself; any other text is also that of a guarded field, and stays.
    Twin,
}

/// Groups of ECS fields that say who.
const WHO: &[&str] = &[
    "user.",
    "source.",
    "destination.",
    "client.",
    "server.",
    "host.",
    "related.",
    "email.",
    "group.",
    "organization.",
    "threat.indicator.",
    "alcedo.person.",
    "alcedo.asset.",
];

/// The class of a field by its name.
pub(super) fn class_of(name: &str, is_ecs: bool) -> Class {
    match name {
        "message" | "error.message" => Class::Text,
        OVERFLOW_NAME => Class::Who,
        // What a sender says under a name that is not its own, `event.original` above all.
        _ if name.starts_with(CLAIMED_PREFIX) => Class::Text,
        _ if WHO.iter().any(|group| name.starts_with(group)) => Class::Who,
        _ if is_ecs || name.starts_with(OWN_PREFIX) => Class::Guarded,
        _ => Class::Who,
    }
}

impl Redactor {
    pub(super) fn class(&self, row: &RowWriter<'_>, field: FieldId) -> Class {
        let known = self.classes.get(field.0 as usize).copied();
        known.unwrap_or_else(|| class_of(row.name(field), false))
    }

    /// The classes of a row's cells. `is_withheld`: pieces of the record stand for themselves, too.
    pub(super) fn classes_of(&self, row: &RowWriter<'_>, is_withheld: bool) -> Vec<Class> {
        let message = row.get(self.message).map_or(&b""[..], |message| message.bytes);
        // The message under another name, with its header or without, is text.
        let holds_message = |cell: &[u8]| {
            message.len() >= TEXT_BYTES_MIN
                && cell.len() >= message.len()
                && memchr::memmem::find(cell, message).is_some()
        };
        let class = |(field, value): (FieldId, event::Value<'_>)| match self.class(row, field) {
            Class::Guarded if holds_message(value.bytes) => Class::Text,
            class => class,
        };
        let mut classes: Vec<Class> = row.cells().map(class).collect();
        // Texts that do not follow the record, by where they are: what a pack copied is in one place.
        let own = |at: usize| {
            let bytes = row.cell(at).1.bytes;
            let is_own = !bytes.is_empty() && (is_withheld || row.raw_range(at).is_none());
            is_own.then_some((bytes.as_ptr() as usize, bytes.len()))
        };
        let is_guarded = |at: &usize| classes[*at] == Class::Guarded;
        let mut guarded: Vec<_> = (0..classes.len()).filter(is_guarded).filter_map(own).collect();
        guarded.sort_unstable();
        for (at, class) in classes.iter_mut().enumerate().filter(|(_, c)| **c == Class::Who) {
            if own(at).is_some_and(|place| guarded.binary_search(&place).is_ok()) {
                *class = Class::Twin;
            }
        }
        classes
    }
}
