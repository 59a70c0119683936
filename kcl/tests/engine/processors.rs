//! Processors that fail: nothing is skipped in silence.

use crate::support::{World, builder, start, text, until};
use kcl::{
    Batch, Checkpointer, Finished, ProcessorError, RecordProcessor, SchedulerError, ShardContext,
    ShardEnd,
};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Error,
    Panic,
}

#[derive(Default)]
struct Log {
    /// What each call brought; a new processor starts a new list.
    lives: Vec<Vec<String>>,
    failures_left: u32,
}

/// Fails on each batch with the record `poison`, as long as failures are left.
struct Failing {
    log: Arc<Mutex<Log>>,
    poison: &'static str,
    how: How,
}

impl RecordProcessor for Failing {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        let records: Vec<String> = batch.records.iter().map(|r| text(&r.data)).collect();
        let fails = {
            let mut log = self.log.lock().unwrap();
            log.lives.last_mut().unwrap().push(records.join(","));
            let fails = records.iter().any(|r| r == self.poison) && log.failures_left > 0;
            log.failures_left -= u32::from(fails);
            fails
        };
        match (fails, self.how) {
            (false, _) => Ok(at.checkpoint().await?),
            (true, How::Error) => Err("poison".into()),
            (true, How::Panic) => panic!("expected by the test"),
        }
    }
}

struct Run {
    world: World,
    log: Arc<Mutex<Log>>,
    worker: crate::support::Worker,
}

/// Puts one record after the other, so that each is a batch, and waits until `calls` calls were made.
async fn run(policy: &str, how: How, failures: u32, calls: usize) -> Run {
    let world = World::new(1);
    let log = Arc::new(Mutex::new(Log {
        failures_left: failures,
        ..Log::default()
    }));
    let made = Arc::clone(&log);
    let factory = move |_: &ShardContext| {
        made.lock().unwrap().lives.push(Vec::new());
        Failing {
            log: Arc::clone(&made),
            poison: "r1",
            how,
        }
    };
    let scheduler = builder("w1", world.config(), factory)
        .set("processorErrorPolicy", policy)
        .set("maxRecords", "1");
    let worker = start(scheduler).await;
    world.put(0..3).await;
    let count = || {
        log.lock()
            .unwrap()
            .lives
            .iter()
            .map(Vec::len)
            .sum::<usize>()
    };
    until("the calls were made", || count() >= calls).await;
    Run { world, log, worker }
}

#[tokio::test(start_paused = true)]
async fn after_an_error_the_same_batch_comes_again() {
    let run = run("RETRY", How::Error, 3, 6).await;
    assert_eq!(
        run.log.lock().unwrap().lives,
        [["r0", "r1", "r1", "r1", "r1", "r2"]]
    );
    assert_eq!(run.worker.handle.stats().processor_failures, 3);
    run.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_a_new_processor_begins_at_the_checkpoint() {
    let run = run("RETRY", How::Panic, 2, 5).await;
    let lives = run.log.lock().unwrap().lives.clone();
    assert_eq!(lives, [vec!["r0", "r1"], vec!["r1"], vec!["r1", "r2"]]);
    assert_eq!(run.worker.handle.stats().leases_lost, 0);
    run.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn skipping_is_counted() {
    for how in [How::Error, How::Panic] {
        let run = run("SKIP", how, u32::MAX, 3).await;
        assert_eq!(run.log.lock().unwrap().lives, [["r0", "r1", "r2"]]);
        assert_eq!(run.worker.handle.stats().records_skipped, 1);
        run.worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_the_lease_back_and_tells_the_error() {
    for how in [How::Error, How::Panic] {
        let run = run("STOP", how, u32::MAX, 2).await;
        let error = run.worker.task.await.unwrap().unwrap_err();
        assert!(matches!(&error, SchedulerError::Processor { shard, .. } if shard.ends_with("00")));
        assert_eq!(run.world.owners().await, [None]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_can_be_stopped_while_its_processor_fails() {
    let run = run("RETRY", How::Error, u32::MAX, 5).await;
    let report = run.worker.stop().await;
    assert!(report.is_clean());
    let checkpoint = run
        .world
        .attribute("shardId-000000000000", "checkpoint")
        .await;
    let first = run.world.local.records(crate::support::STREAM)[0]
        .sequence_number
        .clone();
    assert_eq!(
        checkpoint,
        Some(first),
        "the poison is still to be processed"
    );
}

/// Refuses the end of its shard at first.
struct Reluctant(Arc<Mutex<u32>>);

impl RecordProcessor for Reluctant {
    async fn process(&mut self, _batch: Batch, _at: &Checkpointer) -> Result<(), ProcessorError> {
        Ok(())
    }

    async fn shard_ended(&mut self, end: ShardEnd) -> Result<Finished, ProcessorError> {
        {
            let mut calls = self.0.lock().unwrap();
            *calls += 1;
            if *calls < 3 {
                return Err("not yet".into());
            }
        }
        Ok(end.checkpoint().await?)
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_not_finished_before_its_processor_says_so() {
    let world = World::new(1);
    let calls = Arc::new(Mutex::new(0));
    let made = Arc::clone(&calls);
    let factory = move |_: &ShardContext| Reluctant(Arc::clone(&made));
    let worker = start(builder("w1", world.config(), factory)).await;
    until("held", || worker.handle.held_leases().len() == 1).await;
    world
        .local
        .split_shard(crate::support::STREAM, "shardId-000000000000")
        .unwrap();
    until("finished", || *calls.lock().unwrap() == 3).await;
    until("children", || worker.handle.held_leases().len() == 2).await;
    assert_eq!(worker.stop().await.finished, ["shardId-000000000000"]);
}

/// Never returns.
struct Stuck;

impl RecordProcessor for Stuck {
    async fn process(&mut self, _batch: Batch, _at: &Checkpointer) -> Result<(), ProcessorError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_never_returns_keeps_its_lease_and_is_aborted_at_the_end() {
    let world = World::new(1);
    world.put(0..1).await;
    let worker = start(builder("w1", world.config(), |_: &ShardContext| Stuck)).await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(worker.handle.stats().leases_lost, 0);
    let report = worker.stop().await;
    assert_eq!(report.unfinished, ["shardId-000000000000"]);
    assert_eq!(
        world.owners().await,
        [None],
        "it is given back once the processor is gone"
    );
}

/// Checkpoints the first record of each batch and fails on the rest, once.
struct FailsHalfWay(Arc<Mutex<Vec<String>>>);

impl RecordProcessor for FailsHalfWay {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        let records: Vec<String> = batch.records.iter().map(|r| text(&r.data)).collect();
        self.0.lock().unwrap().push(records.join(","));
        if records.len() > 1 {
            at.checkpoint_record(&batch.records[0]).await?;
            return Err("half-way".into());
        }
        Ok(at.checkpoint().await?)
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_checkpointed_does_not_come_again() {
    let world = World::new(1);
    world.put(0..3).await;
    let calls = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&calls);
    let factory = move |_: &ShardContext| FailsHalfWay(Arc::clone(&made));
    let worker = start(builder("w1", world.config(), factory)).await;
    until("all were processed", || calls.lock().unwrap().len() == 3).await;
    assert_eq!(*calls.lock().unwrap(), ["r0,r1,r2", "r1,r2", "r2"]);
    worker.stop().await;
}
