"""DynamoDB as the consumer's lease table uses it. Expected values come from its API reference."""

import threading

from botocore.exceptions import ClientError
from checks import *

dynamodb = client("dynamodb")
TABLE = "leases-boto3"
KEY = {"leaseKey": {"S": "shardId-000000000000"}}


@check("CreateTable: on demand, then ACTIVE; the name is taken")
def _():
    table = {
        "TableName": TABLE,
        "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    dynamodb.create_table(**table)
    dynamodb.get_waiter("table_exists").wait(
        TableName=TABLE, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    refused("ResourceInUseException", dynamodb.create_table, **table)


@check("a conditional update: the first wins, the second is told what is there")
def _():
    dynamodb.put_item(
        TableName=TABLE,
        Item={**KEY, "leaseCounter": {"N": "1"}, "owner": {"S": "a"}},
        ConditionExpression="attribute_not_exists(leaseKey)",
    )
    update = {
        "TableName": TABLE,
        "Key": KEY,
        "UpdateExpression": "SET leaseCounter = leaseCounter + :one, #o = :b",
        "ConditionExpression": "leaseCounter = :seen",
        "ExpressionAttributeNames": {"#o": "owner"},
        "ExpressionAttributeValues": {
            ":one": {"N": "1"},
            ":seen": {"N": "1"},
            ":b": {"S": "b"},
        },
    }
    answer = dynamodb.update_item(**update, ReturnValues="ALL_NEW")
    equal(answer["Attributes"], {**KEY, "leaseCounter": {"N": "2"}, "owner": {"S": "b"}})
    try:
        dynamodb.update_item(**update, ReturnValuesOnConditionCheckFailure="ALL_OLD")
        raise AssertionError("a stale condition was accepted")
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        equal(error.response["Item"], answer["Attributes"])
    item = dynamodb.get_item(TableName=TABLE, Key=KEY, ConsistentRead=True)["Item"]
    equal(item, answer["Attributes"])


@check("row 24: a race of eight writers for one counter has one winner a round")
def _():
    rounds, winners, failures = 40, [], []
    key = {"leaseKey": {"S": "race"}}
    dynamodb.put_item(TableName=TABLE, Item={**key, "counter": {"N": "0"}})
    barrier = threading.Barrier(8, timeout=30)

    def race(writer):
        own = client("dynamodb")
        try:
            for i in range(rounds):
                barrier.wait()
                try:
                    own.update_item(
                        TableName=TABLE,
                        Key=key,
                        UpdateExpression="SET #c = :next",
                        ConditionExpression="#c = :seen",
                        ExpressionAttributeNames={"#c": "counter"},
                        ExpressionAttributeValues={
                            ":seen": {"N": str(i)},
                            ":next": {"N": str(i + 1)},
                        },
                    )
                    winners.append((i, writer))
                except ClientError as error:
                    code = error.response["Error"]["Code"]
                    equal(code, "ConditionalCheckFailedException")
                barrier.wait()
        except Exception as error:  # goes to the check's own thread
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=race, args=(w,)) for w in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    equal(failures, [])
    equal([i for i, _writer in sorted(winners)], list(range(rounds)))


@check("refusals: no table, no key, an unknown operation")
def _():
    refused("ResourceNotFoundException", dynamodb.get_item, TableName="nowhere", Key=KEY)
    refused("ValidationException", dynamodb.get_item, TableName=TABLE, Key={"other": {"S": "x"}})
    refused("UnknownOperationException", dynamodb.describe_global_table, GlobalTableName="nothing")
    dynamodb.delete_table(TableName=TABLE)


run("boto3 dynamodb")
