//! A thread that works until it is told to end.

use crate::exit::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread, as whoever started it holds it.
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The thread, as its work sees it.
pub struct Running(Arc<AtomicBool>);

impl Background {
    /// Starts a thread of this name.
    pub fn start(
        name: &str,
        work: impl FnOnce(&Running) + Send + 'static,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let running = Running(stop.clone());
        let named = std::thread::Builder::new().name(name.to_owned());
        let thread = named.spawn(move || work(&running))?;
        Ok(Self { stop, thread })
    }

    /// As [`Background::start`], for work that nobody waits for: all other threads go first.
    pub fn start_behind(
        name: &str,
        work: impl FnOnce(&Running) + Send + 'static,
    ) -> Result<Self, Failure> {
        Self::start(name, |running| {
            precedence::step_back();
            work(running);
        })
    }

    /// Ends it: wakes it, and waits until its work has returned.
    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

impl Running {
    /// Whether the work has to go on.
    pub fn goes_on(&self) -> bool {
        !self.0.load(Ordering::SeqCst)
    }

    /// Set when the work has to end: what may stop a search.
    pub fn stopping(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Sleeps so long, or until it has to end.
    pub fn rest(&self, pause: Duration) {
        if self.goes_on() {
            std::thread::park_timeout(pause);
        }
    }
}
