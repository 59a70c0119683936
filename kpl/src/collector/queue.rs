//! One shard's queue: what waits for it, its pace and its back-off.

use super::{Item, SHARD_SHARE};
use crate::limiter::{Limiter, Rate};
use crate::rest::Rest;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Queue<T> {
    /// The oldest first, so that what is tried again goes before what is new.
    items: VecDeque<T>,
    size: usize,
    /// How many shards stand behind it: several where the service chooses among them.
    shards: usize,
    /// When the first of them is to be sent.
    due: Option<Instant>,
    pub(super) limiter: Limiter,
    pub(super) rest: Rest,
    /// When it was served last, by count.
    pub(super) served: u64,
    /// What the indexes hold of it.
    pub(super) times: Option<Times>,
}

/// When something is to happen to a queue that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Its first may be sent, as to pace and back-off.
    pub(super) free: Instant,
    /// Its first may and should be sent.
    pub(super) ready: Instant,
    /// The time to live of its oldest record passes; `None` = never.
    pub(super) expires: Option<Instant>,
    /// When it was served last, by count.
    pub(super) served: u64,
}

impl Times {
    /// What was free or ready already stays so since then.
    fn since(before: Instant, after: Instant, now: Instant) -> Instant {
        if before <= now && after <= now {
            before
        } else {
            after
        }
    }

    pub(super) fn keep_place(&mut self, before: Self, now: Instant) {
        self.free = Self::since(before.free, self.free, now);
        self.ready = Self::since(before.ready, self.ready, now);
    }
}

impl<T: Item> Queue<T> {
    pub(super) fn new(rate: Rate, shards: usize, now: Instant) -> Self {
        Self {
            items: VecDeque::new(),
            size: 0,
            shards,
            due: None,
            limiter: Limiter::of_shards(rate, shards, now),
            rest: Rest::new(Duration::from_millis(50), Duration::from_secs(2)),
            served: 0,
            times: None,
        }
    }

    /// So many shards stand behind it from now on.
    pub(super) fn widen(&mut self, rate: Rate, shards: usize, now: Instant) {
        if std::mem::replace(&mut self.shards, shards) != shards {
            self.limiter = Limiter::of_shards(rate, shards, now);
        }
    }

    /// What it may take of a request, in bytes.
    pub(super) const fn share(&self) -> usize {
        SHARD_SHARE.saturating_mul(self.shards)
    }

    pub(super) fn add(&mut self, item: T) {
        self.size += item.size();
        self.due = Some(self.due.map_or(item.due(), |due| due.min(item.due())));
        // What is new is the youngest, and goes to the end.
        let older = |queued: &T| queued.oldest() <= item.oldest();
        let at = match self.items.back() {
            Some(last) if !older(last) => self.items.partition_point(older),
            _ => self.items.len(),
        };
        self.items.insert(at, item);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.size -= item.size();
        if self.items.is_empty() {
            self.due = None;
        }
        Some(item)
    }

    /// Bytes of the first.
    pub(super) fn first(&self) -> Option<usize> {
        self.items.front().map(Item::size)
    }

    /// What is in it is to be sent now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.map(|due| due.min(now));
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) fn into_items(self) -> Vec<T> {
        self.items.into()
    }

    /// `None` for an empty queue.
    pub(super) fn times_at(&mut self, now: Instant, ttl: Duration) -> Option<Times> {
        let first = self.items.front()?;
        let expires = first.oldest().checked_add(ttl);
        let paced = now.checked_add(self.limiter.wait(first.size(), now))?;
        let free = self.rest.until(now).map_or(paced, |until| until.max(paced));
        let ready = match self.due {
            Some(due) if self.size < self.share() => free.max(due),
            _ => free,
        };
        Some(Times {
            free,
            ready,
            expires,
            served: self.served,
        })
    }
}
