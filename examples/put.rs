//! Puts the lines of standard input into a stream: `PARTITION KEY <tab> DATA`, or
//! `PARTITION KEY <tab> EXPLICIT HASH KEY <tab> DATA`.
//!
//! ```sh
//! printf 'customer-17\tan order\n' | cargo run --example put -- orders --set RecordTtl=60000
//! ```
//!
//! Where and as whom is looked up as the AWS SDKs do: `AWS_ENDPOINT_URL`, `AWS_REGION`, profiles. Every
//! setting of the producer can be given by name. The exit code is 0 only if every line was delivered.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use clap::Parser;
use kpl::{HashKey, Producer, Receipt, Record};
use std::error::Error;
use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug, Parser)]
#[command(about = "Puts the lines of standard input into a stream")]
struct Arguments {
    /// The stream's name or ARN.
    stream: String,
    /// A setting of the producer; may be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match put(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("put: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn put(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let mut builder = Producer::builder(arguments.stream);
    for (name, value) in &arguments.settings {
        builder = builder.set(name, value);
    }
    let producer = builder.build().await?;
    // Standard input blocks: it is read on a thread of its own, no further ahead than this.
    let (lines, mut read) = mpsc::channel(1_000);
    let reader = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            if lines.blocking_send(line?).is_err() {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    });
    let mut receipts: Vec<Receipt> = Vec::new();
    let mut number = 0;
    while let Some(line) = read.recv().await {
        number += 1;
        let record = record(&line).map_err(|problem| format!("line {number}: {problem}"))?;
        // Waits only while the producer is full.
        receipts.push(producer.put(record).await?);
    }
    reader.await??;
    producer.flush().await;
    for (number, receipt) in (1..).zip(receipts) {
        if let Err(error) = receipt.await {
            eprintln!("put: line {number}: {error}");
        }
    }
    let report = producer.close(Duration::from_secs(30)).await;
    println!("{} delivered, {} failed", report.delivered, report.failed);
    Ok(report.failed == 0 && report.abandoned == 0)
}

fn record(line: &str) -> Result<Record, String> {
    let (key, rest) = line.split_once('\t').ok_or("expected KEY<tab>DATA")?;
    let Some((hash_key, data)) = rest.split_once('\t') else {
        return Ok(Record::new(key, rest.to_owned()));
    };
    let hash_key = HashKey::parse_lenient(hash_key)
        .map_err(|error| format!("explicit hash key {hash_key:?}: {error}"))?;
    Ok(Record::new(key, data.to_owned()).explicit_hash_key(hash_key))
}
