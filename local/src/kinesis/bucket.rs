//! Token buckets and windows, on the endpoint's clock.

use std::collections::VecDeque;

/// A token bucket. Counted in thousandths, so that a millisecond refills a whole number.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: i64,
    /// The most it holds, in thousandths.
    capacity: i64,
    thousandths: i64,
    at: u64,
}

impl Bucket {
    /// A full bucket that holds one second's allowance.
    pub(crate) fn full(per_second: i64, now: u64) -> Self {
        Self::holding(per_second, 1_000, now)
    }

    /// A full bucket that holds the allowance of so many milliseconds, one unit at least.
    pub(crate) fn holding(per_second: i64, burst: u64, now: u64) -> Self {
        let burst = i64::try_from(burst).unwrap_or(i64::MAX);
        let capacity = per_second.saturating_mul(burst).max(1_000);
        Self {
            per_second,
            capacity,
            thousandths: capacity,
            at: now,
        }
    }

    pub(crate) fn refill(&mut self, now: u64) {
        let elapsed = i64::try_from(now.saturating_sub(self.at)).unwrap_or(i64::MAX);
        self.thousandths = self
            .thousandths
            .saturating_add(elapsed.saturating_mul(self.per_second))
            .min(self.capacity);
        self.at = self.at.max(now);
    }

    /// Whether `amount` may pass. An amount above what the bucket holds may when it is full, and
    /// leaves a debt (a large record rides the burst).
    pub(crate) fn has(&self, amount: i64) -> bool {
        self.thousandths >= amount.saturating_mul(1_000).min(self.capacity)
    }

    pub(crate) fn take(&mut self, amount: i64) {
        self.thousandths = self
            .thousandths
            .saturating_sub(amount.saturating_mul(1_000));
    }

    /// Takes one unit, if it is there.
    pub(crate) fn admit(&mut self, now: u64) -> bool {
        self.refill(now);
        let fits = self.has(1);
        if fits {
            self.take(1);
        }
        fits
    }

    /// Whether an amount is more than the bucket ever holds.
    pub(crate) fn overflows(&self, amount: i64) -> bool {
        amount.saturating_mul(1_000) > self.capacity
    }

    /// When a debt is repaid, in milliseconds since the epoch.
    pub(crate) fn solvent_at(&self) -> u64 {
        let debt = self.thousandths.saturating_neg().max(0);
        let wait = debt.saturating_add(self.per_second - 1) / self.per_second.max(1);
        self.at.saturating_add(u64::try_from(wait).unwrap_or(0))
    }
}

/// The times of the last calls of something that is counted over 24 hours.
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<u64>);

const DAY: u64 = 24 * 3_600 * 1_000;

impl Window {
    /// Whether another call is allowed besides those of the last 24 hours.
    pub(crate) fn has(&mut self, most: usize, now: u64) -> bool {
        while self.0.front().is_some_and(|at| at + DAY <= now) {
            self.0.pop_front();
        }
        self.0.len() < most
    }

    /// Notes a call that was allowed; so many are kept.
    pub(crate) fn note(&mut self, most: usize, now: u64) {
        self.0.push_back(now);
        while self.0.len() > most {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_repaid_at_the_rate() {
        let mut bucket = Bucket::full(2_000, 0);
        assert!(bucket.has(5_000), "more than it holds, when it is full");
        assert!(bucket.overflows(5_000) && !bucket.overflows(2_000));
        bucket.take(5_000);
        assert_eq!(bucket.solvent_at(), 1_500);
        bucket.refill(1_499);
        assert!(!bucket.has(0));
        bucket.refill(1_500);
        assert!(bucket.has(0));
        assert_eq!(bucket.solvent_at(), 1_500);
    }

    #[test]
    fn a_bucket_holds_what_its_time_saves_up() {
        let mut bucket = Bucket::holding(1_000, 250, 0);
        assert_eq!((0..999).filter(|_| bucket.admit(0)).count(), 250);
        assert_eq!((0..999).filter(|_| bucket.admit(100)).count(), 100);
        let mut none = Bucket::holding(1, 0, 0);
        assert!(none.admit(0) && !none.admit(0));
    }

    #[test]
    fn a_window_forgets_after_a_day() {
        let mut window = Window::default();
        for at in [0, 10] {
            assert!(window.has(2, at));
            window.note(2, at);
        }
        assert!(!window.has(2, DAY - 1));
        assert!(window.has(2, DAY));
        window.note(2, DAY);
        assert!(!window.has(2, DAY + 9));
        assert!(window.has(2, DAY + 10));
    }
}
