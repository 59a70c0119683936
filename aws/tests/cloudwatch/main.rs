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
#[path = "../support/endpoint.rs"]
mod support;

use aws::Credentials;
use aws::cloudwatch::{Uploader, UploaderSettings};
use local::{Fault, FaultAction, Local, MetricDatum, MetricValue};
use runtime::metrics::{Granularity, Level, Metric, Unit};
use runtime::time::from_epoch_millis;
use runtime::{Chance, Metrics, TaskScope};
use std::time::Duration;
use support::{KEY, T0, config, error, in_process, local, transport};

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
