//! What a producer measures, as its own calls show it and as Amazon CloudWatch gets it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper may stop the test"
)]

mod support;

use futures::{FutureExt, StreamExt};
use kpl::metrics::{Granularity, Level, Metrics, Point, Window};
use kpl::{Producer, ProducerEvent, Record};
use local::{Fault, FaultAction, Limits, Local, MetricDatum, MetricValue};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::{error, orders, producer, put_one, throttles};
use tokio::time::sleep;

const THROTTLED: &str = "ProvisionedThroughputExceededException";

fn stream(shards: u32) -> Local {
    orders(Limits::Off, shards)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Count, sum, smallest and largest.
type Values = (f64, f64, f64, f64);

/// `Name(dimension=value …)`.
fn place<N: AsRef<str>>(name: &str, dimensions: &[(N, String)]) -> String {
    let dimensions: Vec<_> = dimensions
        .iter()
        .map(|(n, v)| format!("{}={v}", n.as_ref()))
        .collect();
    format!("{name}({})", dimensions.join(" "))
}

fn merge(all: &mut BTreeMap<String, Values>, at: String, (count, sum, min, max): Values) {
    let values = all.entry(at).or_insert((0.0, 0.0, f64::MAX, f64::MIN));
    *values = (
        values.0 + count,
        values.1 + sum,
        values.2.min(min),
        values.3.max(max),
    );
}

fn statistics(datum: &MetricDatum) -> Values {
    match datum.value {
        MetricValue::Statistics {
            count,
            sum,
            minimum,
            maximum,
        } => (count, sum, minimum, maximum),
        _ => panic!("not a statistic set: {datum:?}"),
    }
}

/// All that CloudWatch got, by place.
fn uploaded(local: &Local) -> BTreeMap<String, Values> {
    let mut all = BTreeMap::new();
    for datum in local.metrics() {
        let at = place(&datum.name, &datum.dimensions);
        merge(&mut all, at, statistics(&datum));
    }
    all
}

fn queried(points: &[Point]) -> BTreeMap<String, Values> {
    let mut all = BTreeMap::new();
    for point in points.iter().filter(|p| p.statistics.count > 0) {
        let s = point.statistics;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let values = (s.count as f64, s.sum, s.min, s.max);
        merge(
            &mut all,
            place(point.metric.name, &point.dimensions),
            values,
        );
    }
    all
}

/// Names, units, levels and finest places, from the original's list.
const LIST: [(&str, &str, Level, Granularity); 15] = {
    use Granularity::{Shard, Stream};
    use Level::{Detailed, Summary};
    [
        ("AllErrors", "Count", Summary, Shard),
        ("BufferingTime", "Milliseconds", Summary, Shard),
        ("ErrorsByCode", "Count", Summary, Shard),
        ("KinesisRecordsDataPut", "Bytes", Detailed, Shard),
        (
            "KinesisRecordsPerPutRecordsRequest",
            "Count",
            Detailed,
            Stream,
        ),
        ("KinesisRecordsPut", "Count", Summary, Shard),
        ("RequestTime", "Milliseconds", Detailed, Stream),
        ("RetriesPerRecord", "Count", Detailed, Shard),
        ("UserRecordExpired", "Count", Summary, Shard),
        ("UserRecordsDataPut", "Bytes", Detailed, Shard),
        ("UserRecordsPending", "Count", Detailed, Stream),
        ("UserRecordsPerKinesisRecord", "Count", Detailed, Shard),
        ("UserRecordsPerPutRecordsRequest", "Count", Detailed, Stream),
        ("UserRecordsPut", "Count", Summary, Shard),
        ("UserRecordsReceived", "Count", Detailed, Stream),
    ]
};

/// Two records that are delivered, one at the second attempt; one that is poisonous; one that expires.
async fn scenario(local: &Local, producer: &Producer) {
    let faults = local.faults();
    faults.add(Fault::nth("PutRecords", 1, throttles(1)));
    let batch = [Record::new("k", "abc"), Record::new("k", "defghij")];
    let receipt = producer.put_all(batch).await.unwrap();
    assert!(receipt.await.all_delivered());
    let poison = Record::new("k", support::POISON.to_vec());
    let refused = producer.put(poison).await.unwrap().await;
    assert!(refused.is_err());
    faults.add(Fault::every("PutRecords", error(500, "InternalFailure")));
    let expired = producer.put(Record::new("k", "late")).await.unwrap().await;
    assert!(expired.is_err());
    faults.clear();
}

#[tokio::test(start_paused = true)]
async fn cloudwatch_gets_every_metric_by_name_unit_place_and_values() {
    let local = stream(1);
    let builder = producer(&local)
        .cloudwatch(true)
        .metrics_namespace("App")
        .metrics_dimension("Host", "h", Granularity::Global)
        .metrics_dimension("Rack", "r", Granularity::Shard)
        .record_ttl(seconds(3));
    let producer = builder.build().await.unwrap();
    scenario(&local, &producer).await;
    let requests = producer.stats().requests;
    let own = queried(&producer.metrics(None, Window::SinceStart).unwrap());
    let report = producer.close(seconds(10)).await;
    assert_eq!((report.delivered, report.failed), (2, 2));
    assert_eq!(producer.running_tasks(), 0);

    let got = uploaded(&local);
    let shard = "Host=h StreamName=orders ShardId=shardId-000000000000 Rack=r";
    let value = |name: &str, dimensions: &str| got[&format!("{name}({dimensions})")];
    assert_eq!(value("UserRecordsPut", shard), (4.0, 2.0, 0.0, 1.0));
    assert_eq!(value("UserRecordsDataPut", shard), (2.0, 10.0, 3.0, 7.0));
    assert_eq!(value("UserRecordExpired", shard), (1.0, 1.0, 1.0, 1.0));
    // One entry was throttled, then stored; requests that fail as a whole have no entries.
    assert_eq!(value("KinesisRecordsPut", shard), (2.0, 1.0, 0.0, 1.0));
    let stored = local.records("orders");
    let size: usize = stored.iter().map(|r| r.data.len() + 1).sum();
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let size = size as f64;
    assert_eq!(
        value("KinesisRecordsDataPut", shard),
        (1.0, size, size, size)
    );
    assert_eq!(value("AllErrors", shard), (2.0, 1.0, 0.0, 1.0));
    let stream = "Host=h StreamName=orders";
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let failed = (requests - 2) as f64;
    assert_eq!(
        value("AllErrors", stream),
        (failed + 2.0, failed + 1.0, 0.0, 1.0)
    );
    let of_code =
        |code: &str, rest: &str| value("ErrorsByCode", &format!("Host=h ErrorCode={code} {rest}"));
    let at_shard = "StreamName=orders ShardId=shardId-000000000000 Rack=r";
    assert_eq!(of_code(THROTTLED, at_shard), (1.0, 1.0, 1.0, 1.0));
    assert_eq!(
        of_code("ValidationException", "StreamName=orders"),
        (1.0, 1.0, 1.0, 1.0)
    );
    assert_eq!(
        of_code("InternalFailure", "StreamName=orders").1,
        failed - 1.0
    );
    // Two records with one retry each, one with none, and one that was tried until it expired.
    let retries = value("RetriesPerRecord", shard);
    assert_eq!((retries.0, retries.1, retries.2), (4.0, failed + 1.0, 0.0));
    assert_eq!(value("UserRecordsPerKinesisRecord", shard).2, 1.0);
    assert_eq!(value("UserRecordsPerKinesisRecord", shard).3, 2.0);
    assert_eq!(
        value("UserRecordsPerPutRecordsRequest", stream).0,
        failed + 2.0
    );
    assert_eq!(
        value("KinesisRecordsPerPutRecordsRequest", stream).1,
        failed + 2.0
    );
    assert_eq!(value("RequestTime", stream).0, failed + 2.0);
    assert_eq!(value("UserRecordsReceived", stream), (4.0, 4.0, 1.0, 1.0));
    let pending = value("UserRecordsPending", stream);
    assert_eq!((pending.2, pending.3), (0.0, 2.0));
    // Each record and attempt; the first attempt comes after the time that records wait for others.
    let buffering = value("BufferingTime", shard);
    assert_eq!(buffering.0, 2.0 + 2.0 + 1.0 + failed - 1.0);
    assert!(
        buffering.3 >= 99.0 && buffering.3 < 3_000.0,
        "{buffering:?}"
    );

    let data = local.metrics();
    assert!(data.iter().all(|d| d.namespace == "App"));
    for (name, unit, level, granularity) in LIST {
        let mut of_name = data.iter().filter(|d| d.name == name).peekable();
        assert!(of_name.peek().is_some(), "{name}");
        assert!(of_name.all(|d| d.unit.as_deref() == Some(unit)), "{name}");
        let points = producer.metrics(Some(name), Window::SinceStart).unwrap();
        assert!(points.iter().all(|p| p.metric.level == level), "{name}");
        let finest = points.iter().map(Point::granularity).max();
        assert_eq!(finest, Some(granularity), "{name}");
        // Whatever is told apart finely is there for all streams too.
        let ([all, by_host], at) = (["", "Host=h"].map(|at| value(name, at)), stream);
        assert_eq!(all, by_host, "{name}");
        if name != "ErrorsByCode" {
            assert_eq!(all, value(name, at), "{name}");
        }
    }
    for (at, values) in own {
        assert_eq!(got.get(&at), Some(&values), "{at}: shown and uploaded");
    }
}

#[tokio::test(start_paused = true)]
async fn level_and_granularity_decide_what_is_uploaded_and_not_what_is_shown() {
    for (level, granularity) in [
        (Level::Summary, Granularity::Stream),
        (Level::Summary, Granularity::Global),
        (Level::Detailed, Granularity::Stream),
        (Level::None, Granularity::Shard),
    ] {
        let local = stream(1);
        let builder = producer(&local)
            .metrics_level(level)
            .metrics_granularity(granularity)
            .record_ttl(seconds(3));
        let producer = builder.build().await.unwrap();
        scenario(&local, &producer).await;
        producer.close(seconds(10)).await;
        let data = local.metrics();
        let got: BTreeSet<&str> = data.iter().map(|d| d.name.as_str()).collect();
        for (name, _, of, _) in LIST {
            assert_eq!(got.contains(name), of <= level, "{name} {level}");
            let shown = producer.metrics(Some(name), Window::SinceStart).unwrap();
            assert!(!queried(&shown).is_empty(), "{name} is shown");
        }
        let finest = data
            .iter()
            .map(|d| Granularity::of(d.dimensions.iter().map(|(n, _)| n.as_str())))
            .max();
        let expected = (level > Level::None).then_some(granularity);
        assert_eq!(finest, expected, "{level} {granularity}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_uploaded_unless_it_is_asked_for() {
    let local = stream(1);
    let quiet = producer(&local).build().await.unwrap();
    let asked = [("MetricsLevel", "detailed"), ("CloudwatchPort", "443")];
    quiet.put(Record::new("k", "x")).await.unwrap().forget();
    sleep(seconds(200)).await;
    assert!(quiet.upload_stats().is_none() && quiet.running_tasks() == 1);
    quiet.close(seconds(5)).await;
    assert!(local.metrics().is_empty());
    for (name, value) in asked {
        let loud = producer(&local).set(name, value).build().await.unwrap();
        loud.put(Record::new("k", "x")).await.unwrap().forget();
        sleep(seconds(61)).await;
        let sent = loud.upload_stats().unwrap().sent;
        assert!(sent > 0 && loud.running_tasks() == 2);
        let off = producer(&local).set(name, value).cloudwatch(false);
        assert!(off.build().await.unwrap().upload_stats().is_none());
        loud.close(seconds(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_upload_loses_nothing_and_is_in_nobodys_way() {
    let local = stream(1);
    let away = Fault::every("PutMetricData", error(503, "ServiceUnavailable"));
    local.faults().add(away);
    let producer = producer(&local).cloudwatch(true).build().await.unwrap();
    for _ in 0..10 {
        let receipt = producer.put(Record::new("k", "x")).await.unwrap();
        receipt.await.unwrap();
        sleep(seconds(60)).await;
    }
    assert!(uploaded(&local).is_empty());
    let stats = producer.upload_stats().unwrap();
    assert!(stats.failures > 0 && stats.waiting > 0 && stats.dropped == 0);
    local.faults().clear();
    sleep(seconds(180)).await;
    let got = uploaded(&local);
    assert_eq!(
        got["UserRecordsPut(StreamName=orders)"],
        (10.0, 10.0, 1.0, 1.0)
    );
    // Each interval has the time it was measured at.
    let times: BTreeSet<_> = local.metrics().iter().map(|d| d.timestamp).collect();
    assert!(times.len() >= 10, "{}", times.len());

    // And at the end it does not hold up the producer beyond its deadline.
    local.faults().add(Fault::every(
        "PutMetricData",
        FaultAction::Delay(seconds(3_600)),
    ));
    producer.put(Record::new("k", "x")).await.unwrap().forget();
    let begin = tokio::time::Instant::now();
    let report = producer.close(seconds(2)).await;
    assert_eq!((report.delivered, report.abandoned), (11, 0));
    assert_eq!(begin.elapsed(), seconds(2));
    assert_eq!(producer.running_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_producer_uploads_what_it_delivered_last() {
    let local = stream(1);
    let producer = producer(&local).cloudwatch(true).build().await.unwrap();
    producer.put(Record::new("k", "x")).await.unwrap().forget();
    drop(producer);
    sleep(seconds(1)).await;
    let got = uploaded(&local);
    assert_eq!(
        got["UserRecordsPut(StreamName=orders)"],
        (1.0, 1.0, 1.0, 1.0)
    );
}

#[tokio::test(start_paused = true)]
async fn instruments_of_closed_shards_go_and_their_sums_stay() {
    let local = stream(1);
    let set = Metrics::new();
    let builder = producer(&local).metrics(set.clone()).cloudwatch(true);
    let producer = builder.build().await.unwrap();
    let mut events = producer.events();
    let put =
        |n: u32| producer.put_all((0..100).map(move |k| Record::new(format!("{n} {k}"), "x")));
    assert!(put(0).await.unwrap().await.all_delivered());
    sleep(seconds(61)).await;
    let before = set.instruments();
    for n in 1..=10 {
        // The first is split, then its halves are merged.
        let open: Vec<_> = local
            .shards("orders")
            .into_iter()
            .filter(|s| s.open)
            .collect();
        match &open[..] {
            [one] => local.split_shard("orders", &one.shard_id).unwrap(),
            [a, b] => local
                .merge_shards("orders", &a.shard_id, &b.shard_id)
                .unwrap(),
            more => panic!("{more:?}"),
        }
        assert!(put(n).await.unwrap().await.all_delivered());
        sleep(seconds(700)).await;
    }
    // The map is looked at again by the first put after ten minutes: what was under way is gone too.
    put(99).await.unwrap().await;
    sleep(seconds(130)).await;
    assert!(
        set.instruments() <= before + 12,
        "{} {before}",
        set.instruments()
    );
    let got = uploaded(&local);
    assert_eq!(
        got["UserRecordsPut(StreamName=orders)"],
        (1_200.0, 1_200.0, 1.0, 1.0)
    );
    let put = producer
        .metrics(Some("UserRecordsPut"), Window::SinceStart)
        .unwrap();
    assert_eq!(
        queried(&put)["UserRecordsPut(StreamName=orders)"].0,
        1_200.0
    );
    let by_shard = got
        .keys()
        .filter(|at| at.starts_with("UserRecordsPut(StreamName=orders ShardId="));
    assert!(by_shard.count() > 10, "each shard had its own");
    // What is stored in vain is no error, as in the original.
    assert!(
        !got.keys().any(|at| at.starts_with("ErrorsByCode")),
        "{got:?}"
    );
    assert!(got["UserRecordsInWrongShard(StreamName=orders)"].1 >= 100.0);

    // Attempts in an aggregate that was taken apart count for its records in the next.
    let (records, retries, ..) = got["RetriesPerRecord(StreamName=orders)"];
    let retried = got["UserRecordsRetried(StreamName=orders)"].1;
    assert_eq!((records, retries), (1_200.0, retried));
    let waits = got["BufferingTime(StreamName=orders)"];
    assert_eq!(waits.0, 1_200.0 + retried);

    let mut resharded = 0;
    while let Some(Some(event)) = events.next().now_or_never() {
        let ProducerEvent::Resharded { closed, open } = event else {
            panic!("{event:?}")
        };
        assert_eq!(closed + open, 3);
        resharded += 1;
    }
    assert_eq!(resharded, 10);
}

#[tokio::test(start_paused = true)]
async fn windows_reach_back_whole_and_uploads_do_not_cut_them() {
    let local = stream(1);
    let builder = producer(&local).metrics_upload_delay(seconds(1));
    let producer = builder.build().await.unwrap();
    for _ in 0..20 {
        let receipt = producer.put(Record::new("k", "x")).await.unwrap();
        receipt.await.unwrap();
        sleep(Duration::from_millis(900)).await;
    }
    assert!(producer.upload_stats().unwrap().requests >= 15);
    let put = |window| {
        let points = producer.metrics(Some("UserRecordsPut"), window).unwrap();
        queried(&points)["UserRecordsPut(StreamName=orders)"].0
    };
    assert_eq!(put(Window::SinceStart), 20.0);
    assert_eq!(put(Window::Last(seconds(60))), 20.0);
    assert!((9.0..=11.0).contains(&put(Window::Last(seconds(10)))));
    let far = producer.metrics(None, Window::Last(seconds(61)));
    assert!(
        far.is_err(),
        "an error, not a part that looks like the whole"
    );
}

#[tokio::test(start_paused = true)]
async fn producers_that_share_a_set_upload_each_its_own() {
    let local = stream(1);
    local.create_stream("clicks", 1).unwrap();
    let set = Metrics::new();
    let config = support::config(&local);
    let open = |stream: &str| {
        Producer::builder(stream)
            .aws(config.clone())
            .metrics(set.clone())
            .cloudwatch(true)
            .build()
    };
    let (orders, clicks) = (open("orders").await.unwrap(), open("clicks").await.unwrap());
    for producer in [&orders, &clicks] {
        producer.put(Record::new("k", "x")).await.unwrap().forget();
        producer.close(seconds(10)).await;
    }
    let got = uploaded(&local);
    assert_eq!(got["UserRecordsPut(StreamName=orders)"].0, 1.0);
    assert_eq!(got["UserRecordsPut(StreamName=clicks)"].0, 1.0);
    assert_eq!(got["UserRecordsPut()"].0, 2.0);
    let shown = queried(&clicks.metrics(None, Window::SinceStart).unwrap());
    assert!(shown.keys().all(|at| !at.contains("orders")));
}

#[tokio::test(start_paused = true)]
async fn events_tell_of_throttles_and_failed_requests() {
    let local = stream(1);
    let producer = producer(&local).build().await.unwrap();
    let events = producer.events();
    let faults = local.faults();
    faults.add(Fault::nth("PutRecords", 1, throttles(1)));
    faults.add(Fault::nth("PutRecords", 2, error(500, "InternalFailure")));
    faults.add(Fault::nth(
        "PutRecords",
        3,
        error(400, "ExpiredTokenException"),
    ));
    put_one(&producer).await;
    producer.close(seconds(5)).await;
    let events: Vec<ProducerEvent> = events.collect().await;
    assert_eq!(
        events[0],
        ProducerEvent::Throttled {
            shard_id: "shardId-000000000000".into(),
            entries: 1
        }
    );
    assert!(
        matches!(&events[1], ProducerEvent::RequestFailed { code, .. } if code == "InternalFailure")
    );
    assert!(events.len() >= 2, "{events:?}");
    assert!(
        events[2..]
            .iter()
            .all(|e| matches!(e, ProducerEvent::CredentialsFailed { .. })),
        "{events:?}"
    );
}
