//! A stream, a lease table and workers in one process, on a paused clock.

mod key;

use aws::kinesis::PutRecordsEntry;
use kcl::{
    Batch, Checkpointer, Finished, InitialPosition, Initialization, ProcessorError,
    RecordProcessor, RenewalPlace, Report, Scheduler, SchedulerBuilder, SchedulerError,
    ShardContext, ShardEnd,
};
use local::{Limits, Local, LocalOptions};
use runtime::{Chance, TokioClock, WallClock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const STREAM: &str = "orders";
pub(crate) const APP: &str = "app";

/// What processors were told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Initialized { checkpoint: String },
    Records(Vec<String>),
    Lost,
    Ended,
    ShutdownRequested,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) worker: String,
    pub(crate) shard: String,
    pub(crate) told: Told,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    pub(crate) fn push(&self, worker: &str, shard: &str, told: Told) {
        let call = Call {
            worker: worker.to_owned(),
            shard: shard.to_owned(),
            told,
        };
        self.0.lock().unwrap().push(call);
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    /// How often each payload was delivered.
    pub(crate) fn deliveries(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.all() {
            if let Told::Records(records) = call.told {
                for record in records {
                    *counts.entry(record).or_insert(0) += 1;
                }
            }
        }
        counts
    }

    pub(crate) fn delivered(&self) -> BTreeSet<String> {
        self.deliveries().into_keys().collect()
    }
}

/// Writes down what it is told, and checkpoints after each batch unless told otherwise.
pub(crate) struct Recorder {
    pub(crate) worker: String,
    pub(crate) shard: String,
    pub(crate) calls: Calls,
    pub(crate) checkpoints: bool,
}

impl RecordProcessor for Recorder {
    async fn initialize(&mut self, at: &Initialization) -> Result<(), ProcessorError> {
        let checkpoint = at.checkpoint.to_string();
        self.calls
            .push(&self.worker, &self.shard, Told::Initialized { checkpoint });
        Ok(())
    }

    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        let records = batch.records.iter().map(|r| text(&r.data)).collect();
        self.calls
            .push(&self.worker, &self.shard, Told::Records(records));
        if self.checkpoints {
            at.checkpoint().await?;
        }
        Ok(())
    }

    async fn lease_lost(&mut self) {
        self.calls.push(&self.worker, &self.shard, Told::Lost);
    }

    async fn shard_ended(&mut self, end: ShardEnd) -> Result<Finished, ProcessorError> {
        let finished = end.checkpoint().await?;
        self.calls.push(&self.worker, &self.shard, Told::Ended);
        Ok(finished)
    }

    async fn shutdown_requested(&mut self, _at: &Checkpointer) -> Result<(), ProcessorError> {
        self.calls
            .push(&self.worker, &self.shard, Told::ShutdownRequested);
        Ok(())
    }
}

pub(crate) fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

pub(crate) type Running = JoinHandle<Result<Report, SchedulerError>>;

/// A worker that runs.
pub(crate) struct Worker {
    pub(crate) handle: kcl::Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) task: Running,
}

impl Worker {
    pub(crate) async fn stop(self) -> Report {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// As a crash: nothing is given back.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub(crate) struct World {
    pub(crate) local: Local,
    pub(crate) calls: Calls,
    /// The one wall clock of the world.
    pub(crate) clock: Arc<dyn WallClock>,
}

impl World {
    pub(crate) fn new(shards: u32) -> Self {
        Self::with(
            shards,
            LocalOptions {
                limits: Limits::On,
                ..LocalOptions::default()
            },
        )
    }

    pub(crate) fn with(shards: u32, options: LocalOptions) -> Self {
        let clock: Arc<dyn WallClock> = Arc::new(TokioClock::starting_at(begin()));
        let options = LocalOptions {
            clock: Some(Arc::clone(&clock)),
            ..options
        };
        let local = Local::new(key::verified(options)).unwrap();
        local.create_stream(STREAM, shards).unwrap();
        Self {
            local,
            calls: Calls::default(),
            clock,
        }
    }

    pub(crate) fn config(&self) -> aws::Config {
        let local = self.local.clone();
        let transport = aws::InProcess::new(move |request| {
            let local = local.clone();
            async move { local.handle(request).await }
        });
        config(Arc::new(transport), &self.clock)
    }

    /// A builder for a worker that records what it is told.
    pub(crate) fn worker(&self, id: &str) -> SchedulerBuilder<impl kcl::ProcessorFactory> {
        self.worker_with(id, self.config(), true)
    }

    pub(crate) fn worker_with(
        &self,
        id: &str,
        config: aws::Config,
        checkpoints: bool,
    ) -> SchedulerBuilder<impl kcl::ProcessorFactory + use<>> {
        let (calls, worker) = (self.calls.clone(), id.to_owned());
        let factory = move |shard: &ShardContext| Recorder {
            worker: worker.clone(),
            shard: shard.shard_id.clone(),
            calls: calls.clone(),
            checkpoints,
        };
        builder(id, config, factory)
    }

    pub(crate) async fn start(&self, id: &str) -> Worker {
        start(self.worker(id)).await
    }

    /// Puts records `from..to`, each with a key of its own.
    pub(crate) async fn put(&self, numbers: std::ops::Range<u32>) {
        put(&self.config(), numbers).await;
    }

    pub(crate) fn all_put(&self) -> BTreeSet<String> {
        self.local
            .records(STREAM)
            .iter()
            .map(|r| text(&r.data))
            .collect()
    }

    pub(crate) async fn rows(&self) -> Vec<aws::dynamodb::Item> {
        let client = aws::dynamodb::Client::new(&self.config());
        let scan = aws::dynamodb::Scan {
            table_name: APP.to_owned(),
            ..Default::default()
        };
        client.scan(&scan).await.unwrap().items
    }

    /// An attribute of a lease's row, as text.
    pub(crate) async fn attribute(&self, shard: &str, name: &str) -> Option<String> {
        let rows = self.rows().await;
        let row = rows
            .iter()
            .find(|row| row["leaseKey"].as_s() == Some(shard))?;
        let value = row.get(name)?;
        value.as_s().or_else(|| value.as_n()).map(str::to_owned)
    }

    pub(crate) async fn owners(&self) -> Vec<Option<String>> {
        let mut rows = self.rows().await;
        rows.sort_by_key(|row| row["leaseKey"].as_s().map(str::to_owned));
        rows.iter()
            .map(|r| {
                r.get("leaseOwner")
                    .and_then(|o| o.as_s())
                    .map(str::to_owned)
            })
            .collect()
    }

    pub(crate) async fn until_all_delivered(&self) {
        until("all records are delivered", || {
            self.calls.delivered() == self.all_put()
        })
        .await;
    }
}

/// When the world began; tests begin to count with it.
fn begin() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(crate) fn config(
    transport: Arc<dyn aws::Transport>,
    clock: &Arc<dyn WallClock>,
) -> aws::Config {
    aws::Config::builder()
        .environment(aws::Environment::fixed::<&str, &str>([]))
        .region("us-east-1")
        .credentials(key::credentials())
        .transport(transport)
        .clock(Arc::clone(clock))
        .chance(Chance::seeded(1))
        .load()
        .unwrap()
}

pub(crate) fn builder<F: kcl::ProcessorFactory>(
    id: &str,
    config: aws::Config,
    factory: F,
) -> SchedulerBuilder<F> {
    Scheduler::builder(APP, STREAM, factory)
        .aws(config)
        .worker_id(id)
        .initial_position(InitialPosition::TrimHorizon)
        .renewal(RenewalPlace::CallersRuntime)
        .chance(Chance::seeded(7))
}

pub(crate) async fn start<F: kcl::ProcessorFactory>(builder: SchedulerBuilder<F>) -> Worker {
    let scheduler = builder.build().await.unwrap();
    let (handle, stop) = (scheduler.handle(), CancellationToken::new());
    let task = tokio::spawn(scheduler.run(stop.clone()));
    Worker { handle, stop, task }
}

pub(crate) async fn put(config: &aws::Config, numbers: std::ops::Range<u32>) {
    let client = aws::kinesis::Client::new(config);
    let keys: Vec<String> = numbers.map(|n| format!("r{n}")).collect();
    for keys in keys.chunks(500) {
        let data: Vec<_> = keys.iter().map(|k| [k.as_bytes().into()]).collect();
        let entries: Vec<PutRecordsEntry<'_>> = keys
            .iter()
            .zip(&data)
            .map(|(key, data)| PutRecordsEntry {
                partition_key: key,
                explicit_hash_key: None,
                data,
            })
            .collect();
        let answer = client.put_records(STREAM, &entries).await.unwrap();
        assert_eq!(answer.failed_record_count, 0);
    }
}

/// Waits, on the paused clock, until the condition holds; fails after an hour of it.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..36_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("still not after an hour: {what}");
}

pub(crate) async fn until_async<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    for _ in 0..36_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("still not after an hour: {what}");
}
