//! What the sink answers, in CBOR and in JSON.

use crate::Failure;
use aggregation::HashKey;
use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt::Write;

/// Shards in one page of `ListShards`.
const PAGE: u32 = 1_000;

#[derive(Debug)]
pub struct Answer {
    pub kind: &'static str,
    pub body: Vec<u8>,
}

pub fn answer(operation: &str, cbor: bool, body: &[u8], shards: u32) -> Result<Answer, Failure> {
    if operation == "PutRecords" {
        let ring = Ring { shards };
        return Ok(if cbor {
            Answer {
                kind: CBOR,
                body: stored_in_cbor(&ring.of_cbor(body)?)?,
            }
        } else {
            Answer {
                kind: JSON,
                body: stored_in_json(&ring.of_json(body)?)?,
            }
        });
    }
    let value = match operation {
        "ListShards" => list_shards(page_of(cbor, body)?, shards),
        "DescribeStreamSummary" => summary(shards),
        // Metrics and the caller's identity, which the official library asks for.
        _ => {
            let body = b"<GetCallerIdentityResponse><GetCallerIdentityResult>\
                <Arn>arn:aws:iam::000000000000:user/bench</Arn><UserId>bench</UserId>\
                <Account>000000000000</Account></GetCallerIdentityResult>\
                </GetCallerIdentityResponse>";
            return Ok(Answer {
                kind: "text/xml",
                body: body.to_vec(),
            });
        }
    };
    if cbor {
        let mut out = Encoder::new(Vec::new());
        write(&mut out, None, &value)?;
        return Ok(Answer {
            kind: CBOR,
            body: out.into_writer(),
        });
    }
    Ok(Answer {
        kind: JSON,
        body: serde_json::to_vec(&value)?,
    })
}

const CBOR: &str = "application/x-amz-cbor-1.1";
const JSON: &str = "application/x-amz-json-1.1";

fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The ring of hash keys in equal parts.
#[derive(Debug, Clone, Copy)]
struct Ring {
    shards: u32,
}

impl Ring {
    fn part(self) -> u128 {
        u128::MAX / u128::from(self.shards.max(1))
    }

    fn bounds(self, shard: u32) -> (u128, u128) {
        let start = self.part() * u128::from(shard);
        let end = if shard + 1 >= self.shards {
            u128::MAX
        } else {
            start + self.part() - 1
        };
        (start, end)
    }

    fn shard(self, key: HashKey) -> u32 {
        let last = self.shards.saturating_sub(1);
        u32::try_from(key.as_u128() / self.part()).map_or(last, |shard| shard.min(last))
    }

    fn entry(self, explicit: Option<&str>, partition_key: &str) -> Result<u32, Failure> {
        let key = match explicit {
            Some(text) => HashKey::parse_decimal(text)?,
            None => HashKey::of_partition_key(partition_key),
        };
        Ok(self.shard(key))
    }

    /// The shard of each entry.
    fn of_cbor(self, body: &[u8]) -> Result<Vec<u32>, Failure> {
        let mut shards = Vec::new();
        let mut d = Decoder::new(body);
        for _ in 0..d.map()?.ok_or("a map without length")? {
            if d.str()? != "Records" {
                d.skip()?;
                continue;
            }
            for _ in 0..d.array()?.ok_or("an array without length")? {
                let (mut explicit, mut partition_key) = (None, "");
                for _ in 0..d.map()?.ok_or("a map without length")? {
                    match d.str()? {
                        "ExplicitHashKey" => explicit = Some(d.str()?),
                        "PartitionKey" => partition_key = d.str()?,
                        _ => d.skip()?,
                    }
                }
                shards.push(self.entry(explicit, partition_key)?);
            }
        }
        Ok(shards)
    }

    fn of_json(self, body: &[u8]) -> Result<Vec<u32>, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Request<'b> {
            #[serde(borrow)]
            records: Vec<Entry<'b>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Entry<'b> {
            #[serde(borrow)]
            explicit_hash_key: Option<Cow<'b, str>>,
            #[serde(borrow)]
            partition_key: Cow<'b, str>,
        }
        let request: Request<'_> = serde_json::from_slice(body)?;
        let shard = |e: &Entry<'_>| self.entry(e.explicit_hash_key.as_deref(), &e.partition_key);
        request.records.iter().map(shard).collect()
    }
}

/// A number as long as the service's.
const SEQUENCE_NUMBER: &str = "49590338271490256608559692538361571095921575989136588898";

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

/// Which shard a page of `ListShards` begins with: its token says.
fn page_of(cbor: bool, body: &[u8]) -> Result<u32, Failure> {
    let text = if cbor {
        let mut d = Decoder::new(body);
        let mut token = None;
        for _ in 0..d.map()?.ok_or("a map without length")? {
            match d.str()? {
                "NextToken" => token = Some(d.str()?.to_owned()),
                _ => d.skip()?,
            }
        }
        token
    } else {
        let body: Value = serde_json::from_slice(body)?;
        body.get("NextToken")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Ok(text.map_or(Ok(0), |text| text.parse())?)
}

fn list_shards(from: u32, shards: u32) -> Value {
    let ring = Ring { shards };
    let end = shards.min(from.saturating_add(PAGE));
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
    if end < shards {
        json!({"Shards": list, "NextToken": end.to_string()})
    } else {
        json!({"Shards": list})
    }
}

fn summary(shards: u32) -> Value {
    json!({"StreamDescriptionSummary": {
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
    }})
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
