//! Limits of the engine, each with its reason.

use event::time::SECOND_NS;

/// Number of virtual shards, fixed for the life of a data folder: threads own sets of them, so the
/// number of threads may change while state stays where it is.
pub const SHARDS: usize = 256;
/// Most entries one key of one correlation holds in its window; beyond it neighbours are folded
/// together. 65,536 entries of 56 bytes are 4 MiB for the hottest key.
pub const HITS_PER_KEY_MAX: usize = 65_536;
/// The same for a correlation that another one builds on, which reads it again for evidence.
pub const HITS_PER_CHAINED_KEY_MAX: usize = 4_096;
/// The same for kinds that walk their window (ordered, over correlations): the walk is bounded.
pub const HITS_PER_SCANNED_KEY_MAX: usize = 1_024;
/// Most events listed as evidence of one firing and all its updates; the true count goes with it.
pub const EVIDENCE_MAX: usize = 1_000;
/// The first update of an episode comes with the next tick; after each one the pause doubles from
/// here to [`UPDATE_PAUSE_MAX_NS`], so that a thousand busy episodes are not rewritten every second.
pub const UPDATE_PAUSE_MIN_NS: i64 = SECOND_NS;
/// See [`UPDATE_PAUSE_MIN_NS`].
pub const UPDATE_PAUSE_MAX_NS: i64 = 60 * SECOND_NS;
/// How long windows wait for sources that lag, ns. One hour: a sender that is offline for longer
/// would hold up every absence rule it feeds; what it then brings runs in a pass of its own.
pub const HOLD_MAX_NS: i64 = 3_600 * SECOND_NS;
/// Most bytes of one group-by value that are kept for showing; the whole value decides the key.
pub const KEY_TEXT_MAX: usize = 1_024;
/// Sources remembered per correlation and shard as feeding it; with more of them, every source
/// counts as one.
pub const FEEDS_MAX: usize = 64;
/// One shard may use so much more than its even share while the rule as a whole is within budget: a
/// hot key lives in one shard.
pub(super) const SHARE_FACTOR: usize = 32;
/// Keys looked at when one has to go.
pub(super) const EVICTION_SAMPLE: usize = 16;

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much later than its neighbours an event may arrive and still be put in its place, ns.
    /// Five minutes: as far as an event time may run ahead of the time of receipt, so an event
    /// dated into the future cannot make its successors "too late".
    pub lateness_ns: i64,
    /// How long windows are held open for sources that are known to lag, ns.
    pub hold_max_ns: i64,
    /// Memory of one correlation over all shards, bytes. 64 MiB hold 900,000 keys that have shown
    /// one event, or 100,000 with a dozen each.
    pub bytes_per_rule: usize,
    /// Most remembered values per `first_seen` rule and shard.
    pub seen_per_shard_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lateness_ns: 300 * SECOND_NS,
            hold_max_ns: HOLD_MAX_NS,
            bytes_per_rule: 64 << 20,
            seen_per_shard_max: 65_536,
        }
    }
}

impl Settings {
    /// Budget of one rule in one shard: its even share once the rule as a whole is beyond its
    /// budget, a multiple of it before.
    pub(super) fn shard_bytes(&self, tight: bool) -> usize {
        let share = self.bytes_per_rule / SHARDS;
        if tight { share } else { share.saturating_mul(SHARE_FACTOR) }
    }
}
