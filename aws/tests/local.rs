//! The client and the embedded endpoint, whose codecs were written apart, understand each other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

use aws::dynamodb::{
    AttributeValue, BillingMode, CreateTable, DeleteItem, GetItem, Item, KeyAttribute, PutItem,
    ReturnValues, Scan, UpdateItem, condition_failed_item,
};
use aws::kinesis::{
    IteratorPosition, PutRecordsEntry, PutRecordsResult, ShardFilter, StreamStatus,
};
use aws::{Config, Credentials, Environment, ErrorKind, InProcess};
use bytes::Bytes;
use local::{Fault, FaultAction, Local, LocalOptions};
use runtime::{Chance, RetryPolicy, TokioClock};
use std::sync::Arc;
use std::time::Duration;

fn local() -> Local {
    Local::new(LocalOptions::default()).unwrap()
}

fn in_process(local: &Local) -> Config {
    let local = local.clone();
    let handler = move |request: http::Request<Bytes>| {
        let local = local.clone();
        async move { local.handle(request).await }
    };
    config()
        .transport(Arc::new(InProcess::new(handler)))
        .load()
        .unwrap()
}

fn config() -> aws::ConfigBuilder {
    Config::builder()
        .region("us-east-1")
        .credentials(Credentials::new("local", "local", None))
        .clock(Arc::new(TokioClock::new()))
        .chance(Chance::seeded(1))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
}

/// A stream's life: made, written, read to the tip, split, merged, read to the ends, deleted.
async fn stream_life(config: &Config) {
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
    let segments: [&[u8]; 3] = [b"pay", b"", b"load"];
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
                assert_eq!(shard_id, "shardId-000000000000");
                sequence_number
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
    assert!(config.clock().now().duration_since(arrival).unwrap() < Duration::from_secs(60));
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
async fn table_life(config: &Config) {
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

#[tokio::test(start_paused = true)]
async fn in_process_under_a_paused_clock() {
    let local = local();
    let config = in_process(&local);
    stream_life(&config).await;
    table_life(&config).await;
}

#[tokio::test]
async fn over_a_socket() {
    let server = local()
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let config = config().endpoint_url(server.url()).load().unwrap();
    stream_life(&config).await;
    table_life(&config).await;
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn faults_are_classified_and_passing_ones_tried_again() {
    let local = local();
    let config = in_process(&local).with_retry(RetryPolicy::default().with_max_retries(2));
    let kinesis = aws::kinesis::Client::new(&config);
    let error = |status, code: &str| FaultAction::Error {
        status,
        code: code.to_owned(),
        message: "scripted".to_owned(),
    };
    kinesis.create_stream("s", 1).await.unwrap();
    local.faults().add(Fault::nth(
        "DescribeStreamSummary",
        1,
        error(500, "InternalFailure"),
    ));
    local
        .faults()
        .add(Fault::nth("DescribeStreamSummary", 2, FaultAction::Refuse));
    kinesis.describe_stream_summary("s").await.unwrap();
    assert_eq!(local.request_counts()["DescribeStreamSummary"], 3);
    local.faults().add(Fault::nth(
        "DescribeStreamSummary",
        1,
        error(400, "AccessDeniedException"),
    ));
    let denied = kinesis.describe_stream_summary("s").await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    assert_eq!(local.request_counts()["DescribeStreamSummary"], 4);
    // The answer is lost, the effect is not.
    local
        .faults()
        .add(Fault::nth("CreateStream", 1, FaultAction::LoseAnswer));
    let lost = kinesis.create_stream("t", 1).await.unwrap_err();
    assert_eq!(
        lost.kind(),
        ErrorKind::InUse,
        "the second attempt meets what the first one made"
    );
    assert_eq!(kinesis.list_streams().await.unwrap(), ["s", "t"]);
}
