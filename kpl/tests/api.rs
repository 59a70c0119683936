//! The other ways to put, and what can be asked of a producer, in process on a paused clock.

mod support;

use futures::{FutureExt, SinkExt, stream};
use kpl::{DeliveryError, PutError, Record, SinkError};
use local::{Fault, Limits};
use support::{away, ms, orders, producer, readable, record, refusal};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn try_put_never_waits_never_overtakes_and_gives_the_record_back() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .max_buffered_records(2)
        .build()
        .await
        .unwrap();
    let first = producer.try_put(record(1)).unwrap();
    let second = producer.try_put(record(2)).unwrap();
    let refused = producer.try_put(record(3)).unwrap_err();
    assert!(matches!(refused, PutError::Full { .. }), "{refused}");
    assert_eq!(refused.into_record(), record(3));
    let mut waits = Box::pin(producer.put(record(4)));
    assert!((&mut waits).now_or_never().is_none());
    assert!(first.await.is_ok() && second.await.is_ok());
    let fourth = waits.await.unwrap();
    assert!(producer.try_put(record(5)).is_ok());
    assert!(matches!(
        producer.try_put(Record::new("", "x")),
        Err(PutError::InvalidKey { .. })
    ));
    fourth.await.unwrap();
    producer.close(ms(1_000)).await;
    let refused = producer.try_put(record(6)).unwrap_err();
    assert!(matches!(refused, PutError::Closed { .. }));
    assert_eq!(readable(&local, "orders").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_outstanding_and_how_old_it_is() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local).build().await.unwrap();
    assert_eq!(producer.oldest_age(), None);
    producer
        .put(Record::new("k", "12345"))
        .await
        .unwrap()
        .forget();
    tokio::time::advance(ms(60)).await;
    producer
        .put(Record::new("k", "12345"))
        .await
        .unwrap()
        .forget();
    let outstanding = producer.outstanding();
    assert_eq!((outstanding.records, outstanding.bytes), (2, 140));
    let age = producer.oldest_age().unwrap();
    assert!((ms(60)..ms(62)).contains(&age), "{age:?}");
    producer.flush().await;
    assert_eq!(
        (producer.oldest_age(), producer.outstanding().bytes),
        (None, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_takes_a_stream_of_records_and_flushes() {
    let local = orders(Limits::Off, 3);
    let producer = producer(&local)
        .max_buffered_records(7)
        .build()
        .await
        .unwrap();
    let mut sink = producer.sink();
    let mut records = stream::iter((0..5_000).map(|n| Ok(record(n))));
    sink.send_all(&mut records).await.unwrap();
    assert_eq!(producer.stats().delivered, 5_000, "send_all flushes");
    sink.feed(record(5_000)).await.unwrap();
    sink.close().await.unwrap();
    assert_eq!(readable(&local, "orders").len(), 5_001);
    assert!(!producer.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_sink_tells_each_failure_once_and_goes_on() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local).build().await.unwrap();
    let mut sink = producer.sink();
    local.faults().add(Fault::nth(
        "PutRecords",
        1,
        refusal("AccessDeniedException"),
    ));
    sink.feed(record(1)).await.unwrap();
    sink.feed(record(2)).await.unwrap();
    let told = sink.flush().await.unwrap_err();
    let SinkError::Delivery { failed, first, .. } = told else {
        panic!("{told:?}")
    };
    assert_eq!(failed, 2);
    assert!(matches!(first, DeliveryError::Rejected { .. }));
    sink.send(record(3)).await.unwrap();
    producer.close(ms(1_000)).await;
    let told = sink.send(record(4)).await.unwrap_err();
    assert!(matches!(told, SinkError::Put(PutError::Closed { .. })));
    assert_eq!(readable(&local, "orders").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_record_comes_back_when_asked_for() {
    let local = orders(Limits::Off, 2);
    let deny = refusal("AccessDeniedException");
    for keep in [true, false] {
        local
            .faults()
            .add(Fault::nth("PutRecords", 1, deny.clone()));
        let producer = producer(&local)
            .return_user_record_on_failure(keep)
            .build()
            .await
            .unwrap();
        let given = record(0).explicit_hash_key(9u128);
        let single = producer.put(given.clone()).await.unwrap();
        let batch = producer.put_all((1..20).map(record)).await.unwrap();
        let charged: usize = (1..20)
            .map(record)
            .chain([given.clone()])
            .map(|r| r.data().len() + r.partition_key().len() + 64)
            .sum();
        assert_eq!(
            producer.outstanding().bytes,
            charged * if keep { 2 } else { 1 }
        );
        let error = single.await.unwrap_err();
        assert_eq!(error.record(), keep.then_some(&given));
        for (place, error) in batch.await.failures() {
            let put = record(u32::try_from(place).unwrap() + 1);
            assert_eq!(error.into_record(), keep.then_some(put));
        }
        assert_eq!(producer.outstanding().bytes, 0);
    }
    // Also what the producer's end left without an outcome.
    let producer = producer(&local)
        .return_user_record_on_failure(true)
        .build()
        .await
        .unwrap();
    away(&local);
    let receipt = producer.put(record(7)).await.unwrap();
    producer.close(ms(500)).await;
    let error = receipt.await.unwrap_err();
    assert!(matches!(error, DeliveryError::Closed { .. }));
    assert_eq!(error.into_record(), Some(record(7)));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_times_out_and_the_record_is_delivered_all_the_same() {
    let local = orders(Limits::Off, 1);
    let producer = producer(&local)
        .user_record_timeout(ms(1_000))
        .return_user_record_on_failure(true)
        .build()
        .await
        .unwrap();
    let soon = producer.put(record(0)).await.unwrap();
    assert!(soon.await.is_ok());
    let away = away(&local);
    let begin = Instant::now();
    let single = producer.put(record(1)).await.unwrap();
    let batch = producer.put_all((2..5).map(record)).await.unwrap();
    let error = single.await.unwrap_err();
    assert!(begin.elapsed() >= ms(1_000) && begin.elapsed() < ms(1_005));
    let DeliveryError::TimedOut { after, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((*after, error.record()), (ms(1_000), Some(&record(1))));
    let report = batch.await;
    assert_eq!((report.delivered(), report.all_delivered()), (0, false));
    local.faults().remove(away);
    producer.flush().await;
    assert_eq!(readable(&local, "orders").len(), 5);
    assert_eq!(producer.stats().failed, 0);
    // A report does not change its mind.
    assert_eq!(report.failures().len(), 3);
    for (place, error) in report.failures() {
        let put = record(u32::try_from(place).unwrap() + 2);
        assert_eq!(error.into_record(), Some(put));
    }
}
