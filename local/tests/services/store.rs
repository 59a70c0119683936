//! What dynoxide lacks, and faults inside DynamoDB.

use crate::client::{ask, dynamodb, error_of, good, plain};
use local::Local;
use serde_json::{Value, json};

async fn table(local: &Local) {
    let body = json!({"TableName": "leases", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}]});
    good(local, dynamodb("CreateTable", &body)).await;
}

async fn put(local: &Local, key: &str, value: u32) {
    let item = json!({"TableName": "leases",
        "Item": {"k": {"S": key}, "v": {"N": value.to_string()}}});
    good(local, dynamodb("PutItem", &item)).await;
}

async fn get(local: &Local, consistent: bool) -> Value {
    let key = json!({"TableName": "leases", "Key": {"k": {"S": "a"}},
        "ConsistentRead": consistent});
    let answer = good(local, dynamodb("GetItem", &key)).await;
    answer["Item"]["v"]["N"].clone()
}

#[tokio::test]
async fn continuous_backups_are_a_setting_that_is_kept() {
    let local = plain();
    let named = json!({"TableName": "leases"});
    let describe = || dynamodb("DescribeContinuousBackups", &named);
    let (status, answer) = ask(&local, describe()).await;
    assert_eq!((status, error_of(&answer)), (400, "TableNotFoundException"));
    table(&local).await;
    let of = |answer: &Value| {
        let description = &answer["ContinuousBackupsDescription"];
        assert_eq!(description["ContinuousBackupsStatus"], "ENABLED");
        description["PointInTimeRecoveryDescription"].clone()
    };
    let before = of(&good(&local, describe()).await);
    assert_eq!(before, json!({"PointInTimeRecoveryStatus": "DISABLED"}));
    let update = json!({"TableName": "leases",
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true}});
    let updated = of(&good(&local, dynamodb("UpdateContinuousBackups", &update)).await);
    assert_eq!(updated["PointInTimeRecoveryStatus"], "ENABLED");
    assert_eq!(updated["LatestRestorableDateTime"], 1_700_000_000);
    assert_eq!(of(&good(&local, describe()).await), updated);
    let (_, answer) = ask(&local, dynamodb("UpdateContinuousBackups", &named)).await;
    assert_eq!(error_of(&answer), "ValidationException");
    // A table of the same name begins anew.
    good(&local, dynamodb("DeleteTable", &named)).await;
    table(&local).await;
    let after = of(&good(&local, describe()).await);
    assert_eq!(after["PointInTimeRecoveryStatus"], "DISABLED");
}

#[tokio::test]
async fn limits_and_endpoints_are_described() {
    let local = plain();
    let limits = good(&local, dynamodb("DescribeLimits", &json!({}))).await;
    assert_eq!(limits["AccountMaxReadCapacityUnits"], 80_000);
    assert_eq!(limits["TableMaxWriteCapacityUnits"], 40_000);
    // Whoever discovers stays here.
    let endpoints = good(&local, dynamodb("DescribeEndpoints", &json!({}))).await;
    assert_eq!(endpoints["Endpoints"][0]["Address"], "localhost");
}

#[tokio::test]
async fn a_conflict_cancels_transactions_and_single_writes() {
    let local = plain();
    table(&local).await;
    local
        .faults()
        .add("service=dynamodb,conflict,times=2".parse().unwrap());
    let item = |key: &str| json!({"Put": {"TableName": "leases", "Item": {"k": {"S": key}}}});
    let both = json!({"TransactItems": [item("a"), item("b")]});
    let (status, answer) = ask(&local, dynamodb("TransactWriteItems", &both)).await;
    assert_eq!(status, 400);
    assert_eq!(error_of(&answer), "TransactionCanceledException");
    assert_eq!(
        answer["message"],
        "Transaction cancelled, please refer cancellation reasons for specific reasons \
         [TransactionConflict, TransactionConflict]"
    );
    let reasons = answer["CancellationReasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 2);
    assert_eq!(reasons[0]["Code"], "TransactionConflict");
    let single = json!({"TableName": "leases", "Item": {"k": {"S": "a"}}});
    let (status, answer) = ask(&local, dynamodb("PutItem", &single)).await;
    assert_eq!(
        (status, error_of(&answer)),
        (400, "TransactionConflictException")
    );
    let scan = json!({"TableName": "leases"});
    let found = good(&local, dynamodb("Scan", &scan)).await;
    assert_eq!(found["Count"], 0);
    good(&local, dynamodb("TransactWriteItems", &both)).await;
}

#[tokio::test]
async fn stale_reads_see_the_store_as_it_stood() {
    let local = plain();
    table(&local).await;
    put(&local, "a", 1).await;
    let rule = local.faults().add("stale".parse().unwrap());
    put(&local, "a", 2).await;
    put(&local, "b", 2).await;
    assert_eq!(get(&local, false).await, "1");
    assert_eq!(get(&local, true).await, "2");
    let scan = async |consistent: bool| {
        let body = json!({"TableName": "leases", "ConsistentRead": consistent});
        good(&local, dynamodb("Scan", &body)).await["Count"].clone()
    };
    assert_eq!(scan(false).await, 1);
    assert_eq!(scan(true).await, 2);
    // A second rule freezes anew, and is struck before nobody: the first one is first.
    local.faults().remove(rule);
    assert_eq!(get(&local, false).await, "2");
    local
        .faults()
        .add("op=GetItem,nth=2,stale".parse().unwrap());
    put(&local, "a", 3).await;
    assert_eq!(get(&local, false).await, "3");
    assert_eq!(get(&local, false).await, "2");
    assert_eq!(get(&local, false).await, "3");
}

#[tokio::test]
async fn an_index_takes_as_many_polls_as_a_fault_says() {
    let local = plain();
    table(&local).await;
    local
        .faults()
        .add("op=UpdateTable,nth=1,index-creating=2".parse().unwrap());
    let update = json!({"TableName": "leases",
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"},
            {"AttributeName": "owner", "AttributeType": "S"}],
        "GlobalSecondaryIndexUpdates": [{"Create": {"IndexName": "byOwner",
            "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"}}}]});
    let updated = good(&local, dynamodb("UpdateTable", &update)).await;
    let state = |table: &Value| {
        let status = &table["GlobalSecondaryIndexes"][0]["IndexStatus"];
        (table["TableStatus"].clone(), status.clone())
    };
    let creating = (json!("UPDATING"), json!("CREATING"));
    assert_eq!(state(&updated["TableDescription"]), creating);
    let query = json!({"TableName": "leases", "IndexName": "byOwner",
        "KeyConditionExpression": "#o = :o", "ExpressionAttributeNames": {"#o": "owner"},
        "ExpressionAttributeValues": {":o": {"S": "w"}}});
    let describe = async || {
        let named = json!({"TableName": "leases"});
        state(&good(&local, dynamodb("DescribeTable", &named)).await["Table"])
    };
    for _ in 0..2 {
        let (status, answer) = ask(&local, dynamodb("Query", &query)).await;
        assert_eq!((status, error_of(&answer)), (400, "ValidationException"));
        assert_eq!(
            answer["message"],
            "Cannot read from backfilling global secondary index: byOwner"
        );
        assert_eq!(describe().await, creating);
    }
    assert_eq!(describe().await, (json!("ACTIVE"), json!("ACTIVE")));
    good(&local, dynamodb("Query", &query)).await;
}
