//! The pace at which a shard is sent to: two token buckets, one of bytes and one of records.
//!
//! Their rate is a fixed part of what a shard takes, or follows what the shard gives: it falls at a
//! throttle and comes back as CUBIC (RFC 9438) has it, fast to the rate that was throttled, slowly past it.

use std::time::Duration;
use tokio::time::Instant;

/// What a shard takes in a second, in bytes and in records.
const SHARD_BYTES: u64 = 1024 * 1024;
const SHARD_RECORDS: u64 = 1000;

/// Tokens are counted in billionths, so that refilling by the nanosecond loses nothing.
const UNIT: i128 = 1_000_000_000;

/// How fast a shard is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    /// A part of the shard's own rate, in percent.
    Fixed(u64),
    /// What the shard gives.
    Adaptive,
}

/// Where `RateLimit` says that a shard takes far more than it does in Kinesis, what goes at once is what that
/// gives in this part of a second: small requests in quick succession cost more than they gain.
const TURNS_A_SECOND: u64 = 20;

impl Rate {
    /// In percent of what a shard takes; what is found out counts as that.
    const fn percent(self) -> u64 {
        match self {
            Self::Fixed(percent) => percent,
            Self::Adaptive => 100,
        }
    }

    /// The bytes of one shard that go at once, if that is more than elsewhere.
    pub(crate) fn bytes_in_a_turn(self) -> u64 {
        (SHARD_BYTES / 100).saturating_mul(self.percent()) / TURNS_A_SECOND
    }
}

/// The pace of one shard.
#[derive(Debug)]
pub(crate) struct Limiter {
    bytes: Bucket,
    records: Bucket,
    refilled: Instant,
    given: Option<Given>,
}

/// Starts full with what a shard takes in a second, the burst that the service allows, or with a turn of a
/// far higher rate; the rate refills it.
#[derive(Debug)]
struct Bucket {
    /// What a shard takes in a second.
    a_second: u64,
    capacity: i128,
    tokens: i128,
    /// Tokens a second, which is billionths a nanosecond.
    rate: i128,
}

/// What a shard gives to this producer, as a part of what a shard takes.
#[derive(Debug, Default)]
struct Given {
    throttled: Option<Throttled>,
}

#[derive(Debug, Clone, Copy)]
struct Throttled {
    at: Instant,
    /// The part that was too much.
    top: f64,
}

impl Given {
    /// The part of the rate that is left after a throttle.
    const KEPT: f64 = 0.8;
    /// How fast the rate comes back: from a half of a shard's rate in 5 seconds.
    const SPEED: f64 = 0.000_8;
    /// More than a shard takes, so that it does throttle now and then: whoever sends at just its rate takes
    /// all of it and never learns that another producer gets nothing.
    const MOST: f64 = 1.1;
    /// There is always some, so that the shard is asked again.
    const LEAST: f64 = 0.01;

    fn part(&self, now: Instant) -> f64 {
        let Some(Throttled { at, top }) = self.throttled else {
            return Self::MOST;
        };
        let elapsed = now.saturating_duration_since(at).as_secs_f64();
        let back = (top * (1.0 - Self::KEPT) / Self::SPEED).cbrt();
        let part = top + Self::SPEED * (elapsed - back).powi(3);
        part.clamp(Self::LEAST, Self::MOST)
    }

    /// What was sent at `started` was throttled. What was sent before the present pace says nothing new.
    /// A rate that was throttled before it was back makes room for who has come.
    fn throttled(&mut self, started: Instant, now: Instant) {
        let before = self.throttled;
        if before.is_some_and(|before| started < before.at) {
            return;
        }
        let part = self.part(now);
        let falling = before.is_some_and(|before| part < before.top);
        let top = if falling {
            part * (1.0 + Self::KEPT) / 2.0
        } else {
            part
        };
        let top = top.max(Self::LEAST);
        self.throttled = Some(Throttled { at: now, top });
    }
}

impl Bucket {
    fn new(a_second: u64, rate: Rate) -> Self {
        let given = i128::from(a_second) * i128::from(rate.percent()) / 100;
        let turn = given / i128::from(TURNS_A_SECOND);
        let capacity = i128::from(a_second).max(turn) * UNIT;
        let mut bucket = Self {
            a_second,
            capacity,
            tokens: capacity,
            rate: given.max(1),
        };
        if rate == Rate::Adaptive {
            bucket.set_part(Given::MOST);
        }
        bucket
    }

    /// From now on the rate is this part of what a shard takes, and so is the burst, but that is never
    /// more than the service allows.
    fn set_part(&mut self, part: f64) {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "between 1 and a million tokens a second"
        )]
        let rate = (self.a_second as f64 * part) as i128;
        self.rate = rate.max(1);
        self.capacity = self.rate.min(i128::from(self.a_second)) * UNIT;
        self.tokens = self.tokens.min(self.capacity);
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
    /// The pace of one shard.
    #[cfg(test)]
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self::of_shards(rate, 1, now)
    }

    /// The pace of so many shards together.
    pub(crate) fn of_shards(rate: Rate, shards: usize, now: Instant) -> Self {
        let shards = shards.max(1) as u64;
        Self {
            bytes: Bucket::new(SHARD_BYTES.saturating_mul(shards), rate),
            records: Bucket::new(SHARD_RECORDS.saturating_mul(shards), rate),
            refilled: now,
            given: (rate == Rate::Adaptive).then(Given::default),
        }
    }

    fn refill(&mut self, now: Instant) {
        let nanos = now.saturating_duration_since(self.refilled).as_nanos();
        self.refilled = self.refilled.max(now);
        self.bytes.refill(nanos);
        self.records.refill(nanos);
        if let Some(given) = self
            .given
            .as_ref()
            .filter(|given| given.throttled.is_some())
        {
            let part = given.part(now);
            self.bytes.set_part(part);
            self.records.set_part(part);
        }
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

    /// The shard said that it takes no more, to what was sent at `started`: what was saved for a burst
    /// is gone.
    pub(crate) fn throttled(&mut self, started: Instant, now: Instant) {
        if let Some(given) = &mut self.given {
            given.throttled(started, now);
        }
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
        let mut limiter = Limiter::new(Rate::Fixed(150), now);
        assert_eq!(sent(&mut limiter, 0, now), 1000);
        assert_eq!(sent(&mut limiter, 0, now + SECOND / 10), 150);
        assert_eq!(sent(&mut limiter, 0, now + SECOND * 60), 1000);
        let mut limiter = Limiter::new(Rate::Fixed(50), now);
        assert_eq!(sent(&mut limiter, 51_200, now), 20);
        assert_eq!(sent(&mut limiter, 51_200, now + SECOND), 10);
        let mut limiter = Limiter::new(Rate::Fixed(4_000), now);
        assert_eq!(
            sent(&mut limiter, 0, now),
            2000,
            "a turn of a far higher rate"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_exact() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate::Fixed(100), now);
        sent(&mut limiter, 0, now);
        let wait = limiter.wait(0, now);
        assert_eq!(wait, Duration::from_millis(1));
        assert!(!limiter.take(0, now + wait - Duration::from_nanos(1)));
        assert!(limiter.take(0, now + wait));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_owed() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate::Fixed(100), now);
        assert!(limiter.take(3 * 1024 * 1024, now));
        assert_eq!(limiter.wait(1, now + SECOND * 2), Duration::from_nanos(954));
        assert!(limiter.take(1, now + SECOND * 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_ends_the_burst() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate::Fixed(100), now);
        limiter.throttled(now, now);
        assert_eq!(limiter.wait(0, now), Duration::from_millis(1));
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_falls_at_a_throttle_and_comes_back_slowly_past_it() {
        let now = Instant::now();
        let at = |seconds: f64| now + Duration::from_secs_f64(seconds);
        let (mut given, most) = (Given::default(), Given::MOST);
        assert!(close(given.part(at(1e6)), most));
        given.throttled(now, now);
        assert!(close(given.part(now), 0.8 * most));
        given.throttled(now - SECOND, at(0.1));
        assert!(given.part(at(0.1)) > 0.8 * most, "that was before");
        // Half of what was lost is back in a fifth of the time.
        let back = (250.0 * most).cbrt();
        assert!(given.part(at(back / 5.0)) > 0.89 * most);
        assert!(close(given.part(at(back)), most) && close(given.part(at(1e6)), most));
        // Throttled before it is back: it makes more room.
        given.throttled(at(1.0), at(1.0));
        let part = given.part(at(1.0)) / most;
        assert!(part < 0.68 && part > 0.6, "{part}");
        let part = given.part(at(1.0));
        let mut last = part;
        for tenth in 11..400 {
            let part = given.part(at(f64::from(tenth) / 10.0));
            assert!(part >= last, "never falls by itself");
            last = part;
        }
        assert!(close(last, most));
        for _ in 0..100 {
            given.throttled(at(50.0), at(50.0));
        }
        assert!(close(given.part(at(50.0)), Given::LEAST));
        assert!(given.part(at(80.0)) > 0.9);
    }

    #[tokio::test(start_paused = true)]
    async fn an_adaptive_pace_is_a_little_more_than_the_shards_until_it_is_throttled() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Rate::Adaptive, now);
        assert_eq!(sent(&mut limiter, 0, now), 1000);
        assert_eq!(sent(&mut limiter, 0, now + SECOND / 10), 110);
        limiter.throttled(now + SECOND, now + SECOND);
        assert_eq!(sent(&mut limiter, 0, now + SECOND), 0);
        let later = sent(&mut limiter, 0, now + SECOND + SECOND / 10);
        assert!((88..93).contains(&later), "{later}");
        // What is saved up meanwhile is no more than the rate was.
        let burst = sent(&mut limiter, 0, now + SECOND * 60);
        assert!((800..=1000).contains(&burst), "{burst}");
    }
}
