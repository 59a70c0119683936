//! Building a producer: settings, the first shard map, the engine's start.

mod setters;

use crate::admission::{Charge, Pool};
use crate::batch::Desk;
use crate::cloudwatch::Upload;
use crate::engine::{Engine, beginning};
use crate::error::BuildError;
use crate::events::{Listeners, ProducerEvent};
use crate::lane::Rules;
use crate::prepare::{Preparation, Serializer};
use crate::producer::Producer;
use crate::refresh::{Fetched, fetch};
#[cfg(feature = "compression")]
use crate::settings::Compressed;
use crate::settings::{Connection, Options, SETTINGS};
use crate::shard_map::{LaneMaker, ShardMap};
use crate::shared::Shared;
use crate::spool::{self, Spool};
use crate::stats::Ledger;
use crate::strategist::Strategist;
use arc_swap::ArcSwap;
use aws::ErrorKind;
use aws::kinesis::ShardFilter;
use runtime::metrics::ExtraDimension;
use runtime::{Chance, Metrics, RetryPolicy, Settings, TaskScope};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Collects what a producer needs; [`ProducerBuilder::build`] checks it all at once.
#[must_use = "a builder does nothing until it is built"]
pub struct ProducerBuilder {
    stream: String,
    config: Option<aws::Config>,
    metrics: Metrics,
    chance: Option<Chance>,
    settings: Settings,
    pool: Option<Arc<Pool>>,
    serializer: Option<Arc<dyn Serializer>>,
    dimensions: Vec<ExtraDimension>,
}

impl ProducerBuilder {
    pub(crate) fn new(stream: String) -> Self {
        Self {
            stream,
            config: None,
            metrics: Metrics::new(),
            chance: None,
            settings: Settings::new(SETTINGS),
            pool: None,
            serializer: None,
            dimensions: Vec::new(),
        }
    }

    /// Shares the bound of memory with other streams.
    pub(crate) fn pool(mut self, pool: Arc<Pool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Where, as whom and through what. Default: `aws::Config::builder().load()`, which looks at the
    /// environment and at the shared files.
    pub fn aws(mut self, config: aws::Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Where to count. Default: a set of its own, which nobody else reads. Of several producers for the
    /// same stream that count into one set, one at the most should upload to CloudWatch.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The randomness of jitter. Default: drawn from that of the configuration.
    pub fn chance(mut self, chance: Chance) -> Self {
        self.chance = Some(chance);
        self
    }

    /// What gets each record before it is put. Default: nothing.
    pub fn serializer(mut self, serializer: impl Serializer + 'static) -> Self {
        self.serializer = Some(Arc::new(serializer));
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
            None => own_config(&options.connection).await?,
        };
        let chance = self.chance.unwrap_or_else(|| config.chance().fork());
        let spool = match &options.spool {
            Some(options) => Some(spool::open(options.clone(), &self.stream).await?),
            None => None,
        };
        let mut client =
            aws::kinesis::Client::new(&config).with_attempt_timeout(options.request_timeout);
        if let Some(id) = &options.stream_id {
            client = client.with_stream_id(id);
        }
        let target: Arc<str> = Arc::from(self.stream.as_str());
        client = client.for_stream(&target);
        self.stream = stream_name(&self.stream, config.region())?;
        // The engine decides when to try again: one attempt a call.
        let once = client.with_retry(RetryPolicy::none());
        let mut strategist = Strategist::new(
            once.clone(),
            Arc::clone(&target),
            config.common(),
            chance.fork(),
            options.strategy_interval,
        );
        let (fetched, answered) = {
            strategist.ask();
            let listed = fetch(&client, &target, Some(&ShardFilter::AtLatest));
            tokio::pin!(listed);
            let mut answered = None;
            loop {
                tokio::select! {
                    biased;
                    answer = strategist.answered(), if answered.is_none() => answered = Some(answer),
                    fetched = &mut listed => break (fetched, answered),
                }
            }
        };
        let Fetched { asked, result } = fetched;
        let (routing, record_limit) = beginning(
            answered.as_ref().map(|answered| &answered.answer),
            options.strategy,
            options.strategy_wait,
        );
        if let Some(answered) = answered {
            strategist.answer_again(answered);
        }
        let shards = result.map_err(|source| refusal(&self.stream, &config, source))?;

        let whole = self.pool.as_ref().map_or(Charge::MOST, |pool| pool.whole());
        let bound = Charge {
            bytes: options.buffered_bytes.min(whole.bytes),
            records: options.buffered_records.min(whole.records),
        };
        let percent = options.buffered_per_shard;
        let ledger = Ledger::shared(bound, percent, &self.metrics, &self.stream);
        if let Some(pool) = &self.pool {
            pool.join(&ledger);
        }
        ledger.meters.shard_maps.add(1);
        let mut rules = Rules::new(&options);
        if options.idempotent {
            rules.incarnation = Some(chance.next_u64());
        }
        let maker = LaneMaker::new(rules, Arc::clone(&ledger)).limited(record_limit);
        let map = ShardMap::new(&shards, asked, routing, &maker).map_err(|bad| {
            BuildError::StreamNotActive {
                stream: self.stream.clone(),
                reason: bad.to_string(),
            }
        })?;
        ledger.admission.set_shards(map.lanes().len());
        let (events, told) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            stream: Arc::from(self.stream),
            target,
            record_limit: AtomicUsize::new(record_limit),
            ledger,
            desk: Desk::default(),
            map: ArcSwap::from_pointee(map),
            events,
            aggregation: options.aggregation,
            idempotent: options.idempotent,
            user_record_size: options.user_record_size,
            keep_records: options.keep_records,
            patience: options.patience,
            runtime,
            preparation: Preparation {
                serializer: self.serializer,
                #[cfg(feature = "compression")]
                compression: options.compression.and_then(Compressed::of_records),
            },
            #[cfg(feature = "compression")]
            compression: options.compression.and_then(Compressed::of_aggregates),
            dimensions: self.dimensions,
            listeners: Listeners::default(),
            spool_damage: spool
                .as_ref()
                .map(|(_, recovered)| recovered.damage.clone())
                .unwrap_or_default(),
            ended: CancellationToken::new(),
        });
        let scope = TaskScope::new("producer");
        let upload = options.upload.is_on(&shared.dimensions).then(|| {
            let (set, stream) = (shared.ledger.meters.set(), &shared.stream);
            Upload::start(&config, set, &options.upload, stream, &shared.dimensions)
        });
        let upload = upload.transpose()?;
        if let Some((log, recovered)) = spool
            && let Some(options) = options.spool.clone()
        {
            let listeners = Arc::downgrade(&shared);
            let told = move |event: ProducerEvent| {
                if let Some(shared) = listeners.upgrade() {
                    shared.listeners.tell(|| event);
                }
            };
            let (spool, writer) = Spool::new(log, options, told);
            let recovering = spool.recovering();
            drop(shared.ledger.spool.set(spool));
            scope.spawn("spool", writer);
            if !recovered.is_empty() {
                let recovery = spool::recover(Arc::clone(&shared), recovered, recovering);
                scope.spawn("recovery", recovery);
            }
        }
        let engine = Engine::new(
            Arc::clone(&shared),
            maker,
            options,
            once,
            strategist,
            chance,
            told,
        );
        // The last upload comes after everything that there is to count, however the engine ends.
        let counted = upload.as_ref().map(Upload::ends);
        let running = engine.run(scope.token().clone());
        scope.spawn("engine", async move {
            let _counted = counted;
            running.await;
        });
        Ok(Producer::new(shared, scope, upload))
    }
}

/// A configuration from the settings; what they do not say is looked up as the AWS SDKs do.
async fn own_config(connection: &Connection) -> Result<aws::Config, aws::ConfigError> {
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
    if let Some(proxy) = &connection.proxy {
        builder = builder.proxy(proxy.clone());
    }
    builder.load_asking_instance().await
}

/// The name of a stream that was given by its name or by its ARN.
fn stream_name(stream: &str, region: &str) -> Result<String, BuildError> {
    let bad = |reason: String| BuildError::BadStream {
        stream: stream.to_owned(),
        reason,
    };
    let name = if stream.contains(':') {
        let parts: Vec<&str> = stream.splitn(6, ':').collect();
        let &["arn", _, "kinesis", there, _, resource] = &parts[..] else {
            return Err(bad("not the ARN of a Kinesis stream".to_owned()));
        };
        if there != region {
            let reason = format!("it is in {there}, and the producer calls {region}");
            return Err(bad(reason));
        }
        resource.strip_prefix("stream/").unwrap_or_default()
    } else {
        stream
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(allowed) {
        let reason = "a stream's name has 1 to 128 letters, digits, `_`, `.` and `-`";
        return Err(bad(reason.to_owned()));
    }
    Ok(name.to_owned())
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

impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("stream", &self.stream)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
