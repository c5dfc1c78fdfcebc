//! Which product a source sends, remembered: a plain state machine that the sequencer drives.
//!
//! ```text
//! frozen batches --observe--> source: 200 records of one pack in a row  -> Decision (remember it)
//!                             a remembered source: 1 in 4 of the last 200 of another -> Decision (forget)
//! ```
//! A decision acts only from the control record that carries it on
//! ([`crate::Settings::remembered`]), so that a replay decides alike. What is remembered never
//! changes what a record becomes, only how soon its pack is found: a record that the remembered pack
//! does not recognise is looked at by all.

use event::EventBatch;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

/// Records of one pack in a row after which a source is remembered.
pub const STREAK_RECORDS: u32 = 200;
/// Share of records of other packs, in the last [`STREAK_RECORDS`], at which it is forgotten.
const MISS_SHARE_DIVISOR: u32 = 4;
/// Doublings of the streak that is asked for.
const FORGOTTEN_MAX: u32 = 16;
/// Most sources watched at once; further ones are looked at anew each time.
const SOURCES_MAX: usize = 65_536;
/// Packs that show only that nothing better was found.
const GENERIC: &[&str] = &["json", "kv", "syslog", "text"];

/// What the sniffer wants to be remembered from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Source.
    pub source: String,
    /// Its pack; `None` = no longer one.
    pub pack: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    pack: String,
    streak: u32,
    remembered: bool,
    looked_at: u32,
    missed: u32,
    /// How often it was forgotten: each time it takes twice as many records to be remembered again,
    /// so that a source that changes all the time makes no endless row of decisions.
    forgotten: u32,
}

/// Everything that a [`Sniffer`] knows, in order of the sources' names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnifferState(Vec<(String, Seen)>);

/// Counts packs by source and decides.
#[derive(Default)]
pub struct Sniffer {
    sources: HashMap<String, Seen>,
}

impl Sniffer {
    /// Starts with nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it knows.
    pub fn state(&self) -> SnifferState {
        let mut all: Vec<_> =
            self.sources.iter().map(|(s, seen)| (s.clone(), seen.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        SnifferState(all)
    }

    /// Goes on from what another one knew.
    pub fn restore(state: SnifferState) -> Self {
        Self { sources: state.0.into_iter().collect() }
    }

    /// Takes in a frozen batch. Out: decisions in order of the rows that caused them.
    pub fn observe(&mut self, batch: &EventBatch) -> Vec<Decision> {
        let mut out = Vec::new();
        let Some(field) = batch.id("alcedo.pack") else { return out };
        for row in batch.rows() {
            let Some(pack) = row.get(field) else { continue };
            let source = &*row.envelope().source;
            if !self.sources.contains_key(source) {
                if self.sources.len() >= SOURCES_MAX {
                    continue;
                }
                self.sources.insert(source.to_owned(), Seen::default());
            }
            let Some(seen) = self.sources.get_mut(source) else { continue };
            if let Some(pack) = seen.take(pack.bytes) {
                out.push(Decision { source: source.to_owned(), pack });
            }
        }
        out
    }
}

impl Seen {
    /// One record. Out: a decision, if it makes one.
    fn take(&mut self, pack: &[u8]) -> Option<Option<String>> {
        let is_same = self.pack.as_bytes() == pack;
        if self.remembered {
            self.looked_at += 1;
            self.missed += u32::from(!is_same);
            if self.missed > STREAK_RECORDS / MISS_SHARE_DIVISOR {
                *self = Self { forgotten: self.forgotten + 1, ..Self::default() };
                return Some(None);
            }
            if self.looked_at == STREAK_RECORDS {
                (self.looked_at, self.missed) = (0, 0);
            }
            return None;
        }
        if !is_same {
            self.pack = String::from_utf8_lossy(pack).into_owned();
            self.streak = 0;
        }
        self.streak = self.streak.saturating_add(1);
        let enough = STREAK_RECORDS << self.forgotten.min(FORGOTTEN_MAX);
        if self.streak < enough || GENERIC.contains(&self.pack.as_str()) {
            return None;
        }
        self.remembered = true;
        Some(Some(self.pack.clone()))
    }
}
