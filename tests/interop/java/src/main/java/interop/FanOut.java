package interop;

import static interop.Checks.equal;
import static interop.Checks.get;
import static interop.Checks.hold;
import static interop.Checks.until;

import java.math.BigInteger;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.ChildShard;
import software.amazon.awssdk.services.kinesis.model.ConsumerStatus;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;

/** Reading by SubscribeToShard. */
final class FanOut {
    private static final String FIRST = "shardId-000000000000";
    /** No more events than these are taken of a shard that stays open. */
    private static final int EVENTS = 100;

    private FanOut() {}

    /** A consumer of the stream, ACTIVE; its ARN. */
    static String registered(KinesisAsyncClient client, String streamArn, String name) {
        String consumer =
                get(client.registerStreamConsumer(r -> r.streamARN(streamArn).consumerName(name)))
                        .consumer()
                        .consumerARN();
        return until(
                name + " is ACTIVE",
                () ->
                        get(client.describeStreamConsumer(r -> r.consumerARN(consumer)))
                                        .consumerDescription()
                                        .consumerStatus()
                                        .equals(ConsumerStatus.ACTIVE)
                                ? Optional.of(consumer)
                                : Optional.empty());
    }

    private static CompletableFuture<Void> subscribe(
            KinesisAsyncClient client,
            String consumer,
            String shard,
            SubscribeToShardResponseHandler handler) {
        return client.subscribeToShard(
                r ->
                        r.consumerARN(consumer)
                                .shardId(shard)
                                .startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)),
                handler);
    }

    /** The events of a shard from its begin to the end of the subscription, which has a bound. */
    static List<SubscribeToShardEvent> toTheEnd(
            KinesisAsyncClient client, String consumer, String shard) {
        List<SubscribeToShardEvent> found = new CopyOnWriteArrayList<>();
        toTheEnd(client, consumer, shard, found);
        return found;
    }

    private static void toTheEnd(
            KinesisAsyncClient client,
            String consumer,
            String shard,
            List<SubscribeToShardEvent> into) {
        SubscribeToShardResponseHandler handler =
                SubscribeToShardResponseHandler.builder()
                        .subscriber(event -> into.add((SubscribeToShardEvent) event))
                        .build();
        get(subscribe(client, consumer, shard, handler));
    }

    /** The first records of a shard that may stay open: the subscription is cancelled after them. */
    static List<Record> first(
            KinesisAsyncClient client, String consumer, String shard, int count) {
        List<Record> records = new CopyOnWriteArrayList<>();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        SubscribeToShardResponseHandler handler =
                SubscribeToShardResponseHandler.builder()
                        .onError(failure::set)
                        .publisherTransformer(p -> p.limit(EVENTS))
                        .subscriber(event -> records.addAll(((SubscribeToShardEvent) event).records()))
                        .build();
        CompletableFuture<Void> subscription = subscribe(client, consumer, shard, handler);
        try {
            until(
                    count + " records come",
                    () -> {
                        hold(failure.get() == null, "the subscription failed: " + failure.get());
                        return Optional.of(records).filter(r -> r.size() >= count);
                    });
        } finally {
            subscription.cancel(true);
        }
        return List.copyOf(records);
    }

    static List<Record> recordsOf(List<SubscribeToShardEvent> found) {
        return found.stream().flatMap(e -> e.records().stream()).toList();
    }

    private static List<String> numbersOf(List<SubscribeToShardEvent> found) {
        return recordsOf(found).stream().map(Record::sequenceNumber).toList();
    }

    /** Children, and no continuation, on the last event alone. */
    static void endsWithChildren(
            List<SubscribeToShardEvent> found, String parent, List<Shard> children) {
        hold(!found.isEmpty(), "no events");
        for (SubscribeToShardEvent event : found.subList(0, found.size() - 1)) {
            hold(event.continuationSequenceNumber() != null, "no continuation before the end");
            equal(event.childShards(), List.of(), "children before the end");
        }
        SubscribeToShardEvent last = found.get(found.size() - 1);
        equal(last.continuationSequenceNumber(), null, "continuation at the end");
        equal(last.millisBehindLatest(), 0L, "lag at the end");
        areChildren(last.childShards(), parent, children);
    }

    /** What the end of a shard says of its children. */
    static void areChildren(List<ChildShard> told, String parent, List<Shard> children) {
        Set<ChildShard> expected =
                children.stream()
                        .map(
                                c ->
                                        ChildShard.builder()
                                                .shardId(c.shardId())
                                                .parentShards(parent)
                                                .hashKeyRange(c.hashKeyRange())
                                                .build())
                        .collect(Collectors.toSet());
        equal(new HashSet<>(told), expected, "ChildShards");
    }

    /** A stream of one shard is split while it is read. */
    static void splitMeanwhile(KinesisAsyncClient client, String name) {
        get(client.createStream(r -> r.streamName(name).shardCount(1)));
        String consumer = registered(client, OneStream.active(client, name).streamARN(), "live");
        List<String> numbers = new CopyOnWriteArrayList<>();
        List<SubscribeToShardEvent> found = new CopyOnWriteArrayList<>();
        Runnable add =
                () ->
                        numbers.add(
                                get(client.putRecord(
                                                r ->
                                                        r.streamName(name)
                                                                .partitionKey("k")
                                                                .data(
                                                                        SdkBytes.fromUtf8String(
                                                                                "x"))))
                                        .sequenceNumber());
        add.run();
        Thread writer =
                new Thread(
                        () -> {
                            // Each is read before the next is written: so they come as news.
                            for (int i = 1; i <= 3; i++) {
                                int read = i;
                                until(
                                        read + " are read",
                                        () ->
                                                Optional.of(found)
                                                        .filter(
                                                                f ->
                                                                        numbersOf(f).size()
                                                                                == read));
                                if (i < 3) {
                                    add.run();
                                }
                            }
                            get(
                                    client.splitShard(
                                            r ->
                                                    r.streamName(name)
                                                            .shardToSplit(FIRST)
                                                            .newStartingHashKey(
                                                                    BigInteger.TWO
                                                                            .pow(127)
                                                                            .toString())));
                        });
        writer.setDaemon(true);
        writer.start();
        toTheEnd(client, consumer, FIRST, found);
        equal(numbersOf(found), numbers, "records");
        equal(numbers.size(), 3, "records");
        endsWithChildren(
                found,
                FIRST,
                get(client.listShards(r -> r.streamName(name))).shards().subList(1, 3));
        get(client.deleteStream(r -> r.streamName(name).enforceConsumerDeletion(true)));
    }
}
