//! Streams that distribute their records themselves, those that do not, and switches between the two: how
//! the strategy becomes known, what is sent, and what goes wrong. The rows of what the Kinesis Producer
//! Library 1.1 does here, each with what is wrong with it absent.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helper may stop the test"
)]

mod support;

use aws::kinesis::{Client, NewStream};
use futures::FutureExt;
use kpl::{DeliveryError, HashKey, Producer, ProducerBuilder, PutError, Record};
use local::{Fault, FaultAction, Limits, Local};
use std::time::Duration;
use support::{
    calls, config, endpoint, looks_like_an_aggregate, ms, orders, place, producer, put_one,
    readable, refusal, spread,
};
use tokio::time::{Instant, sleep};

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
const AUTO: &str = "AUTO";
const BY_KEY: &str = "USER_PARTITION_KEY";
const DESCRIBE: &str = "DescribeStreamSummary";

/// A stream on demand, of four shards.
async fn stream(strategy: &str) -> Local {
    let local = endpoint(Limits::Off, 1);
    let new = NewStream::on_demand("orders").record_distribution_strategy(strategy);
    Client::new(&config(&local)).create(&new).await.unwrap();
    local
}

async fn switch(local: &Local, strategy: &str) {
    let client = Client::new(&config(local));
    let switched = client.update_record_distribution_strategy(ARN, strategy);
    switched.await.unwrap();
}

/// The next answer about the strategy takes so long.
fn answer_after(local: &Local, wait: Duration) {
    let slow = FaultAction::Delay(wait);
    local.faults().add(Fault::nth(DESCRIBE, 1, slow));
}

fn deny(local: &Local) {
    local
        .faults()
        .add(Fault::every(DESCRIBE, refusal("AccessDeniedException")));
}

/// Not a multiple of the shards: the service's round does not come back to where the keys belong.
fn three_keys(n: u32) -> Vec<Record> {
    (0..n)
        .map(|n| Record::new(format!("key {}", n % 3), format!("record {n}")))
        .collect()
}

fn keyless(n: u32) -> Vec<Record> {
    (0..n)
        .map(|n| Record::without_key(format!("keyless {n}")))
        .collect()
}

async fn built(builder: ProducerBuilder) -> Producer {
    builder.build().await.unwrap()
}

/// What a reader that filters by ranges sees of each acknowledged record, and nothing twice.
async fn delivered_once(local: &Local, producer: &Producer, records: Vec<Record>) -> u64 {
    let already = readable(local, "orders").len();
    let report = producer.put_all(records.clone()).await.unwrap().await;
    let read = readable(local, "orders");
    let mut attempts = 0;
    for (record, outcome) in records.iter().zip(report) {
        let delivered = outcome.unwrap();
        let (key, data) = &read[&place(&delivered)];
        assert_eq!(
            (key.as_str(), data),
            (record.partition_key(), record.data())
        );
        attempts += delivered.attempts.count();
    }
    assert_eq!(read.len() - already, records.len(), "each is read once");
    attempts
}

// How the strategy becomes known.

#[tokio::test(start_paused = true)]
async fn the_strategy_is_asked_for_once_at_the_start_and_not_by_the_first_record() {
    let local = stream(AUTO).await;
    let producer = built(producer(&local)).await;
    assert_eq!(calls(&local, DESCRIBE), 1);
    let begin = Instant::now();
    delivered_once(&local, &producer, spread(0..10)).await;
    assert!(begin.elapsed() <= ms(101), "{:?}", begin.elapsed());
    assert_eq!(calls(&local, DESCRIBE), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_records_are_held_while_the_answer_is_on_its_way_and_block_nobody() {
    let local = stream(AUTO).await;
    answer_after(&local, Duration::from_secs(3));
    let begin = Instant::now();
    let producer = built(producer(&local)).await;
    let mut records = spread(0..20);
    records.extend(keyless(20));
    let receipt = producer.put_all(records).await.unwrap();
    assert_eq!(
        begin.elapsed(),
        Duration::ZERO,
        "the caller waits for nothing"
    );
    sleep(ms(2_900)).await;
    assert_eq!(calls(&local, "PutRecords"), 0);
    assert!(receipt.await.all_delivered());
    assert!(begin.elapsed() < ms(3_150), "{:?}", begin.elapsed());
    let stored = local.records("orders");
    assert_eq!(stored.len(), 40, "none was aggregated");
    let without = stored.iter().filter(|r| r.partition_key.is_none());
    assert_eq!(without.count(), 20);
}

#[tokio::test(start_paused = true)]
async fn an_explicit_hash_key_survives_the_time_before_the_strategy_is_known() {
    for wait in [0, 500, 5_000] {
        let local = stream(BY_KEY).await;
        answer_after(&local, Duration::from_secs(2));
        let builder = producer(&local).record_distribution_strategy_wait(ms(wait));
        let producer = built(builder).await;
        let records =
            (0..20).map(|n| Record::new(format!("key-{n}"), "x").explicit_hash_key(5u128));
        let report = producer.put_all(records).await.unwrap().await;
        for outcome in report {
            assert_eq!(&*outcome.unwrap().shard_id, "shardId-000000000000");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_held_no_longer_than_the_bound_then_go_alone_with_their_hash_key() {
    let local = stream(BY_KEY).await;
    let slow = FaultAction::Delay(Duration::from_secs(20));
    local.faults().add(Fault::every(DESCRIBE, slow));
    let config_bound = producer(&local).request_timeout(Duration::from_secs(30));
    let producer = built(config_bound).await;
    let begin = Instant::now();
    let receipt = producer.put_all(spread(0..50)).await.unwrap();
    let without = producer.put(Record::without_key("x")).await.unwrap();
    assert!(receipt.await.all_delivered());
    assert!(begin.elapsed() >= ms(5_000) && begin.elapsed() < ms(5_100));
    let stored = local.records("orders");
    assert!(stored.len() == 50 && stored.iter().all(|r| r.explicit_hash_key.is_some()));
    let error = without.await.unwrap_err();
    assert!(
        matches!(error, DeliveryError::NoPartitionKey { .. }),
        "{error}"
    );
    // The answer comes late, and aggregation begins.
    sleep(Duration::from_secs(16)).await;
    delivered_once(&local, &producer, spread(0..50)).await;
    assert!(local.records("orders").len() <= 54);
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_asked_again_soon_while_records_are_held() {
    let local = stream(AUTO).await;
    local
        .faults()
        .add(Fault::nth(DESCRIBE, 1, FaultAction::Status(503)));
    let producer = built(producer(&local)).await;
    let begin = Instant::now();
    delivered_once(&local, &producer, keyless(5)).await;
    assert!(begin.elapsed() < ms(700), "{:?}", begin.elapsed());
    assert_eq!(calls(&local, DESCRIBE), 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_again_each_interval_with_jitter_and_not_while_nothing_is_put() {
    let local = stream(BY_KEY).await;
    let begin = Instant::now();
    let mut asked = Vec::new();
    for seed in 1..=2 {
        let builder = producer(&local).chance(runtime::Chance::seeded(seed));
        let producer = built(builder).await;
        let before = calls(&local, DESCRIBE);
        let begin = Instant::now();
        while calls(&local, DESCRIBE) < before + 2 {
            sleep(ms(900)).await;
            put_one(&producer).await;
        }
        asked.push(begin.elapsed().as_secs());
        let minutes = begin.elapsed().as_secs_f64() / 60.0;
        assert!(
            (9.0..=11.1).contains(&minutes),
            "twice five minutes: {minutes}"
        );
        let quiet = local.request_counts();
        sleep(Duration::from_secs(7_200)).await;
        assert_eq!(
            local.request_counts(),
            quiet,
            "an idle producer asks for nothing"
        );
    }
    assert_ne!(
        asked[0], asked[1],
        "they started together and do not ask together"
    );
    assert!(begin.elapsed() > Duration::from_secs(14_400));
}

/// Ten producers of a configuration ask as often as one does; a switch is known to all of them in time.
#[tokio::test(start_paused = true)]
async fn producers_of_one_configuration_tell_each_other_what_they_were_told() {
    const HOUR: Duration = Duration::from_secs(3_600);
    for shared in [true, false] {
        let local = stream(BY_KEY).await;
        let common = config(&local);
        let mut producers = Vec::new();
        for seed in 1..=10 {
            let config = if shared {
                common.clone()
            } else {
                config(&local)
            };
            let builder = Producer::builder("orders").aws(config);
            producers.push(built(builder.chance(runtime::Chance::seeded(seed))).await);
        }
        let begin = Instant::now();
        while begin.elapsed() < HOUR {
            sleep(Duration::from_secs(20)).await;
            for producer in &producers {
                put_one(producer).await;
            }
        }
        // Every five minutes, give or take 10 %, after each one's first.
        let asked = calls(&local, DESCRIBE) - 10;
        let expected = if shared { 10..=14 } else { 100..=140 };
        assert!(expected.contains(&asked), "{asked} calls, {shared}");

        switch(&local, AUTO).await;
        sleep(Duration::from_secs(351)).await;
        for producer in &producers {
            put_one(producer).await;
        }
        sleep(ms(200)).await;
        for producer in &producers {
            let put = producer.put(Record::without_key("x")).await;
            assert!(put.unwrap().await.is_ok(), "{shared}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provisioned_stream_goes_by_keys_and_costs_one_call_an_interval() {
    let local = orders(Limits::Off, 4);
    let producer = built(producer(&local)).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(290) {
        delivered_once(&local, &producer, spread(0..8)).await;
        sleep(Duration::from_secs(5)).await;
    }
    assert!(calls(&local, DESCRIBE) <= 2, "{}", calls(&local, DESCRIBE));
    assert!(
        local.records("orders").iter().any(|r| r.data.len() > 20),
        "aggregated"
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_permission_it_is_asked_after_5_15_60_seconds_then_each_interval() {
    let local = stream(BY_KEY).await;
    deny(&local);
    let producer = built(producer(&local)).await;
    let begin = Instant::now();
    let mut seen = vec![];
    let mut count = calls(&local, DESCRIBE);
    while seen.len() < 4 {
        sleep(ms(100)).await;
        put_one(&producer).await;
        if calls(&local, DESCRIBE) > count {
            count = calls(&local, DESCRIBE);
            seen.push(begin.elapsed().as_secs_f64());
        }
    }
    for (at, expected) in seen.iter().zip([5.0, 20.0, 80.0, 380.0]) {
        assert!((at / expected - 1.0).abs() < 0.12, "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_holds_nothing_and_is_replaced_by_the_answer() {
    let local = stream(BY_KEY).await;
    answer_after(&local, Duration::from_secs(2));
    let builder = producer(&local).record_distribution_strategy_default(AUTO);
    let producer = built(builder).await;
    let begin = Instant::now();
    delivered_once(&local, &producer, spread(0..20)).await;
    assert!(begin.elapsed() < ms(150), "{:?}", begin.elapsed());
    assert_eq!(local.records("orders").len(), 20, "as on an AUTO stream");
    sleep(ms(2_000)).await;
    delivered_once(&local, &producer, spread(0..40)).await;
    assert!(local.records("orders").len() <= 24, "aggregated by now");
}

// What is sent.

#[tokio::test(start_paused = true)]
async fn by_keys_a_record_without_one_is_refused_at_once_and_comes_back() {
    let local = stream(BY_KEY).await;
    let producer = built(producer(&local)).await;
    let record = Record::without_key("x");
    let error = producer
        .put(record.clone())
        .now_or_never()
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, PutError::NoPartitionKey { .. }), "{error}");
    assert_eq!(error.into_record(), record);
    assert!(producer.put_all([record]).await.is_err());
    let empty = producer.put(Record::new("", "x")).await.unwrap_err();
    assert!(matches!(empty, PutError::InvalidKey { length: 0, .. }));
    assert_eq!(producer.stats().admitted, 0);
}

#[tokio::test(start_paused = true)]
async fn on_auto_nothing_is_aggregated_keys_pass_through_and_hash_keys_do_not_go() {
    let local = stream(AUTO).await;
    let producer = built(producer(&local)).await;
    let mut records = spread(0..100);
    records.extend(keyless(100));
    records.push(Record::new("ehk", "x").explicit_hash_key(5u128));
    delivered_once(&local, &producer, records).await;
    let stored = local.records("orders");
    assert_eq!(stored.len(), 201);
    assert!(stored.iter().all(|r| r.explicit_hash_key.is_none()));
    assert!(
        stored
            .iter()
            .any(|r| r.partition_key.as_deref() == Some("ehk"))
    );
    let shards: std::collections::BTreeSet<_> = stored.iter().map(|r| &r.shard_id).collect();
    assert_eq!(shards.len(), 4);
    assert_eq!(calls(&local, "ListShards"), 1, "landings are not checked");
    assert_eq!(calls(&local, "PutRecords"), 1, "one request for all");
}

#[tokio::test(start_paused = true)]
async fn on_auto_the_rate_limit_holds_for_the_stream() {
    let local = stream(AUTO).await;
    let producer = built(producer(&local).rate_limit(10)).await;
    let begin = Instant::now();
    // A second's burst of four shards, then a tenth of what four shards take in a second.
    let report = producer.put_all(keyless(6_000)).await.unwrap().await;
    assert!(report.all_delivered());
    let took = begin.elapsed().as_secs_f64();
    assert!((4.0..=6.0).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn keyed_and_keyless_records_on_a_provisioned_stream_lose_nothing() {
    let local = orders(Limits::Off, 4);
    answer_after(&local, ms(300));
    let producer = built(producer(&local)).await;
    // Not known yet: both are admitted.
    let mixed: Vec<Record> = spread(0..50)
        .into_iter()
        .zip(keyless(50))
        .flat_map(|(a, b)| [a, b])
        .collect();
    let report = producer.put_all(mixed.clone()).await.unwrap().await;
    for (record, outcome) in mixed.iter().zip(report) {
        match outcome {
            Ok(_) => assert!(record.has_key()),
            Err(DeliveryError::NoPartitionKey { attempts, .. }) => {
                assert!(!record.has_key() && attempts.count() == 0);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(
        readable(&local, "orders").len(),
        50,
        "a reader with ranges sees all"
    );
    assert!(
        local
            .records("orders")
            .iter()
            .all(|r| r.partition_key.is_some())
    );
}

// What goes wrong.

/// Puts at a steady pace in the background of a switch; everything acknowledged is read, and read once.
async fn under_load(
    local: &Local,
    producer: &Producer,
    with_keyless: bool,
    switched_to: &str,
) -> (u64, u64) {
    let (mut receipts, mut refused) = (Vec::new(), 0);
    for round in 0..100 {
        if round == 50 {
            switch(local, switched_to).await;
        }
        for n in 0..10 {
            let data = format!("load {round} {n}");
            let record = if with_keyless && n == 0 {
                Record::without_key(data.clone())
            } else {
                Record::new(format!("key {}", n % 3), data.clone())
            };
            match producer.put(record).await {
                Ok(receipt) => receipts.push((data, receipt)),
                Err(PutError::NoPartitionKey { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        sleep(ms(10)).await;
    }
    let mut attempts = 0;
    let mut acknowledged = std::collections::BTreeSet::new();
    for (data, receipt) in receipts {
        match receipt.await {
            Ok(delivered) => {
                let (_, read) = &readable(local, "orders")[&place(&delivered)];
                assert_eq!(read.as_ref(), data.as_bytes());
                attempts += delivered.attempts.count() - 1;
                acknowledged.insert(read.clone());
            }
            Err(DeliveryError::NoPartitionKey { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let mut emitted: Vec<_> = readable(local, "orders")
        .into_values()
        .map(|(_, data)| data)
        .collect();
    emitted.sort();
    let expected: Vec<_> = acknowledged.into_iter().collect();
    assert_eq!(
        emitted, expected,
        "what a reader with ranges emits is what was acknowledged"
    );
    (attempts, refused)
}

#[tokio::test(start_paused = true)]
async fn a_switch_to_auto_under_load_loses_nothing_acknowledged() {
    let local = stream(BY_KEY).await;
    let producer = built(producer(&local)).await;
    let (retried, refused) = under_load(&local, &producer, false, AUTO).await;
    assert_eq!(refused, 0);
    assert!(
        retried > 0 && retried <= 120,
        "{retried} retries of 1000 records"
    );
    assert_eq!(
        calls(&local, DESCRIBE),
        2,
        "asked again at the first contradiction"
    );
    assert!(calls(&local, "ListShards") <= 3);
    let last = local.records("orders").len();
    delivered_once(&local, &producer, keyless(10)).await;
    assert_eq!(local.records("orders").len(), last + 10);
}

#[tokio::test(start_paused = true)]
async fn a_switch_from_auto_under_load_fails_keyless_records_alone_and_no_neighbour() {
    for interval in ["300000", "2000"] {
        let local = stream(AUTO).await;
        let builder = producer(&local).set("DescribeStreamSummaryIntervalMs", interval);
        let producer = built(builder).await;
        let (retried, refused) = under_load(&local, &producer, true, BY_KEY).await;
        // Those put after the switch, and those that waited to be sent.
        assert!((50..=61).contains(&refused), "{refused}");
        assert!(retried <= 110, "{retried} retries of 950 records");
        assert_eq!(
            calls(&local, DESCRIBE),
            2,
            "asked again at the first refusal"
        );
        let failed = local.journal().iter().filter(|r| r.error.is_some()).count();
        assert_eq!(failed, 1, "one request was refused");
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_that_is_wrong_stalls_nobody() {
    let local = stream(BY_KEY).await;
    answer_after(&local, Duration::from_secs(1));
    let builder = producer(&local).record_distribution_strategy_default(AUTO);
    let producer = built(builder).await;
    let begin = Instant::now();
    let without = producer.put_all(keyless(5)).await.unwrap();
    let keyed = producer.put_all(spread(0..45)).await.unwrap();
    let keyed = keyed.await;
    assert!(
        keyed.all_delivered() && begin.elapsed() < ms(250),
        "{:?}",
        begin.elapsed()
    );
    for outcome in without.await {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, DeliveryError::NoPartitionKey { .. }),
            "{error}"
        );
        assert_eq!(error.attempts().count(), 1);
    }
    assert!(begin.elapsed() < ms(1_200), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn on_auto_without_the_permission_records_go_alone_and_no_call_storms() {
    let local = stream(AUTO).await;
    deny(&local);
    let producer = built(producer(&local)).await;
    let begin = Instant::now();
    let mut entries = 0;
    while begin.elapsed() < Duration::from_secs(85) {
        let attempts = delivered_once(&local, &producer, spread(0..1)).await;
        assert_eq!(attempts, 1, "never sent twice");
        entries += attempts;
        sleep(ms(150)).await;
    }
    assert_eq!(local.records("orders").len() as u64, entries);
    assert!(calls(&local, DESCRIBE) <= 16, "{}", calls(&local, DESCRIBE));
    assert!(
        calls(&local, "ListShards") <= 16,
        "{}",
        calls(&local, "ListShards")
    );
}

#[tokio::test(start_paused = true)]
async fn who_opts_in_to_aggregates_without_the_permission_stops_at_the_first_contradiction() {
    let local = stream(BY_KEY).await;
    deny(&local);
    let builder = producer(&local).record_distribution_strategy_default(BY_KEY);
    let producer = built(builder).await;
    delivered_once(&local, &producer, three_keys(40)).await;
    assert!(local.records("orders").len() <= 4, "aggregated");
    switch(&local, AUTO).await;
    // By chance some land where their keys belong.
    let mut attempts = 40;
    for _ in 0..8 {
        if attempts == 40 {
            attempts = delivered_once(&local, &producer, three_keys(40)).await;
        }
    }
    assert!(attempts > 40 && attempts <= 80, "{attempts}");
    let before = local.records("orders").len();
    let attempts = delivered_once(&local, &producer, three_keys(40)).await;
    assert_eq!((attempts, local.records("orders").len()), (40, before + 40));
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_of_one_key_is_not_believed_on_a_stream_that_ignores_keys() {
    let local = stream(BY_KEY).await;
    let producer = built(producer(&local)).await;
    delivered_once(&local, &producer, spread(0..4)).await;
    switch(&local, AUTO).await;
    for n in 0..8 {
        let one_key = (0..10)
            .map(|m| Record::new("one key", format!("{n} {m}")))
            .collect();
        delivered_once(&local, &producer, one_key).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_looks_like_an_aggregate_is_never_wrapped_on_auto() {
    let local = stream(AUTO).await;
    let producer = built(producer(&local)).await;
    let blob = looks_like_an_aggregate();
    producer
        .put(Record::new("k", blob.clone()))
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(local.records("orders")[0].data, blob);
}

// The record limit, and streams by ARN.

#[tokio::test(start_paused = true)]
async fn records_of_10_mib_on_a_stream_that_takes_them() {
    let local = endpoint(Limits::Off, 1);
    let new = NewStream::provisioned("orders", 1).max_record_size_in_kib(10_240);
    Client::new(&config(&local)).create(&new).await.unwrap();
    let large = |size: usize| Record::new("k", vec![7; size]);
    let limit = 10 << 20;
    let builder = || producer(&local).max_user_record_size(10_485_760);
    let producer = built(builder().aggregation_max_size(10_485_760)).await;
    let receipt = producer.put(large(limit - 1)).await.unwrap();
    receipt.await.unwrap();
    let error = producer.put(large(limit)).await.unwrap_err();
    assert!(matches!(error, PutError::TooLarge { limit: l, .. } if l == limit));
    // Aggregates grow to the stream's limit.
    let many = (0..5).map(|n| Record::new("k", vec![n; 1 << 20])).collect();
    delivered_once(&local, &producer, many).await;
    assert_eq!(local.records("orders").len(), 2);
    local
        .records("orders")
        .iter()
        .for_each(|r| assert!(r.data.len() > 5 << 20));
}

#[tokio::test(start_paused = true)]
async fn a_record_put_before_the_limit_is_known_fails_with_the_reason() {
    let local = orders(Limits::Off, 1);
    answer_after(&local, ms(100));
    let builder = producer(&local).max_user_record_size(10_485_760);
    let producer = built(builder).await;
    let large = Record::new("k", vec![0; 2 << 20]);
    let (receipt, small) = (
        producer.put(large.clone()).await.unwrap(),
        producer.put(Record::new("k", "x")).await.unwrap(),
    );
    let error = receipt.await.unwrap_err();
    assert!(
        matches!(
            error,
            DeliveryError::TooLarge {
                limit: 1_048_576,
                size: 2_097_153,
                ..
            }
        ),
        "{error}"
    );
    small.await.unwrap();
    let error = producer.put(large).await.unwrap_err();
    assert!(
        matches!(
            error,
            PutError::TooLarge {
                limit: 1_048_576,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_by_its_arn_and_with_its_id() {
    let local = stream(AUTO).await;
    let builder = Producer::builder(ARN)
        .aws(config(&local))
        .stream_id("abcdefghijklmnopqrst-abc");
    let producer = built(builder).await;
    assert_eq!(producer.stream(), "orders");
    delivered_once(&local, &producer, keyless(3)).await;
    assert_eq!(
        local.journal().iter().filter(|r| r.error.is_some()).count(),
        0
    );
    // Another account's is sent as it is.
    let other = ARN.replace("000000000000", "123456789012");
    let error = Producer::builder(other)
        .aws(config(&local))
        .build()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("123456789012"), "{error}");
    for bad in [
        "arn:aws:kinesis:eu-west-1:000000000000:stream/orders",
        "arn:aws:s3:us-east-1:000000000000:stream/orders",
        "arn:aws:kinesis:us-east-1:000000000000:stream/",
        "two words",
        "",
    ] {
        let error = Producer::builder(bad)
            .aws(config(&local))
            .build()
            .await
            .unwrap_err();
        assert!(
            matches!(error, kpl::BuildError::BadStream { .. }),
            "{error}"
        );
    }
    assert_eq!(HashKey::MIN, HashKey::new(0));
}
