//! The pace at which a shard is sent to: two token buckets, one of bytes and one of records.

use std::time::Duration;
use tokio::time::Instant;

/// What a shard takes in a second, in bytes and in records.
const SHARD_BYTES: u64 = 1024 * 1024;
const SHARD_RECORDS: u64 = 1000;

/// Tokens are counted in billionths, so that refilling by the nanosecond loses nothing.
const UNIT: i128 = 1_000_000_000;

/// A share of what a shard takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Of the shard's own rate, in percent.
    pub(crate) percent: u64,
}

/// The pace of one shard.
#[derive(Debug)]
pub(crate) struct Limiter {
    bytes: Bucket,
    records: Bucket,
    refilled: Instant,
}

/// Starts full with what a shard takes in a second, the burst that the service allows; the rate refills
/// it.
#[derive(Debug)]
struct Bucket {
    capacity: i128,
    tokens: i128,
    /// Tokens a second, which is billionths a nanosecond.
    rate: i128,
}

impl Bucket {
    fn new(a_second: u64, rate: Rate) -> Self {
        let capacity = i128::from(a_second) * UNIT;
        let rate = (i128::from(a_second) * i128::from(rate.percent) / 100).max(1);
        Self {
            capacity,
            tokens: capacity,
            rate,
        }
    }

    fn refill(&mut self, nanos: u128) {
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
        let gain = nanos.saturating_mul(self.rate);
        self.tokens = self.tokens.saturating_add(gain).min(self.capacity);
    }

    /// More than the capacity can never be there: it passes when the bucket is full, and is owed.
    fn missing(&self, cost: u64) -> i128 {
        (i128::from(cost) * UNIT).min(self.capacity) - self.tokens
    }

    fn wait(&self, cost: u64) -> Duration {
        let missing = self.missing(cost).max(0);
        let nanos = (missing + self.rate - 1) / self.rate;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Limiter {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            bytes: Bucket::new(SHARD_BYTES, rate),
            records: Bucket::new(SHARD_RECORDS, rate),
            refilled: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let nanos = now.saturating_duration_since(self.refilled).as_nanos();
        self.refilled = self.refilled.max(now);
        self.bytes.refill(nanos);
        self.records.refill(nanos);
    }

    /// How long until a Kinesis record of so many bytes may go; zero = now.
    pub(crate) fn wait(&mut self, bytes: usize, now: Instant) -> Duration {
        self.refill(now);
        self.bytes.wait(bytes as u64).max(self.records.wait(1))
    }

    /// Sends a Kinesis record of so many bytes, if it may go.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        if self.wait(bytes, now) > Duration::ZERO {
            return false;
        }
        self.bytes.tokens -= i128::from(bytes as u64) * UNIT;
        self.records.tokens -= UNIT;
        true
    }

    /// The shard said that it takes no more: what was saved for a burst is gone.
    pub(crate) fn empty(&mut self, now: Instant) {
        self.refill(now);
        self.bytes.tokens = self.bytes.tokens.min(0);
        self.records.tokens = self.records.tokens.min(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sent(limiter: &mut Limiter, bytes: usize, now: Instant) -> usize {
        (0..).take_while(|_| limiter.take(bytes, now)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_a_second_then_the_rate() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate { percent: 150 }, now);
        assert_eq!(sent(&mut limiter, 0, now), 1000);
        assert_eq!(sent(&mut limiter, 0, now + SECOND / 10), 150);
        assert_eq!(sent(&mut limiter, 0, now + SECOND * 60), 1000);
        let mut limiter = Limiter::new(Rate { percent: 50 }, now);
        assert_eq!(sent(&mut limiter, 51_200, now), 20);
        assert_eq!(sent(&mut limiter, 51_200, now + SECOND), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_exact() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate { percent: 100 }, now);
        sent(&mut limiter, 0, now);
        let wait = limiter.wait(0, now);
        assert_eq!(wait, Duration::from_millis(1));
        assert!(!limiter.take(0, now + wait - Duration::from_nanos(1)));
        assert!(limiter.take(0, now + wait));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_owed() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate { percent: 100 }, now);
        assert!(limiter.take(3 * 1024 * 1024, now));
        assert_eq!(limiter.wait(1, now + SECOND * 2), Duration::from_nanos(954));
        assert!(limiter.take(1, now + SECOND * 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_ends_the_burst() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate { percent: 100 }, now);
        limiter.empty(now);
        assert_eq!(limiter.wait(0, now), Duration::from_millis(1));
    }
}
