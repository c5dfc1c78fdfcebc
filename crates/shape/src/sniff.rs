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

/// Records of one pack in a row after which a source is remembered.
pub const STREAK_RECORDS: u32 = 200;
/// Share of records of other packs, in the last [`STREAK_RECORDS`], at which it is forgotten.
const MISS_SHARE_DIVISOR: u32 = 4;
/// Most sources watched at once; further ones are looked at anew each time.
const SOURCES_MAX: usize = 65_536;
/// Packs that show only that nothing better was found.
const GENERIC: &[&str] = &["json", "kv", "syslog", "text"];

/// What the sniffer wants to be remembered from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Source.
    pub source: String,
    /// Its pack; `None` = no longer one.
    pub pack: Option<String>,
}

#[derive(Default)]
struct Seen {
    pack: String,
    streak: u32,
    remembered: bool,
    looked_at: u32,
    missed: u32,
}

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
                *self = Self::default();
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
        self.streak += 1;
        if self.streak < STREAK_RECORDS || GENERIC.contains(&self.pack.as_str()) {
            return None;
        }
        self.remembered = true;
        Some(Some(self.pack.clone()))
    }
}
