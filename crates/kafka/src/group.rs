//! What the client calls back for: partitions that are given to us or taken, errors, and how far behind we are.

use crate::Start;
use crate::begin::{Begin, Known, Lost, There, begin, replaced};
use crate::trouble::{is_refused_certificate, told};
use event::{Envelope, Gap, Producer, Protocol};
use io::Context;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a broker may take to say what a partition has.
pub(crate) const BROKER_WAIT: Duration = Duration::from_secs(10);
/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A topic's name and a partition's number.
pub(crate) type Key = (Arc<str>, i32);

/// A partition that is ours.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name as a numbering sender.
    pub(crate) producer: u128,
    pub(crate) epoch: u64,
    /// The offset behind the last one that is durable.
    pub(crate) durable_to: u64,
    /// Which beginning this is, of all that the source had: what was read or answered before means nothing.
    pub(crate) turn: u64,
    /// Whether the journal has answered for what was read first.
    pub(crate) is_checked: bool,
    pub(crate) envelope: Arc<Envelope>,
}

/// The consumer's context.
pub(crate) struct Group {
    pub(crate) source: Context,
    identity: Arc<str>,
    start: Start,
    places: Mutex<HashMap<Key, Place>>,
    turns: AtomicU64,
    /// Losses to be told, with whose they are.
    lost: Mutex<Vec<(Arc<Envelope>, Lost)>>,
    /// When which trouble was logged, by its code.
    told: Mutex<HashMap<i32, Instant>>,
    /// Why a connection ended last, where librdkafka leaves that to its log; empty where it came as an error.
    cause: Mutex<String>,
}

impl Group {
    pub(crate) fn new(source: Context, identity: Arc<str>, start: Start) -> Self {
        let (places, lost, told) = (Mutex::default(), Mutex::default(), Mutex::default());
        let cause = Mutex::default();
        Self { source, identity, start, places, turns: AtomicU64::new(0), lost, told, cause }
    }

    /// How many beginnings there were: while it stays the same, so do all turns.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn place(&self, key: &Key) -> Option<Place> {
        self.places.lock().get(key).cloned()
    }

    /// Changes a place, if it is still ours.
    pub(crate) fn change<T>(&self, key: &Key, change: impl FnOnce(&mut Place) -> T) -> Option<T> {
        self.places.lock().get_mut(key).map(change)
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.places.lock().keys().cloned().collect()
    }

    /// Losses that were not told yet, as records of the stream.
    pub(crate) fn take_lost(&self) -> Vec<(Arc<Envelope>, Gap)> {
        let now_ns = io::intake::wall_ns();
        let all = std::mem::take(&mut *self.lost.lock());
        let gaps = all.into_iter().map(|(envelope, lost)| {
            let name = format!("{} {}", envelope.source, envelope.path);
            let gap = Gap::at(lost.cause, lost.certainty, &name, now_ns);
            let gap = Gap { protocol: Some(Protocol::Kafka), ..gap };
            let gap = lost.offsets.map_or(gap.clone(), |(from, to)| gap.over(from, to));
            (envelope, gap)
        });
        gaps.collect()
    }

    /// What the journal has of a partition.
    fn known(&self, producer: u128) -> Option<Known> {
        let (epoch, offset, _) = self.source.intake.last_of(producer)?;
        Some(Known { epoch, offset })
    }

    fn envelope(&self, key: &Key) -> Arc<Envelope> {
        let path = format!("{}/{}", key.0, key.1);
        let identity = Arc::clone(&self.identity);
        Arc::new(Envelope { identity, path: path.into(), ..self.source.envelope(Protocol::Kafka) })
    }

    /// Where to begin in partitions that are given to us.
    fn begin_in(&self, consumer: &BaseConsumer<Self>, given: &mut TopicPartitionList) {
        let committed = consumer
            .committed_offsets(given.clone(), BROKER_WAIT)
            .inspect_err(|error| self.trouble(error, "the group's offsets are not known"))
            .map(|list| list.to_topic_map())
            .unwrap_or_default();
        let wanted: Vec<_> =
            given.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        let mut is_answering = true;
        for (topic, partition) in wanted {
            let committed = match committed.get(&(topic.clone(), partition)) {
                Some(Offset::Offset(offset)) => u64::try_from(*offset).ok(),
                _ => None,
            };
            let key = (Arc::from(topic), partition);
            // One wait is enough: the poll that this is part of must not take minutes.
            let there = if is_answering { self.there(consumer, &key) } else { None };
            is_answering = there.is_some();
            let offset = self.begin_at(&key, committed, there);
            let _ = given.set_partition_offset(&key.0, partition, offset);
        }
    }

    /// Puts reading where it is to begin. A broker that does not say what is there will when it is read from:
    /// `again` looks at it then.
    fn begin_at(&self, key: &Key, committed: Option<u64>, there: Option<There>) -> Offset {
        let producer = producer(&self.source.name, key);
        let known = self.known(producer);
        let epoch = known.map_or(Producer::WITH_HOLES, |known| known.epoch);
        let (begun, offset) = match (there, known.map(|k| k.offset).max(committed)) {
            (Some(there), _) => {
                let begun = begin(known, committed, there, self.start);
                (begun, raw(begun.offset))
            }
            (None, Some(offset)) => (Begin { epoch, offset, lost: None }, raw(offset)),
            (None, None) => {
                let edge =
                    if self.start == Start::Earliest { Offset::Beginning } else { Offset::End };
                (Begin { epoch, offset: 0, lost: None }, edge)
            }
        };
        let Begin { epoch, offset: durable_to, lost } = begun;
        let envelope = self.envelope(key);
        self.lost.lock().extend(lost.map(|lost| (Arc::clone(&envelope), lost)));
        let (turn, is_checked) = (self.next_turn(), false);
        let place = Place { producer, epoch, durable_to, turn, is_checked, envelope };
        self.places.lock().insert(key.clone(), place);
        let (source, partition) = (&self.source.name, key.1);
        tracing::info!(%source, topic = %key.0, partition, offset = durable_to, "reads");
        offset
    }

    fn there(&self, consumer: &BaseConsumer<Self>, key: &Key) -> Option<There> {
        match consumer.fetch_watermarks(&key.0, key.1, BROKER_WAIT) {
            Ok((low, next)) => {
                Some(There { low: u64::try_from(low).ok()?, next: u64::try_from(next).ok()? })
            }
            Err(error) => {
                self.trouble(&error, "what a partition has is not known");
                None
            }
        }
    }

    /// Reads a partition anew whose place may be gone: dropped by the broker, or behind its end.
    pub(crate) fn again(&self, consumer: &BaseConsumer<Self>, key: &Key) {
        let (Some(place), Some(there)) = (self.place(key), self.there(consumer, key)) else {
            return;
        };
        if (there.low..=there.next).contains(&place.durable_to) {
            return self.go_back(consumer, key, None);
        }
        let offset = self.begin_at(key, None, Some(there));
        self.seek(consumer, key, offset);
    }

    /// The journal has another record under an offset: the topic is another one, all of it is new.
    pub(crate) fn is_replaced(&self, consumer: &BaseConsumer<Self>, key: &Key) {
        let Some(place) = self.place(key) else { return };
        let known = Known { epoch: place.epoch, offset: place.durable_to };
        let Begin { epoch, offset, lost } = replaced(Some(known), 0);
        self.lost.lock().extend(lost.map(|lost| (Arc::clone(&place.envelope), lost)));
        let turn = self.next_turn();
        let place = Place { epoch, durable_to: offset, turn, is_checked: false, ..place };
        self.places.lock().insert(key.clone(), place);
        self.seek(consumer, key, Offset::Beginning);
    }

    /// Reads what is not durable once more.
    pub(crate) fn go_back(&self, consumer: &BaseConsumer<Self>, key: &Key, to: Option<u64>) {
        let turn = self.next_turn();
        let offset = self.change(key, |place| {
            place.turn = turn;
            to.map_or(place.durable_to, |to| to.max(place.durable_to))
        });
        if let Some(offset) = offset {
            self.seek(consumer, key, raw(offset));
        }
    }

    /// Reads on from there. Where that cannot be, nothing more is taken from the partition: what follows would
    /// hide what was to come again.
    fn seek(&self, consumer: &BaseConsumer<Self>, key: &Key, offset: Offset) {
        let Err(error) = consumer.seek(&key.0, key.1, offset, BROKER_WAIT) else { return };
        let mut list = TopicPartitionList::with_capacity(1);
        let given_anew = list
            .add_partition_offset(&key.0, key.1, offset)
            .and_then(|()| consumer.incremental_unassign(&list))
            .and_then(|()| consumer.incremental_assign(&list));
        if given_anew.is_err() {
            self.places.lock().remove(key);
            self.trouble(&error, "a partition is given up until the group shares them out again");
        }
    }

    /// Logs what goes wrong, the same thing now and then only.
    pub(crate) fn trouble(&self, error: &KafkaError, what: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let mut told = self.told.lock();
        if told.get(&(code as i32)).is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return;
        }
        told.insert(code as i32, Instant::now());
        tracing::warn!(source = %self.source.name, %error, "Kafka: {what}");
    }
}

/// An offset as the client has it.
fn raw(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

/// A partition's name as a numbering sender. It is the source's own: two sources may read one topic.
fn producer(source: &str, key: &Key) -> u128 {
    let hash = Sha256::new().chain_update("kafka").chain_update([0]);
    let hash = hash.chain_update(source).chain_update([0]).chain_update(&*key.0);
    let hash = hash.chain_update([0]).chain_update(key.1.to_be_bytes()).finalize();
    hash[..16].iter().fold(0, |id, byte| (id << 8) | u128::from(*byte))
}

/// A line of librdkafka's log without the name of its thread.
fn of_broker(message: &str) -> &str {
    message.split_once("]: ").map_or(message, |(_, rest)| rest)
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, what: &str, message: &str) {
        use RDKafkaLogLevel as Level;
        let is_failure = what == "FAIL";
        // Errors come as errors, too.
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error if is_failure => {
                self.cause.lock().clear();
            }
            Level::Warning | Level::Notice | Level::Info if is_failure => {
                of_broker(message).clone_into(&mut self.cause.lock());
            }
            _ => {}
        }
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
                tracing::debug!(source = %self.source.name, "librdkafka: {message}");
            }
            Level::Notice | Level::Info | Level::Debug => {
                tracing::trace!(source = %self.source.name, "librdkafka: {message}");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let behind = partitions.filter_map(|p| u64::try_from(p.consumer_lag).ok()).sum();
        self.source.stats.behind_records.store(behind, Relaxed);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let is_login = matches!(code, Code::Authentication | Code::SaslAuthenticationFailed);
        if is_login || code == Code::SSL || is_refused_certificate(reason) {
            self.source.stats.auth_failures.fetch_add(1, Relaxed);
        }
        let is_without_why = code == Code::AllBrokersDown;
        let cause = if is_without_why { self.cause.lock().clone() } else { String::new() };
        self.trouble(&error, &told(reason, &cause));
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.begin_in(consumer, partitions);
            consumer.incremental_assign(partitions)
        } else {
            let taken = partitions.elements();
            let mut places = self.places.lock();
            taken.iter().for_each(|e| drop(places.remove(&(e.topic().into(), e.partition()))));
            drop(places);
            consumer.incremental_unassign(partitions)
        };
        if let Err(error) = done {
            self.trouble(&error, "partitions could not be taken or given back");
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        // It is told again a second later; the journal knows where we are.
        if let Err(error) = result
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
        {
            self.trouble(&error, "the group's offsets could not be told");
        }
    }
}
