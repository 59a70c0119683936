//! Faults of the Kinesis Producer Library that this one does not have, each by name.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use aws::ErrorKind;
use kpl::{DeliveryError, Producer, Record};
use local::{Fault, FaultAction, Limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use support::{calls, config_watched, orders, place, producer, readable, refusal, spread};
use tokio::time::{Instant, sleep};

/// A poison record stalls its neighbours (fault 15).
#[tokio::test(start_paused = true)]
async fn a_poison_record_fails_alone_and_its_neighbours_are_delivered() {
    for (aggregation, most) in [(true, 40), (false, 30)] {
        let local = orders(Limits::Off, 4);
        let sent = Arc::new(AtomicU64::new(0));
        let count = {
            let sent = Arc::clone(&sent);
            move || {
                sent.fetch_add(1, Relaxed);
            }
        };
        let producer = Producer::builder("orders")
            .aws(config_watched(&local, 1, count))
            .aggregation(aggregation)
            .build()
            .await
            .unwrap();
        sent.store(0, Relaxed);
        let mut records: Vec<Record> = spread(0..400);
        records[123] = Record::new("key", "POISON");
        let begin = Instant::now();
        let report = producer.put_all(records.clone()).await.unwrap().await;
        let failures = report.failures();
        let [(123, DeliveryError::Rejected { kind, attempts, .. })] = &failures[..] else {
            panic!("{failures:?}")
        };
        assert_eq!(*kind, ErrorKind::Invalid);
        assert!(attempts.count() <= 20, "{}", attempts.count());
        assert_eq!(readable(&local, "orders").len(), 399, "nothing twice");
        for (at, outcome) in report.into_iter().enumerate().filter(|(at, _)| *at != 123) {
            let (_, data) = &readable(&local, "orders")[&place(&outcome.unwrap())];
            assert_eq!(data, records[at].data());
        }
        let sent = sent.load(Relaxed);
        assert!(sent <= most, "{sent} requests");
        assert!(
            begin.elapsed() < Duration::from_millis(200),
            "no waiting in between"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn several_poison_records_are_found_and_a_request_that_is_wrong_throughout_is_given_up() {
    let local = orders(Limits::Off, 2);
    let producer = producer(&local).build().await.unwrap();
    let mut records: Vec<Record> = spread(0..300);
    for at in [7, 8, 290] {
        records[at] = Record::new(format!("key-{at}"), format!("{at} POISON"));
    }
    let report = producer.put_all(records).await.unwrap().await;
    let failed: Vec<usize> = report.failures().into_iter().map(|(at, _)| at).collect();
    assert_eq!(failed, [7, 8, 290]);
    let before = producer.stats().requests;
    local
        .faults()
        .add(Fault::every("PutRecords", refusal("ValidationException")));
    let report = producer.put_all(spread(0..2_000)).await.unwrap().await;
    assert_eq!(report.failures().len(), 2_000);
    let spent = producer.stats().requests - before;
    assert!(spent <= 40, "{spent} requests for nothing");
}

/// Permanent errors burn the whole time to live (fault 2).
#[tokio::test(start_paused = true)]
async fn permanent_errors_are_waited_out_without_a_loop_when_the_user_wants_it() {
    let codes = [
        "AccessDeniedException",
        "ResourceNotFoundException",
        "KMSDisabledException",
    ];
    for code in codes {
        let local = orders(Limits::Off, 1);
        let producer = producer(&local)
            .wait_on_permanent_error(true)
            .record_ttl(Duration::from_secs(600))
            .build()
            .await
            .unwrap();
        let fault = local
            .faults()
            .add(Fault::every("PutRecords", refusal(code)));
        let receipt = producer.put_all(spread(0..100)).await.unwrap();
        sleep(Duration::from_secs(120)).await;
        let asked = calls(&local, "PutRecords");
        assert!((5..=10).contains(&asked), "{asked} requests in two minutes");
        local.faults().remove(fault);
        let begin = Instant::now();
        assert!(receipt.await.all_delivered());
        assert!(begin.elapsed() < Duration::from_secs(61));
    }
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .wait_on_permanent_error(true)
        .record_ttl(Duration::from_secs(10))
        .build()
        .await
        .unwrap();
    local
        .faults()
        .add(Fault::every("PutRecords", refusal("AccessDeniedException")));
    let outcome = producer.put(Record::new("k", "x")).await.unwrap().await;
    let Err(DeliveryError::Expired { attempts, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    let last = attempts.last().and_then(|attempt| attempt.code.as_deref());
    assert_eq!(
        last,
        Some("AccessDeniedException"),
        "it expires with the reason"
    );
}

/// Retries have no back-off: throttling raises the load (fault 2).
#[tokio::test(start_paused = true)]
async fn a_shard_that_throttles_everything_is_asked_ever_more_rarely() {
    let local = orders(Limits::Off, 1);
    let all = FaultAction::SplitEntries {
        every: 1,
        code: "ProvisionedThroughputExceededException".to_owned(),
    };
    local.faults().add(Fault::every("PutRecords", all));
    let producer = producer(&local)
        .record_ttl(Duration::from_secs(35))
        .build()
        .await
        .unwrap();
    let report = producer.put_all(spread(0..100)).await.unwrap().await;
    assert_eq!(report.failures().len(), 100);
    let attempts = report.failures()[0].1.attempts().count();
    assert!(attempts <= 30, "{attempts} attempts in 35 s");
}

/// The time to live is not enforced before a send (fault 10).
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_its_time_to_live() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .record_ttl(Duration::from_secs(2))
        .build()
        .await
        .unwrap();
    let away = local.faults().add(Fault::every("*", FaultAction::Refuse));
    let report = producer.put_all(spread(0..50)).await.unwrap().await;
    assert_eq!(report.failures().len(), 50);
    local.faults().remove(away);
    sleep(Duration::from_secs(60)).await;
    assert!(local.records("orders").is_empty());
}

/// A map that is being fetched is no map (fault 4), and it is never fetched again without evidence.
#[tokio::test(start_paused = true)]
async fn the_first_put_after_ten_minutes_looks_at_the_shards_again_and_waits_for_nothing() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local).build().await.unwrap();
    let first = local.shards("orders")[0].shard_id.clone();
    local.split_shard("orders", &first).unwrap();
    sleep(Duration::from_secs(599)).await;
    assert_eq!(calls(&local, "ListShards"), 1, "no timer asks");
    sleep(Duration::from_secs(2)).await;
    let slow = FaultAction::Delay(Duration::from_millis(50));
    local.faults().add(Fault::nth("ListShards", 1, slow));
    let begin = Instant::now();
    let report = producer.put_all(spread(0..100)).await.unwrap().await;
    assert!(report.all_delivered() && begin.elapsed() < Duration::from_millis(110));
    for outcome in report {
        assert_eq!(outcome.unwrap().attempts.count(), 1, "it was known in time");
    }
    assert_eq!(calls(&local, "ListShards"), 2);
    sleep(Duration::from_secs(500)).await;
    assert!(
        producer
            .put_all(spread(0..9))
            .await
            .unwrap()
            .await
            .all_delivered()
    );
    assert_eq!(calls(&local, "ListShards"), 2);
}

/// Each wrong landing may fetch the map (248 calls in 85 s with 1.1.1).
#[tokio::test(start_paused = true)]
async fn a_burst_of_wrong_landings_makes_one_call() {
    let local = orders(Limits::Off, 8);
    let producer = producer(&local)
        .aggregation_max_size(300)
        .set("CollectionMaxCount", "5")
        .build()
        .await
        .unwrap();
    for shard in local.shards("orders") {
        local.split_shard("orders", &shard.shard_id).unwrap();
    }
    let slow = FaultAction::Delay(Duration::from_millis(30));
    local.faults().add(Fault::every("PutRecords", slow.clone()));
    local.faults().add(Fault::every("ListShards", slow));
    let report = producer.put_all(spread(0..2_000)).await.unwrap().await;
    assert!(report.all_delivered());
    assert_eq!(
        calls(&local, "ListShards"),
        2,
        "at the start and after the splits"
    );
    assert_eq!(readable(&local, "orders").len(), 2_000);
}

/// A reshard turns N small records into N Kinesis records, and repeats them (faults 4 and 5).
#[tokio::test(start_paused = true)]
async fn doubling_and_halving_the_shards_under_load_loses_nothing_repeats_nothing_and_keeps_aggregating()
 {
    let local = orders(Limits::Off, 4);
    let producer = producer(&local).build().await.unwrap();
    let putting = {
        let producer = producer.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for round in 0..300 {
                let batch = spread(round * 100..(round + 1) * 100);
                receipts.push(producer.put_all(batch).await.unwrap());
                sleep(Duration::from_millis(20)).await;
            }
            receipts
        })
    };
    sleep(Duration::from_secs(2)).await;
    // To eight and back to four, by the splits and merges that UpdateShardCount makes.
    for shard in local.shards("orders") {
        local.split_shard("orders", &shard.shard_id).unwrap();
    }
    sleep(Duration::from_secs(2)).await;
    let mut open: Vec<_> = local
        .shards("orders")
        .into_iter()
        .filter(|s| s.open)
        .collect();
    open.sort_by_key(|shard| shard.hash_range.start);
    for pair in open.chunks_exact(2) {
        local
            .merge_shards("orders", &pair[0].shard_id, &pair[1].shard_id)
            .unwrap();
    }
    let receipts = putting.await.unwrap();
    for receipt in receipts {
        assert!(receipt.await.all_delivered());
    }
    assert_eq!(
        readable(&local, "orders").len(),
        30_000,
        "none lost, none twice"
    );
    let stats = producer.stats();
    // Some 60 intervals of 100 ms, four to eight shards.
    assert!(stats.kinesis_records < 1_200, "{stats:?}");
    assert!(stats.retried < 3_000, "{stats:?}");
    assert!(calls(&local, "ListShards") <= 5);
}
