//! Registering, describing, listing and deregistering consumers.

use crate::client::{T0, bad, good, held, with};
use crate::events::register;
use local::LocalOptions;
use serde_json::{Value, json};
use std::time::Duration;

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

fn named(name: &str) -> Value {
    json!({"StreamARN": STREAM, "ConsumerName": name})
}

#[tokio::test]
async fn a_consumer_is_registered_described_and_deregistered_and_takes_its_time() {
    let (local, clock) = with(LocalOptions {
        state_delay: Duration::from_secs(1),
        ..LocalOptions::default()
    });
    local.create_stream("s", 1).unwrap();
    let answer = good(&local, "RegisterStreamConsumer", named("app")).await;
    let consumer = &answer["Consumer"];
    let arn = format!("{STREAM}/consumer/app:{}", T0 / 1_000);
    assert_eq!(consumer["ConsumerName"], "app");
    assert_eq!(consumer["ConsumerARN"], arn.as_str());
    assert_eq!(consumer["ConsumerStatus"], "CREATING");
    assert_eq!(
        consumer["ConsumerCreationTimestamp"],
        json!(1_700_000_000.0)
    );
    let status = async |body: Value| {
        let answer = good(&local, "DescribeStreamConsumer", body).await;
        let description = &answer["ConsumerDescription"];
        assert_eq!(description["StreamARN"], STREAM);
        assert_eq!(description["ConsumerARN"], arn.as_str());
        description["ConsumerStatus"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(named("app")).await, "CREATING");
    let subscribe = crate::events::wanted(&arn, 0, crate::events::from("LATEST"));
    let (code, _) = bad(&local, "SubscribeToShard", subscribe).await;
    assert_eq!(code, "ResourceInUseException");
    clock.advance(Duration::from_secs(1));
    assert_eq!(status(json!({"ConsumerARN": arn})).await, "ACTIVE");
    let all = json!({"ConsumerARN": arn, "StreamARN": STREAM, "ConsumerName": "app"});
    assert_eq!(status(all).await, "ACTIVE");
    let (code, _) = bad(&local, "RegisterStreamConsumer", named("app")).await;
    assert_eq!(code, "ResourceInUseException");
    good(
        &local,
        "DeregisterStreamConsumer",
        json!({"ConsumerARN": arn}),
    )
    .await;
    assert_eq!(status(named("app")).await, "DELETING");
    clock.advance(Duration::from_secs(1));
    let (code, _) = bad(&local, "DescribeStreamConsumer", named("app")).await;
    assert_eq!(code, "ResourceNotFoundException");
    // The name is free again; the ARN of the former one is not the new one's.
    let again = register(&local, "s", "app").await;
    assert_ne!(again, arn);
    let (code, _) = bad(
        &local,
        "DescribeStreamConsumer",
        json!({"ConsumerARN": arn}),
    )
    .await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_stream_has_twenty_consumers_at_most_and_five_in_the_making() {
    let (local, clock) = with(LocalOptions {
        state_delay: Duration::from_secs(1),
        ..LocalOptions::default()
    });
    local.create_stream("s", 1).unwrap();
    for round in 0..4 {
        for i in 0..5 {
            register(&local, "s", &format!("c{round}-{i}")).await;
        }
        // Past the rate of calls, while the five are still CREATING.
        clock.advance(Duration::from_millis(400));
        let (code, text) = bad(&local, "RegisterStreamConsumer", named("sixth")).await;
        assert_eq!(code, "LimitExceededException");
        assert!(text.contains("CREATING"), "{text}");
        clock.advance(Duration::from_secs(1));
    }
    let (code, text) = bad(&local, "RegisterStreamConsumer", named("21st")).await;
    assert_eq!(code, "LimitExceededException");
    assert!(text.contains("20 registered"), "{text}");
    good(&local, "DeregisterStreamConsumer", named("c0-0")).await;
    clock.advance(Duration::from_secs(1));
    register(&local, "s", "21st").await;
    let summary = good(&local, "DescribeStreamSummary", json!({"StreamName": "s"})).await;
    assert_eq!(summary["StreamDescriptionSummary"]["ConsumerCount"], 20);
}

#[tokio::test]
async fn consumers_are_listed_in_pages() {
    let (local, clock) = held();
    local.create_stream("s", 1).unwrap();
    local.create_stream("other", 1).unwrap();
    for i in 0..5 {
        register(&local, "s", &format!("c{i}")).await;
    }
    let mut request = json!({"StreamARN": STREAM, "MaxResults": 2});
    let mut names = Vec::new();
    let token = loop {
        let page = good(&local, "ListStreamConsumers", request.clone()).await;
        for consumer in page["Consumers"].as_array().unwrap() {
            assert_eq!(consumer["ConsumerStatus"], "ACTIVE");
            names.push(consumer["ConsumerName"].as_str().unwrap().to_owned());
        }
        match page["NextToken"].as_str() {
            Some(token) => request["NextToken"] = token.into(),
            None => break request["NextToken"].clone(),
        }
    };
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
    let others = json!({"StreamARN": STREAM.replace("/s", "/other"), "NextToken": token});
    let (code, _) = bad(&local, "ListStreamConsumers", others).await;
    assert_eq!(code, "InvalidArgumentException");
    let created = json!({"StreamARN": STREAM, "StreamCreationTimestamp": T0 / 1_000});
    let all = good(&local, "ListStreamConsumers", created).await;
    assert_eq!(all["Consumers"].as_array().unwrap().len(), 5);
    let wrong = json!({"StreamARN": STREAM, "StreamCreationTimestamp": T0 / 1_000 - 9});
    let (code, _) = bad(&local, "ListStreamConsumers", wrong).await;
    assert_eq!(code, "ResourceNotFoundException");
    clock.advance(Duration::from_secs(301));
    let late = json!({"StreamARN": STREAM, "NextToken": token});
    let (code, _) = bad(&local, "ListStreamConsumers", late).await;
    assert_eq!(code, "ExpiredNextTokenException");
}

#[tokio::test]
async fn what_names_no_consumer_is_refused() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let arn = register(&local, "s", "app").await;
    let cases = [
        (json!({}), "InvalidArgumentException"),
        (json!({"StreamARN": STREAM}), "InvalidArgumentException"),
        (json!({"ConsumerName": "app"}), "InvalidArgumentException"),
        (named("none"), "ResourceNotFoundException"),
        (json!({"ConsumerARN": STREAM}), "ValidationException"),
        (
            json!({"ConsumerARN": format!("{arn}7")}),
            "ResourceNotFoundException",
        ),
        (
            json!({"ConsumerARN": arn, "ConsumerName": "other"}),
            "InvalidArgumentException",
        ),
        (
            json!({"StreamARN": format!("{STREAM}x"), "ConsumerName": "app"}),
            "ResourceNotFoundException",
        ),
        (json!({"ConsumerARN": 7}), "SerializationException"),
    ];
    for operation in ["DescribeStreamConsumer", "DeregisterStreamConsumer"] {
        for (body, code) in &cases {
            let found = bad(&local, operation, body.clone()).await.0;
            assert_eq!(found, *code, "{operation} {body}");
        }
    }
    for (body, code) in [
        (json!({"ConsumerName": "x"}), "ValidationException"),
        (json!({"StreamARN": STREAM}), "ValidationException"),
        (named("a b"), "ValidationException"),
    ] {
        let found = bad(&local, "RegisterStreamConsumer", body.clone()).await.0;
        assert_eq!(found, code, "{body}");
    }
}

#[tokio::test]
async fn a_stream_with_consumers_is_deleted_only_with_them() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    register(&local, "s", "app").await;
    let (code, _) = bad(&local, "DeleteStream", json!({"StreamName": "s"})).await;
    assert_eq!(code, "ResourceInUseException");
    let enforce = json!({"StreamName": "s", "EnforceConsumerDeletion": true});
    good(&local, "DeleteStream", enforce).await;
    let (code, _) = bad(&local, "DescribeStreamConsumer", named("app")).await;
    assert_eq!(code, "ResourceNotFoundException");
}
