//! Creating, describing, listing and deleting streams.

use crate::client::{bad, base64, good, held, iterator, put, read, texts, with};
use local::{Limits, LocalOptions};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_stream_is_created_described_and_deleted() {
    let (local, _) = held();
    let none = good(
        &local,
        "CreateStream",
        json!({"StreamName": "s", "ShardCount": 3}),
    )
    .await;
    assert_eq!(none, Value::Null);
    let summary = good(&local, "DescribeStreamSummary", json!({"StreamName": "s"})).await;
    let summary = &summary["StreamDescriptionSummary"];
    assert_eq!(summary["StreamName"], "s");
    assert_eq!(
        summary["StreamARN"],
        "arn:aws:kinesis:us-east-1:000000000000:stream/s"
    );
    assert_eq!(summary["StreamStatus"], "ACTIVE");
    assert_eq!(summary["StreamModeDetails"]["StreamMode"], "PROVISIONED");
    assert_eq!(summary["RetentionPeriodHours"], 24);
    assert_eq!(summary["StreamCreationTimestamp"], json!(1_700_000_000.0));
    assert_eq!(summary["OpenShardCount"], 3);
    assert_eq!(summary["MaxRecordSizeInKiB"], 1_024);
    let description = good(
        &local,
        "DescribeStream",
        json!({"StreamName": "s", "Limit": 2}),
    )
    .await;
    let description = &description["StreamDescription"];
    assert_eq!(description["Shards"].as_array().unwrap().len(), 2);
    assert_eq!(description["HasMoreShards"], true);
    good(&local, "DeleteStream", json!({"StreamName": "s"})).await;
    let (code, text) = bad(&local, "DescribeStreamSummary", json!({"StreamName": "s"})).await;
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(text, "Stream s under account 000000000000 not found.");
}

#[tokio::test]
async fn states_last_as_long_as_they_were_told_to() {
    let (local, clock) = with(LocalOptions {
        limits: Limits::Off,
        state_delay: Duration::from_secs(2),
        ..LocalOptions::default()
    });
    let status = async || {
        let body = json!({"StreamName": "s"});
        let answer = good(&local, "DescribeStreamSummary", body).await;
        let summary = &answer["StreamDescriptionSummary"];
        (
            summary["StreamStatus"].as_str().unwrap().to_owned(),
            summary["OpenShardCount"].as_u64().unwrap(),
        )
    };
    let record = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"x")});
    let split = json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": "100"});
    good(
        &local,
        "CreateStream",
        json!({"StreamName": "s", "ShardCount": 1}),
    )
    .await;
    assert_eq!(status().await, ("CREATING".to_owned(), 0));
    assert_eq!(
        bad(&local, "PutRecord", record.clone()).await.0,
        "ResourceNotFoundException"
    );
    assert_eq!(
        bad(&local, "ListShards", json!({"StreamName": "s"}))
            .await
            .0,
        "ResourceInUseException"
    );
    clock.advance(Duration::from_secs(2));
    assert_eq!(status().await, ("ACTIVE".to_owned(), 1));
    good(&local, "SplitShard", split.clone()).await;
    assert_eq!(status().await, ("UPDATING".to_owned(), 1));
    let (code, text) = bad(&local, "SplitShard", split).await;
    assert_eq!(code, "ResourceInUseException");
    assert_eq!(
        text,
        "Stream s under account 000000000000 not ACTIVE, instead in state UPDATING"
    );
    // Reads and writes go on meanwhile.
    good(&local, "PutRecord", record.clone()).await;
    let tip = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    assert_eq!(texts(&read(&local, &tip, 10).await), ["x"]);
    clock.advance(Duration::from_secs(2));
    assert_eq!(status().await, ("ACTIVE".to_owned(), 2));
    good(&local, "DeleteStream", json!({"StreamName": "s"})).await;
    assert_eq!(status().await.0, "DELETING");
    clock.advance(Duration::from_secs(2));
    let (code, _) = bad(&local, "DescribeStreamSummary", json!({"StreamName": "s"})).await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn the_arn_is_taken_wherever_the_name_is() {
    let (local, _) = held();
    local.create_stream("s", 2).unwrap();
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let shard = "shardId-000000000000";
    let half = (1_u128 << 126).to_string();
    let calls = [
        (
            "PutRecord",
            json!({"PartitionKey": "k", "Data": base64(b"x")}),
        ),
        (
            "PutRecords",
            json!({"Records": [{"PartitionKey": "k", "Data": base64(b"x")}]}),
        ),
        ("DescribeStream", json!({})),
        ("DescribeStreamSummary", json!({})),
        ("ListShards", json!({})),
        (
            "GetShardIterator",
            json!({"ShardId": shard, "ShardIteratorType": "LATEST"}),
        ),
        (
            "IncreaseStreamRetentionPeriod",
            json!({"RetentionPeriodHours": 48}),
        ),
        (
            "DecreaseStreamRetentionPeriod",
            json!({"RetentionPeriodHours": 24}),
        ),
        (
            "SplitShard",
            json!({"ShardToSplit": shard, "NewStartingHashKey": half}),
        ),
        (
            "MergeShards",
            json!({"ShardToMerge": "shardId-000000000002",
                "AdjacentShardToMerge": "shardId-000000000003"}),
        ),
    ];
    for (operation, mut body) in calls {
        body["StreamARN"] = arn.into();
        good(&local, operation, body.clone()).await;
        for wrong in [
            "arn:aws:kinesis:eu-west-1:000000000000:stream/s",
            "arn:aws:kinesis:us-east-1:111111111111:stream/s",
        ] {
            body["StreamARN"] = wrong.into();
            let (code, _) = bad(&local, operation, body.clone()).await;
            assert_eq!(code, "ResourceNotFoundException", "{operation} {wrong}");
        }
        body["StreamARN"] = "arn:aws:sqs:us-east-1:000000000000:s".into();
        assert_eq!(bad(&local, operation, body).await.0, "ValidationException");
    }
    let both = json!({"StreamARN": arn, "StreamName": "s"});
    good(&local, "DescribeStreamSummary", both).await;
    let disagree = json!({"StreamARN": arn, "StreamName": "other"});
    let (code, _) = bad(&local, "DescribeStreamSummary", disagree).await;
    assert_eq!(code, "InvalidArgumentException");
    let (code, _) = bad(&local, "DescribeStreamSummary", json!({})).await;
    assert_eq!(code, "InvalidArgumentException");
    let latest = iterator(&local, "s", 1, "LATEST").await;
    let page = json!({"ShardIterator": latest, "StreamARN": arn});
    good(&local, "GetRecords", page).await;
    good(&local, "DeleteStream", json!({"StreamARN": arn})).await;
}

#[tokio::test]
async fn streams_are_listed_in_pages() {
    let (local, clock) = held();
    for i in 0..5 {
        local.create_stream(&format!("s{i}"), 1).unwrap();
    }
    let mut request = json!({"Limit": 2});
    let mut names = Vec::new();
    let mut pages = Vec::new();
    loop {
        let page = good(&local, "ListStreams", request).await;
        let found = page["StreamNames"].as_array().unwrap();
        assert_eq!(
            found.len(),
            page["StreamSummaries"].as_array().unwrap().len()
        );
        pages.push(found.len());
        names.extend(found.iter().map(|n| n.as_str().unwrap().to_owned()));
        assert_eq!(page["HasMoreStreams"].as_bool().unwrap(), names.len() < 5);
        match page["NextToken"].as_str() {
            Some(token) => request = json!({"Limit": 2, "NextToken": token}),
            None => break,
        }
    }
    assert_eq!(pages, [2, 2, 1]);
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
    let after = json!({"ExclusiveStartStreamName": "s3"});
    assert_eq!(
        good(&local, "ListStreams", after).await["StreamNames"],
        json!(["s4"])
    );
    let token = good(&local, "ListStreams", json!({"Limit": 1})).await["NextToken"].clone();
    clock.advance(Duration::from_secs(301));
    let (code, _) = bad(&local, "ListStreams", json!({"NextToken": token})).await;
    assert_eq!(code, "ExpiredNextTokenException");
}

#[tokio::test]
async fn what_a_stream_cannot_be_is_refused() {
    let (local, _) = held();
    local.create_stream("taken", 1).unwrap();
    let cases = [
        (json!({"ShardCount": 1}), "ValidationException"),
        (
            json!({"StreamName": "a b", "ShardCount": 1}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "", "ShardCount": 1}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "x".repeat(129), "ShardCount": 1}),
            "ValidationException",
        ),
        (json!({"StreamName": "s"}), "ValidationException"),
        (
            json!({"StreamName": "s", "ShardCount": 0}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "s", "ShardCount": "1"}),
            "SerializationException",
        ),
        (
            json!({"StreamName": 1, "ShardCount": 1}),
            "SerializationException",
        ),
        (
            json!({"StreamName": "taken", "ShardCount": 1}),
            "ResourceInUseException",
        ),
        (
            json!({"StreamName": "s", "StreamModeDetails": {"StreamMode": "WHIM"}}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "s", "ShardCount": 1, "MaxRecordSizeInKiB": 1}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "s", "ShardCount": 1, "Tags": {"": "b"}}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "s", "ShardCount": 1, "Tags": {"a": 1}}),
            "SerializationException",
        ),
        (
            json!({"StreamName": "s", "ShardCount": 1, "RecordDistributionStrategy": "AUTO"}),
            "InvalidArgumentException",
        ),
        (
            json!({"StreamName": "s", "ShardCount": 1, "WarmThroughputMiBps": 5}),
            "ValidationException",
        ),
    ];
    for (body, code) in cases {
        assert_eq!(
            bad(&local, "CreateStream", body.clone()).await.0,
            code,
            "{body}"
        );
    }
    let names = good(&local, "ListStreams", json!({})).await;
    assert_eq!(names["StreamNames"], json!(["taken"]));
    assert!(local.create_stream("taken", 1).is_err());
    assert!(local.create_stream("a b", 1).is_err());
    assert!(local.create_stream("none", 0).is_err());
}

#[tokio::test]
async fn an_on_demand_stream_starts_with_four_shards_and_is_not_resharded() {
    let (local, _) = held();
    let body = json!({"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    good(&local, "CreateStream", body).await;
    let summary = good(&local, "DescribeStreamSummary", json!({"StreamName": "s"})).await;
    let summary = &summary["StreamDescriptionSummary"];
    assert_eq!(summary["OpenShardCount"], 4);
    assert_eq!(summary["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    let body = json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000",
        "NewStartingHashKey": "100"});
    assert_eq!(
        bad(&local, "SplitShard", body).await.0,
        "ValidationException"
    );
}

#[tokio::test]
async fn retention_is_changed_within_a_day_and_a_year_and_trims() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let hours = |n: u64| json!({"StreamName": "s", "RetentionPeriodHours": n});
    good(&local, "IncreaseStreamRetentionPeriod", hours(8_760)).await;
    good(&local, "DecreaseStreamRetentionPeriod", hours(48)).await;
    for (operation, n, code) in [
        (
            "IncreaseStreamRetentionPeriod",
            24,
            "InvalidArgumentException",
        ),
        (
            "DecreaseStreamRetentionPeriod",
            72,
            "InvalidArgumentException",
        ),
        (
            "DecreaseStreamRetentionPeriod",
            23,
            "InvalidArgumentException",
        ),
        (
            "IncreaseStreamRetentionPeriod",
            8_761,
            "ValidationException",
        ),
    ] {
        assert_eq!(
            bad(&local, operation, hours(n)).await.0,
            code,
            "{operation} {n}"
        );
    }
    put(&local, "s", "k", b"old").await;
    clock.advance(Duration::from_secs(47 * 3_600));
    put(&local, "s", "k", b"new").await;
    assert_eq!(local.records("s").len(), 2);
    clock.advance(Duration::from_secs(3_600));
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    assert_eq!(texts(&read(&local, &first, 10).await), ["old", "new"]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(texts(&read(&local, &first, 10).await), ["new"]);
    assert_eq!(local.records("s").len(), 1);
    good(&local, "DecreaseStreamRetentionPeriod", hours(24)).await;
    clock.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(local.records("s").len(), 0);
}

#[tokio::test]
async fn a_longer_retention_brings_nothing_back() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    put(&local, "s", "k", b"old").await;
    clock.advance(Duration::from_secs(24 * 3_600 + 1));
    put(&local, "s", "k", b"new").await;
    let week = json!({"StreamName": "s", "RetentionPeriodHours": 168});
    good(&local, "IncreaseStreamRetentionPeriod", week).await;
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    assert_eq!(texts(&read(&local, &first, 10).await), ["new"]);
}

#[tokio::test]
async fn a_stream_created_again_does_not_take_the_old_ones_iterators() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    put(&local, "s", "k", b"x").await;
    let old = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    good(&local, "DeleteStream", json!({"StreamName": "s"})).await;
    let (code, _) = bad(&local, "GetRecords", json!({"ShardIterator": old})).await;
    assert_eq!(code, "ResourceNotFoundException");
    local.create_stream("s", 1).unwrap();
    assert_eq!(local.records("s"), []);
    let (code, _) = bad(&local, "GetRecords", json!({"ShardIterator": old})).await;
    assert_eq!(code, "ResourceNotFoundException");
}
