//! `kinesis-agent`: tails files into Kinesis streams by an `agent.json`.

use agent::config::DEFAULT_PATH;
use agent::{Agent, Config, Strictness};
use clap::{Parser, ValueEnum};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

/// Blocking threads: each flow uses one at a time.
const BLOCKING_THREADS: usize = 32;

/// Tails log files into Kinesis streams.
///
/// Exit codes: 0 after an orderly stop (SIGTERM, SIGINT), --help or --version; 1 for everything that
/// stops the start, and for a second signal while draining.
#[derive(Debug, Parser)]
#[command(name = "kinesis-agent", version)]
struct Options {
    /// The configuration file; flows are also read from agent.d beside it.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_PATH)]
    configuration: PathBuf,
    /// What is logged to stderr: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
    /// The form of log lines.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Unknown keys in the configuration are errors.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // Prints help to stdout and errors to stderr; a closed pipe is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let logs = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(options.log)
        .with_target(false);
    match options.log_format {
        LogFormat::Text => logs
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => logs.json().init(),
    }
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn start(options: &Options) -> Result<(), Box<dyn Error>> {
    let strictness = if options.strict {
        Strictness::Strict
    } else {
        Strictness::Lenient
    };
    let (config, warnings) = Config::from_file(&options.configuration, strictness)?;
    for warning in warnings {
        tracing::warn!(key = warning.key, "{}", warning.reason);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let result = runtime.block_on(run(config));
    // A blocking read of a file that never answers must not keep the process.
    runtime.shutdown_background();
    result
}

async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    // Before anything is begun, so that no signal kills what it should stop.
    let mut signals = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    let work = async {
        let agent = Agent::builder(config).build().await?;
        agent.run(stop.clone()).await
    };
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            name = either(&mut signals) => {
                if stop.is_cancelled() {
                    return Err(format!("{name} while draining: stopped at once").into());
                }
                tracing::info!("{name}: stopping; a second signal stops at once");
                stop.cancel();
            }
            report = &mut work => {
                tracing::info!("{}", report?);
                return Ok(());
            }
        }
    }
}

async fn either((terminate, interrupt): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        biased;
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
