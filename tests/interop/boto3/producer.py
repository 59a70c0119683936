"""What the producer of this project writes, expanded by the library for Python; the module for Node.js
and the Java KCL expand the same streams afterwards."""

import base64
import json
import pathlib
import subprocess

from aws_kinesis_agg.deaggregator import iter_deaggregate_records
from checks import *

kinesis = client()
PUT = os.environ["PUT"]
EXPECTED = pathlib.Path(os.environ["EXPECTED"])
TOP = 2**128 - 1


def lines():
    """Keys, explicit hash keys (or none) and data of every kind that a line of text can have."""
    for i in range(3000):
        data = f"record {i} " + "x" * (i * 7 % 900)
        yield f"key-{i % 37}", None, data
    for i, hash_key in enumerate([0, 2**127 - 1, 2**127, TOP, 1, 1]):
        yield f"explicit-{i}", hash_key, f"by hash key {i}"
    yield "é" * 256, None, "a long key"
    yield "empty", None, ""
    yield "日本", None, "data in 漢字"
    yield "large", None, "y" * 200_000


def put(stream, *settings):
    """Puts all lines by the producer, and gives what must come out."""
    expected = list(lines())
    text = "".join(
        "\t".join([key, *([str(hash_key)] if hash_key is not None else []), data]) + "\n"
        for key, hash_key, data in expected
    )
    options = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [PUT, stream, *options],
        input=text.encode(),
        capture_output=True,
        timeout=120,
        env={
            "AWS_ENDPOINT_URL": os.environ["ENDPOINT"],
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "put",
            "AWS_SECRET_ACCESS_KEY": "put",
        },
    )
    equal(done.returncode, 0, done.stderr.decode()[-500:])
    equal(done.stdout.decode(), f"{len(expected)} delivered, 0 failed\n")
    return [
        [key, None if hash_key is None else str(hash_key), data]
        for key, hash_key, data in expected
    ]


def all_records(stream):
    for shard in paced(kinesis.list_shards, StreamName=stream)["Shards"]:
        position = iterator(kinesis, stream, shard["ShardId"])
        yield from read(kinesis, position)[0]


def expand(stream):
    """User records in the form of a Lambda event."""
    for record in all_records(stream):
        for user in iter_deaggregate_records([lambda_event(record)]):
            yield user["kinesis"]


def check_stream(stream, *settings):
    create(kinesis, stream, 3)
    expected = put(stream, *settings)
    found = [
        [user["partitionKey"], base64.b64decode(user["data"]).decode()] for user in expand(stream)
    ]
    equal(sorted(found), sorted([key, data] for key, _hash_key, data in expected))
    records = sum(1 for _ in all_records(stream))
    assert records < 200, f"{records} Kinesis records for {len(expected)} are no aggregates"
    EXPECTED.write_text(json.dumps(expected))


@check("aggregates of the producer are expanded to what was put")
def _():
    check_stream("produced")


@check("with identities in their tags they are expanded to the same")
def _():
    check_stream("produced-with-identities", "Idempotent=true")


run("boto3 producer")
