//! A client that verifies no certificate works, and says so each time one is made.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

#[path = "support/captured.rs"]
mod captured;

use aws::kinesis::Client;
use aws::{Config, Credentials, Environment};
use captured::Captured;
use local::{AccessKey, Local, LocalOptions, Tls};
use tracing_subscriber::filter::LevelFilter;

fn warnings(captured: &Captured) -> usize {
    let logged = captured.text();
    logged.matches("certificates are not verified").count()
}

#[tokio::test]
async fn unverified_clients_work_and_say_so_each_time() {
    let captured = Captured::from_now(LevelFilter::WARN);
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
    assert_eq!(warnings(&captured), 0);
    let one_attempt = verified.with_retry(runtime::RetryPolicy::none());
    assert!(Client::new(&one_attempt).list_streams().await.is_err());
    for (made, http2) in [(1, false), (3, true)] {
        let config = config(false, http2);
        assert_eq!(warnings(&captured), made);
        assert_eq!(Client::new(&config).list_streams().await.unwrap(), ["s"]);
        assert_eq!(warnings(&captured), made, "not for each request");
        let own = config.with_own_connections().unwrap();
        assert_eq!(warnings(&captured), made + 1);
        assert_eq!(Client::new(&own).list_streams().await.unwrap(), ["s"]);
    }
    server.stop().await;
}
