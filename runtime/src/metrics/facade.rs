//! The `metrics` facade: what was measured, handed to whatever recorder the program has installed.

use super::instruments::Instrument;
use super::{Metric, Metrics, Reader, Summary, Unit};
use crate::TaskScope;
use ::metrics::{Key, Label, Level, Metadata, Recorder};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Hands the instruments of a set to the recorder of the `metrics` facade, under their own names and
/// with their dimensions as labels. It installs no recorder; while there is none, values are lost to
/// it (and to no other reader).
///
/// Counters are increased by what came, gauges are set. Of a histogram's observations the recorder
/// gets as many values as there were, with the same sum, each right to a factor of two.
#[derive(Debug)]
pub struct Exporter {
    reader: Reader,
    prefix: String,
    described: BTreeSet<&'static str>,
    /// What each histogram had seen, by the number of its node.
    histograms: BTreeMap<u64, Summary>,
}

/// What one instrument has to say.
enum News {
    Add(u64),
    Set(f64),
    Record(Vec<(f64, u64)>),
}

impl Exporter {
    /// An exporter of these instruments. The first export has all that came since the start.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            reader: metrics.reader(),
            prefix: String::new(),
            described: BTreeSet::new(),
            histograms: BTreeMap::new(),
        }
    }

    /// Sets what stands before each name, e.g. `kpl_`. Default: nothing.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Hands over what came since the last time, to the recorder that is installed for this thread or
    /// for the process.
    pub fn export(&mut self) {
        ::metrics::with_recorder(|recorder| self.export_to(recorder));
    }

    /// Hands over what came since the last time to this recorder.
    pub fn export_to(&mut self, recorder: &dyn Recorder) {
        let mut before = std::mem::take(&mut self.histograms);
        let histograms = &mut self.histograms;
        let news = self.reader.read_with(|node, reader| {
            let news = match &node.instrument {
                Instrument::Counter(c) => News::Add(c.read(reader)),
                Instrument::Gauge(g) => {
                    let _ = g.read(reader);
                    News::Set(g.value())
                }
                Instrument::Histogram(h) => {
                    let now = h.read_whole(reader);
                    let came = now.since(&before.remove(&node.id).unwrap_or_default());
                    histograms.insert(node.id, now);
                    News::Record(came)
                }
            };
            Some((node.metric, node.key.dimensions.clone(), news))
        });
        let metadata = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        for (metric, dimensions, news) in news {
            let name = format!("{}{}", self.prefix, metric.name);
            if self.described.insert(metric.name) {
                describe(recorder, &name, metric, &news);
            }
            let labels: Vec<Label> = dimensions
                .into_iter()
                .map(|(name, value)| Label::new(name, value))
                .collect();
            let key = Key::from_parts(name, labels);
            match news {
                News::Add(n) => recorder.register_counter(&key, &metadata).increment(n),
                News::Set(value) => recorder.register_gauge(&key, &metadata).set(value),
                News::Record(values) => {
                    let histogram = recorder.register_histogram(&key, &metadata);
                    for (value, times) in values {
                        histogram.record_many(value, usize::try_from(times).unwrap_or(usize::MAX));
                    }
                }
            }
        }
    }

    /// Exports every `pace`, and once more when the scope is stopped.
    pub fn spawn(mut self, pace: Duration, scope: &TaskScope) {
        let token = scope.token().clone();
        scope.spawn("metrics exporter", async move {
            let wait = || token.run_until_cancelled(tokio::time::sleep(pace));
            while wait().await.is_some() {
                self.export();
            }
            self.export();
        });
    }
}

fn describe(recorder: &dyn Recorder, name: &str, metric: Metric, news: &News) {
    let unit = match metric.unit {
        Unit::Count => Some(::metrics::Unit::Count),
        Unit::Bytes => Some(::metrics::Unit::Bytes),
        Unit::Milliseconds => Some(::metrics::Unit::Milliseconds),
        Unit::Seconds => Some(::metrics::Unit::Seconds),
        Unit::Percent => Some(::metrics::Unit::Percent),
        Unit::CountPerSecond => Some(::metrics::Unit::CountPerSecond),
        Unit::BytesPerSecond | Unit::None => None,
    };
    let (name, text) = (name.to_owned().into(), metric.name.into());
    match news {
        News::Add(_) => recorder.describe_counter(name, unit, text),
        News::Set(_) => recorder.describe_gauge(name, unit, text),
        News::Record(_) => recorder.describe_histogram(name, unit, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, KeyName, SharedString,
    };
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// Writes down what it is told.
    #[derive(Debug, Clone, Default)]
    struct Book(Arc<Mutex<Vec<String>>>);

    struct Page(Book, String);

    impl Book {
        fn note(&self, line: String) {
            self.0.lock().push(line);
        }

        fn page(&self, key: &Key) -> Arc<Page> {
            let labels: Vec<_> = key
                .labels()
                .map(|l| format!("{}={}", l.key(), l.value()))
                .collect();
            let place = format!("{}({})", key.name(), labels.join(" "));
            Arc::new(Page(self.clone(), place))
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock())
        }
    }

    impl CounterFn for Page {
        fn increment(&self, n: u64) {
            self.0.note(format!("{} +{n}", self.1));
        }
        fn absolute(&self, n: u64) {
            self.0.note(format!("{} ={n}", self.1));
        }
    }

    impl GaugeFn for Page {
        fn increment(&self, n: f64) {
            self.0.note(format!("{} +{n}", self.1));
        }
        fn decrement(&self, n: f64) {
            self.0.note(format!("{} -{n}", self.1));
        }
        fn set(&self, n: f64) {
            self.0.note(format!("{} ={n}", self.1));
        }
    }

    impl HistogramFn for Page {
        fn record(&self, n: f64) {
            self.0.note(format!("{} {n}", self.1));
        }
    }

    impl Recorder for Book {
        fn describe_counter(&self, n: KeyName, u: Option<::metrics::Unit>, _: SharedString) {
            self.note(format!("counter {} {u:?}", n.as_str()));
        }
        fn describe_gauge(&self, n: KeyName, u: Option<::metrics::Unit>, _: SharedString) {
            self.note(format!("gauge {} {u:?}", n.as_str()));
        }
        fn describe_histogram(&self, n: KeyName, u: Option<::metrics::Unit>, _: SharedString) {
            self.note(format!("histogram {} {u:?}", n.as_str()));
        }
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.page(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.page(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.page(key))
        }
    }

    #[test]
    fn the_recorder_gets_each_value_once() {
        let metrics = Metrics::new();
        let shard = [("StreamName", "s"), ("ShardId", "0")];
        let time = Metric::new("Time").with_unit(Unit::Milliseconds);
        let (count, gauge) = (metrics.counter("Put", &shard), metrics.gauge("Lag", &[]));
        let time = metrics.histogram(time, &shard);
        count.add(3);
        gauge.set(2.5);
        time.observe(5.0);
        time.observe(7.0);
        let book = Book::default();
        let mut exporter = Exporter::new(&metrics).with_prefix("kpl_");
        let mut other = metrics.reader();
        ::metrics::with_local_recorder(&book, || exporter.export());
        let s = "(StreamName=s ShardId=0)";
        assert_eq!(
            book.take(),
            [
                "gauge kpl_Lag Some(Count)".to_owned(),
                "kpl_Lag() =2.5".to_owned(),
                "counter kpl_Put Some(Count)".to_owned(),
                format!("kpl_Put{s} +3"),
                "histogram kpl_Time Some(Milliseconds)".to_owned(),
                format!("kpl_Time{s} 6"),
                format!("kpl_Time{s} 6"),
            ]
        );
        count.add(1);
        time.observe(100.0);
        exporter.export_to(&book);
        assert_eq!(
            book.take(),
            [
                "kpl_Lag() =2.5".to_owned(),
                format!("kpl_Put{s} +1"),
                format!("kpl_Time{s} 100"),
            ]
        );
        assert_eq!(
            other.read().len(),
            3,
            "nothing is taken from another reader"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_retired_shard_is_exported_once_and_its_successor_from_nothing() {
        let metrics = Metrics::new();
        let shard = [("StreamName", "s"), ("ShardId", "0")];
        let book = Book::default();
        let mut exporter = Exporter::new(&metrics);
        let put = |n| {
            metrics.counter("Put", &shard).add(n);
            metrics.histogram("Time", &shard).observe(2.0);
        };
        let mut values = || {
            exporter.export_to(&book);
            let lines = book.take().into_iter();
            lines
                .filter(|l| !l.ends_with(" +0") && l.contains('(') && !l.contains("Some"))
                .collect::<Vec<_>>()
        };
        put(2);
        assert_eq!(values().len(), 2);
        metrics.retire(&shard);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(values(), [""; 0]);
        assert_eq!(
            values(),
            [""; 0],
            "the parent has carried it over in silence"
        );
        put(1);
        let at = "(StreamName=s ShardId=0)";
        assert_eq!(values(), [format!("Put{at} +1"), format!("Time{at} 2")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_exports_at_its_pace_and_at_the_end() {
        let metrics = Metrics::new();
        let counter = metrics.counter("Put", &[]);
        let scope = TaskScope::new("test");
        Exporter::new(&metrics).spawn(Duration::from_secs(10), &scope);
        counter.add(1);
        tokio::time::sleep(Duration::from_secs(11)).await;
        let mut other = Exporter::new(&metrics);
        let book = Book::default();
        other.export_to(&book);
        assert_eq!(book.take(), ["counter Put Some(Count)", "Put() +1"]);
        assert!(scope.shutdown(Duration::from_secs(1)).await.is_clean());
    }
}
