//! Many streams under one handle: one bound of memory, and a stream that is away stops no other.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use kpl::{OpenError, Producers, ProducersBuilder, PutToError, Record};
use local::{Fault, FaultAction, Limits, Local};
use runtime::Chance;
use std::time::Duration;
use support::{calls, config, endpoint, ms, readable};
use tokio::time::{Instant, sleep, timeout};

fn streams(names: &[&str]) -> Local {
    let local = endpoint(Limits::Off, 1);
    for name in names {
        local.create_stream(name, 2).unwrap();
    }
    local
}

fn producers(local: &Local) -> ProducersBuilder {
    Producers::builder(config(local)).chance(Chance::seeded(1))
}

fn away(local: &Local, stream: &str) -> local::FaultId {
    let fault = Fault::every("PutRecords", FaultAction::Refuse).on(stream);
    local.faults().add(fault)
}

/// Puts until nothing more is admitted for a second.
async fn fill(producers: &Producers, stream: &str) -> usize {
    let mut admitted = 0;
    loop {
        let record = Record::new(format!("key {admitted}"), vec![0; 1_000]);
        match timeout(Duration::from_secs(1), producers.put_to(stream, record)).await {
            Ok(put) => put.unwrap().forget(),
            Err(_) => return admitted,
        }
        admitted += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn streams_share_one_bound_and_those_that_are_away_leave_each_other_stream_its_part() {
    let names = ["a", "b", "c", "good"];
    let local = streams(&names);
    let producers = producers(&local).max_buffered_records(800).build();
    for name in names {
        producers.stream(name).await.unwrap();
    }
    let faults: Vec<_> = ["a", "b", "c"].map(|name| away(&local, name)).into();
    let mut held = 0;
    for name in ["a", "b", "c"] {
        let admitted = fill(&producers, name).await;
        assert!(admitted >= 100, "its part: {admitted}");
        held += admitted;
        assert_eq!(producers.outstanding().records, held);
    }
    assert!(held <= 700, "the part of the last is left: {held}");
    // Three streams stand still, full; the fourth goes at its own pace.
    let begin = Instant::now();
    for round in 0..10 {
        let batch = (0..300).map(|n| Record::new(format!("key {n}"), format!("{round} {n}")));
        let producer = producers.stream("good").await.unwrap();
        assert!(producer.put_all(batch).await.unwrap().await.all_delivered());
        assert!(producers.outstanding().records <= 800);
    }
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(readable(&local, "good").len(), 3_000);
    faults.into_iter().for_each(|fault| {
        local.faults().remove(fault);
    });
    producers.flush().await;
    let report = producers.close(Duration::from_secs(30)).await;
    assert_eq!((report.failed, report.abandoned), (0, 0));
    assert_eq!(report.delivered, 3_000 + held as u64);
    assert_eq!(producers.outstanding().records, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_memory_of_others_is_served_when_they_give_it_back() {
    let local = streams(&["a", "b"]);
    let producers = producers(&local).max_buffered_records(100).build();
    producers.stream("b").await.unwrap();
    let fault = away(&local, "a");
    let filled = fill(&producers, "a").await;
    let put = {
        let producers = producers.clone();
        tokio::spawn(async move {
            let batch = (0..200).map(|n| Record::new(format!("key {n}"), "x"));
            let producer = producers.stream("b").await.unwrap();
            producer.put_all(batch).await.unwrap().await.all_delivered()
        })
    };
    sleep(ms(10)).await;
    local.faults().remove(fault);
    assert!(put.await.unwrap());
    producers.flush().await;
    assert_eq!(readable(&local, "a").len(), filled);
}

#[tokio::test(start_paused = true)]
async fn each_stream_has_its_own_settings_and_is_opened_once() {
    let local = streams(&["packed", "single"]);
    let each = |builder: kpl::ProducerBuilder| builder.record_max_buffered_time(ms(300));
    let producers = producers(&local).each(each).build();
    let alone = producers.stream_with("single", |builder| builder.aggregation(false));
    let alone = alone.await.unwrap();
    let begin = Instant::now();
    let puts = (0..20).map(|n| {
        let stream = if n % 2 == 0 { "packed" } else { "single" };
        producers.put_to(stream, Record::new(format!("key {n}"), n.to_string()))
    });
    let receipts = futures::future::try_join_all(puts).await.unwrap();
    futures::future::try_join_all(receipts).await.unwrap();
    assert!(begin.elapsed() >= ms(300) && begin.elapsed() < ms(330));
    assert!(local.records("packed").len() <= 2);
    assert_eq!(
        (local.records("single").len(), alone.stats().delivered),
        (10, 10)
    );
    assert_eq!(calls(&local, "ListShards"), 2);
    let open: Vec<String> = producers.open().into_iter().map(|(name, _)| name).collect();
    assert_eq!(open, ["packed", "single"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_opened_gives_records_back_and_is_not_asked_for_by_each_of_them() {
    let local = streams(&["good"]);
    let producers = producers(&local).max_streams(2).build();
    let begin = Instant::now();
    for n in 0..50 {
        let record = Record::new("k", n.to_string());
        let error = producers.put_to("none", record.clone()).await.unwrap_err();
        let PutToError::Open {
            source: OpenError::Build(_),
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(error.into_record(), record);
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(calls(&local, "ListShards"), 1);
    producers
        .put_to("good", Record::new("k", "x"))
        .await
        .unwrap()
        .await
        .unwrap();
    // It is made at last.
    local.create_stream("none", 1).unwrap();
    sleep(ms(1_000)).await;
    producers
        .put_to("none", Record::new("k", "x"))
        .await
        .unwrap()
        .await
        .unwrap();
    let third = producers.stream("third").await.unwrap_err();
    assert!(matches!(third, OpenError::TooMany { limit: 2 }), "{third}");
}

#[tokio::test(start_paused = true)]
async fn closing_closes_all_by_one_deadline_and_opens_no_more() {
    let local = streams(&["a", "b"]);
    let producers = producers(&local).build();
    for stream in ["a", "b"] {
        producers
            .put_to(stream, Record::new("k", "x"))
            .await
            .unwrap()
            .forget();
    }
    away(&local, "a");
    let begin = Instant::now();
    let report = producers.close(Duration::from_secs(3)).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    assert_eq!(
        (report.delivered, report.failed, report.abandoned),
        (1, 0, 1)
    );
    let error = producers.stream("c").await.unwrap_err();
    assert!(matches!(error, OpenError::Closed), "{error}");
    let put = producers.put_to("b", Record::new("k", "x")).await;
    assert!(put.is_err());
    let alive = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(alive, 0);
}
