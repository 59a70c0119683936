//! Counters: a sum, and the sums that readers saw last.

use super::{Places, ReaderId, Seconds, first_of};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::time::Instant;

/// A sum that only grows.
#[derive(Debug, Clone)]
pub struct Counter(Arc<CounterCell>);

#[derive(Debug)]
struct CounterCell {
    sum: AtomicU64,
    /// The last second that is marked; 0 = none.
    marked: AtomicU64,
    seconds: Seconds,
    track: Mutex<CounterTrack>,
}

#[derive(Debug, Default)]
struct CounterTrack {
    /// Seconds in which the counter grew, with the sum before them.
    marks: VecDeque<(u64, u64)>,
    /// What each reader saw last.
    seen: Places<u64>,
    /// From instruments that were retired into this one.
    carried: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Self::new(Seconds::keeping(0))
    }
}

impl Counter {
    pub(in crate::metrics) fn new(seconds: Seconds) -> Self {
        Self(Arc::new(CounterCell {
            sum: AtomicU64::new(0),
            marked: AtomicU64::new(0),
            seconds,
            track: Mutex::default(),
        }))
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.add_at(n, Instant::now());
    }

    /// Adds `n` for a caller who knows what time it is: reading the clock is most of what
    /// [`Counter::add`] costs.
    pub fn add_at(&self, n: u64, now: Instant) {
        let cell = &*self.0;
        if cell.seconds.kept > 0 {
            let second = cell.seconds.at(now);
            if second > cell.marked.load(Relaxed) {
                cell.mark(second);
            }
        }
        cell.sum.fetch_add(n, Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.sum.load(Relaxed)
    }

    pub(in crate::metrics) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// With what was carried over.
    pub(in crate::metrics) fn total(&self) -> u64 {
        let track = self.0.track.lock();
        self.value().saturating_add(track.carried)
    }

    pub(in crate::metrics) fn carry(&self, from: &Self) {
        let more = from.total();
        let mut track = self.0.track.lock();
        track.carried = track.carried.saturating_add(more);
    }

    /// What came since this reader's last reading.
    pub(in crate::metrics) fn read(&self, reader: ReaderId) -> u64 {
        let mut track = self.0.track.lock();
        let now = self.value();
        let seen = track.seen.of(reader, || 0);
        now.saturating_sub(std::mem::replace(seen, now))
    }

    pub(in crate::metrics) fn is_read(&self, reader: ReaderId) -> bool {
        let track = self.0.track.lock();
        track.seen.get(reader) == Some(&self.value())
    }

    pub(in crate::metrics) fn forget(&self, reader: ReaderId) {
        self.0.track.lock().seen.remove(reader);
    }

    /// What came in the last `seconds` seconds, the present one included.
    pub(in crate::metrics) fn window(&self, seconds: u64, now: Instant) -> u64 {
        let from = first_of(seconds, self.0.seconds.at(now));
        let track = self.0.track.lock();
        let before = track.marks.iter().find(|(second, _)| *second >= from);
        before.map_or(0, |(_, before)| self.value().saturating_sub(*before))
    }
}

impl CounterCell {
    #[cold]
    fn mark(&self, second: u64) {
        let mut track = self.track.lock();
        if second <= self.marked.load(Relaxed) {
            return;
        }
        let first = first_of(self.seconds.kept, second);
        while track.marks.front().is_some_and(|(old, _)| *old < first) {
            track.marks.pop_front();
        }
        track.marks.push_back((second, self.sum.load(Relaxed)));
        self.marked.store(second, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn seconds_beyond_the_window_are_forgotten() {
        let counter = Counter::new(Seconds::keeping(10));
        for _ in 0..100 {
            counter.add(1);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(counter.0.track.lock().marks.len(), 10);
        assert_eq!(counter.value(), 100);
    }

    #[test]
    fn threads_lose_nothing_between_them() {
        let counter = Counter::new(Seconds::keeping(10));
        let read = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.add(1)));
            }
            (0..100).map(|_| counter.read(1)).sum::<u64>()
        });
        assert_eq!(read + counter.read(1), 40_000);
        assert_eq!(counter.window(10, Instant::now()), 40_000);
    }
}
