//! No log shows a secret, whatever its level, also those of dependencies.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

#[path = "support/captured.rs"]
mod captured;

use aws::kinesis::{Client, IteratorPosition};
use aws::{Config, Credentials, Environment};
use captured::Captured;
use mockito::Server;
use tracing_subscriber::filter::LevelFilter;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEXAMPLETOKEN";
const PASSWORD: &str = "proxy-pass-word";

#[tokio::test]
async fn no_log_of_any_level_shows_a_secret() {
    let captured = Captured::from_now(LevelFilter::TRACE);
    let mut server = Server::new_async().await;
    let refusal = format!(
        r#"{{"__type":"InvalidSignatureException","message":"x-amz-security-token:{TOKEN}"}}"#
    );
    for (status, body) in [(503, String::new()), (400, refusal)] {
        server
            .mock("POST", "/")
            .with_status(status)
            .with_body(body)
            .expect(1)
            .create_async()
            .await;
    }
    let config = Config::builder()
        .region("eu-west-1")
        .endpoint_url(server.url())
        .credentials(Credentials::new("AKID", SECRET, Some(TOKEN.to_owned())))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
        .load()
        .unwrap();
    let error = Client::new(&config)
        .get_shard_iterator("s", "shardId-0", &IteratorPosition::Latest)
        .await
        .unwrap_err();
    tracing::error!(%error, ?error, ?config, "failed");
    // Nobody listens there.
    let login = format!("http://me:{PASSWORD}@127.0.0.1:1");
    let behind_proxy = Config::builder()
        .region("eu-west-1")
        .credentials(Credentials::new("AKID", SECRET, None))
        .environment(Environment::fixed([("HTTPS_PROXY", login.as_str())]))
        .retry(runtime::RetryPolicy::none())
        .load()
        .unwrap();
    let error = Client::new(&behind_proxy).list_streams().await.unwrap_err();
    tracing::error!(%error, ?error, ?behind_proxy, "failed");
    // A container's credentials, from their source to the signature.
    let body =
        format!(r#"{{"AccessKeyId":"AKID","SecretAccessKey":"{SECRET}","Token":"{TOKEN}"}}"#);
    let source = server.mock("GET", "/credentials").with_body(body);
    source.create_async().await;
    let full_uri = format!("{}/credentials", server.url());
    let in_container = Config::builder()
        .region("eu-west-1")
        .endpoint_url(server.url())
        .environment(Environment::fixed([
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full_uri.as_str()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", PASSWORD),
        ]))
        .retry(runtime::RetryPolicy::none())
        .load()
        .unwrap();
    let error = Client::new(&in_container).list_streams().await.unwrap_err();
    assert!(matches!(error, aws::Error::Service(_)), "{error}");
    tracing::error!(%error, ?error, ?in_container, "failed");
    let logged = captured.text();
    for seen in [
        "signing request",
        "canonical_request",
        "trying again",
        "hyper",
    ] {
        assert!(logged.contains(seen), "the logs are not seen: {seen}");
    }
    for secret in [SECRET, TOKEN, PASSWORD] {
        // mockito shares the process, and tells of the headers that it received.
        for line in logged.lines().filter(|line| !line.contains("mockito")) {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
