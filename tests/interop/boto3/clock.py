"""What takes minutes or days on AWS, on an endpoint whose machine clock the script moves.

The file named by CLOCK holds the offset; libfaketime (from the package registry) reads it anew for
each look at the clock. Expected values come from the API reference.
"""

import os

from checks import *

kinesis = client(endpoint=os.environ["CLOCK_ENDPOINT"])
MIB = 1 << 20
SHARD = "shardId-000000000000"


@check("row 2: a page has at most 10 MiB, and after one the shard's reads rest for 5 seconds")
def _():
    create(kinesis, "row2", 1)
    sent = []
    for i in range(12):
        data = bytes([i]) * (MIB - 1)
        answer = kinesis.put_record(StreamName="row2", PartitionKey="k", Data=data)
        sent.append(answer["SequenceNumber"])
        advance(2)
    at = iterator(kinesis, "row2", SHARD)
    answer = kinesis.get_records(ShardIterator=at)
    size = sum(len(r["Data"]) + len(r["PartitionKey"]) for r in answer["Records"])
    equal((len(answer["Records"]), size), (10, 10 * MIB))
    assert answer["MillisBehindLatest"] > 0
    got = [r["SequenceNumber"] for r in answer["Records"]]
    at = answer["NextShardIterator"]
    advance(1)
    refused(THROTTLED, kinesis.get_records, ShardIterator=at)
    advance(4)
    got += [r["SequenceNumber"] for r in read(kinesis, at, 2)[0]]
    equal(got, sent, "no gap")


@check("row 11: an iterator lives 300 seconds")
def _():
    create(kinesis, "row11", 1)
    kinesis.put_record(StreamName="row11", PartitionKey="k", Data=b"x")
    at = iterator(kinesis, "row11", SHARD)
    advance(290)
    equal(len(kinesis.get_records(ShardIterator=at)["Records"]), 1)
    advance(11)
    refused("ExpiredIteratorException", kinesis.get_records, ShardIterator=at)


@check("row 11: a page's token lives 300 seconds")
def _():
    create(kinesis, "row11pages", 3)
    token = kinesis.list_shards(StreamName="row11pages", MaxResults=1)["NextToken"]
    advance(290)
    equal(len(kinesis.list_shards(NextToken=token)["Shards"]), 2)
    advance(11)
    refused("ExpiredNextTokenException", kinesis.list_shards, NextToken=token)


@check("row 7: retention trims the records, then the parent; AT_TRIM_HORIZON gives the children")
def _():
    name = "row7"
    create(kinesis, name, 1)
    for i in range(3):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes([i]))
    advance(3600)
    kinesis.split_shard(StreamName=name, ShardToSplit=SHARD, NewStartingHashKey=str(2**127))
    active(kinesis, name)
    children = ids(shards(kinesis, name))[1:]
    at_horizon = lambda: ids(shards(kinesis, name, ShardFilter={"Type": "AT_TRIM_HORIZON"}))
    equal(at_horizon(), [SHARD])
    advance(22 * 3600)
    equal(len(read(kinesis, iterator(kinesis, name, SHARD))[0]), 3, "records of 23 hours ago")
    advance(2 * 3600 - 1800)
    # The records are past their 24 hours; the shard was closed less than 24 hours ago.
    records, last = read(kinesis, iterator(kinesis, name, SHARD))
    equal((records, len(last["ChildShards"])), ([], 2))
    equal(at_horizon(), [SHARD])
    advance(3600)
    equal(at_horizon(), children)
    equal(ids(shards(kinesis, name)), children, "an expired parent is no longer listed")
    refused(
        "ResourceNotFoundException",
        kinesis.get_shard_iterator,
        StreamName=name,
        ShardId=SHARD,
        ShardIteratorType="TRIM_HORIZON",
    )


@check("row 8: FROM_TIMESTAMP leaves out what was closed before")
def _():
    name = "row8"
    create(kinesis, name, 1)
    advance(60)
    kinesis.split_shard(StreamName=name, ShardToSplit=SHARD, NewStartingHashKey=str(2**127))
    active(kinesis, name)
    advance(60)
    moment = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    records, _last = read(kinesis, iterator(kinesis, name, moment["ShardId"]))
    arrival = records[0]["ApproximateArrivalTimestamp"]
    parent, *children = ids(shards(kinesis, name))
    for kind in ("FROM_TIMESTAMP", "AT_TIMESTAMP"):
        found = shards(kinesis, name, ShardFilter={"Type": kind, "Timestamp": arrival})
        equal(ids(found), children, kind)


@check("row 13: MillisBehindLatest grows with the age of what is unread")
def _():
    name = "row13"
    create(kinesis, name, 1)
    for _ in range(2):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    advance(90)
    at = iterator(kinesis, name, SHARD)
    answer = kinesis.get_records(ShardIterator=at, Limit=1)
    assert 90_000 <= answer["MillisBehindLatest"] < 120_000, answer["MillisBehindLatest"]
    answer = kinesis.get_records(ShardIterator=answer["NextShardIterator"], Limit=1)
    equal(answer["MillisBehindLatest"], 0)


run("boto3 clock")
