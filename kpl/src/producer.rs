//! The handle that callers hold.

use crate::admission::{Charge, IntakeClosed, NotNow};
use crate::blocking::BlockingProducer;
use crate::builder::ProducerBuilder;
use crate::error::{PutAllError, PutAllReason, PutError};
use crate::receipt::{BatchReceipt, Receipt};
use crate::record::Record;
use crate::shared::{Event, Shared};
use crate::sink::RecordSink;
use crate::stats::Stats;
use aggregation::{HashKey, hash_keys};
use runtime::TaskScope;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long the engine gets to end once it was told to: it waits for nothing by then.
const GRACE: Duration = Duration::from_secs(5);

/// Puts records into a stream. Clones are cheap and share everything; it can be used from any task
/// and any thread.
///
/// Delivery runs on the runtime that the producer was built on. When the last clone is dropped, no
/// more records can come, and those admitted are delivered as long as that runtime lives. What is left
/// when it ends is counted, logged, and resolves as [`DeliveryError::Closed`](crate::DeliveryError).
#[derive(Clone)]
pub struct Producer(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    scope: TaskScope,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close_intake();
    }
}

/// What became of all records that a producer admitted: the three numbers add up to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Delivered.
    pub delivered: u64,
    /// Failed for a reason of their own, during the producer's life.
    pub failed: u64,
    /// Not delivered by the deadline; their receipts resolved as closed.
    pub abandoned: u64,
}

/// What a producer holds. `MaxBufferedRecords` and `MaxBufferedBytes` bound it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outstanding {
    /// User records.
    pub records: usize,
    /// What these are charged: data, partition key and 64 bytes each.
    pub bytes: usize,
}

impl Producer {
    /// Starts building a producer for a stream.
    pub fn builder(stream: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(stream.into())
    }

    pub(crate) fn new(shared: Arc<Shared>, scope: TaskScope) -> Self {
        Self(Arc::new(Handle { shared, scope }))
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.0.shared.stream
    }

    /// Puts a record. Resolves when the record is admitted, which is when there is room for it within
    /// `MaxBufferedBytes` and `MaxBufferedRecords`: waiting here is the back-pressure. Callers are
    /// served in the order of their coming. The receipt resolves when the record is delivered, or
    /// when that has failed for good.
    ///
    /// # Errors
    /// [`PutError`], which gives the record back: the producer is closed, or the record is too large or
    /// has a bad partition key.
    ///
    /// # Cancellation
    /// Safe: a future dropped before it resolves has admitted nothing.
    pub async fn put(&self, record: Record) -> Result<Receipt, PutError> {
        let shared = &self.0.shared;
        if let Some(problem) = shared.problem(&record) {
            return Err(problem.refuse(record));
        }
        let charge = shared.charge(&record);
        match shared.ledger.admission.acquire(charge).await {
            Ok(permit) => Ok(shared.append(&record, permit, Instant::now())),
            Err(IntakeClosed) => Err(PutError::Closed {
                record: Box::new(record),
            }),
        }
    }

    /// Puts a record if there is room for it now. Never waits, and needs no runtime around it. Whoever
    /// waits in [`Producer::put`] goes before.
    ///
    /// # Errors
    /// [`PutError`], which gives the record back: as for [`Producer::put`], and [`PutError::Full`].
    pub fn try_put(&self, record: Record) -> Result<Receipt, PutError> {
        let shared = &self.0.shared;
        if let Some(problem) = shared.problem(&record) {
            return Err(problem.refuse(record));
        }
        match shared.ledger.admission.try_acquire(shared.charge(&record)) {
            Ok(permit) => Ok(shared.append(&record, permit, Instant::now())),
            Err(why) => {
                let record = Box::new(record);
                Err(match why {
                    NotNow::Full => PutError::Full { record },
                    NotNow::Closed => PutError::Closed { record },
                })
            }
        }
    }

    /// A [`Sink`](futures::Sink) of records over this producer.
    pub fn sink(&self) -> RecordSink {
        RecordSink::new(self.clone())
    }

    /// The same producer for code without async, which runs on threads of its own.
    #[must_use]
    pub fn blocking(&self) -> BlockingProducer {
        BlockingProducer::over(self.clone())
    }

    /// What is admitted and not yet resolved.
    #[must_use]
    pub fn outstanding(&self) -> Outstanding {
        let Charge { bytes, records } = self.0.shared.ledger.admission.outstanding();
        Outstanding { records, bytes }
    }

    /// How long ago the oldest record without an outcome was admitted, to within a millisecond; `None`
    /// when there is none. Callers that wait for admission do not count.
    #[must_use]
    pub fn oldest_age(&self) -> Option<Duration> {
        let oldest = self.0.shared.ledger.ages.oldest()?;
        Some(Instant::now().saturating_duration_since(oldest))
    }

    /// Where delivery runs.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.0.shared.runtime
    }

    /// Resolves when delivery has ended, for whatever reason.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.shared.ended.clone().cancelled_owned()
    }

    /// Puts many records with one admission and one receipt: the fast way. The batch is admitted as a
    /// whole, unless it is larger than a quarter of a bound: then it goes in parts, in its order.
    ///
    /// # Errors
    /// [`PutAllError`], which gives back what was not admitted: everything, if any record is too large
    /// or has a bad partition key.
    ///
    /// # Cancellation
    /// A future dropped before it resolves has admitted nothing, or of a batch that goes in parts those
    /// that came first.
    pub fn put_all(
        &self,
        records: impl IntoIterator<Item = Record>,
    ) -> impl Future<Output = Result<BatchReceipt, PutAllError>> + Send {
        let records: Vec<Record> = records.into_iter().collect();
        let shared = Arc::clone(&self.0.shared);
        async move { put_all(&shared, records).await }
    }

    /// Waits until every record that was put before is resolved, those of callers that still wait for
    /// admission included. They are sent at once. Records put meanwhile are not waited for.
    ///
    /// # Cancellation
    /// Safe: what was put is sent all the same.
    pub async fn flush(&self) {
        let shared = &self.0.shared;
        let epoch = shared.ledger.admission.end_epoch();
        shared.tell(Event::Flush);
        shared.ledger.admission.passed(epoch).await;
    }

    /// Stops intake, delivers what was admitted until `deadline` from now, then resolves what is left
    /// as closed. Callers that wait for admission are turned away. After it nothing of the producer
    /// runs; calling it again, or on another clone, gives the same report.
    ///
    /// # Cancellation
    /// A dropped future leaves intake closed, and delivery goes on.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let Handle { shared, scope } = &*self.0;
        shared.close_intake();
        // Passed or not, the engine ends now; it waits for nothing when nothing is outstanding.
        let drained = timeout(deadline, shared.ledger.admission.idle()).await;
        tracing::debug!(stream = %shared.stream, drained = drained.is_ok(), "closing");
        scope.shutdown(GRACE).await;
        let stats = self.stats();
        CloseReport {
            delivered: stats.delivered,
            failed: stats.failed,
            abandoned: stats.abandoned,
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.shared.ledger.stats()
    }

    /// True once no more records are admitted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.shared.ledger.admission.is_closed()
    }

    /// How many tasks of the producer run: 1, and 0 after its end.
    #[must_use]
    pub fn running_tasks(&self) -> usize {
        self.0.scope.running()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stream", &self.stream())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

async fn put_all(shared: &Shared, mut records: Vec<Record>) -> Result<BatchReceipt, PutAllError> {
    let unacceptable = records
        .iter()
        .position(|record| shared.problem(record).is_some());
    if let Some(index) = unacceptable {
        let reason = PutAllReason::Unacceptable { index };
        return Err(PutAllError {
            reason,
            records,
            admitted: None,
        });
    }
    let mut keys = Vec::with_capacity(records.len());
    all_hash_keys(&records, &mut keys);
    let mut receipt = BatchReceipt::default();
    let bound = shared.ledger.admission.bound();
    let part = Charge {
        bytes: bound.bytes / 4,
        records: (bound.records / 4).max(1),
    };
    let mut done = 0;
    while let Some(rest) = records.get(done..).filter(|rest| !rest.is_empty()) {
        let (count, charge) = first_part(rest, part, shared.keep_records);
        let Ok(permit) = shared.ledger.admission.acquire(charge).await else {
            let admitted = (done > 0).then(|| Box::new(receipt));
            records.drain(..done);
            return Err(PutAllError {
                reason: PutAllReason::Closed,
                records,
                admitted,
            });
        };
        let now = Instant::now();
        let (rest, keys) = (rest.get(..count), keys.get(done..));
        if let (Some(part), Some(keys)) = (rest, keys) {
            shared.append_all(part, keys, permit, now, done, &mut receipt);
        }
        done += count;
    }
    Ok(receipt)
}

/// How many of the first records go together, and what they cost: as many as the bound allows, at
/// least one.
fn first_part(records: &[Record], bound: Charge, kept: bool) -> (usize, Charge) {
    let mut charge = Charge::default();
    let mut count = 0;
    for record in records {
        let bytes = charge.bytes + record.cost(kept);
        if count > 0 && (bytes > bound.bytes || count + 1 > bound.records) {
            break;
        }
        count += 1;
        charge = Charge {
            bytes,
            records: count,
        };
    }
    (count, charge)
}

/// The hash key of each record; partition keys are hashed together.
fn all_hash_keys(records: &[Record], out: &mut Vec<HashKey>) {
    let hashed: Vec<&str> = records
        .iter()
        .filter(|record| record.explicit_hash_key.is_none())
        .map(|record| record.partition_key.as_str())
        .collect();
    if hashed.len() == records.len() {
        hash_keys(&hashed, out);
        return;
    }
    let mut hashes = Vec::with_capacity(hashed.len());
    hash_keys(&hashed, &mut hashes);
    let mut hashes = hashes.into_iter();
    let key = |record: &Record| record.explicit_hash_key.or_else(|| hashes.next());
    out.extend(records.iter().filter_map(key));
    debug_assert_eq!(out.len(), records.len(), "each record has a hash key");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_hash_keys_stand_between_hashed_ones() {
        let plain = |key: &str| Record::new(key, "x");
        let table = [
            vec![plain("a"), plain("b")],
            vec![plain("a"), plain("b").explicit_hash_key(7u128), plain("pk")],
            vec![plain("a").explicit_hash_key(1u128)],
            Vec::new(),
        ];
        for records in table {
            let mut keys = Vec::new();
            all_hash_keys(&records, &mut keys);
            assert_eq!(
                keys,
                records.iter().map(Record::hash_key).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn parts_stay_within_the_bound_and_hold_at_least_one_record() {
        let records: Vec<Record> = (0..5).map(|_| Record::new("k", vec![0; 35])).collect();
        let cost = records[0].cost(false);
        assert_eq!(cost, 100);
        for (bytes, count, expected) in [(250, 9, 2), (1_000, 3, 3), (10, 9, 1), (1_000, 9, 5)] {
            let (taken, charge) = first_part(
                &records,
                Charge {
                    bytes,
                    records: count,
                },
                false,
            );
            assert_eq!(
                (taken, charge.bytes, charge.records),
                (expected, expected * cost, expected)
            );
        }
    }
}
