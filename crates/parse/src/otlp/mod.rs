//! OTLP logs: an export request, in protobuf or in JSON, to one JSON text per log record.
//!
//! ```text
//! ExportLogsServiceRequest --protobuf|json--> resource, scope, log records --record--> RawBatch
//! ```
//!
//! A record is its log record with the resource and the scope that it came under: who reads the record
//! has all of it. Names are those of OTLP's JSON; attributes and maps are objects, not lists of keys and
//! values, and a value is itself without a name for its type:
//!
//! ```text
//! {"timeUnixNano":"1795424400000000000","severityNumber":9,"severityText":"INFO","body":"text",
//!  "attributes":{"user.name":"eve"},"traceId":"5b8e..","resource":{"attributes":{"host.name":"web1"}},
//!  "scope":{"name":"app.auth"}}
//! ```
//!
//! `severityNumber` is always there, all else where it is set. Times are text, as OTLP's JSON has them;
//! integers keep all 64 bits, bytes are base64, numbers that JSON lacks are `NaN`, `Infinity`, `-Infinity`.
//! Both forms of one request give the same texts. Invariants: one pass over values whatever they hold, no tree
//! in memory, output within [`Limits`]; bytes of a text that are no UTF-8 stay as they are; unknown fields
//! are passed over; lists and maps nested deeper than [`NESTING_MAX`] are kept as text.
//! Not here: what a record means (crate `shape`), what the sender is told.

mod json;
mod protobuf;
mod record;

use crate::ParseError;
use event::RawBatch;
use record::{Fold, Stop};

/// Deepest nesting of lists and maps in a value that is taken apart. What lies deeper is one text: base64 of its
/// protobuf, or its JSON. Half of what JSON is taken apart to, because records are JSON inside others.
pub const NESTING_MAX: usize = crate::json::DEPTH_MAX / 2;

/// The two encodings of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// How much one request may become. A resource of a megabyte above a million records would be a terabyte.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest record, bytes of JSON.
    pub record_bytes_max: usize,
    /// All records of a request, bytes of JSON; below 4 GiB.
    pub batch_bytes_max: usize,
    /// Most records of a request.
    pub records_max: usize,
}

/// What a request held beyond the limits. Its other records are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Log records.
    pub records: u64,
    /// Their bytes as sent, without resource and scope.
    pub bytes: u64,
}

/// Appends the log records of a request to `batch`, in their order, as received at `now_ns`.
///
/// # Errors
/// [`ParseError::Expected`] with the offset where `body` is no request; what `batch` holds then is to be
/// thrown away.
pub fn read(
    form: Form,
    body: &[u8],
    limits: &Limits,
    now_ns: i64,
    batch: &mut RawBatch,
) -> Result<Rejected, ParseError> {
    let mut fold = Fold::new(batch, *limits, now_ns);
    let done = match form {
        Form::Protobuf => protobuf::request(body, &mut fold),
        Form::Json => json::request(body, &mut fold),
    };
    match done {
        Ok(()) => Ok(fold.rejected),
        Err(Stop::Broken(error)) => Err(error),
        // What has no room is counted where it is written.
        Err(Stop::Full) => Err(ParseError::TooLong {
            format: "OTLP",
            at: 0,
            what: "the request",
            limit: limits.batch_bytes_max,
        }),
    }
}
