//! A service that sends records through the producer library.

use crate::Failure;
use crate::messages::{Message, Place};
use crate::payload::{self, Source};
use crate::resources;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kpl::{Producer, Record};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Records that are handed over at once.
const SLICE: u64 = 100;

/// Seconds to wait at the end for what is under way.
const DRAIN: Duration = Duration::from_secs(60);

pub async fn run(
    place: &Place,
    stream: &str,
    records: u64,
    seconds: u64,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let (config, requests) = resources::config(place)?;
    let producer = Producer::builder(stream).aws(config).build().await?;
    let mut chance = fastrand::Rng::with_seed(records);
    let mut receipts = FuturesUnordered::new();
    let (mut sent, mut delivered, mut failed) = (0, 0, 0);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut progress = tokio::time::interval(Duration::from_millis(200));
    // Twenty steps a second, each with its part of the records.
    let step = records.div_ceil(seconds * 20).max(1);
    let mut due = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = progress.tick() => super::tell(&Message::Sent { sent, delivered, failed })?,
            Some(outcomes) = receipts.next() => {
                for outcome in outcomes {
                    match outcome {
                        Ok(_) => delivered += 1,
                        Err(error) => {
                            failed += 1;
                            tracing::error!(%error, "a record was given up");
                        }
                    }
                }
            }
            _ = pace.tick(), if due < records => due = records.min(due + step),
        }
        while sent < due {
            let upto = due.min(sent + SLICE);
            let slice: Vec<Record> = (sent..upto).map(|id| record(id, &mut chance)).collect();
            // Waits while the producer is full: this is where a stream that cannot keep up shows.
            receipts.push(producer.put_all(slice).await?);
            sent = upto;
        }
        if sent == records && receipts.is_empty() {
            break;
        }
    }
    let report = producer.close(DRAIN).await;
    super::tell(&Message::Sent {
        sent,
        delivered,
        failed,
    })?;
    super::tell(&Message::Done {
        requests: requests.counts(),
        note: Some(format!("{report:?}")),
    })
}

/// 50 B to 2 KB, on the average about 355 B; one key in 10,000.
fn record(id: u64, chance: &mut fastrand::Rng) -> Record {
    let length = if chance.u32(..100) < 92 {
        chance.usize(50..500)
    } else {
        chance.usize(500..=2_048)
    };
    let key = format!("key-{}", chance.u32(..10_000));
    Record::new(key, payload::write(Source::Producer, id, length))
}
