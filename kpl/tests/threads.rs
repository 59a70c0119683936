//! Many threads share one producer, in real time: what a paused clock on one thread cannot show.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use futures::FutureExt;
use kpl::{Producer, Record};
use local::{Fault, FaultAction, Limits, Local};
use std::sync::Arc;
use std::time::Duration;
use support::{clock, credentials, orders, place, producer, readable};

const CALLERS: u32 = 8;
const RECORDS: u32 = 1_500;

/// Puts one by one and by batches, in turn; every record must be where its receipt says.
async fn call(producer: Producer, caller: u32) -> Vec<(Record, kpl::Delivered)> {
    let record = |n: u32| Record::new(format!("key-{}", n % 97), format!("{caller}/{n}"));
    let mut outcomes = Vec::new();
    let mut receipts = Vec::new();
    let mut n = 0;
    while n < RECORDS {
        if n % 2 == 0 {
            let batch: Vec<Record> = (n..n + 25).map(record).collect();
            let report = producer.put_all(batch.clone()).await.unwrap().await;
            outcomes.extend(
                batch
                    .into_iter()
                    .zip(report.into_iter().map(Result::unwrap)),
            );
        } else {
            for n in n..n + 25 {
                receipts.push((record(n), producer.put(record(n)).await.unwrap()));
            }
        }
        if n % 200 == 0 {
            producer.flush().await;
            let resolved = receipts
                .drain(..)
                .map(|(record, receipt): (Record, kpl::Receipt)| {
                    (record, receipt.now_or_never().unwrap().unwrap())
                });
            outcomes.extend(resolved);
        }
        n += 25;
    }
    for (record, receipt) in receipts {
        outcomes.push((record, receipt.await.unwrap()));
    }
    outcomes
}

/// Splits a shard and refuses a request each time another tenth of the records is delivered.
async fn reshard(local: Local, producer: Producer) {
    for tenth in 1..6 {
        while producer.stats().delivered < u64::from(CALLERS * RECORDS / 10 * tenth) {
            tokio::task::yield_now().await;
        }
        let open = local
            .shards("orders")
            .into_iter()
            .find(|shard| shard.open)
            .unwrap();
        local.split_shard("orders", &open.shard_id).unwrap();
        local
            .faults()
            .add(Fault::nth("PutRecords", 2, FaultAction::Refuse));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_record_of_every_thread_is_where_its_receipt_says() {
    let local = orders(Limits::Off, 3);
    let producer = producer(&local)
        .record_max_buffered_time(Duration::from_millis(5))
        .aggregation_max_size(2_000)
        .max_buffered_records(500)
        .rate_limit(100_000)
        .build()
        .await
        .unwrap();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(call(producer.clone(), caller)))
        .collect();
    reshard(local.clone(), producer.clone()).await;
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.extend(caller.await.unwrap());
    }
    assert_eq!(outcomes.len(), usize::try_from(CALLERS * RECORDS).unwrap());
    let read = readable(&local, "orders");
    for (record, delivered) in &outcomes {
        let (key, data) = &read[&place(delivered)];
        assert_eq!(
            (key.as_str(), data),
            (record.partition_key(), record.data())
        );
    }
    let report = producer.close(Duration::from_secs(10)).await;
    let expected = (u64::from(CALLERS * RECORDS), 0, 0);
    assert_eq!(
        (report.delivered, report.failed, report.abandoned),
        expected
    );
    assert_eq!(producer.stats().outstanding_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_under_load_resolves_every_receipt() {
    for _ in 0..20 {
        let local = orders(Limits::Off, 2);
        let producer = producer(&local)
            .max_buffered_records(50)
            .build()
            .await
            .unwrap();
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let producer = producer.clone();
                tokio::spawn(async move {
                    let mut receipts = Vec::new();
                    while let Ok(receipt) =
                        producer.put(Record::new("k", format!("{caller}"))).await
                    {
                        receipts.push(receipt);
                    }
                    let admitted = receipts.len() as u64;
                    for receipt in receipts {
                        drop(receipt.await);
                    }
                    admitted
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let report = producer.close(Duration::ZERO).await;
        let mut admitted = 0;
        for caller in callers {
            admitted += caller.await.unwrap();
        }
        let stats = producer.stats();
        assert_eq!(stats.admitted, admitted);
        assert_eq!(stats.delivered + stats.failed + stats.abandoned, admitted);
        assert!(report.delivered <= admitted);
        assert_eq!(
            (producer.running_tasks(), stats.outstanding_records),
            (0, 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_socket_with_connections_of_its_own() {
    let local = orders(Limits::On, 4);
    let server = local.start_on(([127, 0, 0, 1], 0).into()).await.unwrap();
    let config = aws::Config::builder()
        .region("us-east-1")
        .endpoint_url(server.url())
        .credentials(credentials())
        .clock(Arc::new(clock()))
        .environment(aws::Environment::fixed([("HOME", "/nonexistent")]))
        .load()
        .unwrap();
    let producer = Producer::builder("orders")
        .aws(config)
        .connect_timeout(Duration::from_secs(5))
        .build()
        .await
        .unwrap();
    let records = (0..2_000).map(|n| Record::new(format!("key-{n}"), format!("record {n}")));
    let report = producer.put_all(records).await.unwrap().await;
    assert!(report.all_delivered(), "{:?}", report.failures());
    assert_eq!(readable(&local, "orders").len(), 2_000);
    server.stop().await;
    producer.put(Record::new("k", "x")).await.unwrap().forget();
    let report = producer.close(Duration::from_millis(300)).await;
    assert_eq!((report.delivered, report.abandoned), (2_000, 1));
}
