//! Metrics on their way from instruments to CloudWatch, against the embedded endpoint, which checks
//! signatures and the service's limits.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

mod outages;
mod sent;

use aws::cloudwatch::{Uploader, UploaderSettings};
use aws::{Config, Credentials, Environment, InProcess};
use bytes::Bytes;
use local::{AccessKey, Fault, FaultAction, Local, LocalOptions, MetricDatum, MetricValue};
use runtime::metrics::{Granularity, Level, Metric, Unit};
use runtime::time::from_epoch_millis;
use runtime::{Chance, Metrics, TaskScope, TokioClock};
use std::sync::Arc;
use std::time::Duration;

const KEY: (&str, &str) = ("AKIDMETRICS", "a secret of the tests");
/// Wall time at the start.
const T0: u64 = 1_700_000_000_000;

fn clock() -> Arc<TokioClock> {
    Arc::new(TokioClock::starting_at(from_epoch_millis(T0)))
}

fn local() -> Local {
    Local::new(LocalOptions {
        clock: Some(clock()),
        verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
        recorded: 1 << 20,
        ..LocalOptions::default()
    })
    .unwrap()
}

fn config() -> aws::ConfigBuilder {
    Config::builder()
        .region("us-east-1")
        .credentials(Credentials::new(KEY.0, KEY.1, None))
        .clock(clock())
        .chance(Chance::seeded(7))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
}

fn transport(local: &Local) -> Arc<dyn aws::Transport> {
    let local = local.clone();
    Arc::new(InProcess::new(move |request: http::Request<Bytes>| {
        let local = local.clone();
        async move { local.handle(request).await }
    }))
}

fn in_process(local: &Local) -> Config {
    config().transport(transport(local)).load().unwrap()
}

fn settings() -> UploaderSettings {
    UploaderSettings::of_producer("App", Level::Detailed, Granularity::Shard, [])
}

/// Instruments, and what sends them.
struct Sent {
    local: Local,
    metrics: Metrics,
    scope: TaskScope,
    uploader: Uploader,
}

fn start(settings: UploaderSettings) -> Sent {
    let local = local();
    let metrics = Metrics::new();
    let scope = TaskScope::new("test");
    let uploader = Uploader::start(&in_process(&local), &metrics, settings, &scope).unwrap();
    Sent {
        local,
        metrics,
        scope,
        uploader,
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn statistics(datum: &MetricDatum) -> (f64, f64, f64, f64) {
    let MetricValue::Statistics {
        count,
        sum,
        minimum,
        maximum,
    } = datum.value
    else {
        panic!("not a statistic set: {datum:?}");
    };
    (count, sum, minimum, maximum)
}

/// The sum of all that came of this name without dimensions.
fn sum(local: &Local, name: &str) -> f64 {
    let all = local.metrics();
    let of_name = all
        .iter()
        .filter(|d| d.name == name && d.dimensions.is_empty());
    of_name.map(|d| statistics(d).1).sum()
}

/// `name(dimension=value …) count sum min max unit`.
fn shown(datum: &MetricDatum) -> String {
    let dimensions: Vec<_> = datum
        .dimensions
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    let (count, sum, min, max) = statistics(datum);
    format!(
        "{}({}) {count} {sum} {min} {max} {}",
        datum.name,
        dimensions.join(" "),
        datum.unit.as_deref().unwrap_or("-"),
    )
}

const TIME: Metric = Metric::new("RequestTime").with_unit(Unit::Milliseconds);

fn every(action: FaultAction) -> Fault {
    Fault::every("PutMetricData", action)
}

fn error(status: u16, code: &str) -> FaultAction {
    FaultAction::Error {
        status,
        code: code.to_owned(),
        message: "scripted".to_owned(),
    }
}
