//! The producer, `kpl`, in a process of its own against a sink in another: TLS, HTTP/1.1, answers at once,
//! 4 shards unless a row says otherwise, keys of 30 bytes, `put_all` in slices of 100 or single `put`s,
//! rate limits off.
//!
//! Throughput is user records in a CPU-second of the whole process, user and system time of all threads, of
//! which the runtime has one unless the row says otherwise (all settings at their defaults), without the time
//! in which the benchmark made the records, from when no more becomes outstanding: until then a process takes
//! memory that it has for good afterwards, and fresh memory would be most of what is measured. The allocator
//! is mimalloc. Beside it stands the machine's limit for the same bytes, measured right before and after each
//! run of the producer: the hash of the keys in lanes, a copy into the aggregate and one into the body, the
//! aggregates' MD5 in lanes, the body's SHA-256, its encryption (AES-256-GCM), on one thread and with nothing
//! around it, neither sockets nor answers. Each figure is that of the turn whose ratio is the median.
//! Allocations are counted in the whole process, the benchmark's own left out.
//!
//! The limit hashes a body alone, as libraries do; the producer may hash two together. The kernel's way to
//! congest no network counts too: BBR paces by timers, which cost much in a virtual machine (a sixth of the
//! whole at 100 B with one key), and the kernel's default, CUBIC, has none. Which it is is printed.
//!
//! | Row | What is done | Target |
//! | --- | --- | --- |
//! | `distinct` | records of 100 B, 1 KB, 10 KB, another key for each, by `put_all` | 60, 60, 70 % of the limit; allocations < 0.1 a record (10 KB, of which an aggregate holds five: stated) |
//! | `one-key` | 100 B, one key | 60 %; allocations < 0.1 |
//! | `single` | 100 B by `put`, distinct keys and one key | 60 % of a limit that hashes keys one by one; allocations < 1 |
//! | `shards` | 100 B, distinct keys, aggregates of 4 KB, a bound of 1 GiB, records buffered for a second so that aggregates fill, 1,000 and 10,000 shards; over the figure of 4 shards | 80 %, 70 %; memory stated |
//! | `threads` | 4 tasks on 4 threads sharing one producer; over the figure of one | 90 % |
//! | `paced` | 1,000 records a second, buffered 100 ms: put until receipt; CPU time beyond the same loop without a producer | 99th percentile 115 ms and a round trip; 10 µs a record |
//! | `first` | from the start of `build` to the acknowledgement of a record that was put and flushed, 20 ms of round trip away | 5 round trips and 20 ms |
//! | `idle` | memory over that of the bare runtime, and how often a thread wakes | 8 MB, never |
//! | `stalled` | a million records (1 KB, and 100 B) offered to an endpoint that takes requests and answers none | the configured bound and 30 MiB |
//!
//! What the official library needs is printed beside where it was measured, on *another* machine: a
//! figure to know, no comparison of this run.

mod answers;
mod child;
mod distance;
mod ledger;
mod limit;
mod meter;
mod probe;
mod records;
mod requests;
mod rows;
mod service;
mod shards;
mod sink;
pub mod versus;

pub use probe::ProbeOptions;
pub use sink::SinkOptions;

use crate::Failure;
use crate::choice::Choice;
use clap::ValueEnum;

/// The subcommands that this program runs itself with.
pub const SINK: &str = "producer-sink";
pub const PROBE: &str = "producer-probe";

pub type Options = Choice<Row>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    Distinct,
    OneKey,
    Single,
    Shards,
    Threads,
    Paced,
    First,
    Idle,
    Stalled,
}

/// Measures the rows that were asked for, and prints them.
pub async fn run(options: Options) -> Result<(), Failure> {
    let effort = options.effort;
    let measure = async |row| match row {
        Row::Distinct => rows::distinct(effort).await,
        Row::OneKey => rows::one_key(effort).await,
        Row::Single => rows::single(effort).await,
        Row::Shards => rows::shards(effort).await,
        Row::Threads => rows::threads(effort).await,
        Row::Paced => rows::paced(effort).await,
        Row::First => rows::first(effort).await,
        Row::Idle => rows::idle(effort).await,
        Row::Stalled => rows::stalled(effort).await,
    };
    options.measure(measure).await?;
    let congestion = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    println!("\nTCP's congestion control: {}", congestion?.trim());
    println!("Figures of KPL 1.1.1 are quoted from another machine, not measured in this run.");
    Ok(())
}

/// Serves as sink.
pub async fn sink(options: SinkOptions) -> Result<(), Failure> {
    sink::run(options).await
}

/// Measures as probe.
pub fn probe(options: &ProbeOptions) -> Result<(), Failure> {
    probe::run(options)
}
