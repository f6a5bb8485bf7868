//! A histogram of durations that is written without a lock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::micros;

/// Counts per bucket of a fixed list of upper bounds in microseconds, and the sum. A reader may see an
/// observation's bucket before its sum; the count is the buckets' own sum, so that the two always agree.
#[derive(Debug)]
pub(super) struct DurationHistogram {
    bounds_us: &'static [u64],
    /// One per bound, and one for what is beyond the last.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

/// A consistent reading: not cumulative, in seconds, the last bound infinite.
pub(super) struct HistogramReading {
    pub(super) sum_seconds: f64,
    pub(super) count: u64,
    pub(super) buckets: Vec<(f64, u64)>,
}

const MICROS_PER_SECOND: f64 = 1e6;

impl DurationHistogram {
    /// An empty histogram over ascending `bounds_us`.
    pub(super) fn new(bounds_us: &'static [u64]) -> Self {
        let counts = (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds_us, counts, sum_us: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub(super) fn observe(&self, duration: Duration) {
        let duration_us = micros(duration);
        let index = self.bounds_us.partition_point(|bound| *bound < duration_us);
        self.counts[index].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(duration_us, Relaxed);
    }

    /// What was counted so far.
    pub(super) fn read(&self) -> HistogramReading {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let bounds = self.bounds_us.iter().map(|bound| *bound as f64 / MICROS_PER_SECOND);
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        HistogramReading {
            sum_seconds: self.sum_us.load(Relaxed) as f64 / MICROS_PER_SECOND,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_rest_is_beyond() {
        let histogram = DurationHistogram::new(&[10, 100]);
        for us in [0, 10, 11, 100, 101, 5_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let reading = histogram.read();
        let counts: Vec<u64> = reading.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 2, 2]);
        assert_eq!(reading.count, 6);
        assert!((reading.sum_seconds - 5.000_222).abs() < 1e-9);
    }
}
