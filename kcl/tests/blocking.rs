//! In real time, over a socket: processors that block every worker thread lose no lease, because leases
//! are renewed on a thread of their own.

#![expect(clippy::unwrap_used, reason = "these are tests through and through")]

#[path = "support/key.rs"]
mod key;

use aws::kinesis::PutRecordsEntry;
use kcl::lease::{DynamoDbLeases, LeaseStore};
use kcl::taking::{Observations, TakingRules, Why, plan};
use kcl::{
    Batch, Checkpointer, InitialPosition, ProcessorError, RecordProcessor, Scheduler, ShardContext,
};
use local::{Local, LocalOptions};
use runtime::Chance;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const FAILOVER: Duration = Duration::from_secs(1);
const THREADS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    blocked: usize,
    open: bool,
    checkpointed: usize,
}

/// Blocks the threads that come, until it is opened.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self, what: &str, until: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !until(state));
        assert!(!waited.unwrap().1.timed_out(), "{what}");
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

struct Blocking(Arc<Gate>);

impl RecordProcessor for Blocking {
    async fn process(&mut self, _batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        self.0.change(|state| state.blocked += 1);
        self.0.wait("the gate is opened", |state| state.open);
        at.checkpoint().await?;
        self.0.change(|state| state.checkpointed += 1);
        Ok(())
    }
}

/// The endpoint, on a runtime and a thread of its own until `stop` is dropped.
fn serve() -> (String, Local, mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (started, start) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let options = key::verified(LocalOptions::default());
        let local = runtime.block_on(async { Local::new(options).unwrap() });
        let address = "127.0.0.1:0".parse().unwrap();
        let server = runtime.block_on(local.start_on(address)).unwrap();
        started.send((server.url(), local)).unwrap();
        let _ = stopped.recv();
        runtime.block_on(server.stop());
    });
    let (url, local) = start.recv().unwrap();
    (url, local, stop, thread)
}

fn config(url: &str) -> aws::Config {
    aws::Config::builder()
        .environment(aws::Environment::fixed::<&str, &str>([]))
        .region("us-east-1")
        .credentials(key::credentials())
        .endpoint_url(url)
        .load()
        .unwrap()
}

#[test]
fn processors_that_block_every_thread_for_three_failover_times_lose_no_lease() {
    let (url, local, stop_server, server) = serve();
    local
        .create_stream("orders", u32::try_from(THREADS).unwrap())
        .unwrap();
    let gate = Arc::new(Gate::default());
    let workers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let made = Arc::clone(&gate);
    let builder = Scheduler::builder("app", "orders", move |_: &ShardContext| {
        Blocking(Arc::clone(&made))
    })
    .aws(config(&url))
    .worker_id("blocked")
    .initial_position(InitialPosition::TrimHorizon)
    .failover_time(FAILOVER);
    let scheduler = workers.block_on(builder.build()).unwrap();
    let (handle, stop) = (scheduler.handle(), CancellationToken::new());
    let running = workers.spawn(scheduler.run(stop.clone()));

    // The test's own requests run elsewhere: the workers' threads will be blocked.
    let side = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    side.block_on(async {
        let kinesis = aws::kinesis::Client::new(&config(&url));
        for shard in local.shards("orders") {
            let hash_key = shard.hash_range.start.to_string();
            let entry = PutRecordsEntry {
                partition_key: "k",
                explicit_hash_key: Some(&hash_key),
                data: &[b"record".into()],
            };
            let answer = kinesis.put_records("orders", &[entry]).await.unwrap();
            assert_eq!(answer.failed_record_count, 0);
        }
    });
    gate.wait("every thread is blocked", |state| state.blocked == THREADS);

    // As another worker sees it: the leases stay alive, for three failover times on its own clock.
    side.block_on(async {
        let leases = DynamoDbLeases::new(aws::dynamodb::Client::new(&config(&url)), "app");
        let (mut seen, chance) = (Observations::default(), Chance::seeded(1));
        let mut renewals = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < FAILOVER * 3 + FAILOVER / 2 {
            let list = leases.list(true).await.unwrap().leases;
            let now = Instant::now();
            seen.update(&list, now);
            assert_eq!(list.len(), THREADS);
            assert!(
                list.iter()
                    .all(|lease| lease.owner.as_deref() == Some("blocked"))
            );
            let rules = TakingRules::new(FAILOVER);
            let takes = plan(&list, &seen, "other", &|_| false, &rules, now, &chance).takes;
            assert!(
                takes.iter().all(|take| take.why == Why::Stolen),
                "{takes:?}"
            );
            renewals.push(list.iter().map(|lease| lease.counter).min().unwrap());
            tokio::time::sleep(FAILOVER / 10).await;
        }
        assert!(renewals.last().unwrap() - renewals[0] >= 6, "{renewals:?}");
    });
    let state = gate.state.lock().unwrap();
    assert_eq!(
        (state.blocked, state.checkpointed),
        (THREADS, 0),
        "blocked all the while"
    );
    drop(state);
    gate.change(|state| state.open = true);
    gate.wait("both checkpoint", |state| state.checkpointed == THREADS);
    let stats = handle.stats();
    assert_eq!((stats.leases_taken, stats.leases_lost), (2, 0));
    stop.cancel();
    let report = workers.block_on(running).unwrap().unwrap();
    assert!(
        report.is_clean() && report.released.len() == THREADS,
        "{report:?}"
    );
    drop(stop_server);
    server.join().unwrap();
}

struct Idle;

impl RecordProcessor for Idle {
    async fn process(&mut self, _batch: Batch, _at: &Checkpointer) -> Result<(), ProcessorError> {
        Ok(())
    }
}

#[test]
fn a_dropped_worker_takes_its_thread_along_and_leaves_its_leases_to_others() {
    let (url, local, stop_server, server) = serve();
    local.create_stream("orders", 3).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let start = async |id: &str| {
        let scheduler = Scheduler::builder("app", "orders", |_: &ShardContext| Idle)
            .aws(config(&url))
            .worker_id(id)
            .failover_time(FAILOVER)
            .build()
            .await
            .unwrap();
        let (handle, stop) = (scheduler.handle(), CancellationToken::new());
        (handle, stop.clone(), tokio::spawn(scheduler.run(stop)))
    };
    let all_held = async |handle: &kcl::Handle| {
        let begin = Instant::now();
        while handle.held_leases().len() < 3 {
            assert!(
                begin.elapsed() < PATIENCE,
                "{} holds all",
                handle.worker_id()
            );
            tokio::time::sleep(FAILOVER / 20).await;
        }
    };
    runtime.block_on(async {
        let (first, _, running) = start("first").await;
        all_held(&first).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        let (second, stop, running) = start("second").await;
        all_held(&second).await;
        assert_eq!(first.held_leases(), Vec::<String>::new());
        stop.cancel();
        assert!(running.await.unwrap().unwrap().is_clean());
    });
    drop(stop_server);
    server.join().unwrap();
}
