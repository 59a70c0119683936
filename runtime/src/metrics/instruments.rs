//! Counters, gauges and histograms: handles that are written to without waiting.
//!
//! Readers do not steal from each other: each has a place of its own in the instrument, where what
//! came since its last reading is summed up (for a counter, the sum that it saw last). Seconds with
//! samples are kept apart for as long as windows reach back.

use super::{Statistics, Summary, Unit};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::time::Instant;

/// A reader's number; no two readers of a set ever have the same.
pub(super) type ReaderId = u64;

/// Counts seconds, and knows how many of them are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds {
    origin: Instant,
    pub(super) kept: u64,
}

impl Seconds {
    pub(super) fn keeping(seconds: u64) -> Self {
        Self {
            origin: Instant::now(),
            kept: seconds,
        }
    }

    /// The first second is 1.
    pub(super) fn at(self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs() + 1
    }
}

/// A reader's places, in order of number.
#[derive(Debug)]
struct Places<T>(Vec<(ReaderId, T)>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Places<T> {
    /// The place of this reader, made with `first` the first time.
    fn of(&mut self, reader: ReaderId, first: impl FnOnce() -> T) -> &mut T {
        let at = match self.0.binary_search_by_key(&reader, |(id, _)| *id) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (reader, first()));
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or inserted just now")]
        &mut self.0[at].1
    }

    fn get(&self, reader: ReaderId) -> Option<&T> {
        let (_, place) = self.0.iter().find(|(id, _)| *id == reader)?;
        Some(place)
    }

    fn remove(&mut self, reader: ReaderId) {
        self.0.retain(|(id, _)| *id != reader);
    }
}

/// A sum that only grows.
#[derive(Debug, Clone)]
pub struct Counter(Arc<CounterCell>);

#[derive(Debug)]
struct CounterCell {
    sum: AtomicU64,
    /// The last second that is marked; 0 = none.
    marked: AtomicU64,
    seconds: Seconds,
    track: Mutex<CounterTrack>,
}

#[derive(Debug, Default)]
struct CounterTrack {
    /// Seconds in which the counter grew, with the sum before them.
    marks: VecDeque<(u64, u64)>,
    /// What each reader saw last.
    seen: Places<u64>,
    /// From instruments that were retired into this one.
    carried: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Self::new(Seconds::keeping(0))
    }
}

impl Counter {
    pub(super) fn new(seconds: Seconds) -> Self {
        Self(Arc::new(CounterCell {
            sum: AtomicU64::new(0),
            marked: AtomicU64::new(0),
            seconds,
            track: Mutex::default(),
        }))
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.add_at(n, Instant::now());
    }

    /// Adds `n` for a caller who knows what time it is: reading the clock is most of what
    /// [`Counter::add`] costs.
    pub fn add_at(&self, n: u64, now: Instant) {
        let cell = &*self.0;
        if cell.seconds.kept > 0 {
            let second = cell.seconds.at(now);
            if second > cell.marked.load(Relaxed) {
                cell.mark(second);
            }
        }
        cell.sum.fetch_add(n, Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.sum.load(Relaxed)
    }

    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// With what was carried over.
    pub(super) fn total(&self) -> u64 {
        let track = self.0.track.lock();
        self.value().saturating_add(track.carried)
    }

    pub(super) fn carry(&self, from: &Self) {
        let more = from.total();
        let mut track = self.0.track.lock();
        track.carried = track.carried.saturating_add(more);
    }

    /// What came since this reader's last reading.
    pub(super) fn read(&self, reader: ReaderId) -> u64 {
        let mut track = self.0.track.lock();
        let now = self.value();
        let seen = track.seen.of(reader, || 0);
        now.saturating_sub(std::mem::replace(seen, now))
    }

    pub(super) fn is_read(&self, reader: ReaderId) -> bool {
        let track = self.0.track.lock();
        track.seen.get(reader) == Some(&self.value())
    }

    pub(super) fn forget(&self, reader: ReaderId) {
        self.0.track.lock().seen.remove(reader);
    }

    /// What came in the last `seconds` seconds, the present one included.
    pub(super) fn window(&self, seconds: u64, now: Instant) -> u64 {
        let from = first_of(seconds, self.0.seconds.at(now));
        let track = self.0.track.lock();
        let before = track.marks.iter().find(|(second, _)| *second >= from);
        before.map_or(0, |(_, before)| self.value().saturating_sub(*before))
    }
}

impl CounterCell {
    #[cold]
    fn mark(&self, second: u64) {
        let mut track = self.track.lock();
        if second <= self.marked.load(Relaxed) {
            return;
        }
        let first = first_of(self.seconds.kept, second);
        while track.marks.front().is_some_and(|(old, _)| *old < first) {
            track.marks.pop_front();
        }
        track.marks.push_back((second, self.sum.load(Relaxed)));
        self.marked.store(second, Relaxed);
    }
}

/// The first of the last `seconds` seconds.
fn first_of(seconds: u64, present: u64) -> u64 {
    present.saturating_sub(seconds).saturating_add(1)
}

/// What gauges and histograms keep for readers and windows.
#[derive(Debug, Default)]
struct Intervals {
    unread: Places<Statistics>,
    recent: VecDeque<(u64, Statistics)>,
}

impl Intervals {
    fn take(&mut self, sample: &Statistics, second: u64, kept: u64) {
        for (_, place) in &mut self.unread.0 {
            place.merge(sample);
        }
        if kept == 0 {
            return;
        }
        match self.recent.back_mut() {
            Some((last, samples)) if *last >= second => samples.merge(sample),
            _ => {
                let first = first_of(kept, second);
                while self.recent.front().is_some_and(|(old, _)| *old < first) {
                    self.recent.pop_front();
                }
                self.recent.push_back((second, *sample));
            }
        }
    }

    fn read(&mut self, reader: ReaderId, all: &Statistics) -> Statistics {
        std::mem::take(self.unread.of(reader, || *all))
    }

    fn is_read(&self, reader: ReaderId) -> bool {
        self.unread
            .get(reader)
            .is_some_and(super::statistics::Statistics::is_empty)
    }

    fn window(&self, seconds: u64, present: u64) -> Statistics {
        let from = first_of(seconds, present);
        let mut all = Statistics::default();
        for (_, samples) in self.recent.iter().filter(|(second, _)| *second >= from) {
            all.merge(samples);
        }
        all
    }
}

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
    pub(super) fn new(seconds: Seconds) -> Self {
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

    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(super) fn total(&self) -> Statistics {
        let state = self.0.state.lock();
        let mut all = state.all;
        all.merge(&state.carried);
        all
    }

    pub(super) fn carry(&self, from: &Self) {
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

    pub(super) fn read(&self, reader: ReaderId) -> Statistics {
        let mut state = self.0.state.lock();
        let all = state.all;
        let samples = state.intervals.read(reader, &all);
        self.or_latest(samples, &state)
    }

    pub(super) fn is_read(&self, reader: ReaderId) -> bool {
        self.0.state.lock().intervals.is_read(reader)
    }

    pub(super) fn forget(&self, reader: ReaderId) {
        self.0.state.lock().intervals.unread.remove(reader);
    }

    pub(super) fn window(&self, seconds: u64, now: Instant) -> Statistics {
        let state = self.0.state.lock();
        let samples = state.intervals.window(seconds, self.0.seconds.at(now));
        self.or_latest(samples, &state)
    }
}

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
    pub(super) fn new(seconds: Seconds) -> Self {
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

    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// With what was carried over.
    pub(super) fn total(&self) -> Summary {
        let state = self.0.state.lock();
        let mut all = state.all.clone();
        if let Some(carried) = &state.carried {
            all.merge(carried);
        }
        all
    }

    pub(super) fn carry(&self, from: &Self) {
        let more = from.total();
        let mut state = self.0.state.lock();
        state.carried.get_or_insert_default().merge(&more);
    }

    pub(super) fn read(&self, reader: ReaderId) -> Statistics {
        let mut state = self.0.state.lock();
        let all = state.all.statistics();
        state.intervals.read(reader, &all)
    }

    /// The same, and all observations up to this reading.
    #[cfg(feature = "metrics")]
    pub(super) fn read_whole(&self, reader: ReaderId) -> Summary {
        let mut state = self.0.state.lock();
        let all = state.all.statistics();
        state.intervals.read(reader, &all);
        state.all.clone()
    }

    pub(super) fn is_read(&self, reader: ReaderId) -> bool {
        self.0.state.lock().intervals.is_read(reader)
    }

    pub(super) fn forget(&self, reader: ReaderId) {
        self.0.state.lock().intervals.unread.remove(reader);
    }

    pub(super) fn window(&self, seconds: u64, now: Instant) -> Statistics {
        let present = self.0.seconds.at(now);
        self.0.state.lock().intervals.window(seconds, present)
    }
}

/// Any of the three.
#[derive(Debug, Clone)]
pub(super) enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

macro_rules! each {
    ($of:expr, $instrument:ident => $do:expr) => {
        match $of {
            Instrument::Counter($instrument) => $do,
            Instrument::Gauge($instrument) => $do,
            Instrument::Histogram($instrument) => $do,
        }
    };
}

impl Instrument {
    /// True when someone beside its set holds it, and may write to it.
    pub(super) fn is_shared(&self) -> bool {
        each!(self, i => i.is_shared())
    }

    pub(super) fn is_read(&self, reader: ReaderId) -> bool {
        each!(self, i => i.is_read(reader))
    }

    pub(super) fn forget(&self, reader: ReaderId) {
        each!(self, i => i.forget(reader));
    }

    /// Takes over what another of the same kind has seen, for the sums since the start alone.
    pub(super) fn carry(&self, from: &Self) {
        match (self, from) {
            (Self::Counter(to), Self::Counter(from)) => to.carry(from),
            (Self::Gauge(to), Self::Gauge(from)) => to.carry(from),
            (Self::Histogram(to), Self::Histogram(from)) => to.carry(from),
            _ => {}
        }
    }

    pub(super) fn empty(&self, seconds: Seconds) -> Self {
        match self {
            Self::Counter(_) => Self::Counter(Counter::new(seconds)),
            Self::Gauge(_) => Self::Gauge(Gauge::new(seconds)),
            Self::Histogram(_) => Self::Histogram(Histogram::new(seconds)),
        }
    }

    pub(super) fn read(&self, reader: ReaderId, unit: Unit) -> Statistics {
        match self {
            Self::Counter(c) => Statistics::of_counter(c.read(reader), unit),
            Self::Gauge(g) => g.read(reader),
            Self::Histogram(h) => h.read(reader),
        }
    }

    pub(super) fn window(&self, seconds: u64, now: Instant, unit: Unit) -> Statistics {
        match self {
            Self::Counter(c) => Statistics::of_counter(c.window(seconds, now), unit),
            Self::Gauge(g) => g.window(seconds, now),
            Self::Histogram(h) => h.window(seconds, now),
        }
    }

    pub(super) fn since_start(&self, unit: Unit) -> Statistics {
        match self {
            Self::Counter(c) => Statistics::of_counter(c.total(), unit),
            Self::Gauge(g) => g.total(),
            Self::Histogram(h) => h.total().statistics(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn instruments_work_alone() {
        let (counter, gauge, histogram) =
            (Counter::default(), Gauge::default(), Histogram::default());
        counter.add(3);
        gauge.set(-2.0);
        gauge.set(f64::NAN);
        for value in [-5.0, f64::NAN, 7.0, f64::INFINITY] {
            histogram.observe(value);
        }
        histogram.observe_many(7.0, 0);
        assert_eq!(counter.value(), 3);
        assert!(gauge.value().is_nan());
        assert_eq!(gauge.total(), Statistics::of(-2.0, 1));
        let s = histogram.summary();
        assert_eq!((s.count, s.min, s.max), (4, 0.0, f64::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_has_whole_seconds_with_the_present_one() {
        let counter = Counter::new(Seconds::keeping(10));
        let histogram = Histogram::new(Seconds::keeping(10));
        // One sample of n at the beginning of second n.
        for n in 1..=30_u32 {
            counter.add(u64::from(n));
            histogram.observe(f64::from(n));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let now = Instant::now() - Duration::from_millis(1);
        for (seconds, sum, min) in [(1, 30.0, 30.0), (2, 59.0, 29.0), (10, 255.0, 21.0)] {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let counted = counter.window(seconds, now) as f64;
            assert_eq!(counted, sum, "{seconds}");
            let seen = histogram.window(seconds, now);
            assert_eq!((seen.sum, seen.min, seen.max), (sum, min, 30.0));
            assert_eq!(seen.count, seconds);
        }
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(counter.window(3, Instant::now()), 0);
        assert_eq!(counter.window(5, Instant::now()), 30);
        assert!(counter.0.track.lock().marks.len() <= 11);
        assert!(histogram.0.state.lock().intervals.recent.len() <= 11);
    }
}
