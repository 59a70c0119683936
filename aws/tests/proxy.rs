//! Requests through a proxy, and those that never go through one.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

use aws::kinesis::Client;
use aws::{Config, ConfigBuilder, ConfigError, Credentials, Environment, Proxies, Proxy};
use local::{AccessKey, Local, LocalOptions, Server, Tls};
use parking_lot::Mutex;
use runtime::RetryPolicy;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A proxy that takes everyone to one server, whatever host is asked for.
#[derive(Clone)]
struct TestProxy {
    at: SocketAddr,
    /// The head of each request for a connection or to be forwarded.
    heads: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// Wants this `Proxy-Authorization`, if any.
    async fn to(server: SocketAddr, login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind(any_port()).await.unwrap();
        let proxy = Self {
            at: listener.local_addr().unwrap(),
            heads: Arc::default(),
        };
        let heads = Arc::clone(&proxy.heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, server, login, Arc::clone(&heads)));
            }
        });
        proxy
    }

    /// The first lines, each once.
    fn lines(&self) -> Vec<String> {
        let heads = self.heads.lock();
        let mut lines: Vec<String> = heads
            .iter()
            .filter_map(|head| Some(head.lines().next()?.to_owned()))
            .collect();
        lines.dedup();
        lines
    }
}

async fn serve(
    mut stream: TcpStream,
    server: SocketAddr,
    login: Option<&'static str>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8(head.clone()).unwrap();
    heads.lock().push(text.clone());
    let header = "proxy-authorization: ";
    let said = text.lines().find_map(|line| {
        let small = line.to_ascii_lowercase();
        small
            .starts_with(header)
            .then(|| line.split_at(header.len()).1)
    });
    if login.is_some() && said != login {
        let refusal =
            "HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        return;
    }
    let mut onward = TcpStream::connect(server).await.unwrap();
    if text.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        onward.write_all(&head).await.unwrap();
    }
    // The end of one side ends the other: what of it is told does not matter here.
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

/// An endpoint that verifies signatures.
fn local() -> Local {
    let local = Local::new(LocalOptions {
        verify_signatures: vec![AccessKey::new("AKID", "hush")],
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("s", 1).unwrap();
    local
}

/// In TLS, with a certificate for `kinesis.test`, and the file of its authority.
async fn in_tls(directory: &Path) -> (Server, PathBuf) {
    let tls = Tls::own(["kinesis.test", "127.0.0.1"]).unwrap();
    let file = directory.join("ca.pem");
    std::fs::write(&file, tls.ca_pem().unwrap()).unwrap();
    (local().start_tls_on(any_port(), &tls).await.unwrap(), file)
}

fn address(server: &Server) -> SocketAddr {
    server.url().split_once("://").unwrap().1.parse().unwrap()
}

fn builder(vars: &[(&str, &str)], url: &str, ca: &Path) -> ConfigBuilder {
    let vars = vars.iter().copied().chain([("HOME", "/nonexistent")]);
    Config::builder()
        .region("us-east-1")
        .endpoint_url(url)
        .ca_file(ca)
        .credentials(Credentials::new("AKID", "hush", None))
        .environment(Environment::fixed(vars))
        .retry(RetryPolicy::none())
}

async fn streams(builder: ConfigBuilder) -> Result<Vec<String>, aws::Error> {
    let config = builder.load().unwrap();
    // Connections of one's own go the same way.
    let own = config.with_own_connections().unwrap();
    Client::new(&config).list_streams().await?;
    Client::new(&own).list_streams().await
}

// `me` and `p@ss` in base64.
const LOGIN: &str = "Basic bWU6cEBzcw==";

#[tokio::test]
async fn https_goes_through_a_tunnel_that_shows_host_and_port_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = in_tls(directory.path()).await;
    let proxy = TestProxy::to(address(&server), Some(LOGIN)).await;
    let url = format!("http://me:p%40ss@{}", proxy.at);
    for http2 in [false, true] {
        let vars = [("HTTPS_PROXY", url.as_str()), ("HTTP_PROXY", "http://x")];
        let by_variable = builder(&vars, "https://kinesis.test", &ca).http2(http2);
        assert_eq!(streams(by_variable).await.unwrap(), ["s"]);
    }
    assert_eq!(proxy.lines(), ["CONNECT kinesis.test:443 HTTP/1.1"]);
    for head in proxy.heads.lock().iter() {
        let small = head.to_ascii_lowercase();
        for name in ["authorization: aws4", "x-amz-target", "\r\ncontent-type"] {
            assert!(!small.contains(name), "{head}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_setter_goes_before_the_environment_and_logs_in() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = in_tls(directory.path()).await;
    let proxy = TestProxy::to(address(&server), Some(LOGIN)).await;
    let vars = [("HTTPS_PROXY", "http://nobody.invalid:1")];
    let set = Proxy::new(proxy.at.to_string()).unwrap();
    let set = set.with_login("me", "p@ss");
    let by_setter = builder(&vars, "https://kinesis.test", &ca).proxy(set.clone());
    assert_eq!(streams(by_setter).await.unwrap(), ["s"]);
    assert_eq!(proxy.lines(), ["CONNECT kinesis.test:443 HTTP/1.1"]);

    let wrong = set.with_login("me", "other-hush");
    let refused = builder(&[], "https://kinesis.test", &ca).proxy(wrong);
    let error = streams(refused).await.unwrap_err();
    assert!(!error.may_have_taken_effect());
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("proxy") && !text.contains("other-hush"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn http_is_forwarded() {
    let server = local().start_on(any_port()).await.unwrap();
    let proxy = TestProxy::to(address(&server), Some(LOGIN)).await;
    let directory = tempfile::tempdir().unwrap();
    let (other, ca) = in_tls(directory.path()).await;
    let url = format!("http://me:p%40ss@{}", proxy.at);
    let vars = [("http_proxy", url.as_str())];
    let plain = builder(&vars, "http://kinesis.test:4567", &ca);
    assert_eq!(streams(plain).await.unwrap(), ["s"]);
    assert_eq!(proxy.lines(), ["POST http://kinesis.test:4567/ HTTP/1.1"]);
    server.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn excepted_hosts_and_this_machine_are_called_directly() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = in_tls(directory.path()).await;
    let proxy = TestProxy::to(address(&server), None).await;
    let at = format!("http://{}", proxy.at);
    let here = builder(&[("ALL_PROXY", &at)], &server.url(), &ca);
    assert_eq!(streams(here).await.unwrap(), ["s"]);
    let set = Proxy::new(&at).unwrap();
    let here = builder(&[], &server.url(), &ca).proxy(set.clone());
    assert_eq!(streams(here).await.unwrap(), ["s"]);
    // Nobody has this name: a direct call finds no one.
    for (vars, how) in [
        (
            vec![("HTTPS_PROXY", at.as_str()), ("NO_PROXY", "a, .test")],
            0,
        ),
        (vec![("HTTPS_PROXY", at.as_str()), ("no_proxy", "*")], 0),
        (vec![("NO_PROXY", "kinesis.test")], 1),
        (vec![("HTTPS_PROXY", at.as_str())], 2),
    ] {
        let direct = builder(&vars, "https://kinesis.test", &ca);
        let direct = match how {
            0 => direct,
            1 => direct.proxy(set.clone()),
            _ => direct.proxies(Proxies::default()),
        };
        assert!(streams(direct).await.is_err(), "{vars:?}");
    }
    assert!(proxy.heads.lock().is_empty());
    server.stop().await;
}

#[test]
fn a_variable_that_is_no_proxy_is_named_without_its_password() {
    let vars = [("HTTPS_PROXY", "ftp://me:p@proxy")];
    let bad = builder(&vars, "https://kinesis.test", Path::new("/nonexistent"));
    let error = bad.load().unwrap_err();
    assert!(matches!(error, ConfigError::BadProxy { .. }));
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("HTTPS_PROXY") && !text.contains("me:p@"),
        "{text}"
    );
}
