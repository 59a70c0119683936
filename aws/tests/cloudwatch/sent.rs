//! What arrives: names, places, statistics, times, limits.

use crate::*;
use aws::ErrorKind;
use aws::cloudwatch::{Client, Datum, UploaderError};
use runtime::metrics::{ExtraDimension, Statistics};
use runtime::time::epoch_millis;

#[tokio::test(start_paused = true)]
async fn intervals_arrive_as_statistic_sets_at_every_place() {
    let extra = [
        ExtraDimension::new("Host", "h", Granularity::Global),
        ExtraDimension::new("Blank", "", Granularity::Stream),
    ];
    let sent = start(UploaderSettings::of_producer(
        "App",
        Level::Detailed,
        Granularity::Shard,
        extra,
    ));
    let shard = |id| [("StreamName", "orders"), ("ShardId", id)];
    let put = Metric::new("UserRecordsPut").with_level(Level::Summary);
    sent.metrics.counter(put, &shard("0")).add(3);
    sent.metrics.counter(put, &shard("1")).add(2);
    for time in [4.0, 1.5, 9.0] {
        sent.metrics
            .histogram(TIME, &[("StreamName", "orders")])
            .observe(time);
    }
    seconds(60).await;
    let first = sent.local.metrics();
    let shown: Vec<_> = first.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "RequestTime() 3 14.5 1.5 9 Milliseconds",
            "UserRecordsPut() 5 5 1 1 Count",
            "RequestTime(Host=h) 3 14.5 1.5 9 Milliseconds",
            "UserRecordsPut(Host=h) 5 5 1 1 Count",
            "RequestTime(Host=h StreamName=orders) 3 14.5 1.5 9 Milliseconds",
            "UserRecordsPut(Host=h StreamName=orders) 5 5 1 1 Count",
            "UserRecordsPut(Host=h StreamName=orders ShardId=0) 3 3 1 1 Count",
            "UserRecordsPut(Host=h StreamName=orders ShardId=1) 2 2 1 1 Count",
        ]
    );
    // Sent once, within the first minute, and not at its beginning.
    let at = epoch_millis(first[0].timestamp) - T0;
    assert!((1..60_000).contains(&at), "{at}");
    assert!(
        first
            .iter()
            .all(|d| d.namespace == "App" && d.resolution == 60)
    );
    // Nothing new, nothing sent.
    seconds(600).await;
    assert_eq!(sent.local.request_counts()["PutMetricData"], 1);
    sent.metrics.histogram(TIME, &[]).observe(2.0);
    seconds(60).await;
    let all = sent.local.metrics();
    assert_eq!(shown_last(&all), "RequestTime(Host=h) 1 2 2 2 Milliseconds");
    let at = epoch_millis(all[all.len() - 1].timestamp) - T0 - at;
    assert_eq!(at % 60_000, 0, "a fixed pace");
    let stats = sent.uploader.stats();
    assert_eq!((stats.read, stats.sent, stats.requests), (10, 10, 2));
    assert_eq!(
        (stats.waiting, stats.waiting_bytes, stats.failures),
        (0, 0, 0)
    );
}

fn shown_last(all: &[MetricDatum]) -> String {
    shown(&all[all.len() - 1])
}

#[tokio::test(start_paused = true)]
async fn level_and_granularity_are_the_settings() {
    for (level, granularity, expected) in [
        (Level::None, Granularity::Shard, &["Down()"][..]),
        (Level::Summary, Granularity::Global, &["Down()", "Put()"]),
        (
            Level::Summary,
            Granularity::Stream,
            &["Down()", "Put()", "Put(StreamName=s)"],
        ),
    ] {
        let sent = start(UploaderSettings::of_producer("App", level, granularity, []));
        let place = [("StreamName", "s"), ("ShardId", "0")];
        let put = Metric::new("Put").with_level(Level::Summary);
        let down = Metric::new("Down").with_level(Level::None);
        sent.metrics.counter(put, &place).add(1);
        sent.metrics.counter("Fine", &place).add(1);
        sent.metrics.counter(down, &[]).add(1);
        seconds(60).await;
        let names: Vec<_> = sent.local.metrics().iter().map(shown).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|e| format!("{e} 1 1 1 1 Count"))
            .collect();
        assert_eq!(names, expected, "{level} {granularity}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_metrics_are_cut_into_requests_of_1_000_and_compressed() {
    let sent = start(UploaderSettings::new("App"));
    for n in 0..2_500 {
        let shard = format!("shardId-{n:012}");
        sent.metrics.counter("Put", &[("ShardId", &shard)]).add(1);
    }
    seconds(61).await;
    assert_eq!(sent.local.request_counts()["PutMetricData"], 3);
    let stats = sent.uploader.stats();
    assert_eq!((stats.sent, stats.failures), (2_500, 0));
    assert_eq!(sent.local.metrics().len(), 2_500);
    assert_eq!(
        sent.local.metrics()[2_499].dimensions[0].1,
        "shardId-000000002499"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_sends_what_is_left_within_its_bound() {
    let sent = start(settings());
    sent.metrics.counter("Put", &[]).add(5);
    let report = sent.scope.shutdown(Duration::from_secs(10)).await;
    assert!(report.is_clean());
    assert_eq!(sum(&sent.local, "Put"), 5.0);
    // An endpoint that does not answer holds nobody up.
    let sent = start(settings().with_last_upload(Duration::from_secs(2)));
    sent.local
        .faults()
        .add(every(FaultAction::Delay(Duration::from_secs(3_600))));
    sent.metrics.counter("Put", &[]).add(5);
    let began = tokio::time::Instant::now();
    let report = sent.scope.shutdown(Duration::from_secs(10)).await;
    assert!(report.is_clean());
    assert_eq!(began.elapsed().as_secs(), 2);
    let stats = sent.uploader.stats();
    assert_eq!((stats.read, stats.dropped, stats.sent), (1, 1, 0));
    let given_up = sent.metrics.counter(Metric::new("MetricDataDropped"), &[]);
    assert_eq!(given_up.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn impossible_settings_are_named() {
    let local = local();
    let scope = TaskScope::new("test");
    let start = |settings| {
        let metrics = Metrics::new();
        Uploader::start(&in_process(&local), &metrics, settings, &scope).unwrap_err()
    };
    for namespace in ["", "AWS/Kinesis", ":x", "é", &"x".repeat(256)] {
        let error = start(UploaderSettings::new(namespace));
        assert!(matches!(error, UploaderError::Namespace { .. }), "{error}");
    }
    let error = start(settings().with_upload_delay(Duration::ZERO));
    assert!(matches!(error, UploaderError::Delay));
    let error = start(settings().with_endpoint_url("localhost:1"));
    assert!(error.to_string().contains("no scheme"), "{error}");
}

fn datum(name: &str) -> Datum {
    Datum {
        name: name.to_owned(),
        dimensions: vec![("Host".to_owned(), "h".to_owned())],
        unit: Unit::Bytes,
        timestamp: from_epoch_millis(T0),
        statistics: Statistics::of(1.0, 2),
    }
}

#[tokio::test]
async fn over_a_socket_plain_and_compressed() {
    let local = local();
    let server = local
        .clone()
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let config = config().endpoint_url(server.url()).load().unwrap();
    let client = Client::new(&config);
    client
        .put_metric_data("App", vec![datum("m")])
        .await
        .unwrap();
    let many = (0..1_500).map(|n| datum(&format!("m{n}"))).collect();
    client.put_metric_data("App", many).await.unwrap();
    assert_eq!(local.metrics().len(), 1_501);
    assert_eq!(shown_last(&local.metrics()), "m1499(Host=h) 2 2 1 1 Bytes");
    // Errors have their kinds.
    let error_of = async |namespace| {
        let error = client.put_metric_data(namespace, vec![datum("m")]).await;
        error.unwrap_err()
    };
    let invalid = error_of("AWS/x").await;
    assert_eq!(invalid.kind(), ErrorKind::Invalid, "{invalid}");
    local
        .faults()
        .add(every(error(403, "AccessDeniedException")));
    assert_eq!(error_of("App").await.kind(), ErrorKind::AccessDenied);
    // The whole uploader once.
    local.faults().clear();
    let metrics = Metrics::new();
    let scope = TaskScope::new("test");
    metrics.counter("Put", &[]).add(4);
    let _uploader = Uploader::start(&config, &metrics, settings(), &scope).unwrap();
    assert!(scope.shutdown(Duration::from_secs(20)).await.is_clean());
    assert_eq!(sum(&local, "Put"), 4.0);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_refused_after_one_new_signature() {
    let local = local();
    let config = config()
        .credentials(Credentials::new(KEY.0, "another secret", None))
        .transport(transport(&local))
        .load()
        .unwrap();
    let client = Client::new(&config);
    let error = client.put_metric_data("App", vec![datum("m")]).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Credential);
    assert_eq!(local.request_counts()["PutMetricData"], 2);
}
