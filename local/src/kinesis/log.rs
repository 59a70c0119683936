//! The records of a shard, in order.

use super::batch::{Batch, Draft, Record};
use super::limits::ShardLimits;
use super::memory::Kept;
use crate::options::Limits;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// The index of a shard's first record.
const FIRST_INDEX: u64 = 1;
/// A log that shrank keeps room for so many batches.
const ROOM: usize = 64;

/// The records of a shard, oldest first, with consecutive indices and in the batches that they came in:
/// a record is found by its index or by its arrival in logarithmic time.
#[derive(Debug)]
pub(crate) struct Log {
    /// None is empty.
    batches: VecDeque<Arc<Batch>>,
    /// The index that the next record gets.
    end: u64,
    /// The latest arrival: arrivals never decrease, even when the clock does.
    newest: u64,
    pub(crate) limits: ShardLimits,
    /// Where the bytes are counted.
    kept: Kept,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.kept
            .remove(self.batches.iter().map(|b| b.footprint()).sum());
    }
}

/// What a read found. It holds the records' buffers, not copies of them.
#[derive(Debug)]
pub(crate) struct Page {
    slices: Vec<(Arc<Batch>, Range<u64>)>,
    /// How many records there are.
    pub(crate) count: usize,
    /// Where the next read goes on; none at the end of a closed shard.
    pub(crate) next: Option<u64>,
    /// How far behind the tip the next read is, in milliseconds; 0 at the tip.
    pub(crate) behind: u64,
    /// Bytes returned, keys included.
    pub(crate) size: usize,
}

impl Page {
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.slices
            .iter()
            .flat_map(|(batch, range)| batch.records(range.clone()))
    }

    pub(crate) fn last(&self) -> Option<Record<'_>> {
        let (batch, range) = self.slices.last()?;
        batch.record(range.end.checked_sub(1)?)
    }
}

impl Log {
    pub(crate) fn new(limits: &Limits, now: u64) -> Self {
        Self {
            batches: VecDeque::new(),
            end: FIRST_INDEX,
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
        self.end
    }

    /// The index of the oldest record kept.
    pub(crate) fn first(&self) -> u64 {
        self.batches.front().map_or(self.end, |batch| batch.first())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.batches
            .iter()
            .flat_map(|batch| batch.records(batch.first()..batch.end()))
    }

    /// Appends records that arrive together; gives the index of the first, and their arrival.
    pub(crate) fn append(&mut self, draft: Draft, encrypted: bool, now: u64) -> (u64, u64) {
        let first = self.end;
        let arrival = self.newest.max(now);
        self.newest = arrival;
        if !draft.is_empty() {
            let batch = draft.placed(first, arrival, encrypted);
            self.end = batch.end();
            self.kept.add(batch.footprint());
            self.batches.push_back(Arc::new(batch));
        }
        (first, arrival)
    }

    /// Drops what arrived before `horizon`.
    pub(crate) fn trim(&mut self, horizon: u64) {
        while let Some(batch) = self.batches.front()
            && batch.arrival() < horizon
        {
            self.drop_front();
        }
    }

    /// When the oldest record arrived; none when there is none.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.batches.front().map(|batch| batch.arrival())
    }

    /// Drops the oldest records: all that arrived by `until`, but no more than make up so many bytes.
    /// Gives how many there were. What is left of a batch is copied, so that it does not hold more than
    /// is counted.
    pub(super) fn drop_oldest(&mut self, until: u64, bytes: u64) -> u64 {
        let from = self.first();
        let mut sum = 0;
        while let Some(batch) = self.batches.front()
            && batch.arrival() <= until
            && sum < bytes
        {
            let batch = Arc::clone(batch);
            sum += batch.footprint();
            self.drop_front();
            let left = sum
                .checked_sub(bytes)
                .and_then(|surplus| batch.tail_within(surplus))
                .filter(|first| *first > batch.first())
                .and_then(|first| batch.starting_at(first).ok());
            if let Some(left) = left {
                self.kept.add(left.footprint());
                self.batches.push_front(Arc::new(left));
                break;
            }
        }
        self.first() - from
    }

    fn drop_front(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.kept.remove(batch.footprint());
        }
        if self.batches.capacity() > 4 * self.batches.len() + ROOM {
            self.batches.shrink_to(2 * self.batches.len());
        }
    }

    /// The batch that holds an index that is kept.
    fn position(&self, index: u64) -> Option<usize> {
        let at = self.batches.partition_point(|batch| batch.end() <= index);
        let batch = self.batches.get(at)?;
        (batch.first() <= index).then_some(at)
    }

    /// The index of the first record that arrived at or after `at`; the tip when there is none.
    pub(crate) fn index_at_time(&self, at: u64) -> u64 {
        let position = self.batches.partition_point(|batch| batch.arrival() < at);
        self.batches
            .get(position)
            .map_or(self.end, |batch| batch.first())
    }

    /// The arrival of the record at an index; the latest arrival when it is not kept.
    pub(crate) fn arrival_at(&self, index: u64) -> u64 {
        self.position(index)
            .and_then(|at| self.batches.get(at))
            .map_or(self.newest, |batch| batch.arrival())
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
        let from = from.max(self.first());
        let mut page = Page {
            slices: Vec::new(),
            count: 0,
            next: None,
            behind: 0,
            size: 0,
        };
        let mut next = from;
        let start = self.position(from).unwrap_or(self.batches.len());
        for batch in self.batches.range(start..) {
            let taken = page.take(batch, next, limit, max_bytes);
            let whole = taken == batch.end();
            if taken > next {
                page.slices.push((Arc::clone(batch), next..taken));
            }
            next = taken;
            if !whole {
                break;
            }
        }
        let unread = self.position(next).and_then(|at| self.batches.get(at));
        page.behind = unread.map_or(0, |batch| now.saturating_sub(batch.arrival()).max(1));
        page.next = (unread.is_some() || !closed).then_some(next);
        page
    }
}

impl Page {
    /// Counts what of a batch, from an index on, still fits; gives the index after it.
    fn take(&mut self, batch: &Batch, from: u64, limit: usize, max_bytes: usize) -> u64 {
        let left = limit.saturating_sub(self.count);
        let records = usize::try_from(batch.end() - from).unwrap_or(usize::MAX);
        if from == batch.first() && records <= left && self.size + batch.size() <= max_bytes {
            self.count += records;
            self.size += batch.size();
            return batch.end();
        }
        let mut next = from;
        for record in batch.records(from..batch.end()).take(left) {
            if self.count > 0 && self.size + record.size() > max_bytes {
                break;
            }
            self.count += 1;
            self.size += record.size();
            next += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Incoming;
    use super::*;
    use crate::wire::Blob;

    fn draft(records: &[(&str, &[u8])]) -> Draft {
        let records = records.iter().map(|(key, data)| Incoming {
            partition_key: Some(*key),
            explicit_hash_key: None,
            data: Blob::Plain(data),
        });
        Draft::of(records).unwrap()
    }

    fn put(log: &mut Log, key: &str, data: &[u8], now: u64) -> u64 {
        log.append(draft(&[(key, data)]), false, now).0
    }

    fn indices(page: &Page) -> Vec<u64> {
        let indices: Vec<u64> = page.records().map(|record| record.index).collect();
        assert_eq!(indices.len(), page.count);
        assert_eq!(
            page.last().map(|record| record.index),
            indices.last().copied()
        );
        indices
    }

    /// Ten records of 100 bytes, in batches of each of these sizes in turn.
    fn ten(batches: &[usize]) -> Log {
        let mut log = Log::new(&Limits::On, 0);
        let mut sizes = batches.iter().cycle();
        while log.end() <= 10 {
            let left = usize::try_from(11 - log.end()).unwrap();
            let size = (*sizes.next().unwrap()).min(left);
            log.append(draft(&vec![("k", &[7; 99][..]); size]), false, 1_000);
        }
        log
    }

    #[test]
    fn pages_end_at_the_limit_and_at_the_bytes_but_hold_one_record() {
        for batches in [&[1][..], &[3], &[10], &[4, 1], &[2, 5]] {
            let log = ten(batches);
            let read = |from, limit, bytes| log.read(from, limit, bytes, false, 1_000);
            assert_eq!(indices(&read(0, 4, 10_000)), [1, 2, 3, 4]);
            assert_eq!(indices(&read(5, 10_000, 200)), [5, 6]);
            assert_eq!(indices(&read(5, 10_000, 299)), [5, 6]);
            assert_eq!(indices(&read(5, 10_000, 1)), [5]);
            assert_eq!(
                indices(&read(1, 10_000, 10_000)),
                (1..=10).collect::<Vec<_>>()
            );
            assert_eq!(read(1, 3, 10_000).size, 300);
            assert_eq!(read(9, 10, 10_000).next, Some(11));
            for from in [11, 12, 1_000] {
                let page = read(from, 10, 10_000);
                assert_eq!((page.count, page.next, page.behind), (0, Some(from), 0));
            }
        }
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
        for batches in [&[1][..], &[3], &[10]] {
            let log = ten(batches);
            let first = log.read(1, 4, 1_000, true, 9);
            let second = log.read(first.next.unwrap(), 4, 1_000, true, 9);
            let last = log.read(second.next.unwrap(), 4, 1_000, true, 9);
            assert_eq!([&first, &second, &last].map(|page| page.count), [4, 4, 2]);
            assert_eq!(last.next, None);
        }
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
        assert_eq!(
            [1, 2, 3, 4].map(|i| log.arrival_at(i)),
            [1_000, 1_000, 3_000, 3_000]
        );
        log.trim(1_001);
        assert_eq!((log.first(), log.end()), (3, 4));
        assert_eq!(indices(&log.read(1, 10, 10, false, 3_000)), [3]);
        assert_eq!(log.iter().next().unwrap().partition_key(), Some("c"));
        assert_eq!(put(&mut log, "d", b"", 3_000), 4);
        log.trim(9_000);
        assert_eq!((log.first(), log.end(), log.oldest()), (5, 5, None));
        assert_eq!(log.read(1, 10, 10, false, 9_000).next, Some(5));
    }

    #[test]
    fn the_oldest_are_dropped_to_the_byte_and_what_is_left_is_counted() {
        let kept = Kept::default();
        let mut log = Log::new(&Limits::On, 0).counted(&kept);
        for index in 0..10 {
            put(
                &mut log,
                "k",
                &[7; 99],
                if index < 8 { 1_000 } else { 2_000 },
            );
        }
        let all = kept.bytes();
        assert_eq!(log.drop_oldest(500, all), 0, "none is that old");
        assert_eq!(log.drop_oldest(1_000, 1), 1, "one at least");
        assert_eq!(log.drop_oldest(1_000, all), 7, "what is newer stays");
        assert_eq!(log.first(), 9);
        let left: Vec<u64> = log.iter().map(|record| record.index).collect();
        assert_eq!(left, [9, 10]);
        assert_eq!(kept.bytes(), all / 5);
        drop(log);
        assert_eq!(kept.bytes(), 0);
    }

    #[test]
    fn what_is_left_of_a_batch_holds_no_more_than_is_counted() {
        let kept = Kept::default();
        let mut log = Log::new(&Limits::On, 0).counted(&kept);
        log.append(draft(&[("k", &[7; 999][..]); 100]), true, 1_000);
        let all = kept.bytes();
        assert!((100_000..101_000).contains(&all), "{all}");
        let dropped = log.drop_oldest(u64::MAX, 30_000);
        assert!((30..=32).contains(&dropped), "{dropped}");
        assert!(all - kept.bytes() >= 30_000, "{}", kept.bytes());
        assert_eq!(log.first(), 1 + dropped);
        let page = log.read(1, 1_000, 1 << 20, false, 1_000);
        assert_eq!(indices(&page), (1 + dropped..=100).collect::<Vec<_>>());
        assert!(page.records().all(|r| r.encrypted && r.data == [7; 999]));
        // One record that is larger than what is to go, goes.
        let mut log = Log::new(&Limits::On, 0).counted(&kept);
        put(&mut log, "k", &[7; 9_999], 0);
        assert_eq!(log.drop_oldest(0, 10), 1);
    }

    #[test]
    fn memory_stays_near_the_payloads() {
        let kept = Kept::default();
        let mut log = Log::new(&Limits::On, 0).counted(&kept);
        let data = vec![7; 1_024];
        for _ in 0..200 {
            log.append(draft(&[("partition-key", &data[..]); 50]), false, 0);
        }
        let payload = 200 * 50 * 1_024;
        assert!(kept.bytes() * 100 < payload * 103, "{}", kept.bytes());
        assert!(kept.bytes() > payload);
        put(&mut log, "k", b"", 10);
        log.trim(1);
        assert_eq!(log.batches.len(), 1);
        assert!(log.batches.capacity() <= 4 * log.batches.len() + ROOM);
    }
}
