//! `kinesis-local`: Kinesis Data Streams and DynamoDB on this machine, for development.

use clap::{Args, Parser, Subcommand, ValueEnum};
use local::{Limits, Local, LocalOptions};
use runtime::SystemClock;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

/// How often the summary line is written.
const SUMMARY: Duration = Duration::from_secs(30);

#[derive(Debug, Parser)]
#[command(
    name = "kinesis-local",
    version,
    about = "Kinesis Data Streams and DynamoDB on this machine, in memory, for development"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers requests until it is stopped (Ctrl-C or SIGTERM).
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 4567)]
    port: u16,
    /// The address to listen on. Nothing is authenticated: think before leaving loopback.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// A stream to create at the start; may be given several times.
    #[arg(long = "stream", value_name = "NAME:SHARDS", value_parser = stream_of)]
    streams: Vec<(String, u32)>,
    /// The region that ARNs name.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Leaves the service's limits per shard out.
    #[arg(long)]
    no_limits: bool,
    /// How long a stream stays CREATING, UPDATING or DELETING, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    state_delay: u64,
    /// What is logged to stderr: off, error, warn, info, debug, trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log: LevelFilter,
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

fn stream_of(text: &str) -> Result<(String, u32), String> {
    let (name, shards) = text
        .rsplit_once(':')
        .ok_or("expected NAME:SHARDS, such as orders:4")?;
    let shards = shards
        .parse()
        .map_err(|e| format!("'{shards}' is no number of shards: {e}"))?;
    Ok((name.to_owned(), shards))
}

fn main() -> ExitCode {
    let Command::Serve(options) = Cli::parse().command;
    start_logging(options.log, options.log_format);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "kinesis-local ends");
            // Also where logging is off.
            let _ = writeln!(io::stderr(), "kinesis-local: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(level: LevelFilter, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

async fn serve(options: Serve) -> io::Result<()> {
    let limits = if options.no_limits {
        Limits::Off
    } else {
        Limits::On
    };
    let local = Local::new(LocalOptions {
        limits,
        region: options.region.clone(),
        state_delay: Duration::from_millis(options.state_delay),
        clock: Some(Arc::new(SystemClock)),
        // The binary's journal is its counts: requests themselves are in the log at debug level.
        journal: 0,
        ..LocalOptions::default()
    })
    .map_err(io::Error::other)?;
    for (name, shards) in &options.streams {
        local
            .create_stream(name, *shards)
            .map_err(|error| io::Error::other(format!("--stream {name}:{shards}: {error}")))?;
    }
    let wanted = SocketAddr::new(options.host, options.port);
    let listener = TcpListener::bind(wanted)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("listening on {wanted}: {error}")))?;
    let addr = listener.local_addr()?;
    introduce(&options, addr)?;
    let shutdown = CancellationToken::new();
    let serving = local.serve(listener, shutdown.clone());
    tokio::pin!(serving);
    let mut summaries = tokio::time::interval(SUMMARY);
    summaries.tick().await;
    let stop = stop_signal();
    tokio::pin!(stop);
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            signal = &mut stop => {
                tracing::info!(signal = signal?, "stopping");
                break;
            }
            served = &mut serving => return served,
            _ = summaries.tick() => seen = summarise(&local, seen),
        }
    }
    shutdown.cancel();
    serving.await?;
    summarise(&local, seen);
    Ok(())
}

/// Says where it listens, and what to paste into a shell.
fn introduce(options: &Serve, addr: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "kinesis-local is listening on http://{addr}")?;
    for (name, shards) in &options.streams {
        writeln!(out, "stream {name} with {shards} shards is ACTIVE")?;
    }
    writeln!(out, "export AWS_ENDPOINT_URL=http://{addr}")?;
    writeln!(out, "export AWS_REGION={}", options.region)?;
    writeln!(out, "export AWS_ACCESS_KEY_ID=local")?;
    writeln!(out, "export AWS_SECRET_ACCESS_KEY=local")?;
    out.flush()
}

/// Logs what was asked; gives the number of requests so far.
fn summarise(local: &Local, before: u64) -> u64 {
    let counts = local.request_counts();
    let total = counts.values().sum::<u64>();
    let by_operation = counts
        .iter()
        .map(|(operation, count)| format!("{operation}={count}"))
        .collect::<Vec<_>>()
        .join(" ");
    tracing::info!(
        requests = total.saturating_sub(before),
        total,
        errors = local.error_count(),
        by_operation,
        "summary"
    );
    total
}

#[cfg(unix)]
async fn stop_signal() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await?;
    Ok("Ctrl-C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::parse_from([
            "kinesis-local",
            "serve",
            "--port",
            "0",
            "--stream",
            "orders:4",
        ]);
        let Command::Serve(options) = cli.command;
        assert_eq!(options.streams, [("orders".to_owned(), 4)]);
        assert!(options.host.is_loopback());
        assert!(!options.no_limits);
    }

    #[test]
    fn a_stream_without_a_number_of_shards_is_refused() {
        for text in ["orders", "orders:", "orders:x", "orders:-1"] {
            assert!(stream_of(text).is_err(), "{text}");
        }
    }
}
