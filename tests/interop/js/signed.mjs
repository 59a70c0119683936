// Endpoints that verify signatures, plain and over TLS, over HTTP/2 and HTTP/1.1: by row 19. The authority
// is where NODE_EXTRA_CA_CERTS says.

import assert from "node:assert/strict";
import {
  CreateStreamCommand,
  DeleteStreamCommand,
  DescribeStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
  ListStreamsCommand,
  PutRecordCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
} from "@aws-sdk/client-kinesis";
import { NodeHttp2Handler, NodeHttpHandler } from "@smithy/node-http-handler";
import { check, refused, runAll, until } from "./checks.mjs";

const [KEY, SECRET] = process.env.SIGNED_KEY.split(":");
const ShardId = "shardId-000000000000";

for (const [place, endpoint] of [
  ["plain", process.env.SIGNED_ENDPOINT],
  ["tls", process.env.TLS_ENDPOINT],
]) {
  for (const Handler of [NodeHttp2Handler, NodeHttpHandler]) {
    const way = `${place} ${Handler === NodeHttp2Handler ? "http2" : "http1"}`;
    const clientOf = (accessKeyId, secretAccessKey, more = {}) =>
      new KinesisClient({
        endpoint,
        region: "us-east-1",
        credentials: { accessKeyId, secretAccessKey },
        maxAttempts: 1,
        requestHandler: new Handler(),
        ...more,
      });

    check(`row 19: the right key: records by polling and fan-out, ${way}`, async () => {
      const kinesis = clientOf(KEY, SECRET);
      const StreamName = `signed-js-${way.replace(" ", "-")}`;
      await kinesis.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
      const { StreamARN } = await until(async () => {
        const found = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName }));
        const summary = found.StreamDescriptionSummary;
        return summary.StreamStatus === "ACTIVE" && summary;
      }, `${StreamName} is ACTIVE`);
      const Data = Uint8Array.from({ length: 256 }, (_, i) => i);
      const put = { StreamName, PartitionKey: "ключ", Data };
      const { SequenceNumber } = await kinesis.send(new PutRecordCommand(put));
      const asked = { StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" };
      const { ShardIterator } = await kinesis.send(new GetShardIteratorCommand(asked));
      const { Records } = await kinesis.send(new GetRecordsCommand({ ShardIterator }));
      const { Consumer } = await kinesis.send(
        new RegisterStreamConsumerCommand({ StreamARN, ConsumerName: "signed" }),
      );
      const { ConsumerARN } = Consumer;
      await until(async () => {
        const found = await kinesis.send(new DescribeStreamConsumerCommand({ ConsumerARN }));
        return found.ConsumerDescription.ConsumerStatus === "ACTIVE";
      }, "the consumer is ACTIVE");
      const StartingPosition = { Type: "TRIM_HORIZON" };
      const { EventStream } = await kinesis.send(
        new SubscribeToShardCommand({ ConsumerARN, ShardId, StartingPosition }),
      );
      let pushed;
      for await (const event of EventStream) {
        pushed = event.SubscribeToShardEvent.Records;
        break;
      }
      for (const records of [Records, pushed]) {
        assert.equal(records.length, 1);
        assert.equal(records[0].SequenceNumber, SequenceNumber);
        assert.equal(records[0].PartitionKey, "ключ");
        assert.deepEqual(Uint8Array.from(records[0].Data), Data);
      }
      // A subscription that is left goes on, and with it this process, while its stream is there.
      await kinesis.send(new DeleteStreamCommand({ StreamName, EnforceConsumerDeletion: true }));
      kinesis.destroy();
    });

    check(`row 19: wrong secret, unknown key, another hour, no signature: ${way}`, async () => {
      for (const [code, client] of [
        ["InvalidSignatureException", clientOf(KEY, `${SECRET}x`)],
        ["UnrecognizedClientException", clientOf(`${KEY}X`, SECRET)],
        ["InvalidSignatureException", clientOf(KEY, SECRET, { systemClockOffset: -3_600_000 })],
        [
          "MissingAuthenticationTokenException",
          clientOf(KEY, SECRET, { signer: { sign: async (request) => request } }),
        ],
      ]) {
        await refused(code, client, new ListStreamsCommand({}));
        client.destroy();
      }
    });

    check(`row 19: a body that is not the signed one: ${way}`, async () => {
      const client = clientOf(KEY, SECRET);
      const tamper = (next) => (given) => {
        given.request.body = given.request.body.replace("one", "two");
        return next(given);
      };
      client.middlewareStack.add(tamper, { step: "deserialize", priority: "low" });
      await refused(
        "InvalidSignatureException",
        client,
        new ListShardsCommand({ StreamName: "one" }),
      );
      client.destroy();
    });
  }
}

await runAll("js signed");
