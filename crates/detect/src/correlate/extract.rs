//! Reads key and value out of matching events, in the workers.

use super::hit::{Hit, HitValue};
use super::key::KeyHasher;
use super::lags::source_hash;
use super::settings::HOLD_MAX_NS;
use super::spec::{Reference, Spec, SpecSet};
use event::{Dictionary, EventBatch, EventView, FieldId, Marks, Match};
use std::borrow::Cow;
use std::sync::Arc;

/// Largest number taken from an event, in either direction: sums of millions of them stay exact.
const NUMBER_MAX: f64 = 1e18;

/// Turns matches into [`Hit`]s for every correlation that references the rule.
///
/// A group-by name is answered as in rules: the field itself, then its aliases. Of an array the
/// first value counts. **An event without one of the group-by fields, or without the counted field,
/// does not take part**: grouping all such events together would relate strangers.
#[derive(Clone, Debug)]
pub struct Extractor {
    set: Arc<SpecSet>,
    hasher: KeyHasher,
    /// Per correlation and slot: fields of each key part.
    keys: Vec<Vec<Vec<Source>>>,
    /// The same of the counted fields.
    values: Vec<Vec<Vec<Source>>>,
    /// Per correlation: fields of each key that its events have in correlations above it.
    outer: Vec<Vec<Vec<Source>>>,
}

#[derive(Clone, Debug)]
struct Source {
    name: Arc<str>,
    fields: Vec<FieldId>,
}

impl Extractor {
    /// For the correlations of one generation and its names. `hasher` holds the data folder's
    /// secret.
    pub fn new(set: &Arc<SpecSet>, dict: &Dictionary, hasher: KeyHasher) -> Self {
        let source = |n: &Arc<str>| Source { name: n.clone(), fields: dict.answers(n) };
        let sources = |names: &[Arc<str>]| names.iter().map(source).collect::<Vec<_>>();
        let keys = set
            .specs()
            .map(|s| s.references.iter().map(|r| sources(&r.fields)).collect())
            .collect();
        let counted = |s: &Spec, r: &Reference| match r.values.is_empty() {
            true => sources(&s.value_fields),
            false => sources(&r.values),
        };
        let values =
            set.specs().map(|s| s.references.iter().map(|r| counted(s, r)).collect()).collect();
        let outer = (0..set.len() as u32)
            .map(|spec| set.node(spec).outer.iter().map(|names| sources(names)).collect())
            .collect();
        Self { set: set.clone(), hasher, keys, values, outer }
    }

    /// Appends the hits of `matches` (all of `batch`), ordered by row.
    pub fn extract(&self, batch: &EventBatch, matches: &[Match], out: &mut Vec<Hit>) {
        let from = out.len();
        let mut hasher = self.hasher.clone();
        for found in matches {
            let uses = self.set.uses(found.rule);
            if uses.is_empty() {
                continue;
            }
            let row = batch.row(found.row as usize);
            for (spec, slot) in uses {
                out.extend(self.hit(&mut hasher, &row, *spec, *slot));
            }
        }
        out[from..].sort_by_key(|h| (h.id, h.spec, h.slot));
    }

    fn hit(&self, hasher: &mut KeyHasher, row: &EventView<'_>, spec: u32, slot: u8) -> Option<Hit> {
        let parts = read(row, &self.keys[spec as usize][usize::from(slot)])?;
        let key = hasher.key(parts.iter().map(|p| &**p));
        let node = self.set.node(spec);
        let value = if node.spec.kind.reads_value() {
            let parts = read(row, &self.values[spec as usize][usize::from(slot)])?;
            if node.spec.kind.is_numeric() {
                let number: f64 = std::str::from_utf8(parts.first()?).ok()?.trim().parse().ok()?;
                HitValue::Number(Some(number).filter(|n| n.abs() <= NUMBER_MAX)?)
            } else {
                HitValue::Print(hasher.print(parts.iter().map(|p| &**p)))
            }
        } else {
            HitValue::None
        };
        let outer = &self.outer[spec as usize];
        let outer = (!outer.is_empty()).then(|| {
            let mut key = |sources: &Vec<Source>| {
                let parts = read(row, sources)?;
                Some(hasher.key(parts.iter().map(|p| &**p)))
            };
            outer.iter().map(&mut key).collect()
        });
        Some(Hit {
            spec,
            slot,
            id: row.id(),
            event_ns: row.event_ns(),
            stream_ns: row.stream_ns(),
            source: source_hash(row.envelope()),
            backfill: row.marks().has(Marks::BACKFILL)
                || row.received_ns().min(row.stream_ns()).saturating_sub(row.event_ns())
                    > HOLD_MAX_NS,
            weight: row.weight(),
            key,
            value,
            outer,
        })
    }
}

fn read<'a>(row: &EventView<'a>, sources: &[Source]) -> Option<Vec<Cow<'a, [u8]>>> {
    sources.iter().map(|s| answer(row, s)).collect()
}

fn answer<'a>(row: &EventView<'a>, source: &Source) -> Option<Cow<'a, [u8]>> {
    let known = source.fields.iter().find_map(|id| match id.is_intrinsic() {
        true => row.intrinsic_text(*id).map(|text| match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }),
        false => row.get(*id).filter(|v| v.kind != event::Kind::Null).map(|v| v.bytes.into()),
    });
    if known.is_some() || !source.fields.is_empty() {
        return known;
    }
    // A name the generation does not know may still be one of the batch's own.
    row.text(&source.name).map(|text| Cow::Owned(text.into_owned().into_bytes()))
}
