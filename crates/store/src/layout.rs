//! Columns of a stored file: the envelope, one per frequent field, and the rest.
//!
//! ```text
//! alcedo.partition|offset|sub  @timestamp  event.ingested ...  event.original | user.name | ... | alcedo.residual
//! identity                     times                           raw bytes       one per field      JSON triples
//! ```
//! A row's values of a field stand in the field's column only if there is exactly one, of the
//! column's kind, in UTF-8, and writing the column's value as text gives that text back; else all of
//! them stand in the residual, in order. So every reader looks in one of two places and nothing is
//! lost. Numbers, times and truth values have typed columns; addresses stay text, so that another
//! engine compares them as people write them (networks are found by the index beside the file).
//!
//! Rows are sorted by pack, source, module and kind of event, then by host, then by time: what looks
//! alike stands together, which is what compression and the index live from.

use crate::fine;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use event::{Dictionary, FieldType, Kind};
use hashbrown::HashMap;
use std::sync::Arc;

/// Most field columns per file: a footer keeps about 100 bytes per column and row group.
pub(crate) const COLUMNS_MAX: usize = 512;
/// A field unknown to the dictionary needs at least one row in so many to get a column.
pub(crate) const RARE_ONE_IN: u64 = 100;
/// Longest name of a column; longer ones stay in the residual.
const NAME_BYTES_MAX: usize = 200;
/// Rows per row group: small enough to prune, at 3 % more bytes than groups of 128k (measured).
pub(crate) const GROUP_ROWS: usize = 32_768;

/// Version of the files that this program writes; it reads all up to this one.
/// 1: text columns only, raw bytes always there, no index. 2: typed columns, templates, index. 3: times
/// in microseconds, see `fine`.
pub(crate) const FORMAT: u32 = 3;
/// Key of the file's own metadata: [`FORMAT`]; absent in version 1.
pub(crate) const META_FORMAT: &str = "alcedo.format";
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
    /// Nanoseconds that the microseconds of [`TIMESTAMP`] leave, and so on, see `fine`.
    pub(crate) const TIMESTAMP_NS: &str = "alcedo.timestamp_ns";
    pub(crate) const INGESTED_NS: &str = "alcedo.ingested_ns";
    pub(crate) const STREAM_NS: &str = "alcedo.stream_time_ns";
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
    /// What `event.original` is rebuilt from where it is null, see `template`.
    pub(crate) const TEMPLATE: &str = "alcedo.template";
    pub(crate) const RESIDUAL: &str = "alcedo.residual";
    /// Number of envelope columns before the field columns; the residual is last.
    const COUNT: usize = 20;

    /// The same in files of a version of the format; none of one that is not known.
    pub(crate) fn count(format: u32) -> Option<usize> {
        match format {
            // No templates.
            1 => Some(16),
            2 => Some(17),
            super::FORMAT => Some(COUNT),
            _ => None,
        }
    }
}

/// Text with each distinct value stored once.
pub(crate) fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Nanoseconds since 1970-01-01 UTC: a time in memory.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    /// Text, each distinct value stored once.
    Text,
    /// Text that hardly repeats.
    Plain,
    /// Integers of 64 bits.
    Long,
    /// Integers that hardly repeat.
    PlainLong,
    Double,
    Boolean,
    /// Nanoseconds since 1970-01-01 UTC, in files microseconds.
    Time,
}

impl Type {
    /// How a file has it.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Type::Text => text_type(),
            Type::Plain => DataType::Utf8,
            Type::Long | Type::PlainLong => DataType::Int64,
            Type::Double => DataType::Float64,
            Type::Boolean => DataType::Boolean,
            Type::Time => fine::stored_type(),
        }
    }

    /// The type that a stored column has, as far as the schema tells.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Dictionary(..) => Type::Text,
            DataType::Utf8 => Type::Plain,
            DataType::Int64 => Type::Long,
            DataType::Float64 => Type::Double,
            DataType::Boolean => Type::Boolean,
            DataType::Timestamp(..) => Type::Time,
            _ => return None,
        })
    }
}

/// A text as a typed value, if that value's own text is the same.
pub(crate) mod typed {
    use crate::fine::MICRO_NS;
    use crate::stamp::Stamp;
    use event::time;

    pub(crate) fn long(text: &str) -> Option<i64> {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let canonical = match digits {
            [b'0'] => text.len() == 1,
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if canonical { text.parse().ok() } else { None }
    }

    pub(crate) fn double(text: &str) -> Option<f64> {
        let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && text.len() <= 32)?;
        (number.to_string() == text).then_some(number)
    }

    pub(crate) fn boolean(text: &str) -> Option<bool> {
        match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Microseconds since 1970-01-01 UTC.
    pub(crate) fn at_us(text: &str) -> Option<i64> {
        let ns = time::parse_rfc3339(text)?;
        (ns % MICRO_NS == 0 && &*Stamp::exact(ns) == text).then_some(ns / MICRO_NS)
    }
}

/// One field column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldColumn {
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) ty: Type,
}

/// Per name: what was seen in a sample of rows, to choose columns from.
#[derive(Clone, Default)]
pub(crate) struct Usage {
    pub(crate) rows: u64,
    /// Values of each kind, in the order of [`Kind`].
    pub(crate) kinds: [u64; 5],
    /// Values that each type could hold: long, double, boolean, time.
    pub(crate) fits: [u64; 4],
    /// Hashes of the values.
    pub(crate) distinct: hashbrown::HashSet<u64>,
}

impl Usage {
    fn most(&self) -> usize {
        // Null never has a column: a column's null means absent.
        (1..KINDS.len()).max_by_key(|k| (self.kinds[*k], *k)).unwrap_or(4)
    }

    /// Which columns are typed: those whose values nearly all fit, as the dictionary or their own
    /// kind says that they should.
    fn ty(&self, declared: Option<FieldType>) -> Type {
        let kind = KINDS[self.most()];
        let values: u64 = self.kinds[1..].iter().sum();
        let fit = |at: usize| self.fits[at] * 100 >= values * 99;
        let known = |ty: FieldType| declared == Some(ty);
        let free = declared.is_none();
        let repeats = |share: u64| (self.distinct.len() as u64) * 100 <= values * share;
        if (known(FieldType::Long) || free && kind == Kind::Int) && fit(0) {
            return if repeats(50) { Type::Long } else { Type::PlainLong };
        }
        if (known(FieldType::Double) || free && kind == Kind::Float) && fit(1) {
            return Type::Double;
        }
        if (known(FieldType::Boolean) || free && kind == Kind::Bool) && fit(2) {
            return Type::Boolean;
        }
        if known(FieldType::Date) && fit(3) {
            return Type::Time;
        }
        if repeats(90) { Type::Text } else { Type::Plain }
    }
}

const KINDS: [Kind; 5] = [Kind::Null, Kind::Bool, Kind::Int, Kind::Float, Kind::Str];

/// Chooses the columns for `rows` rows whose names are used so. Deterministic.
pub(crate) fn choose(
    usage: &HashMap<Box<str>, Usage>,
    rows: u64,
    dict: &Dictionary,
) -> Vec<FieldColumn> {
    let envelope = envelope_schema();
    let taken = |name: &str| envelope.iter().any(|f| f.name() == name);
    let mut list: Vec<(&str, &Usage)> = usage
        .iter()
        .map(|(name, usage)| (&**name, usage))
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
        .map(|(name, usage)| FieldColumn {
            name: name.into(),
            kind: KINDS[usage.most()],
            ty: usage.ty(dict.id(name).map(|id| dict.kind(id))),
        })
        .collect()
}

fn envelope_schema() -> Vec<Field> {
    use envelope::*;
    let text = |name: &str| Field::new(name, text_type(), false);
    let mut out = vec![
        Field::new(PARTITION, DataType::UInt32, false),
        Field::new(OFFSET, DataType::UInt64, false),
        Field::new(SUB, DataType::UInt32, false),
        Field::new(TIMESTAMP, fine::stored_type(), false),
        Field::new(INGESTED, fine::stored_type(), false),
        Field::new(STREAM, fine::stored_type(), false),
        Field::new(TIMESTAMP_NS, DataType::UInt16, false),
        Field::new(INGESTED_NS, DataType::UInt16, false),
        Field::new(STREAM_NS, DataType::UInt16, false),
        Field::new(WEIGHT, DataType::UInt32, false),
        Field::new(MARKS, DataType::UInt16, false),
        text(SOURCE),
        text(IDENTITY),
        text(PEER),
        text(PROTOCOL),
        Field::new(CONNECTION, DataType::UInt64, false),
        text(PATH),
        text(PACK),
        Field::new(ORIGINAL, DataType::Binary, true),
        Field::new(TEMPLATE, text_type(), true),
    ];
    debug_assert_eq!(Some(out.len()), count(FORMAT));
    out.push(Field::new(RESIDUAL, DataType::Utf8, true));
    out
}

/// The file's schema: envelope, fields, residual.
pub(crate) fn schema(columns: &[FieldColumn]) -> Arc<Schema> {
    let mut fields = envelope_schema();
    let residual = fields.pop();
    fields.extend(columns.iter().map(|c| Field::new(&*c.name, c.ty.data_type(), true)));
    fields.extend(residual);
    Arc::new(Schema::new(fields))
}
