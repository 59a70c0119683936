//! Signatures as the service computes them, and what a refused signature leads to.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helper may stop the test"
)]

use aws::kinesis::{Client, IteratorPosition};
use aws::{Config, Credentials, Environment, Error, ErrorKind, InProcess};
use bytes::Bytes;
use mockito::Server;
use ring::{digest, hmac};
use runtime::time::from_epoch_millis;
use runtime::{ManualClock, RetryPolicy};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEXAMPLETOKEN";
/// 2023-11-14 22:13:20 UTC
const NOW: u64 = 1_700_000_000_000;

fn builder() -> aws::ConfigBuilder {
    Config::builder()
        .region("eu-west-1")
        .credentials(Credentials::new("AKID", SECRET, Some(TOKEN.to_owned())))
        .clock(Arc::new(ManualClock::new(from_epoch_millis(NOW))))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
        .retry(
            RetryPolicy::default().with_delays(Duration::from_millis(1), Duration::from_millis(1)),
        )
}

async fn get_iterator(config: &Config) -> Result<String, Error> {
    Client::new(config)
        .get_shard_iterator("s", "shardId-0", &IteratorPosition::Latest)
        .await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn signing_key(secret: &str, scope: [&str; 4]) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    scope.iter().fold(first, |key, part| mac(&key, part))
}

/// The signature of a request to the root path, step by step as the service's documentation has it.
fn signature(header: &dyn Fn(&str) -> String, body: &[u8], signed: &str, scope: &str) -> String {
    let headers: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", header(name)))
        .collect();
    let canonical = format!("POST\n/\n\n{headers}\n{signed}\n{}", sha256(body));
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        header("x-amz-date"),
        sha256(canonical.as_bytes())
    );
    let parts: Vec<&str> = scope.split('/').collect();
    let key = signing_key(SECRET, [parts[0], parts[1], parts[2], parts[3]]);
    hex(&mac(&key, &text))
}

/// The example of the service's documentation on deriving a signing key.
#[test]
fn the_tests_own_derivation_is_the_documented_one() {
    let key = signing_key(SECRET, ["20150830", "us-east-1", "iam", "aws4_request"]);
    assert_eq!(
        hex(&key),
        "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    );
}

#[tokio::test]
async fn the_signature_is_the_one_that_the_service_computes() {
    let mut server = Server::new_async().await;
    let mock = server
        .mock("POST", "/")
        .match_request(|request| {
            let header = |name: &str| {
                let values = request.header(name);
                values[0].to_str().unwrap().to_owned()
            };
            let authorization = header("authorization");
            let field = |name: &str| {
                let (_, rest) = authorization.split_once(name).unwrap();
                rest.split(',').next().unwrap().to_owned()
            };
            let scope = field("Credential=AKID/");
            let signed = field("SignedHeaders=");
            assert_eq!(scope, "20231114/eu-west-1/kinesis/aws4_request");
            assert!(signed.contains("x-amz-security-token"), "{signed}");
            let wanted = signature(&header, request.body().unwrap(), &signed, &scope);
            assert_eq!(field("Signature="), wanted);
            true
        })
        .with_body(b"\xa1\x6dShardIterator\x62it")
        .create_async()
        .await;
    let config = builder().endpoint_url(server.url()).load().unwrap();
    assert_eq!(get_iterator(&config).await.unwrap(), "it");
    mock.assert_async().await;
}

/// An endpoint in process that refuses every signature, with a text and dates of its own.
fn refusing(text: String, dates: &'static [&'static str]) -> (Config, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let transport = InProcess::new(move |_: http::Request<Bytes>| {
        let n = counter.fetch_add(1, Relaxed);
        let body = format!(r#"{{"__type":"InvalidSignatureException","message":"{text}"}}"#);
        let mut response = http::Response::new(Bytes::from(body));
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        if !dates.is_empty() {
            let date = http::HeaderValue::from_static(dates[n % dates.len()]);
            response.headers_mut().insert("date", date);
        }
        async { Ok::<_, Infallible>(response) }
    });
    let config = builder().transport(Arc::new(transport)).load().unwrap();
    (config, asked)
}

#[tokio::test(start_paused = true)]
async fn an_answerer_whose_clock_jumps_is_not_asked_for_ever() {
    const DATES: &[&str] = &[
        "Tue, 14 Nov 2023 23:13:20 GMT",
        "Tue, 14 Nov 2023 20:13:20 GMT",
    ];
    let (config, asked) = refusing("Signature expired".to_owned(), DATES);
    let error = get_iterator(&config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credential);
    assert_eq!(
        asked.load(Relaxed),
        3,
        "again with new keys, again by a new clock"
    );
    let (config, asked) = refusing("The signature does not match".to_owned(), &[]);
    get_iterator(&config).await.unwrap_err();
    assert_eq!(asked.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn the_session_token_that_a_refusal_quotes_is_in_no_error() {
    let text =
        format!("The Canonical String should have been 'POST / x-amz-security-token:{TOKEN}'");
    let (config, _) = refusing(text, &[]);
    let error = get_iterator(&config).await.unwrap_err();
    for shown in [error.to_string(), format!("{error:?}")] {
        assert!(shown.contains("The Canonical String"), "{shown}");
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}
