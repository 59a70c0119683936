//! SubscribeToShard: in process on a held or paused clock, and over real sockets.

use crate::client::{T0, bad, good, held, put, shard_id, with};
use crate::events::{Event, Events, from, register, subscribe, take, wanted};
use crate::http2;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use local::{Fault, FaultAction, Limits, Local, LocalOptions, Server};
use runtime::TokioClock;
use runtime::time::from_epoch_millis;
use serde_json::{Value, json};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The kind and the text of what a subscription ends with.
fn ends_with(events: &mut Events) -> (String, String) {
    let last = events.now();
    assert_eq!(last.header(":message-type"), "exception");
    let text = last.json()["message"].as_str().unwrap().to_owned();
    assert!(matches!(events.poll(), Poll::Ready(None)));
    (last.kind().to_owned(), text)
}

#[tokio::test]
async fn records_are_pushed_as_they_arrive_and_the_continuation_goes_on_behind_them() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    put(&local, "s", "k", b"one").await;
    let (_, two) = put(&local, "s", "k", b"two").await;
    clock.advance(Duration::from_millis(700));
    let mut events = subscribe(&local, &consumer, 0, from("TRIM_HORIZON")).await;
    let event = events.now();
    assert_eq!(event.texts(), ["one", "two"]);
    let body = event.json();
    assert_eq!(body["ContinuationSequenceNumber"], two.as_str());
    assert_eq!(body["MillisBehindLatest"], 0);
    assert_eq!(body["ChildShards"], Value::Null);
    let record = &body["Records"][0];
    assert_eq!(record["PartitionKey"], "k");
    assert_eq!(record["EncryptionType"], "NONE");
    assert_eq!(
        record["ApproximateArrivalTimestamp"],
        json!(1_700_000_000.0)
    );
    assert!(events.poll().is_pending());
    let (_, three) = put(&local, "s", "k", b"three").await;
    let event = events.now();
    assert_eq!(event.texts(), ["three"]);
    assert_eq!(event.json()["ContinuationSequenceNumber"], three.as_str());
    drop(events);
    put(&local, "s", "k", b"four").await;
    clock.advance(Duration::from_secs(5));
    let after = json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": three});
    let mut events = subscribe(&local, &consumer, 0, after).await;
    assert_eq!(events.now().texts(), ["four"]);
}

#[tokio::test]
async fn each_starting_position_starts_where_it_says() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let (_, one) = put(&local, "s", "k", b"1").await;
    clock.advance(Duration::from_secs(10));
    put(&local, "s", "k", b"2").await;
    let at = json!({"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": one});
    let after = json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": one});
    let time = json!({"Type": "AT_TIMESTAMP", "Timestamp": T0 / 1_000 + 5});
    let cases: [(Value, &[&str]); 5] = [
        (from("TRIM_HORIZON"), &["1", "2"]),
        (from("LATEST"), &[]),
        (at, &["1", "2"]),
        (after, &["2"]),
        (time, &["2"]),
    ];
    for (i, (position, texts)) in cases.into_iter().enumerate() {
        let consumer = register(&local, "s", &format!("c{i}")).await;
        let mut events = subscribe(&local, &consumer, 0, position.clone()).await;
        // The first event comes at once, whether it holds records or not.
        let event = events.now();
        assert_eq!(event.texts(), texts, "{position}");
        // Its continuation starts where it ended.
        let next = event.json()["ContinuationSequenceNumber"].clone();
        clock.advance(Duration::from_secs(5));
        let after = json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": next});
        let mut again = subscribe(&local, &consumer, 0, after).await;
        assert_eq!(again.now().texts(), [""; 0], "{position}");
    }
}

#[tokio::test]
async fn what_cannot_be_subscribed_to_is_refused() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    let cases = [
        (json!({}), "ValidationException"),
        (wanted(&consumer, 0, from("WHIM")), "ValidationException"),
        (
            wanted(&consumer, 0, from("AT_SEQUENCE_NUMBER")),
            "InvalidArgumentException",
        ),
        (
            wanted(&consumer, 0, from("AT_TIMESTAMP")),
            "InvalidArgumentException",
        ),
        (
            wanted(&consumer, 9, from("LATEST")),
            "ResourceNotFoundException",
        ),
        (
            wanted(&format!("{consumer}0"), 0, from("LATEST")),
            "ResourceNotFoundException",
        ),
        (
            wanted(&consumer, 0, json!("LATEST")),
            "SerializationException",
        ),
        (
            wanted(
                &consumer,
                0,
                json!({"Type": "AT_TIMESTAMP", "Timestamp": T0}),
            ),
            "InvalidArgumentException",
        ),
    ];
    for (body, code) in cases {
        let found = bad(&local, "SubscribeToShard", body.clone()).await.0;
        assert_eq!(found, code, "{body}");
    }
    let mut dry = wanted(&consumer, 0, from("LATEST"));
    dry["DryRun"] = true.into();
    for _ in 0..2 {
        let (code, text) = bad(&local, "SubscribeToShard", dry.clone()).await;
        assert_eq!(code, "DryRunOperationException");
        assert!(text.contains("SubscribeToShard"), "{text}");
    }
    subscribe(&local, &consumer, 0, from("LATEST")).await;
}

#[tokio::test]
async fn a_second_subscriber_is_refused_within_five_seconds_and_then_takes_over() {
    let (local, clock) = held();
    local.create_stream("s", 2).unwrap();
    let consumer = register(&local, "s", "app").await;
    let mut first = subscribe(&local, &consumer, 0, from("LATEST")).await;
    assert_eq!(first.now().texts(), [""; 0]);
    // Another shard and another consumer have their own.
    subscribe(&local, &consumer, 1, from("LATEST")).await;
    let other = register(&local, "s", "other").await;
    subscribe(&local, &other, 0, from("LATEST")).await;
    for millis in [2_000, 2_999] {
        clock.advance(Duration::from_millis(millis));
        let again = wanted(&consumer, 0, from("LATEST"));
        let (code, _) = bad(&local, "SubscribeToShard", again).await;
        assert_eq!(code, "ResourceInUseException");
    }
    assert!(first.poll().is_pending());
    clock.advance(Duration::from_millis(1));
    let mut second = subscribe(&local, &consumer, 0, from("LATEST")).await;
    let (kind, text) = ends_with(&mut first);
    assert_eq!(kind, "ResourceInUseException");
    assert!(text.contains("took over"), "{text}");
    second.now();
    put(&local, "s", "a", b"x").await;
    assert_eq!(second.now().texts(), ["x"]);
}

#[tokio::test]
async fn one_call_a_second_for_each_consumer_and_shard() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    subscribe(&local, &consumer, 0, from("LATEST")).await;
    let again = || wanted(&consumer, 0, from("LATEST"));
    clock.advance(Duration::from_millis(999));
    let (code, _) = bad(&local, "SubscribeToShard", again()).await;
    assert_eq!(code, "LimitExceededException");
    clock.advance(Duration::from_millis(1));
    let (code, _) = bad(&local, "SubscribeToShard", again()).await;
    assert_eq!(code, "ResourceInUseException");
}

fn on_tokios_clock(limits: Limits) -> Local {
    Local::new(LocalOptions {
        limits,
        state_delay: Duration::from_millis(250),
        clock: Some(Arc::new(TokioClock::starting_at(from_epoch_millis(T0)))),
        ..LocalOptions::default()
    })
    .unwrap()
}

async fn active_consumer(local: &Local) -> String {
    local.create_stream("s", 1).unwrap();
    let consumer = register(local, "s", "app").await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    consumer
}

#[tokio::test(start_paused = true)]
async fn a_subscription_lasts_five_minutes_and_tells_that_it_lives() {
    let local = on_tokios_clock(Limits::On);
    let consumer = active_consumer(&local).await;
    let mut events = subscribe(&local, &consumer, 0, from("LATEST")).await;
    let start = Instant::now();
    let mut at = Vec::new();
    while let Some(event) = events.next().await {
        assert_eq!(event.texts(), [""; 0]);
        assert_eq!(event.json()["MillisBehindLatest"], 0);
        at.push(start.elapsed().as_secs());
    }
    assert_eq!(start.elapsed(), Duration::from_secs(300));
    assert_eq!(at, (0..60).map(|i| i * 5).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_record_is_pushed_at_the_instant_it_arrives() {
    let local = on_tokios_clock(Limits::On);
    let consumer = active_consumer(&local).await;
    let mut events = subscribe(&local, &consumer, 0, from("LATEST")).await;
    events.now();
    let start = Instant::now();
    let writer = tokio::spawn({
        let local = local.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1_234)).await;
            put(&local, "s", "k", b"now").await;
        }
    });
    assert_eq!(events.next().await.unwrap().texts(), ["now"]);
    assert_eq!(start.elapsed(), Duration::from_millis(1_234));
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_mebibytes_a_second_for_each_consumer_and_shard() {
    let local = on_tokios_clock(Limits {
        shard_writes: false,
        ..Limits::On
    });
    let consumer = active_consumer(&local).await;
    for _ in 0..16 {
        put(&local, "s", "k", &vec![7; (1 << 20) - 1]).await;
    }
    let mut events = subscribe(&local, &consumer, 0, from("TRIM_HORIZON")).await;
    let start = Instant::now();
    let mut records = 0;
    while records < 16 {
        let event = events.next().await.unwrap();
        let body = event.json();
        records += body["Records"].as_array().unwrap().len();
        // Positive while there is more, even if it came this millisecond.
        assert_eq!(body["MillisBehindLatest"] == 0, records == 16);
    }
    // Two at once and one on credit, then two a second.
    assert_eq!(start.elapsed(), Duration::from_millis(6_500));
}

#[tokio::test(start_paused = true)]
async fn a_split_ends_a_live_subscription_with_the_children() {
    let local = on_tokios_clock(Limits::Off);
    let consumer = active_consumer(&local).await;
    put(&local, "s", "k", b"last").await;
    let mut events = subscribe(&local, &consumer, 0, from("TRIM_HORIZON")).await;
    let event = events.now();
    assert_eq!(event.texts(), ["last"]);
    assert!(event.json()["ContinuationSequenceNumber"].is_string());
    let split = json!({"StreamName": "s", "ShardToSplit": shard_id(0),
        "NewStartingHashKey": "1000"});
    good(&local, "SplitShard", split).await;
    // The shard closes when the change is done, whoever looks.
    let start = Instant::now();
    let end = events.next().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(250));
    assert_is_end(&end, &[]);
    assert!(events.next().await.is_none());
    // A subscription to a shard that was closed before reads what is left, and ends.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut closed = subscribe(&local, &consumer, 0, from("TRIM_HORIZON")).await;
    assert_is_end(&closed.now(), &["last"]);
    assert!(closed.next().await.is_none());
}

fn assert_is_end(event: &Event, texts: &[&str]) {
    assert_eq!(event.texts(), texts);
    let body = event.json();
    assert_eq!(body["ContinuationSequenceNumber"], Value::Null);
    let children = body["ChildShards"].as_array().unwrap();
    let ids: Vec<&Value> = children.iter().map(|c| &c["ShardId"]).collect();
    assert_eq!(ids, [&shard_id(1), &shard_id(2)]);
    for child in children {
        assert_eq!(child["ParentShards"], json!([shard_id(0)]));
        assert!(child["HashKeyRange"]["StartingHashKey"].is_string());
    }
}

#[tokio::test]
async fn a_closed_shard_with_much_left_has_children_only_on_its_last_event() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    for _ in 0..3 {
        put(&local, "s", "k", &vec![7; (1 << 20) - 1]).await;
    }
    local.split_shard("s", &shard_id(0)).unwrap();
    let mut events = subscribe(&local, &consumer, 0, from("TRIM_HORIZON")).await;
    for last in [false, false, true] {
        let body = events.now().json();
        assert_eq!(body["Records"].as_array().unwrap().len(), 1);
        assert_eq!(body["ChildShards"].is_array(), last);
        assert_eq!(body["ContinuationSequenceNumber"].is_string(), !last);
    }
    assert!(matches!(events.poll(), Poll::Ready(None)));
}

#[tokio::test]
async fn a_deleted_stream_and_a_deregistered_consumer_end_in_an_exception() {
    let (local, _) = held();
    for stream in ["s", "t"] {
        local.create_stream(stream, 1).unwrap();
    }
    let first = register(&local, "s", "app").await;
    let mut events = subscribe(&local, &first, 0, from("LATEST")).await;
    events.now();
    assert!(events.poll().is_pending());
    let enforce = json!({"StreamName": "s", "EnforceConsumerDeletion": true});
    good(&local, "DeleteStream", enforce).await;
    assert_eq!(ends_with(&mut events).0, "ResourceNotFoundException");
    let second = register(&local, "t", "app").await;
    let mut events = subscribe(&local, &second, 0, from("LATEST")).await;
    events.now();
    let gone = json!({"ConsumerARN": second});
    good(&local, "DeregisterStreamConsumer", gone).await;
    let (kind, text) = ends_with(&mut events);
    assert_eq!(kind, "ResourceNotFoundException");
    assert!(text.contains("Consumer app"), "{text}");
}

#[tokio::test]
async fn faults_strike_inside_a_subscription() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    local.faults().add(Fault::nth(
        "SubscribeToShard",
        1,
        FaultAction::FailSubscription {
            after: 2,
            code: "InternalFailureException".to_owned(),
            message: "scripted".to_owned(),
        },
    ));
    local.faults().add(Fault::nth(
        "SubscribeToShard",
        2,
        FaultAction::SilenceSubscription { after: 1 },
    ));
    let first = register(&local, "s", "first").await;
    let mut events = subscribe(&local, &first, 0, from("LATEST")).await;
    events.now();
    put(&local, "s", "k", b"x").await;
    assert_eq!(events.now().texts(), ["x"]);
    let (kind, text) = ends_with(&mut events);
    assert_eq!((&*kind, &*text), ("InternalFailureException", "scripted"));
    let second = register(&local, "s", "second").await;
    let mut events = subscribe(&local, &second, 0, from("TRIM_HORIZON")).await;
    assert_eq!(events.now().texts(), ["x"]);
    put(&local, "s", "k", b"never seen").await;
    clock.advance(Duration::from_secs(299));
    assert!(events.poll().is_pending());
    clock.advance(Duration::from_secs(1));
    assert!(matches!(events.poll(), Poll::Ready(None)));
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nothing_and_misses_nothing() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    let mut events = subscribe(&local, &consumer, 0, from("LATEST")).await;
    events.now();
    let numbers: Vec<String> = (0..2_000).map(|i| format!("{i}")).collect();
    for number in &numbers {
        put(&local, "s", "k", number.as_bytes()).await;
    }
    // All that came meanwhile is one event: nothing was made before it was asked for.
    assert_eq!(events.now().texts(), numbers);
    assert!(events.poll().is_pending());
}

#[tokio::test(start_paused = true)]
async fn the_whole_answer_is_there_when_the_subscription_is_over() {
    let local = on_tokios_clock(Limits::Off);
    let consumer = active_consumer(&local).await;
    put(&local, "s", "k", b"x").await;
    let body = wanted(&consumer, 0, from("TRIM_HORIZON"));
    let answer = crate::client::send(&local, "SubscribeToShard", &body)
        .await
        .unwrap();
    let mut bytes = answer.into_body().to_vec();
    assert_eq!(take(&mut bytes).unwrap().kind(), "initial-response");
    assert_eq!(take(&mut bytes).unwrap().texts(), ["x"]);
    let mut rest = 0;
    while let Some(event) = take(&mut bytes) {
        assert_eq!(event.texts(), [""; 0]);
        rest += 1;
    }
    assert_eq!((rest, bytes.len()), (59, 0));
}

async fn served() -> (Local, Server, String) {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    let server = local
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    (local, server, consumer)
}

/// Reads one chunk of a chunked body; none at its end.
async fn chunk(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    let length = usize::from_str_radix(line.trim(), 16).unwrap();
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk).await.unwrap();
    assert_eq!(&chunk[length..], b"\r\n");
    chunk.truncate(length);
    (length > 0).then_some(chunk)
}

#[tokio::test]
async fn over_http_1_events_come_in_chunks_as_they_happen() {
    let (local, server, consumer) = served().await;
    let body = wanted(&consumer, 0, from("TRIM_HORIZON")).to_string();
    let mut socket = TcpStream::connect(server.addr()).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.SubscribeToShard\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut reader = BufReader::new(socket);
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        reader.read_line(&mut headers).await.unwrap();
    }
    let headers = headers.to_lowercase();
    assert!(headers.starts_with("http/1.1 200"), "{headers}");
    assert!(headers.contains("content-type: application/vnd.amazon.eventstream"));
    assert!(headers.contains("transfer-encoding: chunked"));
    let mut buffer = Vec::new();
    let mut seen = Vec::new();
    for step in 0..3 {
        if step > 0 {
            put(&local, "s", "k", format!("record {step}").as_bytes()).await;
        }
        // Whatever chunks they come in: initial, empty, and one for each record.
        while seen.len() < step + 2 {
            match take(&mut buffer) {
                Some(event) => seen.push(event),
                None => buffer.extend(chunk(&mut reader).await.unwrap()),
            }
        }
    }
    assert_eq!(seen[0].kind(), "initial-response");
    assert_eq!(seen[1].texts(), [""; 0]);
    assert_eq!(seen[2].texts(), ["record 1"]);
    assert_eq!(seen[3].texts(), ["record 2"]);
    // The end of the shard is the end of the body, and the connection goes on.
    local.split_shard("s", &shard_id(0)).unwrap();
    while let Some(bytes) = chunk(&mut reader).await {
        buffer.extend(bytes);
    }
    assert_is_end(&take(&mut buffer).unwrap(), &[]);
    assert_eq!(buffer, b"");
    server.stop().await;
}

#[tokio::test]
async fn over_http_2_in_cbor_and_a_server_that_stops_ends_it() {
    let (local, server, consumer) = served().await;
    put(&local, "s", "k", b"x").await;
    let socket = TcpStream::connect(server.addr()).await.unwrap();
    let (mut client, driver) = http2::over(socket).await;
    // {"ConsumerARN": …, "ShardId": …, "StartingPosition": {"Type": "TRIM_HORIZON"}}
    let mut body = minicbor::Encoder::new(Vec::new());
    body.map(3)
        .and_then(|e| e.str("ConsumerARN"))
        .and_then(|e| e.str(&consumer))
        .and_then(|e| e.str("ShardId"))
        .and_then(|e| e.str("shardId-000000000000"))
        .and_then(|e| e.str("StartingPosition"))
        .and_then(|e| e.map(1))
        .and_then(|e| e.str("Type"))
        .and_then(|e| e.str("TRIM_HORIZON"))
        .unwrap();
    let request = http::Request::post(server.url())
        .header("x-amz-target", "Kinesis_20131202.SubscribeToShard")
        .header("content-type", "application/x-amz-cbor-1.1")
        .body(Full::new(Bytes::from(body.into_writer())))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut buffer = Vec::new();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match take(&mut buffer) {
            Some(event) => seen.push(event),
            None => {
                let frame = body.frame().await.unwrap().unwrap();
                buffer.extend_from_slice(&frame.into_data().unwrap());
            }
        }
    }
    assert_eq!(seen[0].kind(), "initial-response");
    assert_eq!(seen[0].payload[..], [0xbf, 0xff]);
    assert_eq!(seen[1].kind(), "SubscribeToShardEvent");
    let event = seen[1].cbor();
    let record = &event["Records"][0];
    assert_eq!(record["PartitionKey"], "k");
    let stored = &local.records("s")[0];
    assert_eq!(record["SequenceNumber"], stored.sequence_number.as_str());
    assert_eq!(
        event["ContinuationSequenceNumber"],
        stored.sequence_number.as_str()
    );
    // The stop does not wait for the subscription's five minutes.
    let stopped = tokio::spawn(server.stop());
    while let Some(frame) = body.frame().await {
        assert!(frame.unwrap().into_data().unwrap().is_empty());
    }
    drop(client);
    let _ = driver.await.unwrap();
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_not_read_ahead_for_without_bound() {
    let (local, server, consumer) = served().await;
    let payload = vec![7; (1 << 20) - 1];
    for _ in 0..24 {
        put(&local, "s", "k", &payload).await;
    }
    let body = wanted(&consumer, 0, from("TRIM_HORIZON")).to_string();
    let socket = TcpStream::connect(server.addr()).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(64 << 10)
        .handshake(TokioIo::new(socket))
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::post(server.url())
        .header("x-amz-target", "Kinesis_20131202.SubscribeToShard")
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let mut body = client.send_request(request).await.unwrap().into_body();
    let mut received = 0;
    while received < 100_000 {
        let frame = body.frame().await.unwrap().unwrap();
        received += frame.into_data().unwrap().len();
    }
    // Had the server read ahead, an event would say that the shard goes on behind its last record.
    local.split_shard("s", &shard_id(0)).unwrap();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        rest.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    let count = |word: &[u8]| rest.windows(word.len()).filter(|w| *w == word).count();
    assert_eq!(count(b"\"ContinuationSequenceNumber\""), 23);
    assert_eq!(count(b"\"ChildShards\""), 1);
    drop(client);
    let _ = driver.await.unwrap();
    server.stop().await;
}
