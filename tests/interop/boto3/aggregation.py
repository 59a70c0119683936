"""Aggregates of the library for Python go into a stream and come out of it unchanged; the module for
Node.js reads the same stream afterwards."""

import base64

from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import deaggregate_records
from checks import *

kinesis = client()


@check("aggregates of 1,000 user records are put, read back and expanded")
def _():
    create(kinesis, "aggregated", 1)
    aggregator, entries = RecordAggregator(), []
    for i in range(1000):
        aggregator.add_user_record(f"key-{i % 7}", f"user record {i}".encode())
        if aggregator.get_num_user_records() == 100:
            key, _hash_key, data = aggregator.clear_and_get().get_contents()
            entries.append({"PartitionKey": key, "Data": data})
    answer = kinesis.put_records(StreamName="aggregated", Records=entries)
    equal(answer["FailedRecordCount"], 0)
    records, _last = read(kinesis, iterator(kinesis, "aggregated", "shardId-000000000000"))
    equal([r["Data"] for r in records], [e["Data"] for e in entries])
    lambda_form = [lambda_event(r) for r in records]
    user = [r["kinesis"] for r in deaggregate_records(lambda_form)]
    equal(
        [(r["partitionKey"], base64.b64decode(r["data"])) for r in user],
        [(f"key-{i % 7}", f"user record {i}".encode()) for i in range(1000)],
    )


run("boto3 aggregation")
