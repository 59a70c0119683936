//! The journey: leases, records, checkpoints, reshards, takeovers.

use crate::support::{APP, STREAM, Told, World, start, until, until_async};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn one_worker_reads_everything_and_goes_on_at_its_checkpoints() {
    let world = World::new(4);
    world.put(0..100).await;
    let worker = world.start("w1").await;
    world.until_all_delivered().await;
    assert_eq!(worker.handle.held_leases().len(), 4);
    let report = worker.stop().await;
    assert!(report.is_clean());
    assert_eq!(report.released.len(), 4);
    assert_eq!(world.owners().await, vec![None; 4]);
    let calls = world.calls.all();
    assert_eq!(
        calls
            .iter()
            .filter(|c| c.told == Told::ShutdownRequested)
            .count(),
        4
    );
    assert!(world.calls.deliveries().values().all(|n| *n == 1));

    world.put(100..200).await;
    let worker = world.start("w2").await;
    world.until_all_delivered().await;
    assert!(
        world.calls.deliveries().values().all(|n| *n == 1),
        "nothing comes twice"
    );
    let stats = worker.handle.stats();
    assert_eq!(
        (
            stats.records_processed,
            stats.leases_taken,
            stats.leases_lost
        ),
        (100, 4, 0)
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_only_polled_and_renewed() {
    let world = World::new(1);
    let worker = world.start("w1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let counts = world.local.request_counts();
    assert!((38..=42).contains(&counts["GetRecords"]), "{counts:?}");
    assert!(
        (17..=20).contains(&counts["UpdateItem"]),
        "one take, a renewal each 3.3 s: {counts:?}"
    );
    let counter: u64 = world
        .attribute("shardId-000000000000", "leaseCounter")
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(counter, counts["UpdateItem"]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rows_have_the_attributes_of_the_original() {
    let world = World::new(1);
    world.put(0..10).await;
    let worker = world.start("w1").await;
    world.until_all_delivered().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let rows = world.rows().await;
    let names: Vec<&str> = rows[0].keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "checkpoint",
            "checkpointSubSequenceNumber",
            "endingHashKey",
            "entityType",
            "leaseCounter",
            "leaseKey",
            "leaseOwner",
            "ownerSwitchesSinceCheckpoint",
            "startingHashKey",
            "throughputKBps"
        ]
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_split_and_a_merge_are_read_to_the_end_children_after_parents() {
    let world = World::new(2);
    world.put(0..50).await;
    let worker = world.start("w1").await;
    world.until_all_delivered().await;
    world
        .local
        .split_shard(STREAM, "shardId-000000000000")
        .unwrap();
    world.put(50..100).await;
    world.until_all_delivered().await;
    world
        .local
        .merge_shards(STREAM, "shardId-000000000003", "shardId-000000000001")
        .unwrap();
    world.put(100..150).await;
    world.until_all_delivered().await;
    assert!(world.calls.deliveries().values().all(|n| *n == 1));
    let calls = world.calls.all();
    let at = |shard: &str, told: fn(&Told) -> bool| {
        calls
            .iter()
            .position(|c| c.shard.ends_with(shard) && told(&c.told))
            .unwrap()
    };
    let ended: fn(&Told) -> bool = |told| *told == Told::Ended;
    let begun: fn(&Told) -> bool = |told| matches!(told, Told::Initialized { .. });
    for (parent, child) in [("00", "02"), ("00", "03"), ("03", "04"), ("01", "04")] {
        assert!(
            at(parent, ended) < at(child, begun),
            "{parent} before {child}"
        );
    }
    // Finished shards are nobody's, and their leases go once their children are being read.
    until_async("finished leases are deleted", || async {
        world.rows().await.len() == 2
    })
    .await;
    let held: BTreeSet<_> = worker.handle.held_leases().into_iter().collect();
    let open = world
        .local
        .shards(STREAM)
        .into_iter()
        .filter(|s| s.open)
        .map(|s| s.shard_id);
    assert_eq!(held, open.collect());
    let report = worker.stop().await;
    assert_eq!(report.finished.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dead_workers_leases_are_taken_over_and_read_on_from_the_checkpoint() {
    let world = World::new(4);
    world.put(0..40).await;
    let first = world.start("w1").await;
    world.until_all_delivered().await;
    let second = world.start("w2").await;
    until("two each", || {
        first.handle.held_leases().len() == 2 && second.handle.held_leases().len() == 2
    })
    .await;
    assert_eq!(first.handle.stats().leases_lost, 2, "they were stolen");
    first.crash().await;
    let died = tokio::time::Instant::now();
    world.put(40..80).await;
    until("all on the second", || {
        second.handle.held_leases().len() == 4
    })
    .await;
    assert!(
        died.elapsed() < Duration::from_secs(25),
        "{:?}",
        died.elapsed()
    );
    assert_eq!(second.handle.stats().leases_taken_expired, 2);
    world.until_all_delivered().await;
    assert!(
        world.calls.deliveries().values().all(|n| *n == 1),
        "all was checkpointed"
    );
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_given_back_are_taken_at_once() {
    let world = World::new(4);
    let first = world.start("w1").await;
    until("all on the first", || first.handle.held_leases().len() == 4).await;
    let second = start(world.worker("w2").set("maxLeasesForWorker", "4")).await;
    until("some on the second", || {
        second.handle.held_leases().len() == 2
    })
    .await;
    first.stop().await;
    let stopped = tokio::time::Instant::now();
    until("all on the second", || {
        second.handle.held_leases().len() == 4
    })
    .await;
    assert!(
        stopped.elapsed() <= Duration::from_millis(11_500),
        "one look at the table"
    );
    assert_eq!(second.handle.stats().leases_taken_expired, 0);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_back_under_its_name_resumes_its_leases() {
    let world = World::new(2);
    world.put(0..20).await;
    let worker = world.start("w1").await;
    world.until_all_delivered().await;
    worker.crash().await;
    let worker = world.start("w1").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(worker.handle.held_leases().len(), 2);
    world.put(20..40).await;
    world.until_all_delivered().await;
    assert!(world.calls.deliveries().values().all(|n| *n == 1));
    assert_eq!(
        world
            .attribute("shardId-000000000000", "ownerSwitchesSinceCheckpoint")
            .await
            .unwrap(),
        "0"
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_checkpoints_everything_is_read_again() {
    let world = World::new(1);
    world.put(0..30).await;
    let worker = start(world.worker_with("w1", world.config(), false)).await;
    world.until_all_delivered().await;
    worker.stop().await;
    assert_eq!(
        world
            .attribute("shardId-000000000000", "checkpoint")
            .await
            .unwrap(),
        "TRIM_HORIZON"
    );
    let worker = world.start("w2").await;
    until("twice", || {
        world.calls.deliveries().values().all(|n| *n == 2)
    })
    .await;
    worker.stop().await;
    let checkpoint = world
        .attribute("shardId-000000000000", "checkpoint")
        .await
        .unwrap();
    assert_eq!(
        Some(&checkpoint),
        world
            .local
            .records(STREAM)
            .last()
            .map(|r| &r.sequence_number)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_deleted_is_made_again() {
    let world = World::new(3);
    world.put(0..30).await;
    let worker = start(
        world
            .worker("w1")
            .set("shardSyncIntervalMillis", "1000")
            .set("leasesRecoveryAuditorExecutionFrequencyMillis", "5000"),
    )
    .await;
    world.until_all_delivered().await;
    let delete = aws::dynamodb::DeleteItem {
        table_name: APP.to_owned(),
        key: [(
            "leaseKey".to_owned(),
            aws::dynamodb::AttributeValue::s("shardId-000000000001"),
        )]
        .into(),
        ..Default::default()
    };
    aws::dynamodb::Client::new(&world.config())
        .delete_item(&delete)
        .await
        .unwrap();
    let deleted = tokio::time::Instant::now();
    until("it is lost", || worker.handle.held_leases().len() == 2).await;
    until("it is held again", || {
        worker.handle.held_leases().len() == 3
    })
    .await;
    assert!(
        deleted.elapsed() < Duration::from_secs(60),
        "{:?}",
        deleted.elapsed()
    );
    assert_eq!(worker.handle.stats().leases_lost, 1);
    world.put(30..60).await;
    world.until_all_delivered().await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_merged_shard_waits_for_the_parent_that_has_no_lease() {
    let world = World::new(2);
    world.put(0..20).await;
    let worker = start(
        world
            .worker("w1")
            .set("shardSyncIntervalMillis", "60000")
            .set("leasesRecoveryAuditorExecutionFrequencyMillis", "10000"),
    )
    .await;
    world.until_all_delivered().await;
    let delete = aws::dynamodb::DeleteItem {
        table_name: APP.to_owned(),
        key: [(
            "leaseKey".to_owned(),
            aws::dynamodb::AttributeValue::s("shardId-000000000001"),
        )]
        .into(),
        ..Default::default()
    };
    world.put(20..40).await;
    aws::dynamodb::Client::new(&world.config())
        .delete_item(&delete)
        .await
        .unwrap();
    world
        .local
        .merge_shards(STREAM, "shardId-000000000000", "shardId-000000000001")
        .unwrap();
    world.put(40..60).await;
    world.until_all_delivered().await;
    let calls = world.calls.all();
    let first = |shard: &str, told: &dyn Fn(&Told) -> bool| {
        calls
            .iter()
            .position(|c| c.shard.ends_with(shard) && told(&c.told))
            .unwrap()
    };
    let begun = first("02", &|told| matches!(told, Told::Initialized { .. }));
    for parent in ["00", "01"] {
        assert!(
            first(parent, &|told| *told == Told::Ended) < begun,
            "{parent}"
        );
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_initial_position_counts_once() {
    let world = World::new(2);
    world.put(0..10).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let middle = world.clock.now();
    world.put(10..20).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let position = kcl::InitialPosition::AtTimestamp(middle);
    let worker = start(world.worker("w1").initial_position(position)).await;
    until("those since then", || world.calls.delivered().len() == 10).await;
    assert!(world.calls.delivered().contains("r10") && !world.calls.delivered().contains("r9"));
    worker.stop().await;
    let worker = start(
        world
            .worker("w2")
            .initial_position(kcl::InitialPosition::TrimHorizon),
    )
    .await;
    world.put(20..30).await;
    until("the new ones", || world.calls.delivered().len() == 20).await;
    assert!(world.calls.deliveries().values().all(|n| *n == 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn several_workers_start_on_an_empty_table_and_share_it() {
    let world = World::new(6);
    world.put(0..60).await;
    let builders =
        ["w1", "w2", "w3"].map(|id| world.worker(id).set("maxLeasesToStealAtOneTime", "2"));
    let mut workers = Vec::new();
    for builder in builders {
        workers.push(start(builder).await);
    }
    until("two each", || {
        workers.iter().all(|w| w.handle.held_leases().len() == 2)
    })
    .await;
    world.until_all_delivered().await;
    assert_eq!(world.rows().await.len(), 6);
    for worker in workers {
        worker.stop().await;
    }
}
