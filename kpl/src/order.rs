//! Strict ordering: of each shard one Kinesis record is on its way at a time, and none goes before one
//! that holds earlier records of the same hash keys.
//!
//! Kinesis records have a turn: the lane that they were filled in, and their number there. Lanes are
//! numbered as they are made, so of two lanes that a hash key belonged to, the later has the larger
//! number, whatever was split or merged in between.

use crate::deadlines::LaneKey;
use crate::sealed::Sealed;
use aggregation::{HashKey, HashRange};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When a Kinesis record goes, relative to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) lane: LaneKey,
    /// Its number in the lane, from 0.
    pub(crate) serial: u64,
    /// The place of its record, where an aggregate was taken apart into single records.
    pub(crate) place: u32,
}

/// What a Kinesis record has to do with the order.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ordered {
    pub(crate) turn: Turn,
    /// It came to the engine before.
    pub(crate) arrived: bool,
    /// The start of the range that it keeps busy.
    pub(crate) busy: Option<HashKey>,
}

type Key = (Turn, u64);

#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The next number to come of each lane. Numbers may come out of order: callers and the engine close
    /// aggregates alike.
    lanes: BTreeMap<LaneKey, u64>,
    early: BTreeMap<(LaneKey, u64), Sealed>,
    /// Lanes that have closed, but not everything of them has come: their range, and how many will.
    unfinished: BTreeMap<LaneKey, (HashRange, u64)>,
    /// By the start of their range; ranges do not overlap.
    queues: BTreeMap<HashKey, Queue>,
    /// The ranges that have a Kinesis record on its way: start and end.
    busy: BTreeMap<HashKey, HashKey>,
    /// The queues that may have something to send.
    touched: BTreeSet<HashKey>,
    expiring: BTreeSet<(Instant, HashKey, Key)>,
    next_id: u64,
}

#[derive(Debug)]
struct Queue {
    shard: Arc<str>,
    range: HashRange,
    items: BTreeMap<Key, Sealed>,
}

fn overlap(a: &HashRange, start: HashKey, end: HashKey) -> bool {
    a.start() <= end && start <= a.end()
}

impl Order {
    /// A Kinesis record comes from its lane. Gives it, and what waited for it, in their order; nothing
    /// while an earlier one is missing.
    pub(crate) fn arrive(&mut self, mut sealed: Sealed) -> Vec<Sealed> {
        let Turn { lane, serial, .. } = sealed.order.turn;
        let next = self.lanes.entry(lane).or_default();
        if serial != *next {
            self.early.insert((lane, serial), sealed);
            return Vec::new();
        }
        let mut come = Vec::new();
        loop {
            sealed.order.arrived = true;
            come.push(sealed);
            *next += 1;
            match self.early.remove(&(lane, *next)) {
                Some(following) => sealed = following,
                None => break,
            }
        }
        let next = *next;
        if self
            .unfinished
            .get(&lane)
            .is_some_and(|(_, all)| *all <= next)
        {
            self.finish(lane);
        }
        come
    }

    /// A lane has closed after so many Kinesis records: nothing of later lanes in its range goes before
    /// all have come.
    pub(crate) fn lane_closed(&mut self, lane: LaneKey, range: HashRange, all: u64) {
        self.unfinished.insert(lane, (range, all));
        if self.lanes.get(&lane).copied().unwrap_or_default() >= all {
            self.finish(lane);
        }
    }

    fn finish(&mut self, lane: LaneKey) {
        self.lanes.remove(&lane);
        if let Some((range, _)) = self.unfinished.remove(&lane) {
            self.touch(range.start(), range.end());
        }
    }

    /// Takes a Kinesis record in for a shard.
    pub(crate) fn add(
        &mut self,
        shard: &Arc<str>,
        range: HashRange,
        sealed: Sealed,
        ttl: Duration,
    ) {
        self.next_id += 1;
        let key = (sealed.order.turn, self.next_id);
        let start = range.start();
        if let Some(gone) = sealed.gone(ttl) {
            self.expiring.insert((gone, start, key));
        }
        let queue = self.queues.entry(start).or_insert_with(|| Queue {
            shard: Arc::clone(shard),
            range,
            items: BTreeMap::new(),
        });
        queue.items.insert(key, sealed);
        self.touched.insert(start);
    }

    /// Takes out what waits for a shard that is no more.
    pub(crate) fn remove(&mut self, shard: &str, range: &HashRange) -> Vec<Sealed> {
        let start = range.start();
        if self
            .queues
            .get(&start)
            .is_none_or(|queue| *queue.shard != *shard)
        {
            return Vec::new();
        }
        self.touched.remove(&start);
        self.expiring.retain(|(_, at, _)| *at != start);
        let queue = self.queues.remove(&start);
        queue.map_or_else(Vec::new, |queue| queue.items.into_values().collect())
    }

    /// The next Kinesis record that may go, with its shard. Its range is busy until `done`.
    pub(crate) fn next(&mut self, ttl: Duration) -> Option<(Arc<str>, Sealed)> {
        while let Some(start) = self.touched.pop_first() {
            let Some(queue) = self.queues.get(&start) else {
                continue;
            };
            let (range, shard) = (queue.range, Arc::clone(&queue.shard));
            let Some((key, _)) = queue.items.first_key_value() else {
                self.queues.remove(&start);
                continue;
            };
            let key = *key;
            if self.is_busy(&range) || self.is_awaited(&range, key.0.lane) {
                continue;
            }
            let Some(mut sealed) = self.queues.get_mut(&start)?.items.remove(&key) else {
                continue;
            };
            if let Some(gone) = sealed.gone(ttl) {
                self.expiring.remove(&(gone, start, key));
            }
            self.busy.insert(start, range.end());
            sealed.order.busy = Some(start);
            return Some((shard, sealed));
        }
        None
    }

    fn is_busy(&self, range: &HashRange) -> bool {
        let last = self.busy.range(..=range.end()).next_back();
        last.is_some_and(|(_, end)| *end >= range.start())
    }

    /// Something of an earlier lane may still come.
    fn is_awaited(&self, range: &HashRange, lane: LaneKey) -> bool {
        let mut earlier = self.unfinished.range(..lane);
        earlier.any(|(_, (other, _))| overlap(range, other.start(), other.end()))
    }

    /// What kept a range busy has an outcome, or is about to take its turn again.
    pub(crate) fn done(&mut self, sealed: &mut Sealed) {
        let Some(start) = sealed.order.busy.take() else {
            return;
        };
        if let Some(end) = self.busy.remove(&start) {
            self.touch(start, end);
        }
    }

    fn touch(&mut self, start: HashKey, end: HashKey) {
        let queues = self.queues.range(..=end).rev();
        let overlapping = queues.take_while(|(_, queue)| queue.range.end() >= start);
        self.touched.extend(overlapping.map(|(at, _)| *at));
    }

    /// When the time to live of all records of a waiting Kinesis record passes next.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.expiring.first().map(|(at, ..)| *at)
    }

    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<Sealed> {
        let mut expired = Vec::new();
        while let Some((at, start, key)) = self.expiring.first().copied() {
            if at > now {
                break;
            }
            self.expiring.pop_first();
            let queue = self.queues.get_mut(&start);
            expired.extend(queue.and_then(|queue| queue.items.remove(&key)));
        }
        expired
    }
}
