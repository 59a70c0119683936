"""The wire itself, with plain HTTP and cbor2: JSON and CBOR, statuses and error bodies.

Expected values come from the description of the AWS JSON 1.1 protocol and from what the SDKs read.
"""

import base64
import json
import os
import time
import urllib.error
import urllib.request

import cbor2
from checks import *

kinesis = client()
STREAM = "wire"
PAYLOAD = bytes(range(256))


def call(operation, body, encoding, target="Kinesis_20131202"):
    """The status and the decoded answer."""
    sent = cbor2.dumps(body) if encoding == "cbor" else json.dumps(body).encode()
    request = urllib.request.Request(
        os.environ["ENDPOINT"] + "/",
        data=sent,
        headers={
            "Content-Type": f"application/x-amz-{encoding}-1.1",
            "X-Amz-Target": f"{target}.{operation}",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status, kind, got = answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        status, kind, got = error.code, error.headers["Content-Type"], error.read()
    equal(kind, f"application/x-amz-{encoding}-1.1", "Content-Type")
    if not got:
        return status, {}
    if encoding == "json":
        return status, json.loads(got)
    # Tag 1 stands before seconds in CBOR at large, before milliseconds here: read as a number.
    return status, cbor2.loads(got, semantic_decoders={1: lambda value, _immutable: value})


def good(operation, body, encoding):
    status, answer = call(operation, body, encoding)
    equal(status, 200, answer)
    return answer


def records(encoding):
    def page():
        asked = {
            "StreamName": STREAM,
            "ShardId": "shardId-000000000000",
            "ShardIteratorType": "TRIM_HORIZON",
        }
        status, at = call("GetShardIterator", asked, encoding)
        if status != 200:
            return None
        status, answer = call("GetRecords", {"ShardIterator": at["ShardIterator"]}, encoding)
        return answer["Records"] if status == 200 else None

    return until(page, "a read is admitted")


@check("row 18: blobs are byte strings in CBOR and base64 in JSON, whichever wrote them")
def _():
    create(kinesis, STREAM, 1)
    text = base64.b64encode(PAYLOAD).decode()
    good("PutRecord", {"StreamName": STREAM, "PartitionKey": "j", "Data": text}, "json")
    good("PutRecord", {"StreamName": STREAM, "PartitionKey": "c", "Data": PAYLOAD}, "cbor")
    entry = {"PartitionKey": "cs", "Data": PAYLOAD}
    answer = good("PutRecords", {"StreamName": STREAM, "Records": [entry]}, "cbor")
    equal(answer["FailedRecordCount"], 0)
    by_json, by_cbor = records("json"), records("cbor")
    equal([r["PartitionKey"] for r in by_json], ["j", "c", "cs"])
    for one, other in zip(by_json, by_cbor, strict=True):
        assert isinstance(other["Data"], bytes), type(other["Data"])
        equal(base64.b64decode(one["Data"]), other["Data"])
        equal(other["Data"], PAYLOAD)
        equal(one["SequenceNumber"], other["SequenceNumber"])


@check("row 18: times are seconds in JSON and epoch milliseconds in CBOR")
def _():
    now = time.time()
    for one, other in zip(records("json"), records("cbor"), strict=True):
        seconds, millis = (
            one["ApproximateArrivalTimestamp"],
            other["ApproximateArrivalTimestamp"],
        )
        assert isinstance(millis, int), f"{millis!r}"
        assert abs(seconds - now) < 120, seconds
        assert abs(millis - seconds * 1000) < 1, (seconds, millis)
    asked = {"StreamName": STREAM}
    one = good("DescribeStreamSummary", asked, "json")["StreamDescriptionSummary"]
    other = good("DescribeStreamSummary", asked, "cbor")["StreamDescriptionSummary"]
    created, created_millis = one.pop("StreamCreationTimestamp"), other.pop("StreamCreationTimestamp")
    assert isinstance(created_millis, int) and abs(created_millis - created * 1000) < 1
    equal(one, other)
    future = {
        "StreamName": STREAM,
        "ShardId": "shardId-000000000000",
        "ShardIteratorType": "AT_TIMESTAMP",
    }
    moment = time.time() - 60
    time.sleep(1)  # the shard's iterators of this second may be used up
    good("GetShardIterator", {**future, "Timestamp": moment}, "json")
    millis = int(moment * 1000)
    good("GetShardIterator", {**future, "Timestamp": millis}, "cbor")
    good("GetShardIterator", {**future, "Timestamp": cbor2.CBORTag(1, millis)}, "cbor")
    for timestamp, encoding in [
        (moment + 3600, "json"),
        (millis + 3_600_000, "cbor"),
        (cbor2.CBORTag(1, millis + 3_600_000), "cbor"),
    ]:
        status, answer = call("GetShardIterator", {**future, "Timestamp": timestamp}, encoding)
        equal((status, answer["__type"].split("#")[-1]), (400, "InvalidArgumentException"))


@check("row 18: shards are equal in both; errors come in the caller's encoding")
def _():
    equal(
        good("ListShards", {"StreamName": STREAM}, "json"),
        good("ListShards", {"StreamName": STREAM}, "cbor"),
    )
    for encoding in ("json", "cbor"):
        for operation, body, code in [
            ("DescribeStream", {"StreamName": "nowhere"}, "ResourceNotFoundException"),
            ("PutRecord", {"StreamName": STREAM}, "ValidationException"),
            ("PutRecord", {"StreamName": 5}, "SerializationException"),
            ("NoSuchOperation", {}, "UnknownOperationException"),
        ]:
            status, answer = call(operation, body, encoding)
            equal((status, answer["__type"].split("#")[-1]), (400, code), (operation, encoding))
        assert "nowhere" in call("DescribeStream", {"StreamName": "nowhere"}, encoding)[1]["message"]


@check("bodies that are no JSON and no CBOR are refused, and the endpoint lives on")
def _():
    for encoding, body in [
        ("json", b"{"),
        ("json", b"\xff\xfe"),
        ("json", b"[" * 5000),
        ("cbor", b"\xbf"),
        ("cbor", b"\x9f" * 5000),
        ("cbor", b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"),
    ]:
        request = urllib.request.Request(
            os.environ["ENDPOINT"] + "/",
            data=body,
            headers={
                "Content-Type": f"application/x-amz-{encoding}-1.1",
                "X-Amz-Target": "Kinesis_20131202.ListStreams",
            },
        )
        try:
            status = urllib.request.urlopen(request, timeout=20).status
        except urllib.error.HTTPError as error:
            status = error.code
            assert b"SerializationException" in error.read()
        equal(status, 400, body[:10])
    assert STREAM in good("ListStreams", {}, "json")["StreamNames"]


run("wire")
