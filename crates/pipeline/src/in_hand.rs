//! What each worker has in hand, so that a record that ends the process is found and set aside.
//!
//! ```text
//! crash 1: a job of 256 records was in hand      -> its records are worked on one by one from now on
//! crash 2, 3, 4: one record was in hand, alone   -> kept raw, tagged, never parsed again
//! ```
//! A panic is contained by the worker; this is for what cannot be contained: memory that runs out, a
//! stack that overflows. Being killed from outside leaves records in hand, too: therefore it takes
//! [`CRASHES_ALONE_MAX`] crashes at one and the same record, worked on alone, until it is set aside.
//!
//! The marks live in the page cache: they survive the process, which is all they are for. A machine
//! that loses power loses them and starts to count anew.

use parking_lot::{Mutex, MutexGuard};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Crashes with a record in hand, alone, after which it is not worked on again. One or two happen to
/// an innocent record when somebody kills the process again and again; three in a row do not.
pub const CRASHES_ALONE_MAX: u32 = 3;
/// Most workers that leave a mark; further ones work without.
const SLOTS: usize = 64;
/// A slot: first offset, offset after the last; equal = nothing in hand.
const SLOT_BYTES: usize = 16;

/// Records under suspicion: offsets `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suspect {
    from: u64,
    to: u64,
    crashes_alone: u32,
}

impl Suspect {
    fn is_one(&self) -> bool {
        self.to == self.from + 1
    }
}

/// How a record has to be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// With others.
    None,
    /// In a job of its own.
    Alone,
    /// Not at all: kept raw.
    SetAside,
}

/// The marks of this process and what those of earlier ones have shown.
pub struct InHand {
    marks: Option<File>,
    suspects: Vec<Suspect>,
    alone: Mutex<()>,
}

/// A job in hand; dropping it says that it is done.
pub struct Held<'a> {
    of: &'a InHand,
    slot: usize,
    _alone: Option<MutexGuard<'a, ()>>,
}

impl InHand {
    /// Leaves no marks and suspects nothing: for runs without a folder.
    pub fn none() -> Self {
        Self { marks: None, suspects: Vec::new(), alone: Mutex::new(()) }
    }

    /// Reads what the last process had in hand when it ended, and starts afresh.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let known = dir.join("suspects");
        let before = std::fs::read_to_string(&known).map(|t| read_suspects(&t));
        let mut options = File::options();
        let marks = options.read(true).write(true).create(true).truncate(false);
        let marks = marks.open(dir.join("in-hand"))?;
        let suspects = judge(&before.unwrap_or_default(), &read_marks(&marks));
        let lines = suspects.iter().map(|s| format!("{} {} {}\n", s.from, s.to, s.crashes_alone));
        std::fs::write(&known, lines.collect::<String>())?;
        marks.write_all_at(&[0; SLOTS * SLOT_BYTES], 0)?;
        Ok(Self { marks: Some(marks), suspects, alone: Mutex::new(()) })
    }

    /// How the record at an offset has to be worked on.
    pub fn care(&self, offset: u64) -> Care {
        match self.suspects.iter().find(|s| (s.from..s.to).contains(&offset)) {
            None => Care::None,
            Some(s) if s.is_one() && s.crashes_alone >= CRASHES_ALONE_MAX => Care::SetAside,
            Some(_) => Care::Alone,
        }
    }

    /// Whether nothing is suspected: the ordinary case, for which nothing has to be looked up.
    pub fn is_clear(&self) -> bool {
        self.suspects.is_empty()
    }

    /// Marks the offsets as in hand of a worker. Suspects are in hand one after the other, so that a
    /// crash points to one of them.
    pub fn take(&self, worker: usize, offsets: Range<u64>, care: Care) -> Held<'_> {
        let alone = (care == Care::Alone).then(|| self.alone.lock());
        self.mark(worker, offsets.start, offsets.end);
        Held { of: self, slot: worker, _alone: alone }
    }

    fn mark(&self, slot: usize, from: u64, to: u64) {
        let Some(marks) = self.marks.as_ref().filter(|_| slot < SLOTS) else { return };
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&from.to_le_bytes());
        bytes[8..].copy_from_slice(&to.to_le_bytes());
        // Without the mark a crash is not understood, but nothing is lost.
        let _ = marks.write_all_at(&bytes, (slot * SLOT_BYTES) as u64);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.of.mark(self.slot, 0, 0);
    }
}

/// Suspects after a crash: what was in hand, and what has been set aside before. What was suspected
/// and not in hand is innocent, or will be in hand at the next crash.
fn judge(before: &[Suspect], in_hand: &[Range<u64>]) -> Vec<Suspect> {
    let mut out: Vec<Suspect> =
        before.iter().filter(|s| s.crashes_alone >= CRASHES_ALONE_MAX).copied().collect();
    for range in in_hand {
        let mut suspect = Suspect { from: range.start, to: range.end, crashes_alone: 0 };
        let known = before.iter().find(|s| s.from <= range.start && range.end <= s.to);
        if let Some(known) = known.filter(|_| suspect.is_one()) {
            suspect.crashes_alone = if known.is_one() { known.crashes_alone + 1 } else { 1 };
        }
        if !out.iter().any(|s| s.from <= range.start && range.end <= s.to) {
            out.push(suspect);
        }
    }
    out
}

fn read_marks(marks: &File) -> Vec<Range<u64>> {
    let mut bytes = [0; SLOTS * SLOT_BYTES];
    if marks.read_exact_at(&mut bytes, 0).is_err() {
        return Vec::new();
    }
    let number = |b: &[u8]| b.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let slots = bytes.chunks_exact(SLOT_BYTES);
    slots.map(|s| number(&s[..8])..number(&s[8..])).filter(|r| r.start < r.end).collect()
}

fn read_suspects(text: &str) -> Vec<Suspect> {
    let line = |line: &str| {
        let mut parts = line.split(' ');
        let mut next = || parts.next()?.parse::<u64>().ok();
        let (from, to, crashes) = (next()?, next()?, next()?);
        Some(Suspect { from, to, crashes_alone: crashes.min(u64::from(u32::MAX)) as u32 })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::single_range_in_vec_init, reason = "tests")]
mod tests {
    use super::*;

    /// A process that takes jobs and ends with them in hand.
    fn crash(dir: &Path, in_hand: &[Range<u64>]) {
        let hand = InHand::open(dir).unwrap();
        for (worker, range) in in_hand.iter().enumerate() {
            let care =
                if range.end == range.start + 1 { hand.care(range.start) } else { Care::None };
            // Only one suspect can be held at a time.
            std::mem::forget(hand.take(worker, range.clone(), care));
        }
    }

    #[test]
    fn a_record_that_ends_the_process_again_and_again_is_set_aside_and_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        crash(dir, &[100..200, 200..300]);
        for _ in 0..CRASHES_ALONE_MAX {
            let hand = InHand::open(dir).unwrap();
            assert_eq!(hand.care(150), Care::Alone);
            std::mem::forget(hand.take(0, 150..151, Care::Alone));
        }
        for _ in 0..2 {
            let hand = InHand::open(dir).unwrap();
            assert_eq!(hand.care(150), Care::SetAside);
            assert_eq!(
                (hand.care(149), hand.care(151), hand.care(250)),
                (Care::None, Care::None, Care::None)
            );
        }
    }

    #[test]
    fn what_was_done_is_not_suspected() {
        let dir = tempfile::tempdir().unwrap();
        let hand = InHand::open(dir.path()).unwrap();
        drop(hand.take(0, 0..10, Care::None));
        drop(hand.take(70, 10..20, Care::None));
        assert!(InHand::open(dir.path()).unwrap().is_clear());
    }

    #[test]
    fn a_record_alone_in_its_job_by_chance_is_not_counted_before_it_is_suspected() {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), &[7..8]);
        assert_eq!(InHand::open(dir.path()).unwrap().care(7), Care::Alone);
        let one = [Suspect { from: 7, to: 8, crashes_alone: 0 }];
        assert_eq!(judge(&one, &[7..8])[0].crashes_alone, 1);
        assert_eq!(judge(&one, &[8..9])[0].crashes_alone, 0);
        assert!(judge(&one, &[]).is_empty());
    }

    #[test]
    fn a_broken_file_suspects_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in-hand"), b"short").unwrap();
        std::fs::write(dir.path().join("suspects"), "x y\n5 4 1 9\n\n").unwrap();
        assert!(InHand::open(dir.path()).unwrap().is_clear());
    }
}
