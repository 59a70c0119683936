//! Building a producer: settings, the first shard map, the engine's start.

use crate::admission::Charge;
use crate::engine::Engine;
use crate::error::BuildError;
use crate::lane::Rules;
use crate::producer::Producer;
use crate::refresh::{Fetched, fetch};
use crate::settings::{Options, SETTINGS};
use crate::shard_map::{LaneMaker, ShardMap};
use crate::shared::Shared;
use crate::stats::Ledger;
use arc_swap::ArcSwap;
use aws::kinesis::ShardFilter;
use aws::{ErrorKind, HttpTransport};
use runtime::settings::Value;
use runtime::{Chance, Metrics, RetryPolicy, Settings, TaskScope};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Collects what a producer needs; [`ProducerBuilder::build`] checks it all at once.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProducerBuilder {
    stream: String,
    config: Option<aws::Config>,
    metrics: Metrics,
    chance: Option<Chance>,
    settings: Settings,
}

impl ProducerBuilder {
    pub(crate) fn new(stream: String) -> Self {
        Self {
            stream,
            config: None,
            metrics: Metrics::new(),
            chance: None,
            settings: Settings::new(SETTINGS),
        }
    }

    /// Where, as whom and through what. Default: `aws::Config::builder().load()`, which looks at the
    /// environment and at the shared files.
    pub fn aws(mut self, config: aws::Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Where to count. Default: a set of its own, which nobody else reads.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The randomness of jitter. Default: drawn from that of the configuration.
    pub fn chance(mut self, chance: Chance) -> Self {
        self.chance = Some(chance);
        self
    }

    /// Sets any of [`SETTINGS`] by name and text, as from a file. Problems are kept for
    /// [`ProducerBuilder::build`], which reports all of them.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.set(name, value);
        self
    }

    fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.set_value(name, value);
        self
    }

    /// Packs many user records into one Kinesis record (`AggregationEnabled`, default true).
    pub fn aggregation(self, on: bool) -> Self {
        self.put("AggregationEnabled", on)
    }

    /// User records in one Kinesis record (`AggregationMaxCount`, default 4294967295).
    pub fn aggregation_max_count(self, records: u64) -> Self {
        self.put("AggregationMaxCount", records)
    }

    /// Bytes of one aggregated Kinesis record (`AggregationMaxSize`, 64 to 10485760, default 51200).
    pub fn aggregation_max_size(self, bytes: u64) -> Self {
        self.put("AggregationMaxSize", bytes)
    }

    /// Kinesis records in one request (`CollectionMaxCount`, 1 to 500, default 500).
    pub fn collection_max_count(self, records: u64) -> Self {
        self.put("CollectionMaxCount", records)
    }

    /// Bytes of one request (`CollectionMaxSize`, at least 52224, default 5242880).
    pub fn collection_max_size(self, bytes: u64) -> Self {
        self.put("CollectionMaxSize", bytes)
    }

    /// How long to wait for a connection (`ConnectTimeout`, 100 ms to 300 s; default: the
    /// configuration's). When set, the producer makes connections of its own, in place of the
    /// configuration's transport.
    pub fn connect_timeout(self, bound: Duration) -> Self {
        self.put("ConnectTimeout", bound)
    }

    /// Fails records at the first throttling answer (`FailIfThrottled`, default false).
    pub fn fail_if_throttled(self, on: bool) -> Self {
        self.put("FailIfThrottled", on)
    }

    /// Bytes that may be outstanding (`MaxBufferedBytes`, at least 2 MiB, default 64 MiB). A record
    /// counts its data, its partition key and 64 bytes.
    pub fn max_buffered_bytes(self, bytes: u64) -> Self {
        self.put("MaxBufferedBytes", bytes)
    }

    /// User records that may be outstanding (`MaxBufferedRecords`, default 500000).
    pub fn max_buffered_records(self, records: u64) -> Self {
        self.put("MaxBufferedRecords", records)
    }

    /// Requests that may be in flight (`MaxConnections`, 1 to 256, default 24).
    pub fn max_connections(self, requests: u64) -> Self {
        self.put("MaxConnections", requests)
    }

    /// Percent of a shard's 1 MiB and 1,000 records per second that are sent to it (`RateLimit`,
    /// default 150).
    pub fn rate_limit(self, percent: u64) -> Self {
        self.put("RateLimit", percent)
    }

    /// How long a record waits for others (`RecordMaxBufferedTime`, whole milliseconds, default
    /// 100 ms).
    pub fn record_max_buffered_time(self, wait: Duration) -> Self {
        self.put("RecordMaxBufferedTime", wait)
    }

    /// How long delivery of a record is tried (`RecordTtl`, at least 100 ms, default 30 s).
    pub fn record_ttl(self, ttl: Duration) -> Self {
        self.put("RecordTtl", ttl)
    }

    /// How long one request may take (`RequestTimeout`, 100 ms to 600 s, default 6 s).
    pub fn request_timeout(self, bound: Duration) -> Self {
        self.put("RequestTimeout", bound)
    }

    /// Checks the settings, lists the stream's shards and starts the engine on the present runtime.
    ///
    /// # Errors
    /// [`BuildError`]; bad settings are reported all together, before anything is called. Transient
    /// failures are retried as the configuration's retry policy says.
    ///
    /// # Cancellation
    /// Safe: nothing runs until the producer is there.
    pub async fn build(mut self) -> Result<Producer, BuildError> {
        let options = Options::read(&mut self.settings)?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let mut config = match self.config {
            Some(config) => config,
            None => aws::Config::builder().load()?,
        };
        if let Some(connect) = options.connect_timeout {
            let transport = HttpTransport::new(connect).map_err(aws::ConfigError::from)?;
            config = config.with_transport(Arc::new(transport));
        }
        let chance = self.chance.unwrap_or_else(|| config.chance().fork());
        let client =
            aws::kinesis::Client::new(&config).with_attempt_timeout(options.request_timeout);
        let Fetched { asked, result } =
            fetch(&client, &self.stream, Some(&ShardFilter::AtLatest)).await;
        let shards = result.map_err(|source| refusal(&self.stream, &config, source))?;

        let bound = Charge {
            bytes: options.buffered_bytes,
            records: options.buffered_records,
        };
        let ledger = Ledger::shared(bound, &self.metrics, &self.stream);
        ledger.meters.shard_maps.add(1);
        let rules = Arc::new(Rules::new(&options));
        let maker = LaneMaker {
            rules,
            ledger: Arc::clone(&ledger),
        };
        let map =
            ShardMap::new(&shards, asked, &maker).map_err(|bad| BuildError::StreamNotActive {
                stream: self.stream.clone(),
                reason: bad.to_string(),
            })?;
        let (events, told) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            stream: Arc::from(self.stream),
            ledger,
            map: ArcSwap::from_pointee(map),
            events,
            aggregation: options.aggregation,
        });
        let scope = TaskScope::new("producer");
        // The engine decides when to try again: one attempt a call.
        let client = client.with_retry(RetryPolicy::none());
        let engine = Engine::new(Arc::clone(&shared), maker, options, client, chance, told);
        scope.spawn("engine", engine.run(scope.token().clone()));
        Ok(Producer::new(shared, scope))
    }
}

fn refusal(stream: &str, config: &aws::Config, source: aws::Error) -> BuildError {
    let stream = stream.to_owned();
    match source.kind() {
        ErrorKind::NotFound => BuildError::StreamNotFound {
            stream,
            region: config.region().to_owned(),
            source,
        },
        ErrorKind::InUse => BuildError::StreamNotActive {
            stream,
            reason: source.to_string(),
        },
        ErrorKind::AccessDenied => BuildError::Denied { stream, source },
        ErrorKind::Credential => BuildError::Credentials { stream, source },
        _ => BuildError::Unavailable { stream, source },
    }
}
