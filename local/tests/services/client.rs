//! A client of the tests' own, with a signer that is written from the service's documentation.

use bytes::Bytes;
use http::{Request, Response};
use local::{Limits, Local, LocalOptions};
use ring::{digest, hmac};
use runtime::ManualClock;
use runtime::time::from_epoch_millis;
use serde_json::Value;
use std::sync::Arc;

/// 2023-11-14 22:13:20 UTC, where the tests' clocks start, in milliseconds since the epoch.
pub(crate) const T0: u64 = 1_700_000_000_000;
pub(crate) const AT: &str = "20231114T221320Z";
pub(crate) const JSON: &str = "application/x-amz-json-1.1";

/// An endpoint without limits, on a clock that stands until it is moved.
pub(crate) fn held(options: LocalOptions) -> (Local, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(from_epoch_millis(T0)));
    let local = Local::new(LocalOptions {
        clock: Some(Arc::<ManualClock>::clone(&clock) as _),
        limits: Limits::Off,
        ..options
    })
    .unwrap();
    (local, clock)
}

pub(crate) fn plain() -> Local {
    held(LocalOptions::default()).0
}

pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::post(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A request to a service by its target, in JSON.
pub(crate) fn aimed(target: &str, body: &Value) -> Request<Bytes> {
    let headers = [("x-amz-target", target), ("content-type", JSON)];
    post("/", &headers, body.to_string())
}

pub(crate) fn kinesis(operation: &str, body: &Value) -> Request<Bytes> {
    aimed(&format!("Kinesis_20131202.{operation}"), body)
}

pub(crate) fn dynamodb(operation: &str, body: &Value) -> Request<Bytes> {
    aimed(&format!("DynamoDB_20120810.{operation}"), body)
}

/// The status and the body of an answer that came.
pub(crate) async fn ask(local: &Local, request: Request<Bytes>) -> (u16, Value) {
    let response = local.handle(request).await.unwrap();
    (response.status().as_u16(), json_of(&response))
}

pub(crate) fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

pub(crate) async fn good(local: &Local, request: Request<Bytes>) -> Value {
    let (status, answer) = ask(local, request).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The short name of an error, of whichever service.
pub(crate) fn error_of(answer: &Value) -> &str {
    let name = answer["__type"].as_str().unwrap();
    name.rsplit('#').next().unwrap()
}

pub(crate) fn base64(data: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(data)
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

/// Signs a request to a path without query, with all its headers.
pub(crate) fn sign(
    mut request: Request<Bytes>,
    (id, secret): (&str, &str),
    service: &str,
    at: &str,
) -> Request<Bytes> {
    request
        .headers_mut()
        .insert("x-amz-date", at.parse().unwrap());
    let mut names: Vec<String> = request.headers().keys().map(ToString::to_string).collect();
    names.sort();
    let headers: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", request.headers()[name].to_str().unwrap()))
        .collect();
    let signed = names.join(";");
    let canonical = format!(
        "{}\n{}\n\n{headers}\n{signed}\n{}",
        request.method(),
        request.uri().path(),
        sha256(request.body())
    );
    let date = &at[..8];
    let scope = format!("{date}/us-east-1/{service}/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{at}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| mac(&key, part));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={}",
        hex(&mac(&key, &text))
    );
    let value = authorization.parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}
