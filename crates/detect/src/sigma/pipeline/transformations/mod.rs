//! What pipeline steps do: one small file each, all in the table below.

mod add_condition;
mod case;
mod change_logsource;
mod convert_type;
mod drop_detection_item;
mod failure;
mod field_name;
mod hashes_fields;
mod map_string;
mod nest;
mod no_effect;
mod placeholders;
mod replace_string;
mod set_state;
mod set_value;

use super::draft::Draft;
use super::params::Params;
use super::reading::Reader;
use super::step::Step;
use crate::sigma::problem::Refusal;
use std::fmt;

/// What of a pipeline has no effect here, and why.
pub type Notes = Vec<String>;

/// What a step does to a rule whose conditions hold.
pub trait Transformation: fmt::Debug + Send + Sync {
    /// Applies it.
    ///
    /// # Errors
    /// It cannot be honoured for this rule, or refuses the rule on purpose.
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal>;
}

/// A kind of transformation.
pub struct Kind {
    /// Its `type` in pipeline files.
    pub name: &'static str,
    /// Reads its parameters. The last argument is the depth of nesting.
    pub read: Read,
}

type Made = Result<Box<dyn Transformation>, Refusal>;
type Read = fn(&mut Params<'_>, &mut Reader<'_>, usize) -> Made;

/// Transformations of the reference implementation that are refused: name, reason, what to do.
pub const REFUSED: &[(&str, &str, &str)] = &[
    (
        "field_name_transform",
        "takes a function of a program",
        "write the names out with field_name_mapping",
    ),
    (
        "extract_fields",
        "takes values apart by an expression of another engine",
        "write the fields out in the rule, or let a pack of yours extract them",
    ),
    ("file_placeholders", VALUES_ELSEWHERE, VARS),
    ("http_placeholders", VALUES_ELSEWHERE, VARS),
    ("command_placeholders", VALUES_ELSEWHERE, VARS),
];

const VALUES_ELSEWHERE: &str =
    "takes values from outside while rules are read: a replay would not find the same ones";
const VARS: &str = "write them into `vars`, for value_placeholders";

/// Every transformation a pipeline may use.
pub const TRANSFORMATIONS: &[Kind] = &[
    Kind { name: "field_name_mapping", read: field_name::mapping },
    Kind { name: "field_name_prefix_mapping", read: field_name::prefix_mapping },
    Kind { name: "field_name_prefix", read: field_name::prefix },
    Kind { name: "field_name_suffix", read: field_name::suffix },
    Kind { name: "drop_detection_item", read: drop_detection_item::read },
    Kind { name: "hashes_fields", read: hashes_fields::read },
    Kind { name: "value_placeholders", read: placeholders::values },
    Kind { name: "wildcard_placeholders", read: placeholders::wildcards },
    Kind { name: "query_expression_placeholders", read: placeholders::query_expression },
    Kind { name: "add_condition", read: add_condition::read },
    Kind { name: "change_logsource", read: change_logsource::read },
    Kind { name: "replace_string", read: replace_string::read },
    Kind { name: "map_string", read: map_string::read },
    Kind { name: "set_value", read: set_value::read },
    Kind { name: "convert_type", read: convert_type::read },
    Kind { name: "case", read: case::read },
    Kind { name: "set_state", read: set_state::read },
    Kind { name: "rule_failure", read: failure::rule },
    Kind { name: "detection_item_failure", read: failure::item },
    Kind { name: "strict_field_mapping_failure", read: failure::strict },
    Kind { name: "nest", read: nest::read },
    Kind { name: "regex", read: no_effect::regex },
    Kind { name: "add_field", read: no_effect::display_fields },
    Kind { name: "remove_field", read: no_effect::display_fields },
    Kind { name: "set_field", read: no_effect::display_fields },
    Kind { name: "set_custom_attribute", read: no_effect::custom_attribute },
];
