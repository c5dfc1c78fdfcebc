//! Where reading of a partition begins, from what the journal, the group and the broker know of it.

use crate::Start;
use event::{Certainty, GapCause, Producer};

/// What is durable of a partition: the epoch of its numbers and its last offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
}

/// What a partition has: its oldest offset, and the one that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct There {
    pub(crate) low: u64,
    pub(crate) next: u64,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    /// What is lost, or may be.
    pub(crate) lost: Option<Lost>,
}

/// Records that cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) cause: GapCause,
    pub(crate) certainty: Certainty,
    /// First and last offset, where they are known. Some of them may never have been records.
    pub(crate) offsets: Option<(u64, u64)>,
}

impl Lost {
    /// Another topic of the same name, or one that lost its end: what it had before may be unread.
    const REPLACED: Self =
        Self { cause: GapCause::RotationRace, certainty: Certainty::Possible, offsets: None };

    /// The broker dropped these before they were read.
    fn dropped(from: u64, below: u64) -> Self {
        let offsets = Some((from, below - 1));
        Self { cause: GapCause::SequenceHole, certainty: Certainty::Known, offsets }
    }
}

/// Where to begin. The last durable record is read again where it is still there: the journal holds it against
/// the one it has.
pub(crate) fn begin(
    known: Option<Known>,
    committed: Option<u64>,
    there: There,
    start: Start,
) -> Begin {
    let There { low, next } = there;
    let epoch = known.map_or(Producer::WITH_HOLES, |known| known.epoch);
    let wanted = match (known, committed) {
        (None, None) => {
            let offset = if start == Start::Earliest { low } else { next };
            return Begin { epoch, offset, lost: None };
        }
        // Another member went on where we stopped.
        (Some(known), Some(committed)) if committed > known.offset + 1 && committed <= next => {
            committed
        }
        (Some(known), _) => known.offset + 1,
        (None, Some(committed)) => committed,
    };
    if wanted > next {
        return replaced(known, low);
    }
    if wanted < low {
        return Begin { epoch, offset: low, lost: Some(Lost::dropped(wanted, low)) };
    }
    let last = known.map(|known| known.offset).filter(|last| *last >= low && last + 1 == wanted);
    Begin { epoch, offset: last.unwrap_or(wanted), lost: None }
}

/// The partition is not the one that was read: all of it is new.
pub(crate) fn replaced(known: Option<Known>, low: u64) -> Begin {
    let epoch = known.map_or(Producer::WITH_HOLES, |known| next_epoch(known.epoch));
    Begin { epoch, offset: low, lost: Some(Lost::REPLACED) }
}

/// The epoch behind this one.
fn next_epoch(epoch: u64) -> u64 {
    Producer::WITH_HOLES | (epoch.wrapping_add(1) & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = Producer::WITH_HOLES;
    const THERE: There = There { low: 100, next: 200 };

    fn known(offset: u64) -> Option<Known> {
        Some(Known { epoch: FIRST, offset })
    }

    fn at(epoch: u64, offset: u64) -> Begin {
        Begin { epoch, offset, lost: None }
    }

    #[test]
    fn what_nobody_read_begins_where_it_is_wanted() {
        assert_eq!(begin(None, None, THERE, Start::Earliest), at(FIRST, 100));
        assert_eq!(begin(None, None, THERE, Start::Latest), at(FIRST, 200));
        assert_eq!(begin(None, Some(150), THERE, Start::Earliest), at(FIRST, 150));
    }

    #[test]
    fn the_last_durable_record_is_read_again() {
        for committed in [None, Some(120), Some(150), Some(151)] {
            assert_eq!(begin(known(150), committed, THERE, Start::Latest), at(FIRST, 150));
        }
        // It was dropped meanwhile, or nothing is left.
        assert_eq!(begin(known(99), None, THERE, Start::Latest), at(FIRST, 100));
        assert_eq!(
            begin(known(199), None, There { low: 200, next: 200 }, Start::Latest),
            at(FIRST, 200)
        );
        assert_eq!(begin(known(199), None, THERE, Start::Latest), at(FIRST, 199));
    }

    #[test]
    fn where_another_member_went_on_we_follow() {
        assert_eq!(begin(known(120), Some(180), THERE, Start::Earliest), at(FIRST, 180));
        let lost = Lost::dropped(80, 100);
        let expected = Begin { epoch: FIRST, offset: 100, lost: Some(lost) };
        assert_eq!(begin(known(20), Some(80), THERE, Start::Earliest), expected);
    }

    #[test]
    fn what_the_broker_dropped_is_a_gap_with_its_ends() {
        let begun = begin(known(49), Some(50), THERE, Start::Earliest);
        let lost = Lost {
            cause: GapCause::SequenceHole,
            certainty: Certainty::Known,
            offsets: Some((50, 99)),
        };
        assert_eq!(begun, Begin { epoch: FIRST, offset: 100, lost: Some(lost) });
        assert_eq!(begin(None, Some(50), THERE, Start::Latest), begun);
    }

    #[test]
    fn a_topic_that_is_shorter_than_what_was_read_is_another_one() {
        for committed in [None, Some(301), Some(1)] {
            let begun = begin(known(300), committed, THERE, Start::Latest);
            assert_eq!(begun, Begin { epoch: FIRST + 1, offset: 100, lost: Some(Lost::REPLACED) });
        }
        let begun = begin(None, Some(300), THERE, Start::Latest);
        assert_eq!(begun, Begin { epoch: FIRST, offset: 100, lost: Some(Lost::REPLACED) });
        // A commit beyond the end does not hide what is there.
        assert_eq!(begin(known(150), Some(300), THERE, Start::Latest), at(FIRST, 150));
        let last = Known { epoch: FIRST | u64::from(u32::MAX), offset: 300 };
        assert_eq!(begin(Some(last), None, THERE, Start::Latest).epoch, FIRST);
    }
}
