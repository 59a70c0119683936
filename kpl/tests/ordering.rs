//! Strict ordering: records of one hash key are stored in the order of their admission, whatever happens
//! on their way.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use bytes::Bytes;
use kpl::{Producer, ProducerBuilder, Record};
use local::{Fault, FaultAction, Limits, Local};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::{ms, open_shards, orders, producer, readable, slow};
use tokio::time::{Instant, sleep};

fn strict(local: &Local) -> ProducerBuilder {
    producer(local)
        .strict_ordering(true)
        .record_max_buffered_time(ms(10))
        .record_ttl(Duration::from_secs(120))
}

/// Puts rounds of records of ten keys, with something done between the rounds; checks the order of each
/// key, as a reader sees it that forgets repeats.
async fn in_order(local: &Local, producer: &Producer, mut between: impl FnMut(u32)) {
    let mut receipts = Vec::new();
    for round in 0..40 {
        between(round);
        for n in 0..10 {
            let record = Record::new(format!("key {n}"), format!("{n} {round:03}"));
            receipts.push(producer.put(record).await.unwrap());
        }
        sleep(ms(7)).await;
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let mut read: Vec<_> = readable(local, "orders").into_iter().collect();
    // Sequence numbers grow from a parent to its children.
    read.sort_by_key(|((_, number, sub), _)| (number.len(), number.clone(), *sub));
    let mut seen: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    for (_, (key, data)) in read {
        let of_key = seen.entry(key).or_default();
        if !of_key.contains(&data) {
            of_key.push(data);
        }
    }
    assert_eq!(seen.len(), 10);
    for (key, data) in seen {
        assert_eq!(data.len(), 40, "{key}");
        assert!(data.is_sorted(), "{key}: {data:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_kinesis_record_of_a_shard_at_a_time_and_never_two_in_a_request() {
    let local = orders(Limits::Off, 3);
    slow(&local, ms(50));
    let producer = strict(&local)
        .aggregation_max_count(2)
        .build()
        .await
        .unwrap();
    in_order(&local, &producer, |_| ()).await;
    let mut arrivals: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for record in local.records("orders") {
        arrivals
            .entry(record.shard_id)
            .or_default()
            .push(record.arrival);
    }
    assert_eq!(arrivals.len(), 3);
    for arrivals in arrivals.into_values() {
        for pair in arrivals.windows(2) {
            let apart = pair[1].duration_since(pair[0]).unwrap();
            assert!(apart >= ms(50), "{apart:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_through_throttles_failures_and_lost_answers() {
    let code = |code: &str| code.to_owned();
    let actions = [
        FaultAction::SplitEntries {
            every: 1,
            code: code("ProvisionedThroughputExceededException"),
        },
        FaultAction::SplitEntries {
            every: 1,
            code: code("InternalFailure"),
        },
        FaultAction::Status(503),
        FaultAction::Refuse,
        FaultAction::LoseAnswer,
    ];
    for action in actions {
        let local = orders(Limits::Off, 3);
        let producer = strict(&local)
            .aggregation_max_count(3)
            .build()
            .await
            .unwrap();
        in_order(&local, &producer, |round| {
            if round % 4 == 1 {
                local
                    .faults()
                    .add(Fault::nth("PutRecords", 2, action.clone()));
            }
        })
        .await;
        assert!(producer.stats().retried > 0, "{action:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_through_splits_and_merges_and_children_wait_for_their_parents() {
    let local = orders(Limits::Off, 2);
    slow(&local, ms(15));
    let producer = strict(&local).build().await.unwrap();
    in_order(&local, &producer, |round| {
        let open = open_shards(&local);
        match round % 8 {
            3 => local.split_shard("orders", &open[0].shard_id).unwrap(),
            5 => local.split_shard("orders", &open[1].shard_id).unwrap(),
            7 => {
                let (a, b) = (&open[0].shard_id, &open[1].shard_id);
                local.merge_shards("orders", a, b).unwrap();
            }
            _ => {}
        }
    })
    .await;
    let shards: BTreeSet<_> = local
        .records("orders")
        .into_iter()
        .map(|r| r.shard_id)
        .collect();
    assert!(shards.len() > 6, "{shards:?}");
    assert!(producer.stats().retried > 0, "some straddled");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_leaves_a_gap_and_the_others_go_on() {
    let local = orders(Limits::Off, 1);
    let producer = strict(&local).record_ttl(ms(500)).build().await.unwrap();
    let away = local
        .faults()
        .add(Fault::every("PutRecords", FaultAction::Refuse));
    let lost = producer.put(Record::new("k", "lost")).await.unwrap();
    assert!(lost.await.is_err());
    local.faults().remove(away);
    producer
        .put(Record::new("k", "kept"))
        .await
        .unwrap()
        .await
        .unwrap();
    producer.close(Duration::from_secs(1)).await;
    assert_eq!(producer.running_tasks(), 0);
}

/// What it costs: not asserted but for its bounds, for it is what it is.
#[tokio::test(start_paused = true)]
async fn the_cost_is_a_round_trip_for_each_kinesis_record_of_a_shard() {
    let mut took = Vec::new();
    for on in [false, true] {
        let local = orders(Limits::Off, 4);
        slow(&local, ms(20));
        let producer = producer(&local)
            .strict_ordering(on)
            .max_buffered_bytes(8 << 20)
            .rate_limit(100_000)
            .build()
            .await
            .unwrap();
        let begin = Instant::now();
        for _ in 0..200 {
            let batch = (0..1_000).map(|n| Record::new(format!("key {n}"), vec![b'x'; 100]));
            producer.put_all(batch).await.unwrap().forget();
        }
        producer.flush().await;
        took.push(begin.elapsed());
        let rate = 200_000.0 / begin.elapsed().as_secs_f64() / 4.0;
        println!(
            "strict {on}: {:?}, {rate:.0} records of 100 B a second and shard",
            begin.elapsed()
        );
        // A shard takes 1 MiB a second: about 10,000 of these. Order allows more.
        assert!(rate > 10_000.0);
    }
    assert!(took[0] < took[1]);
}
