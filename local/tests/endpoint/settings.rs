//! Modes, record size, placement by the service, metrics, encryption, ids.

use crate::client::{bad, base64, good, held, iterator, put, read, with};
use crate::events::{from, register, subscribe};
use local::{Limits, Local, LocalOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

async fn summary(local: &Local) -> Value {
    let answer = good(local, "DescribeStreamSummary", json!({"StreamName": "s"})).await;
    answer["StreamDescriptionSummary"].clone()
}

async fn on_demand(local: &Local, strategy: Option<&str>) {
    let mut body = json!({"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    if let Some(strategy) = strategy {
        body["RecordDistributionStrategy"] = strategy.into();
    }
    good(local, "CreateStream", body).await;
}

fn mode(name: &str) -> Value {
    json!({"StreamARN": ARN, "StreamModeDetails": {"StreamMode": name}})
}

fn strategy(name: &str) -> Value {
    json!({"StreamARN": ARN, "RecordDistributionStrategy": name})
}

#[tokio::test]
async fn a_mode_changes_twice_a_day_and_keeps_the_shards() {
    let (local, clock) = with(LocalOptions {
        state_delay: Duration::from_secs(1),
        ..LocalOptions::default()
    });
    local.create_stream("s", 3).unwrap();
    assert_eq!(
        bad(&local, "UpdateStreamMode", mode("PROVISIONED")).await.0,
        "ValidationException"
    );
    for (name, open) in [("ON_DEMAND", 3), ("PROVISIONED", 3)] {
        good(&local, "UpdateStreamMode", mode(name)).await;
        assert_eq!(summary(&local).await["StreamStatus"], "UPDATING");
        assert_eq!(
            bad(&local, "UpdateStreamMode", mode(name)).await.0,
            "ResourceInUseException"
        );
        clock.advance(Duration::from_secs(1));
        let summary = summary(&local).await;
        assert_eq!(summary["StreamStatus"], "ACTIVE");
        assert_eq!(summary["StreamModeDetails"]["StreamMode"], name);
        assert_eq!(summary["OpenShardCount"], open);
        // Absent, not a default, on a provisioned stream.
        let strategy = summary.get("RecordDistributionStrategy");
        assert_eq!(strategy.is_some(), name == "ON_DEMAND");
    }
    let (code, _) = bad(&local, "UpdateStreamMode", mode("ON_DEMAND")).await;
    assert_eq!(code, "LimitExceededException");
    clock.advance(Duration::from_secs(24 * 3_600));
    good(&local, "UpdateStreamMode", mode("ON_DEMAND")).await;
    let by_name = json!({"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    assert_eq!(
        bad(&local, "UpdateStreamMode", by_name).await.0,
        "ValidationException"
    );
}

#[tokio::test]
async fn records_of_ten_mebibytes_after_an_update() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 1).unwrap();
    let record = |size: usize| {
        json!({"StreamName": "s", "PartitionKey": "k",
            "Data": base64(&vec![7; size - 1])})
    };
    assert_eq!(
        bad(&local, "PutRecord", record((1 << 20) + 1)).await.0,
        "ValidationException"
    );
    for kib in [1_023, 10_241] {
        let body = json!({"StreamARN": ARN, "MaxRecordSizeInKiB": kib});
        assert_eq!(
            bad(&local, "UpdateMaxRecordSize", body).await.0,
            "ValidationException"
        );
    }
    let body = json!({"StreamARN": ARN, "MaxRecordSizeInKiB": 10_240});
    good(&local, "UpdateMaxRecordSize", body).await;
    assert_eq!(summary(&local).await["MaxRecordSizeInKiB"], 10_240);
    assert_eq!(
        bad(&local, "PutRecord", record((10 << 20) + 1)).await.0,
        "ValidationException"
    );
    // Borrowed from ten seconds to come.
    good(&local, "PutRecord", record(10 << 20)).await;
    clock.advance(Duration::from_millis(8_999));
    let (code, _) = bad(&local, "PutRecord", record(2)).await;
    assert_eq!(code, "ProvisionedThroughputExceededException");
    clock.advance(Duration::from_millis(2));
    good(&local, "PutRecord", record(2)).await;
    let (code, _) = bad(&local, "PutRecord", record(10 << 20)).await;
    assert_eq!(code, "ProvisionedThroughputExceededException");
    clock.advance(Duration::from_secs(1));
    good(&local, "PutRecord", record(10 << 20)).await;
    // It is read whole, alone on its page.
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    let page = read(&local, &first, 10).await;
    assert_eq!(page["Records"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_auto_stream_places_records_itself_and_needs_no_keys() {
    let (local, clock) = held();
    on_demand(&local, Some("AUTO")).await;
    assert_eq!(summary(&local).await["RecordDistributionStrategy"], "AUTO");
    let consumer = register(&local, "s", "app").await;
    // Keys and explicit hash keys that all belong to one shard do not decide.
    let mut records =
        vec![json!({"PartitionKey": "k", "Data": base64(b"keyed"), "ExplicitHashKey": "0"}); 20];
    records.extend(vec![json!({"Data": base64(b"keyless")}); 20]);
    let body = json!({"StreamName": "s", "Records": records});
    let answer = good(&local, "PutRecords", body).await;
    assert_eq!(answer["FailedRecordCount"], 0);
    let mut by_shard = BTreeMap::<String, usize>::new();
    for entry in answer["Records"].as_array().unwrap() {
        let shard = entry["ShardId"].as_str().unwrap().to_owned();
        *by_shard.entry(shard).or_default() += 1;
    }
    assert_eq!(by_shard.into_values().collect::<Vec<_>>(), [10; 4]);
    let keyless = json!({"StreamName": "s", "Data": base64(b"keyless")});
    good(&local, "PutRecord", keyless.clone()).await;
    let mut ordered = keyless.clone();
    ordered["SequenceNumberForOrdering"] = "0".into();
    assert_eq!(
        bad(&local, "PutRecord", ordered).await.0,
        "InvalidArgumentException"
    );
    // A key is given back as it was put, and a missing one is absent, in both ways of reading.
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    let polled = read(&local, &first, 100).await;
    let mut events = subscribe(&local, &consumer, 0, from("TRIM_HORIZON")).await;
    let pushed = events.now().json();
    assert_eq!(polled["Records"], pushed["Records"]);
    let mut keys = BTreeMap::<bool, usize>::new();
    for record in polled["Records"].as_array().unwrap() {
        let keyed = record["Data"] == base64(b"keyed");
        assert_eq!(record.get("PartitionKey").is_some(), keyed);
        *keys.entry(keyed).or_default() += 1;
    }
    assert_eq!(keys[&true], 5);
    assert!(keys[&false] >= 5);
    // A change applies at once, both ways.
    good(
        &local,
        "UpdateStreamRecordDistributionStrategy",
        strategy("USER_PARTITION_KEY"),
    )
    .await;
    assert_eq!(summary(&local).await["StreamStatus"], "ACTIVE");
    let (code, text) = bad(&local, "PutRecord", keyless.clone()).await;
    assert_eq!(code, "ValidationException");
    assert!(text.contains("'partitionKey'"), "{text}");
    let body = json!({"StreamName": "s", "Records": [{"Data": ""}]});
    let (code, text) = bad(&local, "PutRecords", body).await;
    assert_eq!(code, "ValidationException");
    assert!(text.contains("'records.1.member.partitionKey'"), "{text}");
    put(&local, "s", "k", b"x").await;
    good(
        &local,
        "UpdateStreamRecordDistributionStrategy",
        strategy("AUTO"),
    )
    .await;
    good(&local, "PutRecord", keyless).await;
    clock.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn a_strategy_is_for_on_demand_streams() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let operation = "UpdateStreamRecordDistributionStrategy";
    for name in ["AUTO", "USER_PARTITION_KEY"] {
        let (code, _) = bad(&local, operation, strategy(name)).await;
        assert_eq!(code, "InvalidArgumentException");
    }
    for body in [
        strategy("WHIM"),
        json!({"StreamARN": ARN}),
        json!({"StreamName": "s", "RecordDistributionStrategy": "AUTO"}),
    ] {
        let (code, _) = bad(&local, operation, body).await;
        assert_eq!(code, "ValidationException");
    }
    good(&local, "UpdateStreamMode", mode("ON_DEMAND")).await;
    assert_eq!(
        summary(&local).await["RecordDistributionStrategy"],
        "USER_PARTITION_KEY"
    );
    good(&local, operation, strategy("AUTO")).await;
    let (code, _) = bad(&local, "UpdateStreamMode", mode("PROVISIONED")).await;
    assert_eq!(code, "InvalidArgumentException");
}

#[tokio::test]
async fn metrics_are_remembered() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let metrics = |names: &[&str]| json!({"StreamName": "s", "ShardLevelMetrics": names});
    let answer = good(
        &local,
        "EnableEnhancedMonitoring",
        metrics(&["IncomingBytes", "OutgoingBytes"]),
    )
    .await;
    assert_eq!(answer["CurrentShardLevelMetrics"], json!([]));
    assert_eq!(
        answer["DesiredShardLevelMetrics"],
        json!(["IncomingBytes", "OutgoingBytes"])
    );
    assert_eq!(
        summary(&local).await["EnhancedMonitoring"],
        json!([{"ShardLevelMetrics": ["IncomingBytes", "OutgoingBytes"]}])
    );
    let all = good(&local, "EnableEnhancedMonitoring", metrics(&["ALL"])).await;
    assert_eq!(all["DesiredShardLevelMetrics"].as_array().unwrap().len(), 7);
    let none = good(&local, "DisableEnhancedMonitoring", metrics(&["ALL"])).await;
    assert_eq!(none["DesiredShardLevelMetrics"], json!([]));
    for names in [&[][..], &["Whim"]] {
        let (code, _) = bad(&local, "EnableEnhancedMonitoring", metrics(names)).await;
        assert_eq!(code, "ValidationException");
    }
}

#[tokio::test]
async fn encryption_is_told_with_what_was_put_under_it() {
    let (local, clock) = with(LocalOptions {
        limits: Limits::Off,
        state_delay: Duration::from_secs(1),
        ..LocalOptions::default()
    });
    local.create_stream("s", 1).unwrap();
    put(&local, "s", "k", b"plain").await;
    let with_key = |kind: &str| {
        json!({"StreamName": "s", "EncryptionType": kind,
            "KeyId": "alias/aws/kinesis"})
    };
    good(&local, "StartStreamEncryption", with_key("KMS")).await;
    assert_eq!(summary(&local).await["StreamStatus"], "UPDATING");
    clock.advance(Duration::from_secs(1));
    let found = summary(&local).await;
    assert_eq!(found["EncryptionType"], "KMS");
    assert_eq!(found["KeyId"], "alias/aws/kinesis");
    let record = json!({"StreamName": "s", "PartitionKey": "k", "Data": ""});
    let answer = good(&local, "PutRecord", record).await;
    assert_eq!(answer["EncryptionType"], "KMS");
    good(&local, "StopStreamEncryption", with_key("KMS")).await;
    assert_eq!(summary(&local).await["EncryptionType"], "NONE");
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    let page = read(&local, &first, 10).await;
    assert_eq!(page["Records"][0]["EncryptionType"], "NONE");
    assert_eq!(page["Records"][1]["EncryptionType"], "KMS");
    clock.advance(Duration::from_secs(1));
    for kind in ["NONE", "WHIM"] {
        let (code, _) = bad(&local, "StartStreamEncryption", with_key(kind)).await;
        assert_eq!(code, "ValidationException");
    }
}

#[tokio::test]
async fn a_stream_is_known_by_its_id_too() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    local.create_stream("t", 1).unwrap();
    let id = local.stream_id("s").unwrap();
    let arn = summary(&local).await["StreamARN"].clone();
    assert!(
        summary(&local).await.get("StreamId").is_none(),
        "SDKs would take it for part of a host's name"
    );
    let (name, suffix) = id.split_once('-').unwrap();
    assert_eq!((name.len(), suffix.len()), (20, 3));
    assert!(
        id.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    );
    let record = json!({"StreamId": id, "PartitionKey": "k", "Data": base64(b"x")});
    good(&local, "PutRecord", record).await;
    assert_eq!(local.records("s").len(), 1);
    let shards = good(&local, "ListShards", json!({"StreamId": id})).await;
    assert_eq!(shards["Shards"].as_array().unwrap().len(), 1);
    // Beside a name it says nothing.
    good(
        &local,
        "DescribeStream",
        json!({"StreamName": "t", "StreamId": id}),
    )
    .await;
    for (operation, body) in [
        (
            "ListStreamConsumers",
            json!({"StreamARN": arn, "StreamId": 5}),
        ),
        (
            "ListTagsForResource",
            json!({"ResourceARN": arn, "StreamId": 5}),
        ),
        ("ListShards", json!({"StreamName": "s", "StreamId": 5})),
    ] {
        let (code, _) = bad(&local, operation, body).await;
        assert_eq!(code, "SerializationException", "{operation}");
    }
    let (code, _) = bad(&local, "ListShards", json!({"StreamId": "x"})).await;
    assert_eq!(code, "ResourceNotFoundException");
    good(&local, "DeleteStream", json!({"StreamName": "s"})).await;
    local.create_stream("s", 1).unwrap();
    assert_ne!(local.stream_id("s"), Some(id));
}
