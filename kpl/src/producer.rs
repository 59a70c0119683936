//! The handle that callers hold.

use crate::admission::{Charge, IntakeClosed, NotNow};
use crate::batch;
use crate::blocking::BlockingProducer;
use crate::builder::ProducerBuilder;
use crate::cloudwatch::{self, Upload};
use crate::error::{PutAllError, PutError};
use crate::events::ProducerEvents;
use crate::receipt::{BatchReceipt, Receipt};
use crate::record::Record;
use crate::shared::{Event, Shared};
use crate::sink::RecordSink;
use crate::spool::SpoolDamage;
use crate::stats::Stats;
use aws::cloudwatch::UploadStats;
use runtime::TaskScope;
use runtime::metrics::{Point, Window, WindowTooLong};
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
    upload: Option<Upload>,
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
    /// Starts building a producer for a stream, given by its name or by its ARN, which may be another
    /// account's.
    pub fn builder(stream: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(stream.into())
    }

    pub(crate) fn new(shared: Arc<Shared>, scope: TaskScope, upload: Option<Upload>) -> Self {
        Self(Arc::new(Handle {
            shared,
            scope,
            upload,
        }))
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.0.shared.stream
    }

    /// Puts a record. Resolves when the record is admitted, which is when there is room for it within
    /// `MaxBufferedBytes` and `MaxBufferedRecords`, and within the share of them that its shard may take
    /// (`MaxBufferedPerShard`): waiting here is the back-pressure. Callers are served in the order of
    /// their coming, but those who wait for a shard at its bound do not hold up the others. Now and then
    /// (each 256 KiB) it lets the other tasks of its thread go on first, so that a loop of puts does not
    /// keep them from being sent. The receipt resolves when the record is delivered, or when that has
    /// failed for good.
    ///
    /// # Errors
    /// [`PutError`], which gives the record back: the producer is closed, or the record is too large or
    /// has a bad partition key, or it could not be written to the spool.
    ///
    /// # Cancellation
    /// Safe: a future dropped before it resolves has admitted nothing.
    pub async fn put(&self, record: Record) -> Result<Receipt, PutError> {
        let shared = &self.0.shared;
        if shared.preparation.is_idle() && shared.ledger.spool.get().is_none() {
            return shared.put(record).await;
        }
        let (record, original) = shared.preparation.one(&shared.stream, record)?;
        let put = self.put_prepared(record).await;
        put.map_err(|refused| refused.giving_back(original))
    }

    async fn put_prepared(&self, record: Record) -> Result<Receipt, PutError> {
        let shared = &self.0.shared;
        if shared.ledger.spool.get().is_none() {
            return shared.put(record).await;
        }
        if let Some(problem) = shared.problem(&record) {
            return Err(problem.refuse(record));
        }
        let mut spooled = match shared.spool(std::slice::from_ref(&record)).await {
            Ok(spooled) => spooled,
            Err(source) => {
                let record = Box::new(record);
                return Err(PutError::Spool { source, record });
            }
        };
        let put = shared.put_in_turn(&record, spooled.first()).await;
        if put.is_ok() {
            spooled.admitted(1);
        }
        put.map_err(|IntakeClosed| PutError::Closed {
            record: Box::new(record),
        })
    }

    /// Puts a record if there is room for it now. Never waits, and needs no runtime around it. Whoever
    /// waits in [`Producer::put`] goes before.
    ///
    /// # Errors
    /// [`PutError`], which gives the record back: as for [`Producer::put`], and [`PutError::Full`]. With
    /// a spool it is always [`PutError::Spooled`], because a write to disk has to be waited for.
    pub fn try_put(&self, record: Record) -> Result<Receipt, PutError> {
        let shared = &self.0.shared;
        let (record, original) = shared.preparation.one(&shared.stream, record)?;
        let put = self.try_put_prepared(record);
        put.map_err(|refused| refused.giving_back(original))
    }

    fn try_put_prepared(&self, record: Record) -> Result<Receipt, PutError> {
        let shared = &self.0.shared;
        if let Some(problem) = shared.problem(&record) {
            return Err(problem.refuse(record));
        }
        if shared.ledger.spool.get().is_some() {
            let record = Box::new(record);
            return Err(PutError::Spooled { record });
        }
        shared.put_now(&record, None).map_err(|(why, _)| {
            let record = Box::new(record);
            match why {
                NotNow::Full => PutError::Full { record },
                NotNow::Closed => PutError::Closed { record },
            }
        })
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
    /// whole, unless it is larger than a quarter of a bound, or than what one shard may take: then it goes
    /// in parts, in its order. It lets other tasks go on as [`Producer::put`] does.
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
        async move { batch::put_all(&shared, records).await }
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
    /// as closed. Callers that wait for admission are turned away. What is left of the time goes to a last
    /// upload of metrics, where they are uploaded. After it nothing of the producer
    /// runs; calling it again, or on another clone, gives the same report.
    ///
    /// # Cancellation
    /// A dropped future leaves intake closed, and delivery goes on.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let Handle {
            shared,
            scope,
            upload,
        } = &*self.0;
        let until = Instant::now().checked_add(deadline);
        shared.close_intake();
        // Passed or not, the engine ends now; it waits for nothing when nothing is outstanding.
        let drained = timeout(deadline, shared.ledger.admission.idle()).await;
        tracing::debug!(stream = %shared.stream, drained = drained.is_ok(), "closing");
        scope.shutdown(GRACE).await;
        if let Some(upload) = upload {
            upload.finish(until).await;
        }
        let stats = self.stats();
        CloseReport {
            delivered: stats.delivered,
            failed: stats.failed,
            abandoned: stats.abandoned,
        }
    }

    pub(crate) fn close_intake(&self) {
        self.0.shared.close_intake();
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.shared.ledger.stats()
    }

    /// What was found torn at the ends of the spool's files when the producer was built, and was cut off:
    /// records that a crash cut short before they were admitted, or a disk that lost what it had
    /// confirmed.
    #[must_use]
    pub fn spool_damage(&self) -> &[SpoolDamage] {
        &self.0.shared.spool_damage
    }

    /// True once no more records are admitted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.shared.ledger.admission.is_closed()
    }

    /// How many tasks of the producer run: 1, with a spool up to 3, one more that uploads metrics where they
    /// are uploaded, and 0 after its end.
    #[must_use]
    pub fn running_tasks(&self) -> usize {
        self.0.scope.running() + self.0.upload.as_ref().map_or(0, Upload::running)
    }

    /// What was measured of the stream: of the metric of this name, or of all; during the last seconds, or
    /// since the start; at every place (all streams, the stream, its shards), whatever `MetricsLevel` and
    /// `MetricsGranularity` say. See [`metrics`](crate::metrics) for the names. Uploads take nothing away
    /// from it. The Kinesis Producer Library's calls are:
    ///
    /// | There | Here |
    /// | --- | --- |
    /// | `getMetrics(name, seconds)` | `metrics(Some(name), Window::Last(seconds))` |
    /// | `getMetrics(name)` | `metrics(Some(name), Window::SinceStart)` |
    /// | `getMetrics(seconds)` | `metrics(None, Window::Last(seconds))` |
    /// | `getMetrics()` | `metrics(None, Window::SinceStart)` |
    /// | `getDimensions`, `getSum`, … | [`Point::dimensions`], [`Statistics`](crate::metrics::Statistics) |
    ///
    /// A counter since the start has all that is in its set, also from before this producer.
    ///
    /// # Errors
    /// When the window is longer than what is kept: 60 s, unless the
    /// [`ProducerBuilder::metrics`] that were given keep more.
    pub fn metrics(&self, name: Option<&str>, window: Window) -> Result<Vec<Point>, WindowTooLong> {
        let shared = &self.0.shared;
        let mut view = cloudwatch::view(&shared.stream, &shared.dimensions);
        if let Some(name) = name {
            view = view.with_name(name);
        }
        shared.ledger.meters.set().query(&view, window)
    }

    /// What the upload of metrics to CloudWatch did so far, in data of a metric and a minute; `None` where
    /// there is none.
    #[must_use]
    pub fn upload_stats(&self) -> Option<UploadStats> {
        self.0.upload.as_ref().map(Upload::stats)
    }

    /// What happens from now on, beside the outcomes of records, for whoever wants to watch: see
    /// [`ProducerEvents`].
    pub fn events(&self) -> ProducerEvents {
        self.0.shared.listeners.listen()
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
