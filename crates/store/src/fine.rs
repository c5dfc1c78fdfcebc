//! Times in files: microseconds, which every reader of Parquet knows, and the nanoseconds that they
//! leave in a column beside.
//!
//! ```text
//! in memory   @timestamp  ns
//! in a file   @timestamp  us   alcedo.timestamp_ns  0..=999
//! ```
//! Only the envelope's times have such a column. A field's time that is finer than a microsecond does
//! not fit its column, and stands in the residual like every other value that does not.
//! Files of versions 1 and 2 have nanoseconds in the times' own columns.

use crate::layout::{envelope, time_type};
use arrow::array::{
    Array, ArrayRef, AsArray, PrimitiveArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    UInt16Array,
};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType, UInt16Type};

/// Nanoseconds of a microsecond.
pub(crate) const MICRO_NS: i64 = 1_000;

/// The envelope's times, each with the column of what is left of it.
pub(crate) const RESTS: [(&str, &str); 3] = [
    (envelope::TIMESTAMP, envelope::TIMESTAMP_NS),
    (envelope::INGESTED, envelope::INGESTED_NS),
    (envelope::STREAM, envelope::STREAM_NS),
];

/// Microseconds since 1970-01-01 UTC: a time as a file has it.
pub(crate) fn stored_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Whether a column's type is that of times in files of now.
pub(crate) fn is_stored_so(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// The column that has what is left of a time in the envelope.
pub(crate) fn rest_of(time: &str) -> Option<&'static str> {
    RESTS.iter().find(|(name, _)| *name == time).map(|(_, rest)| *rest)
}

/// The columns of a time: microseconds, and what they leave.
pub(crate) fn split(times_ns: impl Iterator<Item = i64> + Clone) -> (ArrayRef, ArrayRef) {
    let whole = times_ns.clone().map(|ns| ns.div_euclid(MICRO_NS));
    let rest = times_ns.map(|ns| ns.rem_euclid(MICRO_NS) as u16);
    let whole = TimestampMicrosecondArray::from_iter_values(whole).with_timezone("UTC");
    (std::sync::Arc::new(whole), std::sync::Arc::new(UInt16Array::from_iter_values(rest)))
}

/// A time's column in nanoseconds, with what its microseconds leave where there is such a column. None
/// if a column is of another type than it should be. What is not in microseconds comes back as it is.
pub(crate) fn joined(time: &ArrayRef, rest: Option<&ArrayRef>) -> Option<ArrayRef> {
    if !is_stored_so(time.data_type()) {
        return Some(time.clone());
    }
    let micros = time.as_primitive_opt::<TimestampMicrosecondType>()?;
    // The first microsecond that there is begins before the first nanosecond: with its rest, the sum
    // is one that there is again.
    let whole = |us: i64| us.wrapping_mul(MICRO_NS);
    let joined: TimestampNanosecondArray = match rest {
        None => micros.unary(whole),
        Some(rest) => {
            let rest = rest.as_primitive_opt::<UInt16Type>().filter(|r| r.len() == micros.len())?;
            let pairs = micros.values().iter().zip(rest.values());
            let sums = pairs.map(|(us, rest)| whole(*us).wrapping_add(i64::from(*rest)));
            PrimitiveArray::new(sums.collect(), micros.nulls().cloned())
        }
    };
    Some(std::sync::Arc::new(joined.with_data_type(time_type())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimestampNanosecondType;

    /// Scenario: times about the epoch, whole and broken microseconds, the first and the last that
    /// nanoseconds can tell.
    /// Guarantees: each comes back to the nanosecond, and no rest is a microsecond or more.
    #[test]
    fn every_time_comes_back_to_the_nanosecond() {
        let times = [0, 1, -1, 999, 1_000, -1_000, -1_001, 1_700_000_000_123_456_789];
        let times = times.into_iter().chain([i64::MIN, i64::MIN + 1, i64::MAX]);
        let times: Vec<i64> = times.collect();
        let (whole, rest) = split(times.iter().copied());
        assert_eq!(*whole.data_type(), stored_type());
        assert!(rest.as_primitive::<UInt16Type>().values().iter().all(|ns| *ns < 1_000));
        let back = joined(&whole, Some(&rest)).unwrap();
        assert_eq!(*back.data_type(), time_type());
        assert_eq!(back.as_primitive::<TimestampNanosecondType>().values(), &times[..]);
    }
}
