//! UpdateShardCount over the API.

use crate::client::{bad, good, held, put, shard_id, with};
use local::{Limits, Local, LocalOptions};
use serde_json::{Value, json};
use std::time::Duration;

fn to(target: i64) -> Value {
    json!({"StreamName": "s", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"})
}

fn assert_covers_evenly(local: &Local, count: usize) {
    let mut open: Vec<_> = local.shards("s").into_iter().filter(|s| s.open).collect();
    open.sort_by_key(|s| s.hash_range.start);
    assert_eq!(open.len(), count);
    assert_eq!(open[0].hash_range.start, 0);
    assert_eq!(open[count - 1].hash_range.end, u128::MAX);
    for pair in open.windows(2) {
        assert_eq!(pair[0].hash_range.end + 1, pair[1].hash_range.start);
    }
    let width = u128::MAX / u128::try_from(count).unwrap();
    for shard in open {
        let found = shard.hash_range.end - shard.hash_range.start;
        assert!(found.abs_diff(width) < 1 << 32, "{shard:?}");
    }
}

#[tokio::test]
async fn three_become_five_and_every_shard_has_its_parents() {
    let (local, _) = held();
    local.create_stream("s", 3).unwrap();
    for i in 0..60 {
        put(&local, "s", &format!("k{i}"), b"x").await;
    }
    let answer = good(&local, "UpdateShardCount", to(5)).await;
    assert_eq!(
        answer,
        json!({"StreamName": "s", "CurrentShardCount": 3, "TargetShardCount": 5,
            "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s"})
    );
    assert_covers_evenly(&local, 5);
    let shards = local.shards("s");
    // Four splits and two merges: the three first ones, and intermediate ones that are closed too.
    assert_eq!(shards.len(), 3 + 4 * 2 + 2);
    let find = |id: &String| shards.iter().find(|s| s.shard_id == *id).unwrap();
    let number = |text: &str| text.parse::<NumberText>().unwrap();
    for shard in &shards[3..] {
        assert!(matches!(shard.parents.len(), 1 | 2), "{shard:?}");
        for parent in shard.parents.iter().map(find) {
            assert!(!parent.open);
            let end = parent.ending_sequence_number.as_deref().unwrap();
            assert!(number(&shard.starting_sequence_number) > number(end));
        }
    }
    assert_eq!(local.records("s").len(), 60);
    // Consumers find their way down: each parent's end names its children, to the open ones.
    let first = crate::client::iterator(&local, "s", 0, "TRIM_HORIZON").await;
    let page = crate::client::read(&local, &first, 1_000).await;
    assert!(!page["ChildShards"].as_array().unwrap().is_empty());
    assert_eq!(page["NextShardIterator"], Value::Null);
    for target in [10, 5, 3, 3] {
        good(&local, "UpdateShardCount", to(target)).await;
        assert_covers_evenly(&local, usize::try_from(target).unwrap());
    }
}

/// Numbers of 56 digits compare as text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct NumberText(String);

impl std::str::FromStr for NumberText {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        (text.len() == 56).then(|| Self(text.to_owned())).ok_or(())
    }
}

#[tokio::test]
async fn it_takes_its_time_and_reads_and_writes_go_on() {
    let (local, clock) = with(LocalOptions {
        limits: Limits::Off,
        state_delay: Duration::from_secs(1),
        ..LocalOptions::default()
    });
    local.create_stream("s", 2).unwrap();
    good(&local, "UpdateShardCount", to(4)).await;
    assert_eq!(put(&local, "s", "a", b"x").await.0, shard_id(0));
    let (code, _) = bad(&local, "UpdateShardCount", to(4)).await;
    assert_eq!(code, "ResourceInUseException");
    clock.advance(Duration::from_secs(1));
    assert_eq!(put(&local, "s", "a", b"x").await.0, shard_id(2));
    assert_covers_evenly(&local, 4);
}

#[tokio::test]
async fn at_most_double_at_least_half_and_ten_times_a_day() {
    let (local, clock) = with(LocalOptions::default());
    local.create_stream("s", 4).unwrap();
    for (body, code) in [
        (to(9), "InvalidArgumentException"),
        (to(1), "InvalidArgumentException"),
        (to(0), "ValidationException"),
        (
            json!({"StreamName": "s", "TargetShardCount": 4}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "s", "TargetShardCount": 4, "ScalingType": "WHIM"}),
            "ValidationException",
        ),
        (
            json!({"StreamName": "s", "ScalingType": "UNIFORM_SCALING"}),
            "ValidationException",
        ),
    ] {
        let found = bad(&local, "UpdateShardCount", body.clone()).await.0;
        assert_eq!(found, code, "{body}");
    }
    for i in 0..10 {
        clock.advance(Duration::from_secs(60));
        good(&local, "UpdateShardCount", to(4 + i % 2)).await;
    }
    clock.advance(Duration::from_secs(60));
    let (code, text) = bad(&local, "UpdateShardCount", to(4)).await;
    assert_eq!(code, "LimitExceededException");
    assert!(text.contains("24 hours"), "{text}");
    clock.advance(Duration::from_secs(24 * 3_600 - 600));
    good(&local, "UpdateShardCount", to(4)).await;
    assert_eq!(
        bad(&local, "UpdateShardCount", to(4)).await.0,
        "LimitExceededException"
    );
}

#[tokio::test]
async fn an_on_demand_stream_is_the_services_to_scale() {
    let (local, _) = held();
    let body = json!({"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    good(&local, "CreateStream", body).await;
    let (code, _) = bad(&local, "UpdateShardCount", to(8)).await;
    assert_eq!(code, "ValidationException");
    // A test plays the service.
    local.split_shard("s", &shard_id(0)).unwrap();
    assert_eq!(local.shards("s").iter().filter(|s| s.open).count(), 5);
}
