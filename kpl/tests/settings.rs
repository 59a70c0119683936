//! Settings from the program, the environment and the original's files, as a producer takes them.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use kpl::{BuildError, Producer, ProducerBuilder, PutError, Record};
use local::{Limits, Local};
use std::io::Write;
use std::time::Duration;
use support::{orders, producer};
use tokio::time::Instant;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn stream() -> Local {
    orders(Limits::Off, 1)
}

/// How long the first record of a producer waits for others.
async fn linger(builder: ProducerBuilder) -> Duration {
    let producer = builder.build().await.unwrap();
    let begin = Instant::now();
    let receipt = producer.put(Record::new("k", "x")).await.unwrap();
    receipt.await.unwrap();
    begin.elapsed()
}

fn variables() -> [(String, String); 1] {
    [("KPL_RECORD_MAX_BUFFERED_TIME".to_owned(), "300".to_owned())]
}

#[tokio::test(start_paused = true)]
async fn a_setter_goes_before_the_environment_before_a_file_before_the_default() {
    let local = stream();
    let file = file("# Comment\nRecordMaxBufferedTime: 200\nThreadingModel = POOLED\n");
    let seconds = [
        linger(producer(&local)).await,
        linger(producer(&local).from_properties_file(&file)).await,
        linger(
            producer(&local)
                .from_variables(variables())
                .from_properties_file(&file),
        )
        .await,
        linger(
            producer(&local)
                .record_max_buffered_time(Duration::from_millis(400))
                .from_variables(variables())
                .from_properties_file(&file),
        )
        .await,
    ];
    for (elapsed, expected) in seconds.into_iter().zip([100, 200, 300, 400]) {
        let expected = Duration::from_millis(expected);
        assert!(
            elapsed >= expected && elapsed < expected + Duration::from_millis(5),
            "{elapsed:?} {expected:?}"
        );
    }
}

/// The original's sample, whose one bad value makes it throw.
const SAMPLE: &str = "\
# Maximum number of items to pack into an aggregated record.
AggregationMaxCount = 4294967295
AggregationMaxSize = 51200
CollectionMaxCount = 500
CollectionMaxSize = 5242880
ConnectTimeout = 6000
CredentialsRefreshDelay = 5000
EnableCoreDumps = false
FailIfThrottled = false
LogLevel = info
MaxConnections = 24
MaxUserRecordSize = 1048576;
MetricsGranularity = shard
MetricsLevel = detailed
MetricsNamespace = KinesisProducerLibrary
MetricsUploadDelay = 60000
MinConnections = 1
NativeExecutable =
RateLimit = 150
RecordMaxBufferedTime = 100
RecordTtl = 30000
Region =
RequestTimeout = 6000
TempDirectory =
VerifyCertificate = true
";

#[tokio::test(start_paused = true)]
async fn the_originals_file_is_taken_as_it_is_and_its_bad_value_is_named() {
    let local = stream();
    let good = file(&SAMPLE.replace("1048576;", "1048576"));
    assert!(
        producer(&local)
            .from_properties_file(&good)
            .build()
            .await
            .is_ok()
    );
    let bad = file(SAMPLE);
    let missing = bad.path().with_extension("missing");
    let refused = producer(&local)
        .from_properties_file(&bad)
        .from_properties_file(&missing)
        .set("RecordTtl", "1")
        .build()
        .await;
    let Err(BuildError::Settings(problems)) = refused else {
        panic!("{refused:?}")
    };
    let [size, file, ttl] = &problems.0[..] else {
        panic!("{problems}")
    };
    assert!(size.key.starts_with("MaxUserRecordSize (") && size.key.ends_with("line 12)"));
    assert!(
        size.reason.contains("the `;` is part of the value"),
        "{size}"
    );
    assert!(file.key.contains("missing") && file.reason.contains("cannot be read"));
    assert_eq!(ttl.key, "RecordTtl");
}

#[tokio::test(start_paused = true)]
async fn the_largest_user_record_is_the_users_choice() {
    let local = stream();
    let producer = producer(&local).max_user_record_size(64).build().await;
    let producer = producer.unwrap();
    let fits = producer.put(Record::new("a long key", vec![0; 64])).await;
    fits.unwrap().await.unwrap();
    let refused = producer.put(Record::new("k", vec![0; 65])).await;
    assert!(matches!(
        refused,
        Err(PutError::DataTooLarge {
            size: 65,
            limit: 64,
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn without_a_configuration_the_settings_make_one() {
    let build = |builder: ProducerBuilder| async {
        let short = Duration::from_millis(100);
        tokio::time::timeout(short, builder.build()).await
    };
    let bad = Producer::builder("orders")
        .set("Region", "Frankfurt")
        .set("KinesisPort", "0");
    let Ok(Err(BuildError::Settings(problems))) = build(bad).await else {
        panic!("both are problems")
    };
    assert_eq!(problems.0.len(), 2, "{problems}");
    let no_file = Producer::builder("orders")
        .region("eu-west-1")
        .kinesis_endpoint("localhost")
        .ca_cert_file("/nonexistent/ca.pem");
    let Ok(Err(BuildError::Config(error))) = build(no_file).await else {
        panic!("there is no such file")
    };
    assert!(error.to_string().contains("ca.pem"), "{error}");
}
