//! Requests, as pure functions to bytes.

use super::types::{IteratorPosition, PutRecordsEntry, ShardFilter};
use crate::cbor::Writer;

fn members(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(pairs.len());
    for (key, text) in pairs {
        w.member(key, text);
    }
    w.into_bytes()
}

pub(super) fn stream(stream: &str) -> Vec<u8> {
    members(&[("StreamName", stream)])
}

pub(super) fn create_stream(stream: &str, shards: u32) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(2);
    w.member("StreamName", stream);
    w.text("ShardCount");
    w.integer(u64::from(shards));
    w.into_bytes()
}

pub(super) fn delete_stream(stream: &str) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(2);
    w.member("StreamName", stream);
    w.text("EnforceConsumerDeletion");
    w.boolean(true);
    w.into_bytes()
}

pub(super) fn list_streams(after: Option<&str>) -> Vec<u8> {
    match after {
        None => members(&[]),
        Some(name) => members(&[("ExclusiveStartStreamName", name)]),
    }
}

pub(super) fn list_shards(stream: &str, filter: Option<&ShardFilter>) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(1 + usize::from(filter.is_some()));
    w.member("StreamName", stream);
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
    w.into_bytes()
}

fn shard_filter(w: &mut Writer, kind: &str, further: usize) {
    w.map(1 + further);
    w.member("Type", kind);
}

/// A token stands for the stream and the filter; the service refuses them beside it.
pub(super) fn list_shards_next(token: &str) -> Vec<u8> {
    members(&[("NextToken", token)])
}

pub(super) fn split_shard(stream: &str, shard: &str, new_starting_hash_key: &str) -> Vec<u8> {
    members(&[
        ("StreamName", stream),
        ("ShardToSplit", shard),
        ("NewStartingHashKey", new_starting_hash_key),
    ])
}

pub(super) fn merge_shards(stream: &str, shard: &str, adjacent: &str) -> Vec<u8> {
    members(&[
        ("StreamName", stream),
        ("ShardToMerge", shard),
        ("AdjacentShardToMerge", adjacent),
    ])
}

pub(super) fn put_records(stream: &str, entries: &[PutRecordsEntry<'_>]) -> Vec<u8> {
    // Names of members, lengths and an explicit hash key take about 90 bytes an entry.
    const PER_ENTRY: usize = 96;
    let payload: usize = entries
        .iter()
        .map(|e| PER_ENTRY + e.partition_key.len() + e.data.iter().map(|s| s.len()).sum::<usize>())
        .sum();
    let mut w = Writer::with_capacity(payload + PER_ENTRY + stream.len());
    w.map(2);
    w.member("StreamName", stream);
    w.text("Records");
    w.array(entries.len());
    for entry in entries {
        w.map(2 + usize::from(entry.explicit_hash_key.is_some()));
        w.text("Data");
        w.bytes(entry.data);
        if let Some(hash_key) = entry.explicit_hash_key {
            w.member("ExplicitHashKey", hash_key);
        }
        w.member("PartitionKey", entry.partition_key);
    }
    w.into_bytes()
}

pub(super) fn get_shard_iterator(
    stream: &str,
    shard: &str,
    position: &IteratorPosition,
) -> Vec<u8> {
    let (kind, further) = match position {
        IteratorPosition::TrimHorizon => ("TRIM_HORIZON", 0),
        IteratorPosition::Latest => ("LATEST", 0),
        IteratorPosition::AtTimestamp(_) => ("AT_TIMESTAMP", 1),
        IteratorPosition::AtSequenceNumber(_) => ("AT_SEQUENCE_NUMBER", 1),
        IteratorPosition::AfterSequenceNumber(_) => ("AFTER_SEQUENCE_NUMBER", 1),
    };
    let mut w = Writer::default();
    w.map(3 + further);
    w.member("StreamName", stream);
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
    w.into_bytes()
}

pub(super) fn get_records(iterator: &str, limit: u32) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(2);
    w.member("ShardIterator", iterator);
    w.text("Limit");
    w.integer(u64::from(limit));
    w.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use minicbor::Decoder;
    use runtime::time::from_epoch_millis;

    /// CBOR's diagnostic notation, by the decoder's own author.
    fn shown(body: &[u8]) -> String {
        minicbor::display(body).to_string()
    }

    #[test]
    fn segments_become_one_byte_string() {
        let segments: [&[u8]; 3] = [b"\x01\x02", b"", b"\x03"];
        let entries = [
            PutRecordsEntry {
                partition_key: "a",
                explicit_hash_key: Some("0"),
                data: &segments,
            },
            PutRecordsEntry {
                partition_key: "b",
                explicit_hash_key: None,
                data: &[],
            },
        ];
        assert_eq!(
            shown(&put_records("s", &entries)),
            r#"{"StreamName": "s", "Records": [{"Data": h'01 02 03', "ExplicitHashKey": "0", "PartitionKey": "a"}, {"Data": h'', "PartitionKey": "b"}]}"#
        );
    }

    #[test]
    fn positions_and_filters_bring_what_they_need() {
        let at = from_epoch_millis(1_234);
        assert_eq!(
            shown(&get_shard_iterator(
                "s",
                "shardId-1",
                &IteratorPosition::AtTimestamp(at)
            )),
            r#"{"StreamName": "s", "ShardId": "shardId-1", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1(1234)}"#
        );
        let after = IteratorPosition::AfterSequenceNumber("49".to_owned());
        assert_eq!(
            shown(&get_shard_iterator("s", "shardId-1", &after)),
            r#"{"StreamName": "s", "ShardId": "shardId-1", "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": "49"}"#
        );
        assert_eq!(
            shown(&list_shards("s", Some(&ShardFilter::FromTimestamp(at)))),
            r#"{"StreamName": "s", "ShardFilter": {"Type": "FROM_TIMESTAMP", "Timestamp": 1(1234)}}"#
        );
        assert_eq!(shown(&list_shards_next("t")), r#"{"NextToken": "t"}"#);
        assert_eq!(
            shown(&get_records("i", 10_000)),
            r#"{"ShardIterator": "i", "Limit": 10000}"#
        );
    }

    #[test]
    fn every_request_is_one_whole_item() {
        let all = [
            stream("s"),
            create_stream("s", 4),
            delete_stream("s"),
            list_streams(None),
            list_streams(Some("s")),
            list_shards("s", None),
            list_shards("s", Some(&ShardFilter::AtLatest)),
            split_shard("s", "a", "1"),
            merge_shards("s", "a", "b"),
        ];
        for body in all {
            let mut decoder = Decoder::new(&body);
            decoder.skip().unwrap();
            assert_eq!(decoder.position(), body.len());
        }
    }
}
