//! One shard: its records in order, under one lock.

use super::hash::HashRange;
use super::limits::ShardLimits;
use super::memory::Kept;
use super::sequence::{END_INDEX, Sequence};
use crate::options::Limits;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// The index of a shard's first record.
const FIRST_INDEX: u64 = 1;

/// A shard. What never changes stands here; the rest is in its log.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Its place among all shards that the stream ever had.
    pub(crate) index: u32,
    pub(crate) id: String,
    pub(crate) range: HashRange,
    pub(crate) parent: Option<String>,
    pub(crate) adjacent_parent: Option<String>,
    /// The creation time in its sequence numbers, in seconds since the epoch.
    pub(crate) created: u64,
    /// When it opened, in milliseconds since the epoch.
    pub(crate) opened: u64,
    /// When it was split or merged, in milliseconds since the epoch. Set under the stream's write
    /// lock; every put holds the read lock, so nothing is appended afterwards.
    pub(crate) closed: OnceLock<u64>,
    pub(crate) log: Mutex<Log>,
    /// Told when records arrived, when the shard was closed, and when a subscription has to look
    /// again for another reason.
    pub(crate) news: Arc<Notify>,
}

/// A record as it is kept: partition key and payload in one buffer, which it may share with other
/// records of the same request.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    bytes: Bytes,
    key_length: u32,
    /// Milliseconds since the epoch.
    pub(crate) arrival: u64,
    /// Whether the stream was encrypted when it arrived.
    pub(crate) encrypted: bool,
    explicit_hash_key: Option<Box<u128>>,
}

impl Stored {
    /// None when it was put without one, which is not the same as an empty one: that is refused.
    pub(crate) fn partition_key(&self) -> Option<&str> {
        let key = self.bytes.get(..self.key_bytes()).unwrap_or_default();
        // It was text when it was stored.
        std::str::from_utf8(key).ok().filter(|key| !key.is_empty())
    }

    pub(crate) fn data(&self) -> Bytes {
        self.bytes.slice(self.key_bytes()..)
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(self.key_bytes()..).unwrap_or_default()
    }

    pub(crate) fn explicit_hash_key(&self) -> Option<u128> {
        self.explicit_hash_key.as_deref().copied()
    }

    /// Payload and partition key, which is what the service counts.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What it takes in memory, in bytes.
    fn footprint(&self) -> u64 {
        count(self.bytes.len() + size_of::<Self>())
    }

    fn key_bytes(&self) -> usize {
        usize::try_from(self.key_length).unwrap_or(usize::MAX)
    }
}

/// A record on its way into a shard.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// Empty when there is none.
    pub(crate) partition_key: &'a str,
    pub(crate) explicit_hash_key: Option<u128>,
    pub(crate) encrypted: bool,
    pub(crate) data: &'a [u8],
}

impl Incoming<'_> {
    pub(crate) fn size(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }
}

/// The records of a shard, oldest first, with consecutive indices: a record is found by its index
/// directly and by its arrival in logarithmic time.
#[derive(Debug)]
pub(crate) struct Log {
    records: VecDeque<Stored>,
    /// The index of the oldest record kept.
    first: u64,
    /// The latest arrival: arrivals never decrease, even when the clock does.
    newest: u64,
    pub(crate) limits: ShardLimits,
    /// Where the bytes are counted.
    kept: Kept,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.kept
            .remove(self.records.iter().map(Stored::footprint).sum());
    }
}

/// What a read found.
#[derive(Debug)]
pub(crate) struct Page {
    /// Records with their indices.
    pub(crate) records: Vec<(u64, Stored)>,
    /// Where the next read goes on; none at the end of a closed shard.
    pub(crate) next: Option<u64>,
    /// How far behind the tip the next read is, in milliseconds; 0 at the tip.
    pub(crate) behind: u64,
    /// Bytes returned, keys included.
    pub(crate) size: usize,
}

impl Log {
    pub(crate) fn new(limits: &Limits, now: u64) -> Self {
        Self {
            records: VecDeque::new(),
            first: FIRST_INDEX,
            newest: 0,
            limits: ShardLimits::new(limits, now),
            kept: Kept::default(),
        }
    }

    /// The same, but its bytes are counted there.
    pub(super) fn counted(self, kept: &Kept) -> Self {
        let mut log = self;
        log.kept = kept.clone();
        log
    }

    /// The index that the next record gets.
    pub(crate) fn end(&self) -> u64 {
        self.first + count(self.records.len())
    }

    /// The index of the oldest record kept.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Stored)> {
        (self.first..).zip(&self.records)
    }

    /// Appends records that arrive together; gives the index of the first, and their arrival. Their
    /// bytes are copied into one buffer of exactly their size.
    pub(crate) fn append(&mut self, incoming: &[&Incoming<'_>], now: u64) -> (u64, u64) {
        let start = self.end();
        let arrival = self.newest.max(now);
        self.newest = arrival;
        let mut buffer = Vec::with_capacity(incoming.iter().map(|r| r.size()).sum());
        for record in incoming {
            buffer.extend_from_slice(record.partition_key.as_bytes());
            buffer.extend_from_slice(record.data);
        }
        let mut rest = Bytes::from(buffer);
        self.kept
            .add(count(rest.len() + incoming.len() * size_of::<Stored>()));
        self.make_room(incoming.len());
        for record in incoming {
            self.records.push_back(Stored {
                bytes: rest.split_to(record.size()),
                key_length: u32::try_from(record.partition_key.len()).unwrap_or(u32::MAX),
                arrival,
                encrypted: record.encrypted,
                explicit_hash_key: record.explicit_hash_key.map(Box::new),
            });
        }
        (start, arrival)
    }

    /// Grows by a quarter, not to the double: memory stays near the payloads' size.
    fn make_room(&mut self, records: usize) {
        let length = self.records.len();
        if length + records > self.records.capacity() {
            self.records.reserve_exact(records.max(length / 4).max(16));
        }
    }

    /// Drops what arrived before `horizon`.
    pub(crate) fn trim(&mut self, horizon: u64) {
        self.drop_first(self.records.partition_point(|r| r.arrival < horizon));
    }

    /// When the oldest record arrived; none when there is none.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.records.front().map(|record| record.arrival)
    }

    /// Drops the oldest records: all that arrived by `until`, but no more than make up so many bytes.
    /// Gives how many there were.
    pub(super) fn drop_oldest(&mut self, until: u64, bytes: u64) -> usize {
        let mut sum = 0;
        let expired = self
            .records
            .iter()
            .take_while(|record| {
                let wanted = record.arrival <= until && sum < bytes;
                sum += record.footprint();
                wanted
            })
            .count();
        self.drop_first(expired);
        expired
    }

    fn drop_first(&mut self, expired: usize) {
        if expired > 0 {
            let bytes = self.records.drain(..expired).map(|r| r.footprint()).sum();
            self.kept.remove(bytes);
            self.first += count(expired);
            if self.records.capacity() > 4 * self.records.len() + 64 {
                self.records.shrink_to(self.records.len() + 16);
            }
        }
    }

    /// The index of the first record that arrived at or after `at`; the tip when there is none.
    pub(crate) fn index_at_time(&self, at: u64) -> u64 {
        self.first + count(self.records.partition_point(|r| r.arrival < at))
    }

    /// The arrival of the record at an index; the latest arrival when it is not kept.
    pub(crate) fn arrival_at(&self, index: u64) -> u64 {
        index
            .checked_sub(self.first)
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| self.records.get(offset))
            .map_or(self.newest, |record| record.arrival)
    }

    /// Reads from `from`: at most `limit` records and `max_bytes` bytes, but one record at least.
    /// Whether the shard is `closed` has to be asked before the log is locked.
    pub(crate) fn read(
        &self,
        from: u64,
        limit: usize,
        max_bytes: usize,
        closed: bool,
        now: u64,
    ) -> Page {
        let from = from.max(self.first);
        let offset = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let mut records = Vec::new();
        let mut size = 0;
        for (index, record) in (from..).zip(self.records.iter().skip(offset)).take(limit) {
            if !records.is_empty() && size + record.size() > max_bytes {
                break;
            }
            size += record.size();
            records.push((index, record.clone()));
        }
        let next = from + count(records.len());
        let unread = usize::try_from(next - self.first)
            .ok()
            .and_then(|offset| self.records.get(offset));
        Page {
            records,
            behind: unread.map_or(0, |r| now.saturating_sub(r.arrival).max(1)),
            next: (unread.is_some() || !closed).then_some(next),
            size,
        }
    }
}

impl Shard {
    /// The sequence number of the record with an index.
    pub(crate) fn sequence(&self, index: u64, arrival: u64) -> Sequence {
        Sequence {
            created: self.created,
            index,
            time: arrival / 1_000,
            shard: self.index,
        }
    }

    /// The number that all records of the shard lie above.
    pub(crate) fn starting_sequence(&self) -> Sequence {
        Sequence {
            created: self.created,
            index: 0,
            time: self.created,
            shard: self.index,
        }
    }

    /// The number that all records of a closed shard lie below.
    pub(crate) fn ending_sequence(&self) -> Option<Sequence> {
        self.closed.get().map(|at| Sequence {
            created: self.created,
            index: END_INDEX,
            time: at / 1_000,
            shard: self.index,
        })
    }

    /// The number that all records from an index on lie above: that of the record before them.
    pub(crate) fn sequence_before(&self, index: u64, log: &Log) -> Sequence {
        match index.saturating_sub(1) {
            0 => self.starting_sequence(),
            before => self.sequence(before, log.arrival_at(before)),
        }
    }

    /// Whether this shard was made from the shard with that id.
    pub(crate) fn is_child_of(&self, id: &str) -> bool {
        self.parent.as_deref() == Some(id) || self.adjacent_parent.as_deref() == Some(id)
    }
}

/// The id of the shard at an index.
pub(crate) fn shard_id(index: u32) -> String {
    format!("shardId-{index:012}")
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(log: &mut Log, key: &str, data: &[u8], now: u64) -> u64 {
        let record = Incoming {
            partition_key: key,
            explicit_hash_key: None,
            encrypted: false,
            data,
        };
        log.append(&[&record], now).0
    }

    fn indices(page: &Page) -> Vec<u64> {
        page.records.iter().map(|(index, _)| *index).collect()
    }

    #[test]
    fn pages_end_at_the_limit_and_at_the_bytes_but_hold_one_record() {
        let mut log = Log::new(&Limits::On, 0);
        for i in 0..10 {
            assert_eq!(put(&mut log, "k", &[7; 99], 1_000), i + 1);
        }
        assert_eq!(indices(&log.read(0, 4, 10_000, false, 1_000)), [1, 2, 3, 4]);
        assert_eq!(indices(&log.read(5, 10_000, 200, false, 1_000)), [5, 6]);
        assert_eq!(indices(&log.read(5, 10_000, 1, false, 1_000)), [5]);
        assert_eq!(log.read(1, 3, 10_000, false, 1_000).size, 300);
    }

    #[test]
    fn lag_is_positive_until_the_tip() {
        let mut log = Log::new(&Limits::On, 0);
        put(&mut log, "k", b"a", 1_000);
        put(&mut log, "k", b"b", 2_000);
        assert_eq!(
            log.read(1, 1, 10, false, 2_000).behind,
            1,
            "never 0 while unread"
        );
        assert_eq!(log.read(1, 1, 10, false, 5_000).behind, 3_000);
        assert_eq!(log.read(2, 1, 10, false, 5_000).behind, 0);
    }

    #[test]
    fn a_closed_shard_ends_with_the_page_that_reads_its_last_record() {
        let mut log = Log::new(&Limits::On, 0);
        for _ in 0..10 {
            put(&mut log, "k", b"x", 0);
        }
        let first = log.read(1, 4, 1_000, true, 9);
        let second = log.read(first.next.unwrap(), 4, 1_000, true, 9);
        let last = log.read(second.next.unwrap(), 4, 1_000, true, 9);
        assert_eq!(
            [&first, &second, &last].map(|page| page.records.len()),
            [4, 4, 2]
        );
        assert_eq!(last.next, None);
    }

    #[test]
    fn trimming_keeps_indices_and_a_clock_going_back_keeps_order() {
        let mut log = Log::new(&Limits::On, 0);
        put(&mut log, "a", b"1", 1_000);
        put(&mut log, "b", b"2", 500);
        put(&mut log, "c", b"3", 3_000);
        assert_eq!(log.index_at_time(600), 1);
        assert_eq!(log.index_at_time(1_001), 3);
        assert_eq!(log.index_at_time(3_001), 4);
        log.trim(1_001);
        assert_eq!((log.first(), log.end()), (3, 4));
        assert_eq!(indices(&log.read(1, 10, 10, false, 3_000)), [3]);
        assert_eq!(log.iter().next().unwrap().1.partition_key(), Some("c"));
        assert_eq!(put(&mut log, "d", b"", 3_000), 4);
    }

    #[test]
    fn a_record_keeps_its_parts() {
        let mut log = Log::new(&Limits::On, 0);
        let record = Incoming {
            partition_key: "schlüssel",
            explicit_hash_key: Some(u128::MAX),
            encrypted: true,
            data: b"payload",
        };
        log.append(&[&record, &record], 7);
        for (_, stored) in log.iter() {
            assert_eq!(stored.partition_key(), Some("schlüssel"));
            assert_eq!(&stored.data()[..], b"payload");
            assert_eq!(stored.payload(), b"payload");
            assert_eq!(stored.explicit_hash_key(), Some(u128::MAX));
            assert_eq!(stored.size(), "schlüssel".len() + 7);
            assert!(stored.encrypted);
        }
        assert_eq!(put(&mut log, "", b"keyless", 7), 3);
        let keyless = &log.read(3, 1, 10, false, 7).records[0].1;
        assert_eq!(keyless.partition_key(), None);
        assert_eq!(keyless.payload(), b"keyless");
    }

    #[test]
    fn memory_stays_within_a_tenth_of_the_payloads() {
        let mut log = Log::new(&Limits::On, 0);
        let data = vec![7; 1_024];
        let record = Incoming {
            partition_key: "partition-key",
            explicit_hash_key: None,
            encrypted: false,
            data: &data,
        };
        for _ in 0..200 {
            log.append(&[&record; 50], 0);
            let payload = log.records.len() * record.size();
            let places = log.records.capacity() * size_of::<Stored>();
            assert!(
                places * 10 <= payload.max(64 * 1_024),
                "{places} for {payload}"
            );
        }
        // The records of one request share one buffer, with nothing between them.
        let first = log.records.get(50).unwrap().bytes.as_ptr_range();
        let second = log.records.get(51).unwrap().bytes.as_ptr_range();
        assert_eq!(first.end, second.start);
        log.append(&[&record], 10);
        log.trim(1);
        assert_eq!(log.records.len(), 1);
        assert!(log.records.capacity() < 100);
    }
}
