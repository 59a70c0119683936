"""Limits to the byte and to the call, where the clock is moved: large records, calls of the control
plane, the pace of enhanced fan-out. By rows; expected values come from the API reference and the
developer guide.
"""

import os
import time

from checks import *

kinesis = client(endpoint=os.environ["CLOCK_ENDPOINT"])
loose = client(endpoint=os.environ["CLOCK_ENDPOINT"], validate=False)
SHARD = "shardId-000000000000"
KIB, MIB = 1 << 10, 1 << 20


def summary(name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]


def to_the_byte(name, limit):
    """A record of `limit` bytes, of which 256 are its key's, is taken; one more byte is refused."""
    key = "k" * 256
    fits = os.urandom(limit - len(key))
    advance(30)  # what a large record borrowed is paid back
    refused(INVALID, loose.put_record, StreamName=name, PartitionKey=key, Data=fits + b"x")
    one_more = [
        {"PartitionKey": "k", "Data": b"small"},
        {"PartitionKey": key, "Data": fits + b"x"},
    ]
    refused(INVALID, loose.put_records, StreamName=name, Records=one_more)
    put = kinesis.put_record(StreamName=name, PartitionKey=key, Data=fits)
    advance(30)
    answer = kinesis.put_records(
        StreamName=name, Records=[{"PartitionKey": key, "Data": fits}]
    )
    equal(answer["FailedRecordCount"], 0)
    for number in (put["SequenceNumber"], answer["Records"][0]["SequenceNumber"]):
        advance(10)
        at = iterator(kinesis, name, SHARD, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number)
        (record,) = kinesis.get_records(ShardIterator=at, Limit=1)["Records"]
        assert record["PartitionKey"] == key and record["Data"] == fits, "bytes read back"


@check("row 15: a stream's record limit, 1 to 10 MiB, counts data and key, to the byte")
def _():
    name = "row15"
    kinesis.create_stream(StreamName=name, ShardCount=1)
    active(kinesis, name)
    arn = summary(name)["StreamARN"]
    equal(summary(name)["MaxRecordSizeInKiB"], 1024)
    for outside in (1023, 10241):
        refused(
            "ValidationException",
            loose.update_max_record_size,
            StreamARN=arn,
            MaxRecordSizeInKiB=outside,
        )
    for kib in (1024, 1025, 10240):
        kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=kib)
        active(kinesis, name)
        equal(summary(name)["MaxRecordSizeInKiB"], kib)
        to_the_byte(name, kib * KIB)
    # Smaller again: what is stored stays.
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=1024)
    active(kinesis, name)
    refused(INVALID, loose.put_record, StreamName=name, PartitionKey="k", Data=b"x" * MIB)
    created = "row15-created"
    kinesis.create_stream(StreamName=created, ShardCount=1, MaxRecordSizeInKiB=2048)
    active(kinesis, created)
    equal(summary(created)["MaxRecordSizeInKiB"], 2048)


@check("row 15: a request of 10 MiB is taken, keys included; a byte more is refused")
def _():
    name = "row15-request"
    create(kinesis, name, 12)
    low = [s["HashKeyRange"]["StartingHashKey"] for s in shards(kinesis, name)]
    entry = lambda i, size: {
        "PartitionKey": "key",
        "ExplicitHashKey": low[i],
        "Data": b"x" * (size - 3),
    }
    whole = [entry(i, MIB) for i in range(9)] + [entry(9, MIB - 3), entry(10, 3)]
    equal(sum(len(e["Data"]) + len(e["PartitionKey"]) for e in whole), 10 * MIB)
    more = whole[:-1] + [{**whole[-1], "Data": b"x"}]
    refused(INVALID, loose.put_records, StreamName=name, Records=more)
    answer = kinesis.put_records(StreamName=name, Records=whole)
    equal((answer["FailedRecordCount"], len(answer["Records"])), (0, 11))


@check("row 21: DryRun of the five data operations: one a second over all, nothing stored")
def _():
    name = "row21-all"
    create(kinesis, name, 1)
    stream = summary(name)["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName="dry")
    consumer = consumer["Consumer"]["ConsumerARN"]
    at = iterator(kinesis, name, SHARD)
    calls = [
        ("PutRecord", kinesis.put_record, {"StreamName": name, "PartitionKey": "k", "Data": b"x"}),
        (
            "PutRecords",
            kinesis.put_records,
            {"StreamName": name, "Records": [{"PartitionKey": "k", "Data": b"x"}]},
        ),
        (
            "GetShardIterator",
            kinesis.get_shard_iterator,
            {"StreamName": name, "ShardId": SHARD, "ShardIteratorType": "LATEST"},
        ),
        ("GetRecords", kinesis.get_records, {"ShardIterator": at}),
        (
            "SubscribeToShard",
            kinesis.subscribe_to_shard,
            {
                "ConsumerARN": consumer,
                "ShardId": SHARD,
                "StartingPosition": {"Type": "TRIM_HORIZON"},
            },
        ),
    ]
    for operation, call, members in calls:
        advance(2)
        text = refused("DryRunOperationException", call, **members, DryRun=True)
        assert operation in text and "would have succeeded" in text, text
        # However slow this machine is, two calls within a second come about in some.
        until(
            lambda: "would have succeeded"
            not in refused(
                ["DryRunOperationException", "ThrottlingException"], call, **members, DryRun=True
            ),
            "the rate of DryRun calls is met",
        )
    advance(2)
    equal(kinesis.get_records(ShardIterator=at)["Records"], [])
    # The subscription that was not made is not in the way of one.
    kinesis.subscribe_to_shard(**calls[4][2])["EventStream"].close()
    # What the real call would be refused for, DryRun is.
    advance(2)
    nowhere = {"StreamName": "nowhere", "PartitionKey": "k", "Data": b"x", "DryRun": True}
    refused("ResourceNotFoundException", kinesis.put_record, **nowhere)


def met(per_second, call, *members):
    """Calls until the limit is met: as many as it allows in the time that the calls took. Each has its
    own members where several are given."""
    advance(5)
    begin = time.monotonic()
    for accepted in range(500):
        given = members[accepted % len(members)] if members else {}
        try:
            call(**given)
        except ClientError as error:
            equal(error.response["Error"]["Code"], "LimitExceededException", call.__name__)
            break
    else:
        raise AssertionError(f"{call.__name__}: 500 calls were accepted")
    took = time.monotonic() - begin
    allowed = per_second * (1 + took) + 1
    assert per_second <= accepted <= allowed, (call.__name__, accepted, per_second, took)
    advance(5)


@check("row 22: calls per second of the control plane: the next one is refused")
def _():
    name = "row22"
    create(kinesis, name, 200)
    found = shards(kinesis, name)
    stream = summary(name)["StreamARN"]
    middle = lambda s: str((int(s["StartingHashKey"]) + int(s["EndingHashKey"])) // 2)
    splits = [
        {
            "StreamName": name,
            "ShardToSplit": shard["ShardId"],
            "NewStartingHashKey": middle(shard["HashKeyRange"]),
        }
        for shard in found[:100]
    ]
    met(5, kinesis.split_shard, *splits)
    pairs = [
        {
            "StreamName": name,
            "ShardToMerge": found[i]["ShardId"],
            "AdjacentShardToMerge": found[i + 1]["ShardId"],
        }
        for i in range(100, 200, 2)
    ]
    met(5, kinesis.merge_shards, *pairs)
    by_name = {"StreamName": name}
    met(1, kinesis.describe_limits)
    met(5, kinesis.list_streams)
    met(10, kinesis.describe_stream, by_name)
    met(20, kinesis.describe_stream_summary, by_name)
    met(5, kinesis.list_tags_for_stream, by_name)
    met(5, kinesis.add_tags_to_stream, {**by_name, "Tags": {"a": "b"}})
    met(5, kinesis.list_stream_consumers, {"StreamARN": stream})
    consumers = [{"StreamARN": stream, "ConsumerName": f"c{i}"} for i in range(20)]
    met(5, kinesis.register_stream_consumer, *consumers)
    met(20, kinesis.describe_stream_consumer, consumers[0])
    met(5, kinesis.create_stream, *({"StreamName": f"{name}-{i}", "ShardCount": 1} for i in range(200)))
    # Another stream's calls are counted by themselves.
    create(kinesis, f"{name}-other", 1)
    kinesis.list_tags_for_stream(StreamName=f"{name}-other")


@check("row 22: GetShardIterator: five a second and shard")
def _():
    name = "row22-iterators"
    create(kinesis, name, 2)
    advance(2)
    of = lambda shard: {
        "StreamName": name,
        "ShardId": shard["ShardId"],
        "ShardIteratorType": "TRIM_HORIZON",
    }
    one, other = shards(kinesis, name)
    begin = time.monotonic()
    accepted, text = until_refused(THROTTLED, kinesis.get_shard_iterator, **of(one))
    assert 5 <= accepted <= 5 * (1 + time.monotonic() - begin) + 1, accepted
    assert one["ShardId"] in text, text
    kinesis.get_shard_iterator(**of(other))


@check("row 3: fan-out has 2 MiB a second for each consumer and shard")
def _():
    name = "row3-pace"
    create(kinesis, name, 1)
    count = 9
    for i in range(count):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes([i]) * (MIB - 1))
        advance(2)
    stream = summary(name)["StreamARN"]

    def timed(consumer):
        consumer = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName=consumer)
        begin, got = time.monotonic(), b""
        subscription = kinesis.subscribe_to_shard(
            ConsumerARN=consumer["Consumer"]["ConsumerARN"],
            ShardId=SHARD,
            StartingPosition={"Type": "TRIM_HORIZON"},
        )["EventStream"]
        for event in subscription:
            got += b"".join(r["Data"][:1] for r in event["SubscribeToShardEvent"]["Records"])
            if len(got) == count:
                break
        subscription.close()
        equal(got, bytes(range(count)))
        return time.monotonic() - begin

    # A second's allowance at once and an event ahead of it, the rest at its pace; not much slower.
    took = timed("alone")
    assert (count - 2 - 1) / 2 - 0.2 <= took < 15, f"{count} MiB took {took:.2f} s"


run("boto3 limits")
