//! One shard's queue: what waits for it, its pace and its back-off.
//!
//! A shard that was throttled is asked whether it takes something again with as little as there is: one
//! Kinesis record at a time, a probe that was cut off what is first, until something is accepted.

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
    /// Goes before them.
    probe: Option<T>,
    size: usize,
    /// How many shards stand behind it: several where the service chooses among them.
    shards: usize,
    /// What it may take of a request, in bytes.
    share: usize,
    /// When the first of them is to be sent.
    due: Option<Instant>,
    pub(super) limiter: Limiter,
    pub(super) rest: Rest,
    /// The last that is known is a throttle.
    throttled: bool,
    /// It was asked whether it takes something again: nothing goes before the answer.
    asked: bool,
    /// When it was served last, by count.
    pub(super) served: u64,
    /// What the indexes hold of it.
    pub(super) times: Option<Times>,
}

/// When something is to happen to a queue that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Its first may be sent, as to pace and back-off; `None` = not before an answer.
    pub(super) free: Option<Instant>,
    /// Its first may and should be sent.
    pub(super) ready: Option<Instant>,
    /// The time to live of its oldest record passes; `None` = never.
    pub(super) expires: Option<Instant>,
    /// When it was served last, by count.
    pub(super) served: u64,
    /// A probe is to be cut off its first.
    pub(super) uncut: bool,
}

impl Times {
    /// What was free or ready already stays so since then.
    fn since(before: Option<Instant>, after: Option<Instant>, now: Instant) -> Option<Instant> {
        let past = |at: Option<Instant>| at.filter(|at| *at <= now);
        past(before).and(past(after)).and(before).or(after)
    }

    pub(super) fn keep_place(&mut self, before: Self, now: Instant) {
        self.free = Self::since(before.free, self.free, now);
        self.ready = Self::since(before.ready, self.ready, now);
    }
}

/// What so many shards may take of a request, in bytes.
fn share_of(rate: Rate, shards: usize) -> usize {
    let often = rate.bytes_in_a_turn();
    usize::try_from(often)
        .unwrap_or(usize::MAX)
        .max(SHARD_SHARE)
        .saturating_mul(shards)
}

impl<T: Item> Queue<T> {
    pub(super) fn new(rate: Rate, shards: usize, now: Instant) -> Self {
        Self {
            items: VecDeque::new(),
            probe: None,
            size: 0,
            shards,
            share: share_of(rate, shards),
            due: None,
            limiter: Limiter::of_shards(rate, shards, now),
            rest: Rest::new(Duration::from_millis(50), Duration::from_secs(2)),
            throttled: false,
            asked: false,
            served: 0,
            times: None,
        }
    }

    /// So many shards stand behind it from now on.
    pub(super) fn widen(&mut self, rate: Rate, shards: usize, now: Instant) {
        if std::mem::replace(&mut self.shards, shards) != shards {
            self.limiter = Limiter::of_shards(rate, shards, now);
            self.share = share_of(rate, shards);
        }
    }

    /// What it may take of a request, in bytes.
    pub(super) const fn share(&self) -> usize {
        self.share
    }

    pub(super) fn add(&mut self, item: T) {
        self.size += item.size();
        self.due = Some(self.due.map_or(item.due(), |due| due.min(item.due())));
        if self.probe.is_none() && item.is_probe() {
            self.probe = Some(item);
            return;
        }
        // What is new is the youngest, and goes to the end.
        let older = |queued: &T| queued.oldest() <= item.oldest();
        let at = match self.items.back() {
            Some(last) if !older(last) => self.items.partition_point(older),
            _ => self.items.len(),
        };
        self.items.insert(at, item);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.probe.take().or_else(|| self.items.pop_front());
        self.popped(item)
    }

    /// Takes out what holds the oldest record.
    pub(super) fn pop_oldest(&mut self) -> Option<T> {
        let front = self.items.front();
        let older = |probe: &mut T| front.is_none_or(|front| probe.oldest() <= front.oldest());
        let item = self.probe.take_if(older);
        let item = item.or_else(|| self.items.pop_front());
        self.popped(item)
    }

    fn popped(&mut self, item: Option<T>) -> Option<T> {
        self.size -= item.as_ref().map_or(0, Item::size);
        if self.head().is_none() {
            self.due = None;
        }
        item
    }

    fn head(&self) -> Option<&T> {
        self.probe.as_ref().or_else(|| self.items.front())
    }

    /// Bytes of the first.
    pub(super) fn first(&self) -> Option<usize> {
        self.head().map(Item::size)
    }

    /// How many Kinesis records may go before there is an answer; `None` = as many as the pace allows.
    pub(super) fn probes(&self) -> Option<usize> {
        self.throttled.then_some(self.shards)
    }

    /// So many went.
    pub(super) fn went(&mut self, items: usize) {
        self.asked |= self.throttled && items > 0;
    }

    /// What was sent at `started` was refused.
    pub(super) fn refused(&mut self, throttled: bool, started: Instant) {
        self.answered(started);
        self.throttled |= throttled;
    }

    /// What was sent at `started` was accepted.
    pub(super) fn accepted(&mut self, started: Instant) {
        self.answered(started);
        self.throttled = false;
        self.rest.succeeded();
    }

    /// There is an answer, or there will be none, to what was sent at `started`.
    pub(super) fn answered(&mut self, started: Instant) {
        if self.is_asked(started) {
            self.asked = false;
            // It waited, or a flush passed it by.
            self.hurry(started);
        }
    }

    /// What was sent at `started` was to find out whether it takes something again.
    pub(super) fn is_asked(&self, started: Instant) -> bool {
        self.asked && self.rest.is_news(started)
    }

    /// What is in it is to be sent now.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.map(|due| due.min(now));
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) fn into_items(self) -> Vec<T> {
        self.probe.into_iter().chain(self.items).collect()
    }

    /// `None` for an empty queue.
    pub(super) fn times_at(&mut self, now: Instant, ttl: Duration) -> Option<Times> {
        let first = self.head()?;
        let (size, divisible) = (first.size(), first.is_divisible());
        let ends = self.probe.iter().chain(self.items.front());
        let oldest = ends.map(Item::oldest).min()?;
        let paced = now.checked_add(self.limiter.wait(size, now))?;
        let free = self.rest.until(now).map_or(paced, |until| until.max(paced));
        let ready = match self.due {
            Some(due) if self.size < self.share() => free.max(due),
            _ => free,
        };
        let sends = !self.asked;
        Some(Times {
            free: sends.then_some(free),
            ready: sends.then_some(ready),
            expires: oldest.checked_add(ttl),
            served: self.served,
            uncut: sends && self.throttled && self.probe.is_none() && divisible,
        })
    }
}
