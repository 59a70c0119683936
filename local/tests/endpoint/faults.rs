//! Scripted faults, and the journal that shows them.

use crate::client::{bad, base64, good, held, iterator, put, request, send};
use local::{ConnectionLost, Fault, FaultAction};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

fn record(stream: &str) -> Value {
    json!({"StreamName": stream, "PartitionKey": "k", "Data": base64(b"x")})
}

fn batch(count: usize) -> Value {
    let records = vec![json!({"PartitionKey": "k", "Data": base64(b"x")}); count];
    json!({"StreamName": "s", "Records": records})
}

#[tokio::test]
async fn the_nth_call_is_answered_with_a_named_error_and_has_no_effect() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    let error = FaultAction::Error {
        status: 400,
        code: "KMSThrottlingException".to_owned(),
        message: "scripted".to_owned(),
    };
    local.faults().add(Fault::nth("PutRecord", 2, error));
    good(&local, "PutRecord", record("s")).await;
    assert_eq!(
        bad(&local, "PutRecord", record("s")).await,
        ("KMSThrottlingException".to_owned(), "scripted".to_owned())
    );
    good(&local, "PutRecord", record("s")).await;
    assert_eq!(local.records("s").len(), 2);
    assert_eq!(local.faults().remaining(), 0);
}

#[tokio::test]
async fn a_lost_answer_takes_effect_and_a_refused_call_does_not() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    local
        .faults()
        .add(Fault::nth("PutRecords", 1, FaultAction::LoseAnswer));
    let lost = send(&local, "PutRecords", &batch(3)).await;
    assert_eq!(lost.unwrap_err(), ConnectionLost);
    assert_eq!(local.records("s").len(), 3);
    local
        .faults()
        .add(Fault::nth("PutRecords", 1, FaultAction::Refuse));
    let refused = send(&local, "PutRecords", &batch(3)).await;
    assert_eq!(refused.unwrap_err(), ConnectionLost);
    assert_eq!(local.records("s").len(), 3);
    good(&local, "PutRecords", batch(1)).await;
    let statuses: Vec<u16> = local.journal().iter().map(|r| r.status).collect();
    assert_eq!(statuses, [0, 0, 200]);
    assert_eq!(local.error_count(), 2);
    assert_eq!(local.request_counts()["PutRecords"], 3);
}

#[tokio::test]
async fn some_entries_are_refused_and_the_others_stored_in_place() {
    let (local, _) = held();
    local.create_stream("s", 2).unwrap();
    local.faults().add(Fault::nth(
        "PutRecords",
        1,
        FaultAction::SplitEntries {
            every: 3,
            code: "InternalFailure".to_owned(),
        },
    ));
    let answer = good(&local, "PutRecords", batch(10)).await;
    assert_eq!(answer["FailedRecordCount"], 3);
    for (i, entry) in answer["Records"].as_array().unwrap().iter().enumerate() {
        let refused = (i + 1) % 3 == 0;
        assert_eq!(entry["ErrorCode"] == "InternalFailure", refused, "{i}");
        assert_eq!(entry["SequenceNumber"].is_string(), !refused, "{i}");
    }
    assert_eq!(local.records("s").len(), 7);
}

#[tokio::test]
async fn an_iterator_expires_when_a_fault_says_so() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    put(&local, "s", "k", b"x").await;
    let first = iterator(&local, "s", 0, "TRIM_HORIZON").await;
    // A read names its stream by its iterator.
    local
        .faults()
        .add(Fault::nth("GetRecords", 1, FaultAction::ExpireIterator).on("s"));
    let page = json!({"ShardIterator": first});
    let (code, _) = bad(&local, "GetRecords", page.clone()).await;
    assert_eq!(code, "ExpiredIteratorException");
    good(&local, "GetRecords", page).await;
}

#[tokio::test(start_paused = true)]
async fn a_delay_waits_on_tokios_clock() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    local.faults().add(Fault::nth(
        "PutRecord",
        1,
        FaultAction::Delay(Duration::from_secs(7)),
    ));
    let before = Instant::now();
    good(&local, "PutRecord", record("s")).await;
    assert_eq!(before.elapsed(), Duration::from_secs(7));
    assert_eq!(local.records("s").len(), 1);
}

#[tokio::test]
async fn a_fault_strikes_only_the_stream_or_table_it_names() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    local.create_stream("other", 1).unwrap();
    local
        .faults()
        .add(Fault::every("*", FaultAction::Refuse).on("s"));
    local
        .faults()
        .add(Fault::nth("UpdateItem", 1, FaultAction::Refuse).on("leases"));
    good(&local, "PutRecord", record("other")).await;
    assert!(send(&local, "PutRecord", &record("s")).await.is_err());
    assert!(
        send(&local, "DescribeStream", &json!({"StreamName": "s"}))
            .await
            .is_err()
    );
    let arn = json!({"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s"});
    assert!(send(&local, "DescribeStream", &arn).await.is_err());
    let update = |table: &str| {
        let body = json!({"TableName": table, "Key": {}}).to_string();
        request(
            "DynamoDB_20120810.UpdateItem",
            "application/x-amz-json-1.0",
            body,
        )
    };
    assert_eq!(local.handle(update("others")).await.unwrap().status(), 400);
    assert!(local.handle(update("leases")).await.is_err());
    local.faults().clear();
    good(&local, "PutRecord", record("s")).await;
}

#[tokio::test]
async fn the_journal_tells_what_was_asked_in_order() {
    let (local, _) = held();
    local.create_stream("s", 1).unwrap();
    good(&local, "PutRecord", record("s")).await;
    bad(&local, "PutRecord", record("none")).await;
    bad(&local, "NoSuchOperation", json!({})).await;
    let seen: Vec<_> = local
        .journal()
        .into_iter()
        .map(|r| (r.operation, r.resource, r.status, r.error))
        .collect();
    let text = |t: &str| t.to_owned();
    assert_eq!(
        seen,
        [
            (text("PutRecord"), Some(text("s")), 200, None),
            (
                text("PutRecord"),
                Some(text("none")),
                400,
                Some(text("ResourceNotFoundException"))
            ),
            (
                text("NoSuchOperation"),
                None,
                400,
                Some(text("UnknownOperationException"))
            ),
        ]
    );
}
