//! Reading: what came since the last time, in the last seconds, or since the start.

use super::instruments::ReaderId;
use super::registry::Node;
use super::{Metrics, Point, Statistics, View};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;

/// One of any number of readers, each of which gets everything: what is written while it exists, and
/// what was written to the instruments that stood before it.
///
/// Dropping it lets instruments go that were retired but not read.
#[derive(Debug)]
pub struct Reader {
    metrics: Metrics,
    id: ReaderId,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.metrics.remove_reader(self.id);
    }
}

impl Reader {
    /// What came since the last reading (the first time: since the start), in order of name and
    /// dimensions; instruments without samples are left out. Sums, numbers and extremes are those of
    /// just this interval. A gauge that was not set shows its latest value as one sample.
    #[must_use = "what was read is not read again"]
    pub fn read(&mut self) -> Vec<Point> {
        self.read_with(|node, id| {
            let statistics = node.instrument.read(id, node.metric.unit);
            (!statistics.is_empty()).then(|| node.point(statistics))
        })
    }

    pub(super) fn read_with<T>(
        &mut self,
        read: impl FnMut(&Node, ReaderId) -> Option<T>,
    ) -> Vec<T> {
        let mut read = read;
        let reading = self.metrics.reading();
        let nodes = self.metrics.nodes();
        let read = nodes
            .iter()
            .filter_map(|node| read(node, self.id))
            .collect();
        self.metrics.fold(&reading);
        read
    }
}

/// Which values are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Those of the last so many seconds: whole ones, the present one included.
    Last(Duration),
    /// All.
    SinceStart,
}

/// Windows do not reach back so far. What there is would look like the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a window of {asked:?} was asked for, but the last {kept:?} are kept")]
pub struct WindowTooLong {
    /// What was asked for.
    pub asked: Duration,
    /// [`Limits::window`](super::Limits::window).
    pub kept: Duration,
}

impl Metrics {
    /// A new reader.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            metrics: self.clone(),
            id: self.add_reader(),
        }
    }

    /// What `view` shows of the values in `window`, also of instruments without any. Takes nothing
    /// away from readers, and readers take nothing away from it.
    ///
    /// # Errors
    /// When windows do not reach back so far.
    pub fn query(&self, view: &View, window: Window) -> Result<Vec<Point>, WindowTooLong> {
        let seconds = match window {
            Window::SinceStart => None,
            Window::Last(asked) => {
                let kept = self.limits().window;
                if asked > kept {
                    return Err(WindowTooLong { asked, kept });
                }
                Some(asked.as_secs() + u64::from(asked.subsec_nanos() > 0))
            }
        };
        let reading = self.reading();
        let now = Instant::now();
        let nodes = self.nodes();
        let points = nodes.iter().map(|node| {
            let unit = node.metric.unit;
            node.point(match seconds {
                Some(seconds) => node.instrument.window(seconds, now, unit),
                None => node.instrument.since_start(unit),
            })
        });
        let points = points.collect();
        self.fold(&reading);
        drop(reading);
        Ok(view.apply(points))
    }
}

impl Node {
    fn point(&self, statistics: Statistics) -> Point {
        let dimensions = self.key.dimensions.iter();
        Point {
            metric: self.metric,
            dimensions: dimensions
                .map(|(name, value)| (Cow::Borrowed(*name), value.clone()))
                .collect(),
            statistics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Metric, Unit};
    use super::*;
    use proptest::prelude::*;

    fn sums(points: &[Point]) -> Vec<(&'static str, u64, f64)> {
        points
            .iter()
            .map(|p| (p.metric.name, p.statistics.count, p.statistics.sum))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn readers_do_not_steal_from_each_other_nor_from_windows() {
        let metrics = Metrics::new();
        metrics.counter("C", &[]).add(2);
        let mut first = metrics.reader();
        let bytes = Metric::new("B").with_unit(Unit::Bytes);
        metrics.counter(bytes, &[]).add(100);
        metrics.histogram("H", &[]).observe(8.0);
        let expected = [("B", 1, 100.0), ("C", 2, 2.0), ("H", 1, 8.0)];
        assert_eq!(sums(&first.read()), expected);
        assert!(first.read().is_empty());
        metrics.histogram("H", &[]).observe(2.0);
        let mut second = metrics.reader();
        let point = &first.read()[0];
        assert_eq!(
            point.statistics,
            Statistics::of(2.0, 1),
            "of the interval alone"
        );
        let whole = [("B", 1, 100.0), ("C", 2, 2.0), ("H", 2, 10.0)];
        assert_eq!(sums(&second.read()), whole);
        for window in [Window::Last(Duration::from_secs(60)), Window::SinceStart] {
            let all = metrics.query(&View::everything(), window).unwrap();
            assert_eq!(sums(&all), whole, "{window:?}");
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let view = View::everything();
        let last = metrics.query(&view, Window::Last(Duration::from_secs(60)));
        assert_eq!(
            sums(&last.unwrap()),
            [("B", 0, 0.0), ("C", 0, 0.0), ("H", 0, 0.0)]
        );
        let error = metrics.query(&view, Window::Last(Duration::from_secs(61)));
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "a window of 61s was asked for, but the last 60s are kept"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_gauge_shows_its_extremes_and_then_its_latest_value() {
        let metrics = Metrics::new();
        let gauge = metrics.gauge("G", &[]);
        let mut reader = metrics.reader();
        assert!(reader.read().is_empty(), "never set");
        for value in [5.0, 1.0, 9.0, 4.0] {
            gauge.set(value);
        }
        let seen = reader.read()[0].statistics;
        assert_eq!((seen.count, seen.min, seen.max), (4, 1.0, 9.0));
        assert_eq!(reader.read()[0].statistics, Statistics::of(4.0, 1));
        tokio::time::advance(Duration::from_secs(100)).await;
        let window = Window::Last(Duration::from_secs(5));
        let last = metrics.query(&View::everything(), window).unwrap();
        assert_eq!(last[0].statistics, Statistics::of(4.0, 1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Count(u64),
        Observe(u32),
        Read(usize),
        NewReader,
        Wait(u64),
        Close,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..9_u64).prop_map(Step::Count),
            (0..1000_u32).prop_map(Step::Observe),
            (0..3_usize).prop_map(Step::Read),
            Just(Step::NewReader),
            (0..7_u64).prop_map(Step::Wait),
            Just(Step::Close),
        ]
    }

    proptest! {
        /// Whoever reads whenever, the intervals of each reader add up to what was written while it
        /// or the instruments existed; and a window has what its seconds have.
        #[test]
        fn intervals_add_up(steps in proptest::collection::vec(step(), 1..80)) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let metrics = Metrics::with_limits(Limits::default().with_window(Duration::from_secs(4)));
                let shard = [("StreamName", "s"), ("ShardId", "0")];
                let mut readers = vec![(metrics.reader(), 0.0, Statistics::default())];
                let (mut counted, mut observed) = (0, Statistics::default());
                let began = Instant::now();
                let mut journal: Vec<(u64, f64)> = Vec::new();
                let drain = |reader: &mut (Reader, f64, Statistics)| {
                    for point in reader.0.read() {
                        match point.metric.name {
                            "C" => reader.1 += point.statistics.sum,
                            _ => reader.2.merge(&point.statistics),
                        }
                    }
                };
                for step in steps {
                    match step {
                        Step::Count(n) => {
                            metrics.counter("C", &shard).add(n);
                            counted += n;
                        }
                        Step::Observe(value) => {
                            let value = f64::from(value);
                            metrics.histogram("H", &shard).observe(value);
                            observed.merge(&Statistics::of(value, 1));
                            journal.push((began.elapsed().as_secs(), value));
                        }
                        Step::Read(n) => {
                            if let Some(reader) = readers.get_mut(n) {
                                drain(reader);
                            }
                        }
                        Step::NewReader => {
                            if readers.len() < 3 {
                                readers.push((metrics.reader(), 0.0, Statistics::default()));
                            }
                        }
                        Step::Wait(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
                        Step::Close => metrics.retire(&shard),
                    }
                    let now = began.elapsed().as_secs();
                    let mut expected = Statistics::default();
                    for (second, value) in &journal {
                        if second + 3 > now {
                            expected.merge(&Statistics::of(*value, 1));
                        }
                    }
                    let view = View::everything().with_ancestors(true);
                    let seen = |window| {
                        let all = metrics.query(&view, window).unwrap();
                        let of = |name| all.iter().find(|p| p.metric.name == name && p.dimensions.is_empty()).map(|p| p.statistics).unwrap_or_default();
                        (of("C").sum, of("H"))
                    };
                    assert_eq!(seen(Window::Last(Duration::from_secs(3))).1, expected);
                    #[expect(clippy::cast_precision_loss, reason = "small")]
                    let counted = counted as f64;
                    assert_eq!(seen(Window::SinceStart), (counted, observed));
                }
                for (n, reader) in readers.iter_mut().enumerate() {
                    drain(reader);
                    if n == 0 {
                        #[expect(clippy::cast_precision_loss, reason = "small")]
                        let counted = counted as f64;
                        assert_eq!((reader.1, reader.2), (counted, observed));
                    }
                    assert!(reader.2.count <= observed.count && reader.1.fract() == 0.0);
                }
            });
        }
    }
}
