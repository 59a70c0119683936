"""The official Java Kinesis Producer Library sends into an endpoint over TLS that verifies signatures.

This script tells it what to put, reshards meanwhile, and compares what its futures said with what boto3
reads back. Aggregates are taken apart with the library's protobuf description as it is published for
Python.

Environment: ENDPOINT (https), AWS_CA_BUNDLE, SIGNED_KEY, JAVA (the command line up to the class), LOG
(where the library's log goes), TEMPORARY (an empty directory for its files).
"""

import hashlib
import json
import os
import pathlib
import re
import shlex
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections import Counter

from aws_kinesis_agg.deaggregator import messages_pb2
from checks import *

KEY, SECRET = os.environ["SIGNED_KEY"].split(":")
AUTHORITY = os.environ["AWS_CA_BUNDLE"]
MAGIC = bytes.fromhex("f3899ac2")
BOUND = 90

kinesis = client(key=KEY, secret=SECRET)
log_path = pathlib.Path(os.environ["LOG"])


class Producer:
    def __init__(self, log, ttl, *authority):
        self.told = {}  # data -> the words about it
        self.synced, self.stopped = 0, False
        self.process = subprocess.Popen(
            [
                *shlex.split(os.environ["JAVA"]),
                "interop.Produce",
                os.environ["ENDPOINT"],
                KEY,
                SECRET,
                os.environ["TEMPORARY"],
                str(ttl),
                *authority,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(log, "w"),
            text=True,
        )
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        for line in self.process.stdout:
            kind, *words = line.split()
            if kind == "synced":
                self.synced += 1
            elif kind == "stopped":
                self.stopped = True
            else:
                assert words[0] not in self.told, f"told twice: {line}"
                self.told[words[0]] = [kind, *words[1:]]

    def put(self, stream, records):
        for key, hash_key, data in records:
            self.process.stdin.write(f"{stream} {key or '-'} {hash_key or '-'} {data}\n")
        self.process.stdin.flush()

    def sync(self):
        before = self.synced
        self.process.stdin.write("sync\n")
        self.process.stdin.flush()
        until(
            lambda: self.synced > before or self.process.poll() is not None,
            "every future is done",
            BOUND,
        )
        equal(self.process.poll(), None, "it ended")

    def all_succeeded(self, records):
        for _key, _hash_key, data in records:
            equal(self.told.get(data, ["never told"])[0], "ok", f"{data} {self.told.get(data)}")


def hash_of(key, hash_key):
    return int(hash_key) if hash_key else int(hashlib.md5(key.encode()).hexdigest(), 16)


def user_records(record):
    """What a consumer finds in a record: key, explicit hash key, data, and whether of an aggregate."""
    data = record["Data"]
    if not data.startswith(MAGIC):
        return [(record.get("PartitionKey"), None, data.decode(), False)]
    equal(hashlib.md5(data[4:-16]).digest(), data[-16:], "an aggregate's checksum")
    message = messages_pb2.AggregatedRecord.FromString(data[4:-16])
    return [
        (
            message.partition_key_table[r.partition_key_index],
            message.explicit_hash_key_table[r.explicit_hash_key_index]
            if r.HasField("explicit_hash_key_index")
            else None,
            r.data.decode(),
            True,
        )
        for r in message.records
    ]


def read_back(stream):
    """Every user record that a consumer of the client library would be given, with its shard and
    sequence number; and how many Kinesis records there are."""
    found, carriers = [], 0
    for shard in shards(kinesis, stream):
        span = shard["HashKeyRange"]
        low, high = int(span["StartingHashKey"]), int(span["EndingHashKey"])
        records, _last = read(kinesis, iterator(kinesis, stream, shard["ShardId"]))
        carriers += len(records)
        for record in records:
            inside = user_records(record)
            # An aggregate of which one record belongs elsewhere is dropped as a whole.
            if all(low <= hash_of(key, h) <= high for key, h, _data, whole in inside if whole):
                found += [(r, shard["ShardId"], record["SequenceNumber"]) for r in inside]
    return found, carriers


def numbered(name, count):
    """Records of many keys, each tenth with an explicit hash key."""
    return [
        (
            f"key-{i % 977}",
            str((2**128 - 1) * (i // 10 % 13) // 13) if i % 10 == 3 else None,
            f"{name}-{i}-{'x' * (40 + i % 60)}",
        )
        for i in range(count)
    ]


def control(path):
    trust = ssl.create_default_context(cafile=AUTHORITY)
    address = f"{os.environ['ENDPOINT']}/_local/{path}"
    with urllib.request.urlopen(address, timeout=20, context=trust) as answer:
        return json.load(answer)


producer = Producer(log_path, 60_000, AUTHORITY)
COUNT = 20_000
plain = numbered("plain", COUNT)


@check("20,000 user records over TLS: every future succeeds")
def _():
    create(kinesis, "kpl", 3)
    # Before it knows a stream the library neither aggregates nor heeds explicit hash keys.
    producer.put("kpl", [("first", None, "first")])
    producer.sync()
    equal(producer.told["first"][0], "ok", producer.told["first"])
    producer.put("kpl", plain)
    producer.sync()
    producer.all_succeeded(plain)
    equal(len(producer.told), COUNT + 1)


@check("read back: each exactly once, aggregated, its keys, where its future said")
def _():
    found, carriers = read_back("kpl")
    got = Counter((key, data) for (key, _h, data, _whole), _shard, _number in found)
    wanted = Counter((key, data) for key, _h, data in [("first", None, "first"), *plain])
    equal(got - wanted, Counter(), "more than was put")
    equal(wanted - got, Counter(), "less than was put")
    assert carriers < COUNT // 10, f"{carriers} Kinesis records"
    explicit = {data: hash_key for _key, hash_key, data in plain}
    for (_key, hash_key, data, whole), shard, number in found:
        equal(producer.told[data][1:3], [shard, number], data)
        if whole:
            equal(hash_key, explicit[data], data)


@check("a split while it sends: nothing is lost, and twice is only what it says it sent twice")
def _():
    name, batch = "kpl-split", 200
    create(kinesis, name, 2)
    records = numbered("split", 6_000)
    producer.put(name, [("first", None, "split-first")])
    producer.sync()
    begun = len(producer.told)
    for at in range(0, len(records), batch):
        producer.put(name, records[at : at + batch])
        if at == 2_000:
            middle = str(2**126)
            kinesis.split_shard(
                StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=middle
            )
        # It goes on while records come: so they meet the split on their way.
        until(lambda: len(producer.told) - begun > at - 1_000, "the producer keeps up", BOUND)
    active(kinesis, name)
    producer.sync()
    producer.all_succeeded(records)
    found, _carriers = read_back(name)
    copies = {}
    for (key, _h, data, _whole), shard, number in found:
        copies.setdefault((key, data), []).append([shard, number])
    equal(set(copies), {(k, d) for k, _h, d in records} | {("first", "split-first")})
    for (_key, data), places in copies.items():
        words = producer.told[data]
        assert words[1:3] in places, (data, words, places)
        if len(places) > 1:
            assert "Wrong-Shard" in " ".join(words[3:]), (data, words)
    in_children = {shard for places in copies.values() for shard, _number in places}
    equal(in_children, set(ids(shards(kinesis, name))), "records before and after the split")


@check("a stream that distributes records itself: no aggregates, keys only where they were given")
def _():
    name = "kpl-auto"
    kinesis.create_stream(
        StreamName=name,
        StreamModeDetails={"StreamMode": "ON_DEMAND"},
        RecordDistributionStrategy="AUTO",
    )
    active(kinesis, name)
    records = [(f"key-{i}" if i % 2 else None, None, f"auto-{i}") for i in range(1_000)]
    producer.put(name, records)
    producer.sync()
    producer.all_succeeded(records)
    found, carriers = read_back(name)
    equal(carriers, len(records))
    got = Counter((key, data) for (key, _h, data, _whole), _shard, _number in found)
    equal(got, Counter((key, data) for key, _h, data in records))
    used = Counter(shard for _record, shard, _number in found)
    equal(sorted(used), ids(shards(kinesis, name)), "shards")


@check("CloudWatch was told over TLS: the library's namespace, names, and the very number of records")
def _():
    def put():
        data = [d for d in control("cloudwatch")["metrics"] if d["namespace"] == "KinesisProducerLibrary"]
        named = Counter()
        for datum in data:
            dimensions = {d["name"]: d["value"] for d in datum["dimensions"]}
            if datum["name"] == "UserRecordsPut" and dimensions.get("StreamName") == "kpl":
                named[tuple(sorted(dimensions))] += datum["value"]["sum"]
        names = {d["name"] for d in data}
        return names, named

    names, named = until(lambda: (lambda f: f if f[1] else None)(put()), "metrics arrive")
    until(lambda: COUNT + 1 in put()[1].values(), f"all records are counted: {put()}", 30)
    wanted = {"UserRecordsReceived", "UserRecordsPut", "KinesisRecordsPut", "RequestTime", "BufferingTime"}
    assert wanted <= names, names


@check("what it asked for, and nothing in vain")
def _():
    seen = Counter(
        (r["operation"], r["error"]) for r in control("journal")["requests"] if r["caller"] == KEY
    )
    for operation in ("PutRecords", "ListShards", "DescribeStreamSummary", "PutMetricData"):
        assert seen[operation, None], seen
    refused_ones = {k: n for k, n in seen.items() if k[1] is not None}
    equal(refused_ones, {})


@check("it ends when everything was sent; no line at ERROR")
def _():
    producer.process.stdin.close()
    until(lambda: producer.process.poll() is not None, "it ends", 30)
    equal((producer.process.returncode, producer.stopped), (0, True))
    lines = log_path.read_text().splitlines()
    assert any(" INFO " in line for line in lines), "the log is not there"
    equal([line for line in lines if re.match(r"\S+ ERROR ", line)][:3], [])


@check("without the authority it refuses the certificate: nothing arrives")
def _():
    untrusting = Producer(log_path.with_suffix(".untrusting.log"), 1_000)
    try:
        untrusting.put("kpl", [("k", None, "untrusting")])
        until(lambda: untrusting.told, "the record fails", BOUND)
        equal(untrusting.told["untrusting"][0], "failed", untrusting.told)
    finally:
        untrusting.process.kill()
    found, _carriers = read_back("kpl")
    assert not [1 for record, _shard, _number in found if record[2] == "untrusting"]


try:
    run("kpl-java")
finally:
    if producer.process.poll() is None:
        producer.process.kill()
