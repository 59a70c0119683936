//! Many streams under one handle.

use crate::admission::{Charge, Pool};
use crate::builder::ProducerBuilder;
use crate::error::{BuildError, PutError};
use crate::producer::{CloseReport, Outstanding, Producer};
use crate::receipt::Receipt;
use crate::record::Record;
use futures::future::join_all;
use parking_lot::Mutex;
use runtime::{Chance, Metrics};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A stream that could not be opened is not tried again so soon.
const QUIET: Duration = Duration::from_secs(1);

type Configure = Arc<dyn Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync>;

/// Producers for many streams that share one bound of memory, the connections of one configuration, and
/// one shutdown. Clones are cheap and share everything.
///
/// A stream that is away never stops the others: half of the memory is divided equally among the streams,
/// the other half is taken by who needs more, a half of it by one stream at the most.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use kpl::{Producers, Record};
/// let config = aws::Config::builder().region("eu-west-1").load()?;
/// let producers = Producers::builder(config).build();
/// let orders = producers.stream_with("orders", |builder| builder.rate_limit(50)).await?;
/// orders.put(Record::new("customer-7", "an order")).await?.forget();
/// producers.put_to("clicks", Record::new("customer-7", "a click")).await?.forget();
/// producers.close(std::time::Duration::from_secs(30)).await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Producers(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    config: aws::Config,
    metrics: Metrics,
    chance: Chance,
    configure: Configure,
    max_streams: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    streams: BTreeMap<String, Arc<Door>>,
}

/// Where a stream is opened: by one caller at a time.
type Door = tokio::sync::Mutex<Stage>;

#[derive(Default)]
enum Stage {
    #[default]
    New,
    Open(Producer),
    Failed {
        until: Instant,
        error: Arc<BuildError>,
    },
    Closed,
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The producers are closed.
    #[error("the producers are closed")]
    Closed,
    /// So many streams are open already.
    #[error("{limit} streams are open, and more are not allowed")]
    TooMany {
        /// The bound, as set.
        limit: usize,
    },
    /// The stream's producer could not be built. It is tried again by the first call a second later.
    #[error(transparent)]
    Build(Arc<BuildError>),
}

/// Why a record was not put to a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutToError {
    /// The stream could not be opened.
    #[error("{source}")]
    Open {
        /// Why.
        source: OpenError,
        /// The record that was not admitted.
        record: Box<Record>,
    },
    /// The stream's producer did not admit it.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl PutToError {
    /// The record that was not admitted.
    #[must_use]
    pub fn into_record(self) -> Record {
        match self {
            Self::Open { record, .. } => *record,
            Self::Put(error) => error.into_record(),
        }
    }
}

/// Collects what [`Producers`] share.
#[must_use = "a builder does nothing until it is built"]
pub struct ProducersBuilder {
    config: aws::Config,
    metrics: Metrics,
    chance: Option<Chance>,
    bound: Charge,
    max_streams: usize,
    configure: Configure,
}

impl ProducersBuilder {
    /// Where to count, by stream. Default: a set of its own, which nobody else reads.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The randomness of jitter. Default: drawn from that of the configuration.
    pub fn chance(mut self, chance: Chance) -> Self {
        self.chance = Some(chance);
        self
    }

    /// Bytes that may be outstanding in all streams together (default 64 MiB). The setting
    /// `MaxBufferedBytes` bounds one stream besides.
    pub const fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.bound.bytes = bytes;
        self
    }

    /// User records that may be outstanding in all streams together (default 500,000). The setting
    /// `MaxBufferedRecords` bounds one stream besides.
    pub const fn max_buffered_records(mut self, records: usize) -> Self {
        self.bound.records = records;
        self
    }

    /// How many streams may be open (default 1,000).
    pub const fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// The settings of each stream, unless it is opened with more:
    /// `.each(|builder| builder.record_max_buffered_time(…))`.
    pub fn each(
        mut self,
        configure: impl Fn(ProducerBuilder) -> ProducerBuilder + Send + Sync + 'static,
    ) -> Self {
        self.configure = Arc::new(configure);
        self
    }

    /// The producers; no stream is open yet, and nothing runs.
    #[must_use]
    pub fn build(self) -> Producers {
        let chance = self.chance.unwrap_or_else(|| self.config.chance().fork());
        Producers(Arc::new(Inner {
            pool: Pool::new(self.bound),
            config: self.config,
            metrics: self.metrics,
            chance,
            configure: self.configure,
            max_streams: self.max_streams,
            state: Mutex::default(),
        }))
    }
}

impl fmt::Debug for ProducersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducersBuilder")
            .field("bound", &self.bound)
            .field("max_streams", &self.max_streams)
            .finish_non_exhaustive()
    }
}

impl Producers {
    /// Starts building producers that call by this configuration.
    pub fn builder(config: aws::Config) -> ProducersBuilder {
        ProducersBuilder {
            config,
            metrics: Metrics::new(),
            chance: None,
            bound: Charge {
                bytes: 64 << 20,
                records: 500_000,
            },
            max_streams: 1_000,
            configure: Arc::new(|builder| builder),
        }
    }

    /// The producer of a stream, given by name or ARN; opened by the first call.
    ///
    /// # Errors
    /// [`OpenError`]. A stream that cannot be opened does not hold up the others.
    ///
    /// # Cancellation
    /// Safe: the next call opens the stream.
    pub async fn stream(&self, stream: &str) -> Result<Producer, OpenError> {
        self.stream_with(stream, |builder| builder).await
    }

    /// The same, with settings of its own if this call opens the stream.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Cancellation
    /// Safe: the next call opens the stream.
    pub async fn stream_with(
        &self,
        stream: &str,
        configure: impl FnOnce(ProducerBuilder) -> ProducerBuilder + Send,
    ) -> Result<Producer, OpenError> {
        let inner = &self.0;
        let door = self.door(stream)?;
        let mut stage = door.lock().await;
        match &*stage {
            Stage::Open(producer) => return Ok(producer.clone()),
            Stage::Closed => return Err(OpenError::Closed),
            Stage::Failed { until, error } if Instant::now() < *until => {
                return Err(OpenError::Build(Arc::clone(error)));
            }
            Stage::New | Stage::Failed { .. } => {}
        }
        let builder = Producer::builder(stream)
            .aws(inner.config.clone())
            .metrics(inner.metrics.clone())
            .chance(inner.chance.fork());
        let builder = configure((inner.configure)(builder)).pool(Arc::clone(&inner.pool));
        match builder.build().await {
            Ok(producer) => {
                *stage = Stage::Open(producer.clone());
                Ok(producer)
            }
            Err(error) => {
                let error = Arc::new(error);
                *stage = Stage::Failed {
                    until: Instant::now() + QUIET,
                    error: Arc::clone(&error),
                };
                Err(OpenError::Build(error))
            }
        }
    }

    fn door(&self, stream: &str) -> Result<Arc<Door>, OpenError> {
        let limit = self.0.max_streams;
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(OpenError::Closed);
        }
        if let Some(door) = state.streams.get(stream) {
            return Ok(Arc::clone(door));
        }
        if state.streams.len() >= limit {
            // Streams that could not be opened make room.
            let failed = |door: &Arc<Door>| {
                let stage = door.try_lock();
                stage.is_ok_and(|stage| matches!(*stage, Stage::Failed { .. } | Stage::New))
            };
            state.streams.retain(|_, door| !failed(door));
        }
        if state.streams.len() >= limit {
            return Err(OpenError::TooMany { limit });
        }
        let door = Arc::<Door>::default();
        state.streams.insert(stream.to_owned(), Arc::clone(&door));
        Ok(door)
    }

    /// Puts a record to a stream, which is opened if it is not. As [`Producer::put`].
    ///
    /// # Errors
    /// [`PutToError`], which gives the record back.
    ///
    /// # Cancellation
    /// Safe: a future dropped before it resolves has admitted nothing.
    pub async fn put_to(&self, stream: &str, record: Record) -> Result<Receipt, PutToError> {
        match self.stream(stream).await {
            Ok(producer) => Ok(producer.put(record).await?),
            Err(source) => Err(PutToError::Open {
                source,
                record: Box::new(record),
            }),
        }
    }

    /// The producers of the streams that are open, by what they were opened by. Leaves out those that are
    /// being opened at this moment.
    #[must_use]
    pub fn open(&self) -> Vec<(String, Producer)> {
        let state = self.0.state.lock();
        let open = |(name, door): (&String, &Arc<Door>)| match &*door.try_lock().ok()? {
            Stage::Open(producer) => Some((name.clone(), producer.clone())),
            _ => None,
        };
        state.streams.iter().filter_map(open).collect()
    }

    /// What is admitted and not yet resolved, in all streams.
    #[must_use]
    pub fn outstanding(&self) -> Outstanding {
        let Charge { bytes, records } = self.0.pool.used();
        Outstanding { records, bytes }
    }

    /// As [`Producer::flush`], for all open streams at once.
    ///
    /// # Cancellation
    /// Safe: what was put is sent all the same.
    pub async fn flush(&self) {
        let open = self.open();
        join_all(open.iter().map(|(_, producer)| producer.flush())).await;
    }

    /// As [`Producer::close`], for all streams at once; the report is their sum. No more are opened.
    ///
    /// # Cancellation
    /// A dropped future leaves intake closed, and delivery goes on.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let streams = {
            let mut state = self.0.state.lock();
            state.closed = true;
            state.streams.clone()
        };
        // Intake ends everywhere before anything is waited for.
        for (_, producer) in self.open() {
            producer.close_intake();
        }
        let until = Instant::now().checked_add(deadline);
        let reports = join_all(streams.values().map(|door| close_one(door, until))).await;
        let none = CloseReport {
            delivered: 0,
            failed: 0,
            abandoned: 0,
        };
        reports
            .into_iter()
            .flatten()
            .fold(none, |sum, report| CloseReport {
                delivered: sum.delivered + report.delivered,
                failed: sum.failed + report.failed,
                abandoned: sum.abandoned + report.abandoned,
            })
    }
}

/// Closes a stream's producer; one that is being opened gets until then to be there.
async fn close_one(door: &Door, until: Option<Instant>) -> Option<CloseReport> {
    let lock = async {
        match until {
            Some(until) => timeout_at(until, door.lock()).await.ok(),
            None => Some(door.lock().await),
        }
    };
    let producer = match &mut *lock.await? {
        Stage::Open(producer) => producer.clone(),
        stage => {
            *stage = Stage::Closed;
            return None;
        }
    };
    let left = until.map_or(Duration::MAX, |until| {
        until.saturating_duration_since(Instant::now())
    });
    Some(producer.close(left).await)
}

impl fmt::Debug for Producers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producers")
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}
