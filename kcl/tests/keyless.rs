//! Streams that distribute records themselves: records come without a partition key.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

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

async fn ask(local: &Local, operation: &str, body: Value) {
    let request = http::Request::post("/")
        .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .body(body.to_string().into_bytes().into())
        .unwrap();
    let answer = local.handle(request).await.unwrap();
    assert!(answer.status().is_success(), "{:?}", answer.body());
}

#[tokio::test(start_paused = true)]
async fn records_without_a_partition_key_are_delivered_without_one() {
    let clock: Arc<dyn WallClock> = Arc::new(TokioClock::new());
    let local = Local::new(LocalOptions {
        clock: Some(Arc::clone(&clock)),
        ..LocalOptions::default()
    })
    .unwrap();
    let create = json!({
        "StreamName": STREAM,
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
        "RecordDistributionStrategy": "AUTO",
    });
    ask(&local, "CreateStream", create).await;
    // "bm90ZQ==" is "note"; one record in ten has a key all the same.
    let entries: Vec<Value> = (0..RECORDS)
        .map(|n| match n % 10 {
            0 => json!({"Data": "bm90ZQ==", "PartitionKey": format!("key-{n}")}),
            _ => json!({"Data": "bm90ZQ=="}),
        })
        .collect();
    ask(
        &local,
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
        .credentials(aws::Credentials::new("local", "local", None))
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
