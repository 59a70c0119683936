//! Whatever comes in, in either encoding, to any operation: an answer that is no server error, no panic,
//! and an endpoint that still works.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

use bytes::Bytes;
use futures::FutureExt;
use local::{Limits, Local, LocalOptions};
use minicbor::Encoder;
use proptest::prelude::*;
use serde_json::{Value, json};

const KINESIS: [&str; 14] = [
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteStream",
    "DescribeStream",
    "DescribeStreamSummary",
    "GetRecords",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListShards",
    "ListStreams",
    "MergeShards",
    "PutRecord",
    "PutRecords",
    "SplitShard",
];
const DYNAMODB: [&str; 8] = [
    "CreateTable",
    "DeleteItem",
    "DescribeTable",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "UpdateItem",
];
const KEYS: [&str; 22] = [
    "StreamName",
    "StreamARN",
    "ShardCount",
    "ShardId",
    "ShardIteratorType",
    "StartingSequenceNumber",
    "Timestamp",
    "ShardIterator",
    "Limit",
    "Records",
    "Data",
    "PartitionKey",
    "ExplicitHashKey",
    "ShardFilter",
    "Type",
    "NextToken",
    "MaxResults",
    "ShardToSplit",
    "NewStartingHashKey",
    "ShardToMerge",
    "AdjacentShardToMerge",
    "RetentionPeriodHours",
];
const TEXTS: [&str; 14] = [
    "s",
    "shardId-000000000000",
    "shardId-000000000001",
    "AT_SEQUENCE_NUMBER",
    "AFTER_SEQUENCE_NUMBER",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
    "LATEST",
    "TRIM_HORIZON",
    "0",
    "340282366920938463463374607431768211455",
    "99999999999999999999999999999999999999999999999999999999",
    "aGk=",
    "",
];

/// Bodies that look like requests: known names with values of any type.
fn request_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => proptest::sample::select(&TEXTS[..]).prop_map(Value::from),
        1 => ".{0,20}".prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (0..20_i64).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        let members =
            proptest::collection::vec((proptest::sample::select(&KEYS[..]), inner.clone()), 0..5);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|m| m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    });
    let members = proptest::collection::vec((proptest::sample::select(&KEYS[..]), value), 0..6);
    members.prop_map(|members| {
        let mut body = json!({"StreamName": "s"});
        for (key, value) in members {
            body[key] = value;
        }
        body
    })
}

/// The same in CBOR, numbers under `Timestamp` tagged.
fn cbor(value: &Value, out: &mut Encoder<Vec<u8>>) {
    match value {
        Value::Null => out.null().map(drop).unwrap(),
        Value::Bool(b) => out.bool(*b).map(drop).unwrap(),
        Value::Number(n) => match n.as_i64() {
            Some(n) => out.i64(n).map(drop).unwrap(),
            None => out.f64(n.as_f64().unwrap_or(f64::NAN)).map(drop).unwrap(),
        },
        Value::String(s) => out.str(s).map(drop).unwrap(),
        Value::Array(items) => {
            out.array(items.len() as u64).unwrap();
            items.iter().for_each(|item| cbor(item, out));
        }
        Value::Object(members) => {
            out.map(members.len() as u64).unwrap();
            for (key, member) in members {
                out.str(key).unwrap();
                if key == "Timestamp" && member.is_number() {
                    out.tag(minicbor::data::IanaTag::Timestamp).unwrap();
                }
                if key == "Data" {
                    out.bytes(member.as_str().unwrap_or_default().as_bytes())
                        .unwrap();
                } else {
                    cbor(member, out);
                }
            }
        }
    }
}

fn ask(local: &Local, target: &str, content_type: &str, body: Vec<u8>) -> (u16, Bytes) {
    let request = http::Request::post("/")
        .header("x-amz-target", target)
        .header("content-type", content_type)
        .body(Bytes::from(body))
        .unwrap();
    // Without faults an answer is there at the first poll.
    let response = local.handle(request).now_or_never().unwrap().unwrap();
    (response.status().as_u16(), response.into_body())
}

fn endpoint() -> Local {
    let local = Local::new(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("s", 1).unwrap();
    local.split_shard("s", "shardId-000000000000").unwrap();
    local
}

fn still_works(local: &Local) -> Result<(), TestCaseError> {
    local.create_stream("another", 1).unwrap();
    let body = json!({"StreamName": "another", "PartitionKey": "k", "Data": "aGk="});
    let json = "application/x-amz-json-1.1";
    let target = "Kinesis_20131202.PutRecord";
    let (status, _) = ask(local, target, json, body.to_string().into_bytes());
    prop_assert_eq!(status, 200);
    prop_assert_eq!(local.records("another").len(), 1);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn requests_of_any_shape_are_answered(
        bodies in proptest::collection::vec((0..KINESIS.len(), request_like()), 1..12),
    ) {
        for encoding in ["application/x-amz-json-1.1", "application/x-amz-cbor-1.1"] {
            let local = endpoint();
            for (operation, body) in &bodies {
                let bytes = if encoding.contains("json") {
                    body.to_string().into_bytes()
                } else {
                    let mut out = Encoder::new(Vec::new());
                    cbor(body, &mut out);
                    out.into_writer()
                };
                let target = format!("Kinesis_20131202.{}", KINESIS[*operation]);
                let (status, answer) = ask(&local, &target, encoding, bytes);
                prop_assert!(status < 500, "{target} {body}: {status} {answer:?}");
            }
            still_works(&local)?;
        }
    }

    #[test]
    fn any_bytes_are_answered(
        operation in 0..KINESIS.len() + DYNAMODB.len(),
        encoding in proptest::sample::select(&[
            "application/x-amz-json-1.1", "application/x-amz-cbor-1.1", "application/x-amz-json-1.0", "", "text/html",
        ][..]),
        body: Vec<u8>,
    ) {
        let local = endpoint();
        let target = match operation.checked_sub(KINESIS.len()) {
            None => format!("Kinesis_20131202.{}", KINESIS[operation]),
            Some(at) => format!("DynamoDB_20120810.{}", DYNAMODB[at]),
        };
        let (status, answer) = ask(&local, &target, encoding, body);
        prop_assert!(status < 500, "{target}: {status} {answer:?}");
        still_works(&local)?;
    }
}
