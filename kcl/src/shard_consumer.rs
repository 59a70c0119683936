//! One shard from its lease to its end: wait for the parents, initialise, process, finish.

use crate::checkpointer::{CheckpointError, Checkpointer, ShardEnd};
use crate::deaggregation::unpack;
use crate::lease::held::{HeldLease, OwnedLease};
use crate::lease::{LeaseStore, ShardInfo, StoreError};
use crate::position::Position;
use crate::processor::{
    Initialization, ProcessorError, ProcessorFactory, RecordProcessor, ShardContext,
};
use crate::record::Batch;
use crate::retrieval::polling::{Fetched, Poller, Reading};
use crate::settings::ErrorPolicy;
use crate::shard_sync::child_leases;
use aggregation::HashRange;
use futures::FutureExt;
use runtime::metrics::{Counter, Gauge};
use runtime::{Backoff, Chance, Metrics, RetryPolicy};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The longest pause between two calls of a processor that fails.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// What all consumers of a worker share.
pub(crate) struct Work<F> {
    pub(crate) factory: F,
    pub(crate) application: String,
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) reading: Reading,
    pub(crate) max_pending: usize,
    pub(crate) parent_poll: Duration,
    pub(crate) task_backoff: Duration,
    pub(crate) error_policy: ErrorPolicy,
    pub(crate) call_on_empty: bool,
    pub(crate) hash_range_filter: bool,
    pub(crate) chance: Chance,
    pub(crate) metrics: Metrics,
    /// Told when a shard was finished on this worker: wakes children that wait. (Not a `watch`, which
    /// wakes its waiters in random order.)
    pub(crate) finished: Notify,
    /// The worker is being stopped.
    pub(crate) shutdown: CancellationToken,
}

/// How a consumer ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The shard was read to its end.
    Finished,
    /// The lease was lost.
    Lost,
    /// The worker is being stopped; the lease was given back.
    Released,
    /// The processor failed, and the settings say to stop.
    Failed(ProcessorError),
}

/// Why a consumer leaves what it is doing.
enum Leave {
    Lost,
    Shutdown,
    Failed(ProcessorError),
    /// The processor cannot be used any more; a new one begins at the last checkpoint.
    Restart,
}

/// A call of the processor that did not succeed.
enum Failure {
    Error(ProcessorError),
    Panic(String),
}

struct Consumer<F: ProcessorFactory> {
    work: Arc<Work<F>>,
    held: HeldLease,
    context: ShardContext,
    range: Option<HashRange>,
    meters: Meters,
}

struct Meters {
    records: Counter,
    bytes: Counter,
    lost: Counter,
    unreadable: Counter,
    skipped: Counter,
    failures: Counter,
    behind: Gauge,
}

impl Meters {
    fn new(metrics: &Metrics, shard: &str) -> Self {
        let shard = [("ShardId", shard)];
        Self {
            records: metrics.counter("RecordsProcessed", &shard),
            bytes: metrics.counter("DataBytesProcessed", &shard),
            lost: metrics.counter("UserRecordsLost", &shard),
            unreadable: metrics.counter("RecordsUnreadable", &shard),
            skipped: metrics.counter("RecordsSkipped", &shard),
            failures: metrics.counter("ProcessorFailures", &shard),
            behind: metrics.gauge("MillisBehindLatest", &shard),
        }
    }
}

/// Consumes the shard of a lease until it ends, is lost, or the worker is stopped.
pub(crate) async fn consume<F: ProcessorFactory>(work: Arc<Work<F>>, owned: OwnedLease) -> Ending {
    let shard = owned.lease.key.clone();
    let consumer = Consumer {
        context: ShardContext {
            application: work.application.clone(),
            stream: work.reading.stream.clone(),
            shard_id: shard.clone(),
        },
        range: owned.lease.hash_range.filter(|_| work.hash_range_filter),
        meters: Meters::new(&work.metrics, &shard),
        held: owned.held.clone(),
        work,
    };
    let ending = consumer.run(&owned).await;
    tracing::info!(shard, ?ending, "consumer ended");
    if !matches!(ending, Ending::Lost) {
        consumer.held.release().await;
    }
    ending
}

impl<F: ProcessorFactory> Consumer<F> {
    async fn run(&self, owned: &OwnedLease) -> Ending {
        if self.held.checkpoint().is_shard_end() {
            return Ending::Finished;
        }
        match self.wait_for_parents(owned).await {
            Ok(()) => {}
            Err(Leave::Shutdown) => return Ending::Released,
            Err(_) => return Ending::Lost,
        }
        let mut backoff = self.backoff();
        loop {
            let mut processor = self.work.factory.create(&self.context);
            match self.life(&mut processor, owned).await {
                Ok(()) => return Ending::Finished,
                Err(Leave::Restart) => {
                    if let Err(leave) = self.pause(&mut backoff).await {
                        return self.ended(leave);
                    }
                }
                Err(Leave::Lost) => {
                    if let Err(failure) = self
                        .call(async {
                            processor.lease_lost().await;
                            Ok(())
                        })
                        .await
                    {
                        self.report("lease_lost", &failure);
                    }
                    return Ending::Lost;
                }
                Err(Leave::Shutdown) => {
                    return Ending::Released;
                }
                Err(Leave::Failed(error)) => return Ending::Failed(error),
            }
        }
    }

    fn ended(&self, leave: Leave) -> Ending {
        match leave {
            Leave::Shutdown => Ending::Released,
            Leave::Failed(error) => Ending::Failed(error),
            Leave::Lost | Leave::Restart => Ending::Lost,
        }
    }

    fn backoff(&self) -> Backoff {
        RetryPolicy::unbounded(self.work.task_backoff, LONGEST_BACKOFF).start(&self.work.chance)
    }

    /// Waits; ends early when the lease is lost or the worker is stopped.
    async fn pause(&self, backoff: &mut Backoff) -> Result<(), Leave> {
        let delay = backoff.next_delay().unwrap_or(LONGEST_BACKOFF);
        self.wait(sleep(delay)).await
    }

    async fn wait<T>(&self, what: impl Future<Output = T>) -> Result<T, Leave> {
        tokio::select! {
            biased;
            () = self.held.over() => Err(Leave::Lost),
            () = self.work.shutdown.cancelled() => Err(Leave::Shutdown),
            done = what => Ok(done),
        }
    }

    /// A parent is complete when it was read to its end, or has no lease (any more).
    async fn wait_for_parents(&self, owned: &OwnedLease) -> Result<(), Leave> {
        for parent in &owned.lease.parents {
            loop {
                // Listens before it looks, so that no end is missed between the two.
                let mut finished = std::pin::pin!(self.work.finished.notified());
                finished.as_mut().enable();
                match self.wait(self.work.store.get(parent)).await? {
                    Ok(None) => break,
                    Ok(Some(lease)) if lease.is_finished() => break,
                    Ok(Some(_)) => {
                        tracing::debug!(
                            shard = self.context.shard_id,
                            parent,
                            "waiting for the parent"
                        );
                    }
                    Err(error) => {
                        tracing::warn!(shard = self.context.shard_id, parent, %error, "parent not looked up");
                    }
                }
                self.wait(async {
                    tokio::select! {
                        biased;
                        () = finished => {}
                        () = sleep(self.work.parent_poll) => {}
                    }
                })
                .await?;
            }
        }
        Ok(())
    }

    /// One processor's life.
    async fn life(&self, processor: &mut F::Processor, owned: &OwnedLease) -> Result<(), Leave> {
        let start = self.held.checkpoint();
        let at = Initialization {
            shard_id: self.context.shard_id.clone(),
            checkpoint: start.clone(),
            pending: owned.lease.pending.clone(),
        };
        let mut backoff = self.backoff();
        while let Err(failure) = self.call(processor.initialize(&at)).await {
            self.report("initialize", &failure);
            self.stop_if_asked(failure)?;
            self.pause(&mut backoff).await?;
        }
        let checkpointer = Checkpointer::new(self.held.clone(), start.clone());
        let (out, mut fetched) = mpsc::channel(self.work.max_pending.max(1));
        let mut reader = JoinSet::new();
        let reading = self.work.reading.clone();
        let shard = self.context.shard_id.clone();
        reader.spawn(Poller::new(reading, shard, start.clone(), out).run());
        let children = loop {
            let next = match self.wait(fetched.recv()).await {
                Ok(next) => next,
                Err(Leave::Shutdown) => return self.shutdown(processor, &checkpointer).await,
                Err(leave) => return Err(leave),
            };
            let Some(batch) = next else {
                // The reader is gone without an end: it panicked.
                return Err(Leave::Restart);
            };
            match self.deliver(processor, &checkpointer, &batch, &start).await {
                Ok(()) => {}
                Err(Leave::Shutdown) => return self.shutdown(processor, &checkpointer).await,
                Err(leave) => return Err(leave),
            }
            if let Some(children) = batch.children {
                break children;
            }
        };
        match self.shard_end(processor, &checkpointer, &children).await {
            Err(Leave::Shutdown) => self.shutdown(processor, &checkpointer).await,
            ended => ended,
        }
    }

    async fn deliver(
        &self,
        processor: &mut F::Processor,
        checkpointer: &Checkpointer,
        fetched: &Fetched,
        start: &Position,
    ) -> Result<(), Leave> {
        if let Some(behind) = fetched.millis_behind_latest {
            #[expect(clippy::cast_precision_loss, reason = "a measurement")]
            self.meters.behind.set(behind as f64);
        }
        let mut backoff = self.backoff();
        let mut first = true;
        let before = checkpointer.permitted();
        loop {
            // Unpacked anew for each attempt: a clone of every batch would cost more than the rare
            // repetition.
            let shard = &self.context.shard_id;
            // What is checkpointed was processed: also the head of a batch that failed later on.
            let after = self.held.checkpoint().max(start.clone());
            let unpacked = unpack(shard, &fetched.records, self.range, &after);
            if first {
                self.meters.lost.add(unpacked.lost);
                self.meters.unreadable.add(unpacked.unreadable);
                first = false;
            }
            if let Some(last) = unpacked.last {
                checkpointer.permit(last);
            }
            if unpacked.records.is_empty() && !self.work.call_on_empty {
                return Ok(());
            }
            let count = u64::try_from(unpacked.records.len()).unwrap_or(u64::MAX);
            let bytes: usize = unpacked.records.iter().map(|r| r.data.len()).sum();
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let batch = Batch {
                records: unpacked.records,
                millis_behind_latest: fetched.millis_behind_latest,
            };
            // Others may own the shard by now, even if this worker has not been told.
            if !self.held.is_valid() {
                return Err(Leave::Lost);
            }
            match self.call(processor.process(batch, checkpointer)).await {
                Ok(()) => {
                    self.meters.records.add(count);
                    self.meters.bytes.add(bytes);
                    self.held.add_delivered(bytes);
                    return Ok(());
                }
                Err(failure) => {
                    self.report("process", &failure);
                    if !self.held.is_valid() {
                        return Err(Leave::Lost);
                    }
                    if self.work.error_policy == ErrorPolicy::Skip {
                        self.meters.skipped.add(count);
                        tracing::error!(
                            shard,
                            records = count,
                            "batch skipped, as the settings say"
                        );
                        return Ok(());
                    }
                    checkpointer.retract(before.clone());
                    self.stop_if_asked(failure)?;
                    self.pause(&mut backoff).await?;
                }
            }
        }
    }

    /// Calls the processor; a panic counts as a failure.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, ProcessorError>>,
    ) -> Result<T, Failure> {
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::Error(error)),
            Err(panic) => Err(Failure::Panic(panic_text(&*panic))),
        }
    }

    fn report(&self, call: &str, failure: &Failure) {
        self.meters.failures.add(1);
        let shard = &self.context.shard_id;
        match failure {
            Failure::Error(error) => tracing::error!(shard, call, %error, "the processor failed"),
            Failure::Panic(text) => {
                tracing::error!(shard, call, panic = text, "the processor panicked")
            }
        }
    }

    /// An error may pass; a processor that panicked may have lost its wits.
    fn stop_if_asked(&self, failure: Failure) -> Result<(), Leave> {
        match (self.work.error_policy, failure) {
            (ErrorPolicy::Stop, Failure::Error(error)) => Err(Leave::Failed(error)),
            (ErrorPolicy::Stop, Failure::Panic(text)) => Err(Leave::Failed(
                format!("the processor panicked: {text}").into(),
            )),
            (ErrorPolicy::Retry, Failure::Panic(_)) => Err(Leave::Restart),
            (ErrorPolicy::Retry | ErrorPolicy::Skip, _) => Ok(()),
        }
    }

    async fn shutdown(
        &self,
        processor: &mut F::Processor,
        checkpointer: &Checkpointer,
    ) -> Result<(), Leave> {
        if let Err(failure) = self.call(processor.shutdown_requested(checkpointer)).await {
            self.report("shutdown_requested", &failure);
        }
        Err(Leave::Shutdown)
    }

    /// The children's leases first, then the processor's last word, which writes SHARD_END: a child can
    /// never be missing once its parent counts as finished.
    async fn shard_end(
        &self,
        processor: &mut F::Processor,
        checkpointer: &Checkpointer,
        children: &[ShardInfo],
    ) -> Result<(), Leave> {
        let mut backoff = self.backoff();
        loop {
            match self.wait(self.create_children(children)).await? {
                Ok(true) => break,
                Ok(false) => tracing::warn!(
                    shard = self.context.shard_id,
                    "the other parent of a merged shard has no lease; waiting for it"
                ),
                Err(error) => {
                    tracing::warn!(shard = self.context.shard_id, %error, "children's leases not made; trying again");
                }
            }
            self.pause(&mut backoff).await?;
        }
        let mut backoff = self.backoff();
        loop {
            if !self.held.is_valid() {
                return Err(Leave::Lost);
            }
            checkpointer.permit(Position::SHARD_END);
            let end = ShardEnd::new(checkpointer.clone());
            match self.call(processor.shard_ended(end)).await {
                Ok(finished) if finished.shard_id == self.context.shard_id => break,
                Ok(_) => tracing::error!(
                    shard = self.context.shard_id,
                    "the processor showed the end of another shard"
                ),
                Err(failure) => {
                    self.report("shard_ended", &failure);
                    if let Failure::Error(error) = &failure
                        && let Some(CheckpointError::LeaseLost) = error.downcast_ref()
                    {
                        return Err(Leave::Lost);
                    }
                    self.stop_if_asked(failure)?;
                }
            }
            self.pause(&mut backoff).await?;
        }
        self.work.finished.notify_waiters();
        Ok(())
    }

    /// False when a merged shard cannot be begun: its other parent has no lease, so that nobody would
    /// read that before.
    async fn create_children(&self, children: &[ShardInfo]) -> Result<bool, StoreError> {
        if children.is_empty() {
            return Ok(true);
        }
        let store = &self.work.store;
        if let [child] = children
            && store.get(&child.id).await?.is_none()
        {
            for parent in &child.parents {
                if *parent != self.context.shard_id && store.get(parent).await?.is_none() {
                    return Ok(false);
                }
            }
        }
        for lease in child_leases(children) {
            if store.create(&lease).await? {
                tracing::info!(shard = lease.key, parents = ?lease.parents, "lease made for a child");
            }
        }
        let ids = children.iter().map(|child| child.id.clone()).collect();
        self.held.set_children(ids).await.unwrap_or(Ok(()))?;
        Ok(true)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
