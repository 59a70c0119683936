//! Records that are admitted outlive the producer: what has no outcome is sent by the next one.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use futures::{FutureExt, StreamExt};
use kpl::{
    BuildError, DeliveryError, Producer, ProducerEvent, PutAllReason, PutError, Record, SpoolError,
};
use local::{Limits, Local};
use std::collections::BTreeMap;
use std::future::ready;
use std::path::Path;
use std::time::Duration;
use support::{away, orders, producer, readable};
use tempfile::TempDir;

async fn spooled(local: &Local, directory: &Path) -> Producer {
    producer(local).spool(directory).build().await.unwrap()
}

fn records(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers
        .map(|n| Record::new(format!("key-{}", n % 7), format!("record {n}")))
        .collect()
}

/// How often each datum is in the stream.
fn stored(local: &Local) -> BTreeMap<String, usize> {
    let mut stored = BTreeMap::new();
    for (_, data) in readable(local, "orders").into_values() {
        let data = String::from_utf8(data.to_vec()).unwrap();
        *stored.entry(data).or_default() += 1;
    }
    stored
}

fn each_once(numbers: std::ops::Range<u32>) -> BTreeMap<String, usize> {
    numbers.map(|n| (format!("record {n}"), 1)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_not_delivered_is_sent_by_the_next_producer() {
    let local = orders(Limits::Off, 2);
    let directory = TempDir::new().unwrap();

    let first = spooled(&local, directory.path()).await;
    first.put_all(records(0..100)).await.unwrap().await;
    away(&local);
    first.put_all(records(100..180)).await.unwrap().forget();
    for record in records(180..200) {
        drop(first.put(record).await.unwrap());
    }
    let report = first.close(Duration::from_secs(1)).await;
    assert_eq!((report.delivered, report.abandoned), (100, 100));
    assert_eq!(first.running_tasks(), 0);
    local.faults().clear();

    let second = spooled(&local, directory.path()).await;
    second.put_all(records(200..210)).await.unwrap().await;
    assert_eq!(second.spool_damage(), []);
    let report = second.close(Duration::from_secs(60)).await;
    assert_eq!((second.stats().recovered, report.delivered), (100, 110));
    assert_eq!(stored(&local), each_once(0..210), "none lost, none twice");

    let third = spooled(&local, directory.path()).await;
    assert_eq!(
        third.close(Duration::from_secs(60)).await.delivered,
        0,
        "nothing is left"
    );
}

/// In strict order the records of one life come before those of the next, also those that it had left.
#[tokio::test(start_paused = true)]
async fn what_an_earlier_producer_left_is_sent_before_anything_new() {
    for strict in [true, false] {
        let local = orders(Limits::Off, 2);
        let directory = TempDir::new().unwrap();
        let build = || {
            let builder = producer(&local).spool(directory.path());
            let builder = builder
                .max_buffered_records(300)
                .max_buffered_per_shard(100);
            builder.strict_ordering(strict).build()
        };
        let first = build().await.unwrap();
        let gone = away(&local);
        first.put_all(records(0..290)).await.unwrap().forget();
        first.close(Duration::from_secs(1)).await;
        local.faults().remove(gone);
        let second = build().await.unwrap();
        for record in records(290..600) {
            second.put(record).await.unwrap().forget();
        }
        second.close(Duration::from_secs(60)).await;
        assert_eq!(second.stats().recovered, 290);
        let mut read: Vec<_> = readable(&local, "orders").into_iter().collect();
        read.sort_by_key(|((_, number, sub), _)| (number.len(), number.clone(), *sub));
        let mut last = BTreeMap::new();
        for (_, (key, data)) in read {
            let text = std::str::from_utf8(&data).unwrap();
            let number: u32 = text.strip_prefix("record ").unwrap().parse().unwrap();
            let before = last.insert(key, number);
            assert!(before < Some(number), "{before:?} before {number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_not_sent_again() {
    let local = orders(Limits::Off, 1);
    let directory = TempDir::new().unwrap();
    let first = spooled(&local, directory.path()).await;
    away(&local);
    let receipt = first.put(Record::new("k", "late")).await.unwrap();
    assert!(matches!(receipt.await, Err(DeliveryError::Expired { .. })));
    first.close(Duration::from_secs(60)).await;
    local.faults().clear();
    let second = spooled(&local, directory.path()).await;
    assert_eq!(second.close(Duration::from_secs(60)).await.delivered, 0);
    assert!(stored(&local).is_empty(), "its caller was told");
}

/// A flush waits for the disk's records as for others, and aggregates that are taken apart keep theirs.
#[tokio::test(start_paused = true)]
async fn a_split_under_way_leaves_nothing_behind() {
    let local = orders(Limits::Off, 1);
    let directory = TempDir::new().unwrap();
    let first = spooled(&local, directory.path()).await;
    first.put_all(records(0..50)).await.unwrap().await;
    let shard = local.shards("orders").into_iter().next().unwrap();
    local.split_shard("orders", &shard.shard_id).unwrap();
    first.put_all(records(50..150)).await.unwrap().forget();
    first.flush().await;
    first.close(Duration::from_secs(60)).await;
    assert_eq!(stored(&local), each_once(0..150));
    let second = spooled(&local, directory.path()).await;
    second.close(Duration::from_secs(60)).await;
    assert_eq!(second.stats().recovered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_refuses_the_record_and_serves_the_next() {
    let local = orders(Limits::Off, 1);
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("spool");
    let producer = spooled(&local, &directory).await;
    std::fs::remove_dir_all(&directory).unwrap();
    let refused = producer.put(Record::new("k", "a")).await.unwrap_err();
    assert!(matches!(&refused, PutError::Spool { .. }), "{refused}");
    assert!(refused.to_string().contains("spool"), "{refused}");
    assert_eq!(refused.into_record(), Record::new("k", "a"));
    let refused = producer.put_all(records(0..3)).await.unwrap_err();
    assert!(matches!(refused.reason, PutAllReason::Spool { .. }));
    assert_eq!((refused.records.len(), producer.stats().admitted), (3, 0));
    std::fs::create_dir(&directory).unwrap();
    producer.put_all(records(0..3)).await.unwrap().await;
    assert_eq!(stored(&local), each_once(0..3));
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_is_told_of_once_and_its_callers_wait() {
    let local = orders(Limits::Off, 1);
    let directory = TempDir::new().unwrap();
    let producer = producer(&local)
        .spool(directory.path())
        .spool_max_bytes(1 << 20)
        .record_ttl(Duration::from_secs(600))
        .build()
        .await
        .unwrap();
    let full = |event: &ProducerEvent| matches!(event, ProducerEvent::SpoolFull { .. });
    let told = producer.events().filter(|event| ready(full(event)));
    let mut told = std::pin::pin!(told);
    let gone = away(&local);
    let putting = {
        let producer = producer.clone();
        tokio::spawn(async move {
            for n in 0..32 {
                let record = Record::new(format!("key-{n}"), vec![0; 100_000]);
                producer.put(record).await.unwrap().forget();
            }
        })
    };
    let Some(ProducerEvent::SpoolFull { bytes }) = told.next().await else {
        panic!("the producer goes on")
    };
    assert!(bytes <= 1 << 20 && bytes > 900_000, "{bytes}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!putting.is_finished() && producer.stats().admitted == 10);
    local.faults().remove(gone);
    putting.await.unwrap();
    producer.close(Duration::from_secs(60)).await;
    assert_eq!(readable(&local, "orders").len(), 32);
    let told = told.count().await;
    assert!(told <= 3, "{told}: not for each caller that waits");
}

#[tokio::test(start_paused = true)]
async fn one_producer_a_directory_and_no_put_that_does_not_wait() {
    let local = orders(Limits::Off, 1);
    let directory = TempDir::new().unwrap();
    let first = spooled(&local, directory.path()).await;
    let refused = producer(&local)
        .spool(directory.path())
        .build()
        .await
        .unwrap_err();
    assert!(
        matches!(refused, BuildError::Spool(SpoolError::InUse { .. })),
        "{refused}"
    );
    let refused = first.try_put(Record::new("k", "x")).unwrap_err();
    assert!(matches!(refused, PutError::Spooled { .. }), "{refused}");

    // A put that is given up before it is admitted leaves nothing behind.
    {
        let mut gone = std::pin::pin!(first.put(Record::new("k", "gone")));
        assert!(
            (&mut gone).now_or_never().is_none(),
            "it waits for the disk"
        );
    }
    drop(first.put(Record::new("k", "record 0")).await.unwrap());
    first.close(Duration::from_secs(60)).await;
    let second = spooled(&local, directory.path()).await;
    second.close(Duration::from_secs(60)).await;
    assert_eq!(
        (stored(&local), second.stats().recovered),
        (each_once(0..1), 0)
    );
}
