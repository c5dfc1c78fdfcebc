//! What is given up first when there is too much: steps in a fixed order, each entered and left once.
//!
//! ```text
//! Load {queue, lag, disk, memory} --> Ladder::assess --> Step entered / left (a record each)
//!                                            |
//!                                            +--> degraded_level, the gauge
//! ```
//! Never given up, at any level: durability of what was acknowledged, rules of every level,
//! enrichment, audit, gap records, health. No step changes what is detected: an alert depends on the
//! journal alone, and how loaded the machine was is not in it. The order is part of the promise; what
//! a step does is done by whoever owns the thing, who asks [`Ladder::is_shed`].

use event::time::SECOND_NS;
use serde::{Deserialize, Serialize};

/// What can be given up, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Live views show a sample.
    Tail,
    /// One search at a time.
    Queries,
    /// Joining of files and reading sealed segments again wait.
    Background,
    /// Sources above their fair share are slowed, the noisiest first.
    Quotas,
    /// Protocols that can be told are told to wait.
    PushBack,
    /// Streams are not read: the senders' windows close.
    Stall,
    /// Datagrams are left to the kernel, which drops and counts.
    Datagrams,
}

impl Step {
    /// All steps in order, with what people read.
    pub const ALL: &[(Step, &'static str)] = &[
        (Step::Tail, "live views show a sample"),
        (Step::Queries, "one search at a time"),
        (Step::Background, "files are not joined, sealed segments are not read again"),
        (Step::Quotas, "sources above their fair share are slowed"),
        (Step::PushBack, "senders are told to wait"),
        (Step::Stall, "streams are not read"),
        (Step::Datagrams, "the kernel drops datagrams, counted"),
    ];

    /// One word, as in records and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tail => "tail",
            Self::Queries => "queries",
            Self::Background => "background",
            Self::Quotas => "quotas",
            Self::PushBack => "push_back",
            Self::Stall => "stall",
            Self::Datagrams => "datagrams",
        }
    }

    /// From 1: the gauge's value when this is the last step taken.
    pub fn level(self) -> u8 {
        self as u8 + 1
    }
}

/// How loaded the server is, each in parts of its limit (1.0 = full), except the lag.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Bytes waiting for the disk, of what may wait.
    pub queue: f64,
    /// How far detection is behind, ns of stream time.
    pub lag_ns: i64,
    /// Disk used, of what may be used (the reserve not counted).
    pub disk: f64,
    /// Memory used, of the ceiling.
    pub memory: f64,
}

/// What there is too much of, or too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strain {
    /// Bytes wait for the disk.
    #[default]
    Queue,
    /// Detection is behind.
    Lag,
    /// The disk is full.
    Disk,
    /// Memory is scarce.
    Memory,
}

impl Strain {
    /// What people read.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Queue => "more comes in than the disk takes",
            Self::Lag => "detection is behind",
            Self::Disk => "the disk is full",
            Self::Memory => "memory is scarce",
        }
    }
}

impl Load {
    /// The highest level that this load asks for.
    pub fn level(&self) -> u8 {
        self.asks().0
    }

    /// The highest level that this load asks for, and what asks for it.
    ///
    /// The queue is the sharpest sign: half full it still is some hundred milliseconds away from
    /// refusing. Lag alone never pushes back on senders, it slows only the noisy ones. A full disk goes
    /// straight to refusing; one that is filling asks for nothing: it does so for months, and no step
    /// makes it emptier.
    pub fn asks(&self) -> (u8, Strain) {
        let of = |value: f64, marks: &[(f64, Step)]| {
            let reached = marks.iter().rev().find(|(mark, _)| value >= *mark);
            reached.map_or(0, |(_, step)| step.level())
        };
        let queue = of(
            self.queue,
            &[
                (0.25, Step::Tail),
                (0.4, Step::Background),
                (0.6, Step::Quotas),
                (0.8, Step::PushBack),
                (0.95, Step::Stall),
                (1.0, Step::Datagrams),
            ],
        );
        let lag =
            of(self.lag_ns as f64 / SECOND_NS as f64, &[(0.5, Step::Tail), (1.0, Step::Quotas)]);
        let disk = of(self.disk, &[(1.0, Step::Datagrams)]);
        let memory = of(
            self.memory,
            &[
                (0.7, Step::Queries),
                (0.8, Step::Background),
                (0.9, Step::Quotas),
                (0.97, Step::Stall),
            ],
        );
        let all = [
            (queue, Strain::Queue),
            (lag, Strain::Lag),
            (disk, Strain::Disk),
            (memory, Strain::Memory),
        ];
        all.into_iter().max_by_key(|(level, _)| *level).unwrap_or_default()
    }
}

/// A step taken, or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub step: Step,
    /// Taken; otherwise taken back.
    pub entered: bool,
    /// Stream time, ns.
    pub stream_ns: i64,
}

impl Change {
    /// One sentence for people.
    pub fn sentence(&self) -> String {
        let what = Step::ALL[self.step as usize].1;
        let word = if self.entered { "overload" } else { "overload over" };
        format!("{word}, level {}: {what}", self.step.level())
    }
}

/// A level is left only after the load has asked for less all this time: no flapping.
/// Three seconds, so that senders get through within five of a disk having space again.
const CALM_NS: i64 = 3 * SECOND_NS;

/// The state: how far down the order we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    level: u8,
    /// Since when the load has asked for less, and the most it asked for since.
    calm: Option<(i64, u8)>,
}

impl Ladder {
    /// The gauge `degraded_level`: 0 when nothing is given up.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Whether this is given up now.
    pub fn is_shed(&self, step: Step) -> bool {
        self.level >= step.level()
    }

    /// Takes a look at the load; returns the steps taken or taken back, in order. Down it goes at
    /// once and through every step, so that none is skipped; up it goes step by step.
    pub fn assess(&mut self, load: &Load, stream_ns: i64) -> Vec<Change> {
        let wanted = load.level();
        let mut changes = Vec::new();
        let change = |level: u8, entered| {
            let (step, _) = Step::ALL[usize::from(level) - 1];
            Change { step, entered, stream_ns }
        };
        if wanted >= self.level {
            self.calm = None;
            changes.extend((self.level + 1..=wanted).map(|level| change(level, true)));
            self.level = wanted;
            return changes;
        }
        let (since, most) = self.calm.unwrap_or((stream_ns, wanted));
        let most = most.max(wanted);
        self.calm = Some((since, most));
        if stream_ns.saturating_sub(since) >= CALM_NS {
            changes.extend((most + 1..=self.level).rev().map(|level| change(level, false)));
            self.level = most;
            self.calm = None;
        }
        changes
    }
}

/// Fair shares of `capacity` (max-min): who wants less than its share keeps all it wants and leaves
/// the rest to the others; `None` for those, the share for the others.
pub fn fair_shares(wanted: &[u64], capacity: u64) -> Vec<Option<u64>> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|at| wanted[*at]);
    let mut left = capacity;
    let mut shares = vec![None; wanted.len()];
    for (done, at) in order.iter().enumerate() {
        let share = left / (wanted.len() - done) as u64;
        let taken = wanted[*at].min(share);
        if wanted[*at] > share {
            shares[*at] = Some(share);
        }
        left -= taken;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noisiest_are_slowed_and_the_others_are_not() {
        assert_eq!(fair_shares(&[10, 1000, 20], 300), [None, Some(270), None]);
        assert_eq!(fair_shares(&[500, 1000, 20], 300), [Some(140), Some(140), None]);
        assert_eq!(fair_shares(&[10, 20], 300), [None, None]);
        assert_eq!(fair_shares(&[], 300), []);
        assert_eq!(fair_shares(&[5, 5], 0), [Some(0), Some(0)]);
    }

    fn queue(part: f64) -> Load {
        Load { queue: part, ..Load::default() }
    }

    #[test]
    fn steps_are_taken_in_order_and_given_back_in_reverse_after_calm() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.assess(&queue(0.1), 0), []);
        let down = ladder.assess(&queue(0.97), 1);
        let steps: Vec<u8> = down.iter().map(|c| c.step.level()).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
        assert!(down.iter().all(|c| c.entered) && ladder.is_shed(Step::Stall));
        assert!(!ladder.is_shed(Step::Datagrams));
        // Calm is counted from the first quieter look, and a spike in between starts it anew.
        assert_eq!(ladder.assess(&queue(0.0), SECOND_NS), []);
        assert_eq!(ladder.assess(&queue(0.97), 4 * SECOND_NS), []);
        assert_eq!(ladder.assess(&queue(0.3), 5 * SECOND_NS), []);
        assert_eq!(ladder.assess(&queue(0.0), 7 * SECOND_NS), []);
        let up = ladder.assess(&queue(0.0), 8 * SECOND_NS);
        let steps: Vec<u8> = up.iter().map(|c| c.step.level()).collect();
        assert_eq!((steps, ladder.level()), (vec![6, 5, 4, 3, 2], 1));
        assert_eq!(up[0].sentence(), "overload over, level 6: streams are not read");
    }

    #[test]
    fn lag_slows_the_noisy_and_never_refuses_and_a_full_disk_refuses_at_once() {
        let lag = Load { lag_ns: 3600 * SECOND_NS, ..Load::default() };
        assert_eq!(lag.level(), Step::Quotas.level());
        assert_eq!(Load { disk: 1.0, ..lag }.asks(), (7, Strain::Disk));
        assert_eq!(Load { disk: 0.99, ..Load::default() }.level(), 0, "it may stay so for months");
        assert_eq!(Load { memory: 0.97, ..lag }.asks(), (6, Strain::Memory));
        assert_eq!(Load::default().level(), 0);
        for (number, (step, _)) in Step::ALL.iter().enumerate() {
            assert_eq!(usize::from(step.level()), number + 1);
        }
        let text = serde_json::to_string(&Ladder::default()).unwrap();
        assert_eq!(serde_json::from_str::<Ladder>(&text).unwrap(), Ladder::default());
    }
}
