//! The bytes that all shards of a worker hold together.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;

/// What a call sets aside before the size of its answer is known: the service's 10 MiB of data, and
/// what a response needs around it.
pub(crate) const RESPONSE: usize = 12 * 1024 * 1024;

/// A budget of bytes. Whoever asks first is served first, so that no shard starves.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    total: u32,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            total,
        }
    }

    /// Waits until `bytes` (or the whole budget, if that is less) are free.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        let units = units(bytes).min(self.total);
        Reservation(Arc::clone(&self.free).acquire_many_owned(units).await.ok())
    }

    /// Bytes that are reserved now.
    pub(crate) fn used(&self) -> usize {
        let total = usize::try_from(self.total).unwrap_or(usize::MAX);
        total
            .saturating_sub(self.free.available_permits())
            .saturating_mul(UNIT)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Reservation {
    /// Gives back what is not needed.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let needed = usize::try_from(units(bytes)).unwrap_or(usize::MAX);
            let surplus = permit.num_permits().saturating_sub(needed);
            drop(permit.split(surplus));
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
        let mut first = budget.reserve(8 * UNIT).await;
        assert_eq!(budget.used(), 8 * UNIT);
        let mut second = Box::pin(budget.reserve(4 * UNIT));
        assert!(second.as_mut().now_or_never().is_none());
        // A small one that came later waits behind the large one.
        let mut third = Box::pin(budget.reserve(UNIT));
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
        let all = budget.reserve(RESPONSE).await;
        assert_eq!(budget.used(), 2 * UNIT);
        drop(all);
        assert_eq!(budget.used(), 0);
    }
}
