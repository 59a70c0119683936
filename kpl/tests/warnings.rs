//! What is logged of the strategy that cannot be asked for: once, and nothing where nothing is wrong. A
//! program of its own, for which events are built is settled for a whole process.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

#[path = "../../aws/tests/support/captured.rs"]
mod captured;
mod support;

use captured::Captured;
use kpl::Producer;
use local::{Fault, Limits, Local};
use std::time::Duration;
use support::{calls, orders, producer, record, refusal};
use tokio::time::{Instant, sleep};
use tracing_subscriber::filter::LevelFilter;

const DESCRIBE: &str = "DescribeStreamSummary";

/// Puts a record every five seconds for two hours.
async fn put_for_long(local: &Local) -> Producer {
    let producer = producer(local).build().await.unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(7_200) {
        producer.put(record(1)).await.unwrap().await.unwrap();
        sleep(Duration::from_secs(5)).await;
    }
    producer
}

#[tokio::test(start_paused = true)]
async fn a_provisioned_stream_warns_of_nothing_and_a_missing_permission_warns_once() {
    let captured = Captured::from_now(LevelFilter::WARN);
    put_for_long(&orders(Limits::On, 2)).await;
    assert_eq!(captured.text(), "");

    let local = orders(Limits::On, 2);
    local
        .faults()
        .add(Fault::every(DESCRIBE, refusal("AccessDeniedException")));
    put_for_long(&local).await;
    assert!(calls(&local, DESCRIBE) > 20);
    let logged = captured.text();
    assert_eq!(logged.lines().count(), 1, "{logged}");
    assert!(logged.contains("kinesis:DescribeStreamSummary"), "{logged}");
}
