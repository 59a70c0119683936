//! Where region and endpoint are looked for, in which order; and how long is waited.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

use aws::cloudwatch::Datum;
use aws::kinesis::{Client, IteratorPosition};
use aws::{
    Config, Credentials, Environment, Error, ErrorKind, InProcess, Timeouts, TransportError,
};
use bytes::Bytes;
use runtime::metrics::{Statistics, Unit};
use runtime::{Chance, RetryPolicy};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

const FILE: &str = "\
[default]
region = r-profile
endpoint_url = http://profile
[profile work]
region = r-work
endpoint_url = http://work
services = own
[services own]
kinesis =
  endpoint_url = http://services
dynamodb =
  endpoint_url = http://services-dynamodb
cloudwatch =
  endpoint_url = http://services-cloudwatch
[profile quiet]
region = r-quiet
endpoint_url = http://quiet
ignore_configured_endpoint_urls = true
";

#[test]
fn region_and_endpoint_come_from_the_first_place_that_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    std::fs::write(&file, FILE).unwrap();
    let file = file.display().to_string();
    let all = [
        ("AWS_REGION", "r-1"),
        ("AWS_DEFAULT_REGION", "r-2"),
        ("AWS_ENDPOINT_URL_KINESIS", "http://env-kinesis"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://env-dynamodb"),
        ("AWS_ENDPOINT_URL", "http://env"),
        ("AWS_PROFILE", "work"),
    ];
    let load = |leave_out: &[&str], more: &[(&str, &str)], given: Option<(&str, &str)>| {
        let vars = all
            .iter()
            .filter(|(name, _)| !leave_out.contains(name))
            .chain(more)
            .copied()
            .chain([("AWS_CONFIG_FILE", file.as_str()), ("HOME", "/nonexistent")]);
        let mut builder = Config::builder().environment(Environment::fixed(vars));
        if let Some((region, url)) = given {
            builder = builder.region(region).endpoint_url(url);
        }
        let config = builder.load().unwrap();
        (config.region().to_owned(), config.kinesis_endpoint())
    };
    let found = |region: &str, url: &str| (region.to_owned(), url.to_owned());
    let mut gone = Vec::new();
    assert_eq!(
        load(&gone, &[], Some(("r-0", "http://given"))),
        found("r-0", "http://given")
    );
    assert_eq!(load(&gone, &[], None), found("r-1", "http://env-kinesis"));
    gone.extend(["AWS_REGION", "AWS_ENDPOINT_URL_KINESIS"]);
    assert_eq!(load(&gone, &[], None), found("r-2", "http://env"));
    gone.extend(["AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"]);
    assert_eq!(load(&gone, &[], None), found("r-work", "http://services"));
    gone.push("AWS_PROFILE");
    assert_eq!(load(&gone, &[], None), found("r-profile", "http://profile"));
    let quiet = [("AWS_PROFILE", "quiet"), ("AWS_ENDPOINT_URL", "http://env")];
    let own = "https://kinesis.r-quiet.amazonaws.com";
    assert_eq!(load(&gone, &quiet, None), found("r-quiet", own));
    let ignore = [("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "TRUE")];
    let own = "https://kinesis.r-profile.amazonaws.com";
    assert_eq!(load(&gone, &ignore, None), found("r-profile", own));
    let given = Some(("r-0", "http://given"));
    assert_eq!(load(&gone, &ignore, given), found("r-0", "http://given"));
}

/// The hosts that Kinesis, DynamoDB and CloudWatch are called at.
async fn hosts(vars: &[(&str, &str)], set: fn(aws::ConfigBuilder) -> aws::ConfigBuilder) -> String {
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let transport = InProcess::new(move |request: http::Request<Bytes>| {
        seen.lock().push(request.uri().host().unwrap().to_owned());
        async { Ok::<_, Infallible>(http::Response::new(Bytes::new())) }
    });
    let vars = vars.iter().copied().chain([("HOME", "/nonexistent")]);
    let config = builder()
        .environment(Environment::fixed(vars))
        .transport(Arc::new(transport))
        .retry(RetryPolicy::none());
    let config = set(config).load().unwrap();
    // Whatever the empty answer means.
    let _ = Client::new(&config).list_streams().await;
    let table = aws::dynamodb::Client::new(&config);
    let _ = table.describe_table("t").await;
    let datum = Datum {
        name: "m".to_owned(),
        dimensions: Vec::new(),
        unit: Unit::Count,
        timestamp: config.clock().now(),
        statistics: Statistics::of(1.0, 1),
    };
    let metrics = aws::cloudwatch::Client::new(&config);
    metrics.put_metric_data("App", vec![datum]).await.unwrap();
    asked.lock().join(" ")
}

#[tokio::test(start_paused = true)]
async fn each_service_is_looked_up_in_the_same_places() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    std::fs::write(&file, FILE).unwrap();
    let file = file.display().to_string();
    let own = [
        ("AWS_ENDPOINT_URL", "http://env"),
        ("AWS_ENDPOINT_URL_KINESIS", "http://env-kinesis"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://env-dynamodb"),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", "http://env-cloudwatch"),
    ];
    let work = [("AWS_CONFIG_FILE", file.as_str()), ("AWS_PROFILE", "work")];
    let fips = [("AWS_USE_FIPS_ENDPOINT", "true")];
    let as_it_is = |b| b;
    assert_eq!(hosts(&own, |b| b.endpoint_url("http://g")).await, "g g g");
    assert_eq!(
        hosts(&own, as_it_is).await,
        "env-kinesis env-dynamodb env-cloudwatch"
    );
    assert_eq!(hosts(&own[..1], as_it_is).await, "env env env");
    assert_eq!(
        hosts(&work, as_it_is).await,
        "services services-dynamodb services-cloudwatch"
    );
    assert_eq!(
        hosts(&fips, as_it_is).await,
        "kinesis-fips.eu-west-1.amazonaws.com dynamodb-fips.eu-west-1.amazonaws.com \
         monitoring-fips.eu-west-1.amazonaws.com"
    );
    // What is said of one service says nothing of another.
    assert_eq!(
        hosts(&[], |b| b.kinesis_endpoint_url("http://k")).await,
        "k dynamodb.eu-west-1.amazonaws.com monitoring.eu-west-1.amazonaws.com"
    );
}

#[test]
fn fips_and_dual_stack_come_from_the_first_place_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let text = "[default]\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true\n";
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let load = |vars: &[(&str, &str)], set: fn(aws::ConfigBuilder) -> aws::ConfigBuilder| {
        let vars = vars.iter().copied();
        let config = Config::builder()
            .region("eu-west-1")
            .environment(Environment::fixed(vars.chain([("HOME", "/nonexistent")])));
        set(config).load().unwrap().kinesis_endpoint()
    };
    let files = ("AWS_CONFIG_FILE", file.as_str());
    let name = |name: &str| format!("https://{name}");
    let plain = name("kinesis.eu-west-1.amazonaws.com");
    let fips = name("kinesis-fips.eu-west-1.amazonaws.com");
    let dual = name("kinesis.eu-west-1.api.aws");
    assert_eq!(load(&[], |b| b), plain);
    assert_eq!(
        load(&[files], |b| b),
        name("kinesis-fips.eu-west-1.api.aws")
    );
    let not_fips = [files, ("AWS_USE_FIPS_ENDPOINT", "false")];
    assert_eq!(load(&not_fips, |b| b), dual);
    let not_dual = [files, ("AWS_USE_DUALSTACK_ENDPOINT", "False")];
    assert_eq!(load(&not_dual, |b| b), fips);
    let both = [
        ("AWS_USE_FIPS_ENDPOINT", "TRUE"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
    ];
    assert_eq!(load(&both, |b| b.use_fips(false)), dual);
    assert_eq!(load(&both, |b| b.use_dual_stack(false)), fips);
    assert_eq!(load(&[], |b| b.use_fips(true)), fips);
}

fn builder() -> aws::ConfigBuilder {
    Config::builder()
        .region("eu-west-1")
        .credentials(Credentials::new("AKID", "hush", None))
        .chance(Chance::seeded(1))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
}

async fn get_iterator(config: &Config) -> Error {
    Client::new(config)
        .get_shard_iterator("s", "shardId-0", &IteratorPosition::Latest)
        .await
        .unwrap_err()
}

/// What was asked for cannot have happened.
fn no_connection(error: &Error) {
    let source = match error {
        Error::Transport { source, .. } => Some(source),
        _ => None,
    };
    let connect = matches!(source, Some(TransportError::Connect(_)));
    assert!(connect, "{error}");
    assert!(!error.may_have_taken_effect());
}

/// The kernel takes the connection, and nobody answers the first message of TLS.
#[tokio::test]
async fn a_connection_must_stand_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = builder()
        .endpoint_url(format!("https://{}", silent.local_addr().unwrap()))
        .timeouts(Timeouts::default().with_connect(Duration::from_millis(50)))
        .retry(RetryPolicy::none())
        .load()
        .unwrap();
    no_connection(&get_iterator(&config).await);
}

#[tokio::test]
async fn why_there_is_no_connection_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = builder().endpoint_url(&url).retry(RetryPolicy::none());
    let error = get_iterator(&config.load().unwrap()).await;
    no_connection(&error);
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(&url), "{text}");
    assert!(text.to_lowercase().contains("refused"), "{text}");
}

fn in_process(status: Option<u16>, timeouts: Timeouts) -> (Config, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let transport = InProcess::new(move |_: http::Request<Bytes>| {
        counter.fetch_add(1, Relaxed);
        async move {
            let Some(status) = status else {
                return std::future::pending().await;
            };
            let mut response = http::Response::new(Bytes::new());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let ten = Duration::from_secs(10);
    let config = builder()
        .transport(Arc::new(transport))
        .timeouts(timeouts)
        .retry(RetryPolicy::unbounded(ten, ten))
        .load()
        .unwrap();
    (config, asked)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_tried_again_in_time_ends_with_what_is_known() {
    let timeouts = Timeouts::default().with_operation(Duration::from_secs(45));
    let (config, asked) = in_process(Some(500), timeouts);
    let began = Instant::now();
    let error = get_iterator(&config).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Transient, "HTTP 500".to_owned())
    );
    assert!(
        began.elapsed() < Duration::from_secs(45),
        "{:?}",
        began.elapsed()
    );
    assert!(
        asked.load(Relaxed) >= 3,
        "it was tried again while there was time"
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_and_calls_have_their_own_bounds() {
    let timeouts = Timeouts::default()
        .with_attempt(Duration::from_secs(7))
        .with_operation(Duration::from_secs(100));
    let (config, asked) = in_process(None, timeouts);
    let began = Instant::now();
    let error = get_iterator(&config.with_retry(RetryPolicy::none())).await;
    assert!(
        matches!(&error, Error::Timeout { after, .. } if after.as_secs() == 7),
        "{error}"
    );
    assert_eq!((began.elapsed().as_secs(), asked.load(Relaxed)), (7, 1));
    let timeouts = timeouts.with_attempt(Duration::from_secs(1_000));
    let error = get_iterator(&config.with_timeouts(timeouts)).await;
    assert!(
        matches!(&error, Error::Timeout { after, .. } if after.as_secs() == 100),
        "{error}"
    );
    assert_eq!((began.elapsed().as_secs(), asked.load(Relaxed)), (107, 2));
}
