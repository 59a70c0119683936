"""What a stream is set to: tags in both generations of the API, its mode, how its records are
distributed. Expected values come from the API reference and the developer guide.
"""

import os

from checks import *

kinesis = client(endpoint=os.environ["CLOCK_ENDPOINT"])
loose = client(endpoint=os.environ["CLOCK_ENDPOINT"], validate=False)


def summary(name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]


def on_demand(name, **members):
    mode = {"StreamMode": "ON_DEMAND"}
    kinesis.create_stream(StreamName=name, StreamModeDetails=mode, **members)
    active(kinesis, name)
    return summary(name)["StreamARN"]


@check("tags of a stream: added, listed in pages, replaced, removed; at most 50")
def _():
    name = "tags"
    kinesis.create_stream(StreamName=name, ShardCount=1, Tags={"born": "with"})
    active(kinesis, name)

    def listed(**members):
        answer = kinesis.list_tags_for_stream(StreamName=name, **members)
        return {t["Key"]: t["Value"] for t in answer["Tags"]}, answer["HasMoreTags"]

    equal(listed(), ({"born": "with"}, False))
    kinesis.add_tags_to_stream(StreamName=name, Tags={"a": "1", "b": "", "ключ": "значение"})
    kinesis.add_tags_to_stream(StreamName=name, Tags={"a": "2"})
    every = {"born": "with", "a": "2", "b": "", "ключ": "значение"}
    equal(listed(), (every, False))
    found, more = {}, True
    while more:
        start = {"ExclusiveStartTagKey": list(found)[-1]} if found else {}
        page, more = listed(Limit=1, **start)
        equal(len(page), 1)
        found.update(page)
        advance(1)
    equal(found, every)
    kinesis.remove_tags_from_stream(StreamName=name, TagKeys=["born", "never there"])
    equal(set(listed()[0]), {"a", "b", "ключ"})
    advance(2)
    for wrong in ({"k" * 129: "v"}, {"k": "v" * 257}):
        refused(INVALID, loose.add_tags_to_stream, StreamName=name, Tags=wrong)
    kinesis.add_tags_to_stream(StreamName=name, Tags={f"t{i}": "x" for i in range(47)})
    advance(2)
    refused(
        ["LimitExceededException", *INVALID],
        kinesis.add_tags_to_stream,
        StreamName=name,
        Tags={"one": "more"},
    )
    equal(len(listed()[0]), 50)


@check("tags of any resource by its ARN: the same tags of a stream; a consumer's own")
def _():
    name = "tags-arn"
    create(kinesis, name, 1)
    stream = summary(name)["StreamARN"]
    consumer = kinesis.register_stream_consumer(
        StreamARN=stream, ConsumerName="tagged", Tags={"born": "with"}
    )["Consumer"]["ConsumerARN"]

    def listed(arn):
        return {t["Key"]: t["Value"] for t in kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"]}

    equal((listed(stream), listed(consumer)), ({}, {"born": "with"}))
    kinesis.tag_resource(ResourceARN=stream, Tags={"s": "1", "both": "stream"})
    kinesis.tag_resource(ResourceARN=consumer, Tags={"both": "consumer"})
    equal(listed(stream), {"s": "1", "both": "stream"})
    equal(listed(consumer), {"born": "with", "both": "consumer"})
    # One set of tags, whichever generation is asked.
    older = kinesis.list_tags_for_stream(StreamName=name)["Tags"]
    equal({t["Key"]: t["Value"] for t in older}, listed(stream))
    kinesis.remove_tags_from_stream(StreamName=name, TagKeys=["s"])
    kinesis.untag_resource(ResourceARN=consumer, TagKeys=["born"])
    equal((listed(stream), listed(consumer)), ({"both": "stream"}, {"both": "consumer"}))
    for unknown in (stream + "x", consumer.replace("tagged", "other")):
        refused("ResourceNotFoundException", kinesis.list_tags_for_resource, ResourceARN=unknown)


@check("a stream on demand: four shards, no resharding by hand, no shard count")
def _():
    name = "on-demand"
    arn = on_demand(name)
    found = summary(name)
    equal(found["StreamModeDetails"], {"StreamMode": "ON_DEMAND"})
    equal(found["OpenShardCount"], 4)
    equal(found["RecordDistributionStrategy"], "USER_PARTITION_KEY")
    first, second = ids(shards(kinesis, name))[:2]
    not_by_hand = ["ValidationException", "InvalidArgumentException"]
    refused(
        not_by_hand,
        kinesis.split_shard,
        StreamName=name,
        ShardToSplit=first,
        NewStartingHashKey="10",
    )
    refused(
        not_by_hand,
        kinesis.merge_shards,
        StreamName=name,
        ShardToMerge=first,
        AdjacentShardToMerge=second,
    )
    refused(
        not_by_hand,
        kinesis.update_shard_count,
        StreamARN=arn,
        TargetShardCount=8,
        ScalingType="UNIFORM_SCALING",
    )
    refused(
        not_by_hand,
        kinesis.create_stream,
        StreamName="on-demand-counted",
        ShardCount=2,
        StreamModeDetails={"StreamMode": "ON_DEMAND"},
    )


@check("UpdateStreamMode: there and back, shards and records stay; twice in 24 hours")
def _():
    name = "mode"
    create(kinesis, name, 3)
    arn = summary(name)["StreamARN"]
    put = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"kept")
    to = lambda mode: {"StreamARN": arn, "StreamModeDetails": {"StreamMode": mode}}

    def change(mode):
        kinesis.update_stream_mode(**to(mode))
        active(kinesis, name)
        equal(summary(name)["StreamModeDetails"], {"StreamMode": mode})
        equal(summary(name)["OpenShardCount"], 3)
        # Told of streams on demand only.
        equal("RecordDistributionStrategy" in summary(name), mode == "ON_DEMAND")

    refused(INVALID, loose.update_stream_mode, **to("SOMETIMES"))
    change("ON_DEMAND")
    change("PROVISIONED")
    refused("LimitExceededException", kinesis.update_stream_mode, **to("ON_DEMAND"))
    advance(24 * 3600 - 600)
    records, _last = read(kinesis, iterator(kinesis, name, put["ShardId"]))
    equal([r["Data"] for r in records], [b"kept"])
    advance(700)
    change("ON_DEMAND")


@check("a stream that distributes records itself: no keys needed, given ones are told to readers")
def _():
    name = "auto"
    arn = on_demand(name, RecordDistributionStrategy="AUTO")
    equal(summary(name)["RecordDistributionStrategy"], "AUTO")
    sent = {}

    def note(answer, key, data):
        sent[data] = (answer["ShardId"], answer["SequenceNumber"], key)

    for i in range(20):
        data = b"single %d" % i
        note(kinesis.put_record(StreamName=name, Data=data), None, data)
    for i in range(20):
        data = b"keyed %d" % i
        # Neither the key nor the hash key places it.
        answer = kinesis.put_record(
            StreamName=name, PartitionKey="same", ExplicitHashKey="0", Data=data
        )
        note(answer, "same", data)
    entries = [{"Data": b"batch %d" % i} for i in range(100)]
    answer = kinesis.put_records(StreamName=name, Records=entries)
    equal(answer["FailedRecordCount"], 0)
    for entry, result in zip(entries, answer["Records"], strict=True):
        note(result, None, entry["Data"])
    got = {}
    for shard in ids(shards(kinesis, name)):
        records, _last = read(kinesis, iterator(kinesis, name, shard))
        for r in records:
            got[r["Data"]] = (shard, r["SequenceNumber"], r.get("PartitionKey"))
            equal("PartitionKey" in r, sent[r["Data"]][2] is not None, "an absent key is absent")
    equal(got, sent)
    equal({place[0] for place in got.values()}, set(ids(shards(kinesis, name))), "shards used")
    keyed = {place[0] for data, place in got.items() if data.startswith(b"keyed")}
    assert len(keyed) > 1, "the key placed the records"
    refused(
        "InvalidArgumentException",
        kinesis.put_record,
        StreamName=name,
        Data=b"x",
        SequenceNumberForOrdering=got[b"single 0"][1],
    )
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="auto")
    subscription = kinesis.subscribe_to_shard(
        ConsumerARN=consumer["Consumer"]["ConsumerARN"],
        ShardId=got[b"single 0"][0],
        StartingPosition={
            "Type": "AT_SEQUENCE_NUMBER",
            "SequenceNumber": got[b"single 0"][1],
        },
    )["EventStream"]
    record = next(iter(subscription))["SubscribeToShardEvent"]["Records"][0]
    subscription.close()
    assert record["Data"] == b"single 0" and "PartitionKey" not in record, record


@check("UpdateStreamRecordDistributionStrategy: at once, there and back; on demand only")
def _():
    name = "auto-later"
    arn = on_demand(name)
    keyless = {"StreamName": name, "Data": b"x"}
    refused(INVALID, kinesis.put_record, **keyless)
    refused(INVALID, kinesis.put_records, StreamName=name, Records=[{"Data": b"x"}])
    change = kinesis.update_stream_record_distribution_strategy
    change(StreamARN=arn, RecordDistributionStrategy="AUTO")
    equal(summary(name)["StreamStatus"], "ACTIVE")
    equal(summary(name)["RecordDistributionStrategy"], "AUTO")
    kinesis.put_record(**keyless)
    change(StreamARN=arn, RecordDistributionStrategy="USER_PARTITION_KEY")
    refused(INVALID, kinesis.put_record, **keyless)
    create(kinesis, "auto-never", 1)
    provisioned = summary("auto-never")["StreamARN"]
    refused(
        "InvalidArgumentException",
        change,
        StreamARN=provisioned,
        RecordDistributionStrategy="AUTO",
    )
    refused(
        "InvalidArgumentException",
        kinesis.create_stream,
        StreamName="auto-wrong",
        ShardCount=1,
        RecordDistributionStrategy="AUTO",
    )


@check("encryption and shard-level metrics are told as they were set")
def _():
    name = "marked"
    create(kinesis, name, 1)
    key = {"StreamName": name, "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
    kinesis.start_stream_encryption(**key)
    active(kinesis, name)
    equal((summary(name)["EncryptionType"], summary(name)["KeyId"]), ("KMS", key["KeyId"]))
    put = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    equal(put["EncryptionType"], "KMS")
    kinesis.stop_stream_encryption(**key)
    active(kinesis, name)
    equal(summary(name)["EncryptionType"], "NONE")
    answer = kinesis.enable_enhanced_monitoring(
        StreamName=name, ShardLevelMetrics=["IncomingBytes", "IncomingRecords"]
    )
    equal(answer["CurrentShardLevelMetrics"], [])
    equal(sorted(answer["DesiredShardLevelMetrics"]), ["IncomingBytes", "IncomingRecords"])
    active(kinesis, name)
    advance(2)
    kinesis.disable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["IncomingBytes"])
    active(kinesis, name)
    equal(summary(name)["EnhancedMonitoring"], [{"ShardLevelMetrics": ["IncomingRecords"]}])


run("boto3 settings")
