//! Identity of an event: where it stands in the durable stream.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The place of one event in the `data` stream, unique for the life of an installation.
///
/// Ordered by (partition, offset, sub), which is the total order of processing.
/// Text form: `partition-offset-sub`, for example `0-88123-0`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct EventId {
    /// Partition of the stream; 0 on one machine.
    pub partition: u32,
    /// Offset of the record within its partition. Increases; need not be dense.
    pub offset: u64,
    /// Number of the event among those expanded from one record, from 0.
    pub sub: u32,
}

impl EventId {
    /// The first event of the record at `offset` of partition 0.
    pub const fn at(offset: u64) -> Self {
        Self { partition: 0, offset, sub: 0 }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.partition, self.offset, self.sub)
    }
}

/// The text is not `partition-offset-sub`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an event id; write it as partition-offset-sub, for example 0-88123-0")]
pub struct EventIdError(pub String);

impl FromStr for EventId {
    type Err = EventIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || EventIdError(text.chars().take(80).collect());
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or_else(wrong);
        let (partition, offset, sub) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self {
            partition: partition.parse().map_err(|_| wrong())?,
            offset: offset.parse().map_err(|_| wrong())?,
            sub: sub.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_the_rest() {
        let id = EventId { partition: 3, offset: u64::MAX, sub: 7 };
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        for wrong in ["", "1", "1-2", "1-2-3-4", "a-2-3", "1--3", "1-2-99999999999"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }
}
