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
#[path = "../support/endpoint.rs"]
mod support;

use aws::{Encoding, ErrorKind};
use lives::{stream_life, table_life};
use local::{Fault, FaultAction};
use runtime::RetryPolicy;
use support::{KEY, clock, config, error, in_process, local, transport};

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
