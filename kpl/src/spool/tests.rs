use super::log::{Log, Recovered};
use super::segment::{put_record, record_size};
use super::*;
use crate::record::Record;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fs;
use std::iter::once;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn record(n: u64) -> Record {
    Record {
        partition_key: format!("key-{n}"),
        keyless: false,
        explicit_hash_key: n
            .is_multiple_of(3)
            .then(|| aggregation::HashKey::new(u128::from(n))),
        data: Bytes::from(vec![
            u8::try_from(n % 251).unwrap();
            usize::try_from(n % 90).unwrap()
        ]),
    }
}

fn encoded(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    for n in numbers {
        let before = out.len();
        put_record(&record(n), &mut out);
        assert_eq!(out.len() - before, record_size(&record(n)));
    }
    out
}

fn append(log: &mut Log, numbers: std::ops::Range<u64>) {
    let first = log
        .append(&encoded(numbers.clone()), numbers.end - numbers.start)
        .unwrap();
    assert_eq!(first, numbers.start);
}

fn all(mut recovered: Recovered) -> Vec<(u64, Record)> {
    let segments = std::iter::from_fn(|| recovered.next_segment().unwrap());
    segments.flatten().collect()
}

/// Spools records.
async fn put(spool: &Spool, records: Vec<u8>, count: u64) -> Result<u64, Arc<SpoolError>> {
    let size = records.len();
    spool.append(size, count, || records).await
}

fn records(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, Record)> {
    numbers.into_iter().map(|n| (n, record(n))).collect()
}

fn options(directory: &Path, max_bytes: u64) -> SpoolOptions {
    SpoolOptions {
        directory: directory.to_owned(),
        max_bytes,
        sync: SpoolSync::Always,
        mark_every: Duration::from_secs(1),
    }
}

fn small(directory: &Path) -> SpoolOptions {
    options(directory, 1 << 20)
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".records"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn what_is_not_resolved_is_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let (mut log, recovered) = Log::open(small(directory.path()), "orders").unwrap();
    assert!(recovered.is_empty());
    append(&mut log, 0..10);
    append(&mut log, 10..12);
    log.resolve(0..4);
    log.resolve(6..8);
    log.mark().unwrap();
    drop(log);
    let (mut log, recovered) = Log::open(small(directory.path()), "orders").unwrap();
    assert_eq!(recovered.damage, []);
    assert_eq!(all(recovered), records([4, 5, 8, 9, 10, 11]));
    append(&mut log, 12..13);
    log.resolve(4..12);
    log.mark().unwrap();
    drop(log);
    let (mut log, recovered) = Log::open(small(directory.path()), "orders").unwrap();
    assert_eq!(all(recovered), records([12]));
    log.resolve(12..13);
    log.mark().unwrap();
    assert_eq!((segments(directory.path()).len(), log.bytes()), (0, 0));
    append(&mut log, 13..14);
}

/// Power loss leaves any prefix of what was written after the last flush, or zeros in its place.
#[test]
fn a_power_cut_at_any_byte_loses_nothing_that_was_flushed() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = Log::open(small(directory.path()), "orders").unwrap();
    append(&mut log, 0..20);
    log.sync().unwrap();
    let path = segments(directory.path()).pop().unwrap();
    let synced = fs::metadata(&path).unwrap().len();
    append(&mut log, 20..25);
    append(&mut log, 25..26);
    let written = fs::metadata(&path).unwrap().len();
    assert!(written > synced + 200);
    let name = path.file_name().unwrap();
    for cut in synced..=written {
        for zeros in [false, true] {
            let after = copy(directory.path());
            let file = fs::OpenOptions::new()
                .write(true)
                .open(after.path().join(name))
                .unwrap();
            file.set_len(cut).unwrap();
            if zeros {
                file.set_len(written).unwrap();
            }
            let (mut log, recovered) = Log::open(small(after.path()), "orders").unwrap();
            let damaged = !recovered.damage.is_empty();
            let found = all(recovered);
            let count = u64::try_from(found.len()).unwrap();
            assert!((20..=26).contains(&count), "{count} records at {cut}");
            assert_eq!(found, records(0..count));
            let whole: usize = (0..count).map(|n| record_size(&record(n))).sum();
            let left = if zeros { written } else { cut };
            let head = synced - u64::try_from(encoded(0..20).len()).unwrap();
            assert_eq!(
                damaged,
                head + u64::try_from(whole).unwrap() < left,
                "reported at {cut}"
            );
            // The cut is made: nothing is found damaged again, and new records go behind.
            append(&mut log, count..count + 1);
            drop(log);
            let (_, recovered) = Log::open(small(after.path()), "orders").unwrap();
            assert_eq!(recovered.damage, []);
            assert_eq!(all(recovered), records(0..=count));
        }
    }
}

#[test]
fn a_file_damaged_in_its_middle_is_cut_there_and_the_next_files_are_read() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = Log::open(small(directory.path()), "orders").unwrap();
    let mut n = 0;
    while segments(directory.path()).len() < 3 {
        append(&mut log, n..n + 100);
        n += 100;
    }
    drop(log);
    let first = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&first).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    fs::write(&first, &bytes).unwrap();
    let (_, recovered) = Log::open(small(directory.path()), "orders").unwrap();
    let [damage] = recovered.damage.as_slice() else {
        panic!("one file is damaged");
    };
    assert_eq!(damage.path, first);
    assert!(damage.offset <= u64::try_from(half).unwrap());
    assert_eq!(
        damage.offset + damage.bytes,
        u64::try_from(bytes.len()).unwrap()
    );
    let found: BTreeSet<u64> = all(recovered)
        .into_iter()
        .map(|(number, found)| {
            assert_eq!(found, record(number));
            number
        })
        .collect();
    let next: u64 = segments(directory.path())[1]
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()[..20]
        .parse()
        .unwrap();
    let lost: Vec<u64> = (0..n).filter(|n| !found.contains(n)).collect();
    assert!(!lost.is_empty() && lost.iter().all(|lost| *lost < next));
}

#[test]
fn after_a_crash_only_what_was_resolved_since_the_mark_comes_again() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = Log::open(small(directory.path()), "orders").unwrap();
    append(&mut log, 0..100);
    log.resolve(0..50);
    log.mark().unwrap();
    log.resolve(50..70);
    let crashed = copy(directory.path());
    let (_, recovered) = Log::open(small(crashed.path()), "orders").unwrap();
    assert_eq!(
        all(recovered),
        records(50..100),
        "20 again: what was resolved since"
    );
    fs::write(crashed.path().join("mark"), b"torn").unwrap();
    let (_, recovered) = Log::open(small(crashed.path()), "orders").unwrap();
    assert_eq!(
        all(recovered),
        records(0..100),
        "all of the file again, none lost"
    );
}

#[test]
fn one_producer_and_one_stream_a_directory() {
    let directory = TempDir::new().unwrap();
    let (mut log, _) = Log::open(small(directory.path()), "orders").unwrap();
    append(&mut log, 0..1);
    let refused = Log::open(small(directory.path()), "orders").unwrap_err();
    assert!(matches!(refused, SpoolError::InUse { .. }), "{refused}");
    drop(log);
    let refused = Log::open(small(directory.path()), "payments").unwrap_err();
    assert!(matches!(refused, SpoolError::OtherStream { ref found, .. } if found == "orders"));
    assert!(
        refused.to_string().contains("'orders', not of 'payments'"),
        "{refused}"
    );
    let (_, recovered) = Log::open(small(directory.path()), "orders").unwrap();
    assert_eq!(all(recovered), records(0..1));
}

#[test]
fn the_bytes_are_bounded_and_come_back() {
    let directory = TempDir::new().unwrap();
    let options = options(directory.path(), 200_000);
    let (mut log, _) = Log::open(options, "orders").unwrap();
    let mut n = 0;
    loop {
        let more = encoded(n..n + 100);
        if !log.has_room(u64::try_from(more.len()).unwrap()) {
            break;
        }
        append(&mut log, n..n + 100);
        n += 100;
    }
    let on_disk: u64 = segments(directory.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(on_disk, log.bytes());
    assert!(on_disk <= 200_000 && on_disk > 190_000, "{on_disk}");
    log.resolve(0..n);
    log.mark().unwrap();
    assert_eq!((segments(directory.path()).len(), log.bytes()), (0, 0));
    append(&mut log, n..n + 1);
}

fn start(options: SpoolOptions) -> (Spool, tokio::task::JoinHandle<()>) {
    let (log, _) = Log::open(options.clone(), "orders").unwrap();
    let (spool, task) = Spool::new(log, options, |_| ());
    (spool, tokio::spawn(task))
}

fn left(directory: &Path) -> Vec<u64> {
    let (_, recovered) = Log::open(small(directory), "orders").unwrap();
    all(recovered)
        .into_iter()
        .map(|(number, _)| number)
        .collect()
}

#[tokio::test]
async fn callers_are_numbered_in_their_order() {
    let directory = TempDir::new().unwrap();
    let (spool, task) = start(small(directory.path()));
    let answers: Vec<_> = (0..50).map(|n| put(&spool, encoded(n..n + 1), 1)).collect();
    let firsts = futures::future::join_all(answers).await;
    let firsts: Vec<u64> = firsts.into_iter().map(Result::unwrap).collect();
    assert_eq!(firsts, (0..50).collect::<Vec<_>>());
    spool.resolved(once(0..49).collect());
    spool.close();
    task.await.unwrap();
    assert_eq!(left(directory.path()), [49]);
    assert!(matches!(
        *put(&spool, Vec::new(), 0).await.unwrap_err(),
        SpoolError::Closed
    ));
}

/// What is due while the disk is busy is done next, however many callers come.
#[tokio::test(start_paused = true)]
async fn a_spool_that_is_never_idle_is_marked_and_flushed_in_time() {
    let interval = Duration::from_millis(5);
    for sync in [SpoolSync::Never, SpoolSync::Every(interval)] {
        let directory = TempDir::new().unwrap();
        let options = SpoolOptions {
            sync,
            mark_every: interval,
            ..small(directory.path())
        };
        let (spool, task) = start(options);
        let mut marks = 0;
        for n in 0..50 {
            let mut put = std::pin::pin!(put(&spool, encoded(n..n + 1), 1));
            assert!(futures::poll!(&mut put).is_pending());
            tokio::task::yield_now().await;
            // The disk is at work.
            tokio::time::advance(interval).await;
            assert_eq!(put.await.unwrap(), n);
            spool.resolved(once(n..n + 1).collect());
            let mark = directory.path().join("mark");
            marks += u32::from(fs::remove_file(mark).is_ok());
        }
        assert!(marks > 10, "{marks} marks in 50 intervals");
        spool.close();
        task.await.unwrap();
    }
}

/// Also where the disk was done before it went, and nobody had looked.
#[tokio::test]
async fn a_caller_that_goes_away_has_spooled_nothing() {
    for done_before in [false, true] {
        let directory = TempDir::new().unwrap();
        let (spool, task) = start(small(directory.path()));
        let other = || put(&spool, encoded(5..6), 1);
        {
            // Polled once, so that the request is under way, then dropped.
            let mut gone = std::pin::pin!(put(&spool, encoded(0..5), 5));
            assert!(futures::poll!(&mut gone).is_pending());
            if done_before {
                assert_eq!(other().await.unwrap(), 5);
            }
        }
        if !done_before {
            assert_eq!(other().await.unwrap(), 5);
        }
        spool.close();
        task.await.unwrap();
        assert_eq!(left(directory.path()), [5], "{done_before}");
    }
}

#[tokio::test]
async fn without_room_callers_wait_until_records_are_resolved() {
    let directory = TempDir::new().unwrap();
    let options = options(directory.path(), 10_000);
    let (spool, task) = start(options);
    let hundred = encoded(0..100);
    assert!(hundred.len() > 5_000);
    assert_eq!(put(&spool, hundred.clone(), 100).await.unwrap(), 0);
    let mut waits = std::pin::pin!(put(&spool, hundred.clone(), 100));
    let mut behind = std::pin::pin!(put(&spool, encoded(0..1), 1));
    assert!(futures::poll!(&mut waits).is_pending());
    assert!(futures::poll!(&mut behind).is_pending());
    spool.resolved(once(0..50).collect());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(futures::poll!(&mut waits).is_pending());
    spool.resolved(once(50..100).collect());
    assert_eq!(waits.await.unwrap(), 100);
    spool.resolved(once(100..200).collect());
    assert_eq!(behind.await.unwrap(), 200);
    spool.close();
    task.await.unwrap();
}
