//! A process with a spool, killed with SIGKILL again and again: what `put` had admitted is in the stream
//! in the end. The program is both the test and the process that is killed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's program may stop, and talks to its parent"
)]

use aggregation::{Deaggregated, deaggregate};
use kpl::{Producer, Record};
use local::{Limits, Local, LocalOptions};
use runtime::Chance;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ENDPOINT: &str = "SPOOL_CRASH_ENDPOINT";
const DIRECTORY: &str = "SPOOL_CRASH_DIRECTORY";
const FROM: &str = "SPOOL_CRASH_FROM";
const ROUNDS: u32 = 6;

#[tokio::main]
async fn main() {
    match std::env::var(ENDPOINT) {
        Ok(endpoint) => put_until_killed(&endpoint).await,
        Err(_) => kill_again_and_again().await,
    }
}

async fn producer(endpoint: &str, directory: &Path) -> Producer {
    let config = aws::Config::builder()
        .region("us-east-1")
        .endpoint_url(endpoint)
        .credentials(aws::Credentials::new("test", "test", None))
        .load()
        .unwrap();
    Producer::builder("orders")
        .aws(config)
        .spool(directory)
        .spool_mark_interval(Duration::from_millis(10))
        .record_max_buffered_time(Duration::from_millis(5))
        .build()
        .await
        .unwrap()
}

/// Says each record's number once it is admitted.
async fn put_until_killed(endpoint: &str) {
    let directory = std::env::var(DIRECTORY).unwrap();
    let producer = producer(endpoint, directory.as_ref()).await;
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    for n in from.. {
        let record = Record::new(format!("key-{}", n % 13), n.to_string());
        drop(producer.put(record).await.unwrap());
        println!("{n}");
        std::io::stdout().flush().unwrap();
    }
}

async fn kill_again_and_again() {
    let chance = Chance::seeded(7);
    let local = Local::new(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("orders", 3).unwrap();
    let server = local.start_on(([127, 0, 0, 1], 0).into()).await.unwrap();
    let directory = tempfile::TempDir::new().unwrap();
    let mut admitted = 0;
    for _ in 0..ROUNDS {
        let wanted = 1_000 + chance.below(4_000);
        let (url, path) = (server.url(), directory.path().to_owned());
        admitted = tokio::task::spawn_blocking(move || {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .env(ENDPOINT, url)
                .env(DIRECTORY, path)
                .env(FROM, admitted.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut last = admitted;
            for line in lines.by_ref().take(usize::try_from(wanted).unwrap()) {
                last = line.unwrap().parse::<u64>().unwrap() + 1;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            // What it said before it was killed.
            lines
                .map_while(Result::ok)
                .fold(last, |last, line| match line.parse::<u64>() {
                    Ok(n) => last.max(n + 1),
                    Err(_) => last,
                })
        })
        .await
        .unwrap();
    }
    let last = producer(&server.url(), directory.path()).await;
    let recovered_by = tokio::time::timeout(Duration::from_secs(60), async {
        while stored(&local).len() < usize::try_from(admitted).unwrap() {
            last.flush().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let complete = recovered_by.await.is_ok();
    last.close(Duration::from_secs(60)).await;
    let stored = stored(&local);
    let missing: Vec<u64> = (0..admitted).filter(|n| !stored.contains_key(n)).collect();
    assert!(
        complete && missing.is_empty(),
        "admitted and lost: {missing:?}"
    );
    let twice: usize = stored.values().map(|times| times - 1).sum();
    println!(
        "spool_crash: {admitted} records admitted in {ROUNDS} lives that ended with SIGKILL, 0 lost, \
         {twice} stored more than once"
    );
    drop(server);
}

/// How often each number is in the stream.
fn stored(local: &Local) -> BTreeMap<u64, usize> {
    let mut stored = BTreeMap::new();
    let mut count = |data: &[u8]| {
        let number = std::str::from_utf8(data).unwrap().parse().unwrap();
        *stored.entry(number).or_default() += 1;
    };
    for record in local.records("orders") {
        match deaggregate(&record.data, None) {
            Deaggregated::Records(records) => records.for_each(|record| count(&record.data)),
            Deaggregated::PassThrough => count(&record.data),
        }
    }
    stored
}
