//! How many connections each listener has places for: never so many that what they hold fills the memory,
//! or that the journal and the store find no file descriptor.

use crate::config::{Config, SourceKind, Transport};
use io::sources::listener::Caps;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Most that a connection may hold besides what it takes from its source's budget: the head of a request
/// over HTTP; elsewhere what is read at once, and the free part of a message or frame without an end, or
/// the answers that a sender over RELP does not take.
pub const CONNECTION_BYTES: usize = 64 << 10;
/// Part of the memory ceiling that all connections of one listener may hold so.
const MEMORY_PART: u64 = 8;
/// File descriptors that connections leave to all others: segments, files of the store in searches,
/// destinations.
const FILES_KEPT: u64 = 512;
/// Places of a listener in any case.
const PLACES_MIN: u64 = 16;

/// Takes as many file descriptors as the system lets this process have; how many it may have then.
pub fn take_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    // None means that there is no limit.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The places of each listener of this configuration.
pub fn caps(config: &Config, memory_max: u64, descriptors: u64) -> Caps {
    let streams = |kind: &SourceKind| match kind {
        SourceKind::Http | SourceKind::Kafka(_) => 0,
        SourceKind::Agent(_) => 1,
        SourceKind::Syslog(listens) => {
            listens.iter().filter(|l| l.transport != Transport::Udp).count() as u64
        }
    };
    let listeners = 1 + config.sources.iter().map(|s| streams(&s.kind)).sum::<u64>();
    let left = descriptors.saturating_sub(FILES_KEPT).max(descriptors / 2) / listeners;
    let room = memory_max / MEMORY_PART / CONNECTION_BYTES as u64;
    let most = Caps::default();
    let total = left.min(room).clamp(PLACES_MIN, most.total as u64) as usize;
    Caps { total, per_peer: most.per_peer.min(total / 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_memory_and_descriptors() {
        let config = Config::default();
        let of = |memory_mib: u64, descriptors| {
            let caps = caps(&config, memory_mib << 20, descriptors);
            (caps.total, caps.per_peer)
        };
        let most = Caps::default();
        assert_eq!(of(16 << 10, u64::MAX), (most.total, most.per_peer));
        assert_eq!(of(432, u64::MAX), (864, 256));
        let few = of(16 << 10, 256);
        assert!(few.0 <= 128 && few.1 == few.0 / 2, "{few:?}");
        assert_eq!(of(1, 1), (16, 8));
        assert!(take_descriptors() >= 256);
    }
}
