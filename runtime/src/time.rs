//! Wall time, handed in.
//!
//! Durations and deadlines are `tokio::time`'s, which tests pause and advance. Wall time is needed
//! only where it is written down or signed (timestamps, request signatures, retention): it comes
//! from a [`WallClock`] that its user was given.

use parking_lot::Mutex;
use std::fmt::Debug;
use std::time::{Duration, SystemTime};

/// A source of wall time.
pub trait WallClock: Send + Sync + Debug {
    /// The present wall time. Not monotonic: use `tokio::time::Instant` to measure durations.
    fn now(&self) -> SystemTime;
}

/// The machine's own wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where wall time enters"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Wall time that moves with tokio's clock: under a paused runtime it stands still and advances with
/// the test's time, elsewhere it runs as the machine's does.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    base: SystemTime,
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows `base` now.
    #[must_use]
    pub fn starting_at(base: SystemTime) -> Self {
        Self {
            base,
            origin: tokio::time::Instant::now(),
        }
    }

    /// A clock that shows the machine's wall time now.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(SystemClock.now())
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock for TokioClock {
    fn now(&self) -> SystemTime {
        self.base + self.origin.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(Mutex<SystemTime>);

impl ManualClock {
    /// A clock that shows `start` until it is moved.
    #[must_use]
    pub fn new(start: SystemTime) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: SystemTime) {
        *self.0.lock() = to;
    }
}

impl WallClock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

/// Milliseconds since the Unix epoch; 0 for times before it.
#[must_use]
pub fn epoch_millis(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The wall time that lies `millis` milliseconds after the Unix epoch. Where the platform's wall time
/// does not reach that far (Windows' ends in the year 30828), the last second of the year 9999: such
/// a number comes from a defect elsewhere, which must not become a panic here.
#[must_use]
pub fn from_epoch_millis(millis: u64) -> SystemTime {
    const END_OF_9999: Duration = Duration::from_secs(253_402_300_799);
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(SystemTime::UNIX_EPOCH + END_OF_9999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokio_clock_follows_the_paused_clock() {
        let clock = TokioClock::starting_at(from_epoch_millis(1_000));
        assert_eq!(epoch_millis(clock.now()), 1_000);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(epoch_millis(clock.now()), 91_000);
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(from_epoch_millis(5));
        assert_eq!(epoch_millis(clock.now()), 5);
        clock.advance(Duration::from_millis(7));
        assert_eq!(epoch_millis(clock.now()), 12);
        clock.set(from_epoch_millis(3));
        assert_eq!(epoch_millis(clock.now()), 3);
    }

    #[test]
    fn any_number_is_a_time() {
        assert_eq!(epoch_millis(from_epoch_millis(7)), 7);
        assert!(from_epoch_millis(u64::MAX) > from_epoch_millis(4_102_444_800_000));
    }

    #[test]
    fn times_before_the_epoch_count_as_zero() {
        assert_eq!(
            epoch_millis(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            0
        );
    }
}
