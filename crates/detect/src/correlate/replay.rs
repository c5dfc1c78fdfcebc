//! Correlations after the fact: hits of finished logs, in the order of their events.

use super::engine::Engine;
use super::firing::{Firing, FiringKind};
use super::hit::Hit;
use super::settings::Settings;
use super::spec::SpecSet;
use hashbrown::HashMap;
use std::sync::Arc;

/// Hits worked in before the engine is told the time, so that it forgets what can no longer matter.
const HITS_PER_TICK: usize = 16_384;

/// Every episode that the hits make, with its final content, in the order in which they began.
///
/// Event time is stream time here: hits are put in its order first, so neither the order of files
/// nor that of records matters, and nothing is ever late.
pub fn in_event_time(specs: &Arc<SpecSet>, mut hits: Vec<Hit>) -> Vec<Firing> {
    hits.sort_by_key(|h| (h.event_ns, h.id, h.spec, h.slot));
    let mut engine = Engine::new(specs.clone(), Settings::default());
    let mut firings = Vec::new();
    let mut out = Episodes::default();
    for (number, hit) in hits.into_iter().enumerate() {
        let now = hit.event_ns;
        engine.process(&[Hit { stream_ns: now, backfill: false, ..hit }][..], now, &mut firings);
        if number % HITS_PER_TICK == HITS_PER_TICK - 1 {
            engine.tick(now, &mut firings);
        }
        out.take(&mut firings);
    }
    engine.finish(&mut firings);
    out.take(&mut firings);
    out.list.into_iter().flatten().collect()
}

/// The last word on each episode.
#[derive(Default)]
struct Episodes {
    /// An episode that joined an older one leaves a hole.
    list: Vec<Option<Firing>>,
    places: HashMap<(u32, u128, event::EventId), usize>,
}

impl Episodes {
    fn take(&mut self, firings: &mut Vec<Firing>) {
        for firing in firings.drain(..) {
            let key = (firing.rule, firing.key, firing.fired_by);
            let place = self.places.get(&key).copied();
            match (place, firing.kind) {
                (Some(at), FiringKind::MergedInto(_)) => self.list[at] = None,
                (Some(at), _) => self.list[at] = Some(firing),
                (None, FiringKind::New) => {
                    self.places.insert(key, self.list.len());
                    self.list.push(Some(firing));
                }
                (None, _) => {}
            }
        }
    }
}
