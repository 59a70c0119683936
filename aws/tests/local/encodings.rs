//! Each operation gives the same values in CBOR and in JSON.

use crate::{in_process, local};
use aws::kinesis::{
    Client, GetRecordsOutput, IteratorPosition, PutRecordsEntry, PutRecordsResult, Segment,
    ShardFilter,
};
use aws::{Config, Encoding, Error};
use bytes::Bytes;
use local::{Fault, FaultAction};
use std::fmt::Debug;

/// What came of each operation, in order.
#[derive(Default)]
struct Said(Vec<(&'static str, String)>);

impl Said {
    fn add<T: Debug>(&mut self, operation: &'static str, result: &Result<T, Error>) {
        let said = match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("{:?} {error}", error.kind()),
        };
        self.0.push((operation, said));
    }
}

/// The bytes of the body are what the encodings differ in.
fn without_size(output: GetRecordsOutput) -> GetRecordsOutput {
    GetRecordsOutput {
        body_bytes: 0,
        ..output
    }
}

/// Every operation, with every filter and position, good and refused.
async fn said(config: &Config) -> Vec<(&'static str, String)> {
    let kinesis = Client::new(config);
    let mut said = Said::default();
    said.add("CreateStream", &kinesis.create_stream("s", 2).await);
    said.add("CreateStream", &kinesis.create_stream("s", 2).await);
    said.add("CreateStream", &kinesis.create_stream("\u{e9} \"", 1).await);
    said.add("CreateStream", &kinesis.create_stream("t", 1).await);
    said.add("ListStreams", &kinesis.list_streams().await);
    let summary = kinesis.describe_stream_summary("s").await;
    said.add("DescribeStreamSummary", &summary);
    let missing = kinesis.describe_stream_summary("nobody").await;
    said.add("DescribeStreamSummary", &missing);

    let odd = "k\u{e9}y \"\\\n\u{1f980}";
    let every_byte: Vec<u8> = (0..=255).collect();
    let (head, tail) = every_byte.split_at(100);
    let shared = Bytes::from(tail.repeat(20));
    let segments = [
        head.into(),
        b"".into(),
        tail.into(),
        Segment::Shared(shared),
        b"end".into(),
    ];
    let entry = |key, explicit_hash_key| PutRecordsEntry {
        partition_key: key,
        explicit_hash_key,
        data: &segments,
    };
    let mut entries = vec![
        entry(odd, None),
        entry("k", Some("0")),
        entry("k", Some("1")),
    ];
    entries[2].data = &[];
    let put = kinesis.put_records("s", &entries).await;
    said.add("PutRecords", &put);
    let refused = kinesis.put_records("s", &[entry("k", Some("x"))]).await;
    said.add("PutRecords", &refused);

    let first = "shardId-000000000000";
    let PutRecordsResult::Stored {
        sequence_number, ..
    } = put.unwrap().records[1].clone()
    else {
        panic!("refused");
    };
    let created = summary.unwrap().stream_creation_timestamp.unwrap();
    for position in [
        IteratorPosition::TrimHorizon,
        IteratorPosition::Latest,
        IteratorPosition::AtTimestamp(created),
        IteratorPosition::AtSequenceNumber(sequence_number.to_string()),
        IteratorPosition::AfterSequenceNumber(sequence_number.to_string()),
    ] {
        let iterator = kinesis.get_shard_iterator("s", first, &position).await;
        said.add("GetShardIterator", &iterator);
        let output = kinesis.get_records(&iterator.unwrap(), 100).await;
        said.add("GetRecords", &output.map(without_size));
    }
    let missing = kinesis
        .get_shard_iterator("s", "shardId-000000000009", &IteratorPosition::Latest)
        .await;
    said.add("GetShardIterator", &missing);
    said.add("GetRecords", &kinesis.get_records("garbage", 1).await);

    let middle = (1_u128 << 126).to_string();
    said.add(
        "SplitShard",
        &kinesis.split_shard("s", first, &middle).await,
    );
    said.add("SplitShard", &kinesis.split_shard("s", first, "x").await);
    let shards = kinesis.list_shards("s", None).await;
    said.add("ListShards", &shards);
    let ids: Vec<String> = shards.unwrap().into_iter().map(|s| s.shard_id).collect();
    let merged = kinesis.merge_shards("s", &ids[2], &ids[3]).await;
    said.add("MergeShards", &merged);
    said.add(
        "MergeShards",
        &kinesis.merge_shards("s", first, first).await,
    );
    for filter in [
        ShardFilter::AtLatest,
        ShardFilter::AtTrimHorizon,
        ShardFilter::FromTrimHorizon,
        ShardFilter::AtTimestamp(created),
        ShardFilter::FromTimestamp(created),
        ShardFilter::AfterShardId(ids[1].clone()),
    ] {
        let shards = kinesis.list_shards("s", Some(&filter)).await;
        said.add("ListShards", &shards);
    }
    let horizon = IteratorPosition::TrimHorizon;
    let iterator = kinesis.get_shard_iterator("s", first, &horizon).await;
    let end = kinesis.get_records(&iterator.unwrap(), 100).await;
    assert_eq!(end.as_ref().unwrap().child_shards.len(), 2);
    said.add("GetRecords", &end.map(without_size));
    said.add("DeleteStream", &kinesis.delete_stream("s").await);
    said.add("DeleteStream", &kinesis.delete_stream("s").await);
    said.0
}

#[tokio::test(start_paused = true)]
async fn every_operation_and_its_errors_say_the_same_in_both() {
    let run = async |encoding| {
        let local = local();
        let throttled = FaultAction::Error {
            status: 400,
            code: "ProvisionedThroughputExceededException".to_owned(),
            message: "scripted \"text\"".to_owned(),
        };
        local.faults().add(Fault::nth("ListShards", 2, throttled));
        said(&in_process(&local).with_kinesis_encoding(encoding)).await
    };
    let (cbor, json) = (run(Encoding::Cbor).await, run(Encoding::Json).await);
    assert_eq!(cbor.len(), json.len());
    for (in_cbor, in_json) in cbor.iter().zip(&json) {
        assert_eq!(in_cbor, in_json);
    }
    let mut operations: Vec<_> = cbor.iter().map(|(operation, _)| *operation).collect();
    operations.sort_unstable();
    operations.dedup();
    assert_eq!(operations.len(), 10, "{operations:?}");
}
