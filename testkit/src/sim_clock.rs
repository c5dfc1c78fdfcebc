//! A clock that moves when it is told to.

use crate::Rng;
use journal::Clock;
use parking_lot::Mutex;
use std::sync::Arc;

/// Wall and monotonic time, and chance, all from one seed. Clones share the time.
#[derive(Clone)]
pub struct SimClock(Arc<Mutex<State>>);

struct State {
    wall_ns: i64,
    mono_ns: u64,
    rng: Rng,
}

impl SimClock {
    /// Starts in November 2026.
    pub fn new(seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self(Arc::new(Mutex::new(State { wall_ns: 1_795_000_000_000_000_000, mono_ns: 1, rng })))
    }

    /// Time passes on both clocks.
    pub fn advance(&self, ns: u64) {
        let mut state = self.0.lock();
        state.mono_ns += ns;
        state.wall_ns = state.wall_ns.saturating_add_unsigned(ns);
    }

    /// Somebody sets the wall clock.
    pub fn jump(&self, ns: i64) {
        let mut state = self.0.lock();
        state.wall_ns = state.wall_ns.saturating_add(ns);
    }
}

impl Clock for SimClock {
    fn wall_ns(&self) -> i64 {
        self.0.lock().wall_ns
    }

    fn mono_ns(&self) -> u64 {
        self.0.lock().mono_ns
    }

    fn random(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let mut state = self.0.lock();
        for chunk in bytes.chunks_mut(8) {
            let word = state.rng.draw().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}
