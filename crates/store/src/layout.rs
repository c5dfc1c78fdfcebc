//! Columns of a stored file: the envelope, one per frequent field, and the rest.
//!
//! ```text
//! alcedo.partition|offset|sub  @timestamp  event.ingested ...  event.original | user.name | ... | alcedo.residual
//! identity                     times                           raw bytes       one per field      JSON triples
//! ```
//! A row's values of a field stand in the field's column only if there is exactly one, of the
//! column's kind, in UTF-8; else all of them stand in the residual, in order. So every reader looks
//! in one of two places and nothing is lost.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use event::{Dictionary, FieldType, Kind};
use hashbrown::HashMap;
use std::sync::Arc;

/// Most field columns per file: a footer keeps about 100 bytes per column and row group.
pub(crate) const COLUMNS_MAX: usize = 512;
/// A field unknown to the dictionary needs at least one row in so many to get a column.
const RARE_ONE_IN: u64 = 100;
/// Longest name of a column; longer ones stay in the residual.
const NAME_BYTES_MAX: usize = 200;
/// Rows per row group: small enough to prune, at 3 % more bytes than groups of 128k (measured).
pub(crate) const GROUP_ROWS: usize = 32_768;

/// Key of the file's own metadata: kinds of the field columns, JSON object name -> letter.
pub(crate) const META_KINDS: &str = "alcedo.kinds";
/// Key: names that occur in the residual, JSON array; `null` when there are too many.
pub(crate) const META_RESIDUAL: &str = "alcedo.residual_names";
/// Most names listed under [`META_RESIDUAL`].
pub(crate) const RESIDUAL_NAMES_MAX: usize = 4_096;

/// The envelope columns in file order; fields of these names never get a column of their own.
pub(crate) mod envelope {
    pub(crate) const PARTITION: &str = "alcedo.partition";
    pub(crate) const OFFSET: &str = "alcedo.offset";
    pub(crate) const SUB: &str = "alcedo.sub";
    pub(crate) const TIMESTAMP: &str = "@timestamp";
    pub(crate) const INGESTED: &str = "event.ingested";
    pub(crate) const STREAM: &str = "alcedo.stream_time";
    pub(crate) const WEIGHT: &str = "event.count";
    pub(crate) const MARKS: &str = "alcedo.marks";
    pub(crate) const SOURCE: &str = "alcedo.source";
    pub(crate) const IDENTITY: &str = "alcedo.identity";
    pub(crate) const PEER: &str = "log.source.address";
    pub(crate) const PROTOCOL: &str = "alcedo.protocol";
    pub(crate) const CONNECTION: &str = "alcedo.connection";
    pub(crate) const PATH: &str = "alcedo.path";
    pub(crate) const PACK: &str = "alcedo.pack";
    pub(crate) const ORIGINAL: &str = "event.original";
    pub(crate) const RESIDUAL: &str = "alcedo.residual";
    /// Number of envelope columns before the field columns; the residual is last.
    pub(crate) const COUNT: usize = 16;
}

/// Text with each distinct value stored once.
pub(crate) fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Nanoseconds since 1970-01-01 UTC.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// One field column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldColumn {
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    /// Whether a bloom filter is worth its bytes.
    pub(crate) bloom: bool,
}

/// Per name: rows and kinds seen, to choose columns from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) rows: u64,
    /// Values of each kind, in the order of [`Kind`].
    pub(crate) kinds: [u64; 5],
}

const KINDS: [Kind; 5] = [Kind::Null, Kind::Bool, Kind::Int, Kind::Float, Kind::Str];

/// Chooses the columns for `rows` rows whose names are used so. Deterministic.
pub(crate) fn choose(
    usage: &HashMap<Box<str>, Usage>,
    rows: u64,
    dict: &Dictionary,
) -> Vec<FieldColumn> {
    let taken = |name: &str| envelope_schema().iter().any(|f| f.name() == name);
    let mut list: Vec<(&str, Usage)> = usage
        .iter()
        .map(|(name, usage)| (&**name, *usage))
        .filter(|(name, usage)| {
            let frequent = dict.id(name).is_some() || usage.rows * RARE_ONE_IN >= rows;
            let has_text = usage.kinds[1..].iter().any(|n| *n > 0);
            frequent && has_text && !name.is_empty() && name.len() <= NAME_BYTES_MAX && !taken(name)
        })
        .collect();
    list.sort_by(|a, b| b.1.rows.cmp(&a.1.rows).then(a.0.cmp(b.0)));
    list.truncate(COLUMNS_MAX);
    list.sort_by(|a, b| a.0.cmp(b.0));
    list.into_iter()
        .map(|(name, usage)| {
            // Null never has a column: a column's null means absent.
            let kind = (1..KINDS.len()).max_by_key(|k| (usage.kinds[*k], *k)).unwrap_or(4);
            let ip = dict.id(name).is_some_and(|id| dict.kind(id) == FieldType::Ip);
            FieldColumn { name: name.into(), kind: KINDS[kind], bloom: ip || is_needle(name) }
        })
        .collect()
}

/// Fields that people search for one value of.
fn is_needle(name: &str) -> bool {
    name.contains("hash.")
        || name.ends_with("user.name")
        || name.ends_with("user.id")
        || name.ends_with(".entity_id")
}

fn envelope_schema() -> Vec<Field> {
    use envelope::*;
    let text = |name: &str| Field::new(name, text_type(), false);
    let mut out = vec![
        Field::new(PARTITION, DataType::UInt32, false),
        Field::new(OFFSET, DataType::UInt64, false),
        Field::new(SUB, DataType::UInt32, false),
        Field::new(TIMESTAMP, time_type(), false),
        Field::new(INGESTED, time_type(), false),
        Field::new(STREAM, time_type(), false),
        Field::new(WEIGHT, DataType::UInt32, false),
        Field::new(MARKS, DataType::UInt16, false),
        text(SOURCE),
        text(IDENTITY),
        text(PEER),
        text(PROTOCOL),
        Field::new(CONNECTION, DataType::UInt64, false),
        text(PATH),
        text(PACK),
        Field::new(ORIGINAL, DataType::Binary, false),
    ];
    debug_assert_eq!(out.len(), COUNT);
    out.push(Field::new(RESIDUAL, DataType::Utf8, true));
    out
}

/// The file's schema: envelope, fields, residual.
pub(crate) fn schema(columns: &[FieldColumn]) -> Arc<Schema> {
    let mut fields = envelope_schema();
    let residual = fields.pop();
    fields.extend(columns.iter().map(|c| Field::new(&*c.name, text_type(), true)));
    fields.extend(residual);
    Arc::new(Schema::new(fields))
}
