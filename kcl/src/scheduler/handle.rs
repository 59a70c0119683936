//! A look at a worker while it runs.

use crate::coordinator::Holdings;
use crate::prefetch::Budget;
use runtime::Metrics;
use runtime::metrics::Reading;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Looks at a worker. Clones are cheap and outlive it.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) worker: String,
    pub(super) held: Holdings,
    pub(super) metrics: Metrics,
    pub(super) budget: Budget,
}

/// What a worker did since its start. Shards that it lost count on.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Leases held now.
    pub held_leases: usize,
    /// User records that processors took.
    pub records_processed: u64,
    /// Their payload.
    pub bytes_processed: u64,
    /// User records in aggregates that did not come out of them.
    pub user_records_lost: u64,
    /// User records that were skipped after the processor failed on them.
    pub records_skipped: u64,
    /// Calls of processors that failed.
    pub processor_failures: u64,
    /// Leases taken.
    pub leases_taken: u64,
    /// Leases taken because their owner did not renew them.
    pub leases_taken_expired: u64,
    /// Leases lost.
    pub leases_lost: u64,
    /// Calls that were refused because a shard was read too fast.
    pub reads_throttled: u64,
    /// Iterators that expired.
    pub iterators_expired: u64,
    /// Bytes of responses that wait for processors or are being processed.
    pub prefetched_bytes: usize,
    /// How far the slowest of the shards is behind its tip, in milliseconds.
    pub millis_behind_latest: f64,
}

impl Handle {
    /// This worker's name in the lease table.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        &self.worker
    }

    /// The shards whose leases this worker holds, in order.
    #[must_use]
    pub fn held_leases(&self) -> Vec<String> {
        let held = self.held.lock();
        held.iter()
            .filter(|(_, lease)| lease.is_valid())
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// What the worker did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let held: BTreeSet<String> = self.held_leases().into_iter().collect();
        let mut stats = Stats {
            held_leases: held.len(),
            prefetched_bytes: self.budget.used(),
            ..Stats::default()
        };
        for (key, reading) in self.metrics.snapshot() {
            let sum = match reading {
                Reading::Counter(n) => n,
                Reading::Gauge(value) if key.name == "MillisBehindLatest" => {
                    let shard = key.dimensions.iter().find(|(name, _)| *name == "ShardId");
                    if shard.is_some_and(|(_, shard)| held.contains(shard)) {
                        stats.millis_behind_latest = stats.millis_behind_latest.max(value);
                    }
                    continue;
                }
                _ => continue,
            };
            match key.name {
                "RecordsProcessed" => stats.records_processed += sum,
                "DataBytesProcessed" => stats.bytes_processed += sum,
                "UserRecordsLost" => stats.user_records_lost += sum,
                "RecordsSkipped" => stats.records_skipped += sum,
                "ProcessorFailures" => stats.processor_failures += sum,
                "TakenLeases" => stats.leases_taken += sum,
                "ExpiredLeases" => stats.leases_taken_expired += sum,
                "LostLeases" => stats.leases_lost += sum,
                "ThrottledGetRecords" => stats.reads_throttled += sum,
                "ExpiredIterator" => stats.iterators_expired += sum,
                _ => {}
            }
        }
        stats
    }

    pub(super) fn held(&self) -> Holdings {
        Arc::clone(&self.held)
    }
}
