package interop;

import static interop.Checks.get;
import static interop.Checks.hold;
import static interop.Checks.paced;
import static interop.Checks.until;

import java.math.BigInteger;
import java.net.URI;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.GetShardIteratorRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;
import software.amazon.awssdk.services.kinesis.model.StreamStatus;

/** A stream, the client that uses it, what was put, and what the checks of its life ask again and again. */
class OneStream {
    static final String FIRST = "shardId-000000000000";
    static final String SECOND = "shardId-000000000001";
    static final BigInteger TOP = BigInteger.TWO.pow(128).subtract(BigInteger.ONE);

    /** What was put, as the answer to PutRecord and the request told it. */
    record Sent(String number, String key, SdkBytes data) {}

    final String stream;
    final Protocol protocol;
    final KinesisAsyncClient kinesis;
    final Set<String> contentTypes = ConcurrentHashMap.newKeySet();
    final Map<String, List<Sent>> sent = new HashMap<>();

    OneStream(Protocol protocol) {
        stream = "life-java-" + protocol.name().toLowerCase().replace("_", "");
        sent.put(FIRST, new ArrayList<>());
        sent.put(SECOND, new ArrayList<>());
        this.protocol = protocol;
        kinesis = clientOf(Checks.SLOW_ENDPOINT);
    }

    KinesisAsyncClient clientOf(URI endpoint) {
        return KinesisAsyncClient.builder()
                .endpointOverride(endpoint)
                .region(Region.US_EAST_1)
                .credentialsProvider(Checks.credentials("java"))
                .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(protocol))
                .overrideConfiguration(
                        o ->
                                o.retryStrategy(AwsRetryStrategy.doNotRetry())
                                        .addExecutionInterceptor(new Seen()))
                .build();
    }

    /** Notes in which encoding both sides speak. */
    final class Seen implements ExecutionInterceptor {
        @Override
        public void afterTransmission(Context.AfterTransmission seen, ExecutionAttributes ignored) {
            String asked = seen.httpRequest().firstMatchingHeader("Content-Type").orElse("none");
            String told = seen.httpResponse().firstMatchingHeader("Content-Type").orElse("none");
            contentTypes.add(asked + " " + told);
        }
    }

    static StreamDescriptionSummary summary(KinesisAsyncClient kinesis, String stream) {
        return get(kinesis.describeStreamSummary(r -> r.streamName(stream)))
                .streamDescriptionSummary();
    }

    /** Waits until a stream is ACTIVE. */
    static StreamDescriptionSummary active(KinesisAsyncClient kinesis, String stream) {
        return until(
                stream + " is ACTIVE",
                () ->
                        Optional.of(summary(kinesis, stream))
                                .filter(s -> s.streamStatus() == StreamStatus.ACTIVE));
    }

    StreamDescriptionSummary summary() {
        return summary(kinesis, stream);
    }

    void active() {
        active(kinesis, stream);
    }

    List<Shard> shards() {
        return get(kinesis.listShards(r -> r.streamName(stream))).shards();
    }

    static List<String> ids(List<Shard> shards) {
        return shards.stream().map(Shard::shardId).toList();
    }

    String iterator(String shard, ShardIteratorType type, String number, Instant time) {
        GetShardIteratorRequest request =
                GetShardIteratorRequest.builder()
                        .streamName(stream)
                        .shardId(shard)
                        .shardIteratorType(type)
                        .startingSequenceNumber(number)
                        .timestamp(time)
                        .build();
        return paced(() -> kinesis.getShardIterator(request)).shardIterator();
    }

    String trimHorizon(String shard) {
        return iterator(shard, ShardIteratorType.TRIM_HORIZON, null, null);
    }

    GetRecordsResponse page(String iterator, Integer limit) {
        return paced(() -> kinesis.getRecords(r -> r.shardIterator(iterator).limit(limit)));
    }

    /** Reads to the tip or to the end of the shard; gives the last answer. */
    GetRecordsResponse read(String iterator, List<Record> into) {
        for (int pages = 0; pages < 1000; pages++) {
            GetRecordsResponse answer = page(iterator, null);
            into.addAll(answer.records());
            iterator = answer.nextShardIterator();
            if (iterator == null || answer.millisBehindLatest() == 0) {
                return answer;
            }
        }
        throw new AssertionError("no end of pages");
    }

    PutRecordResponse put(String hashKey, String text) {
        SdkBytes data = SdkBytes.fromUtf8String(text);
        PutRecordResponse answer =
                get(
                        kinesis.putRecord(
                                r ->
                                        r.streamName(stream)
                                                .partitionKey("key")
                                                .explicitHashKey(hashKey)
                                                .data(data)));
        sent.get(answer.shardId()).add(new Sent(answer.sequenceNumber(), "key", data));
        return answer;
    }

    static void recent(Instant moment) {
        Duration age = Duration.between(moment, Instant.now());
        hold(age.toMillis() > -1000 && age.toMillis() < 120_000, "age " + age);
    }

    static List<Sent> sentOf(List<Record> records) {
        return records.stream()
                .map(r -> new Sent(r.sequenceNumber(), r.partitionKey(), r.data()))
                .toList();
    }
}
