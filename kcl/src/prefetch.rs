//! The bytes that all shards of a worker hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;

/// What a call sets aside before the size of its answer is known: the service's 10 MiB of data, and
/// what a response needs around it.
pub(crate) const RESPONSE: usize = 12 * 1024 * 1024;

/// A budget of bytes. Whoever asks first is served first.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    total: u32,
    readers: Arc<AtomicUsize>,
}

/// One reader's part in a budget. A reader may always ask for a first response; for more only within an
/// equal share, so that shards whose processors are slow do not take everything from those that flow.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    mine: Arc<Mine>,
}

#[derive(Debug, Default)]
struct Mine {
    held: AtomicUsize,
    freed: Notify,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    permit: Option<OwnedSemaphorePermit>,
    mine: Arc<Mine>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let permits = size(total).min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(permits)),
            total,
            readers: Arc::default(),
        }
    }

    /// A new reader's part.
    pub(crate) fn share(&self) -> Share {
        self.readers.fetch_add(1, Relaxed);
        Share {
            budget: self.clone(),
            mine: Arc::default(),
        }
    }

    /// Bytes that are reserved now.
    pub(crate) fn used(&self) -> usize {
        size(self.total)
            .saturating_sub(self.free.available_permits())
            .saturating_mul(UNIT)
    }
}

impl Share {
    /// Waits until `bytes` (or the whole budget, if that is less) are free and within the share.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        let wanted = units(bytes).min(self.budget.total);
        loop {
            let readers = self.budget.readers.load(Relaxed).max(1);
            let held = self.mine.held.load(Relaxed);
            if held == 0 || held.saturating_add(size(wanted)) <= size(self.budget.total) / readers {
                break;
            }
            self.mine.freed.notified().await;
        }
        let free = Arc::clone(&self.budget.free);
        let permit = free.acquire_many_owned(wanted).await.ok();
        self.mine.held.fetch_add(size(wanted), Relaxed);
        Reservation {
            permit,
            mine: Arc::clone(&self.mine),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.readers.fetch_sub(1, Relaxed);
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn size(units: u32) -> usize {
    usize::try_from(units).unwrap_or(usize::MAX)
}

impl Mine {
    fn free(&self, units: usize) {
        self.held.fetch_sub(units, Relaxed);
        self.freed.notify_one();
    }
}

impl Reservation {
    /// Gives back what is not needed.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            let surplus = permit.num_permits().saturating_sub(size(units(bytes)));
            drop(permit.split(surplus));
            self.mine.free(surplus);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let units = permit.num_permits();
            drop(permit);
            self.mine.free(units);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn what_is_reserved_is_not_given_twice() {
        let budget = Budget::new(10 * UNIT);
        let (one, other, third_one) = (budget.share(), budget.share(), budget.share());
        let mut first = one.reserve(8 * UNIT).await;
        assert_eq!(budget.used(), 8 * UNIT);
        let mut second = Box::pin(other.reserve(4 * UNIT));
        assert!(second.as_mut().now_or_never().is_none());
        // A small one that came later waits behind the large one.
        let mut third = Box::pin(third_one.reserve(UNIT));
        assert!(third.as_mut().now_or_never().is_none());
        first.shrink_to(5 * UNIT + 1);
        assert_eq!(
            budget.used(),
            10 * UNIT,
            "6 for the first, 4 for the second, who waited"
        );
        let second = second.await;
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        let third = third.await;
        drop((second, third));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn more_than_everything_is_everything() {
        let budget = Budget::new(2 * UNIT);
        let all = budget.share().reserve(RESPONSE).await;
        assert_eq!(budget.used(), 2 * UNIT);
        drop(all);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_slow_reader_keeps_to_its_share() {
        let budget = Budget::new(20 * UNIT);
        let (slow, fast) = (budget.share(), budget.share());
        let first = slow.reserve(6 * UNIT).await;
        let mut second = Box::pin(slow.reserve(6 * UNIT));
        assert!(
            second.as_mut().now_or_never().is_none(),
            "12 of 20 are more than half"
        );
        for _ in 0..10 {
            drop(fast.reserve(10 * UNIT).await);
        }
        drop(first);
        drop(second.await);
        // Alone, it may have everything.
        drop(fast);
        let all = [slow.reserve(6 * UNIT).await, slow.reserve(14 * UNIT).await];
        assert_eq!(budget.used(), 20 * UNIT);
        drop(all);
        assert_eq!(budget.used(), 0);
    }
}
