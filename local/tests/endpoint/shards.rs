//! Splitting, merging and listing shards.

use crate::client::{T0, bad, good, held, ids, iterator, put, read, shard_id, texts};
use local::Local;
use serde_json::{Value, json};
use std::time::Duration;

async fn filtered(local: &Local, filter: Value) -> Vec<String> {
    let body = json!({"StreamName": "s", "ShardFilter": filter});
    ids(&good(local, "ListShards", body).await)
}

fn named(indices: &[u32]) -> Vec<String> {
    indices.iter().map(|i| shard_id(*i)).collect()
}

#[tokio::test]
async fn a_closed_shard_ends_with_its_children_after_its_last_record() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    for i in 0..10 {
        put(&local, "s", "k", format!("{i}").as_bytes()).await;
    }
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    let tip = iterator(&local, "s", 0, "LATEST").await;
    clock.advance(Duration::from_secs(1));
    local.split_shard("s", "shardId-000000000000").unwrap();
    let (mut at, mut sizes, mut seen) = (Some(first), Vec::new(), Vec::new());
    while let Some(iterator) = at {
        let page = read(&local, &iterator, 4).await;
        sizes.push(texts(&page).len());
        seen.extend(texts(&page));
        at = page["NextShardIterator"].as_str().map(str::to_owned);
        assert_eq!(page.get("ChildShards").is_some(), at.is_none());
        assert_eq!(
            page["MillisBehindLatest"].as_u64().unwrap() > 0,
            at.is_some()
        );
        if at.is_none() {
            let children = page["ChildShards"].as_array().unwrap();
            assert_eq!(children.len(), 2);
            assert_eq!(children[0]["ShardId"], shard_id(1));
            assert_eq!(children[1]["ShardId"], shard_id(2));
            assert_eq!(children[0]["ParentShards"], json!([shard_id(0)]));
            assert_eq!(children[0]["HashKeyRange"]["StartingHashKey"], "0");
            assert_eq!(
                children[1]["HashKeyRange"]["StartingHashKey"],
                (1_u128 << 127).to_string()
            );
            assert_eq!(
                children[1]["HashKeyRange"]["EndingHashKey"],
                u128::MAX.to_string()
            );
        }
    }
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(seen, (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
    // A reader at the tip learns of the end too.
    let end = read(&local, &tip, 10).await;
    assert_eq!(texts(&end), Vec::<String>::new());
    assert!(end["NextShardIterator"].is_null());
    assert_eq!(end["ChildShards"].as_array().unwrap().len(), 2);
    assert_eq!(end["MillisBehindLatest"], 0);
    // And both parents of a merge name their one child.
    local
        .merge_shards("s", "shardId-000000000001", "shardId-000000000002")
        .unwrap();
    for parent in [1, 2] {
        let end = read(
            &local,
            &iterator(&local, "s", parent, "TRIM_HORIZON").await,
            10,
        )
        .await;
        assert_eq!(end["ChildShards"].as_array().unwrap().len(), 1);
        assert_eq!(end["ChildShards"][0]["ShardId"], shard_id(3));
        assert_eq!(
            end["ChildShards"][0]["ParentShards"],
            json!([shard_id(1), shard_id(2)])
        );
    }
}

#[tokio::test]
async fn numbers_grow_within_a_shard_and_from_parents_to_children() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    let mut numbers = Vec::new();
    for round in 0..3 {
        for _ in 0..5 {
            let (_, number) = put(&local, "s", "k", b"x").await;
            numbers.push(number.parse::<Wide>().unwrap());
            clock.advance(Duration::from_millis(300));
        }
        // Twice in the same instant: children of children.
        let open = local.shards("s").into_iter().rfind(|s| s.open).unwrap();
        local.split_shard("s", &open.shard_id).unwrap();
        let open = local.shards("s").into_iter().rfind(|s| s.open).unwrap();
        assert_eq!(open.parents.len(), 1, "round {round}");
        local.split_shard("s", &open.shard_id).unwrap();
    }
    let shards = local.shards("s");
    for shard in &shards {
        let start: Wide = shard.starting_sequence_number.parse().unwrap();
        for parent in &shard.parents {
            let parent = shards.iter().find(|s| &s.shard_id == parent).unwrap();
            assert!(!parent.open);
            let end: Wide = parent
                .ending_sequence_number
                .clone()
                .unwrap()
                .parse()
                .unwrap();
            assert!(start > end);
        }
    }
    for record in local.records("s") {
        let shard = shards
            .iter()
            .find(|s| s.shard_id == record.shard_id)
            .unwrap();
        let number: Wide = record.sequence_number.parse().unwrap();
        assert_eq!(record.sequence_number.len(), 56);
        assert!(number > shard.starting_sequence_number.parse().unwrap());
        if let Some(end) = &shard.ending_sequence_number {
            assert!(number < end.parse().unwrap());
        }
    }
    let mut unique = numbers.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), numbers.len());
}

/// Decimal numbers of equal length compare as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wide(String);

impl std::str::FromStr for Wide {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(format!("{text:0>64}")))
    }
}

#[tokio::test]
async fn what_cannot_be_resharded_is_refused() {
    let (local, _) = held();
    local.create_stream("s", 4).unwrap();
    local.split_shard("s", "shardId-000000000000").unwrap();
    let split = |shard: &str, key: &str| json!({"StreamName": "s", "ShardToSplit": shard, "NewStartingHashKey": key});
    let merge = |a: u32, b: u32| {
        json!({"StreamName": "s", "ShardToMerge": shard_id(a),
            "AdjacentShardToMerge": shard_id(b)})
    };
    let second = (1_u128 << 126).to_string();
    let cases = [
        (
            "SplitShard",
            split(&shard_id(0), "100"),
            "InvalidArgumentException",
        ),
        (
            "SplitShard",
            split(&shard_id(9), "100"),
            "ResourceNotFoundException",
        ),
        (
            "SplitShard",
            split("nonsense", "100"),
            "ResourceNotFoundException",
        ),
        (
            "SplitShard",
            split(&shard_id(1), &second),
            "InvalidArgumentException",
        ),
        (
            "SplitShard",
            split(&shard_id(1), "0"),
            "InvalidArgumentException",
        ),
        (
            "SplitShard",
            split(&shard_id(1), &"9".repeat(39)),
            "InvalidArgumentException",
        ),
        (
            "SplitShard",
            split(&shard_id(1), "x"),
            "ValidationException",
        ),
        (
            "SplitShard",
            split(&shard_id(1), &"9".repeat(40)),
            "ValidationException",
        ),
        ("MergeShards", merge(1, 3), "InvalidArgumentException"),
        ("MergeShards", merge(0, 1), "InvalidArgumentException"),
        ("MergeShards", merge(1, 1), "InvalidArgumentException"),
        ("MergeShards", merge(1, 77), "ResourceNotFoundException"),
    ];
    for (operation, body, code) in cases {
        let found = bad(&local, operation, body.clone()).await;
        assert_eq!(found.0, code, "{operation} {body}: {}", found.1);
    }
    let (_, text) = bad(&local, "SplitShard", split(&shard_id(0), "100")).await;
    assert_eq!(
        text,
        "Shard shardId-000000000000 in stream s under account 000000000000 has already been \
         merged or split, and thus is not eligible for merging or splitting."
    );
    assert_eq!(local.shards("s").iter().filter(|s| s.open).count(), 5);
    // In either order, the first named is the parent.
    good(&local, "MergeShards", merge(3, 2)).await;
    assert_eq!(local.shards("s")[6].parents, named(&[3, 2]));
}

#[tokio::test]
async fn open_shards_always_cover_every_hash_key_once() {
    let (local, _) = held();
    local.create_stream("s", 3).unwrap();
    local.split_shard("s", &shard_id(1)).unwrap();
    local.merge_shards("s", &shard_id(0), &shard_id(3)).unwrap();
    local.split_shard("s", &shard_id(4)).unwrap();
    let mut ranges: Vec<_> = local
        .shards("s")
        .into_iter()
        .filter(|s| s.open)
        .map(|s| s.hash_range)
        .collect();
    ranges.sort_by_key(|r| r.start);
    assert_eq!(ranges.first().unwrap().start, 0);
    assert_eq!(ranges.last().unwrap().end, u128::MAX);
    for pair in ranges.windows(2) {
        assert_eq!(pair[0].end + 1, pair[1].start);
    }
}

#[tokio::test]
async fn every_filter_gives_the_shards_it_names() {
    let (local, clock) = held();
    let seconds = |n: u64| json!((T0 / 1_000 + n) as f64);
    local.create_stream("s", 2).unwrap();
    clock.advance(Duration::from_secs(100));
    local.split_shard("s", &shard_id(0)).unwrap();
    clock.advance(Duration::from_secs(100));
    local.merge_shards("s", &shard_id(3), &shard_id(1)).unwrap();
    // 0 and 1 since 0 s; 2 and 3 since 100 s; 4 since 200 s.
    let cases = [
        (json!({"Type": "FROM_TRIM_HORIZON"}), &[0, 1, 2, 3, 4][..]),
        (json!({"Type": "AT_TRIM_HORIZON"}), &[0, 1]),
        (json!({"Type": "AT_LATEST"}), &[2, 4]),
        (
            json!({"Type": "AT_TIMESTAMP", "Timestamp": seconds(50)}),
            &[0, 1],
        ),
        (
            json!({"Type": "AT_TIMESTAMP", "Timestamp": seconds(150)}),
            &[1, 2, 3],
        ),
        (
            json!({"Type": "AT_TIMESTAMP", "Timestamp": seconds(201)}),
            &[2, 4],
        ),
        (json!({"Type": "AT_TIMESTAMP", "Timestamp": 1}), &[0, 1]),
        (
            json!({"Type": "FROM_TIMESTAMP", "Timestamp": seconds(50)}),
            &[0, 1, 2, 3, 4],
        ),
        (
            json!({"Type": "FROM_TIMESTAMP", "Timestamp": seconds(150)}),
            &[1, 2, 3, 4],
        ),
        (
            json!({"Type": "FROM_TIMESTAMP", "Timestamp": seconds(201)}),
            &[2, 4],
        ),
        (
            json!({"Type": "AFTER_SHARD_ID", "ShardId": shard_id(1)}),
            &[2, 3, 4],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(
            filtered(&local, filter.clone()).await,
            named(expected),
            "{filter}"
        );
    }
    let start = json!({"StreamName": "s", "ExclusiveStartShardId": shard_id(2)});
    assert_eq!(
        ids(&good(&local, "ListShards", start).await),
        named(&[3, 4])
    );
    for filter in [
        json!({"Type": "AFTER_SHARD_ID"}),
        json!({"Type": "AT_TIMESTAMP"}),
        json!({"Type": "FROM_TIMESTAMP"}),
    ] {
        let body = json!({"StreamName": "s", "ShardFilter": filter});
        assert_eq!(
            bad(&local, "ListShards", body).await.0,
            "InvalidArgumentException"
        );
    }
    for filter in [json!({}), json!({"Type": "WHIM"})] {
        let body = json!({"StreamName": "s", "ShardFilter": filter});
        assert_eq!(
            bad(&local, "ListShards", body).await.0,
            "ValidationException"
        );
    }
    // When the parents' records have expired, the horizon has moved past them.
    clock.advance(Duration::from_secs(24 * 3_600 - 100));
    assert_eq!(
        filtered(&local, json!({"Type": "AT_TRIM_HORIZON"})).await,
        named(&[1, 2, 3])
    );
    clock.advance(Duration::from_secs(100));
    assert_eq!(
        filtered(&local, json!({"Type": "AT_TRIM_HORIZON"})).await,
        named(&[2, 4])
    );
    assert_eq!(
        filtered(&local, json!({"Type": "FROM_TRIM_HORIZON"})).await,
        named(&[2, 4])
    );
    let gone = json!({"StreamName": "s", "ShardId": shard_id(0),
        "ShardIteratorType": "TRIM_HORIZON"});
    assert_eq!(
        bad(&local, "GetShardIterator", gone).await.0,
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn right_after_a_split_the_trim_horizon_has_the_parent_only() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    put(&local, "s", "k", b"x").await;
    // In the very instant of the creation, on a clock that stands.
    local.split_shard("s", &shard_id(0)).unwrap();
    assert_eq!(
        filtered(&local, json!({"Type": "AT_TRIM_HORIZON"})).await,
        named(&[0])
    );
    assert_eq!(
        filtered(&local, json!({"Type": "AT_LATEST"})).await,
        named(&[1, 2])
    );
}

#[tokio::test]
async fn shards_are_listed_in_pages_and_tokens_expire() {
    let (local, clock) = held();
    local.create_stream("s", 2_500).unwrap();
    let mut request = json!({"StreamName": "s", "MaxResults": 10_000});
    let (mut sizes, mut found) = (Vec::new(), Vec::new());
    loop {
        let page = good(&local, "ListShards", request).await;
        sizes.push(ids(&page).len());
        found.extend(ids(&page));
        match page["NextToken"].as_str() {
            Some(token) => request = json!({"NextToken": token}),
            None => break,
        }
    }
    assert_eq!(sizes, [1_000, 1_000, 500]);
    assert_eq!(found, (0..2_500).map(shard_id).collect::<Vec<_>>());
    // A token carries its filter, and refuses what it already holds.
    local.split_shard("s", &shard_id(0)).unwrap();
    let first = json!({"StreamName": "s", "MaxResults": 1,
        "ShardFilter": {"Type": "AT_LATEST"}});
    let first = good(&local, "ListShards", first).await;
    assert_eq!(ids(&first), named(&[1]));
    let token = first["NextToken"].as_str().unwrap();
    let next = json!({"NextToken": token, "MaxResults": 2});
    assert_eq!(
        ids(&good(&local, "ListShards", next.clone()).await),
        named(&[2, 3])
    );
    let both = json!({"NextToken": token, "StreamName": "s"});
    let (code, text) = bad(&local, "ListShards", both).await;
    assert_eq!(code, "InvalidArgumentException");
    assert_eq!(
        text,
        "NextToken and StreamName cannot be provided together."
    );
    let (code, _) = bad(&local, "ListShards", json!({"NextToken": "nonsense"})).await;
    assert_eq!(code, "InvalidArgumentException");
    clock.advance(Duration::from_secs(299));
    good(&local, "ListShards", next.clone()).await;
    clock.advance(Duration::from_secs(2));
    assert_eq!(
        bad(&local, "ListShards", next).await.0,
        "ExpiredNextTokenException"
    );
}
