//! The door that all sources share: who gets through, who waits, and what is shut under overload.
//!
//! ```text
//! source a --Lane--+            free bytes: nobody may hold more than what is still free
//! source b --Lane--+--> Door    paced: so many bytes until the next look
//! source c --Lane--+            shut:  asking protocols told no; streams, datagrams not read
//! ```

use crate::intake::RefusedCause;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering::SeqCst};

/// Bytes of all sources together between sockets and durability. Below the journal's own limit of
/// 64 MiB, so that the door decides who waits, not chance.
pub const DOOR_BYTES_DEFAULT: usize = 48 << 20;

/// What a lane may still take that is not paced.
const UNPACED: i64 = i64::MAX;

/// The door all sources share. A source may hold no more than what is still free (dynamic thresholds,
/// Choudhury and Hahne 1998): alone it gets half of the door, of two floods each gets a third, and
/// there is always room for the one that has been quiet.
#[derive(Clone, Debug)]
pub struct Door {
    used: Arc<AtomicUsize>,
    size_bytes: usize,
    shut: Arc<AtomicU8>,
    /// Why it is shut.
    cause: Arc<parking_lot::Mutex<RefusedCause>>,
    changed: Arc<tokio::sync::Notify>,
}

/// Whom the door is shut to; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Shut {
    /// Nobody.
    #[default]
    Open = 0,
    /// Senders that are told to come again.
    Asking = 1,
    /// Streams: they are not read, and their senders' windows close.
    Streams = 2,
    /// Datagrams: the kernel drops and counts.
    Datagrams = 3,
}

/// A source's place in a [`Door`].
#[derive(Clone, Debug)]
pub struct Lane {
    door: Door,
    used: Arc<AtomicUsize>,
    /// Bytes it may take until it is paced anew; debts are carried over.
    left: Arc<AtomicI64>,
}

/// Bytes that a source holds; dropping it gives them back.
#[derive(Debug)]
pub struct Pass {
    lane: Lane,
    bytes: usize,
}

/// Whose fault an overload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// This source is above its share; others get through.
    OwnShare,
    /// All sources together are too much.
    Everybody,
}

impl Door {
    /// A door for `size_bytes` (at least one).
    pub fn new(size_bytes: usize) -> Self {
        let (used, shut, changed) = (Arc::default(), Arc::default(), Arc::default());
        let cause = Arc::new(parking_lot::Mutex::new(RefusedCause::Overloaded));
        Self { used, size_bytes: size_bytes.max(1), shut, cause, changed }
    }

    /// Bytes under way now, of all sources.
    pub fn used_bytes(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// What may be under way.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Shuts it to some, or opens it again; `cause` is what those are told who are turned away.
    pub fn shut(&self, to: Shut, cause: RefusedCause) {
        *self.cause.lock() = cause;
        self.shut.store(to as u8, SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether it is shut to these.
    pub fn is_shut(&self, to: Shut) -> bool {
        self.shut.load(SeqCst) >= to as u8
    }

    /// Why those who ask are turned away; `None` when they are not.
    pub fn refusal(&self) -> Option<RefusedCause> {
        self.is_shut(Shut::Asking).then(|| *self.cause.lock())
    }

    /// A new source's place.
    pub fn lane(&self) -> Lane {
        Lane { door: self.clone(), used: Arc::default(), left: Arc::new(UNPACED.into()) }
    }
}

impl Lane {
    /// Bytes of this source under way.
    pub fn used_bytes(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// The door.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// What it may take until the next call; `None`: as much as there is room for. A batch that goes
    /// over is taken whole, and what it went over is missing the next time.
    pub fn pace(&self, bytes: Option<u64>) {
        let bytes = bytes.map(|bytes| i64::try_from(bytes).unwrap_or(UNPACED));
        let next = |left: i64| bytes.map_or(UNPACED, |bytes| bytes.saturating_add(left.min(0)));
        let _ = self.left.fetch_update(SeqCst, SeqCst, |left| Some(next(left)));
        self.door.changed.notify_waiters();
    }

    /// Room right now, or whose fault it is that there is none. A source that holds nothing gets
    /// through with a batch of any size while the door is not full.
    pub fn try_take(&self, bytes: usize) -> Result<Pass, Overload> {
        let free = self.door.size_bytes.saturating_sub(self.door.used.load(SeqCst));
        let own = self.used.load(SeqCst);
        if free == 0 {
            return Err(Overload::Everybody);
        }
        if own > 0 && own.saturating_add(bytes) > free || self.left.load(SeqCst) <= 0 {
            return Err(Overload::OwnShare);
        }
        Ok(self.enter(bytes))
    }

    /// Takes room whether there is some or not: for records of losses, and at the end.
    pub fn enter(&self, bytes: usize) -> Pass {
        let less = |left: i64| (left != UNPACED).then(|| left.saturating_sub(bytes as i64));
        let _ = self.left.fetch_update(SeqCst, SeqCst, less);
        self.used.fetch_add(bytes, SeqCst);
        self.door.used.fetch_add(bytes, SeqCst);
        Pass { lane: self.clone(), bytes }
    }

    /// Waits for room, and for the door to be open to `who`.
    pub async fn take(&self, bytes: usize, who: Shut) -> Pass {
        loop {
            let changed = self.door.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.door.is_shut(who)
                && let Ok(pass) = self.try_take(bytes)
            {
                return pass;
            }
            changed.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.lane.used.fetch_sub(self.bytes, SeqCst);
        self.lane.door.used.fetch_sub(self.bytes, SeqCst);
        self.lane.door.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_leaves_room_and_is_told_that_it_is_its_own() {
        let door = Door::new(1000);
        let (flood, quiet, second) = (door.lane(), door.lane(), door.lane());
        let mut held = Vec::new();
        let refused = loop {
            match flood.try_take(10) {
                Ok(pass) => held.push(pass),
                Err(why) => break why,
            }
        };
        assert_eq!((refused, flood.used_bytes()), (Overload::OwnShare, 500));
        assert!(quiet.try_take(300).is_ok());
        let pass = second.try_take(200).unwrap();
        assert!(second.try_take(200).is_err() && quiet.try_take(300).is_ok());
        drop((pass, held));
        assert_eq!((door.used_bytes(), flood.used_bytes()), (0, 0));
        // One huge batch still passes, alone; then the door is everybody's trouble.
        let _huge = flood.try_take(5000).unwrap();
        assert_eq!(quiet.try_take(1).err(), Some(Overload::Everybody));
    }

    #[test]
    fn a_paced_source_gets_its_share_and_pays_its_debts() {
        let door = Door::new(1 << 20);
        let (noisy, quiet) = (door.lane(), door.lane());
        noisy.pace(Some(100));
        assert!(noisy.try_take(250).is_ok());
        assert_eq!(noisy.try_take(1).err(), Some(Overload::OwnShare));
        assert!(quiet.try_take(5000).is_ok());
        noisy.pace(Some(100));
        assert!(noisy.try_take(1).is_err(), "it owes 150");
        noisy.pace(Some(100));
        assert!(noisy.try_take(1).is_ok());
        noisy.pace(None);
        assert!(noisy.try_take(5000).is_ok());
    }

    #[tokio::test]
    async fn a_shut_door_keeps_streams_before_datagrams_and_opens_again() {
        let door = Door::new(1000);
        let lane = door.lane();
        let takes = async |who| {
            tokio::time::timeout(Duration::from_millis(30), lane.take(1, who)).await.is_ok()
        };
        assert!(takes(Shut::Streams).await);
        assert_eq!(door.refusal(), None);
        door.shut(Shut::Asking, RefusedCause::MemoryShort);
        assert_eq!(door.refusal(), Some(RefusedCause::MemoryShort));
        assert!(door.is_shut(Shut::Asking) && takes(Shut::Streams).await);
        door.shut(Shut::Streams, RefusedCause::DiskFull);
        assert!(!takes(Shut::Streams).await && takes(Shut::Datagrams).await);
        door.shut(Shut::Datagrams, RefusedCause::DiskFull);
        assert!(!takes(Shut::Datagrams).await);
        let (waiting, opened) = (lane.clone(), door.clone());
        let waiting = tokio::spawn(async move { waiting.take(1, Shut::Streams).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        opened.shut(Shut::Open, RefusedCause::Overloaded);
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    }
}
