package interop;

import static interop.Checks.equal;
import static interop.Checks.get;

import java.util.HashMap;
import java.util.Map;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeDefinition;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.BillingMode;
import software.amazon.awssdk.services.dynamodb.model.ConditionalCheckFailedException;
import software.amazon.awssdk.services.dynamodb.model.KeySchemaElement;
import software.amazon.awssdk.services.dynamodb.model.KeyType;
import software.amazon.awssdk.services.dynamodb.model.ReturnValue;
import software.amazon.awssdk.services.dynamodb.model.ReturnValuesOnConditionCheckFailure;
import software.amazon.awssdk.services.dynamodb.model.ScalarAttributeType;
import software.amazon.awssdk.services.dynamodb.model.UpdateItemRequest;

/** DynamoDB as a lease table uses it. */
final class Lease {
    private Lease() {}

    static void race() {
        try (DynamoDbAsyncClient dynamo =
                DynamoDbAsyncClient.builder()
                        .endpointOverride(Checks.ENDPOINT)
                        .region(Region.US_EAST_1)
                        .credentialsProvider(Checks.credentials("java"))
                        .overrideConfiguration(
                                o -> o.retryStrategy(AwsRetryStrategy.doNotRetry()))
                        .build()) {
            String table = "leases-java";
            get(
                    dynamo.createTable(
                            r ->
                                    r.tableName(table)
                                            .keySchema(
                                                    KeySchemaElement.builder()
                                                            .attributeName("leaseKey")
                                                            .keyType(KeyType.HASH)
                                                            .build())
                                            .attributeDefinitions(
                                                    AttributeDefinition.builder()
                                                            .attributeName("leaseKey")
                                                            .attributeType(ScalarAttributeType.S)
                                                            .build())
                                            .billingMode(BillingMode.PAY_PER_REQUEST)));
            get(
                    dynamo.waiter()
                            .waitUntilTableExists(
                                    r -> r.tableName(table),
                                    Checks::shortly));
            Map<String, AttributeValue> key =
                    Map.of("leaseKey", AttributeValue.fromS("shardId-000000000000"));
            Map<String, AttributeValue> first = new HashMap<>(key);
            first.put("leaseCounter", AttributeValue.fromN("1"));
            get(dynamo.putItem(r -> r.tableName(table).item(first)));
            UpdateItemRequest update =
                    UpdateItemRequest.builder()
                            .tableName(table)
                            .key(key)
                            .updateExpression("SET leaseCounter = leaseCounter + :one")
                            .conditionExpression("leaseCounter = :seen")
                            .expressionAttributeValues(
                                    Map.of(
                                            ":one", AttributeValue.fromN("1"),
                                            ":seen", AttributeValue.fromN("1")))
                            .returnValues(ReturnValue.ALL_NEW)
                            .returnValuesOnConditionCheckFailure(
                                    ReturnValuesOnConditionCheckFailure.ALL_OLD)
                            .build();
            Map<String, AttributeValue> second = new HashMap<>(first);
            second.put("leaseCounter", AttributeValue.fromN("2"));
            equal(get(dynamo.updateItem(update)).attributes(), second, "after the first update");
            try {
                get(dynamo.updateItem(update));
                throw new AssertionError("a stale condition was accepted");
            } catch (ConditionalCheckFailedException error) {
                equal(error.item(), second, "what the loser is told");
            }
            get(dynamo.deleteTable(r -> r.tableName(table)));
        }
    }
}
