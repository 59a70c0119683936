//! Many writers, resharding and subscriptions: nothing acknowledged is missed, nothing stands still.

use crate::client::{iterator, put, read, shard_id, texts};
use crate::events::{from, register, subscribe};
use local::{Limits, Local, LocalOptions};
use std::collections::BTreeSet;

const EACH: usize = 120;
/// Of the test of subscriptions.
const SUBSCRIBED_WRITERS: usize = 8;
const SUBSCRIBED_EACH: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acknowledged_record_is_lost_over_splits_and_merges() {
    let local = Local::new(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("s", 2).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let local = local.clone();
            tokio::spawn(async move {
                for i in 0..EACH {
                    let name = format!("{writer}-{i}");
                    put(&local, "s", &name, name.as_bytes()).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let resharding = local.clone();
    let resharder = tokio::spawn(async move {
        for _ in 0..10 {
            let open: Vec<_> = resharding
                .shards("s")
                .into_iter()
                .filter(|s| s.open)
                .collect();
            resharding.split_shard("s", &open[0].shard_id).unwrap();
            tokio::task::yield_now().await;
            let mut open: Vec<_> = resharding
                .shards("s")
                .into_iter()
                .filter(|s| s.open)
                .collect();
            open.sort_by_key(|s| s.hash_range.start);
            resharding
                .merge_shards("s", &open[0].shard_id, &open[1].shard_id)
                .unwrap();
            tokio::task::yield_now().await;
        }
    });
    for writer in writers {
        writer.await.unwrap();
    }
    resharder.await.unwrap();
    // Read as a consumer does: every shard to its end, or to the tip.
    let mut seen = BTreeSet::new();
    for shard in local.shards("s") {
        let index = shard
            .shard_id
            .trim_start_matches("shardId-")
            .parse()
            .unwrap();
        let mut at = Some(iterator(&local, "s", index, "TRIM_HORIZON").await);
        while let Some(iterator) = at {
            let page = read(&local, &iterator, 50).await;
            let found = texts(&page);
            let done = shard.open && found.is_empty();
            seen.extend(found);
            at = page["NextShardIterator"].as_str().map(str::to_owned);
            if done {
                break;
            }
        }
    }
    assert_eq!(seen.len(), 8 * EACH);
}

/// Subscriptions on threads of their own, against writers and splits: nothing is missed, nothing comes
/// twice, each shard in its order, and each parent's end names the children to go on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribers_at_the_tip_miss_nothing_over_splits() {
    let local = Local::new(LocalOptions {
        limits: Limits::Off,
        ..LocalOptions::default()
    })
    .unwrap();
    local.create_stream("s", 1).unwrap();
    let consumer = register(&local, "s", "app").await;
    let (found, mut records) = tokio::sync::mpsc::unbounded_channel();
    follow(local.clone(), consumer, 0, found);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..SUBSCRIBED_WRITERS {
        let local = local.clone();
        writers.spawn(async move {
            for n in 0..SUBSCRIBED_EACH {
                let key = format!("{writer}-{n}");
                put(&local, "s", &key, key.as_bytes()).await;
                tokio::task::yield_now().await;
            }
        });
    }
    // Splits at some point among them, each when so many have come through.
    let mut seen = BTreeSet::new();
    for (after, shard) in [(500, 0), (1_200, 1), (2_000, 2)] {
        while seen.len() < after {
            let text: String = records.recv().await.unwrap();
            assert!(seen.insert(text.clone()), "{text} came twice");
        }
        local.split_shard("s", &shard_id(shard)).unwrap();
    }
    writers.join_all().await;
    while seen.len() < SUBSCRIBED_WRITERS * SUBSCRIBED_EACH {
        let text = records.recv().await.unwrap();
        assert!(seen.insert(text.clone()), "{text} came twice");
    }
}

/// Reads a shard to its end, and then its children.
fn follow(
    local: Local,
    consumer: String,
    shard: u32,
    found: tokio::sync::mpsc::UnboundedSender<String>,
) {
    tokio::spawn(async move {
        let mut events = subscribe(&local, &consumer, shard, from("TRIM_HORIZON")).await;
        let mut last = String::new();
        while let Some(event) = events.next().await {
            let body = event.json();
            for (record, text) in body["Records"]
                .as_array()
                .unwrap()
                .iter()
                .zip(event.texts())
            {
                // 56 digits compare as text.
                let number = record["SequenceNumber"].as_str().unwrap();
                assert!(number > last.as_str());
                number.clone_into(&mut last);
                if found.send(text).is_err() {
                    return;
                }
            }
            for child in body["ChildShards"].as_array().into_iter().flatten() {
                let id = child["ShardId"].as_str().unwrap();
                let index = id.rsplit('-').next().unwrap().parse().unwrap();
                follow(local.clone(), consumer.clone(), index, found.clone());
            }
        }
    });
}
