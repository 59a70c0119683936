//! Samples, summed up.

use super::Unit;

/// Count, sum and extremes of samples: what CloudWatch calls a statistic set.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statistics {
    /// How many samples there are.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest; 0 when there is none.
    pub min: f64,
    /// The largest; 0 when there is none.
    pub max: f64,
}

impl Statistics {
    /// `count` samples of the same value.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a statistic")]
    pub fn of(value: f64, count: u64) -> Self {
        match count {
            0 => Self::default(),
            count => Self {
                count,
                sum: value * count as f64,
                min: value,
                max: value,
            },
        }
    }

    /// What a counter that grew by `sum` says. One that counts things saw so many samples of 1; of
    /// other units the parts that it grew by are not known, and it is one sample.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a statistic")]
    pub(super) fn of_counter(sum: u64, unit: Unit) -> Self {
        match (sum, unit) {
            (0, _) => Self::default(),
            (sum, Unit::Count) => Self::of(1.0, sum),
            (sum, _) => Self::of(sum as f64, 1),
        }
    }

    /// True when there are no samples.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The mean; none without samples.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a statistic")]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Adds the samples of another.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Powers of two that observations are sorted by. The last takes all that is larger.
const BUCKETS: usize = 40;

/// The observations of a [`Histogram`](super::Histogram).
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
    /// Number and sum of the observations in each bucket.
    buckets: [(u64, f64); BUCKETS],
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: 0.0,
            max: 0.0,
            buckets: [(0, 0.0); BUCKETS],
        }
    }
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "a statistic")]
    pub(super) fn observe(&mut self, value: f64, times: u64) {
        self.take(&Statistics::of(value, times));
        if let Some((count, sum)) = self.buckets.get_mut(Self::bucket(value)) {
            *count += times;
            *sum += value * times as f64;
        }
    }

    /// Without the buckets.
    fn take(&mut self, more: &Statistics) {
        let mut all = self.statistics();
        all.merge(more);
        self.count = all.count;
        self.sum = all.sum;
        self.min = all.min;
        self.max = all.max;
    }

    /// Bucket n holds values up to 2^n.
    fn bucket(value: f64) -> usize {
        if value <= 1.0 {
            return 0;
        }
        // The exponent, and one more unless it is a power of two.
        let bits = value.to_bits();
        let exponent = (bits >> 52) as usize & 0x7ff;
        let above = usize::from(bits & ((1 << 52) - 1) != 0);
        (exponent + above).saturating_sub(1023).min(BUCKETS - 1)
    }

    /// Adds the observations of another.
    pub fn merge(&mut self, other: &Self) {
        self.take(&other.statistics());
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            to.0 += from.0;
            to.1 += from.1;
        }
    }

    /// Count, sum and extremes.
    #[must_use]
    pub const fn statistics(&self) -> Statistics {
        Statistics {
            count: self.count,
            sum: self.sum,
            min: self.min,
            max: self.max,
        }
    }

    /// What came since `before`, which is the same histogram at an earlier time: one value and its
    /// number for each bucket that grew. The value is the mean of what came, so that number and sum
    /// are exact and each value is right to a factor of two.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub fn since(&self, before: &Self) -> Vec<(f64, u64)> {
        self.buckets
            .iter()
            .zip(&before.buckets)
            .filter_map(|(now, then)| {
                let count = now.0.checked_sub(then.0).filter(|n| *n > 0)?;
                Some(((now.1 - then.1) / count as f64, count))
            })
            .collect()
    }

    /// An upper bound of the given quantile (0 to 1): exact to a factor of two, never above the
    /// largest observation.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a quantile is an estimate")]
        let wanted = self.count as f64 * q.clamp(0.0, 1.0);
        let mut seen = 0;
        let mut limit = 1.0f64;
        // The last bucket has no upper end.
        for (count, _) in self.buckets.iter().take(BUCKETS - 1) {
            seen += count;
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
    fn buckets_end_at_powers_of_two() {
        for (value, bucket) in [
            (0.0, 0),
            (0.3, 0),
            (1.0, 0),
            (1.000_001, 1),
            (2.0, 1),
            (2.1, 2),
            (3.0, 2),
            (4.0, 2),
            (1024.0, 10),
            (1025.0, 11),
            (1e300, BUCKETS - 1),
        ] {
            assert_eq!(Summary::bucket(value), bucket, "{value}");
        }
    }

    #[test]
    fn quantiles_are_bounded() {
        let mut summary = Summary::default();
        assert_eq!(summary.quantile(0.99), 0.0);
        for n in 1..=1000 {
            summary.observe(f64::from(n), 1);
        }
        summary.observe(0.0, 1);
        let s = &summary;
        assert_eq!((s.count, s.min, s.max), (1001, 0.0, 1000.0));
        assert!(s.quantile(0.5) >= 500.0 && s.quantile(0.5) <= 1000.0);
        assert!(s.quantile(1.0) == 1000.0 && s.quantile(0.0) <= 1.0);
        summary.observe(1e30, 5_000);
        assert_eq!(summary.quantile(0.9), 1e30);
    }

    #[test]
    fn what_came_since_keeps_number_and_sum() {
        let mut now = Summary::default();
        now.observe(3.0, 2);
        let before = now.clone();
        now.observe(3.5, 1);
        now.observe(2.5, 1);
        now.observe(100.0, 4);
        assert_eq!(now.since(&before), [(3.0, 2), (100.0, 4)]);
        assert_eq!(now.since(&now.clone()), []);
        let mut both = before.clone();
        both.merge(&before);
        assert_eq!((both.count, both.sum, both.min), (4, 12.0, 3.0));
    }

    #[test]
    fn counters_of_things_are_samples_of_one() {
        let count = Statistics::of_counter(5, Unit::Count);
        assert_eq!((count.count, count.sum, count.max), (5, 5.0, 1.0));
        let bytes = Statistics::of_counter(5, Unit::Bytes);
        assert_eq!((bytes.count, bytes.sum, bytes.max), (1, 5.0, 5.0));
        assert!(Statistics::of_counter(0, Unit::Bytes).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn merged_in_any_grouping_it_is_the_same(values in proptest::collection::vec(-1000..1000, 1..50), cut in 0..50_usize) {
            let all = |values: &[i32]| {
                let mut all = Statistics::default();
                for v in values {
                    all.merge(&Statistics::of(f64::from(*v), 1));
                }
                all
            };
            let cut = cut.min(values.len());
            let mut parts = all(&values[..cut]);
            parts.merge(&all(&values[cut..]));
            proptest::prop_assert_eq!(parts, all(&values));
            proptest::prop_assert_eq!(parts.min, f64::from(*values.iter().min().unwrap()));
            proptest::prop_assert_eq!(parts.mean(), Some(parts.sum / values.len() as f64));
        }
    }
}
