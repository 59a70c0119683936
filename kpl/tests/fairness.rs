//! One shard that takes little, or nothing, does not stop the records of others.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use bytes::Bytes;
use futures::FutureExt;
use kpl::{Producer, PutError, Record};
use local::{Limits, Local};
use std::time::Duration;
use support::{orders, producer, readable};
use tokio::time::Instant;

/// Keys that belong to the first and to the last of four shards.
const HOT: u128 = 1;
const COLD: u128 = u128::MAX;

fn stream() -> Local {
    orders(Limits::On, 4)
}

async fn small(local: &Local) -> Producer {
    producer(local)
        .max_buffered_bytes(4 << 20)
        .record_ttl(Duration::from_secs(600))
        .build()
        .await
        .unwrap()
}

fn record(key: u128, size: usize) -> Record {
    Record::new("k", Bytes::from(vec![b'x'; size])).explicit_hash_key(key)
}

/// Callers that offer one shard far more than it takes, until the test ends.
fn flood(producer: &Producer, callers: usize) {
    for _ in 0..callers {
        let producer = producer.clone();
        tokio::spawn(async move {
            while let Ok(receipt) = producer.put(record(HOT, 10_000)).await {
                receipt.forget();
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_other_shards_do_not_wait_behind_those_of_a_hot_one() {
    let local = stream();
    let producer = small(&local).await;
    flood(&producer, 200);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        assert!(
            producer.stats().waiting > 150,
            "the hot shard is at its bound"
        );
        let begin = Instant::now();
        let put = producer.put(record(COLD, 1_000)).now_or_never();
        let receipt = put.expect("admitted at once").unwrap();
        assert!(producer.try_put(record(COLD, 10)).is_ok());
        let full = producer.try_put(record(HOT, 10)).unwrap_err();
        assert!(matches!(full, PutError::Full { .. }));
        receipt.await.unwrap();
        slowest = slowest.max(begin.elapsed());
    }
    assert!(slowest < Duration::from_millis(150), "{slowest:?}");
    // The hot shard has all that it can take meanwhile, and no more than its share of the memory.
    let outstanding = producer.outstanding().bytes;
    assert!(outstanding <= (1 << 20) + 4_000, "{outstanding}");
    producer.close(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_many_shards_gets_its_turn_among_callers_of_a_hot_one() {
    let local = stream();
    let producer = small(&local).await;
    flood(&producer, 50);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..20 {
        let keys = [HOT, COLD, u128::MAX / 2];
        let batch = keys.into_iter().cycle().take(90);
        let begin = Instant::now();
        let receipt = producer.put_all(batch.map(|key| record(key, 100))).await;
        // 50 callers of 10 KB are before it, at 1 MiB a second.
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
        assert!(receipt.unwrap().await.all_delivered());
    }
    producer.close(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_the_hot_shard_too() {
    let local = stream();
    let producer = small(&local).await;
    let callers: Vec<_> = (0..300)
        .map(|_| {
            let producer = producer.clone();
            tokio::spawn(async move { producer.put(record(HOT, 10_000)).await.unwrap().await })
        })
        .collect();
    let put = || producer.stats().waiting + producer.outstanding().records;
    while put() < 300 {
        tokio::task::yield_now().await;
    }
    assert!(producer.stats().waiting > 100);
    let cold = producer.put(record(COLD, 10)).await.unwrap();
    producer.flush().await;
    assert!(cold.now_or_never().unwrap().is_ok());
    let flushed = Instant::now();
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(flushed, Instant::now());
    assert_eq!(readable(&local, "orders").len(), 301);
}

#[tokio::test(start_paused = true)]
async fn the_only_shard_may_take_everything() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .max_buffered_records(100)
        .max_buffered_per_shard(1)
        .build()
        .await
        .unwrap();
    for _ in 0..100 {
        producer.try_put(record(HOT, 1)).unwrap().forget();
    }
    assert!(producer.try_put(record(HOT, 1)).is_err());
}

#[tokio::test(start_paused = true)]
async fn records_of_shards_that_have_gone_are_accounted_for() {
    let local = orders(Limits::Off, 2);
    let producer = producer(&local)
        .max_buffered_records(20)
        .build()
        .await
        .unwrap();
    for _ in 0..10 {
        let open = local.shards("orders").into_iter().find(|shard| shard.open);
        local
            .split_shard("orders", &open.unwrap().shard_id)
            .unwrap();
        let keys = (0..30).map(|n| Record::new(format!("key-{n}"), "x"));
        assert!(producer.put_all(keys).await.unwrap().await.all_delivered());
        assert_eq!(producer.outstanding().records, 0);
    }
    let all = (0..20).map(|n| Record::new(format!("key-{n}"), "x"));
    let receipts: Vec<_> = all.map(|record| producer.try_put(record)).collect();
    assert!(receipts.iter().filter(|put| put.is_ok()).count() >= 10);
}

/// In real time: a clock that stands still lets no more go than a shard takes in a second.
#[tokio::test]
async fn a_caller_that_never_waits_does_not_keep_its_thread_from_the_senders() {
    const RECORDS: usize = 20_000;
    let local = orders(Limits::Off, 4);
    // So that no pace holds anything back.
    let fast = producer(&local).rate_limit(1_000_000);
    let producer = fast.build().await.unwrap();
    for by_batches in [false, true] {
        let mut most = 0;
        for n in 0..RECORDS / 100 {
            let batch = (0..100).map(|m| Record::new(format!("{n}/{m}"), vec![b'x'; 1_000]));
            if by_batches {
                producer.put_all(batch).await.unwrap().forget();
            } else {
                for record in batch {
                    producer.put(record).await.unwrap().forget();
                }
            }
            most = most.max(producer.outstanding().bytes);
        }
        assert!(most < 8 << 20, "{most} bytes were outstanding");
        producer.flush().await;
    }
    assert_eq!(producer.stats().delivered, 2 * RECORDS as u64);
}
