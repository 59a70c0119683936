//! Delivery through `kpl`, one producer per flow.

use crate::agent::{AgentError, Destinations};
use crate::config::{Config, FlowConfig};
use crate::delivery::{Destination, Outcome, Outcomes, Outgoing};
use crate::limit::Limit;
use futures::FutureExt;
use futures::future::BoxFuture;
use kpl::{BatchReceipt, BuildError, DeliveryError, Producer, PutAllReason, Record};
use runtime::{Chance, RetryPolicy};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// The producer takes no smaller requests.
pub(crate) const SMALLEST_REQUEST: usize = 52_224;
/// The producer never gives up a record by age: the file is there to wait for.
const TTL_MILLIS: i64 = i64::MAX;
/// Bounds of the producer's time-out of a request, in milliseconds.
const REQUEST_TIMEOUT: (u128, u128) = (100, 600_000);

/// Producers for the flows of a configuration, which share connections and credentials.
pub(crate) fn destinations(
    config: &Config,
    chance: &Chance,
    transport: Option<Arc<dyn aws::Transport>>,
) -> Result<Destinations, AgentError> {
    let timeouts = aws::Timeouts::default()
        .with_connect(config.connect_timeout)
        .with_attempt(config.request_timeout);
    let mut builder = aws::Config::builder()
        .chance(chance.fork())
        .timeouts(timeouts)
        // The first connection is tried again by the flow, which says so each time.
        .retry(RetryPolicy::default().with_max_retries(2));
    if let Some(transport) = transport {
        builder = builder.transport(transport);
    }
    if let Some(region) = region(config) {
        builder = builder.region(region);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.kinesis_endpoint_url(endpoint);
    }
    if let Some(c) = &config.credentials {
        let fixed = aws::Credentials::new(&c.access_key_id, &c.secret_access_key, None);
        builder = builder.credentials(fixed);
    }
    let aws = builder
        .load()
        .map_err(|error| AgentError::Connection(Box::new(error)))?;
    let (memory, request_timeout) = (config.memory, config.request_timeout);
    let chance = chance.fork();
    Ok(Box::new(move |flow| {
        Ok(Arc::new(Kinesis(Arc::new(Inner {
            flow: flow.id(),
            stream: flow.stream.clone(),
            aws: aws.clone(),
            settings: settings(flow, memory, request_timeout),
            retry: RetryPolicy::unbounded(
                flow.retry_first.max(Duration::from_millis(1)),
                flow.retry_longest.max(Duration::from_millis(1)),
            ),
            chance: chance.fork(),
            producer: OnceCell::new(),
            closed: CancellationToken::new(),
        }))))
    }))
}

/// The region to sign for, as the original finds it: as configured; else, where there is an endpoint,
/// from its host, or us-east-1; else (`None`) from the environment and the profile.
fn region(config: &Config) -> Option<String> {
    if config.region.is_some() {
        return config.region.clone();
    }
    let endpoint = config.endpoint.as_deref()?;
    let host = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let labels: Vec<&str> = host.split('.').collect();
    let found = labels
        .windows(2)
        .find_map(|pair| match pair {
            [service, region] if service.starts_with("kinesis") => Some(*region),
            _ => None,
        })
        .filter(|_| host.contains(".amazonaws.com"));
    Some(found.unwrap_or("us-east-1").to_owned())
}

/// What the flow's keys are to the producer.
fn settings(
    flow: &FlowConfig,
    memory: u64,
    request_timeout: Duration,
) -> Vec<(&'static str, String)> {
    let request_timeout = request_timeout
        .as_millis()
        .clamp(REQUEST_TIMEOUT.0, REQUEST_TIMEOUT.1);
    vec![
        ("AggregationEnabled", flow.aggregation.to_string()),
        (
            "RecordMaxBufferedTime",
            flow.max_buffer_age.as_millis().to_string(),
        ),
        ("CollectionMaxCount", flow.max_buffer_records.to_string()),
        (
            "CollectionMaxSize",
            flow.max_buffer_bytes.max(SMALLEST_REQUEST).to_string(),
        ),
        ("MaxBufferedBytes", memory.to_string()),
        ("RecordTtl", TTL_MILLIS.to_string()),
        ("RequestTimeout", request_timeout.to_string()),
    ]
}

#[derive(Debug)]
struct Kinesis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    flow: String,
    stream: String,
    aws: aws::Config,
    settings: Vec<(&'static str, String)>,
    retry: RetryPolicy,
    chance: Chance,
    producer: OnceCell<Producer>,
    closed: CancellationToken,
}

impl Inner {
    /// The producer, once its stream is there: a missing stream, refused credentials or an endpoint
    /// that is away are waited for and told. `None` when closed first.
    async fn producer(&self) -> Option<&Producer> {
        let connected = self.producer.get_or_init(|| self.connect());
        tokio::select! {
            biased;
            () = self.closed.cancelled() => None,
            producer = connected => Some(producer),
        }
    }

    async fn connect(&self) -> Producer {
        let mut backoff = self.retry.start(&self.chance);
        let mut limit = Limit::new();
        loop {
            match self.build().await {
                Ok(producer) => {
                    tracing::info!(flow = self.flow, stream = self.stream, "connected");
                    return producer;
                }
                Err(error) => {
                    if let Some(held_back) = limit.pass() {
                        tracing::error!(
                            flow = self.flow,
                            stream = self.stream,
                            error = &error as &dyn std::error::Error,
                            held_back,
                            "cannot send to the stream; trying again"
                        );
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn build(&self) -> Result<Producer, BuildError> {
        let mut builder = Producer::builder(self.stream.clone())
            .aws(self.aws.clone())
            .chance(self.chance.fork());
        for (name, value) in &self.settings {
            builder = builder.set(name, value);
        }
        builder.build().await
    }

    async fn put_all(self: Arc<Self>, records: Vec<Outgoing>) -> Outcomes {
        let closed = vec![Outcome::Closed; records.len()];
        let Some(producer) = self.producer().await else {
            return futures::future::ready(closed).boxed();
        };
        let mut outcomes = closed;
        let mut places: Vec<usize> = (0..records.len()).collect();
        let mut records: Vec<Record> = records
            .into_iter()
            .map(|record| Record::new(record.key, record.data))
            .collect();
        let receipt: Option<BatchReceipt> = loop {
            match producer.put_all(records).await {
                Ok(receipt) => break Some(receipt),
                Err(error) => match error.reason {
                    // One that cannot be sent is taken out, and the others go.
                    PutAllReason::Unacceptable { index } => {
                        let reason = error.to_string();
                        records = error.records;
                        if index >= records.len() {
                            break None;
                        }
                        records.remove(index);
                        let place = places.remove(index);
                        if let Some(outcome) = outcomes.get_mut(place) {
                            *outcome = Outcome::Refused { reason };
                        }
                    }
                    _ => break error.admitted.map(|admitted| *admitted),
                },
            }
        };
        async move {
            if let Some(receipt) = receipt {
                for (result, place) in receipt.await.into_iter().zip(places) {
                    if let Some(outcome) = outcomes.get_mut(place) {
                        *outcome = outcome_of(result.map(|_| ()));
                    }
                }
            }
            outcomes
        }
        .boxed()
    }
}

fn outcome_of(result: Result<(), DeliveryError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Delivered,
        Err(DeliveryError::Closed { .. }) => Outcome::Closed,
        Err(error) => Outcome::Failed {
            reason: error.to_string(),
        },
    }
}

impl Destination for Kinesis {
    fn connect(&self) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.0);
        async move {
            inner.producer().await;
        }
        .boxed()
    }

    fn put_all(&self, records: Vec<Outgoing>) -> BoxFuture<'static, Outcomes> {
        Arc::clone(&self.0).put_all(records).boxed()
    }

    fn flush(&self) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.0);
        async move {
            if let Some(producer) = inner.producer.get() {
                producer.flush().await;
            }
        }
        .boxed()
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.0);
        async move {
            inner.closed.cancel();
            if let Some(producer) = inner.producer.get() {
                let report = producer.close(deadline).await;
                tracing::debug!(flow = inner.flow, ?report, "producer closed");
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Strictness;

    fn config(global: &str, flow: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.json");
        let text = format!(
            r#"{{{global} "flows":[{{"filePattern":"/a/b","kinesisStream":"s" {flow}}}]}}"#
        );
        std::fs::write(&path, text).unwrap();
        Config::from_file(&path, Strictness::Strict).unwrap().0
    }

    #[test]
    fn the_region_is_found_as_the_original_finds_it() {
        let cases = [
            ("", None),
            (r#""kinesis.region":"eu-west-1","#, Some("eu-west-1")),
            (
                r#""kinesis.region":"eu-west-1","kinesis.endpoint":"http://127.0.0.1:1","#,
                Some("eu-west-1"),
            ),
            (
                r#""kinesis.endpoint":"kinesis.eu-north-1.amazonaws.com","#,
                Some("eu-north-1"),
            ),
            (
                r#""kinesis.endpoint":"https://kinesis-fips.us-west-2.amazonaws.com:443/","#,
                Some("us-west-2"),
            ),
            (
                r#""kinesis.endpoint":"vpce-1.kinesis.us-west-2.vpce.amazonaws.com","#,
                Some("us-west-2"),
            ),
            (
                r#""kinesis.endpoint":"https://kinesis.cn-north-1.amazonaws.com.cn","#,
                Some("cn-north-1"),
            ),
            (
                r#""kinesis.endpoint":"http://127.0.0.1:4567","#,
                Some("us-east-1"),
            ),
            (
                r#""kinesis.endpoint":"http://kinesis.test.local","#,
                Some("us-east-1"),
            ),
        ];
        for (global, expected) in cases {
            assert_eq!(region(&config(global, "")).as_deref(), expected, "{global}");
        }
    }

    #[test]
    fn the_keys_of_a_flow_become_the_producers_settings() {
        let config = config(
            r#""socketTimeoutMillis": 1, "maxBufferedBytes": 4194304,"#,
            r#","maxBufferAgeMillis":1500,"maxBufferSizeRecords":7,"maxBufferSizeBytes":60000"#,
        );
        let set = settings(&config.flows[0], config.memory, config.request_timeout);
        let expected = [
            ("AggregationEnabled", "false"),
            ("RecordMaxBufferedTime", "1500"),
            ("CollectionMaxCount", "7"),
            ("CollectionMaxSize", "60000"),
            ("MaxBufferedBytes", "4194304"),
            ("RecordTtl", "9223372036854775807"),
            ("RequestTimeout", "100"),
        ];
        assert_eq!(set, expected.map(|(name, value)| (name, value.to_owned())));
        let mut checked = runtime::Settings::new(kpl::SETTINGS);
        set.iter()
            .for_each(|(name, value)| checked.set(name, value));
        assert!(checked.check().is_ok());
    }
}
