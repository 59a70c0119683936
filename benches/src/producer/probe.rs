//! One measurement of a producer, in a process of its own, so that memory and CPU time are its alone. It
//! prints its figures as one line of JSON.

mod first;
mod idle;
mod paced;
mod stalled;
mod steady;
mod throughput;

use super::records::Keys;
use crate::Failure;
use clap::{Args, Subcommand};
use kpl::{Producer, ProducerBuilder};
use serde_json::Value;
use std::path::PathBuf;

#[derive(Debug, Clone, Args)]
pub struct ProbeOptions {
    /// The port of the sink.
    #[arg(long)]
    port: u16,
    /// The sink's certificate.
    #[arg(long)]
    certificate: PathBuf,
    /// How long, in milliseconds.
    #[arg(long, default_value_t = 4_000)]
    time: u64,
    /// Threads of the runtime.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    Throughput(Load),
    Paced {
        /// The same loop, but nothing is put.
        #[arg(long)]
        without: bool,
    },
    First,
    Idle,
    Stalled {
        #[arg(long)]
        size: usize,
    },
    /// Says in words of its own how it goes.
    Steady(steady::Load),
}

/// Records as fast as they are taken.
#[derive(Debug, Clone, Args)]
pub struct Load {
    #[arg(long)]
    size: usize,
    #[arg(long)]
    keys: Keys,
    /// One by one, by `put`; else by `put_all`.
    #[arg(long)]
    single: bool,
    /// Tasks that put, each kept busy.
    #[arg(long, default_value_t = 1)]
    callers: u64,
    /// `AggregationMaxSize`; the default without.
    #[arg(long)]
    aggregate: Option<u64>,
    /// `MaxBufferedBytes`; the default without.
    #[arg(long)]
    bound: Option<u64>,
    /// `RecordMaxBufferedTime`, in milliseconds; the default without.
    #[arg(long)]
    buffered: Option<u64>,
    /// `MaxBufferedRecords`; the default without.
    #[arg(long)]
    records: Option<u64>,
}

pub fn run(options: &ProbeOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers)
        .enable_all()
        .build()?;
    let figures = match &options.what {
        What::Throughput(load) => runtime.block_on(throughput::measure(options, load)),
        What::Paced { without } => runtime.block_on(paced::measure(options, *without)),
        What::First => runtime.block_on(first::measure(options)),
        What::Idle => idle::measure(options, &runtime),
        What::Stalled { size } => runtime.block_on(stalled::measure(options, *size)),
        What::Steady(load) => return runtime.block_on(steady::run(options, load)),
    }?;
    println!("{figures}");
    Ok(())
}

impl ProbeOptions {
    fn config(&self) -> Result<aws::Config, Failure> {
        Ok(aws::Config::builder()
            .region("us-east-1")
            .endpoint_url(format!("https://localhost:{}", self.port))
            .ca_file(&self.certificate)
            .credentials(aws::Credentials::new("AKIDBENCH", "a secret", None))
            .environment(aws::Environment::fixed([("HOME", "/nonexistent")]))
            .load()?)
    }

    fn builder(&self) -> Result<ProducerBuilder, Failure> {
        Ok(Producer::builder("bench")
            .aws(self.config()?)
            // Far above what can be sent: no limit.
            .rate_limit(1_000_000_000))
    }
}

/// A failed record would make a figure that means nothing.
fn nothing_failed(producer: &Producer) -> Result<(), Failure> {
    let stats = producer.stats();
    if stats.failed == 0 && stats.abandoned == 0 {
        return Ok(());
    }
    Err(format!("records failed: {stats:?}").into())
}

type Figures = Result<Value, Failure>;
