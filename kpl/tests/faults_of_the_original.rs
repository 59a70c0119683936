//! Faults of the Kinesis Producer Library that this one does not have, each by name. Where no file is
//! named, the scenario is in this one.
//!
//! | What is wrong with the original | What shows that it is not so here |
//! | --- | --- |
//! | No bound on what is buffered, no back-pressure | `producer.rs`: `callers_wait_at_the_bound_in_their_order`, `an_endpoint_that_is_away_for_a_minute_costs_nothing_but_time`; the simulation looks at the bounds all the time |
//! | Retries without back-off: throttling raises the load | `a_shard_that_throttles_everything_is_asked_ever_more_rarely` |
//! | Permanent errors burn the whole time to live | `producer.rs`: `permanent_errors_fail_at_once_with_their_reason`; `permanent_errors_are_waited_out_without_a_loop_when_the_user_wants_it` |
//! | The limiter knows neither throttles nor other producers | `sharing.rs`: `two_producers_of_aggregates_share_a_shard_and_waste_little` and its neighbours |
//! | Ten seconds of a shard's rate go at once | `a_rate_limit_lets_one_second_pass_at_once` |
//! | While the shards are being listed nothing is aggregated or limited | `the_first_put_after_ten_minutes_looks_at_the_shards_again_and_waits_for_nothing`; `reshard.rs`: `the_old_map_serves_while_a_new_one_cannot_be_had` |
//! | At a reshard records are acknowledged and dropped, or sent twice | `update_shard_count_under_load_loses_nothing_and_repeats_only_what_it_must`; `reshard.rs`, all of it |
//! | Each wrong landing lists the shards again | `a_burst_of_wrong_landings_makes_one_call` |
//! | A second process: crash loops, files in the temporary directory, credentials among its arguments | `a_producer_starts_no_process_and_opens_no_file` |
//! | A thread for each request | `requests_under_way_are_bounded_and_cost_no_thread` |
//! | No order | `ordering.rs`: `order_is_kept_through_throttles_failures_and_lost_answers` and its neighbours |
//! | `flush` is no barrier; `flushSync` polls and may hang | `producer.rs`: `a_flush_is_a_barrier_for_those_who_wait_too`; the unit tests' `interleavings` |
//! | The time to live is not looked at before sending | `nothing_is_sent_after_its_time_to_live` |
//! | Windows of metrics are cut short | `metrics.rs`: `windows_reach_back_whole_and_uploads_do_not_cut_them` |
//! | A failed upload loses metrics | `metrics.rs`: `a_failed_upload_loses_nothing_and_is_in_nobodys_way` |
//! | Metrics of closed shards stay for ever | `metrics.rs`: `instruments_of_closed_shards_go_and_their_sums_stay` |
//! | Metrics go to CloudWatch and nowhere else | `metrics.rs`: `nothing_is_uploaded_unless_it_is_asked_for`, which reads them from the set |
//! | A result lacks the sub-sequence number | `each_result_names_its_place_within_the_kinesis_record` |
//! | No `StreamARN`, no scheme in an endpoint | `auto.rs`: `a_stream_by_its_arn_and_with_its_id`; `settings.rs`: `without_a_configuration_the_settings_make_one` |
//! | Each outcome costs a walk through everything outstanding | `the_oldest_of_many_is_known_after_each_outcome` |
//! | A poison record stalls its neighbours | `a_poison_record_fails_alone_and_its_neighbours_are_delivered` |
//! | Requests of 5 MiB where the service takes 10 | `a_request_takes_ten_mebibytes` |
//! | Only one language, and futures of its own | `blocking.rs`: `threads_put_wait_flush_and_close` for code without async; the rest is Rust's own futures |
//!
//! Streams that distribute their records themselves (`auto.rs`):
//!
//! | What is wrong with the original | What shows that it is not so here |
//! | --- | --- |
//! | The first record's thread waits for the strategy | `the_first_records_are_held_while_the_answer_is_on_its_way_and_block_nobody`, `the_strategy_is_asked_for_once_at_the_start_and_not_by_the_first_record` |
//! | No second try at this point | `a_passing_failure_is_asked_again_soon_while_records_are_held` |
//! | While the strategy is unknown, explicit hash keys are ignored | `an_explicit_hash_key_survives_the_time_before_the_strategy_is_known`, `records_are_held_no_longer_than_the_bound_then_go_alone_with_their_hash_key` |
//! | A fixed period without jitter, also when nothing is put | `it_is_asked_again_each_interval_with_jitter_and_not_while_nothing_is_put` |
//! | A provisioned stream counts as a failure: a warning that blames a permission, and three calls in 80 s | `a_provisioned_stream_goes_by_keys_and_costs_one_call_an_interval`; `warnings.rs` |
//! | A refused call warns each time | `without_the_permission_it_is_asked_after_5_15_60_seconds_then_each_interval`; `warnings.rs` |
//! | It takes three wrong landings to ask again | `a_switch_to_auto_under_load_loses_nothing_acknowledged`: at the first |
//! | With a default nothing is asked at the start | `a_default_holds_nothing_and_is_replaced_by_the_answer` |
//! | A request refused for a missing key is no reason to ask | `a_switch_from_auto_under_load_fails_keyless_records_alone_and_no_neighbour` |
//! | Two copies of the strategy, in the wrapper and in the daemon | there is one, in the shard map: `a_switch_to_auto_under_load_loses_nothing_acknowledged` goes on without keys at once |
//! | By keys: a record without one fails late, or throws | `by_keys_a_record_without_one_is_refused_at_once_and_comes_back` |
//! | On AUTO no limit holds | `on_auto_the_rate_limit_holds_for_the_stream` |
//! | On AUTO keys pass, hash keys and aggregates do not | the same here: `on_auto_nothing_is_aggregated_keys_pass_through_and_hash_keys_do_not_go`, `what_looks_like_an_aggregate_is_never_wrapped_on_auto` |
//! | On a provisioned stream one keyless record makes consumers drop its whole aggregate | `keyed_and_keyless_records_on_a_provisioned_stream_lose_nothing` |
//! | A switch to AUTO under load loses aggregates that were acknowledged | `a_switch_to_auto_under_load_loses_nothing_acknowledged` |
//! | AUTO, call denied: wrong landings are sent twice and storm the service with calls | `on_auto_without_the_permission_records_go_alone_and_no_call_storms`, `who_opts_in_to_aggregates_without_the_permission_stops_at_the_first_contradiction` |
//! | AUTO to keys: one keyless record fails all its neighbours until the next refresh, whatever the interval | `a_switch_from_auto_under_load_fails_keyless_records_alone_and_no_neighbour`, with both intervals |
//! | A wrong default stalls everything until the first refresh | `a_default_that_is_wrong_stalls_nobody` |

mod support;

use aggregation::{Deaggregated, deaggregate};
use aws::ErrorKind;
use aws::kinesis::Client;
use futures::FutureExt;
use kpl::{DeliveryError, Producer, Record};
use local::{Fault, FaultAction, Limits, StoredRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use support::{
    away, calls, config, config_watched, endpoint_changing, ms, open_shards, orders, place,
    producer, readable, record, refusal, slow, spread,
};
use tokio::time::{Instant, sleep};

/// A poison record stalls its neighbours.
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

/// Permanent errors burn the whole time to live.
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

/// Retries have no back-off: throttling raises the load.
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

/// The time to live is not enforced before a send.
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

/// A map that is being fetched is no map, and it is never fetched again without evidence.
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

/// A reshard turns N small records into N Kinesis records, and repeats them.
#[tokio::test(start_paused = true)]
async fn update_shard_count_under_load_loses_nothing_and_repeats_only_what_it_must() {
    // The stream is UPDATING for a second; then its shards have changed.
    let local = endpoint_changing(Limits::Off, 1, Duration::from_secs(1));
    local.create_stream("orders", 4).unwrap();
    sleep(Duration::from_secs(1)).await;
    let producer = producer(&local).build().await.unwrap();
    let putting = {
        let producer = producer.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for round in 0..600 {
                let batch = spread(round * 100..(round + 1) * 100);
                receipts.push(producer.put_all(batch).await.unwrap());
                sleep(Duration::from_millis(20)).await;
            }
            receipts
        })
    };
    let admin = Client::new(&config(&local));
    // Six of eight by way of shards that live for a moment.
    for shards in [8, 6, 3, 4] {
        sleep(Duration::from_secs(2)).await;
        admin.update_shard_count("orders", shards).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(open_shards(&local).len(), shards as usize);
    }
    assert_eq!(calls(&local, "UpdateShardCount"), 4);
    for receipt in putting.await.unwrap() {
        assert!(receipt.await.all_delivered());
    }
    let read = readable(&local, "orders").len();
    assert_eq!(read, 60_000, "none lost, and a consumer sees none twice");
    let stats = producer.stats();
    // Aggregates that straddle children are stored in vain once, and only they: at most what is put
    // within two intervals of 100 ms of each change.
    let stored: usize = local.records("orders").iter().map(user_records).sum();
    assert_eq!(stored as u64 - 60_000, stats.retried, "{stats:?}");
    assert!(stats.retried > 0 && stats.retried <= 4 * 1_000, "{stats:?}");
    // Some 120 intervals, three to eight shards: no storm of records that go alone.
    assert!(stats.kinesis_records < 1_200, "{stats:?}");
    let listed = calls(&local, "ListShards");
    assert!(listed <= 5, "{listed}: at the start and after each change");
}

/// How many user records it holds, whoever may read them.
fn user_records(stored: &StoredRecord) -> usize {
    match deaggregate(&stored.data, None) {
        Deaggregated::Records(records) => records.count(),
        _ => 1,
    }
}

/// Ten seconds of a shard's rate go at once.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_lets_one_second_pass_at_once() {
    const MIB: usize = 1 << 20;
    let local = orders(Limits::Off, 1);
    let producer = producer(&local).rate_limit(100).build().await.unwrap();
    let records = (0..64).map(|n| Record::new("k", vec![n; MIB / 8]));
    let receipt = producer.put_all(records).await.unwrap();
    let stored = || -> usize { local.records("orders").iter().map(|r| r.data.len()).sum() };
    for second in 1..=7 {
        sleep(Duration::from_secs(1)).await;
        let (stored, most) = (stored(), (second + 1) * MIB + MIB / 4);
        assert!(stored <= most, "{stored} after {second} s");
    }
    assert!(receipt.await.all_delivered());
}

/// A second process, files in the temporary directory.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_producer_starts_no_process_and_opens_no_file() {
    let me = std::process::id().to_string();
    let children = || -> usize {
        let processes = std::fs::read_dir("/proc").unwrap();
        let parent = |entry: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let (_, after_name) = stat.rsplit_once(')')?;
            after_name.split_whitespace().nth(1).map(str::to_owned)
        };
        processes.filter_map(parent).filter(|of| *of == me).count()
    };
    let files = || -> Vec<_> {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .filter(|path| path.is_file())
            .collect()
    };
    let before = files();
    let local = orders(Limits::Off, 4);
    let producer = producer(&local).build().await.unwrap();
    let receipt = producer.put_all(spread(0..1_000)).await.unwrap();
    assert_eq!((children(), files()), (0, before.clone()));
    assert!(receipt.await.all_delivered());
    assert_eq!((children(), files()), (0, before));
    let shown = format!("{producer:?} {:?}", support::credentials());
    assert!(!shown.contains("a secret of"), "{shown}");
}

/// A thread for each request.
#[tokio::test(start_paused = true)]
async fn requests_under_way_are_bounded_and_cost_no_thread() {
    let local = orders(Limits::Off, 64);
    let producer = producer(&local)
        .max_connections(4)
        .collection_max_count(1)
        .build()
        .await
        .unwrap();
    slow(&local, ms(50));
    let receipt = producer.put_all(spread(0..6_400)).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let mut most = 0;
    let mut receipt = Box::pin(receipt);
    while (&mut receipt).now_or_never().is_none() {
        sleep(ms(1)).await;
        most = most.max(runtime.metrics().num_alive_tasks());
    }
    // The engine, and a task for each request: of 64, four at a time.
    assert!(producer.stats().requests >= 64);
    assert!(most <= 1 + 4, "{most} tasks");
    assert_eq!(runtime.metrics().num_workers(), 1);
}

/// A result lacks the sub-sequence number.
#[tokio::test(start_paused = true)]
async fn each_result_names_its_place_within_the_kinesis_record() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local).build().await.unwrap();
    let report = producer.put_all(spread(0..500)).await.unwrap().await;
    let read = readable(&local, "orders");
    for (n, outcome) in (0..).zip(report) {
        let delivered = outcome.unwrap();
        assert_eq!(delivered.sub_sequence_number, n);
        let (_, data) = &read[&place(&delivered)];
        assert_eq!(data, &format!("record {n}"));
    }
    assert_eq!(local.records("orders").len(), 1);
}

/// Each outcome costs a walk through everything outstanding.
#[tokio::test(start_paused = true)]
async fn the_oldest_of_many_is_known_after_each_outcome() {
    let local = orders(Limits::Off, 4);
    let producer = producer(&local)
        .aggregation(false)
        .max_buffered_records(20_000)
        .max_buffered_per_shard(100)
        .rate_limit(100_000)
        .build()
        .await
        .unwrap();
    let away = away(&local);
    let mut receipts = Vec::new();
    for n in 0..20_000 {
        receipts.push(producer.put(record(n)).await.unwrap());
    }
    sleep(ms(100)).await;
    assert!(producer.oldest_age() >= Some(ms(100)));
    local.faults().remove(away);
    for receipt in receipts.into_iter().rev() {
        receipt.await.unwrap();
        let outstanding = producer.outstanding().records;
        assert_eq!(producer.oldest_age().is_none(), outstanding == 0);
    }
    assert_eq!(producer.outstanding().records, 0);
}

/// Requests of 5 MiB where the service takes 10.
#[tokio::test(start_paused = true)]
async fn a_request_takes_ten_mebibytes() {
    for (size, requests) in [(5 << 20, 2), (10 << 20, 1)] {
        let local = orders(Limits::Off, 16);
        let producer = producer(&local)
            .collection_max_size(size)
            .build()
            .await
            .unwrap();
        let large = |n: u128| {
            let record = Record::new("k", vec![0; 640_000]);
            record.explicit_hash_key(n << 124)
        };
        let report = producer.put_all((0..15).map(large)).await.unwrap().await;
        assert!(report.all_delivered());
        // What leaves together is halved where that saves time for hashing.
        let halves = 1 + u64::from(aws::kinesis::Client::hashes_two_together());
        assert_eq!(producer.stats().requests, requests * halves);
    }
}
