// The de-aggregation module for Node.js expands what the aggregator for Python wrote into a stream:
// bytes go through the endpoint from one language to another unchanged.

import assert from "node:assert/strict";
import { GetRecordsCommand, GetShardIteratorCommand, KinesisClient } from "@aws-sdk/client-kinesis";
import aggregation from "aws-kinesis-agg";
import { check, paced, runAll, settings } from "./checks.mjs";

const kinesis = new KinesisClient(settings);

check("user records of aggregates that Python wrote are all there, in order", async () => {
  const { ShardIterator } = await paced(
    kinesis,
    () =>
      new GetShardIteratorCommand({
        StreamName: "aggregated",
        ShardId: "shardId-000000000000",
        ShardIteratorType: "TRIM_HORIZON",
      }),
  );
  const { Records } = await paced(kinesis, () => new GetRecordsCommand({ ShardIterator }));
  const user = [];
  for (const record of Records) {
    const kinesisRecord = {
      partitionKey: record.PartitionKey,
      sequenceNumber: record.SequenceNumber,
      data: Buffer.from(record.Data).toString("base64"),
    };
    await new Promise((resolve, reject) =>
      aggregation.deaggregateSync(kinesisRecord, true, (error, records) =>
        error ? reject(error) : resolve(user.push(...records)),
      ),
    );
  }
  assert.ok(Records.length < 100, `${Records.length} stream records are no aggregates`);
  assert.deepEqual(
    user.map((r) => `${r.partitionKey}=${Buffer.from(r.data, "base64")}`),
    Array.from({ length: 1000 }, (_, i) => `key-${i % 7}=user record ${i}`),
  );
});

await runAll("js aggregation");
kinesis.destroy();
