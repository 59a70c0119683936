//! The power goes at a random moment, with everything in full flow: what `put` had admitted is in the
//! stream in the end. The disk keeps what was flushed, and of the rest any part, or zeros in its place.

#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

mod support;

use kpl::{Producer, Record};
use local::{Limits, Local};
use parking_lot::Mutex;
use runtime::Chance;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use support::{away, ms, orders, producer, readable};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

const ROUNDS: u32 = 12;
const CALLERS: u64 = 4;

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_time().build().unwrap()
}

/// Its data ends with the number.
fn record(n: u32, size: usize) -> Record {
    let data = format!("{}/{n}/", ".".repeat(size));
    Record::new(format!("key-{}", n % 17), data)
}

/// The numbers in a text that holds records, each with the place where it ends.
fn numbers(text: &[u8]) -> BTreeMap<u32, usize> {
    let mut at = 0;
    let ends = text.split_inclusive(|byte| *byte == b'/').map(|part| {
        at += part.len();
        (part, at)
    });
    ends.filter_map(|(part, end)| {
        let digits = std::str::from_utf8(part.strip_suffix(b"/")?).ok()?;
        Some((digits.parse().ok()?, end))
    })
    .collect()
}

/// How often each number is in the stream.
fn stored(local: &Local) -> BTreeMap<u32, usize> {
    let mut stored = BTreeMap::new();
    for (_, data) in readable(local, "orders").into_values() {
        for number in numbers(&data).into_keys() {
            *stored.entry(number).or_default() += 1;
        }
    }
    stored
}

async fn spooled(local: &Local, directory: &Path) -> Producer {
    producer(local)
        .spool(directory)
        .spool_max_bytes(1 << 20)
        .spool_mark_interval(ms(5))
        .record_max_buffered_time(ms(5))
        .record_ttl(Duration::from_secs(3_600))
        .build()
        .await
        .unwrap()
}

/// Puts until so many records were admitted, while the endpoint comes and goes; then everything stops
/// where it is. Gives the numbers that were admitted.
fn live(local: &Local, directory: &Path, from: u32, wanted: usize, chance: &Chance) -> Vec<u32> {
    let (next, admitted) = (
        Arc::new(AtomicU32::new(from)),
        Arc::<Mutex<Vec<u32>>>::default(),
    );
    let enough = Arc::new(Notify::new());
    let runtime = runtime();
    runtime.block_on(async {
        let producer = spooled(local, directory).await;
        for _ in 0..CALLERS {
            let (producer, chance) = (producer.clone(), chance.fork());
            let (next, admitted) = (Arc::clone(&next), Arc::clone(&admitted));
            let enough = Arc::clone(&enough);
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    let record = record(n, chance.index(900));
                    let Ok(receipt) = producer.put(record).await else {
                        return; // It goes with the runtime.
                    };
                    receipt.forget();
                    let mut admitted = admitted.lock();
                    admitted.push(n);
                    if admitted.len() >= wanted {
                        enough.notify_one();
                    }
                }
            });
        }
        let (local, chance) = (local.clone(), chance.fork());
        tokio::spawn(async move {
            loop {
                let gone = away(&local);
                tokio::time::sleep(ms(chance.below(20))).await;
                local.faults().remove(gone);
                tokio::time::sleep(ms(chance.below(20))).await;
            }
        });
        enough.notified().await;
    });
    // What is told from here on does not count.
    let admitted = admitted.lock().clone();
    drop(runtime);
    local.faults().clear();
    admitted
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "records"));
    paths.sort();
    paths
}

/// What the disk has: all up to the last record whose admission was told, and any part of the rest. Gives
/// how many bytes were lost.
fn cut(directory: &Path, admitted: &[u32], chance: &Chance) -> u64 {
    let Some(last) = segments(directory).pop() else {
        return 0;
    };
    let bytes = fs::read(&last).unwrap();
    let told = numbers(&bytes).into_iter();
    let told = told.filter(|(n, _)| admitted.contains(n));
    let flushed = told.map(|(_, end)| end).max().unwrap_or(0);
    let left = flushed + chance.index(bytes.len() - flushed + 1);
    let file = fs::OpenOptions::new().write(true).open(&last).unwrap();
    file.set_len(left as u64).unwrap();
    if chance.happens(0.5) {
        file.set_len(bytes.len() as u64).unwrap();
    }
    // A mark that was not in its place yet may be torn.
    let mark = directory.join("mark.new");
    if let Ok(bytes) = fs::read(&mark) {
        fs::write(&mark, bytes.get(..bytes.len() / 2).unwrap_or_default()).unwrap();
    }
    (bytes.len() - left) as u64
}

#[test]
fn what_was_admitted_before_the_power_went_is_sent_by_the_next_producer() {
    let chance = Chance::seeded(11);
    let local = runtime().block_on(async { orders(Limits::Off, 3) });
    let directory = tempfile::TempDir::new().unwrap();
    let (mut all, mut from, mut lost) = (Vec::new(), 0, 0);
    for _ in 0..ROUNDS {
        let wanted = 50 + chance.index(400);
        let admitted = live(&local, directory.path(), from, wanted, &chance);
        lost += cut(directory.path(), &admitted, &chance);
        from += 100_000;
        all.extend(admitted);
    }
    let missing = runtime().block_on(async {
        let last = spooled(&local, directory.path()).await;
        let missing = || {
            let stored = stored(&local);
            let missing = all.iter().filter(|n| !stored.contains_key(n));
            missing.copied().collect::<Vec<u32>>()
        };
        let sent = async {
            while !missing().is_empty() {
                last.flush().await;
                tokio::time::sleep(ms(20)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(30), sent).await;
        last.close(Duration::from_secs(30)).await;
        missing()
    });
    assert_eq!(missing, [] as [u32; 0], "admitted and lost");
    let twice: usize = stored(&local).values().map(|times| times - 1).sum();
    println!(
        "spool_power: {} records admitted in {ROUNDS} lives that ended with the power, {lost} bytes lost that \
         nobody was told of, {twice} records stored more than once",
        all.len()
    );
}
