//! `kinesis-local`: Kinesis Data Streams and DynamoDB on this machine, for development.

mod cli;
mod introduce;

use clap::Parser;
use cli::{Cli, Command, LogFormat, Serve};
use local::{Local, LocalOptions, Tls};
use runtime::SystemClock;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

/// How often the summary line is written.
const SUMMARY: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let Command::Serve(options) = Cli::parse().command;
    start_logging(options.log, options.log_format);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(*options)));
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
    let local = Local::new(LocalOptions {
        limits: options.limits(),
        region: options.region.clone(),
        account: options.account.clone(),
        state_delay: Duration::from_millis(options.state_delay),
        clock: Some(Arc::new(SystemClock)),
        journal: options.journal,
        verify_signatures: options.keys.clone(),
        delivery_streams: options.delivery_streams.clone(),
        max_bytes: Some(options.max_bytes),
        ..LocalOptions::default()
    })
    .map_err(io::Error::other)?;
    for fault in &options.faults {
        local.faults().add(fault.clone());
    }
    let tls = tls(&options)?;
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
    match introduce::introduce(&mut io::stdout().lock(), &options, addr) {
        // Nobody reads it: `kinesis-local serve | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        said => said?,
    }
    let shutdown = CancellationToken::new();
    let serving = async {
        match &tls {
            Some(tls) => local.serve_tls(listener, tls, shutdown.clone()).await,
            None => local.serve(listener, shutdown.clone()).await,
        }
    };
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

/// The certificate, if one is asked for.
fn tls(options: &Serve) -> io::Result<Option<Tls>> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    if let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) {
        let tls = Tls::from_pem(&read(certificate)?, &read(key)?).map_err(io::Error::other)?;
        return Ok(Some(tls));
    }
    if !options.tls {
        return Ok(None);
    }
    let host = options.host.to_string();
    let tls = Tls::own(["localhost", "127.0.0.1", "::1", &host]).map_err(io::Error::other)?;
    if let (Some(path), Some(ca)) = (&options.tls_write_ca, tls.ca_pem()) {
        std::fs::write(path, ca).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
    }
    Ok(Some(tls))
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
        kept_bytes = local.kept_bytes(),
        trimmed_records = local.trimmed_records(),
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
