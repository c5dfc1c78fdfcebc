//! Counters of one source, written by its tasks and read by `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counters of one source. All only grow, except [`SourceStats::connections`] and
        /// [`SourceStats::behind_records`].
        #[derive(Debug, Default)]
        pub struct SourceStats { $($(#[$doc])* pub $name: AtomicU64,)* }

        /// The counters of a source at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct StatsSnapshot { $($(#[$doc])* pub $name: u64,)* }

        impl SourceStats {
            /// Reads every counter (each one exact; together not one instant).
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl StatsSnapshot {
            /// Name and value of every counter, in declaration order, for `/metrics`.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Records taken from the wire, before the journal answered.
    received_records,
    /// Bytes of those records.
    received_bytes,
    /// Records the journal made durable, repeats included.
    durable_records,
    /// Records that were not kept: turned away for good or failed in the journal.
    refused_records,
    /// Requests turned away before their body was read: how many records they had, nobody knows.
    refused_requests,
    /// Times the journal said "not now" and the source waited.
    waits,
    /// Frames or lines over the size limit.
    oversize_records,
    /// Bytes of frames that were skipped for being over the limit.
    oversize_bytes,
    /// Connections open now.
    connections,
    /// Connections ever accepted.
    connections_total,
    /// Connections turned away by a cap.
    connections_refused,
    /// Connections closed for being silent or too slow.
    connections_idle,
    /// Connections closed because all together held too much of incomplete messages.
    connections_holding,
    /// Failed handshakes and logins.
    auth_failures,
    /// Datagrams the kernel dropped because we did not read in time.
    kernel_drops,
    /// Bodies or frames that could not be decoded.
    decode_errors,
    /// Senders that are a copy, or came back from an older state: batches refused for it, and those that
    /// found out themselves.
    forks,
    /// Connections closed because another one goes on with the same numbers.
    displaced,
    /// Records that wait where the source reads from (topics), as it last heard.
    behind_records,
}

impl SourceStats {
    /// Adds `n` to a counter.
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_reads_what_was_added_and_names_are_unique() {
        let stats = SourceStats::default();
        SourceStats::add(&stats.kernel_drops, 3);
        SourceStats::add(&stats.kernel_drops, 4);
        assert_eq!(stats.snapshot().kernel_drops, 7);
        let names: std::collections::BTreeSet<_> = stats.snapshot().each().map(|c| c.0).collect();
        assert_eq!(names.len(), stats.snapshot().each().count());
        assert!(stats.snapshot().each().any(|c| c == ("kernel_drops", 7)));
    }
}
