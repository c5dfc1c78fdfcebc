//! The settings of the client, and which of its own options may be set beside them.

use crate::Start;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What is fetched ahead of the journal, in all partitions together, KiB.
const PREFETCHED_KIB: &str = "16384";
/// What a broker is asked for at once, bytes. A longer message comes alone.
const FETCH_BYTES_MAX: &str = "8388608";
/// Longest answer of a broker: the longest record that the journal takes (64 MiB) and what is around it.
const ANSWER_BYTES_MAX: &str = "68157440";
/// How often the group is told, ms: what a member that takes over reads twice at most.
const COMMIT_EVERY_MS: &str = "1000";
/// How long a member may be silent before another takes its partitions, ms: longer than a restart takes.
const SESSION_MS: &str = "15000";
/// How often the client says how far behind it is, ms.
const STATISTICS_EVERY_MS: &str = "5000";

/// Options of the client that follow from what is promised, or from settings with names of their own.
const OURS: &[&str] = &[
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "enable.ssl.certificate.verification",
    "group.id",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "plugin.library.paths",
    "queued.max.messages.kbytes",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "statistics.interval.ms",
];

/// A source of topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Some brokers of the cluster, `host:port`; the others are asked for.
    pub brokers: Vec<String>,
    /// Topics; one that starts with `^` is a regular expression over names.
    pub topics: Vec<String>,
    /// The consumer group: its members share the partitions.
    pub group: String,
    /// Our name in it, the same after each start, so that a crash shares nothing out anew. Empty: none.
    pub member: String,
    /// Where reading begins in partitions that nobody read before.
    pub start: Start,
    /// TLS to the brokers.
    pub tls: Option<Tls>,
    /// Who we are to the brokers.
    pub sasl: Option<Sasl>,
    /// Options of librdkafka by their names.
    pub options: BTreeMap<String, String>,
}

/// TLS to the brokers; their names are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that are trusted; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A name and a password for the brokers.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Settings that the client does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An option that has a setting of its own here, or that a promise rests on.
    #[error("the option `{name}` is set by Alcedo; leave it out")]
    Ours {
        /// Its name.
        name: String,
    },
    /// An option or value that librdkafka does not know.
    #[error("librdkafka does not take `{name}: {value}`: {reason}")]
    Unknown {
        /// Its name.
        name: String,
        /// What was set.
        value: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The client could not be made.
    #[error("the client of Kafka could not be made: {reason}")]
    Client {
        /// What librdkafka says.
        reason: String,
    },
}

impl From<KafkaError> for ConfigError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, name, value) => {
                Self::Unknown { name, value, reason }
            }
            other => Self::Client { reason: other.to_string() },
        }
    }
}

/// Whether the client takes these settings, with the files of TLS and what options say together: it is made.
/// It knows no brokers, so nothing is connected to. A password is not looked at.
///
/// # Errors
/// The first setting that it does not take.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let mut client = client(config)?;
    client.create_native_config()?;
    client.remove("bootstrap.servers");
    if config.sasl.is_some() {
        client.set("sasl.password", "of another file");
    }
    // It would log that it has no brokers.
    client.set_log_level(RDKafkaLogLevel::Emerg);
    client.create::<BaseConsumer>()?;
    Ok(())
}

/// The client's settings.
pub(crate) fn client(config: &Config) -> Result<ClientConfig, ConfigError> {
    let mut client = ClientConfig::new();
    // Options first: what is ours is not to be changed by them.
    for (name, value) in &config.options {
        if OURS.contains(&name.as_str()) {
            return Err(ConfigError::Ours { name: name.clone() });
        }
        client.set(name, value);
    }
    let fixed = [
        ("bootstrap.servers", config.brokers.join(",")),
        ("group.id", config.group.clone()),
        ("enable.auto.commit", "true".into()),
        // Stored by the reader, when they are durable.
        ("enable.auto.offset.store", "false".into()),
        // A place that is gone is looked at, see `begin`.
        ("auto.offset.reset", "error".into()),
        ("partition.assignment.strategy", "cooperative-sticky".into()),
        ("queued.max.messages.kbytes", PREFETCHED_KIB.into()),
        ("statistics.interval.ms", STATISTICS_EVERY_MS.into()),
    ];
    for (name, value) in fixed {
        client.set(name, value);
    }
    let usual = [
        ("auto.commit.interval.ms", COMMIT_EVERY_MS),
        ("fetch.max.bytes", FETCH_BYTES_MAX),
        ("receive.message.max.bytes", ANSWER_BYTES_MAX),
        ("client.id", "alcedo"),
        ("session.timeout.ms", SESSION_MS),
        ("group.instance.id", &config.member),
    ];
    for (name, value) in usual {
        if !value.is_empty() && !config.options.contains_key(name) {
            client.set(name, value);
        }
    }
    secure(config, &mut client);
    // `debug: cgrp` and the like are in our log at level trace.
    let is_debugged = config.options.contains_key("debug");
    client.set_log_level(if is_debugged { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    Ok(client)
}

fn secure(config: &Config, client: &mut ClientConfig) {
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &config.tls {
        if let Some(ca) = &tls.ca {
            client.set("ssl.ca.location", ca.to_string_lossy());
        }
        if let Some((certificate, key)) = &tls.identity {
            client.set("ssl.certificate.location", certificate.to_string_lossy());
            client.set("ssl.key.location", key.to_string_lossy());
        }
    }
    if let Some(sasl) = &config.sasl {
        client.set("sasl.mechanism", &sasl.mechanism);
        client.set("sasl.username", &sasl.user);
        client.set("sasl.password", &sasl.password);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[(&str, &str)]) -> Config {
        Config {
            brokers: vec!["127.0.0.1:9092".into()],
            topics: vec!["logs".into()],
            group: "alcedo".into(),
            options: options.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            ..Config::default()
        }
    }

    #[test]
    fn options_are_checked_and_may_not_undo_what_is_promised() {
        assert_eq!(
            check(&with(&[("group.instance.id", "a"), ("fetch.max.bytes", "2000000")])),
            Ok(())
        );
        let unknown = check(&with(&[("fetch.max.byte", "1")])).unwrap_err();
        assert!(matches!(&unknown, ConfigError::Unknown { name, .. } if name == "fetch.max.byte"));
        let wrong = check(&with(&[("fetch.wait.max.ms", "soon")])).unwrap_err();
        assert!(matches!(&wrong, ConfigError::Unknown { value, .. } if value == "soon"), "{wrong}");
        for name in OURS {
            let refused = check(&with(&[(name, "true")])).unwrap_err();
            assert_eq!(refused, ConfigError::Ours { name: (*name).into() });
        }
    }

    #[test]
    fn what_only_the_whole_client_can_tell_is_checked() {
        let together = check(&with(&[("max.poll.interval.ms", "5000")])).unwrap_err();
        assert!(matches!(&together, ConfigError::Client { .. }), "{together}");
        assert!(together.to_string().contains("session.timeout.ms"), "{together}");
        // A file that is no certificate.
        let ca = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into());
        let config = Config { tls: Some(Tls { ca, identity: None }), ..with(&[]) };
        let no_authority = check(&config).unwrap_err();
        assert!(no_authority.to_string().contains("ssl.ca.location"), "{no_authority}");
    }

    #[test]
    fn tls_and_names_make_the_protocol_and_a_password_is_not_shown() {
        let sasl = Sasl {
            mechanism: "SCRAM-SHA-512".into(),
            user: "alcedo".into(),
            password: "hunter2".into(),
        };
        let protocol = |tls: bool, sasl: Option<Sasl>| {
            let config = Config { tls: tls.then(Tls::default), sasl, ..with(&[]) };
            assert_eq!(check(&config), Ok(()));
            client(&config).unwrap().get("security.protocol").unwrap().to_owned()
        };
        assert_eq!(protocol(false, None), "plaintext");
        assert_eq!(protocol(true, None), "ssl");
        assert_eq!(protocol(false, Some(sasl.clone())), "sasl_plaintext");
        assert_eq!(protocol(true, Some(sasl.clone())), "sasl_ssl");
        assert!(!format!("{sasl:?}").contains("hunter2"));
    }
}
