//! Clients that take their time. How long they may is shown on a paused clock, beside the server.

use crate::client::{a_neighbour_is_served, connect, head, put, rest, served, within};
use serde_json::json;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn requests_byte_by_byte_are_answered_and_hold_nobody_up() {
    let (local, server) = served().await;
    let request = put().into_bytes();
    let mut drips = Vec::new();
    for _ in 0..40 {
        drips.push(connect(server.addr()).await);
    }
    // Heads first, then bodies: all of them one byte at a time.
    for (position, byte) in request.iter().enumerate() {
        for socket in &mut drips {
            within(socket.write_all(&[*byte])).await.unwrap();
        }
        if position % 50 == 0 {
            a_neighbour_is_served(server.addr()).await;
        }
    }
    for socket in &mut drips {
        let answer = rest(socket).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    let neighbours = request.len().div_ceil(50);
    assert_eq!(local.records("s").len(), 40 + neighbours);
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_connections_that_say_nothing_or_half_a_head_hold_nobody_up() {
    let (local, server) = served().await;
    let mut idle = Vec::new();
    for n in 0..1_000 {
        let mut socket = connect(server.addr()).await;
        let said: &[u8] = match n % 4 {
            0 => b"",
            1 => b"P",
            2 => b"POST / HTTP/1.1\r\nHost: local\r\nX-Amz",
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        };
        within(socket.write_all(said)).await.unwrap();
        idle.push(socket);
    }
    for _ in 0..10 {
        a_neighbour_is_served(server.addr()).await;
    }
    assert_eq!(local.records("s").len(), 10);
    // Nor do they hold a stop up for longer than it waits for requests.
    within(server.stop()).await;
}

#[tokio::test]
async fn readers_that_do_not_read_ten_mebibytes_hold_nobody_up() {
    let (local, server) = served().await;
    let one = "A".repeat(1_398_100);
    for _ in 0..10 {
        let entry = json!({"StreamName": "s", "PartitionKey": "k", "Data": one}).to_string();
        let length = format!("Content-Length: {}\r\nConnection: close\r\n", entry.len());
        let mut socket = connect(server.addr()).await;
        let whole = head("PutRecord", &length) + &entry;
        within(socket.write_all(whole.as_bytes())).await.unwrap();
        assert!(rest(&mut socket).await.starts_with("HTTP/1.1 200 OK"));
    }
    let iterator = {
        let body = json!({"StreamName": "s", "ShardId": "shardId-000000000000",
            "ShardIteratorType": "TRIM_HORIZON"})
        .to_string();
        let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
        let mut socket = connect(server.addr()).await;
        let whole = head("GetShardIterator", &length) + &body;
        within(socket.write_all(whole.as_bytes())).await.unwrap();
        let answer = rest(&mut socket).await;
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let tree: serde_json::Value = serde_json::from_str(body).unwrap();
        tree["ShardIterator"].as_str().unwrap().to_owned()
    };
    let body = json!({"ShardIterator": iterator}).to_string();
    let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    let request = head("GetRecords", &length) + &body;
    let mut deaf = Vec::new();
    for _ in 0..12 {
        let mut socket = connect(server.addr()).await;
        within(socket.write_all(request.as_bytes())).await.unwrap();
        deaf.push(socket);
        a_neighbour_is_served(server.addr()).await;
    }
    assert_eq!(local.records("s").len(), 10 + 12);
    // Whoever reads after all gets everything.
    let answer = rest(&mut deaf[0]).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
    assert!(answer.len() > 13 << 20, "{}", answer.len());
    assert!(answer.ends_with('}'));
    drop(deaf);
    within(server.stop()).await;
}
