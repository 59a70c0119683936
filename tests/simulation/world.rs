//! The endpoint, and how producers and workers are made against it.

use crate::account::Account;
use aggregation::{Deaggregated, HashRange};
use aws::{Config, Credentials, Environment, InProcess};
use bytes::Bytes;
use kcl::{
    Batch, Checkpointer, InitialPosition, Position, ProcessorError, RecordProcessor, RenewalPlace,
    Scheduler, ShardContext,
};
use kpl::{Producer, Record};
use local::{AccessKey, Local, LocalOptions, StoredRecord};
use parking_lot::Mutex;
use runtime::time::from_epoch_millis;
use runtime::{Chance, TokioClock, WallClock};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const STREAM: &str = "orders";
const APPLICATION: &str = "billing";
/// The one access key, by id and secret, that the endpoint verifies signatures by.
const KEY: (&str, &str) = ("AKIDWORLD", "a secret of the simulation");

pub struct World {
    pub local: Local,
    pub account: Arc<Account>,
    clock: Arc<dyn WallClock>,
    chance: Chance,
    /// Workers that are cut off: none of their requests arrives.
    pub cut_off: Arc<Mutex<BTreeSet<String>>>,
}

/// What a caller meets in place of an answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("cut off by the test")]
    CutOff,
    #[error(transparent)]
    Lost(local::ConnectionLost),
}

/// The shard whose lease a request sets to SHARD_END, if it does.
fn shard_that_ends(request: &http::Request<Bytes>) -> Option<String> {
    let target = request.headers().get("x-amz-target")?.to_str().ok()?;
    let body: serde_json::Value = (target == "DynamoDB_20120810.UpdateItem")
        .then(|| serde_json::from_slice(request.body()).ok())??;
    let mut values = body.get("ExpressionAttributeValues")?.as_object()?.values();
    let ends = values.any(|value| value.get("S").is_some_and(|text| text == "SHARD_END"));
    let key = body.get("Key")?.get("leaseKey")?.get("S")?.as_str()?;
    ends.then(|| key.to_owned())
}

impl World {
    pub fn new(seed: u64, chance: &Chance, account: Arc<Account>) -> Self {
        let start = TokioClock::starting_at(from_epoch_millis(1_700_000_000_000));
        let clock: Arc<dyn WallClock> = Arc::new(start);
        let local = Local::new(LocalOptions {
            clock: Some(Arc::clone(&clock)),
            seed,
            verify_signatures: vec![AccessKey::new(KEY.0, KEY.1)],
            state_delay: Duration::from_millis(chance.below(2_000)),
            ..LocalOptions::default()
        })
        .expect("an endpoint");
        local
            .create_stream(STREAM, u32::try_from(1 + chance.below(4)).expect("few"))
            .expect("a stream");
        let chance = chance.fork();
        Self {
            local,
            account,
            clock,
            chance,
            cut_off: Arc::default(),
        }
    }

    /// A configuration for one caller, whose requests can be cut off by its name.
    fn config(&self, caller: &str) -> Config {
        let (local, cut_off) = (self.local.clone(), Arc::clone(&self.cut_off));
        let caller = caller.to_owned();
        let account = Arc::clone(&self.account);
        let handler = move |request: http::Request<Bytes>| {
            let (local, away) = (local.clone(), cut_off.lock().contains(&caller));
            let (account, ends) = (Arc::clone(&account), shard_that_ends(&request));
            async move {
                if away {
                    return Err(Unanswered::CutOff);
                }
                let answer = local.handle(request).await.map_err(Unanswered::Lost);
                // A lost answer may have taken effect.
                if let Some(shard) = ends
                    && answer
                        .as_ref()
                        .map_or(true, |answer| answer.status().is_success())
                {
                    account.ended(&shard);
                }
                answer
            }
        };
        Config::builder()
            .region("us-east-1")
            .credentials(Credentials::new(KEY.0, KEY.1, None))
            .clock(Arc::clone(&self.clock))
            .chance(self.chance.fork())
            .environment(Environment::fixed([("HOME", "/nonexistent")]))
            .transport(Arc::new(InProcess::new(handler)))
            .load()
            .expect("a configuration")
    }

    /// Starts producers that put records at their own pace and await every receipt.
    pub async fn start_producers(&self, producers: u64) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        for number in 0..producers {
            let producer = Producer::builder(STREAM)
                .aws(self.config(&format!("producer-{number}")))
                .chance(self.chance.fork())
                .set("RecordTtl", "600000")
                .set("RequestTimeout", "2000")
                .build()
                .await
                .expect("a producer");
            let (chance, account) = (self.chance.fork(), Arc::clone(&self.account));
            tasks.push(tokio::spawn(produce(producer, number, chance, account)));
        }
        tasks
    }

    /// Starts a worker of this name.
    pub fn start_worker(&self, name: &str, stop: CancellationToken) -> JoinHandle<()> {
        let (config, chance) = (self.config(name), self.chance.fork());
        let (account, name) = (Arc::clone(&self.account), name.to_owned());
        tokio::spawn(async move {
            // A worker that meets faults at its start is started again, as a supervisor would.
            loop {
                let watch = Arc::clone(&account);
                let per_shard = chance.fork();
                let factory = move |shard: &ShardContext| Watch {
                    shard: shard.shard_id.clone(),
                    account: Arc::clone(&watch),
                    chance: per_shard.fork(),
                };
                let built = Scheduler::builder(APPLICATION, STREAM, factory)
                    .aws(config.clone())
                    .worker_id(&name)
                    .chance(chance.fork())
                    .renewal(RenewalPlace::CallersRuntime)
                    .initial_position(InitialPosition::TrimHorizon)
                    .failover_time(Duration::from_secs(3))
                    .set("parentShardPollIntervalMillis", "1000")
                    .build()
                    .await;
                if let Ok(scheduler) = built
                    && scheduler.run(stop.clone()).await.is_ok()
                {
                    return;
                }
                if stop.is_cancelled() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
    }

    /// Tells the account what the stream looks like now.
    pub fn check(&self) {
        for shard in self.local.shards(STREAM) {
            self.account.lineage(&shard.shard_id, &shard.parents);
        }
    }

    /// What was asked of the endpoint, in order.
    pub fn journal(&self) -> String {
        let lines = self
            .local
            .journal()
            .into_iter()
            .map(|seen| format!("{seen:?}\n"));
        lines.collect()
    }
}

async fn produce(producer: Producer, number: u64, chance: Chance, account: Arc<Account>) {
    let records = 50 + chance.below(250);
    let mut receipts = Vec::new();
    for n in 0..records {
        let id = number * 1_000_000 + n;
        let mut data = id.to_be_bytes().to_vec();
        data.resize(
            8 + usize::try_from(chance.below(3_000)).expect("small"),
            0xaa,
        );
        let mut record = Record::new(format!("key-{}", chance.below(40)), data);
        if chance.happens(0.1) {
            record = record.explicit_hash_key(chance.next_u128());
        }
        let receipt = producer.put(record).await.expect("admitted");
        account.admitted(id);
        receipts.push((id, receipt));
        if chance.happens(0.2) {
            tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        }
    }
    for (id, receipt) in receipts {
        let outcome = receipt.await;
        if let Err(error) = &outcome {
            panic!("record {id} failed although its time was not over: {error}");
        }
        account.resolved(id, outcome.is_ok());
    }
    let report = producer.close(Duration::from_secs(60)).await;
    assert_eq!(
        (report.delivered, report.failed, report.abandoned),
        (records, 0, 0)
    );
    assert_eq!(producer.running_tasks(), 0, "no task outlives close");
}

/// A processor that tells the account what it sees.
struct Watch {
    shard: String,
    account: Arc<Account>,
    chance: Chance,
}

impl RecordProcessor for Watch {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        if self.chance.happens(0.1) {
            tokio::time::sleep(Duration::from_millis(self.chance.below(4_000))).await;
        }
        for record in &batch.records {
            self.account
                .processed(&self.shard, record.position(), id(&record.data));
        }
        if self.chance.happens(0.7) {
            at.checkpoint().await?;
            self.account.checkpointed(&self.shard, at.last_checkpoint());
        }
        Ok(())
    }
}

fn id(data: &[u8]) -> u64 {
    let head = data.first_chunk().expect("every record has its number");
    u64::from_be_bytes(*head)
}

/// The user records that a consumer of the record's shard gets out of it, by position.
pub fn user_records(local: &Local, record: &StoredRecord) -> Vec<(Position, u64)> {
    let shards = local.shards(STREAM);
    let shard = shards
        .iter()
        .find(|s| s.shard_id == record.shard_id)
        .expect("the record's shard");
    let range = HashRange::new(shard.hash_range.start.into(), shard.hash_range.end.into());
    let position = |sub| Position::parse(&record.sequence_number, sub).expect("a number");
    match aggregation::deaggregate(&record.data, Some(range.expect("a range"))) {
        Deaggregated::PassThrough => vec![(position(0), id(&record.data))],
        Deaggregated::Records(records) => records
            .map(|r| (position(r.sub_sequence_number), id(&r.data)))
            .collect(),
    }
}
