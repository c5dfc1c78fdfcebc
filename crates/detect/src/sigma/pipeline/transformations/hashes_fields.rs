//! `hashes_fields`: `Hashes: SHA1=...` becomes a field for each algorithm.

use super::{Made, Transformation};
use crate::sigma::item::{Item, Val};
use crate::sigma::pipeline::conditions::shown;
use crate::sigma::pipeline::draft::Draft;
use crate::sigma::pipeline::params::Params;
use crate::sigma::pipeline::reading::Reader;
use crate::sigma::pipeline::step::{Replaced, Step};
use crate::sigma::problem::{Position, Refusal};
use crate::sigma::selection::Selection;
use std::collections::BTreeMap;

/// Hex digits of the algorithms told apart by length.
const LENGTHS: &[(usize, &str)] = &[(32, "MD5"), (40, "SHA1"), (64, "SHA256"), (128, "SHA512")];

/// What stands around a hash that is looked for anywhere.
const WILDCARDS: [char; 2] = ['*', '?'];
/// Fields that hold hashes unless the pipeline names others.
const PARSED: &[&str] = &["Hashes", "Hash"];

#[derive(Debug)]
struct HashesFields {
    algorithms: Vec<String>,
    prefix: String,
    drop_algorithm: bool,
    /// Fields that hold hashes.
    parsed: Vec<String>,
}

pub(super) fn read(params: &mut Params<'_>, _: &mut Reader<'_>, _: usize) -> Made {
    let at = params.at;
    let missing = || Refusal::invalid("`valid_hash_algos` is missing", "list them").at(at);
    Ok(Box::new(HashesFields {
        algorithms: params.texts("valid_hash_algos")?.ok_or_else(missing)?,
        prefix: params.optional_text("field_prefix")?.unwrap_or_default(),
        drop_algorithm: params.flag("drop_algo_prefix")?,
        parsed: params
            .texts("field_to_parse")?
            .unwrap_or_else(|| PARSED.iter().map(|name| (*name).to_owned()).collect()),
    }))
}

impl HashesFields {
    /// The field and what is left of the value; `None` for algorithms that are not wanted.
    fn split(&self, text: &str) -> Option<(String, String)> {
        let separator = if text.contains('|') { '|' } else { '=' };
        let (algorithm, hash) = match text.split(separator).collect::<Vec<_>>().as_slice() {
            [algorithm, hash] => {
                (algorithm.trim_start_matches('*').to_uppercase(), hash.trim_matches(WILDCARDS))
            }
            parts => {
                let hash = parts.first()?.trim_matches(WILDCARDS);
                let known = LENGTHS.iter().find(|(length, _)| *length == hash.len());
                (known?.1.to_owned(), hash)
            }
        };
        self.algorithms.contains(&algorithm).then(|| {
            let name = if self.drop_algorithm { "" } else { algorithm.as_str() };
            (format!("{}{name}", self.prefix), hash.to_owned())
        })
    }

    fn item(&self, item: &Item) -> Result<Option<Selection>, Refusal> {
        let is_parsed = |field: &str| self.parsed.iter().any(|name| name == field);
        if !item.field.as_deref().is_some_and(is_parsed) {
            return Ok(None);
        }
        let texts: Option<Vec<_>> =
            item.values.iter().map(|(v, at)| Some((shown(v)?, *at))).collect();
        let Some(texts) = texts else { return Ok(None) };
        let mut fields: BTreeMap<String, Vec<(Val, Position)>> = BTreeMap::new();
        for (text, at) in texts {
            if let Some((field, hash)) = self.split(&text) {
                fields.entry(field).or_default().push((Val::sigma(&hash), at));
            }
        }
        if fields.is_empty() {
            let reason = "no value names one of the algorithms";
            return Err(Refusal::not_covered(reason, "extend `valid_hash_algos`"));
        }
        let each = fields.into_iter().map(|(field, values)| {
            let field = (!field.is_empty() && field != "keyword").then(|| field.into());
            let negated = item.negated;
            Selection::Item(Box::new(Item { field, values, all: false, negated, ..item.clone() }))
        });
        Ok(Some(match item.all || item.negated {
            true => Selection::All(each.collect()),
            false => Selection::Any(each.collect()),
        }))
    }
}

impl Transformation for HashesFields {
    fn apply(&self, draft: &mut Draft<'_>, step: &Step) -> Result<(), Refusal> {
        step.replace_items(draft, |item, _| {
            Ok(self.item(&item)?.map_or(Replaced::Same(item), Replaced::By))
        })
    }
}
