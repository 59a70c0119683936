//! Sends what a set of instruments measures, at a pace of its own.

pub use super::kept::UploadStats;

use super::kept::Kept;
use super::{Client, Datum};
use crate::config::{Config, ConfigError};
use crate::error::{Error, ErrorKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use runtime::metrics::{ExtraDimension, Granularity, Level, Metric, Reader, View};
use runtime::{Backoff, Chance, Metrics, RetryPolicy, TaskScope, WallClock};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::{sleep_until, timeout};

/// Counts the data that were given up.
const GIVEN_UP: Metric = Metric::new("MetricDataDropped").with_level(Level::Summary);

/// What is sent, where to, and how often.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UploaderSettings {
    /// The namespace: 1 to 255 characters, not beginning with `AWS/` or `:`. The Kinesis Producer
    /// Library has `KinesisProducerLibrary` (`MetricsNamespace`), the Kinesis Client Library the
    /// application's name.
    pub namespace: String,
    /// Which metrics, at which places, with which further dimensions (`MetricsLevel`,
    /// `MetricsGranularity`). Default: all, at their own places and at none above them.
    pub view: View,
    /// How often (`MetricsUploadDelay`). The first upload comes after a random part of it. Default
    /// 60 s; more than nothing.
    pub upload_delay: Duration,
    /// The most bytes that requests may take which CloudWatch has not taken yet; then the oldest are
    /// dropped. At least one is kept. Default 8 MiB, some hours of 1,000 metrics a minute (they are
    /// compressed).
    pub kept_bytes: usize,
    /// How long the last upload may take once the task's scope is stopped. Default 5 s.
    pub last_upload: Duration,
    /// Where CloudWatch is called. Default: as [`Client`] has it.
    pub endpoint_url: Option<String>,
}

impl UploaderSettings {
    /// The defaults for this namespace.
    #[must_use]
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            view: View::everything(),
            upload_delay: Duration::from_secs(60),
            kept_bytes: 8 << 20,
            last_upload: Duration::from_secs(5),
            endpoint_url: None,
        }
    }

    /// As the Kinesis Producer Library sends its metrics: each value at every place above its own
    /// too, filtered by level and granularity, with further dimensions.
    #[must_use]
    pub fn of_producer(
        namespace: impl Into<String>,
        level: Level,
        granularity: Granularity,
        extra: impl IntoIterator<Item = ExtraDimension>,
    ) -> Self {
        let view = View::everything()
            .with_ancestors(true)
            .with_level(level)
            .with_granularity(granularity)
            .with_extra(extra);
        Self::new(namespace).with_view(view)
    }

    /// Sets which metrics are sent.
    #[must_use]
    pub fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Sets how often.
    #[must_use]
    pub fn with_upload_delay(mut self, delay: Duration) -> Self {
        self.upload_delay = delay;
        self
    }

    /// Sets the bound of what waits.
    #[must_use]
    pub fn with_kept_bytes(mut self, bytes: usize) -> Self {
        self.kept_bytes = bytes;
        self
    }

    /// Sets the bound of the last upload.
    #[must_use]
    pub fn with_last_upload(mut self, bound: Duration) -> Self {
        self.last_upload = bound;
        self
    }

    /// Sets where CloudWatch is called.
    #[must_use]
    pub fn with_endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint_url = Some(url.into());
        self
    }

    fn check(&self) -> Result<(), UploaderError> {
        let namespace = self.namespace.as_str();
        let fine = (1..=255).contains(&namespace.chars().count())
            && !namespace.starts_with("AWS/")
            && !namespace.starts_with(':')
            && namespace.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if !fine {
            return Err(UploaderError::Namespace {
                namespace: namespace.to_owned(),
            });
        }
        if self.upload_delay.is_zero() {
            return Err(UploaderError::Delay);
        }
        Ok(())
    }
}

/// Why there is no uploader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploaderError {
    /// CloudWatch does not take the namespace.
    #[error(
        "namespace {namespace:?} is not valid: 1 to 255 printable ASCII characters, not beginning \
         with AWS/ or a colon"
    )]
    Namespace {
        /// As given.
        namespace: String,
    },
    /// The delay between uploads is nothing.
    #[error("the delay between uploads of metrics is zero")]
    Delay,
    /// There is no client.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A task that sends what a set of instruments measures to CloudWatch, as statistic sets: count, sum
/// and extremes of each interval.
///
/// It has connections of its own and stands in nobody's way: instruments are written to without
/// waiting for it. A failed upload loses nothing until [`UploaderSettings::kept_bytes`] is reached:
/// its intervals wait with their own times, and are sent, oldest first, once CloudWatch takes them.
/// What CloudWatch refuses as wrong is given up at once. What is given up is logged and counted, in
/// [`UploadStats`] and in the metric `MetricDataDropped` of the set itself.
///
/// The task ends with its scope: what was measured until then is sent within
/// [`UploaderSettings::last_upload`] (and the scope's own deadline). Start it in a scope that is
/// stopped after those who measure.
#[derive(Debug, Clone)]
pub struct Uploader {
    stats: Arc<Mutex<UploadStats>>,
}

impl Uploader {
    /// Retries within one upload; beyond them its requests wait.
    fn retry() -> RetryPolicy {
        RetryPolicy::default().with_max_retries(2)
    }

    /// The longest attempt and call: nobody waits for an answer, and the next upload comes soon.
    const ATTEMPT: Duration = Duration::from_secs(10);
    const CALL: Duration = Duration::from_secs(40);

    /// Starts the task.
    ///
    /// # Errors
    /// When a setting is not valid, or the connections cannot be made.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        config: &Config,
        metrics: &Metrics,
        settings: UploaderSettings,
        scope: &TaskScope,
    ) -> Result<Self, UploaderError> {
        settings.check()?;
        let timeouts = config.timeouts;
        let timeouts = timeouts
            .with_attempt(timeouts.attempt.min(Self::ATTEMPT))
            .with_operation(timeouts.operation.min(Self::CALL));
        let mut config = config
            .with_own_connections()?
            .with_retry(Self::retry())
            .with_timeouts(timeouts);
        let chance = config.chance().fork();
        config.chance = chance.fork();
        let client = match &settings.endpoint_url {
            Some(url) => Client::with_endpoint_url(&config, url)?,
            None => Client::new(&config),
        };
        let stats = Arc::default();
        let kept = Kept::new(
            settings.namespace.clone(),
            settings.kept_bytes,
            Arc::clone(&stats),
            metrics.counter(GIVEN_UP, &[]),
        );
        let task = Task {
            client,
            clock: config.clock(),
            chance,
            reader: metrics.reader(),
            settings,
            kept,
            failing: false,
        };
        let token = scope.token().clone();
        scope.spawn("metrics uploader", async move {
            task.run(token.cancelled()).await;
        });
        Ok(Self { stats })
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> UploadStats {
        *self.stats.lock()
    }
}

struct Task {
    client: Client,
    clock: Arc<dyn WallClock>,
    chance: Chance,
    reader: Reader,
    settings: UploaderSettings,
    kept: Kept,
    /// The last call failed.
    failing: bool,
}

type Sending = BoxFuture<'static, Result<(), Error>>;

/// For ever while nothing is being sent.
async fn answer(sending: &mut Option<Sending>) -> Result<(), Error> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

impl Task {
    async fn run(mut self, stopped: impl Future<Output = ()>) {
        let delay = self.settings.upload_delay;
        // After a failure there is a pause; the next interval is read meanwhile.
        let mut backoff = Self::pauses().start(&self.chance);
        let mut next_read = Instant::now() + delay.mul_f64(self.chance.unit());
        let mut next_call = next_read;
        let mut sending: Option<Sending> = None;
        tokio::pin!(stopped);
        loop {
            let idle = sending.is_none() && self.kept.is_waiting();
            tokio::select! {
                biased;
                () = &mut stopped => break,
                result = answer(&mut sending) => {
                    sending = None;
                    if let Some(pause) = self.answered(result, &mut backoff) {
                        next_call = Instant::now() + pause;
                    }
                }
                () = sleep_until(next_read) => {
                    self.read();
                    while self.kept.encode() {
                        // Others have their turn between two requests' worth of work.
                        tokio::task::yield_now().await;
                    }
                    next_read = (next_read + delay).max(Instant::now());
                }
                () = sleep_until(next_call), if idle => sending = self.send(),
            }
        }
        let bound = self.settings.last_upload;
        let _ = timeout(bound, self.finish(sending)).await;
    }

    fn pauses() -> RetryPolicy {
        RetryPolicy::unbounded(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn read(&mut self) {
        let points = self.settings.view.apply(self.reader.read());
        let now = self.clock.now();
        self.kept
            .take(points.into_iter().map(|p| Datum::of(p, now)));
    }

    fn send(&mut self) -> Option<Sending> {
        let body = self.kept.next()?;
        let client = self.client.clone();
        Some(async move { client.put(&body).await }.boxed())
    }

    /// How long to wait before the next call, after a failure.
    fn answered(&mut self, result: Result<(), Error>, backoff: &mut Backoff) -> Option<Duration> {
        match result {
            Ok(()) => {
                self.kept.sent();
                if std::mem::take(&mut self.failing) {
                    tracing::info!("CloudWatch takes metrics again");
                }
                backoff.reset();
                None
            }
            Err(error) if is_hopeless(&error) => {
                self.kept.refused(&error);
                None
            }
            Err(error) => {
                self.kept.failed();
                if std::mem::replace(&mut self.failing, true) {
                    tracing::debug!(%error, "metrics not sent; trying again");
                } else {
                    tracing::warn!(%error, "metrics not sent; they are kept, and tried again");
                }
                backoff.next_delay()
            }
        }
    }

    /// Sends all that there is, until the first failure.
    async fn finish(&mut self, mut sending: Option<Sending>) {
        let mut backoff = Self::pauses().start(&self.chance);
        self.read();
        while self.kept.encode() {}
        loop {
            if sending.is_none() {
                sending = self.send();
            }
            if sending.is_none() {
                return;
            }
            let result = answer(&mut sending).await;
            sending = None;
            if self.answered(result, &mut backoff).is_some() {
                return;
            }
        }
    }
}

/// The request is wrong, and stays so.
fn is_hopeless(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid
}
