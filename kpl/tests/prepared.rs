//! What is done to records before they are put: serializers, the Glue header, compression.

mod support;

use kpl::{
    GlueCompression, GlueHeader, GlueSerializer, PutAllReason, PutError, Record, SerializeError,
    Serializer,
};
use local::{Limits, Local};
use std::time::Duration;
use support::{orders, producer, readable};

fn stream() -> Local {
    orders(Limits::Off, 2)
}

/// Says where the record goes, and refuses what is empty.
struct Upper;

impl Serializer for Upper {
    fn serialize(&self, stream: &str, record: Record) -> Result<Record, SerializeError> {
        if record.data().is_empty() {
            return Err("there is nothing in it".into());
        }
        let data = String::from_utf8(record.data().to_vec())?.to_uppercase();
        Ok(Record::new(
            record.partition_key(),
            format!("{stream}: {data}"),
        ))
    }
}

#[tokio::test(start_paused = true)]
async fn a_serializer_gets_stream_and_record_and_may_refuse() {
    let local = stream();
    let producer = producer(&local)
        .serializer(Upper)
        .max_user_record_size(64)
        .build()
        .await
        .unwrap();
    producer
        .put(Record::new("k", "one"))
        .await
        .unwrap()
        .await
        .unwrap();
    producer
        .try_put(Record::new("k", "two"))
        .unwrap()
        .await
        .unwrap();
    let batch = [Record::new("k", "three"), Record::new("k", "four")];
    producer.put_all(batch).await.unwrap().await;
    let mut data: Vec<_> = readable(&local, "orders")
        .into_values()
        .map(|(_, data)| data)
        .collect();
    data.sort();
    assert_eq!(
        data,
        [
            "orders: FOUR",
            "orders: ONE",
            "orders: THREE",
            "orders: TWO"
        ]
    );

    let empty = Record::new("k", "");
    let refused = producer.put(empty.clone()).await.unwrap_err();
    assert!(matches!(&refused, PutError::Serializer { .. }), "{refused}");
    assert!(
        refused.to_string().contains("there is nothing in it"),
        "{refused}"
    );
    assert_eq!(refused.into_record(), empty);
    let batch = [Record::new("k", "good"), empty];
    let refused = producer.put_all(batch.clone()).await.unwrap_err();
    let problem = "there is nothing in it".to_owned();
    assert_eq!(
        refused.reason,
        PutAllReason::Serializer { index: 1, problem }
    );
    assert_eq!(refused.records, batch);

    // The size that counts is the one that is sent; what comes back is what was given.
    let long = Record::new("k", "x".repeat(60));
    let refused = producer.put(long.clone()).await.unwrap_err();
    assert!(
        matches!(&refused, PutError::DataTooLarge { size: 68, .. }),
        "{refused}"
    );
    assert_eq!(refused.into_record(), long);
    let refused = producer.put_all([long.clone()]).await.unwrap_err();
    assert_eq!(refused.records, [long]);
}

#[tokio::test(start_paused = true)]
async fn the_glue_header_stands_before_the_data() {
    let local = stream();
    let header = GlueHeader {
        schema_version: 0xb7b4_a7f0_9c96_4e4a_a687_fb5d_e9ef_0c63,
        compression: GlueCompression::None,
    };
    let producer = producer(&local)
        .serializer(GlueSerializer::new(header))
        .build()
        .await
        .unwrap();
    producer
        .put(Record::new("k", "data"))
        .await
        .unwrap()
        .await
        .unwrap();
    let (_, data) = readable(&local, "orders").into_values().next().unwrap();
    assert_eq!(data[..4], [3, 0, 0xb7, 0xb4]);
    let (found, rest) = GlueHeader::split(&data).unwrap();
    assert_eq!((found, rest.as_ref()), (header, b"data".as_slice()));
    producer.close(Duration::from_secs(10)).await;
}

#[cfg(feature = "compression")]
mod compressed {
    use super::*;
    use aggregation::{Compression, Deaggregated, deaggregate, expand, is_compressed};
    use std::collections::BTreeSet;

    fn records() -> Vec<Record> {
        (0..200)
            .map(|n| Record::new(format!("key-{n}"), format!("{n} {}", "a word ".repeat(40))))
            .collect()
    }

    fn expected() -> BTreeSet<Vec<u8>> {
        records()
            .iter()
            .map(|record| record.data().to_vec())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_record() {
        for compression in [Compression::Gzip(6), Compression::Zstd(3)] {
            let local = stream();
            let producer = producer(&local)
                .compress_records(compression)
                .build()
                .await
                .unwrap();
            producer.put_all(records()).await.unwrap().await;
            producer
                .put(Record::new("k", "tiny"))
                .await
                .unwrap()
                .await
                .unwrap();
            let read: BTreeSet<Vec<u8>> = readable(&local, "orders")
                .into_values()
                .filter(|(key, data)| {
                    assert_eq!(
                        is_compressed(data),
                        key != "k",
                        "what is tiny stays as it is"
                    );
                    key != "k"
                })
                .map(|(_, data)| {
                    assert!(data.len() < 80);
                    expand(&data, 1_000).unwrap().to_vec()
                })
                .collect();
            assert_eq!(read, expected());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_aggregate_also_across_a_split() {
        let local = stream();
        let producer = producer(&local)
            .compress_aggregates(Compression::Zstd(3))
            .build()
            .await
            .unwrap();
        producer
            .put(Record::new("k", "alone"))
            .await
            .unwrap()
            .await
            .unwrap();
        let shard = local.shards("orders").into_iter().next().unwrap();
        local.split_shard("orders", &shard.shard_id).unwrap();
        let report = producer.put_all(records()).await.unwrap().await;
        assert!(report.into_iter().all(|outcome| outcome.is_ok()));
        let mut read = BTreeSet::new();
        let mut stored = 0;
        for record in local.records("orders") {
            stored += record.data.len();
            if record.partition_key.as_deref() == Some("k") {
                assert_eq!(record.data, "alone");
                continue;
            }
            assert!(is_compressed(&record.data));
            let aggregate = expand(&record.data, 1 << 20).unwrap();
            let Deaggregated::Records(records) = deaggregate(&aggregate, None) else {
                unreachable!("an aggregate is in the envelope");
            };
            read.extend(records.map(|record| record.data.to_vec()));
        }
        assert_eq!(read, expected());
        let data: usize = expected().iter().map(Vec::len).sum();
        assert!(
            stored * 4 < data,
            "{stored} bytes for {data}, even with what was sent twice"
        );
    }
}
