//! The put journey end to end, against the embedded endpoint in process on a paused clock.

mod support;

use aws::ErrorKind;
use bytes::Bytes;
use futures::FutureExt;
use kpl::{BuildError, DeliveryError, Producer, PutAllReason, PutError, Record};
use local::{Fault, FaultAction, Limits};
use runtime::Metrics;
use runtime::metrics::Reading;
use std::collections::BTreeSet;
use std::time::Duration;
use support::{
    config, endpoint, error, looks_like_an_aggregate, ms, orders, place, producer, put_one,
    readable,
};
use tokio::time::Instant;

const THROTTLED: &str = "ProvisionedThroughputExceededException";

#[tokio::test(start_paused = true)]
async fn a_record_is_admitted_sent_after_its_buffered_time_and_readable() {
    let local = orders(Limits::On, 4);
    let producer = producer(&local).build().await.unwrap();
    let begin = Instant::now();
    let receipt = producer
        .put(Record::new("customer-7", "an order"))
        .await
        .unwrap();
    assert_eq!(producer.stats().outstanding_records, 1);
    let delivered = receipt.await.unwrap();
    assert!(
        begin.elapsed() >= ms(100) && begin.elapsed() < ms(105),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(
        (delivered.sub_sequence_number, delivered.attempts.count()),
        (0, 1)
    );
    let read = &readable(&local, "orders")[&place(&delivered)];
    assert_eq!(*read, ("customer-7".to_owned(), Bytes::from("an order")));
    let stored = &local.records("orders")[0];
    assert!(
        stored.explicit_hash_key.is_some(),
        "the outer explicit hash key is always set"
    );
    let report = producer.close(ms(1_000)).await;
    assert_eq!(
        (report.delivered, report.failed, report.abandoned),
        (1, 0, 0)
    );
    assert_eq!(producer.running_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_records_share_kinesis_records_and_requests() {
    let local = orders(Limits::Off, 4);
    let metrics = Metrics::new();
    let producer = producer(&local)
        .metrics(metrics.clone())
        .build()
        .await
        .unwrap();
    let records: Vec<Record> = (0..1_000)
        .map(|n| Record::new(format!("key-{n}"), format!("record {n}")))
        .collect();
    let report = producer.put_all(records.clone()).await.unwrap().await;
    assert!(report.all_delivered() && report.delivered() == 1_000);
    let read = readable(&local, "orders");
    assert_eq!(read.len(), 1_000);
    for (record, outcome) in records.iter().zip(report) {
        let (key, data) = &read[&place(&outcome.unwrap())];
        assert_eq!(
            (key.as_str(), data),
            (record.partition_key(), record.data())
        );
    }
    let stats = producer.stats();
    assert_eq!((stats.requests, stats.kinesis_records), (1, 4));
    assert_eq!(
        (stats.admitted, stats.delivered, stats.outstanding_bytes),
        (1_000, 1_000, 0)
    );
    assert!(
        local
            .records("orders")
            .iter()
            .all(|r| r.partition_key.as_deref() == Some("a"))
    );
    let mut counted = (0, 0.0);
    for (key, reading) in metrics.snapshot() {
        if let Reading::Histogram(summary) = reading
            && key.name == "UserRecordsPut"
        {
            let shard = key.dimensions.iter().any(|(name, _)| *name == "ShardId");
            assert!(shard || summary.count == 0, "each has its shard");
            counted = (counted.0 + summary.count, counted.1 + summary.sum);
        }
    }
    assert_eq!(counted, (1_000, 1_000.0));
}

#[tokio::test(start_paused = true)]
async fn payloads_that_look_like_aggregates_arrive_as_they_were() {
    let local = orders(Limits::On, 1);
    let blob = looks_like_an_aggregate();
    let producer = producer(&local).build().await.unwrap();
    let delivered = producer
        .put(Record::new("outer", blob.clone()))
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(
        readable(&local, "orders")[&place(&delivered)],
        ("outer".to_owned(), blob)
    );
}

#[tokio::test(start_paused = true)]
async fn without_aggregation_records_go_as_they_are() {
    let local = orders(Limits::On, 2);
    let producer = producer(&local)
        .set("AggregationEnabled", "false")
        .build()
        .await
        .unwrap();
    let records = (0..50).map(|n| Record::new(format!("key-{n}"), format!("record {n}")));
    assert!(
        producer
            .put_all(records)
            .await
            .unwrap()
            .await
            .all_delivered()
    );
    assert_eq!(
        (producer.stats().requests, local.records("orders").len()),
        (1, 50)
    );
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_named_before_anything_is_called() {
    let local = endpoint(Limits::On, 1);
    let bad = producer(&local)
        .set("RecordMaxBufferdTime", "5")
        .set("RateLimit", "0")
        .record_ttl(ms(99))
        .record_max_buffered_time(ms(100))
        .build()
        .await;
    let Err(BuildError::Settings(problems)) = bad else {
        panic!("{bad:?}")
    };
    assert_eq!(problems.0.len(), 3, "{problems}");
    assert!(local.journal().is_empty());
    let missing = producer(&local).build().await.unwrap_err();
    assert!(matches!(&missing, BuildError::StreamNotFound { stream, .. } if stream == "orders"));
    local.create_stream("orders", 1).unwrap();
    local.faults().add(Fault::nth(
        "ListShards",
        1,
        error(400, "AccessDeniedException"),
    ));
    assert!(matches!(
        producer(&local).build().await,
        Err(BuildError::Denied { .. })
    ));
    local.faults().add(Fault::nth(
        "ListShards",
        1,
        error(400, "UnrecognizedClientException"),
    ));
    let refused = producer(&local).build().await;
    assert!(matches!(refused, Err(BuildError::Credentials { .. })) || refused.is_ok());
}

#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_taken_come_back() {
    let local = orders(Limits::On, 1);
    let producer = producer(&local).build().await.unwrap();
    let large = Record::new("k", vec![7; 1024 * 1024]);
    let refused = producer.put(large.clone()).await.unwrap_err();
    assert!(matches!(
        refused,
        PutError::TooLarge {
            size: 1_048_577,
            limit: 1_048_576,
            ..
        }
    ));
    assert_eq!(refused.into_record(), large);
    for (key, length) in [(String::new(), 0), ("k".repeat(257), 257)] {
        let refused = producer
            .put(Record::new(key.clone(), "x"))
            .await
            .unwrap_err();
        assert!(matches!(refused, PutError::InvalidKey { length: l, .. } if l == length));
        assert_eq!(refused.into_record().partition_key(), key);
    }
    let batch = vec![Record::new("k", "x"), large, Record::new("", "y")];
    let refused = producer.put_all(batch.clone()).await.unwrap_err();
    assert_eq!(refused.reason, PutAllReason::Unacceptable { index: 1 });
    assert_eq!((refused.records, refused.admitted.is_none()), (batch, true));
    assert_eq!(producer.stats().admitted, 0);
    producer.close(ms(1)).await;
    let refused = producer.put(Record::new("k", "x")).await.unwrap_err();
    assert!(matches!(refused, PutError::Closed { .. }));
    assert_eq!(refused.into_record(), Record::new("k", "x"));
    let refused = producer.put_all([Record::new("k", "x")]).await.unwrap_err();
    assert_eq!(
        (refused.reason, refused.records.len()),
        (PutAllReason::Closed, 1)
    );
    assert!(producer.put_all([]).await.unwrap().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn callers_wait_at_the_bound_in_their_order() {
    let local = orders(Limits::On, 1);
    let producer = producer(&local)
        .max_buffered_records(2)
        .build()
        .await
        .unwrap();
    producer.put(Record::new("k", "1")).await.unwrap().forget();
    producer.put(Record::new("k", "2")).await.unwrap().forget();
    let mut third = Box::pin(producer.put(Record::new("k", "3")));
    let mut fourth = Box::pin(producer.put(Record::new("k", "4")));
    assert!((&mut third).now_or_never().is_none() && (&mut fourth).now_or_never().is_none());
    assert_eq!(
        (
            producer.stats().waiting,
            producer.stats().outstanding_records
        ),
        (2, 2)
    );
    drop(third);
    let receipt = fourth.await.unwrap();
    producer.flush().await;
    assert!(receipt.now_or_never().unwrap().is_ok());
    let data: Vec<Bytes> = readable(&local, "orders")
        .into_values()
        .map(|(_, data)| data)
        .collect();
    assert_eq!(data, ["1", "2", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_the_bounds_goes_in_parts() {
    let local = orders(Limits::On, 2);
    let producer = producer(&local)
        .max_buffered_records(10)
        .build()
        .await
        .unwrap();
    let records = (0..95).map(|n| Record::new(format!("key-{n}"), format!("record {n}")));
    let report = producer.put_all(records).await.unwrap().await;
    assert!(report.all_delivered());
    assert_eq!((report.len(), readable(&local, "orders").len()), (95, 95));
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_a_barrier_for_those_who_wait_too() {
    let local = orders(Limits::On, 1);
    let producer = producer(&local)
        .max_buffered_records(5)
        .record_max_buffered_time(Duration::from_secs(20))
        .build()
        .await
        .unwrap();
    let callers: Vec<_> = (0..12)
        .map(|n| {
            let producer = producer.clone();
            tokio::spawn(async move { producer.put(Record::new("k", n.to_string())).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(producer.stats().waiting, 7);
    let begin = Instant::now();
    producer.flush().await;
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(producer.stats().delivered, 12);
    for caller in callers {
        let receipt = caller.now_or_never().unwrap().unwrap().unwrap();
        assert!(receipt.now_or_never().unwrap().is_ok());
    }
    let begin = Instant::now();
    producer.flush().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn throttled_entries_are_tried_again_their_neighbours_are_delivered() {
    let local = orders(Limits::Off, 4);
    let refuse_every_second = FaultAction::SplitEntries {
        every: 2,
        code: THROTTLED.to_owned(),
    };
    local
        .faults()
        .add(Fault::nth("PutRecords", 1, refuse_every_second));
    let producer = producer(&local).build().await.unwrap();
    let records = (0..100).map(|n| Record::new(format!("key-{n}"), format!("record {n}")));
    let report = producer.put_all(records).await.unwrap().await;
    assert!(report.all_delivered());
    let attempts: Vec<u64> = report
        .into_iter()
        .map(|outcome| outcome.unwrap().attempts.count())
        .collect();
    assert!(attempts.contains(&1) && attempts.contains(&2));
    assert_eq!(readable(&local, "orders").len(), 100, "nothing twice");
    assert!(producer.stats().retried > 0);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_record_fails_at_once_if_the_user_wants_to_know() {
    let local = orders(Limits::Off, 1);
    let all = FaultAction::SplitEntries {
        every: 1,
        code: THROTTLED.to_owned(),
    };
    local.faults().add(Fault::nth("PutRecords", 1, all));
    let producer = producer(&local)
        .fail_if_throttled(true)
        .build()
        .await
        .unwrap();
    let outcome = producer.put(Record::new("k", "x")).await.unwrap().await;
    let Err(DeliveryError::Throttled { attempts, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(attempts.last().unwrap().code.as_deref(), Some(THROTTLED));
}

#[tokio::test(start_paused = true)]
async fn permanent_errors_fail_at_once_with_their_reason() {
    let local = endpoint(Limits::Off, 1);
    let table = [
        ("AccessDeniedException", ErrorKind::AccessDenied),
        ("ResourceNotFoundException", ErrorKind::NotFound),
        ("KMSDisabledException", ErrorKind::Key),
        ("ValidationException", ErrorKind::Invalid),
    ];
    local.create_stream("orders", 1).unwrap();
    let producer = producer(&local).build().await.unwrap();
    for (code, kind) in table {
        local
            .faults()
            .add(Fault::nth("PutRecords", 1, error(400, code)));
        let begin = Instant::now();
        let outcome = producer.put(Record::new("k", "x")).await.unwrap().await;
        assert!(begin.elapsed() < ms(200));
        match outcome {
            Err(DeliveryError::Rejected {
                kind: k,
                code: c,
                attempts,
                ..
            }) => {
                assert_eq!((k, c.as_str(), attempts.count()), (kind, code, 1));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_sent_expires_and_never_before_its_time() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .record_ttl(ms(5_000))
        .build()
        .await
        .unwrap();
    local
        .faults()
        .add(Fault::every("PutRecords", FaultAction::Refuse));
    let begin = Instant::now();
    let outcome = producer.put(Record::new("k", "x")).await.unwrap().await;
    let Err(DeliveryError::Expired { attempts, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        begin.elapsed() >= ms(5_000) && begin.elapsed() < ms(5_010),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(attempts.last().unwrap().code.as_deref(), Some("Transport"));
    assert!(attempts.count() < 12, "backs off: {}", attempts.count());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_away_for_a_minute_costs_nothing_but_time() {
    // Nothing is taken, or nothing is ever answered.
    let silent = FaultAction::Delay(Duration::from_secs(3_600));
    for action in [FaultAction::Refuse, silent] {
        let local = orders(Limits::Off, 4);
        let producer = producer(&local)
            .record_ttl(Duration::from_secs(300))
            .max_buffered_bytes(2 << 20)
            .max_buffered_per_shard(100)
            .build()
            .await
            .unwrap();
        let away = local.faults().add(Fault::every("*", action));
        let putting = {
            let producer = producer.clone();
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for n in 0..1_000 {
                    let record = Record::new(format!("key-{n}"), format!("{n:09}").repeat(1_000));
                    receipts.push(producer.put(record).await.unwrap());
                }
                receipts
            })
        };
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(ms(100)).await;
            let held = producer.outstanding().bytes;
            assert!(held <= 2 << 20 && held > 2_000_000, "{held}");
        }
        let stats = producer.stats();
        assert_eq!((stats.admitted, stats.waiting, stats.failed), (231, 1, 0));
        assert!(stats.requests < 60, "no storm: {}", stats.requests);
        local.faults().remove(away);
        for receipt in putting.await.unwrap() {
            receipt.await.unwrap();
        }
        let read: BTreeSet<Bytes> = readable(&local, "orders")
            .into_values()
            .map(|r| r.1)
            .collect();
        assert_eq!(
            (read.len(), local.records("orders").len() < 1_000),
            (1_000, true)
        );
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(75), "back at once: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn closing_by_a_deadline_resolves_what_is_left() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .max_buffered_records(1)
        .build()
        .await
        .unwrap();
    producer
        .put(Record::new("k", "1"))
        .await
        .unwrap()
        .await
        .unwrap();
    local
        .faults()
        .add(Fault::every("PutRecords", FaultAction::Delay(ms(5_000))));
    let receipt = producer.put(Record::new("k", "2")).await.unwrap();
    let waiting = {
        let producer = producer.clone();
        tokio::spawn(async move { producer.put(Record::new("k", "3")).await })
    };
    tokio::task::yield_now().await;
    let begin = Instant::now();
    let report = producer.close(ms(2_000)).await;
    assert_eq!(begin.elapsed(), ms(2_000));
    assert_eq!(
        (report.delivered, report.failed, report.abandoned),
        (1, 0, 1)
    );
    assert!(matches!(
        receipt.now_or_never(),
        Some(Err(DeliveryError::Closed { .. }))
    ));
    assert!(matches!(
        waiting.await.unwrap(),
        Err(PutError::Closed { .. })
    ));
    assert_eq!(
        (
            producer.running_tasks(),
            producer.stats().outstanding_records
        ),
        (0, 0)
    );
    producer.flush().await;
    assert_eq!(producer.close(ms(1)).await, report);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_producer_goes_on_delivering() {
    let local = orders(Limits::On, 1);
    let producer = producer(&local).build().await.unwrap();
    let clone = producer.clone();
    drop(producer);
    let receipt = clone.put(Record::new("k", "x")).await.unwrap();
    drop(clone);
    assert!(receipt.await.is_ok());
}

#[test]
fn receipts_resolve_when_the_runtime_ends() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = runtime();
    let local = first.block_on(async { endpoint(Limits::On, 1) });
    local.create_stream("orders", 1).unwrap();
    let (producer, receipt) = first.block_on(async {
        let producer = producer(&local).build().await.unwrap();
        let receipt = producer.put(Record::new("k", "x")).await.unwrap();
        (producer, receipt)
    });
    drop(first);
    let second = runtime();
    let outcome = second.block_on(receipt);
    assert!(matches!(outcome, Err(DeliveryError::Closed { .. })));
    let refused = second.block_on(producer.put(Record::new("k", "x")));
    assert!(matches!(refused, Err(PutError::Closed { .. })));
    assert_eq!(producer.stats().abandoned, 1);
}

#[test]
fn a_producer_needs_a_runtime() {
    let build = Producer::builder("orders").build();
    assert!(matches!(
        build.now_or_never(),
        Some(Err(BuildError::NoRuntime))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_idle_producer_has_no_timer_that_ticks() {
    let local = orders(Limits::On, 1);
    let producer = producer(&local).build().await.unwrap();
    put_one(&producer).await;
    let requests = local.journal().len();
    let metrics = tokio::runtime::Handle::current().metrics();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(local.journal().len(), requests);
    assert_eq!(metrics.num_alive_tasks(), 1, "the engine alone");
    drop(config(&local));
}

#[tokio::test(start_paused = true)]
async fn a_stream_at_its_limit_gets_what_it_can_take() {
    let local = orders(Limits::On, 2);
    let producer = producer(&local)
        .record_ttl(Duration::from_secs(300))
        .build()
        .await
        .unwrap();
    let begin = Instant::now();
    let payload = Bytes::from(vec![b'x'; 1_000]);
    let mut receipts = Vec::new();
    for batch in 0..200 {
        let records = (0..100).map(|n| Record::new(format!("key-{batch}-{n}"), payload.clone()));
        receipts.push(producer.put_all(records).await.unwrap());
    }
    for receipt in receipts {
        assert!(receipt.await.all_delivered());
    }
    // 20 MB into two shards of 1 MiB/s each, the first second's worth at once.
    let took = begin.elapsed();
    let stats = producer.stats();
    assert!(took < Duration::from_secs(14), "{took:?} {stats:?}");
    assert!(
        stats.bytes < 2 * 21_000_000,
        "at most every byte twice: {stats:?}"
    );
    assert_eq!(readable(&local, "orders").len(), 20_000);
}

/// What holds in all tests: whoever signs nothing, or wrongly, gets nothing done.
#[tokio::test(start_paused = true)]
async fn the_endpoint_of_these_tests_verifies_signatures() {
    let local = orders(Limits::On, 1);
    let stranger = aws::Credentials::new("AKIDSTRANGER", "secret", None);
    for (credentials, code) in [
        (stranger, "UnrecognizedClientException"),
        (
            support::credentials_with("wrong"),
            "InvalidSignatureException",
        ),
    ] {
        let config = support::config_signed_by(&local, credentials);
        let error = Producer::builder("orders").aws(config).build().await;
        let error = error.unwrap_err();
        assert!(
            matches!(&error, BuildError::Credentials { source, .. } if source.code() == code),
            "{error}"
        );
    }
}
