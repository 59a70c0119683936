"""An endpoint that verifies signatures, and what boto3 signs: by row 19.

Expected codes come from the errors that AWS names for a request that it cannot authenticate.
"""

import os
from datetime import timedelta
from unittest import mock

import botocore.auth
from botocore import UNSIGNED
from checks import *

KEY, SECRET = os.environ["SIGNED_KEY"].split(":")
FIRST = "shardId-000000000000"


def signed(service="kinesis", **members):
    members = {"key": KEY, "secret": SECRET, **members}
    return client(service, os.environ["SIGNED_ENDPOINT"], **members)


@check("row 19: the right key and secret: a stream's life, a subscription, a table")
def _():
    kinesis, name = signed(), "signed"
    create(kinesis, name, 1)
    put = kinesis.put_record(StreamName=name, PartitionKey="ключ", Data=bytes(range(256)))
    records, _last = read(kinesis, iterator(kinesis, name, FIRST))
    equal([(r["PartitionKey"], r["Data"]) for r in records], [("ключ", bytes(range(256)))])
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    consumer = kinesis.register_stream_consumer(
        StreamARN=summary["StreamARN"], ConsumerName="signed"
    )["Consumer"]["ConsumerARN"]

    def is_active():
        found = kinesis.describe_stream_consumer(ConsumerARN=consumer)
        return found["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE"

    until(is_active, "the consumer is ACTIVE")
    events = kinesis.subscribe_to_shard(
        ConsumerARN=consumer, ShardId=FIRST, StartingPosition={"Type": "TRIM_HORIZON"}
    )["EventStream"]
    first = next(iter(events))["SubscribeToShardEvent"]
    equal([r["SequenceNumber"] for r in first["Records"]], [put["SequenceNumber"]])
    events.close()
    equal(signed("dynamodb").list_tables()["TableNames"], [])


@check("row 19: a wrong secret is refused")
def _():
    for secret in (SECRET + "x", SECRET[:-1], KEY):
        refused("InvalidSignatureException", signed(secret=secret).list_streams)
        refused("InvalidSignatureException", signed("dynamodb", secret=secret).list_tables)


@check("row 19: an unknown key is refused")
def _():
    for key in (KEY + "X", KEY.lower()):
        refused("UnrecognizedClientException", signed(key=key).list_streams)
        refused("UnrecognizedClientException", signed("dynamodb", key=key).list_tables)


@check("row 19: no signature is refused")
def _():
    kinesis = signed(signature_version=UNSIGNED)
    refused("MissingAuthenticationTokenException", kinesis.list_streams)


@check("row 19: a body that is not the signed one is refused")
def _():
    kinesis = signed()

    def tamper(request, **_members):
        request.body = request.body.replace(b"one", b"two")

    kinesis.meta.events.register("before-send.kinesis.ListShards", tamper)
    refused("InvalidSignatureException", kinesis.list_shards, StreamName="one")


@check("row 19: a signature of an hour ago, or of an hour ahead, is refused")
def _():
    real = botocore.auth.get_current_datetime
    for hours in (-1, 1):
        shifted = lambda *args, **kwargs: real(*args, **kwargs) + timedelta(hours=hours)
        with mock.patch("botocore.auth.get_current_datetime", shifted):
            refused("InvalidSignatureException", signed().list_streams)
    signed().list_streams()


run("boto3 signatures")
