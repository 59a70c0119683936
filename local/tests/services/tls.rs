//! TLS: HTTP/1.1 and HTTP/2 by ALPN, own certificates and given ones, and clients that misbehave.

use crate::client::{base64, kinesis, plain};
use crate::http2;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use local::{Local, Server, Tls};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

async fn connect(
    addr: SocketAddr,
    ca: &str,
    name: &'static str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let socket = TcpStream::connect(addr).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name).unwrap(), socket)
        .await
}

fn put(uri: &str) -> Request<Full<Bytes>> {
    let body = json!({"StreamName": "s", "PartitionKey": "k", "Data": base64(b"x")});
    let mut request = kinesis("PutRecord", &body).map(Full::new);
    *request.uri_mut() = uri.parse().unwrap();
    request
}

/// Puts a record by HTTP/1.1; gives the shard it went to.
async fn put_over(stream: TlsStream<TcpStream>) -> String {
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let response = client.send_request(put("/")).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(client);
    // The server may close without TLS' farewell.
    let _ = driver.await.unwrap();
    let tree: Value = serde_json::from_slice(&body).unwrap();
    tree["ShardId"].as_str().unwrap().to_owned()
}

async fn served() -> (Local, Server, Tls) {
    let local = plain();
    local.create_stream("s", 1).unwrap();
    let tls = Tls::own(["localhost", "127.0.0.1"]).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = local.start_tls_on(any, &tls).await.unwrap();
    assert!(server.url().starts_with("https://127.0.0.1:"));
    (local, server, tls)
}

#[tokio::test]
async fn both_versions_of_http_are_chosen_by_alpn() {
    let (local, server, tls) = served().await;
    let ca = tls.ca_pem().unwrap();
    for (name, alpn) in [
        ("localhost", &[][..]),
        ("127.0.0.1", &[&b"http/1.1"[..]][..]),
    ] {
        let stream = connect(server.addr(), ca, name, alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), alpn.first().copied());
        assert_eq!(put_over(stream).await, "shardId-000000000000");
    }
    let both: [&[u8]; 2] = [b"h2", b"http/1.1"];
    let stream = connect(server.addr(), ca, "localhost", &both)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, driver) = http2::over(stream).await;
    let request = put("https://localhost/");
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    drop(response);
    drop(client);
    let _ = driver.await.unwrap();
    assert_eq!(local.records("s").len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn nobody_else_vouches_for_it() {
    let (_, server, tls) = served().await;
    let other = Tls::own(["localhost"]).unwrap();
    let strangers = other.ca_pem().unwrap();
    assert!(
        connect(server.addr(), strangers, "localhost", &[])
            .await
            .is_err()
    );
    let ca = tls.ca_pem().unwrap();
    assert!(
        connect(server.addr(), ca, "elsewhere.example", &[])
            .await
            .is_err()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_from_files_is_shown() {
    let local = plain();
    local.create_stream("s", 1).unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = pair.cert.pem();
    let key = pair.signing_key.serialize_pem();
    let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(tls.ca_pem(), None);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = local.start_tls_on(any, &tls).await.unwrap();
    let stream = connect(server.addr(), &certificate, "localhost", &[])
        .await
        .unwrap();
    assert_eq!(put_over(stream).await, "shardId-000000000000");
    server.stop().await;
}

#[tokio::test]
async fn garbage_before_tls_closes_only_its_own_connection() {
    let (local, server, tls) = served().await;
    let ca = tls.ca_pem().unwrap();
    let good = connect(server.addr(), ca, "localhost", &[]).await.unwrap();
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 4_096],
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01],
        b"\0",
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(server.addr()).await.unwrap();
        // It may be closed before all is written.
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        // An alert of TLS at most; never an answer.
        assert!(rest.len() < 16, "{rest:?}");
    }
    assert_eq!(put_over(good).await, "shardId-000000000000");
    assert_eq!(local.records("s").len(), 1);
    server.stop().await;
}

/// For how long such a handshake is waited for is shown beside the server, on a paused clock.
#[tokio::test]
async fn handshakes_that_are_never_finished_hold_nobody_up() {
    let (local, server, tls) = served().await;
    let ca = tls.ca_pem().unwrap();
    // The start of a ClientHello that announces more than comes.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut half = Vec::new();
    for n in 0..200 {
        let mut socket = TcpStream::connect(server.addr()).await.unwrap();
        socket.write_all(&hello[..n % hello.len()]).await.unwrap();
        half.push(socket);
    }
    let stream = connect(server.addr(), ca, "localhost", &[]).await.unwrap();
    assert_eq!(put_over(stream).await, "shardId-000000000000");
    assert_eq!(local.records("s").len(), 1);
    // Nor do they hold a stop up.
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_idle_connections_are_no_burden() {
    let (local, server, tls) = served().await;
    let ca = tls.ca_pem().unwrap();
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(TcpStream::connect(server.addr()).await.unwrap());
    }
    let stream = connect(server.addr(), ca, "localhost", &[]).await.unwrap();
    assert_eq!(put_over(stream).await, "shardId-000000000000");
    assert_eq!(local.records("s").len(), 1);
    // Nor do they hold a stop up.
    server.stop().await;
    for mut socket in idle {
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }
}
