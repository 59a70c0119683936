"""Registered consumers, SubscribeToShard and UpdateShardCount as boto3 sees them, by rows.

boto3 reads event streams over HTTP/1.1. Expected values come from the API reference and the
developer guide.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import EventStreamError
from checks import *

slow = client(endpoint=os.environ["SLOW_ENDPOINT"])
kinesis = client()
clocked = client(endpoint=os.environ["CLOCK_ENDPOINT"])
FIRST = "shardId-000000000000"
TOP = 2**128 - 1


def arn_of(kinesis, name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]


def registered(kinesis, name, consumer):
    """A consumer of the stream, ACTIVE; its ARN."""
    stream = arn_of(kinesis, name)
    found = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName=consumer)
    arn = found["Consumer"]["ConsumerARN"]
    until(lambda: consumer_status(kinesis, arn) == "ACTIVE", f"{consumer} is ACTIVE")
    return arn


def consumer_status(kinesis, arn):
    found = kinesis.describe_stream_consumer(ConsumerARN=arn)
    return found["ConsumerDescription"]["ConsumerStatus"]


def subscribe(kinesis, consumer, shard, kind="TRIM_HORIZON", **position):
    answer = kinesis.subscribe_to_shard(
        ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": kind, **position}
    )
    return answer["EventStream"]


def continued(consumer, found):
    """A subscription to the first shard where another one that gave these events was left."""
    last = found[-1]["ContinuationSequenceNumber"]
    return subscribe(clocked, consumer, FIRST, "AFTER_SEQUENCE_NUMBER", SequenceNumber=last)


def events(subscription):
    """The events, which come at least every some seconds; the end of them has a bound."""
    end = time.monotonic() + 30
    for event in subscription:
        assert time.monotonic() < end, "no end of events within 30 s"
        equal(list(event), ["SubscribeToShardEvent"])
        yield event["SubscribeToShardEvent"]


def numbers(found):
    return [r["SequenceNumber"] for event in found for r in event["Records"]]


def is_end(event):
    return event.get("ContinuationSequenceNumber") is None


def ends_with_children(found, expected):
    """Children, and no continuation, on the last event alone."""
    assert found, "no events"
    for event in found[:-1]:
        assert not event.get("ChildShards") and not is_end(event), event
    assert is_end(found[-1]), found[-1]["ContinuationSequenceNumber"]
    equal(
        sorted(found[-1]["ChildShards"], key=lambda c: c["ShardId"]),
        [
            {
                "ShardId": c["ShardId"],
                "ParentShards": parents_of(c),
                "HashKeyRange": c["HashKeyRange"],
            }
            for c in expected
        ],
    )


@check("row 20: consumers: registered, described, listed in pages, deregistered")
def _():
    name = "row20"
    create(slow, name, 1)
    stream = arn_of(slow, name)
    answer = slow.register_stream_consumer(StreamARN=stream, ConsumerName="one")["Consumer"]
    arn = answer["ConsumerARN"]
    created = answer["ConsumerCreationTimestamp"]
    equal(arn, f"{stream}/consumer/one:{int(created.timestamp())}")
    equal((answer["ConsumerName"], answer["ConsumerStatus"]), ("one", "CREATING"))
    refused(
        "ResourceInUseException",
        slow.register_stream_consumer,
        StreamARN=stream,
        ConsumerName="one",
    )
    until(lambda: consumer_status(slow, arn) == "ACTIVE", "the consumer is ACTIVE")
    active_one = {**answer, "ConsumerStatus": "ACTIVE"}
    described = {**active_one, "StreamARN": stream}
    for members in ({"ConsumerARN": arn}, {"StreamARN": stream, "ConsumerName": "one"}):
        equal(slow.describe_stream_consumer(**members)["ConsumerDescription"], described)
    registered(slow, name, "two")
    pages = slow.get_paginator("list_stream_consumers").paginate(
        StreamARN=stream, PaginationConfig={"PageSize": 1}
    )
    pages = [page["Consumers"] for page in pages]
    equal([len(page) for page in pages if page], [1, 1])
    listed = {c["ConsumerName"]: c for page in pages for c in page}
    equal(sorted(listed), ["one", "two"])
    equal(listed["one"], active_one)
    summary = slow.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    equal(summary["ConsumerCount"], 2)
    refused("ResourceInUseException", slow.delete_stream, StreamName=name)
    slow.deregister_stream_consumer(ConsumerARN=arn)
    equal(consumer_status(slow, arn), "DELETING")

    def gone():
        try:
            return slow.describe_stream_consumer(ConsumerARN=arn) is None
        except ClientError as error:
            return error.response["Error"]["Code"] == "ResourceNotFoundException"

    until(gone, "the consumer is gone")
    left = slow.list_stream_consumers(StreamARN=stream)["Consumers"]
    equal([c["ConsumerName"] for c in left], ["two"])
    slow.delete_stream(StreamName=name, EnforceConsumerDeletion=True)


@check("row 20: six consumers at once: the sixth is refused")
def _():
    def attempt(turn):
        name = f"row20-creating-{turn}"
        create(slow, name, 1)
        stream = arn_of(slow, name)

        def register(i):
            try:
                slow.register_stream_consumer(StreamARN=stream, ConsumerName=f"c{i}")
                return None
            except ClientError as error:
                return error.response["Error"]["Code"]

        begin = time.monotonic()
        with ThreadPoolExecutor(6) as pool:
            told = list(pool.map(register, range(6)))
        took = time.monotonic() - begin
        slow.delete_stream(StreamName=name, EnforceConsumerDeletion=True)
        return told, took

    for turn in range(5):
        told, took = attempt(turn)
        # A consumer is CREATING for a second here: on a slow machine the sixth may come too late.
        if took < 0.9:
            break
    equal(sorted(told, key=str), ["LimitExceededException"] + [None] * 5)


@check("row 20: the 21st consumer of a stream is refused")
def _():
    name = "row20-all"
    create(clocked, name, 1)
    stream = arn_of(clocked, name)

    def register(i):
        advance(2)
        clocked.register_stream_consumer(StreamARN=stream, ConsumerName=f"c{i}")

    for i in range(20):
        register(i)
    summary = clocked.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    equal(summary["ConsumerCount"], 20)
    advance(2)
    refused(
        "LimitExceededException",
        clocked.register_stream_consumer,
        StreamARN=stream,
        ConsumerName="c20",
    )
    clocked.delete_stream(StreamName=name, EnforceConsumerDeletion=True)


@check("rows 4 and 5: a shard closed before: every record, then the children and the end")
def _():
    name = "row5"
    create(kinesis, name, 1)
    sent = []
    for i in range(3):
        entries = [{"PartitionKey": f"{j}", "Data": b"%d:%d" % (i, j)} for j in range(200)]
        answer = kinesis.put_records(StreamName=name, Records=entries)
        equal(answer["FailedRecordCount"], 0)
        sent += [
            (r["SequenceNumber"], e["PartitionKey"], e["Data"])
            for r, e in zip(answer["Records"], entries)
        ]
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=str(2**127))
    active(kinesis, name)
    consumer = registered(kinesis, name, "closed")
    found = list(events(subscribe(kinesis, consumer, FIRST)))
    got = [
        (r["SequenceNumber"], r["PartitionKey"], r["Data"]) for e in found for r in e["Records"]
    ]
    equal(got, sent)
    ends_with_children(found, shards(kinesis, name)[1:])
    equal(found[-1]["MillisBehindLatest"], 0)


@check("row 5: a split under a live subscription: what came before, the children, the end")
def _():
    name = "row5-live"
    create(kinesis, name, 1)
    consumer = registered(kinesis, name, "live")
    sent = [kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"0")["SequenceNumber"]]
    found = []
    for event in events(subscribe(kinesis, consumer, FIRST)):
        found.append(event)
        if numbers(found) == sent and len(sent) < 3:
            # Each is read before the next is written: so the last two come as news.
            put = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"%d" % len(sent))
            sent.append(put["SequenceNumber"])
            if len(sent) == 3:
                kinesis.split_shard(
                    StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=str(2**127)
                )
    equal(numbers(found), sent)
    ends_with_children(found, shards(kinesis, name)[1:])


@check("a continuation goes on where the subscription was left")
def _():
    name = "continuation"
    create(clocked, name, 1)
    consumer = registered(clocked, name, "again")

    def put(text):
        return clocked.put_record(StreamName=name, PartitionKey="k", Data=text)["SequenceNumber"]

    sent = [put(b"a"), put(b"b")]
    subscription = subscribe(clocked, consumer, FIRST)
    found = []
    for event in events(subscription):
        found.append(event)
        if numbers(found) == sent:
            break
    subscription.close()
    sent.append(put(b"c"))
    advance(6)
    subscription = continued(consumer, found)
    for event in events(subscription):
        if event["Records"]:
            equal(numbers([event]), sent[2:])
            break
    subscription.close()


@check("row 3: a subscription ends after five minutes; its continuation goes on without a gap")
def _():
    name = "five-minutes"
    create(clocked, name, 1)
    consumer = registered(clocked, name, "patient")
    sent, found = [], []

    def put(count):
        for _ in range(count):
            put = clocked.put_record(StreamName=name, PartitionKey="k", Data=b"%d" % len(sent))
            sent.append(put["SequenceNumber"])

    put(3)
    begin = time.monotonic()
    subscription = subscribe(clocked, consumer, FIRST)
    stream = events(subscription)
    while numbers(found) != sent:
        found.append(next(stream))
    # At 290 seconds it goes on, at 301 it is over.
    advance(290 - int(time.monotonic() - begin))
    put(2)
    while numbers(found) != sent:
        found.append(next(stream))
    advance(11)
    put(2)
    found += stream
    assert not is_end(found[-1]) and not found[-1].get("ChildShards"), found[-1]
    put(2)
    subscription = continued(consumer, found)
    stream = events(subscription)
    while len(numbers(found)) < len(sent):
        found.append(next(stream))
    equal(numbers(found), sent)
    subscription.close()


@check("row 3: one call a second; within 5 seconds in use; then it takes over")
def _():
    name = "row3"
    create(clocked, name, 1)
    consumer = registered(clocked, name, "guarded")
    again = {
        "ConsumerARN": consumer,
        "ShardId": FIRST,
        "StartingPosition": {"Type": "TRIM_HORIZON"},
    }
    first = subscribe(clocked, consumer, FIRST)
    ended, failures = threading.Event(), []

    def drain():
        try:
            for event in events(first):
                assert not is_end(event) and not event.get("ChildShards"), event
        except EventStreamError as error:
            # The former connection "expires or fails with a ResourceInUseException".
            if "(ResourceInUseException)" not in str(error):
                failures.append(error)
        except Exception as error:  # goes to the check's own thread
            failures.append(error)
        ended.set()

    threading.Thread(target=drain, daemon=True).start()
    # The second is over at once where this machine is slow.
    early = ["LimitExceededException", "ResourceInUseException"]
    refused(early, clocked.subscribe_to_shard, **again)
    advance(2)
    refused("ResourceInUseException", clocked.subscribe_to_shard, **again)
    assert not ended.is_set(), "the first goes on"
    advance(4)
    second = subscribe(clocked, consumer, FIRST)
    assert ended.wait(15), "the first did not end"
    equal(failures, [])
    assert next(events(second))["ContinuationSequenceNumber"]
    # Another shard's or consumer's subscription is not in the way.
    other = subscribe(clocked, registered(clocked, name, "other"), FIRST)
    next(events(other))
    other.close()
    # Five minutes are a subscription's life.
    advance(301)
    for event in events(second):
        assert not is_end(event), event


def parents_of(shard):
    return [shard[p] for p in ("ParentShardId", "AdjacentParentShardId") if p in shard]


def span(shard):
    found = shard["HashKeyRange"]
    return int(found["StartingHashKey"]), int(found["EndingHashKey"])


def lineage(name, begin, target):
    """Checks the shards of a stream of `begin` shards that was brought to `target` of them."""
    found = shards(kinesis, name)
    known = {s["ShardId"]: s for s in found}
    still = [s for s in found if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
    equal(len(still), target, "open shards")
    children = {shard: [] for shard in known}
    for i, shard in enumerate(found):
        parents = parents_of(shard)
        equal(bool(parents), i >= begin, f"parents of {shard['ShardId']}")
        for parent in parents:
            children[parent].append(shard)
            ended = known[parent]["SequenceNumberRange"]["EndingSequenceNumber"]
            born = shard["SequenceNumberRange"]["StartingSequenceNumber"]
            assert int(ended) < int(born), (parent, shard)
        if len(parents) == 2:
            below, above = sorted(span(known[p]) for p in parents)
            equal(below[1] + 1, above[0], "merged ranges touch")
            equal(span(shard), (below[0], above[1]), "a merge's range")
    for shard, born in children.items():
        if known[shard] in still:
            equal(born, [], f"children of {shard}")
        elif len(born) == 2:
            low, high = sorted(span(c) for c in born)
            equal(low[1] + 1, high[0], "split ranges touch")
            equal((low[0], high[1]), span(known[shard]), "a split's ranges")
        else:
            equal(len(born), 1, f"children of {shard}")
            equal(len(parents_of(born[0])), 2, f"parents of {born[0]['ShardId']}")
    at = 0
    for low, high in sorted(map(span, still)):
        equal(low, at, "open ranges touch")
        # Uniform scaling: equal ranges, but for rounding.
        assert abs((high - low) * target - TOP) < 2**100, (low, high)
        at = high + 1
    equal(at, TOP + 1)


@check("row 9: UpdateShardCount from 3 to 5: by splits and merges, every shard has parents")
def _():
    name = "row9"
    create(kinesis, name, 3)
    answer = kinesis.update_shard_count(
        StreamName=name, TargetShardCount=5, ScalingType="UNIFORM_SCALING"
    )
    told = [answer[k] for k in ("StreamName", "CurrentShardCount", "TargetShardCount")]
    equal(told, [name, 3, 5])
    active(kinesis, name)
    lineage(name, 3, 5)
    kinesis.update_shard_count(StreamName=name, TargetShardCount=3, ScalingType="UNIFORM_SCALING")
    active(kinesis, name)
    lineage(name, 3, 3)


@check("row 9: at most double, at least half, ten in 24 hours")
def _():
    name = "row9-limits"
    create(kinesis, name, 4)

    def to(count):
        return {
            "StreamName": name,
            "TargetShardCount": count,
            "ScalingType": "UNIFORM_SCALING",
        }

    too_far = ["InvalidArgumentException", "LimitExceededException"]
    refused(too_far, kinesis.update_shard_count, **to(9))
    refused(too_far, kinesis.update_shard_count, **to(1))
    for i in range(10):
        kinesis.update_shard_count(**to(4 + (i + 1) % 2))
        active(kinesis, name)
    refused("LimitExceededException", kinesis.update_shard_count, **to(5))


run("boto3 consumers")
