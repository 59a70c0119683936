//! Requests that are too large, and what is no request at all.

use crate::client::{a_neighbour_is_served, connect, head, rest, served, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_comes() {
    let (local, server) = served().await;
    for length in ["20971521", "18446744073709551615"] {
        let mut socket = connect(server.addr()).await;
        let head = head("PutRecord", &format!("Content-Length: {length}\r\n"));
        within(socket.write_all(head.as_bytes())).await.unwrap();
        let answer = rest(&mut socket).await;
        // hyper itself has a bound, and another name for it.
        assert!(
            answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 431 "),
            "{length}: {answer}"
        );
        a_neighbour_is_served(server.addr()).await;
    }
    assert_eq!(local.records("s").len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_body_in_chunks_is_cut_off_where_it_becomes_too_large() {
    let (local, server) = served().await;
    let mut socket = connect(server.addr()).await;
    let head = head("PutRecord", "Transfer-Encoding: chunked\r\n");
    within(socket.write_all(head.as_bytes())).await.unwrap();
    let mut chunk = b"100000\r\n".to_vec();
    chunk.extend(vec![b' '; 1 << 20]);
    chunk.extend(b"\r\n");
    let mut sent = 0;
    // It never ends of itself.
    while within(socket.write_all(&chunk)).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "{sent} MiB were taken");
        a_neighbour_is_served(server.addr()).await;
    }
    let answer = rest(&mut socket).await;
    // The answer may be lost to the reset of a connection that still sends.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
        "{answer}"
    );
    assert!(local.journal().iter().all(|request| request.status == 200));
    server.stop().await;
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let (_, server) = served().await;
    let long = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
    let many = (0..1_000)
        .map(|n| format!("X-{n}: y\r\n"))
        .collect::<String>();
    for headers in [long, many] {
        let mut socket = connect(server.addr()).await;
        // It may be closed before all is written.
        let _ = within(socket.write_all(head("PutRecord", &headers).as_bytes())).await;
        let answer = rest(&mut socket).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
        a_neighbour_is_served(server.addr()).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_http_closes_only_its_own_connection() {
    let (local, server) = served().await;
    let garbage: [&[u8]; 7] = [
        b"\0",
        &[0xff; 100_000],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for (n, bytes) in garbage.into_iter().enumerate() {
        let mut socket = connect(server.addr()).await;
        let _ = within(socket.write_all(bytes)).await;
        let _ = socket.shutdown().await;
        let answer = rest(&mut socket).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
        a_neighbour_is_served(server.addr()).await;
        assert_eq!(local.records("s").len(), n + 1);
    }
    server.stop().await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `POST / http` with an authority, in HPACK's static table.
const REQUEST: &[u8] = b"\x83\x86\x84\x41\x01a";

/// Sends frames of a flood for as long as they are taken; gives how many went out before the end.
async fn flood(socket: &mut TcpStream, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let settings = frame(4, 0, 0, &[]);
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
    within(socket.write_all(&preface)).await.unwrap();
    let (mut reader, mut writer) = socket.split();
    // What comes back is read, or the server could not say that it has enough.
    let answers = async {
        let mut sink = Vec::new();
        while let Ok(1..) = reader.read_buf(&mut sink).await {
            sink.clear();
        }
    };
    let sending = async {
        for n in 0..50_000 {
            if writer.write_all(&next(n)).await.is_err() {
                return Some(n);
            }
        }
        None
    };
    within(async {
        tokio::select! {
            biased;
            () = answers => Some(0),
            sent = sending => sent,
        }
    })
    .await
}

#[tokio::test]
async fn floods_over_http_2_end_their_own_connection() {
    let (local, server) = served().await;
    // Streams that are reset at once, for ever (CVE-2023-44487).
    let mut socket = connect(server.addr()).await;
    let resets = flood(&mut socket, |n| {
        let stream = 2 * n + 1;
        [
            frame(1, 5, stream, REQUEST),
            frame(3, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    });
    assert!(resets.await.is_some(), "fifty thousand resets were taken");
    a_neighbour_is_served(server.addr()).await;
    // Headers without end (CVE-2024-27316).
    let mut socket = connect(server.addr()).await;
    let endless = flood(&mut socket, |n| {
        let kind = if n == 0 { 1 } else { 9 };
        frame(kind, 0, 1, &[0x40, 1, b'x', 1, b'y'].repeat(1_000))
    });
    assert!(endless.await.is_some(), "headers without end were taken");
    a_neighbour_is_served(server.addr()).await;
    assert_eq!(local.records("s").len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn pings_and_settings_without_end_hold_nobody_up() {
    let (local, server) = served().await;
    let mut socket = connect(server.addr()).await;
    flood(&mut socket, |_| frame(6, 0, 0, &[0; 8])).await;
    a_neighbour_is_served(server.addr()).await;
    let mut socket = connect(server.addr()).await;
    flood(&mut socket, |_| frame(4, 0, 0, &[])).await;
    a_neighbour_is_served(server.addr()).await;
    assert_eq!(local.records("s").len(), 2);
    server.stop().await;
}
