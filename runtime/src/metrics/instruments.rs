//! Counters, gauges and histograms: handles that are written to without waiting.
//!
//! Readers do not steal from each other: each has a place of its own in the instrument, where what
//! came since its last reading is summed up (for a counter, the sum that it saw last). Seconds with
//! samples are kept apart for as long as windows reach back.

mod counter;
mod gauge;
mod histogram;

pub use counter::Counter;
pub use gauge::Gauge;
pub use histogram::Histogram;

use super::{Statistics, Unit};
use std::collections::VecDeque;
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
    }
}
