//! Which host a request goes to.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

use aws::kinesis::{Client, IteratorPosition};
use aws::{Config, ConfigBuilder, Credentials, Environment, InProcess};
use bytes::Bytes;
use runtime::RetryPolicy;
use std::convert::Infallible;
use std::sync::Arc;

const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
const ID: &str = "abcdefghij0123456789-x7z";

type Seen = Arc<parking_lot::Mutex<Vec<String>>>;

/// A client whose requests all fail, and the host of each.
fn client(set: fn(ConfigBuilder) -> ConfigBuilder) -> (Client, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let transport = InProcess::new(move |request: http::Request<Bytes>| {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        assert_eq!(request.uri().host(), Some(host.as_str()));
        log.lock().push(host);
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        async { Ok::<_, Infallible>(response) }
    });
    let builder = Config::builder()
        .region("eu-west-1")
        .credentials(Credentials::new("AKID", "hush", None))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
        .transport(Arc::new(transport))
        .retry(RetryPolicy::none());
    (Client::new(&set(builder).load().unwrap()), seen)
}

const REGION: &str = "kinesis.eu-west-1.amazonaws.com";

/// Operations of both planes and one that names no stream, and the hosts that they went to.
async fn hosts(client: &Client, seen: &Seen) -> [String; 4] {
    let latest = IteratorPosition::Latest;
    assert!(client.put_records("s", &[]).await.is_err());
    assert!(client.list_shards("s", None).await.is_err());
    assert!(client.get_records("it", 1).await.is_err());
    assert!(client.list_streams().await.is_err());
    assert!(client.get_shard_iterator("s", "a", &latest).await.is_err());
    let hosts: Vec<String> = seen.lock().drain(..).collect();
    let [put, list, get, all, iterator] = hosts.try_into().unwrap();
    assert_eq!(put, iterator);
    [put, list, get, all]
}

#[tokio::test]
async fn by_default_everything_goes_to_the_regions_host() {
    let (client, seen) = client(|b| b);
    for stream in ["orders", ARN, ID] {
        let client = client.for_stream(stream);
        assert_eq!(hosts(&client, &seen).await, [REGION; 4]);
    }
}

#[tokio::test]
async fn accounts_and_streams_have_hosts_of_their_own_where_that_is_switched_on() {
    let (client, seen) = client(|b| b.account_hosts(true));
    assert_eq!(hosts(&client, &seen).await, [REGION; 4]);
    assert_eq!(
        hosts(&client.for_stream("orders"), &seen).await,
        [REGION; 4]
    );
    for (stream, owner) in [(ARN, "123456789012"), (ID, "abcdefghij0123456789.x7z")] {
        let data = format!("{owner}.data-kinesis.eu-west-1.amazonaws.com");
        let control = format!("{owner}.control-kinesis.eu-west-1.amazonaws.com");
        let client = client.for_stream(stream).with_retry(RetryPolicy::none());
        let expected = [data.as_str(), &control, &data, REGION];
        assert_eq!(hosts(&client, &seen).await, expected);
        assert_eq!(
            hosts(&client.for_stream("orders"), &seen).await,
            [REGION; 4]
        );
    }
    let error = client
        .for_stream(ARN)
        .get_records("it", 1)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("123456789012.data-kinesis"), "{text}");
}

#[tokio::test]
async fn a_url_that_was_given_is_the_only_host() {
    let (client, seen) = client(|b| b.account_hosts(true).endpoint_url("http://mine"));
    for stream in [ARN, ID] {
        assert_eq!(hosts(&client.for_stream(stream), &seen).await, ["mine"; 4]);
    }
}
