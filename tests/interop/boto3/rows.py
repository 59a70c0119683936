"""What AWS does and endpoints are known to get wrong: a check for each such behaviour, by its row in
the list of them. Expected values come from the API reference and the developer guide.
"""

import os
import threading
import time
from datetime import datetime, timedelta, timezone

from checks import *

kinesis = client()
loose = client(validate=False)
MIB = 1 << 20
TOP = 2**128 - 1


def first_key(shard):
    return shard["HashKeyRange"]["StartingHashKey"]


def now():
    return datetime.now(timezone.utc)


@check("row 1: one hot shard of four: only its entries fail, later ones do not")
def _():
    create(kinesis, "row1", 4)
    found = shards(kinesis, "row1")
    hot, cold = found[2], [found[0], found[1], found[3]]
    entries = []
    for i in range(8):
        for shard, size in [(hot, 300 * 1024)] + [(c, 10) for c in cold]:
            entries.append(
                {
                    "PartitionKey": f"{i}",
                    "ExplicitHashKey": first_key(shard),
                    "Data": bytes([i]) * size,
                }
            )
    answer = kinesis.put_records(StreamName="row1", Records=entries)
    equal(len(answer["Records"]), len(entries))
    failed = [(e, r) for e, r in zip(entries, answer["Records"]) if "ErrorCode" in r]
    equal(answer["FailedRecordCount"], len(failed))
    # 1 MiB a second: of 300 KiB entries three pass at once.
    equal(len(failed), 5)
    account = kinesis.describe_stream_summary(StreamName="row1")["StreamDescriptionSummary"][
        "StreamARN"
    ].split(":")[4]
    for entry, result in failed:
        equal(entry["ExplicitHashKey"], first_key(hot))
        equal(result["ErrorCode"], THROTTLED)
        for named in (account, "row1", hot["ShardId"]):
            assert named in result["ErrorMessage"], result["ErrorMessage"]
        assert "SequenceNumber" not in result and "ShardId" not in result, result
    for shard in found:
        stored = [
            e["Data"]
            for e, r in zip(entries, answer["Records"])
            if r.get("ShardId") == shard["ShardId"]
        ]
        records, _last = read(kinesis, iterator(kinesis, "row1", shard["ShardId"]))
        equal([r["Data"] for r in records], stored, shard["ShardId"])


@check("row 1: 1,000 records a second and shard")
def _():
    create(kinesis, "row1b", 1)
    entries = [{"PartitionKey": "k", "Data": b"x"}] * 500
    begin, accepted, failed = time.monotonic(), 0, 0
    for _ in range(20):
        answer = kinesis.put_records(StreamName="row1b", Records=entries)
        accepted += 500 - answer["FailedRecordCount"]
        failed += answer["FailedRecordCount"]
    allowed = 1000 * (1 + time.monotonic() - begin) + 1
    assert 1000 <= accepted <= allowed, f"{accepted} accepted, {allowed:.0f} allowed"
    assert failed > 0
    large = {"StreamName": "row1b", "PartitionKey": "k", "Data": b"x" * (MIB - 1)}
    until_refused(THROTTLED, kinesis.put_record, **large)


@check("row 6: a closed shard of 10 records by Limit 4: 4, 4, then 2 and the end")
def _():
    create(kinesis, "row6", 1)
    shard = shards(kinesis, "row6")[0]["ShardId"]
    for i in range(10):
        kinesis.put_record(StreamName="row6", PartitionKey="k", Data=bytes([i]))
    kinesis.split_shard(StreamName="row6", ShardToSplit=shard, NewStartingHashKey=str(2**127))
    active(kinesis, "row6")
    at, pages, data = iterator(kinesis, "row6", shard), [], b""
    while at:
        answer = paced(kinesis.get_records, ShardIterator=at, Limit=4)
        at = answer.get("NextShardIterator")
        pages.append((len(answer["Records"]), len(answer.get("ChildShards") or [])))
        data += b"".join(r["Data"] for r in answer["Records"])
    equal(data, bytes(range(10)))
    equal(pages, [(4, 0), (4, 0), (2, 2)], "records and ChildShards of each page")


@check("rows 7 and 8: shard filters around a split")
def _():
    name = "row7"
    create(kinesis, name, 2)
    first, second = shards(kinesis, name)
    time.sleep(0.01)
    before = now()
    time.sleep(0.01)
    kinesis.split_shard(
        StreamName=name,
        ShardToSplit=first["ShardId"],
        NewStartingHashKey=str(int(first["HashKeyRange"]["EndingHashKey"]) // 2),
    )
    active(kinesis, name)
    time.sleep(0.01)
    after = now()
    everything = ids(shards(kinesis, name))
    equal(len(everything), 4)
    parent, other, left, right = everything

    def filtered(kind, **members):
        return ids(shards(kinesis, name, ShardFilter={"Type": kind, **members}))

    equal(filtered("AT_TRIM_HORIZON"), [parent, other])
    equal(filtered("FROM_TRIM_HORIZON"), everything)
    equal(filtered("AT_LATEST"), [other, left, right])
    equal(filtered("AT_TIMESTAMP", Timestamp=before), [parent, other])
    equal(filtered("AT_TIMESTAMP", Timestamp=after), [other, left, right])
    equal(filtered("FROM_TIMESTAMP", Timestamp=before), everything)
    equal(filtered("FROM_TIMESTAMP", Timestamp=after), [other, left, right])
    equal(filtered("AFTER_SHARD_ID", ShardId=other), [left, right])
    for kind in ("AT_TIMESTAMP", "FROM_TIMESTAMP", "AFTER_SHARD_ID"):
        refused(INVALID, kinesis.list_shards, StreamName=name, ShardFilter={"Type": kind})
    refused(INVALID, loose.list_shards, StreamName=name, ShardFilter={"Type": "AT_NOON"})
    found = pages(kinesis, name, ShardFilter={"Type": "AT_LATEST"}, MaxResults=2)
    equal([ids(page) for page in found], [[other, left], [right]], "pages of a filter")


@check("row 10: UPDATING refuses a second reshard; reads and writes go on")
def _():
    # An endpoint where the state lasts.
    kinesis = client(endpoint=os.environ["SLOW_ENDPOINT"])
    name = "row10"
    create(kinesis, name, 1)
    shard = shards(kinesis, name)[0]["ShardId"]
    at = iterator(kinesis, name, shard)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"before")
    kinesis.split_shard(StreamName=name, ShardToSplit=shard, NewStartingHashKey=str(2**127))
    refused(
        "ResourceInUseException",
        kinesis.split_shard,
        StreamName=name,
        ShardToSplit=shard,
        NewStartingHashKey=str(2**126),
    )
    put = kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"meanwhile")
    answer = kinesis.get_records(ShardIterator=at)
    equal(status(kinesis, name), "UPDATING", "all of this happened meanwhile")
    equal(answer["Records"][0]["Data"], b"before")
    active(kinesis, name)
    records, _last = read(kinesis, iterator(kinesis, name, put["ShardId"]))
    equal(records[-1]["Data"], b"meanwhile")


@check("row 12: an iterator that nobody gave is an invalid argument")
def _():
    create(kinesis, "row12", 1)
    good = iterator(kinesis, "row12", "shardId-000000000000")
    # The last is the example of the API reference.
    foreign = (
        "AAAAAAAAAAETYyAYzd665+8e0X7JTsASDM/Hr2rSwc0X2qz93iuA3udrjTH+ikQvpQk/1ZcMMLzRdAesqwBGPnst"
        "hzU0/CBlM/U8/8oEqGwX3pKw0XyeDNRAAZyXBo3MqkQtCpXhr942BRTjvWKhFz7OmCb2Ncfr8Tl2cBktooi6kJhr"
        "+djN5WYkB38Rr3akRgCl9qaU4dY="
    )
    for bad in ("garbage", good[:-10], good[:-1] + ("A" if good[-1] != "A" else "B"), foreign):
        refused("InvalidArgumentException", kinesis.get_records, ShardIterator=bad)
    equal(paced(kinesis.get_records, ShardIterator=good)["Records"], [])


@check("row 13: MillisBehindLatest is above 0 while unread data exists, else 0")
def _():
    name = "row13"
    create(kinesis, name, 1)
    shard = shards(kinesis, name)[0]["ShardId"]
    at = iterator(kinesis, name, shard)
    answer = paced(kinesis.get_records, ShardIterator=at)
    equal(answer["MillisBehindLatest"], 0, "an idle shard")
    for i in range(3):
        kinesis.put_record(StreamName=name, PartitionKey="k", Data=bytes([i]))
    time.sleep(0.02)
    at = iterator(kinesis, name, shard)
    lags = []
    for _ in range(3):
        answer = paced(kinesis.get_records, ShardIterator=at, Limit=1)
        at = answer["NextShardIterator"]
        lags.append(answer["MillisBehindLatest"])
    assert 0 < lags[1] <= lags[0] + 5_000 and lags[0] < 60_000, lags
    equal(lags[2], 0, "the tip")


@check("row 14: AT_TIMESTAMP after the last record is the tip; the future is refused")
def _():
    name = "row14"
    create(kinesis, name, 1)
    shard = shards(kinesis, name)[0]["ShardId"]
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"old")
    time.sleep(0.02)
    at = iterator(kinesis, name, shard, "AT_TIMESTAMP", Timestamp=now())
    answer = paced(kinesis.get_records, ShardIterator=at)
    equal((answer["Records"], answer["MillisBehindLatest"]), ([], 0))
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"new")
    records, _last = read(kinesis, answer["NextShardIterator"], 1)
    equal([r["Data"] for r in records], [b"new"])
    refused(
        "InvalidArgumentException",
        kinesis.get_shard_iterator,
        StreamName=name,
        ShardId=shard,
        ShardIteratorType="AT_TIMESTAMP",
        Timestamp=now() + timedelta(hours=1),
    )


@check("row 15: 1 to 500 records of a key of up to 256 characters")
def _():
    name = "row15"
    create(kinesis, name, 1)
    entry = {"PartitionKey": "k", "Data": b"x"}
    refused(INVALID, loose.put_records, StreamName=name, Records=[])
    refused(INVALID, loose.put_records, StreamName=name, Records=[entry] * 501)
    equal(kinesis.put_records(StreamName=name, Records=[entry] * 500)["FailedRecordCount"], 0)
    for key in ("", "k" * 257):
        refused(INVALID, loose.put_record, StreamName=name, PartitionKey=key, Data=b"x")
    # Several bytes of UTF-8 are one character of the key.
    paced(kinesis.put_record, StreamName=name, PartitionKey="ä" * 256, Data=b"x")


@check("row 16: sequence numbers: 56 digits, rising, children above their parent's end")
def _():
    name = "row16"
    create(kinesis, name, 1)
    put = lambda: kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")["SequenceNumber"]
    numbers = [put() for _ in range(20)]
    kinesis.split_shard(
        StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127)
    )
    active(kinesis, name)
    numbers += [put() for _ in range(20)]
    assert all(len(n) == 56 and n.isdecimal() for n in numbers), numbers[0]
    as_integers = [int(n) for n in numbers]
    equal(as_integers, sorted(set(as_integers)), "unique and rising")
    parent, *children = [s["SequenceNumberRange"] for s in shards(kinesis, name)]
    assert int(parent["StartingSequenceNumber"]) <= as_integers[0]
    assert as_integers[19] <= int(parent["EndingSequenceNumber"])
    for child in children:
        assert int(child["StartingSequenceNumber"]) > int(parent["EndingSequenceNumber"])


@check("row 17: two shards meet at 2^127")
def _():
    name = "row17"
    create(kinesis, name, 2)
    first, second = shards(kinesis, name)
    equal(first["HashKeyRange"]["EndingHashKey"], "170141183460469231731687303715884105727")
    equal(second["HashKeyRange"]["StartingHashKey"], "170141183460469231731687303715884105728")
    for key, shard in [(0, first), (2**127 - 1, first), (2**127, second), (TOP, second)]:
        answer = kinesis.put_record(
            StreamName=name, PartitionKey="k", ExplicitHashKey=str(key), Data=b"x"
        )
        equal(answer["ShardId"], shard["ShardId"], key)


@check("row 22: 2,500 shards on three pages of at most 1,000")
def _():
    all_pages = pages(kinesis, "wide")
    equal([len(page) for page in all_pages], [1000, 1000, 500])
    found = [i for page in all_pages for i in ids(page)]
    equal(found, [f"shardId-{i:012}" for i in range(2500)])
    # A larger MaxResults is cut, not refused.
    equal(len(kinesis.list_shards(StreamName="wide", MaxResults=10_000)["Shards"]), 1000)
    described = kinesis.describe_stream(StreamName="wide")["StreamDescription"]
    equal((len(described["Shards"]), described["HasMoreShards"]), (100, True))
    rest = kinesis.describe_stream(StreamName="wide", ExclusiveStartShardId="shardId-000000002490")
    equal(len(rest["StreamDescription"]["Shards"]), 9)
    equal(rest["StreamDescription"]["HasMoreShards"], False)


@check("row 23: a reader at the tip misses nothing of eight writers, in order")
def _():
    name, writers, each = "row23", 8, 60
    create(kinesis, name, 1)
    at = iterator(kinesis, name, "shardId-000000000000", "LATEST")
    acknowledged, failures = {}, []

    def write(writer):
        try:
            own = client()
            for i in range(each):
                data = f"{writer}:{i}".encode()
                answer = paced(own.put_record, StreamName=name, PartitionKey="k", Data=data)
                acknowledged[data] = answer["SequenceNumber"]
        except Exception as error:  # goes to the check's own thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(w,)) for w in range(writers)]
    for thread in threads:
        thread.start()
    records, _last = read(kinesis, at, writers * each)
    for thread in threads:
        thread.join(30)
    equal(failures, [])
    equal({r["Data"]: r["SequenceNumber"] for r in records}, acknowledged)
    equal(len(records), writers * each)
    order = [int(r["SequenceNumber"]) for r in records]
    equal(order, sorted(order), "order")
    for writer in range(writers):
        own = [r["Data"] for r in records if r["Data"].startswith(b"%d:" % writer)]
        equal(own, [f"{writer}:{i}".encode() for i in range(each)], "a writer's order")


run("boto3 rows")
