//! User records in a CPU-second of the whole process.

use super::super::meter::{allocations, apart, memory, process_cpu};
use super::super::records::Maker;
use super::{Figures, Load, ProbeOptions, nothing_failed};
use crate::Failure;
use kpl::{Producer, Record};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Slices that are made together, so that the clock is read rarely.
const TOGETHER: usize = 10;

pub async fn measure(options: &ProbeOptions, load: &Load) -> Figures {
    let mut builder = options.builder()?;
    if let Some(bytes) = load.aggregate {
        builder = builder.aggregation_max_size(bytes);
    }
    if let Some(bytes) = load.bound {
        // A record is charged its key and 64 bytes on top of its data: the bytes decide.
        builder = builder
            .max_buffered_bytes(bytes)
            .max_buffered_records(bytes / 64);
    }
    if let Some(records) = load.records {
        builder = builder.max_buffered_records(records);
    }
    let producer = builder.build().await?;
    // Connections stand and memory is touched before it counts.
    offer(&producer, load, Duration::from_millis(options.time / 8)).await?;
    let began = (
        Instant::now(),
        process_cpu(),
        allocations(),
        producer.stats(),
    );
    let making = offer(&producer, load, Duration::from_millis(options.time)).await?;
    let cpu = process_cpu().saturating_sub(began.1);
    let wall = began.0.elapsed();
    let allocations = allocations() - began.2;
    let stats = producer.stats();
    nothing_failed(&producer)?;
    let records = stats.delivered - began.3.delivered;
    if stats.outstanding_records > 0 {
        return Err(format!("flushed, and yet outstanding: {stats:?}").into());
    }
    Ok(json!({
        "records": records,
        "cpu": cpu.saturating_sub(making).as_secs_f64(),
        "making": making.as_secs_f64(),
        "wall": wall.as_secs_f64(),
        "allocations": allocations,
        "requests": stats.requests - began.3.requests,
        "kinesis_records": stats.kinesis_records - began.3.kinesis_records,
        "resident": memory("VmHWM")?,
    }))
}

/// Puts for so long and flushes. Gives the CPU time that went into making the records.
async fn offer(producer: &Producer, load: &Load, time: Duration) -> Result<Duration, Failure> {
    let until = Instant::now() + time;
    let mut callers = JoinSet::new();
    for number in 0..load.callers {
        let maker = Maker::new(load.keys, load.size).numbered(number);
        callers.spawn(call(producer.clone(), maker, load.single, until));
    }
    let mut making = Duration::ZERO;
    while let Some(caller) = callers.join_next().await {
        making += caller??;
    }
    producer.flush().await;
    Ok(making)
}

async fn call(
    producer: Producer,
    mut maker: Maker,
    single: bool,
    until: Instant,
) -> Result<Duration, Failure> {
    let mut making = Duration::ZERO;
    while Instant::now() < until {
        let slices: Vec<Vec<Record>> = apart(&mut making, || {
            (0..TOGETHER).map(|_| maker.slice()).collect()
        });
        for slice in slices {
            if single {
                for record in slice {
                    producer.put(record).await?.forget();
                }
            } else {
                producer.put_all(slice).await?.forget();
            }
        }
    }
    Ok(making)
}
