//! News for live viewers: they may fall behind and are told so; nobody waits for them.

use event::EventBatch;
use serde_json::Value;
use std::sync::Arc;
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
    /// A sender was seen for the first time in this run.
    Hello(Arc<Value>),
}

/// The two live channels.
pub struct Bus {
    news: broadcast::Sender<News>,
    tail: broadcast::Sender<Arc<EventBatch>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { news: broadcast::channel(NEWS).0, tail: broadcast::channel(TAIL_BATCHES).0 }
    }
}

impl Bus {
    /// Tells every open page.
    pub fn tell(&self, news: News) {
        let _ = self.news.send(news);
    }

    /// Shows a batch to every live tail.
    pub fn show(&self, batch: &Arc<EventBatch>) {
        if self.tail.receiver_count() > 0 {
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
