//! The seam for metrics: instruments are cheap handles over atomics; a back end reads
//! [`Metrics::snapshot`] at its own pace and never stands in the way of a record.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// An instrument's identity: its name and its dimensions in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The name that users of the original library know.
    pub name: &'static str,
    /// Name and value of each dimension.
    pub dimensions: Vec<(&'static str, String)>,
}

/// A set of instruments. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<Key, Instrument>>>);

#[derive(Debug, Clone)]
enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// What an instrument showed when it was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reading {
    /// The sum since the start of the process.
    Counter(u64),
    /// The latest value.
    Gauge(f64),
    /// All observations since the start of the process.
    Histogram(Box<Summary>),
}

impl Metrics {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of this name and these dimensions, made on first use.
    #[must_use]
    pub fn counter(&self, name: &'static str, dimensions: &[(&'static str, &str)]) -> Counter {
        let made = self.instrument(name, dimensions, || Instrument::Counter(Counter::default()));
        if let Instrument::Counter(c) = made {
            c
        } else {
            Counter::default()
        }
    }

    /// The gauge of this name and these dimensions, made on first use.
    #[must_use]
    pub fn gauge(&self, name: &'static str, dimensions: &[(&'static str, &str)]) -> Gauge {
        let made = self.instrument(name, dimensions, || Instrument::Gauge(Gauge::default()));
        if let Instrument::Gauge(g) = made {
            g
        } else {
            Gauge::default()
        }
    }

    /// The histogram of this name and these dimensions, made on first use.
    #[must_use]
    pub fn histogram(&self, name: &'static str, dimensions: &[(&'static str, &str)]) -> Histogram {
        let made = self.instrument(name, dimensions, || {
            Instrument::Histogram(Histogram::default())
        });
        if let Instrument::Histogram(h) = made {
            h
        } else {
            Histogram::default()
        }
    }

    /// A name that is used for two kinds of instrument is a defect of the calling crate: the second
    /// kind gets an instrument that nobody reads, and a debug build stops.
    fn instrument(
        &self,
        name: &'static str,
        dimensions: &[(&'static str, &str)],
        make: impl FnOnce() -> Instrument,
    ) -> Instrument {
        let dimensions = dimensions
            .iter()
            .map(|(k, v)| (*k, (*v).to_owned()))
            .collect();
        let made = make();
        let kind = std::mem::discriminant(&made);
        let mut all = self.0.lock();
        let found = all.entry(Key { name, dimensions }).or_insert(made).clone();
        debug_assert_eq!(
            std::mem::discriminant(&found),
            kind,
            "two kinds of instrument: {name}"
        );
        found
    }

    /// All instruments and what they show, in order of name and dimensions.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Key, Reading)> {
        self.0
            .lock()
            .iter()
            .map(|(key, instrument)| {
                let reading = match instrument {
                    Instrument::Counter(c) => Reading::Counter(c.value()),
                    Instrument::Gauge(g) => Reading::Gauge(g.value()),
                    Instrument::Histogram(h) => Reading::Histogram(Box::new(h.summary())),
                };
                (key.clone(), reading)
            })
            .collect()
    }
}

/// A sum that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// The latest value; 0 before the first.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// A distribution of non-negative observations: count, sum, extremes, and powers of two for
/// quantiles. Units are the metric's (mostly milliseconds or bytes).
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Mutex<Summary>>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Summary::default())))
    }
}

impl Histogram {
    /// Takes one observation. Negative values and NaN count as 0.
    pub fn observe(&self, value: f64) {
        self.0.lock().observe(value.max(0.0));
    }

    /// All observations so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.0.lock().clone()
    }
}

/// The observations of a [`Histogram`].
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest; 0 when there is none.
    pub min: f64,
    /// The largest; 0 when there is none.
    pub max: f64,
    buckets: [u64; 64],
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: 0.0,
            max: 0.0,
            buckets: [0; 64],
        }
    }
}

impl Summary {
    fn observe(&mut self, value: f64) {
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += value;
        if let Some(bucket) = self.buckets.get_mut(Self::bucket(value)) {
            *bucket += 1;
        }
    }

    /// Bucket n holds values up to 2^n.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a ceiling of a logarithm between 0 and 63"
    )]
    fn bucket(value: f64) -> usize {
        if value <= 1.0 {
            0
        } else {
            (value.log2().ceil() as usize).min(63)
        }
    }

    /// An upper bound of the given quantile (0 to 1): exact to a factor of two, never above the
    /// largest observation.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
        let wanted = self.count as f64 * q.clamp(0.0, 1.0);
        let mut seen = 0;
        let mut limit = 1.0f64;
        for bucket in self.buckets {
            seen += bucket;
            #[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
            if seen as f64 >= wanted {
                return limit.min(self.max);
            }
            limit *= 2.0;
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_of_one_key_are_one() {
        let metrics = Metrics::new();
        metrics.counter("Records", &[("Stream", "a")]).add(2);
        metrics.counter("Records", &[("Stream", "a")]).add(3);
        metrics.counter("Records", &[("Stream", "b")]).add(7);
        metrics.gauge("Lag", &[]).set(1.5);
        let shown: Vec<_> = metrics
            .snapshot()
            .into_iter()
            .map(|(key, reading)| (key.name, key.dimensions.len(), reading))
            .collect();
        assert_eq!(
            shown,
            [
                ("Lag", 0, Reading::Gauge(1.5)),
                ("Records", 1, Reading::Counter(5)),
                ("Records", 1, Reading::Counter(7)),
            ]
        );
    }

    #[test]
    fn histograms_keep_extremes_and_bound_quantiles() {
        let histogram = Histogram::default();
        for n in 1..=1000 {
            histogram.observe(f64::from(n));
        }
        histogram.observe(-5.0);
        let s = histogram.summary();
        assert_eq!((s.count, s.min, s.max), (1001, 0.0, 1000.0));
        assert!(s.quantile(0.5) >= 500.0 && s.quantile(0.5) <= 1000.0);
        assert!(s.quantile(1.0) == 1000.0 && s.quantile(0.0) <= 1.0);
        assert_eq!(Summary::default().quantile(0.99), 0.0);
    }
}
