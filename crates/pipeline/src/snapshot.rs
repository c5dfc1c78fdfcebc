//! Snapshots of the core: its whole memory at one offset, so that a restart replays little.
//!
//! Layout: magic, version, then a postcard-encoded [`Saved`], then CRC32C of all before it.

use crate::generation::Generation;
use crate::headers::{HeaderLog, SavedHeaders};
use crate::joins::JoinLog;
use crate::sequencer::{Core, CoreSettings};
use alert::Desk;
use alert::desk::DeskState;
use detect::correlate::Lags;
use serde::{Deserialize, Serialize};
use shape::{DedupeState, Sniffer, SnifferState};
use std::sync::Arc;
use watch::{Balance, Registry};

const MAGIC: &[u8; 8] = b"ALCSNAP7";

#[derive(Serialize, Deserialize)]
struct Saved {
    next_offset: u64,
    begun_at: Option<u64>,
    stream_ns: i64,
    wall_ns: i64,
    /// One per virtual shard.
    engine: Vec<Vec<u8>>,
    desk: DeskState,
    registry: Registry,
    balance: Balance,
    dedupe: DedupeState,
    headers: SavedHeaders,
    joins: JoinLog,
    sniffer: SnifferState,
    lags: Lags,
    /// Alerts that were folded into others, by id.
    joined: Vec<(String, String)>,
}

/// A snapshot that cannot be used; the core then starts from the oldest record there is.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot of this version, or damaged.
    #[error(
        "the snapshot is damaged or of another version; the journal is replayed from its start"
    )]
    Damaged,
    /// The correlation state does not fit.
    #[error("the correlation state in the snapshot cannot be read: {0}")]
    Engine(String),
}

impl Core {
    /// Everything it remembers.
    pub fn snapshot(&self) -> Vec<u8> {
        let saved = Saved {
            next_offset: self.progress.next_offset,
            begun_at: self.begun_at,
            stream_ns: self.progress.stream_ns,
            wall_ns: self.progress.wall_ns,
            engine: (0..detect::correlate::SHARDS).map(|s| self.engine.snapshot(s)).collect(),
            desk: self.desk.snapshot(),
            registry: self.registry.clone(),
            balance: self.balance.clone(),
            dedupe: self.dedupe.snapshot(),
            headers: self.headers.save(),
            joins: self.joins.clone(),
            sniffer: self.sniffer.state(),
            lags: self.lags.clone(),
            joined: self.joined.iter().map(|(id, into)| (id.clone(), into.clone())).collect(),
        };
        let mut out = MAGIC.to_vec();
        let body = postcard::to_stdvec(&saved).expect("plain data always encodes");
        out.extend_from_slice(&body);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// A core that goes on from a snapshot; rows below its offset are for the store only.
    pub fn restore(
        bytes: &[u8],
        generation: Arc<Generation>,
        settings: CoreSettings,
    ) -> Result<Self, SnapshotError> {
        let saved = decode(bytes).ok_or(SnapshotError::Damaged)?;
        let mut core = Core::new(generation, settings);
        for (shard, state) in saved.engine.iter().enumerate().take(detect::correlate::SHARDS) {
            let restored = core.engine.restore(shard, state);
            restored.map_err(|e| SnapshotError::Engine(e.to_string()))?;
        }
        core.desk = Desk::restore(saved.desk, alert::Limits::default());
        core.registry = saved.registry.restored(core.settings.watch.clone());
        core.balance = saved.balance;
        core.dedupe.restore(saved.dedupe);
        core.headers = HeaderLog::restore(saved.headers);
        core.joins = saved.joins;
        core.sniffer = Sniffer::restore(saved.sniffer);
        core.lags = saved.lags;
        core.joined = saved.joined.into_iter().collect();
        core.progress.next_offset = saved.next_offset;
        core.progress.stream_ns = saved.stream_ns;
        core.progress.wall_ns = saved.wall_ns;
        core.detect_from = saved.next_offset;
        core.begun_at = saved.begun_at;
        Ok(core)
    }
}

impl Core {
    /// A core that marks rows as the one of the snapshot goes on to mark them, and detects nothing:
    /// it gives the store what was left in the journal. Rows have to be read from
    /// [`Core::read_from`] on, or from before it.
    pub fn for_store(
        bytes: Option<&[u8]>,
        generation: Arc<Generation>,
        settings: CoreSettings,
    ) -> Self {
        let mut core = Core::new(generation, settings);
        core.is_for_store = true;
        let Some(saved) = bytes.and_then(decode) else { return core };
        core.dedupe.restore(saved.dedupe);
        core.headers = HeaderLog::restore(saved.headers);
        core.joins = saved.joins;
        core.progress.next_offset = saved.next_offset;
        core.progress.stream_ns = saved.stream_ns;
        core.detect_from = saved.next_offset;
        core.begun_at = saved.begun_at;
        core
    }
}

/// The offset a snapshot goes on from, without loading it.
pub fn next_offset(bytes: &[u8]) -> Option<u64> {
    decode(bytes).map(|saved| saved.next_offset)
}

fn decode(bytes: &[u8]) -> Option<Saved> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32c::crc32c(body).to_le_bytes() != crc {
        return None;
    }
    postcard::from_bytes(body.strip_prefix(MAGIC)?).ok()
}
