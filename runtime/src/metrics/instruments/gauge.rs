//! Gauges: the latest value, and the samples that it went through.

use super::{Intervals, ReaderId, Seconds};
use crate::metrics::Statistics;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::time::Instant;

/// A value that goes up and down. Each setting is a sample; where none came, the latest value is.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<GaugeCell>);

#[derive(Debug)]
struct GaugeCell {
    latest: AtomicU64,
    seconds: Seconds,
    state: Mutex<GaugeState>,
}

#[derive(Debug, Default)]
struct GaugeState {
    all: Statistics,
    carried: Statistics,
    intervals: Intervals,
}

impl Default for Gauge {
    fn default() -> Self {
        Self::new(Seconds::keeping(0))
    }
}

impl Gauge {
    pub(in crate::metrics) fn new(seconds: Seconds) -> Self {
        Self(Arc::new(GaugeCell {
            latest: AtomicU64::new(0),
            seconds,
            state: Mutex::default(),
        }))
    }

    /// Sets the value. What is no number is shown as the latest value and is no sample.
    pub fn set(&self, value: f64) {
        self.set_at(value, Instant::now());
    }

    /// Sets the value for a caller who knows what time it is.
    pub fn set_at(&self, value: f64, now: Instant) {
        self.0.latest.store(value.to_bits(), Relaxed);
        if !value.is_finite() {
            return;
        }
        let sample = Statistics::of(value, 1);
        let seconds = self.0.seconds;
        let mut state = self.0.state.lock();
        state.all.merge(&sample);
        state.intervals.take(&sample, seconds.at(now), seconds.kept);
    }

    /// The latest value; 0 before the first.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.latest.load(Relaxed))
    }

    pub(in crate::metrics) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(in crate::metrics) fn total(&self) -> Statistics {
        let state = self.0.state.lock();
        let mut all = state.all;
        all.merge(&state.carried);
        all
    }

    pub(in crate::metrics) fn carry(&self, from: &Self) {
        let more = from.total();
        self.0.state.lock().carried.merge(&more);
    }

    /// One sample of the latest value, where one was ever set.
    fn or_latest(&self, samples: Statistics, state: &GaugeState) -> Statistics {
        let latest = self.value();
        if samples.is_empty() && !state.all.is_empty() && latest.is_finite() {
            Statistics::of(latest, 1)
        } else {
            samples
        }
    }

    pub(in crate::metrics) fn read(&self, reader: ReaderId) -> Statistics {
        let mut state = self.0.state.lock();
        let all = state.all;
        let samples = state.intervals.read(reader, &all);
        self.or_latest(samples, &state)
    }

    pub(in crate::metrics) fn is_read(&self, reader: ReaderId) -> bool {
        self.0.state.lock().intervals.is_read(reader)
    }

    pub(in crate::metrics) fn forget(&self, reader: ReaderId) {
        self.0.state.lock().intervals.unread.remove(reader);
    }

    pub(in crate::metrics) fn window(&self, seconds: u64, now: Instant) -> Statistics {
        let state = self.0.state.lock();
        let samples = state.intervals.window(seconds, self.0.seconds.at(now));
        self.or_latest(samples, &state)
    }
}
