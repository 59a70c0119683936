//! DynamoDB on the same endpoint, as a lease table uses it.

use crate::client::{held, request};
use local::Local;
use serde_json::{Value, json};

async fn ask(local: &Local, operation: &str, body: Value) -> (u16, Value) {
    let target = format!("DynamoDB_20120810.{operation}");
    let body = body.to_string();
    let response = local
        .handle(request(&target, "application/x-amz-json-1.0", body))
        .await
        .unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/x-amz-json-1.0"
    );
    let answer = serde_json::from_slice(response.body()).unwrap();
    (response.status().as_u16(), answer)
}

async fn good(local: &Local, operation: &str, body: Value) -> Value {
    let (status, answer) = ask(local, operation, body).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

async fn table(local: &Local) {
    let body = json!({"TableName": "leases", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}]});
    let created = good(local, "CreateTable", body).await;
    assert_eq!(created["TableDescription"]["TableName"], "leases");
}

#[tokio::test]
async fn a_condition_has_one_winner() {
    let (local, _) = held();
    table(&local).await;
    let item = json!({"leaseKey": {"S": "shardId-000000000000"}, "leaseCounter": {"N": "0"},
        "leaseOwner": {"S": "a"}, "ownerSwitchesSinceCheckpoint": {"N": "0"}});
    let put = json!({"TableName": "leases", "Item": item,
        "ConditionExpression": "attribute_not_exists(leaseKey)"});
    good(&local, "PutItem", put.clone()).await;
    let (status, refused) = ask(&local, "PutItem", put).await;
    assert_eq!(status, 400);
    let name = refused["__type"].as_str().unwrap();
    assert!(name.ends_with("#ConditionalCheckFailedException"), "{name}");
    let renew = |seen: &str, next: &str| {
        json!({"TableName": "leases", "Key": {"leaseKey": {"S": "shardId-000000000000"}},
            "UpdateExpression": "SET leaseCounter = :next",
            "ConditionExpression": "leaseCounter = :seen",
            "ExpressionAttributeValues": {":next": {"N": next}, ":seen": {"N": seen}},
            "ReturnValues": "ALL_NEW"})
    };
    let renewed = good(&local, "UpdateItem", renew("0", "1")).await;
    assert_eq!(renewed["Attributes"]["leaseCounter"]["N"], "1");
    assert_eq!(ask(&local, "UpdateItem", renew("0", "1")).await.0, 400);
    let scan = good(&local, "Scan", json!({"TableName": "leases"})).await;
    assert_eq!(scan["Count"], 1);
    let journal = local.journal();
    let last = journal.iter().rfind(|r| r.status == 400).unwrap();
    assert_eq!(last.operation, "UpdateItem");
    assert_eq!(last.resource.as_deref(), Some("leases"));
    assert_eq!(
        last.error.as_deref(),
        Some("ConditionalCheckFailedException")
    );
}

#[tokio::test]
async fn each_operation_has_its_arm() {
    let (local, _) = held();
    table(&local).await;
    let key = json!({"leaseKey": {"S": "k"}});
    let calls = [
        ("DescribeTable", json!({"TableName": "leases"})),
        ("ListTables", json!({})),
        ("PutItem", json!({"TableName": "leases", "Item": key})),
        ("GetItem", json!({"TableName": "leases", "Key": key})),
        (
            "UpdateItem",
            json!({"TableName": "leases", "Key": key, "UpdateExpression": "SET a = :a",
                "ExpressionAttributeValues": {":a": {"S": "x"}}}),
        ),
        (
            "Query",
            json!({"TableName": "leases", "KeyConditionExpression": "leaseKey = :k",
                "ExpressionAttributeValues": {":k": {"S": "k"}}}),
        ),
        ("Scan", json!({"TableName": "leases"})),
        (
            "BatchGetItem",
            json!({"RequestItems": {"leases": {"Keys": [key]}}}),
        ),
        (
            "BatchWriteItem",
            json!({"RequestItems": {"leases": [{"PutRequest": {"Item": key}}]}}),
        ),
        (
            "TransactWriteItems",
            json!({"TransactItems": [{"Put": {"TableName": "leases", "Item": key}}]}),
        ),
        (
            "TransactGetItems",
            json!({"TransactItems": [{"Get": {"TableName": "leases", "Key": key}}]}),
        ),
        (
            "UpdateTimeToLive",
            json!({"TableName": "leases",
                "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": true}}),
        ),
        ("DescribeTimeToLive", json!({"TableName": "leases"})),
        (
            "ExecuteStatement",
            json!({"Statement": "SELECT * FROM \"leases\" WHERE leaseKey = 'k'"}),
        ),
        (
            "UpdateTable",
            json!({"TableName": "leases",
                "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"},
                    {"AttributeName": "owner", "AttributeType": "S"}],
                "GlobalSecondaryIndexUpdates": [{"Create": {"IndexName": "byOwner",
                    "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"}}}]}),
        ),
        ("DeleteItem", json!({"TableName": "leases", "Key": key})),
    ];
    for (operation, body) in calls {
        good(&local, operation, body).await;
    }
    let described = good(&local, "DescribeTable", json!({"TableName": "leases"})).await;
    let arn = described["Table"]["TableArn"].as_str().unwrap().to_owned();
    let tags = json!({"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "b"}]});
    let (status, _) = ask(&local, "TagResource", tags).await;
    assert_eq!(status, 200);
    let listed = good(&local, "ListTagsOfResource", json!({"ResourceArn": arn})).await;
    assert_eq!(listed["Tags"][0]["Key"], "a");
    let untag = json!({"ResourceArn": arn, "TagKeys": ["a"]});
    assert_eq!(ask(&local, "UntagResource", untag).await.0, 200);
    good(&local, "DeleteTable", json!({"TableName": "leases"})).await;
    let (status, unknown) = ask(&local, "DescribeWhim", json!({})).await;
    assert_eq!(status, 400);
    assert_eq!(unknown["__type"], "UnknownOperationException");
    assert!(
        unknown["message"]
            .as_str()
            .unwrap()
            .contains("DescribeWhim")
    );
}
