//! Building a producer: settings, the first shard map, the engine's start.

mod setters;

use crate::admission::Charge;
use crate::engine::Engine;
use crate::error::BuildError;
use crate::lane::Rules;
use crate::producer::Producer;
use crate::refresh::{Fetched, fetch};
use crate::settings::{Connection, Options, SETTINGS};
use crate::shard_map::{LaneMaker, ShardMap};
use crate::shared::Shared;
use crate::spool::{self, Spool};
use crate::stats::Ledger;
use arc_swap::ArcSwap;
use aws::ErrorKind;
use aws::kinesis::ShardFilter;
use runtime::{Chance, Metrics, RetryPolicy, Settings, TaskScope};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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

    /// Checks the settings, lists the stream's shards and starts the engine on the present runtime.
    ///
    /// # Errors
    /// [`BuildError`]; bad settings are reported all together, before anything is called. Transient
    /// failures are retried as the configuration's retry policy says.
    ///
    /// # Cancellation
    /// Safe: nothing runs until the producer is there.
    pub async fn build(mut self) -> Result<Producer, BuildError> {
        let options = Options::read(&mut self.settings, self.config.is_some())?;
        for warning in self.settings.warnings() {
            tracing::warn!(
                stream = self.stream,
                setting = warning.key,
                "{}",
                warning.reason
            );
        }
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let config = match self.config {
            Some(config) if options.connection.connect_timeout_set => {
                config.with_connect_timeout(options.connection.connect_timeout)?
            }
            Some(config) => config,
            None => own_config(&options.connection)?,
        };
        let chance = self.chance.unwrap_or_else(|| config.chance().fork());
        let spool = match &options.spool {
            Some(options) => Some(spool::open(options.clone(), &self.stream).await?),
            None => None,
        };
        let client =
            aws::kinesis::Client::new(&config).with_attempt_timeout(options.request_timeout);
        let Fetched { asked, result } =
            fetch(&client, &self.stream, Some(&ShardFilter::AtLatest)).await;
        let shards = result.map_err(|source| refusal(&self.stream, &config, source))?;

        let bound = Charge {
            bytes: options.buffered_bytes,
            records: options.buffered_records,
        };
        let percent = options.buffered_per_shard;
        let ledger = Ledger::shared(bound, percent, &self.metrics, &self.stream);
        ledger.meters.shard_maps.add(1);
        let mut rules = Rules::new(&options);
        if options.idempotent {
            rules.incarnation = Some(chance.next_u64());
        }
        let rules = Arc::new(rules);
        let maker = LaneMaker {
            rules,
            ledger: Arc::clone(&ledger),
        };
        let map =
            ShardMap::new(&shards, asked, &maker).map_err(|bad| BuildError::StreamNotActive {
                stream: self.stream.clone(),
                reason: bad.to_string(),
            })?;
        ledger.admission.set_shards(map.lanes().len());
        let (events, told) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            stream: Arc::from(self.stream),
            ledger,
            map: ArcSwap::from_pointee(map),
            events,
            aggregation: options.aggregation,
            idempotent: options.idempotent,
            user_record_size: options.user_record_size,
            keep_records: options.keep_records,
            patience: options.patience,
            runtime,
            spool_damage: spool
                .as_ref()
                .map(|(_, recovered)| recovered.damage.clone())
                .unwrap_or_default(),
            ended: CancellationToken::new(),
        });
        let scope = TaskScope::new("producer");
        // The engine decides when to try again: one attempt a call.
        let client = client.with_retry(RetryPolicy::none());
        if let Some((log, recovered)) = spool
            && let Some(options) = options.spool.clone()
        {
            let (spool, writer) = Spool::new(log, options);
            drop(shared.ledger.spool.set(spool));
            scope.spawn("spool", writer);
            if !recovered.is_empty() {
                scope.spawn("recovery", spool::recover(Arc::clone(&shared), recovered));
            }
        }
        let engine = Engine::new(Arc::clone(&shared), maker, options, client, chance, told);
        scope.spawn("engine", engine.run(scope.token().clone()));
        Ok(Producer::new(shared, scope))
    }
}

/// A configuration from the settings; what they do not say is looked up as the AWS SDKs do.
fn own_config(connection: &Connection) -> Result<aws::Config, aws::ConfigError> {
    let timeouts = aws::Timeouts::default().with_connect(connection.connect_timeout);
    let mut builder = aws::Config::builder()
        .timeouts(timeouts)
        .verify_certificate(connection.verify_certificate);
    if let Some(region) = &connection.region {
        builder = builder.region(region);
    }
    if let Some(endpoint) = &connection.endpoint {
        builder = builder.kinesis_endpoint_url(endpoint);
    }
    if let Some(file) = &connection.ca_file {
        builder = builder.ca_file(file);
    }
    builder.load()
}

fn refusal(stream: &str, config: &aws::Config, source: aws::Error) -> BuildError {
    let stream = stream.to_owned();
    let source = Box::new(source);
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
