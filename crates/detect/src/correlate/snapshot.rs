//! State as bytes, shard by shard, and back.

use super::engine::{Engine, renumbering};
use super::keys::SpecState;
use super::spec::{Spec, Target};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Version of the bytes. A change of any stored struct changes it.
const VERSION: u32 = 5;

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    shard: u16,
    lateness_ns: i64,
}

#[derive(Serialize, Deserialize)]
struct Stored<S> {
    id: Arc<str>,
    hash: u128,
    since: i64,
    /// Numbers of the referenced detection rules when it was written.
    rules: Vec<Option<u32>>,
    state: S,
    /// State of the backfill pass, once there was any.
    backfill: Option<S>,
}

/// Why a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot, or damaged.
    #[error("the snapshot of shard {shard} is damaged; replay from an older one or from the start")]
    Damaged {
        /// Which shard was asked for.
        shard: usize,
    },
    /// Written by another version.
    #[error("the snapshot has format {found}, this build reads {VERSION}; replay instead")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Of another shard or under another lateness, which decides what state means.
    #[error("the snapshot belongs to shard {shard} or was written under other settings")]
    Other {
        /// The shard it names.
        shard: u16,
    },
}

impl Engine {
    /// The state of one shard (`0..SHARDS`), to be stored with the offset of the last event worked
    /// in. The same state gives the same bytes.
    pub fn snapshot(&self, shard: usize) -> Vec<u8> {
        let head =
            Head { version: VERSION, shard: shard as u16, lateness_ns: self.settings.lateness_ns };
        let stored: Vec<Stored<&SpecState>> = self
            .set
            .specs()
            .zip(&self.shards[shard].specs)
            .zip(&self.since)
            .enumerate()
            .map(|(index, ((spec, state), since))| Stored {
                id: spec.id.clone(),
                hash: spec.hash,
                since: *since,
                rules: rules_of(spec),
                state,
                backfill: self.shards[shard].backfill.get(index),
            })
            .collect();
        // Writing to memory cannot fail; an empty snapshot would be refused on the way back.
        postcard::to_stdvec(&(head, stored)).unwrap_or_default()
    }

    /// Puts back what [`Engine::snapshot`] gave. Correlations whose id or hash is not in the present
    /// set are left out, ones that were not in the snapshot start empty; returns the ids of the
    /// former.
    ///
    /// # Errors
    /// [`SnapshotError`]; the shard is then as it was before.
    pub fn restore(&mut self, shard: usize, bytes: &[u8]) -> Result<Vec<Arc<str>>, SnapshotError> {
        let damaged = SnapshotError::Damaged { shard };
        let (head, rest) = postcard::take_from_bytes::<Head>(bytes).map_err(|_| damaged.clone())?;
        if head.version != VERSION {
            return Err(SnapshotError::Version { found: head.version });
        }
        if usize::from(head.shard) != shard || head.lateness_ns != self.settings.lateness_ns {
            return Err(SnapshotError::Other { shard: head.shard });
        }
        let stored: Vec<Stored<SpecState>> =
            postcard::from_bytes(rest).map_err(|_| damaged.clone())?;
        let places: HashMap<Arc<str>, usize> =
            self.set.specs().enumerate().map(|(i, s)| (s.id.clone(), i)).collect();
        let numbers = self.numbers(&stored);
        let empty = || self.set.specs().map(|_| SpecState::default()).collect::<Vec<_>>();
        let (mut specs, mut backfill) = (empty(), Vec::new());
        if stored.iter().any(|s| s.backfill.is_some()) {
            backfill = empty();
        }
        let mut lost = Vec::new();
        for old in stored {
            let index = places.get(&old.id).copied();
            let fits = index.filter(|i| self.set.node(*i as u32).spec.hash == old.hash);
            let Some(index) = fits else {
                lost.push(old.id);
                continue;
            };
            let node = self.set.node(index as u32);
            for (state, place) in [(Some(old.state), &mut specs), (old.backfill, &mut backfill)] {
                if let Some(mut state) = state {
                    state.renumber(&numbers);
                    state.rebuild(node);
                    place[index] = state;
                }
            }
            self.since[index] = old.since;
        }
        (self.shards[shard].specs, self.shards[shard].backfill) = (specs, backfill);
        Ok(lost)
    }

    fn numbers(&self, stored: &[Stored<SpecState>]) -> HashMap<u32, u32> {
        let now: HashMap<&str, &Spec> = self.set.specs().map(|s| (&*s.id, s)).collect();
        let before: Vec<Spec> = stored
            .iter()
            .filter_map(|old| {
                let mut spec = (*now.get(&*old.id)?).clone();
                if spec.hash != old.hash || spec.references.len() != old.rules.len() {
                    return None;
                }
                for (reference, rule) in spec.references.iter_mut().zip(&old.rules) {
                    if let (Target::Rule(number), Some(old)) = (&mut reference.target, rule) {
                        *number = *old;
                    }
                }
                Some(spec)
            })
            .collect();
        renumbering(before.iter(), &now)
    }
}

fn rules_of(spec: &Spec) -> Vec<Option<u32>> {
    let of = |t: &Target| match t {
        Target::Rule(rule) => Some(*rule),
        Target::Correlation(_) => None,
    };
    spec.references.iter().map(|r| of(&r.target)).collect()
}
