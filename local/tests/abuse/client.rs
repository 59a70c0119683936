//! An endpoint, and a client that behaves.

use local::{Limits, Local, LocalOptions, Server};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Past this something hangs; on a machine that is not busy nothing here takes a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn served() -> (Local, Server) {
    let local = Local::new(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("s", 1).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = local.start_on(any).await.unwrap();
    (local, server)
}

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it hangs")
}

pub(crate) fn head(operation: &str, rest: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: local\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n\
         Content-Type: application/x-amz-json-1.1\r\n{rest}\r\n"
    )
}

/// A whole request, after which the connection closes.
pub(crate) fn put() -> String {
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": "aGk="}).to_string();
    let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    head("PutRecord", &length) + &body
}

/// What is left to read; a reset is an end too.
pub(crate) async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = within(socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn connect(addr: SocketAddr) -> TcpStream {
    within(TcpStream::connect(addr)).await.unwrap()
}

/// Somebody who behaves puts a record.
pub(crate) async fn a_neighbour_is_served(addr: SocketAddr) {
    let mut socket = connect(addr).await;
    within(socket.write_all(put().as_bytes())).await.unwrap();
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
