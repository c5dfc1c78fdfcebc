//! Sinks: where finished payloads go, and what each promises.

pub mod file;
pub mod webhook;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A place payloads are delivered to. [`crate::outbox::Outbox`] drives it: one payload at a time,
/// in order, again after a failure.
pub trait Sink: Send + Sync {
    /// Delivers `payload` (one JSON document). `key` is the same whenever the same payload is
    /// offered again, so that a receiver can drop repeats. `Ok` means the receiver has it.
    fn deliver<'a>(&'a self, payload: &'a [u8], key: &'a str) -> Delivering<'a>;
}

/// A delivery under way.
pub type Delivering<'a> = Pin<Box<dyn Future<Output = Result<(), DeliverError>> + Send + 'a>>;

/// A delivery that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DeliverError {
    /// Whether the same payload may succeed later.
    pub retryable: bool,
    /// The pause the receiver asked for.
    pub retry_after: Option<Duration>,
    /// What happened, without secrets: addresses of receivers often hold some.
    pub what: String,
}

/// One kind of sink.
#[derive(Clone, Copy, Debug)]
pub struct SinkKind {
    /// Name in configuration.
    pub name: &'static str,
    /// One line for people.
    pub doc: &'static str,
}

/// Every kind of sink.
pub const SINKS: &[SinkKind] = &[
    SinkKind {
        name: "webhook",
        doc: "HTTP POST of one JSON document, with an Idempotency-Key; retried until answered.",
    },
    SinkKind { name: "file", doc: "One JSON document per line, on disk before it counts as sent." },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_unique_names_and_a_doc_line() {
        let names: std::collections::BTreeSet<_> = SINKS.iter().map(|k| k.name).collect();
        assert_eq!(names.len(), SINKS.len());
        for kind in SINKS {
            assert!(kind.doc.ends_with('.') && !kind.doc.contains('\n'), "{}", kind.name);
        }
    }
}
