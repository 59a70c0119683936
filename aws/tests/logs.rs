//! No log shows a secret, whatever its level, also those of dependencies. In a process of its own: which
//! events are built is settled for the whole process, by whoever comes first.

use aws::kinesis::{Client, IteratorPosition};
use aws::{Config, Credentials, Environment};
use mockito::Server;
use std::io;
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FwoGZXIvYXdzEXAMPLETOKEN";

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

#[tokio::test]
async fn no_log_of_any_level_shows_a_secret() {
    let captured = Captured::default();
    let writer = captured.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let mut server = Server::new_async().await;
    let refusal = format!(
        r#"{{"__type":"InvalidSignatureException","message":"x-amz-security-token:{TOKEN}"}}"#
    );
    for (status, body) in [(503, String::new()), (400, refusal)] {
        server
            .mock("POST", "/")
            .with_status(status)
            .with_body(body)
            .expect(1)
            .create_async()
            .await;
    }
    let config = Config::builder()
        .region("eu-west-1")
        .endpoint_url(server.url())
        .credentials(Credentials::new("AKID", SECRET, Some(TOKEN.to_owned())))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
        .load()
        .unwrap();
    let error = Client::new(&config)
        .get_shard_iterator("s", "shardId-0", &IteratorPosition::Latest)
        .await
        .unwrap_err();
    tracing::error!(%error, ?error, ?config, "failed");
    let logged = String::from_utf8(captured.0.lock().clone()).unwrap();
    for seen in [
        "signing request",
        "canonical_request",
        "trying again",
        "hyper",
    ] {
        assert!(logged.contains(seen), "the logs are not seen: {seen}");
    }
    for secret in [SECRET, TOKEN] {
        // mockito shares the process, and tells of the headers that it received.
        for line in logged.lines().filter(|line| !line.contains("mockito")) {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
