//! Signatures, checked on request: over real sockets, HTTP/1.1 and HTTP/2, and for each service.

use crate::client::{AT, T0, base64, held, kinesis, post, sign};
use crate::http2;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use local::{AccessKey, Local, LocalOptions};
use runtime::ManualClock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

const KEY: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");

fn checking() -> (Local, Arc<ManualClock>) {
    let (local, clock) = held(LocalOptions {
        verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
        ..LocalOptions::default()
    });
    local.create_stream("s", 1).unwrap();
    (local, clock)
}

fn put() -> Request<Bytes> {
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"x")});
    kinesis("PutRecord", &body)
}

fn verdict(response: &Response<Bytes>) -> (u16, String) {
    let tree: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    let name = tree["__type"].as_str().unwrap_or_default();
    (response.status().as_u16(), name.to_owned())
}

async fn over_http_1(addr: std::net::SocketAddr, request: Request<Bytes>) -> Response<Bytes> {
    let socket = TcpStream::connect(addr).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let response = client.send_request(request.map(Full::new)).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(client);
    driver.await.unwrap().unwrap();
    Response::from_parts(head, body)
}

#[tokio::test]
async fn wrong_expired_and_unsigned_requests_are_refused() {
    let (local, clock) = checking();
    let server = local
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let send = async |request| verdict(&over_http_1(server.addr(), request).await);
    let signed = || sign(put(), KEY, "kinesis", AT);
    let refused = |name: &str| (400, name.to_owned());
    assert_eq!(send(signed()).await.0, 200);
    assert_eq!(
        send(put()).await,
        refused("MissingAuthenticationTokenException")
    );
    let stranger = sign(put(), ("NOBODY", KEY.1), "kinesis", AT);
    assert_eq!(send(stranger).await, refused("UnrecognizedClientException"));
    let wrong = sign(put(), (KEY.0, "wrong"), "kinesis", AT);
    assert_eq!(send(wrong).await, refused("InvalidSignatureException"));
    let tampered = signed().map(|body| {
        let mut bytes = body.to_vec();
        let position = bytes.windows(4).position(|w| w == b"eA==").unwrap();
        bytes[position] = b'f';
        Bytes::from(bytes)
    });
    assert_eq!(send(tampered).await, refused("InvalidSignatureException"));
    assert_eq!(local.records("s").len(), 1);
    clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(send(signed()).await.0, 200);
    clock.advance(Duration::from_secs(1));
    let late = over_http_1(server.addr(), signed()).await;
    assert_eq!(verdict(&late), refused("InvalidSignatureException"));
    let text = String::from_utf8_lossy(late.body()).into_owned();
    assert!(text.contains("Signature expired"), "{text}");
    // Whoever looks after the endpoint needs no key.
    let journal = Request::get("/_local/journal").body(Bytes::new()).unwrap();
    let journal = local.handle(journal).await.unwrap();
    assert_eq!(journal.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn http_2_has_an_authority_in_place_of_a_host() {
    let (local, _) = checking();
    let server = local
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let socket = TcpStream::connect(server.addr()).await.unwrap();
    let (mut client, driver) = http2::over(socket).await;
    let mut request = sign(put(), KEY, "kinesis", AT);
    // The signed host goes where HTTP/2 has it.
    request.headers_mut().remove("host");
    *request.uri_mut() = "http://localhost/".parse().unwrap();
    let response = client.send_request(request.map(Full::new)).await.unwrap();
    assert_eq!(response.status(), 200);
    drop(response);
    drop(client);
    driver.await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn each_service_has_its_scope_and_its_names() {
    let (local, _) = checking();
    let json10 = "application/x-amz-json-1.0";
    let form = "application/x-www-form-urlencoded";
    let identity = || {
        let headers = [("content-type", form)];
        post("/", &headers, "Action=GetCallerIdentity&Version=2011-06-15")
    };
    let tables = || {
        let headers = [
            ("x-amz-target", "DynamoDB_20120810.ListTables"),
            ("content-type", json10),
        ];
        post("/", &headers, "{}")
    };
    let metric = || {
        let path = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
        let headers = [
            ("smithy-protocol", "rpc-v2-cbor"),
            ("content-type", "application/cbor"),
        ];
        // {"Namespace": "N", "MetricData": [{"MetricName": "m", "Value": 1}]}
        let body = b"\xa2\x69Namespace\x61N\x6aMetricData\x81\xa2\x6aMetricName\x61m\x65Value\x01";
        post(path, &headers, &body[..])
    };
    for (request, scope) in [
        (tables(), "dynamodb"),
        (metric(), "monitoring"),
        (identity(), "sts"),
    ] {
        let answer = local.handle(sign(request, KEY, scope, AT)).await.unwrap();
        assert_eq!(answer.status(), 200, "{scope}: {:?}", answer.body());
    }
    let strange = local
        .handle(sign(tables(), KEY, "kinesis", AT))
        .await
        .unwrap();
    assert_eq!(verdict(&strange).1, "InvalidSignatureException");
    for (request, status, code) in [
        (identity(), 403, "MissingAuthenticationToken"),
        (
            sign(identity(), (KEY.0, "wrong"), "sts", AT),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            sign(identity(), ("NOBODY", "x"), "sts", AT),
            403,
            "InvalidClientTokenId",
        ),
    ] {
        let answer = local.handle(request).await.unwrap();
        assert_eq!(answer.status(), status);
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
    }
}

#[tokio::test]
async fn a_key_that_assume_role_gave_out_counts() {
    let (local, _) = checking();
    let body = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=worker&\
                RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Freader";
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let asked = sign(post("/", &headers, body), KEY, "sts", AT);
    let answer = local.handle(asked).await.unwrap();
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let of = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    let (id, secret) = (of("AccessKeyId"), of("SecretAccessKey"));
    assert_eq!(of("Expiration"), "2023-11-14T23:13:20Z");
    let request = sign(put(), (&id, &secret), "kinesis", AT);
    assert_eq!(local.handle(request).await.unwrap().status(), 200);
    let wrong = sign(put(), (&id, "wrong"), "kinesis", AT);
    assert_eq!(local.handle(wrong).await.unwrap().status(), 400);
    let roles = local.assumed_roles();
    assert_eq!(roles[0].access_key_id, id);
    assert_eq!(roles[0].caller.as_deref(), Some(KEY.0));
    let expires = runtime::time::epoch_millis(roles[0].expires);
    assert_eq!(expires, T0 + 3_600_000);
    // And it tells who is behind it.
    let who = post("/", &headers, "Action=GetCallerIdentity&Version=2011-06-15");
    let who = sign(who, (&id, &secret), "sts", AT);
    let who = local.handle(who).await.unwrap();
    let who = String::from_utf8_lossy(who.body()).into_owned();
    let arn = "<Arn>arn:aws:sts::000000000000:assumed-role/reader/worker</Arn>";
    assert!(who.contains(arn), "{who}");
}
