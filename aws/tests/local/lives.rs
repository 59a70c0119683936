//! All that the engines do with a stream and with a table, each step checked.

use aws::dynamodb::{
    AttributeValue, BillingMode, CreateTable, DeleteItem, GetItem, Item, KeyAttribute, PutItem,
    ReturnValues, Scan, UpdateItem, condition_failed_item,
};
use aws::kinesis::{
    IteratorPosition, PutRecordsEntry, PutRecordsResult, ShardFilter, StreamStatus,
};
use aws::{Config, ErrorKind};
use bytes::Bytes;
use std::time::Duration;

/// A stream's life: made, written, read to the tip, split, merged, read to the ends, deleted.
pub(crate) async fn stream_life(config: &Config) {
    let kinesis = aws::kinesis::Client::new(config);
    kinesis.create_stream("s", 2).await.unwrap();
    let again = kinesis.create_stream("s", 2).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InUse, "{again}");
    let summary = kinesis.describe_stream_summary("s").await.unwrap();
    assert_eq!(summary.stream_status, StreamStatus::Active);
    assert_eq!(
        (summary.open_shard_count, summary.retention_period_hours),
        (2, 24)
    );
    assert!(summary.stream_creation_timestamp.is_some());
    assert_eq!(kinesis.list_streams().await.unwrap(), ["s"]);

    let half = (1u128 << 127).to_string();
    let segments = [b"pay".into(), b"".into(), b"load".into()];
    let entry = |key: &'static str| PutRecordsEntry {
        partition_key: "k",
        explicit_hash_key: Some(key),
        data: &segments,
    };
    let output = kinesis
        .put_records("s", &[entry("0"), entry("1")])
        .await
        .unwrap();
    let numbers: Vec<String> = output
        .records
        .into_iter()
        .map(|result| match result {
            PutRecordsResult::Stored {
                shard_id,
                sequence_number,
            } => {
                assert_eq!(*shard_id, *"shardId-000000000000");
                sequence_number.to_string()
            }
            PutRecordsResult::Refused { code, .. } => panic!("{code}"),
        })
        .collect();
    assert!(numbers[0] < numbers[1], "{numbers:?}");

    let first = "shardId-000000000000";
    let read = async |position: IteratorPosition| {
        let iterator = kinesis
            .get_shard_iterator("s", first, &position)
            .await
            .unwrap();
        kinesis.get_records(&iterator, 100).await.unwrap()
    };
    let all = read(IteratorPosition::TrimHorizon).await;
    assert_eq!(all.records.len(), 2);
    assert_eq!(all.records[0].data, "payload");
    assert_eq!(all.records[0].partition_key.as_deref(), Some("k"));
    assert_eq!(all.records[1].sequence_number, numbers[1]);
    let arrival = all.records[0].approximate_arrival_timestamp.unwrap();
    // The endpoint's clock may have been started before ours or after.
    let now = config.clock().now();
    let apart = now
        .duration_since(arrival)
        .unwrap_or_else(|ahead| ahead.duration());
    assert!(apart < Duration::from_secs(60));
    assert!(all.next_shard_iterator.is_some() && all.child_shards.is_empty());
    let at = IteratorPosition::AtSequenceNumber(numbers[1].clone());
    assert_eq!(read(at).await.records.len(), 1);
    let after = IteratorPosition::AfterSequenceNumber(numbers[0].clone());
    assert_eq!(read(after).await.records.len(), 1);
    assert_eq!(
        read(IteratorPosition::AtTimestamp(arrival))
            .await
            .records
            .len(),
        2
    );

    kinesis
        .split_shard("s", first, &(1u128 << 126).to_string())
        .await
        .unwrap();
    let open = kinesis
        .list_shards("s", Some(&ShardFilter::AtLatest))
        .await
        .unwrap();
    assert!(open.iter().all(aws::kinesis::Shard::is_open));
    assert_eq!(open.len(), 3);
    let all = kinesis.list_shards("s", None).await.unwrap();
    let children: Vec<_> = all
        .iter()
        .filter(|s| s.parent_shard_id.as_deref() == Some(first))
        .collect();
    assert_eq!(children.len(), 2);
    kinesis
        .merge_shards("s", &children[0].shard_id, &children[1].shard_id)
        .await
        .unwrap();
    let end = read(IteratorPosition::AfterSequenceNumber(numbers[1].clone())).await;
    assert!(
        end.next_shard_iterator.is_none(),
        "a closed shard has an end"
    );
    assert_eq!(end.child_shards.len(), 2);
    assert_eq!(end.child_shards[0].parent_shards, [first]);
    assert!(
        end.child_shards
            .iter()
            .any(|c| c.hash_key_range.starting_hash_key == "0")
    );

    let missing = kinesis.describe_stream_summary("nobody").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let bad = kinesis
        .split_shard("s", "shardId-000000000001", &half)
        .await
        .unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Invalid, "{bad}");
    kinesis.delete_stream("s").await.unwrap();
    assert!(kinesis.list_streams().await.unwrap().is_empty());
}

/// A table's life: made, written under conditions, scanned in pages, deleted.
pub(crate) async fn table_life(config: &Config) {
    let dynamodb = aws::dynamodb::Client::new(config);
    let table = "leases".to_owned();
    let create = CreateTable {
        table_name: table.clone(),
        key: vec![KeyAttribute {
            name: "leaseKey".to_owned(),
            kind: "S".to_owned(),
            is_hash: true,
        }],
        billing_mode: BillingMode::PayPerRequest,
        deletion_protection: false,
    };
    dynamodb.create_table(&create).await.unwrap();
    assert_eq!(
        dynamodb.create_table(&create).await.unwrap_err().kind(),
        ErrorKind::InUse
    );
    let described = dynamodb.describe_table("leases").await.unwrap();
    assert_eq!(
        (described.table_status.as_str(), &described.key),
        ("ACTIVE", &create.key)
    );
    assert_eq!(
        dynamodb.describe_table("none").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );

    let key = |name: &str| Item::from([("leaseKey".to_owned(), AttributeValue::s(name))]);
    let put = |name: &str| {
        let mut item = key(name);
        item.insert("leaseCounter".to_owned(), AttributeValue::n(0));
        item.insert(
            "blob".to_owned(),
            AttributeValue::B(Bytes::from_static(b"\x00\xff")),
        );
        item.insert(
            "parents".to_owned(),
            AttributeValue::Ss(["a".to_owned()].into()),
        );
        PutItem {
            table_name: table.clone(),
            item,
            condition_expression: Some("attribute_not_exists(leaseKey)".to_owned()),
            ..PutItem::default()
        }
    };
    for name in ["a", "b", "c"] {
        dynamodb.put_item(&put(name)).await.unwrap();
    }
    assert_eq!(
        dynamodb.put_item(&put("a")).await.unwrap_err().kind(),
        ErrorKind::ConditionFailed
    );
    let get = GetItem {
        table_name: table.clone(),
        key: key("a"),
        consistent_read: true,
    };
    assert_eq!(
        dynamodb.get_item(&get).await.unwrap().unwrap(),
        put("a").item
    );
    let none = GetItem {
        key: key("z"),
        ..get.clone()
    };
    assert_eq!(dynamodb.get_item(&none).await.unwrap(), None);

    let mut update = UpdateItem {
        table_name: table.clone(),
        key: key("a"),
        update_expression: "SET leaseCounter = :new REMOVE parents".to_owned(),
        condition_expression: Some("leaseCounter = :old".to_owned()),
        return_values: ReturnValues::AllNew,
        ..UpdateItem::default()
    };
    update
        .placeholders
        .values
        .insert(":new".to_owned(), AttributeValue::n(1));
    update
        .placeholders
        .values
        .insert(":old".to_owned(), AttributeValue::n(0));
    let now = dynamodb.update_item(&update).await.unwrap().unwrap();
    assert_eq!(now["leaseCounter"], AttributeValue::n(1));
    assert!(!now.contains_key("parents"));
    let failed = dynamodb.update_item(&update).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::ConditionFailed, "{failed}");
    assert_eq!(condition_failed_item(&failed).unwrap(), now);

    let mut scan = Scan {
        table_name: table.clone(),
        limit: Some(2),
        ..Scan::default()
    };
    let first = dynamodb.scan(&scan).await.unwrap();
    assert_eq!(first.items.len(), 2);
    scan.exclusive_start_key = first.last_evaluated_key;
    let second = dynamodb.scan(&scan).await.unwrap();
    assert_eq!((second.items.len(), &second.last_evaluated_key), (1, &None));

    let delete = DeleteItem {
        table_name: table,
        key: key("b"),
        ..DeleteItem::default()
    };
    dynamodb.delete_item(&delete).await.unwrap();
    dynamodb.delete_item(&delete).await.unwrap();
    dynamodb.delete_table("leases").await.unwrap();
    assert_eq!(
        dynamodb.describe_table("leases").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}
