//! The bound on memory: the oldest records of all streams go first.

use crate::client::{base64, good, held, kinesis};
use local::{Local, LocalOptions};
use serde_json::json;
use std::time::Duration;

const MOST: u64 = 1 << 20;

async fn put(local: &Local, stream: &str, key: u32, size: usize) {
    let body = json!({"StreamName": stream, "PartitionKey": key.to_string(),
        "Data": base64(&vec![b'x'; size])});
    good(local, kinesis("PutRecord", &body)).await;
}

#[tokio::test]
async fn the_oldest_records_of_all_streams_are_trimmed() {
    let (local, clock) = held(LocalOptions {
        max_bytes: Some(MOST),
        ..LocalOptions::default()
    });
    local.create_stream("a", 3).unwrap();
    local.create_stream("b", 2).unwrap();
    // Old records of one stream go before newer ones of the other.
    for n in 0..20 {
        put(&local, "a", n, 10_000).await;
        clock.advance(Duration::from_millis(10));
    }
    for n in 0..300 {
        put(&local, "b", n, 10_000).await;
        clock.advance(Duration::from_millis(10));
        assert!(local.kept_bytes() <= MOST, "{}", local.kept_bytes());
    }
    assert_eq!(local.records("a"), []);
    let mut keys: Vec<u32> = local
        .records("b")
        .iter()
        .map(|r| r.partition_key.as_deref().unwrap().parse().unwrap())
        .collect();
    keys.sort_unstable();
    // What is left is the newest, without a hole.
    let first = keys[0];
    assert_eq!(keys, (first..300).collect::<Vec<_>>());
    assert!(keys.len() > 80, "{}", keys.len());
    assert_eq!(local.trimmed_records(), 20 + u64::from(first));
    // A reader goes on at the oldest that is left, as after retention.
    let shard = json!({"StreamName": "b", "ShardId": "shardId-000000000000",
        "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = good(&local, kinesis("GetShardIterator", &shard)).await;
    let page = json!({"ShardIterator": iterator["ShardIterator"]});
    let page = good(&local, kinesis("GetRecords", &page)).await;
    let read = page["Records"][0]["PartitionKey"].as_str().unwrap();
    assert!(read.parse::<u32>().unwrap() >= first);
}

#[tokio::test]
async fn what_is_gone_is_not_counted() {
    let (local, clock) = held(LocalOptions::default());
    local.create_stream("a", 2).unwrap();
    for n in 0..10 {
        put(&local, "a", n, 1_000).await;
    }
    let kept = local.kept_bytes();
    assert!((10_000..13_000).contains(&kept), "{kept}");
    clock.advance(Duration::from_secs(25 * 3_600));
    assert_eq!(local.records("a"), []);
    assert_eq!(local.kept_bytes(), 0);
    put(&local, "a", 0, 1_000).await;
    good(&local, kinesis("DeleteStream", &json!({"StreamName": "a"}))).await;
    assert_eq!(local.shards("a"), []);
    assert_eq!(local.kept_bytes(), 0);
}
