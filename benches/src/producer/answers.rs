//! What the sink answers, in CBOR and in JSON.

use super::shards::{Ring, shard_id};
use crate::Failure;
use minicbor::Encoder;
use minicbor::data::Tag;
use serde_json::{Value, json};
use std::fmt::Write;

/// Shards in one page of `ListShards`.
const PAGE: u32 = 1_000;
const CBOR: &str = "application/x-amz-cbor-1.1";
const JSON: &str = "application/x-amz-json-1.1";
/// A number as long as the service's.
const SEQUENCE_NUMBER: &str = "49590338271490256608559692538361571095921575989136588898";
const THROTTLED: &str = "ProvisionedThroughputExceededException";

#[derive(Debug)]
pub struct Answer {
    pub status: &'static str,
    pub kind: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    fn of(cbor: bool, body: Vec<u8>) -> Self {
        Self {
            status: "200 OK",
            kind: if cbor { CBOR } else { JSON },
            body,
        }
    }

    fn of_value(cbor: bool, value: &Value) -> Result<Self, Failure> {
        let body = if cbor {
            let mut out = Encoder::new(Vec::new());
            write(&mut out, None, value)?;
            out.into_writer()
        } else {
            serde_json::to_vec(value)?
        };
        Ok(Self::of(cbor, body))
    }
}

/// Every entry was stored, in these shards.
pub fn stored(cbor: bool, shards: &[u32]) -> Result<Answer, Failure> {
    let body = if cbor {
        stored_in_cbor(shards)?
    } else {
        stored_in_json(shards)?
    };
    Ok(Answer::of(cbor, body))
}

/// Every entry was throttled.
pub fn throttled(cbor: bool, shards: &[u32]) -> Result<Answer, Failure> {
    let entry = |shard: &u32| {
        let id = shard_id(*shard);
        json!({
            "ErrorCode": THROTTLED,
            "ErrorMessage": format!("Rate exceeded for shard {id} in stream bench under account 000000000000."),
        })
    };
    let records: Vec<Value> = shards.iter().map(entry).collect();
    let value = json!({"FailedRecordCount": records.len(), "Records": records});
    Answer::of_value(cbor, &value)
}

/// The service failed.
pub fn failed(cbor: bool) -> Result<Answer, Failure> {
    let answer = Answer::of_value(cbor, &json!({"__type": "InternalFailure"}))?;
    Ok(Answer {
        status: "500 Internal Server Error",
        ..answer
    })
}

/// What was asked for cannot be made sense of.
pub fn refused(reason: &Failure) -> Answer {
    Answer {
        status: "400 Bad Request",
        kind: "text/plain",
        body: reason.to_string().into_bytes(),
    }
}

/// Metrics and the caller's identity, which the official library asks for.
pub fn other() -> Answer {
    let body = b"<GetCallerIdentityResponse><GetCallerIdentityResult>\
        <Arn>arn:aws:iam::000000000000:user/bench</Arn><UserId>bench</UserId>\
        <Account>000000000000</Account></GetCallerIdentityResult>\
        </GetCallerIdentityResponse>";
    Answer {
        status: "200 OK",
        kind: "text/xml",
        body: body.to_vec(),
    }
}

fn stored_in_cbor(shards: &[u32]) -> Result<Vec<u8>, Failure> {
    let mut e = Encoder::new(Vec::with_capacity(64 + shards.len() * 128));
    e.map(2)?.str("FailedRecordCount")?.u32(0)?;
    e.str("Records")?.array(u64::try_from(shards.len())?)?;
    for shard in shards {
        e.map(2)?.str("SequenceNumber")?.str(SEQUENCE_NUMBER)?;
        e.str("ShardId")?.str(&shard_id(*shard))?;
    }
    Ok(e.into_writer())
}

fn stored_in_json(shards: &[u32]) -> Result<Vec<u8>, Failure> {
    let mut out = String::with_capacity(64 + shards.len() * 128);
    out.push_str(r#"{"FailedRecordCount":0,"Records":["#);
    for (at, shard) in shards.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let id = shard_id(*shard);
        write!(
            out,
            r#"{comma}{{"SequenceNumber":"{SEQUENCE_NUMBER}","ShardId":"{id}"}}"#
        )?;
    }
    out.push_str("]}");
    Ok(out.into_bytes())
}

/// A page of the list of shards.
pub fn shards(cbor: bool, from: u32, ring: Ring) -> Result<Answer, Failure> {
    let end = ring.shards.min(from.saturating_add(PAGE));
    let list: Vec<Value> = (from..end)
        .map(|shard| {
            let (start, end) = ring.bounds(shard);
            json!({
                "ShardId": shard_id(shard),
                "HashKeyRange": {"StartingHashKey": start.to_string(), "EndingHashKey": end.to_string()},
                "SequenceNumberRange": {"StartingSequenceNumber": SEQUENCE_NUMBER},
            })
        })
        .collect();
    let value = if end < ring.shards {
        json!({"Shards": list, "NextToken": end.to_string()})
    } else {
        json!({"Shards": list})
    };
    Answer::of_value(cbor, &value)
}

pub fn summary(cbor: bool, shards: u32) -> Result<Answer, Failure> {
    let value = json!({"StreamDescriptionSummary": {
        "StreamName": "bench",
        "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/bench",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 1_700_000_000,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": shards,
        "ConsumerCount": 0,
        "MaxRecordSizeInKiB": 1024,
    }});
    Answer::of_value(cbor, &value)
}

/// A value of JSON in CBOR, where timestamps have a tag and are in milliseconds.
fn write(e: &mut Encoder<Vec<u8>>, name: Option<&str>, value: &Value) -> Result<(), Failure> {
    match value {
        Value::Object(members) => {
            e.map(u64::try_from(members.len())?)?;
            for (name, value) in members {
                e.str(name)?;
                write(e, Some(name), value)?;
            }
        }
        Value::Array(items) => {
            e.array(u64::try_from(items.len())?)?;
            for item in items {
                write(e, None, item)?;
            }
        }
        Value::String(text) => {
            e.str(text)?;
        }
        Value::Number(number) => {
            let number = number.as_u64().ok_or("a number of another kind")?;
            if name.is_some_and(|name| name.ends_with("Timestamp")) {
                e.tag(Tag::new(1))?.u64(number * 1_000)?;
            } else {
                e.u64(number)?;
            }
        }
        Value::Bool(yes) => {
            e.bool(*yes)?;
        }
        Value::Null => {
            e.null()?;
        }
    }
    Ok(())
}
