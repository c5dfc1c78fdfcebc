//! Limits of the engine, each with its reason.

use event::time::SECOND_NS;

/// Number of virtual shards, fixed for the life of a data folder: threads own sets of them, so the
/// number of threads may change while state stays where it is.
pub const SHARDS: usize = 256;
/// Most entries one key of one correlation holds in its window; beyond it neighbours are folded
/// together. 65,536 entries of 64 bytes are 4 MiB for the hottest key.
pub const HITS_PER_KEY_MAX: usize = 65_536;
/// The same for a correlation that another one builds on, which reads it again for evidence.
pub const HITS_PER_CHAINED_KEY_MAX: usize = 4_096;
/// The same for kinds that walk their window (ordered, chained, percentile): the walk is bounded.
pub const HITS_PER_SCANNED_KEY_MAX: usize = 1_024;
/// Most events listed as evidence of one firing and all its updates; the true count goes with it.
pub const EVIDENCE_MAX: usize = 1_000;
/// The first update of an episode comes with the next tick; after each one the pause doubles from
/// here to [`UPDATE_PAUSE_MAX_NS`], so that a thousand busy episodes are not rewritten every second.
pub const UPDATE_PAUSE_MIN_NS: i64 = SECOND_NS;
/// See [`UPDATE_PAUSE_MIN_NS`].
pub const UPDATE_PAUSE_MAX_NS: i64 = 60 * SECOND_NS;
/// Most bytes of one group-by value that are kept for showing; the whole value decides the key.
pub const KEY_TEXT_MAX: usize = 1_024;
/// Keys looked at when one has to go.
pub(super) const EVICTION_SAMPLE: usize = 16;

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much later than its neighbours an event may arrive and still be put in its place, ns.
    /// Five minutes: as far as an event time may run ahead of the time of receipt, so an event
    /// dated into the future cannot make its successors "too late".
    pub lateness_ns: i64,
    /// Most keys per correlation and shard.
    pub keys_per_shard_max: usize,
    /// Most entries over all keys per correlation and shard.
    pub entries_per_shard_max: usize,
    /// Most remembered values per `first_seen` rule and shard.
    pub seen_per_shard_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lateness_ns: 300 * SECOND_NS,
            keys_per_shard_max: 16_384,
            entries_per_shard_max: 131_072,
            seen_per_shard_max: 65_536,
        }
    }
}
