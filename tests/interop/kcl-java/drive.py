"""The official Java Kinesis Client Library consumes a stream through a split and a merge, to the end.

This script produces (plain records, and aggregates by the aggregation library for Python), reshards,
and compares what the worker says with what was acknowledged, what it leaves in its lease table with
rows that were recorded from it elsewhere, and what it tells CloudWatch with what it did.

Arguments: polling or fan-out, which is how the worker reads.
Environment: ENDPOINT, JAVA (the command line up to the class), LOG (where the worker's log goes).
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import threading
import urllib.request
from collections import Counter

from aws_kinesis_agg.aggregator import RecordAggregator
from checks import *

MODE = sys.argv[1]
APPLICATION, STREAM, WORKER = f"kcl-{MODE}-app", f"kcl-{MODE}", "java" + MODE.replace("-", "")
GOLDEN = pathlib.Path(__file__).resolve().parents[3] / "kcl" / "tests" / "golden"
# By itself the library waits at random for up to 30 seconds before its first look at the shards, assigns
# leases every 20 seconds, and looks every 10 seconds whether a shard's parents are done.
BOUND = 240

kinesis = client()
dynamodb = client("dynamodb")
log_path = pathlib.Path(os.environ["LOG"])
events = []
shapes = set()  # of every row that was seen in the lease table, as (kind, JSON)
expected = []  # "key data" of every user record that was put
worker = None


def produce(count):
    """Puts numbered user records, in tens: one by itself, nine in an aggregate.

    The records of an aggregate share their hash key, as a producer sees to: the library drops an
    aggregate of which a record belongs to another shard."""
    entries = []
    for begin in range(len(expected), len(expected) + count, 10):
        key = f"key-{begin // 10 % 23}"
        # Every third aggregate is placed by an explicit hash key.
        hash_key = str(2**128 * (begin // 10 % 7) // 7) if begin // 10 % 3 == 0 else None
        aggregator = RecordAggregator()
        for number in range(begin, begin + 10):
            data = f"record-{number}"
            expected.append(f"{key} {data}")
            if number == begin:
                entries.append({"PartitionKey": key, "Data": data.encode()})
            else:
                equal(aggregator.add_user_record(key, data.encode(), hash_key), None)
        key, hash_key, data = aggregator.clear_and_get().get_contents()
        placed = {"ExplicitHashKey": hash_key} if hash_key else {}
        entries.append({"PartitionKey": key, "Data": data, **placed})
    answer = kinesis.put_records(StreamName=STREAM, Records=entries)
    equal(answer["FailedRecordCount"], 0)


def follow(output):
    for line in output:
        events.append(line.split())


def watch():
    """Looks at the lease table again and again."""
    while worker.poll() is None:
        time.sleep(1)
        try:
            found = rows()
        except OSError:  # the table is not there yet, or the run is over
            continue
        for row in found:
            shapes.add((row["entityType"]["S"], json.dumps(row_shape({"M": row}))))


def of_kind(kind):
    return [event for event in list(events) if event[0] == kind]


def consumed():
    assert worker.poll() is None, f"the worker ended: {tail()}"
    return len(of_kind("record")) >= len(expected)


def tail():
    return " | ".join(log_path.read_text().splitlines()[-5:])


def low_level(operation, body):
    """An answer as it is on the wire, so that types are seen."""
    request = urllib.request.Request(
        os.environ["ENDPOINT"] + "/",
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        },
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def control(path):
    with urllib.request.urlopen(f"{os.environ['ENDPOINT']}/_local/{path}", timeout=20) as answer:
        return json.load(answer)


def rows():
    return low_level("Scan", {"TableName": APPLICATION, "ConsistentRead": True})["Items"]


def row_shape(value):
    """The types of a row, attribute by attribute, whatever the values."""
    (kind, inner), *more = value.items()
    assert not more, value
    if kind == "M":
        return {"M": {name: row_shape(v) for name, v in sorted(inner.items())}}
    if kind == "L":
        return {"L": [row_shape(v) for v in inner[:1]]}
    return kind


@check("it starts on a new stream and reads what is there")
def _():
    global worker
    create(kinesis, STREAM, 2)
    produce(400)
    worker = subprocess.Popen(
        [*shlex.split(os.environ["JAVA"]), "interop.Worker", APPLICATION, STREAM, WORKER, MODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=open(log_path, "w"),
        text=True,
    )
    threading.Thread(target=follow, args=(worker.stdout,), daemon=True).start()
    threading.Thread(target=watch, daemon=True).start()
    until(consumed, "all records of the first phase are consumed", BOUND)


@check("it goes on through a split and a merge, to the last record")
def _():
    first, _second = shards(kinesis, STREAM)
    middle = int(first["HashKeyRange"]["EndingHashKey"]) // 2 + 1
    kinesis.split_shard(
        StreamName=STREAM, ShardToSplit=first["ShardId"], NewStartingHashKey=str(middle)
    )
    produce(400)
    active(kinesis, STREAM)
    produce(400)
    until(consumed, "all records around the split are consumed", BOUND)
    children = [s["ShardId"] for s in shards(kinesis, STREAM) if s.get("ParentShardId")]
    kinesis.merge_shards(
        StreamName=STREAM, ShardToMerge=children[0], AdjacentShardToMerge=children[1]
    )
    produce(400)
    active(kinesis, STREAM)
    produce(400)
    until(consumed, "all records around the merge are consumed", BOUND)
    merged = shards(kinesis, STREAM)[-1]["ShardId"]
    until(lambda: merged in [e[1] for e in of_kind("init")], "the merged shard is read", BOUND)


@check("counts are exact: every user record once")
def _():
    got = Counter(f"{event[4]} {event[5]}" for event in of_kind("record"))
    wanted = Counter(expected)
    equal(sum(got.values()), len(expected), "records")
    equal(got - wanted, Counter(), "more than was put")
    equal(wanted - got, Counter(), "less than was put")
    aggregated = [e for e in of_kind("record") if int(e[3]) > 0]
    assert len(aggregated) > len(expected) // 2, "de-aggregation gave sub-sequence numbers"


@check("order per shard; parents end before their children begin")
def _():
    by_shard = {}
    for _kind, shard, number, sub, _key, _data in of_kind("record"):
        by_shard.setdefault(shard, []).append((int(number), int(sub)))
    equal(sorted(by_shard), ids(shards(kinesis, STREAM)), "every shard held records")
    for shard, positions in by_shard.items():
        equal(positions, sorted(set(positions)), shard)
    order = [(e[0], e[1]) for e in events]
    for shard in shards(kinesis, STREAM):
        for parent in (shard.get("ParentShardId"), shard.get("AdjacentParentShardId")):
            if parent:
                begun = order.index(("init", shard["ShardId"]))
                assert order.index(("ended", parent)) < begun, (parent, shard["ShardId"])


@check("no line at ERROR from it or its SDK")
def _():
    # Up to here: what a worker logs while it stops is another matter.
    text = log_path.read_text()
    lines = text.splitlines()
    assert sum(" INFO " in line for line in lines) > 50, "the log is not there"
    errors = [line for line in lines if re.match(r"\S+ ERROR ", line)]
    equal(errors[:3], [])
    equal(of_kind("lost"), [], "leases lost")


@check("every row that was ever in its table has attributes and types that were recorded elsewhere")
def _():
    known = {}
    for path in sorted(GOLDEN.glob("3.5.1-[0-9][0-9]-*.json")):
        for recorded in json.loads(path.read_text())["tables"].values():
            for row in recorded:
                known.setdefault(row["entityType"]["S"], []).append(row_shape({"M": row}))
    # Measured while a lease is read, so absent from one that was over before.
    settled = lambda shape: {k: v for k, v in shape["M"].items() if k != "throughputKBps"}
    known = {kind: [settled(shape) for shape in of_kind] for kind, of_kind in known.items()}
    assert known, f"no recorded rows in {GOLDEN}"
    left = rows()
    kinds = Counter(row["entityType"]["S"] for row in left)
    equal(kinds["LEASE"], len(shards(kinesis, STREAM)), "leases")
    for kind in ("LEADER", "CLIENT_VERSION_MIGRATION", "WORKER_METRIC_STATS"):
        equal(kinds[kind], 1, kind)
    assert {kind for kind, _shape in shapes} == set(kinds), shapes
    for kind, shape in sorted(shapes):
        equal(json.loads(shape)["M"].get("throughputKBps", "N"), "N")
        assert settled(json.loads(shape)) in known[kind], f"{kind}: {shape}"


@check("it made no other table")
def _():
    named = [n for n in dynamodb.list_tables()["TableNames"] if n.startswith(APPLICATION)]
    equal(named, [APPLICATION])


@check("parents are at SHARD_END with their children, the rest at the last record's number")
def _():
    leases = {
        row["leaseKey"]["S"]: row for row in rows() if row["entityType"]["S"] == "LEASE"
    }
    found = shards(kinesis, STREAM)
    for shard in found:
        lease = leases[shard["ShardId"]]
        children = [
            s["ShardId"]
            for s in found
            if shard["ShardId"] in (s.get("ParentShardId"), s.get("AdjacentParentShardId"))
        ]
        equal(sorted(lease.get("childShardIds", {"SS": []})["SS"]), sorted(children))
        span = shard["HashKeyRange"]
        equal(lease["startingHashKey"]["S"], span["StartingHashKey"])
        equal(lease["endingHashKey"]["S"], span["EndingHashKey"])
        last = [e[2] for e in of_kind("record") if e[1] == shard["ShardId"]][-1]
        equal(lease["checkpoint"]["S"], "SHARD_END" if children else last, shard["ShardId"])


@check("its table has the keys, index and billing mode that were recorded elsewhere")
def _():
    recorded = json.loads((GOLDEN / "3.5.1-tables.json").read_text())
    table = low_level("DescribeTable", {"TableName": APPLICATION})["Table"]
    (golden,) = tables_of(recorded)
    names = lambda t: sorted((a["AttributeName"], a["AttributeType"]) for a in t["AttributeDefinitions"])
    equal(table["KeySchema"], golden["KeySchema"])
    equal(names(table), names(golden))
    index = lambda t: [
        (i["IndexName"], i["KeySchema"], i["Projection"]["ProjectionType"], i["IndexStatus"])
        for i in t["GlobalSecondaryIndexes"]
    ]
    equal(index(table), index(golden))
    mode = lambda t: t["BillingModeSummary"]["BillingMode"]
    equal(mode(table), mode(golden))


def tables_of(value):
    """Every table description in a recorded file, wherever it stands."""
    if isinstance(value, list):
        return [table for item in value for table in tables_of(item)]
    if not isinstance(value, dict):
        return []
    if "KeySchema" in value and "AttributeDefinitions" in value:
        return [value]
    return [table for item in value.values() for table in tables_of(item)]


@check("it stops gracefully when asked to")
def _():
    worker.stdin.close()
    until(lambda: worker.poll() is not None, "the worker ends", 60)
    equal(worker.returncode, 0, tail())
    until(lambda: of_kind("stopped"), "its last word", 5)
    equal(of_kind("stopped"), [["stopped", "true"]])


@check("its retrieval was what was asked for")
def _():
    own = [r["operation"] for r in control("journal")["requests"] if r["caller"] == WORKER]
    used, other = ("GetRecords", "SubscribeToShard")[:: 1 if MODE == "polling" else -1]
    assert own.count(used) >= len(shards(kinesis, STREAM)), Counter(own)
    equal(own.count(other), 0, other)
    if MODE == "fan-out":
        arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
        consumers = kinesis.list_stream_consumers(StreamARN=arn)["Consumers"]
        equal([(c["ConsumerName"], c["ConsumerStatus"]) for c in consumers], [(APPLICATION, "ACTIVE")])


@check("CloudWatch was told: the library's namespace, names, dimensions, and the very number of records")
def _():
    data = [d for d in control("cloudwatch")["metrics"] if d["namespace"] == APPLICATION]
    by_operation = {}
    for datum in data:
        dimensions = {d["name"]: d["value"] for d in datum["dimensions"]}
        by_operation.setdefault(dimensions.get("Operation"), []).append((datum, dimensions))
    names = lambda operation: {d["name"] for d, _ in by_operation.get(operation, [])}
    expected = {
        "ProcessTask": {
            "RecordsProcessed",
            "DataBytesProcessed",
            "MillisBehindLatest",
            "RecordProcessor.processRecords.Time",
            "Success",
            "Time",
        },
        "RenewAllLeases": {"CurrentLeases", "LostLeases", "Success", "Time"},
        "LeaseAssignmentManager": {"TotalLeases", "NumWorkers", "ExpiredLeases"},
        "InitializeTask": {"RecordProcessor.initialize.Time"},
        "ShutdownTask": {"RecordProcessor.shutdown.Time"},
        "ShardSyncTask": {"Success", "Time"},
    }
    for operation, wanted in expected.items():
        assert wanted <= names(operation), (operation, wanted - names(operation), sorted(by_operation, key=str))
    processed = Counter()
    for datum, dimensions in by_operation["ProcessTask"]:
        if datum["name"] == "RecordsProcessed":
            equal(datum["unit"], "Count")
            processed[dimensions["ShardId"]] += datum["value"]["sum"]
    equal(processed, Counter(event[1] for event in of_kind("record")), "RecordsProcessed by shard")
    workers = {d.get("WorkerIdentifier") for _, d in by_operation["RenewAllLeases"]}
    equal(workers, {WORKER})


try:
    run(f"kcl-java {MODE}")
finally:
    if worker and worker.poll() is None:
        worker.kill()
