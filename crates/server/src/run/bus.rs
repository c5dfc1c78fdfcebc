//! News for live viewers: they may fall behind and are told so; nobody waits for them.

use event::EventBatch;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::sync::broadcast;

/// Batches a viewer may be behind before it skips: about a second at full load.
const TAIL_BATCHES: usize = 512;
/// Alerts and greetings a viewer may be behind.
const NEWS: usize = 1_024;

/// Something for every open page.
#[derive(Clone, Debug)]
pub enum News {
    /// An alert was made or changed.
    Alert(Arc<Value>),
    /// Many alerts were changed at once.
    ManyAlerts,
    /// A sender was seen for the first time in this run.
    Hello(Arc<Value>),
}

/// The two live channels.
pub struct Bus {
    news: broadcast::Sender<News>,
    tail: broadcast::Sender<Arc<EventBatch>>,
    sampled: AtomicBool,
    batches: AtomicU64,
}

/// Under overload live tails see one batch of so many.
const SAMPLE_ONE_IN: u64 = 16;

/// What whoever follows is told when live tails begin to see a sample, or end to.
pub fn sampling_notice(is_sampled: bool) -> &'static str {
    match is_sampled {
        true => {
            "the server is overloaded: from here on this is a sample, most events are not shown (they \
             are stored and searched as always)"
        }
        false => "the overload is over: all events are shown again",
    }
}

impl Default for Bus {
    fn default() -> Self {
        let (news, tail) = (broadcast::channel(NEWS).0, broadcast::channel(TAIL_BATCHES).0);
        Self { news, tail, sampled: AtomicBool::default(), batches: AtomicU64::default() }
    }
}

impl Bus {
    /// Tells every open page.
    pub fn tell(&self, news: News) {
        let _ = self.news.send(news);
    }

    /// Whether live tails see a sample.
    pub fn sample(&self, sampled: bool) {
        self.sampled.store(sampled, Relaxed);
    }

    /// Whether live tails see a sample now.
    pub fn is_sampled(&self) -> bool {
        self.sampled.load(Relaxed)
    }

    /// Live tails see one batch of so many; 1 is all.
    pub fn sampled_one_in(&self) -> u64 {
        if self.is_sampled() { SAMPLE_ONE_IN } else { 1 }
    }

    /// Shows a batch to every live tail, or one of many while they see a sample.
    pub fn show(&self, batch: &Arc<EventBatch>) {
        let number = self.batches.fetch_add(1, Relaxed);
        let chosen = !self.is_sampled() || number.is_multiple_of(SAMPLE_ONE_IN);
        if chosen && self.tail.receiver_count() > 0 {
            let _ = self.tail.send(batch.clone());
        }
    }

    /// News from now on.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Batches from now on.
    pub fn tail(&self) -> broadcast::Receiver<Arc<EventBatch>> {
        self.tail.subscribe()
    }
}

impl Bus {
    /// Whether anybody listens for news.
    pub fn has_viewers(&self) -> bool {
        self.news.receiver_count() > 0
    }
}
