//! HTTP/2 and TLS: what is agreed on, who is trusted, and what is said when someone is not.

use crate::lives::{stream_life, table_life};
use crate::{config, local};
use aws::{
    CaFileError, Config, ConfigError, Environment, Error, ErrorKind, HttpSettings, HttpTransport,
    InProcess, Transport, TransportError,
};
use bytes::Bytes;
use http::Version;
use local::{Server, Tls};
use runtime::RetryPolicy;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An endpoint in TLS, and the file of the authority that signed its certificate.
async fn in_tls(directory: &Path) -> (Server, PathBuf) {
    let tls = Tls::own(["127.0.0.1"]).unwrap();
    let file = directory.join("ca.pem");
    std::fs::write(&file, tls.ca_pem().unwrap()).unwrap();
    (local().start_tls_on(any_port(), &tls).await.unwrap(), file)
}

/// The version of HTTP that an answer comes by.
async fn version(settings: HttpSettings, url: &str) -> Version {
    let transport = HttpTransport::with_settings(settings).unwrap();
    let transport = transport.separate().unwrap().unwrap();
    let request = http::Request::get(format!("{url}/")).body(Bytes::new().into());
    let answer = transport.call(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.version()
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let plain = local().start_on(any_port()).await.unwrap();
    let (secure, ca) = in_tls(directory.path()).await;
    for (http2, expected) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let settings = HttpSettings::default().with_http2(http2).with_ca_file(&ca);
        assert_eq!(version(settings.clone(), &plain.url()).await, expected);
        assert_eq!(version(settings, &secure.url()).await, expected);
    }
    plain.stop().await;
    secure.stop().await;
}

#[tokio::test]
async fn all_operations_over_http_2_and_in_tls() {
    let directory = tempfile::tempdir().unwrap();
    let plain = local().start_on(any_port()).await.unwrap();
    let (secure, ca) = in_tls(directory.path()).await;
    for (http2, url) in [
        (true, plain.url()),
        (true, secure.url()),
        (false, secure.url()),
    ] {
        let config = config()
            .endpoint_url(url)
            .http2(http2)
            .ca_file(&ca)
            .load()
            .unwrap();
        stream_life(&config).await;
        table_life(&config).await;
    }
    plain.stop().await;
    secure.stop().await;
}

/// The first bytes that a configuration's client sends, to a server that says nothing.
async fn first_bytes(config: impl FnOnce(String) -> Config) -> [u8; 4] {
    let listener = TcpListener::bind(any_port()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = std::thread::spawn(move || {
        let mut first = [0; 4];
        listener.accept().unwrap().0.read_exact(&mut first).unwrap();
        first
    });
    let kinesis = aws::kinesis::Client::new(&config(url).with_retry(RetryPolicy::none()));
    let lost = kinesis.list_streams().await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Transient, "{lost}");
    accepted.join().unwrap()
}

#[tokio::test]
async fn every_copy_of_a_configuration_keeps_its_version() {
    for (http2, begins) in [(false, b"POST"), (true, b"PRI ")] {
        let made = |url| config().endpoint_url(url).http2(http2).load().unwrap();
        assert_eq!(&first_bytes(made).await, begins);
        let own = |url| made(url).with_own_connections().unwrap();
        assert_eq!(&first_bytes(own).await, begins);
        let quick = |url| {
            let bound = Duration::from_secs(1);
            made(url).with_connect_timeout(bound).unwrap()
        };
        assert_eq!(&first_bytes(quick).await, begins);
    }
}

/// Requests share a connection of HTTP/2: one that nobody answers on is given up before an attempt's time
/// is over, so that the next attempt has another.
#[tokio::test(start_paused = true)]
async fn a_dead_connection_of_http_2_is_noticed() {
    // The system takes connections and bytes for it; nobody ever reads them.
    let listener = TcpListener::bind(any_port()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = config().endpoint_url(url).http2(true).load().unwrap();
    let began = tokio::time::Instant::now();
    let lost = streams(&config).await.unwrap_err();
    assert!(
        matches!(
            &lost,
            Error::Transport {
                source: TransportError::Lost(_),
                ..
            }
        ),
        "{lost:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(15), "{lost}");
    assert!(lost.may_have_taken_effect() && lost.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_transport_of_the_callers_own_stays_whatever_the_connect_timeout() {
    let answering = InProcess::new(|_: http::Request<Bytes>| async {
        Ok::<_, std::io::Error>(http::Response::new(Bytes::from_static(b"\xa0")))
    });
    let config = config().transport(Arc::new(answering)).load().unwrap();
    let config = config.with_connect_timeout(Duration::from_secs(1)).unwrap();
    let kinesis = aws::kinesis::Client::new(&config);
    assert!(kinesis.list_streams().await.unwrap().is_empty());
}

/// A server whose certificate, signed by itself, is trusted by the file, and that offers no protocol;
/// it answers one request.
fn without_alpn(directory: &Path) -> (String, PathBuf) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = directory.join("own.pem");
    std::fs::write(&file, own.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind(any_port()).unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    std::thread::spawn(move || {
        let socket = listener.accept().unwrap().0;
        let connection = rustls::ServerConnection::new(Arc::new(tls)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert_eq!(head.matches("\r\nhost: localhost:").count(), 1, "{head}");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    (url, file)
}

#[tokio::test]
async fn a_server_that_knows_no_http_2_is_spoken_to_in_http_1() {
    let directory = tempfile::tempdir().unwrap();
    let (url, ca) = without_alpn(directory.path());
    let settings = HttpSettings::default().with_http2(true).with_ca_file(ca);
    assert_eq!(version(settings, &url).await, Version::HTTP_11);
}

async fn streams(config: &Config) -> Result<Vec<String>, Error> {
    let config = config.with_retry(RetryPolicy::none());
    aws::kinesis::Client::new(&config).list_streams().await
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_the_way_out_told() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = in_tls(directory.path()).await;
    let other = directory.path().join("other.pem");
    std::fs::write(&other, Tls::own(["x"]).unwrap().ca_pem().unwrap()).unwrap();
    let base = || config().endpoint_url(server.url());
    // A machine without any root certificates refuses all the more.
    for config in [
        base(),
        base().ca_file(&other),
        base().ca_file(&other).http2(true),
    ] {
        let refused = streams(&config.load().unwrap()).await.unwrap_err();
        assert!(
            matches!(
                &refused,
                Error::Transport {
                    source: TransportError::Certificate(_),
                    ..
                }
            ),
            "{refused:?}"
        );
        assert!(!refused.may_have_taken_effect() && refused.is_retryable());
        let text = refused.to_string();
        for told in [
            &server.url(),
            "invalid peer certificate",
            "ca_file",
            "AWS_CA_BUNDLE",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
    // One file may trust several.
    let both = directory.path().join("both.pem");
    let text = [other, ca].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(&both, text.concat()).unwrap();
    assert!(
        streams(&base().ca_file(&both).load().unwrap())
            .await
            .is_ok()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = in_tls(directory.path()).await;
    let url = server.url().replace("127.0.0.1", "localhost");
    let config = config().endpoint_url(url).ca_file(ca).load().unwrap();
    let text = streams(&config).await.unwrap_err().to_string();
    assert!(text.contains("not valid for name \"localhost\""), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn the_first_place_that_names_a_ca_file_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (server, ca) = in_tls(directory.path()).await;
    let profile = directory.path().join("config");
    let missing = directory.path().join("missing.pem");
    let (ca, missing) = (ca.to_str().unwrap(), missing.to_str().unwrap());
    let load = |file: Option<&str>, variable: Option<&str>, in_profile: &str| {
        std::fs::write(&profile, format!("[default]\nca_bundle = {in_profile}\n")).unwrap();
        let variables = [("AWS_CONFIG_FILE", profile.to_str().unwrap())];
        let bundle = variable.map(|path| ("AWS_CA_BUNDLE", path));
        let mut config = config()
            .endpoint_url(server.url())
            .environment(Environment::fixed(variables.into_iter().chain(bundle)));
        if let Some(file) = file {
            config = config.ca_file(file);
        }
        config.load()
    };
    for good in [
        load(Some(ca), Some(missing), missing),
        load(None, Some(ca), missing),
        load(None, None, ca),
    ] {
        assert!(streams(&good.unwrap()).await.is_ok());
    }
    for (bad, named) in [
        (load(Some(missing), Some(ca), ca), "ca_file: "),
        (load(None, Some(missing), ca), "AWS_CA_BUNDLE: "),
        (load(None, None, missing), "ca_bundle of the profile: "),
    ] {
        let text = bad.unwrap_err().to_string();
        assert!(text.starts_with(named) && text.contains(missing), "{text}");
    }
    server.stop().await;
}

#[test]
fn files_that_are_of_no_use_are_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let good = Tls::own(["x"]).unwrap().ca_pem().unwrap().to_owned();
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let end = "-----END CERTIFICATE-----\n";
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let cases = [
        ("nonsense", "holds no certificate"),
        ("", "holds no certificate"),
        (&key, "holds no certificate"),
        (
            &format!("{good}{begin}AAAA"),
            "damaged PEM at certificate 2",
        ),
        (&format!("{begin}*{end}"), "damaged PEM at certificate 1"),
        (
            &format!("{good}{begin}AAAA\n{end}"),
            "certificate 2 cannot be trusted",
        ),
    ];
    let path = directory.path().join("bad.pem");
    for (text, why) in cases {
        std::fs::write(&path, text).unwrap();
        // Also where certificates are not verified at all.
        for verify in [true, false] {
            let error = config()
                .ca_file(&path)
                .verify_certificate(verify)
                .load()
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }
    let missing = config().ca_file("/nonexistent/ca.pem").load().unwrap_err();
    assert!(
        matches!(
            &missing,
            ConfigError::CaFile {
                source: CaFileError::Unreadable { .. },
                ..
            }
        ),
        "{missing:?}"
    );
    let text = missing.to_string();
    assert!(
        text.contains("/nonexistent/ca.pem") && text.contains("PEM"),
        "{text}"
    );
}
