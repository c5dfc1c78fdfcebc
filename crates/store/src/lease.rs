//! Who works at the backups of a bucket: a small object that names everybody, changed only as it was
//! read.
//!
//! ```text
//! alcedo-backups.lock   {"format":1,"holders":[{"id":"..","alone":false,"until_ns":..}]}
//! ```
//! Who makes a backup is there with others, who prunes is there alone. An entry holds for an hour and
//! is put off while work goes on, so that what a crash left ends by itself. Clocks of two machines may
//! differ by [`MARGIN_NS`]: others wait so much longer, and nobody goes on without having put it off.
//!
//! Nothing is deleted here: rights to read and write objects are enough.

use crate::error::StoreError;
use crate::far::{Far, FarError};
use event::time;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the object.
const LOCK: &str = "alcedo-backups.lock";
const FORMAT: u32 = 1;
const MINUTE_NS: i64 = 60 * time::SECOND_NS;
/// How long an entry holds. The longest step between two looks at it is one file of half a gigabyte,
/// there and back.
const HOLDS_NS: i64 = 60 * MINUTE_NS;
/// It is put off when so much of it has passed.
const PUT_OFF_NS: i64 = 10 * MINUTE_NS;
/// What two clocks may differ by, and a request may take.
const MARGIN_NS: i64 = 5 * MINUTE_NS;
/// A change is tried again after somebody else made one, so many times.
const TRIES: usize = 5;

#[derive(Default, Serialize, Deserialize)]
struct Holders {
    format: u32,
    holders: Vec<Holder>,
}

#[derive(Serialize, Deserialize)]
struct Holder {
    id: String,
    /// Nobody else may be there.
    alone: bool,
    until_ns: i64,
}

/// An entry of ours.
pub(crate) struct Lease {
    id: String,
    alone: bool,
    until_ns: i64,
}

impl Lease {
    /// Takes a place beside others, or alone. The inner error says who is in the way, and until when.
    pub(crate) fn take(far: &Far, alone: bool) -> Result<Result<Self, String>, StoreError> {
        let random = || RandomState::new().hash_one(0u8);
        let mut lease =
            Self { id: format!("{:016x}{:016x}", random(), random()), alone, until_ns: 0 };
        let mut refused = None;
        lease.change(far, &mut |lease, holders, now_ns| {
            // An entry of our own is one that was written while its answer was lost.
            let others = holders.iter().filter(|other| other.id != lease.id);
            let others = others.filter(|other| alone || other.alone);
            refused = others.max_by_key(|other| other.until_ns).map(in_the_way);
            match refused {
                Some(_) => false,
                None => lease.enter(holders, now_ns),
            }
        })?;
        Ok(match refused {
            Some(reason) => Err(reason),
            None => Ok(lease),
        })
    }

    /// Puts the end off if that is due, or at once if it is to be `certain`. An error once the entry is
    /// gone: others may have begun.
    pub(crate) fn put_off(&mut self, far: &Far, certain: bool) -> Result<(), StoreError> {
        if !certain && now_ns() + HOLDS_NS - PUT_OFF_NS < self.until_ns {
            return Ok(());
        }
        let mut is_there = false;
        self.change(far, &mut |lease, holders, now_ns| {
            is_there = holders.iter().any(|holder| holder.id == lease.id);
            is_there && lease.enter(holders, now_ns)
        })?;
        match is_there {
            true => Ok(()),
            false => Err(failed("it took too long, and others may have begun: try again")),
        }
    }

    /// Gives the place up. If that fails it ends by itself.
    pub(crate) fn give_up(mut self, far: &Far) {
        let gone = self.change(far, &mut |lease, holders, _| {
            let before = holders.len();
            holders.retain(|holder| holder.id != lease.id);
            holders.len() < before
        });
        if let Err(error) = gone {
            tracing::warn!(%error, "a place at the backups is kept until its time is over");
        }
    }

    fn enter(&mut self, holders: &mut Vec<Holder>, now_ns: i64) -> bool {
        self.until_ns = now_ns + HOLDS_NS;
        holders.retain(|holder| holder.id != self.id);
        let Self { id, alone, until_ns } = self;
        holders.push(Holder { id: id.clone(), alone: *alone, until_ns: *until_ns });
        true
    }

    /// Reads who is there, without those whose time is over, and writes what `change` makes of it unless
    /// that says that nothing is to be written.
    fn change(
        &mut self,
        far: &Far,
        change: &mut dyn FnMut(&mut Self, &mut Vec<Holder>, i64) -> bool,
    ) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let read = far.small_with_version(LOCK).map_err(|e| e.of(LOCK))?;
            let (bytes, version) = read.map_or((None, None), |(b, v)| (Some(b), Some(v)));
            let mut there: Holders = match bytes {
                Some(bytes) => serde_json::from_slice(&bytes)
                    .map_err(|_| failed("it is not ours: choose another prefix"))?,
                None => Holders { format: FORMAT, ..Holders::default() },
            };
            if there.format > FORMAT {
                return Err(failed("it was made by a newer version of this program"));
            }
            let now_ns = now_ns();
            there.holders.retain(|h| h.until_ns.saturating_add(MARGIN_NS) > now_ns);
            if !change(self, &mut there.holders, now_ns) {
                return Ok(());
            }
            let text = serde_json::to_vec(&there).expect("plain data always serialises");
            match far.replace(LOCK, text, version) {
                Ok(()) => return Ok(()),
                Err(FarError { is_conflict: true, .. }) => {}
                Err(error) => return Err(error.of(LOCK)),
            }
        }
        Err(failed("others change it all the time: try again"))
    }
}

fn failed(reason: &str) -> StoreError {
    StoreError::Far { object: LOCK.into(), reason: reason.into() }
}

fn in_the_way(other: &Holder) -> String {
    let until = time::rfc3339(other.until_ns.saturating_add(MARGIN_NS));
    let what = match other.alone {
        true => "old backups are being pruned",
        false => "a backup is being made",
    };
    format!("{what}: try again when it is done, or after {until} if it was cut off")
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
