//! Sigma's modifiers: one small type each, all in the table below.

mod all;
mod base64;
mod cased;
mod cidr;
mod compare;
mod exists;
mod expand;
mod fieldref;
mod neq;
mod position;
mod re;
pub(crate) mod time_part;
mod wide;
pub(crate) mod windash;

use crate::sigma::item::Item;
use crate::sigma::problem::Refusal;

/// A modifier: changes the values of an item, or how they are compared and combined.
pub trait Modifier: Sync {
    /// The word after the `|`.
    fn name(&self) -> &'static str;
    /// Applies it.
    ///
    /// # Errors
    /// The values or the modifiers before it do not allow it.
    fn apply(&self, item: &mut Item) -> Result<(), Refusal>;
}

/// Every modifier a rule may use.
pub const MODIFIERS: &[&dyn Modifier] = &[
    &position::CONTAINS,
    &position::STARTSWITH,
    &position::ENDSWITH,
    &all::All,
    &cased::Cased,
    &exists::Exists,
    &re::Re,
    &re::IGNORECASE,
    &re::I,
    &re::MULTILINE,
    &re::M,
    &re::DOTALL,
    &re::S,
    &cidr::Cidr,
    &windash::Windash,
    &base64::BASE64,
    &base64::BASE64OFFSET,
    &wide::WIDE,
    &wide::UTF16LE,
    &wide::UTF16BE,
    &wide::UTF16,
    &fieldref::Fieldref,
    &compare::LT,
    &compare::LTE,
    &compare::GT,
    &compare::GTE,
    &neq::Neq,
    &time_part::MINUTE,
    &time_part::HOUR,
    &time_part::DAY,
    &time_part::WEEK,
    &time_part::MONTH,
    &time_part::YEAR,
    &expand::Expand,
];
