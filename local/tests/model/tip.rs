//! A reader at the tip of a shard while 16 writers put into it: it misses nothing, and sees nothing
//! twice or out of order.

use crate::client::{Client, Endpoint, Way};
use crate::plain::Start;
use local::LocalOptions;
use runtime::Chance;
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

const WRITERS: u32 = 16;
/// So far behind the reader may be: what it has read is trimmed, so memory stays bounded.
const BEHIND: u64 = 300_000;
const MEMORY: u64 = 256 << 20;

#[test]
fn of_the_core_it_misses_nothing_of_sixteen_writers() {
    run(Way::Core, 200_000);
}

#[test]
fn over_sockets_it_misses_nothing_of_sixteen_writers() {
    run(Way::Sockets, 100_000);
}

struct Race {
    endpoint: Endpoint,
    /// Records that were answered, and that were read.
    answered: AtomicU64,
    read: AtomicU64,
    writing: AtomicUsize,
    /// The reader has given up.
    over: AtomicBool,
}

fn run(way: Way, usual: u64) {
    let total = crate::seeds::number("KINESIS_RECORDS").unwrap_or(usual);
    let options = LocalOptions {
        max_bytes: Some(MEMORY),
        ..LocalOptions::default()
    };
    let race = Race {
        endpoint: Endpoint::new(way, options),
        answered: AtomicU64::new(0),
        read: AtomicU64::new(0),
        writing: AtomicUsize::new(usize::try_from(WRITERS).unwrap()),
        over: AtomicBool::new(false),
    };
    race.endpoint.local.create_stream("s", 1).unwrap();
    let mut reader = race.endpoint.client();
    let mut body = json!({"StreamName": "s", "ShardId": "shardId-000000000000"});
    Start::Latest.members(&mut body);
    let tip = reader.good("GetShardIterator", &body);
    let tip = tip["ShardIterator"].as_str().unwrap().to_owned();
    let began = tokio::time::Instant::now();
    let chance = Chance::seeded(7);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            // The first writers take what the division leaves.
            let share = total / u64::from(WRITERS)
                + u64::from(u64::from(writer) < total % u64::from(WRITERS));
            let (race, chance) = (&race, chance.fork());
            scope.spawn(move || write(race, writer, share, &chance));
        }
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            follow(&race, &mut reader, tip, total)
        }));
        race.over.store(true, Ordering::SeqCst);
        seen.unwrap_or_else(|reason| std::panic::resume_unwind(reason));
    });
    println!(
        "{total} records past the reader in {:?}, {way:?}",
        began.elapsed()
    );
}

fn write(race: &Race, writer: u32, share: u64, chance: &Chance) {
    let mut client = race.endpoint.client();
    let mut next = 0;
    while next < share && !race.over.load(Ordering::SeqCst) {
        if race.answered.load(Ordering::SeqCst) > race.read.load(Ordering::SeqCst) + BEHIND {
            std::thread::yield_now();
            continue;
        }
        let wanted = match chance.below(10) {
            0 => 1,
            1..4 => 1 + chance.below(50),
            _ => 500,
        };
        let until = (next + wanted).min(share);
        let answer = if until - next == 1 {
            let body = format!(
                r#"{{"StreamName":"s","PartitionKey":"k","Data":"{}"}}"#,
                payload(writer, next)
            );
            client.send("w", "PutRecord", body.into_bytes())
        } else {
            let mut body = String::from(r#"{"StreamName":"s","Records":["#);
            for counter in next..until {
                let comma = if counter == next { "" } else { "," };
                let data = payload(writer, counter);
                body.push_str(comma);
                body.push_str(r#"{"PartitionKey":"k","Data":""#);
                body.push_str(&data);
                body.push_str("\"}");
            }
            body.push_str("]}");
            client.send("w", "PutRecords", body.into_bytes())
        };
        let (status, answer) = answer.unwrap();
        let text = std::str::from_utf8(&answer).unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(!text.contains("ErrorCode"), "{text}");
        race.answered.fetch_add(until - next, Ordering::SeqCst);
        next = until;
    }
    race.writing.fetch_sub(1, Ordering::SeqCst);
}

/// The writer and its counter, in base64.
fn payload(writer: u32, counter: u64) -> String {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&writer.to_be_bytes());
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    base64_simd::STANDARD.encode_to_string(bytes)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page<'a> {
    #[serde(borrow)]
    records: Vec<Seen<'a>>,
    #[serde(borrow)]
    next_shard_iterator: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen<'a> {
    sequence_number: &'a str,
    data: Cow<'a, str>,
}

/// Reads until all came: the next record of each writer is always the next of its counters.
fn follow(race: &Race, client: &mut Client, mut iterator: String, total: u64) {
    let mut next = vec![0_u64; usize::try_from(WRITERS).unwrap()];
    let mut last = String::new();
    let mut seen = 0;
    while seen < total {
        // Asked before the read: what was written until then has to be on the page.
        let writing = race.writing.load(Ordering::SeqCst) > 0;
        let body = format!(r#"{{"ShardIterator":"{iterator}","Limit":10000}}"#);
        let (status, answer) = client.send("r", "GetRecords", body.into_bytes()).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let page: Page<'_> = serde_json::from_slice(&answer).unwrap();
        assert!(
            writing || !page.records.is_empty(),
            "{} of {total} never came",
            total - seen
        );
        for record in &page.records {
            let bytes = base64_simd::STANDARD
                .decode_to_vec(record.data.as_bytes())
                .unwrap();
            let writer = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            let counter = u64::from_be_bytes(bytes[4..].try_into().unwrap());
            let expected = &mut next[usize::try_from(writer).unwrap()];
            assert_eq!(
                counter, *expected,
                "of writer {writer}, after {seen} records"
            );
            *expected += 1;
            // 56 digits compare as text.
            assert_eq!(record.sequence_number.len(), 56);
            assert!(record.sequence_number > last.as_str());
            last.clear();
            last.push_str(record.sequence_number);
        }
        seen += u64::try_from(page.records.len()).unwrap();
        race.read.store(seen, Ordering::SeqCst);
        if page.records.is_empty() {
            std::thread::yield_now();
        }
        iterator = page.next_shard_iterator.into_owned();
    }
    assert_eq!(seen, total);
}
