//! PutRecord and PutRecords: routing, sizes, and what refuses a call.

use crate::client::{bad, base64, good, held, put, shard_id};
use serde_json::{Value, json};

fn record(key: &str, size: usize) -> Value {
    json!({"PartitionKey": key, "Data": base64(&vec![b'x'; size])})
}

#[tokio::test]
async fn records_go_to_the_shard_of_their_hash_key() {
    let (local, _) = held();
    local.create_stream("s", 2).unwrap();
    let half = 1_u128 << 127;
    for (key, shard) in [(0, 0), (half - 1, 0), (half, 1), (u128::MAX, 1)] {
        let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "",
            "ExplicitHashKey": key.to_string()});
        let answer = good(&local, "PutRecord", body).await;
        assert_eq!(answer["ShardId"], shard_id(shard), "{key}");
    }
    // The MD5 of "a" starts with 0c, that of "b" with 92 (RFC 1321 and md5sum).
    assert_eq!(put(&local, "s", "a", b"").await.0, shard_id(0));
    assert_eq!(put(&local, "s", "b", b"").await.0, shard_id(1));
    let stored = local.records("s");
    assert_eq!(stored[0].explicit_hash_key, Some(0));
    assert_eq!(stored.last().unwrap().explicit_hash_key, None);
    assert_eq!(stored.last().unwrap().partition_key.as_deref(), Some("b"));
}

#[tokio::test]
async fn entries_are_answered_in_their_order() {
    let (local, _) = held();
    local.create_stream("s", 4).unwrap();
    let records: Vec<Value> = (0..500).map(|i| record(&format!("key-{i}"), 3)).collect();
    let answer = good(
        &local,
        "PutRecords",
        json!({"StreamName": "s", "Records": records}),
    )
    .await;
    assert_eq!(answer["FailedRecordCount"], 0);
    let answered = answer["Records"].as_array().unwrap();
    assert_eq!(answered.len(), 500);
    let stored = local.records("s");
    assert_eq!(stored.len(), 500);
    for (i, entry) in answered.iter().enumerate() {
        let found = stored
            .iter()
            .find(|r| entry["SequenceNumber"] == r.sequence_number)
            .unwrap();
        assert_eq!(
            found.partition_key.as_deref(),
            Some(format!("key-{i}").as_str())
        );
        assert_eq!(entry["ShardId"], found.shard_id);
    }
}

#[tokio::test]
async fn payload_and_key_together_are_bounded() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let big = json!({"StreamName": "big", "ShardCount": 1, "MaxRecordSizeInKiB": 2_048});
    good(&local, "CreateStream", big).await;
    let key = "k".repeat(256);
    let of = |stream: &str, size: usize| {
        let mut body = record(&key, size);
        body["StreamName"] = stream.into();
        body
    };
    let limit = (1 << 20) - 256;
    good(&local, "PutRecord", of("s", limit)).await;
    let (code, _) = bad(&local, "PutRecord", of("s", limit + 1)).await;
    assert_eq!(code, "ValidationException");
    good(&local, "PutRecord", of("big", (2 << 20) - 256)).await;
    let (code, _) = bad(&local, "PutRecord", of("big", (2 << 20) - 255)).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(local.records("s").len(), 1);
}

#[tokio::test]
async fn a_request_is_bounded_to_ten_mebibytes_and_five_hundred_entries() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let mebibyte = record("k", (1 << 20) - 1);
    let full: Vec<Value> = vec![mebibyte.clone(); 10];
    good(
        &local,
        "PutRecords",
        json!({"StreamName": "s", "Records": full}),
    )
    .await;
    let mut over = full;
    over.push(record("k", 0));
    let (code, _) = bad(
        &local,
        "PutRecords",
        json!({"StreamName": "s", "Records": over}),
    )
    .await;
    assert_eq!(code, "InvalidArgumentException");
    for count in [0, 501] {
        let records = vec![record("k", 1); count];
        let body = json!({"StreamName": "s", "Records": records});
        assert_eq!(
            bad(&local, "PutRecords", body).await.0,
            "ValidationException"
        );
    }
    let (code, _) = bad(&local, "PutRecords", json!({"StreamName": "s"})).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(local.records("s").len(), 10);
}

#[tokio::test]
async fn one_invalid_entry_refuses_the_call() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let long = "k".repeat(257);
    let cases = [
        (json!({"Data": ""}), "ValidationException"),
        (json!({"PartitionKey": "k"}), "ValidationException"),
        (
            json!({"PartitionKey": "", "Data": ""}),
            "ValidationException",
        ),
        (
            json!({"PartitionKey": long, "Data": ""}),
            "ValidationException",
        ),
        (
            json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": "01"}),
            "ValidationException",
        ),
        (
            json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": "9".repeat(39)}),
            "InvalidArgumentException",
        ),
        (
            json!({"PartitionKey": "k", "Data": "???"}),
            "SerializationException",
        ),
        (
            json!({"PartitionKey": 5, "Data": ""}),
            "SerializationException",
        ),
        (json!("text"), "SerializationException"),
    ];
    for (entry, code) in cases {
        let body = json!({"StreamName": "s", "Records": [record("k", 1), entry]});
        let (found, text) = bad(&local, "PutRecords", body).await;
        assert_eq!(found, code, "{entry}");
        if code == "ValidationException" {
            assert!(text.contains("'records.2.member."), "{text}");
        }
    }
    let missing = json!({"StreamName": "none", "Records": [record("k", 1)]});
    let (code, _) = bad(&local, "PutRecords", missing).await;
    assert_eq!(code, "ResourceNotFoundException");
    // 256 characters are fine whatever their bytes.
    put(&local, "s", &"é".repeat(256), b"").await;
    assert_eq!(local.records("s").len(), 1);
}

#[tokio::test]
async fn a_dry_run_checks_and_does_nothing() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let mut one = record("k", 1);
    one["StreamName"] = "s".into();
    one["DryRun"] = true.into();
    let many = json!({"StreamName": "s", "DryRun": true, "Records": [record("k", 1)]});
    let tip = json!({"StreamName": "s", "DryRun": true, "ShardId": shard_id(0),
        "ShardIteratorType": "LATEST"});
    let iterator = crate::client::iterator(&local, "s", 0, "LATEST").await;
    let page = json!({"ShardIterator": iterator, "DryRun": true});
    for (operation, mut body) in [
        ("PutRecord", one),
        ("PutRecords", many),
        ("GetShardIterator", tip),
        ("GetRecords", page),
    ] {
        let (code, text) = bad(&local, operation, body.clone()).await;
        assert_eq!(code, "DryRunOperationException");
        assert!(text.contains(operation), "{text}");
        if operation != "GetRecords" {
            body["StreamName"] = "none".into();
            let (code, _) = bad(&local, operation, body).await;
            assert_eq!(code, "ResourceNotFoundException");
        }
    }
    assert_eq!(local.records("s"), []);
}
