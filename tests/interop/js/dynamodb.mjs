// DynamoDB from JavaScript. Expected values come from its API reference.

import assert from "node:assert/strict";
import {
  CreateTableCommand,
  DeleteTableCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
  waitUntilTableExists,
} from "@aws-sdk/client-dynamodb";
import { check, refused, runAll, settings } from "./checks.mjs";

const dynamodb = new DynamoDBClient({ ...settings, maxAttempts: 1 });
const TableName = "leases-js";
const Key = { leaseKey: { S: "shardId-000000000000" } };

check("a conditional update: the first wins, the second is told what is there", async () => {
  await dynamodb.send(
    new CreateTableCommand({
      TableName,
      KeySchema: [{ AttributeName: "leaseKey", KeyType: "HASH" }],
      AttributeDefinitions: [{ AttributeName: "leaseKey", AttributeType: "S" }],
      BillingMode: "PAY_PER_REQUEST",
    }),
  );
  await waitUntilTableExists({ client: dynamodb, maxWaitTime: 20, minDelay: 1 }, { TableName });
  await dynamodb.send(
    new PutItemCommand({ TableName, Item: { ...Key, leaseCounter: { N: "1" } } }),
  );
  const update = (more) =>
    new UpdateItemCommand({
      TableName,
      Key,
      UpdateExpression: "SET leaseCounter = leaseCounter + :one",
      ConditionExpression: "leaseCounter = :seen",
      ExpressionAttributeValues: { ":one": { N: "1" }, ":seen": { N: "1" } },
      ...more,
    });
  const { Attributes } = await dynamodb.send(update({ ReturnValues: "ALL_NEW" }));
  assert.deepEqual(Attributes, { ...Key, leaseCounter: { N: "2" } });
  const stale = update({ ReturnValuesOnConditionCheckFailure: "ALL_OLD" });
  await assert.rejects(dynamodb.send(stale), (error) => {
    assert.equal(error.name, "ConditionalCheckFailedException");
    assert.deepEqual(error.Item, Attributes);
    return true;
  });
  const { Item } = await dynamodb.send(new GetItemCommand({ TableName, Key, ConsistentRead: true }));
  assert.deepEqual(Item, Attributes);
  await dynamodb.send(new DeleteTableCommand({ TableName }));
});

check("a table that is not there", async () => {
  await refused(
    "ResourceNotFoundException",
    dynamodb,
    new GetItemCommand({ TableName: "nowhere", Key }),
  );
});

await runAll("js dynamodb");
dynamodb.destroy();
