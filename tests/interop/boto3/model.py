"""Every operation and member of the service's own model, as boto3 ships it, against the endpoint's raw
JSON: what is not served says so by name, answers hold what the model requires and nothing that it does
not know, and a value of a wrong type is refused wherever the model has a member.
"""

import base64
import json
import os
import urllib.error
import urllib.request

import botocore.session
from botocore.eventstream import EventStreamBuffer
from checks import *

MODEL = botocore.session.get_session().get_service_model("kinesis")
ENDPOINT = os.environ["CLOCK_ENDPOINT"]
SHARD = "shardId-000000000000"

SERVED = """AddTagsToStream CreateStream DecreaseStreamRetentionPeriod DeleteStream
    DeregisterStreamConsumer DescribeLimits DescribeStream DescribeStreamConsumer
    DescribeStreamSummary DisableEnhancedMonitoring EnableEnhancedMonitoring GetRecords
    GetShardIterator IncreaseStreamRetentionPeriod ListShards ListStreamConsumers ListStreams
    ListTagsForResource ListTagsForStream MergeShards PutRecord PutRecords RegisterStreamConsumer
    RemoveTagsFromStream SplitShard StartStreamEncryption StopStreamEncryption SubscribeToShard
    TagResource UntagResource UpdateMaxRecordSize UpdateShardCount UpdateStreamMode
    UpdateStreamRecordDistributionStrategy""".split()
# Queues, channels, policies, and an account's commitment.
NOT_SERVED = """AcknowledgeDeadLetterQueueRecords AcknowledgeQueueRecords CreateChannel CreateQueue
    DeleteChannel DeleteQueue DeleteResourcePolicy DescribeAccountSettings DescribeChannel
    DescribeQueue GetResourcePolicy ListChannels ListQueues PutResourcePolicy
    ReceiveDeadLetterQueueRecords ReceiveQueueRecords RestoreDeadLetterQueueRecords
    UpdateAccountSettings UpdateChannel UpdateDeadLetterQueueRecordsVisibility UpdateQueue
    UpdateQueueRecordsVisibility UpdateStreamWarmThroughput""".split()
# Optional members that no answer has: warm throughput needs a commitment, channels and queues are not
# served, and SDKs would call a host of the name of a StreamId.
NEVER_TOLD = {
    "DescribeLimits.ChannelCount",
    "DescribeLimits.ChannelCountLimit",
    "DescribeStreamSummary.StreamDescriptionSummary.ChannelCount",
    "DescribeStreamSummary.StreamDescriptionSummary.QueueCount",
    "DescribeStreamSummary.StreamDescriptionSummary.StreamId",
    "DescribeStreamSummary.StreamDescriptionSummary.WarmThroughput",
    # Exceptions come as exceptions.
    *(
        f"SubscribeToShard.EventStream.{name}"
        for name in MODEL.operation_model("SubscribeToShard").output_shape.members["EventStream"].members
        if name != "SubscribeToShardEvent"
    ),
}
# The last event of a closed shard has no continuation, though the model requires one: that is how
# clients know it.
ABSENT_AT_THE_END = "SubscribeToShard.EventStream.SubscribeToShardEvent.ContinuationSequenceNumber"

seen = set()  # paths of members that were in an answer


def raw(operation, body):
    request = urllib.request.Request(
        ENDPOINT + "/",
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            if operation == "SubscribeToShard":
                return answer.status, list(events(answer))
            got = answer.read()
            return answer.status, json.loads(got) if got else {}
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def events(answer):
    """The first event."""
    buffer = EventStreamBuffer()
    while chunk := answer.read1(1 << 16):
        buffer.add_data(chunk)
        for event in buffer:
            kind = event.headers[":event-type"]
            if kind == "initial-response":
                continue
            yield {kind: json.loads(event.payload)}
            return


def error_of(body):
    return body.get("__type", "none").split("#")[-1]


def walk(value, shape, path):
    """Holds a value of an answer against its shape."""
    kinds = {
        "string": str,
        "blob": str,
        "boolean": bool,
        "integer": int,
        "long": int,
        "timestamp": (int, float),
        "structure": dict,
        "map": dict,
        "list": list,
    }
    assert isinstance(value, kinds[shape.type_name]), f"{path} is no {shape.type_name}: {value!r}"
    if shape.type_name in ("integer", "long", "timestamp"):
        assert not isinstance(value, bool), path
    if shape.type_name == "list":
        for item in value:
            walk(item, shape.member, path)
    if shape.type_name == "map":
        for item in value.values():
            walk(item, shape.value, path)
    if shape.type_name != "structure":
        return
    for name in value:
        assert name in shape.members, f"the model has no {path}.{name}"
        seen.add(f"{path}.{name}")
        walk(value[name], shape.members[name], f"{path}.{name}")
    for name in shape.required_members:
        at = f"{path}.{name}"
        assert name in value or at == ABSENT_AT_THE_END, f"{at} is required"


def call(operation, **body):
    """A good call, its answer held against the model."""
    # All limits are met long ago or not yet.
    advance(11)
    status, answer = raw(operation, body)
    equal(status, 200, f"{operation}: {answer}")
    shape = MODEL.operation_model(operation).output_shape
    if operation == "SubscribeToShard":
        for event in answer:
            walk({"EventStream": event}, shape, operation)
    elif shape is None:
        equal(answer, {}, operation)
    else:
        walk(answer, shape, operation)
    return answer


def never_told(shape, path, told):
    """Members below a shape that were in no answer."""
    if shape.type_name == "list":
        return never_told(shape.member, path, told)
    if shape.type_name == "map":
        return never_told(shape.value, path, told)
    if shape.type_name != "structure":
        return set()
    found = set()
    for name, member in shape.members.items():
        at = f"{path}.{name}"
        found |= never_told(member, at, told) if at in told else {at}
    return found


@check("the model's operations are those that this check knows")
def _():
    equal(sorted(SERVED + NOT_SERVED), sorted(MODEL.operation_names))


@check("an operation that is not served is refused by its name; the rest are known")
def _():
    for operation in NOT_SERVED:
        status, answer = raw(operation, {})
        equal((status, error_of(answer)), (400, "UnknownOperationException"), operation)
        assert operation in json.dumps(answer), answer
    for operation in SERVED:
        status, answer = raw(operation, {})
        assert error_of(answer) != "UnknownOperationException", operation


@check("answers have what the model requires, and nothing that it does not know")
def _():
    name, data = "model", base64.b64encode(b"x").decode()
    by_name = {"StreamName": name}
    call("CreateStream", **by_name, ShardCount=2, Tags={"a": "b"})
    arn = call("DescribeStreamSummary", **by_name)["StreamDescriptionSummary"]["StreamARN"]
    by_arn = {"StreamARN": arn}
    call("CreateStream", StreamName="model-second", ShardCount=1)
    call(
        "CreateStream",
        StreamName="model-on-demand",
        StreamModeDetails={"StreamMode": "ON_DEMAND"},
        RecordDistributionStrategy="AUTO",
    )
    auto = call("DescribeStreamSummary", StreamName="model-on-demand")
    auto = auto["StreamDescriptionSummary"]["StreamARN"]
    call("PutRecord", StreamARN=auto, Data=data)
    change = {"StreamARN": auto, "RecordDistributionStrategy": "USER_PARTITION_KEY"}
    call("UpdateStreamRecordDistributionStrategy", **change)
    provisioned = {"StreamARN": auto, "StreamModeDetails": {"StreamMode": "PROVISIONED"}}
    call("UpdateStreamMode", **provisioned)
    call("UpdateMaxRecordSize", **by_arn, MaxRecordSizeInKiB=2048)
    key = {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
    call("StartStreamEncryption", **by_name, **key)
    call("DescribeStreamSummary", **by_name)
    call("DescribeStream", **by_name)
    call("EnableEnhancedMonitoring", **by_name, ShardLevelMetrics=["IncomingBytes"])
    call("DisableEnhancedMonitoring", **by_name, ShardLevelMetrics=["IncomingBytes"])
    call("IncreaseStreamRetentionPeriod", **by_name, RetentionPeriodHours=48)
    call("DecreaseStreamRetentionPeriod", **by_name, RetentionPeriodHours=24)
    call("AddTagsToStream", **by_name, Tags={"c": "d"})
    call("ListTagsForStream", **by_name)
    call("RemoveTagsFromStream", **by_name, TagKeys=["c"])
    call("TagResource", ResourceARN=arn, Tags={"e": "f"})
    call("ListTagsForResource", ResourceARN=arn)
    call("UntagResource", ResourceARN=arn, TagKeys=["e"])
    call("DescribeLimits")
    page = call("ListStreams", Limit=1)
    call("ListStreams", NextToken=page["NextToken"])
    page = call("ListShards", **by_name, MaxResults=1)
    call("ListShards", NextToken=page["NextToken"])
    # A hash key, so that the first shard has a record.
    put = {**by_name, "PartitionKey": "k", "ExplicitHashKey": "0", "Data": data}
    call("PutRecord", **put)
    call("StopStreamEncryption", **by_name, **key)
    big = base64.b64encode(b"x" * (1 << 20)).decode()
    entry = {"PartitionKey": "k", "ExplicitHashKey": "0", "Data": data}
    mixed = call("PutRecords", **by_name, Records=[entry, {**entry, "Data": big}, entry])
    assert mixed["FailedRecordCount"] > 0, "an entry that was refused"
    at = call("GetShardIterator", **by_name, ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    call("GetRecords", ShardIterator=at["ShardIterator"])
    for consumer in ("one", "two"):
        call("RegisterStreamConsumer", **by_arn, ConsumerName=consumer)
    described = call("DescribeStreamConsumer", **by_arn, ConsumerName="one")
    consumer = described["ConsumerDescription"]["ConsumerARN"]
    page = call("ListStreamConsumers", **by_arn, MaxResults=1)
    call("ListStreamConsumers", **by_arn, NextToken=page["NextToken"])
    begin = {"ConsumerARN": consumer, "StartingPosition": {"Type": "TRIM_HORIZON"}}
    call("SubscribeToShard", **begin, ShardId=SHARD)
    call("SplitShard", **by_name, ShardToSplit=SHARD, NewStartingHashKey="1000")
    call("ListShards", **by_name)
    call("DescribeStream", **by_name)
    at = call("GetShardIterator", **by_name, ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    ended = call("GetRecords", ShardIterator=at["ShardIterator"])
    equal(len(ended["ChildShards"]), 2)
    found = call("SubscribeToShard", **begin, ShardId=SHARD)
    assert found[-1]["SubscribeToShardEvent"]["ChildShards"], found[-1]
    left, right = (f"shardId-{i:012}" for i in (2, 3))
    call("MergeShards", **by_name, ShardToMerge=left, AdjacentShardToMerge=right)
    call("ListShards", **by_name)
    call("DescribeStream", **by_name)
    call("UpdateShardCount", **by_name, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    call("DeregisterStreamConsumer", ConsumerARN=consumer)
    call("DeleteStream", **by_name, EnforceConsumerDeletion=True)
    missing = set()
    for operation in SERVED:
        shape = MODEL.operation_model(operation).output_shape
        if shape is not None:
            missing |= never_told(shape, operation, seen)
    equal(sorted(missing), sorted(NEVER_TOLD), "members that no answer had")


def wrong_for(shape):
    return {"string": 5, "blob": 5}.get(shape.type_name, "a text")


def wrongs(shape, good):
    """What a member of `shape` can be sent as with one value of a wrong type in it."""
    yield wrong_for(shape)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            for wrong in wrongs(member, (good or {}).get(name)):
                yield {**(good or {}), name: wrong}
    elif shape.type_name == "list":
        for wrong in wrongs(shape.member, good[0] if good else None):
            yield [wrong]
    elif shape.type_name == "map":
        for wrong in wrongs(shape.value, None):
            yield {"key": wrong}


@check("a value of a wrong type is refused wherever the model has a member")
def _():
    name = "model-types"
    call("CreateStream", StreamName=name, ShardCount=2)
    summary = call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]
    arn = summary["StreamARN"]
    registered = call("RegisterStreamConsumer", StreamARN=arn, ConsumerName="types")
    at = call("GetShardIterator", StreamName=name, ShardId=SHARD, ShardIteratorType="LATEST")
    # Good values by their members' names: with these alone most calls would succeed.
    good = {
        "StreamName": name,
        "StreamARN": arn,
        "ResourceARN": arn,
        "ConsumerARN": registered["Consumer"]["ConsumerARN"],
        "ConsumerName": "types",
        "ShardId": SHARD,
        "ShardIteratorType": "LATEST",
        "ShardIterator": at["ShardIterator"],
        "StartingPosition": {"Type": "LATEST"},
        "Data": "eA==",
        "PartitionKey": "k",
        "Records": [{"Data": "eA==", "PartitionKey": "k"}],
        "Tags": {"a": "b"},
        "TagKeys": ["a"],
        "RetentionPeriodHours": 24,
        "MaxRecordSizeInKiB": 1024,
        "ShardLevelMetrics": ["IncomingBytes"],
        "EncryptionType": "KMS",
        "KeyId": "k",
        "ShardToSplit": SHARD,
        "NewStartingHashKey": "1000",
        "ShardToMerge": SHARD,
        "AdjacentShardToMerge": "shardId-000000000001",
        "TargetShardCount": 2,
        "ScalingType": "UNIFORM_SCALING",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RecordDistributionStrategy": "USER_PARTITION_KEY",
        "ShardCount": 1,
        "ShardFilter": {"Type": "AT_LATEST"},
    }
    accepted, count = [], 0
    for operation in SERVED:
        shape = MODEL.operation_model(operation).input_shape
        for member, member_shape in shape.members.items():
            for wrong in wrongs(member_shape, good.get(member)):
                wanted = [*shape.required_members]
                if "StreamName" in shape.members:
                    wanted.append("StreamName")
                elif "StreamARN" in shape.members:
                    wanted.append("StreamARN")
                body = {m: good[m] for m in wanted if m in good}
                body[member] = wrong
                if operation == "CreateStream" and member != "StreamName":
                    body["StreamName"] = "model-never"
                advance(2)
                status, answer = raw(operation, body)
                count += 1
                told = (status, error_of(answer) if isinstance(answer, dict) else "a stream")
                if told != (400, "SerializationException"):
                    accepted.append(f"{operation} {member}={wrong!r}: {told}")
    assert count > 150, count
    equal(accepted, [], "not refused")


run("boto3 model")
