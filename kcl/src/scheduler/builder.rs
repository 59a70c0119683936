//! The configuration of a worker.

use super::{Handle, Scheduler};
use crate::coordinator::RenewalPlace;
use crate::lease::{DynamoDbLeases, LeaseStore};
use crate::position::InitialPosition;
use crate::prefetch::Budget;
use crate::processor::ProcessorFactory;
use crate::retrieval::polling::Reading;
use crate::settings::{Options, REGISTRY};
use crate::shard_consumer::Work;
use crate::stream_shards::Setup;
use aws::{ErrorKind, Timeouts};
use runtime::{Chance, Metrics, RetryPolicy, Settings, SettingsError};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings that are unknown or impossible: all of them.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// No region, no valid endpoint, …
    #[error(transparent)]
    Config(#[from] aws::ConfigError),
    /// There is no such stream in the region, or not in this account.
    #[error("stream {stream:?} was not found in {region} at {endpoint}: {source}")]
    StreamNotFound {
        /// The stream.
        stream: String,
        /// The region.
        region: String,
        /// Who was asked.
        endpoint: String,
        /// The service's answer.
        source: aws::Error,
    },
    /// The service could not be asked about the stream.
    #[error("stream {stream:?}: {source}")]
    Service {
        /// The stream.
        stream: String,
        /// What happened.
        source: aws::Error,
    },
}

/// Collects what a worker needs; [`SchedulerBuilder::build`] checks it.
pub struct SchedulerBuilder<F> {
    application: String,
    stream: String,
    factory: F,
    settings: Settings,
    aws: Option<aws::Config>,
    initial_position: InitialPosition,
    metrics: Option<Metrics>,
    chance: Option<Chance>,
    place: RenewalPlace,
    store: Option<Arc<dyn LeaseStore>>,
}

impl<F> fmt::Debug for SchedulerBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerBuilder")
            .field("application", &self.application)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl<F: ProcessorFactory> SchedulerBuilder<F> {
    pub(super) fn new(application: String, stream: String, factory: F) -> Self {
        Self {
            application,
            stream,
            factory,
            settings: Settings::new(REGISTRY),
            aws: None,
            initial_position: InitialPosition::Latest,
            metrics: None,
            chance: None,
            place: RenewalPlace::default(),
            store: None,
        }
    }

    /// Region, credentials, endpoints, transport. Default: looked up in the environment.
    #[must_use]
    pub fn aws(mut self, config: aws::Config) -> Self {
        self.aws = Some(config);
        self
    }

    /// This worker's name (`workerIdentifier`), unique per process. Default: a random UUID.
    #[must_use]
    pub fn worker_id(self, id: &str) -> Self {
        self.set("workerIdentifier", id)
    }

    /// Where to begin in a stream that the application has not read before. Default: the tip, as KCL.
    #[must_use]
    pub fn initial_position(mut self, position: InitialPosition) -> Self {
        self.initial_position = position;
        self
    }

    /// How long a lease that is not renewed stays its owner's (`failoverTimeMillis`, to the
    /// millisecond). Default 10 s.
    #[must_use]
    pub fn failover_time(mut self, time: Duration) -> Self {
        self.settings.set_value("failoverTimeMillis", time);
        self
    }

    /// Any setting by its name: see [`crate::settings::REGISTRY`]. What is wrong shows in
    /// [`SchedulerBuilder::build`].
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.set(key, value);
        self
    }

    /// Where the worker counts. Default: a set of its own.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// The randomness for the choice of leases and for jitter. Default: from the process' entropy.
    #[must_use]
    pub fn chance(mut self, chance: Chance) -> Self {
        self.chance = Some(chance);
        self
    }

    /// Where leases are renewed. Default: on a thread of their own.
    #[must_use]
    pub fn renewal(mut self, place: RenewalPlace) -> Self {
        self.place = place;
        self
    }

    /// Keeps the leases elsewhere than in DynamoDB.
    #[must_use]
    pub fn lease_store(mut self, store: Arc<dyn LeaseStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Checks everything that was given and asks the service about the stream. Starts nothing.
    ///
    /// # Errors
    /// See [`BuildError`]; every bad setting is listed, not only the first.
    pub async fn build(mut self) -> Result<Scheduler<F>, BuildError> {
        for (name, value) in [("application", &self.application), ("stream", &self.stream)] {
            if value.trim().is_empty() {
                self.settings.problem(name, "must not be empty".to_owned());
            }
        }
        self.settings.check()?;
        let aws = match self.aws {
            Some(aws) => aws,
            None => aws::Config::builder().load()?,
        };
        let chance = self.chance.unwrap_or_else(Chance::from_entropy);
        let options = Options::from(&self.settings, &self.application, chance.uuid());
        let kinesis = aws::kinesis::Client::new(&aws);
        match kinesis.describe_stream_summary(&self.stream).await {
            Ok(_) => {}
            Err(source) if source.kind() == ErrorKind::NotFound => {
                return Err(BuildError::StreamNotFound {
                    stream: self.stream,
                    region: aws.region().to_owned(),
                    endpoint: aws.kinesis_endpoint(),
                    source,
                });
            }
            Err(source) => {
                return Err(BuildError::Service {
                    stream: self.stream,
                    source,
                });
            }
        }
        let metrics = self.metrics.unwrap_or_default();
        let budget = Budget::new(options.prefetch_bytes);
        let store = |config: &aws::Config| leases(config, &options);
        let (store, keeper_store) = match (self.store, self.place) {
            (Some(given), _) => (Arc::clone(&given), given),
            (None, RenewalPlace::CallersRuntime) => (store(&aws), store(&aws)),
            (None, RenewalPlace::OwnThread) => (store(&aws), store(&aws.with_own_connections()?)),
        };
        let reading = Reading {
            client: kinesis
                .with_retry(RetryPolicy::none())
                .with_attempt_timeout(options.kinesis_timeout),
            stream: self.stream.clone(),
            initial_position: self.initial_position,
            max_records: options.max_records,
            idle_time: options.idle_time,
            longest_backoff: options.idle_time.max(Duration::from_secs(5)),
            hand_on_empty: options.call_on_empty,
            budget: budget.clone(),
            clock: aws.clock(),
            chance: chance.fork(),
            expired_iterators: metrics.counter("ExpiredIterator", &[]),
            throttled: metrics.counter("ThrottledGetRecords", &[]),
            failed_calls: metrics.counter("FailedReads", &[]),
        };
        let setup = Setup {
            kinesis,
            store: Arc::clone(&store),
            stream: self.stream,
            application: self.application.clone(),
            position: self.initial_position,
            options: options.clone(),
        };
        let work = Work {
            factory: self.factory,
            application: self.application,
            store,
            reading,
            max_pending: options.max_pending,
            parent_poll: options.parent_poll,
            task_backoff: options.task_backoff,
            error_policy: options.error_policy,
            call_on_empty: options.call_on_empty,
            hash_range_filter: options.hash_range_filter,
            chance: chance.fork(),
            metrics: metrics.clone(),
            finished: Notify::new(),
            shutdown: CancellationToken::new(),
        };
        Ok(Scheduler {
            handle: Handle {
                worker: options.worker.clone(),
                held: Arc::default(),
                metrics: metrics.clone(),
                budget,
            },
            work: Arc::new(work),
            options,
            setup,
            keeper_store,
            place: self.place,
            chance,
            metrics,
        })
    }
}

/// The lease table, called so that one lost request costs a third of a lease's time at the most.
fn leases(config: &aws::Config, options: &Options) -> Arc<dyn LeaseStore> {
    let attempt = (options.failover / 3).max(Duration::from_millis(50));
    let timeouts = Timeouts::default()
        .with_attempt(attempt.min(options.dynamodb_timeout))
        .with_operation(options.dynamodb_timeout);
    let retry = RetryPolicy::default()
        .with_delays(Duration::from_millis(50), Duration::from_secs(1))
        .with_deadline(options.failover);
    let client = aws::dynamodb::Client::new(&config.with_timeouts(timeouts).with_retry(retry));
    Arc::new(
        DynamoDbLeases::new(client, &options.table)
            .made_with(options.billing, options.deletion_protection),
    )
}
