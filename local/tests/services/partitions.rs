//! One caller is cut off: its open subscriptions break, those of others go on. And which faults reach a
//! SubscribeToShard at all.

use crate::client::{AT, ask, base64, error_of, good, kinesis, plain, sign};
use crate::http2;
use bytes::Bytes;
use futures::FutureExt;
use http::Request;
use http_body_util::{BodyExt, Full};
use local::{AnswerBody, ConnectionLost, Fault, Local};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

async fn with_consumers(names: &[&str]) -> (Local, Vec<String>) {
    let local = plain();
    local.create_stream("s", 2).unwrap();
    let mut consumers = Vec::new();
    for name in names {
        let body = json!({"StreamARN": ARN, "ConsumerName": name});
        let answer = good(&local, kinesis("RegisterStreamConsumer", &body)).await;
        consumers.push(
            answer["Consumer"]["ConsumerARN"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    (local, consumers)
}

fn wanted(consumer: &str, shard: &str) -> Value {
    json!({"ConsumerARN": consumer, "ShardId": shard, "StartingPosition": {"Type": "LATEST"}})
}

/// A SubscribeToShard to the first shard, by this caller.
fn subscribe(consumer: &str, caller: &str) -> Request<Bytes> {
    let request = kinesis(
        "SubscribeToShard",
        &wanted(consumer, "shardId-000000000000"),
    );
    sign(request, (caller, "any"), "kinesis", AT)
}

fn put() -> Request<Bytes> {
    let body = json!({"StreamName": "s", "PartitionKey": "k", "ExplicitHashKey": "0",
        "Data": base64(b"pushed")});
    kinesis("PutRecord", &body)
}

/// A subscription whose initial response and first event were read.
async fn begun(local: &Local, consumer: &str, caller: &str) -> AnswerBody {
    let answer = local
        .handle_streaming(subscribe(consumer, caller))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    body
}

#[tokio::test(start_paused = true)]
async fn a_partition_breaks_the_open_subscriptions_of_its_caller_at_once() {
    let (local, consumers) = with_consumers(&["one", "two"]).await;
    let mut cut_off = begun(&local, &consumers[0], "WORKER1").await;
    let mut other = begun(&local, &consumers[1], "WORKER2").await;
    assert!(cut_off.frame().now_or_never().is_none());
    let start = Instant::now();
    let (broken, id) = tokio::join!(cut_off.frame(), async {
        tokio::task::yield_now().await;
        local.faults().add(Fault::partition("WORKER1"))
    });
    assert_eq!(broken.unwrap().unwrap_err(), ConnectionLost);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(cut_off.frame().await.is_none(), "nothing comes after it");
    let status = local.faults().list();
    assert_eq!((status[0].seen, status[0].struck), (1, 1));
    assert_eq!(local.faults().struck(), 1);
    // The other one goes on, and the one cannot come back before the partition is over.
    assert!(other.frame().now_or_never().is_none());
    good(&local, put()).await;
    let pushed = other.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8_lossy(&pushed).into_owned();
    assert!(text.contains(&base64(b"pushed")), "{text}");
    let again = local
        .handle_streaming(subscribe(&consumers[0], "WORKER1"))
        .await;
    assert!(again.is_err());
    assert!(local.faults().remove(id));
    let (status, answer) = ask(&local, subscribe(&consumers[0], "WORKER1")).await;
    // Let in again: the five seconds of the former subscription are the service's own.
    assert_eq!((status, error_of(&answer)), (400, "ResourceInUseException"));
}

#[tokio::test]
async fn over_sockets_it_breaks_what_the_caller_has_open_and_no_more() {
    let (local, consumers) = with_consumers(&["one", "two", "three"]).await;
    let server = local
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    // HTTP/1.1: the chunked body ends without its end.
    let request = subscribe(&consumers[0], "WORKER1");
    let mut head = String::from("POST / HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body().len()));
    let mut socket = TcpStream::connect(server.addr()).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(request.body()).await.unwrap();
    let mut answer = Vec::new();
    while !answer
        .windows(22)
        .any(|w| w == b"SubscribeToShardEvent\x0d")
    {
        assert!(socket.read_buf(&mut answer).await.unwrap() > 0);
    }
    // HTTP/2: two callers on one connection.
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let (mut client, _driver) = http2::over(stream).await;
    let mut bodies = Vec::new();
    for (consumer, caller) in [(&consumers[1], "WORKER1"), (&consumers[2], "WORKER2")] {
        let mut request = subscribe(consumer, caller).map(Full::new);
        *request.uri_mut() = server.url().parse().unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
        }
        bodies.push(body);
    }
    local.faults().add(Fault::partition("WORKER1"));
    // A reset is an end too.
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!answer.ends_with(b"0\r\n\r\n"));
    assert!(bodies[0].frame().await.unwrap().is_err());
    good(&local, put()).await;
    let pushed = bodies[1]
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert!(String::from_utf8_lossy(&pushed).contains(&base64(b"pushed")));
    assert_eq!(local.faults().struck(), 2);
    drop((client, bodies));
    server.stop().await;
}

#[tokio::test]
async fn a_dropped_call_over_http_2_resets_its_own_stream() {
    let (local, _) = with_consumers(&[]).await;
    let server = local
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let (mut client, _driver) = http2::over(stream).await;
    for fault in ["nth=1,drop=before", "nth=1,drop=after"] {
        local.faults().add(fault.parse().unwrap());
        let mut request = put().map(Full::new);
        *request.uri_mut() = server.url().parse().unwrap();
        assert!(client.send_request(request).await.is_err(), "{fault}");
    }
    assert_eq!(local.records("s").len(), 1);
    let mut request = put().map(Full::new);
    *request.uri_mut() = server.url().parse().unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 200);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn faults_find_a_subscription_by_stream_shard_and_service() {
    let (local, consumers) = with_consumers(&["one"]).await;
    local.create_stream("other", 1).unwrap();
    let first = || {
        kinesis(
            "SubscribeToShard",
            &wanted(&consumers[0], "shardId-000000000000"),
        )
    };
    for misses in [
        "on=other,drop=before",
        "shard=shardId-000000000001,drop=before",
        "service=dynamodb,drop=before",
        "op=GetRecords,drop=before",
        "caller=SOMEBODY,drop=before",
    ] {
        local.faults().add(misses.parse().unwrap());
    }
    for hits in [
        "on=s,drop=before",
        "shard=shardId-000000000000,drop=before",
        "service=kinesis,drop=before",
        "op=SubscribeToShard,drop=before",
    ] {
        let id = local.faults().add(hits.parse::<Fault>().unwrap());
        let answer = local.handle_streaming(first()).await;
        assert_eq!(answer.unwrap_err(), ConnectionLost, "{hits}");
        assert!(local.faults().remove(id));
    }
    local
        .faults()
        .add("op=SubscribeToShard,nth=1,throttle".parse().unwrap());
    let (status, answer) = ask(&local, first()).await;
    assert_eq!((status, error_of(&answer)), (400, "LimitExceededException"));
    let answer = local.handle_streaming(first()).await.unwrap();
    assert_eq!(answer.status(), 200, "what misses strikes nothing");
    assert_eq!(local.faults().remaining(), 5);
}

/// A fault that waits is taken back while a call stands in its way.
#[tokio::test(start_paused = true)]
async fn faults_change_while_calls_are_under_way() {
    let (local, _) = with_consumers(&[]).await;
    let slow = local
        .faults()
        .add("op=PutRecord,delay=10s".parse().unwrap());
    let start = Instant::now();
    let ((), answer) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(local.faults().remove(slow));
            let quick = Instant::now();
            good(&local, put()).await;
            assert_eq!(quick.elapsed(), Duration::ZERO);
        },
        local.handle(put()),
    );
    // The one that waited already goes on waiting.
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    assert_eq!(local.records("s").len(), 2);
}
