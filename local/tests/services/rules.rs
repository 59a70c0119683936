//! Faults by rule: what they match, and what they do, in process and over sockets.

use crate::client::{
    aimed, ask, base64, dynamodb, error_of, good, held, kinesis, plain, post, sign,
};
use bytes::Bytes;
use http::Request;
use local::{ConnectionLost, Fault, FaultAction, Local, LocalOptions, Service};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

fn put(key: &str) -> Request<Bytes> {
    let body = json!({"StreamName": "s", "PartitionKey": key, "Data": base64(b"x")});
    kinesis("PutRecord", &body)
}

fn with_stream() -> Local {
    let local = plain();
    local.create_stream("s", 2).unwrap();
    local
}

fn add(local: &Local, text: &str) {
    local.faults().add(text.parse().unwrap());
}

#[tokio::test]
async fn a_bare_status_is_no_error_of_the_service() {
    let local = with_stream();
    add(&local, "op=PutRecord,times=1,status=503");
    let response = local.handle(put("k")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.body(), "");
    assert_eq!(local.records("s"), []);
    good(&local, put("k")).await;
    assert_eq!(local.journal()[0].status, 503);
}

#[tokio::test]
async fn a_throttle_is_the_services_own() {
    let local = with_stream();
    add(&local, "throttle,times=2");
    let (status, answer) = ask(&local, put("k")).await;
    assert_eq!(status, 400);
    assert_eq!(error_of(&answer), "ProvisionedThroughputExceededException");
    let (_, answer) = ask(&local, kinesis("ListStreams", &json!({}))).await;
    assert_eq!(error_of(&answer), "LimitExceededException");
    good(&local, put("k")).await;
}

#[tokio::test]
async fn a_skewed_date_is_shown_and_nothing_else_changes() {
    let local = with_stream();
    let date = async |local: &Local| {
        let response = local.handle(put("k")).await.unwrap();
        assert_eq!(response.status(), 200);
        response.headers()["date"].to_str().unwrap().to_owned()
    };
    add(&local, "nth=1,skew-date=-20m");
    add(&local, "nth=2,skew-date=1h");
    assert_eq!(date(&local).await, "Tue, 14 Nov 2023 21:53:20 GMT");
    assert_eq!(date(&local).await, "Tue, 14 Nov 2023 23:13:20 GMT");
    assert_eq!(date(&local).await, "Tue, 14 Nov 2023 22:13:20 GMT");
}

#[tokio::test]
async fn a_shard_narrows_by_name_and_by_iterator() {
    let local = with_stream();
    let iterator = async |shard: &str| {
        let body = json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "LATEST"});
        local.handle(kinesis("GetShardIterator", &body)).await
    };
    let of =
        |answer: http::Response<Bytes>| -> Value { serde_json::from_slice(answer.body()).unwrap() };
    let first = of(iterator("shardId-000000000000").await.unwrap());
    let second = of(iterator("shardId-000000000001").await.unwrap());
    add(&local, "shard=shardId-000000000001,drop=before");
    assert!(iterator("shardId-000000000001").await.is_err());
    assert!(iterator("shardId-000000000000").await.is_ok());
    let read = async |answer: &Value| {
        let body = json!({"ShardIterator": answer["ShardIterator"]});
        local.handle(kinesis("GetRecords", &body)).await
    };
    assert!(read(&first).await.is_ok());
    assert_eq!(read(&second).await.unwrap_err(), ConnectionLost);
}

#[tokio::test]
async fn one_caller_is_cut_off_and_the_others_are_not() {
    let local = with_stream();
    let by = |id: &str| sign(put("k"), (id, "any"), "kinesis", crate::client::AT);
    let id = local.faults().add(Fault::partition("WORKER1"));
    assert!(local.handle(by("WORKER1")).await.is_err());
    assert_eq!(local.handle(by("WORKER2")).await.unwrap().status(), 200);
    assert_eq!(local.handle(put("k")).await.unwrap().status(), 200);
    let scan = dynamodb("ListTables", &json!({}));
    let scan = sign(scan, ("WORKER1", "any"), "dynamodb", crate::client::AT);
    assert!(local.handle(scan).await.is_err());
    let callers: Vec<_> = local.journal().into_iter().map(|r| r.caller).collect();
    let text = |id: &str| Some(id.to_owned());
    assert_eq!(
        callers,
        [text("WORKER1"), text("WORKER2"), None, text("WORKER1")]
    );
    let status = local.faults().list();
    assert_eq!((status[0].seen, status[0].struck), (2, 2));
    assert!(local.faults().remove(id));
    assert_eq!(local.handle(by("WORKER1")).await.unwrap().status(), 200);
    assert_eq!(local.records("s").len(), 3);
}

#[tokio::test]
async fn chance_repeats_from_the_endpoints_seed() {
    let run = async |seed| {
        let (local, _) = held(LocalOptions {
            seed,
            ..LocalOptions::default()
        });
        local.create_stream("s", 1).unwrap();
        add(&local, "op=PutRecord,probability=0.5,throttle");
        for _ in 0..64 {
            local.handle(put("k")).await.unwrap();
        }
        local.journal()
    };
    let first = run(3).await;
    assert_eq!(first, run(3).await);
    assert_ne!(first, run(4).await);
    let struck = first.iter().filter(|r| r.status == 400).count();
    assert!((16..48).contains(&struck), "{struck}");
}

#[tokio::test]
async fn a_service_narrows() {
    let local = with_stream();
    local
        .faults()
        .add(Fault::every("PutRecord", FaultAction::Refuse).of(Service::Firehose));
    good(&local, put("k")).await;
    let record = json!({"DeliveryStreamName": "d", "Record": {"Data": base64(b"x")}});
    let firehose = aimed("Firehose_20150804.PutRecord", &record);
    assert!(local.handle(firehose).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cut_body_takes_effect_and_a_trickle_takes_time() {
    let local = with_stream();
    add(&local, "op=PutRecord,nth=1,truncate=10");
    assert_eq!(local.handle(put("k")).await.unwrap_err(), ConnectionLost);
    assert_eq!(local.records("s").len(), 1);
    // As long as the body, or longer: nothing is cut.
    add(&local, "op=PutRecord,nth=1,truncate=100000");
    good(&local, put("k")).await;
    let body = local.handle(put("k")).await.unwrap().into_body();
    add(&local, "op=PutRecord,nth=1,trickle=10:500ms");
    let start = Instant::now();
    good(&local, put("k")).await;
    let pieces = u32::try_from(body.len().div_ceil(10)).unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(500) * pieces);
}

#[tokio::test]
async fn a_subscription_fails_inside_its_stream() {
    let local = with_stream();
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let consumer = json!({"StreamARN": arn, "ConsumerName": "c"});
    let consumer = good(&local, kinesis("RegisterStreamConsumer", &consumer)).await;
    add(
        &local,
        "op=SubscribeToShard,nth=1,fail-subscription=0:InternalFailureException:scripted",
    );
    let body = json!({"ConsumerARN": consumer["Consumer"]["ConsumerARN"],
        "ShardId": "shardId-000000000000", "StartingPosition": {"Type": "LATEST"}});
    let response = local
        .handle(kinesis("SubscribeToShard", &body))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert!(text.contains("InternalFailureException"), "{text}");
    assert!(text.contains("scripted"), "{text}");
}

/// One request by hand: its whole answer, until the connection ends.
async fn raw(addr: std::net::SocketAddr) -> Vec<u8> {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"x")}).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = socket.read_to_end(&mut answer).await;
    answer
}

/// The announced length of the body, and the body that came.
fn parted(answer: &[u8]) -> (usize, &[u8]) {
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..split]).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    (length.parse().unwrap(), &answer[split + 4..])
}

#[tokio::test]
async fn over_a_socket_a_truncated_body_breaks_off_and_a_trickle_arrives() {
    let local = with_stream();
    let server = local
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let whole = raw(server.addr()).await;
    let (length, body) = parted(&whole);
    assert_eq!(body.len(), length);
    add(&local, "nth=1,truncate=10");
    let cut = raw(server.addr()).await;
    let (announced, body) = parted(&cut);
    assert_eq!((announced, body.len()), (length, 10));
    add(&local, "nth=1,trickle=7:1ms");
    let dripped = raw(server.addr()).await;
    let (announced, body) = parted(&dripped);
    assert_eq!((announced, body.len()), (length, length));
    add(&local, "nth=1,drop=before");
    assert_eq!(raw(server.addr()).await, b"");
    add(&local, "nth=1,drop=after");
    assert_eq!(raw(server.addr()).await, b"");
    assert_eq!(local.records("s").len(), 4);
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_target_is_nobodys() {
    let local = plain();
    let (status, answer) = ask(&local, aimed("S3.PutObject", &json!({}))).await;
    assert_eq!(
        (status, error_of(&answer)),
        (400, "UnknownOperationException")
    );
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let response = local.handle(post("/", &form, "Action=Whim")).await.unwrap();
    assert_eq!(response.status(), 400);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert!(text.contains("<Code>InvalidAction</Code>"), "{text}");
}
