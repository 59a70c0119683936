//! Speed, measured: `cargo run --profile dist -p benches -- ROOM [ROW...]`.
//!
//! One subcommand for each room that is measured. Figures are CPU time of the server under test rather
//! than wall time, because load and server share the machine, and ratios against a peer or against the
//! same server at another size rather than bare numbers, because machines differ: a ratio comes from
//! one run, with both sides taking turns. Nothing here fails because something was slow: a row that is
//! not met says `NOT MET`, and the exit code tells only whether everything could be measured.
//!
//! What the rows of a room mean stands at the head of its module: [`local`], [`producer`],
//! [`producer::versus`].

#![allow(unreachable_pub, reason = "a program has no public interface")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod choice;
mod local;
mod process;
mod producer;
mod table;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What ends a measurement.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(name = "benches", about = "Speed, as ratios measured in one run")]
struct Benches {
    #[command(subcommand)]
    room: Room,
}

#[derive(Debug, Subcommand)]
enum Room {
    /// The embedded endpoint, `kinesis-local`.
    Local(local::Options),
    /// The producer, `kpl`.
    Producer(producer::Options),
    /// The producer and the official library, turn by turn on one core.
    VsKpl(producer::versus::Options),
    /// What the producer sends to.
    #[command(hide = true, name = producer::SINK)]
    ProducerSink(producer::SinkOptions),
    /// One measurement of the producer.
    #[command(hide = true, name = producer::PROBE)]
    ProducerProbe(producer::ProbeOptions),
}

fn main() -> ExitCode {
    match run(Benches::parse().room) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(room: Room) -> Result<(), Failure> {
    use tokio::runtime::Builder;
    let threads = || Builder::new_multi_thread().enable_all().build();
    match room {
        Room::Local(options) => threads()?.block_on(local::run(options)),
        Room::Producer(options) => threads()?.block_on(producer::run(options)),
        Room::VsKpl(options) => threads()?.block_on(producer::versus::run(options)),
        Room::ProducerSink(options) => Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(producer::sink(options)),
        // Makes a runtime of its own.
        Room::ProducerProbe(options) => producer::probe(&options),
    }
}
