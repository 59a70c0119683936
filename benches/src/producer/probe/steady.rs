//! Numbered records at a steady rate, in slices of a hundred; what `kpl-java/Steady.java` does by the
//! official library, and says in the same words.

use super::super::ledger::UNCOUNTED;
use super::super::records::{Keys, Maker, SLICE};
use super::ProbeOptions;
use crate::Failure;
use clap::Args;
use kpl::{BatchReceipt, Producer, Record};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

#[derive(Debug, Clone, Args)]
pub struct Load {
    #[arg(long)]
    size: usize,
    /// The number of the first.
    #[arg(long)]
    from: u64,
    #[arg(long)]
    records: u64,
    /// A second.
    #[arg(long)]
    rate: u64,
    /// `RecordMaxBufferedTime`, in milliseconds.
    #[arg(long)]
    buffered: u64,
    #[arg(long)]
    idempotent: bool,
    #[arg(long)]
    spool: Option<PathBuf>,
}

pub async fn run(options: &ProbeOptions, load: &Load) -> Result<(), Failure> {
    let mut builder = Producer::builder("bench")
        .aws(options.config()?)
        .record_max_buffered_time(Duration::from_millis(load.buffered))
        .idempotent(load.idempotent);
    if let Some(directory) = &load.spool {
        builder = builder.spool(directory);
    }
    let producer = builder.build().await?;
    let mut maker = Maker::new(Keys::Distinct, load.size);
    producer.put(maker.carrying(UNCOUNTED)).await?.await?;
    println!("begin");

    let began = Instant::now();
    let until = began + Duration::from_millis(options.time);
    let (receipts, receiving) = mpsc::unbounded_channel();
    let outcomes = tokio::spawn(outcomes(receiving));
    let (mut records, mut bytes) = (0, 0);
    let before = producer.stats().admitted;
    let end = load.from + load.records;
    let mut number = load.from;
    while number < end && Instant::now() < until {
        let offered = number - load.from;
        sleep_until(began + Duration::from_nanos(offered * 1_000_000_000 / load.rate)).await;
        let next = end.min(number + u64::try_from(SLICE)?);
        let slice: Vec<Record> = (number..next)
            .map(|number| maker.carrying(number))
            .collect();
        // Whoever waits when the time is over goes without.
        let Ok(put) = timeout_at(until, producer.put_all(slice)).await else {
            break;
        };
        receipts.send(put?)?;
        number = next;
        println!("admitted {number}");
        let outstanding = producer.outstanding();
        records = records.max(outstanding.records);
        bytes = bytes.max(outstanding.bytes);
    }
    drop(receipts);
    let admitted = producer.stats().admitted - before;
    println!("offered {admitted} {records} {bytes}");
    producer.flush().await;
    let Outcomes {
        delivered,
        failed,
        attempts,
    } = outcomes.await?;
    producer.close(Duration::from_secs(10)).await;
    println!("end {delivered} {failed} {attempts}");
    Ok(())
}

#[derive(Debug, Default)]
struct Outcomes {
    delivered: u64,
    failed: u64,
    attempts: u64,
}

async fn outcomes(mut receipts: mpsc::UnboundedReceiver<BatchReceipt>) -> Outcomes {
    let mut all = Outcomes::default();
    while let Some(receipt) = receipts.recv().await {
        for outcome in receipt.await.outcomes() {
            match outcome {
                Ok(delivered) => {
                    all.delivered += 1;
                    all.attempts += delivered.attempts.count();
                }
                Err(error) => {
                    all.failed += 1;
                    all.attempts += error.attempts().count();
                }
            }
        }
    }
    all
}
