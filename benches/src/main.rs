//! Speed, measured: `cargo run --profile dist -p benches -- local [ROW...]`.
//!
//! One subcommand for each room that is measured. Figures are CPU time of the server under test rather
//! than wall time, because load and server share the machine, and ratios against a peer or against the
//! same server at another size rather than bare numbers, because machines differ: a ratio comes from
//! one run, with both sides taking turns. Nothing here fails because something was slow: a row that is
//! not met says `NOT MET`, and the exit code tells only whether everything could be measured.
//!
//! What the rows of a room mean stands at the head of its module: [`local`].

#![allow(unreachable_pub, reason = "a program has no public interface")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod local;
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
}

fn main() -> ExitCode {
    let Room::Local(options) = Benches::parse().room;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(local::run(options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}
