//! One thread per source: polls messages, hands them to the journal, stores the offsets of what is durable.

use crate::client::{Config, ConfigError, client};
use crate::group::{Group, Key};
use event::{Durable, Producer, RawBatch};
use io::{Context, Fate, IntakeError};
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Handed over at once, bytes and records.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 16_384;
/// How long the first message of a batch is waited for; the others are taken as they are there.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Pause before what failed is read again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the brokers are waited for at a stop, after that.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// How long answers are waited for at a stop.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Records of one partition whose offsets follow one another.
struct Run {
    key: Key,
    turn: u64,
    first: u64,
    batch: RawBatch,
}

impl Run {
    /// The offset that would follow.
    fn next(&self) -> u64 {
        self.first + self.batch.records.len() as u64
    }
}

/// Runs that may go on.
struct Open {
    runs: Vec<Run>,
    /// Which one the last message went to: messages of a partition come together.
    last: usize,
}

impl Open {
    fn find(&mut self, topic: &str, partition: i32) -> Option<usize> {
        let is_it = |run: &Run| run.key.1 == partition && *run.key.0 == *topic;
        if !self.runs.get(self.last).is_some_and(is_it) {
            self.last = self.runs.iter().position(is_it)?;
        }
        Some(self.last)
    }
}

/// What the journal said of a run.
struct Answer {
    key: Key,
    turn: u64,
    next: u64,
    outcome: Result<Durable, IntakeError>,
}

/// Reads the topics of one source.
pub(crate) struct Reader {
    consumer: BaseConsumer<Group>,
    stop: CancellationToken,
    runtime: Handle,
    tell: Sender<Answer>,
    told: Receiver<Answer>,
    /// Runs without an answer.
    under_way: usize,
}

impl Reader {
    /// A reader that has not begun. Within a runtime.
    pub(crate) fn new(
        context: Context,
        config: &Config,
        stop: CancellationToken,
    ) -> Result<Self, ConfigError> {
        // With TLS the brokers have shown who they are.
        let broker = config.brokers.first().map_or("", String::as_str);
        let identity = match config.tls {
            Some(_) => format!("kafka:{broker}").into(),
            None => context.envelope(event::Protocol::Kafka).identity,
        };
        let group = Group::new(context, identity, config.start);
        let consumer: BaseConsumer<Group> = client(config)?.create_with_context(group)?;
        let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        let (tell, told) = channel();
        Ok(Self { consumer, stop, runtime: Handle::current(), tell, told, under_way: 0 })
    }

    /// Reads until it is to stop; what was read is durable then, or is read again.
    pub(crate) fn run(mut self) {
        while !self.stop.is_cancelled() {
            for run in self.gather() {
                self.hand_over(run);
            }
            self.tell_lost();
            while let Ok(answer) = self.told.try_recv() {
                self.take(answer);
            }
        }
        let until = Instant::now() + STOP_WAIT;
        self.wait_for_answers(until);
        // The group is told the last offsets when the consumer is dropped. Without brokers that takes for ever.
        let (tell, is_told) = channel();
        let consumer = self.consumer;
        std::thread::spawn(move || {
            drop(consumer);
            let _ = tell.send(());
        });
        if is_told.recv_timeout(LEAVE_WAIT).is_err() {
            tracing::warn!(
                "Kafka: the brokers do not answer; the group is not told the last offsets"
            );
        }
    }

    fn group(&self) -> &Group {
        self.consumer.client().context()
    }

    /// What is there, as runs in the order of their offsets.
    fn gather(&self) -> Vec<Run> {
        let (mut runs, mut open) = (Vec::new(), Open { runs: Vec::new(), last: 0 });
        let (mut bytes, mut records, mut wait) = (0, 0, POLL_WAIT);
        let mut turns = self.group().turns();
        while bytes < BATCH_BYTES && records < BATCH_RECORDS {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    if turns != self.group().turns() {
                        // What was polled of a partition that begins elsewhere comes again.
                        turns = self.group().turns();
                        open.runs.retain(|run| self.is_of_now(&run.key, run.turn));
                    }
                    bytes += message.payload_len();
                    records += 1;
                    self.add(&message, &mut open, &mut runs);
                }
                Some(Err(error)) => {
                    self.failed(&error);
                    break;
                }
                None => break,
            }
            wait = Duration::ZERO;
        }
        runs.extend(open.runs);
        runs
    }

    fn is_of_now(&self, key: &Key, turn: u64) -> bool {
        self.group().place(key).is_some_and(|place| place.turn == turn)
    }

    fn add(&self, message: &BorrowedMessage<'_>, open: &mut Open, runs: &mut Vec<Run>) {
        // One without a value says that a key is gone; it is no event.
        let Some(value) = message.payload().filter(|value| !value.is_empty()) else { return };
        let Ok(offset) = u64::try_from(message.offset()) else { return };
        let now_ns = io::intake::wall_ns();
        let (topic, partition) = (message.topic(), message.partition());
        let key = match open.find(topic, partition) {
            Some(at) if open.runs[at].next() == offset => {
                return open.runs[at].batch.push(now_ns, value);
            }
            // Compaction and transactions leave holes: a batch has none.
            Some(at) => {
                let ended = open.runs.remove(at);
                let key = ended.key.clone();
                runs.push(ended);
                key
            }
            None => (topic.into(), partition),
        };
        let Some(place) = self.group().place(&key) else { return };
        let mut batch = RawBatch::of(place.envelope);
        batch.push(now_ns, value);
        open.last = open.runs.len();
        open.runs.push(Run { key, turn: place.turn, first: offset, batch });
    }

    /// Hands a run to the journal; waits while there is no room.
    fn hand_over(&mut self, run: Run) {
        let next = run.next();
        let Run { key, turn, first, mut batch } = run;
        let Some(place) = self.group().place(&key).filter(|place| place.turn == turn) else {
            return;
        };
        batch.producer = Some(Producer { id: place.producer, epoch: place.epoch, base_seq: first });
        let (tell, whose) = (self.tell.clone(), key.clone());
        let done = move |outcome| {
            let _ = tell.send(Answer { key: whose, turn, next, outcome });
        };
        let source = self.group().source.clone();
        let taken = self.runtime.block_on(source.submit(batch, &self.stop, done));
        if let Err(cause) = taken {
            if !self.stop.is_cancelled() {
                tracing::error!(source = %source.name, %cause, "what Kafka sent is not taken");
                std::thread::sleep(PAUSE);
                self.group().go_back(&self.consumer, &key, None);
            }
            return;
        }
        self.under_way += 1;
        if !place.is_checked {
            // Nothing follows before the journal has held the first one against what it knows.
            while self.under_way > 0 && !self.stop.is_cancelled() {
                self.wait_for_answers(Instant::now() + POLL_WAIT);
            }
        }
    }

    fn wait_for_answers(&mut self, until: Instant) {
        while self.under_way > 0 {
            match self.told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(answer) => self.take(answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, answer: Answer) {
        self.under_way -= 1;
        let Answer { key, turn, next, outcome } = answer;
        if !self.is_of_now(&key, turn) {
            return;
        }
        match outcome {
            Ok(_) => {
                self.group().change(&key, |place| {
                    (place.durable_to, place.is_checked) = (next, true);
                });
                self.store(&key, next);
            }
            Err(IntakeError { fate: Fate::Fork { .. }, .. }) => {
                self.group().is_replaced(&self.consumer, &key);
            }
            Err(error) => {
                let expected = match error.fate {
                    Fate::OutOfOrder { expected_seq } => Some(expected_seq),
                    _ => None,
                };
                tracing::warn!(source = %self.group().source.name, %error, "Kafka: read again");
                std::thread::sleep(PAUSE);
                self.group().go_back(&self.consumer, &key, expected);
            }
        }
    }

    /// The group is told with the next commit.
    fn store(&self, key: &Key, next: u64) {
        let mut list = TopicPartitionList::with_capacity(1);
        let offset = Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
        let added = list.add_partition_offset(&key.0, key.1, offset);
        if let Err(error) = added.and_then(|()| self.consumer.store_offsets(&list)) {
            // It was taken from us meanwhile.
            tracing::debug!(%error, "an offset is not stored");
        }
    }

    fn failed(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        self.group().trouble(error, "it cannot be read");
        // Some come at once and again.
        std::thread::sleep(PAUSE);
        if code == Some(RDKafkaErrorCode::AutoOffsetReset) {
            for key in self.group().keys() {
                self.group().again(&self.consumer, &key);
            }
        }
    }

    /// Writes down what cannot be read any more.
    fn tell_lost(&self) {
        for (envelope, gap) in self.group().take_lost() {
            let mut batch = RawBatch::of(Arc::clone(&envelope));
            gap.push_to(&mut batch, 0);
            let source = self.group().source.clone();
            let _ = self.runtime.block_on(source.submit(batch, &self.stop, |_| ()));
        }
    }
}
