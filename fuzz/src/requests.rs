//! The endpoint's decoders. Each target takes bytes, makes them a request to an endpoint that has a
//! stream, a consumer and some records, and looks at the answer: never a server's error, always
//! readable in the protocol that was spoken; and the next caller is served.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use local::{AccessKey, Fault, Limits, Local, LocalOptions};
use runtime::ManualClock;
use runtime::time::from_epoch_millis;
use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Where the clock stands: iterators and tokens of a corpus stay good.
const T0: u64 = 1_700_000_000_000;
const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";
const FORM: &str = "application/x-www-form-urlencoded";
/// Events that are read of one subscription.
const EVENTS: usize = 8;

thread_local! {
    /// An endpoint that the last input has not changed: to make one takes longer than all else.
    static UNCHANGED: RefCell<Option<(Local, Arc<ManualClock>)>> = const { RefCell::new(None) };
    /// One that lets nobody in.
    static VERIFYING: RefCell<Option<(Local, Arc<ManualClock>)>> = const { RefCell::new(None) };
}

/// The first line names the operation of Kinesis, or a whole target (`DynamoDB_20120810.Query`); the rest
/// is the body, in JSON.
pub fn json(input: &[u8]) {
    encoded(input, JSON, is_json);
}

/// The same in CBOR.
pub fn cbor(input: &[u8]) {
    encoded(input, CBOR, is_cbor);
}

fn encoded(input: &[u8], kind: &str, is_readable: fn(&[u8]) -> bool) {
    let (name, body) = first_line(input);
    let target = if name.contains('.') {
        name.to_owned()
    } else {
        format!("Kinesis_20131202.{name}")
    };
    let headers = [("x-amz-target", target.as_str()), ("content-type", kind)];
    let (local, clock) = endpoint();
    let Some(answer) = ask(&local, &headers, body) else {
        return;
    };
    // An event stream is what `subscribe` reads.
    if answer.headers()["content-type"] == kind && !answer.body().is_empty() {
        assert!(is_readable(answer.body()), "{:?}", answer.body());
    }
    is_still_served(&local);
    keep_unless(answer.status() == 200, local, clock);
}

/// The first line is `json` or `cbor`; the rest is the body of a SubscribeToShard. What is subscribed to
/// is read to its end: each frame is whole, its checksums are right, and its length is what it says.
pub fn subscribe(input: &[u8]) {
    let (encoding, body) = first_line(input);
    let kind = if encoding == "cbor" { CBOR } else { JSON };
    let (local, clock) = endpoint();
    let headers = [
        ("x-amz-target", "Kinesis_20131202.SubscribeToShard"),
        ("content-type", kind),
    ];
    let Some(request) = request(&headers, body) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _time = runtime.enter();
    let answer = now(local.handle_streaming(request)).unwrap().unwrap();
    assert!(answer.status().as_u16() < 500);
    let (head, mut body) = answer.into_parts();
    if head.status != 200 {
        keep_unless(false, local, clock);
        return;
    }
    assert_eq!(
        head.headers["content-type"],
        "application/vnd.amazon.eventstream"
    );
    let mut ended = false;
    for _ in 0..EVENTS {
        match now(body.frame()) {
            Some(Some(frame)) => is_frame(&frame.unwrap().into_data().unwrap()),
            Some(None) => {
                ended = true;
                break;
            }
            None => clock.advance(Duration::from_secs(400)),
        }
    }
    assert!(ended, "five minutes are over, and nothing was left to read");
    is_still_served(&local);
}

/// The first line says what is spoken: `form`, `rpc` (CloudWatch in CBOR), `json TARGET`, `cbor TARGET`, with
/// `gzip` behind it when the rest, the body, is compressed. Firehose, CloudWatch and STS keep what they
/// take.
pub fn recorders(input: &[u8]) {
    let (line, body) = first_line(input);
    let mut words = line.split(' ');
    let (kind, named) = match words.next() {
        Some("form") => (FORM, false),
        Some("rpc") => ("application/cbor", false),
        Some("cbor") => (CBOR, true),
        _ => ("application/x-amz-json-1.0", true),
    };
    let target = if named {
        words.next().unwrap_or_default()
    } else {
        ""
    };
    let mut headers = vec![("content-type", kind)];
    if !target.is_empty() {
        headers.push(("x-amz-target", target));
    }
    if words.next() == Some("gzip") {
        headers.push(("content-encoding", "gzip"));
    }
    let path = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
    let path = if kind == "application/cbor" {
        path
    } else {
        "/"
    };
    if kind == "application/cbor" {
        headers.push(("smithy-protocol", "rpc-v2-cbor"));
    }
    let (local, clock) = endpoint();
    let Some(mut request) = request(&headers, body) else {
        return;
    };
    *request.uri_mut() = path.parse().unwrap();
    let answer = now(local.handle(request)).unwrap().unwrap();
    assert!(answer.status().as_u16() < 500, "{answer:?}");
    let bytes = answer.body();
    let readable = match answer.headers()["content-type"].to_str().unwrap() {
        "text/xml" => std::str::from_utf8(bytes).is_ok(),
        "application/cbor" | CBOR => bytes.is_empty() || is_cbor(bytes),
        _ => bytes.is_empty() || is_json(bytes),
    };
    assert!(readable, "{bytes:?}");
    // What was taken can be shown.
    for place in ["firehose", "cloudwatch", "sts"] {
        let shown = Request::get(format!("/_local/{place}"));
        let shown = now(local.handle(shown.body(Bytes::new()).unwrap()));
        let shown = shown.unwrap().unwrap();
        assert!(shown.status() == 200 && is_json(shown.body()));
    }
    is_still_served(&local);
    keep_unless(answer.status() == 200, local, clock);
}

/// A fault as the command line takes it, or as the control path does (what begins like JSON). What is
/// understood is added, listed, and understood again; then a record is put, whatever strikes it.
pub fn faults(input: &[u8]) {
    let (local, clock) = endpoint();
    local.faults().clear();
    if matches!(input.first(), Some(b'{' | b'[')) {
        let posted = Request::post("/_local/faults").header("content-type", "application/json");
        let posted = posted.body(Bytes::copy_from_slice(input)).unwrap();
        let answer = now(local.handle(posted)).unwrap().unwrap();
        assert!([200, 400].contains(&answer.status().as_u16()), "{answer:?}");
        assert!(is_json(answer.body()));
    } else {
        let Ok(Ok(fault)) = std::str::from_utf8(input).map(str::parse::<Fault>) else {
            keep_unless(false, local, clock);
            return;
        };
        local.faults().add(fault);
    }
    let listed = Request::get("/_local/faults").body(Bytes::new()).unwrap();
    let listed = now(local.handle(listed)).unwrap().unwrap();
    let listed: serde_json::Value = serde_json::from_slice(listed.body()).unwrap();
    for rule in listed["faults"].as_array().unwrap() {
        let mut rule = rule.clone();
        for member in ["id", "seen", "struck", "waiting"] {
            rule.as_object_mut().unwrap().remove(member);
        }
        let again = Request::post("/_local/faults").header("content-type", "application/json");
        let again = again.body(Bytes::from(rule.to_string())).unwrap();
        let again = now(local.handle(again)).unwrap().unwrap();
        assert_eq!(again.status(), 200, "{rule}: {again:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _time = runtime.enter();
    let body = br#"{"StreamName":"s","PartitionKey":"k","Data":"aGk="}"#;
    let headers = [
        ("x-amz-target", "Kinesis_20131202.PutRecord"),
        ("content-type", JSON),
    ];
    // A delay may leave it waiting.
    let _ = now(local.handle(request(&headers, body).unwrap()));
    local.faults().clear();
    is_still_served(&local);
    keep_unless(false, local, clock);
}

/// Lines: path and query, `Authorization`, `X-Amz-Date`; then the body. Nobody but who knows the secret is let
/// in.
pub fn signed(input: &[u8]) {
    let (path, rest) = first_line(input);
    let (authorization, rest) = first_line(rest);
    let (date, body) = first_line(rest);
    let key: AccessKey = "AKID:a secret that no corpus knows".parse().unwrap();
    let (local, clock) = VERIFYING.take().unwrap_or_else(|| {
        made(LocalOptions {
            verify_signatures: vec![key],
            ..LocalOptions::default()
        })
    });
    let headers = [
        ("x-amz-target", "Kinesis_20131202.ListStreams"),
        ("content-type", JSON),
        ("host", "localhost"),
        ("authorization", authorization),
        ("x-amz-date", date),
    ];
    let headers: Vec<_> = headers
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let Some(mut request) = request(&headers, body) else {
        return;
    };
    let Ok(path) = path.parse::<http::Uri>() else {
        return;
    };
    // The control path is never signed.
    if path.path().starts_with("/_local/") {
        return;
    }
    *request.uri_mut() = path;
    let answer = now(local.handle(request)).unwrap().unwrap();
    assert!((400..500).contains(&answer.status().as_u16()), "{answer:?}");
    assert!(is_json(answer.body()));
    VERIFYING.set(Some((local, clock)));
}

/// One that is as it was made.
fn endpoint() -> (Local, Arc<ManualClock>) {
    let unchanged = UNCHANGED.take();
    unchanged.unwrap_or_else(|| made(LocalOptions::default()))
}

/// What is refused has changed nothing.
fn keep_unless(changed: bool, local: Local, clock: Arc<ManualClock>) {
    if !changed {
        UNCHANGED.set(Some((local, clock)));
    }
}

/// Two shards of which the first was split, a consumer, and records.
fn made(options: LocalOptions) -> (Local, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(from_epoch_millis(T0)));
    let local = Local::new(LocalOptions {
        clock: Some(Arc::<ManualClock>::clone(&clock) as _),
        limits: Limits::Off,
        journal: 10,
        ..options
    })
    .unwrap();
    local.create_stream("s", 2).unwrap();
    let register =
        br#"{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s","ConsumerName":"c"}"#;
    let put = br#"{"StreamName":"s","Records":[
        {"Data":"aGk=","PartitionKey":"k"},
        {"Data":"aGk=","PartitionKey":"l","ExplicitHashKey":"0"}]}"#;
    let requests = [
        ("RegisterStreamConsumer", &register[..]),
        ("PutRecords", &put[..]),
    ];
    for (operation, body) in requests {
        let target = format!("Kinesis_20131202.{operation}");
        // Where signatures are verified these are refused, which does not matter there.
        let _ = ask(
            &local,
            &[("x-amz-target", &target), ("content-type", JSON)],
            body,
        );
    }
    local.split_shard("s", "shardId-000000000000").unwrap();
    clock.advance(Duration::from_secs(30));
    (local, clock)
}

/// The first line as text, and what follows it.
fn first_line(input: &[u8]) -> (&str, &[u8]) {
    let end = input
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(input.len());
    let (line, rest) = input.split_at(end);
    let rest = rest.get(1..).unwrap_or_default();
    (std::str::from_utf8(line).unwrap_or("unreadable"), rest)
}

/// None when HTTP itself does not carry this.
fn request(headers: &[(&str, &str)], body: &[u8]) -> Option<Request<Bytes>> {
    let mut request = Request::post("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::copy_from_slice(body)).ok()
}

/// An answer that is no server's error.
fn ask(local: &Local, headers: &[(&str, &str)], body: &[u8]) -> Option<Response<Bytes>> {
    let request = request(headers, body)?;
    if headers[0].1.ends_with(".SubscribeToShard") {
        return None;
    }
    let answer = now(local.handle(request)).unwrap().unwrap();
    assert!(answer.status().as_u16() < 500, "{answer:?}");
    Some(answer)
}

/// What is there at the first poll.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn is_still_served(local: &Local) {
    let headers = [
        ("x-amz-target", "Kinesis_20131202.ListStreams"),
        ("content-type", JSON),
    ];
    let answer = ask(local, &headers, b"{}").unwrap();
    assert_eq!(answer.status(), 200);
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

fn is_cbor(bytes: &[u8]) -> bool {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.skip().is_ok() && decoder.position() == bytes.len()
}

fn is_frame(frame: &[u8]) {
    let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    assert_eq!(usize::try_from(number(0)).unwrap(), frame.len());
    assert_eq!(number(8), crc32fast::hash(&frame[..8]));
    let end = frame.len() - 4;
    assert_eq!(number(end), crc32fast::hash(&frame[..end]));
    assert!(usize::try_from(number(4)).unwrap() <= end - 12);
}
