//! What the tests share: a producer in process with an endpoint, and what a consumer would read.

#![allow(dead_code, reason = "each test uses its part")]
#![expect(clippy::unwrap_used, reason = "a test's helper may stop the test")]

use aggregation::{
    Deaggregated, HashKey, HashRange, IdentityReader, Sighting, Window, deaggregate,
};
use aws::{Config, Credentials, Environment, InProcess};
use bytes::Bytes;
use kpl::{Delivered, Producer, ProducerBuilder, Record};
use local::{
    AccessKey, Fault, FaultAction, FaultId, Limits, Local, LocalOptions, ShardInfo, StoredRecord,
};
use runtime::{Chance, RetryPolicy, TokioClock};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The one access key, by id and secret, that the endpoint knows.
const KEY: (&str, &str) = ("AKIDPRODUCER", "a secret of the producer's tests");

/// An endpoint whose clock starts at a fixed time and follows tokio's. It verifies each request's
/// signature.
pub(crate) fn endpoint(limits: Limits, seed: u64) -> Local {
    endpoint_changing(limits, seed, Duration::ZERO)
}

/// The same; a stream is CREATING and UPDATING for so long.
pub(crate) fn endpoint_changing(limits: Limits, seed: u64, state_delay: Duration) -> Local {
    Local::new(LocalOptions {
        limits,
        seed,
        state_delay,
        clock: Some(Arc::new(clock())),
        verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
        ..LocalOptions::default()
    })
    .unwrap()
}

/// An endpoint with the stream `orders`.
pub(crate) fn orders(limits: Limits, shards: u32) -> Local {
    let local = endpoint(limits, 1);
    local.create_stream("orders", shards).unwrap();
    local
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An answer that fails a request.
pub(crate) fn error(status: u16, code: &str) -> FaultAction {
    FaultAction::Error {
        status,
        code: code.to_owned(),
        message: "by the test".to_owned(),
    }
}

pub(crate) fn refusal(code: &str) -> FaultAction {
    error(400, code)
}

pub(crate) const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// Each of so many entries of a request is throttled.
pub(crate) fn throttles(every: usize) -> FaultAction {
    FaultAction::SplitEntries {
        every,
        code: THROTTLED.to_owned(),
    }
}

/// Nothing is answered any more, until the fault is removed.
pub(crate) fn away(local: &Local) -> FaultId {
    local.faults().add(Fault::every("*", FaultAction::Refuse))
}

/// Each `PutRecords` takes so long.
pub(crate) fn slow(local: &Local, by: Duration) -> FaultId {
    let delay = FaultAction::Delay(by);
    local.faults().add(Fault::every("PutRecords", delay))
}

/// How often an operation was called.
pub(crate) fn calls(local: &Local, operation: &str) -> u64 {
    let counts = local.request_counts();
    counts.get(operation).copied().unwrap_or_default()
}

pub(crate) fn record(n: u32) -> Record {
    Record::new(format!("key-{n}"), format!("record {n}"))
}

/// Records of as many keys.
pub(crate) fn spread(numbers: Range<u32>) -> Vec<Record> {
    numbers.map(record).collect()
}

pub(crate) async fn put_one(producer: &Producer) -> Delivered {
    let record = Record::new("k", "x");
    producer.put(record).await.unwrap().await.unwrap()
}

/// The open shards by their ranges.
pub(crate) fn open_shards(local: &Local) -> Vec<ShardInfo> {
    let shards = local.shards("orders").into_iter();
    let mut open: Vec<_> = shards.filter(|shard| shard.open).collect();
    open.sort_by_key(|shard| shard.hash_range.start);
    open
}

/// A payload that a reader would take for an aggregate.
pub(crate) fn looks_like_an_aggregate() -> Bytes {
    let mut inner = aggregation::Aggregate::new();
    inner.push(&aggregation::UserRecordRef {
        partition_key: "inner",
        explicit_hash_key: None,
        data: b"x",
        tags: &[],
    });
    inner.finish().to_bytes()
}

/// The endpoint's time, to sign by.
pub(crate) fn clock() -> TokioClock {
    TokioClock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

pub(crate) fn credentials() -> Credentials {
    credentials_with(KEY.1)
}

/// The endpoint's key with another secret.
pub(crate) fn credentials_with(secret: &str) -> Credentials {
    Credentials::new(KEY.0, secret, None)
}

/// A configuration that calls the endpoint on the caller's task and shows it each answer.
pub(crate) fn config_watched(
    local: &Local,
    seed: u64,
    watch: impl Fn() + Send + Sync + Clone + 'static,
) -> Config {
    configured(local, seed, credentials(), watch)
}

pub(crate) fn config_signed_by(local: &Local, credentials: Credentials) -> Config {
    configured(local, 1, credentials, || ())
}

/// What the service finds wrong with a request, in these tests: it refuses the whole of it, as it does
/// for one bad entry.
pub(crate) const POISON: &[u8] = b"POISON";

fn holds_poison(body: &[u8]) -> bool {
    body.windows(POISON.len()).any(|part| part == POISON)
}

fn configured(
    local: &Local,
    seed: u64,
    credentials: Credentials,
    watch: impl Fn() + Send + Sync + Clone + 'static,
) -> Config {
    let local = local.clone();
    let handler = move |request: http::Request<Bytes>| {
        let (local, watch) = (local.clone(), watch.clone());
        async move {
            let answer = if holds_poison(request.body()) {
                let refused = http::Response::builder()
                    .status(400)
                    .header("x-amzn-errortype", "ValidationException")
                    .body(Bytes::new());
                Ok(refused.unwrap())
            } else {
                local.handle(request).await
            };
            watch();
            answer
        }
    };
    Config::builder()
        .region("us-east-1")
        .credentials(credentials)
        .clock(Arc::new(clock()))
        .chance(Chance::seeded(seed))
        .environment(Environment::fixed([("HOME", "/nonexistent")]))
        .retry(RetryPolicy::default())
        .transport(Arc::new(InProcess::new(handler)))
        .load()
        .unwrap()
}

pub(crate) fn config(local: &Local) -> Config {
    config_watched(local, 1, || ())
}

/// A producer for `orders`, in process.
pub(crate) fn producer(local: &Local) -> ProducerBuilder {
    Producer::builder("orders")
        .aws(config(local))
        .chance(Chance::seeded(1))
}

/// Shard, sequence number and sub-sequence number.
pub(crate) type Place = (String, String, u64);

/// What a consumer that checks ranges, as the KCL does, reads from the stream: partition key and data
/// by place.
pub(crate) fn readable(local: &Local, stream: &str) -> BTreeMap<Place, (String, Bytes)> {
    let ranges: BTreeMap<String, HashRange> = local
        .shards(stream)
        .into_iter()
        .map(|shard| {
            let range = (
                HashKey::new(shard.hash_range.start),
                HashKey::new(shard.hash_range.end),
            );
            (shard.shard_id, HashRange::new(range.0, range.1).unwrap())
        })
        .collect();
    let mut all = BTreeMap::new();
    for stored in local.records(stream) {
        let range = ranges.get(&stored.shard_id).copied();
        let place = |sub| (stored.shard_id.clone(), stored.sequence_number.clone(), sub);
        match deaggregate(&stored.data, range) {
            Deaggregated::Records(records) => {
                for record in records {
                    let key = record.partition_key.to_string();
                    all.insert(place(record.sub_sequence_number), (key, record.data));
                }
            }
            _ => {
                all.insert(
                    place(0),
                    (
                        stored.partition_key.unwrap_or_default(),
                        stored.data.clone(),
                    ),
                );
            }
        }
    }
    all
}

/// What a consumer emits that drops what it has seen: how often each datum came, and how many user records
/// there were before the dropping. A child's window begins as its parents'.
pub(crate) fn emitted(local: &Local) -> (BTreeMap<Bytes, usize>, usize) {
    let records = local.records("orders");
    let mut windows: BTreeMap<String, Window> = BTreeMap::new();
    let (mut emitted, mut all) = (BTreeMap::new(), 0);
    let mut emit = |data: Bytes, new: bool| {
        all += 1;
        if new {
            *emitted.entry(data).or_default() += 1;
        }
    };
    // Parents come before their children.
    for shard in local.shards("orders") {
        let mut window = Window::default();
        for parent in shard
            .parents
            .iter()
            .filter_map(|parent| windows.get(parent))
        {
            window.absorb(parent);
        }
        let (start, end) = (shard.hash_range.start, shard.hash_range.end);
        let range = HashRange::new(HashKey::new(start), HashKey::new(end)).unwrap();
        let of_shard = |stored: &&StoredRecord| stored.shard_id == shard.shard_id;
        for stored in records.iter().filter(of_shard) {
            let Deaggregated::Records(records) = deaggregate(&stored.data, Some(range)) else {
                emit(stored.data.clone(), true);
                continue;
            };
            let mut identity = IdentityReader::default();
            for record in records {
                let tags = record.tags.iter();
                let tags = tags.map(|tag| (tag.key.as_str(), tag.value.as_deref()));
                let id = identity.next(tags);
                let new = id.is_none_or(|id| window.observe(id) == Sighting::New);
                emit(record.data, new);
            }
        }
        assert_eq!(window.forgotten(), 0);
        windows.insert(shard.shard_id, window);
    }
    (emitted, all)
}

pub(crate) fn place(delivered: &Delivered) -> Place {
    (
        delivered.shard_id.to_string(),
        delivered.sequence_number.to_string(),
        delivered.sub_sequence_number,
    )
}
