//! Streams that distribute records themselves: records come without a partition key.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

#[path = "support/key.rs"]
mod key;

use aws_credential_types::Credentials as SigningKey;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use kcl::{
    Batch, Checkpointer, InitialPosition, ProcessorError, RecordProcessor, RenewalPlace, Scheduler,
    ShardContext,
};
use local::{Local, LocalOptions};
use runtime::{Chance, TokioClock, WallClock};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

const STREAM: &str = "orders";
const RECORDS: usize = 40;

/// Payload, and whether there was a partition key.
type Seen = Arc<Mutex<Vec<(String, bool)>>>;

struct Keys {
    seen: Seen,
    stop: CancellationToken,
}

impl RecordProcessor for Keys {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        let count = {
            let mut seen = self.seen.lock().unwrap();
            seen.extend(batch.records.iter().map(|record| {
                let data = String::from_utf8_lossy(&record.data).into_owned();
                (data, record.partition_key.is_some())
            }));
            seen.len()
        };
        at.checkpoint().await?;
        if count >= RECORDS {
            self.stop.cancel();
        }
        Ok(())
    }
}

/// Asks for what our own client does not know yet.
async fn ask(local: &Local, clock: &dyn WallClock, operation: &str, body: Value) {
    const URL: &str = "http://localhost/";
    let target = format!("Kinesis_20131202.{operation}");
    let headers = [
        ("host", "localhost"),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", &target),
    ];
    let body = bytes::Bytes::from(body.to_string());
    let mut request = http::Request::post(URL).body(body.clone()).unwrap();
    for (name, value) in headers {
        let value = http::HeaderValue::from_str(value).unwrap();
        request.headers_mut().insert(name, value);
    }
    let (id, secret) = key::KEY;
    let identity = SigningKey::new(id, secret, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("kinesis")
        .time(clock.now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let body = SignableBody::Bytes(&body);
    let signable = SignableRequest::new("POST", URL, headers.into_iter(), body).unwrap();
    let (signature, _) = sign(signable, &params).unwrap().into_parts();
    signature.apply_to_request_http1x(&mut request);
    let answer = local.handle(request).await.unwrap();
    assert!(answer.status().is_success(), "{:?}", answer.body());
}

#[tokio::test(start_paused = true)]
async fn records_without_a_partition_key_are_delivered_without_one() {
    let clock: Arc<dyn WallClock> = Arc::new(TokioClock::new());
    let options = LocalOptions {
        clock: Some(Arc::clone(&clock)),
        ..LocalOptions::default()
    };
    let local = Local::new(key::verified(options)).unwrap();
    let create = json!({
        "StreamName": STREAM,
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
        "RecordDistributionStrategy": "AUTO",
    });
    ask(&local, &*clock, "CreateStream", create).await;
    // "bm90ZQ==" is "note"; one record in ten has a key all the same.
    let entries: Vec<Value> = (0..RECORDS)
        .map(|n| match n % 10 {
            0 => json!({"Data": "bm90ZQ==", "PartitionKey": format!("key-{n}")}),
            _ => json!({"Data": "bm90ZQ=="}),
        })
        .collect();
    ask(
        &local,
        &*clock,
        "PutRecords",
        json!({"StreamName": STREAM, "Records": entries}),
    )
    .await;

    let served = local.clone();
    let handler = move |request| {
        let local = served.clone();
        async move { local.handle(request).await }
    };
    let config = aws::Config::builder()
        .region("us-east-1")
        .credentials(key::credentials())
        .clock(clock)
        .chance(Chance::seeded(1))
        .environment(aws::Environment::fixed([("HOME", "/nonexistent")]))
        .transport(Arc::new(aws::InProcess::new(handler)))
        .load()
        .unwrap();
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    let (all, end) = (Arc::clone(&seen), stop.clone());
    let keys = move |_: &ShardContext| Keys {
        seen: Arc::clone(&all),
        stop: end.clone(),
    };
    let worker = Scheduler::builder("app", STREAM, keys)
        .aws(config)
        .chance(Chance::seeded(2))
        .renewal(RenewalPlace::CallersRuntime)
        .initial_position(InitialPosition::TrimHorizon)
        .build()
        .await
        .unwrap();
    worker.run(stop).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), RECORDS);
    assert_eq!(seen.iter().filter(|(_, key)| *key).count(), RECORDS / 10);
    assert!(seen.iter().all(|(data, _)| data == "note"));
}
