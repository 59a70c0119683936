//! User records in a CPU-second of the whole process.

use super::super::meter::{allocations, apart, memory, process_cpu};
use super::super::records::Maker;
use super::{Figures, Load, ProbeOptions, nothing_failed};
use crate::Failure;
use kpl::{Producer, Record, Stats};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Slices that are made together, so that the clock is read rarely, and yet what is put was made just now.
const TOGETHER: usize = 2;

/// How often is looked whether more is outstanding than before.
const LOOK: Duration = Duration::from_millis(250);
/// By then it counts, come what may.
const LONGEST_RISE: Duration = Duration::from_secs(60);

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
    if let Some(buffered) = load.buffered {
        builder = builder.record_max_buffered_time(Duration::from_millis(buffered));
    }
    if let Some(records) = load.records {
        builder = builder.max_buffered_records(records);
    }
    let producer = builder.build().await?;
    let callers = Callers::start(&producer, load);
    risen(&producer, Duration::from_millis(options.time / 4)).await;
    let began = Count::now(&producer, &callers);
    tokio::time::sleep(Duration::from_millis(options.time)).await;
    let ended = Count::now(&producer, &callers);
    callers.stop().await?;
    producer.flush().await;
    nothing_failed(&producer)?;
    let stats = producer.stats();
    if stats.outstanding_records > 0 {
        return Err(format!("flushed, and yet outstanding: {stats:?}").into());
    }
    let making = ended.making - began.making;
    Ok(json!({
        "records": ended.stats.delivered - began.stats.delivered,
        "cpu": ended.cpu.saturating_sub(began.cpu).saturating_sub(making).as_secs_f64(),
        "making": making.as_secs_f64(),
        "wall": ended.at.duration_since(began.at).as_secs_f64(),
        "allocations": ended.allocations - began.allocations,
        "requests": ended.stats.requests - began.stats.requests,
        "kinesis_records": ended.stats.kinesis_records - began.stats.kinesis_records,
        "resident": memory("VmHWM")?,
    }))
}

/// Waits until no more becomes outstanding: either the bound is reached, or what is put is sent. Until
/// then the process takes memory that it has for good afterwards.
async fn risen(producer: &Producer, at_least: Duration) {
    let began = Instant::now();
    let mut most = 0;
    let mut since = began;
    while began.elapsed() < LONGEST_RISE && since.elapsed() < at_least.max(4 * LOOK) {
        tokio::time::sleep(LOOK).await;
        let outstanding = producer.stats().outstanding_bytes;
        if outstanding > most + most / 50 {
            most = outstanding;
            since = Instant::now();
        }
    }
}

/// What was done and used until a moment.
struct Count {
    at: Instant,
    cpu: Duration,
    making: Duration,
    allocations: u64,
    stats: Stats,
}

impl Count {
    fn now(producer: &Producer, callers: &Callers) -> Self {
        Self {
            at: Instant::now(),
            cpu: process_cpu(),
            making: Duration::from_nanos(callers.making.load(Relaxed)),
            allocations: allocations(),
            stats: producer.stats(),
        }
    }
}

/// Tasks that put as fast as records are taken.
struct Callers {
    tasks: JoinSet<Result<(), Failure>>,
    /// Nanoseconds of CPU time that went into making records.
    making: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Callers {
    fn start(producer: &Producer, load: &Load) -> Self {
        let mut callers = Self {
            tasks: JoinSet::new(),
            making: Arc::default(),
            stop: Arc::default(),
        };
        for number in 0..load.callers {
            let maker = Maker::new(load.keys, load.size).numbered(number);
            let (making, stop) = (Arc::clone(&callers.making), Arc::clone(&callers.stop));
            let caller = call(producer.clone(), maker, load.single, making, stop);
            callers.tasks.spawn(caller);
        }
        callers
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.stop.store(true, Relaxed);
        while let Some(caller) = self.tasks.join_next().await {
            caller??;
        }
        Ok(())
    }
}

async fn call(
    producer: Producer,
    mut maker: Maker,
    single: bool,
    making: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<(), Failure> {
    while !stop.load(Relaxed) {
        let mut spent = Duration::ZERO;
        let slices: Vec<Vec<Record>> = apart(&mut spent, || {
            (0..TOGETHER).map(|_| maker.slice()).collect()
        });
        making.fetch_add(u64::try_from(spent.as_nanos())?, Relaxed);
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
    Ok(())
}
