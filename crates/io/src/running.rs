//! A started source: where it listens, and how it stops without losing what it has read.

use crate::intake::Budget;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long [`Running::stop`] waits for tasks and for durability. A journal that does not answer
/// for this long will not answer before the service manager kills us either.
pub const STOP_WAIT: Duration = Duration::from_secs(20);

/// A started source. Dropping it leaves the source running; call [`Running::stop`].
#[derive(Debug)]
pub struct Running {
    /// Kind, as in [`crate::SOURCES`].
    pub kind: &'static str,
    /// Bound address; port 0 where nothing listens.
    pub address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) budget: Budget,
}

/// How a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All that was read is durable (or was counted as refused).
    Clean,
    /// This many bytes had no answer from the journal when the wait was over.
    Unanswered {
        /// Bytes still charged to the source's budget.
        bytes: usize,
    },
}

impl Running {
    /// A source without tasks yet, with its budget.
    pub fn new(kind: &'static str, address: SocketAddr, budget: Budget) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { kind, address, stop, tasks, budget }
    }

    /// What fires when the source is to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a part of the source on a thread of its own, within a runtime; a stop waits for it.
    pub fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.tasks.spawn_blocking(work);
    }

    /// Stops accepting, hands over what was read, and waits until it is durable, at most
    /// [`STOP_WAIT`].
    pub async fn stop(self) -> Drained {
        self.stop.cancel();
        self.tasks.close();
        let finished = async {
            self.tasks.wait().await;
            self.budget.drained().await;
        };
        match tokio::time::timeout(STOP_WAIT, finished).await {
            Ok(()) => Drained::Clean,
            Err(_) => Drained::Unanswered { bytes: self.budget.in_flight_bytes() },
        }
    }
}
