//! What a back end wants to see, as a pure function over what was read.

use super::{Granularity, Level, Metric, Statistics};
use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// A metric's values at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Name, unit and level.
    pub metric: Metric,
    /// Name and value of each dimension, the wider before the finer.
    pub dimensions: Vec<(Cow<'static, str>, String)>,
    /// The values.
    pub statistics: Statistics,
}

impl Point {
    /// The granularity of its dimensions.
    #[must_use]
    pub fn granularity(&self) -> Granularity {
        Granularity::of(self.dimensions.iter().map(|(name, _)| &**name))
    }
}

/// A dimension that the user adds to what the engines measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraDimension {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Where it stands: before all others, right behind the stream, or right behind the shard. Values
    /// that are not told apart so finely do not get it.
    pub granularity: Granularity,
}

impl ExtraDimension {
    /// A further dimension.
    pub fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        granularity: Granularity,
    ) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            granularity,
        }
    }
}

/// Which metrics are wanted, at which places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    level: Level,
    granularity: Granularity,
    ancestors: bool,
    extra: Vec<ExtraDimension>,
    dimensions: Option<BTreeSet<String>>,
    name: Option<String>,
    place: Option<(String, String)>,
}

impl Default for View {
    fn default() -> Self {
        Self::everything()
    }
}

impl View {
    /// All instruments as they are.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            level: Level::Detailed,
            granularity: Granularity::Shard,
            ancestors: false,
            extra: Vec::new(),
            dimensions: None,
            name: None,
            place: None,
        }
    }

    /// The metrics whose level is at most this one.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The places whose granularity is at most this one. Without [`View::with_ancestors`] finer values
    /// are left out, not summed up.
    #[must_use]
    pub fn with_granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = granularity;
        self
    }

    /// Each value also at every place above its own: the name alone, the name with the first
    /// dimension, and so on, as the Kinesis Producer Library has it. Off: at its own place, as the
    /// Kinesis Client Library has it.
    #[must_use]
    pub fn with_ancestors(mut self, on: bool) -> Self {
        self.ancestors = on;
        self
    }

    /// Further dimensions, in this order among those of the same granularity. Those without a value
    /// are left out.
    #[must_use]
    pub fn with_extra(mut self, extra: impl IntoIterator<Item = ExtraDimension>) -> Self {
        self.extra = extra.into_iter().collect();
        self
    }

    /// The instruments' dimensions of these names alone (further ones stay). What differs in others
    /// is summed up.
    #[must_use]
    pub fn with_dimensions<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.dimensions = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The metric of this name alone.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Without the values of other places: what names another value for this dimension is left out. So
    /// several back ends can share a set of instruments, each with its own stream.
    #[must_use]
    pub fn with_place(mut self, dimension: impl Into<String>, value: impl Into<String>) -> Self {
        self.place = Some((dimension.into(), value.into()));
        self
    }

    /// False when the point stands at another place than the one that is wanted.
    fn is_here(&self, point: &Point) -> bool {
        self.place.as_ref().is_none_or(|(name, value)| {
            let mut own = point.dimensions.iter();
            own.all(|(n, v)| n != name || v == value)
        })
    }

    /// The points that are wanted, by number of dimensions, then name, then dimensions.
    #[must_use]
    pub fn apply(&self, points: Vec<Point>) -> Vec<Point> {
        type Place = (usize, Metric, Vec<(Cow<'static, str>, String)>);
        let mut places: BTreeMap<Place, Statistics> = BTreeMap::new();
        for point in points {
            let named = self.name.as_ref().is_none_or(|n| n == point.metric.name);
            if !named || point.metric.level > self.level || !self.is_here(&point) {
                continue;
            }
            let dimensions = self.place(point.dimensions);
            let shortest = if self.ancestors { 0 } else { dimensions.len() };
            for length in shortest..=dimensions.len() {
                let place: Vec<_> = dimensions.iter().take(length).cloned().collect();
                if Granularity::of(place.iter().map(|(n, _)| &**n)) > self.granularity {
                    break;
                }
                match places.entry((length, point.metric, place)) {
                    Entry::Vacant(place) => {
                        place.insert(point.statistics);
                    }
                    Entry::Occupied(mut place) => place.get_mut().merge(&point.statistics),
                }
            }
        }
        places
            .into_iter()
            .map(|((_, metric, dimensions), statistics)| Point {
                metric,
                dimensions,
                statistics,
            })
            .collect()
    }

    /// The dimensions that are wanted of these, with the further ones. One without a value is left
    /// out here, before there are ancestors: it would make two places of one.
    fn place(
        &self,
        dimensions: Vec<(Cow<'static, str>, String)>,
    ) -> Vec<(Cow<'static, str>, String)> {
        let further = |granularity| {
            let of = move |e: &&ExtraDimension| e.granularity == granularity && !e.value.is_empty();
            let extra = self.extra.iter().filter(of);
            extra.map(|e| (Cow::Owned(e.name.clone()), e.value.clone()))
        };
        let mut all: Vec<_> = further(Granularity::Global).collect();
        for (name, value) in dimensions {
            let wanted = self.dimensions.as_ref().is_none_or(|d| d.contains(&*name));
            if !wanted || value.is_empty() {
                continue;
            }
            let granularity = Granularity::of_name(&name);
            all.push((name, value));
            if granularity != Granularity::Global {
                all.extend(further(granularity));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(metric: Metric, dimensions: &[(&'static str, &str)], value: f64) -> Point {
        Point {
            metric,
            dimensions: dimensions
                .iter()
                .map(|(n, v)| (Cow::Borrowed(*n), (*v).to_owned()))
                .collect(),
            statistics: Statistics::of(value, 1),
        }
    }

    /// `Name(dimension=value …) count sum min max`.
    fn shown(points: &[Point]) -> Vec<String> {
        points
            .iter()
            .map(|p| {
                let dimensions: Vec<_> = p
                    .dimensions
                    .iter()
                    .map(|(n, v)| format!("{n}={v}"))
                    .collect();
                let s = p.statistics;
                format!(
                    "{}({}) {} {} {} {}",
                    p.metric.name,
                    dimensions.join(" "),
                    s.count,
                    s.sum,
                    s.min,
                    s.max
                )
            })
            .collect()
    }

    fn shards() -> Vec<Point> {
        let put = Metric::new("Put").with_level(Level::Summary);
        let errors = Metric::new("ErrorsByCode").with_level(Level::Summary);
        let (s, t) = (("StreamName", "s"), ("StreamName", "t"));
        vec![
            leaf(put, &[s, ("ShardId", "0")], 1.0),
            leaf(put, &[s, ("ShardId", "1")], 2.0),
            leaf(put, &[t, ("ShardId", "0")], 4.0),
            leaf(put, &[t], 8.0),
            leaf(errors, &[("ErrorCode", "E"), s, ("ShardId", "0")], 1.0),
            leaf(Metric::new("Fine"), &[s], 3.0),
            leaf(Metric::new("Down").with_level(Level::None), &[], 1.0),
        ]
    }

    #[test]
    fn a_value_is_added_to_every_ancestor() {
        let view = View::everything().with_ancestors(true);
        assert_eq!(
            shown(&view.apply(shards())),
            [
                "Down() 1 1 1 1",
                "ErrorsByCode() 1 1 1 1",
                "Fine() 1 3 3 3",
                "Put() 4 15 1 8",
                "ErrorsByCode(ErrorCode=E) 1 1 1 1",
                "Fine(StreamName=s) 1 3 3 3",
                "Put(StreamName=s) 2 3 1 2",
                "Put(StreamName=t) 2 12 4 8",
                "ErrorsByCode(ErrorCode=E StreamName=s) 1 1 1 1",
                "Put(StreamName=s ShardId=0) 1 1 1 1",
                "Put(StreamName=s ShardId=1) 1 2 2 2",
                "Put(StreamName=t ShardId=0) 1 4 4 4",
                "ErrorsByCode(ErrorCode=E StreamName=s ShardId=0) 1 1 1 1",
            ]
        );
    }

    #[test]
    fn level_and_granularity_filter() {
        use Granularity::{Global, Shard, Stream};
        use Level::{Detailed, None, Summary};
        for (level, granularity, points) in [
            (None, Shard, 1),
            (None, Global, 1),
            (Summary, Global, 4),
            (Summary, Stream, 7),
            (Summary, Shard, 11),
            (Detailed, Global, 5),
            (Detailed, Stream, 9),
            (Detailed, Shard, 13),
        ] {
            let view = View::everything()
                .with_ancestors(true)
                .with_level(level)
                .with_granularity(granularity);
            let kept = view.apply(shards());
            assert_eq!(kept.len(), points, "{level} {granularity} {kept:?}");
            assert!(kept.iter().all(|p| p.metric.level <= level));
            assert!(kept.iter().all(|p| p.granularity() <= granularity));
            let sum: f64 = kept
                .iter()
                .filter(|p| p.metric.name == "Put" && p.dimensions.is_empty())
                .map(|p| p.statistics.sum)
                .sum();
            assert_eq!(sum, if level == None { 0.0 } else { 15.0 });
        }
        let flat = View::everything().with_granularity(Stream);
        assert_eq!(flat.apply(shards()).len(), 3, "nothing is summed up");
    }

    #[test]
    fn extra_dimensions_stand_at_their_granularity_in_the_order_given() {
        let extra = |name, value, granularity| ExtraDimension::new(name, value, granularity);
        let view = View::everything().with_extra([
            extra("Team", "x", Granularity::Stream),
            extra("Host", "h", Granularity::Global),
            extra("Blank", "", Granularity::Global),
            extra("App", "a", Granularity::Global),
            extra("Rack", "r", Granularity::Shard),
        ]);
        let put = Metric::new("Put");
        let s = ("StreamName", "s");
        let points = vec![
            leaf(put, &[("ErrorCode", "E"), s, ("ShardId", "0")], 1.0),
            leaf(put, &[("StreamName", "")], 1.0),
            leaf(put, &[s], 1.0),
        ];
        let expected = [
            "Put(Host=h App=a) 1 1 1 1",
            "Put(Host=h App=a StreamName=s Team=x) 1 1 1 1",
            "Put(Host=h App=a ErrorCode=E StreamName=s Team=x ShardId=0 Rack=r) 1 1 1 1",
        ];
        assert_eq!(shown(&view.apply(points.clone())), expected);
        let tree = view.with_ancestors(true).with_name("Put").apply(points);
        let lengths: Vec<_> = tree.iter().map(|p| p.dimensions.len()).collect();
        assert_eq!(lengths, [0, 1, 2, 3, 3, 4, 4, 5, 6, 7]);
        assert_eq!(tree[2].statistics.count, 3);
    }

    #[test]
    fn other_places_can_be_left_out() {
        let mut points = shards();
        points.retain(|p| p.metric.name == "Put");
        points.push(leaf(Metric::new("Down"), &[], 7.0));
        let view = View::everything()
            .with_place("StreamName", "s")
            .with_ancestors(true)
            .with_granularity(Granularity::Stream);
        assert_eq!(
            shown(&view.apply(points)),
            [
                "Down() 1 7 7 7",
                "Put() 2 3 1 2",
                "Put(StreamName=s) 2 3 1 2"
            ]
        );
    }

    #[test]
    fn dimensions_can_be_left_out() {
        let view = View::everything()
            .with_dimensions(["StreamName"])
            .with_name("Put");
        assert_eq!(
            shown(&view.apply(shards())),
            ["Put(StreamName=s) 2 3 1 2", "Put(StreamName=t) 2 12 4 8"]
        );
        assert!(view.with_name("Gone").apply(shards()).is_empty());
    }
}
