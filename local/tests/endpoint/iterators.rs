//! Iterators of every type, and what a read tells.

use crate::client::{
    T0, bad, base64, good, held, iterator, iterator_of, put, read, shard_id, texts,
};
use serde_json::{Value, json};
use std::time::Duration;

fn at(kind: &str, extra: Value) -> Value {
    let mut body = json!({"StreamName": "s", "ShardId": shard_id(0), "ShardIteratorType": kind});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn each_type_starts_where_it_says() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let mut numbers = Vec::new();
    for name in ["a", "b", "c"] {
        numbers.push(put(&local, "s", "k", name.as_bytes()).await.1);
        clock.advance(Duration::from_millis(250));
    }
    let seconds = |ms: u64| json!((T0 + ms) as f64 / 1_000.0);
    let start = local.shards("s")[0].starting_sequence_number.clone();
    let cases: Vec<(Value, &[&str])> = vec![
        (at("TRIM_HORIZON", json!({})), &["a", "b", "c"]),
        (at("LATEST", json!({})), &[]),
        (
            at(
                "AT_SEQUENCE_NUMBER",
                json!({"StartingSequenceNumber": numbers[1]}),
            ),
            &["b", "c"],
        ),
        (
            at(
                "AFTER_SEQUENCE_NUMBER",
                json!({"StartingSequenceNumber": numbers[1]}),
            ),
            &["c"],
        ),
        (
            at(
                "AT_SEQUENCE_NUMBER",
                json!({"StartingSequenceNumber": start}),
            ),
            &["a", "b", "c"],
        ),
        (
            at(
                "AFTER_SEQUENCE_NUMBER",
                json!({"StartingSequenceNumber": start}),
            ),
            &["a", "b", "c"],
        ),
        (
            at("AT_TIMESTAMP", json!({"Timestamp": 0})),
            &["a", "b", "c"],
        ),
        (
            at("AT_TIMESTAMP", json!({"Timestamp": seconds(0)})),
            &["a", "b", "c"],
        ),
        (
            at("AT_TIMESTAMP", json!({"Timestamp": seconds(250)})),
            &["b", "c"],
        ),
        (
            at("AT_TIMESTAMP", json!({"Timestamp": seconds(251)})),
            &["c"],
        ),
        // After the last record: empty, at the tip, and not from the start.
        (at("AT_TIMESTAMP", json!({"Timestamp": seconds(501)})), &[]),
        (at("AT_TIMESTAMP", json!({"Timestamp": seconds(750)})), &[]),
    ];
    let mut tips = Vec::new();
    for (body, expected) in cases {
        let page = read(&local, &iterator_of(&local, body.clone()).await, 10).await;
        assert_eq!(texts(&page), expected, "{body}");
        assert_eq!(page["MillisBehindLatest"], 0);
        tips.push(page["NextShardIterator"].as_str().unwrap().to_owned());
    }
    put(&local, "s", "k", b"d").await;
    for tip in tips {
        assert_eq!(texts(&read(&local, &tip, 10).await), ["d"]);
    }
}

#[tokio::test]
async fn an_iterator_that_makes_no_sense_is_refused() {
    let (local, _) = held();
    local.create_stream("s", 2).unwrap();
    local.create_stream("other", 1).unwrap();
    let (shard, number) = put(&local, "s", "k", b"x").await;
    let wrong_shard = if shard == shard_id(0) { 1 } else { 0 };
    let of = |kind: &str, shard: u32, extra: Value| {
        let mut body = at(kind, extra);
        body["ShardId"] = shard_id(shard).into();
        body
    };
    let starting = json!({"StartingSequenceNumber": number});
    let cases = [
        (
            of("AT_SEQUENCE_NUMBER", 0, json!({})),
            "InvalidArgumentException",
        ),
        (
            of("LATEST", 0, starting.clone()),
            "InvalidArgumentException",
        ),
        (of("AT_TIMESTAMP", 0, json!({})), "InvalidArgumentException"),
        (
            of(
                "AT_TIMESTAMP",
                0,
                json!({"Timestamp": (T0 / 1_000 + 1) as f64}),
            ),
            "InvalidArgumentException",
        ),
        (
            of("AT_SEQUENCE_NUMBER", wrong_shard, starting.clone()),
            "InvalidArgumentException",
        ),
        (
            of(
                "AT_SEQUENCE_NUMBER",
                0,
                json!({"StartingSequenceNumber": "123"}),
            ),
            "InvalidArgumentException",
        ),
        (
            of(
                "AT_SEQUENCE_NUMBER",
                0,
                json!({"StartingSequenceNumber": "x"}),
            ),
            "ValidationException",
        ),
        (of("LATEST", 7, json!({})), "ResourceNotFoundException"),
        (of("WHIM", 0, json!({})), "ValidationException"),
        (
            json!({"StreamName": "s", "ShardIteratorType": "LATEST"}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "none", "ShardId": "0", "ShardIteratorType": "LATEST"}),
            "ResourceNotFoundException",
        ),
    ];
    for (body, code) in cases {
        let found = bad(&local, "GetShardIterator", body.clone()).await;
        assert_eq!(found.0, code, "{body}: {}", found.1);
    }
    let good_one = iterator(&local, "s", 0, "LATEST").await;
    let cut = &good_one[..good_one.len() - 4];
    for garbage in ["garbage", "AAAAAAAAAAE=", cut] {
        let (code, text) = bad(&local, "GetRecords", json!({"ShardIterator": garbage})).await;
        assert_eq!(code, "InvalidArgumentException");
        assert_eq!(text, "Invalid ShardIterator.");
    }
    for (body, code) in [
        (json!({}), "ValidationException"),
        (
            json!({"ShardIterator": "x".repeat(513)}),
            "ValidationException",
        ),
        (
            json!({"ShardIterator": good_one, "Limit": 0}),
            "ValidationException",
        ),
        (
            json!({"ShardIterator": good_one, "Limit": 10_001}),
            "InvalidArgumentException",
        ),
        (
            json!({"ShardIterator": good_one,
                "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/other"}),
            "InvalidArgumentException",
        ),
    ] {
        assert_eq!(bad(&local, "GetRecords", body).await.0, code);
    }
}

#[tokio::test]
async fn an_iterator_lives_for_five_minutes() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    clock.advance(Duration::from_secs(299));
    let next = read(&local, &first, 1).await["NextShardIterator"].clone();
    clock.advance(Duration::from_secs(2));
    let (code, text) = bad(&local, "GetRecords", json!({"ShardIterator": first})).await;
    assert_eq!(code, "ExpiredIteratorException");
    assert_eq!(
        text,
        "Iterator expired. The iterator was created at time Tue Nov 14 22:13:20 UTC 2023 while \
         right now it is Tue Nov 14 22:18:21 UTC 2023 which is further in the future than the \
         tolerated delay of 300000 milliseconds."
    );
    // The one that a read gave is younger.
    good(&local, "GetRecords", json!({"ShardIterator": next})).await;
}

#[tokio::test]
async fn a_page_holds_ten_mebibytes_and_lag_is_told_until_the_tip() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let data = base64(&vec![7; (1 << 20) - 1]);
    for _ in 0..12 {
        let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": data});
        good(&local, "PutRecord", body).await;
    }
    clock.advance(Duration::from_millis(1_234));
    let first = read(
        &local,
        &iterator(&local, "s", 0, "TRIM_HORIZON").await,
        10_000,
    )
    .await;
    assert_eq!(first["Records"].as_array().unwrap().len(), 10);
    assert_eq!(first["MillisBehindLatest"], 1_234);
    let second = read(&local, first["NextShardIterator"].as_str().unwrap(), 10_000).await;
    assert_eq!(second["Records"].as_array().unwrap().len(), 2);
    assert_eq!(second["MillisBehindLatest"], 0);
    let idle = read(
        &local,
        second["NextShardIterator"].as_str().unwrap(),
        10_000,
    )
    .await;
    assert_eq!(idle["MillisBehindLatest"], 0);
}

#[tokio::test]
async fn a_record_is_read_as_it_was_put_with_its_arrival_to_the_millisecond() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    clock.advance(Duration::from_millis(123));
    let (_, number) = put(&local, "s", "schlüssel", b"\x00\xff").await;
    let page = read(&local, &iterator(&local, "s", 0, "TRIM_HORIZON").await, 1).await;
    let record = &page["Records"][0];
    assert_eq!(record["PartitionKey"], "schlüssel");
    assert_eq!(record["SequenceNumber"], number);
    assert_eq!(record["Data"], base64(b"\x00\xff"));
    assert_eq!(
        record["ApproximateArrivalTimestamp"],
        json!(1_700_000_000.123)
    );
    let stored = &local.records("s")[0];
    assert_eq!(stored.sequence_number, number);
    assert_eq!(runtime::time::epoch_millis(stored.arrival), T0 + 123);
}
