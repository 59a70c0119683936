//! Tags, of streams by name and of resources by ARN.

use crate::client::{bad, good, held, with};
use crate::events::register;
use local::LocalOptions;
use serde_json::{Value, json};
use std::time::Duration;

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

fn keys(answer: &Value) -> Vec<&str> {
    let tags = answer["Tags"].as_array().unwrap();
    tags.iter()
        .map(|tag| tag["Key"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn both_generations_see_the_same_tags() {
    let (local, _) = held();
    let create = json!({"StreamName": "s", "ShardCount": 1, "Tags": {"team": "a", "empty": ""}});
    good(&local, "CreateStream", create).await;
    let add = json!({"StreamName": "s", "Tags": {"team": "b", "cost": "c"}});
    good(&local, "AddTagsToStream", add).await;
    let tag = json!({"ResourceARN": ARN, "Tags": {"last": "d"}});
    good(&local, "TagResource", tag).await;
    let expected = json!([
        {"Key": "cost", "Value": "c"}, {"Key": "empty", "Value": ""},
        {"Key": "last", "Value": "d"}, {"Key": "team", "Value": "b"},
    ]);
    let by_name = good(&local, "ListTagsForStream", json!({"StreamName": "s"})).await;
    assert_eq!(by_name, json!({"Tags": expected, "HasMoreTags": false}));
    let by_arn = good(&local, "ListTagsForResource", json!({"ResourceARN": ARN})).await;
    assert_eq!(by_arn, json!({"Tags": expected}));
    let page = json!({"StreamName": "s", "Limit": 2, "ExclusiveStartTagKey": "cost"});
    let page = good(&local, "ListTagsForStream", page).await;
    assert_eq!(keys(&page), ["empty", "last"]);
    assert_eq!(page["HasMoreTags"], true);
    let remove = json!({"StreamName": "s", "TagKeys": ["team", "never"]});
    good(&local, "RemoveTagsFromStream", remove).await;
    let untag = json!({"ResourceARN": ARN, "TagKeys": ["cost"]});
    good(&local, "UntagResource", untag).await;
    let left = good(&local, "ListTagsForResource", json!({"ResourceARN": ARN})).await;
    assert_eq!(keys(&left), ["empty", "last"]);
}

#[tokio::test]
async fn a_consumer_has_tags_of_its_own() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let body = json!({"StreamARN": ARN, "ConsumerName": "app", "Tags": {"a": "1"}});
    let answer = good(&local, "RegisterStreamConsumer", body).await;
    let consumer = answer["Consumer"]["ConsumerARN"].as_str().unwrap();
    let tag = json!({"ResourceARN": consumer, "Tags": {"b": "2"}});
    good(&local, "TagResource", tag).await;
    let list = json!({"ResourceARN": consumer});
    assert_eq!(
        keys(&good(&local, "ListTagsForResource", list).await),
        ["a", "b"]
    );
    let stream = good(&local, "ListTagsForResource", json!({"ResourceARN": ARN})).await;
    assert_eq!(stream["Tags"], json!([]));
    register(&local, "s", "other").await;
}

#[tokio::test]
async fn tags_are_there_while_the_stream_is_created() {
    let (local, _) = with(LocalOptions {
        state_delay: Duration::from_secs(60),
        ..LocalOptions::default()
    });
    let create = json!({"StreamName": "s", "ShardCount": 1, "Tags": {"a": "1"}});
    good(&local, "CreateStream", create).await;
    let list = json!({"ResourceARN": ARN});
    assert_eq!(
        keys(&good(&local, "ListTagsForResource", list).await),
        ["a"]
    );
}

#[tokio::test]
async fn fifty_tags_of_bounded_length() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let many = |range: std::ops::Range<u32>| -> Value {
        range
            .map(|i| (format!("k{i}"), Value::from("v")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let add = |tags: Value| json!({"StreamName": "s", "Tags": tags});
    good(&local, "AddTagsToStream", add(many(0..50))).await;
    // Present ones may be set again.
    good(&local, "AddTagsToStream", add(many(0..50))).await;
    let (code, _) = bad(&local, "AddTagsToStream", add(json!({"more": "v"}))).await;
    assert_eq!(code, "LimitExceededException");
    let long = "x".repeat(129);
    let cases = [
        (
            "AddTagsToStream",
            add(json!({ &long: "v" })),
            "ValidationException",
        ),
        (
            "AddTagsToStream",
            add(json!({"k": "x".repeat(257)})),
            "ValidationException",
        ),
        ("AddTagsToStream", add(many(0..51)), "ValidationException"),
        (
            "AddTagsToStream",
            json!({"StreamName": "s"}),
            "ValidationException",
        ),
        (
            "AddTagsToStream",
            add(json!(["k"])),
            "SerializationException",
        ),
        (
            "RemoveTagsFromStream",
            json!({"StreamName": "s", "TagKeys": []}),
            "ValidationException",
        ),
        (
            "RemoveTagsFromStream",
            json!({"StreamName": "s", "TagKeys": [7]}),
            "SerializationException",
        ),
        (
            "ListTagsForStream",
            json!({"StreamName": "s", "Limit": 51}),
            "ValidationException",
        ),
        (
            "ListTagsForResource",
            json!({"ResourceARN": format!("{ARN}x")}),
            "ResourceNotFoundException",
        ),
        (
            "TagResource",
            json!({"ResourceARN": "arn:aws:s3:::b", "Tags": {"a": "b"}}),
            "ValidationException",
        ),
    ];
    for (operation, body, code) in cases {
        let found = bad(&local, operation, body.clone()).await.0;
        assert_eq!(found, code, "{operation} {body}");
    }
}
