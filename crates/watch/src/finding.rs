//! What the monitors say, and how it becomes an alert.

use alert::{alert_id, entity_key};
use event::text::render;
use event::time::{SECOND_NS, rfc3339};
use event::{Alert, EventId, Explanation, Level};
pub use event::{Certainty, GapCause};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A tick of the journal: where and when the monitors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The tick record itself; alerts of monitors name it as the event that fired them.
    pub id: EventId,
    /// Stream time, ns.
    pub stream_ns: i64,
    /// Wall time, ns since 1970-01-01 UTC.
    pub wall_ns: i64,
}

/// The built-in monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// A source or host stopped sending.
    Silent,
    /// A source sends far more than usual.
    Volume,
    /// Events are known or feared to be lost.
    Gap,
    /// Counts of one minute do not add up.
    Balance,
}

impl Monitor {
    /// All monitors with their rule id and title.
    pub const ALL: &[(Monitor, &'static str, &'static str)] = &[
        (Monitor::Silent, "alcedo.silent_source", "Source went silent"),
        (Monitor::Volume, "alcedo.volume_spike", "Unusual volume"),
        (Monitor::Gap, "alcedo.gap", "Events lost"),
        (Monitor::Balance, "alcedo.imbalance", "Events not accounted for"),
    ];

    /// Id of the rule its alerts carry.
    pub fn rule_id(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Title of its alerts.
    pub fn title(self) -> &'static str {
        Self::ALL[self as usize].2
    }
}

/// Something an operator should know about the flow of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// Nothing came for too long.
    Silent {
        /// Source.
        source: String,
        /// The host, where one host of several went silent; `None` means the whole source.
        host: Option<String>,
        /// Hosts of the source that went silent at the same tick, where they are reported as one.
        hosts_silent: usize,
        /// Its last event, wall ns.
        last_wall_ns: i64,
        /// For how long, ns of stream time.
        silent_ns: i64,
        /// After how long it counts as silent, ns.
        threshold_ns: i64,
        /// How much history stands behind the threshold.
        level: Level,
        /// When it was found.
        tick: Tick,
    },
    /// Far more than usual came.
    Spike {
        /// Source.
        source: String,
        /// Events in the last bucket.
        count: u64,
        /// What is usual.
        expected: u64,
        /// Length of a bucket, ns.
        bucket_ns: i64,
        /// When it was found.
        tick: Tick,
    },
    /// An earlier finding is over.
    Recovered {
        /// Of which monitor.
        monitor: Monitor,
        /// Source.
        source: String,
        /// Host, as in the finding that is over.
        host: Option<String>,
        /// How long it lasted, ns of stream time.
        lasted_ns: i64,
        /// When it was found.
        tick: Tick,
    },
    /// Events were lost, or may have been.
    Gap {
        /// Source.
        source: String,
        /// Why.
        cause: GapCause,
        /// How many events, if that is known.
        count: Option<u64>,
        /// How sure it is.
        certainty: Certainty,
        /// When it was found.
        tick: Tick,
    },
    /// One minute of one source does not add up.
    Imbalance {
        /// Source.
        source: String,
        /// Minute of receipt, minutes since 1970-01-01 UTC.
        minute: i64,
        /// Received and expanded.
        came_in: u64,
        /// All that became of them.
        accounted: u64,
        /// When it was found.
        tick: Tick,
    },
}

impl Finding {
    /// Which monitor it comes from.
    pub fn monitor(&self) -> Monitor {
        match self {
            Self::Silent { .. } => Monitor::Silent,
            Self::Spike { .. } => Monitor::Volume,
            Self::Recovered { monitor, .. } => *monitor,
            Self::Gap { .. } => Monitor::Gap,
            Self::Imbalance { .. } => Monitor::Balance,
        }
    }

    /// Its source.
    pub fn source(&self) -> &str {
        match self {
            Self::Silent { source, .. }
            | Self::Spike { source, .. }
            | Self::Recovered { source, .. }
            | Self::Gap { source, .. }
            | Self::Imbalance { source, .. } => source,
        }
    }

    /// When it was found.
    pub fn tick(&self) -> Tick {
        match self {
            Self::Silent { tick, .. }
            | Self::Spike { tick, .. }
            | Self::Recovered { tick, .. }
            | Self::Gap { tick, .. }
            | Self::Imbalance { tick, .. } => *tick,
        }
    }

    /// Known loss is high, and so is a sender that exists twice; an accounting error is critical,
    /// suspicion at most medium: a weak signal alone should not wake anybody.
    pub fn level(&self) -> Level {
        match self {
            Self::Silent { level, .. } => *level,
            Self::Spike { .. } => Level::Low,
            Self::Recovered { .. } => Level::Informational,
            Self::Gap { certainty: Certainty::Known, .. }
            | Self::Gap { cause: GapCause::AgentFork, .. } => Level::High,
            Self::Gap { .. } => Level::Medium,
            Self::Imbalance { .. } => Level::Critical,
        }
    }

    /// One sentence for people. Names are escaped.
    pub fn sentence(&self) -> String {
        let name = |source: &str, host: &Option<String>| match host {
            Some(host) => format!("{} ({})", render(host.as_bytes()), render(source.as_bytes())),
            None => render(source.as_bytes()),
        };
        match self {
            Self::Silent {
                source,
                host,
                hosts_silent,
                last_wall_ns,
                silent_ns,
                threshold_ns,
                ..
            } => {
                let who = match hosts_silent {
                    0 | 1 => name(source, host),
                    n => format!("{n} hosts of {}", render(source.as_bytes())),
                };
                format!(
                    "{who} silent for {}: last event {}, expected within {}",
                    span(*silent_ns),
                    rfc3339(*last_wall_ns),
                    span(*threshold_ns)
                )
            }
            Self::Spike { source, count, expected, bucket_ns, .. } => format!(
                "{} sent {count} events in {}, usual are {expected}",
                name(source, &None),
                span(*bucket_ns)
            ),
            Self::Recovered { monitor: Monitor::Silent, source, host, lasted_ns, .. } => {
                format!("{} sends again after {}", name(source, host), span(*lasted_ns))
            }
            Self::Recovered { source, host, lasted_ns, .. } => {
                format!(
                    "{} is back to its usual volume after {}",
                    name(source, host),
                    span(*lasted_ns)
                )
            }
            Self::Gap { source, cause: GapCause::AgentFork, .. } => format!(
                "{}: an agent exists twice, as a copy of its state folder, or came back from an \
                 older image; what both sent is kept apart, some of it may be missing or there twice",
                name(source, &None),
            ),
            Self::Gap { source, cause, count, certainty, .. } => format!(
                "{} events of {} {} lost ({})",
                count.map_or("some".into(), |n| n.to_string()),
                name(source, &None),
                if *certainty == Certainty::Known { "were" } else { "may be" },
                cause.name(),
            ),
            Self::Imbalance { source, minute, came_in, accounted, .. } => format!(
                "{}: of {came_in} events received in the minute of {} {accounted} are accounted for",
                name(source, &None),
                rfc3339(minute.saturating_mul(60 * SECOND_NS)),
            ),
        }
    }

    /// The alert for it, with the same kind of id every other alert has.
    pub fn to_alert(&self) -> Alert {
        let (monitor, tick) = (self.monitor(), self.tick());
        let mut entity = BTreeMap::from([("alcedo.source".to_owned(), self.source().to_owned())]);
        if let Self::Silent { host: Some(host), .. } | Self::Recovered { host: Some(host), .. } =
            self
        {
            entity.insert("host.name".to_owned(), host.clone());
        }
        let mut key = entity_key(&entity);
        if let Self::Imbalance { minute, .. } = self {
            key.extend_from_slice(&minute.to_be_bytes());
        }
        let over = matches!(self, Self::Recovered { .. });
        let rule_id = match over {
            true => format!("{}.recovered", monitor.rule_id()),
            false => monitor.rule_id().to_owned(),
        };
        Alert {
            id: alert_id(&rule_id, &key, tick.id),
            title: format!("{}{}", monitor.title(), if over { ": over" } else { "" }),
            rule_id,
            rule_type: "monitor".into(),
            author: "Alcedo".into(),
            level: self.level(),
            tags: Vec::new(),
            rule_hash: String::new(),
            generation: 0,
            reason: self.sentence(),
            entity,
            event_ns: tick.wall_ns,
            stream_ns: tick.stream_ns,
            fired_by: tick.id,
            evidence: Vec::new(),
            count: 1,
            explanation: Explanation { condition: None, correlation: self.facts() },
            backfill: false,
        }
    }

    /// What it rests on, by name, for whoever asks why.
    fn facts(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let mut say = |name: &str, value: String| {
            out.insert(name.to_owned(), value);
        };
        say("monitor", self.monitor().rule_id().to_owned());
        say("source", render(self.source().as_bytes()));
        match self {
            Self::Silent { hosts_silent, last_wall_ns, silent_ns, threshold_ns, .. } => {
                say("last_event", rfc3339(*last_wall_ns));
                say("silent_for", span(*silent_ns));
                say("expected_within", span(*threshold_ns));
                say("hosts_silent", hosts_silent.to_string());
            }
            Self::Spike { count, expected, bucket_ns, .. } => {
                say("events", count.to_string());
                say("usual", expected.to_string());
                say("within", span(*bucket_ns));
            }
            Self::Recovered { lasted_ns, .. } => say("lasted", span(*lasted_ns)),
            Self::Gap { cause, count, certainty, tick, .. } => {
                say("cause", cause.name().to_owned());
                say("what_happened", what_happened(*cause).to_owned());
                say("certainty", certainty.name().to_owned());
                say("events_lost", count.map_or("not known".into(), |n| n.to_string()));
                say("gap_event", tick.id.to_string());
            }
            Self::Imbalance { minute, came_in, accounted, .. } => {
                say("minute", rfc3339(minute.saturating_mul(60 * SECOND_NS)));
                say("received_and_expanded", came_in.to_string());
                say("accounted_for", accounted.to_string());
            }
        }
        out
    }
}

/// What stands behind a cause, and what can be done.
fn what_happened(cause: GapCause) -> &'static str {
    match cause {
        GapCause::UdpDrop => {
            "the kernel dropped datagrams because its buffer was full; the protocol cannot send them \
             again: use TCP, TLS or the agent, or slow the sender"
        }
        GapCause::CrashUnacked => {
            "the server ended without being stopped while the sender was connected; what was in the \
             kernels' buffers is gone: the protocol has no acknowledgement, HTTP and the agent have"
        }
        GapCause::Corruption => {
            "stored records cannot be read any more; `alcedo journal fsck` tells which, and a backup \
             may have them; check the disk"
        }
        GapCause::SequenceHole => {
            "the sender left out numbers that it says it sent; look whether its state or its files \
             were replaced"
        }
        GapCause::RotationRace => {
            "a file was replaced before it was read to its end; keep rotated files for a while, under \
             a name that the agent follows"
        }
        GapCause::AgentFork => {
            "two agents share one state folder, or one came back from an older image; give each \
             machine a state folder of its own"
        }
        GapCause::ConsumerSkip => {
            "events were left in the journal for a store that could not write, and fewer came out \
             than went in; look at the store's problems and check the disk"
        }
        GapCause::Shed => "events were given up under overload",
        GapCause::Clock => "a clock was set, and the time of events is not certain",
        GapCause::Oversize => {
            "a frame was longer than is taken; its sender has to cut it into smaller ones"
        }
        GapCause::CutOff => {
            "a connection broke in the midst of a record; what had come of it is kept, the rest is not"
        }
        GapCause::Unread => {
            "the server closed a connection whose sender may have had more on the way, at a stop or \
             because it held too much; the protocol has no acknowledgement, RELP, HTTP and the agent have"
        }
        GapCause::Refused => {
            "records were refused and their sender cannot send them again; look at the overload and \
             disk events of that time"
        }
    }
}

/// A span of time in its two largest units.
fn span(ns: i64) -> String {
    let s = ns.max(0) / SECOND_NS;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Tick = Tick { id: EventId::at(9), stream_ns: 5, wall_ns: 0 };

    #[test]
    fn a_sender_that_exists_twice_is_told_as_such() {
        let (source, certainty) = ("hosts".to_owned(), Certainty::Possible);
        let cause = GapCause::AgentFork;
        let alert = Finding::Gap { source, cause, count: None, certainty, tick: TICK }.to_alert();
        assert_eq!((alert.level, alert.rule_id.as_str()), (Level::High, "alcedo.gap"));
        assert!(alert.reason.starts_with("hosts: an agent exists twice"), "{}", alert.reason);
        let why = alert.explanation.correlation;
        let said = |name: &str| why[name].as_str();
        assert_eq!((said("cause"), said("certainty")), ("agent_fork", "possible"));
        assert_eq!((said("events_lost"), said("source")), ("not known", "hosts"));
        assert_eq!(said("gap_event"), TICK.id.to_string());
        assert!(said("what_happened").contains("a state folder of its own"));
    }

    #[test]
    fn findings_become_alerts_with_stable_ids_and_escaped_words() {
        let finding = Finding::Silent {
            source: "fw\x1b".into(),
            host: None,
            hosts_silent: 0,
            last_wall_ns: 0,
            silent_ns: 125 * SECOND_NS,
            threshold_ns: 120 * SECOND_NS,
            level: Level::High,
            tick: TICK,
        };
        let alert = finding.to_alert();
        assert_eq!(
            alert.reason,
            "fw\\x1b silent for 2 min 5 s: last event 1970-01-01T00:00:00Z, expected within 2 min 0 s"
        );
        assert_eq!((alert.rule_id.as_str(), alert.level), ("alcedo.silent_source", Level::High));
        assert_eq!(alert, finding.to_alert());
        let text = serde_json::to_string(&finding).unwrap();
        assert_eq!(serde_json::from_str::<Finding>(&text).unwrap(), finding);
        for (index, (monitor, ..)) in Monitor::ALL.iter().enumerate() {
            assert_eq!(*monitor as usize, index);
        }
    }
}
