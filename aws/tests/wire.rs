//! What goes over the wire, and what each answer becomes: against a server that says what it is told.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helper may stop the test"
)]

#[path = "support/wire.rs"]
mod support;

use aws::dynamodb::{AttributeValue, PutItem, UpdateItem, condition_failed_item};
use aws::kinesis::PutRecordsEntry;
use aws::{Config, Credentials, Environment, Error, ErrorKind, Timeouts, TransportError};
use mockito::{Matcher, Server, ServerGuard};
use runtime::RetryPolicy;
use std::io::{Read, Write};
use std::time::Duration;
use support::{builder, signed};

const CBOR: &str = "application/x-amz-cbor-1.1";
const JSON: &str = "application/x-amz-json-1.0";
fn quick() -> RetryPolicy {
    RetryPolicy::default().with_delays(Duration::from_millis(1), Duration::from_millis(2))
}

fn config(url: &str) -> Config {
    builder(url)
        .retry(quick().with_max_retries(2))
        .load()
        .expect("a configuration")
}

async fn server() -> ServerGuard {
    Server::new_async().await
}

/// `{"ShardIterator": "it"}`
fn iterator() -> Vec<u8> {
    [b"\xa1\x6d", b"ShardIterator".as_slice(), b"\x62it"].concat()
}

async fn get_iterator(config: &Config) -> Result<String, Error> {
    let kinesis = aws::kinesis::Client::new(config);
    kinesis
        .get_shard_iterator("s", "shardId-0", &aws::kinesis::IteratorPosition::Latest)
        .await
}

#[tokio::test]
async fn requests_are_signed_cbor_to_the_root() {
    let mut server = server().await;
    let host = server.host_with_port();
    let mock = server
        .mock("POST", "/")
        .match_header("host", host.as_str())
        .match_header("content-type", CBOR)
        .match_header("x-amz-target", "Kinesis_20131202.PutRecords")
        .match_header("x-amz-date", "20231114T221320Z")
        .match_header("authorization", signed())
        .match_request(|request| {
            // {"StreamName": "s", "Records": [{"Data": h'010203', "PartitionKey": "k"}]}
            let expected = [
                &b"\xa2\x6aStreamName\x61s\x67Records\x81\xa2\x64Data\x43\x01\x02\x03"[..],
                &b"\x6cPartitionKey\x61k"[..],
            ];
            request.body().is_ok_and(|body| *body == expected.concat())
        })
        .with_header("content-type", CBOR)
        // {"FailedRecordCount": 0, "Records": [{"SequenceNumber": "9", "ShardId": "a"}]}
        .with_body(
            [
                &b"\xa2\x71FailedRecordCount\x00\x67Records\x81\xa2\x6eSequenceNumber\x619"[..],
                &b"\x67ShardId\x61a"[..],
            ]
            .concat(),
        )
        .create_async()
        .await;
    let kinesis = aws::kinesis::Client::new(&config(&server.url()));
    let segments = [(&[1, 2]).into(), (&[3]).into()];
    let entry = PutRecordsEntry {
        partition_key: "k",
        explicit_hash_key: None,
        data: &segments,
    };
    let output = kinesis.put_records("s", &[entry]).await.unwrap();
    assert_eq!(output.records.len(), 1);
    mock.assert_async().await;
}

#[tokio::test]
async fn the_session_token_is_sent_and_signed() {
    let mut server = server().await;
    let mock = server
        .mock("POST", "/")
        .match_header("x-amz-security-token", "token")
        .match_header(
            "authorization",
            Matcher::Regex("x-amz-security-token".to_owned()),
        )
        .with_body(iterator())
        .create_async()
        .await;
    let config = Config::builder()
        .region("eu-west-1")
        .endpoint_url(server.url())
        .credentials(Credentials::new("AKID", "hush", Some("token".to_owned())))
        .load()
        .unwrap();
    assert_eq!(get_iterator(&config).await.unwrap(), "it");
    mock.assert_async().await;
}

#[tokio::test]
async fn errors_are_named_in_cbor_in_json_and_by_header() {
    let cbor = b"\xa2\x66__type\x78\x18ExpiredIteratorException\x67message\x63old";
    let json = br#"{"__type":"com.amazonaws.kinesis#ExpiredIteratorException","message":"old"}"#;
    for (body, header) in [
        (&cbor[..], None),
        (&json[..], None),
        (&b""[..], Some("ExpiredIteratorException:http://somewhere")),
    ] {
        let mut server = server().await;
        let mut mock = server.mock("POST", "/").with_status(400).with_body(body);
        if let Some(name) = header {
            mock = mock.with_header("x-amzn-errortype", name);
        }
        let mock = mock
            .with_header("x-amzn-requestid", "id-1")
            .expect(1)
            .create_async()
            .await;
        let error = get_iterator(&config(&server.url())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ExpiredIterator, "{error}");
        assert!(error.to_string().contains("(request id-1)"), "{error}");
        assert!(!error.may_have_taken_effect());
        mock.assert_async().await;
    }
}

#[tokio::test]
async fn passing_faults_are_tried_again_and_signed_anew_each_time() {
    let mut server = server().await;
    let failing = server
        .mock("POST", "/")
        .with_status(500)
        .expect(2)
        .create_async()
        .await;
    let good = server
        .mock("POST", "/")
        .with_body(iterator())
        .expect(1)
        .create_async()
        .await;
    assert_eq!(get_iterator(&config(&server.url())).await.unwrap(), "it");
    failing.assert_async().await;
    good.assert_async().await;
}

#[tokio::test]
async fn the_last_error_is_given_when_no_retry_is_left() {
    let mut server = server().await;
    let mock = server
        .mock("POST", "/")
        .with_status(503)
        .expect(3)
        .create_async()
        .await;
    let error = get_iterator(&config(&server.url())).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code().as_str()),
        (ErrorKind::Transient, "HTTP 503")
    );
    assert!(error.may_have_taken_effect());
    mock.assert_async().await;
}

#[tokio::test]
async fn a_wrong_request_is_sent_once() {
    let mut server = server().await;
    let mock = server
        .mock("POST", "/")
        .with_status(400)
        .with_body(r#"{"__type":"ResourceNotFoundException","message":"Stream s not found"}"#)
        .expect(1)
        .create_async()
        .await;
    let error = get_iterator(&config(&server.url())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("Stream s not found"), "{error}");
    mock.assert_async().await;
}

#[tokio::test]
async fn garbage_in_place_of_an_answer_is_an_error_that_says_so() {
    for body in [&b""[..], b"<html>proxy</html>", &iterator()[..10], b"\xa0"] {
        let mut server = server().await;
        server
            .mock("POST", "/")
            .with_body(body)
            .expect_at_least(1)
            .create_async()
            .await;
        let error = get_iterator(&config(&server.url())).await.unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
        assert!(error.may_have_taken_effect());
    }
}

#[tokio::test]
async fn expired_credentials_are_asked_for_again_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let write = |id: &str| {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = x\n");
        std::fs::write(&file, text).unwrap();
    };
    write("OLD");
    let mut server = server().await;
    let expired = r#"{"__type":"ExpiredTokenException","message":"The security token expired"}"#;
    let by = |id: &str| Matcher::Regex(format!("Credential={id}/"));
    let old = server
        .mock("POST", "/")
        .match_header("authorization", by("OLD"))
        .with_status(400)
        .with_body(expired)
        .expect_at_least(1)
        .create_async()
        .await;
    let new = server
        .mock("POST", "/")
        .match_header("authorization", by("NEW"))
        .with_body(iterator())
        .create_async()
        .await;
    let env = [("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string())];
    let config = Config::builder()
        .region("eu-west-1")
        .endpoint_url(server.url())
        .environment(Environment::fixed(env))
        .retry(quick())
        .load()
        .unwrap();
    let kinesis = aws::kinesis::Client::new(&config);
    let latest = aws::kinesis::IteratorPosition::Latest;
    let error = kinesis
        .get_shard_iterator("s", "a", &latest)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credential);
    assert!(
        error.to_string().contains("The security token expired"),
        "{error}"
    );
    old.assert_async().await;
    write("NEW");
    assert_eq!(
        kinesis.get_shard_iterator("s", "a", &latest).await.unwrap(),
        "it"
    );
    new.assert_async().await;
}

#[tokio::test]
async fn a_wrong_clock_is_mended_by_the_date_of_the_refusal() {
    let mut server = server().await;
    let refused = server
        .mock("POST", "/")
        .match_header("x-amz-date", "20231114T221320Z")
        .with_status(400)
        .with_header("date", "Tue, 14 Nov 2023 23:13:20 GMT")
        .with_body(r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#)
        .expect(1)
        .create_async()
        .await;
    let good = server
        .mock("POST", "/")
        .match_header("x-amz-date", "20231114T231320Z")
        .with_body(iterator())
        .expect(2)
        .create_async()
        .await;
    let config = config(&server.url());
    assert_eq!(get_iterator(&config).await.unwrap(), "it");
    assert_eq!(
        get_iterator(&config).await.unwrap(),
        "it",
        "other clients know it too"
    );
    refused.assert_async().await;
    good.assert_async().await;
}

#[tokio::test]
async fn dynamodb_speaks_json_and_a_failed_condition_brings_the_row() {
    let mut server = server().await;
    let mock = server
        .mock("POST", "/")
        .match_header("content-type", JSON)
        .match_header("x-amz-target", "DynamoDB_20120810.UpdateItem")
        .match_header(
            "authorization",
            Matcher::Regex("/dynamodb/aws4_request".to_owned()),
        )
        .match_body(Matcher::PartialJsonString(
            r#"{"TableName":"t","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}"#.to_owned(),
        ))
        .with_status(400)
        .with_body(
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
               "message":"The conditional request failed",
               "Item":{"leaseKey":{"S":"a"},"leaseCounter":{"N":"7"}}}"#,
        )
        .expect(1)
        .create_async()
        .await;
    let dynamodb = aws::dynamodb::Client::new(&config(&server.url()));
    let error = dynamodb
        .update_item(&UpdateItem {
            table_name: "t".to_owned(),
            condition_expression: Some("attribute_exists(leaseKey)".to_owned()),
            update_expression: "SET a = b".to_owned(),
            ..UpdateItem::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConditionFailed);
    let item = condition_failed_item(&error).unwrap();
    assert_eq!(item["leaseCounter"], AttributeValue::n(7));
    mock.assert_async().await;
}

#[tokio::test]
async fn throttled_writes_are_tried_again() {
    let mut server = server().await;
    let throttled = server
        .mock("POST", "/")
        .with_status(400)
        .with_body(r#"{"__type":"ProvisionedThroughputExceededException","message":"slow"}"#)
        .expect(1)
        .create_async()
        .await;
    let good = server
        .mock("POST", "/")
        .with_body("{}")
        .expect(1)
        .create_async()
        .await;
    let dynamodb = aws::dynamodb::Client::new(&config(&server.url()));
    dynamodb
        .put_item(&PutItem {
            table_name: "t".to_owned(),
            ..PutItem::default()
        })
        .await
        .unwrap();
    throttled.assert_async().await;
    good.assert_async().await;
}

/// A server for one connection after the other that says `answer` and then keeps the connection for
/// `hold`, or closes it at once.
fn raw_server(answer: Vec<u8>, hold: bool) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else {
                return;
            };
            let mut request = [0; 4096];
            let _ = connection.read(&mut request);
            let _ = connection.write_all(&answer);
            if hold {
                held.push(connection);
            }
        }
    });
    url
}

#[tokio::test]
async fn a_body_cut_off_is_a_lost_connection() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let url = raw_server([&head[..], &iterator()].concat(), false);
    let error = get_iterator(&config(&url)).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Transport {
                source: TransportError::Lost(_),
                ..
            }
        ),
        "{error}"
    );
    assert!(error.may_have_taken_effect() && error.is_retryable());
}

#[tokio::test]
async fn a_body_that_trickles_out_is_given_up() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let url = raw_server([&head[..], &iterator()].concat(), true);
    let config = config(&url)
        .with_timeouts(Timeouts::default().with_attempt(Duration::from_millis(100)))
        .with_retry(RetryPolicy::none());
    let error = get_iterator(&config).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("100ms"), "{error}");
}

#[tokio::test]
async fn a_call_ends_in_time_whatever_an_attempt_may_take() {
    let url = raw_server(Vec::new(), true);
    let timeouts = Timeouts::default()
        .with_attempt(Duration::from_secs(60))
        .with_operation(Duration::from_millis(150));
    let config = config(&url).with_timeouts(timeouts);
    let error = get_iterator(&config).await.unwrap_err();
    assert!(error.to_string().contains("150ms"), "{error}");
}

#[test]
fn a_missing_region_lists_the_places_looked_at() {
    let env = Environment::fixed([("HOME", "/nonexistent")]);
    let error = Config::builder()
        .environment(env)
        .load()
        .unwrap_err()
        .to_string();
    for place in [
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "default",
        "/nonexistent/.aws/config",
    ] {
        assert!(error.contains(place), "{place}: {error}");
    }
    let env = Environment::fixed([("AWS_REGION", "eu west")]);
    let error = Config::builder()
        .environment(env)
        .load()
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"eu west\""), "{error}");
}

#[test]
fn regions_are_looked_for_in_order() {
    let env = |vars: &[(&str, &str)]| {
        Environment::fixed(vars.iter().copied().chain([("HOME", "/nonexistent")]))
    };
    let region = |env| {
        Config::builder()
            .environment(env)
            .load()
            .unwrap()
            .region()
            .to_owned()
    };
    assert_eq!(
        region(env(&[("AWS_REGION", "a-1"), ("AWS_DEFAULT_REGION", "b-1")])),
        "a-1"
    );
    assert_eq!(region(env(&[("AWS_DEFAULT_REGION", "b-1")])), "b-1");
}

#[test]
fn secrets_are_in_no_debug() {
    let config = config("http://127.0.0.1:1");
    assert!(config.clock().now() > std::time::SystemTime::UNIX_EPOCH);
    let kinesis = aws::kinesis::Client::new(&config);
    for shown in [format!("{config:?}"), format!("{kinesis:?}")] {
        assert!(!shown.contains("hush"), "{shown}");
    }
}
