"""Scripted faults over the control path, as boto3 meets them: row 24, and the rest of what can be made to
happen. Only calls of this script's own access key are struck.
"""

import json
import os
import urllib.request
from email.utils import parsedate_to_datetime
from datetime import datetime, timedelta, timezone

from botocore.exceptions import (
    ConnectionClosedError,
    EventStreamError,
    HTTPClientError,
    ResponseStreamingError,
)
from checks import *

CALLER = "faulty"
TABLE = "faulty-leases"
SHARD = "shardId-000000000000"
kinesis = client(key=CALLER)
dynamodb = client("dynamodb", key=CALLER)
LOST = (ConnectionClosedError, HTTPClientError, ResponseStreamingError)


def control(method, path, body=None):
    request = urllib.request.Request(
        f"{os.environ['ENDPOINT']}/_local/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


class Struck:
    """A fault while the block runs; it has struck `times` times then, and is gone."""

    def __init__(self, times=1, **fault):
        self.fault, self.times = {"caller": CALLER, **fault}, times

    def __enter__(self):
        self.before = control("GET", "faults")["struck"]
        (self.id,) = control("POST", "faults", {"times": self.times, **self.fault})["ids"]

    def __exit__(self, kind, *_):
        found = control("GET", "faults")
        if any(fault.get("id") == self.id for fault in found["faults"]):
            try:
                control("DELETE", f"faults/{self.id}")
            except OSError:  # it is spent
                pass
        if kind is None:
            equal(found["struck"] - self.before, self.times, self.fault)


def lost(call, **members):
    try:
        answer = call(**members)
    except LOST:
        return
    raise AssertionError(f"answered with {answer}")


@check("row 24: DynamoDB throttles, transactions conflict, an index takes time, a read is stale")
def _():
    key = {"leaseKey": {"S": "one"}}
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    put = {"TableName": TABLE, "Item": {**key, "n": {"N": "1"}}}
    with Struck(service="dynamodb", op="PutItem", on=TABLE, throttle=True):
        refused(THROTTLED, dynamodb.put_item, **put)
    equal("Item" in dynamodb.get_item(TableName=TABLE, Key=key, ConsistentRead=True), False)
    dynamodb.put_item(**put)
    with Struck(service="dynamodb", op="TransactWriteItems", conflict=True):
        text = refused(
            "TransactionCanceledException",
            dynamodb.transact_write_items,
            TransactItems=[{"Put": {**put, "Item": {**key, "n": {"N": "2"}}}}],
        )
        assert "TransactionConflict" in text, text
    with Struck(service="dynamodb", op="GetItem", on=TABLE, stale=True):
        dynamodb.put_item(**{**put, "Item": {**key, "n": {"N": "3"}}})
        stale = dynamodb.get_item(TableName=TABLE, Key=key)
    equal(stale["Item"]["n"], {"N": "1"})
    equal(dynamodb.get_item(TableName=TABLE, Key=key)["Item"]["n"], {"N": "3"})
    with Struck(service="dynamodb", on=TABLE, **{"index-creating": 2}):
        dynamodb.update_table(
            TableName=TABLE,
            AttributeDefinitions=[{"AttributeName": "owner", "AttributeType": "S"}],
            GlobalSecondaryIndexUpdates=[
                {
                    "Create": {
                        "IndexName": "owners",
                        "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}],
                        "Projection": {"ProjectionType": "KEYS_ONLY"},
                    }
                }
            ],
        )
    state = lambda: dynamodb.describe_table(TableName=TABLE)["Table"]["GlobalSecondaryIndexes"][0]
    equal([state()["IndexStatus"] for _ in range(3)], ["CREATING", "CREATING", "ACTIVE"])


@check("answers that are errors, late, lost, cut or slow; an effect is there or not")
def _():
    name = "faulty"
    create(kinesis, name, 1)
    put = lambda data: {"StreamName": name, "PartitionKey": "k", "Data": data}
    mine = {"service": "kinesis", "op": "PutRecord", "on": name}
    with Struck(**mine, error="InternalFailureException:500:scripted"):
        try:
            kinesis.put_record(**put(b"error"))
            raise AssertionError("accepted")
        except ClientError as error:
            equal(error.response["Error"], {"Code": "InternalFailureException", "Message": "scripted"})
            equal(error.response["ResponseMetadata"]["HTTPStatusCode"], 500)
    with Struck(**mine, status=503):
        try:
            kinesis.put_record(**put(b"status"))
            raise AssertionError("accepted")
        except ClientError as error:
            equal(error.response["ResponseMetadata"]["HTTPStatusCode"], 503)
    with Struck(**mine, throttle=True):
        refused(THROTTLED, kinesis.put_record, **put(b"throttle"))
    with Struck(**mine, drop="before"):
        lost(kinesis.put_record, **put(b"before"))
    with Struck(**mine, drop="after"):
        lost(kinesis.put_record, **put(b"after"))
    with Struck(**mine, delay="300ms"):
        begin = time.monotonic()
        kinesis.put_record(**put(b"delayed"))
        assert time.monotonic() - begin >= 0.3
    with Struck(**mine, trickle="10:5ms"):
        kinesis.put_record(**put(b"trickled"))
    with Struck(**mine, truncate=10):
        # boto3 makes an answer without members of a body that it cannot read.
        equal(set(kinesis.put_record(**put(b"truncated"))), {"ResponseMetadata"})
    records, _last = read(kinesis, iterator(kinesis, name, SHARD))
    equal([r["Data"] for r in records], [b"after", b"delayed", b"trickled", b"truncated"])
    # The third matching call alone.
    with Struck(**mine, nth=3, throttle=True):
        for _ in range(2):
            kinesis.put_record(**put(b"nth"))
        refused(THROTTLED, kinesis.put_record, **put(b"nth"))
    with Struck(**{**mine, "op": "PutRecords"}, split="3:InternalFailure"):
        entries = [{"PartitionKey": "k", "Data": b"%d" % i} for i in range(9)]
        answer = kinesis.put_records(StreamName=name, Records=entries)
    equal(answer["FailedRecordCount"], 3)
    codes = [r.get("ErrorCode") for r in answer["Records"]]
    equal(codes, [None, None, "InternalFailure"] * 3)
    at = iterator(kinesis, name, SHARD)
    with Struck(service="kinesis", op="GetRecords", **{"expire-iterator": True}):
        refused("ExpiredIteratorException", kinesis.get_records, ShardIterator=at)
    with Struck(**{**mine, "op": "ListShards"}, **{"skew-date": "-20m"}):
        answer = kinesis.list_shards(StreamName=name)
        date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        off = datetime.now(timezone.utc) - date
        assert timedelta(minutes=19) < off < timedelta(minutes=21), off
    fault = {"partition": CALLER}
    (number,) = control("POST", "faults", fault)["ids"]
    lost(kinesis.list_shards, StreamName=name)
    equal(len(client().list_shards(StreamName=name)["Shards"]), 1, "others are answered")
    control("DELETE", f"faults/{number}")
    equal(len(kinesis.list_shards(StreamName=name)["Shards"]), 1)


@check("a subscription fails after some events")
def _():
    name = "faulty-fan-out"
    create(kinesis, name, 1)
    stream = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName="c")["Consumer"]
    consumer = consumer["ConsumerARN"]
    described = lambda: kinesis.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"]
    until(lambda: described()["ConsumerStatus"] == "ACTIVE", "the consumer is ACTIVE")
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    with Struck(
        service="kinesis",
        op="SubscribeToShard",
        **{"fail-subscription": "1:InternalFailureException:scripted"},
    ):
        events = kinesis.subscribe_to_shard(
            ConsumerARN=consumer, ShardId=SHARD, StartingPosition={"Type": "TRIM_HORIZON"}
        )["EventStream"]
        seen = []
        try:
            for event in events:
                seen += [r["Data"] for r in event["SubscribeToShardEvent"]["Records"]]
            raise AssertionError("the subscription ended without an exception")
        except EventStreamError as error:
            assert "InternalFailureException" in str(error) and "scripted" in str(error), error
    equal(seen, [b"x"])


run("boto3 faults")
