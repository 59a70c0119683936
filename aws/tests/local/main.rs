//! The client and the embedded endpoint, whose codecs were written apart, understand each other. Each
//! request's signature is verified.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

mod connections;
mod encodings;
mod lives;
mod signatures;

use aws::{Config, Credentials, Encoding, Environment, ErrorKind, InProcess};
use bytes::Bytes;
use lives::{stream_life, table_life};
use local::{AccessKey, Fault, FaultAction, Local, LocalOptions};
use runtime::time::from_epoch_millis;
use runtime::{Chance, RetryPolicy, TokioClock};
use std::sync::Arc;

const KEY: (&str, &str) = ("AKIDLOCAL", "a secret of the tests");

/// Client and endpoint begin at the same time, and follow tokio's clock.
fn clock() -> Arc<TokioClock> {
    Arc::new(TokioClock::starting_at(from_epoch_millis(
        1_700_000_000_000,
    )))
}

fn local() -> Local {
    Local::new(LocalOptions {
        clock: Some(clock()),
        verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
        ..LocalOptions::default()
    })
    .unwrap()
}

fn config() -> aws::ConfigBuilder {
    Config::builder()
        .region("us-east-1")
        .credentials(Credentials::new(KEY.0, KEY.1, None))
        .clock(clock())
        .chance(Chance::seeded(1))
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

#[tokio::test(start_paused = true)]
async fn in_process_under_a_paused_clock() {
    let local = local();
    let config = in_process(&local);
    stream_life(&config).await;
    table_life(&config).await;
    stream_life(&config.with_kinesis_encoding(Encoding::Json)).await;
}

#[tokio::test]
async fn over_a_socket() {
    let server = local()
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let config = config().endpoint_url(server.url()).load().unwrap();
    stream_life(&config).await;
    table_life(&config).await;
    stream_life(&config.with_kinesis_encoding(Encoding::Json)).await;
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn faults_are_classified_and_passing_ones_tried_again() {
    let local = local();
    let config = in_process(&local).with_retry(RetryPolicy::default().with_max_retries(2));
    let kinesis = aws::kinesis::Client::new(&config);
    let error = |status, code: &str| FaultAction::Error {
        status,
        code: code.to_owned(),
        message: "scripted".to_owned(),
    };
    kinesis.create_stream("s", 1).await.unwrap();
    local.faults().add(Fault::nth(
        "DescribeStreamSummary",
        1,
        error(500, "InternalFailure"),
    ));
    local
        .faults()
        .add(Fault::nth("DescribeStreamSummary", 2, FaultAction::Refuse));
    kinesis.describe_stream_summary("s").await.unwrap();
    assert_eq!(local.request_counts()["DescribeStreamSummary"], 3);
    local.faults().add(Fault::nth(
        "DescribeStreamSummary",
        1,
        error(400, "AccessDeniedException"),
    ));
    let denied = kinesis.describe_stream_summary("s").await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    assert_eq!(local.request_counts()["DescribeStreamSummary"], 4);
    // The answer is lost, the effect is not.
    local
        .faults()
        .add(Fault::nth("CreateStream", 1, FaultAction::LoseAnswer));
    let lost = kinesis.create_stream("t", 1).await.unwrap_err();
    assert_eq!(
        lost.kind(),
        ErrorKind::InUse,
        "the second attempt meets what the first one made"
    );
    assert_eq!(kinesis.list_streams().await.unwrap(), ["s", "t"]);
}
