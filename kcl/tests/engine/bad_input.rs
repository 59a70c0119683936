//! Bad input is named, nothing is begun with it.

use crate::support::{APP, STREAM, World, start, until};
use aws::dynamodb::{
    AttributeValue, BillingMode, Client, CreateTable, Item, KeyAttribute, PutItem,
};
use kcl::lease::table_check::Refusal;
use kcl::{BuildError, SchedulerError};
use tokio_util::sync::CancellationToken;

async fn create_table(world: &World, name: &str, key: &str) {
    let input = CreateTable {
        table_name: name.to_owned(),
        key: vec![KeyAttribute {
            name: key.to_owned(),
            kind: "S".to_owned(),
            is_hash: true,
        }],
        billing_mode: BillingMode::PayPerRequest,
        deletion_protection: false,
    };
    Client::new(&world.config())
        .create_table(&input)
        .await
        .unwrap();
}

async fn put_row(world: &World, attributes: &[(&str, AttributeValue)]) {
    let item: Item = attributes
        .iter()
        .map(|(k, v)| ((*k).to_owned(), v.clone()))
        .collect();
    let input = PutItem {
        table_name: APP.to_owned(),
        item,
        ..PutItem::default()
    };
    Client::new(&world.config()).put_item(&input).await.unwrap();
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::s(text)
}

/// The refusal of a world's table; nothing may have been written to it.
async fn refusal(world: &World) -> Refusal {
    let scheduler = world.worker("w1").build().await.unwrap();
    let before = world.local.request_counts();
    let error = scheduler.run(CancellationToken::new()).await.unwrap_err();
    let after = world.local.request_counts();
    for write in ["PutItem", "UpdateItem", "DeleteItem", "CreateTable"] {
        assert_eq!(before.get(write), after.get(write), "{write}");
    }
    match error {
        SchedulerError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_others_use_are_refused() {
    type Row<'a> = (&'a [(&'a str, AttributeValue)], fn(&Refusal) -> bool);
    let rows: [Row<'_>; 4] = [
        (
            &[
                ("leaseKey", s("Leader")),
                ("entityType", s("LEADER")),
                ("ownerName", s("j")),
            ],
            |r| matches!(r, Refusal::Leader { .. }),
        ),
        (
            &[
                ("leaseKey", s("Migration3.0")),
                ("entityType", s("CLIENT_VERSION_MIGRATION")),
            ],
            |r| matches!(r, Refusal::Migration { .. }),
        ),
        (
            &[
                ("leaseKey", s("j")),
                ("entityType", s("WORKER_METRIC_STATS")),
            ],
            |r| matches!(r, Refusal::WorkerMetrics { .. }),
        ),
        (
            &[
                ("leaseKey", s("1:orders:2:shardId-000000000000")),
                ("leaseCounter", AttributeValue::n(0)),
                ("checkpoint", s("LATEST")),
                ("streamName", s("1:orders:2")),
            ],
            |r| matches!(r, Refusal::MultiStream { .. }),
        ),
    ];
    for (row, expected) in rows {
        let world = World::new(1);
        create_table(&world, APP, "leaseKey").await;
        put_row(&world, row).await;
        let refusal = refusal(&world).await;
        assert!(expected(&refusal), "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_with_another_key_is_refused() {
    let world = World::new(1);
    create_table(&world, APP, "id").await;
    let refusal = refusal(&world).await.to_string();
    assert!(refusal.contains("has the key [\"id (S)\"]"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn legacy_tables_beside_it_are_refused() {
    for legacy in ["app-CoordinatorState", "app-WorkerMetricStats"] {
        let world = World::new(1);
        create_table(&world, legacy, "key").await;
        let refusal = refusal(&world).await.to_string();
        assert!(refusal.contains(legacy), "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn leases_of_another_stream_are_refused() {
    let world = World::new(1);
    create_table(&world, APP, "leaseKey").await;
    put_row(
        &world,
        &[
            ("leaseKey", s("shardId-000000000005")),
            ("leaseCounter", AttributeValue::n(3)),
            ("checkpoint", s("49650")),
        ],
    )
    .await;
    let refusal = refusal(&world).await.to_string();
    assert!(
        refusal.contains("shardId-000000000005") && refusal.contains("\"orders\" never had"),
        "{refusal}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_row_of_an_unknown_kind_is_left_aside() {
    let world = World::new(1);
    let worker = world.start("w1").await;
    until("held", || worker.handle.held_leases().len() == 1).await;
    put_row(
        &world,
        &[("leaseKey", s("note")), ("entityType", s("OPERATORS_NOTE"))],
    )
    .await;
    world.put(0..10).await;
    world.until_all_delivered().await;
    worker.stop().await;
    let worker = world.start("w2").await;
    world.put(10..20).await;
    world.until_all_delivered().await;
    worker.stop().await;
    assert!(
        world
            .rows()
            .await
            .iter()
            .any(|r| r["leaseKey"].as_s() == Some("note"))
    );
}

#[tokio::test(start_paused = true)]
async fn attributes_of_other_writers_survive() {
    let world = World::new(1);
    create_table(&world, APP, "leaseKey").await;
    put_row(
        &world,
        &[
            ("leaseKey", s("shardId-000000000000")),
            ("leaseCounter", AttributeValue::n(3)),
            ("checkpoint", s("TRIM_HORIZON")),
            ("remark", s("kept")),
        ],
    )
    .await;
    let worker = world.start("w1").await;
    world.put(0..10).await;
    world.until_all_delivered().await;
    worker.stop().await;
    let remark = world.attribute("shardId-000000000000", "remark").await;
    assert_eq!(remark.as_deref(), Some("kept"));
    let start = world
        .attribute("shardId-000000000000", "startingHashKey")
        .await;
    assert_eq!(
        start.as_deref(),
        Some("0"),
        "a row that did not know its hash keys learns them"
    );
}

#[tokio::test(start_paused = true)]
async fn every_bad_setting_is_listed() {
    let world = World::new(1);
    let builder = world
        .worker("w1")
        .set("maxRecord", "5")
        .set("maxRecords", "10001")
        .set("failoverTimeMillis", "soon")
        .set("idleTimeBetweenReadsInMillis", "100");
    let Err(BuildError::Settings(error)) = builder.build().await else {
        panic!("refused")
    };
    let text = error.to_string();
    for part in [
        "maxRecord: unknown setting; did you mean maxRecords?",
        "maxRecords: \"10001\" is not valid",
        "failoverTimeMillis: \"soon\"",
        "idleTimeBetweenReadsInMillis: \"100\"",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_is_named_with_its_region() {
    let world = World::new(1);
    let config = world.config();
    let builder = kcl::Scheduler::builder("app", "nowhere", |shard: &kcl::ShardContext| {
        crate::support::Recorder {
            worker: "w".to_owned(),
            shard: shard.shard_id.clone(),
            calls: crate::support::Calls::default(),
            checkpoints: true,
        }
    });
    let error = builder.aws(config).build().await.unwrap_err();
    assert!(matches!(error, BuildError::StreamNotFound { .. }));
    let text = error.to_string();
    assert!(
        text.contains("\"nowhere\"") && text.contains("us-east-1"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_being_made_is_waited_for_by_retries() {
    let world = World::new(1);
    world.local.faults().add(local::Fault::nth(
        "ListShards",
        1,
        local::FaultAction::Error {
            status: 400,
            code: "ResourceInUseException".to_owned(),
            message: "being made".to_owned(),
        },
    ));
    world.local.faults().add(local::Fault::nth(
        "CreateTable",
        1,
        local::FaultAction::Error {
            status: 400,
            code: "LimitExceededException".to_owned(),
            message: "too many".to_owned(),
        },
    ));
    let worker = start(world.worker("w1")).await;
    world.put(0..5).await;
    world.until_all_delivered().await;
    worker.stop().await;
    let _ = STREAM;
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_named() {
    let world = World::new(1);
    let action = local::FaultAction::Error {
        status: 400,
        code: "ExpiredTokenException".to_owned(),
        message: "The security token included in the request is expired".to_owned(),
    };
    world.local.faults().add(local::Fault::every("*", action));
    let error = world.worker("w1").build().await.unwrap_err();
    assert!(matches!(error, BuildError::Service { .. }));
    let text = error.to_string();
    assert!(
        text.contains("\"orders\"") && text.contains("ExpiredTokenException"),
        "{text}"
    );
}
