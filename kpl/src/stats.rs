//! What happened so far: the ledger that every claim is settled in, and the metrics.

use crate::admission::{Admission, Charge};
use crate::ages::Ages;
use crate::error::DeliveryError;
use crate::meters::{End, Ended, Meters};
use crate::quiet::Quiet;
use crate::shelf::Shelf;
use crate::slot::Verdict;
use crate::spool::Spool;
use parking_lot::Mutex;
use runtime::{Counter, Metrics};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;

/// What a producer did so far. `admitted` = `delivered` + `failed` + `abandoned` +
/// `outstanding_records`, but for records that change from one to another during the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// User records admitted.
    pub admitted: u64,
    /// User records delivered.
    pub delivered: u64,
    /// User records that failed for another reason than the producer's end.
    pub failed: u64,
    /// User records without an outcome when the producer or its runtime ended.
    pub abandoned: u64,
    /// User records that were tried again, each time counted.
    pub retried: u64,
    /// User records admitted and not yet resolved.
    pub outstanding_records: usize,
    /// What these are charged against the bound of bytes.
    pub outstanding_bytes: usize,
    /// Callers that wait for admission.
    pub waiting: usize,
    /// `PutRecords` requests sent.
    pub requests: u64,
    /// Kinesis records sent, each time counted.
    pub kinesis_records: u64,
    /// Bytes of data and partition keys sent, each time counted.
    pub bytes: u64,
    /// Times that the list of shards was fetched, the first included.
    pub shard_maps: u64,
    /// User records that an earlier producer had spooled and not delivered: they were admitted again.
    pub recovered: u64,
}

/// Where admissions, outcomes and requests are counted.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) admission: Admission,
    pub(crate) ages: Ages,
    pub(crate) meters: Meters,
    /// Of aggregates that were sent.
    pub(crate) shelf: Shelf,
    /// Where admitted records are kept until they are resolved, if they are.
    pub(crate) spool: OnceLock<Spool>,
    stream: String,
    delivered: Counter,
    failed: Counter,
    abandoned: Counter,
    warnings: Mutex<Quiet>,
}

impl Ledger {
    /// `percent` of the bound is what one shard may take.
    pub(crate) fn new(bound: Charge, percent: usize, metrics: &Metrics, stream: &str) -> Self {
        Self {
            admission: Admission::new(bound, percent),
            ages: Ages::default(),
            meters: Meters::new(metrics, stream),
            shelf: Shelf::default(),
            spool: OnceLock::new(),
            stream: stream.to_owned(),
            delivered: Counter::default(),
            failed: Counter::default(),
            abandoned: Counter::default(),
            warnings: Mutex::default(),
        }
    }

    /// Counts the outcome of `records` records. Called once for each, with its resolution. `earlier`:
    /// for each record that was in another aggregate before, the attempts there.
    pub(crate) fn settled(&self, records: u64, earlier: &[u64], verdict: &Verdict) {
        let (shard, attempts, outcome) = match verdict {
            Verdict::Delivered {
                shard_id, attempts, ..
            } => (Some(shard_id), attempts.count(), End::Delivered),
            Verdict::Failed { error, shard, .. } => {
                let expired = matches!(error, DeliveryError::Expired { .. });
                let outcome = if expired { End::Expired } else { End::Failed };
                (shard.as_ref(), error.attempts().count(), outcome)
            }
        };
        self.meters.ended(&Ended {
            shard,
            records,
            attempts,
            earlier,
            outcome,
        });
        match verdict {
            Verdict::Delivered { .. } => self.delivered.add(records),
            Verdict::Failed {
                error: DeliveryError::Closed { .. },
                ..
            } => self.abandoned.add(records),
            Verdict::Failed { error, .. } => {
                self.failed.add(records);
                self.warn(records, error);
            }
        }
    }

    /// What was spooled need not be sent after a restart, unless it has no outcome of its own.
    pub(crate) fn spooled_settled(&self, numbers: Vec<Range<u64>>, verdict: &Verdict) {
        let closed = matches!(
            verdict,
            Verdict::Failed {
                error: DeliveryError::Closed { .. },
                ..
            }
        );
        if let Some(spool) = self.spool.get()
            && !closed
        {
            spool.resolved(numbers);
        }
    }

    fn warn(&self, records: u64, error: &DeliveryError) {
        let passed = self.warnings.lock().pass(records, Instant::now());
        let Some(records) = passed else { return };
        tracing::warn!(stream = self.stream, records, %error, "records failed");
    }

    pub(crate) fn stats(&self) -> Stats {
        let outstanding = self.admission.outstanding();
        Stats {
            admitted: self.admission.admitted(),
            delivered: self.delivered.value(),
            failed: self.failed.value(),
            abandoned: self.abandoned.value(),
            retried: self.meters.retried.value(),
            outstanding_records: outstanding.records,
            outstanding_bytes: outstanding.bytes,
            waiting: self.admission.waiting(),
            requests: self.meters.requests.value(),
            kinesis_records: self.meters.kinesis_records_sent.value(),
            bytes: self.meters.bytes_sent.value(),
            shard_maps: self.meters.shard_maps.value(),
            recovered: self.meters.recovered.value(),
        }
    }

    pub(crate) fn shared(
        bound: Charge,
        percent: usize,
        metrics: &Metrics,
        stream: &str,
    ) -> Arc<Self> {
        Arc::new(Self::new(bound, percent, metrics, stream))
    }
}
