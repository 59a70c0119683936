//! A worker: takes leases, consumes their shards, gives them back at the end.

mod builder;
mod handle;

pub use builder::{BuildError, SchedulerBuilder};
pub use handle::{Handle, Stats};

use crate::coordinator::{Coordinator, Event, RenewalPlace};
use crate::housekeeping;
use crate::lease::LeaseStore;
use crate::lease::held::OwnedLease;
use crate::lease::table_check::Refusal;
use crate::processor::{ProcessorError, ProcessorFactory};
use crate::settings::Options;
use crate::shard_consumer::{Ending, Work, consume};
use crate::stream_shards::{Setup, SetupError};
use runtime::{Chance, Metrics};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The lease table is not one that this version may use.
    #[error(transparent)]
    Refused(Refusal),
    /// Leases could not be set up.
    #[error(transparent)]
    Setup(SetupError),
    /// A processor failed, and the setting `processorErrorPolicy` is STOP.
    #[error("the processor of {shard} failed: {source}")]
    Processor {
        /// The shard.
        shard: String,
        /// What the processor said.
        source: ProcessorError,
    },
    /// The part that takes and renews leases ended by itself: a defect. Leases expire.
    #[error("taking and renewing leases ended unexpectedly")]
    LeaseKeeping,
    /// The thread for the renewals could not be started.
    #[error("the thread for renewals could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What a worker did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Shards that this worker read to their end.
    pub finished: Vec<String>,
    /// Leases that other workers took, or that could not be renewed in time.
    pub lost: u64,
    /// Leases that were given back when the worker was stopped.
    pub released: Vec<String>,
    /// Shards whose processors did not end within `shutdownGraceMillis`.
    pub unfinished: Vec<String>,
}

impl Report {
    /// True when every processor ended by itself.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unfinished.is_empty()
    }
}

/// One worker of an application that reads a stream. Workers of the same application share its shards
/// through the lease table.
///
/// Nothing runs until [`Scheduler::run`].
pub struct Scheduler<F: ProcessorFactory> {
    work: Arc<Work<F>>,
    options: Options,
    setup: Setup,
    /// The store that the coordinator uses: over connections of its own, unless it runs on a task.
    keeper_store: Arc<dyn LeaseStore>,
    place: RenewalPlace,
    chance: Chance,
    metrics: Metrics,
    handle: Handle,
}

impl<F: ProcessorFactory> fmt::Debug for Scheduler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("application", &self.work.application)
            .field("stream", &self.work.reading.stream)
            .field("worker", &self.options.worker)
            .finish_non_exhaustive()
    }
}

impl<F: ProcessorFactory> Scheduler<F> {
    /// Starts the configuration of a worker: the application's name is that of the lease table, too,
    /// unless `tableName` says otherwise.
    pub fn builder(
        application: impl Into<String>,
        stream: impl Into<String>,
        factory: F,
    ) -> SchedulerBuilder<F> {
        SchedulerBuilder::new(application.into(), stream.into(), factory)
    }

    /// A handle to look at the worker while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// This worker's name in the lease table.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        &self.options.worker
    }

    /// Runs the worker until `stop` is cancelled: then processors get `shutdown_requested`, the leases
    /// are given back so that others can take them at once, and everything that was started has ended
    /// when this returns. Passing faults of the services never end it.
    ///
    /// # Errors
    /// When the lease table is refused, leases cannot be set up within `maxInitializationAttempts`, or
    /// a processor failed and the settings say to stop. Leases are given back then, too.
    ///
    /// # Cancellation
    /// Dropping the future stops the worker as a crash would: nothing is given back, other workers take
    /// the leases once the failover time is over.
    pub async fn run(self, stop: CancellationToken) -> Result<Report, SchedulerError> {
        let started = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Report::default()),
            started = self.set_up() => started,
        };
        started?;
        let coordinator = Coordinator::start(
            self.place,
            &self.options,
            Arc::clone(&self.keeper_store),
            &self.chance,
            &self.metrics,
            self.handle.held(),
        )
        .map_err(SchedulerError::Thread)?;
        Running {
            stopping: None,
            options: self.options.clone(),
            failure: None,
            report: Report::default(),
            consumers: JoinSet::new(),
            shards: BTreeMap::new(),
            work: self.work,
            coordinator,
        }
        .run(stop, self.setup, self.chance)
        .await
    }

    async fn set_up(&self) -> Result<(), SchedulerError> {
        let mut attempt = 1;
        loop {
            match self.setup.run().await {
                Ok(()) => return Ok(()),
                Err(SetupError::Refused(refusal)) => return Err(SchedulerError::Refused(refusal)),
                Err(error)
                    if !error.may_pass() || attempt >= self.options.initialization_attempts =>
                {
                    return Err(SchedulerError::Setup(error));
                }
                Err(error) => {
                    tracing::warn!(%error, attempt, "not started yet; trying again");
                    attempt += 1;
                    sleep(self.options.initialization_backoff).await;
                }
            }
        }
    }
}

struct Stopping {
    /// Answered when no more leases will come.
    no_more: Option<oneshot::Receiver<()>>,
    deadline: Instant,
}

/// A worker at work. Dropping it aborts everything.
struct Running<F: ProcessorFactory> {
    // The coordinator goes first: after a drop nothing may be written.
    coordinator: Coordinator,
    consumers: JoinSet<Ending>,
    shards: BTreeMap<Id, String>,
    work: Arc<Work<F>>,
    options: Options,
    stopping: Option<Stopping>,
    failure: Option<SchedulerError>,
    report: Report,
}

impl<F: ProcessorFactory> Running<F> {
    async fn run(
        mut self,
        stop: CancellationToken,
        setup: Setup,
        chance: Chance,
    ) -> Result<Report, SchedulerError> {
        let mut housekeeping = JoinSet::new();
        housekeeping.spawn(housekeeping::run(
            setup,
            self.coordinator.view.clone(),
            chance.fork(),
        ));
        loop {
            if let Some(stopping) = &self.stopping
                && stopping.no_more.is_none()
                && self.consumers.is_empty()
            {
                break;
            }
            let begun = self.stopping.is_some();
            let deadline = self.stopping.as_ref().map(|s| s.deadline);
            let no_more = self.stopping.as_mut().and_then(|s| s.no_more.as_mut());
            tokio::select! {
                biased;
                event = self.coordinator.events.recv() => match event {
                    Some(Event::Held(owned)) => self.begin(*owned),
                    Some(Event::Refused(refusal)) => self.fail(SchedulerError::Refused(refusal)),
                    None => {
                        self.fail(SchedulerError::LeaseKeeping);
                        break;
                    }
                },
                Some(ended) = self.consumers.join_next_with_id() => self.ended(ended),
                Some(refused) = housekeeping.join_next() => {
                    if let Ok(refusal) = refused {
                        self.fail(SchedulerError::Refused(refusal));
                    }
                }
                () = stop.cancelled(), if !begun => {
                    tracing::info!(worker = self.options.worker, "stopping");
                    self.begin_stop();
                }
                () = wait_for(no_more) => {
                    if let Some(stopping) = &mut self.stopping {
                        stopping.no_more = None;
                    }
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
            }
        }
        housekeeping.shutdown().await;
        self.finish().await
    }

    fn begin(&mut self, owned: OwnedLease) {
        let shard = owned.lease.key.clone();
        let task = self.consumers.spawn(consume(Arc::clone(&self.work), owned));
        self.shards.insert(task.id(), shard);
    }

    fn ended(&mut self, ended: Result<(Id, Ending), tokio::task::JoinError>) {
        let (id, ending) = match ended {
            Ok((id, ending)) => (id, Some(ending)),
            Err(error) => {
                tracing::error!(%error, "a consumer failed; its lease is given back");
                (error.id(), None)
            }
        };
        let shard = self.shards.remove(&id).unwrap_or_default();
        match ending {
            Some(Ending::Finished) => {
                self.report.finished.push(shard);
                // Its children wait to be taken.
                self.coordinator.prompt().take_now();
            }
            Some(Ending::Lost) => self.report.lost += 1,
            Some(Ending::Released) => self.report.released.push(shard),
            Some(Ending::Failed(source)) => {
                self.report.released.push(shard.clone());
                self.fail(SchedulerError::Processor { shard, source });
            }
            None => {}
        }
    }

    fn fail(&mut self, error: SchedulerError) {
        tracing::error!(%error, "stopping");
        self.failure.get_or_insert(error);
        self.begin_stop();
    }

    fn begin_stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(Stopping {
                no_more: Some(self.coordinator.stop_taking()),
                deadline: Instant::now() + self.options.shutdown_grace,
            });
            self.work.shutdown.cancel();
        }
    }

    async fn finish(mut self) -> Result<Report, SchedulerError> {
        self.report.unfinished = self.shards.values().cloned().collect();
        if !self.report.unfinished.is_empty() {
            tracing::warn!(shards = ?self.report.unfinished, "processors aborted at the deadline");
            self.consumers.abort_all();
            // A processor that blocks its thread cannot be aborted: it is not waited for, and its lease
            // is not given back while it may still be at work.
            let gone = async { while self.consumers.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(ABORT, gone).await;
            tokio::task::yield_now().await;
        }
        self.coordinator.drain(ABORT).await;
        self.coordinator.stop().await;
        self.report.finished.sort_unstable();
        self.report.released.sort_unstable();
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.report),
        }
    }
}

/// How long aborted tasks are waited for.
const ABORT: Duration = Duration::from_secs(2);

async fn wait_for(answer: Option<&mut oneshot::Receiver<()>>) {
    match answer {
        Some(answer) => {
            let _ = answer.await;
        }
        None => std::future::pending().await,
    }
}
