//! A disk without room under the spool: `put` says what helps, nothing that was admitted is lost, and it
//! goes on when there is room again. The program is both the test and the process whose files may not
//! grow; what it had admitted is sent by a producer after it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's program may stop, and talks to its parent"
)]

mod support;

use futures::StreamExt;
use kpl::{Producer, ProducerEvent, PutAllReason, PutError, Record, SpoolError};
use local::{Limits, Local};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{away, orders, producer, readable};

const DIRECTORY: &str = "SPOOL_FULL_DIRECTORY";
const MIDDLE: u64 = 20_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    match std::env::var(DIRECTORY) {
        Ok(directory) => runtime.block_on(without_room(directory.as_ref())),
        Err(_) => {
            let directory = tempfile::TempDir::new().unwrap();
            let admitted = child(directory.path());
            runtime.block_on(sent_after(directory.path(), &admitted));
        }
    }
}

/// Runs this program with writes beyond the limit failing instead of ending it.
fn child(directory: &Path) -> BTreeSet<String> {
    let run = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\""])
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, directory)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", run.status);
    let text = String::from_utf8(run.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// No file may grow beyond so many bytes.
fn may_grow_to(bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

/// Named so that a refused one is told from all others.
fn record(n: u32) -> Record {
    Record::new(format!("key-{n}"), format!("{n} {}", ".".repeat(700)))
}

fn name(data: &[u8]) -> String {
    let data = std::str::from_utf8(data).unwrap();
    data.split(' ').next().unwrap().to_owned()
}

async fn spooled(local: &Local, directory: &Path) -> Producer {
    producer(local)
        .spool(directory)
        .record_ttl(Duration::from_secs(3_600))
        .build()
        .await
        .unwrap()
}

fn stored(local: &Local) -> BTreeSet<String> {
    let read = readable(local, "orders");
    let names: Vec<String> = read.values().map(|(_, data)| name(data)).collect();
    let set: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(set.len(), names.len(), "none twice");
    set
}

/// Puts until there is no room. Gives the first number that was refused.
async fn put_until_full(producer: &Producer, from: u32) -> u32 {
    let mut n = from;
    loop {
        match producer.put(record(n)).await {
            Ok(receipt) => receipt.forget(),
            Err(refused) => {
                assert_full(&refused);
                assert_eq!(refused.into_record(), record(n));
                return n;
            }
        }
        n += 1;
    }
}

fn assert_full(refused: &PutError) {
    let PutError::Spool { source, .. } = refused else {
        panic!("{refused}")
    };
    assert!(matches!(**source, SpoolError::Full { .. }), "{source}");
    let said = refused.to_string();
    assert!(said.contains("make room there"), "{said}");
    assert!(said.contains("SpoolMaxBytes"), "{said}");
}

async fn without_room(directory: &Path) {
    let local = orders(Limits::Off, 2);
    let producer = spooled(&local, directory).await;
    let mut events = producer.events();
    let gone = away(&local);
    may_grow_to(Some(MIDDLE));
    let first = put_until_full(&producer, 0).await;
    assert!((20..30).contains(&first), "{first}");
    let again = put_until_full(&producer, first).await;
    assert_eq!(again, first, "it stays full");
    let batch = (1_000..1_010).map(record);
    let refused = producer.put_all(batch).await.unwrap_err();
    let PutAllReason::Spool { problem } = &refused.reason else {
        panic!("{refused}")
    };
    assert!(problem.contains("make room there"), "{problem}");
    assert_eq!(refused.records.len(), 10);
    let event = events.next().await.unwrap();
    assert!(
        matches!(&event, ProducerEvent::SpoolFailed { message } if message.contains("make room")),
        "{event:?}"
    );
    assert_eq!(producer.stats().admitted, u64::from(first));

    // Room again: it goes on behind what was written in part.
    may_grow_to(None);
    for n in 100..120 {
        producer.put(record(n)).await.unwrap().forget();
    }
    let admitted: BTreeSet<String> = (0..first).chain(100..120).map(|n| n.to_string()).collect();

    // What is delivered gives its room back, also on a disk that is full.
    local.faults().remove(gone);
    producer.flush().await;
    assert_eq!(stored(&local), admitted);
    away(&local);
    may_grow_to(Some(MIDDLE));
    let last = put_until_full(&producer, 200).await;
    assert!((220..230).contains(&last), "{last}");
    may_grow_to(None);
    for n in 300..310 {
        producer.put(record(n)).await.unwrap().forget();
    }
    (200..last).chain(300..310).for_each(|n| println!("{n}"));
    // As when it is killed: nothing is written down any more.
    std::process::exit(0);
}

async fn sent_after(directory: &Path, admitted: &BTreeSet<String>) {
    assert!(admitted.len() > 30);
    let local = orders(Limits::Off, 2);
    let producer = spooled(&local, directory).await;
    let damage = producer.spool_damage().to_vec();
    assert_eq!(damage, [], "what was written in part was taken back");
    let admitted_again = ProducerEvent::Recovered {
        records: admitted.len() as u64,
    };
    assert_eq!(producer.events().next().await, Some(admitted_again));
    let report = producer.close(Duration::from_secs(60)).await;
    assert_eq!(report.delivered, admitted.len() as u64);
    assert_eq!(
        &stored(&local),
        admitted,
        "none lost, none that was refused"
    );
    println!(
        "spool_full: {} records admitted around a full disk, 0 lost",
        admitted.len()
    );
}
