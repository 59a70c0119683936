//! Everything is throttled for a while: little is sent meanwhile, and all goes on soon afterwards.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use bytes::Bytes;
use kpl::{Delivered, DeliveryError, Producer, ProducerBuilder, Record};
use local::{Fault, FaultId, Limits, Local};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{emitted, ms, orders, producer, readable, slow, throttles};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, sleep_until};

const RECORDS: u32 = 1_000;
const SIZE: usize = 1_000;

/// Four shards that refuse everything until the fault is removed, and then have their limits.
fn refusing() -> (Local, FaultId) {
    let local = orders(Limits::On, 4);
    let throttled = local.faults().add(Fault::every("PutRecords", throttles(1)));
    slow(&local, ms(20));
    (local, throttled)
}

fn datum(n: u32) -> Bytes {
    let mut data = format!("{n:04}").into_bytes();
    data.resize(SIZE, b'x');
    data.into()
}

fn records() -> impl Iterator<Item = Record> {
    (0..RECORDS).map(|n| Record::new(format!("key {}", n % 100), datum(n)))
}

fn seeded(local: &Local, seed: u64, strict: bool) -> ProducerBuilder {
    producer(local)
        .chance(runtime::Chance::seeded(seed))
        .strict_ordering(strict)
}

/// What was sent for a byte of payload.
fn sent(producer: &Producer) -> f64 {
    let sent = u32::try_from(producer.stats().bytes).unwrap();
    f64::from(sent) / f64::from(RECORDS) / f64::from(u32::try_from(SIZE).unwrap())
}

/// Puts all records at once. Gives their outcomes, and how long after `end` the last one came, where what
/// is in the way is removed.
async fn through(
    local: &Local,
    producer: &Producer,
    throttled: FaultId,
    outage: Duration,
) -> (Vec<Result<Delivered, DeliveryError>>, Duration) {
    let end = Instant::now() + outage;
    let receipt = producer.put_all(records()).await.unwrap();
    sleep_until(end).await;
    local.faults().remove(throttled);
    let outcomes = receipt.await.into_iter().collect();
    (outcomes, end.elapsed())
}

/// Each outcome says where its record can be read, and each key's records are in order, if `strict`.
fn all_as_said(local: &Local, outcomes: Vec<Result<Delivered, DeliveryError>>, strict: bool) {
    let read = readable(local, "orders");
    assert_eq!(read.len(), outcomes.len(), "none is stored twice");
    for (n, outcome) in (0..).zip(outcomes) {
        let Delivered {
            shard_id,
            sequence_number,
            sub_sequence_number,
            attempts,
            ..
        } = outcome.unwrap();
        let place = (
            shard_id.to_string(),
            sequence_number.to_string(),
            sub_sequence_number,
        );
        assert_eq!(read.get(&place).map(|(_, data)| data), Some(&datum(n)));
        assert_eq!(attempts.as_slice().last().unwrap().code, None);
    }
    if !strict {
        return;
    }
    let mut read: Vec<_> = read.into_iter().collect();
    read.sort_by_key(|((_, number, sub), _)| (number.len(), number.clone(), *sub));
    let mut of_key: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    for (_, (key, data)) in read {
        of_key.entry(key).or_default().push(data);
    }
    assert_eq!(of_key.len(), 100);
    assert!(of_key.values().all(|data| data.is_sorted()));
}

#[tokio::test(start_paused = true)]
async fn longer_than_records_live_little_more_is_sent_than_once() {
    for (seed, strict) in [(1, false), (2, false), (3, true)] {
        let (local, throttled) = refusing();
        let producer = seeded(&local, seed, strict).build().await.unwrap();
        let outage = Duration::from_secs(35);
        let (outcomes, _) = through(&local, &producer, throttled, outage).await;
        // Most were never sent, and yet the error says why.
        let throttled = |outcome: &Result<_, _>| {
            matches!(outcome, Err(error @ DeliveryError::Expired { behind_throttle: true, .. })
                if error.to_string().ends_with("its shard was throttled"))
        };
        assert!(outcomes.iter().all(throttled));
        let (sent, stats) = (sent(&producer), producer.stats());
        println!("strict {strict}: {sent:.2} bytes a byte, {stats:?}");
        assert!(sent <= 1.2, "{sent}");
        // Asked again and again all the time, each shard by itself.
        assert!(stats.kinesis_records >= 4 * 10, "{stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn afterwards_all_is_delivered_soon_and_as_it_is_said() {
    for strict in [false, true] {
        for seconds in [1, 5, 20, 35] {
            let (mut most, mut longest) = (0.0_f64, Duration::ZERO);
            for seed in 0..5 {
                let (local, throttled) = refusing();
                let ttl = Duration::from_secs(120);
                let builder = seeded(&local, seed, strict).record_ttl(ttl);
                let producer = builder.build().await.unwrap();
                let outage = Duration::from_secs(seconds);
                let (outcomes, back) = through(&local, &producer, throttled, outage).await;
                all_as_said(&local, outcomes, strict);
                (most, longest) = (most.max(sent(&producer)), longest.max(back));
                producer.close(Duration::ZERO).await;
            }
            println!(
                "strict {strict}, {seconds} s: {most:.2} bytes a byte and back after {longest:?} at the most"
            );
            // Once in vain, once to be delivered, and the probes.
            assert!(most <= 2.0, "{most}");
            // The longest back-off takes four seconds.
            assert!(longest <= Duration::from_secs(5), "{longest:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_put_meanwhile_comes_behind_in_its_order() {
    let (local, throttled) = refusing();
    let builder = seeded(&local, 1, true).record_ttl(Duration::from_secs(120));
    let producer = builder.build().await.unwrap();
    let mut receipts = Vec::new();
    for record in records() {
        receipts.push(producer.put(record).await.unwrap());
        sleep(ms(15)).await;
    }
    local.faults().remove(throttled);
    let mut outcomes = Vec::new();
    for receipt in receipts {
        outcomes.push(receipt.await);
    }
    all_as_said(&local, outcomes, true);
}

#[tokio::test(start_paused = true)]
async fn identities_stay_as_they_were() {
    let (local, throttled) = refusing();
    let builder = seeded(&local, 1, false).record_ttl(Duration::from_secs(120));
    let producer = builder.idempotent(true).build().await.unwrap();
    let outage = Duration::from_secs(10);
    let (outcomes, _) = through(&local, &producer, throttled, outage).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let (emitted, all) = emitted(&local);
    assert_eq!((emitted.len(), all), (outcomes.len(), outcomes.len()));
    assert!(emitted.values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_spooled_stays_until_it_has_its_outcome() {
    let (local, throttled) = refusing();
    let directory = TempDir::new().unwrap();
    let spooled = |seed| seeded(&local, seed, false).spool(directory.path());
    let first = spooled(1).build().await.unwrap();
    first.put_all(records()).await.unwrap().forget();
    sleep(Duration::from_secs(10)).await;
    let report = first.close(Duration::ZERO).await;
    assert_eq!(report.abandoned, u64::from(RECORDS));
    local.faults().remove(throttled);
    let second = spooled(2).build().await.unwrap();
    let all = u64::from(RECORDS);
    while second.stats().recovered < all {
        sleep(ms(10)).await;
    }
    let report = second.close(Duration::from_secs(60)).await;
    assert_eq!(report.delivered, all);
    let mut read: Vec<Bytes> = readable(&local, "orders")
        .into_values()
        .map(|(_, data)| data)
        .collect();
    read.sort_unstable();
    assert_eq!(read, (0..RECORDS).map(datum).collect::<Vec<_>>());
    let third = spooled(3).build().await.unwrap();
    assert_eq!(third.stats().recovered, 0);
}

/// Without aggregates nothing can be cut off: a probe is a record.
#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_cut_go_one_at_a_time() {
    let (local, throttled) = refusing();
    let builder = seeded(&local, 1, false).record_ttl(Duration::from_secs(120));
    let producer = builder.aggregation(false).build().await.unwrap();
    let outage = Duration::from_secs(20);
    let (outcomes, back) = through(&local, &producer, throttled, outage).await;
    all_as_said(&local, outcomes, false);
    let sent = sent(&producer);
    assert!(
        sent <= 2.2 && back <= Duration::from_secs(5),
        "{sent} {back:?}"
    );
}
