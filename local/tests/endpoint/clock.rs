//! Time: a paused tokio clock, and runs that repeat.

use crate::client::{T0, ask, base64, good, held, iterator, put, read, texts};
use crate::events::{from, register, subscribe};
use local::{Fault, FaultAction, Limits, Local, LocalOptions, RequestSeen};
use runtime::time::{epoch_millis, from_epoch_millis};
use runtime::{Chance, TokioClock};
use serde_json::json;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

fn on_tokios_clock(seed: u64) -> Local {
    Local::new(LocalOptions {
        limits: Limits::On,
        clock: Some(Arc::new(TokioClock::starting_at(from_epoch_millis(T0)))),
        seed,
        ..LocalOptions::default()
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_take_no_time_and_time_moves_only_with_the_test() {
    let local = on_tokios_clock(0);
    local.create_stream("s", 1).unwrap();
    let start = Instant::now();
    put(&local, "s", "k", b"first").await;
    let table = json!({"TableName": "leases",
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST"});
    let created = local
        .handle(crate::client::request(
            "DynamoDB_20120810.CreateTable",
            "application/x-amz-json-1.0",
            table.to_string(),
        ))
        .await
        .unwrap();
    assert_eq!(created.status(), 200);
    assert_eq!(start.elapsed(), Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(90)).await;
    put(&local, "s", "k", b"second").await;
    let arrivals: Vec<u64> = local
        .records("s")
        .iter()
        .map(|r| epoch_millis(r.arrival))
        .collect();
    assert_eq!(arrivals, [T0, T0 + 90_000]);
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    let page = read(&local, &first, 1).await;
    assert_eq!(texts(&page), ["first"]);
    // Five minutes and a day pass in no time.
    tokio::time::sleep(Duration::from_secs(301)).await;
    let (status, error) = ask(&local, "GetRecords", json!({"ShardIterator": first})).await;
    assert_eq!(status, 400);
    assert_eq!(error["__type"], "ExpiredIteratorException");
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(local.records("s"), []);
    assert_eq!(start.elapsed(), Duration::from_secs(90 + 301 + 24 * 3_600));
}

#[tokio::test(start_paused = true)]
async fn the_default_clock_follows_tokios() {
    let local = Local::new(LocalOptions::default()).unwrap();
    local.create_stream("s", 1).unwrap();
    put(&local, "s", "k", b"a").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    put(&local, "s", "k", b"b").await;
    let records = local.records("s");
    let apart = records[1]
        .arrival
        .duration_since(records[0].arrival)
        .unwrap();
    assert_eq!(apart, Duration::from_secs(5));
}

#[tokio::test]
async fn a_held_clock_ends_a_subscription_after_five_minutes() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    let mut events = subscribe(&local, &consumer, 0, from("LATEST")).await;
    assert_eq!(events.now().texts(), [""; 0]);
    clock.advance(Duration::from_millis(4_999));
    assert!(events.poll().is_pending());
    clock.advance(Duration::from_millis(1));
    assert_eq!(events.now().texts(), [""; 0]);
    clock.advance(Duration::from_millis(294_999));
    assert_eq!(events.now().texts(), [""; 0]);
    put(&local, "s", "k", b"in time").await;
    assert_eq!(events.now().texts(), ["in time"]);
    assert!(events.poll().is_pending());
    clock.advance(Duration::from_millis(1));
    put(&local, "s", "k", b"too late").await;
    assert!(matches!(events.poll(), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn the_date_header_shows_the_endpoints_clock() {
    let local = on_tokios_clock(0);
    local.create_stream("s", 1).unwrap();
    let body = json!({"StreamName": "s"});
    let response = crate::client::send(&local, "DescribeStream", &body)
        .await
        .unwrap();
    assert_eq!(response.headers()["date"], "Tue, 14 Nov 2023 22:13:20 GMT");
    assert!(response.headers().contains_key("x-amzn-requestid"));
}

/// A short run whose steps are drawn from a seed; gives the journal and every answer.
async fn run(seed: u64) -> (Vec<RequestSeen>, Vec<String>) {
    let local = on_tokios_clock(seed);
    let chance = Chance::seeded(seed);
    local.create_stream("s", 2).unwrap();
    local
        .faults()
        .add(Fault::nth("PutRecords", 5, FaultAction::LoseAnswer));
    let mut answers = Vec::new();
    let mut at = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    for step in 0..60 {
        let records: Vec<_> = (0..=chance.below(40))
            .map(|_| json!({"PartitionKey": chance.uuid(), "Data": base64(b"payload")}))
            .collect();
        let body = json!({"StreamName": "s", "Records": records});
        match crate::client::send(&local, "PutRecords", &body).await {
            Ok(response) => answers.push(format!("{response:?}")),
            Err(lost) => answers.push(lost.to_string()),
        }
        if step == 30 {
            local.split_shard("s", "shardId-000000000001").unwrap();
        }
        let (status, page) = ask(&local, "GetRecords", json!({"ShardIterator": at})).await;
        if status == 200 {
            at = page["NextShardIterator"].as_str().unwrap().to_owned();
        }
        answers.push(page.to_string());
        let item = json!({"TableName": "none", "Key": {"k": {"S": "v"}}}).to_string();
        let get = crate::client::request("DynamoDB_20120810.GetItem", "application/json", item);
        answers.push(format!("{:?}", local.handle(get).await));
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
    }
    let summary = good(&local, "DescribeStreamSummary", json!({"StreamName": "s"})).await;
    answers.push(summary.to_string());
    (local.journal(), answers)
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_every_answer_byte_for_byte() {
    let first = run(11).await;
    let second = run(11).await;
    assert_eq!(first.1, second.1);
    assert_eq!(first.0, second.0);
    assert!(first.0.iter().any(|r| r.status == 0));
    assert_ne!(first.1, run(12).await.1);
}
