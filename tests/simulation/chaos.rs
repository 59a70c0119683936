//! What happens to producers and workers: faults, reshards, crashes, partitions.

use crate::world::{STREAM, World};
use local::{Fault, FaultAction};
use runtime::Chance;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Worker {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

pub struct Chaos<'w> {
    world: &'w World,
    chance: Chance,
    workers: BTreeMap<String, Worker>,
    next_worker: u64,
    reshards_left: u32,
}

impl<'w> Chaos<'w> {
    /// Starts the first workers.
    pub async fn new(world: &'w World, chance: Chance) -> Self {
        let mut chaos = Self {
            world,
            chance,
            workers: BTreeMap::new(),
            next_worker: 0,
            reshards_left: 4,
        };
        for _ in 0..1 + chaos.chance.below(3) {
            chaos.start_worker();
        }
        chaos
    }

    fn start_worker(&mut self) {
        let name = format!("worker-{}", self.next_worker);
        self.next_worker += 1;
        let stop = CancellationToken::new();
        let task = self.world.start_worker(&name, stop.clone());
        self.workers.insert(name, Worker { task, stop });
    }

    /// One thing happens, or nothing.
    pub async fn strike(&mut self) {
        match self.chance.below(12) {
            0 | 1 => self.reshard(),
            2 => self.crash(),
            3 => self.cut_off(),
            4 => self.world.cut_off.lock().clear(),
            5 => self.stop_one().await,
            6..=9 => self.fault(),
            _ => {}
        }
        if self.workers.is_empty() {
            self.start_worker();
        }
    }

    /// Splits or merges; a stream that is changing already says no, which is as good.
    fn reshard(&mut self) {
        if self.reshards_left == 0 {
            return;
        }
        self.reshards_left -= 1;
        let mut open: Vec<_> = self
            .world
            .local
            .shards(STREAM)
            .into_iter()
            .filter(|s| s.open)
            .collect();
        open.sort_by_key(|s| s.hash_range.start);
        let at = self.chance.index(open.len());
        let shard = &open.get(at).expect("a stream has an open shard").shard_id;
        let done = match open.get(at + 1) {
            Some(next) if self.chance.happens(0.5) => {
                self.world.local.merge_shards(STREAM, shard, &next.shard_id)
            }
            _ => self.world.local.split_shard(STREAM, shard),
        };
        done.expect("the stream is active");
        self.world.check();
    }

    fn any_worker(&self) -> Option<String> {
        let names: Vec<&String> = self.workers.keys().collect();
        names
            .get(self.chance.index(names.len()))
            .map(|name| (*name).clone())
    }

    /// A worker is gone from one moment to the next; another one comes.
    fn crash(&mut self) {
        if let Some(name) = self.any_worker() {
            self.workers
                .remove(&name)
                .expect("it was there")
                .task
                .abort();
            self.start_worker();
        }
    }

    fn cut_off(&mut self) {
        if let Some(name) = self.any_worker() {
            self.world.cut_off.lock().insert(name);
            self.start_worker();
        }
    }

    /// A worker is stopped as in a deployment.
    async fn stop_one(&mut self) {
        if let Some(name) = self.any_worker() {
            let worker = self.workers.remove(&name).expect("it was there");
            worker.stop.cancel();
            // A worker that is cut off cannot give its leases back, but it ends.
            worker
                .task
                .await
                .expect("a worker ends when it is asked to");
            self.start_worker();
        }
    }

    fn fault(&mut self) {
        const OPERATIONS: [&str; 6] = [
            "PutRecords",
            "PutRecords",
            "GetRecords",
            "UpdateItem",
            "ListShards",
            "*",
        ];
        let operation = OPERATIONS
            .get(self.chance.index(OPERATIONS.len()))
            .expect("in range");
        let error = |status, code: &str| FaultAction::Error {
            status,
            code: code.to_owned(),
            message: "by the test".to_owned(),
        };
        let action = match self.chance.below(7) {
            0 => error(500, "InternalFailure"),
            1 => error(400, "ProvisionedThroughputExceededException"),
            2 | 3 => FaultAction::LoseAnswer,
            4 => FaultAction::Refuse,
            5 => FaultAction::Delay(Duration::from_millis(self.chance.below(5_000))),
            _ if *operation == "PutRecords" => FaultAction::SplitEntries {
                every: 2,
                code: "ProvisionedThroughputExceededException".to_owned(),
            },
            _ if *operation == "GetRecords" => FaultAction::ExpireIterator,
            _ => error(503, "ServiceUnavailable"),
        };
        let nth = 1 + self.chance.below(5);
        self.world
            .local
            .faults()
            .add(Fault::nth(*operation, nth, action));
    }

    /// From here on nothing goes wrong any more.
    pub async fn calm_down(&mut self) {
        self.world.local.faults().clear();
        self.world.cut_off.lock().clear();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// Stops all workers as in a deployment.
    pub async fn stop_workers(&mut self) {
        for worker in self.workers.values() {
            worker.stop.cancel();
        }
        for (name, worker) in std::mem::take(&mut self.workers) {
            tokio::time::timeout(Duration::from_secs(120), worker.task)
                .await
                .unwrap_or_else(|_| panic!("{name} did not stop"))
                .expect("a worker's task");
        }
    }
}
