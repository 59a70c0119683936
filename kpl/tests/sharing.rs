//! Two producers share one shard, whose limits are on: each finds its part of what the shard gives.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use bytes::Bytes;
use kpl::{Producer, Record, Stats};
use local::{Fault, FaultAction, Limits, Local};
use std::time::Duration;
use support::{orders, producer};
use tokio::time::sleep;

const SECONDS: u64 = 60;

/// Puts as much as the producer takes, until the test ends.
fn flood(producer: &Producer, size: usize) {
    for caller in 0..4 {
        let producer = producer.clone();
        tokio::spawn(async move {
            let payload = Bytes::from(vec![b'x'; size]);
            loop {
                let batch = (0..50).map(|n| Record::new(format!("{caller}/{n}"), payload.clone()));
                let Ok(receipt) = producer.put_all(batch).await else {
                    return;
                };
                receipt.forget();
            }
        });
    }
}

fn stream() -> Local {
    let local = orders(Limits::On, 1);
    let round_trip = FaultAction::Delay(Duration::from_millis(20));
    local.faults().add(Fault::every("PutRecords", round_trip));
    local
}

async fn build(local: &Local, seed: u64, aggregation: bool) -> Producer {
    producer(local)
        .chance(runtime::Chance::seeded(seed))
        .aggregation(aggregation)
        .max_buffered_bytes(4 << 20)
        .record_ttl(Duration::from_secs(600))
        .build()
        .await
        .unwrap()
}

/// Runs `producers` for a minute; gives what each did.
async fn run(local: &Local, producers: u64, size: usize, aggregation: bool) -> Vec<Stats> {
    let mut all = Vec::new();
    for seed in 0..producers {
        let producer = build(local, seed, aggregation).await;
        flood(&producer, size);
        all.push(producer);
    }
    sleep(Duration::from_secs(SECONDS)).await;
    let stats = all.iter().map(Producer::stats).collect();
    for producer in all {
        producer.close(Duration::ZERO).await;
    }
    stats
}

/// Throttled Kinesis records among those sent, in percent; and what was stored.
fn outcome(local: &Local, stats: &[Stats]) -> (f64, usize, usize) {
    let stored = local.records("orders");
    let sent: u64 = stats.iter().map(|stats| stats.kinesis_records).sum();
    let bytes = stored
        .iter()
        .map(|r| r.data.len() + r.partition_key.as_ref().map_or(0, String::len))
        .sum();
    let sent = u32::try_from(sent).unwrap();
    let taken = u32::try_from(stored.len()).unwrap();
    let throttled = 100.0 * (1.0 - f64::from(taken) / f64::from(sent));
    (throttled, bytes, stored.len())
}

#[tokio::test(start_paused = true)]
async fn two_producers_of_aggregates_share_a_shard_and_waste_little() {
    let local = stream();
    let stats = run(&local, 2, 1_000, true).await;
    let (throttled, bytes, _) = outcome(&local, &stats);
    let whole = usize::try_from(SECONDS).unwrap() << 20;
    println!("{throttled:.2} % throttled, {bytes} bytes of {whole}; {stats:?}");
    assert!(bytes >= whole / 10 * 9, "{bytes}");
    assert!(throttled < 5.0, "{throttled}");
    let least = stats.iter().map(|stats| stats.delivered).min().unwrap();
    let sum: u64 = stats.iter().map(|stats| stats.delivered).sum();
    assert!(least * 4 >= sum, "each has a quarter at least: {stats:?}");
}

#[tokio::test(start_paused = true)]
async fn two_producers_of_small_records_share_a_shard_and_waste_little() {
    let local = stream();
    let stats = run(&local, 2, 10, false).await;
    let (throttled, _, records) = outcome(&local, &stats);
    let whole = usize::try_from(SECONDS).unwrap() * 1_000;
    println!("{throttled:.2} % throttled, {records} records of {whole}; {stats:?}");
    assert!(records >= whole / 10 * 9, "{records}");
    assert!(throttled < 5.0, "{throttled}");
    let least = stats.iter().map(|stats| stats.delivered).min().unwrap();
    let sum: u64 = stats.iter().map(|stats| stats.delivered).sum();
    assert!(least * 4 >= sum, "each has a quarter at least: {stats:?}");
}

#[tokio::test(start_paused = true)]
async fn one_producer_has_all_that_the_shard_gives() {
    let local = stream();
    let stats = run(&local, 1, 1_000, true).await;
    let (throttled, bytes, _) = outcome(&local, &stats);
    let whole = usize::try_from(SECONDS).unwrap() << 20;
    println!("{throttled:.2} % throttled, {bytes} bytes of {whole}");
    assert!(bytes >= whole / 100 * 97, "{bytes}");
    assert!(throttled < 2.0, "{throttled}");
}
