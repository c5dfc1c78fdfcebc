//! `type: kafka`: topics that a source reads.

use super::read::{Problems, Section};
use super::tree::{Node, Yaml};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The group that members of one installation share, unless it is set.
const GROUP_DEFAULT: &str = "alcedo";
/// Ways to prove a name; others come with libraries that are not built in.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// Where reading begins in partitions that nobody read before.
const STARTS: [&str; 2] = ["earliest", "latest"];
/// A password file is a line.
const PASSWORD_BYTES_MAX: u64 = 4_096;

/// Topics of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// Some of its brokers, `host:port`.
    pub brokers: Vec<String>,
    /// Names, or regular expressions that start with `^`.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Begin behind the newest record where nobody read before, instead of at the oldest.
    pub from_latest: bool,
    /// TLS to the brokers.
    pub tls: Option<TopicsTls>,
    /// Who we are to them.
    pub sasl: Option<TopicsSasl>,
    /// Options of librdkafka.
    pub options: BTreeMap<String, String>,
}

/// TLS to brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsTls {
    /// Authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

#[cfg(feature = "kafka")]
impl TopicsTls {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(identity)
    }
}

/// A name, and where its password is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsSasl {
    /// One of SASL's mechanisms.
    pub mechanism: String,
    /// The name.
    pub user: String,
    /// The file whose first line is the password.
    pub password_file: PathBuf,
}

/// Reads the keys of a source. Relative paths are relative to `base`.
pub(super) fn read(section: &Section<'_>, node: &Node, base: &Path) -> Topics {
    let problems = section.problems();
    let list = |key, hint: &str| {
        let found: Vec<String> = section.texts(key).into_iter().map(|(text, _)| text).collect();
        if found.is_empty() {
            problems.at(node, format!("a source of Kafka needs `{key}`"), hint);
        }
        found
    };
    let hint = "write earliest or latest";
    let start = section.value("start", hint, |t| STARTS.contains(&t).then(|| t.to_owned()));
    let topics = Topics {
        brokers: list("brokers", "brokers: [kafka-1:9092, kafka-2:9092]"),
        topics: list("topics", "topics: [security-logs, '^audit-.*']"),
        group: section.text("group").unwrap_or_else(|| GROUP_DEFAULT.to_owned()),
        from_latest: start.as_deref() == Some("latest"),
        tls: tls(section, base),
        sasl: section.section("sasl", |s| sasl(s, node, base)).flatten(),
        options: section.section("options", |s| options(&s)).unwrap_or_default(),
    };
    if topics.sasl.is_some() && topics.tls.is_none() && !topics.brokers.iter().all(|b| is_here(b)) {
        let text = "a name and a password for brokers elsewhere need TLS";
        problems.at(section.get("sasl").unwrap_or(node), text, "set `tls: true`");
    }
    check(&topics, section.get("options").unwrap_or(node), problems);
    topics
}

fn is_here(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// `tls: true`, or a section.
fn tls(section: &Section<'_>, base: &Path) -> Option<TopicsTls> {
    let node = section.get("tls")?;
    if let Yaml::Scalar(text) = &node.yaml
        && let Ok(wanted) = text.parse::<bool>()
    {
        return wanted.then(TopicsTls::default);
    }
    section.section("tls", |s| {
        let file = |key| s.text(key).map(|path| base.join(path));
        let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
        if cert.is_some() != key.is_some() {
            s.problems().at(node, "`cert` and `key` belong together", "set both or none");
        }
        for path in [&ca, &cert, &key].into_iter().flatten().filter(|path| !path.is_file()) {
            let text = format!("there is no file {}", path.display());
            s.problems().at(node, text, "write the path of a PEM file");
        }
        s.done();
        TopicsTls { ca, identity: cert.zip(key) }
    })
}

fn sasl(section: Section<'_>, node: &Node, base: &Path) -> Option<TopicsSasl> {
    let problems = section.problems();
    let hint = format!("mechanisms: {}", MECHANISMS.join(", "));
    let known = |t: &str| MECHANISMS.iter().find(|m| m.eq_ignore_ascii_case(t)).copied();
    let mechanism = section.value("mechanism", &hint, known);
    let (user, file) = (section.text("user"), section.text("password_file"));
    let here = section.get("password_file").or_else(|| section.get("user"));
    section.done();
    let (Some(mechanism), Some(user), Some(file)) = (mechanism, user, file) else {
        let text = "`sasl` needs `mechanism`, `user` and `password_file`";
        let hint = "sasl: {mechanism: SCRAM-SHA-512, user: alcedo, password_file: kafka.password}";
        problems.at(here.unwrap_or(node), text, hint);
        return None;
    };
    let found = TopicsSasl { mechanism: mechanism.into(), user, password_file: base.join(file) };
    if let Err(error) = found.password() {
        problems.at(here.unwrap_or(node), error.to_string(), "its first line is the password");
    }
    Some(found)
}

impl TopicsSasl {
    /// The first line of the file.
    ///
    /// # Errors
    /// The file cannot be read, or is none of a password.
    pub fn password(&self) -> std::io::Result<String> {
        use std::io::{Error, Read};
        let shown = self.password_file.display();
        let of = |error: Error| Error::new(error.kind(), format!("{shown}: {error}"));
        let mut text = String::new();
        let file = std::fs::File::open(&self.password_file).map_err(of)?;
        file.take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(of)?;
        match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(line.to_owned()),
            None => Err(Error::other(format!("{shown} has no password in its first line"))),
        }
    }
}

/// Options by names that are librdkafka's.
fn options(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, node) in section.named() {
        match &node.yaml {
            Yaml::Scalar(text) => drop(found.insert(name.to_owned(), text.clone())),
            _ => section.problems().at(node, format!("`{name}` must be one value"), ""),
        }
    }
    found
}

/// Whether the client takes it.
#[cfg(feature = "kafka")]
fn check(topics: &Topics, node: &Node, problems: &Problems) {
    // Files that are not there have been told.
    if topics.tls.iter().flat_map(TopicsTls::files).any(|path| !path.is_file()) {
        return;
    }
    // Passwords have been looked at.
    let config = client_config(topics, String::new(), String::new());
    if let Err(error) = kafka::check(&config) {
        problems.at(node, error.to_string(), "docs/kafka.md has what can be set");
    }
}

#[cfg(not(feature = "kafka"))]
fn check(_: &Topics, node: &Node, problems: &Problems) {
    let hint = "take a packaged one, or build it with `--features kafka`";
    problems.at(node, "this build cannot read topics of Kafka", hint);
}

/// What the client is told, under this name within the group.
///
/// # Errors
/// The password cannot be read.
#[cfg(feature = "kafka")]
pub fn client(topics: &Topics, member: String) -> std::io::Result<kafka::Config> {
    let password = topics.sasl.as_ref().map_or(Ok(String::new()), TopicsSasl::password)?;
    Ok(client_config(topics, password, member))
}

#[cfg(feature = "kafka")]
fn client_config(topics: &Topics, password: String, member: String) -> kafka::Config {
    kafka::Config {
        brokers: topics.brokers.clone(),
        topics: topics.topics.clone(),
        group: topics.group.clone(),
        member,
        start: if topics.from_latest { kafka::Start::Latest } else { kafka::Start::Earliest },
        tls: topics
            .tls
            .as_ref()
            .map(|tls| kafka::Tls { ca: tls.ca.clone(), identity: tls.identity.clone() }),
        sasl: topics.sasl.as_ref().map(|sasl| kafka::Sasl {
            mechanism: sasl.mechanism.clone(),
            user: sasl.user.clone(),
            password,
        }),
        options: topics.options.clone(),
    }
}

#[cfg(test)]
#[cfg(feature = "kafka")]
mod tests {
    use super::super::{SourceKind, parse};
    use super::*;

    fn read(source: &str) -> Result<Topics, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("word"), "hunter2\nand a note\n").unwrap();
        std::fs::write(dir.path().join("none"), "\n").unwrap();
        let text = format!("sources:\n  bus: {{type: kafka, {source}}}\n");
        match parse(&text, "alcedo.yaml", dir.path()) {
            Ok(config) => match config.sources.into_iter().next().map(|s| s.kind) {
                Some(SourceKind::Kafka(topics)) => {
                    let password = topics.sasl.as_ref().map(|sasl| sasl.password().unwrap());
                    assert!(password.is_none_or(|p| p == "hunter2"));
                    Ok(*topics)
                }
                other => panic!("{other:?}"),
            },
            Err(list) => Err(list.into_iter().map(|p| p.message).collect()),
        }
    }

    #[test]
    fn topics_are_read_with_what_is_usual() {
        let topics = read("brokers: 'k1:9092', topics: [a, '^b-.*']").unwrap();
        assert_eq!((topics.group.as_str(), topics.from_latest), (GROUP_DEFAULT, false));
        assert_eq!(topics.topics, ["a", "^b-.*"]);
        let secure = "brokers: ['k1:9093'], topics: a, start: latest, tls: true, \
                      sasl: {mechanism: scram-sha-512, user: u, password_file: word}";
        let topics = read(secure).unwrap();
        assert_eq!(topics.sasl.unwrap().mechanism, "SCRAM-SHA-512");
        assert!(topics.from_latest && topics.tls == Some(TopicsTls::default()));
    }

    #[test]
    fn mistakes_are_told_all_at_once() {
        let told = read("topic: a, start: soon").unwrap_err();
        for part in
            ["needs `brokers`", "needs `topics`", "`soon` is no value", "`topic` is no setting"]
        {
            assert!(told.iter().any(|t| t.contains(part)), "{part}: {told:?}");
        }
        let some = "brokers: ['k1:9092'], topics: a";
        for (more, part) in [
            ("options: {enable.auto.commit: true}", "`enable.auto.commit` is set by Alcedo"),
            ("options: {fetch.min.byte: 1}", "does not take `fetch.min.byte: 1`"),
            ("sasl: {mechanism: PLAIN, user: u, password_file: word}", "need TLS"),
            ("tls: true, sasl: {mechanism: PLAIN, user: u}", "`sasl` needs"),
            (
                "tls: true, sasl: {mechanism: PLAIN, user: u, password_file: none}",
                "has no password",
            ),
            ("tls: {ca: nowhere.pem}", "there is no file"),
            ("tls: {ca: word}", "ssl.ca.location"),
            ("tls: true, options: {max.poll.interval.ms: 5000}", "session.timeout.ms"),
            (
                "tls: true, options: {ssl.endpoint.identification.algorithm: none}",
                "is set by Alcedo",
            ),
            ("tls: {cert: word}", "belong together"),
        ] {
            let told = read(&format!("{some}, {more}")).unwrap_err();
            assert!(told.iter().any(|t| t.contains(part)), "{part}: {told:?}");
        }
        read(
            "brokers: ['127.0.0.1:9092', '[::1]:9092', 'localhost:9092'], topics: a, \
              sasl: {mechanism: PLAIN, user: u, password_file: word}",
        )
        .unwrap();
    }
}
