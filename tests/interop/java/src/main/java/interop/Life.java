package interop;

import static interop.Checks.INVALID;
import static interop.Checks.THROTTLED;
import static interop.Checks.equal;
import static interop.Checks.get;
import static interop.Checks.hold;
import static interop.Checks.pause;
import static interop.Checks.refused;

import java.io.IOException;
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.TreeSet;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.ChildShard;
import software.amazon.awssdk.services.kinesis.model.EncryptionType;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.ListShardsResponse;
import software.amazon.awssdk.services.kinesis.model.ProvisionedThroughputExceededException;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResultEntry;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardFilterType;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;
import software.amazon.awssdk.services.kinesis.model.StreamMode;
import software.amazon.awssdk.services.kinesis.model.StreamStatus;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;

/**
 * The AWS SDK for Java v2 with its Netty client, in CBOR, lives through a stream's whole life: once
 * over HTTP/2 (prior knowledge), once over HTTP/1.1. Expected values come from the API reference.
 */
public final class Life extends OneStream {
    private Life(Protocol protocol) {
        super(protocol);
    }

    public static void main(String[] arguments) {
        boolean good = true;
        for (Protocol protocol : List.of(Protocol.HTTP2, Protocol.HTTP1_1)) {
            Life life = new Life(protocol);
            Checks checks = new Checks();
            life.add(checks);
            good &= checks.runAll("java " + protocol);
            life.kinesis.close();
        }
        good &= Signed.checks().runAll("java signed");
        Checks checks = new Checks();
        checks.check("a conditional update: the first wins, the second is told", Lease::race);
        good &= checks.runAll("java dynamodb");
        System.exit(good ? 0 : 1);
    }

    private void add(Checks checks) {
        checks.check("CreateStream: CREATING, then ACTIVE; the name is taken", this::create);
        checks.check("DescribeStreamSummary and ListStreams", this::describe);
        checks.check("ListShards: pages, a start, filters, by ARN", this::list);
        checks.check("PutRecord and PutRecords: the shard that holds the key's MD5", this::put);
        checks.check("GetRecords: all, equal, in order, with its times", this::readAll);
        checks.check("iterators of every type", this::iterators);
        checks.check("a throttle: the sixth GetRecords in a second", this::throttle);
        checks.check("row 1: PutRecords: only entries of the hot shard fail", this::hotShard);
        checks.check("SplitShard, and the end of the closed shard with ChildShards", this::split);
        checks.check(
                "rows 4 and 5: SubscribeToShard reads a shard closed before, to its end",
                this::subscribeToClosed);
        checks.check(
                "row 4: SubscribeToShard reads the open shard as polling does", this::subscribeToOpen);
        checks.check("row 5: a split under a live subscription", this::subscribeToLive);
        checks.check("MergeShards: one child with two parents", this::merge);
        checks.check("refusals have their own exceptions", this::refusals);
        checks.check("row 11: an iterator lives 300 seconds", this::expiry);
        checks.check("row 18: all but event streams was CBOR, errors too", this::encoding);
        checks.check("DeleteStream: DELETING, then gone", this::delete);
    }

    private void create() {
        get(kinesis.createStream(r -> r.streamName(stream).shardCount(2)));
        equal(summary().streamStatus(), StreamStatus.CREATING, "status");
        refused(
                "ResourceInUseException",
                () -> kinesis.createStream(r -> r.streamName(stream).shardCount(2)));
        get(
                kinesis.waiter()
                        .waitUntilStreamExists(
                                r -> r.streamName(stream),
                                Checks::shortly));
    }

    private void describe() {
        StreamDescriptionSummary found = summary();
        equal(found.streamName(), stream, "name");
        hold(
                found.streamARN().matches("arn:aws:kinesis:us-east-1:\\d{12}:stream/" + stream),
                found.streamARN());
        equal(found.streamStatus(), StreamStatus.ACTIVE, "status");
        equal(found.retentionPeriodHours(), 24, "retention");
        equal(found.openShardCount(), 2, "shards");
        equal(found.consumerCount(), 0, "consumers");
        equal(found.encryptionType(), EncryptionType.NONE, "encryption");
        equal(found.streamModeDetails().streamMode(), StreamMode.PROVISIONED, "mode");
        recent(found.streamCreationTimestamp());
        hold(
                get(kinesis.listStreams(r -> r.limit(100))).streamNames().contains(stream),
                "ListStreams does not name it");
    }

    private void list() {
        ListShardsResponse page = get(kinesis.listShards(r -> r.streamName(stream).maxResults(1)));
        equal(ids(page.shards()), List.of(FIRST), "first page");
        String token = page.nextToken();
        page = get(kinesis.listShards(r -> r.nextToken(token)));
        equal(ids(page.shards()), List.of(SECOND), "second page");
        equal(page.nextToken(), null, "token of the last page");
        refused(
                "InvalidArgumentException",
                () -> kinesis.listShards(r -> r.streamName(stream).nextToken(token)));
        String arn = summary().streamARN();
        equal(get(kinesis.listShards(r -> r.streamARN(arn))).shards(), shards(), "by ARN");
        equal(
                ids(
                        get(kinesis.listShards(
                                        r -> r.streamName(stream).exclusiveStartShardId(FIRST)))
                                .shards()),
                List.of(SECOND),
                "start");
        Instant created = summary().streamCreationTimestamp();
        equal(
                ids(
                        get(kinesis.listShards(
                                        r ->
                                                r.streamName(stream)
                                                        .streamCreationTimestamp(created)
                                                        .shardFilter(
                                                                f ->
                                                                        f.type(
                                                                                        ShardFilterType
                                                                                                .AT_TIMESTAMP)
                                                                                .timestamp(
                                                                                        Instant
                                                                                                .now()))))
                                .shards()),
                List.of(FIRST, SECOND),
                "filter");
    }

    private void put() throws Exception {
        BigInteger cut = new BigInteger(shards().get(1).hashKeyRange().startingHashKey());
        byte[] all = new byte[256];
        for (int i = 0; i < all.length; i++) {
            all[i] = (byte) i;
        }
        SdkBytes data = SdkBytes.fromByteArray(all);
        for (int i = 0; i < 20; i++) {
            String key = "schlüssel-" + i;
            PutRecordResponse answer =
                    get(kinesis.putRecord(r -> r.streamName(stream).partitionKey(key).data(data)));
            equal(answer.shardId(), shardOf(key, cut), key);
            sent.get(answer.shardId()).add(new Sent(answer.sequenceNumber(), key, data));
        }
        List<PutRecordsRequestEntry> entries = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            SdkBytes text = SdkBytes.fromUtf8String("record " + i);
            entries.add(
                    PutRecordsRequestEntry.builder().partitionKey("k" + i).data(text).build());
        }
        PutRecordsResponse answer =
                get(kinesis.putRecords(r -> r.streamName(stream).records(entries)));
        equal(answer.failedRecordCount(), 0, "failed");
        equal(answer.records().size(), 500, "answers");
        for (int i = 0; i < 500; i++) {
            PutRecordsRequestEntry entry = entries.get(i);
            PutRecordsResultEntry result = answer.records().get(i);
            equal(result.shardId(), shardOf(entry.partitionKey(), cut), entry.partitionKey());
            sent.get(result.shardId())
                    .add(new Sent(result.sequenceNumber(), entry.partitionKey(), entry.data()));
        }
    }

    private static String shardOf(String key, BigInteger cut) throws Exception {
        byte[] digest =
                MessageDigest.getInstance("MD5").digest(key.getBytes(StandardCharsets.UTF_8));
        return new BigInteger(1, digest).compareTo(cut) < 0 ? FIRST : SECOND;
    }

    private void readAll() {
        for (String shard : List.of(FIRST, SECOND)) {
            List<Record> records = new ArrayList<>();
            GetRecordsResponse last = read(trimHorizon(shard), records);
            equal(sentOf(records), sent.get(shard), shard);
            hold(last.nextShardIterator() != null, "an open shard ended");
            for (Record record : records) {
                recent(record.approximateArrivalTimestamp());
            }
        }
    }

    private void iterators() {
        List<Sent> there = sent.get(FIRST);
        String number = there.get(3).number();
        String at = iterator(FIRST, ShardIteratorType.AT_SEQUENCE_NUMBER, number, null);
        equal(page(at, 1).records().get(0).sequenceNumber(), number, "AT_SEQUENCE_NUMBER");
        at = iterator(FIRST, ShardIteratorType.AFTER_SEQUENCE_NUMBER, number, null);
        equal(
                page(at, 1).records().get(0).sequenceNumber(),
                there.get(4).number(),
                "AFTER_SEQUENCE_NUMBER");
        Instant hourAgo = Instant.now().minusSeconds(3600);
        at = iterator(FIRST, ShardIteratorType.AT_TIMESTAMP, null, hourAgo);
        equal(
                page(at, 1).records().get(0).sequenceNumber(),
                there.get(0).number(),
                "AT_TIMESTAMP");
        pause(5);
        at = iterator(FIRST, ShardIteratorType.AT_TIMESTAMP, null, Instant.now());
        equal(page(at, 1).records(), List.of(), "AT_TIMESTAMP after the last record");
        at = iterator(FIRST, ShardIteratorType.LATEST, null, null);
        String late = put("0", "late").sequenceNumber();
        List<Record> records = new ArrayList<>();
        read(at, records);
        equal(records.stream().map(Record::sequenceNumber).toList(), List.of(late), "LATEST");
        String future = "InvalidArgumentException";
        refused(
                future,
                () ->
                        kinesis.getShardIterator(
                                r ->
                                        r.streamName(stream)
                                                .shardId(SECOND)
                                                .shardIteratorType(ShardIteratorType.AT_TIMESTAMP)
                                                .timestamp(Instant.now().plusSeconds(3600))));
    }

    private void throttle() {
        String at = trimHorizon(SECOND);
        pause(1000);
        // However slow this machine is, the limit is met within some calls.
        for (int accepted = 0; accepted < 500; accepted++) {
            try {
                get(kinesis.getRecords(r -> r.shardIterator(at).limit(1)));
            } catch (ProvisionedThroughputExceededException error) {
                hold(error.getMessage().contains(SECOND), error.getMessage());
                hold(accepted >= 5, accepted + " accepted");
                return;
            }
        }
        throw new AssertionError("500 calls were accepted");
    }

    private void hotShard() {
        pause(1000);
        List<PutRecordsRequestEntry> entries = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            boolean hot = i % 2 == 1;
            entries.add(
                    PutRecordsRequestEntry.builder()
                            .partitionKey("k")
                            .explicitHashKey(hot ? "0" : TOP.toString())
                            .data(SdkBytes.fromByteArray(new byte[hot ? 300 * 1024 : 10]))
                            .build());
        }
        PutRecordsResponse answer =
                get(kinesis.putRecords(r -> r.streamName(stream).records(entries)));
        List<Integer> failed = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            PutRecordsResultEntry result = answer.records().get(i);
            if (result.errorCode() == null) {
                sent.get(result.shardId())
                        .add(new Sent(result.sequenceNumber(), "k", entries.get(i).data()));
            } else {
                failed.add(i);
                equal(result.errorCode(), THROTTLED, "code");
                hold(result.errorMessage().contains(FIRST), result.errorMessage());
            }
        }
        equal(failed, List.of(7, 9, 11), "failed entries");
        equal(answer.failedRecordCount(), failed.size(), "FailedRecordCount");
    }

    private void split() {
        BigInteger cut = new BigInteger(shards().get(0).hashKeyRange().endingHashKey()).shiftRight(1);
        get(
                kinesis.splitShard(
                        r ->
                                r.streamName(stream)
                                        .shardToSplit(FIRST)
                                        .newStartingHashKey(cut.toString())));
        equal(summary().streamStatus(), StreamStatus.UPDATING, "status");
        refused(
                "ResourceInUseException",
                () ->
                        kinesis.splitShard(
                                r ->
                                        r.streamName(stream)
                                                .shardToSplit(SECOND)
                                                .newStartingHashKey(
                                                        TOP.subtract(BigInteger.TEN).toString())));
        active();
        List<Shard> found = shards();
        hold(found.get(0).sequenceNumberRange().endingSequenceNumber() != null, "parent is open");
        List<Shard> children = found.subList(2, 4);
        for (Shard child : children) {
            equal(child.parentShardId(), FIRST, "parent");
            equal(child.adjacentParentShardId(), null, "adjacent parent");
        }
        equal(
                children.get(0).hashKeyRange().endingHashKey(),
                cut.subtract(BigInteger.ONE).toString(),
                "end of the first child");
        equal(children.get(1).hashKeyRange().startingHashKey(), cut.toString(), "second child");
        List<Record> records = new ArrayList<>();
        GetRecordsResponse last = read(trimHorizon(FIRST), records);
        equal(
                records.stream().map(Record::sequenceNumber).toList(),
                sent.get(FIRST).stream().map(Sent::number).toList(),
                "all of the parent");
        equal(last.nextShardIterator(), null, "iterator at the end");
        FanOut.areChildren(last.childShards(), FIRST, children);
    }

    private void subscribeToClosed() {
        String consumer = FanOut.registered(kinesis, summary().streamARN(), "closed");
        List<SubscribeToShardEvent> found = FanOut.toTheEnd(kinesis, consumer, FIRST);
        equal(sentOf(FanOut.recordsOf(found)), sent.get(FIRST), "records");
        FanOut.endsWithChildren(found, FIRST, shards().subList(2, 4));
        get(kinesis.deregisterStreamConsumer(r -> r.consumerARN(consumer)));
    }

    private void subscribeToOpen() {
        String consumer = FanOut.registered(kinesis, summary().streamARN(), "open");
        List<Sent> expected = sent.get(SECOND);
        List<Record> read = FanOut.first(kinesis, consumer, SECOND, expected.size());
        equal(sentOf(read), expected, "records by fan-out");
        List<Record> polled = new ArrayList<>();
        read(trimHorizon(SECOND), polled);
        equal(read, polled, "what polling gives, arrival times too");
        get(kinesis.deregisterStreamConsumer(r -> r.consumerARN(consumer)));
    }

    private void subscribeToLive() {
        try (KinesisAsyncClient client = clientOf(Checks.ENDPOINT)) {
            FanOut.splitMeanwhile(client, stream + "-live");
        }
    }

    private void merge() {
        List<String> parents = ids(shards()).subList(2, 4);
        get(
                kinesis.mergeShards(
                        r ->
                                r.streamName(stream)
                                        .shardToMerge(parents.get(0))
                                        .adjacentShardToMerge(parents.get(1))));
        active();
        Shard merged = shards().get(4);
        equal(merged.parentShardId(), parents.get(0), "parent");
        equal(merged.adjacentParentShardId(), parents.get(1), "adjacent parent");
        for (String parent : parents) {
            GetRecordsResponse last = read(trimHorizon(parent), new ArrayList<>());
            equal(last.nextShardIterator(), null, "iterator at the end");
            equal(last.childShards().size(), 1, "children");
            ChildShard child = last.childShards().get(0);
            equal(child.shardId(), merged.shardId(), "child");
            equal(new TreeSet<>(child.parentShards()), new TreeSet<>(parents), "its parents");
            equal(child.hashKeyRange(), merged.hashKeyRange(), "its range");
        }
        List<String> latest = ids(filtered(ShardFilterType.AT_LATEST));
        equal(latest, List.of(SECOND, merged.shardId()), "AT_LATEST");
        List<String> horizon = ids(filtered(ShardFilterType.AT_TRIM_HORIZON));
        equal(horizon, List.of(FIRST, SECOND), "row 7: AT_TRIM_HORIZON");
    }

    private List<Shard> filtered(ShardFilterType type) {
        return get(kinesis.listShards(r -> r.streamName(stream).shardFilter(f -> f.type(type))))
                .shards();
    }

    private void refusals() {
        SdkBytes data = SdkBytes.fromUtf8String("x");
        refused(
                "ValidationException",
                () ->
                        kinesis.putRecord(
                                r -> r.streamName("not a name").partitionKey("k").data(data)));
        refused(
                "ValidationException",
                () ->
                        kinesis.getShardIterator(
                                r ->
                                        r.streamName(stream)
                                                .shardId(FIRST)
                                                .shardIteratorType("NEWEST")));
        refused(INVALID, () -> kinesis.putRecords(r -> r.streamName(stream).records(List.of())));
        List<PutRecordsRequestEntry> many =
                Collections.nCopies(
                        501, PutRecordsRequestEntry.builder().partitionKey("k").data(data).build());
        refused(INVALID, () -> kinesis.putRecords(r -> r.streamName(stream).records(many)));
        refused(
                "InvalidArgumentException",
                () -> kinesis.getRecords(r -> r.shardIterator("garbage")));
        refused("ResourceNotFoundException", () -> kinesis.listShards(r -> r.streamName("nowhere")));
        String text =
                refused(
                                "UnknownOperationException",
                                () -> kinesis.describeAccountSettings(r -> {}))
                        .getMessage();
        hold(text.contains("DescribeAccountSettings"), text);
    }

    /** On an endpoint of its own, whose clock a file moves. */
    private void expiry() throws IOException {
        try (KinesisAsyncClient clocked = clientOf(URI.create(System.getenv("CLOCK_ENDPOINT")))) {
            String name = stream + "-expiry";
            get(clocked.createStream(r -> r.streamName(name).shardCount(1)));
            String at =
                    get(clocked.getShardIterator(
                                    r ->
                                            r.streamName(name)
                                                    .shardId(FIRST)
                                                    .shardIteratorType(
                                                            ShardIteratorType.TRIM_HORIZON)))
                            .shardIterator();
            equal(get(clocked.getRecords(r -> r.shardIterator(at))).records(), List.of(), "fresh");
            Path file = Path.of(System.getenv("CLOCK"));
            Path fresh = Path.of(file + ".new");
            long offset = Long.parseLong(Files.readString(file).strip().replace("+", "")) + 301;
            Files.writeString(fresh, "+" + offset + "\n");
            Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE);
            refused(
                    "ExpiredIteratorException",
                    () -> clocked.getRecords(r -> r.shardIterator(at)));
        }
    }

    private void encoding() {
        String cbor = "application/x-amz-cbor-1.1";
        // The SDK asks for the one event stream in JSON, whatever else it speaks.
        String events = "application/x-amz-json-1.1 application/vnd.amazon.eventstream";
        hold(contentTypes.remove(events), "no events were seen");
        // An answer without a body may go without a type.
        for (String pair : contentTypes) {
            hold(
                    pair.equals(cbor + " " + cbor) || pair.equals(cbor + " none"),
                    "request and answer were " + pair);
        }
        hold(contentTypes.contains(cbor + " " + cbor), "nothing was seen");
    }

    private void delete() {
        get(kinesis.deleteStream(r -> r.streamName(stream)));
        equal(summary().streamStatus(), StreamStatus.DELETING, "status");
        get(
                kinesis.waiter()
                        .waitUntilStreamNotExists(
                                r -> r.streamName(stream),
                                Checks::shortly));
        refused(
                "ResourceNotFoundException",
                () -> kinesis.describeStreamSummary(r -> r.streamName(stream)));
    }
}
