//! How much the records take, and a bound on it: the oldest of all streams go first, as they would
//! when their retention ends.

use super::Kinesis;
use super::shard::Shard;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Trimming goes on until there is room again for one part in so many, so that not every put trims.
const ROOM: u64 = 16;

/// The bytes of all records that are kept. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<AtomicU64>);

impl Kept {
    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Kinesis {
    /// Payloads and partition keys of all records that are kept, and what it takes to keep them, in
    /// bytes.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept.bytes()
    }

    /// How many records were trimmed for want of memory since the start.
    pub(crate) fn trimmed_records(&self) -> u64 {
        self.trimmed.load(Ordering::Relaxed)
    }

    /// Trims the oldest records when there are more bytes than the endpoint may keep. Records that
    /// came together leave together where a shard is the oldest by far; the order within a shard is
    /// kept.
    pub(super) fn bound_memory(&self) {
        let Some(most) = self.max_bytes.filter(|most| self.kept.bytes() > *most) else {
            return;
        };
        // One at a time: whoever waits finds it done.
        let _turn = self.trimming.lock();
        if self.kept.bytes() <= most {
            return;
        }
        let target = most - most / ROOM;
        let mut oldest: BinaryHeap<Reverse<(u64, Place)>> = BinaryHeap::new();
        for shard in self.all_shards() {
            let first = shard.log.lock().oldest();
            if let Some(arrival) = first {
                let place = Place(oldest.len(), shard);
                oldest.push(Reverse((arrival, place)));
            }
        }
        let mut trimmed = 0;
        while self.kept.bytes() > target
            && let Some(Reverse((_, Place(order, shard)))) = oldest.pop()
        {
            let until = oldest.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let mut log = shard.log.lock();
            trimmed += log.drop_oldest(until, self.kept.bytes() - target);
            let left = log.oldest();
            drop(log);
            if let Some(arrival) = left {
                oldest.push(Reverse((arrival, Place(order, shard))));
            }
        }
        self.trimmed.fetch_add(trimmed, Ordering::Relaxed);
        tracing::warn!(
            records = trimmed,
            bytes = self.kept.bytes(),
            most,
            "the oldest records were trimmed: memory is full"
        );
    }

    fn all_shards(&self) -> Vec<Arc<Shard>> {
        let streams: Vec<_> = self.streams.read().values().cloned().collect();
        streams
            .iter()
            .flat_map(|stream| stream.state.read().shards.clone())
            .collect()
    }
}

/// A shard among those that are looked at, in their order.
struct Place(usize, Arc<Shard>);

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
