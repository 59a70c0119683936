//! The set of instruments: made on first use, bounded, retired when what they measure has closed.

use super::instruments::{Counter, Gauge, Histogram, Instrument, ReaderId, Seconds};
use super::{Metric, Summary};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// An instrument's identity: its name and its dimensions in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The name that users of the original library know.
    pub name: &'static str,
    /// Name and value of each dimension, the wider before the finer.
    pub dimensions: Vec<(&'static str, String)>,
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

/// How much a set of instruments keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Instruments. What would be one more counts into the nearest ancestor that exists: of the values
    /// nothing is lost, but their finest dimensions are. The instruments of a name without dimensions
    /// are always made. Default 20,000.
    ///
    /// A histogram takes about 0.8 KB, and 40 bytes for each of the last seconds that it was written
    /// in; a counter 0.2 KB and 16 bytes.
    pub instruments: usize,
    /// How far windows can reach back, in whole seconds. Default 60 s.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instruments: 20_000,
            window: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Sets the bound on instruments.
    #[must_use]
    pub const fn with_instruments(mut self, instruments: usize) -> Self {
        self.instruments = instruments;
        self
    }

    /// Sets how far windows reach back.
    #[must_use]
    pub const fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }
}

/// A set of instruments. Clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    limits: Limits,
    seconds: Seconds,
    nodes: Mutex<Nodes>,
    /// Held while instruments are read, so that none is folded into another meanwhile. Whoever writes
    /// to instruments or makes them never waits for it.
    reading: Mutex<()>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Nodes {
    by_key: BTreeMap<Key, Arc<Node>>,
    /// All of `by_key` as readers get it, made again after a change.
    list: Option<Arc<[Arc<Node>]>>,
    retired: BTreeMap<Key, Retired>,
    readers: BTreeSet<ReaderId>,
    next_id: u64,
}

#[derive(Debug, Clone, Copy)]
struct Retired {
    at: Instant,
    /// How many of its dimensions are left.
    left: usize,
}

/// An instrument in its place.
#[derive(Debug)]
pub(super) struct Node {
    /// No two nodes of a set ever have the same.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "the exporter's"))]
    pub(super) id: u64,
    pub(super) metric: Metric,
    pub(super) key: Key,
    pub(super) instrument: Instrument,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::with_limits(Limits::default())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("instruments", &self.instruments())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty set with other limits.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            limits,
            seconds: Seconds::keeping(limits.window.as_secs()),
            nodes: Mutex::default(),
            reading: Mutex::default(),
            refused: AtomicU64::new(0),
        }))
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// The counter of this metric and these dimensions, made on first use.
    #[must_use]
    pub fn counter(
        &self,
        metric: impl Into<Metric>,
        dimensions: &[(&'static str, &str)],
    ) -> Counter {
        let make = Instrument::Counter(Counter::new(self.0.seconds));
        if let Instrument::Counter(c) = self.instrument(metric.into(), dimensions, make) {
            c
        } else {
            Counter::default()
        }
    }

    /// The gauge of this metric and these dimensions, made on first use.
    #[must_use]
    pub fn gauge(&self, metric: impl Into<Metric>, dimensions: &[(&'static str, &str)]) -> Gauge {
        let make = Instrument::Gauge(Gauge::new(self.0.seconds));
        if let Instrument::Gauge(g) = self.instrument(metric.into(), dimensions, make) {
            g
        } else {
            Gauge::default()
        }
    }

    /// The histogram of this metric and these dimensions, made on first use.
    #[must_use]
    pub fn histogram(
        &self,
        metric: impl Into<Metric>,
        dimensions: &[(&'static str, &str)],
    ) -> Histogram {
        let make = Instrument::Histogram(Histogram::new(self.0.seconds));
        if let Instrument::Histogram(h) = self.instrument(metric.into(), dimensions, make) {
            h
        } else {
            Histogram::default()
        }
    }

    /// A name that is used for two kinds of instrument is a defect of the calling crate: the second
    /// kind gets an instrument that nobody reads, and a debug build stops.
    fn instrument(
        &self,
        metric: Metric,
        dimensions: &[(&'static str, &str)],
        make: Instrument,
    ) -> Instrument {
        let dimensions = dimensions
            .iter()
            .map(|(k, v)| (*k, (*v).to_owned()))
            .collect();
        let kind = std::mem::discriminant(&make);
        let key = Key {
            name: metric.name,
            dimensions,
        };
        let found = {
            let mut nodes = self.0.nodes.lock();
            nodes.retired.remove(&key);
            match nodes.by_key.get(&key) {
                Some(node) => node.instrument.clone(),
                None => self.make(&mut nodes, metric, key, make),
            }
        };
        debug_assert_eq!(
            std::mem::discriminant(&found),
            kind,
            "two kinds of instrument: {}",
            metric.name
        );
        found
    }

    fn make(
        &self,
        nodes: &mut Nodes,
        metric: Metric,
        mut key: Key,
        make: Instrument,
    ) -> Instrument {
        let most = self.0.limits.instruments;
        if nodes.by_key.len() >= most
            && let Some(_reading) = self.0.reading.try_lock()
        {
            nodes.fold(self.0.seconds);
        }
        if nodes.by_key.len() >= most && !key.dimensions.is_empty() {
            if self.0.refused.fetch_add(1, Relaxed) == 0 {
                tracing::warn!(
                    metric = metric.name,
                    most,
                    "too many instruments: the finest dimensions of new ones are left out"
                );
            }
            while nodes.by_key.len() >= most && key.dimensions.pop().is_some() {
                if let Some(ancestor) = nodes.by_key.get(&key) {
                    return ancestor.instrument.clone();
                }
            }
        }
        nodes.insert(metric, key, make)
    }

    /// How many instruments there are.
    #[must_use]
    pub fn instruments(&self) -> usize {
        self.0.nodes.lock().by_key.len()
    }

    /// How many times an instrument was asked for that would have been one too many
    /// ([`Limits::instruments`]).
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// What these dimensions stand for has closed, e.g. `[("StreamName", s), ("ShardId", id)]`: all
    /// instruments that have every one of them are taken away once nobody holds them, each reader has
    /// read them, and they have left every window. Their sums since the start then stand with the
    /// instrument that lacks the last of the given dimensions and what comes after it. Asking for such
    /// an instrument again before brings it back.
    pub fn retire(&self, dimensions: &[(&str, &str)]) {
        if let Some(((last, value), wider)) = dimensions.split_last() {
            self.retire_each(wider, last, &BTreeSet::from([*value]));
        }
    }

    /// As [`Metrics::retire`] for each of the values of the last dimension, in one go.
    pub fn retire_each(&self, wider: &[(&str, &str)], last: &str, values: &BTreeSet<&str>) {
        let now = Instant::now();
        let mut nodes = self.0.nodes.lock();
        let nodes = &mut *nodes;
        for key in nodes.by_key.keys() {
            let has = |(name, value): &(&str, &str)| {
                let mut own = key.dimensions.iter();
                own.any(|(n, v)| n == name && v == value)
            };
            let mut own = key.dimensions.iter();
            let one = own.any(|(n, v)| *n == last && values.contains(v.as_str()));
            if !one || !wider.iter().all(has) {
                continue;
            }
            let left = key.dimensions.iter().position(|(n, _)| *n == last);
            let left = left.unwrap_or_default();
            nodes
                .retired
                .entry(key.clone())
                .or_insert(Retired { at: now, left });
        }
    }

    /// Takes away what is retired and through. Readings do so too.
    pub(super) fn fold(&self, _reading: &MutexGuard<'_, ()>) {
        let mut nodes = self.0.nodes.lock();
        if !nodes.retired.is_empty() {
            nodes.fold(self.0.seconds);
        }
    }

    /// All instruments and what they show, in order of name and dimensions.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Key, Reading)> {
        let reading = self.reading();
        let nodes = self.nodes();
        let shown = nodes.iter().map(|node| {
            let shown = match &node.instrument {
                Instrument::Counter(c) => Reading::Counter(c.total()),
                Instrument::Gauge(g) => Reading::Gauge(g.value()),
                Instrument::Histogram(h) => Reading::Histogram(Box::new(h.total())),
            };
            (node.key.clone(), shown)
        });
        let shown = shown.collect();
        self.fold(&reading);
        shown
    }

    /// Readers go one after the other.
    pub(super) fn reading(&self) -> MutexGuard<'_, ()> {
        self.0.reading.lock()
    }

    /// All instruments, in order of name and dimensions.
    pub(super) fn nodes(&self) -> Arc<[Arc<Node>]> {
        let mut nodes = self.0.nodes.lock();
        if let Some(list) = &nodes.list {
            return Arc::clone(list);
        }
        let list: Arc<[Arc<Node>]> = nodes.by_key.values().cloned().collect();
        nodes.list = Some(Arc::clone(&list));
        list
    }

    pub(super) fn add_reader(&self) -> ReaderId {
        let mut nodes = self.0.nodes.lock();
        let id = nodes.next_id();
        nodes.readers.insert(id);
        id
    }

    pub(super) fn remove_reader(&self, id: ReaderId) {
        self.0.nodes.lock().readers.remove(&id);
        let _reading = self.reading();
        for node in self.nodes().iter() {
            node.instrument.forget(id);
        }
    }
}

impl Nodes {
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn insert(&mut self, metric: Metric, key: Key, instrument: Instrument) -> Instrument {
        let node = Node {
            id: self.next_id(),
            metric,
            key: key.clone(),
            instrument: instrument.clone(),
        };
        self.by_key.insert(key, Arc::new(node));
        self.list = None;
        instrument
    }

    /// Moves what is retired, read by all and past every window into the nearest instrument that is
    /// left.
    fn fold(&mut self, seconds: Seconds) {
        let now = Instant::now();
        let window = Duration::from_secs(seconds.kept);
        let through = |retired: &Retired, node: &Node| {
            now.saturating_duration_since(retired.at) > window
                && !node.instrument.is_shared()
                && self.readers.iter().all(|id| node.instrument.is_read(*id))
        };
        let done: Vec<(Key, Retired)> = self
            .retired
            .iter()
            .filter(|(key, retired)| {
                self.by_key
                    .get(key)
                    .is_none_or(|node| through(retired, node))
            })
            .map(|(key, retired)| (key.clone(), *retired))
            .collect();
        for (key, Retired { left, .. }) in done {
            self.retired.remove(&key);
            let Some(node) = self.by_key.remove(&key) else {
                continue;
            };
            self.list = None;
            let dimensions = key.dimensions.into_iter().take(left).collect();
            let parent = Key {
                name: key.name,
                dimensions,
            };
            if !self.by_key.contains_key(&parent) {
                let empty = node.instrument.empty(seconds);
                self.insert(node.metric, parent.clone(), empty);
            }
            if let Some(parent) = self.by_key.get(&parent) {
                parent.instrument.carry(&node.instrument);
            }
        }
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
    fn what_is_one_too_many_counts_into_its_ancestor() {
        let metrics = Metrics::with_limits(Limits::default().with_instruments(3));
        let shard =
            |stream, shard| metrics.counter("R", &[("StreamName", stream), ("ShardId", shard)]);
        metrics.counter("R", &[("StreamName", "s")]).add(1);
        shard("s", "0").add(1);
        shard("s", "1").add(1);
        shard("s", "2").add(1);
        shard("s", "0").add(1);
        // A stream without an instrument: it goes to the name's own, which is always made.
        shard("t", "0").add(1);
        metrics.gauge("Always", &[]).set(1.0);
        assert_eq!(metrics.refused(), 2);
        assert_eq!(metrics.instruments(), 5);
        let sums: Vec<_> = metrics.snapshot().into_iter().map(|(_, r)| r).collect();
        let of = Reading::Counter;
        assert_eq!(sums, [Reading::Gauge(1.0), of(1), of(2), of(2), of(1)]);
    }

    #[test]
    fn whoever_writes_or_makes_an_instrument_does_not_wait_for_readers() {
        let metrics = Metrics::with_limits(Limits::default().with_instruments(1));
        let _reading = metrics.reading();
        metrics.counter("A", &[]).add(1);
        metrics.histogram("B", &[]).observe(1.0);
        metrics.counter("A", &[("ShardId", "0")]).add(1);
        metrics.retire(&[("ShardId", "0")]);
        assert_eq!(metrics.counter("A", &[]).value(), 2);
    }

    fn shown(metrics: &Metrics) -> Vec<(usize, Reading)> {
        let all = metrics.snapshot().into_iter();
        all.map(|(key, r)| (key.dimensions.len(), r)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn closed_shards_leave_their_sums_behind() {
        let limits = Limits::default().with_window(Duration::from_secs(5));
        let metrics = Metrics::with_limits(limits);
        let (stream, shard) = (("StreamName", "s"), ("ShardId", "0"));
        let after = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let _ = metrics.snapshot();
            metrics.instruments()
        };
        let held = metrics.counter("R", &[stream, shard]);
        metrics.histogram("H", &[stream, shard]).observe(4.0);
        metrics.counter("R", &[stream, ("ShardId", "1")]).add(5);
        held.add(3);
        let mut reader = metrics.reader();
        metrics.retire(&[stream, shard]);
        assert_eq!(after(6).await, 3, "not read yet");
        assert_eq!(reader.read().len(), 3);
        assert_eq!(
            after(0).await,
            3,
            "one is held, one has left its place to its parent"
        );
        held.add(1);
        drop(held);
        assert_eq!(
            after(0).await,
            3,
            "what was written after the reading is not read yet"
        );
        let late = reader.read();
        assert_eq!((late.len(), late[0].statistics.sum), (1, 1.0));
        assert_eq!(after(0).await, 3);
        let histogram = Box::new({
            let mut all = Summary::default();
            all.observe(4.0, 1);
            all
        });
        let (four, five) = (Reading::Counter(4), Reading::Counter(5));
        let expected = [(1, Reading::Histogram(histogram)), (1, four), (2, five)];
        assert_eq!(shown(&metrics), expected);
        assert!(reader.read().is_empty(), "it has been read at the shard");
        // It comes back, from nothing.
        metrics.counter("R", &[stream, shard]).add(1);
        assert_eq!(reader.read()[0].statistics.sum, 1.0);
        metrics.retire(&[stream, shard]);
        let kept = metrics.counter("R", &[stream, shard]);
        assert_eq!(after(6).await, 4, "asked for again, it stays");
        drop(kept);
        assert_eq!(after(6).await, 4);
    }
}
