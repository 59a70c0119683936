//! Calls per second of the control plane, what is counted over a day, and dry runs.

use crate::client::{bad, base64, good, iterator, shard_id, with};
use crate::events::{from, register, wanted};
use local::{Limits, Local, LocalOptions};
use serde_json::{Value, json};
use std::time::Duration;

/// How many of 1,200 calls at one instant are answered before the first that is not; every other
/// answer is the refusal of a rate.
async fn allowed(local: &Local, operation: &str, body: &Value) -> usize {
    for count in 0..1_200 {
        let (_, answer) = crate::client::ask(local, operation, body.clone()).await;
        let text = answer["message"].as_str().unwrap_or_default();
        if text.starts_with("Rate exceeded for ") {
            assert_eq!(answer["__type"], "LimitExceededException");
            return count;
        }
    }
    usize::MAX
}

/// The rates that the developer guide and the API reference give.
#[tokio::test]
async fn operations_are_limited_as_the_service_documents() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    clock.advance(Duration::from_secs(1));
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let stream = json!({"StreamName": "s"});
    let by_arn = json!({"StreamARN": arn});
    let cases = [
        (
            "CreateStream",
            json!({"StreamName": "s", "ShardCount": 1}),
            5,
        ),
        ("DeleteStream", json!({"StreamName": "none"}), 5),
        ("ListStreams", json!({}), 5),
        ("DescribeStream", stream.clone(), 10),
        ("DescribeStreamSummary", stream.clone(), 20),
        ("DescribeLimits", json!({}), 1),
        ("ListShards", stream.clone(), 1_000),
        ("SplitShard", stream.clone(), 5),
        ("MergeShards", by_arn.clone(), 5),
        ("UpdateShardCount", stream.clone(), 10),
        ("IncreaseStreamRetentionPeriod", stream.clone(), 5),
        ("DecreaseStreamRetentionPeriod", stream.clone(), 5),
        ("EnableEnhancedMonitoring", stream.clone(), 5),
        ("DisableEnhancedMonitoring", stream.clone(), 5),
        ("AddTagsToStream", stream.clone(), 5),
        ("RemoveTagsFromStream", stream.clone(), 5),
        ("ListTagsForStream", stream.clone(), 5),
        ("RegisterStreamConsumer", by_arn.clone(), 5),
        ("ListStreamConsumers", by_arn, 5),
        (
            "DescribeStreamConsumer",
            json!({"ConsumerARN": consumer}),
            20,
        ),
    ];
    for (operation, body, rate) in &cases {
        assert_eq!(allowed(&local, operation, body).await, *rate, "{operation}");
        clock.advance(Duration::from_millis(999));
        let more = allowed(&local, operation, body).await;
        assert!(more < *rate, "{operation}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(allowed(&local, operation, body).await, *rate, "{operation}");
    }
    // Another stream has its own, and what names no stream is refused for that.
    local.create_stream("t", 1).unwrap();
    assert_eq!(
        allowed(&local, "ListTagsForStream", &json!({"StreamName": "t"})).await,
        5
    );
    let none = json!({"StreamName": "none"});
    assert_eq!(
        allowed(&local, "ListTagsForStream", &none).await,
        usize::MAX
    );
    let _ = consumer;
}

#[tokio::test]
async fn without_the_switch_nothing_is_counted() {
    let (local, _) = with(LocalOptions {
        limits: Limits {
            calls: false,
            ..Limits::On
        },
        ..LocalOptions::default()
    });
    let body = json!({});
    assert_eq!(allowed(&local, "ListStreams", &body).await, usize::MAX);
    assert_eq!(allowed(&local, "DescribeLimits", &body).await, usize::MAX);
}

#[tokio::test]
async fn one_dry_run_a_second_over_all_five_operations() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    let tip = iterator(&local, "s", 0, "LATEST").await;
    let record = json!({"PartitionKey": "k", "Data": base64(b"x")});
    let mut put = record.clone();
    put["StreamName"] = "s".into();
    let calls = [
        ("PutRecord", put),
        (
            "PutRecords",
            json!({"StreamName": "s", "Records": [record]}),
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": shard_id(0), "ShardIteratorType": "LATEST"}),
        ),
        ("GetRecords", json!({"ShardIterator": tip})),
        ("SubscribeToShard", wanted(&consumer, 0, from("LATEST"))),
    ];
    for (operation, mut body) in calls {
        body["DryRun"] = true.into();
        let (code, text) = bad(&local, operation, body.clone()).await;
        assert_eq!(code, "DryRunOperationException");
        assert_eq!(
            text,
            format!(
                "DryRunOperation validation succeeded while calling {operation} operation.: \
                 Request would have succeeded, but DryRun flag is set."
            )
        );
        clock.advance(Duration::from_millis(500));
        assert_eq!(bad(&local, operation, body).await.0, "ThrottlingException");
        clock.advance(Duration::from_millis(500));
    }
    assert_eq!(local.records("s"), []);
}

#[tokio::test]
async fn an_account_has_so_much() {
    let (local, clock) = with(LocalOptions {
        state_delay: Duration::from_secs(10),
        ..LocalOptions::default()
    });
    let create = |name: &str| json!({"StreamName": name, "ShardCount": 4_000});
    for i in 0..5 {
        good(&local, "CreateStream", create(&format!("s{i}"))).await;
    }
    clock.advance(Duration::from_secs(1));
    let (code, text) = bad(&local, "CreateStream", create("sixth")).await;
    assert_eq!(code, "LimitExceededException");
    assert!(text.contains("5 streams in CREATING"), "{text}");
    clock.advance(Duration::from_secs(10));
    let limits = good(&local, "DescribeLimits", json!({})).await;
    assert_eq!(limits["OpenShardCount"], 20_000);
    assert_eq!(limits["ShardLimit"], 20_000);
    assert_eq!(limits["OnDemandStreamCount"], 0);
    assert_eq!(limits["OnDemandStreamCountLimit"], 50);
    let (code, text) = bad(&local, "CreateStream", create("more")).await;
    assert_eq!(code, "LimitExceededException");
    assert!(text.contains("20000 open shards"), "{text}");
    let more = json!({"StreamName": "s0", "TargetShardCount": 4_001,
        "ScalingType": "UNIFORM_SCALING"});
    let (code, _) = bad(&local, "UpdateShardCount", more).await;
    assert_eq!(code, "LimitExceededException");
    // Shards of on-demand streams are not counted.
    let demand = json!({"StreamName": "d", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    good(&local, "CreateStream", demand).await;
}
