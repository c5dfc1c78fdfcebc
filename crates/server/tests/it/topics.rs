//! Topics of Kafka as a source of the real binary. The brokers are librdkafka's own ones, on loopback ports of this
//! process; `kcat` and a client in Python write to them, too.
#![cfg(feature = "kafka")]

use super::harness::{Server, alcedo};
use kafka::rdkafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const TOPIC: &str = "security-logs";
const WAIT: Duration = Duration::from_secs(30);

/// Brokers with an empty topic.
struct Cluster {
    brokers: MockCluster<'static, DefaultProducerContext>,
    partitions: i32,
}

impl Cluster {
    fn with(partitions: i32) -> Self {
        let brokers = MockCluster::new(2).unwrap();
        brokers.create_topic(TOPIC, partitions, 1).unwrap();
        Self { brokers, partitions }
    }

    fn write(&self, lines: impl Iterator<Item = String>) {
        write(&self.brokers.bootstrap_servers(), self.partitions, lines);
    }

    /// These brokers know no members that keep their place over a restart: a short session instead.
    fn settings(&self, more: &str) -> String {
        let brokers = self.brokers.bootstrap_servers();
        let brokers: Vec<_> = brokers.split(',').map(|b| format!("'{b}'")).collect();
        format!(
            "sources:\n  http: {{type: http}}\n  bus:\n    type: kafka\n    brokers: [{}]\n    \
             topics: [{TOPIC}]\n    options: {{session.timeout.ms: 6000, heartbeat.interval.ms: 500}}\n{more}",
            brokers.join(", ")
        )
    }

    /// What the group was told of each partition.
    fn told(&self, group: &str) -> Vec<Option<i64>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.brokers.bootstrap_servers())
            .set("group.id", group)
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(TOPIC, 0, self.partitions - 1);
        let told = consumer.committed_offsets(list, WAIT).unwrap();
        let of = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        told.elements().iter().map(of).collect()
    }
}

/// Writes lines, a partition after the other; every tenth is followed by a message without a value.
fn write(brokers: &str, partitions: i32, lines: impl Iterator<Item = String>) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for (n, line) in (0..).zip(lines) {
        let to = BaseRecord::<str, str>::to(TOPIC).partition(n % partitions).key("k");
        producer.send(to.payload(&line)).map_err(|(e, _)| e).unwrap();
        if n % 10 == 9 {
            let gone = BaseRecord::<str, str>::to(TOPIC).partition(n % partitions).key("k");
            producer.send(gone).map_err(|(e, _)| e).unwrap();
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(WAIT).unwrap();
}

/// A line with a number of its own.
fn line(n: usize) -> String {
    format!("{{\"message\":\"topical\",\"n\":{n}}}")
}

/// The numbers that are stored, each as often as it is; a stable order.
fn stored(server: &Server) -> Vec<u64> {
    let rows = server.search("alcedo.source:bus and topical");
    let mut all: Vec<u64> =
        rows.iter().filter_map(|row| row["n"].to_string().trim_matches('"').parse().ok()).collect();
    all.sort_unstable();
    all
}

/// Waits until all of these are stored, and says which are stored twice.
fn repeats(server: &Server, count: usize) -> usize {
    let all = server.eventually("all messages", |s| {
        let all = stored(s);
        let distinct: BTreeSet<_> = all.iter().collect();
        (distinct.len() == count).then_some(all)
    });
    all.len() - count
}

fn counted(server: &Server, name: &str) -> f64 {
    server.metric(&format!("alcedo_source_{name}{{source=\"bus\"}}")).unwrap()
}

/// Scenario: messages of three partitions, some without a value; the plug is pulled and the server comes back,
/// five times, while more is written.
/// Guarantees: each value is stored once, says from which partition it is, and the group is told the ends.
#[test]
fn each_message_is_stored_once_whatever_happens_to_the_server() {
    let cluster = Cluster::with(3);
    cluster.write((0..2_000).map(line));
    let mut server = Server::start(&cluster.settings(""));
    for round in 1..=5 {
        std::thread::scope(|scope| {
            let brokers = cluster.brokers.bootstrap_servers();
            let lines = (2_000 * round..2_000 * (round + 1)).map(line);
            scope.spawn(move || write(&brokers, 3, lines));
            std::thread::sleep(Duration::from_millis(80 * round as u64));
            server.kill();
        });
        server.start_again();
    }
    assert_eq!(repeats(&server, 12_000), 0);
    let by = "kafka.topic, kafka.partition";
    let rows = server.search(&format!("alcedo.source:bus | stats count() as n by {by}"));
    let partitions: BTreeSet<_> =
        rows.iter().map(|row| row["kafka.partition"].to_string()).collect();
    assert_eq!((rows.len(), partitions.len()), (3, 3), "{rows:?}");
    assert!(rows.iter().all(|row| row["kafka.topic"] == TOPIC), "{rows:?}");
    assert_eq!(rows.iter().filter_map(|row| row["n"].as_u64()).sum::<u64>(), 12_000);
    assert!(server.search("event.action:gap and alcedo.gap.protocol:kafka").is_empty());
    // The last message of each partition has a value, or is one that says that a key is gone.
    server.eventually("the group's offsets", |_| {
        let told: i64 = cluster.told("alcedo").into_iter().map(|o| o.unwrap_or(0)).sum();
        (told >= 12_000 + 1_200 - 3).then_some(())
    });
    server.eventually("no lag", |s| (counted(s, "behind_records") <= 3.0).then_some(()));
}

/// Scenario: the server is stopped in order, and the group's offsets are all that is left of it: a new folder.
/// Guarantees: nothing is read again, and what comes then is.
#[test]
fn a_new_folder_goes_on_where_the_group_is() {
    let cluster = Cluster::with(2);
    cluster.write((0..500).map(line));
    let mut server = Server::start(&cluster.settings(""));
    assert_eq!(repeats(&server, 500), 0);
    server.stop();
    cluster.write((500..600).map(line));
    let server = Server::start(&cluster.settings(""));
    assert_eq!(repeats(&server, 100), 0);
    assert_eq!(stored(&server).first(), Some(&500));
}

/// Scenario: two servers are members of a group; one leaves.
/// Guarantees: both take a part, each message is with one of them, and what comes later is taken by who is left.
#[test]
fn members_of_a_group_share_the_partitions() {
    let cluster = Cluster::with(4);
    let one = Server::start(&cluster.settings("    group: soc\n"));
    let mut two = Server::start(&cluster.settings("    group: soc\n"));
    let mut written = 0;
    // Until both have something: the group takes a while to share out.
    one.eventually("a part for each", |one| {
        cluster.write((written..written + 100).map(line));
        written += 100;
        (!stored(one).is_empty() && !stored(&two).is_empty()).then_some(())
    });
    let of_both = || {
        let mut all = stored(&one);
        all.extend(stored(&two));
        all
    };
    let all = one.eventually("all messages", |_| {
        let all = of_both();
        (all.iter().collect::<BTreeSet<_>>().len() == written).then_some(all)
    });
    assert_eq!(all.len(), written, "some are with both");
    let with_two = stored(&two).len();
    two.stop();
    cluster.write((written..written + 400).map(line));
    assert_eq!(repeats(&one, written - with_two + 400), 0);
}

/// Scenario: behind the source's name is another topic than before: as long as it or longer; then a shorter one.
/// Guarantees: all of it is stored, and a gap says each time that it is another one.
#[test]
fn another_topic_of_the_same_name_is_read_whole_and_told() {
    let first = Cluster::with(1);
    first.write((0..100).map(line));
    let folder = tempfile::tempdir().unwrap();
    let start =
        |cluster: &Cluster| Server::start_as(&cluster.settings(""), Some(folder.path()), alcedo);
    let mut server = start(&first);
    assert_eq!(repeats(&server, 100), 0);
    server.stop();
    let gaps = |server: &Server, count: usize| {
        server.eventually("the gaps", |s| {
            let found = s.search("event.action:gap and alcedo.gap.cause:rotation_race");
            (found.len() == count).then_some(found)
        })
    };
    let longer = Cluster::with(1);
    longer.write((1_000..1_300).map(line));
    let mut server = start(&longer);
    assert_eq!(repeats(&server, 400), 0);
    let told = gaps(&server, 1);
    assert_eq!(told[0]["alcedo.gap.protocol"], "kafka", "{told:?}");
    server.stop();
    let shorter = Cluster::with(1);
    shorter.write((2_000..2_050).map(line));
    let server = start(&shorter);
    assert_eq!(repeats(&server, 450), 0);
    gaps(&server, 2);
}

/// Scenario: the brokers are gone for a while, and the server is asked to stop while they are.
/// Guarantees: it goes on when they are back; it stops all the same.
#[test]
fn brokers_that_go_and_come_cost_nothing() {
    let cluster = Cluster::with(2);
    cluster.write((0..100).map(line));
    let mut server = Server::start(&cluster.settings(""));
    assert_eq!(repeats(&server, 100), 0);
    [1, 2].iter().for_each(|id| cluster.brokers.broker_down(*id).unwrap());
    std::thread::sleep(Duration::from_secs(2));
    [1, 2].iter().for_each(|id| cluster.brokers.broker_up(*id).unwrap());
    cluster.write((100..200).map(line));
    assert_eq!(repeats(&server, 200), 0);
    [1, 2].iter().for_each(|id| cluster.brokers.broker_down(*id).unwrap());
    let asked = std::time::Instant::now();
    server.stop();
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
}

/// Scenario: `kcat` writes with each compression there is, and a client in Python does.
/// Guarantees: all of it is stored.
#[test]
fn other_clients_write_and_all_of_it_is_read() {
    let cluster = Cluster::with(2);
    let brokers = cluster.brokers.bootstrap_servers();
    let mut written = 0;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let z = format!("compression.codec={codec}");
        let kcat = Command::new("kcat")
            .args(["-P", "-b", &brokers, "-t", TOPIC, "-X", &z])
            .stdin(Stdio::piped())
            .spawn();
        let Ok(mut kcat) = kcat else {
            eprintln!("skipped: kcat as a sender (it is missing)");
            break;
        };
        let lines: String = (written..written + 200).map(|n| line(n) + "\n").collect();
        kcat.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(kcat.wait().unwrap().success(), "{codec}");
        written += 200;
    }
    let script = format!(
        "from kafka import KafkaProducer\n\
         p = KafkaProducer(bootstrap_servers='{brokers}'.split(','), api_version=(2, 0))\n\
         for n in range({written}, {written} + 100):\n  p.send('{TOPIC}', ('{{\"message\":\"topical\",\"n\":%d}}' % n).encode())\n\
         p.flush()\n"
    );
    let has_client =
        Command::new("python3").args(["-c", "import kafka"]).stderr(Stdio::null()).status();
    if has_client.is_ok_and(|s| s.success()) {
        assert!(Command::new("python3").args(["-c", &script]).status().unwrap().success());
        written += 100;
    } else {
        eprintln!("skipped: Kafka's client in Python as a sender (it is missing)");
    }
    let server = Server::start(&cluster.settings(""));
    assert_eq!(repeats(&server, written), 0);
}
