// The de-aggregation module for Node.js expands what the producer of this project wrote.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
} from "@aws-sdk/client-kinesis";
import aggregation from "aws-kinesis-agg";
import { check, paced, runAll, settings } from "./checks.mjs";

const kinesis = new KinesisClient(settings);
const expected = JSON.parse(readFileSync(process.env.EXPECTED))
  .map(([key, , data]) => `${key}\t${data}`)
  .sort();

/** Keys and data of the user records of a stream, sorted. */
async function expanded(StreamName) {
  const user = [];
  const { Shards } = await kinesis.send(new ListShardsCommand({ StreamName }));
  for (const { ShardId } of Shards) {
    let { ShardIterator } = await paced(
      kinesis,
      () =>
        new GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
    );
    for (let behind = 1; behind > 0; ) {
      const page = await paced(kinesis, () => new GetRecordsCommand({ ShardIterator }));
      ShardIterator = page.NextShardIterator;
      behind = page.MillisBehindLatest;
      for (const record of page.Records) {
        const one = {
          partitionKey: record.PartitionKey,
          sequenceNumber: record.SequenceNumber,
          data: Buffer.from(record.Data).toString("base64"),
        };
        await new Promise((resolve, reject) =>
          aggregation.deaggregateSync(one, true, (error, records) =>
            error ? reject(error) : resolve(user.push(...records)),
          ),
        );
      }
    }
  }
  return user.map((r) => `${r.partitionKey}\t${Buffer.from(r.data, "base64")}`).sort();
}

check("aggregates of the producer are expanded to what was put", async () => {
  assert.deepEqual(await expanded("produced"), expected);
});

check("with identities in their tags they are expanded to the same", async () => {
  assert.deepEqual(await expanded("produced-with-identities"), expected);
});

await runAll("js producer");
kinesis.destroy();
