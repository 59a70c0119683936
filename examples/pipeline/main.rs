//! The whole product at work, in about half a minute: a log agent and a producer write to a stream,
//! three workers share its shards, one is killed half-way, a shard is split and two are merged under
//! load; at the end every record is accounted for.
//!
//! Each part runs in a process of its own: the example starts itself again in a role.

#![allow(unreachable_pub, reason = "a program has no public interface")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod args;
mod counting;
mod display;
mod ledger;
mod logfile;
mod messages;
mod orchestra;
mod payload;
mod process;
mod resources;
mod roles;
mod usage;

use clap::Parser as _;
use std::process::ExitCode;

/// What ends the example early.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match &args.role {
        Some(role) => runtime.block_on(roles::run(role)).map(|()| true),
        None => runtime.block_on(orchestra::run(&args)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pipeline: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
