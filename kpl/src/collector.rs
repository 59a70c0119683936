//! Kinesis records on their way to a request: a queue for each shard, its pace and its back-off, and
//! the choice of what goes into the next `PutRecords`.

use crate::limiter::{Limiter, Rate};
use crate::sealed::Sealed;
use crate::settings::Options;
use runtime::{Backoff, Chance, RetryPolicy};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of one shard in a request that make it go at once, and at the most: a request is not filled
/// by one shard.
const SHARD_SHARE: usize = 256 * 1024;

/// What the collector knows of a Kinesis record.
pub(crate) trait Item {
    /// Bytes of data and partition key.
    fn size(&self) -> usize;
    /// When it is to be sent, if nothing fills a request before.
    fn due(&self) -> Instant;
    /// The older, the sooner it goes.
    fn oldest(&self) -> Instant;
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
    pub(crate) const fn new(options: &Options) -> Self {
        Self {
            count: options.request_count,
            size: options.request_size,
            ttl: options.ttl,
            rate: Rate {
                percent: options.rate_limit,
            },
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

#[derive(Debug)]
pub(crate) struct Collector<T = Sealed> {
    limits: Limits,
    queues: BTreeMap<Arc<str>, Queue<T>>,
    /// Kinesis records queued, and their bytes.
    count: usize,
    size: usize,
    /// The shard that the last request ended with: the next one begins behind it.
    last: Option<Arc<str>>,
    next_id: u64,
    chance: Chance,
}

#[derive(Debug)]
struct Queue<T> {
    /// The oldest first, so that what is tried again goes before what is new.
    items: BTreeMap<(Instant, u64), T>,
    size: usize,
    /// When the first of them is to be sent.
    due: Option<Instant>,
    limiter: Limiter,
    rest: Rest,
}

/// The back-off of a shard, or of the endpoint.
#[derive(Debug)]
pub(crate) struct Rest {
    policy: RetryPolicy,
    backoff: Option<Backoff>,
    until: Option<Instant>,
    since: Option<Instant>,
}

impl Rest {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        let policy = RetryPolicy::unbounded(first, longest);
        Self {
            policy,
            backoff: None,
            until: None,
            since: None,
        }
    }

    /// Something that was begun at `started` failed. What was begun before the present back-off says
    /// nothing new.
    pub(crate) fn failed(&mut self, started: Instant, now: Instant, chance: &Chance) {
        if self.since.is_some_and(|since| started < since) {
            return;
        }
        let backoff = self
            .backoff
            .get_or_insert_with(|| self.policy.start(chance));
        let delay = backoff.next_delay().unwrap_or(self.policy.max_delay);
        self.until = Some(now + delay);
        self.since = Some(now);
    }

    /// Something succeeded: the next failure starts from the shortest delay.
    pub(crate) fn succeeded(&mut self) {
        self.backoff = None;
        self.until = None;
        self.since = None;
    }

    /// Until when to rest.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// The last that is known is a failure.
    pub(crate) const fn is_failing(&self) -> bool {
        self.until.is_some()
    }
}

impl<T: Item> Queue<T> {
    /// When the first of them may go, as to pace and back-off.
    fn free_at(&mut self, now: Instant) -> Option<Instant> {
        let (_, first) = self.items.first_key_value()?;
        let wait = self.limiter.wait(first.size(), now);
        let paced = now.checked_add(wait)?;
        Some(self.rest.until(now).map_or(paced, |until| until.max(paced)))
    }

    fn expires(&self, ttl: Duration) -> Option<Instant> {
        let ((oldest, _), _) = self.items.first_key_value()?;
        oldest.checked_add(ttl)
    }

    fn pop(&mut self) -> Option<T> {
        let (_, item) = self.items.pop_first()?;
        self.size -= item.size();
        if self.items.is_empty() {
            self.due = None;
        }
        Some(item)
    }
}

impl<T: Item> Collector<T> {
    pub(crate) fn new(limits: Limits, chance: Chance) -> Self {
        Self {
            limits,
            queues: BTreeMap::new(),
            count: 0,
            size: 0,
            last: None,
            next_id: 0,
            chance,
        }
    }

    fn queue(&mut self, shard: &Arc<str>, now: Instant) -> &mut Queue<T> {
        let rate = self.limits.rate;
        self.queues
            .entry(Arc::clone(shard))
            .or_insert_with(|| Queue {
                items: BTreeMap::new(),
                size: 0,
                due: None,
                limiter: Limiter::new(rate, now),
                rest: Rest::new(Duration::from_millis(50), Duration::from_secs(2)),
            })
    }

    /// Takes a Kinesis record in for a shard.
    pub(crate) fn add(&mut self, shard: &Arc<str>, item: T, now: Instant) {
        self.next_id += 1;
        let id = self.next_id;
        self.count += 1;
        self.size += item.size();
        let queue = self.queue(shard, now);
        queue.size += item.size();
        queue.due = Some(queue.due.map_or(item.due(), |due| due.min(item.due())));
        queue.items.insert((item.oldest(), id), item);
    }

    /// Everything queued is to be sent now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for queue in self.queues.values_mut() {
            queue.due = queue.due.map(|due| due.min(now));
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
        let queue = self.queue(shard, now);
        queue.rest.failed(started, now, &chance);
        if throttled {
            queue.limiter.empty(now);
        }
    }

    /// The shard took what was sent at `started`. What was sent before its present back-off says
    /// nothing new.
    pub(crate) fn accepted(&mut self, shard: &str, started: Instant) {
        if let Some(queue) = self.queues.get_mut(shard)
            && queue.rest.since.is_none_or(|since| since <= started)
        {
            queue.rest.succeeded();
        }
    }

    /// Takes out everything that is queued for a shard, and forgets the shard.
    pub(crate) fn remove(&mut self, shard: &str) -> Vec<T> {
        let Some(queue) = self.queues.remove(shard) else {
            return Vec::new();
        };
        self.count -= queue.items.len();
        self.size -= queue.size;
        queue.items.into_values().collect()
    }

    /// When the time to live of a record passes next.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.queues
            .values()
            .filter_map(|queue| queue.expires(self.limits.ttl))
            .min()
    }

    /// Takes out what holds records whose time to live has passed.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        for queue in self.queues.values_mut() {
            while queue.expires(self.limits.ttl).is_some_and(|at| at <= now) {
                expired.extend(queue.pop());
            }
        }
        self.count -= expired.len();
        self.size -= expired.iter().map(Item::size).sum::<usize>();
        expired
    }

    /// Says what is to be done at `now`.
    pub(crate) fn next(&mut self, now: Instant) -> Next<T> {
        if self.count == 0 {
            return Next::Idle;
        }
        let full = self.count >= self.limits.count || self.size >= self.limits.size;
        let mut go = false;
        let mut wake: Option<Instant> = None;
        for queue in self.queues.values_mut() {
            let Some(free) = queue.free_at(now) else {
                continue;
            };
            let due = match queue.due {
                _ if full || queue.size >= SHARD_SHARE => now,
                Some(due) => due,
                None => continue,
            };
            go |= free <= now && due <= now;
            let next = free.max(due);
            wake = Some(wake.map_or(next, |wake| wake.min(next)));
        }
        match wake {
            _ if go => Next::Batch(self.take_batch(now)),
            Some(at) => Next::Wait(at),
            None => Next::Idle,
        }
    }

    /// Fills a request, shard by shard, from the one behind the last.
    fn take_batch(&mut self, now: Instant) -> Vec<T> {
        let mut batch = Vec::new();
        let mut size = 0;
        let from = self.last.take();
        let bound = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let order: Vec<Arc<str>> = self
            .queues
            .range::<Arc<str>, _>((bound, Bound::Unbounded))
            .chain(
                from.iter()
                    .flat_map(|last| self.queues.range::<Arc<str>, _>(..=last)),
            )
            .filter(|(_, queue)| !queue.items.is_empty())
            .map(|(shard, _)| Arc::clone(shard))
            .collect();
        for shard in order {
            let Some(queue) = self.queues.get_mut(&shard) else {
                continue;
            };
            if queue.rest.until(now).is_some() {
                continue;
            }
            let mut share = 0;
            while let Some((_, first)) = queue.items.first_key_value() {
                let next = first.size();
                // What is larger than a request, or than a shard's share of it, goes all the same.
                let too_large = !batch.is_empty() && size + next > self.limits.size;
                let too_much = share > 0 && share + next > SHARD_SHARE;
                if batch.len() >= self.limits.count || too_large || too_much {
                    break;
                }
                if !queue.limiter.take(next, now) {
                    break;
                }
                share += next;
                size += next;
                batch.extend(queue.pop());
            }
            // What stays was held back by a limit: it is due.
            queue.due = queue.due.map(|due| due.min(now));
            self.last = Some(shard);
            if batch.len() >= self.limits.count || size >= self.limits.size {
                break;
            }
        }
        self.count -= batch.len();
        self.size -= size;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Parcel {
        name: u32,
        size: usize,
        due: Instant,
        oldest: Instant,
    }

    impl Item for Parcel {
        fn size(&self) -> usize {
            self.size
        }
        fn due(&self) -> Instant {
            self.due
        }
        fn oldest(&self) -> Instant {
            self.oldest
        }
    }

    struct Bench {
        collector: Collector<Parcel>,
        begin: Instant,
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn shard(n: u32) -> Arc<str> {
        format!("shardId-{n:012}").into()
    }

    impl Bench {
        fn new(count: usize, size: usize, percent: u64) -> Self {
            let limits = Limits {
                count,
                size,
                ttl: ms(1_000),
                rate: Rate { percent },
            };
            Self {
                collector: Collector::new(limits, Chance::seeded(1)),
                begin: Instant::now(),
            }
        }

        /// Adds a parcel of so many bytes that was admitted at `at` and is due 100 ms later.
        fn add(&mut self, n: u32, name: u32, size: usize, at: u64) {
            let oldest = self.begin + ms(at);
            let parcel = Parcel {
                name,
                size,
                due: oldest + ms(100),
                oldest,
            };
            self.collector.add(&shard(n), parcel, oldest);
        }

        fn batch(&mut self, at: u64) -> Vec<u32> {
            match self.collector.next(self.begin + ms(at)) {
                Next::Batch(batch) => batch.into_iter().map(|parcel| parcel.name).collect(),
                _ => Vec::new(),
            }
        }

        fn wait(&mut self, at: u64) -> Option<Duration> {
            match self.collector.next(self.begin + ms(at)) {
                Next::Wait(until) => Some(until - self.begin),
                _ => None,
            }
        }
    }

    fn assert_within_limits(batch: &[Parcel], count: usize, size: usize) {
        let total: usize = batch.iter().map(|parcel| parcel.size).sum();
        assert!(!batch.is_empty() && batch.len() <= count);
        assert!(total <= size || batch.len() == 1, "{total}");
        for n in 0..4 {
            let of_shard = batch.iter().filter(|parcel| parcel.name % 4 == n);
            let (parcels, share) = of_shard.fold((0, 0), |(count, sum), parcel| {
                (count + 1, sum + parcel.size)
            });
            assert!(share <= SHARD_SHARE || parcels == 1, "{share}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_goes_once_and_within_the_limits(
            parcels in vec((0u32..4, 0usize..300_000, 0u64..40, any::<bool>()), 0..60),
            count in 1usize..20,
            size in 1_000usize..1_000_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let _guard = runtime.enter();
            let mut bench = Bench::new(count, size, 100);
            let (mut at, mut seen) = (0, Vec::new());
            let total = parcels.len();
            for (name, (shard_id, size_of_it, wait, refuse)) in (0..).zip(parcels) {
                at += wait;
                let now = bench.begin + ms(at);
                bench.add(shard_id, name * 4 + shard_id, size_of_it, at);
                if refuse {
                    bench.collector.refused(&shard(shard_id), true, now, now);
                }
                while let Next::Batch(batch) = bench.collector.next(now) {
                    assert_within_limits(&batch, count, size);
                    seen.extend(batch.into_iter().map(|parcel| parcel.name));
                }
            }
            let mut now = bench.begin + ms(at);
            loop {
                match bench.collector.next(now) {
                    Next::Batch(batch) => {
                        assert_within_limits(&batch, count, size);
                        seen.extend(batch.into_iter().map(|parcel| parcel.name));
                    }
                    Next::Wait(until) => {
                        assert!(until > now, "a wait leads on");
                        now = until;
                    }
                    Next::Idle => break,
                }
            }
            prop_assert_eq!((bench.collector.count, bench.collector.size), (0, 0));
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), total);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn goes_when_the_first_is_due_and_takes_the_others_along() {
        let mut bench = Bench::new(500, 1 << 20, 1_000);
        assert!(matches!(bench.collector.next(bench.begin), Next::Idle));
        bench.add(1, 10, 100, 0);
        bench.add(2, 20, 100, 50);
        assert_eq!(bench.wait(60), Some(ms(100)));
        assert_eq!(bench.batch(100), [10, 20]);
        assert!(matches!(bench.collector.next(bench.begin), Next::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn goes_at_once_when_a_request_is_full() {
        let mut bench = Bench::new(3, 1_000, 1_000);
        (0..4).for_each(|name| bench.add(name, name, 10, 0));
        assert_eq!(bench.batch(0), [0, 1, 2]);
        assert_eq!(bench.wait(0), Some(ms(100)));
        let mut bench = Bench::new(500, 1_000, 1_000);
        bench.add(1, 1, 600, 0);
        bench.add(2, 2, 600, 0);
        assert_eq!(bench.batch(0), [1]);
        assert_eq!(bench.batch(100), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_takes_no_more_than_its_share_of_a_request() {
        let mut bench = Bench::new(500, 5 << 20, 1_000);
        (0..4).for_each(|name| bench.add(1, name, 100_000, 0));
        bench.add(2, 9, 10, 0);
        assert_eq!(bench.batch(0), [0, 1, 9]);
        assert_eq!(bench.batch(0), [2, 3], "what was left behind is due");
        bench.add(1, 5, 600_000, 0);
        assert_eq!(bench.batch(0), [5], "too large for a share, it goes alone");
    }

    #[tokio::test(start_paused = true)]
    async fn shards_take_turns() {
        let mut bench = Bench::new(2, 1 << 20, 1_000);
        (0..2).for_each(|name| (1..4).for_each(|n| bench.add(n, n * 10 + name, 10, 0)));
        let mut seen = BTreeSet::new();
        let first = bench.batch(0);
        seen.extend(first.iter().map(|name| name / 10));
        let second = bench.batch(0);
        seen.extend(second.iter().map(|name| name / 10));
        assert_eq!((first, second), (vec![10, 11], vec![20, 21]));
        assert_eq!(bench.batch(200), [30, 31]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_goes_first_so_what_is_tried_again_is_at_the_head() {
        let mut bench = Bench::new(500, 1 << 20, 1_000);
        bench.add(1, 2, 10, 50);
        bench.add(1, 1, 10, 10);
        assert_eq!(bench.batch(110), [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_shard_rests_and_the_others_go_on() {
        let mut bench = Bench::new(500, 1 << 20, 1_000);
        bench.add(1, 1, 10, 0);
        bench.add(2, 2, 10, 0);
        assert_eq!(bench.batch(100), [1, 2]);
        let (started, now) = (bench.begin + ms(100), bench.begin + ms(110));
        bench.collector.refused(&shard(1), false, started, now);
        bench.add(1, 1, 10, 0);
        bench.add(2, 2, 10, 0);
        assert_eq!(bench.batch(110), [2]);
        let until = bench.wait(110).unwrap();
        assert!(until >= ms(160) && until <= ms(210), "{until:?}");
        // An older request's answer says nothing new.
        bench
            .collector
            .refused(&shard(1), false, started, now + ms(5));
        assert_eq!(bench.wait(120), Some(until));
        let resumed = u64::try_from(until.as_millis()).unwrap() + 1;
        assert_eq!(bench.batch(resumed), [1]);
        bench
            .collector
            .refused(&shard(1), false, bench.begin + until, bench.begin + until);
        bench.add(1, 1, 10, 0);
        let longer = bench.wait(resumed).unwrap() - until;
        assert!(longer >= ms(99) && longer <= ms(201), "{longer:?}");
        bench.collector.accepted(&shard(1), started);
        assert_eq!(bench.batch(resumed), [] as [u32; 0], "that was before");
        bench.collector.accepted(&shard(1), bench.begin + until);
        assert_eq!(bench.batch(resumed), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_of_a_shard_is_kept() {
        let mut bench = Bench::new(500, 5 << 20, 100);
        (0..1_500).for_each(|name| bench.add(1, name, 1, 0));
        let mut sent = 0;
        while let Next::Batch(batch) = bench.collector.next(bench.begin) {
            sent += batch.len();
        }
        assert_eq!(sent, 1_000);
        assert_eq!(bench.wait(0), Some(ms(1)), "the rest is due, and paced");
        bench
            .collector
            .refused(&shard(1), true, bench.begin, bench.begin);
        bench.collector.accepted(&shard(1), bench.begin);
        assert_eq!(bench.batch(250).len(), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn the_expired_are_taken_out_resting_or_not() {
        let mut bench = Bench::new(500, 1 << 20, 100);
        bench.add(1, 1, 10, 0);
        bench.add(1, 2, 10, 300);
        bench
            .collector
            .refused(&shard(1), false, bench.begin, bench.begin);
        assert_eq!(bench.collector.next_expiry(), Some(bench.begin + ms(1_000)));
        let begin = bench.begin;
        let mut expired = |at| {
            let expired = bench.collector.take_expired(begin + ms(at));
            expired
                .into_iter()
                .map(|parcel| parcel.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(expired(999), [] as [u32; 0]);
        assert_eq!(expired(1_000), [1]);
        assert_eq!(expired(1_300), [2]);
        assert!(matches!(bench.collector.next(begin), Next::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_makes_everything_due_and_a_closed_shard_gives_its_queue_back() {
        let mut bench = Bench::new(500, 1 << 20, 100);
        bench.add(1, 1, 10, 0);
        bench.add(2, 2, 10, 0);
        assert_eq!(bench.collector.remove(&shard(1)).len(), 1);
        assert!(bench.collector.remove(&shard(1)).is_empty());
        bench.collector.hurry(bench.begin);
        assert_eq!(bench.batch(0), [2]);
    }
}
