//! Kinesis records on their way to a request: a queue for each shard, its pace and its back-off, and
//! the choice of what goes into the next `PutRecords`.
//!
//! The times at which something is to happen to a queue are indexed, so that a turn costs by what it
//! sends and not by how many shards there are.

pub(crate) mod probe;
mod queue;

use crate::limiter::Rate;
use crate::routing::ANY_SHARD;
use crate::sealed::Sealed;
use crate::settings::Options;
use queue::{Queue, Times};
use runtime::Chance;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of one shard in a request that make it go at once, and at the most: a request is not filled
/// by one shard.
const SHARD_SHARE: usize = 256 * 1024;

/// How many queues whose first does not fit are passed over before a request goes as it is.
const MISFITS: usize = 16;

/// What the collector knows of a Kinesis record.
pub(crate) trait Item {
    /// Bytes of data and partition key.
    fn size(&self) -> usize;
    /// When it is to be sent, if nothing fills a request before.
    fn due(&self) -> Instant;
    /// The older, the sooner it goes.
    fn oldest(&self) -> Instant;
    /// It was cut off to find out whether a shard takes something again.
    fn is_probe(&self) -> bool;
    /// It is worth cutting such a one off.
    fn is_divisible(&self) -> bool;
}

impl Item for Sealed {
    fn size(&self) -> usize {
        self.size
    }

    fn due(&self) -> Instant {
        self.due
    }

    fn oldest(&self) -> Instant {
        self.oldest
    }

    fn is_probe(&self) -> bool {
        self.probe
    }

    fn is_divisible(&self) -> bool {
        probe::is_divisible(self.size, self.claims.records())
    }
}

/// What a request may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) count: usize,
    pub(crate) size: usize,
    pub(crate) ttl: Duration,
    /// How fast a shard is sent to, with and without aggregation.
    pub(crate) rate: Rate,
}

impl Limits {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            count: options.request_count,
            size: options.request_size,
            ttl: options.ttl,
            rate: options.rate_limit.map_or(Rate::Adaptive, Rate::Fixed),
        }
    }
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    /// One request.
    Batch(Vec<T>),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing.
    Idle,
}

/// A queue, by the number it was made with.
type QueueId = u64;

/// A queue's turn: by time, then by who was served longest ago.
type Turn = (Instant, u64, QueueId);

#[derive(Debug)]
pub(crate) struct Collector<T = Sealed> {
    limits: Limits,
    names: HashMap<Arc<str>, QueueId>,
    queues: BTreeMap<QueueId, Queue<T>>,
    /// The queues that are not empty, by when each is free, ready, and expires. Who was served goes
    /// behind those that were free or ready before, so shards take turns.
    free: BTreeSet<Turn>,
    ready: BTreeSet<Turn>,
    expiring: BTreeSet<(Instant, QueueId)>,
    /// The queues whose first is to be cut.
    uncut: BTreeSet<QueueId>,
    /// How many shards stand behind the one queue of a stream that distributes records itself.
    width: usize,
    /// Kinesis records queued, and their bytes.
    count: usize,
    size: usize,
    next_id: u64,
    chance: Chance,
    /// How often a queue was served.
    served: u64,
    /// How many queues were looked at.
    #[cfg(test)]
    looks: usize,
}

impl<T: Item> Collector<T> {
    pub(crate) fn new(limits: Limits, chance: Chance) -> Self {
        Self {
            limits,
            names: HashMap::new(),
            queues: BTreeMap::new(),
            free: BTreeSet::new(),
            ready: BTreeSet::new(),
            expiring: BTreeSet::new(),
            uncut: BTreeSet::new(),
            width: 1,
            count: 0,
            size: 0,
            next_id: 0,
            chance,
            served: 0,
            #[cfg(test)]
            looks: 0,
        }
    }

    fn queue_of(&mut self, shard: &Arc<str>, now: Instant) -> QueueId {
        if let Some(id) = self.names.get(shard) {
            return *id;
        }
        self.next_id += 1;
        let id = self.next_id;
        self.names.insert(Arc::clone(shard), id);
        let shards = if **shard == *ANY_SHARD { self.width } else { 1 };
        let queue = Queue::new(self.limits.rate, shards, now);
        self.queues.insert(id, queue);
        id
    }

    /// So many shards are open.
    pub(crate) fn widen(&mut self, shards: usize, now: Instant) {
        self.width = shards;
        let rate = self.limits.rate;
        if let Some(id) = self.names.get(ANY_SHARD).copied() {
            self.with(id, now, false, |queue| queue.widen(rate, shards, now));
        }
    }

    /// Changes a queue, and keeps the indexes right. A queue that was free or ready before keeps its
    /// place among those, unless it was `served`.
    fn with<R>(
        &mut self,
        id: QueueId,
        now: Instant,
        served: bool,
        change: impl FnOnce(&mut Queue<T>) -> R,
    ) -> Option<R> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let queue = self.queues.get_mut(&id)?;
        let done = change(queue);
        if served {
            self.served += 1;
            queue.served = self.served;
        }
        let mut after = queue.times_at(now, self.limits.ttl);
        let before = queue.times;
        if let (Some(before), Some(after), false) = (before, &mut after, served) {
            after.keep_place(before, now);
        }
        queue.times = after;
        if before != after {
            self.unindex(id, before);
            if let Some(times) = after {
                self.free
                    .extend(times.free.map(|at| (at, times.served, id)));
                self.ready
                    .extend(times.ready.map(|at| (at, times.served, id)));
                self.expiring.extend(times.expires.map(|at| (at, id)));
                self.uncut.extend(times.uncut.then_some(id));
            }
        }
        Some(done)
    }

    fn unindex(&mut self, id: QueueId, times: Option<Times>) {
        if let Some(times) = times {
            if let Some(at) = times.free {
                self.free.remove(&(at, times.served, id));
            }
            if let Some(at) = times.ready {
                self.ready.remove(&(at, times.served, id));
            }
            if let Some(at) = times.expires {
                self.expiring.remove(&(at, id));
            }
            if times.uncut {
                self.uncut.remove(&id);
            }
        }
    }

    /// Takes a Kinesis record in for a shard.
    pub(crate) fn add(&mut self, shard: &Arc<str>, item: T, now: Instant) {
        self.count += 1;
        self.size += item.size();
        let queue = self.queue_of(shard, now);
        self.with(queue, now, false, |queue| queue.add(item));
    }

    /// Everything queued is to be sent now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        let all: Vec<QueueId> = self.ready.iter().map(|(.., id)| *id).collect();
        for id in all {
            self.with(id, now, false, |queue| queue.hurry(now));
        }
    }

    /// The shard refused what was sent at `started`.
    pub(crate) fn refused(
        &mut self,
        shard: &Arc<str>,
        throttled: bool,
        started: Instant,
        now: Instant,
    ) {
        let chance = self.chance.clone();
        let id = self.queue_of(shard, now);
        self.with(id, now, false, |queue| {
            let asks = queue.probes().is_some();
            queue.refused(throttled, started);
            queue.rest.failed(started, now, &chance);
            // What a probe finds out says nothing about the pace.
            if throttled && !asks {
                queue.limiter.throttled(started, now);
            }
        });
    }

    /// The shard took what was sent at `started`. What was sent before its present back-off says
    /// nothing new.
    pub(crate) fn accepted(&mut self, shard: &str, started: Instant, now: Instant) {
        let Some(id) = self.names.get(shard).copied() else {
            return;
        };
        let rests = |queue: &Queue<T>| queue.rest.is_failing() && queue.rest.is_news(started);
        if self.queues.get(&id).is_some_and(rests) {
            self.with(id, now, false, |queue| queue.accepted(started));
        }
    }

    /// True while the shard takes nothing, because it is throttled.
    pub(crate) fn is_throttled(&self, shard: &str) -> bool {
        let queue = self.names.get(shard).and_then(|id| self.queues.get(id));
        queue.is_some_and(|queue| queue.probes().is_some())
    }

    /// Whether the shard takes what was sent at `started` is not known, and will not be.
    pub(crate) fn unanswered(&mut self, shard: &str, started: Instant, now: Instant) {
        let Some(id) = self.names.get(shard).copied() else {
            return;
        };
        if self
            .queues
            .get(&id)
            .is_some_and(|queue| queue.is_asked(started))
        {
            self.with(id, now, false, |queue| queue.answered(started));
        }
    }

    /// The same of everything that was sent.
    pub(crate) fn all_unanswered(&mut self, now: Instant) {
        let all: Vec<QueueId> = self.queues.keys().copied().collect();
        for id in all {
            self.with(id, now, false, |queue| queue.answered(now));
        }
    }

    /// Takes out what a probe is to be cut off, for both to be added again.
    pub(crate) fn take_uncut(&mut self, now: Instant) -> Option<T> {
        let id = *self.uncut.first()?;
        let item = self.with(id, now, false, Queue::pop).flatten()?;
        self.count -= 1;
        self.size -= item.size();
        Some(item)
    }

    /// Takes out everything that is queued for a shard, and forgets the shard.
    pub(crate) fn remove(&mut self, shard: &str) -> Vec<T> {
        let id = self.names.remove(shard);
        let queue = id.and_then(|id| Some((id, self.queues.remove(&id)?)));
        let Some((id, queue)) = queue else {
            return Vec::new();
        };
        self.unindex(id, queue.times);
        self.size -= queue.size();
        let items = queue.into_items();
        self.count -= items.len();
        items
    }

    /// When the time to live of a record passes next.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// Takes out what holds records whose time to live has passed.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((at, id)) = self.expiring.first().copied() {
            if at > now {
                break;
            }
            match self.with(id, now, false, Queue::pop_oldest) {
                Some(item) => expired.extend(item),
                None => {
                    self.expiring.remove(&(at, id));
                }
            }
        }
        self.count -= expired.len();
        self.size -= expired.iter().map(Item::size).sum::<usize>();
        expired
    }

    /// Says what is to be done at `now`.
    pub(crate) fn next(&mut self, now: Instant) -> Next<T> {
        let full = self.count >= self.limits.count || self.size >= self.limits.size;
        let index = if full { &self.free } else { &self.ready };
        match index.first() {
            None => Next::Idle,
            Some((at, ..)) if *at > now => Next::Wait(*at),
            Some(_) => {
                let batch = self.take_batch(now);
                if batch.is_empty() {
                    // The pace has changed since the time was noted.
                    return self.next(now);
                }
                Next::Batch(batch)
            }
        }
    }

    /// Fills a request: first from the queues that are ready, then from those that are free.
    fn take_batch(&mut self, now: Instant) -> Vec<T> {
        let mut filling = Filling {
            batch: Vec::new(),
            size: 0,
            misfits: 0,
            served: BTreeSet::new(),
        };
        for of_ready in [true, false] {
            let mut from = None;
            while !filling.is_full(&self.limits) {
                let index = if of_ready { &self.ready } else { &self.free };
                let next = match from {
                    None => index.first(),
                    Some(last) => {
                        let behind = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
                        index.range(behind).next()
                    }
                };
                let Some(turn) = next.copied().filter(|(at, ..)| *at <= now) else {
                    break;
                };
                from = Some(turn);
                let (.., id) = turn;
                if filling.served.insert(id) {
                    let limits = self.limits;
                    self.with(id, now, true, |queue| filling.take(queue, &limits, now));
                }
            }
        }
        self.count -= filling.batch.len();
        self.size -= filling.size;
        filling.batch
    }
}

/// A request that is being filled.
struct Filling<T> {
    batch: Vec<T>,
    size: usize,
    misfits: usize,
    served: BTreeSet<QueueId>,
}

impl<T: Item> Filling<T> {
    const fn is_full(&self, limits: &Limits) -> bool {
        self.batch.len() >= limits.count || self.size >= limits.size || self.misfits >= MISFITS
    }

    /// Takes what a shard may send, as far as there is room.
    fn take(&mut self, queue: &mut Queue<T>, limits: &Limits, now: Instant) {
        let (mut share, mut count) = (0, 0);
        while let Some(next) = queue.first() {
            if queue.probes().is_some_and(|most| count >= most) {
                break;
            }
            // What is larger than a request, or than a shard's share of it, goes all the same.
            let too_large = !self.batch.is_empty() && self.size + next > limits.size;
            self.misfits += usize::from(too_large);
            let too_much = share > 0 && share + next > queue.share();
            if self.batch.len() >= limits.count || too_large || too_much {
                break;
            }
            if !queue.limiter.take(next, now) {
                break;
            }
            share += next;
            count += 1;
            self.size += next;
            self.batch.extend(queue.pop());
        }
        queue.went(count);
        // What stays was held back by a limit: it is due.
        queue.hurry(now);
    }
}

#[cfg(test)]
mod tests;
