//! A client that verifies no certificate works, and says so each time one is made. In a process of its
//! own: which events are built is settled for the whole process, by whoever comes first.

use aws::kinesis::Client;
use aws::{Config, Credentials, Environment};
use local::{AccessKey, Local, LocalOptions, Tls};
use std::io;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Default)]
struct Captured(Arc<parking_lot::Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn warnings(&self) -> usize {
        let logged = String::from_utf8_lossy(&self.0.lock()).into_owned();
        logged.matches("certificates are not verified").count()
    }
}

#[tokio::test]
async fn unverified_clients_work_and_say_so_each_time() {
    let captured = Captured::default();
    let writer = captured.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(move || writer.clone())
        .init();
    let local = Local::new(LocalOptions {
        verify_signatures: vec![AccessKey::new("AKID", "hush")],
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("s", 1).unwrap();
    // Neither its authority nor its host is right.
    let tls = Tls::own(["elsewhere"]).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = local.start_tls_on(any, &tls).await.unwrap();
    let config = |verify: bool, http2: bool| {
        Config::builder()
            .region("us-east-1")
            .endpoint_url(server.url())
            .credentials(Credentials::new("AKID", "hush", None))
            .environment(Environment::fixed([("HOME", "/nonexistent")]))
            .verify_certificate(verify)
            .http2(http2)
            .load()
            .unwrap()
    };
    let verified = config(true, false);
    assert_eq!(captured.warnings(), 0);
    let one_attempt = verified.with_retry(runtime::RetryPolicy::none());
    assert!(Client::new(&one_attempt).list_streams().await.is_err());
    for (made, http2) in [(1, false), (3, true)] {
        let config = config(false, http2);
        assert_eq!(captured.warnings(), made);
        assert_eq!(Client::new(&config).list_streams().await.unwrap(), ["s"]);
        assert_eq!(captured.warnings(), made, "not for each request");
        let own = config.with_own_connections().unwrap();
        assert_eq!(captured.warnings(), made + 1);
        assert_eq!(Client::new(&own).list_streams().await.unwrap(), ["s"]);
    }
    server.stop().await;
}
