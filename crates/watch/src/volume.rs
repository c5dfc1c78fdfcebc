//! Far more than usual: buckets compared with the same time in past weeks or days.
//!
//! ```text
//! now - 1 week: [-3..+3]   now - 2 weeks: [-3..+3] ...   median of 2*sqrt(n + 3/8) = usual
//! before a week is known: the same of the past days; before a day is known: the two hours before
//! spike: z > 5, and more than 3 times the usual count, and at least 20, two buckets in a row
//! ```
//! The square root (Anscombe 1948) makes counts of any size spread about equally, and the median
//! with its absolute deviation ignores old spikes. While a spike lasts, the usual count is learned
//! in place of the real one, so that a flood cannot teach that floods are normal.

use event::time::SECOND_NS;
use serde::{Deserialize, Serialize};

/// When a volume is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeSettings {
    /// Length of a bucket, ns.
    pub bucket_ns: i64,
    /// Buckets per period: what repeats (a week of 5 minutes: 2,016).
    pub period_buckets: usize,
    /// Periods looked back.
    pub periods: usize,
    /// Buckets per shorter period, which is used while the longer one is not known yet (a day).
    pub short_period_buckets: usize,
    /// Shorter periods looked back.
    pub short_periods: usize,
    /// Buckets right before, which are used while no period is known.
    pub recent_buckets: usize,
    /// How many of them must be known.
    pub recent_min: usize,
    /// Buckets on either side that are compared as well.
    pub neighbours: usize,
    /// Samples without which nothing is said.
    pub samples_min: usize,
    /// Distance from the median, in robust standard deviations.
    pub z: f64,
    /// Times the usual count.
    pub factor: f64,
    /// Smallest count worth a word.
    pub count_min: u64,
    /// Buckets in a row.
    pub buckets: u32,
}

impl Default for VolumeSettings {
    fn default() -> Self {
        Self {
            bucket_ns: 300 * SECOND_NS,
            period_buckets: 2_016,
            periods: 4,
            short_period_buckets: 288,
            short_periods: 6,
            recent_buckets: 24,
            recent_min: 12,
            neighbours: 3,
            samples_min: 7,
            z: 5.0,
            factor: 3.0,
            count_min: 20,
            buckets: 2,
        }
    }
}

/// Most buckets remembered, whatever the settings say: 16 KiB a source at two bytes each.
const HISTORY_MAX: usize = 8_192;
/// Steps per doubling of a stored count: exact to 0.3 %, in two bytes.
const STEPS: f64 = 256.0;
const NOTHING: u16 = u16::MAX;

/// The buckets of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    history: Vec<u16>,
    /// Number of the bucket being filled; `None` before the first event.
    current: Option<i64>,
    count: u64,
    above: u32,
    since_ns: Option<i64>,
}

/// What closing a bucket gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A spike begins.
    Spike {
        /// Events in the bucket.
        count: u64,
        /// Usual count.
        expected: u64,
    },
    /// A spike is over.
    Over {
        /// How long it lasted, ns.
        lasted_ns: i64,
    },
}

impl Volume {
    /// Counts `n` events. Those of a bucket that is closed already count in the one being filled.
    pub fn add(&mut self, settings: &VolumeSettings, stream_ns: i64, n: u64) {
        self.current.get_or_insert(stream_ns.div_euclid(settings.bucket_ns.max(1)));
        self.count = self.count.saturating_add(n);
    }

    /// Closes the buckets that end at or before `stream_ns`. After a long pause, at most one history
    /// of empty ones.
    pub fn close(&mut self, settings: &VolumeSettings, stream_ns: i64) -> Option<Change> {
        let now = stream_ns.div_euclid(settings.bucket_ns.max(1));
        let mut change = None;
        let mut steps = 0;
        while let Some(bucket) = self.current.filter(|bucket| *bucket < now) {
            let closed = self.close_one(settings, bucket);
            change = closed.or(change);
            steps += 1;
            self.current = Some(if steps > self.history.len() { now } else { bucket + 1 });
        }
        change
    }

    /// Whether a spike is on.
    pub fn is_spiking(&self) -> bool {
        self.since_ns.is_some()
    }

    fn close_one(&mut self, settings: &VolumeSettings, bucket: i64) -> Option<Change> {
        let count = std::mem::take(&mut self.count);
        if self.history.is_empty() {
            let wanted = settings.period_buckets * settings.periods + settings.neighbours + 1;
            self.history = vec![NOTHING; wanted.clamp(1, HISTORY_MAX)];
        }
        let usual = self.usual(settings, bucket);
        let high = usual.is_some_and(|(median, scale)| {
            let expected = count_of(median);
            (anscombe(count) - median) / scale > settings.z
                && count as f64 > settings.factor * expected
                && count >= settings.count_min
        });
        self.above = if high { self.above + 1 } else { 0 };
        let expected = usual.map_or(count, |(median, _)| count_of(median).round() as u64);
        let at = bucket.rem_euclid(self.history.len() as i64) as usize;
        self.history[at] = encode(if high || self.is_spiking() { expected } else { count });
        let end_ns = (bucket + 1).saturating_mul(settings.bucket_ns);
        match self.since_ns {
            None if high && self.above >= settings.buckets => {
                self.since_ns = Some(end_ns);
                Some(Change::Spike { count, expected })
            }
            Some(since_ns) if !high => {
                self.since_ns = None;
                Some(Change::Over { lasted_ns: end_ns - since_ns })
            }
            _ => None,
        }
    }

    /// Median and scale of what is usual, on the square-root scale; None while too little is known.
    fn usual(&self, settings: &VolumeSettings, bucket: i64) -> Option<(f64, f64)> {
        let enough = |samples: &Vec<f64>, min: usize| samples.len() >= min.max(1);
        let long = self.periodic(settings, bucket, settings.period_buckets, settings.periods);
        let samples = Some(long).filter(|s| enough(s, settings.samples_min)).or_else(|| {
            let (buckets, periods) = (settings.short_period_buckets, settings.short_periods);
            let short = self.periodic(settings, bucket, buckets, periods);
            Some(short).filter(|s| enough(s, settings.samples_min))
        });
        let mut samples = samples.or_else(|| {
            let recent = (1..=settings.recent_buckets as i64).filter_map(|n| self.at(bucket, n));
            Some(recent.collect()).filter(|s| enough(s, settings.recent_min))
        })?;
        let median = median_of(&mut samples);
        samples.iter_mut().for_each(|s| *s = (*s - median).abs());
        Some((median, (1.4826 * median_of(&mut samples)).max(1.0)))
    }

    /// The buckets around the same time in past periods.
    fn periodic(
        &self,
        settings: &VolumeSettings,
        bucket: i64,
        period_buckets: usize,
        periods: usize,
    ) -> Vec<f64> {
        let near = settings.neighbours as i64;
        (1..=periods as i64)
            .flat_map(|period| {
                (-near..=near).map(move |near| period * period_buckets as i64 - near)
            })
            .filter_map(|back| self.at(bucket, back))
            .collect()
    }

    /// The bucket `back` before, on the square-root scale, if it is known.
    fn at(&self, bucket: i64, back: i64) -> Option<f64> {
        if back <= 0 || back >= self.history.len() as i64 {
            return None;
        }
        let stored = self.history[(bucket - back).rem_euclid(self.history.len() as i64) as usize];
        (stored != NOTHING).then(|| anscombe(decode(stored)))
    }
}

fn anscombe(count: u64) -> f64 {
    2.0 * (count as f64 + 0.375).sqrt()
}

fn count_of(anscombe: f64) -> f64 {
    (anscombe * anscombe / 4.0 - 0.375).max(0.0)
}

fn median_of(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

fn encode(count: u64) -> u16 {
    ((count as f64 + 1.0).log2() * STEPS).round().min(f64::from(NOTHING - 1)) as u16
}

fn decode(stored: u16) -> u64 {
    ((f64::from(stored) / STEPS).exp2() - 1.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A period of one bucket group, so that history is complete after a few seconds.
    const FAST: VolumeSettings = VolumeSettings {
        bucket_ns: 10,
        period_buckets: 7,
        periods: 4,
        short_period_buckets: 0,
        short_periods: 0,
        recent_buckets: 0,
        recent_min: 0,
        neighbours: 3,
        samples_min: 7,
        z: 5.0,
        factor: 3.0,
        count_min: 20,
        buckets: 2,
    };

    fn play(volume: &mut Volume, from: i64, counts: &[u64]) -> Vec<(i64, Change)> {
        let mut out = Vec::new();
        for (index, n) in counts.iter().enumerate() {
            let bucket = from + index as i64;
            volume.add(&FAST, bucket * 10 + 1, *n);
            out.extend(volume.close(&FAST, bucket * 10 + 10).map(|change| (bucket, change)));
        }
        out
    }

    #[test]
    fn a_spike_is_told_at_the_second_bucket_and_its_end_once() {
        let mut volume = Volume::default();
        assert_eq!(play(&mut volume, 0, &[100; 40]), []);
        let told = play(&mut volume, 40, &[1_000, 1_000, 1_000, 1_000, 100, 100]);
        let [(41, Change::Spike { count: 1_000, expected }), (44, Change::Over { lasted_ns: 30 })] =
            told[..]
        else {
            panic!("{told:?}");
        };
        assert!((99..=101).contains(&expected));
    }

    /// Scenario: a source of a few hours, of a few days and of some weeks, busy by day and quiet by
    /// night, always ten times as much in the end.
    /// Guarantees: the flood is told in each case, and a morning after a night is none once a day is
    /// known.
    #[test]
    fn young_sources_are_compared_with_what_there_is() {
        const DAY: i64 = 24;
        let settings = VolumeSettings {
            bucket_ns: 10,
            period_buckets: 7 * DAY as usize,
            short_period_buckets: DAY as usize,
            recent_buckets: 6,
            recent_min: 5,
            neighbours: 0,
            samples_min: 2,
            ..VolumeSettings::default()
        };
        let usual = |bucket: i64| if bucket % DAY < 12 { 400 } else { 40 };
        for history in [6, 5 * DAY + 3, 30 * DAY + 3] {
            let mut volume = Volume::default();
            let mut told = Vec::new();
            for bucket in 0..history + 2 {
                let times = if bucket < history { 1 } else { 10 };
                volume.add(&settings, bucket * 10 + 1, usual(bucket) * times);
                told.extend(
                    volume.close(&settings, bucket * 10 + 10).map(|change| (bucket, change)),
                );
            }
            told.retain(|(bucket, _)| *bucket > 2 * DAY || history < DAY);
            let [(at, Change::Spike { count: 4_000, expected })] = told[..] else {
                panic!("{history}: {told:?}");
            };
            assert_eq!(at, history + 1);
            assert!((395..=405).contains(&expected), "{expected}");
        }
    }

    #[test]
    fn a_flood_does_not_become_usual_while_it_lasts() {
        let mut volume = Volume::default();
        play(&mut volume, 0, &[100; 40]);
        assert_eq!(play(&mut volume, 40, &[1_000; 200]).len(), 1);
        assert!(volume.is_spiking());
    }

    #[test]
    fn noise_small_numbers_single_bursts_and_short_history_are_not_spikes() {
        let mut volume = Volume::default();
        assert_eq!(play(&mut volume, 0, &[1, 1, 5_000, 5_000]), [], "no history");
        let mut volume = Volume::default();
        let noise: Vec<u64> = (0..400u64).map(|n| 80 + n * 7_919 % 41).collect();
        assert_eq!(play(&mut volume, 0, &noise), []);
        assert_eq!(play(&mut volume, 400, &[5_000, 100, 5_000, 100]), [], "one bucket alone");
        let mut volume = Volume::default();
        play(&mut volume, 0, &[0; 40]);
        assert_eq!(play(&mut volume, 40, &[19, 19, 19]), []);
    }

    #[test]
    fn stored_counts_are_exact_to_a_third_of_a_percent_and_pauses_are_bounded() {
        for n in (0..200).chain([1_000, 123_456, 1 << 40]) {
            let error = decode(encode(n)).abs_diff(n) as f64;
            assert!(error <= 0.003 * n as f64 + 0.5, "{n}");
        }
        let mut volume = Volume::default();
        play(&mut volume, 0, &[5]);
        assert_eq!(volume.close(&FAST, i64::MAX / 2), None);
        assert_eq!(volume.current, Some(i64::MAX / 20));
    }
}
