//! The service's limits per shard and second.

use super::bucket::Bucket;
use crate::options::Limits;

/// 1,000 records written per shard and second.
const WRITE_RECORDS: i64 = 1_000;
/// 1 MiB written per shard and second, partition keys included.
const WRITE_BYTES: i64 = 1 << 20;
/// 2 MiB read per shard and second.
const READ_BYTES: i64 = 2 << 20;
/// Five GetRecords calls, and five GetShardIterator calls, per shard and second.
const CALLS: i64 = 5;

/// One shard's allowances.
#[derive(Debug)]
pub(crate) struct ShardLimits {
    records: Bucket,
    bytes: Bucket,
    reads: Bucket,
    read_bytes: Bucket,
    /// No read before then: after a large page the service refuses until it is paid for.
    reads_resume: u64,
    iterators: Bucket,
    /// The largest record that may borrow from the seconds to come.
    borrow: i64,
}

impl ShardLimits {
    pub(crate) fn new(limits: &Limits, now: u64) -> Self {
        let burst = u64::try_from(limits.burst.as_millis()).unwrap_or(u64::MAX);
        Self {
            records: Bucket::holding(WRITE_RECORDS, burst, now),
            bytes: Bucket::holding(WRITE_BYTES, burst, now),
            reads: Bucket::full(CALLS, now),
            read_bytes: Bucket::full(READ_BYTES, now),
            reads_resume: 0,
            iterators: Bucket::full(CALLS, now),
            borrow: i64::try_from(limits.borrow).unwrap_or(i64::MAX),
        }
    }

    /// Takes one record of `size` bytes, if it fits.
    pub(crate) fn admit_write(&mut self, size: usize, now: u64) -> bool {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.records.refill(now);
        self.bytes.refill(now);
        let may_borrow = size <= self.borrow || !self.bytes.overflows(size);
        let fits = may_borrow && self.records.has(1) && self.bytes.has(size);
        if fits {
            self.records.take(1);
            self.bytes.take(size);
        }
        fits
    }

    /// Takes one GetRecords call, if it may read now.
    pub(crate) fn admit_read(&mut self, now: u64) -> bool {
        self.reads.refill(now);
        self.read_bytes.refill(now);
        let fits = now >= self.reads_resume && self.reads.has(1) && self.read_bytes.has(0);
        if fits {
            self.reads.take(1);
        }
        fits
    }

    /// Books what a read returned.
    pub(crate) fn book_read(&mut self, size: usize, now: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        self.read_bytes.take(size);
        if !self.read_bytes.has(0) {
            let pause = size.saturating_mul(1_000) / READ_BYTES;
            self.reads_resume = now.saturating_add(u64::try_from(pause).unwrap_or(0));
        }
    }

    /// Takes one GetShardIterator call, if it fits.
    pub(crate) fn admit_iterator(&mut self, now: u64) -> bool {
        self.iterators.admit(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_records_a_second() {
        let mut limits = ShardLimits::new(&Limits::On, 0);
        assert_eq!(
            (0..1_500).filter(|_| limits.admit_write(1, 0)).count(),
            1_000
        );
        assert!(!limits.admit_write(1, 0));
        assert_eq!((0..100).filter(|_| limits.admit_write(1, 10)).count(), 10);
        assert_eq!(
            (0..1_500).filter(|_| limits.admit_write(1, 5_000)).count(),
            1_000
        );
    }

    #[test]
    fn a_mebibyte_a_second_and_a_large_record_leaves_a_debt() {
        let mut limits = ShardLimits::new(&Limits::On, 0);
        assert!(limits.admit_write(1 << 20, 0));
        assert!(!limits.admit_write(1, 0));
        assert!(limits.admit_write(1 << 20, 1_000));
        assert!(limits.admit_write(4 << 20, 2_000));
        assert!(!limits.admit_write(1, 4_999));
        assert!(limits.admit_write(1, 5_001));
    }

    #[test]
    fn what_may_be_borrowed_and_saved_up_is_settable() {
        let limits = Limits {
            burst: std::time::Duration::from_secs(3),
            borrow: 4 << 20,
            ..Limits::On
        };
        let mut shard = ShardLimits::new(&limits, 0);
        assert!(!shard.admit_write(5 << 20, 0), "more than may be borrowed");
        assert_eq!((0..9).filter(|_| shard.admit_write(1 << 20, 0)).count(), 3);
        assert!(!shard.admit_write(4 << 20, 2_999));
        assert!(shard.admit_write(4 << 20, 3_000));
        assert!(!shard.admit_write(1, 4_000));
        assert!(shard.admit_write(1, 4_001));
    }

    #[test]
    fn five_reads_a_second() {
        let mut limits = ShardLimits::new(&Limits::On, 0);
        assert_eq!((0..9).filter(|_| limits.admit_read(0)).count(), 5);
        assert!(!limits.admit_read(199));
        assert!(limits.admit_read(200));
        assert_eq!((0..9).filter(|_| limits.admit_iterator(0)).count(), 5);
    }

    #[test]
    fn ten_mebibytes_read_pause_reads_for_five_seconds() {
        let mut limits = ShardLimits::new(&Limits::On, 0);
        assert!(limits.admit_read(0));
        limits.book_read(10 << 20, 0);
        assert!(!limits.admit_read(1));
        assert!(!limits.admit_read(4_999));
        assert!(limits.admit_read(5_000));
        limits.book_read(1 << 20, 5_000);
        assert!(
            limits.admit_read(5_001),
            "half of the second's allowance is left"
        );
        limits.book_read(2 << 20, 5_001);
        assert!(!limits.admit_read(6_000));
        assert!(limits.admit_read(6_001));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut limits = ShardLimits::new(&Limits::On, 10_000);
        while limits.admit_write(1, 10_000) {}
        assert!(!limits.admit_write(1, 0));
        assert!(!limits.admit_write(1, 10_000));
        assert!(limits.admit_write(1, 10_001));
    }
}
