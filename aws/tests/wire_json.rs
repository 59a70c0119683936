//! Kinesis in JSON over the wire: the bytes of each operation's request and what its answer becomes,
//! against a server that says what it is told. Answers are written as the service's API reference has
//! them.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

#[path = "support/wire.rs"]
mod support;

use aws::kinesis::{
    Client, IteratorPosition, PutRecordsEntry, PutRecordsResult, ShardFilter, StreamStatus,
};
use aws::{Encoding, Error, ErrorKind};
use mockito::{Mock, Server, ServerGuard};
use runtime::RetryPolicy;
use runtime::time::from_epoch_millis;
use support::{NOW, builder, signed};

const JSON: &str = "application/x-amz-json-1.1";
fn client(server: &ServerGuard) -> Client {
    let config = builder(&server.url())
        .retry(RetryPolicy::none())
        .kinesis_encoding(Encoding::Json)
        .load();
    Client::new(&config.unwrap())
}

/// Expects exactly this request, once, and answers it.
async fn expect(server: &mut ServerGuard, operation: &str, body: &str, answer: &str) -> Mock {
    let expected = body.as_bytes().to_vec();
    server
        .mock("POST", "/")
        .match_header("content-type", JSON)
        .match_header("x-amz-target", &*format!("Kinesis_20131202.{operation}"))
        .match_header("authorization", signed())
        .match_request(move |request| request.body().is_ok_and(|body| *body == expected))
        .with_header("content-type", JSON)
        .with_body(answer)
        .expect(1)
        .create_async()
        .await
}

#[tokio::test]
async fn operations_that_change_a_stream() {
    let mut server = Server::new_async().await;
    let kinesis = client(&server);
    let create = r#"{"StreamName":"s","ShardCount":3}"#;
    let create = expect(&mut server, "CreateStream", create, "").await;
    kinesis.create_stream("s", 3).await.unwrap();
    let split = r#"{"StreamName":"s","ShardToSplit":"a","NewStartingHashKey":"10"}"#;
    let split = expect(&mut server, "SplitShard", split, "").await;
    kinesis.split_shard("s", "a", "10").await.unwrap();
    let merge = r#"{"StreamName":"s","ShardToMerge":"a","AdjacentShardToMerge":"b"}"#;
    let merge = expect(&mut server, "MergeShards", merge, "").await;
    kinesis.merge_shards("s", "a", "b").await.unwrap();
    let delete = r#"{"StreamName":"s","EnforceConsumerDeletion":true}"#;
    let delete = expect(&mut server, "DeleteStream", delete, "").await;
    kinesis.delete_stream("s").await.unwrap();
    for mock in [create, split, merge, delete] {
        mock.assert_async().await;
    }
}

#[tokio::test]
async fn operations_that_describe_streams() {
    let mut server = Server::new_async().await;
    let kinesis = client(&server);
    let answer = r#"{"StreamDescriptionSummary": {
        "ConsumerCount": 0, "EncryptionType": "NONE", "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "OpenShardCount": 2, "RetentionPeriodHours": 24,
        "StreamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/s",
        "StreamCreationTimestamp": 1.525898719E9, "StreamName": "s", "StreamStatus": "UPDATING",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"}, "MaxRecordSizeInKiB": 1024}}"#;
    let body = r#"{"StreamName":"s"}"#;
    let describe = expect(&mut server, "DescribeStreamSummary", body, answer).await;
    let summary = kinesis.describe_stream_summary("s").await.unwrap();
    assert_eq!(summary.stream_status, StreamStatus::Updating);
    assert_eq!(summary.open_shard_count, 2);
    assert_eq!(summary.max_record_size_in_kib, Some(1024));
    let created = from_epoch_millis(1_525_898_719_000);
    assert_eq!(summary.stream_creation_timestamp, Some(created));

    let page = r#"{"HasMoreStreams":true,"StreamNames":["a","b"]}"#;
    let first = expect(&mut server, "ListStreams", "{}", page).await;
    let page =
        r#"{"HasMoreStreams":false,"StreamNames":["c"],"StreamSummaries":[{"StreamName":"c"}]}"#;
    let body = r#"{"ExclusiveStartStreamName":"b"}"#;
    let second = expect(&mut server, "ListStreams", body, page).await;
    assert_eq!(kinesis.list_streams().await.unwrap(), ["a", "b", "c"]);

    let page = r#"{"NextToken":"t","Shards":[{"HashKeyRange":{"EndingHashKey":"9","StartingHashKey":"0"},
        "SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"2"},"ShardId":"a"}]}"#;
    let body =
        r#"{"StreamName":"s","ShardFilter":{"Type":"FROM_TIMESTAMP","Timestamp":1700000000.500}}"#;
    let filtered = expect(&mut server, "ListShards", body, page).await;
    let page = r#"{"Shards":[{"HashKeyRange":{"EndingHashKey":"9","StartingHashKey":"0"},
        "SequenceNumberRange":{"StartingSequenceNumber":"3"},"ShardId":"b","ParentShardId":"a"}]}"#;
    let further = expect(&mut server, "ListShards", r#"{"NextToken":"t"}"#, page).await;
    let filter = ShardFilter::FromTimestamp(from_epoch_millis(NOW + 500));
    let shards = kinesis.list_shards("s", Some(&filter)).await.unwrap();
    let seen: Vec<_> = shards.iter().map(|s| (&*s.shard_id, s.is_open())).collect();
    assert_eq!(seen, [("a", false), ("b", true)]);
    for mock in [describe, first, second, filtered, further] {
        mock.assert_async().await;
    }
}

#[tokio::test]
async fn operations_on_records() {
    let mut server = Server::new_async().await;
    let kinesis = client(&server);
    let body = r#"{"StreamName":"s","Records":[{"Data":"AQID/w==","ExplicitHashKey":"7","PartitionKey":"k\""},{"Data":"","PartitionKey":"l"}]}"#;
    let answer = r#"{"FailedRecordCount":1,"EncryptionType":"KMS","Records":[
        {"SequenceNumber":"49","ShardId":"a"},
        {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded for shard"}]}"#;
    let put = expect(&mut server, "PutRecords", body, answer).await;
    let segments = [(&[1, 2]).into(), (&[3, 255]).into()];
    let entries = [
        PutRecordsEntry {
            partition_key: "k\"",
            explicit_hash_key: Some("7"),
            data: &segments,
        },
        PutRecordsEntry {
            partition_key: "l",
            explicit_hash_key: None,
            data: &[],
        },
    ];
    let output = kinesis.put_records("s", &entries).await.unwrap();
    assert_eq!(output.failed_record_count, 1);
    let stored = PutRecordsResult::Stored {
        shard_id: "a".into(),
        sequence_number: "49".into(),
    };
    let refused = PutRecordsResult::Refused {
        code: "ProvisionedThroughputExceededException".to_owned(),
        message: "Rate exceeded for shard".to_owned(),
    };
    assert_eq!(output.records, [stored, refused]);

    let body = r#"{"StreamName":"s","ShardId":"a","ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"49"}"#;
    let answer = r#"{"ShardIterator":"AAAA+/=="}"#;
    let iterator = expect(&mut server, "GetShardIterator", body, answer).await;
    let position = IteratorPosition::AtSequenceNumber("49".to_owned());
    let found = kinesis.get_shard_iterator("s", "a", &position).await;
    assert_eq!(found.unwrap(), "AAAA+/==");

    let body = r#"{"ShardIterator":"it","Limit":25}"#;
    let answer = r#"{"MillisBehindLatest":2100,"NextShardIterator":"next","Records":[{
        "ApproximateArrivalTimestamp":1.441215410867E9,"Data":"XzxkYXRhPl8w",
        "PartitionKey":"k","SequenceNumber":"21269319989652663814458848515492872193"}]}"#;
    let read = expect(&mut server, "GetRecords", body, answer).await;
    let page = kinesis.get_records("it", 25).await.unwrap();
    assert_eq!(page.records.len(), 1);
    let record = page.records.first().unwrap();
    assert_eq!(record.data, "_<data>_0");
    let arrival = from_epoch_millis(1_441_215_410_867);
    assert_eq!(record.approximate_arrival_timestamp, Some(arrival));
    assert_eq!(page.next_shard_iterator.as_deref(), Some("next"));
    assert_eq!(page.millis_behind_latest, Some(2_100));
    assert_eq!(page.body_bytes, answer.len());
    for mock in [put, iterator, read] {
        mock.assert_async().await;
    }
}

#[tokio::test]
async fn errors_and_answers_of_another_kind() {
    let cases = [
        (
            400,
            r#"{"__type":"ExpiredIteratorException","message":"Iterator expired."}"#,
            ErrorKind::ExpiredIterator,
            "ExpiredIteratorException: Iterator expired.",
        ),
        (
            400,
            r#"{"__type":"com.amazonaws.kinesis.v20131202#ProvisionedThroughputExceededException","message":"Rate"}"#,
            ErrorKind::Throttled,
            "ProvisionedThroughputExceededException: Rate",
        ),
        (500, "<html>", ErrorKind::Transient, "HTTP status 500"),
        (
            200,
            r#"{"ShardIterator":"#,
            ErrorKind::Transient,
            "ends too early at byte 17",
        ),
        (200, "{}", ErrorKind::Transient, "ShardIterator is missing"),
        (200, "\u{0}", ErrorKind::Transient, "not understood"),
    ];
    for (status, body, kind, said) in cases {
        let mut server = Server::new_async().await;
        server
            .mock("POST", "/")
            .with_status(status)
            .with_body(body)
            .create_async()
            .await;
        let latest = IteratorPosition::Latest;
        let asked = client(&server).get_shard_iterator("s", "a", &latest).await;
        let error: Error = asked.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
}
