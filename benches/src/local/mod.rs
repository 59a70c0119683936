//! The embedded endpoint, `kinesis-local`, in a process of its own; where a row compares, beside
//! ferrokinesis in another (`benches/peer`, a package outside the workspace, built when it is missing).
//!
//! All clients are the same code for both: HTTP/1.1 with keep-alive over plain TCP, JSON, requests
//! written out before the clock starts, limits off. Every record is other random bytes, and keys reach
//! all shards. `CPU-s` are the seconds of user and system time that the kernel books on the server
//! (`/proc/PID/stat`, Linux only); each figure is the median of its runs.
//!
//! | Row | What is done | Target |
//! | --- | --- | --- |
//! | `put` | 500,000 records stored by PutRecords of 500 x 1 KiB, 8 connections, 8 shards; records per CPU-s over the peer's | 4 |
//! | `get` | GetRecords of 1 KiB records, 8 connections, each reading one iterator again and again, pages of 1,000 and of 10,000; records per CPU-s over the peer's | 2 |
//! | `shards` | PutRecord, PutRecords of 100, and a page of ListShards (the first, and the last ten shards) on 10,000 shards; CPU over the same on 10 | 1, within 25 % (PutRecords: stated, since it touches a hundred shards in place of ten) |
//! | `memory` | 1 GiB of payload stored; growth of the server's resident memory over that payload | 1.15 with 1 KiB records; others stated |
//! | `seek` | GetShardIterator at a random sequence number or time, then GetRecords of one record; CPU with 10,000,000 records in the shard over that with 10,000 | 2: a thousand times the records adds only the tree's depth and cache misses |
//! | `fan-out` | 200 subscriptions (on 200, 20 and 8 shards) while 20 MB/s go in; from before PutRecords is written until the record was read from its event: 99th percentile | 20 ms |
//! | `start` | From starting the process until it accepts a connection | 50 ms |
//!
//! `fan-out` measures a machine that also carries the load: beside the figure stands what server and
//! clients used of it. `--quick` measures less long, to try things; its figures are not to be quoted.

mod fan_out;
mod http;
mod load;
mod memory;
mod rates;
mod seek;
mod server;
mod shards;
mod start;

use crate::Failure;
use crate::choice::Choice;
use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    choice: Choice<Row>,
    /// Leaves the peer out: no ratios.
    #[arg(long)]
    alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    Put,
    Get,
    Shards,
    Memory,
    Seek,
    FanOut,
    Start,
}

/// Measures the rows that were asked for, and prints them.
pub async fn run(Options { choice, alone }: Options) -> Result<(), Failure> {
    server::ours()?;
    let compares = choice
        .rows()
        .iter()
        .any(|r| matches!(r, Row::Put | Row::Get));
    if compares && !alone {
        server::build_peer()?;
    }
    let effort = choice.effort;
    let measure = async |row| match row {
        Row::Put => rates::put(effort, alone).await,
        Row::Get => rates::get(effort, alone).await,
        Row::Shards => shards::measure(effort).await,
        Row::Memory => memory::measure(effort).await,
        Row::Seek => seek::measure(effort).await,
        Row::FanOut => fan_out::measure(effort).await,
        Row::Start => start::measure(effort).await,
    };
    choice.measure(measure).await
}
