//! What goes wrong on the way, and what must not come of it.

use crate::support::{APP, STREAM, Told, World, builder, start, until};
use aggregation::{Aggregate, UserRecordRef};
use aws::kinesis::{PutRecordsEntry, Segment};
use kcl::{Batch, CheckpointError, Checkpointer, ProcessorError, RecordProcessor, ShardContext};
use local::{Fault, FaultAction, LocalOptions};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SHARD: &str = "shardId-000000000000";

fn error(code: &str, status: u16) -> FaultAction {
    FaultAction::Error {
        status,
        code: code.to_owned(),
        message: "scripted".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_to_writes_lose_no_lease() {
    let world = World::new(2);
    for n in (1..200).step_by(3) {
        world
            .local
            .faults()
            .add(Fault::nth("UpdateItem", n, FaultAction::LoseAnswer));
    }
    let worker = world.start("w1").await;
    for n in 0..40 {
        world.put(n * 10..n * 10 + 10).await;
        world.until_all_delivered().await;
        sleep(Duration::from_secs(2)).await;
    }
    assert!(world.local.faults().remaining() < 40, "faults struck");
    let stats = worker.handle.stats();
    assert_eq!((stats.leases_lost, stats.leases_taken), (0, 2));
    assert!(world.calls.deliveries().values().all(|n| *n == 1));
    // What was checkpointed is what the table says, although some answers never came.
    worker.crash().await;
    world.put(400..401).await;
    let worker = world.start("w1").await;
    world.until_all_delivered().await;
    assert!(world.calls.deliveries().values().all(|n| *n == 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_answer_lost_to_one_checkpoint_is_an_error_and_no_loss() {
    let world = World::new(1);
    let worker = world.start("w1").await;
    until("held", || worker.handle.held_leases().len() == 1).await;
    for n in 1..=5 {
        world
            .local
            .faults()
            .add(Fault::nth("UpdateItem", n, FaultAction::LoseAnswer));
    }
    world.put(0..10).await;
    world.until_all_delivered().await;
    until("the checkpoint is written", || {
        world.local.faults().remaining() == 0
    })
    .await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(worker.handle.stats().leases_lost, 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn throttled_and_failing_reads_are_repeated() {
    let world = World::new(1);
    let codes = [
        ("ProvisionedThroughputExceededException", 400),
        ("InternalFailure", 500),
        ("KMSThrottlingException", 400),
        ("AccessDeniedException", 400),
        ("InvalidArgumentException", 400),
    ];
    for (n, (code, status)) in (1..).step_by(2).zip(codes) {
        world
            .local
            .faults()
            .add(Fault::nth("GetRecords", n, error(code, status)));
    }
    world
        .local
        .faults()
        .add(Fault::nth("GetRecords", 12, FaultAction::Refuse));
    world
        .local
        .faults()
        .add(Fault::nth("GetRecords", 14, FaultAction::LoseAnswer));
    world.local.faults().add(Fault::nth(
        "GetShardIterator",
        1,
        error("InternalFailure", 500),
    ));
    let worker = world.start("w1").await;
    for n in 0..20 {
        world.put(n * 10..n * 10 + 10).await;
        world.until_all_delivered().await;
    }
    assert_eq!(world.local.faults().remaining(), 0);
    assert_eq!(worker.handle.stats().reads_throttled, 2);
    assert!(world.calls.deliveries().values().all(|n| *n == 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn expired_iterators_are_replaced_at_the_same_place() {
    let world = World::new(1);
    for n in [1, 3, 4, 9] {
        world
            .local
            .faults()
            .add(Fault::nth("GetRecords", n, FaultAction::ExpireIterator));
    }
    world.put(0..10).await;
    let worker = world.start("w1").await;
    for n in 1..10 {
        world.until_all_delivered().await;
        world.put(n * 10..n * 10 + 10).await;
    }
    world.until_all_delivered().await;
    assert_eq!(worker.handle.stats().iterators_expired, 4);
    assert!(
        world.calls.deliveries().values().all(|n| *n == 1),
        "not twice, not never"
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_tip_is_not_lost_when_its_iterator_expires() {
    let world = World::new(1);
    world.put(0..5).await;
    // Longer ago than clocks differ.
    sleep(Duration::from_secs(60)).await;
    let latest = world
        .worker("w1")
        .initial_position(kcl::InitialPosition::Latest);
    let worker = start(latest).await;
    sleep(Duration::from_secs(1)).await;
    world
        .local
        .faults()
        .add(Fault::nth("GetRecords", 1, FaultAction::ExpireIterator));
    world.put(5..10).await;
    until("the new ones are delivered", || {
        world.calls.delivered().len() == 5
    })
    .await;
    assert!(
        !world.calls.delivered().contains("r4"),
        "the old ones are not"
    );
    assert_eq!(worker.handle.stats().iterators_expired, 1);
    worker.stop().await;
}

/// Notes when each batch and each loss came, and whether the checkpoint was written.
struct Timed {
    events: Arc<Mutex<Vec<(Instant, &'static str)>>>,
}

impl RecordProcessor for Timed {
    async fn process(&mut self, _batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        let event = match at.checkpoint().await {
            Ok(()) => "processed",
            Err(CheckpointError::LeaseLost) => "refused",
            Err(_) => "failed",
        };
        self.events.lock().unwrap().push((Instant::now(), event));
        Ok(())
    }

    async fn lease_lost(&mut self) {
        self.events.lock().unwrap().push((Instant::now(), "lost"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_renew_stops_before_others_may_own_its_leases() {
    let world = World::new(1);
    let events = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&events);
    let factory = move |_: &ShardContext| Timed {
        events: Arc::clone(&made),
    };
    let worker = start(builder("w1", world.config(), factory)).await;
    world.put(0..10).await;
    until("processed", || !events.lock().unwrap().is_empty()).await;
    let last_write = Instant::now();
    let away = world
        .local
        .faults()
        .add(Fault::every("UpdateItem", FaultAction::Refuse));
    let _ = away;
    for n in 1..20 {
        world.put(n * 10..n * 10 + 10).await;
        sleep(Duration::from_secs(1)).await;
    }
    let seen = events.lock().unwrap().clone();
    let lost = seen
        .iter()
        .position(|(_, event)| *event == "lost")
        .expect("the lease expired here");
    assert!(
        seen[lost].0 - last_write <= Duration::from_secs(10),
        "within the failover time"
    );
    assert_eq!(
        lost,
        seen.len() - 1,
        "nothing is processed after it: {seen:?}"
    );
    assert_eq!(
        seen.iter()
            .filter(|(_, event)| *event == "processed")
            .count(),
        1
    );
    world.local.faults().clear();
    until("on again", || {
        events.lock().unwrap().last().unwrap().1 == "processed"
    })
    .await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_cut_off_loses_its_leases_to_another_and_cannot_checkpoint() {
    let world = World::new(2);
    let cut = Arc::new(AtomicBool::new(false));
    let transport = {
        let (local, cut) = (world.local.clone(), Arc::clone(&cut));
        aws::InProcess::new(move |request| {
            let (local, cut) = (local.clone(), cut.load(SeqCst));
            async move {
                match cut {
                    true => Err(std::io::Error::other("cut off")),
                    false => local.handle(request).await.map_err(std::io::Error::other),
                }
            }
        })
    };
    let config = crate::support::config(Arc::new(transport), &world.clock);
    let first = start(world.worker_with("w1", config, true)).await;
    until("all on the first", || first.handle.held_leases().len() == 2).await;
    cut.store(true, SeqCst);
    let second = world.start("w2").await;
    until("all on the second", || {
        second.handle.held_leases().len() == 2
    })
    .await;
    assert_eq!(first.handle.held_leases(), Vec::<String>::new());
    assert!(second.handle.stats().leases_taken_expired >= 1);
    world.put(0..100).await;
    world.until_all_delivered().await;
    cut.store(false, SeqCst);
    until("shared", || first.handle.held_leases().len() == 1).await;
    world.put(100..200).await;
    world.until_all_delivered().await;
    let calls = world.calls.all();
    assert_eq!(
        calls
            .iter()
            .filter(|c| c.worker == "w1" && c.told == Told::Lost)
            .count(),
        2
    );
    first.stop().await;
    second.stop().await;
}

/// Checkpoints the second record of its first batch and stops there.
struct Half {
    seen: Arc<Mutex<Vec<String>>>,
    done: bool,
}

impl RecordProcessor for Half {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        for record in &batch.records {
            self.seen
                .lock()
                .unwrap()
                .push(crate::support::text(&record.data));
        }
        if !self.done {
            at.checkpoint_record(&batch.records[1]).await?;
            let earlier = at.checkpoint_record(&batch.records[0]).await.unwrap_err();
            assert!(
                matches!(earlier, CheckpointError::OutOfRange { .. }),
                "{earlier}"
            );
            let beyond = kcl::Position::SHARD_END;
            let beyond = at.checkpoint_at(beyond).await.unwrap_err();
            assert!(
                matches!(beyond, CheckpointError::OutOfRange { .. }),
                "{beyond}"
            );
            self.done = true;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_inside_an_aggregate_goes_on_inside_it() {
    let world = World::new(1);
    let mut aggregate = Aggregate::new();
    for data in ["a", "b", "c"] {
        aggregate.push(&UserRecordRef {
            partition_key: data,
            explicit_hash_key: None,
            data: data.as_bytes(),
            tags: &[],
        });
    }
    let data = aggregate.finish().to_bytes();
    let client = aws::kinesis::Client::new(&world.config());
    let entry = PutRecordsEntry {
        partition_key: "a",
        explicit_hash_key: None,
        data: &[Segment::Shared(data.clone())],
    };
    client.put_records(STREAM, &[entry]).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for done in [false, true] {
        let made = Arc::clone(&seen);
        let factory = move |_: &ShardContext| Half {
            seen: Arc::clone(&made),
            done,
        };
        let worker = start(builder("w1", world.config(), factory)).await;
        let count = if done { 4 } else { 3 };
        until("read", || seen.lock().unwrap().len() >= count).await;
        worker.stop().await;
        assert_eq!(
            world
                .attribute(SHARD, "checkpointSubSequenceNumber")
                .await
                .as_deref(),
            Some("1")
        );
    }
    assert_eq!(*seen.lock().unwrap(), ["a", "b", "c", "c"]);
}

#[tokio::test(start_paused = true)]
async fn reading_far_behind_stays_within_the_limits_of_a_shard_and_of_memory() {
    let world = World::with(2, LocalOptions::default());
    // 24 MB of records of 60 KB, written within the limits.
    let client = aws::kinesis::Client::new(&world.config());
    let payload = vec![7u8; 60_000];
    let mut refused = 0;
    for n in 0..400u32 {
        let key = format!("k{n}");
        let data = [
            key.as_bytes().into(),
            b"|".into(),
            payload.as_slice().into(),
        ];
        loop {
            let entry = PutRecordsEntry {
                partition_key: &key,
                explicit_hash_key: None,
                data: &data,
            };
            if client
                .put_records(STREAM, &[entry])
                .await
                .unwrap()
                .failed_record_count
                == 0
            {
                break;
            }
            refused += 1;
            sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(refused > 0, "the endpoint has limits");
    let gate = Arc::new(AtomicBool::new(false));
    let count = Arc::new(Mutex::new(0));
    let made = (Arc::clone(&gate), Arc::clone(&count));
    let factory = move |_: &ShardContext| Gated {
        gate: Arc::clone(&made.0),
        count: Arc::clone(&made.1),
    };
    let budget = 16 * 1024 * 1024;
    let worker =
        start(builder("w1", world.config(), factory).set("prefetchBytes", &budget.to_string()))
            .await;
    let mut most = 0;
    for _ in 0..600 {
        sleep(Duration::from_millis(50)).await;
        most = most.max(worker.handle.stats().prefetched_bytes);
        assert!(most <= budget, "{most}");
    }
    assert!(most > budget / 2, "memory is used: {most}");
    assert_eq!(*count.lock().unwrap(), 0);
    gate.store(true, SeqCst);
    until("all are processed", || *count.lock().unwrap() == 400).await;
    assert_eq!(
        worker.handle.stats().reads_throttled,
        0,
        "{:?}",
        world.local.request_counts()
    );
    until("memory is given back", || {
        worker.handle.stats().prefetched_bytes == 0
    })
    .await;
    worker.stop().await;
}

struct Gated {
    gate: Arc<AtomicBool>,
    count: Arc<Mutex<usize>>,
}

impl RecordProcessor for Gated {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        while !self.gate.load(SeqCst) {
            sleep(Duration::from_millis(10)).await;
        }
        *self.count.lock().unwrap() += batch.records.len();
        Ok(at.checkpoint().await?)
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_can_be_stopped_at_any_moment_and_then_writes_nothing() {
    for moment in 0..40 {
        let world = World::new(3);
        world.put(0..30).await;
        // Answers take a while, so that there are moments between them.
        world.local.faults().add(Fault::every(
            "*",
            FaultAction::Delay(Duration::from_millis(20)),
        ));
        let scheduler = world.worker("w1").build().await.unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let task = tokio::spawn(scheduler.run(stop.clone()));
        sleep(Duration::from_millis(moment * 13)).await;
        stop.cancel();
        let report = task.await.unwrap().unwrap();
        assert!(report.is_clean(), "{moment}");
        let before = world.local.request_counts();
        sleep(Duration::from_secs(120)).await;
        assert_eq!(before, world.local.request_counts(), "{moment}");
        world.local.faults().clear();
        if before.contains_key("UpdateItem") {
            assert_eq!(world.owners().await, vec![None; 3], "{moment}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_appears_later_stops_the_worker() {
    let world = World::new(1);
    let worker = world.start("w1").await;
    until("held", || worker.handle.held_leases().len() == 1).await;
    let client = aws::dynamodb::Client::new(&world.config());
    let item = [
        ("leaseKey", "Leader"),
        ("entityType", "LEADER"),
        ("ownerName", "java"),
    ]
    .map(|(k, v)| (k.to_owned(), aws::dynamodb::AttributeValue::s(v)));
    let put = aws::dynamodb::PutItem {
        table_name: APP.to_owned(),
        item: item.into(),
        ..Default::default()
    };
    client.put_item(&put).await.unwrap();
    let error = worker.task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("has a leader"), "{error}");
}

/// Blocks on one shard, flows on the others.
struct OneStuck {
    stuck: bool,
    count: Arc<Mutex<usize>>,
}

impl RecordProcessor for OneStuck {
    async fn process(&mut self, batch: Batch, at: &Checkpointer) -> Result<(), ProcessorError> {
        if self.stuck {
            at.lease_over().await;
            return Ok(());
        }
        *self.count.lock().unwrap() += batch.records.len();
        Ok(at.checkpoint().await?)
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_shard_does_not_take_the_memory_of_the_others() {
    let options = LocalOptions {
        limits: local::Limits::Off,
        ..LocalOptions::default()
    };
    let world = World::with(2, options);
    let client = aws::kinesis::Client::new(&world.config());
    let payload = vec![7u8; 900_000];
    for n in 0..80u32 {
        let hash_key = if n % 2 == 0 {
            "0".to_owned()
        } else {
            u128::MAX.to_string()
        };
        let entry = PutRecordsEntry {
            partition_key: "k",
            explicit_hash_key: Some(&hash_key),
            data: &[payload.as_slice().into()],
        };
        client.put_records(STREAM, &[entry]).await.unwrap();
    }
    let count = Arc::new(Mutex::new(0));
    let made = Arc::clone(&count);
    let factory = move |shard: &ShardContext| OneStuck {
        stuck: shard.shard_id == SHARD,
        count: Arc::clone(&made),
    };
    let builder = builder("w1", world.config(), factory).set("prefetchBytes", "33554432");
    let worker = start(builder).await;
    until("the other shard flows", || *count.lock().unwrap() == 40).await;
    worker.task.abort();
}

/// What holds in all tests: whoever signs nothing gets nothing done.
#[tokio::test(start_paused = true)]
async fn the_endpoint_of_these_tests_verifies_signatures() {
    let world = World::new(1);
    for (target, kind) in [
        ("Kinesis_20131202.ListStreams", "application/x-amz-json-1.1"),
        ("DynamoDB_20120810.ListTables", "application/x-amz-json-1.0"),
    ] {
        let unsigned = http::Request::post("/")
            .header("x-amz-target", target)
            .header("content-type", kind)
            .body("{}".into())
            .unwrap();
        let answer = world.local.handle(unsigned).await.unwrap();
        let body = crate::support::text(answer.body());
        assert_eq!(answer.status(), 400, "{body}");
        assert!(
            body.contains("MissingAuthenticationTokenException"),
            "{body}"
        );
    }
}
