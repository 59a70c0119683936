//! JSON and CBOR say the same, and what is neither is named.

use crate::client::{T0, bad, good, held, request};
use bytes::Bytes;
use local::Local;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Value, json};
use std::time::Duration;

const CBOR: &str = "application/x-amz-cbor-1.1";

/// A CBOR body of text and bytes members.
pub(crate) fn cbor(members: &[(&str, Member<'_>)]) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    out.map(members.len() as u64).unwrap();
    for (name, member) in members {
        out.str(name).unwrap();
        match member {
            Member::Text(text) => out.str(text).unwrap(),
            Member::Bytes(bytes) => out.bytes(bytes).unwrap(),
            Member::Millis(millis) => out
                .tag(minicbor::data::IanaTag::Timestamp)
                .unwrap()
                .u64(*millis)
                .unwrap(),
        };
    }
    out.into_writer()
}

pub(crate) enum Member<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Millis(u64),
}

/// CBOR as JSON values: byte strings as base64, timestamps as `{"millis": …}`.
pub(crate) fn tree(decoder: &mut Decoder<'_>) -> Value {
    match decoder.datatype().unwrap() {
        Type::Map | Type::MapIndef => {
            let length = decoder.map().unwrap();
            let mut map = Map::new();
            while more(decoder, length, map.len()) {
                let key = decoder.str().unwrap().to_owned();
                map.insert(key, tree(decoder));
            }
            Value::Object(map)
        }
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array().unwrap();
            let mut list = Vec::new();
            while more(decoder, length, list.len()) {
                list.push(tree(decoder));
            }
            Value::Array(list)
        }
        Type::String => decoder.str().unwrap().into(),
        Type::Bytes => crate::client::base64(decoder.bytes().unwrap()).into(),
        Type::Bool => decoder.bool().unwrap().into(),
        Type::Tag => {
            assert_eq!(decoder.tag().unwrap().as_u64(), 1);
            json!({"millis": decoder.u64().unwrap()})
        }
        _ => decoder.u64().unwrap().into(),
    }
}

fn more(decoder: &mut Decoder<'_>, length: Option<u64>, read: usize) -> bool {
    if let Some(length) = length {
        return (read as u64) < length;
    }
    let ended = decoder.datatype().unwrap() == Type::Break;
    if ended {
        decoder.set_position(decoder.position() + 1);
    }
    !ended
}

async fn ask(local: &Local, operation: &str, members: &[(&str, Member<'_>)]) -> (u16, Value) {
    let target = format!("Kinesis_20131202.{operation}");
    let response = local
        .handle(request(&target, CBOR, cbor(members)))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], CBOR);
    let body: &Bytes = response.body();
    (response.status().as_u16(), tree(&mut Decoder::new(body)))
}

/// Takes the difference out that is meant: seconds here, milliseconds there.
fn in_millis(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| match value {
                Value::Number(n) if name.ends_with("Timestamp") => {
                    // Half a millisecond more, since the division rounds down.
                    let seconds = n.as_f64().unwrap() + 0.000_5;
                    let millis = Duration::from_secs_f64(seconds).as_millis();
                    (name, json!({"millis": u64::try_from(millis).unwrap()}))
                }
                value => (name, in_millis(value)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(list) => list.into_iter().map(in_millis).collect(),
        value => value,
    }
}

#[tokio::test]
async fn the_same_calls_in_json_and_cbor_give_equal_values() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    clock.advance(Duration::from_millis(7));
    let payload = [0, 159, 255];
    let (status, stored) = ask(
        &local,
        "PutRecord",
        &[
            ("StreamName", Member::Text("s")),
            ("PartitionKey", Member::Text("k")),
            ("Data", Member::Bytes(&payload)),
        ],
    )
    .await;
    assert_eq!(status, 200);
    let number = stored["SequenceNumber"].as_str().unwrap();
    assert_eq!(&local.records("s")[0].data[..], payload);
    local.split_shard("s", "shardId-000000000000").unwrap();
    let (_, from_cbor) = ask(
        &local,
        "GetShardIterator",
        &[
            ("StreamName", Member::Text("s")),
            ("ShardId", Member::Text("shardId-000000000000")),
            ("ShardIteratorType", Member::Text("AT_TIMESTAMP")),
            ("Timestamp", Member::Millis(T0 + 7)),
        ],
    )
    .await;
    let from_json = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
        "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.007});
    let from_json = good(&local, "GetShardIterator", from_json).await;
    assert_eq!(from_cbor, from_json);
    let iterator = from_json["ShardIterator"].as_str().unwrap();
    for (operation, name, value) in [
        ("GetRecords", "ShardIterator", iterator),
        ("ListShards", "StreamName", "s"),
        ("DescribeStreamSummary", "StreamName", "s"),
        ("DescribeStream", "StreamName", "s"),
    ] {
        let (_, in_cbor) = ask(&local, operation, &[(name, Member::Text(value))]).await;
        let in_json = good(&local, operation, json!({name: value})).await;
        assert_eq!(in_cbor, in_millis(in_json), "{operation}");
    }
    let (_, page) = ask(
        &local,
        "GetRecords",
        &[("ShardIterator", Member::Text(iterator))],
    )
    .await;
    let record = &page["Records"][0];
    assert_eq!(record["SequenceNumber"], number);
    assert_eq!(
        record["ApproximateArrivalTimestamp"],
        json!({"millis": T0 + 7})
    );
    assert_eq!(record["Data"], crate::client::base64(&payload));
}

#[tokio::test]
async fn errors_are_written_in_the_requests_encoding() {
    let (local, _) = held();
    let (status, error) = ask(
        &local,
        "DescribeStream",
        &[("StreamName", Member::Text("x"))],
    )
    .await;
    assert_eq!(status, 400);
    assert_eq!(error["__type"], "ResourceNotFoundException");
    assert_eq!(
        error["message"],
        "Stream x under account 000000000000 not found."
    );
    let wrong = [("StreamName", Member::Bytes(b"x"))];
    let (_, error) = ask(&local, "DescribeStream", &wrong).await;
    assert_eq!(error["__type"], "SerializationException");
    let as_text = [
        ("StreamName", Member::Text("x")),
        ("PartitionKey", Member::Text("k")),
        ("Data", Member::Text("aGk=")),
    ];
    let (_, error) = ask(&local, "PutRecord", &as_text).await;
    assert_eq!(
        error["__type"], "SerializationException",
        "a blob is no text in CBOR"
    );
}

#[tokio::test]
async fn what_is_no_request_is_named() {
    let (local, _) = held();
    let json_type = "application/x-amz-json-1.1";
    let cases = [
        (
            "Kinesis_20131202.Whim",
            json_type,
            "{}",
            "UnknownOperationException",
            "Whim",
        ),
        (
            "Whim_1.GetRecords",
            json_type,
            "{}",
            "UnknownOperationException",
            "Whim_1",
        ),
        ("", json_type, "{}", "UnknownOperationException", ""),
        (
            "Kinesis_20131202.ListShards",
            json_type,
            "",
            "SerializationException",
            "",
        ),
        (
            "Kinesis_20131202.ListShards",
            json_type,
            "[]",
            "SerializationException",
            "",
        ),
        (
            "Kinesis_20131202.ListShards",
            json_type,
            "{",
            "SerializationException",
            "",
        ),
        (
            "Kinesis_20131202.ListShards",
            "text/plain",
            "{}",
            "SerializationException",
            "text/plain",
        ),
    ];
    for (target, content_type, body, code, named) in cases {
        let response = local
            .handle(request(target, content_type, body))
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{target}");
        let answer: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(answer["__type"], code, "{target} {body}");
        assert!(
            answer["message"].as_str().unwrap().contains(named),
            "{answer}"
        );
    }
    let (code, _) = bad(&local, "DescribeStream", json!({"StreamName": ["s"]})).await;
    assert_eq!(code, "SerializationException");
    let health = http::Request::get("/").body(Bytes::new()).unwrap();
    assert_eq!(local.handle(health).await.unwrap().status(), 200);
}

/// What the API has and this endpoint has not, as the service's model of 2026-11 lists it.
#[tokio::test]
async fn every_other_operation_of_the_api_is_named_as_unknown() {
    let (local, _) = held();
    for operation in [
        "AcknowledgeDeadLetterQueueRecords",
        "AcknowledgeQueueRecords",
        "CreateChannel",
        "CreateQueue",
        "DeleteChannel",
        "DeleteQueue",
        "DeleteResourcePolicy",
        "DescribeAccountSettings",
        "DescribeChannel",
        "DescribeQueue",
        "GetResourcePolicy",
        "ListChannels",
        "ListQueues",
        "PutResourcePolicy",
        "ReceiveDeadLetterQueueRecords",
        "ReceiveQueueRecords",
        "RestoreDeadLetterQueueRecords",
        "UpdateAccountSettings",
        "UpdateChannel",
        "UpdateDeadLetterQueueRecordsVisibility",
        "UpdateQueue",
        "UpdateQueueRecordsVisibility",
        "UpdateStreamWarmThroughput",
    ] {
        let (code, text) = crate::client::bad(&local, operation, json!({})).await;
        assert_eq!(code, "UnknownOperationException");
        assert!(text.contains(operation), "{text}");
    }
}
