"""boto3 (JSON over HTTP/1.1) lives through a stream's whole life.

Expected values come from the Kinesis Data Streams API reference.
"""

import hashlib
import os
import re
import time
from datetime import datetime, timedelta, timezone

from checks import *

kinesis = client(endpoint=os.environ["SLOW_ENDPOINT"])
loose = client(endpoint=os.environ["SLOW_ENDPOINT"], validate=False)
STREAM = "life-boto3"
FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"
TOP = 2**128 - 1
sent = {FIRST: [], SECOND: []}


def in_range(shard, key):
    span = shard["HashKeyRange"]
    return int(span["StartingHashKey"]) <= key <= int(span["EndingHashKey"])


def shard_of(key):
    key = int(hashlib.md5(key.encode()).hexdigest(), 16)
    return [s["ShardId"] for s in shards(kinesis, STREAM)[:2] if in_range(s, key)][0]


@check("CreateStream: CREATING, then ACTIVE; the name is taken")
def _():
    kinesis.create_stream(StreamName=STREAM, ShardCount=2)
    equal(status(kinesis, STREAM), "CREATING")
    refused("ResourceInUseException", kinesis.create_stream, StreamName=STREAM, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(
        StreamName=STREAM, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )


@check("DescribeStreamSummary: every member that is always there")
def _():
    summary = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
    equal(summary["StreamName"], STREAM)
    assert re.fullmatch(rf"arn:aws:kinesis:us-east-1:\d{{12}}:stream/{STREAM}", summary["StreamARN"])
    equal(summary["StreamStatus"], "ACTIVE")
    equal(summary["RetentionPeriodHours"], 24)
    equal(summary["OpenShardCount"], 2)
    equal(summary["ConsumerCount"], 0)
    equal(summary["EncryptionType"], "NONE")
    equal(summary["StreamModeDetails"], {"StreamMode": "PROVISIONED"})
    equal(summary["EnhancedMonitoring"], [{"ShardLevelMetrics": []}])
    age = datetime.now(timezone.utc) - summary["StreamCreationTimestamp"]
    assert timedelta(seconds=-1) < age < timedelta(minutes=2), age


@check("by ARN as by name; both must agree; neither is refused")
def _():
    arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
    equal(kinesis.list_shards(StreamARN=arn)["Shards"], shards(kinesis, STREAM))
    equal(kinesis.describe_stream(StreamARN=arn)["StreamDescription"]["StreamName"], STREAM)
    refused(
        INVALID,
        kinesis.list_shards,
        StreamARN=arn,
        StreamName="another",
    )
    refused(INVALID, kinesis.describe_stream_summary)


@check("ListStreams: pages of one")
def _():
    create(kinesis, "life-boto3-second", 1)
    names = []
    for page in kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 1}):
        equal(len(page["StreamNames"]), 1)
        equal([s["StreamName"] for s in page["StreamSummaries"]], page["StreamNames"])
        names += page["StreamNames"]
    assert {STREAM, "life-boto3-second"} <= set(names), names
    equal(names, sorted(names), "order")


@check("ListShards: pages; a token comes alone")
def _():
    page = kinesis.list_shards(StreamName=STREAM, MaxResults=1)
    equal(ids(page["Shards"]), [FIRST])
    refused(
        "InvalidArgumentException",
        kinesis.list_shards,
        StreamName=STREAM,
        NextToken=page["NextToken"],
    )
    page = kinesis.list_shards(NextToken=page["NextToken"], MaxResults=1)
    equal(ids(page["Shards"]), [SECOND])
    assert "NextToken" not in page
    equal(ids(shards(kinesis, STREAM, ExclusiveStartShardId=FIRST)), [SECOND])


@check("the shards cover all hash keys, open, without parents")
def _():
    at = 0
    for shard in shards(kinesis, STREAM):
        equal(int(shard["HashKeyRange"]["StartingHashKey"]), at)
        at = int(shard["HashKeyRange"]["EndingHashKey"]) + 1
        assert "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        assert "ParentShardId" not in shard and "AdjacentParentShardId" not in shard
    equal(at, TOP + 1)


@check("PutRecord: the shard is the one that holds the key's MD5")
def _():
    for i in range(20):
        key, data = f"key-{i}", bytes([i, 0, 255]) * 10
        answer = kinesis.put_record(StreamName=STREAM, PartitionKey=key, Data=data)
        equal(answer["ShardId"], shard_of(key))
        sent[answer["ShardId"]].append((answer["SequenceNumber"], key, data))


@check("PutRecords: 500 entries, answered in their order")
def _():
    entries = [{"PartitionKey": f"k{i}", "Data": f"record {i}".encode()} for i in range(500)]
    answer = kinesis.put_records(StreamName=STREAM, Records=entries)
    equal(answer["FailedRecordCount"], 0)
    equal(len(answer["Records"]), 500)
    cut = int(shards(kinesis, STREAM)[1]["HashKeyRange"]["StartingHashKey"])
    for entry, result in zip(entries, answer["Records"]):
        key = int(hashlib.md5(entry["PartitionKey"].encode()).hexdigest(), 16)
        equal(result["ShardId"], SECOND if key >= cut else FIRST, entry["PartitionKey"])
        stored = (result["SequenceNumber"], entry["PartitionKey"], entry["Data"])
        sent[result["ShardId"]].append(stored)


@check("an explicit hash key wins over the partition key")
def _():
    for hash_key, shard in [("0", FIRST), (str(TOP), SECOND)]:
        answer = kinesis.put_record(
            StreamName=STREAM, PartitionKey="same", ExplicitHashKey=hash_key, Data=b"explicit"
        )
        equal(answer["ShardId"], shard)
        sent[shard].append((answer["SequenceNumber"], "same", b"explicit"))


@check("GetRecords: from the trim horizon to the tip, equal and in order")
def _():
    for shard in (FIRST, SECOND):
        records, last = read(kinesis, iterator(kinesis, STREAM, shard))
        got = [(r["SequenceNumber"], r["PartitionKey"], r["Data"]) for r in records]
        equal(got, sent[shard], shard)
        equal([int(r[0]) for r in got], sorted(int(r[0]) for r in got), "order")
        assert last["NextShardIterator"] and not last.get("ChildShards")


@check("AT_ and AFTER_SEQUENCE_NUMBER")
def _():
    number = sent[FIRST][3][0]
    at = iterator(kinesis, STREAM, FIRST, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number)
    equal(paced(kinesis.get_records, ShardIterator=at, Limit=1)["Records"][0]["SequenceNumber"], number)
    at = iterator(kinesis, STREAM, FIRST, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number)
    got = paced(kinesis.get_records, ShardIterator=at, Limit=1)["Records"]
    equal(got[0]["SequenceNumber"], sent[FIRST][4][0])


@check("AT_TIMESTAMP: the first record that is not older")
def _():
    time.sleep(0.005)  # a later millisecond than the records before
    moment = datetime.now(timezone.utc)
    late = kinesis.put_record(
        StreamName=STREAM, PartitionKey="late", ExplicitHashKey="0", Data=b"late"
    )
    sent[FIRST].append((late["SequenceNumber"], "late", b"late"))
    at = iterator(kinesis, STREAM, FIRST, "AT_TIMESTAMP", Timestamp=moment)
    records, _last = read(kinesis, at)
    equal([r["SequenceNumber"] for r in records], [late["SequenceNumber"]])
    arrival = records[0]["ApproximateArrivalTimestamp"]
    assert moment - timedelta(milliseconds=1) <= arrival <= moment + timedelta(seconds=10), arrival
    early = datetime.now(timezone.utc) - timedelta(hours=1)
    at = iterator(kinesis, STREAM, FIRST, "AT_TIMESTAMP", Timestamp=early)
    equal(len(read(kinesis, at)[0]), len(sent[FIRST]))


@check("LATEST: only what comes after the iterator")
def _():
    at = iterator(kinesis, STREAM, FIRST, "LATEST")
    answer = paced(kinesis.get_records, ShardIterator=at)
    equal((answer["Records"], answer["MillisBehindLatest"]), ([], 0))
    new = kinesis.put_record(StreamName=STREAM, PartitionKey="new", ExplicitHashKey="0", Data=b"")
    sent[FIRST].append((new["SequenceNumber"], "new", b""))
    records, _last = read(kinesis, answer["NextShardIterator"], 1)
    equal([(r["SequenceNumber"], r["Data"]) for r in records], [(new["SequenceNumber"], b"")])


@check("a throttle: GetRecords and GetShardIterator, five calls a second and shard")
def _():
    at = iterator(kinesis, STREAM, SECOND)
    time.sleep(1)  # a whole second's allowance
    for call, members in (
        (kinesis.get_records, {"ShardIterator": at, "Limit": 1}),
        (
            kinesis.get_shard_iterator,
            {"StreamName": STREAM, "ShardId": SECOND, "ShardIteratorType": "LATEST"},
        ),
    ):
        accepted, text = until_refused(THROTTLED, call, **members)
        assert accepted >= 5, accepted
        assert STREAM in text and SECOND in text, text


@check("SplitShard: UPDATING, then two children of a closed parent")
def _():
    middle = int(shards(kinesis, STREAM)[0]["HashKeyRange"]["EndingHashKey"]) // 2
    kinesis.split_shard(StreamName=STREAM, ShardToSplit=FIRST, NewStartingHashKey=str(middle))
    equal(status(kinesis, STREAM), "UPDATING")
    active(kinesis, STREAM)
    parent, _second, left, right = shards(kinesis, STREAM)
    assert int(parent["SequenceNumberRange"]["EndingSequenceNumber"]) >= int(sent[FIRST][-1][0])
    equal([left["ParentShardId"], right["ParentShardId"]], [FIRST, FIRST])
    assert "AdjacentParentShardId" not in left and "AdjacentParentShardId" not in right
    equal(left["HashKeyRange"]["StartingHashKey"], parent["HashKeyRange"]["StartingHashKey"])
    equal(int(left["HashKeyRange"]["EndingHashKey"]), middle - 1)
    equal(int(right["HashKeyRange"]["StartingHashKey"]), middle)
    equal(right["HashKeyRange"]["EndingHashKey"], parent["HashKeyRange"]["EndingHashKey"])
    summary = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
    equal(summary["OpenShardCount"], 3)


@check("the closed shard's end: every record, then no iterator and both ChildShards")
def _():
    records, last = read(kinesis, iterator(kinesis, STREAM, FIRST))
    equal([r["SequenceNumber"] for r in records], [s[0] for s in sent[FIRST]])
    assert last.get("NextShardIterator") is None, last["NextShardIterator"]
    _parent, _second, left, right = shards(kinesis, STREAM)
    children = sorted(last["ChildShards"], key=lambda c: c["ShardId"])
    expected = [
        {"ShardId": c["ShardId"], "ParentShards": [FIRST], "HashKeyRange": c["HashKeyRange"]}
        for c in (left, right)
    ]
    equal(children, expected)


@check("SubscribeToShard: the closed shard to its end, the open one, equal to what polling reads")
def _():
    stream = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName="life")
    consumer = consumer["Consumer"]["ConsumerARN"]
    until(
        lambda: kinesis.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"][
            "ConsumerStatus"
        ]
        == "ACTIVE",
        "the consumer is ACTIVE",
    )
    for shard in (FIRST, SECOND):
        polled, _last = read(kinesis, iterator(kinesis, STREAM, shard))
        subscription = kinesis.subscribe_to_shard(
            ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": "TRIM_HORIZON"}
        )["EventStream"]
        pushed, ended, end = [], False, time.monotonic() + 30
        for event in subscription:
            assert time.monotonic() < end, f"{len(pushed)} records within 30 s"
            pushed += event["SubscribeToShardEvent"]["Records"]
            ended = "ContinuationSequenceNumber" not in event["SubscribeToShardEvent"]
            if shard == SECOND and len(pushed) >= len(polled):
                break
        subscription.close()
        equal(ended, shard == FIRST, f"the end of {shard}")
        equal(pushed, polled, shard)
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)


@check("MergeShards: one child with two parents; ranges must touch")
def _():
    _parent, second, left, right = shards(kinesis, STREAM)
    refused(
        "InvalidArgumentException",
        kinesis.merge_shards,
        StreamName=STREAM,
        ShardToMerge=left["ShardId"],
        AdjacentShardToMerge=second["ShardId"],
    )
    kinesis.merge_shards(
        StreamName=STREAM,
        ShardToMerge=left["ShardId"],
        AdjacentShardToMerge=right["ShardId"],
    )
    equal(status(kinesis, STREAM), "UPDATING")
    active(kinesis, STREAM)
    merged = shards(kinesis, STREAM)[-1]
    equal(merged["ParentShardId"], left["ShardId"])
    equal(merged["AdjacentParentShardId"], right["ShardId"])
    equal(merged["HashKeyRange"], shards(kinesis, STREAM)[0]["HashKeyRange"])
    for parent in (left["ShardId"], right["ShardId"]):
        records, last = read(kinesis, iterator(kinesis, STREAM, parent))
        equal(records, [])
        assert last.get("NextShardIterator") is None
        (child,) = last["ChildShards"]
        equal(child["ShardId"], merged["ShardId"])
        equal(sorted(child["ParentShards"]), sorted([left["ShardId"], right["ShardId"]]))
        equal(child["HashKeyRange"], merged["HashKeyRange"])


@check("a closed shard is neither split nor merged")
def _():
    refused(
        ["InvalidArgumentException", "ResourceInUseException"],
        kinesis.split_shard,
        StreamName=STREAM,
        ShardToSplit=FIRST,
        NewStartingHashKey="1000",
    )
    refused(
        ["InvalidArgumentException", "ResourceInUseException"],
        kinesis.merge_shards,
        StreamName=STREAM,
        ShardToMerge=FIRST,
        AdjacentShardToMerge=SECOND,
    )


@check("retention: 24 to 8760 hours, up and down")
def _():
    hours = lambda: kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"][
        "RetentionPeriodHours"
    ]
    up, down = (
        kinesis.increase_stream_retention_period,
        kinesis.decrease_stream_retention_period,
    )
    up(StreamName=STREAM, RetentionPeriodHours=8760)
    active(kinesis, STREAM)
    equal(hours(), 8760)
    refused(INVALID, up, StreamName=STREAM, RetentionPeriodHours=8761)
    down(StreamName=STREAM, RetentionPeriodHours=24)
    active(kinesis, STREAM)
    equal(hours(), 24)
    refused(INVALID, down, StreamName=STREAM, RetentionPeriodHours=23)
    refused("InvalidArgumentException", down, StreamName=STREAM, RetentionPeriodHours=48)


@check("validation: wrong values, missing members, unknown streams and shards")
def _():
    put = loose.put_record
    refused("ValidationException", put, StreamName="not a name", PartitionKey="k", Data=b"x")
    refused("ValidationException", put, StreamName=STREAM, PartitionKey="k" * 257, Data=b"x")
    refused(
        "ValidationException",
        loose.get_shard_iterator,
        StreamName=STREAM,
        ShardId=FIRST,
        ShardIteratorType="NEWEST",
    )
    refused("ValidationException", loose.get_shard_iterator, StreamName=STREAM, ShardId=FIRST)
    refused("ResourceNotFoundException", put, StreamName="nowhere", PartitionKey="k", Data=b"x")
    refused("ResourceNotFoundException", kinesis.list_shards, StreamName="nowhere")
    refused(
        "ResourceNotFoundException",
        kinesis.get_shard_iterator,
        StreamName=STREAM,
        ShardId="shardId-000000000099",
        ShardIteratorType="LATEST",
    )
    refused(
        "InvalidArgumentException",
        kinesis.put_record,
        StreamName=STREAM,
        PartitionKey="k",
        ExplicitHashKey=str(2**128),
        Data=b"x",
    )
    at = iterator(kinesis, STREAM, SECOND)
    refused(
        INVALID,
        loose.get_records,
        ShardIterator=at,
        Limit=10001,
    )
    refused("ValidationException", loose.get_records, ShardIterator=at, Limit=0)


@check("an operation that is not there is named")
def _():
    assert "ListChannels" in refused("UnknownOperationException", kinesis.list_channels)


@check("DeleteStream: DELETING, then gone; the name is free again")
def _():
    at = iterator(kinesis, STREAM, SECOND)
    kinesis.delete_stream(StreamName=STREAM)
    equal(status(kinesis, STREAM), "DELETING")
    kinesis.get_waiter("stream_not_exists").wait(
        StreamName=STREAM, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    refused("ResourceNotFoundException", kinesis.describe_stream_summary, StreamName=STREAM)
    refused("ResourceNotFoundException", kinesis.get_records, ShardIterator=at)
    refused("ResourceNotFoundException", kinesis.delete_stream, StreamName=STREAM)
    create(kinesis, STREAM, 1)
    equal(read(kinesis, iterator(kinesis, STREAM, FIRST))[0], [])
    kinesis.delete_stream(StreamName=STREAM)
    kinesis.delete_stream(StreamName="life-boto3-second")


run("boto3 life")
