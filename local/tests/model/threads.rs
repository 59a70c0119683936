//! Many callers at once: writers, some of whose answers are lost, readers from everywhere, shards that
//! are split, merged and scaled, and a clock that goes on.

use crate::client::{Client, Endpoint, T0, Way};
use crate::ledger::{Fate, Journey, Put, audit};
use crate::plain::Start;
use crate::shards::{Listed, check, hash_key};
use local::{Fault, FaultAction, LocalOptions};
use parking_lot::Mutex;
use runtime::Chance;
use runtime::time::epoch_millis;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const STREAMS: [&str; 2] = ["alpha", "beta"];
const WRITERS: usize = 4;
const PUTS: usize = 120;
const RESHARDERS: usize = 2;
const READERS: usize = 3;

/// Callers whose requests are struck: before the effect, after it, in the answer, in some entries.
const CALLERS: [&str; 5] = ["before", "after", "cut", "split", "model"];

#[test]
fn many_callers_of_the_core_leave_no_gap_and_no_repeat() {
    crate::seeds::each("many_callers_of_the_core", 8, |seed| run(seed, Way::Core));
}

#[test]
fn many_callers_over_sockets_leave_no_gap_and_no_repeat() {
    crate::seeds::each("many_callers_over_sockets", 4, |seed| {
        run(seed, Way::Sockets);
    });
}

/// What all callers share.
struct World {
    endpoint: Endpoint,
    /// Orders what happens: a lower number was drawn earlier.
    ticks: AtomicU64,
    writing: AtomicUsize,
    /// Where some acknowledged records are.
    known: Mutex<Vec<(&'static str, String, String)>>,
}

impl World {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    fn is_busy(&self) -> bool {
        self.writing.load(Ordering::SeqCst) > 0
    }
}

fn run(seed: u64, way: Way) {
    let world = World {
        endpoint: Endpoint::new(way, LocalOptions::default()),
        ticks: AtomicU64::new(1),
        writing: AtomicUsize::new(WRITERS),
        known: Mutex::default(),
    };
    let local = &world.endpoint.local;
    local.create_stream("alpha", 3).unwrap();
    local.create_stream("beta", 1).unwrap();
    let split = FaultAction::SplitEntries {
        every: 3,
        code: "InternalFailure".to_owned(),
    };
    for (caller, action) in CALLERS.into_iter().zip([
        FaultAction::Refuse,
        FaultAction::LoseAnswer,
        FaultAction::Truncate(20),
        split,
    ]) {
        local.faults().add(Fault::every("*", action).by(caller));
    }
    let chance = Chance::seeded(seed);
    let (puts, mut journeys) = std::thread::scope(|scope| {
        let world = &world;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let chance = chance.fork();
                scope.spawn(move || {
                    let puts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        write(world, writer, &chance)
                    }));
                    world.writing.fetch_sub(1, Ordering::SeqCst);
                    puts.unwrap_or_else(|reason| std::panic::resume_unwind(reason))
                })
            })
            .collect();
        for _ in 0..RESHARDERS {
            let chance = chance.fork();
            scope.spawn(move || reshard(world, &chance));
        }
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let chance = chance.fork();
                scope.spawn(move || read(world, &chance))
            })
            .collect();
        let puts: Vec<Vec<Put>> = writers.into_iter().map(|w| w.join().unwrap()).collect();
        let journeys: Vec<Journey> = readers
            .into_iter()
            .flat_map(|r| r.join().unwrap())
            .collect();
        (puts, journeys)
    });
    let client = &mut world.endpoint.client();
    for journey in &mut journeys {
        journey.finish(client);
    }
    let puts: Vec<&[Put]> = puts.iter().map(Vec::as_slice).collect();
    for stream in STREAMS {
        audit(client, stream, &puts, &journeys);
    }
    // The story had something of everything.
    let all = || puts.iter().flat_map(|puts| puts.iter());
    assert!(all().any(|put| put.fate == Fate::Unanswered));
    assert!(all().any(|put| put.fate == Fate::Refused));
    assert!(journeys.iter().filter(|j| !j.read.is_empty()).count() > 3);
    assert!(world.endpoint.local.shards("alpha").len() > 5);
}

fn write(world: &World, writer: usize, chance: &Chance) -> Vec<Put> {
    let mut client = world.endpoint.client();
    let mut puts: Vec<Put> = Vec::new();
    for step in 0..PUTS {
        let stream = STREAMS[chance.index(STREAMS.len())];
        let count = if chance.happens(0.5) {
            1
        } else {
            1 + chance.index(25)
        };
        let records: Vec<Put> = (0..count)
            .map(|n| {
                let key = format!("key-{}", chance.below(30));
                let explicit = chance.happens(0.3).then(|| chance.next_u128());
                Put {
                    stream,
                    hash: explicit.unwrap_or_else(|| hash_key(&key)),
                    key,
                    data: base64_simd::STANDARD.encode_to_string(format!("{writer}-{step}-{n}")),
                    sent: 0,
                    answered: 0,
                    fate: Fate::Refused,
                }
            })
            .collect();
        let caller = if chance.happens(0.2) {
            CALLERS[chance.index(CALLERS.len())]
        } else {
            "model"
        };
        puts.extend(put(world, &mut client, caller, stream, records));
        if step % 10 == 0 {
            churn(&mut client, &format!("churn-{writer}"));
        }
    }
    puts
}

/// Sends records, and notes what became of them.
fn put(
    world: &World,
    client: &mut Client,
    caller: &str,
    stream: &'static str,
    mut records: Vec<Put>,
) -> Vec<Put> {
    let mut entries: Vec<Value> = records
        .iter()
        .map(|put| {
            let mut entry = json!({"PartitionKey": put.key, "Data": put.data});
            if put.hash != hash_key(&put.key) {
                entry["ExplicitHashKey"] = put.hash.to_string().into();
            }
            entry
        })
        .collect();
    let single = entries.len() == 1;
    let (operation, body) = if single {
        let mut body = entries.remove(0);
        body["StreamName"] = stream.into();
        ("PutRecord", body)
    } else {
        (
            "PutRecords",
            json!({"StreamName": stream, "Records": entries}),
        )
    };
    let sent = world.tick();
    let answer = client.send(caller, operation, body.to_string().into_bytes());
    let answered = world.tick();
    for record in &mut records {
        (record.sent, record.answered) = (sent, answered);
    }
    let Ok((status, answer)) = answer else {
        assert!(["before", "after", "cut"].contains(&caller), "{caller}");
        if caller != "before" {
            records.iter_mut().for_each(|r| r.fate = Fate::Unanswered);
        }
        return records;
    };
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    assert!(["model", "split"].contains(&caller), "{caller}");
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let results = if single {
        vec![answer]
    } else {
        answer["Records"].as_array().unwrap().clone()
    };
    assert_eq!(results.len(), records.len());
    for (position, (record, result)) in records.iter_mut().zip(results).enumerate() {
        let refused = caller == "split" && !single && (position + 1) % 3 == 0;
        assert_eq!(
            result["ErrorCode"] == "InternalFailure",
            refused,
            "{result}"
        );
        if !refused {
            let text = |name: &str| result[name].as_str().unwrap().to_owned();
            record.fate = Fate::Acknowledged {
                shard: text("ShardId"),
                sequence: text("SequenceNumber"),
            };
            world
                .known
                .lock()
                .push((stream, text("ShardId"), text("SequenceNumber")));
        }
    }
    records
}

/// A stream that lives for a moment.
fn churn(client: &mut Client, name: &str) {
    client.good(
        "CreateStream",
        &json!({"StreamName": name, "ShardCount": 2}),
    );
    let record = json!({"StreamName": name, "PartitionKey": "k", "Data": "eA=="});
    client.good("PutRecord", &record);
    client.good("DeleteStream", &json!({"StreamName": name}));
    let (status, answer) = client.ask("PutRecord", &record);
    assert_eq!(
        (status, &answer["__type"]),
        (400, &json!("ResourceNotFoundException"))
    );
}

/// Splits, merges and scales while there are writers.
fn reshard(world: &World, chance: &Chance) {
    let mut client = world.endpoint.client();
    let mut done = 0;
    while world.is_busy() || done == 0 {
        let stream = STREAMS[chance.index(STREAMS.len())];
        let answer = client.good("ListShards", &json!({"StreamName": stream}));
        let listed = Listed::list(&answer);
        check(&listed);
        let mut open: Vec<&Listed> = listed.iter().filter(|s| s.is_open()).collect();
        open.sort_by_key(|s| s.start);
        let at = chance.index(open.len());
        let (operation, body) = match chance.below(10) {
            0 => {
                let target = (open.len() / 2 + chance.index(open.len() + 1)).clamp(1, 10);
                (
                    "UpdateShardCount",
                    json!({"StreamName": stream, "TargetShardCount": target,
                        "ScalingType": "UNIFORM_SCALING"}),
                )
            }
            1..5 if open.len() < 12 => {
                let middle = open[at].start + (open[at].end - open[at].start) / 2;
                (
                    "SplitShard",
                    json!({"StreamName": stream, "ShardToSplit": open[at].id,
                        "NewStartingHashKey": middle.to_string()}),
                )
            }
            _ => {
                let other = (at + 1) % open.len();
                (
                    "MergeShards",
                    json!({"StreamName": stream, "ShardToMerge": open[at].id,
                        "AdjacentShardToMerge": open[other].id}),
                )
            }
        };
        let (status, answer) = client.ask(operation, &body);
        if status == 200 {
            done += 1;
        } else {
            // Another one was faster, or they do not touch.
            assert_eq!(
                answer["__type"], "InvalidArgumentException",
                "{operation} {body}: {answer}"
            );
        }
        world
            .endpoint
            .clock
            .advance(Duration::from_millis(chance.below(4)));
        // Thousands of shards would only make the test slow.
        if listed.len() > 150 {
            return;
        }
    }
}

/// Reads from everywhere while there are writers; where it has come to, others go on at the end.
fn read(world: &World, chance: &Chance) -> Vec<Journey> {
    let mut client = world.endpoint.client();
    let mut journeys: Vec<Journey> = Vec::new();
    while world.is_busy() {
        if journeys.len() < 12 || (journeys.len() < 60 && chance.happens(0.1)) {
            journeys.extend(depart(world, &mut client, chance));
        }
        if !journeys.is_empty() {
            let at = chance.index(journeys.len());
            journeys[at].page(&mut client, 1 + chance.index(100));
        }
    }
    journeys
}

/// An iterator of any type.
fn depart(world: &World, client: &mut Client, chance: &Chance) -> Option<Journey> {
    let known = {
        let known = world.known.lock();
        known.get(chance.index(known.len())).cloned()
    };
    let stream = STREAMS[chance.index(STREAMS.len())];
    let now = epoch_millis(runtime::WallClock::now(&*world.endpoint.clock));
    let start = match (chance.below(5), &known) {
        (0, Some((_, _, number))) => Start::At(number.clone()),
        (1, Some((_, _, number))) => Start::After(number.clone()),
        (2, _) => Start::Latest,
        (3, _) => Start::Time(now - chance.below(now - T0 + 1)),
        _ => Start::TrimHorizon,
    };
    let (stream, shard) = match (&start, known) {
        (Start::At(_) | Start::After(_), Some((stream, shard, _))) => (stream, shard),
        _ => {
            let listed = client.good("ListShards", &json!({"StreamName": stream}));
            let listed = Listed::list(&listed);
            check(&listed);
            (stream, listed[chance.index(listed.len())].id.clone())
        }
    };
    let mut body = json!({"StreamName": stream, "ShardId": shard});
    start.members(&mut body);
    let asked = world.tick();
    let answer = client.good("GetShardIterator", &body);
    let got = world.tick();
    Some(Journey {
        stream,
        shard,
        start,
        asked,
        got,
        read: Vec::new(),
        next: answer["ShardIterator"].as_str().map(str::to_owned),
    })
}
