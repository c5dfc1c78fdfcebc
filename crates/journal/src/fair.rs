//! The writer's waiting room: one line per source, served in turn, so that a source that floods only
//! makes its own line longer.
//!
//! Deficit round robin (Shreedhar and Varghese, 1996): constant work per batch, fair in bytes.

use crate::writer::Submission;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Bytes a line gets per turn: a few network reads, a sixteenth of a group.
const QUANTUM_BYTES: u64 = 64 * 1024;

#[derive(Default)]
struct Line {
    waiting: VecDeque<Submission>,
    credit_bytes: u64,
}

/// Batches by source. Order is kept within a source.
#[derive(Default)]
pub(crate) struct FairQueue {
    lines: HashMap<Arc<str>, Line>,
    turns: VecDeque<Arc<str>>,
}

impl FairQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(crate) fn push(&mut self, submission: Submission) {
        match self.lines.get_mut(&submission.source) {
            Some(line) => line.waiting.push_back(submission),
            None => {
                let source = submission.source.clone();
                let waiting = VecDeque::from([submission]);
                self.lines.insert(source.clone(), Line { waiting, credit_bytes: 0 });
                self.turns.push_back(source);
            }
        }
    }

    /// Takes about `bytes_max` bytes of batches, at least one batch if there is any.
    pub(crate) fn take(&mut self, bytes_max: u64) -> Vec<Submission> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max
            && let Some(source) = self.turns.pop_front()
            && let Some(line) = self.lines.get_mut(&source)
        {
            line.credit_bytes += QUANTUM_BYTES;
            while bytes < bytes_max
                && let Some(next) =
                    line.waiting.pop_front_if(|s| s.queued_bytes <= line.credit_bytes)
            {
                line.credit_bytes -= next.queued_bytes;
                bytes += next.queued_bytes;
                taken.push(next);
            }
            if line.waiting.is_empty() {
                self.lines.remove(&source);
            } else {
                self.turns.push_back(source);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(source: &str, queued_bytes: u64) -> Submission {
        let mut one = Submission::default();
        (one.source, one.queued_bytes) = (source.into(), queued_bytes);
        one
    }

    #[test]
    fn a_flood_does_not_hold_up_the_others_and_each_line_keeps_its_order() {
        let mut queue = FairQueue::default();
        for n in 0..1000 {
            queue.push(batch("flood", 10_000 + n));
        }
        queue.push(batch("quiet", 300));
        queue.push(batch("big", 900_000));
        let first = queue.take(1 << 20);
        assert!(first.iter().any(|s| &*s.source == "quiet"));
        let mut flood: Vec<u64> = Vec::new();
        let mut rest = first;
        let mut groups = 0;
        let mut big_at = None;
        while !rest.is_empty() {
            groups += 1;
            flood.extend(rest.iter().filter(|s| &*s.source == "flood").map(|s| s.queued_bytes));
            if rest.iter().any(|s| &*s.source == "big") {
                big_at = Some(groups);
            }
            rest = queue.take(1 << 20);
        }
        assert_eq!(flood, (10_000..11_000).collect::<Vec<_>>());
        assert!(big_at.unwrap() <= 2 && groups >= 10 && queue.is_empty());
    }
}
