//! A record each millisecond: how long until its receipt resolves, and what CPU time it takes.

use super::super::meter::process_cpu;
use super::super::records::{Keys, Maker};
use super::{Figures, ProbeOptions, nothing_failed};
use crate::Failure;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kpl::Producer;
use serde_json::json;
use std::hint::black_box;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub async fn measure(options: &ProbeOptions, without: bool) -> Figures {
    let producer = if without {
        None
    } else {
        let builder = options.builder()?;
        let wait = Duration::from_millis(100);
        Some(builder.record_max_buffered_time(wait).build().await?)
    };
    // On a thread of the runtime, as in a program that is all tasks.
    let (cpu, mut times) = tokio::spawn(pace(producer.clone(), options.time)).await??;
    let mut requests = 0;
    if let Some(producer) = &producer {
        nothing_failed(producer)?;
        requests = producer.stats().requests;
    }
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get(times.len().saturating_sub(1) * percent / 100);
        time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Ok(json!({
        "records": options.time,
        "cpu": cpu.as_secs_f64(),
        "requests": requests,
        "p50": at(50),
        "p99": at(99),
    }))
}

/// One task that puts and waits for receipts, for so many milliseconds. Gives the CPU time of the
/// process and each record's time.
async fn pace(producer: Option<Producer>, time: u64) -> Result<(Duration, Vec<Duration>), Failure> {
    let warm_up = time / 8;
    let mut maker = Maker::new(Keys::Distinct, 100);
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut times = Vec::new();
    let mut receipts = FuturesUnordered::new();
    let mut began = process_cpu();
    let mut number = 0;
    while number < warm_up + time || !receipts.is_empty() {
        tokio::select! {
            biased;
            Some((counts, took)) = receipts.next(), if !receipts.is_empty() => {
                if counts {
                    times.push(took);
                }
            }
            _ = tick.tick(), if number < warm_up + time => {
                if number == warm_up {
                    began = process_cpu();
                }
                let counts = number >= warm_up;
                number += 1;
                let record = maker.record();
                let Some(producer) = &producer else {
                    black_box(record);
                    continue;
                };
                let at = Instant::now();
                let receipt = producer.put(record).await?;
                receipts.push(async move {
                    let delivered = receipt.await;
                    (counts && delivered.is_ok(), at.elapsed())
                });
            }
        }
    }
    Ok((process_cpu().saturating_sub(began), times))
}
