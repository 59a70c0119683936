//! A client of the tests' own: JSON in process, on a clock that a test holds.

use bytes::Bytes;
use http::{Request, Response};
use local::{ConnectionLost, Limits, Local, LocalOptions};
use runtime::ManualClock;
use runtime::time::from_epoch_millis;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where the tests' clocks start: a whole second, in milliseconds since the epoch.
pub(crate) const T0: u64 = 1_700_000_000_000;

/// An endpoint without limits, on a clock that stands until it is moved.
pub(crate) fn held() -> (Local, Arc<ManualClock>) {
    with(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    })
}

pub(crate) fn with(options: LocalOptions) -> (Local, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(from_epoch_millis(T0)));
    let local = Local::new(LocalOptions {
        clock: Some(Arc::<ManualClock>::clone(&clock) as _),
        ..options
    })
    .unwrap();
    (local, clock)
}

pub(crate) fn request(target: &str, content_type: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    Request::post("/")
        .header("x-amz-target", target)
        .header("content-type", content_type)
        .body(body.into())
        .unwrap()
}

pub(crate) async fn send(
    local: &Local,
    operation: &str,
    body: &Value,
) -> Result<Response<Bytes>, ConnectionLost> {
    let target = format!("Kinesis_20131202.{operation}");
    let body = serde_json::to_vec(body).unwrap();
    local
        .handle(request(&target, "application/x-amz-json-1.1", body))
        .await
}

/// The status and the body of an answer.
pub(crate) async fn ask(local: &Local, operation: &str, body: Value) -> (u16, Value) {
    let response = send(local, operation, &body).await.unwrap();
    let value = match response.body() {
        body if body.is_empty() => Value::Null,
        body => serde_json::from_slice(body).unwrap(),
    };
    (response.status().as_u16(), value)
}

/// The body of a good answer.
pub(crate) async fn good(local: &Local, operation: &str, body: Value) -> Value {
    let (status, answer) = ask(local, operation, body.clone()).await;
    assert_eq!(status, 200, "{operation} {body}: {answer}");
    answer
}

/// The name and the text of an error answer.
pub(crate) async fn bad(local: &Local, operation: &str, body: Value) -> (String, String) {
    let (status, answer) = ask(local, operation, body.clone()).await;
    assert_eq!(status, 400, "{operation} {body}: {answer}");
    (
        answer["__type"].as_str().unwrap().to_owned(),
        answer["message"].as_str().unwrap_or_default().to_owned(),
    )
}

/// Puts one record; gives its shard and its sequence number.
pub(crate) async fn put(local: &Local, stream: &str, key: &str, data: &[u8]) -> (String, String) {
    let body = json!({"StreamName": stream, "PartitionKey": key, "Data": base64(data)});
    let answer = good(local, "PutRecord", body).await;
    (
        answer["ShardId"].as_str().unwrap().to_owned(),
        answer["SequenceNumber"].as_str().unwrap().to_owned(),
    )
}

/// An iterator of a type that needs nothing more.
pub(crate) async fn iterator(local: &Local, stream: &str, shard: u32, kind: &str) -> String {
    iterator_of(
        local,
        json!({
            "StreamName": stream, "ShardId": shard_id(shard), "ShardIteratorType": kind,
        }),
    )
    .await
}

pub(crate) async fn iterator_of(local: &Local, body: Value) -> String {
    let answer = good(local, "GetShardIterator", body).await;
    answer["ShardIterator"].as_str().unwrap().to_owned()
}

pub(crate) async fn read(local: &Local, iterator: &str, limit: u64) -> Value {
    good(
        local,
        "GetRecords",
        json!({"ShardIterator": iterator, "Limit": limit}),
    )
    .await
}

/// The payloads of a page, as text.
pub(crate) fn texts(page: &Value) -> Vec<String> {
    page["Records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            let data = record["Data"].as_str().unwrap();
            let bytes = base64_simd::STANDARD.decode_to_vec(data).unwrap();
            String::from_utf8(bytes).unwrap()
        })
        .collect()
}

/// The ids of a list of shards.
pub(crate) fn ids(answer: &Value) -> Vec<String> {
    answer["Shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shard| shard["ShardId"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn shard_id(index: u32) -> String {
    format!("shardId-{index:012}")
}

pub(crate) fn base64(data: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(data)
}
