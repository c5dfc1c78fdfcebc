//! News for live viewers: they may fall behind and are told so; nobody waits for them.

use event::EventBatch;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::sync::{broadcast, watch};

/// Batches a live tail may be behind before it skips: about a second at full load.
const TAIL_BATCHES: usize = 512;
/// Their memory, bytes: viewers hold batches that the store has written and given up.
const TAIL_BYTES: usize = 16 << 20;
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
    tail: watch::Sender<u64>,
    shown: Arc<Mutex<Shown>>,
    sampled: AtomicBool,
    batches: AtomicU64,
}

/// The last batches, for tails that have not seen them yet.
#[derive(Default)]
struct Shown {
    /// Number of the first one that is kept.
    first: u64,
    batches: VecDeque<Arc<EventBatch>>,
    bytes: usize,
}

impl Shown {
    /// Number of the next one.
    fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    fn push(&mut self, batch: &Arc<EventBatch>) -> u64 {
        self.bytes += batch.size_bytes();
        self.batches.push_back(batch.clone());
        self.keep(TAIL_BATCHES, TAIL_BYTES);
        self.end()
    }

    /// Lets go of all but the last so many, with so many bytes.
    fn keep(&mut self, count: usize, bytes: usize) {
        while self.batches.len() > count || self.bytes > bytes {
            let Some(batch) = self.batches.pop_front() else { return };
            self.bytes -= batch.size_bytes();
            self.first += 1;
        }
    }
}

/// A live tail's place among the batches.
pub struct Tail {
    shown: Arc<Mutex<Shown>>,
    grown: watch::Receiver<u64>,
    next: u64,
}

/// What a live tail sees next.
pub enum Seen {
    /// A batch.
    Batch(Arc<EventBatch>),
    /// It was too far behind: so many batches are gone.
    Missed(u64),
}

impl Tail {
    /// The next batch, or that some were missed. May be dropped and called again without loss.
    pub async fn recv(&mut self) -> Seen {
        loop {
            {
                let shown = self.shown.lock();
                if let Some(missed) = shown.first.checked_sub(self.next).filter(|n| *n > 0) {
                    self.next = shown.first;
                    return Seen::Missed(missed);
                }
                let at = usize::try_from(self.next - shown.first).unwrap_or(usize::MAX);
                if let Some(batch) = shown.batches.get(at) {
                    self.next += 1;
                    return Seen::Batch(batch.clone());
                }
            }
            if self.grown.changed().await.is_err() {
                // The server is gone, and so is whoever asks, in a moment.
                std::future::pending::<()>().await;
            }
        }
    }
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
        let (news, tail) = (broadcast::channel(NEWS).0, watch::channel(0).0);
        let (sampled, batches) = (AtomicBool::default(), AtomicU64::default());
        Self { news, tail, shown: Arc::default(), sampled, batches }
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
        if self.tail.receiver_count() == 0 {
            self.shown.lock().keep(0, 0);
        } else if chosen {
            let end = self.shown.lock().push(batch);
            self.tail.send_replace(end);
        }
    }

    /// News from now on.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Batches from now on.
    pub fn tail(&self) -> Tail {
        let grown = self.tail.subscribe();
        let next = self.shown.lock().end();
        Tail { shown: self.shown.clone(), grown, next }
    }
}

impl Bus {
    /// Whether anybody listens for news.
    pub fn has_viewers(&self) -> bool {
        self.news.receiver_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(raw_bytes: usize) -> Arc<EventBatch> {
        let mut batch = EventBatch::new(event::Dictionary::ecs());
        let envelope = Arc::new(event::Envelope::of("test", event::Protocol::File));
        let id = event::EventId::at(0);
        let head = event::RowHead { id, received_ns: 1, stream_ns: 1, envelope };
        batch.begin(head, &vec![b'x'; raw_bytes]).finish();
        Arc::new(batch)
    }

    /// Guarantees: a tail sees every batch from its start on; one that falls behind is told how many it
    /// missed, and what is kept for it is bounded in number and bytes; without a tail nothing is kept.
    #[tokio::test]
    async fn a_tail_that_falls_behind_misses_and_holds_little() {
        let bus = Bus::default();
        let small = batch(10);
        bus.show(&small);
        assert!(bus.shown.lock().batches.is_empty());
        let mut tail = bus.tail();
        bus.show(&small);
        assert!(matches!(tail.recv().await, Seen::Batch(seen) if Arc::ptr_eq(&seen, &small)));
        for _ in 0..TAIL_BATCHES + 3 {
            bus.show(&small);
        }
        assert!(matches!(tail.recv().await, Seen::Missed(3)));
        assert!(matches!(tail.recv().await, Seen::Batch(_)));
        let large = batch(5 << 20);
        for _ in 0..8 {
            bus.show(&large);
        }
        assert_eq!(bus.shown.lock().batches.len(), 3, "of 5 MiB each");
        assert!(matches!(tail.recv().await, Seen::Missed(_)));
        for _ in 0..3 {
            assert!(matches!(tail.recv().await, Seen::Batch(_)));
        }
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), tail.recv()).await;
        assert!(waits.is_err());
        drop(tail);
        bus.show(&small);
        assert!(bus.shown.lock().batches.is_empty());
    }
}
