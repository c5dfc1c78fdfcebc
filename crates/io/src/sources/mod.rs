//! Sources: what listens, and what each promises its senders.

pub mod agent;
pub mod listener;
pub mod relp;
mod stream;
pub mod syslog_tcp;
pub mod syslog_udp;

/// What a sender learns from a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The protocol has no answer; loss in the kernel's buffers is possible and counted.
    None,
    /// No answer either, but a full journal closes the TCP window and the sender waits.
    Backpressure,
    /// An answer, sent only after the data is durable.
    Durable,
}

/// One kind of source.
#[derive(Clone, Copy, Debug)]
pub struct SourceKind {
    /// Name in configuration.
    pub name: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// Usual port.
    pub port: u16,
    /// What a sender learns.
    pub ack: Ack,
    /// The protocol stamped on its records.
    pub protocol: event::Protocol,
}

/// Every kind of source.
pub const SOURCES: &[SourceKind] = &[
    SourceKind {
        name: "syslog_udp",
        doc: "Syslog datagrams (RFC 5426, RFC 3164); kernel drops are counted and journaled.",
        port: 514,
        ack: Ack::None,
        protocol: event::Protocol::SyslogUdp,
    },
    SourceKind {
        name: "syslog_tcp",
        doc: "Syslog over TCP (RFC 6587), octet counting and newlines told apart per message.",
        port: 601,
        ack: Ack::Backpressure,
        protocol: event::Protocol::SyslogTcp,
    },
    SourceKind {
        name: "syslog_tls",
        doc: "Syslog over TLS (RFC 5425), with client certificates if asked for.",
        port: 6514,
        ack: Ack::Backpressure,
        protocol: event::Protocol::SyslogTls,
    },
    SourceKind {
        name: "relp",
        doc: "Syslog over RELP, plain or TLS: each message is answered after it is durable.",
        port: 2514,
        ack: Ack::Durable,
        protocol: event::Protocol::Relp,
    },
    SourceKind {
        name: "http",
        doc: "HTTP POST of JSON, NDJSON or text, gzip or zstd; 200 after the data is durable.",
        port: 8080,
        ack: Ack::Durable,
        protocol: event::Protocol::Http,
    },
    SourceKind {
        name: "agent",
        doc: "Alcedo's own agents: numbered batches, cumulative acks, no loss and no repeats.",
        port: 8444,
        ack: Ack::Durable,
        protocol: event::Protocol::Agent,
    },
    SourceKind {
        name: "kafka",
        doc: "Topics of Kafka (crate `kafka`): offsets are told to the group after the data is durable.",
        port: 9092,
        ack: Ack::Durable,
        protocol: event::Protocol::Kafka,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn kinds_have_unique_names_ports_protocols_and_a_doc_line() {
        let names: BTreeSet<_> = SOURCES.iter().map(|k| k.name).collect();
        let ports: BTreeSet<_> = SOURCES.iter().map(|k| k.port).collect();
        let protocols: BTreeSet<_> = SOURCES.iter().map(|k| k.protocol).collect();
        for set in [names.len(), ports.len(), protocols.len()] {
            assert_eq!(set, SOURCES.len());
        }
        for kind in SOURCES {
            assert!(kind.doc.ends_with('.') && !kind.doc.contains('\n'), "{}", kind.name);
        }
    }
}
