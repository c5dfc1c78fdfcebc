//! Which rules are paused at which offset. A decision is asked for by the pipeline, written into the
//! journal as a control record, and acts from that record on, live and in every replay.

use super::generations::{Control, write_synced};
use detect::Pausing;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// Decisions that are kept; of more the oldest go, which only a replay from before them would miss.
const DECISIONS_MAX: usize = 8_192;

/// All decisions of a data folder.
pub struct Pauses {
    path: PathBuf,
    /// By the offset of the record.
    decided: Mutex<Vec<(u64, Pausing)>>,
    /// On the way: written, and not yet reached by the pipeline.
    asked: Mutex<Vec<Pausing>>,
}

impl Pauses {
    /// Those kept in a file, which may not exist yet.
    pub fn open(path: PathBuf) -> Self {
        let bytes = std::fs::read(&path).ok();
        let decided = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, decided: Mutex::new(decided.unwrap_or_default()), asked: Mutex::default() }
    }

    /// The rules that are paused by records before `offset`.
    pub fn before(&self, offset: u64) -> Vec<Pausing> {
        let mut out: Vec<Pausing> = Vec::new();
        for (_, decision) in self.decided.lock().iter().filter(|(at, _)| *at < offset) {
            out.retain(|p| p.rule != decision.rule);
            if decision.until_ns.is_some() {
                out.push(decision.clone());
            }
        }
        out
    }

    /// The rules that are paused.
    pub fn now(&self) -> Vec<Pausing> {
        self.before(u64::MAX)
    }

    /// The control record for a decision; none if it is on the way or in force.
    pub fn record_of(&self, decision: &Pausing) -> Option<Vec<u8>> {
        let mut asked = self.asked.lock();
        let is_on_the_way = asked.iter().any(|a| says_the_same(a, decision));
        let paused = self.now().into_iter().find(|p| p.rule == decision.rule);
        let is_in_force = match paused {
            Some(paused) => says_the_same(&paused, decision),
            None => decision.until_ns.is_none(),
        };
        if is_on_the_way || is_in_force {
            return None;
        }
        asked.push(decision.clone());
        serde_json::to_vec(&Control::Pause { pause: decision.clone() }).ok()
    }

    /// The record of a decision was not taken: it may be asked for again.
    pub fn not_recorded(&self, decision: &Pausing) {
        self.asked.lock().retain(|a| !says_the_same(a, decision));
    }

    /// Takes note of a decision that stands in the journal.
    pub(super) fn decided(&self, offset: u64, decision: Pausing) {
        self.not_recorded(&decision);
        let mut decided = self.decided.lock();
        if decided.iter().any(|(at, _)| *at == offset) {
            return;
        }
        decided.push((offset, decision));
        decided.sort_by_key(|(at, _)| *at);
        let excess = decided.len().saturating_sub(DECISIONS_MAX);
        decided.drain(..excess);
        let text = serde_json::to_vec(&*decided).unwrap_or_default();
        if let Err(error) = write_synced(&self.path, &text) {
            tracing::error!(%error, "which rules are paused is known until the next start only");
        }
    }

    /// Why a rule is paused, if it is.
    pub fn of(paused: &[Pausing], id: &Arc<str>, hash: &Arc<str>) -> Option<Pausing> {
        paused.iter().find(|p| p.rule == *id && p.hash == *hash).cloned()
    }
}

fn says_the_same(a: &Pausing, b: &Pausing) -> bool {
    a.rule == b.rule && a.hash == b.hash && a.until_ns.is_some() == b.until_ns.is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Scenario: a rule is asked to be paused, the record is refused, asked for again, reached, read a
    /// second time in a replay; then the pause ends, and the folder is opened again.
    /// Guarantees: one record at a time is asked for, none for what is so already; at every offset the
    /// rules are paused that the records before it say, also after a restart.
    #[test]
    fn a_pause_is_recorded_once_and_holds_by_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("paused.json");
        let pauses = Pauses::open(path.clone());
        let pause = Pausing {
            rule: "r".into(),
            hash: "h".into(),
            until_ns: Some(600),
            work_per_event: 26_400.5,
            allowed: 2_000.0,
        };
        let end = pause.lifted();
        assert!(pauses.record_of(&end).is_none());
        assert!(pauses.record_of(&pause).is_some() && pauses.record_of(&pause).is_none());
        pauses.not_recorded(&pause);
        assert!(pauses.record_of(&pause).is_some());
        pauses.decided(10, pause.clone());
        pauses.decided(10, pause.clone());
        assert!(pauses.record_of(&pause).is_none() && pauses.record_of(&end).is_some());
        pauses.decided(20, end);
        let kept =
            [(10, vec![]), (11, vec![pause.clone()]), (20, vec![pause.clone()]), (21, vec![])];
        for pauses in [pauses, Pauses::open(path)] {
            for (offset, paused) in &kept {
                assert_eq!(pauses.before(*offset), *paused, "{offset}");
            }
            assert!(pauses.record_of(&pause).is_some());
        }
    }
}
