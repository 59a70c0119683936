//! How often, how long and at what pace something is tried again.
//!
//! The delays come from `backon`; nothing of it shows in the interface, so that it can be replaced.

use crate::Chance;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// With jitter a delay is up to twice as long, which must still be a duration.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// A policy for trying again: exponential delays with jitter, bounded by a count, by a total time, or
/// by both. A policy without either bound retries for ever, which only a caller with a bound of its own
/// (a record's time to live, a cancellation) may want.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The first delay, at the most `max_delay`. Default 100 ms.
    pub first_delay: Duration,
    /// No delay is longer than this (or a year) before jitter. Default 5 s.
    pub max_delay: Duration,
    /// Each delay is the one before it times this factor. Default 2; at least 1.
    pub factor: f32,
    /// Adds a random part between nothing and the delay itself. Default true.
    pub jitter: bool,
    /// Retries after the first attempt; `None` = no bound by count. Default 8.
    pub max_retries: Option<usize>,
    /// No retry starts later than this after the first attempt began; `None` = no bound by time. Default
    /// 60 s.
    pub deadline: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            factor: 2.0,
            jitter: true,
            max_retries: Some(8),
            deadline: Some(Duration::from_secs(60)),
        }
    }
}

impl RetryPolicy {
    /// Never tries again.
    #[must_use]
    pub fn none() -> Self {
        Self {
            max_retries: Some(0),
            ..Self::default()
        }
    }

    /// Tries again until something else ends it; the delays grow to `max_delay` and stay there.
    #[must_use]
    pub fn unbounded(first_delay: Duration, max_delay: Duration) -> Self {
        Self {
            first_delay,
            max_delay,
            max_retries: None,
            deadline: None,
            ..Self::default()
        }
    }

    /// Sets the bound by count.
    #[must_use]
    pub fn with_max_retries(mut self, retries: usize) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Sets the bound by time.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the first and the longest delay.
    #[must_use]
    pub fn with_delays(mut self, first: Duration, longest: Duration) -> Self {
        self.first_delay = first;
        self.max_delay = longest;
        self
    }

    /// Starts one operation's sequence of delays; the time bound counts from now.
    #[must_use]
    pub fn start(&self, chance: &Chance) -> Backoff {
        Backoff {
            delays: self.delays(chance.next_u64()),
            policy: self.clone(),
            chance: chance.clone(),
            started: Instant::now(),
        }
    }

    fn delays(&self, seed: u64) -> backon::ExponentialBackoff {
        let longest = self.max_delay.min(LONGEST);
        let mut builder = ExponentialBuilder::new()
            .with_min_delay(self.first_delay.min(longest))
            .with_max_delay(longest)
            .with_factor(self.factor.max(1.0));
        builder = match self.max_retries {
            Some(n) => builder.with_max_times(n),
            None => builder.without_max_times(),
        };
        if self.jitter {
            builder = builder.with_jitter().with_jitter_seed(seed);
        }
        builder.build()
    }
}

/// The delays of one operation, in order. [`Backoff::reset`] starts them anew after a success.
pub struct Backoff {
    delays: backon::ExponentialBackoff,
    policy: RetryPolicy,
    chance: Chance,
    started: Instant,
}

impl Backoff {
    /// How long to wait before the next attempt; `None` when the policy allows no more.
    pub fn next_delay(&mut self) -> Option<Duration> {
        let delay = self.delays.next()?;
        match self.policy.deadline {
            Some(deadline) if self.started.elapsed().saturating_add(delay) > deadline => None,
            _ => Some(delay),
        }
    }

    /// Waits before the next attempt. False, at once, when the policy allows no more.
    ///
    /// # Cancellation
    /// Safe; the delay that was waited for is used up.
    pub async fn wait(&mut self) -> bool {
        match self.next_delay() {
            Some(delay) => {
                tokio::time::sleep(delay).await;
                true
            }
            None => false,
        }
    }

    /// Starts from the first delay again, and the time bound from now.
    pub fn reset(&mut self) {
        self.delays = self.policy.delays(self.chance.next_u64());
        self.started = Instant::now();
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// One attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From the end of the attempt before it (for the first: from acceptance) to its start.
    pub delay: Duration,
    /// From its start to its end.
    pub duration: Duration,
    /// The error's code, as the service or the transport names it; `None` for a success.
    pub code: Option<String>,
    /// The error's text; `None` for a success.
    pub message: Option<String>,
}

/// The attempts of one operation, oldest first. Bounded: of a long history the first and the latest
/// are kept and the number left out is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    kept: Vec<Attempt>,
    left_out: u64,
}

impl Attempts {
    /// How many attempts are kept at the most.
    pub const KEPT: usize = 16;

    /// Adds the latest attempt.
    pub fn push(&mut self, attempt: Attempt) {
        if self.kept.len() == Self::KEPT {
            self.kept.remove(Self::KEPT / 2);
            self.left_out += 1;
        }
        // Most operations have one.
        if self.kept.is_empty() {
            self.kept.reserve_exact(1);
        }
        self.kept.push(attempt);
    }

    /// How many attempts there were, those left out included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.left_out + self.kept.len() as u64
    }

    /// The kept attempts, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Attempt] {
        &self.kept
    }

    /// The latest attempt.
    #[must_use]
    pub fn last(&self) -> Option<&Attempt> {
        self.kept.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> RetryPolicy {
        RetryPolicy {
            jitter: false,
            ..RetryPolicy::default()
        }
    }

    fn delays(policy: &RetryPolicy, n: usize) -> Vec<u128> {
        let mut backoff = policy.start(&Chance::seeded(1));
        (0..n)
            .map_while(|_| backoff.next_delay())
            .map(|d| d.as_millis())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_to_the_longest_and_end_at_the_count() {
        let policy = plain().with_max_retries(7);
        assert_eq!(delays(&policy, 20), [100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(delays(&RetryPolicy::none(), 20), []);
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_repeats_from_the_seed_and_never_shortens() {
        let policy = RetryPolicy::default();
        assert_eq!(delays(&policy, 8), delays(&policy, 8));
        let with: Vec<_> = delays(&policy, 8);
        let without: Vec<_> = delays(&plain(), 8);
        assert!(
            with.iter()
                .zip(&without)
                .all(|(j, d)| j >= d && j <= &(2 * d)),
            "{with:?}"
        );
        assert_ne!(with, without);
    }

    #[tokio::test(start_paused = true)]
    async fn no_retry_starts_after_the_deadline() {
        let policy = RetryPolicy {
            max_retries: None,
            deadline: Some(Duration::from_secs(2)),
            ..plain()
        };
        let mut backoff = policy.start(&Chance::seeded(1));
        let begin = Instant::now();
        while backoff.wait().await {}
        // tokio's timer rounds each sleep up to its next millisecond.
        let waited = begin.elapsed().as_millis();
        assert!((1_500..1_505).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_delay_is_longer_than_the_longest_whatever_is_asked_for() {
        let policy = plain().with_delays(Duration::from_secs(9), Duration::from_millis(40));
        assert_eq!(delays(&policy, 2), [40, 40]);
        for jitter in [false, true] {
            let policy = RetryPolicy {
                jitter,
                factor: f32::INFINITY,
                max_retries: None,
                deadline: Some(Duration::MAX),
                ..plain().with_delays(Duration::MAX, Duration::MAX)
            };
            assert_eq!(delays(&policy, 50).len(), 50);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reset_starts_anew() {
        let mut backoff = plain().start(&Chance::seeded(1));
        let _ = (backoff.next_delay(), backoff.next_delay());
        backoff.reset();
        assert_eq!(backoff.next_delay(), Some(Duration::from_millis(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn unbounded_never_ends() {
        let policy = RetryPolicy::unbounded(Duration::from_millis(10), Duration::from_millis(40));
        assert_eq!(delays(&policy, 500).len(), 500);
    }

    #[test]
    fn a_long_history_keeps_both_ends() {
        let mut attempts = Attempts::default();
        for n in 0..100u64 {
            attempts.push(Attempt {
                delay: Duration::from_millis(n),
                duration: Duration::ZERO,
                code: None,
                message: None,
            });
        }
        assert_eq!(attempts.count(), 100);
        assert_eq!(attempts.as_slice().len(), Attempts::KEPT);
        assert_eq!(attempts.as_slice()[0].delay, Duration::ZERO);
        assert_eq!(attempts.last().unwrap().delay, Duration::from_millis(99));
    }
}
