//! What a site decides about its rules: tables for placeholders, pipelines, and the readings where
//! the specification leaves two.

use crate::sigma::pipeline::Pipeline;
use std::collections::BTreeMap;

/// How rules are read. The default is what docs/sigma.md describes.
#[derive(Clone, Debug, Default)]
pub struct SigmaSettings {
    /// Values of `%name%` placeholders, by name. Values are Sigma strings: `*` and `?` are
    /// wildcards. A placeholder that neither a pipeline nor this table resolves makes its rule not
    /// covered.
    pub placeholders: BTreeMap<String, Vec<String>>,
    /// Processing pipelines, applied to every rule in the order of their priority.
    pub pipelines: Vec<Pipeline>,
    /// What a filter document's condition says.
    pub filters: FilterReading,
    /// `neq` holds only where the field is there. By default it also holds where it is not, as the
    /// same line under `not` does.
    pub neq_needs_field: bool,
    /// A field that is there and empty is null too.
    pub null_includes_empty: bool,
    /// Base64 text is compared without regard to case, as the specification says of all text. By
    /// default it is compared exactly, because another case is other data.
    pub base64_ignores_case: bool,
}

impl SigmaSettings {
    /// A number for everything in it that can change what a rule does; `None` for the default.
    pub fn fingerprint(&self) -> Option<u128> {
        let Self {
            placeholders,
            pipelines,
            filters,
            neq_needs_field,
            null_includes_empty,
            base64_ignores_case,
        } = self;
        let flags = [*neq_needs_field, *null_includes_empty, *base64_ignores_case];
        let plain = placeholders.is_empty() && pipelines.is_empty() && flags == [false; 3];
        if plain && *filters == FilterReading::default() {
            return None;
        }
        let hashes: Vec<u128> = pipelines.iter().map(|p| p.hash).collect();
        let text = format!("{placeholders:?}{hashes:?}{filters:?}{flags:?}");
        Some(xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }
}

/// What the condition of a filter document says. The specification's example and the reference
/// implementation contradict each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterReading {
    /// What must hold in addition: `(rule) and (filter)`. Exclusions are written with `not`. This is
    /// what the reference implementation does.
    #[default]
    Required,
    /// What is taken away: `(rule) and not (filter)`. This is what the example in the
    /// specification, a bare `selection` that is to suppress matches, seems to mean.
    Excluded,
}
