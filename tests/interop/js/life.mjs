// The AWS SDK for JavaScript v3 lives through a stream's whole life: once over its own HTTP/2
// (prior knowledge), once over HTTP/1.1. Expected values come from the API reference.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateStreamCommand,
  DeleteStreamCommand,
  DeregisterStreamConsumerCommand,
  DescribeStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListChannelsCommand,
  ListShardsCommand,
  ListStreamsCommand,
  MergeShardsCommand,
  PutRecordCommand,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  SplitShardCommand,
  SubscribeToShardCommand,
  waitUntilStreamExists,
  waitUntilStreamNotExists,
} from "@aws-sdk/client-kinesis";
import { NodeHttp2Handler, NodeHttpHandler } from "@smithy/node-http-handler";
import { INVALID, THROTTLED, check, paced, refused, runAll, settings, until } from "./checks.mjs";

const transport = process.argv[2];
const STREAM = `life-js-${transport}`;
const FIRST = "shardId-000000000000";
const SECOND = "shardId-000000000001";
const TOP = 2n ** 128n - 1n;

const clientOf = (endpoint) =>
  new KinesisClient({
    ...settings,
    endpoint,
    maxAttempts: 1,
    requestHandler: transport === "http2" ? new NodeHttp2Handler() : new NodeHttpHandler(),
  });
const kinesis = clientOf(process.env.SLOW_ENDPOINT);
const send = (command) => kinesis.send(command);
const refuse = (codes, command) => refused(codes, kinesis, command);
const bytes = (text) => new TextEncoder().encode(text);
const summary = async () =>
  (await send(new DescribeStreamSummaryCommand({ StreamName: STREAM }))).StreamDescriptionSummary;
const shards = async (more = {}) =>
  (await send(new ListShardsCommand({ StreamName: STREAM, ...more }))).Shards;
const ids = (found) => found.map((shard) => shard.ShardId);
const active = () =>
  until(async () => (await summary()).StreamStatus === "ACTIVE", `${STREAM} is ACTIVE`);
const put = (hashKey, text) =>
  send(
    new PutRecordCommand({
      StreamName: STREAM,
      PartitionKey: "key",
      ExplicitHashKey: `${hashKey}`,
      Data: bytes(text),
    }),
  );
const iterator = async (ShardId, ShardIteratorType = "TRIM_HORIZON", more = {}) =>
  (
    await paced(
      kinesis,
      () => new GetShardIteratorCommand({ StreamName: STREAM, ShardId, ShardIteratorType, ...more }),
    )
  ).ShardIterator;
const page = (ShardIterator, Limit) =>
  paced(kinesis, () => new GetRecordsCommand({ ShardIterator, Limit }));

/** Reads to the tip or the end of the shard; the last answer, and the records. */
async function read(at) {
  const records = [];
  for (let pages = 0; pages < 1000; pages++) {
    const answer = await page(at);
    records.push(...answer.Records);
    at = answer.NextShardIterator;
    if (!at || answer.MillisBehindLatest === 0) return { records, last: answer };
  }
  assert.fail("no end of pages");
}

const sent = new Map([
  [FIRST, []],
  [SECOND, []],
]);

check("CreateStream: CREATING, then ACTIVE; the name is taken", async () => {
  await send(new CreateStreamCommand({ StreamName: STREAM, ShardCount: 2 }));
  assert.equal((await summary()).StreamStatus, "CREATING");
  await refuse(
    "ResourceInUseException",
    new CreateStreamCommand({ StreamName: STREAM, ShardCount: 2 }),
  );
  await waitUntilStreamExists(
    { client: kinesis, maxWaitTime: 20, minDelay: 1, maxDelay: 1 },
    { StreamName: STREAM },
  );
});

check("DescribeStreamSummary, ListStreams and ListShards, by name and by ARN", async () => {
  const found = await summary();
  assert.equal(found.StreamName, STREAM);
  assert.equal(found.StreamStatus, "ACTIVE");
  assert.equal(found.RetentionPeriodHours, 24);
  assert.equal(found.OpenShardCount, 2);
  assert.equal(found.ConsumerCount, 0);
  assert.equal(found.EncryptionType, "NONE");
  assert.equal(found.StreamModeDetails.StreamMode, "PROVISIONED");
  const age = Date.now() - found.StreamCreationTimestamp.getTime();
  assert.ok(age > -1000 && age < 120_000, `${age} ms old`);
  const { StreamNames } = await send(new ListStreamsCommand({ Limit: 100 }));
  assert.ok(StreamNames.includes(STREAM));
  assert.deepEqual(
    (await send(new ListShardsCommand({ StreamARN: found.StreamARN }))).Shards,
    await shards(),
  );
});

check("ListShards: pages, a start, a filter", async () => {
  const first = await send(new ListShardsCommand({ StreamName: STREAM, MaxResults: 1 }));
  assert.deepEqual(ids(first.Shards), [FIRST]);
  const second = await send(new ListShardsCommand({ NextToken: first.NextToken }));
  assert.deepEqual(ids(second.Shards), [SECOND]);
  assert.equal(second.NextToken, undefined);
  assert.deepEqual(ids(await shards({ ExclusiveStartShardId: FIRST })), [SECOND]);
  const after = { ShardFilter: { Type: "AFTER_SHARD_ID", ShardId: FIRST } };
  assert.deepEqual(ids(await shards(after)), [SECOND]);
});

check("PutRecord and PutRecords: the shard that holds the key's MD5", async () => {
  const ranges = await shards();
  const shardOf = (key) => {
    const hash = BigInt(`0x${createHash("md5").update(key).digest("hex")}`);
    return hash <= BigInt(ranges[0].HashKeyRange.EndingHashKey) ? FIRST : SECOND;
  };
  const Data = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (let i = 0; i < 20; i++) {
    const PartitionKey = `ключ-${i}`;
    const answer = await send(new PutRecordCommand({ StreamName: STREAM, PartitionKey, Data }));
    assert.equal(answer.ShardId, shardOf(PartitionKey));
    sent.get(answer.ShardId).push([answer.SequenceNumber, PartitionKey, Data]);
  }
  const Records = Array.from({ length: 500 }, (_, i) => ({
    PartitionKey: `k${i}`,
    Data: bytes(`record ${i}`),
  }));
  const answer = await send(new PutRecordsCommand({ StreamName: STREAM, Records }));
  assert.equal(answer.FailedRecordCount, 0);
  assert.equal(answer.Records.length, 500);
  for (const [i, result] of answer.Records.entries()) {
    const record = Records[i];
    assert.equal(result.ShardId, shardOf(record.PartitionKey));
    sent.get(result.ShardId).push([result.SequenceNumber, record.PartitionKey, record.Data]);
  }
});

check("GetRecords: from the trim horizon to the tip, equal and in order", async () => {
  for (const shard of [FIRST, SECOND]) {
    const { records, last } = await read(await iterator(shard));
    const got = records.map((r) => [r.SequenceNumber, r.PartitionKey, Uint8Array.from(r.Data)]);
    assert.deepEqual(got, sent.get(shard));
    assert.ok(last.NextShardIterator);
    const age = Date.now() - records[0].ApproximateArrivalTimestamp.getTime();
    assert.ok(age > -1000 && age < 120_000, `${age} ms old`);
  }
});

check("iterators: AT_ and AFTER_SEQUENCE_NUMBER, AT_TIMESTAMP, LATEST", async () => {
  const numbers = sent.get(FIRST).map(([number]) => number);
  const at = { StartingSequenceNumber: numbers[3] };
  const firstOf = async (kind, more) => (await page(await iterator(FIRST, kind, more), 1)).Records;
  assert.equal((await firstOf("AT_SEQUENCE_NUMBER", at))[0].SequenceNumber, numbers[3]);
  assert.equal((await firstOf("AFTER_SEQUENCE_NUMBER", at))[0].SequenceNumber, numbers[4]);
  const hourAgo = new Date(Date.now() - 3_600_000);
  const old = await firstOf("AT_TIMESTAMP", { Timestamp: hourAgo });
  assert.equal(old[0].SequenceNumber, numbers[0]);
  await sleep(5);
  assert.deepEqual(await firstOf("AT_TIMESTAMP", { Timestamp: new Date() }), []);
  const latest = await iterator(FIRST, "LATEST");
  const late = await put(0, "late");
  numbers.push(late.SequenceNumber);
  sent.get(FIRST).push([late.SequenceNumber]);
  const { records } = await read(latest);
  assert.deepEqual(
    records.map((r) => r.SequenceNumber),
    [late.SequenceNumber],
  );
});

check("a throttle: the sixth GetRecords in a second", async () => {
  const at = await iterator(SECOND);
  await sleep(1000);
  const command = new GetRecordsCommand({ ShardIterator: at, Limit: 1 });
  // However slow this machine is, the limit is met within some calls.
  for (let accepted = 0; accepted < 500; accepted++) {
    try {
      await send(command);
    } catch (error) {
      assert.equal(error.name, THROTTLED);
      assert.ok(error.message.includes(SECOND), error.message);
      assert.ok(accepted >= 5, `${accepted} accepted`);
      return;
    }
  }
  assert.fail("500 calls were accepted");
});

check("row 1: PutRecords beyond 1 MiB a second: only entries of the hot shard fail", async () => {
  await sleep(1000);
  const Records = Array.from({ length: 12 }, (_, i) => ({
    PartitionKey: "k",
    ExplicitHashKey: i % 2 ? "0" : `${TOP}`,
    Data: new Uint8Array(i % 2 ? 300 * 1024 : 10).fill(i),
  }));
  const answer = await send(new PutRecordsCommand({ StreamName: STREAM, Records }));
  const failed = answer.Records.flatMap((r, i) => (r.ErrorCode ? [[i, r.ErrorCode]] : []));
  assert.equal(answer.FailedRecordCount, failed.length);
  assert.deepEqual(
    failed,
    [7, 9, 11].map((i) => [i, THROTTLED]),
  );
  for (const r of answer.Records.filter((r) => r.SequenceNumber))
    sent.get(r.ShardId).push([r.SequenceNumber]);
});

check("SplitShard: UPDATING, two children, and the closed shard's end with ChildShards", async () => {
  const cut = BigInt((await shards())[0].HashKeyRange.EndingHashKey) / 2n;
  await send(
    new SplitShardCommand({
      StreamName: STREAM,
      ShardToSplit: FIRST,
      NewStartingHashKey: `${cut}`,
    }),
  );
  assert.equal((await summary()).StreamStatus, "UPDATING");
  await active();
  const [parent, , left, right] = await shards();
  assert.ok(parent.SequenceNumberRange.EndingSequenceNumber);
  assert.deepEqual([left.ParentShardId, right.ParentShardId], [FIRST, FIRST]);
  assert.equal(left.HashKeyRange.EndingHashKey, `${cut - 1n}`);
  assert.equal(right.HashKeyRange.StartingHashKey, `${cut}`);
  const { records, last } = await read(await iterator(FIRST));
  assert.deepEqual(
    records.map((r) => r.SequenceNumber),
    sent.get(FIRST).map(([number]) => number),
  );
  assert.equal(last.NextShardIterator ?? undefined, undefined);
  assert.deepEqual(
    last.ChildShards,
    [left, right].map((c) => ({
      ShardId: c.ShardId,
      ParentShards: [FIRST],
      HashKeyRange: c.HashKeyRange,
    })),
  );
});

/** A consumer of the stream, ACTIVE; its ARN. */
async function registered(client, StreamARN, ConsumerName) {
  const { Consumer } = await client.send(
    new RegisterStreamConsumerCommand({ StreamARN, ConsumerName }),
  );
  const { ConsumerARN } = Consumer;
  assert.equal(Consumer.ConsumerStatus, "CREATING");
  await until(async () => {
    const found = await client.send(new DescribeStreamConsumerCommand({ ConsumerARN }));
    return found.ConsumerDescription.ConsumerStatus === "ACTIVE";
  }, `${ConsumerName} is ACTIVE`);
  return ConsumerARN;
}

/** The events of a shard from its begin to its end, which has a bound: they come every some seconds. */
async function* events(client, ConsumerARN, ShardId) {
  const { EventStream } = await client.send(
    new SubscribeToShardCommand({
      ConsumerARN,
      ShardId,
      StartingPosition: { Type: "TRIM_HORIZON" },
    }),
  );
  const end = performance.now() + 30_000;
  for await (const event of EventStream) {
    assert.deepEqual(Object.keys(event), ["SubscribeToShardEvent"]);
    assert.ok(performance.now() < end, "no end of events within 30 s");
    yield event.SubscribeToShardEvent;
  }
}

const recordsOf = (found) => found.flatMap((event) => event.Records);
const numbersOf = (found) => recordsOf(found).map((record) => record.SequenceNumber);

/** Children, and no continuation, on the last event alone. */
function endsWithChildren(found, parent, children) {
  const last = found.at(-1);
  for (const event of found.slice(0, -1)) {
    assert.ok(event.ContinuationSequenceNumber, "a continuation before the end");
    assert.equal(event.ChildShards?.length ?? 0, 0, "children before the end");
  }
  assert.equal(last.ContinuationSequenceNumber ?? undefined, undefined);
  assert.equal(last.MillisBehindLatest, 0);
  assert.deepEqual(
    last.ChildShards,
    children.map((c) => ({
      ShardId: c.ShardId,
      ParentShards: [parent],
      HashKeyRange: c.HashKeyRange,
    })),
  );
}

check("rows 4 and 5: SubscribeToShard reads a shard closed before, to its end", async () => {
  const ConsumerARN = await registered(kinesis, (await summary()).StreamARN, "closed");
  const found = [];
  for await (const event of events(kinesis, ConsumerARN, FIRST)) found.push(event);
  const expected = sent.get(FIRST);
  assert.deepEqual(
    numbersOf(found),
    expected.map(([number]) => number),
  );
  for (const [i, record] of recordsOf(found).entries()) {
    const [, key, data] = expected[i];
    if (key === undefined) continue;
    assert.equal(record.PartitionKey, key);
    assert.deepEqual(Uint8Array.from(record.Data), data);
    const age = Date.now() - record.ApproximateArrivalTimestamp.getTime();
    assert.ok(age > -1000 && age < 120_000, `${age} ms old`);
  }
  endsWithChildren(found, FIRST, (await shards()).slice(2));
  await send(new DeregisterStreamConsumerCommand({ ConsumerARN }));
});

check("row 4: SubscribeToShard reads the open shard as polling does", async () => {
  const ConsumerARN = await registered(kinesis, (await summary()).StreamARN, "open");
  const expected = sent.get(SECOND).map(([number]) => number);
  const found = [];
  for await (const event of events(kinesis, ConsumerARN, SECOND)) {
    assert.ok(event.ContinuationSequenceNumber, "an open shard ended");
    found.push(event);
    if (numbersOf(found).length >= expected.length) break;
  }
  assert.deepEqual(numbersOf(found), expected);
  const { records } = await read(await iterator(SECOND));
  const whole = (r) => ({ ...r, Data: Buffer.from(r.Data).toString("base64") });
  assert.deepEqual(recordsOf(found).map(whole), records.map(whole));
  await send(new DeregisterStreamConsumerCommand({ ConsumerARN }));
});

check("row 5: a split under a live subscription", async () => {
  const client = clientOf(process.env.ENDPOINT);
  const StreamName = `${STREAM}-live`;
  await client.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
  const { StreamDescriptionSummary: described } = await until(async () => {
    const found = await client.send(new DescribeStreamSummaryCommand({ StreamName }));
    return found.StreamDescriptionSummary.StreamStatus === "ACTIVE" && found;
  }, `${StreamName} is ACTIVE`);
  const ConsumerARN = await registered(client, described.StreamARN, "live");
  const numbers = [];
  const add = async () => {
    const put = { StreamName, PartitionKey: "k", Data: bytes(`${numbers.length}`) };
    numbers.push((await client.send(new PutRecordCommand(put))).SequenceNumber);
  };
  await add();
  const found = [];
  for await (const event of events(client, ConsumerARN, FIRST)) {
    found.push(event);
    // Each is read before the next is written: so the last two come as news.
    if (numbers.length === 3 || numbersOf(found).length < numbers.length) continue;
    await add();
    if (numbers.length === 3) {
      await client.send(
        new SplitShardCommand({
          StreamName,
          ShardToSplit: FIRST,
          NewStartingHashKey: `${2n ** 127n}`,
        }),
      );
    }
  }
  assert.deepEqual(numbersOf(found), numbers);
  const { Shards } = await client.send(new ListShardsCommand({ StreamName }));
  endsWithChildren(found, FIRST, Shards.slice(1));
  await client.send(new DeleteStreamCommand({ StreamName, EnforceConsumerDeletion: true }));
  client.destroy();
});

check("MergeShards: one child with two parents", async () => {
  const [, , left, right] = await shards();
  await send(
    new MergeShardsCommand({
      StreamName: STREAM,
      ShardToMerge: left.ShardId,
      AdjacentShardToMerge: right.ShardId,
    }),
  );
  await active();
  const merged = (await shards()).at(-1);
  assert.equal(merged.ParentShardId, left.ShardId);
  assert.equal(merged.AdjacentParentShardId, right.ShardId);
  const { last } = await read(await iterator(left.ShardId));
  assert.deepEqual(ids(last.ChildShards), [merged.ShardId]);
  assert.deepEqual([...last.ChildShards[0].ParentShards].sort(), [left.ShardId, right.ShardId]);
  assert.deepEqual(ids(await shards({ ShardFilter: { Type: "AT_LATEST" } })), [
    SECOND,
    merged.ShardId,
  ]);
});

check("refusals: validation, a bad iterator, an unknown stream, an unknown operation", async () => {
  const Data = bytes("x");
  const entry = { PartitionKey: "k", Data };
  await refuse(
    "ValidationException",
    new PutRecordCommand({ StreamName: "not a name", PartitionKey: "k", Data }),
  );
  await refuse(
    "ValidationException",
    new GetShardIteratorCommand({
      StreamName: STREAM,
      ShardId: FIRST,
      ShardIteratorType: "NEWEST",
    }),
  );
  await refuse(INVALID, new PutRecordsCommand({ StreamName: STREAM, Records: [] }));
  await refuse(
    INVALID,
    new PutRecordsCommand({ StreamName: STREAM, Records: Array(501).fill(entry) }),
  );
  await refuse("InvalidArgumentException", new GetRecordsCommand({ ShardIterator: "garbage" }));
  await refuse("ResourceNotFoundException", new ListShardsCommand({ StreamName: "nowhere" }));
  const text = await refuse("UnknownOperationException", new ListChannelsCommand({}));
  assert.ok(text.includes("ListChannels"), text);
});

check("row 11: an iterator lives 300 seconds", async () => {
  // An endpoint of its own, whose clock this file moves.
  const clocked = clientOf(process.env.CLOCK_ENDPOINT);
  const StreamName = `${STREAM}-expiry`;
  await clocked.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
  const { ShardIterator } = await clocked.send(
    new GetShardIteratorCommand({
      StreamName,
      ShardId: FIRST,
      ShardIteratorType: "TRIM_HORIZON",
    }),
  );
  assert.deepEqual((await clocked.send(new GetRecordsCommand({ ShardIterator }))).Records, []);
  const file = process.env.CLOCK;
  writeFileSync(`${file}.new`, `+${Number(readFileSync(file, "utf8")) + 301}\n`);
  renameSync(`${file}.new`, file);
  await refused("ExpiredIteratorException", clocked, new GetRecordsCommand({ ShardIterator }));
  clocked.destroy();
});

check("DeleteStream: DELETING, then gone", async () => {
  await send(new DeleteStreamCommand({ StreamName: STREAM }));
  assert.equal((await summary()).StreamStatus, "DELETING");
  await waitUntilStreamNotExists(
    { client: kinesis, maxWaitTime: 20, minDelay: 1, maxDelay: 1 },
    { StreamName: STREAM },
  );
  await refuse(
    "ResourceNotFoundException",
    new DescribeStreamSummaryCommand({ StreamName: STREAM }),
  );
});

await runAll(`js ${transport}`);
kinesis.destroy();
