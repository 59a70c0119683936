"""Firehose, CloudWatch and STS as boto3 calls them: row 25, limits to the item and to the byte, and what
the endpoint gives back of what it took. Expected values come from the services' API references.
"""

import base64
import json
import os
import urllib.request
from datetime import datetime, timedelta, timezone

from checks import *

KIB, MIB = 1 << 10, 1 << 20
firehose = client("firehose", validate=False)
cloudwatch = client("cloudwatch", validate=False)


def kept(service):
    address = f"{os.environ['ENDPOINT']}/_local/{service}"
    with urllib.request.urlopen(address, timeout=20) as answer:
        return json.load(answer)


def delivered(stream):
    return [base64.b64decode(r["data"]) for r in kept("firehose")["records"] if r["stream"] == stream]


def batch(stream, sizes):
    records = [{"Data": os.urandom(size)} for size in sizes]
    answer = firehose.put_record_batch(DeliveryStreamName=stream, Records=records)
    equal((answer["FailedPutCount"], len(answer["RequestResponses"])), (0, len(sizes)))
    equal(len({r["RecordId"] for r in answer["RequestResponses"]}), len(sizes), "ids")
    return [r["Data"] for r in records]


@check("row 25: Firehose takes 500 records, 1,000 KiB a record, 4 MiB a request; no more")
def _():
    name = "interop-firehose"
    described = firehose.describe_delivery_stream(DeliveryStreamName=name)
    equal(described["DeliveryStreamDescription"]["DeliveryStreamStatus"], "ACTIVE")
    sent = batch(name, [10] * 500)
    whole = [1000 * KIB] * 4 + [4 * MIB - 4000 * KIB]
    sent += batch(name, whole)
    single = os.urandom(1000 * KIB)
    firehose.put_record(DeliveryStreamName=name, Record={"Data": single})
    sent.append(single)
    for wrong in ([10] * 501, [], [1000 * KIB + 1], whole[:-1] + [whole[-1] + 1]):
        refused(
            INVALID,
            firehose.put_record_batch,
            DeliveryStreamName=name,
            Records=[{"Data": b"x" * size} for size in wrong],
        )
    refused(
        INVALID,
        firehose.put_record,
        DeliveryStreamName=name,
        Record={"Data": b"x" * (1000 * KIB + 1)},
    )
    assert delivered(name) == sent, "what was taken is given back, in order, and nothing else"


def refused_data(namespace, data):
    codes = [
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingRequiredParameter",
        "MissingParameter",
        "ValidationError",
        "LimitExceeded",
    ]
    codes += [code + "Exception" for code in codes]
    refused(codes, cloudwatch.put_metric_data, Namespace=namespace, MetricData=data)


@check("row 25: CloudWatch takes 1,000 data of 30 dimensions and 150 values; no more")
def _():
    namespace = "Interop"
    datum = lambda i, **members: {"MetricName": f"m{i}", "Value": i, "Unit": "Count", **members}
    dimensions = lambda n: [{"Name": f"n{i}", "Value": f"v{i}"} for i in range(n)]
    values = lambda n: {
        "MetricName": "values",
        "Values": [float(i) for i in range(n)],
        "Counts": [2.0] * n,
    }
    put = lambda data: cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    put([datum(i) for i in range(1000)])
    refused_data(namespace, [datum(i) for i in range(1001)])
    put([datum(1000, Dimensions=dimensions(30))])
    refused_data(namespace, [datum(0, Dimensions=dimensions(31))])
    put([values(150)])
    refused_data(namespace, [values(151)])
    statistics = {"SampleCount": 3, "Sum": 6.0, "Minimum": 1.0, "Maximum": 3.0}
    put([{"MetricName": "set", "StatisticValues": statistics, "StorageResolution": 1}])
    refused_data(namespace, [datum(0, StatisticValues=statistics)])
    for value in (2.0**361, float("nan")):
        refused_data(namespace, [datum(0, Value=value)])
    now = datetime.now(timezone.utc)
    put([datum(1001, Timestamp=now - timedelta(days=13))])
    for moment in (now - timedelta(days=15), now + timedelta(hours=3)):
        refused_data(namespace, [datum(0, Timestamp=moment)])
    refused_data("AWS/Interop", [datum(0)])
    # One bad datum refuses the request.
    refused_data(namespace, [datum(2000), datum(2001, Dimensions=dimensions(31))])
    got = [d for d in kept("cloudwatch")["metrics"] if d["namespace"] == namespace]
    names = [f"m{i}" for i in range(1001)] + ["values", "set", "m1001"]
    equal([d["name"] for d in got], names)
    equal((got[7]["value"], got[7]["unit"]), (7, "Count"))
    equal(got[1000]["dimensions"], [{"name": f"n{i}", "value": f"v{i}"} for i in range(30)])
    equal(got[1001]["value"], [{"value": i, "count": 2} for i in range(150)])
    equal(got[1002]["value"], {"count": 3, "sum": 6, "minimum": 1, "maximum": 3})
    equal(got[1002]["resolution"], 1)


@check("STS says who calls, and gives out keys of a role that the endpoint knows again")
def _():
    key, secret = os.environ["SIGNED_KEY"].split(":")
    signed = {"endpoint": os.environ["SIGNED_ENDPOINT"], "key": key, "secret": secret}
    sts = client("sts", **signed, validate=False)
    me = sts.get_caller_identity()
    equal(me["Account"], "000000000000")
    assert me["Arn"].startswith(f"arn:aws:iam::{me['Account']}:"), me
    role = {"RoleArn": f"arn:aws:iam::{me['Account']}:role/reader", "RoleSessionName": "interop"}
    answer = sts.assume_role(**role, DurationSeconds=900)
    given = answer["Credentials"]
    left = given["Expiration"] - datetime.now(timezone.utc)
    assert timedelta(seconds=890) < left < timedelta(seconds=901), left
    assumed = f"arn:aws:sts::{me['Account']}:assumed-role/reader/interop"
    equal(answer["AssumedRoleUser"]["Arn"], assumed)
    for seconds in (899, 43201):
        refused(
            ["ValidationError", "ValidationException"],
            sts.assume_role,
            **role,
            DurationSeconds=seconds,
        )

    def with_role(service, secret=given["SecretAccessKey"]):
        return boto3.client(
            service,
            endpoint_url=signed["endpoint"],
            region_name="us-east-1",
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=secret,
            aws_session_token=given["SessionToken"],
        )

    equal(with_role("sts").get_caller_identity()["Arn"], assumed)
    with_role("kinesis").list_streams()
    refused("InvalidSignatureException", with_role("kinesis", "wrong").list_streams)


run("boto3 recorders")
