//! Over real sockets: HTTP/1.1 written by hand, HTTP/2 with prior knowledge.

use crate::client::{base64, held};
use crate::http2;
use crate::wire::{Member, cbor, tree};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use local::{Fault, FaultAction, Local, Server};
use minicbor::Decoder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn served() -> (Local, Server) {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let server = local
        .start_on("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    (local, server)
}

/// One request on a connection of its own; none when the connection closed without an answer.
async fn exchange(
    server: &Server,
    target: &str,
    kind: &str,
    body: &[u8],
) -> Option<(u16, Vec<u8>)> {
    let mut socket = TcpStream::connect(server.addr()).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: {target}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // It may be refused before all is written.
    let _ = socket.write_all(body).await;
    let mut answer = Vec::new();
    // A reset is a lost connection too.
    let _ = socket.read_to_end(&mut answer).await;
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..split]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some((status, answer[split + 4..].to_vec()))
}

async fn json_exchange(server: &Server, target: &str, body: Value) -> Option<(u16, Value)> {
    let body = body.to_string();
    let (status, body) = exchange(
        server,
        target,
        "application/x-amz-json-1.1",
        body.as_bytes(),
    )
    .await?;
    Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

#[tokio::test]
async fn json_and_cbor_over_http_1() {
    let (local, server) = served().await;
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"json")});
    let (status, _) = json_exchange(&server, "Kinesis_20131202.PutRecord", put)
        .await
        .unwrap();
    assert_eq!(status, 200);
    let body = cbor(&[
        ("StreamName", Member::Text("s")),
        ("PartitionKey", Member::Text("k")),
        ("Data", Member::Bytes(b"cbor")),
    ]);
    let kind = "application/x-amz-cbor-1.1";
    let (status, answer) = exchange(&server, "Kinesis_20131202.PutRecord", kind, &body)
        .await
        .unwrap();
    assert_eq!(status, 200);
    let answer = tree(&mut Decoder::new(&answer));
    assert_eq!(answer["ShardId"], "shardId-000000000000");
    let stored: Vec<Bytes> = local.records("s").into_iter().map(|r| r.data).collect();
    assert_eq!(stored, ["json", "cbor"]);
    let (status, error) = json_exchange(&server, "Kinesis_20131202.Whim", json!({}))
        .await
        .unwrap();
    assert_eq!(status, 400);
    assert_eq!(error["__type"], "UnknownOperationException");
    server.stop().await;
}

#[tokio::test]
async fn dynamodb_answers_on_the_same_port() {
    let (_, server) = served().await;
    let table = json!({"TableName": "leases", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}]});
    let (status, answer) = json_exchange(&server, "DynamoDB_20120810.CreateTable", table)
        .await
        .unwrap();
    assert_eq!(status, 200, "{answer}");
    // Many at once, through the one thread.
    let calls = (0..50).map(|i| {
        let item = json!({"TableName": "leases", "Item": {"leaseKey": {"S": format!("k{i}")}}});
        json_exchange(&server, "DynamoDB_20120810.PutItem", item)
    });
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap().0, 200);
    }
    let scan = json!({"TableName": "leases"});
    let (_, scan) = json_exchange(&server, "DynamoDB_20120810.Scan", scan)
        .await
        .unwrap();
    assert_eq!(scan["Count"], 50);
    server.stop().await;
}

#[tokio::test]
async fn http_2_with_prior_knowledge() {
    let (local, server) = served().await;
    let socket = TcpStream::connect(server.addr()).await.unwrap();
    let (mut client, driver) = http2::over(socket).await;
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"h2")}).to_string();
    let request = http::Request::post(server.url())
        .header("x-amz-target", "Kinesis_20131202.PutRecord")
        .header("content-type", "application/x-amz-json-1.1")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["ShardId"], "shardId-000000000000");
    assert_eq!(local.records("s")[0].data, "h2");
    drop(client);
    driver.await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_lost_answer_closes_the_connection_after_the_effect() {
    let (local, server) = served().await;
    let put = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"x")});
    let target = "Kinesis_20131202.PutRecord";
    local
        .faults()
        .add(Fault::nth("PutRecord", 1, FaultAction::LoseAnswer));
    assert_eq!(json_exchange(&server, target, put.clone()).await, None);
    assert_eq!(local.records("s").len(), 1);
    local
        .faults()
        .add(Fault::nth("PutRecord", 1, FaultAction::Refuse));
    assert_eq!(json_exchange(&server, target, put.clone()).await, None);
    assert_eq!(local.records("s").len(), 1);
    assert_eq!(json_exchange(&server, target, put).await.unwrap().0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_body_beyond_all_bounds_is_refused() {
    let (local, server) = served().await;
    let body = vec![b' '; (20 << 20) + 1];
    let kind = "application/x-amz-json-1.1";
    // The answer may be cut by the reset of a connection that still sends.
    if let Some((status, _)) = exchange(&server, "Kinesis_20131202.PutRecord", kind, &body).await {
        assert_eq!(status, 413);
    }
    assert_eq!(local.records("s"), []);
    assert_eq!(local.journal(), []);
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_server_answers_nobody() {
    let (_, server) = served().await;
    let addr = server.addr();
    // An idle connection does not hold the stop up.
    let mut idle = TcpStream::connect(addr).await.unwrap();
    server.stop().await;
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
    assert!(TcpStream::connect(addr).await.is_err());
}
