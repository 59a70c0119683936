//! The service's limits per shard, on the endpoint's clock.

use crate::client::{ask, bad, base64, good, iterator, read, shard_id, with};
use local::{Limits, LocalOptions};
use serde_json::{Value, json};
use std::time::Duration;

fn entry(hash_key: u128, size: usize) -> Value {
    json!({"PartitionKey": "k", "Data": base64(&vec![0; size]),
        "ExplicitHashKey": hash_key.to_string()})
}

#[tokio::test]
async fn a_hot_shard_of_four_refuses_only_its_own_entries() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 4).unwrap();
    let hot = 0;
    let cold = u128::MAX;
    let batch = |hash_key| {
        let records = vec![entry(hash_key, 1); 500];
        json!({"StreamName": "s", "Records": records})
    };
    for _ in 0..2 {
        let answer = good(&local, "PutRecords", batch(hot)).await;
        assert_eq!(answer["FailedRecordCount"], 0);
    }
    let mixed: Vec<Value> = (0..100)
        .map(|i| entry(if i % 4 == 0 { hot } else { cold }, 1))
        .collect();
    let answer = good(
        &local,
        "PutRecords",
        json!({"StreamName": "s", "Records": mixed}),
    )
    .await;
    assert_eq!(answer["FailedRecordCount"], 25);
    for (i, outcome) in answer["Records"].as_array().unwrap().iter().enumerate() {
        if i % 4 == 0 {
            assert_eq!(
                outcome["ErrorCode"],
                "ProvisionedThroughputExceededException"
            );
            assert_eq!(
                outcome["ErrorMessage"],
                "Rate exceeded for shard shardId-000000000000 in stream s under account \
                 000000000000."
            );
            assert!(outcome["SequenceNumber"].is_null());
        } else {
            assert_eq!(outcome["ShardId"], shard_id(3));
            assert!(outcome["ErrorCode"].is_null());
        }
    }
    let mut one = entry(hot, 1);
    one["StreamName"] = "s".into();
    let (code, _) = bad(&local, "PutRecord", one.clone()).await;
    assert_eq!(code, "ProvisionedThroughputExceededException");
    clock.advance(Duration::from_millis(1));
    good(&local, "PutRecord", one).await;
    assert_eq!(local.records("s").len(), 1_000 + 75 + 1);
}

#[tokio::test]
async fn bytes_are_limited_with_their_keys() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 1).unwrap();
    let put = |size: usize| json!({"StreamName": "s", "Records": [entry(0, size)]});
    let whole = good(&local, "PutRecords", put((1 << 20) - 1)).await;
    assert_eq!(whole["FailedRecordCount"], 0);
    let more = good(&local, "PutRecords", put(0)).await;
    assert_eq!(more["FailedRecordCount"], 1);
    clock.advance(Duration::from_millis(500));
    let half = good(&local, "PutRecords", put((1 << 19) - 1)).await;
    assert_eq!(half["FailedRecordCount"], 0);
}

#[tokio::test]
async fn reads_are_limited_by_calls_and_by_bytes() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 2).unwrap();
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    for _ in 0..5 {
        read(&local, &first, 1).await;
    }
    let page = json!({"ShardIterator": first});
    let (code, text) = bad(&local, "GetRecords", page.clone()).await;
    assert_eq!(code, "ProvisionedThroughputExceededException");
    assert!(text.starts_with("Rate exceeded for shard shardId-000000000000 in stream s"));
    // The other shard has its own allowance.
    read(&local, &iterator(&local, "s", 1, "LATEST").await, 1).await;
    clock.advance(Duration::from_millis(200));
    good(&local, "GetRecords", page.clone()).await;
    // 12 MiB to read: ten at once, then five seconds of refusals, then the rest without a gap.
    for _ in 0..12 {
        clock.advance(Duration::from_secs(1));
        let record = json!({"StreamName": "s", "Records": [entry(0, (1 << 20) - 1)]});
        assert_eq!(
            good(&local, "PutRecords", record).await["FailedRecordCount"],
            0
        );
    }
    let large = good(&local, "GetRecords", page).await;
    assert_eq!(large["Records"].as_array().unwrap().len(), 10);
    let next = large["NextShardIterator"].as_str().unwrap();
    let rest = json!({"ShardIterator": next});
    for _ in 0..2 {
        let (code, _) = bad(&local, "GetRecords", rest.clone()).await;
        assert_eq!(code, "ProvisionedThroughputExceededException");
        clock.advance(Duration::from_millis(2_499));
    }
    assert_eq!(ask(&local, "GetRecords", rest.clone()).await.0, 400);
    clock.advance(Duration::from_millis(2));
    let rest = good(&local, "GetRecords", rest).await;
    assert_eq!(rest["Records"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn iterators_are_given_five_times_a_second() {
    let (local, _) = with(LocalOptions::default());
    local.create_stream("s", 1).unwrap();
    let body = json!({"StreamName": "s", "ShardId": shard_id(0), "ShardIteratorType": "LATEST"});
    for _ in 0..5 {
        good(&local, "GetShardIterator", body.clone()).await;
    }
    assert_eq!(
        bad(&local, "GetShardIterator", body).await.0,
        "ProvisionedThroughputExceededException"
    );
}

#[tokio::test]
async fn one_switch_leaves_all_limits_out() {
    let (local, _) = with(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    });
    local.create_stream("s", 1).unwrap();
    for _ in 0..10 {
        let records = vec![entry(0, 2_000); 500];
        let body = json!({"StreamName": "s", "Records": records});
        assert_eq!(
            good(&local, "PutRecords", body).await["FailedRecordCount"],
            0
        );
        let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
        read(&local, &first, 10_000).await;
    }
}

#[tokio::test]
async fn each_limit_has_a_switch_of_its_own() {
    let many = json!({"StreamName": "s", "Records": vec![entry(0, 1); 501]});
    let large = json!({"StreamName": "s", "PartitionKey": "k",
        "Data": base64(&vec![0; 2 << 20])});
    let burst = json!({"StreamName": "s", "Records": vec![entry(0, (1 << 20) - 1); 9]});
    let full = Limits::On;
    let request = Limits {
        request_size: false,
        ..full
    };
    let record = Limits {
        record_size: false,
        ..full
    };
    let writes = Limits {
        shard_writes: false,
        ..full
    };
    // Limits, and whether too many entries, a large record and a burst pass.
    let cases = [
        (full, [false, false, false]),
        (request, [true, false, false]),
        (record, [false, true, false]),
        (writes, [false, false, true]),
    ];
    for (limits, [many_pass, large_passes, burst_passes]) in cases {
        let (local, clock) = with(LocalOptions {
            limits,
            ..LocalOptions::default()
        });
        local.create_stream("s", 1).unwrap();
        assert_eq!(
            ask(&local, "PutRecords", many.clone()).await.0 == 200,
            many_pass
        );
        clock.advance(Duration::from_secs(10));
        assert_eq!(
            ask(&local, "PutRecord", large.clone()).await.0 == 200,
            large_passes
        );
        clock.advance(Duration::from_secs(10));
        let answer = good(&local, "PutRecords", burst.clone()).await;
        assert_eq!(answer["FailedRecordCount"] == 0, burst_passes);
    }
    let reads = async |limits| {
        let (local, _) = with(LocalOptions {
            limits,
            ..LocalOptions::default()
        });
        local.create_stream("s", 1).unwrap();
        let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
        for _ in 0..5 {
            read(&local, &first, 1).await;
        }
        ask(&local, "GetRecords", json!({"ShardIterator": first}))
            .await
            .0
    };
    assert_eq!(reads(Limits::On).await, 400);
    let without = Limits {
        shard_reads: false,
        ..Limits::On
    };
    assert_eq!(reads(without).await, 200);
    let consumers = async |limits| {
        let (local, _) = with(LocalOptions {
            limits,
            ..LocalOptions::default()
        });
        local.create_stream("s", 1).unwrap();
        let mut registered = 0;
        for i in 0..25 {
            let body = json!({"ConsumerName": format!("c{i}"),
                "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s"});
            registered += usize::from(ask(&local, "RegisterStreamConsumer", body).await.0 == 200);
        }
        registered
    };
    let uncounted = Limits {
        calls: false,
        ..Limits::On
    };
    assert_eq!(consumers(uncounted).await, 20);
    let unlimited = Limits {
        consumers: false,
        ..uncounted
    };
    assert_eq!(consumers(unlimited).await, 25);
    assert_eq!(consumers(Limits::On).await, 5, "the rate of calls");
}
