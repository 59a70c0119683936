//! Requests, as pure functions to bytes.

use super::types::{IteratorPosition, NewStream, PutRecordsEntry, ShardFilter};
use crate::encoding::{Encoding, Writer};
use crate::transport::RequestBody;

fn members(encoding: Encoding, pairs: &[(&str, &str)]) -> RequestBody {
    let mut w = Writer::new(encoding);
    w.map(pairs.len());
    for (key, text) in pairs {
        w.member(key, text);
    }
    w.into_body()
}

/// The stream that a request is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Its name or its ARN.
    pub(super) stream: &'a str,
    pub(super) id: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// The member that a name or an ARN goes into. Names have no colon.
    fn member(&self) -> (&'static str, &'a str) {
        let name = if self.stream.contains(':') {
            "StreamARN"
        } else {
            "StreamName"
        };
        (name, self.stream)
    }

    const fn members(&self) -> usize {
        1 + self.id.is_some() as usize
    }

    fn write(&self, w: &mut Writer) {
        let (name, stream) = self.member();
        w.member(name, stream);
        if let Some(id) = self.id {
            w.member("StreamId", id);
        }
    }
}

pub(super) fn stream(encoding: Encoding, target: Target<'_>) -> RequestBody {
    let mut w = Writer::new(encoding);
    w.map(target.members());
    target.write(&mut w);
    w.into_body()
}

pub(super) fn create_stream(encoding: Encoding, new: &NewStream<'_>) -> RequestBody {
    let mut w = Writer::new(encoding);
    let optional = [
        new.max_record_size_in_kib.is_some(),
        new.record_distribution_strategy.is_some(),
    ];
    w.map(2 + optional.iter().filter(|there| **there).count());
    w.member("StreamName", new.name);
    match new.shards {
        Some(shards) => {
            w.text("ShardCount");
            w.integer(u64::from(shards));
        }
        None => {
            w.text("StreamModeDetails");
            w.map(1);
            w.member("StreamMode", "ON_DEMAND");
        }
    }
    if let Some(kib) = new.max_record_size_in_kib {
        w.text("MaxRecordSizeInKiB");
        w.integer(u64::from(kib));
    }
    if let Some(strategy) = new.record_distribution_strategy {
        w.member("RecordDistributionStrategy", strategy);
    }
    w.into_body()
}

pub(super) fn update_distribution(encoding: Encoding, arn: &str, strategy: &str) -> RequestBody {
    members(
        encoding,
        &[("StreamARN", arn), ("RecordDistributionStrategy", strategy)],
    )
}

pub(super) fn delete_stream(encoding: Encoding, target: Target<'_>) -> RequestBody {
    let mut w = Writer::new(encoding);
    w.map(1 + target.members());
    target.write(&mut w);
    w.text("EnforceConsumerDeletion");
    w.boolean(true);
    w.into_body()
}

pub(super) fn list_streams(encoding: Encoding, after: Option<&str>) -> RequestBody {
    match after {
        None => members(encoding, &[]),
        Some(name) => members(encoding, &[("ExclusiveStartStreamName", name)]),
    }
}

pub(super) fn list_shards(
    encoding: Encoding,
    target: Target<'_>,
    filter: Option<&ShardFilter>,
) -> RequestBody {
    let mut w = Writer::new(encoding);
    w.map(target.members() + usize::from(filter.is_some()));
    target.write(&mut w);
    if let Some(filter) = filter {
        w.text("ShardFilter");
        match filter {
            ShardFilter::AtLatest => shard_filter(&mut w, "AT_LATEST", 0),
            ShardFilter::AtTrimHorizon => shard_filter(&mut w, "AT_TRIM_HORIZON", 0),
            ShardFilter::FromTrimHorizon => shard_filter(&mut w, "FROM_TRIM_HORIZON", 0),
            ShardFilter::AtTimestamp(at) => {
                shard_filter(&mut w, "AT_TIMESTAMP", 1);
                w.text("Timestamp");
                w.timestamp(*at);
            }
            ShardFilter::FromTimestamp(at) => {
                shard_filter(&mut w, "FROM_TIMESTAMP", 1);
                w.text("Timestamp");
                w.timestamp(*at);
            }
            ShardFilter::AfterShardId(id) => {
                shard_filter(&mut w, "AFTER_SHARD_ID", 1);
                w.member("ShardId", id);
            }
        }
    }
    w.into_body()
}

fn shard_filter(w: &mut Writer, kind: &str, further: usize) {
    w.map(1 + further);
    w.member("Type", kind);
}

/// A token stands for the stream and the filter; the service refuses them beside it.
pub(super) fn list_shards_next(encoding: Encoding, token: &str) -> RequestBody {
    members(encoding, &[("NextToken", token)])
}

pub(super) fn split_shard(
    encoding: Encoding,
    target: Target<'_>,
    shard: &str,
    new_starting_hash_key: &str,
) -> RequestBody {
    members(
        encoding,
        &[
            target.member(),
            ("ShardToSplit", shard),
            ("NewStartingHashKey", new_starting_hash_key),
        ],
    )
}

pub(super) fn merge_shards(
    encoding: Encoding,
    target: Target<'_>,
    shard: &str,
    adjacent: &str,
) -> RequestBody {
    members(
        encoding,
        &[
            target.member(),
            ("ShardToMerge", shard),
            ("AdjacentShardToMerge", adjacent),
        ],
    )
}

pub(super) fn update_shard_count(
    encoding: Encoding,
    target: Target<'_>,
    shards: u32,
) -> RequestBody {
    let mut w = Writer::new(encoding);
    w.map(target.members() + 2);
    target.write(&mut w);
    w.text("TargetShardCount");
    w.integer(u64::from(shards));
    w.member("ScalingType", "UNIFORM_SCALING");
    w.into_body()
}

pub(super) fn put_records(
    encoding: Encoding,
    target: Target<'_>,
    entries: &[PutRecordsEntry<'_>],
) -> RequestBody {
    // Names of members, lengths and an explicit hash key take about 90 bytes an entry.
    const PER_ENTRY: usize = 96;
    let keys: usize = entries
        .iter()
        .map(|e| PER_ENTRY + e.partition_key.len())
        .sum();
    let blobs = entries.iter().flat_map(|entry| entry.data);
    let mut w = Writer::with_blobs(encoding, blobs, keys + PER_ENTRY + target.stream.len());
    w.map(1 + target.members());
    target.write(&mut w);
    w.text("Records");
    w.array(entries.len());
    for entry in entries {
        let keyed = !entry.partition_key.is_empty();
        w.map(1 + usize::from(keyed) + usize::from(entry.explicit_hash_key.is_some()));
        w.text("Data");
        w.bytes(entry.data);
        if let Some(hash_key) = entry.explicit_hash_key {
            w.member("ExplicitHashKey", hash_key);
        }
        if keyed {
            w.member("PartitionKey", entry.partition_key);
        }
    }
    w.into_body()
}

pub(super) fn get_shard_iterator(
    encoding: Encoding,
    target: Target<'_>,
    shard: &str,
    position: &IteratorPosition,
) -> RequestBody {
    let (kind, further) = match position {
        IteratorPosition::TrimHorizon => ("TRIM_HORIZON", 0),
        IteratorPosition::Latest => ("LATEST", 0),
        IteratorPosition::AtTimestamp(_) => ("AT_TIMESTAMP", 1),
        IteratorPosition::AtSequenceNumber(_) => ("AT_SEQUENCE_NUMBER", 1),
        IteratorPosition::AfterSequenceNumber(_) => ("AFTER_SEQUENCE_NUMBER", 1),
    };
    let mut w = Writer::new(encoding);
    w.map(2 + target.members() + further);
    target.write(&mut w);
    w.member("ShardId", shard);
    w.member("ShardIteratorType", kind);
    match position {
        IteratorPosition::AtTimestamp(at) => {
            w.text("Timestamp");
            w.timestamp(*at);
        }
        IteratorPosition::AtSequenceNumber(number)
        | IteratorPosition::AfterSequenceNumber(number) => {
            w.member("StartingSequenceNumber", number);
        }
        IteratorPosition::TrimHorizon | IteratorPosition::Latest => {}
    }
    w.into_body()
}

pub(super) fn get_records(encoding: Encoding, iterator: &str, limit: u32) -> RequestBody {
    let mut w = Writer::new(encoding);
    w.map(2);
    w.member("ShardIterator", iterator);
    w.text("Limit");
    w.integer(u64::from(limit));
    w.into_body()
}

#[cfg(test)]
mod tests {
    use super::super::types::Segment;
    use super::*;
    use Encoding::{Cbor, Json};
    use runtime::time::from_epoch_millis;

    const S: Target<'static> = Target {
        stream: "s",
        id: None,
    };

    const ARN: Target<'static> = Target {
        stream: "arn:aws:kinesis:r:1:stream/s",
        id: Some("i"),
    };

    /// CBOR's diagnostic notation, by the decoder's own author.
    fn shown(body: &RequestBody) -> String {
        minicbor::display(&body.clone().into_bytes()).to_string()
    }

    fn entries<'a>(segments: &'a [Segment<'a>]) -> [PutRecordsEntry<'a>; 2] {
        [
            PutRecordsEntry {
                partition_key: "a",
                explicit_hash_key: Some("0"),
                data: segments,
            },
            PutRecordsEntry {
                partition_key: "b",
                explicit_hash_key: None,
                data: &[],
            },
        ]
    }

    #[test]
    fn segments_become_one_byte_string() {
        let segments = [b"\x01\x02".into(), b"".into(), b"\x03".into()];
        let entries = entries(&segments);
        assert_eq!(
            shown(&put_records(Cbor, S, &entries)),
            r#"{"StreamName": "s", "Records": [{"Data": h'01 02 03', "ExplicitHashKey": "0", "PartitionKey": "a"}, {"Data": h'', "PartitionKey": "b"}]}"#
        );
    }

    #[test]
    fn positions_and_filters_bring_what_they_need() {
        let at = from_epoch_millis(1_234);
        assert_eq!(
            shown(&get_shard_iterator(
                Cbor,
                S,
                "shardId-1",
                &IteratorPosition::AtTimestamp(at)
            )),
            r#"{"StreamName": "s", "ShardId": "shardId-1", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1(1234)}"#
        );
        let filter = ShardFilter::FromTimestamp(at);
        assert_eq!(
            shown(&list_shards(Cbor, S, Some(&filter))),
            r#"{"StreamName": "s", "ShardFilter": {"Type": "FROM_TIMESTAMP", "Timestamp": 1(1234)}}"#
        );
        assert_eq!(shown(&list_shards_next(Cbor, "t")), r#"{"NextToken": "t"}"#);
        assert_eq!(
            shown(&get_records(Cbor, "i", 10_000)),
            r#"{"ShardIterator": "i", "Limit": 10000}"#
        );
    }

    fn at() -> std::time::SystemTime {
        from_epoch_millis(1_700_000_000_007)
    }

    /// Each request in JSON, as the service's API reference has its syntax; whole items in CBOR, with
    /// the same members.
    #[test]
    fn every_request_is_one_whole_item_in_both_encodings() {
        type Request = fn(Encoding) -> RequestBody;
        let cases: [(Request, &str); 26] = [
            (|e| stream(e, S), r#"{"StreamName":"s"}"#),
            (
                |e| stream(e, ARN),
                r#"{"StreamARN":"arn:aws:kinesis:r:1:stream/s","StreamId":"i"}"#,
            ),
            (
                |e| list_shards(e, ARN, Some(&ShardFilter::AtLatest)),
                r#"{"StreamARN":"arn:aws:kinesis:r:1:stream/s","StreamId":"i","ShardFilter":{"Type":"AT_LATEST"}}"#,
            ),
            (
                |e| {
                    put_records(
                        e,
                        ARN,
                        &[PutRecordsEntry {
                            partition_key: "",
                            explicit_hash_key: None,
                            data: &[b"\x01".into()],
                        }],
                    )
                },
                r#"{"StreamARN":"arn:aws:kinesis:r:1:stream/s","StreamId":"i","Records":[{"Data":"AQ=="}]}"#,
            ),
            (
                |e| update_distribution(e, "a", "AUTO"),
                r#"{"StreamARN":"a","RecordDistributionStrategy":"AUTO"}"#,
            ),
            (
                |e| {
                    create_stream(
                        e,
                        &NewStream {
                            max_record_size_in_kib: Some(10_240),
                            record_distribution_strategy: Some("AUTO"),
                            ..NewStream::on_demand("s")
                        },
                    )
                },
                r#"{"StreamName":"s","StreamModeDetails":{"StreamMode":"ON_DEMAND"},"MaxRecordSizeInKiB":10240,"RecordDistributionStrategy":"AUTO"}"#,
            ),
            (
                |e| create_stream(e, &NewStream::provisioned("s", 4)),
                r#"{"StreamName":"s","ShardCount":4}"#,
            ),
            (
                |e| delete_stream(e, S),
                r#"{"StreamName":"s","EnforceConsumerDeletion":true}"#,
            ),
            (|e| list_streams(e, None), "{}"),
            (
                |e| list_streams(e, Some("s")),
                r#"{"ExclusiveStartStreamName":"s"}"#,
            ),
            (|e| list_shards(e, S, None), r#"{"StreamName":"s"}"#),
            (
                |e| list_shards(e, S, Some(&ShardFilter::AtLatest)),
                r#"{"StreamName":"s","ShardFilter":{"Type":"AT_LATEST"}}"#,
            ),
            (
                |e| list_shards(e, S, Some(&ShardFilter::AtTrimHorizon)),
                r#"{"StreamName":"s","ShardFilter":{"Type":"AT_TRIM_HORIZON"}}"#,
            ),
            (
                |e| list_shards(e, S, Some(&ShardFilter::FromTrimHorizon)),
                r#"{"StreamName":"s","ShardFilter":{"Type":"FROM_TRIM_HORIZON"}}"#,
            ),
            (
                |e| list_shards(e, S, Some(&ShardFilter::AtTimestamp(at()))),
                r#"{"StreamName":"s","ShardFilter":{"Type":"AT_TIMESTAMP","Timestamp":1700000000.007}}"#,
            ),
            (
                |e| list_shards(e, S, Some(&ShardFilter::AfterShardId("a".to_owned()))),
                r#"{"StreamName":"s","ShardFilter":{"Type":"AFTER_SHARD_ID","ShardId":"a"}}"#,
            ),
            (|e| list_shards_next(e, "t"), r#"{"NextToken":"t"}"#),
            (
                |e| split_shard(e, S, "a", "1"),
                r#"{"StreamName":"s","ShardToSplit":"a","NewStartingHashKey":"1"}"#,
            ),
            (
                |e| merge_shards(e, S, "a", "b"),
                r#"{"StreamName":"s","ShardToMerge":"a","AdjacentShardToMerge":"b"}"#,
            ),
            (
                |e| update_shard_count(e, S, 8),
                r#"{"StreamName":"s","TargetShardCount":8,"ScalingType":"UNIFORM_SCALING"}"#,
            ),
            (
                |e| {
                    put_records(
                        e,
                        S,
                        &entries(&[b"\x01\x02".into(), b"".into(), b"\x03".into()]),
                    )
                },
                r#"{"StreamName":"s","Records":[{"Data":"AQID","ExplicitHashKey":"0","PartitionKey":"a"},{"Data":"","PartitionKey":"b"}]}"#,
            ),
            (
                |e| get_shard_iterator(e, S, "a", &IteratorPosition::Latest),
                r#"{"StreamName":"s","ShardId":"a","ShardIteratorType":"LATEST"}"#,
            ),
            (
                |e| get_shard_iterator(e, S, "a", &IteratorPosition::TrimHorizon),
                r#"{"StreamName":"s","ShardId":"a","ShardIteratorType":"TRIM_HORIZON"}"#,
            ),
            (
                |e| get_shard_iterator(e, S, "a", &IteratorPosition::AtTimestamp(at())),
                r#"{"StreamName":"s","ShardId":"a","ShardIteratorType":"AT_TIMESTAMP","Timestamp":1700000000.007}"#,
            ),
            (
                |e| {
                    let after = IteratorPosition::AfterSequenceNumber("49".to_owned());
                    get_shard_iterator(e, S, "a", &after)
                },
                r#"{"StreamName":"s","ShardId":"a","ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"49"}"#,
            ),
            (
                |e| get_records(e, "i", 10_000),
                r#"{"ShardIterator":"i","Limit":10000}"#,
            ),
        ];
        for (request, json) in cases {
            assert_eq!(request(Json).into_bytes(), json);
            let body = request(Cbor);
            let whole = body.clone().into_bytes();
            let mut decoder = minicbor::Decoder::new(&whole);
            decoder.skip().unwrap();
            assert_eq!(decoder.position(), whole.len(), "{json}");
            // The notation is JSON where there are neither blobs nor times.
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&shown(&body)) {
                let same: serde_json::Value = serde_json::from_str(json).unwrap();
                assert_eq!(value, same);
            }
        }
    }
}
