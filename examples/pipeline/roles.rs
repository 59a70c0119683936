//! What each process does. Standard output carries messages to the parent, standard error the log;
//! the end of standard input asks the role to end.

mod agent;
mod endpoint;
mod producer;
mod worker;

pub use endpoint::KEY;
pub use worker::FAILOVER;

use crate::Failure;
use crate::messages::{Message, Role};
use std::io::Write as _;
use tokio_util::sync::CancellationToken;

/// Runs a role to its end.
pub async fn run(role: &str) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let stop = CancellationToken::new();
    let asked = stop.clone();
    // A thread that nobody waits for: a role that is done ends although its input is still open.
    std::thread::spawn(move || {
        // An error means what the end means: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        asked.cancel();
    });
    match serde_json::from_str(role)? {
        Role::Endpoint => endpoint::run(stop).await,
        Role::Agent { configuration } => agent::run(&configuration, stop).await,
        Role::Producer {
            place,
            stream,
            records,
            seconds,
        } => producer::run(&place, &stream, records, seconds, stop).await,
        Role::Worker {
            place,
            application,
            stream,
            worker,
        } => worker::run(&place, &application, &stream, &worker, stop).await,
    }
}

/// Tells the parent. What was told before a SIGKILL has been told: the pipe keeps it.
fn tell(message: &Message) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
