//! Histograms: samples, sorted by size.

use super::{Intervals, ReaderId, Seconds};
use crate::metrics::{Statistics, Summary};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;

/// A distribution of non-negative observations: count, sum, extremes, and powers of two for
/// quantiles. Units are the metric's (mostly milliseconds or bytes).
#[derive(Debug, Clone)]
pub struct Histogram(Arc<HistogramCell>);

#[derive(Debug)]
struct HistogramCell {
    seconds: Seconds,
    state: Mutex<HistogramState>,
}

#[derive(Debug, Default)]
struct HistogramState {
    all: Summary,
    carried: Option<Box<Summary>>,
    intervals: Intervals,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(Seconds::keeping(0))
    }
}

impl Histogram {
    pub(in crate::metrics) fn new(seconds: Seconds) -> Self {
        Self(Arc::new(HistogramCell {
            seconds,
            state: Mutex::default(),
        }))
    }

    /// Takes one observation. Negative values and NaN count as 0, infinity as the largest number.
    pub fn observe(&self, value: f64) {
        self.observe_at(value, 1, Instant::now());
    }

    /// Takes `times` observations of the same value.
    pub fn observe_many(&self, value: f64, times: u64) {
        self.observe_at(value, times, Instant::now());
    }

    /// Takes `times` observations of the same value for a caller who knows what time it is.
    pub fn observe_at(&self, value: f64, times: u64, now: Instant) {
        if times == 0 {
            return;
        }
        let value = value.clamp(0.0, f64::MAX).max(0.0);
        let sample = Statistics::of(value, times);
        let seconds = self.0.seconds;
        let second = seconds.at(now);
        let mut state = self.0.state.lock();
        state.all.observe(value, times);
        state.intervals.take(&sample, second, seconds.kept);
    }

    /// All observations so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.0.state.lock().all.clone()
    }

    pub(in crate::metrics) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// With what was carried over.
    pub(in crate::metrics) fn total(&self) -> Summary {
        let state = self.0.state.lock();
        let mut all = state.all.clone();
        if let Some(carried) = &state.carried {
            all.merge(carried);
        }
        all
    }

    pub(in crate::metrics) fn carry(&self, from: &Self) {
        let more = from.total();
        let mut state = self.0.state.lock();
        state.carried.get_or_insert_default().merge(&more);
    }

    pub(in crate::metrics) fn read(&self, reader: ReaderId) -> Statistics {
        let mut state = self.0.state.lock();
        let all = state.all.statistics();
        state.intervals.read(reader, &all)
    }

    /// The same, and all observations up to this reading.
    #[cfg(feature = "metrics")]
    pub(in crate::metrics) fn read_whole(&self, reader: ReaderId) -> Summary {
        let mut state = self.0.state.lock();
        let all = state.all.statistics();
        state.intervals.read(reader, &all);
        state.all.clone()
    }

    pub(in crate::metrics) fn is_read(&self, reader: ReaderId) -> bool {
        self.0.state.lock().intervals.is_read(reader)
    }

    pub(in crate::metrics) fn forget(&self, reader: ReaderId) {
        self.0.state.lock().intervals.unread.remove(reader);
    }

    pub(in crate::metrics) fn window(&self, seconds: u64, now: Instant) -> Statistics {
        let present = self.0.seconds.at(now);
        self.0.state.lock().intervals.window(seconds, present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn seconds_beyond_the_window_are_forgotten() {
        let histogram = Histogram::new(Seconds::keeping(10));
        for _ in 0..100 {
            histogram.observe(1.0);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(histogram.0.state.lock().intervals.recent.len(), 10);
        assert_eq!(histogram.summary().count, 100);
    }
}
