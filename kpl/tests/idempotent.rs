//! With identities on, a reader that looks at them sees each record once, whatever was stored twice; a
//! reader that does not know of them sees what it would see without.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

mod support;

use kpl::{ProducerBuilder, Record};
use local::{Fault, FaultAction, Limits, Local};
use std::time::Duration;
use support::{emitted, endpoint, orders, producer, readable};

fn idempotent(local: &Local) -> ProducerBuilder {
    producer(local)
        .idempotent(true)
        .record_ttl(Duration::from_secs(600))
}

fn reshard(local: &Local, round: u32) {
    let open: Vec<_> = local
        .shards("orders")
        .into_iter()
        .filter(|shard| shard.open)
        .collect();
    if round % 3 == 2 {
        let (left, right) = open
            .iter()
            .find_map(|left| {
                let touches = |right: &&local::ShardInfo| {
                    left.hash_range.end.checked_add(1) == Some(right.hash_range.start)
                };
                open.iter().find(touches).map(|right| (left, right))
            })
            .unwrap();
        local
            .merge_shards("orders", &left.shard_id, &right.shard_id)
            .unwrap();
    } else {
        local.split_shard("orders", &open[0].shard_id).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_reshards_store_twice_and_are_seen_once() {
    for (seed, aggregation, strict) in [
        (1, true, false),
        (2, true, true),
        (3, false, false),
        (4, true, true),
    ] {
        let local = endpoint(Limits::Off, seed);
        local.create_stream("orders", 2).unwrap();
        let lose = Fault::every("PutRecords", FaultAction::LoseAnswer);
        local.faults().add(lose.with_probability(0.4));
        let producer = idempotent(&local)
            .aggregation(aggregation)
            .strict_ordering(strict)
            .build()
            .await
            .unwrap();
        let mut receipts = Vec::new();
        let count = if aggregation { 400 } else { 40 };
        for round in 0..8 {
            let records = (0..count)
                .map(|n| Record::new(format!("key-{}", n % 97), format!("record {round}-{n}")));
            receipts.push(producer.put_all(records).await.unwrap());
            let one = Record::new("one", format!("single {round}"));
            drop(producer.put(one).await.unwrap());
            tokio::time::sleep(Duration::from_millis(150)).await;
            reshard(&local, round);
        }
        producer.flush().await;
        for receipt in receipts {
            assert!(receipt.await.into_iter().all(|outcome| outcome.is_ok()));
        }
        let expected = 8 * (count + 1);
        let (emitted, all) = emitted(&local);
        assert_eq!(emitted.len(), expected, "none is missing");
        assert!(
            emitted.values().all(|times| *times == 1),
            "none comes twice"
        );
        assert!(all > expected + count, "{all}: answers were lost");
        assert_eq!(
            readable(&local, "orders").len(),
            all,
            "others read them all"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_lives_of_a_producer_are_told_apart() {
    let local = orders(Limits::Off, 1);
    for life in 0..2 {
        let seed = runtime::Chance::seeded(life);
        let producer = idempotent(&local).chance(seed).build().await.unwrap();
        let records = (0..10).map(|n| Record::new("key", format!("{life}-{n}")));
        producer.put_all(records).await.unwrap().forget();
        producer.close(Duration::from_secs(10)).await;
    }
    assert_eq!(emitted(&local).0.len(), 20);
}
