"""What every Python counterpart shares: named checks, clients, bounded waits."""

import base64
import os
import pathlib
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

THROTTLED = "ProvisionedThroughputExceededException"
# The API reference gives the first for a parameter beyond its restrictions; the common errors give
# the second for one beyond the model's constraints. Which of the two is not always written down.
INVALID = ["InvalidArgumentException", "ValidationException"]

_checks = []


def check(name):
    """Registers a check under the name that its line shows. Checks run in the order they stand."""

    def register(function):
        _checks.append((name, function))
        return function

    return register


def run(counterpart):
    """Runs the checks: a line for each, a closing line with their number, exit code 1 if one failed."""
    failed = 0
    for name, function in _checks:
        try:
            function()
            print(f"ok   {counterpart}: {name}", flush=True)
        except Exception as error:  # every failure becomes a line
            failed += 1
            text = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAIL {counterpart}: {name}: {text[:1500]}", flush=True)
    print(f"ran {len(_checks)} {counterpart}", flush=True)
    sys.exit(1 if failed else 0)


def client(
    service="kinesis", endpoint=None, validate=True, key="boto3", secret="boto3", **config
):
    """A client that tries once and may send what it knows to be wrong."""
    return boto3.client(
        service,
        endpoint_url=endpoint or os.environ["ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(
            retries={"total_max_attempts": 1},
            parameter_validation=validate,
            read_timeout=20,
            max_pool_connections=32,
            **config,
        ),
    )


def equal(got, expected, what=""):
    assert got == expected, f"{what}: got {got!r}, expected {expected!r}"


def refused(codes, call, /, **members):
    """Calls, and returns the text of the refusal, which has to carry one of `codes` and status 400."""
    codes = [codes] if isinstance(codes, str) else codes
    try:
        answer = call(**members)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        assert code in codes, f"refused with {code} ({error}), expected one of {codes}"
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        equal(status, 400, f"HTTP status of {code}")
        return error.response["Error"]["Message"]
    answer.pop("ResponseMetadata", None)
    raise AssertionError(f"accepted with {str(answer)[:300]}, expected one of {codes}")


def until_refused(code, call, /, **members):
    """Calls until the refusal; how many calls were accepted before, and its text. However slow this
    machine is, a limit is met within some calls."""
    for accepted in range(500):
        try:
            call(**members)
        except ClientError as error:
            equal(error.response["Error"]["Code"], code)
            return accepted, error.response["Error"]["Message"]
    raise AssertionError(f"500 calls were accepted, expected {code}")


def until(condition, what, bound=20):
    """Waits until `condition` gives something true, and returns that."""
    end = time.monotonic() + bound
    while time.monotonic() < end:
        if got := condition():
            return got
        time.sleep(0.1)
    raise AssertionError(f"not within {bound} s: {what}")


def paced(call, /, **members):
    """Calls again while the shard's limits refuse: for checks that are about something else."""

    def attempt():
        try:
            return call(**members)
        except ClientError as error:
            if error.response["Error"]["Code"] != THROTTLED:
                raise
            return None

    return until(attempt, f"{members} is admitted")


def advance(seconds):
    """Moves the clock of the endpoint whose machine clock a file moves, always forwards."""
    offset_file = pathlib.Path(os.environ["CLOCK"])
    offset = int(offset_file.read_text()) + seconds
    fresh = offset_file.with_suffix(".new")
    fresh.write_text(f"+{offset}\n")
    fresh.rename(offset_file)


def create(kinesis, name, shards):
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    active(kinesis, name)


def status(kinesis, name):
    summary = kinesis.describe_stream_summary(StreamName=name)
    return summary["StreamDescriptionSummary"]["StreamStatus"]


def active(kinesis, name):
    until(lambda: status(kinesis, name) == "ACTIVE", f"{name} is ACTIVE")


def shards(kinesis, name, **members):
    return kinesis.list_shards(StreamName=name, **members)["Shards"]


def pages(kinesis, name, **members):
    """All pages of ListShards. The SDK's paginator sends the stream's name beside the token, which the
    API refuses."""
    found = [kinesis.list_shards(StreamName=name, **members)]
    while token := found[-1].get("NextToken"):
        assert len(found) < 100, "no end of pages"
        size = {k: v for k, v in members.items() if k == "MaxResults"}
        found.append(kinesis.list_shards(NextToken=token, **size))
    return [page["Shards"] for page in found]


def ids(found):
    return [shard["ShardId"] for shard in found]


def iterator(kinesis, name, shard, kind="TRIM_HORIZON", **members):
    answer = paced(
        kinesis.get_shard_iterator,
        StreamName=name,
        ShardId=shard,
        ShardIteratorType=kind,
        **members,
    )
    return answer["ShardIterator"]


def read(kinesis, at, count=None):
    """Reads to the tip or the end of the shard, or until `count` records are there.

    Gives the records and the last answer."""
    records = []

    def page():
        nonlocal at
        answer = paced(kinesis.get_records, ShardIterator=at)
        records.extend(answer["Records"])
        at = answer.get("NextShardIterator")
        full = count is not None and len(records) >= count
        tip = count is None and answer["MillisBehindLatest"] == 0
        return answer if full or tip or at is None else None

    last = until(page, f"{count or 'all'} records are read, {len(records)} so far", 30)
    return records, last


def lambda_event(record):
    """A record in the form of a Lambda event, which is what the aggregation library takes."""
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record["PartitionKey"],
            "sequenceNumber": record["SequenceNumber"],
            "data": base64.b64encode(record["Data"]),
            "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": record["SequenceNumber"],
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "none",
        "awsRegion": "us-east-1",
        "eventSourceARN": "none",
    }
