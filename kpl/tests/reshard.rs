//! Splits and merges under way: nothing acknowledged is dropped by a consumer, nothing is sent twice
//! that a consumer would see twice, and the shards are listed once.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

mod support;

use aws::ErrorKind;
use bytes::Bytes;
use kpl::{DeliveryError, HashKey, Producer, Record};
use local::{Fault, FaultAction, Limits, Local};
use std::time::Duration;
use support::{calls, orders, place, producer, readable, spread};

const WRONG_SHARD: &str = "Wrong Shard";

/// A producer that has delivered a record to each shard, so that its map is in use.
async fn warm(local: &Local) -> Producer {
    let producer = producer(local)
        .record_ttl(Duration::from_secs(60))
        .build()
        .await
        .unwrap();
    producer
        .put(Record::new("warm", "up"))
        .await
        .unwrap()
        .await
        .unwrap();
    producer
}

fn split_first(local: &Local) {
    let first = local
        .shards("orders")
        .into_iter()
        .find(|shard| shard.open)
        .unwrap();
    local.split_shard("orders", &first.shard_id).unwrap();
}

/// Every record exactly once, where its receipt says.
async fn put_and_check(local: &Local, producer: &Producer, records: Vec<Record>) -> Vec<u64> {
    let already = readable(local, "orders").len();
    let report = producer.put_all(records.clone()).await.unwrap().await;
    let read = readable(local, "orders");
    assert_eq!(
        read.len() - already,
        records.len(),
        "a consumer sees each once"
    );
    let mut attempts = Vec::new();
    for (record, outcome) in records.iter().zip(report) {
        let delivered = outcome.unwrap();
        let (key, data): &(String, Bytes) = &read[&place(&delivered)];
        assert_eq!(
            (key.as_str(), data),
            (record.partition_key(), record.data())
        );
        attempts.push(delivered.attempts.count());
    }
    attempts
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_that_straddles_two_children_is_sent_again_as_a_whole() {
    let local = orders(Limits::Off, 1);
    let producer = warm(&local).await;
    split_first(&local);
    let attempts = put_and_check(&local, &producer, spread(0..100)).await;
    assert!(
        attempts.iter().all(|n| *n == 2),
        "none was acknowledged at first: {attempts:?}"
    );
    assert_eq!(
        calls(&local, "ListShards"),
        2,
        "at the start and after the split"
    );
    assert_eq!(producer.stats().retried, 100);
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_that_fits_the_child_is_not_sent_twice() {
    let local = orders(Limits::Off, 1);
    let producer = warm(&local).await;
    split_first(&local);
    let one_key = (0..100)
        .map(|n| Record::new("one key", format!("record {n}")))
        .collect();
    let attempts = put_and_check(&local, &producer, one_key).await;
    assert!(attempts.iter().all(|n| *n == 1), "{attempts:?}");
    split_first(&local);
    let near = |n: u32| Record::new("k", format!("near {n}")).explicit_hash_key(u128::from(n));
    let attempts = put_and_check(&local, &producer, (0..100).map(near).collect()).await;
    assert!(attempts.iter().all(|n| *n == 1), "{attempts:?}");
    assert_eq!(
        (producer.stats().retried, calls(&local, "ListShards")),
        (0, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_has_closed_again_is_still_known() {
    let local = orders(Limits::Off, 1);
    let producer = warm(&local).await;
    split_first(&local);
    // The list cannot be had until the child that stored the aggregate is split itself.
    let refused = FaultAction::Refuse;
    let away = local.faults().add(Fault::every("ListShards", refused));
    let near = |n: u32| Record::new("k", format!("near {n}")).explicit_hash_key(u128::from(n));
    let receipt = producer.put_all((0..100).map(near)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    split_first(&local);
    split_first(&local);
    local.faults().remove(away);
    let report = receipt.await;
    assert!(report.all_delivered());
    assert_eq!(
        (producer.stats().retried, readable(&local, "orders").len()),
        (0, 101)
    );
}

#[tokio::test(start_paused = true)]
async fn a_merge_costs_nothing() {
    let local = orders(Limits::Off, 2);
    let producer = warm(&local).await;
    let ids: Vec<String> = local
        .shards("orders")
        .into_iter()
        .map(|shard| shard.shard_id)
        .collect();
    local.merge_shards("orders", &ids[0], &ids[1]).unwrap();
    let attempts = put_and_check(&local, &producer, spread(0..100)).await;
    assert!(attempts.iter().all(|n| *n == 1), "{attempts:?}");
    assert_eq!(calls(&local, "ListShards"), 2);
    let attempts = put_and_check(&local, &producer, spread(0..100)).await;
    assert!(attempts.iter().all(|n| *n == 1), "{attempts:?}");
    assert_eq!(calls(&local, "ListShards"), 2);
}

#[tokio::test(start_paused = true)]
async fn single_records_are_delivered_wherever_they_land() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local).aggregation(false).build().await.unwrap();
    split_first(&local);
    let attempts = put_and_check(&local, &producer, spread(0..50)).await;
    assert!(attempts.iter().all(|n| *n == 1), "{attempts:?}");
    let _ = put_and_check(&local, &producer, spread(0..50)).await;
    assert_eq!(calls(&local, "ListShards"), 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_map_serves_while_a_new_one_cannot_be_had() {
    let local = orders(Limits::Off, 2);
    let producer = warm(&local).await;
    split_first(&local);
    let denied = FaultAction::Error {
        status: 400,
        code: "AccessDeniedException".to_owned(),
        message: "by the test".to_owned(),
    };
    let away = local.faults().add(Fault::every("ListShards", denied));
    // Shard 1 is untouched, and its records go aggregated as before; shard 0's wait for the map.
    let high = HashKey::MAX;
    let (records, stuck): (Vec<_>, Vec<_>) = (0..50)
        .map(|n| {
            let record = |key| Record::new("k", format!("{n}")).explicit_hash_key(key);
            (record(high), record(HashKey::new(n)))
        })
        .unzip();
    let waiting = producer.put_all(stuck).await.unwrap();
    let report = producer.put_all(records).await.unwrap().await;
    assert!(report.all_delivered());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(producer.stats().outstanding_records, 50);
    assert!(
        calls(&local, "ListShards") < 12,
        "backs off: {}",
        calls(&local, "ListShards")
    );
    local.faults().remove(away);
    let report = waiting.await;
    assert!(report.all_delivered());
    assert_eq!(
        readable(&local, "orders").len(),
        101,
        "the first sending counted"
    );
}

#[tokio::test(start_paused = true)]
async fn records_that_nobody_can_place_expire_with_the_reason() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .record_ttl(Duration::from_secs(3))
        .build()
        .await
        .unwrap();
    split_first(&local);
    local
        .faults()
        .add(Fault::every("ListShards", FaultAction::Refuse));
    let report = producer.put_all(spread(0..10)).await.unwrap().await;
    for outcome in report {
        let Err(DeliveryError::Expired { attempts, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(attempts.last().unwrap().code.as_deref(), Some(WRONG_SHARD));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_for_a_closed_shard_moves_to_its_children() {
    let local = orders(Limits::Off, 1);
    let producer = warm(&local).await;
    // The first request fails and is queued again; a second one meets the split meanwhile.
    let later = FaultAction::Error {
        status: 500,
        code: "InternalFailure".to_owned(),
        message: "by the test".to_owned(),
    };
    local.faults().add(Fault::nth("PutRecords", 1, later));
    let first = producer.put_all(spread(0..100)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    split_first(&local);
    let second = producer.put_all(spread(0..100)).await.unwrap();
    producer.flush().await;
    assert!(first.await.all_delivered() && second.await.all_delivered());
    assert_eq!(readable(&local, "orders").len(), 201);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_deleted_fails_its_records_with_the_reason() {
    let local = orders(Limits::Off, 1);
    let producer = warm(&local).await;
    let client = aws::kinesis::Client::new(&support::config(&local));
    client.delete_stream("orders").await.unwrap();
    let outcome = producer.put(Record::new("k", "x")).await.unwrap().await;
    let Err(DeliveryError::Rejected { kind, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(kind, ErrorKind::NotFound);
}
